/* SPDX-License-Identifier: BSD-3-Clause */
/* dma DEVICE: map memory for a device, look addresses up, and show what each mapping is charged. */
#include <inttypes.h>
#include <stdio.h>
#include "pinion.h"

static int show(struct pn_domain *domain)
{
	struct pn_mapping_info map = {0};

	for (uint64_t at = 0; !pn_domain_next(domain, at, &map); at = map.iova + map.len)
		printf("IOVA %#" PRIx64 ", %" PRIu64 " bytes at %p, %" PRIu64 " pages charged\n",
			map.iova, map.len, map.vaddr, map.charged);
	return 0;
}

int main(int argc, char **argv)
{
	static char own[8192] __attribute__((aligned(4096)));
	uint64_t ring = PN_IOVA_ANY, shared = PN_IOVA_ANY, found;
	struct pn_region *region = NULL, *range = NULL;
	struct pn_pci_device *device = NULL;
	struct pn_domain *domain = NULL;
	int failed = argc != 2 || pn_domain_create(&domain, NULL) ||
		     pn_region_create(&region, PN_PAGE_2M, NULL) ||
		     pn_region_from_range(&range, own, sizeof(own), NULL) ||
		     pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &ring) || /* queued */
		     pn_pci_open(&device, argv[1], domain) ||                           /* pinned */
		     pn_domain_map(domain, range, 0, sizeof(own), PN_PROT_READ, &shared) ||
		     pn_domain_iova(domain, own + 100, 50, &found) || found != shared + 100 ||
		     show(domain);

	if (failed)
		fprintf(stderr, "dma: %s\n", argc == 2 ? pn_error() : "usage: dma DEVICE");
	pn_pci_close(device);
	failed |= pn_domain_destroy(domain) || (range && pn_region_destroy(range)) ||
		  (region && pn_region_destroy(region));
	return failed;
}
