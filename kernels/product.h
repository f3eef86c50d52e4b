/* product: shared by the products of quantised types at every ISA level. */
#ifndef KERNELS_PRODUCT_H
#define KERNELS_PRODUCT_H
#include "kernels/acts.h"
#include "kernels/formats.h"

/* The parts of an activation row (kernels/acts.h). */
struct column {
	const uint8_t *d, *repair, *sum, *q;
};

INLINE struct column column(enum kern_type t, const void *x, size_t n) {
	const uint8_t *p = x;
	if (kern_block_size(t) == 32) {
		struct acts_q8_32 at = acts_q8_32(n);
		return (struct column){p + at.d, p + at.repair, p + at.sum, p + at.q};
	}
	struct acts_q8_256 at = acts_q8_256(n);
	return (struct column){
	        p + at.d, p + at.repair, p + (kern_sub_blocks(t) == 16 ? at.sum16 : at.sum32), p + at.q};
}

/* Bytes of a block of a strip: its head and its body. */
INLINE size_t block_bytes(enum kern_type t) {
	return KERN_STRIP * (kern_head_bytes(t) + kern_body_bytes(t));
}

INLINE const uint8_t *strip_at(enum kern_type t, const void *w, size_t index, size_t n) {
	return (const uint8_t *)w + index * (n / kern_block_size(t)) * block_bytes(t);
}

#endif
