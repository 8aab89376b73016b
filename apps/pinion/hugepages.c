/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion hugepages: what hugepages there are of each size on each node, and what control groups
 * leave of them; and, as root, more of them, for now or for each boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "hugepages.h"
#include "parse.h"
#include "pn_mem.h"

#define POOLS_MAX 512u

const char hugepages_help[] =
	"[--reserve SIZE | --set PAGES] [OPTION]...\n\n"
	"Show the hugepages of this machine, by size and NUMA node, and what control groups leave\n"
	"this process of them. With an option that asks for more (as root), change that first:\n\n"
	"      --reserve SIZE    have at least so much free, in bytes or with K, M or G: the pool\n"
	"                        grows by what is missing\n"
	"      --set PAGES       have so many pages in the pool, free or not\n"
	"      --node N          on this NUMA node (default: wherever the kernel finds them)\n"
	"      --page-size SIZE  pages of 2M (default) or 1G\n"
	"      --persist         at each boot as well: in /etc/sysctl.d, or in /etc/tmpfiles.d "
	"where\n"
	"                        sysctl has no setting for it (1G pages, or a node's)\n"
	"      --json            print a JSON document (schema \"pinion.hugepages/1\")\n"
	"  -h, --help            print this and exit\n\n"
	"Where the kernel finds fewer than asked for, the pool is put back as it was.\n"
	"Who uses them says 'pinion doctor'.\n\n"
	"Examples:\n"
	"  Half a GiB in pages of 2 MiB on the node of the card, now and after a reboot:\n"
	"      pinion hugepages --reserve 512M --node 1 --persist\n"
	"  Give all that is free back:\n"
	"      pinion hugepages --set 0\n";

enum {
	OPT_RESERVE = 256,
	OPT_SET,
	OPT_NODE,
	OPT_PAGE_SIZE,
	OPT_PERSIST,
	OPT_JSON,
};

struct request {
	uint64_t page_size;
	uint64_t reserve; /* bytes; 0: not asked for */
	uint64_t set;     /* pages; UINT64_MAX: not asked for */
	int node;
	bool placed; /* --node or --page-size was given */
	bool persist, json;
};

static const char *page_name(char text[FORMAT_MAX], uint64_t bytes)
{
	return format_size(text, bytes);
}

/* All pools, of which the caller frees the list. Their number, or negative after a complaint. */
static int read_all(struct pn_hugepages **list)
{
	int count;

	*list = calloc(POOLS_MAX, sizeof(**list));
	if (!*list) {
		complain("out of memory");
		return -ENOMEM;
	}
	count = pn_hugepages_list(*list, POOLS_MAX);
	if (count < 0)
		complain("%s", pn_error());
	return count > (int)POOLS_MAX ? (int)POOLS_MAX : count;
}

static void print_limit(uint64_t page_size)
{
	char left[FORMAT_MAX], max[FORMAT_MAX], page[FORMAT_MAX];
	struct pn_hugepages_limit limit;

	if (pn_hugepages_room(&limit, page_size))
		return;
	printf("control group %s leaves %s of %s in pages of %s%s\n", limit.path,
		format_size(left, limit.left), format_size(max, limit.max),
		page_name(page, page_size),
		limit.reservation ? " (its limit of reservations)" : "");
}

static void print_pools(const struct pn_hugepages *list, int count)
{
	char page[FORMAT_MAX];

	if (!count) {
		printf("The kernel has no hugepages (CONFIG_HUGETLBFS is off).\n");
		return;
	}
	printf("%-10s %-5s %10s %10s %10s %10s\n", "PAGES OF", "NODE", "TOTAL", "FREE", "PROMISED",
		"SURPLUS");
	for (int i = 0; i < count; i++) {
		const struct pn_hugepages *pool = &list[i];
		const bool machine = pool->numa_node == PN_NODE_ANY;
		char node[16], promised[24];

		snprintf(node, sizeof(node), machine ? "all" : "%d", pool->numa_node);
		snprintf(promised, sizeof(promised), machine ? "%" PRIu64 : "-", pool->reserved);
		printf("%-10s %-5s %10" PRIu64 " %10" PRIu64 " %10s %10" PRIu64 "\n",
			machine ? page_name(page, pool->page_size) : "", node, pool->total,
			pool->free, promised, pool->surplus);
	}
	for (int i = 0; i < count; i++) {
		if (list[i].numa_node == PN_NODE_ANY)
			print_limit(list[i].page_size);
	}
}

static json_t *limit_json(uint64_t page_size)
{
	struct pn_hugepages_limit limit;

	if (pn_hugepages_room(&limit, page_size))
		return json_null();
	return json_pack("{s:o, s:b, s:o, s:o, s:o}", "path", json_text(limit.path), "reservation",
		(int)limit.reservation, "max_bytes", json_count(limit.max), "used_bytes",
		json_count(limit.used), "left_bytes", json_count(limit.left));
}

static json_t *pools_json(const struct pn_hugepages *list, int count)
{
	json_t *pools = json_array();

	for (int i = 0; i < count; i++) {
		const struct pn_hugepages *pool = &list[i];
		const bool machine = pool->numa_node == PN_NODE_ANY;

		json_array_append_new(pools,
			json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "page_bytes",
				json_count(pool->page_size), "numa_node",
				json_number(pool->numa_node), "total", json_count(pool->total),
				"free", json_count(pool->free), "promised",
				json_count(machine ? pool->reserved : UINT64_MAX), "surplus",
				json_count(pool->surplus), "overcommit",
				json_count(machine ? pool->overcommit : UINT64_MAX),
				"control_group",
				machine ? limit_json(pool->page_size) : json_null()));
	}
	return pools;
}

static int show(const struct request *request)
{
	struct pn_hugepages *list;
	int count = read_all(&list), status = EXIT_SUCCESS;

	if (count < 0)
		status = EXIT_FAILURE;
	else if (request->json)
		status = print_json(json_pack("{s:s, s:o}", "schema", "pinion.hugepages/1", "pools",
				 pools_json(list, count)))
				 ? EXIT_FAILURE
				 : EXIT_SUCCESS;
	else
		print_pools(list, count);
	free(list);
	return status;
}

/* How many pages the pool should have. */
static uint64_t wanted_total(const struct request *request, const struct pn_hugepages *pool,
	const struct pn_hugepages *machine)
{
	uint64_t promised = machine->reserved < pool->free ? machine->reserved : pool->free;
	uint64_t pages = request->reserve / request->page_size +
			 (request->reserve % request->page_size != 0);
	uint64_t usable = pool->free - promised, own = pool->total - pool->surplus;

	if (request->set != UINT64_MAX)
		return request->set;
	return usable >= pages ? own : own + pages - usable;
}

static int write_total(const char *path, uint64_t pages)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%" PRIu64, pages), fd, ret = 0;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)len) != len)
		ret = errno ? -errno : -EIO;
	close(fd);
	return ret;
}

/* Put pools back as they were: node by node, as the kernel shares out the machine's as it likes. */
static void restore(const struct pn_hugepages *before, int count, uint64_t page_size)
{
	char path[HUGEPAGES_PATH];
	bool nodes = false;

	for (int pass = 0; pass < 2 && !nodes; pass++) {
		for (int i = 0; i < count; i++) {
			const struct pn_hugepages *pool = &before[i];
			const bool machine = pool->numa_node == PN_NODE_ANY;

			/* The machine's only where nodes have none. */
			if (pool->page_size != page_size || machine != (pass == 1))
				continue;
			nodes |= !machine;
			hugepages_path(path, page_size, pool->numa_node);
			write_total(path, pool->total - pool->surplus);
		}
	}
}

static int complain_fewer(const struct request *request, uint64_t wanted, uint64_t got)
{
	char page[FORMAT_MAX];

	page_name(page, request->page_size);
	complain("the kernel found %" PRIu64 " of %" PRIu64
		 " pages of %s%s: memory is in use, or in pieces. The pool is as it was. 'echo 1 > "
		 "/proc/sys/vm/compact_memory' may help; what always does is to reserve them at "
		 "boot, on the kernel's command line: hugepagesz=%s hugepages=%" PRIu64,
		got, wanted, page, request->node == PN_NODE_ANY ? "" : " on that node",
		request->page_size == PN_PAGE_1G ? "1G" : "2M", wanted);
	return -ENOMEM;
}

/* Too many to give back: somebody uses them. What was free is given back. */
static int complain_more(uint64_t wanted, uint64_t got)
{
	complain(
		"%" PRIu64 " pages stay in the pool instead of %" PRIu64
		": they are in use ('pinion doctor' says by whom), and go back as they become free",
		got, wanted);
	return -EBUSY;
}

/* Write the new size, and see what came of it. */
static int resize(const struct request *request, const struct pn_hugepages *before, int count,
	uint64_t own, uint64_t total)
{
	struct pn_hugepages pool;
	char path[HUGEPAGES_PATH];
	int ret;

	hugepages_path(path, request->page_size, request->node);
	ret = write_total(path, total);
	if (ret) {
		complain("writing %" PRIu64 " to %s: %s%s", total, path, strerror(-ret),
			ret == -EACCES || ret == -EPERM ? "; this takes root" : "");
		return ret;
	}
	if (pn_hugepages_read(&pool, request->page_size, request->node)) {
		complain("%s", pn_error());
		return -EIO;
	}
	if (pool.total - pool.surplus < total) {
		restore(before, count, request->page_size);
		return complain_fewer(request, total, pool.total - pool.surplus);
	}
	return pool.total > total && total < own ? complain_more(total, pool.total) : 0;
}

static int change(const struct request *request, uint64_t *total)
{
	struct pn_hugepages pool, machine, *before = NULL;
	int count, ret = 0;

	if (pn_hugepages_read(&machine, request->page_size, PN_NODE_ANY) ||
		pn_hugepages_read(&pool, request->page_size, request->node)) {
		complain("%s", pn_error());
		return -ENOENT;
	}
	*total = wanted_total(request, &pool, &machine);
	if (*total == pool.total - pool.surplus)
		return 0;
	count = read_all(&before);
	ret = count < 0 ? count : resize(request, before, count, pool.total - pool.surplus, *total);
	free(before);
	return ret;
}

static int set_number(const struct command *command, const char *text, uint64_t most,
	const char *what, uint64_t *out)
{
	if (!parse_number(text, 0, most, out))
		return 0;
	complain("%s: %s; try 'pinion help %s'", command->name, what, command->name);
	return -EINVAL;
}

static int set_option(
	const struct command *command, struct request *request, int code, const char *text)
{
	uint64_t node = 0;

	switch (code) {
	case OPT_RESERVE:
		if (!parse_size(text, &request->reserve) && request->reserve &&
			request->reserve <= UINT64_C(1) << 47)
			return 0;
		complain(
			"%s: --reserve '%s': it takes bytes, or a number with K, M or G, up to 128 "
			"TiB",
			command->name, text);
		return -EINVAL;
	case OPT_SET:
		return set_number(
			command, text, UINT32_MAX, "--set takes a number of pages", &request->set);
	case OPT_NODE:
		request->placed = true;
		if (set_number(
			    command, text, 1023, "--node takes the number of a NUMA node", &node))
			return -EINVAL;
		request->node = (int)node;
		return 0;
	case OPT_PAGE_SIZE:
		request->placed = true;
		if (!parse_size(text, &request->page_size) &&
			(request->page_size == PN_PAGE_2M || request->page_size == PN_PAGE_1G))
			return 0;
		complain("%s: --page-size '%s': it takes 2M or 1G", command->name, text);
		return -EINVAL;
	case OPT_PERSIST:
		request->persist = true;
		return 0;
	default:
		request->json = true;
		return 0;
	}
}

static int check_together(const struct command *command, const struct request *request)
{
	const bool changes = request->reserve || request->set != UINT64_MAX;

	if (request->reserve && request->set != UINT64_MAX)
		complain("%s: --reserve and --set are two ways to say the same: give one",
			command->name);
	else if (!changes && (request->persist || request->placed))
		complain("%s: --persist, --node and --page-size go with --reserve or --set",
			command->name);
	else
		return 0;
	return -EINVAL;
}

int hugepages_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, OPT_JSON},
		{"node", required_argument, NULL, OPT_NODE},
		{"page-size", required_argument, NULL, OPT_PAGE_SIZE},
		{"persist", no_argument, NULL, OPT_PERSIST},
		{"reserve", required_argument, NULL, OPT_RESERVE},
		{"set", required_argument, NULL, OPT_SET},
		{NULL, 0, NULL, 0},
	};
	struct request request = {.page_size = PN_PAGE_2M, .set = UINT64_MAX, .node = PN_NODE_ANY};
	uint64_t total;
	int code, status;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code == 'h' || code == '?')
			return status;
		if (set_option(command, &request, code, optarg))
			return EXIT_USAGE;
	}
	if (check_together(command, &request))
		return EXIT_USAGE;
	if (request.reserve || request.set != UINT64_MAX) {
		if (change(&request, &total))
			return EXIT_FAILURE;
		if (request.persist && hugepages_persist(request.page_size, request.node, total))
			return EXIT_FAILURE;
	}
	return show(&request);
}
