/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a database of reports: is it one, and the tables of a new one.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "recording.h"

/* "PINS"; and the version of the tables. */
#define APPLICATION_ID 0x50494e53
#define TABLES_VERSION 1

static const char tables[] =
	"BEGIN IMMEDIATE;"
	"PRAGMA application_id = 1346981459;"
	"PRAGMA user_version = 1;"
	"CREATE TABLE IF NOT EXISTS samples ("
	" sample INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, process_count INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS counters ("
	" sample INTEGER NOT NULL REFERENCES samples, pid INTEGER NOT NULL,"
	" start_time INTEGER NOT NULL, uid INTEGER NOT NULL, comm TEXT NOT NULL,"
	" state TEXT NOT NULL, counter TEXT NOT NULL, predicted_pages INTEGER NOT NULL,"
	" before_pages INTEGER, observed_pages INTEGER, observer TEXT NOT NULL,"
	" unexplained_pages INTEGER, limited INTEGER NOT NULL, limit_soft_pages INTEGER,"
	" limit_hard_pages INTEGER, left_pages INTEGER);"
	"CREATE INDEX IF NOT EXISTS counters_sample ON counters (sample);"
	"CREATE TABLE IF NOT EXISTS findings ("
	" sample INTEGER NOT NULL REFERENCES samples, kind TEXT NOT NULL, cause TEXT NOT NULL,"
	" pid INTEGER, holder_pid INTEGER, uid INTEGER NOT NULL, counter TEXT NOT NULL,"
	" pages INTEGER NOT NULL, observer TEXT NOT NULL, text TEXT NOT NULL);"
	"CREATE INDEX IF NOT EXISTS findings_sample ON findings (sample);"
	"CREATE TABLE IF NOT EXISTS notes ("
	" sample INTEGER NOT NULL REFERENCES samples, text TEXT NOT NULL);"
	"COMMIT;";

_Static_assert(APPLICATION_ID == 1346981459, "the number that the tables are made with");

void recording_complain(sqlite3 *db, const char *path, const char *text)
{
	complain("%s: %s: %s", path, text, db ? sqlite3_errmsg(db) : "out of memory");
}

/*
 * Look at the file's first bytes before SQLite does, which would recover and tidy what it opens
 * (https://www.sqlite.org/fileformat.html: user version at 60, application id at 68). The tables
 * are made before the journal becomes a write-ahead log, so that these two are never in that alone.
 */
static const char *header_trouble(int fd)
{
	unsigned char header[100];
	uint32_t id, version;
	struct stat st;

	if (fstat(fd, &st))
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "it is not a regular file";
	if (!st.st_size)
		return NULL;
	if (pread(fd, header, sizeof(header), 0) != sizeof(header) ||
		memcmp(header, "SQLite format 3", 16) != 0)
		return "it is not a SQLite database; it is left as it is";
	memcpy(&version, header + 60, sizeof(version));
	memcpy(&id, header + 68, sizeof(id));
	if (be32toh(id) != APPLICATION_ID)
		return "it is a database of another program; it is left as it is";
	if (be32toh(version) != TABLES_VERSION)
		return "it was recorded by another version of pinion; it is left as it is";
	return NULL;
}

/* As with ledgers, others need not read which processes run. */
static int check_file(const char *path, bool writing)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *trouble;
	struct stat st;

	if (fd < 0 && errno == ENOENT && writing)
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		complain("%s: %s", path, strerror(errno));
		return -1;
	}
	trouble = header_trouble(fd);
	if (!trouble && !writing && !fstat(fd, &st) && !st.st_size)
		trouble = "nothing is recorded in it";
	close(fd);
	if (trouble)
		complain("%s: %s", path, trouble);
	return trouble ? -1 : 0;
}

/* The log survives a killed writer, and lets others read meanwhile. */
static int prepare(sqlite3 *db)
{
	return sqlite3_exec(db, tables, NULL, NULL, NULL) ||
	       sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", NULL,
		       NULL, NULL);
}

/* Of the file that was looked at. NULL: no memory. */
static sqlite3 *open_file(const char *path, bool writing)
{
	sqlite3 *db = NULL;
	char *name;

	/* To SQLite, ":memory:" and "file:NAME?OPTIONS" are no names of files. */
	if (asprintf(&name, "%s%s", *path == '/' ? "" : "./", path) < 0)
		return NULL;
	/* A log that a killed writer left is brought in, which takes writing. */
	if (sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE, NULL) && !writing) {
		sqlite3_close(db);
		sqlite3_open_v2(name, &db, SQLITE_OPEN_READONLY, NULL);
	}
	free(name);
	return db;
}

sqlite3 *recording_open(const char *path, bool writing)
{
	sqlite3 *db;

	if (check_file(path, writing))
		return NULL;
	db = open_file(path, writing);
	if (sqlite3_errcode(db)) {
		recording_complain(db, path, "it cannot be opened");
		sqlite3_close(db);
		return NULL;
	}
	sqlite3_busy_timeout(db, 5000);
	if (writing && prepare(db)) {
		recording_complain(db, path, "it cannot be written");
		sqlite3_close(db);
		return NULL;
	}
	return db;
}
