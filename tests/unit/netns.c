/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See netns.h. Interfaces are made by ip(8).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns.h"

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static bool enter_user(void)
{
	char map[64];
	unsigned int uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (!write_text("/proc/self/uid_map", map) || !write_text("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_text("/proc/self/gid_map", map);
}

const char *netns_enter(void)
{
	static char why[128];

	if (geteuid() ? !enter_user() : unshare(CLONE_NEWNET)) {
		snprintf(why, sizeof(why), "no network namespace can be had: %s", strerror(errno));
		return why;
	}
	/* Hosts talk on their own by IPv6. It may not be there. */
	(void)write_text("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	(void)write_text("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	if (netns_ip("link add " NETNS_PORT " type veth peer name " NETNS_PEER))
		return "no pair of veth interfaces can be made (iproute2, CONFIG_VETH)";
	netns_cut();
	return NULL;
}

int netns_ip(const char *arguments)
{
	char command[320];
	int status;

	snprintf(command, sizeof(command), "ip %s >/dev/null 2>&1", arguments);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static bool running(const char *iface)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool up;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", iface);
	up = !ioctl(fd, SIOCGIFFLAGS, &ifr) && (ifr.ifr_flags & IFF_RUNNING);
	close(fd);
	return up;
}

void netns_settle(const char *iface, bool up)
{
	for (int i = 0; i < 2000 && running(iface) != up; i++)
		usleep(1000);
	assert_int_equal(running(iface), up);
}

void netns_wire(unsigned int queues)
{
	char command[256];

	netns_cut();
	snprintf(command, sizeof(command),
		"link add " NETNS_PORT
		" numtxqueues %u numrxqueues %u type veth peer name " NETNS_PEER
		" numtxqueues %u numrxqueues %u",
		queues, queues, queues, queues);
	assert_int_equal(netns_ip(command), 0);
	assert_int_equal(netns_ip("link set " NETNS_PORT " up"), 0);
	assert_int_equal(netns_ip("link set " NETNS_PEER " up"), 0);
	netns_settle(NETNS_PORT, true);
}

void netns_cut(void)
{
	(void)netns_ip("link del " NETNS_PORT);
}

int netns_socket(const char *iface)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(iface),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1, room = 4 << 20;

	assert_true(fd >= 0 && address.sll_ifindex > 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int netns_socket_vnet(const char *iface)
{
	int fd = netns_socket(iface), on = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	return fd;
}

void netns_send(int fd, const void *frame, size_t len)
{
	assert_int_equal(send(fd, frame, len, 0), len);
}

size_t netns_receive(int fd, void *frame, size_t size)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	ssize_t len;

	assert_int_equal(poll(&wait, 1, 2000), 1);
	len = recv(fd, frame, size, 0);
	assert_true(len > 0);
	return (size_t)len;
}

void netns_empty(int fd)
{
	unsigned char frame[64];

	while (recv(fd, frame, sizeof(frame), MSG_DONTWAIT) >= 0)
		;
}

void netns_frame(unsigned char *frame, size_t len, uint32_t number)
{
	static const unsigned char head[] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}; /* for experiments */

	assert_true(len >= sizeof(head) + sizeof(number));
	memset(frame, 0x5a, len);
	memcpy(frame, head, sizeof(head));
	memcpy(frame + sizeof(head), &number, sizeof(number));
}

void netns_idle(struct pn_port *port, int ms)
{
	struct pn_port_link link;

	assert_int_equal(pn_port_get_link(port, &link), 0);
	assert_true(pn_port_wait(&port, 1, ms) >= 0);
}

uint32_t netns_feed(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	unsigned char frame[256];
	int fd = *(int *)driver->own;

	for (uint32_t i = 0; i < n; i++) {
		size_t len = 60 + i % 128;

		netns_frame(frame, len, i);
		netns_send(fd, frame, len);
	}
	/* Blocks of them may be handed over by the millisecond. */
	netns_idle(port, 200);
	return n;
}

void netns_drain(struct conformance *driver, struct pn_port *port)
{
	(void)port;
	netns_empty(*(int *)driver->own);
}

void netns_fill_checksums(const char *iface)
{
	struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM};
	struct ifreq ifr = {.ifr_data = (char *)&off};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", iface);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	close(fd);
}

/* The tag that the kernel has taken out of a received frame; false: there was none. */
static bool taken_tag(struct msghdr *message, uint16_t tag[2])
{
	struct tpacket_auxdata about;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&about, CMSG_DATA(c), sizeof(about));
		tag[0] = htons(about.tp_vlan_tpid);
		tag[1] = htons(about.tp_vlan_tci);
		return about.tp_status & TP_STATUS_VLAN_VALID;
	}
	return false;
}

uint32_t netns_sent(struct conformance *driver, unsigned char *frame, uint32_t size)
{
	const int fd = *(int *)driver->own, on = 1;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec place = {frame, size};
	struct msghdr message = {
		.msg_iov = &place,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	uint16_t tag[2];
	ssize_t len;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)), 0);
	assert_int_equal(poll(&wait, 1, 2000), 1);
	len = recvmsg(fd, &message, 0);
	assert_in_range(len, ETH_HLEN, size - sizeof(tag));
	if (!taken_tag(&message, tag))
		return (uint32_t)len;
	memmove(frame + 16, frame + 12, (size_t)len - 12);
	memcpy(frame + 12, tag, sizeof(tag));
	return (uint32_t)len + 4;
}

static bool is_child;

void netns_skip(void)
{
	if (is_child)
		_exit(77);
	skip();
}

int netns_in_child(int (*run)(void *arg), void *arg)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int ret = 98;

		/* What a failed assertion says there is heard here, and it ends there: the tests
		 * that follow are not the child's. */
		is_child = true;
		setvbuf(stdout, NULL, _IOLBF, 0);
		if (!setenv("CMOCKA_TEST_ABORT", "1", 1))
			ret = run(arg);
		fflush(NULL);
		_exit(ret);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	/* What it said last has no end of a line, and the name of the test is to come. */
	if (WIFSIGNALED(status))
		fputc('\n', stderr);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
