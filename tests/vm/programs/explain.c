/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refusals of the kernel, each brought about, and the cause that the library finds: explain BACKEND
 * DEVICE OTHER-DEVICE CASE..., run as an ordinary user without a limit; each case has a process and
 * the RLIMIT_MEMLOCK that it needs. Prints what is wrong and "CASE: ok" or "CASE: failed"; uses the
 * public interface only.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "check.h"
#include "pinion.h"

#define PAGE UINT64_C(4096)

struct rig {
	const char *backend, *device, *other;
	struct pn_region *region; /* 64 pages */
	struct pn_domain *domain;
	struct pn_pci_device *pci;
	bool by_user; /* user->locked_vm is what is compared with the limit */
};

static bool tells(const char *text)
{
	return strstr(pn_error(), text);
}

static int map(const struct rig *rig, uint64_t page, uint64_t pages)
{
	uint64_t iova = PN_IOVA_ANY;

	return pn_domain_map(
		rig->domain, rig->region, page * PAGE, pages * PAGE, PN_PROT_RW, &iova);
}

static bool names_counter(const struct rig *rig)
{
	return tells(rig->by_user ? "user->locked_vm (all processes of this user together)"
				  : "mm->locked_vm (this process)");
}

static void open_device(struct rig *rig)
{
	CHECK(!pn_pci_open(&rig->pci, rig->device, rig->domain));
}

static void *some_pages(uint64_t pages)
{
	void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

/*
 * The limit
 */

static void case_limit(struct rig *rig)
{
	open_device(rig);
	CHECK(!map(rig, 0, 12));
	CHECK(map(rig, 12, 5) == -ENOMEM);
	CHECK(tells("RLIMIT_MEMLOCK is too low: 5 pages") && names_counter(rig));
	CHECK(tells("holds 12 pages already") && tells("the limit is 16 pages"));
	CHECK(tells("short by 1;") && tells("prlimit"));
	CHECK(tells(rig->by_user ? "12 by this process" : "12 by the mappings in its ledgers"));
	CHECK(!tells("mlock()") && !tells("namespace") && !tells("without a ledger"));
	CHECK(!map(rig, 12, 4));
}

static void case_attach(struct rig *rig)
{
	CHECK(!map(rig, 0, 7) && !map(rig, 7, 10));
	CHECK(pn_pci_open(&rig->pci, rig->device, rig->domain) == -ENOMEM);
	CHECK(tells("RLIMIT_MEMLOCK is too low") && names_counter(rig));
	CHECK(tells("short by 1"));
}

/* Limit 0. */
static void case_nothing(struct rig *rig)
{
	CHECK(!map(rig, 0, 1));
	CHECK(pn_pci_open(&rig->pci, rig->device, rig->domain) == -ENOMEM);
	CHECK(tells("RLIMIT_MEMLOCK is too low: 1 pages") && names_counter(rig));
	CHECK(tells("the limit is 0 pages") && tells("short by"));
}

/* The same counter or another: mlock() counts with the process's. */
static void case_mlock(struct rig *rig)
{
	CHECK(!mlock(some_pages(10), 10 * PAGE));
	open_device(rig);
	CHECK(!map(rig, 0, 2));
	CHECK(map(rig, 2, 5) == (rig->by_user ? 0 : -ENOMEM));
	if (rig->by_user)
		return;
	CHECK(names_counter(rig) && tells("holds 12 pages already"));
	CHECK(tells("2 by the mappings in its ledgers") && tells("10 by mlock()"));
}

/* With all capabilities, in a user namespace of its own. */
static void case_namespace(struct rig *rig)
{
	open_device(rig);
	CHECK(!unshare(CLONE_NEWUSER));
	CHECK(map(rig, 0, 17) == -ENOMEM);
	CHECK(tells("RLIMIT_MEMLOCK is too low: 17 pages"));
	CHECK(tells("CAP_IPC_LOCK in a user namespace exempts nobody"));
}

/*
 * Others
 */

/* Another process does something, and keeps it until it is ended. Its pid. */
static pid_t beside(struct rig *rig, int (*hold)(struct rig *rig))
{
	int ready[2];
	char byte = 1;
	pid_t child;

	CHECK(!pipe(ready));
	child = fork();
	if (!child) {
		byte = (char)hold(rig);
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(0);
	}
	CHECK(read(ready[0], &byte, 1) == 1 && !byte);
	return child;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int hold_mapping(struct rig *rig)
{
	struct pn_domain_opts opts = {.backend = rig->backend};
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	struct pn_domain *domain;
	uint64_t iova = PN_IOVA_ANY;

	region_opts.page_size = PN_PAGE_4K;
	if (pn_region_create(&region, 10 * PAGE, &region_opts) ||
		pn_domain_create(&domain, &opts) ||
		pn_domain_map(domain, region, 0, 10 * PAGE, PN_PROT_RW, &iova) ||
		pn_pci_open(&rig->pci, rig->other, domain)) {
		printf("beside: %s\n", pn_error());
		return 1;
	}
	return 0;
}

static int hold_ring(struct rig *rig)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	struct iovec run = {some_pages(10), 10 * PAGE};

	(void)rig;
	return ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &run, 1);
}

/* Of one user: they share the user's counter, and no other. */
static void check_beside(struct rig *rig, pid_t child, const char *who)
{
	open_device(rig);
	CHECK(!map(rig, 0, 2));
	CHECK(map(rig, 2, 5) == (rig->by_user ? -ENOMEM : 0));
	CHECK(!rig->by_user || (names_counter(rig) && tells("holds 12 pages already") &&
				       tells("2 by this process") && tells(who)));
	end(child);
}

static void case_process(struct rig *rig)
{
	pid_t child = beside(rig, hold_mapping);
	char who[64];

	snprintf(who, sizeof(who), "10 by process %d (explain)", (int)child);
	check_beside(rig, child, who);
}

static void case_ring(struct rig *rig)
{
	pid_t child = beside(rig, hold_ring);

	check_beside(rig, child, "10 by somebody without a ledger");
}

/* The same device; who has it is said. */
static void case_busy(struct rig *rig)
{
	const char *other = rig->other;
	pid_t child;
	char who[64];

	rig->other = rig->device;
	child = beside(rig, hold_mapping);
	rig->other = other;
	snprintf(who, sizeof(who), "open in process %d (explain)", (int)child);
	CHECK(pn_pci_open(&rig->pci, rig->device, rig->domain) < 0);
	CHECK(tells(who) && !tells(", process"));
	end(child);
	CHECK(!pn_pci_open(&rig->pci, rig->device, rig->domain));
}

/*
 * Not the limit
 */

/* 1 GiB pages of the kernel's CMA area; no limit. */
static void case_cma(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	uint64_t iova = PN_IOVA_ANY;
	struct pn_region *region;

	opts.page_size = PN_PAGE_1G;
	CHECK(!pn_region_create(&region, PN_PAGE_1G, &opts));
	open_device(rig);
	if (failures)
		return;
	CHECK(pn_domain_map(rig->domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova) == -ENOMEM);
	CHECK(tells("these 1 GiB pages lie in the kernel's CMA area (hugetlb_cma=1G"));
	CHECK(tells("RLIMIT_MEMLOCK is unlimited") && !tells("too low"));
	/* Other memory is as good as ever. */
	CHECK(!map(rig, 0, 16));
	CHECK(!pn_region_destroy(region));
}

/*
 * Whoever runs this makes the control group narrow when told to. The program's own pages stay: what
 * is taken from it is brought in again, which would charge the group as well.
 */
static void case_group(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	const uint64_t size = UINT64_C(32) << 20;
	struct pn_region *region;
	uint64_t iova;
	int ret = 0;

	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, size, &opts));
	open_device(rig);
	CHECK(!mlockall(MCL_CURRENT));
	if (failures)
		return;
	puts("ready");
	CHECK(getchar() == '\n');
	/* Page tables of its own for each, without large pages: 64 KiB a time. */
	for (unsigned int i = 0; i < 200 && !ret; i++) {
		iova = (UINT64_C(1) << 33) + 2 * i * size + PAGE;
		ret = pn_domain_map(rig->domain, region, 0, size, PN_PROT_RW, &iova);
	}
	CHECK(ret == -ENOMEM);
	/* With so little left that its figures cannot be read, that is what is said. */
	CHECK((tells("ENOMEM: the control group /") &&
		      tells("/memory.max (systemd: MemoryMax=)")) ||
		tells("not even its figures can be read"));
	CHECK(tells("memory.max") && tells("RLIMIT_MEMLOCK is unlimited"));
	CHECK(!pn_domain_unmap_all(rig->domain) && !pn_region_destroy(region));
}

/* Private hugepages that are pinned have to be copied for a child, and the pool is empty. */
static void case_fork(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE;
	uint64_t iova = PN_IOVA_ANY, pages;
	struct pn_region *region;
	void *at;

	opts.keep_on_fork = true;
	at = mmap(NULL, PN_PAGE_2M, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(at != MAP_FAILED && !pn_region_from_range(&region, at, PN_PAGE_2M, &opts));
	open_device(rig);
	if (failures)
		return;
	CHECK(!pn_domain_map(rig->domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova));
	CHECK(!pn_meter_user_locked(&pages) && pages == (rig->by_user ? 512 : 0));
	/* What is left of the pool, kept from children. */
	while ((at = mmap(NULL, PN_PAGE_2M, PROT_READ | PROT_WRITE, flags, -1, 0)) != MAP_FAILED)
		CHECK(!madvise(at, PN_PAGE_2M, MADV_DONTFORK));
	CHECK(fork() == -1 && errno == ENOMEM);
	CHECK(pn_meter_user_locked(&pages) == -ENOMEM);
	CHECK(tells("1 private hugepages of 2 MiB") && tells("the pool has 0 left"));
	CHECK(tells("MADV_DONTFORK"));
	CHECK(!pn_domain_unmap_all(rig->domain) && !pn_region_destroy(region));
}

/* Memory that is gone when it is to be pinned. */
static void case_gone(struct rig *rig)
{
	struct pn_region *region;
	uint64_t iova = PN_IOVA_ANY;
	void *at = some_pages(4);

	CHECK(!pn_region_from_range(&region, at, 4 * PAGE, NULL));
	open_device(rig);
	munmap((char *)at + 2 * PAGE, PAGE);
	CHECK(pn_domain_map(rig->domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova) == -EFAULT);
	CHECK(tells("EFAULT: region") && tells("8192 bytes from its start") &&
		tells("nothing is mapped"));
	CHECK(!pn_region_destroy(region));
}

/*
 * Before it is tried
 */

static void case_preflight(struct rig *rig)
{
	struct pn_preflight out;

	CHECK(!map(rig, 0, 2));
	CHECK(!pn_domain_preflight(rig->domain, rig->region, 0, 14 * PAGE, PN_PROT_RW, &out));
	CHECK(out.charged == 14 && out.queued == 2 && out.fits == PN_FITS_YES && out.left == 16);
	CHECK(!pn_domain_preflight(rig->domain, rig->region, 0, 15 * PAGE, PN_PROT_RW, &out));
	CHECK(out.fits == PN_FITS_NO);
	open_device(rig);
	for (uint64_t held = 2; held < 16; held += 2) {
		CHECK(!pn_domain_preflight(
			rig->domain, rig->region, 0, (16 - held) * PAGE, PN_PROT_READ, &out));
		CHECK(out.queued == 0 && out.fits == PN_FITS_YES && out.left == 16 - held);
		CHECK(out.left_at_most == out.left && out.observer == PN_OBSERVER_TRIAL);
		CHECK(!pn_domain_preflight(
			rig->domain, rig->region, 0, (17 - held) * PAGE, PN_PROT_READ, &out));
		CHECK(out.fits == PN_FITS_NO && map(rig, held, 17 - held) == -ENOMEM);
		CHECK(!map(rig, held, 2));
	}
	/* Of the user's counter a single page cannot be asked about. */
	CHECK(!pn_domain_preflight(rig->domain, rig->region, 0, PAGE, PN_PROT_RW, &out));
	CHECK(out.left == 0 && out.fits == (rig->by_user ? PN_FITS_UNKNOWN : PN_FITS_NO));
	CHECK(!pn_domain_preflight(rig->domain, rig->region, 0, 2 * PAGE, PN_PROT_RW, &out));
	CHECK(out.fits == PN_FITS_NO);
}

/* Away with the ledgers of children that were killed: the report would not know who holds theirs.
 */
static void clear_up(void)
{
	const struct pn_pins_query query = {.prune = true};
	struct pn_pins_report *report;

	CHECK(!pn_pins_report_create(&report, &query));
	if (!failures)
		pn_pins_report_free(report);
}

/* Of this process, with nothing left to say. */
static bool plain(const struct pn_pins_report *report)
{
	size_t i;

	for (i = 0; i < report->note_count; i++)
		printf("note: %s\n", report->notes[i]);
	return report->process_count == 1 && report->note_count == 0;
}

/* Limit 64: what the meter sees, and which of them it is. */
static void check_meter(struct rig *rig, enum pn_observer observer, uint64_t pages)
{
	struct pn_figure figure;
	struct pn_pins_report *report;

	open_device(rig);
	CHECK(!map(rig, 0, 12));
	clear_up();
	CHECK(!pn_domain_pins(rig->domain, true, &report));
	if (failures)
		return;
	CHECK(plain(report));
	figure = report->processes[0].observed[PN_COUNTER_USER_LOCKED];
	CHECK(figure.observer == observer && figure.pages == pages);
	pn_pins_report_free(report);
}

static void case_meter(struct rig *rig)
{
	pid_t child = beside(rig, hold_ring);

	check_meter(rig, PN_OBSERVER_METER, rig->by_user ? 22 : 10);
	end(child);
}

/* io_uring is turned off by whoever runs this: no other process has a ring. */
static void case_meter_zerocopy(struct rig *rig)
{
	check_meter(rig, PN_OBSERVER_METER_ZEROCOPY, rig->by_user ? 12 : 0);
	/* A refusal is explained as well as ever. */
	CHECK(map(rig, 0, 53) == -ENOMEM && names_counter(rig) && tells("short by 1;"));
	CHECK(tells(rig->by_user ? "(meter-zerocopy)" : "(proc)"));
}

#define NO_LIMIT (RLIM_INFINITY / PAGE)

static const struct test {
	const char *name;
	void (*run)(struct rig *rig);
	uint64_t limit; /* pages */
} tests[] = {
	{"limit", case_limit, 16},
	{"attach", case_attach, 16},
	{"nothing", case_nothing, 0},
	{"mlock", case_mlock, 16},
	{"namespace", case_namespace, 16},
	{"process", case_process, 16},
	{"ring", case_ring, 16},
	{"busy", case_busy, 16},
	{"fork", case_fork, 520},
	{"gone", case_gone, 16},
	{"preflight", case_preflight, 16},
	{"meter", case_meter, 64},
	{"meter-zerocopy", case_meter_zerocopy, 64},
	{"cma", case_cma, NO_LIMIT},
	{"group", case_group, NO_LIMIT},
};

static int run_test(const struct test *test, char **argv)
{
	struct rlimit limit = {test->limit * PAGE, test->limit * PAGE};
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_domain_opts domain_opts = {.backend = argv[1]};
	struct rig rig = {.backend = argv[1], .device = argv[2], .other = argv[3]};
	struct pn_domain_info info;

	NEED(test->limit == NO_LIMIT || !setrlimit(RLIMIT_MEMLOCK, &limit));
	opts.page_size = PN_PAGE_4K;
	NEED(!pn_region_create(&rig.region, 64 * PAGE, &opts));
	NEED(!pn_domain_create(&rig.domain, &domain_opts));
	pn_domain_get_info(rig.domain, &info);
	rig.by_user = info.charge.limited == PN_COUNTER_USER_LOCKED;
	test->run(&rig);
	pn_pci_close(rig.pci);
	CHECK(!pn_domain_destroy(rig.domain) && !pn_region_destroy(rig.region));
	return failures != 0;
}

static int run_in_child(const char *name, char **argv)
{
	const size_t count = sizeof(tests) / sizeof(tests[0]);
	int status = 1;
	size_t i;
	pid_t child;

	for (i = 0; i < count && strcmp(tests[i].name, name); i++)
		;
	if (i == count)
		return 2;
	child = fork();
	if (!child)
		exit(run_test(&tests[i], argv));
	waitpid(child, &status, 0);
	printf("%s: %s\n", name, status ? "failed" : "ok");
	return status != 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc < 5)
		return 2;
	/* What was wrong is said even if a crash follows from it. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 4; i < argc; i++)
		bad |= run_in_child(argv[i], argv);
	return bad;
}
