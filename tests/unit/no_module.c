/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests that know what the counters are or make them up: the companion module is not loaded,
 * whatever the machine has.
 */
#include <errno.h>

#include "pins_priv.h"

int __wrap_pn_module_user_locked(pid_t pid, uid_t uid, uint64_t *pages);
int __wrap_pn_module_physical(uint64_t vaddr, uint64_t *physical);

int __wrap_pn_module_user_locked(pid_t pid, uid_t uid, uint64_t *pages)
{
	(void)pid;
	(void)uid;
	(void)pages;
	return -ENODEV;
}

int __wrap_pn_module_physical(uint64_t vaddr, uint64_t *physical)
{
	(void)vaddr;
	(void)physical;
	return -ENODEV;
}
