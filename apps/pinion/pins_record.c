/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --record: a report at each interval into a SQLite database, each in one transaction.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pins.h"
#include "recording.h"
#include "signals.h"

enum statement { BEGIN, COMMIT, ROLLBACK, SAMPLE, COUNTER, FINDING, NOTE, STATEMENTS };

struct recorder {
	const struct pins_request *request;
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	uint64_t done;
};

static int prepare(struct recorder *recorder)
{
	static const char *const texts[STATEMENTS] = {
		[BEGIN] = "BEGIN IMMEDIATE",
		[COMMIT] = "COMMIT",
		[ROLLBACK] = "ROLLBACK",
		[SAMPLE] = "INSERT INTO samples (time_ms, process_count) VALUES (?, ?)",
		[COUNTER] = "INSERT INTO counters VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		[FINDING] = "INSERT INTO findings VALUES (?,?,?,?,?,?,?,?,?,?)",
		[NOTE] = "INSERT INTO notes VALUES (?, ?)",
	};

	for (int i = 0; i < STATEMENTS; i++) {
		if (sqlite3_prepare_v3(recorder->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
			    &recorder->statements[i], NULL))
			return -1;
	}
	return 0;
}

static void finish(struct recorder *recorder)
{
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(recorder->statements[i]);
	sqlite3_close(recorder->db);
}

static int step(struct recorder *recorder, enum statement which)
{
	sqlite3_stmt *statement = recorder->statements[which];
	int ret = sqlite3_step(statement) == SQLITE_DONE ? 0 : -1;

	/* Resetting repeats the error of the step; the first answer counts. */
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return ret;
}

/* Values of a row, one after the other. */
struct row {
	sqlite3_stmt *statement;
	int column;
};

static void add_number(struct row *row, uint64_t value)
{
	sqlite3_bind_int64(row->statement, ++row->column,
		value > INT64_MAX ? INT64_MAX : (sqlite3_int64)value);
}

static void add_signed(struct row *row, int64_t value)
{
	sqlite3_bind_int64(row->statement, ++row->column, value);
}

static void add_text(struct row *row, const char *text)
{
	sqlite3_bind_text(row->statement, ++row->column, text, -1, SQLITE_TRANSIENT);
}

static void add_null(struct row *row)
{
	sqlite3_bind_null(row->statement, ++row->column);
}

static void add_pages(struct row *row, uint64_t pages, bool known)
{
	if (!known)
		add_null(row);
	else if (pages == PN_PAGES_UNLIMITED)
		add_text(row, "unlimited");
	else
		add_number(row, pages);
}

static void add_pid(struct row *row, pid_t pid)
{
	if (pid)
		add_signed(row, pid);
	else
		add_null(row);
}

static int put_counter(struct recorder *recorder, sqlite3_int64 sample,
	const struct pn_pins_process *process, enum pn_counter counter)
{
	struct row row = {recorder->statements[COUNTER], 0};
	const struct pn_figure *figure = &process->observed[counter];
	uint64_t left = 0;
	int64_t rest;
	bool has_left = pn_pins_left(process, counter, &left);

	add_signed(&row, sample);
	add_signed(&row, process->pid);
	add_number(&row, process->start_time);
	add_number(&row, process->uid);
	add_text(&row, process->comm);
	add_text(&row, pn_pins_state(process));
	add_text(&row, pn_counter_name(counter));
	add_number(&row, process->predicted[counter]);
	add_pages(&row, process->before[counter], process->before[counter] != UINT64_MAX);
	add_pages(&row, figure->pages, figure->observer != PN_OBSERVER_NONE);
	add_text(&row, pn_observer_name(figure->observer));
	if (pn_pins_unexplained(process, counter, &rest))
		add_signed(&row, rest);
	else
		add_null(&row);
	add_number(&row, pn_pins_limited(process, counter));
	add_pages(&row, process->limit_soft, process->limit_known);
	add_pages(&row, process->limit_hard, process->limit_known);
	add_pages(&row, left, has_left);
	return step(recorder, COUNTER);
}

static int put_finding(
	struct recorder *recorder, sqlite3_int64 sample, const struct pn_finding *finding)
{
	struct row row = {recorder->statements[FINDING], 0};
	bool below = strcmp(finding->cause, "below") == 0;

	add_signed(&row, sample);
	add_text(&row, pn_finding_kind_name(finding->kind));
	add_text(&row, finding->cause);
	add_pid(&row, finding->pid);
	add_pid(&row, finding->holder);
	add_number(&row, finding->uid);
	add_text(&row, pn_counter_name(finding->counter));
	if (below)
		add_signed(&row, -(int64_t)finding->figure.pages);
	else
		add_number(&row, finding->figure.pages);
	add_text(&row, pn_observer_name(finding->figure.observer));
	add_text(&row, finding->text);
	return step(recorder, FINDING);
}

static int put_note(struct recorder *recorder, sqlite3_int64 sample, const char *note)
{
	struct row row = {recorder->statements[NOTE], 0};

	add_signed(&row, sample);
	add_text(&row, note);
	return step(recorder, NOTE);
}

static int put_sample(struct recorder *recorder, const struct pn_pins_report *report)
{
	struct row row = {recorder->statements[SAMPLE], 0};
	struct timespec now;
	sqlite3_int64 sample;
	unsigned int counter;
	int ret;

	clock_gettime(CLOCK_REALTIME, &now);
	add_signed(&row, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	add_number(&row, report->process_count);
	ret = step(recorder, SAMPLE);
	sample = sqlite3_last_insert_rowid(recorder->db);
	for (size_t i = 0; i < report->process_count && !ret; i++) {
		for (counter = 0; counter < PN_COUNTER_MAX && !ret; counter++)
			ret = put_counter(recorder, sample, &report->processes[i], counter);
	}
	for (size_t i = 0; i < report->finding_count && !ret; i++)
		ret = put_finding(recorder, sample, &report->findings[i]);
	for (size_t i = 0; i < report->note_count && !ret; i++)
		ret = put_note(recorder, sample, report->notes[i]);
	return ret;
}

/* SQLite goes on writing to a file without a name, and all of it is lost at the end. */
static bool is_gone(struct recorder *recorder)
{
	int moved = 0;

	if (sqlite3_file_control(recorder->db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) || !moved)
		return false;
	complain("%s: it was moved or removed while it was recorded into: what comes after could "
		 "not be found there",
		recorder->request->record);
	return true;
}

/* All of a report or nothing. */
static int record_one(struct recorder *recorder)
{
	struct pn_pins_report *report;
	int ret;

	report = is_gone(recorder) ? NULL : pins_report(recorder->request);
	if (!report)
		return -1;
	ret = step(recorder, BEGIN) || put_sample(recorder, report) || step(recorder, COMMIT);
	if (ret) {
		recording_complain(
			recorder->db, recorder->request->record, "a sample cannot be written");
		step(recorder, ROLLBACK);
	}
	pn_pins_report_free(report);
	recorder->done += !ret;
	return ret ? -1 : 0;
}

static int record_all(struct recorder *recorder, int signals)
{
	const struct pins_request *request = recorder->request;
	int64_t next = clock_ms();

	for (;;) {
		if (record_one(recorder))
			return EXIT_FAILURE;
		if (recorder->done == request->count)
			return EXIT_SUCCESS;
		next += (int64_t)request->interval_ms;
		/* What was missed is not made up for. */
		if (next < clock_ms())
			next = clock_ms();
		if (signals_is_end(signals_wait(signals, next)))
			return EXIT_SUCCESS;
	}
}

int pins_record(const struct pins_request *request)
{
	struct recorder recorder = {.request = request};
	int signals, status = EXIT_FAILURE;

	recorder.db = recording_open(request->record, true);
	if (!recorder.db)
		return EXIT_FAILURE;
	signals = signals_open(NULL);
	if (signals >= 0) {
		if (prepare(&recorder))
			recording_complain(recorder.db, request->record, "it cannot be written");
		else
			status = record_all(&recorder, signals);
		close(signals);
	}
	finish(&recorder);
	if (recorder.done)
		printf("%" PRIu64 " samples recorded in %s\n", recorder.done, request->record);
	return status;
}
