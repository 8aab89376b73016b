/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of a memory file that was handed in: what is taken, what is refused and in which words,
 * that it is the file's memory and all of it is there.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

#define PAGE 4096u

static const struct pn_region_opts reading = {
	0, PN_BACKING_AUTO, PN_NODE_ANY, NULL, "reading", true, false};

static void assert_error_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
}

static int memfd(uint64_t size, unsigned int flags)
{
	int fd = memfd_create("handed", MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static struct pn_region *take(
	int fd, uint64_t offset, uint64_t len, const struct pn_region_opts *opts)
{
	struct pn_region *region;

	if (pn_region_from_fd(&region, fd, offset, len, opts))
		fail_msg("%s", pn_error());
	return region;
}

static void refused(int fd, uint64_t offset, uint64_t len, const struct pn_region_opts *opts,
	int err, const char *words)
{
	unsigned int fds = open_fds();
	struct pn_region *region = NULL;

	pn_fail(EPROTO, "stale");
	assert_int_equal(pn_region_from_fd(&region, fd, offset, len, opts), err);
	assert_null(region);
	assert_error_has(words);
	assert_int_equal(open_fds(), fds);
}

/*
 * Taking
 */

static void takes_a_part_of_a_memfd(void **state)
{
	int fd = memfd(5 * PAGE, 0);
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	unsigned int fds = open_fds();
	struct pn_region_info info;
	struct pn_region *region;
	unsigned char there[3], *at;

	(void)state;
	assert_int_equal(pwrite(fd, "content", 7, 2 * PAGE), 7);
	opts.name = "part";
	opts.backing = PN_BACKING_FILE;
	opts.page_size = PAGE;
	region = take(fd, PAGE, 3 * PAGE, &opts);
	pn_region_get_info(region, &info);
	at = info.vaddr;
	assert_int_equal(info.size, 3 * PAGE);
	assert_int_equal(info.page_size, PAGE);
	assert_int_equal(info.backing, PN_BACKING_FILE);
	assert_string_equal(info.name, "part");
	assert_true(info.writable);
	assert_non_null(strstr(info.note, "F_SEAL_SHRINK"));
	/* An address that serves as an IOVA with 39 bits. */
	if (slots_are_free())
		assert_in_range(
			(uintptr_t)at, UINT64_C(64) << 30, (UINT64_C(448) << 30) - 3 * PAGE);
	assert_int_equal(mincore(at, 3 * PAGE, there), 0);
	assert_int_equal(there[0] & there[1] & there[2] & 1, 1);
	assert_int_equal(region->offset, PAGE);
	assert_int_equal(fcntl(region->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(open_fds(), fds + 1);

	/* It is the file's memory, and outlives the caller's descriptor. */
	assert_memory_equal(at + PAGE, "content", 7);
	memcpy(at, "answer", 6);
	assert_int_equal(pread(fd, there, 3, PAGE), 3);
	assert_memory_equal(there, "ans", 3);
	close(fd);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_check_write(region), 0);
	assert_memory_equal(at, "answer", 6);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(mincore(at, PAGE, there), -1);
	assert_int_equal(open_fds(), fds - 1);
}

/* Large pages of a file stay large where address and offset agree. */
static void places_as_the_file_is(void **state)
{
	int fd = memfd(8 * PN_PAGE_2M, 0);
	struct pn_region *region = take(fd, 3 * PN_PAGE_2M + PAGE, PAGE, NULL);

	(void)state;
	if (slots_are_free())
		assert_int_equal((uintptr_t)region->vaddr % PN_PAGE_1G, 3 * PN_PAGE_2M + PAGE);
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
}

static void leaves_the_position_alone(void **state)
{
	int fd = memfd(2 * PAGE, 0);
	struct pn_region *region;

	(void)state;
	assert_int_equal(lseek(fd, 77, SEEK_SET), 77);
	region = take(fd, 0, 2 * PAGE, NULL);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
	assert_int_equal(pn_region_check(region), -ESTALE);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 77);
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
}

static void takes_a_tmpfs_file(void **state)
{
	char name[128];
	int fd;
	struct pn_region *region;

	(void)state;
	need_tmpfs();
	snprintf(name, sizeof(name), "%s/file", tmpfs_dir);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(ftruncate(fd, 1 << 21), 0);
	region = take(fd, PAGE, 100 * PAGE, NULL);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	/* 100 of the 256 pages are taken; more than is left would be a SIGBUS some day. */
	refused(fd, 0, 400 * PAGE, NULL, -ENOSPC, "remount");
	region = take(fd, 0, 200 * PAGE, NULL);
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
}

static void takes_hugepages(int fd)
{
	uint64_t before = free_2m();
	struct pn_region_info info;
	struct pn_region *region;

	region = take(fd, PN_PAGE_2M, 2 * PN_PAGE_2M, NULL);
	pn_region_get_info(region, &info);
	assert_int_equal(info.page_size, PN_PAGE_2M);
	assert_int_equal((uintptr_t)info.vaddr % PN_PAGE_2M, 0);
	assert_int_equal(free_2m(), before - 2);
	assert_int_equal(pn_region_check(region), 0);
	memset(info.vaddr, 5, info.size);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(free_2m(), before - 2);

	refused(fd, PAGE, PN_PAGE_2M, NULL, -EINVAL, "pages of 2 MiB");
	refused(fd, PN_PAGE_2M, PAGE, NULL, -EINVAL, "pages of 2 MiB");
	refused(fd, 3 * PN_PAGE_2M, PN_PAGE_2M, NULL, -EINVAL, "which has 6291456 bytes");
	/* More pages than there are. */
	assert_int_equal(ftruncate(fd, (off_t)((before + 3) * PN_PAGE_2M)), 0);
	refused(fd, 0, (before + 3) * PN_PAGE_2M, NULL, -ENOMEM, "nr_hugepages");
	assert_int_equal(free_2m(), before - 2);
	/* Read only, they are brought in too. */
	region = take(fd, 3 * PN_PAGE_2M, PN_PAGE_2M, &reading);
	assert_int_equal(free_2m(), before - 3);
	assert_int_equal(pn_region_check(region), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
	assert_int_equal(free_2m(), before);
}

static void takes_a_hugetlb_memfd(void **state)
{
	(void)state;
	need_hugepages();
	takes_hugepages(memfd(3 * PN_PAGE_2M, MFD_HUGETLB | (21u << 26)));
}

static void takes_a_hugetlbfs_file(void **state)
{
	char name[128];
	int fd;

	(void)state;
	need_hugepages();
	need_hugetlbfs();
	snprintf(name, sizeof(name), "%s/file", hugetlbfs_dir);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(ftruncate(fd, (off_t)(3 * PN_PAGE_2M)), 0);
	takes_hugepages(fd);
}

static void keeps_it_from_children_unless_told(void **state)
{
	int fd = memfd(PAGE, 0), status;
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *kept = take(fd, 0, PAGE, NULL), *given;
	pid_t child;

	(void)state;
	opts.keep_on_fork = true;
	given = take(fd, 0, PAGE, &opts);
	child = fork();
	if (!child) {
		unsigned char present;
		bool ok = mincore(kept->vaddr, PAGE, &present) == -1 &&
			  mincore(given->vaddr, PAGE, &present) == 0 &&
			  pn_region_check(kept) == -ESTALE && pn_region_check(given) == 0;

		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(pn_region_destroy(kept), 0);
	assert_int_equal(pn_region_destroy(given), 0);
	close(fd);
}

/*
 * Reading and writing
 */

static int again(int fd, int flags)
{
	char path[40];
	int other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, flags | O_CLOEXEC);
	assert_true(other >= 0);
	return other;
}

static void asks_for_access(void **state)
{
	int fd = memfd(2 * PAGE, 0), read_fd = again(fd, O_RDONLY), write_fd = again(fd, O_WRONLY);
	int path_fd = again(fd, O_PATH);
	struct pn_region_info info;
	struct pn_region *region;

	(void)state;
	refused(read_fd, 0, PAGE, NULL, -EACCES, "read_only");
	refused(write_fd, 0, PAGE, NULL, -EACCES, "for writing only");
	refused(write_fd, 0, PAGE, &reading, -EACCES, "for writing only");
	refused(path_fd, 0, PAGE, &reading, -EACCES, "O_PATH");
	for (int i = 0; i < 2; i++) {
		region = take(i ? fd : read_fd, PAGE, PAGE, &reading);
		pn_region_get_info(region, &info);
		assert_false(info.writable);
		assert_int_equal(pn_region_check_write(region), -EACCES);
		assert_int_equal(pn_region_check(region), 0);
		/* Not even by accident: the mapping itself forbids it. */
		assert_false(mapping_has_flag(info.vaddr, "wr"));
		assert_true(mapping_has_flag(info.vaddr, "rd"));
		assert_int_equal(pn_region_destroy(region), 0);
	}
	close(path_fd);
	close(write_fd);
	close(read_fd);
	close(fd);
}

static void obeys_seals(void **state)
{
	static const struct {
		int seal;
		const char *name;
	} seals[] = {{F_SEAL_WRITE, "F_SEAL_WRITE"}, {F_SEAL_FUTURE_WRITE, "F_SEAL_FUTURE_WRITE"}};
	struct pn_region_info info;
	struct pn_region *region;
	int fd;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(seals); i++) {
		fd = memfd(2 * PAGE, MFD_ALLOW_SEALING);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals[i].seal | F_SEAL_SHRINK), 0);
		refused(fd, 0, PAGE, NULL, -EPERM, seals[i].name);
		/* Also before Linux 6.7, with a descriptor that is open for writing. */
		region = take(fd, 0, 2 * PAGE, &reading);
		pn_region_get_info(region, &info);
		assert_string_equal(info.note, "");
		assert_false(info.writable);
		assert_int_equal(pn_region_check(region), 0);
		assert_int_equal(pn_region_destroy(region), 0);
		close(fd);
	}
}

static void sees_a_seal_that_came_later(void **state)
{
	int fd = memfd(PAGE, MFD_ALLOW_SEALING);
	struct pn_region *region = take(fd, 0, PAGE, NULL);

	(void)state;
	assert_int_equal(pn_region_check_write(region), 0);
	/* As long as it is mapped to be written to it cannot be sealed wholly. */
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(pn_region_check_write(region), -EPERM);
	assert_error_has("F_SEAL_FUTURE_WRITE");
	assert_int_equal(pn_region_destroy(region), 0);
	close(fd);
}

/*
 * Refusals
 */

static void refuses_what_leaves_the_file(void **state)
{
	int fd = memfd(4 * PAGE, 0);
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	(void)state;
	refused(fd, 0, 0, NULL, -EINVAL, "whole pages");
	refused(fd, 0, 100, NULL, -EINVAL, "whole pages");
	refused(fd, 100, PAGE, NULL, -EINVAL, "whole pages");
	refused(fd, 0, 5 * PAGE, NULL, -EINVAL, "which has 16384 bytes");
	refused(fd, 4 * PAGE, PAGE, NULL, -EINVAL, "leave the file");
	refused(fd, 3 * PAGE, 2 * PAGE, NULL, -EINVAL, "8192 bytes at offset 12288");
	refused(fd, UINT64_MAX - PAGE + 1, PAGE, NULL, -EINVAL, "leave the file");
	refused(fd, PAGE, UINT64_MAX - PAGE + 1, NULL, -EINVAL, "leave the file");
	refused(fd, UINT64_C(1) << 63, UINT64_C(1) << 63, NULL, -EINVAL, "leave the file");
	/* A last page that the file ends in the middle of is not all there. */
	assert_int_equal(ftruncate(fd, PAGE + 5), 0);
	refused(fd, 0, 2 * PAGE, NULL, -EINVAL, "which has 4101 bytes");

	opts.backing = PN_BACKING_RANGE;
	refused(fd, 0, PAGE, &opts, -EINVAL, "range does not go with");
	opts.backing = PN_BACKING_AUTO;
	opts.page_size = PN_PAGE_2M;
	refused(fd, 0, PAGE, &opts, -EINVAL, "the memory has pages of 4 KiB");
	opts.page_size = 0;
	opts.hugetlbfs_path = "/dev/hugepages";
	refused(fd, 0, PAGE, &opts, -EINVAL, "hugetlbfs path");
	close(fd);
}

static void refuses_other_files(void **state)
{
	int fds[2], fd;

	(void)state;
	refused(-1, 0, PAGE, NULL, -EBADF, "fd -1");
	fd = memfd(PAGE, 0);
	close(fd);
	refused(fd, 0, PAGE, NULL, -EBADF, "Bad file descriptor");

	assert_int_equal(pipe(fds), 0);
	refused(fds[0], 0, PAGE, NULL, -EOPNOTSUPP, "a pipe");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	refused(fds[0], 0, PAGE, NULL, -EOPNOTSUPP, "a socket");
	close(fds[0]);
	close(fds[1]);

	fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	refused(fd, 0, PAGE, NULL, -EOPNOTSUPP, "a directory");
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	refused(fd, 0, PAGE, NULL, -EOPNOTSUPP, "a character device");
	close(fd);
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	refused(fd, 0, PAGE, NULL, -EOPNOTSUPP, "file system of type 0x9fa0");
	close(fd);
}

static void refuses_secret_memory(void **state)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	(void)state;
	if (fd < 0) {
		print_message("skipped: no memfd_secret() here\n");
		skip();
	}
	assert_int_equal(ftruncate(fd, PAGE), 0);
	refused(fd, 0, PAGE, NULL, -EOPNOTSUPP, "memfd_secret");
	refused(fd, 0, PAGE, &reading, -EOPNOTSUPP, "memfd_secret");
	close(fd);
}

static void refuses_more_than_there_is(void **state)
{
	int fd = memfd(UINT64_C(1) << 40, 0);
	struct stat st;

	(void)state;
	refused(fd, 0, UINT64_C(1) << 40, NULL, -ENOMEM, "are needed");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_part_of_a_memfd),
		cmocka_unit_test(places_as_the_file_is),
		cmocka_unit_test(leaves_the_position_alone),
		cmocka_unit_test(takes_a_tmpfs_file),
		cmocka_unit_test(takes_a_hugetlb_memfd),
		cmocka_unit_test(takes_a_hugetlbfs_file),
		cmocka_unit_test(keeps_it_from_children_unless_told),
		cmocka_unit_test(asks_for_access),
		cmocka_unit_test(obeys_seals),
		cmocka_unit_test(sees_a_seal_that_came_later),
		cmocka_unit_test(refuses_what_leaves_the_file),
		cmocka_unit_test(refuses_other_files),
		cmocka_unit_test(refuses_secret_memory),
		cmocka_unit_test(refuses_more_than_there_is),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	machine_end();
	return failed;
}
