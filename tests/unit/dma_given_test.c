/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices whose files a domain was given beforehand, bound to its iommufd by somebody else or as
 * their groups: attaching them by name alone, again, and what does not belong together.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "vfio_model_abi.h"

static struct pn_domain *domain;

/* An iommufd, and a device's node bound to it, as another process leaves them. */
static int open_bound(int iommufd, const char *node, uint32_t *id)
{
	struct k_device_bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int fd = open(node, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, K_DEVICE_BIND, &bind), 0);
	*id = bind.out_id;
	return fd;
}

static void create(const char *backend, const char *node, int *fd)
{
	struct pn_domain_opts opts = {.use_fd = true};

	*fd = opts.fd = open(node, O_RDWR | O_CLOEXEC);
	assert_true(opts.fd >= 0);
	assert_int_equal(new_domain(&domain, backend, &opts), 0);
}

static struct pn_dma_device of(const struct pn_dma_device *device, int fd)
{
	struct pn_dma_device given = *device;

	given.fd = fd;
	return given;
}

/* Attached by name twice, mapped, and gone with the domain. */
static void use(const struct pn_dma_device *device)
{
	struct pn_region *region;
	uint64_t iova = AT(0);
	int fd;

	assert_int_equal(new_region(&region, 4), 0);
	assert_int_equal(pn_domain_map(domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	for (int i = 0; i < 2; i++) {
		fd = attach_to(domain, device);
		assert_int_equal(info_of(domain).devices, 1);
		assert_int_equal(model_maps(), 1);
		pn_domain_detach(domain, fd);
		assert_int_equal(model_maps(), 0);
	}
	assert_int_equal(pn_domain_unmap(domain, iova, 4 * PAGE), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(pn_domain_destroy(domain), 0);
}

static void bound_by_somebody_else(void **state)
{
	struct pn_dma_device given;
	int iommufd;

	(void)state;
	create("iommufd", "/dev/iommu", &iommufd);
	given = of(&nic0, -1);
	given.bound = true;
	given.fd = open_bound(iommufd, "/dev/vfio/devices/vfio0", &given.bound_id);
	assert_int_equal(pn_domain_give(domain, &given), 0);
	close(iommufd);
	use(&nic0);
	assert_int_equal(model_open_fds(), 0);
}

static void a_group(void **state)
{
	struct pn_dma_device given;
	int container;

	(void)state;
	create("type1", "/dev/vfio/vfio", &container);
	close(container);
	given = of(&nic0, open("/dev/vfio/5", O_RDWR | O_CLOEXEC));
	assert_int_equal(pn_domain_give(domain, &given), 0);
	use(&nic0);
	assert_int_equal(model_open_fds(), 0);
}

/* An id that the iommufd does not have: the device is bound elsewhere, or nowhere. */
static void bound_to_another(void **state)
{
	int iommufd, other = open("/dev/iommu", O_RDWR | O_CLOEXEC), fd = -7;
	struct pn_dma_device given;

	(void)state;
	create("iommufd", "/dev/iommu", &iommufd);
	given = of(&nic0, -1);
	given.bound = true;
	given.fd = open_bound(other, "/dev/vfio/devices/vfio0", &given.bound_id);
	given.bound_id += 100;
	assert_int_equal(pn_domain_give(domain, &given), 0);
	REFUSED(domain, EINVAL, pn_domain_attach(domain, &nic0, &fd));
	assert_non_null(strstr(refused_reason, "not bound to the iommufd"));
	assert_int_equal(fd, -7);
	assert_int_equal(pn_domain_destroy(domain), 0);
	close(iommufd);
	close(other);
	assert_int_equal(model_open_fds(), 0);
}

/* Another device's file: seen when it is attached. A second file for one device; no domain. */
static void what_does_not_fit(void **state)
{
	struct pn_dma_device given;
	int iommufd, fd = -7;

	(void)state;
	create("iommufd", "/dev/iommu", &iommufd);
	given = of(&nic0, -1);
	given.bound = true;
	given.fd = open_bound(iommufd, "/dev/vfio/devices/vfio2", &given.bound_id);
	assert_int_equal(pn_domain_give(domain, &given), 0);
	REFUSED(domain, EINVAL, pn_domain_attach(domain, &nic0, &fd));
	assert_int_equal(pn_domain_give(domain, &given), -EEXIST);
	assert_true(has_reason());
	assert_int_equal(pn_domain_give(NULL, &given), -EINVAL);
	/* A device that it was not given is opened as ever, and its file handed in goes first. */
	pn_domain_detach(domain, attach_to(domain, &nic1));
	assert_int_equal(pn_domain_destroy(domain), 0);
	close(iommufd);
	assert_int_equal(model_open_fds(), 0);
}

static int setup(void **state)
{
	int ret = model_setup(state);

	fixture_machine();
	return ret;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bound_by_somebody_else, setup, model_teardown),
		cmocka_unit_test_setup_teardown(a_group, setup, model_teardown),
		cmocka_unit_test_setup_teardown(bound_to_another, setup, model_teardown),
		cmocka_unit_test_setup_teardown(what_does_not_fit, setup, model_teardown),
	};

	return fixture_run(tests);
}
