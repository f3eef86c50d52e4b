/* dequant: rows of weights as floats (doc/numerics.md, "Dequantised rows"), and the check that scales are finite.
 * Pure; any thread. */
#include "kernels/block.h"
#include "kernels/formats.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"
#include <string.h>

/* One canonical block into kern_traits()->block floats. */
static void dequant_block(enum kern_type type, float *dst, const void *src) {
	struct kern_block b;
	uint32_t word = 0;
	uint16_t half;
	switch (type) {
	case KERN_F32:
		memcpy(dst, src, 4);
		return;
	case KERN_F16:
		memcpy(&half, src, 2);
		*dst = kern_from_half(half);
		return;
	case KERN_BF16:
		memcpy((char *)&word + 2, src, 2);
		memcpy(dst, &word, 4);
		return;
	default:
		break;
	}
	kern_block_read(type, &b, src);
	size_t block = kern_traits(type)->block, sub = kern_sub_block(type);
	if (block == 32)
		for (size_t i = 0; i < 32; i++) {
			float v = b.d * (float)b.w[i];
			dst[i] = kern_has_minima(type) ? v + b.m : v;
		}
	else
		for (size_t i = 0; i < block; i++) {
			float v = b.d * (float)b.sc[i / sub] * (float)b.w[i];
			dst[i] = kern_has_minima(type) ? v - b.m * (float)b.mn[i / sub] : v;
		}
}

void kern_dequant(enum kern_type type, float *dst, const void *src, size_t n) {
	const struct kern_traits *t = kern_traits(type);
	for (size_t b = 0; b < n / t->block; b++)
		dequant_block(type, dst + b * t->block, (const uint8_t *)src + b * t->bytes);
}

void kern_dequant_packed(enum kern_type type, float *dst, const void *packed, size_t r, size_t n) {
	const struct kern_traits *t = kern_traits(type);
	const uint8_t *strip =
	        (const uint8_t *)packed + r / KERN_STRIP * KERN_STRIP * kern_row_bytes(type, n);
	_Alignas(4) uint8_t block[sizeof(struct q6_k)];
	for (size_t b = 0; b < n / t->block; b++) {
		kern_strip_block(type, block, strip, r % KERN_STRIP, b);
		dequant_block(type, dst + b * t->block, block);
	}
}

bool kern_finite(enum kern_type type, const void *src, size_t rows, size_t n) {
	const struct kern_traits *t = kern_traits(type);
	const uint8_t *p = src;
	size_t blocks = rows * (n / t->block);
	uint32_t word;
	uint16_t half;
	bool bad = false;
	if (type == KERN_F32) {
		for (size_t i = 0; i < blocks; i++) {
			memcpy(&word, p + i * 4, 4);
			bad |= (word & 0x7f800000) == 0x7f800000;
		}
		return !bad;
	}
	if (type == KERN_IQ1_M) {
		for (size_t i = 0; i < blocks; i++)
			bad |= (kern_iq1_m_scale(p + i * t->bytes + offsetof(struct iq1_m, scales)) &
			               0x7c00) == 0x7c00;
		return !bad;
	}
	if (type == KERN_MXFP4) {
		for (size_t i = 0; i < blocks; i++)
			bad |= p[i * t->bytes + offsetof(struct mxfp4, e)] == 0xff;
		return !bad;
	}
	/* Halves are the scales, or the elements of a float type. */
	uint16_t exponent = type == KERN_BF16 ? 0x7f80 : 0x7c00;
	for (int f = 0; f < KERN_FIELDS; f++) {
		const struct kern_field *field = &kern_layout(type)->field[f];
		if (!field->half)
			continue;
		for (size_t i = 0; i < blocks; i++) {
			memcpy(&half, p + i * t->bytes + field->offset, 2);
			bad |= (half & exponent) == exponent;
		}
	}
	return !bad;
}
