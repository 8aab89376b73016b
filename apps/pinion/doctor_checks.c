/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All checks of pinion doctor, in their order.
 */
#include <string.h>

#include "doctor.h"

/* A later one uses what those before it found: see struct doctor. */
static void (*const checks[])(struct doctor *d) = {
	doctor_check_container,
	doctor_check_privileges,
	doctor_check_kernel,
	doctor_check_iommu,
	doctor_check_backends,
	doctor_check_devices,
	doctor_check_syscalls,
	doctor_check_hugepages,
	doctor_check_holders,
	doctor_check_memory,
	doctor_check_cgroups,
	doctor_check_limits,
	doctor_check_companion,
};

void doctor_check(struct doctor *d)
{
	d->node = PN_NODE_ANY;
	d->no_iommu_wanted =
		strcmp(d->ask.backend, "noiommu") == 0 || strcmp(d->ask.backend, "none") == 0;
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](d);
}
