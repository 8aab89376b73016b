/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's policy and its check of requests, without a machine: what is taken, what is refused
 * and where, and whose a rule is.
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

#include "output.h"
#include "policy.h"
#include "request.h"

#define CARD "0000:03:00.0"

const char *const program_name = "broker_test";

static struct policy policy;
static struct policy_error error;

static int parse(const char *text)
{
	memset(&error, 0, sizeof(error));
	return policy_parse(&policy, text, strlen(text), &error);
}

static void rules_are_read(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_int_equal(policy.count, 0);
	assert_int_equal(parse("# nothing\n \t\n\n"), 0);
	assert_int_equal(policy.count, 0);
	assert_int_equal(parse("allow uid 1000 device " CARD " memory 512M # the first\n"
			       "\tallow\tcgroup /a/b.c device 0000:ff:1f.7 without reset memory 4k "
			       "per user\n"
			       "allow uid 0 cgroup / device ffff:00:00.0 memory 4096 per process\n"
			       "allow uid 0 device 0000:00:00.0 memory 4K per group"),
		0);
	assert_int_equal(policy.count, 4);
	assert_int_equal(policy.rules[3].charge, PER_GROUP);
	assert_true(policy.rules[0].has_uid && policy.rules[0].uid == 1000);
	assert_true(policy.rules[0].memory == UINT64_C(512) << 20 &&
		    policy.rules[0].charge == PER_PROCESS);
	assert_string_equal(policy.rules[0].device, CARD);
	assert_true(!policy.rules[1].has_uid && policy.rules[1].charge == PER_USER);
	assert_true(!policy.rules[0].without_reset && policy.rules[1].without_reset);
	assert_string_equal(policy.rules[1].cgroup, "/a/b.c");
	assert_int_equal(policy.rules[1].line, 2);
	assert_true(policy.rules[2].has_uid && !policy.rules[2].uid &&
		    policy.rules[2].charge == PER_PROCESS);
}

/* Names that a client chooses go to the log and to root's terminal. */
static void reasons_are_fit_to_be_shown(void **state)
{
	struct why why;

	(void)state;
	assert_int_equal(because(&why, 13, "group %s", "/a\033[2J\x7f\r\xc2\x9b b\xc3\xa9\t"), -13);
	assert_string_equal(why.text, "group /a?[2J???? b\xc3\xa9?");
}

static void errors_have_a_place(void **state)
{
	static const struct {
		const char *text;
		unsigned int line, column;
	} bad[] = {
		{"x", 1, 1},
		{"\n\n  allow", 3, 8},
		{"allow uid", 1, 10},
		{"allow uid 1", 1, 12},
		{"allow uid 4294967295", 1, 11},
		{"allow uid 0x1", 1, 11},
		{"allow device " CARD, 1, 7},
		{"allow cgroup a", 1, 14},
		{"allow cgroup /a/", 1, 14},
		{"allow cgroup /./a", 1, 14},
		{"allow cgroup /..", 1, 14},
		{"allow cgroup /a uid 1", 1, 17},
		{"allow uid 1 device 0000:03:00", 1, 20},
		{"allow uid 1 device 0000:03:00.8", 1, 20},
		{"allow uid 1 device 0000:0A:00.0", 1, 20},
		{"allow uid 1 device " CARD "0", 1, 20},
		{"allow uid 1 device " CARD " mem 4K", 1, 33},
		{"allow uid 1 device " CARD " memory 0", 1, 40},
		{"allow uid 1 device " CARD " without memory 4K", 1, 41},
		{"allow uid 1 device " CARD " without reset without reset", 1, 47},
		{"allow uid 1 device " CARD " memory 4097", 1, 40},
		{"allow uid 1 device " CARD " memory 131073G", 1, 40},
		{"allow uid 1 device " CARD " memory 4K per", 1, 46},
		{"allow uid 1 device " CARD " memory 4K per user per user", 1, 52},
		{"allow uid 1 device " CARD " memory 4K\nallow uid 1 device " CARD " memory 8K", 2,
			20},
		{"allow uid 1\r\n", 1, 12},
		{"allow uid 1\x7f", 1, 12},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].text), -EINVAL);
		if (error.line != bad[i].line || error.column != bad[i].column)
			print_message("%s: %u:%u: %s\n", bad[i].text, error.line, error.column,
				error.text);
		assert_int_equal(error.line, bad[i].line);
		assert_int_equal(error.column, bad[i].column);
		assert_true(error.text[0]);
	}
}

/* Exactly so many rules, bytes and columns. */
static void bounds(void **state)
{
	char *text = malloc(2 * POLICY_BYTES);
	size_t used = 0;

	(void)state;
	assert_non_null(text);
	for (unsigned int i = 0; i <= POLICY_RULES; i++) {
		used += (size_t)sprintf(text + used, "allow uid %u device " CARD " memory 4K\n", i);
		assert_int_equal(
			policy_parse(&policy, text, used, &error), i < POLICY_RULES ? 0 : -EINVAL);
	}
	assert_int_equal(error.line, POLICY_RULES + 1);
	memset(text, ' ', 2 * POLICY_BYTES);
	assert_int_equal(policy_parse(&policy, text, POLICY_LINE, &error), 0);
	assert_int_equal(policy_parse(&policy, text, POLICY_LINE + 1, &error), -EINVAL);
	assert_int_equal(error.column, POLICY_LINE + 1);
	for (size_t i = 100; i < 2 * POLICY_BYTES; i += 100)
		text[i] = '\n';
	assert_int_equal(policy_parse(&policy, text, POLICY_BYTES, &error), 0);
	assert_int_equal(policy_parse(&policy, text, POLICY_BYTES + 1, &error), -EINVAL);
	free(text);
}

static void rules_find_their_clients(void **state)
{
	(void)state;
	assert_int_equal(parse("allow uid 1 device " CARD " memory 4K\n"
			       "allow cgroup /a/b device " CARD " memory 8K\n"
			       "allow uid 2 cgroup /c device 0000:04:00.0 memory 12K\n"),
		0);
	/* The first that fits. */
	assert_ptr_equal(policy_find(&policy, 1, "/a/b", CARD), &policy.rules[0]);
	assert_ptr_equal(policy_find(&policy, 3, "/a/b", CARD), &policy.rules[1]);
	assert_ptr_equal(policy_find(&policy, 3, "/a/b/c", CARD), &policy.rules[1]);
	assert_null(policy_find(&policy, 3, "/a/bc", CARD));
	assert_null(policy_find(&policy, 3, "/a", CARD));
	assert_null(policy_find(&policy, 3, "", CARD));
	assert_null(policy_find(&policy, 1, "/c", "0000:04:00.0"));
	assert_null(policy_find(&policy, 2, "/", "0000:04:00.0"));
	assert_ptr_equal(policy_find(&policy, 2, "/c", "0000:04:00.0"), &policy.rules[2]);
	assert_null(policy_find(&policy, 1, "/", "0000:05:00.0"));
	assert_true(policy_knows(&policy, 1, ""));
	assert_false(policy_knows(&policy, 2, "/d"));
	assert_int_equal(parse("allow cgroup / device " CARD " memory 4K"), 0);
	assert_true(policy_knows(&policy, 9, "/x"));
	/* A process of which no group is known is in none. */
	assert_false(policy_knows(&policy, 9, ""));
}

static struct pn_broker_wire_request good(void)
{
	struct pn_broker_wire_request request = {
		.magic = PN_BROKER_MAGIC, .kind = PN_BROKER_OPEN, .count = 2, .memory = 8192};

	memcpy(request.device[0], CARD, sizeof(CARD));
	memcpy(request.device[1], "0000:04:00.0", sizeof(CARD));
	return request;
}

static int check(const struct pn_broker_wire_request *request, size_t len)
{
	struct pn_broker_wire_request out;
	struct why why = {""};
	int ret = request_parse(&out, request, len, &why);

	assert_true(!ret == !why.text[0]);
	return ret;
}

static void requests(void **state)
{
	struct pn_broker_wire_request request = good();
	char *bytes = (char *)&request;

	(void)state;
	assert_int_equal(sizeof(request), 152);
	assert_int_equal(sizeof(struct pn_broker_wire_reply), 576);
	assert_int_equal(check(&request, sizeof(request)), 0);
	for (size_t len = 0; len < sizeof(request); len++)
		assert_int_equal(check(&request, len), -EPROTO);
	assert_int_equal(check(&request, sizeof(request) + 1), -EPROTO);
	/* Another bit anywhere: all but in the memory, a backend or an address is refused. */
	for (size_t i = 0; i < 8 * sizeof(request); i++) {
		bytes[i / 8] ^= (char)(1 << i % 8);
		if (!check(&request, sizeof(request)))
			assert_true((i / 8 >= 16 && i / 8 < 24) || i / 8 == 8 ||
				    (i / 8 >= 24 && i / 8 < 24 + 28));
		bytes[i / 8] ^= (char)(1 << i % 8);
	}
	request.kind = PN_BROKER_RELEASE;
	assert_int_equal(check(&request, sizeof(request)), -EPROTO);
	request.memory = 0;
	assert_int_equal(check(&request, sizeof(request)), 0);
	request.count = 0;
	assert_int_equal(check(&request, sizeof(request)), -EPROTO);
	memset(request.device, 0, sizeof(request.device));
	assert_int_equal(check(&request, sizeof(request)), 0);
	request.kind = PN_BROKER_OPEN;
	assert_int_equal(check(&request, sizeof(request)), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_read),
		cmocka_unit_test(errors_have_a_place),
		cmocka_unit_test(reasons_are_fit_to_be_shown),
		cmocka_unit_test(bounds),
		cmocka_unit_test(rules_find_their_clients),
		cmocka_unit_test(requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
