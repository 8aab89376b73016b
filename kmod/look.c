// SPDX-License-Identifier: GPL-2.0-only
/*
 * The counters of a process, and what the pages of a range are.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/pfn.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "look.h"
#include "owner.h"
#include "pages.h"

static u64 limit_of(unsigned long limit)
{
	return limit == RLIM_INFINITY ? U64_MAX : limit;
}

static void counters_of_mm(struct mm_struct *mm, struct pinion_counters *arg)
{
	if (!mm) {
		arg->flags |= PINION_COUNTERS_NO_MM;
		return;
	}
	arg->locked_vm = READ_ONCE(mm->locked_vm);
	arg->pinned_vm = atomic64_read(&mm->pinned_vm);
	arg->module_locked_vm = pinion_mm_pages(mm);
}

static void counters_of_cred(const struct cred *cred, struct pinion_counters *arg)
{
	arg->uid = from_kuid_munged(current_user_ns(), cred->uid);
	if (!PINION_HAVE_USER_LOCKED_VM)
		arg->flags |= PINION_COUNTERS_NO_USER;
	arg->user_locked_vm = pinion_user_locked_vm(cred->user);
	arg->module_user_locked_vm = pinion_user_pages(cred->user);
	arg->ucounts_memlock = get_rlimit_value(cred->ucounts, UCOUNT_RLIMIT_MEMLOCK);
	/* What capable() says, without marking the process as one that used it. */
	if (cred->user_ns == &init_user_ns && cap_raised(cred->cap_effective, CAP_IPC_LOCK))
		arg->flags |= PINION_COUNTERS_EXEMPT;
}

static void counters_of_task(struct task_struct *task, const struct cred *cred,
			     struct pinion_counters *arg)
{
	counters_of_cred(cred, arg);
	arg->limit = limit_of(task_rlimit(task, RLIMIT_MEMLOCK));
	arg->limit_max = limit_of(task_rlimit_max(task, RLIMIT_MEMLOCK));
}

/*
 * The counters of a memory map are in /proc/PID/status for everyone; what is not is about the real
 * uid. So that is what must be the caller's own.
 */
static bool may_look(const struct cred *cred)
{
	return uid_eq(cred->uid, current_uid()) || ns_capable(cred->user_ns, CAP_SYS_PTRACE);
}

static int counters_of_pid(struct pinion_counters *arg)
{
	struct pid *pid = arg->pid > 0 ? find_get_pid(arg->pid) : NULL;
	struct task_struct *task = pid ? get_pid_task(pid, PIDTYPE_PID) : NULL;
	const struct cred *cred;
	struct mm_struct *mm;
	int ret = 0;

	put_pid(pid);
	if (!task)
		return -ESRCH;
	cred = get_task_cred(task);
	if (!may_look(cred)) {
		ret = -EPERM;
		goto out;
	}
	counters_of_task(task, cred, arg);
	mm = get_task_mm(task);
	counters_of_mm(mm, arg);
	if (mm)
		mmput_async(mm);
out:
	put_cred(cred);
	put_task_struct(task);
	return ret;
}

int pinion_counters(struct pinion_counters *arg)
{
	struct pinion_counters in = *arg;

	memset(arg, 0, sizeof(*arg));
	arg->argsz = in.argsz;
	arg->flags = in.flags;
	arg->pid = in.pid;
	if (in.flags & ~PINION_COUNTERS_PID || in.uid)
		return -EINVAL;
	if (in.flags & PINION_COUNTERS_PID)
		return counters_of_pid(arg);
	if (in.pid)
		return -EINVAL;
	counters_of_task(current, current_cred(), arg);
	counters_of_mm(current->mm, arg);
	return 0;
}

/* The mapping that an address is in. */
struct place {
	unsigned long start;
	unsigned long end; /* 0: none looked up yet */
	unsigned long vm_flags; /* 0: no mapping */
	bool anonymous;
};

static void look_up(unsigned long addr, struct place *place)
{
	struct vm_area_struct *vma;

	if (addr >= place->start && addr < place->end)
		return;
	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, addr);
	memset(place, 0, sizeof(*place));
	place->start = addr;
	place->end = ULONG_MAX;
	if (vma && vma->vm_start > addr) {
		place->end = vma->vm_start;
	} else if (vma) {
		place->end = vma->vm_end;
		place->vm_flags = vma->vm_flags;
		place->anonymous = vma_is_anonymous(vma);
	}
	mmap_read_unlock(current->mm);
}

/*
 * The huge zero page is not exported. In an anonymous mapping it is the one large folio that is
 * neither anonymous nor of hugetlbfs, which is never in one.
 */
static bool is_zero(struct page *page, struct folio *folio, const struct place *place)
{
	return is_zero_pfn(page_to_pfn(page)) ||
	       (place->anonymous && folio_test_large(folio) && !folio_test_anon(folio));
}

/* PageAnonExclusive() wants the head of a hugetlb folio. */
static bool is_shared_anon(struct page *page, struct folio *folio)
{
	return folio_test_anon(folio) &&
	       !PageAnonExclusive(folio_test_hugetlb(folio) ? &folio->page : page);
}

static u32 flags_of_page(struct page *page, bool writable, const struct place *place)
{
	struct folio *folio = page_folio(page);
	bool zero = is_zero(page, folio, place);
	u32 flags = PINION_PAGE_PRESENT;

	if (zero)
		flags |= PINION_PAGE_ZERO;
	else
		flags |= folio_test_anon(folio) ? PINION_PAGE_ANON : PINION_PAGE_FILE;
	if (folio_test_hugetlb(folio))
		flags |= PINION_PAGE_HUGETLB;
	if (folio_test_ksm(folio))
		flags |= PINION_PAGE_KSM;
	if (writable)
		flags |= PINION_PAGE_WRITABLE;
	else if (pinion_is_cow(place->vm_flags) &&
		 (!folio_test_anon(folio) || is_shared_anon(page, folio)))
		flags |= PINION_PAGE_UNSHARE;
	if (!zero && pinion_folio_pins(folio))
		flags |= PINION_PAGE_PINNED;
	return flags;
}

static void describe(struct page *page, bool writable, const struct place *place, bool phys,
		     struct pinion_page *out)
{
	struct folio *folio;

	memset(out, 0, sizeof(*out));
	out->node = NUMA_NO_NODE;
	if (place->vm_flags)
		out->flags = PINION_PAGE_MAPPED;
	if (place->vm_flags & (VM_PFNMAP | VM_IO | VM_MIXEDMAP))
		out->flags |= PINION_PAGE_IO;
	if (!page)
		return;
	folio = page_folio(page);
	out->flags |= flags_of_page(page, writable, place);
	out->node = folio_nid(folio);
	out->order = folio_order(folio);
	if (phys)
		out->phys = PFN_PHYS(page_to_pfn(page));
}

#define LOOK_BATCH 64

struct inspection {
	struct page *pages[LOOK_BATCH];
	struct page *writable[LOOK_BATCH];
	struct pinion_page out[LOOK_BATCH];
	struct place place;
};

static void inspect_batch(struct inspection *look, const struct pinion_range *range,
			  unsigned long done, unsigned long n, bool phys)
{
	unsigned long addr = range->start + (done << PAGE_SHIFT);
	unsigned long i;

	pinion_range_peek(range, done, n, look->pages);
	pinion_range_peek_writable(range, done, n, look->writable);
	for (i = 0; i < n; i++) {
		look_up(addr + (i << PAGE_SHIFT), &look->place);
		describe(look->pages[i], look->pages[i] && look->writable[i] == look->pages[i],
			 &look->place, phys, &look->out[i]);
	}
	pinion_put_pages(look->pages, n);
	pinion_put_pages(look->writable, n);
}

static int inspect(const struct pinion_range *range, struct pinion_page __user *to, bool phys)
{
	struct inspection *look = kzalloc(sizeof(*look), GFP_KERNEL_ACCOUNT);
	unsigned long done, n;
	int ret = look ? 0 : -ENOMEM;

	for (done = 0; !ret && done < range->pages; done += n) {
		n = min(range->pages - done, (unsigned long)LOOK_BATCH);
		/* Mappings change between batches as they like. */
		look->place.end = 0;
		inspect_batch(look, range, done, n, phys);
		if (copy_to_user(to + done, look->out, n * sizeof(look->out[0])))
			ret = -EFAULT;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kfree(look);
	return ret;
}

int pinion_inspect(struct file *node, const struct pinion_inspect *arg)
{
	bool phys = arg->flags & PINION_INSPECT_PHYS;
	struct pinion_range range;
	int ret;

	if (arg->flags & ~PINION_INSPECT_PHYS)
		return -EINVAL;
	/* Neither a privileged process that was handed the node, nor one that handed it on. */
	if (phys &&
	    (!capable(CAP_SYS_RAWIO) || !file_ns_capable(node, &init_user_ns, CAP_SYS_RAWIO)))
		return -EPERM;
	ret = pinion_range_get(&range, arg->addr, arg->length, false, 0, false);
	if (!ret)
		ret = inspect(&range, u64_to_user_ptr(arg->pages), phys);
	return ret;
}
