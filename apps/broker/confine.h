/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the broker gives up before it listens to anybody.
 */
#ifndef BROKER_CONFINE_H
#define BROKER_CONFINE_H

/*
 * Keep CAP_SYS_RESOURCE and no other capability, no new privileges, and the system calls that the
 * broker makes. 0, or -1 after a complaint.
 */
int confine(void);

#endif
