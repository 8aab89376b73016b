/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain that is handed over to the program that is executed next: what is inherited, what the
 * new program finds, who is charged; what cannot be handed over; and going back.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_program.h"

#define FDS 256

static void take_over(const char *backend)
{
	struct pn_domain *domain = NULL;
	struct program program;
	struct pn_region *region;
	uint64_t iova = PN_IOVA_ANY;
	int fd = -1;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	if (!domain)
		return;
	program_check(&program, domain);
	/* Each device is handed out once. */
	EXPECT(pn_domain_device_fd(domain, nic0.address) == program.devices[0]);
	EXPECT(pn_domain_device_fd(domain, nic2.address) == program.devices[1]);
	EXPECT(pn_domain_device_fd(domain, nic0.address) == -EBUSY);
	/* Its memory is where it was: nothing else had taken the place. */
	EXPECT(!pn_domain_iova(domain, program.base[0], PAGE, &iova));
	EXPECT(iova == program_iova(0));
	EXPECT(fcntl(program.state_fd, F_GETFD) < 0);
	/* It goes on as any other. */
	EXPECT(!new_region(&region, 4));
	iova = PN_IOVA_ANY;
	EXPECT(!pn_domain_map(domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova));
	EXPECT(!pn_domain_attach(domain, &nic1, &fd));
	EXPECT(model_maps() == MAPPINGS + 1);
	EXPECT(!pn_domain_unmap(domain, iova, 4 * PAGE));
	EXPECT(!pn_region_destroy(region));
	pn_domain_detach(domain, fd);
	program_end(&program, domain);
}

static void a_program_takes_over(void **state)
{
	in_child(*state, take_over);
}

static void take_over_twice(const char *backend)
{
	struct pn_domain *domain = NULL;
	struct program program;

	program_begin(&program, backend);
	for (int round = 0; round < 3; round++) {
		if (!program_execute(&program))
			return;
		domain = NULL;
		EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
		if (!domain)
			return;
		program_check(&program, domain);
		program.domain = domain;
	}
	program_end(&program, domain);
}

static void it_is_handed_on(void **state)
{
	in_child(*state, take_over_twice);
}

static void take_over_elsewhere(const char *backend)
{
	struct pn_domain *domain = NULL;
	struct program program;
	char *taken;
	uint64_t iova;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	taken = mmap(program.base[0] + PAGE, PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	EXPECT(taken == program.base[0] + PAGE);
	taken[0] = 'x';
	EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	if (!domain)
		return;
	program_check(&program, domain);
	EXPECT(pn_domain_iova(domain, taken, 1, &iova) == -ENOENT);
	EXPECT(taken[0] == 'x');
	program_end(&program, domain);
}

static void addresses_that_are_taken(void **state)
{
	in_child(*state, take_over_elsewhere);
}

static void take_over_with_a_limit(const char *backend)
{
	/* iommufd by user: both programs are charged for a moment. */
	uint64_t need = !strcmp(backend, "type1") ? 16 : 32;
	struct pn_domain *domain = NULL;
	struct program program;
	struct model_state before, after;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	for (unsigned int round = 0; round < 2; round++) {
		before = model_state();
		model.limit = round ? need - 1 : 1;
		stale_error();
		EXPECT(pn_domain_takeover(&domain, program.state_fd, ledgers) == -ENOMEM);
		EXPECT(has_reason());
		after = model_state();
		EXPECT(before.fds == after.fds && before.process_fds == after.process_fds);
		EXPECT(before.maps == after.maps && before.user == after.user);
		EXPECT(fcntl(program.state_fd, F_GETFD) >= 0);
	}
	model.limit = need;
	EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	if (!domain)
		return;
	program_check(&program, domain);
	program_end(&program, domain);
}

static void a_limit_that_is_too_low(void **state)
{
	in_child(*state, take_over_with_a_limit);
}

/* What was mapped with CAP_IPC_LOCK, by a program that then has it no more. */
static void take_over_exempt(const char *backend)
{
	bool type1 = !strcmp(backend, "type1");
	struct pn_domain *domain = NULL;
	struct pn_mapping_info mapping;
	uint64_t charged = 0, at;
	struct program program;

	if (!model_exempt(true))
		return;
	program_begin(&program, backend);
	model_exempt(true);
	EXPECT(!pn_domain_unmap_all(program.domain));
	for (unsigned int i = 0; i < MAPPINGS; i++) {
		at = program_iova(i);
		EXPECT(!pn_domain_map(
			program.domain, program.regions[0], i * 2 * PAGE, PAGE, PN_PROT_RW, &at));
	}
	EXPECT(model.locked == (type1 ? MAPPINGS : 0) && !model.user);
	if (!program_execute(&program))
		return;
	EXPECT(model_exempt(false));
	EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	if (!domain)
		return;
	for (at = 0; !pn_domain_next(domain, at, &mapping); at = mapping.iova + mapping.len)
		charged += mapping.charged;
	/* type1 charges the new program; iommufd moves what was charged, which is nothing. */
	EXPECT(charged == model.locked + model.user);
	EXPECT(charged == (type1 ? MAPPINGS : 0));
	program_end(&program, domain);
}

static void what_was_exempt(void **state)
{
	in_child(*state, take_over_exempt);
}

/* While it is handed over. */
static void ask_meanwhile(const char *backend)
{
	struct pn_preflight preflight;
	struct pn_mapping_info mapping;
	struct program program;
	struct pn_segment segment;
	uint64_t iova = AT(0x700000), bits;
	struct model_state before, after;
	int fd = -1, other;
	void *vaddr;

	program_begin(&program, backend);
	EXPECT(!pn_domain_handover(program.domain, &program.state_fd));
	segment = (struct pn_segment){program.regions[0], 0, PAGE};
	before = model_state();
	EXPECT(pn_domain_map(program.domain, program.regions[0], 0, PAGE, PN_PROT_RW, &iova) ==
		-EBUSY);
	EXPECT(pn_domain_map_segments(program.domain, &segment, 1, PN_PROT_RW, &iova) == -EBUSY);
	EXPECT(pn_domain_preflight(program.domain, program.regions[0], 0, PAGE, PN_PROT_RW,
		       &preflight) == -EBUSY);
	EXPECT(pn_domain_unmap(program.domain, program_iova(0), 4 * PAGE) == -EBUSY);
	EXPECT(pn_domain_unmap_all(program.domain) == -EBUSY);
	EXPECT(pn_domain_attach(program.domain, &nic1, &fd) == -EBUSY);
	EXPECT(pn_domain_device_bits(program.domain, program.devices[0], 40) < 0);
	EXPECT(pn_domain_dirty_start(program.domain) == -EBUSY);
	EXPECT(pn_domain_dirty_stop(program.domain) < 0);
	EXPECT(pn_domain_dirty_read(program.domain, program_iova(0), 4 * PAGE, PAGE, &bits) < 0);
	stale_error();
	EXPECT(pn_domain_handover(program.domain, &fd) == -EBUSY);
	EXPECT(has_reason());
	EXPECT(pn_domain_destroy(program.domain) == -EBUSY);
	EXPECT(!pn_domain_iova(program.domain, program.base[0], PAGE, &iova));
	EXPECT(iova == program_iova(0));
	EXPECT(!pn_domain_vaddr(program.domain, iova, PAGE, &vaddr) && vaddr == program.base[0]);
	EXPECT(!pn_domain_next(program.domain, 0, &mapping));
	EXPECT(info_of(program.domain).mappings == MAPPINGS);
	after = model_state();
	EXPECT(model_state_equal(&before, &after));
	/* Not by another file, which is not closed. */
	other = dup(program.state_fd);
	EXPECT(pn_domain_handover_cancel(program.domain, other) == -EINVAL);
	EXPECT(pn_domain_handover_cancel(program.domain, -1) == -EINVAL);
	EXPECT(!close(other));
	after = model_state();
	EXPECT(model_state_equal(&before, &after));
	/* And back. */
	EXPECT(!pn_domain_handover_cancel(program.domain, program.state_fd));
	EXPECT(fcntl(program.state_fd, F_GETFD) < 0);
	EXPECT(pn_domain_handover_cancel(program.domain, program.state_fd) == -EINVAL);
	program_check(&program, program.domain);
	EXPECT(!pn_domain_handover(program.domain, &program.state_fd));
	EXPECT(!pn_domain_handover_cancel(program.domain, program.state_fd));
	program_check(&program, program.domain);
	program_end(&program, program.domain);
}

static void meanwhile_it_can_be_looked_at(void **state)
{
	in_child(*state, ask_meanwhile);
}

static void list_inherited(bool list[FDS])
{
	for (int fd = 0; fd < FDS; fd++) {
		int flags = fcntl(fd, F_GETFD);

		list[fd] = flags >= 0 && !(flags & FD_CLOEXEC);
	}
}

static void look_at_files(const char *backend)
{
	static bool before[FDS], during[FDS], after[FDS];
	bool type1 = !strcmp(backend, "type1");
	unsigned int files = 0, mine = 0;
	struct program program;

	program_begin(&program, backend);
	list_inherited(before);
	EXPECT(!pn_domain_handover(program.domain, &program.state_fd));
	list_inherited(during);
	for (int fd = 0; fd < FDS; fd++) {
		if (before[fd] || !during[fd])
			continue;
		files++;
		mine += model_is_mine(fd);
	}
	/* Container, two groups, two devices; or iommufd and two devices. Two regions, the state.
	 */
	EXPECT(mine == (type1 ? 5 : 3));
	EXPECT(files == mine + 3);
	EXPECT(during[program.state_fd]);
	EXPECT(!pn_domain_handover_cancel(program.domain, program.state_fd));
	list_inherited(after);
	EXPECT(!memcmp(before, after, sizeof(before)));
	program_end(&program, program.domain);
}

static void exactly_what_is_needed_is_inherited(void **state)
{
	in_child(*state, look_at_files);
}

/* What cannot be. */

static void without_a_file(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = AT(0x900000);
	struct pn_region *region;
	int fd, file = -7;
	void *memory =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	assert_int_equal(pn_region_from_range(&region, memory, 4 * PAGE, NULL), 0);
	fd = attach_to(fixture->domain, &nic0);
	map_at(fixture, 0, 4, AT(0x10000));
	assert_int_equal(pn_domain_map(fixture->domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_handover(fixture->domain, &file));
	assert_int_equal(file, -7);
	assert_int_equal(pn_domain_unmap(fixture->domain, iova, 4 * PAGE), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(memory, 4 * PAGE);
	assert_int_equal(pn_domain_handover(fixture->domain, &file), 0);
	assert_int_equal(pn_domain_handover_cancel(fixture->domain, file), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void kernels_that_cannot(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0), file = -7;

	map_at(fixture, 0, 4, AT(0x10000));
	model.no_update_vaddr = true;
	model.change_process = false;
	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_handover(fixture->domain, &file));
	assert_int_equal(file, -7);
	assert_maps(fixture->domain, 1, 4);
	pn_domain_detach(fixture->domain, fd);
}

static void an_old_kernel_cannot(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0), file = -7;

	map_at(fixture, 0, 4, AT(0x10000));
	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_handover(fixture->domain, &file));
	assert_int_equal(file, -7);
	pn_domain_detach(fixture->domain, fd);
}

static void nothing_is_attached(void **state)
{
	struct fixture *fixture = *state;
	int file = -7;

	map_at(fixture, 0, 4, AT(0x10000));
	REFUSED(fixture->domain, ENODEV, pn_domain_handover(fixture->domain, &file));
	assert_int_equal(file, -7);
	pn_domain_detach(fixture->domain, attach_to(fixture->domain, &nic0));
	REFUSED(fixture->domain, ENODEV, pn_domain_handover(fixture->domain, &file));
}

/* The kernel's answer is lost, and lost again or not given: the addresses have ended, or not. */
static void answers_that_are_lost(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0), file = -7;

	map_at(fixture, 0, 4, AT(0x10000));
	map_at(fixture, 4, 4, AT(0x20000));
	for (unsigned int after = 0; after < 2; after++) {
		for (unsigned int other = 0; other < 2; other++) {
			model.fail_after = after;
			model.rules[0] = (struct model_rule){.request = VFIO_IOMMU_UNMAP_DMA,
				.nth = 1,
				.times = 1,
				.err = EFAULT};
			model.rules[1] = (struct model_rule){.request = VFIO_IOMMU_UNMAP_DMA,
				.nth = 2,
				.times = 1,
				.err = other ? ENOMEM : EFAULT};
			REFUSED(fixture->domain, EFAULT,
				pn_domain_handover(fixture->domain, &file));
			assert_int_equal(file, -7);
			model_calm();
			check_domain(fixture->domain);
		}
	}
	assert_int_equal(pn_domain_handover(fixture->domain, &file), 0);
	assert_int_equal(pn_domain_handover_cancel(fixture->domain, file), 0);
	pn_domain_detach(fixture->domain, fd);
}

#define IN_PROGRAMS(test)                                                          \
	{"type1: " #test, test, NULL, NULL, (void *)(uintptr_t) "type1"},          \
	{                                                                          \
		"iommufd: " #test, test, NULL, NULL, (void *)(uintptr_t) "iommufd" \
	}
#define BOTH(test) ON("type1", test, fixture_type1), ON("iommufd", test, fixture_iommufd)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PROGRAMS(a_program_takes_over),
		IN_PROGRAMS(it_is_handed_on),
		IN_PROGRAMS(addresses_that_are_taken),
		IN_PROGRAMS(what_was_exempt),
		IN_PROGRAMS(a_limit_that_is_too_low),
		IN_PROGRAMS(meanwhile_it_can_be_looked_at),
		IN_PROGRAMS(exactly_what_is_needed_is_inherited),
		BOTH(without_a_file),
		BOTH(kernels_that_cannot),
		BOTH(nothing_is_attached),
		ON("type1", answers_that_are_lost, fixture_type1),
		ON("iommufd-compat", an_old_kernel_cannot, fixture_compat),
		ON("iommufd without MAP_FILE", an_old_kernel_cannot, fixture_iommufd_old),
	};

	return fixture_run(tests);
}
