/* traits: what is known of every weight type, and the sizes that follow.  Pure; any thread. */
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
SIZE(q2_k, 84);
SIZE(q3_k, 110);
SIZE(q4_k, 144);
SIZE(q5_k, 176);
SIZE(q6_k, 210);

static const struct kern_traits traits[KERN_TYPES] = {
        [KERN_F32] = {"F32", 1, 4, KERN_FORM_F32},
        [KERN_F16] = {"F16", 1, 2, KERN_FORM_F32},
        [KERN_BF16] = {"BF16", 1, 2, KERN_FORM_F32},
        [KERN_Q4_0] = {"Q4_0", 32, sizeof(struct q4_0), KERN_FORM_Q8_32},
        [KERN_Q4_1] = {"Q4_1", 32, sizeof(struct q4_1), KERN_FORM_Q8_32},
        [KERN_Q5_0] = {"Q5_0", 32, sizeof(struct q5_0), KERN_FORM_Q8_32},
        [KERN_Q5_1] = {"Q5_1", 32, sizeof(struct q5_1), KERN_FORM_Q8_32},
        [KERN_Q8_0] = {"Q8_0", 32, sizeof(struct q8_0), KERN_FORM_Q8_32},
        [KERN_IQ4_NL] = {"IQ4_NL", 32, sizeof(struct iq4_nl), KERN_FORM_Q8_32},
        [KERN_Q2_K] = {"Q2_K", 256, sizeof(struct q2_k), KERN_FORM_Q8_256},
        [KERN_Q3_K] = {"Q3_K", 256, sizeof(struct q3_k), KERN_FORM_Q8_256},
        [KERN_Q4_K] = {"Q4_K", 256, sizeof(struct q4_k), KERN_FORM_Q8_256},
        [KERN_Q5_K] = {"Q5_K", 256, sizeof(struct q5_k), KERN_FORM_Q8_256},
        [KERN_Q6_K] = {"Q6_K", 256, sizeof(struct q6_k), KERN_FORM_Q8_256},
};

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
