/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forwarding on several processors: a worker for each has some of the streams, and this thread
 * keeps the time, takes the samples and ends them.
 */
#include <errno.h>

#include "pn_worker.h"
#include "testpmd.h"

/* How often this thread looks at the signals and at the count, which nobody tells it of. */
#define LOOK_MS 1

static int forward(struct pn_worker *worker, void *arg)
{
	struct core *core = arg;
	const struct forward_mode *mode = core->t->options.mode;
	void (*run)(struct stream *) = core->streams->budget->shared ? mode->run_shared : mode->run;
	struct stream *const streams = core->streams;
	const unsigned int count = core->count;
	uint64_t before = clock_cpu_ns();
	struct waiter waiter;
	unsigned int round = 0;

	waiter_init(&waiter, core);
	while (!pn_worker_stopping(worker)) {
		for (unsigned int i = 0; i < count; i++)
			run(&streams[i]);
		if (++round % LOOPS_PER_LOOK == 0 && waiter.on)
			waiter_sleep(&waiter, core);
	}
	core->cpu_ns = clock_cpu_ns() - before;
	return 0;
}

static int start(struct testpmd *t)
{
	for (unsigned int n = 0; n < t->core_count; n++) {
		struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;
		struct core *core = &t->cores[n];
		int err;

		opts.cpu = (int)t->options.cpus[n];
		err = pn_worker_start(&core->worker, &opts, forward, core);
		if (err) {
			t->stop = STOP_ERROR;
			return fail(t, err, "--cores: %s", pn_error());
		}
	}
	return 0;
}

static bool all_done(struct testpmd *t)
{
	const struct budget *budget = &t->cores[0].budget;

	return budget->shared &&
	       __atomic_load_n(&budget->done, __ATOMIC_RELAXED) >= t->options.count;
}

static void keep_time(struct testpmd *t)
{
	while (!t->stop) {
		if (stop_signal)
			t->stop = STOP_SIGNAL;
		else if (all_done(t))
			t->stop = STOP_COUNT;
		else if (clock_due(&t->clock))
			stats_tick(t);
		else
			clock_sleep_ms(LOOK_MS);
	}
}

void cores_run(struct testpmd *t)
{
	stats_start(t);
	if (!start(t))
		keep_time(t);
	for (unsigned int n = 0; n < t->core_count; n++) {
		if (t->cores[n].worker)
			pn_worker_stop(t->cores[n].worker);
	}
	for (unsigned int n = 0; n < t->core_count; n++) {
		pn_worker_join(t->cores[n].worker, NULL);
		t->cores[n].worker = NULL;
	}
}
