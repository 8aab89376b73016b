/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who keeps hugepages: processes that map them or have files of them open, and files on a hugetlbfs
 * that is mounted for some processes only. The last show in no process: when whoever made them is
 * gone, the pages stay in use as long as something lives in that mount namespace.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "doctor.h"
#include "text.h"

#define DEPTH_MAX   4u
#define ENTRIES_MAX 65536u /* of one mount */
#define FOLDERS_MAX 32u
#define MOUNTS_MAX  256u /* file systems, and namespaces, that are told apart */

/* What has been looked at already. */
struct seen {
	ino_t namespaces[MOUNTS_MAX];
	unsigned int namespace_count;
	dev_t filesystems[MOUNTS_MAX];
	unsigned int filesystem_count;
	char folders[FOLDERS_MAX][DOCTOR_PATH]; /* where one is mounted, in any namespace */
	unsigned int folder_count;
};

static struct doctor_holder *add_holder(
	struct doctor *d, pid_t pid, uint64_t page_size, uint64_t pages)
{
	struct doctor_holders *holders = &d->machine.holders;
	struct doctor_holder *holder;

	if (holders->count == DOCTOR_HOLDERS) {
		holders->more = true;
		return NULL;
	}
	holder = &holders->list[holders->count++];
	memset(holder, 0, sizeof(*holder));
	holder->pid = pid;
	holder->page_size = page_size;
	holder->pages = pages;
	doctor_read(d, holder->name, sizeof(holder->name), "/proc/%d/comm", (int)pid);
	return holder;
}

/* Pages of each size that a process has; a page that it maps and has open is one. */
struct of_process {
	uint64_t page_size[4];
	uint64_t mapped[4], open[4]; /* pages */
};

static uint64_t *slot(struct of_process *of, uint64_t page_size, bool mapped)
{
	for (size_t i = 0; i < 4; i++) {
		if (of->page_size[i] && of->page_size[i] != page_size)
			continue;
		of->page_size[i] = page_size;
		return mapped ? &of->mapped[i] : &of->open[i];
	}
	return NULL;
}

static void take_smaps(const struct doctor *d, pid_t pid, struct of_process *of)
{
	char path[DOCTOR_PATH], *line = NULL;
	uint64_t kib, page = 0, *pages;
	size_t size = 0;
	FILE *file;

	file = doctor_path(d, path, "/proc/%d/smaps", (int)pid) ? NULL : fopen(path, "re");
	while (file && getline(&line, &size, file) > 0) {
		if (sscanf(line, "KernelPageSize: %" SCNu64 " kB", &kib) == 1)
			page = kib << 10;
		else if (page > PN_PAGE_4K &&
			 (sscanf(line, "Shared_Hugetlb: %" SCNu64 " kB", &kib) == 1 ||
				 sscanf(line, "Private_Hugetlb: %" SCNu64 " kB", &kib) == 1) &&
			 kib && (pages = slot(of, page, true)))
			*pages += (kib << 10) / page;
	}
	free(line);
	if (file)
		fclose(file);
}

/* By its name alone: to ask a file that is on a server which does not answer would take for ever.
 */
static bool may_be_hugetlb(const char *link, const struct seen *seen)
{
	char target[DOCTOR_PATH];
	ssize_t len = readlink(link, target, sizeof(target) - 1);

	if (len < 0)
		return false;
	target[len] = '\0';
	if (strncmp(target, "/memfd:", strlen("/memfd:")) == 0)
		return true;
	for (unsigned int i = 0; i < seen->folder_count; i++) {
		if (strncmp(target, seen->folders[i], strlen(seen->folders[i])) == 0)
			return true;
	}
	return false;
}

/* False: its files cannot be seen. */
static bool take_files(
	const struct doctor *d, pid_t pid, struct of_process *of, const struct seen *seen)
{
	char path[DOCTOR_PATH], name[DOCTOR_PATH + 300];
	struct dirent *entry;
	struct statfs fs;
	uint64_t *pages;
	struct stat st;
	DIR *dir;

	dir = doctor_path(d, path, "/proc/%d/fd", (int)pid) ? NULL : opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (!may_be_hugetlb(name, seen) || stat(name, &st) || !S_ISREG(st.st_mode) ||
			statfs(name, &fs) || fs.f_type != HUGETLBFS_MAGIC || fs.f_bsize <= 0 ||
			st.st_blocks <= 0)
			continue;
		pages = slot(of, (uint64_t)fs.f_bsize, false);
		if (pages)
			*pages += (uint64_t)st.st_blocks * 512 / (uint64_t)fs.f_bsize;
	}
	closedir(dir);
	return true;
}

/* Bytes in the files below a folder. */
static uint64_t bytes_below(int dir_fd, unsigned int depth, unsigned int *entries)
{
	struct dirent *entry;
	uint64_t bytes = 0;
	struct stat st;
	DIR *dir;
	int fd;

	dir = fdopendir(dir_fd);
	if (!dir) {
		close(dir_fd);
		return 0;
	}
	while ((*entries)++ < ENTRIES_MAX && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
			fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (S_ISREG(st.st_mode) && st.st_blocks > 0)
			bytes += (uint64_t)st.st_blocks * 512;
		if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
			continue;
		fd = openat(
			dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			bytes += bytes_below(fd, depth + 1, entries);
	}
	closedir(dir);
	return bytes;
}

static void take_mount(struct doctor *d, pid_t pid, const char *mounted, struct seen *seen)
{
	struct doctor_holder *holder;
	unsigned int entries = 0;
	char path[DOCTOR_PATH];
	struct statfs fs;
	uint64_t bytes;
	struct stat st;
	int fd;

	if (doctor_path(d, path, "/proc/%d/root%s", (int)pid, mounted))
		return;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) || fstatfs(fd, &fs) || fs.f_type != HUGETLBFS_MAGIC || fs.f_bsize <= 0) {
		close(fd);
		return;
	}
	for (unsigned int i = 0; i < seen->filesystem_count; i++) {
		if (seen->filesystems[i] == st.st_dev) {
			close(fd);
			return;
		}
	}
	if (seen->filesystem_count < MOUNTS_MAX)
		seen->filesystems[seen->filesystem_count++] = st.st_dev;
	bytes = bytes_below(fd, 0, &entries);
	holder = bytes ? add_holder(d, pid, (uint64_t)fs.f_bsize, bytes / (uint64_t)fs.f_bsize)
		       : NULL;
	if (!holder)
		return;
	holder->mount = true;
	snprintf(holder->path, sizeof(holder->path), "%s", mounted);
}

static void take_mounts(struct doctor *d, pid_t pid, struct seen *seen)
{
	char path[DOCTOR_PATH], line[4096];
	struct mntent entry;
	struct stat st;
	FILE *mounts;

	if (doctor_path(d, path, "/proc/%d/ns/mnt", (int)pid) || stat(path, &st))
		return;
	for (unsigned int i = 0; i < seen->namespace_count; i++) {
		if (seen->namespaces[i] == st.st_ino)
			return;
	}
	if (seen->namespace_count < MOUNTS_MAX)
		seen->namespaces[seen->namespace_count++] = st.st_ino;
	mounts = doctor_path(d, path, "/proc/%d/mounts", (int)pid) ? NULL : setmntent(path, "re");
	while (mounts && getmntent_r(mounts, &entry, line, sizeof(line))) {
		if (strcmp(entry.mnt_type, "hugetlbfs") != 0)
			continue;
		if (seen->folder_count < FOLDERS_MAX)
			snprintf(seen->folders[seen->folder_count++], DOCTOR_PATH, "%s",
				entry.mnt_dir);
		take_mount(d, pid, entry.mnt_dir, seen);
	}
	if (mounts)
		endmntent(mounts);
}

static void take_process(struct doctor *d, pid_t pid, struct seen *seen)
{
	struct of_process of = {0};
	char status[16384];
	uint64_t kib;

	if (doctor_read(d, status, sizeof(status), "/proc/%d/status", (int)pid) > 0 &&
		doctor_field(status, "HugetlbPages:", 10, &kib) && kib)
		take_smaps(d, pid, &of);
	take_mounts(d, pid, seen);
	if (!take_files(d, pid, &of, seen))
		d->machine.holders.unseen++;
	for (size_t i = 0; i < 4; i++) {
		uint64_t pages = of.mapped[i] > of.open[i] ? of.mapped[i] : of.open[i];

		if (pages)
			add_holder(d, pid, of.page_size[i], pages);
	}
}

void doctor_holders_gather(struct doctor *d)
{
	struct seen *seen = calloc(1, sizeof(*seen));
	char path[DOCTOR_PATH];
	struct dirent *entry;
	DIR *dir;

	if (!seen) {
		d->out_of_memory = true;
		return;
	}
	/* Our own mounts first: what is in them is told without a process. */
	take_mounts(d, getpid(), seen);
	for (unsigned int i = 0; i < d->machine.holders.count; i++)
		d->machine.holders.list[i].pid = 0;
	d->machine.holders.hidden = !doctor_exists(d, "/proc/1/status");
	dir = doctor_path(d, path, "/proc") ? NULL : opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			take_process(d, (pid_t)strtol(entry->d_name, NULL, 10), seen);
	}
	if (dir)
		closedir(dir);
	free(seen);
}

/*
 * The check
 */

/* A path as one word of a command: who may mount chooses it, and root may copy the command. */
static void shell_word(const char *path, char word[DOCTOR_PATH * 4 + 3])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/_.:@%+,=-";
	char *to = word;

	if (!path[strspn(path, plain)]) {
		strcpy(word, path);
		return;
	}
	*to++ = '\'';
	for (; *path; path++)
		to = *path == '\'' ? stpcpy(to, "'\\''") : mempcpy(to, path, 1);
	strcpy(to, "'");
}

/* A mount that this process does not see: its files are in nobody's HugetlbPages. */
static void say_mount(struct doctor *d, const struct doctor_holder *holder)
{
	const struct doctor_finding *pool;
	struct doctor_finding *finding;
	char size[32], word[DOCTOR_PATH * 4 + 3];

	shell_word(holder->path, word);
	doctor_size(size, holder->page_size);
	pool = doctor_find(d, "memory.hugepages", size);
	finding = doctor_add(d, "memory.mount", holder->path,
		pool && pool->state > DOCTOR_UNSEEN ? DOCTOR_HURTS : DOCTOR_OK,
		"%" PRIu64
		" pages of %s are kept by files there, in the mount namespace of process %d "
		"(%s): no process need show them",
		holder->pages, size, (int)holder->pid, holder->name);
	doctor_number(finding, "pages", holder->pages);
	doctor_number(finding, "page_bytes", holder->page_size);
	doctor_number(finding, "pid", (uint64_t)holder->pid);
	doctor_mend_root(d, finding, "nsenter -t %d -m umount %s # when nobody needs its files",
		(int)holder->pid, word);
}

static void holder_text(const struct doctor_holder *holder, char text[300])
{
	if (holder->mount)
		snprintf(text, 300, "files on %s", holder->path);
	else
		snprintf(text, 300, "process %d (%s)", (int)holder->pid, holder->name);
}

static const char *why_unseen(const struct doctor *d)
{
	if (d->pid_namespace)
		return ": processes outside of this pid namespace are not shown";
	if (d->machine.holders.hidden)
		return ": /proc shows no processes of others (hidepid)";
	if (d->machine.holders.unseen)
		return ": the files of other users' processes are closed to this user";
	return ": no process, and no mount namespace with a process in it (System V shared memory, "
	       "or a namespace that is kept by a file)";
}

static void say_holders(struct doctor *d, uint64_t page_size, uint64_t used)
{
	const struct doctor_holders *holders = &d->machine.holders;
	struct doctor_finding *finding;
	uint64_t sum = 0;
	char text[512] = "", size[32], who[300];
	size_t length = 0;

	doctor_size(size, page_size);
	for (unsigned int i = 0; i < holders->count; i++) {
		const struct doctor_holder *holder = &holders->list[i];

		if (holder->page_size != page_size)
			continue;
		sum += holder->pages;
		if (holder->mount && holder->pid) {
			say_mount(d, holder);
			continue;
		}
		if (length >= sizeof(text))
			continue;
		holder_text(holder, who);
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s %" PRIu64,
			length ? ", " : "", who, holder->pages);
	}
	if (*text) {
		finding = doctor_add(d, "memory.holders", size, DOCTOR_OK,
			"%" PRIu64 " in use: %s%s", used, text, holders->more ? ", and more" : "");
		doctor_number(finding, "pages", used);
	}
	if (sum >= used)
		return;
	finding = doctor_add(d, "memory.holders", size, DOCTOR_UNSEEN,
		"who keeps %" PRIu64 " of the %" PRIu64 " pages in use%s", used - sum, used,
		why_unseen(d));
	doctor_number(finding, "pages", used - sum);
	doctor_number(finding, "processes", holders->unseen);
	if (d->pid_namespace || holders->hidden || holders->unseen)
		doctor_mend_root(d, finding, "pinion doctor%s%s", d->container ? "" : " --as-user ",
			d->container ? "" : d->machine.user);
}

void doctor_check_holders(struct doctor *d)
{
	char path[DOCTOR_PATH];
	struct dirent *entry;
	uint64_t kib, total, free_pages;
	DIR *dir;

	for (unsigned int i = 0; i < d->machine.holders.count; i++)
		clean_text(d->machine.holders.list[i].path);
	dir = doctor_path(d, path, "/sys/kernel/mm/hugepages") ? NULL : opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) != 1 ||
			kib > UINT64_C(1) << 40 ||
			doctor_read_number(d, &total,
				"/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
				kib) ||
			doctor_read_number(d, &free_pages,
				"/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/free_hugepages",
				kib))
			continue;
		if (total > free_pages)
			say_holders(d, kib << 10, total - free_pages);
	}
	if (dir)
		closedir(dir);
}
