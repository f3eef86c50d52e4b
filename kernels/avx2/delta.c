/* avx2/delta: gated delta nets with vectors of eight (delta_tmpl.h).
 * Equals kernels/ref/delta.c to the bit.  Pure; any thread. */
#include "kernels/avx2/avx2.h"

#include "kernels/avx2/lanes.h"

#define LANES 8
#define PANELS 2 /* 16 KiB; twelve sums */

#include "kernels/delta_tmpl.h"

void avx2_delta(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels) {
	delta_run(to, from, d, n, panels);
}
