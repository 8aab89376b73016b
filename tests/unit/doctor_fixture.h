/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine for the tests of pinion doctor: a tree of files in which nothing is in the way, results
 * of what is tried, and a device; and questions to the findings.
 */
#ifndef DOCTOR_FIXTURE_H
#define DOCTOR_FIXTURE_H

#include "doctor.h"

extern struct doctor doctor;
extern struct pn_pci_info doctor_devices[4];
extern char doctor_root_dir[64];

/* What opening a node answers, other than 0; and what the kernel says of the group. */
struct doctor_answers {
	int node, group;
	bool not_viable;
};
extern struct doctor_answers doctor_answers;

/* For cmocka: a machine in which all is well, and away with it. */
int doctor_setup(void **state);
int doctor_teardown(void **state);

/* A file of the tree, with its folders; text NULL: away with it. */
void doctor_file(const char *path, const char *text);
void doctor_bytes(const char *path, const void *data, size_t size);
void doctor_link(const char *path, const char *target);
/* A file, or a folder with all that is in it. */
void doctor_remove(const char *path);
/* Call it for each file of the tree, by its path below the root. */
void doctor_each_file(void (*fn)(const char *path));

/* Forget what was found, and look again. */
void doctor_look(void);

/* The only finding that is not ok is this, in that state, and says this. */
const struct doctor_finding *only(
	const char *id, const char *object, enum doctor_state state, const char *text);
/* There is such a finding, whatever else there is. */
const struct doctor_finding *found(
	const char *id, const char *object, enum doctor_state state, const char *text);
/* It has exactly this mend of that kind. */
void mended(const struct doctor_finding *finding, enum doctor_where where, const char *text);
uint64_t number(const struct doctor_finding *finding, const char *name);

#endif
