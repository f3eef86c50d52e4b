/* roster_save: writes the roster and the API keys to disk, off the loop.
 *
 * Owns: an executor of its own, since others are busy for minutes.  At most one write is under way, of the
 * roster as it was when the write began.  Another one follows if the roster changed meanwhile.
 * Invariants: each waiter is notified once: when its version has been written, or when such a write failed.
 * A failed write is retried until it succeeds.
 * Threads: the loop, except save_write_run, which runs on the executor. */
#include "config.h"

#include "common/durable.h"
#include "daemon/core/log.h"
#include "daemon/members/members_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_MS 3000 /* before a failed write is retried */

struct save_waiter {
	uint64_t version;
	members_saved_fn *fn;
	void *arg;
	STAILQ_ENTRY(save_waiter) next;
};

struct write {
	struct members *m;
	uint64_t version;
	char *dir;
	uint8_t *frame, *keys; /* keys NULL: there never were any */
	size_t len, keys_len;
	const char *what; /* the file that could not be written */
	int rc;
};

static void members_save_begin(struct members *m);

static void members_save_again(void *arg) {
	struct members *m = arg;
	m->save.again = NULL;
	members_save_begin(m);
}

/* Notifies everybody who waits for this version or an older one. */
static void members_save_notify(struct members *m, uint64_t version, const char *error) {
	STAILQ_HEAD(, save_waiter) due = STAILQ_HEAD_INITIALIZER(due);
	struct save_waiter *w;
	while ((w = STAILQ_FIRST(&m->save.waiters)) && w->version <= version) {
		STAILQ_REMOVE_HEAD(&m->save.waiters, next);
		STAILQ_INSERT_TAIL(&due, w, next);
	}
	while ((w = STAILQ_FIRST(&due))) {
		STAILQ_REMOVE_HEAD(&due, next);
		w->fn(w->arg, error);
		free(w);
	}
}

static void members_save_run(void *arg) {
	struct write *w = arg;
	int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->what = "roster";
	w->rc = dir < 0 ? -errno : durable_write(dir, w->what, w->frame, w->len);
	if (w->rc == 0 && w->keys) {
		w->what = "api-keys";
		w->rc = durable_write(dir, w->what, w->keys, w->keys_len);
	}
	if (dir >= 0)
		close(dir);
}

static void members_save_free(struct write *w) {
	free(w->dir);
	free(w->frame);
	free(w->keys);
	free(w);
}

static void members_save_failed(struct members *m, uint64_t version, const char *what, int rc) {
	char error[PATH_MAX + 200];
	snprintf(error, sizeof error, "%s/%s could not be written (%s); retrying", m->state_dir, what,
	        strerror(-rc));
	journal_say(m->config.journal, &(struct journal_event){.kind = EVENT_ERROR, .level = LOG_LINE_ERROR},
	        "%s", error);
	if (!m->save.again)
		m->save.again = loop_timer_start(m->config.loop, AGAIN_MS, false, members_save_again, m);
	members_save_notify(m, version, error);
}

static void members_save_done(void *arg, bool cancelled) {
	struct write *w = arg;
	struct members *m = w->m;
	uint64_t version = w->version;
	int rc = w->rc;
	const char *what = w->what;
	m->save.busy = false;
	members_save_free(w);
	if (cancelled)
		return; /* members_save_end writes what is left */
	if (rc) {
		members_save_failed(m, version, what, rc);
		return;
	}
	m->save.written = version;
	members_save_notify(m, version, NULL);
	members_save_begin(m);
}

static void members_save_begin(struct members *m) {
	if (m->save.busy || m->save.written == m->save.version || m->save.again || m->save.ending)
		return;
	struct write *w = calloc(1, sizeof *w);
	int rc = w && (w->dir = strdup(m->state_dir)) ? 0 : -ENOMEM;
	if (rc == 0)
		rc = roster_pack(&m->roster, &w->frame, &w->len);
	if (rc == 0 && m->keys_saved)
		rc = api_keys_pack(m->keys, &w->keys, &w->keys_len);
	if (rc == 0) {
		w->m = m;
		w->version = m->save.version;
		rc = executor_submit(m->save.executor, members_save_run, members_save_done, w);
	}
	m->save.busy = rc == 0;
	if (rc) {
		if (w)
			members_save_free(w);
		members_save_failed(m, m->save.version, "roster", rc);
	}
}

void members_save(struct members *m) {
	if (!m->state_dir || m->save.gone)
		return;
	m->save.version++;
	members_save_begin(m);
}

void members_saved(struct members *m, members_saved_fn *fn, void *arg) {
	struct save_waiter *w = m->state_dir && m->save.written != m->save.version ? malloc(sizeof *w) : NULL;
	if (!w) { /* nothing to wait for, or out of memory */
		fn(arg, NULL);
		return;
	}
	*w = (struct save_waiter){.version = m->save.version, .fn = fn, .arg = arg};
	STAILQ_INSERT_TAIL(&m->save.waiters, w, next);
	if (!m->save.again)
		return;
	/* the last write failed: a new request retries at once */
	loop_timer_stop(m->save.again);
	m->save.again = NULL;
	members_save_begin(m);
}

int members_save_init(struct members *m, char *err, size_t errlen) {
	int rc = m->state_dir ? executor_create(&m->save.executor, m->config.loop) : 0;
	if (rc)
		snprintf(err, errlen, "cannot start a thread: %s", strerror(-rc));
	return rc;
}

void members_save_end(struct members *m) {
	char err[PATH_MAX + 200];
	if (!m->save.executor)
		return;
	loop_timer_stop(m->save.again);
	m->save.again = NULL;
	m->save.ending = true;
	executor_destroy(m->save.executor);
	m->save.executor = NULL;
	if (m->save.written != m->save.version && !m->save.gone) {
		if (roster_save(&m->roster, m->state_dir, err, sizeof err) == 0 &&
		        (!m->keys_saved || api_keys_save(m->keys, m->state_dir, err, sizeof err) == 0))
			m->save.written = m->save.version;
		else
			log_line(LOG_LINE_ERROR, "%s", err);
	}
	for (struct save_waiter *w; (w = STAILQ_FIRST(&m->save.waiters));) {
		STAILQ_REMOVE_HEAD(&m->save.waiters, next);
		w->fn(w->arg, m->save.written == m->save.version ? NULL : "the daemon ends");
		free(w);
	}
}
