/* actjoin: see actjoin.h. */
#include "kernels/actjoin.h"
#include "kernels/acts.h"
#include <string.h>

size_t kern_act_block(enum kern_form form) {
	return form == KERN_FORM_Q8_32 ? 32 : form == KERN_FORM_Q8_256 ? 256 : 1;
}

/* Copies a part of a row: `bytes` for every `block` elements; at the end of the row zeroes what is between this part and the next. */
static void act_join_part(
        uint8_t *dst, const uint8_t *src, size_t n, size_t at, size_t m, size_t block, size_t bytes) {
	memcpy(dst + at / block * bytes, src, m / block * bytes);
	if (at + m == n)
		memset(dst + n / block * bytes, 0, acts_part(n / block * bytes) - n / block * bytes);
}

void kern_act_join(enum kern_form form, void *dst, size_t n, size_t at, const void *src, size_t m) {
	uint8_t *to = dst;
	const uint8_t *from = src;
	if (form == KERN_FORM_F32) {
		act_join_part(to, from, n, at, m, 1, sizeof(float));
	} else if (form == KERN_FORM_Q8_32) {
		struct acts_q8_32 t = acts_q8_32(n), f = acts_q8_32(m);
		act_join_part(to + t.d, from + f.d, n, at, m, 32, 4);
		act_join_part(to + t.repair, from + f.repair, n, at, m, 32, 4);
		act_join_part(to + t.sum, from + f.sum, n, at, m, 32, 4);
		act_join_part(to + t.q, from + f.q, n, at, m, 1, 1);
	} else {
		struct acts_q8_256 t = acts_q8_256(n), f = acts_q8_256(m);
		act_join_part(to + t.d, from + f.d, n, at, m, 256, 4);
		act_join_part(to + t.repair, from + f.repair, n, at, m, 16, 4);
		act_join_part(to + t.sum16, from + f.sum16, n, at, m, 16, 2);
		act_join_part(to + t.sum32, from + f.sum32, n, at, m, 32, 2);
		act_join_part(to + t.q, from + f.q, n, at, m, 1, 1);
	}
}
