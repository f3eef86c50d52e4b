/* avx512/delta: gated delta nets with vectors of sixteen (delta_tmpl.h).
 * Equals kernels/ref/delta.c to the bit.  Pure; any thread. */
#include "kernels/avx512/avx512.h"

#include "kernels/avx512/lanes.h"

#define LANES 16
#define PANELS 4 /* 32 KiB: these processors have 48; twelve sums */

#include "kernels/delta_tmpl.h"

void avx512_delta(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels) {
	delta_run(to, from, d, n, panels);
}
