/* ops_decl: the operations of an ISA level, listed once: to declare them, to define those that are instances of a template, and
 * to put them into the level's table.
 *
 * `L` is a macro that makes the name of a level's function from that of the operation: L(rmsnorm) is avx2_rmsnorm. */
#ifndef KERNELS_OPS_DECL_H
#define KERNELS_OPS_DECL_H
#include "kernels/kernels.h"

#define KERN_DECLARE_OPS(L) \
	kern_quantize_fn L(quantize_f32), L(quantize_q8_32), L(quantize_q8_256); \
	kern_rmsnorm_fn L(rmsnorm); \
	kern_rope_fn L(rope_pairs), L(rope_halves); \
	kern_glu_fn L(swiglu), L(geglu), L(swiglu_bounded); \
	kern_add_fn L(add); \
	kern_exp_sum_fn L(exp_sum); \
	kern_gate_fn L(gate); \
	kern_l2norm_fn L(l2norm); \
	kern_conv_fn L(conv); \
	kern_put_fn L(put_key_f16), L(put_value_f16), L(put_key_q8_0), L(put_value_q8_0); \
	kern_combine_fn L(combine)
#define KERN_DECLARE_SPANS(L) \
	kern_span_fn L(span_f16), L(span_q8_0); \
	kern_delta_fn L(delta)
#define KERN_DECLARE_FLOATS(L) kern_mul_fn L(mul_f32), L(mul_f16), L(mul_bf16)
#define KERN_DECLARE_QUANTS(L) \
	kern_mul_fn L(mul_q4_0), L(mul_q4_1), L(mul_q5_0), L(mul_q5_1), L(mul_q8_0), L(mul_iq4_nl), \
	        L(mul_mxfp4), L(mul_q2_k), L(mul_q3_k), L(mul_q4_k), L(mul_q5_k), L(mul_q6_k), \
	        L(mul_iq4_xs), L(mul_iq2_xxs), L(mul_iq2_xs), L(mul_iq2_s), L(mul_iq3_xxs), L(mul_iq3_s), \
	        L(mul_iq1_s), L(mul_iq1_m), L(mul_tq1_0), L(mul_tq2_0)

/* The ways of a type and class of columns, as {name, function}, ...; the first is the default. */
#define KERN_WAYS(...) ((const struct kern_way[]){__VA_ARGS__, {NULL, NULL}})

/* A level's only way for all columns of a type. */
#define KERN_ONE_WAY(function) \
	{ \
		KERN_WAYS({"default", function}), KERN_WAYS({"default", function}), \
		        KERN_WAYS({"default", function}), KERN_WAYS({"default", function}), \
		        KERN_WAYS({"default", function}) \
	}

/* A table; the operations of each group may be another level's.  ...: the ways of each type, as [KERN_Q4_0] = {one for each class}. */
#define KERN_OPS_TABLE(title, OPS, SPANS, ...) \
	{ \
		.name = title, \
		.quantize = {[KERN_FORM_F32] = OPS(quantize_f32), \
		        [KERN_FORM_Q8_32] = OPS(quantize_q8_32), \
		        [KERN_FORM_Q8_256] = OPS(quantize_q8_256)}, \
		.ways = {__VA_ARGS__}, .rmsnorm = OPS(rmsnorm), \
		.rope = {[KERN_ROPE_PAIRS] = OPS(rope_pairs), [KERN_ROPE_HALVES] = OPS(rope_halves)}, \
		.glu = {[KERN_SWIGLU] = OPS(swiglu), \
		        [KERN_GEGLU] = OPS(geglu), \
		        [KERN_SWIGLU_BOUNDED] = OPS(swiglu_bounded)}, \
		.add = OPS(add), .exp_sum = OPS(exp_sum), .gate = OPS(gate), .l2norm = OPS(l2norm), \
		.conv = OPS(conv), .delta = SPANS(delta), \
		.kv = {[KERN_KV_F16] = {OPS(put_key_f16), OPS(put_value_f16), SPANS(span_f16)}, \
		        [KERN_KV_Q8_0] = {OPS(put_key_q8_0), OPS(put_value_q8_0), SPANS(span_q8_0)}}, \
		.combine = OPS(combine), \
	}

/* Defines a product as how(..., y, ldy, w, rows, n, x, xstride, cols); or one with a parameter before the others. */
#define KERN_DEFINE_MUL(function, how, ...) \
	void function(float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x, \
	        size_t xstride, size_t cols) { \
		how(__VA_ARGS__, y, ldy, w, rows, n, x, xstride, cols); \
	}
#define KERN_DEFINE_MUL_WITH(parameter, function, how, ...) \
	void function(parameter, float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x, \
	        size_t xstride, size_t cols) { \
		how(__VA_ARGS__, y, ldy, w, rows, n, x, xstride, cols); \
	}

/* Defines the attention over a span of either type of KV cache as span_of(q, ..., type). */
#define KERN_DEFINE_SPANS(L) \
	KERN_DEFINE_SPAN(L(span_f16), KERN_KV_F16) KERN_DEFINE_SPAN(L(span_q8_0), KERN_KV_Q8_0)
#define KERN_DEFINE_SPAN(function, type) \
	void function(const struct kern_query *q, size_t nq, const void *const *keys, \
	        const void *const *values, size_t head_size, float scale, void *scratch) { \
		span_of(q, nq, keys, values, head_size, scale, scratch, type); \
	}

#endif
