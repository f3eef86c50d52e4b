/* executor: the thread for disk, hashing and packing.
 *
 * Owns: its thread, the queue of waiting jobs and the list of finished ones.  At most one call into the loop
 * is pending; it returns all jobs finished since, so that the loop is not woken for each.
 * Invariant: every accepted job's `done` is called exactly once, on the loop's thread, in the order of
 * submission.
 * Threads: run() here is the executor's own; the rest is the loop's. */
#include "daemon/core/executor.h"

#include "kernels/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

struct job {
	loop_fn *run;
	executor_done_fn *done;
	void *arg;
	STAILQ_ENTRY(job) next;
};

STAILQ_HEAD(jobs, job);

/* The argument of the call into the loop: outlives the executor while the call is in the mailbox. */
struct bell {
	struct executor *e; /* NULL: the executor has gone */
};

struct executor {
	struct loop *loop; /* borrowed */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct jobs waiting, ran; /* under lock, like all below */
	struct bell *bell;
	bool rung, stop;
	unsigned open; /* the loop's own */
};

/* Takes the oldest, or NULL. */
static struct job *executor_take_job(struct jobs *l) {
	struct job *j = STAILQ_FIRST(l);
	if (j)
		STAILQ_REMOVE_HEAD(l, next);
	return j;
}

static void executor_return_jobs(struct jobs *l, bool cancelled) {
	struct job *j;
	while ((j = executor_take_job(l))) {
		if (j->done)
			j->done(j->arg, cancelled);
		free(j);
	}
}

/* On the loop: returns the jobs finished since the bell was rung. */
static void executor_on_bell(void *arg) {
	struct bell *b = arg;
	struct executor *e = b->e;
	if (!e) {
		free(b);
		return;
	}
	/* one at a time: a done may destroy the executor, which must still find the remaining jobs */
	for (;;) {
		pthread_mutex_lock(&e->lock);
		struct job *j = executor_take_job(&e->ran);
		if (!j)
			e->rung = false;
		pthread_mutex_unlock(&e->lock);
		if (!j)
			return;
		executor_done_fn *done = j->done;
		void *what = j->arg;
		free(j);
		e->open--;
		if (done)
			done(what, false);
		if (!b->e) {
			free(b);
			return;
		}
	}
}

static void *executor_thread(void *arg) {
	struct executor *e = arg;
	pthread_mutex_lock(&e->lock);
	for (;;) {
		while (!e->stop && STAILQ_EMPTY(&e->waiting))
			pthread_cond_wait(&e->wake, &e->lock);
		if (e->stop)
			break;
		struct job *j = executor_take_job(&e->waiting);
		pthread_mutex_unlock(&e->lock);
		j->run(j->arg);
		pthread_mutex_lock(&e->lock);
		STAILQ_INSERT_TAIL(&e->ran, j, next);
		while (!e->rung && !e->stop) {
			e->rung = true;
			if (loop_post(e->loop, executor_on_bell, e->bell) == 0)
				break;
			/* out of memory for the call: the results are kept, and it is tried again a little
			 * later */
			e->rung = false;
			pthread_mutex_unlock(&e->lock);
			nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
			pthread_mutex_lock(&e->lock);
		}
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

int executor_create(struct executor **out, struct loop *l) {
	struct executor *e = calloc(1, sizeof *e);
	struct bell *b = calloc(1, sizeof *b);
	if (!e || !b) {
		free(e);
		free(b);
		return -ENOMEM;
	}
	e->loop = l;
	e->bell = b;
	b->e = e;
	STAILQ_INIT(&e->waiting);
	STAILQ_INIT(&e->ran);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->wake, NULL);
	int rc = thread_start(&e->thread, NULL, executor_thread, e);
	if (rc) {
		pthread_cond_destroy(&e->wake);
		pthread_mutex_destroy(&e->lock);
		free(b);
		free(e);
		return rc;
	}
	*out = e;
	return 0;
}

void executor_destroy(struct executor *e) {
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->stop = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	/* the thread has ended: no lock is needed, and `stop` refuses a done that submits */
	executor_return_jobs(&e->ran, false);
	executor_return_jobs(&e->waiting, true);
	e->bell->e = NULL;
	if (!e->rung)
		free(e->bell); /* else the pending call frees it */
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

int executor_submit(struct executor *e, loop_fn *fn, executor_done_fn *done, void *arg) {
	struct job *j = malloc(sizeof *j);
	if (!j)
		return -ENOMEM;
	j->run = fn;
	j->done = done;
	j->arg = arg;
	pthread_mutex_lock(&e->lock);
	bool stop = e->stop;
	if (!stop) {
		STAILQ_INSERT_TAIL(&e->waiting, j, next);
		pthread_cond_signal(&e->wake);
	}
	pthread_mutex_unlock(&e->lock);
	if (stop) {
		free(j);
		return -ESHUTDOWN;
	}
	e->open++;
	return 0;
}

unsigned executor_open(const struct executor *e) {
	return e->open;
}
