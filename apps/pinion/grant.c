/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion grant, pinion revoke.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derived.h"
#include "grant.h"
#include "openers.h"
#include "parse.h"
#include "session.h"
#include "status.h"
#include "take_back.h"

const char grant_help[] =
	"DEVICE... --user U | --group G [OPTION]...\n\n"
	"Let a user or a group open the nodes of devices that are bound to vfio-pci: /dev/vfio/N\n"
	"of the IOMMU group, /dev/vfio/devices/vfioN of the device, and /dev/iommu and\n"
	"/dev/vfio/vfio where these are not open to all. What they were is kept in\n"
	"/var/lib/pinion/host.json, and 'pinion revoke' puts it back. Granting twice changes\n"
	"nothing but the options.\n\n"
	"      --user U           a user, by name or number\n"
	"      --group G          a group, by name or number\n"
	"      --mode acl         by an access control list: others keep what they have (default)\n"
	"      --mode owner       by ownership, for file systems and programs without lists; "
	"nodes\n"
	"                         that all devices share still get a list\n"
	"      --memlock SIZE     RLIMIT_MEMLOCK too, from the next login on ('pinion plan' says\n"
	"                         how much): bytes, or K, M, G\n"
	"      --persist          after each start of the machine too, by udev rules\n"
	"  -h, --help             print this and exit\n\n"
	"Examples:\n"
	"  pinion grant 0000:01:00.0 --user alice --memlock 256M\n"
	"  pinion grant 01:00.0 01:00.1 --group dpdk --persist\n";

const char revoke_help[] =
	"DEVICE... | --all [OPTION]...\n\n"
	"Take back what 'pinion grant' gave: owner, mode and list of each node become what they\n"
	"were, limits and udev rules go. A node that was made anew since is left alone. Also when\n"
	"the device is gone or the machine was started anew. A process that has a node open keeps\n"
	"it.\n\n"
	"      --all          every grant; without --user and --group also what pinion-broker has\n"
	"                     handed out: it takes devices and limits back, or it is said which\n"
	"                     process has one open still, and what ends that. Its policy stays\n"
	"      --user U       only that of a user\n"
	"      --group G      only that of a group\n"
	"  -h, --help         print this and exit\n\n"
	"Examples:\n"
	"  pinion revoke 0000:01:00.0 --user alice\n"
	"  pinion revoke --all\n";

struct who {
	bool given, is_group;
	unsigned int id;
	char name[HOST_NAMES_MAX];
};

static int take_user(const char *text, struct who *who)
{
	const struct passwd *user = getpwnam(text);
	uint64_t number;

	if (!user && !parse_number(text, 0, UINT32_MAX - 1, &number)) {
		who->id = (unsigned int)number;
		user = getpwuid(who->id);
	} else if (user) {
		who->id = user->pw_uid;
	} else {
		return -ENOENT;
	}
	/* A number without a name will do: it may be one of a container. */
	snprintf(who->name, sizeof(who->name), "%s", user ? user->pw_name : text);
	return 0;
}

static int take_group(const char *text, struct who *who)
{
	const struct group *group = getgrnam(text);
	uint64_t number;

	if (!group && !parse_number(text, 0, UINT32_MAX - 1, &number)) {
		who->id = (unsigned int)number;
		group = getgrgid(who->id);
	} else if (group) {
		who->id = group->gr_gid;
	} else {
		return -ENOENT;
	}
	snprintf(who->name, sizeof(who->name), "%s", group ? group->gr_name : text);
	return 0;
}

/* --user or --group: 0, or the exit status after a complaint. */
static int take_who(const struct command *command, const char *text, bool is_group, struct who *who)
{
	if (who->given) {
		complain("%s: one --user or one --group at a time", command->name);
		return EXIT_USAGE;
	}
	who->given = true;
	who->is_group = is_group;
	if (!*text || strlen(text) >= sizeof(who->name) || strpbrk(text, " :/\n") ||
		(is_group ? take_group(text, who) : take_user(text, who))) {
		complain("%s: there is no %s '%.40s'", command->name, is_group ? "group" : "user",
			text);
		return EXIT_USAGE;
	}
	return EXIT_SUCCESS;
}

/*
 * grant
 */

static int grant_devices(
	const struct command *command, char **specs, const struct host_grant_options *options)
{
	struct session session;
	int status = EXIT_SUCCESS;
	struct host_pci pci;

	if (session_begin(&session, command, true))
		return EXIT_FAILURE;
	for (; *specs; specs++) {
		if (host_pci_find(&session.host, *specs, &pci))
			status = session_complain(&session, NULL);
		else if (host_grant(&session.host, &session.state, pci.address, options))
			status = session_complain(&session, pci.address);
	}
	session_end(&session);
	return status;
}

/* 0, or the exit status after a complaint. */
static int take_grant_option(const struct command *command, int code,
	struct host_grant_options *options, struct who *who)
{
	switch (code) {
	case 'u':
	case 'g':
		return take_who(command, optarg, code == 'g', who);
	case 'm':
		options->owner = !strcmp(optarg, "owner");
		if (options->owner || !strcmp(optarg, "acl"))
			return EXIT_SUCCESS;
		complain("%s: --mode is acl or owner, not '%.40s'", command->name, optarg);
		return EXIT_USAGE;
	case 'l':
		if (!parse_size(optarg, &options->memlock) && options->memlock &&
			options->memlock <= INT64_MAX)
			return EXIT_SUCCESS;
		complain("%s: --memlock takes bytes, or a number with K, M or G, not '%.40s'",
			command->name, optarg);
		return EXIT_USAGE;
	default:
		options->persist = true;
		return EXIT_SUCCESS;
	}
}

int grant_run(const struct command *command, int argc, char **argv)
{
	static const struct option long_options[] = {
		{"group", required_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},
		{"memlock", required_argument, NULL, 'l'},
		{"mode", required_argument, NULL, 'm'},
		{"persist", no_argument, NULL, 'p'},
		{"user", required_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	struct host_grant_options options = {0};
	struct who who = {0};
	int code, status;

	while ((code = next_option_before(command, argc, argv, long_options, &status)) != -1) {
		if (code == 'h' || code == '?')
			return status;
		status = take_grant_option(command, code, &options, &who);
		if (status)
			return status;
	}
	status = session_check_operands(command, argc - optind, false);
	if (status)
		return status;
	if (!who.given) {
		complain("%s: to whom? --user U or --group G", command->name);
		return EXIT_USAGE;
	}
	options.is_group = who.is_group;
	options.id = who.id;
	options.name = who.name;
	return grant_devices(command, argv + optind, &options);
}

/*
 * revoke
 */

static int revoke_named(struct session *session, char **specs, const struct who *who)
{
	struct host_state *state = &session->state;
	char address[PN_PCI_ADDRESS_MAX];
	int err, status = EXIT_SUCCESS;
	size_t before;

	for (; *specs; specs++) {
		if (session_device(session, *specs, address)) {
			status = EXIT_FAILURE;
			continue;
		}
		before = state->grant_count;
		err = who->given ? host_revoke_one(
					   &session->host, state, address, who->is_group, who->id)
				 : host_revoke_device(&session->host, state, address);
		if (err) {
			status = session_complain(session, address);
		} else if (state->grant_count == before) {
			complain("%s: %s: was not granted to %s%s", session->command->name, address,
				who->given ? who->name : "anyone", " by pinion");
			status = EXIT_FAILURE;
		}
	}
	return status;
}

/* A device that stays out of reach: with whom, and what ends that. */
static void say_stays(
	struct session *session, const struct lease *lease, const struct host_openers *openers)
{
	const char *name = session->command->name, *device = lease->device;
	struct host_pci pci;
	bool seen = false;

	if (lease->state == LEASE_HELD) {
		complain("%s: %s: pinion-broker has handed it out anew, to process %d of uid %u, "
			 "as its policy says: take the rule away first, and reload it",
			name, device, (int)lease->peer.pid, (unsigned int)lease->peer.uid);
		return;
	}
	if (host_pci_read(&session->host, device, &pci)) {
		complain("%s: %s: is gone, and somebody has its file open still", name, device);
		return;
	}
	for (size_t i = 0; i < openers->count; i++) {
		const struct host_opener *opener = &openers->items[i];

		if (!host_opener_has(opener, &pci))
			continue;
		seen = true;
		complain("%s: %s: process %d (%s, uid %u) has it open, by pinion-broker, and no "
			 "command takes an open file back: it is free when that process has ended "
			 "('kill %d'), or when the kernel has asked for it back and it has let go "
			 "('pinion unbind --force %s')",
			name, device, (int)opener->who.pid, opener->who.comm, opener->who.uid,
			(int)opener->who.pid, device);
	}
	if (!seen)
		complain("%s: %s: somebody has a file of it that pinion-broker handed out, and no "
			 "process shows it: it is on its way between two, or kept by the kernel "
			 "for one (io_uring); 'pinion unbind --force %s' has the kernel ask",
			name, device, device);
}

/* What was there before and is no more. Returns how many. */
static unsigned int say_came_back(struct ledger *before, struct ledger *after)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		const struct lease *lease = &before->leases[i];

		if (lease->state == LEASE_NONE || ledger_find(after, lease->device))
			continue;
		printf("%s: is no more handed out to process %d of uid %u\n", lease->device,
			(int)lease->peer.pid, (unsigned int)lease->peer.uid);
		count++;
	}
	return count;
}

/* What pinion-broker has handed out comes back too, or it is said what keeps it. */
static int take_back_leases(struct session *session, bool *any)
{
	static struct ledger before, ledger;
	struct host_openers openers = {0};
	char path[PATH_MAX];
	struct why why;
	int status = EXIT_SUCCESS;

	before.path = ledger.path = status_ledger_path(&session->host, path);
	(void)ledger_read(&before);
	if (take_back(&ledger, &why)) {
		complain("%s: what pinion-broker has handed out: %s", session->command->name,
			why.text);
		ledger_close(&before);
		return EXIT_FAILURE;
	}
	*any = say_came_back(&before, &ledger);
	ledger_close(&before);
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		const struct lease *lease = &ledger.leases[i];

		if (lease->state == LEASE_NONE)
			continue;
		if (status == EXIT_SUCCESS && host_openers_find(&session->host, &openers))
			session_complain(session, NULL);
		say_stays(session, lease, &openers);
		status = EXIT_FAILURE;
	}
	*any |= status != EXIT_SUCCESS;
	host_openers_free(&openers);
	ledger_close(&ledger);
	return status;
}

static int revoke_all(struct session *session, const struct who *who)
{
	struct host_state *state = &session->state;
	int status = EXIT_SUCCESS;
	bool leases = false;

	/* A policy is by user and control group: a grant's user or group is not meant by it. */
	if (!who->given)
		status = take_back_leases(session, &leases);
	if (!state->grant_count && !state->node_count && !leases)
		printf("nothing is granted by pinion\n");
	for (size_t i = state->grant_count; i > 0; i--) {
		struct host_grant g;

		/* One may have taken others with it, which had ended. */
		if (i > state->grant_count)
			continue;
		g = state->grants[i - 1];
		if (who->given && (g.is_group != who->is_group || g.id != who->id))
			continue;
		if (host_revoke_one(&session->host, state, g.device, g.is_group, g.id))
			status = session_complain(session, g.device);
	}
	if (host_revoke_nodes(&session->host, state) || host_derived_write(&session->host, state))
		status = session_complain(session, NULL);
	return status;
}

int revoke_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"group", required_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},
		{"user", required_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	struct session session;
	struct who who = {0};
	bool all = false;
	int code, status;

	while ((code = next_option_before(command, argc, argv, options, &status)) != -1) {
		if (code == 'h' || code == '?')
			return status;
		if (code == 'a')
			all = true;
		else if ((status = take_who(command, optarg, code == 'g', &who)))
			return status;
	}
	status = session_check_operands(command, argc - optind, all);
	if (status)
		return status;
	if (session_begin(&session, command, true))
		return EXIT_FAILURE;
	status = all ? revoke_all(&session, &who) : revoke_named(&session, argv + optind, &who);
	session_end(&session);
	return status;
}
