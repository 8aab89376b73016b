/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion backends: which ways of mapping memory for devices work on this machine, for this user.
 */
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "pn_dma.h"

const char backends_help[] = "[--json]\n\n"
			     "Show the ways of mapping memory for devices, in the order in which "
			     "'auto' tries them, and\n"
			     "what is missing for those that do not work here.\n\n"
			     "      --json   print a JSON document (schema \"pinion.backends/1\")\n"
			     "  -h, --help   print this and exit\n";

void backends_print(void)
{
	struct pn_backend_info info;

	for (unsigned int i = 0; pn_backend_get(i, &info) == 0; i++) {
		printf("%-16s %-14s %s\n", info.name,
			!info.available  ? "not available"
			: info.automatic ? "available"
					 : "if named",
			info.summary);
		if (*info.node)
			printf("  node           %s\n", info.node);
		if (!info.available)
			printf("  reason         %s\n", info.reason);
	}
}

json_t *backends_json(void)
{
	struct pn_backend_info info;
	json_t *list = json_array();

	for (unsigned int i = 0; pn_backend_get(i, &info) == 0; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:b, s:b, s:o, s:o}", "name", info.name,
				      "summary", info.summary, "available", (int)info.available,
				      "automatic", (int)info.automatic, "node",
				      json_text(info.node), "reason", json_text(info.reason)));
	return list;
}

int backends_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	bool json = false;
	int code, status;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code != 'j')
			return status;
		json = true;
	}
	if (json)
		return print_json(json_pack("{s:s, s:o}", "schema", "pinion.backends/1", "backends",
			       backends_json()))
			       ? EXIT_FAILURE
			       : EXIT_SUCCESS;
	backends_print();
	return EXIT_SUCCESS;
}
