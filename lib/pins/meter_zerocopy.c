/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sendmsg(MSG_ZEROCOPY) is charged before TCP looks whether there is a connection
 * (net/ipv4/tcp.c:tcp_sendmsg_locked, net/core/skbuff.c:mm_account_pinned_pages): on a socket that
 * has none it says ENOBUFS if user->locked_vm + size / 4096 + 2 would exceed the soft
 * RLIMIT_MEMLOCK of the caller, and otherwise EPIPE, with the charge taken back. The memory is not
 * looked at, and no network is needed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "meter_priv.h"

int pn_zerocopy_open(void)
{
	int fd, err, on = 1;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EACCES))
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	if (!setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)))
		return fd;
	err = errno;
	close(fd);
	return -err;
}

int pn_zerocopy_fits(int fd, uint64_t pages)
{
	/* Of any memory: only that these are addresses of a program's is checked. */
	struct iovec data = {(void *)4096, ((pages - PN_ZEROCOPY_LEAST) << 12) + 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	if (sendmsg(fd, &message, MSG_ZEROCOPY | MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return -EIO;
	if (errno == ENOBUFS)
		return 0;
	return errno == EPIPE || errno == ENOTCONN ? 1 : -errno;
}

static int send_byte(const struct pn_meter_trial *trial)
{
	return pn_zerocopy_fits(trial->fd, PN_ZEROCOPY_LEAST);
}

int pn_meter_zerocopy(const struct rlimit *limit, uint64_t *pages)
{
	struct pn_meter_trial trial = {
		.limit = *limit, .cost = PN_ZEROCOPY_LEAST, .once = send_byte};
	int ret;

	trial.fd = pn_zerocopy_open();
	if (trial.fd < 0)
		return trial.fd;
	/* Less than it costs cannot be enough; or this kernel does not compare. */
	ret = pn_meter_fits(&trial, limit->rlim_max >> 12 ? 1 : 0);
	if (ret)
		return ret < 0 ? ret : -EOPNOTSUPP;
	return pn_meter_search(&trial, pages);
}
