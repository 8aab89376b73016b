/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion-testpmd: forwards, receives or sends packets with Pinion's ports, to try them out and to
 * measure them, and shows how the memory pinned for it was charged.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "testpmd.h"

const char *const program_name = "pinion-testpmd";

volatile sig_atomic_t stop_signal;

/* The first one counts; any more change nothing, so that a second cannot spoil the way out. */
static void on_signal(int number)
{
	if (!stop_signal)
		stop_signal = number;
}

static void catch_signals(void)
{
	struct sigaction stop = {.sa_handler = on_signal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct sigaction before;

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	/* nohup ignores it for us. */
	if (!sigaction(SIGHUP, NULL, &before) && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &stop, NULL);
	/* A closed pipe shows as a write error, and the ports are stopped in order. */
	sigaction(SIGPIPE, &ignore, NULL);
}

static void keep_error(struct testpmd *t, int status, const char *fmt, va_list args)
{
	char text[sizeof(t->error)];

	vsnprintf(text, sizeof(text), fmt, args);
	complain("%s", text);
	if (!t->error[0])
		memcpy(t->error, text, sizeof(text));
	if (!t->status)
		t->status = status;
}

int fail(struct testpmd *t, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	keep_error(t, EXIT_FAILURE, fmt, args);
	va_end(args);
	return err;
}

int usage_error(struct testpmd *t, const char *fmt, ...)
{
	char longer[256];
	va_list args;

	snprintf(longer, sizeof(longer), "%s; try '%s --help'", fmt, program_name);
	va_start(args, fmt);
	keep_error(t, EXIT_USAGE, longer, args);
	va_end(args);
	return -EINVAL;
}

/* Even a command line that makes no sense gets its complaint as JSON, if that was asked for. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

void set_log_level(const struct testpmd *t)
{
	log_to_stderr(t->options.verbose ? PN_LOG_INFO : PN_LOG_WARNING);
}

static void take_pins(struct testpmd *t)
{
	struct pn_domain_info info;
	bool user;
	int err;

	pn_domain_get_info(t->domain, &info);
	/* The counter that no file shows is worth measuring only where the pins are added to it. */
	user = (info.exempt ? info.charge.exempt_counters : info.charge.counters) &
	       PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED);
	err = pn_domain_pins(t->domain, user, &t->pins);
	if (err) {
		t->pins = NULL;
		fail(t, err, "reading the pins: %s", pn_error());
	}
}

/* Returns the JSON document, if one is wanted. */
static json_t *run(struct testpmd *t)
{
	report_forwarding(t);
	/* Nobody would see how it goes: finish_stdout() says so, and makes it a failure. */
	if (ferror(t->out))
		return NULL;
	forward_run(t);
	stats_settle(t);
	report_totals(t);
	take_pins(t);
	report_pins(t);
	return t->options.json ? document_make(t) : NULL;
}

/*
 * With --json, stdout is the document's, which has all that people are told: stderr is left to
 * complaints, unless more is wanted.
 */
static FILE *open_report(const struct options *o)
{
	FILE *nowhere;

	if (!o->json)
		return stdout;
	nowhere = o->verbose ? NULL : fopen("/dev/null", "we");
	return nowhere ? nowhere : stderr;
}

int main(int argc, char **argv)
{
	struct testpmd t = {0};
	json_t *document = NULL;
	enum parse_result parsed;

	guard_standard_files();
	setvbuf(stdout, NULL, _IOLBF, 0);
	catch_signals();
	clock_init(&t.clock);
	parsed = options_parse(&t, argc, argv);
	if (parsed == PARSE_DONE)
		goto out;
	t.options.json = t.options.json || wants_json(argc, argv);
	t.out = open_report(&t.options);
	set_log_level(&t);
	if (parsed == PARSE_RUN && !setup(&t))
		document = run(&t);
	teardown(&t);
	if (t.out != stdout && t.out != stderr)
		fclose(t.out);
	if (t.options.json && print_json(document_finish(&t, document)) && !t.status)
		t.status = EXIT_FAILURE;
out:
	options_free(&t.options);
	if (finish_stdout() && !t.status)
		t.status = EXIT_FAILURE;
	return t.status;
}
