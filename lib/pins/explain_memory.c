/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the kernel cannot hold in place for long: what lies in an area that must stay movable
 * has to be moved first (mm/gup.c:check_and_migrate_movable_pages()), and a 1 GiB page of
 * hugetlb_cma= has nowhere to go.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pins_priv.h"

/* Was hugetlb_cma= given a size on the kernel's command line ("2G", "0:1G,1:1G")? arg: what was
 * given, cut. */
static bool cma_for_hugepages(char *arg, size_t size)
{
	static const char name[] = "hugetlb_cma=";
	char line[4096];
	const char *at;

	if (pn_read_file("/proc/cmdline", line, sizeof(line)) < 0)
		return false;
	for (at = line; (at = strstr(at, name)); at++) {
		if (at != line && at[-1] != ' ')
			continue;
		snprintf(arg, size, "%.*s", (int)strcspn(at, " \n"), at);
		at += sizeof(name) - 1;
		return strcspn(at, "123456789") < strcspn(at, " \n");
	}
	return false;
}

/* CmaTotal of /proc/meminfo, bytes: 0 without it, or in a kernel that has no CMA. */
static uint64_t cma_total(void)
{
	char text[4096];
	const char *at;

	if (pn_read_file("/proc/meminfo", text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, "CmaTotal:");
	return at ? strtoull(at + strlen("CmaTotal:"), NULL, 10) << 10 : 0;
}

/*
 * With it, the kernel reserves no 1 GiB pages at boot but takes them from its area while there are
 * any (mm/hugetlb.c:alloc_gigantic_folio()).
 */
static bool in_cma(const struct pn_refused *refused, char *text, size_t size)
{
	char arg[48];

	if (refused->page_size != PN_PAGE_1G || !cma_for_hugepages(arg, sizeof(arg)) ||
		cma_total() < PN_PAGE_1G)
		return false;
	snprintf(text, size,
		"ENOMEM: these 1 GiB pages lie in the kernel's CMA area (%s on its command line), "
		"which must stay movable: nothing there can be pinned for long, and a page of that "
		"size cannot be moved out of it; take hugetlb_cma off the command line and reserve "
		"them at boot instead (hugepagesz=1G hugepages=N), or use pages of 2 MiB",
		arg);
	return true;
}

bool pn_explain_unpinnable(const struct pn_refused *refused, char *text, size_t size)
{
	text[0] = '\0';
	return in_cma(refused, text, size);
}
