/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The policy: who may have which device, and how much memory. doc/broker.md has the syntax. Ask it
 * for the rule that grants a device to somebody.
 */
#ifndef BROKER_POLICY_H
#define BROKER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pn_broker_protocol.h"

#define POLICY_RULES  256u
#define POLICY_BYTES  65536u
#define POLICY_LINE   1000u
#define POLICY_CGROUP 256u
/* "0000:03:00.0". */
#define POLICY_ADDRESS_LEN 12u

/* What is to keep a client within its memory. */
enum charge {
	PER_PROCESS, /* RLIMIT_MEMLOCK of each process */
	PER_USER,    /* the same of all processes of the user together: iommufd only */
	PER_GROUP,   /* the control group's limits, besides the first */
};

struct rule {
	bool has_uid;
	bool without_reset; /* it may have none */
	enum charge charge;
	uid_t uid;
	char cgroup[POLICY_CGROUP]; /* "": any */
	char device[PN_BROKER_ADDRESS];
	uint64_t memory; /* bytes */
	unsigned int line;
};

struct policy {
	struct rule rules[POLICY_RULES];
	unsigned int count;
};

/* Where and why a text is no policy. */
struct policy_error {
	unsigned int line, column; /* from 1 */
	char text[200];
};

/* "process", "user", "group". */
const char *charge_name(enum charge charge);

/* Read a text. 0, or -EINVAL with error filled in; policy is not to be used then. */
int policy_parse(struct policy *policy, const char *text, size_t len, struct policy_error *error);

/*
 * Read a file. trusted: it must be root's, and nobody else may write it. 0, or a negative errno
 * after a complaint.
 */
int policy_load(struct policy *policy, const char *path, bool trusted);

/* Does any rule speak of this client? */
bool policy_knows(const struct policy *policy, uid_t uid, const char *cgroup);
/* The first rule that grants the device to it, or NULL. */
const struct rule *policy_find(
	const struct policy *policy, uid_t uid, const char *cgroup, const char *device);

/* "0000:03:00.0", in small letters, and nothing behind it? */
bool policy_is_address(const char *text, size_t len);

#endif
