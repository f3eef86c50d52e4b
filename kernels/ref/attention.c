/* ref/attention: the KV cache and attention over it, in plain C.
 *
 * Owns: the definition of doc/numerics.md, "Attention", in code.  The types of cache differ only in how an element is stored.
 * Pure; any thread. */
#include <math.h>
#include <string.h>

#include "kernels/kvlayout.h"
#include "kernels/math.h"
#include "kernels/ref/ref.h"

#define STRIPES 8 /* of a span's sum */

/* ---- f16 ---- */

void ref_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size) {
	for (size_t d = 0; d < head_size; d++)
		((uint16_t *)keys)[kv_key_at(head_size, slot, d)] = kern_to_half_sat(k[d]);
}

void ref_put_value_f16(void *values, size_t slot, const float *v, size_t head_size) {
	for (size_t d = 0; d < head_size; d++)
		((uint16_t *)values)[kv_value_at(head_size, slot, d)] = kern_to_half_sat(v[d]);
}

static float key_f16(const void *keys, size_t head_size, size_t slot, size_t d) {
	return kern_from_half(((const uint16_t *)keys)[kv_key_at(head_size, slot, d)]);
}

static float value_f16(const void *values, size_t head_size, size_t slot, size_t d) {
	return kern_from_half(((const uint16_t *)values)[kv_value_at(head_size, slot, d)]);
}

/* ---- q8_0 ---- */

/* A group's quants and its scale; where a value is not finite, the scale is NaN, so that results are NaN
 * too. */
static uint16_t quantize_group(int8_t q[KV_LANES], const float *x) {
	float d;
	if (ref_quantize_block(&d, q, x, KV_LANES) == 0)
		return kern_to_half_sat(d);
	memset(q, 0, KV_LANES);
	return 0x7e00;
}

void ref_put_key_q8_0(void *keys, size_t slot, const float *k, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES) {
		int8_t q[KV_LANES];
		uint16_t scale = quantize_group(q, k + d);
		kv_q8_put_key((uint8_t *)keys + kv_q8_keys(head_size, slot, d), slot, scale, q);
	}
}

void ref_put_value_q8_0(void *values, size_t slot, const float *v, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES) {
		uint8_t *group = (uint8_t *)values + kv_q8_values(d);
		int8_t q[KV_LANES];
		((uint16_t *)(void *)group)[slot] = quantize_group(q, v + d);
		memcpy(group + KV_Q8_VALUE_SCALES + slot * KV_LANES, q, KV_LANES);
	}
}

static float key_q8_0(const void *keys, size_t head_size, size_t slot, size_t d) {
	const uint8_t *group = (const uint8_t *)keys + kv_q8_keys(head_size, slot, d);
	float scale = kern_from_half(((const uint16_t *)(const void *)group)[slot % KV_LANES]);
	return (int8_t)group[KV_Q8_KEY_SCALES + d % KV_LANES * KV_LANES + slot % KV_LANES] * scale;
}

static float value_q8_0(const void *values, size_t head_size, size_t slot, size_t d) {
	const uint8_t *group = (const uint8_t *)values + kv_q8_values(d);
	float scale = kern_from_half(((const uint16_t *)(const void *)group)[slot]);
	(void)head_size;
	return (int8_t)group[KV_Q8_VALUE_SCALES + slot * KV_LANES + d % KV_LANES] * scale;
}

/* ---- a span ---- */

typedef float element_fn(const void *part, size_t head_size, size_t slot, size_t d);

static void span_one(const struct kern_query *q, const void *const *keys, const void *const *values,
        element_fn *key, element_fn *value, size_t head_size, float scale, float *z) {
	float m = -INFINITY;
	for (size_t p = q->first; p < q->count; p++) {
		float a = 0.0f;
		for (size_t d = 0; d < head_size; d++)
			a = fmaf(q->q[d], key(keys[p / KERN_KV_BLOCK], head_size, p % KERN_KV_BLOCK, d), a);
		z[p] = scale * a;
		m = z[p] > m ? z[p] : m;
	}
	m = m + 0.0f; /* a zero maximum is +0, whatever the order of -0 and +0 */
	float s[STRIPES] = {0.0f};
	for (size_t p = q->first; p < q->count; p++) {
		z[p] = kern_exp(z[p] - m);
		s[p % STRIPES] = s[p % STRIPES] + z[p];
	}
	for (size_t d = 0; d < head_size; d++) {
		float a = 0.0f;
		for (size_t p = q->first; p < q->count; p++)
			a = fmaf(z[p], value(values[p / KERN_KV_BLOCK], head_size, p % KERN_KV_BLOCK, d), a);
		q->o[d] = a;
	}
	*q->m = m;
	*q->l = ref_tree(s, STRIPES);
}

void ref_span_f16(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch) {
	for (size_t i = 0; i < nq; i++)
		span_one(&q[i], keys, values, key_f16, value_f16, head_size, scale, scratch);
}

void ref_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch) {
	for (size_t i = 0; i < nq; i++)
		span_one(&q[i], keys, values, key_q8_0, value_q8_0, head_size, scale, scratch);
}

void ref_combine(float *out, const float *o, const float *m, const float *l, size_t spans, const float *sink,
        size_t head_size) {
	float top = sink ? *sink : -INFINITY;
	for (size_t s = 0; s < spans; s++)
		top = m[s] > top ? m[s] : top;
	float total = sink ? kern_exp(*sink - top) : 0.0f;
	for (size_t d = 0; d < head_size; d++)
		out[d] = 0.0f;
	for (size_t s = 0; s < spans; s++) {
		float c = kern_exp(m[s] - top);
		total = fmaf(c, l[s], total);
		for (size_t d = 0; d < head_size; d++)
			out[d] = fmaf(c, o[s * head_size + d], out[d]);
	}
	float r = 1.0f / total;
	for (size_t d = 0; d < head_size; d++)
		out[d] = out[d] * r;
}
