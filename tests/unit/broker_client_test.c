/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's end of the broker's socket against answers that make no sense: files are counted and
 * closed, texts are ended, and what is wrong is said.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "exchange.h"
#include "pn_broker.h"

static int ends[2];
static struct pn_broker_answer answer;
static const struct pn_broker_wire_request request = {
	.magic = PN_BROKER_MAGIC, .kind = PN_BROKER_OPEN, .count = 2};

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static struct pn_broker_wire_reply good(void)
{
	return (struct pn_broker_wire_reply){.magic = PN_BROKER_MAGIC,
		.kind = PN_BROKER_OPEN,
		.count = 2,
		.backend = PN_BROKER_TYPE1};
}

/* The broker's side, beforehand: the answer waits in the socket. */
static void put(const void *reply, size_t len, unsigned int files)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {.iov_base = (void *)(uintptr_t)reply, .iov_len = len};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	struct cmsghdr *header;
	int fds[16];

	for (unsigned int i = 0; i < files; i++)
		fds[i] = STDERR_FILENO;
	if (files) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(files * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(files * sizeof(int));
		memcpy(CMSG_DATA(header), fds, files * sizeof(int));
	}
	assert_int_equal(sendmsg(ends[1], &message, 0), len);
}

static int ask(const struct pn_broker_wire_reply *reply, size_t len, unsigned int files)
{
	put(reply, len, files);
	return pn_broker_ask(ends[0], &request, &answer);
}

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int teardown(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static void files_come_with_it(void **state)
{
	struct pn_broker_wire_reply reply = good();
	unsigned int before = open_files();

	(void)state;
	assert_int_equal(ask(&reply, sizeof(reply), 3), 0);
	assert_int_equal(answer.fd_count, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(fcntl(answer.fds[i], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(open_files(), before + 3);
	pn_broker_answer_close(&answer);
	assert_int_equal(open_files(), before);
}

static void refusals_have_words(void **state)
{
	struct pn_broker_wire_reply reply = good();

	(void)state;
	reply.error = EACCES;
	strcpy(reply.text, "no rule");
	assert_int_equal(ask(&reply, sizeof(reply), 0), -EACCES);
	assert_string_equal(pn_error(), "pinion-broker: no rule");
	/* Without an end. */
	memset(reply.text, 'x', sizeof(reply.text));
	assert_int_equal(ask(&reply, sizeof(reply), 0), -EACCES);
	assert_int_equal(strlen(pn_error()), strlen("pinion-broker: ") + PN_BROKER_TEXT - 1);
}

static void answers_without_sense(void **state)
{
	struct pn_broker_wire_reply reply = good();
	unsigned int before = open_files();
	char longer[sizeof(reply) + 1] = "";

	(void)state;
	for (size_t len = 1; len < sizeof(reply); len += 25)
		assert_int_equal(ask(&reply, len, 3), -EPROTO);
	memcpy(longer, &reply, sizeof(reply));
	put(longer, sizeof(longer), 3);
	assert_int_equal(pn_broker_ask(ends[0], &request, &answer), -EPROTO);
	for (unsigned int files = 0; files < 9; files++) {
		if (files != 3)
			assert_int_equal(ask(&reply, sizeof(reply), files), -EPROTO);
	}
	/* More than there can be. */
	assert_int_equal(ask(&reply, sizeof(reply), 16), -EMFILE);
	reply.count = 3;
	assert_int_equal(ask(&reply, sizeof(reply), 4), -EPROTO);
	reply = good();
	reply.kind = PN_BROKER_RELEASE;
	assert_int_equal(ask(&reply, sizeof(reply), 3), -EPROTO);
	reply = good();
	reply.backend = 3;
	assert_int_equal(ask(&reply, sizeof(reply), 3), -EPROTO);
	reply = good();
	reply.magic++;
	assert_int_equal(ask(&reply, sizeof(reply), 3), -EPROTO);
	reply = good();
	reply.error = -1;
	assert_int_equal(ask(&reply, sizeof(reply), 3), -EPROTO);
	reply.error = INT32_MAX;
	assert_int_equal(ask(&reply, sizeof(reply), 3), -EPROTO);
	assert_int_equal(open_files(), before);
	close(ends[1]);
	assert_int_equal(pn_broker_ask(ends[0], &request, &answer), -EPIPE);
	ends[1] = dup(ends[0]);
}

/* Refused as a connection, before the request was read: the reply is there all the same. */
static void refused_before_it_asked(void **state)
{
	struct pn_broker_wire_reply reply = good();

	(void)state;
	reply.kind = PN_BROKER_REFUSED;
	reply.error = EBUSY;
	strcpy(reply.text, "too many");
	assert_int_equal(send(ends[0], &request, sizeof(request), 0), sizeof(request));
	put(&reply, sizeof(reply), 0);
	close(ends[1]);
	assert_int_equal(pn_broker_ask(ends[0], &request, &answer), -EBUSY);
	assert_string_equal(pn_error(), "pinion-broker: too many");
	ends[1] = dup(ends[0]);
}

static void arguments(void **state)
{
	static const char *const one[] = {"0000:03:00.0"}, *const lengthy[] = {"0000:03:00.0xxxxx"};
	struct pn_broker_request wanted = {.devices = one, .device_count = 1};
	struct pn_domain_opts opts = {.backend = "iommufd"};
	struct pn_broker *broker = NULL;
	char path[200] = "/nonexistent/socket";
	struct pn_domain *domain;

	(void)state;
	assert_int_equal(pn_broker_connect(NULL, path), -EINVAL);
	assert_int_equal(pn_broker_connect(&broker, path), -ENOENT);
	assert_non_null(strstr(pn_error(), "systemctl enable"));
	memset(path, 'x', sizeof(path) - 1);
	assert_int_equal(pn_broker_connect(&broker, path), -ENAMETOOLONG);
	assert_null(broker);
	pn_broker_close(NULL);
	/* Nothing below is sent: any connection will do. */
	broker = (struct pn_broker *)&ends[0];
	assert_int_equal(pn_broker_domain(NULL, &wanted, NULL, &domain), -EINVAL);
	assert_int_equal(pn_broker_domain(broker, NULL, NULL, &domain), -EINVAL);
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, NULL), -EINVAL);
	assert_int_equal(pn_broker_domain(broker, &wanted, &opts, &domain), -EINVAL);
	wanted.backend = "noiommu";
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, &domain), -EINVAL);
	wanted.backend = NULL;
	wanted.memory = 1;
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, &domain), -EINVAL);
	wanted.memory = 0;
	wanted.device_count = 0;
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, &domain), -EINVAL);
	wanted.device_count = 9;
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, &domain), -EINVAL);
	wanted.device_count = 1;
	wanted.devices = lengthy;
	assert_int_equal(pn_broker_domain(broker, &wanted, NULL, &domain), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_come_with_it, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals_have_words, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_without_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_before_it_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(arguments, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
