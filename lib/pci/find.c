/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding one PCI function by what a user writes: "0000:00:02.0", "00:02.0" or "8086:10d3".
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pci_priv.h"

/* Functions that an error text names at most. */
#define NEAREST_MAX 4
#define MATCHES_MAX 12

/* Packing of an address into a number: domain, bus 8 bits, slot 5, function 3. */
#define KEY_DOMAIN_SHIFT 16
#define KEY_BUS_SHIFT    8
#define KEY_SLOT_SHIFT   3

/*
 * Spelling
 */

/*
 * Take a hexadecimal number of 1 to max_digits digits from the front of *text. strtoul() would also
 * take signs, blanks and "0x".
 */
static bool take_hex(const char **text, unsigned int max_digits, uint32_t *value)
{
	unsigned int digits = 0;
	uint32_t number = 0;
	int c;

	while (digits < max_digits && isxdigit((unsigned char)**text)) {
		c = tolower((unsigned char)**text);
		number = number * 16 + (uint32_t)(isdigit(c) ? c - '0' : c - 'a' + 10);
		(*text)++;
		digits++;
	}
	*value = number;
	return digits > 0;
}

static bool take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

/* "[domain:]bus:slot.function"; the text has a dot, so that this is what it means to be. */
static bool parse_address(const char *text, uint64_t *key)
{
	uint32_t domain = 0, bus, slot, function;
	const char *first_colon = strchr(text, ':');

	if (first_colon && strchr(first_colon + 1, ':')) {
		if (!take_hex(&text, 5, &domain) || !take_char(&text, ':'))
			return false;
	}
	if (!take_hex(&text, 2, &bus) || !take_char(&text, ':'))
		return false;
	if (!take_hex(&text, 2, &slot) || slot > 0x1f || !take_char(&text, '.'))
		return false;
	if (!take_hex(&text, 1, &function) || function > 7 || *text != '\0')
		return false;
	*key = (uint64_t)domain << KEY_DOMAIN_SHIFT | bus << KEY_BUS_SHIFT |
	       slot << KEY_SLOT_SHIFT | function;
	return true;
}

/* Four digits each: "00:02" is an address without its function, not vendor 0. */
static bool parse_id(const char *text, struct pn_pci_spec *spec)
{
	uint32_t vendor, device;

	if (strlen(text) != strlen("8086:10d3"))
		return false;
	if (!take_hex(&text, 4, &vendor) || !take_char(&text, ':'))
		return false;
	if (!take_hex(&text, 4, &device) || *text != '\0')
		return false;
	spec->vendor = (uint16_t)vendor;
	spec->device = (uint16_t)device;
	return true;
}

uint64_t pn_pci_address_key(const char *address)
{
	uint64_t key;

	return parse_address(address, &key) ? key : UINT64_MAX;
}

static void format_address(uint64_t key, char text[PN_PCI_ADDRESS_MAX])
{
	snprintf(text, PN_PCI_ADDRESS_MAX, "%04x:%02x:%02x.%x",
		(unsigned int)(key >> KEY_DOMAIN_SHIFT) & 0xfffff,
		(unsigned int)(key >> KEY_BUS_SHIFT) & 0xff,
		(unsigned int)(key >> KEY_SLOT_SHIFT) & 0x1f, (unsigned int)key & 7);
}

int pn_pci_spec_parse(const char *text, struct pn_pci_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	if (strchr(text, '.')) {
		if (parse_address(text, &spec->key))
			return 0;
	} else if (parse_id(text, spec)) {
		spec->by_id = true;
		return 0;
	}
	return pn_fail(EINVAL,
		"'%.40s' is not a PCI device: write an address (0000:00:02.0 or "
		"00:02.0) or vendor:device (8086:10d3), in hexadecimal; `pinion "
		"devices` lists what is there",
		text);
}

/*
 * Choice
 */

static bool matches(const struct pn_pci_spec *spec, const struct pn_pci_info *info)
{
	if (spec->by_id)
		return info->vendor == spec->vendor && info->device == spec->device;
	return pn_pci_address_key(info->address) == spec->key;
}

/* How far a function is from what was asked for; UINT64_MAX: it has nothing to do with it. */
static uint64_t distance(const struct pn_pci_spec *spec, const struct pn_pci_info *info)
{
	uint64_t key;

	if (spec->by_id) {
		if (info->vendor != spec->vendor)
			return UINT64_MAX;
		return (uint64_t)abs((int)info->device - (int)spec->device);
	}
	key = pn_pci_address_key(info->address);
	if (key >> KEY_BUS_SHIFT != spec->key >> KEY_BUS_SHIFT)
		return UINT64_MAX;
	return key > spec->key ? key - spec->key : spec->key - key;
}

static void append_function(char *text, size_t size, const struct pn_pci_info *info)
{
	size_t used = strlen(text);

	snprintf(text + used, size - used, "%s%s (%04x:%04x%s%s)", used ? ", " : "", info->address,
		info->vendor, info->device, info->device_name[0] ? " " : "", info->device_name);
}

/* Put the functions nearest to spec into text, nearest first. */
static void name_nearest(const struct pn_pci_spec *spec, const struct pn_pci_info *list,
	size_t count, char *text, size_t size)
{
	const struct pn_pci_info *best[NEAREST_MAX];
	size_t found = 0, slot;

	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (distance(spec, &list[i]) == UINT64_MAX)
			continue;
		slot = found < NEAREST_MAX ? found++ : NEAREST_MAX;
		while (slot > 0 && distance(spec, best[slot - 1]) > distance(spec, &list[i])) {
			if (slot < NEAREST_MAX)
				best[slot] = best[slot - 1];
			slot--;
		}
		if (slot < NEAREST_MAX)
			best[slot] = &list[i];
	}
	for (size_t i = 0; i < found; i++)
		append_function(text, size, best[i]);
}

/* libpciaccess takes a folder that it cannot open for an empty one: is it? */
static int fail_empty(const char *what)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	int err = errno;

	if (dir)
		closedir(dir);
	else if (err != ENOENT)
		return pn_fail(err, "looking for %s: opening /sys/bus/pci/devices: %s", what,
			strerror(err));
	return pn_fail(ENODEV,
		"there is no %s: this machine shows no PCI device at all "
		"(ls /sys/bus/pci/devices)",
		what);
}

static int fail_none(const struct pn_pci_spec *spec, const struct pn_pci_info *list, size_t count)
{
	char address[PN_PCI_ADDRESS_MAX], what[64], where[48], nearest[640];

	if (spec->by_id) {
		snprintf(what, sizeof(what), "PCI device %04x:%04x", spec->vendor, spec->device);
		snprintf(where, sizeof(where), "of vendor %04x", spec->vendor);
	} else {
		format_address(spec->key, address);
		snprintf(what, sizeof(what), "PCI function %s", address);
		address[strlen(address) - strlen(":00.0")] = '\0';
		snprintf(where, sizeof(where), "on bus %s", address);
	}
	if (!count)
		return fail_empty(what);
	name_nearest(spec, list, count, nearest, sizeof(nearest));
	if (!nearest[0])
		return pn_fail(ENODEV,
			"there is no %s, and nothing else %s; `pinion devices` "
			"lists the %zu functions of this machine",
			what, where, count);
	return pn_fail(ENODEV, "there is no %s; nearest %s: %s; `pinion devices` lists all", what,
		where, nearest);
}

static int fail_several(
	const struct pn_pci_spec *spec, const struct pn_pci_info *list, size_t count)
{
	char text[MATCHES_MAX * (PN_PCI_ADDRESS_MAX + 2)] = "";
	size_t found = 0, used = 0;

	for (size_t i = 0; i < count; i++) {
		if (!matches(spec, &list[i]) || ++found > MATCHES_MAX)
			continue;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "",
			list[i].address);
	}
	return pn_fail(ENOTUNIQ, "%zu PCI functions are %04x:%04x; name one by its address: %s%s",
		found, spec->vendor, spec->device, text, found > MATCHES_MAX ? ", ..." : "");
}

int pn_pci_spec_match(const struct pn_pci_spec *spec, const struct pn_pci_info *list, size_t count,
	struct pn_pci_info *info)
{
	const struct pn_pci_info *found = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!matches(spec, &list[i]))
			continue;
		if (found)
			return fail_several(spec, list, count);
		found = &list[i];
	}
	if (!found)
		return fail_none(spec, list, count);
	*info = *found;
	return 0;
}

int pn_pci_find_at(const char *sysfs, const char *text, struct pn_pci_info *info)
{
	struct pn_pci_info *list;
	struct pn_pci_spec spec;
	size_t count;
	int err;

	err = pn_pci_spec_parse(text, &spec);
	if (err)
		return err;
	err = pn_pci_scan_at(sysfs, &list, &count);
	if (err)
		return err;
	err = pn_pci_spec_match(&spec, list, count, info);
	free(list);
	return err;
}

int pn_pci_find(const char *spec, struct pn_pci_info *info)
{
	if (!spec || !info)
		return pn_fail(EINVAL, "pn_pci_find: spec and info must not be NULL");
	return pn_pci_find_at(PN_SYSFS_ROOT, spec, info);
}
