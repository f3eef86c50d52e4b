/* The loop's mailbox and timers, and the executor: what other threads hand over arrives once, whole and in order. */
#include "daemon/core/executor.h"
#include "daemon/core/loop.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static struct loop *loop;

static void make_loop(void) {
	ck_assert_int_eq(loop_create(&loop), 0);
}

static void end_loop(void) {
	loop_destroy(loop);
}

static void stop(void *arg) {
	(void)arg;
	loop_stop(loop);
}

/* What the linker puts in the place of these: they count the locks that a thread holds. */
int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);
ssize_t __real_write(int fd, const void *data, size_t len);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
ssize_t __wrap_write(int fd, const void *data, size_t len);

static _Thread_local int locks;
static int locks_at_wake = -1; /* when the loop was woken last */

int __wrap_pthread_mutex_lock(pthread_mutex_t *m) {
	locks++;
	return __real_pthread_mutex_lock(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m) {
	locks--;
	return __real_pthread_mutex_unlock(m);
}

ssize_t __wrap_write(int fd, const void *data, size_t len) {
	if (len == sizeof(uint64_t)) /* to an eventfd */
		locks_at_wake = locks;
	return __real_write(fd, data, len);
}

/* ---- the mailbox --------------------------------------------------------------------------------- */

#define THREADS 4
#define POSTS 100000u

struct poster {
	pthread_t thread;
	uint32_t made;  /* by its thread */
	uint32_t taken; /* by the loop */
	bool in_order;
	struct post {
		struct poster *by;
		uint32_t number;
	} post[POSTS];
};

static unsigned over; /* posters all of whose posts were taken */

static void take(void *arg) {
	struct post *p = arg;
	p->by->in_order = p->by->in_order && p->number == p->by->taken;
	p->by->taken++;
	if (p->by->taken == POSTS && ++over == THREADS)
		loop_stop(loop);
}

static void *post_many(void *arg) {
	struct poster *p = arg;
	for (; p->made < POSTS; p->made++) {
		p->post[p->made] = (struct post){p, p->made};
		if (loop_post(loop, take, &p->post[p->made]) != 0)
			return NULL;
	}
	return NULL;
}

START_TEST(posts_of_many_threads_all_arrive) {
	struct poster *p = calloc(THREADS, sizeof *p);
	ck_assert_ptr_nonnull(p);
	for (int i = 0; i < THREADS; i++) {
		p[i].in_order = true;
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, post_many, &p[i]), 0);
	}
	ck_assert_int_eq(loop_run(loop), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_uint_eq(p[i].taken, POSTS);
		ck_assert(p[i].in_order);
	}
	free(p);
}
END_TEST

static int locks_in_post = -1;

static void note_locks(void *arg) {
	(void)arg;
	locks_in_post = locks;
}

/* Threads seldom meet in so short a piece of code; so it is looked at whether they may. */
START_TEST(the_mailbox_is_changed_under_its_lock_and_emptied_without) {
	ck_assert_int_eq(loop_post(loop, note_locks, NULL), 0);
	ck_assert_int_eq(locks_at_wake, 1);
	ck_assert_int_eq(locks, 0);
	ck_assert_int_eq(loop_post(loop, stop, NULL), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(locks_in_post, 0);
	ck_assert_int_eq(locks, 0);
}
END_TEST

static unsigned turns;
static bool timer_came;

static void post_again(void *arg) {
	ck_assert_uint_lt(++turns, 100000000);
	if (!timer_came)
		ck_assert_int_eq(loop_post(loop, post_again, arg), 0);
}

static void note_timer(void *arg) {
	(void)arg;
	timer_came = true;
	loop_stop(loop);
}

START_TEST(who_posts_itself_again_keeps_no_timer_waiting) {
	ck_assert_int_eq(loop_post(loop, post_again, NULL), 0);
	ck_assert_ptr_nonnull(loop_timer_start(loop, 20, false, note_timer, NULL));
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert(timer_came);
	ck_assert_uint_gt(turns, 1);
}
END_TEST

static void count(void *arg) {
	++*(unsigned *)arg;
}

START_TEST(what_is_in_the_mailbox_is_run_at_the_end) {
	struct loop *l;
	unsigned n = 0;
	ck_assert_int_eq(loop_create(&l), 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(loop_post(l, count, &n), 0);
	ck_assert_uint_eq(n, 0);
	loop_destroy(l);
	ck_assert_uint_eq(n, 10);
}
END_TEST

/* ---- timers -------------------------------------------------------------------------------------- */

static struct loop_timer *ticking;
static unsigned ticks;

static void tick_thrice(void *arg) {
	(void)arg;
	if (++ticks == 3) {
		loop_timer_stop(ticking);
		ck_assert_ptr_nonnull(loop_timer_start(loop, 50, false, stop, NULL));
	}
}

START_TEST(a_timer_stops_itself) {
	ticking = loop_timer_start(loop, 1, true, tick_thrice, NULL);
	ck_assert_ptr_nonnull(ticking);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(ticks, 3);
}
END_TEST

static unsigned order[3], came;

static void note(void *arg) {
	order[came++] = *(unsigned *)arg;
	if (came == 3)
		loop_stop(loop);
}

START_TEST(timers_come_in_the_order_of_their_times) {
	unsigned n[] = {0, 1, 2};
	ck_assert_ptr_nonnull(loop_timer_start(loop, 60, false, note, &n[2]));
	ck_assert_ptr_nonnull(loop_timer_start(loop, 1, false, note, &n[0]));
	ck_assert_ptr_nonnull(loop_timer_start(loop, 30, false, note, &n[1]));
	struct loop_timer *never = loop_timer_start(loop, 10, false, note, &n[0]);
	loop_timer_stop(never);
	ck_assert_int_eq(loop_run(loop), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(order[i], i);
}
END_TEST

START_TEST(a_loop_that_is_stopped_before_it_runs) {
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_ptr_nonnull(loop_timer_start(loop, 1, false, stop, NULL));
	ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

/* ---- the executor -------------------------------------------------------------------------------- */

#define JOBS 1000

static struct executor *executor;
static unsigned ran, handed_back, cancelled_jobs;
static bool run_in_order = true, back_in_order = true; /* the executor's thread, the loop */
static unsigned number[JOBS];

static void run_job(void *arg) {
	run_in_order = run_in_order && *(unsigned *)arg == ran;
	ran++;
}

static void job_done(void *arg, bool cancelled) {
	back_in_order = back_in_order && *(unsigned *)arg == handed_back;
	handed_back++;
	cancelled_jobs += cancelled;
	ck_assert_uint_eq(executor_open(executor), JOBS - handed_back);
	if (handed_back == JOBS)
		loop_stop(loop);
}

START_TEST(jobs_run_and_come_back_in_order) {
	ck_assert_int_eq(executor_create(&executor, loop), 0);
	for (unsigned i = 0; i < JOBS; i++) {
		number[i] = i;
		ck_assert_int_eq(executor_submit(executor, run_job, job_done, &number[i]), 0);
	}
	ck_assert_uint_eq(executor_open(executor), JOBS);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(ran, JOBS);
	ck_assert_uint_eq(cancelled_jobs, 0);
	ck_assert(run_in_order);
	ck_assert(back_in_order);
	executor_destroy(executor);
}
END_TEST

struct held {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool began, go;
	unsigned done, cancelled, refused;
};

static void run_held(void *arg) {
	struct held *h = arg;
	pthread_mutex_lock(&h->lock);
	h->began = true;
	pthread_cond_broadcast(&h->wake);
	while (!h->go)
		pthread_cond_wait(&h->wake, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

static void held_done(void *arg, bool cancelled) {
	struct held *h = arg;
	h->done++;
	h->cancelled += cancelled;
	h->refused += executor_submit(executor, run_held, held_done, h) == -ESHUTDOWN;
}

static void *let_go(void *arg) {
	struct held *h = arg;
	pthread_mutex_lock(&h->lock);
	h->go = true;
	pthread_cond_broadcast(&h->wake);
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* The one that runs is waited for and was not cancelled; the rest is, and nobody may submit more. */
START_TEST(an_executor_that_ends) {
	struct held h = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
	pthread_t thread;
	ck_assert_int_eq(executor_create(&executor, loop), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(executor_submit(executor, run_held, held_done, &h), 0);
	pthread_mutex_lock(&h.lock);
	while (!h.began)
		pthread_cond_wait(&h.wake, &h.lock);
	/* from here on it runs until executor_destroy has told the thread to stop: let_go waits for the lock that we hold */
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &h), 0);
	pthread_mutex_unlock(&h.lock);
	executor_destroy(executor);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(h.done, 3);
	ck_assert_uint_le(h.cancelled, 2);
	ck_assert_uint_eq(h.refused, 3);
}
END_TEST

/* A call that is still in the mailbox when the executor ends finds nothing, and frees what it was about. */
START_TEST(an_executor_that_ends_with_its_call_on_the_way) {
	ck_assert_int_eq(executor_create(&executor, loop), 0);
	number[0] = 0;
	ck_assert_int_eq(executor_submit(executor, run_job, NULL, &number[0]), 0);
	executor_destroy(executor); /* waits for the job, whose call is in the mailbox then, if it ran */
	ck_assert_ptr_nonnull(loop_timer_start(loop, 1, false, stop, NULL));
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_le(ran, 1);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("core");
	TCase *t = tcase_create("mailbox");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, make_loop, end_loop);
	tcase_add_test(t, posts_of_many_threads_all_arrive);
	tcase_add_test(t, the_mailbox_is_changed_under_its_lock_and_emptied_without);
	tcase_add_test(t, who_posts_itself_again_keeps_no_timer_waiting);
	tcase_add_test(t, what_is_in_the_mailbox_is_run_at_the_end);
	suite_add_tcase(s, t);
	t = tcase_create("timers");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, make_loop, end_loop);
	tcase_add_test(t, a_timer_stops_itself);
	tcase_add_test(t, timers_come_in_the_order_of_their_times);
	tcase_add_test(t, a_loop_that_is_stopped_before_it_runs);
	suite_add_tcase(s, t);
	t = tcase_create("executor");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, make_loop, end_loop);
	tcase_add_test(t, jobs_run_and_come_back_in_order);
	tcase_add_test(t, an_executor_that_ends);
	tcase_add_test(t, an_executor_that_ends_with_its_call_on_the_way);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
