/* acts: the layout of an activation row.
 *
 * A row is written by a kern_quantize_fn and read by a kern_mul_fn of any ISA level, so its bytes are the
 * same for all.  Besides quants and scales it contains sums of quants, which correct offsets and weigh
 * minima, in the form that vector code needs:
 *   repair two int16 in a word: the sum of the elements 0, 1 mod 4 of a group, and the sum of the elements 2,
 *   3 mod 4.  A
 *          multiply-add of byte pairs over a lane of four elements leaves its results in the same halves of
 *          the lane.
 *          q8_32: of each block, times -8; q8_256: of each 16 elements, times -32.  Added to a sum of
 *          unsigned weights it
 *          removes the offset of Q4_0 and of Q6_K
 *   sum    q8_32: the sum of a block as a float
 *   sum16, sum32   q8_256: int16 sums of groups of 16 and 32
 * Every part starts at a multiple of KERN_ALIGN; the bytes between parts are zero. */
#ifndef KERNELS_ACTS_H
#define KERNELS_ACTS_H
#include "kernels/kernels.h"

static inline size_t acts_part(size_t bytes) {
	return (bytes + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN;
}

/* Byte offsets of the parts in a row; the last is the size of the row. */
struct acts_q8_32 {
	size_t d, repair, sum, q, end;
};

static inline struct acts_q8_32 acts_q8_32(size_t n) {
	size_t words = acts_part(n / 32 * 4);
	struct acts_q8_32 a = {0, words, 2 * words, 3 * words, 3 * words + acts_part(n)};
	return a;
}

struct acts_q8_256 {
	size_t d, repair, sum16, sum32, q, end;
};

static inline struct acts_q8_256 acts_q8_256(size_t n) {
	struct acts_q8_256 a;
	a.d = 0;
	a.repair = acts_part(n / 256 * 4);
	a.sum16 = a.repair + acts_part(n / 16 * 4);
	a.sum32 = a.sum16 + acts_part(n / 16 * 2);
	a.q = a.sum32 + acts_part(n / 32 * 2);
	a.end = a.q + acts_part(n);
	return a;
}

#endif
