/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RLIMIT_MEMLOCK that a session of a user gets from pam_limits: limits.conf(5), and what is in
 * limits.d, in the order and with the precedence of that module (a user's line before a group's
 * before "*"; of equal ones the last).
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "doctor.h"

#define FILES_MAX 64

/* Least first: pam_limits.c, LIMITS_DEF_USER and so on. */
enum source { BY_USER, BY_GROUP, BY_DEFAULT, BY_NONE };

struct session {
	const char *user;
	uid_t uid;
	const gid_t *groups;
	const char *const *group_names;
	unsigned int group_count;
	struct rlimit *limit;
	enum source soft_by, hard_by;
	bool no_limits; /* "user -": none are set */
	char *from;     /* 192 bytes */
};

/* "1000", "1000:", ":1000", "1000:2000". */
static bool in_range(const char *text, unsigned long id)
{
	unsigned long low = 0, high = ~0ul;
	const char *colon = strchr(text, ':');
	char *end;

	if (!colon)
		return false;
	if (colon != text) {
		low = strtoul(text, &end, 10);
		if (end != colon)
			return false;
	}
	if (colon[1]) {
		high = strtoul(colon + 1, &end, 10);
		if (*end)
			return false;
	} else if (colon == text) {
		return false;
	}
	/* "1000:" is that one alone. */
	if (!colon[1])
		high = low;
	return id >= low && id <= high;
}

static bool in_group(const struct session *session, const char *name)
{
	for (unsigned int i = 0; i < session->group_count; i++) {
		if ((session->group_names[i] && strcmp(session->group_names[i], name) == 0) ||
			in_range(name, session->groups[i]))
			return true;
	}
	return false;
}

static enum source source_of(const struct session *session, const char *domain)
{
	if (strcmp(domain, session->user) == 0 || in_range(domain, session->uid))
		return BY_USER;
	if (*domain == '@' && session->uid && in_group(session, domain + 1))
		return BY_GROUP;
	if (strcmp(domain, "*") == 0 && session->uid)
		return BY_DEFAULT;
	return BY_NONE;
}

static bool parse_value(const char *text, rlim_t *value)
{
	unsigned long long kib;
	char *end;

	if (strcasecmp(text, "unlimited") == 0 || strcasecmp(text, "infinity") == 0 ||
		strcmp(text, "-1") == 0) {
		*value = RLIM_INFINITY;
		return true;
	}
	errno = 0;
	kib = strtoull(text, &end, 10);
	if (end == text || *end || errno || *text == '-')
		return false;
	*value = kib > RLIM_INFINITY >> 10 ? RLIM_INFINITY : kib << 10;
	return true;
}

static void take_line(struct session *session, char *line, const char *file, unsigned int number)
{
	char domain[128], type[16], item[32], text[32];
	enum source source;
	rlim_t value;
	int fields;

	line[strcspn(line, "#\n")] = '\0';
	fields = sscanf(line, "%127s %15s %31s %31s", domain, type, item, text);
	if (fields < 2 || (source = source_of(session, domain)) == BY_NONE)
		return;
	if (fields == 2) {
		session->no_limits |= strcmp(type, "-") == 0 && source == BY_USER;
		return;
	}
	if (fields != 4 || strcmp(item, "memlock") != 0 || !parse_value(text, &value))
		return;
	if (strcmp(type, "hard") != 0 && source <= session->soft_by) {
		session->limit->rlim_cur = value;
		session->soft_by = source;
		snprintf(session->from, 192, "%.160s, line %u", file, number);
	}
	if (strcmp(type, "soft") != 0 && source <= session->hard_by) {
		session->limit->rlim_max = value;
		session->hard_by = source;
		snprintf(session->from, 192, "%.160s, line %u", file, number);
	}
}

static void take_file(const struct doctor *d, struct session *session, const char *name)
{
	char path[DOCTOR_PATH], *line = NULL;
	unsigned int number = 0;
	size_t size = 0;
	FILE *file;

	file = doctor_path(d, path, "%s", name) ? NULL : fopen(path, "re");
	while (file && !session->no_limits && getline(&line, &size, file) > 0)
		take_line(session, line, name, ++number);
	free(line);
	if (file)
		fclose(file);
}

static int is_conf(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && dot != entry->d_name && strcmp(dot, ".conf") == 0;
}

/* In the order of the C locale, whatever ours is. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

bool doctor_pam_memlock(const struct doctor *d, const char *user, uid_t uid, const gid_t *groups,
	const char *const *group_names, unsigned int group_count, struct rlimit *limit,
	char from[192])
{
	struct rlimit before = *limit;
	struct session session = {.user = user,
		.uid = uid,
		.groups = groups,
		.group_names = group_names,
		.group_count = group_count,
		.limit = limit,
		.soft_by = BY_NONE,
		.hard_by = BY_NONE,
		.from = from};
	char path[DOCTOR_PATH], name[DOCTOR_PATH];
	struct dirent **entries = NULL;
	int count;

	from[0] = '\0';
	take_file(d, &session, "/etc/security/limits.conf");
	count = doctor_path(d, path, "/etc/security/limits.d")
			? -1
			: scandir(path, &entries, is_conf, by_bytes);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "/etc/security/limits.d/%.255s", entries[i]->d_name);
		if (i < FILES_MAX)
			take_file(d, &session, name);
		free(entries[i]);
	}
	free(entries);
	if (session.no_limits) {
		*limit = before;
		from[0] = '\0';
	}
	if (limit->rlim_cur > limit->rlim_max)
		limit->rlim_cur = limit->rlim_max;
	return *from != '\0';
}
