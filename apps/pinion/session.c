/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Begin and end of a command that changes the machine, and which device is meant.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

static void print_note(struct host *host, const char *text)
{
	(void)host;
	printf("%s\n", text);
	/* What was done is on the screen before the next step, which may be the last. */
	fflush(stdout);
}

int session_begin(struct session *session, const struct command *command, bool lock)
{
	const char *root = secure_getenv("PINION_ROOT");

	memset(session, 0, sizeof(*session));
	session->command = command;
	if (host_init(&session->host, root ? root : "")) {
		session_complain(session, NULL);
		return -1;
	}
	session->host.note = print_note;
	if (lock && !root && geteuid() != 0) {
		complain("%s: this command changes the machine: it is for root (sudo pinion %s "
			 "...)",
			command->name, command->name);
		return -1;
	}
	if ((lock && host_lock(&session->host)) ||
		host_state_load(&session->host, &session->state)) {
		session_complain(session, NULL);
		host_unlock(&session->host);
		return -1;
	}
	return 0;
}

void session_end(struct session *session)
{
	host_state_free(&session->state);
	host_unlock(&session->host);
}

int session_complain(struct session *session, const char *device)
{
	complain("%s: %s%s%s", session->command->name, device ? device : "", device ? ": " : "",
		session->host.error);
	return EXIT_FAILURE;
}

static bool known(const struct host_state *state, const char *address)
{
	if (host_binding_find(state, address) || host_vfs_find(state, address))
		return true;
	for (size_t i = 0; i < state->grant_count; i++) {
		if (!strcmp(state->grants[i].device, address))
			return true;
	}
	return false;
}

/* Is a name one of "eth0,eth1"? */
static bool in_names(const char *names, const char *name)
{
	size_t len;

	for (; *names; names += len + (names[len] == ',')) {
		len = strcspn(names, ",");
		if (len == strlen(name) && !strncmp(names, name, len))
			return true;
	}
	return false;
}

int session_device(struct session *session, const char *spec, char address[PN_PCI_ADDRESS_MAX])
{
	char whole[PN_PCI_ADDRESS_MAX + 8];
	struct host_pci pci;

	snprintf(whole, sizeof(whole), "%s%.16s", strlen(spec) == strlen("00:02.0") ? "0000:" : "",
		spec);
	for (char *p = whole; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (host_pci_is_address(whole) && known(&session->state, whole)) {
		memcpy(address, whole, PN_PCI_ADDRESS_MAX);
		return 0;
	}
	for (size_t i = 0; i < session->state.binding_count; i++) {
		if (in_names(session->state.bindings[i].interfaces, spec)) {
			strcpy(address, session->state.bindings[i].device);
			return 0;
		}
	}
	if (host_pci_find(&session->host, spec, &pci)) {
		session_complain(session, NULL);
		return -1;
	}
	strcpy(address, pci.address);
	return 0;
}

int session_check_operands(const struct command *command, int operands, bool all)
{
	if ((operands > 0) != all)
		return EXIT_SUCCESS;
	if (all)
		complain("%s: name devices, or use --all, not both", command->name);
	else
		complain("%s: which device? Try 'pinion help %s'", command->name, command->name);
	return EXIT_USAGE;
}
