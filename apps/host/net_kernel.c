/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asking the kernel about the network, over netlink: in the namespace of this process, then in each
 * other one that a process is in.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/xdp_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "text.h"

/* libmnl's loops over attributes hand the distance of two pointers over as an int. */
#pragma GCC diagnostic ignored "-Wconversion"

/* One answer is at most so long: NLMSG_GOODSIZE, and the kernel's 32 KiB for dumps. */
#define ANSWER_MAX 32768
/* How often a listing is begun anew that changed under way: some seconds in all. */
#define DUMP_TRIES    100
#define DUMP_PAUSE_NS 20000000L

/*
 * What leads to an eighth of all addresses or more is a default route, in whichever table: VPNs put
 * two halves of one, or 2000::/3, before it. No network of somebody's own is that large.
 */
#define DEFAULT_BITS 3

struct asking {
	struct host_net *net;
	unsigned int space;
	pid_t pid;
	bool no_memory;
};

/*
 * One dump: what is asked for, and a function for each answer.
 */

static int dump(int bus, struct nlmsghdr *request, mnl_cb_t each, struct asking *asking)
{
	struct mnl_socket *socket;
	char *answer;
	ssize_t len;
	int ret = -ENOMEM;

	answer = malloc(ANSWER_MAX);
	socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!answer || !socket) {
		ret = answer ? -errno : -ENOMEM;
		goto out;
	}
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = 1;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) {
		ret = -errno;
		goto out;
	}
	do {
		len = mnl_socket_recvfrom(socket, answer, ANSWER_MAX);
		ret = len < 0 ? -errno
			      : mnl_cb_run(answer, (size_t)len, 1, mnl_socket_get_portid(socket),
					each, asking);
	} while (ret > 0 && len >= 0);
	if (len >= 0 && ret < 0)
		ret = -errno;
	if (asking->no_memory)
		ret = -ENOMEM;
out:
	if (socket)
		mnl_socket_close(socket);
	free(answer);
	return ret;
}

static int out_of_memory(struct asking *asking)
{
	asking->no_memory = true;
	return MNL_CB_STOP;
}

static void copy_text(char *to, size_t size, const struct nlattr *attr)
{
	/* Not each kernel ends its texts. */
	snprintf(to, size, "%.*s", (int)mnl_attr_get_payload_len(attr),
		(const char *)mnl_attr_get_payload(attr));
	clean_text(to);
}

static int number(const struct nlattr *attr)
{
	return mnl_attr_get_payload_len(attr) < 4 ? 0 : (int)mnl_attr_get_u32(attr);
}

/*
 * Links
 */

static void take_kind(struct host_link *link, const struct nlattr *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, info)
	{
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
			copy_text(link->kind, sizeof(link->kind), attr);
	}
}

static void take_xdp(struct host_link *link, const struct nlattr *xdp)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, xdp)
	{
		if (mnl_attr_get_type(attr) == IFLA_XDP_ATTACHED &&
			mnl_attr_get_payload_len(attr) >= 1)
			link->xdp = mnl_attr_get_u8(attr) != XDP_ATTACHED_NONE;
	}
}

static int take_link(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct asking *asking = arg;
	struct host_link *link;
	const struct nlattr *attr;
	bool foreign = false;

	link = host_net_add_link(asking->net);
	if (!link)
		return out_of_memory(asking);
	link->space = asking->space;
	link->pid = asking->pid;
	link->index = info->ifi_index;
	link->flags = info->ifi_flags;
	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			copy_text(link->name, sizeof(link->name), attr);
			break;
		case IFLA_MASTER:
			link->master = number(attr);
			break;
		case IFLA_LINK:
			link->lower = number(attr);
			break;
		case IFLA_LINK_NETNSID:
			foreign = true;
			break;
		case IFLA_LINKINFO:
			take_kind(link, attr);
			break;
		case IFLA_XDP:
			take_xdp(link, attr);
			break;
		case IFLA_PARENT_DEV_NAME:
			copy_text(link->parent_device, sizeof(link->parent_device), attr);
			break;
		case IFLA_PARENT_DEV_BUS_NAME:
			copy_text(link->parent_bus, sizeof(link->parent_bus), attr);
			break;
		default:
			break;
		}
	}
	/* The number is one of another namespace. */
	if (foreign || link->lower == link->index)
		link->lower = 0;
	return MNL_CB_OK;
}

/*
 * Addresses and routes
 */

static int take_address(const struct nlmsghdr *message, void *arg)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr, *local = NULL, *remote = NULL;
	struct asking *asking = arg;
	struct host_address *address;
	char text[INET6_ADDRSTRLEN];
	size_t want = info->ifa_family == AF_INET ? 4 : 16;

	/* Every interface that is up gives itself an IPv6 one of the link's scope. */
	if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
		return MNL_CB_OK;
	if (info->ifa_family == AF_INET6 && info->ifa_scope != RT_SCOPE_UNIVERSE)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == IFA_LOCAL)
			local = attr;
		else if (mnl_attr_get_type(attr) == IFA_ADDRESS)
			remote = attr;
	}
	local = local ? local : remote;
	if (!local || mnl_attr_get_payload_len(local) != want)
		return MNL_CB_OK;
	address = host_net_add_address(asking->net);
	if (!address)
		return out_of_memory(asking);
	address->space = asking->space;
	address->link = (int)info->ifa_index;
	inet_ntop(info->ifa_family, mnl_attr_get_payload(local), text, sizeof(text));
	snprintf(address->text, sizeof(address->text), "%s/%u", text, info->ifa_prefixlen);
	return MNL_CB_OK;
}

static int add_route(struct asking *asking, int family, int link)
{
	struct host_route *route = host_net_add_route(asking->net);

	if (!route)
		return out_of_memory(asking);
	route->space = asking->space;
	route->link = link;
	route->family = family;
	return MNL_CB_OK;
}

static int add_ways(struct asking *asking, int family, const struct nlattr *attr)
{
	const struct rtnexthop *way = mnl_attr_get_payload(attr);
	size_t left = mnl_attr_get_payload_len(attr), len;

	while (left >= sizeof(*way) && way->rtnh_len >= sizeof(*way) && way->rtnh_len <= left) {
		if (add_route(asking, family, way->rtnh_ifindex) != MNL_CB_OK)
			return MNL_CB_STOP;
		len = RTNH_ALIGN(way->rtnh_len);
		if (len >= left)
			break;
		left -= len;
		way = (const struct rtnexthop *)((const char *)way + len);
	}
	return MNL_CB_OK;
}

static int take_route(const struct nlmsghdr *message, void *arg)
{
	const struct rtmsg *info = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;
	int ret = MNL_CB_OK;

	if (info->rtm_dst_len > DEFAULT_BITS || info->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == RTA_OIF)
			ret = add_route(arg, info->rtm_family, number(attr));
		else if (mnl_attr_get_type(attr) == RTA_MULTIPATH)
			ret = add_ways(arg, info->rtm_family, attr);
		if (ret != MNL_CB_OK)
			return ret;
	}
	return MNL_CB_OK;
}

static int dump_route_family(
	struct asking *asking, uint16_t type, unsigned char family, size_t header, mnl_cb_t each)
{
	char buf[256] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);

	request->nlmsg_type = type;
	/* The family is the first byte of each of these headers. */
	*(unsigned char *)mnl_nlmsg_put_extra_header(request, header) = family;
	return dump(NETLINK_ROUTE, request, each, asking);
}

/*
 * Sockets that work on a link directly
 */

static int add_socket(struct asking *asking, int link, uint64_t inode, bool xdp)
{
	struct host_link_socket *socket = host_net_add_socket(asking->net);

	if (!socket)
		return out_of_memory(asking);
	socket->space = asking->space;
	socket->link = link;
	socket->inode = inode;
	socket->xdp = xdp;
	return MNL_CB_OK;
}

static int take_xdp_socket(const struct nlmsghdr *message, void *arg)
{
	const struct xdp_diag_msg *info = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == XDP_DIAG_INFO &&
			mnl_attr_get_payload_len(attr) >= sizeof(struct xdp_diag_info)) {
			const struct xdp_diag_info *xdp = mnl_attr_get_payload(attr);

			return xdp->ifindex
				       ? add_socket(arg, (int)xdp->ifindex, info->xdiag_ino, true)
				       : MNL_CB_OK;
		}
	}
	return MNL_CB_OK;
}

static int dump_xdp_sockets(struct asking *asking)
{
	char buf[256] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
	struct xdp_diag_req *ask;
	int err;

	request->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	ask = mnl_nlmsg_put_extra_header(request, sizeof(*ask));
	ask->sdiag_family = AF_XDP;
	ask->xdiag_show = XDP_SHOW_INFO;
	err = dump(NETLINK_SOCK_DIAG, request, take_xdp_socket, asking);
	/* Kernels without AF_XDP, or without its diagnosis. */
	return err == -ENOENT || err == -EINVAL || err == -EPROTONOSUPPORT ? 0 : err;
}

/* sk RefCnt Type Proto Iface R Rmem User Inode; net/packet/af_packet.c, packet_seq_show(). */
static int read_packet_sockets(struct host *host, struct asking *asking)
{
	unsigned long inode;
	char *text, *line, *next;
	int link, ret = 0;

	text = asking->space ? host_read_all("%s/%d/net/packet", host->proc, (int)asking->pid)
			     : host_read_all("%s/net/packet", host->proc);
	/* A kernel without AF_PACKET has no such file. */
	for (line = text; line && !ret; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %d %*s %*s %*s %lu", &link, &inode) == 2 &&
			link && add_socket(asking, link, inode, false) != MNL_CB_OK)
			ret = -ENOMEM;
	}
	free(text);
	return ret;
}

/*
 * Namespaces
 */

static int read_once(struct host *host, struct asking *asking)
{
	int err;

	err = dump_route_family(
		asking, RTM_GETLINK, AF_UNSPEC, sizeof(struct ifinfomsg), take_link);
	if (!err)
		err = dump_route_family(
			asking, RTM_GETADDR, AF_UNSPEC, sizeof(struct ifaddrmsg), take_address);
	if (!err)
		err = dump_route_family(
			asking, RTM_GETROUTE, AF_INET, sizeof(struct rtmsg), take_route);
	if (!err)
		err = dump_route_family(
			asking, RTM_GETROUTE, AF_INET6, sizeof(struct rtmsg), take_route);
	/* No IPv6 in this kernel: the answer is of all families, or that there is none. */
	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT)
		err = 0;
	if (!err)
		err = dump_xdp_sockets(asking);
	if (!err)
		err = read_packet_sockets(host, asking);
	return err;
}

/* Something changes while the kernel lists it: it says so (NLM_F_DUMP_INTR), and is asked again. */
static int read_space(struct host *host, struct asking *asking)
{
	const struct timespec pause = {0, DUMP_PAUSE_NS};
	struct host_net *net = asking->net;
	const struct host_net before = *net;
	int err;

	for (int i = 0; i < DUMP_TRIES; i++) {
		err = read_once(host, asking);
		if (err != -EINTR)
			return err;
		net->link_count = before.link_count;
		net->address_count = before.address_count;
		net->route_count = before.route_count;
		net->socket_count = before.socket_count;
		nanosleep(&pause, NULL);
	}
	return -EAGAIN;
}

struct spaces {
	ino_t *inodes;
	size_t count;
};

/* Is it one that was not met yet? Then it is noted; -ENOMEM. */
static int is_new(struct spaces *spaces, ino_t inode)
{
	ino_t *grown;

	for (size_t i = 0; i < spaces->count; i++) {
		if (spaces->inodes[i] == inode)
			return 0;
	}
	grown = host_grow(spaces->inodes, &spaces->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	spaces->inodes = grown;
	grown[spaces->count - 1] = inode;
	return 1;
}

static int visit(struct host *host, struct host_net *net, struct spaces *spaces, pid_t pid)
{
	struct asking asking = {.net = net, .pid = pid};
	char path[PATH_MAX];
	struct stat st;
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%d/ns/net", host->proc, (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ret = fstat(fd, &st) ? 0 : is_new(spaces, st.st_ino);
	if (ret == 1) {
		asking.space = (unsigned int)spaces->count - 1;
		if (setns(fd, CLONE_NEWNET)) {
			net->unseen++;
			ret = 0;
		} else {
			ret = read_space(host, &asking);
		}
	}
	close(fd);
	return ret;
}

/* The other namespaces: those that processes are in. */
static int visit_all(struct host *host, struct host_net *net, struct spaces *spaces)
{
	struct dirent *entry;
	DIR *dir;
	int ret = 0;
	pid_t pid;

	dir = opendir(host->proc);
	if (!dir)
		return 0;
	while (!ret && (entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		if (pid > 0)
			ret = visit(host, net, spaces, pid);
	}
	closedir(dir);
	return ret;
}

int host_net_read_kernel(struct host *host, struct host_net *net)
{
	struct asking asking = {.net = net, .pid = getpid()};
	struct spaces spaces = {0};
	char path[PATH_MAX];
	struct stat st;
	int home, ret;

	snprintf(path, sizeof(path), "%s/self/ns/net", host->proc);
	home = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || fstat(home, &st)) {
		ret = host_fail(host, errno, "%s: %s", path, strerror(errno));
		goto out;
	}
	ret = is_new(&spaces, st.st_ino);
	if (ret > 0)
		ret = read_space(host, &asking);
	if (!ret) {
		ret = visit_all(host, net, &spaces);
		if (setns(home, CLONE_NEWNET) && spaces.count > 1 && net->unseen < spaces.count - 1)
			ret = -errno;
	}
	if (ret)
		host_fail(host, -ret, "asking the kernel about the network (netlink): %s",
			strerror(-ret));
out:
	if (home >= 0)
		close(home);
	free(spaces.inodes);
	return ret;
}
