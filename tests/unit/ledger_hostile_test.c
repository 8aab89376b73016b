/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ledgers that someone forged or cut short: files of every length, with every field changed, of
 * another user, made of holes. A reader refuses them or takes what is sound; it never waits,
 * crashes or passes on what it has not checked. What else can be in a directory of ledgers is in
 * ledger_files_test.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "ledger_forge.h"
#include "ledger_read.h"
#include "pins_priv.h"

static int file = -1;

static int setup(void **state)
{
	(void)state;
	if (forge_good())
		return -1;
	file = memfd_create("ledger", MFD_CLOEXEC);
	return file < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return close(file);
}

/* What a reader hands on must be sound, whatever the file says. */
static void check_content(const struct ledger_content *content)
{
	const struct pn_pins_domain *domain = &content->domain;

	assert_true(content->pid > 0);
	/* Only root's files may tell another user than their owner. */
	assert_true(content->uid == getuid() || !getuid());
	assert_non_null(memchr(domain->path, 0, sizeof(domain->path)));
	assert_non_null(memchr(domain->node, 0, sizeof(domain->node)));
	assert_non_null(memchr(domain->accounting, 0, sizeof(domain->accounting)));
	assert_non_null(memchr(domain->device_names, 0, sizeof(domain->device_names)));
	assert_true(domain->limited <= PN_COUNTER_MAX);
	assert_true(domain->counters < PN_COUNTER_BIT(PN_COUNTER_MAX));
	for (size_t i = 0; i < domain->pin_count; i++) {
		const struct pn_pin *pin = &domain->pins[i];

		assert_non_null(memchr(pin->name, 0, sizeof(pin->name)));
		for (const char *at = pin->name; *at; at++)
			assert_in_range(*at, ' ', 126);
		assert_true(pin->counters < PN_COUNTER_BIT(PN_COUNTER_MAX));
		assert_true(pin->prot <= 3);
		assert_true(pin->len > 0 && pin->vaddr + (pin->len - 1) >= pin->vaddr);
		if (pin->iova == PN_PIN_NO_IOVA && pin->len > 1)
			assert_string_equal(domain->path, PN_MODULE_PATH);
		else
			assert_true(pin->iova + (pin->len - 1) >= pin->iova);
	}
}

static size_t event_count, events_senseless, events_torn;

static void check_events(struct ledger_content *content)
{
	struct pn_events *events = NULL;

	assert_int_equal(pn_ledger_read_events(file, content, &events), 0);
	assert_true(events->count + events->torn + events->senseless <= events->room);
	for (size_t i = 0; i < events->count; i++) {
		const struct pn_event *event = &events->events[i];

		assert_true(!i || event->number > events->events[i - 1].number);
		assert_in_range(event->kind, PN_EVENT_START, PN_EVENT_MEND);
		assert_in_range(event->call, PN_EVENT_NONE, PN_EVENT_MAX - 1);
		assert_in_range(event->err, 0, 4095);
		assert_true(event->counters < PN_COUNTER_BIT(PN_COUNTER_MAX));
		assert_true(event->prot <= 3);
		assert_non_null(memchr(event->text, 0, sizeof(event->text)));
		for (const char *at = event->text; *at; at++)
			assert_in_range(*at, ' ', 126);
	}
	event_count = events->count;
	events_senseless = events->senseless;
	events_torn = events->torn;
	pn_events_free(events);
}

static int read_bytes(const unsigned char *bytes, size_t size, struct ledger_content *content)
{
	char why[128] = "";
	int result;

	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pwrite(file, bytes, size, 0), size);
	memset(content, 0, sizeof(*content));
	result = pn_ledger_read(file, content, why, sizeof(why));
	assert_true(result <= 0);
	if (!result) {
		check_content(content);
		check_events(content);
	} else if (result != -EAGAIN)
		assert_string_not_equal(why, "");
	assert_non_null(memchr(why, 0, sizeof(why)));
	return result;
}

static void a_good_one_is_read(void **state)
{
	struct ledger_content content;

	(void)state;
	assert_int_equal(read_bytes(good.bytes, SIZE, &content), 0);
	assert_int_equal(content.pid, getpid());
	assert_int_equal(content.start_time, good.header.start_time);
	assert_int_equal(content.predicted[0], 6);
	assert_int_equal(content.unsteady, 0);
	assert_int_equal(content.domain.pin_count, 3);
	assert_int_equal(content.domain.pins[2].iova, 0x600000);
	assert_int_equal(event_count, EVENTS);
	assert_int_equal(events_senseless + events_torn, 0);
	free(content.domain.pins);
}

static void cut_short_anywhere(void **state)
{
	struct ledger_content content;

	(void)state;
	for (size_t size = 0; size < SIZE; size += size < 6000 || size > SIZE - 300 ? 1 : 61)
		assert_true(read_bytes(good.bytes, size, &content) < 0);
}

static uint64_t next(void)
{
	static uint64_t seed = 0x1234567890abcdef;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 9;
}

static const uint64_t odd_values[] = {0, 1, 2, 3, 127, 128, 255, 4095, 4096, 0x7fffffff, 0x80000000,
	UINT32_MAX, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX - 4095, UINT64_MAX};

static void any_field_may_lie(void **state)
{
	const char *scale = getenv("PN_TEST_SCALE");
	unsigned int rounds = (unsigned int)(10000 * (scale ? atof(scale) : 1)) + 1;
	static unsigned char bytes[SIZE];
	unsigned int taken = 0;

	(void)state;
	for (unsigned int i = 0; i < rounds; i++) {
		struct ledger_content content;

		memcpy(bytes, good.bytes, SIZE);
		for (uint64_t count = next() % 3; count < 3; count++) {
			size_t at = next() % (i % 3 == 1     ? sizeof(struct ledger_header)
						     : i % 3 ? LEDGER_EVENT_SIZE
							     : LEDGER_SLOT_SIZE),
			       size = (size_t)1 << next() % 4;
			uint64_t value = next() % 2
						 ? next()
						 : odd_values[next() % PN_ARRAY_SIZE(odd_values)];

			at = (at & ~(size - 1)) + (i % 3 == 1     ? 0
							  : i % 3 ? LEDGER_HEADER_SIZE
								  : SLOTS_AT);
			memcpy(bytes + at, &value, size);
		}
		if (!read_bytes(bytes, SIZE, &content)) {
			taken++;
			free(content.domain.pins);
		}
	}
	assert_true(taken > rounds / 20);
}

static void each_header_field_is_checked(void **state)
{
	static const struct {
		size_t at, size;
		uint64_t value;
	} bad[] = {
		{offsetof(struct ledger_header, magic), 8, 0},
		{offsetof(struct ledger_header, version), 4, 1},
		{offsetof(struct ledger_header, version), 4, 3},
		{offsetof(struct ledger_header, event_size), 4, 256},
		{offsetof(struct ledger_header, events), 4, 4},
		{offsetof(struct ledger_header, events), 4, 24},
		{offsetof(struct ledger_header, events), 4, 1u << 17},
		{offsetof(struct ledger_header, events), 4, UINT32_MAX},
		{offsetof(struct ledger_header, header_size), 4, 0},
		{offsetof(struct ledger_header, header_size), 4, UINT32_MAX},
		{offsetof(struct ledger_header, slot_size), 4, 0},
		{offsetof(struct ledger_header, slot_size), 4, 64},
		{offsetof(struct ledger_header, slots), 4, UINT32_MAX},
		{offsetof(struct ledger_header, slots), 4, SLOTS + 1},
		{offsetof(struct ledger_header, pid), 4, 0},
		{offsetof(struct ledger_header, pid), 4, UINT32_MAX},
		{offsetof(struct ledger_header, abouts[0].counters), 4, 8},
		{offsetof(struct ledger_header, abouts[0].limited), 4, 4},
	};
	static const struct {
		size_t at, size;
	} texts[] = {{offsetof(struct ledger_header, path), 24},
		{offsetof(struct ledger_header, node), 40},
		{offsetof(struct ledger_header, abouts[0].accounting), 24},
		{offsetof(struct ledger_header, abouts[0].device_names), 96}};
	static unsigned char bytes[SIZE];
	struct ledger_content content;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		memcpy(bytes, good.bytes, SIZE);
		memcpy(bytes + bad[i].at, &bad[i].value, bad[i].size);
		assert_true(read_bytes(bytes, SIZE, &content) < 0);
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(texts); i++) {
		memcpy(bytes, good.bytes, SIZE);
		memset(bytes + texts[i].at, 'x', texts[i].size);
		assert_true(read_bytes(bytes, SIZE, &content) < 0);
	}
}

/* A record that makes no sense is left out and counted, the others are taken. */
static void each_event_field_is_checked(void **state)
{
	static const struct {
		size_t at, size;
		uint64_t value;
	} bad[] = {
		{offsetof(struct ledger_event, seq), 8, 2},
		{offsetof(struct ledger_event, seq), 8, UINT64_MAX - 1},
		{offsetof(struct ledger_event, kind), 1, PN_EVENT_NONE},
		{offsetof(struct ledger_event, kind), 1, PN_EVENT_DIRTY},
		{offsetof(struct ledger_event, kind), 1, 255},
		{offsetof(struct ledger_event, kind), 1, PN_EVENT_MAP}, /* with a call */
		{offsetof(struct ledger_event, call), 1, PN_EVENT_MAX},
		{offsetof(struct ledger_event, call), 1, PN_EVENT_NONE},
		{offsetof(struct ledger_event, flags), 1, 4},
		{offsetof(struct ledger_event, counters), 1, 8},
		{offsetof(struct ledger_event, err), 2, 4096},
		{offsetof(struct ledger_event, text_len), 2, PN_EVENT_TEXT},
		{offsetof(struct ledger_event, text_len), 2, UINT16_MAX},
	};
	static unsigned char bytes[SIZE];
	struct ledger_content content;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		memcpy(bytes, good.bytes, SIZE);
		/* Number 12, a failure. */
		memcpy((char *)forge_event(bytes, 11) + bad[i].at, &bad[i].value, bad[i].size);
		assert_int_equal(read_bytes(bytes, SIZE, &content), 0);
		free(content.domain.pins);
		assert_int_equal(event_count, EVENTS - 1);
		assert_int_equal(events_senseless, 1);
	}
	memcpy(bytes, good.bytes, SIZE);
	forge_event(bytes, 11)->seq--;
	forge_event(bytes, 3)->seq = 0;
	memset(forge_event(bytes, 4)->text, '\033', 416);
	forge_event(bytes, 4)->text_len = 416;
	forge_event(bytes, 4)->boot = 0;
	assert_int_equal(read_bytes(bytes, SIZE, &content), 0);
	free(content.domain.pins);
	assert_int_equal(event_count, EVENTS - 2);
	assert_int_equal(events_torn, 1);
}

static void another_format_says_so(void **state)
{
	static union ledger_file forged;
	struct ledger_content content;
	char why[128] = "";

	(void)state;
	forged = good;
	forged.header.version = 3;
	/* Whatever else it has. */
	memset(&forged.header.header_size, 0xff,
		SIZE - offsetof(struct ledger_header, header_size));
	assert_int_equal(pwrite(file, forged.bytes, SIZE, 0), SIZE);
	assert_int_equal(pn_ledger_read(file, &content, why, sizeof(why)), -EBADMSG);
	assert_non_null(strstr(why, "is of ledger format 3 and this program reads format 2"));
}

/* A file in which no record ever becomes whole keeps nobody for long. */
static void unfinished_from_end_to_end(void **state)
{
	enum { HUGE = 128 * 1024 };
	struct timespec start, end;
	struct ledger_content content;
	struct ledger_header *header;
	unsigned char *bytes;
	size_t size = SLOTS_AT + (size_t)HUGE * LEDGER_SLOT_SIZE;

	(void)state;
	bytes = malloc(size);
	assert_non_null(bytes);
	memset(bytes, 0xff, size);
	header = (struct ledger_header *)(void *)bytes;
	*header = good.header;
	header->slots = HUGE;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	assert_int_equal(read_bytes(bytes, size, &content), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_int_equal(content.unsteady, HUGE);
	assert_int_equal(events_torn, EVENTS);
	assert_true(end.tv_sec - start.tv_sec <= 2);
	free(content.domain.pins);
	free(bytes);
}

static void a_claim_to_be_another_user(void **state)
{
	static const uid_t claims[] = {0, 61235, UINT32_MAX};
	static union ledger_file forged;
	struct ledger_content content;

	(void)state;
	if (!geteuid())
		assert_int_equal(fchown(file, 61234, 61234), 0);
	forged = good;
	for (size_t i = 0; i < PN_ARRAY_SIZE(claims); i++) {
		forged.header.abouts[0].uid = claims[i];
		assert_true(read_bytes(forged.bytes, SIZE, &content) < 0);
	}
	/* A uid of another user namespace is no claim: it is then who owns the file. */
	forged.header.abouts[0].user_namespace = 1;
	for (size_t i = 0; i < PN_ARRAY_SIZE(claims); i++) {
		forged.header.abouts[0].uid = claims[i];
		assert_int_equal(read_bytes(forged.bytes, SIZE, &content), 0);
		assert_int_equal(content.uid, geteuid() ? geteuid() : 61234);
		free(content.domain.pins);
	}
	if (!geteuid())
		assert_int_equal(fchown(file, 0, 0), 0);
}

/* A file that claims millions of mappings in holes costs nothing to make, and nothing to refuse. */
static void a_claim_made_of_holes(void **state)
{
	static union ledger_file forged;
	struct ledger_content content;
	char why[128] = "";

	(void)state;
	forged = good;
	forged.header.slots = 1u << 22;
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pwrite(file, forged.bytes, SIZE, 0), SIZE);
	assert_int_equal(
		ftruncate(file, SLOTS_AT + (off_t)forged.header.slots * LEDGER_SLOT_SIZE), 0);
	assert_int_equal(pn_ledger_read(file, &content, why, sizeof(why)), -EBADMSG);
	assert_string_equal(why, "it has holes");
	assert_int_equal(ftruncate(file, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_one_is_read),
		cmocka_unit_test(cut_short_anywhere),
		cmocka_unit_test(any_field_may_lie),
		cmocka_unit_test(each_header_field_is_checked),
		cmocka_unit_test(each_event_field_is_checked),
		cmocka_unit_test(another_format_says_so),
		cmocka_unit_test(unfinished_from_end_to_end),
		cmocka_unit_test(a_claim_to_be_another_user),
		cmocka_unit_test(a_claim_made_of_holes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
