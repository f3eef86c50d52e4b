/* live: see live.h. */
#include "daemon/api/live.h"
#include "daemon/api/crossing.h"
#include "daemon/api/report.h"
#include "daemon/core/log.h"
#include "daemon/report/event_json.h"
#include "daemon/report/report.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct live {
	struct crossings crossings; /* must be first */
	struct serve *serve;
	struct cluster_events *events;
	/* the loop's */
	unsigned watched, following;
	struct cluster_watch *watch;
	struct loop_timer *timer, *soon;
	uint64_t collected_ns;
	atomic_bool on_its_way; /* a report, from the loop to the HTTP thread */
	/* the HTTP thread's */
	LIST_HEAD(, live_watcher) watchers;
	unsigned watching;
	json_t *last; /* the report that was passed on last */
	uint64_t passed_ns;
	char *event[LIVE_EVENTS]; /* the latest, as JSON: number n at n % LIVE_EVENTS */
	uint64_t happened, first; /* the number of the next one, of the first that is there */
};

struct live_watcher {
	struct crossing x; /* must be first */
	/* the HTTP thread's */
	live_fn *report, *event;
	void *arg;
	uint64_t next_event;
	uint64_t since_ns;
	bool behind; /* it has none, or did not take the last one */
	LIST_ENTRY(live_watcher) next;
};

static struct live *live_of(const struct crossing *x) {
	return (struct live *)x->all; /* its first member */
}

/* ---- the HTTP thread: what is collected becomes JSON ------------------------------------------------ */

/* The envelopes of a report, packed. */
struct live_snapshot {
	struct live *live;
	struct live_frame {
		uint8_t *data;
		size_t len;
	} * frame;
	size_t n, capacity;
	bool failed;
};

static void snapshot_free(struct live_snapshot *s) {
	for (size_t i = 0; i < s->n; i++)
		free(s->frame[i].data);
	free(s->frame);
	free(s);
}

/* NULL: out of memory. */
static json_t *snapshot_json(const struct live_snapshot *s) {
	struct report r = {0};
	char err[256];
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n; i++) {
		Caravan__Envelope *env =
		        wire_unpack(s->frame[i].data, s->frame[i].len, 0, WIRE_COMMAND, err, sizeof err);
		rc = env ? report_add(&r, env) : -ENOMEM;
	}
	json_t *o = rc == 0 ? report_json(&r) : NULL;
	report_clear(&r);
	return o;
}

static void live_offer_events(struct live *l, struct live_watcher *w) {
	if (!w->event)
		return;
	if (w->next_event < l->first)
		w->next_event = l->first;
	for (; w->next_event < l->happened; w->next_event++) {
		const char *text = l->event[w->next_event % LIVE_EVENTS];
		if (!w->event(w->arg, text, strlen(text)))
			return;
	}
}

/* text NULL: there is nothing new. */
static void live_offer(struct live *l, const char *text, bool news) {
	uint64_t now = loop_now_ns();
	for (struct live_watcher *w = LIST_FIRST(&l->watchers), *next; w; w = next) {
		next = LIST_NEXT(w, next); /* w may be released */
		if (now - w->since_ns >= LIVE_WATCH_S * 1000000000ull) {
			(void)w->report(w->arg, NULL, 0);
			continue;
		}
		live_offer_events(l, w);
		if (!text || (!news && !w->behind))
			continue;
		w->behind = true;
		if (w->report(w->arg, text, strlen(text)) && !w->x.released)
			w->behind = false;
	}
}

static bool live_anyone_behind(const struct live *l) {
	for (const struct live_watcher *w = LIST_FIRST(&l->watchers); w; w = LIST_NEXT(w, next))
		if (w->behind)
			return true;
	return false;
}

static void live_take(struct live *l, json_t *o) {
	uint64_t now = loop_now_ns();
	bool news = !l->last || now - l->passed_ns >= LIVE_QUIET_S * 1000000000ull ||
	            !report_json_same(o, l->last);
	char *text =
	        news || live_anyone_behind(l) ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	live_offer(l, text, news);
	free(text);
	if (news && text) {
		json_decref(l->last);
		l->last = json_incref(o);
		l->passed_ns = now;
	}
}

static void live_deliver(void *arg) {
	struct live_snapshot *s = arg;
	struct live *l = s->live;
	json_t *o = snapshot_json(s);
	atomic_store(&l->on_its_way, false);
	if (o) /* else it is out of memory, and the next report may not be */
		live_take(l, o);
	json_decref(o);
	snapshot_free(s);
}

/* An event, on its way to the HTTP thread; text NULL: what was there before is forgotten. */
struct live_event {
	struct live *live;
	char *text;
};

static void live_forget_events(struct live *l) {
	for (; l->first < l->happened; l->first++) {
		free(l->event[l->first % LIVE_EVENTS]);
		l->event[l->first % LIVE_EVENTS] = NULL;
	}
}

static void live_deliver_event(void *arg) {
	struct live_event *e = arg;
	struct live *l = e->live;
	if (!e->text) {
		live_forget_events(l);
	} else {
		if (l->happened - l->first == LIVE_EVENTS)
			free(l->event[l->first++ % LIVE_EVENTS]);
		l->event[l->happened++ % LIVE_EVENTS] = e->text;
		for (struct live_watcher *w = LIST_FIRST(&l->watchers); w; w = LIST_NEXT(w, next))
			live_offer_events(l, w);
	}
	free(e);
}

/* ---- the loop: following events ---------------------------------------------------------------------- */

static void live_post_event(struct live *l, char *text) {
	struct live_event *e = malloc(sizeof *e);
	if (e) {
		*e = (struct live_event){l, text};
		if (loop_post(l->crossings.http, live_deliver_event, e) == 0)
			return;
	}
	free(e);
	free(text); /* out of memory: it is left out */
}

static void live_on_event(void *arg, const Caravan__CtlEvent *e) {
	json_t *o = event_json(e);
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(13)) : NULL;
	json_decref(o);
	if (text)
		live_post_event(arg, text);
}

static void live_follow(struct live *l) {
	const struct cluster_events_filter f = {.last = LIVE_EVENTS};
	if (!l->events)
		return;
	live_post_event(l, NULL);
	(void)cluster_events_list(l->events, &f, live_on_event, l); /* out of memory: only those to come */
	l->watch = cluster_events_watch(l->events, &f, live_on_event, l);
}

/* ---- the loop: collecting ------------------------------------------------------------------------------ */

static void live_pack(void *arg, Caravan__Envelope *env) {
	struct live_snapshot *s = arg;
	if (s->n == s->capacity) {
		size_t more = s->capacity ? 2 * s->capacity : 16;
		struct live_frame *frame = realloc(s->frame, more * sizeof *frame);
		if (!frame) {
			s->failed = true;
			return;
		}
		s->frame = frame;
		s->capacity = more;
	}
	if (wire_pack(env, &s->frame[s->n].data, &s->frame[s->n].len) == 0)
		s->n++;
	else
		s->failed = true;
}

static void live_collect(struct live *l) {
	if (!l->watched || !l->crossings.http || atomic_exchange(&l->on_its_way, true))
		return;
	struct live_snapshot *s = calloc(1, sizeof *s);
	if (s) {
		s->live = l;
		l->collected_ns = loop_now_ns();
		report_collect(l->serve, live_pack, s);
		if (!s->failed && loop_post(l->crossings.http, live_deliver, s) == 0)
			return;
		snapshot_free(s);
	}
	atomic_store(&l->on_its_way, false); /* out of memory: the next one may succeed */
}

static void live_tick(void *arg) {
	live_collect(arg);
}

static void live_on_soon(void *arg) {
	struct live *l = arg;
	l->soon = NULL;
	live_collect(l);
}

void live_changed(struct live *l) {
	if (l->watched && !l->soon)
		l->soon = loop_timer_start(
		        l->crossings.loop, LIVE_CHANGE_MS, false, live_on_soon, l); /* NULL: the tick comes */
}

static void live_on_member(void *arg, const struct member *who, enum member_change change) {
	(void)who;
	(void)change;
	live_changed(arg);
}

static void live_watcher_begin(struct crossing *x) {
	struct live *l = live_of(x);
	if (((struct live_watcher *)x)->event && l->following++ == 0)
		live_follow(l);
	if (l->watched++ == 0)
		l->timer = loop_timer_start(l->crossings.loop, LIVE_MS, true, live_tick, l);
	if (loop_now_ns() - l->collected_ns >= LIVE_CHANGE_MS * 1000000ull)
		live_collect(l);
	else
		live_changed(l);
}

static void live_watcher_cancel(struct crossing *x) {
	struct live *l = live_of(x);
	if (((struct live_watcher *)x)->event && --l->following == 0) {
		cluster_events_unwatch(l->watch);
		l->watch = NULL;
	}
	if (--l->watched)
		return;
	loop_timer_stop(l->timer);
	loop_timer_stop(l->soon);
	l->timer = l->soon = NULL;
}

static void live_watcher_destroy(struct crossing *x) {
	free(x);
}

/* ---- watchers ---------------------------------------------------------------------------------------------- */

int live_watch(struct live_watcher **out, struct live *l, live_fn *report, live_fn *event, void *arg) {
	*out = NULL;
	if (l->watching >= LIVE_WATCHERS_MAX)
		return -EBUSY;
	struct live_watcher *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	*w = (struct live_watcher){.x = {.begin = live_watcher_begin,
	                                   .cancel = live_watcher_cancel,
	                                   .destroy = live_watcher_destroy},
	        .report = report,
	        .event = event,
	        .arg = arg,
	        .since_ns = loop_now_ns(),
	        .behind = true};
	if (crossing_start(&w->x, &l->crossings) != 0) {
		free(w);
		return -ENOMEM;
	}
	LIST_INSERT_HEAD(&l->watchers, w, next);
	l->watching++;
	*out = w;
	return 0;
}

void live_release(struct live_watcher *w) {
	struct live *l = live_of(&w->x);
	LIST_REMOVE(w, next);
	l->watching--;
	crossing_release(&w->x);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

int live_create(struct live **out, struct loop *loop, struct serve *s, struct cluster_events *events) {
	struct live *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	crossings_init(&l->crossings, loop);
	LIST_INIT(&l->watchers);
	atomic_init(&l->on_its_way, false);
	l->serve = s;
	l->events = events;
	*out = l;
	return 0;
}

int live_attach(struct live *l, struct loop *http) {
	l->crossings.http = http;
	return members_on_change(serve_members(l->serve), live_on_member, l);
}

static void live_free(void *arg) {
	free(arg);
}

void live_destroy(struct live *l) {
	if (!l)
		return;
	crossings_end(&l->crossings);
	loop_timer_stop(l->timer);
	loop_timer_stop(l->soon);
	l->timer = l->soon = NULL;
	json_decref(l->last);
	live_forget_events(l);
	/* the HTTP thread has posted its last message: after it, nothing refers to l */
	if (loop_post(l->crossings.loop, live_free, l) != 0)
		log_line(LOG_LINE_ERROR, "out of memory while ending");
}
