/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See host_run.h.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "derived.h"
#include "host_run.h"

const struct host_bind_options run_plain = {.driver = "vfio-pci"};

int run_setup(void **arg)
{
	if (fake_setup(arg))
		return -1;
	fake_device(CARD, "0x020000", "e1000e", 7);
	fake_device(ANOTHER, "0x020000", "igb", 8);
	return 0;
}

int run_bind_uses(
	const char *device, const struct host_bind_options *options, struct host_uses *uses)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_bind(&fake.host, &state, &device, 1, options, uses);
	host_state_free(&state);
	return err;
}

int run_bind(const char *device, const struct host_bind_options *options)
{
	struct host_uses uses;
	int err = run_bind_uses(device, options, &uses);

	host_uses_free(&uses);
	return err;
}

int run_unbind(const char *device)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_unbind(&fake.host, &state, device, false);
	host_state_free(&state);
	return err;
}

struct host_grant_options run_grant_to(unsigned int id, bool owner)
{
	return (struct host_grant_options){.id = id, .name = "somebody", .owner = owner};
}

int run_grant(const char *device, const struct host_grant_options *options)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_grant(&fake.host, &state, device, options);
	host_state_free(&state);
	return err;
}

void run_revoke(const char *device)
{
	struct host_state state;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	assert_int_equal(host_revoke_device(&fake.host, &state, device), 0);
	host_state_free(&state);
}

void run_clear_all(void)
{
	struct host_state state;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	while (state.binding_count)
		assert_int_equal(
			host_unbind(&fake.host, &state, state.bindings[0].device, false), 0);
	while (state.grant_count)
		assert_int_equal(host_revoke_device(&fake.host, &state, state.grants[0].device), 0);
	assert_int_equal(host_revoke_nodes(&fake.host, &state), 0);
	assert_int_equal(host_derived_write(&fake.host, &state), 0);
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	host_state_free(&state);
}

bool run_survives(int step, int (*act)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		fake.die_at = step;
		_exit(act());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 99 || !WEXITSTATUS(status));
	return !WEXITSTATUS(status);
}
