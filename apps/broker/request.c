/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking a client's message, which can be anything.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "policy.h"
#include "request.h"

#define PAGE 4096u

static int check_header(const struct pn_broker_wire_request *request, struct why *why)
{
	bool release = request->kind == PN_BROKER_RELEASE;

	if (request->magic != PN_BROKER_MAGIC)
		return because(why, EPROTO, "the request begins with 0x%08x, not 0x%08x",
			request->magic, PN_BROKER_MAGIC);
	if (request->kind != PN_BROKER_OPEN && !release)
		return because(why, EPROTO, "there is no request of kind %u", request->kind);
	if (request->backend > (release ? PN_BROKER_FIRST : PN_BROKER_TYPE1))
		return because(why, EPROTO, "there is no backend %u", request->backend);
	if (request->count > PN_BROKER_DEVICES || (!request->count && !release))
		return because(why, EPROTO, "a request names 1 to %d devices, not %u",
			PN_BROKER_DEVICES, request->count);
	if (request->memory % PAGE || (release && request->memory))
		return because(why, EPROTO, "memory is a multiple of 4096 bytes, not %llu",
			(unsigned long long)request->memory);
	return 0;
}

static bool all_zero(const char *bytes, size_t len)
{
	while (len--) {
		if (*bytes++)
			return false;
	}
	return true;
}

static int check_device(
	const struct pn_broker_wire_request *request, unsigned int index, struct why *why)
{
	const char *device = request->device[index];
	bool used = index < request->count;
	size_t len = used ? POLICY_ADDRESS_LEN : 0;

	if (!all_zero(device + len, PN_BROKER_ADDRESS - len) ||
		(used && !policy_is_address(device, len)))
		return because(why, EPROTO,
			"device %u of the request is no PCI address such as "
			"0000:03:00.0, or not zero behind its end",
			index);
	for (unsigned int i = 0; used && i < index; i++) {
		if (!strcmp(request->device[i], device))
			return because(why, EPROTO, "%s is named twice", device);
	}
	return 0;
}

int request_parse(
	struct pn_broker_wire_request *request, const void *message, size_t len, struct why *why)
{
	int ret;

	if (len != sizeof(*request))
		return because(why, EPROTO, "a request has %zu bytes, this message has %zu",
			sizeof(*request), len);
	memcpy(request, message, sizeof(*request));
	ret = check_header(request, why);
	for (unsigned int i = 0; !ret && i < PN_BROKER_DEVICES; i++)
		ret = check_device(request, i, why);
	return ret;
}
