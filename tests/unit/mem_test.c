/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of new memory, and the hugepage inventory.
 */
#include <errno.h>
#include <fcntl.h>
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

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

static char log_text[1024];

/* Wrapped: madvise. More than the machine has is never brought in: that would be the machine's
 * end. */
static bool brought_in_too_much;

int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);

int __wrap_madvise(void *at, size_t size, int advice)
{
	if (size < UINT64_C(1) << 40)
		return __real_madvise(at, size, advice);
	brought_in_too_much = true;
	errno = ENOMEM;
	return -1;
}

static struct pn_region_opts options(uint64_t page_size, enum pn_backing backing)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = page_size;
	opts.backing = backing;
	return opts;
}

static int create(struct pn_region **out, uint64_t bytes, uint64_t page, enum pn_backing backing)
{
	struct pn_region_opts opts = options(page, backing);

	return pn_region_create(out, bytes, &opts);
}

static void assert_zero(const unsigned char *bytes, uint64_t size)
{
	assert_int_equal(bytes[0], 0);
	assert_memory_equal(bytes, bytes + 1, size - 1);
}

static void sizes_and_combinations_are_checked(void **state)
{
	static const struct {
		uint64_t bytes, page;
		int backing;
	} bad[] = {{0, 0, 0}, {0, PN_PAGE_4K, 0}, {UINT64_MAX, 0, 0}, {UINT64_MAX, PN_PAGE_4K, 0},
		{UINT64_MAX - 4094, PN_PAGE_4K, 0}, {UINT64_MAX - 4095, PN_PAGE_4K, 3},
		{UINT64_C(1) << 63, PN_PAGE_2M, 0}, {4096, 1, 0}, {4096, 8192, 0},
		{4096, UINT64_C(1) << 24, 0}, {4096, UINT64_MAX, 0}, {4096, 0, 4}, {4096, 0, -1},
		{4096, PN_PAGE_4K, PN_BACKING_HUGETLBFS},
		{4096, PN_PAGE_4K, PN_BACKING_HUGETLB_MEMFD}, {4096, PN_PAGE_2M, PN_BACKING_MEMFD},
		{4096, PN_PAGE_1G, PN_BACKING_MEMFD}};
	struct pn_region *region = NULL;
	struct pn_region_opts opts = options(PN_PAGE_2M, PN_BACKING_AUTO);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		pn_fail(EPROTO, "stale");
		assert_int_equal(
			create(&region, bad[i].bytes, bad[i].page, (enum pn_backing)bad[i].backing),
			-EINVAL);
		assert_string_not_equal(pn_error(), "stale");
		assert_null(region);
	}
	opts.hugetlbfs_path = "/proc";
	assert_int_equal(pn_region_create(&region, 4096, &opts), -EINVAL);
	opts.hugetlbfs_path = "/nonexistent/place";
	assert_true(pn_region_create(&region, 4096, &opts) < 0);
	opts = options(PN_PAGE_4K, PN_BACKING_AUTO);
	opts.numa_node = 4000;
	assert_int_equal(pn_region_create(&region, 4096, &opts), -EINVAL);
	assert_non_null(strstr(pn_error(), "4000"));
}

static void small_pages_work(void **state)
{
	struct pn_region_opts opts = options(PN_PAGE_4K, PN_BACKING_AUTO);
	struct pn_region_info info;
	struct pn_region *region;
	unsigned char present[3];

	(void)state;
	opts.name = "a name that is longer than thirty-one bytes";
	opts.numa_node = 0;
	assert_int_equal(pn_region_create(&region, 8193, &opts), 0);
	pn_region_get_info(region, &info);
	assert_int_equal(info.size, 12288);
	assert_int_equal(info.page_size, PN_PAGE_4K);
	assert_int_equal(info.backing, PN_BACKING_MEMFD);
	assert_int_equal((uintptr_t)info.vaddr % 4096, 0);
	assert_true(info.numa_node == 0 || info.numa_node == PN_NODE_ANY);
	assert_string_equal(info.note, "");
	assert_int_equal(strlen(info.name), 31);
	assert_memory_equal(info.name, opts.name, 31);
	/* Present before anything touched them. */
	assert_int_equal(mincore(info.vaddr, info.size, present), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(present[i] & 1, 1);
	assert_zero(info.vaddr, info.size);
	memset(info.vaddr, 0xa5, info.size);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(mincore(info.vaddr, info.size, present), -1);
	assert_int_equal(pn_region_destroy(NULL), 0);
}

static void use_keeps_a_region(void **state)
{
	struct pn_region *region;

	(void)state;
	assert_int_equal(create(&region, 4096, PN_PAGE_4K, PN_BACKING_AUTO), 0);
	pn_region_get(region);
	pn_region_get(region);
	assert_int_equal(pn_region_destroy(region), -EBUSY);
	pn_region_put(region);
	pn_fail(EPROTO, "stale");
	assert_int_equal(pn_region_destroy(region), -EBUSY);
	assert_string_not_equal(pn_error(), "stale");
	pn_region_put(region);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void a_child_does_not_have_it(void **state)
{
	struct pn_region_info info;
	struct pn_region *region;
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(create(&region, 4096, PN_PAGE_4K, PN_BACKING_AUTO), 0);
	pn_region_get_info(region, &info);
	*(volatile char *)info.vaddr = 1;
	child = fork();
	if (!child) {
		unsigned char present;

		/* No sanitizer's handler, no core. */
		signal(SIGSEGV, SIG_DFL);
		if (!mincore(info.vaddr, 4096, &present) || errno != ENOMEM)
			_exit(1);
		*(volatile char *)info.vaddr = 2;
		_exit(2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_int_equal(*(volatile char *)info.vaddr, 1);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void logged(void *arg, enum pn_log_level level, const char *text)
{
	(void)arg;
	if (level <= PN_LOG_WARNING)
		snprintf(log_text, sizeof(log_text), "%s", text);
}

/* More than the pool holds, whatever it holds. */
static uint64_t too_much(void)
{
	return (free_2m() + 3) * PN_PAGE_2M;
}

static void a_fall_back_to_small_pages_is_said(void **state)
{
	struct pn_region_info info;
	struct pn_region *region;

	(void)state;
	if (free_2m() > 64) {
		print_message("skipped: this machine has too many hugepages free\n");
		skip();
	}
	log_text[0] = '\0';
	pn_log_set(logged, NULL, PN_LOG_WARNING);
	assert_int_equal(create(&region, too_much(), 0, PN_BACKING_AUTO), 0);
	pn_log_set(NULL, NULL, PN_LOG_WARNING);
	pn_region_get_info(region, &info);
	assert_int_equal(info.page_size, PN_PAGE_4K);
	assert_int_equal(info.backing, PN_BACKING_MEMFD);
	assert_int_equal(info.size, too_much());
	assert_string_not_equal(info.note, "");
	assert_non_null(strstr(info.note, "4 KiB"));
	assert_non_null(strstr(log_text, "4 KiB"));
	assert_int_equal(pn_region_destroy(region), 0);
}

static void a_page_size_that_was_asked_for_is_never_replaced(void **state)
{
	struct pn_region *region = NULL;
	uint64_t had = free_2m();
	char text[32];

	(void)state;
	assert_int_equal(create(&region, too_much(), PN_PAGE_2M, PN_BACKING_AUTO), -ENOMEM);
	assert_null(region);
	snprintf(text, sizeof(text), "%ju", (uintmax_t)had);
	assert_non_null(strstr(pn_error(), text));
	snprintf(text, sizeof(text), "%ju", (uintmax_t)(had + 3));
	assert_non_null(strstr(pn_error(), text));
	assert_non_null(strstr(pn_error(), "nr_hugepages"));
	assert_int_equal(
		create(&region, too_much(), PN_PAGE_2M, PN_BACKING_HUGETLB_MEMFD), -ENOMEM);
	assert_int_equal(create(&region, too_much(), 0, PN_BACKING_HUGETLB_MEMFD), -ENOMEM);
	assert_int_equal(create(&region, PN_PAGE_1G * 4096, PN_PAGE_1G, PN_BACKING_AUTO), -ENOMEM);
	assert_non_null(strstr(pn_error(), "1 GiB"));
	assert_int_equal(free_2m(), had);
}

static void hugepages_are_taken_when_they_are_there(void **state)
{
	struct pn_region_info info;
	struct pn_region *region, *second = NULL;
	uint64_t before;

	(void)state;
	need_hugepages();
	before = free_2m();
	assert_int_equal(create(&region, 2 * PN_PAGE_2M + 1, 0, PN_BACKING_AUTO), 0);
	pn_region_get_info(region, &info);
	assert_int_equal(info.page_size, PN_PAGE_2M);
	assert_int_equal(info.backing, PN_BACKING_HUGETLB_MEMFD);
	assert_int_equal(info.size, 3 * PN_PAGE_2M);
	assert_string_equal(info.note, "");
	assert_int_equal((uintptr_t)info.vaddr % PN_PAGE_2M, 0);
	assert_int_equal(free_2m(), before - 3);
	assert_zero(info.vaddr, info.size);
	memset(info.vaddr, 1, info.size);
	assert_int_equal(
		create(&second, (before - 2) * PN_PAGE_2M, PN_PAGE_2M, PN_BACKING_AUTO), -ENOMEM);
	assert_int_equal(
		create(&second, (before - 3) * PN_PAGE_2M, PN_PAGE_2M, PN_BACKING_AUTO), 0);
	assert_int_equal(free_2m(), 0);
	assert_int_equal(pn_region_destroy(second), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(free_2m(), before);
}

static void a_mounted_hugetlbfs_serves(void **state)
{
	struct pn_region_opts opts = options(0, PN_BACKING_AUTO);
	struct pn_region_info info;
	struct pn_region *region;
	uint64_t before;
	char path[256];

	(void)state;
	need_hugetlbfs();
	assert_int_equal(pn_hugetlbfs_page_size(hugetlbfs_dir), PN_PAGE_2M);
	assert_int_equal(pn_hugetlbfs_page_size("/proc"), 0);
	assert_int_equal(pn_hugetlbfs_find(PN_PAGE_2M, path, sizeof(path)), 0);
	assert_int_equal(pn_hugetlbfs_find(PN_PAGE_2M, path, 2) < 0, 1);
	need_hugepages();
	before = free_2m();
	opts.hugetlbfs_path = hugetlbfs_dir;
	assert_int_equal(pn_region_create(&region, PN_PAGE_2M, &opts), 0);
	pn_region_get_info(region, &info);
	assert_int_equal(info.backing, PN_BACKING_HUGETLBFS);
	assert_int_equal(info.page_size, PN_PAGE_2M);
	assert_zero(info.vaddr, info.size);
	/* Unlinked: rmdir-able mount content is empty. */
	snprintf(path, sizeof(path), "%s/.", hugetlbfs_dir);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(free_2m(), before);
	opts = options(PN_PAGE_2M, PN_BACKING_HUGETLBFS);
	assert_int_equal(pn_region_create(&region, PN_PAGE_2M, &opts), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	opts.hugetlbfs_path = hugetlbfs_dir;
	assert_int_equal(pn_region_create(&region, too_much(), &opts), -ENOMEM);
	assert_int_equal(free_2m(), before);
	opts.page_size = PN_PAGE_1G;
	assert_int_equal(pn_region_create(&region, PN_PAGE_1G, &opts), -EINVAL);
}

static void the_inventory_agrees_with_the_kernel(void **state)
{
	struct pn_hugepages pool;
	uint64_t total = 0;

	(void)state;
	assert_int_equal(pn_hugepages_read(&pool, 12345, PN_NODE_ANY), -ENOENT);
	assert_int_equal(pn_hugepages_read(&pool, 0, PN_NODE_ANY), -ENOENT);
	assert_int_equal(pn_hugepages_read(&pool, UINT64_MAX, PN_NODE_ANY), -ENOENT);
	assert_int_equal(pn_hugepages_read(&pool, PN_PAGE_2M, 4000), -ENOENT);
	assert_int_equal(pn_hugepages_read(&pool, PN_PAGE_2M, -2), -ENOENT);
	if (pn_read_u64(NR_2M, &total)) {
		print_message("skipped: no pool of 2 MiB pages\n");
		skip();
	}
	assert_int_equal(pn_hugepages_read(&pool, PN_PAGE_2M, PN_NODE_ANY), 0);
	assert_int_equal(pool.page_size, PN_PAGE_2M);
	assert_int_equal(pool.numa_node, PN_NODE_ANY);
	assert_int_equal(pool.total, total);
	assert_true(pool.free <= pool.total);
}

static void more_than_the_machine_has_is_refused_before_it_is_touched(void **state)
{
	struct pn_region *region = NULL;

	(void)state;
	brought_in_too_much = false;
	assert_int_equal(create(&region, UINT64_C(1) << 40, PN_PAGE_4K, PN_BACKING_AUTO), -ENOMEM);
	assert_false(brought_in_too_much);
	assert_int_equal(create(&region, UINT64_C(1) << 40, 0, PN_BACKING_AUTO), -ENOMEM);
	assert_false(brought_in_too_much);
}

static void names(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(pn_backing_name(PN_BACKING_AUTO), "auto");
	assert_string_equal(pn_backing_name(PN_BACKING_HUGETLB_MEMFD), "hugetlb-memfd");
	assert_string_equal(pn_backing_name(PN_BACKING_HUGETLBFS), "hugetlbfs");
	assert_string_equal(pn_backing_name(PN_BACKING_MEMFD), "memfd");
	assert_non_null(pn_backing_name((enum pn_backing)99));
	assert_string_equal(pn_size_text(PN_PAGE_2M, text), "2 MiB");
	assert_string_equal(pn_size_text(PN_PAGE_1G, text), "1 GiB");
	assert_string_equal(pn_size_text(PN_PAGE_4K, text), "4 KiB");
}

/* No region leaves a file or a mapping behind, whatever failed. */
static void nothing_is_left_behind(void **state)
{
	int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC), after;
	struct pn_region *region;

	(void)state;
	close(lowest);
	assert_int_equal(create(&region, too_much(), PN_PAGE_2M, PN_BACKING_AUTO), -ENOMEM);
	assert_int_equal(create(&region, UINT64_C(1) << 47, PN_PAGE_2M, PN_BACKING_AUTO), -ENOMEM);
	assert_int_equal(create(&region, 4096, PN_PAGE_4K, PN_BACKING_AUTO), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(after);
	assert_int_equal(after, lowest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_combinations_are_checked),
		cmocka_unit_test(small_pages_work),
		cmocka_unit_test(use_keeps_a_region),
		cmocka_unit_test(a_child_does_not_have_it),
		cmocka_unit_test(a_fall_back_to_small_pages_is_said),
		cmocka_unit_test(a_page_size_that_was_asked_for_is_never_replaced),
		cmocka_unit_test(hugepages_are_taken_when_they_are_there),
		cmocka_unit_test(a_mounted_hugetlbfs_serves),
		cmocka_unit_test(the_inventory_agrees_with_the_kernel),
		cmocka_unit_test(more_than_the_machine_has_is_refused_before_it_is_touched),
		cmocka_unit_test(names),
		cmocka_unit_test(nothing_is_left_behind),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	machine_end();
	return failed;
}
