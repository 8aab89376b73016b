/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second failure, while an operation takes back what it did before the first one: at every step
 * of every operation. Either it does not matter and nothing has changed, or the domain says that it
 * is damaged and takes no more mappings and devices. Whatever came, it can be destroyed, and then
 * the kernel holds nothing.
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

static unsigned int runs, damages, troubles;
static const char *why;

/* What a damaged domain still does. */
static void check_damaged(const struct operation *operation, struct pn_domain *of)
{
	struct pn_mapping_info mapping;
	struct pn_region *region;
	uint64_t iova = 0, got;
	int result, fd = -1;
	void *vaddr;

	assert_int_equal(new_region(&region, 1), 0);
	got = UINT64_C(0x7000000000);
	stale_error();
	result = pn_domain_map(of, region, 0, PAGE, PN_PROT_RW, &got);
	if (result != -EIO || !has_reason())
		fail_msg("%s: damaged, and a map gives %d \"%s\"", operation->name, result,
			pn_error());
	stale_error();
	result = pn_domain_attach(of, &nic1, &fd);
	if (result != -EIO || !has_reason())
		fail_msg("%s: damaged, and an attach gives %d \"%s\"", operation->name, result,
			pn_error());
	assert_int_equal(pn_region_destroy(region), 0);
	while (!pn_domain_next(of, iova, &mapping)) {
		assert_int_equal(pn_domain_vaddr(of, mapping.iova, mapping.len, &vaddr), 0);
		assert_ptr_equal(vaddr, mapping.vaddr);
		iova = mapping.iova + mapping.len;
	}
}

/* Said once for each operation; it is left then. */
static bool trouble(const struct operation *operation, unsigned int first, unsigned int later,
	int result, const char *what)
{
	print_error("%s on %s: calls %u and %u failed: %d \"%s\": not damaged, but: %s\n",
		operation->name, backend, first, later, result, why, what);
	troubles++;
	operation_abandon();
	return false;
}

/* Two failures of one operation: false when the second is behind its end. */
static bool fail_twice(
	const struct operation *operation, unsigned int first, unsigned int later, int err)
{
	struct snapshot was, is;
	bool damaged, told;
	unsigned int failed;
	int result;

	operation_prepare(operation);
	was = operation_snapshot();
	stale_error();
	model.calls = model.failed = 0;
	/* The call has been made, only its answer is lost. */
	model.fail_after = err == EFAULT;
	model.fail_call = first;
	model.fail_err = err;
	model.fail_again = later;
	model.fail_again_err = EIO;
	result = operation->run();
	failed = model.failed;
	told = has_reason();
	why = reason();
	model_calm();
	is = operation_snapshot();
	damaged = is.damaged;
	/* An empty address space that was made for a domain that then was not: nobody can say. */
	if (result && !strncmp(operation->name, "create", 6))
		is.kernel.objects = was.kernel.objects;
	runs++;
	damages += damaged;
	if (result && !told)
		return trouble(operation, first, later, result, "without a reason");
	if (result && !damaged && !snapshot_equal(&was, &is))
		return trouble(operation, first, later, result,
			was.kernel.maps != is.kernel.maps         ? "the kernel's mappings changed"
			: was.kernel.objects != is.kernel.objects ? "objects are left"
			: was.kernel.fds != is.kernel.fds         ? "files are left"
			: was.mappings != is.mappings             ? "the index changed"
								  : "something changed");
	if (!result && damaged)
		return trouble(operation, first, later, result, "damaged, and it says 0");
	if (damaged) {
		if (domain && info_of(domain).damaged)
			check_damaged(operation, domain);
		if (second && info_of(second).damaged)
			check_damaged(operation, second);
	} else {
		operation_check();
	}
	operation_end(damaged);
	return failed > 1;
}

/* Calls that the operation makes when the first of them that fails is this one; 0: none fails. */
static unsigned int calls_after(const struct operation *operation, unsigned int first, int err)
{
	unsigned int calls;
	bool damaged;

	operation_prepare(operation);
	model.calls = model.failed = 0;
	model.fail_after = err == EFAULT;
	model.fail_call = first;
	model.fail_err = err;
	operation->run();
	calls = model.failed ? model.calls : 0;
	model_calm();
	damaged = operation_snapshot().damaged;
	assert_true(!damaged || operation->damages);
	operation_end(damaged);
	return calls;
}

static void a_roll_back_fails_at_every_step(void **state)
{
	static const int errs[] = {ENOMEM, EINVAL, EFAULT};
	unsigned int calls;

	(void)state;
	runs = damages = troubles = 0;
	for (size_t i = 0; i < operation_count; i++) {
		if (!(operations[i].backends & backend_bit()))
			continue;
		for (size_t at = 0; at < PN_ARRAY_SIZE(errs); at++)
			for (unsigned int first = 1, before = troubles;
				troubles == before &&
				(calls = calls_after(&operations[i], first, errs[at]));
				first++)
				for (unsigned int later = first + 1;
					troubles == before && later <= calls; later++)
					fail_twice(&operations[i], first, later, errs[at]);
	}
	assert_int_equal(troubles, 0);
	assert_true(runs > 100);
	/* There are roll-backs that can fail: unmaps of several mappings. */
	assert_true(damages > 0);
}

/* Not only one step of the roll-back fails: from the first failure on nothing works. */
static void a_roll_back_fails_altogether(void **state)
{
	bool damaged, hit;

	(void)state;
	for (size_t i = 0; i < operation_count; i++) {
		if (!(operations[i].backends & backend_bit()))
			continue;
		hit = true;
		for (unsigned int call = 1; hit; call++) {
			operation_prepare(&operations[i]);
			model.calls = model.failed = 0;
			model.fail_call = call;
			model.fail_err = ENOMEM;
			model.fail_on = true;
			operations[i].run();
			hit = model.failed > 0;
			model_calm();
			damaged = operation_snapshot().damaged;
			if (!damaged)
				operation_check();
			operation_end(damaged);
		}
	}
}

#define ON_BACKEND(test, name)                                                \
	{                                                                     \
		name ": " #test, test, operations_setup, operations_teardown, \
			(void *)(uintptr_t)name                               \
	}
#define ON_KERNELS(test) \
	ON_BACKEND(test, "type1"), ON_BACKEND(test, "iommufd-compat"), ON_BACKEND(test, "iommufd")

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_KERNELS(a_roll_back_fails_at_every_step),
		ON_KERNELS(a_roll_back_fails_altogether),
	};

	return fixture_run(tests);
}
