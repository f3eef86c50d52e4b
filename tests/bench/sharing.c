/* bench/sharing: two processes, each with a team as large as the machine's, on the same processors: what the two
 * reach together beside what one reaches alone.  The work is phases of a few microseconds between barriers, as in a
 * small model, where spinning members hurt most. */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PHASES = 200, WORK = 20000 /* additions a phase */ };

static void phases(struct team *t, void *arg, unsigned id) {
	(void)arg;
	uint64_t x = id;
	for (int p = 0; p < PHASES; p++) {
		for (int i = 0; i < WORK; i++) {
			x += (uint64_t)i;
			__asm__ volatile("" : "+r"(x));
		}
		team_barrier(t, id);
	}
}

/* Phases a second for about so many seconds, on a team of its own. */
static double work(unsigned threads, double seconds) {
	struct team *t;
	if (team_create(&t, threads, NULL))
		return 0;
	team_run(t, phases, NULL);
	double t0 = bench_now(), done = 0;
	do {
		team_run(t, phases, NULL);
		done += PHASES;
	} while (bench_now() - t0 < seconds);
	double rate = done / (bench_now() - t0);
	team_destroy(t);
	return rate;
}

/* The sum of what `processes` of them reach at once. */
static double together(unsigned processes, unsigned threads) {
	double sum = 0, rate;
	int fds[2];
	fflush(stdout);
	if (pipe(fds))
		return 0;
	for (unsigned i = 0; i < processes; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			rate = work(threads, 0.5);
			_exit(write(fds[1], &rate, sizeof rate) != sizeof rate);
		}
	}
	close(fds[1]);
	while (read(fds[0], &rate, sizeof rate) == sizeof rate)
		sum += rate;
	close(fds[0]);
	while (wait(NULL) > 0)
		;
	return sum;
}

void bench_sharing(struct bench *b) {
	double share[BENCH_ROUNDS_MAX];
	for (unsigned i = 0; i < b->rounds; i++) {
		double alone = together(1, b->threads);
		share[i] = together(2, b->threads) / alone;
	}
	double median = bench_median(share, b->rounds);
	printf("\nTwo processes of %u threads on %u processors: %.2f of what one reaches alone (%.2f to %.2f)\n",
	        b->threads, b->threads, median, share[0], share[b->rounds - 1]);
	bench_row(b, "of one process", median, 1, 0.9, false, "sharing.processes2");
}
