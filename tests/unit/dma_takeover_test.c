/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking over a domain when something fails: every call into the kernel, allocation and mmap() in
 * turn; then it can be tried again. And descriptions of domains that make no sense, which anybody
 * may have written.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_program.h"
#include "failing_alloc.h"

#define NO_SUCH_STEP 100

static unsigned int maps, failing_map;

void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (++maps == failing_map) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap(addr, len, prot, flags, fd, offset);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("__wrap_mmap")));

enum step { CALL, ALLOCATION, MAP };

static struct {
	enum step step;
	unsigned int at;
	int err;
} failure;

static bool was_hit(void)
{
	switch (failure.step) {
	case CALL:
		return model.failed > 0;
	case ALLOCATION:
		return allocations >= failure.at;
	default:
		return maps >= failure.at;
	}
}

static int take_over_failing(struct pn_domain **out, int state_fd)
{
	int ret;

	model.calls = model.failed = allocations = maps = 0;
	model.fail_call = failure.step == CALL ? failure.at : 0;
	model.fail_err = failure.err;
	failing_allocation = failure.step == ALLOCATION ? failure.at : 0;
	failing_map = failure.step == MAP ? failure.at : 0;
	stale_error();
	ret = pn_domain_takeover(out, state_fd, ledgers);
	failing_allocation = failing_map = 0;
	model_calm();
	return ret;
}

static void fail_and_try_again(const char *backend)
{
	struct pn_domain *domain = NULL;
	struct program program;
	struct model_state before, after;
	bool hit;
	int ret;

	/* What the library that reads the description allocates, too. */
	json_set_alloc_funcs(malloc, free);
	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	before = model_state();
	ret = take_over_failing(&domain, program.state_fd);
	hit = was_hit();
	if (ret) {
		EXPECT(hit && ret < 0);
		EXPECT(has_reason());
		EXPECT(!domain);
		after = model_state();
		EXPECT(before.fds == after.fds);
		EXPECT(before.process_fds == after.process_fds);
		EXPECT(before.maps == after.maps && before.objects == after.objects);
		EXPECT(before.user == after.user);
		EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	}
	if (!domain)
		return;
	program_check(&program, domain);
	program_end(&program, domain);
	if (!hit && !program_troubles)
		_exit(NO_SUCH_STEP);
}

/* False: the step is behind the end. */
static bool fail_at(const char *backend, enum step step, unsigned int at, int err)
{
	pid_t child;
	int status;

	failure.step = step;
	failure.at = at;
	failure.err = err;
	child = fork();
	if (!child) {
		program_troubles = 0;
		fail_and_try_again(backend);
		_exit(program_troubles ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SUCH_STEP)
		return false;
	if (status)
		fail_msg("%s number %u failed with %s: status %#x",
			step == CALL         ? "call"
			: step == ALLOCATION ? "allocation"
					     : "mmap()",
			at, strerror(err), (unsigned int)status);
	return true;
}

static void each_kernel_call(void **state)
{
	static const int errs[] = {ENOMEM, EFAULT, EINVAL, ENOSPC, EINTR, EBUSY};

	for (size_t i = 0; i < PN_ARRAY_SIZE(errs); i++)
		for (unsigned int call = 1; fail_at(*state, CALL, call, errs[i]); call++)
			;
}

static void each_allocation(void **state)
{
	for (unsigned int at = 1; fail_at(*state, ALLOCATION, at, ENOMEM); at++)
		;
}

static void each_mapping_of_memory(void **state)
{
	for (unsigned int at = 1; fail_at(*state, MAP, at, ENOMEM); at++)
		;
}

/* Descriptions. */

static int file_with(const char *text, size_t size)
{
	int fd = memfd_create("state", 0);

	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		abort();
	return fd;
}

static char *read_state(int fd)
{
	static char text[1 << 16];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	if (size <= 0)
		abort();
	text[size] = '\0';
	return text;
}

/* Try one; false: it was taken, and the domain is gone with it. */
static bool refuses(struct program *program, const char *text, size_t size)
{
	struct model_state before, after;
	struct pn_domain *domain = NULL;
	int fd = file_with(text, size), ret;

	(void)program;
	before = model_state();
	stale_error();
	ret = pn_domain_takeover(&domain, fd, ledgers);
	if (!ret) {
		EXPECT(domain);
		return false;
	}
	EXPECT(ret < 0 && has_reason() && !domain);
	after = model_state();
	EXPECT(before.fds == after.fds && before.process_fds == after.process_fds);
	EXPECT(before.maps == after.maps && before.user == after.user);
	close(fd);
	return true;
}

static void not_a_description(const char *backend)
{
	static const char *const texts[] = {"", "{", "{}", "[]", "null", "0", "\"pinion_handover\"",
		"{\"pinion_handover\": 1}", "{\"pinion_handover\": 99, \"pid\": 1}",
		"{\"pinion_handover\": \"1\", \"pid\": \"1\"}"};
	struct pn_domain *domain = NULL;
	struct program program;
	char *zeroes;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	for (size_t i = 0; i < PN_ARRAY_SIZE(texts); i++)
		EXPECT(refuses(&program, texts[i], strlen(texts[i])));
	zeroes = calloc(1, 8 << 20);
	EXPECT(refuses(&program, zeroes, 100));
	EXPECT(refuses(&program, zeroes, 8 << 20));
	free(zeroes);
	EXPECT(pn_domain_takeover(&domain, -1, ledgers) < 0);
	EXPECT(pn_domain_takeover(&domain, 1000, ledgers) < 0);
	EXPECT(pn_domain_takeover(&domain, open("/dev/null", O_RDWR | O_CLOEXEC), ledgers) ==
		-EINVAL);
	EXPECT(pn_domain_takeover(&domain, open("/", O_RDONLY | O_CLOEXEC), ledgers) == -EINVAL);
	EXPECT(!domain);
	EXPECT(!pn_domain_takeover(&domain, program.state_fd, ledgers));
	if (domain) {
		program_check(&program, domain);
		program_end(&program, domain);
	}
}

static void files_that_are_no_description(void **state)
{
	in_child(*state, not_a_description);
}

/* Ledgers of children that ended with a domain. */
static void prune_ledgers(void)
{
	const struct pn_pins_query query = {.directory = ledgers, .prune = true};
	struct pn_pins_report *report;

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	pn_pins_report_free(report);
}

/* Cut off anywhere, nothing is taken. */
static void cut_short(const char *backend)
{
	struct program program;
	char *text;
	size_t size;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	text = read_state(program.state_fd);
	size = strlen(text);
	for (size_t cut = 0; cut < size - 1; cut += 1 + cut / 64)
		EXPECT(refuses(&program, text, cut));
}

static void descriptions_cut_short(void **state)
{
	in_child(*state, cut_short);
	prune_ledgers();
}

/* Each value in turn is another. */

static json_t *replacement(unsigned int kind)
{
	switch (kind) {
	case 0:
		return json_null();
	case 1:
		return json_integer(-1);
	case 2:
		return json_integer(0);
	case 3:
		return json_integer(INT64_MAX);
	case 4:
		return json_integer(INT64_MIN);
	case 5:
		return json_integer(4097);
	case 6:
		return json_string("a text that is much longer than any name has room for, and on");
	case 7:
		return json_array();
	case 8:
		return json_object();
	default:
		return json_true();
	}
}

#define REPLACEMENTS 10u

/* Replace value number *at, counted in depth; kind REPLACEMENTS: leave it out. True: done. */
static bool replace(json_t *value, unsigned int *at, unsigned int kind)
{
	const char *key;
	json_t *item;
	size_t i;
	void *next;

	json_array_foreach(value, i, item)
	{
		if (!(*at)--)
			return kind == REPLACEMENTS
				       ? !json_array_remove(value, i)
				       : !json_array_set_new(value, i, replacement(kind));
		if (replace(item, at, kind))
			return true;
	}
	json_object_foreach_safe(value, next, key, item)
	{
		if (!(*at)--)
			return kind == REPLACEMENTS
				       ? !json_object_del(value, key)
				       : !json_object_set_new(value, key, replacement(kind));
		if (replace(item, at, kind))
			return true;
	}
	return false;
}

static unsigned int first_value;

/* From first_value on, until one was taken; exits with NO_SUCH_STEP behind the last. */
static void change_values(const char *backend)
{
	struct program program;
	char *state, *text;
	json_t *root;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	state = read_state(program.state_fd);
	for (unsigned int value = first_value;; value++) {
		unsigned int at = value / (REPLACEMENTS + 1);
		bool refused;

		root = json_loads(state, 0, NULL);
		if (!replace(root, &at, value % (REPLACEMENTS + 1)))
			_exit(program_troubles ? 1 : NO_SUCH_STEP);
		text = json_dumps(root, 0);
		refused = refuses(&program, text, strlen(text));
		free(text);
		json_decref(root);
		if (program_troubles) {
			print_error("value %u, replaced by kind %u\n", value / (REPLACEMENTS + 1),
				value % (REPLACEMENTS + 1));
			_exit(1);
		}
		/* Where it was taken there is nothing to try the next with. */
		if (!refused) {
			_exit(value - first_value < 90 ? (int)(value - first_value) + 2 : 92);
		}
		if (value - first_value == 89)
			_exit(91);
	}
}

static void values_that_make_no_sense(void **state)
{
	unsigned int taken = 0, tried;
	pid_t child;
	int status;

	for (first_value = 0;;) {
		child = fork();
		if (!child) {
			program_troubles = 0;
			change_values(*state);
			_exit(1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) < 2)
			fail_msg(
				"values from %u on: status %#x", first_value, (unsigned int)status);
		if (WEXITSTATUS(status) == NO_SUCH_STEP)
			break;
		tried = (unsigned int)WEXITSTATUS(status) - 1;
		taken += tried < 90;
		first_value += tried;
	}
	prune_ledgers();
	/* There are many values, and few of them do not matter. */
	assert_true(first_value > 200);
	assert_true(taken < first_value / 2);
}

/* Bytes of the text changed at random. */
static uint64_t seed;

static uint64_t random_below(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d) % below;
}

static void change_bytes(const char *backend)
{
	struct program program;
	static char text[1 << 16];
	const char *state;
	size_t size;

	program_begin(&program, backend);
	if (!program_execute(&program))
		return;
	state = read_state(program.state_fd);
	size = strlen(state);
	for (unsigned int round = 0; round < 100; round++) {
		memcpy(text, state, size);
		for (uint64_t i = 0; i <= random_below(3); i++)
			text[random_below(size)] = (char)(random_below(4) ? '0' + random_below(10)
									  : random_below(256));
		if (!refuses(&program, text, size))
			break;
	}
}

static void bytes_that_were_changed(void **state)
{
	for (unsigned int round = 1; round <= 30; round++) {
		seed = round * UINT64_C(0x9e3779b97f4a7c15);
		in_child(*state, change_bytes);
	}
	prune_ledgers();
}

#define IN_PROGRAMS(test)                                                          \
	{"type1: " #test, test, NULL, NULL, (void *)(uintptr_t) "type1"},          \
	{                                                                          \
		"iommufd: " #test, test, NULL, NULL, (void *)(uintptr_t) "iommufd" \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PROGRAMS(each_kernel_call),
		IN_PROGRAMS(each_allocation),
		IN_PROGRAMS(each_mapping_of_memory),
		IN_PROGRAMS(files_that_are_no_description),
		IN_PROGRAMS(descriptions_cut_short),
		IN_PROGRAMS(values_that_make_no_sense),
		IN_PROGRAMS(bytes_that_were_changed),
	};

	return fixture_run(tests);
}
