/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes have devices open through VFIO.
 */
#ifndef HOST_OPENERS_H
#define HOST_OPENERS_H

#include "holders.h"
#include "pci.h"

/* A process, and one file of VFIO's that it has open. */
struct host_opener {
	struct host_holder who;
	/* "" where nothing tells which device it is: one got through a group that is closed. */
	char node[64];                   /* "/dev/vfio/12" */
	int group;                       /* -1: not a group's node */
	char device[PN_PCI_ADDRESS_MAX]; /* whose cdev it is; "": not a cdev */
};

struct host_openers {
	struct host_opener *items;
	size_t count;
	unsigned int unseen; /* processes that could not be looked at */
};

int host_openers_find(struct host *host, struct host_openers *openers);
void host_openers_free(struct host_openers *openers);
/* Does it have this function open, or its group, or perhaps, as nothing tells? */
bool host_opener_has(const struct host_opener *opener, const struct host_pci *pci);

/*
 * Has somebody the device's group open, or a device of it, whether a process shows it or not? A
 * file can be on its way between two, or registered with io_uring. For the moment of asking nobody
 * else can open it. The node is filled in.
 */
#define HOST_GROUP_NODE_MAX 40
bool host_group_busy(struct host *host, const struct host_pci *pci, char node[HOST_GROUP_NODE_MAX]);

#endif
