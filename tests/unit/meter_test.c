/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The meters of user->locked_vm against a known charge: pages that a child of an unused uid has
 * registered with io_uring. Exact, every time, by either; no trace of their child is left; and what
 * keeps them from it is said.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "counters.h"
#include "meter_priv.h"

static volatile sig_atomic_t children;

static void on_child(int number)
{
	(void)number;
	children++;
}

/* Exactly so many pages, by this meter, as often as it is asked. */
static void check_exact(uint64_t sum, enum pn_observer observer, uint64_t ring)
{
	struct pn_figure figure;

	for (int round = 0; round < (ring ? 5 : 20); round++) {
		CHECK(pn_meter_measure(&figure) == 0);
		for (int wait = 0; ring && figure.pages > sum && wait < 30; wait++) {
			settle();
			CHECK(pn_meter_measure(&figure) == 0);
		}
		if (figure.pages != sum)
			fprintf(stderr, "%ju, not %ju\n", (uintmax_t)figure.pages, (uintmax_t)sum);
		CHECK(figure.pages == sum && figure.observer == observer);
	}
}

static void is_zero_then_exact(void)
{
	static const size_t steps[] = {1, 2, 29, 96};
	struct sigaction action = {.sa_handler = on_child};
	struct rlimit limit, after;
	uint64_t pages = 77, sum = 0, ring;

	become_nobody();
	CHECK(!sigaction(SIGCHLD, &action, NULL));
	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	ring = ring_pages();
	if (ring)
		settle();
	CHECK(pn_meter_user_locked(&pages) == 0);
	CHECK(pages == 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(steps); i++) {
		register_pages(steps[i]);
		sum += steps[i] + ring;
		check_exact(sum, PN_OBSERVER_METER, ring);
	}
	CHECK(!getrlimit(RLIMIT_MEMLOCK, &after));
	CHECK(limit.rlim_cur == after.rlim_cur && limit.rlim_max == after.rlim_max);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	CHECK(children == 0);
}

static void the_value_is_exact(void **state)
{
	(void)state;
	run_child_with_io_uring(is_zero_then_exact);
}

/* By the second meter, where the first is forbidden in whatever way. */
static void exact_without(int err)
{
	uint64_t ring;

	become_nobody();
	ring = ring_pages();
	register_pages(30);
	forbid(SYS_io_uring_setup, err);
	check_exact(30 + ring, PN_OBSERVER_METER_ZEROCOPY, ring);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
}

static void exact_where_refused(void)
{
	exact_without(EPERM);
}

static void exact_where_hidden(void)
{
	exact_without(ENOSYS);
}

static void exact_where_fatal(void)
{
	exact_without(0);
}

static void the_second_meter_is_exact(void **state)
{
	(void)state;
	run_child_with_io_uring(exact_where_refused);
	run_child_with_io_uring(exact_where_hidden);
	run_child_with_io_uring(exact_where_fatal);
}

/* On any kernel, and without io_uring: pages held by MSG_ZEROCOPY itself. */
static void only_zerocopy(void)
{
	struct pn_figure figure;
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_io_uring_setup, EPERM);
	CHECK(pn_meter_measure(&figure) == 0);
	CHECK(figure.pages == 0 && figure.observer == PN_OBSERVER_METER_ZEROCOPY);
	CHECK(pn_meter_user_locked(&pages) == 0 && pages == 0);
	CHECK(!strcmp(pn_observer_name(figure.observer), "meter-zerocopy"));
}

static void it_needs_no_io_uring(void **state)
{
	(void)state;
	run_child(only_zerocopy);
}

/* One page less than the hard limit can be seen by the second: its trial costs two. */
static void second_at_the_limits(void)
{
	struct pn_figure figure;

	become_nobody();
	limit_to(64);
	register_pages(40 - ring_pages());
	forbid(SYS_io_uring_setup, EPERM);
	settle();
	limit_to(42);
	CHECK(pn_meter_measure(&figure) == 0 && figure.pages == 40);
	limit_to(41);
	CHECK(pn_meter_measure(&figure) == -ERANGE && figure.pages == 40);
	CHECK(figure.observer == PN_OBSERVER_METER_ZEROCOPY && tells("hard RLIMIT_MEMLOCK"));
	limit_to(40);
	CHECK(pn_meter_measure(&figure) == -ERANGE && figure.pages == 39);
	limit_to(0);
	CHECK(pn_meter_measure(&figure) == -ERANGE && figure.pages == 0);
}

static void the_hard_limit_bounds_the_second(void **state)
{
	(void)state;
	run_child_with_io_uring(second_at_the_limits);
}

/* The soft limit of the caller does not bound it; the hard one does. */
static void at_the_limits(void)
{
	struct rlimit limit = {64 * 4096, 64 * 4096};
	uint64_t pages = 77;

	become_nobody();
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	register_pages(40 - ring_pages());
	limit.rlim_cur = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == 0);
	CHECK(pages == 40);
	settle();
	limit.rlim_max = 40 * 4096;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == -ERANGE);
	/* Where a ring is charged none can be made, and the second meter sees a page less. */
	CHECK(pages == 40 || (ring_pages() && pages == 39));
	CHECK(*pn_error());
	limit.rlim_max = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == -ERANGE);
	CHECK(pages == 0);
}

static void the_hard_limit_bounds_it(void **state)
{
	(void)state;
	run_child_with_io_uring(at_the_limits);
}

static void with_capabilities(void)
{
	uint64_t pages = 77;
	int result = pn_meter_user_locked(&pages);

	/* CAP_IPC_LOCK is dropped in the meter's child, or it says why not. */
	CHECK(result == 0 || (result < 0 && *pn_error()));
	CHECK(pn_exempt_now());
	forbid(SYS_io_uring_setup, EPERM);
	CHECK(pn_meter_user_locked(&pages) == 0);
	CHECK(pn_exempt_now());
}

static void a_privileged_caller_may_ask(void **state)
{
	(void)state;
	run_child(with_capabilities);
}

static void many_fds(void)
{
	uint64_t pages = 77;
	int lowest = dup(1), after;

	close(lowest);
	become_nobody();
	for (int i = 0; i < 50; i++)
		CHECK(pn_meter_user_locked(&pages) == 0);
	after = dup(1);
	CHECK(after == lowest);
	/* Its child emptied its own table, not this one. */
	CHECK(fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0);
	forbid(SYS_close_range, ENOSYS);
	CHECK(pn_meter_user_locked(&pages) == 0);
	close(after);
	after = dup(1);
	CHECK(after == lowest);
	CHECK(fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0);
}

static void it_leaves_no_file_open(void **state)
{
	(void)state;
	run_child(many_fds);
}

static void *measure_on(void *stop)
{
	uint64_t pages;

	while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE))
		CHECK(pn_meter_user_locked(&pages) == 0);
	return NULL;
}

/* Whoever waits for the end of a file does not wait for the meter: it never holds a copy, but for a
 * moment of the first 64. */
static void files_end_at_once(void)
{
	struct pollfd reader = {.events = POLLIN};
	int ends[2], stop = 0;
	pthread_t thread;

	become_nobody();
	forbid(SYS_io_uring_setup, EPERM);
	CHECK(!pthread_create(&thread, NULL, measure_on, &stop));
	for (int i = 0; i < 2000; i++) {
		CHECK(!pipe2(ends, O_CLOEXEC));
		CHECK(dup3(ends[1], 200, O_CLOEXEC) == 200);
		close(ends[1]);
		usleep(50);
		close(200);
		reader.fd = ends[0];
		CHECK(poll(&reader, 1, 0) == 1 && reader.revents == POLLHUP);
		close(ends[0]);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	CHECK(!pthread_join(thread, NULL));
}

static void it_holds_no_file(void **state)
{
	(void)state;
	run_child(files_end_at_once);
}

/*
 * What keeps it from measuring
 */

static void without_either(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_io_uring_setup, EPERM);
	forbid(SYS_socket, EACCES);
	CHECK(pn_meter_user_locked(&pages) == -EPERM && pages == 0);
	CHECK(tells("io_uring") && tells("seccomp") && tells("MSG_ZEROCOPY neither"));
}

static void killed_at_either(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_io_uring_setup, 0);
	forbid(SYS_sendmsg, 0);
	CHECK(pn_meter_user_locked(&pages) < 0 && pages == 0);
	CHECK(tells("seccomp") && tells("MSG_ZEROCOPY neither"));
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
}

/* A kernel that always says the same compares nothing. */
static void deaf(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_io_uring_setup, ENOSYS);
	forbid(SYS_sendmsg, EPIPE);
	CHECK(pn_meter_user_locked(&pages) == -ENOSYS && pages == 0);
	CHECK(tells("does not compare"));
}

static void no_child(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_clone, EPERM);
	CHECK(pn_meter_user_locked(&pages) == -EPERM && pages == 0);
	CHECK(tells("no child") && tells("seccomp"));
}

static void child_cut_short(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_capget, 0);
	CHECK(pn_meter_user_locked(&pages) == -EIO && pages == 0);
	CHECK(tells("cannot be measured"));
}

static void child_without_files(void)
{
	uint64_t pages = 77;

	become_nobody();
	forbid(SYS_close_range, EPERM);
	forbid(SYS_unshare, EPERM);
	CHECK(pn_meter_user_locked(&pages) == -EPERM && pages == 0);
	CHECK(fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0);
}

static void what_is_in_the_way_is_said(void **state)
{
	(void)state;
	run_child(without_either);
	run_child(killed_at_either);
	run_child(deaf);
	run_child(no_child);
	run_child(child_cut_short);
	run_child(child_without_files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_value_is_exact),
		cmocka_unit_test(the_second_meter_is_exact),
		cmocka_unit_test(it_needs_no_io_uring),
		cmocka_unit_test(the_hard_limit_bounds_it),
		cmocka_unit_test(the_hard_limit_bounds_the_second),
		cmocka_unit_test(a_privileged_caller_may_ask),
		cmocka_unit_test(it_leaves_no_file_open),
		cmocka_unit_test(it_holds_no_file),
		cmocka_unit_test(what_is_in_the_way_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
