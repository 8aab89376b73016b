/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A terminal that a live view is drawn on: its other screen, its size, its keys.
 */
#ifndef PINION_TERMINAL_H
#define PINION_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct terminal {
	struct termios before;
	bool has_keys; /* stdin is a terminal too */
};

/* NULL, or why standard output cannot be drawn on. */
const char *terminal_trouble(void);

/* Take the other screen, hide the cursor, keys without Enter. And give it back as it was. */
void terminal_enter(struct terminal *terminal);
void terminal_leave(const struct terminal *terminal);

/* At least 1 each. */
void terminal_size(unsigned int *rows, unsigned int *columns);

enum key { KEY_NONE, KEY_QUIT, KEY_UP, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END };

/* Tell of each key that was pressed since; what is none of these is passed over. */
void terminal_keys(void (*pressed)(void *arg, enum key key), void *arg);

/* All of it. False: the terminal is gone. */
bool terminal_put(const char *data, size_t size);

#endif
