/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion bind, pinion unbind.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"
#include "derived.h"
#include "grant.h"
#include "session.h"
#include "vf.h"

const char bind_help[] =
	"DEVICE... [OPTION]...\n\n"
	"Take devices from the kernel's drivers and give them to vfio-pci: all of them or, if\n"
	"anything speaks against one, none. What was there before is kept in\n"
	"/var/lib/pinion/host.json, and 'pinion unbind' puts it back.\n\n"
	"A DEVICE is an address (0000:01:00.0 or 01:00.0), vendor:device where there is one such,\n"
	"or the name of a network interface (eth1).\n\n"
	"A device that is in use is refused, and the rule that says so is named:\n"
	"  address, default-route, enslaved, packet, xdp      its network interface\n"
	"  mounted, swap, holders, claimed, shared-folder     its disks\n"
	"  open, console, boot-vga, virtual-functions         its other parts\n"
	"  last-network                                       the machine would lose its network\n"
	"  system-disk, network-root, bridge, no-iommu        never, whatever the options\n"
	"  group                                              others of its IOMMU group are in "
	"the\n"
	"                                                     way: name them too, or --group\n"
	"  driverctl                                          with --persist: driverctl has\n"
	"                                                     another override for it\n\n"
	"      --group            bind the other devices of its IOMMU group too\n"
	"      --force            though it is in use\n"
	"      --cut-network      with --force: though the machine loses its network\n"
	"      --persist          at each start of the machine too: by an override in\n"
	"                         /etc/driverctl.d, which driverctl loads or, where it is not\n"
	"                         installed, a udev rule\n"
	"      --driver NAME      a variant of vfio-pci (mlx5_vfio_pci ...)\n"
	"      --dry-run          say what would be done, and what speaks against it\n"
	"  -h, --help             print this and exit\n\n"
	"Examples:\n"
	"  pinion bind 0000:01:00.0\n"
	"  pinion bind eth1 eth2 --persist\n"
	"  pinion bind 03:00.0 --group --dry-run\n";

const char unbind_help[] =
	"DEVICE... | --all [OPTION]...\n\n"
	"Give devices back to the drivers that 'pinion bind' took them from, with the\n"
	"driver_override that they had; their grants are revoked first. A device that a process\n"
	"has open is refused, with its pid. What a command that died half-way left is put right\n"
	"too, also when the device is gone or the machine was started anew.\n\n"
	"      --all      every device that pinion bound, and the virtual functions it made\n"
	"      --force    though it is open: the kernel asks the process to let go, and this\n"
	"                 command waits until it has\n"
	"  -h, --help     print this and exit\n\n"
	"Examples:\n"
	"  pinion unbind 0000:01:00.0\n"
	"  pinion unbind --all\n";

/*
 * bind
 */

static const char *what_helps(const struct host_use *use)
{
	if (!strcmp(use->rule, "group"))
		return "";
	if (use->weight == HOST_USE_FORCE)
		return " (--force sets this aside)";
	if (use->weight == HOST_USE_CUT)
		return " (--force with --cut-network sets this aside)";
	return " (no option sets this aside)";
}

static void print_uses(const struct command *command, const struct host_uses *uses,
	const struct host_bind_options *options)
{
	for (size_t i = 0; i < uses->count; i++) {
		const struct host_use *use = &uses->items[i];

		if (host_use_stops(use, options))
			complain("%s: %s: refused by the rule '%s': %s%s", command->name,
				use->address, use->rule, use->text, what_helps(use));
		else
			printf("%s: in spite of the rule '%s': %s\n", use->address, use->rule,
				use->text);
	}
	fflush(stdout);
}

static int bind_devices(const struct command *command, const char *const *specs, size_t count,
	const struct host_bind_options *options)
{
	struct session session;
	struct host_uses uses;
	int err;

	if (session_begin(&session, command, !options->dry_run))
		return EXIT_FAILURE;
	session.host.error[0] = '\0';
	err = host_bind(&session.host, &session.state, specs, count, options, &uses);
	print_uses(command, &uses, options);
	if (err && session.host.error[0])
		session_complain(&session, NULL);
	host_uses_free(&uses);
	session_end(&session);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int bind_run(const struct command *command, int argc, char **argv)
{
	static const struct option long_options[] = {
		{"cut-network", no_argument, NULL, 'c'},
		{"driver", required_argument, NULL, 'd'},
		{"dry-run", no_argument, NULL, 'n'},
		{"force", no_argument, NULL, 'f'},
		{"group", no_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},
		{"persist", no_argument, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	struct host_bind_options options = {.driver = "vfio-pci"};
	int code, status;

	while ((code = next_option_before(command, argc, argv, long_options, &status)) != -1) {
		switch (code) {
		case 'c':
			options.cut_network = true;
			break;
		case 'd':
			options.driver = optarg;
			break;
		case 'n':
			options.dry_run = true;
			break;
		case 'f':
			options.force = true;
			break;
		case 'g':
			options.group = true;
			break;
		case 'p':
			options.persist = true;
			break;
		default:
			return status;
		}
	}
	status = session_check_operands(command, argc - optind, false);
	if (status)
		return status;
	if (!host_driver_is_vfio(options.driver) || strchr(options.driver, '/') ||
		strlen(options.driver) >= HOST_DRIVER_MAX) {
		complain("%s: --driver %.40s: not vfio-pci nor a variant of it", command->name,
			options.driver);
		return EXIT_USAGE;
	}
	if (options.cut_network && !options.force) {
		complain("%s: --cut-network means nothing without --force", command->name);
		return EXIT_USAGE;
	}
	return bind_devices(
		command, (const char *const *)argv + optind, (size_t)(argc - optind), &options);
}

/*
 * unbind
 */

static int unbind_named(struct session *session, char **specs, bool force)
{
	char address[PN_PCI_ADDRESS_MAX];
	int status = EXIT_SUCCESS;

	for (; *specs; specs++) {
		if (session_device(session, *specs, address))
			status = EXIT_FAILURE;
		else if (host_unbind(&session->host, &session->state, address, force))
			status = session_complain(session, address);
	}
	return status;
}

/* From the end: what fails stays where it is, and the rest is done. */
static int unbind_all(struct session *session, bool force)
{
	struct host_state *state = &session->state;
	char address[PN_PCI_ADDRESS_MAX];
	int status = EXIT_SUCCESS;

	if (!state->binding_count && !state->vfs_count)
		printf("nothing is bound by pinion\n");
	for (size_t i = state->vfs_count; i > 0; i--) {
		strcpy(address, state->vfs[i - 1].device);
		if (host_vf_remove(&session->host, state, address, force))
			status = session_complain(session, address);
	}
	for (size_t i = state->binding_count; i > 0; i--) {
		strcpy(address, state->bindings[i - 1].device);
		if (host_unbind(&session->host, state, address, force))
			status = session_complain(session, address);
	}
	/* Of a command that died behind the records. */
	if (host_derived_write(&session->host, state) || host_state_save(&session->host, state))
		status = session_complain(session, NULL);
	return status;
}

int unbind_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool all = false, force = false;
	struct session session;
	int code, status;

	while ((code = next_option_before(command, argc, argv, options, &status)) != -1) {
		if (code == 'a')
			all = true;
		else if (code == 'f')
			force = true;
		else
			return status;
	}
	status = session_check_operands(command, argc - optind, all);
	if (status)
		return status;
	if (session_begin(&session, command, true))
		return EXIT_FAILURE;
	status = all ? unbind_all(&session, force) : unbind_named(&session, argv + optind, force);
	session_end(&session);
	return status;
}
