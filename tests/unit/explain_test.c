/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Explanations of refused mappings, with the counters really filled: the text names the counter,
 * what is charged, the limit, what is missing and the command that mends it; and when the limit is
 * not what stood in the way, it does not blame it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "counters.h"

static int explain(const struct pn_charge_rule *rule, uint64_t pages)
{
	return pn_explain_enomem(
		rule, &(struct pn_refused){.what = "mapping THIS", .pages = pages});
}

static void process_is_full(void)
{
	become_nobody();
	limit_to(64);
	lock_pages(50);
	CHECK(explain(&by_process, 31) == -ENOMEM);
	CHECK(strstr(pn_error(), "mapping THIS"));
	CHECK(strstr(pn_error(), "mm->locked_vm"));
	CHECK(says(50) && says(64) && says(31));
	/* Missing: 50 + 31 - 64. */
	CHECK(says(17));
	CHECK(tells("50 by mlock()") && !tells("ledger"));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
	/* One page fits: something else stood in the way. */
	CHECK(explain(&by_process, 14) == -ENOMEM);
	CHECK(!strstr(pn_error(), "prlimit") && !strstr(pn_error(), "ulimit"));
	CHECK(explain(&by_process, 15) == -ENOMEM);
	CHECK(strstr(pn_error(), "prlimit") || strstr(pn_error(), "ulimit"));
}

static void the_process_counter(void **state)
{
	(void)state;
	run_child(process_is_full);
}

static void user_is_full(void)
{
	become_nobody();
	limit_to(64);
	register_pages(40 - ring_pages());
	lock_pages(10);
	CHECK(explain(&by_user, 30) == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm"));
	CHECK(says(40) && says(64) && says(30) && says(6));
	CHECK(tells("40 by somebody without a ledger") && !tells("mlock()"));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
	settle();
	CHECK(explain(&by_user, 24) == -ENOMEM);
	CHECK(!strstr(pn_error(), "prlimit") && !strstr(pn_error(), "ulimit"));
	settle();
	CHECK(explain(&by_user, 25) == -ENOMEM);
	CHECK(strstr(pn_error(), "prlimit") || strstr(pn_error(), "ulimit"));
	/* At its hard limit the counter can only be bounded; a limit it is all the same. */
	settle();
	limit_to(40);
	CHECK(explain(&by_user, 1) == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm"));
	CHECK(says(40));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
}

static void the_user_counter(void **state)
{
	(void)state;
	run_child_with_io_uring(user_is_full);
}

static void limit_of_zero(void)
{
	become_nobody();
	limit_to(0);
	CHECK(explain(&by_process, 1) == -ENOMEM);
	CHECK(strstr(pn_error(), "mm->locked_vm") && says(0) && says(1));
	CHECK(explain(&by_user, 1) == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm") && says(0) && says(1));
	CHECK(explain(&by_process, UINT64_MAX / 4096) == -ENOMEM);
	CHECK(strstr(pn_error(), "mm->locked_vm"));
}

static void no_limit_at_all(void **state)
{
	(void)state;
	run_child(limit_of_zero);
}

static void exempt(void)
{
	CHECK(pn_exempt_now());
	CHECK(explain(&by_process, UINT64_C(1) << 40) == -ENOMEM);
	CHECK(strstr(pn_error(), "mapping THIS") && strstr(pn_error(), "CAP_IPC_LOCK"));
	CHECK(!strstr(pn_error(), "ulimit"));
}

static void the_limit_does_not_bind_everyone(void **state)
{
	(void)state;
	run_child(exempt);
}

/* A node that nobody else has: a terminal, which this process has open, and a child. */
static void who_has_it_open(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), fd;
	char who[64], node[64];
	pid_t child;

	(void)state;
	if (master < 0 || unlockpt(master) || ptsname_r(master, node, sizeof(node))) {
		print_message("skipped: no terminals: %s\n", strerror(errno));
		skip();
	}
	fd = open(node, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	assert_true(fd >= 0);
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	assert_int_equal(pn_explain_openers(pn_fail(EBUSY, "%s", "in use"), node), -EBUSY);
	assert_true(tells("in use; open in process "));
	snprintf(who, sizeof(who), "%d (%s)", (int)child, program_invocation_short_name);
	assert_true(tells(who));
	/* Not this process, which has it open too. */
	assert_false(tells(", process"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* Nobody else, no node, nothing of that name: nothing is added. */
	pn_explain_openers(pn_fail(EBUSY, "%s", "in use"), node);
	assert_string_equal(pn_error(), "in use");
	pn_explain_openers(pn_fail(EBUSY, "%s", "in use"), "/proc/self/exe");
	assert_string_equal(pn_error(), "in use");
	pn_explain_openers(pn_fail(EBUSY, "%s", "in use"), "/nothing");
	assert_string_equal(pn_error(), "in use");
	close(fd);
	close(master);
}

static void a_state_is_read(void **state)
{
	struct pn_proc_state self, none;
	uint64_t start = 1;

	(void)state;
	assert_int_equal(pn_proc_read(getpid(), &self), 0);
	assert_int_equal(self.uid, getuid());
	assert_true(self.counters_known && self.limit_known);
	assert_string_equal(self.comm, program_invocation_short_name);
	assert_int_equal(pn_proc_start_time(getpid(), &start), 0);
	assert_int_equal(start, self.start_time);
	/* A kernel thread has no counters. */
	if (!pn_proc_read(2, &none))
		assert_false(none.counters_known);
	assert_int_equal(pn_proc_read(0x7fffffff, &none), -ESRCH);
	assert_int_equal(pn_proc_start_time(0x7fffffff, &start), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_process_counter),
		cmocka_unit_test(the_user_counter),
		cmocka_unit_test(no_limit_at_all),
		cmocka_unit_test(the_limit_does_not_bind_everyone),
		cmocka_unit_test(a_state_is_read),
		cmocka_unit_test(who_has_it_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
