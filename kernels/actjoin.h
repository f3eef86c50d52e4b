/* actjoin: an activation row that is put together from parts.  Pure; any thread. */
#ifndef KERNELS_ACTJOIN_H
#define KERNELS_ACTJOIN_H
#include "kernels/kernels.h"

/* Elements that a form quantises together. */
size_t kern_act_block(enum kern_form form);

/* Copies an activation row of m elements to elements [at, at + m) of one of n, all three whole blocks; the last one that is copied is at its
 * end.  When all elements have been copied, dst is what quantising them together gives. */
void kern_act_join(enum kern_form form, void *dst, size_t n, size_t at, const void *src, size_t m);

#endif
