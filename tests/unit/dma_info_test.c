/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a domain makes of the kernel's answers: good ones (entry budget, ranges, which node is
 * whose) and bad ones (capability chains with cycles, cut short, pointing outside, lying). A bad
 * answer fails the attach or is passed over; it never hangs, reads outside or leaves anything
 * behind.
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
#include "dma_fixture.h"

#define BASE UINT64_C(0x100000000)
#define HEAD ((uint32_t)sizeof(struct vfio_iommu_type1_info))

static struct pn_domain *domain;
static struct pn_region *region;

static int create(const char *backend, const char *node)
{
	struct pn_domain_opts opts = {.node = node};

	return new_domain(&domain, backend, &opts);
}

static struct pn_domain_info info(void)
{
	return info_of(domain);
}

static void check_ranges(void)
{
	for (unsigned int i = 0; i < info().range_count; i++) {
		const struct pn_iova_range *range = &info().ranges[i];

		assert_true(range->first <= range->last);
		assert_true(!i || range[-1].last < range->first);
	}
}

/* Attach with this chain of capabilities; what came of it. Everything is let go of again. */
static int attach_with(const void *caps, size_t size, uint32_t offset, unsigned int *range_count)
{
	struct model_state before, after;
	int fd, result;

	assert_int_equal(create("type1", NULL), 0);
	before = model_state();
	model.caps = caps;
	model.caps_size = size;
	model.cap_offset = offset;
	stale_error();
	result = pn_domain_attach(domain, &nic0, &fd);
	if (result) {
		assert_true(has_reason());
		after = model_state();
		assert_true(model_state_equal(&before, &after));
	} else {
		*range_count = info().range_count;
		check_ranges();
		pn_domain_detach(domain, fd);
	}
	assert_int_equal(pn_domain_destroy(domain), 0);
	model.caps = NULL;
	return result;
}

struct cap_ranges {
	struct vfio_info_cap_header header;
	uint32_t nr_iovas, reserved;
	struct vfio_iova_range ranges[4];
};

static void the_truth_is_taken(void **state)
{
	struct cap_ranges caps = {
		{1, 1, 0}, 2, 0, {{0x1000, 0xffff}, {0x20000, UINT64_MAX}, {0, 0}, {0, 0}}};
	unsigned int count = 0;

	(void)state;
	assert_int_equal(attach_with(&caps, sizeof(caps), 0, &count), 0);
	assert_int_equal(count, 2);
}

static void chains_that_never_end(void **state)
{
	struct vfio_info_cap_header loop[2] = {{77, 1, HEAD}, {78, 1, 0}};
	unsigned int count;

	(void)state;
	attach_with(loop, sizeof(loop), 0, &count);
	loop[0].next = HEAD + 8;
	loop[1].next = HEAD;
	attach_with(loop, sizeof(loop), 0, &count);
	/* Backwards, into the fixed part. */
	loop[0].next = 8;
	attach_with(loop, sizeof(loop), 0, &count);
	loop[0].next = 1;
	attach_with(loop, sizeof(loop), 0, &count);
}

static void chains_that_point_outside(void **state)
{
	struct cap_ranges caps = {{1, 1, 0}, 1, 0, {{0, UINT32_MAX}, {0, 0}, {0, 0}, {0, 0}}};
	static const uint32_t offsets[] = {1, 4, 8, HEAD - 1, HEAD + 1, HEAD + 3,
		HEAD + sizeof(struct cap_ranges) - 8, HEAD + sizeof(struct cap_ranges) - 4,
		HEAD + sizeof(struct cap_ranges), HEAD + 4096, UINT32_MAX - 3, UINT32_MAX};
	unsigned int count;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(offsets); i++) {
		caps.header.next = 0;
		attach_with(&caps, sizeof(caps), offsets[i], &count);
		caps.header.next = offsets[i];
		attach_with(&caps, sizeof(caps), 0, &count);
	}
}

/* Aligned to four bytes only: the numbers in it are aligned to eight no more. */
static void a_capability_in_an_odd_place(void **state)
{
	struct {
		uint32_t before;
		struct cap_ranges caps;
	} __attribute__((packed))
	odd = {0, {{1, 1, 0}, 2, 0, {{0, 0xfff}, {0x2000, 0x2fff}, {0, 0}, {0, 0}}}};
	unsigned int count = 2;

	(void)state;
	if (!attach_with(&odd, sizeof(odd), HEAD + 4, &count))
		assert_int_equal(count, 2);
}

static void chains_cut_short_at_every_byte(void **state)
{
	unsigned char *bytes;
	struct cap_ranges caps = {{1, 1, HEAD + sizeof(struct cap_ranges)}, 4, 0,
		{{0, 0xfff}, {0x2000, 0x2fff}, {0x4000, 0x4fff}, {0x6000, 0x6fff}}};
	unsigned int count;

	(void)state;
	for (size_t size = 0; size <= sizeof(caps); size++) {
		bytes = malloc(size + 1);
		assert_non_null(bytes);
		memcpy(bytes, &caps, size);
		attach_with(bytes, size, 0, &count);
		free(bytes);
	}
}

static void lying_range_capabilities(void **state)
{
	static const uint32_t counts[] = {
		0, 5, 255, 0x0fffffff, 0x10000000, 0x10000001, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct cap_ranges caps = {{1, 1, 0}, 0, 0, {{0, 0xfff}, {0, 0}, {0, 0}, {0, 0}}};
	unsigned int count = 0;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(counts); i++) {
		caps.nr_iovas = counts[i];
		/* With no valid IOVA at all nothing can be mapped: either way, no crash. */
		attach_with(&caps, sizeof(caps), 0, &count);
	}
	caps.nr_iovas = 3;
	caps.ranges[0] = (struct vfio_iova_range){0x4000, 0x8fff};
	caps.ranges[1] = (struct vfio_iova_range){0x1000, 0x5fff};
	caps.ranges[2] = (struct vfio_iova_range){0x3000, 0x3fff};
	attach_with(&caps, sizeof(caps), 0, &count);
	caps.ranges[0] = (struct vfio_iova_range){0x4000, 0x3fff};
	attach_with(&caps, sizeof(caps), 0, &count);
	caps.ranges[0] = (struct vfio_iova_range){UINT64_MAX, 0};
	attach_with(&caps, sizeof(caps), 0, &count);
	caps.ranges[0] = (struct vfio_iova_range){0, UINT64_MAX};
	caps.ranges[1] = caps.ranges[2] = caps.ranges[0];
	attach_with(&caps, sizeof(caps), 0, &count);
}

static void random_capabilities(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15;
	unsigned int count;

	(void)state;
	for (unsigned int round = 0; round < 2000; round++) {
		struct cap_ranges caps = {
			{1, 1, 0}, 2, 0, {{0, 0xfff}, {0x2000, 0x2fff}, {0, 0}, {0, 0}}};
		unsigned char *bytes = (unsigned char *)&caps;

		for (unsigned int i = 0; i < 1 + round % 4; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			bytes[seed % 32] = (unsigned char)(seed >> 32);
		}
		attach_with(&caps, sizeof(caps), 0, &count);
	}
}

/* The same of native iommufd: how many ranges there are, and which. */
static int attach_native(const struct vfio_iova_range *ranges, uint32_t count, uint32_t said,
	uint64_t alignment, unsigned int *range_count)
{
	struct model_state before, after;
	int fd, result;

	assert_int_equal(create("iommufd", NULL), 0);
	before = model_state();
	model.native_ranges = ranges;
	model.native_count = count;
	model.native_said = said;
	model.native_alignment = alignment;
	stale_error();
	result = pn_domain_attach(domain, &nic0, &fd);
	if (result) {
		assert_true(has_reason());
		after = model_state();
		assert_true(model_state_equal(&before, &after));
	} else {
		*range_count = info().range_count;
		check_ranges();
		pn_domain_detach(domain, fd);
	}
	assert_int_equal(pn_domain_destroy(domain), 0);
	model.native_ranges = NULL;
	return result;
}

static void native_ranges_are_taken(void **state)
{
	static struct vfio_iova_range many[300];
	unsigned int count = 0;

	(void)state;
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(many); i++)
		many[i] = (struct vfio_iova_range){i * 0x10000ull, i * 0x10000ull + 0x7fff};
	for (uint32_t size = 1; size <= PN_ARRAY_SIZE(many); size += 1 + size / 2) {
		assert_int_equal(attach_native(many, size, size, 4096, &count), 0);
		assert_int_equal(count, size);
	}
}

static void native_ranges_that_make_no_sense(void **state)
{
	static const struct vfio_iova_range good[] = {{0, 0xfff}, {0x2000, 0x2fff}},
					    backwards[] = {{0x2000, 0x2fff}, {0, 0xfff}},
					    over[] = {{0, 0x2fff}, {0x2000, 0x4fff}},
					    inverted[] = {{0x3000, 0x2fff}, {0x4000, 0x4fff}},
					    all[] = {{0, UINT64_MAX}, {0, UINT64_MAX}};
	static const uint32_t counts[] = {3, 255, 4096, 0x10000000, 0x7fffffff, UINT32_MAX};
	static const uint64_t alignments[] = {
		0, 3, 4097, 8192, 1u << 30, UINT64_C(1) << 63, UINT64_MAX};
	unsigned int count = 0;

	(void)state;
	assert_true(attach_native(good, 0, 0, 4096, &count) < 0);
	assert_true(attach_native(backwards, 2, 2, 4096, &count) < 0);
	assert_true(attach_native(over, 2, 2, 4096, &count) < 0);
	assert_true(attach_native(inverted, 2, 2, 4096, &count) < 0);
	assert_true(attach_native(all, 2, 2, 4096, &count) < 0);
	/* A number that grows each time it is asked for: it ends. */
	for (size_t i = 0; i < PN_ARRAY_SIZE(counts); i++)
		attach_native(good, 2, counts[i], 4096, &count);
	for (size_t i = 0; i < PN_ARRAY_SIZE(alignments); i++)
		attach_native(good, 2, 2, alignments[i], &count);
}

static void a_long_name_of_a_node_is_not_cut(void **state)
{
	static const char node[] = "/dev/vfio/../vfio/../vfio/../vfio/../vfio/vfio";

	(void)state;
	/* Opened as it is, or refused by its whole name; never another file. */
	if (create("type1", node))
		assert_non_null(strstr(pn_error(), node));
	else
		assert_int_equal(pn_domain_destroy(domain), 0);
}

static void the_charge_rule_follows_who_answers(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(create("type1", NULL), 0);
	assert_int_equal(info().charge.counters, PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED));
	assert_int_equal(info().charge.exempt_counters, PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED));
	assert_int_equal(info().charge.limited, PN_COUNTER_MM_LOCKED);
	assert_int_equal(pn_domain_destroy(domain), 0);

	assert_int_equal(create("iommufd-compat", NULL), 0);
	assert_int_equal(info().charge.counters,
		PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED));
	assert_int_equal(info().charge.exempt_counters, PN_COUNTER_BIT(PN_COUNTER_MM_PINNED));
	assert_int_equal(info().charge.limited, PN_COUNTER_USER_LOCKED);
	assert_int_equal(pn_domain_destroy(domain), 0);

	/* /dev/vfio/vfio is iommufd's: by process. */
	model.iommufd_vfio = true;
	assert_int_equal(create("iommufd-compat", "/dev/vfio/vfio"), 0);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), 0);
	assert_int_equal(info().charge.counters,
		PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED));
	assert_int_equal(info().charge.limited, PN_COUNTER_MM_LOCKED);
	pn_domain_detach(domain, fd);
	assert_int_equal(pn_domain_destroy(domain), 0);
	assert_true(create("type1", NULL) < 0);
	assert_string_not_equal(pn_error(), "");
}

static void bad_groups_are_explained(void **state)
{
	struct pn_dma_device lost = {"0000:00:09.0", 5}, nowhere = {"0000:00:04.0", 99};
	int fd;

	(void)state;
	assert_int_equal(create("type1", NULL), 0);
	model_group_viable(5, false);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), -EPERM);
	assert_non_null(strstr(pn_error(), "group 5 of device 0000:00:"));
	assert_non_null(strstr(pn_error(), "not viable"));
	assert_non_null(strstr(pn_error(), "pinion bind --group "));
	model_group_viable(5, true);
	model_group_open_error(5, EACCES);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), -EACCES);
	assert_non_null(strstr(pn_error(), "/dev/vfio/5"));
	model_group_open_error(5, EBUSY);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), -EBUSY);
	model_group_open_error(5, 0);
	assert_int_equal(pn_domain_attach(domain, &lost, &fd), -ENODEV);
	assert_non_null(strstr(pn_error(), lost.address));
	assert_true(pn_domain_attach(domain, &nowhere, &fd) < 0);
	assert_int_equal(model_open_fds(), 1);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), 0);
	pn_domain_detach(domain, fd);
	assert_int_equal(pn_domain_destroy(domain), 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_machine();
	model.ranges[1].start = BASE;
	model.ranges[0].end = BASE - 1;
	return new_region(&region, 16);
}

static int teardown(void **state)
{
	int left = model_teardown(NULL);

	(void)state;
	return pn_region_destroy(region) || left ? -1 : 0;
}

#define TEST(test)                                 \
	{                                          \
#test, test, setup, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_truth_is_taken),
		TEST(chains_that_never_end),
		TEST(chains_that_point_outside),
		TEST(a_capability_in_an_odd_place),
		TEST(chains_cut_short_at_every_byte),
		TEST(lying_range_capabilities),
		TEST(random_capabilities),
		TEST(native_ranges_are_taken),
		TEST(native_ranges_that_make_no_sense),
		TEST(a_long_name_of_a_node_is_not_cut),
		TEST(the_charge_rule_follows_who_answers),
		TEST(bad_groups_are_explained),
	};

	return fixture_run(tests);
}
