/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state file: what is saved is what is loaded, and what makes no sense is refused with its
 * place.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_fake.h"
#include "state.h"

#define FILE_NAME "var/lib/pinion/host.json"

static void fill(struct host_state *state)
{
	struct host_binding *b = host_binding_add(state);
	struct host_grant *g;
	struct host_node *n;
	struct host_vfs *v;

	strcpy(b->device, "0000:01:00.0");
	b->stage = HOST_UNDOING;
	strcpy(b->origin.boot, "boot");
	b->origin.time = 1234567890123;
	b->origin.pid = 42;
	strcpy(b->id, "8086:10d3");
	b->group = -1;
	strcpy(b->driver, "mlx5_vfio_pci");
	strcpy(b->before_driver, "mlx5_core");
	strcpy(b->interfaces, "eth0,eth1");
	b->persist = b->file_was = true;
	strcpy(b->file_before, "igb");
	b = host_binding_add(state);
	strcpy(b->device, "10000:e1:00.7");
	strcpy(b->driver, "vfio-pci");
	strcpy(b->before_override, "vfio-pci");
	strcpy(b->vf_of, "10000:e1:00.0");
	g = host_grant_add(state);
	strcpy(g->device, "0000:01:00.0");
	g->is_group = g->owner = g->persist = true;
	g->id = UINT32_MAX - 1;
	strcpy(g->name, "name");
	g->memlock = INT64_MAX;
	strcpy(g->nodes[0], "/dev/vfio/12");
	strcpy(g->nodes[1], "/dev/iommu");
	g->node_count = 2;
	n = host_node_add(state);
	strcpy(n->path, "/dev/vfio/12");
	strcpy(n->device, "0000:01:00.0");
	n->inode = 99;
	n->uid = 1;
	n->gid = 2;
	n->mode = 0640;
	strcpy(n->acl, "user::rw-,user:7:rw-,group::r--,mask::rw-,other::---");
	v = host_vfs_add(state);
	strcpy(v->device, "10000:e1:00.0");
	v->count = 1;
	v->functions = calloc(1, sizeof(*v->functions));
	assert_non_null(v->functions);
	strcpy(v->functions[0], "10000:e1:00.7");
	v->function_count = 1;
	v->before_autoprobe = v->token = true;
}

static void test_round_trip(void **arg)
{
	struct host_state state = {0}, loaded;
	char path[PATH_MAX];
	struct stat st;

	(void)arg;
	assert_int_equal(host_state_load(&fake.host, &loaded), 0);
	assert_int_equal(loaded.binding_count, 0);
	fill(&state);
	umask(0);
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	host_state_path(&fake.host, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(host_state_load(&fake.host, &loaded), 0);
	assert_int_equal(loaded.binding_count, 2);
	assert_memory_equal(loaded.bindings, state.bindings, 2 * sizeof(*state.bindings));
	assert_int_equal(loaded.grant_count, 1);
	assert_memory_equal(loaded.grants, state.grants, sizeof(*state.grants));
	assert_int_equal(loaded.node_count, 1);
	assert_memory_equal(loaded.nodes, state.nodes, sizeof(*state.nodes));
	assert_int_equal(loaded.vfs_count, 1);
	assert_string_equal(loaded.vfs[0].functions[0], "10000:e1:00.7");
	assert_true(loaded.vfs[0].token);
	host_state_free(&loaded);
	host_state_free(&state);
	/* Nothing in it, no file. */
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	assert_int_not_equal(stat(path, &st), 0);
}

/* Saved text with one part replaced is refused, and says where. */
static void refuse(const char *from, const char *to, const char *reason)
{
	struct host_state state = {0};
	char *text, *at, *changed;

	fill(&state);
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	host_state_free(&state);
	text = host_read_all("%s/" FILE_NAME, fake.root);
	assert_non_null(text);
	at = strstr(text, from);
	assert_non_null(at);
	assert_true(
		asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	fake_write(changed, FILE_NAME);
	free(changed);
	free(text);
	assert_int_equal(host_state_load(&fake.host, &state), -EBADMSG);
	if (!strstr(fake.host.error, reason))
		fail_msg("'%s' is not in '%s'", reason, fake.host.error);
	assert_int_equal(state.binding_count, 0);
}

static void test_refusals(void **arg)
{
	(void)arg;
	refuse("pinion.host/1", "pinion.host/2", "pinion.host/2");
	refuse("\"bindings\"", "\"binding\"", "bindings[0]");
	refuse("{", "[", "line");
	refuse("\"device\": \"0000:01:00.0\"", "\"device\": \"0000:01:00.9\"",
		"bindings[0]: device");
	refuse("\"device\": \"0000:01:00.0\"", "\"device\": 7", "bindings[0]");
	refuse("\"stage\": \"unbinding\"", "\"stage\": \"x\"", "stage 'x'");
	refuse("\"pid\": 42", "\"pid\": -42", "pid is -42");
	refuse("\"pid\": 42", "\"pid\": 42, \"pid\": 43", "duplicate");
	refuse("\"driver\": \"mlx5_core\"", "\"driver\": \"../x\"", "no name");
	refuse("\"driver\": \"mlx5_core\"", "\"driver\": 5", "neither a text nor null");
	refuse("\"eth0\"", "\"a/b\"", "interfaces");
	refuse("\"eth0\"", "\"e\\u001b[2Jth0\"", "interfaces");
	refuse("\"override_file\": \"igb\"", "\"file\": null", "bindings[0]");
	refuse("\"kind\": \"group\"", "\"kind\": \"all\"", "kind is 'all'");
	refuse("\"mode\": \"owner\"", "\"mode\": \"0666\"", "mode is '0666'");
	refuse("\"/dev/iommu\"", "\"/etc/shadow\"", "nodes is not a path below /dev");
	refuse("\"/dev/iommu\"", "\"/dev/../etc/shadow\"", "nodes is not a path below /dev");
	refuse("\"/dev/iommu\"", "\"/dev/a\", \"/dev/b\", \"/dev/c\", \"/dev/d\"", "up to 4");
	refuse("\"mode\": 416", "\"mode\": 512", "before.mode is 512");
	refuse("\"uid\": 1", "\"uid\": 4294967295", "before.uid");
	refuse("\"count\": 1", "\"count\": 0", "count is 0");
	refuse("\"10000:e1:00.7\"\n", "\"x\"\n", "functions");
}

static void test_cut_anywhere(void **arg)
{
	struct host_state state = {0};
	char *text;

	(void)arg;
	fill(&state);
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	host_state_free(&state);
	text = host_read_all("%s/" FILE_NAME, fake.root);
	assert_non_null(text);
	for (size_t len = strlen(text) - 1; len > 0; len--) {
		text[len] = '\0';
		fake_write(text, FILE_NAME);
		assert_int_equal(host_state_load(&fake.host, &state), -EBADMSG);
	}
	free(text);
}

static void test_no_room(void **arg)
{
	struct host_state state = {0};

	(void)arg;
	fill(&state);
	fake_write("a file", "var/lib");
	assert_int_equal(host_state_save(&fake.host, &state), -ENOTDIR);
	assert_non_null(strstr(fake.host.error, "host.json"));
	host_state_free(&state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_refusals, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_cut_anywhere, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_room, fake_setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
