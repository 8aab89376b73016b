/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The companion module as an observer, next to the meter and to what was charged:
 *   observer counter MODULE          io_uring moves user->locked_vm, reports are compared
 *   observer device MODULE BACKEND CARD    real mappings do; refusals and preflights too
 *   observer hold BACKEND CARD       16 pages mapped until standard input ends
 *   observer pin                     the module's own pins, until standard input ends
 *   observer physical                noiommu without CAP_SYS_ADMIN
 * MODULE is yes where the node can be opened, no where it is there and cannot. Ordinary users have
 * a limit of 64 pages, hard. Prints "ok", "skip REASON" or what is wrong.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "kmod.h"
#include "pinion.h"

static bool module;

/* With a note where the node is there but not for us. */
static struct pn_figure reported(struct pn_domain *domain, bool measure, uint64_t *predicted)
{
	struct pn_figure figure = {0, PN_OBSERVER_NONE};
	struct pn_pins_report *report;
	bool noted = false;
	size_t i;

	CHECK(!pn_domain_pins(domain, measure, &report));
	if (failures)
		return figure;
	CHECK(report->process_count == 1);
	for (i = 0; i < report->note_count; i++)
		noted |= strstr(report->notes[i], NODE) && strstr(report->notes[i], "EACCES");
	EQUAL(noted, !module);
	figure = report->processes[0].observed[PN_COUNTER_USER_LOCKED];
	*predicted = report->processes[0].user_predicted;
	pn_pins_report_free(report);
	return figure;
}

/* By all that can say it: the module, the meter, the sum over the ledgers. */
static void compare(struct pn_domain *domain, uint64_t charged, uint64_t by_ledgers)
{
	struct pn_figure figure;
	uint64_t metered, predicted;

	figure = reported(domain, false, &predicted);
	EQUAL(figure.observer, module ? PN_OBSERVER_MODULE : PN_OBSERVER_MODEL);
	EQUAL(figure.pages, module ? charged : by_ledgers);
	EQUAL(predicted, by_ledgers);
	figure = reported(domain, true, &predicted);
	/* The meters see to a page or two below the hard limit. */
	if (module || charged < 62)
		EQUAL(figure.pages, charged);
	if (module)
		EQUAL(figure.observer, PN_OBSERVER_MODULE);
	if (charged < 62) {
		EQUAL(pn_meter_user_locked(&metered), 0);
		EQUAL(metered, charged);
	}
}

static int new_ring(void)
{
	struct io_uring_params params = {0};

	return (int)syscall(SYS_io_uring_setup, 1, &params);
}

static int charge_ring(int ring, void *at, uint64_t pages)
{
	struct iovec run = {at, pages * PAGE};

	return (int)syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &run, 1);
}

static void do_counter(void)
{
	static const uint64_t pages[] = {1, 40, 61, 62, 64};
	struct pn_domain_opts opts = {.backend = "none"};
	struct pn_domain *domain;
	char *at = memory(64 * PAGE);
	int ring = new_ring();
	size_t i;

	if (ring < 0) {
		printf("skip io_uring is not allowed here\n");
		exit(0);
	}
	CHECK(!madvise(at, 64 * PAGE, MADV_NOHUGEPAGE));
	memset(at, 1, 64 * PAGE);
	CHECK(!pn_domain_create(&domain, &opts));
	compare(domain, 0, 0);
	for (i = 0; i < sizeof(pages) / sizeof(pages[0]) && !failures; i++) {
		CHECK(!charge_ring(ring, at, pages[i]));
		compare(domain, pages[i], 0);
		CHECK(!syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	}
	compare(domain, 0, 0);
	CHECK(!pn_domain_destroy(domain));
}

/*
 * Mappings
 */

struct rig {
	struct pn_region *region;
	struct pn_domain *domain;
	struct pn_pci_device *card;
	bool by_user;
};

static void rig_open(struct rig *rig, const char *backend, const char *card)
{
	struct pn_domain_opts opts = {.backend = backend};
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	struct pn_domain_info info;

	region_opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&rig->region, 80 * PAGE, &region_opts));
	CHECK(!pn_domain_create(&rig->domain, &opts));
	if (!failures)
		CHECK(!pn_pci_open(&rig->card, card, rig->domain));
	if (failures) {
		printf("%s\n", pn_error());
		exit(1);
	}
	pn_domain_get_info(rig->domain, &info);
	rig->by_user = info.charge.limited == PN_COUNTER_USER_LOCKED;
}

static void rig_close(struct rig *rig)
{
	pn_pci_close(rig->card);
	CHECK(!pn_domain_destroy(rig->domain) && !pn_region_destroy(rig->region));
}

static int map(struct rig *rig, uint64_t first, uint64_t pages, uint64_t *iova)
{
	*iova = PN_IOVA_ANY;
	return pn_domain_map(
		rig->domain, rig->region, first * PAGE, pages * PAGE, PN_PROT_RW, iova);
}

/* What is left, to the page with the module; else only to two pages. */
static void foresee(struct rig *rig, uint64_t left)
{
	bool by_module = module && rig->by_user;
	struct pn_preflight out;

	CHECK(!pn_domain_preflight(
		rig->domain, rig->region, 0, (left + 1) * PAGE, PN_PROT_RW, &out));
	EQUAL(out.observer, by_module ? PN_OBSERVER_MODULE : PN_OBSERVER_TRIAL);
	if (by_module || left > 1) {
		EQUAL(out.left, left);
		EQUAL(out.left_at_most, left);
		EQUAL(out.fits, PN_FITS_NO);
	}
	if (!left)
		return;
	CHECK(!pn_domain_preflight(rig->domain, rig->region, 0, left * PAGE, PN_PROT_RW, &out));
	if (by_module || left > 1)
		EQUAL(out.fits, PN_FITS_YES);
}

static void refused(struct rig *rig, uint64_t held)
{
	char text[64];
	uint64_t iova;

	EQUAL(map(rig, 0, 65 - held, &iova), -ENOMEM);
	if (!rig->by_user)
		return;
	snprintf(text, sizeof(text), "holds %s%d pages already (%s)",
		module || held < 62 ? "" : "at least ", (int)held, module ? "module" : "meter");
	if (module || held < 62) {
		CHECK(strstr(pn_error(), text));
		CHECK(strstr(pn_error(), "short by 1;"));
	}
	if (failures)
		printf("%s\n", pn_error());
}

static void do_device(const char *backend, const char *card)
{
	static const uint64_t pages[] = {24, 24, 14, 1, 1};
	struct rig rig = {0};
	uint64_t iovas[5], held = 0;
	size_t i;

	rig_open(&rig, backend, card);
	foresee(&rig, 64);
	for (i = 0; i < 5 && !failures; i++) {
		CHECK(!map(&rig, held, pages[i], &iovas[i]));
		held += pages[i];
		compare(rig.domain, rig.by_user ? held : 0, rig.by_user ? held : 0);
		foresee(&rig, 64 - held);
		refused(&rig, held);
	}
	for (i = 0; i < 5 && !failures; i++) {
		CHECK(!pn_domain_unmap(rig.domain, iovas[i], pages[i] * PAGE));
		held -= pages[i];
		if (i == 0 || i == 4)
			compare(rig.domain, rig.by_user ? held : 0, rig.by_user ? held : 0);
	}
	rig_close(&rig);
}

static void wait_for_end(void)
{
	char byte;

	printf("ready\n");
	fflush(stdout);
	CHECK(read(0, &byte, 1) == 0);
}

static void do_hold(const char *backend, const char *card)
{
	struct rig rig = {0};
	uint64_t iova;

	rig_open(&rig, backend, card);
	CHECK(!map(&rig, 0, 16, &iova));
	wait_for_end();
	CHECK(!pn_domain_unmap(rig.domain, iova, 16 * PAGE));
	rig_close(&rig);
}

static void do_pin(void)
{
	int node = node_open(O_RDWR);
	char *at = touched(8 * PAGE);

	CHECK(pin(node, at, 8 * PAGE, PINION_CHARGE_USER, PINION_PIN_WRITE) > 0);
	CHECK(pin(node, at, 4 * PAGE, PINION_CHARGE_MM, PINION_PIN_EXCLUSIVE) == -EBUSY);
	CHECK(pin(node, at + 4 * PAGE, 4 * PAGE, PINION_CHARGE_USER, 0) > 0);
	wait_for_end();
}

/*
 * Physical addresses
 */

static void drop(int capability)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	CHECK(!syscall(SYS_capget, &header, data));
	data[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
	data[CAP_TO_INDEX(capability)].permitted &= ~CAP_TO_MASK(capability);
	CHECK(!syscall(SYS_capset, &header, data));
}

static void do_physical(void)
{
	struct pn_domain_opts opts = {.backend = "noiommu"};
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	uint64_t by_pagemap = PN_IOVA_ANY, by_module = PN_IOVA_ANY;
	struct pn_region *region;
	struct pn_domain *domain;

	region_opts.page_size = PN_PAGE_2M;
	CHECK(!pn_region_create(&region, PN_PAGE_2M, &region_opts));
	if (pn_domain_create(&domain, &opts)) {
		printf("skip %s\n", pn_error());
		exit(0);
	}
	CHECK(!pn_domain_map(domain, region, PAGE, 4 * PAGE, PN_PROT_RW, &by_pagemap));
	CHECK(!pn_domain_unmap(domain, by_pagemap, 4 * PAGE));
	drop(CAP_SYS_ADMIN);
	CHECK(!pn_domain_map(domain, region, PAGE, 4 * PAGE, PN_PROT_RW, &by_module));
	EQUAL(by_module, by_pagemap);
	CHECK(!pn_domain_unmap(domain, by_module, 4 * PAGE));
	drop(CAP_SYS_RAWIO);
	by_module = PN_IOVA_ANY;
	EQUAL(pn_domain_map(domain, region, PAGE, 4 * PAGE, PN_PROT_RW, &by_module), -EPERM);
	CHECK(strstr(pn_error(), NODE));
	if (failures)
		printf("%s\n", pn_error());
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	module = argc > 2 && !strcmp(argv[2], "yes");
	if (!strcmp(what, "counter") && argc == 3)
		do_counter();
	else if (!strcmp(what, "device") && argc == 5)
		do_device(argv[3], argv[4]);
	else if (!strcmp(what, "hold") && argc == 4)
		do_hold(argv[2], argv[3]);
	else if (!strcmp(what, "pin") && argc == 2)
		do_pin();
	else if (!strcmp(what, "physical") && argc == 2)
		do_physical();
	else
		return 2;
	printf(failures ? "failed\n" : "ok\n");
	return failures != 0;
}
