/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's entry to the check of what clients send to the broker: any bytes as a message. The
 * first byte of the input asks for a header that makes sense, so that what is behind it is reached.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "policy.h"
#include "request.h"

const char *const program_name = "fuzz";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct pn_broker_wire_request *request)
{
	if (request->magic != PN_BROKER_MAGIC || request->count > PN_BROKER_DEVICES ||
		request->backend > PN_BROKER_TYPE1 || request->memory % 4096)
		abort();
	for (unsigned int i = 0; i < PN_BROKER_DEVICES; i++) {
		const char *device = request->device[i];

		if (strnlen(device, PN_BROKER_ADDRESS) !=
			(i < request->count ? POLICY_ADDRESS_LEN : 0))
			abort();
		for (unsigned int j = 0; j < i && i < request->count; j++) {
			if (!strcmp(device, request->device[j]))
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pn_broker_wire_request message, request;
	struct why why = {""};
	int ret;

	if (size && data[0] & 1 && size > sizeof(message)) {
		memcpy(&message, data + 1, sizeof(message));
		message.magic = PN_BROKER_MAGIC;
		message.kind = 1 + message.kind % 2;
		message.backend %= 3;
		message.count %= PN_BROKER_DEVICES + 1;
		message.memory &= ~UINT64_C(4095);
		ret = request_parse(&request, &message, sizeof(message), &why);
	} else {
		ret = request_parse(&request, data, size, &why);
	}
	if (!ret)
		check(&request);
	else if (ret != -EPROTO || !why.text[0])
		abort();
	return 0;
}
