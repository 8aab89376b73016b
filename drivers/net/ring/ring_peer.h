/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket by which two processes with a ring port each find one another: the one that listens
 * hands its memory to the one that connects, and each sees by it that the other has ended.
 */
#ifndef RING_PEER_H
#define RING_PEER_H

#include "shared_ring.h"

#define RING_PEER_NAME_MOST 64u

struct ring_peer {
	const char *port; /* for messages */
	const char *name;
	bool listens;
	int listener;
	int connection;
	char path[256]; /* of the listener's socket; "": none */
};

/* May it be the name of a connection? 0 or -EINVAL. */
int ring_peer_check_name(const char *port, const char *name);
/* Listen for the other end. 0 or a negative errno with its text. */
int ring_peer_listen(struct ring_peer *peer);
void ring_peer_hang_up(struct ring_peer *peer);
void ring_peer_close(struct ring_peer *peer);

/* Is the other end there? */
bool ring_peer_alive(struct ring_peer *peer);
/* As the one that listens: take who connects, if there is anyone; false: not yet. */
bool ring_peer_accept(struct ring_peer *peer, struct shared_ring *ring);
/* As the one that connects: ask for the memory; true once it is here: *fd is the caller's. */
bool ring_peer_connect(struct ring_peer *peer, int *fd, uint32_t *size, uint32_t *slot);

#endif
