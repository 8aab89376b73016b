/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion oci hook: run by a container runtime, with the container's state on stdin, before the
 * container's program starts. What cannot be done fails, and with it the container.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "oci.h"
#include "parse.h"

#define STATE_MAX (1u << 20) /* bytes of a container's state, annotations and all */

json_t *oci_hook_json(uint64_t memlock)
{
	char path[4096], text[32];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length <= 0)
		return NULL;
	path[length] = '\0';
	snprintf(text, sizeof(text), "%" PRIu64, memlock);
	return json_pack("{s:s, s:[s, s, s, s, s]}", "path", path, "args", "pinion", "oci", "hook",
		"--memlock", text);
}

/* The process of the container whose state is on stdin; negative after a complaint. */
static pid_t read_state(const struct command *command)
{
	char *text = malloc(STATE_MAX);
	size_t length = text ? fread(text, 1, STATE_MAX, stdin) : 0;
	json_t *state = NULL;
	json_int_t pid = -1;

	if (length == STATE_MAX)
		complain(
			"%s: the state on stdin is longer than %u bytes", command->name, STATE_MAX);
	else if (text)
		state = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (state && json_is_integer(json_object_get(state, "pid")))
		pid = json_integer_value(json_object_get(state, "pid"));
	json_decref(state);
	if (pid > 0 && pid <= INT32_MAX)
		return (pid_t)pid;
	complain("%s: no state of a container with a pid is on stdin: a runtime calls this as a "
		 "hook",
		command->name);
	return -1;
}

int oci_hook_run(const struct command *command, const char *memlock)
{
	struct rlimit limit;
	uint64_t bytes;
	pid_t pid;

	if (!memlock || parse_size(memlock, &bytes) || !bytes) {
		complain("%s: hook takes --memlock with bytes, or a number with K, M or G; try "
			 "'pinion help %s'",
			command->name, command->name);
		return EXIT_USAGE;
	}
	pid = read_state(command);
	if (pid < 0)
		return EXIT_FAILURE;
	limit = (struct rlimit){.rlim_cur = bytes, .rlim_max = bytes};
	if (prlimit(pid, RLIMIT_MEMLOCK, &limit, NULL) == 0)
		return EXIT_SUCCESS;
	complain("%s: RLIMIT_MEMLOCK of process %d cannot be set to %" PRIu64 " bytes: %s%s",
		command->name, (int)pid, bytes, strerror(errno),
		errno == EPERM ? "; above the hard limit it takes CAP_SYS_RESOURCE, which a "
				 "runtime has that is root"
			       : "");
	return EXIT_FAILURE;
}
