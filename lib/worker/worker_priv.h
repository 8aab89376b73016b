/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the workers share: which processors there are.
 */
#ifndef PN_WORKER_PRIV_H
#define PN_WORKER_PRIV_H

#include "pn_worker.h"

/* The highest number that a processor is given here; Linux has at most 8,192 (x86, NR_CPUS). */
#define PN_CPU_LAST 65535u

/* 0 if the processor is there and switched on, else -ENXIO with its reason. */
int pn_cpu_check(unsigned int cpu);

#endif
