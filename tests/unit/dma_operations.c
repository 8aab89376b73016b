/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of a domain, to be made to fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_operations.h"

#define BASE UINT64_C(0x100000000)

const char *backend;
struct pn_domain *domain, *second;
static struct pn_region *region;
static int fds[2], second_fd, given, state_fd;
static bool handed_over;

/* What is there before. */

static int create_domain(struct pn_domain **out, bool dirty, struct pn_domain *beside)
{
	struct pn_domain_opts opts = {.dirty_tracking = dirty, .beside = beside};

	return new_domain(out, backend, &opts);
}

static int map_pages(struct pn_domain *to, unsigned int at)
{
	uint64_t iova = BASE + at * 2 * PAGE;

	return pn_domain_map(to, region, at * PAGE, PAGE, PN_PROT_RW, &iova);
}

static void with_nothing(void)
{
}

static void with_file(void)
{
	given = open(
		backend_bit() == ON_TYPE1 ? "/dev/vfio/vfio" : "/dev/iommu", O_RDWR | O_CLOEXEC);
	assert_true(given >= 0);
}

static void with_domain(void)
{
	assert_int_equal(create_domain(&domain, false, NULL), 0);
}

static void with_queue(void)
{
	with_domain();
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(map_pages(domain, i), 0);
}

static void with_device(void)
{
	with_queue();
	if (backend_bit() != ON_NONE)
		assert_int_equal(pn_domain_attach(domain, &nic0, &fds[0]), 0);
}

static void with_two_devices(void)
{
	with_device();
	if (backend_bit() == ON_NONE)
		return;
	assert_int_equal(pn_domain_attach(domain, &nic2, &fds[1]), 0);
}

static void with_tracking(void)
{
	assert_int_equal(create_domain(&domain, true, NULL), 0);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(map_pages(domain, i), 0);
}

static void with_tracking_device(void)
{
	with_tracking();
	assert_int_equal(pn_domain_attach(domain, &nic0, &fds[0]), 0);
}

static void with_tracking_on(void)
{
	with_tracking_device();
	assert_int_equal(pn_domain_dirty_start(domain), 0);
}

static void with_second(void)
{
	with_device();
	assert_int_equal(create_domain(&second, false, domain), 0);
	assert_int_equal(pn_domain_attach(second, &nic2, &second_fd), 0);
}

static void with_second_queue(void)
{
	with_device();
	assert_int_equal(create_domain(&second, false, domain), 0);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(map_pages(second, i), 0);
}

static void with_second_full(void)
{
	with_second_queue();
	assert_int_equal(pn_domain_attach(second, &nic2, &second_fd), 0);
}

static void with_handover(void)
{
	with_device();
	assert_int_equal(pn_domain_handover(domain, &state_fd), 0);
	handed_over = true;
}

/* The operations. */

static int create(void)
{
	return create_domain(&domain, false, NULL);
}

static int create_automatically(void)
{
	return new_domain(&domain, NULL, NULL);
}

static int create_with_file(void)
{
	struct pn_domain_opts opts = {.use_fd = true, .fd = given};

	return new_domain(&domain, backend, &opts);
}

static int create_by_process(void)
{
	struct pn_domain_opts opts = {.accounting = PN_ACCOUNTING_PROCESS};

	model.cap_sys_resource = true;
	return new_domain(&domain, backend, &opts);
}

static int create_beside(void)
{
	return create_domain(&second, false, domain);
}

static int map(void)
{
	return map_pages(domain, 7);
}

static int map_anywhere(void)
{
	uint64_t iova = PN_IOVA_ANY;

	return pn_domain_map(domain, region, 9 * PAGE, 2 * PAGE, PN_PROT_READ, &iova);
}

static int map_copied(void)
{
	uint64_t iova = BASE + 0x100000;

	return pn_domain_map(second, region, PAGE, PAGE, PN_PROT_RW, &iova);
}

/* Of which the last two are one. */
static int map_segments(void)
{
	const struct pn_segment segments[] = {
		{region, 10 * PAGE, PAGE},
		{region, 12 * PAGE, 2 * PAGE},
		{region, 16 * PAGE, PAGE},
		{region, 15 * PAGE, PAGE},
		{region, 20 * PAGE, PAGE},
		{region, 21 * PAGE, PAGE},
	};
	uint64_t iova = BASE + 0x200000;

	return pn_domain_map_segments(domain, segments, 6, PN_PROT_RW, &iova);
}

static int map_segments_anywhere(void)
{
	const struct pn_segment segments[] = {
		{region, 10 * PAGE, PAGE},
		{region, 12 * PAGE, 2 * PAGE},
	};
	uint64_t iova = PN_IOVA_ANY;

	return pn_domain_map_segments(domain, segments, 2, PN_PROT_RW, &iova);
}

static int unmap_three(void)
{
	return pn_domain_unmap(domain, BASE + 2 * PAGE, 6 * PAGE);
}

static int unmap_copied(void)
{
	return pn_domain_unmap(second, BASE + 2 * PAGE, 6 * PAGE);
}

static int unmap_all(void)
{
	return pn_domain_unmap_all(domain);
}

static int attach(void)
{
	return pn_domain_attach(domain, &nic0, &fds[0]);
}

static int attach_in_the_group(void)
{
	return pn_domain_attach(domain, &nic1, &fds[1]);
}

static int attach_another_group(void)
{
	return pn_domain_attach(domain, &nic2, &fds[1]);
}

static int attach_beside(void)
{
	return pn_domain_attach(second, &nic2, &second_fd);
}

static int narrow(void)
{
	return pn_domain_device_bits(domain, fds[0], 40);
}

static int dirty_start(void)
{
	return pn_domain_dirty_start(domain);
}

static int dirty_stop(void)
{
	return pn_domain_dirty_stop(domain);
}

static int dirty_read(void)
{
	uint64_t bits = 0;

	return pn_domain_dirty_read(domain, BASE, PAGE, PAGE, &bits);
}

static int hand_over(void)
{
	int ret = pn_domain_handover(domain, &state_fd);

	handed_over = !ret;
	return ret;
}

static int cancel(void)
{
	int ret = pn_domain_handover_cancel(domain, state_fd);

	/* Failed, it is damaged, and handed over no more. */
	handed_over = ret && !info_of(domain).damaged;
	return ret;
}

#define ON_DIRTY (ON_TYPE1 | ON_IOMMUFD)
#define ON_FILES (ON_TYPE1 | ON_COMPAT | ON_IOMMUFD)

const struct operation operations[] = {
	{"create", ON_ALL, with_nothing, create, true, false},
	{"create automatically", ON_ALL, with_nothing, create_automatically, true, false},
	{"create with a file", ON_FILES, with_file, create_with_file, true, false},
	{"create with accounting by process", ON_IOMMUFD | ON_COMPAT, with_nothing,
		create_by_process, true, false},
	{"create beside", ON_IOMMUFD, with_device, create_beside, true, false},
	{"map into the queue", ON_ALL, with_domain, map, false, false},
	{"map into the queue anywhere", ON_ALL, with_queue, map_anywhere, false, false},
	{"map segments into the queue", ON_ALL, with_queue, map_segments, false, false},
	{"map", ON_ALL, with_device, map, false, false},
	{"map anywhere", ON_ALL, with_device, map_anywhere, false, false},
	{"map segments", ON_ALL, with_device, map_segments, false, false},
	{"map segments anywhere", ON_ALL, with_device, map_segments_anywhere, false, false},
	{"map what is copied", ON_IOMMUFD, with_second, map_copied, false, false},
	{"unmap from the queue", ON_ALL, with_queue, unmap_three, false, false},
	{"unmap", ON_ALL, with_device, unmap_three, false, false},
	{"unmap copies", ON_IOMMUFD, with_second_full, unmap_copied, false, false},
	{"unmap what was copied", ON_IOMMUFD, with_second_full, unmap_three, false, false},
	{"unmap all from the queue", ON_ALL, with_queue, unmap_all, false, false},
	{"unmap all", ON_ALL, with_device, unmap_all, false, false},
	{"unmap all of two devices", ON_FILES, with_two_devices, unmap_all, false, false},
	{"attach nothing", ON_FILES, with_domain, attach, false, false},
	{"attach the queue", ON_FILES, with_queue, attach, false, false},
	{"attach a second device", ON_FILES, with_device, attach_in_the_group, false, false},
	{"attach a second group", ON_FILES, with_device, attach_another_group, false, false},
	{"attach copies", ON_IOMMUFD, with_second_queue, attach_beside, false, false},
	{"attach with tracking", ON_DIRTY, with_tracking, attach, false, false},
	{"narrow a device", ON_FILES, with_device, narrow, false, false},
	{"start tracking", ON_DIRTY, with_tracking_device, dirty_start, false, false},
	{"stop tracking", ON_DIRTY, with_tracking_on, dirty_stop, false, false},
	{"read what was written", ON_DIRTY, with_tracking_on, dirty_read, false, false},
	{"hand over", ON_DIRTY, with_device, hand_over, true, false},
	{"cancel the handing over", ON_DIRTY, with_handover, cancel, false, true},
};
const size_t operation_count = PN_ARRAY_SIZE(operations);

unsigned int backend_bit(void)
{
	static const char *const names[] = {"type1", "iommufd-compat", "iommufd", "none"};
	unsigned int i;

	for (i = 0; strcmp(backend, names[i]); i++)
		;
	return 1u << i;
}

void operation_prepare(const struct operation *operation)
{
	domain = second = NULL;
	given = state_fd = -1;
	handed_over = false;
	operation->prepare();
}

void operation_two_devices(int fd[2])
{
	domain = second = NULL;
	with_two_devices();
	memcpy(fd, fds, sizeof(fds));
}

/* Handed over, a domain is as it was for the kernel, and cannot be asked for more. */
void operation_check(void)
{
	struct pn_domain *list[2] = {domain, second};
	size_t count = second ? 2 : 1;

	if (!domain || backend_bit() == ON_NONE)
		return;
	if (handed_over)
		assert_int_equal(model_maps(), 5);
	else
		check_domains(list, count);
}

struct snapshot operation_snapshot(void)
{
	struct snapshot one = snapshot_of(domain), other = snapshot_of(second);

	one.sum += other.sum * 7;
	one.charged += other.charged;
	one.mappings += other.mappings;
	one.devices += other.devices;
	one.damaged |= other.damaged;
	return one;
}

static void let_go(struct pn_domain *of, const int *list, bool damaged)
{
	unsigned int devices;

	if (!of)
		return;
	for (devices = info_of(of).devices; devices--;)
		pn_domain_detach(of, list[devices]);
	assert_int_equal(info_of(of).devices, 0);
	if (!damaged)
		assert_false(info_of(of).damaged);
	assert_int_equal(pn_domain_destroy(of), 0);
}

void operation_end(bool damaged)
{
	if (handed_over && pn_domain_handover_cancel(domain, state_fd) && !damaged)
		fail_msg("%s", pn_error());
	let_go(second, &second_fd, damaged);
	let_go(domain, fds, damaged);
	if (given >= 0)
		close(given);
	domain = second = NULL;
	assert_int_equal(model_teardown(NULL), 0);
}

static void drop(struct pn_domain *of, const int *list)
{
	unsigned int devices;

	if (!of)
		return;
	for (devices = info_of(of).devices; devices--;)
		pn_domain_detach(of, list[devices]);
	pn_domain_destroy(of);
}

void operation_abandon(void)
{
	model_calm();
	if (handed_over)
		pn_domain_handover_cancel(domain, state_fd);
	drop(second, &second_fd);
	drop(domain, fds);
	if (given >= 0)
		close(given);
	domain = second = NULL;
	fixture_machine();
}

int operations_setup(void **state)
{
	backend = *state;
	fixture_machine();
	return new_region(&region, PAGES);
}

int operations_teardown(void **state)
{
	(void)state;
	failing_allocation = 0;
	model_calm();
	return pn_region_destroy(region) ? -1 : model_teardown(NULL);
}
