/* pairs: tiles of the i8mm level, whose multiply-add (SMMLA) takes eight elements of two rows and of two columns.
 *
 * A vector of sums has lanes (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1).  A panel has the elements
 * and scales of rows by pairs, made of words by zips; columns are paired when they are loaded.  The last of an odd number of
 * columns is a pair with itself. */
#ifndef KERNELS_NEON_PAIRS_H
#define KERNELS_NEON_PAIRS_H
#include "kernels/neon/unpack.h"
#include "kernels/product.h"

enum { PAIRS = 2 }; /* of columns per pass over a panel */

/* Accumulators of a strip and a pair of columns, by pairs of rows. */
struct sum {
	float32x4_t a[4], m[4];
};

struct panel_32 {
	int8x16_t w[4][4]; /* [eight elements][pair of rows] */
	float32x4_t d[4], m[4];
};

struct panel_256 {
	int8x16_t w[32][4];
	int32x4_t sc[16][4];
	int8x16_t mn[2][4]; /* of eight sub-blocks */
	float32x4_t d[4], dmin[4];
};

INLINE void clear(struct sum *s) {
	UNROLL for (int r = 0; r < 4; r++) s->a[r] = s->m[r] = vdupq_n_f32(0);
}

/* Rows 2r and 2r + 1 of a value for each row, twice each. */
INLINE float32x4_t twice(const float32x4_t *v, int r) {
	return r % 2 ? vzip2q_f32(v[r / 2], v[r / 2]) : vzip1q_f32(v[r / 2], v[r / 2]);
}

INLINE int32x4_t twice_integers(const int32x4_t *v, int r) {
	return r % 2 ? vzip2q_s32(v[r / 2], v[r / 2]) : vzip1q_s32(v[r / 2], v[r / 2]);
}

/* Two neighbouring words of half h as pairs of rows 2h and 2h + 1. */
INLINE void pair_words(int8x16_t *to, int h, int8x16_t first, int8x16_t second) {
	int32x4_t a = vreinterpretq_s32_s8(first), b = vreinterpretq_s32_s8(second);
	to[2 * h] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
	to[2 * h + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
}

/* A value of each column of a pair, for both rows. */
INLINE float32x4_t pair_floats(const uint8_t *a, const uint8_t *b, size_t i) {
	float32x2_t v = vld1_dup_f32((const float *)(const void *)a + i);
	v = vld1_lane_f32((const float *)(const void *)b + i, v, 1);
	return vcombine_f32(v, v);
}

/* Eight elements of each column of a pair. */
INLINE int8x16_t pair_quants(const struct column *x, size_t at) {
	return vcombine_s8(vld1_s8((const int8_t *)x[0].q + at), vld1_s8((const int8_t *)x[1].q + at));
}

INLINE void unpack_32(enum kern_type t, struct panel_32 *p, const uint8_t *head) {
	const uint8_t *body = head + 8 * kern_head_bytes(t);
	float32x4_t d[2], m[2];
	UNROLL for (int h = 0; h < 2; h++) {
		int8x16_t w[8];
		UNROLL for (int i = 0; i < 8; i++) w[i] =
		        vsubq_s8(word_32(t, body, i, h), vdupq_n_s8((int8_t)offset(t)));
		UNROLL for (int k = 0; k < 4; k++) pair_words(p->w[k], h, w[2 * k], w[2 * k + 1]);
		d[h] = load_scale(t, head, h);
		if (kern_has_minima(t))
			m[h] = load_halves(head + 16, h);
	}
	UNROLL for (int r = 0; r < 4; r++) {
		p->d[r] = twice(d, r);
		if (kern_has_minima(t))
			p->m[r] = twice(m, r);
	}
}

/* The words of a block of 256, in any order. */
struct words {
	int8x16_t w[64][2];
};

INLINE void words_256(enum kern_type t, struct words *to, const uint8_t *body) {
	int8x16_t quad[4];
	if (kern_has_grid(t)) {
		for (int q = 0; q < 16; q++)
			for (int h = 0; h < 2; h++) {
				grid_quad(quad, t, body, q / 2, q % 2, h);
				for (int i = 0; i < 4; i++)
					to->w[q * 4 + i][h] = quad[i];
			}
		return;
	}
	if (t == KERN_TQ1_0) {
		for (int u = 0; u < 13; u++)
			for (int h = 0; h < 2; h++) {
				uint8x16_t v = load(body + u * 32 + h * 16);
				for (int n = 0; n < kern_tq1_0_digits(u); n++)
					to->w[kern_tq1_0_word(u, n)][h] = ternary_word(&v);
			}
		return;
	}
	UNROLL for (int i = 0; i < 4; i++) {
		UNROLL for (int k = 0; k < 16; k++) {
			UNROLL for (int h = 0; h < 2; h++) to->w[i * 16 + k][h] =
			        word_256(t, body, i * 16 + k, h);
		}
	}
}

INLINE void unpack_256(enum kern_type t, struct panel_256 *p, const uint8_t *head) {
	struct scales s;
	struct words words;
	read_scales(t, &s, head);
	words_256(t, &words, head + 8 * kern_head_bytes(t));
	for (int k = 0; k < 32; k++)
		for (int h = 0; h < 2; h++)
			pair_words(p->w[k], h, words.w[2 * k][h], words.w[2 * k + 1][h]);
	for (int r = 0; r < 4; r++) {
		p->d[r] = twice(s.d, r);
		if (kern_has_minima(t))
			p->dmin[r] = twice(s.dmin, r);
	}
	for (int k = 0; k < kern_sub_blocks(t) && !kern_is_ternary(t); k++)
		for (int r = 0; r < 4; r++)
			p->sc[k][r] = twice_integers(s.sc[k], r);
	for (int k = 0; k < kern_sub_blocks(t) / 8 && kern_has_minima(t); k++)
		for (int h = 0; h < 2; h++)
			pair_words(p->mn[k], h, s.mn[2 * k][h], s.mn[2 * k + 1][h]);
}

/* a = fma(d * dx, i, a) */
INLINE float32x4_t add_pair(float32x4_t a, float32x4_t d, float32x4_t dx, float32x4_t i) {
	return vfmaq_f32(a, vmulq_f32(d, dx), i);
}

/* One block of a strip times `pairs` pairs of columns. */
INLINE void tile_32(enum kern_type t, size_t pairs, struct sum s[PAIRS], const struct panel_32 *p,
        const struct column *x, size_t b) {
	int32x4_t v[PAIRS][4];
	UNROLL for (size_t c = 0; c < pairs; c++) {
		UNROLL for (int r = 0; r < 4; r++) v[c][r] = biased_zero();
	}
	UNROLL for (size_t k = 0; k < 4; k++) {
		UNROLL for (size_t c = 0; c < pairs; c++) {
			int8x16_t q = pair_quants(x + 2 * c, b * 32 + k * 8);
			UNROLL for (int r = 0; r < 4; r++) v[c][r] = vmmlaq_s32(v[c][r], p->w[k][r], q);
		}
	}
	UNROLL for (size_t c = 0; c < pairs; c++) {
		const struct column *y = x + 2 * c;
		float32x4_t dx = pair_floats(y[0].d, y[1].d, b), sum = vdupq_n_f32(0);
		if (kern_has_minima(t))
			sum = pair_floats(y[0].sum, y[1].sum, b);
		UNROLL for (int r = 0; r < 4; r++) {
			s[c].a[r] = add_pair(s[c].a[r], p->d[r], dx, unbiased(v[c][r]));
			if (kern_has_minima(t))
				s[c].m[r] = add_pair(s[c].m[r], p->m[r], dx, sum);
		}
	}
}

/* Adds a block of 256 with the integer sums i. */
INLINE void finish_256(enum kern_type t, struct sum *s, const int32x4_t *i, const struct panel_256 *p,
        const struct column *x, size_t b) {
	enum { MAX = 2 };
	float32x4_t dx = pair_floats(x[0].d, x[1].d, b);
	UNROLL for (int r = 0; r < 4; r++) s->a[r] = add_pair(s->a[r], p->d[r], dx, vcvtq_f32_s32(i[r]));
	if (!kern_has_minima(t))
		return;
	int64x2_t low[MAX], high[MAX];
	UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) {
		size_t at = (b * (size_t)kern_sub_blocks(t) + 8 * (size_t)k) * 2;
		int64x2_t v = vreinterpretq_s64_s8(split_sums(x[0].sum + at)),
		          w = vreinterpretq_s64_s8(split_sums(x[1].sum + at));
		low[k] = vzip1q_s64(v, w);
		high[k] = vzip2q_s64(v, w);
	}
	UNROLL for (int r = 0; r < 4; r++) {
		int32x4_t j = vdupq_n_s32(0);
		UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) j =
		        vmmlaq_s32(j, p->mn[k][r], vreinterpretq_s8_s64(high[k]));
		j = vshlq_n_s32(j, 7);
		UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) j =
		        vmmlaq_s32(j, p->mn[k][r], vreinterpretq_s8_s64(low[k]));
		s->m[r] = add_pair(s->m[r], p->dmin[r], dx, vcvtq_f32_s32(j));
	}
}

INLINE void tile_256(enum kern_type t, size_t pairs, struct sum s[PAIRS], const struct panel_256 *p,
        const struct column *x, size_t b) {
	int32x4_t i[PAIRS][4];
	int each = kern_is_ternary(t) ? 32 : 32 / kern_sub_blocks(t); /* eights in a group */
	UNROLL for (size_t c = 0; c < pairs; c++) {
		UNROLL for (int r = 0; r < 4; r++) i[c][r] = vdupq_n_s32(0);
	}
	for (int k = 0; k < 32 / each; k++) {
		int32x4_t v[PAIRS][4];
		UNROLL for (size_t c = 0; c < pairs; c++) {
			UNROLL for (int r = 0; r < 4; r++) v[c][r] = vdupq_n_s32(0);
		}
		UNROLL for (int g = k * each; g < (k + 1) * each; g++) {
			UNROLL for (size_t c = 0; c < pairs; c++) {
				int8x16_t q = pair_quants(x + 2 * c, b * 256 + (size_t)g * 8);
				UNROLL for (int r = 0; r < 4; r++) v[c][r] =
				        vmmlaq_s32(v[c][r], p->w[g][r], q);
			}
		}
		UNROLL for (size_t c = 0; c < pairs; c++) {
			UNROLL for (int r = 0; r < 4; r++) i[c][r] =
			        kern_is_ternary(t) ? vaddq_s32(i[c][r], v[c][r])
			                           : vmlaq_s32(i[c][r], v[c][r], p->sc[k][r]);
		}
	}
	UNROLL for (size_t c = 0; c < pairs; c++) finish_256(t, &s[c], i[c], p, x + 2 * c, b);
}

union panel {
	struct panel_32 a[PIECE_32];
	struct panel_256 b[PIECE_256];
};

/* A piece of the width, blocks [first, last), for `pairs` pairs of columns of the tile. */
INLINE void run_columns(enum kern_type t, size_t pairs, struct sum *sums, const union panel *panel,
        const struct column *x, size_t first, size_t last) {
	struct sum s[PAIRS];
	for (size_t c = 0; c < pairs; c++)
		s[c] = sums[c];
	for (size_t b = first; b < last; b++)
		if (kern_block_size(t) == 32)
			tile_32(t, pairs, s, &panel->a[b - first], x, b);
		else
			tile_256(t, pairs, s, &panel->b[b - first], x, b);
	for (size_t c = 0; c < pairs; c++)
		sums[c] = s[c];
}

/* All columns of the tile over a piece. */
INLINE void run_piece(enum kern_type t, struct sum *sums, const union panel *panel, const struct column *x,
        size_t cols, size_t first, size_t last) {
	size_t c = 0, pairs = (cols + 1) / 2;
	for (; c + PAIRS <= pairs; c += PAIRS)
		run_columns(t, PAIRS, sums + c, panel, x + 2 * c, first, last);
	if (c < pairs)
		run_columns(t, 1, sums + c, panel, x + 2 * c, first, last);
}

/* Clears the sums of a tile; columns after the last may be read. */
INLINE void clear_sums(struct sum *sums, size_t cols) {
	for (size_t c = 0; c < (cols + 1) / 2; c++)
		clear(&sums[c]);
}

/* Stores the results of a strip: of each pair, the columns one after the other. */
INLINE void store_sums(
        enum kern_type t, float *y, size_t ldy, const struct sum *sums, size_t rows, size_t cols) {
	for (size_t c = 0; c < cols; c++) {
		float32x4_t v[4], to[2];
		UNROLL for (int r = 0; r < 4; r++) v[r] = result(t, sums[c / 2].a[r], sums[c / 2].m[r]);
		UNROLL for (int h = 0; h < 2; h++) to[h] =
		        c % 2 ? vuzp2q_f32(v[2 * h], v[2 * h + 1]) : vuzp1q_f32(v[2 * h], v[2 * h + 1]);
		store_rows(y + c * ldy, to, rows);
	}
}

#endif
