/* kernel_rates: see kernel_rates.h.
 *
 * The team reads a buffer larger than the caches repeatedly: plainly, and as packed weights of each type with one column; and
 * few rows of each type with many columns.  A pass ends after a fixed time, not a fixed amount of work, so that a moment
 * without the CPU costs only that moment.
 * A run is several rounds, each with a pass for every figure.  A figure is the median over the rounds, so that a short
 * disturbance affects no single figure.  When time is up, the rounds done so far count.
 * Permanent other work on the machine slows down every round.  It shows in two ways: measuring threads get less CPU time than
 * wall time, or the system counts CPU time of other processes (which takes memory bandwidth even if enough CPUs are free).
 * The run reports the larger of the two as `lost`. */
#include "daemon/calibration/kernel_rates.h"

#include "common/durable.h"
#include "daemon/core/loop.h"
#include "kernels/team.h"
#include "shard/forward/phase.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (128ul << 20) /* or twice the last-level cache, if that is more, */
#define BUFFER_MOST (1ul << 30)
#define BUFFER_SHARE 4               /* but at most this fraction of the memory limit, */
#define BUFFER_LEAST (32ul << 20)    /* and at least this */
#define FILL_BYTES KERNEL_RATES_FILL /* per write: whole huge pages; the buffer is a multiple */
#define FIRST_BYTES (1u << 20)       /* read before a pass, to wake threads and raise clocks */
#define PASS_NS 10000000ull
#define LAPS 4                  /* of a pass, at most */
#define ROUNDS_NS 3000000000ull /* no round begins after this */
#define ROUNDS 5
#define RISING 1.03 /* compared with the round ROUNDS before */
#define WIDTH 8192u /* elements in a row: a multiple of all block sizes */
#define COLUMNS 128u
#define MANY_ROWS 2048u /* most rows with many columns */
#define RUNS 32    /* per member and lap; short, since a pass ends with the last run of the slowest member */
#define DRIFT 0.12 /* median change of the figures above which they are replaced */
#define LOST_MOST 0.1 /* lost share above which a run counts as disturbed */

#define TUNE_NS 6000000000ull   /* all ways of products are tried in this time, */
#define TUNE_PASS_NS 2000000ull /* each for so long */
#define TUNE_BYTES (64ul << 20) /* most bytes of a pass */
#define TUNE_MANY_ROWS 512u     /* of a pass with many columns, repeatedly: */
#define TUNE_MANY_LAPS 64
#define TUNE_ALIGN 4096u

#define FIGURES (sizeof(struct kernel_rates) / sizeof(double))

struct kernel_rates_bench {
	struct team *team;
	uint8_t *weights; /* `bytes` bytes */
	size_t bytes;
	float *x, *y;
	void *acts;
	uint64_t *sums;
	const atomic_bool *stop;
	/* nanoseconds of this run: CPU time of the members, that of all but the leader, and their wall time */
	atomic_ullong cpu, beside, wall;
	/* trying ways: where the next pass reads, for how long, and the form of the activations that are there */
	size_t walk;
	uint64_t tune_until_ns;
	enum kern_form form;
	bool has_acts;
};

/* ---- a pass ---- */

struct pass {
	const uint8_t *weights;
	kern_mul_fn *mul;                      /* NULL: the bytes are only read */
	size_t row_bytes, rows, columns, laps; /* `rows` rows, at most `laps` times, */
	uint64_t until_ns;                     /* and not after this time */
	const void *x;
	size_t xstride;
	float *y;
	uint64_t *sum;      /* one per member, a cache line apart */
	atomic_size_t done; /* rows */
	struct kernel_rates_bench *bench;
};

#define SUM_STRIDE 8
#define LINE 8 /* words per cache line */

/* Rows [first, last) of a pass. */
static void kernel_rates_work_rows(struct pass *p, unsigned id, size_t first, size_t last) {
	const uint8_t *w = p->weights + first * p->row_bytes;
	if (p->mul) {
		p->mul(p->y + first, p->rows, w, last - first, WIDTH, p->x, p->xstride, p->columns);
		return;
	}
	/* one word loads a whole cache line; four sums avoid a dependency chain */
	const uint64_t *q = (const uint64_t *)(const void *)w;
	size_t n = (last - first) * p->row_bytes / sizeof *q;
	uint64_t s[4] = {0};
	for (size_t i = 0; i + 4 * LINE <= n; i += 4 * LINE)
		for (size_t k = 0; k < 4; k++)
			s[k] += q[i + k * LINE];
	p->sum[(size_t)id * SUM_STRIDE] += s[0] + s[1] + s[2] + s[3];
}

static uint64_t kernel_rates_clock_ns(clockid_t which) {
	struct timespec t;
	return clock_gettime(which, &t) ? 0 : (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Hands out runs like the rows of a slice (shard/forward/phase.c): a slower member takes fewer. */
static void kernel_rates_work(struct team *t, void *arg, unsigned id) {
	struct pass *p = arg;
	uint64_t cpu = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID), wall = loop_now_ns();
	size_t strips = (p->rows + KERN_STRIP - 1) / KERN_STRIP, members = team_size(t);
	size_t run = (strips / RUNS / members / PHASE_STRIPS + 1) * PHASE_STRIPS;
	run = run * members <= strips ? run : (strips + members - 1) / members;
	size_t runs = (strips + run - 1) / run, rows = 0;
	/* the caller does at least one run; a member that wakes too late does none */
	for (size_t i; (i = team_next(t)) < runs * p->laps &&
	               ((id == 0 && rows == 0) || loop_now_ns() < p->until_ns);) {
		size_t first = i % runs * run * KERN_STRIP, last = first + run * KERN_STRIP;
		last = last < p->rows ? last : p->rows;
		kernel_rates_work_rows(p, id, first, last);
		rows += last - first;
	}
	atomic_fetch_add(&p->done, rows);
	cpu = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	atomic_fetch_add(&p->bench->cpu, cpu);
	atomic_fetch_add(&p->bench->wall, loop_now_ns() - wall);
	if (id)
		atomic_fetch_add(&p->bench->beside, cpu);
}

/* Seconds taken; p->done: the rows done. */
static double kernel_rates_timed(struct kernel_rates_bench *b, struct pass *p, team_fn *work, uint64_t ns) {
	uint64_t begin = loop_now_ns();
	p->until_ns = begin + ns;
	atomic_store(&p->done, 0);
	team_run(b->team, work, p);
	uint64_t took = loop_now_ns() - begin;
	return (double)(took ? took : 1) * 1e-9;
}

/* Bytes per second, times columns, of a pass over at most `most` bytes.  *alone: the same by CPU time, an estimate without other
 * processes. */
static double kernel_rates_pass(struct kernel_rates_bench *b, struct pass *p, size_t most, double *alone) {
	size_t strip = (size_t)KERN_STRIP * p->row_bytes, unit = strip * team_size(b->team);
	size_t few = p->columns > 1 ? unit : FIRST_BYTES / strip * strip;
	p->weights = b->weights;
	p->rows = few / p->row_bytes;
	p->laps = 1;
	unsigned long long cpu = atomic_load(&b->cpu);
	double took = kernel_rates_timed(b, p, kernel_rates_work, PASS_NS);
	if (took < PASS_NS * 1e-9) { /* otherwise the short pass took long enough */
		p->weights += few;   /* not in the cache from the short pass */
		p->rows = most / unit * unit / p->row_bytes;
		p->laps = LAPS;
		cpu = atomic_load(&b->cpu);
		took = kernel_rates_timed(b, p, kernel_rates_work, PASS_NS);
	}
	double bytes = (double)(p->done * p->row_bytes * p->columns);
	double had = (double)(atomic_load(&b->cpu) - cpu) * 1e-9 / team_size(b->team);
	*alone = had > 0 ? bytes / had : 0;
	return bytes / took;
}

/* ---- rounds ---- */

static void kernel_rates_round(
        struct kernel_rates_bench *b, struct kernel_rates *out, struct kernel_rates *alone) {
	const size_t most = b->bytes - 2 * FIRST_BYTES;
	struct pass p = {.row_bytes = WIDTH, .sum = b->sums, .y = b->y, .columns = 1, .bench = b};
	*out = *alone = (struct kernel_rates){0};
	out->read = kernel_rates_pass(b, &p, most, &alone->read);
	for (unsigned t = 0; t < KERN_TYPES && !atomic_load(b->stop); t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (!traits)
			continue;
		size_t stride = kern_act_bytes(traits->form, WIDTH);
		for (size_t c = 0; c < COLUMNS; c++)
			if (kern_ops()->quantize[traits->form]((uint8_t *)b->acts + c * stride, b->x, WIDTH))
				return;
		p.mul = kern_mul(kern_ops(), t, 1);
		p.row_bytes = kern_row_bytes((enum kern_type)t, WIDTH);
		p.x = b->acts;
		p.xstride = stride;
		p.columns = 1;
		out->one[t] = kernel_rates_pass(b, &p, most, &alone->one[t]);
		p.columns = COLUMNS;
		p.mul = kern_mul(kern_ops(), t, COLUMNS);
		out->many[t] = kernel_rates_pass(b, &p, MANY_ROWS * p.row_bytes, &alone->many[t]);
	}
}

static int kernel_rates_ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Collects figure i of n runs into v, sorted, without missing ones; returns their number. */
static size_t kernel_rates_column(const struct kernel_rates *of, size_t n, size_t i, double *v) {
	size_t there = 0;
	for (size_t k = 0; k < n; k++) {
		double x = ((const double *)(const void *)&of[k])[i];
		if (x > 0)
			v[there++] = x;
	}
	qsort(v, there, sizeof *v, kernel_rates_ascending);
	return there;
}

static double kernel_rates_products(const struct kernel_rates *r) {
	double sum = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		sum += r->many[t];
	return sum;
}

double kernel_rates_busy_seconds(void) {
	unsigned long long t[8] = {
	        0}; /* user, nice, system, idle, waiting for disks, interrupts, soft ones, stolen */
	FILE *f = fopen("/proc/stat", "re");
	long hz = sysconf(_SC_CLK_TCK);
	int n = 0;
	if (f) {
		n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
		        &t[4], &t[5], &t[6], &t[7]);
		fclose(f);
	}
	return n >= 4 && hz > 0 ? (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)hz : 0;
}

double kernel_rates_lost(double busy, double own, double wall) {
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double lost = wall > 0 ? (busy - own) / (wall * (double)(cpus > 0 ? cpus : 1)) : 0;
	return lost > 0 ? lost < 1 ? lost : 1 : 0;
}

bool kernel_rates_disturbed(double lost) {
	return lost > LOST_MOST;
}

/* With half of a CPU, and of its memory bandwidth, work takes up to four times as long, not fifty. */
bool kernel_rates_explained(double lost, double factor) {
	double left = 1 - fmin(lost, 0.9);
	return kernel_rates_disturbed(lost) && factor < 1.5 / (left * left);
}

/* What other programs take of the processors meanwhile. */
struct watch {
	double busy;
	uint64_t begin, own;
};

static struct watch kernel_rates_watch(struct kernel_rates_bench *b) {
	atomic_store(&b->cpu, 0);
	atomic_store(&b->beside, 0);
	atomic_store(&b->wall, 0);
	return (struct watch){.busy = kernel_rates_busy_seconds(),
	        .begin = loop_now_ns(),
	        .own = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID)};
}

/* The share that they took since then. */
static double kernel_rates_watched(struct kernel_rates_bench *b, const struct watch *w) {
	uint64_t own = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID) - w->own + atomic_load(&b->beside);
	double wall = (double)atomic_load(&b->wall),
	       held = wall > 0 ? 1 - (double)atomic_load(&b->cpu) / wall : 0;
	double busy = w->busy > 0 ? kernel_rates_busy_seconds() - w->busy : 0;
	double lost = kernel_rates_lost(busy, (double)own * 1e-9, (double)(loop_now_ns() - w->begin) * 1e-9);
	return fmax(lost, held);
}

/* Runs rounds until they stop getting faster: idle CPUs take seconds to reach full clock speed. */
void kernel_rates_measure(struct kernel_rates_bench *b, struct kernel_rates_run *out) {
	struct kernel_rates round[ROUNDS], alone[ROUNDS]; /* the last of them */
	double v[ROUNDS];
	struct watch watch = kernel_rates_watch(b);
	uint64_t deadline = watch.begin + ROUNDS_NS;
	size_t n = 0;
	bool rising = true;
	*out = (struct kernel_rates_run){0};
	while ((n < ROUNDS || rising) && !atomic_load(b->stop) && (n == 0 || loop_now_ns() < deadline)) {
		double before = n >= ROUNDS ? kernel_rates_products(&round[n % ROUNDS]) : 0;
		kernel_rates_round(b, &round[n % ROUNDS], &alone[n % ROUNDS]);
		rising = kernel_rates_products(&round[n % ROUNDS]) > RISING * before;
		n++;
	}
	n = n < ROUNDS ? n : ROUNDS;
	for (size_t i = 0; i < FIGURES; i++) {
		size_t there = kernel_rates_column(round, n, i, v), aside = there >= ROUNDS ? 1 : 0;
		((double *)(void *)&out->mid)[i] = there ? v[there / 2] : 0;
		/* the range leaves out the outermost rounds */
		((double *)(void *)&out->low)[i] = there ? v[aside] : 0;
		((double *)(void *)&out->high)[i] = there ? v[there - 1 - aside] : 0;
		there = kernel_rates_column(alone, n, i, v);
		((double *)(void *)&out->alone)[i] = there ? v[there / 2] : 0;
	}
	out->lost = kernel_rates_watched(b, &watch);
}

/* ---- ways of products ---- */

static bool kernel_rates_quantize(struct kernel_rates_bench *b, enum kern_form form) {
	size_t stride = kern_act_bytes(form, WIDTH);
	if (b->has_acts && b->form == form)
		return true;
	b->has_acts = false;
	for (size_t c = 0; c < COLUMNS; c++)
		if (kern_ops()->quantize[form]((uint8_t *)b->acts + c * stride, b->x, WIDTH))
			return false;
	b->form = form;
	b->has_acts = true;
	return true;
}

/* Members walk as they do in a phase of a step (shard/forward/phase.c), lap by lap, until time is up. */
static void kernel_rates_tune_work(struct team *t, void *arg, unsigned id) {
	struct pass *p = arg;
	uint64_t cpu = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID), wall = loop_now_ns();
	size_t strips = p->rows / KERN_STRIP, first, count, done = 0;
	bool late = false;
	for (uint32_t lap = 1; lap <= p->laps && !late; lap++)
		while (!late && team_take(t, id, lap, strips, PHASE_STRIPS, &first, &count)) {
			kernel_rates_work_rows(p, id, first * KERN_STRIP, (first + count) * KERN_STRIP);
			done += count * KERN_STRIP;
			late = loop_now_ns() >= p->until_ns;
		}
	atomic_fetch_add(&p->done, done);
	cpu = kernel_rates_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	atomic_fetch_add(&p->bench->cpu, cpu);
	atomic_fetch_add(&p->bench->wall, loop_now_ns() - wall);
	if (id)
		atomic_fetch_add(&p->bench->beside, cpu);
}

/* One pass of a way (tuning.h): it reads on where the last one ended, so that what it reads has left the caches, as a token's
 * weights have.  By CPU time: a moment without a CPU does not count against it. */
static double kernel_rates_way(void *arg, uint32_t type, enum kern_class class, const struct kern_way *way) {
	struct kernel_rates_bench *b = arg;
	enum kern_form form = kern_traits(type)->form;
	size_t most = kern_class_most(class), columns = most ? most : COLUMNS,
	       row_bytes = kern_row_bytes((enum kern_type)type, WIDTH);
	if (atomic_load(b->stop) || loop_now_ns() > b->tune_until_ns || !kernel_rates_quantize(b, form))
		return 0;
	size_t bytes = TUNE_BYTES < b->bytes / 2 ? TUNE_BYTES : b->bytes / 2;
	size_t rows = bytes / row_bytes, fit = MANY_ROWS * COLUMNS / columns;
	rows = rows < fit ? rows : fit;
	if (!most && rows > TUNE_MANY_ROWS)
		rows = TUNE_MANY_ROWS;
	rows = rows / KERN_STRIP * KERN_STRIP;
	if (b->walk + rows * row_bytes > b->bytes)
		b->walk = 0;
	struct pass p = {.weights = b->weights + b->walk,
	        .mul = way->mul,
	        .row_bytes = row_bytes,
	        .rows = rows,
	        .columns = columns,
	        .laps = most ? 1 : TUNE_MANY_LAPS,
	        .x = b->acts,
	        .xstride = kern_act_bytes(form, WIDTH),
	        .y = b->y,
	        .sum = b->sums,
	        .bench = b};
	unsigned long long cpu = atomic_load(&b->cpu);
	kernel_rates_timed(b, &p, kernel_rates_tune_work, TUNE_PASS_NS);
	cpu = atomic_load(&b->cpu) - cpu;
	size_t done = atomic_load(&p.done), read = (done < rows ? done : rows) * row_bytes;
	b->walk += (read + TUNE_ALIGN - 1) / TUNE_ALIGN * TUNE_ALIGN;
	return (double)done / (double)(cpu ? cpu : 1);
}

void kernel_rates_tune(struct kernel_rates_bench *b, struct tuning *tuning) {
	struct kernel_rates warm, alone;
	struct watch watch = kernel_rates_watch(b);
	b->tune_until_ns = watch.begin + TUNE_NS;
	b->walk = 0;
	b->has_acts = false;
	kernel_rates_round(b, &warm, &alone); /* clocks rise, and the buffer's pages are mapped */
	tuning_try(kern_ops(), kernel_rates_way, b, tuning);
	tuning->known = !atomic_load(b->stop) && !kernel_rates_disturbed(kernel_rates_watched(b, &watch));
}

void kernel_rates_add(struct kernel_rates_known *k, const struct kernel_rates_run *run, bool believed) {
	if (believed && k->runs == 0)
		*k = (struct kernel_rates_known){0}; /* drops an estimate made while the machine was busy */
	for (size_t i = 0; i < FIGURES; i++) {
		double *best = (double *)(void *)&k->best + i, *low = (double *)(void *)&k->low + i,
		       *high = (double *)(void *)&k->high + i;
		double mid = ((const double *)(const void *)&run->mid)[i],
		       least = ((const double *)(const void *)&run->low)[i],
		       most = ((const double *)(const void *)&run->high)[i];
		if (!(mid > 0))
			continue;
		double alone = ((const double *)(const void *)&run->alone)[i];
		if (!believed && k->runs == 0) {
			/* members that did not run at the same time had more memory bandwidth each: it may really be half */
			*high = *best = fmax(mid, alone); /* the newest estimate */
			*low = *best / KERNEL_RATES_FACTOR;
			continue;
		}
		*best = fmax(*best, mid);
		/* only undisturbed runs lower the range */
		if (believed || !(*low > 0))
			*low = *low > 0 ? fmin(*low, least) : least;
		*high = fmax(fmax(*high, most), *best);
	}
	k->runs += believed;
}

void kernel_rates_widen(struct kernel_rates_known *k, const struct kernel_rates_known *was) {
	for (size_t i = 0; i < FIGURES; i++) {
		double *low = (double *)(void *)&k->low + i, *high = (double *)(void *)&k->high + i;
		double least = ((const double *)(const void *)&was->low)[i],
		       most = ((const double *)(const void *)&was->high)[i];
		if (*low > 0 && least > 0) {
			*low = fmin(*low, least);
			*high = fmax(*high, most);
		}
	}
}

double kernel_rates_change(const struct kernel_rates *was, const struct kernel_rates *now) {
	double off[FIGURES];
	size_t n = 0;
	for (size_t i = 0; i < FIGURES; i++) {
		double a = ((const double *)(const void *)was)[i], b = ((const double *)(const void *)now)[i];
		if (a > 0 && b > 0)
			off[n++] = b / a;
	}
	qsort(off, n, sizeof *off, kernel_rates_ascending);
	return n ? off[n / 2] : 0;
}

int kernel_rates_drifted(const struct kernel_rates *was, const struct kernel_rates *now) {
	double change = kernel_rates_change(was, now);
	return change > 1 + DRIFT ? 1 : change > 0 && change < 1 - DRIFT ? -1 : 0;
}

bool kernel_rates_alike(const struct kernel_rates *was, const struct kernel_rates *now) {
	double change = kernel_rates_change(was, now);
	return change > 1 / KERNEL_RATES_FACTOR && change < KERNEL_RATES_FACTOR;
}

/* ---- what is measured with ---- */

/* Small, ordinary numbers in every type: 0x3c3c is 1.06 as float16, 0x3c3c3c3c is 0.011 as float32.  They are in an unlinked file,
 * mapped like files of the store, because file pages and anonymous pages differ in speed. */
uint8_t *kernel_rates_map_file(const char *dir, size_t bytes) {
	char temp[DURABLE_TEMP];
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = folder < 0 ? -1 : durable_create(folder, temp);
	size_t part = FILL_BYTES, at = 0;
	void *map = MAP_FAILED, *fill = malloc(part);
	if (fill)
		memset(fill, 0x3c, part);
	if (fd >= 0) {
		durable_discard(folder, temp);
		/* huge-page sized and aligned, so that the kernel can map huge pages, as for files of the store (shard/store/write.c) */
		while (fill && at < bytes && durable_write_at(fd, fill, part, at) == 0)
			at += part;
		if (at == bytes)
			map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	free(fill);
	if (folder >= 0)
		close(folder);
	return map == MAP_FAILED ? NULL : map;
}

static uint8_t *kernel_rates_map_weights(const char *dir, size_t bytes) {
	uint8_t *file = dir ? kernel_rates_map_file(dir, bytes) : NULL;
	if (file)
		return file;
	/* no folder, or a full disk: anonymous memory */
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return map == MAP_FAILED ? NULL : memset(map, 0x3c, bytes);
}

/* Larger than the last-level cache, as a slice is. */
size_t kernel_rates_bytes(uint64_t memory) {
	long last = sysconf(_SC_LEVEL3_CACHE_SIZE); /* 0: unknown */
	size_t bytes = last > 0 ? 2 * (size_t)last : 0;
	bytes = bytes < BUFFER_BYTES ? BUFFER_BYTES : bytes < BUFFER_MOST ? bytes : BUFFER_MOST;
	bytes = bytes < memory / BUFFER_SHARE ? bytes : (size_t)(memory / BUFFER_SHARE);
	bytes = bytes / FILL_BYTES * FILL_BYTES;
	return bytes > BUFFER_LEAST ? bytes : BUFFER_LEAST;
}

/* The largest activation row of any form. */
static size_t kernel_rates_widest_act(void) {
	size_t most = 0;
	for (int f = 0; f < KERN_FORMS; f++) {
		size_t n = kern_act_bytes((enum kern_form)f, WIDTH);
		most = n > most ? n : most;
	}
	return most;
}

/* The most results of a pass. */
static size_t kernel_rates_results(unsigned threads, size_t bytes) {
	size_t rows = 0, many = MANY_ROWS > threads * KERN_STRIP ? MANY_ROWS : threads * KERN_STRIP;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t)) {
			size_t n = bytes / kern_row_bytes((enum kern_type)t, WIDTH);
			rows = n > rows ? n : rows;
		}
	return many * COLUMNS > rows ? many * COLUMNS : rows;
}

int kernel_rates_open(struct kernel_rates_bench **out, const char *dir, size_t bytes, unsigned threads,
        const int *cpus, const atomic_bool *stop) {
	struct kernel_rates_bench *b = calloc(1, sizeof *b);
	int rc = -ENOMEM;
	if (!b)
		return rc;
	b->stop = stop;
	b->bytes = bytes;
	b->weights = kernel_rates_map_weights(dir, b->bytes);
	b->x = aligned_alloc(KERN_ALIGN, WIDTH * sizeof *b->x);
	b->acts = aligned_alloc(KERN_ALIGN, COLUMNS * kernel_rates_widest_act());
	b->y = malloc(kernel_rates_results(threads, b->bytes) * sizeof *b->y);
	b->sums = calloc((size_t)threads * SUM_STRIDE, sizeof *b->sums);
	if (b->weights && b->x && b->acts && b->y && b->sums)
		rc = team_create(&b->team, threads, cpus);
	if (rc) {
		kernel_rates_close(b);
		return rc;
	}
	for (size_t i = 0; i < WIDTH; i++)
		b->x[i] = (float)(i % 17) - 8.0f;
	*out = b;
	return 0;
}

void kernel_rates_close(struct kernel_rates_bench *b) {
	if (!b)
		return;
	team_destroy(b->team);
	if (b->weights)
		munmap(b->weights, b->bytes);
	free(b->x);
	free(b->acts);
	free(b->y);
	free(b->sums);
	free(b);
}
