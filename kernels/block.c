/* block: unpacks canonical blocks (block.h); the order of bits is described in formats.h. */
#include "kernels/block.h"
#include "kernels/formats.h"

const int8_t kern_iq4nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

const int8_t kern_mxfp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void nibbles(int8_t *w, const uint8_t *qs, int offset) {
	for (int j = 0; j < 16; j++) {
		w[j] = (int8_t)((qs[j] & 15) - offset);
		w[j + 16] = (int8_t)((qs[j] >> 4) - offset);
	}
}

/* The same, where each is an index into a table. */
static void steps(int8_t *w, const uint8_t *qs, const int8_t *table) {
	nibbles(w, qs, 0);
	for (int j = 0; j < 32; j++)
		w[j] = table[w[j]];
}

/* The fifth bits of a block of 32. */
static void fifths(int8_t *w, const uint8_t *qh) {
	for (int j = 0; j < 32; j++)
		w[j] = (int8_t)(w[j] + ((qh[j / 8] >> j % 8 & 1) << 4));
}

/* Bits 2j, 2j+1 of byte l are those of element 128h + 32j + l. */
static int two_bits(const uint8_t *q, int i) {
	return q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

/* The scales and minima of q4_k and q5_k. */
static void six_bits(struct kern_block *out, const uint8_t *s) {
	for (int j = 0; j < 4; j++) {
		out->sc[j] = s[j] & 63;
		out->mn[j] = s[j + 4] & 63;
		out->sc[j + 4] = (int16_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
		out->mn[j + 4] = (int16_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
	}
}

static void read_q2_k(struct kern_block *out, const struct q2_k *b) {
	out->d = kern_from_half(b->d);
	out->m = kern_from_half(b->dmin);
	for (int s = 0; s < 16; s++) {
		out->sc[s] = b->scales[s] & 15;
		out->mn[s] = b->scales[s] >> 4;
	}
	for (int i = 0; i < 256; i++)
		out->w[i] = (int8_t)two_bits(b->qs, i);
}

static void read_q3_k(struct kern_block *out, const struct q3_k *b) {
	out->d = kern_from_half(b->d);
	for (int s = 0; s < 16; s++) {
		int low = b->scales[s % 8] >> s / 8 * 4 & 15, high = b->scales[8 + s % 4] >> s / 4 * 2 & 3;
		out->sc[s] = (int16_t)((low | high << 4) - 32);
	}
	for (int i = 0; i < 256; i++)
		out->w[i] = (int8_t)(two_bits(b->qs, i) - (b->hmask[i % 32] >> i / 32 & 1 ? 0 : 4));
}

static void read_q4_k(struct kern_block *out, const struct q4_k *b) {
	out->d = kern_from_half(b->d);
	out->m = kern_from_half(b->dmin);
	six_bits(out, b->scales);
	for (int i = 0; i < 256; i++)
		out->w[i] = b->qs[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
}

static void read_q5_k(struct kern_block *out, const struct q5_k *b) {
	out->d = kern_from_half(b->d);
	out->m = kern_from_half(b->dmin);
	six_bits(out, b->scales);
	for (int i = 0; i < 256; i++)
		out->w[i] = (int8_t)((b->qs[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15) |
		                     (b->qh[i % 32] >> i / 32 & 1) << 4);
}

static void read_q6_k(struct kern_block *out, const struct q6_k *b) {
	out->d = kern_from_half(b->d);
	for (int s = 0; s < 16; s++)
		out->sc[s] = b->scales[s];
	for (int i = 0; i < 256; i++) {
		int low = b->ql[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
		out->w[i] = (int8_t)((low | two_bits(b->qh, i) << 4) - 32);
	}
}

static void read_iq4_xs(struct kern_block *out, const struct iq4_xs *b) {
	out->d = kern_from_half(b->d);
	for (int s = 0; s < 8; s++) {
		int low = b->scales_l[s / 2] >> s % 2 * 4 & 15, high = b->scales_h >> 2 * s & 3;
		out->sc[s] = (int16_t)((low | high << 4) - 32);
		steps(out->w + 32 * s, b->qs + 16 * s, kern_iq4nl);
	}
}

static void read_tq1_0(struct kern_block *out, const struct tq1_0 *b) {
	out->d = kern_from_half(b->d);
	out->sc[0] = 1;
	for (int byte = 0; byte < 52; byte++) {
		unsigned rest = byte < 48 ? b->qs[byte] : b->qh[byte - 48];
		for (int n = 0; n < kern_tq1_0_digits(byte / 4); n++, rest &= 255) {
			rest *= 3;
			out->w[4 * kern_tq1_0_word(byte / 4, n) + byte % 4] = (int8_t)((int)(rest >> 8) - 1);
		}
	}
}

static void read_tq2_0(struct kern_block *out, const struct tq2_0 *b) {
	out->d = kern_from_half(b->d);
	out->sc[0] = 1;
	for (int i = 0; i < 256; i++)
		out->w[i] = (int8_t)(two_bits(b->qs, i) - 1);
}

void kern_block_read(enum kern_type type, struct kern_block *out, const void *src) {
	out->m = 0;
	switch (type) {
	case KERN_Q4_0: {
		const struct q4_0 *b = src;
		out->d = kern_from_half(b->d);
		nibbles(out->w, b->qs, 8);
		break;
	}
	case KERN_Q4_1: {
		const struct q4_1 *b = src;
		out->d = kern_from_half(b->d);
		out->m = kern_from_half(b->m);
		nibbles(out->w, b->qs, 0);
		break;
	}
	case KERN_Q5_0: {
		const struct q5_0 *b = src;
		out->d = kern_from_half(b->d);
		nibbles(out->w, b->qs, 16);
		fifths(out->w, b->qh);
		break;
	}
	case KERN_Q5_1: {
		const struct q5_1 *b = src;
		out->d = kern_from_half(b->d);
		out->m = kern_from_half(b->m);
		nibbles(out->w, b->qs, 0);
		fifths(out->w, b->qh);
		break;
	}
	case KERN_Q8_0: {
		const struct q8_0 *b = src;
		out->d = kern_from_half(b->d);
		for (int i = 0; i < 32; i++)
			out->w[i] = b->qs[i];
		break;
	}
	case KERN_IQ4_NL: {
		const struct iq4_nl *b = src;
		out->d = kern_from_half(b->d);
		steps(out->w, b->qs, kern_iq4nl);
		break;
	}
	case KERN_MXFP4: {
		const struct mxfp4 *b = src;
		out->d = kern_from_e8m0(b->e);
		steps(out->w, b->qs, kern_mxfp4);
		break;
	}
	case KERN_Q2_K:
		read_q2_k(out, src);
		break;
	case KERN_Q3_K:
		read_q3_k(out, src);
		break;
	case KERN_Q4_K:
		read_q4_k(out, src);
		break;
	case KERN_Q5_K:
		read_q5_k(out, src);
		break;
	case KERN_Q6_K:
		read_q6_k(out, src);
		break;
	case KERN_IQ4_XS:
		read_iq4_xs(out, src);
		break;
	case KERN_TQ1_0:
		read_tq1_0(out, src);
		break;
	case KERN_TQ2_0:
		read_tq2_0(out, src);
		break;
	default: /* float types have no blocks */
		kern_block_read_iq(type, out, src);
	}
}
