/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What backends share when they hand a context over to a new program: open files that it inherits,
 * by their numbers, and a JSON object that names them.
 */
#ifndef PN_INHERITED_H
#define PN_INHERITED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Clear FD_CLOEXEC so that an fd lasts through execve(), or set it again. 0 or a negative errno
 * with the reason. */
int handover_inherit(int fd, bool inherit);

/*
 * Read a member of a state, which anybody may have written: 0; -EINVAL with the reason. An fd is
 * seen to be open.
 */
int handover_get_fd(const json_t *state, const char *key, int *fd);
int handover_get_u32(const json_t *state, const char *key, uint32_t *value);
int handover_get_bool(const json_t *state, const char *key, bool *value);
int handover_get_address(const json_t *state, char address[16]);
/* An array; NULL and the reason set if it is none. */
const json_t *handover_get_array(const json_t *state, const char *key);

/* Is an open file a device of VFIO's, ready for use? 0, -EINVAL with the reason. */
int handover_check_device(int fd, const char *address);

#endif
