/* floats_tmpl: the walk over a matrix of a float type, at the levels that compute two strips of a tile at
 * once.
 *
 * The including file defines
 *   TILE, WALK    columns of a tile; strips that decode walks at once
 *   run_tile(t, strips, y, ldy, w, index, rows, n, x, xstride, cols)  the products of `strips` strips from
 *   `index` on
 * Pure; any thread. */
#ifndef KERNELS_FLOATS_TMPL_H
#define KERNELS_FLOATS_TMPL_H
#include "kernels/compiler.h"

INLINE void mul(enum kern_type t, float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x,
        size_t xstride, size_t cols) {
	for (size_t c0 = 0; c0 < cols; c0 += TILE) {
		size_t count = cols - c0 < TILE ? cols - c0 : TILE, strips = (rows + 7) / 8, k = 0;
		const uint8_t *at = (const uint8_t *)x + c0 * xstride;
		if (count == 1)
			for (; k + WALK <= strips; k += WALK)
				run_tile(t, WALK, y + c0 * ldy, ldy, w, k, rows, n, at, xstride, 1);
		for (; k + 2 <= strips; k += 2)
			run_tile(t, 2, y + c0 * ldy, ldy, w, k, rows, n, at, xstride, count);
		if (k < strips)
			run_tile(t, 1, y + c0 * ldy, ldy, w, k, rows, n, at, xstride, count);
	}
}

#endif
