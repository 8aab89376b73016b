/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reports: ledgers gathered by process, next to what the observers say of the same counters, and
 * what is found in both.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger_dirs.h"
#include "ledger_read.h"
#include "report_priv.h"

/* File names are in it, which anybody may choose, and it goes to terminals. */
static void make_printable(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > 126)
			*text = '?';
	}
}

int report_note(struct pn_pins_report *report, const char *fmt, ...)
{
	char **notes = realloc(report->notes, (report->note_count + 1) * sizeof(*notes));
	va_list args;
	int len;

	if (!notes)
		return -ENOMEM;
	report->notes = notes;
	va_start(args, fmt);
	len = vasprintf(&notes[report->note_count], fmt, args);
	va_end(args);
	if (len < 0)
		return -ENOMEM;
	make_printable(notes[report->note_count++]);
	return 0;
}

int report_find(
	struct pn_pins_report *report, const struct pn_finding *finding, const char *fmt, ...)
{
	struct pn_finding *list =
		realloc(report->findings, (report->finding_count + 1) * sizeof(*list));
	va_list args;
	char *text;
	int len;

	if (!list)
		return -ENOMEM;
	report->findings = list;
	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return -ENOMEM;
	make_printable(text);
	list[report->finding_count] = *finding;
	list[report->finding_count++].text = text;
	return 0;
}

const char *pn_finding_kind_name(enum pn_finding_kind kind)
{
	static const char *const names[] = {
		"charged-twice", "charged-to-nobody", "stranded", "unexplained"};

	return (size_t)kind < PN_ARRAY_SIZE(names) ? names[kind] : "none";
}

void report_free_process(struct pn_pins_process *process)
{
	size_t i;

	for (i = 0; i < process->domain_count; i++) {
		free(process->domains[i].pins);
		pn_events_free(process->domains[i].events);
	}
	free(process->domains);
}

void pn_pins_report_free(struct pn_pins_report *report)
{
	size_t i;

	if (!report)
		return;
	for (i = 0; i < report->process_count; i++)
		report_free_process(&report->processes[i]);
	for (i = 0; i < report->note_count; i++)
		free(report->notes[i]);
	for (i = 0; i < report->finding_count; i++)
		free(report->findings[i].text);
	free(report->findings);
	free(report->notes);
	free(report->processes);
	free(report);
}

/* Everybody counts in the sums; only the process that was asked for is reported, and its user. */
static void keep_only(struct pn_pins_report *report, pid_t pid)
{
	size_t from, to = 0;
	uid_t uid = (uid_t)-1;

	for (from = 0; from < report->process_count; from++) {
		if (report->processes[from].pid == pid && !report->processes[from].foreign) {
			report->processes[to] = report->processes[from];
			uid = report->processes[to++].uid;
		} else {
			report_free_process(&report->processes[from]);
		}
	}
	report->process_count = to;
	for (from = 0, to = 0; from < report->finding_count; from++) {
		const struct pn_finding *finding = &report->findings[from];

		if (finding->pid == pid || (!finding->pid && finding->uid == uid))
			report->findings[to++] = *finding;
		else
			free(finding->text);
	}
	report->finding_count = to;
}

/* Those that are there, by pid, before those that are gone. */
static int compare(const void *left, const void *right)
{
	const struct pn_pins_process *a = left, *b = right;
	bool gone_a = !strcmp(pn_pins_state(a), "gone"), gone_b = !strcmp(pn_pins_state(b), "gone");

	if (gone_a != gone_b)
		return gone_a ? 1 : -1;
	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->start_time < b->start_time ? -1 : a->start_time > b->start_time;
}

static int examine(struct report_build *build)
{
	static int (*const steps[])(struct report_build *) = {report_observe, report_stranded,
		report_users, report_twice, report_nobody, report_unexplained};
	size_t i;
	int ret;

	for (i = 0; i < PN_ARRAY_SIZE(steps); i++) {
		ret = steps[i](build);
		if (ret)
			return ret;
	}
	return 0;
}

static int begin(struct report_build *build, const struct pn_pins_query *query)
{
	*build = (struct report_build){.report = calloc(1, sizeof(*build->report)),
		.query = query,
		.pid_namespace = pn_pid_namespace(),
		.other_proc = pn_proc_is_other()};
	return build->report ? 0 : pn_fail(ENOMEM, "no memory for a report");
}

static int finish(struct report_build *build, int ret, struct pn_pins_report **out)
{
	struct pn_pins_report *report = build->report;
	pid_t pid = build->query->pid;

	if (!ret)
		ret = examine(build);
	if (!ret && pid) {
		keep_only(report, pid);
		ret = report->process_count ? 0 : -ENOENT;
	}
	if (!ret && report->process_count)
		qsort(report->processes, report->process_count, sizeof(*report->processes),
			compare);
	free(build->keys);
	free(build->files);
	if (!ret) {
		*out = report;
		return 0;
	}
	pn_pins_report_free(report);
	if (ret == -ENOENT)
		return pn_fail(ENOENT,
			"no ledger of process %d was found: it does not use Pinion, or it belongs "
			"to a user whose ledgers this one may not read",
			(int)pid);
	return pn_fail(-ret, "making the pin report: %s", strerror(-ret));
}

int pn_pins_report_create(struct pn_pins_report **out, const struct pn_pins_query *query)
{
	static const struct pn_pins_query everything;
	struct report_build build;
	int ret;

	ret = begin(&build, query ? query : &everything);
	if (ret)
		return ret;
	if (build.query->directory)
		ret = report_gather_dir(&build, build.query->directory);
	else
		ret = pn_ledger_dir_each(report_gather_dir, &build);
	return finish(&build, ret, out);
}

int pn_pins_report_fd(struct pn_pins_report **out, int fd, bool measure_user)
{
	struct pn_pins_query query = {.pid = getpid(), .measure_user = measure_user};
	struct report_build build;
	struct stat st;
	int ret;

	ret = begin(&build, &query);
	if (ret)
		return ret;
	if (!fstat(fd, &st)) {
		build.own_device = st.st_dev;
		build.own_inode = st.st_ino;
	}
	build.reading_own = true;
	ret = report_gather_one(&build, fd, "the ledger of this domain");
	build.reading_own = false;
	if (!ret)
		ret = pn_ledger_dir_each(report_gather_dir, &build);
	return finish(&build, ret, out);
}

void pn_pins_own_predicted(uint64_t predicted[PN_COUNTER_MAX])
{
	struct pn_pins_query query = {.pid = getpid()};
	struct report_build build;
	unsigned int counter;
	size_t i;

	memset(predicted, 0, PN_COUNTER_MAX * sizeof(*predicted));
	if (begin(&build, &query))
		return;
	snprintf(build.prefix, sizeof(build.prefix), "%d-", (int)getpid());
	pn_ledger_dir_each(report_gather_dir, &build);
	for (i = 0; i < build.report->process_count; i++) {
		/* Another of this number, or what has ended. */
		if (build.report->processes[i].foreign || build.keys[i].gone)
			continue;
		for (counter = 0; counter < PN_COUNTER_MAX; counter++)
			predicted[counter] += build.report->processes[i].predicted[counter];
	}
	free(build.keys);
	free(build.files);
	pn_pins_report_free(build.report);
}
