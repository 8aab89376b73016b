/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --plot: counters and limits over time, from a recorded database, drawn by gnuplot.
 * It is started without a shell, and reads a script that is made here from its standard input.
 * The picture comes through a pipe, as gnuplot does not look whether what it writes is written, and
 * goes to a file that takes its place when it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic_file.h"
#include "pins.h"
#include "plot_script.h"
#include "recording.h"

/* gnuplot reads its script from this fd, and prints the picture to that one. */
static int start_gnuplot(int script, int picture, pid_t *pid)
{
	/* -d: without the settings of the user, which may run anything. */
	static char *const arguments[] = {"gnuplot", "-d", "-", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none;
	int err;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&files, script, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, picture, STDOUT_FILENO);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	err = posix_spawnp(pid, arguments[0], &files, &attributes, arguments, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	if (err == ENOENT)
		complain("gnuplot is not installed: apt install gnuplot-nox");
	else if (err)
		complain("gnuplot cannot be started: %s", strerror(err));
	return err ? -1 : 0;
}

static int wait_for(pid_t pid, bool complaining)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (complaining)
		complain("gnuplot failed; its words are above");
	return -1;
}

static int take_picture(int from, struct atomic_file *picture)
{
	char data[65536];
	ssize_t size;

	while ((size = read(from, data, sizeof(data)))) {
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0) {
			complain("what gnuplot prints cannot be read: %s", strerror(errno));
			return -1;
		}
		if (atomic_write(picture, data, (size_t)size))
			return -1;
	}
	return 0;
}

/* 0, or -1 after a complaint. */
static int run_gnuplot(int script, struct atomic_file *picture)
{
	int ends[2], ret;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC)) {
		complain("no pipe: %s", strerror(errno));
		return -1;
	}
	ret = start_gnuplot(script, ends[1], &pid);
	close(ends[1]);
	if (ret) {
		close(ends[0]);
		return ret;
	}
	ret = take_picture(ends[0], picture);
	/* If it has more to say, that ends it. */
	close(ends[0]);
	return wait_for(pid, ret == 0) ? -1 : ret;
}

/* The script in a file without a name, so that gnuplot may end early and nobody waits. */
static int draw(const char *script, size_t size, struct atomic_file *picture)
{
	FILE *file = tmpfile();
	int ret = -1;

	if (!file) {
		complain("no temporary file: %s", strerror(errno));
		return -1;
	}
	if (fwrite(script, 1, size, file) != size || fflush(file) ||
		lseek(fileno(file), 0, SEEK_SET))
		complain("a temporary file cannot be written: %s", strerror(errno));
	else
		ret = run_gnuplot(fileno(file), picture);
	fclose(file);
	return ret;
}

static char *make_script(const struct pins_request *request, const char *path, size_t *size)
{
	sqlite3 *db = recording_open(path, false);
	char *script = NULL;
	FILE *out;
	int ret;

	if (!db)
		return NULL;
	out = open_memstream(&script, size);
	ret = out ? plot_script(out, db, request->query.pid) : -1;
	if (out && fclose(out))
		ret = -1;
	if (ret == PLOT_NOTHING)
		complain("%s: nothing is recorded in it%s", path,
			request->query.pid ? " of that process" : "");
	else if (ret)
		recording_complain(db, path, "it cannot be read");
	sqlite3_close(db);
	if (!ret)
		return script;
	free(script);
	return NULL;
}

int pins_plot(const struct pins_request *request)
{
	const char *path = request->from ? request->from : request->record;
	struct atomic_file picture;
	int status = EXIT_FAILURE;
	size_t size;
	char *script;

	script = make_script(request, path, &size);
	if (script && !atomic_open(&picture, request->plot)) {
		if (draw(script, size, &picture))
			atomic_abandon(&picture);
		else if (!atomic_commit(&picture))
			status = EXIT_SUCCESS;
	}
	free(script);
	return status;
}
