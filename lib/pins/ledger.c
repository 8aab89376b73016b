/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger, as its owner writes it: every mapping of a domain in a file that other processes read
 * without locks while it changes, and that is there after a crash. The owner's calls come with the
 * domain's lock held.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "ledger.h"
#include "ledger_dirs.h"

static struct ledger_slot *slot_at(struct pn_ledger *ledger, uint32_t slot)
{
	return &ledger->segments[slot / LEDGER_SEGMENT][slot % LEDGER_SEGMENT];
}

/*
 * Part of the file, present at once: cheaper than a fault for each page, and none when something is
 * mapped. NULL: none, see errno.
 */
static void *map_part(const struct pn_ledger *ledger, off_t at, size_t size)
{
	void *part =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ledger->fd, at);

	if (part == MAP_FAILED)
		return NULL;
	/* After mlockall(MCL_FUTURE) it would be charged to the limit that it tells of. */
	(void)munlock(part, size);
	return part;
}

/* Add a segment of free slots. 0 or a negative errno with nothing changed. */
static int grow(struct pn_ledger *ledger)
{
	uint32_t slots = (ledger->segment_count + 1) * LEDGER_SEGMENT, i;
	off_t at = (off_t)ledger_slots_at(ledger->event_count) +
		   (off_t)ledger->segment_count * (off_t)LEDGER_SEGMENT_BYTES;
	struct ledger_slot **segments;
	uint32_t *free_slots;
	void *segment;
	int ret;

	segments = realloc(ledger->segments, (ledger->segment_count + 1) * sizeof(*segments));
	if (!segments)
		return -ENOMEM;
	ledger->segments = segments;
	free_slots = realloc(ledger->free_slots, slots * sizeof(*free_slots));
	if (!free_slots)
		return -ENOMEM;
	ledger->free_slots = free_slots;
	ret = pn_file_size_allowed((uint64_t)at + LEDGER_SEGMENT_BYTES);
	if (ret)
		return ret;
	/* Allocated now: a full tmpfs must be an error here, not SIGBUS at a later store. */
	ret = posix_fallocate(ledger->fd, at, (off_t)LEDGER_SEGMENT_BYTES);
	if (ret)
		return -ret;
	segment = map_part(ledger, at, LEDGER_SEGMENT_BYTES);
	if (!segment)
		return -errno;
	ledger->segments[ledger->segment_count++] = segment;
	for (i = slots; i-- > slots - LEDGER_SEGMENT;)
		ledger->free_slots[ledger->free_count++] = i;
	__atomic_store_n(&ledger->header->slots, slots, __ATOMIC_RELEASE);
	return 0;
}

/*
 * Whoever holds this lock is the owner: it goes when the owner ends, and at exec(), where pid and
 * start time stay but the pins go.
 */
static int lock(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &whole) ? -errno : 0;
}

static int create_file(struct pn_ledger *ledger, const char *dir)
{
	unsigned int n;

	for (n = 0; n < 10000; n++) {
		if ((size_t)snprintf(ledger->path, sizeof(ledger->path), "%s/%d-%u%s", dir,
			    (int)getpid(), n, LEDGER_SUFFIX) >= sizeof(ledger->path))
			return -ENAMETOOLONG;
		ledger->fd = open(
			ledger->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (ledger->fd >= 0)
			break;
		if (errno != EEXIST)
			return -errno;
	}
	if (ledger->fd < 0)
		return -EEXIST;
	/* Not what umask left of it; and sticky: those who clear /tmp and /run/user of what looks
	 * old, as a file does that is written through a mapping, pass it over (systemd-tmpfiles,
	 * and the XDG specification of runtime directories). */
	(void)fchmod(ledger->fd, 0600 | S_ISVTX);
	return 0;
}

/* Bytes before the first slot: the header and the ring of events. */
static size_t head_size(const struct pn_ledger *ledger)
{
	return (size_t)ledger_slots_at(ledger->event_count);
}

/* Room for the header, the events and the first segment. On failure the file is as it was opened.
 */
static int lay_out(struct pn_ledger *ledger)
{
	size_t head = head_size(ledger);
	int ret;

	ret = pn_file_size_allowed(head + LEDGER_SEGMENT_BYTES);
	if (!ret)
		ret = -posix_fallocate(ledger->fd, 0, (off_t)head);
	if (ret)
		return ret;
	ledger->header = map_part(ledger, 0, head);
	if (!ledger->header)
		return -errno;
	ret = grow(ledger);
	if (ret) {
		munmap(ledger->header, head);
		return ret;
	}
	if (ledger->event_count)
		ledger->events =
			(struct ledger_event *)((char *)ledger->header + LEDGER_HEADER_SIZE);
	return 0;
}

static int try_directory(struct pn_ledger *ledger, const char *dir)
{
	int ret;

	ret = pn_ledger_dir_prepare(dir);
	if (!ret)
		ret = create_file(ledger, dir);
	if (ret)
		return ret;
	ret = lock(ledger->fd);
	if (!ret)
		ret = lay_out(ledger);
	if (ret) {
		unlink(ledger->path);
		close(ledger->fd);
	}
	return ret;
}

static int try_memory(struct pn_ledger *ledger)
{
	int ret;

	ledger->path[0] = '\0';
	ledger->fd = memfd_create("pinion-ledger", MFD_CLOEXEC);
	if (ledger->fd < 0)
		return -errno;
	ret = lay_out(ledger);
	if (ret)
		close(ledger->fd);
	return ret;
}

/* In one of the usual directories, or the one given; or in memory. */
static int create_somewhere(struct pn_ledger *ledger, const char *dir)
{
	char candidate[PN_LEDGER_DIR_MAX];
	int ret = -ENOENT;
	unsigned int i;

	if (dir)
		ret = try_directory(ledger, dir);
	for (i = 0; !dir && ret && !pn_ledger_dir_get(i, candidate); i++)
		ret = try_directory(ledger, candidate);
	if (!ret)
		return 0;
	pn_log(PN_LOG_WARNING,
		"the ledger is in memory only, other processes cannot read it: no directory for it "
		"can be "
		"used (last: %s); set PINION_RUNTIME_DIR to one that this user owns and that has "
		"room",
		strerror(-ret));
	return try_memory(ledger);
}

/* What the counters held before, without what other domains of this process have pinned. */
static void fill_before(struct ledger_header *header, const struct pn_proc_state *state)
{
	uint64_t own[PN_COUNTER_MAX];

	pn_pins_own_predicted(own);
	header->before[PN_COUNTER_MM_LOCKED] =
		state->locked - (own[PN_COUNTER_MM_LOCKED] < state->locked
						? own[PN_COUNTER_MM_LOCKED]
						: state->locked);
	header->before[PN_COUNTER_MM_PINNED] =
		state->pinned - (own[PN_COUNTER_MM_PINNED] < state->pinned
						? own[PN_COUNTER_MM_PINNED]
						: state->pinned);
}

static void fill_header(struct ledger_header *header, const struct pn_ledger_owner *owner)
{
	struct pn_proc_state state;

	header->version = LEDGER_VERSION;
	header->header_size = LEDGER_HEADER_SIZE;
	header->slot_size = LEDGER_SLOT_SIZE;
	header->event_size = LEDGER_EVENT_SIZE;
	header->pid = getpid();
	header->pid_namespace = pn_pid_namespace();
	memset(header->before, 0xff, sizeof(header->before));
	if (!pn_proc_read(getpid(), &state)) {
		header->start_time = state.start_time;
		if (state.counters_known)
			fill_before(header, &state);
	}
	snprintf(header->path, sizeof(header->path), "%s", owner->path);
	snprintf(header->node, sizeof(header->node), "%s", owner->node);
}

int pn_ledger_open(struct pn_ledger **out, const char *dir, const struct pn_ledger_owner *owner)
{
	struct pn_ledger *ledger = pn_private_alloc(sizeof(*ledger));
	int ret;

	if (!ledger)
		return pn_fail(ENOMEM, "no memory for a ledger");
	ledger->mine = true;
	ledger->event_count = ledger_events_wanted();
	ret = create_somewhere(ledger, dir);
	if (ret) {
		free(ledger->segments);
		free(ledger->free_slots);
		pn_private_free(ledger, sizeof(*ledger));
		return pn_fail(-ret, "starting the ledger: %s", strerror(-ret));
	}
	fill_header(ledger->header, owner);
	pn_ledger_charge(ledger, owner->charge, owner->exempt);
	ledger_events_begin(ledger);
	/* Last: a reader takes no file without it. */
	__atomic_store_n(&ledger->header->magic, LEDGER_MAGIC, __ATOMIC_RELEASE);
	*out = ledger;
	return 0;
}

/* Whoever removed the file may have made room for another domain's of the same name. */
static bool has_its_name(const struct pn_ledger *ledger)
{
	struct stat own, named;

	return !fstat(ledger->fd, &own) && !lstat(ledger->path, &named) &&
	       own.st_ino == named.st_ino && own.st_dev == named.st_dev;
}

void pn_ledger_close(struct pn_ledger *ledger)
{
	uint32_t i;

	if (!ledger || !ledger_is_mine(ledger))
		return;
	/* Should the name stay, for lack of rights by now, readers pass over what is under it. */
	__atomic_store_n(&ledger->header->magic, 0, __ATOMIC_RELEASE);
	if (ledger->path[0] && has_its_name(ledger) && unlink(ledger->path) && errno != ENOENT)
		pn_log(PN_LOG_WARNING, "%s cannot be removed: %s", ledger->path, strerror(errno));
	for (i = 0; i < ledger->segment_count; i++)
		munmap(ledger->segments[i], LEDGER_SEGMENT_BYTES);
	munmap(ledger->header, head_size(ledger));
	close(ledger->fd);
	free(ledger->segments);
	free(ledger->free_slots);
	pn_private_free(ledger, sizeof(*ledger));
}

const char *pn_ledger_path(const struct pn_ledger *ledger)
{
	return ledger->path;
}

void pn_ledger_remove_old(const char *path)
{
	char start[32];
	const char *name = path ? strrchr(path, '/') : NULL;
	size_t len = name ? strlen(name) : 0, suffix = strlen(LEDGER_SUFFIX);
	struct stat st;
	int fd;

	snprintf(start, sizeof(start), "/%d-", (int)getpid());
	if (len <= suffix || strncmp(name, start, strlen(start)) ||
		strcmp(name + len - suffix, LEDGER_SUFFIX) != 0)
		return;
	fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !lock(fd))
		unlink(path);
	close(fd);
}

int pn_ledger_fd(const struct pn_ledger *ledger)
{
	return ledger->fd;
}

/* Add a pin's charge to the totals, or take it off. */
static void total(struct ledger_totals *totals, const struct pn_pin *pin, bool add)
{
	unsigned int counter;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(pin->counters & PN_COUNTER_BIT(counter)))
			continue;
		if (add)
			totals->predicted[counter] += pin->pages;
		else
			totals->predicted[counter] -= pin->pages;
	}
}

/* A copy of the totals to change, beside the last; and make it the last. */
static struct ledger_totals *begin_totals(struct ledger_header *header)
{
	uint64_t number = header->total_number;
	struct ledger_totals *next = &header->totals[(number + 1) % LEDGER_TOTALS];

	/* The number that left this copy unused is seen before its change. */
	ledger_store_barrier();
	*next = header->totals[number % LEDGER_TOTALS];
	return next;
}

static void end_totals(struct ledger_header *header)
{
	__atomic_store_n(&header->total_number, header->total_number + 1, __ATOMIC_RELEASE);
}

static struct ledger_about *begin_about(struct ledger_header *header)
{
	uint64_t number = header->about_number;
	struct ledger_about *next = &header->abouts[(number + 1) % LEDGER_ABOUTS];

	ledger_store_barrier();
	*next = header->abouts[number % LEDGER_ABOUTS];
	return next;
}

static void end_about(struct ledger_header *header)
{
	__atomic_store_n(&header->about_number, header->about_number + 1, __ATOMIC_RELEASE);
}

static void write_slot(struct ledger_slot *slot, const struct pn_pin *pin)
{
	ledger_seq_begin(&slot->seq, slot->seq + 1);
	slot->vaddr = pin->vaddr;
	slot->iova = pin->iova;
	slot->len = pin->len;
	slot->page_size = pin->page_size;
	slot->pages = pin->pages;
	slot->counters = pin->counters;
	slot->queued = pin->queued;
	slot->prot = pin->prot;
	memcpy(slot->name, pin->name, sizeof(slot->name));
	slot->used = 1;
	ledger_seq_end(&slot->seq, slot->seq + 1);
}

void pn_ledger_add(struct pn_ledger *ledger, const struct pn_pin *pin, uint32_t *slot)
{
	struct ledger_totals *totals;

	*slot = PN_LEDGER_NO_SLOT;
	if (!ledger_is_mine(ledger))
		return;
	if (ledger->free_count || !grow(ledger)) {
		*slot = ledger->free_slots[--ledger->free_count];
		write_slot(slot_at(ledger, *slot), pin);
	}
	totals = begin_totals(ledger->header);
	if (*slot == PN_LEDGER_NO_SLOT)
		totals->unrecorded++;
	total(totals, pin, true);
	end_totals(ledger->header);
	ledger_events_pin(ledger, PN_EVENT_MAP, pin);
}

void pn_ledger_change(
	struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *old, const struct pn_pin *pin)
{
	struct ledger_totals *totals;

	if (!ledger_is_mine(ledger))
		return;
	if (slot != PN_LEDGER_NO_SLOT)
		write_slot(slot_at(ledger, slot), pin);
	totals = begin_totals(ledger->header);
	total(totals, old, false);
	total(totals, pin, true);
	end_totals(ledger->header);
}

void pn_ledger_remove(struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *pin)
{
	struct ledger_totals *totals;
	struct ledger_slot *entry;

	if (!ledger_is_mine(ledger))
		return;
	if (slot != PN_LEDGER_NO_SLOT) {
		entry = slot_at(ledger, slot);
		ledger_seq_begin(&entry->seq, entry->seq + 1);
		entry->used = 0;
		ledger_seq_end(&entry->seq, entry->seq + 1);
		ledger->free_slots[ledger->free_count++] = slot;
	}
	totals = begin_totals(ledger->header);
	if (slot == PN_LEDGER_NO_SLOT)
		totals->unrecorded--;
	total(totals, pin, false);
	end_totals(ledger->header);
	ledger_events_pin(ledger, PN_EVENT_UNMAP, pin);
}

void pn_ledger_devices(struct pn_ledger *ledger, unsigned int count, const char *names)
{
	struct ledger_about *about;
	size_t size = sizeof(about->device_names);

	if (!ledger_is_mine(ledger))
		return;
	about = begin_about(ledger->header);
	about->devices = count;
	if ((size_t)snprintf(about->device_names, size, "%s", names) >= size)
		memcpy(about->device_names + size - 4, "...", 4);
	end_about(ledger->header);
}

void pn_ledger_charge(struct pn_ledger *ledger, const struct pn_charge_rule *charge, bool exempt)
{
	struct ledger_about *about;
	uid_t uid = getuid(); /* later maps are charged to who the process is then */

	if (!ledger_is_mine(ledger))
		return;
	about = begin_about(ledger->header);
	if (about->uid != uid || !about->user_namespace)
		about->user_namespace = pn_user_namespace();
	about->uid = uid;
	about->counters = exempt ? charge->exempt_counters : charge->counters;
	about->limited = charge->limited;
	about->exempt = exempt;
	snprintf(about->accounting, sizeof(about->accounting), "%s", charge->accounting);
	end_about(ledger->header);
}
