/* journal: see journal.h.  Events are appended to the file; when it has twice as many as are kept, it is written anew. */
#include "config.h"

#include "common/durable.h"
#include "common/fail.h"
#include "daemon/core/executor.h"
#include "daemon/core/journal.h"
#include "daemon/core/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define FILE_MAX ((2 * JOURNAL_EVENTS + 1) * (WIRE_EVENT_MAX + 64))
#define LOST_MAX \
	1000 /* events that a power failure may have taken from the file: their numbers are not used again */
#define BURST 100               /* events that others cause without delay; */
#define REFILL_NS 1000000000ull /* then one more per this time */

/* Said on another thread, or while the loop is about to take it. */
struct said {
	Caravan__Event *event;
	STAILQ_ENTRY(said) next;
};

struct journal {
	struct loop *loop;
	double (*time)(void);
	uint64_t id, serial; /* of the last event */
	Caravan__Event *event[JOURNAL_EVENTS];
	size_t first, n;
	void (*watch)(void *arg, const Caravan__Event *e);
	void *watch_arg;
	/* the file */
	char *dir; /* NULL: none */
	struct executor *executor;
	struct journal_bytes unsaved;
	size_t appended;                  /* records after those of the last whole write */
	bool whole, busy, failed, ending; /* whole: write the whole file next */
	/* for all below */
	pthread_mutex_t lock;
	STAILQ_HEAD(, said) said;
	unsigned posts; /* to the loop, that have not run */
	bool ended;     /* the last of them frees it */
	unsigned tokens;
	uint64_t refilled_ns;
};

static const struct {
	const char *name;
	bool shared;
} kinds[EVENT_KINDS] = {
        [EVENT_CONTENT_DAMAGED] = {"content-damaged", false},
        [EVENT_CONTENT_EVICTED] = {"content-evicted", false},
        [EVENT_CONTENT_REPAIRED] = {"content-repaired", false},
        [EVENT_COPIES_COMPLETE] = {"copies-complete", false},
        [EVENT_DISK_FULL] = {"disk-full", false},
        [EVENT_ERROR] = {"error", false},
        [EVENT_LOAD_FAILED] = {"load-failed", false},
        [EVENT_LOAD_STARTED] = {"load-started", false},
        [EVENT_MODEL_RECOVERED] = {"model-recovered", false},
        [EVENT_MODEL_REMOVED] = {"model-removed", false},
        [EVENT_MODEL_SERVING] = {"model-serving", false},
        [EVENT_MODEL_TAKEN_OVER] = {"model-taken-over", false},
        [EVENT_MODEL_UNAVAILABLE] = {"model-unavailable", true},
        [EVENT_MODEL_UNLOADED] = {"model-unloaded", false},
        [EVENT_NODE_BACK] = {"node-back", true},
        [EVENT_NODE_EXPELLED] = {"node-expelled", true},
        [EVENT_NODE_JOINED] = {"node-joined", true},
        [EVENT_NODE_LEFT] = {"node-left", true},
        [EVENT_NODE_LOST] = {"node-lost", true},
        [EVENT_NODE_STARTED] = {"node-started", false},
        [EVENT_NODE_STOPPED] = {"node-stopped", false},
        [EVENT_PLAN_CHANGED] = {"plan-changed", false},
        [EVENT_RECOVERY_FAILED] = {"recovery-failed", false},
        [EVENT_RECOVERY_STARTED] = {"recovery-started", false},
};

const char *journal_kind_name(enum journal_kind kind) {
	return kinds[kind].name;
}

enum journal_kind journal_kind_find(const char *name) {
	size_t i = 0;
	while (i < EVENT_KINDS && strcmp(kinds[i].name, name) != 0)
		i++;
	return (enum journal_kind)i;
}

bool journal_kind_is_shared(enum journal_kind kind) {
	return kind < EVENT_KINDS && kinds[kind].shared;
}

/* ---- the file ---- */

struct journal_write {
	struct journal *j;
	struct journal_bytes bytes;
	bool whole;
	int rc;
};

static int journal_append(const char *dir, const struct journal_bytes *b) {
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/" JOURNAL_FILE, dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), rc = 0;
	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < b->len && rc == 0;) {
		ssize_t n = write(fd, b->data + at, b->len - at);
		if (n >= 0)
			at += (size_t)n;
		else if (errno != EINTR)
			rc = -errno;
	}
	close(fd);
	return rc;
}

static int journal_write_now(const char *dir, const struct journal_bytes *b, bool whole) {
	return whole ? durable_write_in(dir, JOURNAL_FILE, b->data, b->len) : journal_append(dir, b);
}

/* Executor. */
static void journal_write_run(void *arg) {
	struct journal_write *w = arg;
	w->rc = journal_write_now(w->j->dir, &w->bytes, w->whole);
}

/* Moves what is to be written next out of the journal. */
static int journal_take_unsaved(struct journal *j, struct journal_bytes *out, bool *whole) {
	int rc = 0;
	*whole = j->whole;
	if (j->whole) {
		journal_bytes_free(&j->unsaved);
		*out = (struct journal_bytes){0};
		rc = journal_encode_head(out, j->id);
		for (size_t i = 0; i < j->n && rc == 0; i++)
			rc = journal_encode(out, journal_at(j, i));
		j->appended = 0;
	} else {
		*out = j->unsaved;
		j->unsaved = (struct journal_bytes){0};
	}
	j->whole = false;
	return rc;
}

static void journal_save(struct journal *j);

/* The next event tries again. */
static void journal_write_failed(struct journal *j, int rc) {
	if (!j->failed)
		log_line(LOG_LINE_ERROR, "%s/" JOURNAL_FILE ": cannot be written: %s", j->dir, strerror(-rc));
	j->failed = j->whole = true;
}

static void journal_write_done(void *arg, bool cancelled) {
	struct journal_write *w = arg;
	struct journal *j = w->j;
	j->busy = false;
	if (w->rc)
		journal_write_failed(j, w->rc);
	else if (cancelled)
		j->whole = true; /* journal_destroy writes it */
	else
		j->failed = false;
	if (w->rc == 0 && !cancelled)
		journal_save(j);
	journal_bytes_free(&w->bytes);
	free(w);
}

static void journal_save(struct journal *j) {
	if (!j->executor || j->busy || j->ending || (!j->whole && j->unsaved.len == 0))
		return;
	struct journal_write *w = calloc(1, sizeof *w);
	int rc = w ? journal_take_unsaved(j, &w->bytes, &w->whole) : -ENOMEM;
	if (rc == 0) {
		w->j = j;
		rc = executor_submit(j->executor, journal_write_run, journal_write_done, w);
	}
	j->busy = rc == 0;
	if (rc) {
		journal_write_failed(j, rc);
		if (w)
			journal_bytes_free(&w->bytes);
		free(w);
	}
}

/* ---- events ---- */

const Caravan__Event *journal_at(const struct journal *j, size_t i) {
	return i < j->n ? j->event[(j->first + i) % JOURNAL_EVENTS] : NULL;
}

uint64_t journal_id(const struct journal *j) {
	return j->id;
}

void journal_watch(struct journal *j, void (*fn)(void *arg, const Caravan__Event *e), void *arg) {
	j->watch = fn;
	j->watch_arg = arg;
}

static void journal_keep(struct journal *j, Caravan__Event *e) {
	if (j->n == JOURNAL_EVENTS) {
		caravan__event__free_unpacked(j->event[j->first], NULL);
		j->first = (j->first + 1) % JOURNAL_EVENTS;
		j->n--;
	}
	j->event[(j->first + j->n++) % JOURNAL_EVENTS] = e;
	j->serial = e->serial;
}

/* Takes over an event that was just said. */
static void journal_add(struct journal *j, Caravan__Event *e) {
	e->serial = j->serial + 1;
	journal_keep(j, e);
	if (j->dir && !j->whole && journal_encode(&j->unsaved, e))
		j->whole = true;
	j->appended++;
	if (j->appended >= JOURNAL_EVENTS)
		j->whole = true;
	journal_save(j);
	if (j->watch)
		j->watch(j->watch_arg, e);
}

static struct said *journal_next_said(struct journal *j) {
	pthread_mutex_lock(&j->lock);
	struct said *s = STAILQ_FIRST(&j->said);
	if (s)
		STAILQ_REMOVE_HEAD(&j->said, next);
	pthread_mutex_unlock(&j->lock);
	return s;
}

static void journal_take_said(struct journal *j) {
	for (struct said *s; (s = journal_next_said(j)); free(s))
		journal_add(j, s->event);
}

static void journal_free(struct journal *j) {
	pthread_mutex_destroy(&j->lock);
	free(j->dir);
	free(j);
}

static void journal_on_post(void *arg) {
	struct journal *j = arg;
	pthread_mutex_lock(&j->lock);
	bool over = --j->posts == 0 && j->ended;
	pthread_mutex_unlock(&j->lock);
	if (over)
		journal_free(j);
	else if (!j->ended)
		journal_take_said(j);
}

/* Out of memory: taken with the next. */
static void journal_post(struct journal *j) {
	pthread_mutex_lock(&j->lock);
	j->posts += loop_post(j->loop, journal_on_post, j) == 0;
	pthread_mutex_unlock(&j->lock);
}

static double journal_machine_time(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Whether one more event that others cause is taken. */
static bool journal_allows(struct journal *j) {
	pthread_mutex_lock(&j->lock);
	uint64_t now = loop_now_ns(), gained = (now - j->refilled_ns) / REFILL_NS;
	if (gained) {
		j->tokens = gained > BURST - j->tokens ? BURST : j->tokens + (unsigned)gained;
		j->refilled_ns = now;
	}
	bool allowed = j->tokens > 0;
	j->tokens -= allowed;
	pthread_mutex_unlock(&j->lock);
	return allowed;
}

static double journal_seconds(double s) {
	return isfinite(s) && s > 0 ? fmin(s, 1e9) : 0;
}

/* As the wire has texts: one line of UTF-8. */
static void journal_make_line(char *text, size_t max) {
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	wire_line_cut(text, max);
	for (char *c = text; *c && !wire_line_ok(text, max); c++)
		if ((unsigned char)*c > 0x7e)
			*c = '?';
}

static Caravan__Event *journal_make(const struct journal *j, const struct journal_event *what, char *text) {
	Caravan__Event e = CARAVAN__EVENT__INIT;
	Caravan__EventPart part[WIRE_EVENT_PARTS_MAX], *parts[WIRE_EVENT_PARTS_MAX];
	e.serial = 1; /* until it is added */
	e.time = j->time();
	e.kind = wire_string(kinds[what->kind].name);
	e.severity = what->level <= LOG_LINE_INFO ? what->level : LOG_LINE_INFO;
	e.model = wire_string(what->model && wire_name_ok(what->model) ? what->model : "");
	e.node = wire_string(what->node && wire_name_ok(what->node) ? what->node : "");
	e.text = text;
	e.seconds = journal_seconds(what->seconds);
	e.moved = what->moved;
	e.parts = parts;
	while (e.n_parts < WIRE_EVENT_PARTS_MAX && what->parts[e.n_parts].name) {
		Caravan__EventPart *p = parts[e.n_parts] = &part[e.n_parts];
		caravan__event_part__init(p);
		p->name = wire_string(what->parts[e.n_parts].name);
		p->seconds = journal_seconds(what->parts[e.n_parts].seconds);
		e.n_parts++;
	}
	return journal_event_copy(&e);
}

void journal_say(struct journal *j, const struct journal_event *what, const char *fmt, ...) {
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (what->others)
		log_others(what->level, "%s", text);
	else
		log_line(what->level, "%s", text);
	if (!j || (what->others && !journal_allows(j)))
		return;
	journal_make_line(text, WIRE_EVENT_TEXT_MAX);
	struct said *s = calloc(1, sizeof *s);
	if (!s || !(s->event = journal_make(j, what, text))) {
		free(s);
		return;
	}
	pthread_mutex_lock(&j->lock);
	STAILQ_INSERT_TAIL(&j->said, s, next);
	pthread_mutex_unlock(&j->lock);
	if (loop_on_thread(j->loop))
		journal_take_said(j);
	else
		journal_post(j);
}

/* ---- life ---- */

static void journal_take_record(void *arg, Caravan__Event *e) {
	struct journal *j = arg;
	if (e->serial > j->serial)
		journal_keep(j, e);
	else /* a record that was written twice */
		caravan__event__free_unpacked(e, NULL);
	j->appended++;
}

static void journal_load(struct journal *j) {
	char path[PATH_MAX];
	uint8_t *data = NULL;
	size_t len = 0, damaged = 0;
	snprintf(path, sizeof path, "%s/" JOURNAL_FILE, j->dir);
	int rc = durable_read(AT_FDCWD, path, FILE_MAX, &data, &len);
	if (rc == 0)
		j->id = journal_decode(data, len, journal_take_record, j, &damaged);
	free(data);
	if (damaged || (rc && rc != -ENOENT))
		log_line(LOG_LINE_WARN, "%s: %s: earlier events are missing", path,
		        damaged ? "it is damaged" : strerror(-rc));
	j->serial += LOST_MAX;
	j->whole = rc || damaged || !j->id || j->appended >= JOURNAL_EVENTS;
}

int journal_create(struct journal **out, const struct journal_config *c, char *err, size_t errlen) {
	struct journal *j = calloc(1, sizeof *j);
	int rc = -ENOMEM;
	if (!j)
		return fail_memory(err, errlen, "the journal of events");
	j->loop = c->loop;
	j->time = c->time ? c->time : journal_machine_time;
	j->tokens = BURST;
	STAILQ_INIT(&j->said);
	pthread_mutex_init(&j->lock, NULL);
	if (c->state_dir) {
		if (!(j->dir = strdup(c->state_dir)) || (rc = executor_create(&j->executor, j->loop)) != 0)
			goto error;
		journal_load(j);
	}
	while (!j->id)
		if (RAND_bytes((unsigned char *)&j->id, sizeof j->id) != 1) {
			rc = -EIO;
			goto error;
		}
	journal_save(j);
	*out = j;
	return 0;
error:
	journal_destroy(j);
	return fail_with(rc, err, errlen, "the journal of events: %s", strerror(-rc));
}

void journal_destroy(struct journal *j) {
	struct journal_bytes left;
	bool whole;
	if (!j)
		return;
	j->ending = true;
	executor_destroy(j->executor);
	journal_watch(j, NULL, NULL);
	journal_take_said(j);
	if (j->dir && (j->whole || j->unsaved.len)) {
		int rc = journal_take_unsaved(j, &left, &whole);
		rc = rc ? rc : journal_write_now(j->dir, &left, whole);
		if (rc)
			journal_write_failed(j, rc);
		journal_bytes_free(&left);
	}
	journal_bytes_free(&j->unsaved);
	while (j->n)
		caravan__event__free_unpacked(j->event[(j->first + --j->n) % JOURNAL_EVENTS], NULL);
	pthread_mutex_lock(&j->lock);
	j->ended = true;
	bool over = j->posts == 0;
	pthread_mutex_unlock(&j->lock);
	if (over)
		journal_free(j);
}
