/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend of doc/writing-a-backend.md, as its test sees it.
 */
#ifndef TOY_BACKEND_H
#define TOY_BACKEND_H

#include "dma_priv.h"

#define TOY_MAPS 8u

extern const struct pn_backend pn_backend_toy;

#endif
