/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling the kernel the VF token of a function that is on vfio-pci: it has to be open for that.
 */
#include <errno.h>
#include <string.h>

#include "pinion.h"
#include "vf.h"

int host_vf_set_token(struct host *host, const struct host_pci *pci, const char *token)
{
	uint8_t bytes[PN_PCI_VF_TOKEN_LEN];
	struct pn_pci_device *dev;
	struct pn_domain *domain;
	int err;

	err = pn_pci_vf_token_parse(token, bytes);
	if (!err)
		err = pn_domain_create(&domain, NULL);
	if (err)
		return host_fail(host, -err, "setting the VF token: %s", pn_error());
	err = pn_pci_open(&dev, pci->address, domain);
	if (!err) {
		err = pn_pci_set_vf_token(dev, bytes);
		pn_pci_close(dev);
	}
	pn_domain_destroy(domain);
	return err ? host_fail(host, -err, "setting the VF token: %s", pn_error()) : 0;
}
