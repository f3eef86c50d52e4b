/* grid: the types with codebooks (IQ1, IQ2, IQ3), for four rows: their weights and scales.
 *
 * An entry of a codebook is eight or four neighbouring elements of a row, so each row looks up its own.  Rows 4h to 4h + 3 of a strip are
 * half h.  A sub-block has 32 elements.  Indices and signs: kernels/pack_grid.h. */
#ifndef KERNELS_NEON_GRID_H
#define KERNELS_NEON_GRID_H
#include "kernels/formats.h"
#include "kernels/grids.h"
#include "kernels/neon/common.h"

INLINE bool grid_is_one(enum kern_type t) {
	return t == KERN_IQ1_S || t == KERN_IQ1_M;
}

/* Unit u of a row: four of its bytes. */
INLINE uint32_t grid_unit(const uint8_t *body, int u, int row) {
	uint32_t word;
	memcpy(&word, body + u * 32 + row * 4, sizeof word);
	return word;
}

/* Index j of the four of `bits` bits that are a number in v and, above 32 bits, in the bits of `rest` from `from` on. */
INLINE uint32_t grid_field(uint32_t v, uint32_t rest, int from, int j, int bits) {
	return (uint32_t)((v | (uint64_t)(rest >> from) << 32) >> j * bits) & ((1u << bits) - 1);
}

/* The index of group j of sub-block k, or of its word j where entries have four elements. */
INLINE uint32_t grid_index(enum kern_type t, const uint8_t *body, int row, int k, int j) {
	switch (t) {
	case KERN_IQ2_XXS:
		return grid_unit(body, 2 * k, row) >> 8 * j & 0xff;
	case KERN_IQ2_XS:
		return grid_field(grid_unit(body, 2 * k, row), grid_unit(body, k / 2 * 4 + 3, row),
		        24 + k % 2 * 4, j, 9);
	case KERN_IQ2_S:
		return grid_field(
		        grid_unit(body, k, row), grid_unit(body, 16 + k / 4, row), k % 4 * 8, j, 10);
	case KERN_IQ1_S:
	case KERN_IQ1_M:
		return grid_field(
		        grid_unit(body, k, row), grid_unit(body, 8 + k / 2, row), k % 2 * 16, j, 11);
	case KERN_IQ3_S:
		return grid_field(grid_unit(body, 2 * k + j / 4, row), grid_unit(body, 16 + k / 4, row),
		        k % 4 * 8 + j / 4 * 4, j % 4, 9);
	default: /* KERN_IQ3_XXS */
		return grid_unit(body, 2 * k + j / 4, row) >> j % 4 * 8 & 0xff;
	}
}

/* Group j of sub-block k of a row: its eight weights, or their magnitudes. */
INLINE int8x8_t grid_group(enum kern_type t, const uint8_t *body, int row, int k, int j) {
	if (grid_is_one(t)) {
		int bit = k % 2 * 16 + (t == KERN_IQ1_S ? 15 : 12 + j);
		bool minus = grid_unit(body, 8 + k / 2, row) >> bit & 1;
		int8x8_t entry = vcreate_s8(kern_grid_iq1[grid_index(t, body, row, k, j)]);
		return vadd_s8(entry, vdup_n_s8(minus ? -1 : 1));
	}
	if (t == KERN_IQ3_XXS || t == KERN_IQ3_S) {
		const uint32_t *grid = t == KERN_IQ3_S ? kern_grid_iq3_s : kern_grid_iq3_xxs;
		return vcreate_s8(grid[grid_index(t, body, row, k, 2 * j)] |
		                  (uint64_t)grid[grid_index(t, body, row, k, 2 * j + 1)] << 32);
	}
	const uint64_t *grid = t == KERN_IQ2_XXS  ? kern_grid_iq2_xxs
	                       : t == KERN_IQ2_XS ? kern_grid_iq2_xs
	                                          : kern_grid_iq2_s;
	return vcreate_s8(grid[grid_index(t, body, row, k, j)]);
}

INLINE uint32x4_t grid_units(const uint8_t *p, int u, int h) {
	return vreinterpretq_u32_u8(load(p + u * 32 + h * 16));
}

/* The units of a pair of sub-blocks, from sub-block k on, that have signs. */
INLINE int grid_signs_at(enum kern_type t, int k, int upper) {
	return t == KERN_IQ2_S     ? 8 + k + upper
	       : t == KERN_IQ3_S   ? 18 + k + upper
	       : t == KERN_IQ3_XXS ? 16 + k + upper
	                           : 2 * (k + upper) + 1;
}

/* The signs of a pair of sub-blocks: bit g of byte i of each lane is that of element i, or 4 + i, of group g, set for minus. */
INLINE void grid_signs(uint32x4_t s[2], enum kern_type t, const uint8_t *body, int k, int h) {
	s[0] = grid_units(body, grid_signs_at(t, k, 0), h);
	s[1] = grid_units(body, grid_signs_at(t, k, 1), h);
	if (t == KERN_IQ2_S || t == KERN_IQ3_S)
		return;
	/* the eighth of each group makes their number even */
	s[1] = vandq_u32(s[1], vdupq_n_u32(0xffffff));
	uint32x4_t odd = veorq_u32(s[0], s[1]);
	odd = veorq_u32(odd, vshrq_n_u32(odd, 16));
	odd = veorq_u32(odd, vshrq_n_u32(odd, 8));
	s[1] = vorrq_u32(s[1], vshlq_n_u32(odd, 24));
}

/* Magnitudes with the signs of group g. */
INLINE int8x16_t grid_signed(int8x16_t w, uint32x4_t signs, int g) {
	int8x16_t minus = vshrq_n_s8(vreinterpretq_s8_u32(vshlq_u32(signs, vdupq_n_s32(7 - g))), 7);
	return vsubq_s8(veorq_s8(w, minus), minus);
}

/* Quad g (0, 1) of sub-block k: the words of 16 elements, of four rows. */
INLINE void grid_quad(int8x16_t w[4], enum kern_type t, const uint8_t *body, int k, int g, int h) {
	uint32x4_t signs[2] = {vdupq_n_u32(0), vdupq_n_u32(0)};
	if (!grid_is_one(t))
		grid_signs(signs, t, body, k / 2 * 2, h);
	UNROLL for (int i = 0; i < 2; i++) {
		int8x8_t row[4];
		UNROLL for (int r = 0; r < 4; r++) row[r] = grid_group(t, body, 4 * h + r, k, 2 * g + i);
		int32x4_t lower = vreinterpretq_s32_s8(vcombine_s8(row[0], row[1])),
		          upper = vreinterpretq_s32_s8(vcombine_s8(row[2], row[3]));
		w[2 * i] = vreinterpretq_s8_s32(vuzp1q_s32(lower, upper));
		w[2 * i + 1] = vreinterpretq_s8_s32(vuzp2q_s32(lower, upper));
		if (grid_is_one(t))
			continue;
		w[2 * i] = grid_signed(w[2 * i], signs[0], k % 2 * 4 + 2 * g + i);
		w[2 * i + 1] = grid_signed(w[2 * i + 1], signs[1], k % 2 * 4 + 2 * g + i);
	}
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
	case KERN_IQ3_XXS:
		v = grid_units(body, grid_signs_at(t, k / 2 * 2, 1), h);
		from = 24 + k % 2 * 4;
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
