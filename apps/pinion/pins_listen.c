/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --listen: the report in Prometheus's format over HTTP, by libmicrohttpd. One thread
 * serves all requests, and makes at most one report a second: what is asked for more often is the
 * same again, so nobody can keep the machine busy by asking.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "parse.h"
#include "pins.h"
#include "signals.h"

#define PORT_DEFAULT   9101
#define CONNECTIONS    32u
#define TIMEOUT_S      10u
#define REQUEST_BYTES  ((size_t)16384) /* of headers */
#define REPORT_KEPT_MS 1000

struct server {
	const struct pins_request *request;
	char *text; /* the last report, and when it was made */
	int64_t made_ms;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/*
 * The address
 */

/* "ADDR", "ADDR:PORT", "[ADDR6]:PORT" or "ADDR6" into its two parts. */
static int split(const char *text, char host[64], const char **port)
{
	const char *end = text + strlen(text), *colon = strrchr(text, ':');
	size_t len;

	*port = NULL;
	if (*text == '[') {
		end = strchr(text++, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		*port = end[1] ? end + 2 : NULL;
	} else if (colon && colon == strchr(text, ':')) {
		end = colon;
		*port = colon + 1;
	}
	len = (size_t)(end - text);
	if (!len || len >= 64)
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	return 0;
}

static int parse_address(const char *text, union address *address)
{
	uint64_t number = PORT_DEFAULT;
	const char *port;
	char host[64];

	memset(address, 0, sizeof(*address));
	if (split(text, host, &port) || (port && parse_number(port, 0, UINT16_MAX, &number)))
		return -EINVAL;
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons((uint16_t)number);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons((uint16_t)number);
		return 0;
	}
	return -EINVAL;
}

static bool is_loopback(const union address *address)
{
	if (address->any.sa_family == AF_INET)
		return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static int check_address(const struct pins_request *request, union address *address)
{
	const char *name = request->command->name;

	if (parse_address(request->listen, address)) {
		complain("%s: --listen '%s': it takes an address and a port, such as "
			 "127.0.0.1:9101, [::1]:9101 or localhost",
			name, request->listen);
		return EXIT_USAGE;
	}
	if (!is_loopback(address) && !request->allow_remote) {
		complain("%s: --listen %s: other machines could read which processes run here and "
			 "what they hold, without a password; if that is meant, add --allow-remote",
			name, request->listen);
		return EXIT_USAGE;
	}
	return -1;
}

/*
 * Requests
 */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
	const char *text, const char *header, const char *value)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (header)
		MHD_add_response_header(response, header, value);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* The report of this second, in server->text. NULL: it cannot be made, and pn_error() says why. */
static const char *metrics(struct server *server)
{
	struct pn_pins_report *report;
	int64_t now = clock_ms();

	if (server->text && now - server->made_ms < REPORT_KEPT_MS)
		return server->text;
	free(server->text);
	server->text = NULL;
	if (pn_pins_report_create(&report, &server->request->query))
		return NULL;
	server->text = pn_pins_prometheus(report);
	server->made_ms = now;
	pn_pins_report_free(report);
	return server->text;
}

static enum MHD_Result serve(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_size,
	void **request)
{
	static int begun;
	const char *text;

	(void)version;
	(void)data;
	/* What a request carries is not read: it is answered, and the connection closed. */
	if (*data_size) {
		*data_size = 0;
		return MHD_YES;
	}
	if (!*request) {
		*request = &begun;
		return MHD_YES;
	}
	if (strcmp(url, "/metrics") != 0)
		return answer(connection, MHD_HTTP_NOT_FOUND, "only /metrics is here\n",
			MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "it can only be read\n",
			MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	text = metrics(arg);
	if (!text)
		return answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, pn_error(),
			MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	return answer(connection, MHD_HTTP_OK, text, MHD_HTTP_HEADER_CONTENT_TYPE,
		"text/plain; version=0.0.4; charset=utf-8");
}

/* libmicrohttpd's own lines are about clients that send nonsense: nobody here can do anything. */
static void say_nothing(void *arg, const char *fmt, va_list args)
{
	(void)arg;
	(void)fmt;
	(void)args;
}

/*
 * The server
 */

static int open_socket(const struct pins_request *request, union address *address)
{
	socklen_t size =
		address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
		!bind(fd, &address->any, size) && !listen(fd, (int)CONNECTIONS) &&
		!getsockname(fd, &address->any, &size))
		return fd;
	complain("%s: --listen %s: %s", request->command->name, request->listen, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void print_address(const union address *address)
{
	bool v4 = address->any.sa_family == AF_INET;
	char host[INET6_ADDRSTRLEN] = "";

	inet_ntop(address->any.sa_family,
		v4 ? (const void *)&address->v4.sin_addr : (const void *)&address->v6.sin6_addr,
		host, sizeof(host));
	printf("serving http://%s%s%s:%u/metrics\n", v4 ? "" : "[", host, v4 ? "" : "]",
		(unsigned int)ntohs(v4 ? address->v4.sin_port : address->v6.sin6_port));
	fflush(stdout);
}

static int serve_until_signal(struct server *server, int signals, union address *address)
{
	struct MHD_Daemon *daemon;
	int fd = open_socket(server->request, address);

	if (fd < 0)
		return EXIT_FAILURE;
	/* MHD_USE_ITC: it can be ended even while all connections are in use and it does not
	 * listen. */
	daemon = MHD_start_daemon(
		MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0,
		NULL, NULL, serve, server, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		REQUEST_BYTES, MHD_OPTION_END);
	if (!daemon) {
		complain("%s: --listen: the HTTP server cannot be started",
			server->request->command->name);
		close(fd);
		return EXIT_FAILURE;
	}
	print_address(address);
	while (!signals_is_end(signals_wait(signals, clock_ms() + 3600000)))
		;
	MHD_stop_daemon(daemon);
	return EXIT_SUCCESS;
}

int pins_listen(const struct pins_request *request)
{
	struct server server = {.request = request};
	union address address;
	int status, signals;

	status = check_address(request, &address);
	if (status >= 0)
		return status;
	/* Before there is a second thread: it inherits that they are blocked. */
	signals = signals_open(NULL);
	if (signals < 0)
		return EXIT_FAILURE;
	status = serve_until_signal(&server, signals, &address);
	close(signals);
	free(server.text);
	return status;
}
