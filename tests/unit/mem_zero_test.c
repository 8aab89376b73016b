/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of private memory that are the shared zero page are counted and said before anything maps
 * them: exactly where the kernel tells, as a bound where it tells less, and not at all where it may
 * not be asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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
#include "mem_priv.h"

#define PAGE 4096u

/* What the kernel answers: 0, what it does. */
static int scan_error, open_error, read_error;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __real_open(const char *path, int flags, int mode);
int __wrap_open(const char *path, int flags, int mode);
int __wrap_open64(const char *path, int flags, int mode) __attribute__((alias("__wrap_open")));
ssize_t __real_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t size, off_t offset)
	__attribute__((alias("__wrap_pread")));

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (!scan_error)
		return __real_ioctl(fd, request, arg);
	errno = scan_error;
	return -1;
}

int __wrap_open(const char *path, int flags, int mode)
{
	if (!open_error || strcmp(path, "/proc/self/pagemap"))
		return __real_open(path, flags, mode);
	errno = open_error;
	return -1;
}

ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset)
{
	if (!read_error)
		return __real_pread(fd, buf, size, offset);
	errno = read_error;
	return -1;
}

static int as_it_is(void **state)
{
	(void)state;
	scan_error = open_error = read_error = 0;
	return 0;
}

/* Can this kernel be asked, or only guessed about? */
static bool kernel_tells(void)
{
	struct pn_page_count pages;
	bool exact;

	assert_int_equal(pn_pages_zero(0, PAGE, &pages, &exact), 0);
	scan_error = 0;
	return exact;
}

static unsigned char *new_memory(size_t pages)
{
	unsigned char *at = mmap(
		NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	assert_int_equal(madvise(at, pages * PAGE, MADV_NOHUGEPAGE), 0);
	return at;
}

/* A region of it, which it may then only be read; what it says of itself stays here. */
static struct pn_region_info info;
static char note[256];

static void say(unsigned char *at, size_t pages)
{
	struct pn_region *region;

	assert_int_equal(mprotect(at, pages * PAGE, PROT_READ), 0);
	assert_int_equal(pn_region_from_range(&region, at, pages * PAGE, NULL), 0);
	pn_region_get_info(region, &info);
	snprintf(note, sizeof(note), "%s", info.note);
	assert_int_equal(pn_region_destroy(region), 0);
}

static bool notes(const char *text)
{
	return strstr(note, text);
}

static void untouched_pages_are_counted(void **state)
{
	unsigned char *at = new_memory(8);
	char first[40];

	(void)state;
	at[0] = at[3 * PAGE] = 1;
	say(at, 8);
	assert_int_equal(info.zero_pages, 6);
	snprintf(first, sizeof(first), "first at %#jx", (uintmax_t)(uintptr_t)(at + PAGE));
	assert_true(notes("6 pages") && notes(first) && notes("zero page") && notes("6.2"));
	assert_int_equal(notes("up to"), !kernel_tells());
	munmap(at, 8 * PAGE);
}

static void memory_without_them_says_nothing(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	unsigned char *at = new_memory(8);
	struct pn_region *region;

	(void)state;
	memset(at, 1, 8 * PAGE);
	say(at, 8);
	assert_int_equal(info.zero_pages, 0);
	assert_string_equal(note, "");
	munmap(at, 8 * PAGE);
	/* What can be written to is, though devices may only read it. */
	at = new_memory(8);
	opts.read_only = true;
	assert_int_equal(pn_region_from_range(&region, at, 8 * PAGE, &opts), 0);
	pn_region_get_info(region, &info);
	assert_int_equal(info.zero_pages, 0);
	assert_string_equal(info.note, "");
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(at, 8 * PAGE);
	/* So is new memory. */
	opts = (struct pn_region_opts)PN_REGION_OPTS_INIT;
	opts.page_size = PN_PAGE_4K;
	assert_int_equal(pn_region_create(&region, 8 * PAGE, &opts), 0);
	pn_region_get_info(region, &info);
	assert_int_equal(info.zero_pages, 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* More runs than are asked for at a time. */
static void every_run_counts(void **state)
{
	enum { MOST = 401 };
	unsigned char *at = new_memory(MOST);

	(void)state;
	for (size_t i = 0; i < MOST; i += 2)
		at[i * PAGE] = 1;
	say(at, MOST);
	assert_int_equal(info.zero_pages, MOST / 2);
	munmap(at, MOST * PAGE);
}

/* Before Linux 6.7 pages that a child shares look the same: a bound. */
static void an_older_kernel_tells_less(void **state)
{
	unsigned char *at = new_memory(8);
	int go[2], status;
	pid_t child;
	char byte;

	(void)state;
	at[0] = at[PAGE] = 1;
	scan_error = ENOTTY;
	say(at, 8);
	assert_int_equal(info.zero_pages, 6);
	assert_true(notes("up to 6 pages"));
	assert_int_equal(pipe(go), 0);
	child = fork();
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	say(at, 8);
	assert_int_equal(info.zero_pages, 8);
	assert_true(notes("up to 8 pages"));
	scan_error = 0;
	if (kernel_tells()) {
		say(at, 8);
		assert_int_equal(info.zero_pages, 6);
	}
	close(go[0]);
	close(go[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	munmap(at, 8 * PAGE);
	/* None for certain is none. */
	at = new_memory(2);
	memset(at, 1, 2 * PAGE);
	scan_error = EINVAL;
	say(at, 2);
	assert_int_equal(info.zero_pages, 0);
	assert_string_equal(note, "");
	munmap(at, 2 * PAGE);
}

static void not_knowing_is_said(void **state)
{
	unsigned char *at = new_memory(2);

	(void)state;
	open_error = EACCES;
	say(at, 2);
	assert_true(info.zero_pages == UINT64_MAX);
	assert_true(notes("cannot be seen"));
	open_error = 0;
	scan_error = EIO;
	say(at, 2);
	assert_true(info.zero_pages == UINT64_MAX && notes("cannot be seen"));
	scan_error = ENOTTY;
	read_error = EIO;
	say(at, 2);
	assert_true(info.zero_pages == UINT64_MAX && notes("cannot be seen"));
	munmap(at, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(untouched_pages_are_counted, as_it_is),
		cmocka_unit_test_setup(memory_without_them_says_nothing, as_it_is),
		cmocka_unit_test_setup(every_run_counts, as_it_is),
		cmocka_unit_test_setup(an_older_kernel_tells_less, as_it_is),
		cmocka_unit_test_setup(not_knowing_is_said, as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
