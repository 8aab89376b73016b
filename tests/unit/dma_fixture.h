/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the DMA layer share: a machine of the model with three devices in two groups, a
 * domain on one of the backends, a region; and a look at whether domain, kernel and counters agree.
 */
#ifndef DMA_FIXTURE_H
#define DMA_FIXTURE_H

#include <string.h>

#include "dma_priv.h"
#include "vfio_model.h"

#define PAGE  UINT64_C(4096)
#define PAGES 64u
/* In what a domain takes for valid before a kernel has told it. */
#define AT(iova) (UINT64_C(0x100000000) + (iova))

struct fixture {
	const char *backend;
	struct pn_domain *domain;
	struct pn_region *region;
	char *base;
};

/* The first two share a group. */
extern struct pn_dma_device nic0, nic1, nic2;
/* A directory for ledgers, set by fixture_run(). */
extern const char *ledgers;

int new_region(struct pn_region **out, uint64_t pages);
/* A domain on a backend with its ledger in the test's directory; opts may be NULL. */
int new_domain(struct pn_domain **out, const char *backend, const struct pn_domain_opts *opts);

/* A machine with these devices, whose IOMMU takes AT(0) and above too, but not AT(0xfee00000). */
void fixture_machine(void);

/* For cmocka's setup: a domain and a region of PAGES pages. */
int fixture_type1(void **state);
int fixture_compat(void **state);
int fixture_iommufd(void **state);
int fixture_iommufd_old(void **state); /* Linux 6.6 to 6.12: files cannot be mapped */
int fixture_end(void **state);

#define ON(name, test, setup)                                   \
	{                                                       \
		name ": " #test, test, setup, fixture_end, NULL \
	}
#define ON_EACH(test)                                                                 \
	ON("type1", test, fixture_type1), ON("iommufd-compat", test, fixture_compat), \
		ON("iommufd", test, fixture_iommufd),                                 \
		ON("iommufd without MAP_FILE", test, fixture_iommufd_old)

/* Run the tests with a directory for ledgers that must be empty afterwards. */
#define fixture_run(tests)            \
	(ledgers = model_directory(), \
		cmocka_run_group_tests(tests, NULL, NULL) + model_directory_end())

bool is_type1(const struct fixture *fixture);
struct pn_domain_info info_of(struct pn_domain *domain);
int attach_to(struct pn_domain *domain, const struct pn_dma_device *device);
/* Pages of the fixture's region, readable and writable; asserts that they went where asked. */
void map_at(struct fixture *fixture, uint64_t page, uint64_t pages, uint64_t iova);

/* May the region's addresses be IOVAs now? Under a sanitizer memory is elsewhere. */
bool takes_addresses(const struct fixture *fixture);

/* Index, walk, kernel, counters and, every so many times, reports of these domains agree; all of
 * the model's maps are theirs. A report reads every slot of a ledger. */
extern unsigned int reports_every;
void check_domains(struct pn_domain *const *domains, size_t count);
void check_domain(struct pn_domain *domain);
/* That, and so much is mapped. */
void assert_maps(struct pn_domain *domain, uint64_t mappings, uint64_t pages);

/* What a domain says of itself and its mappings; to see that nothing changed. */
struct snapshot {
	struct model_state kernel;
	uint64_t mappings, bytes, entries_left, sum, charged;
	unsigned int devices, range_count;
	bool damaged, dirty, limits_known;
};
struct snapshot snapshot_of(struct pn_domain *domain);
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);

/* A text that no reason is. */
void stale_error(void);
bool has_reason(void);
/* A copy of it, until the next copy. */
const char *reason(void);
/* What the last one that was REFUSED said. */
extern char refused_reason[];

/* An operation that fails with err, freshly explained, and changes neither side. */
#define REFUSED(domain, err, call)                                                   \
	do {                                                                         \
		struct snapshot refused_before = snapshot_of(domain), refused_after; \
                                                                                     \
		stale_error();                                                       \
		assert_int_equal(call, -(err));                                      \
		assert_true(has_reason());                                           \
		strcpy(refused_reason, reason());                                    \
		refused_after = snapshot_of(domain);                                 \
		assert_true(snapshot_equal(&refused_before, &refused_after));        \
	} while (0)

#endif
