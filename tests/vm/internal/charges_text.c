/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of the charge model to text and back.
 */
#include "charges_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const paths[] = {"type1", "compat", "native", NULL};
static const char *const files[] = {"context", "group", "device", "ring", "other", NULL};
static const char *const kinds[] = {"shm-lock", "xdp", "zerocopy", "rdma", "vdpa", "perf", NULL};
static const char *const memories[] = {"anon", "anon-read", "shared", "private-file", "dirty-file",
	"hugetlb", "hugetlb-cma", "thp", "none", "secret", "bar", NULL};

#define FIELD(name, member, words)                                       \
	{                                                                \
		name, offsetof(struct pn_model_op, member),              \
			sizeof(((struct pn_model_op *)0)->member), words \
	}

static const struct field {
	const char *name;
	size_t offset, size;
	const char *const *words;
} fields[] = {
	FIELD("p", process, NULL),
	FIELD("child", child, NULL),
	FIELD("area", area, NULL),
	FIELD("ctx", context, NULL),
	FIELD("space", space, NULL),
	FIELD("from", from, NULL),
	FIELD("dev", device, NULL),
	FIELD("ring", ring, NULL),
	FIELD("other", other, NULL),
	FIELD("target", target, NULL),
	FIELD("file", file, files),
	FIELD("path", path, paths),
	FIELD("mem", memory, memories),
	FIELD("kind", kind, kinds),
	FIELD("flag", flag, NULL),
	FIELD("uid", uid, NULL),
	FIELD("caps", caps, NULL),
	FIELD("perm", permitted, NULL),
	FIELD("prot", prot, NULL),
	FIELD("mode", mode, NULL),
	FIELD("page", page, NULL),
	FIELD("soft", soft, NULL),
	FIELD("hard", hard, NULL),
	FIELD("first", first, NULL),
	FIELD("pages", pages, NULL),
	FIELD("iova", iova, NULL),
	FIELD("from_iova", from_iova, NULL),
	FIELD("total", total, NULL),
	FIELD("free", free, NULL),
};

/* What each operation reads. */
static const char *const uses[PN_MODEL_WHATS] = {
	[PN_MODEL_START] = " p uid soft hard caps perm ",
	[PN_MODEL_FORK] = " p child ",
	[PN_MODEL_EXEC] = " p flag caps perm ",
	[PN_MODEL_EXIT] = " p ",
	[PN_MODEL_SETUID] = " p uid ",
	[PN_MODEL_SETEUID] = " p uid ",
	[PN_MODEL_LIMIT] = " p soft hard ",
	[PN_MODEL_CAPS] = " p caps flag ",
	[PN_MODEL_USERNS] = " p ",
	[PN_MODEL_PASS] = " p child file target ",
	[PN_MODEL_AREA] = " p area mem pages page flag dev ",
	[PN_MODEL_AREA_END] = " p area ",
	[PN_MODEL_DONTFORK] = " p area ",
	[PN_MODEL_TOUCH] = " p area first pages ",
	[PN_MODEL_DONTNEED] = " p area first pages ",
	[PN_MODEL_PROTECT] = " p area mem ",
	[PN_MODEL_RESIZE] = " p area pages flag ",
	[PN_MODEL_MLOCK] = " p area first pages flag ",
	[PN_MODEL_MUNLOCK] = " p area first pages ",
	[PN_MODEL_MLOCKALL] = " p mode total pages ",
	[PN_MODEL_MUNLOCKALL] = " p ",
	[PN_MODEL_CONTEXT] = " p ctx path flag ",
	[PN_MODEL_CONTEXT_CLOSE] = " p ctx ",
	[PN_MODEL_RLIMIT_MODE] = " p ctx mode ",
	[PN_MODEL_SPACE] = " p ctx space ",
	[PN_MODEL_SPACE_END] = " p ctx space ",
	[PN_MODEL_GROUP] = " p ctx dev ",
	[PN_MODEL_GROUP_CLOSE] = " p dev ",
	[PN_MODEL_DEVICE] = " p ctx dev ",
	[PN_MODEL_DEVICE_CLOSE] = " p dev ",
	[PN_MODEL_ATTACH] = " p dev space ",
	[PN_MODEL_DETACH] = " p dev ",
	[PN_MODEL_MAP] = " p ctx space iova area first pages prot ",
	[PN_MODEL_MAP_FILE] = " p ctx space iova area first pages prot ",
	[PN_MODEL_UNMAP] = " p ctx space iova pages ",
	[PN_MODEL_COPY] = " p ctx space iova from from_iova pages prot ",
	[PN_MODEL_VADDR_DROP] = " p ctx iova pages ",
	[PN_MODEL_VADDR_GIVE] = " p ctx iova area first pages ",
	[PN_MODEL_CHANGE_PROCESS] = " p ctx ",
	[PN_MODEL_RING] = " p ring ",
	[PN_MODEL_RING_CLOSE] = " p ring ",
	[PN_MODEL_RING_REGISTER] = " p ring area first pages mode ",
	[PN_MODEL_RING_UNREGISTER] = " p ring ",
	[PN_MODEL_OTHER] = " p other kind pages free ",
	[PN_MODEL_OTHER_END] = " p other ",
};

static uint64_t get(const struct pn_model_op *op, const struct field *field)
{
	const char *at = (const char *)op + field->offset;
	uint64_t wide = 0;
	uint32_t word;

	if (field->size == sizeof(wide)) {
		memcpy(&wide, at, sizeof(wide));
		return wide;
	}
	if (field->size == 1)
		return *(const bool *)at;
	memcpy(&word, at, sizeof(word));
	return word;
}

static void set(struct pn_model_op *op, const struct field *field, uint64_t value)
{
	char *at = (char *)op + field->offset;
	uint32_t word = (uint32_t)value;

	if (field->size == sizeof(value))
		memcpy(at, &value, sizeof(value));
	else if (field->size == 1)
		*(bool *)at = value;
	else
		memcpy(at, &word, sizeof(word));
}

static int parse_value(const struct field *field, const char *text, uint64_t *value)
{
	char *end;

	for (uint64_t i = 0; field->words && field->words[i]; i++) {
		if (strcmp(field->words[i], text))
			continue;
		*value = i;
		return 0;
	}
	if (!strcmp(text, "all")) {
		*value = PN_MODEL_ALL;
		return 0;
	}
	*value = strtoull(text, &end, 0);
	return *end || end == text ? -EINVAL : 0;
}

static int parse_field(struct pn_model_op *op, char *word)
{
	char *value = strchr(word, '=');
	uint64_t number;

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (strcmp(fields[i].name, word))
			continue;
		if (parse_value(&fields[i], value, &number))
			return -EINVAL;
		set(op, &fields[i], number);
		return 0;
	}
	return -EINVAL;
}

int charges_parse(const char *line, struct pn_model_op *op)
{
	char copy[CHARGES_LINE], *rest = copy, *word;
	size_t length = strcspn(line, ":\n");

	if (length >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, line, length);
	copy[length] = '\0';
	memset(op, 0, sizeof(*op));
	word = strtok_r(copy, " \t", &rest);
	while (op->what < PN_MODEL_WHATS && word && strcmp(word, pn_model_what_name(op->what)))
		op->what++;
	if (!word || op->what == PN_MODEL_WHATS)
		return -EINVAL;
	while ((word = strtok_r(NULL, " \t", &rest)))
		if (parse_field(op, word))
			return -EINVAL;
	return 0;
}

void charges_trim(struct pn_model_op *op)
{
	char word[32];

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		snprintf(word, sizeof(word), " %s ", fields[i].name);
		if (!strstr(uses[op->what], word))
			set(op, &fields[i], 0);
	}
}

void charges_print(char line[CHARGES_LINE], const struct pn_model_op *op)
{
	int at = snprintf(line, CHARGES_LINE, "%s", pn_model_what_name(op->what));

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields) && at < CHARGES_LINE; i++) {
		uint64_t value = get(op, &fields[i]);
		char *to = line + at;
		size_t room = (size_t)(CHARGES_LINE - at);

		if (!value && strcmp(fields[i].name, "p"))
			continue;
		if (fields[i].words)
			at += snprintf(to, room, " %s=%s", fields[i].name, fields[i].words[value]);
		else if (value == PN_MODEL_ALL)
			at += snprintf(to, room, " %s=all", fields[i].name);
		else if (strstr(fields[i].name, "iova"))
			at += snprintf(
				to, room, " %s=0x%llx", fields[i].name, (unsigned long long)value);
		else
			at += snprintf(
				to, room, " %s=%llu", fields[i].name, (unsigned long long)value);
	}
}
