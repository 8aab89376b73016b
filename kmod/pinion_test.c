// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: the floor that PINION_PIN is measured against, a bare loop of pin_user_pages_fast();
 * and pages with as many references as one wants.
 */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "pages.h"
#include "pinion_test.h"

static int pin_floor(struct pinion_test_floor *arg, struct page **pages)
{
	unsigned long total = arg->length >> PAGE_SHIFT, done;
	ktime_t start = ktime_get();
	int n, ret = 0;

	for (done = 0; done < total; done += n) {
		n = pin_user_pages_fast(arg->addr + (done << PAGE_SHIFT),
					min(total - done, (unsigned long)PINION_BATCH),
					FOLL_LONGTERM | FOLL_WRITE, pages + done);
		if (n <= 0) {
			ret = n ? n : -EFAULT;
			break;
		}
	}
	arg->ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	unpin_user_pages(pages, done);
	return ret;
}

/* So many that few more fit, without the hours that as many pins would take. */
static int refer(const struct pinion_test_references *arg)
{
	struct page *page;
	int n = get_user_pages_fast(arg->addr, 1, FOLL_WRITE, &page);

	if (n != 1)
		return n < 0 ? n : -EFAULT;
	folio_ref_add(page_folio(page), arg->count);
	put_page(page);
	return 0;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long user_arg)
{
	void __user *user = (void __user *)user_arg;
	struct pinion_test_references references;
	struct pinion_test_floor arg;
	struct page **pages;
	int ret;

	if (command == PINION_TEST_NOTHING)
		return 0;
	if (command == PINION_TEST_REFERENCES) {
		if (copy_from_user(&references, user, sizeof(references)))
			return -EFAULT;
		return refer(&references);
	}
	if (command != PINION_TEST_FLOOR)
		return -ENOTTY;
	if (copy_from_user(&arg, user, sizeof(arg)))
		return -EFAULT;
	pages = kvmalloc_array(arg.length >> PAGE_SHIFT, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	ret = pin_floor(&arg, pages);
	kvfree(pages);
	if (!ret && copy_to_user(user, &arg, sizeof(arg)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice test_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pinion_test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);
MODULE_DESCRIPTION("What pinion.ko is measured against");
MODULE_LICENSE("GPL");
