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
#include "ledger_dirs.h"
#include "ledger_format.h"
#include "pins_priv.h"

/* In pages that a forked child finds zeroed. */
struct pn_ledger {
	bool mine;
	int fd;
	char path[256]; /* "" when it is in memory only */
	struct ledger_header *header;
	struct ledger_slot **segments;
	uint32_t segment_count;
	uint32_t *free_slots; /* stack, with room for every slot */
	uint32_t free_count;
};

/* Writing under a sequence count; see ledger_format.h. */
static void write_begin(uint64_t *seq)
{
	/* Acquire: no store behind it comes before it. */
	__atomic_fetch_add(seq, 1, __ATOMIC_ACQ_REL);
}

static void write_end(uint64_t *seq)
{
	__atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

static struct ledger_slot *slot_at(struct pn_ledger *ledger, uint32_t slot)
{
	return &ledger->segments[slot / LEDGER_SEGMENT][slot % LEDGER_SEGMENT];
}

/* Add a segment of free slots. 0 or a negative errno with nothing changed. */
static int grow(struct pn_ledger *ledger)
{
	uint32_t slots = (ledger->segment_count + 1) * LEDGER_SEGMENT, i;
	off_t at = LEDGER_HEADER_SIZE + (off_t)ledger->segment_count * (off_t)LEDGER_SEGMENT_BYTES;
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
	segment = mmap(
		NULL, LEDGER_SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ledger->fd, at);
	if (segment == MAP_FAILED)
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
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/* Room for the header and the first segment. On failure the file is as it was opened. */
static int lay_out(struct pn_ledger *ledger)
{
	int ret;

	ret = pn_file_size_allowed(LEDGER_HEADER_SIZE + LEDGER_SEGMENT_BYTES);
	if (!ret)
		ret = -posix_fallocate(ledger->fd, 0, LEDGER_HEADER_SIZE);
	if (ret)
		return ret;
	ledger->header =
		mmap(NULL, LEDGER_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ledger->fd, 0);
	if (ledger->header == MAP_FAILED)
		return -errno;
	ret = grow(ledger);
	if (ret)
		munmap(ledger->header, LEDGER_HEADER_SIZE);
	return ret;
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
	ret = create_somewhere(ledger, dir);
	if (ret) {
		free(ledger->segments);
		free(ledger->free_slots);
		pn_private_free(ledger, sizeof(*ledger));
		return pn_fail(-ret, "starting the ledger: %s", strerror(-ret));
	}
	fill_header(ledger->header, owner);
	pn_ledger_charge(ledger, owner->charge, owner->exempt);
	/* Last: a reader takes no file without it. */
	__atomic_store_n(&ledger->header->magic, LEDGER_MAGIC, __ATOMIC_RELEASE);
	*out = ledger;
	return 0;
}

/* A child that fork() made has the ledger mapped, but it is its parent's. */
static bool is_mine(const struct pn_ledger *ledger)
{
	return ledger->mine;
}

void pn_ledger_close(struct pn_ledger *ledger)
{
	uint32_t i;

	if (!ledger || !is_mine(ledger))
		return;
	/* Should the name stay, for lack of rights by now, readers pass over what is under it. */
	__atomic_store_n(&ledger->header->magic, 0, __ATOMIC_RELEASE);
	if (ledger->path[0] && unlink(ledger->path) && errno != ENOENT)
		pn_log(PN_LOG_WARNING, "%s cannot be removed: %s", ledger->path, strerror(errno));
	for (i = 0; i < ledger->segment_count; i++)
		munmap(ledger->segments[i], LEDGER_SEGMENT_BYTES);
	munmap(ledger->header, LEDGER_HEADER_SIZE);
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

/* Add a pin's charge to the totals, or take it off. The header's sequence count is held. */
static void total(struct ledger_header *header, const struct pn_pin *pin, bool add)
{
	unsigned int counter;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(pin->counters & PN_COUNTER_BIT(counter)))
			continue;
		if (add)
			header->predicted[counter] += pin->pages;
		else
			header->predicted[counter] -= pin->pages;
	}
}

static void write_slot(struct ledger_slot *slot, const struct pn_pin *pin)
{
	write_begin(&slot->seq);
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
	write_end(&slot->seq);
}

void pn_ledger_add(struct pn_ledger *ledger, const struct pn_pin *pin, uint32_t *slot)
{
	struct ledger_header *header = ledger->header;

	*slot = PN_LEDGER_NO_SLOT;
	if (!is_mine(ledger))
		return;
	if (ledger->free_count || !grow(ledger)) {
		*slot = ledger->free_slots[--ledger->free_count];
		write_slot(slot_at(ledger, *slot), pin);
	}
	write_begin(&header->seq);
	if (*slot == PN_LEDGER_NO_SLOT)
		header->unrecorded++;
	total(header, pin, true);
	write_end(&header->seq);
}

void pn_ledger_change(
	struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *old, const struct pn_pin *pin)
{
	struct ledger_header *header = ledger->header;

	if (!is_mine(ledger))
		return;
	if (slot != PN_LEDGER_NO_SLOT)
		write_slot(slot_at(ledger, slot), pin);
	write_begin(&header->seq);
	total(header, old, false);
	total(header, pin, true);
	write_end(&header->seq);
}

void pn_ledger_remove(struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *pin)
{
	struct ledger_header *header = ledger->header;
	struct ledger_slot *entry;

	if (!is_mine(ledger))
		return;
	if (slot != PN_LEDGER_NO_SLOT) {
		entry = slot_at(ledger, slot);
		write_begin(&entry->seq);
		entry->used = 0;
		write_end(&entry->seq);
		ledger->free_slots[ledger->free_count++] = slot;
	}
	write_begin(&header->seq);
	if (slot == PN_LEDGER_NO_SLOT)
		header->unrecorded--;
	total(header, pin, false);
	write_end(&header->seq);
}

void pn_ledger_devices(struct pn_ledger *ledger, unsigned int count, const char *names)
{
	struct ledger_header *header = ledger->header;
	size_t size = sizeof(header->device_names);

	if (!is_mine(ledger))
		return;
	write_begin(&header->seq);
	header->devices = count;
	if ((size_t)snprintf(header->device_names, size, "%s", names) >= size)
		memcpy(header->device_names + size - 4, "...", 4);
	write_end(&header->seq);
}

void pn_ledger_charge(struct pn_ledger *ledger, const struct pn_charge_rule *charge, bool exempt)
{
	struct ledger_header *header = ledger->header;

	if (!is_mine(ledger))
		return;
	write_begin(&header->seq);
	header->uid = getuid(); /* later maps are charged to who the process is then */
	header->counters = exempt ? charge->exempt_counters : charge->counters;
	header->limited = charge->limited;
	header->exempt = exempt;
	snprintf(header->accounting, sizeof(header->accounting), "%s", charge->accounting);
	write_end(&header->seq);
}
