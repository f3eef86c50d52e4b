/* attention_bytes: how attention_tmpl.h makes numbers of bytes with any vectors: converted, then multiplied by their scale.
 * The including file defines vec_bytes, the numbers of LANES bytes. */
#ifndef KERNELS_AVX2_ATTENTION_BYTES_H
#define KERNELS_AVX2_ATTENTION_BYTES_H

#define ROW_FLOATS 1
typedef const uint8_t *vec_line;
struct scales {
	vec by;
};
INLINE vec_line vec_line_at(const uint8_t *p) {
	return p;
}
INLINE vec vec_piece(vec_line line, size_t i) {
	return vec_bytes(line + i * LANES);
}
INLINE vec vec_scaled(vec x, struct scales s) {
	return vec_mul(x, s.by);
}
INLINE struct scales scales_of(vec by) {
	return (struct scales){by};
}
INLINE struct scales scales_row(const float *p) {
	return (struct scales){vec_set1(*p)};
}
INLINE void scales_rows(float *p, vec by) {
	vec_store(p, by);
}

#endif
