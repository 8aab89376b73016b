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
#include <unistd.h>

#include "base_priv.h"
#include "ledger_format.h"
#include "ledger_read.h"

#define READ_TRIES 64

/* A process cannot have more mappings than this; a larger file is not a ledger. */
#define SLOTS_MAX (1u << 22)

static int read_at(int fd, void *data, size_t size, off_t at)
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

/* Read a record until two readings agree under an even sequence number, which is at seq_at in it.
 * -EAGAIN: never. */
static int read_steady(int fd, void *record, void *again, size_t size, size_t seq_at, off_t at)
{
	uint64_t seq;
	int try, ret;

	for (try = 0; try < READ_TRIES; try++) {
		ret = read_at(fd, record, size, at);
		if (!ret)
			ret = read_at(fd, again, size, at);
		if (ret)
			return ret;
		memcpy(&seq, (char *)record + seq_at, sizeof(seq));
		if (!(seq & 1) && !memcmp(record, again, size))
			return 0;
	}
	return -EAGAIN;
}

static bool text_ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Terminal escapes and such have no place in a report. */
static void copy_text(char *to, const char *from, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && from[i]; i++)
		to[i] = (char)(from[i] >= ' ' && from[i] < 127 ? from[i] : '?');
	to[i] = '\0';
}

static const char *header_trouble(const struct ledger_header *header, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	if (header->magic != LEDGER_MAGIC)
		return "it is not a ledger";
	if (header->version != LEDGER_VERSION)
		return "it has another version";
	if (header->header_size != LEDGER_HEADER_SIZE || header->slot_size != LEDGER_SLOT_SIZE ||
		header->slots > SLOTS_MAX)
		return "its sizes make no sense";
	if (size < LEDGER_HEADER_SIZE + (uint64_t)header->slots * LEDGER_SLOT_SIZE)
		return "it is truncated";
	/* A real one has its blocks from the start (posix_fallocate): holes are a claim that costs
	 * nothing. */
	if ((uint64_t)header->slots * LEDGER_SLOT_SIZE > (uint64_t)st->st_blocks * 512)
		return "it has holes";
	/* A set-user-ID root program has a file of root's and the real uid of who started it. */
	if (header->uid != st->st_uid && st->st_uid != 0)
		return "it claims to be another user's than the file's owner";
	if (header->pid <= 0 || header->limited > PN_COUNTER_MAX ||
		header->counters >= PN_COUNTER_BIT(PN_COUNTER_MAX))
		return "its numbers make no sense";
	if (!text_ends(header->path, sizeof(header->path)) ||
		!text_ends(header->node, sizeof(header->node)) ||
		!text_ends(header->accounting, sizeof(header->accounting)) ||
		!text_ends(header->device_names, sizeof(header->device_names)))
		return "a text in it has no end";
	return NULL;
}

static bool slot_makes_sense(const struct ledger_slot *slot)
{
	return slot->len && slot->vaddr <= UINT64_MAX - slot->len &&
	       slot->iova <= UINT64_MAX - slot->len + 1 && pn_is_pow2(slot->page_size) &&
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
	copy_text(pin->name, slot->name, sizeof(pin->name));
	return 0;
}

/* One slot of two readings: as it is, or read again until it is steady. */
static int read_slot(int fd, struct ledger_slot *slot, struct ledger_slot *again, off_t at,
	struct ledger_content *content)
{
	int ret = 0;

	if (slot->seq & 1 || memcmp(slot, again, sizeof(*slot)))
		ret = read_steady(fd, slot, again, sizeof(*slot), 0, at);
	if (ret == -EAGAIN) {
		content->unsteady++;
		return 0;
	}
	if (ret || !slot->used)
		return ret;
	return slot_makes_sense(slot) ? take_slot(&content->domain, slot) : -EBADMSG;
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
		at = LEDGER_HEADER_SIZE + (off_t)done * LEDGER_SLOT_SIZE;
		ret = read_at(fd, slots, n * sizeof(*slots), at);
		if (!ret)
			ret = read_at(fd, again, n * sizeof(*slots), at);
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

static void take_header(struct ledger_content *content, const struct ledger_header *header)
{
	struct pn_pins_domain *domain = &content->domain;

	content->pid = header->pid;
	content->uid = header->uid;
	content->start_time = header->start_time;
	content->pid_namespace = header->pid_namespace;
	content->unrecorded = header->unrecorded;
	memcpy(content->before, header->before, sizeof(content->before));
	memcpy(content->predicted, header->predicted, sizeof(content->predicted));
	copy_text(domain->path, header->path, sizeof(domain->path));
	copy_text(domain->node, header->node, sizeof(domain->node));
	copy_text(domain->accounting, header->accounting, sizeof(domain->accounting));
	copy_text(domain->device_names, header->device_names, sizeof(domain->device_names));
	domain->counters = header->counters;
	domain->limited = (enum pn_counter)header->limited;
	domain->exempt = header->exempt != 0;
	domain->devices = header->devices;
}

static int refuse(int err, char *why, size_t why_size, const char *text)
{
	snprintf(why, why_size, "%s", text);
	return -err;
}

/*
 * The writer was killed in the middle of changing the header: the count stays odd for good. What
 * does not change is right all the same; the sums are made anew from the slots.
 */
static bool header_was_left(const struct ledger_header *header, const struct ledger_header *again)
{
	return header->seq & 1 && header->seq == again->seq && header->magic == LEDGER_MAGIC;
}

static void sum_slots(struct ledger_content *content)
{
	unsigned int counter;
	size_t i;

	memset(content->predicted, 0, sizeof(content->predicted));
	for (i = 0; i < content->domain.pin_count; i++) {
		for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
			if (content->domain.pins[i].counters & PN_COUNTER_BIT(counter))
				content->predicted[counter] += content->domain.pins[i].pages;
		}
	}
}

int pn_ledger_read(int fd, struct ledger_content *content, char *why, size_t why_size)
{
	struct ledger_header header, again;
	const char *trouble;
	bool left = false;
	struct stat st;
	int ret;

	memset(content, 0, sizeof(*content));
	if (fstat(fd, &st))
		return refuse(errno, why, why_size, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(EBADMSG, why, why_size, "it is not a regular file");
	ret = read_steady(
		fd, &header, &again, sizeof(header), offsetof(struct ledger_header, seq), 0);
	if (ret == -EAGAIN && header_was_left(&header, &again)) {
		left = true;
		ret = 0;
	}
	if (ret == -ENODATA)
		return refuse(EBADMSG, why, why_size, "it is truncated");
	if (ret)
		return refuse(-ret, why, why_size,
			ret == -EAGAIN ? "it changes too fast to be read" : strerror(-ret));
	if (!header.magic)
		return refuse(EAGAIN, why, why_size, "it is not complete");
	/* The file may have grown since; it never shrinks while its owner keeps to the rules. */
	if (fstat(fd, &st))
		return refuse(errno, why, why_size, strerror(errno));
	trouble = header_trouble(&header, &st);
	if (trouble)
		return refuse(EBADMSG, why, why_size, trouble);
	take_header(content, &header);
	content->file_uid = st.st_uid;
	ret = read_slots(fd, header.slots, content);
	if (ret)
		return refuse(-ret, why, why_size,
			ret == -EBADMSG   ? "a mapping in it makes no sense"
			: ret == -ENODATA ? "it is truncated"
					  : strerror(-ret));
	if (left)
		sum_slots(content);
	content->left_in_change = left;
	return 0;
}
