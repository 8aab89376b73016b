/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual functions: making them, binding them for VFIO, removing them. The caller holds the lock
 * and has loaded the state.
 */
#ifndef HOST_VF_H
#define HOST_VF_H

#include "state.h"

/* Text of a UUID, with its terminator. */
#define HOST_UUID_MAX 37

/* A new random one (version 4). */
int host_uuid_make(struct host *host, char text[HOST_UUID_MAX]);

/*
 * Make count virtual functions of a device and bind them to vfio-pci. Where the device itself is on
 * vfio-pci, whoever opens one of them must know the token, which this sets first; token is then a
 * UUID, else NULL. 0 or a negative errno with the reason; everything is as it was then, or the
 * records say what is not.
 */
int host_vf_create(struct host *host, struct host_state *state, const char *device,
	unsigned int count, const char *token);

/* Unbind and remove those that were made. -EBUSY: one is open. */
int host_vf_remove(struct host *host, struct host_state *state, const char *device, bool force);

/* token.c: set the VF token of a function that is on vfio-pci, by opening it through VFIO. */
int host_vf_set_token(struct host *host, const struct host_pci *pci, const char *token);

#endif
