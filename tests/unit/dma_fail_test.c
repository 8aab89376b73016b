/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every call into the kernel and every allocation of each operation of a domain fails in turn, with
 * each errno that the kernel may give. Afterwards index, kernel, files and charges must be as they
 * were, the reason be told, and the same operation must work when it is tried again.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "vfio_model.h"

#define PAGE UINT64_C(4096)
#define BASE UINT64_C(0x100000000)

/* Wrapped besides the model's: malloc, calloc, realloc. */
static unsigned int allocations, failing_allocation;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool allocation_fails(void)
{
	return ++allocations == failing_allocation;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(old, size);
}

static const struct pn_dma_device nic0 = {"0000:00:02.0", 5}, nic1 = {"0000:00:02.1", 5},
				  nic2 = {"0000:00:03.0", 6};
static const char *ledgers;
static const char *backend;
static struct pn_region *region;
static struct pn_domain *domain;
static int fd0, fd1;

static int map_one(unsigned int at)
{
	uint64_t iova = BASE + at * 2 * PAGE;

	return pn_domain_map(domain, region, at * PAGE, PAGE, PN_PROT_RW, &iova);
}

/* What is there before an operation. */
static void with_nothing(void)
{
}

static void with_domain(void)
{
	struct pn_domain_opts opts = {backend, NULL, ledgers};

	assert_int_equal(pn_domain_create(&domain, &opts), 0);
}

static void with_queue(void)
{
	with_domain();
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(map_one(i), 0);
}

static void with_device(void)
{
	with_queue();
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd0), 0);
}

static void with_two_devices(void)
{
	with_device();
	assert_int_equal(pn_domain_attach(domain, &nic2, &fd1), 0);
}

/* The operations. */
static int create(void)
{
	struct pn_domain_opts opts = {backend, NULL, ledgers};

	return pn_domain_create(&domain, &opts);
}

static int map(void)
{
	return map_one(7);
}

static int map_anywhere(void)
{
	uint64_t iova = PN_IOVA_ANY;

	return pn_domain_map(domain, region, 9 * PAGE, 2 * PAGE, PN_PROT_READ, &iova);
}

static int unmap_three(void)
{
	return pn_domain_unmap(domain, BASE + 2 * PAGE, 6 * PAGE);
}

static int attach(void)
{
	return pn_domain_attach(domain, &nic0, &fd0);
}

static int attach_in_the_group(void)
{
	return pn_domain_attach(domain, &nic1, &fd1);
}

static int attach_another_group(void)
{
	return pn_domain_attach(domain, &nic2, &fd1);
}

struct operation {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
	/* When it has worked. */
	unsigned int mappings, devices;
	/* Some errors are what the operation was looking for: not this backend's node. */
	bool judges;
};

static const struct operation operations[] = {
	{"create", with_nothing, create, 0, 0, true},
	{"map into the queue", with_domain, map, 1, 0},
	{"map into the queue anywhere", with_queue, map_anywhere, 6, 0},
	{"map", with_device, map, 6, 1},
	{"map anywhere", with_device, map_anywhere, 6, 1},
	{"unmap from the queue", with_queue, unmap_three, 2, 0},
	{"unmap", with_device, unmap_three, 2, 1},
	{"attach nothing", with_domain, attach, 0, 1},
	{"attach the queue", with_queue, attach, 5, 1},
	{"attach a second device", with_device, attach_in_the_group, 5, 2},
	{"attach a second group", with_device, attach_another_group, 5, 2},
};

static void check_done(const struct operation *operation)
{
	struct pn_domain_info info;

	pn_domain_get_info(domain, &info);
	assert_int_equal(info.mappings, operation->mappings);
	assert_int_equal(info.devices, operation->devices);
	assert_int_equal(model_open_devices(), operation->devices);
	assert_int_equal(model_maps(), operation->devices ? operation->mappings : 0);
	assert_false(info.damaged);
}

static void clean_up(void)
{
	struct pn_domain_info info;

	if (!domain)
		return;
	pn_domain_get_info(domain, &info);
	if (info.devices > 1)
		pn_domain_detach(domain, fd1);
	if (info.devices > 0)
		pn_domain_detach(domain, fd0);
	assert_int_equal(model_open_devices(), 0);
	assert_int_equal(model_maps(), 0);
	assert_int_equal(pn_domain_destroy(domain), 0);
	domain = NULL;
	assert_int_equal(model_open_fds(), 0);
	assert_int_equal(model.locked + model.user + model.pinned, 0);
}

static struct pn_domain_info domain_info(void)
{
	struct pn_domain_info info = {0};

	if (domain)
		pn_domain_get_info(domain, &info);
	info.ranges = NULL;
	info.node = info.chosen = info.backend = NULL;
	return info;
}

/* One failure of one operation. False: it has no such call. */
static bool fail_once(
	const struct operation *operation, unsigned int call, unsigned int alloc, int err)
{
	struct model_state before, after;
	struct pn_domain_info was, is;
	bool hit;
	int result;

	operation->prepare();
	before = model_state();
	was = domain_info();
	pn_fail(EPROTO, "stale");
	model.calls = model.failed = 0;
	model.fail_call = call;
	model.fail_err = err;
	allocations = 0;
	failing_allocation = alloc;
	result = operation->run();
	hit = alloc ? allocations >= alloc : model.failed > 0;
	failing_allocation = 0;
	model_calm();
	if (hit && result) {
		after = model_state();
		is = domain_info();
		if (!model_state_equal(&before, &after) || !strcmp(pn_error(), "stale") ||
			!pn_error()[0] || is.bytes != was.bytes || is.mappings != was.mappings ||
			is.devices != was.devices || is.damaged || result > 0 ||
			(result != -err && !operation->judges))
			fail_msg("%s: call %u, allocation %u failed with %d: returned %d \"%s\", "
				 "%zu maps (%zu), %u fds (%u), %u of the process (%u), %ju "
				 "mappings (%ju), damaged %d",
				operation->name, call, alloc, err, result, pn_error(), after.maps,
				before.maps, after.fds, before.fds, after.process_fds,
				before.process_fds, (uintmax_t)is.mappings, (uintmax_t)was.mappings,
				is.damaged);
		assert_int_equal(operation->run(), 0);
	} else if (result) {
		fail_msg("%s: %d \"%s\"", operation->name, result, pn_error());
	}
	check_done(operation);
	clean_up();
	return hit;
}

static void each_kernel_call(void **state)
{
	static const int errs[] = {ENOMEM, EFAULT, EINVAL, ENOSPC, EINTR, EBUSY, EPERM};

	backend = *state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(operations); i++)
		for (size_t at = 0; at < PN_ARRAY_SIZE(errs); at++)
			for (unsigned int call = 1; fail_once(&operations[i], call, 0, errs[at]);
				call++)
				;
}

static void each_allocation(void **state)
{
	backend = *state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(operations); i++)
		for (unsigned int alloc = 1; fail_once(&operations[i], 0, alloc, ENOMEM); alloc++)
			;
}

/* Detach and destroy cannot fail: whatever the kernel says, everything is let go of. */
static void letting_go(void **state)
{
	static const int errs[] = {ENOMEM, EFAULT, EINVAL, EINTR, EBUSY, EPERM};
	bool hit = true;

	backend = *state;
	for (size_t at = 0; at < PN_ARRAY_SIZE(errs); at++, hit = true)
		for (unsigned int call = 1; hit; call++) {
			struct pn_domain_info info;
			size_t left;
			int result;

			with_two_devices();
			model.calls = model.failed = 0;
			model.fail_call = call;
			model.fail_err = errs[at];
			pn_domain_detach(domain, fd1);
			pn_domain_detach(domain, fd0);
			hit = model.failed > 0;
			model_calm();
			info = domain_info();
			assert_int_equal(info.devices, 0);
			assert_int_equal(info.mappings, 5);
			assert_int_equal(model_open_devices(), 0);
			assert_int_equal(model.locked + model.user + model.pinned, 0);
			left = model_maps();
			pn_fail(EPROTO, "stale");
			result = pn_domain_attach(domain, &nic0, &fd0);
			/* What the kernel would not let go of damages the domain, or is no more. */
			if (info.damaged ? !result || !strcmp(pn_error(), "stale")
					 : result || left || model_maps() != 5)
				fail_msg("call %u of detach failed with %d: %zu maps are left, "
					 "damaged %d; attaching gives %d \"%s\"",
					call, errs[at], left, info.damaged, result, pn_error());
			if (info.damaged) {
				assert_int_equal(pn_domain_destroy(domain), 0);
				domain = NULL;
				assert_int_equal(model_open_fds(), 0);
			}
			clean_up();
		}
}

static void destroying(void **state)
{
	bool hit = true;

	backend = *state;
	for (unsigned int call = 1; hit; call++) {
		with_device();
		pn_domain_detach(domain, fd0);
		model.calls = model.failed = 0;
		model.fail_call = call;
		model.fail_err = EIO;
		allocations = 0;
		failing_allocation = call;
		assert_int_equal(pn_domain_destroy(domain), 0);
		hit = model.failed > 0 || allocations >= call;
		failing_allocation = 0;
		model_calm();
		domain = NULL;
		assert_int_equal(model_open_fds(), 0);
		assert_int_equal(model_maps(), 0);
	}
}

static void each_allocation_of_a_report(void **state)
{
	struct pn_pins_report *report;
	bool hit = true;

	backend = *state;
	with_device();
	for (unsigned int alloc = 1; hit; alloc++) {
		char *text[2];
		int result;

		allocations = 0;
		failing_allocation = alloc;
		pn_fail(EPROTO, "stale");
		result = pn_domain_pins(domain, false, &report);
		if (result) {
			hit = allocations >= alloc;
			failing_allocation = 0;
			assert_true(hit);
			assert_int_equal(result, -ENOMEM);
			assert_string_not_equal(pn_error(), "stale");
			continue;
		}
		text[0] = pn_pins_table(report);
		text[1] = pn_pins_json(report);
		hit = allocations >= alloc;
		failing_allocation = 0;
		assert_true(hit || (text[0] && text[1]));
		free(text[0]);
		free(text[1]);
		pn_pins_report_free(report);
	}
	clean_up();
}

static int setup(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	(void)state;
	model_setup(NULL);
	model_device(nic0.address, nic0.group);
	model_device(nic1.address, nic1.group);
	model_device(nic2.address, nic2.group);
	opts.page_size = PN_PAGE_4K;
	domain = NULL;
	return pn_region_create(&region, 64 * PAGE, &opts);
}

static int teardown(void **state)
{
	(void)state;
	failing_allocation = 0;
	model_calm();
	clean_up();
	return pn_region_destroy(region) ? -1 : model_teardown(NULL);
}

#define BOTH(test)                                                      \
	{"type1: " #test, test, setup, teardown, type1},                \
	{                                                               \
		"iommufd-compat: " #test, test, setup, teardown, compat \
	}

int main(void)
{
	static char type1[] = "type1", compat[] = "iommufd-compat";
	const struct CMUnitTest tests[] = {
		BOTH(each_kernel_call),
		BOTH(each_allocation),
		BOTH(letting_go),
		BOTH(destroying),
		BOTH(each_allocation_of_a_report),
	};
	int failed;

	ledgers = model_directory();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + model_directory_end();
}
