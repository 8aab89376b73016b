/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at mappings: addresses to addresses without a lock, and a walk over all.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"

int pn_domain_iova(struct pn_domain *domain, const void *vaddr, uint64_t len, uint64_t *iova)
{
	int ret = domain_check(domain);

	if (ret)
		return ret;
	if (!iova)
		return pn_fail(EINVAL, "pn_domain_iova: iova must not be NULL");
	if (map_index_iova(&domain->index, (uintptr_t)vaddr, len, iova))
		return pn_fail(ENOENT, "%p is not mapped for %" PRIu64 " bytes", vaddr, len);
	return 0;
}

int pn_domain_vaddr(struct pn_domain *domain, uint64_t iova, uint64_t len, void **vaddr)
{
	uint64_t found;
	int ret = domain_check(domain);

	if (ret)
		return ret;
	if (!vaddr)
		return pn_fail(EINVAL, "pn_domain_vaddr: vaddr must not be NULL");
	if (map_index_vaddr(&domain->index, iova, len, &found))
		return pn_fail(
			ENOENT, "IOVA %#" PRIx64 " is not mapped for %" PRIu64 " bytes", iova, len);
	*vaddr = (void *)(uintptr_t)found;
	return 0;
}

int pn_domain_next(struct pn_domain *domain, uint64_t iova, struct pn_mapping_info *info)
{
	const struct mapping *mapping;
	int ret;

	if (!info)
		return pn_fail(EINVAL, "pn_domain_next: info must not be NULL");
	ret = domain_enter(domain);
	if (ret)
		return ret;
	mapping = map_index_at_or_after(&domain->index, iova);
	if (mapping)
		*info = (struct pn_mapping_info){
			.iova = mapping->iova,
			.len = mapping->len,
			.vaddr = (void *)(uintptr_t)mapping->vaddr,
			.region = mapping->region,
			.prot = mapping->prot,
			.queued = !mapping->in_kernel,
			.charged = kernel_charged(mapping),
		};
	domain_leave(domain);
	return mapping ? 0 : pn_fail(ENOENT, "no mapping ends behind IOVA %#" PRIx64, iova);
}
