/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Causes of ENOMEM that are not the limit, on machines that this one is not: what /proc, /sys and
 * the control groups would say is put in their place. Each is named when it shows, with its
 * numbers, and not when it does not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "counters.h"
#include "mem_priv.h"

/*
 * The machine
 */

struct file {
	const char *path, *text;
};

static struct file files[16];
static size_t file_count;
static struct pn_vma vmas[4];
static size_t vma_count;
static struct pn_hugepages pool;
/* How many files can still be opened, and how many then cannot for want of memory. */
static unsigned int opened_before, no_memory;
static bool own_files_vanish;

ssize_t __wrap_pn_read_file(const char *path, char *buf, size_t size);
int __wrap_pn_read_u64(const char *path, uint64_t *value);
int __wrap_pn_vmas_read(uint64_t start, uint64_t end, struct pn_vmas *out);
int __wrap_pn_hugepages_read(struct pn_hugepages *out, uint64_t page_size, int numa_node);

ssize_t __wrap_pn_read_file(const char *path, char *buf, size_t size)
{
	if (opened_before) {
		opened_before--;
	} else if (no_memory) {
		no_memory--;
		return own_files_vanish && strstr(path, "/self/") ? -ENOENT : -ENOMEM;
	}
	for (size_t i = 0; i < file_count; i++) {
		if (!strcmp(files[i].path, path))
			return snprintf(buf, size, "%s", files[i].text);
	}
	return -ENOENT;
}

int __wrap_pn_read_u64(const char *path, uint64_t *value)
{
	char text[64], *end;
	ssize_t len = __wrap_pn_read_file(path, text, sizeof(text));

	if (len < 0)
		return (int)len;
	*value = strtoull(text, &end, 10);
	return end == text ? -EIO : 0;
}

int __wrap_pn_vmas_read(uint64_t start, uint64_t end, struct pn_vmas *out)
{
	(void)start, (void)end;
	out->list = calloc(4, sizeof(*out->list));
	assert_non_null(out->list);
	memcpy(out->list, vmas, sizeof(vmas));
	out->count = vma_count;
	return 0;
}

int __wrap_pn_hugepages_read(struct pn_hugepages *out, uint64_t page_size, int numa_node)
{
	(void)numa_node;
	if (page_size != PN_PAGE_2M)
		return -ENOENT;
	*out = pool;
	return 0;
}

static void set_file(const char *path, const char *text)
{
	size_t i;

	for (i = 0; i < file_count && strcmp(files[i].path, path); i++)
		;
	assert_true(i < PN_ARRAY_SIZE(files));
	files[i] = (struct file){path, text};
	file_count += i == file_count;
}

#define GROUP "/sys/fs/cgroup/a/b/"

/* 8 GiB available; in the control group /a/b, of which /a has no limit. */
static int machine(void **state)
{
	(void)state;
	file_count = vma_count = opened_before = no_memory = 0;
	memset(&pool, 0, sizeof(pool));
	set_file("/proc/meminfo",
		"MemTotal: 9999999 kB\nMemAvailable: 8388608 kB\n"
		"CommitLimit: 700 kB\nCommitted_AS: 650 kB\nCmaTotal: 2097152 kB\n");
	set_file("/proc/cmdline", "quiet hugetlb_cma=2G ro");
	set_file("/proc/self/cgroup", "1:name=x:/old\n0::/a/b\n");
	set_file("/sys/fs/cgroup/a/memory.max", "max");
	set_file(GROUP "memory.max", "4194304");
	set_file(GROUP "memory.current", "4190208");
	set_file(GROUP "memory.stat", "anon 1\ninactive_file 0\nactive_file 0\n");
	set_file(GROUP "memory.events", "low 0\nhigh 0\nmax 44\noom 3\noom_kill 0\n");
	return 0;
}

static char said[1000];

static bool unpinnable(uint64_t page_size)
{
	const struct pn_refused refused = {.what = "", .pages = 512, .page_size = page_size};

	return pn_explain_unpinnable(&refused, said, sizeof(said));
}

static bool no_room(uint64_t pages)
{
	const struct pn_refused refused = {.what = "", .pages = pages};

	return pn_explain_room(&refused, said, sizeof(said));
}

/*
 * Memory
 */

static void pages_in_cma(void **state)
{
	(void)state;
	assert_true(unpinnable(PN_PAGE_1G));
	assert_non_null(strstr(said, "(hugetlb_cma=2G on its command line)"));
	assert_non_null(strstr(said, "hugepagesz=1G"));
	assert_false(unpinnable(PN_PAGE_2M));
	assert_false(unpinnable(PN_PAGE_4K));
	assert_false(unpinnable(0));
	assert_string_equal(said, "");
}

static void pages_not_in_cma(void **state)
{
	static const char *const lines[] = {"quiet", "hugetlb_cma=", "hugetlb_cma=0 hugepages=1",
		"no_hugetlb_cma=2G", "hugetlb_cma_only=1", ""};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(lines); i++) {
		set_file("/proc/cmdline", lines[i]);
		assert_false(unpinnable(PN_PAGE_1G));
	}
	set_file("/proc/cmdline", "no_hugetlb_cma=1 hugetlb_cma=0:1G,1:2G");
	assert_true(unpinnable(PN_PAGE_1G));
	assert_non_null(strstr(said, "(hugetlb_cma=0:1G,1:2G on"));
	/* A kernel without CMA, and one whose area is too small for such a page. */
	set_file("/proc/meminfo", "MemTotal: 9999999 kB\n");
	assert_false(unpinnable(PN_PAGE_1G));
	set_file("/proc/meminfo", "CmaTotal: 65536 kB\n");
	assert_false(unpinnable(PN_PAGE_1G));
	file_count = 0;
	assert_false(unpinnable(PN_PAGE_1G));
}

/*
 * Room
 */

static void group_is_full(void **state)
{
	(void)state;
	assert_true(no_room(16));
	assert_non_null(strstr(said, "control group /a/b is at its memory.max"));
	assert_non_null(strstr(said, "4190208 of 4194304 bytes"));
	assert_non_null(strstr(said, "3 times"));
	assert_non_null(strstr(said, "/sys/fs/cgroup/a/b/memory.max"));
	/* The one above it is the narrower one. */
	set_file("/sys/fs/cgroup/a/memory.max", "3000000");
	set_file("/sys/fs/cgroup/a/memory.current", "3000000");
	set_file("/sys/fs/cgroup/a/memory.events", "oom 9\n");
	assert_true(no_room(16));
	assert_non_null(strstr(said, "control group /a is at"));
	assert_non_null(strstr(said, "9 times"));
}

/* Freed a little later; or never. */
static void group_is_so_full_that_it_cannot_be_asked(void **state)
{
	(void)state;
	no_memory = 3;
	assert_true(no_room(16));
	assert_non_null(strstr(said, "control group /a/b is at its memory.max"));
	/* Whichever file it comes to. */
	for (unsigned int i = 0; i < 6; i++) {
		opened_before = i;
		no_memory = 1000;
		assert_true(no_room(16));
		assert_non_null(strstr(said, "not even its figures can be read"));
	}
	/* The kernel says of a process's own files that they do not exist then. */
	opened_before = 0;
	no_memory = 1000;
	own_files_vanish = true;
	assert_true(no_room(16));
	own_files_vanish = false;
	assert_non_null(strstr(said, "not even its figures can be read"));
	assert_non_null(strstr(said, "memory.max"));
}

static void group_is_not_full(void **state)
{
	(void)state;
	/* It never ran out. */
	set_file(GROUP "memory.events", "low 0\nhigh 0\nmax 44\noom 0\noom_kill 0\n");
	assert_false(no_room(16));
	set_file(GROUP "memory.events", "");
	assert_false(no_room(16));
	machine(NULL);
	/* It did, but there is more than the tables take, if only as page cache. */
	set_file(GROUP "memory.current", "1000000");
	assert_false(no_room(16));
	assert_true(no_room(4000000 / 16));
	set_file(GROUP "memory.current", "4190208");
	set_file(GROUP "memory.stat", "anon 1\ninactive_file 1000000\nactive_file 1000000\n");
	assert_false(no_room(16));
	/* No limit, no control group of version 2. */
	set_file(GROUP "memory.max", "max");
	assert_false(no_room(16));
	set_file("/proc/self/cgroup", "1:name=x:/old\n");
	assert_false(no_room(16));
	pn_explain_left(said, sizeof(said));
	assert_non_null(strstr(said, "8589934592 bytes available"));
	assert_non_null(strstr(said, "no control group"));
}

static void machine_is_full(void **state)
{
	(void)state;
	set_file(GROUP "memory.max", "max");
	set_file("/proc/meminfo", "MemAvailable: 400 kB\n");
	assert_true(no_room(16));
	assert_non_null(strstr(said, "409600 bytes are available"));
	set_file("/proc/meminfo", "MemAvailable: 700 kB\n");
	assert_false(no_room(16));
	assert_true(no_room(UINT64_MAX));
	/* Not known. */
	set_file("/proc/meminfo", "nothing\n");
	assert_false(no_room(16));
	pn_explain_left(said, sizeof(said));
	assert_non_null(strstr(said, "cannot be seen"));
	pn_explain_left(said, 8);
	assert_int_equal(strlen(said), 7);
}

/*
 * Together: with no limit, the text is about what was seen
 */

static void not_limited(void)
{
	struct pn_refused refused = {.what = "THIS", .pages = 512, .page_size = PN_PAGE_1G};

	CHECK(pn_exempt_now());
	CHECK(pn_explain_enomem(&by_process, &refused) == -ENOMEM);
	CHECK(tells("THIS: ENOMEM: these 1 GiB pages") && tells("hugetlb_cma=2G"));
	CHECK(tells("the process has CAP_IPC_LOCK"));
	refused.page_size = PN_PAGE_4K;
	CHECK(pn_explain_enomem(&by_user, &refused) == -ENOMEM);
	CHECK(tells("THIS: ENOMEM: the control group /a/b"));
	set_file(GROUP "memory.max", "40000000");
	CHECK(pn_explain_enomem(&by_user, &refused) == -ENOMEM);
	CHECK(tells("neither was seen") && tells("/a/b leaves 35809792"));
	CHECK(!tells("hugetlb_cma"));
}

static void in_the_limit(void)
{
	struct pn_refused refused = {.what = "THIS", .pages = 32, .page_size = PN_PAGE_4K};

	become_nobody();
	limit_to(64);
	CHECK(pn_explain_enomem(&by_user, &refused) == -ENOMEM);
	CHECK(tells("the control group /a/b") && tells("though the limit is not the cause"));
	CHECK(says(64) && says(32));
	/* It is, as there is more than it allows already: whatever else is full. */
	refused.pages = 65;
	CHECK(pn_explain_enomem(&by_user, &refused) == -ENOMEM);
	CHECK(!tells("control group") && tells("RLIMIT_MEMLOCK is too low"));
}

static void the_cause_comes_first(void **state)
{
	(void)state;
	run_child(not_limited);
	run_child(in_the_limit);
}

/*
 * Children
 */

static int no_fork(int err)
{
	return pn_explain_fork(err, "no child");
}

static void hugepages_for_children(void **state)
{
	(void)state;
	vmas[0] = (struct pn_vma){
		.start = 0, .end = 3 * PN_PAGE_2M, .page_size = PN_PAGE_2M, .hugetlb = true};
	vma_count = 1;
	pool = (struct pn_hugepages){.total = 8, .free = 4, .reserved = 2};
	assert_int_equal(no_fork(ENOMEM), -ENOMEM);
	assert_true(tells("3 private hugepages of 2 MiB") && tells("the pool has 2 left"));
	pool.free = 5;
	no_fork(ENOMEM);
	assert_false(tells("private hugepages"));
	pool.free = 0;
	no_fork(ENOMEM);
	assert_true(tells("the pool has 0 left"));
	vmas[0].dont_fork = true;
	no_fork(ENOMEM);
	assert_false(tells("private hugepages"));
	vmas[0].dont_fork = false;
	vmas[0].shared = true;
	no_fork(ENOMEM);
	assert_false(tells("private hugepages"));
	/* No pool of that size to ask: not known. */
	vmas[0] = (struct pn_vma){.end = PN_PAGE_1G, .page_size = PN_PAGE_1G, .hugetlb = true};
	no_fork(ENOMEM);
	assert_false(tells("private hugepages"));
}

static void memory_for_children(void **state)
{
	(void)state;
	no_fork(ENOMEM);
	assert_true(tells("control group /a/b"));
	set_file("/proc/sys/vm/overcommit_memory", "2");
	no_fork(ENOMEM);
	assert_true(tells("650 of 700 kB"));
	set_file("/proc/sys/vm/overcommit_memory", "1");
	set_file(GROUP "memory.max", "max");
	no_fork(ENOMEM);
	assert_true(tells("8589934592 bytes available"));
}

static void number_of_children(void **state)
{
	struct rlimit limit;

	(void)state;
	set_file(GROUP "pids.max", "max");
	set_file("/sys/fs/cgroup/a/pids.max", "20");
	set_file("/sys/fs/cgroup/a/pids.current", "20");
	assert_int_equal(no_fork(EAGAIN), -EAGAIN);
	assert_true(tells("control group /a has 20 processes of 20 (pids.max)"));
	set_file("/sys/fs/cgroup/a/pids.current", "19");
	no_fork(EAGAIN);
	assert_false(tells("control group /a"));
	assert_int_equal(getrlimit(RLIMIT_NPROC, &limit), 0);
	assert_true(limit.rlim_cur == RLIM_INFINITY ? tells("threads-max") : tells("RLIMIT_NPROC"));
}

static void a_filter(void **state)
{
	(void)state;
	assert_int_equal(no_fork(EPERM), -EPERM);
	assert_true(tells("no child: fork: ") && tells("seccomp"));
	assert_int_equal(no_fork(ENOSYS), -ENOSYS);
	assert_true(tells("seccomp"));
	assert_int_equal(no_fork(EINVAL), -EINVAL);
	assert_false(tells("seccomp"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pages_in_cma, machine),
		cmocka_unit_test_setup(pages_not_in_cma, machine),
		cmocka_unit_test_setup(group_is_full, machine),
		cmocka_unit_test_setup(group_is_so_full_that_it_cannot_be_asked, machine),
		cmocka_unit_test_setup(group_is_not_full, machine),
		cmocka_unit_test_setup(machine_is_full, machine),
		cmocka_unit_test_setup(the_cause_comes_first, machine),
		cmocka_unit_test_setup(hugepages_for_children, machine),
		cmocka_unit_test_setup(memory_for_children, machine),
		cmocka_unit_test_setup(number_of_children, machine),
		cmocka_unit_test_setup(a_filter, machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
