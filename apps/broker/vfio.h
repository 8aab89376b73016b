/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces and devices: opened and reset, to be handed out; and whether one that was handed
 * out is free again.
 */
#ifndef BROKER_VFIO_H
#define BROKER_VFIO_H

#include <stdbool.h>

#include "why.h"

/* What is handed out: the address space's file, then one a device. */
struct handout {
	enum pn_broker_backend backend;
	unsigned int count; /* devices */
	int fds[PN_BROKER_FILES];
	uint32_t dev_id[PN_BROKER_DEVICES];
};

/* What is to be opened. */
struct vfio_wish {
	enum pn_broker_backend backend; /* PN_BROKER_FIRST: as the machine has it */
	bool per_user;                  /* iommufd: charge the user, not the process */
	bool only_look;                 /* is it free? No reset beyond that of opening it */
	unsigned int count;
	const char (*devices)[PN_BROKER_ADDRESS];
	/* A device that has no reset goes as it is. */
	bool without_reset[PN_BROKER_DEVICES];
	/* May the client have this device too? Asked for all that share a group on type1. */
	bool (*granted)(const void *arg, const char *device);
	const void *arg;
};

/* Open it. 0; close it with vfio_close(). A negative errno with words: nothing is open. */
int vfio_open(struct handout *handout, const struct vfio_wish *wish, struct why *why);
void vfio_close(struct handout *handout);

/* Look whether a device that was handed out is free, which resets it. 0: it is; -EBUSY: somebody
 * has it open; another errno, with words: it cannot be told. */
int vfio_reclaim(enum pn_broker_backend backend, const char *device, struct why *why);

#endif
