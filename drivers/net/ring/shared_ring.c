/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See shared_ring.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base_priv.h"
#include "shared_ring.h"

#define PAGE     UINT64_C(4096)
#define CONSUMED 128u /* offsets in a way */
#define LENGTHS  256u
/* In a length: the packet goes on in the next slot. */
#define MORE (UINT32_C(1) << 31)

static uint64_t slots_at(uint32_t size)
{
	return pn_align_up(LENGTHS + (uint64_t)size * sizeof(uint32_t), PAGE);
}

static uint64_t way_bytes(uint32_t size, uint32_t slot)
{
	return slots_at(size) + pn_align_up((uint64_t)size * slot, PAGE);
}

static void set_way(struct shared_way *way, unsigned char *start, uint32_t size)
{
	way->produced = (uint64_t *)(void *)start;
	way->consumed = (uint64_t *)(void *)(start + CONSUMED);
	way->lengths = (uint32_t *)(void *)(start + LENGTHS);
	way->slots = start + slots_at(size);
	way->position = 0;
}

static int check_shape(const char *port, uint32_t size, uint32_t slot)
{
	if (!pn_is_pow2(size) || size > SHARED_RING_SIZE_MOST)
		return pn_fail(EINVAL,
			"port %s: a ring of %u slots: must be a power of two, 1 to %u", port, size,
			SHARED_RING_SIZE_MOST);
	if (slot < 64 || slot > SHARED_RING_SLOT_MOST || slot % 64)
		return pn_fail(EINVAL, "port %s: slots of %u bytes: must be 64 to %u, by 64", port,
			slot, SHARED_RING_SLOT_MOST);
	return 0;
}

static int map(struct shared_ring *ring, const char *port, bool maker)
{
	void *memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);

	if (memory == MAP_FAILED)
		return pn_fail(errno, "port %s: mapping its memory: %s", port, strerror(errno));
	ring->memory = memory;
	set_way(maker ? &ring->out : &ring->in, ring->memory, ring->size);
	set_way(maker ? &ring->in : &ring->out, ring->memory + way_bytes(ring->size, ring->slot),
		ring->size);
	return 0;
}

int shared_ring_make(struct shared_ring *ring, const char *port, uint32_t size, uint32_t slot)
{
	int ret = check_shape(port, size, slot);

	*ring = (struct shared_ring){.fd = -1, .size = size, .slot = slot};
	if (ret)
		return ret;
	ring->bytes = 2 * way_bytes(size, slot);
	ring->fd = memfd_create("pinion-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ring->fd < 0)
		return pn_fail(errno, "port %s: memfd_create: %s", port, strerror(errno));
	/* All pages now, not as a signal later. */
	ret = posix_fallocate(ring->fd, 0, (off_t)ring->bytes);
	if (!ret && fcntl(ring->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		ret = errno;
	if (ret)
		ret = pn_fail(ret, "port %s: %llu bytes of shared memory: %s", port,
			(unsigned long long)ring->bytes, strerror(ret));
	else
		ret = map(ring, port, true);
	if (ret)
		shared_ring_end(ring);
	return ret;
}

/* A file that cannot change under the mapping: a sealed memfd of small pages, of this size. */
static bool is_sound(int fd, uint64_t bytes)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	return seals >= 0 && (seals & F_SEAL_SHRINK) && !(seals & F_SEAL_WRITE) &&
	       !fstat(fd, &st) && st.st_size >= 0 && (uint64_t)st.st_size == bytes &&
	       !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC;
}

static uint64_t load(const uint64_t *position)
{
	return __atomic_load_n(position, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *position, uint64_t value)
{
	__atomic_store_n(position, value, __ATOMIC_RELEASE);
}

int shared_ring_join(
	struct shared_ring *ring, const char *port, int fd, uint32_t size, uint32_t slot)
{
	int ret = check_shape(port, size, slot);

	*ring = (struct shared_ring){.fd = -1, .size = size, .slot = slot};
	if (ret)
		return ret;
	ring->bytes = 2 * way_bytes(size, slot);
	if (!is_sound(fd, ring->bytes))
		return pn_fail(EINVAL,
			"port %s: what the other end handed over is no sealed memory of %llu bytes",
			port, (unsigned long long)ring->bytes);
	ring->fd = fd;
	ret = map(ring, port, false);
	if (ret)
		goto leave;
	/* Where who was here before has come to. */
	ring->out.position = load(ring->out.produced);
	ring->in.position = load(ring->in.consumed);
	if (ring->out.position - load(ring->out.consumed) > size ||
		load(ring->in.produced) - ring->in.position > size) {
		ret = pn_fail(EPROTO, "port %s: the positions in the memory make no sense", port);
		goto leave;
	}
	return 0;

leave:
	ring->fd = -1;
	shared_ring_end(ring);
	return ret;
}

void shared_ring_end(struct shared_ring *ring)
{
	if (ring->memory)
		munmap(ring->memory, ring->bytes);
	if (ring->fd >= 0)
		close(ring->fd);
	ring->memory = NULL;
	ring->fd = -1;
}

bool shared_ring_same(const struct shared_ring *ring, int fd)
{
	struct stat a, b;

	return !fstat(ring->fd, &a) && !fstat(fd, &b) && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

/*
 * What this end wrote, where someone else has overwritten it. In this order: its thread may be
 * moving on, and then the file has what is right soon, or already.
 */
static void restore(const struct shared_way *way, uint64_t *shared)
{
	uint64_t seen = load(shared);
	uint64_t right = __atomic_load_n(&way->position, __ATOMIC_ACQUIRE);

	if (seen != right)
		(void)__atomic_compare_exchange_n(
			shared, &seen, right, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void shared_ring_mend(struct shared_ring *ring)
{
	uint64_t in = __atomic_load_n(&ring->in.position, __ATOMIC_ACQUIRE);
	uint64_t out = __atomic_load_n(&ring->out.position, __ATOMIC_ACQUIRE);

	restore(&ring->in, ring->in.consumed);
	restore(&ring->out, ring->out.produced);
	if (load(ring->in.produced) - in > ring->size)
		store(ring->in.produced, in);
	if (out - load(ring->out.consumed) > ring->size)
		store(ring->out.consumed, out);
}

bool shared_ring_any(const struct shared_ring *ring)
{
	return load(ring->in.produced) != __atomic_load_n(&ring->in.position, __ATOMIC_RELAXED);
}

/* Only this end's thread moves it; others look. */
static void move(struct shared_way *way, uint64_t *shared, uint64_t position)
{
	__atomic_store_n(&way->position, position, __ATOMIC_RELEASE);
	store(shared, position);
}

/* Fill slots from a position on. */
static void copy_in(struct shared_ring *ring, uint64_t at, const struct pn_buf *packet)
{
	const uint32_t mask = ring->size - 1;
	uint32_t left = pn_packet_len(packet), taken = 0;
	const struct pn_buf *seg = packet;

	while (left) {
		uint32_t index = (uint32_t)at++ & mask;
		uint32_t part = left < ring->slot ? left : ring->slot, done = 0;
		unsigned char *slot = ring->out.slots + (uint64_t)index * ring->slot;

		while (done < part) {
			uint32_t n = seg->data_len - taken;

			n = n < part - done ? n : part - done;
			memcpy(slot + done, pn_buf_data(seg) + taken, n);
			done += n;
			taken += n;
			if (taken == seg->data_len && seg->next) {
				seg = seg->next;
				taken = 0;
			}
		}
		left -= part;
		__atomic_store_n(
			&ring->out.lengths[index], part | (left ? MORE : 0), __ATOMIC_RELAXED);
	}
}

int shared_ring_put(struct shared_ring *ring, struct pn_buf **bufs, uint16_t count, uint64_t *bytes,
	uint64_t *errors)
{
	uint64_t at = ring->out.position, used = at - load(ring->out.consumed);
	int n;

	if (used > ring->size)
		return -EPROTO;
	for (n = 0; n < count; n++) {
		uint32_t need = 0;

		if (soft_valid(bufs[n]))
			need = (pn_packet_len(bufs[n]) + ring->slot - 1) / ring->slot;
		if (!need || need > PN_BUF_SEGS_MAX || need > ring->size) {
			++*errors;
			continue;
		}
		if (need > ring->size - used)
			break;
		copy_in(ring, at, bufs[n]);
		at += need;
		used += need;
		*bytes += pn_packet_len(bufs[n]);
	}
	if (at != ring->out.position)
		move(&ring->out, ring->out.produced, at);
	return n;
}

/*
 * The lengths of the packet that begins at a position, of which there are so many slots at most.
 * How many it has; 0: they make no sense.
 */
static uint32_t read_lengths(const struct shared_ring *ring, uint64_t at, uint64_t there,
	uint32_t lengths[PN_BUF_SEGS_MAX])
{
	for (uint32_t n = 0; n < PN_BUF_SEGS_MAX && n < there; n++) {
		/* Once: it may change at any time. */
		uint32_t length = __atomic_load_n(
			&ring->in.lengths[(at + n) & (ring->size - 1)], __ATOMIC_RELAXED);

		lengths[n] = length & ~MORE;
		if (!lengths[n] || lengths[n] > ring->slot)
			return 0;
		if (!(length & MORE))
			return n + 1;
	}
	return 0;
}

static struct pn_buf *copy_out(const struct shared_ring *ring, uint64_t at, const uint32_t *lengths,
	struct pn_buf **segs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t index = (at + i) & (ring->size - 1);

		memcpy(pn_buf_data(segs[i]), ring->in.slots + index * ring->slot, lengths[i]);
		segs[i]->data_len = (uint16_t)lengths[i];
		segs[i]->next = i + 1 < n ? segs[i + 1] : NULL;
		segs[0]->pkt_len += lengths[i];
	}
	segs[0]->nb_segs = (uint8_t)n;
	return segs[0];
}

int shared_ring_take(struct shared_ring *ring, struct pn_pool *pool, struct pn_buf **bufs,
	uint16_t count, uint64_t *bytes, uint64_t *errors, bool *dry)
{
	uint64_t at = ring->in.position, there = load(ring->in.produced) - at;
	int n = 0;

	if (there > ring->size)
		return -EPROTO;
	while (n < count && there) {
		uint32_t lengths[PN_BUF_SEGS_MAX], used;
		struct pn_buf *segs[PN_BUF_SEGS_MAX];

		used = read_lengths(ring, at, there, lengths);
		if (!used) {
			/* One slot on: what follows may be a packet again. */
			++*errors;
			used = 1;
		} else if (pn_pool_get(pool, segs, used)) {
			*dry = true;
			break;
		} else {
			bufs[n] = copy_out(ring, at, lengths, segs, used);
			*bytes += bufs[n++]->pkt_len;
		}
		at += used;
		there -= used;
	}
	if (at != ring->in.position)
		move(&ring->in, ring->in.consumed, at);
	return n;
}
