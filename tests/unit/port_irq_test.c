/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a port, on a register block in memory: which kind is chosen, what is programmed,
 * that arming loses no wake-up, and in which order it is all undone.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include <cmocka.h>

#include "e1000.h"
#include "e1000_fake.h"
#include "pn_port.h"

#define RXD 64u

#define MSIX_RX   E1000_ICR_RXQ0
#define MSIX_LINK (E1000_ICR_OTHER | E1000_ICR_LSC)

struct fixture {
	struct fake_memory memory;
	struct fake_device device;
	struct pn_pool *pool;
	struct pn_port *port;
};

static int init(void **state, uint16_t device)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pn_pool_opts pool = {.count = 200};
	struct pn_port_opts opts = {0};

	fake_memory_init(&f->memory, 2 << 20);
	assert_int_equal(pn_pool_create(&f->pool, f->memory.heap, &pool), 0);
	fake_device_init(&f->device, 0x8086, device);
	fake_device_run(&f->device);
	opts.heap = f->memory.heap;
	opts.domain = (struct pn_domain *)(void *)f;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &opts), 0);
	assert_int_equal(
		pn_port_configure(f->port, &(struct pn_port_conf){.rxd = RXD, .rx_pool = f->pool}),
		0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return init(state, 0x10d3);
}

static int setup_legacy(void **state)
{
	return init(state, 0x100e);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_set_reg(&f->device, E1000_IMC, 0);
	pn_port_close(f->port);
	assert_false(f->device.open);
	fake_device_fini(&f->device);
	assert_int_equal(pn_pool_destroy(f->pool), 0);
	fake_memory_fini(&f->memory);
	free(f);
	return 0;
}

/* Forget what was written, to see what is written next. */
static void forget(struct fixture *f)
{
	fake_set_reg(&f->device, E1000_IMS, 0);
	fake_set_reg(&f->device, E1000_IMC, 0);
	fake_set_reg(&f->device, E1000_ICS, 0);
}

/* Arm, and tell what the driver has the device signal at once. */
static uint32_t arm(struct fixture *f)
{
	forget(f);
	assert_int_equal(pn_port_irq_arm(f->port), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMC), UINT32_MAX);
	assert_int_not_equal(fake_reg(&f->device, E1000_IMS), 0);
	return fake_reg(&f->device, E1000_ICS);
}

static void set_link(struct fixture *f, bool up)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	__atomic_store_n(&f->device.link_down, !up, __ATOMIC_RELAXED);
	for (int i = 0; i < 5000; i++) {
		if (!(fake_reg(&f->device, E1000_STATUS) & E1000_STATUS_LU) == !up)
			return;
		nanosleep(&pause, NULL);
	}
	fail();
}

static void receive(struct fixture *f, uint32_t slot, bool extended)
{
	uint64_t iova = (uint64_t)fake_reg(&f->device, E1000_RDBAH) << 32 |
			fake_reg(&f->device, E1000_RDBAL);
	struct e1000_desc *ring = fake_memory_at(&f->memory, iova, RXD * sizeof(*ring));

	ring[slot].meta = extended ? E1000_RXDEXT_DD | E1000_RXDEXT_EOP | UINT64_C(60) << 32
				   : E1000_RXD_DD | E1000_RXD_EOP | 60;
}

static void take(struct fixture *f, unsigned int count)
{
	struct pn_buf *bufs[RXD];

	assert_int_equal(pn_port_rx_burst(f->port, 0, bufs, RXD), count);
	pn_buf_free_bulk(bufs, count);
}

static void test_arguments(void **state)
{
	struct fixture *f = *state;
	int fd = -7;

	assert_int_equal(pn_port_irq_arm(f->port), -EINVAL);
	assert_int_equal(pn_port_irq_disable(f->port), 0);
	assert_int_equal(pn_port_irq_enable(f->port, NULL), -EINVAL);
	assert_int_equal(pn_port_irq_enable(f->port, &fd), -EOPNOTSUPP);
	assert_non_null(strstr(pn_error(), "MSI-X"));
	f->device.irq_count[PN_IRQ_MSIX] = -EIO;
	assert_int_equal(pn_port_irq_enable(f->port, &fd), -EIO);
	f->device.irq_count[PN_IRQ_MSIX] = 5;
	f->device.irq_ret = -ENOSPC;
	assert_int_equal(pn_port_irq_enable(f->port, &fd), -ENOSPC);
	assert_int_equal(fd, -7);
	assert_int_equal(pn_port_irq_arm(f->port), -EINVAL);
	f->device.irq_ret = 0;
	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	assert_int_equal(fd, f->device.irq_fd);
	assert_int_equal(pn_port_irq_enable(f->port, &fd), -EALREADY);
	/* Closed while it is enabled. */
}

/* Not asked for, nothing is unmasked: a start has masked all causes last. */
static void test_none_by_default(void **state)
{
	struct fixture *f = *state;

	f->device.irq_count[PN_IRQ_MSIX] = 5;
	forget(f);
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMS), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMC), UINT32_MAX);
	assert_int_equal(f->device.irq_fd, -1);
}

static void check_msix(struct fixture *f)
{
	assert_int_equal(fake_reg(&f->device, E1000_IVAR), 0x00080008);
	assert_int_equal(fake_reg(&f->device, E1000_EIAC), E1000_ICR_RXQ0 | E1000_ICR_OTHER);
	assert_int_equal(fake_reg(&f->device, E1000_IAM), E1000_ICR_RXQ0 | E1000_ICR_OTHER);
	assert_int_equal(fake_reg(&f->device, E1000_CTRL_EXT) >> 24, 0x91);
	assert_int_equal(fake_reg(&f->device, E1000_IMS), MSIX_RX | MSIX_LINK);
	assert_int_equal(fake_reg(&f->device, E1000_ITR), 0);
	for (uint32_t i = 0; i < E1000_EITR_COUNT; i++)
		assert_int_equal(fake_reg(&f->device, E1000_EITR + 4 * i), 0);
	assert_int_equal(fake_reg(&f->device, E1000_ICS), 0);
}

static void test_msix(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->device.irq_count[PN_IRQ_MSIX] = 5;
	f->device.irq_count[PN_IRQ_MSI] = 1;
	f->device.irq_count[PN_IRQ_INTX] = 1;
	fake_set_reg(&f->device, E1000_ITR, 195);
	fake_set_reg(&f->device, E1000_EITR, 195);
	/* Before a start: nothing is unmasked, and arming is the start's. */
	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	assert_int_equal(f->device.irq_type, PN_IRQ_MSIX);
	assert_int_equal(pn_port_irq_arm(f->port), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMS), 0);
	forget(f);
	assert_int_equal(pn_port_start(f->port), 0);
	check_msix(f);
	/* It outlives a stop, whose reset has cleared the registers. */
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(f->device.irq_fd, fd);
	forget(f);
	fake_set_reg(&f->device, E1000_IVAR, 0);
	fake_set_reg(&f->device, E1000_EIAC, 0);
	fake_set_reg(&f->device, E1000_CTRL_EXT, 0);
	assert_int_equal(pn_port_start(f->port), 0);
	check_msix(f);
	/* And enabled while it runs. */
	fake_set_reg(&f->device, E1000_IMC, 0);
	assert_int_equal(pn_port_irq_disable(f->port), 0);
	assert_int_equal(f->device.irq_fd, -1);
	assert_int_equal(pn_port_irq_arm(f->port), -EINVAL);
	forget(f);
	fake_set_reg(&f->device, E1000_IVAR, 0);
	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	check_msix(f);
	assert_int_equal(f->device.unmasks, 0);
}

/* Whatever came before it is armed is signalled when it is. */
static void lose_nothing(struct fixture *f, uint32_t rx, uint32_t link, bool extended)
{
	struct pn_port_link seen;
	eventfd_t count;
	int fd;

	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	assert_int_equal(pn_port_start(f->port), 0);
	/* Arming clears the eventfd. */
	assert_int_equal(eventfd_write(fd, 1), 0);
	assert_int_equal(arm(f), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMS), rx | link);
	assert_int_equal(eventfd_read(fd, &count), -1);

	receive(f, 0, extended);
	assert_int_equal(arm(f), rx);
	take(f, 1);
	assert_int_equal(arm(f), 0);

	/* The link, told of once, or not when the application has looked itself. */
	set_link(f, false);
	assert_int_equal(arm(f), link);
	assert_int_equal(arm(f), 0);
	set_link(f, true);
	assert_int_equal(pn_port_get_link(f->port, &seen), 0);
	assert_int_equal(arm(f), 0);
	receive(f, 1, extended);
	set_link(f, false);
	assert_int_equal(arm(f), rx | link);
	assert_int_equal(pn_port_stop(f->port), 0);
}

static void test_lost_msix(void **state)
{
	struct fixture *f = *state;

	f->device.irq_count[PN_IRQ_MSIX] = 5;
	lose_nothing(f, MSIX_RX, MSIX_LINK, true);
}

static void test_lost_msi(void **state)
{
	struct fixture *f = *state;

	f->device.irq_count[PN_IRQ_MSI] = 1;
	f->device.irq_count[PN_IRQ_INTX] = 1;
	lose_nothing(f, E1000_ICR_RXT0, E1000_ICR_LSC, true);
	assert_int_equal(f->device.irq_type, PN_IRQ_MSI);
	assert_int_equal(fake_reg(&f->device, E1000_IVAR), 0);
	assert_int_equal(fake_reg(&f->device, E1000_CTRL_EXT) & E1000_CTRL_EXT_PBA_CLR, 0);
	assert_int_equal(f->device.unmasks, 0);
}

static void test_lost_intx(void **state)
{
	struct fixture *f = *state;
	unsigned int before;

	f->device.irq_count[PN_IRQ_INTX] = 1;
	lose_nothing(f, E1000_ICR_RXT0, E1000_ICR_LSC, false);
	assert_int_equal(f->device.irq_type, PN_IRQ_INTX);
	assert_int_equal(fake_reg(&f->device, E1000_IVAR), 0);
	/* Every arming unmasks. */
	assert_int_equal(pn_port_start(f->port), 0);
	before = f->device.unmasks;
	assert_int_equal(arm(f), 0);
	assert_int_equal(f->device.unmasks, before + 1);
	/* What cannot be unmasked is not started: the application would sleep for ever. */
	assert_int_equal(pn_port_stop(f->port), 0);
	f->device.unmask_ret = -EIO;
	assert_int_equal(pn_port_start(f->port), -EIO);
	assert_int_equal(pn_pool_available(f->pool), pn_pool_count(f->pool));
	assert_false(f->device.master);
	f->device.unmask_ret = 0;
	assert_int_equal(pn_port_start(f->port), 0);
}

/* With its pool empty the ring runs dry, and only a burst can mend that: no sleeping. */
static void test_dry_ring(void **state)
{
	struct fixture *f = *state;
	struct pn_buf *bufs[200], *got[RXD];
	int fd;

	f->device.irq_count[PN_IRQ_MSIX] = 5;
	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(pn_pool_get(f->pool, bufs, 200 - (RXD - 1)), 0);
	for (uint32_t i = 0; i < RXD - 1; i++)
		receive(f, i, true);
	assert_int_equal(pn_port_rx_burst(f->port, 0, got, RXD), RXD - 1);
	assert_int_equal(arm(f), MSIX_RX);
	pn_buf_free_bulk(bufs, 200 - (RXD - 1));
	take(f, 0);
	assert_int_equal(arm(f), 0);
	pn_buf_free_bulk(got, RXD - 1);
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->device.irq_count[PN_IRQ_INTX] = 1;
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(pn_port_irq_enable(f->port, &fd), 0);
	fake_device_halt(&f->device);
	memset(f->device.regs, 0xff, E1000_BAR_SIZE);
	assert_int_equal(pn_port_irq_arm(f->port), -EIO);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_irq_disable(f->port), 0);
	memset(f->device.regs, 0xff, E1000_BAR_SIZE);
	assert_int_equal(pn_port_irq_enable(f->port, &fd), -EIO);
	assert_int_equal(f->device.irq_fd, -1);
	assert_int_equal(pn_port_irq_arm(f->port), -EINVAL);
}

struct signaller {
	int fd;
	bool end;
};

/* As a device that has something to tell again and again. */
static void *signal_often(void *arg)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct signaller *signaller = arg;

	while (!__atomic_load_n(&signaller->end, __ATOMIC_RELAXED)) {
		nanosleep(&pause, NULL);
		(void)eventfd_write(signaller->fd, 1);
	}
	return NULL;
}

/* Waiting arms the interrupt and sleeps on it; without one it naps, and does not know. */
static void test_wait(void **state)
{
	struct fixture *f = *state;
	struct signaller signaller = {0};
	pthread_t thread;

	f->device.irq_count[PN_IRQ_MSIX] = 5;
	assert_int_equal(pn_port_wait(&f->port, 1, 0), 0); /* stopped */
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(pn_port_wait(&f->port, 1, 1000), 1);
	assert_int_equal(pn_port_irq_enable(f->port, &signaller.fd), 0);
	assert_int_equal(eventfd_write(signaller.fd, 1), 0);
	forget(f);
	/* What was signalled before is cleared when it is armed. */
	assert_int_equal(pn_port_wait(&f->port, 1, 5), 0);
	assert_int_equal(fake_reg(&f->device, E1000_IMS), MSIX_RX | MSIX_LINK);
	assert_int_equal(pthread_create(&thread, NULL, signal_often, &signaller), 0);
	assert_int_equal(pn_port_wait(&f->port, 1, -1), 1);
	__atomic_store_n(&signaller.end, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	fake_device_halt(&f->device);
	memset(f->device.regs, 0xff, E1000_BAR_SIZE);
	assert_int_equal(pn_port_wait(&f->port, 1, 1000), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_none_by_default, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_intx, setup_legacy, teardown),
		cmocka_unit_test_setup_teardown(test_dry_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait, setup, teardown),
	};

	return cmocka_run_group_tests_name("port interrupts", tests, NULL, NULL);
}
