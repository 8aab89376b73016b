/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers: threads for poll loops, each with a name and, if wanted, a processor or a NUMA node of
 * its own. An application keeps its main and its own threads; everything in Pinion may be called
 * from those as well.
 */
#ifndef PN_WORKER_H
#define PN_WORKER_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** For pn_worker_opts: any processor, any node. */
#define PN_CPU_ANY (-1)

/** A worker. The field is for the inline function below only. */
struct pn_worker {
	uint32_t stop;
};

/**
 * What a worker runs.
 * @param worker itself: ask pn_worker_stopping() now and then
 * @param arg    what was given to pn_worker_start()
 * @return anything; pn_worker_join() hands it on
 */
typedef int (*pn_worker_fn)(struct pn_worker *worker, void *arg);

/** How a worker is to run. Begin with PN_WORKER_OPTS_INIT. */
struct pn_worker_opts {
	const char *name;  /**< of the thread, for ps, top and perf: 1 to 15 bytes; NULL: "pinion"
			      and its processor */
	int cpu;           /**< processor it stays on, or PN_CPU_ANY */
	int node;          /**< if cpu is PN_CPU_ANY: it stays on this node's; or PN_CPU_ANY */
	size_t stack_size; /**< bytes; 0: as for any thread of the process */
};

#define PN_WORKER_OPTS_INIT                     \
	{                                       \
		NULL, PN_CPU_ANY, PN_CPU_ANY, 0 \
	}

/**
 * Start a worker. Its stack lies on its node, and it takes no signals but those that it causes
 * itself (SIGSEGV, ...): the application's other threads get them.
 *
 * @param[out] out the worker; the caller owns it, and ends it with pn_worker_join()
 * @param opts     NULL: PN_WORKER_OPTS_INIT
 * @param run      runs in the new thread
 * @param arg      handed to run
 * @return 0; -EINVAL for a name or a stack that no thread can have; -ENXIO if there is no such
 * processor or node, or it is switched off; -EPERM if this process may not run there (the text says
 * who decides that); -EAGAIN if a limit on threads is reached; -ENOMEM.
 * Thread-safety: any thread.
 */
PN_API int pn_worker_start(
	struct pn_worker **out, const struct pn_worker_opts *opts, pn_worker_fn run, void *arg);

/** Has somebody asked the worker to end? One load, for every round of a loop. Thread-safety: any
 * thread. */
static inline bool pn_worker_stopping(const struct pn_worker *worker)
{
	return __atomic_load_n(&worker->stop, __ATOMIC_ACQUIRE) != 0;
}

/** Ask a worker to end; this does not wait. Thread-safety: any thread, and signal handlers. */
PN_API void pn_worker_stop(struct pn_worker *worker);

/**
 * Wait until the worker's function has returned, and free the worker. It is not asked to end: that
 * is pn_worker_stop(). NULL is allowed.
 *
 * @param[out] result what its function returned; may be NULL
 * @return 0; -EDEADLK if a worker waits for itself: nothing has happened then.
 * Thread-safety: one thread, once; no other may use the worker any more.
 */
PN_API int pn_worker_join(struct pn_worker *worker, int *result);

/** What a worker is doing. */
struct pn_worker_info {
	char name[16];
	int cpu;         /**< that it is bound to, or PN_CPU_ANY */
	int node;        /**< of that processor or asked for, or PN_CPU_ANY */
	bool done;       /**< its function has returned */
	uint64_t cpu_ns; /**< time it has been on a processor, ns */
};

/** Look at a worker. Thread-safety: any thread, not beside pn_worker_join(). */
PN_API void pn_worker_get_info(const struct pn_worker *worker, struct pn_worker_info *info);

/**
 * Read a list of processors such as "2-3,7", as taskset and cpusets write it.
 *
 * @param[out] cpus their numbers, in the order given
 * @param room      of cpus; of it at most this many are written
 * @return how many there are, at least 1; -EINVAL if it is no such list or names one twice; -E2BIG
 * if there are more than room; -ENXIO if one is not there or switched off.
 * Thread-safety: any thread.
 */
PN_API int pn_cpus_parse(const char *list, unsigned int *cpus, unsigned int room);

/** The NUMA node of a processor; -ENXIO if there is none. No error text. Thread-safety: any thread.
 */
PN_API int pn_cpu_node(unsigned int cpu);

#ifdef __cplusplus
}
#endif

#endif
