/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ledgers that someone forged or cut short: files of every length, with every field changed, links,
 * fifos, folders, files of another user, texts without end. A reader refuses them or takes what is
 * sound; it never waits, crashes or passes on what it has not checked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include "ledger_format.h"
#include "ledger_read.h"
#include "pins_priv.h"

#define SLOTS    LEDGER_SEGMENT
#define EVENTS   16u
#define SLOTS_AT (LEDGER_HEADER_SIZE + EVENTS * LEDGER_EVENT_SIZE)
#define SIZE     (SLOTS_AT + SLOTS * LEDGER_SLOT_SIZE)

static union {
	struct ledger_header header;
	unsigned char bytes[SIZE];
} good;
static char dir[] = "/tmp/pn-hostile-XXXXXX";
static int file = -1;

static struct ledger_slot *slot_of(unsigned char *bytes, size_t number)
{
	return (struct ledger_slot *)(void *)(bytes + SLOTS_AT + number * LEDGER_SLOT_SIZE);
}

static struct ledger_event *event_of(unsigned char *bytes, size_t place)
{
	return (struct ledger_event *)(void *)(bytes + LEDGER_HEADER_SIZE +
					       place * LEDGER_EVENT_SIZE);
}

static int setup(void **state)
{
	struct pn_proc_state self;

	(void)state;
	if (pn_proc_read(getpid(), &self) || !mkdtemp(dir))
		return -1;
	good.header = (struct ledger_header){.magic = LEDGER_MAGIC,
		.version = LEDGER_VERSION,
		.header_size = LEDGER_HEADER_SIZE,
		.slot_size = LEDGER_SLOT_SIZE,
		.event_size = LEDGER_EVENT_SIZE,
		.events = EVENTS,
		.slots = SLOTS,
		.pid = getpid(),
		.began_boot = 1000,
		.began_wall = 1000000,
		.start_time = self.start_time,
		.path = "type1",
		.node = "/dev/vfio/vfio",
		.total_number = LEDGER_TOTALS + 3,
		.totals[3] = {.predicted = {6, 0, 0}},
		.about_number = 3 * LEDGER_ABOUTS,
		.abouts[0] = {.uid = getuid(),
			.counters = 1,
			.devices = 1,
			.accounting = "process (mm)",
			.device_names = "0000:00:02.0"}};
	/* Numbers 9 to 24, so that the ring has gone round. */
	for (uint64_t number = 9; number < 9 + EVENTS; number++)
		*event_of(good.bytes, (number - 1) % EVENTS) =
			(struct ledger_event){.seq = 2 * number,
				.boot = 1000 + number,
				.monotonic = 500 + number,
				.kind = number % 2 ? PN_EVENT_MAP : PN_EVENT_FAIL,
				.call = number % 2 ? PN_EVENT_NONE : PN_EVENT_ATTACH,
				.err = number % 2 ? 0 : ENOMEM,
				.iova = number << 12,
				.len = 4096,
				.text_len = 6,
				.text = "reason"};
	for (size_t i = 0; i < 3; i++)
		*slot_of(good.bytes, i * 3) = (struct ledger_slot){.seq = 4,
			.vaddr = 0x100000 * (i + 1),
			.iova = 0x200000 * (i + 1),
			.len = 8192,
			.page_size = 4096,
			.pages = 2,
			.counters = 1,
			.used = 1,
			.prot = 3,
			.name = "region"};
	file = memfd_create("ledger", MFD_CLOEXEC);
	return file < 0 ? -1 : 0;
}

/* What a failed test has left. */
static int clean(void **state)
{
	DIR *files = opendir(dir);
	struct dirent *entry;

	(void)state;
	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.' && unlinkat(dirfd(files), entry->d_name, 0))
			unlinkat(dirfd(files), entry->d_name, AT_REMOVEDIR);
	return files ? closedir(files) : -1;
}

static int teardown(void **state)
{
	(void)state;
	close(file);
	return rmdir(dir);
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
		memcpy((char *)event_of(bytes, 11) + bad[i].at, &bad[i].value, bad[i].size);
		assert_int_equal(read_bytes(bytes, SIZE, &content), 0);
		free(content.domain.pins);
		assert_int_equal(event_count, EVENTS - 1);
		assert_int_equal(events_senseless, 1);
	}
	memcpy(bytes, good.bytes, SIZE);
	event_of(bytes, 11)->seq--;
	event_of(bytes, 3)->seq = 0;
	memset(event_of(bytes, 4)->text, '\033', 416);
	event_of(bytes, 4)->text_len = 416;
	event_of(bytes, 4)->boot = 0;
	assert_int_equal(read_bytes(bytes, SIZE, &content), 0);
	free(content.domain.pins);
	assert_int_equal(event_count, EVENTS - 2);
	assert_int_equal(events_torn, 1);
}

static void another_format_says_so(void **state)
{
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	struct ledger_content content;
	char why[128] = "";

	(void)state;
	memcpy(bytes, good.bytes, SIZE);
	header->version = 3;
	/* Whatever else it has. */
	memset(&header->header_size, 0xff, SIZE - offsetof(struct ledger_header, header_size));
	assert_int_equal(pwrite(file, bytes, SIZE, 0), SIZE);
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
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	struct ledger_content content;

	(void)state;
	if (!geteuid())
		assert_int_equal(fchown(file, 61234, 61234), 0);
	memcpy(bytes, good.bytes, SIZE);
	for (size_t i = 0; i < PN_ARRAY_SIZE(claims); i++) {
		header->abouts[0].uid = claims[i];
		assert_true(read_bytes(bytes, SIZE, &content) < 0);
	}
	/* A uid of another user namespace is no claim: it is then who owns the file. */
	header->abouts[0].user_namespace = 1;
	for (size_t i = 0; i < PN_ARRAY_SIZE(claims); i++) {
		header->abouts[0].uid = claims[i];
		assert_int_equal(read_bytes(bytes, SIZE, &content), 0);
		assert_int_equal(content.uid, geteuid() ? geteuid() : 61234);
		free(content.domain.pins);
	}
	if (!geteuid())
		assert_int_equal(fchown(file, 0, 0), 0);
}

static void a_file_in_a_directory(const char *name, const unsigned char *bytes)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, SIZE), SIZE);
	close(fd);
}

/* One report of the directory, rendered; how many processes and notes it has. */
static void look(size_t processes, size_t at_least_notes)
{
	struct pn_pins_query query = {0, dir, false};
	struct pn_pins_report *report;
	char *text[2];

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_int_equal(report->process_count, processes);
	assert_true(report->note_count >= at_least_notes);
	text[0] = pn_pins_table(report);
	text[1] = pn_pins_json(report);
	for (int i = 0; i < 2; i++) {
		assert_non_null(text[i]);
		for (const char *at = text[i]; *at; at++)
			if (*at != '\n' && ((unsigned char)*at < 32 || *at == 127))
				fail_msg("byte %d in what is shown, at \"%.40s\"", *at, at + 1);
		free(text[i]);
	}
	pn_pins_report_free(report);
}

static void what_is_no_file(void **state)
{
	char path[4][80], real[80];

	(void)state;
	for (int i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d-0.ledger", dir, 100 + i);
	snprintf(real, sizeof(real), "%s/real", dir);
	a_file_in_a_directory("real", good.bytes);
	look(0, 0);
	assert_int_equal(symlink(real, path[0]), 0);
	assert_int_equal(mkfifo(path[1], 0600), 0);
	assert_int_equal(mkdir(path[2], 0700), 0);
	assert_int_equal(symlink("/nonexistent", path[3]), 0);
	look(0, 1);
	unlink(real);
	unlink(path[0]);
	unlink(path[1]);
	rmdir(path[2]);
	unlink(path[3]);
}

/* Whatever another user has put under the names that a ledger would get: it is left alone. */
static void names_that_are_taken(void **state)
{
	static const struct pn_charge_rule rule = {"type1", "process (mm)", 1, 0, 0};
	static const struct pn_ledger_owner owner = {"type1", "", &rule, false};
	struct pn_ledger *ledger;
	char path[5][80], victim[80];
	struct stat st;

	(void)state;
	for (int i = 0; i < 5; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d-%d.ledger", dir, (int)getpid(), i);
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	a_file_in_a_directory("victim", good.bytes);
	assert_int_equal(symlink(victim, path[0]), 0);
	assert_int_equal(symlink("made-by-nobody", path[1]), 0);
	assert_int_equal(mkfifo(path[2], 0666), 0);
	assert_int_equal(link(victim, path[3]), 0);
	assert_int_equal(pn_ledger_open(&ledger, dir, &owner), 0);
	assert_string_equal(pn_ledger_path(ledger), path[4]);
	pn_ledger_close(ledger);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(stat(path[1], &st), -1);
	assert_int_equal(lstat(path[2], &st), 0);
	assert_int_equal(lstat(path[4], &st), -1);
}

static void a_file_of_another_user(void **state)
{
	char path[80];

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	a_file_in_a_directory("1-0.ledger", good.bytes);
	look(1, 0);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	/* It says that it is ours. */
	look(0, 1);
	unlink(path);
}

/* A living process is believed to hold what its own user has written, and nobody else. */
static void a_file_that_names_another_users_process(void **state)
{
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	struct pn_proc_state init;
	char path[80];

	(void)state;
	if (geteuid() || pn_proc_read(1, &init)) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	memcpy(bytes, good.bytes, SIZE);
	header->abouts[0].uid = 61234;
	a_file_in_a_directory("1-0.ledger", bytes);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	look(0, 1);
	/* The same of a process that is gone is a ledger left behind. */
	header->start_time--;
	a_file_in_a_directory("1-1.ledger", bytes);
	snprintf(path, sizeof(path), "%s/1-1.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	look(1, 2);
}

/* A file that claims millions of mappings in holes costs nothing to make, and nothing to refuse. */
static void a_claim_made_of_holes(void **state)
{
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	struct ledger_content content;
	char why[128] = "";

	(void)state;
	memcpy(bytes, good.bytes, SIZE);
	header->slots = 1u << 22;
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pwrite(file, bytes, SIZE, 0), SIZE);
	assert_int_equal(ftruncate(file, SLOTS_AT + (off_t)header->slots * LEDGER_SLOT_SIZE), 0);
	assert_int_equal(pn_ledger_read(file, &content, why, sizeof(why)), -EBADMSG);
	assert_string_equal(why, "it has holes");
	assert_int_equal(ftruncate(file, 0), 0);
}

/* exec() keeps the pid and its start time, but the pins go: the lock says who still holds a ledger.
 */
static void a_ledger_that_nobody_holds(void **state)
{
	struct pn_pins_query query = {.directory = dir};
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct pn_pins_report *report;
	char path[80];
	int fd;

	(void)state;
	a_file_in_a_directory("1-0.ledger", good.bytes);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_true(report->process_count == 1 && report->processes[0].alive);
	pn_pins_report_free(report);
	close(fd);
	query.prune = true;
	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_true(report->process_count == 1 && !report->processes[0].alive);
	pn_pins_report_free(report);
	assert_int_equal(access(path, F_OK), -1);
}

static void texts_that_would_drive_a_terminal(void **state)
{
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	char path[80];

	(void)state;
	memcpy(bytes, good.bytes, SIZE);
	strcpy(header->path, "\033[2J\a");
	strcpy(header->node, "\033]0;x\a\x9b");
	strcpy(header->abouts[0].accounting, "\r\n\t\033c");
	strcpy(header->abouts[0].device_names, "\x7f\b\b\x80");
	strcpy(slot_of(bytes, 0)->name, "\033[31m\"\\");
	a_file_in_a_directory("1-0.ledger\033[2J.ledger", bytes);
	look(1, 0);
	memset(bytes, 0, 8);
	a_file_in_a_directory("bad\033[2J.ledger", bytes);
	look(1, 1);
	snprintf(path, sizeof(path), "%s/1-0.ledger\033[2J.ledger", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/bad\033[2J.ledger", dir);
	unlink(path);
}

/* Totals that only overflow when they are added up. */
static void sums_that_overflow(void **state)
{
	static unsigned char bytes[SIZE];
	struct ledger_header *header = (struct ledger_header *)(void *)bytes;
	char path[80];

	(void)state;
	memcpy(bytes, good.bytes, SIZE);
	for (int i = 0; i < PN_COUNTER_MAX; i++)
		header->totals[3].predicted[i] = header->before[i] = UINT64_MAX - 1;
	header->totals[3].unrecorded = UINT64_MAX;
	header->abouts[0].devices = UINT32_MAX;
	a_file_in_a_directory("1-0.ledger", bytes);
	a_file_in_a_directory("1-1.ledger", bytes);
	look(1, 0);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/1-1.ledger", dir);
	unlink(path);
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
		cmocka_unit_test_teardown(what_is_no_file, clean),
		cmocka_unit_test_teardown(names_that_are_taken, clean),
		cmocka_unit_test_teardown(a_file_of_another_user, clean),
		cmocka_unit_test_teardown(a_file_that_names_another_users_process, clean),
		cmocka_unit_test(a_claim_made_of_holes),
		cmocka_unit_test_teardown(a_ledger_that_nobody_holds, clean),
		cmocka_unit_test_teardown(texts_that_would_drive_a_terminal, clean),
		cmocka_unit_test_teardown(sums_that_overflow, clean),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
