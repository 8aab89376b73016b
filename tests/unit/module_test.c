/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The companion module as an observer, with a node that is made up: what is asked of it, what
 * reports, explanations and preflights take from it, and what they say when it does not answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "counters.h"
#include "pinion_uapi.h"
#include "report_fixture.h"

#define STRANGER 3999999u
#define SKIPPED  77

/* The node: it may refuse to be opened, and what is asked of it. */
static struct {
	int open_err, ask_err;
	uint64_t own, others; /* user->locked_vm of the caller, and of a process that is named */
	uint32_t flags;       /* that it answers with */
	int32_t wrong_uid;    /* added to the uid that it answers */
	struct pinion_page page;
	int fd;
	unsigned int opened, asked;
} node = {.fd = -1};

int __real_open(const char *path, int flags, int mode);
int __wrap_open(const char *path, int flags, int mode);
int __wrap_open64(const char *path, int flags, int mode) __attribute__((alias("__wrap_open")));
int __real_ioctl(int fd, unsigned long call, void *arg);
int __wrap_ioctl(int fd, unsigned long call, void *arg);

int __wrap_open(const char *path, int flags, int mode)
{
	if (strcmp(path, PN_MODULE_NODE) != 0)
		return __real_open(path, flags, mode);
	/* It is not there for children, nor does opening it ever wait. */
	if (!(flags & O_CLOEXEC) || !(flags & O_NONBLOCK) || (flags & O_ACCMODE) != O_RDONLY)
		abort();
	node.opened++;
	if (node.open_err) {
		errno = node.open_err;
		return -1;
	}
	node.fd = __real_open("/dev/null", flags, mode);
	return node.fd;
}

/* As the kernel takes and fills it (kmod/look.c). */
static void tell_counters(struct pinion_counters *counters)
{
	if (counters->argsz != sizeof(*counters) || counters->uid ||
		counters->flags != (counters->pid ? PINION_COUNTERS_PID : 0))
		abort();
	counters->uid = counters->pid ? STRANGER : getuid();
	counters->uid += (uint32_t)node.wrong_uid;
	counters->flags |= node.flags;
	counters->user_locked_vm = counters->pid ? node.others : node.own;
}

static void tell_page(const struct pinion_inspect *inspect)
{
	if (inspect->argsz != sizeof(*inspect) || inspect->flags != PINION_INSPECT_PHYS ||
		inspect->length != 4096 || inspect->addr % 4096)
		abort();
	*(struct pinion_page *)(uintptr_t)inspect->pages = node.page;
}

int __wrap_ioctl(int fd, unsigned long call, void *arg)
{
	if (fd != node.fd || fd < 0)
		return __real_ioctl(fd, call, arg);
	node.asked++;
	if (node.ask_err) {
		errno = node.ask_err;
		return -1;
	}
	if (call == PINION_COUNTERS)
		tell_counters(arg);
	else if (call == PINION_INSPECT)
		tell_page(arg);
	else
		abort();
	return 0;
}

static void node_is(int open_err, int ask_err, uint64_t own)
{
	memset(&node, 0, sizeof(node));
	node.fd = -1;
	node.open_err = open_err;
	node.ask_err = ask_err;
	node.own = own;
}

/* Nothing of it stays open. */
static bool node_is_closed(void)
{
	return node.fd < 0 || fcntl(node.fd, F_GETFD) < 0;
}

static void every_errno_has_its_meaning(void **state)
{
	static const struct {
		int open_err, ask_err, ret;
	} rows[] = {{0, 0, 0}, {ENOENT, 0, -ENODEV}, {ENODEV, 0, -ENODEV}, {ENXIO, 0, -ENODEV},
		{ENOTDIR, 0, -ENODEV}, {EACCES, 0, -EACCES}, {EPERM, 0, -EACCES},
		{EMFILE, 0, -EMFILE}, {0, ENOTTY, -ENODEV}, {0, EPERM, -EPERM}, {0, ESRCH, -ESRCH},
		{0, EINVAL, -EINVAL}};
	uint64_t pages, physical;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		node_is(rows[i].open_err, rows[i].ask_err, 7);
		node.page = (struct pinion_page){.flags = PINION_PAGE_PRESENT, .phys = 1 << 21};
		pages = physical = 1;
		assert_int_equal(pn_module_user_locked(0, getuid(), &pages), rows[i].ret);
		assert_int_equal(pages, rows[i].ret ? 1 : 7);
		assert_true(node_is_closed());
		assert_int_equal(pn_module_physical(4096 + 5, &physical), rows[i].ret);
		assert_int_equal(physical, rows[i].ret ? 1 : (1 << 21) + 5);
		assert_true(node_is_closed());
		assert_int_equal(node.opened, 2);
		assert_int_equal(node.asked, rows[i].open_err ? 0 : 2);
	}
}

static void an_answer_about_something_else(void **state)
{
	static const uint32_t flags[] = {0, PINION_PAGE_MAPPED,
		PINION_PAGE_PRESENT | PINION_PAGE_ZERO, PINION_PAGE_PRESENT | PINION_PAGE_IO};
	uint64_t pages = 1;

	(void)state;
	node_is(0, 0, 7);
	node.others = 9;
	assert_int_equal(pn_module_user_locked(123, STRANGER, &pages), 0);
	assert_int_equal(pages, 9);
	assert_int_equal(pn_module_user_locked(123, STRANGER + 1, &pages), -ESRCH);
	node.wrong_uid = 1;
	assert_int_equal(pn_module_user_locked(0, getuid(), &pages), -ESRCH);
	node_is(0, 0, 7);
	node.flags = PINION_COUNTERS_NO_USER;
	assert_int_equal(pn_module_user_locked(0, getuid(), &pages), -EOPNOTSUPP);
	assert_int_equal(pages, 9);
	for (size_t i = 0; i < PN_ARRAY_SIZE(flags); i++) {
		node.page = (struct pinion_page){.flags = flags[i], .phys = 4096};
		assert_int_equal(pn_module_physical(4096, &pages), -EFAULT);
	}
	assert_string_equal(pn_observer_name(PN_OBSERVER_MODULE), "module");
}

/*
 * Reports
 */

static struct pn_ledger *ledger_with(uint64_t pages)
{
	struct pn_ledger *ledger = ledger_of(&rule_iommufd, "/dev/iommu", false);

	ledger_map(ledger, rule_iommufd.counters, 0x10000000, 0x1000, pages * 4096);
	return ledger;
}

static struct pn_pins_report *report_measured(bool measure)
{
	struct pn_pins_query query = {.directory = ledgers, .measure_user = measure};
	struct pn_pins_report *report = NULL;

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	return report;
}

static const struct pn_figure *user_of(const struct pn_pins_report *report, pid_t pid)
{
	const struct pn_pins_process *process = process_in(report, pid);

	assert_non_null(process);
	return &process->observed[PN_COUNTER_USER_LOCKED];
}

static void a_report_takes_it_from_the_module(void **state)
{
	struct pn_ledger *one = ledger_with(16), *other = ledger_with(8);
	const struct pn_finding *finding;
	struct pn_pins_report *report;
	int64_t pages;

	(void)state;
	for (int measure = 0; measure < 2; measure++) {
		node_is(0, 0, 30);
		report = report_measured(measure);
		/* Once a user. */
		assert_int_equal(node.asked, 1);
		assert_int_equal(user_of(report, getpid())->observer, PN_OBSERVER_MODULE);
		assert_int_equal(user_of(report, getpid())->pages, 30);
		assert_true(pn_pins_unexplained(
			process_in(report, getpid()), PN_COUNTER_USER_LOCKED, &pages));
		assert_int_equal(pages, 6);
		finding = finding_of(report, "above", 0);
		assert_non_null(finding);
		assert_int_equal(finding->figure.pages, 6);
		assert_int_equal(finding->figure.observer, PN_OBSERVER_MODULE);
		assert_false(has_note(report, PN_MODULE_NODE));
		pn_pins_report_free(report);
	}
	pn_ledger_close(one);
	pn_ledger_close(other);
}

static void without_an_answer_all_is_as_before(void **state)
{
	static const struct {
		int open_err, ask_err;
		bool note;
	} rows[] = {{ENOENT, 0, false}, {EACCES, 0, true}, {EPERM, 0, true}, {0, EPERM, false},
		{0, ENOTTY, false}, {EMFILE, 0, false}};
	struct pn_ledger *ledger = ledger_with(16);
	struct pn_pins_report *report;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		node_is(rows[i].open_err, rows[i].ask_err, 30);
		report = report_measured(false);
		assert_int_equal(user_of(report, getpid())->observer, PN_OBSERVER_MODEL);
		assert_int_equal(user_of(report, getpid())->pages, 16);
		assert_int_equal(has_note(report, "may not be opened (EACCES); root may, and who "
						  "is in its group (pinion)"),
			rows[i].note);
		assert_null(finding_of(report, "above", 0));
		pn_pins_report_free(report);
	}
	pn_ledger_close(ledger);
	/* Nothing is said where nothing is missing. */
	node_is(EACCES, 0, 0);
	report = report_measured(false);
	assert_int_equal(report->process_count, 0);
	assert_false(has_note(report, PN_MODULE_NODE));
	pn_pins_report_free(report);
}

static void be_a_stranger(void *arg)
{
	if (setresuid(STRANGER, STRANGER, STRANGER))
		_exit(SKIPPED);
	*(struct pn_ledger **)arg = ledger_with(4);
}

static void other_users_too(void **state)
{
	struct pn_pins_report *report;
	struct pn_ledger *ledger, *own;
	const struct pn_finding *finding;
	pid_t child;

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can be someone else\n");
		skip();
	}
	child = child_start(be_a_stranger, &ledger);
	own = ledger_with(16);
	node_is(0, 0, 16);
	node.others = 5;
	report = report_measured(false);
	assert_int_equal(user_of(report, child)->observer, PN_OBSERVER_MODULE);
	assert_int_equal(user_of(report, child)->pages, 5);
	assert_int_equal(user_of(report, getpid())->pages, 16);
	assert_int_equal(node.asked, 2);
	finding = finding_of(report, "above", 0);
	assert_non_null(finding);
	assert_int_equal(finding->uid, STRANGER);
	assert_int_equal(finding->figure.pages, 1);
	pn_pins_report_free(report);
	/* A pid that is someone else's by now. */
	node.wrong_uid = 1;
	report = report_measured(false);
	assert_int_equal(user_of(report, child)->observer, PN_OBSERVER_MODEL);
	assert_int_equal(user_of(report, child)->pages, 4);
	pn_pins_report_free(report);
	child_end(child);
	pn_ledger_close(own);
}

/*
 * Explanations and preflights
 */

static int explain(uint64_t pages)
{
	return pn_explain_enomem(
		&by_user, &(struct pn_refused){.what = "mapping THIS", .pages = pages});
}

static struct pn_preflight preflight(const struct pn_charge_rule *rule, uint64_t pages)
{
	struct pn_preflight out = {.charged = pages};
	struct pn_trial trial;

	pn_trial_init(&trial);
	pn_preflight_look(&out, rule, &trial);
	/* The module's answer makes a socket unnecessary. */
	CHECK(out.observer != PN_OBSERVER_MODULE || trial.fd < 0);
	pn_trial_close(&trial);
	return out;
}

static void explained(void)
{
	become_nobody();
	limit_to(64);
	node_is(0, 0, 50);
	CHECK(explain(31) == -ENOMEM && says(50) && says(17) && tells("(module)"));
	CHECK(tells("50 by somebody without a ledger"));
	/* To the hard limit and beyond, which no meter sees. */
	node_is(0, 0, 64);
	CHECK(explain(1) == -ENOMEM && tells("short by 1;") && !tells("at least"));
	node_is(0, 0, 50);
	CHECK(explain(14) == -ENOMEM && tells("the limit is not the cause"));
	/* It does not answer: by the meters, or the ledgers, of which this user has none. */
	node_is(EACCES, 0, 50);
	CHECK(explain(31) == -ENOMEM && !tells("(module)") && !says(50));
	CHECK(node_is_closed());
}

static void foreseen(void)
{
	struct pn_preflight out;

	become_nobody();
	limit_to(64);
	node_is(0, 0, 50);
	out = preflight(&by_user, 14);
	CHECK(out.observer == PN_OBSERVER_MODULE && out.left == 14 && out.left_at_most == 14);
	CHECK(out.fits == PN_FITS_YES && preflight(&by_user, 15).fits == PN_FITS_NO);
	/* A single page, which the kernel's comparison cannot be asked about. */
	node_is(0, 0, 63);
	CHECK(preflight(&by_user, 1).fits == PN_FITS_YES);
	node_is(0, 0, 64);
	CHECK(preflight(&by_user, 1).fits == PN_FITS_NO);
	node_is(0, 0, 1000);
	CHECK(preflight(&by_user, 1).left == 0);
	/* The other counter is not its matter. */
	node_is(0, 0, 50);
	CHECK(preflight(&by_process, 1).observer == PN_OBSERVER_TRIAL && !node.opened);
	node_is(ENOENT, 0, 50);
	out = preflight(&by_user, 2);
	CHECK(out.observer == PN_OBSERVER_TRIAL && out.left == 64);
	node_is(0, EPERM, 50);
	CHECK(preflight(&by_user, 2).observer == PN_OBSERVER_TRIAL && node_is_closed());
}

/* What is not there costs once, not each time; an answer that failed may come the next time. */
static void asked_for_once(void)
{
	struct pn_preflight out = {.charged = 2};
	struct pn_trial trial;

	become_nobody();
	limit_to(64);
	for (int err = 0; err < 3; err++) {
		node_is(err == 1 ? ENOENT : err == 2 ? EACCES : 0, err ? 0 : EINTR, 50);
		pn_trial_init(&trial);
		for (int i = 0; i < 3; i++)
			pn_preflight_look(&out, &by_user, &trial);
		CHECK(out.observer == PN_OBSERVER_TRIAL && node.opened == (err ? 1 : 3));
		pn_trial_close(&trial);
	}
}

static void a_refusal_and_what_comes_before(void **state)
{
	(void)state;
	run_child(explained);
	run_child(foreseen);
	run_child(asked_for_once);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_errno_has_its_meaning),
		cmocka_unit_test(an_answer_about_something_else),
		cmocka_unit_test(a_report_takes_it_from_the_module),
		cmocka_unit_test(without_an_answer_all_is_as_before),
		cmocka_unit_test(other_users_too),
		cmocka_unit_test(a_refusal_and_what_comes_before),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
