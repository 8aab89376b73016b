/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handing a domain over: it stops having virtual addresses, and a file is written from which the
 * program that this process executes next makes it again (takeover.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "handover.h"
#include "inherited.h"
#include "mem_priv.h"

/* May it be handed over, as it stands? */
static int check(struct pn_domain *domain)
{
	const struct pn_backend *backend = domain->backend;
	const struct mapping *mapping;
	int ret;

	ret = domain_changeable(domain);
	if (ret)
		return ret;
	if (!backend->suspend)
		return pn_fail(EOPNOTSUPP,
			"%s cannot hand a domain over: type1 can, and native iommufd on Linux 6.14",
			backend->name);
	if (!domain->device_count)
		return pn_fail(ENODEV, "no device is attached: there is nothing to hand over");
	if (domain->dirty)
		return pn_fail(EOPNOTSUPP, "stop dirty tracking before handing the domain over");
	if (domain->family->domains->next)
		return pn_fail(EOPNOTSUPP, "a domain that stands beside another cannot be handed "
					   "over: destroy one of them");
	for (mapping = map_index_first(&domain->index); mapping;
		mapping = map_index_next(&domain->index, mapping)) {
		if (mapping->region->fd < 0 || mapping->region->dma_buf)
			return pn_fail(EOPNOTSUPP,
				"region \"%s\" at IOVA %#" PRIx64
				" has no file that another program could map (it is %s)",
				mapping->region->name, mapping->iova,
				pn_backing_name(mapping->region->backing));
	}
	return 0;
}

/*
 * The state
 */

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* A path, or "" if it is no UTF-8, as JSON is. */
static const char *as_text(const char *path)
{
	json_t *text = json_string(path);

	json_decref(text);
	return text ? path : "";
}

/* A name may be anything, and cut. */
static void plain_name(const char *name, char out[32])
{
	size_t i;

	for (i = 0; name[i] && i < 31; i++)
		out[i] = (char)(name[i] < ' ' || name[i] > '~' ? '?' : name[i]);
	out[i] = '\0';
}

/* A copy of its file is inherited: another domain with the same memory has one of its own. */
static json_t *describe_region(struct pn_domain *domain, const struct pn_region *region)
{
	char name[32];
	struct stat st;
	int fd;

	fd = fcntl(region->fd, F_DUPFD, 0);
	if (fd < 0)
		return NULL;
	domain->copies[domain->copy_count++] = fd;
	if (fstat(fd, &st))
		return NULL;
	plain_name(region->name, name);
	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "fd", fd, "device",
		number(st.st_dev), "inode", number(st.st_ino), "offset", number(region->offset),
		"size", number(region->size), "page_size", number(region->page_size), "vaddr",
		number((uintptr_t)region->vaddr), "writable", region->writable, "name", name);
}

static json_t *describe_mapping(const struct mapping *mapping, size_t region)
{
	return json_pack("{s:o, s:o, s:o, s:i, s:i, s:o}", "iova", number(mapping->iova), "offset",
		number(mapping->vaddr - (uintptr_t)mapping->region->vaddr), "len",
		number(mapping->len), "prot", (int)mapping->prot, "counters",
		(int)mapping->counters, "region", number(region));
}

/* Position of a region in the list, where it is put if it is new. */
static int region_number(struct regions *regions, struct pn_region *region, size_t *at)
{
	struct pn_region **more;

	for (*at = 0; *at < regions->count; (*at)++) {
		if (regions->list[*at] == region)
			return 0;
	}
	more = reallocarray(regions->list, regions->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	regions->list = more;
	regions->list[regions->count++] = region;
	return 0;
}

static int describe_memory(struct pn_domain *domain, struct regions *regions, json_t *state)
{
	json_t *mappings = json_array(), *list = json_array();
	const struct mapping *mapping;
	bool failed = json_object_set_new(state, "mappings", mappings) ||
		      json_object_set_new(state, "regions", list);
	size_t at;

	for (mapping = map_index_first(&domain->index); mapping && !failed;
		mapping = map_index_next(&domain->index, mapping))
		failed = region_number(regions, mapping->region, &at) ||
			 json_array_append_new(mappings, describe_mapping(mapping, at));
	if (!failed)
		domain->copies = calloc(regions->count + 1, sizeof(*domain->copies));
	failed = failed || !domain->copies;
	for (at = 0; at < regions->count && !failed; at++)
		failed = json_array_append_new(list, describe_region(domain, regions->list[at]));
	return failed ? -ENOMEM : 0;
}

static int describe_devices(const struct pn_domain *domain, json_t *state)
{
	const struct attached *device;
	json_t *list = json_array();
	bool failed = json_object_set_new(state, "devices", list);

	for (device = domain->devices; device && !failed; device = device->next)
		failed = json_array_append_new(
			list, json_pack("{s:s, s:i, s:i}", "address", device->address, "fd",
				      device->fd, "bits", (int)device->bits));
	return failed ? -ENOMEM : 0;
}

static int describe(struct pn_domain *domain, struct regions *regions, json_t **out)
{
	json_t *context = json_object(), *state;
	int ret;

	state = json_pack("{s:i, s:i, s:s, s:s, s:s, s:i, s:i, s:o}", "pinion_handover",
		HANDOVER_VERSION, "pid", (int)getpid(), "ledger",
		as_text(pn_ledger_path(domain->ledger)), "backend", domain->backend->name, "node",
		as_text(domain->node), "iova_mode", (int)domain->iova_mode, "iova_bits",
		(int)domain->iova_bits, "context", context);
	if (!state)
		return pn_fail(ENOMEM, "no memory to describe the domain");
	ret = domain->backend->save(domain->ctx, context);
	if (ret)
		goto drop;
	ret = describe_devices(domain, state);
	if (!ret)
		ret = describe_memory(domain, regions, state);
	if (ret) {
		pn_fail(-ret, "describing the domain: %s", strerror(-ret));
		goto drop;
	}
	*out = state;
	return 0;

drop:
	json_decref(state);
	return ret;
}

/* Write a text into a file without a name. The fd, or a negative errno. */
static int write_file(const char *text)
{
	size_t left = strlen(text);
	ssize_t done;
	int fd, err;

	fd = memfd_create("pinion-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	while (left) {
		done = write(fd, text, left);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			err = done ? -errno : -EIO;
			close(fd);
			return err;
		}
		text += done;
		left -= (size_t)done;
	}
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

static int write_state(struct pn_domain *domain, struct regions *regions)
{
	json_t *state = NULL;
	char *text;
	int ret;

	ret = describe(domain, regions, &state);
	if (ret)
		return ret;
	text = json_dumps(state, JSON_COMPACT);
	json_decref(state);
	ret = text ? write_file(text) : -ENOMEM;
	free(text);
	return ret < 0 ? pn_fail(-ret, "writing down the domain: %s", strerror(-ret)) : ret;
}

/*
 * Handing over
 */

/* Take the addresses of the mappings before one (NULL: of all) back. */
static void suspend_again(struct pn_domain *domain, const struct mapping *before)
{
	struct pn_backend_map view;
	struct mapping *mapping;

	for (mapping = map_index_first(&domain->index);
		mapping && mapping != before && domain->backend->suspend_map;
		mapping = map_index_next(&domain->index, mapping)) {
		view = kernel_view(mapping);
		if (domain->backend->suspend_map(domain->ctx, &view))
			domain->damaged = true;
	}
}

int handover_resume(struct pn_domain *domain)
{
	struct pn_backend_map view;
	struct mapping *mapping;
	int ret = 0;

	for (mapping = map_index_first(&domain->index); mapping && !ret;
		mapping = map_index_next(&domain->index, mapping)) {
		view = kernel_view(mapping);
		ret = domain->backend->resume_map(domain->ctx, &view);
		if (ret)
			break;
	}
	if (!ret)
		ret = domain->backend->resume(domain->ctx);
	if (ret)
		suspend_again(domain, mapping);
	return ret;
}

/* The domain goes on here; ret: why. */
static int take_back(struct pn_domain *domain, int ret)
{
	char reason[PN_ERROR_MAX];

	snprintf(reason, sizeof(reason), "%s", pn_error());
	domain->damaged = handover_resume(domain) != 0;
	return pn_fail(-ret, "%s%s", reason,
		domain->damaged ? "; and the roll-back failed: the domain is damaged, destroy it"
				: "");
}

static void close_copies(struct pn_domain *domain)
{
	while (domain->copy_count)
		close(domain->copies[--domain->copy_count]);
	free(domain->copies);
	domain->copies = NULL;
}

void handover_end(struct pn_domain *domain)
{
	domain->handed_over = false;
	(void)domain->backend->resume(domain->ctx);
	(void)handover_inherit(domain->state_fd, false);
	close_copies(domain);
}

static int handover_locked(struct pn_domain *domain, int *state_fd)
{
	struct regions regions = {NULL, 0};
	int ret, fd;

	ret = check(domain);
	if (!ret)
		ret = domain->backend->suspend(domain->ctx);
	/* They may have ended: they are given again. */
	if (ret == -EFAULT && domain->backend->suspend_map)
		return take_back(domain, ret);
	if (ret)
		return ret;
	fd = write_state(domain, &regions);
	ret = fd < 0 ? fd : handover_inherit(fd, true);
	if (ret) {
		ret = take_back(domain, ret);
		if (fd >= 0)
			close(fd);
		close_copies(domain);
		goto free_list;
	}
	domain->handed_over = true;
	domain->state_fd = *state_fd = fd;
	pn_ledger_event(domain->ledger, PN_EVENT_HANDOVER, NULL);
free_list:
	free(regions.list);
	return ret;
}

int pn_domain_handover(struct pn_domain *domain, int *state_fd)
{
	int ret;

	if (!state_fd)
		return pn_fail(EINVAL, "pn_domain_handover: state_fd must not be NULL");
	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = handover_locked(domain, state_fd);
	return domain_end(domain, PN_EVENT_HANDOVER, ret, 0, 0);
}

static int cancel_locked(struct pn_domain *domain, int state_fd)
{
	int ret;

	if (!domain->handed_over)
		return pn_fail(EINVAL, "the domain was not handed over");
	if (state_fd != domain->state_fd)
		return pn_fail(EINVAL,
			"file descriptor %d does not describe the domain: pn_domain_handover() "
			"gave %d",
			state_fd, domain->state_fd);
	ret = handover_resume(domain);
	if (ret)
		return pn_fail_append(ret, domain->damaged
						   ? "; and the roll-back failed: the domain "
						     "is damaged, destroy it"
						   : "; the domain is still handed over: try it "
						     "again");
	domain->handed_over = false;
	close_copies(domain);
	close(state_fd);
	pn_ledger_event(domain->ledger, PN_EVENT_TAKE_BACK, NULL);
	return 0;
}

int pn_domain_handover_cancel(struct pn_domain *domain, int state_fd)
{
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = cancel_locked(domain, state_fd);
	return domain_end(domain, PN_EVENT_TAKE_BACK, ret, 0, 0);
}
