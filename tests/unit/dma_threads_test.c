/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that map, unmap and look up in one domain, and one that attaches and detaches a second
 * device: for ThreadSanitizer, and checked by each thread for what it alone owns.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dma_priv.h"
#include "vfio_model.h"

#define PAGE    UINT64_C(4096)
#define BASE    UINT64_C(0x100000000)
#define THREADS 4u
#define ROUNDS  1500u

static const struct pn_dma_device nic0 = {"0000:00:02.0", 5}, nic1 = {"0000:00:03.0", 6};
static const char *ledgers;
static struct pn_domain *domain;
static struct pn_region *region;
static char *memory;
static int errors;

static void wrong(void)
{
	__atomic_add_fetch(&errors, 1, __ATOMIC_RELAXED);
}

/* One thread owns 16 pages of IOVAs and of memory. */
static void *mapper(void *arg)
{
	unsigned int self = *(unsigned int *)arg;
	uint64_t first = BASE + self * 16 * PAGE;
	char *base = memory + self * 16 * PAGE;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t page = round % 15, len = PAGE + round % 2 * PAGE, iova, want;
		void *vaddr;

		want = iova = first + page * PAGE;
		if (pn_domain_map(
			    domain, region, (self * 16 + page) * PAGE, len, PN_PROT_RW, &iova) ||
			iova != want)
			wrong();
		if (pn_domain_iova(domain, base + page * PAGE, len, &iova) || iova != want)
			wrong();
		if (pn_domain_vaddr(domain, want, len, &vaddr) || vaddr != base + page * PAGE)
			wrong();
		if (pn_domain_unmap(domain, want, len))
			wrong();
		if (pn_domain_vaddr(domain, want, len, &vaddr) != -ENOENT)
			wrong();
	}
	return NULL;
}

static void *attacher(void *arg)
{
	(void)arg;
	for (unsigned int round = 0; round < ROUNDS / 10; round++) {
		struct pn_domain_info info;
		struct pn_pins_report *report;
		int fd;

		if (pn_domain_attach(domain, &nic1, &fd))
			wrong();
		else
			pn_domain_detach(domain, fd);
		pn_domain_get_info(domain, &info);
		if (info.devices != 1 || info.damaged)
			wrong();
		if (round % 16 == 0) {
			if (pn_domain_pins(domain, false, &report))
				wrong();
			else
				pn_pins_report_free(report);
		}
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	struct pn_domain_opts opts = {*state, NULL, ledgers};
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;
	pthread_t threads[THREADS + 1];
	unsigned int numbers[THREADS];
	int fd;

	model_setup(NULL);
	model.ranges[0].end = (UINT64_C(1) << 48) - 1;
	model.range_count = 1;
	model_device(nic0.address, nic0.group);
	model_device(nic1.address, nic1.group);
	region_opts.page_size = PN_PAGE_4K;
	assert_int_equal(pn_region_create(&region, THREADS * 16 * PAGE, &region_opts), 0);
	pn_region_get_info(region, &info);
	memory = info.vaddr;
	assert_int_equal(pn_domain_create(&domain, &opts), 0);
	assert_int_equal(pn_domain_attach(domain, &nic0, &fd), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, mapper, &numbers[i]), 0);
	}
	assert_int_equal(pthread_create(&threads[THREADS], NULL, attacher, NULL), 0);
	for (unsigned int i = 0; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(errors, 0);
	assert_int_equal(model_maps(), 0);
	pn_domain_detach(domain, fd);
	assert_int_equal(pn_domain_destroy(domain), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(model_teardown(NULL), 0);
}

int main(void)
{
	static char type1[] = "type1", compat[] = "iommufd-compat";
	const struct CMUnitTest tests[] = {
		{"type1", threads_do_not_disturb_each_other, NULL, NULL, type1},
		{"iommufd-compat", threads_do_not_disturb_each_other, NULL, NULL, compat},
	};
	int failed;

	ledgers = model_directory();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + model_directory_end();
}
