/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a ledger: twice with pread(), taking what is the same both times under an even sequence
 * number. Nothing is mapped, so a file that shrinks meanwhile cannot raise SIGBUS, and nothing in
 * it is believed unchecked.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base_priv.h"
#include "ledger_format.h"
#include "ledger_read.h"
#include "pins_priv.h"

#define READ_TRIES 64
/* Its owner may have to wait for a processor in the middle of a change. */
#define REST_AFTER 16
/* Readings again in all: a file in which nothing is whole must not keep its reader for long. */
#define PATIENCE 4096u

/* A process cannot have more mappings than this; a larger file is not a ledger. */
#define SLOTS_MAX (1u << 22)

int pn_ledger_read_at(int fd, void *data, size_t size, off_t at)
{
	char *to = data;
	ssize_t got;

	while (size) {
		got = pread(fd, to, size, at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA;
		to += got;
		at += got;
		size -= (size_t)got;
	}
	return 0;
}

int pn_ledger_read_steady(
	const struct ledger_place *place, void *record, void *again, unsigned int *patience)
{
	static const struct timespec rest = {0, 50000};
	uint64_t seq;
	int try, ret;

	for (try = 0; try < READ_TRIES && *patience; try++, --*patience) {
		if (try && try % REST_AFTER == 0)
			nanosleep(&rest, NULL);
		ret = pn_ledger_read_at(place->fd, record, place->size, place->at);
		if (!ret)
			ret = pn_ledger_read_at(place->fd, again, place->size, place->at);
		if (ret)
			return ret;
		memcpy(&seq, record, sizeof(seq));
		if (!(seq & 1) && !memcmp(record, again, place->size))
			return 0;
	}
	return -EAGAIN;
}

static bool text_ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Terminal escapes and such have no place in a report. */
void pn_ledger_clean_text(char *to, const char *from, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && from[i]; i++)
		to[i] = (char)(from[i] >= ' ' && from[i] < 127 ? from[i] : '?');
	to[i] = '\0';
}

/*
 * Its uid is a number of another user namespace than this one: whose it is here, only the file's
 * owner says, as the kernel translates that.
 */
static bool uid_is_elsewhere(const struct ledger_about *about, const struct stat *st)
{
	uint32_t own;

	if (about->uid == st->st_uid || !about->user_namespace)
		return false;
	own = pn_user_namespace();
	return own && own != about->user_namespace;
}

static const char *header_trouble(const struct ledger_header *header, const struct stat *st)
{
	const struct ledger_about *about = &header->abouts[0];
	uint64_t size;

	if (header->header_size != LEDGER_HEADER_SIZE || header->slot_size != LEDGER_SLOT_SIZE ||
		header->event_size != LEDGER_EVENT_SIZE || header->slots > SLOTS_MAX ||
		!ledger_events_valid(header->events))
		return "its sizes make no sense";
	size = ledger_slots_at(header->events) + (uint64_t)header->slots * LEDGER_SLOT_SIZE;
	if (size > (uint64_t)st->st_size)
		return "it is truncated";
	/* A real one has its blocks from the start (posix_fallocate): holes are a claim that costs
	 * nothing. */
	if (size - LEDGER_HEADER_SIZE > (uint64_t)st->st_blocks * 512)
		return "it has holes";
	/* A set-user-ID root program has a file of root's and the real uid of who started it. */
	if (about->uid != st->st_uid && st->st_uid != 0 && !uid_is_elsewhere(about, st))
		return "it claims to be another user's than the file's owner";
	if (header->pid <= 0 || about->limited > PN_COUNTER_MAX ||
		about->counters >= PN_COUNTER_BIT(PN_COUNTER_MAX))
		return "its numbers make no sense";
	if (!text_ends(header->path, sizeof(header->path)) ||
		!text_ends(header->node, sizeof(header->node)) ||
		!text_ends(about->accounting, sizeof(about->accounting)) ||
		!text_ends(about->device_names, sizeof(about->device_names)))
		return "a text in it has no end";
	return NULL;
}

/* Only what the companion module pins has no IOVA. */
static bool slot_makes_sense(const struct ledger_slot *slot, const char *path)
{
	const bool none = slot->iova == PN_PIN_NO_IOVA && strcmp(path, PN_MODULE_PATH) == 0;

	return slot->len && slot->vaddr <= UINT64_MAX - slot->len &&
	       (slot->iova <= UINT64_MAX - slot->len + 1 || none) && pn_is_pow2(slot->page_size) &&
	       slot->pages <= slot->len / 4096 + 1 &&
	       slot->counters < PN_COUNTER_BIT(PN_COUNTER_MAX) && slot->prot <= 3 &&
	       text_ends(slot->name, sizeof(slot->name));
}

static int take_slot(struct pn_pins_domain *domain, const struct ledger_slot *slot)
{
	struct pn_pin *pins = domain->pins, *pin;

	/* By doubling: room is made for what is used, not for what the file claims. */
	if ((domain->pin_count & (domain->pin_count - 1)) == 0) {
		pins = realloc(
			pins, (domain->pin_count ? 2 * domain->pin_count : 1) * sizeof(*pins));
		if (!pins)
			return -ENOMEM;
		domain->pins = pins;
	}
	pin = &pins[domain->pin_count++];
	memset(pin, 0, sizeof(*pin));
	pin->vaddr = slot->vaddr;
	pin->iova = slot->iova;
	pin->len = slot->len;
	pin->page_size = slot->page_size;
	pin->pages = slot->pages;
	pin->counters = slot->counters;
	pin->queued = slot->queued;
	pin->prot = slot->prot;
	pn_ledger_clean_text(pin->name, slot->name, sizeof(pin->name));
	return 0;
}

/* One slot of two readings: as it is, or read again until it is steady. */
static int read_slot(int fd, struct ledger_slot *slot, struct ledger_slot *again, off_t at,
	struct ledger_content *content)
{
	const struct ledger_place place = {fd, at, sizeof(*slot)};
	int ret = 0;

	if (slot->seq & 1 || memcmp(slot, again, sizeof(*slot)))
		ret = pn_ledger_read_steady(&place, slot, again, &content->patience);
	if (ret == -EAGAIN) {
		content->unsteady++;
		return 0;
	}
	if (ret || !slot->used)
		return ret;
	return slot_makes_sense(slot, content->domain.path) ? take_slot(&content->domain, slot)
							    : -EBADMSG;
}

/* A segment at a time, so that a large claim costs no memory. */
static int read_slots(int fd, uint32_t count, struct ledger_content *content)
{
	const size_t bytes = LEDGER_SEGMENT * sizeof(struct ledger_slot);
	struct ledger_slot *slots = malloc(bytes), *again = malloc(bytes);
	int ret = slots && again ? 0 : -ENOMEM;
	uint32_t done, i, n;
	off_t at;

	for (done = 0; done < count && !ret; done += n) {
		n = count - done < LEDGER_SEGMENT ? count - done : LEDGER_SEGMENT;
		at = (off_t)ledger_slots_at(content->events) + (off_t)done * LEDGER_SLOT_SIZE;
		ret = pn_ledger_read_at(fd, slots, n * sizeof(*slots), at);
		if (!ret)
			ret = pn_ledger_read_at(fd, again, n * sizeof(*slots), at);
		for (i = 0; i < n && !ret; i++)
			ret = read_slot(fd, &slots[i], &again[i], at + (off_t)i * LEDGER_SLOT_SIZE,
				content);
	}
	free(slots);
	free(again);
	if (ret) {
		free(content->domain.pins);
		content->domain.pins = NULL;
		content->domain.pin_count = 0;
	}
	return ret;
}

static void take_header(
	struct ledger_content *content, const struct ledger_header *header, const struct stat *st)
{
	const struct ledger_about *about = &header->abouts[0];
	struct pn_pins_domain *domain = &content->domain;

	content->pid = header->pid;
	content->uid = uid_is_elsewhere(about, st) ? st->st_uid : about->uid;
	content->file_uid = st->st_uid;
	content->start_time = header->start_time;
	content->pid_namespace = header->pid_namespace;
	content->unrecorded = header->totals[0].unrecorded;
	memcpy(content->before, header->before, sizeof(content->before));
	memcpy(content->predicted, header->totals[0].predicted, sizeof(content->predicted));
	pn_ledger_clean_text(domain->path, header->path, sizeof(domain->path));
	pn_ledger_clean_text(domain->node, header->node, sizeof(domain->node));
	pn_ledger_clean_text(domain->accounting, about->accounting, sizeof(domain->accounting));
	pn_ledger_clean_text(
		domain->device_names, about->device_names, sizeof(domain->device_names));
	domain->counters = about->counters;
	domain->limited = (enum pn_counter)about->limited;
	domain->exempt = about->exempt != 0;
	domain->devices = about->devices;
	content->events = header->events;
	content->began_boot = header->began_boot;
	content->began_wall = header->began_wall;
}

static int refuse(int err, char *why, size_t why_size, const char *text)
{
	snprintf(why, why_size, "%s", text);
	return -err;
}

/* What it is, before anything else in it is looked at: that has another place in another format. */
static int check_kind(const struct ledger_header *header, char *why, size_t why_size)
{
	if (!header->magic)
		return refuse(EAGAIN, why, why_size, "it is not complete");
	if (header->magic != LEDGER_MAGIC)
		return refuse(EBADMSG, why, why_size, "it is not a ledger");
	if (header->version == LEDGER_VERSION)
		return 0;
	snprintf(why, why_size,
		"it is of ledger format %" PRIu32 " and this program reads format %u: use the one "
		"that came with what wrote it",
		header->version, LEDGER_VERSION);
	return -EBADMSG;
}

/* Were those copies that were the last ones before still untouched after? */
static bool is_whole(const struct ledger_header *before, const struct ledger_header *after)
{
	return after->total_number - before->total_number <= LEDGER_TOTALS - 2 &&
	       after->about_number - before->about_number <= LEDGER_ABOUTS - 2;
}

/*
 * The header as it was at one moment, with its last copies in place 0. The numbers are read first,
 * then the copies, then the numbers once more.
 */
static int read_header(int fd, struct ledger_header *header, char *why, size_t why_size)
{
	const size_t front = offsetof(struct ledger_header, abouts);
	struct ledger_header before, after;
	int try, ret;

	for (try = 0; try < READ_TRIES; try++) {
		ret = pn_ledger_read_at(fd, &before, front, 0);
		if (!ret)
			ret = pn_ledger_read_at(fd, header, sizeof(*header), 0);
		if (!ret)
			ret = pn_ledger_read_at(fd, &after, front, 0);
		if (ret)
			return refuse(-ret, why, why_size,
				ret == -ENODATA ? "it is truncated" : strerror(-ret));
		ret = check_kind(&after, why, why_size);
		if (ret)
			return ret;
		if (!is_whole(&before, &after))
			continue;
		header->totals[0] = header->totals[before.total_number % LEDGER_TOTALS];
		header->abouts[0] = header->abouts[before.about_number % LEDGER_ABOUTS];
		return 0;
	}
	return refuse(EBUSY, why, why_size, "it changes too fast to be read");
}

int pn_ledger_read(int fd, struct ledger_content *content, char *why, size_t why_size)
{
	struct ledger_header header;
	const char *trouble;
	struct stat st;
	int ret;

	memset(content, 0, sizeof(*content));
	content->patience = PATIENCE;
	if (fstat(fd, &st))
		return refuse(errno, why, why_size, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(EBADMSG, why, why_size, "it is not a regular file");
	ret = read_header(fd, &header, why, why_size);
	if (ret)
		return ret == -ENODATA ? -EBADMSG : ret;
	/* The file may have grown since; it never shrinks while its owner keeps to the rules. */
	if (fstat(fd, &st))
		return refuse(errno, why, why_size, strerror(errno));
	trouble = header_trouble(&header, &st);
	if (trouble)
		return refuse(EBADMSG, why, why_size, trouble);
	take_header(content, &header, &st);
	ret = read_slots(fd, header.slots, content);
	if (ret)
		return refuse(-ret, why, why_size,
			ret == -EBADMSG   ? "a mapping in it makes no sense"
			: ret == -ENODATA ? "it is truncated"
					  : strerror(-ret));
	return 0;
}
