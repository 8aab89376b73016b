/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands that change the machine have in common: the machine, its lock, the state, and
 * lines for the user.
 */
#ifndef PINION_SESSION_H
#define PINION_SESSION_H

#include "commands.h"
#include "state.h"

struct session {
	const struct command *command;
	struct host host;
	struct host_state state;
};

/* With the lock: as root, to change something. 0 or -1 after a complaint. */
int session_begin(struct session *session, const struct command *command, bool lock);
void session_end(struct session *session);

/* The reason of the last failure, about a device or NULL, on stderr. Returns EXIT_FAILURE. */
int session_complain(struct session *session, const char *device);

/*
 * The address of a device that a user names, which may be gone: then the records know it, also by
 * the interface that it had. 0 or -1 after a complaint.
 */
int session_device(struct session *session, const char *spec, char address[PN_PCI_ADDRESS_MAX]);

/* Either operands or --all: exit status 0, or 2 after a complaint. */
int session_check_operands(const struct command *command, int operands, bool all);

#endif
