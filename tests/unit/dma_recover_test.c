/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What could not be taken back: the domain says that it is damaged and why, refuses changes, and is
 * whole again when its last device has gone, as the kernel then holds nothing. And a group that
 * stays in its container because something holds its device open.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "vfio_model_abi.h"

static void fail_from(unsigned long request, unsigned int nth, unsigned int times, int err)
{
	size_t i;

	for (i = 0; model.rules[i].request; i++)
		;
	model.rules[i] =
		(struct model_rule){.request = request, .nth = nth, .times = times, .err = err};
}

static unsigned long unmap_request(const struct fixture *fixture)
{
	return strcmp(fixture->backend, "iommufd") ? VFIO_IOMMU_UNMAP_DMA : K_IOAS_UNMAP;
}

static void assert_reason_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("\"%s\" is not in \"%s\"", words, pn_error());
}

/* Nothing is changed in a damaged domain but what lets go. */
static void assert_damaged(struct fixture *fixture)
{
	uint64_t iova = AT(0x700000);
	int fd = -1;

	assert_true(info_of(fixture->domain).damaged);
	REFUSED(fixture->domain, EIO,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova));
	assert_non_null(strstr(refused_reason, "damaged"));
	REFUSED(fixture->domain, EIO, pn_domain_attach(fixture->domain, &nic2, &fd));
	assert_int_equal(fd, -1);
}

/* Whole, with the mappings that the index has; a device gets them all. */
static void assert_whole(struct fixture *fixture, uint64_t mappings, uint64_t pages)
{
	int fd;

	assert_false(info_of(fixture->domain).damaged);
	assert_int_equal(model_maps(), 0);
	fd = attach_to(fixture->domain, &nic0);
	assert_maps(fixture->domain, mappings, pages);
	map_at(fixture, 8, 1, AT(0x700000));
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(model_maps(), 0);
}

/* The kernel's answer is lost, and lost again: is it still mapped? */
static void an_unmap_of_which_nobody_knows(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 0, 2, AT(0x10000));
	map_at(fixture, 2, 2, AT(0x20000));
	model.fail_after = true;
	fail_from(unmap_request(fixture), 1, 2, EFAULT);
	stale_error();
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 2 * PAGE), -EFAULT);
	assert_reason_has("cannot be known");
	assert_reason_has("damaged");
	model_calm();
	assert_damaged(fixture);
	assert_int_equal(info_of(fixture->domain).mappings, 2);
	/* Of the other it is known. */
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x20000), 2 * PAGE), 0);
	pn_domain_detach(fixture->domain, fd);
	assert_whole(fixture, 1, 2);
}

/* Asked once more, the kernel says whether it is; nothing is left of the first failure. */
static void an_answer_that_is_lost_once(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	for (int after = 0; after < 2; after++) {
		map_at(fixture, 0, 2, AT(0x10000));
		map_at(fixture, 2, 2, AT(0x20000));
		model.fail_after = after;
		fail_from(unmap_request(fixture), 1, 1, EFAULT);
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 2 * PAGE), 0);
		model_calm();
		assert_false(info_of(fixture->domain).damaged);
		assert_maps(fixture->domain, 1, 2);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	map_at(fixture, 0, 2, AT(0x10000));
	model.fail_after = true;
	fail_from(unmap_request(fixture), 1, 1, EFAULT);
	pn_domain_detach(fixture->domain, fd);
	model_calm();
	assert_whole(fixture, 1, 2);
}

/* The first answer is lost, and the second question is refused: it was not answered. */
static void a_second_question_that_is_refused(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 0, 2, AT(0x10000));
	model.fail_after = true;
	fail_from(unmap_request(fixture), 1, 1, EFAULT);
	fail_from(unmap_request(fixture), 2, 1, ENOMEM);
	stale_error();
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 2 * PAGE), -EFAULT);
	assert_reason_has("cannot be known");
	model_calm();
	assert_int_equal(model_maps(), 0);
	assert_damaged(fixture);
	pn_domain_detach(fixture->domain, fd);
	assert_whole(fixture, 1, 2);
}

/* Queued mappings that nobody knows of go with the device: nothing is left to be damaged. */
static void a_replay_of_which_nobody_knows(void **state)
{
	struct fixture *fixture = *state;
	int fd = -1;

	map_at(fixture, 0, 2, AT(0x10000));
	model.fail_after = true;
	fail_from(K_IOAS_MAP, 1, 1, EFAULT);
	fail_from(K_IOAS_MAP_FILE, 1, 1, EFAULT);
	fail_from(K_IOAS_UNMAP, 1, 1, EBUSY);
	stale_error();
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), -EFAULT);
	model_calm();
	assert_int_equal(model_maps(), 0);
	assert_reason_has("EFAULT");
	assert_null(strstr(pn_error(), "damaged"));
	assert_whole(fixture, 1, 2);
}

static void a_map_of_which_nobody_knows(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = AT(0x20000);
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 0, 2, AT(0x10000));
	model.fail_after = true;
	fail_from(K_IOAS_MAP, 1, 1, EFAULT);
	fail_from(K_IOAS_MAP_FILE, 1, 1, EFAULT);
	REFUSED(fixture->domain, EFAULT,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova));
	model_calm();
	assert_maps(fixture->domain, 1, 2);
	model.fail_after = true;
	fail_from(K_IOAS_MAP, 1, 1, EFAULT);
	fail_from(K_IOAS_MAP_FILE, 1, 1, EFAULT);
	fail_from(K_IOAS_UNMAP, 1, 1, EBUSY);
	stale_error();
	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova),
		-EFAULT);
	assert_reason_has("EFAULT");
	assert_reason_has("the roll-back failed: the domain is damaged");
	model_calm();
	assert_damaged(fixture);
	pn_domain_detach(fixture->domain, fd);
	assert_whole(fixture, 1, 2);
}

/* Two devices, each with a page table of its own: the second's IOMMU does not take the first's. */
static void with_two_page_tables(struct fixture *fixture, int fd[2])
{
	struct pn_domain_opts opts = {.dirty_tracking = true};

	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(new_domain(&fixture->domain, fixture->backend, &opts), 0);
	map_at(fixture, 0, 2, AT(0x10000));
	fd[0] = attach_to(fixture->domain, &nic0);
	fail_from(K_DEVICE_ATTACH, 1, 1, EINVAL);
	model_forget_calls();
	fd[1] = attach_to(fixture->domain, &nic2);
	assert_int_equal(model_calls_of(K_HWPT_ALLOC), 1);
	model_calm();
}

static int tracking(struct fixture *fixture, bool on)
{
	return on ? pn_domain_dirty_start(fixture->domain) : pn_domain_dirty_stop(fixture->domain);
}

static void tracking_that_is_half_on(void **state)
{
	struct fixture *fixture = *state;
	int fd[2];

	for (int on = 1; on >= 0; on--) {
		with_two_page_tables(fixture, fd);
		if (!on)
			assert_int_equal(tracking(fixture, true), 0);
		fail_from(K_HWPT_SET_DIRTY, 2, 1, ENOMEM);
		REFUSED(fixture->domain, ENOMEM, tracking(fixture, on));
		model_calm();
		assert_false(info_of(fixture->domain).damaged);
		fail_from(K_HWPT_SET_DIRTY, 2, 2, ENOMEM);
		stale_error();
		assert_int_equal(tracking(fixture, on), -ENOMEM);
		assert_reason_has(on ? "starting dirty tracking" : "stopping dirty tracking");
		assert_reason_has("the roll-back failed: the domain is damaged");
		model_calm();
		assert_damaged(fixture);
		pn_domain_detach(fixture->domain, fd[1]);
		assert_damaged(fixture);
		pn_domain_detach(fixture->domain, fd[0]);
		assert_whole(fixture, 1, 2);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
}

static char said[PN_ERROR_MAX];

static void listen(void *arg, enum pn_log_level level, const char *text)
{
	(void)arg;
	if (level == PN_LOG_ERROR)
		snprintf(said, sizeof(said), "%s", text);
}

/* The page table of a device that goes, not as the last, cannot be destroyed. */
static void a_page_table_that_stays(void **state)
{
	struct fixture *fixture = *state;
	void *vaddr;
	int fd[2];

	with_two_page_tables(fixture, fd);
	said[0] = '\0';
	pn_log_set(listen, NULL, PN_LOG_ERROR);
	fail_from(K_DESTROY, 1, 1, EBUSY);
	pn_domain_detach(fixture->domain, fd[1]);
	pn_log_set(NULL, NULL, PN_LOG_ERROR);
	model_calm();
	assert_non_null(strstr(said, "did not let go"));
	assert_non_null(strstr(said, strerror(EBUSY)));
	assert_non_null(strstr(said, "damaged"));
	assert_int_equal(info_of(fixture->domain).devices, 1);
	assert_damaged(fixture);
	/* What is there can be looked up, and unmapped. */
	assert_int_equal(pn_domain_vaddr(fixture->domain, AT(0x10000), PAGE, &vaddr), 0);
	assert_ptr_equal(vaddr, fixture->base);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(model_maps(), 0);
	pn_domain_detach(fixture->domain, fd[0]);
	assert_whole(fixture, 0, 0);
}

/*
 * A closed device that something holds open, such as a region of its BAR, keeps its group in the
 * container and the container's IOMMU set: another device can be attached all the same.
 */
static void a_group_that_stays(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0), copy, other = -1;

	map_at(fixture, 0, 2, AT(0x10000));
	copy = dup(fd);
	assert_true(copy >= 0);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(model_maps(), 0);
	assert_int_equal(model_open_devices(), 1);
	REFUSED(fixture->domain, EBUSY, pn_domain_attach(fixture->domain, &nic0, &other));
	assert_non_null(strstr(refused_reason, "region of a BAR"));
	fd = attach_to(fixture->domain, &nic2);
	assert_maps(fixture->domain, 1, 2);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(model_maps(), 0);
	close(copy);
	assert_whole(fixture, 1, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(an_unmap_of_which_nobody_knows),
		ON_EACH(an_answer_that_is_lost_once),
		ON_EACH(a_second_question_that_is_refused),
		ON("iommufd", a_replay_of_which_nobody_knows, fixture_iommufd),
		ON("iommufd", a_map_of_which_nobody_knows, fixture_iommufd),
		ON("iommufd without MAP_FILE", a_map_of_which_nobody_knows, fixture_iommufd_old),
		ON("iommufd", tracking_that_is_half_on, fixture_iommufd),
		ON("iommufd", a_page_table_that_stays, fixture_iommufd),
		ON("type1", a_group_that_stays, fixture_type1),
		ON("iommufd-compat", a_group_that_stays, fixture_compat),
	};

	return fixture_run(tests);
}
