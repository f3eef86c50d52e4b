/* pack: canonical rows into strips and back, driven by one table (pack.h).  Pure; any thread. */
#include "kernels/pack.h"
#include "kernels/layout.h"
#include <string.h>

#define FIELD(type, name, unit, body) \
	{ offsetof(struct type, name), sizeof(((struct type *)0)->name), unit, body }

static const struct kern_layout layouts[KERN_TYPES] = {
        [KERN_F32] = {{{0, 4, 4, 1}}},
        [KERN_F16] = {{{0, 2, 2, 1}}},
        [KERN_BF16] = {{{0, 2, 2, 1}}},
        [KERN_Q4_0] = {{FIELD(q4_0, d, 2, 0), FIELD(q4_0, qs, 4, 1)}},
        [KERN_Q4_1] = {{FIELD(q4_1, d, 2, 0), FIELD(q4_1, m, 2, 0), FIELD(q4_1, qs, 4, 1)}},
        [KERN_Q5_0] = {{FIELD(q5_0, d, 2, 0), FIELD(q5_0, qh, 4, 1), FIELD(q5_0, qs, 4, 1)}},
        [KERN_Q5_1] = {{FIELD(q5_1, d, 2, 0), FIELD(q5_1, m, 2, 0), FIELD(q5_1, qh, 4, 1),
                FIELD(q5_1, qs, 4, 1)}},
        [KERN_Q8_0] = {{FIELD(q8_0, d, 2, 0), FIELD(q8_0, qs, 4, 1)}},
        [KERN_IQ4_NL] = {{FIELD(iq4_nl, d, 2, 0), FIELD(iq4_nl, qs, 4, 1)}},
        [KERN_Q2_K] = {{FIELD(q2_k, d, 2, 0), FIELD(q2_k, dmin, 2, 0), FIELD(q2_k, scales, 4, 0),
                FIELD(q2_k, qs, 4, 1)}},
        [KERN_Q3_K] = {{FIELD(q3_k, d, 2, 0), FIELD(q3_k, scales, 4, 0), FIELD(q3_k, hmask, 4, 1),
                FIELD(q3_k, qs, 4, 1)}},
        [KERN_Q4_K] = {{FIELD(q4_k, d, 2, 0), FIELD(q4_k, dmin, 2, 0), FIELD(q4_k, scales, 4, 0),
                FIELD(q4_k, qs, 4, 1)}},
        [KERN_Q5_K] = {{FIELD(q5_k, d, 2, 0), FIELD(q5_k, dmin, 2, 0), FIELD(q5_k, scales, 4, 0),
                FIELD(q5_k, qh, 4, 1), FIELD(q5_k, qs, 4, 1)}},
        [KERN_Q6_K] = {{FIELD(q6_k, d, 2, 0), FIELD(q6_k, scales, 4, 0), FIELD(q6_k, ql, 4, 1),
                FIELD(q6_k, qh, 4, 1)}},
};

const struct kern_layout *kern_layout(enum kern_type type) {
	return &layouts[type];
}

size_t kern_head_bytes(enum kern_type type) {
	size_t bytes = 0;
	for (int f = 0; f < KERN_FIELDS; f++)
		if (!layouts[type].field[f].body)
			bytes += layouts[type].field[f].length;
	return bytes;
}

/* Copies `units` units of `unit` bytes between one strip position, where the eight rows stand side by side,
 * and the rows themselves, `stride` bytes apart.  Called with constants, so that the copies are moves. */
static inline __attribute__((always_inline)) void interleave(
        uint8_t *packed, const uint8_t *rows, size_t stride, size_t units, size_t unit) {
	for (size_t u = 0; u < units; u++)
		for (size_t r = 0; r < KERN_STRIP; r++)
			memcpy(packed + (u * KERN_STRIP + r) * unit, rows + r * stride + u * unit, unit);
}

static inline __attribute__((always_inline)) void separate(
        uint8_t *rows, const uint8_t *packed, size_t stride, size_t units, size_t unit, size_t count) {
	for (size_t u = 0; u < units; u++)
		for (size_t r = 0; r < count; r++)
			memcpy(rows + r * stride + u * unit, packed + (u * KERN_STRIP + r) * unit, unit);
}

/* Packs `count` rows into a strip; the rest of the strip becomes zero. */
static void pack_strip(enum kern_type type, uint8_t *dst, const uint8_t *src, size_t count, size_t n) {
	const struct kern_field *field = layouts[type].field;
	size_t row = kern_row_bytes(type, n), block = kern_traits(type)->bytes, blocks = row / block;
	uint8_t *part[2] = {dst, dst + kern_head_bytes(type) * blocks * KERN_STRIP};
	if (count < KERN_STRIP)
		memset(dst, 0, row * KERN_STRIP);
	if (kern_traits(type)->block == 1) { /* a row is one long field */
		block = row;
		blocks = 1;
	}
	for (size_t b = 0; b < blocks; b++)
		for (int f = 0; f < KERN_FIELDS && field[f].length; f++) {
			const uint8_t *from = src + b * block + field[f].offset;
			size_t length = kern_traits(type)->block == 1 ? row : field[f].length;
			uint8_t **to = &part[field[f].body];
			if (count < KERN_STRIP)
				for (size_t r = 0; r < count; r++)
					for (size_t i = 0; i < length; i += field[f].unit)
						memcpy(*to + i * KERN_STRIP + r * field[f].unit,
						        from + r * row + i, field[f].unit);
			else if (field[f].unit == 2)
				interleave(*to, from, row, length / 2, 2);
			else
				interleave(*to, from, row, length / 4, 4);
			*to += length * KERN_STRIP;
		}
}

static void unpack_strip(enum kern_type type, uint8_t *dst, const uint8_t *src, size_t count, size_t n) {
	const struct kern_field *field = layouts[type].field;
	size_t row = kern_row_bytes(type, n), block = kern_traits(type)->bytes, blocks = row / block;
	const uint8_t *part[2] = {src, src + kern_head_bytes(type) * blocks * KERN_STRIP};
	if (kern_traits(type)->block == 1) {
		block = row;
		blocks = 1;
	}
	for (size_t b = 0; b < blocks; b++)
		for (int f = 0; f < KERN_FIELDS && field[f].length; f++) {
			uint8_t *to = dst + b * block + field[f].offset;
			size_t length = kern_traits(type)->block == 1 ? row : field[f].length;
			const uint8_t **from = &part[field[f].body];
			if (field[f].unit == 2)
				separate(to, *from, row, length / 2, 2, count);
			else if (count < KERN_STRIP)
				separate(to, *from, row, length / 4, 4, count);
			else
				separate(to, *from, row, length / 4, 4, KERN_STRIP);
			*from += length * KERN_STRIP;
		}
}

void kern_pack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n) {
	size_t row = kern_row_bytes(type, n);
	for (size_t r = 0; r < rows; r += KERN_STRIP)
		pack_strip(type, (uint8_t *)dst + r * row, (const uint8_t *)src + r * row,
		        rows - r < KERN_STRIP ? rows - r : KERN_STRIP, n);
}

void kern_unpack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n) {
	size_t row = kern_row_bytes(type, n);
	for (size_t r = 0; r < rows; r += KERN_STRIP)
		unpack_strip(type, (uint8_t *)dst + r * row, (const uint8_t *)src + r * row,
		        rows - r < KERN_STRIP ? rows - r : KERN_STRIP, n);
}

void kern_strip_block(enum kern_type type, void *dst, const void *strip, size_t n, size_t r, size_t b) {
	const struct kern_field *field = layouts[type].field;
	size_t bytes = kern_traits(type)->bytes, head = kern_head_bytes(type);
	size_t blocks = n / kern_traits(type)->block;
	const uint8_t *part[2] = {(const uint8_t *)strip + b * head * KERN_STRIP,
	        (const uint8_t *)strip + (blocks * head + b * (bytes - head)) * KERN_STRIP};
	for (int f = 0; f < KERN_FIELDS && field[f].length; f++) {
		const uint8_t **from = &part[field[f].body];
		for (size_t i = 0; i < field[f].length; i += field[f].unit)
			memcpy((uint8_t *)dst + field[f].offset + i,
			        *from + i * KERN_STRIP + r * field[f].unit, field[f].unit);
		*from += (size_t)field[f].length * KERN_STRIP;
	}
}
