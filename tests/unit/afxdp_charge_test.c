/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel charges for the memory of afxdp ports, in the ledger, beside the kernel's own
 * counter, and when the limit is reached.
 */
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "netport_fixture.h"
#include "pn_pins.h"

#define SPEC "afxdp:iface=" NETNS_PORT

/*
 * A user that nobody else is, whose user->locked_vm is its own, with all capabilities but
 * CAP_IPC_LOCK, and a place for its ledgers. 0, or 77 if that cannot be had.
 */
static int become_nobody_else(char *place)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	uid_t uid = 1500000000u + (uid_t)getpid();

	if (!mkdtemp(place) || chown(place, uid, 0) || setenv("PINION_RUNTIME_DIR", place, 1) ||
		prctl(PR_SET_KEEPCAPS, 1) || setresuid(uid, uid, uid) ||
		syscall(SYS_capget, &head, data))
		return 77;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	if (syscall(SYS_capset, &head, data) || netport_drop_capability(CAP_IPC_LOCK))
		return 77;
	prctl(PR_SET_DUMPABLE, 1); /* /proc/self is its own again */
	return 0;
}

/* This process in a report; the number of its domains that are afxdp's. */
static struct pn_pins_process *look(struct pn_pins_report **report, unsigned int *umems)
{
	struct pn_pins_query query = {.pid = getpid(), .measure_user = true};
	struct pn_pins_process *process;

	*umems = 0;
	if (pn_pins_report_create(report, &query))
		return NULL;
	assert_int_equal((*report)->process_count, 1);
	process = (*report)->processes;
	for (size_t d = 0; d < process->domain_count; d++)
		*umems += strcmp(process->domains[d].path, "afxdp") == 0;
	return process;
}

/*
 * A report of this process when the kernel's counter is what the ledger says: the kernel takes a
 * charge back some time after the sockets were closed.
 */
static struct pn_pins_process *look_settled(struct pn_pins_report **report, unsigned int *umems)
{
	const struct timespec step = {.tv_nsec = 20000000};
	struct pn_pins_process *process;

	for (unsigned int i = 0; i < 500; i++) {
		process = look(report, umems);
		if (!process || process->observed[PN_COUNTER_USER_LOCKED].pages ==
					process->predicted[PN_COUNTER_USER_LOCKED])
			return process;
		pn_pins_report_free(*report);
		nanosleep(&step, NULL);
	}
	fail_msg("user->locked_vm is not what is in the ledger after 10 s");
	return NULL;
}

static bool is_enough(uint64_t bytes)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur >= bytes)
		return true;
	printf("# it takes RLIMIT_MEMLOCK of %u MiB\n", (unsigned int)(bytes >> 20));
	return false;
}

static int charged(void *arg)
{
	char place[] = "/tmp/afxdp-user-XXXXXX";
	struct pn_pins_process *process;
	struct pn_pins_report *report;
	struct pn_port *port;
	unsigned int umems;

	(void)arg;
	netns_wire(1);
	/* The memory of the test, and what the meter takes. */
	if (!is_enough(8 << 20) || become_nobody_else(place))
		return 77;
	port = netport_start_at(SPEC, NETNS_PEER, 1, 0);
	process = look_settled(&report, &umems);
	assert_non_null(process);
	assert_int_equal(umems, 1);
	/* 2,048 buffers of 2,368 bytes, and the rest of two pages. */
	assert_in_range(process->predicted[PN_COUNTER_USER_LOCKED], 1184, 1185);
	/* The kernel says the same, and so nothing is unexplained. */
	assert_int_not_equal(process->observed[PN_COUNTER_USER_LOCKED].observer, PN_OBSERVER_MODEL);
	assert_int_equal(process->observed[PN_COUNTER_USER_LOCKED].pages,
		process->predicted[PN_COUNTER_USER_LOCKED]);
	for (size_t i = 0; i < report->finding_count; i++)
		assert_int_not_equal(report->findings[i].kind, PN_FINDING_UNEXPLAINED);
	pn_pins_report_free(report);
	netport_end(port);
	assert_null(look(&report, &umems));
	return rmdir(place);
}

/* Two ports that receive into one pool: its memory is charged for each, as the report says. */
static int charged_twice(void *arg)
{
	char place[] = "/tmp/afxdp-user-XXXXXX";
	struct pn_pins_process *process;
	struct pn_pins_report *report;
	struct pn_port *first, *second;
	unsigned int umems, twice = 0;

	(void)arg;
	netns_wire(1);
	if (!is_enough(8 << 20) || become_nobody_else(place))
		return 77;
	/* Each takes 592 pages, and a part of one more. */
	netport_buffers = 1024;
	first = netport_start_at(SPEC, NETNS_PEER, 1, 0);
	second = netport_open_beside("afxdp:iface=" NETNS_PEER);
	if (pn_port_start(second))
		fail_msg("%s", pn_error());
	process = look_settled(&report, &umems);
	assert_non_null(process);
	assert_int_equal(umems, 2);
	assert_in_range(process->predicted[PN_COUNTER_USER_LOCKED], 2 * 592, 2 * 593);
	assert_int_not_equal(process->observed[PN_COUNTER_USER_LOCKED].observer, PN_OBSERVER_MODEL);
	assert_int_equal(process->observed[PN_COUNTER_USER_LOCKED].pages,
		process->predicted[PN_COUNTER_USER_LOCKED]);
	for (size_t i = 0; i < report->finding_count; i++)
		twice += report->findings[i].kind == PN_FINDING_TWICE;
	assert_int_equal(twice, 1);
	pn_pins_report_free(report);
	pn_port_close(second);
	process = look_settled(&report, &umems);
	assert_non_null(process);
	assert_int_equal(umems, 1);
	assert_in_range(process->predicted[PN_COUNTER_USER_LOCKED], 592, 593);
	pn_pins_report_free(report);
	netport_end(first);
	return rmdir(place);
}

static void test_charged_twice(void **state)
{
	(void)state;
	netport_in_child(charged_twice);
}

/* Without CAP_IPC_LOCK the ledger says what the kernel's counter says. */
static void test_charge(void **state)
{
	(void)state;
	netport_in_child(charged);
}

static int refused(void *arg)
{
	char place[] = "/tmp/afxdp-user-XXXXXX";
	struct rlimit limit = {1 << 20, 1 << 20};
	struct pn_region_opts memory = PN_REGION_OPTS_INIT;
	struct pn_pool_opts opts = {.count = 2048};
	struct pn_port_conf conf = {0};
	struct pn_region *region;
	struct pn_heap *heap;
	struct pn_port *port;
	struct pn_pool *pool;

	(void)arg;
	netns_wire(1);
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || become_nobody_else(place))
		return 77;
	memory.page_size = PN_PAGE_4K;
	assert_int_equal(pn_region_create(&region, 8 << 20, &memory), 0);
	assert_int_equal(pn_heap_create(&heap, region, 0x10000000), 0);
	assert_int_equal(pn_pool_create(&pool, heap, &opts), 0);
	port = netport_open(SPEC);
	conf.rx_pool = pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), -ENOMEM);
	/* How many pages, the counter, and the limit. */
	assert_non_null(strstr(pn_error(), "RLIMIT_MEMLOCK"));
	assert_non_null(strstr(pn_error(), "user->locked_vm"));
	assert_non_null(strstr(pn_error(), "256 pages"));
	assert_int_equal(pn_pool_available(pool), 2048);
	pn_port_close(port);
	return rmdir(place);
}

static void test_limit(void **state)
{
	(void)state;
	netport_in_child(refused);
}

/* A limit that is exactly what the port needs lasts for one start after the other. */
static int started_again(void *arg)
{
	char place[] = "/tmp/afxdp-user-XXXXXX";
	struct timespec before, after;
	struct pn_pins_process *process;
	struct pn_pins_report *report;
	struct rlimit limit;
	struct pn_port *port, *second;
	unsigned int umems;

	(void)arg;
	netns_wire(1);
	if (!is_enough(8 << 20) || become_nobody_else(place))
		return 77;
	port = netport_start_at(SPEC, NETNS_PEER, 1, 0);
	process = look(&report, &umems);
	assert_non_null(process);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	limit.rlim_cur = process->predicted[PN_COUNTER_USER_LOCKED] * 4096;
	pn_pins_report_free(report);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(pn_port_stop(port), 0);
		if (pn_port_start(port))
			fail_msg("start %u: %s", i, pn_error());
	}
	/* What another port holds does not come back: that is waited for, and then refused. */
	second = netport_open_beside("afxdp:iface=" NETNS_PEER);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(pn_port_start(second), -ENOMEM);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_non_null(strstr(pn_error(), "RLIMIT_MEMLOCK"));
	assert_in_range(after.tv_sec - before.tv_sec, 1, 30);
	pn_port_close(second);
	/* With a page less it does not start at all. */
	assert_int_equal(pn_port_stop(port), 0);
	limit.rlim_cur -= 4096;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	assert_int_equal(pn_port_start(port), -ENOMEM);
	netport_end(port);
	return rmdir(place);
}

static void test_started_again(void **state)
{
	(void)state;
	netport_in_child(started_again);
}

static int setup(void **state)
{
	(void)state;
	netport_enter_xdp();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_charge),
		cmocka_unit_test(test_charged_twice),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_started_again),
	};

	return cmocka_run_group_tests_name("afxdp_charge", tests, setup, NULL);
}
