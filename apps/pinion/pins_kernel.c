/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --kernel: the companion module's table of every pin that is held through it, on the
 * whole host, by whomever. debugfs has it, for root.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_pins.h"
#include "pins.h"

#define DEBUGFS "/sys/kernel/debug"
#define TABLE   DEBUGFS "/pinion/pins"
#define MODULE  "/sys/module/pinion"

struct list {
	struct kernel_pin *pins;
	size_t count;
};

static int no_table(const struct pins_request *request, int err)
{
	const char *name = request->command->name;

	/* Below debugfs nothing can be looked at but by root, so the module first. */
	if (access(MODULE, F_OK))
		complain("%s: --kernel: the companion module is not loaded: as root, modprobe "
			 "pinion, or insmod pinion.ko (kmod/README.md has how it is built)",
			name);
	else if (err == EACCES || (err == EPERM && geteuid()))
		complain("%s: --kernel: " TABLE " is for root only (%s)", name, strerror(err));
	else if (err == EPERM)
		complain("%s: --kernel: " TABLE ": %s, though this is root: the kernel is locked "
			 "down (kernel_lockdown(7)), or a filter forbids it",
			name, strerror(err));
	else if (err == ENOENT)
		complain("%s: --kernel: there is no " TABLE ", though the module is loaded: as "
			 "root, mount -t debugfs none " DEBUGFS
			 " (a kernel without debugfs has no such table)",
			name);
	else
		complain("%s: --kernel: " TABLE ": %s", name, strerror(err));
	return -err;
}

static int add(struct list *list, const struct kernel_pin *pin)
{
	struct kernel_pin *pins = realloc(list->pins, (list->count + 1) * sizeof(*pins));

	if (!pins)
		return -ENOMEM;
	list->pins = pins;
	pins[list->count++] = *pin;
	return 0;
}

static int read_lines(FILE *file, struct list *list)
{
	struct kernel_pin pin;
	char *line = NULL;
	size_t size = 0;
	int ret = -EINVAL;

	if (getline(&line, &size, file) > 0 && !strcmp(line, KERNEL_PINS_HEADER "\n")) {
		for (ret = 0; !ret && getline(&line, &size, file) > 0;) {
			ret = kernel_pin_parse(line, &pin);
			if (!ret)
				ret = add(list, &pin);
		}
	}
	free(line);
	return ferror(file) ? -EIO : ret;
}

/* 0 or a negative errno after a complaint. */
static int read_table(const struct pins_request *request, struct list *list)
{
	FILE *file = fopen(TABLE, "re");
	int ret;

	if (!file)
		return no_table(request, errno);
	ret = read_lines(file, list);
	fclose(file);
	if (ret == -EINVAL)
		complain("%s: --kernel: " TABLE " is of another version of the module than this "
			 "program knows",
			request->command->name);
	else if (ret)
		complain("%s: --kernel: " TABLE ": %s", request->command->name, strerror(-ret));
	return ret;
}

static void print_table(const struct list *list)
{
	const struct kernel_pin *pin;
	size_t i;

	if (!list->count) {
		printf("nothing is pinned through the companion module\n");
		return;
	}
	printf("%-8s %-10s %-16s %-16s %10s %10s %10s  %s\n", "PID", "UID", "PROGRAM", "CHARGED TO",
		"PAGES", "PINNED", "OWNER HAS", "HOW");
	for (i = 0; i < list->count; i++) {
		pin = &list->pins[i];
		printf("%-8" PRIu32 " %-10" PRIu32 " %-16s %-16s %10" PRIu64 " %10" PRIu64
		       " %10" PRIu64 "  %s%s%s%s\n",
			pin->pid, pin->uid, pin->program,
			pn_counter_name(pin->user ? PN_COUNTER_USER_LOCKED : PN_COUNTER_MM_LOCKED),
			pin->pages, pin->pinned, pin->owner_charged, pin->write ? "rw" : "r-",
			pin->exclusive ? " exclusive" : "", pin->file ? " file" : "",
			pin->exempt ? " exempt" : "");
	}
}

static json_t *json_pin(const struct kernel_pin *pin)
{
	return json_pack("{s:I, s:I, s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:I}", "pid",
		(json_int_t)pin->pid, "uid", (json_int_t)pin->uid, "program", pin->program,
		"counter",
		pn_counter_name(pin->user ? PN_COUNTER_USER_LOCKED : PN_COUNTER_MM_LOCKED), "prot",
		pin->write ? "rw" : "r-", "exclusive", pin->exclusive, "file", pin->file, "exempt",
		pin->exempt, "pages", (json_int_t)pin->pages, "pinned_pages",
		(json_int_t)pin->pinned, "owner_charged_pages", (json_int_t)pin->owner_charged);
}

static json_t *json_table(const struct list *list)
{
	json_t *pins = json_array();
	size_t i;

	for (i = 0; i < list->count; i++)
		json_array_append_new(pins, json_pin(&list->pins[i]));
	return json_pack("{s:s, s:o}", "schema", "pinion.kernel-pins/1", "pins", pins);
}

int pins_kernel(const struct pins_request *request)
{
	struct list list = {0};
	int ret = read_table(request, &list);

	if (!ret && request->format == PINS_JSON)
		ret = print_json(json_table(&list));
	else if (!ret)
		print_table(&list);
	free(list.pins);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
