/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan as text for people and as JSON for programs.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_priv.h"

static void text_input(FILE *out, const struct pn_plan *plan)
{
	const struct pn_plan_input *in = &plan->input;
	char memory[32], page[32];

	fprintf(out, "%u process%s", in->processes, in->processes == 1 ? "" : "es");
	if (in->processes > 1)
		fputs(in->different_users ? ", each of its own user" : " of one user", out);
	fprintf(out, ", with %s in pages of %s", plan_size(plan->memory, memory),
		plan_size(in->page_size, page));
	if (in->numa_nodes > 1)
		fprintf(out, " on %u nodes", in->numa_nodes);
	fprintf(out, ", for %u device%s%s", in->devices, in->devices == 1 ? "" : "s",
		in->devices == 1       ? ""
		: in->separate_domains ? " in a domain each"
				       : " in one domain");
	if (in->mlockall)
		fprintf(out, "; mlockall, with %s of its own", plan_size(in->program, memory));
	if (in->cap_ipc_lock)
		fputs("; with CAP_IPC_LOCK", out);
	fputc('\n', out);
	for (size_t i = 0; i < plan->note_count; i++)
		fprintf(out, "Note: %s.\n", plan->notes[i]);
}

static void text_way(FILE *out, const struct pn_plan_way *way)
{
	fprintf(out, "  %-15s %-8s %-3s %-15s ", way->backend, way->accounting,
		way->is_default ? "yes" : "no", pn_counter_name(way->limited));
	if (way->exempt)
		fprintf(out, "%12" PRIu64 " %12s %16s\n", way->charged, "-", "no limit");
	else
		fprintf(out, "%12" PRIu64 " %12" PRIu64 " %16" PRIu64 "\n", way->charged, way->need,
			way->set << 12);
}

static void text_ways(FILE *out, const struct pn_plan *plan)
{
	fputs("\nRLIMIT_MEMLOCK of each process\n", out);
	fprintf(out, "  %-15s %-8s %-3s %-15s %12s %12s %16s\n", "BACKEND", "COUNTS", "DEF",
		"COMPARED", "CHARGED", "NEEDS", "SET (BYTES)");
	for (size_t i = 0; i < plan->way_count; i++)
		text_way(out, &plan->ways[i]);
	fputs("  CHARGED: pages of 4 KiB for the mappings of one process. NEEDS: the least limit, "
	      "in such pages",
		out);
	if (plan->input.headroom_percent || plan->input.headroom)
		fputs("; SET: with headroom", out);
	fputs(".\n  COUNTS: by process or by user. DEF: what a domain gets unless it asks "
	      "otherwise.\n",
		out);
}

static bool has_collision(const struct pn_plan_way *way, const struct pn_plan_collision *wanted)
{
	for (size_t i = 0; i < way->collision_count; i++) {
		if (strcmp(way->collisions[i].text, wanted->text) == 0)
			return true;
	}
	return false;
}

/* Once, for all ways that it is said of: the first of them prints it. */
static void text_collision(FILE *out, const struct pn_plan *plan, size_t first,
	const struct pn_plan_collision *collision)
{
	const char *separator = "";

	for (size_t i = 0; i < first; i++) {
		if (has_collision(&plan->ways[i], collision))
			return;
	}
	fprintf(out, "  %s: %s.\n    (", collision->kind, collision->text);
	for (size_t i = first; i < plan->way_count; i++) {
		if (!has_collision(&plan->ways[i], collision))
			continue;
		fprintf(out, "%s%s by %s", separator, plan->ways[i].backend,
			plan->ways[i].accounting);
		separator = ", ";
	}
	fputs(")\n", out);
}

static void text_collisions(FILE *out, const struct pn_plan *plan)
{
	bool any = false;

	fputs("\nWhat collides\n", out);
	for (size_t i = 0; i < plan->way_count; i++) {
		const struct pn_plan_way *way = &plan->ways[i];

		any = any || way->collision_count;
		for (size_t j = 0; j < way->collision_count; j++)
			text_collision(out, plan, i, &way->collisions[j]);
	}
	if (!any)
		fputs("  nothing\n", out);
}

static void text_snippet(FILE *out, const struct pn_plan_snippet *snippet)
{
	const char *line = snippet->text;

	fprintf(out, "\n  %s: %s.\n  (%s)\n", snippet->kind, snippet->why, snippet->where);
	while (*line) {
		size_t length = strcspn(line, "\n");

		fprintf(out, "      %.*s\n", (int)length, line);
		line += length + (line[length] == '\n');
	}
}

static void text_hugepages(FILE *out, const struct pn_plan *plan)
{
	char page[32];

	fputs("\nHugepages to reserve\n", out);
	if (!plan->hugepages)
		fputs("  none: the memory is in pages of 4 KiB\n", out);
	for (uint32_t node = 0; plan->hugepages && node < plan->input.numa_nodes; node++)
		fprintf(out, "  node %u: %" PRIu64 " of %s\n", node, plan->hugepages,
			plan_size(plan->input.page_size, page));
	for (size_t i = 0; i < plan->hugepage_snippet_count; i++)
		text_snippet(out, &plan->hugepage_snippets[i]);
}

static void text_settings(
	FILE *out, const struct pn_plan *plan, const struct pn_plan_settings *settings)
{
	const char *separator = "";
	char size[32];

	fputs("\nSettings for ", out);
	for (size_t i = 0; i < plan->way_count; i++) {
		if (!(settings->ways & 1u << i))
			continue;
		fprintf(out, "%s%s by %s", separator, plan->ways[i].backend,
			plan->ways[i].accounting);
		separator = ", ";
	}
	if (settings->limit)
		fprintf(out, ": %s\n", plan_size(settings->limit << 12, size));
	else
		fputs(": CAP_IPC_LOCK\n", out);
	for (size_t i = 0; i < settings->snippet_count; i++)
		text_snippet(out, &settings->snippets[i]);
}

char *pn_plan_text(const struct pn_plan *plan)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool failed;

	if (!out)
		return NULL;
	text_input(out, plan);
	text_ways(out, plan);
	text_collisions(out, plan);
	text_hugepages(out, plan);
	for (size_t i = 0; i < plan->settings_count; i++)
		text_settings(out, plan, &plan->settings[i]);
	failed = ferror(out) != 0;
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

static json_t *json_pages(uint64_t pages)
{
	return json_integer((json_int_t)pages);
}

static json_t *json_input(const struct pn_plan *plan)
{
	const struct pn_plan_input *in = &plan->input;

	return json_pack("{s:I, s:I, s:i, s:i, s:i, s:b, s:b, s:b, s:b, s:I, s:I, s:i, s:I}",
		"mem_bytes", (json_int_t)in->mem, "page_bytes", (json_int_t)in->page_size,
		"devices", (int)in->devices, "processes", (int)in->processes, "numa_nodes",
		(int)in->numa_nodes, "same_user", (int)!in->different_users, "separate_domains",
		(int)in->separate_domains, "mlockall", (int)in->mlockall, "cap_ipc_lock",
		(int)in->cap_ipc_lock, "program_bytes", (json_int_t)in->program,
		"other_locked_bytes", (json_int_t)in->other_locked, "headroom_percent",
		(int)in->headroom_percent, "headroom_bytes", (json_int_t)in->headroom);
}

static json_t *json_counters(uint32_t counters)
{
	json_t *list = json_array();

	for (unsigned int counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (counters & PN_COUNTER_BIT(counter))
			json_array_append_new(list, json_string(pn_counter_name(counter)));
	}
	return list;
}

static json_t *json_way(const struct pn_plan_way *way)
{
	json_t *collisions = json_array();

	for (size_t i = 0; i < way->collision_count; i++)
		json_array_append_new(
			collisions, json_pack("{s:s, s:s}", "kind", way->collisions[i].kind, "text",
					    way->collisions[i].text));
	return json_pack("{s:s, s:s, s:b, s:b, s:o, s:s, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o, "
			 "s:o}",
		"backend", way->backend, "accounting", way->accounting, "default",
		(int)way->is_default, "exempt", (int)way->exempt, "counters",
		json_counters(way->counters), "limited_counter", pn_counter_name(way->limited),
		"charged_pages", json_pages(way->charged), "pages",
		pn_counter_name(PN_COUNTER_MM_LOCKED), json_pages(way->mm_locked),
		pn_counter_name(PN_COUNTER_USER_LOCKED), json_pages(way->user_locked),
		pn_counter_name(PN_COUNTER_MM_PINNED), json_pages(way->mm_pinned), "memlock_pages",
		json_pages(way->need), "memlock_bytes", json_pages(way->need << 12),
		"memlock_set_bytes", json_pages(way->set << 12), "collisions", collisions);
}

static json_t *json_snippets(const struct pn_plan_snippet *snippets, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s}", "kind", snippets[i].kind, "where",
				      snippets[i].where, "why", snippets[i].why, "text",
				      snippets[i].text));
	return list;
}

static json_t *json_settings(const struct pn_plan *plan, const struct pn_plan_settings *settings)
{
	json_t *ways = json_array();

	for (size_t i = 0; i < plan->way_count; i++) {
		if (settings->ways & 1u << i)
			json_array_append_new(
				ways, json_pack("{s:s, s:s}", "backend", plan->ways[i].backend,
					      "accounting", plan->ways[i].accounting));
	}
	return json_pack("{s:o, s:o, s:o}", "memlock_bytes", json_pages(settings->limit << 12),
		"ways", ways, "snippets",
		json_snippets(settings->snippets, settings->snippet_count));
}

static json_t *json_hugepages(const struct pn_plan *plan)
{
	json_t *nodes = json_array();

	for (uint32_t node = 0; plan->hugepages && node < plan->input.numa_nodes; node++)
		json_array_append_new(nodes, json_pack("{s:i, s:I}", "node", (int)node, "pages",
						     (json_int_t)plan->hugepages));
	return json_pack("{s:I, s:I, s:o, s:o}", "page_bytes", (json_int_t)plan->input.page_size,
		"total_pages", (json_int_t)(plan->hugepages * plan->input.numa_nodes), "nodes",
		nodes, "snippets",
		json_snippets(plan->hugepage_snippets, plan->hugepage_snippet_count));
}

char *pn_plan_json(const struct pn_plan *plan)
{
	json_t *ways = json_array(), *settings = json_array(), *notes = json_array(), *root;
	char *text;

	for (size_t i = 0; i < plan->way_count; i++)
		json_array_append_new(ways, json_way(&plan->ways[i]));
	for (size_t i = 0; i < plan->settings_count; i++)
		json_array_append_new(settings, json_settings(plan, &plan->settings[i]));
	for (size_t i = 0; i < plan->note_count; i++)
		json_array_append_new(notes, json_string(plan->notes[i]));
	root = json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "schema", "pinion.plan/1",
		"input", json_input(plan), "region_bytes", (json_int_t)plan->region, "memory_bytes",
		(json_int_t)plan->memory, "ways", ways, "hugepages", json_hugepages(plan),
		"settings", settings, "notes", notes);
	if (!root)
		return NULL;
	text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}
