/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts and devices: who is attached to what, and what their files' last close does.
 */
#include "model_priv.h"

static bool context_known(const struct pn_model *model, uint32_t context)
{
	if (context < model->size.contexts && model->context[context].used)
		return true;
	pn_fail(EINVAL, "there is no context %u", context);
	return false;
}

static bool device_valid(const struct pn_model *model, uint32_t device)
{
	if (device < model->size.devices)
		return true;
	pn_fail(EINVAL, "the charge model has %u devices", model->size.devices);
	return false;
}

static bool space_valid(const struct context *context, uint32_t space)
{
	if (space < PN_MODEL_SPACES && (context->path == PN_MODEL_NATIVE || !space))
		return true;
	pn_fail(EINVAL, "a context of this kind has no space %u", space);
	return false;
}

/* VFIO groups and bound devices hold the file of their context (iommufd_ctx_from_file() and
 * vfio_container_get()). */
static void context_end_if_unused(struct pn_model *model, uint32_t context)
{
	struct context *at = &model->context[context];

	if (at->users || file_any(model, PN_MODEL_FILE_CONTEXT, context))
		return;
	for (uint32_t space = 0; space < PN_MODEL_SPACES; space++)
		space_drop(model, context, space);
	*at = (struct context){0};
}

void context_release(struct pn_model *model, uint32_t context)
{
	context_end_if_unused(model, context);
}

int op_context(struct pn_model *model, const struct pn_model_op *op)
{
	struct context *context;

	if (op->context >= model->size.contexts || model->context[op->context].used ||
		(unsigned int)op->path > PN_MODEL_NATIVE)
		return pn_fail(EINVAL, "context %u is there already, or cannot be", op->context);
	context = &model->context[op->context];
	*context = (struct context){.used = true,
		.path = op->path,
		/* iommufd/main.c: iommufd_fops_open() of vfio_misc_dev */
		.mm_mode = op->flag && op->path != PN_MODEL_TYPE1,
		.entries = 65535}; /* dma_entry_limit */
	file_hold(model, PN_MODEL_FILE_CONTEXT, op->context, op->process);
	return 0;
}

int op_context_close(struct pn_model *model, const struct pn_model_op *op)
{
	if (!context_known(model, op->context))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_CONTEXT, op->context, op->process);
	return 0;
}

/* iommufd/ioas.c: iommufd_option_rlimit_mode() */
int op_rlimit_mode(struct pn_model *model, const struct pn_model_op *op)
{
	struct context *context;

	if (!context_known(model, op->context))
		return -EINVAL;
	context = &model->context[op->context];
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	if (context->path == PN_MODEL_TYPE1)
		return refuse(model, EINVAL); /* a container without a driver knows no such ioctl */
	if (!capable(model, op->process, PN_MODEL_SYS_RESOURCE))
		return refuse(model, EPERM);
	for (uint32_t i = 0; i < PN_MODEL_SPACES; i++)
		if (context->exists[i])
			return refuse(model, EBUSY);
	if (context->bound)
		return refuse(model, EBUSY);
	if (op->mode > 1)
		return refuse(model, EINVAL);
	context->mm_mode = op->mode;
	return 0;
}

int op_space(struct pn_model *model, const struct pn_model_op *op)
{
	if (!context_known(model, op->context) ||
		!space_valid(&model->context[op->context], op->space))
		return -EINVAL;
	if (model->context[op->context].path != PN_MODEL_NATIVE ||
		model->context[op->context].exists[op->space])
		return pn_fail(EINVAL, "space %u is there already", op->space);
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	model->context[op->context].exists[op->space] = true;
	return 0;
}

int op_space_end(struct pn_model *model, const struct pn_model_op *op)
{
	struct context *context;

	if (!context_known(model, op->context) ||
		!space_valid(&model->context[op->context], op->space))
		return -EINVAL;
	context = &model->context[op->context];
	if (context->path != PN_MODEL_NATIVE)
		return pn_fail(EINVAL, "only native contexts end their spaces");
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	if (!context->exists[op->space])
		return refuse(model, ENOENT);
	if (context->attached[op->space])
		return refuse(model, EBUSY);
	space_drop(model, op->context, op->space);
	context->exists[op->space] = false;
	return 0;
}

/* vfio/group.c: vfio_group_ioctl_set_container(); the first of a type1 container is followed by
 * VFIO_SET_IOMMU */
int op_group(struct pn_model *model, const struct pn_model_op *op)
{
	struct context *context;
	struct device *device;

	if (!context_known(model, op->context) || !device_valid(model, op->device))
		return -EINVAL;
	context = &model->context[op->context];
	device = &model->device[op->device];
	if (context->path == PN_MODEL_NATIVE)
		return pn_fail(EINVAL, "a native context takes no groups");
	/* vfio_group_fops_open(): a group is opened once */
	if (device->group != NONE || (device->context != NONE && device->native))
		return refuse(model, EBUSY);
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	/* vfio_iommu_type1_attach_group() */
	if (context->path == PN_MODEL_TYPE1 && context->vaddrs_gone)
		return refuse(model, EBUSY);
	context->users++;
	context->exists[0] = true;
	if (context->path == PN_MODEL_TYPE1)
		context->attached[0]++;
	device->group = op->context;
	file_hold(model, PN_MODEL_FILE_GROUP, op->device, op->process);
	return 0;
}

/* vfio_iommu_type1_detach_group(): the last one takes the driver and all mappings along */
static void group_leaves(struct pn_model *model, struct device *device)
{
	uint32_t context = device->group;
	struct context *at = &model->context[context];

	device->group = NONE;
	at->users--;
	if (at->path == PN_MODEL_TYPE1 && !--at->attached[0]) {
		space_drop(model, context, 0);
		at->exists[0] = false;
	}
	context_end_if_unused(model, context);
}

/* vfio_group_use_container(): with type1 a device's file holds the group's; with iommufd it does
 * not, and the device goes on when the group is closed, or opened anew. */
void group_release(struct pn_model *model, uint32_t device)
{
	struct device *at = &model->device[device];

	if (at->group == NONE)
		return;
	if (at->context == NONE || model->context[at->group].path == PN_MODEL_COMPAT)
		group_leaves(model, at);
}

static void detach(struct pn_model *model, struct device *device)
{
	struct context *context = &model->context[device->context];
	uint32_t space = device->space;

	if (space == NONE)
		return;
	device->space = NONE;
	if (!--context->attached[space])
		space_unpin(model, device->context, space);
}

void device_release(struct pn_model *model, uint32_t device)
{
	struct device *at = &model->device[device];
	uint32_t context = at->context;

	if (context == NONE)
		return;
	detach(model, at);
	at->context = NONE;
	if (model->context[context].path != PN_MODEL_TYPE1) {
		model->context[context].bound--;
		model->context[context].users--;
		context_end_if_unused(model, context);
	} else if (!file_any(model, PN_MODEL_FILE_GROUP, device)) {
		group_leaves(model, at);
	}
}

int op_group_close(struct pn_model *model, const struct pn_model_op *op)
{
	if (!device_valid(model, op->device))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_GROUP, op->device, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_GROUP, op->device, op->process);
	return 0;
}

/* A device joins a space; the first one has everything in it pinned. An errno. */
static int join(struct pn_model *model, struct device *device, uint32_t context, uint32_t space)
{
	int err = 0;

	if (!model->context[context].attached[space])
		err = space_pin(model, context, space);
	if (err)
		return err;
	model->context[context].attached[space]++;
	device->space = space;
	return 0;
}

static int open_native(struct pn_model *model, const struct pn_model_op *op, struct device *device)
{
	/* vfio_device_block_group() */
	if (device->group != NONE)
		return refuse(model, EBUSY);
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process))
		return refuse(model, EBADF);
	/* vfio_df_open(): once, by a node of its own */
	if (device->context != NONE)
		return refuse(model, EINVAL);
	device->context = op->context;
	device->native = true;
	model->context[op->context].users++;
	model->context[op->context].bound++;
	file_hold(model, PN_MODEL_FILE_DEVICE, op->device, op->process);
	return 0;
}

/* vfio/group.c: vfio_df_group_open() */
int op_device(struct pn_model *model, const struct pn_model_op *op)
{
	struct context *context;
	struct device *device;
	int err = 0;

	if (!context_known(model, op->context) || !device_valid(model, op->device))
		return -EINVAL;
	context = &model->context[op->context];
	device = &model->device[op->device];
	if (context->path == PN_MODEL_NATIVE)
		return open_native(model, op, device);
	if (!file_held(model, PN_MODEL_FILE_GROUP, op->device, op->process))
		return refuse(model, EBADF);
	if (device->group != op->context)
		return pn_fail(EINVAL, "device %u is not in context %u", op->device, op->context);
	if (device->context != NONE)
		return pn_fail(EOPNOTSUPP, "device %u is open already", op->device);
	if (context->path == PN_MODEL_COMPAT)
		err = join(model, device, op->context, 0);
	if (err)
		return refuse(model, err);
	if (context->path == PN_MODEL_COMPAT) {
		context->bound++;
		context->users++;
	}
	device->context = op->context;
	device->native = false;
	file_hold(model, PN_MODEL_FILE_DEVICE, op->device, op->process);
	return 0;
}

int op_device_close(struct pn_model *model, const struct pn_model_op *op)
{
	if (!device_valid(model, op->device))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_DEVICE, op->device, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_DEVICE, op->device, op->process);
	return 0;
}

static int native_device(struct pn_model *model, const struct pn_model_op *op)
{
	if (!device_valid(model, op->device))
		return -EINVAL;
	if (model->device[op->device].context == NONE || !model->device[op->device].native)
		return pn_fail(EINVAL, "device %u is not bound", op->device);
	return 0;
}

/* iommufd/device.c: attached already, it moves: the new space is pinned before the old one is let
 * go */
int op_attach(struct pn_model *model, const struct pn_model_op *op)
{
	int err = native_device(model, op);
	struct device *device;
	struct context *context;
	uint32_t old;

	if (err)
		return err;
	device = &model->device[op->device];
	context = &model->context[device->context];
	if (!space_valid(context, op->space))
		return -EINVAL;
	if (!file_held(model, PN_MODEL_FILE_DEVICE, op->device, op->process))
		return refuse(model, EBADF);
	if (!context->exists[op->space])
		return refuse(model, ENOENT);
	old = device->space;
	if (old == op->space)
		return 0;
	err = join(model, device, device->context, op->space);
	if (err)
		return refuse(model, err);
	if (old != NONE && !--context->attached[old])
		space_unpin(model, device->context, old);
	return 0;
}

int op_detach(struct pn_model *model, const struct pn_model_op *op)
{
	int err = native_device(model, op);

	if (err)
		return err;
	if (!file_held(model, PN_MODEL_FILE_DEVICE, op->device, op->process))
		return refuse(model, EBADF);
	detach(model, &model->device[op->device]);
	return 0;
}
