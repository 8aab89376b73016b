/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an afxdp port needs of the kernel: a program of five instructions at the interface that
 * hands packets to sockets by their queue, and the sockets, through libxdp and libbpf. Both are
 * loaded when the first such port is opened. The program goes when its link is closed, also when
 * the process dies.
 */
#include <bpf/bpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "afxdp.h"

/* clang-format off */
#define XDP_FUNCTIONS(use) \
	use(xsk_umem__create) \
	use(xsk_umem__delete) \
	use(xsk_socket__create_shared) \
	use(xsk_socket__delete) \
	use(xsk_socket__fd) \
	use(xsk_socket__update_xskmap)
#define BPF_FUNCTIONS(use) \
	use(bpf_map_create) \
	use(bpf_prog_load) \
	use(bpf_link_create) \
	use(libbpf_set_print)
/* clang-format on */

#define MAP_ENTRIES 256u

/* How long a queue is waited for, and what was charged for memory: 2 s. */
#define RELEASE_STEP_NS 2000000
#define RELEASE_MS      2000

/* Linux 6.17; how many packets one sendto() sends. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

struct afxdp_library {
	void *xdp, *bpf;
#define DECLARE(name) __typeof__(&(name)) name;
	XDP_FUNCTIONS(DECLARE)
	BPF_FUNCTIONS(DECLARE)
};

static struct afxdp_library library;
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

static void *symbol(void *handle, const char *name, int *missing)
{
	void *found = dlsym(handle, name);

	*missing += !found;
	return found;
}

/* It tells people on stderr what is in errno too. */
static int say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int load_both(const char *port)
{
	int missing = 0;

	library.bpf = dlopen("libbpf.so.1", RTLD_NOW | RTLD_LOCAL);
	library.xdp = dlopen("libxdp.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library.bpf || !library.xdp)
		return pn_fail(ENOTSUP, "port %s needs libxdp and libbpf: %s", port, dlerror());
#define LOAD_XDP(name) \
	library.name = (__typeof__(library.name))symbol(library.xdp, #name, &missing);
#define LOAD_BPF(name) \
	library.name = (__typeof__(library.name))symbol(library.bpf, #name, &missing);
	XDP_FUNCTIONS(LOAD_XDP)
	BPF_FUNCTIONS(LOAD_BPF)
	if (missing)
		return pn_fail(ENOTSUP,
			"port %s: libxdp and libbpf lack %d functions: libxdp 1.2 and libbpf 1.0 "
			"or newer are needed",
			port, missing);
	library.libbpf_set_print(say_nothing);
	return 0;
}

int afxdp_load(const char *port, const struct afxdp_library **lib)
{
	static bool loaded;
	int ret = 0;

	pthread_mutex_lock(&library_lock);
	if (!loaded)
		ret = load_both(port);
	loaded = loaded || !ret;
	pthread_mutex_unlock(&library_lock);
	*lib = &library;
	return ret;
}

static int load_program(struct afxdp_port *port)
{
	/* return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS); */
	struct bpf_insn code[] = {
		{.code = BPF_LDX | BPF_MEM | BPF_W,
			.dst_reg = 2,
			.src_reg = 1,
			.off = offsetof(struct xdp_md, rx_queue_index)},
		{.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
		{.code = BPF_JMP | BPF_EXIT},
	};

	port->map = port->lib->bpf_map_create(
		BPF_MAP_TYPE_XSKMAP, "pn_xsks", sizeof(int), sizeof(int), MAP_ENTRIES, NULL);
	code[1].imm = port->map;
	if (port->map >= 0)
		port->program = port->lib->bpf_prog_load(BPF_PROG_TYPE_XDP, "pn_afxdp",
			"Dual BSD/GPL", code, PN_ARRAY_SIZE(code), NULL);
	if (port->map >= 0 && port->program >= 0)
		return 0;
	if (errno == EPERM)
		return pn_fail(EPERM,
			"port %s: an XDP program needs CAP_BPF and CAP_NET_ADMIN in the first user "
			"namespace: run it as root; a user namespace of its own does not do, "
			"afpacket works there",
			port->net.soft.name);
	return pn_fail(
		errno, "port %s: loading an XDP program: %s", port->net.soft.name, strerror(errno));
}

/* Hang the program on the interface. A negative errno with its text. */
static int hang(struct afxdp_port *port, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

	port->link =
		port->lib->bpf_link_create(port->program, port->net.netif.index, BPF_XDP, &opts);
	if (port->link >= 0)
		return 0;
	if (errno == EBUSY || errno == EEXIST)
		return pn_fail(EBUSY,
			"port %s: interface %s has an XDP program already; 'ip link set dev %s xdp "
			"off' removes one that no process holds",
			port->net.soft.name, port->net.netif.name, port->net.netif.name);
	return pn_fail(errno, "port %s: an XDP program cannot be attached to %s in %s mode: %s",
		port->net.soft.name, port->net.netif.name,
		flags & XDP_FLAGS_DRV_MODE ? "native" : "generic", strerror(errno));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t size = 1;

	while (size < n)
		size *= 2;
	return size;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait a little; false once that has been long enough. */
static bool wait_more(int64_t since)
{
	const struct timespec step = {.tv_nsec = RELEASE_STEP_NS};

	nanosleep(&step, NULL);
	return now_ms() - since < RELEASE_MS;
}

/* Does the limit allow it, once everything else has been given back? */
static bool is_allowed(uint64_t bytes)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_MEMLOCK, &limit) && bytes <= limit.rlim_cur;
}

/*
 * The kernel takes a charge back some time after the last socket that used the memory was closed
 * (xdp_umem.c:xdp_put_umem(), xsk_buff_pool.c:xp_put_pool() leave it to a worker): where the limit
 * is exactly what a port needs, one that is started anew, or tries another way, waits for its own.
 */
static int make_umem(struct afxdp_port *port)
{
	struct afxdp_umem *umem = &port->umem;
	int64_t since = now_ms();
	const struct xsk_umem_config config = {
		.fill_size = power_of_two(port->net.rxd),
		.comp_size = power_of_two(port->net.txd),
		.frame_size = umem->frame,
		.flags = umem->direct ? XDP_UMEM_UNALIGNED_CHUNK_FLAG : 0,
	};
	struct afxdp_queue *first = port->queues[0];
	int ret;

	do
		ret = port->lib->xsk_umem__create(&umem->xsk, umem->area, umem->size, &first->fill,
			&first->completed, &config);
	while (ret == -ENOBUFS && is_allowed(umem->size) && wait_more(since));
	return ret ? afxdp_umem_refused(port, ret) : 0;
}

static void wish(const struct afxdp_port *port, struct afxdp_queue *queue)
{
	int budget = (int)port->busy_budget, on = 1, usecs = 20, room = port->net.txd * 2048;
	int packets = port->net.txd < 32 ? 32 : port->net.txd;

	/* None of these is needed to work. */
	(void)setsockopt(queue->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets, sizeof(packets));
	(void)setsockopt(queue->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (!budget)
		return;
	queue->busy_poll =
		!setsockopt(queue->fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof(on)) &&
		!setsockopt(queue->fd, SOL_SOCKET, SO_BUSY_POLL, &usecs, sizeof(usecs)) &&
		!setsockopt(queue->fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget));
	if (!queue->busy_poll)
		pn_log(PN_LOG_WARNING, "port %s: no busy polling: %s", port->net.soft.name,
			strerror(errno));
}

/* A queue's frames: to receive into at once, and to send from. */
static int supply(struct afxdp_port *port, struct afxdp_queue *queue, unsigned int index)
{
	struct afxdp_umem *umem = &port->umem;
	uint32_t frame = index * ((uint32_t)port->net.rxd + port->net.txd), at;

	queue->wanting = index < port->net.rx_queues ? port->net.rxd : 0;
	if (umem->direct) {
		uint32_t wanted = queue->wanting;

		afxdp_fill(queue);
		return !queue->wanting
			       ? 0
			       : pn_fail(ENOBUFS,
					 "port %s: the pool has %u buffers too few for a receive "
					 "queue of %u",
					 port->net.soft.name, queue->wanting, wanted);
	}
	if (queue->wanting && xsk_ring_prod__reserve(&queue->fill, queue->wanting, &at)) {
		for (uint32_t i = 0; i < queue->wanting; i++, frame++) {
			umem->owners[frame] = AFXDP_RECEIVES;
			*xsk_ring_prod__fill_addr(&queue->fill, at + i) =
				umem->first + frame * umem->stride;
		}
		xsk_ring_prod__submit(&queue->fill, queue->wanting);
		queue->wanting = 0;
	}
	queue->spare = umem->spare + (size_t)index * port->net.txd;
	for (queue->spare_count = 0; queue->spare_count < port->net.txd; queue->spare_count++)
		queue->spare[queue->spare_count] = frame++;
	return 0;
}

static int create_socket(
	struct afxdp_port *port, unsigned int index, uint16_t bind_flags, uint32_t xdp_flags)
{
	struct afxdp_queue *queue = port->queues[index];
	const struct xsk_socket_config config = {
		.rx_size = power_of_two(port->net.rxd),
		.tx_size = power_of_two(port->net.txd),
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.xdp_flags = xdp_flags,
		.bind_flags = (uint16_t)(bind_flags | XDP_USE_NEED_WAKEUP),
	};

	return port->lib->xsk_socket__create_shared(&queue->socket, port->net.netif.name,
		(uint32_t)port->first_queue + index, port->umem.xsk, &queue->received, &queue->send,
		&queue->fill, &queue->completed, &config);
}

/*
 * The kernel lets go of a queue some time after the socket that had it was closed, as by a port
 * that is started anew: until then it says that the queue is taken.
 */
static int open_socket(
	struct afxdp_port *port, unsigned int index, uint16_t bind_flags, uint32_t xdp_flags)
{
	int64_t since = now_ms();
	int ret;

	do
		ret = create_socket(port, index, bind_flags, xdp_flags);
	while (ret == -EBUSY && wait_more(since));
	return ret;
}

static int finish_socket(struct afxdp_port *port, unsigned int index)
{
	struct afxdp_queue *queue = port->queues[index];
	int ret;

	queue->fd = port->lib->xsk_socket__fd(queue->socket);
	wish(port, queue);
	ret = supply(port, queue, index);
	if (ret || index >= port->net.rx_queues)
		return ret;
	ret = port->lib->xsk_socket__update_xskmap(queue->socket, port->map);
	if (ret)
		return pn_fail(-ret, "port %s: handing queue %u to its socket: %s",
			port->net.soft.name, index, strerror(-ret));
	return netport_add_fd(&port->net, queue->fd);
}

static void close_sockets(struct afxdp_port *port)
{
	struct xdp_statistics sum;

	afxdp_statistics(port, &sum);
	port->counted = sum;
	netport_drop_fds(&port->net);
	/* The first one is the memory's: it goes last. */
	for (unsigned int i = port->queue_count; i-- > 0;) {
		struct afxdp_queue *queue = port->queues[i];

		if (queue->socket)
			port->lib->xsk_socket__delete(queue->socket);
		queue->socket = NULL;
		queue->fd = -1;
	}
	if (port->umem.xsk)
		(void)port->lib->xsk_umem__delete(port->umem.xsk);
	port->umem.xsk = NULL;
}

/* One way to have it. */
struct way {
	enum afxdp_mode mode;
	uint32_t xdp_flags;
	uint16_t bind_flags;
	const char *name;
};

static const struct way ways[] = {
	{AFXDP_ZEROCOPY, XDP_FLAGS_DRV_MODE, XDP_ZEROCOPY, "native XDP, zero copy"},
	{AFXDP_NATIVE, XDP_FLAGS_DRV_MODE, XDP_COPY, "native XDP, copied by the kernel"},
	{AFXDP_GENERIC, XDP_FLAGS_SKB_MODE, XDP_COPY, "generic XDP, copied by the kernel"},
};

static int open_all(struct afxdp_port *port, const struct way *way)
{
	int ret;

	/* libxdp takes for granted that they are fresh. */
	for (unsigned int i = 0; i < port->queue_count; i++) {
		struct afxdp_queue *queue = port->queues[i];

		memset(&queue->fill, 0, sizeof(queue->fill));
		memset(&queue->completed, 0, sizeof(queue->completed));
		memset(&queue->received, 0, sizeof(queue->received));
		memset(&queue->send, 0, sizeof(queue->send));
	}
	ret = make_umem(port);
	for (unsigned int i = 0; i < port->queue_count && !ret; i++) {
		ret = open_socket(port, i, way->bind_flags, way->xdp_flags);
		if (ret)
			ret = pn_fail(-ret, "port %s: queue %u of %s as %s: %s",
				port->net.soft.name, (unsigned int)port->first_queue + i,
				port->net.netif.name, way->name,
				ret == -EBUSY ? "another socket has it" : strerror(-ret));
	}
	return ret;
}

static int try_way(struct afxdp_port *port, const struct way *way)
{
	int ret = afxdp_umem_prepare(port, way->mode == AFXDP_ZEROCOPY);

	if (!ret)
		ret = hang(port, way->xdp_flags);
	if (!ret)
		ret = open_all(port, way);
	if (!ret)
		return 0;
	close_sockets(port);
	close_fd(&port->link);
	afxdp_umem_release(port);
	return ret;
}

/* Would another way do, where this one did not? */
static bool is_final(int err)
{
	return err == -ENOMEM || err == -EPERM || err == -EBUSY || err == -ENODEV;
}

int afxdp_attach(struct afxdp_port *port)
{
	const struct way *way = NULL;
	int ret = load_program(port);

	if (ret)
		return ret;
	ret = -EOPNOTSUPP;
	for (size_t i = 0; i < PN_ARRAY_SIZE(ways) && ret && !is_final(ret); i++) {
		if (port->mode != AFXDP_AUTO && port->mode != ways[i].mode)
			continue;
		way = &ways[i];
		ret = try_way(port, way);
	}
	if (ret)
		return ret;
	port->way = way->name;
	for (unsigned int i = 0; i < port->queue_count && !ret; i++)
		ret = finish_socket(port, i);
	return ret;
}

void afxdp_note(struct afxdp_port *port)
{
	snprintf(port->net.note, sizeof(port->net.note), "%s; %s%s%s", port->way,
		port->umem.direct ? "frames are the pool's buffers"
				  : "frames are the port's, copied",
		port->queues[0]->busy_poll ? "; busy polling" : "",
		port->deferred ? ", interrupts deferred" : "");
}

void afxdp_detach(struct afxdp_port *port)
{
	close_sockets(port);
	close_fd(&port->link);
	close_fd(&port->program);
	close_fd(&port->map);
}

void afxdp_statistics(struct afxdp_port *port, struct xdp_statistics *sum)
{
	*sum = port->counted;
	for (unsigned int i = 0; i < port->queue_count; i++) {
		const struct afxdp_queue *queue = port->queues[i];
		struct xdp_statistics now = {0};
		socklen_t size = sizeof(now);

		if (!queue || !queue->socket ||
			getsockopt(port->lib->xsk_socket__fd(queue->socket), SOL_XDP,
				XDP_STATISTICS, &now, &size))
			continue;
		sum->rx_dropped += now.rx_dropped;
		sum->rx_invalid_descs += now.rx_invalid_descs;
		sum->tx_invalid_descs += now.tx_invalid_descs;
		sum->rx_ring_full += now.rx_ring_full;
		sum->rx_fill_ring_empty_descs += now.rx_fill_ring_empty_descs;
		sum->tx_ring_empty_descs += now.tx_ring_empty_descs;
	}
}
