/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The charge model beside the kernel. A controller, as root, has worker processes make the system
 * calls of each operation, and compares errno and every counter with what the model says. Workers
 * use no code of the library: what is compared is the kernel alone.
 */
#ifndef CHARGES_H
#define CHARGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "charges_text.h"
#include "pn_model.h"

#define PROCESSES 4u
#define AREAS     4u
#define CONTEXTS  2u
#define DEVICES   2u
#define RINGS     2u
#define OTHERS    3u

/* Descriptors that every worker has, before and after it executes itself again. */
#define FD_SHARED 200
#define FD_WORKER 210 /* + process: its end of the socket */

/* In memory that all share. Descriptors are numbers in the process that they stand under. */
struct shared {
	char group[DEVICES][64], node[DEVICES][64], address[DEVICES][16];
	struct table {
		int context[CONTEXTS], group[DEVICES], device[DEVICES], ring[RINGS], other[OTHERS];
		char *perf[OTHERS];
		uint64_t perf_pages[OTHERS];
		char *area[AREAS];
		uint64_t area_pages[AREAS];
		uint32_t memory[AREAS];
		bool dont_fork[AREAS];
		uint32_t caps;
	} of[PROCESSES];
	uint32_t path[CONTEXTS];

	uint32_t ioas[CONTEXTS][PN_MODEL_SPACES];
	uint32_t bound_to[DEVICES];
	uint32_t other_kind[OTHERS];
	int segment[OTHERS]; /* SHM_LOCK: of nobody; number + 1 */
	/* Addresses are used once: what was mapped before it could be pinned must not meet another
	 * area there. */
	uint64_t next_address;
	/* What a child of a worker is told to be. */
	pid_t forked;
};

struct answer {
	int err;
	uint64_t bytes;
};

/* --- charges_worker.c: the process of this number, from now on; does not return */
void worker_main(struct shared *shared, uint32_t process) __attribute__((noreturn));
/* After execve(). */
void worker_again(uint32_t process) __attribute__((noreturn));
/* Take the identity of a first process. */
void worker_become(struct shared *shared, const struct pn_model_op *op);
/* charges_calls.c: one operation; 0 or its errno */
int call_kernel(
	struct shared *shared, uint32_t process, const struct pn_model_op *op, uint64_t *bytes);
void set_effective(uint32_t caps);
/* charges_memory.c: the same of those of memory and rings; -1: it is another */
int call_memory(struct shared *shared, uint32_t process, const struct pn_model_op *op);
/* charges_others.c: the same of those of others */
int call_other(struct shared *shared, uint32_t process, const struct pn_model_op *op);
/* Have perf count so many pages, those of the user before among them, apart from the limit; false:
 * it cannot. For root. */
bool perf_free(uint64_t pages);

/* Of rxe, where the kernel has it. */
#define RDMA_NODE "/dev/infiniband/uverbs0"
/* A directory on a file system that tracks dirty pages, if there is one. */
#define DIRTY_DIR "/tmp/dirty"

/* --- charges_meter.c: user->locked_vm of a uid */
struct meter;
struct meter *meter_start(uint32_t uid);
/* Is it exactly this? */
bool meter_confirms(const struct meter *meter, uint64_t pages);
/* What it is. */
uint64_t meter_search(const struct meter *meter);

/* --- charges_run.c */
struct run {
	unsigned int kernel;
	struct shared *shared;
	struct meter *meter[2];
	struct pn_model *model;
	pid_t pid[PROCESSES];
	int status[PROCESSES];
	int socket[PROCESSES];
	unsigned long operations, refused;
	bool loud;
	char trouble[512]; /* of the last operation that differed */
};

#define FIRST_UID 1000u

int run_open(struct run *run, unsigned int kernel, char **devices);
/* A new model, no workers. */
void run_begin(struct run *run);
/* Apply one operation to both. 1: the model takes it for nonsense, and it was not done; 0: they
 * agree; -1: they differ, and run->trouble says how. */
int run_step(struct run *run, const struct pn_model_op *op);
/* End all workers; nothing may be charged then. 0 or -1. */
int run_end(struct run *run);
/* The whole sequence. 0 or -1; *at: how many operations were done. */
int run_list(struct run *run, const struct pn_model_op *ops, size_t count, size_t *at);
/* Print the shortest part of a sequence that still differs. */
void run_shrink(struct run *run, struct pn_model_op *ops, size_t count);

/* --- charges_random.c */
struct way {
	enum pn_model_path path;
	bool misc; /* of /dev/vfio/vfio that iommufd provides */
};

size_t random_list(struct pn_model *model, struct pn_model *spare, const struct way *way,
	uint64_t seed, struct pn_model_op *ops, size_t count);
extern const struct pn_model_size model_size;

#endif
