/* event_view: see event_view.h. */
#include "cli/event_view.h"
#include "daemon/core/journal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SEEN_NAMED 6

struct words {
	char *text;
	size_t len;
};

static void words_add(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void words_add(struct words *w, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int n = w->len < EVENT_VIEW_TEXT ? vsnprintf(w->text + w->len, EVENT_VIEW_TEXT - w->len, fmt, ap) : 0;
	va_end(ap);
	w->len += n > 0 ? (size_t)n : 0;
}

static void words_add_seconds(struct words *w, double s) {
	if (s < 0.95)
		words_add(w, "%.2f s", s);
	else if (s < 99.5)
		words_add(w, "%.1f s", s);
	else if (s < 7200)
		words_add(w, "%.0f min %.0f s", (double)(unsigned)(s / 60),
		        s - 60 * (double)(unsigned)(s / 60));
	else
		words_add(w, "%.1f h", s / 3600);
}

/* What came to pass in a part, before its time. */
static const char *event_part_words(const char *name) {
	static const struct {
		const char *name, *words;
	} table[] = {{EVENT_PART_NOTICED, "noticed after"}, {EVENT_PART_WAITED, "waited"},
	        {EVENT_PART_READ, "reading"}, {EVENT_PART_HASHED, "hashing"},
	        {EVENT_PART_LINKS, "waiting for links"}, {EVENT_PART_PLANNED, "planning"},
	        {EVENT_PART_WEIGHTS, "weights"}, {EVENT_PART_ANNOUNCED, "announcing"}};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].name, name) == 0)
			return table[i].words;
	return name; /* of a newer node */
}

void event_view_text(const Caravan__CtlEvent *e, char out[EVENT_VIEW_TEXT]) {
	const Caravan__Event *v = e->event;
	struct words w = {.text = out};
	words_add(&w, "%s", v->text);
	if (v->n_parts == 0 && v->seconds > 0) {
		words_add(&w, " after ");
		words_add_seconds(&w, v->seconds);
	} else if (v->n_parts > 1) {
		words_add(&w, "; ");
		words_add_seconds(&w, v->seconds);
		words_add(&w, " in all");
	}
	for (size_t i = 0; i < v->n_parts; i++) {
		words_add(&w, "%s%s ",
		        i                ? ", "
		        : v->n_parts > 1 ? ": "
		                         : "; ",
		        event_part_words(v->parts[i]->name));
		words_add_seconds(&w, v->parts[i]->seconds);
	}
	if (e->n_seen > 1)
		words_add(&w, " (seen by");
	for (size_t i = 0; e->n_seen > 1 && i < e->n_seen && i < SEEN_NAMED; i++)
		words_add(&w, "%s %s", i == 0 ? "" : i + 1 == e->n_seen ? " and" : ",", e->seen[i]);
	if (e->n_seen > SEEN_NAMED)
		words_add(&w, " and %zu more", e->n_seen - SEEN_NAMED);
	if (e->n_seen > 1)
		words_add(&w, ")");
}
