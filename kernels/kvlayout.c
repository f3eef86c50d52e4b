/* kvlayout: types of KV cache, their sizes, and the size of attention's scratch.
 * The layouts are described in kvlayout.h; all ISA levels share them.  Pure; any thread. */
#include "kernels/kvlayout.h"
#include "kernels/kvcopy.h"

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

/* A row of scores and a copy for each query; a row of scores is a multiple of KERN_ALIGN. */
size_t kern_span_scratch(size_t nq, size_t head_size) {
	return nq * (KERN_SPAN + head_size) * sizeof(float);
}

static void kv_f16_values(uint16_t *values, const uint16_t *keys, size_t head_size) {
	for (size_t first = 0; first < head_size; first += KV_LANES) {
		size_t width = kv_width(head_size, first);
		uint16_t *to = values + first * KERN_KV_BLOCK;
		for (size_t slot = 0; slot < KERN_KV_BLOCK; slot++, to += width) {
			const uint16_t *from = keys + kv_key_at(head_size, slot, first);
			for (size_t i = 0; i < width; i++)
				to[i] = from[i * KV_LANES];
		}
	}
}

static void kv_q8_values_of(uint8_t *values, const uint8_t *keys, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES) {
		uint8_t *group = values + kv_q8_values(d);
		for (size_t slot = 0; slot < KERN_KV_BLOCK; slot++) {
			const uint8_t *from = keys + kv_q8_keys(head_size, slot, d);
			size_t lane = slot % KV_LANES;
			((uint16_t *)(void *)group)[slot] = ((const uint16_t *)(const void *)from)[lane];
			for (size_t i = 0; i < KV_LANES; i++)
				group[KV_Q8_VALUE_SCALES + slot * KV_LANES + i] =
				        from[KV_Q8_KEY_SCALES + i * KV_LANES + lane];
		}
	}
}

void kern_kv_values_of_keys(enum kern_kv type, void *values, const void *keys, size_t head_size) {
	if (type == KERN_KV_F16)
		kv_f16_values(values, keys, head_size);
	else
		kv_q8_values_of(values, keys, head_size);
}
