/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * OCI hooks that set a container's limit: what pinion oci hook does, and how it is called.
 */
#ifndef PINION_OCI_H
#define PINION_OCI_H

#include <jansson.h>

#include "commands.h"

/* A hook (path and args) by which this program gives a container that limit, in bytes. NULL if
 * memory is out or the program does not know where it is. */
json_t *oci_hook_json(uint64_t memlock);

/* Read a container's state from stdin and set the limit of its process. An exit status. */
int oci_hook_run(const struct command *command, const char *memlock);

#endif
