/* block_iq: unpacks canonical blocks of the types with codebooks (block.h); the order of bits is described in formats.h. */
#include "kernels/block.h"
#include "kernels/formats.h"
#include "kernels/grids.h"
#include <string.h>

/* Eight signs of which seven are given: the number of those that are minus is even. */
static unsigned eight_signs(unsigned seven) {
	unsigned odd = seven ^ seven >> 4;
	odd ^= odd >> 2;
	odd ^= odd >> 1;
	return seven | (odd & 1) << 7;
}

/* Eight magnitudes, with a sign for each. */
static void put(int8_t *w, uint64_t entry, unsigned signs) {
	for (int i = 0; i < 8; i++) {
		int v = (int)(entry >> 8 * i & 0xff);
		w[i] = (int8_t)(signs >> i & 1 ? -v : v);
	}
}

/* Eight elements of IQ1: eight times the weight, plus or minus one. */
static void put_one(int8_t *w, uint64_t entry, bool minus) {
	for (int i = 0; i < 8; i++)
		w[i] = (int8_t)((int8_t)(entry >> 8 * i & 0xff) + (minus ? -1 : 1));
}

static uint64_t pair(const uint32_t *grid, unsigned first, unsigned second) {
	return grid[first] | (uint64_t)grid[second] << 32;
}

static void read_iq2_xxs(struct kern_block *out, const struct iq2_xxs *b) {
	out->d = kern_from_half(b->d) * 0.125f;
	for (int s = 0; s < 8; s++) {
		uint32_t word;
		memcpy(&word, b->qs + 8 * s + 4, sizeof word);
		out->sc[s] = (int16_t)(2 * (word >> 28) + 1);
		for (int j = 0; j < 4; j++)
			put(out->w + 32 * s + 8 * j, kern_grid_iq2_xxs[b->qs[8 * s + j]],
			        eight_signs(word >> 7 * j & 0x7f));
	}
}

/* The scales of the halves of sub-blocks: a nibble each. */
static void nibble_scales(struct kern_block *out, const uint8_t *scales) {
	for (int s = 0; s < 16; s++)
		out->sc[s] = (int16_t)(2 * (scales[s / 2] >> s % 2 * 4 & 15) + 1);
}

static void read_iq2_xs(struct kern_block *out, const struct iq2_xs *b) {
	out->d = kern_from_half(b->d) * 0.125f;
	nibble_scales(out, b->scales);
	for (int g = 0; g < 32; g++)
		put(out->w + 8 * g, kern_grid_iq2_xs[b->qs[g] & 0x1ff], eight_signs(b->qs[g] >> 9));
}

static void read_iq2_s(struct kern_block *out, const struct iq2_s *b) {
	out->d = kern_from_half(b->d) * 0.125f;
	nibble_scales(out, b->scales);
	for (int g = 0; g < 32; g++) {
		unsigned upper = b->qh[g / 4] >> g % 4 * 2 & 3;
		put(out->w + 8 * g, kern_grid_iq2_s[b->qs[g] | upper << 8], b->signs[g]);
	}
}

static void read_iq3_xxs(struct kern_block *out, const struct iq3_xxs *b) {
	out->d = kern_from_half(b->d) * 0.25f;
	for (int s = 0; s < 8; s++) {
		uint32_t word;
		memcpy(&word, b->signs + 4 * s, sizeof word);
		out->sc[s] = (int16_t)(2 * (word >> 28) + 1);
		for (int j = 0; j < 4; j++) {
			const uint8_t *q = b->qs + 8 * s + 2 * j;
			put(out->w + 32 * s + 8 * j, pair(kern_grid_iq3_xxs, q[0], q[1]),
			        eight_signs(word >> 7 * j & 0x7f));
		}
	}
}

static void read_iq3_s(struct kern_block *out, const struct iq3_s *b) {
	out->d = kern_from_half(b->d);
	for (int s = 0; s < 8; s++) {
		out->sc[s] = (int16_t)(2 * (b->scales[s / 2] >> s % 2 * 4 & 15) + 1);
		for (int j = 0; j < 4; j++) {
			const uint8_t *q = b->qs + 8 * s + 2 * j;
			unsigned upper = b->qh[s] >> 2 * j;
			put(out->w + 32 * s + 8 * j,
			        pair(kern_grid_iq3_s, q[0] | (upper & 1) << 8, q[1] | (upper >> 1 & 1) << 8),
			        b->signs[4 * s + j]);
		}
	}
}

static void read_iq1_s(struct kern_block *out, const struct iq1_s *b) {
	out->d = kern_from_half(b->d) * 0.125f;
	for (int s = 0; s < 8; s++) {
		unsigned qh = b->qh[s];
		out->sc[s] = (int16_t)(2 * (qh >> 12 & 7) + 1);
		for (int j = 0; j < 4; j++)
			put_one(out->w + 32 * s + 8 * j,
			        kern_grid_iq1[b->qs[4 * s + j] | (qh >> 3 * j & 7) << 8], qh >> 15);
	}
}

uint16_t kern_iq1_m_scale(const uint8_t *scales) {
	unsigned half = 0;
	for (int i = 0; i < 4; i++)
		half |= (unsigned)(scales[2 * i + 1] >> 4) << 4 * i;
	return (uint16_t)half;
}

static void read_iq1_m(struct kern_block *out, const struct iq1_m *b) {
	out->d = kern_from_half(kern_iq1_m_scale(b->scales)) * 0.125f;
	for (int s = 0; s < 16; s++) {
		unsigned four = b->scales[s / 4 * 2] | (unsigned)b->scales[s / 4 * 2 + 1] << 8;
		out->sc[s] = (int16_t)(2 * (four >> s % 4 * 3 & 7) + 1);
	}
	for (int g = 0; g < 32; g++) {
		unsigned qh = b->qh[g / 2] >> g % 2 * 4;
		put_one(out->w + 8 * g, kern_grid_iq1[b->qs[g] | (qh & 7) << 8], qh >> 3 & 1);
	}
}

void kern_block_read_iq(enum kern_type type, struct kern_block *out, const void *src) {
	switch (type) {
	case KERN_IQ2_XXS:
		read_iq2_xxs(out, src);
		break;
	case KERN_IQ2_XS:
		read_iq2_xs(out, src);
		break;
	case KERN_IQ2_S:
		read_iq2_s(out, src);
		break;
	case KERN_IQ3_XXS:
		read_iq3_xxs(out, src);
		break;
	case KERN_IQ3_S:
		read_iq3_s(out, src);
		break;
	case KERN_IQ1_S:
		read_iq1_s(out, src);
		break;
	case KERN_IQ1_M:
		read_iq1_m(out, src);
		break;
	default: /* no others have codebooks */
		break;
	}
}
