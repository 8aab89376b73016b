/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request and its reply, as a client of the broker sends and receives them.
 */
#ifndef PN_BROKER_EXCHANGE_H
#define PN_BROKER_EXCHANGE_H

#include "pn_broker_protocol.h"

/* What came with a reply. */
struct pn_broker_answer {
	struct pn_broker_wire_reply reply;
	int fds[PN_BROKER_FILES];
	unsigned int fd_count;
};

/* A socket connected to the broker at path, or a negative errno with words. */
int pn_broker_dial(const char *path);

/*
 * Send a request and wait for its reply, which is checked: sizes, texts, that there are as many
 * files as it says. 0: the files are the caller's (pn_broker_answer_close()). A negative errno with
 * words otherwise, which are the broker's if it refused: no file is open then.
 */
int pn_broker_ask(
	int fd, const struct pn_broker_wire_request *request, struct pn_broker_answer *answer);

/* Close the files that are left: those taken out are -1. */
void pn_broker_answer_close(struct pn_broker_answer *answer);

#endif
