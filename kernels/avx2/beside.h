/* beside: one column over four strips at a time, each from another quarter of the strips; part of quants_tmpl.h.
 *
 * Four streams run through memory and take turns of a few hundred bytes.  Each continues from strip to strip, so that none starts anew
 * but in a page of 4 KiB, while the other three go on.  Every line is prefetched once, in ascending order, one or two at a time: lines
 * asked for twice, out of order or many at once cost more than they bring (doc/performance-log.md). */
#ifndef KERNELS_AVX2_BESIDE_H
#define KERNELS_AVX2_BESIDE_H

/* Prefetches the lines that begin in a block's next. */
INLINE void fetch_beginning(enum kern_type t, const struct block *block) {
	const char *end = (const char *)block->next + block_bytes(t), *line = (const char *)block->next;
	line += -(uintptr_t)line % 64;
	UNROLL for (size_t i = 0; i < block_bytes(t) / 64; i++) _mm_prefetch(line + i * 64, _MM_HINT_T0);
	line += block_bytes(t) / 64 * 64;
	if (line < end)
		_mm_prefetch(line, _MM_HINT_T0);
}

/* ---- K types, four units (32 bytes, of 16 elements' words or more) of each strip in turn ---- */

/* Types with blocks of parts whose units are unpacked here. */
INLINE bool has_units(enum kern_type t) {
	return t == KERN_Q2_K || t == KERN_Q3_K || t == KERN_Q4_K || t == KERN_Q5_K || t == KERN_Q6_K;
}

/* The words of a unit: element 32 j + 4 l of a part is in word j of its unit l. */
INLINE int unit_words(enum kern_type t) {
	return part_words(t) / 8;
}

/* Words j are multiplied as they lie, so many bits further up: a shift of sums replaces those of words.  Without VNNI sums have 16 bits,
 * and two are what fits. */
INLINE int bits_up(enum kern_type t, int j) {
#ifdef AVX2_VNNI
	switch (t) {
	case KERN_Q2_K:
		return 2 * j;
	case KERN_Q3_K:
		return j == 3 ? 4 : 2 * j;
	case KERN_Q4_K:
		return 4 * j;
	case KERN_Q5_K:
		return j;
	default: /* KERN_Q6_K */
		return j == 3 ? 2 : 0;
	}
#else
	return t == KERN_Q2_K || t == KERN_Q3_K ? j % 2 * 2 : 0;
#endif
}

INLINE __m256i shift_sums(__m256i v, int up) {
#ifdef AVX2_VNNI
	return up > 0 ? _mm256_slli_epi32(v, up) : up < 0 ? _mm256_srai_epi32(v, -up) : v;
#else
	return up > 0 ? _mm256_slli_epi16(v, up) : up < 0 ? _mm256_srai_epi16(v, -up) : v;
#endif
}

INLINE __m256i bits(__m256i v, int mask) {
	return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* The bits of a mask from a, with those of b. */
INLINE __m256i join(__m256i a, int mask, __m256i b) {
#ifdef AVX512_VNNI
	return _mm256_ternarylogic_epi32(a, _mm256_set1_epi8((char)mask), b, 0xea); /* a & mask | b */
#else
	return _mm256_or_si256(bits(a, mask), b);
#endif
}

/* Shifts up, or down by a negative number. */
INLINE __m256i shift(__m256i v, int up) {
	return up > 0 ? _mm256_slli_epi32(v, up) : up < 0 ? _mm256_srli_epi32(v, -up) : v;
}

/* The words of Q3_K: bits 0, 1 from a, bit 2 from bit 4 * part + j of b. */
INLINE void unit_q3_k(__m256i *u, __m256i a, __m256i b, int part) {
	int at = 4 * part;
#ifdef AVX2_VNNI
	__m256i odd = shift(b, 3 - at);
	u[0] = join(a, 3, bits(shift(b, 2 - at), 4));
	u[1] = join(a, 12, bits(odd, 16));
	u[2] = join(a, 48, bits(shift(b, 4 - at), 64));
	u[3] = join(shift(a, -2), 48, bits(odd, 64));
#else
	__m256i upper = shift(a, -4);
	u[0] = join(a, 3, bits(shift(b, 2 - at), 4));
	u[1] = join(a, 12, bits(shift(b, 3 - at), 16));
	u[2] = join(upper, 3, bits(shift(b, -at), 4));
	u[3] = join(upper, 12, bits(shift(b, 1 - at), 16));
#endif
}

/* Those of Q5_K: a nibble from a, the fifth from bit 2 * part + j of b. */
INLINE void unit_q5_k(__m256i *u, __m256i a, __m256i b, int part) {
	b = shift(b, 4 - 2 * part);
	u[0] = join(a, 15, bits(b, 16));
#ifdef AVX2_VNNI
	u[1] = join(shift(a, -3), 30, bits(b, 32));
#else
	u[1] = join(shift(a, -4), 15, bits(shift(b, -1), 16));
#endif
}

/* Those of Q6_K: nibbles from a and b, upper bits from c. */
INLINE void unit_q6_k(__m256i *u, __m256i a, __m256i b, __m256i c) {
	u[0] = join(a, 15, bits(shift(c, 4), 48));
	u[1] = join(b, 15, bits(shift(c, 2), 48));
	u[2] = join(shift(a, -4), 15, bits(c, 48));
#ifdef AVX2_VNNI
	u[3] = join(shift(b, -2), 60, bits(c, 192));
#else
	u[3] = join(shift(b, -4), 15, bits(shift(c, -2), 48));
#endif
}

/* The words of unit l of a part, each bits_up. */
INLINE void read_unit(enum kern_type t, __m256i *u, const uint8_t *body, int part, int l) {
	const uint8_t *at = body + (part * 8 + l) * 32,
	              *lower = body + (int)kern_lower_unit((size_t)(part * 8 + l)) * 32;
	switch (t) {
	case KERN_Q2_K:
		UNROLL for (int j = 0; j < 4; j++) {
			int up = bits_up(t, j);
			u[j] = bits(shift(load(at), up - 2 * j), 3 << up);
		}
		return;
	case KERN_Q3_K:
		unit_q3_k(u, load(lower), load(body + 2 * l * 32), part);
		return;
	case KERN_Q4_K:
		u[0] = low_nibbles(load(at));
		u[1] = bits_up(t, 1) ? bits(load(at), 240) : high_nibbles(load(at));
		return;
	case KERN_Q5_K:
		unit_q5_k(u, load(lower), load(body + 2 * l * 32), part);
		return;
	default: /* KERN_Q6_K */
		at = body + (part * 8 + l) * 96;
		unit_q6_k(u, load(at), load(at + 32), load(at + 64));
	}
}

/* Iterations over a block, four units each, and the lines prefetched in each; remaining lines are prefetched first. */
INLINE size_t turns(enum kern_type t) {
	return 128 / (size_t)part_words(t);
}
INLINE size_t lines(enum kern_type t) {
	return (block_bytes(t) + 63) / 64;
}
INLINE size_t lines_left(enum kern_type t) {
	return lines(t) % turns(t);
}

/* A turn of one strip: adds units 4 * half.. of a part to its total. */
INLINE __m256i take_turn(enum kern_type t, __m256i total, const struct block *block, const __m256i *sc,
        const __m256i *first, const uint8_t *q, int part, int half) {
	const size_t each = lines(t) / turns(t);
	const uint8_t *next = block->next + (lines_left(t) + each * (size_t)(2 * part + half)) * 64;
	int words = unit_words(t);
	__m256i v[4], u[4];
	HIDE(q);
	UNROLL for (int j = 0; j < words; j++) v[j] = first[j];
	UNROLL for (size_t i = 0; i < 4; i++) {
		UNROLL for (size_t k = each * i / 4; k < each * (i + 1) / 4; k++)
		        _mm_prefetch((const char *)next + k * 64, _MM_HINT_T0);
		read_unit(t, u, body_of(t, block->at), part, 4 * half + (int)i);
		UNROLL for (int j = 0; j < words; j++) {
			v[j] = add_word(t, v[j], u[j], spread(q, (size_t)(8 * j) + i));
			PIN(v[j]);
		}
	}
	UNROLL for (int j = 0; j < words; j++) {
		int group = part * 2 * words + 2 * j + half; /* of 16 elements */
		total = fold_256(
		        t, total, shift_sums(v[j], -bits_up(t, j)), sc[group * kern_sub_blocks(t) / 16]);
	}
	return total;
}

/* Whether the loop over strips costs more than its code; where registers are few, the compiler fills them with what strips share. */
INLINE bool unrolls(enum kern_type t) {
#ifdef AVX2_VNNI
	return t == KERN_Q2_K || t == KERN_Q4_K;
#else
	return false;
#endif
}

/* A turn of each strip. */
INLINE void take_turns(enum kern_type t, __m256i total[SIDE], const struct block *block,
        const struct scales *scales, const struct column *x, size_t b, int part, int half) {
	const uint8_t *q = x->q + b * 256 + (size_t)(part * part_words(t) * 4 + half * 16);
	int words = unit_words(t);
	__m256i first[4];
	UNROLL for (int j = 0; j < words; j++) {
		first[j] = _mm256_setzero_si256();
		if (has_offset(t))
			first[j] = shift_sums(
			        start_of(t, spread(x->repair,
			                            b * 16 + (size_t)(part * 2 * words + 2 * j + half))),
			        bits_up(t, j));
	}
	if (unrolls(t))
		UNROLL for (int r = 0; r < SIDE; r++) total[r] =
		        take_turn(t, total[r], &block[r], scales[r].sc, first, q, part, half);
	else
		for (int r = 0; r < SIDE; r++)
			total[r] = take_turn(t, total[r], &block[r], scales[r].sc, first, q, part, half);
}

INLINE void decode_beside_256(
        enum kern_type t, struct sum s[SIDE], const struct block *block, const struct column *x, size_t b) {
	struct scales scales[SIDE];
	__m256i total[SIDE];
	int parts = 64 / part_words(t);
	for (int r = 0; r < SIDE; r++) {
		UNROLL for (size_t i = 0; i < lines_left(t); i++)
		        _mm_prefetch((const char *)block[r].next + i * 64, _MM_HINT_T0);
		read_scales(t, &scales[r], block[r].at);
		total[r] = _mm256_setzero_si256();
	}
	if (t == KERN_Q3_K || t == KERN_Q5_K) /* whose shifts depend on the part */
		UNROLL for (int part = 0; part < parts; part++) {
			for (int half = 0; half < 2; half++)
				take_turns(t, total, block, scales, x, b, part, half);
		}
	else
		for (int part = 0; part < parts; part++)
			for (int half = 0; half < 2; half++)
				take_turns(t, total, block, scales, x, b, part, half);
	for (int r = 0; r < SIDE; r++)
		finish_256(t, &s[r], total[r], &scales[r], x, b);
}

/* ---- IQ4_XS, sub-block by sub-block ----
 *
 * Without VNNI the magnitudes of activations, which all strips share, are the unsigned factor, and a
 * scale is applied where products are widened. */
INLINE __m256i begin_scaled(__m256i total, __m256i start) {
#ifdef AVX2_VNNI
	return start;
#else
	return total;
#endif
}

INLINE __m256i add_scaled_word(__m256i v, __m256i u, __m256i q, __m256i sc) {
#ifdef AVX2_VNNI
	return add_products(v, u, q);
#else
	__m256i products = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(u, q));
	return _mm256_add_epi32(v, _mm256_madd_epi16(products, sc));
#endif
}

INLINE __m256i end_scaled(__m256i total, __m256i v, __m256i sc) {
#ifdef AVX2_VNNI
	return fold_256(KERN_IQ4_XS, total, v, sc);
#else
	return v;
#endif
}

/* Adds sub-block k of each strip to its total. */
INLINE void add_beside_iq4_xs(__m256i total[SIDE], const struct block *block, const struct scales *scales,
        const struct column *x, size_t b, size_t k) {
	const enum kern_type t = KERN_IQ4_XS;
	const uint8_t *q = x->q + b * 256 + k * 32, *body[SIDE];
	__m256i v[SIDE];
	UNROLL for (int r = 0; r < SIDE; r++) {
		body[r] = body_of(t, block[r].at) + k * 128;
		v[r] = begin_scaled(total[r], start(t, x, b * 8 + k));
	}
	UNROLL for (int w = 0; w < 4; w++) {
		__m256i low = spread(q, (size_t)w), high = spread(q, (size_t)w + 4);
		UNROLL for (int r = 0; r < SIDE; r++) {
			__m256i sc = scales[r].sc[k];
			if (w % 2 == 0)
				_mm_prefetch(
				        (const char *)block[r].next + 64 + k * 128 + w * 32, _MM_HINT_T0);
			v[r] = add_scaled_word(v[r], word_256(t, body[r], 0, w), low, sc);
			v[r] = add_scaled_word(v[r], word_256(t, body[r], 0, w + 4), high, sc);
			PIN(v[r]);
		}
	}
	UNROLL for (int r = 0; r < SIDE; r++) total[r] = end_scaled(total[r], v[r], scales[r].sc[k]);
}

INLINE void decode_beside_iq4_xs(
        struct sum s[SIDE], const struct block *block, const struct column *x, size_t b) {
	const enum kern_type t = KERN_IQ4_XS;
	struct scales scales[SIDE];
	__m256i total[SIDE];
	UNROLL for (int r = 0; r < SIDE; r++) {
		_mm_prefetch((const char *)block[r].next, _MM_HINT_T0);
		read_scales(t, &scales[r], block[r].at);
		total[r] = _mm256_setzero_si256();
	}
	for (size_t k = 0; k < 8; k++)
		add_beside_iq4_xs(total, block, scales, x, b, k);
	UNROLL for (int r = 0; r < SIDE; r++) finish_256(t, &s[r], total[r], &scales[r], x, b);
}

/* ---- all types ---- */

/* Types that gain by it: what is looked up for long waits for no memory. */
INLINE bool goes_beside(enum kern_type t) {
	return !kern_has_grid(t) && t != KERN_TQ1_0;
}

INLINE void decode_side(
        enum kern_type t, struct sum s[SIDE], const struct block *block, const struct column *x, size_t b) {
	if (t == KERN_IQ4_XS)
		decode_beside_iq4_xs(s, block, x, b);
	else if (has_units(t))
		decode_beside_256(t, s, block, x, b);
	else
		UNROLL for (size_t r = 0; r < SIDE; r++) {
			if (kern_block_size(t) == 32) {
				fetch_beginning(t, &block[r]);
				add_32(t, &s[r], block[r].at, x, b);
			} else
				decode_256(t, &s[r], block[r], x, b);
		}
}

/* Decode of as many strips as four streams of the same length have; returns how many that are. */
INLINE size_t decode_beside(enum kern_type t, const struct way *way, float *y, const void *w, size_t rows,
        size_t n, const void *x) {
	struct column c = column(t, x, n);
	size_t each = (rows + 7) / 8 / SIDE, blocks = n / kern_block_size(t);
	for (size_t k = 0; k < each; k++) {
		struct sum s[SIDE];
		for (size_t r = 0; r < SIDE; r++)
			s[r].a = s[r].m = _mm256_setzero_ps();
		for (size_t b = 0; b < blocks; b++) {
			struct block block[SIDE];
			for (size_t r = 0; r < SIDE; r++) {
				const uint8_t *at = strip_at(t, w, r * each + k, n) + b * block_bytes(t);
				block[r] = (struct block){at, at + way->ahead, HINT_FIRST};
			}
			decode_side(t, s, block, &c, b);
		}
		for (size_t r = 0; r < SIDE; r++)
			store_rows(y + (r * each + k) * 8, result(t, s[r]), rows - (r * each + k) * 8);
	}
	return each * SIDE;
}

#endif
