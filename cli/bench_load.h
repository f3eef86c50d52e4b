/* bench_load: streams at once on a model that is served, each with a random prompt, and what they took.
 * Owns: its connections to the daemon, which stay open from run to run.  The program has one thread. */
#ifndef CLI_BENCH_LOAD_H
#define CLI_BENCH_LOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_STREAMS_MAX 256

struct bench_load;

/* What a run took.  Rates are tokens a second. */
struct bench_figures {
	double first;       /* seconds to the first text of an answer: the median of the streams */
	double prompt_rate; /* of all prompts, until the last of them was computed */
	double stream_rate; /* of an answer after its first token: the median of the streams */
	double rate;        /* of all answers after their first tokens, from the first to the last of them */
	uint64_t prompt, generated; /* tokens of all streams, */
	uint64_t cached;            /* and of the prompts those that were in the prefix cache */
};

/* Sorts figures, and returns their median; 0: there are none. */
double bench_sort(double *v, size_t n);

/* control and model are borrowed.  0, or EXIT_FAILED after reporting the error. */
int bench_load_open(struct bench_load **out, const char *control, const char *model, bool undrafted);
void bench_load_close(struct bench_load *l); /* NULL allowed */

/* Random prompts of at most so many tokens for as many streams, for the runs that follow.  0, or EXIT_FAILED after reporting the
 * error, as below. */
int bench_load_prompts(struct bench_load *l, unsigned prompt, unsigned streams);
/* Answers of `generate` tokens to those, also where the model would end them. */
int bench_load_run(struct bench_load *l, unsigned generate, unsigned streams, struct bench_figures *out);

#endif
