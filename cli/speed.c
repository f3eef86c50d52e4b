/* speed: see speed.h. */
#include "cli/speed.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A window is whole but for its last slot. */
#define MINUTE_WHOLE 59
#define HOUR_WHOLE 3540

static void speed_add(struct speed_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void speed_add(struct speed_text *t, const char *fmt, ...) {
	size_t len = strlen(t->s);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(t->s + len, sizeof t->s - len, fmt, ap);
	va_end(ap);
}

static const char *speed_rate(double per_second, struct size_text *out) {
	*out = per_second > 0 ? size_rate(per_second) : (struct size_text){"0"};
	return out->s;
}

/* "the last minute"; while the model is younger: "the last 20 s". */
static struct size_text speed_span(const Caravan__ModelState *s, const Caravan__ServingStats *of) {
	struct size_text out;
	double whole = of == s->minute ? MINUTE_WHOLE : HOUR_WHOLE;
	if (of->seconds < whole)
		snprintf(out.s, sizeof out.s, "the last %.12s", size_time(of->seconds).s);
	else
		snprintf(out.s, sizeof out.s, "the last %s", of == s->minute ? "minute" : "hour");
	return out;
}

bool speed_is_any(const Caravan__ModelState *s) {
	return s->tokens_per_second > 0 || (s->minute && s->minute->tokens_per_second > 0) ||
	       (s->hour && s->hour->tokens_per_second > 0);
}

double speed_now(const Caravan__ModelState *s) {
	return s->sequences ? s->tokens_per_second : 0;
}

double speed_of_stages(const Caravan__ModelState *s) {
	return s->sequences ? s->tokens_per_second + s->prompt_tokens_per_second : 0;
}

struct speed_text speed_rates(const Caravan__ModelState *s) {
	struct speed_text t = {""};
	struct size_text rate;
	speed_add(&t, "%s tokens/s now", speed_rate(speed_now(s), &rate));
	if (!s->minute || !s->hour)
		return t;
	speed_add(&t, ", %s %s", speed_rate(s->minute->tokens_per_second, &rate), speed_span(s, s->minute).s);
	if (s->hour->seconds >= 2 * MINUTE_WHOLE) /* else both say the same */
		speed_add(&t, ", %s %s", speed_rate(s->hour->tokens_per_second, &rate),
		        speed_span(s, s->hour).s);
	return t;
}

const Caravan__ServingStats *speed_of_answers(const Caravan__ModelState *s) {
	const Caravan__ServingStats *both[] = {s->minute, s->hour};
	for (size_t i = 0; i < 2; i++)
		if (both[i] && (both[i]->first_token || both[i]->inter_token))
			return both[i];
	return NULL;
}

static void speed_add_percentiles(struct speed_text *t, const char *what, const Caravan__Percentiles *p) {
	if (p)
		speed_add(t, "%s%s %s (p50), %s (p99)", *t->s ? "; " : "", what, size_duration(p->p50).s,
		        size_duration(p->p99).s);
}

struct speed_text speed_waits(const Caravan__ModelState *s) {
	struct speed_text t = {""};
	const Caravan__ServingStats *of = speed_of_answers(s);
	if (!of)
		return t;
	speed_add_percentiles(&t, "first token after", of->first_token);
	speed_add_percentiles(&t, "between tokens", of->inter_token);
	speed_add(&t, ", %s", speed_span(s, of).s);
	return t;
}
