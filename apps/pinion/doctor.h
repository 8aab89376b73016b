/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of pinion doctor: what was asked, what was seen of the machine, and the list of
 * findings. Each file doctor_SUBJECT.c has the checks of one subject: they read struct doctor, add
 * findings, and print nothing. What has to be tried instead of read is tried before
 * (doctor_try.c), so that a test can show the checks any machine.
 */
#ifndef PINION_DOCTOR_H
#define PINION_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "pn_dma.h"
#include "pn_mem.h"
#include "pn_pci.h"

#define DOCTOR_BACKENDS 8u
#define DOCTOR_DEVICES  64u
#define DOCTOR_NUMBERS  8u
#define DOCTOR_MENDS    8u

/* The worst of several is the greatest. */
enum doctor_state { DOCTOR_OK, DOCTOR_UNSEEN, DOCTOR_HURTS, DOCTOR_BLOCKS, DOCTOR_STATES };

/* Who does what mends it, and where. */
enum doctor_where {
	DOCTOR_AS_ROOT, /* a command, as root, on this machine or inside this container */
	DOCTOR_AS_USER, /* a command of the user's own, in the shell that starts the program */
	DOCTOR_SETTING, /* no command: firmware, the kernel's command line, another kernel */
	DOCTOR_ON_HOST, /* a command, as root, outside of the container */
	DOCTOR_PODMAN,  /* options of podman run */
	DOCTOR_DOCKER,  /* options of docker run */
	DOCTOR_OCI,     /* a part of config.json */
	DOCTOR_KUBE,    /* a part of a pod, or what to set on its node */
	DOCTOR_BWRAP,   /* options of bwrap */
	DOCTOR_NSPAWN,  /* options of systemd-nspawn */
	DOCTOR_WHERES
};

enum doctor_container {
	DOCTOR_NO_CONTAINER,
	DOCTOR_IN_PODMAN,
	DOCTOR_IN_DOCKER,
	DOCTOR_IN_KUBE,
	DOCTOR_IN_BWRAP,
	DOCTOR_IN_NSPAWN,
	DOCTOR_IN_SOME, /* some namespaces are not the host's, or the user says so */
};

struct doctor_mend {
	enum doctor_where where;
	char *text;
};

struct doctor_finding {
	char subject[16]; /* the part of id before the dot */
	const char *id;   /* stable: doc/doctor.md */
	char *object;     /* a device, a page size, a system call; "": there is one only */
	enum doctor_state state;
	char *text;
	struct {
		const char *name;
		uint64_t value;
	} numbers[DOCTOR_NUMBERS];
	unsigned int number_count;
	struct doctor_mend mends[DOCTOR_MENDS];
	unsigned int mend_count;
};

/* System calls and the like, tried in a child each. */
enum doctor_trial_id {
	DOCTOR_TRY_MEMFD,
	DOCTOR_TRY_MEMFD_HUGETLB,
	DOCTOR_TRY_MBIND,
	DOCTOR_TRY_NUMA, /* numa_available(), by which the library decides whether to use mbind() */
	DOCTOR_TRY_POPULATE,
	DOCTOR_TRY_DONTFORK,
	DOCTOR_TRY_EVENTFD,
	DOCTOR_TRY_IO_URING,
	DOCTOR_TRY_ZEROCOPY,
	DOCTOR_TRY_CLONE_FILES,
	DOCTOR_TRIALS
};

struct doctor_trial {
	bool tried;
	int err;    /* positive errno; 0: it works */
	int signal; /* that ended the child; 0: none */
};

/* A process, or a mount, that keeps hugepages. */
struct doctor_holder {
	pid_t pid;
	char name[20];      /* of the process, printable */
	uint64_t page_size; /* bytes */
	uint64_t pages;
	bool mount;     /* by files on a hugetlbfs that is mounted for this process only */
	char path[256]; /* of that mount; "": the process maps them or has them as files */
};

#define DOCTOR_HOLDERS 64u

struct doctor_holders {
	struct doctor_holder list[DOCTOR_HOLDERS];
	unsigned int count;
	bool more;           /* than fit */
	unsigned int unseen; /* processes that could not be looked into */
	bool hidden;         /* /proc does not show the processes of others (hidepid) */
};

/* What was asked. */
struct doctor_ask {
	const char *devices[DOCTOR_DEVICES];
	unsigned int device_count;
	const char *backend; /* "auto", or names with commas */
	uint64_t mem;        /* bytes; 0: not said */
	uint64_t page_size;  /* bytes; 0: what is there */
	bool in_container;
	bool problems; /* show what is not ok only */
};

/* What is read or tried. The files are read below root, which a test sets to a tree of its own. */
struct doctor_machine {
	const char *root;
	uid_t uid;
	char user[64];         /* login name, or the number */
	char limits_from[192]; /* where the limits come from, of --as-user; "": they are ours */
	bool as_user;
	struct rlimit memlock, fsize, as;
	char release[65]; /* of the kernel */
	char arch[65];
	struct pn_backend_info backends[DOCTOR_BACKENDS];
	unsigned int backend_count;
	int backend_signal; /* that ended the child which looked; 0: none */
	struct pn_pci_info *devices;
	size_t device_count;
	char device_error[256]; /* "": the list is right */
	struct doctor_trial trials[DOCTOR_TRIALS];
	int region_signal;      /* that ended the child which tried; 0: none */
	char region_error[256]; /* why a region of one page cannot be made; "": it can */
	int user_locked_err;    /* negative: of the meter */
	uint64_t user_locked;   /* 4 KiB pages; with -ERANGE the least that it can be */
	int module_err;         /* negative: the companion module's node, or what it answered */
	unsigned int module_version;
	struct doctor_holders holders;
	char run_dir[200];      /* PINION_RUNTIME_DIR, "" if not set */
	char xdg_dir[200];      /* XDG_RUNTIME_DIR */
	char container_env[64]; /* "container" in the environment */
	bool kube_env;          /* KUBERNETES_SERVICE_HOST is in it */
	/* Can it be opened for reading and writing? 0 or a negative errno. */
	int (*open_node)(const char *path);
	/* The same of a group's node; viable: as the kernel says. */
	int (*open_group)(const char *path, bool *viable);
};

struct doctor {
	struct doctor_ask ask;
	struct doctor_machine machine;
	/* What checks have found for those that come after them. */
	enum doctor_container container;
	bool user_namespace; /* not the initial one */
	bool cgroup_namespace;
	bool pid_namespace;
	bool without_iommufd, without_vfio;   /* the kernel was built so */
	bool exempt;                          /* CAP_IPC_LOCK that counts */
	uint64_t caps;                        /* effective */
	const struct pn_backend_info *chosen; /* NULL: no backend is available */
	bool no_iommu_wanted;                 /* noiommu or none is what was asked for */
	const struct pn_pci_info *wanted[DOCTOR_DEVICES]; /* devices that are looked at */
	unsigned int wanted_count;
	int node;           /* of the first of them, or PN_NODE_ANY */
	uint64_t page_size; /* that the memory would have */
	struct doctor_finding *findings;
	size_t finding_count;
	bool out_of_memory;
};

#define DOCTOR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * doctor_findings.c
 */

/* Add one; NULL when memory is out, which the other two take too. id is a constant. */
struct doctor_finding *doctor_add(struct doctor *d, const char *id, const char *object,
	enum doctor_state state, const char *fmt, ...) DOCTOR_PRINTF(5, 6);
void doctor_number(struct doctor_finding *finding, const char *name, uint64_t value);
void doctor_mend(struct doctor *d, struct doctor_finding *finding, enum doctor_where where,
	const char *fmt, ...) DOCTOR_PRINTF(4, 5);
/* A device's node that is missing in the container: how it is handed in. */
void doctor_mend_node(struct doctor *d, struct doctor_finding *finding, const char *node);
/* A node that all devices share, which the user may not open: a grant of a device opens it too. */
void doctor_mend_shared(struct doctor *d, struct doctor_finding *finding, const char *node);
/* Who is root where it counts: on the host, if we are in a container or in a user namespace. */
enum doctor_where doctor_root(const struct doctor *d);
/* A command of that root's. */
#define doctor_mend_root(d, finding, ...) doctor_mend(d, finding, doctor_root(d), __VA_ARGS__)
const struct doctor_finding *doctor_find(
	const struct doctor *d, const char *id, const char *object);
unsigned int doctor_count(const struct doctor *d, enum doctor_state state);
void doctor_free(struct doctor *d);
const char *doctor_state_name(enum doctor_state state);
const char *doctor_where_name(enum doctor_where where);

/*
 * doctor_files.c: files below root, which are never trusted to be short, or text.
 */

#define DOCTOR_PATH 512u

/* 0, or -ENAMETOOLONG with an empty path. */
int doctor_path(const struct doctor *d, char path[DOCTOR_PATH], const char *fmt, ...)
	DOCTOR_PRINTF(3, 4);
/* A file, cut to size, printable, without its last newline. Its length or a negative errno. */
ssize_t doctor_read(const struct doctor *d, char *text, size_t size, const char *fmt, ...)
	DOCTOR_PRINTF(4, 5);
/* A decimal number; UINT64_MAX for "max". 0 or a negative errno. */
int doctor_read_number(const struct doctor *d, uint64_t *value, const char *fmt, ...)
	DOCTOR_PRINTF(3, 4);
bool doctor_exists(const struct doctor *d, const char *fmt, ...) DOCTOR_PRINTF(2, 3);
/* How many entries a folder has that begin with prefix; -1 if it cannot be read. */
int doctor_entries(const struct doctor *d, const char *prefix, const char *fmt, ...)
	DOCTOR_PRINTF(3, 4);
/* The number behind a name that begins a line. False: it is not there. */
bool doctor_field(const char *text, const char *name, int base, uint64_t *value);
/* "4 KiB", "64 MiB", or bytes. Returns text. */
const char *doctor_size(char text[32], uint64_t bytes);

/*
 * Gathering, before the checks
 */

void doctor_gather(struct doctor *d);         /* doctor_try.c */
void doctor_holders_gather(struct doctor *d); /* doctor_holders.c */
/* doctor_user.c: become the user for good. 0, or a negative errno after a complaint. */
int doctor_become(struct doctor *d, const char *user);
/* doctor_pam.c: the RLIMIT_MEMLOCK that pam_limits would give to a session; soft and hard come in
 * as what it starts from. Is there any line for the user? from: which, in words. */
bool doctor_pam_memlock(const struct doctor *d, const char *user, uid_t uid, const gid_t *groups,
	const char *const *group_names, unsigned int group_count, struct rlimit *limit,
	char from[192]);

/*
 * The checks, in the order in which they are made: a later one uses what an earlier one found.
 */

void doctor_check(struct doctor *d); /* all: doctor_checks.c */

void doctor_check_container(struct doctor *d);
void doctor_check_privileges(struct doctor *d);
void doctor_check_syscalls(struct doctor *d);
void doctor_check_kernel(struct doctor *d);
void doctor_check_iommu(struct doctor *d);
void doctor_check_backends(struct doctor *d);
void doctor_check_devices(struct doctor *d);
void doctor_check_hugepages(struct doctor *d);
void doctor_check_holders(struct doctor *d);
void doctor_check_memory(struct doctor *d);
void doctor_check_cgroups(struct doctor *d);
void doctor_check_limits(struct doctor *d);
void doctor_check_companion(struct doctor *d);

/* doctor_hugepages.c: is a hugetlbfs of this page size mounted that we may write to? */
bool doctor_hugetlbfs(const struct doctor *d, uint64_t page_size);

/* doctor_cgroup.c: what limits of control groups leave, in bytes; UINT64_MAX: no limit that could
 * be seen. */
uint64_t doctor_cgroup_hugetlb_left(struct doctor *d, uint64_t page_size, char where[300]);
uint64_t doctor_cgroup_memory_left(struct doctor *d, char where[300]);

/*
 * Showing
 */

void doctor_print(const struct doctor *d, FILE *out, bool colour, unsigned int columns);
json_t *doctor_json(const struct doctor *d);

/* Exit status, beside 0, 1 and 2, which are as of every command. */
#define DOCTOR_EXIT_HURTS  3
#define DOCTOR_EXIT_BLOCKS 4

int doctor_status(const struct doctor *d);

#endif
