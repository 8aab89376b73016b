/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker at work: connections, requests, what is handed out and what comes back.
 */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include "handed_out.h"
#include "policy.h"

struct server_opts {
	int listener; /* listens, does not block, says who sent what (SO_PASSCRED) */
	/* signalfd: SIGHUP reads the policy, SIGUSR1 takes all back, the others end it */
	int signals;
	const char *policy; /* file */
	const char *ledger; /* file */
};

/* Serve until a signal ends it. Exit status. */
int serve(const struct server_opts *opts, const struct policy *policy);

#endif
