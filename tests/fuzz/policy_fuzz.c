/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's entry to the reader of the broker's policy: any bytes as the file. What is taken for
 * a policy must hold rules that make sense, and be the same policy when it is written down again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "policy.h"

const char *const program_name = "fuzz";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rule(const struct policy *policy, const struct rule *rule)
{
	if (!policy_is_address(rule->device, strlen(rule->device)) || !rule->memory ||
		rule->memory % 4096 || rule->memory > UINT64_C(1) << 47 ||
		(!rule->has_uid && rule->cgroup[0] != '/') || strstr(rule->cgroup, "/../"))
		abort();
	if (!policy_knows(policy, rule->uid, rule->cgroup[0] ? rule->cgroup : "/") ||
		!policy_find(policy, rule->uid, rule->cgroup, rule->device))
		abort();
}

/* Room for the longest rule: two words of 255 bytes, numbers, and the words between them. */
static char text[POLICY_RULES * 512];

static size_t write_down(const struct policy *policy)
{
	size_t used = 0;

	for (unsigned int i = 0; i < policy->count; i++) {
		static const char *const charges[] = {"", " per user", " per group"};
		const struct rule *rule = &policy->rules[i];

		used += (size_t)sprintf(text + used, "allow");
		if (rule->has_uid)
			used += (size_t)sprintf(text + used, " uid %u", (unsigned int)rule->uid);
		if (rule->cgroup[0])
			used += (size_t)sprintf(text + used, " cgroup %s", rule->cgroup);
		used += (size_t)sprintf(text + used, " device %s%s memory %" PRIu64 "%s\n",
			rule->device, rule->without_reset ? " without reset" : "", rule->memory,
			charges[rule->charge]);
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy policy, again;
	struct policy_error error = {0};
	size_t len;

	if (policy_parse(&policy, (const char *)data, size, &error)) {
		if (!error.line || !error.column || !error.text[0] || error.column > size + 1)
			abort();
		return 0;
	}
	for (unsigned int i = 0; i < policy.count; i++)
		check_rule(&policy, &policy.rules[i]);
	len = write_down(&policy);
	/* With blanks between them, rules can be longer than what is read. */
	if (len > POLICY_BYTES)
		return 0;
	if (policy_parse(&again, text, len, &error) || again.count != policy.count)
		abort();
	for (unsigned int i = 0; i < policy.count; i++) {
		again.rules[i].line = policy.rules[i].line;
		if (memcmp(&again.rules[i], &policy.rules[i], sizeof(policy.rules[i])) != 0)
			abort();
	}
	return 0;
}
