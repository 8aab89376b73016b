/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the companion module does, one thing a test: kmod_pins list, kmod_pins NAME. Run as root; a
 * test becomes an ordinary user where it needs one.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kmod_pins.h"

void check_none(int node)
{
	EQUAL(status(0, "VmLck"), 0);
	EQUAL(status(0, "VmPin"), 0);
	EQUAL(user_pages(node), 0);
}

int call(int node, unsigned long request, void *arg)
{
	return ioctl(node, request, arg) < 0 ? -errno : 0;
}

uint64_t phys(int node, const char *addr)
{
	struct pinion_page page;

	EQUAL(inspect(node, addr, PAGE, PINION_INSPECT_PHYS, &page), 0);
	CHECK(page.flags & PINION_PAGE_PRESENT);
	CHECK(!(page.flags & PINION_PAGE_ZERO));
	return page.phys;
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{"arguments", test_arguments},
	{"32-bit", test_32_bit},
	{"answer-fails", test_answer_fails},
	{"charge-mm", test_charge_mm},
	{"charge-user", test_charge_user},
	{"limit", test_limit},
	{"exempt", test_exempt},
	{"charged-once", test_charged_once},
	{"charged-once-across-processes", test_once_across},
	{"unpinned-meanwhile", test_unpinned_meanwhile},
	{"mapped-meanwhile", test_mapped_meanwhile},
	{"refused-meanwhile", test_refused_meanwhile},
	{"parts", test_parts},
	{"hugepages", test_hugepages},
	{"references", test_references},
	{"files", test_files},
	{"file-ends", test_file_ends},
	{"file-full", test_file_full},
	{"locks-all", test_locks_all},
	{"seals", test_seals},
	{"zero-page", test_zero_page},
	{"huge-zero-page", test_huge_zero_page},
	{"thp", test_thp},
	{"private-file", test_private_file},
	{"shared-file", test_shared_file},
	{"ksm", test_ksm},
	{"swapped", test_swapped},
	{"movable", test_movable},
	{"secret", test_secret},
	{"bar", test_bar},
	{"exclusive", test_exclusive},
	{"exclusive-file", test_exclusive_file},
	{"exclusive-against-others", test_exclusive_others},
	{"drain", test_drain},
	{"drain-unreadable", test_drain_unreadable},
	{"drain-signals", test_drain_signals},
	{"drain-time", test_drain_time},
	{"drain-file", test_drain_file},
	{"counters", test_counters},
	{"namespaces", test_namespaces},
	{"inspect", test_inspect},
	{"inspect-brings-nothing", test_inspect_brings_nothing},
	{"inspect-opener", test_inspect_opener},
	{"close", test_close},
	{"child", test_child},
	{"pile-up", test_pile_up},
	{"setuid", test_setuid},
	{"fork", test_fork},
	{"handles", test_handles},
	{"table", test_table},
};

int main(int argc, char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; argc == 2 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (!strcmp(argv[1], "list"))
			printf("%s\n", tests[i].name);
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		printf("%s\n", failures ? "failed" : "ok");
		return !!failures;
	}
	return argc == 2 && !strcmp(argv[1], "list") ? 0 : 2;
}
