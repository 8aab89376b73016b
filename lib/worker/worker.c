/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker's life: the thread, where it runs, how it is asked to end and waited for.
 */
#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base_priv.h"
#include "worker_priv.h"

struct worker {
	struct pn_worker head;
	bool done;
	int result;
	uint64_t cpu_ns; /* when its function returned */
	/* What others write is not on the line that the worker looks at in each round. */
	pthread_t thread __attribute__((aligned(64)));
	pn_worker_fn run;
	void *arg;
	struct pn_worker_info info;
};

static struct worker *worker_of(const struct pn_worker *worker)
{
	return pn_container_of(worker, struct worker, head);
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now))
		return 0;
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *run(void *arg)
{
	struct worker *worker = arg;

	worker->result = worker->run(&worker->head, worker->arg);
	worker->cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
	__atomic_store_n(&worker->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static int name_it(struct worker *worker, const char *name)
{
	struct pn_worker_info *info = &worker->info;

	if (!name && info->cpu == PN_CPU_ANY)
		name = "pinion";
	if (!name) {
		snprintf(info->name, sizeof(info->name), "pinion-%d", info->cpu);
		return 0;
	}
	if (!*name || strlen(name) >= sizeof(info->name))
		return pn_fail(EINVAL, "'%s' is not a name for a thread, which has 1 to %zu bytes",
			name, sizeof(info->name) - 1);
	memcpy(info->name, name, strlen(name) + 1);
	return 0;
}

static int check_place(struct worker *worker, const struct pn_worker_opts *opts)
{
	struct pn_worker_info *info = &worker->info;

	info->cpu = opts->cpu;
	info->node = opts->node;
	if (opts->cpu < PN_CPU_ANY || opts->cpu > (int)PN_CPU_LAST || opts->node < PN_CPU_ANY)
		return pn_fail(
			EINVAL, "processor %d of node %d makes no sense", opts->cpu, opts->node);
	if (opts->cpu != PN_CPU_ANY) {
		int node = pn_cpu_node((unsigned int)opts->cpu);

		info->node = node < 0 ? PN_CPU_ANY : node;
		return pn_cpu_check((unsigned int)opts->cpu);
	}
	if (opts->node != PN_CPU_ANY && (numa_available() < 0 || opts->node > numa_max_node()))
		return pn_fail(ENXIO, "there is no NUMA node %d", opts->node);
	return 0;
}

/* The processors of a node, as a set of that size for pthread_attr_setaffinity_np(). */
static int node_set(int node, cpu_set_t *set, size_t size)
{
	struct bitmask *mask = numa_allocate_cpumask();
	unsigned int found = 0;

	if (!mask)
		return pn_fail(ENOMEM, "out of memory");
	if (!numa_node_to_cpus(node, mask)) {
		for (unsigned int cpu = 0; cpu < mask->size && cpu < 8 * size; cpu++) {
			if (!numa_bitmask_isbitset(mask, cpu))
				continue;
			CPU_SET_S(cpu, size, set);
			found++;
		}
	}
	numa_bitmask_free(mask);
	return found ? 0 : pn_fail(ENXIO, "NUMA node %d has no processor", node);
}

static int place(pthread_attr_t *attr, const struct pn_worker_info *info)
{
	const size_t size = CPU_ALLOC_SIZE(PN_CPU_LAST + 1);
	cpu_set_t *set;
	int err = 0;

	if (info->cpu == PN_CPU_ANY && info->node == PN_CPU_ANY)
		return 0;
	set = CPU_ALLOC(PN_CPU_LAST + 1);
	if (!set)
		return pn_fail(ENOMEM, "out of memory");
	CPU_ZERO_S(size, set);
	if (info->cpu != PN_CPU_ANY)
		CPU_SET_S((unsigned int)info->cpu, size, set);
	else
		err = node_set(info->node, set, size);
	if (!err && pthread_attr_setaffinity_np(attr, size, set))
		err = pn_fail(ENOMEM, "out of memory");
	CPU_FREE(set);
	return err;
}

static int explain_create(int err, const struct worker *worker)
{
	const struct pn_worker_info *info = &worker->info;

	if (err == EAGAIN)
		return pn_fail(EAGAIN,
			"no thread for worker %s: RLIMIT_NPROC of the user, pids.max of the "
			"control group, or memory for its stack is used up",
			info->name);
	if (err == EINVAL && (info->cpu != PN_CPU_ANY || info->node != PN_CPU_ANY))
		return pn_fail(EPERM,
			"worker %s may not run on %s %d: it is not in cpuset.cpus.effective of "
			"this process's control group",
			info->name, info->cpu != PN_CPU_ANY ? "processor" : "NUMA node",
			info->cpu != PN_CPU_ANY ? info->cpu : info->node);
	return pn_fail(err, "starting the thread of worker %s: %s", info->name, strerror(err));
}

/* With all signals blocked in the new thread but those that a fault of its own raises. */
static int create(struct worker *worker, const pthread_attr_t *attr)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	sigset_t others, before;
	int err;

	sigfillset(&others);
	for (size_t i = 0; i < PN_ARRAY_SIZE(own); i++)
		sigdelset(&others, own[i]);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	err = pthread_create(&worker->thread, attr, run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return explain_create(err, worker);
	pthread_setname_np(worker->thread, worker->info.name);
	return 0;
}

static int start_thread(struct worker *worker, size_t stack_size)
{
	pthread_attr_t attr;
	int err;

	if (pthread_attr_init(&attr))
		return pn_fail(ENOMEM, "out of memory");
	if (stack_size && pthread_attr_setstacksize(&attr, stack_size))
		err = pn_fail(EINVAL, "a stack of %zu bytes is too small; the least is %ld",
			stack_size, (long)PTHREAD_STACK_MIN);
	else
		err = place(&attr, &worker->info);
	if (!err)
		err = create(worker, &attr);
	pthread_attr_destroy(&attr);
	return err;
}

int pn_worker_start(
	struct pn_worker **out, const struct pn_worker_opts *opts, pn_worker_fn fn, void *arg)
{
	static const struct pn_worker_opts usual = PN_WORKER_OPTS_INIT;
	struct worker *worker;
	int err;

	if (!out || !fn)
		return pn_fail(EINVAL, "a worker needs a function, and somewhere to put it");
	*out = NULL;
	if (!opts)
		opts = &usual;
	worker = aligned_alloc(_Alignof(struct worker), sizeof(*worker));
	if (!worker)
		return pn_fail(ENOMEM, "out of memory");
	*worker = (struct worker){.run = fn, .arg = arg};
	err = check_place(worker, opts);
	if (!err)
		err = name_it(worker, opts->name);
	if (!err)
		err = start_thread(worker, opts->stack_size);
	if (err) {
		free(worker);
		return err;
	}
	*out = &worker->head;
	return 0;
}

void pn_worker_stop(struct pn_worker *worker)
{
	__atomic_store_n(&worker->stop, 1, __ATOMIC_RELEASE);
}

int pn_worker_join(struct pn_worker *head, int *result)
{
	struct worker *worker;

	if (!head)
		return 0;
	worker = worker_of(head);
	if (pthread_equal(worker->thread, pthread_self()))
		return pn_fail(EDEADLK, "worker %s waits for itself", worker->info.name);
	pthread_join(worker->thread, NULL);
	if (result)
		*result = worker->result;
	free(worker);
	return 0;
}

void pn_worker_get_info(const struct pn_worker *head, struct pn_worker_info *info)
{
	const struct worker *worker = worker_of(head);
	clockid_t clock;

	*info = worker->info;
	info->done = __atomic_load_n(&worker->done, __ATOMIC_ACQUIRE);
	if (info->done)
		info->cpu_ns = worker->cpu_ns;
	else if (!pthread_getcpuclockid(worker->thread, &clock))
		info->cpu_ns = read_clock(clock);
}
