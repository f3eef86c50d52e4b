/* kvcopy: values of the KV cache that are made of keys.  Pure; any thread. */
#ifndef KERNELS_KVCOPY_H
#define KERNELS_KVCOPY_H
#include "kernels/kernels.h"

/* Stores the values of one head in one block, which are its keys. */
void kern_kv_values_of_keys(enum kern_kv type, void *values, const void *keys, size_t head_size);

#endif
