/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans: figures worked out by hand, the least limit against the charge model and against a formula
 * of the test's own on random inputs, the settings, and what makes no sense.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan_priv.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Indexes of the ways when all are planned. */
enum { TYPE1, BY_USER, BY_PROCESS, COMPAT_BY_USER, COMPAT_BY_PROCESS, AS_VFIO };

static struct pn_plan *plan_of(const struct pn_plan_input *input)
{
	struct pn_plan *plan;

	if (pn_plan_create(&plan, input))
		fail_msg("%s", pn_error());
	return plan;
}

/* Accounting by process comes to the same on all that have it, and so does that by user. */
static void expect_needs(const struct pn_plan_input *input, uint64_t type1, uint64_t by_user)
{
	struct pn_plan *plan = plan_of(input);

	assert_int_equal(plan->way_count, PN_PLAN_WAYS);
	assert_int_equal(plan->ways[TYPE1].need, type1);
	assert_int_equal(plan->ways[BY_USER].need, by_user);
	assert_int_equal(plan->ways[BY_PROCESS].need, type1);
	assert_int_equal(plan->ways[COMPAT_BY_USER].need, by_user);
	assert_int_equal(plan->ways[COMPAT_BY_PROCESS].need, type1);
	assert_int_equal(plan->ways[AS_VFIO].need, type1);
	pn_plan_free(plan);
}

/* 4 GiB is 1,048,576 pages of 4 KiB; two devices in one domain do not double it. */
static void processes_of_a_user_share_a_counter(void **state)
{
	struct pn_plan_input input = {.mem = 4 * GIB, .devices = 2, .processes = 3};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	expect_needs(&input, 1048576, 3145728);
	assert_int_equal(plan->ways[BY_USER].charged, 1048576);
	assert_int_equal(plan->ways[BY_USER].user_locked, 3145728);
	assert_int_equal(plan->ways[BY_USER].mm_pinned, 1048576);
	assert_int_equal(plan->ways[BY_USER].mm_locked, 0);
	assert_int_equal(plan->ways[TYPE1].charged, 1048576);
	assert_int_equal(plan->ways[TYPE1].mm_locked, 1048576);
	assert_int_equal(plan->ways[TYPE1].mm_pinned, 0);
	assert_int_equal(plan->ways[AS_VFIO].mm_locked, 1048576);
	assert_int_equal(plan->ways[AS_VFIO].mm_pinned, 1048576);
	assert_int_equal(plan->note_count, 0);
	pn_plan_free(plan);
	input.different_users = true;
	expect_needs(&input, 1048576, 1048576);
}

/*
 * 64 MiB are 16,384 pages, 10 MiB of the program 2,560. In pages of 4 KiB: locked are 2,560 +
 * 16,384 = 18,944, and type1 maps 16,384 more on top of them: 35,328. By user the mappings are
 * 16,384, less than what is locked; those of three processes are 49,152, and more.
 */
static void locked_memory_counts_twice(void **state)
{
	struct pn_plan_input input = {
		.mem = 64 * MIB, .page_size = PN_PAGE_4K, .mlockall = true, .program = 10 * MIB};

	(void)state;
	expect_needs(&input, 35328, 18944);
	input.processes = 3;
	expect_needs(&input, 35328, 49152);
}

/*
 * Hugepages are not locked, but mmap() asks for room as if: 2,560 + 16,384. type1 then maps 16,384
 * beside the program's 2,560: the same. On two nodes it asks for 8,192 at a time.
 */
static void hugepages_are_asked_for_but_not_locked(void **state)
{
	struct pn_plan_input input = {.mem = 64 * MIB, .mlockall = true, .program = 10 * MIB};

	(void)state;
	expect_needs(&input, 18944, 18944);
	input.numa_nodes = 2;
	expect_needs(&input, 18944, 16384);
	input.program = 40 * MIB; /* 10,240 + 8,192 = 18,432 */
	expect_needs(&input, 26624, 18432);
}

/* 1 MiB and one byte are 257 pages, and in the counter of the user only. */
static void others_of_the_user_count(void **state)
{
	struct pn_plan_input input = {.mem = 64 * MIB, .other_locked = MIB + 1};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	expect_needs(&input, 16384, 16641);
	assert_int_equal(plan->note_count, 1);
	pn_plan_free(plan);
	input.processes = 2;
	expect_needs(&input, 16384, 33025);
	input.different_users = true;
	expect_needs(&input, 16384, 16641);
}

/* 16 MiB are 4,096 pages, in each of three domains 12,288. */
static void domains_are_charged_each(void **state)
{
	struct pn_plan_input input = {.mem = 16 * MIB, .devices = 3, .separate_domains = true};

	(void)state;
	expect_needs(&input, 12288, 12288);
	input.processes = 2;
	expect_needs(&input, 12288, 24576);
}

/* type1 counts what it does not limit; iommufd has it in mm->pinned_vm alone. */
static void a_capability_needs_no_limit(void **state)
{
	struct pn_plan_input input = {
		.mem = 16 * MIB, .cap_ipc_lock = true, .processes = 2, .mlockall = true};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	expect_needs(&input, 0, 0);
	for (size_t i = 0; i < plan->way_count; i++) {
		const struct pn_plan_way *way = &plan->ways[i];

		assert_true(way->exempt);
		assert_int_equal(way->limited, PN_COUNTER_MAX);
		assert_int_equal(way->set, 0);
		assert_int_equal(way->charged, 4096);
		assert_int_equal(way->mm_locked, i == TYPE1 ? 4096 : 0);
		assert_int_equal(way->mm_pinned, i == TYPE1 ? 0 : 4096);
		assert_int_equal(way->user_locked, 0);
	}
	assert_int_equal(plan->settings_count, 1);
	assert_int_equal(plan->settings[0].limit, 0);
	assert_non_null(strstr(plan->settings[0].snippets[0].text, "CAP_IPC_LOCK"));
	pn_plan_free(plan);
}

/* 4 GiB on three nodes: 682 2/3 hugepages each, so 683, in all 2,049, which are 1,049,088 pages. */
static void sizes_are_rounded_up_and_it_is_said(void **state)
{
	struct pn_plan_input input = {.mem = 4 * GIB, .numa_nodes = 3, .processes = 2};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	assert_int_equal(plan->region, 683 * 2 * MIB);
	assert_int_equal(plan->memory, 2049 * 2 * MIB);
	assert_int_equal(plan->hugepages, 1366);
	assert_int_equal(plan->note_count, 1);
	assert_non_null(strstr(plan->notes[0], "rounded up to 1366 MiB on each, 4098 MiB in all"));
	pn_plan_free(plan);
	expect_needs(&input, 1049088, 2098176);
	input = (struct pn_plan_input){.mem = 1, .page_size = PN_PAGE_1G};
	expect_needs(&input, 262144, 262144);
	input.page_size = PN_PAGE_4K;
	expect_needs(&input, 1, 1);
	plan = plan_of(&input);
	assert_int_equal(plan->hugepages, 0);
	assert_int_equal(plan->hugepage_snippet_count, 0);
	pn_plan_free(plan);
}

/* 5% of 16,384 are 819.2, so 820; 1 MiB and a byte are 257 pages more. */
static void headroom_is_rounded_up(void **state)
{
	struct pn_plan_input input = {.mem = 64 * MIB, .headroom_percent = 5};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	assert_int_equal(plan->ways[TYPE1].need, 16384);
	assert_int_equal(plan->ways[TYPE1].set, 17204);
	pn_plan_free(plan);
	input.headroom = MIB + 1;
	plan = plan_of(&input);
	assert_int_equal(plan->ways[TYPE1].set, 17461);
	pn_plan_free(plan);
}

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The rules of doc/pins.md, written down once more. */
static uint64_t formula(const struct pn_plan_input *in, bool by_user)
{
	uint64_t page = in->page_size >> 12, nodes = in->numa_nodes;
	uint64_t each = (in->mem + nodes * in->page_size - 1) / (nodes * in->page_size) * page;
	uint64_t program = (in->program + 4095) / 4096, others = (in->other_locked + 4095) / 4096;
	uint64_t mapped = each * nodes * (in->separate_domains ? in->devices : 1);
	uint64_t locked = 0, asked = 0;

	if (in->mlockall) {
		locked = program + (page == 1 ? each * nodes : 0);
		asked = program + each * (page == 1 ? nodes : 1);
	}
	if (!by_user)
		return greater(asked, locked + mapped);
	return greater(asked, others + mapped * (in->different_users ? 1 : in->processes));
}

static uint32_t random_below(uint64_t *seed, uint32_t bound)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % bound;
}

static struct pn_plan_input random_input(uint64_t *seed)
{
	static const uint64_t pages[] = {PN_PAGE_4K, PN_PAGE_2M, PN_PAGE_1G};
	struct pn_plan_input in = {
		.page_size = pages[random_below(seed, 3)],
		.devices = 1 + random_below(seed, 4),
		.processes = 1 + random_below(seed, 5),
		.numa_nodes = 1 + random_below(seed, 3),
		.different_users = random_below(seed, 3) == 0,
		.separate_domains = random_below(seed, 3) == 0,
		.mlockall = random_below(seed, 2),
	};

	in.mem = 1 + random_below(seed, 1u << 16) * (in.page_size >> random_below(seed, 12));
	if (in.mlockall && random_below(seed, 4))
		in.program = random_below(seed, 1u << 30);
	if (random_below(seed, 2))
		in.other_locked = random_below(seed, 1u << 30);
	return in;
}

/* The limit is enough in the model, and a page less is not: some process is refused. */
static void the_limit_is_the_least(void **state)
{
	uint64_t seed = 20261120;

	(void)state;
	for (unsigned int round = 0; round < 1500; round++) {
		struct pn_plan_input input = random_input(&seed);
		struct pn_plan *plan = plan_of(&input);
		struct plan_outcome outcome;

		for (size_t i = 0; i < plan->way_count; i++) {
			const struct pn_plan_way *way = &plan->ways[i];
			bool by_user = way->limited == PN_COUNTER_USER_LOCKED;

			if (way->need != formula(&input, by_user))
				fail_msg("round %u, way %zu: %" PRIu64 ", by the formula %" PRIu64,
					round, i, way->need, formula(&input, by_user));
			assert_int_equal(plan_play(&outcome, plan, &plan_paths[i], way->need), 0);
			assert_int_equal(outcome.err, 0);
			assert_int_equal(outcome.need, way->need);
			assert_int_equal(
				plan_play(&outcome, plan, &plan_paths[i], way->need - 1), 0);
			assert_int_not_equal(outcome.err, 0);
		}
		pn_plan_free(plan);
	}
}

static const struct pn_plan_snippet *snippet_of(
	const struct pn_plan_settings *settings, const char *kind)
{
	for (size_t i = 0; i < settings->snippet_count; i++) {
		if (strcmp(settings->snippets[i].kind, kind) == 0)
			return &settings->snippets[i];
	}
	fail_msg("no setting for %s", kind);
	return NULL;
}

static void expect_text(const struct pn_plan_settings *settings, const char *kind, const char *text)
{
	assert_string_equal(snippet_of(settings, kind)->text, text);
}

/* 64 MiB are 67,108,864 bytes, or 65,536 KiB. */
static void settings_have_the_unit_of_their_place(void **state)
{
	struct pn_plan_input input = {
		.mem = 64 * MIB, .backends = PN_PLAN_TYPE1, .numa_nodes = 2, .user = "dpdk"};
	struct pn_plan *plan = plan_of(&input);
	const struct pn_plan_settings *settings = &plan->settings[0];

	(void)state;
	assert_int_equal(plan->settings_count, 1);
	expect_text(settings, "systemd", "[Service]\nLimitMEMLOCK=67108864");
	expect_text(settings, "limits.d", "dpdk - memlock 65536");
	expect_text(settings, "prlimit", "sudo prlimit --pid $$ --memlock=67108864:67108864");
	expect_text(settings, "docker", "--ulimit memlock=67108864:67108864");
	expect_text(settings, "podman", "--ulimit memlock=67108864:67108864");
	expect_text(settings, "oci",
		"\"rlimits\": [\n  {\"type\": \"RLIMIT_MEMLOCK\", \"hard\": 67108864, \"soft\": "
		"67108864}\n]");
	expect_text(settings, "kubernetes-pod",
		"resources:\n  requests:\n    hugepages-2Mi: 64Mi\n    memory: 256Mi\n  limits:\n"
		"    hugepages-2Mi: 64Mi\n    memory: 256Mi");
	expect_text(settings, "kubernetes-containerd", "[Service]\nLimitMEMLOCK=67108864");
	expect_text(settings, "kubernetes-crio",
		"[crio.runtime]\ndefault_ulimits = [\"memlock=67108864:67108864\"]");
	expect_text(settings, "libvirt",
		"<memtune>\n  <hard_limit unit='KiB'>65536</hard_limit>\n</memtune>");
	assert_string_equal(plan->hugepage_snippets[0].text,
		"echo 16 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages\n"
		"echo 16 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
	assert_string_equal(plan->hugepage_snippets[1].text, "hugepagesz=2M hugepages=0:16,1:16");
	pn_plan_free(plan);
}

/* The longest of all texts are still whole. */
static void no_text_is_cut(void **state)
{
	struct pn_plan_input input = {.mem = (UINT64_C(1) << 48) - 1,
		.page_size = PN_PAGE_4K,
		.devices = 4,
		.processes = 8,
		.numa_nodes = 16,
		.separate_domains = true,
		.mlockall = true,
		.other_locked = (UINT64_C(1) << 48) - 1,
		.headroom_percent = 100};
	char *text;

	(void)state;
	for (int round = 0; round < 4; round++) {
		struct pn_plan *plan;

		input.page_size = round & 1 ? PN_PAGE_2M : PN_PAGE_4K;
		input.cap_ipc_lock = round & 2;
		plan = plan_of(&input);
		for (size_t i = 0; i < plan->way_count; i++) {
			const struct pn_plan_way *way = &plan->ways[i];

			assert_true(way->collision_count < PN_PLAN_COLLISIONS);
			for (size_t j = 0; j < way->collision_count; j++)
				assert_true(strlen(way->collisions[j].text) + 1 <
					    sizeof(way->collisions[j].text));
		}
		for (size_t i = 0; i < plan->hugepage_snippet_count; i++)
			assert_true(strlen(plan->hugepage_snippets[i].text) + 1 <
				    sizeof(plan->hugepage_snippets[i].text));
		for (size_t i = 0; i < plan->note_count; i++)
			assert_true(strlen(plan->notes[i]) + 1 < sizeof(plan->notes[i]));
		text = pn_plan_text(plan);
		assert_non_null(text);
		free(text);
		pn_plan_free(plan);
	}
}

/* Nothing wraps at the bounds: 8,192 mappings of 2^36 pages each by one user are 2^49. */
static void the_largest_plan_is_exact(void **state)
{
	struct pn_plan_input input = {.mem = UINT64_C(1) << 48,
		.page_size = PN_PAGE_1G,
		.devices = 8,
		.processes = 1024,
		.separate_domains = true,
		.backends = PN_PLAN_IOMMUFD | PN_PLAN_TYPE1,
		.headroom_percent = 100};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	assert_int_equal(plan->ways[0].need, UINT64_C(1) << 39);
	assert_int_equal(plan->ways[1].need, UINT64_C(1) << 49);
	assert_int_equal(plan->ways[1].set << 12, UINT64_C(1) << 62);
	pn_plan_free(plan);
}

static void collisions_are_named(void **state)
{
	struct pn_plan_input input = {.mem = MIB,
		.page_size = PN_PAGE_4K,
		.processes = 2,
		.devices = 2,
		.separate_domains = true,
		.mlockall = true,
		.other_locked = 1};
	static const char *const want[][5] = {
		[TYPE1] = {"separate", "locked-twice", "domains"},
		[BY_USER] = {"same-user", "other-locked", "same-counter", "mlockall", "domains"},
		[AS_VFIO] = {"separate", "locked-twice", "domains", "pinned"},
	};
	struct pn_plan *plan = plan_of(&input);

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		for (size_t j = 0; j < 5 && want[i][j]; j++)
			assert_string_equal(plan->ways[i].collisions[j].kind, want[i][j]);
	}
	pn_plan_free(plan);
}

static void json_says_the_same(void **state)
{
	struct pn_plan_input input = {.mem = 4 * GIB, .processes = 3, .devices = 2};
	struct pn_plan *plan = plan_of(&input);
	char *text = pn_plan_json(plan);
	const char *backend, *accounting;
	json_t *root = json_loads(text, 0, NULL);
	json_int_t pages, bytes, hugepages;
	int by_default;

	(void)state;
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "schema")), "pinion.plan/1");
	assert_int_equal(json_array_size(json_object_get(root, "ways")), PN_PLAN_WAYS);
	assert_int_equal(
		json_unpack(json_array_get(json_object_get(root, "ways"), BY_USER),
			"{s:s, s:s, s:b, s:I, s:I}", "backend", &backend, "accounting", &accounting,
			"default", &by_default, "memlock_pages", &pages, "memlock_bytes", &bytes),
		0);
	assert_string_equal(backend, "iommufd");
	assert_string_equal(accounting, "user");
	assert_true(by_default);
	assert_int_equal(pages, 3145728);
	assert_int_equal(bytes, INT64_C(12884901888));
	assert_int_equal(json_unpack(root, "{s:{s:I}}", "hugepages", "total_pages", &hugepages), 0);
	assert_int_equal(hugepages, 6144);
	json_decref(root);
	free(text);
	pn_plan_free(plan);
}

static void expect_refused(struct pn_plan_input input, const char *why)
{
	struct pn_plan *plan = (struct pn_plan *)&input;

	assert_int_equal(pn_plan_create(&plan, &input), -EINVAL);
	assert_null(plan);
	if (!strstr(pn_error(), why))
		fail_msg("'%s' does not say '%s'", pn_error(), why);
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct pn_plan *plan;

	(void)state;
	expect_refused((struct pn_plan_input){0}, "no memory");
	expect_refused((struct pn_plan_input){.mem = (UINT64_C(1) << 48) + 1}, "256 TiB");
	expect_refused((struct pn_plan_input){.mem = 1, .page_size = 65536}, "pages of 65536");
	expect_refused((struct pn_plan_input){.mem = 1, .devices = 65}, "65 devices");
	expect_refused((struct pn_plan_input){.mem = 1, .processes = 1025}, "1025 processes");
	expect_refused((struct pn_plan_input){.mem = 1, .numa_nodes = 17}, "17 NUMA nodes");
	expect_refused((struct pn_plan_input){.mem = 1, .backends = 16}, "backend 0x10");
	expect_refused((struct pn_plan_input){.mem = 1, .program = 1}, "mlockall");
	expect_refused((struct pn_plan_input){.mem = 1, .headroom_percent = 101}, "101 percent");
	expect_refused((struct pn_plan_input){.mem = 1, .headroom = UINT64_MAX}, "headroom");
	expect_refused((struct pn_plan_input){.mem = 1, .other_locked = UINT64_MAX}, "by others");
	expect_refused(
		(struct pn_plan_input){.mem = 1, .mlockall = true, .program = UINT64_MAX}, "own");
	expect_refused((struct pn_plan_input){.mem = 1, .user = "a b"}, "login name");
	expect_refused((struct pn_plan_input){.mem = 1, .user = ""}, "login name");
	expect_refused(
		(struct pn_plan_input){
			.mem = 1, .processes = 1024, .devices = 9, .separate_domains = true},
		"9216 mappings");
	assert_int_equal(pn_plan_create(NULL, NULL), -EINVAL);
	assert_int_equal(pn_plan_create(&plan, NULL), -EINVAL);
	pn_plan_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_of_a_user_share_a_counter),
		cmocka_unit_test(locked_memory_counts_twice),
		cmocka_unit_test(hugepages_are_asked_for_but_not_locked),
		cmocka_unit_test(others_of_the_user_count),
		cmocka_unit_test(domains_are_charged_each),
		cmocka_unit_test(a_capability_needs_no_limit),
		cmocka_unit_test(sizes_are_rounded_up_and_it_is_said),
		cmocka_unit_test(headroom_is_rounded_up),
		cmocka_unit_test(the_limit_is_the_least),
		cmocka_unit_test(settings_have_the_unit_of_their_place),
		cmocka_unit_test(no_text_is_cut),
		cmocka_unit_test(the_largest_plan_is_exact),
		cmocka_unit_test(collisions_are_named),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
