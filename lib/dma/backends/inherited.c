/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What backends share when they hand a context over: members of the state, inherited files.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "inherited.h"

int handover_inherit(int fd, bool inherit)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, inherit ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC) < 0)
		return pn_fail(errno, "file descriptor %d cannot be %s: %s", fd,
			inherit ? "left to another program" : "kept from other programs",
			strerror(errno));
	return 0;
}

static int get_number(const json_t *state, const char *key, json_int_t max, json_int_t *value)
{
	const json_t *member = json_object_get(state, key);

	*value = json_integer_value(member);
	if (!json_is_integer(member) || *value < 0 || *value > max)
		return pn_fail(
			EINVAL, "the state of the domain has no \"%s\" that makes sense", key);
	return 0;
}

int handover_get_u32(const json_t *state, const char *key, uint32_t *value)
{
	json_int_t number;
	int ret = get_number(state, key, UINT32_MAX, &number);

	if (!ret)
		*value = (uint32_t)number;
	return ret;
}

int handover_get_fd(const json_t *state, const char *key, int *fd)
{
	json_int_t number;
	int ret = get_number(state, key, INT_MAX, &number);

	if (ret)
		return ret;
	if (fcntl((int)number, F_GETFD) < 0)
		return pn_fail(EINVAL,
			"file descriptor %d (\"%s\") of the domain was not inherited: %s",
			(int)number, key, strerror(errno));
	*fd = (int)number;
	return 0;
}

int handover_get_bool(const json_t *state, const char *key, bool *value)
{
	const json_t *member = json_object_get(state, key);

	if (!json_is_boolean(member))
		return pn_fail(
			EINVAL, "the state of the domain has no \"%s\" that makes sense", key);
	*value = json_is_true(member);
	return 0;
}

int handover_get_address(const json_t *state, char address[16])
{
	const char *text = json_string_value(json_object_get(state, "address"));

	if (!text || !text[0] || strlen(text) >= 16)
		return pn_fail(EINVAL, "the state of the domain has a device without an address");
	strcpy(address, text);
	return 0;
}

const json_t *handover_get_array(const json_t *state, const char *key)
{
	const json_t *member = json_object_get(state, key);

	if (json_is_array(member))
		return member;
	pn_fail(EINVAL, "the state of the domain has no list \"%s\"", key);
	return NULL;
}

int handover_check_device(int fd, const char *address)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (!ioctl(fd, VFIO_DEVICE_GET_INFO, &info) && info.flags & VFIO_DEVICE_FLAGS_PCI)
		return 0;
	return pn_fail(EINVAL, "file descriptor %d is no open device of VFIO's (%s)", fd, address);
}
