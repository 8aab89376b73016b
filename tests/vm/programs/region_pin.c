/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions that the companion module pins, as the library offers it:
 *   region_pin life                     charged, reported, refused, given back; 64 pages of limit
 *   region_pin refused ERRNO TEXT       it cannot be done, with this errno and words
 *   region_pin mapped BACKEND CARD      and mapped: what is charged twice is found
 *   region_pin moved FULL FIRST LAST... page frames from a FIRST to its LAST hold none of it
 * (root); with FULL MiB of other memory taken before region_pin stuck                    a hugepage
 * of 1 GiB of a CMA area cannot be moved: early Prints "ok" or what is wrong.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod.h"
#include "pinion.h"

#define AREAS 4

static struct pn_region *region_of(uint64_t bytes, uint64_t page_size)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;

	opts.page_size = page_size;
	opts.name = "pinned";
	if (pn_region_create(&region, bytes, &opts)) {
		printf("%s\n", pn_error());
		exit(1);
	}
	return region;
}

static const struct pn_pins_domain *of_module(const struct pn_pins_process *process)
{
	const struct pn_pins_domain *found = NULL;
	size_t i;

	for (i = 0; i < process->domain_count; i++) {
		if (strcmp(process->domains[i].path, "module") != 0)
			continue;
		CHECK(!found);
		found = &process->domains[i];
	}
	return found;
}

static uint64_t twice(const struct pn_pins_report *report, enum pn_counter counter)
{
	uint64_t pages = 0;
	size_t i;

	for (i = 0; i < report->finding_count; i++) {
		const struct pn_finding *finding = &report->findings[i];

		if (finding->kind == PN_FINDING_TWICE && finding->counter == counter) {
			EQUAL(strcmp(finding->cause, "module-pin"), 0);
			pages += finding->figure.pages;
		} else {
			CHECK(finding->kind == PN_FINDING_TWICE);
		}
	}
	return pages;
}

/* What this process's report says: of each counter what is predicted, and that nothing is
 * unexplained; and how much of it is charged twice. */
static void reported(
	const uint64_t predicted[PN_COUNTER_MAX], const uint64_t doubled[PN_COUNTER_MAX])
{
	struct pn_pins_query query = {.pid = getpid()};
	struct pn_pins_report *report;
	unsigned int counter;
	int64_t rest;

	CHECK(!pn_pins_report_create(&report, &query));
	if (failures)
		return;
	CHECK(report->process_count == 1 && of_module(&report->processes[0]));
	for (counter = 0; counter < PN_COUNTER_MAX && !failures; counter++) {
		EQUAL(report->processes[0].predicted[counter], predicted[counter]);
		CHECK(pn_pins_unexplained(&report->processes[0], counter, &rest));
		EQUAL(rest, 0);
		EQUAL(twice(report, counter), doubled[counter]);
	}
	pn_pins_report_free(report);
}

static void in_words(void)
{
	struct pn_pins_query query = {.pid = getpid()};
	struct pn_pins_report *report;
	char *text;

	CHECK(!pn_pins_report_create(&report, &query));
	text = pn_pins_table(report);
	CHECK(text && strstr(text, "domain: module on " NODE "; devices: none attached"));
	CHECK(text && strstr(text, "  -                      64 KiB"));
	free(text);
	text = pn_pins_json(report);
	CHECK(text && strstr(text, "\"iova\": null"));
	free(text);
	pn_pins_report_free(report);
}

static void check_none(int node)
{
	EQUAL(status(0, "VmLck"), 0);
	EQUAL(status(0, "VmPin"), 0);
	EQUAL(user_pages(node), 0);
}

static void child_may_not(struct pn_pinned_region *pin)
{
	int state;

	if (!fork()) {
		EQUAL(pn_region_unpin(pin), -EPERM);
		_exit(!!failures);
	}
	wait(&state);
	EQUAL(state, 0);
}

static void do_life(void)
{
	static const uint64_t none[PN_COUNTER_MAX] = {0};
	static const uint64_t by_process[PN_COUNTER_MAX] = {[PN_COUNTER_MM_LOCKED] = 16};
	static const uint64_t by_user[PN_COUNTER_MAX] = {
		[PN_COUNTER_USER_LOCKED] = 16, [PN_COUNTER_MM_PINNED] = 16};
	struct pn_region *region = region_of(16 * PAGE, PN_PAGE_4K), *large;
	struct pn_region_pin_opts opts = {.charge = PN_REGION_PIN_USER, .exclusive = true};
	struct pn_pinned_region *pin, *second;
	int node = node_open(O_RDWR);

	EQUAL(pn_region_pin(&pin, region, NULL), 0);
	EQUAL(status(0, "VmLck"), 16);
	reported(by_process, none);
	in_words();
	EQUAL(pn_region_destroy(region), -EBUSY);
	/* A page is pinned already. */
	EQUAL(pn_region_pin(&second, region, &opts), -EBUSY);
	child_may_not(pin);
	EQUAL(status(0, "VmLck"), 16);
	EQUAL(pn_region_unpin(pin), 0);
	check_none(node);
	EQUAL(pn_region_pin(&pin, region, &opts), 0);
	EQUAL(user_pages(node), 16);
	EQUAL(status(0, "VmPin"), 16);
	reported(by_user, none);
	EQUAL(pn_region_pin(&second, region, NULL), -EBUSY);
	EQUAL(pn_region_unpin(pin), 0);
	check_none(node);
	opts.charge = 7;
	EQUAL(pn_region_pin(&pin, region, &opts), -EINVAL);
	EQUAL(pn_region_unpin(NULL), 0);
	large = region_of(65 * PAGE, PN_PAGE_4K);
	EQUAL(pn_region_pin(&pin, large, NULL), -ENOMEM);
	CHECK(strstr(pn_error(), "RLIMIT_MEMLOCK is too low: 65 pages"));
	CHECK(strstr(pn_error(), "short by 1;"));
	check_none(node);
	EQUAL(pn_region_destroy(large), 0);
	EQUAL(pn_region_destroy(region), 0);
	/* A region without a pin has no ledger of one. */
	close(node);
}

static void do_refused(int err, const char *words)
{
	struct pn_region *region = region_of(16 * PAGE, PN_PAGE_4K);
	struct pn_pinned_region *pin;

	EQUAL(pn_region_pin(&pin, region, NULL), -err);
	CHECK(strstr(pn_error(), words));
	if (failures)
		printf("%s\n", pn_error());
	EQUAL(pn_region_destroy(region), 0);
}

/* Pinned and mapped: both charge, whatever the other does. */
static void do_mapped(const char *backend, const char *card)
{
	struct pn_region *region = region_of(16 * PAGE, PN_PAGE_4K);
	struct pn_domain_opts opts = {.backend = backend};
	struct pn_region_pin_opts pin_opts = {0};
	uint64_t predicted[PN_COUNTER_MAX], doubled[PN_COUNTER_MAX];
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct pn_pci_device *device;
	struct pn_pinned_region *pin;
	unsigned int charge, counter;

	CHECK(!pn_domain_create(&domain, &opts) && !pn_pci_open(&device, card, domain));
	if (failures) {
		printf("%s\n", pn_error());
		exit(1);
	}
	pn_domain_get_info(domain, &info);
	for (charge = PN_REGION_PIN_PROCESS; charge <= PN_REGION_PIN_USER; charge++) {
		uint32_t by_pin = charge == PN_REGION_PIN_PROCESS
					  ? PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
					  : PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) |
						    PN_COUNTER_BIT(PN_COUNTER_MM_PINNED);
		uint64_t iova = PN_IOVA_ANY;

		pin_opts.charge = charge;
		CHECK(!pn_region_pin(&pin, region, &pin_opts));
		CHECK(!pn_domain_map(domain, region, 0, 16 * PAGE, PN_PROT_RW, &iova));
		for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
			unsigned int pinned = !!(by_pin & PN_COUNTER_BIT(counter));
			unsigned int mapped = !!(info.charge.counters & PN_COUNTER_BIT(counter));

			predicted[counter] = 16 * (pinned + mapped);
			doubled[counter] = 16 * (pinned & mapped);
		}
		reported(predicted, doubled);
		CHECK(!pn_domain_unmap(domain, iova, 16 * PAGE));
		CHECK(!pn_region_unpin(pin));
	}
	pn_pci_close(device);
	CHECK(!pn_domain_destroy(domain) && !pn_region_destroy(region));
}

/* Page frames, from each first to its last. */
struct frames {
	uint64_t first, last;
};

static bool is_among(uint64_t frame, const struct frames *areas, int count)
{
	bool found = false;
	int i;

	for (i = 0; i < count; i++)
		found |= frame >= areas[i].first && frame <= areas[i].last;
	return found;
}

static size_t pages_among(
	int node, const char *mem, size_t length, const struct frames *areas, int count)
{
	struct pinion_page *pages = calloc(length / PAGE, sizeof(*pages));
	size_t i, found = 0;

	CHECK(pages && !inspect(node, mem, length, PINION_INSPECT_PHYS, pages));
	for (i = 0; pages && i < length / PAGE; i++) {
		CHECK(pages[i].flags & PINION_PAGE_PRESENT);
		found += is_among(pages[i].phys / PAGE, areas, count);
	}
	free(pages);
	return found;
}

static void do_moved(size_t full, const struct frames *areas, int count)
{
	char *others = full ? touched(full) : NULL;
	const size_t length = 16ul << 20;
	struct pn_region *region = region_of(length, PN_PAGE_4K);
	struct pn_region_info info;
	struct pn_pinned_region *pin;
	int node = node_open(O_RDWR);

	pn_region_get_info(region, &info);
	memset(info.vaddr, 0x5a, length);
	CHECK(pages_among(node, info.vaddr, length, areas, count) > 0);
	CHECK(!pn_region_pin(&pin, region, NULL));
	EQUAL(pages_among(node, info.vaddr, length, areas, count), 0);
	CHECK(((char *)info.vaddr)[length - 1] == 0x5a);
	CHECK(!pn_region_unpin(pin) && !pn_region_destroy(region));
	check_none(node);
	if (full)
		munmap(others, full);
}

static void do_stuck(void)
{
	struct pn_region *region = region_of(PN_PAGE_1G, PN_PAGE_1G);
	struct pn_pinned_region *pin;
	int node = node_open(O_RDWR);

	EQUAL(pn_region_pin(&pin, region, NULL), -ENOMEM);
	CHECK(strstr(pn_error(), "CMA"));
	if (failures)
		printf("%s\n", pn_error());
	check_none(node);
	CHECK(!pn_region_destroy(region));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct frames areas[AREAS] = {0};
	int i;

	for (i = 0; i < AREAS && 4 + 2 * i < argc; i++)
		areas[i] = (struct frames){
			strtoull(argv[3 + 2 * i], NULL, 10), strtoull(argv[4 + 2 * i], NULL, 10)};
	if (!strcmp(what, "life") && argc == 2)
		do_life();
	else if (!strcmp(what, "refused") && argc == 4)
		do_refused(atoi(argv[2]), argv[3]);
	else if (!strcmp(what, "mapped") && argc == 4)
		do_mapped(argv[2], argv[3]);
	else if (!strcmp(what, "moved") && argc >= 5 && argc <= 3 + 2 * AREAS)
		do_moved(strtoul(argv[2], NULL, 10) << 20, areas, (argc - 3) / 2);
	else if (!strcmp(what, "stuck") && argc == 2)
		do_stuck();
	else
		return 2;
	printf(failures ? "failed\n" : "ok\n");
	return failures != 0;
}
