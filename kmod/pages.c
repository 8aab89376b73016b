// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a range of addresses or of a file to its pages: see pages.h.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <linux/mm.h>
/* After mm.h, whose types it uses. */
#include <linux/memfd.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <uapi/linux/fcntl.h>

#include "compat.h"
#include "pages.h"

static bool is_shmem(struct inode *inode)
{
	/* shmem_mapping() is not exported by all; of regular files the magic is shmem's alone. */
	return IS_ENABLED(CONFIG_SHMEM) && inode->i_sb->s_magic == TMPFS_MAGIC;
}

static unsigned int seals_of(struct inode *inode)
{
#if IS_ENABLED(CONFIG_HUGETLBFS)
	if (pinion_is_hugetlb(inode))
		return HUGETLBFS_I(inode)->seals;
#endif
#if IS_ENABLED(CONFIG_SHMEM)
	if (is_shmem(inode))
		return SHMEM_I(inode)->seals;
#endif
	return F_SEAL_SEAL;
}

static int check_file(const struct pinion_range *range, bool write)
{
	struct inode *inode = file_inode(range->file);
	u64 end = range->start + ((u64)range->pages << PAGE_SHIFT);

	if (!S_ISREG(inode->i_mode) || !(is_shmem(inode) || pinion_is_hugetlb(inode)))
		return -EOPNOTSUPP;
	if (!(range->file->f_mode & FMODE_READ))
		return -EACCES;
	if (write && !(range->file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (end > round_up((u64)i_size_read(inode), PAGE_SIZE))
		return -EINVAL;
	return 0;
}

int pinion_range_get(struct pinion_range *range, u64 start, u64 length, bool of_file, int fd,
		     bool write)
{
	u64 end;
	int ret;

	range->file = NULL;
	if (!length || !PAGE_ALIGNED(start | length) || check_add_overflow(start, length, &end))
		return -EINVAL;
	if (end > (of_file ? (u64)MAX_LFS_FILESIZE : (u64)ULONG_MAX))
		return -EINVAL;
	if (!of_file && fd)
		return -EINVAL;
	range->start = start;
	range->pages = length >> PAGE_SHIFT;
	if (!of_file)
		return access_ok((void __user *)(unsigned long)start, length) ? 0 : -EFAULT;
	range->file = fget(fd);
	if (!range->file)
		return -EBADF;
	ret = check_file(range, write);
	if (ret)
		pinion_range_put(range);
	return ret;
}

void pinion_range_put(struct pinion_range *range)
{
	if (range->file)
		fput(range->file);
	range->file = NULL;
}

#if PINION_GUP_UNSHARES
static long pin_addresses(unsigned long addr, unsigned long n, bool write, struct page **pages)
{
	return pin_user_pages_fast(addr, n, FOLL_LONGTERM | (write ? FOLL_WRITE : 0), pages);
}
#else
/*
 * Before 6.2 a read-only pin of a private mapping takes what is there: the zero page, or the page
 * of the file or of KSM, which a later write of the processor leaves to the device. A pin that
 * forces a write breaks the sharing first, even where the mapping is read-only.
 */
static long pin_addresses(unsigned long addr, unsigned long n, bool write, struct page **pages)
{
	unsigned int flags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
	struct vm_area_struct *vma;
	long ret;

	ret = mmap_read_lock_killable(current->mm);
	if (ret)
		return ret;
	vma = find_vma(current->mm, addr);
	if (!vma || vma->vm_start > addr || !(vma->vm_flags & VM_READ)) {
		ret = -EFAULT;
		goto out;
	}
	n = min(n, (vma->vm_end - addr) >> PAGE_SHIFT);
	if (!write && pinion_is_cow(vma->vm_flags)) {
		/* follow_hugetlb_page() does not break the sharing of a read-only mapping. */
		if (is_vm_hugetlb_page(vma) && !(vma->vm_flags & VM_WRITE)) {
			ret = -EOPNOTSUPP;
			goto out;
		}
		flags |= FOLL_WRITE | FOLL_FORCE;
	}
	ret = pin_user_pages(addr, n, flags, pages, NULL);
out:
	mmap_read_unlock(current->mm);
	return ret;
}
#endif

/* Takes pages into the runs; what they have no room for is unpinned. */
static int take(struct pinion_runs *runs, struct page **pages, unsigned long n)
{
	unsigned long before = runs->pages, taken;
	int ret;

	ret = pinion_runs_append_pages(runs, pages, n);
	if (ret) {
		taken = runs->pages - before;
		unpin_user_pages(pages + taken, n - taken);
	}
	return ret;
}

static int end_batch(const struct pinion_taken *taken)
{
	cond_resched();
	return taken ? taken->call(taken->arg) : 0;
}

static int pin_memory(const struct pinion_range *range, bool write, struct pinion_runs *runs,
		      struct page **pages, const struct pinion_taken *taken)
{
	unsigned long done, addr;
	long n;
	int ret;

	for (done = 0; done < range->pages; done += n) {
		if (fatal_signal_pending(current))
			return -EINTR;
		addr = range->start + (done << PAGE_SHIFT);
		n = pin_addresses(addr, min(range->pages - done, (unsigned long)PINION_BATCH),
				  write, pages);
		if (n <= 0)
			return n ? n : -EFAULT;
		ret = take(runs, pages, n);
		if (!ret)
			ret = end_batch(taken);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * memfd_pin_folios() takes a page for hugetlbfs from the pool as if it had been reserved, which
 * only mapping the file does (alloc_hugetlb_folio_reserve(), 6.12): the count of what is reserved
 * goes wrong. So it is for shmem only. Nor does it take a page in whose middle the file ends.
 */
static bool has_folios_pinned(const struct pinion_range *range)
{
	u64 end = range->start + ((u64)range->pages << PAGE_SHIFT);

	return range->file && PINION_HAVE_MEMFD_PIN_FOLIOS &&
	       !pinion_is_hugetlb(file_inode(range->file)) &&
	       end <= (u64)i_size_read(file_inode(range->file));
}

#if PINION_HAVE_MEMFD_PIN_FOLIOS
/* One folio after the other: a page array has room for as many folios. */
static int pin_folios(const struct pinion_range *range, struct pinion_runs *runs,
		      struct page **pages, const struct pinion_taken *taken)
{
	struct folio **folios = (struct folio **)pages;
	u64 end = range->start + ((u64)range->pages << PAGE_SHIFT);
	unsigned long done = 0;
	pgoff_t offset;
	long i, n;
	int ret;

	while (done < range->pages) {
		if (fatal_signal_pending(current))
			return -EINTR;
		n = memfd_pin_folios(range->file, range->start + ((u64)done << PAGE_SHIFT), end - 1,
				     folios, PINION_BATCH, &offset);
		if (n <= 0)
			return n ? n : -EFAULT;
		offset >>= PAGE_SHIFT;
		for (i = 0; i < n; i++, offset = 0) {
			unsigned long part =
				min(folio_nr_pages(folios[i]) - offset, range->pages - done);

			ret = part ? pinion_runs_append(runs, folio_pfn(folios[i]) + offset, part)
				   : -EFAULT;
			if (ret)
				goto unpin;
			done += part;
		}
		ret = end_batch(taken);
		if (ret)
			return ret;
	}
	return 0;
unpin:
	for (; i < n; i++)
		unpin_user_page(&folios[i]->page);
	return ret;
}
#else
static int pin_folios(const struct pinion_range *range, struct pinion_runs *runs,
		      struct page **pages, const struct pinion_taken *taken)
{
	return -EOPNOTSUPP;
}
#endif

/* The part of the file that is mapped: whole huge pages. */
static int pin_mapped(const struct pinion_range *range, bool write, unsigned long done,
		      unsigned long n, struct page **pages)
{
	u64 unit = pinion_is_hugetlb(file_inode(range->file))
			   ? huge_page_size(hstate_inode(file_inode(range->file)))
			   : PAGE_SIZE;
	u64 start = range->start + ((u64)done << PAGE_SHIFT);
	u64 from = round_down(start, unit);
	u64 length = round_up(start + ((u64)n << PAGE_SHIFT), unit) - from;
	unsigned long addr;
	long i, ret;

	addr = vm_mmap(range->file, 0, length, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED,
		       from);
	/* Over the limit for a process that locks all that it maps (mlockall()). */
	if (IS_ERR_VALUE(addr))
		return addr == (unsigned long)-EAGAIN ? -ENOMEM : (int)addr;
	ret = pin_user_pages_fast(addr + (start - from), n,
				  FOLL_LONGTERM | (write ? FOLL_WRITE : 0), pages);
	vm_munmap(addr, length);
	/* Another thread can have put something else there. */
	for (i = 0; i < ret; i++) {
		if (page_folio(pages[i])->mapping == range->file->f_mapping)
			continue;
		unpin_user_pages(pages, ret);
		return -EFAULT;
	}
	return ret ? ret : -EFAULT;
}

static int pin_through_mapping(const struct pinion_range *range, bool write,
			       struct pinion_runs *runs, struct page **pages,
			       const struct pinion_taken *taken)
{
	unsigned long done;
	int n, ret;

	for (done = 0; done < range->pages; done += n) {
		if (fatal_signal_pending(current))
			return -EINTR;
		n = pin_mapped(range, write, done,
			       min(range->pages - done, (unsigned long)PINION_BATCH), pages);
		if (n < 0)
			return n;
		ret = take(runs, pages, n);
		if (!ret)
			ret = end_batch(taken);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * A file that is sealed against writing gets no writable pin: while the mapping counts a writer
 * the seal cannot be set, and once the pages are pinned, setting it fails on the pins.
 */
static int pin_file_sealed(const struct pinion_range *range, bool write, struct pinion_runs *runs,
			   bool by_folio, struct page **pages, const struct pinion_taken *taken)
{
	struct address_space *mapping = range->file->f_mapping;
	int ret;

	if (write) {
		ret = mapping_map_writable(mapping);
		if (ret)
			return ret;
		if (seals_of(file_inode(range->file)) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
			ret = -EPERM;
			goto out;
		}
	}
	if (by_folio)
		ret = pin_folios(range, runs, pages, taken);
	else
		ret = pin_through_mapping(range, write, runs, pages, taken);
out:
	if (write)
		mapping_unmap_writable(mapping);
	return ret;
}

int pinion_range_pin(const struct pinion_range *range, bool write, struct pinion_runs *runs,
		     bool *by_folio, const struct pinion_taken *taken)
{
	struct page **pages = kvmalloc_array(PINION_BATCH, sizeof(*pages), GFP_KERNEL);
	int ret;

	*by_folio = has_folios_pinned(range);
	if (!pages)
		return -ENOMEM;
	if (range->file)
		ret = pin_file_sealed(range, write, runs, *by_folio, pages, taken);
	else
		ret = pin_memory(range, write, runs, pages, taken);
	kvfree(pages);
	if (!ret)
		pinion_runs_trim(runs);
	return ret;
}

static void peek_memory(unsigned long addr, unsigned long n, unsigned int flags,
			struct page **pages)
{
	unsigned long i = 0;
	int found;

	while (i < n) {
		found = get_user_pages_fast_only(addr + (i << PAGE_SHIFT), n - i, flags, pages + i);
		if (found > 0)
			i += found;
		if (i < n)
			pages[i++] = NULL;
	}
}

/*
 * get_user_pages_fast_only() takes neither the zero page, whose entry is special, nor pages that
 * may not be read just then: after mprotect(), or while the kernel looks which node uses them.
 * This finds them, and brings nothing in either.
 */
static struct page *look_closer(unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(current->mm, addr);
	struct page *page = NULL;

	if (!vma || vma->vm_flags & (VM_PFNMAP | VM_IO))
		return NULL;
	if (!PINION_HUGETLB_NOFAULT && is_vm_hugetlb_page(vma))
		return NULL;
	return pinion_get_user_pages(addr, 1, FOLL_NOFAULT | FOLL_FORCE, &page) == 1 ? page : NULL;
}

static void look_closer_at_all(unsigned long addr, unsigned long n, struct page **pages)
{
	unsigned long i;

	for (i = 0; i < n && pages[i]; i++)
		;
	if (i == n)
		return;
	mmap_read_lock(current->mm);
	for (; i < n; i++) {
		if (!pages[i])
			pages[i] = look_closer(addr + (i << PAGE_SHIFT));
	}
	mmap_read_unlock(current->mm);
}

void pinion_range_peek(const struct pinion_range *range, unsigned long first, unsigned long n,
		       struct page **pages)
{
	unsigned long addr = range->start + (first << PAGE_SHIFT), i;

	if (!range->file) {
		peek_memory(addr, n, 0, pages);
		look_closer_at_all(addr, n, pages);
		return;
	}
	for (i = 0; i < n; i++)
		pages[i] = pinion_file_page(range->file->f_mapping,
					    (range->start >> PAGE_SHIFT) + first + i);
}

void pinion_range_peek_writable(const struct pinion_range *range, unsigned long first,
				unsigned long n, struct page **pages)
{
	peek_memory(range->start + (first << PAGE_SHIFT), n, FOLL_WRITE, pages);
}

void pinion_put_pages(struct page **pages, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		if (pages[i])
			put_page(pages[i]);
	}
}

unsigned int pinion_folio_pins(struct folio *folio)
{
	/* Signed, and negative when it is about to overflow: then it is certainly pinned. */
	if (!folio_test_large(folio))
		return (unsigned int)folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;
	return pinion_pincount(folio);
}
