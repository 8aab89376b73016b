/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of the charge model as lines of text, so that a sequence can be written down, printed,
 * and applied again: the name of the operation, then "field=value" for each field that is not zero.
 */
#ifndef CHARGES_TEXT_H
#define CHARGES_TEXT_H

#include <stddef.h>

#include "pn_model.h"

#define CHARGES_LINE 256

/* From "map p=0 ctx=1 area=2 pages=16 prot=3", up to the end or a ':'. 0 or -EINVAL. */
int charges_parse(const char *line, struct pn_model_op *op);
/* Zero what the operation does not read. */
void charges_trim(struct pn_model_op *op);
void charges_print(char line[CHARGES_LINE], const struct pn_model_op *op);

#endif
