/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions, made and looked at while every system call and allocation fails in turn: nothing is left
 * of a region that could not be made, and the memory it was to be made of is as it was.
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
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

#define PAGE 4096u

/*
 * Faults
 */

static int fault_at;    /* which call fails, from 1; 0: none */
static int fault_count; /* calls so far */
static int fault_errno;

static bool fault(void)
{
	if (!fault_at || ++fault_count != fault_at)
		return false;
	errno = fault_errno;
	return true;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) __attribute__((alias("__wrap_open64")));
ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
	__attribute__((alias("__wrap_pread64")));
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("__wrap_mmap64")));
int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);
int __real_mincore(void *at, size_t size, unsigned char *vec);
int __wrap_mincore(void *at, size_t size, unsigned char *vec);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) __attribute__((alias("__wrap_fcntl64")));
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st) __attribute__((alias("__wrap_fstat64")));
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs(int fd, struct statfs *fs) __attribute__((alias("__wrap_fstatfs64")));
int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	return fault() ? -1 : __real_open64(path, flags, mode);
}

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	return fault() ? -1 : __real_read(fd, buf, len);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	return fault() ? -1 : __real_pread64(fd, buf, len, offset);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *at = __real_mmap64(addr, len, prot, flags, fd, offset);

	/* Addresses that are taken, as all are with a sanitizer, make no fault of their own. */
	if ((at == MAP_FAILED && errno == EEXIST) || !fault())
		return at;
	if (at != MAP_FAILED)
		munmap(at, len);
	errno = fault_errno;
	return MAP_FAILED;
}

int __wrap_madvise(void *at, size_t size, int advice)
{
	return fault() ? -1 : __real_madvise(at, size, advice);
}

int __wrap_mincore(void *at, size_t size, unsigned char *vec)
{
	return fault() ? -1 : __real_mincore(at, size, vec);
}

int __wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	long arg;

	va_start(args, command);
	arg = va_arg(args, long);
	va_end(args);
	return fault() ? -1 : __real_fcntl64(fd, command, arg);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	return fault() ? -1 : __real_fstat64(fd, st);
}

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	return fault() ? -1 : __real_fstatfs64(fd, fs);
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	return fault() ? -1 : __real_memfd_create(name, flags);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fault() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return fault() ? NULL : __real_reallocarray(old, count, size);
}

/*
 * What is made
 */

/* The memory of the application: anonymous, shared, a private file, some not to be written to. */
static struct {
	unsigned char *range;
	int fd, sealed, huge;
} app;

#define RANGE_PAGES 8u

static int make_range(struct pn_region **region)
{
	return pn_region_from_range(region, app.range, RANGE_PAGES * PAGE, NULL);
}

static int make_file(struct pn_region **region)
{
	return pn_region_from_fd(region, app.fd, PAGE, 2 * PAGE, NULL);
}

static int make_sealed(struct pn_region **region)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.read_only = true;
	return pn_region_from_fd(region, app.sealed, 0, 2 * PAGE, &opts);
}

static int make_huge(struct pn_region **region)
{
	return pn_region_from_fd(region, app.huge, 0, 2 * PN_PAGE_2M, NULL);
}

static int make_own(struct pn_region **region)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = PN_PAGE_4K;
	return pn_region_create(region, 3 * PAGE, &opts);
}

static int make_device(struct pn_region **region)
{
	struct pn_region_device device = {
		.fd = app.fd,
		.offset = PAGE,
		.len = 2 * PAGE,
		.writable = true,
		.dma_buf = -1,
		.numa_node = PN_NODE_ANY,
		.name = "device",
		.note = "",
	};

	return pn_region_from_device(region, &device);
}

static const struct kind {
	int (*make)(struct pn_region **region);
	bool huge;
	int calls; /* at least */
} kinds[] = {{make_range, false, 25}, {make_file, false, 9}, {make_sealed, false, 9},
	{make_own, false, 6}, {make_device, false, 4}, {make_huge, true, 7}};

static int setup(void **state)
{
	unsigned char *at;

	(void)state;
	app.fd = memfd_create("file", MFD_CLOEXEC);
	app.sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	app.huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | (21u << 26));
	if (ftruncate(app.fd, 8 * PAGE) || ftruncate(app.sealed, 2 * PAGE) ||
		fcntl(app.sealed, F_ADD_SEALS, F_SEAL_WRITE))
		return -1;
	if (app.huge >= 0 && ftruncate(app.huge, (off_t)(2 * PN_PAGE_2M)))
		return -1;
	at = mmap(NULL, RANGE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);
	if (at == MAP_FAILED)
		return -1;
	app.range = at;
	mmap(at + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, app.fd, PAGE);
	mmap(at + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, app.fd, 0);
	madvise(at + 5 * PAGE, PAGE, MADV_DONTFORK);
	mprotect(at + 6 * PAGE, PAGE, PROT_READ);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(app.range, RANGE_PAGES * PAGE);
	close(app.fd);
	close(app.sealed);
	if (app.huge >= 0)
		close(app.huge);
	return 0;
}

static void assert_range_as_before(void)
{
	uint64_t start = (uint64_t)(uintptr_t)app.range;
	struct pn_vmas now;

	assert_int_equal(pn_vmas_read(start, start + RANGE_PAGES * PAGE, &now), 0);
	for (size_t i = 0; i < now.count; i++)
		assert_int_equal(now.list[i].dont_fork, now.list[i].start == start + 5 * PAGE);
	free(now.list);
}

/* False once the whole ran without coming to the fault. */
static bool one_fault(const struct kind *kind, int at, int err)
{
	static struct pn_region untouched;
	static char before[4096], after[4096];
	struct pn_region *region = &untouched;
	unsigned int fds = open_fds();
	int ret;

	mappings(before, sizeof(before), app.range, RANGE_PAGES * PAGE);
	pn_fail(EINVAL, "nothing has failed");
	fault_errno = err;
	fault_count = 0;
	fault_at = at;
	ret = kind->make(&region);
	fault_at = 0;
	if (ret) {
		assert_true(ret < 0);
		assert_ptr_equal(region, &untouched);
		assert_string_not_equal(pn_error(), "nothing has failed");
		assert_string_not_equal(pn_error(), "");
	} else {
		assert_int_equal(pn_region_check(region), 0);
		assert_int_equal(pn_region_destroy(region), 0);
	}
	assert_int_equal(open_fds(), fds);
	mappings(after, sizeof(after), app.range, RANGE_PAGES * PAGE);
	assert_string_equal(after, before);
	assert_range_as_before();
	return fault_count >= at;
}

static void leaves_nothing_whatever_fails(void **state)
{
	static const int errors[] = {ENOMEM, EIO, EPERM, EINVAL, EFAULT};
	int at;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		if (kinds[i].huge && (app.huge < 0 || free_2m() < 2)) {
			print_message("without hugepages: none can be reserved here\n");
			continue;
		}
		for (size_t j = 0; j < PN_ARRAY_SIZE(errors); j++) {
			for (at = 1; one_fault(&kinds[i], at, errors[j]); at++)
				;
			if (at <= kinds[i].calls)
				fail_msg("kind %zu made %d calls only", i, at - 1);
		}
	}
}

/* A look that fails says so, or passes what it may pass; it never says that all is well without
 * having looked at what is mapped. */
static void looks_again_whatever_fails(void **state)
{
	struct pn_region *region;
	int at, ret;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		if (kinds[i].huge)
			continue;
		assert_int_equal(kinds[i].make(&region), 0);
		at = 0;
		do {
			fault_errno = EIO;
			fault_count = 0;
			fault_at = ++at;
			ret = pn_region_check(region);
			fault_at = 0;
			assert_true(ret == 0 || ret == -EIO || ret == -ENOMEM);
			/* Opening and reading the list of mappings are the first two calls. */
			if (at <= 2)
				assert_int_equal(ret, -EIO);
		} while (fault_count >= at);
		assert_true(at > 3);
		assert_int_equal(pn_region_destroy(region), 0);
	}
}

/* Destroying a range cannot fail: what could not be undone is logged. */
static char log_text[512];

static void logged(void *arg, enum pn_log_level level, const char *text)
{
	(void)arg;
	if (level == PN_LOG_WARNING)
		snprintf(log_text, sizeof(log_text), "%s", text);
}

static void says_what_could_not_be_undone(void **state)
{
	struct pn_region *region;
	int at = 0, calls;

	(void)state;
	pn_log_set(logged, NULL, PN_LOG_WARNING);
	do {
		assert_int_equal(make_range(&region), 0);
		log_text[0] = '\0';
		fault_errno = ENOMEM;
		fault_count = 0;
		fault_at = ++at;
		assert_int_equal(pn_region_destroy(region), 0);
		calls = fault_count;
		fault_at = 0;
		if (calls >= at)
			assert_string_not_equal(log_text, "");
		else
			assert_string_equal(log_text, "");
		/* Ours no more: as it was, for the next round. */
		for (unsigned int page = 0; page < RANGE_PAGES; page++) {
			if (page != 5)
				madvise(app.range + page * PAGE, PAGE, MADV_DOFORK);
		}
	} while (calls >= at);
	pn_log_set(NULL, NULL, PN_LOG_WARNING);
	assert_true(at > 5);
}

static void a_kernel_without_populate_is_named(void **state)
{
	struct pn_region *region = NULL;
	int at = 0, ret;

	(void)state;
	do {
		fault_errno = EINVAL;
		fault_count = 0;
		fault_at = ++at;
		ret = make_file(&region);
		fault_at = 0;
		if (!ret)
			assert_int_equal(pn_region_destroy(region), 0);
	} while (ret != -EOPNOTSUPP && fault_count >= at);
	assert_int_equal(ret, -EOPNOTSUPP);
	assert_non_null(strstr(pn_error(), "5.14"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(leaves_nothing_whatever_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_again_whatever_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(says_what_could_not_be_undone, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_kernel_without_populate_is_named, setup, teardown),
	};
	int failed;

	machine_begin();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	machine_end();
	return failed;
}
