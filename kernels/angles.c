/* angles: the cosines and sines of RoPE for one position.
 *
 * The angle is computed in double, which is exact enough at any position; only its cosine and sine are rounded to float32
 * (doc/numerics.md).  Pure; any thread. */
#include "kernels/kernels.h"
#include "kernels/math.h"

void kern_rope_angles(float *cs, const float *freq, size_t pairs, uint32_t position) {
	for (size_t i = 0; i < pairs; i++) {
		double s, c;
		kern_sincos((double)position * (double)freq[i], &s, &c);
		cs[2 * i] = (float)c;
		cs[2 * i + 1] = (float)s;
	}
}
