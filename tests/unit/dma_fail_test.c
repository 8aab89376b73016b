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
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_operations.h"
#include "vfio_model_abi.h"

static const int errs[] = {ENOMEM, EFAULT, EINVAL, ENOSPC, EINTR, EBUSY, EPERM};

/* What it is like when it works. False: it must not work here. */
static bool golden_run(const struct operation *operation, struct snapshot *golden)
{
	int result;

	if (!(operation->backends & backend_bit()))
		return false;
	operation_prepare(operation);
	result = operation->run();
	if (result)
		fail_msg("%s: %d \"%s\"", operation->name, result, pn_error());
	*golden = operation_snapshot();
	operation_check();
	operation_end(false);
	return true;
}

/* What fails is only the kernel's answer to what it has done. */
static bool lose_answers;

/* Said once for each operation, which is then left: the others are to be seen too. */
static unsigned int troubles;

struct attempt {
	const struct operation *operation;
	unsigned int call, alloc;
	int err, result;
	const char *why;
	struct snapshot was, is;
};

/* How the reason of a refusal names the call that failed. */
static const struct {
	unsigned long request;
	const char *name;
} calls[] = {
	{VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA"},
	{VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA"},
	{VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION"},
	{VFIO_CHECK_EXTENSION, "VFIO_"},
	{VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER"},
	{VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS"},
	{VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD"},
	{VFIO_SET_IOMMU, "VFIO_SET_IOMMU"},
	{VFIO_IOMMU_GET_INFO, "VFIO_IOMMU_GET_INFO"},
	{VFIO_IOMMU_DIRTY_PAGES, "VFIO_IOMMU_DIRTY_PAGES"},
	{K_IOAS_ALLOC, "IOMMU_IOAS_ALLOC"},
	{K_IOAS_COPY, "IOMMU_IOAS_COPY"},
	{K_IOAS_RANGES, "IOMMU_IOAS_IOVA_RANGES"},
	{K_IOAS_MAP, "IOMMU_IOAS_MAP"},
	{K_IOAS_MAP_FILE, "IOMMU_IOAS_MAP_FILE"},
	{K_IOAS_UNMAP, "IOMMU_IOAS_UNMAP"},
	{K_OPTION, "IOMMU_OPTION"},
	{K_VFIO_IOAS, "IOMMU_VFIO_IOAS"},
	{K_HWPT_ALLOC, "IOMMU_HWPT_ALLOC"},
	{K_GET_HW_INFO, "IOMMU_GET_HW_INFO"},
	{K_HWPT_SET_DIRTY, "IOMMU_HWPT_SET_DIRTY_TRACKING"},
	{K_HWPT_GET_DIRTY, "IOMMU_HWPT_GET_DIRTY_BITMAP"},
	{K_IOAS_CHANGE_PROCESS, "IOMMU_IOAS_CHANGE_PROCESS"},
	{K_DEVICE_BIND, "VFIO_DEVICE_BIND_IOMMUFD"},
	{K_DEVICE_ATTACH, "VFIO_DEVICE_ATTACH_IOMMUFD_PT"},
	{MODEL_OPEN, "/dev/"},
	{MODEL_FCNTL, "file"},
};

static bool names_the_call(const char *text)
{
	for (size_t i = 0; i < PN_ARRAY_SIZE(calls); i++)
		if (calls[i].request == model.failed_request)
			return strstr(text, calls[i].name);
	return false;
}

static bool wrong(const struct attempt *attempt, const char *what)
{
	const struct snapshot *was = &attempt->was, *is = &attempt->is;

	print_error("%s on %s: call %u, allocation %u failed with %s: returned %d \"%s\": %s: "
		    "%zu maps (%zu), %u fds (%u), %u objects (%u), %u of the process (%u), %ju "
		    "mappings (%ju), %ju entries left (%ju), %u devices (%u), %ju pages charged "
		    "(%ju), limits known %d (%d), damaged %d\n",
		attempt->operation->name, backend, attempt->call, attempt->alloc,
		strerror(attempt->err), attempt->result, attempt->why, what, is->kernel.maps,
		was->kernel.maps, is->kernel.fds, was->kernel.fds, is->kernel.objects,
		was->kernel.objects, is->kernel.process_fds, was->kernel.process_fds,
		(uintmax_t)is->mappings, (uintmax_t)was->mappings, (uintmax_t)is->entries_left,
		(uintmax_t)was->entries_left, is->devices, was->devices, (uintmax_t)is->charged,
		(uintmax_t)was->charged, is->limits_known, was->limits_known, is->damaged);
	troubles++;
	operation_abandon();
	return false;
}

/* One failure of one operation. False: it has no such step, or trouble came of it. */
static bool fail_once(const struct operation *operation, const struct snapshot *golden,
	unsigned int call, unsigned int alloc, int err)
{
	struct attempt attempt = {.operation = operation, .call = call, .alloc = alloc, .err = err};
	bool hit, told, named;

	operation_prepare(operation);
	attempt.was = operation_snapshot();
	stale_error();
	model.calls = model.failed = 0;
	model.fail_call = call;
	model.fail_err = err;
	model.fail_after = lose_answers;
	allocations = 0;
	failing_allocation = alloc;
	attempt.result = operation->run();
	hit = alloc ? allocations >= alloc : model.failed > 0;
	failing_allocation = 0;
	told = has_reason();
	attempt.why = reason();
	named = alloc || names_the_call(attempt.why);
	model_calm();
	attempt.is = operation_snapshot();
	if (!hit && attempt.result)
		return wrong(&attempt, "it failed by itself");
	if (hit && attempt.result) {
		if (!told)
			return wrong(&attempt, "no reason");
		if (!named)
			return wrong(&attempt, "the call is not named");
		if (attempt.result > 0 || (attempt.result != -err && !operation->judges))
			return wrong(&attempt, "another errno");
		if (attempt.is.damaged && operation->damages) {
			operation_end(true);
			return hit;
		}
		if (!snapshot_equal(&attempt.was, &attempt.is))
			return wrong(&attempt, "something changed");
		attempt.result = operation->run();
		attempt.was = *golden;
		attempt.is = operation_snapshot();
		if (attempt.result || !snapshot_equal(golden, &attempt.is))
			return wrong(&attempt, "it does not work again");
	}
	/* A step may also have been one that it can do without. */
	operation_check();
	operation_end(false);
	return hit;
}

static void each_kernel_call(void **state)
{
	struct snapshot golden;
	unsigned int call, before;

	(void)state;
	troubles = 0;
	for (size_t i = 0; i < operation_count; i++) {
		if (!golden_run(&operations[i], &golden))
			continue;
		before = troubles;
		for (size_t at = 0; troubles == before && at < PN_ARRAY_SIZE(errs); at++)
			for (call = 1; fail_once(&operations[i], &golden, call, 0, errs[at]);
				call++)
				;
	}
	assert_int_equal(troubles, 0);
}

/* vfio_iommu_type1.c and iommufd write down what they did when it is done: an EFAULT there is no
 * sign that nothing happened. */
static void each_lost_answer(void **state)
{
	struct snapshot golden;
	unsigned int call;

	(void)state;
	troubles = 0;
	lose_answers = true;
	for (size_t i = 0; i < operation_count; i++) {
		if (!golden_run(&operations[i], &golden))
			continue;
		for (call = 1; fail_once(&operations[i], &golden, call, 0, EFAULT); call++)
			;
	}
	lose_answers = false;
	assert_int_equal(troubles, 0);
}

static void each_allocation(void **state)
{
	struct snapshot golden;
	unsigned int alloc;

	(void)state;
	troubles = 0;
	for (size_t i = 0; i < operation_count; i++) {
		if (!golden_run(&operations[i], &golden))
			continue;
		for (alloc = 1; fail_once(&operations[i], &golden, 0, alloc, ENOMEM); alloc++)
			;
	}
	assert_int_equal(troubles, 0);
}

/* The same answers where a backend cannot. */
static void what_a_backend_cannot_do_is_refused(void **state)
{
	int fd, file = -1;

	(void)state;
	assert_int_equal(new_domain(&domain, backend, NULL), 0);
	fd = attach_to(domain, &nic0);
	REFUSED(domain, EOPNOTSUPP, pn_domain_dirty_start(domain));
	REFUSED(domain, EOPNOTSUPP, pn_domain_handover(domain, &file));
	assert_int_equal(file, -1);
	pn_domain_detach(domain, fd);
	assert_int_equal(pn_domain_destroy(domain), 0);
	domain = NULL;
}

/* Detach cannot fail: whatever the kernel says, everything is let go of. */
static void letting_go(void **state)
{
	bool hit = true;

	(void)state;
	for (size_t at = 0; at < PN_ARRAY_SIZE(errs); at++, hit = true)
		for (unsigned int call = 1; hit; call++) {
			struct pn_domain_info info;
			size_t left;
			int result, fd[2];

			operation_two_devices(fd);
			model.calls = model.failed = 0;
			model.fail_call = call;
			model.fail_err = errs[at];
			pn_domain_detach(domain, fd[1]);
			pn_domain_detach(domain, fd[0]);
			hit = model.failed > 0;
			model_calm();
			info = info_of(domain);
			assert_int_equal(info.devices, 0);
			assert_int_equal(info.mappings, 5);
			assert_int_equal(model_open_devices(), 0);
			assert_int_equal(model.locked + model.user + model.pinned, 0);
			left = model_maps();
			stale_error();
			result = pn_domain_attach(domain, &nic0, &fd[0]);
			/* What the kernel would not let go of damages the domain, or is no more. */
			if (info.damaged ? result != -EIO || !has_reason()
					 : result || left || model_maps() != 5)
				fail_msg("call %u of detach failed with %d: %zu maps are left, "
					 "damaged %d; attaching gives %d \"%s\"",
					call, errs[at], left, info.damaged, result, pn_error());
			if (!result)
				pn_domain_detach(domain, fd[0]);
			assert_int_equal(pn_domain_destroy(domain), 0);
			domain = NULL;
			assert_int_equal(model_teardown(NULL), 0);
		}
}

static void destroying(void **state)
{
	bool hit = true;

	(void)state;
	for (unsigned int call = 1; hit; call++) {
		assert_int_equal(new_domain(&domain, backend, NULL), 0);
		if (backend_bit() != ON_NONE)
			pn_domain_detach(domain, attach_to(domain, &nic0));
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
		assert_int_equal(model_teardown(NULL), 0);
	}
}

static void each_allocation_of_a_report(void **state)
{
	struct pn_pins_report *report;
	bool hit = true;

	(void)state;
	assert_int_equal(new_domain(&domain, backend, NULL), 0);
	for (unsigned int alloc = 1; hit; alloc++) {
		char *text[2];
		int result;

		allocations = 0;
		failing_allocation = alloc;
		stale_error();
		result = pn_domain_pins(domain, false, &report);
		if (result) {
			hit = allocations >= alloc;
			failing_allocation = 0;
			assert_true(hit);
			assert_int_equal(result, -ENOMEM);
			assert_true(has_reason());
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
	assert_int_equal(pn_domain_destroy(domain), 0);
	domain = NULL;
}

#define ON_BACKEND(test, name)                                                \
	{                                                                     \
		name ": " #test, test, operations_setup, operations_teardown, \
			(void *)(uintptr_t)name                               \
	}
#define ON_KERNELS(test) \
	ON_BACKEND(test, "type1"), ON_BACKEND(test, "iommufd-compat"), ON_BACKEND(test, "iommufd")
#define ON_EVERY(test) ON_KERNELS(test), ON_BACKEND(test, "none")

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EVERY(each_kernel_call),
		ON_KERNELS(each_lost_answer),
		ON_EVERY(each_allocation),
		ON_BACKEND(what_a_backend_cannot_do_is_refused, "iommufd-compat"),
		ON_KERNELS(letting_go),
		ON_EVERY(destroying),
		ON_EVERY(each_allocation_of_a_report),
	};

	return fixture_run(tests);
}
