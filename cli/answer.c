/* answer: see answer.h. */
#include "cli/answer.h"
#include "cli/args.h"
#include "cli/glance.h"
#include "cli/progress.h"
#include "cli/waiting.h"
#include "common/size.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SILENCE_MS (1000 * WAITING_SILENT_S)
#define GLANCE_MS 300 /* Ctrl-C waits for it */

static bool answer_has_cursor(void) {
	const char *term = getenv("TERM");
	return term && *term && strcmp(term, "dumb") != 0;
}

bool answer_may_dim(int fd) {
	const char *no_color = getenv("NO_COLOR");
	return isatty(fd) && !(no_color && *no_color) && answer_has_cursor();
}

/* ---- what is said besides the answer --------------------------------------------------------------- */

struct watch {
	struct client *client;
	const char *model;
	bool begun;           /* some text has come */
	bool note;            /* what is said is of silence */
	double last, longest; /* when text came last, and the longest wait for it after the first; seconds */
};

static double watch_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void watch_text(struct watch *w) {
	double now = watch_now();
	if (w->begun && now - w->last > w->longest)
		w->longest = now - w->last;
	w->last = now;
	w->begun = true;
}

/* A place in the queue. */
static void watch_say_place(const Caravan__Queued *q) {
	char text[96];
	int n = snprintf(text, sizeof text, "waiting: place %u", q->place);
	if (q->seconds > 0)
		snprintf(text + n, sizeof text - (size_t)n, ", about %s", size_time(q->seconds).s);
	progress_say(text, answer_may_dim(STDERR_FILENO), false);
}

/* What the daemon knows of it; false: nothing. */
static bool watch_trouble(const struct watch *w, char *out, size_t size) {
	struct sockaddr_un at = {0};
	socklen_t len = sizeof at;
	struct report r;
	if (w->client->daemon > 0 || getpeername(w->client->fd, (struct sockaddr *)&at, &len) != 0)
		return false;
	if (!glance_report(&r, &at, GLANCE_MS)) {
		snprintf(out, size, "the daemon does not answer");
		return true;
	}
	bool found = waiting_trouble(out, size, &r, w->model);
	report_clear(&r);
	return found;
}

/* Without a reason to wait longer, a place in the queue or the part of a prompt that is computed stays, and an answer that comes slowly
 * may be as slow as it is. */
static void watch_on_silence(void *arg) {
	struct watch *w = arg;
	char why[300], text[320];
	if (watch_trouble(w, why, sizeof why))
		snprintf(text, sizeof text, "waiting: %s", why);
	else if (progress_standing() && !w->note)
		return;
	else if (w->begun && watch_now() - w->last < 2 * w->longest)
		return;
	else
		snprintf(text, sizeof text, "waiting for the %s word", w->begun ? "next" : "first");
	progress_say(text, answer_may_dim(STDERR_FILENO), w->begun);
	w->note = true;
}

/* ---- messages ---------------------------------------------------------------------------------------- */

static void answer_refused(struct answer_end *end, const char *why, bool too_long) {
	end->outcome = ANSWER_REFUSED;
	end->too_long = too_long;
	snprintf(end->error, sizeof end->error, "%s", why);
}

static void answer_ended(struct answer_end *end, const Caravan__Finished *finished) {
	if (!finished) {
		answer_refused(end, "the daemon sent no result", false);
		return;
	}
	end->outcome = ANSWER_ENDED;
	end->finished = *finished;
	end->finished.error = NULL;
}

/* A message of the answer; true: it was the last. */
static bool answer_take(struct answer_end *end, struct watch *w, const Caravan__Envelope *env,
        answer_text_fn *text, void *arg, const uint8_t *payload, size_t len) {
	switch (env->body_case) {
	case CARAVAN__ENVELOPE__BODY_CTL_PROGRESS:
		progress_show(env->ctl_progress);
		return false;
	case CARAVAN__ENVELOPE__BODY_QUEUED:
		watch_say_place(env->queued);
		return false;
	case CARAVAN__ENVELOPE__BODY_CTL_TEXT:
		end->left = text(arg, env->ctl_text->reasoning, payload, len);
		end->outcome = ANSWER_LEFT;
		watch_text(w);
		return end->left != 0;
	case CARAVAN__ENVELOPE__BODY_CTL_END:
		answer_ended(end, env->ctl_end->finished);
		return true;
	case CARAVAN__ENVELOPE__BODY_CTL_ERROR:
		answer_refused(end, env->ctl_error->message, env->ctl_error->too_long);
		return true;
	default:
		return false;
	}
}

void answer_receive(
        struct client *c, const char *model, answer_text_fn *text, void *arg, struct answer_end *end) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	struct watch w = {.client = c, .model = model};
	bool more = true;
	*end = (struct answer_end){0};
	if (isatty(STDERR_FILENO) && answer_has_cursor())
		client_on_silence(SILENCE_MS, watch_on_silence, &w);
	while (more && (env = client_next(c, &payload, &len))) {
		if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_PROGRESS)
			progress_clear();
		w.note = false;
		more = !answer_take(end, &w, env, text, arg, payload, len);
	}
	client_on_silence(0, NULL, NULL);
	progress_clear();
	if (more)
		end->outcome = ANSWER_LOST;
}
