/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The edu device through Pinion: its registers, and one transfer at a time with a bounded wait.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "edu.h"

/* Registers of BAR 0. */
#define ID       0x00 /* 0xRRrr00ed, version RR.rr */
#define LIVENESS 0x04 /* gives back the complement */
#define DMA_SRC  0x80
#define DMA_DST  0x88
#define DMA_LEN  0x90
#define DMA_CMD  0x98

#define ID_WANTED  0x010000edu
#define BUFFER_AT  0x40000u
#define CMD_START  (UINT64_C(1) << 0)
#define CMD_TO_RAM (UINT64_C(1) << 1)

/* The device takes its 100 ms for a transfer. */
#define TIMEOUT_MS 5000

static volatile uint32_t *reg32(const struct edu *edu, uint32_t at)
{
	return (volatile uint32_t *)(edu->regs + at);
}

static volatile uint64_t *reg64(const struct edu *edu, uint32_t at)
{
	return (volatile uint64_t *)(edu->regs + at);
}

/* Of an open device. */
static int wake(struct edu *edu)
{
	struct pn_bar bar;
	int ret;

	ret = pn_pci_bar_map(edu->device, 0, &bar);
	if (ret)
		goto close_device;
	edu->regs = bar.addr;
	ret = -ENODEV;
	if (bar.size < BUFFER_AT + EDU_BUFFER || *reg32(edu, ID) != ID_WANTED)
		goto close_device;
	*reg32(edu, LIVENESS) = 0x12345678;
	if (*reg32(edu, LIVENESS) != ~UINT32_C(0x12345678))
		goto close_device;
	ret = pn_pci_bus_master(edu->device, true);
	if (!ret)
		return 0;

close_device:
	edu_close(edu);
	return ret;
}

int edu_open(struct edu *edu, const char *spec, struct pn_domain *domain)
{
	int ret;

	memset(edu, 0, sizeof(*edu));
	ret = pn_pci_open(&edu->device, spec, domain);
	return ret ? ret : wake(edu);
}

int edu_open_fd(struct edu *edu, const char *spec, struct pn_domain *domain, int fd)
{
	int ret;

	memset(edu, 0, sizeof(*edu));
	ret = pn_pci_open_fd(&edu->device, spec, domain, fd);
	return ret ? ret : wake(edu);
}

void edu_close(struct edu *edu)
{
	pn_pci_close(edu->device);
	memset(edu, 0, sizeof(*edu));
}

static int wait_done(const struct edu *edu)
{
	const struct timespec pause = {0, 1000000};
	unsigned int ms;
	uint64_t cmd;

	for (ms = 0; ms < TIMEOUT_MS; ms++) {
		cmd = *reg64(edu, DMA_CMD);
		if (cmd == UINT64_MAX)
			return -ENODEV;
		if (!(cmd & CMD_START))
			return 0;
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

static int transfer(const struct edu *edu, uint64_t src, uint64_t dst, uint32_t len, uint64_t cmd)
{
	int ret;

	*reg64(edu, DMA_SRC) = src;
	*reg64(edu, DMA_DST) = dst;
	*reg64(edu, DMA_LEN) = len;
	/* What was written before must be in memory before the device looks, and nothing of what it
	 * writes may be read before it is done. */
	__sync_synchronize();
	*reg64(edu, DMA_CMD) = cmd | CMD_START;
	ret = wait_done(edu);
	__sync_synchronize();
	return ret;
}

/* QEMU up to 7.2 ends itself when a transfer reaches the last byte of the buffer or goes past it.
 */
static bool in_buffer(uint32_t offset, uint32_t len)
{
	return len && offset < EDU_BUFFER && len < EDU_BUFFER - offset;
}

int edu_read(const struct edu *edu, uint64_t iova, uint32_t offset, uint32_t len)
{
	if (!in_buffer(offset, len))
		return -EINVAL;
	return transfer(edu, iova, BUFFER_AT + offset, len, 0);
}

int edu_write(const struct edu *edu, uint64_t iova, uint32_t offset, uint32_t len)
{
	if (!in_buffer(offset, len))
		return -EINVAL;
	return transfer(edu, BUFFER_AT + offset, iova, len, CMD_TO_RAM);
}
