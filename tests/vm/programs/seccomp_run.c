/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a command under a seccomp profile of the format that container runtimes read, and can tell
 * which system calls it makes that the profile does not have: they are reported and let through.
 *   seccomp_run PROFILE COMMAND...             under the profile, as it is
 *   seccomp_run --measure FILE PROFILE COMMAND...
 *                                              name what is not in it, one a line, in FILE
 *   seccomp_run --bpf PROFILE                  the filter itself on stdout, for bwrap --seccomp
 * Of the profile it takes what ours has: calls that are allowed, or fail, whatever their arguments,
 * or if some bits of one are as said.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS_MAX 1024

#define fail(...)                                             \
	do {                                                  \
		fprintf(stderr, "seccomp_run: " __VA_ARGS__); \
		fputc('\n', stderr);                          \
		exit(125);                                    \
	} while (0)

static json_t *read_profile(const char *path)
{
	json_error_t error;
	json_t *profile = json_load_file(path, JSON_REJECT_DUPLICATES, &error);

	if (!profile)
		fail("%s:%d: %s", path, error.line, error.text);
	if (strcmp(json_string_value(json_object_get(profile, "defaultAction")) ?: "",
		    "SCMP_ACT_ERRNO") != 0)
		fail("%s: defaultAction is not SCMP_ACT_ERRNO", path);
	return profile;
}

static uint32_t action_of(const json_t *rule)
{
	const char *action = json_string_value(json_object_get(rule, "action")) ?: "";
	json_int_t number = json_integer_value(json_object_get(rule, "errnoRet"));

	if (strcmp(action, "SCMP_ACT_ALLOW") == 0)
		return SCMP_ACT_ALLOW;
	if (strcmp(action, "SCMP_ACT_ERRNO") != 0 || number <= 0 || number > 4095)
		fail("a rule of the profile is not one that this program takes");
	return SCMP_ACT_ERRNO((uint16_t)number);
}

/* How many conditions there are: one, or none. */
static unsigned int condition_of(const json_t *rule, struct scmp_arg_cmp *condition)
{
	const json_t *args = json_object_get(rule, "args");
	json_int_t index, mask, value;
	const char *op;

	if (!args)
		return 0;
	if (json_unpack((json_t *)args, "[{s:I, s:I, s:I, s:s}!]", "index", &index, "value", &mask,
		    "valueTwo", &value, "op", &op) ||
		index < 0 || index > 5 || strcmp(op, "SCMP_CMP_MASKED_EQ") != 0)
		fail("a condition of the profile is not one that this program takes");
	*condition = SCMP_CMP(
		(unsigned int)index, SCMP_CMP_MASKED_EQ, (scmp_datum_t)mask, (scmp_datum_t)value);
	return 1;
}

static void allow(scmp_filter_ctx filter, const json_t *rule)
{
	struct scmp_arg_cmp condition;
	unsigned int conditions = condition_of(rule, &condition);
	uint32_t action = action_of(rule);
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(rule, "names"), i, name)
	{
		int call = seccomp_syscall_resolve_name(json_string_value(name) ?: "");
		int err;

		if (call == __NR_SCMP_ERROR)
			fail("no system call '%s'", json_string_value(name) ?: "?");
		err = seccomp_rule_add_array(filter, action, call, conditions, &condition);
		if (err)
			fail("%s: %s", json_string_value(name), strerror(-err));
	}
}

/* The filter as a file in memory. */
static int filter_file(const char *path, bool measure)
{
	json_t *profile = read_profile(path), *rule;
	json_int_t number = json_integer_value(json_object_get(profile, "defaultErrnoRet"));
	scmp_filter_ctx filter = seccomp_init(
		measure ? SCMP_ACT_NOTIFY : SCMP_ACT_ERRNO((uint16_t)(number ? number : EPERM)));
	int fd = memfd_create("filter", MFD_CLOEXEC);
	size_t i;

	if (!filter || fd < 0)
		fail("no filter: %s", strerror(errno));
	json_array_foreach(json_object_get(profile, "syscalls"), i, rule) allow(filter, rule);
	if (seccomp_export_bpf(filter, fd))
		fail("the filter cannot be made");
	seccomp_release(filter);
	json_decref(profile);
	return fd;
}

static struct sock_fprog program_of(int fd)
{
	struct stat st;
	void *code;

	if (fstat(fd, &st))
		fail("fstat: %s", strerror(errno));
	code = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (code == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return (struct sock_fprog){
		.len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter)),
		.filter = code};
}

static void print_filter(int fd)
{
	struct sock_fprog program = program_of(fd);

	if (fwrite(program.filter, sizeof(*program.filter), program.len, stdout) != program.len ||
		fflush(stdout))
		fail("cannot write to stdout");
}

static _Noreturn void run(char **command)
{
	execvp(command[0], command);
	fail("%s: %s", command[0], strerror(errno));
}

/* The files are shared until the command is executed: its number is all the parent needs. */
static _Noreturn void run_measured(
	const struct sock_fprog *program, volatile int *listener, char **command)
{
	*listener = (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, program);
	if (*listener < 0)
		_exit(125);
	execvp(command[0], command);
	_exit(127);
}

static void answer(int listener, bool seen[CALLS_MAX])
{
	struct seccomp_notif call = {0};
	struct seccomp_notif_resp response = {0};

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
		return;
	if (call.data.nr >= 0 && call.data.nr < CALLS_MAX)
		seen[call.data.nr] = true;
	response.id = call.id;
	response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void report(const char *path, const bool seen[CALLS_MAX])
{
	FILE *out = fopen(path, "w");

	if (!out)
		fail("%s: %s", path, strerror(errno));
	for (int call = 0; call < CALLS_MAX; call++) {
		char *name = seen[call] ? seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call)
					: NULL;

		if (name)
			fprintf(out, "%s\n", name);
		free(name);
	}
	if (fclose(out))
		fail("%s: %s", path, strerror(errno));
}

static void wake(int number)
{
	(void)number;
}

/* Who waits for an answer may be killed meanwhile; then the kernel has none to give, and waits for
 * the next: a signal ends that. */
static void wake_often(void)
{
	const struct itimerval often = {{0, 50000}, {0, 50000}};
	const struct sigaction action = {.sa_handler = wake};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

static int measure(const struct sock_fprog *program, const char *path, char **command)
{
	volatile int *listener = mmap(
		NULL, sizeof(*listener), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static bool seen[CALLS_MAX];
	struct pollfd file = {.events = POLLIN};
	int status, child;

	*listener = -2;
	child = (int)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (child < 0)
		fail("clone: %s", strerror(errno));
	if (!child)
		run_measured(program, listener, command);
	/* It ends with a signal that is for both of them; this one has still to report. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	wake_often();
	while (*listener == -2)
		usleep(1000);
	file.fd = *listener;
	if (file.fd < 0)
		fail("the filter is refused");
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (poll(&file, 1, 20) > 0 && file.revents & POLLIN)
			answer(file.fd, seen);
	}
	report(path, seen);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	bool bpf = argc == 3 && strcmp(argv[1], "--bpf") == 0;
	const char *path = argc > 4 && strcmp(argv[1], "--measure") == 0 ? argv[2] : NULL;
	struct sock_fprog program;
	int fd;

	if (bpf) {
		print_filter(filter_file(argv[2], false));
		return 0;
	}
	if (path)
		argv += 2;
	else if (argc < 3)
		fail("usage: seccomp_run [--bpf | --measure FILE] PROFILE COMMAND...");
	fd = filter_file(argv[1], path);
	program = program_of(fd);
	close(fd);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("no_new_privs: %s", strerror(errno));
	if (path)
		return measure(&program, path, argv + 2);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		fail("the filter is refused: %s", strerror(errno));
	run(argv + 2);
}
