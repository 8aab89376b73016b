/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host wants a device back while memory is mapped for it: removal BACKEND DEVICE OTHER. Says
 * "ready" and waits for the request; closes DEVICE; its pins must be gone and its mapping queued,
 * and OTHER, attached then, has the mapping again. Prints "ok", or what is wrong; public interface
 * only.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pinion.h"

#define SECONDS 60

/* VmLck and VmPin together: each backend moves one of them or both alike. */
static uint64_t charged_kb(void)
{
	char line[256];
	uint64_t most = 0, kb;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "VmLck:", 6) && strncmp(line, "VmPin:", 6))
			continue;
		kb = strtoull(line + 6, NULL, 10);
		most = kb > most ? kb : most;
	}
	if (file)
		fclose(file);
	return most;
}

int main(int argc, char **argv)
{
	struct pn_domain_opts opts = {.backend = argc == 4 ? argv[1] : NULL};
	struct pn_pci_device *device, *other;
	struct pn_mapping_info mapping;
	uint64_t iova = PN_IOVA_ANY;
	struct pn_region *region;
	struct pn_domain *domain;
	struct pollfd wait;

	if (argc != 4)
		return 2;
	NEED(!pn_domain_create(&domain, &opts));
	NEED(!pn_region_create(&region, PN_PAGE_2M, NULL));
	NEED(!pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova));
	NEED(!pn_pci_open(&device, argv[2], domain));
	NEED(charged_kb() == 2048);
	wait = (struct pollfd){.fd = pn_pci_removal_fd(device), .events = POLLIN};
	NEED(wait.fd >= 0);
	NEED(poll(&wait, 1, 0) == 0);
	printf("ready\n");
	fflush(stdout);
	NEED(poll(&wait, 1, SECONDS * 1000) == 1);
	pn_pci_close(device);
	NEED(charged_kb() == 0);
	NEED(!pn_domain_next(domain, 0, &mapping));
	NEED(mapping.queued && mapping.iova == iova && !mapping.charged);
	NEED(pn_pci_open(&device, argv[2], domain) < 0);
	NEED(!pn_pci_open(&other, argv[3], domain));
	NEED(charged_kb() == 2048);
	NEED(!pn_domain_next(domain, 0, &mapping));
	NEED(!mapping.queued && mapping.iova == iova && mapping.charged == 512);
	pn_pci_close(other);
	NEED(!pn_domain_destroy(domain));
	NEED(!pn_region_destroy(region));
	printf("ok\n");
	return 0;
}
