/* quants_tmpl: products of the quantised types; instantiated by quants_32.c and quants_256.c, once for each level.
 *
 * Work is done in walks of four strips, which are two pairs.  Few columns (decode has one) use the weights as they are in memory.
 * More columns share a panel: a piece of the width of a walk, unpacked once, that stays in the second-level cache beside the
 * columns of a tile, and is multiplied by a core that it shares with the types of the same arithmetic; the float accumulators wait in
 * `sums` between pieces.  The additions of a row always keep the order of
 * doc/numerics.md. */
#ifndef KERNELS_AVX512_QUANTS_TMPL_H
#define KERNELS_AVX512_QUANTS_TMPL_H
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/unpack.h"
#include "kernels/product.h"

enum {
	PAIRS = 2,    /* in a walk */
	COLS = 4,     /* columns per pass over packed weights */
	TILE = 128,   /* columns that share a panel */
	PIECE = 2048, /* elements of the width in a panel */
	PIECE_32 = PIECE / 32,
	PIECE_256 = PIECE / 256,
	GROUPS = PIECE / 16, /* of a piece: the most groups with their own start */
	AHEAD = 3072         /* prefetch distance in bytes, in each strip */
};

/* The integer arithmetic of the two levels.  A word is four bytes u of weights, unsigned, in every lane,
 * times the four bytes q of an activation word.  `group` words are summed before they are folded. */
#ifdef AVX512_VNNI
enum {
	WORDS_32 = 8,
	PASS_32 = 8, /* columns per pass over a panel: so many sums that none waits for its last step */
	PASS_256 = 6
};

/* A step adds four products to 32 bits, which always fits. */
INLINE int words_32(enum kern_type t) {
	return 8;
}
INLINE int group_32(enum kern_type t) {
	return 8;
}
INLINE int group_256(enum kern_type t) {
	return kern_is_ternary(t) ? 8 : is_narrow(t) ? 4 : 64 / kern_sub_blocks(t);
}

INLINE __m512i source_32(enum kern_type t, const uint8_t *const *body, int w) {
	return word_32(t, body, w);
}

INLINE __m512i add_word(enum kern_type t, __m512i v, __m512i u, __m512i q) {
	return _mm512_dpbusd_epi32(v, u, q);
}

INLINE __m512i add_pairs(__m512i v, __m512i a, __m512i b) {
	return _mm512_dpwssd_epi32(v, a, b);
}

/* A group of a block of 32 continues from the sum of the groups before. */
INLINE __m512i begin_32(__m512i total) {
	return total;
}

INLINE __m512i fold_32(enum kern_type t, __m512i total, __m512i v, int g) {
	return v;
}

INLINE __m512i start_256(enum kern_type t, __m512i repair) {
	repair = _mm512_madd_epi16(repair, _mm512_set1_epi16(is_signed(t) ? 4 : 1));
	return t == KERN_Q3_K ? _mm512_srai_epi32(repair, 3) : repair;
}

INLINE __m512i fold_256(enum kern_type t, __m512i total, __m512i v, __m512i sc) {
	if (is_narrow(t))
		return add_pairs(total, v, sc);
	return _mm512_add_epi32(total, kern_is_ternary(t) ? v : _mm512_mullo_epi32(v, sc));
}
#else
/* Products of bytes are added in pairs to 16 bits, and groups of words in 16 bits as long as they fit: 16
 * times 15 * 127, or 8 times 31 * 127.  Q6_K (8 times 63 * 127) starts from the correction of its offset,
 * with which the true sum fits.  Bytes of the signed types with 128 added do not fit in pairs: they are split
 * into nibbles, in blocks of 32 as separate words. */
enum { WORDS_32 = 16, PASS_32 = 4, PASS_256 = 4 };

INLINE int words_32(enum kern_type t) {
	return is_signed(t) ? 16 : 8;
}
INLINE int group_32(enum kern_type t) {
	return t == KERN_Q5_0 || t == KERN_Q5_1 || t == KERN_MXFP4 ? 4 : 8;
}
INLINE int group_256(enum kern_type t) {
	return t == KERN_Q4_K || kern_is_ternary(t) || (is_signed(t) && kern_sub_blocks(t) == 8) ? 8 : 4;
}

INLINE __m512i source_32(enum kern_type t, const uint8_t *const *body, int w) {
	__m512i v = word_32(t, body, w % 8);
	if (!is_signed(t))
		return v;
	return w < 8 ? low_nibbles(v) : high_nibbles(v);
}

INLINE __m512i add_pairs(__m512i v, __m512i a, __m512i b) {
	return _mm512_add_epi32(v, _mm512_madd_epi16(a, b));
}

INLINE __m512i add_word(enum kern_type t, __m512i v, __m512i u, __m512i q) {
	if (!is_signed(t) || kern_block_size(t) == 32)
		return _mm512_add_epi16(v, _mm512_maddubs_epi16(u, q));
	v = add_pairs(v, _mm512_maddubs_epi16(low_nibbles(u), q), _mm512_set1_epi16(1));
	return add_pairs(v, _mm512_maddubs_epi16(high_nibbles(u), q), _mm512_set1_epi16(16));
}

INLINE __m512i begin_32(__m512i total) {
	return _mm512_setzero_si512();
}

INLINE __m512i fold_32(enum kern_type t, __m512i total, __m512i v, int g) {
	return add_pairs(total, v, _mm512_set1_epi16(is_signed(t) && g ? 16 : 1));
}

INLINE __m512i start_256(enum kern_type t, __m512i repair) {
	if (is_signed(t))
		return _mm512_madd_epi16(repair, _mm512_set1_epi16(4));
	return t == KERN_Q3_K ? _mm512_srai_epi16(repair, 3) : repair;
}

INLINE __m512i fold_256(enum kern_type t, __m512i total, __m512i v, __m512i sc) {
	if (is_signed(t))
		return _mm512_add_epi32(total, _mm512_mullo_epi32(v, _mm512_srai_epi32(sc, 16)));
	return add_pairs(total, v, kern_is_ternary(t) ? _mm512_set1_epi16(1) : sc);
}
#endif

/* The correction of the weights' offset for a column's quants: a word for each block of 32, or for each 16
 * elements of a block of 256, in a piece.  The sums start there. */
typedef int32_t starts[GROUPS];

/* Words of repair, which are -8 times the sum of the quants of a block of 32, or -32 times that of 16
 * elements, in two halves, converted to words of starts. */
INLINE __m512i start_of(enum kern_type t, __m512i repair) {
	if (kern_block_size(t) == 256)
		return start_256(t, repair);
	return _mm512_madd_epi16(repair, _mm512_set1_epi16(is_signed(t) ? 16 : kern_offset(t) == 16 ? 2 : 1));
}

/* Groups of a block, each with a start of its own. */
INLINE size_t groups(enum kern_type t) {
	return kern_block_size(t) == 32 ? 1 : 64 / (size_t)group_256(t);
}

/* The end of the piece that begins at block b. */
INLINE size_t last_of(size_t b, size_t piece, size_t blocks) {
	return blocks - b < piece ? blocks : b + piece;
}

/* The starts of blocks [first, last) of a piece. */
INLINE void find_starts(
        enum kern_type t, starts *to, const struct column *x, size_t cols, size_t first, size_t last) {
	size_t each = groups(t);
	if (!has_offset(t))
		return;
	for (size_t c = 0; c < cols; c++)
		for (size_t i = 0; i < (last - first) * each; i += 16) {
			__m512i v; /* the repair is that of 16 elements; a group of 32 has the sum itself */
			if (is_signed(t) && each == 8)
				v = _mm512_mullo_epi32(
				        _mm512_cvtepi16_epi32(_mm256_loadu_si256(
				                (const __m256i *)(x[c].sum + 2 * (first * each + i)))),
				        _mm512_set1_epi32(-128));
			else
				v = start_of(t, _mm512_loadu_si512(x[c].repair + 4 * (first * each + i)));
			_mm512_storeu_si512(to[c] + i, v);
		}
}

INLINE __m512i start(enum kern_type t, const starts *from, size_t i) {
	return has_offset(t) ? _mm512_set1_epi32((*from)[i]) : _mm512_setzero_si512();
}

/* The blocks of a pair's two strips. */
struct pair {
	const uint8_t *strip[2];
};

/* A walk of strips from `index` on; missing strips are replaced by the last of the `strips` existing ones. */
INLINE void walk_at(enum kern_type t, struct pair *at, const void *w, size_t index, size_t strips, size_t n) {
	for (size_t i = 0; i < 2 * PAIRS; i++) {
		size_t k = index + i < strips ? index + i : strips - 1;
		at[i / 2].strip[i % 2] = strip_at(t, w, k, n);
	}
}

/* A block of a pair, and what to prefetch meanwhile, AHEAD bytes later: beyond the end of a strip that is in
 * the one that follows it in the next walk of `pairs` pairs. */
struct block {
	const uint8_t *head[2], *body[2], *next[2];
};

INLINE struct block block_at(enum kern_type t, const struct pair *at, size_t pairs, size_t n, size_t b) {
	size_t bytes = n / kern_block_size(t) * block_bytes(t), i = b * block_bytes(t);
	size_t next = i + AHEAD + (i + AHEAD < bytes ? 0 : (2 * pairs - 1) * bytes);
	const uint8_t *p = at->strip[0] + i, *q = at->strip[1] + i;
	return (struct block){{p, q}, {p + 8 * kern_head_bytes(t), q + 8 * kern_head_bytes(t)},
	        {at->strip[0] + next, at->strip[1] + next}};
}

/* Prefetches part `i` of `parts` of a block's next, a little at a time, so that loads find space in the queue
 * to memory. */
INLINE void fetch(enum kern_type t, const struct block *block, size_t i, size_t parts) {
	size_t bytes = block_bytes(t);
	UNROLL for (size_t k = 0; k < 2; k++) {
		for (size_t at = bytes * i / parts / 64 * 64; at < bytes * (i + 1) / parts; at += 64)
			_mm_prefetch((const char *)block->next[k] + at, _MM_HINT_T0);
	}
}

/* Accumulators of one pair and one column. */
struct sum {
	__m512 a, m;
};

/* The accumulators of a column. */
typedef struct sum sums[PAIRS];

enum { PASS = PASS_32 > PASS_256 ? PASS_32 : PASS_256 };

INLINE __m512 result(enum kern_type t, struct sum s) {
	if (!kern_has_minima(t))
		return s.a;
	return kern_block_size(t) == 32 ? _mm512_add_ps(s.a, s.m) : _mm512_sub_ps(s.a, s.m);
}

INLINE __m512 add_block(__m512 a, __m512 d, __m512i dx, __m512i i) {
	return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_castsi512_ps(dx)), _mm512_cvtepi32_ps(i), a);
}

/* The scales of blocks of 32. */
INLINE __m512 load_scale(enum kern_type t, const uint8_t *const *head) {
	return t == KERN_MXFP4 ? load_exponents(head) : load_halves(head, 0);
}

/* A block of a pair, unpacked. */
struct panel_32 {
	__m512i w[WORDS_32];
	__m512 d, m;
};

struct panel_256 {
	__m512i w[64];
	struct scales s;
};

INLINE void unpack_32(enum kern_type t, struct panel_32 *p, const struct block *from) {
	fetch(t, from, 0, 1);
	UNROLL for (int w = 0; w < words_32(t); w++) p->w[w] = source_32(t, from->body, w);
	p->d = load_scale(t, from->head);
	if (kern_has_minima(t))
		p->m = load_halves(from->head, 16);
}

INLINE void unpack_grid(enum kern_type t, __m512i *w, const struct block *from, bool gathers) {
	const __m512i bias = _mm512_set1_epi8((char)0x80);
	for (int half = 0; half < 2; half++) {
		UNROLL for (int c = 0; c < 4; c++) {
			struct grid_signs signs[2] = {grid_signs(t, from->body[0], 4 * half + c / 2 * 2),
			        grid_signs(t, from->body[1], 4 * half + c / 2 * 2)};
			fetch(t, from, (size_t)(4 * half + c), 8);
			UNROLL for (int j = 0; j < 4; j++) {
				__m512i *to = w + half * 32 + c * 8 + j * 2;
				__m256i a[2], b[2];
				grid_weights(a, t, from->body[0], signs[0], half, c, j, gathers);
				grid_weights(b, t, from->body[1], signs[1], half, c, j, gathers);
				to[0] = _mm512_xor_si512(join(a[0], b[0]), bias);
				to[1] = _mm512_xor_si512(join(a[1], b[1]), bias);
			}
		}
	}
}

INLINE void unpack_tq1_0(__m512i *w, const struct block *from) {
	UNROLL for (int u = 0; u < 13; u++) {
		__m512i unit = load(from->body, (size_t)u * 32);
		fetch(KERN_TQ1_0, from, (size_t)u, 13);
		UNROLL for (int n = 0; n < kern_tq1_0_digits(u); n++) {
			w[kern_tq1_0_word(u, n)] = ternary_digit(unit);
			unit = _mm512_add_epi8(_mm512_add_epi8(unit, unit), unit);
		}
	}
}

INLINE void unpack_256(enum kern_type t, struct panel_256 *p, const struct block *from, bool gathers) {
	read_scales(t, &p->s, from->head);
	if (kern_has_grid(t)) {
		unpack_grid(t, p->w, from, gathers);
		return;
	}
	if (t == KERN_TQ1_0) {
		unpack_tq1_0(p->w, from);
		return;
	}
	UNROLL for (int i = 0; i < 4; i++) {
		fetch(t, from, (size_t)i, 4);
		UNROLL for (int w = 0; w < 16; w++) p->w[i * 16 + w] = word_256(t, from->body, i * 16 + w);
	}
}

/* Where block b of a column is, in bytes from the column's first quant on, which is the same for all columns: so a tile needs one pointer
 * for each. */
struct place {
	size_t q, d, sum;
};

INLINE struct place place_of(enum kern_type t, const struct column *x, size_t b) {
	size_t of_sums = kern_block_size(t) == 32 ? 4 : 2 * (size_t)kern_sub_blocks(t);
	struct place at = {
	        b * kern_block_size(t), (size_t)(x->d - x->q) + 4 * b, (size_t)(x->sum - x->q) + of_sums * b};
	HIDE(at.q);
	HIDE(at.d);
	HIDE(at.sum);
	return at;
}

/* Block b of a walk, the i-th of its piece, times `cols` columns.  Weights come from p, a block of a panel,
 * or, if p is NULL, packed from `at` (for that block). */
INLINE void tile_32(enum kern_type t, size_t pairs, size_t cols, sums *s, const struct panel_32 *p,
        const struct block *at, const struct column *x, const starts *from, size_t b, size_t i) {
	__m512i total[PAIRS][PASS], v[PAIRS][PASS];
	struct place place = place_of(t, x, b);
	if (!p)
		UNROLL for (size_t r = 0; r < pairs; r++) fetch(t, &at[r], 0, 1);
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < pairs; r++) total[r][c] = start(t, &from[c], i);
	}
	UNROLL for (int g = 0; g < words_32(t) / group_32(t); g++) {
		UNROLL for (size_t c = 0; c < cols; c++) {
			UNROLL for (size_t r = 0; r < pairs; r++) v[r][c] = begin_32(total[r][c]);
		}
		UNROLL for (int w = g * group_32(t); w < (g + 1) * group_32(t); w++) {
			__m512i u[PAIRS];
			UNROLL for (size_t r = 0; r < pairs; r++) u[r] =
			        p ? p[r].w[w] : source_32(t, at[r].body, w);
			UNROLL for (size_t c = 0; c < cols; c++) {
				__m512i q = spread(x[c].q + place.q, (size_t)w % 8);
				UNROLL for (size_t r = 0; r < pairs; r++) {
					v[r][c] = add_word(t, v[r][c], u[r], q);
					PIN(v[r][c]);
				}
			}
		}
		UNROLL for (size_t c = 0; c < cols; c++) {
			UNROLL for (size_t r = 0; r < pairs; r++) total[r][c] =
			        fold_32(t, total[r][c], v[r][c], g);
		}
	}
	UNROLL for (size_t r = 0; r < pairs; r++) {
		__m512 d = p ? p[r].d : load_scale(t, at[r].head), m = d;
		if (kern_has_minima(t))
			m = p ? p[r].m : load_halves(at[r].head, 16);
		UNROLL for (size_t c = 0; c < cols; c++) {
			__m512i dx = spread(x[c].q + place.d, 0);
			s[c][r].a = add_block(s[c][r].a, d, dx, total[r][c]);
			if (kern_has_minima(t))
				s[c][r].m = _mm512_fmadd_ps(_mm512_mul_ps(m, _mm512_castsi512_ps(dx)),
				        _mm512_castsi512_ps(spread(x[c].q + place.sum, 0)), s[c][r].m);
		}
	}
}

/* The products of a block's minima and the sums of quants, added up. */
INLINE __m512i add_minima(enum kern_type t, const struct scales *scales, const uint8_t *quants) {
	__m512i j = _mm512_setzero_si512();
	UNROLL for (size_t k = 0; k < (size_t)kern_sub_blocks(t) / 2; k++) j =
	        add_pairs(j, scales->mn[k], spread(quants, k));
	return j;
}

/* The sum of the quants of block b. */
INLINE __m512i sum_of_quants(const struct column *x, size_t b) {
	__m512i sum = _mm512_setzero_si512();
	UNROLL for (size_t k = 0; k < 4; k++) sum =
	        add_pairs(sum, spread(x->sum, 4 * b + k), _mm512_set1_epi16(1));
	return sum;
}

/* Group g of words of block b, the k-th of its piece. */
INLINE void group_of(enum kern_type t, size_t pairs, size_t cols, __m512i total[PAIRS][PASS],
        const struct scales *const *scales, const struct panel_256 *p, const struct block *at,
        const struct column *x, const starts *from, size_t q_at, size_t k, int g) {
	__m512i v[PAIRS][PASS];
	int words = group_256(t);
	q_at += (size_t)(g * words) * 4;
	HIDE(q_at);
	if (!p)
		UNROLL for (size_t r = 0; r < pairs; r++) fetch(t, &at[r], (size_t)g, 64 / (size_t)words);
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < pairs; r++) v[r][c] =
		        start(t, &from[c], k * groups(t) + (size_t)g);
	}
	UNROLL for (int i = 0; i < words; i++) {
		int w = g * words + i;
		__m512i u[PAIRS];
		UNROLL for (size_t r = 0; r < pairs; r++) u[r] = p ? p[r].w[w] : word_256(t, at[r].body, w);
		UNROLL for (size_t c = 0; c < cols; c++) {
			__m512i q = spread(x[c].q + q_at, (size_t)i);
			UNROLL for (size_t r = 0; r < pairs; r++) {
				v[r][c] = add_word(t, v[r][c], u[r], q);
				PIN(v[r][c]);
			}
		}
	}
	UNROLL for (size_t r = 0; r < pairs; r++) {
		__m512i sc = scales[r]->sc[g * words * kern_sub_blocks(t) / 64];
		UNROLL for (size_t c = 0; c < cols; c++) total[r][c] = fold_256(t, total[r][c], v[r][c], sc);
	}
}

INLINE void tile_256(enum kern_type t, size_t pairs, size_t cols, sums *s, const struct panel_256 *p,
        const struct block *at, const struct column *x, const starts *from, size_t b, size_t k) {
	__m512i total[PAIRS][PASS];
	const struct scales *scales[PAIRS];
	struct scales own[PAIRS];
	struct place place = place_of(t, x, b);
	int groups = 64 / group_256(t);
	UNROLL for (size_t r = 0; r < pairs; r++) {
		if (!p)
			read_scales(t, &own[r], at[r].head);
		scales[r] = p ? &p[r].s : &own[r];
		UNROLL for (size_t c = 0; c < cols; c++) total[r][c] = _mm512_setzero_si512();
	}
	if (p)
		for (int g = 0; g < groups; g++)
			group_of(t, pairs, cols, total, scales, p, at, x, from, place.q, k, g);
	else /* the position of its bits in a word must be a constant */
		UNROLL for (int g = 0; g < groups; g++)
		        group_of(t, pairs, cols, total, scales, p, at, x, from, place.q, k, g);
	UNROLL for (size_t r = 0; r < pairs; r++) {
		UNROLL for (size_t c = 0; c < cols; c++) {
			__m512i dx = spread(x[c].q + place.d, 0);
			if (kern_is_ternary(t))
				total[r][c] = _mm512_sub_epi32(total[r][c], sum_of_quants(&x[c], b));
			s[c][r].a = add_block(s[c][r].a, scales[r]->d, dx, total[r][c]);
			if (kern_has_minima(t))
				s[c][r].m = add_block(s[c][r].m, scales[r]->dmin, dx,
				        add_minima(t, scales[r], x[c].q + place.sum));
		}
	}
}

/* A piece of a walk, unpacked.  The pairs of a block are adjacent. */
union panel {
	struct panel_32 a[PIECE_32][PAIRS];
	struct panel_256 b[PIECE_256][PAIRS];
};

/* Blocks [first, last), unpacked in the panel, for `cols` columns. */
INLINE void pass(enum kern_type t, size_t cols, sums *sum, const union panel *panel, const struct column *x,
        const starts *from, size_t first, size_t last) {
	struct column own[PASS];
	sums s[PASS];
	for (size_t c = 0; c < cols; c++) {
		own[c] = x[c];
		for (size_t r = 0; r < PAIRS; r++)
			s[c][r] = sum[c][r];
	}
	for (size_t b = first; b < last; b++)
		if (kern_block_size(t) == 32)
			tile_32(t, PAIRS, cols, s, panel->a[b - first], NULL, own, from, b, b - first);
		else
			tile_256(t, PAIRS, cols, s, panel->b[b - first], NULL, own, from, b, b - first);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < PAIRS; r++)
			sum[c][r] = s[c][r];
}

/* All columns of a tile, as many at a time as registers allow. */
INLINE void run_panel(enum kern_type t, size_t cols, sums *sum, const union panel *panel,
        const struct column *x, const starts *from, size_t first, size_t last) {
	const size_t most = kern_block_size(t) == 32 ? PASS_32 : PASS_256;
	size_t c = 0;
	for (; c + most <= cols; c += most)
		pass(t, most, sum + c, panel, x + c, from + c, first, last);
	if (most > 4 && c + 4 <= cols) {
		pass(t, 4, sum + c, panel, x + c, from + c, first, last);
		c += 4;
	}
	if (c + 2 <= cols) {
		pass(t, 2, sum + c, panel, x + c, from + c, first, last);
		c += 2;
	}
	if (c < cols)
		pass(t, 1, sum + c, panel, x + c, from + c, first, last);
}

/* Unpacked, many types are alike: a core is compiled once for all with the arithmetic of the type in its name. */
typedef void core(size_t cols, sums *sum, const union panel *panel, const struct column *x,
        const starts *from, size_t first, size_t last);

#define CORE(TYPE) \
	static __attribute__((noinline, unused)) void core_##TYPE(size_t cols, sums *sum, \
	        const union panel *panel, const struct column *x, const starts *from, size_t first, \
	        size_t last) { \
		run_panel(KERN_##TYPE, cols, sum, panel, x, from, first, last); \
	}
CORE(Q4_0)
CORE(Q4_1)
CORE(Q2_K)
CORE(Q3_K)
CORE(Q4_K)
CORE(Q5_K)
CORE(Q6_K)
CORE(IQ4_XS)
CORE(TQ2_0)
#ifndef AVX512_VNNI /* several ways to keep sums within 16 bits */
CORE(Q5_0)
CORE(Q5_1)
CORE(Q8_0)
CORE(IQ2_XS)

INLINE core *narrow_core_of(enum kern_type t) {
	if (kern_block_size(t) == 32)
		return is_signed(t)         ? core_Q8_0
		       : group_32(t) == 8   ? NULL
		       : kern_has_minima(t) ? core_Q5_1
		                            : core_Q5_0;
	return is_signed(t) && kern_sub_blocks(t) == 16 ? core_IQ2_XS : NULL;
}
#else
INLINE core *narrow_core_of(enum kern_type t) {
	return NULL;
}
#endif

INLINE core *core_of(enum kern_type t) {
	core *narrow = narrow_core_of(t);
	if (narrow)
		return narrow;
	switch (t) {
	case KERN_Q2_K:
		return core_Q2_K;
	case KERN_Q3_K:
		return core_Q3_K;
	case KERN_Q4_K:
		return core_Q4_K;
	case KERN_Q5_K:
		return core_Q5_K;
	case KERN_TQ1_0:
	case KERN_TQ2_0:
		return core_TQ2_0;
	default:
		if (kern_block_size(t) == 32)
			return kern_has_minima(t) ? core_Q4_1 : core_Q4_0;
		return kern_sub_blocks(t) == 16 ? core_Q6_K : core_IQ4_XS;
	}
}

/* `cols` columns over `pairs` pairs of a walk, with packed weights. */
INLINE void run_packed(enum kern_type t, size_t pairs, size_t cols, sums *sum, size_t first,
        const struct pair *at, const struct column *x, size_t n) {
	sums s[COLS];
	starts from[COLS];
	size_t blocks = n / kern_block_size(t), piece = PIECE / kern_block_size(t);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < pairs; r++)
			s[c][r].a = s[c][r].m = _mm512_setzero_ps();
	for (size_t start = 0, end; start < blocks; start = end) {
		end = last_of(start, piece, blocks);
		find_starts(t, from, x, cols, start, end);
		for (size_t b = start; b < end; b++) {
			struct block block[PAIRS];
			UNROLL for (size_t r = 0; r < pairs; r++) block[r] =
			        block_at(t, &at[first + r], pairs, n, b);
			if (kern_block_size(t) == 32)
				tile_32(t, pairs, cols, s, NULL, block, x, from, b, b - start);
			else
				tile_256(t, pairs, cols, s, NULL, block, x, from, b, b - start);
		}
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < pairs; r++)
			sum[c][first + r] = s[c][r];
}

/* The number of columns up to which a panel does not pay. */
INLINE size_t few(enum kern_type t) {
	if (kern_block_size(t) == 32)
		return 2 * COLS;
	return t == KERN_Q2_K || t == KERN_Q3_K || t == KERN_TQ2_0 ? COLS : 0;
}

/* A few columns over a walk, COLS at a time: the first bring the weights into the second-level cache.  Blocks
 * of 256 are long enough for the processor to follow two strips, and too far apart for more. */
INLINE void run_few(enum kern_type t, sums *sum, const struct pair *at, size_t present,
        const struct column *x, size_t cols, size_t n) {
	const size_t pairs = kern_block_size(t) == 32 ? PAIRS : 1;
	for (size_t r = 0; r < present; r += pairs) {
		size_t c = 0;
		for (; c + COLS <= cols; c += COLS)
			run_packed(t, pairs, COLS, sum + c, r, at, x + c, n);
		if (c + 2 <= cols) {
			run_packed(t, pairs, 2, sum + c, r, at, x + c, n);
			c += 2;
		}
		if (c < cols)
			run_packed(t, pairs, 1, sum + c, r, at, x + c, n);
	}
}

/* Prefetches blocks [b, b + piece) of the walk, as far as they exist, or of the walk `over` strips later:
 * otherwise memory would be idle while a piece is computed.  Into the second-level cache, since the first has
 * a panel; what is dropped in such a burst is prefetched again when it is unpacked. */
INLINE void fetch_piece(
        enum kern_type t, const struct pair *at, size_t b, size_t piece, size_t over, size_t blocks) {
	size_t jump = over * blocks * block_bytes(t), n = blocks - b < piece ? blocks - b : piece;
	for (size_t i = 0; i < 2 * PAIRS; i++) {
		const char *p = (const char *)at[i / 2].strip[i % 2] + jump + b * block_bytes(t);
		for (size_t k = 0; k < n * block_bytes(t); k += 64)
			_mm_prefetch(p + k, _MM_HINT_T1);
	}
}

/* A tile of columns over a walk, by pieces. */
INLINE void run_pieces(enum kern_type t, bool gathers, sums *sum, const struct pair *at,
        const struct column *x, size_t cols, size_t n) {
	union panel panel;
	starts from[TILE];
	size_t blocks = n / kern_block_size(t), piece = PIECE / kern_block_size(t);
	for (size_t b = 0; b < blocks; b += piece) {
		size_t end = last_of(b, piece, blocks);
		find_starts(t, from, x, cols, b, end);
		for (size_t k = b; k < end; k++)
			for (size_t r = 0; r < PAIRS; r++) {
				struct block block = block_at(t, &at[r], PAIRS, n, k);
				if (kern_block_size(t) == 32)
					unpack_32(t, &panel.a[k - b][r], &block);
				else
					unpack_256(t, &panel.b[k - b][r], &block, gathers);
			}
		fetch_piece(t, at, end < blocks ? end : 0, piece, end < blocks ? 0 : 2 * PAIRS, blocks);
		core_of(t)(cols, sum, &panel, x, from, b, end);
	}
}

/* A walk of strips from `index` on times a tile of columns. */
INLINE void run_walk(enum kern_type t, bool gathers, float *y, size_t ldy, const void *w, size_t index,
        size_t rows, size_t n, const struct column *x, size_t cols) {
	sums sum[TILE];
	struct pair at[PAIRS];
	size_t strips = (rows + 7) / 8;
	walk_at(t, at, w, index, strips, n);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < PAIRS; r++)
			sum[c][r].a = sum[c][r].m = _mm512_setzero_ps();
	if (cols <= few(t))
		run_few(t, sum, at, strips - index > 2 ? 2 : 1, x, cols, n);
	else
		run_pieces(t, gathers, sum, at, x, cols, n);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < PAIRS && index + 2 * r < strips; r++)
			store_rows(y + c * ldy + (index + 2 * r) * 8, result(t, sum[c][r]),
			        rows - (index + 2 * r) * 8);
}

INLINE void mul(enum kern_type t, bool gathers, float *y, size_t ldy, const void *w, size_t rows, size_t n,
        const void *x, size_t xstride, size_t cols) {
	struct column tile[TILE];
	for (size_t c0 = 0; c0 < cols; c0 += TILE) {
		size_t count = cols - c0 < TILE ? cols - c0 : TILE;
		for (size_t c = 0; c < count; c++)
			tile[c] = column(t, (const uint8_t *)x + (c0 + c) * xstride, n);
		for (size_t k = 0; k < (rows + 7) / 8; k += 2 * PAIRS)
			run_walk(t, gathers, y + c0 * ldy, ldy, w, k, rows, n, tile, count);
	}
}

#define MUL(TYPE, name, ...) KERN_DEFINE_MUL(AVX512_LEVEL(mul_##name), mul, KERN_##TYPE, false)

/* The ways to look entries of codebooks up; what they call is compiled once. */
#define MUL_GRID(TYPE, name, ...) \
	static __attribute__((noinline)) \
	KERN_DEFINE_MUL_WITH(bool gathers, name##_mul, mul, KERN_##TYPE, gathers) \
	        KERN_DEFINE_MUL(AVX512_LEVEL(name##_loads), name##_mul, false) \
	                KERN_DEFINE_MUL(AVX512_LEVEL(name##_gathers), name##_mul, true)

#endif
