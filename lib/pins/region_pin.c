/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning a region by the companion module, with a ledger of its own, so that reports know what is
 * charged for it. kmod/README.md has the calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pinion_uapi.h"
#include "pins_priv.h"
#include "pn_region_pin.h"

/* In pages that a forked child finds zeroed. */
struct pn_pinned_region {
	bool mine;
	int node;
	uint32_t handle;
	struct pn_region *region;
	struct pn_ledger *ledger;
	uint32_t slot;
	struct pn_pin pin;
};

static const struct pn_charge_rule rules[] = {
	[PN_REGION_PIN_PROCESS] = {.path = PN_MODULE_PATH,
		.accounting = "process (mm)",
		.counters = PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED),
		.exempt_counters = PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED),
		.limited = PN_COUNTER_MM_LOCKED},
	[PN_REGION_PIN_USER] = {.path = PN_MODULE_PATH,
		.accounting = "user",
		.counters = PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) |
			    PN_COUNTER_BIT(PN_COUNTER_MM_PINNED),
		.exempt_counters = PN_COUNTER_BIT(PN_COUNTER_MM_PINNED),
		.limited = PN_COUNTER_USER_LOCKED},
};

static int open_node(struct pn_pinned_region *pin)
{
	pin->node = pn_module_open(O_RDWR);
	switch (pin->node < 0 ? pin->node : 0) {
	case 0:
		return 0;
	case -ENODEV:
		return pn_fail(ENODEV,
			"pinning region \"%s\" takes the companion module, which is not loaded "
			"(there is no " PN_MODULE_NODE "); as root: modprobe pinion",
			pin->region->name);
	case -EACCES:
		return pn_fail(EACCES,
			"pinning region \"%s\": " PN_MODULE_NODE
			" may not be opened for writing; it is for the group pinion "
			"(60-pinion.rules); as root: usermod -aG pinion USER",
			pin->region->name);
	default:
		return pn_fail(-pin->node, "pinning region \"%s\": opening " PN_MODULE_NODE ": %s",
			pin->region->name, strerror(-pin->node));
	}
}

/* In words, with what was looked at where there is a limit or memory behind it. */
static int explain(struct pn_pinned_region *pin, const struct pn_charge_rule *rule, int err)
{
	const struct pn_region *region = pin->region;
	char what[160];
	struct pn_refused refused = {
		.what = what, .pages = region->size >> 12, .page_size = region->page_size};

	snprintf(what, sizeof(what),
		"pinning region \"%s\", %" PRIu64 " bytes at %p, by " PN_MODULE_NODE, region->name,
		region->size, region->vaddr);
	switch (err) {
	case ENOMEM:
		return pn_explain_enomem(rule, &refused);
	case EBUSY:
		return pn_fail(EBUSY,
			"%s: a page of it has a pin, and one of the two is to be exclusive; the "
			"module's are in: pinion pins --kernel (root)",
			what);
	case EFAULT:
		return pn_fail(EFAULT,
			"%s: something else is mapped there by now, or memory that cannot be "
			"pinned",
			what);
	case EOPNOTSUPP:
		return pn_fail(EOPNOTSUPP,
			"%s: this kernel has no user->locked_vm, or cannot pin "
			"memory of this kind read only",
			what);
	default:
		return pn_fail(err, "%s: %s", what, strerror(err));
	}
}

static int pin_pages(struct pn_pinned_region *pin, const struct pn_region_pin_opts *opts)
{
	const struct pn_region *region = pin->region;
	struct pinion_pin arg = {.argsz = sizeof(arg),
		.flags = (region->writable ? PINION_PIN_WRITE : 0u) |
			 (opts->exclusive ? PINION_PIN_EXCLUSIVE : 0u),
		.addr = (uintptr_t)region->vaddr,
		.length = region->size,
		.charge =
			opts->charge == PN_REGION_PIN_USER ? PINION_CHARGE_USER : PINION_CHARGE_MM};

	if (ioctl(pin->node, PINION_PIN, &arg))
		return explain(pin, &rules[opts->charge], errno);
	pin->handle = arg.handle;
	pin->pin.pages = arg.charged * ((uint64_t)sysconf(_SC_PAGESIZE) >> 12);
	return 0;
}

/* What the kernel took the caller for when it pinned. */
static int was_exempt(struct pn_pinned_region *pin, bool *exempt)
{
	struct pinion_query query = {.argsz = sizeof(query), .handle = pin->handle};

	if (ioctl(pin->node, PINION_QUERY, &query))
		return pn_fail(errno, "asking " PN_MODULE_NODE " for what was pinned: %s",
			strerror(errno));
	*exempt = query.flags & PINION_QUERY_EXEMPT;
	return 0;
}

static void record(struct pn_pinned_region *pin, const struct pn_charge_rule *rule, bool exempt)
{
	const struct pn_region *region = pin->region;

	pin->pin.vaddr = (uintptr_t)region->vaddr;
	pin->pin.iova = PN_PIN_NO_IOVA;
	pin->pin.len = region->size;
	pin->pin.page_size = region->page_size;
	pin->pin.counters = exempt ? rule->exempt_counters : rule->counters;
	pin->pin.prot = region->writable ? PN_PIN_READ | PN_PIN_WRITE : PN_PIN_READ;
	memcpy(pin->pin.name, region->name, sizeof(pin->pin.name));
	pn_ledger_charge(pin->ledger, rule, exempt);
	pn_ledger_add(pin->ledger, &pin->pin, &pin->slot);
}

static int check(const struct pn_region *region, const struct pn_region_pin_opts *opts)
{
	if (opts->charge != PN_REGION_PIN_PROCESS && opts->charge != PN_REGION_PIN_USER)
		return pn_fail(EINVAL, "%d is no counter that a region's pin can be charged to",
			(int)opts->charge);
	if (region->backing == PN_BACKING_DEVICE)
		return pn_fail(EINVAL,
			"region \"%s\" is memory of a device, which the companion module does not "
			"pin",
			region->name);
	return region->writable ? pn_region_check_write(region) : 0;
}

int pn_region_pin(struct pn_pinned_region **out, struct pn_region *region,
	const struct pn_region_pin_opts *opts)
{
	static const struct pn_region_pin_opts defaults;
	struct pn_ledger_owner owner = {.path = PN_MODULE_PATH, .node = PN_MODULE_NODE};
	struct pn_pinned_region *pin;
	bool exempt = false;
	int ret;

	if (!opts)
		opts = &defaults;
	ret = check(region, opts);
	if (ret)
		return ret;
	pin = pn_private_alloc(sizeof(*pin));
	if (!pin)
		return pn_fail(ENOMEM, "no memory for a region's pin");
	pin->mine = true;
	pin->region = region;
	ret = open_node(pin);
	if (ret)
		goto free;
	/* First: it looks at what the counters are before. */
	owner.charge = &rules[opts->charge];
	ret = pn_ledger_open(&pin->ledger, opts->ledger_dir, &owner);
	if (ret)
		goto close;
	ret = pin_pages(pin, opts);
	if (!ret)
		ret = was_exempt(pin, &exempt);
	if (ret)
		goto end_ledger;
	record(pin, owner.charge, exempt);
	pn_region_get(region);
	*out = pin;
	return 0;

end_ledger:
	pn_ledger_close(pin->ledger);
close:
	close(pin->node);
free:
	pn_private_free(pin, sizeof(*pin));
	return ret;
}

int pn_region_unpin(struct pn_pinned_region *pin)
{
	struct pinion_unpin arg = {.argsz = sizeof(arg), .flags = PINION_UNPIN_ALL};

	if (!pin)
		return 0;
	if (!pin->mine)
		return pn_fail(EPERM, "the pin is the parent's, which forked this process");
	arg.handle = pin->handle;
	/* Closing alone would leave it to a child that has the file too. It cannot fail: but for a
	 * child that was quicker, and then it is done. */
	(void)ioctl(pin->node, PINION_UNPIN, &arg);
	close(pin->node);
	pn_ledger_remove(pin->ledger, pin->slot, &pin->pin);
	pn_ledger_close(pin->ledger);
	pn_region_put(pin->region);
	pn_private_free(pin, sizeof(*pin));
	return 0;
}
