/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --watch: the summary of the moment on a terminal, again at each interval.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pins.h"
#include "signals.h"
#include "terminal.h"

struct view {
	const struct pins_request *request;
	struct terminal terminal;
	int signals;
	char *text; /* what is shown; NULL: memory was out */
	size_t top; /* first line that is shown */
	bool over;
};

/* A report that fails is shown as why: it may work again at the next interval. */
static void look(struct view *view)
{
	struct pn_pins_report *report;

	free(view->text);
	if (pn_pins_report_create(&report, &view->request->query)) {
		view->text = strdup(pn_error());
		return;
	}
	view->text = pn_pins_summary(report);
	pn_pins_report_free(report);
}

static size_t count_lines(const char *text)
{
	size_t count = 0;

	for (; *text; text = *text ? text + 1 : text) {
		text += strcspn(text, "\n");
		count++;
	}
	return count;
}

static const char *skip_lines(const char *text, size_t count)
{
	for (; count && *text; count--) {
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return text;
}

/* One line, no wider than the screen; the rest of the row is cleared. */
static const char *put_line(FILE *out, const char *text, unsigned int columns)
{
	size_t len = strcspn(text, "\n");
	bool found = strncmp(text, "charged-", 8) == 0 || strncmp(text, "stranded", 8) == 0 ||
		     strncmp(text, "unexplained", 11) == 0;

	fprintf(out, "%s%.*s%s\033[K\r\n", found ? "\033[1m" : "",
		(int)(len < columns ? len : columns), text, found ? "\033[0m" : "");
	return text + len + (text[len] == '\n');
}

static void put_status(
	FILE *out, const struct view *view, size_t lines, unsigned int rows, unsigned int columns)
{
	char line[200], now[32] = "";
	time_t seconds = time(NULL);
	struct tm local;
	size_t last = view->top + rows - 1;

	if (localtime_r(&seconds, &local))
		strftime(now, sizeof(now), "%H:%M:%S", &local);
	snprintf(line, sizeof(line),
		" pinion pins  %s, every %g s  lines %zu to %zu of %zu  q: end%s", now,
		(double)view->request->interval_ms / 1000, lines ? view->top + 1 : 0,
		last < lines ? last : lines, lines, lines >= rows ? ", arrows: scroll" : "");
	fprintf(out, "\033[7m%-*.*s\033[0m", (int)columns, (int)columns, line);
}

static void draw(struct view *view)
{
	const char *text = view->text ? view->text : "out of memory";
	size_t lines = count_lines(text), size;
	unsigned int rows, columns, row;
	char *frame;
	FILE *out;

	terminal_size(&rows, &columns);
	if (view->top + (rows - 1) > lines)
		view->top = lines > rows - 1 ? lines - (rows - 1) : 0;
	out = open_memstream(&frame, &size);
	if (!out)
		return;
	fputs("\033[H", out);
	text = skip_lines(text, view->top);
	for (row = 0; row + 1 < rows; row++)
		text = put_line(out, text, columns);
	put_status(out, view, lines, rows, columns);
	if (!fclose(out) && !terminal_put(frame, size))
		view->over = true;
	free(frame);
}

static void handle_key(void *arg, enum key key)
{
	struct view *view = arg;
	unsigned int rows, columns;
	size_t page, up = 0;

	terminal_size(&rows, &columns);
	page = rows > 2 ? rows - 2 : 1;
	switch (key) {
	case KEY_QUIT:
		view->over = true;
		break;
	case KEY_UP:
		up = 1;
		break;
	case KEY_PAGE_UP:
		up = page;
		break;
	case KEY_DOWN:
		view->top++;
		break;
	case KEY_PAGE_DOWN:
		view->top += page;
		break;
	case KEY_HOME:
		view->top = 0;
		break;
	case KEY_END:
		view->top = SIZE_MAX / 2;
		break;
	default:
		return;
	}
	view->top -= up < view->top ? up : view->top;
	draw(view);
}

/* Ctrl-Z: the shell gets its screen back, and the view begins anew when it goes on. */
static void suspend(struct view *view)
{
	terminal_leave(&view->terminal);
	raise(SIGSTOP);
	terminal_enter(&view->terminal);
	draw(view);
}

static void handle_signal(struct view *view)
{
	int signal_number = signals_next(view->signals);

	if (signals_is_end(signal_number))
		view->over = true;
	else if (signal_number == SIGWINCH)
		draw(view);
	else if (signal_number == SIGTSTP)
		suspend(view);
}

/* Keys and signals, until it is time for the next report. */
static void wait_for(struct view *view, int64_t until_ms)
{
	struct pollfd wanted[2] = {{.fd = view->signals, .events = POLLIN},
		{.fd = view->terminal.has_keys ? STDIN_FILENO : -1, .events = POLLIN}};
	int64_t left;

	while (!view->over && (left = until_ms - clock_ms()) > 0) {
		if (poll(wanted, 2, left < INT_MAX ? (int)left : INT_MAX) <= 0)
			continue;
		if (wanted[0].revents)
			handle_signal(view);
		if (wanted[1].revents & POLLIN)
			terminal_keys(handle_key, view);
		else if (wanted[1].revents)
			view->over = true; /* the terminal is gone */
	}
	handle_signal(view);
}

int pins_watch(const struct pins_request *request)
{
	static const int signals[] = {SIGWINCH, SIGTSTP, 0};
	struct view view = {.request = request};
	const char *trouble = terminal_trouble();
	int64_t next;

	if (trouble) {
		complain("%s: --watch: %s; --summary prints the same once", request->command->name,
			trouble);
		return EXIT_FAILURE;
	}
	view.signals = signals_open(signals);
	if (view.signals < 0)
		return EXIT_FAILURE;
	fflush(stdout);
	terminal_enter(&view.terminal);
	for (next = clock_ms(); !view.over;) {
		look(&view);
		draw(&view);
		next += (int64_t)request->interval_ms;
		if (next < clock_ms())
			next = clock_ms() + (int64_t)request->interval_ms;
		wait_for(&view, next);
	}
	terminal_leave(&view.terminal);
	close(view.signals);
	free(view.text);
	return EXIT_SUCCESS;
}
