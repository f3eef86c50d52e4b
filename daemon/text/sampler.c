/* sampler: biases, penalties, temperature, top-k, top-p, min-p, the draw; doc/numerics.md, "Sampling", in code.
 *
 * A candidate is one 64-bit number: its distance below the best logit in the upper half, its id in the lower
 * half.  The order of candidates (most likely first, lowest id among equals) is thus the order of numbers,
 * and every sorting algorithm gives the same result.
 * One thread at a time. */
#include "daemon/text/sampler.h"
#include "common/fail.h"
#include "daemon/text/philox.h"
#include "kernels/math.h"
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to this many candidates are selected with a heap; for more, all are sorted. */
#define HEAP_MAX 256

struct sampler {
	uint32_t tokens;
	uint32_t *count;              /* occurrences in the penalty window; all 0 between calls */
	uint64_t *candidate, *buffer; /* `tokens` of each */
	float *mass;                  /* of each candidate: its unnormalized probability */
};

void sampler_params_default(struct sampler_params *p) {
	*p = (struct sampler_params){
	        .temperature = 0.8f,
	        .top_k = 40,
	        .top_p = 0.95f,
	        .min_p = 0.05f,
	        .repeat_penalty = 1.0f,
	        .penalty_window = 64,
	};
}

int sampler_params_check(const struct sampler_params *p, char *err, size_t errlen) {
	const struct {
		const char *name;
		float value, lo, hi;
	} range[] = {
	        {"temperature", p->temperature, 0, 100},
	        {"top_p", p->top_p, 0, 1},
	        {"min_p", p->min_p, 0, 1},
	        {"repeat_penalty", p->repeat_penalty, 0.01f, 100},
	        {"presence_penalty", p->presence_penalty, -100, 100},
	        {"frequency_penalty", p->frequency_penalty, -100, 100},
	};
	for (size_t i = 0; i < sizeof range / sizeof *range; i++)
		if (!(range[i].value >= range[i].lo && range[i].value <= range[i].hi))
			return fail_with(-EINVAL, err, errlen, "%s is %g, it must be between %g and %g",
			        range[i].name, (double)range[i].value, (double)range[i].lo,
			        (double)range[i].hi);
	return 0;
}

int sampler_create(struct sampler **out, uint32_t tokens) {
	struct sampler *s = calloc(1, sizeof *s);
	*out = NULL;
	if (!s)
		goto error;
	s->tokens = tokens;
	s->count = calloc(tokens + (size_t)1, sizeof *s->count);
	s->candidate = malloc((tokens + (size_t)1) * sizeof *s->candidate);
	s->buffer = malloc((tokens + (size_t)1) * sizeof *s->buffer);
	s->mass = malloc((tokens + (size_t)1) * sizeof *s->mass);
	if (!s->count || !s->candidate || !s->buffer || !s->mass)
		goto error;
	*out = s;
	return 0;
error:
	sampler_destroy(s);
	return -ENOMEM;
}

void sampler_destroy(struct sampler *s) {
	if (!s)
		return;
	free(s->count);
	free(s->candidate);
	free(s->buffer);
	free(s->mass);
	free(s);
}

static void sampler_add_biases(const struct sampler_params *p, float *logits, uint32_t n) {
	for (uint32_t i = 0; i < p->nbias; i++)
		if (p->bias[i].id < n)
			logits[p->bias[i].id] += p->bias[i].add;
}

static void sampler_penalise(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint32_t *log, size_t nlog) {
	if (p->repeat_penalty == 1.0f && p->presence_penalty == 0.0f && p->frequency_penalty == 0.0f)
		return;
	size_t from = nlog > p->penalty_window ? nlog - p->penalty_window : 0;
	for (size_t i = from; i < nlog; i++)
		if (log[i] < n)
			s->count[log[i]]++;
	for (size_t i = from; i < nlog; i++) {
		uint32_t id = log[i];
		if (id >= n || s->count[id] == 0)
			continue;
		float l = logits[id];
		l = l > 0 ? l / p->repeat_penalty : l * p->repeat_penalty;
		float sub = (float)s->count[id] * p->frequency_penalty;
		sub = sub + p->presence_penalty;
		logits[id] = l - sub;
		s->count[id] = 0;
	}
}

/* The id of the greatest logit, the lowest id among equals; false when a logit is not finite.  Eight at a
 * time, only for speed: a maximum does not depend on the order. */
static bool sampler_find_best(const float *logits, uint32_t n, uint32_t *best) {
	float max[8], zero[8] = {0};
	uint32_t i = 0;
	for (size_t j = 0; j < 8; j++)
		max[j] = logits[0];
	for (; i + 8 <= n; i += 8)
		for (size_t j = 0; j < 8; j++) {
			float l = logits[i + j];
			max[j] = l > max[j] ? l : max[j];
			zero[j] += l * 0.0f; /* NaN once there was an infinity or NaN */
		}
	for (; i < n; i++) {
		max[0] = logits[i] > max[0] ? logits[i] : max[0];
		zero[0] += logits[i] * 0.0f;
	}
	for (size_t j = 0; j < 8; j++) {
		if (isnan(zero[j]))
			return false;
		max[0] = max[j] > max[0] ? max[j] : max[0];
	}
	for (i = 0; logits[i] != max[0]; i++)
		;
	*best = i;
	return true;
}

/* What logits are measured against: the greatest of all, and the temperature. */
struct scale {
	float max, temperature;
};

/* z = (l − max) / T is never above 0, so the bits of its magnitude ascend as z descends; −0 counts as 0. */
static uint64_t sampler_make_candidate(const struct scale *scale, float logit, uint32_t id) {
	float z = (logit - scale->max) / scale->temperature;
	uint32_t bits;
	memcpy(&bits, &z, sizeof bits);
	return (uint64_t)(bits & 0x7FFFFFFFu) << 32 | id;
}

static float sampler_candidate_z(uint64_t c) {
	uint32_t bits = (uint32_t)(c >> 32) | 0x80000000u;
	float z;
	memcpy(&z, &bits, sizeof z);
	return z;
}

/* Sifts c down from i in a max-heap. */
static void sampler_sift_down(uint64_t *heap, size_t n, size_t i, uint64_t c) {
	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= c)
			break;
		heap[i] = heap[child];
	}
	heap[i] = c;
}

/* The first k candidates in order, k < n.  z never falls as l rises, so a logit that is not above the last
 * selected candidate's, whose id is lower, cannot displace it: for nearly all logits, that comparison is all
 * the work. */
static void sampler_select_few(
        struct sampler *s, const struct scale *scale, const float *logits, uint32_t n, uint32_t k) {
	uint64_t *heap = s->candidate;
	for (uint32_t i = 0; i < k; i++)
		heap[i] = sampler_make_candidate(scale, logits[i], i);
	for (uint32_t i = k / 2; i-- > 0;)
		sampler_sift_down(heap, k, i, heap[i]);
	float bar = logits[(uint32_t)heap[0]];
	for (uint32_t i = k; i < n; i++) {
		if (logits[i] <= bar)
			continue;
		uint64_t c = sampler_make_candidate(scale, logits[i], i);
		if (c < heap[0]) {
			sampler_sift_down(heap, k, 0, c);
			bar = logits[(uint32_t)heap[0]];
		}
	}
	for (uint32_t m = k; m-- > 1;) {
		uint64_t last = heap[m];
		heap[m] = heap[0];
		sampler_sift_down(heap, m, 0, last);
	}
}

/* All candidates in order: three stable radix passes of 11 bits over the upper half; the ids start in
 * ascending order. */
static void sampler_sort_all(struct sampler *s, const struct scale *scale, const float *logits, uint32_t n) {
	for (uint32_t i = 0; i < n; i++)
		s->candidate[i] = sampler_make_candidate(scale, logits[i], i);
	for (unsigned shift = 32; shift < 64; shift += 11) {
		uint32_t at[2048] = {0}, sum = 0;
		for (uint32_t i = 0; i < n; i++)
			at[s->candidate[i] >> shift & 2047]++;
		for (size_t b = 0; b < 2048; b++) {
			uint32_t here = at[b];
			at[b] = sum;
			sum += here;
		}
		for (uint32_t i = 0; i < n; i++)
			s->buffer[at[s->candidate[i] >> shift & 2047]++] = s->candidate[i];
		uint64_t *swap = s->candidate;
		s->candidate = s->buffer;
		s->buffer = swap;
	}
}

/* How many of k candidates top-p keeps. */
static uint32_t sampler_cut_top_p(const struct sampler *s, uint32_t k, float top_p) {
	if (top_p >= 1.0f)
		return k;
	double all = 0, sum = 0;
	for (uint32_t i = 0; i < k; i++)
		all += (double)s->mass[i];
	double want = (double)top_p * all;
	for (uint32_t i = 0; i < k; i++) {
		sum += (double)s->mass[i];
		if (sum >= want)
			return i + 1;
	}
	return k;
}

/* A uniform number in [0, 1) for a position. */
static double sampler_uniform(uint64_t seed, uint64_t position) {
	const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
	const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
	uint32_t r[4];
	philox4x32_10(counter, key, r);
	return (double)(((uint64_t)r[1] << 32 | r[0]) >> 11) * 0x1p-53;
}

/* Sets the logits of tokens that are not allowed to −∞, so that they have no probability, and finds the
 * greatest of the others; false if none.  Eight at a time, as above. */
static bool sampler_forbid(float *logits, uint32_t n, const uint64_t *allowed, uint32_t *best) {
	float max[8];
	uint32_t i = 0;
	for (; i < n; i++)
		if (!(allowed[i / 64] >> i % 64 & 1))
			logits[i] = -INFINITY;
	for (size_t j = 0; j < 8; j++)
		max[j] = logits[0];
	for (i = 0; i + 8 <= n; i += 8)
		for (size_t j = 0; j < 8; j++)
			max[j] = logits[i + j] > max[j] ? logits[i + j] : max[j];
	for (; i < n; i++)
		max[0] = logits[i] > max[0] ? logits[i] : max[0];
	for (size_t j = 1; j < 8; j++)
		max[0] = max[j] > max[0] ? max[j] : max[0];
	for (*best = 0; logits[*best] != max[0]; ++*best)
		;
	return max[0] > -INFINITY;
}

int sampler_pick(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id) {
	return sampler_pick_allowed(s, p, logits, n, NULL, log, nlog, position, id);
}

int sampler_pick_allowed(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint64_t *allowed, const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id) {
	uint32_t best;
	sampler_add_biases(p, logits, n);
	sampler_penalise(s, p, logits, n, log, nlog);
	if (!sampler_find_best(logits, n, &best))
		return -EDOM;
	if (allowed && !sampler_forbid(logits, n, allowed, &best))
		return -ENODATA;
	*id = best;
	if (p->temperature == 0.0f || p->top_k == 1)
		return 0;

	const struct scale scale = {logits[best], p->temperature};
	uint32_t k = p->top_k == 0 || p->top_k > n ? n : p->top_k;
	if (k < n && k <= HEAP_MAX)
		sampler_select_few(s, &scale, logits, n, k);
	else
		sampler_sort_all(s, &scale, logits, n);

	/* candidates without probability are dropped, and so is everything after them */
	uint32_t m = 0;
	for (; m < k; m++) {
		s->mass[m] = kern_exp(sampler_candidate_z(s->candidate[m]));
		if (s->mass[m] == 0.0f)
			break;
	}
	k = sampler_cut_top_p(s, m, p->top_p);
	while (k > 1 && s->mass[k - 1] < p->min_p)
		k--;

	double all = 0, sum = 0;
	for (uint32_t i = 0; i < k; i++)
		all += (double)s->mass[i];
	double want = sampler_uniform(p->seed, position) * all;
	for (uint32_t i = 0; i < k; i++) {
		sum += (double)s->mass[i];
		if (sum > want) {
			*id = (uint32_t)s->candidate[i];
			return 0;
		}
	}
	/* want may have been rounded up to the whole sum */
	*id = (uint32_t)s->candidate[k - 1];
	return 0;
}
