/* kernels: the arithmetic of Caravan.
 *
 * Owns: the block formats of weights and their packed layout, the operations of a layer, and the ISA levels that compute them.
 * Uses nothing else of the project.
 * Invariant: every operation of every ISA level equals the C reference to the last bit (doc/numerics.md).
 * Threads: all functions are pure and may run on any thread; none starts threads (the thread team is kernels/team.h).
 *
 * A matrix of weights has `rows` rows of `n` elements; packed, it consists of strips of KERN_STRIP rows in which a SIMD lane is a
 * row (kernels/pack.h).  An activation row is n floats, or n floats quantised into the form that the weight type needs. */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERN_ARITHMETIC 1 /* the revision of doc/numerics.md */
#define KERN_LAYOUT 2     /* the revision of the packed layout */
#define KERN_STRIP 8      /* rows in a strip */
#define KERN_SPAN 512     /* positions that attention reduces separately */
#define KERN_KV_BLOCK 64  /* positions in a block of KV cache */
#define KERN_PANEL 16     /* columns of a panel of a gated delta net's state */
#define KERN_L2_EPS 1e-6f /* of its norms of length 1 */
#define KERN_CONV 4       /* rows that its convolution reads */
#define KERN_ALIGN 64     /* alignment of buffers that hold activations, packed weights, KV blocks */

/* Weight types, with the numbers that GGUF gives them. */
enum kern_type {
	KERN_F32 = 0,
	KERN_F16 = 1,
	KERN_Q4_0 = 2,
	KERN_Q4_1 = 3,
	KERN_Q5_0 = 6,
	KERN_Q5_1 = 7,
	KERN_Q8_0 = 8,
	KERN_Q2_K = 10,
	KERN_Q3_K = 11,
	KERN_Q4_K = 12,
	KERN_Q5_K = 13,
	KERN_Q6_K = 14,
	KERN_IQ2_XXS = 16,
	KERN_IQ2_XS = 17,
	KERN_IQ3_XXS = 18,
	KERN_IQ1_S = 19,
	KERN_IQ4_NL = 20,
	KERN_IQ3_S = 21,
	KERN_IQ2_S = 22,
	KERN_IQ4_XS = 23,
	KERN_IQ1_M = 29,
	KERN_BF16 = 30,
	KERN_TQ1_0 = 34,
	KERN_TQ2_0 = 35,
	KERN_MXFP4 = 39,
	KERN_TYPES = 40 /* size of a table indexed by type; most of it is empty */
};

/* Forms of activations that products take. */
enum kern_form { KERN_FORM_F32, KERN_FORM_Q8_32, KERN_FORM_Q8_256, KERN_FORMS };

struct kern_traits {
	const char *name;    /* as GGUF users write it: "Q4_K" */
	uint16_t block;      /* elements in a block */
	uint16_t bytes;      /* bytes of a canonical block */
	enum kern_form form; /* of the activations it is multiplied with */
};

/* The traits of a GGUF type number; NULL when Caravan has no such type. */
const struct kern_traits *kern_traits(uint32_t type);

/* Canonical bytes of a row of n elements; n must be a multiple of the type's block. */
size_t kern_row_bytes(enum kern_type type, size_t n);

/* Packed bytes of a matrix: rows rounded up to whole strips, no other padding. */
size_t kern_packed_bytes(enum kern_type type, size_t rows, size_t n);

/* Packs canonical rows into strips and unpacks them; a bijection.  dst of kern_pack holds
 * kern_packed_bytes(rows) bytes, the rows that fill up the last strip are zero bytes. src of
 * kern_unpack is the first byte of a strip.  To pack or unpack part of a matrix start at a strip:
 * the byte offset of row r (a multiple of KERN_STRIP) is r * kern_row_bytes() in both layouts. */
void kern_pack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n);
void kern_unpack(enum kern_type type, void *dst, const void *src, size_t rows, size_t n);

/* Whether every scale in these canonical rows (every element of a float type) is finite. */
bool kern_finite(enum kern_type type, const void *src, size_t rows, size_t n);

/* Dequantises a canonical row (of n elements) into floats. */
void kern_dequant(enum kern_type type, float *dst, const void *src, size_t n);

/* Dequantises row r of a packed matrix. */
void kern_dequant_packed(enum kern_type type, float *dst, const void *packed, size_t r, size_t n);

/* Bytes of one activation row of n elements in a form: a multiple of KERN_ALIGN. */
size_t kern_act_bytes(enum kern_form form, size_t n);

/* float16 <-> float32; kern_to_half rounds to nearest even, overflows to infinity;
 * kern_to_half_sat saturates at 65504. */
float kern_from_half(uint16_t h);
uint16_t kern_to_half(float f);
uint16_t kern_to_half_sat(float f);

/* 2^(e - 128), half of what E8M0 says; infinite for 255, which is not a number there. */
float kern_from_e8m0(uint8_t e);

/* One product: y[c * ldy + r] = row r of W times activation row c, for r < rows, c < cols.
 * w: packed, first byte of a strip; only the last strip of a matrix may be partial.
 * x: cols rows in the type's form, xstride bytes apart (multiple of KERN_ALIGN). */
typedef void kern_mul_fn(float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x,
        size_t xstride, size_t cols);

/* Ways: several kernels for the same product of a type, which give the same bits but fetch weights in another manner, or use
 * vectors of another width.  Which of them is fastest depends on the processor and is found by measuring (daemon/calibration);
 * classes of numbers of columns have ways of their own. */
enum kern_class { KERN_COLS_1, KERN_COLS_2, KERN_COLS_4, KERN_COLS_8, KERN_COLS_MORE, KERN_CLASSES };
struct kern_way {
	const char *name;
	kern_mul_fn *mul; /* for the columns of its class */
};
enum kern_class kern_class(size_t cols);
size_t kern_class_most(enum kern_class class);      /* columns; 0: no limit */
const char *kern_class_name(enum kern_class class); /* "1", "2", "3 to 4", "5 to 8", "9 or more" */

/* Makes an activation row from n floats.  0, or -EDOM when a value is not finite (dst then undefined). */
typedef int kern_quantize_fn(void *dst, const float *x, size_t n);

/* A query row of attention: one head of one token, against one span of one sequence's KV. */
struct kern_query {
	const float *q;        /* head_size floats, after RoPE */
	float *o;              /* head_size floats out: the span's unnormalised sum of values */
	float *m;              /* out: the span's maximum score */
	float *l;              /* out: the span's sum of exponentials */
	uint32_t first, count; /* it sees positions [first, count) of this span; first < count <= KERN_SPAN */
};

/* Types of KV cache, with the numbers that the wire has for them.  The elements of a q8_0 one are bytes times a scale for
 * every 32 dimensions of a position. */
enum kern_kv { KERN_KV_F16, KERN_KV_Q8_0, KERN_KVS };
const char *kern_kv_name(uint32_t type);                /* "f16", "q8_0"; NULL: there is no such type */
bool kern_kv_fits(enum kern_kv type, size_t head_size); /* q8_0: heads of whole 32s */
/* Bytes of the keys of one head in one block of KERN_KV_BLOCK positions; of its values as many. */
size_t kern_kv_bytes(enum kern_kv type, size_t head_size);

/* The operations of a layer, each with its own function type, with which ISA levels declare theirs
 * (kernels/ops_decl.h). */

/* Stores one head's key (value) of one token at slot (< KERN_KV_BLOCK) of a block. */
typedef void kern_put_fn(void *part, size_t slot, const float *x, size_t head_size);
/* Attention of nq queries over one span.  keys[b], values[b]: this head's part of the span's block b, from that of the smallest
 * first to that of the largest count; borrowed.  Scratch: kern_span_scratch(nq, head_size) bytes, aligned. */
typedef void kern_span_fn(const struct kern_query *q, size_t nq, const void *const *keys,
        const void *const *values, size_t head_size, float scale, void *scratch);
/* Combines spans in ascending order: out = head_size floats; o is [spans][head_size], m and l [spans].  sink: a score that has no
 * value, only its share of the sum; NULL: none. */
typedef void kern_combine_fn(float *out, const float *o, const float *m, const float *l, size_t spans,
        const float *sink, size_t head_size);
/* y = norm of x times w; y may be x. 0 or -EDOM when the sum of squares is not finite. */
typedef int kern_rmsnorm_fn(float *y, const float *x, const float *w, size_t n, float eps);
/* Rotates `heads` heads of head_size floats in place, their first 2 * pairs elements; cs holds pairs (cos, sin) from
 * kern_rope_angles. */
typedef void kern_rope_fn(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs);
/* The two ways of pairing elements: 2i with 2i + 1, and i with i + pairs. */
enum kern_rope { KERN_ROPE_PAIRS, KERN_ROPE_HALVES, KERN_ROPES };
/* A gated linear unit: y = f(gate) * up, or what gpt-oss makes of them; y may be either. */
typedef void kern_glu_fn(float *y, const float *gate, const float *up, size_t n);
enum kern_glu { KERN_SWIGLU, KERN_GEGLU, KERN_SWIGLU_BOUNDED, KERN_GLUS };
/* y += x */
typedef void kern_add_fn(float *y, const float *x, size_t n);
/* y = x times the sigmoid of gate; y may be either. */
typedef void kern_gate_fn(float *y, const float *x, const float *gate, size_t n);
/* y = x times scale over its length; y may be x.  0 or -EDOM when the sum of squares is not finite. */
typedef int kern_l2norm_fn(float *y, const float *x, size_t n, float scale);
/* y[i] = silu of the sum of w[t][i] times x[t][i], t < KERN_CONV ascending; y is none of them. */
typedef void kern_conv_fn(float *y, const float *const *x, const float *const *w, size_t n);

/* Rows of one value head of a gated delta net, for neighbouring panels of its state: the first row, and how many floats on the
 * next one is. */
struct kern_delta {
	const float *q, *k, *v; /* n, n and panels * KERN_PANEL floats */
	size_t stride;
	float *o; /* out, panels * KERN_PANEL floats */
	size_t o_stride;
	const float *rate; /* decay, then beta */
	size_t rate_stride;
	size_t rows; /* at least 1 */
};
/* Carries a state over rows.  It has n rows of panels * KERN_PANEL columns, as [panels][n][KERN_PANEL], aligned to KERN_ALIGN.
 * to: after the last row; from: before the first, NULL for +0; they may be the same. */
typedef void kern_delta_fn(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels);
/* The sum of kern_exp(x - max), in double: the denominator of a softmax. */
typedef double kern_exp_sum_fn(const float *x, size_t n, float max);

/* The operations on one type of KV cache.  Its layout in memory is private to the ISA levels (kernels/kvlayout.h). */
struct kern_kv_ops {
	kern_put_fn *put_key, *put_value;
	kern_span_fn *span;
};

/* An ISA level: the operations of a layer for one instruction set. */
struct kern_ops {
	const char *name;
	kern_quantize_fn *quantize[KERN_FORMS];
	/* each list ends with an entry without a name; NULL: no such type */
	const struct kern_way *ways[KERN_TYPES][KERN_CLASSES];
	kern_rmsnorm_fn *rmsnorm;
	kern_rope_fn *rope[KERN_ROPES];
	kern_glu_fn *glu[KERN_GLUS];
	kern_add_fn *add;
	kern_exp_sum_fn *exp_sum;
	kern_gate_fn *gate;
	kern_l2norm_fn *l2norm;
	kern_conv_fn *conv;
	kern_delta_fn *delta;
	struct kern_kv_ops kv[KERN_KVS];
	kern_combine_fn *combine;
};

size_t kern_span_scratch(size_t nq, size_t head_size);

/* cs[2i], cs[2i+1] = cos, sin of position * freq[i], i < pairs. */
void kern_rope_angles(float *cs, const float *freq, size_t pairs, uint32_t position);

/* The ISA level in use: the best one that this processor has and that is not opt-in, or the one that CARAVAN_CPU names.
 * Decided once, at kern_init, before threads start.  kern_init returns 0, or -EINVAL for a name that is
 * unknown or a level that this processor lacks, with a sentence in err. */
int kern_init(char *err, size_t errlen);
const struct kern_ops *kern_ops(void);

/* The kernel for a product with so many columns: what was chosen, or for a level that is not in use the default. */
kern_mul_fn *kern_mul(const struct kern_ops *ops, uint32_t type, size_t cols);

/* The way that is used without a choice: the first, but for what is known of a family of processors. */
const struct kern_way *kern_way_default(const struct kern_ops *ops, uint32_t type, enum kern_class class);
/* The way of the level in use, and choosing another of its ways, NULL: the default.  Others may be computing meanwhile. */
const struct kern_way *kern_way_in_use(uint32_t type, enum kern_class class);
void kern_way_choose(uint32_t type, enum kern_class class, const struct kern_way *way);

/* Every ISA level that was built and that this processor can run, the reference first; NULL past the end. */
const struct kern_ops *kern_level(size_t i);

#endif
