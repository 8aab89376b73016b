/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --wait: a loop that has found nothing for some rounds sleeps until one of its ports has
 * something.
 */
#include "testpmd.h"

/* How long it sleeps before it looks at the clock again. */
#define WAIT_MS 10

static uint64_t received(const struct core *core)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < core->count; i++)
		sum += core->streams[i].received;
	return sum;
}

static bool holds(const struct core *core)
{
	for (unsigned int i = 0; i < core->count; i++) {
		if (core->streams[i].held)
			return true;
	}
	return false;
}

void waiter_init(struct waiter *waiter, const struct core *core)
{
	const struct options *o = &core->t->options;

	*waiter = (struct waiter){.on = o->wait && !o->mode->generates};
	/* Streams of one queue after the other: then their ports come again. */
	waiter->count = core->count < core->t->port_count ? core->count : core->t->port_count;
	for (unsigned int i = 0; waiter->on && i < waiter->count; i++)
		waiter->ports[i] = core->streams[i].rx;
}

void waiter_sleep(struct waiter *waiter, const struct core *core)
{
	uint64_t now = received(core);
	struct pn_port_link link;
	bool idle = now == waiter->received && !holds(core);

	waiter->received = now;
	if (!idle)
		return;
	/* News of links are heard here, or they would wake each time. */
	for (unsigned int i = 0; i < waiter->count; i++)
		(void)pn_port_get_link(waiter->ports[i], &link);
	(void)pn_port_wait(waiter->ports, waiter->count, WAIT_MS);
}
