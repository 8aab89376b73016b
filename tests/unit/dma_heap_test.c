/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Heaps that grow in their domains: what they make is mapped in each at the same IOVAs, what they
 * no longer need is unmapped, and what a limit or a kernel refuses leaves all as it was.
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
#include "dma_fixture.h"
#include "mem_priv.h"
#include "vfio_model_abi.h"

#define STEP (16 * PAGE)

static struct pn_domain_heap_opts small_steps(void)
{
	struct pn_domain_heap_opts opts = PN_DOMAIN_HEAP_OPTS_INIT;

	opts.region.page_size = PN_PAGE_4K;
	opts.region.name = "heap";
	opts.step = STEP;
	return opts;
}

static void grows_and_is_trimmed(void **state)
{
	struct fixture *f = *state;
	struct pn_domain_heap_opts opts = small_steps();
	struct pn_heap *heap;
	int fd;
	uint64_t iova;
	void *blocks[3], *vaddr;

	fd = attach_to(f->domain, &nic0);
	assert_int_equal(pn_domain_heap(&heap, &f->domain, 1, &opts), 0);
	assert_maps(f->domain, 0, 0);
	for (unsigned int i = 0; i < 3; i++) {
		blocks[i] = pn_heap_alloc(heap, STEP - 64, 64, &iova);
		if (!blocks[i])
			fail_msg("%s", pn_error());
		assert_int_equal(pn_domain_vaddr(f->domain, iova, STEP - 64, &vaddr), 0);
		assert_ptr_equal(vaddr, blocks[i]);
		assert_maps(f->domain, i + 1, 16 * (i + 1));
	}
	assert_int_equal(pn_heap_free(heap, blocks[1]), 0);
	assert_int_equal(pn_heap_trim(heap), 1);
	assert_maps(f->domain, 2, 32);
	assert_int_equal(pn_heap_free(heap, blocks[0]), 0);
	assert_int_equal(pn_heap_free(heap, blocks[2]), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_maps(f->domain, 0, 0);
	pn_domain_detach(f->domain, fd);
}

/* The fixture's domain and another one, each with a device, and a heap in both. */
static struct pn_heap *heap_in_two(struct fixture *f, struct pn_domain *domains[2], int fds[2])
{
	struct pn_domain_heap_opts opts = small_steps();
	struct pn_heap *heap;

	domains[0] = f->domain;
	assert_int_equal(new_domain(&domains[1], f->backend, NULL), 0);
	fds[0] = attach_to(domains[0], &nic0);
	fds[1] = attach_to(domains[1], &nic2);
	assert_int_equal(pn_domain_heap(&heap, domains, 2, &opts), 0);
	return heap;
}

static void end_two(struct pn_heap *heap, struct pn_domain *domains[2], const int fds[2])
{
	assert_int_equal(pn_heap_destroy(heap), 0);
	pn_domain_detach(domains[0], fds[0]);
	pn_domain_detach(domains[1], fds[1]);
	assert_int_equal(pn_domain_destroy(domains[1]), 0);
}

static void assert_mapped(struct pn_domain *domain, uint64_t iova, const void *block)
{
	void *vaddr = NULL;

	assert_int_equal(pn_domain_vaddr(domain, iova, STEP, &vaddr), 0);
	assert_ptr_equal(vaddr, block);
}

/* Both have the memory, or neither. */
static void assert_both(struct pn_domain *domains[2], bool mapped)
{
	assert_int_equal(info_of(domains[0]).mappings, mapped);
	assert_int_equal(info_of(domains[1]).mappings, mapped);
	check_domains(domains, 2);
}

static void fail_at(unsigned int call, int err)
{
	assert_true(call < 20);
	model.calls = model.failed = 0;
	model.fail_call = call;
	model.fail_err = err;
}

static void grows_in_two_domains_at_the_same_iovas(void **state)
{
	struct fixture *f = *state;
	struct pn_domain *domains[2];
	struct pn_heap *heap;
	int fds[2];
	uint64_t iova;
	void *block;

	heap = heap_in_two(f, domains, fds);
	block = pn_heap_alloc(heap, STEP, 64, &iova);
	assert_non_null(block);
	assert_mapped(domains[0], iova, block);
	assert_mapped(domains[1], iova, block);
	check_domains(domains, 2);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_trim(heap), 1);
	assert_int_equal(info_of(domains[0]).mappings + info_of(domains[1]).mappings, 0);
	end_two(heap, domains, fds);
}

/* Each call to the kernel fails in turn: then both domains have the memory, or neither. */
static void all_domains_or_none(void **state)
{
	struct fixture *f = *state;
	struct pn_domain *domains[2];
	struct pn_heap *heap;
	int fds[2];
	void *block = NULL;

	heap = heap_in_two(f, domains, fds);
	for (unsigned int call = 1; !block; call++) {
		fail_at(call, ENOMEM);
		block = pn_heap_alloc(heap, STEP, 64, NULL);
		model.fail_call = 0;
		assert_both(domains, block);
	}
	assert_int_equal(pn_heap_free(heap, block), 0);
	end_two(heap, domains, fds);
}

/* A region that cannot be given back stays in the heap: then it is mapped where it was. */
static void what_stays_in_the_heap_stays_mapped(void **state)
{
	struct fixture *f = *state;
	struct pn_domain *domains[2];
	struct pn_region *region;
	struct pn_heap *heap;
	int fds[2], ret = 0;
	uint64_t iova, again;
	void *block;

	heap = heap_in_two(f, domains, fds);
	block = pn_heap_alloc(heap, STEP, 64, &iova);
	assert_non_null(block);
	region = (struct pn_region *)(uintptr_t)pn_heap_region(heap, block);
	/* Somebody else has use for it. */
	pn_region_get(region);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_trim(heap), -EBUSY);
	assert_non_null(strstr(pn_error(), "still in use"));
	assert_ptr_equal(pn_heap_alloc(heap, STEP, 64, &again), block);
	assert_int_equal(again, iova);
	assert_mapped(domains[0], iova, block);
	assert_mapped(domains[1], iova, block);
	check_domains(domains, 2);
	pn_region_put(region);
	assert_int_equal(pn_heap_free(heap, block), 0);
	/* Each call to the kernel fails in turn. */
	for (unsigned int call = 1; ret != 1; call++) {
		fail_at(call, EIO);
		ret = pn_heap_trim(heap);
		model.fail_call = 0;
		assert_both(domains, ret != 1);
	}
	end_two(heap, domains, fds);
}

static void a_limit_is_the_reason(void **state)
{
	struct fixture *f = *state;
	struct pn_domain_heap_opts opts = small_steps();
	struct pn_heap *heap;
	int fd;
	void *block;

	model.limit = 40;
	fd = attach_to(f->domain, &nic0);
	assert_int_equal(pn_domain_heap(&heap, &f->domain, 1, &opts), 0);
	block = pn_heap_alloc(heap, 2 * STEP, 64, NULL);
	assert_non_null(block);
	assert_null(pn_heap_alloc(heap, STEP, 64, NULL));
	assert_non_null(strstr(pn_error(), "the heap cannot grow"));
	assert_non_null(strstr(pn_error(), "RLIMIT_MEMLOCK"));
	assert_maps(f->domain, 1, 32);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_maps(f->domain, 0, 0);
	pn_domain_detach(f->domain, fd);
}

static void no_more_than_it_may_have(void **state)
{
	struct fixture *f = *state;
	struct pn_domain_heap_opts opts = small_steps();
	struct pn_heap *heap;
	int fd;
	void *block;

	opts.max = 3 * STEP;
	fd = attach_to(f->domain, &nic0);
	assert_int_equal(pn_domain_heap(&heap, &f->domain, 1, &opts), 0);
	block = pn_heap_alloc(heap, 2 * STEP, 64, NULL);
	assert_non_null(block);
	assert_null(pn_heap_alloc(heap, 2 * STEP, 64, NULL));
	assert_non_null(strstr(pn_error(), "may have"));
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	pn_domain_detach(f->domain, fd);
}

static void bad_options(void **state)
{
	struct fixture *f = *state;
	struct pn_domain_heap_opts opts = small_steps();
	struct pn_heap *heap;

	assert_int_equal(pn_domain_heap(&heap, &f->domain, 0, &opts), -EINVAL);
	opts.step = 2048;
	assert_int_equal(pn_domain_heap(&heap, &f->domain, 1, &opts), -EINVAL);
	opts.step = 3 * PAGE;
	assert_int_equal(pn_domain_heap(&heap, &f->domain, 1, &opts), -EINVAL);
	assert_non_null(strstr(pn_error(), "power of two"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(grows_and_is_trimmed),
		ON_EACH(grows_in_two_domains_at_the_same_iovas),
		ON_EACH(all_domains_or_none),
		ON_EACH(what_stays_in_the_heap_stays_mapped),
		ON_EACH(a_limit_is_the_reason),
		ON_EACH(no_more_than_it_may_have),
		ON("type1", bad_options, fixture_type1),
	};

	return fixture_run(tests);
}
