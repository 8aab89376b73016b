/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that map, unmap and look up in one domain, one that attaches and detaches a second device
 * and one that walks and reports: for ThreadSanitizer, and checked by each thread for what it alone
 * owns. And lookups while the kernel is at work: they wait for nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "dma_fixture.h"
#include "vfio_model_abi.h"

#define THREADS 4u
#define ROUNDS  1500u
/* Mapped all the time, for whoever looks up. */
#define FIXED (THREADS * 16)

static struct pn_domain *domain;
static struct pn_region *region;
static char *memory;
static int errors, finished;

static void wrong(void)
{
	__atomic_add_fetch(&errors, 1, __ATOMIC_RELAXED);
}

static bool has_finished(void)
{
	return __atomic_load_n(&finished, __ATOMIC_ACQUIRE);
}

/* One thread owns 16 pages of IOVAs and of memory. */
static void *mapper(void *arg)
{
	unsigned int self = *(unsigned int *)arg;
	uint64_t first = AT(self * 16 * PAGE);
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

/* Segments in and out, anywhere. */
static void *segmenter(void *arg)
{
	(void)arg;
	for (unsigned int round = 0; round < ROUNDS / 4; round++) {
		const struct pn_segment segments[] = {
			{region, (FIXED + 4) * PAGE, PAGE}, {region, (FIXED + 6) * PAGE, PAGE}};
		uint64_t iova = PN_IOVA_ANY;

		if (pn_domain_map_segments(domain, segments, 2, PN_PROT_RW, &iova) ||
			pn_domain_unmap(domain, iova, 2 * PAGE))
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

		if (pn_domain_attach(domain, &nic2, &fd))
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

/* What does not change is found whatever else goes on; a walk is in order. */
static void *looker(void *arg)
{
	char *base = memory + FIXED * PAGE;

	(void)arg;
	while (!has_finished()) {
		struct pn_mapping_info mapping;
		uint64_t iova, at = 0;
		void *vaddr;

		if (pn_domain_iova(domain, base + PAGE, 3 * PAGE, &iova) ||
			iova != AT(FIXED * PAGE) + PAGE)
			wrong();
		if (pn_domain_vaddr(domain, AT(FIXED * PAGE), 4 * PAGE, &vaddr) || vaddr != base)
			wrong();
		if (pn_domain_vaddr(domain, AT(FIXED * PAGE) + 4 * PAGE, 1, &vaddr) != -ENOENT)
			wrong();
		while (!pn_domain_next(domain, at, &mapping)) {
			if (mapping.iova + mapping.len <= at || !mapping.len || mapping.queued)
				wrong();
			at = mapping.iova + mapping.len;
		}
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t threads[THREADS + 2], lookers[2];
	unsigned int numbers[THREADS], count = 0;
	uint64_t iova = AT(FIXED * PAGE);
	int fd;

	(void)state;
	fd = attach_to(domain, &nic0);
	assert_int_equal(
		pn_domain_map(domain, region, FIXED * PAGE, 4 * PAGE, PN_PROT_RW, &iova), 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&lookers[i], NULL, looker, NULL), 0);
	for (; count < THREADS; count++) {
		numbers[count] = count;
		assert_int_equal(pthread_create(&threads[count], NULL, mapper, &numbers[count]), 0);
	}
	assert_int_equal(pthread_create(&threads[count++], NULL, segmenter, NULL), 0);
	assert_int_equal(pthread_create(&threads[count++], NULL, attacher, NULL), 0);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&finished, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(lookers[i], NULL);
	assert_int_equal(errors, 0);
	assert_maps(domain, 1, 4);
	pn_domain_detach(domain, fd);
}

/* A thread in a call that the kernel holds up. */
static void *held_map(void *arg)
{
	uint64_t iova = AT(0);

	(void)arg;
	if (pn_domain_map(domain, region, 0, PAGE, PN_PROT_RW, &iova))
		wrong();
	return NULL;
}

static void *held_unmap(void *arg)
{
	(void)arg;
	if (pn_domain_unmap(domain, AT(FIXED * PAGE), 4 * PAGE))
		wrong();
	return NULL;
}

/* A thread that looks up; it is waited for with a limit, as it could hang. */
static void *held_looks(void *arg)
{
	char *base = memory + (FIXED + 8) * PAGE;
	uint64_t iova;
	void *vaddr;

	(void)arg;
	for (unsigned int i = 0; i < 1000; i++)
		if (pn_domain_iova(domain, base, 2 * PAGE, &iova) ||
			pn_domain_vaddr(domain, AT((FIXED + 8) * PAGE), 2 * PAGE, &vaddr) ||
			vaddr != base || pn_domain_iova(domain, memory + PAGE, 1, &iova) != -ENOENT)
			wrong();
	return NULL;
}

static bool wait_for(sem_t *semaphore, time_t seconds)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += seconds;
	return !sem_timedwait(semaphore, &limit);
}

static bool joined_in_time(pthread_t thread, time_t seconds)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += seconds;
	return !pthread_timedjoin_np(thread, NULL, &limit);
}

static void look_while(unsigned long request, void *(*call)(void *))
{
	pthread_t caller, looks;
	bool in_time;

	__atomic_store_n(&model.hold, request, __ATOMIC_RELEASE);
	assert_int_equal(pthread_create(&caller, NULL, call, NULL), 0);
	assert_true(wait_for(&model.held, 30));
	assert_int_equal(pthread_create(&looks, NULL, held_looks, NULL), 0);
	in_time = joined_in_time(looks, 30);
	__atomic_store_n(&model.hold, 0, __ATOMIC_RELEASE);
	sem_post(&model.go_on);
	pthread_join(caller, NULL);
	if (!in_time) {
		pthread_join(looks, NULL);
		fail_msg("lookups wait for the kernel");
	}
	assert_int_equal(errors, 0);
}

static void lookups_wait_for_nothing(void **state)
{
	const char *backend = *state;
	bool native = backend[0] == 'i' && !backend[7];
	uint64_t iova = AT(FIXED * PAGE);
	int fd = attach_to(domain, &nic0);

	assert_int_equal(
		pn_domain_map(domain, region, FIXED * PAGE, 4 * PAGE, PN_PROT_RW, &iova), 0);
	iova = AT((FIXED + 8) * PAGE);
	assert_int_equal(
		pn_domain_map(domain, region, (FIXED + 8) * PAGE, 2 * PAGE, PN_PROT_RW, &iova), 0);
	/* held_looks() asks for page 1 too, which never is. */
	look_while(native ? K_IOAS_MAP_FILE : VFIO_IOMMU_MAP_DMA, held_map);
	look_while(native ? K_IOAS_UNMAP : VFIO_IOMMU_UNMAP_DMA, held_unmap);
	assert_maps(domain, 2, 3);
	pn_domain_detach(domain, fd);
}

/* Two domains of two threads do not wait for each other either. */
static struct pn_domain *other;

static void *maps_in_the_other(void *arg)
{
	uint64_t iova = AT(0);

	(void)arg;
	if (pn_domain_map(other, region, 0, PAGE, PN_PROT_RW, &iova) ||
		pn_domain_unmap(other, iova, PAGE))
		wrong();
	return NULL;
}

static void domains_do_not_wait_for_each_other(void **state)
{
	const char *backend = *state;
	bool native = backend[0] == 'i' && !backend[7];
	pthread_t caller, maps;
	bool in_time;
	int fd = attach_to(domain, &nic0), other_fd;

	assert_int_equal(new_domain(&other, backend, NULL), 0);
	other_fd = attach_to(other, &nic2);
	__atomic_store_n(
		&model.hold, native ? K_IOAS_MAP_FILE : VFIO_IOMMU_MAP_DMA, __ATOMIC_RELEASE);
	assert_int_equal(pthread_create(&caller, NULL, held_map, NULL), 0);
	assert_true(wait_for(&model.held, 30));
	__atomic_store_n(&model.hold, 0, __ATOMIC_RELEASE);
	assert_int_equal(pthread_create(&maps, NULL, maps_in_the_other, NULL), 0);
	in_time = joined_in_time(maps, 30);
	sem_post(&model.go_on);
	pthread_join(caller, NULL);
	if (!in_time)
		pthread_join(maps, NULL);
	assert_true(in_time);
	assert_int_equal(errors, 0);
	pn_domain_detach(other, other_fd);
	assert_int_equal(pn_domain_destroy(other), 0);
	pn_domain_detach(domain, fd);
}

static int setup(void **state)
{
	struct pn_region_info info;

	fixture_machine();
	model.ranges[0].end = (UINT64_C(1) << 48) - 1;
	model.range_count = 1;
	errors = finished = 0;
	if (new_region(&region, (FIXED + 16)) || new_domain(&domain, *state, NULL))
		return -1;
	pn_region_get_info(region, &info);
	memory = info.vaddr;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (pn_domain_destroy(domain) || pn_region_destroy(region))
		return -1;
	return model_teardown(NULL);
}

#define ON_BACKEND(test, name)                                                  \
	{                                                                       \
		name ": " #test, test, setup, teardown, (void *)(uintptr_t)name \
	}
#define ON_KERNELS(test) \
	ON_BACKEND(test, "type1"), ON_BACKEND(test, "iommufd-compat"), ON_BACKEND(test, "iommufd")

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_KERNELS(threads_do_not_disturb_each_other),
		ON_KERNELS(lookups_wait_for_nothing),
		ON_KERNELS(domains_do_not_wait_for_each_other),
	};

	return fixture_run(tests);
}
