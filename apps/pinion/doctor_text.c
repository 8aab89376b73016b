/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Findings as text for people: by subject, in columns, with what mends each below it, and a summary
 * last.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "doctor.h"

#define STATE_WIDTH 10
#define LABEL_WIDTH 17
#define INDENT      (2 + STATE_WIDTH + LABEL_WIDTH)

/* In the order in which they are shown; those of a subject stand together. */
static const struct {
	const char *subject, *title;
} titles[] = {{"container", "Container"}, {"kernel", "Kernel"}, {"iommu", "IOMMU"},
	{"backends", "Ways to map memory"}, {"devices", "Devices"}, {"memory", "Memory"},
	{"limits", "Limits"}, {"privileges", "Privileges"}, {"syscalls", "System calls"},
	{"reports", "Reports"}};

static const struct {
	const char *word, *colour;
} states[DOCTOR_STATES] = {[DOCTOR_OK] = {"ok", "32"},
	[DOCTOR_UNSEEN] = {"not seen", "2"},
	[DOCTOR_HURTS] = {"hurts", "33"},
	[DOCTOR_BLOCKS] = {"BLOCKS", "1;31"}};

static const char *const wheres[DOCTOR_WHERES] = {[DOCTOR_AS_ROOT] = "as root",
	[DOCTOR_AS_USER] = "as the user",
	[DOCTOR_SETTING] = "setting",
	[DOCTOR_ON_HOST] = "root on the host",
	[DOCTOR_PODMAN] = "podman run",
	[DOCTOR_DOCKER] = "docker run",
	[DOCTOR_OCI] = "config.json",
	[DOCTOR_KUBE] = "Kubernetes",
	[DOCTOR_BWRAP] = "bwrap",
	[DOCTOR_NSPAWN] = "systemd-nspawn"};

struct page {
	FILE *out;
	bool colour;
	unsigned int columns;
};

static void coloured(const struct page *page, const char *colour, const char *text, int width)
{
	if (page->colour)
		fprintf(page->out, "\033[%sm%-*s\033[0m", colour, width, text);
	else
		fprintf(page->out, "%-*s", width, text);
}

/* Words from this column to the edge; what is longer than a line stands in one of its own. */
static void wrapped(const struct page *page, const char *text, unsigned int indent)
{
	unsigned int at = indent;
	size_t len;

	while (*text) {
		len = strcspn(text, " \n");
		if (at != indent && at + 1 + len > page->columns) {
			fprintf(page->out, "\n%*s", (int)indent, "");
			at = indent;
		}
		fprintf(page->out, "%s%.*s", at == indent ? "" : " ", (int)len, text);
		at += (unsigned int)len + (at != indent);
		text += len;
		text += strspn(text, " \n");
	}
	fputc('\n', page->out);
}

/* "hugepages 2 MiB", or the object alone where the subject says what it is. */
static void label_of(const struct doctor_finding *finding, char *label, size_t size)
{
	const char *name = strchr(finding->id, '.') + 1;
	bool alone = strcmp(finding->subject, "memory") != 0;

	if (!*finding->object)
		snprintf(label, size, "%s", name);
	else if (alone || strcmp(name, "mount") == 0)
		snprintf(label, size, "%s", finding->object);
	else
		snprintf(label, size, "%s %s", name, finding->object);
	if (!*finding->object || !alone) {
		for (char *at = label; *at; at++)
			*at = *at == '_' ? ' ' : *at;
	}
}

static void print_label(const struct page *page, const char *label)
{
	if (strlen(label) < LABEL_WIDTH)
		fprintf(page->out, "%-*s", LABEL_WIDTH, label);
	else
		fprintf(page->out, "%s\n%*s", label, INDENT, "");
}

/* A command stands in one line, however long, so that it can be copied. */
static void print_mend(const struct page *page, const struct doctor_mend *mend)
{
	fprintf(page->out, "%*s", 2 + STATE_WIDTH, "");
	coloured(page, "36", wheres[mend->where], LABEL_WIDTH);
	if (mend->where == DOCTOR_SETTING)
		wrapped(page, mend->text, INDENT);
	else
		fprintf(page->out, "%s\n", mend->text);
}

static void print_finding(const struct page *page, const struct doctor_finding *finding)
{
	char label[300];

	fputs("  ", page->out);
	coloured(page, states[finding->state].colour, states[finding->state].word, STATE_WIDTH);
	label_of(finding, label, sizeof(label));
	print_label(page, label);
	wrapped(page, finding->text, INDENT);
	for (unsigned int i = 0; i < finding->mend_count; i++)
		print_mend(page, &finding->mends[i]);
}

static void print_subject(const struct page *page, const struct doctor *d, size_t which)
{
	bool titled = false;

	for (size_t i = 0; i < d->finding_count; i++) {
		const struct doctor_finding *finding = &d->findings[i];

		if (strcmp(finding->subject, titles[which].subject) != 0 ||
			(d->ask.problems && finding->state == DOCTOR_OK))
			continue;
		if (!titled) {
			coloured(page, "1", titles[which].title, 0);
			fputc('\n', page->out);
			titled = true;
		}
		print_finding(page, finding);
	}
	if (titled)
		fputc('\n', page->out);
}

static void print_asked(const struct page *page, const struct doctor *d)
{
	char text[512], mem[32], pages[32];
	int len;

	len = snprintf(text, sizeof(text), "User %s%s", d->machine.user,
		d->machine.as_user ? " (looked at as that user, without capabilities)" : "");
	if (d->ask.mem)
		len += snprintf(text + len, sizeof(text) - (size_t)len, ", %s of memory",
			doctor_size(mem, d->ask.mem));
	if (d->page_size)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s pages of %s",
			d->ask.mem ? " in" : ",", doctor_size(pages, d->page_size));
	snprintf(text + len, sizeof(text) - (size_t)len, ", %s%s",
		d->chosen ? "mapped by " : "and no backend to map it",
		d->chosen ? d->chosen->name : "");
	wrapped(page, text, 0);
	fputc('\n', page->out);
}

static void print_summary(const struct page *page, const struct doctor *d)
{
	static const char *const verdicts[DOCTOR_STATES] = {[DOCTOR_OK] = "Nothing is in the way",
		[DOCTOR_UNSEEN] = "Nothing is in the way, as far as could be seen",
		[DOCTOR_HURTS] = "It will run, but not as well as it could",
		[DOCTOR_BLOCKS] = "It will not run as asked"};
	enum doctor_state worst = DOCTOR_BLOCKS;

	while (worst > DOCTOR_OK && !doctor_count(d, worst))
		worst--;
	coloured(page, states[worst].colour, verdicts[worst], 0);
	fprintf(page->out, ": %u block%s, %u hurt%s, %u not seen, %u ok.\n",
		doctor_count(d, DOCTOR_BLOCKS), doctor_count(d, DOCTOR_BLOCKS) == 1 ? "s" : "",
		doctor_count(d, DOCTOR_HURTS), doctor_count(d, DOCTOR_HURTS) == 1 ? "s" : "",
		doctor_count(d, DOCTOR_UNSEEN), doctor_count(d, DOCTOR_OK));
}

void doctor_print(const struct doctor *d, FILE *out, bool colour, unsigned int columns)
{
	const struct page page = {out, colour, columns < INDENT + 20 ? INDENT + 20 : columns};

	print_asked(&page, d);
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		print_subject(&page, d, i);
	print_summary(&page, d);
}
