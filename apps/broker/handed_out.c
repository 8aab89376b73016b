/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The broker's ledger as a JSON file: written whole and put in place by rename(), read back with
 * every field checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "handed_out.h"
#include "output.h"
#include "parse.h"

#define VERSION 1

#define LOCK_TRIES    50
#define LOCK_PAUSE_NS 100000000L

struct lease *ledger_room(struct ledger *ledger)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger->leases[i].state == LEASE_NONE)
			return &ledger->leases[i];
	}
	return NULL;
}

struct lease *ledger_find(struct ledger *ledger, const char *device)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state != LEASE_NONE && !strcmp(lease->device, device))
			return lease;
	}
	return NULL;
}

struct lease *ledger_of_peer(
	struct ledger *ledger, const struct peer *peer, const struct lease *after)
{
	for (size_t i = after ? (size_t)(after - ledger->leases) + 1 : 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state == LEASE_HELD && lease->peer.pid == peer->pid &&
			lease->peer.start == peer->start)
			return lease;
	}
	return NULL;
}

int ledger_lock(const char *path, bool wait)
{
	const struct timespec pause = {0, LOCK_PAUSE_NS};
	char name[PATH_MAX];
	int fd, err, tries = wait ? LOCK_TRIES : 1;

	if (snprintf(name, sizeof(name), "%s.lock", path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	/* Root's alone: whoever may open it could keep it. */
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno;
		if (err != EWOULDBLOCK || !--tries) {
			close(fd);
			return err == EWOULDBLOCK ? -EBUSY : -err;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* Which boot the numbers of processes are of. */
static void read_boot(char boot[40])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	boot[0] = '\0';
	if (file && fgets(boot, 40, file))
		boot[strcspn(boot, "\n")] = '\0';
	if (file)
		fclose(file);
}

/* Is /proc that of our PID namespace? Then we have one number there, our own, or none is told. */
static bool is_proc_ours(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	bool ours = file != NULL;
	char line[128];
	int pid, end;

	while (file && fgets(line, sizeof(line), file)) {
		end = 0;
		if (sscanf(line, "NSpid: %d%n", &pid, &end) == 1)
			ours = pid == getpid() && line[end] == '\n';
	}
	if (file)
		fclose(file);
	return ours;
}

uint64_t ledger_pid_namespace(void)
{
	struct stat st;

	if (!is_proc_ours())
		return 0;
	/* A kernel without CONFIG_PID_NS has one, and no file of it. */
	return stat("/proc/self/ns/pid", &st) ? 1 : (uint64_t)st.st_ino;
}

/* Certainly nobody has the lock; who looks has it for a moment, and who starts waits for it. */
static bool is_unlocked(const char *path)
{
	char name[PATH_MAX];
	bool free;
	int fd;

	if (snprintf(name, sizeof(name), "%s.lock", path) >= (int)sizeof(name))
		return false;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	free = !flock(fd, LOCK_SH | LOCK_NB);
	close(fd);
	return free;
}

/*
 * Write
 */

const char *ledger_backend(const struct lease *lease)
{
	return lease->backend == PN_BROKER_TYPE1 ? "type1" : "iommufd";
}

/* Limits as in the kernel: RLIM_INFINITY does not fit into a signed number, and is null. */
static json_t *make_lease(const struct lease *lease)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "device",
		lease->device, "state", lease->state == LEASE_HELD ? "held" : "lingering",
		"backend", ledger_backend(lease), "charge", charge_name(lease->charge), "uid",
		(json_int_t)lease->peer.uid, "pid", (json_int_t)lease->peer.pid, "start",
		(json_int_t)lease->peer.start, "since", (json_int_t)lease->since, "memory",
		(json_int_t)lease->memory, "soft_before", json_count(lease->before.rlim_cur),
		"hard_before", json_count(lease->before.rlim_max));
}

static json_t *make_document(const struct ledger *ledger)
{
	json_t *leases = json_array();
	char boot[40];

	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger->leases[i].state != LEASE_NONE &&
			json_array_append_new(leases, make_lease(&ledger->leases[i]))) {
			json_decref(leases);
			return NULL;
		}
	}
	read_boot(boot);
	return json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:o}", "version", VERSION, "boot", boot,
		"pid", (json_int_t)getpid(), "start", (json_int_t)peer_start_of(getpid()),
		"pid_namespace", (json_int_t)ledger_pid_namespace(), "taken_back",
		(json_int_t)ledger->taken_back, "leases", leases);
}

int ledger_write(const struct ledger *ledger)
{
	json_t *document = make_document(ledger);
	char *text = document ? json_dumps(document, JSON_INDENT(1)) : NULL;
	struct atomic_file file;
	int ret = -EIO;
	mode_t mask;

	json_decref(document);
	if (!text) {
		complain("no memory for the ledger");
		return ret;
	}
	/* All may read it, and only root write it, whatever the umask of the root who says so. */
	mask = umask(022);
	if (!atomic_open(&file, ledger->path) && !atomic_write(&file, text, strlen(text)) &&
		!atomic_write(&file, "\n", 1) && !atomic_commit(&file))
		ret = 0;
	umask(mask);
	free(text);
	return ret;
}

/*
 * Read
 */

/* A limit as make_lease() writes it. */
static bool take_limit(const json_t *value, rlim_t *limit)
{
	*limit = json_is_integer(value) ? (rlim_t)json_integer_value(value) : RLIM_INFINITY;
	return json_is_null(value) || (json_is_integer(value) && json_integer_value(value) >= 0);
}

/* One that is not known stands for the first. */
static enum charge find_charge(const char *name)
{
	enum charge charge = PER_GROUP;

	while (charge && strcmp(name, charge_name(charge)))
		charge--;
	return charge;
}

static bool take_lease(json_t *object, struct lease *lease)
{
	json_int_t uid, pid, start, since, memory;
	const char *device, *state, *backend, *charge;
	json_t *soft, *hard;

	if (json_unpack(object, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "device",
		    &device, "state", &state, "backend", &backend, "charge", &charge, "uid", &uid,
		    "pid", &pid, "start", &start, "since", &since, "memory", &memory, "soft_before",
		    &soft, "hard_before", &hard))
		return false;
	if (!policy_is_address(device, strlen(device)) || uid < 0 || uid > UINT32_MAX || pid <= 0 ||
		pid > INT32_MAX || start <= 0 || memory < 0)
		return false;
	*lease = (struct lease){.state = strcmp(state, "held") ? LEASE_LINGERING : LEASE_HELD,
		.backend = strcmp(backend, "type1") ? PN_BROKER_IOMMUFD : PN_BROKER_TYPE1,
		.charge = find_charge(charge),
		.peer = {.pid = (pid_t)pid,
			.uid = (uid_t)uid,
			.start = (uint64_t)start,
			.pidfd = -1},
		.memory = (uint64_t)memory,
		.since = (time_t)since};
	memcpy(lease->device, device, POLICY_ADDRESS_LEN + 1);
	return take_limit(soft, &lease->before.rlim_cur) &&
	       take_limit(hard, &lease->before.rlim_max);
}

/* Is the process that it was handed to there still? Then the lease goes on. */
static void find_process(struct lease *lease, bool same_boot)
{
	uid_t uid = lease->peer.uid;
	struct peer peer;

	if (lease->state == LEASE_HELD && same_boot &&
		!peer_of_pid(&peer, lease->peer.pid, lease->peer.start)) {
		lease->peer = peer;
		lease->peer.uid = uid;
		return;
	}
	lease->state = LEASE_LINGERING;
}

/* NULL after a complaint, or if there is none. */
static json_t *load(const char *path)
{
	json_error_t error;
	json_t *document;
	int version;

	document = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!document) {
		if (access(path, F_OK) == 0)
			complain("%s: %s", path, error.text);
		return NULL;
	}
	if (!json_unpack(document, "{s:i}", "version", &version) && version == VERSION)
		return document;
	complain("%s is no ledger of this version", path);
	json_decref(document);
	return NULL;
}

/* Who wrote it, and does it run? */
static void find_broker(struct ledger *ledger, json_t *document, bool same_boot)
{
	json_int_t pid = 0, start = 0, space, taken_back = 0;
	json_int_t own = (json_int_t)ledger_pid_namespace();

	/* An old one does not say. */
	space = own;
	if (json_unpack(document, "{s:I, s:I, s?I, s?I}", "pid", &pid, "start", &start,
		    "pid_namespace", &space, "taken_back", &taken_back) ||
		pid <= 0 || pid > INT32_MAX || start <= 0 || space < 0)
		pid = start = 0;
	ledger->broker = (pid_t)pid;
	ledger->taken_back = taken_back > 0 ? (uint64_t)taken_back : 0;
	ledger->broker_start = (uint64_t)start;
	ledger->elsewhere = same_boot && (!own || space != own);
	ledger->ended = ledger->elsewhere && is_unlocked(ledger->path);
	ledger->runs = same_boot && pid && !ledger->elsewhere &&
		       peer_start_of((pid_t)pid) == (uint64_t)start;
}

int ledger_read(struct ledger *ledger)
{
	json_t *document = load(ledger->path), *item;
	const char *path = ledger->path, *then = "";
	struct lease lease;
	char boot[40];
	size_t i;

	memset(ledger, 0, sizeof(*ledger));
	ledger->path = path;
	if (!document)
		return access(path, F_OK) ? -ENOENT : -EINVAL;
	read_boot(boot);
	(void)json_unpack(document, "{s:s}", "boot", &then);
	find_broker(ledger, document, !strcmp(boot, then));
	json_array_foreach(json_object_get(document, "leases"), i, item)
	{
		struct lease *room = ledger_room(ledger);

		if (!take_lease(item, &lease) || !room || ledger_find(ledger, lease.device)) {
			complain("%s: entry %zu makes no sense", ledger->path, i);
			continue;
		}
		if (!ledger->elsewhere)
			find_process(&lease, !strcmp(boot, then));
		*room = lease;
	}
	json_decref(document);
	return 0;
}

void ledger_leave_elsewhere(struct ledger *ledger)
{
	for (unsigned int i = 0; ledger->elsewhere && i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state != LEASE_HELD)
			continue;
		complain("%s was handed out to process %d of another PID namespace: if it lives, "
			 "its "
			 "RLIMIT_MEMLOCK stays as it is",
			lease->device, (int)lease->peer.pid);
		lease->state = LEASE_LINGERING;
	}
}

void ledger_close(struct ledger *ledger)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger->leases[i].state == LEASE_HELD && !ledger->elsewhere)
			peer_close(&ledger->leases[i].peer);
		ledger->leases[i].state = LEASE_NONE;
	}
}

/*
 * For people
 */

const char *ledger_since(const struct lease *lease, char text[32])
{
	struct tm when;

	text[0] = '\0';
	if (localtime_r(&lease->since, &when))
		strftime(text, 32, "%Y-%m-%d %H:%M:%S", &when);
	return text;
}

static void print_lease(const struct lease *lease)
{
	char memory[FORMAT_MAX], since[32];

	printf("%s  %-7s  uid %u  pid %d  %s per %s  since %s%s\n", lease->device,
		ledger_backend(lease), (unsigned int)lease->peer.uid, (int)lease->peer.pid,
		format_size(memory, lease->memory), charge_name(lease->charge),
		ledger_since(lease, since),
		lease->state == LEASE_HELD ? ""
					   : "  given back or its process has ended; stays with "
					     "whoever has its file open");
}

int ledger_print(const char *path)
{
	static struct ledger ledger;
	unsigned int count = 0;
	int err;

	ledger.path = path;
	err = ledger_read(&ledger);
	if (err == -ENOENT)
		complain("%s: %s", path, strerror(ENOENT));
	if (err)
		return EXIT_FAILURE;
	if (ledger.elsewhere && !ledger.ended)
		printf("pinion-broker is pid %d of another PID namespace: whether it runs is not "
		       "known in this one\n",
			(int)ledger.broker);
	else if (ledger.runs)
		printf("pinion-broker runs, pid %d\n", (int)ledger.broker);
	else
		puts("pinion-broker does not run; this is what it left:");
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger.leases[i].state == LEASE_NONE)
			continue;
		print_lease(&ledger.leases[i]);
		count++;
	}
	ledger_close(&ledger);
	if (!count)
		puts("nothing is handed out");
	return finish_stdout() ? EXIT_FAILURE : EXIT_SUCCESS;
}
