/* sim/clock: see clock.h.  The events to come are a heap, in order of due time, rank and number; the rank is what a seed
 * chooses by. */
#include "config.h"

#include "tests/sim/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define START_NS 1000000000000u /* no time of ours is 0, which often stands for "never" */

enum kind { KIND_TIMER, KIND_POST, KIND_OTHER };

struct sim_event {
	uint64_t due, rank, number;
	enum kind kind;
	struct loop *loop;
	loop_fn *fn; /* NULL: cancelled */
	void *arg;
};

struct loop_timer {
	struct loop *loop;
	struct sim_event *event; /* NULL: it runs now */
	uint64_t every;          /* ns, 0: once */
	uint64_t due;
	loop_fn *fn;
	void *arg;
	bool running, stopped;
	LIST_ENTRY(loop_timer) next;
};

struct loop {
	struct event_base *base; /* for who insists; it never runs */
	LIST_HEAD(, loop_timer) timers;
	uint64_t stream;
	int64_t shift;
	bool stopped, held;
};

static struct {
	uint64_t now, seed, state, events, numbers, streams;
	struct sim_event **heap;
	size_t n, capacity;
	struct loop *current; /* whose event runs */
	bool lane;            /* what runs is another thread's */
	uint64_t spent;       /* by it */
	unsigned refused;     /* posts, the next so many */
} sim;

static void out_of_memory(void) {
	fprintf(stderr, "sim: out of memory\n");
	abort();
}

/* ---- numbers ------------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t x) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t sim_random(void) {
	sim.state += 0x9e3779b97f4a7c15u;
	return mixed(sim.state);
}

uint32_t sim_below(uint32_t n) {
	return (uint32_t)((sim_random() >> 32) * n >> 32);
}

uint64_t sim_stream(void) {
	return ++sim.streams;
}

/* ---- events -------------------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b) {
	if (a->due != b->due)
		return a->due < b->due;
	return a->rank != b->rank ? a->rank < b->rank : a->number < b->number;
}

static void sift_up(size_t i) {
	for (size_t up; i > 0 && earlier(sim.heap[i], sim.heap[up = (i - 1) / 2]); i = up) {
		struct sim_event *e = sim.heap[i];
		sim.heap[i] = sim.heap[up];
		sim.heap[up] = e;
	}
}

static void sift_down(size_t i) {
	for (;;) {
		size_t least = i;
		for (size_t child = 2 * i + 1; child < 2 * i + 3 && child < sim.n; child++)
			if (earlier(sim.heap[child], sim.heap[least]))
				least = child;
		if (least == i)
			return;
		struct sim_event *e = sim.heap[i];
		sim.heap[i] = sim.heap[least];
		sim.heap[least] = e;
		i = least;
	}
}

static struct sim_event *take(size_t i) {
	struct sim_event *e = sim.heap[i];
	sim.heap[i] = sim.heap[--sim.n];
	if (i < sim.n) {
		sift_down(i);
		sift_up(i);
	}
	return e;
}

static struct sim_event *put(
        struct loop *l, enum kind kind, uint64_t due, uint64_t stream, loop_fn *fn, void *arg) {
	struct sim_event *e = malloc(sizeof *e);
	if (sim.n == sim.capacity) {
		sim.capacity = sim.capacity * 2 + 64;
		sim.heap = realloc(sim.heap, sim.capacity * sizeof *sim.heap);
	}
	if (!e || !sim.heap)
		out_of_memory();
	*e = (struct sim_event){
	        .due = due, .number = ++sim.numbers, .kind = kind, .loop = l, .fn = fn, .arg = arg};
	/* of one stream, those that are due at the same time have the same rank */
	if (sim.seed)
		e->rank = mixed(sim.seed ^ mixed(due ^ mixed(stream ? stream : ~e->number)));
	sim.heap[sim.n++] = e;
	sift_up(sim.n - 1);
	return e;
}

struct sim_event *sim_at(struct loop *l, uint64_t delay_ns, uint64_t stream, loop_fn *fn, void *arg) {
	return put(l, KIND_OTHER, sim_now_ns() + delay_ns, stream, fn, arg);
}

void sim_cancel(struct sim_event *e) {
	if (e)
		e->fn = NULL;
}

/* The next event that can run, off the heap; NULL if none, or none that is due by `latest`. */
static struct sim_event *next_event(uint64_t latest) {
	struct sim_event **waits = NULL, *found = NULL;
	size_t nwaits = 0;
	while (sim.n && sim.heap[0]->due <= latest) {
		struct sim_event *e = take(0);
		if (!e->fn) {
			free(e);
		} else if (e->loop && e->loop->held) {
			if (!(waits = realloc(waits, (nwaits + 1) * sizeof *waits)))
				out_of_memory();
			waits[nwaits++] = e;
		} else {
			found = e;
			break;
		}
	}
	for (size_t i = 0; i < nwaits; i++) {
		sim.heap[sim.n++] = waits[i];
		sift_up(sim.n - 1);
	}
	free(waits);
	return found;
}

static void run_event(struct sim_event *e) {
	loop_fn *fn = e->fn;
	void *arg = e->arg;
	if (e->due > sim.now)
		sim.now = e->due;
	sim.current = e->loop;
	sim.events++;
	free(e);
	fn(arg);
	sim.current = NULL;
}

bool sim_step(void) {
	struct sim_event *e = next_event(UINT64_MAX);
	if (e)
		run_event(e);
	return e != NULL;
}

bool sim_settle(uint64_t events) {
	while (events-- > 0)
		if (!sim_step())
			return true;
	return false;
}

static bool never(void *arg) {
	(void)arg;
	return false;
}

void sim_for(uint64_t ms) {
	sim_until(never, NULL, ms);
}

bool sim_until(bool (*met)(void *arg), void *arg, uint64_t ms) {
	uint64_t end = sim.now + ms * 1000000u;
	while (!met(arg)) {
		struct sim_event *e = next_event(end);
		if (!e) {
			sim.now = end;
			return met(arg);
		}
		run_event(e);
	}
	return true;
}

uint64_t sim_now_ns(void) {
	return sim.now + sim.spent;
}

uint64_t sim_events(void) {
	return sim.events;
}

void sim_begin(uint64_t seed) {
	sim_end();
	sim.now = START_NS;
	sim.seed = sim.state = seed;
}

void sim_end(void) {
	while (sim.n)
		free(take(0));
	free(sim.heap);
	memset(&sim, 0, sizeof sim);
}

void sim_hold(struct loop *l, bool held) {
	l->held = held;
}

void sim_refuse_posts(unsigned n) {
	sim.refused = n;
}

void sim_shift(struct loop *l, int64_t ns) {
	l->shift += ns;
}

void sim_lane_enter(void) {
	sim.lane = true;
	sim.spent = 0;
}

void sim_spend(uint64_t ns) {
	if (sim.lane)
		sim.spent += ns;
}

uint64_t sim_lane_leave(void) {
	uint64_t spent = sim.spent;
	sim.lane = false;
	sim.spent = 0;
	return spent;
}

/* ---- loop.h -------------------------------------------------------------------------------------- */

uint64_t loop_now_ns(void) {
	return sim_now_ns() + (sim.current ? (uint64_t)sim.current->shift : 0);
}

int loop_create(struct loop **out) {
	struct loop *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	LIST_INIT(&l->timers);
	l->stream = sim_stream();
	*out = l;
	return 0;
}

static void timer_free(struct loop_timer *t) {
	sim_cancel(t->event);
	LIST_REMOVE(t, next);
	free(t);
}

/* A post of this loop that has not run, in order; NULL: none. */
static struct sim_event *next_post(const struct loop *l) {
	size_t first = sim.n;
	for (size_t i = 0; i < sim.n; i++)
		if (sim.heap[i]->loop == l && sim.heap[i]->fn && sim.heap[i]->kind == KIND_POST &&
		        (first == sim.n || sim.heap[i]->number < sim.heap[first]->number))
			first = i;
	return first < sim.n ? take(first) : NULL;
}

void loop_destroy(struct loop *l) {
	if (!l)
		return;
	for (struct sim_event *e; (e = next_post(l));) {
		e->due = sim.now;
		run_event(e);
	}
	for (struct loop_timer *t; (t = LIST_FIRST(&l->timers));)
		timer_free(t);
	for (size_t i = 0; i < sim.n; i++)
		if (sim.heap[i]->loop == l && sim.heap[i]->fn) {
			fprintf(stderr, "sim: a loop is destroyed before what it is to run\n");
			abort();
		} else if (sim.heap[i]->loop == l) {
			sim.heap[i]->loop = NULL;
		}
	if (l->base)
		event_base_free(l->base);
	free(l);
}

/* Descriptors that are watched through it never become ready. */
struct event_base *loop_base(struct loop *l) {
	if (!l->base)
		l->base = event_base_new();
	return l->base;
}

int loop_run(struct loop *l) {
	while (!l->stopped && sim_step())
		;
	l->stopped = false;
	return 0;
}

void loop_stop(struct loop *l) {
	l->stopped = true;
}

bool loop_on_thread(const struct loop *l) {
	return !sim.lane && (!sim.current || sim.current == l);
}

int loop_post(struct loop *l, loop_fn *fn, void *arg) {
	if (sim.refused) {
		sim.refused--;
		return -ENOMEM;
	}
	put(l, KIND_POST, sim_now_ns(), l->stream, fn, arg);
	return 0;
}

static void timer_fire(void *arg) {
	struct loop_timer *t = arg;
	t->event = NULL;
	t->running = true;
	t->fn(t->arg);
	t->running = false;
	if (t->stopped || !t->every) {
		timer_free(t);
		return;
	}
	/* what was missed while the loop was held is not made up for */
	t->due = t->due + t->every > sim.now ? t->due + t->every : sim.now + t->every;
	t->event = put(t->loop, KIND_TIMER, t->due, 0, timer_fire, t);
}

struct loop_timer *loop_timer_start(struct loop *l, uint64_t ms, bool repeat, loop_fn *fn, void *arg) {
	struct loop_timer *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	*t = (struct loop_timer){.loop = l,
	        .every = repeat ? (ms ? ms : 1) * 1000000u : 0,
	        .due = sim.now + ms * 1000000u,
	        .fn = fn,
	        .arg = arg};
	t->event = put(l, KIND_TIMER, t->due, 0, timer_fire, t);
	LIST_INSERT_HEAD(&l->timers, t, next);
	return t;
}

void loop_timer_stop(struct loop_timer *t) {
	if (!t)
		return;
	if (t->running)
		t->stopped = true;
	else
		timer_free(t);
}
