/* kvlayout: types of KV cache, their sizes, and the size of attention's scratch.
 * The layouts are described in kvlayout.h; all ISA levels share them.  Pure; any thread. */
#include "kernels/kvlayout.h"

static const char *const names[KERN_KVS] = {"f16", "q8_0"};

const char *kern_kv_name(uint32_t type) {
	return type < KERN_KVS ? names[type] : NULL;
}

bool kern_kv_fits(enum kern_kv type, size_t head_size) {
	return type == KERN_KV_F16 || head_size % KV_LANES == 0;
}

size_t kern_kv_bytes(enum kern_kv type, size_t head_size) {
	return type == KERN_KV_F16 ? KERN_KV_BLOCK * head_size * sizeof(uint16_t)
	                           : head_size / KV_LANES * KV_Q8_VALUES;
}

/* One row of scores a query; a row is a multiple of KERN_ALIGN. */
size_t kern_span_scratch(size_t nq) {
	return nq * KERN_SPAN * sizeof(float);
}
