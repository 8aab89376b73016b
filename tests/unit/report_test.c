/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What reports find: memory charged twice in each of the ways there are, charged to nobody, and
 * held by a child of the process that pinned it. The processes, their memory and its locks are
 * real; that a device is behind their ledgers is not.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"
#include "report_spans.h"

#define PAGE        UINT64_C(4096)
#define MM_LOCKED   PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
#define MM_PINNED   PN_COUNTER_BIT(PN_COUNTER_MM_PINNED)
#define USER_LOCKED PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED)

static void expect(const struct pn_pins_report *report, const char *cause, pid_t pid,
	enum pn_finding_kind kind, enum pn_counter counter, uint64_t pages,
	enum pn_observer observer)
{
	const struct pn_finding *finding = finding_of(report, cause, pid);

	if (!finding)
		fail_msg("nothing is found of %s", cause);
	assert_int_equal(finding->kind, kind);
	assert_int_equal(finding->counter, counter);
	assert_int_equal(finding->figure.pages, pages);
	assert_int_equal(finding->figure.observer, observer);
	assert_int_equal(finding->uid, getuid());
	assert_true(strlen(finding->text) > 20);
}

static uint64_t next(void)
{
	static uint64_t seed = 88172645463325252;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 11;
}

/* Against a table of how often each page was named. */
static void spans_count_what_is_there_twice(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		unsigned char times[2][64] = {{0}};
		struct spans spans = {0};
		uint64_t extra = 0, pages = 0;

		for (uint64_t i = next() % 20; i; i--) {
			uint64_t start = next() % 60, file = next() % 2,
				 end = start + 1 + next() % (64 - start - 1);
			struct span span = {.inode = file, .start = start, .end = end};

			assert_int_equal(spans_add(&spans, &span), 0);
			for (uint64_t page = start; page < end; page++)
				extra += times[file][page]++ > 0;
		}
		assert_int_equal(spans_unite(&spans), extra);
		for (size_t i = 0; i < spans.count; i++) {
			pages += spans.list[i].end - spans.list[i].start;
			for (uint64_t at = spans.list[i].start; at < spans.list[i].end; at++)
				assert_true(times[spans.list[i].inode][at]);
		}
		for (int file = 0; file < 2; file++)
			for (int page = 0; page < 64; page++)
				pages -= times[file][page] > 0;
		assert_int_equal(pages, 0);
		spans_free(&spans);
	}
}

static void nothing_is_found_where_all_is_well(void **state)
{
	struct pn_ledger *one = ledger_of(&rule_iommufd, "/dev/iommu", false),
			 *other = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_report *report;

	(void)state;
	/* The same memory in counters that are not the same, and neighbours. */
	ledger_map(one, USER_LOCKED | MM_PINNED, 0x10000000, 0x1000, 16 * PAGE);
	ledger_map(one, USER_LOCKED | MM_PINNED, 0x10010000, 0x11000, 16 * PAGE);
	ledger_map(other, MM_LOCKED, 0x10000000, 0x1000, 16 * PAGE);
	report = report_of_ledgers();
	for (size_t i = 0; i < report->finding_count; i++)
		assert_int_equal(report->findings[i].kind, PN_FINDING_UNEXPLAINED);
	/* No such pins are there, and the report says that too. */
	expect(report, "below", getpid(), PN_FINDING_UNEXPLAINED, PN_COUNTER_MM_LOCKED, 16,
		PN_OBSERVER_PROC);
	pn_pins_report_free(report);
	pn_ledger_close(one);
	pn_ledger_close(other);
}

static void at_two_iovas_and_in_two_domains(void **state)
{
	struct pn_ledger *one = ledger_of(&rule_type1, "/dev/vfio/vfio", false),
			 *other = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_report *report;
	pid_t self = getpid();

	(void)state;
	ledger_map(one, MM_LOCKED, 0x10000000, 0x1000, 16 * PAGE);
	/* Half of it again, elsewhere, twice. */
	ledger_map(one, MM_LOCKED, 0x10008000, 0x100000, 8 * PAGE);
	ledger_map(one, MM_LOCKED, 0x10008000, 0x200000, 8 * PAGE);
	/* Four pages more than in the first domain. */
	ledger_map(other, MM_LOCKED, 0x10000000, 0x1000, 20 * PAGE);
	report = report_of_ledgers();
	expect(report, "two-iovas", self, PN_FINDING_TWICE, PN_COUNTER_MM_LOCKED, 16,
		PN_OBSERVER_MODEL);
	expect(report, "two-domains", self, PN_FINDING_TWICE, PN_COUNTER_MM_LOCKED, 16,
		PN_OBSERVER_MODEL);
	assert_null(finding_of(report, "two-addresses", self));
	pn_pins_report_free(report);
	pn_ledger_close(one);
	pn_ledger_close(other);
}

/* The module's own pins are charged once a page; a mapping in the same counter in addition. */
static void pinned_by_the_module_and_mapped(void **state)
{
	static const struct pn_charge_rule rule = {.path = PN_MODULE_PATH,
		.accounting = "process (mm)",
		.counters = MM_LOCKED,
		.exempt_counters = MM_LOCKED,
		.limited = PN_COUNTER_MM_LOCKED};
	struct pn_ledger *first = ledger_of(&rule, PN_MODULE_NODE, false),
			 *again = ledger_of(&rule, PN_MODULE_NODE, false),
			 *domain = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_report *report;
	pid_t self = getpid();

	(void)state;
	ledger_map(first, MM_LOCKED, 0x10000000, PN_PIN_NO_IOVA, 16 * PAGE);
	report = report_of_ledgers();
	assert_null(finding_of(report, "module-pin", self));
	pn_pins_report_free(report);
	/* Eight of them, and eight more, are mapped. */
	ledger_map(domain, MM_LOCKED, 0x10008000, 0x1000, 16 * PAGE);
	/* A pin that is charged nothing is nobody's who is to be found. */
	ledger_map(again, 0, 0x10000000, PN_PIN_NO_IOVA, 16 * PAGE);
	report = report_of_ledgers();
	expect(report, "module-pin", self, PN_FINDING_TWICE, PN_COUNTER_MM_LOCKED, 8,
		PN_OBSERVER_MODEL);
	assert_null(finding_of(report, "two-domains", self));
	assert_null(finding_of(report, "uncharged", self));
	pn_pins_report_free(report);
	pn_ledger_close(first);
	pn_ledger_close(again);
	pn_ledger_close(domain);
}

static void domains_beside_each_other_pay_once(void **state)
{
	struct pn_ledger *one = ledger_of(&rule_iommufd, "/dev/iommu", false),
			 *beside = ledger_of(&rule_iommufd, "/dev/iommu", false);
	struct pn_pins_report *report;

	(void)state;
	ledger_map(one, USER_LOCKED | MM_PINNED, 0x10000000, 0x1000, 16 * PAGE);
	ledger_map(beside, 0, 0x10000000, 0x1000, 16 * PAGE);
	report = report_of_ledgers();
	assert_null(finding_of(report, "two-domains", getpid()));
	assert_null(finding_of(report, "uncharged", getpid()));
	pn_pins_report_free(report);
	/* Without the one that pays, nobody does. */
	pn_ledger_close(one);
	report = report_of_ledgers();
	expect(report, "uncharged", getpid(), PN_FINDING_NOBODY, PN_COUNTER_MAX, 16,
		PN_OBSERVER_MODEL);
	pn_pins_report_free(report);
	pn_ledger_close(beside);
}

static unsigned char *map_file(int fd, size_t pages, off_t from)
{
	void *memory = mmap(
		NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, from * (off_t)PAGE);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

/* The last 8 of 16 pages are the first 8 of the other. */
static void one_file_under_two_addresses(void **state)
{
	int fd = memfd_create("twice", MFD_CLOEXEC);
	struct pn_ledger *ledger = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_report *report;
	unsigned char *low, *high;

	(void)state;
	assert_int_equal(ftruncate(fd, 32 * (off_t)PAGE), 0);
	low = map_file(fd, 16, 0);
	high = map_file(fd, 16, 8);
	ledger_map(ledger, MM_LOCKED, (uintptr_t)low, 0x100000, 16 * PAGE);
	ledger_map(ledger, MM_LOCKED, (uintptr_t)high, 0x200000, 16 * PAGE);
	report = report_of_ledgers();
	expect(report, "two-addresses", getpid(), PN_FINDING_TWICE, PN_COUNTER_MM_LOCKED, 8,
		PN_OBSERVER_PROC);
	assert_null(finding_of(report, "two-iovas", getpid()));
	pn_pins_report_free(report);
	munmap(low, 16 * PAGE);
	munmap(high, 16 * PAGE);
	close(fd);
	pn_ledger_close(ledger);
}

/* Private pages of the same file are not the same memory. */
static void private_pages_are_ones_own(void **state)
{
	int fd = memfd_create("private", MFD_CLOEXEC);
	struct pn_ledger *ledger = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_report *report;
	void *memory[2];

	(void)state;
	assert_int_equal(ftruncate(fd, 16 * (off_t)PAGE), 0);
	for (int i = 0; i < 2; i++) {
		memory[i] = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		assert_ptr_not_equal(memory[i], MAP_FAILED);
		ledger_map(ledger, MM_LOCKED, (uintptr_t)memory[i], i ? 0x200000 : 0x100000,
			16 * PAGE);
	}
	report = report_of_ledgers();
	assert_null(finding_of(report, "two-addresses", getpid()));
	pn_pins_report_free(report);
	for (int i = 0; i < 2; i++)
		munmap(memory[i], 16 * PAGE);
	close(fd);
	pn_ledger_close(ledger);
}

/* Sanitizers turn mlock() into nothing. */
static long lock_pages(const void *from, size_t len)
{
	return syscall(SYS_mlock, from, len);
}

/* The kernel counts what is mlocked; of 16 pages that the ledger says are mapped, the middle ones
 * are. */
static void mlocked_as_well(void **state)
{
	struct pn_ledger *ledger = ledger_of(&rule_type1, "/dev/vfio/vfio", false);
	struct pn_pins_query quick = {.directory = ledgers, .quick = true};
	struct pn_pins_report *report;
	unsigned char *memory =
		mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	ledger_map(ledger, MM_LOCKED, (uintptr_t)memory, 0x100000, 16 * PAGE);
	assert_int_equal(lock_pages(memory + 4 * PAGE, 8 * PAGE), 0);
	/* VmLck has to show more than the pins that it lacks here. */
	assert_int_equal(lock_pages(memory + 32 * PAGE, 32 * PAGE), 0);
	report = report_of_ledgers();
	expect(report, "mlock", getpid(), PN_FINDING_TWICE, PN_COUNTER_MM_LOCKED, 8,
		PN_OBSERVER_PROC);
	pn_pins_report_free(report);
	assert_int_equal(pn_pins_report_create(&report, &quick), 0);
	assert_null(finding_of(report, "mlock", getpid()));
	pn_pins_report_free(report);
	munmap(memory, 64 * PAGE);
	pn_ledger_close(ledger);
}

static void map_shared(void *memory)
{
	struct pn_ledger *ledger = ledger_of(&rule_iommufd, "/dev/iommu", false);

	ledger_map(ledger, USER_LOCKED | MM_PINNED, (uintptr_t)memory, 0x1000, 16 * PAGE);
}

static void shared_by_two_processes_of_a_user(void **state)
{
	void *memory =
		mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pn_pins_report *report;
	pid_t child[2];

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	for (int i = 0; i < 2; i++)
		child[i] = child_start(map_shared, memory);
	report = report_of_ledgers();
	expect(report, "two-processes", 0, PN_FINDING_TWICE, PN_COUNTER_USER_LOCKED, 16,
		PN_OBSERVER_PROC);
	assert_int_equal(process_in(report, child[0])->user_predicted, 32);
	pn_pins_report_free(report);
	for (int i = 0; i < 2; i++)
		child_end(child[i]);
	munmap(memory, 16 * PAGE);
}

static void nobody_is_charged(void **state)
{
	struct pn_ledger *exempt = ledger_of(&rule_iommufd, "/dev/iommu", true),
			 *noiommu = ledger_of(&rule_noiommu, "/dev/vfio/vfio", false),
			 *type1 = ledger_of(&rule_type1, "/dev/vfio/vfio", true);
	struct pn_pins_report *report;
	uint64_t left;

	(void)state;
	ledger_map(exempt, MM_PINNED, 0x10000000, 0x1000, 16 * PAGE);
	ledger_map(noiommu, 0, 0x20000000, 0x1000, 4 * PAGE);
	/* Exempt on type1 is counted all the same. */
	ledger_map(type1, MM_LOCKED, 0x30000000, 0x1000, 2 * PAGE);
	report = report_of_ledgers();
	expect(report, "exempt", getpid(), PN_FINDING_NOBODY, PN_COUNTER_USER_LOCKED, 16,
		PN_OBSERVER_MODEL);
	expect(report, "noiommu", getpid(), PN_FINDING_NOBODY, PN_COUNTER_MAX, 4,
		PN_OBSERVER_MODEL);
	assert_false(pn_pins_left(process_in(report, getpid()), PN_COUNTER_MM_LOCKED, &left));
	pn_pins_report_free(report);
	pn_ledger_close(exempt);
	pn_ledger_close(noiommu);
	pn_ledger_close(type1);
}

/* Makes a ledger, leaves a child with all its files, and ends. Its child waits. */
static int leave_a_child(void *arg)
{
	const struct pn_charge_rule *rule = arg;
	struct pn_ledger *ledger = ledger_of(rule, "/dev/null", false);
	int node = open("/dev/null", O_RDWR | O_CLOEXEC), ready[2];
	char byte = 0;

	ledger_map(ledger, rule->counters, 0x10000000, 0x1000, 16 * PAGE);
	if (node < 0 || pipe(ready))
		return 1;
	if (!fork()) {
		/* What ends with the test itself. */
		prctl(PR_SET_PDEATHSIG, 0);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		alarm(60);
		for (;;)
			pause();
	}
	return read(ready[0], &byte, 1) != 1;
}

static const struct pn_pins_process *the_stranded(const struct pn_pins_report *report)
{
	for (size_t i = 0; i < report->process_count; i++) {
		if (report->processes[i].stranded)
			return &report->processes[i];
	}
	for (size_t i = 0; i < report->note_count; i++)
		print_message("%s\n", report->notes[i]);
	fail_msg("no process is stranded, of %zu", report->process_count);
	return NULL;
}

static void check_stranded(const struct pn_charge_rule *rule)
{
	bool user = rule->counters & USER_LOCKED;
	const struct pn_pins_process *process;
	const struct pn_finding *finding;
	struct pn_pins_report *report;
	pid_t holder;

	assert_int_equal(child_result(leave_a_child, (void *)(uintptr_t)rule), 0);
	report = report_of_ledgers();
	process = the_stranded(report);
	assert_string_equal(pn_pins_state(process), "stranded");
	assert_false(process->alive);
	finding = finding_of(report, "fd-held", process->pid);
	assert_non_null(finding);
	assert_int_equal(finding->kind, PN_FINDING_STRANDED);
	assert_int_equal(finding->figure.pages, 16);
	holder = finding->holder;
	assert_true(holder > 0 && holder != process->pid);
	assert_true(has_note(report, "holds its ledger and what it pinned"));
	/* A user stays charged; a process's own counter went with it. */
	assert_int_equal(process->user_predicted, user ? 16 : 0);
	finding = finding_of(report, "mapper-gone", process->pid);
	assert_true(user == !finding);
	assert_false(finding && finding->figure.pages != 16);
	pn_pins_report_free(report);
	/* With the holder, it is gone. */
	kill(holder, SIGKILL);
	report = report_of_ledgers();
	for (int tries = 0; tries < 1000 && report->finding_count; tries++) {
		pn_pins_report_free(report);
		usleep(10000);
		report = report_of_ledgers();
	}
	assert_string_equal(pn_pins_state(&report->processes[0]), "gone");
	assert_int_equal(report->finding_count, 0);
	pn_pins_report_free(report);
	report = NULL;
	assert_int_equal(pn_pins_report_create(&report,
				 &(struct pn_pins_query){.directory = ledgers, .prune = true}),
		0);
	pn_pins_report_free(report);
}

static void a_child_holds_what_a_process_pinned(void **state)
{
	(void)state;
	check_stranded(&rule_type1);
	check_stranded(&rule_iommufd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_count_what_is_there_twice),
		cmocka_unit_test(nothing_is_found_where_all_is_well),
		cmocka_unit_test(at_two_iovas_and_in_two_domains),
		cmocka_unit_test(pinned_by_the_module_and_mapped),
		cmocka_unit_test(domains_beside_each_other_pay_once),
		cmocka_unit_test(one_file_under_two_addresses),
		cmocka_unit_test(private_pages_are_ones_own),
		cmocka_unit_test(mlocked_as_well),
		cmocka_unit_test(shared_by_two_processes_of_a_user),
		cmocka_unit_test(nobody_is_charged),
		cmocka_unit_test(a_child_holds_what_a_process_pinned),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
