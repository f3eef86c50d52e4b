/* bench_result: what caravan bench has measured, and how it is shown: as tables, as JSON, as a picture.
 * Owns: the stages of its cells.  Pure except for the output; the program has one thread. */
#ifndef CLI_BENCH_RESULT_H
#define CLI_BENCH_RESULT_H
#include "cli/bench_load.h"
#include <stdio.h>
#include <time.h>

#define BENCH_RUNS_MAX 100
#define BENCH_LIST_MAX 8 /* numbers of streams, and lengths of prompts */
#define BENCH_CELLS_MAX (BENCH_LIST_MAX * BENCH_LIST_MAX)

/* Prompts until the first token, and answers from there on. */
enum bench_phase { BENCH_PREFILL, BENCH_DECODE, BENCH_PHASES };

/* Seconds of all steps at a stage. */
struct bench_times {
	double waited;   /* for its compute threads */
	double computed; /* by them */
	double held;     /* until the next node accepted it */
	double wire;     /* to the next node */
};

struct bench_stage {
	const char *name; /* of its node; borrowed.  The first one: NULL, embedding and output */
	struct bench_times time[BENCH_PHASES];
};

/* The figures of all runs with a prompt length and a number of streams. */
struct bench_cell {
	unsigned prompt, streams;
	struct bench_figures prefill[BENCH_RUNS_MAX], decode[BENCH_RUNS_MAX];
	struct bench_stage *stage; /* owned */
	size_t stages;             /* 0: the nodes did not report, or the plan changed meanwhile */
};

struct bench_result {
	const char *model;       /* borrowed, as are the nodes */
	const char *const *node; /* those that serve it, in the order of its stages */
	size_t nodes;
	time_t date;
	unsigned context, generate, runs;
	bool undrafted;
	double predicted, predicted_loaded, predicted_prompt; /* tokens per second; 0: unknown */
	struct bench_cell *cell;
	size_t cells;
};

struct bench_spread {
	double low, median, high;
};

/* Of the runs' figures at an offset in struct bench_figures. */
struct bench_spread bench_spread(const struct bench_figures *run, unsigned runs, size_t offset);
#define BENCH_SPREAD(result, runs_of, member) \
	bench_spread((runs_of), (result)->runs, offsetof(struct bench_figures, member))

/* The seconds of all stages of a cell. */
double bench_cell_seconds(const struct bench_cell *c, enum bench_phase phase);

/* An exit status. */
int bench_print(const struct bench_result *r);
int bench_print_json(const struct bench_result *r);
/* Writes one SVG document; errors stay in the stream. */
void bench_draw(FILE *to, const struct bench_result *r);

#endif
