/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose device a process has that holds one without a ledger of its own: of the processes that
 * ended and had it, the last, and nobody whose device it was before. The nodes and /sys are made
 * for the test, in a mount namespace.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"

#define DEVICE  "0000:00:10.0"
#define SKIPPED 77

/* Another clock tick, so that the next process is seen to start later. */
static void pass_time(void)
{
	usleep(30000);
}

static int make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

static int make_machine(void)
{
	if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	return mount("none", "/dev", "tmpfs", 0, NULL) || make_file("/dev/iommu") ||
	       mkdir("/dev/vfio", 0700) || make_file("/dev/vfio/7") ||
	       mount("none", "/sys/bus/pci/devices", "tmpfs", 0, NULL) ||
	       mkdir("/sys/bus/pci/devices/" DEVICE, 0700) ||
	       symlink("../../../kernel/iommu_groups/7",
		       "/sys/bus/pci/devices/" DEVICE "/iommu_group");
}

static void open_device(void)
{
	if (open("/dev/iommu", O_RDWR | O_CLOEXEC) < 0 ||
		open("/dev/vfio/7", O_RDWR | O_CLOEXEC) < 0)
		_exit(1);
}

/* A program with the device, and so many pages for it. */
static void use_device(unsigned int pages)
{
	struct pn_ledger *ledger = ledger_of(&rule_iommufd, "/dev/iommu", false);

	open_device();
	pn_ledger_devices(ledger, 1, DEVICE);
	ledger_map(ledger, rule_iommufd.counters, 0x10000000, 0x1000, pages * UINT64_C(4096));
}

static int use_and_end(void *arg)
{
	use_device(*(const unsigned int *)arg);
	return 0;
}

static void use_and_stay(void *arg)
{
	use_device(*(const unsigned int *)arg);
}

static void wait_for_ever(void)
{
	alarm(60);
	for (;;)
		pause();
}

/* Its child has all its files. */
static int use_and_leave_a_child(void *arg)
{
	use_device(*(const unsigned int *)arg);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, 0);
		wait_for_ever();
	}
	return 0;
}

static void use_and_have_a_child(void *arg)
{
	use_device(*(const unsigned int *)arg);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		wait_for_ever();
	}
}

static void hold_without_a_ledger(void *arg)
{
	(void)arg;
	open_device();
}

/* What is found to be held, in pages: of one process, or of none. Its holder, or 0. */
static pid_t held(uint64_t expected)
{
	struct pn_pins_report *report = report_of_ledgers();
	uint64_t pages = 0, user = 0;
	unsigned int count = 0;
	pid_t holder = 0;

	for (size_t i = 0; i < report->finding_count; i++) {
		if (report->findings[i].kind != PN_FINDING_STRANDED)
			continue;
		count++;
		pages += report->findings[i].figure.pages;
		holder = report->findings[i].holder;
	}
	for (size_t i = 0; i < report->process_count; i++) {
		if (!report->processes[i].alive)
			user = report->processes[i].user_predicted;
	}
	pn_pins_report_free(report);
	if (pages != expected || count != (expected != 0)) {
		fprintf(stderr, "%u findings with %ju pages, not %ju\n", count, (uintmax_t)pages,
			(uintmax_t)expected);
		return -1;
	}
	if (expected && user != expected) {
		fprintf(stderr, "%ju pages of the user, not %ju\n", (uintmax_t)user,
			(uintmax_t)expected);
		return -1;
	}
	return holder;
}

/* To whom it is said that the user's counter is full of it, too. */
static int is_named(uint64_t pages)
{
	const struct pn_figure figure = {pages, PN_OBSERVER_METER};
	char text[256] = "", wanted[64];

	setenv("PINION_RUNTIME_DIR", ledgers, 1);
	pn_explain_holders(PN_COUNTER_USER_LOCKED, &figure, text, sizeof(text));
	unsetenv("PINION_RUNTIME_DIR");
	snprintf(wanted, sizeof(wanted), "%ju by process ", (uintmax_t)pages);
	if (!strncmp(text, wanted, strlen(wanted)) && strstr(text, "(stranded)") &&
		!strchr(text, ','))
		return 0;
	fprintf(stderr, "%s\n", text);
	return -1;
}

static int end_of(pid_t pid)
{
	return kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid;
}

/* Processes that ended are reaped here, whoever started them. */
static int scenario(void *arg)
{
	unsigned int before = 20, last = 16, now = 12;
	pid_t holder, stranger, living;

	(void)arg;
	if (make_machine() || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return SKIPPED;
	/* Two programs, one after the other; the second leaves a child behind. */
	if (child_result(use_and_end, &before) || held(0))
		return 1;
	pass_time();
	if (child_result(use_and_leave_a_child, &last))
		return 2;
	holder = held(last);
	if (holder <= 0 || is_named(last) || end_of(holder) || held(0))
		return 3;
	/* Somebody has the device and no ledger: it can be from the last one only. */
	stranger = child_start(hold_without_a_ledger, NULL);
	if (held(last) != stranger || end_of(stranger))
		return 4;
	/* Since then it is a living program's, whose child has its files as well. */
	living = child_start(use_and_stay, &now);
	stranger = child_start(hold_without_a_ledger, NULL);
	if (held(0) || end_of(stranger) || end_of(living))
		return 5;
	living = child_start(use_and_have_a_child, &now);
	if (held(0) || end_of(living))
		return 6;
	return 0;
}

static void a_device_is_one_domains(void **state)
{
	int result = child_result(scenario, NULL);

	(void)state;
	if (result == SKIPPED) {
		print_message("skipped: only root can make the nodes\n");
		skip();
	}
	assert_int_equal(result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_is_one_domains),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
