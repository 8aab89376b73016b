/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the policy, word by word, strictly: the first thing that is not understood ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "parse.h"
#include "policy.h"
#include "text.h"

#define PAGE       UINT64_C(4096)
#define MEMORY_MAX (UINT64_C(1) << 47)
#define WORD_MAX   256u

/* One line, from where it is read on. */
struct reader {
	const char *line, *at, *end;
	const char *word; /* where the last word begins */
	char text[WORD_MAX];
	unsigned int number;
	struct policy_error *error;
};

__attribute__((format(printf, 3, 4))) static int refuse(
	struct reader *reader, const char *at, const char *fmt, ...)
{
	va_list args;

	reader->error->line = reader->number;
	reader->error->column = (unsigned int)(at - reader->line) + 1;
	va_start(args, fmt);
	vsnprintf(reader->error->text, sizeof(reader->error->text), fmt, args);
	va_end(args);
	return -EINVAL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word into reader->text, "" at the end of the line. 0 or -EINVAL. */
static int next_word(struct reader *reader)
{
	size_t len = 0;

	while (reader->at < reader->end && is_blank(*reader->at))
		reader->at++;
	reader->word = reader->at;
	for (; reader->at < reader->end && !is_blank(*reader->at) && *reader->at != '#';
		reader->at++) {
		if (*reader->at < 0x21 || *reader->at > 0x7e)
			return refuse(reader, reader->at,
				"a byte 0x%02x: only visible ASCII, blanks and tabs belong here",
				(unsigned char)*reader->at);
		if (len == WORD_MAX - 1)
			return refuse(
				reader, reader->word, "a word of more than %u bytes", WORD_MAX - 1);
		reader->text[len++] = *reader->at;
	}
	reader->text[len] = '\0';
	return 0;
}

/* The next word, which must be this one. */
static int expect(struct reader *reader, const char *word)
{
	int ret = next_word(reader);

	if (ret || !strcmp(reader->text, word))
		return ret;
	return refuse(reader, reader->word, "expected \"%s\", not \"%.40s\"", word, reader->text);
}

bool policy_is_address(const char *text, size_t len)
{
	static const char form[] = "xxxx:xx:xx.o";

	if (len != POLICY_ADDRESS_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		bool digit = c >= '0' && c <= '9';

		if (form[i] == 'x'       ? !digit && (c < 'a' || c > 'f')
			: form[i] == 'o' ? c < '0' || c > '7'
					 : c != form[i])
			return false;
	}
	return true;
}

/* "/a/b": absolute, no empty component, no "." or "..", no slash at the end unless it is all. */
static bool is_cgroup(const char *path)
{
	const char *component = path;

	if (*path != '/')
		return false;
	if (!path[1])
		return true;
	while (*component) {
		size_t len = strcspn(++component, "/");

		if (!len || (len <= 2 && !strncmp(component, "..", len)))
			return false;
		component += len;
	}
	return true;
}

static int read_uid(struct reader *reader, struct rule *rule)
{
	uint64_t uid;
	int ret = next_word(reader);

	if (ret)
		return ret;
	/* 4294967295 stands for "no user" in the kernel. */
	if (parse_number(reader->text, 0, UINT32_MAX - 1, &uid))
		return refuse(reader, reader->word, "expected a user number, not \"%.40s\"",
			reader->text);
	rule->has_uid = true;
	rule->uid = (uid_t)uid;
	return 0;
}

static int read_cgroup(struct reader *reader, struct rule *rule)
{
	int ret = next_word(reader);

	if (ret)
		return ret;
	if (!is_cgroup(reader->text))
		return refuse(reader, reader->word,
			"expected a control group such as /system.slice/x.service, not \"%.40s\"",
			reader->text);
	_Static_assert(sizeof(rule->cgroup) >= sizeof(reader->text), "any word fits");
	memcpy(rule->cgroup, reader->text, sizeof(reader->text));
	return 0;
}

/* "uid N", "cgroup PATH", or both in this order; then "device". */
static int read_who(struct reader *reader, struct rule *rule)
{
	int ret = next_word(reader);

	if (!ret && !strcmp(reader->text, "uid")) {
		ret = read_uid(reader, rule);
		if (!ret)
			ret = next_word(reader);
	}
	if (!ret && !strcmp(reader->text, "cgroup")) {
		ret = read_cgroup(reader, rule);
		if (!ret)
			ret = next_word(reader);
	}
	if (ret)
		return ret;
	if (!rule->has_uid && !rule->cgroup[0])
		return refuse(reader, reader->word, "expected \"uid\" or \"cgroup\", not \"%.40s\"",
			reader->text);
	if (strcmp(reader->text, "device"))
		return refuse(reader, reader->word, "expected %s\"device\", not \"%.40s\"",
			rule->cgroup[0] ? "" : "\"cgroup\" or ", reader->text);
	return 0;
}

static int read_device(struct reader *reader, struct rule *rule)
{
	int ret = next_word(reader);

	if (ret)
		return ret;
	if (!policy_is_address(reader->text, strlen(reader->text)))
		return refuse(reader, reader->word,
			"expected a PCI address such as 0000:03:00.0, not \"%.40s\"", reader->text);
	memcpy(rule->device, reader->text, POLICY_ADDRESS_LEN + 1);
	return 0;
}

/* "without reset", or nothing. */
static int read_without(struct reader *reader, struct rule *rule)
{
	const char *before = reader->at;
	int ret = next_word(reader);

	if (ret)
		return ret;
	if (strcmp(reader->text, "without")) {
		reader->at = before;
		return 0;
	}
	rule->without_reset = true;
	return expect(reader, "reset");
}

static int read_memory(struct reader *reader, struct rule *rule)
{
	int ret = next_word(reader);

	if (!ret && strcmp(reader->text, "memory"))
		ret = refuse(reader, reader->word, "expected %s\"memory\", not \"%.40s\"",
			rule->without_reset ? "" : "\"without reset\" or ", reader->text);
	if (!ret)
		ret = next_word(reader);
	if (ret)
		return ret;
	if (parse_size(reader->text, &rule->memory))
		return refuse(reader, reader->word,
			"expected bytes, or a number with K, M or G, not \"%.40s\"", reader->text);
	if (!rule->memory || rule->memory % PAGE || rule->memory > MEMORY_MAX)
		return refuse(reader, reader->word,
			"memory is a multiple of 4096 bytes, from 4096 to 2^47, not %.40s",
			reader->text);
	return 0;
}

const char *charge_name(enum charge charge)
{
	static const char *const names[] = {"process", "user", "group"};

	return names[charge];
}

/* "", or "per" and what, and the end of the line. */
static int read_charge(struct reader *reader, struct rule *rule)
{
	int ret = next_word(reader);

	if (!ret && reader->text[0]) {
		if (strcmp(reader->text, "per"))
			return refuse(reader, reader->word,
				"expected \"per\" or the end of the line, not \"%.40s\"",
				reader->text);
		ret = next_word(reader);
		while (!ret && strcmp(reader->text, charge_name(rule->charge))) {
			if (rule->charge == PER_GROUP)
				return refuse(reader, reader->word,
					"expected \"process\", \"user\" or \"group\", not "
					"\"%.40s\"",
					reader->text);
			rule->charge++;
		}
		if (!ret)
			ret = next_word(reader);
		if (!ret && reader->text[0])
			return refuse(reader, reader->word,
				"expected the end of the line, not \"%.40s\"", reader->text);
	}
	return ret;
}

static bool same_who(const struct rule *a, const struct rule *b)
{
	return a->has_uid == b->has_uid && a->uid == b->uid && !strcmp(a->cgroup, b->cgroup);
}

static int read_rule(struct reader *reader, struct policy *policy)
{
	struct rule rule = {.line = reader->number};
	const char *start = reader->word, *device;
	int ret;

	if (strcmp(reader->text, "allow"))
		return refuse(reader, start, "expected \"allow\", not \"%.40s\"", reader->text);
	ret = read_who(reader, &rule);
	if (!ret)
		ret = read_device(reader, &rule);
	device = reader->word;
	if (!ret)
		ret = read_without(reader, &rule);
	if (!ret)
		ret = read_memory(reader, &rule);
	if (!ret)
		ret = read_charge(reader, &rule);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < policy->count; i++) {
		if (!strcmp(policy->rules[i].device, rule.device) &&
			same_who(&policy->rules[i], &rule))
			return refuse(reader, device, "line %u grants %s to the same already",
				policy->rules[i].line, rule.device);
	}
	if (policy->count == POLICY_RULES)
		return refuse(reader, start, "more than %u rules", POLICY_RULES);
	policy->rules[policy->count++] = rule;
	return 0;
}

static int read_line(struct reader *reader, struct policy *policy)
{
	int ret;

	if (reader->end - reader->line > (ptrdiff_t)POLICY_LINE)
		return refuse(reader, reader->line + POLICY_LINE, "a line of more than %u bytes",
			POLICY_LINE);
	ret = next_word(reader);
	if (ret || !reader->text[0])
		return ret;
	return read_rule(reader, policy);
}

int policy_parse(struct policy *policy, const char *text, size_t len, struct policy_error *error)
{
	const char *end = text + len, *newline;
	struct reader reader = {.line = text, .number = 1, .error = error};
	int ret = 0;

	policy->count = 0;
	if (len > POLICY_BYTES)
		return refuse(&reader, text, "more than %u bytes", POLICY_BYTES);
	for (; !ret && reader.line < end; reader.line = newline + 1, reader.number++) {
		newline = memchr(reader.line, '\n', (size_t)(end - reader.line));
		reader.at = reader.line;
		reader.end = newline ? newline : end;
		ret = read_line(&reader, policy);
		if (!newline)
			break;
	}
	return ret;
}

static int check_file(const char *path, int fd, bool trusted)
{
	struct stat st;
	int err;

	if (fstat(fd, &st)) {
		err = errno;
		complain("%s: %s", path, strerror(err));
		return -err;
	}
	if (!S_ISREG(st.st_mode)) {
		complain("%s is no regular file", path);
		return -EINVAL;
	}
	if (!trusted || (st.st_uid == 0 && !(st.st_mode & 022)))
		return 0;
	complain("%s is owned by uid %u with mode %04o: a policy must be root's, and nobody else "
		 "may write it; as root: chown root %s; chmod 0644 %s",
		path, (unsigned int)st.st_uid, (unsigned int)st.st_mode & 07777u, path, path);
	return -EPERM;
}

int policy_load(struct policy *policy, const char *path, bool trusted)
{
	char text[POLICY_BYTES + 1];
	struct policy_error error = {0};
	ssize_t len;
	int fd, ret;

	/* A FIFO must not hold us up. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		ret = -errno;
		complain("%s: %s", path, strerror(-ret));
		return ret;
	}
	ret = check_file(path, fd, trusted);
	if (ret)
		goto close_fd;
	len = read_whole(fd, text, sizeof(text));
	if (len < 0) {
		ret = (int)len;
		complain("%s: %s", path, strerror(-ret));
		goto close_fd;
	}
	ret = policy_parse(policy, text, (size_t)len, &error);
	if (ret)
		complain("%s:%u:%u: %s; none of this file is in force", path, error.line,
			error.column, error.text);
close_fd:
	close(fd);
	return ret;
}

/* Is a group the one of a rule, or below it? */
static bool is_below(const char *group, const char *of_rule)
{
	size_t len = strlen(of_rule);

	if (!strcmp(of_rule, "/"))
		return group[0] == '/';
	return !strncmp(group, of_rule, len) && (!group[len] || group[len] == '/');
}

static bool fits(const struct rule *rule, uid_t uid, const char *cgroup)
{
	return (!rule->has_uid || rule->uid == uid) &&
	       (!rule->cgroup[0] || is_below(cgroup, rule->cgroup));
}

bool policy_knows(const struct policy *policy, uid_t uid, const char *cgroup)
{
	for (unsigned int i = 0; i < policy->count; i++) {
		if (fits(&policy->rules[i], uid, cgroup))
			return true;
	}
	return false;
}

const struct rule *policy_find(
	const struct policy *policy, uid_t uid, const char *cgroup, const char *device)
{
	for (unsigned int i = 0; i < policy->count; i++) {
		const struct rule *rule = &policy->rules[i];

		if (fits(rule, uid, cgroup) && !strcmp(rule->device, device))
			return rule;
	}
	return NULL;
}
