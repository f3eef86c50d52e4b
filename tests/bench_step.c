/* bench_step: tokens a second of a model, beside a probe that only reads memory, in interleaved rounds.
 *
 *   bench_step MODEL [threads [rounds]]
 *
 * Decode of one stream is bound by reading the weights once a token; its share is bytes read a second over what
 * the probe reads with the best of 1 to 8 streams.  A round is a token beside each pass of the probe and a
 * prompt.  Each is done twice in a row and counts the second time, since in a virtual machine the first walk
 * over memory that others have pushed out of the host's page tables can take several times as long; the best
 * and the median over all rounds are told, for a machine that others use as well. */
#include "tests/loaded.h"
#include "tests/synth.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROBE_BYTES = 512 << 20, PREFILL = 128, PASSES = 4, MAX_ROUNDS = 64, MAX_TEAM = 64 };

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, size_t n) {
	qsort(v, n, sizeof *v, ascending);
	return v[n / 2];
}

struct probe {
	const uint8_t *bytes;
	size_t streams;
	uint64_t sums[MAX_TEAM][8]; /* so that reading is not left out */
};

static void read_share(struct team *t, void *arg, unsigned id) {
	struct probe *p = arg;
	size_t first, last;
	team_share(t, id, PROBE_BYTES, 4096, &first, &last);
	size_t part = (last - first) / p->streams / 64 * 64;
	uint64_t sum[4] = {0};
	for (size_t i = 0; i < part; i += 64)
		for (size_t s = 0; s < p->streams; s++) {
			uint64_t v[8];
			memcpy(v, p->bytes + first + s * part + i, sizeof v);
			for (int k = 0; k < 4; k++)
				sum[k] += v[k] ^ v[k + 4];
		}
	p->sums[id][0] += sum[0] + sum[1] + sum[2] + sum[3];
}

/* GB/s of one pass. */
static double probe(struct team *t, struct probe *p, size_t streams) {
	p->streams = streams;
	double t0 = now();
	team_run(t, read_share, p);
	return PROBE_BYTES / (now() - t0) / 1e9;
}

static double step(struct line *l, uint32_t rows, uint32_t position, float *logits, bool head) {
	uint32_t blocks[64], tokens[PREFILL];
	char err[256] = "";
	struct forward_seq q = {rows, position, (position + rows + 63) / 64, blocks};
	struct forward_step st = {rows, 1, &q, l->x};
	for (uint32_t i = 0; i < 64; i++)
		blocks[i] = i;
	for (uint32_t i = 0; i < rows; i++)
		tokens[i] = (1 + 7919 * (position + i)) % l->whole.manifest->hp.vocab;
	double t0 = now();
	int rc = ends_embed(l->ends, l->x, tokens, rows);
	rc = rc ? rc : forward_check(l->forward[0], &st, err, sizeof err);
	rc = rc ? rc : forward_run(l->forward[0], &st, err, sizeof err);
	if (!rc && head)
		rc = ends_logits(l->ends, logits, l->x, 1);
	if (rc) {
		fprintf(stderr, "bench_step: %s\n", err);
		exit(1);
	}
	return now() - t0;
}

int main(int argc, char **argv) {
	unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 1,
	         rounds = argc > 3 ? (unsigned)atoi(argv[3]) : 5;
	char err[256];
	if (argc < 2 || !threads || threads > MAX_TEAM || !rounds || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: bench_step MODEL [threads [rounds]]\n");
		return 2;
	}
	if (kern_init(err, sizeof err)) {
		fprintf(stderr, "bench_step: %s\n", err);
		return 1;
	}
	struct loaded *m = loaded_create(argv[1]);
	const struct store_tensor *embed = m->whole->end[END_EMBED];
	struct line *l = line_create(m->whole, threads, 1, NULL, PREFILL, 16);
	float *logits = malloc(m->whole->manifest->hp.vocab * sizeof *logits);
	struct probe *p = calloc(1, sizeof *p);
	uint8_t *bytes = malloc(PROBE_BYTES);
	if (!logits || !p || !bytes)
		abort();
	memset(bytes, 1, PROBE_BYTES);
	p->bytes = bytes;
	double weights = (double)slice_bytes(m->whole), read[MAX_ROUNDS], decode[MAX_ROUNDS],
	       prefill[MAX_ROUNDS];
	if (embed != m->whole->end[END_HEAD])
		weights -= (double)embed->packed_bytes;
	step(l, 1, 0, logits, true);
	for (unsigned i = 0; i < rounds; i++) {
		prefill[i] = PREFILL / step(l, PREFILL, 0, logits, false);
		for (unsigned k = 0; k < PASSES; k++) {
			probe(l->team, p, (size_t)1 << k);
			read[i * PASSES + k] = probe(l->team, p, (size_t)1 << k);
			step(l, 1, PREFILL, logits, true);
			decode[i * PASSES + k] = 1 / step(l, 1, PREFILL, logits, true);
		}
	}
	size_t n = (size_t)rounds * PASSES;
	double read_median = median(read, n), decode_median = median(decode, n),
	       prefill_median = median(prefill, rounds);
	double gb = weights / 1e9; /* median left the best at the end */
	printf("%s, %u threads, %.3f GB a token\n", kern_ops()->name, threads, gb);
	printf("        probe GB/s  decode tokens/s  share  prefill of %d tokens/s\n", PREFILL);
	printf("best    %10.2f  %15.2f  %5.2f  %.1f\n", read[n - 1], decode[n - 1],
	        decode[n - 1] * gb / read[n - 1], prefill[rounds - 1]);
	printf("median  %10.2f  %15.2f  %5.2f  %.1f\n", read_median, decode_median,
	        decode_median * gb / read_median, prefill_median);
	line_destroy(l);
	loaded_destroy(m);
	free(bytes);
	free(p);
	free(logits);
	return 0;
}
