/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ioctls of each operation, as a worker makes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "charges.h"
#include "iommufd_abi.h"

#define PAGE 4096u

static int result(long ret)
{
	return ret < 0 ? errno : 0;
}

/* A number that is not negative, which some ioctls look at first, and not open either. */
static int number_of(int fd)
{
	return fd < 0 ? 9999 : fd;
}

static uint64_t vaddr(const struct table *table, const struct pn_model_op *op)
{
	return (uint64_t)(uintptr_t)table->area[op->area] + op->first * PAGE;
}

static uint32_t ioas_flags(const struct pn_model_op *op)
{
	return IOMMUFD_MAP_FIXED_IOVA | (op->prot & PN_MODEL_READ ? IOMMUFD_MAP_READABLE : 0) |
	       (op->prot & PN_MODEL_WRITE ? IOMMUFD_MAP_WRITEABLE : 0);
}

static uint32_t container_flags(const struct pn_model_op *op)
{
	return (op->prot & PN_MODEL_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
	       (op->prot & PN_MODEL_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0);
}

static int map_container(const struct table *table, const struct pn_model_op *op, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
		.flags = flags,
		.vaddr = vaddr(table, op),
		.iova = op->iova,
		.size = op->pages * PAGE};

	return result(ioctl(table->context[op->context], VFIO_IOMMU_MAP_DMA, &map));
}

static int map_native(
	const struct shared *shared, const struct table *table, const struct pn_model_op *op)
{
	struct iommufd_ioas_map map = {.size = sizeof(map),
		.flags = ioas_flags(op),
		.ioas_id = shared->ioas[op->context][op->space],
		.user_va = vaddr(table, op),
		.length = op->pages * PAGE,
		.iova = op->iova};

	return result(ioctl(table->context[op->context], IOMMUFD_IOAS_MAP, &map));
}

static int map_file(
	const struct shared *shared, const struct table *table, const struct pn_model_op *op)
{
	struct iommufd_ioas_map_file map = {.size = sizeof(map),
		.flags = ioas_flags(op),
		.ioas_id = shared->ioas[op->context][op->space],
		.fd = -1,
		.length = op->pages * PAGE,
		.iova = op->iova};

	return result(ioctl(table->context[op->context], IOMMUFD_IOAS_MAP_FILE, &map));
}

static int unmap_container(
	const struct table *table, const struct pn_model_op *op, uint32_t flags, uint64_t *bytes)
{
	bool all = op->pages == PN_MODEL_ALL;
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap),
		.flags = flags | (all ? VFIO_DMA_UNMAP_FLAG_ALL : 0),
		.iova = all ? 0 : op->iova,
		.size = all ? 0 : op->pages * PAGE};
	int err = result(ioctl(table->context[op->context], VFIO_IOMMU_UNMAP_DMA, &unmap));

	*bytes = err ? 0 : unmap.size;
	return err;
}

static int unmap_native(const struct shared *shared, const struct table *table,
	const struct pn_model_op *op, uint64_t *bytes)
{
	bool all = op->pages == PN_MODEL_ALL;
	struct iommufd_ioas_unmap unmap = {.size = sizeof(unmap),
		.ioas_id = shared->ioas[op->context][op->space],
		.iova = all ? 0 : op->iova,
		.length = all ? UINT64_MAX : op->pages * PAGE};
	int err = result(ioctl(table->context[op->context], IOMMUFD_IOAS_UNMAP, &unmap));

	*bytes = err ? 0 : unmap.length;
	return err;
}

static int copy(
	const struct shared *shared, const struct table *table, const struct pn_model_op *op)
{
	struct iommufd_ioas_copy copy = {.size = sizeof(copy),
		.flags = ioas_flags(op),
		.dst_ioas_id = shared->ioas[op->context][op->space],
		.src_ioas_id = shared->ioas[op->context][op->from],
		.length = op->pages * PAGE,
		.dst_iova = op->iova,
		.src_iova = op->from_iova};

	return result(ioctl(table->context[op->context], IOMMUFD_IOAS_COPY, &copy));
}

static int call_map(struct shared *shared, const struct table *table, const struct pn_model_op *op,
	uint64_t *bytes)
{
	bool native = shared->path[op->context] == PN_MODEL_NATIVE;
	struct iommufd_ioas_change_process change = {.size = sizeof(change)};

	switch (op->what) {
	case PN_MODEL_MAP:
		return native ? map_native(shared, table, op)
			      : map_container(table, op, container_flags(op));
	case PN_MODEL_MAP_FILE:
		return map_file(shared, table, op);
	case PN_MODEL_UNMAP:
		return native ? unmap_native(shared, table, op, bytes)
			      : unmap_container(table, op, 0, bytes);
	case PN_MODEL_COPY:
		return copy(shared, table, op);
	case PN_MODEL_VADDR_DROP:
		return unmap_container(table, op, VFIO_DMA_UNMAP_FLAG_VADDR, bytes);
	case PN_MODEL_VADDR_GIVE:
		return map_container(table, op, VFIO_DMA_MAP_FLAG_VADDR);
	case PN_MODEL_CHANGE_PROCESS:
		return result(
			ioctl(table->context[op->context], IOMMUFD_IOAS_CHANGE_PROCESS, &change));
	default:
		return -1;
	}
}

static int open_context(struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	bool container = op->flag || op->path == PN_MODEL_TYPE1;
	int fd = open(container ? "/dev/vfio/vfio" : "/dev/iommu", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno;
	table->context[op->context] = fd;
	shared->path[op->context] = op->path;
	return 0;
}

static int open_group(
	const struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	int context = number_of(table->context[op->context]), err;
	int fd = open(shared->group[op->device], O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno;
	err = result(ioctl(fd, VFIO_GROUP_SET_CONTAINER, &context));
	/* Of type1, the first group has the driver set; a second time is refused. */
	if (!err && shared->path[op->context] == PN_MODEL_TYPE1) {
		err = result(ioctl(context, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
		if (err == EINVAL && !ioctl(context, VFIO_IOMMU_GET_INFO, &info))
			err = 0;
	}
	if (err)
		close(fd);
	else
		table->group[op->device] = fd;
	return err;
}

static int open_node(const struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	struct iommufd_device_bind bind = {
		.argsz = sizeof(bind), .iommufd = number_of(table->context[op->context])};
	int fd = open(shared->node[op->device], O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		return errno;
	err = result(ioctl(fd, IOMMUFD_DEVICE_BIND, &bind));
	if (err)
		close(fd);
	else
		table->device[op->device] = fd;
	return err;
}

static int open_device(
	const struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	int fd;

	if (shared->path[op->context] == PN_MODEL_NATIVE)
		return open_node(shared, table, op);
	fd = ioctl(table->group[op->device], VFIO_GROUP_GET_DEVICE_FD, shared->address[op->device]);
	if (fd < 0)
		return errno;
	table->device[op->device] = fd;
	return 0;
}

static int close_one(int *fd)
{
	int err = result(close(*fd));

	*fd = -1;
	return err;
}

static int new_space(struct shared *shared, const struct table *table, const struct pn_model_op *op)
{
	struct iommufd_ioas_alloc alloc = {.size = sizeof(alloc)};

	if (ioctl(table->context[op->context], IOMMUFD_IOAS_ALLOC, &alloc))
		return errno;
	shared->ioas[op->context][op->space] = alloc.out_ioas_id;
	return 0;
}

static int end_space(struct shared *shared, const struct table *table, const struct pn_model_op *op)
{
	uint32_t *id = &shared->ioas[op->context][op->space];
	struct iommufd_destroy destroy = {.size = sizeof(destroy), .id = *id};

	if (ioctl(table->context[op->context], IOMMUFD_DESTROY, &destroy))
		return errno;
	*id = UINT32_MAX; /* no object has this */
	return 0;
}

static int set_mode(const struct table *table, const struct pn_model_op *op)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_SET,
		.val64 = op->mode};

	return result(ioctl(table->context[op->context], IOMMUFD_OPTION, &option));
}

static int attach(const struct shared *shared, const struct table *table,
	const struct pn_model_op *op, uint32_t context)
{
	struct iommufd_device_attach attach = {
		.argsz = sizeof(attach), .pt_id = shared->ioas[context][op->space]};

	return result(ioctl(table->device[op->device], IOMMUFD_DEVICE_ATTACH, &attach));
}

static int call_device(struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	struct iommufd_device_detach detach = {.argsz = sizeof(detach)};

	switch (op->what) {
	case PN_MODEL_CONTEXT:
		return open_context(shared, table, op);
	case PN_MODEL_CONTEXT_CLOSE:
		return close_one(&table->context[op->context]);
	case PN_MODEL_RLIMIT_MODE:
		return set_mode(table, op);
	case PN_MODEL_SPACE:
		return new_space(shared, table, op);
	case PN_MODEL_SPACE_END:
		return end_space(shared, table, op);
	case PN_MODEL_GROUP:
		return open_group(shared, table, op);
	case PN_MODEL_GROUP_CLOSE:
		return close_one(&table->group[op->device]);
	case PN_MODEL_DEVICE:
		return open_device(shared, table, op);
	case PN_MODEL_DEVICE_CLOSE:
		return close_one(&table->device[op->device]);
	case PN_MODEL_ATTACH:
		return attach(shared, table, op, shared->bound_to[op->device]);
	case PN_MODEL_DETACH:
		return result(ioctl(table->device[op->device], IOMMUFD_DEVICE_DETACH, &detach));
	default:
		return -1;
	}
}

/* --- who the process is */

static void capabilities(struct __user_cap_data_struct data[2], bool set)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

	if (syscall(set ? SYS_capset : SYS_capget, &header, data))
		_exit(9);
}

/* The model's capabilities, and CAP_SETUID and CAP_NET_RAW, which it does not look at. */
void set_effective(uint32_t caps)
{
	struct __user_cap_data_struct data[2];

	capabilities(data, false);
	data[0].effective = CAP_TO_MASK(CAP_SETUID) | CAP_TO_MASK(CAP_NET_RAW);
	if (caps & PN_MODEL_IPC_LOCK)
		data[0].effective |= CAP_TO_MASK(CAP_IPC_LOCK);
	if (caps & PN_MODEL_SYS_RESOURCE)
		data[0].effective |= CAP_TO_MASK(CAP_SYS_RESOURCE);
	data[0].effective &= data[0].permitted;
	data[1].effective = 0;
	capabilities(data, true);
}

static int set_caps(struct table *table, const struct pn_model_op *op)
{
	struct __user_cap_data_struct data[2];

	capabilities(data, false);
	if ((op->caps & PN_MODEL_IPC_LOCK && !(data[0].permitted & CAP_TO_MASK(CAP_IPC_LOCK))) ||
		(op->caps & PN_MODEL_SYS_RESOURCE &&
			!(data[0].permitted & CAP_TO_MASK(CAP_SYS_RESOURCE))))
		return EPERM;
	set_effective(op->caps);
	table->caps = op->caps;
	if (!op->flag)
		return 0;
	capabilities(data, false);
	data[0].permitted = data[0].inheritable = data[0].effective;
	capabilities(data, true);
	return 0;
}

static int set_limit(const struct pn_model_op *op)
{
	struct rlimit limit = {
		op->soft == PN_MODEL_ALL ? RLIM_INFINITY : op->soft * PAGE,
		op->hard == PN_MODEL_ALL ? RLIM_INFINITY : op->hard * PAGE,
	};

	return result(setrlimit(RLIMIT_MEMLOCK, &limit));
}

static int call_identity(struct table *table, const struct pn_model_op *op)
{
	switch (op->what) {
	case PN_MODEL_SETUID:
		return result(syscall(SYS_setresuid, op->uid, op->uid, -1));
	case PN_MODEL_SETEUID:
		return result(syscall(SYS_setresuid, -1, op->uid, -1));
	case PN_MODEL_LIMIT:
		return set_limit(op);
	case PN_MODEL_CAPS:
		return set_caps(table, op);
	case PN_MODEL_USERNS:
		return result(unshare(CLONE_NEWUSER));
	default:
		return -1;
	}
}

int call_kernel(
	struct shared *shared, uint32_t process, const struct pn_model_op *op, uint64_t *bytes)
{
	struct table *table = &shared->of[process];
	int err = call_memory(shared, process, op);

	*bytes = 0;
	if (err < 0)
		err = call_other(shared, process, op);
	if (err < 0)
		err = call_map(shared, table, op, bytes);
	if (err < 0)
		err = call_device(shared, table, op);
	if (err < 0)
		err = call_identity(table, op);
	return err < 0 ? ENOSYS : err;
}
