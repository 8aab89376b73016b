/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring's fixed buffers: the ring remembers whose they are to be, and whether it was exempt.
 */
#include "model_priv.h"

static bool ring_known(const struct pn_model *model, uint32_t ring)
{
	if (ring < model->size.rings && model->ring[ring].used)
		return true;
	pn_fail(EINVAL, "there is no ring %u", ring);
	return false;
}

/* io_uring/io_uring.c: io_uring_create() */
int op_ring(struct pn_model *model, const struct pn_model_op *op)
{
	const struct process *process = &model->process[op->process];

	if (op->ring >= model->size.rings || model->ring[op->ring].used)
		return pn_fail(EINVAL, "ring %u is there already, or cannot be", op->ring);
	model->ring[op->ring] = (struct ring){.used = true,
		.exempt = capable(model, op->process, PN_MODEL_IPC_LOCK),
		.mm = process->mm,
		.uid = process->uid};
	model->mm[process->mm].refs++;
	file_hold(model, PN_MODEL_FILE_RING, op->ring, op->process);
	return 0;
}

/* io_account_mem(): since 7.2 one that is exempt is not counted at all */
static void move(struct pn_model *model, const struct ring *ring, int64_t pages)
{
	if (ring->exempt && model->kernel >= PN_MODEL_KERNEL(7, 2))
		return;
	if (!ring->exempt)
		counter_add(model, PN_MODEL_USER_LOCKED, 0, ring->uid, pages);
	counter_add(model, PN_MODEL_MM_PINNED, ring->mm, 0, pages);
}

static void unregister(struct pn_model *model, struct ring *ring)
{
	move(model, ring, -(int64_t)ring->charged);
	ring->charged = 0;
	ring->registered = false;
}

void ring_release(struct pn_model *model, uint32_t ring)
{
	struct ring *at = &model->ring[ring];

	unregister(model, at);
	mm_put(model, at->mm);
	*at = (struct ring){0};
}

int op_ring_close(struct pn_model *model, const struct pn_model_op *op)
{
	if (!ring_known(model, op->ring))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_RING, op->ring, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_RING, op->ring, op->process);
	return 0;
}

/* A page of a compound page is charged with all of it, once a ring (io_buffer_account_pin()). */
static uint64_t charge_of(const struct area *area, uint64_t first, uint64_t pages)
{
	bool compound = area->memory == PN_MODEL_HUGETLB || area->memory == PN_MODEL_THP;

	if (!compound)
		return pages;
	return ((first + pages - 1) / area->page - first / area->page + 1) * area->page;
}

/* Buffer by buffer, up to the first that does not fit. */
static uint64_t brought_in(
	const struct pn_model *model, const struct pn_model_op *op, uint32_t uid, uint64_t all)
{
	uint64_t soft = model->process[op->process].soft;
	uint64_t now = counter_of(model, PN_MODEL_USER_LOCKED, 0, uid);
	uint64_t left = soft > now ? soft - now : 0;
	uint64_t pages = (left / op->pages + 1) * op->pages;

	return pages < all ? pages : all;
}

/* io_uring/rsrc.c: io_sqe_buffers_register(): pinned first, for writing, counted then */
int op_ring_register(struct pn_model *model, const struct pn_model_op *op)
{
	uint32_t mm = model->process[op->process].mm;
	struct area *area = area_find(model, mm, op->area);
	struct ring *ring;
	uint64_t pages, all;
	bool fit;
	int err;

	if (!ring_known(model, op->ring))
		return -EINVAL;
	ring = &model->ring[op->ring];
	all = op->pages <= UINT32_MAX ? op->pages * (op->mode ? op->mode : 1) : UINT64_MAX;
	if (!area || !area_has(area, op->first, all))
		return pn_fail(
			EINVAL, "process %u has no such pages in area %u", op->process, op->area);
	if (!file_held(model, PN_MODEL_FILE_RING, op->ring, op->process))
		return refuse(model, EBADF);
	if (ring->registered)
		return refuse(model, EBUSY);
	err = area_pin_errno(model, area, op->first, true);
	if (err)
		return refuse(model, err);
	pages = charge_of(area, op->first, all);
	/* The limit is that of who registers, the counter that of who made the ring. */
	fit = within_limit(model, mm, ring->exempt, PN_MODEL_USER_LOCKED, 0, ring->uid, pages);
	if (area_touch(model, area, op->first, fit ? all : brought_in(model, op, ring->uid, all)))
		return -ENOBUFS;
	if (!fit)
		return refuse(model, ENOMEM);
	ring->registered = true;
	ring->charged = pages;
	move(model, ring, (int64_t)pages);
	return 0;
}

int op_ring_unregister(struct pn_model *model, const struct pn_model_op *op)
{
	if (!ring_known(model, op->ring))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_RING, op->ring, op->process))
		return refuse(model, EBADF);
	if (!model->ring[op->ring].registered)
		return refuse(model, ENXIO);
	unregister(model, &model->ring[op->ring]);
	return 0;
}
