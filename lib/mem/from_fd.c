/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of a memory file that was handed in: a memfd, or a file on tmpfs or hugetlbfs. Every
 * refusal comes before the first page is brought in, which cannot be taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base_priv.h"
#include "mem_priv.h"

#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif

/* The file as it was found. */
struct file {
	int fd;
	bool writable;  /* as it is open */
	bool read_only; /* as it is asked for */
	uint64_t size;
	uint64_t allocated; /* bytes that it has already, anywhere */
	uint64_t page_size;
	struct statfs fs;
	void *wanted; /* address to map it at if that is free; NULL: any */
};

/*
 * Refusals
 */

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	default:
		return "no regular file";
	}
}

static int look_at_type(struct file *file)
{
	struct stat st;
	int err;

	if (fstat(file->fd, &st) || fstatfs(file->fd, &file->fs)) {
		err = errno;
		return pn_fail(err, "fd %d: %s", file->fd, strerror(err));
	}
	if (!S_ISREG(st.st_mode))
		return pn_fail(EOPNOTSUPP, "fd %d is %s, no file that is memory", file->fd,
			type_name(st.st_mode));
	if (file->fs.f_type == SECRETMEM_MAGIC)
		return pn_fail(EOPNOTSUPP,
			"fd %d is secret memory (memfd_secret), which the kernel pins for nobody",
			file->fd);
	if (file->fs.f_type != TMPFS_MAGIC && file->fs.f_type != HUGETLBFS_MAGIC)
		return pn_fail(EOPNOTSUPP,
			"fd %d is a file on a file system of type %#lx, whose pages are not memory "
			"alone; a memfd, a file on tmpfs or one on hugetlbfs will do",
			file->fd, (unsigned long)file->fs.f_type);
	file->size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
	file->allocated = st.st_blocks > 0 ? (uint64_t)st.st_blocks * 512 : 0;
	file->page_size = PN_PAGE_4K;
	if (file->fs.f_type == HUGETLBFS_MAGIC)
		file->page_size = file->fs.f_bsize > 0 ? (uint64_t)file->fs.f_bsize : 0;
	if (!pn_is_pow2(file->page_size) || file->page_size < PN_PAGE_4K)
		return pn_fail(EIO, "fd %d: the kernel tells of a page size of %ld", file->fd,
			(long)file->fs.f_bsize);
	return 0;
}

static int look_at_mode(struct file *file)
{
	int flags = fcntl(file->fd, F_GETFL), err;

	if (flags < 0) {
		err = errno;
		return pn_fail(err, "fd %d: %s", file->fd, strerror(err));
	}
	if (flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY)
		return pn_fail(EACCES, "fd %d is %s: it must be open for reading, to be mapped",
			file->fd, flags & O_PATH ? "an O_PATH one" : "open for writing only");
	file->writable = (flags & O_ACCMODE) == O_RDWR;
	if (!file->writable && !file->read_only)
		return pn_fail(EACCES,
			"fd %d is open for reading only: open it for both, or ask for read_only",
			file->fd);
	return 0;
}

static int look_at_seals(const struct file *file, struct pn_region *region)
{
	/* EINVAL: a file that cannot have seals. */
	int seals = fcntl(file->fd, F_GET_SEALS);

	if (seals < 0)
		seals = 0;
	if (!file->read_only && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return pn_fail(EPERM,
			"fd %d is sealed against writing (%s): only read_only is possible",
			file->fd, seals & F_SEAL_WRITE ? "F_SEAL_WRITE" : "F_SEAL_FUTURE_WRITE");
	if (!(seals & F_SEAL_SHRINK))
		snprintf(region->note, sizeof(region->note),
			"the file has no F_SEAL_SHRINK: whoever can write to it can make it "
			"shorter, and touching what is gone ends this process (SIGBUS)");
	return 0;
}

static int check_part(const struct file *file, uint64_t offset, uint64_t len)
{
	char size[32];

	if (!len || (offset | len) & (file->page_size - 1))
		return pn_fail(EINVAL,
			"%" PRIu64 " bytes at offset %" PRIu64 " are not whole pages of the file, "
			"which has pages of %s",
			len, offset, pn_size_text(file->page_size, size));
	if (offset > file->size || len > file->size - offset)
		return pn_fail(EINVAL,
			"%" PRIu64 " bytes at offset %" PRIu64 " leave the file, which has %" PRIu64
			" bytes; ftruncate() makes it longer",
			len, offset, file->size);
	return 0;
}

/*
 * Mapping
 */

/*
 * Before Linux 6.7 a file sealed with F_SEAL_WRITE could be mapped shared through a read-only
 * description alone (mm/mmap.c:mmap_region(), mapping_map_writable()).
 */
static int reopen(int fd)
{
	char path[40];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

/* The least that is to be allocated for the part: whatever the file has may lie in it. */
static uint64_t least_missing(const struct file *file, const struct pn_region *region)
{
	return file->allocated < region->size ? region->size - file->allocated : 0;
}

static int fail_map(int err, const struct file *file, const struct pn_region *region)
{
	uint64_t missing;

	if (err != ENOMEM || file->page_size == PN_PAGE_4K)
		return pn_fail(err, "mapping %" PRIu64 " bytes of fd %d: %s", region->size,
			file->fd, strerror(err));
	missing = pn_align_up(least_missing(file, region), file->page_size);
	return pn_fail_no_hugepages(
		err, missing ? missing : region->size, file->page_size, PN_NODE_ANY);
}

static int map_file(const struct file *file, struct pn_region *region)
{
	int prot = file->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	int fd, err;

	region->vaddr = MAP_FAILED;
	if (file->wanted)
		region->vaddr = mmap(file->wanted, region->size, prot,
			MAP_SHARED | MAP_FIXED_NOREPLACE, file->fd, (off_t)region->offset);
	if (region->vaddr == MAP_FAILED)
		region->vaddr = pn_map_somewhere(region->size, prot, file->fd, region->offset);
	if (region->vaddr == MAP_FAILED && errno == EPERM && file->read_only && file->writable) {
		fd = reopen(file->fd);
		if (fd < 0)
			return pn_fail(-fd, "opening fd %d again to read only: %s", file->fd,
				strerror(-fd));
		region->vaddr = pn_map_somewhere(region->size, prot, fd, region->offset);
		err = errno;
		close(fd);
		errno = err;
	}
	return region->vaddr == MAP_FAILED ? fail_map(errno, file, region) : 0;
}

/*
 * Bringing in
 */

/* Small pages that are not there must fit memory and the file system, or a process is killed. */
static int check_room(const struct file *file, const struct pn_region *region)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr, missing, left;
	struct pn_page_count pages;
	int ret;

	/* Looking at each page takes its time: not for what is too much anyway. */
	ret = pn_memory_check(least_missing(file, region));
	if (ret)
		return ret;
	ret = pn_pages_uncached(start, start + region->size, &pages);
	if (ret)
		return pn_fail(-ret, "looking which pages of fd %d are there: %s", file->fd,
			strerror(-ret));
	missing = pages.count * PN_PAGE_4K;
	ret = pn_memory_check(missing);
	/* Without a limit all numbers are 0 (mm/shmem.c:shmem_statfs()). */
	if (ret || !file->fs.f_blocks || file->fs.f_bsize <= 0)
		return ret;
	left = file->fs.f_bavail * (uint64_t)file->fs.f_bsize;
	if (missing > left)
		return pn_fail(ENOSPC,
			"%" PRIu64
			" bytes of fd %d are not there yet, and its file system has room "
			"for %" PRIu64 "; as root: mount -o remount,size=...",
			missing, file->fd, left);
	return 0;
}

static int bring_in(const struct file *file, const struct pn_region *region)
{
	bool huge = file->page_size != PN_PAGE_4K;
	int ret;

	/* Hugepages are reserved by mmap() already (hugetlb_reserve_pages()). */
	ret = huge ? 0 : check_room(file, region);
	if (ret)
		return ret;
	ret = pn_populate(region->vaddr, region->size, !file->read_only);
	if (ret == -EINVAL)
		return pn_fail(EOPNOTSUPP,
			"this kernel has no MADV_POPULATE_WRITE: Linux 5.14 and newer do");
	if (ret == -EFAULT && huge)
		return pn_fail_no_hugepages(ENOMEM, region->size, file->page_size, PN_NODE_ANY);
	if (ret)
		return pn_fail(-ret, "bringing in %" PRIu64 " bytes of fd %d: %s", region->size,
			file->fd, strerror(-ret));
	return 0;
}

/*
 * Together
 */

static int build(
	struct pn_region *region, const struct file *file, const struct pn_region_opts *opts)
{
	int ret, err;

	region->fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	if (region->fd < 0) {
		err = errno;
		return pn_fail(err, "duplicating fd %d: %s", file->fd, strerror(err));
	}
	ret = map_file(file, region);
	if (ret)
		goto close_fd;
	ret = bring_in(file, region);
	if (!ret)
		ret = pn_region_keep_from_children(region, opts);
	if (!ret)
		ret = pn_region_expect_file(region, region->fd, region->offset);
	if (ret)
		goto unmap;
	region->numa_node = pn_node_of(region->vaddr);
	return 0;

unmap:
	munmap(region->vaddr, region->size);
close_fd:
	close(region->fd);
	return ret;
}

static int look(struct file *file, uint64_t offset, uint64_t len, const struct pn_region_opts *opts)
{
	int ret;

	ret = look_at_type(file);
	if (!ret)
		ret = pn_region_check_opts(opts, PN_BACKING_FILE, file->page_size);
	if (!ret)
		ret = check_part(file, offset, len);
	if (!ret)
		ret = look_at_mode(file);
	return ret;
}

int pn_region_from_fd(struct pn_region **out, int fd, uint64_t offset, uint64_t len,
	const struct pn_region_opts *opts)
{
	return pn_region_from_fd_at(out, fd, offset, len, opts, NULL);
}

int pn_region_from_fd_at(struct pn_region **out, int fd, uint64_t offset, uint64_t len,
	const struct pn_region_opts *opts, void *wanted)
{
	static const struct pn_region_opts defaults = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	struct file file;
	int ret;

	opts = opts ? opts : &defaults;
	file = (struct file){.fd = fd, .read_only = opts->read_only, .wanted = wanted};
	ret = look(&file, offset, len, opts);
	if (ret)
		return ret;
	region = pn_region_new(PN_BACKING_FILE, opts);
	if (!region)
		return -ENOMEM;
	region->size = len;
	region->offset = offset;
	region->page_size = file.page_size;
	ret = look_at_seals(&file, region);
	if (!ret)
		ret = build(region, &file, opts);
	if (ret) {
		free(region);
		return ret;
	}
	*out = region;
	return 0;
}
