/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as the programs beside this file see it: devices, their nodes, the process's
 * counters, and DMA by QEMU's "edu" device.
 */
#ifndef INTERNAL_MACHINE_H
#define INTERNAL_MACHINE_H

#include <stdio.h>

#include "dma_priv.h"
#include "pinion.h"

/* Says what is wrong, counts it, and goes on. */
extern int failures;
#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			printf("%s:%d: %s is false; %s\n", __FILE__, __LINE__, #condition, \
				pn_error());                                               \
			failures++;                                                        \
		}                                                                          \
	} while (0)

#define PAGE UINT64_C(4096)

/* What sysfs says of a device, and the name of its group's node. */
struct pn_dma_device machine_device(const char *address);
void machine_group_node(const struct pn_dma_device *device, char node[40]);

/* VmLck, VmPin and user->locked_vm (UINT64_MAX: it cannot be measured here), in pages. */
struct counters {
	uint64_t locked, pinned, user;
};
struct counters counters_now(void);

/* The three counters have grown by what the rule says of so many pages. */
bool counters_grew(const struct counters *before, const struct pn_charge_rule *rule, bool exempt,
	uint64_t pages);

/* An edu device that is open: have it write (or read) memory at an IOVA. */
struct edu {
	int fd;
	volatile uint8_t *registers;
};
int edu_start(struct edu *edu, int device_fd);
void edu_stop(struct edu *edu);
/* Memory decoding on or off. */
bool edu_memory(struct edu *edu, bool on);
/* Copy between the device's own buffer and memory; false if it does not end. */
bool edu_dma(struct edu *edu, uint64_t iova, uint64_t len, bool to_memory);
/* Through the device from one IOVA to another. */
bool edu_copy(struct edu *edu, uint64_t from, uint64_t to, uint64_t len);

/* Become an ordinary user without any capability. */
void become_user(void);

/* Drop one capability, of all sets but the bounding one. */
void drop_capability(int capability);

/* Send files to another process, and receive them. */
void send_files(int socket, const int *fds, unsigned int count);
void receive_files(int socket, int *fds, unsigned int count);

#endif
