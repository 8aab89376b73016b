/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opens a device, with a VF token or without one, on one backend: vf_token DEVICE BACKEND [TOKEN].
 * Says "open", and waits until its standard input ends; or says why not, with the name of the
 * errno, and returns 1.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pinion.h"

static int fail(int err)
{
	printf("%s: %s\n", strerrorname_np(-err), pn_error());
	return 1;
}

int main(int argc, char **argv)
{
	struct pn_domain_opts opts = {0};
	uint8_t token[PN_PCI_VF_TOKEN_LEN];
	struct pn_pci_device *device;
	struct pn_domain *domain;
	char byte;
	int err;

	if (argc < 3 || argc > 4)
		return 2;
	opts.backend = argv[2];
	if (argc == 4 && pn_pci_vf_token_parse(argv[3], token))
		return 2;
	err = pn_domain_create(&domain, &opts);
	if (err)
		return fail(err);
	err = argc == 4 ? pn_pci_open_vf_token(&device, argv[1], domain, token)
			: pn_pci_open(&device, argv[1], domain);
	if (err)
		return fail(err);
	puts("open");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	pn_pci_close(device);
	return pn_domain_destroy(domain) ? 1 : 0;
}
