/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking a domain over: made again from the file that handover.c wrote, in the program that was
 * executed since. The file comes from elsewhere: everything in it is checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "handover.h"
#include "mem_priv.h"

/* Enough for a million mappings. */
#define STATE_MAX (256u << 20)

static int fail_state(const char *what)
{
	return pn_fail(EINVAL, "the file of the handed-over domain makes no sense: %s", what);
}

/*
 * Reading
 */

static int read_file(int fd, char **out, size_t *size)
{
	struct stat st;
	ssize_t done;
	size_t at = 0;
	char *text;

	if (fstat(fd, &st))
		return pn_fail(errno, "state_fd %d: %s", fd, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t)STATE_MAX)
		return fail_state("its size");
	text = malloc((size_t)st.st_size);
	if (!text)
		return pn_fail(ENOMEM, "no memory to read the handed-over domain");
	while (at < (size_t)st.st_size) {
		done = pread(fd, text + at, (size_t)st.st_size - at, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			free(text);
			return fail_state("it ends too early");
		}
		at += (size_t)done;
	}
	*out = text;
	*size = at;
	return 0;
}

static int read_state(int fd, json_t **out)
{
	json_error_t error;
	int ret, version, pid;
	char *text = NULL;
	size_t size = 0;
	json_t *state = NULL;

	ret = read_file(fd, &text, &size);
	if (ret)
		return ret;
	state = json_loadb(text, size, 0, &error);
	free(text);
	if (!state)
		return fail_state(error.text);
	if (json_unpack(state, "{s:i, s:i}", "pinion_handover", &version, "pid", &pid))
		ret = fail_state("it is none");
	else if (version != HANDOVER_VERSION)
		ret = pn_fail(EINVAL,
			"the domain was handed over by another version of Pinion (format %d, this "
			"one "
			"reads %d)",
			version, HANDOVER_VERSION);
	else if (pid != (int)getpid())
		ret = pn_fail(EINVAL,
			"the domain was handed over by process %d to the program that it executes "
			"next, not to process %d",
			pid, (int)getpid());
	if (ret) {
		json_decref(state);
		return ret;
	}
	*out = state;
	return 0;
}

/* A number that JSON keeps signed. false: there is none. */
static bool get_number(const json_t *object, const char *name, uint64_t *value)
{
	const json_t *item = json_object_get(object, name);

	if (!json_is_integer(item))
		return false;
	*value = (uint64_t)json_integer_value(item);
	return true;
}

/*
 * Memory
 */

static int take_region(const json_t *item, struct pn_region **out)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	uint64_t offset, size, page_size, vaddr, device, inode;
	int fd, writable, ret;
	const char *name;
	struct stat st;

	if (json_unpack((json_t *)item, "{s:i, s:b, s:s}", "fd", &fd, "writable", &writable, "name",
		    &name) ||
		!get_number(item, "offset", &offset) || !get_number(item, "size", &size) ||
		!get_number(item, "page_size", &page_size) || !get_number(item, "vaddr", &vaddr) ||
		!get_number(item, "device", &device) || !get_number(item, "inode", &inode))
		return fail_state("a region");
	if (fstat(fd, &st) || st.st_dev != device || st.st_ino != inode)
		return fail_state("the file of a region is another one");
	opts.name = name;
	opts.read_only = !writable;
	ret = pn_region_from_fd_at(out, fd, offset, size, &opts, (void *)(uintptr_t)vaddr);
	if (ret)
		return pn_fail_prefix(ret, "taking over region \"%s\": ", name);
	return 0;
}

static void drop_regions(struct regions *regions)
{
	while (regions->count)
		(void)pn_region_destroy(regions->list[--regions->count]);
	free(regions->list);
}

static int take_regions(const json_t *state, struct regions *regions)
{
	const json_t *list = json_object_get(state, "regions");
	size_t i, count = json_array_size(list);
	int ret = 0;

	if (!json_is_array(list))
		return fail_state("its regions");
	regions->list = calloc(count + 1, sizeof(*regions->list));
	if (!regions->list)
		return pn_fail(ENOMEM, "no memory for %zu regions", count);
	for (i = 0; i < count && !ret; i++) {
		ret = take_region(json_array_get(list, i), &regions->list[i]);
		regions->count += !ret;
	}
	if (ret)
		drop_regions(regions);
	return ret;
}

static int take_mapping(struct pn_domain *domain, const json_t *item, const struct regions *regions)
{
	uint64_t iova, offset, len, prot, counters, at;
	struct pn_region *region;
	struct mapping *mapping;
	int ret;

	if (!get_number(item, "iova", &iova) || !get_number(item, "offset", &offset) ||
		!get_number(item, "len", &len) || !get_number(item, "prot", &prot) ||
		!get_number(item, "counters", &counters) ||
		counters >= PN_COUNTER_BIT(PN_COUNTER_MAX) || !get_number(item, "region", &at) ||
		at >= regions->count)
		return fail_state("a mapping");
	region = regions->list[at];
	if (!len || (iova | offset | len) & (PN_PAGE_4K - 1) || offset > region->size ||
		len > region->size - offset || !prot || prot > PN_PROT_RW)
		return fail_state("a mapping");
	if (map_index_reserve(&domain->index, 1))
		return pn_fail(ENOMEM, "no memory for the mapping index");
	ret = iova_space_take(&domain->space, iova, len);
	if (ret)
		return pn_fail(-ret,
			"the mapping at IOVA %#" PRIx64 " with length %#" PRIx64 ": %s", iova, len,
			strerror(-ret));
	mapping = map_index_new(&domain->index);
	mapping_place(mapping, iova, (uintptr_t)region->vaddr + offset, len);
	mapping->prot = (uint8_t)prot;
	mapping->region = region;
	domain_record(domain, mapping);
	/* Until kernel_made() says what becomes of them. */
	mapping->flags = (uint8_t)counters;
	return 0;
}

static int take_mappings(
	struct pn_domain *domain, const json_t *state, const struct regions *regions)
{
	const json_t *list = json_object_get(state, "mappings");
	size_t i;
	int ret = 0;

	if (!json_is_array(list))
		return fail_state("its mappings");
	for (i = 0; i < json_array_size(list) && !ret; i++)
		ret = take_mapping(domain, json_array_get(list, i), regions);
	return ret;
}

static int take_device(struct pn_domain *domain, const json_t *item)
{
	struct attached *entry, **end;
	const char *address;
	int fd, bits;

	if (json_unpack((json_t *)item, "{s:s, s:i, s:i}", "address", &address, "fd", &fd, "bits",
		    &bits) ||
		bits < 12 || bits > 64 || strlen(address) >= sizeof(entry->address))
		return fail_state("a device");
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return pn_fail(ENOMEM, "no memory for a device");
	entry->fd = fd;
	entry->bits = (unsigned int)bits;
	entry->to_take = true;
	memcpy(entry->address, address, strlen(address));
	for (end = &domain->devices; *end; end = &(*end)->next)
		;
	*end = entry;
	domain->device_count++;
	return 0;
}

static bool same_device(const json_t *one, const json_t *other)
{
	return json_equal(json_object_get(one, "fd"), json_object_get(other, "fd")) &&
	       json_equal(json_object_get(one, "address"), json_object_get(other, "address"));
}

/* Is each of a list in the other one, and each once? The backend has looked at the latter. */
static bool same_devices(const json_t *list, const json_t *checked)
{
	size_t i, at, count = json_array_size(list), found;

	for (i = 0; i < count; i++) {
		found = 0;
		for (at = 0; at < count; at++) {
			found += same_device(json_array_get(list, i), json_array_get(checked, at));
			if (at != i &&
				same_device(json_array_get(list, i), json_array_get(list, at)))
				return false;
		}
		if (found != 1)
			return false;
	}
	return count == json_array_size(checked);
}

static int take_devices(struct pn_domain *domain, const json_t *state)
{
	const json_t *list = json_object_get(state, "devices");
	size_t i;
	int ret = 0;

	if (!json_is_array(list) || !json_array_size(list) ||
		!same_devices(list, json_object_get(json_object_get(state, "context"), "devices")))
		return fail_state("its devices");
	for (i = 0; i < json_array_size(list) && !ret; i++)
		ret = take_device(domain, json_array_get(list, i));
	return ret;
}

/*
 * Charges
 */

static uint64_t total_pages(struct pn_domain *domain)
{
	struct mapping *mapping;
	uint64_t pages = 0;

	for (mapping = map_index_first(&domain->index); mapping;
		mapping = map_index_next(&domain->index, mapping))
		pages += pn_charge_pages(mapping->vaddr, mapping->len);
	return pages;
}

/* The kernel learns the new virtual addresses, and charges this process. */
static int resume_all(struct pn_domain *domain)
{
	struct mapping *mapping;
	int ret = handover_resume(domain);

	if (ret == -ENOMEM)
		return pn_explain_enomem(&domain->rule,
			&(struct pn_refused){.what = "taking over the mappings of the program "
						     "before",
				.pages = total_pages(domain)});
	for (mapping = map_index_first(&domain->index); mapping && !ret;
		mapping = map_index_next(&domain->index, mapping))
		kernel_made(domain, mapping);
	return ret;
}

/*
 * The domain
 */

static int find_backend(struct pn_domain *domain, const json_t *state)
{
	const char *name, *node;
	int mode, bits, i;

	if (json_unpack((json_t *)state, "{s:s, s:s, s:i, s:i}", "backend", &name, "node", &node,
		    "iova_mode", &mode, "iova_bits", &bits) ||
		mode < 0 || mode > PN_IOVA_VA_ONLY || bits < 12 || bits > 64 ||
		strlen(node) >= sizeof(domain->node))
		return fail_state("its domain");
	for (i = 0; pn_backends[i] && strcmp(pn_backends[i]->name, name); i++)
		;
	if (!pn_backends[i] || !pn_backends[i]->restore)
		return fail_state("its backend");
	domain->backend = pn_backends[i];
	memcpy(domain->node, node, strlen(node));
	domain->iova_mode = (enum pn_iova_mode)mode;
	domain->iova_bits = (unsigned int)bits;
	return 0;
}

static int ask_limits(struct pn_domain *domain)
{
	struct pn_backend_limits limits = {0};
	struct limits_plan plan;
	int ret;

	ret = domain->backend->limits(domain->ctx, &limits);
	/* What the kernel holds is not in the index yet. */
	if (!ret)
		ret = limits_plan(domain, &limits, limits_bits(domain, NULL), 0, &plan);
	if (!ret)
		limits_commit(domain, &plan);
	free(limits.ranges);
	return ret;
}

static int build(struct pn_domain *domain, const json_t *state, const struct regions *regions,
	const char *ledger_dir)
{
	size_t mappings = json_array_size(json_object_get(state, "mappings"));
	int ret;

	ret = take_devices(domain, state);
	if (ret)
		return ret;
	domain_learn_charge(domain);
	ret = limits_guess(domain);
	if (!ret)
		ret = ask_limits(domain);
	if (!ret)
		ret = domain_start_ledger(domain, ledger_dir);
	if (ret)
		return ret;
	if (domain->entries < UINT64_MAX - mappings)
		domain->entries += mappings;
	domain_tell_devices(domain);
	ret = take_mappings(domain, state, regions);
	return ret ? ret : resume_all(domain);
}

/* Undo what was made; what was inherited stays open. */
static void discard(struct pn_domain *domain)
{
	struct mapping *mapping;

	while ((mapping = map_index_last(&domain->index))) {
		if (mapping->in_kernel)
			kernel_let_go(domain, mapping);
		domain_forget(domain, mapping);
	}
	if (domain->ctx)
		domain->backend->abandon(domain->ctx);
	domain_free(domain);
}

static int make_domain(struct pn_domain **out, const json_t *state, const struct regions *regions,
	const char *ledger_dir)
{
	struct pn_domain *domain = domain_new(NULL);
	int ret;

	if (!domain)
		return -ENOMEM;
	ret = find_backend(domain, state);
	if (!ret)
		ret = domain->backend->restore(&domain->ctx, json_object_get(state, "context"));
	if (!ret)
		ret = build(domain, state, regions, ledger_dir);
	if (ret) {
		discard(domain);
		return ret;
	}
	pn_ledger_event(domain->ledger, PN_EVENT_TAKEOVER, NULL);
	domain_publish(domain);
	*out = domain;
	return 0;
}

/* The regions have copies of their own. */
static void close_inherited(const json_t *state, int state_fd)
{
	const json_t *list = json_object_get(state, "regions");
	size_t i;

	for (i = 0; i < json_array_size(list); i++)
		close((int)json_integer_value(json_object_get(json_array_get(list, i), "fd")));
	close(state_fd);
}

int pn_domain_takeover(struct pn_domain **out, int state_fd, const char *ledger_dir)
{
	struct regions regions = {NULL, 0};
	json_t *state = NULL;
	int ret;

	if (!out)
		return pn_fail(EINVAL, "pn_domain_takeover: out must not be NULL");
	ret = read_state(state_fd, &state);
	if (ret)
		return ret;
	ret = take_regions(state, &regions);
	if (ret)
		goto free_state;
	ret = make_domain(out, state, &regions, ledger_dir);
	if (ret) {
		drop_regions(&regions);
		goto free_state;
	}
	close_inherited(state, state_fd);
	pn_ledger_remove_old(json_string_value(json_object_get(state, "ledger")));
	free(regions.list);
free_state:
	json_decref(state);
	return ret;
}
