/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New regions: their pages brought in by several threads, told of as it goes on, or not at all; and
 * guards around them.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "mem_machine.h"
#include "mem_priv.h"

#define LARGE (UINT64_C(300) << 20)

/* The madvise() that fails, from 1; those before and after it do their work. */
static int fail_at, fail_with, advised;

int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);

int __wrap_madvise(void *at, size_t len, int advice)
{
	if (__atomic_add_fetch(&advised, 1, __ATOMIC_RELAXED) == fail_at) {
		errno = fail_with;
		return -1;
	}
	return __real_madvise(at, len, advice);
}

struct told {
	unsigned int times;
	uint64_t last, size;
	bool backwards;
};

static void tell(void *arg, uint64_t done, uint64_t size)
{
	struct told *told = arg;

	told->backwards |= done < told->last || done > size;
	told->times++;
	told->last = done;
	told->size = size;
}

/* Of small pages; told hears how it goes on. */
static struct pn_region_opts heard_by(struct told *told)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = PN_PAGE_4K;
	opts.progress = tell;
	opts.progress_arg = told;
	return opts;
}

/* With guards, of which a child can find out. */
static struct pn_region_opts guarded(uint64_t page_size)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = page_size;
	opts.guard = true;
	opts.keep_on_fork = true;
	return opts;
}

static int setup(void **state)
{
	(void)state;
	fail_at = advised = 0;
	return 0;
}

/* Every page is there: none is counted as absent. */
static void all_is_there(struct pn_region *region)
{
	unsigned char *there = malloc(region->size / 4096);

	assert_non_null(there);
	assert_int_equal(mincore(region->vaddr, region->size, there), 0);
	for (uint64_t page = 0; page < region->size / 4096; page++)
		assert_true(there[page] & 1);
	free(there);
}

static void threads_bring_pages_in(void **state)
{
	static const unsigned int threads[] = {0, 1, 2, 3, 64, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		struct told told = {0};
		struct pn_region_opts opts = heard_by(&told);
		struct pn_region *region;

		opts.populate_threads = threads[i];
		assert_int_equal(pn_region_create(&region, LARGE, &opts), 0);
		all_is_there(region);
		assert_false(told.backwards);
		assert_true(told.times >= 1);
		assert_int_equal(told.last, LARGE);
		assert_int_equal(told.size, LARGE);
		assert_int_equal(pn_region_destroy(region), 0);
	}
}

static void small_ones_are_told_once(void **state)
{
	struct told told = {0};
	struct pn_region_opts opts = heard_by(&told);
	struct pn_region *region;

	(void)state;
	assert_int_equal(pn_region_create(&region, 4096, &opts), 0);
	assert_int_equal(told.times, 1);
	assert_int_equal(told.last, 4096);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* Whichever part fails, the region is not made, and nothing is left of it. */
static void a_part_that_fails(void **state)
{
	unsigned int open = open_fds();

	(void)state;
	for (int part = 1; part <= 5; part++) {
		struct told told = {0};
		struct pn_region_opts opts = heard_by(&told);
		struct pn_region *region;

		opts.populate_threads = 2;
		fail_at = part;
		fail_with = ENOMEM;
		advised = 0;
		assert_int_equal(pn_region_create(&region, LARGE, &opts), -ENOMEM);
		assert_non_null(strstr(pn_error(), "314572800 bytes"));
		assert_true(told.last < LARGE);
		assert_int_equal(open_fds(), open);
	}
}

/* Linux before 5.14 does not know MADV_POPULATE_WRITE. */
static void old_kernels_are_asked_otherwise(void **state)
{
	struct told told = {0};
	struct pn_region_opts opts = heard_by(&told);
	struct pn_region *region;

	(void)state;
	fail_at = 1;
	fail_with = EINVAL;
	assert_int_equal(pn_region_create(&region, LARGE, &opts), 0);
	all_is_there(region);
	assert_int_equal(told.last, LARGE);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* The signal that a child dies of when it writes there; 0: none. */
static int write_at(volatile char *at)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		*at = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void guards_stop_a_program(void **state)
{
	struct pn_region *regions[4];
	char before[4096], after[4096];

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct pn_region_opts opts = guarded(PN_PAGE_4K);

		opts.guard = i % 2 == 0;
		assert_int_equal(pn_region_create(&regions[i], 1 << 20, &opts), 0);
		/* Where nothing is guarded something may be. */
		if (i % 2)
			continue;
		char *vaddr = regions[i]->vaddr;

		assert_int_equal(write_at(vaddr), 0);
		assert_int_equal(write_at(vaddr + (1 << 20) - 1), 0);
		assert_int_equal(write_at(vaddr - 1), SIGSEGV);
		assert_int_equal(write_at(vaddr - 65536), SIGSEGV);
		assert_int_equal(write_at(vaddr + (1 << 20)), SIGSEGV);
		assert_int_equal(write_at(vaddr + (1 << 20) + 65535), SIGSEGV);
	}
	for (int i = 0; i < 4; i++) {
		const char *from = (const char *)regions[i]->vaddr - 65536;
		const uint64_t len = (1 << 20) + 2 * 65536;
		const bool guard = regions[i]->guard;

		mappings(before, sizeof(before), from, len);
		assert_int_equal(pn_region_destroy(regions[i]), 0);
		mappings(after, sizeof(after), from, len);
		assert_string_not_equal(before, after);
		if (guard)
			assert_null(strstr(after, "---p"));
	}
}

/* Where the usual addresses are taken, another place is found, guarded all the same. */
static void guards_anywhere(void **state)
{
	const uint64_t first = UINT64_C(64) << 30, size = UINT64_C(384) << 30;
	struct pn_region_opts opts = guarded(PN_PAGE_4K);
	struct pn_region *region;
	void *all;

	(void)state;
	if (!slots_are_free())
		skip();
	all = mmap((void *)(uintptr_t)first, size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	assert_ptr_equal(all, (void *)(uintptr_t)first);
	assert_int_equal(pn_region_create(&region, 8192, &opts), 0);
	assert_int_equal(write_at((char *)region->vaddr - 1), SIGSEGV);
	assert_int_equal(write_at((char *)region->vaddr + 8192), SIGSEGV);
	assert_int_equal(write_at(region->vaddr), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(munmap(all, size), 0);
}

static void hugepages_have_guards(void **state)
{
	struct pn_region_opts opts = guarded(PN_PAGE_2M);
	struct pn_region *region;

	(void)state;
	need_hugepages();
	assert_int_equal(pn_region_create(&region, PN_PAGE_2M, &opts), 0);
	assert_int_equal(write_at((char *)region->vaddr - 1), SIGSEGV);
	assert_int_equal(write_at((char *)region->vaddr + PN_PAGE_2M), SIGSEGV);
	assert_int_equal(pn_region_destroy(region), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(threads_bring_pages_in, setup),
		cmocka_unit_test_setup(small_ones_are_told_once, setup),
		cmocka_unit_test_setup(a_part_that_fails, setup),
		cmocka_unit_test_setup(old_kernels_are_asked_otherwise, setup),
		cmocka_unit_test_setup(guards_stop_a_program, setup),
		cmocka_unit_test_setup(guards_anywhere, setup),
		cmocka_unit_test_setup(hugepages_have_guards, setup),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests_name("mem_new", tests, NULL, NULL);
	machine_end();
	return failed;
}
