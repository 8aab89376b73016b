/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open iommufd: its accounting, and the file that contexts of the native backend share.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "iommufd_abi.h"
#include "iommufd_file.h"
#include "vfio_info.h"
#include "vfio_node.h"

static const char *mode_name(bool mm)
{
	return mm ? "process" : "user";
}

int iommufd_accounting(int fd, const char *name, enum pn_accounting wanted, bool *mm)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_SET,
		.val64 = wanted == PN_ACCOUNTING_PROCESS};

	if (!vfio_node_is_iommufd(fd, mm))
		return pn_fail(
			EINVAL, "%s is not iommufd's (it does not answer IOMMU_OPTION)", name);
	if (wanted == PN_ACCOUNTING_ANY || (wanted == PN_ACCOUNTING_PROCESS) == *mm)
		return 0;
	if (!ioctl(fd, IOMMUFD_OPTION, &option)) {
		*mm = !*mm;
		return 0;
	}
	/* ioas.c:iommufd_option_rlimit_mode */
	if (errno == EPERM)
		return pn_fail(EPERM,
			"%s accounts by %s, and to change that takes CAP_SYS_RESOURCE; a helper "
			"with it can: open %s, set IOMMU_OPTION_RLIMIT_MODE to %u, hand the open "
			"file over (SCM_RIGHTS, use_fd)",
			name, mode_name(*mm), IOMMUFD_NODE, (unsigned int)option.val64);
	if (errno == EBUSY)
		return pn_fail(EBUSY,
			"%s accounts by %s, and it is too late to change that (IOMMU_OPTION): "
			"there are address spaces in it already; open a new one",
			name, mode_name(*mm));
	return pn_fail(errno, "setting the accounting of %s by %s (IOMMU_OPTION): %s", name,
		mode_name(!*mm), strerror(errno));
}

void iommufd_charge_rule(bool mm, const char *path, struct pn_charge_rule *rule)
{
	rule->path = path;
	rule->accounting = mm ? "process (mm)" : "user";
	rule->limited = mm ? PN_COUNTER_MM_LOCKED : PN_COUNTER_USER_LOCKED;
	rule->counters = PN_COUNTER_BIT(rule->limited) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED);
	rule->exempt_counters = PN_COUNTER_BIT(PN_COUNTER_MM_PINNED);
}

static bool maps_files(int fd)
{
	struct iommufd_ioas_map_file nothing = {.size = sizeof(nothing), .fd = -1};

	/* Refused, but by what knows it. */
	return ioctl(fd, IOMMUFD_IOAS_MAP_FILE, &nothing) && errno != ENOTTY;
}

int iommufd_file_new(struct iommufd_file **out, int fd, const char *node, bool mm)
{
	struct iommufd_file *file = calloc(1, sizeof(*file));

	if (!file)
		return pn_fail(ENOMEM, "no memory for an iommufd");
	file->fd = fd;
	file->mm = mm;
	snprintf(file->node, sizeof(file->node), "%s", node);
	file->maps_files = maps_files(fd);
	file->users = 1;
	pthread_mutex_init(&file->lock, NULL);
	*out = file;
	return 0;
}

struct iommufd_file *iommufd_file_get(struct iommufd_file *file)
{
	pthread_mutex_lock(&file->lock);
	file->users++;
	pthread_mutex_unlock(&file->lock);
	return file;
}

void iommufd_file_abandon(struct iommufd_file *file)
{
	struct iommufd_bound *bound;

	while ((bound = file->bound)) {
		file->bound = bound->next;
		free(bound);
	}
	pthread_mutex_destroy(&file->lock);
	free(file);
}

void iommufd_file_put(struct iommufd_file *file)
{
	unsigned int left;

	pthread_mutex_lock(&file->lock);
	left = --file->users;
	pthread_mutex_unlock(&file->lock);
	if (left)
		return;
	close(file->fd);
	iommufd_file_abandon(file);
}

/* Ids of objects that are gone are given out again: an entry with this one is out of date. */
static void forget_bound(struct iommufd_file *file, dev_t node, uint32_t dev_id)
{
	struct iommufd_bound **at = &file->bound, *bound;

	while ((bound = *at)) {
		if (bound->node != node && bound->dev_id != dev_id) {
			at = &bound->next;
			continue;
		}
		*at = bound->next;
		free(bound);
	}
}

void iommufd_file_note_bound(struct iommufd_file *file, struct iommufd_bound *bound)
{
	pthread_mutex_lock(&file->lock);
	forget_bound(file, bound->node, bound->dev_id);
	bound->next = file->bound;
	file->bound = bound;
	pthread_mutex_unlock(&file->lock);
}

bool iommufd_file_is_bound(struct iommufd_file *file, dev_t node, uint32_t *dev_id)
{
	struct iommufd_hw_info info = {.size = sizeof(info)};
	const struct iommufd_bound *bound;

	pthread_mutex_lock(&file->lock);
	for (bound = file->bound; bound && bound->node != node; bound = bound->next)
		;
	if (bound)
		info.dev_id = bound->dev_id;
	pthread_mutex_unlock(&file->lock);
	/* The kernel knows whether that is a device still. */
	if (!bound || ioctl(file->fd, IOMMUFD_GET_HW_INFO, &info))
		return false;
	*dev_id = info.dev_id;
	return true;
}

/* Whose answers the VFIO-compat interface gives; false: nobody's. */
static bool compat_ioas(struct iommufd_file *file, uint16_t op, uint32_t *ioas)
{
	struct iommufd_vfio_ioas request = {.size = sizeof(request), .op = op, .ioas_id = *ioas};

	if (ioctl(file->fd, IOMMUFD_VFIO_IOAS, &request))
		return false;
	*ioas = request.ioas_id;
	return true;
}

uint64_t iommufd_file_page_sizes(struct iommufd_file *file, uint32_t ioas, uint64_t least)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	uint32_t before = 0;
	bool had, ok;

	/* The pointer is the file's (vfio_compat.c:iommufd_vfio_ioas), so one at a time. */
	pthread_mutex_lock(&file->lock);
	had = compat_ioas(file, IOMMUFD_VFIO_IOAS_GET, &before);
	ok = compat_ioas(file, IOMMUFD_VFIO_IOAS_SET, &ioas) &&
	     !ioctl(file->fd, VFIO_IOMMU_GET_INFO, &info);
	/* A signal may have come: what is left behind must be as it was. */
	if (!compat_ioas(file, had ? IOMMUFD_VFIO_IOAS_SET : IOMMUFD_VFIO_IOAS_CLEAR, &before))
		(void)compat_ioas(
			file, had ? IOMMUFD_VFIO_IOAS_SET : IOMMUFD_VFIO_IOAS_CLEAR, &before);
	pthread_mutex_unlock(&file->lock);
	return ok ? vfio_info_page_sizes(&info) : least;
}
