/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is there an IOMMU, is it on, and does it keep a device from raising interrupts that are not its
 * own?
 */
#include <dirent.h>
#include <string.h>

#include "doctor.h"

/* The table by which the firmware tells of an IOMMU, and how it is turned on. */
static const struct {
	const char *table, *vendor, *option;
} tables[] = {{"DMAR", "Intel VT-d", "intel_iommu=on"}, {"IVRS", "AMD-Vi", "amd_iommu=on"},
	{"VIOT", "virtio", "iommu=nopt"}, {"IORT", "Arm SMMU", "iommu.passthrough=0"}};

static const char *const off_words[] = {
	"intel_iommu=off", "amd_iommu=off", "iommu=off", "noiommu", NULL};

/* The word of the kernel's command line that turns it off, or NULL. */
static const char *turned_off(const struct doctor *d)
{
	char line[4096], *word, *rest = line;

	if (doctor_read(d, line, sizeof(line), "/proc/cmdline") < 0)
		return NULL;
	while ((word = strsep(&rest, " \n"))) {
		for (size_t i = 0; off_words[i]; i++) {
			if (strcmp(word, off_words[i]) == 0)
				return off_words[i];
		}
	}
	return NULL;
}

static void mend_command_line(struct doctor *d, struct doctor_finding *finding, const char *option)
{
	doctor_mend(d, finding, DOCTOR_SETTING,
		"on the kernel's command line: %s (/etc/default/grub, GRUB_CMDLINE_LINUX; then "
		"update-grub and reboot)",
		option);
}

static void say_why_off(struct doctor *d, enum doctor_state state)
{
	const char *word = turned_off(d);
	struct doctor_finding *finding;

	if (word) {
		finding = doctor_add(d, "iommu.present", "", state,
			"the IOMMU is off: the kernel's command line has %s", word);
		doctor_mend(d, finding, DOCTOR_SETTING,
			"take %s from the kernel's command line, and reboot", word);
		return;
	}
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (!doctor_exists(d, "/sys/firmware/acpi/tables/%s", tables[i].table))
			continue;
		finding = doctor_add(d, "iommu.present", "", state,
			"the firmware tells of an IOMMU (%s, table %s), but it is off: no device "
			"has an IOMMU group",
			tables[i].vendor, tables[i].table);
		mend_command_line(d, finding, tables[i].option);
		return;
	}
	finding = doctor_add(d, "iommu.present", "", state,
		"there is no IOMMU, or the firmware has it off: no device has an IOMMU group");
	doctor_mend(d, finding, DOCTOR_SETTING,
		"turn VT-d or AMD-Vi on in the firmware; a virtual machine needs a virtual IOMMU");
}

static void iommu_names(const struct doctor *d, char *text, size_t size)
{
	char path[DOCTOR_PATH];
	struct dirent *entry;
	DIR *dir;

	snprintf(text, size, "an IOMMU");
	dir = doctor_path(d, path, "/sys/class/iommu") ? NULL : opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(text, size, "%.60s", entry->d_name);
		break;
	}
	if (dir)
		closedir(dir);
}

static bool allowed_unsafe(const struct doctor *d)
{
	char text[16];

	for (int i = 0; i < 2; i++) {
		if (doctor_read(d, text, sizeof(text), "/sys/module/%s/parameters/%s",
			    i ? "iommufd" : "vfio_iommu_type1", "allow_unsafe_interrupts") > 0 &&
			*text == 'Y')
			return true;
	}
	return false;
}

/* On x86 the chips of remapped interrupts have names that begin with IR-. Elsewhere it is part of
 * the interrupt controller. */
static int is_remapped(const struct doctor *d)
{
	char path[DOCTOR_PATH], name[64];
	struct dirent *entry;
	int found = -1;
	DIR *dir;

	dir = doctor_path(d, path, "/sys/kernel/irq") ? NULL : opendir(path);
	while (dir && found < 1 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' ||
			doctor_read(d, name, sizeof(name), "/sys/kernel/irq/%s/chip_name",
				entry->d_name) <= 0)
			continue;
		found = strncmp(name, "IR-", 3) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool remapping_in_proc(const struct doctor *d, bool *readable)
{
	char path[DOCTOR_PATH], *line = NULL;
	bool found = false;
	size_t size = 0;
	FILE *file;

	file = doctor_path(d, path, "/proc/interrupts") ? NULL : fopen(path, "re");
	*readable = file != NULL;
	while (file && !found && getline(&line, &size, file) > 0)
		found = strstr(line, " IR-") != NULL;
	free(line);
	if (file)
		fclose(file);
	return found;
}

static void check_interrupts(struct doctor *d)
{
	struct doctor_finding *finding;
	bool readable, on;
	int seen;

	if (strcmp(d->machine.arch, "x86_64") != 0)
		return;
	seen = is_remapped(d);
	on = seen == 1 || remapping_in_proc(d, &readable);
	if (on) {
		doctor_add(d, "iommu.interrupts", "", DOCTOR_OK, "interrupts are remapped");
	} else if (seen < 0 && !readable) {
		doctor_add(d, "iommu.interrupts", "", DOCTOR_UNSEEN,
			"whether interrupts are remapped (/sys/kernel/irq, /proc/interrupts)");
	} else if (allowed_unsafe(d)) {
		doctor_add(d, "iommu.interrupts", "", DOCTOR_HURTS,
			"interrupts are not remapped, and allow_unsafe_interrupts lets devices be "
			"used all the same: one can raise any interrupt of this machine");
	} else {
		finding = doctor_add(d, "iommu.interrupts", "", DOCTOR_BLOCKS,
			"interrupts are not remapped: the kernel gives no device to a user, as it "
			"could raise any interrupt");
		mend_command_line(d, finding, "intremap=on, and x2APIC in the firmware");
		doctor_mend_root(d, finding,
			"for M in vfio_iommu_type1 iommufd; do P=/sys/module/$M/parameters; "
			"[ ! -e $P ] || echo 1 > $P/allow_unsafe_interrupts; done # if the risk is "
			"accepted");
	}
}

void doctor_check_iommu(struct doctor *d)
{
	int groups = doctor_entries(d, "", "/sys/kernel/iommu_groups");
	struct doctor_finding *finding;
	char name[80];

	if (d->no_iommu_wanted) {
		doctor_add(d, "iommu.present", "", DOCTOR_OK,
			"not needed by what was asked for (--dma %s)", d->ask.backend);
		return;
	}
	if (groups > 0) {
		iommu_names(d, name, sizeof(name));
		finding = doctor_add(d, "iommu.present", "", DOCTOR_OK,
			"%s is on: %d groups of devices", name, groups);
		doctor_number(finding, "groups", (uint64_t)groups);
		check_interrupts(d);
	} else if (groups < 0 && !doctor_exists(d, "/sys/kernel")) {
		doctor_add(d, "iommu.present", "", DOCTOR_UNSEEN,
			"whether there is an IOMMU: /sys is not mounted");
	} else {
		say_why_off(d, DOCTOR_BLOCKS);
	}
}
