/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handing a backend's context over: the functions, with a child in the place of the new program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem_priv.h"
#include "tests.h"

#define IOVA (UINT64_C(1) << 33)

static struct pn_backend_map map_of(
	const struct pn_region *region, uint64_t first, uint64_t pages, uint64_t iova, void *vaddr)
{
	return (struct pn_backend_map){.iova = iova,
		.vaddr = (uint64_t)(uintptr_t)vaddr + first * PAGE,
		.len = pages * PAGE,
		.prot = PN_PROT_RW,
		.page_size = PAGE,
		.fd = region->fd,
		.fd_offset = first * PAGE};
}

/* Every fd in the state is inherited, or none is. */
static bool inherited(const json_t *state, bool want)
{
	const char *lists[] = {"groups", "devices"};
	json_t *entry;
	size_t i;
	int fd = (int)json_integer_value(json_object_get(state, "file"));
	bool ok = !(fcntl(fd, F_GETFD) & FD_CLOEXEC) == want;

	for (unsigned int list = 0; list < 2; list++) {
		json_array_foreach(json_object_get(state, lists[list]), i, entry)
		{
			fd = (int)json_integer_value(json_object_get(entry, "fd"));
			ok &= !(fcntl(fd, F_GETFD) & FD_CLOEXEC) == want;
		}
	}
	return ok;
}

static bool is_native(const struct pn_backend *backend)
{
	return !strcmp(backend->name, "iommufd");
}

/*
 * So many more pages are this process's. What the user's processes hold together has not changed,
 * whoever of them it is.
 */
static bool charge_moved(const struct counters *before, struct pn_charge_rule rule, uint64_t pages)
{
	rule.counters &= ~PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED);
	return counters_grew(before, &rule, false, pages);
}

/* Native iommufd counts twice while it moves; type1, mapping by mapping. */
static void check_limit(const struct pn_backend *backend, void *ctx, const struct counters *before,
	struct pn_charge_rule rule)
{
	struct rlimit limit, low;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	low = (struct rlimit){40 * PAGE, limit.rlim_max};
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &low));
	CHECK(backend->resume(ctx) == -ENOMEM);
	CHECK(strstr(pn_error(), "once more"));
	CHECK(charge_moved(before, rule, 0));
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
}

/* The new program: other addresses, its own counters. */
static void take_over(const struct pn_backend *backend, const json_t *state,
	const struct pn_region *region, int device_fd)
{
	struct counters before = counters_now();
	struct pn_charge_rule rule;
	struct pn_backend_map map;
	struct edu edu;
	void *ctx, *vaddr;

	vaddr = mmap(NULL, 24 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
	CHECK(vaddr != MAP_FAILED);
	CHECK(!backend->restore(&ctx, state));
	CHECK(inherited(state, false));
	backend->charge(ctx, &rule);
	map = map_of(region, 0, 16, IOVA, vaddr);
	CHECK(!backend->resume_map(ctx, &map));
	/* Again, as after a try that failed. */
	CHECK(!backend->resume_map(ctx, &map));
	CHECK(charge_moved(&before, rule, is_native(backend) ? 0 : 16));
	map = map_of(region, 16, 8, IOVA + 16 * PAGE, vaddr);
	CHECK(!backend->resume_map(ctx, &map));
	if (is_native(backend))
		check_limit(backend, ctx, &before, rule);
	CHECK(!backend->resume(ctx));
	CHECK(charge_moved(&before, rule, 24));
	CHECK(!edu_start(&edu, device_fd));
	CHECK(edu_copy(&edu, IOVA + 64, IOVA + 20 * PAGE, 64));
	CHECK(!memcmp((uint8_t *)vaddr + 64, (uint8_t *)vaddr + 20 * PAGE, 64));
	edu_stop(&edu);
	CHECK(!backend->unmap(ctx, IOVA, 16 * PAGE));
	CHECK(!backend->detach(ctx, device_fd));
	backend->close(ctx);
	before.user -= rule.counters & PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) ? 24 : 0;
	CHECK(counters_grew(&before, &rule, false, 0));
}

/* A state that somebody else wrote. */
static void check_bad_states(const struct pn_backend *backend, const json_t *good)
{
	const char *bad[] = {"{}", "{\"file\": -1}", "{\"file\": 99999}", "{\"file\": 0}",
		"{\"file\": \"3\"}", "{\"file\": 18446744073}"};
	const char *type1[] = {"file", "groups", "devices", "iommu_set"};
	const char *native[] = {"file", "ioas", "devices", "hwpts", "track", "dirty"};
	const char **keys = is_native(backend) ? native : type1;
	size_t count = is_native(backend) ? PN_ARRAY_SIZE(native) : PN_ARRAY_SIZE(type1);
	json_t *state, *entry;
	void *ctx;

	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		state = json_loads(bad[i], 0, NULL);
		CHECK(backend->restore(&ctx, state) == -EINVAL);
		json_decref(state);
	}
	for (size_t i = 0; i < count; i++) {
		state = json_deep_copy(good);
		json_object_set_new(state, keys[i], json_null());
		CHECK(backend->restore(&ctx, state) == -EINVAL);
		json_decref(state);
	}
	/* A device twice; an address space that is none; a group that is the container. */
	state = json_deep_copy(good);
	entry = json_array_get(json_object_get(state, "devices"), 0);
	json_array_append(json_object_get(state, "devices"), entry);
	CHECK(backend->restore(&ctx, state) == -EINVAL);
	json_decref(state);
	state = json_deep_copy(good);
	if (is_native(backend))
		json_object_set_new(state, "ioas", json_integer(77));
	else
		json_object_set(json_array_get(json_object_get(state, "groups"), 0), "fd",
			json_object_get(state, "file"));
	CHECK(backend->restore(&ctx, state) == -EINVAL);
	json_decref(state);
	/* Nothing of that has closed a file. */
	CHECK(inherited(good, true));
}

void test_handover(void)
{
	const struct pn_backend *backend = backend_find();
	struct pn_backend_request request = {
		.node = is_native(backend) ? "/dev/iommu" : "/dev/vfio/vfio"};
	struct pn_region *region = region_new(24);
	struct pn_charge_rule rule;
	struct counters before;
	struct pn_backend_map map;
	int fd = -1, status = 0;
	json_t *state = json_object();
	uint8_t *bytes = region_bytes(region);
	pid_t child;
	void *ctx;

	CHECK(!backend->open(&ctx, &request));
	backend->charge(ctx, &rule);
	/* type1 knows only when a device is there. */
	CHECK(is_native(backend) || backend->suspend(ctx) == -EOPNOTSUPP);
	CHECK(!backend->attach(ctx, &edu_device, &fd));
	before = counters_now();
	if (is_native(backend)) {
		/* By its address. */
		map = map_of(region, 0, 16, IOVA, bytes);
		map.fd = -1;
		CHECK(!backend->map(ctx, &map));
		CHECK(backend->suspend(ctx) == -EOPNOTSUPP);
		CHECK(strstr(pn_error(), "by its address"));
		CHECK(!backend->unmap(ctx, IOVA, 16 * PAGE));
	}
	map = map_of(region, 0, 16, IOVA, bytes);
	CHECK(!backend->map(ctx, &map));
	map = map_of(region, 16, 8, IOVA + 16 * PAGE, bytes);
	CHECK(!backend->map(ctx, &map));
	CHECK(counters_grew(&before, &rule, false, 24));

	/* Cancelled: as if nothing had been. */
	CHECK(!backend->suspend(ctx));
	CHECK(is_native(backend) || backend->suspend(ctx) < 0);
	CHECK(!backend->save(ctx, state));
	CHECK(inherited(state, true));
	CHECK(!backend->resume_map(ctx, &map));
	map = map_of(region, 0, 16, IOVA, bytes);
	CHECK(!backend->resume_map(ctx, &map));
	CHECK(!backend->resume(ctx));
	CHECK(inherited(state, false));
	CHECK(counters_grew(&before, &rule, false, 24));
	CHECK(dma_works(fd, region, IOVA, 24));

	/* Handed over: the device goes on meanwhile. */
	json_object_clear(state);
	CHECK(!backend->suspend(ctx));
	CHECK(!backend->save(ctx, state));
	CHECK(dma_works(fd, region, IOVA, 24));
	check_bad_states(backend, state);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		failures = 0;
		take_over(backend, state, region, fd);
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(counters_grew(&before, &rule, false, 0));
	(void)backend->detach(ctx, fd);
	backend->close(ctx);
	CHECK(counters_grew(&before, &rule, false, 0));
	json_decref(state);
	CHECK(!pn_region_destroy(region));
}

/* Backends that cannot say so before anything has changed. */
void test_no_handover(void)
{
	const struct pn_backend *backend = backend_find();
	struct pn_backend_request request = {.node = "/dev/iommu"};
	struct pn_region *region = region_new(8);
	struct pn_backend_map map = map_of(region, 0, 8, IOVA, region_bytes(region));
	int fd = -1;
	void *ctx;

	if (!backend->suspend) {
		CHECK(!backend->resume && !backend->resume_map && !backend->save &&
			!backend->restore);
		CHECK(!pn_region_destroy(region));
		return;
	}
	CHECK(!backend->open(&ctx, &request));
	CHECK(!backend->attach(ctx, &edu_device, &fd));
	CHECK(!backend->map(ctx, &map));
	CHECK(backend->suspend(ctx) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "6.14"));
	CHECK(dma_works(fd, region, IOVA, 8));
	CHECK(!backend->unmap(ctx, IOVA, 8 * PAGE));
	CHECK(!backend->detach(ctx, fd));
	backend->close(ctx);
	CHECK(!pn_region_destroy(region));
}
