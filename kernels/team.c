/* team: threads that compute one job together.
 *
 * Owns: the threads, the word that starts a job, the word that ends it, the barrier between its phases, and what is left of the
 * members' shares of a round.
 * A member waits for a word to change in three steps: it spins for a few pauses, then yields the processor before each look for
 * some hundred microseconds, then sleeps in a futex on the word.  A phase of a layer lasts tens of microseconds, so nobody sleeps
 * inside a job when every member has a processor; when there are more members than processors, also those of other processes,
 * the members that have work run.
 * Invariant: a waker changes the word before it reads `sleepers`; a sleeper adds itself before it reads the word again.  Both are
 * sequentially consistent, so one of the two sees the other and no wake-up is lost.
 * Threads: team_create, team_run, team_destroy on one thread at a time; the rest inside a job. */
#include "config.h"

#include "kernels/team.h"
#include "kernels/thread.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 20    /* pauses */
#define YIELDS 1000 /* a third of a microsecond each, where nobody else wants the processor */
#define LINE 64
#define PART 3 /* a run is 1/PART of what is left of a member's own share */
#define MAX_MEMBERS 1024

/* A word that threads wait on, on a cache line of its own. */
struct gate {
	alignas(LINE) _Atomic uint32_t word;
	_Atomic uint32_t sleepers;
};

struct member {
	alignas(LINE) _Atomic uint64_t
	        share; /* what is left of it: see struct share; 0 before the first round */
	struct team *team;
	pthread_t thread;
	unsigned id;
};

struct team {
	struct gate start;   /* counts jobs; members 1.. wait for the next */
	struct gate end;     /* counts jobs that all members but the caller have finished */
	struct gate barrier; /* counts barriers passed */
	alignas(LINE) _Atomic uint32_t arrived; /* at the barrier */
	_Atomic uint32_t working;               /* members but the caller that have not finished the job */
	alignas(LINE) _Atomic size_t next;
	alignas(LINE) team_fn *fn; /* NULL tells members to leave */
	void *arg;
	unsigned size;
	unsigned started; /* threads that exist, so members 1..started */
	bool pinned;
	pthread_t creator;
	cpu_set_t before; /* the creator's processors, to be given back */
	struct member members[];
};

static void relax(void) {
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value) {
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Returns when the word is not `old`; what was written before it changed is seen. */
static void gate_wait(struct gate *g, uint32_t old) {
	for (int i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&g->word, memory_order_acquire) != old)
			return;
		relax();
	}
	for (int i = 0; i < YIELDS; i++) {
		if (atomic_load_explicit(&g->word, memory_order_acquire) != old)
			return;
		sched_yield();
	}
	atomic_fetch_add(&g->sleepers, 1);
	while (atomic_load(&g->word) == old)
		futex(&g->word, FUTEX_WAIT, old);
	atomic_fetch_sub(&g->sleepers, 1);
}

/* Changes the word and wakes those that sleep on it. */
static void gate_step(struct gate *g) {
	atomic_fetch_add(&g->word, 1);
	if (atomic_load(&g->sleepers) > 0)
		futex(&g->word, FUTEX_WAKE, INT_MAX);
}

static void *member_main(void *arg) {
	struct member *m = arg;
	struct team *t = m->team;
	for (uint32_t job = 0;; job++) {
		gate_wait(&t->start, job);
		if (!t->fn)
			return NULL;
		t->fn(t, t->arg, m->id);
		if (atomic_fetch_sub(&t->working, 1) == 1)
			gate_step(&t->end);
	}
}

/* Starts a thread on `cpu` (any, when negative). */
static int member_start(struct member *m, int cpu) {
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);
	if (r)
		return -r;
	if (cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		r = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
	}
	if (!r)
		r = -thread_start(&m->thread, &attr, member_main, m);
	pthread_attr_destroy(&attr);
	return -r;
}

static int pin_creator(struct team *t, int cpu) {
	t->creator = pthread_self();
	int r = pthread_getaffinity_np(t->creator, sizeof t->before, &t->before);
	if (r)
		return -r;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	r = pthread_setaffinity_np(t->creator, sizeof set, &set);
	t->pinned = r == 0;
	return -r;
}

int team_create(struct team **out, unsigned size, const int *cpus) {
	*out = NULL;
	if (size == 0 || size > MAX_MEMBERS)
		return -EINVAL;
	for (unsigned i = 0; cpus && i < size; i++) {
		if (cpus[i] < 0 || cpus[i] >= CPU_SETSIZE)
			return -EINVAL;
	}
	size_t bytes = sizeof(struct team) + size * sizeof(struct member);
	struct team *t = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
	if (!t)
		return -ENOMEM;
	*t = (struct team){.size = size};
	int r = 0;
	for (unsigned i = 1; i < size; i++) {
		t->members[i] = (struct member){.team = t, .id = i};
		r = member_start(&t->members[i], cpus ? cpus[i] : -1);
		if (r)
			goto error;
		t->started = i;
	}
	if (cpus) {
		r = pin_creator(t, cpus[0]);
		if (r)
			goto error;
	}
	*out = t;
	return 0;
error:
	team_destroy(t);
	return r;
}

void team_destroy(struct team *t) {
	if (!t)
		return;
	int saved = errno;
	t->fn = NULL;
	gate_step(&t->start);
	for (unsigned i = 1; i <= t->started; i++)
		pthread_join(t->members[i].thread, NULL);
	if (t->pinned && pthread_equal(t->creator, pthread_self()))
		pthread_setaffinity_np(t->creator, sizeof t->before, &t->before);
	free(t);
	errno = saved;
}

unsigned team_size(const struct team *t) {
	return t->size;
}

void team_run(struct team *t, team_fn *fn, void *arg) {
	assert(fn);
	t->fn = fn;
	t->arg = arg;
	team_reset_counter(t);
	for (unsigned i = 0; i < t->size; i++)
		atomic_store_explicit(&t->members[i].share, 0, memory_order_relaxed);
	if (t->size == 1) {
		fn(t, arg, 0);
		return;
	}
	uint32_t ended = atomic_load(&t->end.word);
	atomic_store(&t->working, t->size - 1);
	gate_step(&t->start);
	fn(t, arg, 0);
	gate_wait(&t->end, ended);
}

void team_barrier(struct team *t, unsigned id) {
	(void)id;
	if (t->size == 1)
		return;
	uint32_t passed = atomic_load(&t->barrier.word);
	if (atomic_fetch_add(&t->arrived, 1) + 1 < t->size) {
		gate_wait(&t->barrier, passed);
		return;
	}
	atomic_store(&t->arrived, 0);
	gate_step(&t->barrier);
}

size_t team_next(struct team *t) {
	return atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
}

void team_reset_counter(struct team *t) {
	atomic_store_explicit(&t->next, 0, memory_order_relaxed);
}

/* ---- runs of a round ---- */

/* Units [front, back) are left.  In a member's word, so that the owner and others take from it one after the other; a word of an
 * earlier round stands for the whole share of this one, and of a later round for nothing. */
struct share {
	uint32_t round;
	size_t front, back;
};
enum { ROUND_BITS = 20, UNIT_BITS = 22 };
#define UNITS_MAX (((size_t)1 << UNIT_BITS) - 1)
#define ROUNDS (1u << ROUND_BITS)

static uint64_t share_pack(struct share s) {
	return (uint64_t)(s.round % ROUNDS) << 2 * UNIT_BITS | (uint64_t)s.front << UNIT_BITS | s.back;
}

/* What is left for a round of `units` units, when member id's word says so. */
static struct share share_read(
        const struct team *t, unsigned id, uint64_t word, uint32_t round, size_t units) {
	uint32_t behind = (round - (uint32_t)(word >> 2 * UNIT_BITS)) % ROUNDS; /* rounds */
	if (behind == 0)
		return (struct share){round, word >> UNIT_BITS & UNITS_MAX, word & UNITS_MAX};
	if (behind < ROUNDS / 2)
		return (struct share){round, units * id / t->size, units * (id + 1) / t->size};
	return (struct share){.round = round};
}

/* Takes a run from the beginning of the member's own share. */
static bool share_take_own(struct team *t, unsigned id, uint32_t round, size_t units, struct share *run) {
	_Atomic uint64_t *word = &t->members[id].share;
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
	for (;;) {
		struct share s = share_read(t, id, old, round, units);
		if (s.front == s.back)
			return false;
		*run = s;
		run->back = s.front += (s.back - s.front + PART - 1) / PART;
		if (atomic_compare_exchange_weak_explicit(
		            word, &old, share_pack(s), memory_order_relaxed, memory_order_relaxed))
			return true;
	}
}

/* Takes half of what is left of the largest other share, from its end. */
static bool share_take_other(struct team *t, uint32_t round, size_t units, struct share *run) {
	for (;;) {
		struct share most = {0};
		uint64_t old = 0;
		unsigned from = 0;
		for (unsigned i = 0; i < t->size; i++) {
			uint64_t word = atomic_load_explicit(&t->members[i].share, memory_order_relaxed);
			struct share s = share_read(t, i, word, round, units);
			if (s.back - s.front > most.back - most.front) {
				most = s;
				old = word;
				from = i;
			}
		}
		if (most.front == most.back)
			return false;
		*run = most;
		run->front = most.back -= (most.back - most.front + 1) / 2;
		if (atomic_compare_exchange_weak_explicit(&t->members[from].share, &old, share_pack(most),
		            memory_order_relaxed, memory_order_relaxed))
			return true;
	}
}

bool team_take(
        struct team *t, unsigned id, uint32_t round, size_t n, size_t unit, size_t *first, size_t *count) {
	assert(unit > 0 && id < t->size);
	struct share run;
	while (n / unit >= UNITS_MAX)
		unit *= 2;
	size_t units = (n + unit - 1) / unit;
	if (!share_take_own(t, id, round, units, &run) && !share_take_other(t, round, units, &run))
		return false;
	*first = run.front * unit;
	*count = (run.back * unit < n ? run.back * unit : n) - *first;
	return true;
}

void team_share(const struct team *t, unsigned id, size_t n, size_t unit, size_t *first, size_t *last) {
	assert(unit > 0 && id < t->size);
	size_t units = (n + unit - 1) / unit;
	size_t a = units * id / t->size * unit, b = units * (id + 1) / t->size * unit;
	*first = a < n ? a : n;
	*last = b < n ? b : n;
}
