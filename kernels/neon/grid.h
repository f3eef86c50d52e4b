/* grid: the types with codebooks (IQ1, IQ2, IQ3), for four rows: their weights and scales.
 *
 * An entry of a codebook is eight or four neighbouring elements of a row, so each row looks up its own.  Rows 4h to 4h + 3 of a strip are
 * half h.  A sub-block has 32 elements. */
#ifndef KERNELS_NEON_GRID_H
#define KERNELS_NEON_GRID_H
#include "kernels/formats.h"
#include "kernels/grids.h"
#include "kernels/neon/common.h"

/* Unit u of a row: four of its bytes. */
INLINE uint32_t grid_unit(const uint8_t *body, int u, int row) {
	uint32_t word;
	memcpy(&word, body + u * 32 + row * 4, sizeof word);
	return word;
}

/* The index of group j of sub-block k, or of its word j where entries have four elements. */
INLINE uint32_t grid_index(enum kern_type t, const uint8_t *body, int row, int k, int j) {
	switch (t) {
	case KERN_IQ2_XXS:
		return grid_unit(body, 2 * k, row) >> 8 * j & 0xff;
	case KERN_IQ2_XS:
		return grid_unit(body, 2 * k + j / 2, row) >> j % 2 * 16 & 0x1ff;
	case KERN_IQ2_S:
		return (grid_unit(body, k, row) >> 8 * j & 0xff) |
		       (grid_unit(body, 16 + k / 4, row) >> (k % 4 * 8 + 2 * j) & 3) << 8;
	case KERN_IQ1_S:
		return (grid_unit(body, k, row) >> 8 * j & 0xff) |
		       (grid_unit(body, 8 + k / 2, row) >> (k % 2 * 16 + 3 * j) & 7) << 8;
	case KERN_IQ1_M:
		return (grid_unit(body, k, row) >> 8 * j & 0xff) |
		       (grid_unit(body, 8 + k / 2, row) >> (k % 2 * 16 + 4 * j) & 7) << 8;
	case KERN_IQ3_S:
		return (grid_unit(body, 2 * k + j / 4, row) >> j % 4 * 8 & 0xff) |
		       (grid_unit(body, 16 + k / 4, row) >> (k % 4 * 8 + j) & 1) << 8;
	default: /* KERN_IQ3_XXS */
		return grid_unit(body, 2 * k + j / 4, row) >> j % 4 * 8 & 0xff;
	}
}

/* The signs of group j: a set bit for minus.  Of seven bits, the eighth makes the number of minuses even. */
INLINE uint32_t grid_signs(enum kern_type t, const uint8_t *body, int row, int k, int j) {
	uint32_t seven;
	if (t == KERN_IQ2_S)
		return grid_unit(body, 8 + k, row) >> 8 * j & 0xff;
	if (t == KERN_IQ3_S)
		return grid_unit(body, 18 + k, row) >> 8 * j & 0xff;
	if (t == KERN_IQ2_XS)
		seven = grid_unit(body, 2 * k + j / 2, row) >> (j % 2 * 16 + 9) & 0x7f;
	else
		seven = grid_unit(body, t == KERN_IQ2_XXS ? 2 * k + 1 : 16 + k, row) >> 7 * j & 0x7f;
	uint32_t odd = seven ^ seven >> 4;
	odd = 0x6996u >> (odd & 15) & 1; /* the numbers with an odd number of bits */
	return seven | odd << 7;
}

/* Group j of sub-block k of a row: its eight weights. */
INLINE int8x8_t grid_group(enum kern_type t, const uint8_t *body, int row, int k, int j) {
	if (t == KERN_IQ1_S || t == KERN_IQ1_M) {
		int bit = k % 2 * 16 + (t == KERN_IQ1_S ? 15 : 4 * j + 3);
		bool minus = grid_unit(body, 8 + k / 2, row) >> bit & 1;
		int8x8_t entry = vcreate_s8(kern_grid_iq1[grid_index(t, body, row, k, j)]);
		return vadd_s8(entry, vdup_n_s8(minus ? -1 : 1));
	}
	uint64_t entry;
	if (t == KERN_IQ3_XXS || t == KERN_IQ3_S) {
		const uint32_t *grid = t == KERN_IQ3_S ? kern_grid_iq3_s : kern_grid_iq3_xxs;
		entry = grid[grid_index(t, body, row, k, 2 * j)] |
		        (uint64_t)grid[grid_index(t, body, row, k, 2 * j + 1)] << 32;
	} else {
		const uint64_t *grid = t == KERN_IQ2_XXS  ? kern_grid_iq2_xxs
		                       : t == KERN_IQ2_XS ? kern_grid_iq2_xs
		                                          : kern_grid_iq2_s;
		entry = grid[grid_index(t, body, row, k, j)];
	}
	int8x8_t w = vcreate_s8(entry);
	uint8x8_t minus =
	        vtst_u8(vdup_n_u8((uint8_t)grid_signs(t, body, row, k, j)), vcreate_u8(0x8040201008040201u));
	return vbsl_s8(minus, vneg_s8(w), w);
}

/* Quad g (0, 1) of sub-block k: the words of 16 elements, of four rows. */
INLINE void grid_quad(int8x16_t w[4], enum kern_type t, const uint8_t *body, int k, int g, int h) {
	UNROLL for (int i = 0; i < 2; i++) {
		int8x8_t row[4];
		UNROLL for (int r = 0; r < 4; r++) row[r] = grid_group(t, body, 4 * h + r, k, 2 * g + i);
		int32x4_t lower = vreinterpretq_s32_s8(vcombine_s8(row[0], row[1])),
		          upper = vreinterpretq_s32_s8(vcombine_s8(row[2], row[3]));
		w[2 * i] = vreinterpretq_s8_s32(vuzp1q_s32(lower, upper));
		w[2 * i + 1] = vreinterpretq_s8_s32(vuzp2q_s32(lower, upper));
	}
}

INLINE uint32x4_t grid_units(const uint8_t *p, int u, int h) {
	return vreinterpretq_u32_u8(load(p + u * 32 + h * 16));
}

/* Bits from `from` on, moved to `to`, under a mask. */
INLINE uint32x4_t grid_bits(uint32x4_t v, int from, int to, uint32_t mask) {
	return vandq_u32(vshlq_u32(v, vdupq_n_s32(to - from)), vdupq_n_u32(mask));
}

/* The scale of sub-block k, or of its lower or upper half where these have their own: an odd number. */
INLINE int32x4_t grid_scale(
        enum kern_type t, const uint8_t *head, const uint8_t *body, int k, int upper, int h) {
	uint32x4_t v;
	int from;
	uint32_t mask = 0x1e;
	switch (t) {
	case KERN_IQ2_XXS:
		v = grid_units(body, 2 * k + 1, h);
		from = 28;
		break;
	case KERN_IQ3_XXS:
		v = grid_units(body, 16 + k, h);
		from = 28;
		break;
	case KERN_IQ3_S:
		v = grid_units(head + 16, 0, h);
		from = 4 * k;
		break;
	case KERN_IQ1_S:
		v = grid_units(body, 8 + k / 2, h);
		from = k % 2 * 16 + 12;
		mask = 0xe;
		break;
	case KERN_IQ1_M:
		v = grid_units(head, k / 4, h);
		from = k / 2 % 2 * 16 + k % 2 * 6 + 3 * upper;
		mask = 0xe;
		break;
	default: /* KERN_IQ2_XS, KERN_IQ2_S */
		v = grid_units(head + 16, k / 4, h);
		from = k % 4 * 8 + 4 * upper;
	}
	return vreinterpretq_s32_u32(vorrq_u32(grid_bits(v, from, 1, mask), vdupq_n_u32(1)));
}

/* The scale of the block, times the power of two by which weights and scales are larger than the format has them. */
INLINE float32x4_t grid_d(enum kern_type t, const uint8_t *head, int h) {
	if (t == KERN_IQ3_S)
		return load_halves(head, h);
	if (t != KERN_IQ1_M)
		return vmulq_n_f32(load_halves(head, h), t == KERN_IQ3_XXS ? 0.25f : 0.125f);
	uint32x4_t a = grid_units(head, 0, h), b = grid_units(head, 1, h);
	a = vorrq_u32(grid_bits(a, 12, 0, 0xf), grid_bits(a, 28, 4, 0xf0));
	b = vorrq_u32(grid_bits(b, 12, 8, 0xf00), grid_bits(b, 28, 12, 0xf000));
	float16x4_t halves = vreinterpret_f16_u16(vmovn_u32(vorrq_u32(a, b)));
	return vmulq_n_f32(vcvt_f32_f16(halves), 0.125f);
}

#endif
