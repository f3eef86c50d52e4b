/* columns: decode, and the tiles of the neon and dotprod levels: a vector of sums is four rows of one column. */
#ifndef KERNELS_NEON_COLUMNS_H
#define KERNELS_NEON_COLUMNS_H
#include "kernels/neon/unpack.h"
#include "kernels/product.h"

enum {
	WALK = 4, /* strips that decode walks at once */
	COLS = 4  /* columns per pass over a panel */
};

/* Integer sums of four rows, of up to 32 elements. */
#ifdef NEON_DOTPROD
/* Exact: a dot product adds four products of bytes to 32 bits. */
typedef int32x4_t partial;

INLINE partial partial_zero(void) {
	return vdupq_n_s32(0);
}

/* Adds a quad: 16 elements x against the words w[0..4). */
INLINE partial add_quad(enum kern_type t, partial p, const int8x16_t *w, int8x16_t x) {
	p = vdotq_laneq_s32(p, w[0], x, 0);
	p = vdotq_laneq_s32(p, w[1], x, 1);
	p = vdotq_laneq_s32(p, w[2], x, 2);
	p = vdotq_laneq_s32(p, w[3], x, 3);
	return p;
}

INLINE int32x4_t total(enum kern_type t, partial p) {
	return p;
}

INLINE partial partial_start(void) {
	return biased_zero();
}

INLINE float32x4_t float_of(int32x4_t i) {
	return unbiased(i);
}
#else
/* Products of two rows (lo: the first two) as int16, by position in their four-element lane, are added over
 * words as long as they fit: two words of 128 * 127, else eight of at most 31 * 127 or four of at most 63 *
 * 127.  `wide` takes over when only two words fit. */
typedef struct {
	int16x8_t lo, hi;
	int32x4_t wide_lo, wide_hi;
} partial;

INLINE bool is_wide(enum kern_type t) {
	return t == KERN_Q8_0 || t == KERN_IQ4_NL || t == KERN_IQ4_XS || kern_has_grid(t);
}

INLINE partial partial_zero(void) {
	return (partial){vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s32(0), vdupq_n_s32(0)};
}

INLINE void add_word(int16x8_t *lo, int16x8_t *hi, int8x16_t w, int8x16_t x) {
	*lo = vmlal_s8(*lo, vget_low_s8(w), vget_low_s8(x));
	*hi = vmlal_high_s8(*hi, w, x);
}

INLINE partial add_quad(enum kern_type t, partial p, const int8x16_t *w, int8x16_t x) {
	const int32x4_t word = vreinterpretq_s32_s8(x);
	const int8x16_t x0 = vreinterpretq_s8_s32(vdupq_laneq_s32(word, 0)),
	                x1 = vreinterpretq_s8_s32(vdupq_laneq_s32(word, 1)),
	                x2 = vreinterpretq_s8_s32(vdupq_laneq_s32(word, 2)),
	                x3 = vreinterpretq_s8_s32(vdupq_laneq_s32(word, 3));
	if (is_wide(t)) {
		int16x8_t lo = vmull_s8(vget_low_s8(w[0]), vget_low_s8(x0)), hi = vmull_high_s8(w[0], x0);
		add_word(&lo, &hi, w[1], x1);
		p.wide_lo = vpadalq_s16(p.wide_lo, lo);
		p.wide_hi = vpadalq_s16(p.wide_hi, hi);
		lo = vmull_s8(vget_low_s8(w[2]), vget_low_s8(x2));
		hi = vmull_high_s8(w[2], x2);
		add_word(&lo, &hi, w[3], x3);
		p.wide_lo = vpadalq_s16(p.wide_lo, lo);
		p.wide_hi = vpadalq_s16(p.wide_hi, hi);
		return p;
	}
	add_word(&p.lo, &p.hi, w[0], x0);
	add_word(&p.lo, &p.hi, w[1], x1);
	add_word(&p.lo, &p.hi, w[2], x2);
	add_word(&p.lo, &p.hi, w[3], x3);
	return p;
}

INLINE int32x4_t total(enum kern_type t, partial p) {
	if (is_wide(t))
		return vpaddq_s32(p.wide_lo, p.wide_hi);
	if (t == KERN_Q5_1 || t == KERN_Q5_K) /* twice 8 * 31 * 127 does not fit 16 bits */
		return vpaddq_s32(vpaddlq_s16(p.lo), vpaddlq_s16(p.hi));
	return vpaddlq_s16(vpaddq_s16(p.lo, p.hi));
}

INLINE partial partial_start(void) {
	return partial_zero();
}

INLINE float32x4_t float_of(int32x4_t i) {
	return vcvtq_f32_s32(i);
}
#endif

INLINE float float_at(const uint8_t *p, size_t i) {
	float f;
	memcpy(&f, p + 4 * i, sizeof f);
	return f;
}

INLINE int8x16_t load_quad(const uint8_t *q) {
	return vreinterpretq_s8_u8(load(q));
}

/* Accumulators of one strip and one column. */
struct sum {
	float32x4_t a[2], m[2];
};

INLINE void clear(struct sum *s) {
	s->a[0] = s->a[1] = s->m[0] = s->m[1] = vdupq_n_f32(0);
}

INLINE void store_sum(enum kern_type t, float *y, const struct sum *s, size_t rows) {
	float32x4_t v[2];
	UNROLL for (int h = 0; h < 2; h++) v[h] = result(t, s->a[h], s->m[h]);
	store_rows(y, v, rows);
}

/* Adds the integer sum of a block: a = fma(d * dx, i, a). */
INLINE float32x4_t add_block(float32x4_t a, float32x4_t d, float dx, float32x4_t i) {
	return vfmaq_f32(a, vmulq_n_f32(d, dx), i);
}

/* Decode, block b of 32. */
INLINE void decode_32(
        enum kern_type t, struct sum *s, const uint8_t *strip, const struct column *x, size_t b) {
	const uint8_t *head = strip + b * block_bytes(t), *body = head + 8 * kern_head_bytes(t);
	float dx = float_at(x->d, b);
	UNROLL for (int h = 0; h < 2; h++) {
		partial p = partial_start();
		UNROLL for (int g = 0; g < 2; g++) {
			int8x16_t w[4];
			UNROLL for (int i = 0; i < 4; i++) w[i] = word_32(t, body, g * 4 + i, h);
			p = add_quad(t, p, w, load_quad(x->q + b * 32 + g * 16));
		}
		int32x4_t i = total(t, p);
		if (offset(t)) /* the repair is -8 times the sum of the quants, in two halves */
			i = vpadalq_s16(i, vreinterpretq_s16_s32(spread(x->repair, b)));
		s->a[h] = add_block(s->a[h], load_scale(t, head, h), dx, float_of(i));
		if (kern_has_minima(t))
			s->m[h] = vfmaq_n_f32(
			        s->m[h], vmulq_n_f32(load_halves(head + 16, h), dx), float_at(x->sum, b));
	}
}

/* The minima of a block of 256 times the sums of its sub-blocks. */
INLINE void add_minima(
        enum kern_type t, int32x4_t j[2], const struct scales *scales, const struct column *x, size_t b) {
	const uint8_t *from = x->sum + b * (size_t)kern_sub_blocks(t) * 2;
	j[0] = j[1] = vdupq_n_s32(0);
#ifdef NEON_DOTPROD /* of 128ths of the sums, then of what remains of them: lanes 2, 3 and 0, 1 of a vector */
	int8x16_t sum[2];
	UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) {
		sum[k] = split_sums(from + 16 * k);
		UNROLL for (int h = 0; h < 2; h++) {
			j[h] = vdotq_laneq_s32(j[h], scales->mn[2 * k][h], sum[k], 2);
			j[h] = vdotq_laneq_s32(j[h], scales->mn[2 * k + 1][h], sum[k], 3);
		}
	}
	j[0] = vshlq_n_s32(j[0], 7);
	j[1] = vshlq_n_s32(j[1], 7);
	UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) {
		UNROLL for (int h = 0; h < 2; h++) {
			j[h] = vdotq_laneq_s32(j[h], scales->mn[2 * k][h], sum[k], 0);
			j[h] = vdotq_laneq_s32(j[h], scales->mn[2 * k + 1][h], sum[k], 1);
		}
	}
#else
	UNROLL for (int k = 0; k < kern_sub_blocks(t) / 8; k++) {
		int16x8_t sum = vreinterpretq_s16_u8(load(from + 16 * k));
		const int16x8_t *mn = scales->mn + 8 * k;
#define MINIMUM(n) \
	j[0] = vmlal_laneq_s16(j[0], vget_low_s16(mn[n]), sum, n); \
	j[1] = vmlal_high_laneq_s16(j[1], mn[n], sum, n)
		MINIMUM(0);
		MINIMUM(1);
		MINIMUM(2);
		MINIMUM(3);
		MINIMUM(4);
		MINIMUM(5);
		MINIMUM(6);
		MINIMUM(7);
#undef MINIMUM
	}
#endif
}

/* Adds a block of 256 with the integer sums i. */
INLINE void finish_256(enum kern_type t, struct sum *s, const int32x4_t *i, const struct scales *scales,
        const struct column *x, size_t b) {
	float dx = float_at(x->d, b);
	UNROLL for (int h = 0; h < 2; h++) s->a[h] =
	        add_block(s->a[h], scales->d[h], dx, vcvtq_f32_s32(i[h]));
	if (!kern_has_minima(t))
		return;
	int32x4_t j[2];
	add_minima(t, j, scales, x, b);
	UNROLL for (int h = 0; h < 2; h++) s->m[h] =
	        add_block(s->m[h], scales->dmin[h], dx, vcvtq_f32_s32(j[h]));
}

/* i + v times the scale of group k of a block of 256. */
INLINE int32x4_t add_group(
        enum kern_type t, int32x4_t i, int32x4_t v, const struct scales *scales, int k, int h) {
	return kern_is_ternary(t) ? vaddq_s32(i, v) : vmlaq_s32(i, v, scales->sc[k][h]);
}

/* Decode, TQ1_0: unit by unit, all of a block in one partial. */
INLINE void decode_tq1_0(struct sum *s, const uint8_t *strip, const struct column *x, size_t b) {
	const enum kern_type t = KERN_TQ1_0;
	const uint8_t *head = strip + b * block_bytes(t), *body = head + 8 * kern_head_bytes(t),
	              *q = x->q + b * 256;
	struct scales scales;
	int32x4_t i[2];
	read_scales(t, &scales, head);
	UNROLL for (int h = 0; h < 2; h++) {
		int8x16_t w[4];
		uint8x16_t v[4];
		partial p = partial_zero();
		UNROLL for (int u = 0; u < 12; u += 4) {
			UNROLL for (int k = 0; k < 4; k++) v[k] = load(body + (u + k) * 32 + h * 16);
			UNROLL for (int n = 0; n < 5; n++) {
				UNROLL for (int k = 0; k < 4; k++) w[k] = ternary_word(&v[k]);
				p = add_quad(t, p, w, load_quad(q + 4 * kern_tq1_0_word(u, n)));
			}
		}
		v[0] = load(body + 12 * 32 + h * 16);
		UNROLL for (int n = 0; n < 4; n++) w[n] = ternary_word(&v[0]);
		i[h] = total(t, add_quad(t, p, w, load_quad(q + 4 * kern_tq1_0_word(12, 0))));
	}
	finish_256(t, s, i, &scales, x, b);
}

/* Decode, types with codebooks: a sub-block of 32 at a time, in a loop, since look-ups are long. */
INLINE void decode_grid(
        enum kern_type t, struct sum *s, const uint8_t *strip, const struct column *x, size_t b) {
	const uint8_t *head = strip + b * block_bytes(t), *body = head + 8 * kern_head_bytes(t),
	              *q = x->q + b * 256;
	int each = kern_sub_blocks(t) / 8; /* scales of 32 elements */
	struct scales scales;
	int32x4_t i[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
	read_scales(t, &scales, head);
	for (int k = 0; k < 8; k++)
		for (int h = 0; h < 2; h++) {
			UNROLL for (int g = 0; g < 2; g++) {
				int8x16_t w[4];
				grid_quad(w, t, body, k, g, h);
				partial p = add_quad(t, partial_zero(), w, load_quad(q + k * 32 + g * 16));
				i[h] = vmlaq_s32(i[h], total(t, p), scales.sc[k * each + g * each / 2][h]);
			}
		}
	finish_256(t, s, i, &scales, x, b);
}

/* Decode, block b of 256.  A step is a quarter of the quants' bytes: the sub-blocks whose bits are in the
 * same bytes are computed together, so that these are loaded once. */
INLINE void decode_256(
        enum kern_type t, struct sum *s, const uint8_t *strip, const struct column *x, size_t b) {
	const uint8_t *head = strip + b * block_bytes(t), *body = head + 8 * kern_head_bytes(t),
	              *q = x->q + b * 256;
	int planes = quads(t) == 2 ? 2 : 4;
	struct scales scales;
	int32x4_t i[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
	read_scales(t, &scales, head);
	UNROLL for (int step = 0; step < 4; step++) {
		UNROLL for (int h = 0; h < 2; h++) {
			partial p[4] = {partial_zero(), partial_zero(), partial_zero(), partial_zero()};
			int first = quads(t) == 2 ? 2 * step : step / 2 * 8 + step % 2; /* sub-block */
			int apart = quads(t) == 2 ? 1 : 2;
			HIDE(body);
			HIDE(q);
			UNROLL for (int g = 0; g < quads(t); g++) {
				UNROLL for (int j = 0; j < planes; j++) {
					int quad = (first + j * apart) * quads(t) + g;
					int8x16_t w[4];
					UNROLL for (int k = 0; k < 4; k++) w[k] =
					        word_256(t, body, quad * 4 + k, h);
					p[j] = add_quad(t, p[j], w, load_quad(q + quad * 16));
				}
			}
			UNROLL for (int j = 0; j < planes; j++) i[h] =
			        add_group(t, i[h], total(t, p[j]), &scales, first + j * apart, h);
		}
	}
	finish_256(t, s, i, &scales, x, b);
}

/* One column over `strips` strips. */
INLINE void decode_strips(enum kern_type t, float *y, const void *w, size_t index, size_t strips, size_t rows,
        size_t n, const void *x) {
	struct column c = column(t, x, n);
	const uint8_t *at[WALK];
	struct sum s[WALK];
	for (size_t k = 0; k < strips; k++) {
		at[k] = strip_at(t, w, index + k, n);
		clear(&s[k]);
	}
	for (size_t b = 0; b < n / kern_block_size(t); b++) {
		if (kern_block_size(t) == 32) {
			UNROLL for (size_t k = 0; k < strips; k++) decode_32(t, &s[k], at[k], &c, b);
		} else {
			for (size_t k = 0; k < strips; k++)
				if (kern_has_grid(t))
					decode_grid(t, &s[k], at[k], &c, b);
				else if (t == KERN_TQ1_0)
					decode_tq1_0(&s[k], at[k], &c, b);
				else
					decode_256(t, &s[k], at[k], &c, b);
		}
	}
	for (size_t k = 0; k < strips; k++)
		store_sum(t, y + (index + k) * 8, &s[k], rows - (index + k) * 8);
}

INLINE void decode(enum kern_type t, float *y, const void *w, size_t rows, size_t n, const void *x) {
	size_t strips = (rows + 7) / 8, k = 0;
	if (kern_block_size(t) == 256) { /* here the loop over strips need not be unrolled */
		for (; k < strips; k += WALK)
			decode_strips(t, y, w, k, strips - k < WALK ? strips - k : WALK, rows, n, x);
		return;
	}
	for (; k + WALK <= strips; k += WALK)
		decode_strips(t, y, w, k, WALK, rows, n, x);
	for (; k < strips; k++)
		decode_strips(t, y, w, k, 1, rows, n, x);
}

/* A block of a strip, unpacked: [quad][half of the strip][word]. */
struct panel_32 {
	int8x16_t w[2][2][4];
	float32x4_t d[2], m[2];
};

struct panel_256 {
	int8x16_t w[16][2][4];
	struct scales s;
};

INLINE void unpack_32(enum kern_type t, struct panel_32 *p, const uint8_t *head) {
	const uint8_t *body = head + 8 * kern_head_bytes(t);
	UNROLL for (int w = 0; w < 8; w++) {
		UNROLL for (int h = 0; h < 2; h++) p->w[w / 4][h][w % 4] =
		        vsubq_s8(word_32(t, body, w, h), vdupq_n_s8((int8_t)offset(t)));
	}
	UNROLL for (int h = 0; h < 2; h++) {
		p->d[h] = load_scale(t, head, h);
		if (kern_has_minima(t))
			p->m[h] = load_halves(head + 16, h);
	}
}

INLINE void unpack_tq1_0(struct panel_256 *p, const uint8_t *body) {
	for (int u = 0; u < 13; u++)
		for (int h = 0; h < 2; h++) {
			uint8x16_t v = load(body + u * 32 + h * 16);
			for (int n = 0; n < kern_tq1_0_digits(u); n++) {
				int word = kern_tq1_0_word(u, n);
				p->w[word / 4][h][word % 4] = ternary_word(&v);
			}
		}
}

INLINE void unpack_256(enum kern_type t, struct panel_256 *p, const uint8_t *head) {
	const uint8_t *body = head + 8 * kern_head_bytes(t);
	read_scales(t, &p->s, head);
	if (kern_has_grid(t)) {
		for (int k = 0; k < 8; k++)
			for (int h = 0; h < 2; h++) {
				grid_quad(p->w[2 * k][h], t, body, k, 0, h);
				grid_quad(p->w[2 * k + 1][h], t, body, k, 1, h);
			}
		return;
	}
	if (t == KERN_TQ1_0) {
		unpack_tq1_0(p, body);
		return;
	}
	UNROLL for (int i = 0; i < 4; i++) {
		UNROLL for (int k = 0; k < 16; k++) {
			UNROLL for (int h = 0; h < 2; h++) p->w[i * 4 + k / 4][h][k % 4] =
			        word_256(t, body, i * 16 + k, h);
		}
	}
}

/* A tile: one block of a strip times `cols` columns. */
INLINE void tile_32(enum kern_type t, size_t cols, struct sum s[COLS], const struct panel_32 *p,
        const struct column *x, size_t b) {
	partial v[COLS][2];
	UNROLL for (size_t c = 0; c < cols; c++) v[c][0] = v[c][1] = partial_start();
	UNROLL for (int g = 0; g < 2; g++) {
		int8x16_t q[COLS];
		UNROLL for (size_t c = 0; c < cols; c++) q[c] = load_quad(x[c].q + b * 32 + g * 16);
		UNROLL for (int h = 0; h < 2; h++) {
			UNROLL for (size_t c = 0; c < cols; c++) v[c][h] =
			        add_quad(t, v[c][h], p->w[g][h], q[c]);
		}
	}
	UNROLL for (size_t c = 0; c < cols; c++) {
		float dx = float_at(x[c].d, b), sum = kern_has_minima(t) ? float_at(x[c].sum, b) : 0;
		UNROLL for (int h = 0; h < 2; h++) {
			s[c].a[h] = add_block(s[c].a[h], p->d[h], dx, float_of(total(t, v[c][h])));
			if (kern_has_minima(t))
				s[c].m[h] = vfmaq_n_f32(s[c].m[h], vmulq_n_f32(p->m[h], dx), sum);
		}
	}
}

INLINE void tile_256(enum kern_type t, size_t cols, struct sum s[COLS], const struct panel_256 *p,
        const struct column *x, size_t b) {
	int32x4_t i[COLS][2];
	UNROLL for (size_t c = 0; c < cols; c++) i[c][0] = i[c][1] = vdupq_n_s32(0);
	for (int k = 0; k < 16 / quads(t); k++) {
		partial v[COLS][2];
		UNROLL for (size_t c = 0; c < cols; c++) v[c][0] = v[c][1] = partial_zero();
		UNROLL for (int g = k * quads(t); g < (k + 1) * quads(t); g++) {
			int8x16_t q[COLS];
			UNROLL for (size_t c = 0; c < cols; c++) q[c] =
			        load_quad(x[c].q + b * 256 + (size_t)g * 16);
			UNROLL for (int h = 0; h < 2; h++) {
				UNROLL for (size_t c = 0; c < cols; c++) v[c][h] =
				        add_quad(t, v[c][h], p->w[g][h], q[c]);
			}
		}
		UNROLL for (int h = 0; h < 2; h++) {
			UNROLL for (size_t c = 0; c < cols; c++) i[c][h] =
			        add_group(t, i[c][h], total(t, v[c][h]), &p->s, k, h);
		}
	}
	UNROLL for (size_t c = 0; c < cols; c++) finish_256(t, &s[c], i[c], &p->s, &x[c], b);
}

union panel {
	struct panel_32 a[PIECE_32];
	struct panel_256 b[PIECE_256];
};

/* A piece of the width, blocks [first, last), for `cols` columns of the tile. */
INLINE void run_columns(enum kern_type t, size_t cols, struct sum *sums, const union panel *panel,
        const struct column *x, size_t first, size_t last) {
	struct sum s[COLS];
	for (size_t c = 0; c < cols; c++)
		s[c] = sums[c];
	for (size_t b = first; b < last; b++)
		if (kern_block_size(t) == 32)
			tile_32(t, cols, s, &panel->a[b - first], x, b);
		else
			tile_256(t, cols, s, &panel->b[b - first], x, b);
	for (size_t c = 0; c < cols; c++)
		sums[c] = s[c];
}

/* All columns of the tile over a piece. */
INLINE void run_piece(enum kern_type t, struct sum *sums, const union panel *panel, const struct column *x,
        size_t cols, size_t first, size_t last) {
	size_t c = 0;
	for (; c + COLS <= cols; c += COLS)
		run_columns(t, COLS, sums + c, panel, x + c, first, last);
	switch (cols - c) {
	case 3:
		run_columns(t, 3, sums + c, panel, x + c, first, last);
		break;
	case 2:
		run_columns(t, 2, sums + c, panel, x + c, first, last);
		break;
	case 1:
		run_columns(t, 1, sums + c, panel, x + c, first, last);
	}
}

/* The sums of a tile: cleared, and stored as the results of a strip. */
INLINE void clear_sums(struct sum *sums, size_t cols) {
	for (size_t c = 0; c < cols; c++)
		clear(&sums[c]);
}

INLINE void store_sums(
        enum kern_type t, float *y, size_t ldy, const struct sum *sums, size_t rows, size_t cols) {
	for (size_t c = 0; c < cols; c++)
		store_sum(t, y + c * ldy, &sums[c], rows);
}

#endif
