/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is left under RLIMIT_MEMLOCK, asked of the kernel itself: a call that it compares with the
 * counter first and refuses then for another reason. No child, nothing changes, some microseconds.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base_priv.h"
#include "meter_priv.h"

struct asker {
	uint64_t least, most; /* pages that can be asked for */
	int (*open)(void);
	int (*fits)(int fd, uint64_t pages); /* 1, 0 or a negative errno */
};

/*
 * mm/mmap.c:do_mmap() looks whether MAP_LOCKED fits (mlock_future_ok(): mm->locked_vm and the
 * length, with the soft limit) before it finds that this file cannot be mapped at all.
 */
static int locked_fits(int fd, uint64_t pages)
{
	if (syscall(SYS_mmap, NULL, pages << 12, PROT_READ, MAP_PRIVATE | MAP_LOCKED, fd, 0) != -1)
		return -EIO;
	if (errno == EAGAIN || errno == EPERM)
		return 0;
	return errno == ENODEV ? 1 : -errno;
}

static int open_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int pn_trial_exempt(void)
{
	struct rlimit limit;
	int fd, ret;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return -errno;
	if (limit.rlim_cur == RLIM_INFINITY)
		return -ERANGE;
	fd = open_eventfd();
	if (fd < 0)
		return fd;
	ret = locked_fits(fd, (limit.rlim_cur >> 12) + 1);
	close(fd);
	return ret;
}

static const struct asker *asker_of(enum pn_counter counter)
{
	/* 4 TiB: a free run of addresses has to be found for it first. */
	static const struct asker locked = {1, UINT64_C(1) << 30, open_eventfd, locked_fits};
	static const struct asker user = {
		PN_ZEROCOPY_LEAST, PN_ZEROCOPY_MOST, pn_zerocopy_open, pn_zerocopy_fits};

	switch (counter) {
	case PN_COUNTER_MM_LOCKED:
		return &locked;
	case PN_COUNTER_USER_LOCKED:
		return &user;
	default:
		return NULL;
	}
}

/*
 * The search: low fits, or nothing has been asked for that does; high does not, or was not asked.
 */
struct search {
	const struct asker *asker;
	int fd;
	uint64_t low, high;
};

/* 0 or a negative errno. */
static int ask(struct search *search, uint64_t pages)
{
	int ret = search->asker->fits(search->fd, pages);

	if (ret > 0)
		search->low = pages;
	else if (!ret)
		search->high = pages;
	return ret < 0 ? ret : 0;
}

/* In growing steps from where it was last, then between. */
static int find(struct search *search, uint64_t hint)
{
	uint64_t least = search->asker->least, most = search->high - 1, step = 1;
	uint64_t low = least - 1, at;
	int ret;

	if (most < least)
		return 0;
	hint = hint < least ? least : hint > most ? most : hint;
	ret = ask(search, hint);
	for (; !ret && search->low && search->low < most && search->high == most + 1; step *= 4)
		ret = ask(search,
			search->low > most - step || step > most ? most : search->low + step);
	for (step = 1; !ret && !search->low && search->high > least; step *= 4)
		ret = ask(search, search->high - least <= step ? least : search->high - step);
	low = search->low ? search->low : low;
	while (!ret && search->high - low > 1) {
		at = low + (search->high - low) / 2;
		ret = ask(search, at);
		low = search->low ? search->low : low;
	}
	return ret;
}

void pn_trial_init(struct pn_trial *trial)
{
	*trial = (struct pn_trial){.fd = -1, .counter = PN_COUNTER_MAX};
}

void pn_trial_close(struct pn_trial *trial)
{
	if (trial->fd >= 0)
		close(trial->fd);
	pn_trial_init(trial);
}

int pn_trial_left(struct pn_trial *trial, enum pn_counter counter, uint64_t limit,
	uint64_t *at_least, uint64_t *at_most)
{
	struct search search = {.asker = asker_of(counter)};
	uint64_t most;
	int ret;

	*at_least = 0;
	*at_most = limit;
	if (!search.asker)
		return -EOPNOTSUPP;
	if (trial->fd >= 0 && trial->counter != counter)
		pn_trial_close(trial);
	if (trial->fd < 0) {
		ret = search.asker->open();
		if (ret < 0)
			return ret;
		trial->fd = ret;
		trial->counter = counter;
		trial->left = limit;
	}
	search.fd = trial->fd;
	most = limit < search.asker->most ? limit : search.asker->most;
	search.high = most + 1;
	ret = find(&search, trial->left);
	if (ret)
		return ret;
	trial->left = search.low;
	*at_least = search.low;
	if (search.high <= most)
		*at_most = search.high - 1;
	return 0;
}
