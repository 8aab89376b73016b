/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gnuplot script of a recorded database: one panel a counter that anything is charged to; in it
 * a line for what was observed of each process, a broken one for what was predicted where that is
 * another number, and the limit where it is near.
 *
 * Names come from processes, by way of a file that anybody may have made: only harmless characters
 * of them get into the script, and there between single quotes, where gnuplot expands nothing.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plot_script.h"

#define SERIES_MAX 6 /* processes in a panel: more cannot be told apart */
#define PANELS_MAX 3
#define PAGE       4096.0
/* Pixels: a line of the names beside a panel, and what a panel has above and below them. */
#define NAME_HEIGHT  20u
#define AROUND_NAMES 140u
#define LIMIT_NEAR   3.0 /* a limit above so many times the highest value is not drawn, but named */
#define COUNTER_IS   "counter = ?1 AND (?2 = 0 OR pid = ?2)"

/* One line of a panel: a process, or, of user->locked_vm, a user. */
struct series {
	int64_t pid, start_time, uid;
	char name[64];
	char observer[16];
	double limit; /* the highest soft limit, bytes; 0: none, not known or unlimited */
	bool unlimited;
};

struct unit {
	double size;
	const char *name;
};

struct panel {
	const char *counter;
	bool user; /* the counter is one for all processes of a user */
	struct series series[SERIES_MAX];
	unsigned int count, total;
	double highest; /* bytes */
	const struct unit *unit;
};

struct plot {
	FILE *out;
	sqlite3 *db;
	int64_t pid;
	int64_t first_ms, last_ms;
	struct panel panels[PANELS_MAX];
	unsigned int count;
};

static sqlite3_stmt *ask(const struct plot *plot, const char *text, const char *counter)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(plot->db, text, -1, &statement, NULL))
		return NULL;
	if (counter)
		sqlite3_bind_text(statement, 1, counter, -1, SQLITE_STATIC);
	if (sqlite3_bind_parameter_count(statement) >= 2)
		sqlite3_bind_int64(statement, 2, plot->pid);
	return statement;
}

/*
 * What there is
 */

static void copy_name(char *to, size_t size, const unsigned char *from)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789-_./:+, ";
	size_t i;

	for (i = 0; from && i + 1 < size && from[i]; i++)
		to[i] = (char)(strchr(good, from[i]) ? from[i] : '?');
	to[i] = '\0';
}

static int find_times(struct plot *plot)
{
	sqlite3_stmt *statement =
		ask(plot, "SELECT min(time_ms), max(time_ms), count(*) FROM samples", NULL);
	int ret = -1;

	if (statement && sqlite3_step(statement) == SQLITE_ROW) {
		ret = sqlite3_column_int64(statement, 2) ? 0 : PLOT_NOTHING;
		plot->first_ms = sqlite3_column_int64(statement, 0);
		plot->last_ms = sqlite3_column_int64(statement, 1);
	}
	sqlite3_finalize(statement);
	return ret;
}

static void take_series(struct panel *panel, sqlite3_stmt *row)
{
	struct series *series;
	double highest = sqlite3_column_double(row, 4) * PAGE;
	char name[32];

	panel->total++;
	if (highest > panel->highest)
		panel->highest = highest;
	if (panel->count == SERIES_MAX)
		return;
	series = &panel->series[panel->count++];
	series->pid = sqlite3_column_int64(row, 0);
	series->start_time = sqlite3_column_int64(row, 1);
	series->uid = sqlite3_column_int64(row, 2);
	copy_name(name, sizeof(name), sqlite3_column_text(row, 3));
	if (panel->user)
		snprintf(series->name, sizeof(series->name), "user %" PRId64, series->uid);
	else
		snprintf(series->name, sizeof(series->name), "%s %" PRId64,
			*name ? name : "process", series->pid);
	series->limit = sqlite3_column_double(row, 5) * PAGE;
	series->unlimited = sqlite3_column_int(row, 6);
	copy_name(series->observer, sizeof(series->observer), sqlite3_column_text(row, 7));
}

/* The highest first. A text in place of pages is "unlimited". */
#define HIGHEST "max(max(predicted_pages), max(ifnull(observed_pages, 0)))"
#define LIMIT                                                                                   \
	"max(CASE WHEN limited AND typeof(limit_soft_pages) = 'integer' THEN limit_soft_pages " \
	"END), max(limited AND typeof(limit_soft_pages) = 'text'), "                            \
	"group_concat(DISTINCT nullif(observer, 'none'))"

static int find_series(struct plot *plot, struct panel *panel)
{
	sqlite3_stmt *statement = ask(plot,
		panel->user ? "SELECT 0, 0, uid, '', " HIGHEST " AS highest, " LIMIT
			      " FROM counters WHERE " COUNTER_IS " AND state <> 'gone'"
			      " GROUP BY uid HAVING highest > 0 ORDER BY highest DESC, uid"
			    : "SELECT pid, start_time, uid, max(comm), " HIGHEST
			      " AS highest, " LIMIT " FROM counters WHERE " COUNTER_IS
			      " AND state <> 'gone' GROUP BY pid, start_time"
			      " HAVING highest > 0 ORDER BY highest DESC, pid",
		panel->counter);
	int ret;

	if (!statement)
		return -1;
	while ((ret = sqlite3_step(statement)) == SQLITE_ROW)
		take_series(panel, statement);
	sqlite3_finalize(statement);
	return ret == SQLITE_DONE ? 0 : -1;
}

static const struct unit *unit_of(double bytes)
{
	static const struct unit units[] = {
		{1024.0 * 1024 * 1024, "GiB"}, {1024.0 * 1024, "MiB"}, {1024.0, "KiB"}};
	size_t i;

	for (i = 0; i + 1 < sizeof(units) / sizeof(units[0]); i++) {
		if (bytes >= 2 * units[i].size)
			break;
	}
	return &units[i];
}

static int find_panels(struct plot *plot)
{
	static const char *const counters[PANELS_MAX] = {
		"mm->locked_vm", "user->locked_vm", "mm->pinned_vm"};

	for (size_t i = 0; i < PANELS_MAX; i++) {
		struct panel *panel = &plot->panels[plot->count];

		panel->counter = counters[i];
		panel->user = strcmp(counters[i], "user->locked_vm") == 0;
		if (find_series(plot, panel))
			return -1;
		if (!panel->count)
			continue;
		panel->unit = unit_of(panel->highest);
		plot->count++;
	}
	return plot->count ? 0 : PLOT_NOTHING;
}

/*
 * The data
 */

/* One value after the other, with an empty line where a sample has none: there the line breaks. */
static int put_data(const struct plot *plot, const struct panel *panel, unsigned int index)
{
	const struct series *series = &panel->series[index];
	sqlite3_stmt *statement = ask(plot,
		"SELECT samples.time_ms, max(observed_pages), sum(predicted_pages),"
		" max(CASE WHEN limited AND typeof(limit_soft_pages) = 'integer'"
		"  THEN limit_soft_pages END)"
		" FROM samples LEFT JOIN counters ON counters.sample = samples.sample"
		" AND state <> 'gone' AND counter = ?1 AND (?2 = 0 OR pid = ?2)"
		" AND uid = ?3 AND (?4 = 0 OR (pid = ?4 AND start_time = ?5))"
		" GROUP BY samples.sample ORDER BY samples.time_ms",
		panel->counter);
	int ret;

	if (!statement)
		return -1;
	sqlite3_bind_int64(statement, 3, series->uid);
	sqlite3_bind_int64(statement, 4, series->pid);
	sqlite3_bind_int64(statement, 5, series->start_time);
	fprintf(plot->out, "$d%zu_%u << EOD\n", (size_t)(panel - plot->panels), index);
	while ((ret = sqlite3_step(statement)) == SQLITE_ROW) {
		if (sqlite3_column_type(statement, 2) == SQLITE_NULL) {
			fputc('\n', plot->out);
			continue;
		}
		fprintf(plot->out, "%.3f ", (double)sqlite3_column_int64(statement, 0) / 1000);
		for (int column = 1; column <= 3; column++) {
			if (sqlite3_column_type(statement, column) == SQLITE_NULL)
				fputs("NaN ", plot->out);
			else
				fprintf(plot->out, "%.6f ",
					sqlite3_column_double(statement, column) * PAGE /
						panel->unit->size);
		}
		fputc('\n', plot->out);
	}
	fputs("EOD\n", plot->out);
	sqlite3_finalize(statement);
	return ret == SQLITE_DONE ? 0 : -1;
}

/*
 * The picture
 */

/* Colours that are told apart by everybody (Okabe and Ito). */
static const char *const colours[SERIES_MAX] = {
	"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

/* Names beside a panel stand in one column: in a second one they would not be in the picture. */
static unsigned int panel_height(const struct plot *plot)
{
	unsigned int height = 300, names;

	for (unsigned int i = 0; i < plot->count; i++) {
		const struct panel *panel = &plot->panels[i];

		names = 2 * panel->count;
		for (unsigned int k = 0; k < panel->count; k++)
			names += panel->series[k].limit > 0 || panel->series[k].unlimited;
		if (names * NAME_HEIGHT + AROUND_NAMES > height)
			height = names * NAME_HEIGHT + AROUND_NAMES;
	}
	return height;
}

static void put_head(const struct plot *plot)
{
	double seconds = (double)(plot->last_ms - plot->first_ms) / 1000;
	/* A single sample is a point in the middle of a minute. */
	double around = seconds < 1 ? 30 : seconds * 0.02;

	fprintf(plot->out,
		"set terminal svg size 1100,%u font 'sans-serif,13' background '#ffffff'\n"
		"set encoding utf8\n"
		"set xdata time\nset timefmt '%%s'\nset format x '%s'\n"
		"set xrange ['%.3f':'%.3f']\n"
		"set style line 100 lc rgb '#d8d8d8' lw 1\nset grid back ls 100\n"
		"set border 3 lc rgb '#505050'\nset tics nomirror out\n"
		"set key at graph 1.02, graph 1.0 left top vertical Left reverse noenhanced "
		"samplen 2.5\n"
		"set lmargin 11\nset rmargin 46\n"
		"set multiplot layout %u,1 title 'Memory pinned for devices' "
		"font 'sans-serif,16' noenhanced\n",
		plot->count * panel_height(plot) + 60,
		seconds > 2 * 86400 ? "%d %b"
		: seconds > 600     ? "%H:%M"
				    : "%H:%M:%S",
		(double)plot->first_ms / 1000 - around, (double)plot->last_ms / 1000 + around,
		plot->count);
}

static double highest_limit(const struct panel *panel)
{
	double highest = 0;

	for (unsigned int i = 0; i < panel->count; i++) {
		if (panel->series[i].limit > highest &&
			panel->series[i].limit <= LIMIT_NEAR * panel->highest)
			highest = panel->series[i].limit;
	}
	return highest;
}

static void put_limit(const struct plot *plot, const struct panel *panel, unsigned int index)
{
	const struct series *series = &panel->series[index];
	size_t number = (size_t)(panel - plot->panels);

	if (series->limit > 0 && series->limit <= LIMIT_NEAR * panel->highest)
		fprintf(plot->out,
			", $d%zu_%u using 1:4 with steps dt 2 lw 1.5 lc rgb '%s' title 'limit of "
			"%s'",
			number, index, colours[index], series->name);
	else if (series->limit > 0)
		fprintf(plot->out, ", NaN with lines lc rgb '#ffffff' title 'limit of %s: %.6g %s'",
			series->name, series->limit / unit_of(series->limit)->size,
			unit_of(series->limit)->name);
	else if (series->unlimited)
		fprintf(plot->out,
			", NaN with lines lc rgb '#ffffff' title 'limit of %s: unlimited'",
			series->name);
}

static void put_panel(const struct plot *plot, const struct panel *panel)
{
	size_t number = (size_t)(panel - plot->panels);
	double top = highest_limit(panel) > panel->highest ? highest_limit(panel) : panel->highest;

	fprintf(plot->out, "set title '%s%s' noenhanced\n", panel->counter,
		panel->user ? " (all processes of a user together)" : "");
	if (panel->total > panel->count)
		fprintf(plot->out, "set title '%s: the highest %u of %u' noenhanced\n",
			panel->counter, panel->count, panel->total);
	if (number + 1 == plot->count)
		fputs("set xlabel 'time (UTC)'\n", plot->out);
	fprintf(plot->out, "set ylabel '%s'\nset yrange [0:%.6f]\nplot ", panel->unit->name,
		top / panel->unit->size * 1.12);
	for (unsigned int i = 0; i < panel->count; i++) {
		fprintf(plot->out,
			"%s$d%zu_%u using 1:2 with linespoints pt 7 ps 0.25 lw 2.2 lc rgb '%s' "
			"title '%s (%s)'",
			i ? ", " : "", number, i, colours[i], panel->series[i].name,
			panel->series[i].observer);
		fprintf(plot->out,
			", $d%zu_%u using 1:3 with lines dt 3 lw 1.5 lc rgb '%s' "
			"title '%s, predicted'",
			number, i, colours[i], panel->series[i].name);
		put_limit(plot, panel, i);
	}
	fputc('\n', plot->out);
}

int plot_script(FILE *out, sqlite3 *db, pid_t pid)
{
	struct plot plot = {.out = out, .db = db, .pid = pid};
	int ret;

	ret = find_times(&plot);
	if (!ret)
		ret = find_panels(&plot);
	for (unsigned int i = 0; i < plot.count && !ret; i++) {
		for (unsigned int k = 0; k < plot.panels[i].count && !ret; k++)
			ret = put_data(&plot, &plot.panels[i], k);
	}
	if (ret)
		return ret;
	put_head(&plot);
	for (unsigned int i = 0; i < plot.count; i++)
		put_panel(&plot, &plot.panels[i]);
	fputs("unset multiplot\n", out);
	return 0;
}
