/* pack: canonical rows into strips and back, driven by one table (pack.h).  Pure; any thread. */
#include "kernels/pack.h"
#include "kernels/formats.h"
#include "kernels/pack_grid.h"
#include <string.h>

#define FIELD(type, name, unit, body) \
	{ offsetof(struct type, name), sizeof(((struct type *)0)->name), unit, body, 0 }
#define HALF(type, name) \
	{ offsetof(struct type, name), 2, 2, 0, 1 }

static const struct kern_layout layouts[KERN_TYPES] = {
        [KERN_F32] = {{{0, 4, 4, 1, 0}}},
        [KERN_F16] = {{{0, 2, 2, 1, 1}}},
        [KERN_BF16] = {{{0, 2, 2, 1, 1}}},
        [KERN_Q4_0] = {{HALF(q4_0, d), FIELD(q4_0, qs, 4, 1)}},
        [KERN_Q4_1] = {{HALF(q4_1, d), HALF(q4_1, m), FIELD(q4_1, qs, 4, 1)}},
        [KERN_Q5_0] = {{HALF(q5_0, d), FIELD(q5_0, qh, 4, 1), FIELD(q5_0, qs, 4, 1)}},
        [KERN_Q5_1] = {{HALF(q5_1, d), HALF(q5_1, m), FIELD(q5_1, qh, 4, 1), FIELD(q5_1, qs, 4, 1)}},
        [KERN_Q8_0] = {{HALF(q8_0, d), FIELD(q8_0, qs, 4, 1)}},
        [KERN_IQ4_NL] = {{HALF(iq4_nl, d), FIELD(iq4_nl, qs, 4, 1)}},
        [KERN_MXFP4] = {{FIELD(mxfp4, e, 1, 0), FIELD(mxfp4, qs, 4, 1)}},
        [KERN_Q2_K] = {{HALF(q2_k, d), HALF(q2_k, dmin), FIELD(q2_k, scales, 4, 0), FIELD(q2_k, qs, 4, 1)}},
        [KERN_Q3_K] = {{HALF(q3_k, d), FIELD(q3_k, scales, 4, 0), FIELD(q3_k, hmask, 4, 1),
                FIELD(q3_k, qs, 4, 1)}},
        [KERN_Q4_K] = {{HALF(q4_k, d), HALF(q4_k, dmin), FIELD(q4_k, scales, 4, 0), FIELD(q4_k, qs, 4, 1)}},
        [KERN_Q5_K] = {{HALF(q5_k, d), HALF(q5_k, dmin), FIELD(q5_k, scales, 4, 0), FIELD(q5_k, qh, 4, 1),
                FIELD(q5_k, qs, 4, 1)}},
        [KERN_Q6_K] = {{HALF(q6_k, d), FIELD(q6_k, scales, 4, 0), FIELD(q6_k, ql, 4, 1),
                FIELD(q6_k, qh, 4, 1)}},
        [KERN_IQ4_XS] = {{HALF(iq4_xs, d), FIELD(iq4_xs, scales_h, 2, 0), FIELD(iq4_xs, scales_l, 4, 0),
                FIELD(iq4_xs, qs, 4, 1)}},
        [KERN_IQ2_XXS] = {{HALF(iq2_xxs, d), FIELD(iq2_xxs, qs, 4, 1)}},
        [KERN_IQ2_XS] = {{HALF(iq2_xs, d), FIELD(iq2_xs, scales, 4, 0), FIELD(iq2_xs, qs, 4, 1)}},
        [KERN_IQ2_S] = {{HALF(iq2_s, d), FIELD(iq2_s, scales, 4, 0), FIELD(iq2_s, qs, 4, 1),
                FIELD(iq2_s, signs, 4, 1), FIELD(iq2_s, qh, 4, 1)}},
        [KERN_IQ3_XXS] = {{HALF(iq3_xxs, d), FIELD(iq3_xxs, qs, 4, 1), FIELD(iq3_xxs, signs, 4, 1)}},
        [KERN_IQ3_S] = {{HALF(iq3_s, d), FIELD(iq3_s, scales, 4, 0), FIELD(iq3_s, qs, 4, 1),
                FIELD(iq3_s, qh, 4, 1), FIELD(iq3_s, signs, 4, 1)}},
        [KERN_IQ1_S] = {{HALF(iq1_s, d), FIELD(iq1_s, qs, 4, 1), FIELD(iq1_s, qh, 4, 1)}},
        [KERN_IQ1_M] = {{FIELD(iq1_m, scales, 4, 0), FIELD(iq1_m, qs, 4, 1), FIELD(iq1_m, qh, 4, 1)}},
        [KERN_TQ1_0] = {{HALF(tq1_0, d), FIELD(tq1_0, qs, 4, 1), FIELD(tq1_0, qh, 4, 1)}},
        [KERN_TQ2_0] = {{HALF(tq2_0, d), FIELD(tq2_0, qs, 4, 1)}},
};

const struct kern_layout *kern_layout(enum kern_type type) {
	return &layouts[type];
}

/* The position of unit i of field f in the body of a block, in units: units of several fields that are used
 * together are adjacent, so that going through the elements goes through memory. */
static size_t body_unit(enum kern_type type, int f, size_t i) {
	switch (type) {
	case KERN_Q5_0: /* d, qh, qs */
		return f == 1 ? i : 1 + i;
	case KERN_Q5_1: /* d, m, qh, qs */
		return f == 2 ? i : 1 + i;
	case KERN_Q3_K: /* d, scales, hmask, qs: each unit of hmask before the first that has its lower bits */
		return f == 2 ? 2 * i : kern_lower_unit(i);
	case KERN_Q5_K: /* d, dmin, scales, qh, qs: likewise */
		return f == 3 ? 2 * i : kern_lower_unit(i);
	case KERN_Q6_K: /* d, scales, ql, qh: two units of ql and the one of qh that has their upper bits */
		return f == 3 ? i / 8 * 24 + i % 8 * 3 + 2 : i / 16 * 24 + i % 8 * 3 + i / 8 % 2;
	default: /* the fields one after the other */
		for (int k = 0; k < f; k++)
			if (layouts[type].field[k].body)
				i += layouts[type].field[k].length / layouts[type].field[k].unit;
		return i;
	}
}

/* A unit: its bytes, and its offsets in a canonical block and in the block of a strip (for one row). */
struct unit {
	size_t size, from, to;
};

enum { UNITS = 56, BLOCK = sizeof(struct q6_k) }; /* the most in a block, 53 units, and the largest: Q6_K */

/* Lists all units of a block of a type; returns their number. */
static size_t units_of(enum kern_type type, struct unit *unit) {
	const struct kern_field *field = layouts[type].field;
	size_t count = 0, head = 0;
	for (int f = 0; f < KERN_FIELDS && field[f].length; f++) {
		for (size_t i = 0; i < field[f].length / field[f].unit; i++)
			unit[count++] = (struct unit){field[f].unit, field[f].offset + i * field[f].unit,
			        head + field[f].unit * (field[f].body ? body_unit(type, f, i) : i)};
		if (!field[f].body)
			head += field[f].length;
	}
	return count;
}

/* Copies a unit between the packed block, where the eight rows are side by side, and the rows themselves,
 * `stride` bytes apart.  Called with constants, so that the copies become moves. */
static inline __attribute__((always_inline)) void interleave(
        uint8_t *packed, const uint8_t *rows, size_t stride, size_t size) {
	for (size_t r = 0; r < KERN_STRIP; r++)
		memcpy(packed + r * size, rows + r * stride, size);
}

static inline __attribute__((always_inline)) void separate(
        uint8_t *rows, const uint8_t *packed, size_t stride, size_t size, size_t count) {
	for (size_t r = 0; r < count; r++)
		memcpy(rows + r * stride, packed + r * size, size);
}

/* Packs `count` rows into a strip. */
static void pack_strip(const struct unit *unit, size_t units, size_t bytes, uint8_t *dst, const uint8_t *src,
        size_t count, size_t row) {
	for (size_t b = 0; b < row; b += bytes, dst += bytes * KERN_STRIP)
		for (size_t u = 0; u < units; u++) {
			uint8_t *to = dst + unit[u].to * KERN_STRIP;
			const uint8_t *from = src + b + unit[u].from;
			if (count < KERN_STRIP)
				for (size_t r = 0; r < count; r++)
					memcpy(to + r * unit[u].size, from + r * row, unit[u].size);
			else if (unit[u].size == 1)
				interleave(to, from, row, 1);
			else if (unit[u].size == 2)
				interleave(to, from, row, 2);
			else
				interleave(to, from, row, 4);
		}
}

/* The same for a type with a codebook, block by block. */
static void pack_strip_grid(enum kern_type type, const struct unit *unit, size_t units, uint8_t *dst,
        const uint8_t *src, size_t count, size_t row) {
	size_t bytes = kern_traits(type)->bytes;
	uint8_t blocks[KERN_STRIP * BLOCK];
	for (size_t b = 0; b < row; b += bytes, dst += bytes * KERN_STRIP) {
		for (size_t r = 0; r < count; r++) {
			memcpy(blocks + r * bytes, src + r * row + b, bytes);
			kern_grid_pack(type, blocks + r * bytes);
		}
		pack_strip(unit, units, bytes, dst, blocks, count, bytes);
	}
}

static void unpack_strip(const struct unit *unit, size_t units, size_t bytes, uint8_t *dst,
        const uint8_t *src, size_t count, size_t row) {
	for (size_t b = 0; b < row; b += bytes, src += bytes * KERN_STRIP)
		for (size_t u = 0; u < units; u++) {
			uint8_t *to = dst + b + unit[u].from;
			const uint8_t *from = src + unit[u].to * KERN_STRIP;
			if (unit[u].size == 1)
				separate(to, from, row, 1, count);
			else if (unit[u].size == 2)
				separate(to, from, row, 2, count);
			else if (count < KERN_STRIP)
				separate(to, from, row, 4, count);
			else
				separate(to, from, row, 4, KERN_STRIP);
		}
}

void kern_pack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n) {
	struct unit unit[UNITS];
	size_t row = kern_row_bytes(type, n), units = units_of(type, unit);
	for (size_t r = 0; r < rows; r += KERN_STRIP) {
		size_t count = rows - r < KERN_STRIP ? rows - r : KERN_STRIP;
		uint8_t *strip = (uint8_t *)dst + r * row;
		const uint8_t *from = (const uint8_t *)src + r * row;
		if (count < KERN_STRIP)
			memset(strip, 0, row * KERN_STRIP);
		if (kern_has_grid(type))
			pack_strip_grid(type, unit, units, strip, from, count, row);
		else
			pack_strip(unit, units, kern_traits(type)->bytes, strip, from, count, row);
	}
}

void kern_unpack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n) {
	struct unit unit[UNITS];
	size_t row = kern_row_bytes(type, n), units = units_of(type, unit);
	for (size_t r = 0; r < rows; r += KERN_STRIP)
		unpack_strip(unit, units, kern_traits(type)->bytes, (uint8_t *)dst + r * row,
		        (const uint8_t *)src + r * row, rows - r < KERN_STRIP ? rows - r : KERN_STRIP, row);
	for (size_t b = 0; b < rows * row && kern_has_grid(type); b += kern_traits(type)->bytes)
		kern_grid_unpack(type, (uint8_t *)dst + b);
}

void kern_strip_block(enum kern_type type, void *dst, const void *strip, size_t r, size_t b) {
	struct unit unit[UNITS];
	size_t units = units_of(type, unit);
	const uint8_t *block = (const uint8_t *)strip + b * kern_traits(type)->bytes * KERN_STRIP;
	for (size_t u = 0; u < units; u++)
		memcpy((uint8_t *)dst + unit[u].from, block + unit[u].to * KERN_STRIP + r * unit[u].size,
		        unit[u].size);
	kern_grid_unpack(type, dst);
}
