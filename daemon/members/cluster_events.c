/* cluster_events: see cluster_events.h.  Nodes ask each other with ListEvents, one request for each node at a time; its answer
 * is a page of events, and the next request acknowledges it.  A request that waits is how new events arrive at once. */
#include "daemon/members/cluster_events.h"
#include "daemon/core/journal_file.h"
#include "daemon/members/event_merge.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define TICK_MS 1000
#define GATHER_MS 20             /* between looks whether all have answered */
#define PAGE_BYTES (40u << 10)   /* of the events in a list */
#define PAGES_EACH 16            /* that are taken of a node within a tick: more than its journal has */
#define RECENT 512               /* arrived events in which repetitions are found */
#define RECENT_NS 90000000000ull /* and for how long; longer than EVENT_MERGE_SECONDS */
#define FRESH_SECONDS 60 /* of a node that was not known yet, only events of the last minute are new */

/* What is known of another node's journal. */
struct origin {
	struct node_id id;
	uint64_t journal, serial; /* which journal, and the last event that was taken */
	Caravan__Event *event[JOURNAL_EVENTS];
	size_t first, n;
	uint64_t ref; /* of our request; 0: none */
	bool waits;   /* the request waits there for events */
	uint64_t asked_ns,
	        complete_ns; /* when was asked; when the request was sent since which all is known, 0: never */
	unsigned pages;      /* taken since the last tick */
	bool refused;
	TAILQ_ENTRY(origin) next;
};

/* A node's request that waits here. */
struct waiting_request {
	struct peers_from from;
	uint64_t after;
	LIST_ENTRY(waiting_request) next;
};

/* An event that has become known lately. */
struct recent {
	Caravan__Event *event; /* ours */
	struct node_id id;
	uint64_t number, at_ns;
};

struct cluster_watch {
	struct cluster_events *c;
	uint64_t from; /* the number of the last event before it */
	char node[WIRE_NAME_MAX + 1], model[WIRE_NAME_MAX + 1];
	cluster_events_fn *fn;
	void *arg;
	bool over;
	TAILQ_ENTRY(cluster_watch) next;
};

struct cluster_gather {
	struct cluster_events *c;
	uint64_t started_ns;
	struct loop_timer *timer;
	void (*done)(void *arg);
	void *arg;
	LIST_ENTRY(cluster_gather) next;
};

struct cluster_events {
	struct loop *loop;
	struct members *members;
	struct peers *peers;
	struct journal *journal;
	struct loop_timer *tick, *fold;
	TAILQ_HEAD(, origin) origins;
	LIST_HEAD(, waiting_request) waiting;
	struct recent recent[RECENT];
	size_t nrecent;
	uint64_t arrived, told; /* numbers of events */
	TAILQ_HEAD(, cluster_watch) watches;
	bool telling;
	LIST_HEAD(, cluster_gather) gathers;
};

static double events_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- merging ---- */

/* When an event of a node happened, by our clock.  It cannot be later than now. */
static double events_time(const struct member *who, const Caravan__Event *e, double now) {
	return who->self ? e->time : fmin(e->time - who->ahead, now);
}

/* All that is known of the cluster, for merging: the caller frees it. */
struct merging {
	struct merge_event *at;
	size_t n;
	const struct member *who[WIRE_NODES_MAX + 1]; /* of an origin's number */
	unsigned origins;
};

static void merging_add(
        struct merging *m, unsigned origin, const Caravan__Event *e, uint64_t number, double now) {
	m->at[m->n++] = (struct merge_event){.event = e,
	        .time = fmax(0, events_time(m->who[origin], e, now)),
	        .origin = origin,
	        .number = number};
}

/* The number of a node; it gets one.  -1: it is unknown, or there are too many. */
static int merging_origin(struct merging *m, const struct member *who) {
	for (unsigned i = 0; i < m->origins; i++)
		if (m->who[i] == who)
			return (int)i;
	if (!who || m->origins == sizeof m->who / sizeof *m->who)
		return -1;
	m->who[m->origins] = who;
	return (int)m->origins++;
}

static bool names_equal(const char *wanted, const char *name) {
	return !wanted || !*wanted || strcmp(wanted, name) == 0;
}

/* Whether the event at k can be folded into the one at i, and so can those before it. */
static bool merging_is_near(const struct merging *m, size_t i, size_t k) {
	return k < m->n && m->at[k].time - m->at[i].time <= EVENT_MERGE_SECONDS;
}

/* Whether the event at i, and those folded into it, match. */
static bool merging_matches(const struct merging *m, size_t i, const char *node, const char *model) {
	bool found = names_equal(node, m->at[i].event->node);
	for (size_t k = i; merging_is_near(m, i, k) && !found; k++)
		found = m->at[k].into == i && names_equal(node, m->who[m->at[k].origin]->name);
	return found && names_equal(model, m->at[i].event->model);
}

static void merging_tell(const struct merging *m, size_t i, cluster_events_fn *fn, void *arg) {
	Caravan__CtlEvent e = CARAVAN__CTL_EVENT__INIT;
	char *seen[WIRE_NODES_MAX];
	e.event = (Caravan__Event *)m->at[i].event;
	e.time = m->at[i].time;
	e.node = wire_string(m->who[m->at[i].origin]->name);
	e.seen = seen;
	for (size_t k = i; merging_is_near(m, i, k) && e.n_seen < WIRE_NODES_MAX; k++)
		if (m->at[k].into == i)
			seen[e.n_seen++] = wire_string(m->who[m->at[k].origin]->name);
	fn(arg, &e);
}

static int events_collect(struct cluster_events *c, struct merging *m) {
	const Caravan__Event *e;
	double now = events_now();
	size_t most = JOURNAL_EVENTS;
	for (struct origin *o = TAILQ_FIRST(&c->origins); o; o = TAILQ_NEXT(o, next))
		most += o->n;
	*m = (struct merging){.at = malloc(most * sizeof *m->at)};
	if (!m->at)
		return -ENOMEM;
	(void)merging_origin(m, members_self(c->members));
	for (size_t i = 0; (e = journal_at(c->journal, i)); i++)
		merging_add(m, 0, e, 0, now);
	for (struct origin *o = TAILQ_FIRST(&c->origins); o; o = TAILQ_NEXT(o, next)) {
		int origin = merging_origin(m, members_find(c->members, &o->id));
		for (size_t i = 0; i < o->n && origin >= 0; i++)
			merging_add(m, (unsigned)origin, o->event[(o->first + i) % JOURNAL_EVENTS], 0, now);
	}
	event_merge(m->at, m->n);
	return 0;
}

int cluster_events_list(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg) {
	struct merging m;
	size_t count = 0;
	int rc = events_collect(c, &m);
	if (rc)
		return rc;
	size_t *wanted = malloc((m.n + 1) * sizeof *wanted);
	for (size_t i = 0; wanted && i < m.n; i++)
		if (m.at[i].into == i && m.at[i].time >= f->since &&
		        merging_matches(&m, i, f->node, f->model))
			wanted[count++] = i;
	for (size_t i = f->last && f->last < count ? count - f->last : 0; i < count; i++)
		merging_tell(&m, wanted[i], fn, arg);
	rc = wanted ? 0 : -ENOMEM;
	free(wanted);
	free(m.at);
	return rc;
}

/* ---- telling ---- */

static void events_drop_recent(struct cluster_events *c, size_t count) {
	for (size_t i = 0; i < count; i++)
		caravan__event__free_unpacked(c->recent[i].event, NULL);
	c->nrecent -= count;
	memmove(c->recent, c->recent + count, c->nrecent * sizeof *c->recent);
}

static void events_sweep_watches(struct cluster_events *c) {
	for (struct cluster_watch *w = TAILQ_FIRST(&c->watches), *next; w; w = next) {
		next = TAILQ_NEXT(w, next);
		if (w->over) {
			TAILQ_REMOVE(&c->watches, w, next);
			free(w);
		}
	}
}

/* The lowest number of an event and what was folded into it: when it became known. */
static uint64_t merging_first(const struct merging *m, size_t i) {
	uint64_t first = m->at[i].number;
	for (size_t k = i; merging_is_near(m, i, k); k++)
		if (m->at[k].into == i && m->at[k].number < first)
			first = m->at[k].number;
	return first;
}

/* Tells the watchers what is new, and no repetition of what is not. */
static void events_tell(struct cluster_events *c) {
	struct merging m = {.at = malloc((c->nrecent + 1) * sizeof *m.at)};
	double now = events_now();
	for (size_t i = 0; m.at && i < c->nrecent; i++) {
		int origin = merging_origin(&m, members_find(c->members, &c->recent[i].id));
		if (origin >= 0)
			merging_add(&m, (unsigned)origin, c->recent[i].event, c->recent[i].number, now);
	}
	if (m.at)
		event_merge(m.at, m.n);
	c->telling = true;
	for (size_t i = 0; m.at && i < m.n; i++) {
		uint64_t first = m.at[i].into == i ? merging_first(&m, i) : 0;
		for (struct cluster_watch *w = TAILQ_FIRST(&c->watches); w; w = TAILQ_NEXT(w, next))
			if (first > c->told && first > w->from && !w->over &&
			        merging_matches(&m, i, w->node, w->model))
				merging_tell(&m, i, w->fn, w->arg);
	}
	c->telling = false;
	events_sweep_watches(c);
	c->told = c->arrived;
	free(m.at);
}

static void events_fold(void *arg) {
	struct cluster_events *c = arg;
	uint64_t now = loop_now_ns();
	size_t old = 0;
	c->fold = NULL;
	events_tell(c);
	while (old < c->nrecent && now - c->recent[old].at_ns > RECENT_NS)
		old++;
	events_drop_recent(c, old);
}

static void events_arrive(struct cluster_events *c, const struct node_id *id, const Caravan__Event *e) {
	if (c->nrecent == RECENT)
		events_drop_recent(c, RECENT / 4);
	Caravan__Event *copy = journal_event_copy(e);
	if (!copy)
		return;
	c->recent[c->nrecent++] =
	        (struct recent){.event = copy, .id = *id, .number = ++c->arrived, .at_ns = loop_now_ns()};
	if (!c->fold) /* out of memory: told with the next */
		c->fold = loop_timer_start(c->loop, CLUSTER_EVENTS_FOLD_MS, false, events_fold, c);
}

struct cluster_watch *cluster_events_watch(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg) {
	struct cluster_watch *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	*w = (struct cluster_watch){.c = c, .from = c->arrived, .fn = fn, .arg = arg};
	snprintf(w->node, sizeof w->node, "%s", f->node ? f->node : "");
	snprintf(w->model, sizeof w->model, "%s", f->model ? f->model : "");
	TAILQ_INSERT_TAIL(&c->watches, w, next);
	return w;
}

void cluster_events_unwatch(struct cluster_watch *w) {
	if (!w)
		return;
	w->over = true;
	if (!w->c->telling)
		events_sweep_watches(w->c);
}

/* ---- answering ---- */

static void waiting_request_free(struct waiting_request *w) {
	LIST_REMOVE(w, next);
	free(w);
}

/* Answers with our events after this one, as many as a message takes.  False: there are none. */
static bool events_answer(
        struct cluster_events *c, const struct peers_from *from, uint64_t after, bool wait) {
	Caravan__EventList list = CARAVAN__EVENT_LIST__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(EVENT_LIST, event_list, &list);
	Caravan__Event *at[WIRE_EVENTS_MAX];
	const Caravan__Event *e;
	size_t bytes = 0;
	list.journal = journal_id(c->journal);
	list.events = at;
	for (size_t i = 0; !list.more && (e = journal_at(c->journal, i)); i++) {
		if (e->serial <= after)
			continue;
		bytes += caravan__event__get_packed_size(e);
		list.more = list.n_events == WIRE_EVENTS_MAX || bytes > PAGE_BYTES;
		if (!list.more)
			at[list.n_events++] = (Caravan__Event *)e;
	}
	if (wait && list.n_events == 0)
		return false;
	(void)peers_answer(c->peers, from, &env, NULL); /* a link that is gone asks again */
	return true;
}

static void events_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct cluster_events *c = arg;
	const Caravan__ListEvents *q = env->list_events;
	struct waiting_request *w = LIST_FIRST(&c->waiting);
	uint64_t after = q->journal == journal_id(c->journal) ? q->after : 0;
	(void)payload;
	while (w && !node_id_equal(&w->from.node, &from->node))
		w = LIST_NEXT(w, next);
	if (events_answer(c, from, after, q->wait)) {
		if (w)
			waiting_request_free(w);
		return;
	}
	if (!w) {
		if (!(w = calloc(1, sizeof *w))) {
			(void)peers_refuse(c->peers, from, "out of memory");
			return;
		}
		LIST_INSERT_HEAD(&c->waiting, w, next);
	}
	w->from = *from;
	w->after = after;
}

static void events_on_own(void *arg, const Caravan__Event *e) {
	struct cluster_events *c = arg;
	events_arrive(c, &members_self(c->members)->id, e);
	for (struct waiting_request *w = LIST_FIRST(&c->waiting), *next; w; w = next) {
		next = LIST_NEXT(w, next);
		if (events_answer(c, &w->from, w->after, true))
			waiting_request_free(w);
	}
}

/* ---- asking ---- */

static struct origin *origin_find(struct cluster_events *c, const struct node_id *id) {
	struct origin *o = TAILQ_FIRST(&c->origins);
	while (o && !node_id_equal(&o->id, id))
		o = TAILQ_NEXT(o, next);
	return o;
}

static void origin_clear(struct origin *o) {
	while (o->n)
		caravan__event__free_unpacked(o->event[(o->first + --o->n) % JOURNAL_EVENTS], NULL);
	o->serial = 0;
	o->complete_ns = 0;
}

static void origin_free(struct cluster_events *c, struct origin *o) {
	TAILQ_REMOVE(&c->origins, o, next);
	origin_clear(o);
	free(o);
}

static bool events_can_ask(const struct member *who) {
	return who && !who->self && who->up && !who->expelled && who->minor >= WIRE_1_5;
}

static void origin_ask(struct cluster_events *c, struct origin *o, bool wait) {
	Caravan__ListEvents msg = CARAVAN__LIST_EVENTS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LIST_EVENTS, list_events, &msg);
	msg.journal = o->journal;
	msg.after = o->serial;
	msg.wait = o->waits = wait;
	env.ref = o->ref = peers_ref(c->peers);
	o->asked_ns = loop_now_ns();
	if (peers_send(c->peers, &o->id, PEERS_CONTROL, &env, NULL))
		o->ref = 0; /* the next tick asks again */
}

/* Asks a node for everything after what we have. */
static void events_ask(struct cluster_events *c, const struct member *who) {
	struct origin *o = origin_find(c, &who->id);
	if (!o && (o = calloc(1, sizeof *o))) {
		o->id = who->id;
		TAILQ_INSERT_TAIL(&c->origins, o, next);
	}
	if (o && !o->refused)
		origin_ask(c, o, false);
}

static void origin_take(struct cluster_events *c, struct origin *o, const Caravan__Event *e) {
	const struct member *who = members_find(c->members, &o->id);
	Caravan__Event *copy = e->serial > o->serial ? journal_event_copy(e) : NULL;
	double now = events_now();
	if (!copy)
		return;
	if (o->n == JOURNAL_EVENTS) {
		caravan__event__free_unpacked(o->event[o->first], NULL);
		o->first = (o->first + 1) % JOURNAL_EVENTS;
		o->n--;
	}
	o->event[(o->first + o->n++) % JOURNAL_EVENTS] = copy;
	o->serial = e->serial;
	if (who && (o->complete_ns || events_time(who, e, now) > now - FRESH_SECONDS))
		events_arrive(c, &o->id, e);
}

static void events_on_list(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct cluster_events *c = arg;
	const Caravan__EventList *list = env->event_list;
	struct origin *o = origin_find(c, &from->node);
	(void)payload;
	if (!o || !o->ref || o->ref != from->ref)
		return;
	o->ref = 0;
	if (o->journal != list->journal) {
		origin_clear(o);
		o->journal = list->journal;
	}
	for (size_t i = 0; i < list->n_events; i++)
		origin_take(c, o, list->events[i]);
	if (!list->more && !o->waits)
		o->complete_ns = o->asked_ns;
	if (++o->pages <= PAGES_EACH) /* else: the next tick */
		origin_ask(c, o, !list->more);
}

static void events_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct origin *o = origin_find(arg, &from->node);
	(void)env;
	(void)payload;
	if (!o || !o->ref || o->ref != from->ref)
		return;
	o->ref = 0;
	o->refused = true; /* until its next link */
}

static void events_on_change(void *arg, const struct member *who, enum member_change change) {
	struct cluster_events *c = arg;
	struct origin *o = origin_find(c, &who->id);
	if (o && (change == MEMBER_DOWN || change == MEMBER_EXPELLED || change == MEMBER_UP)) {
		o->ref = 0;
		o->refused = false;
	}
	if (change == MEMBER_UP && events_can_ask(who))
		events_ask(c, who);
}

static void events_tick(void *arg) {
	struct cluster_events *c = arg;
	const struct member *who;
	for (struct origin *o = TAILQ_FIRST(&c->origins), *next; o; o = next) {
		next = TAILQ_NEXT(o, next);
		o->pages = 0;
		if (!members_find(c->members, &o->id))
			origin_free(c, o);
	}
	for (size_t i = 0; (who = members_at(c->members, i)); i++) {
		struct origin *o = events_can_ask(who) ? origin_find(c, &who->id) : NULL;
		if (events_can_ask(who) && (!o || !o->ref))
			events_ask(c, who);
	}
}

/* ---- gathering ---- */

static const char *gather_why_missing(
        struct cluster_events *c, const struct cluster_gather *g, const struct member *who) {
	const struct origin *o = origin_find(c, &who->id);
	if (who->self || who->expelled)
		return NULL;
	if (!who->up)
		return "it is down";
	if (who->minor < WIRE_1_5)
		return "it runs an older version of Caravan";
	return o && o->complete_ns && (!g || o->complete_ns >= g->started_ns) ? NULL : "it has not answered";
}

void cluster_events_missing(struct cluster_events *c, const struct cluster_gather *g,
        void (*fn)(void *arg, const struct member *who, const char *why), void *arg) {
	const struct member *who;
	const char *why;
	for (size_t i = 0; (who = members_at(c->members, i)); i++)
		if ((why = gather_why_missing(c, g, who)))
			fn(arg, who, why);
}

static bool gather_is_complete(struct cluster_gather *g) {
	const struct member *who;
	for (size_t i = 0; (who = members_at(g->c->members, i)); i++)
		if (events_can_ask(who) && gather_why_missing(g->c, g, who))
			return false;
	return true;
}

static void gather_look(void *arg) {
	struct cluster_gather *g = arg;
	if (!gather_is_complete(g) && loop_now_ns() - g->started_ns < CLUSTER_EVENTS_WAIT_MS * 1000000ull)
		return;
	g->done(g->arg);
	cluster_events_cancel(g);
}

struct cluster_gather *cluster_events_gather(struct cluster_events *c, void (*done)(void *arg), void *arg) {
	struct cluster_gather *g = calloc(1, sizeof *g);
	const struct member *who;
	if (!g || !(g->timer = loop_timer_start(c->loop, GATHER_MS, true, gather_look, g))) {
		free(g);
		return NULL;
	}
	g->c = c;
	g->started_ns = loop_now_ns();
	g->done = done;
	g->arg = arg;
	LIST_INSERT_HEAD(&c->gathers, g, next);
	for (size_t i = 0; (who = members_at(c->members, i)); i++)
		if (events_can_ask(who))
			events_ask(c, who);
	return g;
}

void cluster_events_cancel(struct cluster_gather *g) {
	if (!g)
		return;
	LIST_REMOVE(g, next);
	loop_timer_stop(g->timer);
	free(g);
}

/* ---- life ---- */

int cluster_events_create(
        struct cluster_events **out, struct loop *l, struct members *members, struct journal *journal) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_LIST_EVENTS, events_on_request},
	        {CARAVAN__ENVELOPE__BODY_EVENT_LIST, events_on_list},
	        {CARAVAN__ENVELOPE__BODY_REFUSED, events_on_refused},
	};
	struct cluster_events *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->members = members;
	c->peers = members_peers(members);
	c->journal = journal;
	TAILQ_INIT(&c->origins);
	TAILQ_INIT(&c->watches);
	int rc = (c->tick = loop_timer_start(l, TICK_MS, true, events_tick, c)) ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < sizeof on / sizeof *on; i++)
		rc = peers_on(c->peers, on[i].kind, on[i].fn, c);
	if (rc == 0)
		rc = members_on_change(members, events_on_change, c);
	if (rc) {
		cluster_events_destroy(c);
		return rc;
	}
	journal_watch(journal, events_on_own, c);
	*out = c;
	return 0;
}

void cluster_events_destroy(struct cluster_events *c) {
	if (!c)
		return;
	journal_watch(c->journal, NULL, NULL);
	loop_timer_stop(c->tick);
	loop_timer_stop(c->fold);
	while (!LIST_EMPTY(&c->gathers))
		cluster_events_cancel(LIST_FIRST(&c->gathers));
	for (struct cluster_watch *w; (w = TAILQ_FIRST(&c->watches));) {
		TAILQ_REMOVE(&c->watches, w, next);
		free(w);
	}
	while (!LIST_EMPTY(&c->waiting))
		waiting_request_free(LIST_FIRST(&c->waiting));
	while (!TAILQ_EMPTY(&c->origins))
		origin_free(c, TAILQ_FIRST(&c->origins));
	events_drop_recent(c, c->nrecent);
	free(c);
}
