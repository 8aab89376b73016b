/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the machine's files are, the reason of the last failure, and the lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "net.h"

#define LOCK_TRIES    100
#define LOCK_PAUSE_NS 100000000L

int host_init(struct host *host, const char *root)
{
	static const struct {
		size_t offset;
		const char *path;
	} roots[] = {
		{offsetof(struct host, sys), "/sys"},
		{offsetof(struct host, dev), "/dev"},
		{offsetof(struct host, proc), "/proc"},
		{offsetof(struct host, etc), "/etc"},
		{offsetof(struct host, run), "/run"},
		{offsetof(struct host, var), "/var"},
		{offsetof(struct host, lib), "/lib"},
	};

	memset(host, 0, sizeof(*host));
	host->lock = -1;
	host->ops = &host_kernel_ops;
	for (size_t i = 0; i < HOST_COUNT(roots); i++) {
		char *to = (char *)host + roots[i].offset;

		if (snprintf(to, HOST_ROOT_MAX, "%s%s", root, roots[i].path) >= HOST_ROOT_MAX)
			return host_fail(host, ENAMETOOLONG, "'%.80s...' is too long", root);
	}
	return 0;
}

/*
 * Reasons
 */

int host_fail(struct host *host, int err, const char *fmt, ...)
{
	char text[HOST_ERROR_MAX];
	va_list args;

	/* Through a copy: an argument may be the reason itself. */
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	memcpy(host->error, text, strlen(text) + 1);
	return -err;
}

int host_fail_prefix(struct host *host, int err, const char *fmt, ...)
{
	char text[2 * HOST_ERROR_MAX];
	va_list args;
	size_t used;

	va_start(args, fmt);
	vsnprintf(text, HOST_ERROR_MAX, fmt, args);
	va_end(args);
	used = strlen(text);
	memcpy(text + used, host->error, strlen(host->error) + 1);
	text[HOST_ERROR_MAX - 1] = '\0';
	memcpy(host->error, text, HOST_ERROR_MAX);
	return err;
}

void host_note(struct host *host, const char *fmt, ...)
{
	char text[HOST_ERROR_MAX];
	va_list args;

	if (!host->note)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	host->note(host, text);
}

/*
 * The machine
 */

int host_set_attr(struct host *host, const char *text, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;
	int err;

	va_start(args, fmt);
	err = vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	if (err < 0 || err >= (int)sizeof(path))
		return host_fail(host, ENAMETOOLONG, "%.80s...: too long a path", path);
	err = host->ops->write_attr(host, path, text);
	if (err)
		return host_fail(host, -err, "writing '%.*s' to %s: %s", (int)strcspn(text, "\n"),
			text, path, strerror(-err));
	return 0;
}

void host_boot_id(struct host *host, char boot[HOST_BOOT_MAX])
{
	if (host_read(boot, HOST_BOOT_MAX, "%s/sys/kernel/random/boot_id", host->proc) < 0)
		boot[0] = '\0';
}

static int kernel_write_attr(struct host *host, const char *path, const char *text)
{
	ssize_t done;
	int fd, err;

	(void)host;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	done = write(fd, text, strlen(text));
	err = done < 0 ? -errno : done == (ssize_t)strlen(text) ? 0 : -EIO;
	close(fd);
	return err;
}

/* Run a program of the system; -ENOENT: it failed. */
static int run(const char *program, char *const argv[])
{
	/* Not the caller's: what modprobe runs is configured in /etc/modprobe.d. */
	char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int err, status;

	/* What it has to say is said in our words, where it matters. */
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && !err; fd++)
		err = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	if (!err)
		err = posix_spawn(&pid, program, &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ENOENT;
}

static int kernel_load_module(struct host *host, const char *name)
{
	char *argv[] = {"modprobe", "-q", "--", (char *)name, NULL};

	(void)host;
	return run("/sbin/modprobe", argv);
}

static void kernel_settle(struct host *host)
{
	char *argv[] = {"udevadm", "settle", "--timeout=30", NULL};

	if (host_exists("%s/udev/control", host->run) && run("/bin/udevadm", argv))
		host_note(host, "udev is still busy: it may change the new nodes once more");
}

static bool kernel_disk_claimed(struct host *host, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	bool claimed;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", host->dev, name) >= (int)sizeof(path))
		return false;
	if (stat(path, &st) || !S_ISBLK(st.st_mode))
		return false;
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
	claimed = fd < 0 && errno == EBUSY;
	if (fd >= 0)
		close(fd);
	return claimed;
}

static bool kernel_group_busy(struct host *host, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), err = errno;

	(void)host;
	if (fd < 0)
		return err == EBUSY;
	close(fd);
	return false;
}

const struct host_ops host_kernel_ops = {
	.write_attr = kernel_write_attr,
	.load_module = kernel_load_module,
	.settle = kernel_settle,
	.read_net = host_net_read_kernel,
	.disk_claimed = kernel_disk_claimed,
	.group_busy = kernel_group_busy,
};

/*
 * Lock
 */

/* Not in /run/pinion, which may be open to all for their ledgers: anyone could keep it locked
 * there. */
#define LOCK_NAME "pinion-host.lock"

static int lock_open(struct host *host)
{
	char path[PATH_MAX];
	int fd, err;

	err = host_make_folders(host->run);
	if (err)
		return host_fail(host, -err, "making %s: %s", host->run, strerror(-err));
	snprintf(path, sizeof(path), "%s/" LOCK_NAME, host->run);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return host_fail(host, errno, "opening %s: %s%s", path, strerror(errno),
			errno == EACCES ? "; this command is for root" : "");
	return fd;
}

static pid_t lock_pid(int fd)
{
	char text[16] = "";
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	return len > 0 ? atoi(text) : 0;
}

int host_lock(struct host *host)
{
	const struct timespec pause = {0, LOCK_PAUSE_NS};
	char text[16];
	int fd, err, tries = 0;

	fd = lock_open(host);
	if (fd < 0)
		return fd;
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || ++tries == LOCK_TRIES) {
			err = errno == EWOULDBLOCK
				      ? host_fail(host, EBUSY,
						"another pinion command (pid %d) is at work and "
						"has "
						"been for more than %d s; wait for it, or end it",
						(int)lock_pid(fd), LOCK_TRIES / 10)
				      : host_fail(host, errno, "flock() of %s/" LOCK_NAME ": %s",
						host->run, strerror(errno));
			close(fd);
			return err;
		}
		nanosleep(&pause, NULL);
	}
	snprintf(text, sizeof(text), "%d\n", (int)getpid());
	/* Who it is matters to others' messages only. */
	if (ftruncate(fd, 0) || pwrite(fd, text, strlen(text), 0) < 0)
		host_note(
			host, "cannot write into %s/" LOCK_NAME ": %s", host->run, strerror(errno));
	host->lock = fd;
	return 0;
}

void host_unlock(struct host *host)
{
	if (host->lock >= 0)
		close(host->lock);
	host->lock = -1;
}

pid_t host_lock_holder(struct host *host)
{
	char path[PATH_MAX];
	pid_t pid = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/" LOCK_NAME, host->run);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		pid = lock_pid(fd);
	close(fd);
	return pid;
}
