/* bench: what the measurements share: the team, the memory, the clocks, the probe that only reads, and the rows
 * that are told in the end.
 *
 * Every figure is the median of `rounds` rounds, and each round measures the probe and all that is compared in
 * turn, so that a noisy minute of a shared machine hits all alike.  Within a round every thread times pieces of
 * about a millisecond and its rate is that of the median piece: a thread that was put aside for a while loses
 * some pieces, not the figure; rates of threads are added.
 * Threads: one caller; jobs run on the team. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H
#include "kernels/kernels.h"
#include "kernels/team.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_ROUNDS_MAX = 64, BENCH_THREADS_MAX = 64, BENCH_WAYS = 10 };

/* A figure with a name that stays the same from run to run.  low and high: of the rounds that value is the median of; bound: what
 * it cannot exceed; target: what it should reach (or, with less, stay below); NAN where there is none. */
struct bench_row {
	char name[64], unit[32];
	double value, low, high, bound, target;
	bool less;
};

struct bench {
	const struct kern_ops *ops;
	struct team *team;
	unsigned threads, rounds;
	uint8_t *memory; /* far larger than the last cache; repeating bytes that make no scale infinite */
	size_t bytes;
	double core_hz; /* cycles of the core a second, as last measured */
	struct bench_row *rows;
	size_t nrows;
};

/* Ends the program with a sentence when there is no memory. */
void bench_create(struct bench *b, const struct kern_ops *ops, unsigned threads, unsigned rounds);
void bench_destroy(struct bench *b);

void *bench_alloc(size_t bytes); /* aligned to KERN_ALIGN, zero; ends the program when there is none */
double bench_now(void);          /* seconds */
double bench_median(double *v, size_t n);

/* Measures the core's clock: a chain of additions is one a cycle. */
double bench_core_hz(void);

/* Bytes a second that the team reads of memory: the best of several ways, of 1 to 8 streams a thread, with and without asking
 * ahead. */
double bench_read(struct bench *b);
/* Reads a piece in one of BENCH_WAYS ways, asking for the beginning of what is read next before its end; a sum of what it read. */
uint64_t bench_read_piece(
        const uint8_t *p, size_t bytes, const uint8_t *next, size_t next_bytes, unsigned way);

/* A piece of work on bytes [at, at + bytes) of memory, by a member of the team. */
typedef void bench_piece_fn(void *arg, unsigned id, const uint8_t *at, size_t bytes);
/* Bytes a second of all members, each over an even share of the pieces of the first `total` bytes, `times` times. */
double bench_run(struct bench *b, bench_piece_fn *fn, void *arg, size_t piece, size_t total, size_t times);
/* The same, where every other piece is only read instead, each way in turn; *share: of the best of them.  So what is compared
 * is a millisecond apart, where a shared machine's memory is seldom as quick as it was half a second ago. */
double bench_beside(struct bench *b, bench_piece_fn *fn, void *arg, size_t piece, size_t total, size_t times,
        double *share);

/* Remembers a row, which is told by whoever owns the program. */
void bench_row(struct bench *b, const char *unit, double value, double bound, double target, bool less,
        const char *name, ...) __attribute__((format(printf, 7, 8)));
/* Of the row that was remembered last. */
void bench_row_spread(struct bench *b, double low, double high);
bool bench_met(const struct bench_row *r);

/* For the end of a program: the processor's name; how many targets are met, and which are missed, to standard output;
 * the rows of a bench by this name as one object into a file, 0 or 1 after saying why not. */
void bench_cpu_name(char *out, size_t size);
void bench_summary(const struct bench *b);
int bench_write_json(const struct bench *b, const char *name, const char *path, const char *cpu);

/* The sections.  Each prints its table. */
/* What the team reads of memory. */
void bench_reading(struct bench *b);
/* Products of weights and activations; only: one type, or NULL for all. */
/* Chooses ways of products as a node does (daemon/calibration), and says which. */
void bench_tune(struct bench *b);

void bench_products(struct bench *b, const char *only);
/* Attention over the cache: positions a second against bytes. */
void bench_attention(struct bench *b);
/* Whole tokens and prompts of a model, beside the peers that the environment names. */
void bench_tokens(struct bench *b);
/* The same by what pages the weights are in. */
void bench_pages(struct bench *b);
/* Two processes with a team each on the same processors. */
void bench_sharing(struct bench *b);
/* From the command to the first token of a model that the store has. */
void bench_start(struct bench *b, const char *caravan);

#endif
