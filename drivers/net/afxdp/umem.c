/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of an afxdp port. The kernel pins it and charges it to user->locked_vm, unless the
 * process has CAP_IPC_LOCK: it is in the ledger like any mapping, and a refusal is explained.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "afxdp.h"
#include "mem_priv.h"
#include "pins_priv.h"

#define FRAME_LEAST 2048u
#define FRAME_MOST  4096u

/* include/net/xdp_sock.h and net/xdp/xdp_umem.c:xdp_umem_account_pages(). */
static const struct pn_charge_rule rule = {
	.path = "afxdp",
	.accounting = "user",
	.counters = PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED),
	.exempt_counters = 0,
	.limited = PN_COUNTER_USER_LOCKED,
};

/* The pool's buffers as frames, in whole pages of its region. */
static void use_pool(struct afxdp_umem *umem, const struct pn_pool *pool)
{
	uintptr_t memory = (uintptr_t)pool->memory;
	uintptr_t start = pn_align_down(memory, PN_PAGE_4K);
	uintptr_t end = pn_align_up(memory + pool->count * pool->stride, PN_PAGE_4K);

	umem->direct = true;
	umem->area = (unsigned char *)start;
	umem->size = end - start;
	umem->first = memory - start + PN_BUF_META;
	umem->stride = pool->stride;
	umem->count = pool->count;
	umem->frame = pool->room;
}

static int use_own(struct afxdp_port *port)
{
	struct afxdp_umem *umem = &port->umem;
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	unsigned int queues = port->queue_count;
	struct pn_region_info info;
	int ret;

	umem->frame =
		port->net.soft.mtu + AFXDP_HEADROOM + 32 > FRAME_LEAST ? FRAME_MOST : FRAME_LEAST;
	umem->stride = umem->frame;
	umem->count = queues * ((uint32_t)port->net.rxd + port->net.txd);
	opts.page_size = PN_PAGE_4K;
	opts.name = "afxdp";
	ret = pn_region_create(&umem->own, (uint64_t)umem->count * umem->frame, &opts);
	if (ret)
		return pn_fail_prefix(ret, "port %s: ", port->net.soft.name);
	pn_region_get_info(umem->own, &info);
	umem->area = info.vaddr;
	umem->size = info.size;
	umem->spare = calloc((size_t)queues * port->net.txd, sizeof(*umem->spare));
	return umem->spare ? 0 : pn_fail(ENOMEM, "port %s: no memory", port->net.soft.name);
}

/*
 * Can its buffers be frames? With zero copy the card reaches a frame by one address: a buffer that
 * lies across two small pages would be passed over by the kernel, and never come back.
 */
static bool is_fit(const struct afxdp_port *port, bool zero_copy)
{
	const struct pn_pool *pool = port->net.soft.pool;
	struct pn_region_info region;

	pn_region_get_info(pn_heap_region(pool->heap, pool->memory), &region);
	return pool->room >= FRAME_LEAST && pool->room <= FRAME_MOST &&
	       pool->room >= port->net.soft.mtu + AFXDP_HEADROOM + 18 &&
	       (!zero_copy || region.page_size >= PN_PAGE_2M);
}

int afxdp_umem_prepare(struct afxdp_port *port, bool zero_copy)
{
	struct afxdp_umem *umem = &port->umem;
	const struct pn_pool *pool = port->net.soft.pool;
	int ret = 0;

	*umem = (struct afxdp_umem){0};
	if (is_fit(port, zero_copy))
		use_pool(umem, pool);
	else
		ret = use_own(port);
	if (!ret)
		umem->owners = calloc(umem->count, sizeof(*umem->owners));
	if (!ret && !umem->owners)
		ret = pn_fail(ENOMEM, "port %s: no memory for the owners of %" PRIu32 " frames",
			port->net.soft.name, umem->count);
	return ret;
}

int afxdp_umem_refused(struct afxdp_port *port, int err)
{
	const struct afxdp_umem *umem = &port->umem;
	struct pn_refused refused = {
		.what = "registering the packet memory with AF_XDP",
		.pages = umem->size / PN_PAGE_4K,
		.page_size = PN_PAGE_4K,
	};

	if (err == -ENOBUFS)
		return pn_fail_prefix(
			pn_explain_enomem(&rule, &refused), "port %s: ", port->net.soft.name);
	if (err == -EPERM)
		return netif_no_capability(port->net.soft.name, "an AF_XDP socket", "CAP_NET_RAW");
	return pn_fail(-err, "port %s: registering %" PRIu64 " bytes with AF_XDP: %s",
		port->net.soft.name, umem->size, strerror(-err));
}

void afxdp_umem_record(struct afxdp_port *port)
{
	struct afxdp_umem *umem = &port->umem;
	struct pn_ledger_owner owner = {
		.path = rule.path,
		.node = port->net.netif.name,
		.charge = &rule,
		.exempt = pn_exempt_now(),
	};
	struct pn_pin pin = {
		.vaddr = (uintptr_t)umem->area,
		.len = umem->size,
		.page_size = PN_PAGE_4K,
		.pages = umem->size / PN_PAGE_4K,
		.counters = owner.exempt ? rule.exempt_counters : rule.counters,
		.prot = PN_PROT_RW,
		.name = "umem",
	};
	uint32_t slot;

	if (pn_ledger_open(&umem->ledger, NULL, &owner)) {
		pn_log(PN_LOG_WARNING, "port %s: its memory is in no ledger: %s",
			port->net.soft.name, pn_error());
		return;
	}
	pn_ledger_devices(umem->ledger, 1, port->net.netif.name);
	pn_ledger_add(umem->ledger, &pin, &slot);
}

/* What the kernel had in its rings is nobody's now. */
static void give_back(struct afxdp_port *port)
{
	struct afxdp_umem *umem = &port->umem;

	for (uint32_t i = 0; umem->direct && umem->owners && i < umem->count; i++) {
		if (umem->owners[i] != AFXDP_OURS)
			pn_buf_free((struct pn_buf *)(void *)(umem->area + umem->first -
							      PN_BUF_META + i * umem->stride));
	}
}

void afxdp_umem_release(struct afxdp_port *port)
{
	struct afxdp_umem *umem = &port->umem;

	give_back(port);
	if (umem->ledger)
		pn_ledger_close(umem->ledger);
	if (umem->own)
		(void)pn_region_destroy(umem->own);
	free(umem->owners);
	free(umem->spare);
	*umem = (struct afxdp_umem){0};
}
