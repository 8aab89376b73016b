/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The values that describe what is going to run: read strictly, and what each takes in words.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"
#include "plan_options.h"
#include "pn_mem.h"

static int set_count(uint32_t *field, uint32_t most, const char *text)
{
	uint64_t value;
	int err = parse_number(text, 1, most, &value);

	if (!err)
		*field = (uint32_t)value;
	return err;
}

static int set_page(uint64_t *field, const char *text)
{
	int err = parse_size(text, field);

	if (err)
		return err;
	return *field == PN_PAGE_4K || *field == PN_PAGE_2M || *field == PN_PAGE_1G ? 0 : -EINVAL;
}

static uint32_t backend_bit(const char *name, size_t length)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} backends[] = {
		{"type1", PN_PLAN_TYPE1},
		{"iommufd", PN_PLAN_IOMMUFD},
		{"iommufd-compat", PN_PLAN_IOMMUFD_COMPAT},
		{"iommufd-as-vfio", PN_PLAN_IOMMUFD_AS_VFIO},
		{"all", PN_PLAN_ALL},
	};

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strlen(backends[i].name) == length &&
			strncmp(backends[i].name, name, length) == 0)
			return backends[i].bit;
	}
	return 0;
}

static bool backend_known(const char *name, size_t length)
{
	return backend_bit(name, length) != 0;
}

static int set_backends(uint32_t *field, const char *text)
{
	size_t length;

	if (!names_known(text, backend_known))
		return -EINVAL;
	for (*field = 0; *text; text += length + (text[length] == ',')) {
		length = strcspn(text, ",");
		*field |= backend_bit(text, length);
	}
	return 0;
}

/* "5%" or a size. */
static int set_headroom(struct pn_plan_input *input, const char *text)
{
	size_t length = strlen(text);
	char number[8];
	uint64_t percent;
	int err;

	if (!length || text[length - 1] != '%')
		return parse_size(text, &input->headroom);
	if (length > sizeof(number))
		return -ERANGE;
	snprintf(number, sizeof(number), "%.*s", (int)length - 1, text);
	err = parse_number(number, 0, 100, &percent);
	if (!err)
		input->headroom_percent = (uint32_t)percent;
	return err;
}

int plan_set(struct pn_plan_input *input, int code, const char *text)
{
	switch (code) {
	case PLAN_MEM:
		return parse_size(text, &input->mem);
	case PLAN_PAGE:
		return set_page(&input->page_size, text);
	case PLAN_DEVICES:
		return set_count(&input->devices, 64, text);
	case PLAN_PROCESSES:
		return set_count(&input->processes, 1024, text);
	case PLAN_NUMA:
		return set_count(&input->numa_nodes, PN_PLAN_NODES, text);
	case PLAN_PROGRAM:
		return parse_size(text, &input->program);
	case PLAN_OTHER_LOCKED:
		return parse_size(text, &input->other_locked);
	case PLAN_BACKEND:
		return set_backends(&input->backends, text);
	case PLAN_HEADROOM:
		return set_headroom(input, text);
	default:
		input->user = text;
		return 0;
	}
}

const char *plan_takes(int code)
{
	switch (code) {
	case PLAN_PAGE:
		return "4K, 2M or 1G";
	case PLAN_DEVICES:
		return "a number from 1 to 64";
	case PLAN_PROCESSES:
		return "a number from 1 to 1024";
	case PLAN_NUMA:
		return "a number from 1 to 16";
	case PLAN_BACKEND:
		return "type1, iommufd, iommufd-compat, iommufd-as-vfio, with commas between, or "
		       "all";
	case PLAN_HEADROOM:
		return "0% to 100%, or bytes, with K, M or G";
	default:
		return "bytes, or a number with K, M or G";
	}
}
