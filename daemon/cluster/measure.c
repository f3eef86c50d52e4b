/* measure: when, and what becomes of it; how is a matter of rates.
 *
 * An idle machine is not at its quickest at once, and a virtual one, or one that does other things besides, is quick and slow
 * by turns.  So the first figures, which a plan need not wait long for, are soon replaced by those of LOOKS later times, ten
 * seconds apart: by the mean of the times that the middle half of these takes, so that one moment in which somebody else had
 * the machine counts for nothing.
 * Figures that were kept are looked at again, in one round, an hour after they were measured and every hour from then on, if
 * the node is idle and has the memory; when they have drifted, everything is measured anew.
 * Threads: measuring has its own; see the header. */
#include "daemon/cluster/measure.h"

#include "daemon/cluster/disk.h"
#include "daemon/cluster/rates.h"
#include "kernels/thread.h"
#include "shard/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOKS 4             /* of which figures are the mean, */
#define LOOK_SOON_MS 10000u /* and the time between them */
#define LOOK_MS 3600000u    /* between later ones */
#define FILE_MAX_BYTES 65536

struct measure {
	struct loop *loop;
	struct loop_timer *timer;
	bool (*busy)(void *arg);
	void *arg;
	char *dir;    /* NULL: nothing is kept */
	size_t bytes; /* to measure with */
	unsigned threads;
	int *cpus; /* owned, NULL: not pinned */
	pthread_t thread;
	bool running;    /* the thread is to be joined */
	bool ready;      /* there are figures */
	unsigned period; /* of the timer */
	atomic_bool stop;
	/* written by the thread, read by the loop when it is not running */
	struct rates figures, look[LOOKS];
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
			m->figures.read = value;
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
	if (m->looks < LOOKS)
		m->looks = 0; /* each of them was not kept */
	return rc == 0 && m->figures.read > 0 && m->disk >= 0 ? 0 : -ESTALE;
}

/* Whether what is kept was measured so lately that nobody need look. */
static bool is_fresh(const struct measure *m) {
	struct stat st;
	int dir = m->dir ? open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = dir < 0 ? -1 : fstatat(dir, "rates", &st, AT_SYMLINK_NOFOLLOW);
	if (dir >= 0)
		close(dir);
	/* a clock that was put back makes a file of the future, which is not fresh */
	time_t now = time(NULL);
	return rc == 0 && m->looks == LOOKS && st.st_mtime <= now && now - st.st_mtime < LOOK_MS / 1000;
}

static void save(const struct measure *m) {
	char text[FILE_MAX_BYTES];
	size_t at;
	if (!m->dir)
		return;
	stamp(m, text, sizeof text);
	at = strlen(text);
	at += (size_t)snprintf(text + at, sizeof text - at, "\nread %.6e\ndisk %.6e\nlooks %u\n",
	        m->figures.read, m->disk, m->looks);
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

/* The first figures, or the first of new ones. */
static void measure_first(struct measure *m, struct rates_bench *b) {
	struct rates now;
	rates_measure(b, &now);
	if (atomic_load(&m->stop))
		return;
	m->figures = now;
	m->looks = 0;
	m->disk = m->dir ? disk_rate(m->dir) : 0;
	save(m);
}

/* One more of the looks that figures are the mean of. */
static void look_once_more(struct measure *m, struct rates_bench *b) {
	rates_measure(b, &m->look[m->looks]);
	if (atomic_load(&m->stop))
		return;
	rates_mean(m->look, ++m->looks, &m->figures);
	save(m);
}

static bool is_as_measured(struct measure *m, struct rates_bench *b) {
	struct rates now;
	rates_round(b, &now);
	return atomic_load(&m->stop) || !rates_drifted(&m->figures, &now);
}

static void told(void *arg);

static void *run(void *arg) {
	struct measure *m = arg;
	struct rates_bench *b = NULL;
	int rc = rates_open(&b, m->dir, m->bytes, m->threads, m->cpus, &m->stop);
	if (rc == 0 && !m->kept) {
		measure_first(m, b);
	} else if (rc == 0 && m->looks < LOOKS) {
		look_once_more(m, b);
	} else if (rc == 0 && !is_as_measured(m, b)) {
		log_line(LOG_LINE_INFO,
		        "this machine is not as quick as it was measured, or quicker: measuring anew");
		measure_first(m, b);
	}
	if (rc)
		log_line(LOG_LINE_WARN, "measuring this machine: %s", strerror(-rc));
	rates_close(b);
	if (loop_post(m->loop, told, m->bell))
		log_line(LOG_LINE_WARN, "measuring this machine: no memory");
	return NULL;
}

/* ---- the loop's side ---- */

static void publish(struct measure *m) {
	m->ready = true;
	m->count = 0;
	m->bandwidth = m->figures.read;
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
	int rc = thread_start(&m->thread, NULL, run, m);
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

int measure_start(struct measure **out, struct loop *l, const char *state_dir, uint64_t memory,
        unsigned threads, const int *cpus, bool (*busy)(void *arg), void *arg) {
	struct measure *m = calloc(1, sizeof *m);
	int rc = -ENOMEM;
	if (!m)
		return rc;
	m->loop = l;
	m->bytes = rates_bytes(memory);
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
		m->figures = (struct rates){0};
		m->disk = 0;
		m->looks = 0;
	}
	rc = schedule(m);
	if (rc == 0 && !(m->kept && is_fresh(m)))
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

uint64_t measure_memory(const struct measure *m) {
	return m->bytes;
}

void measure_fill(struct measure *m, Caravan__NodeState *out) {
	if (!m || !m->ready)
		return;
	out->read_bandwidth = m->bandwidth;
	out->disk_rate = m->disk_told;
	out->rates = m->list;
	out->n_rates = m->count;
}
