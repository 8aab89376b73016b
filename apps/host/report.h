/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What 'pinion status' shows: each device that is bound, granted or on a VFIO driver, who has it
 * open, and what is not as the records say.
 */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include "openers.h"
#include "state.h"

/* One thing that is not as it should be, in words, with the command that mends it. */
struct host_problem {
	char device[PN_PCI_ADDRESS_MAX]; /* "": of no one device */
	char text[400];
};

struct host_device {
	char address[PN_PCI_ADDRESS_MAX];
	bool there; /* in the machine now */
	struct host_pci pci;
	const struct host_binding *binding; /* NULL: not bound by pinion */
	const struct host_vfs *vfs;         /* NULL: none made by pinion */
};

struct host_report {
	const struct host_state *state;
	struct host_device *devices;
	size_t device_count;
	struct host_problem *problems;
	size_t problem_count;
	struct host_openers openers;
	pid_t busy; /* a pinion that changes the state right now; 0: none */
};

/* The state must outlive the report. 0 or a negative errno with the reason; the caller frees with
 * host_report_free(). */
int host_report_make(struct host *host, const struct host_state *state, struct host_report *report);

/* Show this device too, whatever it is bound to. 0 or -ENOMEM. */
int host_report_device(struct host *host, struct host_report *report, const char *address);
/* Something else that is not as it should be. 0 or -ENOMEM. */
int host_report_problem(struct host_report *report, const char *device, const char *fmt, ...)
	HOST_PRINTF(3, 4);

void host_report_free(struct host_report *report);

#endif
