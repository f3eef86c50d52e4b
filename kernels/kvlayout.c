/* kvlayout: sizes of the KV cache of a head and of attention's scratch.
 *
 * The layouts themselves are described in kernels.h; every rung shares them.
 * Pure; any thread. */
#include "kernels/kernels.h"

size_t kern_kv_bytes(size_t head_size) {
	return KERN_KV_BLOCK * head_size * sizeof(uint16_t);
}

/* One row of scores a query; a row is a multiple of KERN_ALIGN. */
size_t kern_span_scratch(size_t nq) {
	return nq * KERN_SPAN * sizeof(float);
}
