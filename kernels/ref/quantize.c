/* Activation rows, as doc/numerics.md defines them.  Pure. */
#include "kernels/acts.h"
#include "kernels/ref/ref.h"
#include <errno.h>
#include <math.h>
#include <string.h>

int ref_quantize_f32(void *dst, const float *x, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return -EDOM;
	memset(dst, 0, kern_act_bytes(KERN_FORM_F32, n));
	memcpy(dst, x, n * sizeof *x);
	return 0;
}

int ref_quantize_block(float *d, int8_t *q, const float *x, size_t block) {
	float a = 0;
	for (size_t i = 0; i < block; i++) {
		if (!isfinite(x[i]))
			return -EDOM;
		a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
	}
	if (a < 0x1p-120f) {
		*d = 0;
		memset(q, 0, block);
		return 0;
	}
	*d = a / 127;
	float inverse = 127 / a;
	for (size_t i = 0; i < block; i++)
		q[i] = (int8_t)rintf(x[i] * inverse);
	return 0;
}

/* The sum of a group; repair gets factor times its two halves, those of every four elements. */
static int sum(const int8_t *q, size_t count, int factor, int16_t repair[2]) {
	int s[2] = {0, 0};
	for (size_t i = 0; i < count; i++)
		s[i / 2 % 2] += q[i];
	repair[0] = (int16_t)(factor * s[0]);
	repair[1] = (int16_t)(factor * s[1]);
	return s[0] + s[1];
}

int ref_quantize_q8_32(void *dst, const float *x, size_t n) {
	struct acts_q8_32 at = acts_q8_32(n);
	uint8_t *row = dst;
	memset(row, 0, at.end);
	for (size_t b = 0; b < n / 32; b++) {
		int8_t *q = (int8_t *)row + at.q + b * 32;
		if (ref_quantize_block((float *)(row + at.d) + b, q, x + b * 32, 32))
			return -EDOM;
		((float *)(row + at.sum))[b] = (float)sum(q, 32, -8, (int16_t *)(row + at.repair) + b * 2);
	}
	return 0;
}

int ref_quantize_q8_256(void *dst, const float *x, size_t n) {
	struct acts_q8_256 at = acts_q8_256(n);
	uint8_t *row = dst;
	memset(row, 0, at.end);
	int16_t *sum16 = (int16_t *)(row + at.sum16), *sum32 = (int16_t *)(row + at.sum32);
	for (size_t b = 0; b < n / 256; b++)
		if (ref_quantize_block(
		            (float *)(row + at.d) + b, (int8_t *)row + at.q + b * 256, x + b * 256, 256))
			return -EDOM;
	for (size_t g = 0; g < n / 16; g++) {
		int s = sum((int8_t *)row + at.q + g * 16, 16, -32, (int16_t *)(row + at.repair) + g * 2);
		sum16[g] = (int16_t)s;
		sum32[g / 2] = (int16_t)(sum32[g / 2] + s);
	}
	return 0;
}
