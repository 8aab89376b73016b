/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a domain: mappings that wait for a device, come with it and stay when it goes; a
 * child of fork(), which may do nothing; a domain that is no more; fds, which no executed program
 * inherits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"

#define FDS 1024

static void mappings_live_through_every_order_of_devices(void **state)
{
	static const unsigned char orders[][6] = {
		{0, 1, 2, 0, 1, 2}, {0, 1, 2, 2, 1, 0}, {2, 1, 0, 1, 0, 2}, {1, 2, 0, 2, 0, 1}};
	const struct pn_dma_device *const devices[] = {&nic0, &nic1, &nic2};
	struct fixture *fixture = *state;
	int fd[3];

	for (size_t i = 0; i < PN_ARRAY_SIZE(orders); i++) {
		map_at(fixture, 0, 2, AT(0x10000));
		map_at(fixture, 2, 1, AT(0x20000));
		for (unsigned int at = 0; at < 3; at++) {
			fd[orders[i][at]] = attach_to(fixture->domain, devices[orders[i][at]]);
			map_at(fixture, 4 + at, 1, AT(0x30000) + at * PAGE);
			assert_maps(fixture->domain, 3 + at, 4 + at);
			assert_int_equal(model_open_devices(), at + 1);
		}
		for (unsigned int at = 3; at < 6; at++) {
			assert_int_equal(info_of(fixture->domain).devices, 6 - at);
			assert_maps(fixture->domain, 5, 6);
			pn_domain_detach(fixture->domain, fd[orders[i][at]]);
		}
		assert_int_equal(model_open_devices(), 0);
		assert_maps(fixture->domain, 5, 6);
		assert_int_equal(model_maps(), 0);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
}

static void a_queue_is_replayed_as_it_is_then(void **state)
{
	struct fixture *fixture = *state;
	uint64_t first = PN_IOVA_ANY, iova;
	int fd;

	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, 2 * PAGE, PN_PROT_READ, &first),
		0);
	for (unsigned int round = 0; round < 4; round++) {
		map_at(fixture, 8 + round, 1, AT(0x10000) + round * PAGE);
		fd = attach_to(fixture->domain, round % 2 ? &nic2 : &nic0);
		assert_maps(fixture->domain, 2, 3);
		assert_true(model_has(first, fixture->base, 2 * PAGE, VFIO_DMA_MAP_FLAG_READ));
		assert_int_equal(
			pn_domain_unmap(fixture->domain, AT(0x10000) + round * PAGE, PAGE), 0);
		map_at(fixture, 20, 4, AT(0x40000));
		pn_domain_detach(fixture->domain, fd);
		assert_maps(fixture->domain, 2, 6);
		assert_int_equal(
			pn_domain_iova(fixture->domain, fixture->base + 21 * PAGE, PAGE, &iova), 0);
		assert_true(iova == AT(0x41000));
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x40000), 4 * PAGE), 0);
	}
}

static void a_domain_with_devices_is_not_destroyed(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 0, 2, AT(0x10000));
	REFUSED(fixture->domain, EBUSY, pn_domain_destroy(fixture->domain));
	assert_maps(fixture->domain, 1, 2);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(pn_domain_destroy(NULL), 0);
	/* Mappings go with it, and let go of the region. */
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	fixture->region = NULL;
}

/* Every call on a domain, each with arguments that would work; the errno of each. */
struct answer {
	const char *call;
	int result;
};

#define CALLS 18

static void call_everything(struct fixture *fixture, struct pn_domain *domain, int device_fd,
	struct answer answers[CALLS])
{
	struct pn_domain_opts beside = {.beside = domain};
	struct pn_segment segment = {fixture->region, 8 * PAGE, PAGE};
	uint64_t iova = AT(0x80000), bits = 0;
	struct pn_mapping_info mapping;
	struct pn_pins_report *report;
	struct pn_domain *other;
	int fd = -1;
	void *vaddr;

	answers[0] = (struct answer){
		"map", pn_domain_map(domain, fixture->region, 8 * PAGE, PAGE, PN_PROT_RW, &iova)};
	answers[1] = (struct answer){
		"map segments", pn_domain_map_segments(domain, &segment, 1, PN_PROT_RW, &iova)};
	answers[2] = (struct answer){"unmap", pn_domain_unmap(domain, AT(0x10000), 2 * PAGE)};
	answers[3] = (struct answer){"unmap all", pn_domain_unmap_all(domain)};
	answers[4] = (struct answer){"iova", pn_domain_iova(domain, fixture->base, PAGE, &iova)};
	answers[5] = (struct answer){"vaddr", pn_domain_vaddr(domain, AT(0x10000), PAGE, &vaddr)};
	answers[6] = (struct answer){"next", pn_domain_next(domain, 0, &mapping)};
	answers[7] = (struct answer){"pins", pn_domain_pins(domain, false, &report)};
	answers[8] = (struct answer){"dirty start", pn_domain_dirty_start(domain)};
	answers[9] = (struct answer){"dirty stop", pn_domain_dirty_stop(domain)};
	answers[10] = (struct answer){
		"dirty read", pn_domain_dirty_read(domain, AT(0x10000), 2 * PAGE, PAGE, &bits)};
	answers[11] = (struct answer){"hand over", pn_domain_handover(domain, &fd)};
	answers[12] = (struct answer){"cancel", pn_domain_handover_cancel(domain, fd)};
	answers[13] = (struct answer){"attach", pn_domain_attach(domain, &nic2, &fd)};
	answers[14] = (struct answer){"bits", pn_domain_device_bits(domain, device_fd, 48)};
	answers[15] = (struct answer){"device fd", pn_domain_device_fd(domain, nic0.address)};
	answers[16] =
		(struct answer){"create beside", new_domain(&other, fixture->backend, &beside)};
	answers[17] = (struct answer){"destroy", pn_domain_destroy(domain)};
}

static int count_others(const struct answer answers[CALLS], int want)
{
	int others = 0;

	for (size_t i = 0; i < CALLS; i++) {
		/* Only one backend has domains beside each other. */
		if (answers[i].result == want ||
			(i == 16 &&
				(answers[i].result == -EINVAL || answers[i].result == -EOPNOTSUPP)))
			continue;
		print_error("%s gives %d, not %d\n", answers[i].call, answers[i].result, want);
		others++;
	}
	return others;
}

static bool is_blank(struct pn_domain *domain)
{
	struct pn_domain_info info = info_of(domain);

	return !info.devices && !info.mappings && !info.bytes && !info.damaged &&
	       !info.limits_known && !info.range_count && info.backend && !info.backend[0] &&
	       info.node && !info.node[0] && info.chosen && !info.chosen[0];
}

static void a_child_of_fork_may_do_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct answer answers[CALLS];
	struct snapshot before, after;
	int fd = attach_to(fixture->domain, &nic0), status;
	pid_t child;

	map_at(fixture, 0, 2, AT(0x10000));
	before = snapshot_of(fixture->domain);
	child = fork();
	if (!child) {
		struct model_state was = model_state(), is;
		int bad;

		call_everything(fixture, fixture->domain, fd, answers);
		bad = count_others(answers, -EPERM);
		bad += !is_blank(fixture->domain);
		stale_error();
		pn_domain_unmap_all(fixture->domain);
		bad += !has_reason();
		/* A detach would close the parent's device for good: it is shared. */
		pn_domain_detach(fixture->domain, fd);
		is = model_state();
		bad += !model_state_equal(&was, &is);
		_exit(bad);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	after = snapshot_of(fixture->domain);
	assert_true(snapshot_equal(&before, &after));
	assert_maps(fixture->domain, 1, 2);
	map_at(fixture, 2, 1, AT(0x20000));
	pn_domain_detach(fixture->domain, fd);
}

/* A child that makes its own domain may use that. */
static void a_child_of_fork_can_have_its_own(void **state)
{
	struct fixture *fixture = *state;
	int status;
	pid_t child;

	map_at(fixture, 0, 2, AT(0x10000));
	child = fork();
	if (!child) {
		struct pn_domain *domain;
		struct pn_region *region;
		uint64_t iova = AT(0x10000);
		int bad = 0, fd = -1;

		bad += new_domain(&domain, fixture->backend, NULL) != 0;
		bad += new_region(&region, 4) != 0;
		if (bad)
			_exit(bad);
		bad += pn_domain_map(domain, region, 0, PAGE, PN_PROT_RW, &iova) != 0;
		bad += pn_domain_attach(domain, &nic0, &fd) != 0;
		bad += model_maps() != 1;
		if (fd >= 0)
			pn_domain_detach(domain, fd);
		bad += pn_domain_destroy(domain) != 0;
		bad += pn_region_destroy(region) != 0;
		_exit(bad);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_maps(fixture->domain, 1, 2);
}

static void a_destroyed_domain_is_seen(void **state)
{
#ifdef NDEBUG
	(void)state;
	skip();
#else
	struct fixture *fixture = *state;
	struct answer answers[CALLS];

	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	call_everything(fixture, fixture->domain, -1, answers);
	assert_int_equal(count_others(answers, -EINVAL), 0);
	assert_true(is_blank(fixture->domain));
	pn_domain_detach(fixture->domain, 0);
	/* Another one in its place does not make it live. */
	{
		struct pn_domain *old = fixture->domain, *other;

		assert_int_equal(new_domain(&other, fixture->backend, NULL), 0);
		if (other != old)
			assert_int_equal(pn_domain_unmap_all(old), -EINVAL);
		assert_int_equal(pn_domain_destroy(other), 0);
	}
	fixture->domain = NULL;
#endif
}

/* Which fds are open. */
static void list_fds(bool open[FDS])
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int fd;

	memset(open, 0, FDS * sizeof(*open));
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		fd = atoi(entry->d_name);
		if (entry->d_name[0] != '.' && fd != dirfd(dir) && fd < FDS)
			open[fd] = true;
	}
	closedir(dir);
}

static void no_program_inherits_an_fd(void **state)
{
	struct fixture *fixture = *state;
	static bool before[FDS], after[FDS];
	struct pn_pins_report *report;
	unsigned int opened = 0;
	int fd[3];

	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	list_fds(before);
	assert_int_equal(new_region(&fixture->region, PAGES), 0);
	assert_int_equal(new_domain(&fixture->domain, fixture->backend, NULL), 0);
	fd[0] = attach_to(fixture->domain, &nic0);
	fd[1] = attach_to(fixture->domain, &nic1);
	fd[2] = attach_to(fixture->domain, &nic2);
	map_at(fixture, 0, 2, AT(0x10000));
	assert_int_equal(pn_domain_pins(fixture->domain, false, &report), 0);
	pn_pins_report_free(report);
	list_fds(after);
	for (int i = 0; i < FDS; i++) {
		if (before[i] || !after[i])
			continue;
		opened++;
		if (!(fcntl(i, F_GETFD) & FD_CLOEXEC))
			fail_msg("fd %d would be inherited", i);
	}
	assert_true(opened >= 4);
	for (int i = 0; i < 3; i++)
		pn_domain_detach(fixture->domain, fd[i]);
	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	fixture->region = NULL;
	list_fds(after);
	assert_memory_equal(before, after, sizeof(before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(mappings_live_through_every_order_of_devices),
		ON_EACH(a_queue_is_replayed_as_it_is_then),
		ON_EACH(a_domain_with_devices_is_not_destroyed),
		ON_EACH(a_child_of_fork_may_do_nothing),
		ON_EACH(a_child_of_fork_can_have_its_own),
		ON_EACH(a_destroyed_domain_is_seen),
		ON_EACH(no_program_inherits_an_fd),
	};

	return fixture_run(tests);
}
