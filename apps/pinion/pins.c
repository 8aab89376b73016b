/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins: what running processes have pinned, from their ledgers and from /proc.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "pins.h"

struct pn_pins_report *pins_report(const struct pins_request *request)
{
	struct pn_pins_report *report;

	if (!pn_pins_report_create(&report, &request->query))
		return report;
	complain("%s: %s", request->command->name, pn_error());
	return NULL;
}

char *pins_text(const struct pins_request *request, const struct pn_pins_report *report)
{
	char *text = NULL;

	switch (request->format) {
	case PINS_TABLE:
		text = pn_pins_table(report);
		break;
	case PINS_SUMMARY:
		text = pn_pins_summary(report);
		break;
	case PINS_JSON:
		text = pn_pins_json(report);
		break;
	case PINS_CSV:
		text = pn_pins_csv(report, request->rows);
		break;
	case PINS_PROMETHEUS:
		text = pn_pins_prometheus(report);
		break;
	}
	if (!text)
		complain("out of memory");
	return text;
}

/* To standard output, or a file that is whole whenever somebody reads it. */
static int put(const struct pins_request *request, const char *text)
{
	struct atomic_file file;

	if (!request->output) {
		fputs(text, stdout);
		return EXIT_SUCCESS;
	}
	if (atomic_open(&file, request->output))
		return EXIT_FAILURE;
	return atomic_write(&file, text, strlen(text)) || atomic_commit(&file) ? EXIT_FAILURE
									       : EXIT_SUCCESS;
}

int pins_print(const struct pins_request *request)
{
	struct pn_pins_report *report = pins_report(request);
	int status = EXIT_FAILURE;
	char *text;

	if (!report)
		return EXIT_FAILURE;
	if (request->query.events) {
		status = events_print(report, request->format == PINS_JSON) ? EXIT_FAILURE
									    : EXIT_SUCCESS;
		pn_pins_report_free(report);
		return status;
	}
	text = pins_text(request, report);
	if (text)
		status = put(request, text);
	free(text);
	pn_pins_report_free(report);
	return status;
}

int pins_run(const struct command *command, int argc, char **argv)
{
	struct pins_request request;
	int status;

	status = pins_options(command, argc, argv, &request);
	if (status >= 0)
		return status;
	if (request.kernel)
		return pins_kernel(&request);
	if (request.watch)
		return pins_watch(&request);
	if (request.listen)
		return pins_listen(&request);
	if (request.record)
		status = pins_record(&request);
	if (request.plot && status <= 0)
		status = pins_plot(&request);
	return status < 0 ? pins_print(&request) : status;
}
