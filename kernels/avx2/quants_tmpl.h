/* quants_tmpl: products of the quantised types; instantiated by quants_32.c and quants_256.c for each level that avx2.h names.
 *
 * One column (decode) reads weights strip by strip, from start to end, or four strips side by side (beside.h), and prefetches: see struct way.
 * Few columns use the weights as they are in memory, one or two strips at a time.  More columns unpack two strips of a piece of
 * the width into a panel and run all columns of a tile over it, four at a time; the panel stays in the second-level cache beside
 * them, and the float accumulators wait in `sums` between pieces.  The additions of a row always keep the order of
 * doc/numerics.md. */
#ifndef KERNELS_AVX2_QUANTS_TMPL_H
#define KERNELS_AVX2_QUANTS_TMPL_H
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/unpack.h"
#include "kernels/product.h"

enum {
	STRIPS = 2,   /* strips in a panel */
	SIDE = 4,     /* strips side by side in decode */
	COLS = 4,     /* columns per pass over a panel */
	TILE = 64,    /* columns that share an unpacked panel */
	FEW = 8,      /* columns for which packed weights are faster, one strip at a time */
	PIECE = 2048, /* elements of the width in a panel */
	PIECE_32 = PIECE / 32,
	PIECE_256 = PIECE / 256,
	GROUPS = PIECE / 16, /* of a piece: the most groups with their own start */
	NEAR = 4096,         /* prefetch distance in bytes, into the first-level cache */
	BESIDE = 1536,       /* the same in each of four strips side by side */
	FAR = 6144           /* the same, into the second-level cache */
};

INLINE const uint8_t *body_of(enum kern_type t, const uint8_t *block) {
	return block + 8 * kern_head_bytes(t);
}

/* What the ways of a product (avx2.h) differ in: into which cache weights are prefetched and how far ahead, in bytes, and how
 * entries of codebooks are looked up. */
enum hint { HINT_NONE, HINT_FIRST, HINT_SECOND };
struct way {
	enum hint hint;
	size_t ahead;
	bool beside, gathers;
};

/* A block for few columns, and the block_bytes bytes to prefetch meanwhile. */
struct block {
	const uint8_t *at, *next;
	enum hint hint;
};

/* Accumulators of one strip and one column. */
struct sum {
	__m256 a, m;
};

INLINE __m256 result(enum kern_type t, struct sum s) {
	if (!kern_has_minima(t))
		return s.a;
	return kern_block_size(t) == 32 ? _mm256_add_ps(s.a, s.m) : _mm256_sub_ps(s.a, s.m);
}

INLINE __m256i widen(__m256i v) {
	return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}

/* The integer arithmetic of the levels.  A word is four bytes u of weights in every lane (signed or not,
 * depending on the type), times the four bytes q of an activation word.  Sums of several words are folded
 * into 32 bits.  Where weights have an offset, sums start at start_of(): words of the activations' repair,
 * which are -8 times the sum of the quants of a block of 32, or -32 times that of 16 elements, in two halves
 * (kernels/acts.h). */
#ifdef AVX2_VNNI
#ifdef AVX_VNNI
#define add_products _mm256_dpbusd_avx_epi32
#define add_pairs _mm256_dpwssd_avx_epi32
#else
#define add_products _mm256_dpbusd_epi32
#define add_pairs _mm256_dpwssd_epi32
#endif

/* A step adds four products to 32 bits, which always fits. */
INLINE int words_32(enum kern_type t) {
	return 8;
}

INLINE __m256i start_of(enum kern_type t, __m256i repair) {
	if (t == KERN_Q3_K)
		return _mm256_srai_epi32(widen(repair), 3);
	return _mm256_madd_epi16(repair, _mm256_set1_epi16(is_biased(t) ? (kern_block_size(t) == 32 ? 16 : 4)
	                                                   : kern_offset(t) == 16 ? 2
	                                                                          : 1));
}

INLINE __m256i add_word(enum kern_type t, __m256i v, __m256i u, __m256i q) {
	return add_products(v, u, q);
}

INLINE __m256i add_sums(enum kern_type t, __m256i a, __m256i b) {
	return _mm256_add_epi32(a, b);
}

INLINE __m256i fold_32(enum kern_type t, __m256i v) {
	return v;
}

INLINE __m256i fold_256(enum kern_type t, __m256i total, __m256i v, __m256i sc) {
	if (is_narrow(t))
		return add_pairs(total, v, sc);
	if (kern_is_ternary(t))
		return _mm256_add_epi32(total, v);
	return _mm256_add_epi32(total, _mm256_mullo_epi32(v, sc));
}
#else
INLINE int words_32(enum kern_type t) {
	return is_signed(t) ? 8 : group(t) / 4;
}

INLINE __m256i start_of(enum kern_type t, __m256i repair) {
	return t == KERN_Q3_K         ? _mm256_srai_epi16(repair, 3)
	       : kern_offset(t) == 16 ? _mm256_add_epi16(repair, repair)
	                              : repair;
}

/* Signed bytes times signed bytes, in pairs, reach 2 * 128 * 127: they are widened at once. */
INLINE __m256i add_word(enum kern_type t, __m256i v, __m256i u, __m256i q) {
	if (is_signed(t))
		return _mm256_add_epi32(
		        v, widen(_mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(q, u))));
	return _mm256_add_epi16(v, _mm256_maddubs_epi16(u, q));
}

INLINE __m256i add_sums(enum kern_type t, __m256i a, __m256i b) {
	return is_signed(t) ? _mm256_add_epi32(a, b) : _mm256_add_epi16(a, b);
}

INLINE __m256i fold_32(enum kern_type t, __m256i v) {
	return is_signed(t) ? v : widen(v);
}

INLINE __m256i fold_256(enum kern_type t, __m256i total, __m256i v, __m256i sc) {
	if (is_signed(t))
		return _mm256_add_epi32(total, _mm256_mullo_epi32(v, _mm256_srai_epi32(sc, 16)));
	return _mm256_add_epi32(total, kern_is_ternary(t) ? widen(v) : _mm256_madd_epi16(v, sc));
}
#endif

/* Groups of a block, each with a start of its own. */
INLINE size_t groups(enum kern_type t) {
	return kern_block_size(t) == 32 ? 1 : 256 / (size_t)group(t);
}

/* Groups of 32 of blocks of 256. */
INLINE bool starts_at_sums(enum kern_type t) {
	return is_biased(t) && kern_block_size(t) == 256 && group(t) == 32;
}

/* The start of the sums of block i of 32, or of group i in blocks of 256.  The repair is that of 16 elements; groups of 32, whose offset
 * is 128, have the sum itself: one half of a word. */
INLINE __m256i start(enum kern_type t, const struct column *x, size_t i) {
	if (!has_offset(t))
		return _mm256_setzero_si256();
	if (starts_at_sums(t))
		return _mm256_madd_epi16(
		        spread(x->sum, i / 2), _mm256_set1_epi32(i % 2 ? -128 * 65536 : 0xff80));
	return start_of(t, spread(x->repair, i));
}

/* The same for a piece of the width, computed once for all strips. */
typedef int32_t starts[GROUPS];

INLINE void find_starts(
        enum kern_type t, starts *to, const struct column *x, size_t cols, size_t first, size_t last) {
	size_t each = groups(t);
	if (!has_offset(t))
		return;
	for (size_t c = 0; c < cols; c++)
		for (size_t i = 0; i < (last - first) * each; i += 8) {
			__m256i v;
			if (starts_at_sums(t))
				v = _mm256_mullo_epi32(
				        _mm256_cvtepi16_epi32(_mm_loadu_si128(
				                (const __m128i *)(const void *)(x[c].sum +
				                                                2 * (first * each + i)))),
				        _mm256_set1_epi32(-128));
			else
				v = start_of(t, load(x[c].repair + 4 * (first * each + i)));
			_mm256_storeu_si256((__m256i *)(to[c] + i), v);
		}
}

INLINE __m256i start_found(enum kern_type t, const starts *from, size_t i) {
	return has_offset(t) ? _mm256_set1_epi32((*from)[i]) : _mm256_setzero_si256();
}

/* The end of the piece that begins at block b. */
INLINE size_t last_of(size_t b, size_t piece, size_t blocks) {
	return blocks - b < piece ? blocks : b + piece;
}

/* With `strips` strips side by side, prefetching beyond the end of a strip continues in the one that follows
 * it. */
INLINE struct block block_at(
        enum kern_type t, const struct way *way, const uint8_t *strip, size_t strips, size_t n, size_t b) {
	size_t bytes = n / kern_block_size(t) * block_bytes(t), at = b * block_bytes(t),
	       next = at + way->ahead;
	return (struct block){
	        strip + at, strip + next + (next < bytes ? 0 : (strips - 1) * bytes), way->hint};
}

/* Prefetches lines `from` to `to` of a block's next. */
INLINE void fetch(const struct block *block, size_t from, size_t to) {
	if (block->hint == HINT_FIRST)
		for (size_t i = from / 64 * 64; i < to; i += 64)
			_mm_prefetch((const char *)block->next + i, _MM_HINT_T0);
	else if (block->hint == HINT_SECOND)
		for (size_t i = from / 64 * 64; i < to; i += 64)
			_mm_prefetch((const char *)block->next + i, _MM_HINT_T1);
}

/* Prefetches two lines from p on: without a loop, whose length would differ from time to time. */
INLINE void fetch_two(const uint8_t *p) {
	_mm_prefetch((const char *)p, _MM_HINT_T0);
	_mm_prefetch((const char *)p + 64, _MM_HINT_T0);
}

/* The scales of eight blocks of 32. */
INLINE __m256 load_scale(enum kern_type t, const uint8_t *head) {
	return t == KERN_MXFP4 ? load_exponents(head) : load_halves(head);
}

/* Decode: the integer sum of a block of 32.  Two chains of additions: a single one would be longer than the
 * processor can look ahead. */
INLINE __m256i dot_32(enum kern_type t, const uint8_t *body, const struct column *x, size_t b) {
	const uint8_t *q = x->q + b * 32;
	__m256i total = _mm256_setzero_si256(), v[2];
	int words = words_32(t);
	UNROLL for (int g = 0; g < 8 / words; g++) {
		v[0] = start(t, x, b);
		v[1] = _mm256_setzero_si256();
		UNROLL for (int w = g * words; w < g * words + words; w++) {
			v[w % 2] = add_word(t, v[w % 2], word_32(t, body, w), spread(q, (size_t)w));
			PIN(v[w % 2]);
		}
		__m256i sum = fold_32(t, add_sums(t, v[0], v[1]));
		total = g ? _mm256_add_epi32(total, sum) : sum;
	}
	return total;
}

INLINE void add_32(enum kern_type t, struct sum *s, const uint8_t *at, const struct column *x, size_t b) {
	__m256i i = dot_32(t, body_of(t, at), x, b);
	__m256 dx = _mm256_castsi256_ps(spread(x->d, b));
	s->a = _mm256_fmadd_ps(_mm256_mul_ps(load_scale(t, at), dx), _mm256_cvtepi32_ps(i), s->a);
	if (kern_has_minima(t))
		s->m = _mm256_fmadd_ps(_mm256_mul_ps(load_halves(at + 16), dx),
		        _mm256_castsi256_ps(spread(x->sum, b)), s->m);
}

INLINE void decode_32(enum kern_type t, struct sum *s, struct block block, const struct column *x, size_t b) {
	fetch(&block, 0, block_bytes(t));
	add_32(t, s, block.at, x, b);
}

/* Adds to j the sum over sub-blocks of minima times sums of quants. */
INLINE __m256i dot_minima(enum kern_type t, __m256i j, const __m256i *mn, const struct column *x, size_t b) {
	UNROLL for (int k = 0; k < kern_sub_blocks(t) / 2; k++) {
		__m256i sums = spread(x->sum, b * (size_t)kern_sub_blocks(t) / 2 + (size_t)k);
		j = _mm256_add_epi32(j, _mm256_madd_epi16(mn[k], sums));
	}
	return j;
}

/* The sum of the quants of a block of 256. */
INLINE __m256i sum_of_quants(const struct column *x, size_t b) {
	__m256i sum = _mm256_setzero_si256();
	UNROLL for (size_t k = 0; k < 4; k++) sum = _mm256_add_epi32(sum, widen(spread(x->sum, 4 * b + k)));
	return sum;
}

/* Adds a block of 256 with the integer sums i. */
INLINE void finish_256(enum kern_type t, struct sum *s, __m256i i, const struct scales *h,
        const struct column *x, size_t b) {
	__m256 dx = _mm256_castsi256_ps(spread(x->d, b));
	if (kern_is_ternary(t))
		i = _mm256_sub_epi32(i, sum_of_quants(x, b));
	s->a = _mm256_fmadd_ps(_mm256_mul_ps(h->d, dx), _mm256_cvtepi32_ps(i), s->a);
	if (kern_has_minima(t)) {
		__m256i j = dot_minima(t, _mm256_setzero_si256(), h->mn, x, b);
		s->m = _mm256_fmadd_ps(_mm256_mul_ps(h->dmin, dx), _mm256_cvtepi32_ps(j), s->m);
	}
}

/* A step takes the groups that share bytes of the body, so that these are loaded once. */
INLINE void decode_256(
        enum kern_type t, struct sum *s, struct block block, const struct column *x, size_t b) {
	int words = group(t) / 4, together = kern_sub_blocks(t) == 8 ? 2 : 4;
	const uint8_t *q = x->q + b * 256, *body = body_of(t, block.at);
	struct scales scales;
	__m256i i = _mm256_setzero_si256();
	HIDE(q);
	read_scales(t, &scales, block.at);
	int steps = 64 / words / together;
	UNROLL for (int step = 0; step < steps; step++) {
		/* the first group of the step, and the distance between its groups: 8 words */
		int first = words == 8 ? together * step : step / 2 * 2 * together + step % 2,
		    apart = 8 / words;
		__m256i v[4];
		fetch(&block, block_bytes(t) * (size_t)step / (size_t)steps,
		        block_bytes(t) * (size_t)(step + 1) / (size_t)steps);
		UNROLL for (int w = 0; w < words; w++) {
			UNROLL for (int g = 0; g < together; g++) {
				int at_group = first + g * apart, word = at_group * words + w;
				if (w == 0)
					v[g] = start(t, x, b * groups(t) + (size_t)at_group);
				v[g] = add_word(t, v[g],
				        word_256(t, body, word / part_words(t), word % part_words(t)),
				        spread(q, (size_t)word));
				PIN(v[g]);
			}
		}
		UNROLL for (int g = 0; g < together; g++) {
			int at_group = first + g * apart;
			i = fold_256(t, i, v[g], scales.sc[at_group * group(t) * kern_sub_blocks(t) / 256]);
		}
	}
	finish_256(t, s, i, &scales, x, b);
}

/* Decode, TQ1_0: unit by unit.  Without VNNI, the products of a whole block fit 16 bits: 128 times 2 * 127. */
INLINE void decode_tq1_0(struct sum *s, struct block block, const struct column *x, size_t b) {
	const enum kern_type t = KERN_TQ1_0;
	const uint8_t *q = x->q + b * 256, *body = body_of(t, block.at);
	struct scales scales;
	__m256i v[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
	HIDE(q);
	read_scales(t, &scales, block.at);
	UNROLL for (int u = 0; u < 13; u++) {
		__m256i unit = ternary_unit(body, u);
		fetch(&block, block_bytes(t) * (size_t)u / 13, block_bytes(t) * (size_t)(u + 1) / 13);
		UNROLL for (int n = 0; n < kern_tq1_0_digits(u); n++) {
			v[n % 2] = add_word(
			        t, v[n % 2], ternary_digit(unit), spread(q, (size_t)kern_tq1_0_word(u, n)));
			unit = ternary_next(unit);
			PIN(v[n % 2]);
		}
	}
	finish_256(t, s, fold_256(t, _mm256_setzero_si256(), add_sums(t, v[0], v[1]), v[0]), &scales, x, b);
}

/* Words whose products are added before a scale is applied.  Without VNNI these sums have 16 bits: twice 2 * 62 * 127, 4 * 18 * 127 or
 * 8 * 15 * 127. */
INLINE int grid_words(enum kern_type t) {
#ifdef AVX2_VNNI
	return 64 / kern_sub_blocks(t);
#else
	return t == KERN_IQ3_S ? 8 : grid_is_one(t) ? 4 : 2;
#endif
}

INLINE __m256i add_scaled(__m256i total, __m256i v, __m256i sc) {
#ifdef AVX2_VNNI
	return _mm256_add_epi32(total, _mm256_mullo_epi32(v, sc));
#else
	return _mm256_add_epi32(total, _mm256_madd_epi16(v, sc));
#endif
}

/* Adds a sub-block with the scales sc. */
INLINE __m256i add_sub_block(enum kern_type t, __m256i total, const uint8_t *body, struct grid_signs signs,
        const uint8_t *q, const __m256i *sc, int half, int c, bool gathers) {
	const __m256i zero = _mm256_setzero_si256();
	int each = kern_sub_blocks(t) / 8; /* scales of 32 elements */
	__m256i v[2] = {zero, zero};
	UNROLL for (int j = 0; j < 4; j++) {
		__m256i w[2];
		grid_entries(w, t, body, half, c, j, gathers);
		UNROLL for (int i = 0; i < 2; i++) {
			__m256i x = spread(q, (size_t)(2 * j + i));
			if (!grid_is_one(
			            t)) /* the word of magnitudes is unsigned, so the activations get the signs */
				x = _mm256_sign_epi8(x, grid_sign(signs, c % 2 * 4 + j, i));
			v[i] = add_word(KERN_Q4_0, v[i], w[i], x);
			PIN(v[i]);
		}
		if ((2 * j + 2) % grid_words(t) == 0) {
			total = add_scaled(total, add_sums(KERN_Q4_0, v[0], v[1]), sc[j * each / 4]);
			v[0] = v[1] = zero;
			PIN(total);
		}
	}
	return total;
}

/* The sums of quants times the scales of their sub-blocks. */
INLINE __m256i scaled_sums(enum kern_type t, const struct scales *scales, const struct column *x, size_t b) {
	__m256i sum = _mm256_setzero_si256();
	UNROLL for (int k = 0; k < kern_sub_blocks(t); k += 2) {
		__m256i two =
		        _mm256_blend_epi16(scales->sc[k], _mm256_slli_epi32(scales->sc[k + 1], 16), 0xaa);
		sum = _mm256_add_epi32(
		        sum, _mm256_madd_epi16(
		                     two, spread(x->sum, (b * (size_t)kern_sub_blocks(t) + (size_t)k) / 2)));
	}
	return sum;
}

/* Decode, types with codebooks. */
INLINE void decode_grid(
        enum kern_type t, struct sum *s, struct block block, const struct column *x, size_t b, bool gathers) {
	const uint8_t *body = body_of(t, block.at), *q = x->q + b * 256;
	__m256i total = _mm256_setzero_si256();
	struct scales scales;
	int each = kern_sub_blocks(t) / 8;
	read_scales(t, &scales, block.at);
	if (grid_is_one(t))
		total = _mm256_mullo_epi32(scaled_sums(t, &scales, x, b), _mm256_set1_epi32(-GRID_ONE));
	for (int half = 0; half < 2; half++) {
		UNROLL for (int pair = 0; pair < 2; pair++) {
			struct grid_signs signs = grid_signs(t, body, 4 * half + 2 * pair);
			UNROLL for (int c = 2 * pair; c < 2 * pair + 2; c++) {
				int k = 4 * half + c;
				fetch_two(block.next + (size_t)k * (block_bytes(t) / 8));
				total = add_sub_block(t, total, body, signs, q + k * 32, scales.sc + k * each,
				        half, c, gathers);
			}
		}
	}
	finish_256(t, s, total, &scales, x, b);
}

#include "kernels/avx2/beside.h"

/* Decode strip by strip, from strip k on. */
INLINE void decode(enum kern_type t, const struct way *way, bool gathers, float *y, const void *w, size_t k,
        size_t rows, size_t n, const void *x) {
	struct column c = column(t, x, n);
	for (; k < (rows + 7) / 8; k++) {
		const uint8_t *strip = strip_at(t, w, k, n);
		struct sum s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
		for (size_t b = 0; b < n / kern_block_size(t); b++) {
			struct block block = block_at(t, way, strip, 1, n, b);
			if (kern_block_size(t) == 32)
				decode_32(t, &s, block, &c, b);
			else if (kern_has_grid(t))
				decode_grid(t, &s, block, &c, b, gathers);
			else if (t == KERN_TQ1_0)
				decode_tq1_0(&s, block, &c, b);
			else
				decode_256(t, &s, block, &c, b);
		}
		store_rows(y + k * 8, result(t, s), rows - k * 8);
	}
}

/* A block of a strip, unpacked. */
struct panel_32 {
	__m256i w[8];
	__m256 d, m;
};

struct panel_256 {
	__m256i w[64];
	struct scales s;
};

INLINE void unpack_32(enum kern_type t, struct panel_32 *p, const uint8_t *block) {
	UNROLL for (int w = 0; w < 8; w++) p->w[w] = word_32(t, body_of(t, block), w);
	p->d = load_scale(t, block);
	if (kern_has_minima(t))
		p->m = load_halves(block + 16);
}

INLINE void unpack_grid(enum kern_type t, __m256i *w, const uint8_t *body, bool gathers) {
	const __m256i bias = _mm256_set1_epi8(is_biased(t) ? -128 : 0);
	for (int half = 0; half < 2; half++) {
		UNROLL for (int c = 0; c < 4; c++) {
			struct grid_signs signs = grid_signs(t, body, 4 * half + c / 2 * 2);
			UNROLL for (int j = 0; j < 4; j++) {
				__m256i *to = w + half * 32 + c * 8 + j * 2, two[2];
				grid_weights(two, t, body, signs, half, c, j, gathers);
				to[0] = _mm256_xor_si256(two[0], bias);
				to[1] = _mm256_xor_si256(two[1], bias);
			}
		}
	}
}

INLINE void unpack_tq1_0(__m256i *w, const uint8_t *body) {
	UNROLL for (int u = 0; u < 13; u++) {
		__m256i unit = ternary_unit(body, u);
		UNROLL for (int n = 0; n < kern_tq1_0_digits(u); n++) {
			w[kern_tq1_0_word(u, n)] = ternary_digit(unit);
			unit = ternary_next(unit);
		}
	}
}

INLINE void unpack_256(enum kern_type t, struct panel_256 *p, const uint8_t *block, bool gathers) {
	const uint8_t *body = body_of(t, block);
	read_scales(t, &p->s, block);
	if (kern_has_grid(t)) {
		unpack_grid(t, p->w, body, gathers);
		return;
	}
	if (t == KERN_TQ1_0) {
		unpack_tq1_0(p->w, body);
		return;
	}
	UNROLL for (int i = 0; i < 4; i++) {
		UNROLL for (int w = 0; w < 16; w++) {
			int word = i * 16 + w;
			p->w[word] = word_256(t, body, word / part_words(t), word % part_words(t));
		}
	}
}

/* A tile: block b of `strips` strips, the i-th of its piece, times `cols` columns.  Unpacked weights come
 * from p, a block of a panel; if p is NULL, packed weights come from the body of each strip. */
INLINE __m256i tile_word_32(
        enum kern_type t, const struct panel_32 *p, const struct block *at, size_t r, int w) {
	return p ? p[r].w[w] : word_32(t, body_of(t, at[r].at), w);
}

INLINE void tile_32(enum kern_type t, size_t strips, size_t cols, struct sum s[STRIPS][FEW],
        const struct panel_32 *p, const struct block *at, const struct column *x, const starts *from,
        size_t b, size_t i) {
	__m256i total[STRIPS][FEW], v[STRIPS][FEW];
	int words = words_32(t);
	if (!p)
		UNROLL for (size_t r = 0; r < strips; r++) fetch(&at[r], 0, block_bytes(t));
	UNROLL for (int g = 0; g < 8 / words; g++) {
		UNROLL for (size_t c = 0; c < cols; c++) {
			UNROLL for (size_t r = 0; r < strips; r++) v[r][c] = start_found(t, &from[c], i);
		}
		UNROLL for (int w = g * words; w < g * words + words; w++) {
			__m256i u[STRIPS];
			UNROLL for (size_t r = 0; r < strips; r++) u[r] = tile_word_32(t, p, at, r, w);
			UNROLL for (size_t c = 0; c < cols; c++) {
				__m256i q = spread(x[c].q + b * 32, (size_t)w);
				UNROLL for (size_t r = 0; r < strips; r++) {
					v[r][c] = add_word(t, v[r][c], u[r], q);
					PIN(v[r][c]);
				}
			}
		}
		UNROLL for (size_t c = 0; c < cols; c++) {
			UNROLL for (size_t r = 0; r < strips; r++) {
				__m256i sum = fold_32(t, v[r][c]);
				total[r][c] = g ? _mm256_add_epi32(total[r][c], sum) : sum;
			}
		}
	}
	UNROLL for (size_t r = 0; r < strips; r++) {
		const uint8_t *head = p ? NULL : at[r].at;
		__m256 d = p ? p[r].d : load_scale(t, head), m = d;
		if (kern_has_minima(t))
			m = p ? p[r].m : load_halves(head + 16);
		UNROLL for (size_t c = 0; c < cols; c++) {
			struct sum *to = &s[r][c];
			__m256 dx = _mm256_castsi256_ps(spread(x[c].d, b));
			to->a = _mm256_fmadd_ps(_mm256_mul_ps(d, dx), _mm256_cvtepi32_ps(total[r][c]), to->a);
			if (kern_has_minima(t))
				to->m = _mm256_fmadd_ps(_mm256_mul_ps(m, dx),
				        _mm256_castsi256_ps(spread(x[c].sum, b)), to->m);
		}
	}
}

/* Group i of a part of block b of 256, the k-th of its piece; without panels, both are constants or the part is none. */
INLINE void tile_group(enum kern_type t, size_t strips, size_t cols, __m256i total[STRIPS][FEW],
        const struct panel_256 *p, const struct block *at, const struct scales *const *scales,
        const struct column *x, const starts *from, size_t b, size_t k, int part, int i) {
	int words = group(t) / 4, g = part * part_words(t) / words + i;
	size_t share = block_bytes(t) * (size_t)words /
	               64; /* a few lines at a time, so that loads find space in the queue */
	__m256i v[STRIPS][FEW], u[STRIPS];
	if (!p)
		UNROLL for (size_t r = 0; r < strips; r++)
		        fetch(&at[r], (size_t)g * share, (size_t)(g + 1) * share);
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < strips; r++) v[r][c] =
		        start_found(t, &from[c], k * groups(t) + (size_t)g);
	}
	UNROLL for (int w = 0; w < words; w++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			u[r] = p ? p[r].w[g * words + w]
			         : word_256(t, body_of(t, at[r].at), part, i * words + w);
		}
		UNROLL for (size_t c = 0; c < cols; c++) {
			__m256i q = spread(x[c].q + b * 256, (size_t)(g * words + w));
			UNROLL for (size_t r = 0; r < strips; r++) {
				v[r][c] = add_word(t, v[r][c], u[r], q);
				PIN(v[r][c]);
			}
		}
	}
	UNROLL for (size_t r = 0; r < strips; r++) {
		__m256i sc = scales[r]->sc[g * group(t) * kern_sub_blocks(t) / 256];
		UNROLL for (size_t c = 0; c < cols; c++) {
			total[r][c] = fold_256(t, total[r][c], v[r][c], sc);
		}
	}
}

INLINE void tile_256(enum kern_type t, size_t strips, size_t cols, struct sum s[STRIPS][FEW],
        const struct panel_256 *p, const struct block *at, const struct column *x, const starts *from,
        size_t b, size_t k) {
	__m256i total[STRIPS][FEW];
	struct scales own[STRIPS];
	const struct scales *scales[STRIPS];
	int words = group(t) / 4;
	for (size_t r = 0; r < strips; r++) {
		if (!p)
			read_scales(t, &own[r], at[r].at);
		scales[r] = p ? &p[r].s : &own[r];
		for (size_t c = 0; c < cols; c++)
			total[r][c] = _mm256_setzero_si256();
	}
	if (p) {
		for (int g = 0; g < 64 / words; g++)
			tile_group(t, strips, cols, total, p, at, scales, x, from, b, k, 0, g);
	} else {
		for (int part = 0; part < 64 / part_words(t); part++)
			UNROLL for (int i = 0; i < part_words(t) / words; i++)
			        tile_group(t, strips, cols, total, p, at, scales, x, from, b, k, part, i);
	}
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			finish_256(t, &s[r][c], total[r][c], scales[r], &x[c], b);
		}
	}
}

/* A piece of some strips, unpacked.  The strips of a block are adjacent. */
union panel {
	struct panel_32 a[PIECE_32][STRIPS];
	struct panel_256 b[PIECE_256][STRIPS];
};

/* A piece of the width, blocks [first, last), for `cols` columns of the tile. */
INLINE void run_columns(enum kern_type t, size_t strips, size_t cols, struct sum (*sums)[STRIPS],
        const union panel *panel, const struct column *x, const starts *from, size_t first, size_t last) {
	struct sum s[STRIPS][FEW];
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			s[r][c] = sums[c][r];
	for (size_t b = first; b < last; b++)
		if (kern_block_size(t) == 32)
			tile_32(t, strips, cols, s, panel->a[b - first], NULL, x, from, b, b - first);
		else
			tile_256(t, strips, cols, s, panel->b[b - first], NULL, x, from, b, b - first);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			sums[c][r] = s[r][c];
}

INLINE void run_tile(enum kern_type t, bool gathers, size_t strips, float *y, size_t ldy, const void *w,
        size_t index, size_t rows, size_t n, const struct column *x, size_t cols) {
	union panel panel;
	struct sum sums[TILE][STRIPS];
	starts from[TILE];
	size_t blocks = n / kern_block_size(t), piece = PIECE / kern_block_size(t);
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			sums[c][r].a = sums[c][r].m = _mm256_setzero_ps();
	for (size_t b = 0; b < blocks; b += piece) {
		size_t end = last_of(b, piece, blocks), c = 0;
		find_starts(t, from, x, cols, b, end);
		for (size_t r = 0; r < strips; r++) {
			const uint8_t *strip = strip_at(t, w, index + r, n);
			for (size_t k = b; k < end; k++)
				if (kern_block_size(t) == 32)
					unpack_32(t, &panel.a[k - b][r], strip + k * block_bytes(t));
				else
					unpack_256(
					        t, &panel.b[k - b][r], strip + k * block_bytes(t), gathers);
		}
		for (; c + COLS <= cols; c += COLS)
			run_columns(t, strips, COLS, sums + c, &panel, x + c, from + c, b, end);
		if (strips == STRIPS && cols - c == 3)
			run_columns(t, strips, 3, sums + c, &panel, x + c, from + c, b, end);
		else if (strips == STRIPS && cols - c == 2)
			run_columns(t, strips, 2, sums + c, &panel, x + c, from + c, b, end);
		else
			for (; c < cols; c++)
				run_columns(t, strips, 1, sums + c, &panel, x + c, from + c, b, end);
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			store_rows(
			        y + c * ldy + (index + r) * 8, result(t, sums[c][r]), rows - (index + r) * 8);
}

/* Few columns: packed weights, prefetched as in decode, each unpacked once for all columns. */
INLINE void few_strips(enum kern_type t, const struct way *way, float *y, size_t ldy, const void *w,
        size_t index, size_t strips, size_t rows, size_t n, const struct column *x, size_t cols) {
	const uint8_t *strip[STRIPS];
	struct sum s[STRIPS][FEW];
	starts from[FEW];
	size_t blocks = n / kern_block_size(t), piece = PIECE / kern_block_size(t);
	for (size_t r = 0; r < strips; r++) {
		strip[r] = strip_at(t, w, index + r, n);
		for (size_t c = 0; c < cols; c++)
			s[r][c].a = s[r][c].m = _mm256_setzero_ps();
	}
	for (size_t first = 0, end; first < blocks; first = end) {
		end = last_of(first, piece, blocks);
		find_starts(t, from, x, cols, first, end);
		for (size_t b = first; b < end; b++) {
			struct block at[STRIPS];
			for (size_t r = 0; r < strips; r++)
				at[r] = block_at(t, way, strip[r], strips, n, b);
			if (kern_block_size(t) == 32)
				tile_32(t, strips, cols, s, NULL, at, x, from, b, b - first);
			else
				tile_256(t, strips, cols, s, NULL, at, x, from, b, b - first);
		}
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			store_rows(y + c * ldy + (index + r) * 8, result(t, s[r][c]), rows - (index + r) * 8);
}

/* One column over all rows: decode, instantiated once. */
typedef void one_fn(const struct way *way, float *y, const void *w, size_t rows, size_t n, const void *x);

/* `cols` columns over `side` strips from k on; the remaining columns are computed one by one. */
INLINE void few_columns(enum kern_type t, one_fn *one, const struct way *way, float *y, size_t ldy,
        const void *w, size_t k, size_t side, size_t rows, size_t n, const void *x, size_t xstride,
        const struct column *col, size_t cols) {
	size_t left = rows - k * 8 < side * 8 ? rows - k * 8 : side * 8, c = 0;
	const uint8_t *strips = (const uint8_t *)w + k * n / kern_block_size(t) * block_bytes(t);
	if (side == 1 && cols == FEW) {
		few_strips(t, way, y, ldy, w, k, 1, rows, n, col, FEW);
		return;
	}
	for (; c + COLS <= cols; c += COLS) /* the first columns bring the strips into the cache */
		few_strips(t, way, y + c * ldy, ldy, w, k, side, rows, n, col + c, COLS);
	if (c + 2 <= cols) {
		few_strips(t, way, y + c * ldy, ldy, w, k, side, rows, n, col + c, 2);
		c += 2;
	}
	if (c < cols)
		one(way, y + c * ldy + k * 8, strips, left, n, (const uint8_t *)x + c * xstride);
}

/* Strips side by side pay when several columns use the few words of a block. */
INLINE void few(enum kern_type t, one_fn *one, const struct way *way, float *y, size_t ldy, const void *w,
        size_t rows, size_t n, const void *x, size_t xstride, size_t cols) {
	size_t strips = (rows + 7) / 8, k = 0;
	struct column col[FEW];
	for (size_t c = 0; c < cols; c++)
		col[c] = column(t, (const uint8_t *)x + c * xstride, n);
	if (kern_block_size(t) == 32 && cols >= COLS && cols < FEW)
		for (; k + STRIPS <= strips; k += STRIPS)
			few_columns(t, one, way, y, ldy, w, k, STRIPS, rows, n, x, xstride, col, cols);
	for (; k < strips; k++)
		few_columns(t, one, way, y, ldy, w, k, 1, rows, n, x, xstride, col, cols);
}

INLINE void mul(enum kern_type t, one_fn *one, const struct way *way, float *y, size_t ldy, const void *w,
        size_t rows, size_t n, const void *x, size_t xstride, size_t cols) {
	struct column tile[TILE];
	if (cols == 1) {
		one(way, y, w, rows, n, x);
		return;
	}
	if (cols <= FEW && !kern_has_grid(t) && t != KERN_TQ1_0) { /* whose unpacking is worth a panel */
		few(t, one, way, y, ldy, w, rows, n, x, xstride, cols);
		return;
	}
	for (size_t c0 = 0; c0 < cols; c0 += TILE) {
		size_t count = cols - c0 < TILE ? cols - c0 : TILE, strips = (rows + 7) / 8, k = 0;
		for (size_t c = 0; c < count; c++)
			tile[c] = column(t, (const uint8_t *)x + (c0 + c) * xstride, n);
		for (; k + STRIPS <= strips; k += STRIPS)
			run_tile(t, way->gathers, STRIPS, y + c0 * ldy, ldy, w, k, rows, n, tile, count);
		if (k < strips)
			run_tile(t, way->gathers, 1, y + c0 * ldy, ldy, w, k, rows, n, tile, count);
	}
}

/* The ways of a type are thin: what they call is compiled once. */
#define CORES(TYPE, name) \
	static __attribute__((noinline)) void name##_one( \
	        const struct way *way, float *y, const void *w, size_t rows, size_t n, const void *x) { \
		size_t done = 0; \
		if (goes_beside(KERN_##TYPE) && way->beside) \
			done = decode_beside(KERN_##TYPE, way, y, w, rows, n, x); \
		if (kern_has_grid(KERN_##TYPE) && way->gathers) \
			decode(KERN_##TYPE, way, true, y, w, done, rows, n, x); \
		else \
			decode(KERN_##TYPE, way, false, y, w, done, rows, n, x); \
	} \
	static __attribute__((noinline)) \
	KERN_DEFINE_MUL_WITH(const struct way *way, name##_mul, mul, KERN_##TYPE, name##_one, way)

#define WAY(function, core, ...) \
	KERN_DEFINE_MUL(AVX2_LEVEL(function), core, (&(const struct way){__VA_ARGS__}))

#define MUL(TYPE, name, ...) \
	CORES(TYPE, name) \
	WAY(name##_far, name##_mul, HINT_SECOND, FAR) \
	WAY(name##_near, name##_mul, HINT_FIRST, NEAR) \
	WAY(name##_plain, name##_mul, HINT_NONE, 0) \
	WAY(name##_beside, name##_mul, HINT_FIRST, BESIDE, .beside = true)

/* Data that take longer to look up than to arrive are best where they are used. */
#define MUL_GRID(TYPE, name, ...) \
	CORES(TYPE, name) \
	WAY(name##_loads, name##_mul, HINT_FIRST, NEAR) \
	WAY(name##_gathers, name##_mul, HINT_FIRST, NEAR, .gathers = true)

#endif
