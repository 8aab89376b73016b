/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is mapped in a range of addresses of this process, by /proc/self/smaps
 * (fs/proc/task_mmu.c:show_smap()), and whether it is what it was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base_priv.h"
#include "mem_priv.h"

#define SMAPS "/proc/self/smaps"
/* A header up to its path, and all of any other line; paths are cut. */
#define LINE_MAX_BYTES 512

/* The mapping whose lines are being read. */
struct entry {
	struct pn_vma vma;
	bool open, has_page_size, has_flags;
};

struct reader {
	uint64_t start, end; /* what is asked for */
	uint64_t cursor;     /* up to here it has been read */
	struct entry entry;
	struct pn_vmas *vmas;
	size_t room;
};

/*
 * One line
 */

/* A number and the character behind it. False if there is none, or it is too large. */
static bool take_number(const char **at, int base, char behind, uint64_t *value)
{
	char *end;

	if (**at == '-' || **at == '+' || **at == ' ' || **at == '\t')
		return false;
	errno = 0;
	*value = strtoull(*at, &end, base);
	if (end == *at || errno || *end != behind)
		return false;
	*at = end + 1;
	return true;
}

/* "7f0000000000-7f0000001000 rw-p 00000000 fe:00 123      /path" */
static bool parse_header(const char *line, struct pn_vma *vma)
{
	uint64_t major, minor;
	const char *rights;

	memset(vma, 0, sizeof(*vma));
	if (!take_number(&line, 16, '-', &vma->start) || !take_number(&line, 16, ' ', &vma->end))
		return false;
	rights = line;
	if (strlen(rights) < 5 || rights[4] != ' ')
		return false;
	vma->read = rights[0] == 'r';
	vma->write = rights[1] == 'w';
	vma->shared = rights[3] == 's';
	line += 5;
	if (!take_number(&line, 16, ' ', &vma->offset) || !take_number(&line, 16, ':', &major) ||
		!take_number(&line, 16, ' ', &minor) || !take_number(&line, 10, ' ', &vma->inode))
		return false;
	if (major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	vma->device = makedev((unsigned int)major, (unsigned int)minor);
	line += strspn(line, " ");
	/* mm/secretmem.c: a file of its own pseudo file system, which has no name to mount. */
	vma->secret = major == 0 && !strcmp(line, "/secretmem (deleted)");
	return vma->start < vma->end && !((vma->start | vma->end) & (PN_PAGE_4K - 1));
}

/* "KernelPageSize:     2048 kB" */
static bool parse_page_size(const char *text, struct pn_vma *vma)
{
	uint64_t kilobytes;

	text += strspn(text, " ");
	if (!take_number(&text, 10, ' ', &kilobytes) || !pn_is_pow2(kilobytes) || kilobytes < 4 ||
		kilobytes > UINT64_MAX >> 10)
		return false;
	vma->page_size = kilobytes << 10;
	return true;
}

/* "VmFlags: rd wr mr mw me ac " */
static void parse_flags(char *text, struct pn_vma *vma)
{
	char *flag, *rest = text;

	while ((flag = strtok_r(rest, " ", &rest))) {
		vma->io |= !strcmp(flag, "io") || !strcmp(flag, "pf");
		vma->hugetlb |= !strcmp(flag, "ht");
		vma->dont_fork |= !strcmp(flag, "dc");
		vma->locked |= !strcmp(flag, "lo");
	}
}

/*
 * The file
 */

static int fail_format(const char *what)
{
	return pn_fail(EIO, SMAPS " makes no sense: %.80s", what);
}

static int append(struct reader *reader, const struct pn_vma *vma)
{
	size_t room = reader->room ? 2 * reader->room : 4;
	struct pn_vma *list;

	if (reader->vmas->count == reader->room) {
		list = reallocarray(reader->vmas->list, room, sizeof(*list));
		if (!list)
			return pn_fail(ENOMEM, "no memory for a list of %zu mappings", room);
		reader->vmas->list = list;
		reader->room = room;
	}
	reader->vmas->list[reader->vmas->count++] = *vma;
	return 0;
}

/*
 * All lines of a mapping are read: keep what of it is asked for. A mapping that has grown between
 * two reads of the file can show addresses that were shown already; they count once.
 */
static int close_entry(struct reader *reader)
{
	struct pn_vma *vma = &reader->entry.vma;
	uint64_t start = vma->start > reader->cursor ? vma->start : reader->cursor;
	uint64_t end = vma->end < reader->end ? vma->end : reader->end;

	if (!reader->entry.open)
		return 0;
	reader->entry.open = false;
	if (start >= end)
		return 0;
	if (!reader->entry.has_page_size || !reader->entry.has_flags)
		return fail_format("a mapping without KernelPageSize or VmFlags");
	vma->offset = vma->inode || vma->device ? vma->offset + (start - vma->start) : 0;
	vma->start = start;
	vma->end = end;
	reader->cursor = end;
	return append(reader, vma);
}

static bool is_header(const char *line)
{
	return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f');
}

static const char *value_of(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncmp(line, name, len) ? NULL : line + len;
}

/* 1: go on; 0: what was asked for is read; or a negative errno. */
static int take_line(struct reader *reader, char *line)
{
	struct entry *entry = &reader->entry;
	char *flags = (char *)value_of(line, "VmFlags:");
	const char *size = value_of(line, "KernelPageSize:");
	int ret;

	if (is_header(line)) {
		ret = close_entry(reader);
		if (ret)
			return ret;
		memset(entry, 0, sizeof(*entry));
		entry->open = true;
		if (!parse_header(line, &entry->vma))
			return fail_format(line);
		return entry->vma.start < reader->end;
	}
	if (!entry->open)
		return fail_format(line);
	if (flags) {
		parse_flags(flags, &entry->vma);
		entry->has_flags = true;
	}
	if (size) {
		if (!parse_page_size(size, &entry->vma))
			return fail_format(line);
		entry->has_page_size = true;
	}
	return 1;
}

static int read_all(struct reader *reader, struct pn_lines *lines)
{
	char line[LINE_MAX_BYTES];
	int ret;

	do {
		ret = pn_lines_next(lines, line, sizeof(line));
		if (ret < 0)
			return pn_fail(-ret, "reading " SMAPS ": %s", strerror(-ret));
		if (!ret)
			return close_entry(reader);
		ret = take_line(reader, line);
	} while (ret > 0);
	return ret;
}

int pn_vmas_read(uint64_t start, uint64_t end, struct pn_vmas *vmas)
{
	struct reader reader = {.start = start, .end = end, .cursor = start, .vmas = vmas};
	struct pn_lines lines;
	int ret;

	*vmas = (struct pn_vmas){NULL, 0};
	ret = pn_lines_open(&lines, SMAPS);
	if (ret)
		return pn_fail(-ret,
			"opening " SMAPS ": %s; this process needs /proc to look at its own "
			"mappings",
			strerror(-ret));
	ret = read_all(&reader, &lines);
	pn_lines_close(&lines);
	if (ret) {
		free(vmas->list);
		*vmas = (struct pn_vmas){NULL, 0};
	}
	return ret;
}

/*
 * Comparing
 */

static const char *difference(
	const struct pn_vma *expected, const struct pn_vma *now, uint64_t at, bool dont_fork)
{
	if (now->device != expected->device || now->inode != expected->inode)
		return "another file, or other memory, is mapped";
	if (now->inode &&
		now->offset + (at - now->start) != expected->offset + (at - expected->start))
		return "another part of the file is mapped";
	if (now->shared != expected->shared || now->hugetlb != expected->hugetlb ||
		now->io != expected->io)
		return "memory of another kind is mapped";
	if (now->read != expected->read || now->write != expected->write)
		return "the protection is another";
	if (dont_fork && !now->dont_fork)
		return "a child of fork() would get it (MADV_DONTFORK has gone, as it does with a "
		       "mapping)";
	return NULL;
}

uint64_t pn_vma_differs(
	const struct pn_vma *expected, const struct pn_vmas *now, bool dont_fork, const char **what)
{
	uint64_t at = expected->start;
	size_t i;

	for (i = 0; i < now->count && at < expected->end; i++) {
		if (now->list[i].end <= at)
			continue;
		if (now->list[i].start > at)
			break;
		*what = difference(expected, &now->list[i], at, dont_fork);
		if (*what)
			return at;
		at = now->list[i].end;
	}
	*what = "nothing is mapped";
	return at < expected->end ? at : expected->end;
}
