/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A card goes on receiving while this program executes itself anew: handover BACKEND DEVICE COUNT.
 * Frames of EtherType 0x88b5 with a 32-bit number behind it come in; COUNT are taken before the
 * execve(), COUNT after it, and no number may be missing: every buffer that the card filled
 * meanwhile is found. Its ring lies in the region, so that nothing but the domain is handed over.
 * The card is an 82574L, driven here by the few registers that receiving takes (Intel 82574 GbE
 * Controller datasheet, 10.2). Prints "not on this kernel" or "ok", or what is wrong; public
 * interface only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "pinion.h"

#define CTRL     0x0000 /* device control: bit 6, set link up */
#define IMC      0x00d8 /* interrupt mask clear */
#define RCTL     0x0100 /* receive: bit 1 enable, 3 and 4 promiscuous, 15 broadcast, 26 no CRC */
#define RDBAL    0x2800
#define RDBAH    0x2804
#define RDLEN    0x2808
#define RDH      0x2810
#define RDT      0x2818
#define SLOTS    256u
#define BUFFER   2048u
#define ETHER    0x88b5
#define SECONDS  60
#define MAP_SIZE (4u << 20)

/* A receive descriptor, legacy format (7.1.4). */
struct rxd {
	uint64_t address;
	uint16_t length, checksum;
	uint8_t status, errors; /* status bit 0: the card is done with it */
	uint16_t special;
};

/* The region: the ring, what this program remembers, and the buffers. */
struct memory {
	struct rxd ring[SLOTS];
	uint32_t next;     /* slot to look at */
	uint32_t expected; /* number of the frame to come; 0: any */
	uint32_t taken;
	uint8_t pad[4096 - 12];
	uint8_t buffers[SLOTS][BUFFER];
};

static volatile uint32_t *registers;

static void put(uint32_t offset, uint32_t value)
{
	registers[offset / 4] = value;
}

static void start(struct memory *memory, uint64_t iova)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		memory->ring[i].address =
			iova + offsetof(struct memory, buffers) + i * (uint64_t)BUFFER;
	put(IMC, UINT32_MAX);
	put(CTRL, registers[CTRL / 4] | 1u << 6);
	put(RDBAL, (uint32_t)iova);
	put(RDBAH, (uint32_t)(iova >> 32));
	put(RDLEN, sizeof(memory->ring));
	put(RDH, 0);
	put(RDT, SLOTS - 1);
	put(RCTL, 1u << 1 | 1u << 3 | 1u << 4 | 1u << 15 | 1u << 26);
}

/* Take a frame; the number in it, or 0 if it is someone else's. */
static uint32_t take(struct memory *memory)
{
	struct rxd *rxd = &memory->ring[memory->next];
	const uint8_t *frame = memory->buffers[memory->next];
	uint32_t number = 0;
	uint16_t type;

	memcpy(&type, frame + 12, sizeof(type));
	if (ntohs(type) == ETHER && rxd->length >= 18)
		memcpy(&number, frame + 14, sizeof(number));
	rxd->status = 0;
	__sync_synchronize();
	put(RDT, memory->next);
	memory->next = (memory->next + 1) % SLOTS;
	return ntohl(number);
}

static int receive(struct memory *memory, uint32_t count)
{
	time_t end = time(NULL) + SECONDS;
	uint32_t number;

	while (count && time(NULL) < end) {
		if (!(__atomic_load_n(&memory->ring[memory->next].status, __ATOMIC_ACQUIRE) & 1))
			continue;
		number = take(memory);
		if (!number)
			continue;
		if (memory->expected && number != memory->expected) {
			printf("frame %u came where %u was due\n", number, memory->expected);
			return 1;
		}
		memory->expected = number + 1;
		memory->taken++;
		count--;
	}
	if (count)
		printf("%u frames did not come in %d seconds\n", count, SECONDS);
	return count != 0;
}

static uint64_t locked_kb(void)
{
	char line[256];
	uint64_t kb = UINT64_MAX;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			kb = strtoull(line + 6, NULL, 10);
	}
	if (file)
		fclose(file);
	return kb;
}

/* The ledgers of this process, which was the same before its execve(). */
static size_t ledgers(void)
{
	char pattern[128];
	size_t count = 0;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/{run,tmp,run/user/*}/pinion*/%d-*.ledger",
		(int)getpid());
	if (!glob(pattern, GLOB_BRACE, NULL, &found)) {
		count = found.gl_pathc;
		globfree(&found);
	}
	return count;
}

static int before(char **argv)
{
	struct pn_domain_opts opts = {.backend = argv[1]};
	struct pn_region_opts wanted = PN_REGION_OPTS_INIT;
	struct pn_pci_device *device;
	struct pn_region_info info;
	uint64_t iova = PN_IOVA_ANY;
	struct pn_region *region;
	struct pn_domain *domain;
	struct pn_bar bar;
	char number[16];
	int fd, ret;

	wanted.page_size = PN_PAGE_2M;
	NEED(!pn_domain_create(&domain, &opts));
	NEED(!pn_region_create(&region, MAP_SIZE, &wanted));
	NEED(!pn_domain_map(domain, region, 0, MAP_SIZE, PN_PROT_RW, &iova));
	NEED(!pn_pci_open(&device, argv[2], domain));
	/* Cancelled, it is as it was. */
	ret = pn_domain_handover(domain, &fd);
	if (ret == -EOPNOTSUPP) {
		printf("not on this kernel: %s\n", pn_error());
		CHECK(!pn_domain_unmap(domain, iova, MAP_SIZE));
		return 0;
	}
	NEED(!ret);
	NEED(pn_domain_unmap(domain, iova, MAP_SIZE) == -EBUSY);
	NEED(!pn_domain_handover_cancel(domain, fd));
	NEED(!pn_domain_unmap(domain, iova, MAP_SIZE));
	NEED(!pn_domain_map(domain, region, 0, MAP_SIZE, PN_PROT_RW, &iova));

	NEED(!pn_pci_bar_map(device, 0, &bar));
	registers = (volatile uint32_t *)bar.addr;
	pn_region_get_info(region, &info);
	NEED(!pn_pci_bus_master(device, true));
	start(info.vaddr, iova);
	NEED(!receive(info.vaddr, (uint32_t)strtoul(argv[3], NULL, 10)));
	NEED(ledgers() == 1);
	NEED(!pn_domain_handover(domain, &fd));
	snprintf(number, sizeof(number), "%d", fd);
	execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], number, (char *)NULL);
	NEED(false); /* execl() came back */
	return 1;
}

static int after(char **argv)
{
	uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10);
	struct pn_mapping_info mapping;
	struct pn_pci_device *device;
	struct memory *memory;
	struct pn_domain *domain;
	struct pn_bar bar;

	NEED(!pn_domain_takeover(&domain, (int)strtol(argv[4], NULL, 10), NULL));
	NEED(ledgers() == 1);
	NEED(!pn_domain_next(domain, 0, &mapping));
	NEED(mapping.len == MAP_SIZE && !mapping.queued && mapping.charged == MAP_SIZE / 4096);
	if (!strcmp(argv[1], "type1"))
		CHECK(locked_kb() == MAP_SIZE / 1024);
	memory = mapping.vaddr;
	NEED(memory->taken == count);
	NEED(!pn_pci_takeover(&device, argv[2], domain));
	NEED(!pn_pci_bar_map(device, 0, &bar));
	registers = (volatile uint32_t *)bar.addr;
	NEED(!receive(memory, count));
	/* Its next driver enables bus mastering, and a reset need not clear this. */
	put(RCTL, 0);
	pn_pci_close(device);
	NEED(!pn_domain_unmap_all(domain));
	NEED(!pn_region_destroy(mapping.region));
	NEED(!pn_domain_destroy(domain));
	NEED(locked_kb() == 0);
	if (!failures)
		printf("ok: %u frames before, %u after\n", count, count);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	int ret = argc == 4 ? before(argv) : argc == 5 ? after(argv) : 2;

	return ret ? ret : failures != 0;
}
