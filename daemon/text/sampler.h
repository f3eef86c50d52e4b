/* sampler: picks the next token from logits.  Bit-exact on every machine: doc/numerics.md, "Sampling", is the
 * contract.
 *
 * Owns: scratch memory, so that picking never allocates.  Keeps no state of a sequence and no running random
 * generator: randomness is a function of (seed, position).
 * One thread at a time; a sampler may serve any number of sequences in turn. */
#ifndef DAEMON_TEXT_SAMPLER_H
#define DAEMON_TEXT_SAMPLER_H
#include <stddef.h>
#include <stdint.h>

struct sampler;

/* What is added to a token's logit; a magnitude of at most 1e30. */
struct sampler_bias {
	uint32_t id;
	float add;
};
#define SAMPLER_BIAS_NEVER (-1e30f) /* sampled only where nothing else may be */

struct sampler_params {
	float temperature;       /* 0: always the most likely token; at most 100 */
	uint32_t top_k;          /* keep the K most likely tokens; 0: all */
	float top_p;             /* keep the most likely tokens that together have this probability; 1: all */
	float min_p;             /* keep tokens at least this times as likely as the top one; 0: all */
	float repeat_penalty;    /* 1: none; divides positive logits, multiplies others; 0.01 to 100 */
	float presence_penalty;  /* 0: none; -100 to 100; subtracted once */
	float frequency_penalty; /* 0: none; -100 to 100; subtracted for each occurrence */
	uint32_t penalty_window; /* penalties consider this many of the last tokens */
	uint64_t seed;
	const struct sampler_bias *bias; /* borrowed */
	uint32_t nbias;
};

/* Temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalties, window 64, seed 0. */
void sampler_params_default(struct sampler_params *p);

/* 0, or -EINVAL with a sentence that names the setting, its value and its range. */
int sampler_params_check(const struct sampler_params *p, char *err, size_t errlen);

/* tokens: the most logits that it will be given. */
int sampler_create(struct sampler **out, uint32_t tokens);
void sampler_destroy(struct sampler *s); /* NULL allowed */

/* Picks from logits[0..n), to which biases and penalties are applied in place.  n is at least 1 and at most the
 * `tokens` of sampler_create; p has passed sampler_params_check.  log is the sequence so far (prompt and
 * answer), of which the last p->penalty_window tokens are considered; ids of n or more are skipped, also of
 * biases.  position: that of the token being picked.
 * 0 and the token in *id; -EDOM: a logit is not finite, before or after these. */
int sampler_pick(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id);

/* The same, but only from the allowed tokens (bit i % 64 of word i / 64 for token i; NULL: all), as if the
 * others did not exist: their logits become −∞ after the penalties.  A mask belongs to a position
 * (daemon/text/grammar/matcher.h), so the result does not depend on drafts.
 * Also -ENODATA: none of the n is allowed. */
int sampler_pick_allowed(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint64_t *allowed, const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id);

#endif
