/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where kernels from 6.1 on differ in what this module uses, and nothing else.
 */
#ifndef PINION_COMPAT_H
#define PINION_COMPAT_H

#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/version.h>

/* user_struct has locked_vm when one of these may charge it. */
#if IS_ENABLED(CONFIG_NET) || IS_ENABLED(CONFIG_IO_URING) ||                  \
	IS_ENABLED(CONFIG_VFIO_PCI_ZDEV_KVM) || IS_ENABLED(CONFIG_IOMMUFD) || \
	IS_ENABLED(CONFIG_SECRETMEM)
#define PINION_HAVE_USER_LOCKED_VM 1
#else
#define PINION_HAVE_USER_LOCKED_VM 0
#endif

/* 6.2, gup_must_unshare(): a read-only pin for long of a private mapping gets a page of its own. */
#define PINION_GUP_UNSHARES (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0))

/* 6.11 */
#define PINION_HAVE_MEMFD_PIN_FOLIOS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0))

/* How many pins a large folio has. */
static inline unsigned int pinion_pincount(struct folio *folio)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	return atomic_read(&folio->_pincount);
#else
	return atomic_read(folio_pincount_ptr(folio));
#endif
}

/* 6.6: of hugetlbfs too get_user_pages() brings nothing in with FOLL_NOFAULT. */
#define PINION_HUGETLB_NOFAULT (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0))

/* 6.5 took vmas away. */
static inline long pinion_get_user_pages(unsigned long addr, unsigned long n, unsigned int flags,
					 struct page **pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return get_user_pages(addr, n, flags, pages);
#else
	return get_user_pages(addr, n, flags, pages, NULL);
#endif
}

/* 7.3 took is_cow_mapping() away. */
static inline bool pinion_is_cow(unsigned long vm_flags)
{
	return (vm_flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE;
}

static inline bool pinion_is_hugetlb(struct inode *inode)
{
	return IS_ENABLED(CONFIG_HUGETLBFS) && inode->i_sb->s_magic == HUGETLBFS_MAGIC;
}

/* The page of a file at this index in pages, with a reference; NULL if the page cache has none. */
static inline struct page *pinion_file_page(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio;

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	/* hugetlbfs counted in huge pages. */
	if (pinion_is_hugetlb(mapping->host)) {
		unsigned int order = huge_page_order(hstate_inode(mapping->host));

		folio = filemap_get_folio(mapping, index >> order);
		if (IS_ERR_OR_NULL(folio))
			return NULL;
		return folio_page(folio, index & ((1UL << order) - 1));
	}
#endif
	folio = filemap_get_folio(mapping, index);
	if (IS_ERR_OR_NULL(folio))
		return NULL;
	return folio_file_page(folio, index);
}

#endif
