/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading /proc/PID/maps and smaps: lines as kernels write them, of device memory above all, which
 * no unit test can have, and files that are cut off or make no sense.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_vmas.h"

static const char *given; /* stands in for the file; NULL: the real one */

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (!given)
		return __real_fopen(path, mode);
	return *given ? fmemopen((void *)(uintptr_t)given, strlen(given), "r")
		      : __real_fopen("/dev/null", "r");
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	return __wrap_fopen(path, mode);
}

static int read_text(const char *text, bool locked, struct vmas *vmas)
{
	int ret;

	given = text;
	ret = vmas_read(1, 0, UINT64_MAX, locked, vmas);
	given = NULL;
	return ret;
}

static void device_memory_is_known_by_its_name(void **state)
{
	static const char maps[] =
		"10000000-10010000 rw-s 00000000 00:0e 13 anon_inode:[vfio-device]\n"
		"20000000-20010000 rw-s 10000000000 00:06 311 /dev/vfio/devices/vfio0\n"
		"30000000-30010000 rw-s 00003000 00:01 1027 /memfd:region (deleted)\n"
		"40000000-40010000 rw-p 00000000 00:00 0 \n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
	struct vmas vmas;

	(void)state;
	assert_int_equal(read_text(maps, false, &vmas), 0);
	assert_int_equal(vmas.count, 5);
	assert_true(vmas.list[0].bar && !vmas.list[0].shared);
	assert_true(vmas.list[1].bar && !vmas.list[1].shared);
	assert_true(!vmas.list[2].bar && vmas.list[2].shared);
	assert_int_equal(vmas.list[2].inode, 1027);
	assert_int_equal(vmas.list[2].offset, 0x3000);
	assert_true(!vmas.list[3].bar && !vmas.list[3].shared);
	assert_int_equal(vmas_find(&vmas, 0), 0);
	assert_int_equal(vmas_find(&vmas, 0x1000ffff), 0);
	assert_int_equal(vmas_find(&vmas, 0x10010000), 1);
	assert_int_equal(vmas_find(&vmas, UINT64_MAX), 5);
	vmas_free(&vmas);
}

static void locked_areas_are_known_by_their_flag(void **state)
{
	static const char smaps[] =
		"10000000-10010000 rw-p 00000000 00:00 0 \n"
		"Size:                 64 kB\nLocked:               64 kB\n"
		"VmFlags: rd wr mr mw me lo ac \n"
		"20000000-20010000 rw-p 00000000 00:00 0 \n"
		"Locked:                0 kB\nVmFlags: rd wr mr mw me ac lof \n"
		"30000000-30010000 rw-p 00000000 00:00 0 [lo ]\nVmFlags: rd lo\n";
	struct vmas vmas;

	(void)state;
	assert_int_equal(read_text(smaps, true, &vmas), 0);
	assert_int_equal(vmas.count, 3);
	assert_true(vmas.list[0].locked);
	assert_false(vmas.list[1].locked);
	assert_true(vmas.list[2].locked);
	vmas_free(&vmas);
}

static void what_makes_no_sense_is_an_error(void **state)
{
	static const char *const bad[] = {"x\n", "10-\n", "20-10 rw-p 0 0:0 0\n", "10-20 rw-p\n",
		"10-20 rw-p 0\n", "10-20 rw-p 0 0:0\n", "-10 rw-p 0 0:0 0\n",
		"10 -20 rw-p 0 0:0 0\n", "10-20 rw\n", "fffffffffffffffff-20 rw-p 0 0:0 0\n"};
	struct vmas vmas;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (read_text(bad[i], false, &vmas) != -EIO)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(vmas.count, 0);
		assert_null(vmas.list);
	}
	/* A kernel thread's is empty; flags without an area belong to nothing. */
	assert_int_equal(read_text("", false, &vmas), 0);
	assert_int_equal(vmas.count, 0);
	assert_int_equal(read_text("VmFlags: lo \n", true, &vmas), 0);
	assert_int_equal(vmas.count, 0);
}

static void the_real_file(void **state)
{
	unsigned char *memory =
		mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t at = (uintptr_t)memory;
	struct vmas vmas;
	size_t found;

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	/* Sanitizers turn mlock() into nothing. */
	assert_int_equal(syscall(SYS_mlock, memory + 4096, (size_t)4096), 0);
	assert_int_equal(vmas_read(getpid(), at, at + 16384, true, &vmas), 0);
	found = vmas_find(&vmas, at + 4096);
	assert_true(vmas.list[found].locked);
	assert_int_equal(vmas.list[found].start, at + 4096);
	assert_int_equal(vmas.list[found].end, at + 8192);
	assert_false(vmas.list[vmas_find(&vmas, at)].locked);
	vmas_free(&vmas);
	munmap(memory, 16384);
	assert_int_equal(vmas_read(0x7ffffffe, 0, UINT64_MAX, false, &vmas), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_memory_is_known_by_its_name),
		cmocka_unit_test(locked_areas_are_known_by_their_flag),
		cmocka_unit_test(what_makes_no_sense_is_an_error),
		cmocka_unit_test(the_real_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
