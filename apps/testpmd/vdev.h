/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Software ports under the names that dpdk-testpmd has for them.
 */
#ifndef VDEV_H
#define VDEV_H

#include <stddef.h>

/*
 * What --port takes for a --vdev such as "net_af_packet0,iface=eth0". 0; -EINVAL for a device that
 * there is none for; -ENOENT for a word that Pinion's has no counterpart for: *word, of *word_len
 * bytes; -ENAMETOOLONG.
 */
int vdev_spec(const char *vdev, char *spec, size_t size, const char **word, size_t *word_len);

/* The names, for messages; NULL after the last. */
const char *vdev_name(unsigned int index);

#endif
