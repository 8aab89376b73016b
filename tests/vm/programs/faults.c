/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operation of the DMA layer with one failure after the other in the kernel: faults BACKEND
 * DEVICE OPERATION, once tests/vm/guest/fault-injection has run. Prints how often it was refused
 * and "ok", or what is wrong and "failed". "faults list" prints the operations, with what the
 * failures should be limited to. A further one is a function or two and an entry in the table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fail_nth.h"
#include "pinion.h"

/* Where mappings go, and how far it is from one to the next: what a page of IOMMU page tables
 * covers, and more. */
#define FIRST (UINT64_C(1) << 33)
#define STEP  PN_PAGE_1G

/** What a process and a domain have, as the kernel and the library tell it. */
struct state {
	unsigned long locked, pinned; /* VmLck, VmPin, in kB */
	uint64_t mappings, bytes, entries_left;
	unsigned int devices;
	bool damaged;
};

struct rig {
	const char *spec;
	bool iommufd;
	struct pn_domain *domain;
	struct pn_pci_device *device;
	struct pn_region *small, *large; /* of 4 KiB pages and of a 2 MiB page */
	uint64_t iova;
	struct state before;
};

static struct state look(struct rig *rig)
{
	struct pn_domain_info info;
	struct state state;
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];

	memset(&state, 0, sizeof(state));
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			state.locked = strtoul(line + 6, NULL, 10);
		if (!strncmp(line, "VmPin:", 6))
			state.pinned = strtoul(line + 6, NULL, 10);
	}
	if (file)
		fclose(file);
	pn_domain_get_info(rig->domain, &info);
	state.mappings = info.mappings;
	state.bytes = info.bytes;
	state.entries_left = info.entries_left;
	state.devices = info.devices;
	state.damaged = info.damaged;
	return state;
}

static bool unchanged(void *arg)
{
	struct rig *rig = arg;
	struct state now = look(rig);

	if (!memcmp(&now, &rig->before, sizeof(now)))
		return true;
	printf("VmLck %lu, was %lu; VmPin %lu, was %lu; %lu mappings, were %lu; %lu bytes, were "
	       "%lu; entries left %lu, were %lu; %u devices, were %u; %s\n",
		now.locked, rig->before.locked, now.pinned, rig->before.pinned, now.mappings,
		rig->before.mappings, now.bytes, rig->before.bytes, now.entries_left,
		rig->before.entries_left, now.devices, rig->before.devices,
		now.damaged ? "damaged" : "not damaged");
	return false;
}

static int map(struct rig *rig, struct pn_region *region)
{
	struct pn_region_info info;
	uint64_t iova = rig->iova;

	pn_region_get_info(region, &info);
	return pn_domain_map(rig->domain, region, 0, info.size, PN_PROT_RW, &iova);
}

/* What comes next goes where nothing has been, so that it needs page tables of its own. */
static int unmap(struct rig *rig, struct pn_region *region)
{
	struct pn_region_info info;
	int ret;

	pn_region_get_info(region, &info);
	ret = pn_domain_unmap(rig->domain, rig->iova, info.size);
	if (!ret)
		rig->iova += STEP;
	return ret;
}

static int map_small(void *arg)
{
	return map(arg, ((struct rig *)arg)->small);
}

static int unmap_small(void *arg)
{
	return unmap(arg, ((struct rig *)arg)->small);
}

static int map_large(void *arg)
{
	return map(arg, ((struct rig *)arg)->large);
}

static int unmap_large(void *arg)
{
	return unmap(arg, ((struct rig *)arg)->large);
}

/* Parts with gaps between them, so that each is a mapping; one behind the other in IOVAs. */
#define PARTS      3u
#define PART_BYTES (4 * PN_PAGE_4K)

static int map_parts(void *arg)
{
	struct rig *rig = arg;
	struct pn_segment parts[PARTS];
	uint64_t iova = rig->iova;
	unsigned int i;

	for (i = 0; i < PARTS; i++)
		parts[i] = (struct pn_segment){rig->small, i * 2 * PART_BYTES, PART_BYTES};
	return pn_domain_map_segments(rig->domain, parts, PARTS, PN_PROT_RW, &iova);
}

static int unmap_parts(void *arg)
{
	struct rig *rig = arg;
	int ret = pn_domain_unmap(rig->domain, rig->iova, PARTS * PART_BYTES);

	if (!ret)
		rig->iova += STEP;
	return ret;
}

static int attach(void *arg)
{
	struct rig *rig = arg;

	return pn_pci_open(&rig->device, rig->spec, rig->domain);
}

static int detach(void *arg)
{
	struct rig *rig = arg;

	pn_pci_close(rig->device);
	rig->device = NULL;
	return 0;
}

/** An operation, what is set up before it and taken down after it, and whether it can be refused.
 */
static const struct {
	struct fail_op op;
	int (*set_up[2])(void *arg);
	int (*take_down[2])(void *arg);
	bool can_fail;
	const char *in; /* for fault-injection: of long operations only what is done there */
} operations[] = {
	{{"map of 4 KiB pages", map_small, unmap_small, unchanged}, {attach}, {detach}, true},
	{{"map of a 2 MiB page", map_large, unmap_large, unchanged}, {attach}, {detach}, true},
	{{"unmap of 4 KiB pages", unmap_small, map_small, unchanged}, {attach, map_small},
		{unmap_small, detach}, false},
	{{"unmap of a 2 MiB page", unmap_large, map_large, unchanged}, {attach, map_large},
		{unmap_large, detach}, false},
	{{"map of three segments", map_parts, unmap_parts, unchanged}, {attach}, {detach}, true},
	{{"unmap of three mappings", unmap_parts, map_parts, unchanged}, {attach, map_parts},
		{unmap_parts, detach}, false},
	/* What it asks of /sys goes through libpciaccess, which does not say why it failed. */
	{{"attach", attach, detach, unchanged, true}, {map_small}, {unmap_small}, true, "vfio_"},
};

#define COUNT (sizeof(operations) / sizeof(operations[0]))

static void sweep(struct rig *rig, int fd, size_t number)
{
	int refused;
	size_t i;

	for (i = 0; i < 2 && operations[number].set_up[i]; i++)
		CHECK(!operations[number].set_up[i](rig));
	rig->before = look(rig);
	refused = fail_nth_sweep(fd, &operations[number].op, rig);
	CHECK(refused >= 0 && (refused || !operations[number].can_fail));
	/* iommufd's own failure point refuses whatever asks for an address space. */
	CHECK(!refused || operations[number].can_fail || rig->iommufd);
	for (i = 0; i < 2 && operations[number].take_down[i]; i++)
		CHECK(!operations[number].take_down[i](rig));
}

static void list(void)
{
	size_t i;

	for (i = 0; i < COUNT; i++)
		printf("%s|%s\n", operations[i].op.name, operations[i].in ? operations[i].in : "");
}

static void run(const char *backend, const char *spec, size_t number)
{
	struct pn_domain_opts domain_opts = {.backend = backend};
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct rig rig = {.spec = spec, .iommufd = strcmp(backend, "type1") != 0, .iova = FIRST};
	int fd = fail_nth_open();

	CHECK(fd >= 0);
	CHECK(!pn_domain_create(&rig.domain, &domain_opts));
	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&rig.small, 64 * PN_PAGE_4K, &opts));
	opts.page_size = PN_PAGE_2M;
	CHECK(!pn_region_create(&rig.large, PN_PAGE_2M, &opts));
	if (failures)
		return;
	sweep(&rig, fd, number);
	CHECK(!pn_domain_destroy(rig.domain));
	CHECK(!pn_region_destroy(rig.small) && !pn_region_destroy(rig.large));
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		list();
		return 0;
	}
	if (argc != 4)
		return 2;
	for (i = 0; i < COUNT && strcmp(operations[i].op.name, argv[3]); i++)
		;
	if (i == COUNT)
		return 2;
	run(argv[1], argv[2], i);
	puts(failures ? "failed" : "ok");
	return failures != 0;
}
