/* serving_stats: see serving_stats.h. */
#include "daemon/serve/coordinator/serving_stats.h"
#include "daemon/core/quantile.h"
#include "daemon/core/rate.h"
#include "daemon/core/window.h"
#include <errno.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ull
#define LEAST_SECONDS 1.0 /* a rate of less is noise */

enum { GENERATED, PROMPT, TOKENS }; /* counters of a window of tokens */
enum { FIRST_TOKEN, INTER_TOKEN, TIMES };
enum { MINUTE, HOUR, SPANS };

static const struct {
	uint32_t token_slots, time_slots;
	uint64_t token_ns, time_ns;
} spans[SPANS] = {
        [MINUTE] = {60, 12, SECOND_NS, 5 * SECOND_NS}, [HOUR] = {60, 60, 60 * SECOND_NS, 60 * SECOND_NS}};

struct histogram {
	uint32_t bucket[WIRE_BOUNDS];
	uint64_t count;
	double sum;
};

struct serving_stats {
	struct rate rate[TOKENS];
	struct window *tokens[SPANS], *times[SPANS][TIMES];
	struct histogram histogram[TIMES];
	/* what serving_stats_state returned last */
	Caravan__ServingStats stats[SPANS];
	Caravan__Percentiles percentiles[SPANS][TIMES];
	Caravan__Histogram reported[TIMES];
};

int serving_stats_create(struct serving_stats **out, uint64_t now_ns) {
	struct serving_stats *s = calloc(1, sizeof *s);
	int rc = s ? 0 : -ENOMEM;
	for (int i = 0; rc == 0 && i < SPANS; i++) {
		rc = window_create(&s->tokens[i], spans[i].token_slots, TOKENS, spans[i].token_ns, now_ns);
		for (int k = 0; rc == 0 && k < TIMES; k++)
			rc = window_create(&s->times[i][k], spans[i].time_slots, QUANTILE_BUCKETS,
			        spans[i].time_ns, now_ns);
	}
	if (rc != 0) {
		serving_stats_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

void serving_stats_destroy(struct serving_stats *s) {
	for (int i = 0; s && i < SPANS; i++) {
		window_destroy(s->tokens[i]);
		for (int k = 0; k < TIMES; k++)
			window_destroy(s->times[i][k]);
	}
	free(s);
}

static void stats_add_tokens(struct serving_stats *s, uint64_t now_ns, uint32_t which, uint32_t tokens) {
	rate_add(&s->rate[which], now_ns, tokens);
	for (int i = 0; i < SPANS; i++)
		window_add(s->tokens[i], now_ns, which, tokens);
}

void serving_stats_generated(struct serving_stats *s, uint64_t now_ns, uint32_t tokens) {
	stats_add_tokens(s, now_ns, GENERATED, tokens);
}

void serving_stats_prompt(struct serving_stats *s, uint64_t now_ns, uint32_t tokens) {
	stats_add_tokens(s, now_ns, PROMPT, tokens);
}

/* Counts n times of so many seconds each. */
static void stats_add_times(
        struct serving_stats *s, uint64_t now_ns, uint32_t which, uint32_t n, double seconds) {
	struct histogram *h = &s->histogram[which];
	uint32_t bucket = quantile_bucket(seconds), i = 0;
	for (int span = 0; span < SPANS; span++)
		window_add(s->times[span][which], now_ns, bucket, n);
	while (i < WIRE_BOUNDS && seconds > wire_bounds[i])
		i++;
	if (i < WIRE_BOUNDS)
		h->bucket[i] += n;
	h->count += n;
	h->sum += n * seconds;
}

void serving_stats_first_token(struct serving_stats *s, uint64_t now_ns, uint64_t waited_ns) {
	stats_add_times(s, now_ns, FIRST_TOKEN, 1, (double)waited_ns * 1e-9);
}

void serving_stats_inter_token(
        struct serving_stats *s, uint64_t now_ns, uint32_t tokens, uint64_t waited_ns) {
	stats_add_times(s, now_ns, INTER_TOKEN, tokens, (double)waited_ns * 1e-9 / tokens);
}

double serving_stats_rate(const struct serving_stats *s, uint64_t now_ns) {
	return rate_per_second(&s->rate[GENERATED], now_ns);
}

/* NULL: nothing was measured. */
static Caravan__Percentiles *stats_percentiles(Caravan__Percentiles *out, struct window *w, uint64_t now_ns) {
	const uint32_t *count = window_sums(w, now_ns);
	uint64_t n = quantile_count(count);
	if (n == 0)
		return NULL;
	caravan__percentiles__init(out);
	out->p50 = quantile_seconds(count, 0.5);
	out->p90 = quantile_seconds(count, 0.9);
	out->p99 = quantile_seconds(count, 0.99);
	out->count = n;
	return out;
}

static Caravan__ServingStats *stats_span(struct serving_stats *s, int span, uint64_t now_ns) {
	Caravan__ServingStats *out = &s->stats[span];
	const uint32_t *tokens = window_sums(s->tokens[span], now_ns);
	double seconds = window_seconds(s->tokens[span], now_ns);
	caravan__serving_stats__init(out);
	out->seconds = seconds;
	seconds = seconds > LEAST_SECONDS ? seconds : LEAST_SECONDS;
	out->tokens_per_second = tokens[GENERATED] / seconds;
	out->prompt_tokens_per_second = tokens[PROMPT] / seconds;
	out->first_token =
	        stats_percentiles(&s->percentiles[span][FIRST_TOKEN], s->times[span][FIRST_TOKEN], now_ns);
	out->inter_token =
	        stats_percentiles(&s->percentiles[span][INTER_TOKEN], s->times[span][INTER_TOKEN], now_ns);
	return out;
}

static Caravan__Histogram *stats_histogram(struct serving_stats *s, int which) {
	const struct histogram *h = &s->histogram[which];
	Caravan__Histogram *out = &s->reported[which];
	if (h->count == 0)
		return NULL;
	caravan__histogram__init(out);
	out->buckets = wire_bytes(h->bucket, sizeof h->bucket);
	out->count = h->count;
	out->sum = h->sum;
	return out;
}

void serving_stats_state(struct serving_stats *s, uint64_t now_ns, Caravan__ModelState *out) {
	out->tokens_per_second = serving_stats_rate(s, now_ns);
	out->prompt_tokens_per_second = rate_per_second(&s->rate[PROMPT], now_ns);
	out->minute = stats_span(s, MINUTE, now_ns);
	out->hour = stats_span(s, HOUR, now_ns);
	out->first_token = stats_histogram(s, FIRST_TOKEN);
	out->inter_token = stats_histogram(s, INTER_TOKEN);
}
