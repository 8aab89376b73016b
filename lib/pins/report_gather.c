/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gathering ledgers: which files of a directory are read, who is believed, and to which process
 * each belongs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger_dirs.h"
#include "ledger_format.h"
#include "ledger_read.h"
#include "report_priv.h"

/* A directory that holds more is not one of a sane machine. */
#define LEDGERS_MAX 4096u

/* A pid of another PID namespace says nothing here. Without /proc, nobody knows which one it is. */
static bool is_foreign(const struct report_build *build, uint64_t pid_namespace)
{
	return pid_namespace && build->pid_namespace && pid_namespace != build->pid_namespace;
}

static bool same_key(const struct report_key *a, const struct report_key *b)
{
	/* A living one may have changed its user between two ledgers; both are believed then. */
	return a->start_time == b->start_time && a->pid_namespace == b->pid_namespace &&
	       a->gone == b->gone && (a->file_uid == b->file_uid || (a->seen && b->seen));
}

/* The process a ledger is of; a new one if need be. NULL: no memory. */
static struct pn_pins_process *process_of(struct report_build *build,
	const struct ledger_content *content, const struct report_key *key)
{
	struct pn_pins_report *report = build->report;
	bool foreign = is_foreign(build, content->pid_namespace);
	struct pn_pins_process *list, *process;
	size_t i, n = report->process_count;
	struct report_key *keys;

	for (i = 0; i < n; i++) {
		process = &report->processes[i];
		if (process->pid == content->pid && process->foreign == foreign &&
			same_key(&build->keys[i], key)) {
			build->keys[i] = *key;
			return process;
		}
	}
	if ((n & (n - 1)) == 0) {
		list = realloc(report->processes, (n ? 2 * n : 1) * sizeof(*list));
		if (!list)
			return NULL;
		report->processes = list;
		keys = realloc(build->keys, (n ? 2 * n : 1) * sizeof(*keys));
		if (!keys)
			return NULL;
		build->keys = keys;
	}
	build->keys[n] = *key;
	process = &report->processes[n];
	memset(process, 0, sizeof(*process));
	process->pid = content->pid;
	process->uid = process->charged_uid = content->uid;
	process->start_time = content->start_time;
	process->foreign = foreign;
	for (i = 0; i < PN_COUNTER_MAX; i++)
		process->before[i] = UINT64_MAX;
	report->process_count = n + 1;
	return process;
}

/* What could not be read of a ledger that is taken all the same. */
static int note_gaps(struct pn_pins_report *report, const struct ledger_content *content)
{
	int ret = 0;

	if (content->unrecorded)
		ret = report_note(report,
			"process %d has %" PRIu64
			" mappings that found no room in its ledger; they are in its sums",
			(int)content->pid, content->unrecorded);
	if (!ret && content->unsteady)
		ret = report_note(report,
			"%" PRIu64 " mappings of process %d changed too fast to be read",
			content->unsteady, (int)content->pid);
	return ret;
}

static int remember_file(struct report_build *build, int fd, size_t process)
{
	size_t n = build->file_count;
	struct report_file *files;
	struct stat st;

	if (fstat(fd, &st))
		return 0;
	if ((n & (n - 1)) == 0) {
		files = realloc(build->files, (n ? 2 * n : 1) * sizeof(*files));
		if (!files)
			return -ENOMEM;
		build->files = files;
	}
	build->files[build->file_count++] = (struct report_file){st.st_dev, st.st_ino, process};
	return 0;
}

static int take(struct report_build *build, struct ledger_content *content,
	const struct report_key *key, int fd)
{
	struct pn_pins_process *process = process_of(build, content, key);
	struct pn_pins_domain *domains;
	unsigned int i;
	int ret;

	if (!process)
		return -ENOMEM;
	domains = realloc(process->domains, (process->domain_count + 1) * sizeof(*domains));
	if (!domains)
		return -ENOMEM;
	process->domains = domains;
	domains[process->domain_count++] = content->domain;
	memset(&content->domain, 0, sizeof(content->domain));
	for (i = 0; i < PN_COUNTER_MAX; i++) {
		process->predicted[i] += content->predicted[i];
		/* Of several domains, the one that found least was made before the others had pins.
		 */
		if (content->before[i] < process->before[i])
			process->before[i] = content->before[i];
	}
	ret = remember_file(build, fd, (size_t)(process - build->report->processes));
	return ret ? ret : note_gaps(build->report, content);
}

enum holder { HELD, NOT_HELD, HOLDER_UNKNOWN };

/* The owner of a ledger holds a lock on it: see ledger.c. A file system without locks cannot tell.
 */
static enum holder holder_of(const struct report_build *build, int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (build->reading_own)
		return HELD;
	if (fcntl(fd, F_OFD_GETLK, &whole))
		return HOLDER_UNKNOWN;
	return whole.l_type == F_UNLCK ? NOT_HELD : HELD;
}

/*
 * Who may have written this? Anybody can put a file in a directory of his own that names another's
 * process: a living process is believed to own what its user, or root, has written.
 */
static bool is_believed(const struct ledger_content *content, const struct pn_proc_state *state)
{
	uid_t uid = content->file_uid;

	return uid == 0 || uid == state->uid || uid == state->euid || uid == state->suid;
}

/* Fill in what is known of the process now. */
static void look_at_owner(const struct report_build *build, int fd,
	const struct ledger_content *content, struct report_key *key)
{
	enum holder holder = holder_of(build, fd);
	bool shown = !build->other_proc || content->pid == getpid();
	int err = shown ? pn_proc_read(content->pid, &key->state) : -ESRCH;

	key->seen = !err && key->state.start_time == content->start_time;
	/* Held, but not seen: /proc hides it, or a child that it left behind holds all it had. */
	key->gone = holder == NOT_HELD || (holder == HOLDER_UNKNOWN && !key->seen);
	/* hidepid hides it from /proc, not from kill(). */
	key->ended = !key->seen && (!err || (kill(content->pid, 0) && errno == ESRCH));
}

int report_gather_one(struct report_build *build, int fd, const char *name)
{
	struct ledger_content content;
	struct report_key key;
	char why[128];
	int ret;

	build->prunable = false;
	ret = pn_ledger_read(fd, &content, why, sizeof(why));
	if (ret == -ENOMEM)
		return ret;
	if (ret == -EAGAIN && !content.pid)
		return 0; /* it is being made, or it is empty and only its name is left */
	if (ret)
		return report_note(build->report, "%s is left out: %s", name, why);
	memset(&key, 0, sizeof(key));
	key.start_time = content.start_time;
	key.pid_namespace = content.pid_namespace;
	key.file_uid = content.file_uid;
	if (!is_foreign(build, content.pid_namespace)) {
		look_at_owner(build, fd, &content, &key);
		if (key.seen && !is_believed(&content, &key.state)) {
			ret = report_note(build->report,
				"%s is left out: user %u wrote it, but process %d is user %u's",
				name, (unsigned int)content.file_uid, (int)content.pid,
				(unsigned int)key.state.uid);
			goto out;
		}
		build->prunable = key.gone;
	} else {
		/* The lock is the file's, and no pid is needed to ask for it. */
		key.gone = holder_of(build, fd) == NOT_HELD;
	}
	ret = 0;
	if (build->query->events)
		ret = pn_ledger_read_events(fd, &content, &content.domain.events);
	if (!ret)
		ret = take(build, &content, &key, fd);
out:
	free(content.domain.pins);
	pn_events_free(content.domain.events);
	return ret;
}

static bool is_ledger_name(const struct report_build *build, const char *name)
{
	size_t len = strlen(name), suffix = strlen(LEDGER_SUFFIX);

	if (build->prefix[0] && strncmp(name, build->prefix, strlen(build->prefix)))
		return false;
	return name[0] != '.' && len > suffix && !strcmp(name + len - suffix, LEDGER_SUFFIX);
}

/* The ledger that was given by its fd was read first. */
static bool is_own(struct report_build *build, int fd)
{
	struct stat st;

	build->prunable = false;
	return build->own_inode && !fstat(fd, &st) && st.st_ino == build->own_inode &&
	       st.st_dev == build->own_device;
}

static int gather_file(struct report_build *build, int dir_fd, const char *dir, const char *name)
{
	char path[PN_LEDGER_DIR_MAX + 260];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		/* One that is not there ended just now. */
		return errno == ENOENT ? 0
				       : report_note(build->report, "%s cannot be read: %s", path,
						 strerror(errno));
	ret = is_own(build, fd) ? 0 : report_gather_one(build, fd, path);
	if (!ret && build->prunable && build->query->prune && unlinkat(dir_fd, name, 0))
		ret = report_note(build->report, "%s cannot be removed: %s", path, strerror(errno));
	close(fd);
	return ret;
}

int report_gather_dir(void *arg, const char *dir)
{
	struct report_build *build = arg;
	struct dirent *entry;
	DIR *handle;
	unsigned int count = 0;
	int ret = 0;

	handle = opendir(dir);
	if (!handle && (errno == ENOENT || errno == ENOTDIR))
		return 0; /* gone, or something else of that name */
	if (!handle)
		return report_note(
			build->report, "%s cannot be looked into: %s", dir, strerror(errno));
	while (!ret && (entry = readdir(handle))) {
		if (!is_ledger_name(build, entry->d_name))
			continue;
		if (++count > LEDGERS_MAX) {
			ret = report_note(build->report,
				"%s holds more than %u ledgers: the rest is left out", dir,
				LEDGERS_MAX);
			break;
		}
		ret = gather_file(build, dirfd(handle), dir, entry->d_name);
	}
	closedir(handle);
	return ret;
}
