/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of devices that a domain was given beforehand: who attaches one of these devices, and hands
 * no file in, gets that one instead of a node that it may not open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "domain.h"

static const struct given *find(const struct pn_domain *domain, const char *address)
{
	const struct given *given;

	for (given = domain->given; given && strcmp(given->device.address, address);
		given = given->next)
		;
	return given;
}

static int give_locked(struct pn_domain *domain, const struct pn_dma_device *device)
{
	struct given *given;

	if (find(domain, device->address))
		return pn_fail(
			EEXIST, "the domain has a file for device %s already", device->address);
	given = calloc(1, sizeof(*given));
	if (!given)
		return pn_fail(ENOMEM, "no memory for a device");
	given->device = *device;
	given->next = domain->given;
	domain->given = given;
	return 0;
}

int pn_domain_give(struct pn_domain *domain, const struct pn_dma_device *device)
{
	int ret = domain_enter(domain);

	if (ret)
		return ret;
	ret = give_locked(domain, device);
	domain_leave(domain);
	return ret;
}

void domain_use_given(const struct pn_domain *domain, struct pn_dma_device *device)
{
	const struct given *given = device->use_fd ? NULL : find(domain, device->address);

	if (!given)
		return;
	device->use_fd = true;
	device->fd = given->device.fd;
	device->bound = given->device.bound;
	device->bound_id = given->device.bound_id;
}

void domain_close_given(struct pn_domain *domain)
{
	struct given *given;

	while ((given = domain->given)) {
		domain->given = given->next;
		close(given->device.fd);
		free(given);
	}
}
