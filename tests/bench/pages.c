/* bench/pages: whole tokens and prompts with the same weights in pages of four kinds, in turn: what memory of a slice is worth. */
#include "tests/bench/bench.h"
#include "tests/support/synth.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20, STEPS = 8, MOST_ROWS = 512, MOST_TENSORS = 4 * LAYER_ROLES + IO_ROLES };

/* Anonymous memory; a file as the store writes it, for file systems that keep large folios, and the same mapped in small pages; a file
 * that every file system has in small pages. */
enum kind { HUGE, SMALL, FILE_HUGE, FILE_SMALL, FILE_PAGES, KINDS };
static const struct {
	const char *name;
	size_t write; /* bytes at once; 0: no file */
	bool huge;
} kinds[KINDS] = {[HUGE] = {"huge", 0, true},
        [SMALL] = {"4 KiB", 0, false},
        [FILE_HUGE] = {"file", HUGE_PAGE, true},
        [FILE_SMALL] = {"file, 4 KiB", HUGE_PAGE, false},
        [FILE_PAGES] = {"file of 4 KiB", 4096, true}};

/* Rows of a step, and how many steps a round has. */
enum { ROW_COUNTS = 3 };
static const uint32_t row_counts[ROW_COUNTS] = {1, 8, MOST_ROWS};
static const size_t step_counts[ROW_COUNTS] = {STEPS, STEPS / 2, 1};

static const struct {
	const char *name;
	enum kern_type type;
} models[] = {{"Q4_0", KERN_Q4_0}, {"Q4_K", KERN_Q4_K}, {"Q8_0", KERN_Q8_0}};

/* All large tensors of a model one after the other, in memory of one kind. */
struct copy {
	uint8_t *memory;
	double huge; /* share of it in huge pages; a file's: as the kernel maps it */
};

struct run {
	struct synth *synth;
	struct line *line;
	struct store_tensor *tensor[MOST_TENSORS];
	size_t at[MOST_TENSORS], tensors, bytes;
	struct copy copy[KINDS];
	float *logits;
	uint32_t tokens[MOST_ROWS], blocks[MOST_ROWS / KERN_KV_BLOCK];
};

static _Noreturn void fail(const char *what) {
	perror(what);
	exit(99);
}

static void add_tensor(struct run *r, struct store_tensor *t) {
	if (t->packed_bytes < HUGE_PAGE)
		return;
	r->at[r->tensors] = r->bytes;
	r->tensor[r->tensors++] = t;
	r->bytes += (t->packed_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

/* An unlinked file, written in pieces of this size. */
static int make_file(const struct run *r, size_t piece) {
	const char *folder = getenv("TMPDIR");
	char path[4096];
	snprintf(path, sizeof path, "%s/bench-pages-XXXXXX", folder ? folder : "/tmp");
	int fd = mkstemp(path);
	if (fd < 0 || unlink(path) || ftruncate(fd, (off_t)r->bytes))
		fail(path);
	for (size_t i = 0; i < r->tensors; i++)
		for (size_t at = 0, n; at < r->tensor[i]->packed_bytes; at += n) {
			n = r->tensor[i]->packed_bytes - at < piece ? r->tensor[i]->packed_bytes - at : piece;
			if (pwrite(fd, (const uint8_t *)r->tensor[i]->packed + at, n,
			            (off_t)(r->at[i] + at)) != (ssize_t)n)
				fail(path);
		}
	return fd;
}

/* Kilobytes of all mappings in this process that are in huge pages. */
static double huge_kilobytes(void) {
	char line[256];
	double sum = 0, v;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "AnonHugePages: %lf", &v) == 1 ||
		        sscanf(line, "FilePmdMapped: %lf", &v) == 1 ||
		        sscanf(line, "ShmemPmdMapped: %lf", &v) == 1)
			sum += v;
	if (f)
		fclose(f);
	return sum;
}

static void make_copy(struct run *r, enum kind k) {
	bool file = kinds[k].write > 0;
	int fd = file ? make_file(r, kinds[k].write) : -1;
	struct copy *c = &r->copy[k];
	volatile uint8_t sum = 0;
	c->memory = file ? mmap(NULL, r->bytes, PROT_READ, MAP_SHARED, fd, 0)
	                 : aligned_alloc(HUGE_PAGE, r->bytes);
	if (!c->memory || c->memory == MAP_FAILED)
		fail("memory");
	if (file)
		close(fd);
	double before = huge_kilobytes();
	madvise(c->memory, r->bytes, kinds[k].huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t i = 0; i < r->tensors && !file; i++)
		memcpy(c->memory + r->at[i], r->tensor[i]->packed, r->tensor[i]->packed_bytes);
	for (size_t at = 0; at < r->bytes && file; at += 4096)
		sum += c->memory[at];
	c->huge = (huge_kilobytes() - before) * 1024 / (double)r->bytes;
}

static void use(struct run *r, enum kind k) {
	for (size_t i = 0; i < r->tensors; i++)
		r->tensor[i]->packed = r->copy[k].memory + r->at[i];
}

static double step(struct run *r, uint32_t rows) {
	struct line *l = r->line;
	uint32_t blocks = (rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	struct forward_seq q = {rows, 0, blocks, r->blocks, blocks, r->blocks};
	struct forward_step st = {rows, 1, &q, l->x};
	char err[256] = "";
	double t0 = bench_now();
	int rc = io_layers_embed(l->io, l->x, r->tokens, rows);
	rc = rc ? rc : forward_check(l->forward[0], &st, err, sizeof err);
	rc = rc ? rc : forward_run(l->forward[0], &st, err, sizeof err);
	/* of each row, as for so many streams; a prompt needs only those of its last */
	uint32_t last = rows < MOST_ROWS ? 0 : rows - 1;
	if (!rc)
		rc = io_layers_logits(
		        l->io, r->logits, l->x + (size_t)last * l->whole.manifest->hp.dim, rows - last);
	if (rc) {
		fprintf(stderr, "bench: a step failed: %s\n", err);
		exit(1);
	}
	return bench_now() - t0;
}

/* Steps in memory of each kind in turn; times[k]: those over the ones in huge pages beside them, the median. */
static void round_of(struct run *r, uint32_t rows, size_t steps, double times[KINDS]) {
	double ratio[KINDS][STEPS];
	for (size_t i = 0; i < steps; i++) {
		double seconds[KINDS];
		for (enum kind k = 0; k < KINDS; k++) {
			use(r, k);
			seconds[k] = step(r, rows);
		}
		for (enum kind k = 0; k < KINDS; k++)
			ratio[k][i] = seconds[k] / seconds[HUGE];
	}
	for (enum kind k = 0; k < KINDS; k++)
		times[k] = bench_median(ratio[k], steps);
}

static void tell(struct bench *b, struct run *r, const char *name) {
	static double times[ROW_COUNTS][KINDS][BENCH_ROUNDS_MAX];
	for (unsigned i = 0; i < b->rounds; i++)
		for (int c = 0; c < ROW_COUNTS; c++) {
			double round[KINDS];
			round_of(r, row_counts[c], step_counts[c], round);
			for (enum kind k = 0; k < KINDS; k++)
				times[c][k][i] = round[k];
		}
	for (enum kind k = 0; k < KINDS; k++) {
		printf("%-6s %-13s %8.0f %%", name, kinds[k].name, 100 * r->copy[k].huge);
		for (int c = 0; c < ROW_COUNTS; c++) {
			double *v = times[c][k], median = bench_median(v, b->rounds); /* which sorts them */
			printf("   %.3f (%.3f to %.3f)", median, v[0], v[b->rounds - 1]);
			bench_row(b, "times in huge pages", median, NAN, NAN, true, "pages%u.%s.%s",
			        row_counts[c], kinds[k].name, name);
			bench_row_spread(b, v[0], v[b->rounds - 1]);
		}
		printf("\n");
	}
}

static void one(struct bench *b, size_t model) {
	enum kern_type t = models[model].type;
	struct synth_spec spec = {.layers = 4,
	        .dim = 4096,
	        .heads = 32,
	        .kv_heads = 32,
	        .head_size = 128,
	        .ffn = 11008,
	        .vocab = 32000,
	        .context = 4096,
	        .layer = {KERN_F32, t, t, t, t, KERN_F32, t, t, t},
	        .embed = t,
	        .head = t,
	        .seed = 1};
	struct run r = {.synth = synth_create(&spec)};
	const void *was[MOST_TENSORS];
	for (uint32_t l = 0; l < spec.layers; l++)
		for (int role = 0; role < LAYER_ROLES; role++)
			add_tensor(&r, &r.synth->layer[l][role]);
	add_tensor(&r, &r.synth->io[IO_HEAD]);
	for (size_t i = 0; i < r.tensors; i++)
		was[i] = r.tensor[i]->packed;
	for (enum kind k = 0; k < KINDS; k++)
		make_copy(&r, k);
	r.logits = bench_alloc(row_counts[1] * spec.vocab * sizeof(float));
	for (uint32_t i = 0; i < MOST_ROWS; i++)
		r.tokens[i] = (1 + 7919 * i) % spec.vocab;
	for (uint32_t i = 0; i < MOST_ROWS / KERN_KV_BLOCK; i++)
		r.blocks[i] = i;
	r.line = line_create(
	        &r.synth->whole, KERN_KV_F16, b->threads, 1, NULL, MOST_ROWS, MOST_ROWS / KERN_KV_BLOCK);
	for (enum kind k = 0; k < KINDS; k++) {
		use(&r, k);
		step(&r, 1); /* warms up */
	}
	tell(b, &r, models[model].name);
	line_destroy(r.line);
	for (size_t i = 0; i < r.tensors; i++)
		r.tensor[i]->packed = was[i];
	for (enum kind k = 0; k < KINDS; k++)
		if (kinds[k].write == 0)
			free(r.copy[k].memory);
		else
			munmap(r.copy[k].memory, r.bytes);
	free(r.logits);
	synth_destroy(r.synth);
}

void bench_pages(struct bench *b) {
	const char *only = getenv("BENCH_MODEL");
	printf("\nTokens by the pages of the weights, 7B-wide, times in huge pages: %u threads\n",
	        b->threads);
	printf("type   pages           in huge   a token                    8 rows                    a prompt of %d\n",
	        MOST_ROWS);
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (!only || strstr(models[i].name, only))
			one(b, i);
}
