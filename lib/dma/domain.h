/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the domain share.
 */
#ifndef PN_DMA_DOMAIN_H
#define PN_DMA_DOMAIN_H

#include <pthread.h>

#include "dma_priv.h"
#include "iova_space.h"
#include "map_index.h"
#include "pins_priv.h"

#define DOMAIN_MAGIC UINT64_C(0x6e69616d6f646e70)

/* vfio_iommu_type1's module parameter; a container takes it over when it is opened. */
#define ENTRY_BUDGET_MEND                                             \
	"raise it as root, before the program starts: echo 131072 > " \
	"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

struct attached {
	struct attached *next;
	int fd;
	bool to_take;      /* it came with a takeover, and nobody has it yet */
	unsigned int bits; /* of an IOVA that it can send */
	char address[16];
};

/* A device whose file the domain was given; it keeps it until it ends. */
struct given {
	struct given *next;
	struct pn_dma_device device;
};

/* Domains that share a file of the kernel share a lock: a mapping of one may pay for another's. */
struct family {
	pthread_mutex_t lock;
	unsigned int members;
	struct pn_domain *domains; /* those that are published */
};

/*
 * A mapping that shares its pins with equal mappings in other domains of the family; one of them
 * pays. A ring.
 */
struct share {
	struct share *next;
	struct pn_domain *domain;
	struct mapping *mapping;
	uint32_t counters; /* what the one who pays is charged to */
};

/* In pages that a forked child finds zeroed. */
struct pn_domain {
	uint64_t magic;
	struct pn_domain *next; /* of the family */
	struct family *family;
	const struct pn_backend *backend;
	void *ctx;
	struct pn_charge_rule rule;
	struct map_index index;
	struct iova_space space;
	struct attached *devices;
	unsigned int device_count;
	struct given *given;
	struct pn_ledger *ledger;
	struct pn_trial trial;
	uint64_t trial_held;   /* 4 KiB pages in the index when trial.left was right */
	uint64_t device_bytes; /* of BARs in the index */
	enum pn_iova_mode iova_mode;
	unsigned int iova_bits;
	/* The kernel's, or NULL: the guess is in use. */
	struct pn_iova_range *kernel_ranges;
	unsigned int kernel_range_count;
	/* In force: those within the narrowest device's bits. */
	struct pn_iova_range *ranges;
	unsigned int range_count;
	uint64_t page_sizes;
	uint64_t entries; /* mappings that the kernel takes in all; UINT64_MAX: no limit */
	bool limits_known;
	bool exempt; /* as the ledger has it */
	bool damaged;
	bool dirty;
	bool handed_over;
	/* Of a handover: copies of the regions' files, and the description. */
	int *copies;
	size_t copy_count;
	int state_fd;
	char node[40];
	char chosen[512];
};

/* Does the kernel hold what the index holds? */
static inline bool domain_in_force(const struct pn_domain *domain)
{
	return domain->device_count || domain->backend->live;
}

/* May it be used, by this process? 0, -EINVAL or -EPERM with words. Takes no lock. */
int domain_check(const struct pn_domain *domain);
/* The same, and take the lock. */
int domain_enter(struct pn_domain *domain);
void domain_leave(struct pn_domain *domain);
/* The same at the end of a call that may change the domain, with what it returns: a failure goes
 * into the ledger, with the words that are set, and so does damage. iova, len: what it was asked.
 */
int domain_end(
	struct pn_domain *domain, enum pn_event_kind call, int ret, uint64_t iova, uint64_t len);
/* May it be changed? 0, -EIO (damaged) or -EBUSY (handed over) with words. */
int domain_changeable(const struct pn_domain *domain);
/* The backend failed; if it could not undo it, the domain is damaged and the text says so. Returns
 * the error. */
int domain_check_stuck(struct pn_domain *domain, int err);

/*
 * One that nobody sees yet, alone in a family of its own or (not NULL) for this one; NULL with
 * words: no memory. domain_free() takes it out of its family and frees it; its backend is closed,
 * its mappings are gone. domain_publish(): others may use it; with the family's lock held.
 */
struct pn_domain *domain_new(struct family *family);
void domain_free(struct pn_domain *domain);
void domain_publish(struct pn_domain *domain);
/* Ask the backend how it charges now. */
void domain_learn_charge(struct pn_domain *domain);
/* 0 or a negative errno with words. */
int domain_start_ledger(struct pn_domain *domain, const char *dir);

/* given.c: the file that the domain has for a device, if none was handed in; close all. */
void domain_use_given(const struct pn_domain *domain, struct pn_dma_device *device);
void domain_close_given(struct pn_domain *domain);

/* choose.c: a backend for a domain; sets backend, node and chosen. */
int domain_choose(struct pn_domain *domain, const char *names, struct pn_backend_request *request);

/* kernel.c */

/*
 * Make a mapping in the kernel, or take it out of it, and set what it is charged. The caller writes
 * the ledger. With the lock held, in force. more: pages that are to be mapped after it, for the
 * words of a refusal. After a failure the caller calls domain_check_stuck(), unless it closes the
 * device or takes the domain for damaged anyway.
 */
int kernel_map(struct pn_domain *domain, struct mapping *mapping, uint64_t more);
int kernel_unmap(struct pn_domain *domain, struct mapping *mapping);
/* The same for one that is in the ledger, which follows. */
int kernel_map_recorded(struct pn_domain *domain, struct mapping *mapping, uint64_t more);
int kernel_unmap_recorded(struct pn_domain *domain, struct mapping *mapping);
/* The kernel holds it, as another program had it made: one that is in the ledger. */
void kernel_made(struct pn_domain *domain, struct mapping *mapping);
/* The kernel let go of it by itself. */
void kernel_let_go(struct pn_domain *domain, struct mapping *mapping);
/* Would its pins be those of an equal mapping, which is paid for? */
bool kernel_shares(struct pn_domain *domain, const struct mapping *mapping);
/* A mapping as the backend is to see it. */
struct pn_backend_map kernel_view(const struct mapping *mapping);
/* Pages that a mapping is charged now. */
uint64_t kernel_charged(const struct mapping *mapping);
/* What the ledger says of a mapping. */
void kernel_pin(const struct mapping *mapping, struct pn_pin *pin);

/*
 * map.c: put a mapping into the index, for which there is room, and into the ledger; or take one
 * out of them that the kernel does not hold, give its IOVAs back and free it.
 */
void domain_record(struct pn_domain *domain, struct mapping *mapping);
/* May it be mapped so? page: the IOMMU's smallest. 0 or a negative errno with words. */
int domain_check_prot(enum pn_prot prot);
int domain_check_segment(
	const struct pn_segment *segment, enum pn_prot prot, uint64_t page, bool checked_before);
void domain_forget(struct pn_domain *domain, struct mapping *mapping);

/* limits.c */

/* Ranges for a domain that no device has been attached to. 0 or -ENOMEM. */
int limits_guess(struct pn_domain *domain);
/* Limits that everything in the index fits, made ready so that taking them cannot fail. */
struct limits_plan {
	struct pn_backend_limits kernel; /* ranges NULL: they stay as they are */
	uint64_t held;                   /* mappings that the kernel held when it told them */
	struct pn_iova_range *ranges;    /* where IOVAs are chosen, and may be demanded if known */
	unsigned int range_count;
	struct iova_space space;
};

/*
 * Make a plan of what the kernel told, for devices of so many bits; takes over limits->ranges.
 * Either commit it, before anything is mapped or unmapped, or drop it. 0 or a negative errno with
 * words and nothing to drop.
 */
int limits_plan(struct pn_domain *domain, struct pn_backend_limits *limits, unsigned int bits,
	uint64_t held, struct limits_plan *plan);
void limits_commit(struct pn_domain *domain, struct limits_plan *plan);
void limits_drop(struct limits_plan *plan);
/* The fewest bits among the domain's devices and its own; but is left out. */
unsigned int limits_bits(const struct pn_domain *domain, const struct attached *but);
/* The ranges in force again, for these bits. 0, -ERANGE or -ENOMEM. */
int limits_narrow(struct pn_domain *domain, unsigned int bits);
/* May Pinion choose these IOVAs? A caller may demand others before the limits are known. */
bool limits_may_choose(const struct pn_domain *domain, uint64_t iova, uint64_t len);
/* The smallest page that can be mapped, bytes. */
uint64_t limits_page(uint64_t page_sizes);

/* attach.c */
void domain_tell_devices(struct pn_domain *domain);

#endif
