/* measure: how it is measured.
 *
 * A buffer of MEASURE_BYTES, larger than caches, is walked again and again: only read, and as the
 * packed weights of each type in turn, by the team as it would read a slice, with one column; and few rows of each type
 * with many columns.  Every figure is the median of ROUNDS, with many columns the best, and a round has all of them in turn,
 * so that a moment in which the machine was busy hits none alone.
 * A slow rung measures less of it, and when time is up the rounds that are there must do.
 *
 * An idle machine is not at its quickest at once, and a virtual one, or one that does other things besides, is quick and slow
 * by turns.  So the first figures, which a plan need not wait long for, are soon replaced by those of LOOKS later times, ten seconds
 * apart: by the mean of the times that these take.
 * Figures that were kept are looked at again, in one round, when the node starts and every hour in which it is idle; when
 * they have drifted, everything is measured anew.
 * Threads: measuring has its own; see the header. */
#include "daemon/cluster/measure.h"

#include "daemon/cluster/disk.h"
#include "kernels/team.h"
#include "shard/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEASURE_BYTES (128u << 20)
#define MEASURE_SPARE (2u << 20)     /* of it, for seeing how fast it is */
#define MEASURE_FIRST (1u << 20)     /* to see how fast it is */
#define MEASURE_NS 10000000ull       /* a pass should not take longer, as quick as it was at first */
#define LAPS 4                       /* of a pass, at most */
#define MEASURE_ALL_NS 3000000000ull /* from then on no further round begins */
#define ROUNDS 5
#define RISING 1.03 /* over the round that was ROUNDS before */
#define WIDTH 8192u /* elements in a row: a multiple of every block */
#define COLUMNS 128u
#define MANY_ROWS 2048u     /* at most, with many columns */
#define DRIFT 0.12          /* of the figures, in the median: then they are another machine's */
#define LOOKS 4             /* of which figures are the mean, */
#define LOOK_SOON_MS 10000u /* and the time between them */
#define LOOK_MS 3600000u    /* between later ones */
#define FILE_MAX_BYTES 65536

struct figures {
	double bandwidth;
	double one[KERN_TYPES], many[KERN_TYPES];
};

struct measure {
	struct loop *loop;
	struct loop_timer *timer;
	bool (*busy)(void *arg);
	void *arg;
	char *dir; /* NULL: nothing is kept */
	unsigned threads;
	int *cpus; /* owned, NULL: not pinned */
	pthread_t thread;
	bool running;    /* the thread is to be joined */
	bool ready;      /* there are figures */
	unsigned period; /* of the timer */
	atomic_bool stop;
	/* written by the thread, read by the loop when it is not running */
	struct figures figures;
	double disk;
	bool kept; /* there are figures already, and the thread adds to them or looks whether they still hold */
	unsigned
	        looks; /* that they are the mean of; 0: of none, they are the first; LOOKS: and they hold until they drift */
	/* what the others are told: the loop's */
	double bandwidth, disk_told;
	Caravan__TypeRate told[KERN_TYPES], *list[KERN_TYPES];
	size_t count;
	struct bell *bell;
};

/* The call into the loop; outlives us when it is still in the mailbox. */
struct bell {
	struct measure *m; /* NULL: it has gone */
};

/* ---- the file ---- */

static void stamp(const struct measure *m, char *out, size_t len) {
	snprintf(out, len, "rates 3 cpu %s threads %u arithmetic %d layout %d", kern_ops()->name, m->threads,
	        KERN_ARITHMETIC, KERN_LAYOUT);
}

static int load(struct measure *m) {
	char want[128], *save = NULL;
	uint8_t *data = NULL;
	size_t len;
	int dir = m->dir ? open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = dir < 0 ? -ENOENT : durable_read(dir, "rates", FILE_MAX_BYTES, &data, &len);
	if (dir >= 0)
		close(dir);
	if (rc)
		return rc;
	char *text = malloc(len + 1);
	if (!text) {
		free(data);
		return -ENOMEM;
	}
	memcpy(text, data, len);
	text[len] = 0;
	free(data);
	stamp(m, want, sizeof want);
	char *line = strtok_r(text, "\n", &save);
	rc = line && strcmp(line, want) == 0 ? 0 : -ESTALE;
	while (rc == 0 && (line = strtok_r(NULL, "\n", &save))) {
		unsigned type;
		double value, many;
		if (sscanf(line, "read %lf", &value) == 1 && value > 0)
			m->figures.bandwidth = value;
		else if (sscanf(line, "disk %lf", &value) == 1 && value >= 0)
			m->disk = value;
		else if (sscanf(line, "looks %u", &type) == 1 && type <= LOOKS)
			m->looks = type;
		else if (sscanf(line, "type %u %lf %lf", &type, &value, &many) == 3 && kern_traits(type) &&
		         value > 0 && many > 0) {
			m->figures.one[type] = value;
			m->figures.many[type] = many;
		} else {
			rc = -EINVAL;
		}
	}
	free(text);
	return rc == 0 && m->figures.bandwidth > 0 && m->disk >= 0 ? 0 : -ESTALE;
}

static void save(const struct measure *m) {
	char text[FILE_MAX_BYTES];
	size_t at;
	if (!m->dir)
		return;
	stamp(m, text, sizeof text);
	at = strlen(text);
	at += (size_t)snprintf(text + at, sizeof text - at, "\nread %.6e\ndisk %.6e\nlooks %u\n",
	        m->figures.bandwidth, m->disk, m->looks);
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (m->figures.one[t] > 0)
			at += (size_t)snprintf(text + at, sizeof text - at, "type %u %.6e %.6e\n", t,
			        m->figures.one[t], m->figures.many[t]);
	int dir = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = dir < 0 ? -errno : durable_write(dir, "rates", text, at);
	if (dir >= 0)
		close(dir);
	if (rc)
		log_line(LOG_LINE_WARN, "%s/rates: %s", m->dir, strerror(-rc));
}

/* ---- measuring ---- */

struct pass {
	const uint8_t *weights;
	kern_mul_fn *mul;                      /* NULL: the bytes are only read */
	size_t row_bytes, rows, columns, laps; /* all rows, so many times */
	const void *x;
	size_t xstride;
	float *y;
	uint64_t *sum; /* a member each, a cache line apart */
};

#define SUM_STRIDE 8
#define RUNS 32 /* of a member in a lap: at the end of a pass one waits for another's run */
#define LINE 8  /* words in a line of the cache */

/* Rows [first, last) of a pass. */
static void work_rows(struct pass *p, unsigned id, size_t first, size_t last) {
	const uint8_t *w = p->weights + first * p->row_bytes;
	if (p->mul) {
		p->mul(p->y + first, p->rows, w, last - first, WIDTH, p->x, p->xstride, p->columns);
		return;
	}
	/* a word of each line is enough for all of it to come, and four sums, so that adding does not wait for itself */
	const uint64_t *q = (const uint64_t *)(const void *)w;
	size_t n = (last - first) * p->row_bytes / sizeof *q;
	uint64_t s[4] = {0};
	for (size_t i = 0; i + 4 * LINE <= n; i += 4 * LINE)
		for (size_t k = 0; k < 4; k++)
			s[k] += q[i + k * LINE];
	p->sum[(size_t)id * SUM_STRIDE] += s[0] + s[1] + s[2] + s[3];
}

/* Handed out in runs, as the rows of a slice are (shard/job.c): a member that is held up takes fewer. */
static void work(struct team *t, void *arg, unsigned id) {
	struct pass *p = arg;
	size_t strips = (p->rows + KERN_STRIP - 1) / KERN_STRIP, run = strips / RUNS / team_size(t) + 1;
	size_t runs = (strips + run - 1) / run;
	for (size_t i; (i = team_next(t)) < runs * p->laps;) {
		size_t first = i % runs * run * KERN_STRIP, last = first + run * KERN_STRIP;
		work_rows(p, id, first, last < p->rows ? last : p->rows);
	}
}

/* What measuring works with. */
struct bench {
	struct team *team;
	uint8_t *weights;
	float *x, *y;
	void *acts;
	uint64_t *sums;
	const atomic_bool *stop;
};

static double timed(struct bench *b, struct pass *p) {
	uint64_t begin = loop_now_ns();
	team_run(b->team, work, p);
	uint64_t took = loop_now_ns() - begin;
	return took ? (double)took : 1;
}

/* Bytes a second, times columns, of a pass over at most so many bytes. */
static double measure_pass(struct bench *b, struct pass *p, size_t most) {
	size_t strip = (size_t)KERN_STRIP * p->row_bytes, unit = strip * team_size(b->team);
	size_t few = p->columns > 1 ? unit : MEASURE_FIRST / strip * strip;
	p->weights = b->weights;
	p->rows = few / p->row_bytes;
	p->laps = 1;
	timed(b, p); /* wakes threads and clocks */
	double want = (double)few / timed(b, p) * MEASURE_NS;
	size_t bytes = want < (double)most ? (size_t)want / unit * unit : most / unit * unit;
	p->weights += few; /* what has not been read just now */
	p->rows = (bytes < few ? few : bytes) / p->row_bytes;
	if (want > (double)most) /* a member that wakes late should not count */
		p->laps = (size_t)(want / (double)most) < LAPS ? (size_t)(want / (double)most) : LAPS;
	double took = timed(b, p);
	return (double)(p->rows * p->row_bytes * p->columns * p->laps) * 1e9 / took;
}

/* One round of everything. */
static void measure_round(struct bench *b, struct figures *f) {
	struct pass p = {.row_bytes = WIDTH, .sum = b->sums, .y = b->y, .columns = 1};
	*f = (struct figures){.bandwidth = measure_pass(b, &p, MEASURE_BYTES - MEASURE_SPARE)};
	for (unsigned t = 0; t < KERN_TYPES && !atomic_load(b->stop); t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (!traits || !kern_ops()->mul[t])
			continue;
		size_t stride = kern_act_bytes(traits->form, WIDTH);
		for (size_t c = 0; c < COLUMNS; c++)
			if (kern_ops()->quantize[traits->form]((uint8_t *)b->acts + c * stride, b->x, WIDTH))
				return;
		p.mul = kern_ops()->mul[t];
		p.row_bytes = kern_row_bytes((enum kern_type)t, WIDTH);
		p.x = b->acts;
		p.xstride = stride;
		p.columns = 1;
		f->one[t] = measure_pass(b, &p, MEASURE_BYTES - MEASURE_SPARE);
		p.columns = COLUMNS;
		f->many[t] = measure_pass(b, &p, MANY_ROWS * p.row_bytes);
	}
}

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, size_t n) {
	qsort(v, n, sizeof *v, ascending);
	return n ? v[n / 2] : 0;
}

#define FIGURES (sizeof(struct figures) / sizeof(double))

static double products(const struct figures *f) {
	double sum = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		sum += f->many[t];
	return sum;
}

/* Rounds until they do not get quicker any more: processors that were idle take seconds to reach their clock. */
static void measure_all(struct bench *b, struct figures *out) {
	struct figures round[ROUNDS]; /* the last of them */
	uint64_t deadline = loop_now_ns() + MEASURE_ALL_NS;
	size_t n = 0;
	bool rising = true;
	while ((n < ROUNDS || rising) && !atomic_load(b->stop) && (n == 0 || loop_now_ns() < deadline)) {
		double before = n >= ROUNDS ? products(&round[n % ROUNDS]) : 0;
		measure_round(b, &round[n % ROUNDS]);
		rising = products(&round[n % ROUNDS]) > RISING * before;
		n++;
	}
	n = n < ROUNDS ? n : ROUNDS;
	for (size_t i = 0; i < FIGURES; i++) {
		double v[ROUNDS];
		for (size_t k = 0; k < n; k++)
			memcpy(&v[k], (const double *)(const void *)&round[k] + i, sizeof v[k]);
		((double *)(void *)out)[i] = median(v, n);
	}
	/* What disturbs a few milliseconds of computing, such as a member that wakes on a processor in use, makes them slower and
	 * is nothing beside the seconds of a prompt: of these the best. */
	for (unsigned t = 0; t < KERN_TYPES; t++)
		for (size_t k = 0; k < n; k++)
			out->many[t] = fmax(out->many[t], round[k].many[t]);
}

/* Of rates, the mean of the times: those of `n` looks, and those of another. */
static void add_look(struct figures *mean, unsigned n, const struct figures *now) {
	double *was = (double *)(void *)mean;
	const double *is = (const double *)(const void *)now;
	for (size_t i = 0; i < FIGURES; i++)
		if (is[i] > 0)
			was[i] = n && was[i] > 0 ? (n + 1) / (n / was[i] + 1 / is[i]) : is[i];
}

/* Whether most figures are now others. */
static bool has_drifted(const struct figures *was, const struct figures *now) {
	double off[FIGURES];
	size_t n = 0;
	for (size_t i = 0; i < FIGURES; i++) {
		double a = ((const double *)(const void *)was)[i], b = ((const double *)(const void *)now)[i];
		if (a > 0 && b > 0)
			off[n++] = fabs(b / a - 1);
	}
	return median(off, n) > DRIFT;
}

static void told(void *arg);

/* Small, ordinary numbers in every type: 0x3c3c is 1.06 as a float16, 0x3c3c3c3c 0.011 as a float32.  They lie in a file
 * that is nowhere to be seen, mapped as the store's are: pages of a file and of anonymous memory are not equally quick. */
static uint8_t *map_weights(const char *dir) {
	char temp[DURABLE_TEMP];
	int folder = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int fd = folder < 0 ? -1 : durable_create(folder, temp);
	size_t part = 4u << 20, at = 0;
	void *map = MAP_FAILED, *fill = malloc(part);
	if (fill)
		memset(fill, 0x3c, part);
	if (fd >= 0) {
		durable_discard(folder, temp);
		while (fill && at < MEASURE_BYTES && durable_write_at(fd, fill, part, at) == 0)
			at += part;
		if (at == MEASURE_BYTES)
			map = mmap(NULL, MEASURE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (map == MAP_FAILED) { /* no disk, or a full one */
		map = mmap(NULL, MEASURE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map != MAP_FAILED)
			memset(map, 0x3c, MEASURE_BYTES);
	}
	free(fill);
	if (folder >= 0)
		close(folder);
	return map == MAP_FAILED ? NULL : map;
}

static int bench_create(struct bench *b, const struct measure *m) {
	size_t most = 0;
	for (int f = 0; f < KERN_FORMS; f++) {
		size_t n = kern_act_bytes((enum kern_form)f, WIDTH);
		most = n > most ? n : most;
	}
	size_t rows = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t)) {
			size_t n = MEASURE_BYTES / kern_row_bytes((enum kern_type)t, WIDTH);
			rows = n > rows ? n : rows;
		}
	size_t many =
	        (size_t)COLUMNS * (MANY_ROWS > m->threads * KERN_STRIP ? MANY_ROWS : m->threads * KERN_STRIP);
	*b = (struct bench){.stop = &m->stop};
	b->weights = map_weights(m->dir);
	b->x = aligned_alloc(KERN_ALIGN, WIDTH * sizeof *b->x);
	b->acts = aligned_alloc(KERN_ALIGN, COLUMNS * most);
	b->y = malloc((many > rows ? many : rows) * sizeof *b->y);
	b->sums = calloc((size_t)m->threads * SUM_STRIDE, sizeof *b->sums);
	if (!b->weights || !b->x || !b->acts || !b->y || !b->sums)
		return -ENOMEM;
	for (size_t i = 0; i < WIDTH; i++)
		b->x[i] = (float)(i % 17) - 8.0f;
	return team_create(&b->team, m->threads, m->cpus);
}

static void bench_clear(struct bench *b) {
	team_destroy(b->team);
	if (b->weights)
		munmap(b->weights, MEASURE_BYTES);
	free(b->x);
	free(b->acts);
	free(b->y);
	free(b->sums);
}

/* The first figures, or the first of new ones. */
static void measure_first(struct measure *m, struct bench *b) {
	struct figures now;
	measure_all(b, &now);
	if (atomic_load(b->stop))
		return;
	m->figures = now;
	m->looks = 0;
	m->disk = m->dir ? disk_rate(m->dir) : 0;
	save(m);
}

/* One more of the looks that figures are the mean of. */
static void look_once_more(struct measure *m, struct bench *b) {
	struct figures now;
	measure_all(b, &now);
	if (atomic_load(b->stop))
		return;
	add_look(&m->figures, m->looks++, &now);
	save(m);
}

static bool is_as_measured(struct measure *m, struct bench *b) {
	struct figures now;
	measure_round(b, &now);
	return atomic_load(b->stop) || !has_drifted(&m->figures, &now);
}

static void *run(void *arg) {
	struct measure *m = arg;
	struct bench b;
	int rc = bench_create(&b, m);
	if (rc == 0 && !m->kept) {
		measure_first(m, &b);
	} else if (rc == 0 && m->looks < LOOKS) {
		look_once_more(m, &b);
	} else if (rc == 0 && !is_as_measured(m, &b)) {
		log_line(LOG_LINE_INFO,
		        "this machine is not as quick as it was measured, or quicker: measuring anew");
		measure_first(m, &b);
	}
	if (rc)
		log_line(LOG_LINE_WARN, "measuring this machine: %s", strerror(-rc));
	bench_clear(&b);
	if (loop_post(m->loop, told, m->bell))
		log_line(LOG_LINE_WARN, "measuring this machine: no memory");
	return NULL;
}

/* ---- the loop's side ---- */

static void publish(struct measure *m) {
	m->ready = true;
	m->count = 0;
	m->bandwidth = m->figures.bandwidth;
	m->disk_told = m->disk;
	for (unsigned t = 0; t < KERN_TYPES; t++) {
		if (m->figures.one[t] <= 0)
			continue;
		Caravan__TypeRate *r = &m->told[m->count];
		caravan__type_rate__init(r);
		r->type = t;
		r->bytes_per_second = m->figures.one[t];
		r->many = m->figures.many[t];
		m->list[m->count++] = r;
	}
}

static void look(void *arg);

/* Looks soon, until there have been LOOKS; then every hour. */
static int schedule(struct measure *m) {
	unsigned period = m->looks < LOOKS ? LOOK_SOON_MS : LOOK_MS;
	if (period == m->period)
		return 0;
	struct loop_timer *t = loop_timer_start(m->loop, period, true, look, m);
	if (!t)
		return -ENOMEM;
	loop_timer_stop(m->timer);
	m->timer = t;
	m->period = period;
	return 0;
}

static void told(void *arg) {
	struct bell *b = arg;
	struct measure *m = b->m;
	free(b);
	if (!m)
		return;
	m->bell = NULL;
	pthread_join(m->thread, NULL);
	m->running = false;
	m->kept = true;
	publish(m);
	if (schedule(m))
		log_line(LOG_LINE_WARN, "measuring this machine: no memory");
}

static int begin(struct measure *m) {
	if (!(m->bell = calloc(1, sizeof *m->bell)))
		return -ENOMEM;
	m->bell->m = m;
	sigset_t all, old; /* signals are the loop's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = -pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	m->running = rc == 0;
	if (rc) {
		free(m->bell);
		m->bell = NULL;
	}
	return rc;
}

static void look(void *arg) {
	struct measure *m = arg;
	if (m->running || m->busy(m->arg))
		return; /* the timer comes again */
	if (begin(m))
		log_line(LOG_LINE_WARN, "measuring this machine: no memory");
}

int measure_start(struct measure **out, struct loop *l, const char *state_dir, unsigned threads,
        const int *cpus, bool (*busy)(void *arg), void *arg) {
	struct measure *m = calloc(1, sizeof *m);
	int rc = -ENOMEM;
	if (!m)
		return rc;
	m->loop = l;
	m->threads = threads;
	m->busy = busy;
	m->arg = arg;
	if (state_dir && !(m->dir = strdup(state_dir)))
		goto error;
	if (cpus) {
		if (!(m->cpus = malloc(threads * sizeof *m->cpus)))
			goto error;
		memcpy(m->cpus, cpus, threads * sizeof *m->cpus);
	}
	m->disk = -1; /* in no file, so far */
	m->kept = load(m) == 0;
	if (m->kept) {
		publish(m);
	} else {
		m->figures = (struct figures){0};
		m->disk = 0;
		m->looks = 0;
	}
	rc = schedule(m);
	if (rc == 0)
		rc = begin(m);
	if (rc)
		goto error;
	*out = m;
	return 0;
error:
	loop_timer_stop(m->timer);
	free(m->cpus);
	free(m->dir);
	free(m);
	return rc;
}

void measure_stop(struct measure *m) {
	if (!m)
		return;
	atomic_store(&m->stop, true);
	if (m->running)
		pthread_join(m->thread, NULL);
	loop_timer_stop(m->timer);
	if (m->bell)
		m->bell->m = NULL; /* the call in the mailbox frees it */
	free(m->cpus);
	free(m->dir);
	free(m);
}

bool measure_ready(const struct measure *m) {
	return m->ready;
}

void measure_fill(struct measure *m, Caravan__NodeState *out) {
	if (!m || !m->ready)
		return;
	out->read_bandwidth = m->bandwidth;
	out->disk_rate = m->disk_told;
	out->rates = m->list;
	out->n_rates = m->count;
}
