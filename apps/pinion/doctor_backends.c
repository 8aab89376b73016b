/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which way of mapping the program will get: the first of those asked for whose nodes are there and
 * open for the user, as the library itself finds it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "doctor.h"

static const struct pn_backend_info *find(const struct doctor *d, const char *name, size_t len)
{
	for (unsigned int i = 0; i < d->machine.backend_count; i++) {
		if (strlen(d->machine.backends[i].name) == len &&
			strncmp(d->machine.backends[i].name, name, len) == 0)
			return &d->machine.backends[i];
	}
	return NULL;
}

/* Those asked for, in order. Returns how many; names were checked with the command line. */
static unsigned int asked_for(
	const struct doctor *d, const struct pn_backend_info *list[DOCTOR_BACKENDS])
{
	const char *name = d->ask.backend;
	unsigned int count = 0;
	size_t len;

	if (strcmp(name, "auto") == 0) {
		for (unsigned int i = 0; i < d->machine.backend_count; i++) {
			if (d->machine.backends[i].automatic)
				list[count++] = &d->machine.backends[i];
		}
		return count;
	}
	for (; *name && count < DOCTOR_BACKENDS; name += len + (name[len] == ',')) {
		len = strcspn(name, ",");
		list[count] = find(d, name, len);
		count += list[count] != NULL;
	}
	return count;
}

/* A node that is in no container's way: the kernel has it not, or not yet. */
static void mend_missing(struct doctor *d, struct doctor_finding *finding, bool iommufd)
{
	if (iommufd ? d->without_iommufd : d->without_vfio)
		doctor_mend(d, finding, DOCTOR_SETTING, "a kernel with %s",
			iommufd ? "CONFIG_IOMMUFD" : "CONFIG_VFIO_PCI");
	else
		doctor_mend_root(d, finding, "modprobe %s", iommufd ? "iommufd" : "vfio-pci");
}

/* The library's reason has its own words for the mend; here it is once more as a command. */
static void mend(struct doctor *d, struct doctor_finding *finding, const char *node)
{
	int ret = *node ? d->machine.open_node(node) : 0;

	if (ret == -EACCES) {
		doctor_mend_shared(d, finding, node);
		return;
	}
	if (ret == -EPERM || (ret && d->container)) {
		doctor_mend_node(d, finding, node);
		return;
	}
	if (ret == -ENOENT || ret == -ENODEV || ret == -ENXIO)
		mend_missing(d, finding, strcmp(node, "/dev/iommu") == 0);
}

static void none_available(
	struct doctor *d, const struct pn_backend_info *const *list, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct doctor_finding *finding = doctor_add(d, "backends.available", list[i]->name,
			DOCTOR_BLOCKS, "%s", list[i]->reason);

		mend(d, finding, list[i]->node);
	}
}

void doctor_check_backends(struct doctor *d)
{
	const struct pn_backend_info *list[DOCTOR_BACKENDS];
	unsigned int count, first;

	if (d->machine.backend_signal) {
		doctor_add(d, "backends.available", "", DOCTOR_BLOCKS,
			"looking for a way to map memory ended a child with SIG%s: a seccomp "
			"filter forbids a system call that it takes",
			sigabbrev_np(d->machine.backend_signal));
		return;
	}
	if (!d->machine.backend_count) {
		doctor_add(d, "backends.available", "", DOCTOR_UNSEEN,
			"which ways to map memory there are: no child could be made to look");
		return;
	}
	count = asked_for(d, list);
	for (first = 0; first < count && !list[first]->available; first++)
		;
	if (first == count) {
		none_available(d, list, count);
		return;
	}
	d->chosen = list[first];
	doctor_add(d, "backends.available", d->chosen->name, DOCTOR_OK, "%s%s%s%s",
		*d->chosen->node ? "through " : "", d->chosen->node, *d->chosen->node ? "; " : "",
		d->chosen->summary);
	for (unsigned int i = 0; i < first; i++)
		doctor_add(d, "backends.passed_over", list[i]->name, DOCTOR_OK,
			"%s is taken instead: %s", d->chosen->name, list[i]->reason);
}
