/* quantize_tmpl: makes activation rows and groups of a KV cache, at the levels other than the reference.
 *
 * The including file defines
 *   magnitude(x, n)             the largest magnitude of n floats, or infinity where a value is not finite
 *   quantize_32_at(q, x, inverse)  32 quants of x times inverse
 * and defines after it
 *   put_q8_32(row, at, b, x, inverse), put_q8_256(...)  block b of a row: the quants of x times inverse,
 *   their sums and repairs
 * Pure; any thread. */
#ifndef KERNELS_QUANTIZE_TMPL_H
#define KERNELS_QUANTIZE_TMPL_H
#include "kernels/acts.h"
#include "kernels/compiler.h"
#include "kernels/kvlayout.h"
#include <errno.h>
#include <string.h>

#define QUANTIZE_FINITE 0x1.fffffep127f /* the largest finite magnitude */

INLINE int quantize_f32(void *dst, const float *x, size_t n) {
	uint32_t bad = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;
		memcpy(&bits, x + i, sizeof bits);
		bad |= (bits & 0x7f800000) == 0x7f800000;
	}
	if (bad)
		return -EDOM;
	memcpy(dst, x, n * sizeof *x);
	memset((float *)dst + n, 0, kern_act_bytes(KERN_FORM_F32, n) - n * sizeof *x);
	return 0;
}

/* Clears the gaps between the parts of a row whose n quants begin at q. */
INLINE void clear_row(uint8_t *row, size_t q, size_t n, size_t end) {
	memset(row, 0, q);
	memset(row + q + n, 0, end - q - n);
}

/* The scale of a block, and the inverse by which its quants are computed; zero for a block that is too
 * small. */
INLINE float scale_of(float a, float *inverse) {
	if (a < 0x1p-120f) {
		*inverse = 0;
		return 0;
	}
	*inverse = 127 / a;
	return a / 127;
}

/* Stores the scale of n floats in *d, and the inverse for their quants.  0, or -EDOM where a value is not
 * finite. */
INLINE int find_scale(float *d, float *inverse, const float *x, size_t n) {
	float a = magnitude(x, n);
	if (a > QUANTIZE_FINITE)
		return -EDOM;
	*d = scale_of(a, inverse);
	return 0;
}

/* Quantizes a group of a KV cache and returns its scale, which is NaN where a value is not finite. */
INLINE uint16_t quantize_group(int8_t *q, const float *x) {
	float d, inverse;
	if (find_scale(&d, &inverse, x, KV_LANES)) {
		memset(q, 0, KV_LANES);
		return 0x7e00;
	}
	quantize_32_at(q, x, inverse);
	return kern_to_half_sat(d);
}

INLINE void put_key_q8_0(void *keys, size_t slot, const float *k, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES) {
		int8_t q[KV_LANES];
		uint16_t scale = quantize_group(q, k + d);
		kv_q8_put_key((uint8_t *)keys + kv_q8_keys(head_size, slot, d), slot, scale, q);
	}
}

INLINE void put_value_q8_0(void *values, size_t slot, const float *v, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES) {
		uint8_t *group = (uint8_t *)values + kv_q8_values(d);
		((uint16_t *)(void *)group)[slot] =
		        quantize_group((int8_t *)group + KV_Q8_VALUE_SCALES + slot * KV_LANES, v + d);
	}
}

INLINE void put_q8_32(uint8_t *row, const struct acts_q8_32 *at, size_t b, const float *x, float inverse);
INLINE int quantize_q8_32(void *dst, const float *x, size_t n) {
	const struct acts_q8_32 at = acts_q8_32(n);
	uint8_t *row = dst;
	clear_row(row, at.q, n, at.end);
	for (size_t b = 0; b < n / 32; b++, x += 32) {
		float inverse;
		if (find_scale((float *)(row + at.d) + b, &inverse, x, 32))
			return -EDOM;
		put_q8_32(row, &at, b, x, inverse);
	}
	return 0;
}

INLINE void put_q8_256(uint8_t *row, const struct acts_q8_256 *at, size_t b, const float *x, float inverse);
INLINE int quantize_q8_256(void *dst, const float *x, size_t n) {
	const struct acts_q8_256 at = acts_q8_256(n);
	uint8_t *row = dst;
	clear_row(row, at.q, n, at.end);
	for (size_t b = 0; b < n / 256; b++, x += 256) {
		float inverse;
		if (find_scale((float *)(row + at.d) + b, &inverse, x, 256))
			return -EDOM;
		put_q8_256(row, &at, b, x, inverse);
	}
	return 0;
}

#define KERN_DEFINE_QUANTIZERS(L) \
	int L(quantize_f32)(void *dst, const float *x, size_t n) { \
		return quantize_f32(dst, x, n); \
	} \
	int L(quantize_q8_32)(void *dst, const float *x, size_t n) { \
		return quantize_q8_32(dst, x, n); \
	} \
	int L(quantize_q8_256)(void *dst, const float *x, size_t n) { \
		return quantize_q8_256(dst, x, n); \
	} \
	void L(put_key_q8_0)(void *keys, size_t slot, const float *k, size_t head_size) { \
		put_key_q8_0(keys, slot, k, head_size); \
	} \
	void L(put_value_q8_0)(void *values, size_t slot, const float *v, size_t head_size) { \
		put_value_q8_0(values, slot, v, head_size); \
	}

#endif
