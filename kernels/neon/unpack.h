/* unpack: packed blocks of a strip as words of bytes, scales and minima, for every type.
 *
 * Each function takes the type as a constant.  A word has the integer weights of four neighbouring elements per lane, for the
 * four rows of half h (0, 1) of the strip.  They are the weights of the contract, except that those of Q4_0 still have their
 * offset of 8 (offset()).  The order of fields in head and body is that of kernels/pack.c. */
#ifndef KERNELS_NEON_UNPACK_H
#define KERNELS_NEON_UNPACK_H
#include "kernels/formats.h"
#include "kernels/neon/common.h"
#include "kernels/neon/grid.h"
#include "kernels/pack.h"

/* The quads of a group of a block of 256: those of a sub-block, but one of the ternary types, which have none. */
INLINE int quads(enum kern_type t) {
	return kern_is_ternary(t) ? 1 : 16 / kern_sub_blocks(t);
}

/* Shifts of all bytes by a value that becomes a constant. */
INLINE uint8x16_t right(uint8x16_t v, int by) {
	return by ? v >> (uint8_t)by : v;
}
INLINE uint8x16_t left(uint8x16_t v, int by) {
	return by ? v << (uint8_t)by : v;
}
INLINE uint8x16_t low_bits(uint8x16_t v, int mask) {
	return vandq_u8(v, vdupq_n_u8((uint8_t)mask));
}

/* v with the bits of mask taken from b. */
INLINE uint8x16_t insert(uint8x16_t v, uint8x16_t b, int mask) {
	return vbslq_u8(vdupq_n_u8((uint8_t)mask), b, v);
}

/* A mask for word w: byte i of a lane is all ones where bit 4 * w + i of the lane is set. */
INLINE uint8x16_t fifth_bits(uint8x16_t qh, int w) {
	const uint32x4_t lanes = {0x00000000, 0x04040404, 0x08080808, 0x0c0c0c0c};
	uint32x4_t at = vaddq_u32(lanes, vdupq_n_u32((uint32_t)(w / 2) * 0x01010101u));
	uint32x4_t bit = vdupq_n_u32(w % 2 ? 0x80402010u : 0x08040201u);
	return vtstq_u8(vqtbl1q_u8(qh, vreinterpretq_u8_u32(at)), vreinterpretq_u8_u32(bit));
}

/* Nibbles of a type as the steps that they stand for. */
INLINE int8x16_t steps_of(enum kern_type t, uint8x16_t nibbles) {
	return vqtbl1q_s8(vld1q_s8(t == KERN_MXFP4 ? kern_mxfp4 : kern_iq4nl), nibbles);
}

/* Word w (0..7) of a block of 32. */
INLINE int8x16_t word_32(enum kern_type t, const uint8_t *body, int w, int h) {
	if (t == KERN_Q8_0)
		return vreinterpretq_s8_u8(load(body + w * 32 + h * 16));
	bool fifth = t == KERN_Q5_0 || t == KERN_Q5_1;
	uint8x16_t v = load(body + (fifth ? 32 : 0) + w % 4 * 32 + h * 16);
	v = w < 4 ? low_bits(v, 15) : right(v, 4);
	if (t == KERN_IQ4_NL || t == KERN_MXFP4)
		return steps_of(t, v);
	if (t == KERN_Q5_1)
		v = insert(v, fifth_bits(load(body + h * 16), w), 0x10);
	if (t == KERN_Q5_0) /* a clear bit means minus 16: the upper four bits are its inverse */
		v = insert(v, fifth_bits(vmvnq_u8(load(body + h * 16)), w), 0xf0);
	return vreinterpretq_s8_u8(v);
}

/* What is still to be subtracted from the words of a type. */
INLINE int offset(enum kern_type t) {
	return t == KERN_Q4_0 ? 8 : 0;
}

/* Word w (0..63) of a block of 256: elements 4w..4w+3. */
INLINE int8x16_t word_256(enum kern_type t, const uint8_t *body, int w, int h) {
	int half = w / 32, j = w % 32 / 8, l = w % 8; /* element 128 half + 32 j + 4 l */
	uint8x16_t v, high;
	body += h * 16;
	switch (t) {
	case KERN_Q2_K:
		v = low_bits(right(load(body + (half * 8 + l) * 32), 2 * j), 3);
		break;
	case KERN_TQ2_0:
		v = low_bits(right(load(body + (half * 8 + l) * 32), 2 * j), 3);
		return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(1));
	case KERN_Q3_K: /* a clear bit means minus 4 */
		v = low_bits(right(load(body + kern_lower_unit((size_t)(half * 8 + l)) * 32), 2 * j), 3);
		high = vtstq_u8(load(body + 2 * l * 32), vdupq_n_u8((uint8_t)(1 << (half * 4 + j))));
		v = vorrq_u8(v, vbicq_u8(vdupq_n_u8(0xfc), high));
		break;
	case KERN_Q4_K:
		v = load(body + (w / 16 * 8 + l) * 32);
		v = j % 2 ? right(v, 4) : low_bits(v, 15);
		break;
	case KERN_Q5_K:
		v = load(body + kern_lower_unit((size_t)(w / 16 * 8 + l)) * 32);
		v = j % 2 ? right(v, 4) : low_bits(v, 15);
		high = vtstq_u8(load(body + 2 * l * 32), vdupq_n_u8((uint8_t)(1 << w / 8)));
		v = insert(v, high, 0x10);
		break;
	case KERN_IQ4_XS:
		v = load(body + (w / 8 * 4 + w % 4) * 32);
		return steps_of(t, l / 4 ? right(v, 4) : low_bits(v, 15));
	default: /* KERN_Q6_K: with the upper bit inverted, the six bits are a two's complement number */
		v = load(body + (half * 24 + l * 3 + j % 2) * 32);
		v = j / 2 ? right(v, 4) : v;
		high = veorq_u8(load(body + (half * 24 + l * 3 + 2) * 32), vdupq_n_u8(0xaa));
		high = left(high, 6 - 2 * j);
		high = vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(high), 2));
		v = insert(v, high, 0xf0);
	}
	return vreinterpretq_s8_u8(v);
}

/* The weights of fractions of TQ1_0: 0 from 86/256 on, and 1 from 171/256; the fractions become those of the next digit. */
INLINE int8x16_t ternary_word(uint8x16_t *v) {
	uint8x16_t none = vcltq_u8(*v, vdupq_n_u8(86)), two = vcgtq_u8(*v, vdupq_n_u8(170));
	*v = vaddq_u8(vaddq_u8(*v, *v), *v);
	return vreinterpretq_s8_u8(vsubq_u8(none, two));
}

/* The contents of the head of a block of 256, for eight rows. */
struct scales {
	int32x4_t sc[16][2]; /* of sub-blocks */
	                     /* minima of sub-blocks, for types that have them */
#ifdef NEON_DOTPROD
	int8x16_t mn[4][2]; /* those of four in a lane */
#else
	int16x8_t mn[16];
#endif
	float32x4_t d[2], dmin[2];
};

#ifdef NEON_DOTPROD
/* Eight sums of sub-blocks, as bytes: what remains of them, 0 to 127, then their 128ths (less than 32). */
INLINE int8x16_t split_sums(const void *p) {
	int16x8_t s = vld1q_s16(p);
	return vcombine_s8(vmovn_s16(vandq_s16(s, vdupq_n_s16(127))), vshrn_n_s16(s, 7));
}
#endif

/* Byte i of each lane, zero-extended or sign-extended. */
INLINE int32x4_t byte_of(uint8x16_t v, int i) {
	uint32x4_t u = vreinterpretq_u32_u8(v);
	u = i < 3 ? vandq_u32(i ? u >> (uint32_t)(8 * i) : u, vdupq_n_u32(255)) : vshrq_n_u32(u, 24);
	return vreinterpretq_s32_u32(u);
}
INLINE int32x4_t signed_byte_of(uint8x16_t v, int i) {
	int32x4_t s = vreinterpretq_s32_u8(v);
	return vshrq_n_s32(i < 3 ? s << (24 - 8 * i) : s, 24);
}

/* Scales (minima) of the four sub-blocks from 4k on: one byte each in the lanes of the eight rows. */
INLINE void put_scales(enum kern_type t, struct scales *out, int k, const uint8x16_t *v) {
	bool is_signed = t == KERN_Q3_K || t == KERN_Q6_K || t == KERN_IQ4_XS;
	UNROLL for (int i = 0; i < 4; i++) {
		UNROLL for (int h = 0; h < 2; h++) out->sc[4 * k + i][h] =
		        is_signed ? signed_byte_of(v[h], i) : byte_of(v[h], i);
	}
}

INLINE void put_minima(struct scales *out, int k, const uint8x16_t *v) {
#ifdef NEON_DOTPROD
	UNROLL for (int h = 0; h < 2; h++) out->mn[k][h] = vreinterpretq_s8_u8(v[h]);
#else
	const uint16x8_t low = vdupq_n_u16(255);
	uint16x8_t even = vreinterpretq_u16_u8(vuzp1q_u8(v[0], v[1])),
	           odd = vreinterpretq_u16_u8(vuzp2q_u8(v[0], v[1]));
	out->mn[4 * k] = vreinterpretq_s16_u16(vandq_u16(even, low));
	out->mn[4 * k + 1] = vreinterpretq_s16_u16(vandq_u16(odd, low));
	out->mn[4 * k + 2] = vreinterpretq_s16_u16(vshrq_n_u16(even, 8));
	out->mn[4 * k + 3] = vreinterpretq_s16_u16(vshrq_n_u16(odd, 8));
#endif
}

/* The four pieces of `bits` bits (2 or 4) that are the low ones of a lane, one in each of its bytes. */
INLINE uint8x16_t spread_bits(uint32x4_t v, int bits) {
	uint32_t pair = (1u << 2 * bits) - 1;
	v = vandq_u32(v, vdupq_n_u32((1u << 4 * bits) - 1));
	v = vandq_u32(vorrq_u32(v, v << (uint32_t)(16 - 2 * bits)), vdupq_n_u32(pair << 16 | pair));
	v = vorrq_u32(v, v << (uint32_t)(8 - bits));
	return low_bits(vreinterpretq_u8_u32(v), (1 << bits) - 1);
}

/* The scales of IQ4_XS: upper bits, then lower ones. */
INLINE void read_scales_iq4_xs(struct scales *out, const uint8_t *s) {
	UNROLL for (int k = 0; k < 2; k++) { /* sub-blocks 4k..4k+3 */
		uint8x16_t v[2];
		UNROLL for (int h = 0; h < 2; h++) {
			uint32x4_t low = vreinterpretq_u32_u8(load(s + 16 + h * 16)),
			           high = vmovl_u16(vreinterpret_u16_u8(vld1_u8(s + h * 8)));
			v[h] = insert(spread_bits(k ? low >> 16 : low, 4),
			        left(spread_bits(k ? high >> 8 : high, 2), 4), 0x30);
			v[h] = vsubq_u8(v[h], vdupq_n_u8(32));
		}
		put_scales(KERN_IQ4_XS, out, k, v);
	}
}

INLINE void read_scales(enum kern_type t, struct scales *out, const uint8_t *head) {
	const uint8_t *s = head + (kern_has_minima(t) ? 32 : 16);
	if (kern_has_grid(t)) {
		int each = kern_sub_blocks(t) / 8;
		UNROLL for (int h = 0; h < 2; h++) {
			out->d[h] = grid_d(t, head, h);
			UNROLL for (int i = 0; i < 8 * each; i++) out->sc[i][h] =
			        grid_scale(t, head, head + 8 * kern_head_bytes(t), i / each, i % each, h);
		}
		return;
	}
	UNROLL for (int h = 0; h < 2; h++) {
		out->d[h] = load_halves(head, h);
		if (kern_has_minima(t))
			out->dmin[h] = load_halves(head + 16, h);
	}
	if (kern_is_ternary(t))
		return;
	if (t == KERN_IQ4_XS) {
		read_scales_iq4_xs(out, s);
		return;
	}
	if (t == KERN_Q4_K || t == KERN_Q5_K) {
		uint8x16_t sc[2][2], mn[2][2];
		UNROLL for (int h = 0; h < 2; h++) {
			uint8x16_t a = load(s + h * 16), b = load(s + 32 + h * 16), c = load(s + 64 + h * 16);
			sc[0][h] = low_bits(a, 63);
			mn[0][h] = low_bits(b, 63);
			sc[1][h] = insert(low_bits(c, 15), right(a, 2), 0x30);
			mn[1][h] = insert(right(c, 4), right(b, 2), 0x30);
		}
		UNROLL for (int k = 0; k < 2; k++) {
			put_scales(t, out, k, sc[k]);
			put_minima(out, k, mn[k]);
		}
		return;
	}
	UNROLL for (int k = 0; k < 4; k++) { /* sub-blocks 4k..4k+3 */
		uint8x16_t sc[2], mn[2];
		UNROLL for (int h = 0; h < 2; h++) {
			uint8x16_t v = load(s + 32 * (t == KERN_Q3_K ? k % 2 : k) + h * 16);
			if (t == KERN_Q2_K) {
				sc[h] = low_bits(v, 15);
				mn[h] = right(v, 4);
			} else if (t == KERN_Q3_K) {
				uint8x16_t upper = load(s + 64 + h * 16);
				upper = k < 2 ? left(upper, 4 - 2 * k) : right(upper, 2 * k - 4);
				v = insert(k < 2 ? low_bits(v, 15) : right(v, 4), upper, 0x30);
				sc[h] = vsubq_u8(v, vdupq_n_u8(32));
			} else {
				sc[h] = v;
			}
		}
		put_scales(t, out, k, sc);
		if (t == KERN_Q2_K)
			put_minima(out, k, mn);
	}
}

enum {
	PIECE_32 = 32, /* blocks of 32 in a panel */
	PIECE_256 = 4  /* blocks of 256 in a panel */
};

/* The scales of four of eight blocks of 32. */
INLINE float32x4_t load_scale(enum kern_type t, const uint8_t *head, int h) {
	return t == KERN_MXFP4 ? load_exponents(head, h) : load_halves(head, h);
}

/* Of the sums of a row. */
INLINE float32x4_t result(enum kern_type t, float32x4_t a, float32x4_t m) {
	return !kern_has_minima(t) ? a : kern_block_size(t) == 32 ? vaddq_f32(a, m) : vsubq_f32(a, m);
}

/* The sum of a block of 32 is below 2^22: added to the bits of 1.5 * 2^23 it makes a float, of which a subtraction leaves the sum,
 * exactly.  Unlike a conversion, that is one operation, for either of a processor's two pipes. */
INLINE int32x4_t biased_zero(void) {
	return vdupq_n_s32(0x4b400000);
}
INLINE float32x4_t unbiased(int32x4_t i) {
	return vsubq_f32(vreinterpretq_f32_s32(i), vdupq_n_f32(0x1.8p23f));
}

#endif
