/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines of the companion module's table.
 */
#include <errno.h>
#include <string.h>

#include "kernel_pins.h"
#include "parse.h"

#define FIELDS 8

/* A field may be empty, as a program may have no name. */
static int split(char *line, char *fields[FIELDS])
{
	int i;

	line[strcspn(line, "\n")] = '\0';
	for (i = 0; i < FIELDS && line; i++)
		fields[i] = strsep(&line, " ");
	return i == FIELDS && !line ? 0 : -EINVAL;
}

/* Latin-1 is printable to the kernel, and no text in JSON. */
static int take_program(struct kernel_pin *pin, const char *text)
{
	size_t i;

	if (strlen(text) >= sizeof(pin->program))
		return -EINVAL;
	for (i = 0; text[i]; i++)
		pin->program[i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
	return 0;
}

static int take_charge(struct kernel_pin *pin, const char *text)
{
	pin->user = strcmp(text, "user") == 0;
	return pin->user || strcmp(text, "mm") == 0 ? 0 : -EINVAL;
}

static int take_flags(struct kernel_pin *pin, const char *text)
{
	if (*text != 'r' && *text != 'w')
		return -EINVAL;
	for (pin->write = *text++ == 'w'; *text; text++) {
		switch (*text) {
		case 'x':
			pin->exclusive = true;
			break;
		case 'f':
			pin->file = true;
			break;
		case 'e':
			pin->exempt = true;
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

static int take_numbers(struct kernel_pin *pin, char *const fields[FIELDS])
{
	uint64_t pid, uid;

	if (parse_number(fields[0], 0, INT32_MAX, &pid) ||
		parse_number(fields[1], 0, UINT32_MAX, &uid) ||
		parse_number(fields[5], 0, INT64_MAX, &pin->pages) ||
		parse_number(fields[6], 0, INT64_MAX, &pin->pinned) ||
		parse_number(fields[7], 0, INT64_MAX, &pin->owner_charged))
		return -EINVAL;
	pin->pid = (uint32_t)pid;
	pin->uid = (uint32_t)uid;
	return 0;
}

int kernel_pin_parse(char *line, struct kernel_pin *pin)
{
	char *fields[FIELDS];

	memset(pin, 0, sizeof(*pin));
	if (split(line, fields) || take_numbers(pin, fields) || take_program(pin, fields[2]) ||
		take_charge(pin, fields[3]) || take_flags(pin, fields[4]))
		return -EINVAL;
	return 0;
}
