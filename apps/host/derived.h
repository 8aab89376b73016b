/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files below /etc that follow from the records: udev rules, limits, and driverctl's overrides.
 */
#ifndef HOST_DERIVED_H
#define HOST_DERIVED_H

#include "state.h"

/* Make them what the records say; remove what no record needs. 0 or a negative errno with the
 * reason. */
int host_derived_write(struct host *host, const struct host_state *state);

/* Those that are not what the records say, one path a line; "" if all is well. */
void host_derived_stale(struct host *host, const struct host_state *state, char *text, size_t size);

/* Is driverctl installed, so that its own rules load what is in /etc/driverctl.d? */
bool host_driverctl_installed(struct host *host);
/* What driverctl keeps for a device: -ENOENT: nothing. */
int host_driverctl_read(struct host *host, const char *device, char *text, size_t size);
/* Set it; NULL removes it. With the reason. */
int host_driverctl_write(struct host *host, const char *device, const char *text);

#endif
