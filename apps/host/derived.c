/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * udev rules and limits, made from the records each time anew: what is left of a command that died
 * is put right by the next one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derived.h"

#define MARK                                                       \
	"# Made by pinion from %s. Do not edit: 'pinion status'\n" \
	"# shows what it is for; 'pinion unbind' and 'pinion revoke' take it away.\n"

/*
 * driverctl
 */

bool host_driverctl_installed(struct host *host)
{
	return host_exists("%s/udev/rules.d/05-driverctl.rules", host->lib) ||
	       host_exists("%s/udev/rules.d/05-driverctl.rules", host->etc);
}

int host_driverctl_read(struct host *host, const char *device, char *text, size_t size)
{
	ssize_t len;

	len = host_read(text, size, "%s/driverctl.d/pci-%s", host->etc, device);
	return len < 0 ? (int)len : 0;
}

int host_driverctl_write(struct host *host, const char *device, const char *text)
{
	char path[PATH_MAX], folder[PATH_MAX], line[HOST_OVERRIDE_MAX + 1];
	int err;

	snprintf(folder, sizeof(folder), "%s/driverctl.d", host->etc);
	snprintf(path, sizeof(path), "%s/driverctl.d/pci-%s", host->etc, device);
	if (!text) {
		err = host_remove_file(path);
	} else {
		snprintf(line, sizeof(line), "%s\n", text);
		err = host_make_folders(folder);
		if (!err)
			err = host_write_file(path, line, 0644);
	}
	return err ? host_fail(host, -err, "%s %s: %s", text ? "writing" : "removing", path,
			     strerror(-err))
		   : 0;
}

/*
 * Rules
 */

/* At each start, and when the card is plugged in. A driver that is loaded later than the rule runs
 * finds the override; one that was faster is sent away. */
static void bind_rules(FILE *out, const struct host_binding *b)
{
	const char *device = b->device;

	fprintf(out, "# pinion bind --persist %s\n", device);
	fprintf(out,
		"ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"%s\", "
		"TEST==\"/etc/driverctl.d/pci-%s\", ATTR{driver_override}=\"%s\", "
		"RUN{builtin}+=\"kmod load %s\"\n",
		device, device, b->driver, b->driver);
	fprintf(out,
		"ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"%s\", "
		"TEST==\"/etc/driverctl.d/pci-%s\", DRIVER!=\"%s\", DRIVER==\"?*\", "
		"ATTR{driver/unbind}=\"%s\"\n",
		device, device, b->driver, device);
	fprintf(out,
		"ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"%s\", "
		"TEST==\"/etc/driverctl.d/pci-%s\", DRIVER!=\"%s\", "
		"ATTR{[subsystem/pci]drivers_probe}=\"%s\"\n",
		device, device, b->driver, device);
}

/* What lets the grant in, on a node that the rest of the line has chosen. */
static void access_rule(FILE *out, const struct host_grant *g, bool shared)
{
	if (g->owner && !shared)
		fprintf(out, ", %s=\"%u\", MODE=\"%s\"\n", g->is_group ? "GROUP" : "OWNER", g->id,
			g->is_group ? "0660" : "0600");
	else
		fprintf(out, ", RUN+=\"/usr/bin/setfacl -m %c:%u:rw $devnode\"\n",
			g->is_group ? 'g' : 'u', g->id);
}

static void grant_rules(FILE *out, const struct host_grant *g)
{
	fprintf(out, "# pinion grant --persist %s --%s %s\n", g->device,
		g->is_group ? "group" : "user", g->name);
	/* The group has another number after a restart, perhaps. */
	fprintf(out,
		"ACTION!=\"remove\", SUBSYSTEM==\"vfio\", "
		"TEST==\"/sys/kernel/iommu_groups/$kernel/devices/%s\"",
		g->device);
	access_rule(out, g, false);
	fprintf(out, "ACTION!=\"remove\", SUBSYSTEM==\"vfio-dev\", KERNELS==\"%s\"", g->device);
	access_rule(out, g, false);
	for (unsigned int i = 0; i < g->node_count; i++) {
		const char *name = strrchr(g->nodes[i], '/') + 1;

		if (strcmp(g->nodes[i], "/dev/iommu") && strcmp(g->nodes[i], "/dev/vfio/vfio"))
			continue;
		fprintf(out, "ACTION!=\"remove\", SUBSYSTEM==\"misc\", KERNEL==\"%s\"", name);
		access_rule(out, g, true);
	}
}

static void rules_text(struct host *host, const struct host_state *state, FILE *out)
{
	bool driverctl = host_driverctl_installed(host);

	for (size_t i = 0; i < state->binding_count; i++) {
		const struct host_binding *b = &state->bindings[i];

		if (b->persist && b->stage != HOST_UNDOING && !driverctl)
			bind_rules(out, b);
	}
	for (size_t i = 0; i < state->grant_count; i++) {
		const struct host_grant *g = &state->grants[i];

		if (g->persist && g->stage != HOST_UNDOING)
			grant_rules(out, g);
	}
}

/*
 * Limits
 */

static bool same_who(const struct host_grant *a, const struct host_grant *b)
{
	return a->is_group == b->is_group && a->id == b->id;
}

/* pam_limits counts in KiB; the limit is rounded up, never below what was asked. Who has no name is
 * a range of one. */
static void limit_line(FILE *out, const struct host_grant *g, uint64_t bytes)
{
	if (g->name[strspn(g->name, "0123456789")])
		fprintf(out, "%s%s", g->is_group ? "@" : "", g->name);
	else
		fprintf(out, "%s%u:%u", g->is_group ? "@" : "", g->id, g->id);
	fprintf(out, " - memlock %" PRIu64 "\n", (bytes + 1023) / 1024);
}

/* One line for each user or group: the largest of its grants. */
static void limits_text(struct host *host, const struct host_state *state, FILE *out)
{
	(void)host;
	for (size_t i = 0; i < state->grant_count; i++) {
		const struct host_grant *g = &state->grants[i];
		uint64_t most = 0;
		bool first = true;

		for (size_t j = 0; j < state->grant_count; j++) {
			const struct host_grant *other = &state->grants[j];

			if (!same_who(g, other) || other->stage == HOST_UNDOING)
				continue;
			first &= j >= i;
			most = other->memlock > most ? other->memlock : most;
		}
		if (most && first && g->stage != HOST_UNDOING)
			limit_line(out, g, most);
	}
}

/*
 * Files
 */

static const struct {
	const char *folder, *name;
	void (*text)(struct host *host, const struct host_state *state, FILE *out);
} files[] = {
	{"udev/rules.d", "60-pinion.rules", rules_text},
	{"security/limits.d", "91-pinion-grants.conf", limits_text},
};

/* What a file is to hold: "" if it is not to be there. NULL: no memory. */
static char *wanted(struct host *host, const struct host_state *state, size_t file)
{
	char path[PATH_MAX], *text = NULL;
	size_t size = 0;
	long marked;
	FILE *out;

	out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	host_state_path(host, path);
	fprintf(out, MARK, path);
	marked = ftell(out);
	files[file].text(host, state, out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	if ((long)size == marked)
		*text = '\0';
	return text;
}

static int write_one(struct host *host, const struct host_state *state, size_t file)
{
	char folder[PATH_MAX], path[PATH_MAX], *text, *now;
	int err = 0;

	snprintf(folder, sizeof(folder), "%s/%s", host->etc, files[file].folder);
	if (snprintf(path, sizeof(path), "%s/%s", folder, files[file].name) >= (int)sizeof(path))
		return host_fail(host, ENAMETOOLONG, "%.80s...: too long a path", path);
	text = wanted(host, state, file);
	if (!text)
		return host_fail(host, ENOMEM, "no memory to write %s", path);
	now = host_read_all("%s", path);
	if (!*text) {
		err = host_remove_file(path);
	} else if (!now || strcmp(now, text)) {
		err = host_make_folders(folder);
		if (!err)
			err = host_write_file(path, text, 0644);
	}
	free(text);
	free(now);
	return err ? host_fail(host, -err, "writing %s: %s", path, strerror(-err)) : 0;
}

int host_derived_write(struct host *host, const struct host_state *state)
{
	int err = 0;

	for (size_t i = 0; i < HOST_COUNT(files) && !err; i++)
		err = write_one(host, state, i);
	return err;
}

void host_derived_stale(struct host *host, const struct host_state *state, char *text, size_t size)
{
	char *want, *now;
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < HOST_COUNT(files) && used < size; i++) {
		want = wanted(host, state, i);
		now = host_read_all("%s/%s/%s", host->etc, files[i].folder, files[i].name);
		if (want && strcmp(want, now ? now : ""))
			used += (size_t)snprintf(text + used, size - used, "%s/%s/%s\n", host->etc,
				files[i].folder, files[i].name);
		free(want);
		free(now);
	}
}
