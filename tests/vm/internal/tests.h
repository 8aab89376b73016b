/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of backends.c and of the files beside it share.
 */
#ifndef INTERNAL_TESTS_H
#define INTERNAL_TESTS_H

#include "base_priv.h"
#include "machine.h"

/* As on the command line. */
extern const char *backend_name;
extern struct pn_dma_device edu_device, other_device;

const struct pn_backend *backend_find(void);

struct pn_region *region_new(uint64_t pages);
uint8_t *region_bytes(const struct pn_region *region);
struct pn_domain_info domain_info(struct pn_domain *domain);

/* The edu device reads and writes the first and the last page of what is mapped. */
bool dma_works(int device_fd, struct pn_region *region, uint64_t iova, uint64_t pages);

/* files.c */
void test_handed_in(void);
void test_wrong_files(void);
void test_accounting(void);
void test_beside(void);
/* handover.c */
void test_handover(void);
void test_no_handover(void);
/* mock.c */
void test_mock(void);
/* noiommu.c */
void test_noiommu(void);
void test_noiommu_user(void);
void test_noiommu_refused(void);

#endif
