/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Complaints on stderr, JSON on stdout, and the check that stdout took it all.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

void guard_standard_files(void)
{
	static const int flags[] = {O_RDONLY, O_RDONLY, O_WRONLY};

	/* In this order, each open() takes the number that is missing. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) < 0)
			_exit(EXIT_FAILURE);
	}
}

void complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	/* One lock around the line: the library may log from another thread. */
	flockfile(stderr);
	fprintf(stderr, "%s: ", program_name);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	funlockfile(stderr);
	va_end(args);
}

static void log_line(void *arg, enum pn_log_level level, const char *text)
{
	static const char *const names[] = {"error", "warning", "notice", "info", "debug"};

	(void)arg;
	complain("%s: %s", names[level], text);
}

void log_to_stderr(enum pn_log_level level)
{
	pn_log_set(log_line, NULL, level);
}

int finish_stdout(void)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return 0;
	if (errno)
		complain("cannot write to standard output: %s", strerror(errno));
	else
		complain("cannot write to standard output");
	return -EIO;
}

int print_json(json_t *document)
{
	int err;

	if (!document) {
		complain("out of memory");
		return -ENOMEM;
	}
	err = json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(document);
	if (!err)
		putchar('\n');
	return finish_stdout();
}

json_t *json_address(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

json_t *json_count(uint64_t value)
{
	return value == UINT64_MAX ? json_null() : json_integer((json_int_t)value);
}

json_t *json_number(int value)
{
	return value < 0 ? json_null() : json_integer(value);
}

json_t *json_text(const char *text)
{
	json_t *string;
	char *copy;

	if (!text || !*text)
		return json_null();
	string = json_string(text);
	if (string)
		return string;
	/* Not UTF-8, which anyone may put on a command line. */
	copy = strdup(text);
	for (char *p = copy; p && *p; p++) {
		if (*p & 0x80)
			*p = '?';
	}
	string = json_string(copy);
	free(copy);
	return string;
}
