/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Processors: lists of them, whether they are there, and on which node.
 */
#include <ctype.h>
#include <errno.h>
#include <numa.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "worker_priv.h"

/* One number of a list; moves *at behind it. */
static int parse_number(const char **at, unsigned long *number)
{
	char *end;

	if (!isdigit((unsigned char)**at))
		return -EINVAL;
	errno = 0;
	*number = strtoul(*at, &end, 10);
	if (errno || *number > PN_CPU_LAST)
		return -EINVAL;
	*at = end;
	return 0;
}

/* "3" or "3-5"; moves *at behind it and the comma after it. */
static int parse_range(const char **at, unsigned long *first, unsigned long *last)
{
	if (parse_number(at, first))
		return -EINVAL;
	*last = *first;
	if (**at == '-') {
		++*at;
		if (parse_number(at, last) || *last < *first)
			return -EINVAL;
	}
	if (**at != ',')
		return **at ? -EINVAL : 0;
	/* Behind a comma there must be more. */
	return *++*at ? 0 : -EINVAL;
}

static bool in_list(const char *list, unsigned int cpu)
{
	unsigned long first, last;

	while (*list && !parse_range(&list, &first, &last)) {
		if (cpu >= first && cpu <= last)
			return true;
	}
	return false;
}

int pn_cpu_check(unsigned int cpu)
{
	char online[512];

	/* Where sysfs cannot be seen, the kernel's answer to the thread has to do. */
	if (pn_read_file("/sys/devices/system/cpu/online", online, sizeof(online)) < 0)
		return 0;
	if (in_list(online, cpu))
		return 0;
	return pn_fail(ENXIO,
		"there is no processor %u, or it is switched off; those switched on are %s", cpu,
		online);
}

static int add(unsigned int *cpus, unsigned int count, unsigned int room, unsigned int cpu,
	const char *list)
{
	for (unsigned int i = 0; i < count; i++) {
		if (cpus[i] == cpu)
			return pn_fail(EINVAL, "'%s' names processor %u twice", list, cpu);
	}
	if (count == room)
		return pn_fail(E2BIG, "'%s' has more than %u processors", list, room);
	if (pn_cpu_check(cpu))
		return -ENXIO;
	cpus[count] = cpu;
	return 0;
}

int pn_cpus_parse(const char *list, unsigned int *cpus, unsigned int room)
{
	unsigned int count = 0;
	const char *at = list;

	if (!list || !*list || !cpus)
		return pn_fail(EINVAL, "a list of processors has at least one, such as 2-3,7");
	while (*at) {
		unsigned long first, last;

		if (parse_range(&at, &first, &last))
			return pn_fail(
				EINVAL, "'%s' is not a list of processors, such as 2-3,7", list);
		for (unsigned long cpu = first; cpu <= last; cpu++) {
			int err = add(cpus, count, room, (unsigned int)cpu, list);

			if (err)
				return err;
			count++;
		}
	}
	return (int)count;
}

int pn_cpu_node(unsigned int cpu)
{
	int node;

	if (cpu > PN_CPU_LAST || numa_available() < 0)
		return -ENXIO;
	node = numa_node_of_cpu((int)cpu);
	return node < 0 ? -ENXIO : node;
}
