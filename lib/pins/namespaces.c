/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which namespaces the caller is in, by the numbers that the kernel shows.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pins_priv.h"

uint64_t pn_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : (uint64_t)st.st_ino;
}

bool pn_proc_is_other(void)
{
	char self[16];
	ssize_t len = readlink("/proc/self", self, sizeof(self) - 1);

	if (len <= 0)
		return false;
	self[len] = '\0';
	return strtol(self, NULL, 10) != getpid();
}

uint32_t pn_user_namespace(void)
{
	struct stat st;

	/* Numbers of namespaces have 32 bits (fs/proc/generic.c: proc_alloc_inum). */
	return stat("/proc/thread-self/ns/user", &st) ? 0 : (uint32_t)st.st_ino;
}
