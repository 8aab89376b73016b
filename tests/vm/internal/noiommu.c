/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO's no-IOMMU mode, on a machine without an IOMMU: real DMA to physical addresses.
 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>

#include "tests.h"

static struct pn_region *huge_region(uint64_t pages)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region = NULL;

	opts.page_size = PN_PAGE_2M;
	CHECK(!pn_region_create(&region, pages * PN_PAGE_2M, &opts));
	return region;
}

/*
 * Two pages that do not lie together are refused as one mapping, and taken as two. Which lie
 * together is found out by mapping: the pool has 8 pages, all free.
 */
static void check_apart(struct pn_domain *domain)
{
	uint64_t iovas[8], low = PN_IOVA_ANY, high = PN_IOVA_ANY;
	struct pn_region *pages[8], *pair;
	unsigned int i, far = 1;

	for (i = 0; i < 8; i++) {
		pages[i] = huge_region(1);
		iovas[i] = PN_IOVA_ANY;
		CHECK(!pn_domain_map(domain, pages[i], 0, PN_PAGE_2M, PN_PROT_RW, &iovas[i]));
		CHECK(!pn_domain_unmap(domain, iovas[i], PN_PAGE_2M));
	}
	while (far < 7 &&
		(iovas[far] == iovas[0] + PN_PAGE_2M || iovas[far] + PN_PAGE_2M == iovas[0]))
		far++;
	CHECK(!pn_region_destroy(pages[0]) && !pn_region_destroy(pages[far]));
	pair = huge_region(2);
	CHECK(pn_domain_map(domain, pair, 0, 2 * PN_PAGE_2M, PN_PROT_RW, &low) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "page by page") && strstr(pn_error(), "2097152"));
	CHECK(low == PN_IOVA_ANY);
	CHECK(!pn_domain_map(domain, pair, 0, PN_PAGE_2M, PN_PROT_RW, &low));
	CHECK(!pn_domain_map(domain, pair, PN_PAGE_2M, PN_PAGE_2M, PN_PROT_RW, &high));
	CHECK(!pn_domain_unmap(domain, low, PN_PAGE_2M) &&
		!pn_domain_unmap(domain, high, PN_PAGE_2M));
	CHECK(!pn_region_destroy(pair));
	for (i = 1; i < 8; i++) {
		if (i != far)
			CHECK(!pn_region_destroy(pages[i]));
	}
}

/* The kernel hides physical addresses: that is said, and is not taken for address 0. */
static void check_hidden(struct pn_domain *domain)
{
	struct pn_region *region = huge_region(1);
	uint64_t iova = PN_IOVA_ANY, zero = 0;

	drop_capability(CAP_SYS_ADMIN);
	CHECK(pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova) == -EPERM);
	CHECK(strstr(pn_error(), "CAP_SYS_ADMIN"));
	CHECK(pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &zero) < 0);
	CHECK(!pn_region_destroy(region));
}

void test_noiommu(void)
{
	struct pn_domain_opts opts = {.backend = "noiommu"};
	struct pn_region *region, *small = region_new(4);
	uint64_t iova = PN_IOVA_ANY, second = PN_IOVA_ANY, wrong;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before = counters_now();
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	check_apart(domain);
	region = huge_region(1);
	info = domain_info(domain);
	CHECK(info.charge.counters == 0 && !strcmp(info.charge.path, "noiommu"));
	CHECK(pn_domain_map(domain, small, 0, 4 * PAGE, PN_PROT_RW, &second) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "hugepages"));
	/* Mapped at once, with a device or without one. */
	CHECK(!pn_domain_map(domain, region, 16 * PAGE, 32 * PAGE, PN_PROT_RW, &iova));
	CHECK(iova != PN_IOVA_ANY && iova % PN_PAGE_2M == 16 * PAGE);
	wrong = UINT64_C(1) << 40;
	CHECK(pn_domain_map(domain, region, 0, PAGE, PN_PROT_RW, &wrong) == -EINVAL);
	CHECK(strstr(pn_error(), "physical address"));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	CHECK(counters_grew(&before, &info.charge, false, 0));
	{
		uint8_t *bytes = region_bytes(region) + 16 * PAGE;
		struct edu edu;

		CHECK(!edu_start(&edu, fd));
		for (unsigned int i = 0; i < 64; i++)
			bytes[i] = (uint8_t)(i * 7 + 1);
		CHECK(edu_copy(&edu, iova, iova + 31 * PAGE, 64));
		CHECK(!memcmp(bytes, bytes + 31 * PAGE, 64));
		edu_stop(&edu);
	}
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_unmap(domain, iova, 32 * PAGE));
	check_hidden(domain);
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region) && !pn_region_destroy(small));
}

void test_noiommu_user(void)
{
	struct pn_domain_opts opts = {.backend = "noiommu"};
	struct pn_domain *domain;

	CHECK(pn_domain_create(&domain, &opts) == -EPERM);
	CHECK(strstr(pn_error(), "CAP_SYS_RAWIO"));
}

/* A device behind an IOMMU, or the mode is off. */
void test_noiommu_refused(void)
{
	struct pn_domain_opts opts = {.backend = "noiommu"};
	struct pn_domain *domain;
	int fd = -1, ret;

	ret = pn_domain_create(&domain, &opts);
	if (ret) {
		CHECK(ret == -EOPNOTSUPP && (strstr(pn_error(), "no-IOMMU mode is off") ||
						    strstr(pn_error(), "CONFIG_VFIO_NOIOMMU")));
		return;
	}
	CHECK(pn_domain_attach(domain, &edu_device, &fd) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "is not in VFIO's no-IOMMU mode"));
	CHECK(!pn_domain_destroy(domain));
}
