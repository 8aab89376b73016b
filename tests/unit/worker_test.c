/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers: where they run, what they are called, how they end, and what is refused; and lists of
 * processors.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "pn_worker.h"

#define MANY 64

/* What pthread_create() is to answer, once; 0: as it does. */
static int create_fails;

int __real_pthread_create(
	pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	int err = create_fails;

	create_fails = 0;
	return err ? err : __real_pthread_create(thread, attr, run, arg);
}

/* A processor that this process may use. */
static int some_cpu(void)
{
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (CPU_ISSET((unsigned int)cpu, &set))
			return cpu;
	}
	fail();
	return -1;
}

struct seen {
	int cpu;
	int cpus;
	char name[16];
	sigset_t blocked;
	struct pn_worker *self;
	int join;
};

static int look(struct pn_worker *worker, void *arg)
{
	struct seen *seen = arg;
	cpu_set_t set;

	seen->cpu = sched_getcpu();
	if (!sched_getaffinity(0, sizeof(set), &set))
		seen->cpus = CPU_COUNT(&set);
	pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
	seen->self = worker;
	seen->join = pn_worker_join(worker, NULL);
	return 42;
}

static void test_runs_where_it_is_told(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;
	struct seen seen = {0};
	struct pn_worker *worker;
	int result = 0;

	(void)state;
	opts.cpu = some_cpu();
	opts.name = "exactly15bytes.";
	assert_int_equal(pn_worker_start(&worker, &opts, look, &seen), 0);
	struct pn_worker *started = worker;
	assert_int_equal(pn_worker_join(worker, &result), 0);
	assert_int_equal(result, 42);
	assert_int_equal(seen.cpu, opts.cpu);
	assert_int_equal(seen.cpus, 1);
	assert_ptr_equal(seen.self, started);
	assert_int_equal(seen.join, -EDEADLK);
}

static int wait_for_stop(struct pn_worker *worker, void *arg)
{
	unsigned int *rounds = arg;

	while (!pn_worker_stopping(worker))
		__atomic_fetch_add(rounds, 1, __ATOMIC_RELAXED);
	return -7;
}

static void wait_for_rounds(unsigned int *rounds)
{
	while (!__atomic_load_n(rounds, __ATOMIC_RELAXED))
		usleep(100);
}

static void test_tells_what_it_does(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;
	struct pn_worker_info info;
	struct pn_worker *worker;
	unsigned int rounds = 0;
	uint64_t before;
	int result = 0;

	(void)state;
	opts.cpu = some_cpu();
	assert_int_equal(pn_worker_start(&worker, &opts, wait_for_stop, &rounds), 0);
	wait_for_rounds(&rounds);
	pn_worker_get_info(worker, &info);
	assert_int_equal(info.cpu, opts.cpu);
	assert_int_equal(info.node, pn_cpu_node((unsigned int)opts.cpu));
	assert_false(info.done);
	assert_true(info.cpu_ns > 0);
	assert_int_equal(strncmp(info.name, "pinion-", 7), 0);
	before = info.cpu_ns;
	pn_worker_stop(worker);
	do {
		pn_worker_get_info(worker, &info);
	} while (!info.done);
	assert_true(info.cpu_ns >= before);
	assert_int_equal(pn_worker_join(worker, &result), 0);
	assert_int_equal(result, -7);
}

static void test_name_is_the_threads(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;
	struct seen seen = {0};
	struct pn_worker *worker;

	(void)state;
	opts.name = "rx";
	/* Its name may be given to it after it has looked: only then it says the old one. */
	for (int tries = 0; strcmp(seen.name, "rx") != 0 && tries < 100; tries++) {
		assert_int_equal(pn_worker_start(&worker, &opts, look, &seen), 0);
		pn_worker_join(worker, NULL);
	}
	assert_string_equal(seen.name, "rx");
}

static void test_takes_no_signals(void **state)
{
	struct seen seen = {0};
	struct pn_worker *worker;
	sigset_t mine;

	(void)state;
	assert_int_equal(pn_worker_start(&worker, NULL, look, &seen), 0);
	pn_worker_join(worker, NULL);
	assert_true(sigismember(&seen.blocked, SIGTERM));
	assert_true(sigismember(&seen.blocked, SIGUSR1));
	assert_false(sigismember(&seen.blocked, SIGSEGV));
	assert_false(sigismember(&seen.blocked, SIGBUS));
	/* And whoever started it goes on taking them. */
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	assert_false(sigismember(&mine, SIGTERM));
}

static void test_many_at_once(void **state)
{
	struct pn_worker *workers[MANY];
	unsigned int rounds[MANY] = {0};

	(void)state;
	for (unsigned int i = 0; i < MANY; i++)
		assert_int_equal(pn_worker_start(&workers[i], NULL, wait_for_stop, &rounds[i]), 0);
	for (unsigned int i = 0; i < MANY; i++) {
		wait_for_rounds(&rounds[i]);
		pn_worker_stop(workers[i]);
	}
	for (unsigned int i = 0; i < MANY; i++) {
		int result = 0;

		assert_int_equal(pn_worker_join(workers[i], &result), 0);
		assert_int_equal(result, -7);
	}
	assert_int_equal(pn_worker_join(NULL, NULL), 0);
}

static void refused(const struct pn_worker_opts *opts, int err, const char *why)
{
	struct pn_worker *worker = (struct pn_worker *)&create_fails;

	assert_int_equal(pn_worker_start(&worker, opts, look, NULL), err);
	assert_null(worker);
	assert_non_null(strstr(pn_error(), why));
}

static void test_refuses(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;

	(void)state;
	opts.cpu = 65535;
	refused(&opts, -ENXIO, "no processor 65535");
	opts.cpu = 65536;
	refused(&opts, -EINVAL, "65536");
	opts.cpu = -2;
	refused(&opts, -EINVAL, "-2");
	opts.cpu = PN_CPU_ANY;
	opts.node = 4000;
	refused(&opts, -ENXIO, "no NUMA node 4000");
	opts.node = -3;
	refused(&opts, -EINVAL, "-3");
	opts.node = PN_CPU_ANY;
	opts.name = "";
	refused(&opts, -EINVAL, "1 to 15 bytes");
	opts.name = "sixteen bytes...";
	refused(&opts, -EINVAL, "1 to 15 bytes");
	opts.name = NULL;
	opts.stack_size = 1;
	refused(&opts, -EINVAL, "too small");
	assert_int_equal(pn_worker_start(NULL, NULL, look, NULL), -EINVAL);
}

static void test_tells_why_there_is_no_thread(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;

	(void)state;
	create_fails = EAGAIN;
	refused(&opts, -EAGAIN, "RLIMIT_NPROC");
	create_fails = EPERM;
	refused(&opts, -EPERM, strerror(EPERM));
	/* What the kernel answers for a processor that is there and not in the control group. */
	opts.cpu = some_cpu();
	create_fails = EINVAL;
	refused(&opts, -EPERM, "cpuset.cpus.effective");
}

static void test_stays_on_a_node(void **state)
{
	struct pn_worker_opts opts = PN_WORKER_OPTS_INIT;
	struct seen seen = {0};
	struct pn_worker *worker;

	(void)state;
	opts.node = pn_cpu_node((unsigned int)some_cpu());
	if (opts.node < 0)
		skip();
	assert_int_equal(pn_worker_start(&worker, &opts, look, &seen), 0);
	pn_worker_join(worker, NULL);
	assert_int_equal(pn_cpu_node((unsigned int)seen.cpu), opts.node);
}

static void bad_list(const char *list, unsigned int room, int err)
{
	unsigned int cpus[4] = {0};

	assert_int_equal(pn_cpus_parse(list, cpus, room), err);
	assert_string_not_equal(pn_error(), "");
}

static void test_lists_of_processors(void **state)
{
	unsigned int cpus[4] = {7, 7, 7, 7};
	char list[64];
	int cpu = some_cpu();

	(void)state;
	snprintf(list, sizeof(list), "%d", cpu);
	assert_int_equal(pn_cpus_parse(list, cpus, 4), 1);
	assert_int_equal(cpus[0], cpu);
	assert_int_equal(cpus[1], 7);
	snprintf(list, sizeof(list), "%d-%d", cpu, cpu);
	assert_int_equal(pn_cpus_parse(list, cpus, 1), 1);
	snprintf(list, sizeof(list), "%d,%d", cpu, cpu);
	bad_list(list, 4, -EINVAL);
	bad_list("0", 0, -E2BIG);
	bad_list("65535", 4, -ENXIO);
	static const char *const bad[] = {"", ",", "0,", ",0", "-", "-1", "0-", "1-0", "a", "0x0",
		" 0", "0 ", "0--0", "0,,0", "65536", "18446744073709551616",
		"0-18446744073709551616", "0;0"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad_list(bad[i], 4, -EINVAL);
	bad_list(NULL, 4, -EINVAL);
	assert_int_equal(pn_cpus_parse("0", NULL, 4), -EINVAL);
	assert_int_equal(pn_cpu_node(UINT32_MAX), -ENXIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_where_it_is_told),
		cmocka_unit_test(test_tells_what_it_does),
		cmocka_unit_test(test_name_is_the_threads),
		cmocka_unit_test(test_takes_no_signals),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_tells_why_there_is_no_thread),
		cmocka_unit_test(test_stays_on_a_node),
		cmocka_unit_test(test_lists_of_processors),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
