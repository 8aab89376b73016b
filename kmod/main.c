// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/pinion: arguments in, arguments out, and the handles of an open file. See pinion_uapi.h.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "compat.h"
#include "look.h"
#include "pin.h"
#include "trace.h"

#define MAX_HANDLES 65536

struct pinion_file {
	struct xarray handles;
};

/* What the caller sent, of the size that we know; *argsz is what it knows. */
static int copy_in(void *to, size_t size, const void __user *from, u32 *argsz)
{
	int ret;

	if (get_user(*argsz, (const u32 __user *)from))
		return -EFAULT;
	if (*argsz < size)
		return -EINVAL;
	if (*argsz > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(to, size, from, *argsz);
	if (!ret)
		*(u32 *)to = *argsz;
	return ret;
}

static long do_info(struct pinion_file *file, void __user *user)
{
	struct pinion_info arg;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (ret)
		return ret;
	if (arg.flags)
		return -EINVAL;
	arg = (struct pinion_info){
		.argsz = argsz,
		.version = PINION_API_VERSION,
		.batch = PINION_BATCH,
		.page_size = PAGE_SIZE,
		.max_handles = MAX_HANDLES,
	};
	if (PINION_HAVE_USER_LOCKED_VM)
		arg.features |= PINION_FEATURE_USER_CHARGE;
	if (PINION_HAVE_MEMFD_PIN_FOLIOS)
		arg.features |= PINION_FEATURE_MEMFD_FOLIOS;
	return copy_to_user(user, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static struct pinion_handle *find(struct pinion_file *file, u32 id)
{
	struct pinion_handle *handle;

	xa_lock(&file->handles);
	handle = xa_load(&file->handles, id);
	if (handle)
		kref_get(&handle->ref);
	xa_unlock(&file->handles);
	return handle;
}

/* The reference of the file, once: whoever gets the handle here puts it. */
static struct pinion_handle *take(struct pinion_file *file, u32 id)
{
	struct pinion_handle *handle;

	xa_lock(&file->handles);
	handle = xa_load(&file->handles, id);
	/* A place that is only taken, by a PIN that goes on, is not touched. */
	if (handle)
		__xa_erase(&file->handles, id);
	xa_unlock(&file->handles);
	return handle;
}

static long do_pin(struct pinion_file *file, void __user *user)
{
	const u32 known = PINION_PIN_WRITE | PINION_PIN_EXCLUSIVE | PINION_PIN_FD;
	struct pinion_handle *handle;
	struct pinion_pin arg;
	u32 argsz, id;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (ret)
		return ret;
	if (arg.flags & ~known || arg.handle || arg.reserved || arg.charged)
		return -EINVAL;
	/* The place first: what is pinned then has one. */
	ret = xa_alloc(&file->handles, &id, NULL, XA_LIMIT(1, MAX_HANDLES), GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	handle = pinion_handle_pin(&arg, &arg.charged);
	if (IS_ERR(handle)) {
		xa_erase(&file->handles, id);
		return PTR_ERR(handle);
	}
	handle->id = id;
	arg.handle = id;
	trace_pinion_pin(id, arg.flags, arg.addr, handle->pages, arg.charged);
	if (copy_to_user(user, &arg, sizeof(arg))) {
		xa_erase(&file->handles, id);
		pinion_handle_put(handle);
		return -EFAULT;
	}
	xa_store(&file->handles, id, handle, GFP_KERNEL_ACCOUNT);
	return 0;
}

static int unpin_all(struct pinion_file *file, struct pinion_unpin *arg)
{
	struct pinion_handle *handle;

	if (arg->offset || arg->length)
		return -EINVAL;
	handle = take(file, arg->handle);
	if (!handle)
		return -ENOENT;
	pinion_handle_drop(handle, &arg->unpinned, &arg->uncharged);
	pinion_handle_put(handle);
	return 0;
}

static int unpin_part(struct pinion_file *file, struct pinion_unpin *arg)
{
	struct pinion_handle *handle = find(file, arg->handle);
	bool empty;
	int ret;

	if (!handle)
		return -ENOENT;
	ret = pinion_handle_unpin(handle, arg->offset, arg->length, &arg->unpinned, &arg->uncharged,
				  &empty);
	/* With its last page the handle goes. Others may be quicker, or have taken its number. */
	if (!ret && empty && xa_cmpxchg(&file->handles, arg->handle, handle, NULL, 0) == handle)
		pinion_handle_put(handle);
	pinion_handle_put(handle);
	return ret;
}

static long do_unpin(struct pinion_file *file, void __user *user)
{
	struct pinion_unpin arg;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (ret)
		return ret;
	if (arg.flags & ~PINION_UNPIN_ALL || arg.reserved || arg.unpinned || arg.uncharged)
		return -EINVAL;
	ret = arg.flags & PINION_UNPIN_ALL ? unpin_all(file, &arg) : unpin_part(file, &arg);
	/* It is done: an error would say that it is not. The numbers are for who wants them. */
	if (!ret && copy_to_user(user, &arg, sizeof(arg)))
		return 0;
	return ret;
}

static long do_query(struct pinion_file *file, void __user *user)
{
	struct pinion_query arg, out;
	struct pinion_handle *handle;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (ret)
		return ret;
	if (arg.flags)
		return -EINVAL;
	handle = find(file, arg.handle);
	if (!handle)
		return -ENOENT;
	memset(&out, 0, sizeof(out));
	out.argsz = argsz;
	out.handle = arg.handle;
	pinion_handle_query(handle, &out);
	pinion_handle_put(handle);
	return copy_to_user(user, &out, sizeof(out)) ? -EFAULT : 0;
}

static long do_counters(struct pinion_file *file, void __user *user)
{
	struct pinion_counters arg;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (!ret)
		ret = pinion_counters(&arg);
	if (!ret && copy_to_user(user, &arg, sizeof(arg)))
		ret = -EFAULT;
	return ret;
}

static long do_inspect(struct file *node, void __user *user)
{
	struct pinion_inspect arg;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	return ret ? ret : pinion_inspect(node, &arg);
}

static long do_drain(struct pinion_file *file, void __user *user)
{
	struct pinion_drain arg;
	u32 argsz;
	int ret;

	ret = copy_in(&arg, sizeof(arg), user, &argsz);
	if (ret)
		return ret;
	ret = pinion_drain(&arg);
	if ((!ret || ret == -ETIMEDOUT || ret == -ERESTARTSYS) &&
	    copy_to_user(user, &arg, sizeof(arg)))
		ret = -EFAULT;
	return ret;
}

static long pinion_ioctl(struct file *node, unsigned int command, unsigned long user_arg)
{
	void __user *user = (void __user *)user_arg;
	struct pinion_file *file = node->private_data;
	bool changes = node->f_mode & FMODE_WRITE;

	/* A kernel thread that acts for a process has no memory map of its own to charge. */
	if (!current->mm)
		return -EINVAL;
	switch (command) {
	case PINION_INFO:
		return do_info(file, user);
	case PINION_PIN:
		return changes ? do_pin(file, user) : -EACCES;
	case PINION_UNPIN:
		return changes ? do_unpin(file, user) : -EACCES;
	case PINION_QUERY:
		return do_query(file, user);
	case PINION_COUNTERS:
		return do_counters(file, user);
	case PINION_INSPECT:
		return do_inspect(node, user);
	case PINION_DRAIN:
		return do_drain(file, user);
	default:
		return -ENOTTY;
	}
}

static int pinion_open(struct inode *inode, struct file *node)
{
	struct pinion_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return -ENOMEM;
	xa_init_flags(&file->handles, XA_FLAGS_ALLOC1 | XA_FLAGS_ACCOUNT);
	node->private_data = file;
	return nonseekable_open(inode, node);
}

/* Whoever closes it last, in whatever state its memory map is. */
static int pinion_release(struct inode *inode, struct file *node)
{
	struct pinion_file *file = node->private_data;
	struct pinion_handle *handle;
	unsigned long id;

	xa_for_each(&file->handles, id, handle) {
		xa_erase(&file->handles, id);
		pinion_handle_put(handle);
	}
	xa_destroy(&file->handles);
	kfree(file);
	return 0;
}

static const struct file_operations pinion_fops = {
	.owner = THIS_MODULE,
	.open = pinion_open,
	.release = pinion_release,
	.unlocked_ioctl = pinion_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice pinion_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pinion",
	.fops = &pinion_fops,
	.mode = 0600, /* the udev rule gives it to a group */
};

static int __init pinion_start(void)
{
	int ret;

	ret = pinion_pins_start();
	if (ret)
		return ret;
	pinion_table_start();
	ret = misc_register(&pinion_device);
	if (ret) {
		pinion_table_stop();
		pinion_pins_stop();
	}
	return ret;
}

static void __exit pinion_stop(void)
{
	misc_deregister(&pinion_device);
	pinion_table_stop();
	pinion_pins_stop();
}

module_init(pinion_start);
module_exit(pinion_stop);
MODULE_DESCRIPTION("Pins of user memory that are charged right, and the counters behind them");
MODULE_LICENSE("GPL");
MODULE_VERSION("1");
