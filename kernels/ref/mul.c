/* Products as doc/numerics.md defines them: integers within a block, then one fused multiply-add per block.
 * A block of a row is gathered from the strip and unpacked once for TILE columns.  Pure. */
#include "kernels/acts.h"
#include "kernels/block.h"
#include "kernels/formats.h"
#include "kernels/pack.h"
#include "kernels/ref/ref.h"
#include <math.h>

enum { TILE = 16 };

static int32_t dot(const int8_t *w, const int8_t *q, size_t n) {
	int32_t s = 0;
	for (size_t i = 0; i < n; i++)
		s += w[i] * q[i];
	return s;
}

/* A row's accumulators: of products, and of minima. */
struct sums {
	float a, m;
};

/* Adds block b of 32 elements. */
static void add_32(enum kern_type type, struct sums *s, const struct kern_block *w, const uint8_t *x,
        size_t n, size_t b) {
	struct acts_q8_32 at = acts_q8_32(n);
	float dx = ((const float *)(x + at.d))[b];
	int32_t i = dot(w->w, (const int8_t *)x + at.q + b * 32, 32);
	s->a = fmaf(w->d * dx, (float)i, s->a);
	if (kern_has_minima(type))
		s->m = fmaf(w->m * dx, ((const float *)(x + at.sum))[b], s->m);
}

/* Adds block b of 256 elements. */
static void add_256(enum kern_type type, struct sums *s, const struct kern_block *w, const uint8_t *x,
        size_t n, size_t b) {
	struct acts_q8_256 at = acts_q8_256(n);
	float dx = ((const float *)(x + at.d))[b];
	const int8_t *q = (const int8_t *)x + at.q + b * 256;
	size_t sub = kern_sub_block(type), subs = 256 / sub;
	const int16_t *sum = (const int16_t *)(x + (sub == 16 ? at.sum16 : at.sum32)) + b * subs;
	int32_t i = 0, j = 0;
	for (size_t k = 0; k < subs; k++)
		i += w->sc[k] * dot(w->w + k * sub, q + k * sub, sub);
	s->a = fmaf(w->d * dx, (float)i, s->a);
	if (kern_has_minima(type)) {
		for (size_t k = 0; k < subs; k++)
			j += w->mn[k] * sum[k];
		s->m = fmaf(w->m * dx, (float)j, s->m);
	}
}

/* Row r of a strip times up to TILE columns. */
static void row_quants(enum kern_type type, float *y, size_t ldy, const void *strip, size_t r, size_t n,
        const uint8_t *x, size_t xstride, size_t cols) {
	_Alignas(4) uint8_t canonical[sizeof(struct q6_k)];
	struct kern_block w;
	struct sums s[TILE] = {{0, 0}};
	size_t block = kern_traits(type)->block;
	for (size_t b = 0; b < n / block; b++) {
		kern_strip_block(type, canonical, strip, r, b);
		kern_block_read(type, &w, canonical);
		for (size_t c = 0; c < cols; c++)
			if (block == 32)
				add_32(type, &s[c], &w, x + c * xstride, n, b);
			else
				add_256(type, &s[c], &w, x + c * xstride, n, b);
	}
	for (size_t c = 0; c < cols; c++)
		if (!kern_has_minima(type))
			y[c * ldy] = s[c].a;
		else if (block == 32)
			y[c * ldy] = s[c].a + s[c].m;
		else
			y[c * ldy] = s[c].a - s[c].m;
}

static void mul_quants(enum kern_type type, float *y, size_t ldy, const void *w, size_t rows, size_t n,
        const void *x, size_t xstride, size_t cols) {
	size_t strip = KERN_STRIP * kern_row_bytes(type, n);
	for (size_t c = 0; c < cols; c += TILE)
		for (size_t r = 0; r < rows; r++)
			row_quants(type, y + c * ldy + r, ldy, (const uint8_t *)w + r / KERN_STRIP * strip,
			        r % KERN_STRIP, n, (const uint8_t *)x + c * xstride, xstride,
			        cols - c < TILE ? cols - c : TILE);
}

/* Elements of the eight rows are side by side: one accumulator per row. */
static void mul_floats(enum kern_type type, float *y, size_t ldy, const void *w, size_t rows, size_t n,
        const void *x, size_t xstride, size_t cols) {
	size_t element = kern_traits(type)->bytes;
	for (size_t r0 = 0; r0 < rows; r0 += KERN_STRIP)
		for (size_t c = 0; c < cols; c++) {
			const uint8_t *e = (const uint8_t *)w + r0 * n * element;
			const float *v = (const float *)((const uint8_t *)x + c * xstride);
			float a[KERN_STRIP] = {0}, f[KERN_STRIP];
			for (size_t i = 0; i < n; i++, e += KERN_STRIP * element) {
				kern_dequant(type, f, e, KERN_STRIP);
				for (size_t r = 0; r < KERN_STRIP; r++)
					a[r] = fmaf(f[r], v[i], a[r]);
			}
			for (size_t r = 0; r < KERN_STRIP && r0 + r < rows; r++)
				y[c * ldy + r0 + r] = a[r];
		}
}

#define FLOATS(TYPE, name) KERN_DEFINE_MUL(ref_mul_##name, mul_floats, KERN_##TYPE)
#define QUANTS(TYPE, name, ...) KERN_DEFINE_MUL(ref_mul_##name, mul_quants, KERN_##TYPE)
KERN_FLOATS(FLOATS)
KERN_BLOCKS_32(QUANTS)
KERN_BLOCKS_256(QUANTS)
