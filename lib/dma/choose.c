/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which backend a domain gets: the one named, the first of several named, or the first that "auto"
 * finds.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"

int pn_backend_get(unsigned int index, struct pn_backend_info *info)
{
	const struct pn_backend_request request = {.fd = -1};
	const struct pn_backend *backend;
	unsigned int i;

	if (!info)
		return pn_fail(EINVAL, "pn_backend_get: info must not be NULL");
	for (i = 0; pn_backends[i] && i < index; i++)
		;
	backend = pn_backends[i];
	if (!backend)
		return pn_fail(ENOENT, "there is no backend number %u", index);
	memset(info, 0, sizeof(*info));
	info->name = backend->name;
	info->summary = backend->summary;
	info->automatic = !backend->named_only;
	info->available = !backend->probe(&request, info->node, sizeof(info->node));
	if (!info->available)
		snprintf(info->reason, sizeof(info->reason), "%s", pn_error());
	return 0;
}

static const struct pn_backend *find(const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; pn_backends[i]; i++) {
		if (strlen(pn_backends[i]->name) == len &&
			!strncmp(pn_backends[i]->name, name, len))
			return pn_backends[i];
	}
	return NULL;
}

static int fail_unknown(const char *name, size_t len)
{
	unsigned int i;
	int ret;

	ret = pn_fail(EINVAL, "unknown backend \"%.*s\"; there are: auto", (int)len, name);
	for (i = 0; pn_backends[i]; i++)
		pn_fail_append(ret, ", %s", pn_backends[i]->name);
	return ret;
}

/* Probe one; what is passed over, and why, is kept for the user. */
static int try_backend(struct pn_domain *domain, const struct pn_backend *backend,
	struct pn_backend_request *request)
{
	size_t size = sizeof(domain->chosen), used = strlen(domain->chosen);
	int ret;

	ret = backend->probe(request, domain->node, sizeof(domain->node));
	if (!ret) {
		domain->backend = backend;
		return 0;
	}
	if (used < size)
		snprintf(domain->chosen + used, size - used, "%s%s: %s", used ? "; " : "",
			backend->name, pn_error());
	return ret;
}

/* The first of the backends named, separated by commas. */
static int choose_listed(
	struct pn_domain *domain, const char *names, struct pn_backend_request *request)
{
	const struct pn_backend *backend;
	const char *name;
	size_t len;
	int ret = 0;

	for (name = names; *name; name += len + (name[len] == ',')) {
		len = strcspn(name, ",");
		if (!find(name, len))
			return fail_unknown(name, len);
	}
	if (!*names)
		return fail_unknown(names, 0);
	for (name = names; *name; name += len + (name[len] == ',')) {
		len = strcspn(name, ",");
		backend = find(name, len);
		ret = try_backend(domain, backend, request);
		if (!ret)
			break;
	}
	if (!strchr(names, ','))
		domain->chosen[0] = '\0';
	else if (ret)
		return pn_fail(
			ENODEV, "none of the DMA backends named is available: %s", domain->chosen);
	return ret;
}

static int choose_auto(struct pn_domain *domain, struct pn_backend_request *request)
{
	unsigned int i;

	for (i = 0; pn_backends[i]; i++) {
		if (!pn_backends[i]->named_only && !try_backend(domain, pn_backends[i], request))
			return 0;
	}
	return pn_fail(ENODEV, "no DMA backend is available: %s", domain->chosen);
}

int domain_choose(struct pn_domain *domain, const char *names, struct pn_backend_request *request)
{
	int ret;

	if (names && strcmp(names, "auto"))
		return choose_listed(domain, names, request);
	ret = choose_auto(domain, request);
	if (!ret && !domain->chosen[0])
		snprintf(domain->chosen, sizeof(domain->chosen),
			"the first in order that is available");
	return ret;
}
