/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion vf create, pinion vf remove.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "pn_pci.h"
#include "session.h"
#include "vf.h"

const char vf_help[] =
	"create DEVICE N [--token UUID]\n"
	"  or:  pinion vf remove DEVICE... [--force]\n\n"
	"Make N virtual functions of a device with SR-IOV, bound to vfio-pci, so that they can be\n"
	"granted; or remove those that were made. The device stays on its driver.\n\n"
	"Where that is vfio-pci, the kernel asks whoever opens a virtual function for the VF\n"
	"token that was set for the device: --token, or one that is made and shown once. On such\n"
	"a device the kernel makes virtual functions only with the option\n"
	"vfio_pci.enable_sriov=1. Where a driver of the kernel's has the device, there is none.\n\n"
	"      --token UUID   the VF token, for a device on vfio-pci\n"
	"      --force        remove though one is open: waits until it is closed\n"
	"  -h, --help         print this and exit\n\n"
	"Examples:\n"
	"  pinion vf create 0000:01:00.0 4\n"
	"  pinion vf create 01:00.0 2 --token 2ab74924-c335-45f4-9b16-8569e5b08258\n"
	"  pinion vf remove 01:00.0\n";

static int usage(const struct command *command, const char *what)
{
	complain("%s: %s; try 'pinion help %s'", command->name, what, command->name);
	return EXIT_USAGE;
}

static int create(
	const struct command *command, const char *spec, unsigned int count, const char *token)
{
	struct session session;
	struct host_pci pci;
	int status = EXIT_SUCCESS;

	if (session_begin(&session, command, true))
		return EXIT_FAILURE;
	if (host_pci_find(&session.host, spec, &pci))
		status = session_complain(&session, NULL);
	else if (host_vf_create(&session.host, &session.state, pci.address, count, token))
		status = session_complain(&session, pci.address);
	session_end(&session);
	return status;
}

static int create_run(const struct command *command, int count, char **operands, const char *token)
{
	uint8_t bytes[PN_PCI_VF_TOKEN_LEN];
	uint64_t number;

	if (count != 2)
		return usage(command, "create takes a device and how many");
	if (parse_number(operands[1], 1, 65535, &number))
		return usage(command, "how many is a number from 1 to 65535");
	if (token && pn_pci_vf_token_parse(token, bytes)) {
		complain("%s: --token: %s", command->name, pn_error());
		return EXIT_USAGE;
	}
	return create(command, operands[0], (unsigned int)number, token);
}

static int remove_run(const struct command *command, int count, char **operands, bool force)
{
	char address[PN_PCI_ADDRESS_MAX];
	int status = EXIT_SUCCESS;
	struct session session;

	if (!count)
		return usage(command, "remove takes devices");
	if (session_begin(&session, command, true))
		return EXIT_FAILURE;
	for (int i = 0; i < count; i++) {
		if (session_device(&session, operands[i], address))
			status = EXIT_FAILURE;
		else if (host_vf_remove(&session.host, &session.state, address, force))
			status = session_complain(&session, address);
	}
	session_end(&session);
	return status;
}

int vf_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{"token", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	const char *token = NULL;
	bool force = false;
	int code, status;

	while ((code = next_option_before(command, argc, argv, options, &status)) != -1) {
		if (code == 't')
			token = optarg;
		else if (code == 'f')
			force = true;
		else
			return status;
	}
	argc -= optind;
	argv += optind;
	if (argc && !strcmp(argv[0], "create") && !force)
		return create_run(command, argc - 1, argv + 1, token);
	if (argc && !strcmp(argv[0], "remove") && !token)
		return remove_run(command, argc - 1, argv + 1, force);
	return usage(command, "create DEVICE N [--token UUID], or remove DEVICE... [--force]");
}
