/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files behind backends: opened by name or handed in by another process, recognised, checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base_priv.h"
#include "iommufd_abi.h"
#include "vfio_node.h"

const char *vfio_node_name(
	const struct pn_backend_request *request, const char *usual, char buf[VFIO_NODE_NAME])
{
	if (request->use_fd)
		snprintf(buf, VFIO_NODE_NAME, "the file handed in (fd %d)", request->fd);
	else
		snprintf(buf, VFIO_NODE_NAME, "%s", request->node ? request->node : usual);
	return buf;
}

static int node_open(const char *node, const char *missing)
{
	struct stat st;
	int fd = open(node, O_RDWR | O_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	if (err == EACCES && !stat(node, &st))
		return pn_fail(err,
			"%s is owned by %u:%u with mode %04o, and this process (uid %u) may not "
			"open it; as root: pinion grant DEVICE --user %u, of the device that is to "
			"be used, or for all users, as it gives no access to a device by itself: "
			"chmod 0666 %s",
			node, (unsigned int)st.st_uid, (unsigned int)st.st_gid,
			(unsigned int)st.st_mode & 07777u, (unsigned int)geteuid(),
			(unsigned int)geteuid(), node);
	if (err == EPERM)
		return pn_fail(err,
			"%s may not be opened: a container must allow the device (--device %s)",
			node, node);
	if (err == ENOENT || err == ENODEV || err == ENXIO)
		return pn_fail(err, "%s is not there: %s", node, missing);
	return pn_fail(err, "%s cannot be opened: %s", node, strerror(err));
}

int vfio_node_copy(int fd, const char *what)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0)
		return copy;
	if (errno == EBADF)
		return pn_fail(EBADF, "%s: file descriptor %d is not open", what, fd);
	return pn_fail(
		errno, "%s: file descriptor %d cannot be copied: %s", what, fd, strerror(errno));
}

int vfio_node_get(const struct pn_backend_request *request, const char *usual, const char *missing)
{
	char name[VFIO_NODE_NAME];

	if (request->use_fd)
		return vfio_node_copy(request->fd, vfio_node_name(request, usual, name));
	return node_open(request->node ? request->node : usual, missing);
}

bool vfio_node_is_iommufd(int fd, bool *mm)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_GET};

	/* A type1 container answers EINVAL or ENOTTY to a request that it does not know. */
	if (ioctl(fd, IOMMUFD_OPTION, &option))
		return false;
	*mm = option.val64 == 1;
	return true;
}

int vfio_node_check(int fd, const char *attribute)
{
	unsigned int major_number, minor_number;
	struct stat st;
	char text[32];

	if (pn_read_file(attribute, text, sizeof(text)) < 0)
		return 0;
	if (sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
		return 0;
	if (fstat(fd, &st))
		return -errno;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(major_number, minor_number) ? 0
											: -EINVAL;
}
