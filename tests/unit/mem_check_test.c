/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pn_region_check(): what it sees of memory that was replaced, moved, discarded or cut, what it
 * does not mind, what it says that it cannot see; and files in /proc that make no sense.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

#define PAGE  4096u
#define RW    (PROT_READ | PROT_WRITE)
#define ANON  (MAP_PRIVATE | MAP_ANONYMOUS)
#define FIXED (ANON | MAP_FIXED)

/* Wrapped: open. A file that is opened in place of the one named, or not to be opened. */
static const char *replaced;
static int replacement = -1, refusal;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) __attribute__((alias("__wrap_open64")));

int __wrap_open64(const char *path, int flags, ...)
{
	char again[40];
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	if (!replaced || strcmp(path, replaced))
		return __real_open64(path, flags, mode);
	if (refusal) {
		errno = refusal;
		return -1;
	}
	snprintf(again, sizeof(again), "/proc/self/fd/%d", replacement);
	return __real_open64(again, O_RDONLY | O_CLOEXEC);
}

static void replace(const char *path, const char *text, size_t len)
{
	replaced = path;
	replacement = memfd_create("proc", MFD_CLOEXEC);
	assert_true(replacement >= 0);
	assert_int_equal(write(replacement, text, len), (ssize_t)len);
}

static void as_it_is(void)
{
	if (replacement >= 0)
		close(replacement);
	replacement = -1;
	replaced = NULL;
	refusal = 0;
}

static unsigned char *map(void *at, unsigned int pages, int flags)
{
	void *got = mmap(at, pages * PAGE, RW, flags, -1, 0);

	assert_ptr_not_equal(got, MAP_FAILED);
	return got;
}

static const struct pn_region_opts inherited = {
	0, PN_BACKING_AUTO, PN_NODE_ANY, NULL, "inherited", false, true};

static struct pn_region *take(void *at, unsigned int pages, const struct pn_region_opts *opts)
{
	struct pn_region *region;

	if (pn_region_from_range(&region, at, pages * PAGE, opts))
		fail_msg("%s", pn_error());
	assert_int_equal(pn_region_check(region), 0);
	return region;
}

static void stale(const struct pn_region *region, const void *at, const char *words)
{
	char address[32];

	snprintf(address, sizeof(address), "at %#" PRIx64 " ", (uint64_t)(uintptr_t)at);
	pn_fail(EPROTO, "nothing has failed");
	assert_int_equal(pn_region_check(region), -ESTALE);
	if (!strstr(pn_error(), address) || !strstr(pn_error(), words))
		fail_msg("'%s' or '%s' is not in: %s", address, words, pn_error());
}

static void done(struct pn_region *region, unsigned char *at, unsigned int pages)
{
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, pages * PAGE);
}

/*
 * Ranges
 */

static void sees_memory_that_is_gone(void **state)
{
	unsigned char *at = map(NULL, 5, ANON), *away;
	struct pn_region *region = take(at, 5, NULL);

	(void)state;
	munmap(at + 3 * PAGE, PAGE);
	stale(region, at + 3 * PAGE, "nothing is mapped");
	away = mremap(at + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map(NULL, 1, ANON));
	assert_ptr_not_equal(away, MAP_FAILED);
	stale(region, at + PAGE, "nothing is mapped");
	munmap(away, PAGE);
	munmap(at, 5 * PAGE);
	stale(region, at, "nothing is mapped");
	done(region, at, 5);
}

static void sees_memory_that_was_replaced(void **state)
{
	unsigned char *at = map(NULL, 4, ANON);
	struct pn_region *region = take(at, 4, NULL);

	(void)state;
	/* Memory of the same kind, touched: the new mapping is not kept from children. */
	map(at + 2 * PAGE, 1, FIXED)[0] = 1;
	stale(region, at + 2 * PAGE, "MADV_DONTFORK");
	map(at + PAGE, 1, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)[0] = 1;
	stale(region, at + PAGE, "other memory");
	assert_int_equal(mprotect(at, PAGE, PROT_READ), 0);
	stale(region, at, "protection");
	done(region, at, 4);

	/* Without that mark the missing page tells, unless it has been touched. */
	at = map(NULL, 4, ANON);
	region = take(at, 4, &inherited);
	map(at + PAGE, 2, FIXED);
	stale(region, at + PAGE, "discarded");
	at[PAGE] = 1;
	stale(region, at + 2 * PAGE, "discarded");
	at[2 * PAGE] = 1;
	assert_int_equal(pn_region_check(region), 0);
	done(region, at, 4);
}

static void sees_pages_that_were_discarded(void **state)
{
	unsigned char *at = map(NULL, 4, ANON), *away;
	struct pn_region *region = take(at, 4, NULL);

	(void)state;
	assert_int_equal(madvise(at + 2 * PAGE, PAGE, MADV_DONTNEED), 0);
	stale(region, at + 2 * PAGE, "discarded");
	at[2 * PAGE] = 1;
	assert_int_equal(pn_region_check(region), 0);
#ifdef MREMAP_DONTUNMAP
	away = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	if (away != MAP_FAILED) {
		stale(region, at, "discarded");
		munmap(away, PAGE);
	}
#endif
	done(region, at, 4);
}

static void sees_another_part_of_a_file(void **state)
{
	int fd = memfd_create("parts", MFD_CLOEXEC), other = memfd_create("parts", MFD_CLOEXEC);
	struct pn_region *region;
	unsigned char *at;

	(void)state;
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(ftruncate(other, 8 * PAGE), 0);
	at = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, PAGE);
	assert_ptr_not_equal(at, MAP_FAILED);
	region = take(at, 4, &inherited);
	/* The same again is the same. */
	mmap(at + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 2 * PAGE);
	assert_int_equal(pn_region_check(region), 0);
	mmap(at + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 3 * PAGE);
	stale(region, at + PAGE, "another part");
	mmap(at + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, other, 2 * PAGE);
	stale(region, at + PAGE, "another file");
	mmap(at + PAGE, PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 2 * PAGE);
	stale(region, at + PAGE, "another kind");
	done(region, at, 4);
	close(fd);
	close(other);
}

/* Mappings that the kernel splits and joins are the same memory. */
static void minds_no_other_borders(void **state)
{
	unsigned char *at = map(NULL, 6, ANON);
	struct pn_region *region;

	(void)state;
	munmap(at, PAGE);
	munmap(at + 5 * PAGE, PAGE);
	region = take(at + PAGE, 4, &inherited);
	assert_int_equal(madvise(at + 2 * PAGE, PAGE, MADV_RANDOM), 0);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(mprotect(at + 3 * PAGE, PAGE, RW | PROT_EXEC), 0);
	assert_int_equal(pn_region_check(region), 0);
	map(at, 1, FIXED);
	map(at + 5 * PAGE, 1, FIXED);
	assert_int_equal(pn_region_check(region), 0);
	done(region, at, 6);
}

static void does_without_pagemap(void **state)
{
	unsigned char *at = map(NULL, 2, ANON);
	struct pn_region *region;

	(void)state;
	replaced = "/proc/self/pagemap";
	refusal = EACCES;
	region = take(at, 2, NULL);
	madvise(at, PAGE, MADV_DONTNEED);
	assert_int_equal(pn_region_check(region), 0);
	refusal = 0;
	replace("/proc/self/pagemap", "", 0);
	assert_int_equal(pn_region_check(region), -EIO);
	as_it_is();
	stale(region, at, "discarded");
	done(region, at, 2);
}

/*
 * Files
 */

static void sees_a_file_that_was_cut(void **state)
{
	int fd = memfd_create("cut", MFD_CLOEXEC);
	struct pn_region *region;
	unsigned char *at;
	char path[40];

	(void)state;
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(pn_region_from_fd(&region, fd, PAGE, 4 * PAGE, NULL), 0);
	at = region->vaddr;
	assert_int_equal(ftruncate(fd, 5 * PAGE), 0);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, PAGE), 0);
	stale(region, at + 2 * PAGE, "hole");
	/* One that cannot be opened again is one of which nothing is known. */
	refusal = EACCES;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", region->fd);
	replaced = path;
	assert_int_equal(pn_region_check(region), 0);
	as_it_is();
	assert_int_equal(ftruncate(fd, 3 * PAGE + 100), 0);
	stale(region, at + 2 * PAGE, "shorter");
	assert_int_equal(ftruncate(fd, 0), 0);
	stale(region, at, "shorter");
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
}

static void works_for_the_librarys_own(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	unsigned char *at;

	(void)state;
	opts.page_size = PN_PAGE_4K;
	assert_int_equal(pn_region_create(&region, 3 * PAGE, &opts), 0);
	at = region->vaddr;
	assert_int_equal(pn_region_check(region), 0);
	assert_true(region->writable);
	/* Discarded from the page table only: the file has the page. */
	assert_int_equal(madvise(at, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(madvise(at + PAGE, PAGE, MADV_REMOVE), 0);
	stale(region, at + PAGE, "hole");
	map(at + 2 * PAGE, 1, FIXED);
	stale(region, at + 2 * PAGE, "other memory");
	assert_int_equal(pn_region_destroy(region), 0);

	opts.read_only = true;
	assert_int_equal(pn_region_create(&region, PAGE, &opts), -EINVAL);
	opts.read_only = false;
	opts.keep_on_fork = true;
	assert_int_equal(pn_region_create(&region, PAGE, &opts), 0);
	assert_false(mapping_has_flag(region->vaddr, "dc"));
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void works_for_hugepages(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	unsigned char *at;

	(void)state;
	need_hugepages();
	opts.page_size = PN_PAGE_2M;
	assert_int_equal(pn_region_create(&region, 2 * PN_PAGE_2M, &opts), 0);
	at = region->vaddr;
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(madvise(at + PN_PAGE_2M, PN_PAGE_2M, MADV_REMOVE), 0);
	stale(region, at + PN_PAGE_2M, "discarded");
	assert_int_equal(pn_region_destroy(region), 0);

	at = mmap(NULL, 2 * PN_PAGE_2M, RW, ANON | MAP_HUGETLB, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	/* Beginning and ending within a page. */
	assert_int_equal(pn_region_from_range(&region, at + 100 * PAGE, PN_PAGE_2M, NULL), 0);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(madvise(at + PN_PAGE_2M, PN_PAGE_2M, MADV_DONTNEED), 0);
	stale(region, at + PN_PAGE_2M, "discarded");
	assert_int_equal(madvise(at, PN_PAGE_2M, MADV_DONTNEED), 0);
	stale(region, at + 100 * PAGE, "discarded");
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 2 * PN_PAGE_2M);
}

/*
 * /proc that makes no sense
 */

#define SMAPS "/proc/self/smaps"
#define HEAD  "10000-14000 rw-p 00000000 00:00 0 \n"
#define BODY  "KernelPageSize:        4 kB\nVmFlags: rd wr mr mw me ac \n"

static int vmas(const char *text, struct pn_vmas *out)
{
	int ret;

	replace(SMAPS, text, strlen(text));
	ret = pn_vmas_read(0x11000, 0x13000, out);
	as_it_is();
	return ret;
}

static void reads_what_the_kernel_writes(void **state)
{
	struct pn_vmas list;

	(void)state;
	assert_int_equal(vmas("", &list), 0);
	assert_int_equal(list.count, 0);
	assert_int_equal(vmas(HEAD BODY, &list), 0);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.list[0].start, 0x11000);
	assert_int_equal(list.list[0].end, 0x13000);
	assert_true(list.list[0].read && list.list[0].write && !list.list[0].shared);
	assert_false(list.list[0].dont_fork || list.list[0].io || list.list[0].hugetlb);
	free(list.list);

	assert_int_equal(vmas("1000-11000 r--p 00000000 00:00 0 \n" BODY
			      "11000-12000 r--s 00005000 fe:01 77                   /a path\n"
			      "Size: 4 kB\nKernelPageSize: 2048 kB\nVmFlags: rd ht dc \n"
			      "12000-20000 rw-s ffff0000 00:0f 4294967297  /dev (deleted)\n"
			      "KernelPageSize:        4 kB\nVmFlags: pf \n"
			      "30000-40000 rw-p 00000000 00:00 0 \nnothing is read from here\n",
				 &list),
		0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.list[0].device, 0xfe01);
	assert_int_equal(list.list[0].inode, 77);
	assert_int_equal(list.list[0].offset, 0x5000);
	assert_int_equal(list.list[0].page_size, PN_PAGE_2M);
	assert_true(list.list[0].hugetlb && list.list[0].dont_fork && list.list[0].shared);
	assert_int_equal(list.list[1].start, 0x12000);
	assert_int_equal(list.list[1].end, 0x13000);
	assert_int_equal(list.list[1].inode, 4294967297);
	assert_true(list.list[1].io);
	free(list.list);

	/* One that has grown between two reads, and is shown twice. */
	assert_int_equal(vmas("10000-12000 rw-p 00000000 00:00 0 \n" BODY
			      "11000-13000 rw-s 00001000 00:05 9 \n" BODY,
				 &list),
		0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.list[1].start, 0x12000);
	assert_int_equal(list.list[1].offset, 0x2000);
	free(list.list);
}

static void distrusts_smaps(void **state)
{
	static const char *const bad[] = {"Size: 4 kB\n", "10000\n", "10000-\n", "10000-14000\n",
		"10000-14000 rw\n", "10000-14000 rw-p\n", "10000-14000 rw-p 0\n",
		"10000-14000 rw-p 00000000 00:00\n", "10000-14000 rw-p 00000000 0000 0 \n",
		"10000-14000 rw-p 00000000 00:00 x \n", "14000-10000 rw-p 00000000 00:00 0 \n" BODY,
		"12000-12000 rw-p 00000000 00:00 0 \n" BODY,
		"10001-14000 rw-p 00000000 00:00 0 \n" BODY,
		"10000-14000 rw-p 00000000 100000000:00 0 \n" BODY,
		"10000-99999999999999999 rw-p 00000000 00:00 0 \n" BODY,
		"10000-14000 rw-p 00000000 00:00 99999999999999999999 \n" BODY, HEAD,
		HEAD "VmFlags: rd \n", HEAD "KernelPageSize: 4 kB\n",
		HEAD "KernelPageSize: 3 kB\nVmFlags: rd \n",
		HEAD "KernelPageSize: 0 kB\nVmFlags: rd \n",
		HEAD "KernelPageSize: -4 kB\nVmFlags: rd \n",
		HEAD "KernelPageSize: 18446744073709551615 kB\nVmFlags: rd \n",
		HEAD "KernelPageSize: 9223372036854775808 kB\nVmFlags: rd \n",
		HEAD "KernelPageSize:\nVmFlags: rd \n"};
	struct pn_region *region = NULL;
	struct pn_vmas list;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		if (vmas(bad[i], &list) != -EIO)
			fail_msg("%zu was taken: %s", i, bad[i]);
		assert_null(list.list);
		assert_non_null(strstr(pn_error(), "makes no sense"));
	}
	refusal = ENOENT;
	replaced = SMAPS;
	assert_int_equal(
		pn_region_from_range(&region, (void *)(uintptr_t)0x11000, PAGE, NULL), -ENOENT);
	assert_non_null(strstr(pn_error(), "/proc"));
	as_it_is();
	assert_null(region);
}

/* Whatever stands there, nothing is read beyond it, and what is taken is in order. */
static void survives_random_smaps(void **state)
{
	static const char *const parts[] = {"10000-12000 rw-p 00000000 00:00 0 \n", "11000-12800 ",
		"12000-14000 r--s 00001000 fe:01 8 /x\n", "KernelPageSize: 4 kB\n",
		"VmFlags: rd wr dc", "VmFlags: ht\n", "\n", " ", "Size:", "f",
		"0-ffffffffffffffff ", "KernelPageSize: 2048 kB\n",
		"12000-13000 ---p 0 00:00 0 [a]\n"};
	struct pn_vmas list;
	unsigned int seed = 3;
	char text[2048];

	(void)state;
	for (int i = 0; i < 3000; i++) {
		text[0] = '\0';
		for (int j = rand_r(&seed) % 12; j >= 0; j--)
			strcat(text, parts[(size_t)rand_r(&seed) % PN_ARRAY_SIZE(parts)]);
		if (vmas(text, &list))
			continue;
		for (size_t j = 0; j < list.count; j++) {
			assert_in_range(list.list[j].start, j ? list.list[j - 1].end : 0x11000,
				list.list[j].end - 1);
			assert_in_range(list.list[j].end, 0x11001, 0x13000);
		}
		free(list.list);
	}
}

/* Lines of any length: a path of 4 KiB shows as 16. */
static void cuts_long_lines(void **state)
{
	static char text[60000];
	struct pn_vmas list;
	int len;

	(void)state;
	len = snprintf(text, sizeof(text), "10000-12000 rw-p 00000000 00:05 8 /%040000d\n%s", 0,
		BODY "12000-14000 r--p 00000000 00:00 0 \n" BODY);
	assert_in_range(len, 40000, sizeof(text) - 1);
	assert_int_equal(vmas(text, &list), 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.list[0].inode, 8);
	free(list.list);
}

static void knows_file_systems(void **state)
{
	static const char table[] =
		"20 1 254:0 / / rw - ext4 /dev/vda rw\n"
		"nonsense\n21 1 x:y / / rw - tmpfs x\n22 1 0:5 / /no-type rw -\n"
		"23 1 0:6 / /dev rw,nosuid shared:2 master:1 - devtmpfs udev rw\n"
		"24 1 0:30 /a\\040b /mnt rw - a-type-with-a-name-of-more-than-31-characters x rw\n"
		"25 1 0:31 / /huge rw - hugetlbfs none rw,pagesize=2M";
	char type[32];

	(void)state;
	replace("/proc/self/mountinfo", table, sizeof(table) - 1);
	assert_int_equal(pn_filesystem_pins(0xfe00, type), -EOPNOTSUPP);
	assert_string_equal(type, "ext4");
	assert_int_equal(pn_filesystem_pins(6, type), 0);
	assert_string_equal(type, "devtmpfs");
	assert_int_equal(pn_filesystem_pins(5, type), -EOPNOTSUPP);
	assert_string_equal(type, "");
	assert_int_equal(pn_filesystem_pins(0x1e, type), -EOPNOTSUPP);
	assert_int_equal(strlen(type), 31);
	assert_int_equal(pn_filesystem_pins(0x1f, type), 0);
	assert_int_equal(pn_filesystem_pins(0x999, type), -EOPNOTSUPP);
	as_it_is();
	replaced = "/proc/self/mountinfo";
	refusal = EACCES;
	assert_int_equal(pn_filesystem_pins(6, type), -EACCES);
	as_it_is();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sees_memory_that_is_gone),
		cmocka_unit_test(sees_memory_that_was_replaced),
		cmocka_unit_test(sees_pages_that_were_discarded),
		cmocka_unit_test(sees_another_part_of_a_file),
		cmocka_unit_test(minds_no_other_borders),
		cmocka_unit_test(does_without_pagemap),
		cmocka_unit_test(sees_a_file_that_was_cut),
		cmocka_unit_test(works_for_the_librarys_own),
		cmocka_unit_test(works_for_hugepages),
		cmocka_unit_test(reads_what_the_kernel_writes),
		cmocka_unit_test(distrusts_smaps),
		cmocka_unit_test(survives_random_smaps),
		cmocka_unit_test(cuts_long_lines),
		cmocka_unit_test(knows_file_systems),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	machine_end();
	return failed;
}
