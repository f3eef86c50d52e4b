/* calibrate: when to measure, and what the figures mean.  How to measure is in kernel_rates.c and disk.c.
 *
 * An idle machine is not at full speed at once, and one with other work is fast and slow by turns.  So a first
 * run, which a plan need not wait long for, is followed by RUNS undisturbed runs, ten seconds apart; the best of
 * each figure counts.  A disturbed run does not lower any figure, and the next one follows soon: figures of a busy
 * machine are not believed for an hour.  Then one run per hour checks whether the figures still hold, if the node
 * is idle and has the memory.  If they do not, all figures are measured again.  The same happens when serving
 * contradicts them, or on request.
 * A run begins by trying the ways of products if that has not been done since the processor, the build or the kernel changed.  The
 * first run of a new node does not: a load waits for its figures (DEPLOY_SETTLE_MS).  What was found on a disturbed machine is not
 * used.  They are then tried again after an undisturbed run, and later each time that this has failed.
 * Threads: measuring has its own; see the header. */
#include "daemon/calibration/calibrate.h"
#include "common/size.h"

#include "daemon/calibration/calibration_file.h"
#include "daemon/calibration/disk.h"
#include "daemon/calibration/page_rates.h"
#include "daemon/core/log.h"
#include "kernels/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS 4 /* undisturbed runs */
#define ASKERS 16
#define ASKED_TICK_MS 250

struct asker {
	void (*done)(void *arg, const char *error);
	void *arg;
	uint64_t since_ns;
};

struct calibration {
	struct calibrate_config c; /* dir, cpus: owned */
	char *dir;                 /* NULL: not saved */
	int *cpus;                 /* NULL: not pinned */
	struct loop_timer *timer, *asked_timer;
	size_t bytes; /* size of the buffer */
	pthread_t thread;
	bool running;       /* the thread must be joined */
	bool ready;         /* figures are published */
	bool anew;          /* the figures are in doubt: the next run replaces them */
	unsigned disturbed; /* disturbed runs in a row */
	unsigned fruitless; /* runs in a row that tried the ways of products and chose none */
	uint32_t period;    /* of the timer */
	struct asker asker[ASKERS];
	size_t askers;
	atomic_bool stop;
	struct calibration_kept kept;
	bool with_disk;  /* the current run measures the disk, */
	bool with_pages; /* and what huge pages gain */
	bool tunes;      /* CARAVAN_TUNE allows it, */
	bool untuned;    /* and the ways of products are to be tried; */
	bool with_ways;  /* the current run does */
	/* written by the thread, read by the loop when the thread has ended */
	struct kernel_rates_run run;
	struct tuning tried;
	double disk, pages; /* negative: not measured in this run */
	int rc;
	/* published to other nodes; loop only */
	double lost;     /* of the last run */
	uint64_t ran_ns; /* end of the last run; 0: none since the start */
	Caravan__TypeRate published[KERN_TYPES], *list[KERN_TYPES];
	size_t count;
	Caravan__WayState ways[KERN_TYPES * KERN_CLASSES], *way_list[KERN_TYPES * KERN_CLASSES];
	size_t way_count;
	struct bell *bell;
};

/* The argument of the posted call; it outlives the calibration while the call is in the mailbox. */
struct bell {
	struct calibration *m; /* NULL: destroyed */
};

/* ---- the usual ways ---- */

static int calibrate_run_kernels(void *arg, const char *dir, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop, struct tuning *tuning, struct kernel_rates_run *out) {
	struct kernel_rates_bench *b = NULL;
	(void)arg;
	int rc = kernel_rates_open(&b, dir, bytes, threads, cpus, stop);
	if (rc == 0 && tuning)
		kernel_rates_tune(b, tuning);
	if (rc == 0 && tuning && tuning->known)
		tuning_apply(tuning);
	if (rc == 0)
		kernel_rates_measure(b, out);
	kernel_rates_close(b);
	return rc;
}

static double calibrate_run_disk(void *arg, const char *dir) {
	(void)arg;
	return disk_rate(dir);
}

static double calibrate_run_pages(void *arg, const char *dir, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop) {
	(void)arg;
	return page_rates(dir, bytes, threads, cpus, stop);
}

const struct calibrate_ops calibrate_ops = {.run = calibrate_run_kernels,
        .disk = calibrate_run_disk,
        .pages = calibrate_run_pages,
        .soon_ms = 10000,
        .soon_most_ms = 300000,
        .later_ms = 3600000,
        .patience_ms = 30000};

/* ---- the thread ---- */

static void calibrate_run_done(void *arg);

static void *calibrate_thread(void *arg) {
	struct calibration *m = arg;
	const struct calibrate_ops *w = m->c.ops;
	m->disk = m->pages = -1;
	m->run = (struct kernel_rates_run){0};
	m->tried = (struct tuning){0};
	m->rc = w->run(w->arg, m->dir, m->bytes, m->c.threads, m->cpus, &m->stop,
	        m->with_ways ? &m->tried : NULL, &m->run);
	/* measuring writes to the disk: not repeated after every disturbed run */
	if (m->rc == 0 && m->with_disk && (m->kept.disk <= 0 || !kernel_rates_disturbed(m->run.lost)) &&
	        !atomic_load(&m->stop))
		m->disk = w->disk(w->arg, m->dir);
	if (m->rc == 0 && m->with_pages && !kernel_rates_disturbed(m->run.lost) && !atomic_load(&m->stop))
		m->pages = w->pages(w->arg, m->dir, m->bytes, m->c.threads, m->cpus, &m->stop);
	if (loop_post(m->c.loop, calibrate_run_done, m->bell))
		log_line(LOG_LINE_WARN, "measuring this machine: out of memory");
	return NULL;
}

/* ---- what a run means ---- */

/* Starts over with this run.  The old figures widen the range, unless they differ too much to be of this machine. */
static void calibrate_restart(struct calibration *m, bool believed) {
	struct kernel_rates_known was = m->kept.known;
	m->kept.known = (struct kernel_rates_known){0};
	kernel_rates_add(&m->kept.known, &m->run, believed);
	if (was.runs && kernel_rates_alike(&was.best, &m->run.mid))
		kernel_rates_widen(&m->kept.known, &was);
}

/* Rates that were measured with other ways are not of this machine any more. */
static void calibrate_take_ways(struct calibration *m) {
	if (m->with_ways)
		m->fruitless = m->tried.known ? 0 : m->fruitless + 1;
	if (!m->tried.known)
		return;
	m->anew = m->anew || (m->kept.known.best.read > 0 && !tuning_same(&m->kept.tuning, &m->tried));
	m->kept.tuning = m->tried;
	m->untuned = false;
}

static void calibrate_take_run(struct calibration *m) {
	struct kernel_rates_known *known = &m->kept.known;
	bool had = known->best.read > 0, believed = !kernel_rates_disturbed(m->run.lost);
	int drift = had ? kernel_rates_drifted(&known->best, &m->run.mid) : 0;
	double change = had ? kernel_rates_change(&known->best, &m->run.mid) : 1;
	/* slower than other work on the machine can explain */
	bool slower =
	        change > 0 && change < 1 && (believed || !kernel_rates_explained(m->run.lost, 1 / change));
	m->disturbed = believed ? 0 : m->disturbed + 1;
	m->lost = m->run.lost;
	if (!had) {
		calibrate_restart(m, believed);
	} else if (m->anew) {
		if (believed || slower)
			calibrate_restart(m, believed);
		else
			kernel_rates_add(known, &m->run, false);
		m->anew = !believed && !slower;
	} else if (known->runs < RUNS) {
		kernel_rates_add(known, &m->run, believed);
	} else if (drift == 0) {
		m->disturbed = 0; /* the figures hold, perhaps with a wider range */
		if (believed)
			kernel_rates_add(known, &m->run, true);
	} else if (drift > 0 || slower) {
		log_line(LOG_LINE_INFO, "this machine is %s than when it was measured: measuring again",
		        drift > 0 ? "quicker" : "slower");
		calibrate_restart(m, believed);
	}
	if (m->disturbed)
		log_line(LOG_LINE_INFO,
		        "measuring this machine: other programs used %.0f%% of its processors meanwhile; measuring again soon",
		        100 * m->run.lost);
	if (m->disk >= 0)
		m->kept.disk = m->disk;
	if (m->pages >= 0)
		m->kept.pages = m->pages;
}

/* ---- the loop's side ---- */

static void calibrate_save(const struct calibration *m) {
	int rc = m->dir ? calibration_file_save(m->dir, m->c.threads, &m->kept) : 0;
	if (rc)
		log_line(LOG_LINE_WARN, "%s/rates: %s", m->dir, strerror(-rc));
}

/* Scales the range of a figure that serving has corrected by the same factor. */
static void calibrate_scale_spread(
        double current, double best, double low, double high, double *out_low, double *out_high) {
	*out_low = low * (current / best);
	*out_high = high * (current / best);
}

static void calibrate_publish(struct calibration *m) {
	const struct kernel_rates_known *k = &m->kept.known;
	struct kernel_rates current = k->best;
	/* measured on a map; a step of many rows gains nothing */
	for (unsigned t = 0; t < KERN_TYPES; t++)
		current.one[t] *= calibrate_huge_pages(m) ? m->kept.pages : 1;
	served_rates_apply(&m->kept.served, &current, (long long)time(NULL));
	m->ready = true;
	m->count = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++) {
		if (current.one[t] <= 0)
			continue;
		Caravan__TypeRate *r = &m->published[m->count];
		caravan__type_rate__init(r);
		r->type = t;
		r->bytes_per_second = current.one[t];
		r->many = current.many[t];
		calibrate_scale_spread(
		        current.one[t], k->best.one[t], k->low.one[t], k->high.one[t], &r->low, &r->high);
		if (current.many[t] > 0)
			calibrate_scale_spread(current.many[t], k->best.many[t], k->low.many[t],
			        k->high.many[t], &r->many_low, &r->many_high);
		m->list[m->count++] = r;
	}
}

static void calibrate_publish_ways(struct calibration *m) {
	m->way_count = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		for (int c = 0; c < KERN_CLASSES; c++) {
			const struct tuned_way *of = &m->kept.tuning.of[t][c];
			Caravan__WayState *w = &m->ways[m->way_count];
			if (!m->kept.tuning.known || !of->way)
				continue;
			caravan__way_state__init(w);
			w->type = t;
			w->columns = (uint32_t)kern_class_most((enum kern_class)c);
			w->way = wire_string(of->way->name);
			w->is_default = of->way == kern_way_default(kern_ops(), t, (enum kern_class)c);
			w->gain = of->gain;
			m->way_list[m->way_count++] = w;
		}
}

static void calibrate_tick(void *arg);

/* The next run: soon, until RUNS undisturbed runs agree; then every hour. */
static int calibrate_schedule(struct calibration *m) {
	const struct calibrate_ops *w = m->c.ops;
	uint32_t period = w->later_ms;
	if (m->kept.known.runs < RUNS || m->anew || m->disturbed || m->untuned) {
		unsigned failed = m->disturbed > m->fruitless ? m->disturbed : m->fruitless,
		         doublings = failed < 16 ? failed : 16;
		uint64_t soon = (uint64_t)w->soon_ms << (doublings ? doublings - 1 : 0);
		if ((m->anew && !m->disturbed) ||
		        (m->untuned && m->ran_ns && !failed)) /* as soon as the node is idle */
			soon = w->soon_ms / 4 + 1;
		period = soon < w->soon_most_ms ? (uint32_t)soon : w->soon_most_ms;
	}
	if (period == m->period)
		return 0;
	struct loop_timer *t = loop_timer_start(m->c.loop, period, true, calibrate_tick, m);
	if (!t)
		return -ENOMEM;
	loop_timer_stop(m->timer);
	m->timer = t;
	m->period = period;
	return 0;
}

/* Answers the requests that are at least ago_ns old. */
static void calibrate_answer(struct calibration *m, const char *error, uint64_t ago_ns) {
	uint64_t now = loop_now_ns();
	for (size_t i = 0; i < m->askers;) {
		struct asker a = m->asker[i];
		if (now - a.since_ns < ago_ns) {
			i++;
			continue;
		}
		m->asker[i] = m->asker[--m->askers];
		a.done(a.arg, error);
	}
	if (m->askers == 0) {
		loop_timer_stop(m->asked_timer);
		m->asked_timer = NULL;
	}
}

static void calibrate_run_done(void *arg) {
	struct bell *b = arg;
	struct calibration *m = b->m;
	free(b);
	if (!m)
		return;
	m->bell = NULL;
	pthread_join(m->thread, NULL);
	m->running = false;
	if (m->rc) {
		char error[128];
		snprintf(error, sizeof error, "cannot measure: %s", strerror(-m->rc));
		log_line(LOG_LINE_WARN, "measuring this machine: %s", strerror(-m->rc));
		m->fruitless += m->with_ways;
		(void)calibrate_schedule(m); /* without memory, the timer stays as it is */
		calibrate_answer(m, error, 0);
		return;
	}
	m->ran_ns = loop_now_ns();
	calibrate_take_ways(m);
	calibrate_take_run(m);
	calibrate_save(m);
	calibrate_publish(m);
	calibrate_publish_ways(m);
	if (calibrate_schedule(m))
		log_line(LOG_LINE_WARN, "measuring this machine: out of memory");
	calibrate_answer(m, NULL, 0);
}

static int calibrate_begin(struct calibration *m) {
	if (!(m->bell = calloc(1, sizeof *m->bell)))
		return -ENOMEM;
	m->bell->m = m;
	bool new = m->kept.known.best.read <= 0;
	m->with_ways = m->untuned && ((m->disturbed == 0 && !new) || m->askers > 0);
	m->with_disk = m->dir && (m->kept.known.runs == 0 || m->anew);
	m->with_pages = m->dir && (m->kept.pages <= 0 || m->anew);
	int rc = thread_start(&m->thread, NULL, calibrate_thread, m);
	m->running = rc == 0;
	if (rc) {
		free(m->bell);
		m->bell = NULL;
	}
	return rc;
}

static void calibrate_tick(void *arg) {
	struct calibration *m = arg;
	if (m->running || m->c.busy(m->c.arg, false))
		return; /* the timer repeats */
	if (calibrate_begin(m))
		log_line(LOG_LINE_WARN, "measuring this machine: out of memory");
}

/* ---- when somebody asks ---- */

static void calibrate_asked_tick(void *arg) {
	struct calibration *m = arg;
	char error[WIRE_TEXT_MAX];
	if (m->running)
		return;
	const char *why = m->c.busy(m->c.arg, true);
	if (why) {
		snprintf(error, sizeof error, "it cannot be measured now: %s; try again later", why);
		calibrate_answer(m, error, m->c.ops->patience_ms * 1000000ull);
		return;
	}
	m->anew = true;
	m->untuned = m->tunes;
	if (calibrate_begin(m))
		calibrate_answer(m, "out of memory", 0);
}

int calibrate_now(struct calibration *m, void (*done)(void *arg, const char *error), void *arg) {
	uint64_t now = loop_now_ns();
	if (m->askers == ASKERS)
		return -EBUSY;
	if (!m->asked_timer &&
	        !(m->asked_timer = loop_timer_start(m->c.loop, ASKED_TICK_MS, true, calibrate_asked_tick, m)))
		return -ENOMEM;
	m->asker[m->askers++] = (struct asker){done, arg, now};
	return 0;
}

/* ---- what serving shows ---- */

void calibrate_served(struct calibration *m, const char *node, const struct manifest *mf, uint32_t first,
        uint32_t last, enum served_kind kind, const struct served_sum *sum) {
	if (!m || !m->ready)
		return;
	struct served_off off = served_rates_add(&m->kept.served, mf, first, last, kind, sum,
	        &m->kept.known.best, m->bytes, (long long)time(NULL));
	if (!off.first)
		return;
	log_line(LOG_LINE_WARN,
	        "the prediction for %s is off by a factor of %.0f (%s of %s takes %.3g ms, the rates predict %.3g ms): measuring again",
	        node, off.factor, kind == SERVED_ONE ? "a token" : "a token of a prompt",
	        size_layers_named(first, last).s, off.measured * 1e3, off.predicted * 1e3);
	m->anew = true;
	calibrate_save(m);
	calibrate_publish(m);
	if (calibrate_schedule(m))
		log_line(LOG_LINE_WARN, "measuring this machine: out of memory");
}

/* ---- the whole ---- */

int calibrate_start(struct calibration **out, const struct calibrate_config *c) {
	struct calibration *m = calloc(1, sizeof *m);
	long long age = -1;
	int rc = -ENOMEM;
	if (!m)
		return rc;
	m->c = *c;
	if (!m->c.ops)
		m->c.ops = &calibrate_ops;
	m->bytes = kernel_rates_bytes(c->memory);
	if (c->state_dir && !(m->dir = strdup(c->state_dir)))
		goto error;
	if (c->cpus) {
		if (!(m->cpus = malloc(c->threads * sizeof *m->cpus)))
			goto error;
		memcpy(m->cpus, c->cpus, c->threads * sizeof *m->cpus);
	}
	m->c.cpus = m->cpus;
	m->c.state_dir = m->dir;
	bool kept = m->dir && calibration_file_load(m->dir, c->threads, &m->kept, &age) == 0;
	m->tunes = !tuning_is_off();
	m->untuned = m->tunes && !m->kept.tuning.known;
	tuning_apply(&m->kept.tuning);
	if (kept) {
		calibrate_publish(m);
		calibrate_publish_ways(m);
	}
	rc = calibrate_schedule(m);
	/* recent figures need no check; a file from the future does (the clock was set back) */
	kept = kept && !m->untuned;
	bool fresh = kept && m->kept.known.runs >= RUNS && age >= 0 && age < m->c.ops->later_ms / 1000;
	if (rc == 0 && !fresh)
		rc = calibrate_begin(m);
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

void calibrate_stop(struct calibration *m) {
	if (!m)
		return;
	atomic_store(&m->stop, true);
	if (m->running)
		pthread_join(m->thread, NULL);
	loop_timer_stop(m->timer);
	loop_timer_stop(m->asked_timer);
	if (m->bell)
		m->bell->m = NULL; /* the call in the mailbox frees it */
	free(m->cpus);
	free(m->dir);
	free(m);
}

bool calibrate_ready(const struct calibration *m) {
	return m->ready;
}

bool calibrate_fresh(const struct calibration *m, uint64_t ms) {
	return m->ran_ns && loop_now_ns() - m->ran_ns < ms * 1000000;
}

unsigned calibrate_threads(const struct calibration *m) {
	return m->c.threads;
}

const char *calibrate_waits(const struct calibration *m) {
	return m->running ? NULL : m->c.busy(m->c.arg, true);
}

uint64_t calibrate_memory(const struct calibration *m) {
	return m->bytes;
}

bool calibrate_huge_pages(const struct calibration *m) {
	return m && m->kept.pages >= PAGE_RATES_WORTH;
}

void calibrate_fill(struct calibration *m, Caravan__NodeState *out) {
	if (!m)
		return;
	out->measuring = m->running || m->anew || m->askers > 0;
	if (!m->ready)
		return;
	out->disturbed = m->kept.known.runs == 0;
	out->lost = m->lost;
	out->read_bandwidth = m->kept.known.best.read;
	out->read_low = m->kept.known.low.read;
	out->read_high = m->kept.known.high.read;
	out->disk_rate = m->kept.disk;
	out->huge_pages = m->kept.pages;
	out->rates = m->list;
	out->n_rates = m->count;
}

void calibrate_fill_ways(struct calibration *m, Caravan__NodeState *out) {
	out->ways = m->way_list;
	out->n_ways = m->way_count;
}
