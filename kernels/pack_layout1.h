/* pack_layout1: reads packed layout 1, which stores written before layout 2 still have on disk. */
#ifndef KERNELS_PACK_LAYOUT1_H
#define KERNELS_PACK_LAYOUT1_H
#include "kernels/kernels.h"

/* As kern_unpack, from rows that were packed in layout 1. */
void kern_unpack_layout1(enum kern_type type, void *dst, const void *src, size_t rows, size_t n);

#endif
