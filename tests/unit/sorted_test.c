/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sorted list: its order under all kinds of insertion, how full its buckets are, searches by
 * weight, and that what was reserved is there when memory is out.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sorted.h"
#include "sorted_check.h"

static uint64_t weigh(uint64_t key, uint64_t value)
{
	(void)key;
	return value;
}

static void add(struct sorted *list, uint64_t key, uint64_t value)
{
	assert_int_equal(sorted_reserve(list, list->count + 1), 0);
	sorted_add(list, sorted_place(list, key, value), key, value);
}

/* One that is there. */
static struct sorted_at find(struct sorted *list, uint64_t key, uint64_t value)
{
	struct sorted_at at = sorted_find(list, key, value);

	test_check(sorted_is(list, at));
	test_check(sorted_key(list, at) == key && sorted_value(list, at) == value);
	return at;
}

/* Buckets. */
static size_t in_use(const struct sorted *list)
{
	return list->top->end - list->top->start;
}

static void an_empty_list(void **state)
{
	struct sorted list = {.weigh = weigh};

	(void)state;
	for (int round = 0; round < 2; round++) {
		assert_false(sorted_is(&list, sorted_find(&list, 0, 0)));
		assert_false(sorted_is(&list, sorted_find(&list, UINT64_MAX, UINT64_MAX)));
		assert_false(sorted_is(&list, sorted_last(&list)));
		assert_true(sorted_floor(&list, 5) == 0);
		assert_true(sorted_heaviest(&list) == 0);
		assert_false(sorted_is(&list, sorted_heavy(&list, 0, 0)));
		assert_false(sorted_is(&list, sorted_first(&list)));
		sorted_check(&list);
		/* And one that has become empty. */
		add(&list, 4, 4);
		assert_true(sorted_floor(&list, 5) == 4);
		sorted_remove(&list, find(&list, 4, 4));
	}
	sorted_free(&list);
	sorted_check(&list);
}

static void ends_of_the_numbers(void **state)
{
	struct sorted list = {0};

	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		add(&list, UINT64_MAX, UINT64_MAX - i);
		add(&list, 0, i);
		add(&list, UINT64_MAX - 1, i + 1);
		sorted_check(&list);
	}
	find(&list, UINT64_MAX, UINT64_MAX);
	find(&list, 0, 0);
	assert_false(sorted_is(&list, sorted_next(&list, sorted_last(&list))));
	assert_false(sorted_is(&list, sorted_prev(&list, sorted_find(&list, 0, 0))));
	assert_true(sorted_floor(&list, 77) == 99);
	assert_true(sorted_floor(&list, UINT64_MAX - 1) == 100);
	for (uint64_t i = 0; i < 100; i++) {
		sorted_remove(&list, find(&list, UINT64_MAX, UINT64_MAX - i));
		sorted_remove(&list, find(&list, 0, i));
		sorted_remove(&list, find(&list, UINT64_MAX - 1, i + 1));
		sorted_check(&list);
	}
	assert_int_equal(list.count, 0);
	sorted_free(&list);
}

/* Pairs with one key fill many buckets, and are found by their values. */
static void one_key(void **state)
{
	struct sorted list = {.weigh = weigh};

	(void)state;
	add(&list, 6, 1);
	for (uint64_t i = 0; i < 5000; i++)
		add(&list, 7, i * 1237 % 5000);
	add(&list, 8, 1);
	sorted_check(&list);
	for (uint64_t i = 0; i < 5000; i++)
		sorted_remove(&list, find(&list, 7, i * 3 % 5000));
	sorted_check(&list);
	assert_int_equal(list.count, 2);
	sorted_free(&list);
}

static void runs_fill_buckets(void **state)
{
	struct sorted up = {0}, down = {0}, middle = {0};

	(void)state;
	add(&middle, 1, 0);
	add(&middle, 1000000, 0);
	for (uint64_t i = 0; i < 6400; i++) {
		add(&up, i, i);
		add(&down, 1000000 - i, i);
		add(&middle, 100 + i, i);
	}
	sorted_check(&up);
	sorted_check(&down);
	sorted_check(&middle);
	assert_int_equal(in_use(&up), 100);
	assert_int_equal(in_use(&down), 100);
	assert_in_range(in_use(&middle), 101, 120);
	sorted_free(&up);
	sorted_free(&down);
	sorted_free(&middle);
}

static void random_order_fills_three_quarters(void **state)
{
	struct sorted list = {0};
	const uint64_t count = 60000;

	(void)state;
	test_seed();
	while (list.count < count)
		add(&list, test_random(), 1);
	sorted_check(&list);
	assert_true(in_use(&list) * SORTED_BUCKET * 3 / 4 <= count);
	/* But there is room left, or each pair that comes would move many. */
	assert_true(in_use(&list) * SORTED_BUCKET * 9 / 10 > count);
	assert_true(list.buckets <= in_use(&list) + 1);
	/* Of few that are left, not many buckets remain. */
	while (list.count > count / 64) {
		struct sorted_at at = sorted_find(&list, test_random(), 0);

		if (sorted_is(&list, at))
			sorted_remove(&list, at);
	}
	sorted_check(&list);
	assert_true(in_use(&list) * 8 <= list.count);
	sorted_free(&list);
}

/* One of 16 stays, from either end: not many buckets are left for them. */
static void few_that_are_left_join(void **state)
{
	(void)state;
	for (unsigned int down = 0; down < 2; down++) {
		struct sorted list = {.weigh = weigh};

		for (uint64_t i = 0; i < 6400; i++)
			add(&list, i, i);
		for (uint64_t i = 0; i < 6400; i++) {
			uint64_t key = down ? 6399 - i : i;

			if (key % 16)
				sorted_remove(&list, find(&list, key, key));
		}
		sorted_check(&list);
		assert_int_equal(list.count, 400);
		assert_true(in_use(&list) <= 25);
		sorted_free(&list);
	}
}

static size_t naive_heavy(const struct sorted *list, size_t from, uint64_t weight)
{
	for (from = from < list->top->start ? list->top->start : from; from < list->top->end;
		from++)
		if (list->top->weight[from] >= weight)
			return from;
	return list->top->end;
}

static size_t naive_heavy_before(const struct sorted *list, size_t before, uint64_t weight)
{
	while (before-- > 0)
		if (list->top->weight[before] >= weight)
			return before;
	return SORTED_NONE;
}

static void searches_by_weight(void **state)
{
	struct sorted list = {.weigh = weigh};

	(void)state;
	test_seed();
	/* Weights with few that stand out, in enough buckets for several peaks. */
	for (uint64_t i = 0; i < 12000; i++)
		add(&list, test_random(), test_random() >> test_below(60));
	for (test_operation = 0; test_operation < 20000; test_operation++) {
		struct sorted_at at = sorted_find(&list, test_random(), 0);
		uint64_t weight = test_random() >> test_below(60);
		size_t bucket = test_below(list.top->end + 2);

		test_check(sorted_heavy(&list, bucket, weight).bucket ==
			   naive_heavy(&list, bucket, weight));
		bucket = test_below(list.top->end + 1);
		test_check(sorted_heavy_before(list.top, bucket, weight) ==
			   naive_heavy_before(&list, bucket, weight));
		if (!sorted_is(&list, at))
			continue;
		if (test_below(2))
			sorted_set(&list, at, sorted_key(&list, at), weight);
		else
			sorted_remove(&list, at);
		if (test_operation % 100 == 0)
			sorted_check(&list);
	}
	sorted_check(&list);
	sorted_free(&list);
}

#define MODEL_PAIRS 4000u

/* A pair covers as many keys more as its value says. */
static uint64_t weigh_last(uint64_t key, uint64_t value)
{
	return key + value;
}

/* The same pairs in an array. */
struct model {
	struct {
		uint64_t key;
		uint64_t value;
	} pair[MODEL_PAIRS];
	size_t count;
};

static void model_put(struct model *model, size_t at, uint64_t key, uint64_t value)
{
	memmove(&model->pair[at + 1], &model->pair[at],
		(model->count++ - at) * sizeof(model->pair[0]));
	model->pair[at].key = key;
	model->pair[at].value = value;
}

static void model_take(struct model *model, size_t at)
{
	memmove(&model->pair[at], &model->pair[at + 1],
		(--model->count - at) * sizeof(model->pair[0]));
}

static void expect_model(const struct model *model, struct sorted *list)
{
	struct sorted_at at = sorted_first(list);
	uint64_t heaviest = 0, weight;

	sorted_check(list);
	for (size_t i = 0; i < model->count; i++) {
		test_check(sorted_is(list, at));
		test_check(sorted_key(list, at) == model->pair[i].key);
		test_check(sorted_value(list, at) == model->pair[i].value);
		weight = list->weigh(model->pair[i].key, model->pair[i].value);
		heaviest = weight > heaviest ? weight : heaviest;
		at = sorted_next(list, at);
	}
	test_check(!sorted_is(list, at));
	at = sorted_last(list);
	for (size_t i = model->count; i-- > 0; at = sorted_prev(list, at))
		test_check(sorted_key(list, at) == model->pair[i].key);
	test_check(!sorted_is(list, at));
	test_check(sorted_heaviest(list) == heaviest);
	sorted_check(list);
}

/* Where in the model the next operation is: at the front, the back, near the last one, anywhere. */
static size_t next_place(uint64_t kind, size_t last, size_t count)
{
	switch (kind) {
	case 0:
		return 0;
	case 1:
		return count;
	case 2:
		return last < count ? last : count;
	case 3:
		return last + 1 < count ? last + 1 : count;
	default:
		return (size_t)test_below(count + 1);
	}
}

/* A key between those of its neighbours, or one of theirs. */
static void model_add(struct model *model, struct sorted *list, size_t at)
{
	uint64_t low = at ? model->pair[at - 1].key : 0;
	uint64_t high = at < model->count ? model->pair[at].key : low + 2000000;
	uint64_t key = low + test_below(high - low + 1), value = 1 + test_below(100000);

	while (at && model->pair[at - 1].key == key && model->pair[at - 1].value >= value)
		value = model->pair[at - 1].value + 1;
	if (at < model->count && model->pair[at].key == key && model->pair[at].value <= value)
		return;
	add(list, key, value);
	model_put(model, at, key, value);
	test_check(sorted_is_near(list, value));
	test_check(sorted_floor(list, key) == model->pair[at].value ||
		   (at + 1 < model->count && model->pair[at + 1].key == key));
}

static void model_remove(struct model *model, struct sorted *list, size_t at)
{
	sorted_remove(list, find(list, model->pair[at].key, model->pair[at].value));
	model_take(model, at);
}

/* Phases of growing and shrinking, each at one kind of place: both ends of buckets and of the top
 * move both ways, and buckets give to each other from any start. */
static void ends_come_and_go(void **state)
{
	static struct model model;
	struct sorted list = {.weigh = *state ? weigh_last : weigh, .reach = *state != NULL};
	size_t last = 0;

	test_seed();
	model.count = 0;
	for (test_operation = 0; test_operation < test_scale(400); test_operation++) {
		bool grow = model.count < 300 || (model.count < 3000 && test_below(2));
		uint64_t kind = test_below(5), operations = 1 + test_below(600);

		for (; operations; operations--) {
			last = next_place(kind, last, model.count);
			if (grow && model.count < MODEL_PAIRS && test_below(8))
				model_add(&model, &list, last);
			else if (model.count)
				model_remove(&model, &list, last < model.count ? last : last - 1);
		}
		expect_model(&model, &list);
	}
	while (model.count)
		model_remove(&model, &list, test_below(2) ? 0 : model.count - 1);
	expect_model(&model, &list);
	sorted_free(&list);
}

/* A queue: pairs come at one end and go at the other, in buckets and tops of any size. */
static void queues(void **state)
{
	(void)state;
	for (size_t length = 1; length < 10000; length = length * 3 + 1) {
		struct sorted up = {.weigh = weigh_last, .reach = true}, down = {0};
		const uint64_t top = 1000000;
		size_t buckets;

		for (uint64_t i = 0; i < length; i++) {
			add(&up, 1 + i, 1);
			add(&down, top - i, 1);
		}
		buckets = up.buckets;
		for (uint64_t i = length; i < 4 * length + 1000; i++) {
			sorted_remove(&up, find(&up, 1 + i - length, 1));
			sorted_remove(&down, find(&down, top - (i - length), 1));
			add(&up, 1 + i, 1);
			add(&down, top - i, 1);
			if (i % 1000 == 0) {
				sorted_check(&up);
				sorted_check(&down);
			}
		}
		assert_in_range(up.buckets, 1, buckets + 2);
		assert_in_range(down.buckets, 1, buckets + 2);
		sorted_free(&up);
		sorted_free(&down);
	}
}

/* However the pairs lie, what was reserved has room when no memory is left. */
static void what_is_reserved_has_room(void **state)
{
	(void)state;
	test_seed();
	for (test_operation = 0; test_operation < 300; test_operation++) {
		struct sorted list = {.weigh = weigh};
		size_t before = test_below(1000), more = test_below(1000), kind = test_below(3);
		uint64_t from = test_random();

		for (size_t i = 0; i < before; i++)
			add(&list, test_random() >> 3, 1);
		test_check(!sorted_reserve(&list, before + more));
		allocations_fail(ALL_FAIL);
		for (size_t i = 0; i < more; i++) {
			uint64_t key = kind == 0 ? test_random() : kind == 1 ? from + i : from - i;

			sorted_add(&list, sorted_place(&list, key, 1), key, 1);
		}
		/* To the last place. */
		while (list.count < list.buckets * SORTED_BUCKET) {
			uint64_t key = test_random();

			test_check(!sorted_reserve(&list, list.count + 1));
			sorted_add(&list, sorted_place(&list, key, 1), key, 1);
		}
		sorted_check(&list);
		test_check(sorted_reserve(&list, list.count + 1) == -ENOMEM);
		allocations_fail(0);
		test_check(!sorted_reserve(&list, list.count + 1));
		sorted_check(&list);
		sorted_free(&list);
	}
}

static void each_allocation_of_a_reserve(void **state)
{
	struct sorted list = {0};
	unsigned int refused = 0;

	(void)state;
	for (unsigned int number = 1; list.count < 20000; number++) {
		size_t buckets = list.buckets;

		allocations_fail(number % 7 ? 1 : 2);
		if (sorted_reserve(&list, list.count + 4 * SORTED_BUCKET)) {
			refused++;
			assert_true(list.buckets <= buckets + 2);
		}
		allocations_fail(0);
		sorted_check(&list);
		for (unsigned int i = 0; i < SORTED_BUCKET; i++)
			add(&list, number * 1000 + i, 1);
	}
	assert_true(refused > 100);
	sorted_free(&list);
}

int main(void)
{
	static bool reach = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_list),
		cmocka_unit_test(ends_of_the_numbers),
		cmocka_unit_test(one_key),
		cmocka_unit_test(runs_fill_buckets),
		cmocka_unit_test(random_order_fills_three_quarters),
		cmocka_unit_test(few_that_are_left_join),
		cmocka_unit_test(searches_by_weight),
		cmocka_unit_test_prestate(ends_come_and_go, NULL),
		{"ends_come_and_go, weights that reach", ends_come_and_go, NULL, NULL, &reach},
		cmocka_unit_test(queues),
		cmocka_unit_test(what_is_reserved_has_room),
		cmocka_unit_test(each_allocation_of_a_reserve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
