/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain of devices that pinion-broker hands out: the request is made of what the caller wants,
 * and the files that come are given to a new domain, which uses them when the devices are opened.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "exchange.h"
#include "pn_broker.h"

struct pn_broker {
	int fd;
};

int pn_broker_connect(struct pn_broker **out, const char *path)
{
	struct pn_broker *broker;
	int ret;

	if (!out)
		return pn_fail(EINVAL, "pn_broker_connect: out must not be NULL");
	if (!path)
		path = secure_getenv("PINION_BROKER");
	if (!path || !*path)
		path = PN_BROKER_SOCKET;
	broker = malloc(sizeof(*broker));
	if (!broker)
		return pn_fail(ENOMEM, "no memory for a connection");
	ret = broker->fd = pn_broker_dial(path);
	if (ret < 0) {
		free(broker);
		return ret;
	}
	*out = broker;
	return 0;
}

void pn_broker_close(struct pn_broker *broker)
{
	if (!broker)
		return;
	close(broker->fd);
	free(broker);
}

static int check_opts(const struct pn_domain_opts *opts)
{
	if (opts->backend || opts->node || opts->use_fd || opts->fd || opts->beside ||
		opts->accounting != PN_ACCOUNTING_ANY)
		return pn_fail(EINVAL,
			"pn_broker_domain: backend, file and accounting of the domain are the "
			"broker's: leave them out of the options");
	return 0;
}

static int set_backend(const char *name, uint32_t *backend)
{
	if (!name || !strcmp(name, "auto"))
		*backend = PN_BROKER_FIRST;
	else if (!strcmp(name, "iommufd"))
		*backend = PN_BROKER_IOMMUFD;
	else if (!strcmp(name, "type1"))
		*backend = PN_BROKER_TYPE1;
	else
		return pn_fail(EINVAL,
			"pinion-broker hands out iommufd and type1 (or auto), not \"%s\"", name);
	return 0;
}

static int make_request(
	const struct pn_broker_request *wanted, struct pn_broker_wire_request *request)
{
	size_t i, len;
	int ret;

	*request = (struct pn_broker_wire_request){.magic = PN_BROKER_MAGIC,
		.kind = PN_BROKER_OPEN,
		.count = (uint32_t)wanted->device_count,
		.memory = wanted->memory};
	ret = set_backend(wanted->backend, &request->backend);
	if (ret)
		return ret;
	if (!wanted->device_count || wanted->device_count > PN_BROKER_DEVICES)
		return pn_fail(EINVAL,
			"pinion-broker is asked for 1 to %d devices at once, not %zu",
			PN_BROKER_DEVICES, wanted->device_count);
	if (wanted->memory % 4096)
		return pn_fail(EINVAL, "memory must be a multiple of 4096, it is %llu",
			(unsigned long long)wanted->memory);
	for (i = 0; i < wanted->device_count; i++) {
		len = strlen(wanted->devices[i]);
		if (len >= PN_BROKER_ADDRESS)
			return pn_fail(EINVAL, "\"%.40s\" is no PCI address such as 0000:03:00.0",
				wanted->devices[i]);
		memcpy(request->device[i], wanted->devices[i], len);
	}
	return 0;
}

/* The domain with the address space that came, and the devices' files in it, which are taken out
 * of the answer. */
static int make_domain(const struct pn_broker_wire_request *request,
	struct pn_broker_answer *answer, struct pn_domain_opts *opts, struct pn_domain **out)
{
	const struct pn_broker_wire_reply *reply = &answer->reply;
	struct pn_domain *domain;
	uint32_t i;
	int ret;

	opts->backend = reply->backend == PN_BROKER_IOMMUFD ? "iommufd" : "type1";
	opts->use_fd = true;
	opts->fd = answer->fds[0];
	ret = pn_domain_create(&domain, opts);
	if (ret)
		return ret;
	for (i = 0; i < request->count; i++) {
		struct pn_dma_device device = {.fd = answer->fds[i + 1],
			.bound = reply->backend == PN_BROKER_IOMMUFD,
			.bound_id = reply->dev_id[i]};

		_Static_assert(sizeof(device.address) == PN_BROKER_ADDRESS, "one kind of address");
		memcpy(device.address, request->device[i], sizeof(device.address));
		ret = pn_domain_give(domain, &device);
		if (ret)
			goto destroy;
		answer->fds[i + 1] = -1;
	}
	*out = domain;
	return 0;

destroy:
	(void)pn_domain_destroy(domain);
	return ret;
}

/* What was handed out cannot be used: say so to the broker, keeping the words. */
static void give_back(struct pn_broker *broker, struct pn_broker_wire_request *request)
{
	struct pn_broker_answer answer;
	char reason[PN_ERROR_MAX];

	snprintf(reason, sizeof(reason), "%s", pn_error());
	request->kind = PN_BROKER_RELEASE;
	request->backend = PN_BROKER_FIRST;
	request->memory = 0;
	(void)pn_broker_ask(broker->fd, request, &answer);
	(void)pn_fail(0, "%s", reason);
}

int pn_broker_domain(struct pn_broker *broker, const struct pn_broker_request *wanted,
	const struct pn_domain_opts *opts, struct pn_domain **out)
{
	static const struct pn_domain_opts defaults;
	struct pn_domain_opts own = opts ? *opts : defaults;
	struct pn_broker_wire_request request;
	struct pn_broker_answer answer;
	int ret;

	if (!broker || !wanted || !wanted->devices || !out)
		return pn_fail(EINVAL,
			"pn_broker_domain: broker, request, its devices and out must not be NULL");
	ret = check_opts(&own);
	if (!ret)
		ret = make_request(wanted, &request);
	if (!ret)
		ret = pn_broker_ask(broker->fd, &request, &answer);
	if (ret)
		return ret;
	ret = make_domain(&request, &answer, &own, out);
	pn_broker_answer_close(&answer);
	if (ret)
		give_back(broker, &request);
	return ret;
}
