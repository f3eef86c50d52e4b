/* sim/jobs: see jobs.h. */
#include "tests/sim/jobs.h"
#include "tests/sim/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

struct job {
	struct executor *executor;
	loop_fn *run;
	executor_done_fn *done;
	void *arg;
	STAILQ_ENTRY(job) next;
};

struct executor {
	struct loop *loop;
	STAILQ_HEAD(, job) waiting;
	struct job *now;         /* it begins, or has run and is not over yet */
	struct sim_event *event; /* for it */
	bool begun, held, stop;
	uint64_t stream;
	unsigned open;
	LIST_ENTRY(executor) next;
};

static LIST_HEAD(, executor) loaders = LIST_HEAD_INITIALIZER(loaders);
static jobs_cost_fn *cost_of;
static unsigned refused;

static void begin_next(struct executor *ld);

static void over(void *arg) {
	struct executor *ld = arg;
	struct job *j = ld->now;
	executor_done_fn *done = j->done;
	void *what = j->arg;
	ld->now = NULL;
	ld->event = NULL;
	ld->begun = false;
	ld->open--;
	free(j);
	begin_next(ld); /* before done, which may destroy the executor */
	if (done)
		done(what, false);
}

static void begin(void *arg) {
	struct executor *ld = arg;
	struct job *j = ld->now;
	if (ld->held) {
		STAILQ_INSERT_HEAD(&ld->waiting, j, next);
		ld->now = NULL;
		ld->event = NULL;
		return;
	}
	uint64_t cost = cost_of ? cost_of(ld->loop, j->run, j->arg) : 0;
	sim_lane_enter();
	j->run(j->arg);
	uint64_t spent = sim_lane_leave();
	ld->begun = true;
	ld->event = sim_at(ld->loop, spent + cost, ld->stream, over, ld);
}

static void begin_next(struct executor *ld) {
	if (ld->now || ld->held || ld->stop || !(ld->now = STAILQ_FIRST(&ld->waiting)))
		return;
	STAILQ_REMOVE_HEAD(&ld->waiting, next);
	ld->event = sim_at(ld->loop, 0, ld->stream, begin, ld);
}

int executor_create(struct executor **out, struct loop *l) {
	struct executor *ld = calloc(1, sizeof *ld);
	if (!ld)
		return -ENOMEM;
	ld->loop = l;
	ld->stream = sim_stream();
	STAILQ_INIT(&ld->waiting);
	LIST_INSERT_HEAD(&loaders, ld, next);
	*out = ld;
	return 0;
}

static void hand_back(struct job *j, bool cancelled) {
	if (j->done)
		j->done(j->arg, cancelled);
	free(j);
}

void executor_destroy(struct executor *ld) {
	if (!ld)
		return;
	ld->stop = true;
	sim_cancel(ld->event);
	if (ld->now)
		hand_back(ld->now, !ld->begun);
	for (struct job *j; (j = STAILQ_FIRST(&ld->waiting));) {
		STAILQ_REMOVE_HEAD(&ld->waiting, next);
		hand_back(j, true);
	}
	LIST_REMOVE(ld, next);
	free(ld);
}

int executor_submit(struct executor *ld, loop_fn *run, executor_done_fn *done, void *arg) {
	if (ld->stop)
		return -ESHUTDOWN;
	struct job *j = refused ? NULL : malloc(sizeof *j);
	refused -= refused > 0;
	if (!j)
		return -ENOMEM;
	*j = (struct job){.executor = ld, .run = run, .done = done, .arg = arg};
	STAILQ_INSERT_TAIL(&ld->waiting, j, next);
	ld->open++;
	begin_next(ld);
	return 0;
}

unsigned executor_open(const struct executor *ld) {
	return ld->open;
}

void jobs_cost(jobs_cost_fn *fn) {
	cost_of = fn;
}

void jobs_refuse(unsigned n) {
	refused = n;
}

void jobs_hold(struct loop *l, bool held) {
	struct executor *ld;
	LIST_FOREACH(ld, &loaders, next) {
		if (ld->loop != l)
			continue;
		ld->held = held;
		if (!held)
			begin_next(ld);
	}
}

unsigned jobs_open(void) {
	struct executor *ld;
	unsigned n = 0;
	LIST_FOREACH(ld, &loaders, next)
	n += ld->open;
	return n;
}
