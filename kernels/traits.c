/* traits: the properties of every weight type, and the sizes that follow from them.  Pure; any thread. */
#include "kernels/acts.h"
#include "kernels/formats.h"
#include "kernels/kernels.h"

#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
SIZE(q4_0, 18);
SIZE(q4_1, 20);
SIZE(q5_0, 22);
SIZE(q5_1, 24);
SIZE(q8_0, 34);
SIZE(iq4_nl, 18);
SIZE(mxfp4, 17);
SIZE(q2_k, 84);
SIZE(q3_k, 110);
SIZE(q4_k, 144);
SIZE(q5_k, 176);
SIZE(q6_k, 210);
SIZE(iq4_xs, 136);
SIZE(iq2_xxs, 66);
SIZE(iq2_xs, 74);
SIZE(iq2_s, 82);
SIZE(iq3_xxs, 98);
SIZE(iq3_s, 110);
SIZE(iq1_s, 50);
SIZE(iq1_m, 56);
SIZE(tq1_0, 54);
SIZE(tq2_0, 66);

#define FLOAT_TRAITS(TYPE, name) [KERN_##TYPE] = {#TYPE, 1, KERN_##TYPE == KERN_F32 ? 4 : 2, KERN_FORM_F32},
#define TRAITS_32(TYPE, name, ...) [KERN_##TYPE] = {#TYPE, 32, sizeof(struct name), KERN_FORM_Q8_32},
#define TRAITS_256(TYPE, name, ...) [KERN_##TYPE] = {#TYPE, 256, sizeof(struct name), KERN_FORM_Q8_256},
static const struct kern_traits traits[KERN_TYPES] = {
        KERN_FLOATS(FLOAT_TRAITS) KERN_BLOCKS_32(TRAITS_32) KERN_BLOCKS_256(TRAITS_256)};

const struct kern_traits *kern_traits(uint32_t type) {
	return type < KERN_TYPES && traits[type].name ? &traits[type] : NULL;
}

size_t kern_row_bytes(enum kern_type type, size_t n) {
	return n / traits[type].block * traits[type].bytes;
}

size_t kern_packed_bytes(enum kern_type type, size_t rows, size_t n) {
	return (rows + KERN_STRIP - 1) / KERN_STRIP * KERN_STRIP * kern_row_bytes(type, n);
}

size_t kern_act_bytes(enum kern_form form, size_t n) {
	switch (form) {
	case KERN_FORM_Q8_32:
		return acts_q8_32(n).end;
	case KERN_FORM_Q8_256:
		return acts_q8_256(n).end;
	default:
		return acts_part(n * sizeof(float));
	}
}
