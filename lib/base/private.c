/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a forked child finds zeroed: what is in it belongs to this process alone, and a child
 * can see, without a system call, that it is not its own.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"

void *pn_private_alloc(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* Linux 4.14. */
	if (madvise(memory, size, MADV_WIPEONFORK)) {
		munmap(memory, size);
		return NULL;
	}
	return memory;
}

void pn_private_free(void *memory, size_t size)
{
	if (!memory)
		return;
#ifdef NDEBUG
	munmap(memory, size);
#else
	/* Never handed out again: whoever still uses it is found out. */
	memset(memory, PN_POISON, size);
#endif
}
