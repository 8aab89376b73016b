/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program and pinion-broker say to each other: one message of a SOCK_SEQPACKET socket is one
 * request or one reply, of fixed size, in the byte order of the machine. doc/broker.md has the
 * rules. A program with the library uses pn_broker.h instead.
 */
#ifndef PN_BROKER_PROTOCOL_H
#define PN_BROKER_PROTOCOL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where the broker listens, unless it is told otherwise. */
#define PN_BROKER_SOCKET "/run/pinion-broker/socket"

/** "PNB1", which also says the byte order. */
#define PN_BROKER_MAGIC UINT32_C(0x31424e50)

/** Devices of one request. */
#define PN_BROKER_DEVICES 8
/** Files of one reply: the address space, and one a device. */
#define PN_BROKER_FILES (PN_BROKER_DEVICES + 1)
/** Bytes of an address, zeroes behind it. */
#define PN_BROKER_ADDRESS 16
/** Bytes of a reason, with its terminator. */
#define PN_BROKER_TEXT 512

enum pn_broker_kind {
	PN_BROKER_REFUSED = 0, /**< of a reply alone: the connection was not taken */
	PN_BROKER_OPEN = 1,
	PN_BROKER_RELEASE = 2,
};

enum pn_broker_backend {
	PN_BROKER_FIRST = 0, /**< the first of those below that the broker has */
	PN_BROKER_IOMMUFD = 1,
	PN_BROKER_TYPE1 = 2,
};

/** A request. */
struct pn_broker_wire_request {
	uint32_t magic;
	uint32_t kind;
	uint32_t backend;
	uint32_t count; /**< devices, 1 to PN_BROKER_DEVICES; release: 0 stands for all */
	/** Open: bytes wanted as soft RLIMIT_MEMLOCK, a multiple of 4096; 0: all that is granted.
	 */
	uint64_t memory;
	char device[PN_BROKER_DEVICES][PN_BROKER_ADDRESS]; /**< "0000:03:00.0", different ones */
};

/** A reply; with error 0 to an open, count + 1 files come with it. */
struct pn_broker_wire_reply {
	uint32_t magic;
	uint32_t kind;
	int32_t error; /**< 0 or an errno, positive */
	uint32_t backend;
	uint32_t count;
	uint32_t reserved;
	uint64_t memory;                    /**< bytes: the soft RLIMIT_MEMLOCK in force */
	uint32_t dev_id[PN_BROKER_DEVICES]; /**< iommufd: ids of the devices in the iommufd */
	char text[PN_BROKER_TEXT];          /**< why not, "" if it went well */
};

#ifdef __cplusplus
}
#endif

#endif
