/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a PCI function in use, so that taking it from its driver would hurt? Each answer names the
 * rule that it comes from, and what may set it aside.
 */
#ifndef HOST_USE_H
#define HOST_USE_H

#include "net.h"
#include "pci.h"

enum host_weight {
	HOST_USE_FORCE, /* in use: --force */
	HOST_USE_CUT,   /* the machine would lose its network: --force --cut-network */
	HOST_USE_NEVER, /* the machine would lose itself, or it cannot work */
};

struct host_use {
	char address[PN_PCI_ADDRESS_MAX];
	const char *rule; /* "mounted", "default-route" ... */
	enum host_weight weight;
	char text[800];
};

struct host_uses {
	struct host_use *items;
	size_t count;
};

/* What speaks against taking all of these away together. 0 or a negative errno with the reason;
 * the caller frees with host_uses_free(). */
int host_uses_find(
	struct host *host, const struct host_pci *list, size_t count, struct host_uses *uses);
void host_uses_free(struct host_uses *uses);

/* Network interfaces of a function, in every namespace that can be seen, as "eth0,eth1". */
int host_interfaces(struct host *host, const char *address, char *names, size_t size);

/*
 * Of the files of this concept
 */

int host_use_add(struct host_uses *uses, const char *address, const char *rule,
	enum host_weight weight, const char *fmt, ...) HOST_PRINTF(5, 6);
/* A name, which may be anybody's choice, as one word of a command that is there to be pasted into a
 * shell. Returns word. */
#define HOST_WORD_MAX 1100
const char *host_word(const char *name, char word[HOST_WORD_MAX]);
int host_uses_disk(struct host *host, const struct host_pci *pci,
	const struct host_children *children, struct host_uses *uses);
/* Once for all: together they may be all the network there is. */
int host_uses_net(struct host *host, const struct host_pci *list, size_t count,
	const struct host_children *children, struct host_uses *uses);

/* A mount, of any namespace. */
struct host_mount {
	unsigned int major, minor;
	bool first; /* in the namespace of process 1 */
	pid_t pid;  /* a process that sees it */
	char point[256];
	char type[32];
	char source[256];
};

struct host_mounts {
	struct host_mount *items;
	size_t count;
};

int host_mounts_read(struct host *host, struct host_mounts *mounts);
void host_mounts_free(struct host_mounts *mounts);

#endif
