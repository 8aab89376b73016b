// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of all pins of this host, for root: pinion/pins in debugfs.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "look.h"
#include "pin.h"

static struct dentry *folder;

static void show(struct seq_file *file, struct pinion_handle *handle)
{
	char comm[sizeof(handle->comm) * 4 + 1];

	string_escape_str(handle->comm, comm, sizeof(comm), ESCAPE_ANY_NP | ESCAPE_APPEND, " \t");
	mutex_lock(&handle->lock);
	seq_printf(file, "%d %u %s %s %s%s%s%s %lu %lu %lu\n", handle->pid,
		   from_kuid(&init_user_ns, handle->uid), comm,
		   handle->owner.charge == PINION_CHARGE_MM ? "mm" : "user",
		   handle->flags & PINION_QUERY_WRITE ? "w" : "r",
		   handle->flags & PINION_QUERY_EXCLUSIVE ? "x" : "",
		   handle->flags & PINION_QUERY_FD ? "f" : "",
		   handle->flags & PINION_QUERY_EXEMPT ? "e" : "", handle->pages,
		   handle->runs.pages, pinion_owner_pages(&handle->owner));
	mutex_unlock(&handle->lock);
}

static int pins_show(struct seq_file *file, void *unused)
{
	struct pinion_handle *handle;

	seq_puts(file, "pid uid program charge flags pages pinned owner_charged\n");
	mutex_lock(&pinion_handles_lock);
	list_for_each_entry(handle, &pinion_handles, in_table)
		show(file, handle);
	mutex_unlock(&pinion_handles_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pins);

void pinion_table_start(void)
{
	folder = debugfs_create_dir("pinion", NULL);
	debugfs_create_file("pins", 0400, folder, NULL, &pins_fops);
}

void pinion_table_stop(void)
{
	debugfs_remove_recursive(folder);
}
