/* quants_tmpl: products of the quantised types; instantiated by quants_32.c and quants_256.c, once for each level.
 *
 * One column (decode, columns.h) reads weights as they are in memory, four strips at once, so that the processor can prefetch several
 * streams.  More columns unpack a strip of a piece of the width into a panel that stays in the first-level cache, and run all
 * columns of a tile over it; the float accumulators wait in `sums` between pieces.  So weights are read once for up to TILE
 * columns.  Panels and tiles are those of columns.h, or at the i8mm level of pairs.h; its products of one column are dotprod's.  The
 * additions of a row always keep the order of doc/numerics.md. */
#ifndef KERNELS_NEON_QUANTS_TMPL_H
#define KERNELS_NEON_QUANTS_TMPL_H
#include "kernels/neon/neon.h"
#ifdef NEON_I8MM
#include "kernels/neon/pairs.h"
#else
#include "kernels/neon/columns.h"
#endif

enum { TILE = 64 }; /* columns that share an unpacked panel */

/* A strip, of which `rows` rows are wanted, times a tile. */
INLINE void run_tile(enum kern_type t, float *y, size_t ldy, const uint8_t *strip, size_t rows, size_t n,
        const struct column *x, size_t cols) {
	union panel panel;
	struct sum sums[TILE];
	size_t blocks = n / kern_block_size(t), piece = kern_block_size(t) == 32 ? PIECE_32 : PIECE_256;
	clear_sums(sums, cols);
	for (size_t b = 0; b < blocks; b += piece) {
		size_t end = blocks - b < piece ? blocks : b + piece;
		for (size_t i = b; i < end; i++)
			if (kern_block_size(t) == 32)
				unpack_32(t, &panel.a[i - b], strip + i * block_bytes(t));
			else
				unpack_256(t, &panel.b[i - b], strip + i * block_bytes(t));
		run_piece(t, sums, &panel, x, cols, b, end);
	}
	store_sums(t, y, ldy, sums, rows, cols);
}

INLINE void mul(enum kern_type t, float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x,
        size_t xstride, size_t cols) {
	struct column tile[TILE + 1];
#ifndef NEON_I8MM
	if (cols == 1) {
		decode(t, y, w, rows, n, x);
		return;
	}
#endif
	for (size_t c0 = 0; c0 < cols; c0 += TILE) {
		size_t count = cols - c0 < TILE ? cols - c0 : TILE;
		for (size_t c = 0; c < count; c++)
			tile[c] = column(t, (const uint8_t *)x + (c0 + c) * xstride, n);
		tile[count] = tile[count - 1]; /* the other of a pair */
		for (size_t r = 0; r < rows; r += 8)
			run_tile(
			        t, y + c0 * ldy + r, ldy, strip_at(t, w, r / 8, n), rows - r, n, tile, count);
	}
}

#define MUL(TYPE, name, ...) KERN_DEFINE_MUL(NEON_LEVEL(mul_##name), mul, KERN_##TYPE)

#endif
