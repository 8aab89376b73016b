/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The few control sequences (ECMA-48, and xterm's other screen) that a live view needs; every
 * terminal of today has them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "terminal.h"

const char *terminal_trouble(void)
{
	const char *kind = getenv("TERM");

	if (!isatty(STDOUT_FILENO))
		return "standard output is no terminal";
	if (!kind || !*kind || strcmp(kind, "dumb") == 0)
		return "this terminal cannot be drawn on (TERM is not set, or 'dumb')";
	return NULL;
}

bool terminal_put(const char *data, size_t size)
{
	ssize_t done;

	while (size) {
		done = write(STDOUT_FILENO, data, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		data += done;
		size -= (size_t)done;
	}
	return true;
}

static void put(const char *text)
{
	terminal_put(text, strlen(text));
}

void terminal_enter(struct terminal *terminal)
{
	struct termios keys;

	terminal->has_keys =
		isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal->before) == 0;
	if (terminal->has_keys) {
		keys = terminal->before;
		keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		keys.c_cc[VMIN] = 0;
		keys.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
	}
	put("\033[?1049h\033[?25l");
}

void terminal_leave(const struct terminal *terminal)
{
	put("\033[?25h\033[?1049l");
	if (terminal->has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
}

void terminal_size(unsigned int *rows, unsigned int *columns)
{
	struct winsize size;

	*rows = 24;
	*columns = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		return;
	if (size.ws_row)
		*rows = size.ws_row;
	if (size.ws_col)
		*columns = size.ws_col;
}

static const struct {
	const char *bytes;
	enum key key;
} keys[] = {{"q", KEY_QUIT}, {"Q", KEY_QUIT}, {"k", KEY_UP}, {"\033[A", KEY_UP}, {"\033OA", KEY_UP},
	{"j", KEY_DOWN}, {"\033[B", KEY_DOWN}, {"\033OB", KEY_DOWN}, {"\033[5~", KEY_PAGE_UP},
	{"\033[6~", KEY_PAGE_DOWN}, {" ", KEY_PAGE_DOWN}, {"g", KEY_HOME}, {"\033[H", KEY_HOME},
	{"\033[1~", KEY_HOME}, {"G", KEY_END}, {"\033[F", KEY_END}, {"\033[4~", KEY_END}};

/* The key at the start of what was typed, and its length; what is none is one byte long. */
static enum key match(const char *typed, size_t *len)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		*len = strlen(keys[i].bytes);
		if (strncmp(typed, keys[i].bytes, *len) == 0)
			return keys[i].key;
	}
	*len = 1;
	return KEY_NONE;
}

void terminal_keys(void (*pressed)(void *arg, enum key key), void *arg)
{
	ssize_t size, at;
	char typed[64];
	enum key key;
	size_t len;

	size = read(STDIN_FILENO, typed, sizeof(typed) - 1);
	if (size <= 0)
		return;
	typed[size] = '\0';
	for (at = 0; at < size; at += (ssize_t)len) {
		key = match(typed + at, &len);
		if (key != KEY_NONE)
			pressed(arg, key);
	}
}
