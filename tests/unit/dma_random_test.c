/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations against a naive account of what the API promises: after every one of them
 * index, kernel and counters are what the account says, whatever failed. PN_TEST_SEED and
 * PN_TEST_STEPS in the environment repeat a run.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_account.h"
#include "dma_fixture.h"

#define STEPS   200000u
#define ARENA   96u /* pages of IOVAs that are asked for */
#define ENTRIES 24u

static struct {
	uint64_t seed, next;
	unsigned int step;
	const char *doing;
	struct fixture *fixture;
	struct account account;
	int fds[3]; /* -1: not attached */
	unsigned int devices;
} run;

/* errnos that an operation may give; nothing: it must work. */
struct allowed {
	int errs[6];
	size_t count;
};

static void allow(struct allowed *allowed, int err)
{
	allowed->errs[allowed->count++] = err;
}

static bool is_allowed(const struct allowed *allowed, int result)
{
	for (size_t i = 0; i < allowed->count; i++)
		if (result == -allowed->errs[i])
			return true;
	return false;
}

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("PN_TEST_SEED=%ju, step %u, %s: not so: " #condition " (\"%s\")", \
				(uintmax_t)run.seed, run.step, run.doing, pn_error());             \
	} while (0)

static uint64_t any(uint64_t below)
{
	run.next ^= run.next << 13;
	run.next ^= run.next >> 7;
	run.next ^= run.next << 17;
	return run.next * UINT64_C(0x2545f4914f6cdd1d) % below;
}

static uint64_t arena(uint64_t page)
{
	return AT(0x100000) + page * PAGE;
}

static bool type1(void)
{
	return is_type1(run.fixture);
}

/* Comparison. */

static void compare_index(void)
{
	struct pn_domain_info info = info_of(run.fixture->domain);
	struct pn_mapping_info mapping;
	uint64_t at = 0;

	CHECK(!info.damaged);
	CHECK(info.mappings == run.account.count);
	CHECK(info.bytes == account_pages(&run.account) * PAGE);
	CHECK(info.devices == run.devices);
	if (type1() && run.devices)
		CHECK(info.entries_left == ENTRIES - run.account.count);
	else
		CHECK(info.entries_left == UINT64_MAX);
	for (size_t i = 0; i < run.account.count; i++) {
		CHECK(!pn_domain_next(run.fixture->domain, at, &mapping));
		CHECK(mapping.iova == run.account.list[i].iova);
		CHECK(mapping.len == run.account.list[i].len);
		CHECK(mapping.vaddr == run.account.list[i].vaddr);
		CHECK(mapping.prot == run.account.list[i].prot);
		CHECK(mapping.region == run.fixture->region);
		CHECK(mapping.queued == !run.devices);
		CHECK(mapping.charged == (run.devices ? mapping.len / PAGE : 0));
		at = mapping.iova + mapping.len;
	}
	CHECK(pn_domain_next(run.fixture->domain, at, &mapping) == -ENOENT);
}

static void compare_kernel(void)
{
	static struct model_mapping list[ACCOUNT_MOST + 1];
	size_t count = model_list(list, ACCOUNT_MOST + 1);
	uint64_t pages = run.devices ? account_pages(&run.account) : 0;

	CHECK(count == (run.devices ? run.account.count : 0));
	for (size_t i = 0; i < count; i++) {
		CHECK(list[i].iova == run.account.list[i].iova);
		CHECK(list[i].len == run.account.list[i].len);
		CHECK(list[i].vaddr == (uintptr_t)run.account.list[i].vaddr);
		CHECK(list[i].flags == (uint32_t)run.account.list[i].prot);
		CHECK(list[i].filled);
	}
	CHECK(model.locked == (type1() ? pages : 0));
	CHECK(model.user == (type1() ? 0 : pages));
	CHECK(model.pinned == (type1() ? 0 : pages));
	CHECK(model_open_devices() == run.devices);
}

static void compare_report(void)
{
	struct pn_pins_report *report;
	const struct pn_pins_process *process;
	uint64_t pages = run.devices ? account_pages(&run.account) : 0;

	CHECK(!pn_domain_pins(run.fixture->domain, false, &report));
	process = &report->processes[0];
	CHECK(process->predicted[PN_COUNTER_MM_LOCKED] == (type1() ? pages : 0));
	CHECK(process->predicted[PN_COUNTER_USER_LOCKED] == (type1() ? 0 : pages));
	CHECK(process->predicted[PN_COUNTER_MM_PINNED] == (type1() ? 0 : pages));
	CHECK(process->domains[0].pin_count == run.account.count);
	pn_pins_report_free(report);
}

/* Failures. */

static bool injected;

static int maybe_fail(int (*call)(void *), void *arg)
{
	static const int errs[] = {ENOMEM, EFAULT, EINVAL, ENOSPC, EINTR, EBUSY};
	int result;

	injected = false;
	model.failed = 0;
	if (!any(6)) {
		model.fail_call = model.calls + 1 + (unsigned int)any(6);
		model.fail_err = errs[any(PN_ARRAY_SIZE(errs))];
		if (!any(6)) {
			model.fail_again = model.fail_call + 1 + (unsigned int)any(4);
			model.fail_again_err = errs[any(PN_ARRAY_SIZE(errs))];
		}
	}
	stale_error();
	result = call(arg);
	if (result < 0)
		CHECK(has_reason());
	if (model.failed)
		injected = true;
	model_calm();
	return result;
}

/* A domain that could not take back: it says so, and a new one takes its place. */
static bool replaced(void)
{
	uint64_t iova = arena(0);
	int fd;

	if (!info_of(run.fixture->domain).damaged)
		return false;
	CHECK(injected);
	CHECK(pn_domain_map(run.fixture->domain, run.fixture->region, 0, PAGE, PN_PROT_RW, &iova) ==
		-EIO);
	for (size_t i = 0; i < 3; i++) {
		if (run.fds[i] >= 0)
			pn_domain_detach(run.fixture->domain, run.fds[i]);
		run.fds[i] = -1;
	}
	CHECK(!info_of(run.fixture->domain).damaged ||
		pn_domain_attach(run.fixture->domain, &nic0, &fd) == -EIO);
	CHECK(!pn_domain_destroy(run.fixture->domain));
	CHECK(!model_open_fds() && !model_maps());
	CHECK(!model.locked && !model.user && !model.pinned);
	run.account.count = run.devices = 0;
	CHECK(!new_domain(&run.fixture->domain, run.fixture->backend, NULL));
	return true;
}

/* Did it work? Checks the errno. */
static bool worked(int result, const struct allowed *allowed)
{
	if (injected && result < 0)
		return false;
	if (!allowed->count)
		CHECK(result == 0);
	else
		CHECK(is_allowed(allowed, result));
	return result == 0;
}

/* Mapping. */

struct request {
	struct pn_segment segments[6];
	size_t count;
	enum pn_prot prot;
	uint64_t iova;
	bool one; /* with pn_domain_map() */
};

static int do_map(void *arg)
{
	struct request *request = arg;

	if (request->one)
		return pn_domain_map(run.fixture->domain, request->segments[0].region,
			request->segments[0].offset, request->segments[0].len, request->prot,
			&request->iova);
	return pn_domain_map_segments(run.fixture->domain, request->segments, request->count,
		request->prot, &request->iova);
}

static bool goes_on(const struct pn_segment *one, const struct pn_segment *next)
{
	return one->offset + one->len == next->offset;
}

static uint64_t length_of(const struct request *request)
{
	uint64_t len = 0;

	for (size_t i = 0; i < request->count; i++)
		len += request->segments[i].len;
	return len;
}

static unsigned int mappings_of(const struct request *request)
{
	unsigned int count = 1;

	for (size_t i = 1; i < request->count; i++)
		count += !goes_on(&request->segments[i - 1], &request->segments[i]);
	return count;
}

static void account_for(const struct request *request)
{
	struct entry entry = {request->iova, 0, NULL, request->prot};

	for (size_t i = 0; i < request->count; i++) {
		const struct pn_segment *segment = &request->segments[i];

		if (!i || !goes_on(segment - 1, segment)) {
			if (i)
				account_add(&run.account, &entry);
			entry.iova += entry.len;
			entry.len = 0;
			entry.vaddr = run.fixture->base + segment->offset;
		}
		entry.len += segment->len;
	}
	account_add(&run.account, &entry);
}

/* One of the numbers is bad. */
static void spoil(struct request *request, struct allowed *allowed)
{
	struct pn_segment *segment = &request->segments[any(request->count)];

	switch (any(6)) {
	case 0:
		segment->offset++;
		break;
	case 1:
		segment->len = 0;
		break;
	case 2:
		segment->len = PAGES * PAGE + PAGE;
		break;
	case 3:
		segment->offset = UINT64_MAX - PAGE + 1;
		break;
	case 4:
		request->prot = (enum pn_prot)(any(2) * 4);
		break;
	default:
		/* Before an attach any place may be demanded. */
		request->iova =
			info_of(run.fixture->domain).limits_known ? UINT64_C(1) << 56 : PAGE + 1;
		break;
	}
	allow(allowed, EINVAL);
}

static void expect(struct request *request, struct allowed *allowed)
{
	uint64_t len = length_of(request);

	if (request->iova != PN_IOVA_ANY && account_overlaps(&run.account, request->iova, len))
		allow(allowed, EEXIST);
	if (run.devices && type1() && run.account.count + mappings_of(request) > ENTRIES)
		allow(allowed, ENOSPC);
	if (run.devices && account_pages(&run.account) + len / PAGE > model.limit)
		allow(allowed, ENOMEM);
}

static void check_place(const struct request *request)
{
	uint64_t len = length_of(request);

	CHECK(!(request->iova & (PAGE - 1)));
	CHECK(!account_overlaps(&run.account, request->iova, len));
	CHECK(request->iova + len <= UINT64_C(1) << 48);
}

static void map(void)
{
	struct request request = {.prot = (enum pn_prot)(1 + any(3)), .one = any(2)};
	struct allowed allowed = {{0}, 0};
	uint64_t asked;

	run.doing = "map";
	request.count = request.one ? 1 : 1 + any(6);
	if (run.account.count + request.count > ACCOUNT_MOST)
		return;
	for (size_t i = 0; i < request.count; i++) {
		struct pn_segment *segment = &request.segments[i];

		segment->region = run.fixture->region;
		segment->offset = any(PAGES - 4) * PAGE;
		if (i && any(2) && segment[-1].offset + segment[-1].len < (PAGES - 4) * PAGE)
			segment->offset = segment[-1].offset + segment[-1].len;
		segment->len = (1 + any(4)) * PAGE;
	}
	request.iova = any(3) ? arena(any(ARENA)) : PN_IOVA_ANY;
	expect(&request, &allowed);
	if (!any(16))
		spoil(&request, &allowed);
	asked = request.iova;
	if (!worked(maybe_fail(do_map, &request), &allowed)) {
		CHECK(request.iova == asked);
		return;
	}
	CHECK(asked == PN_IOVA_ANY || request.iova == asked);
	check_place(&request);
	account_for(&request);
}

/* Unmapping. */

struct range {
	uint64_t iova, len;
};

static int do_unmap(void *arg)
{
	const struct range *range = arg;

	return pn_domain_unmap(run.fixture->domain, range->iova, range->len);
}

static int do_unmap_all(void *arg)
{
	(void)arg;
	return pn_domain_unmap_all(run.fixture->domain);
}

static void unmap(void)
{
	struct allowed allowed = {{0}, 0};
	struct range range = {arena(any(ARENA)), (1 + any(12)) * PAGE};
	bool holds = false, cuts = false;

	run.doing = "unmap";
	if (run.account.count && any(2)) {
		/* From the beginning of one to the end of another. */
		size_t first = any(run.account.count),
		       last = first + any(run.account.count - first);

		if (any(4))
			last = first;
		range.iova = run.account.list[first].iova;
		range.len = run.account.list[last].iova + run.account.list[last].len - range.iova;
	}
	for (size_t i = 0; i < run.account.count; i++) {
		const struct entry *entry = &run.account.list[i];
		uint64_t last = entry->iova + entry->len - 1, end = range.iova + range.len - 1;

		if (entry->iova > end || last < range.iova)
			continue;
		holds = true;
		cuts |= entry->iova < range.iova || last > end;
	}
	if (cuts)
		allow(&allowed, EINVAL);
	else if (!holds)
		allow(&allowed, ENOENT);
	if (worked(maybe_fail(do_unmap, &range), &allowed))
		account_remove(&run.account, range.iova, range.len);
}

static void unmap_all(void)
{
	const struct allowed nothing = {{0}, 0};

	run.doing = "unmap all";
	if (worked(maybe_fail(do_unmap_all, NULL), &nothing))
		run.account.count = 0;
}

/* Devices. */

static const struct pn_dma_device *const devices[] = {&nic0, &nic1, &nic2};

static int do_attach(void *arg)
{
	size_t at = *(size_t *)arg;

	return pn_domain_attach(run.fixture->domain, devices[at], &run.fds[at]);
}

static void attach(void)
{
	struct allowed allowed = {{0}, 0};
	size_t at = any(3);
	int before = run.fds[at];

	run.doing = "attach";
	if (before >= 0)
		allow(&allowed, EBUSY);
	else if (!run.devices && type1() && run.account.count > ENTRIES)
		allow(&allowed, ENOSPC);
	else if (!run.devices && account_pages(&run.account) > model.limit)
		allow(&allowed, ENOMEM);
	if (worked(maybe_fail(do_attach, &at), &allowed))
		run.devices++;
	else
		run.fds[at] = before;
}

static void detach(void)
{
	size_t at = any(3);

	run.doing = "detach";
	if (run.fds[at] < 0)
		return;
	pn_domain_detach(run.fixture->domain, run.fds[at]);
	run.fds[at] = -1;
	run.devices--;
}

/* Lookups. */

static void look_up(void)
{
	char *vaddr = run.fixture->base + any(PAGES * PAGE);
	uint64_t len = 1 + any(6 * PAGE), iova = arena(0) + any(ARENA * PAGE), got;
	const struct entry *entry;
	bool there = false;
	void *found;
	int result;

	run.doing = "look up";
	result = pn_domain_iova(run.fixture->domain, vaddr, len, &got);
	for (size_t i = 0; i < run.account.count; i++) {
		entry = &run.account.list[i];
		if (vaddr >= entry->vaddr && vaddr < entry->vaddr + entry->len)
			there |= account_runs(&run.account,
				entry->iova + (uint64_t)(vaddr - entry->vaddr), vaddr, len);
	}
	CHECK(result == (there ? 0 : -ENOENT));
	if (there)
		CHECK(account_runs(&run.account, got, vaddr, len));
	result = pn_domain_vaddr(run.fixture->domain, iova, len, &found);
	entry = account_at(&run.account, iova);
	there = entry && account_runs(&run.account, iova, entry->vaddr + (iova - entry->iova), len);
	CHECK(result == (there ? 0 : -ENOENT));
	if (there)
		CHECK(found == entry->vaddr + (iova - entry->iova));
}

static void step(void)
{
	switch (any(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		map();
		break;
	case 5:
	case 6:
	case 7:
		unmap();
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		look_up();
		break;
	case 12:
		attach();
		break;
	case 13:
		detach();
		break;
	case 14:
		if (!any(8))
			unmap_all();
		break;
	default:
		run.doing = "another limit";
		model.limit = any(2) ? 1000 : account_pages(&run.account) + any(8);
		break;
	}
	if (replaced())
		return;
	compare_index();
	compare_kernel();
	/* It reads every slot of the ledger. */
	if (run.step % 4096 == 0)
		compare_report();
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void random_operations(void **state)
{
	unsigned int steps;

	memset(&run, 0, sizeof(run));
	run.fixture = *state;
	/* Fewer where another has the same code. */
	steps = type1() || (!strcmp(run.fixture->backend, "iommufd") && model.map_file) ? STEPS
											: STEPS / 8;
	steps = (unsigned int)number_of("PN_TEST_STEPS", steps);
	run.seed = number_of("PN_TEST_SEED", 20250601);
	run.next = run.seed * 2 + 1;
	run.doing = "nothing yet";
	memset(run.fds, 0xff, sizeof(run.fds));
	model.entries = ENTRIES;
	for (run.step = 0; run.step < steps; run.step++)
		step();
	for (size_t i = 0; i < 3; i++)
		if (run.fds[i] >= 0)
			pn_domain_detach(run.fixture->domain, run.fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(random_operations),
	};

	return fixture_run(tests);
}
