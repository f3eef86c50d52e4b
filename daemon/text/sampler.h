/* sampler: picks the next token from logits.  The same bytes on every machine: doc/numerics.md, "Sampling",
 * is the contract.
 *
 * Owns: scratch memory, so that picking never allocates.  Has no state of a sequence and no generator that
 * runs: randomness is a function of (seed, position).
 * One thread at a time; a sampler may serve any number of sequences in turn. */
#ifndef DAEMON_TEXT_SAMPLER_H
#define DAEMON_TEXT_SAMPLER_H
#include <stddef.h>
#include <stdint.h>

struct sampler;

struct sampler_params {
	float temperature;       /* 0: the most likely token, always; at most 100 */
	uint32_t top_k;          /* keep so many; 0: all */
	float top_p;             /* keep the likeliest that have this mass together; 1: all */
	float min_p;             /* keep those at least so likely as this times the likeliest; 0: all */
	float repeat_penalty;    /* 1: none; divides positive logits, multiplies others; 0.01 to 100 */
	float presence_penalty;  /* 0: none; -100 to 100; subtracted once */
	float frequency_penalty; /* 0: none; -100 to 100; subtracted for each occurrence */
	uint32_t penalty_window; /* the last so many tokens are what the penalties look at */
	uint64_t seed;
};

/* Temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalties, window 64, seed 0. */
void sampler_params_default(struct sampler_params *p);

/* 0, or -EINVAL with a sentence that names the setting, its value and its range. */
int sampler_params_check(const struct sampler_params *p, char *err, size_t errlen);

/* For logits of up to so many tokens. */
int sampler_create(struct sampler **out, uint32_t tokens);
void sampler_destroy(struct sampler *s); /* NULL allowed */

/* Picks from logits[0..n), to which penalties are applied in place.  n is at least 1 and at most what the
 * sampler was made for; p has passed sampler_params_check.  log is the sequence so far (prompt and answer), of which the last
 * p->penalty_window are looked at; ids in it that are not below n are passed over.  position: the position in
 * the sequence of the token being picked.
 * 0 and the token in *id; -EDOM: a logit is not finite, before or after penalties. */
int sampler_pick(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id);

/* The same from those of allowed alone (bit i % 64 of word i / 64 for token i; NULL: all), as if the others did not exist:
 * their logits become −∞ after the penalties.  A mask is that of a position (daemon/text/grammar/matcher.h), so what is picked
 * does not depend on drafts.
 * Also -ENODATA: none of the n is allowed. */
int sampler_pick_allowed(struct sampler *s, const struct sampler_params *p, float *logits, uint32_t n,
        const uint64_t *allowed, const uint32_t *log, size_t nlog, uint64_t position, uint32_t *id);

#endif
