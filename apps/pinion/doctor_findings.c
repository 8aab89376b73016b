/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The list of findings of pinion doctor: added by the checks, read by what shows them.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

const char *doctor_state_name(enum doctor_state state)
{
	static const char *const names[DOCTOR_STATES] = {"ok", "unseen", "hurts", "blocks"};

	return names[state];
}

const char *doctor_where_name(enum doctor_where where)
{
	static const char *const names[DOCTOR_WHERES] = {"root", "user", "setting", "host",
		"podman", "docker", "oci", "kubernetes", "bwrap", "systemd-nspawn"};

	return names[where];
}

static char *format(struct doctor *d, const char *fmt, va_list args)
{
	char *text;

	if (vasprintf(&text, fmt, args) < 0) {
		d->out_of_memory = true;
		return NULL;
	}
	return text;
}

struct doctor_finding *doctor_add(struct doctor *d, const char *id, const char *object,
	enum doctor_state state, const char *fmt, ...)
{
	struct doctor_finding *list, *finding;
	va_list args;

	list = reallocarray(d->findings, d->finding_count + 1, sizeof(*list));
	if (!list) {
		d->out_of_memory = true;
		return NULL;
	}
	d->findings = list;
	finding = &list[d->finding_count];
	memset(finding, 0, sizeof(*finding));
	finding->id = id;
	finding->state = state;
	snprintf(finding->subject, sizeof(finding->subject), "%.*s", (int)strcspn(id, "."), id);
	va_start(args, fmt);
	finding->text = format(d, fmt, args);
	va_end(args);
	finding->object = strdup(object);
	if (!finding->text || !finding->object) {
		free(finding->text);
		free(finding->object);
		d->out_of_memory = true;
		return NULL;
	}
	d->finding_count++;
	return finding;
}

void doctor_number(struct doctor_finding *finding, const char *name, uint64_t value)
{
	if (!finding || finding->number_count == DOCTOR_NUMBERS)
		return;
	finding->numbers[finding->number_count].name = name;
	finding->numbers[finding->number_count++].value = value;
}

void doctor_mend(struct doctor *d, struct doctor_finding *finding, enum doctor_where where,
	const char *fmt, ...)
{
	va_list args;
	char *text;

	if (!finding || finding->mend_count == DOCTOR_MENDS)
		return;
	va_start(args, fmt);
	text = format(d, fmt, args);
	va_end(args);
	if (text)
		finding->mends[finding->mend_count++] = (struct doctor_mend){where, text};
}

enum doctor_where doctor_root(const struct doctor *d)
{
	return d->container || d->user_namespace ? DOCTOR_ON_HOST : DOCTOR_AS_ROOT;
}

/* Those of the runtime that is there, or of each where it is not known. */
static bool concerns(const struct doctor *d, enum doctor_container runtime)
{
	return d->container == runtime || d->container == DOCTOR_IN_SOME;
}

void doctor_mend_node(struct doctor *d, struct doctor_finding *finding, const char *node)
{
	if (concerns(d, DOCTOR_IN_PODMAN))
		doctor_mend(d, finding, DOCTOR_PODMAN, "--device %s", node);
	if (concerns(d, DOCTOR_IN_DOCKER))
		doctor_mend(d, finding, DOCTOR_DOCKER, "--device %s", node);
	if (concerns(d, DOCTOR_IN_BWRAP))
		doctor_mend(d, finding, DOCTOR_BWRAP, "--dev-bind %s %s", node, node);
	if (concerns(d, DOCTOR_IN_NSPAWN))
		doctor_mend(d, finding, DOCTOR_NSPAWN, "--bind=%s --property=DeviceAllow=%s", node,
			node);
	if (concerns(d, DOCTOR_IN_KUBE))
		doctor_mend(d, finding, DOCTOR_KUBE,
			"a device plugin or a CDI device that hands in %s", node);
	if (d->container == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_OCI,
			"linux.devices and linux.resources.devices: %s, type c, access rw", node);
}

const struct doctor_finding *doctor_find(const struct doctor *d, const char *id, const char *object)
{
	for (size_t i = 0; i < d->finding_count; i++) {
		if (strcmp(d->findings[i].id, id) == 0 &&
			(!object || strcmp(d->findings[i].object, object) == 0))
			return &d->findings[i];
	}
	return NULL;
}

unsigned int doctor_count(const struct doctor *d, enum doctor_state state)
{
	unsigned int count = 0;

	for (size_t i = 0; i < d->finding_count; i++)
		count += d->findings[i].state == state;
	return count;
}

int doctor_status(const struct doctor *d)
{
	if (doctor_count(d, DOCTOR_BLOCKS))
		return DOCTOR_EXIT_BLOCKS;
	return doctor_count(d, DOCTOR_HURTS) ? DOCTOR_EXIT_HURTS : EXIT_SUCCESS;
}

void doctor_free(struct doctor *d)
{
	for (size_t i = 0; i < d->finding_count; i++) {
		struct doctor_finding *finding = &d->findings[i];

		for (unsigned int m = 0; m < finding->mend_count; m++)
			free(finding->mends[m].text);
		free(finding->text);
		free(finding->object);
	}
	free(d->findings);
	free(d->machine.devices);
	d->findings = NULL;
	d->finding_count = 0;
	d->machine.devices = NULL;
}
