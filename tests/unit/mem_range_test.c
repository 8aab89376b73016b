/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of addresses that the application has mapped: what is taken, what is refused and in which
 * words, that pages are there and nobody else's, and that nothing is left changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/magic.h>

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

#define PAGE 4096u

static unsigned char *map(uint64_t size, int prot, int flags, int fd)
{
	void *at = mmap(NULL, size, prot, flags, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static unsigned char *anonymous(unsigned int pages)
{
	return map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static struct pn_region *take(void *at, uint64_t size, const struct pn_region_opts *opts)
{
	struct pn_region *region;

	if (pn_region_from_range(&region, at, size, opts))
		fail_msg("%s", pn_error());
	return region;
}

static void assert_error_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
}

static void refused(
	void *at, uint64_t size, const struct pn_region_opts *opts, int err, const char *words)
{
	struct pn_region *region = NULL;

	pn_fail(EPROTO, "stale");
	assert_int_equal(pn_region_from_range(&region, at, size, opts), err);
	assert_null(region);
	assert_error_has(words);
}

static const char *address_text(const void *at)
{
	static char text[32];

	snprintf(text, sizeof(text), "%#" PRIx64, (uint64_t)(uintptr_t)at);
	return text;
}

/* A file of so many pages on a file system that writes back, or -1; it has no name any more. */
static int disk_file(unsigned int pages)
{
	char name[] = "/var/tmp/pn-range-XXXXXX", text[PAGE];
	struct statfs fs;
	int fd = mkostemp(name, O_CLOEXEC);

	if (fd < 0)
		return -1;
	unlink(name);
	if (fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
		close(fd);
		return -1;
	}
	memset(text, 'f', sizeof(text));
	for (unsigned int i = 0; i < pages; i++)
		assert_int_equal(write(fd, text, sizeof(text)), PAGE);
	return fd;
}

static int need_disk_file(unsigned int pages)
{
	int fd = disk_file(pages);

	if (fd < 0) {
		print_message("skipped: /var/tmp is not on a disk\n");
		skip();
	}
	return fd;
}

/* Does a child of fork() have the page? */
static bool child_has(const unsigned char *at)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		unsigned char present;

		_exit(mincore((void *)(uintptr_t)at, PAGE, &present) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

/*
 * Taking
 */

static void takes_untouched_memory(void **state)
{
	unsigned char *at = anonymous(3), there[3];
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_page_count pages;
	struct pn_region_info info;
	struct pn_region *region;

	(void)state;
	at[PAGE] = 7;
	opts.name = "mine";
	region = take(at, 3 * PAGE, &opts);
	pn_region_get_info(region, &info);
	assert_ptr_equal(info.vaddr, at);
	assert_int_equal(info.size, 3 * PAGE);
	assert_int_equal(info.page_size, PAGE);
	assert_int_equal(info.backing, PN_BACKING_RANGE);
	assert_string_equal(info.name, "mine");
	assert_string_equal(info.note, "");
	assert_true(info.writable);
	/* All there, none a zero page, none of another's, and with what was in them. */
	assert_int_equal(mincore(at, 3 * PAGE, there), 0);
	assert_int_equal(there[0] & there[1] & there[2] & 1, 1);
	if (!pn_pages_to_copy((uint64_t)(uintptr_t)at, (uint64_t)(uintptr_t)at + 3 * PAGE, &pages))
		assert_int_equal(pages.count, 0);
	assert_int_equal(at[PAGE], 7);
	assert_int_equal(at[0] | at[2 * PAGE], 0);
	assert_int_equal(pn_region_check_write(region), 0);
	assert_int_equal(pn_region_check(region), 0);

	pn_region_get(region);
	assert_int_equal(pn_region_destroy(region), -EBUSY);
	pn_region_put(region);
	assert_int_equal(pn_region_destroy(region), 0);
	/* It stays the application's. */
	assert_int_equal(at[PAGE], 7);
	munmap(at, 3 * PAGE);
}

/* A zero page that was read, and pages shared with a child since fork(), are replaced. */
static void replaces_what_is_shared(void **state)
{
	unsigned char *at = anonymous(2);
	struct pn_page_count pages;
	struct pn_region *region;
	int hold[2], status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(*(volatile unsigned char *)at, 0);
	at[PAGE] = 1;
	child = fork();
	if (!child) {
		close(hold[1]);
		_exit(read(hold[0], &status, 1) < 0);
	}
	region = take(at, 2 * PAGE, NULL);
	if (!pn_pages_to_copy((uint64_t)(uintptr_t)at, (uint64_t)(uintptr_t)at + 2 * PAGE, &pages))
		assert_int_equal(pages.count, 0);
	assert_int_equal(at[PAGE], 1);
	close(hold[0]);
	close(hold[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);
}

static void takes_several_mappings(void **state)
{
	unsigned char *at = anonymous(6);
	int fd = memfd_create("some", MFD_CLOEXEC);
	struct pn_region_info info;
	struct pn_region *region;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_ptr_equal(mmap(at + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, 0),
		at + 2 * PAGE);
	close(fd);
	region = take(at + PAGE, 4 * PAGE, NULL);
	pn_region_get_info(region, &info);
	assert_true(info.writable);
	for (unsigned int page = 0; page < 6; page++)
		assert_int_equal(mapping_has_flag(at + page * PAGE, "dc"), page > 0 && page < 5);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	for (unsigned int page = 0; page < 6; page++)
		assert_false(mapping_has_flag(at + page * PAGE, "dc"));

	/* One page that cannot be written to, and none of it is for writing. */
	assert_int_equal(mprotect(at + 4 * PAGE, PAGE, PROT_READ), 0);
	region = take(at, 6 * PAGE, NULL);
	pn_region_get_info(region, &info);
	assert_false(info.writable);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 6 * PAGE);
}

static void takes_what_cannot_be_written(void **state)
{
	unsigned char *at = map(2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_heap *heap = NULL;
	struct pn_region_info info;
	struct pn_region *region = take(at, 2 * PAGE, NULL);

	(void)state;
	pn_region_get_info(region, &info);
	assert_false(info.writable);
	assert_non_null(strstr(info.note, "zero page"));
	assert_int_equal(pn_region_check_write(region), -EACCES);
	assert_error_has("read only");
	assert_int_equal(pn_heap_create(&heap, region, 0), -EACCES);
	assert_null(heap);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);

	/* Asked for, of memory that could be written to. */
	at = anonymous(1);
	opts.read_only = true;
	region = take(at, PAGE, &opts);
	pn_region_get_info(region, &info);
	assert_false(info.writable);
	assert_string_equal(info.note, "");
	assert_int_equal(pn_region_check_write(region), -EACCES);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, PAGE);
}

static void takes_shared_memory(void **state)
{
	unsigned char *at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	struct pn_region_info info;
	struct pn_region *region = take(at, 2 * PAGE, NULL);

	(void)state;
	pn_region_get_info(region, &info);
	assert_true(info.writable);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);
}

static void takes_a_tmpfs_file(void **state)
{
	struct pn_region *region;
	unsigned char *at;
	char name[128];
	int fd;

	(void)state;
	need_tmpfs();
	snprintf(name, sizeof(name), "%s/shared", tmpfs_dir);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	region = take(at, 2 * PAGE, NULL);
	assert_int_equal(pn_region_destroy(region), 0);
	/* Behind the end of the file there is an address, and no page. */
	assert_int_equal(ftruncate(fd, PAGE), 0);
	refused(at, 2 * PAGE, NULL, -EFAULT, "behind the end of its file");
	assert_false(mapping_has_flag(at, "dc"));
	munmap(at, 2 * PAGE);
	close(fd);
}

static void copies_a_private_file_mapping(void **state)
{
	int fd = need_disk_file(2);
	unsigned char *at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	struct pn_region_info info;
	struct pn_region *region = take(at, 2 * PAGE, NULL);

	(void)state;
	pn_region_get_info(region, &info);
	assert_true(info.writable);
	assert_string_equal(info.note, "");
	/* A page of its own by now: the file's change does not come through. */
	assert_int_equal(pwrite(fd, "x", 1, PAGE), 1);
	assert_int_equal(at[PAGE], 'f');
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);

	at = map(2 * PAGE, PROT_READ, MAP_PRIVATE, fd);
	region = take(at, 2 * PAGE, NULL);
	pn_region_get_info(region, &info);
	assert_false(info.writable);
	assert_non_null(strstr(info.note, "private mapping that cannot be written to"));
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);
	close(fd);
}

static void takes_whole_hugepages_as_such(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;
	struct pn_region *region;
	unsigned char *at;
	uint64_t before;

	(void)state;
	need_hugepages();
	before = free_2m();
	at = map(3 * PN_PAGE_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		-1);
	opts.page_size = PN_PAGE_2M;
	region = take(at, 3 * PN_PAGE_2M, &opts);
	pn_region_get_info(region, &info);
	assert_int_equal(info.page_size, PN_PAGE_2M);
	assert_int_equal(free_2m(), before - 3);
	/* With pinned private hugepages this is what lets fork() work. */
	assert_false(child_has(at));
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_true(child_has(at));

	/* A part of one: the rest of that page goes with it. */
	opts.page_size = 0;
	region = take(at + PAGE, PN_PAGE_2M, &opts);
	pn_region_get_info(region, &info);
	assert_int_equal(info.page_size, PAGE);
	assert_false(child_has(at));
	assert_false(child_has(at + PN_PAGE_2M + PAGE));
	assert_true(child_has(at + 2 * PN_PAGE_2M));
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_true(child_has(at));
	assert_true(child_has(at + PN_PAGE_2M));
	opts.page_size = PN_PAGE_2M;
	refused(at + PAGE, PN_PAGE_2M, &opts, -EINVAL, "2 MiB are asked for");
	munmap(at, 3 * PN_PAGE_2M);
	assert_int_equal(free_2m(), before);
}

static void says_when_hugepages_are_missing(void **state)
{
	uint64_t size;
	unsigned char *at;

	(void)state;
	need_hugepages();
	size = (free_2m() + 2) * PN_PAGE_2M;
	/* Without a reserve, so that it is the touch that fails. */
	at = map(size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1);
	refused(at, size, NULL, -ENOMEM, "nr_hugepages");
	munmap(at, size);
}

/*
 * Refusals
 */

static void refuses_what_is_no_range(void **state)
{
	unsigned char *at = anonymous(2);
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	(void)state;
	refused(at, 0, NULL, -EINVAL, "whole pages");
	refused(at, 1, NULL, -EINVAL, "whole pages");
	refused(at, PAGE + 1, NULL, -EINVAL, "whole pages");
	refused(at + 1, PAGE, NULL, -EINVAL, "whole pages");
	refused(at, UINT64_MAX, NULL, -EINVAL, "whole pages");
	refused(at, UINT64_MAX - PAGE + 1, NULL, -EINVAL, "beyond the last address");
	refused((void *)(uintptr_t)(UINT64_MAX - PAGE + 1), PAGE, NULL, -EINVAL, "beyond");
	refused(NULL, PAGE, NULL, -EFAULT, "at 0 nothing is mapped");
	refused((void *)(uintptr_t)(UINT64_C(1) << 63), PAGE, NULL, -EFAULT, "nothing is mapped");

	opts.backing = PN_BACKING_MEMFD;
	refused(at, PAGE, &opts, -EINVAL, "memfd does not go with");
	opts.backing = PN_BACKING_FILE;
	refused(at, PAGE, &opts, -EINVAL, "file does not go with");
	opts.backing = (enum pn_backing)77;
	refused(at, PAGE, &opts, -EINVAL, "does not go with");
	opts.backing = PN_BACKING_RANGE;
	opts.page_size = PN_PAGE_2M;
	refused(at, PAGE, &opts, -EINVAL, "the memory has pages of 4 KiB");
	opts.page_size = 0;
	opts.hugetlbfs_path = "/";
	refused(at, PAGE, &opts, -EINVAL, "hugetlbfs path");
	opts.hugetlbfs_path = NULL;
	assert_int_equal(pn_region_destroy(take(at, PAGE, &opts)), 0);
	munmap(at, 2 * PAGE);
}

static void refuses_holes(void **state)
{
	unsigned char *at = anonymous(5);

	(void)state;
	assert_int_equal(munmap(at + 3 * PAGE, PAGE), 0);
	refused(at, 5 * PAGE, NULL, -EFAULT, address_text(at + 3 * PAGE));
	assert_error_has("nothing is mapped");
	refused(at + 3 * PAGE, 2 * PAGE, NULL, -EFAULT, address_text(at + 3 * PAGE));
	refused(at + 2 * PAGE, 2 * PAGE, NULL, -EFAULT, address_text(at + 3 * PAGE));
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_NONE), 0);
	refused(at, 3 * PAGE, NULL, -EFAULT, address_text(at + PAGE));
	assert_error_has("may not be read");
	refused(at + PAGE, PAGE, NULL, -EFAULT, address_text(at + PAGE));
	/* Nothing of what is there was changed. */
	assert_false(mapping_has_flag(at, "dc"));
	assert_false(mapping_has_flag(at + 4 * PAGE, "dc"));
	munmap(at, 3 * PAGE);
	munmap(at + 4 * PAGE, PAGE);
}

static void refuses_files_that_are_written_back(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	int fd = need_disk_file(2);
	unsigned char *at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	struct pn_region_info info;
	struct pn_region *region;

	(void)state;
	refused(at, 2 * PAGE, NULL, -EOPNOTSUPP, "writable shared mapping of a file");
	assert_false(mapping_has_flag(at, "dc"));
	opts.read_only = true;
	region = take(at, 2 * PAGE, &opts);
	pn_region_get_info(region, &info);
	assert_false(info.writable);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(mprotect(at, 2 * PAGE, PROT_READ), 0);
	region = take(at, 2 * PAGE, NULL);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PAGE);
	close(fd);
}

static void refuses_secret_memory(void **state)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	unsigned char *at;

	(void)state;
	if (fd < 0) {
		print_message("skipped: no memfd_secret() here\n");
		skip();
	}
	assert_int_equal(ftruncate(fd, PAGE), 0);
	at = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	refused(at, PAGE, NULL, -EOPNOTSUPP, "memfd_secret");
	opts.read_only = true;
	refused(at, PAGE, &opts, -EOPNOTSUPP, "memfd_secret");
	munmap(at, PAGE);
	close(fd);
}

/* The kernel's time page is a VM_PFNMAP mapping that every process has. */
static void refuses_device_memory(void **state)
{
	FILE *file = fopen("/proc/self/maps", "re");
	uint64_t start = 0, found = 0;
	char line[8192];

	(void)state;
	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		if (strstr(line, "[vvar]") && sscanf(line, "%" SCNx64, &start) == 1)
			found = start;
	}
	fclose(file);
	if (!found) {
		print_message("skipped: no [vvar] in this process\n");
		skip();
	}
	refused((void *)(uintptr_t)found, PAGE, NULL, -EOPNOTSUPP, "mapping of a device");
}

/* More than there is would end with the kernel killing a process: refused before it is touched. */
static void refuses_more_than_there_is(void **state)
{
	char text[4096], *line;
	unsigned char *at, there;
	uint64_t size;

	(void)state;
	assert_true(pn_read_file("/proc/meminfo", text, sizeof(text)) > 0);
	line = strstr(text, "MemAvailable:");
	assert_non_null(line);
	size = (strtoull(line + 13, NULL, 10) << 10) + PN_PAGE_1G;
	size = pn_align_up(size, PAGE);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (at == MAP_FAILED) {
		print_message("skipped: so many addresses are not to be had here\n");
		skip();
	}
	refused(at, size, NULL, -ENOMEM, "are needed");
	assert_int_equal(mincore(at, PAGE, &there), 0);
	assert_int_equal(there & 1, 0);
	munmap(at, size);
}

/*
 * fork()
 */

static void keeps_the_range_from_children(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	unsigned char *at = anonymous(3);
	struct pn_region *region = take(at + PAGE, PAGE, NULL);

	(void)state;
	assert_true(child_has(at));
	assert_false(child_has(at + PAGE));
	assert_true(child_has(at + 2 * PAGE));
	assert_int_equal(pn_region_destroy(region), 0);
	assert_true(child_has(at + PAGE));

	opts.keep_on_fork = true;
	region = take(at, 3 * PAGE, &opts);
	assert_true(child_has(at));
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);

	/* What was so before stays so. */
	assert_int_equal(madvise(at + PAGE, PAGE, MADV_DONTFORK), 0);
	region = take(at, 3 * PAGE, NULL);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_true(child_has(at));
	assert_false(child_has(at + PAGE));
	assert_true(child_has(at + 2 * PAGE));
	munmap(at, 3 * PAGE);
}

/* What the application has put there since is none of the region's business. */
static void leaves_other_memory_alone_at_the_end(void **state)
{
	unsigned char *at = anonymous(3);
	struct pn_region *region = take(at, 3 * PAGE, NULL);

	(void)state;
	assert_int_equal(munmap(at, PAGE), 0);
	assert_ptr_equal(
		mmap(at + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		at + PAGE);
	assert_int_equal(madvise(at + PAGE, PAGE, MADV_DONTFORK), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_true(mapping_has_flag(at + PAGE, "dc"));
	munmap(at + PAGE, 2 * PAGE);

	/* All of it gone. */
	at = anonymous(1);
	region = take(at, PAGE, NULL);
	munmap(at, PAGE);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void two_regions_over_one_range(void **state)
{
	unsigned char *at = anonymous(2);
	struct pn_region *first = take(at, 2 * PAGE, NULL), *second = take(at, PAGE, NULL);

	(void)state;
	assert_int_equal(pn_region_destroy(second), 0);
	assert_false(child_has(at));
	assert_int_equal(pn_region_check(first), 0);
	assert_int_equal(pn_region_destroy(first), 0);
	assert_true(child_has(at));
	munmap(at, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_untouched_memory),
		cmocka_unit_test(replaces_what_is_shared),
		cmocka_unit_test(takes_several_mappings),
		cmocka_unit_test(takes_what_cannot_be_written),
		cmocka_unit_test(takes_shared_memory),
		cmocka_unit_test(takes_a_tmpfs_file),
		cmocka_unit_test(copies_a_private_file_mapping),
		cmocka_unit_test(takes_whole_hugepages_as_such),
		cmocka_unit_test(says_when_hugepages_are_missing),
		cmocka_unit_test(refuses_what_is_no_range),
		cmocka_unit_test(refuses_holes),
		cmocka_unit_test(refuses_files_that_are_written_back),
		cmocka_unit_test(refuses_secret_memory),
		cmocka_unit_test(refuses_device_memory),
		cmocka_unit_test(refuses_more_than_there_is),
		cmocka_unit_test(keeps_the_range_from_children),
		cmocka_unit_test(leaves_other_memory_alone_at_the_end),
		cmocka_unit_test(two_regions_over_one_range),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	machine_end();
	return failed;
}
