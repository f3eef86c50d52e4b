/* sampling: see sampling.h. */
#include "cli/sampling.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In the order of SAMPLING_OPTIONS. */
static const struct setting {
	const char *name;
	bool whole; /* a uint32 or, for the seed, a uint64; else a float */
	double min, max;
	size_t at;
} settings[] = {
        {"temp", false, 0, 100, offsetof(Caravan__Sampling, temperature)},
        {"top-k", true, 0, UINT32_MAX, offsetof(Caravan__Sampling, top_k)},
        {"top-p", false, 0, 1, offsetof(Caravan__Sampling, top_p)},
        {"min-p", false, 0, 1, offsetof(Caravan__Sampling, min_p)},
        {"repeat-penalty", false, 0.01, 100, offsetof(Caravan__Sampling, repeat_penalty)},
        {"presence-penalty", false, -100, 100, offsetof(Caravan__Sampling, presence_penalty)},
        {"frequency-penalty", false, -100, 100, offsetof(Caravan__Sampling, frequency_penalty)},
        {"seed", true, 0, 0, offsetof(Caravan__Sampling, seed)},
};
#define SETTINGS (sizeof settings / sizeof *settings)
#define SEED (SETTINGS - 1)

void sampling_init(struct sampling *s) {
	*s = (struct sampling){0};
	caravan__sampling__init(&s->s);
	s->s.temperature = 0.8f;
	s->s.top_k = 40;
	s->s.top_p = 0.95f;
	s->s.min_p = 0.05f;
	s->s.repeat_penalty = 1;
}

/* false with what the value is to be in `what`. */
static bool sampling_read(struct sampling *s, size_t i, const char *value, char *what, size_t size) {
	const struct setting *t = &settings[i];
	char *at = (char *)&s->s + t->at;
	uint64_t n;
	double v;
	if (!t->whole) {
		if (!args_read_double(value, t->min, t->max, &v, what, size))
			return false;
		*(float *)at = (float)v;
	} else if (!args_read_uint(value, 0, i == SEED ? UINT64_MAX : UINT32_MAX, &n, what, size)) {
		return false;
	} else if (i == SEED) {
		s->s.seed = n;
		s->seeded = true;
	} else {
		*(uint32_t *)at = (uint32_t)n;
	}
	return true;
}

bool sampling_take(struct sampling *s, int option) {
	char what[96], name[32];
	if (option < SAMPLING_FIRST || option >= SAMPLING_FIRST + (int)SETTINGS)
		return false;
	size_t i = (size_t)(option - SAMPLING_FIRST);
	if (sampling_read(s, i, optarg, what, sizeof what))
		return true;
	snprintf(name, sizeof name, "--%s", settings[i].name);
	args_fail(name, optarg, what);
}

bool sampling_set(struct sampling *s, const char *name, const char *value, char *err, size_t errlen) {
	char what[96];
	size_t i = 0;
	if (strcmp(name, "temperature") == 0)
		name = "temp";
	while (i < SETTINGS && strcmp(settings[i].name, name) != 0)
		i++;
	if (i == SETTINGS) {
		snprintf(err, errlen, "there is no setting %.60s", name);
		return false;
	}
	if (i == SEED && strcmp(value, "random") == 0) {
		s->seeded = false;
		return true;
	}
	if (sampling_read(s, i, value, what, sizeof what))
		return true;
	snprintf(err, errlen, "%s: '%.60s' is not %s", name, value, what);
	return false;
}

const char *sampling_at(const struct sampling *s, size_t i, char *value, size_t size) {
	if (i >= SETTINGS)
		return NULL;
	const char *at = (const char *)&s->s + settings[i].at;
	if (i == SEED && !s->seeded)
		snprintf(value, size, "random");
	else if (i == SEED)
		snprintf(value, size, "%" PRIu64, s->s.seed);
	else if (settings[i].whole)
		snprintf(value, size, "%" PRIu32, *(const uint32_t *)at);
	else
		snprintf(value, size, "%g", (double)*(const float *)at);
	return settings[i].name;
}

int sampling_draw(struct sampling *s) {
	if (s->seeded)
		return 0;
	if (getentropy(&s->s.seed, sizeof s->s.seed) != 0)
		return fail("cannot draw a seed: %s", strerror(errno));
	s->s.seed >>= 1; /* so that every JSON parser can read the number in --json */
	return 0;
}
