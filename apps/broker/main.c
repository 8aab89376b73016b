/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion-broker: opens devices for programs that may open none, as its policy says. doc/broker.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "confine.h"
#include "output.h"
#include "server.h"

#define POLICY_FILE "/etc/pinion/broker.policy"
/* What systemd hands in begins there (sd_listen_fds(3)). */
#define LISTEN_FD 3
#define BACKLOG   64
/* Connections, processes, and what is open for a moment. */
#define FILES 1024u

const char *const program_name = "pinion-broker";

struct options {
	const char *policy, *socket, *ledger, *check;
	bool status;
};

static const char help[] =
	"Usage: pinion-broker [--policy FILE] [--socket PATH] [--ledger FILE]\n"
	"  or:  pinion-broker --check FILE\n"
	"  or:  pinion-broker --status [--ledger FILE]\n"
	"\n"
	"Open devices for programs that may open none themselves, as a policy says, and hand them\n"
	"over a socket, which systemd gives (pinion-broker.socket) or --socket names.\n"
	"\n"
	"      --policy FILE  who may have what (default " POLICY_FILE "); SIGHUP\n"
	"                     reads it again\n"
	"      --socket PATH  listen there\n"
	"      --ledger FILE  what is handed out (default " LEDGER_FILE ")\n"
	"      --check FILE   say whether a policy is good, and what is wrong with it\n"
	"      --status       show what is handed out\n"
	"      --version      print the version and exit\n"
	"  -h, --help         print this and exit\n"
	"\n"
	"Exit status: 0 if all went well; 2 if the command line makes no sense; 1 otherwise.\n";

enum { OPT_POLICY = 256, OPT_SOCKET, OPT_LEDGER, OPT_CHECK, OPT_STATUS, OPT_VERSION };

static const struct option long_options[] = {
	{"check", required_argument, NULL, OPT_CHECK},
	{"help", no_argument, NULL, 'h'},
	{"ledger", required_argument, NULL, OPT_LEDGER},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"status", no_argument, NULL, OPT_STATUS},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* -1: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, struct options *options)
{
	int code;

	*options = (struct options){.policy = POLICY_FILE, .ledger = LEDGER_FILE};
	while ((code = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (code) {
		case OPT_POLICY:
			options->policy = optarg;
			break;
		case OPT_SOCKET:
			options->socket = optarg;
			break;
		case OPT_LEDGER:
			options->ledger = optarg;
			break;
		case OPT_CHECK:
			options->check = optarg;
			break;
		case OPT_STATUS:
			options->status = true;
			break;
		case OPT_VERSION:
			printf("pinion-broker %s\n", PN_VERSION);
			return finish_stdout() ? EXIT_FAILURE : EXIT_SUCCESS;
		case 'h':
			fputs(help, stdout);
			return finish_stdout() ? EXIT_FAILURE : EXIT_SUCCESS;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	complain("'%s' is not an option", argv[optind]);
	return EXIT_USAGE;
}

static int check_policy(const char *path)
{
	static struct policy policy;

	if (policy_load(&policy, path, false))
		return EXIT_FAILURE;
	printf("%s: %u rules\n", path, policy.count);
	return finish_stdout() ? EXIT_FAILURE : EXIT_SUCCESS;
}

/*
 * The socket
 */

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -1 : value;
}

/* The socket that systemd handed in; -1: none was; -2: it will not do, after a complaint. */
static int inherited_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (!pid || !count || strtoul(pid, NULL, 10) != (unsigned long)getpid())
		return -1;
	if (strcmp(count, "1") || socket_option(LISTEN_FD, SO_DOMAIN) != AF_UNIX ||
		socket_option(LISTEN_FD, SO_TYPE) != SOCK_SEQPACKET ||
		socket_option(LISTEN_FD, SO_ACCEPTCONN) != 1) {
		complain("LISTEN_FDS: one socket is wanted, with ListenSequentialPacket=");
		return -2;
	}
	return LISTEN_FD;
}

/* One that a broker before this left, and nobody listens at. */
static int remove_stale(const struct sockaddr_un *address)
{
	int fd, err = 0;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		err = errno;
	if (fd >= 0)
		close(fd);
	if (!err) {
		complain("somebody listens at %s already", address->sun_path);
		return -1;
	}
	if (err == ECONNREFUSED)
		(void)unlink(address->sun_path);
	return 0;
}

static int own_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		complain("--socket: a path of at most %zu bytes", sizeof(address.sun_path) - 1);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	if (remove_stale(&address))
		return -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
		chmod(path, 0666) || listen(fd, BACKLOG)) {
		complain("%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* Either way; it must not be both. */
static int find_socket(const char *path)
{
	int fd = inherited_socket();

	if (fd >= 0 && path) {
		complain("--socket: systemd has handed a socket in");
		return -1;
	}
	if (fd != -1)
		return fd;
	if (path)
		return own_socket(path);
	complain("no socket: start it by pinion-broker.socket, or name one (--socket)");
	return -1;
}

static int open_socket(const char *path)
{
	int fd = find_socket(path), on = 1;

	if (fd < 0)
		return fd;
	if (!fcntl(fd, F_SETFD, FD_CLOEXEC) && !fcntl(fd, F_SETFL, O_NONBLOCK) &&
		!setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return fd;
	complain("the socket: %s", strerror(errno));
	close(fd);
	return -1;
}

/*
 * Start
 */

static int open_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		complain("signalfd: %s", strerror(errno));
	return fd;
}

/* The folder of the ledger, which systemd makes (RuntimeDirectory=). */
static void make_folder(const char *ledger)
{
	const char *slash = strrchr(ledger, '/');
	char folder[200];

	if (!slash || slash == ledger || slash - ledger >= (ptrdiff_t)sizeof(folder))
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - ledger), ledger);
	(void)mkdir(folder, 0755);
}

static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= FILES)
		return;
	limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Two with one ledger would forget what the other has handed out. */
static int lock_ledger(const char *ledger)
{
	int fd = ledger_lock(ledger, true);

	if (fd == -EBUSY)
		complain("%s is in use by another pinion-broker, or by 'pinion revoke --all'",
			ledger);
	else if (fd < 0)
		complain("%s.lock: %s", ledger, strerror(-fd));
	return fd;
}

static int start(const struct options *options)
{
	struct server_opts server = {.policy = options->policy, .ledger = options->ledger};
	static struct policy policy;
	int status = EXIT_FAILURE, lock;

	if (policy_load(&policy, options->policy, true))
		return status;
	/* Who a client is, and whether it lives, is looked for in /proc by its number. */
	if (!ledger_pid_namespace()) {
		complain("/proc is not that of this PID namespace, or is not there: "
			 "mount -t proc proc /proc");
		return status;
	}
	umask(022);
	allow_files();
	make_folder(options->ledger);
	lock = lock_ledger(options->ledger);
	if (lock < 0)
		return status;
	server.signals = open_signals();
	if (server.signals < 0)
		goto close_lock;
	server.listener = open_socket(options->socket);
	if (server.listener < 0)
		goto close_signals;
	if (!confine())
		status = serve(&server, &policy);
	if (options->socket)
		(void)unlink(options->socket);
	close(server.listener);
close_signals:
	close(server.signals);
close_lock:
	close(lock);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	int status;

	guard_standard_files();
	/* The journal may go before we do. */
	signal(SIGPIPE, SIG_IGN);
	status = parse_options(argc, argv, &options);
	if (status >= 0)
		return status;
	if (options.check)
		return check_policy(options.check);
	if (options.status)
		return ledger_print(options.ledger);
	return start(&options);
}
