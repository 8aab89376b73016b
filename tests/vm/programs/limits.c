/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counters of one process through a refusal and after it: limits BACKEND DEVICE. Run as an
 * ordinary user with a RLIMIT_MEMLOCK of 16 pages. Prints "ok" or what is wrong; uses the public
 * interface only.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "pinion.h"

#define PAGE UINT64_C(4096)

/* VmLck and VmPin together, in pages: each backend moves one of them or both alike. */
static void counters(uint64_t *locked, uint64_t *pinned)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	*locked = *pinned = UINT64_MAX;
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			*locked = strtoull(line + 6, NULL, 10) / 4;
		if (!strncmp(line, "VmPin:", 6))
			*pinned = strtoull(line + 6, NULL, 10) / 4;
	}
	if (file)
		fclose(file);
}

static uint64_t charged(void)
{
	uint64_t locked, pinned;

	counters(&locked, &pinned);
	return locked > pinned ? locked : pinned;
}

int main(int argc, char **argv)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_domain_opts domain_opts = {.backend = argc > 1 ? argv[1] : NULL};
	uint64_t whole = PN_IOVA_ANY, half = PN_IOVA_ANY, more = PN_IOVA_ANY,
		 exact = UINT64_C(1) << 33;
	struct pn_pci_device *device = NULL;
	struct pn_region *region, *other;
	struct pn_domain_info info;
	struct pn_domain *domain;
	pid_t child;

	if (argc != 3)
		return 2;
	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, 32 * PAGE, &opts));
	CHECK(!pn_region_create(&other, 16 * PAGE, &opts));
	CHECK(!pn_domain_create(&domain, &domain_opts));
	CHECK(charged() == 0);

	/* Queued it costs nothing; at attach it is one page too much, and nothing stays. */
	CHECK(!pn_domain_map(domain, region, 0, 17 * PAGE, PN_PROT_RW, &whole));
	CHECK(charged() == 0);
	CHECK(pn_pci_open(&device, argv[2], domain) == -ENOMEM);
	CHECK(strstr(pn_error(), "17 pages") && strstr(pn_error(), "16 pages"));
	CHECK(charged() == 0);
	pn_domain_get_info(domain, &info);
	CHECK(info.devices == 0 && info.mappings == 1 && !info.damaged);
	CHECK(pn_region_destroy(region) == -EBUSY);
	CHECK(!pn_domain_unmap(domain, whole, 17 * PAGE));

	/* Half of it fits; the other half at once does not; the first half is untouched by the
	 * refusal. */
	CHECK(!pn_domain_map(domain, region, 0, 12 * PAGE, PN_PROT_RW, &half));
	CHECK(!pn_pci_open(&device, argv[2], domain));
	CHECK(charged() == 12);
	CHECK(pn_domain_map(domain, other, 0, 5 * PAGE, PN_PROT_RW, &more) == -ENOMEM);
	CHECK(strstr(pn_error(), "holds 12 pages"));
	CHECK(charged() == 12);

	/* Exactly what is left; an IOVA that is taken; one that is demanded. */
	CHECK(pn_domain_map(domain, other, 0, 4 * PAGE, PN_PROT_READ, &half) == -EEXIST);
	CHECK(!pn_domain_map(domain, other, 0, 4 * PAGE, PN_PROT_READ, &exact));
	CHECK(exact == UINT64_C(1) << 33 && charged() == 16);
	CHECK(pn_domain_unmap(domain, exact, PAGE) == -EINVAL);
	CHECK(pn_domain_unmap(domain, exact + PAGE, 3 * PAGE) == -EINVAL);
	CHECK(pn_domain_unmap(domain, exact + 4 * PAGE, PAGE) == -ENOENT);
	CHECK(charged() == 16);

	/* Detach: nothing is held; attach again: all of it is. */
	CHECK(pn_domain_destroy(domain) == -EBUSY);
	pn_pci_close(device);
	CHECK(charged() == 0);
	CHECK(!pn_pci_open(&device, argv[2], domain));
	CHECK(charged() == 16);
	CHECK(!pn_domain_unmap(domain, exact, 4 * PAGE));
	CHECK(charged() == 12);

	/* A child that holds copies of every file descriptor keeps nothing pinned behind our back.
	 */
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	pn_pci_close(device);
	CHECK(charged() == 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CHECK(!pn_domain_destroy(domain));
	CHECK(charged() == 0);
	CHECK(!pn_region_destroy(region) && !pn_region_destroy(other));
	puts(failures ? "failed" : "ok");
	return failures != 0;
}
