/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a domain tells its ledger: calls that succeeded and calls that failed, with the reason that
 * their caller got; devices, handovers, damage.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "pn_events.h"

/* The events of the calling process's only domain: those after the first, which is START. */
struct told {
	struct pn_pins_report *report;
	const struct pn_event *events;
	size_t count;
};

static struct told read_told(void)
{
	struct pn_pins_query query = {.pid = getpid(), .directory = ledgers, .events = true};
	struct told told;
	const struct pn_events *events;

	assert_int_equal(pn_pins_report_create(&told.report, &query), 0);
	assert_int_equal(told.report->process_count, 1);
	assert_int_equal(told.report->processes[0].domain_count, 1);
	events = told.report->processes[0].domains[0].events;
	assert_int_equal(events->torn + events->senseless, 0);
	assert_true(events->count > 0 && events->events[0].kind == PN_EVENT_START);
	told.events = events->events + 1;
	told.count = events->count - 1;
	return told;
}

/* The last event, once read; the report is kept until the next call. */
static const struct pn_event *last(void)
{
	static struct told told;

	pn_pins_report_free(told.report);
	told = read_told();
	return &told.events[told.count - 1];
}

/* A call that is refused is the last event, with the words that its caller got. */
#define TOLD(fixture, err_, call_, ask)                                                \
	do {                                                                           \
		const struct pn_event *told_;                                          \
                                                                                       \
		REFUSED((fixture)->domain, err_, ask);                                 \
		told_ = last();                                                        \
		assert_int_equal(told_->kind, PN_EVENT_FAIL);                          \
		assert_int_equal(told_->call, call_);                                  \
		assert_int_equal(told_->err, err_);                                    \
		assert_true(!strncmp(told_->text, refused_reason, PN_EVENT_TEXT - 1)); \
		assert_true(strlen(told_->text) > 10);                                 \
	} while (0)

static void mappings_and_devices(void **state)
{
	static const enum pn_event_kind kinds[] = {PN_EVENT_MAP, PN_EVENT_ATTACH, PN_EVENT_MAP,
		PN_EVENT_ATTACH, PN_EVENT_UNMAP, PN_EVENT_DETACH, PN_EVENT_DETACH, PN_EVENT_UNMAP};
	struct fixture *fixture = *state;
	const struct pn_event *event;
	struct told told;
	int fd[2];

	map_at(fixture, 0, 2, AT(0x10000));
	fd[0] = attach_to(fixture->domain, &nic0);
	map_at(fixture, 4, 3, AT(0x20000));
	fd[1] = attach_to(fixture->domain, &nic2);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 2 * PAGE), 0);
	pn_domain_detach(fixture->domain, fd[0]);
	pn_domain_detach(fixture->domain, fd[1]);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	told = read_told();
	event = told.events;
	assert_int_equal(told.count, PN_ARRAY_SIZE(kinds));
	for (size_t i = 0; i < told.count; i++)
		assert_int_equal(event[i].kind, kinds[i]);
	assert_true(event[0].queued && !event[0].pages && !event[0].counters);
	assert_true(event[0].iova == AT(0x10000) && event[0].len == 2 * PAGE);
	assert_true(event[0].vaddr == (uintptr_t)fixture->base);
	/* What the domain was charged once its queue was in the kernel. */
	assert_string_equal(event[1].text, nic0.address);
	assert_int_equal(event[1].pages, 2);
	assert_true(!event[2].queued && event[2].pages == 3 && event[2].counters);
	assert_string_equal(event[3].text, nic2.address);
	assert_int_equal(event[3].pages, 5);
	assert_true(!event[4].queued && event[4].pages == 2 && event[4].iova == AT(0x10000));
	assert_string_equal(event[5].text, nic0.address);
	assert_string_equal(event[6].text, nic2.address);
	assert_int_equal(event[6].pages, 0);
	assert_true(event[7].queued && event[7].iova == AT(0x20000));
	pn_pins_report_free(told.report);
}

static void what_was_refused(void **state)
{
	struct fixture *fixture = *state;
	uint64_t any = PN_IOVA_ANY, taken = AT(0x10000), bitmap;
	struct pn_segment nowhere = {NULL, 0, PAGE};
	int fd = -1;

	map_at(fixture, 0, 2, AT(0x10000));
	TOLD(fixture, EEXIST, PN_EVENT_MAP,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &taken));
	assert_true(last()->iova == AT(0x10000) && last()->len == PAGE);
	TOLD(fixture, EINVAL, PN_EVENT_MAP,
		pn_domain_map(fixture->domain, fixture->region, 1, PAGE, PN_PROT_RW, &any));
	assert_true(last()->iova == PN_IOVA_ANY);
	TOLD(fixture, EINVAL, PN_EVENT_MAP,
		pn_domain_map_segments(fixture->domain, &nowhere, 1, PN_PROT_RW, &any));
	TOLD(fixture, EINVAL, PN_EVENT_MAP,
		pn_domain_map_segments(fixture->domain, NULL, 1, PN_PROT_RW, &any));
	/* A count that is not that of the list is not believed for the event either. */
	TOLD(fixture, EINVAL, PN_EVENT_MAP,
		pn_domain_map_segments(fixture->domain, &nowhere, SIZE_MAX, 0, &any));
	TOLD(fixture, ENOENT, PN_EVENT_UNMAP,
		pn_domain_unmap(fixture->domain, AT(0x90000), 7 * PAGE));
	assert_true(last()->iova == AT(0x90000) && last()->len == 7 * PAGE);
	TOLD(fixture, EINVAL, PN_EVENT_DIRTY, pn_domain_dirty_stop(fixture->domain));
	TOLD(fixture, EINVAL, PN_EVENT_DIRTY,
		pn_domain_dirty_read(fixture->domain, 0, PAGE, PAGE, &bitmap));
	TOLD(fixture, EINVAL, PN_EVENT_DEVICE_BITS,
		pn_domain_device_bits(fixture->domain, 12345, 32));
	TOLD(fixture, EINVAL, PN_EVENT_TAKE_BACK,
		pn_domain_handover_cancel(fixture->domain, 12345));
	/* The kernel refuses what is queued: said of the attach that wanted it. */
	model.limit = 1;
	TOLD(fixture, ENOMEM, PN_EVENT_ATTACH, pn_domain_attach(fixture->domain, &nic0, &fd));
	model.limit = UINT64_MAX / 4096;
	fd = attach_to(fixture->domain, &nic0);
	model.limit = 2;
	TOLD(fixture, ENOMEM, PN_EVENT_MAP,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &any));
	TOLD(fixture, EBUSY, PN_EVENT_ATTACH, pn_domain_attach(fixture->domain, &nic0, &fd));
	TOLD(fixture, EBUSY, PN_EVENT_DESTROY, pn_domain_destroy(fixture->domain));
	pn_domain_detach(fixture->domain, fd);
}

static void what_succeeds_says_no_more_than_it_is(void **state)
{
	struct fixture *fixture = *state;
	struct told told;

	for (int i = 0; i < 3; i++) {
		pn_domain_detach(fixture->domain, attach_to(fixture->domain, &nic0));
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	told = read_told();
	assert_int_equal(told.count, 6);
	pn_pins_report_free(told.report);
}

static void a_handover_and_back(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0), file;
	uint64_t any = PN_IOVA_ANY;

	map_at(fixture, 0, 2, AT(0x10000));
	assert_int_equal(pn_domain_handover(fixture->domain, &file), 0);
	assert_int_equal(last()->kind, PN_EVENT_HANDOVER);
	assert_int_equal(last()->pages, 2);
	TOLD(fixture, EBUSY, PN_EVENT_MAP,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &any));
	TOLD(fixture, EBUSY, PN_EVENT_HANDOVER, pn_domain_handover(fixture->domain, &file));
	assert_int_equal(pn_domain_handover_cancel(fixture->domain, file), 0);
	assert_int_equal(last()->kind, PN_EVENT_TAKE_BACK);
	pn_domain_detach(fixture->domain, fd);
}

static void damage_and_its_end(void **state)
{
	struct fixture *fixture = *state;
	struct pn_segment segments[2] = {
		{fixture->region, 0, PAGE}, {fixture->region, 4 * PAGE, PAGE}};
	int fd = attach_to(fixture->domain, &nic0);
	uint64_t iova = AT(0x10000);
	const struct pn_event *event;
	struct told told;

	/* The second mapping fails, and then taking back the first. */
	model.calls = 0;
	model.fail_call = 2;
	model.fail_err = EFAULT;
	model.fail_again = 3;
	model.fail_again_err = EIO;
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, segments, 2, PN_PROT_RW, &iova), -EFAULT);
	model_calm();
	assert_true(info_of(fixture->domain).damaged);
	told = read_told();
	event = &told.events[told.count - 1];
	/* Attach, what stays on record, the failure, and that it did damage. */
	assert_int_equal(told.count, 4);
	assert_int_equal(event[-2].kind, PN_EVENT_MAP);
	assert_int_equal(event[-1].kind, PN_EVENT_FAIL);
	assert_int_equal(event[-1].err, EFAULT);
	assert_int_equal(event->kind, PN_EVENT_DAMAGE);
	assert_non_null(strstr(event->text, "damaged"));
	pn_pins_report_free(told.report);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(last()->kind, PN_EVENT_MEND);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(mappings_and_devices),
		ON_EACH(what_was_refused),
		ON_EACH(what_succeeds_says_no_more_than_it_is),
		ON("type1", a_handover_and_back, fixture_type1),
		ON("iommufd", a_handover_and_back, fixture_iommufd),
		ON("type1", damage_and_its_end, fixture_type1),
	};

	unsetenv("PINION_LEDGER_EVENTS");
	return fixture_run(tests);
}
