/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of a part of a device's file: BARs, for peer-to-peer DMA. lib/pci knows which part.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "mem_priv.h"

static int map_device(struct pn_region *region, const struct pn_region_device *device)
{
	int prot = device->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	int err;

	region->vaddr = pn_map_somewhere(region->size, prot, device->fd, device->offset);
	if (region->vaddr != MAP_FAILED)
		return 0;
	err = errno;
	return pn_fail(err, "mapping %" PRIu64 " bytes of %s: %s", region->size, region->name,
		strerror(err));
}

/*
 * What is mapped there is asked for, not derived from the file as it is for memory: Linux 6.1's
 * vfio-pci puts the BAR's physical address in the place of the offset (vfio_pci_core_mmap()).
 */
static int remember_mapping(struct pn_region *region)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr;

	return pn_vmas_read(start, start + region->size, &region->vmas);
}

int pn_region_from_device(struct pn_region **out, const struct pn_region_device *device)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	int ret;

	opts.name = device->name;
	opts.read_only = !device->writable;
	region = pn_region_new(PN_BACKING_DEVICE, &opts);
	if (!region)
		return -ENOMEM;
	region->size = device->len;
	region->page_size = PN_PAGE_4K;
	region->numa_node = device->numa_node;
	snprintf(region->note, sizeof(region->note), "%s", device->note);
	ret = map_device(region, device);
	if (ret)
		goto free_region;
	ret = pn_region_keep_from_children(region, &opts);
	if (!ret)
		ret = remember_mapping(region);
	if (ret)
		goto unmap;
	region->fd = device->dma_buf;
	region->dma_buf = region->fd >= 0;
	region->holders = device->holders;
	*out = region;
	return 0;

unmap:
	munmap(region->vaddr, region->size);
free_region:
	free(region);
	return ret;
}
