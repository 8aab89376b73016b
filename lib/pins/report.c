/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reports: ledgers gathered by process, next to what the observers say of the same counters.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "ledger_dirs.h"
#include "ledger_format.h"
#include "ledger_read.h"
#include "pins_priv.h"

/* A directory that holds more is not one of a sane machine. */
#define LEDGERS_MAX 4096u

/* What ledgers of one process have in common. */
struct key {
	uint64_t start_time;
	uid_t file_uid;
	bool gone; /* its process has ended, or has become another program by exec() */
};

struct gather {
	struct pn_pins_report *report;
	const struct pn_pins_query *query;
	struct key *keys; /* beside report->processes */
	char prefix[16];  /* only files whose name begins so */
	bool reading_own; /* the ledger at hand is the caller's, by the fd that holds its lock */
	dev_t own_device;
	ino_t own_inode; /* of a ledger that was given by its fd; 0: none */
	bool prunable;   /* the last ledger that was read is of a process that is gone */
};

static int PN_PRINTF(2, 3) note(struct pn_pins_report *report, const char *fmt, ...)
{
	char **notes = realloc(report->notes, (report->note_count + 1) * sizeof(*notes));
	va_list args;
	char *at;
	int len;

	if (!notes)
		return -ENOMEM;
	report->notes = notes;
	va_start(args, fmt);
	len = vasprintf(&notes[report->note_count], fmt, args);
	va_end(args);
	if (len < 0)
		return -ENOMEM;
	/* File names are in it, which anybody may choose, and it goes to terminals. */
	for (at = notes[report->note_count++]; *at; at++) {
		if (*at < ' ' || *at > 126)
			*at = '?';
	}
	return 0;
}

static void free_process(struct pn_pins_process *process)
{
	size_t i;

	for (i = 0; i < process->domain_count; i++) {
		free(process->domains[i].pins);
		pn_events_free(process->domains[i].events);
	}
	free(process->domains);
}

void pn_pins_report_free(struct pn_pins_report *report)
{
	size_t i;

	if (!report)
		return;
	for (i = 0; i < report->process_count; i++)
		free_process(&report->processes[i]);
	for (i = 0; i < report->note_count; i++)
		free(report->notes[i]);
	free(report->notes);
	free(report->processes);
	free(report);
}

/* A pid of another PID namespace says nothing here. */
static bool is_foreign(uint64_t pid_namespace)
{
	return pid_namespace && pid_namespace != pn_pid_namespace();
}

static bool same_key(const struct key *a, const struct key *b)
{
	return a->start_time == b->start_time && a->file_uid == b->file_uid && a->gone == b->gone;
}

/* The process a ledger is of; a new one if need be. NULL: no memory. */
static struct pn_pins_process *process_of(
	struct gather *gather, const struct ledger_content *content, const struct key *key)
{
	struct pn_pins_report *report = gather->report;
	bool foreign = is_foreign(content->pid_namespace);
	struct pn_pins_process *list, *process;
	size_t i, n = report->process_count;
	struct key *keys;

	for (i = 0; i < n; i++) {
		process = &report->processes[i];
		if (process->pid == content->pid && process->foreign == foreign &&
			same_key(&gather->keys[i], key))
			return process;
	}
	list = realloc(report->processes, (n + 1) * sizeof(*list));
	if (!list)
		return NULL;
	report->processes = list;
	keys = realloc(gather->keys, (n + 1) * sizeof(*keys));
	if (!keys)
		return NULL;
	gather->keys = keys;
	keys[n] = *key;
	process = &list[n];
	memset(process, 0, sizeof(*process));
	process->pid = content->pid;
	process->uid = content->uid;
	process->foreign = foreign;
	for (i = 0; i < PN_COUNTER_MAX; i++)
		process->before[i] = UINT64_MAX;
	report->process_count = n + 1;
	return process;
}

static int take(struct gather *gather, struct ledger_content *content, const struct key *key)
{
	struct pn_pins_process *process = process_of(gather, content, key);
	struct pn_pins_domain *domains;
	unsigned int i;

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
	if (content->unrecorded)
		note(gather->report,
			"process %d has %" PRIu64
			" mappings that found no room in its ledger; they are in its sums",
			(int)content->pid, content->unrecorded);
	if (content->unsteady)
		note(gather->report,
			"%" PRIu64 " mappings of process %d changed too fast to be read",
			content->unsteady, (int)content->pid);
	return 0;
}

enum holder { HELD, NOT_HELD, HOLDER_UNKNOWN };

/* The owner of a ledger holds a lock on it: see ledger.c. A file system without locks cannot tell.
 */
static enum holder holder_of(const struct gather *gather, int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (gather->reading_own)
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

static int read_one(struct gather *gather, int fd, const char *name)
{
	struct ledger_content content;
	struct pn_proc_state state;
	struct key key;
	char why[128];
	int ret;

	gather->prunable = false;
	ret = pn_ledger_read(fd, &content, why, sizeof(why));
	if (ret == -ENOMEM)
		return ret;
	if (ret == -EAGAIN && !content.pid)
		return 0; /* it is being made, or it is empty and only its name is left */
	if (ret)
		return note(gather->report, "%s is left out: %s", name, why);
	key = (struct key){content.start_time, content.file_uid, false};
	ret = 0;
	if (!is_foreign(content.pid_namespace)) {
		bool seen = !pn_proc_read(content.pid, &state) &&
			    state.start_time == content.start_time;
		enum holder holder = holder_of(gather, fd);

		if (seen && !is_believed(&content, &state)) {
			ret = note(gather->report,
				"%s is left out: user %u wrote it, but process %d is user %u's",
				name, (unsigned int)content.file_uid, (int)content.pid,
				(unsigned int)state.uid);
			goto out;
		}
		/* Held, but not seen: /proc hides it, or a child that it left behind holds all it
		 * had. */
		key.gone = holder == NOT_HELD || (holder == HOLDER_UNKNOWN && !seen);
		gather->prunable = key.gone;
	}
	if (gather->query->events)
		ret = pn_ledger_read_events(fd, &content, &content.domain.events);
	if (!ret)
		ret = take(gather, &content, &key);
out:
	free(content.domain.pins);
	pn_events_free(content.domain.events);
	return ret;
}

static bool is_ledger_name(const struct gather *gather, const char *name)
{
	size_t len = strlen(name), suffix = strlen(LEDGER_SUFFIX);

	if (gather->prefix[0] && strncmp(name, gather->prefix, strlen(gather->prefix)))
		return false;
	return name[0] != '.' && len > suffix && !strcmp(name + len - suffix, LEDGER_SUFFIX);
}

/* The ledger that was given by its fd was read first. */
static bool is_own(struct gather *gather, int fd)
{
	struct stat st;

	gather->prunable = false;
	return gather->own_inode && !fstat(fd, &st) && st.st_ino == gather->own_inode &&
	       st.st_dev == gather->own_device;
}

static int read_dir(void *arg, const char *dir)
{
	struct gather *gather = arg;
	char path[PN_LEDGER_DIR_MAX + 260];
	struct dirent *entry;
	DIR *handle;
	unsigned int count = 0;
	int fd, ret = 0;

	handle = opendir(dir);
	if (!handle && (errno == ENOENT || errno == ENOTDIR))
		return 0; /* gone, or something else of that name */
	if (!handle)
		return note(gather->report, "%s cannot be looked into: %s", dir, strerror(errno));
	while (!ret && (entry = readdir(handle))) {
		if (!is_ledger_name(gather, entry->d_name))
			continue;
		if (++count > LEDGERS_MAX) {
			ret = note(gather->report,
				"%s holds more than %u ledgers: the rest is left out", dir,
				LEDGERS_MAX);
			break;
		}
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		fd = openat(dirfd(handle), entry->d_name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0) {
			if (errno != ENOENT) /* it ended just now */
				ret = note(gather->report, "%s cannot be read: %s", path,
					strerror(errno));
			continue;
		}
		ret = is_own(gather, fd) ? 0 : read_one(gather, fd, path);
		if (!ret && gather->prunable && gather->query->prune &&
			unlinkat(dirfd(handle), entry->d_name, 0))
			ret = note(
				gather->report, "%s cannot be removed: %s", path, strerror(errno));
		close(fd);
	}
	closedir(handle);
	return ret;
}

static void observe(struct gather *gather, size_t index)
{
	struct pn_pins_process *process = &gather->report->processes[index];
	struct pn_proc_state state;
	bool told = !gather->query->pid || gather->query->pid == process->pid;
	int ret;

	if (process->foreign) {
		if (told)
			note(gather->report,
				"process %d is in another PID namespace and cannot be observed "
				"from here",
				(int)process->pid);
		return;
	}
	if (gather->keys[index].gone) {
		if (told)
			note(gather->report,
				"process %d is gone and left its ledger behind%s: what it held "
				"went with its last "
				"file descriptor",
				(int)process->pid,
				gather->query->prune ? ", which is removed now" : "");
		return;
	}
	ret = pn_proc_read(process->pid, &state);
	process->hidden = ret || state.start_time != gather->keys[index].start_time;
	if (process->hidden) {
		if (told)
			note(gather->report,
				"process %d cannot be observed though its ledger is held: /proc "
				"hides it "
				"(hidepid), or it ended and a child of it holds its devices",
				(int)process->pid);
		return;
	}
	process->alive = true;
	process->uid = state.uid;
	snprintf(process->comm, sizeof(process->comm), "%s", state.comm);
	process->limit_known = state.limit_known;
	process->limit_soft = state.limit_soft;
	process->limit_hard = state.limit_hard;
	if (!state.counters_known)
		return;
	process->observed[PN_COUNTER_MM_LOCKED] =
		(struct pn_figure){state.locked, PN_OBSERVER_PROC};
	process->observed[PN_COUNTER_MM_PINNED] =
		(struct pn_figure){state.pinned, PN_OBSERVER_PROC};
}

/* user->locked_vm is one number a user: measured for the caller's own, else the sum of what the
 * ledgers predict. */
static void observe_users(struct gather *gather)
{
	struct pn_pins_report *report = gather->report;
	struct pn_figure measured = {0, PN_OBSERVER_NONE}, *figure;
	uint64_t sum;
	size_t i, k;

	if (gather->query->measure_user) {
		if (pn_meter_measure(&measured)) {
			note(report, "%s", pn_error());
			measured.observer = PN_OBSERVER_NONE;
		}
	}
	for (i = 0; i < report->process_count; i++) {
		for (k = 0, sum = 0; k < report->process_count; k++) {
			if (report->processes[k].uid == report->processes[i].uid &&
				report->processes[k].alive)
				sum += report->processes[k].predicted[PN_COUNTER_USER_LOCKED];
		}
		report->processes[i].user_predicted = sum;
		figure = &report->processes[i].observed[PN_COUNTER_USER_LOCKED];
		if (measured.observer != PN_OBSERVER_NONE && report->processes[i].uid == getuid())
			*figure = measured;
		else
			*figure = (struct pn_figure){sum, PN_OBSERVER_MODEL};
	}
}

/* Everybody counts in the sums; only the process that was asked for is reported. */
static void keep_only(struct pn_pins_report *report, pid_t pid)
{
	size_t from, to = 0;

	for (from = 0; from < report->process_count; from++) {
		if (report->processes[from].pid == pid && !report->processes[from].foreign)
			report->processes[to++] = report->processes[from];
		else
			free_process(&report->processes[from]);
	}
	report->process_count = to;
}

static int finish(struct gather *gather, int ret, struct pn_pins_report **out)
{
	struct pn_pins_report *report = gather->report;
	pid_t pid = gather->query->pid;
	size_t i;

	for (i = 0; i < report->process_count && !ret; i++)
		observe(gather, i);
	if (!ret) {
		observe_users(gather);
		if (pid)
			keep_only(report, pid);
		if (pid && !report->process_count)
			ret = -ENOENT;
	}
	free(gather->keys);
	if (!ret) {
		*out = report;
		return 0;
	}
	pn_pins_report_free(report);
	if (ret == -ENOENT)
		return pn_fail(ENOENT,
			"no ledger of process %d was found: it does not use Pinion, or it belongs "
			"to a user whose "
			"ledgers this one may not read",
			(int)pid);
	return pn_fail(-ret, "making the pin report: %s", strerror(-ret));
}

int pn_pins_report_create(struct pn_pins_report **out, const struct pn_pins_query *query)
{
	static const struct pn_pins_query everything;
	struct gather gather = {
		.report = calloc(1, sizeof(*gather.report)), .query = query ? query : &everything};
	int ret;

	if (!gather.report)
		return pn_fail(ENOMEM, "no memory for a report");
	if (gather.query->directory)
		ret = read_dir(&gather, gather.query->directory);
	else
		ret = pn_ledger_dir_each(read_dir, &gather);
	return finish(&gather, ret, out);
}

int pn_pins_report_fd(struct pn_pins_report **out, int fd, bool measure_user)
{
	struct pn_pins_query query = {.pid = getpid(), .measure_user = measure_user};
	struct gather gather = {.report = calloc(1, sizeof(*gather.report)), .query = &query};
	struct stat st;
	int ret;

	if (!gather.report)
		return pn_fail(ENOMEM, "no memory for a report");
	if (!fstat(fd, &st)) {
		gather.own_device = st.st_dev;
		gather.own_inode = st.st_ino;
	}
	gather.reading_own = true;
	ret = read_one(&gather, fd, "the ledger of this domain");
	gather.reading_own = false;
	if (!ret)
		ret = pn_ledger_dir_each(read_dir, &gather);
	return finish(&gather, ret, out);
}

void pn_pins_own_predicted(uint64_t predicted[PN_COUNTER_MAX])
{
	struct pn_pins_query query = {.pid = getpid()};
	struct gather gather = {.report = calloc(1, sizeof(*gather.report)), .query = &query};
	unsigned int counter;
	size_t i;

	memset(predicted, 0, PN_COUNTER_MAX * sizeof(*predicted));
	if (!gather.report)
		return;
	snprintf(gather.prefix, sizeof(gather.prefix), "%d-", (int)getpid());
	pn_ledger_dir_each(read_dir, &gather);
	for (i = 0; i < gather.report->process_count; i++) {
		for (counter = 0; counter < PN_COUNTER_MAX && !gather.keys[i].gone; counter++)
			predicted[counter] += gather.report->processes[i].predicted[counter];
	}
	free(gather.keys);
	pn_pins_report_free(gather.report);
}
