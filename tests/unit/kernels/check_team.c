/* The thread team: every member once a job, barriers that separate phases, a counter that gives each number
 * once, items of which each is taken once, even shares, and all of it when members outnumber processors or two teams share them. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/team.h"
#include "tests/unit/check_often.h"

#define MEMBERS 8
#define NUMBERS 1000

static struct team *make(unsigned size) {
	struct team *t = NULL;
	ck_assert_int_eq(team_create(&t, size, NULL), 0);
	ck_assert_uint_eq(team_size(t), size);
	return t;
}

/* Plain memory: the team has to order the accesses, and ThreadSanitizer looks whether it does. */
static void count_calls(struct team *t, void *arg, unsigned id) {
	unsigned *calls = arg;
	calls[id]++;
}

START_TEST(every_member_runs_once_a_job) {
	for (unsigned size = 1; size <= MEMBERS; size++) {
		struct team *t = make(size);
		unsigned calls[MEMBERS] = {0};
		for (unsigned job = 1; job <= 2000; job++) {
			team_run(t, count_calls, calls);
			for (unsigned i = 0; i < size; i++)
				ck_assert_often(calls[i] == job);
		}
		team_destroy(t);
	}
}
END_TEST

struct phases {
	unsigned rounds;
	unsigned sum[MEMBERS];
	int wrong[MEMBERS];
};

/* Each member writes its own cell and, after the barrier, reads everybody's. */
static void run_phases(struct team *t, void *arg, unsigned id) {
	struct phases *p = arg;
	for (unsigned round = 1; round <= p->rounds; round++) {
		p->sum[id] = round;
		team_barrier(t, id);
		for (unsigned i = 0; i < team_size(t); i++)
			p->wrong[id] += p->sum[i] != round;
		team_barrier(t, id);
	}
}

static void check_phases(struct team *t, unsigned rounds) {
	struct phases p = {.rounds = rounds};
	team_run(t, run_phases, &p);
	for (unsigned i = 0; i < team_size(t); i++) {
		ck_assert_int_eq(p.wrong[i], 0);
		ck_assert_uint_eq(p.sum[i], rounds);
	}
}

START_TEST(barriers_separate_phases) {
	for (unsigned size = 1; size <= 4; size++) {
		struct team *t = make(size);
		check_phases(t, 2000);
		team_destroy(t);
	}
}
END_TEST

START_TEST(more_members_than_processors) {
	struct team *t = make(MEMBERS);
	for (int job = 0; job < 20; job++)
		check_phases(t, 50);
	team_destroy(t);
}
END_TEST

/* Members that come late to a barrier find the others asleep in the kernel. */
static void run_late(struct team *t, void *arg, unsigned id) {
	unsigned *calls = arg;
	for (unsigned round = 0; round < 20; round++) {
		if (round % team_size(t) == id) {
			struct timespec pause = {.tv_nsec = 2000000};
			nanosleep(&pause, NULL);
		}
		calls[id]++;
		team_barrier(t, id);
	}
}

START_TEST(sleepers_are_woken) {
	struct team *t = make(3);
	unsigned calls[3] = {0};
	team_run(t, run_late, calls);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(calls[i], 20);
	for (int job = 0; job < 10; job++) { /* parked members as well */
		struct timespec pause = {.tv_nsec = 3000000};
		nanosleep(&pause, NULL);
		team_run(t, count_calls, calls);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(calls[i], 30);
	team_destroy(t);
}
END_TEST

struct numbers {
	unsigned rounds;
	unsigned char seen[3][NUMBERS]; /* each cell is written by who was given its number */
};

static void take_numbers(struct team *t, void *arg, unsigned id) {
	struct numbers *n = arg;
	for (unsigned round = 0; round < n->rounds; round++) {
		for (size_t i; (i = team_next(t)) < NUMBERS;)
			n->seen[round][i]++;
		team_barrier(t, id);
		if (id == 0)
			team_reset_counter(t);
		team_barrier(t, id);
	}
	while (team_next(t) < 10) /* leaves the counter used */
		;
}

START_TEST(counter_gives_each_number_once) {
	struct team *t = make(4);
	for (int job = 0; job < 5; job++) {
		struct numbers n = {.rounds = 3};
		team_run(t, take_numbers, &n);
		for (unsigned round = 0; round < 3; round++)
			for (size_t i = 0; i < NUMBERS; i++)
				ck_assert_often(n.seen[round][i] == 1);
	}
	team_destroy(t);
}
END_TEST

enum { ROUNDS = 300, ITEMS = 101 };

struct rounds {
	unsigned char taken[ROUNDS][ITEMS]; /* each cell is written by who was given its item */
	int wrong[4];
};

static size_t items_of(unsigned round) {
	return round * 7 % (ITEMS + 1);
}
static size_t unit_of(unsigned round) {
	return 1 + round % 5;
}

/* Rounds without a barrier between them, each member late in some. */
static void take_rounds(struct team *t, void *arg, unsigned id) {
	struct rounds *r = arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t n = items_of(i), unit = unit_of(i), first, count;
		for (unsigned k = 0; i % 11 == id && k < 20; k++)
			sched_yield();
		while (team_take(t, id, i + 1, n, unit, &first, &count)) {
			r->wrong[id] += first % unit != 0 || (count % unit != 0 && first + count != n) ||
			                first + count > n || count == 0;
			for (size_t k = first; k < first + count && k < ITEMS; k++)
				r->taken[i][k]++;
		}
	}
}

START_TEST(items_of_rounds_are_taken_once) {
	struct team *t = make(4);
	for (int job = 0; job < 20; job++) {
		struct rounds r = {0};
		team_run(t, take_rounds, &r);
		for (unsigned i = 0; i < ROUNDS; i++)
			for (size_t k = 0; k < ITEMS; k++)
				ck_assert_often(r.taken[i][k] == (k < items_of(i)));
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(r.wrong[i], 0);
	}
	team_destroy(t);
}
END_TEST

struct run {
	size_t first, end;
};

/* A run of `id`, whoever asks. */
static struct run take_run(struct team *t, unsigned id, uint32_t round) {
	size_t first = 0, count = 0;
	bool some = team_take(t, id, round, 50, 4, &first, &count);
	return some ? (struct run){first, first + count} : (struct run){0, 0};
}

/* 50 items in units of 4: shares [0, 24) and [24, 50). */
static void take_in_order(struct team *t, void *arg, unsigned id) {
	bool *done = arg;
	if (id != 0)
		return;
	struct run own = take_run(t, 0, 1), other = take_run(t, 1, 1), next;
	ck_assert(own.first == 0 && own.end > 0 && other.first == 24);
	for (size_t end = own.end; end < 24; end = next.end) { /* each where the last one ended */
		next = take_run(t, 0, 1);
		ck_assert(next.first == end && next.end <= 24);
	}
	next = take_run(t, 0, 1); /* then the end of the other's share */
	ck_assert(next.end == 50 && next.first > other.end);
	for (size_t end = other.end; end < next.first; end = other.end) {
		other = take_run(t, 1, 1);
		ck_assert(other.first == end);
	}
	ck_assert(take_run(t, 0, 1).end == 0);
	ck_assert(take_run(t, 0, 2).first == 0); /* goes on to the next round */
	while (take_run(t, 0, 2).end != 50)      /* and takes from the other there */
		;
	ck_assert(take_run(t, 1, 1).end == 0); /* who has nothing left of the round before */
	ck_assert(take_run(t, 1, 2).first == 24);
	*done = true;
}

START_TEST(runs_follow_each_other_in_a_share) {
	struct team *t = make(2);
	for (int job = 0; job < 3; job++) { /* each begins with round 1 */
		bool done = false;
		team_run(t, take_in_order, &done);
		ck_assert(done);
	}
	team_destroy(t);
}
END_TEST

/* More items than a word counts units. */
#define MANY ((size_t)5 << 24 | 1)

static void take_many(struct team *t, void *arg, unsigned id) {
	size_t low = 0, high = MANY, first, count;
	if (id != 0)
		return;
	while (team_take(t, 0, 1, MANY, 3, &first, &count)) {
		ck_assert(first % 3 == 0 && count > 0);
		if (first == low) /* of the own share */
			low += count;
		else {
			ck_assert_uint_eq(first + count, high);
			high = first;
		}
	}
	ck_assert_uint_eq(low, high);
	*(bool *)arg = true;
}

START_TEST(many_items_are_taken_once) {
	for (unsigned size = 1; size <= 2; size++) {
		struct team *t = make(size);
		bool done = false;
		team_run(t, take_many, &done);
		ck_assert(done);
		team_destroy(t);
	}
}
END_TEST

START_TEST(shares_are_even_and_whole) {
	for (unsigned size = 1; size <= 7; size++) {
		struct team *t = make(size);
		for (size_t unit = 1; unit <= 32; unit = unit == 1 ? 8 : unit * 2) {
			for (size_t n = 0; n <= 300; n++) {
				size_t at = 0, units = (n + unit - 1) / unit;
				for (unsigned id = 0; id < size; id++) {
					size_t first, last;
					team_share(t, id, n, unit, &first, &last);
					ck_assert_often(first == at);
					ck_assert_often(last >= first);
					ck_assert_often(last == n || last % unit == 0);
					ck_assert_often((last - first + unit - 1) / unit <= units / size + 1);
					ck_assert_often(last == n || last - first >= units / size * unit);
					at = last;
				}
				ck_assert_often(at == n);
			}
		}
		team_destroy(t);
	}
}
END_TEST

static void *own_team(void *arg) {
	struct team *t = NULL;
	int *result = arg;
	if (team_create(&t, 3, NULL) != 0)
		return NULL;
	for (int job = 0; job < 50; job++) {
		struct phases p = {.rounds = 20};
		team_run(t, run_phases, &p);
		for (unsigned i = 0; i < 3; i++)
			*result += p.wrong[i] == 0 && p.sum[i] == 20;
	}
	team_destroy(t);
	return NULL;
}

START_TEST(two_teams_share_the_processors) {
	pthread_t thread[2];
	int result[2] = {0};
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, own_team, &result[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(result[i], 150);
	}
}
END_TEST

struct places {
	int cpu[2];
};

static void note_place(struct team *t, void *arg, unsigned id) {
	struct places *p = arg;
	cpu_set_t set;
	pthread_getaffinity_np(pthread_self(), sizeof set, &set);
	p->cpu[id] = -1;
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &set))
			p->cpu[id] = p->cpu[id] == -1 ? c : -2;
}

START_TEST(members_are_pinned) {
	cpu_set_t before, after;
	int cpus[2], found = 0;
	ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
	for (int c = 0; c < CPU_SETSIZE && found < 2; c++)
		if (CPU_ISSET(c, &before))
			cpus[found++] = c;
	if (found < 2)
		cpus[1] = cpus[0];
	struct team *t;
	ck_assert_int_eq(team_create(&t, 2, cpus), 0);
	struct places p;
	team_run(t, note_place, &p);
	ck_assert_int_eq(p.cpu[0], cpus[0]);
	ck_assert_int_eq(p.cpu[1], cpus[1]);
	team_destroy(t);
	ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
	ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

/* 1: it blocks the signals that are the loop's and none that the processor raises. */
static void note_signals(struct team *t, void *arg, unsigned id) {
	static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL},
	                 others[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	int *right = arg;
	sigset_t blocked;
	(void)t;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	right[id] = 1;
	for (int i = 0; i < 4; i++)
		right[id] = right[id] && !sigismember(&blocked, own[i]) && sigismember(&blocked, others[i]);
}

START_TEST(members_take_only_the_signals_of_their_own_faults) {
	int right[MEMBERS] = {0};
	sigset_t all, before;
	sigfillset(&all);
	/* whatever whoever starts them blocks */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	struct team *t = make(MEMBERS);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	team_run(t, note_signals, right);
	for (int i = 1; i < MEMBERS; i++)
		ck_assert_int_eq(right[i], 1);
	team_destroy(t);
}
END_TEST

START_TEST(what_cannot_be_is_refused) {
	struct team *t = (struct team *)1;
	ck_assert_int_eq(team_create(&t, 0, NULL), -EINVAL);
	ck_assert_ptr_null(t);
	const int negative[] = {0, -1}, absent[] = {0, CPU_SETSIZE - 1}, huge[] = {0, CPU_SETSIZE};
	ck_assert_int_eq(team_create(&t, 2, negative), -EINVAL);
	ck_assert_int_eq(team_create(&t, 2, absent), -EINVAL);
	ck_assert_int_eq(team_create(&t, 2, huge), -EINVAL);
	ck_assert_int_eq(team_create(&t, 1, absent + 1), -EINVAL);
	ck_assert_ptr_null(t);
	team_destroy(NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("team");
	TCase *t = tcase_create("team");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, every_member_runs_once_a_job);
	tcase_add_test(t, barriers_separate_phases);
	tcase_add_test(t, more_members_than_processors);
	tcase_add_test(t, sleepers_are_woken);
	tcase_add_test(t, counter_gives_each_number_once);
	tcase_add_test(t, items_of_rounds_are_taken_once);
	tcase_add_test(t, runs_follow_each_other_in_a_share);
	tcase_add_test(t, many_items_are_taken_once);
	tcase_add_test(t, shares_are_even_and_whole);
	tcase_add_test(t, two_teams_share_the_processors);
	tcase_add_test(t, members_are_pinned);
	tcase_add_test(t, members_take_only_the_signals_of_their_own_faults);
	tcase_add_test(t, what_cannot_be_is_refused);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
