/* acts: where the parts of an activation row lie.
 *
 * A row is made by kern_quantize_fn and read by kern_mul_fn of any level, so its bytes are the same for all.
 * Beside the quants and the scales it keeps the sums of quants that repair offsets and weigh minima, in
 * the shapes in which vector code wants them:
 *   repair two int16 in a word: the sum of the elements 0, 1 mod 4 of a group, and of 2, 3 mod 4, which is
 *          what a multiply-add of byte pairs over a lane of four elements leaves in the halves of that
 *          lane.  q8_32: of a block, times -8; q8_256: of every 16 elements, times -32.  Added to a sum of
 *          unsigned weights it takes the offset of Q4_0 and of Q6_K away
 *   sum    q8_32: the sum of a block as a float
 *   sum16, sum32   q8_256: int16 sums of groups of 16 and 32
 * Every part starts on KERN_ALIGN; what lies between parts is zero. */
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
