/* scrub: see scrub.h. */
#include "daemon/scrub/scrub.h"

#include "common/size.h"
#include "daemon/core/log.h"
#include "kernels/thread.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 250
#define WATCH_NS 500000000ull           /* between checks of the tensors in use */
#define SEEN_NS (4 * WATCH_NS)          /* damaged tensors in use are reported at least this often */
#define PASS_NS (86400ull * 1000000000) /* between passes over everything */
#define FOUND_MAX 64

/* What the thread reports to the loop. */
struct finding {
	struct content_id id;
	bool blob, used;
	char what[64]; /* empty: damage that was reported before continues */
	STAILQ_ENTRY(finding) next;
};

/* A tensor that the store has lost. */
struct repair {
	struct scrub *scrub;
	struct content_id id;
	bool used; /* in use here: fetched until that succeeds or it is not needed any more */
	uint64_t seen_ns, again_ns;
	uint64_t whole_ns; /* when it was restored: earlier findings are out of date.  0: not restored */
	bool reported;
	struct fetch *fetch;
	bool at_executor;
	int rc;
	LIST_ENTRY(repair) next;
};

struct scrub {
	struct scrub_config c;
	pthread_t thread;
	bool running;
	struct loop_timer *tick;
	LIST_HEAD(, repair) repairs;
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t wake;
	bool stop;
	STAILQ_HEAD(, finding) found;
	struct content_id *wanted; /* ascending */
	size_t nwanted;
};

/* Any thread. */
__attribute__((format(printf, 4, 5))) static void scrub_say(
        struct scrub *s, enum journal_kind kind, enum log_level level, const char *fmt, ...) {
	char text[WIRE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	journal_say(members_journal(s->c.members), &(struct journal_event){.kind = kind, .level = level},
	        "%s", text);
}

/* ---- the thread ---- */

static void scrub_report(
        struct scrub *s, const struct content_id *id, bool blob, bool used, const char *what) {
	struct finding *f = calloc(1, sizeof *f);
	if (!f)
		return; /* the next pass finds it again */
	f->id = *id;
	f->blob = blob;
	f->used = used;
	snprintf(f->what, sizeof f->what, "%s", what);
	pthread_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->found, f, next);
	pthread_mutex_unlock(&s->lock);
}

/* Waits this long, or until scrub is stopped: then true. */
static bool scrub_stopped_within(struct scrub *s, uint64_t ns) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	ns += (uint64_t)t.tv_nsec;
	t.tv_sec += (time_t)(ns / 1000000000);
	t.tv_nsec = (long)(ns % 1000000000);
	pthread_mutex_lock(&s->lock);
	while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &t) == 0)
		;
	bool stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return stop;
}

/* Checks the tensors in use from time to time. */
static void scrub_watch(struct scrub *s, uint64_t *next) {
	struct content_id id[FOUND_MAX];
	uint64_t now = loop_now_ns();
	if (now < *next)
		return;
	*next = now + WATCH_NS;
	size_t n = store_find_damaged(s->c.store, id, FOUND_MAX);
	for (size_t i = 0; i < n; i++)
		scrub_report(s, &id[i], false, true, "");
}

/* Pauses for as long as `bytes` may take at the configured rate, watching meanwhile; true: stopped. */
static bool scrub_rest(struct scrub *s, uint64_t bytes, uint64_t since, uint64_t *next_watch) {
	uint64_t until = since + (uint64_t)((double)bytes / (double)s->c.rate * 1e9);
	for (;;) {
		uint64_t now = loop_now_ns();
		scrub_watch(s, next_watch);
		if (scrub_stopped_within(
		            s, now < until ? until - now < WATCH_NS ? until - now : WATCH_NS : 0))
			return true;
		if (loop_now_ns() >= until)
			return false;
	}
}

static bool scrub_check_heads(struct scrub *s) {
	struct content_id *id = NULL;
	size_t count = 0;
	if (store_list_tensors(s->c.store, &id, &count))
		return false;
	bool stop = false;
	for (size_t i = 0; i < count && !stop; i++) {
		int rc = store_check_head(s->c.store, &id[i]);
		if (rc == -EBADMSG)
			scrub_report(s, &id[i], false, false, "is incomplete: its head or length is wrong");
		else if (rc == -ESTALE)
			scrub_report(s, &id[i], false, false, "has an unknown layout");
		/* STORE_OLDER: left for the next start to convert; this one has logged why it could not */
		stop = scrub_stopped_within(s, 0);
	}
	free(id);
	return stop;
}

static bool scrub_check_tensor(struct scrub *s, const struct content_id *id, uint64_t *next_watch) {
	struct store_tensor *t;
	char err[200];
	if (store_open_tensor(s->c.store, id, &t, err, sizeof err))
		return false; /* it was removed, or the check of heads will find it */
	void *buf = malloc(store_check_buffer_bytes(t));
	int rc = 0;
	bool stop = !buf;
	for (uint32_t i = 0; i < t->record.chunks && !stop && rc == 0; i++) {
		uint64_t first, rows, bytes, since = loop_now_ns();
		content_chunk_extent(&t->record, i, &first, &rows, &bytes);
		rc = store_check_chunk(t, i, buf);
		stop = scrub_rest(s, bytes, since, next_watch);
	}
	if (rc == -EBADMSG || rc == -EIO) {
		store_drop_tensor(s->c.store, t);
		scrub_report(s, id, false, false,
		        rc == -EBADMSG ? "is corrupt: its content does not match its name"
		                       : "cannot be read");
	} /* any other failure (no memory, say) tells nothing of the file */
	free(buf);
	store_unmap_tensor(t);
	return stop && buf;
}

static bool scrub_check_blob(struct scrub *s, const struct content_id *id, uint64_t *next_watch) {
	uint64_t since = loop_now_ns();
	uint8_t *data = NULL;
	size_t len = 0;
	int rc = store_get_blob(s->c.store, id, &data, &len);
	if (rc == -EBADMSG)
		scrub_report(s, id, true, false, "is corrupt: its content does not match its name");
	free(data);
	return scrub_rest(s, len, since, next_watch);
}

static bool scrub_pass(struct scrub *s, uint64_t *next_watch) {
	struct content_id *id = NULL;
	size_t count = 0;
	bool stop = false;
	if (store_list_blobs(s->c.store, &id, &count) == 0)
		for (size_t i = 0; i < count && !stop; i++)
			stop = scrub_check_blob(s, &id[i], next_watch);
	free(id);
	id = NULL;
	if (!stop && store_list_tensors(s->c.store, &id, &count) == 0)
		for (size_t i = 0; i < count && !stop; i++)
			stop = scrub_check_tensor(s, &id[i], next_watch);
	free(id);
	return stop;
}

static void *scrub_thread(void *arg) {
	struct scrub *s = arg;
	char err[200];
	uint64_t next_watch = 0;
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
	bool stop = scrub_check_heads(s);
	while (!stop) {
		uint64_t begin = loop_now_ns();
		stop = scrub_pass(s, &next_watch);
		/* by now the content that the cluster's models need is known */
		if (!stop && s->c.cache && store_make_space(s->c.store, 0, err, sizeof err))
			log_line(LOG_LINE_WARN, "%s", err);
		while (!stop && loop_now_ns() - begin < PASS_NS) {
			scrub_watch(s, &next_watch);
			stop = scrub_stopped_within(s, WATCH_NS);
		}
	}
	return NULL;
}

/* ---- callbacks of the store: on whichever thread writes ---- */

static bool scrub_is_wanted(void *arg, const struct content_id *id) {
	struct scrub *s = arg;
	pthread_mutex_lock(&s->lock);
	bool found = s->nwanted && bsearch(id, s->wanted, s->nwanted, sizeof *id, content_compare);
	pthread_mutex_unlock(&s->lock);
	return found;
}

static void scrub_on_evicted(void *arg, const struct content_id *id, uint64_t bytes, bool wanted) {
	char hex[CONTENT_HEX];
	content_hex(id, hex);
	if (wanted)
		scrub_say(arg, EVENT_CONTENT_EVICTED, LOG_LINE_WARN,
		        "the store is full: evicted tensor %.16s (%s), which a model of this cluster needs; it may have been the last copy",
		        hex, size_text((double)bytes).s);
	else
		log_line(LOG_LINE_INFO,
		        "the store is full: evicted tensor %.16s (%s), which no model known here needs", hex,
		        size_text((double)bytes).s);
}

void scrub_models_changed(struct scrub *s) {
	const struct manifest *mf;
	size_t capacity = 0, n = 0;
	if (!s->c.cache || !s->c.model)
		return;
	for (size_t i = 0; (mf = s->c.model(s->c.arg, i)); i++)
		capacity += manifest_tensors(mf);
	struct content_id *ids = malloc((capacity + 1) * sizeof *ids);
	if (!ids)
		return;
	for (size_t i = 0; (mf = s->c.model(s->c.arg, i)); i++)
		for (size_t k = 0; k < manifest_tensors(mf); k++)
			ids[n++] = manifest_tensor_at(mf, k)->id;
	qsort(ids, n, sizeof *ids, content_compare);
	pthread_mutex_lock(&s->lock);
	struct content_id *old = s->wanted;
	s->wanted = ids;
	s->nwanted = n;
	pthread_mutex_unlock(&s->lock);
	free(old);
}

/* ---- fetching again ---- */

static void repair_free(struct repair *r) {
	LIST_REMOVE(r, next);
	free(r);
}

/* Executor. */
static void repair_renew_run(void *arg) {
	struct repair *r = arg;
	r->rc = store_renew_tensor(r->scrub->c.store, &r->id);
}

static void repair_renew_done(void *arg, bool cancelled) {
	struct repair *r = arg;
	char hex[CONTENT_HEX];
	r->at_executor = false;
	if (cancelled)
		return;
	content_hex(&r->id, hex);
	if (r->rc == 0) {
		scrub_say(r->scrub, EVENT_CONTENT_REPAIRED, LOG_LINE_INFO,
		        "tensor %.16s has been fetched again", hex);
		r->whole_ns = loop_now_ns();
		return;
	}
	log_line(LOG_LINE_WARN, "tensor %.16s: the new file cannot be used: %s", hex, strerror(-r->rc));
	r->again_ns = loop_now_ns() + SCRUB_AGAIN_MS * 1000000ull;
}

static void repair_fetched(void *arg, const char *error, uint64_t moved) {
	struct repair *r = arg;
	(void)moved;
	r->fetch = NULL;
	if (!error) {
		r->at_executor =
		        executor_submit(r->scrub->c.executor, repair_renew_run, repair_renew_done, r) == 0;
		return;
	}
	if (!r->reported)
		log_line(LOG_LINE_WARN, "%s%s", error, r->used ? "; models that need it wait for it" : "");
	r->reported = true;
	r->again_ns = loop_now_ns() + SCRUB_AGAIN_MS * 1000000ull;
	if (!r->used)
		repair_free(r);
}

static void repair_fetch(struct repair *r) {
	struct scrub *s = r->scrub;
	struct node_id source[WIRE_NODES_MAX];
	struct manifest_tensor want = {.id = r->id};
	const struct member *who;
	char hex[CONTENT_HEX], subject[64];
	size_t n = 0;
	for (size_t i = 0; (who = members_at(s->c.members, i)) && n < WIRE_NODES_MAX; i++)
		if (!who->self && who->up)
			source[n++] = who->id;
	snprintf(subject, sizeof subject, "repairing the store: tensor %.16s", content_hex(&r->id, hex));
	struct transfer_request request = {.subject = subject,
	        .tensor = &want,
	        .tensors = 1,
	        .source = source,
	        .sources = n,
	        .done = repair_fetched,
	        .arg = r};
	if (transfer_fetch(s->c.transfer, &request, &r->fetch)) {
		r->fetch = NULL;
		r->again_ns = loop_now_ns() + SCRUB_AGAIN_MS * 1000000ull;
	}
}

static void scrub_take_finding(struct scrub *s, const struct finding *f) {
	char hex[CONTENT_HEX];
	struct repair *l = LIST_FIRST(&s->repairs);
	content_hex(&f->id, hex);
	while (l && !content_equal(&l->id, &f->id))
		l = LIST_NEXT(l, next);
	if (*f->what)
		scrub_say(s, EVENT_CONTENT_DAMAGED, LOG_LINE_WARN, "the store's %s %.16s %s; it is dropped",
		        f->blob ? "blob" : "tensor", hex, f->what);
	else if (!l)
		scrub_say(s, EVENT_CONTENT_DAMAGED, LOG_LINE_WARN,
		        "the store's tensor %.16s is corrupt while it is in use", hex);
	if (f->blob) /* blobs are small; whoever needs one fetches it */
		return;
	if (!l && (l = calloc(1, sizeof *l))) {
		l->scrub = s;
		l->id = f->id;
		LIST_INSERT_HEAD(&s->repairs, l, next);
	}
	if (l && *f->what)
		l->whole_ns = 0;
	if (l) {
		l->used |= f->used;
		l->seen_ns = f->used ? loop_now_ns() : l->seen_ns;
	}
}

/* Takes the oldest, or NULL; the caller frees it. */
static struct finding *scrub_next_finding(struct scrub *s) {
	pthread_mutex_lock(&s->lock);
	struct finding *f = STAILQ_FIRST(&s->found);
	if (f)
		STAILQ_REMOVE_HEAD(&s->found, next);
	pthread_mutex_unlock(&s->lock);
	return f;
}

static void scrub_tick(void *arg) {
	struct scrub *s = arg;
	uint64_t now = loop_now_ns();
	for (struct finding *f; (f = scrub_next_finding(s)); free(f))
		scrub_take_finding(s, f);
	for (struct repair *r = LIST_FIRST(&s->repairs), *next; r; r = next) {
		next = LIST_NEXT(r, next);
		if (r->fetch || r->at_executor || now < r->again_ns)
			continue;
		if (r->whole_ns) {
			if (now - r->whole_ns > SEEN_NS)
				repair_free(r);
			continue;
		}
		if (r->used && now > r->seen_ns && now - r->seen_ns > SEEN_NS)
			repair_free(r); /* no longer in use, or already renewed */
		else
			repair_fetch(r);
	}
}

/* ---- making it ---- */

int scrub_create(struct scrub **out, const struct scrub_config *c, char *err, size_t errlen) {
	struct scrub *m = calloc(1, sizeof *m);
	pthread_condattr_t attr;
	int rc = -ENOMEM;
	if (!m)
		goto error;
	m->c = *c;
	m->c.rate = c->rate ? c->rate : SCRUB_RATE;
	STAILQ_INIT(&m->found);
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->wake, &attr);
	pthread_condattr_destroy(&attr);
	store_set_limit(c->store, &(struct store_limit){.bytes = c->cache,
	                                  .wanted = c->model ? scrub_is_wanted : NULL,
	                                  .evicted = scrub_on_evicted,
	                                  .arg = m});
	scrub_models_changed(m);
	if (!(m->tick = loop_timer_start(c->loop, TICK_MS, true, scrub_tick, m)))
		goto error;
	if ((rc = thread_start(&m->thread, NULL, scrub_thread, m)))
		goto error;
	m->running = true;
	*out = m;
	return 0;
error:
	snprintf(err, errlen, "cannot scrub the store: %s", strerror(-rc));
	scrub_destroy(m);
	return rc;
}

void scrub_destroy(struct scrub *s) {
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (s->running)
		pthread_join(s->thread, NULL);
	loop_timer_stop(s->tick);
	store_set_limit(s->c.store, &(struct store_limit){0});
	while (!LIST_EMPTY(&s->repairs)) {
		struct repair *r = LIST_FIRST(&s->repairs);
		transfer_cancel(r->fetch);
		repair_free(r);
	}
	for (struct finding *f; (f = scrub_next_finding(s));)
		free(f);
	free(s->wanted);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
