/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is handed in, as a device sees it: arrays and heap of the application, memory files;
 * what may only be read, and what changes under a mapping. See ways.h.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ways.h"

/* Letting the device write there is refused, and nothing is mapped. */
static void check_refused(const struct rig *rig, struct pn_region *region, int error)
{
	uint64_t iova = PN_IOVA_ANY, count = mappings(rig), before = charged();

	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_WRITE, &iova) == error);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &iova) == error);
	CHECK(iova == PN_IOVA_ANY && mappings(rig) == count && charged() == before);
}

/* The device reads memory that it may only read, to the end. */
static void check_read_only(const struct rig *rig, struct pn_region *region)
{
	uint64_t iova = map_whole(rig, region, PN_PROT_READ);
	struct pn_region_info info;

	pn_region_get_info(region, &info);
	CHECK(!info.writable);
	check_refused(rig, region, -EACCES);
	CHECK(device_reads(
		rig, iova + (info.size - LEN), (char *)info.vaddr + (info.size - LEN), LEN));
}

/*
 * Memory of the application's own
 */

static void *anonymous(uint64_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void case_range(struct rig *rig)
{
	static char own[2 * PAGE] __attribute__((aligned(PAGE)));
	void *memory[] = {own, aligned_alloc(PAGE, 2 * PAGE), anonymous(2 * PAGE)};
	struct pn_region *region[3];
	uint64_t iova[3];
	unsigned int i;

	CHECK(memory[1] && memory[2] != MAP_FAILED);
	open_device(rig);
	for (i = 0; i < 3 && !failures; i++) {
		CHECK(!pn_region_from_range(&region[i], memory[i], 2 * PAGE, NULL));
		iova[i] = map_whole(rig, region[i], PN_PROT_RW);
		check_reached(rig, iova[i], memory[i], 2 * PAGE);
		CHECK(!pn_region_check(region[i]));
	}
	if (failures)
		return;
	check_full(rig);
	close_domain(rig);
	for (i = 0; i < 3; i++)
		CHECK(!pn_region_destroy(region[i]));
	free(memory[1]);
	munmap(memory[2], 2 * PAGE);
}

/* With no device the kernel is not asked: who refuses is the library. */
static void case_range_read_only(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	void *protected = anonymous(2 * PAGE), *writable = anonymous(PAGE);
	struct pn_region *region, *other;

	fill(protected, 2 * PAGE);
	fill(writable, PAGE);
	CHECK(!mprotect(protected, 2 * PAGE, PROT_READ));
	CHECK(!pn_region_from_range(&region, protected, 2 * PAGE, NULL));
	opts.read_only = true;
	CHECK(!pn_region_from_range(&other, writable, PAGE, &opts));
	if (failures)
		return;
	check_refused(rig, region, -EACCES);
	check_refused(rig, other, -EACCES);
	open_device(rig);
	if (failures)
		return;
	check_read_only(rig, region);
	check_read_only(rig, other);
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region) && !pn_region_destroy(other));
	munmap(protected, 2 * PAGE);
	munmap(writable, PAGE);
}

/* The device goes on with the pages that are gone for the process; the library can tell. */
static void case_range_unmapped(struct rig *rig)
{
	char *memory = anonymous(2 * PAGE), kept[LEN];
	struct pn_region *region;
	uint64_t iova;

	CHECK(!pn_region_from_range(&region, memory, 2 * PAGE, NULL));
	open_device(rig);
	if (failures)
		return;
	iova = map_whole(rig, region, PN_PROT_RW);
	check_reached(rig, iova, memory, 2 * PAGE);
	CHECK(!pn_region_check(region));
	check_full(rig);
	fill(memory + PAGE, LEN);
	memcpy(kept, memory + PAGE, LEN);
	munmap(memory + PAGE, PAGE);
	CHECK(pn_region_check(region) == -ESTALE);
	CHECK(device_reads(rig, iova + PAGE, kept, LEN));
	CHECK(!pn_domain_unmap(rig->domain, iova, 2 * PAGE));
	CHECK(charged() == 1 && charged_by_mappings(rig) == 1);
	CHECK(pn_region_check(region) == -ESTALE);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
	munmap(memory, PAGE);
}

/*
 * Memory files
 */

/* A memfd of two pages with something in it. */
static int make_memfd(char content[2 * PAGE])
{
	int fd = memfd_create("ways", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	fill(content, 2 * PAGE);
	CHECK(fd >= 0 && pwrite(fd, content, 2 * PAGE, 0) == 2 * PAGE);
	return fd;
}

/* The device reads what was written into the file, and what it writes is in the file. */
static void check_file(struct rig *rig, int fd, uint64_t len)
{
	char content[LEN], written[LEN];
	struct pn_region *region;
	uint64_t iova;

	CHECK(!pn_region_from_fd(&region, fd, 0, len, NULL));
	open_device(rig);
	if (failures)
		return;
	iova = map_whole(rig, region, PN_PROT_RW) + (len - LEN);
	CHECK(pread(fd, content, LEN, (off_t)(len - LEN)) == LEN);
	CHECK(device_reads(rig, iova, content, LEN));
	fill(rig->seen, PAGE);
	CHECK(!edu_read(&rig->edu, rig->witness_iova, 0, LEN));
	CHECK(!edu_write(&rig->edu, iova, 0, LEN));
	CHECK(pread(fd, written, LEN, (off_t)(len - LEN)) == LEN);
	CHECK(!memcmp(written, rig->seen, LEN) && memcmp(written, content, LEN));
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_check(region) && !pn_region_destroy(region));
	close(fd);
}

static void case_memfd(struct rig *rig)
{
	char content[2 * PAGE];

	check_file(rig, make_memfd(content), 2 * PAGE);
}

static void case_tmpfs(struct rig *rig)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char content[2 * PAGE];
	struct statfs fs;

	CHECK(fd >= 0 && !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC);
	fill(content, sizeof(content));
	CHECK(pwrite(fd, content, sizeof(content), 0) == (ssize_t)sizeof(content));
	check_file(rig, fd, sizeof(content));
}

static void case_hugetlb(struct rig *rig)
{
	int fd = memfd_create("ways", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	void *memory;

	CHECK(fd >= 0 && !ftruncate(fd, (off_t)PN_PAGE_2M));
	/* Such files have no write(). */
	memory = mmap(NULL, PN_PAGE_2M, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	if (failures)
		return;
	fill(memory, PN_PAGE_2M);
	munmap(memory, PN_PAGE_2M);
	check_file(rig, fd, PN_PAGE_2M);
}

/* A file that may only be read: error for a region that is not, and the device reads one that is.
 */
static void check_read_only_file(struct rig *rig, int fd, int error, const char *content)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region = NULL;
	struct pn_region_info info;

	CHECK(pn_region_from_fd(&region, fd, 0, 2 * PAGE, NULL) == error && !region);
	opts.read_only = true;
	CHECK(!pn_region_from_fd(&region, fd, 0, 2 * PAGE, &opts));
	if (failures)
		return;
	pn_region_get_info(region, &info);
	CHECK(!memcmp(info.vaddr, content, 2 * PAGE));
	check_refused(rig, region, -EACCES);
	open_device(rig);
	if (failures)
		return;
	check_read_only(rig, region);
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
	close(fd);
}

static void case_memfd_read_only(struct rig *rig)
{
	char content[2 * PAGE], path[40];
	int writable = make_memfd(content), fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	close(writable);
	check_read_only_file(rig, fd, -EACCES, content);
}

static void case_memfd_sealed(struct rig *rig)
{
	char content[2 * PAGE];
	int fd = make_memfd(content);

	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	check_read_only_file(rig, fd, -EPERM, content);
}

/* A seal that comes later: what the device can write to stays so, and nothing is added to it. */
static void case_sealed_later(struct rig *rig)
{
	char content[2 * PAGE];
	int fd = make_memfd(content);
	struct pn_region_info info;
	struct pn_region *region;
	uint64_t iova;

	CHECK(!pn_region_from_fd(&region, fd, 0, 2 * PAGE, NULL));
	open_device(rig);
	if (failures)
		return;
	pn_region_get_info(region, &info);
	iova = map_whole(rig, region, PN_PROT_RW);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EBUSY);
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	check_refused(rig, region, -EPERM);
	check_reached(rig, iova, info.vaddr, info.size);
	iova = map_whole(rig, region, PN_PROT_READ);
	fill(info.vaddr, LEN);
	CHECK(device_reads(rig, iova, info.vaddr, LEN));
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
	close(fd);
}

static const struct way ways[] = {{"range", case_range}, {"range-read-only", case_range_read_only},
	{"range-unmapped", case_range_unmapped}, {"memfd", case_memfd}, {"tmpfs", case_tmpfs},
	{"hugetlb", case_hugetlb}, {"memfd-read-only", case_memfd_read_only},
	{"memfd-sealed", case_memfd_sealed}, {"sealed-later", case_sealed_later}};

int main(int argc, char **argv)
{
	return run_way(argc, argv, ways, sizeof(ways) / sizeof(ways[0]));
}
