/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory areas of a process, from /proc/PID/maps or smaps: which file is behind an address, is
 * it a device's, and is it mlocked.
 */
#ifndef PN_REPORT_VMAS_H
#define PN_REPORT_VMAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vma {
	uint64_t start, end; /* addresses */
	uint64_t offset;     /* in the file */
	uint64_t device, inode;
	bool shared; /* with a file, so that another mapping of it is the same memory */
	bool bar;    /* of a VFIO device */
	bool locked; /* mlocked; from smaps only */
};

struct vmas {
	struct vma *list; /* ascending */
	size_t count;
};

/*
 * Read those of a process that touch addresses from start to end - 1. locked: from smaps, for which
 * the kernel walks the page tables. 0 (the caller frees with vmas_free()) or a negative errno, with
 * nothing to free. No text.
 */
int vmas_read(pid_t pid, uint64_t start, uint64_t end, bool locked, struct vmas *out);
void vmas_free(struct vmas *vmas);

/* The first whose end is above an address; vmas->count if there is none. */
size_t vmas_find(const struct vmas *vmas, uint64_t address);

#endif
