/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel was built with: from its configuration where that can be read, else from what is
 * there.
 */
#include <errno.h>
#include <string.h>

#include <zlib.h>

#include "doctor.h"

enum option { VFIO_PCI, IOMMUFD, HUGETLBFS, OPTIONS };

static const char *const names[OPTIONS] = {[VFIO_PCI] = "CONFIG_VFIO_PCI",
	[IOMMUFD] = "CONFIG_IOMMUFD",
	[HUGETLBFS] = "CONFIG_HUGETLBFS"};

/* 'y', 'm', 'n'; '?': not known. */
struct config {
	char value[OPTIONS];
	char path[DOCTOR_PATH]; /* "": none could be read */
};

/* A configuration is some 300 KiB; what goes on for longer is none. */
#define LINES_MAX 100000

static void take_line(struct config *config, const char *line)
{
	size_t len;

	for (size_t i = 0; i < OPTIONS; i++) {
		len = strlen(names[i]);
		if (strncmp(line, names[i], len) == 0 && line[len] == '=')
			config->value[i] = line[len + 1] == 'm' ? 'm' : 'y';
	}
}

static bool read_from(const struct doctor *d, struct config *config, const char *name)
{
	char path[DOCTOR_PATH], line[512];
	bool is_config = false;
	gzFile file;

	if (doctor_path(d, path, "%s", name))
		return false;
	file = gzopen(path, "re"); /* plain text too */
	if (!file)
		return false;
	memset(config->value, 'n', sizeof(config->value));
	for (unsigned int i = 0; i < LINES_MAX && gzgets(file, line, sizeof(line)); i++) {
		is_config |= strncmp(line, "CONFIG_", 7) == 0;
		take_line(config, line);
	}
	gzclose(file);
	if (is_config)
		snprintf(config->path, sizeof(config->path), "%s", name);
	return is_config;
}

static void read_config(const struct doctor *d, struct config *config)
{
	char boot[DOCTOR_PATH];

	config->path[0] = '\0';
	snprintf(boot, sizeof(boot), "/boot/config-%s", d->machine.release);
	if (!read_from(d, config, "/proc/config.gz") && !read_from(d, config, boot))
		memset(config->value, '?', sizeof(config->value));
}

/* The module that binds a device to VFIO. */
static void check_vfio_pci(struct doctor *d, const struct config *config)
{
	struct doctor_finding *finding;

	if (doctor_exists(d, "/sys/bus/pci/drivers/vfio-pci")) {
		doctor_add(d, "kernel.vfio_pci", "", DOCTOR_OK, "the driver vfio-pci is there");
		return;
	}
	if (!doctor_exists(d, "/sys/bus/pci/drivers")) {
		doctor_add(d, "kernel.vfio_pci", "", DOCTOR_UNSEEN,
			"whether the driver vfio-pci is there: /sys/bus/pci is not");
		return;
	}
	if (config->value[VFIO_PCI] == 'n') {
		finding = doctor_add(d, "kernel.vfio_pci", "", DOCTOR_BLOCKS,
			"the kernel was built without %s: no device can be bound to VFIO",
			names[VFIO_PCI]);
		doctor_mend(d, finding, DOCTOR_SETTING, "a kernel with %s", names[VFIO_PCI]);
		return;
	}
	finding = doctor_add(d, "kernel.vfio_pci", "", DOCTOR_BLOCKS,
		"the driver vfio-pci is not loaded: no device is bound to VFIO");
	doctor_mend_root(d, finding, "modprobe vfio-pci");
}

static void check_iommufd(struct doctor *d, const struct config *config)
{
	if (doctor_exists(d, "/sys/class/misc/iommu") || config->value[IOMMUFD] == 'y')
		doctor_add(d, "kernel.iommufd", "", DOCTOR_OK, "iommufd is there");
	else if (config->value[IOMMUFD] == 'n')
		doctor_add(d, "kernel.iommufd", "", DOCTOR_OK,
			"built without %s: memory is mapped by type1, which charges each process",
			names[IOMMUFD]);
	else if (config->value[IOMMUFD] == 'm')
		doctor_add(d, "kernel.iommufd", "", DOCTOR_OK,
			"iommufd is a module that is not loaded: without it memory is mapped by "
			"type1");
	else
		doctor_add(d, "kernel.iommufd", "", DOCTOR_UNSEEN,
			"whether the kernel has iommufd: /sys/class/misc/iommu is not there, and "
			"no "
			"configuration can be read");
}

static void check_hugetlb(struct doctor *d, const struct config *config)
{
	struct doctor_finding *finding;

	if (doctor_entries(d, "hugepages-", "/sys/kernel/mm/hugepages") > 0) {
		doctor_add(d, "kernel.hugetlb", "", DOCTOR_OK, "hugepages are there");
		return;
	}
	if (config->value[HUGETLBFS] != 'n' && !doctor_exists(d, "/sys/kernel/mm")) {
		doctor_add(d, "kernel.hugetlb", "", DOCTOR_UNSEEN,
			"how many hugepages there are: /sys/kernel/mm is not there");
		return;
	}
	finding = doctor_add(d, "kernel.hugetlb", "",
		d->ask.page_size > PN_PAGE_4K ? DOCTOR_BLOCKS : DOCTOR_HURTS,
		"the kernel has no hugepages%s: memory is mapped in pages of 4 KiB",
		config->value[HUGETLBFS] == 'n' ? " (CONFIG_HUGETLBFS)" : "");
	doctor_mend(d, finding, DOCTOR_SETTING, "a kernel with CONFIG_HUGETLBFS");
}

void doctor_check_kernel(struct doctor *d)
{
	struct config config;

	read_config(d, &config);
	if (config.path[0])
		doctor_add(d, "kernel.config", "", DOCTOR_OK, "Linux %s on %s, built as %s says",
			d->machine.release, d->machine.arch, config.path);
	else
		doctor_add(d, "kernel.config", "", DOCTOR_UNSEEN,
			"how Linux %s was built (/proc/config.gz, /boot/config-%s): what follows "
			"is "
			"by what is there",
			d->machine.release, d->machine.release);
	d->without_iommufd = config.value[IOMMUFD] == 'n';
	d->without_vfio = config.value[VFIO_PCI] == 'n';
	check_vfio_pci(d, &config);
	check_iommufd(d, &config);
	check_hugetlb(d, &config);
}
