/* combine_tmpl: combines the spans of one query, at the levels other than the reference
 * (kernels/ref/attention.c).
 * The including file defines combine_span(out, o, c, head_size): out[d] = fma(c, o[d], out[d]). */
#ifndef KERNELS_COMBINE_TMPL_H
#define KERNELS_COMBINE_TMPL_H
#include "kernels/math.h"
#include <math.h>

#define KERN_DEFINE_COMBINE(L) \
	void L(combine)(float *out, const float *o, const float *m, const float *l, size_t spans, \
	        const float *sink, size_t head_size) { \
		float top = sink ? *sink : -INFINITY; \
		for (size_t s = 0; s < spans; s++) \
			top = m[s] > top ? m[s] : top; \
		float total = sink ? kern_exp(*sink - top) : 0.0f; \
		for (size_t d = 0; d < head_size; d++) \
			out[d] = 0.0f; \
		for (size_t s = 0; s < spans; s++) { \
			float c = kern_exp(m[s] - top); \
			total = fmaf(c, l[s], total); \
			combine_span(out, o + s * head_size, c, head_size); \
		} \
		float r = 1.0f / total; \
		for (size_t d = 0; d < head_size; d++) \
			out[d] = out[d] * r; \
	}

#endif
