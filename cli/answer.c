/* answer: see answer.h. */
#include "cli/answer.h"
#include "cli/args.h"
#include "cli/progress.h"
#include "common/size.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool answer_may_dim(void) {
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && *term &&
	       strcmp(term, "dumb") != 0;
}

/* Shows the place in the queue on one line, which is cleared again. */
static void answer_show_place(const Caravan__Queued *q) {
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "waiting: place %u", q->place);
	if (q->seconds > 0)
		fprintf(stderr, ", about %s", size_time(q->seconds).s);
	fflush(stderr);
}

static void answer_hide_place(void) {
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

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
static bool answer_take(struct answer_end *end, const Caravan__Envelope *env, answer_text_fn *text, void *arg,
        const uint8_t *payload, size_t len) {
	switch (env->body_case) {
	case CARAVAN__ENVELOPE__BODY_CTL_PROGRESS:
		progress_show(env->ctl_progress);
		return false;
	case CARAVAN__ENVELOPE__BODY_QUEUED:
		answer_show_place(env->queued);
		return false;
	case CARAVAN__ENVELOPE__BODY_CTL_TEXT:
		end->left = text(arg, env->ctl_text->reasoning, payload, len);
		end->outcome = ANSWER_LEFT;
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

void answer_receive(struct client *c, answer_text_fn *text, void *arg, struct answer_end *end) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	bool waits = false;
	*end = (struct answer_end){0};
	while ((env = client_next(c, &payload, &len))) {
		if (waits)
			answer_hide_place();
		waits = env->body_case == CARAVAN__ENVELOPE__BODY_QUEUED;
		if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_PROGRESS)
			progress_clear();
		if (answer_take(end, env, text, arg, payload, len))
			return;
	}
	end->outcome = ANSWER_LOST;
	progress_clear();
	if (waits)
		answer_hide_place();
}
