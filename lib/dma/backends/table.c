/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backends, in the order in which "auto" tries them: newest kernel interface first. Then those
 * that must be named.
 */
#include "dma_priv.h"

extern const struct pn_backend pn_backend_iommufd;
extern const struct pn_backend pn_backend_iommufd_compat;
extern const struct pn_backend pn_backend_type1;
extern const struct pn_backend pn_backend_noiommu;
extern const struct pn_backend pn_backend_none;

const struct pn_backend *const pn_backends[] = {
	&pn_backend_iommufd,
	&pn_backend_iommufd_compat,
	&pn_backend_type1,
	&pn_backend_noiommu,
	&pn_backend_none,
	NULL,
};
