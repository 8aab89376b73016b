/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices from pinion-broker, for a process that may open none itself: ask for them, and get a
 * domain into which they can be opened.
 */
#ifndef PN_BROKER_H
#define PN_BROKER_H

#include "pn_base.h"
#include "pn_broker_protocol.h"
#include "pn_dma.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A connection to the broker. What it handed out is this process's for as long as the connection
 * stands. */
struct pn_broker;

/**
 * Connect.
 *
 * @param[out] out the connection; the caller owns it
 * @param path     of the socket; NULL: $PINION_BROKER (not in a set-user-ID program), or else
 * PN_BROKER_SOCKET
 * @return 0; -ENOENT, -ECONNREFUSED, -EACCES ... when nobody listens there (the text says how to
 * start it); -ENAMETOOLONG; -ENOMEM. Thread-safety: any thread; a connection is used by one thread
 * at a time, of the process that made it (not of a forked child).
 */
PN_API int pn_broker_connect(struct pn_broker **out, const char *path);

/** What is wanted of the broker. */
struct pn_broker_request {
	/** PCI addresses, whole ("0000:03:00.0"): all devices that the domain is to have, at most
	 * PN_BROKER_DEVICES. */
	const char *const *devices;
	size_t device_count;
	/** "iommufd" or "type1"; NULL or "auto": the first of these that the broker has. */
	const char *backend;
	/** Bytes that RLIMIT_MEMLOCK (soft) is to allow, a multiple of 4096; 0: all that the policy
	 * grants. */
	uint64_t memory;
};

/**
 * Ask for devices, and make a domain of what comes: pn_pci_open() and pn_port_open() with this
 * domain open these devices and no others' nodes. The broker sets RLIMIT_MEMLOCK of this process:
 * the hard limit to what its policy grants, even if it was higher, the soft one to request->memory;
 * both are as before when everything has been given back.
 *
 * The domain may outlive the connection, but the broker then takes the devices for given back, and
 * RLIMIT_MEMLOCK goes back. Waits for the broker, at most 30 seconds.
 *
 * @param broker  the connection
 * @param request what is wanted
 * @param opts    as for pn_domain_create(), or NULL; backend, node, use_fd, fd and beside must be
 * NULL or zero, accounting PN_ACCOUNTING_ANY
 * @param[out] out the domain; the caller owns it
 * @return 0; -EINVAL (arguments, with what is wrong); -EACCES (the policy does not grant it),
 * -EBUSY (another program has a device), -EDQUOT (more memory than granted), -ENODEV or another
 * errno of the broker's, with its words; -EPROTO when the answer makes no sense; -EPIPE when the
 * broker has gone; -ETIMEDOUT; the errors of pn_domain_create(). After a failure nothing was handed
 * out.
 */
PN_API int pn_broker_domain(struct pn_broker *broker, const struct pn_broker_request *request,
	const struct pn_domain_opts *opts, struct pn_domain **out);

/** Close the connection and so give back what was handed out; destroy the domains first. NULL is
 * allowed. In a forked child it closes the child's copy. */
PN_API void pn_broker_close(struct pn_broker *broker);

#ifdef __cplusplus
}
#endif

#endif
