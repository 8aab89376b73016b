/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refuse [--kill] CALL[,CALL]... COMMAND...: run a command under a seccomp filter that refuses
 * these system calls with EPERM, or ends the process that makes one.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int refuse(scmp_filter_ctx filter, uint32_t action, char *names)
{
	char *name;

	while ((name = strsep(&names, ","))) {
		int number = seccomp_syscall_resolve_name(name);
		int ret = number == __NR_SCMP_ERROR ? -EINVAL
						    : seccomp_rule_add(filter, action, number, 0);

		if (ret) {
			fprintf(stderr, "refuse: %s: %s\n", name, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint32_t action = SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx filter;
	int ret;

	if (argc > 1 && strcmp(argv[1], "--kill") == 0) {
		action = SCMP_ACT_KILL_PROCESS;
		argv++;
		argc--;
	}
	if (argc < 3) {
		fputs("usage: refuse [--kill] CALL[,CALL]... COMMAND...\n", stderr);
		return 2;
	}
	filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter || refuse(filter, action, argv[1]))
		return 1;
	ret = seccomp_load(filter);
	if (ret) {
		fprintf(stderr, "refuse: the filter: %s\n", strerror(-ret));
		return 1;
	}
	execv(argv[2], argv + 2);
	fprintf(stderr, "refuse: %s: %s\n", argv[2], strerror(errno));
	return 127;
}
