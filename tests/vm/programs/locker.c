/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that locks all its memory and then maps some for a device: locker BACKEND NODE DEVICE
 * BYTES PAGE_SIZE (NODE "-": the backend's own). Prints what it has locked besides that memory, in
 * bytes, and exits with 1 and the reason if something is refused. Uses the public interface only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pinion.h"

/* VmLck in bytes. */
static uint64_t locked(void)
{
	char line[256];
	uint64_t bytes = 0;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			bytes = strtoull(line + 6, NULL, 10) << 10;
	}
	if (file)
		fclose(file);
	return bytes;
}

static int failed(const char *what)
{
	printf("%s: %s\n", what, pn_error());
	return 1;
}

/* The allocator's memory grows now, and not while the locked memory is counted. */
static void warm_up(void)
{
	char *room = malloc(64 << 10);

	if (room)
		memset(room, 1, 64 << 10);
	free(room);
	locked();
}

static int map(struct pn_domain *domain, uint64_t bytes, uint64_t page_size)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	uint64_t before = locked(), own, iova = PN_IOVA_ANY;
	struct pn_region *region;
	int ret = 0;

	opts.page_size = page_size;
	if (pn_region_create(&region, bytes, &opts))
		return failed("region");
	own = locked() - (page_size == PN_PAGE_4K ? bytes : 0);
	if (pn_domain_map(domain, region, 0, bytes, PN_PROT_RW, &iova))
		ret = failed("map");
	else
		printf("before %llu program %llu\n", (unsigned long long)before,
			(unsigned long long)own);
	if (pn_domain_unmap_all(domain) || pn_region_destroy(region))
		ret = failed("the end");
	return ret;
}

int main(int argc, char **argv)
{
	struct pn_domain_opts opts = {0};
	struct pn_pci_device *device;
	struct pn_domain *domain;
	int ret;

	if (argc != 6)
		return 2;
	opts.backend = argv[1];
	opts.node = strcmp(argv[2], "-") ? argv[2] : NULL;
	if (pn_domain_create(&domain, &opts))
		return failed("domain");
	if (pn_pci_open(&device, argv[3], domain))
		return failed("device");
	warm_up();
	if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
		printf("mlockall: %s\n", strerror(errno));
		return 1;
	}
	ret = map(domain, strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
	pn_pci_close(device);
	if (pn_domain_destroy(domain))
		return failed("domain");
	return ret;
}
