/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a PCI function in use as a disk: file systems mounted from it, swap, what stands on it (LVM,
 * RAID, encryption), or a claim of any other kind?
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "use.h"

/* A device mapper on a RAID on a partition ...: nobody stacks so many. */
#define DEPTH_MAX 16

/* Block devices that stand on one of the function's. */
struct disk {
	char name[64];
	char chain[160]; /* "nvme0n1p2, dm-0": how it stands on the function */
	unsigned int major, minor;
};

struct disks {
	struct disk *items;
	size_t count;
};

static int add_disk(struct disks *disks, const char *name, const char *below, unsigned int major,
	unsigned int minor)
{
	struct disk *disk;

	for (size_t i = 0; i < disks->count; i++) {
		if (!strcmp(disks->items[i].name, name))
			return 0;
	}
	disk = host_grow(disks->items, &disks->count, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	disks->items = disk;
	disk += disks->count - 1;
	snprintf(disk->name, sizeof(disk->name), "%s", name);
	snprintf(disk->chain, sizeof(disk->chain), "%s%s%s", name, *below ? " on " : "", below);
	disk->major = major;
	disk->minor = minor;
	return 1;
}

static int add_holders(struct host *host, struct disks *disks, size_t of, unsigned int depth)
{
	char path[PATH_MAX], chain[160], text[32];
	unsigned int major, minor;
	struct dirent *entry;
	DIR *dir;
	int ret = 0;

	snprintf(path, sizeof(path), "%s/class/block/%s/holders", host->sys, disks->items[of].name);
	memcpy(chain, disks->items[of].chain, sizeof(chain));
	dir = depth < DEPTH_MAX ? opendir(path) : NULL;
	while (dir && ret >= 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (host_read(text, sizeof(text), "%s/class/block/%s/dev", host->sys,
			    entry->d_name) < 0 ||
			sscanf(text, "%u:%u", &major, &minor) != 2)
			continue;
		ret = add_disk(disks, entry->d_name, chain, major, minor);
		if (ret == 1)
			ret = add_holders(host, disks, disks->count - 1, depth + 1);
	}
	if (dir)
		closedir(dir);
	return ret < 0 ? ret : 0;
}

/* Loop devices on a disk are in no list of holders. */
static int add_loops(struct host *host, struct disks *disks)
{
	char path[PATH_MAX], file[128], text[32];
	unsigned int major, minor;
	struct dirent *entry;
	DIR *dir;
	int ret = 0;

	snprintf(path, sizeof(path), "%s/class/block", host->sys);
	dir = opendir(path);
	while (dir && ret >= 0 && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "loop", 4) ||
			host_read(file, sizeof(file), "%s/%s/loop/backing_file", path,
				entry->d_name) < 0 ||
			strncmp(file, "/dev/", 5) ||
			host_read(text, sizeof(text), "%s/%s/dev", path, entry->d_name) < 0 ||
			sscanf(text, "%u:%u", &major, &minor) != 2)
			continue;
		for (size_t i = 0; i < disks->count && ret >= 0; i++) {
			char chain[160];

			if (strcmp(disks->items[i].name, file + 5))
				continue;
			memcpy(chain, disks->items[i].chain, sizeof(chain));
			ret = add_disk(disks, entry->d_name, chain, major, minor);
			break;
		}
	}
	if (dir)
		closedir(dir);
	return ret < 0 ? ret : 0;
}

/* The root file system and what a machine does not start or run without. */
static bool is_vital(const char *point)
{
	static const char *const points[] = {
		"/", "/usr", "/var", "/etc", "/boot", "/boot/efi", "/efi"};

	for (size_t i = 0; i < HOST_COUNT(points); i++) {
		if (!strcmp(point, points[i]))
			return true;
	}
	return false;
}

/* Do both disks belong to one btrfs? Of several it shows one as its source. */
static bool share_btrfs(struct host *host, const char *disk, const char *other)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/fs/btrfs", host->sys);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.' &&
			host_exists("%s/%s/devices/%s", path, entry->d_name, disk) &&
			host_exists("%s/%s/devices/%s", path, entry->d_name, other);
	if (dir)
		closedir(dir);
	return found;
}

/* Does this source, of len bytes, name the disk: by its own name, a device mapper's, or that of a
 * link to either? */
static bool names(struct host *host, const char *source, size_t len, const struct disk *disk)
{
	char target[sizeof(disk->name)], mapper[256], path[256];
	const char *name;

	if (strncmp(source, "/dev/", 5) || len >= sizeof(path))
		return false;
	snprintf(path, sizeof(path), "%.*s", (int)len, source);
	name = strrchr(path, '/') + 1;
	if (host_read(mapper, sizeof(mapper), "%s/class/block/%s/dm/name", host->sys, disk->name) >
			0 &&
		!strcmp(name, mapper))
		return true;
	if (!host_read_link(target, sizeof(target), "%s/%s", host->dev, path + 5))
		name = target;
	return !strcmp(name, disk->name) ||
	       (*name && *name != '.' && share_btrfs(host, disk->name, name));
}

/* Some file systems (btrfs) show a device number of their own: there the source tells, which
 * bcachefs makes of all its disks, with colons between. */
static bool is_of(struct host *host, const struct host_mount *mount, const struct disk *disk)
{
	const char *source = mount->source;
	size_t len;

	if (disk->major && mount->major == disk->major && mount->minor == disk->minor)
		return true;
	for (; !mount->major && *source; source += len + (source[len] == ':')) {
		len = strcspn(source, ":");
		if (names(host, source, len, disk))
			return true;
	}
	return false;
}

static int add_mounts(struct host *host, const struct host_pci *pci,
	const struct host_mounts *mounts, const struct disk *disk, struct host_uses *uses)
{
	const struct host_mount *found = NULL, *vital = NULL;
	char word[HOST_WORD_MAX];
	unsigned int more = 0;

	for (size_t i = 0; i < mounts->count; i++) {
		const struct host_mount *mount = &mounts->items[i];

		if (!is_of(host, mount, disk))
			continue;
		if (mount->first && is_vital(mount->point))
			vital = mount;
		more += found != NULL;
		/* The machine's own name for it rather than a container's. */
		if (!found || (mount->first && !found->first))
			found = mount;
	}
	if (vital)
		return host_use_add(uses, pci->address, "system-disk", HOST_USE_NEVER,
			"carries %s (%s on %s), without which the machine does not run",
			vital->point, vital->type, disk->chain);
	if (!found)
		return 0;
	if (found->first)
		return host_use_add(uses, pci->address, "mounted", HOST_USE_FORCE,
			"carries the file system mounted on %s (%s on %s%s); umount %s first",
			found->point, found->type, disk->chain, more ? ", and elsewhere" : "",
			host_word(found->point, word));
	return host_use_add(uses, pci->address, "mounted", HOST_USE_FORCE,
		"carries a file system that pid %d has mounted on %s, in a mount namespace of its "
		"own (%s on %s)",
		(int)found->pid, found->point, found->type, disk->chain);
}

static int add_swap(struct host *host, const struct host_pci *pci, const struct disk *disk,
	struct host_uses *uses)
{
	char *text, *line, *next, path[256], word[HOST_WORD_MAX];
	const char *name;
	int err = 0;

	text = host_read_all("%s/swaps", host->proc);
	for (line = text; line && !err; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%255s", path) != 1 || path[0] != '/')
			continue;
		name = strrchr(path, '/') + 1;
		if (!strcmp(name, disk->name))
			err = host_use_add(uses, pci->address, "swap", HOST_USE_FORCE,
				"carries the swap area %s (%s); swapoff %s first", path,
				disk->chain, host_word(path, word));
	}
	free(text);
	return err;
}

static int add_disk_uses(struct host *host, const struct host_pci *pci,
	const struct host_mounts *mounts, const struct disk *disk, struct host_uses *uses)
{
	size_t before = uses->count;
	int err;

	err = add_mounts(host, pci, mounts, disk, uses);
	if (!err)
		err = add_swap(host, pci, disk, uses);
	if (err || uses->count != before)
		return err;
	if (strchr(disk->chain, ' '))
		return host_use_add(uses, pci->address, "holders", HOST_USE_FORCE,
			"carries %s: stop what stands on it first (lsblk shows it)", disk->chain);
	return 0;
}

/* ZFS claims its disks, and nothing tells which pool they are of: they may be the machine's. */
static const struct host_mount *vital_zfs(const struct host_mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		const struct host_mount *mount = &mounts->items[i];

		if (mount->first && is_vital(mount->point) && !strcmp(mount->type, "zfs"))
			return mount;
	}
	return NULL;
}

/* What none of the other rules sees: claimed by the kernel itself, or by a program. */
static int add_claims(struct host *host, const struct host_pci *pci,
	const struct host_mounts *mounts, const struct disks *disks, struct host_uses *uses)
{
	const struct host_mount *vital = vital_zfs(mounts);
	int err = 0;

	for (size_t i = 0; i < disks->count && !err; i++) {
		if (!host->ops->disk_claimed(host, disks->items[i].name))
			continue;
		if (vital)
			err = host_use_add(uses, pci->address, "system-disk", HOST_USE_NEVER,
				"has the disk %s, which something holds for itself alone, as ZFS "
				"does, and %s is on the pool of %s, whose disks nothing names: if "
				"it is of another pool, zpool export that first",
				disks->items[i].name, vital->point, vital->source);
		else
			err = host_use_add(uses, pci->address, "claimed", HOST_USE_FORCE,
				"has the disk %s, which something holds for itself alone (opening "
				"it with O_EXCL fails)",
				disks->items[i].name);
	}
	return err;
}

/*
 * Shared folders: a 9p or virtiofs device of a virtual machine is no disk, and may carry its root.
 */

/* Which mount comes from it; NULL: none that can be seen. What an overlay stands on cannot. */
static const struct host_mount *shared_mount(const struct host_mounts *mounts, const char *tag)
{
	const struct host_mount *found = NULL;

	for (size_t i = 0; i < mounts->count; i++) {
		const struct host_mount *mount = &mounts->items[i];

		if ((!strcmp(mount->type, "9p") || !strcmp(mount->type, "virtiofs")) &&
			!strcmp(mount->source, tag) && (!found || is_vital(mount->point)))
			found = mount;
	}
	return found;
}

static int add_shared(const struct host_pci *pci, const char *driver, const char *tag,
	const struct host_mounts *mounts, struct host_uses *uses)
{
	const struct host_mount *mount = shared_mount(mounts, tag);
	char word[HOST_WORD_MAX];

	if (mount && mount->first && is_vital(mount->point))
		return host_use_add(uses, pci->address, "system-disk", HOST_USE_NEVER,
			"carries %s (%s), without which the machine does not run", mount->point,
			mount->type);
	if (mount)
		return host_use_add(uses, pci->address, "mounted", HOST_USE_FORCE,
			"carries the file system mounted on %s (%s); umount %s first", mount->point,
			mount->type, host_word(mount->point, word));
	return host_use_add(uses, pci->address, "shared-folder", HOST_USE_FORCE,
		"carries a folder that the host shares (%s%s%s), which a mount that cannot be seen "
		"may stand on",
		driver, *tag ? ", tag " : "", tag);
}

static int uses_shared(struct host *host, const struct host_pci *pci, struct host_uses *uses)
{
	char path[PATH_MAX], driver[32], tag[64];
	struct host_mounts mounts = {0};
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", host->sys, pci->address);
	dir = opendir(path);
	while (dir && !err && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "virtio", 6) ||
			host_read_link(
				driver, sizeof(driver), "%s/%s/driver", path, entry->d_name) ||
			(strcmp(driver, "9pnet_virtio") && strcmp(driver, "virtiofs")))
			continue;
		if (host_read(tag, sizeof(tag), "%s/%s/mount_tag", path, entry->d_name) < 0)
			tag[0] = '\0';
		err = host_mounts_read(host, &mounts);
		if (!err)
			err = add_shared(pci, driver, tag, &mounts, uses);
		host_mounts_free(&mounts);
	}
	if (dir)
		closedir(dir);
	return err;
}

int host_uses_disk(struct host *host, const struct host_pci *pci,
	const struct host_children *children, struct host_uses *uses)
{
	struct host_mounts mounts = {0};
	struct disks disks = {0};
	size_t before = uses->count;
	int err = 0;

	for (size_t i = 0; i < children->count && err >= 0; i++) {
		const struct host_child *child = &children->items[i];

		if (!child->block)
			continue;
		err = add_disk(&disks, child->name, "", child->major, child->minor);
		if (err == 1)
			err = add_holders(host, &disks, disks.count - 1, 0);
	}
	if (err >= 0 && disks.count)
		err = add_loops(host, &disks);
	if (err >= 0 && disks.count)
		err = host_mounts_read(host, &mounts);
	for (size_t i = 0; i < disks.count && err >= 0; i++)
		err = add_disk_uses(host, pci, &mounts, &disks.items[i], uses);
	if (err >= 0 && uses->count == before)
		err = add_claims(host, pci, &mounts, &disks, uses);
	if (err >= 0)
		err = uses_shared(host, pci, uses);
	host_mounts_free(&mounts);
	free(disks.items);
	return err < 0 ? err : 0;
}
