/* neon/delta: gated delta nets with vectors of four (delta_tmpl.h).
 * Equals kernels/ref/delta.c to the bit.  Pure; any thread. */
#include "kernels/neon/neon.h"

#include "kernels/compiler.h"
#include <arm_neon.h>

#define LANES 4
#define PANELS 1 /* twelve sums */

typedef float32x4_t vec;

INLINE vec vec_zero(void) {
	return vdupq_n_f32(0);
}
INLINE vec vec_load(const float *p) {
	return vld1q_f32(p);
}
INLINE void vec_store(float *p, vec v) {
	vst1q_f32(p, v);
}
INLINE vec vec_set1(float x) {
	return vdupq_n_f32(x);
}
INLINE vec vec_sub(vec a, vec b) {
	return vsubq_f32(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
	return vmulq_f32(a, b);
}
INLINE vec vec_fmadd(vec a, vec b, vec c) {
	return vfmaq_f32(c, a, b);
}

#include "kernels/delta_tmpl.h"

void neon_delta(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels) {
	delta_run(to, from, d, n, panels);
}
