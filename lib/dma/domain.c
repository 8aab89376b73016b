/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain: creation, the checks that every call begins with, and its end. Mapping is in map.c,
 * attaching in attach.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"
#include "mem_priv.h"

int domain_check(const struct pn_domain *domain)
{
	uint64_t magic;

	if (!domain)
		return pn_fail(EINVAL, "the domain must not be NULL");
	magic = __atomic_load_n(&domain->magic, __ATOMIC_RELAXED);
	if (magic == DOMAIN_MAGIC)
		return 0;
	if (!magic)
		return pn_fail(EPERM, "this domain belongs to the process that called fork(): its "
				      "mappings are of "
				      "that "
				      "process's memory; a child makes a domain of its own");
	return pn_fail(EINVAL, "this domain was destroyed, or is none");
}

int domain_enter(struct pn_domain *domain)
{
	int ret = domain_check(domain);

	if (!ret)
		pthread_mutex_lock(&domain->family->lock);
	return ret;
}

void domain_leave(struct pn_domain *domain)
{
	pthread_mutex_unlock(&domain->family->lock);
}

int domain_end(
	struct pn_domain *domain, enum pn_event_kind call, int ret, uint64_t iova, uint64_t len)
{
	if (ret < 0)
		pn_ledger_failed(domain->ledger, call, ret, iova, len, pn_error());
	pn_ledger_damaged(domain->ledger, domain->damaged, ret < 0 ? pn_error() : NULL);
	domain_leave(domain);
	return ret;
}

int domain_changeable(const struct pn_domain *domain)
{
	if (domain->damaged)
		return pn_fail(EIO, "this domain is damaged: an earlier roll-back failed, so what "
				    "the kernel holds is not known; destroy it");
	if (domain->handed_over)
		return pn_fail(EBUSY,
			"this domain was handed over: take it over in the new program, "
			"or call pn_domain_handover_cancel()");
	return 0;
}

int domain_check_stuck(struct pn_domain *domain, int err)
{
	if (!domain->backend->stuck || !domain->backend->stuck(domain->ctx))
		return err;
	domain->damaged = true;
	return pn_fail_append(err, "; and the roll-back failed: the domain is damaged, destroy it");
}

bool pn_domain_is_mine(const struct pn_domain *domain)
{
	return __atomic_load_n(&domain->magic, __ATOMIC_RELAXED) != 0;
}

bool pn_domain_noiommu(const struct pn_domain *domain)
{
	return !domain_check(domain) && domain->backend->noiommu;
}

/*
 * Families
 */

static struct family *family_new(void)
{
	struct family *family = calloc(1, sizeof(*family));

	if (family)
		pthread_mutex_init(&family->lock, NULL);
	return family;
}

static void family_get(struct family *family)
{
	pthread_mutex_lock(&family->lock);
	family->members++;
	pthread_mutex_unlock(&family->lock);
}

/* It ends with the last member. */
static void family_put(struct family *family)
{
	bool last;

	pthread_mutex_lock(&family->lock);
	last = --family->members == 0;
	pthread_mutex_unlock(&family->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&family->lock);
	free(family);
}

/* With the lock held: the others look at it no more. */
static void hide(struct pn_domain *domain)
{
	struct pn_domain **at;

	for (at = &domain->family->domains; *at && *at != domain; at = &(*at)->next)
		;
	if (*at)
		*at = domain->next;
	__atomic_store_n(&domain->magic, ~DOMAIN_MAGIC, __ATOMIC_RELEASE);
}

/*
 * Creation
 */

static int check_opts(const struct pn_domain_opts *opts)
{
	if (opts->iova_bits && (opts->iova_bits < 12 || opts->iova_bits > 64))
		return pn_fail(EINVAL, "iova_bits may be 12 to 64, or 0 for no limit; it is %u",
			opts->iova_bits);
	if ((unsigned int)opts->iova_mode > PN_IOVA_VA_ONLY)
		return pn_fail(EINVAL, "unknown iova_mode %u", (unsigned int)opts->iova_mode);
	if ((unsigned int)opts->accounting > PN_ACCOUNTING_PROCESS)
		return pn_fail(EINVAL, "unknown accounting %u", (unsigned int)opts->accounting);
	if (opts->use_fd && opts->node)
		return pn_fail(EINVAL, "a domain has a node (%s) or a file handed in, not both",
			opts->node);
	if (opts->use_fd && opts->fd < 0)
		return pn_fail(EBADF, "use_fd is set, and fd is %d", opts->fd);
	if (opts->beside && (opts->use_fd || opts->node))
		return pn_fail(EINVAL, "a domain beside another has that one's file, no other");
	if (opts->node && strlen(opts->node) >= sizeof(((struct pn_domain *)0)->node))
		return pn_fail(ENAMETOOLONG,
			"the path of a backend's node may have %zu bytes, this one has %zu: %s",
			sizeof(((struct pn_domain *)0)->node) - 1, strlen(opts->node), opts->node);
	return 0;
}

/* The backend of the domain that this one is to stand beside. */
static int choose_beside(struct pn_domain *domain, const struct pn_domain_opts *opts)
{
	const struct pn_domain *beside = opts->beside;
	const struct pn_backend *backend = beside->backend;

	if (!backend->copy)
		return pn_fail(EINVAL,
			"%s has one address space a file: a domain beside another takes "
			"native iommufd",
			backend->name);
	if (opts->backend && strcmp(opts->backend, "auto") && strcmp(opts->backend, backend->name))
		return pn_fail(EINVAL, "backend %s cannot stand beside a domain of %s",
			opts->backend, backend->name);
	domain->backend = backend;
	memcpy(domain->node, beside->node, sizeof(domain->node));
	return 0;
}

void domain_learn_charge(struct pn_domain *domain)
{
	domain->rule = (struct pn_charge_rule){
		.path = domain->backend->name, .accounting = "none", .limited = PN_COUNTER_MAX};
	if (domain->backend->charge)
		domain->backend->charge(domain->ctx, &domain->rule);
}

static int open_backend(struct pn_domain *domain, const struct pn_domain_opts *opts)
{
	struct pn_backend_request request = {
		.node = opts->node,
		.use_fd = opts->use_fd,
		.fd = opts->use_fd ? opts->fd : -1,
		.accounting = opts->accounting,
		.dirty_tracking = opts->dirty_tracking,
		.beside = opts->beside ? opts->beside->ctx : NULL,
	};
	int ret;

	if (opts->beside)
		ret = choose_beside(domain, opts);
	else
		ret = domain_choose(domain, opts->backend, &request);
	if (ret)
		return ret;
	request.node = domain->node;
	ret = domain->backend->open(&domain->ctx, &request);
	if (!ret)
		domain_learn_charge(domain);
	return ret;
}

/* A backend without a kernel's IOMMU has its limits from the start. */
static int take_first_limits(struct pn_domain *domain)
{
	struct pn_backend_limits limits = {0};
	struct limits_plan plan;
	int ret;

	ret = limits_guess(domain);
	if (ret || !domain->backend->live)
		return ret;
	ret = domain->backend->limits(domain->ctx, &limits);
	if (!ret)
		ret = limits_plan(domain, &limits, domain->iova_bits, 0, &plan);
	if (!ret)
		limits_commit(domain, &plan);
	free(limits.ranges);
	return ret;
}

int domain_start_ledger(struct pn_domain *domain, const char *dir)
{
	struct pn_ledger_owner owner;

	domain->exempt = pn_exempt_now();
	owner = (struct pn_ledger_owner){
		domain->backend->name, domain->node, &domain->rule, domain->exempt};
	return pn_ledger_open(&domain->ledger, dir, &owner);
}

struct pn_domain *domain_new(struct family *family)
{
	struct pn_domain *domain = pn_private_alloc(sizeof(*domain));

	if (domain)
		domain->family = family ? family : family_new();
	if (domain && domain->family)
		family_get(domain->family);
	if (!domain || !domain->family) {
		pn_private_free(domain, sizeof(*domain));
		pn_fail(ENOMEM, "no memory for a domain");
		return NULL;
	}
	map_index_init(&domain->index);
	pn_trial_init(&domain->trial);
	domain->entries = UINT64_MAX;
	domain->page_sizes = PN_PAGE_4K;
	domain->iova_bits = 64;
	return domain;
}

void domain_free(struct pn_domain *domain)
{
	struct attached *device;

	while ((device = domain->devices)) {
		domain->devices = device->next;
		free(device);
	}
	domain_close_given(domain);
	pn_trial_close(&domain->trial);
	pn_ledger_close(domain->ledger);
	map_index_free(&domain->index);
	iova_space_free(&domain->space);
	free(domain->ranges);
	free(domain->kernel_ranges);
	family_put(domain->family);
	pn_private_free(domain, sizeof(*domain));
}

void domain_publish(struct pn_domain *domain)
{
	domain->next = domain->family->domains;
	domain->family->domains = domain;
	__atomic_store_n(&domain->magic, DOMAIN_MAGIC, __ATOMIC_RELEASE);
}

static int create_locked(struct pn_domain *domain, const struct pn_domain_opts *opts)
{
	int ret = 0;

	if (opts->beside)
		ret = domain_changeable(opts->beside);
	if (!ret)
		ret = open_backend(domain, opts);
	if (ret)
		return ret;
	ret = take_first_limits(domain);
	if (!ret)
		ret = domain_start_ledger(domain, opts->ledger_dir);
	if (ret)
		domain->backend->close(domain->ctx);
	else
		domain_publish(domain);
	return ret;
}

int pn_domain_create(struct pn_domain **out, const struct pn_domain_opts *opts)
{
	static const struct pn_domain_opts defaults;
	struct pn_domain *domain;
	int ret;

	if (!out)
		return pn_fail(EINVAL, "pn_domain_create: out must not be NULL");
	if (!opts)
		opts = &defaults;
	ret = check_opts(opts);
	if (!ret && opts->beside)
		ret = domain_check(opts->beside);
	if (ret)
		return ret;
	domain = domain_new(opts->beside ? opts->beside->family : NULL);
	if (!domain)
		return -ENOMEM;
	domain->iova_mode = opts->iova_mode;
	if (opts->iova_bits)
		domain->iova_bits = opts->iova_bits;
	pthread_mutex_lock(&domain->family->lock);
	ret = create_locked(domain, opts);
	pthread_mutex_unlock(&domain->family->lock);
	if (ret)
		domain_free(domain);
	else
		*out = domain;
	return ret;
}

/* The kernel's side goes with the backend's files. */
static void let_all_go(struct pn_domain *domain)
{
	struct mapping *mapping;

	while ((mapping = map_index_last(&domain->index))) {
		if (mapping->in_kernel)
			kernel_let_go(domain, mapping);
		domain_forget(domain, mapping);
	}
}

int pn_domain_destroy(struct pn_domain *domain)
{
	int ret;

	if (!domain)
		return 0;
	ret = domain_enter(domain);
	if (ret)
		return ret;
	if (domain->device_count) {
		ret = pn_fail(EBUSY,
			"%u devices are still attached to the domain: close them first",
			domain->device_count);
		return domain_end(domain, PN_EVENT_DESTROY, ret, 0, 0);
	}
	let_all_go(domain);
	domain->backend->close(domain->ctx);
	hide(domain);
	domain_leave(domain);
	domain_free(domain);
	return 0;
}

void pn_domain_get_info(struct pn_domain *domain, struct pn_domain_info *info)
{
	if (!info)
		return;
	memset(info, 0, sizeof(*info));
	info->backend = info->node = info->chosen = "";
	info->charge.path = info->charge.accounting = "";
	if (domain_enter(domain))
		return;
	info->backend = domain->backend->name;
	info->node = domain->node;
	info->chosen = domain->chosen;
	info->charge = domain->rule;
	info->exempt = pn_exempt_now();
	info->devices = domain->device_count;
	info->damaged = domain->damaged;
	info->limits_known = domain->limits_known;
	info->page_sizes = domain->page_sizes;
	info->entries_left = UINT64_MAX;
	if (domain->entries != UINT64_MAX)
		info->entries_left =
			domain->entries -
			(domain_in_force(domain) ? map_index_count(&domain->index) : 0);
	info->ranges = domain->ranges;
	info->range_count = domain->range_count;
	info->mappings = map_index_count(&domain->index);
	info->bytes = domain->index.bytes;
	info->dirty = domain->dirty;
	domain_leave(domain);
}

int pn_domain_pins(struct pn_domain *domain, bool measure_user, struct pn_pins_report **out)
{
	int ret = domain_check(domain);

	if (!ret && !out)
		ret = pn_fail(EINVAL, "pn_domain_pins: out must not be NULL");
	return ret ? ret : pn_pins_report_fd(out, pn_ledger_fd(domain->ledger), measure_user);
}
