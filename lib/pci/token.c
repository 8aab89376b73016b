/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VF tokens: the secret that a physical function on vfio-pci shares with whoever opens its virtual
 * functions.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "pci_priv.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int pn_pci_vf_token_parse(const char *text, uint8_t token[PN_PCI_VF_TOKEN_LEN])
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	uint8_t bytes[PN_PCI_VF_TOKEN_LEN] = {0};
	size_t digits = 0, i;
	int value;

	if (!text || !token)
		return pn_fail(EINVAL, "pn_pci_vf_token_parse: text and token must not be NULL");
	for (i = 0; shape[i] && text[i]; i++) {
		value = hex_value(text[i]);
		if (shape[i] == '-' ? text[i] != '-' : value < 0)
			break;
		if (shape[i] == '-')
			continue;
		bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | value);
		digits++;
	}
	if (shape[i] || text[i])
		return pn_fail(EINVAL,
			"'%.40s' is not a VF token: write a UUID such as "
			"2ab74924-c335-45f4-9b16-8569e5b08258 (uuidgen makes one)",
			text);
	memcpy(token, bytes, sizeof(bytes));
	return 0;
}

int pn_pci_open_vf_token(struct pn_pci_device **out, const char *spec, struct pn_domain *domain,
	const uint8_t *vf_token)
{
	if (!out || !spec || !domain || !vf_token)
		return pn_fail(EINVAL,
			"pn_pci_open_vf_token: out, spec, domain and vf_token must not be NULL");
	return pn_pci_open_at(PN_SYSFS_ROOT, out, spec, domain, -1, vf_token);
}

int pn_pci_set_vf_token(struct pn_pci_device *dev, const uint8_t *vf_token)
{
	/* The token stands behind the head. */
	union {
		struct vfio_device_feature head;
		uint8_t bytes[sizeof(struct vfio_device_feature) + PN_PCI_VF_TOKEN_LEN];
	} request = {
		.head = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN},
	};
	int err;

	if (!dev || !vf_token)
		return pn_fail(EINVAL, "pn_pci_set_vf_token: dev and vf_token must not be NULL");
	memcpy(request.head.data, vf_token, PN_PCI_VF_TOKEN_LEN);
	if (!ioctl(dev->fd, VFIO_DEVICE_FEATURE, &request))
		return 0;
	err = errno;
	/* vfio_pci_core_feature_token(): no token, no virtual functions. */
	if (err == ENOTTY)
		return pn_fail(EOPNOTSUPP, "%s has no virtual functions, and takes no VF token",
			dev->info.address);
	if (err == EBUSY)
		return pn_fail(err,
			"%s: the VF token cannot be changed while a virtual function is open",
			dev->info.address);
	return pn_fail(
		err, "%s: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: %s", dev->info.address, strerror(err));
}
