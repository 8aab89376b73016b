/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing in the pages of new memory: by several threads where there is much of it, as the kernel
 * zeroes them, which takes a second for some gigabytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pn_worker.h"

/* What a thread does before it looks whether another has failed; and before progress is told. */
#define CHUNK (UINT64_C(64) << 20)
/* A thread more for each so many bytes. */
#define BYTES_PER_THREAD PN_PAGE_1G
#define THREADS_MAX      64u

struct job {
	const struct pn_region *region;
	uint64_t chunk;
	uint64_t next; /* first byte that no thread has taken */
	uint64_t done; /* bytes */
	int error;     /* the first */
};

/* Bring in the next part. False: there is none, or it has failed somewhere. */
static bool populate_next(struct job *job)
{
	uint64_t offset = __atomic_fetch_add(&job->next, job->chunk, __ATOMIC_RELAXED), len;
	int ret, none = 0;

	if (offset >= job->region->size || __atomic_load_n(&job->error, __ATOMIC_RELAXED))
		return false;
	len = job->region->size - offset < job->chunk ? job->region->size - offset : job->chunk;
	ret = pn_populate((char *)job->region->vaddr + offset, len, true);
	if (ret) {
		__atomic_compare_exchange_n(
			&job->error, &none, ret, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		return false;
	}
	__atomic_fetch_add(&job->done, len, __ATOMIC_RELAXED);
	return true;
}

static int help(struct pn_worker *worker, void *arg)
{
	struct job *job = arg;

	(void)worker;
	while (populate_next(job))
		;
	return 0;
}

static unsigned int threads_for(const struct pn_region *region, const struct pn_region_opts *opts)
{
	uint64_t wanted = opts->populate_threads;
	cpu_set_t set;

	if (!wanted) {
		wanted = region->size / BYTES_PER_THREAD + 1;
		if (!sched_getaffinity(0, sizeof(set), &set) &&
			wanted > (unsigned int)CPU_COUNT(&set))
			wanted = (unsigned int)CPU_COUNT(&set);
	}
	if (wanted > (region->size - 1) / CHUNK + 1)
		wanted = (region->size - 1) / CHUNK + 1;
	return wanted < THREADS_MAX ? (unsigned int)wanted : THREADS_MAX;
}

static void tell(const struct job *job, const struct pn_region_opts *opts)
{
	if (opts->progress)
		opts->progress(opts->progress_arg, __atomic_load_n(&job->done, __ATOMIC_RELAXED),
			job->region->size);
}

/* Before Linux 5.14: fallocate() allocates the pages of both kinds of file or fails, and touching
 * is safe after that. */
static int populate_old(const struct pn_region *region)
{
	uint64_t offset;

	if (fallocate(region->fd, 0, 0, (off_t)region->size))
		return -errno;
	for (offset = 0; offset < region->size; offset += region->page_size)
		*((volatile char *)region->vaddr + offset) = 0;
	return 0;
}

/* The calling thread does its share, and so all of it where no other can be had. */
static void populate_together(
	struct job *job, const struct pn_region_opts *opts, unsigned int threads)
{
	struct pn_worker_opts worker = PN_WORKER_OPTS_INIT;
	struct pn_worker *workers[THREADS_MAX];
	unsigned int count = 0;

	worker.name = "pinion-populate";
	worker.node = opts->numa_node;
	while (count + 1 < threads && !pn_worker_start(&workers[count], &worker, help, job))
		count++;
	while (populate_next(job)) {
		if (__atomic_load_n(&job->done, __ATOMIC_RELAXED) < job->region->size)
			tell(job, opts);
	}
	while (count)
		pn_worker_join(workers[--count], NULL);
}

int pn_region_populate(const struct pn_region *region, const struct pn_region_opts *opts)
{
	struct job job = {
		.region = region, .chunk = region->page_size > CHUNK ? region->page_size : CHUNK};

	/* MADV_POPULATE_WRITE reports what a touch would answer with SIGBUS. */
	if (populate_next(&job))
		populate_together(&job, opts, threads_for(region, opts));
	if (job.error == -EINVAL && !job.done) {
		job.error = populate_old(region);
		job.done = region->size;
	}
	if (!job.error)
		tell(&job, opts);
	return job.error;
}
