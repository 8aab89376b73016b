/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that ask for a VF token, by group and by their own nodes, on kernels that ask for it
 * there and on those before.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"

#define TOKEN "2ab74924-c335-45f4-9b16-8569e5b08258"

static const uint8_t right[16] = {0x2a, 0xb7, 0x49, 0x24, 0xc3, 0x35, 0x45, 0xf4, 0x9b, 0x16, 0x85,
	0x69, 0xe5, 0xb0, 0x82, 0x58};

static struct pn_dma_device with_token(const uint8_t *token, uint8_t change)
{
	struct pn_dma_device device = nic0;

	device.use_vf_token = true;
	memcpy(device.vf_token, token, sizeof(device.vf_token));
	device.vf_token[0] ^= change;
	return device;
}

static bool by_own_node(const struct fixture *fixture)
{
	return !strcmp(fixture->backend, "iommufd");
}

static void refused(
	struct fixture *fixture, const struct pn_dma_device *device, int err, const char *words)
{
	int fd = -1;

	assert_int_equal(pn_domain_attach(fixture->domain, device, &fd), err);
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
	assert_int_equal(info_of(fixture->domain).devices, 0);
}

static void opens(struct fixture *fixture, const struct pn_dma_device *device)
{
	pn_domain_detach(fixture->domain, attach_to(fixture->domain, device));
}

static void the_token_opens(void **state)
{
	struct pn_dma_device device = with_token(right, 0), wrong = with_token(right, 1);
	struct fixture *fixture = *state;

	model.vf_token = TOKEN;
	model.bind_token = true;
	refused(fixture, &nic0, -EACCES, "none was given");
	refused(fixture, &wrong, -EACCES, "not the one");
	opens(fixture, &device);
	model.vf_token = NULL;
}

/* Linux before 6.17 does not ask for it at the device's own node, and knows no way to give it. */
static void a_kernel_of_before(void **state)
{
	struct pn_dma_device device = with_token(right, 0);
	struct fixture *fixture = *state;

	model.vf_token = TOKEN;
	opens(fixture, &device);
	if (by_own_node(fixture))
		opens(fixture, &nic0);
	else
		refused(fixture, &nic0, -EACCES, "none was given");
	model.vf_token = NULL;
}

static void a_device_that_takes_none(void **state)
{
	struct pn_dma_device device = with_token(right, 0);
	struct fixture *fixture = *state;

	/* By its own node it is asked again without one. */
	if (by_own_node(fixture))
		opens(fixture, &device);
	else
		refused(fixture, &device, -EINVAL, "takes no VF token");
	opens(fixture, &nic0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(the_token_opens),
		ON_EACH(a_kernel_of_before),
		ON_EACH(a_device_that_takes_none),
	};

	return fixture_run(tests);
}
