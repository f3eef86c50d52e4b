/* half: float16 to float32 and back, in integer arithmetic, and E8M0.  Pure. */
#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

static float from_bits(uint32_t u) {
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

float kern_from_half(uint16_t h) {
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
	if (exponent == 31) /* infinite, or a NaN, made quiet as the processor does */
		return from_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
	if (exponent)
		return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
	float f = (float)fraction * 0x1p-24f; /* subnormal: exact */
	return sign ? -f : f;
}

uint16_t kern_to_half(float f) {
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
	u &= 0x7fffffff;
	if (u > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
	if (u >= 0x477ff000) /* 65520: halfway between 65504 and what would follow it */
		return sign | 0x7c00;
	if (u < 0x38800000) /* below 2^-14: the unit is 2^-24; adding 0.5 leaves the count of units below it */
	{
		float a = from_bits(u) + 0.5f;
		memcpy(&u, &a, sizeof u);
		return (uint16_t)(sign | (u - 0x3f000000));
	}
	u += 0xfff + (u >> 13 & 1); /* nearest, ties to even */
	return (uint16_t)(sign | (u - 0x38000000) >> 13);
}

uint16_t kern_to_half_sat(float f) {
	return kern_to_half(f > 65504 ? 65504 : f < -65504 ? -65504 : f);
}

float kern_from_e8m0(uint8_t e) {
	return from_bits(e ? (uint32_t)e << 23 : 0x400000) * 0.5f;
}
