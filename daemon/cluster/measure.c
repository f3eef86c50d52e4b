/* measure: how it is measured.
 *
 * A buffer of MEASURE_BYTES, larger than caches, is read as the packed weights of each type in turn, by the team as
 * it would read a slice: strips shared out evenly, one column.  The best of a few passes counts, since whatever else
 * the machine does only slows.  A slow rung measures less of the buffer, so that the whole stays under two seconds.
 * Threads: measuring has its own; see the header. */
#include "daemon/cluster/measure.h"

#include "daemon/cluster/disk.h"
#include "kernels/team.h"
#include "shard/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEASURE_BYTES (96u << 20)
#define MEASURE_FIRST (2u << 20)     /* to see how fast it is */
#define MEASURE_NS 40000000ull       /* a pass should not take longer */
#define MEASURE_ALL_NS 1500000000ull /* from then on one short pass must do */
#define PASSES 2
#define WIDTH 4096u /* elements in a row: a multiple of every block */
#define FILE_MAX_BYTES 65536

struct measure {
	struct loop *loop;
	char *dir; /* NULL: nothing is kept */
	unsigned threads;
	int *cpus; /* owned, NULL: not pinned */
	pthread_t thread;
	bool running; /* the thread is to be joined */
	bool ready;
	atomic_bool stop;
	/* written by the thread, read by the loop after it was told */
	double bandwidth, disk;
	double rate[KERN_TYPES];
	/* what the others are told */
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
	snprintf(out, len, "rates 1 cpu %s threads %u arithmetic %d layout %d", kern_ops()->name, m->threads,
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
		double value;
		if (sscanf(line, "read %lf", &value) == 1 && value > 0)
			m->bandwidth = value;
		else if (sscanf(line, "disk %lf", &value) == 1 && value >= 0)
			m->disk = value;
		else if (sscanf(line, "type %u %lf", &type, &value) == 2 && kern_traits(type) && value > 0)
			m->rate[type] = value;
		else
			rc = -EINVAL;
	}
	free(text);
	return rc == 0 && m->bandwidth > 0 && m->disk >= 0 ? 0 : -ESTALE;
}

static void save(const struct measure *m) {
	char text[FILE_MAX_BYTES];
	size_t at;
	if (!m->dir)
		return;
	stamp(m, text, sizeof text);
	at = strlen(text);
	at += (size_t)snprintf(
	        text + at, sizeof text - at, "\nread %.6e\ndisk %.6e\n", m->bandwidth, m->disk);
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (m->rate[t] > 0)
			at += (size_t)snprintf(text + at, sizeof text - at, "type %u %.6e\n", t, m->rate[t]);
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
	kern_mul_fn *mul; /* NULL: the bytes are only read */
	size_t row_bytes, rows;
	const void *x;
	size_t xstride;
	float *y;
	uint64_t *sum; /* a member each, a cache line apart */
};

#define SUM_STRIDE 8

static void work(struct team *t, void *arg, unsigned id) {
	struct pass *p = arg;
	size_t first, last;
	team_share(t, id, p->rows, KERN_STRIP, &first, &last);
	if (first == last)
		return;
	const uint8_t *w = p->weights + first * p->row_bytes;
	if (p->mul) {
		p->mul(p->y + first, p->rows, w, last - first, WIDTH, p->x, p->xstride, 1);
		return;
	}
	/* four sums, so that adding does not wait for itself */
	const uint64_t *q = (const uint64_t *)w;
	size_t n = (last - first) * p->row_bytes / sizeof *q;
	uint64_t s[4] = {0};
	for (size_t i = 0; i + 4 <= n; i += 4)
		for (size_t k = 0; k < 4; k++)
			s[k] += q[i + k];
	p->sum[(size_t)id * SUM_STRIDE] = s[0] + s[1] + s[2] + s[3];
}

static uint64_t timed(struct team *t, struct pass *p) {
	uint64_t begin = loop_now_ns();
	team_run(t, work, p);
	uint64_t took = loop_now_ns() - begin;
	return took ? took : 1;
}

/* Bytes a second. */
static double measure_pass(struct team *t, struct pass *p, uint64_t deadline) {
	size_t all = MEASURE_BYTES / p->row_bytes / KERN_STRIP * KERN_STRIP;
	p->rows = MEASURE_FIRST / p->row_bytes / KERN_STRIP * KERN_STRIP;
	timed(t, p); /* wakes threads and clocks */
	double first = (double)p->rows * (double)p->row_bytes / (double)timed(t, p);
	if (loop_now_ns() > deadline) /* the machine is slow or busy: better rough than late */
		return first * 1e9;
	double want = first * MEASURE_NS / (double)p->row_bytes;
	if (want < (double)all)
		all = (size_t)want / KERN_STRIP * KERN_STRIP;
	if (all < p->rows)
		all = p->rows;
	p->rows = all;
	double best = 0;
	for (int i = 0; i < PASSES; i++) {
		double rate = (double)p->rows * (double)p->row_bytes * 1e9 / (double)timed(t, p);
		best = rate > best ? rate : best;
	}
	return best;
}

static void measure_all(struct measure *m, struct team *team, uint8_t *weights, float *x, void *acts,
        float *y, uint64_t *sums) {
	struct pass p = {.weights = weights, .row_bytes = WIDTH, .sum = sums};
	uint64_t deadline = loop_now_ns() + MEASURE_ALL_NS;
	m->bandwidth = measure_pass(team, &p, deadline);
	for (unsigned t = 0; t < KERN_TYPES && !atomic_load(&m->stop); t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (!traits || !kern_ops()->mul[t] || kern_ops()->quantize[traits->form](acts, x, WIDTH))
			continue;
		p.mul = kern_ops()->mul[t];
		p.row_bytes = kern_row_bytes((enum kern_type)t, WIDTH);
		p.x = acts;
		p.xstride = kern_act_bytes(traits->form, WIDTH);
		p.y = y;
		m->rate[t] = measure_pass(team, &p, deadline);
	}
}

static void told(void *arg);

static void *run(void *arg) {
	struct measure *m = arg;
	struct team *team = NULL;
	size_t most = 0, rows = 0;
	for (int f = 0; f < KERN_FORMS; f++) {
		size_t n = kern_act_bytes((enum kern_form)f, WIDTH);
		most = n > most ? n : most;
	}
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t)) {
			size_t n = MEASURE_BYTES / kern_row_bytes((enum kern_type)t, WIDTH);
			rows = n > rows ? n : rows;
		}
	uint8_t *weights = aligned_alloc(KERN_ALIGN, MEASURE_BYTES);
	float *x = aligned_alloc(KERN_ALIGN, WIDTH * sizeof *x);
	void *acts = aligned_alloc(KERN_ALIGN, most);
	float *y = malloc(rows * sizeof *y);
	uint64_t *sums = calloc((size_t)m->threads * SUM_STRIDE, sizeof *sums);
	int rc = weights && x && acts && y && sums ? team_create(&team, m->threads, m->cpus) : -ENOMEM;
	if (rc == 0) {
		/* small, ordinary numbers in every type: 0x3c3c is 1.06 as a float16, 0x3c3c3c3c 0.011 as a float32 */
		memset(weights, 0x3c, MEASURE_BYTES);
		for (size_t i = 0; i < WIDTH; i++)
			x[i] = (float)(i % 17) - 8.0f;
		measure_all(m, team, weights, x, acts, y, sums);
		if (!atomic_load(&m->stop))
			m->disk = m->dir ? disk_rate(m->dir) : 0;
		if (!atomic_load(&m->stop))
			save(m);
	} else {
		log_line(LOG_LINE_WARN, "measuring this machine: %s", strerror(-rc));
	}
	team_destroy(team);
	free(weights);
	free(x);
	free(acts);
	free(y);
	free(sums);
	if (loop_post(m->loop, told, m->bell))
		log_line(LOG_LINE_WARN, "measuring this machine: no memory");
	return NULL;
}

/* ---- the loop's side ---- */

static void publish(struct measure *m) {
	m->ready = true;
	for (unsigned t = 0; t < KERN_TYPES; t++) {
		if (m->rate[t] <= 0)
			continue;
		Caravan__TypeRate *r = &m->told[m->count];
		caravan__type_rate__init(r);
		r->type = t;
		r->bytes_per_second = m->rate[t];
		m->list[m->count++] = r;
	}
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
	publish(m);
}

int measure_start(
        struct measure **out, struct loop *l, const char *state_dir, unsigned threads, const int *cpus) {
	struct measure *m = calloc(1, sizeof *m);
	int rc = -ENOMEM;
	if (!m)
		return rc;
	m->loop = l;
	m->threads = threads;
	if (state_dir && !(m->dir = strdup(state_dir)))
		goto error;
	if (cpus) {
		if (!(m->cpus = malloc(threads * sizeof *m->cpus)))
			goto error;
		memcpy(m->cpus, cpus, threads * sizeof *m->cpus);
	}
	m->disk = -1; /* in no file, so far */
	if (load(m) == 0) {
		publish(m);
		*out = m;
		return 0;
	}
	m->bandwidth = m->disk = 0;
	memset(m->rate, 0, sizeof m->rate);
	if (!(m->bell = calloc(1, sizeof *m->bell)))
		goto error;
	m->bell->m = m;
	sigset_t all, old; /* signals are the loop's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		goto error;
	m->running = true;
	*out = m;
	return 0;
error:
	free(m->bell);
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
	out->disk_rate = m->disk;
	out->rates = m->list;
	out->n_rates = m->count;
}
