/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for packets without burning a core: in poll() on the files of ports that have one, and by
 * naps that grow where there is none.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base_priv.h"
#include "port_priv.h"

#define NS_PER_MS   UINT64_C(1000000)
#define NAP_LEAST   (UINT64_C(50) * 1000)
#define NAP_MOST    NS_PER_MS
#define NO_DEADLINE UINT64_MAX

/* What there is to wait for. */
struct waiting {
	struct pollfd fds[PN_PORT_WAIT_MAX * PN_PORT_FDS_MAX];
	unsigned int fd_count;
	bool naps;    /* a port that has no file */
	bool unknown; /* one that cannot say whether it has packets */
	bool ready;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

/*
 * The files of a port to poll: how many, 0 if it has none, or a negative errno. An interrupt is
 * armed first, and fires for what is there already.
 */
static int files_of(struct pn_port_dev *dev, int *fds)
{
	int ret;

	if (dev->ops->wait_fds)
		return dev->ops->wait_fds(dev, fds);
	if (!dev->irq_enabled)
		return 0;
	ret = dev->ops->irq_arm(dev);
	fds[0] = dev->irq_fd;
	return ret ? ret : 1;
}

static int gather_port(struct waiting *waiting, struct pn_port_dev *dev)
{
	int fds[PN_PORT_FDS_MAX];
	/* In this order: what the files have forgotten now is seen by looking. */
	int count = files_of(dev, fds);

	if (count < 0)
		return count;
	if (dev->ops->pending && dev->ops->pending(dev))
		waiting->ready = true;
	for (int i = 0; i < count; i++)
		waiting->fds[waiting->fd_count++] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	if (!count) {
		waiting->naps = true;
		waiting->unknown = waiting->unknown || !dev->ops->pending;
	}
	return 0;
}

static int gather(struct waiting *waiting, struct pn_port *const *ports, unsigned int count)
{
	int ret = 0;

	waiting->fd_count = 0;
	waiting->naps = waiting->unknown = waiting->ready = false;
	for (unsigned int i = 0; i < count && !ret; i++) {
		struct pn_port_dev *dev = ports[i] ? pn_port_dev(ports[i]) : NULL;

		if (!dev)
			return pn_fail(EINVAL, "port %u of those to wait for is NULL", i);
		if (dev->started)
			ret = gather_port(waiting, dev);
	}
	return ret;
}

static bool any_pending(struct pn_port *const *ports, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct pn_port_dev *dev = pn_port_dev(ports[i]);

		if (dev->started && dev->ops->pending && dev->ops->pending(dev))
			return true;
	}
	return false;
}

/* A file of something that is gone has an error for ever: it must not keep its thread awake. */
static bool any_readable(const struct waiting *waiting)
{
	for (unsigned int i = 0; i < waiting->fd_count; i++) {
		if (waiting->fds[i].revents & POLLIN)
			return true;
	}
	return false;
}

static int sleep_once(struct waiting *waiting, uint64_t ns)
{
	static const struct timespec broken = {.tv_nsec = (long)NAP_MOST};
	struct timespec time = {
		.tv_sec = (time_t)(ns / (1000 * NS_PER_MS)),
		.tv_nsec = (long)(ns % (1000 * NS_PER_MS)),
	};
	int ret = ppoll(waiting->fds, waiting->fd_count, ns == NO_DEADLINE ? NULL : &time, NULL);

	if (ret < 0 && errno == EINTR)
		return pn_fail(EINTR, "waiting for packets: a signal arrived");
	if (ret < 0)
		return pn_fail(errno, "waiting for packets: %s", strerror(errno));
	if (ret > 0 && !any_readable(waiting))
		(void)nanosleep(&broken, NULL);
	return ret > 0;
}

int pn_port_wait(struct pn_port *const *ports, unsigned int count, int timeout_ms)
{
	uint64_t end = NO_DEADLINE, nap = NAP_LEAST, now = 0;
	struct waiting waiting;
	int ret;

	if (!ports || !count || count > PN_PORT_WAIT_MAX)
		return pn_fail(
			EINVAL, "waiting for %u ports: must be 1 to %u", count, PN_PORT_WAIT_MAX);
	ret = gather(&waiting, ports, count);
	if (ret || waiting.ready)
		return ret ? ret : 1;
	if (timeout_ms >= 0)
		end = now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	do {
		uint64_t left = NO_DEADLINE;

		if (end != NO_DEADLINE) {
			now = now_ns();
			left = now < end ? end - now : 0;
		}
		ret = sleep_once(&waiting, waiting.naps && nap < left ? nap : left);
		if (ret)
			return ret;
		if (waiting.naps && any_pending(ports, count))
			return 1;
		if (waiting.unknown)
			return 1;
		nap = 2 * nap < NAP_MOST ? 2 * nap : NAP_MOST;
	} while (end == NO_DEADLINE || now < end);
	return 0;
}
