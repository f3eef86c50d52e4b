/* pack_grid: see pack_grid.h.  Each step of packing has its inverse beside it. */
#include "kernels/pack_grid.h"
#include "kernels/formats.h"
#include <string.h>

/* Four indices of `bits` bits: their lower bytes, and the upper bits of all.  Returns the rest of their number, or those upper bits. */
typedef unsigned indices_fn(uint8_t *low, unsigned high, int bits);

static unsigned pack_indices(uint8_t *low, unsigned high, int bits) {
	uint64_t number = 0;
	for (int j = 0; j < 4; j++, high >>= bits - 8)
		number |= (uint64_t)(low[j] | (high & ((1u << (bits - 8)) - 1)) << 8) << bits * j;
	uint32_t lower = (uint32_t)number;
	memcpy(low, &lower, sizeof lower);
	return (unsigned)(number >> 32);
}

static unsigned unpack_indices(uint8_t *low, unsigned rest, int bits) {
	uint32_t lower;
	unsigned high = 0;
	memcpy(&lower, low, sizeof lower);
	uint64_t number = lower | (uint64_t)rest << 32;
	for (int j = 0; j < 4; j++) {
		unsigned index = (unsigned)(number >> bits * j) & ((1u << bits) - 1);
		low[j] = (uint8_t)index;
		high |= (index >> 8) << (bits - 8) * j;
	}
	return high;
}

/* Two words of signs, of eight groups. */
typedef void signs_fn(uint32_t w[2]);

static void pack_signs(uint32_t w[2]) {
	uint32_t lower = 0, upper = 0;
	for (int g = 0; g < 8; g++) { /* four bits, one into each byte */
		uint32_t eight = w[g / 4] >> g % 4 * 8 & 0xff;
		lower |= ((eight & 15) * 0x00204081u & 0x01010101u) << g;
		upper |= ((eight >> 4) * 0x00204081u & 0x01010101u) << g;
	}
	w[0] = lower;
	w[1] = upper;
}

static void unpack_signs(uint32_t w[2]) {
	uint32_t two[2] = {0, 0};
	for (int g = 0; g < 8; g++) { /* one bit of each byte, to the top */
		uint32_t lower = (w[0] >> g & 0x01010101u) * 0x01020408u >> 24 & 15,
		         upper = (w[1] >> g & 0x01010101u) * 0x01020408u >> 24 & 15;
		two[g / 4] |= (lower | upper << 4) << g % 4 * 8;
	}
	memcpy(w, two, sizeof two);
}

/* The same of four times seven signs and a nibble on top. */
static void pack_sevens(uint32_t w[2]) {
	uint32_t nibbles = w[0] >> 28 | w[1] >> 28 << 4;
	for (int k = 0; k < 2; k++)
		w[k] = (w[k] & 0x7f) | (w[k] & 0x3f80) << 1 | (w[k] & 0x1fc000) << 2 |
		       (w[k] & 0xfe00000) << 3;
	pack_signs(w);
	w[1] |= nibbles << 24;
}

static void unpack_sevens(uint32_t w[2]) {
	uint32_t nibbles = w[1] >> 24;
	w[1] &= 0xffffff;
	unpack_signs(w);
	for (int k = 0; k < 2; k++)
		w[k] = (w[k] & 0x7f) | (w[k] & 0x7f00) >> 1 | (w[k] & 0x7f0000) >> 2 |
		       (w[k] & 0x7f000000) >> 3 | (nibbles >> 4 * k & 15) << 28;
}

/* All signs of a block, whose words are `step` bytes apart. */
static void move_signs(uint8_t *p, size_t step, signs_fn *move) {
	for (int k = 0; k < 4; k++, p += 2 * step) {
		uint32_t w[2];
		memcpy(&w[0], p, 4);
		memcpy(&w[1], p + step, 4);
		move(w);
		memcpy(p, &w[0], 4);
		memcpy(p + step, &w[1], 4);
	}
}

/* The shorts of a sub-block of IQ2_XS, of nine bits of index and seven signs: as indices, and signs below the rest of the indices. */
static void pack_shorts(uint8_t *p) {
	uint8_t low[4];
	uint32_t word = 0, high = 0;
	for (int j = 0; j < 4; j++) {
		low[j] = p[2 * j];
		high |= (p[2 * j + 1] & 1u) << j;
		word |= (uint32_t)(p[2 * j + 1] >> 1) << 7 * j;
	}
	word |= (uint32_t)pack_indices(low, high, 9) << 28;
	memcpy(p, low, 4);
	memcpy(p + 4, &word, 4);
}

static void unpack_shorts(uint8_t *p) {
	uint8_t low[4];
	uint32_t word;
	memcpy(low, p, 4);
	memcpy(&word, p + 4, 4);
	unsigned high = unpack_indices(low, word >> 28, 9);
	for (int j = 0; j < 4; j++) {
		p[2 * j] = low[j];
		p[2 * j + 1] = (uint8_t)((word >> 7 * j & 0x7f) << 1 | (high >> j & 1));
	}
}

/* The sixteen bits of IQ1_M for a sub-block, each nibble of three bits of an index and a sign: the former, and the latter on top. */
static unsigned pack_nibbles(unsigned v) {
	unsigned high = 0, signs = 0;
	for (int j = 0; j < 4; j++) {
		high |= (v >> 4 * j & 7) << 3 * j;
		signs |= (v >> (4 * j + 3) & 1) << j;
	}
	return high | signs << 12;
}

static unsigned unpack_nibbles(unsigned v) {
	unsigned nibbles = 0;
	for (int j = 0; j < 4; j++)
		nibbles |= (v >> 3 * j & 7) << 4 * j | (v >> (12 + j) & 1) << (4 * j + 3);
	return nibbles;
}

static void move_iq1(uint8_t *qs, uint8_t *qh, indices_fn *move) {
	for (int s = 0; s < 8; s++) {
		uint16_t v;
		memcpy(&v, qh + 2 * s, 2);
		v = (uint16_t)((v & 0xf000) | move(qs + 4 * s, v & 0xfff, 11));
		memcpy(qh + 2 * s, &v, 2);
	}
}

static void move_nibbles(uint8_t *qh, unsigned (*move)(unsigned)) {
	for (int s = 0; s < 8; s++) {
		uint16_t v;
		memcpy(&v, qh + 2 * s, 2);
		v = (uint16_t)move(v);
		memcpy(qh + 2 * s, &v, 2);
	}
}

static void move_iq2_s(uint8_t *block, indices_fn *indices, signs_fn *signs) {
	uint8_t *qs = block + offsetof(struct iq2_s, qs), *qh = block + offsetof(struct iq2_s, qh);
	for (int s = 0; s < 8; s++)
		qh[s] = (uint8_t)indices(qs + 4 * s, qh[s], 10);
	move_signs(block + offsetof(struct iq2_s, signs), 4, signs);
}

static void move_iq3_s(uint8_t *block, indices_fn *indices, signs_fn *signs) {
	uint8_t *qs = block + offsetof(struct iq3_s, qs), *qh = block + offsetof(struct iq3_s, qh);
	for (int s = 0; s < 8; s++) {
		unsigned first = indices(qs + 8 * s, qh[s] & 15u, 9),
		         second = indices(qs + 8 * s + 4, qh[s] >> 4, 9);
		qh[s] = (uint8_t)(first | second << 4);
	}
	move_signs(block + offsetof(struct iq3_s, signs), 4, signs);
}

/* What is the same either way. */
static void move_block(
        enum kern_type type, uint8_t *block, indices_fn *indices, signs_fn *signs, signs_fn *sevens) {
	switch (type) {
	case KERN_IQ2_XS:
		move_signs(block + offsetof(struct iq2_xs, qs) + 4, 8, sevens);
		break;
	case KERN_IQ2_XXS:
		move_signs(block + offsetof(struct iq2_xxs, qs) + 4, 8, sevens);
		break;
	case KERN_IQ3_XXS:
		move_signs(block + offsetof(struct iq3_xxs, signs), 4, sevens);
		break;
	case KERN_IQ2_S:
		move_iq2_s(block, indices, signs);
		break;
	case KERN_IQ3_S:
		move_iq3_s(block, indices, signs);
		break;
	case KERN_IQ1_M:
		move_iq1(block + offsetof(struct iq1_m, qs), block + offsetof(struct iq1_m, qh), indices);
		break;
	case KERN_IQ1_S:
		move_iq1(block + offsetof(struct iq1_s, qs), block + offsetof(struct iq1_s, qh), indices);
		break;
	default:
		break;
	}
}

void kern_grid_pack(enum kern_type type, uint8_t *block) {
	for (size_t s = 0; s < 8 && type == KERN_IQ2_XS; s++)
		pack_shorts(block + offsetof(struct iq2_xs, qs) + 8 * s);
	if (type == KERN_IQ1_M)
		move_nibbles(block + offsetof(struct iq1_m, qh), pack_nibbles);
	move_block(type, block, pack_indices, pack_signs, pack_sevens);
}

void kern_grid_unpack(enum kern_type type, uint8_t *block) {
	move_block(type, block, unpack_indices, unpack_signs, unpack_sevens);
	if (type == KERN_IQ1_M)
		move_nibbles(block + offsetof(struct iq1_m, qh), unpack_nibbles);
	for (size_t s = 0; s < 8 && type == KERN_IQ2_XS; s++)
		unpack_shorts(block + offsetof(struct iq2_xs, qs) + 8 * s);
}
