/* answer: see answer.h. */
#include "daemon/api/routes/answer.h"
#include "daemon/api/routes/streams.h"
#include "daemon/core/log.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RESUME_DIGITS 9
#define RESUME_RETRY_S 5

/* ---- errors -------------------------------------------------------------------------------------- */

json_t *answer_string(const char *s, size_t len) {
	if (utf8_valid(s, len))
		return json_stringn(s, len);
	char *copy = malloc(len + 1);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < len; i++)
		copy[i] = (char)(s[i] & 0x80 ? '?' : s[i]);
	json_t *o = json_stringn(copy, len);
	free(copy);
	return o;
}

void answer_error(struct http_exchange *x, const struct dialect *d, const struct reply_error *e) {
	char after[16];
	if (e->retry_after) {
		snprintf(after, sizeof after, "%u", e->retry_after);
		http_reply_header(x, "Retry-After", after);
	}
	http_reply_json(x, e->status, d->error(e));
}

void answer_refuse(struct http_exchange *x, struct routes *r, const struct dialect *d, enum answer_need need,
        const struct reply_error *e) {
	if (need == NEED_COMPLETION || need == NEED_EMBEDDINGS)
		metrics_answered(&r->metrics,
		        need == NEED_COMPLETION ? METRICS_COMPLETION : METRICS_EMBEDDINGS, d->api, e->status);
	answer_error(x, d, e);
}

void answer_fields_error(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct fields *f, enum answer_need need) {
	answer_refuse(x, r, d, need,
	        &(struct reply_error){.status = f->status,
	                .param = *f->param ? f->param : NULL,
	                .text = f->status == 500 ? "out of memory" : f->error});
}

void answer_completion_error(
        struct http_exchange *x, const struct dialect *d, const struct completion_error *e) {
	answer_error(x, d,
	        &(struct reply_error){.status = e->status,
	                .retry_after = e->retry_after,
	                .code = e->too_long        ? "context_length_exceeded"
	                        : e->status == 404 ? "model_not_found"
	                                           : NULL,
	                .text = e->text});
}

const struct model_entry *answer_model(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const char *name, enum answer_need need) {
	const struct model_list *l = completions_models(r->completions);
	char err[700];
	if (!l) {
		answer_refuse(x, r, d, need,
		        &(struct reply_error){
		                .status = 503, .retry_after = 1, .text = "this node is starting"});
		return NULL;
	}
	const struct model_entry *m = model_list_find(l, r->alias, r->naliases, name, err, sizeof err);
	if (!m) {
		answer_refuse(x, r, d, need,
		        &(struct reply_error){
		                .status = 404, .code = "model_not_found", .param = "model", .text = err});
		return NULL;
	}
	if (need == NEED_LISTED || (m->state == MODEL_SERVING && m->facts))
		return m;
	if (m->state == MODEL_SERVING)
		snprintf(err, sizeof err, "the vocabulary of model %s has not arrived at this node yet",
		        m->name);
	else
		snprintf(err, sizeof err, "model %s %s", m->name, m->what);
	answer_refuse(x, r, d, need,
	        &(struct reply_error){
	                .status = 503, .retry_after = m->state == MODEL_SERVING ? 1 : 5, .text = err});
	return NULL;
}

/* ---- its life ------------------------------------------------------------------------------------ */

void answer_destroy(struct answer *a) {
	kept_drop(a->kept);
	for (unsigned i = 0; i < COMPLETION_CHOICES_MAX; i++) {
		free(a->choice[i].text);
		json_decref(a->choice[i].calls);
		held_clear(&a->choice[i].reasoning);
		reply_destroy(a->choice[i].parser);
		answer_tokens_clear(&a->choice[i].tokens);
	}
	for (unsigned i = 0; i < WIRE_STOPS_MAX; i++)
		free(a->stops[i]);
	json_decref(a->tool_choice);
	free(a);
}

/* It has been answered, or its client has gone. */
static void answer_finish(struct answer *a) {
	completion_release(a->completion);
	answer_destroy(a);
}

static void answer_on_closed(void *arg) {
	struct answer *a = arg;
	a->routes->metrics.gone[a->dialect->api]++;
	answer_finish(a);
}

struct answer *answer_create(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct model_entry *m, const char *named, const char *prefix) {
	struct answer *a = calloc(1, sizeof *a);
	uint8_t random[16];
	if (!a || RAND_bytes(random, sizeof random) != 1) {
		free(a);
		answer_refuse(x, r, d, NEED_COMPLETION,
		        &(struct reply_error){.status = 500, .text = "out of memory"});
		return NULL;
	}
	a->x = x;
	a->routes = r;
	a->dialect = d;
	a->created = (int64_t)time(NULL);
	a->begun_ns = loop_now_ns();
	int at = snprintf(a->id, sizeof a->id, "%s", prefix);
	for (size_t i = 0; i < sizeof random; i++)
		at += snprintf(a->id + at, sizeof a->id - (size_t)at, "%02x", random[i]);
	snprintf(a->id + at, sizeof a->id - (size_t)at, "%s", r->node); /* where to ask for it */
	snprintf(a->model, sizeof a->model, "%s",
	        named && *named && strlen(named) < sizeof a->model ? named : m->name);
	snprintf(a->fingerprint, sizeof a->fingerprint, "%s", m->facts->fingerprint);
	return a;
}

/* ---- sending ------------------------------------------------------------------------------------- */

/* An event. */
static void answer_send_bytes(struct answer *a, const char *data, size_t len) {
	char number[32] = "";
	if (!a->kept) {
		http_stream_send(a->x, data, len);
		return;
	}
	if (strcmp(a->dialect->type, "text/event-stream") == 0)
		snprintf(number, sizeof number, "id: %u\n", kept_events(a->kept) + 1);
	kept_write(a->kept, number, data, len);
}

static void answer_end_stream(struct answer *a) {
	if (a->kept)
		kept_finish(a->kept);
	else
		http_stream_end(a->x);
	a->kept = NULL;
}

void answer_send_text(struct answer *a, const char *text) {
	answer_send_bytes(a, text, strlen(text));
}

static void answer_send(struct answer *a, const char *before, json_t *o, const char *after) {
	char *text = o ? json_dumps(o, HTTP_JSON) : NULL;
	json_decref(o);
	size_t head = strlen(before), tail = strlen(after), len = text ? strlen(text) : 0;
	char *all = text ? malloc(head + len + tail) : NULL;
	if (all) { /* in one piece, so that it is one chunk */
		memcpy(all, before, head);
		memcpy(all + head, text, len);
		memcpy(all + head + len, after, tail);
		answer_send_bytes(a, all, head + len + tail);
	} else {
		log_line(LOG_LINE_ERROR, "out of memory: a part of an answer over HTTP is missing");
	}
	free(all);
	free(text);
}

void answer_send_event(struct answer *a, const char *event, json_t *o) {
	char before[80] = "data: ";
	if (event)
		snprintf(before, sizeof before, "event: %s\ndata: ", event);
	answer_send(a, before, o, "\n\n");
}

void answer_send_line(struct answer *a, json_t *o) {
	answer_send(a, "", o, "\n");
}

static void answer_open(struct answer *a) {
	if (a->opened)
		return;
	a->opened = true;
	http_reply_header(a->x, "X-Stream-Id", a->id);
	if (a->kept) {
		kept_begin(a->kept, a->dialect->type);
		if (!streams_read(a->x, a->kept, 1, a->resume)) {
			kept_drop(a->kept);
			a->kept = NULL;
		}
	}
	if (!a->kept) {
		http_reply_header(a->x, "Cache-Control", "no-cache");
		http_stream_begin(a->x, 200, a->dialect->type);
	}
	a->dialect->open(a);
}

/* ---- events of the completion -------------------------------------------------------------------- */

static void answer_fail(struct answer *a, const struct completion_error *e) {
	metrics_answered(&a->routes->metrics, METRICS_COMPLETION, a->dialect->api, e->status);
	if (a->opened) {
		const struct reply_error r = {
		        .status = e->status, .retry_after = e->retry_after, .text = e->text};
		a->dialect->broken(a, a->dialect->error(&r));
		answer_end_stream(a);
	} else {
		answer_completion_error(a->x, a->dialect, e);
	}
	answer_finish(a);
}

static void answer_on_prompt(void *arg, unsigned choice, uint32_t tokens) {
	struct answer *a = arg;
	(void)choice;
	a->prompt = tokens;
}

static void answer_on_waiting(void *arg, unsigned choice, uint32_t place, uint64_t done, uint64_t total) {
	struct answer *a = arg;
	if (!a->stream)
		return;
	answer_open(a);
	if (a->progress && a->dialect->waiting)
		a->dialect->waiting(a, choice, place, done, total);
}

struct answer_at {
	struct answer *a;
	unsigned choice;
};

bool answer_keep(struct answer *a, unsigned choice, const char *text, size_t len) {
	struct answer_choice *c = &a->choice[choice];
	if (c->len + len + 1 > c->room) {
		size_t room = (c->len + len) * 2 + 64;
		char *s = realloc(c->text, room);
		if (!s)
			return false;
		c->text = s;
		c->room = room;
	}
	memcpy(c->text + c->len, text, len);
	c->len += len;
	c->text[c->len] = '\0';
	return true;
}

static bool answer_on_content(void *arg, const char *text, size_t len) {
	struct answer_at *at = arg;
	struct answer_tokens *tokens = &at->a->choice[at->choice].tokens;
	if (len == 0)
		return true;
	tokens->shown = tokens->n;
	if (!at->a->stream && !at->a->dialect->by_items)
		return answer_keep(at->a, at->choice, text, len);
	if (at->a->stream)
		answer_open(at->a);
	at->a->dialect->text(at->a, at->choice, text, len);
	return true;
}

/* What has come since the last text is not text. */
static void answer_drop_tokens(struct answer_at *at) {
	if (at->a->dialect->text_tokens)
		answer_tokens_drop_unshown(&at->a->choice[at->choice].tokens);
}

static bool answer_on_reasoning(void *arg, const char *text, size_t len) {
	struct answer_at *at = arg;
	answer_drop_tokens(at);
	at->a->thought = true;
	if (!at->a->stream && !at->a->dialect->by_items)
		return held_append(&at->a->choice[at->choice].reasoning, text, len);
	if (at->a->stream)
		answer_open(at->a);
	at->a->dialect->reasoning(at->a, at->choice, text, len);
	return true;
}

static bool answer_on_call(void *arg, const struct tool_call *call) {
	struct answer_at *at = arg;
	struct answer_choice *c = &at->a->choice[at->choice];
	answer_drop_tokens(at);
	if (at->a->one_call && c->ncalls > 0)
		return true;
	c->ncalls++;
	if (at->a->stream)
		answer_open(at->a);
	at->a->dialect->call(at->a, at->choice, call);
	return true;
}

static void answer_on_token(void *arg, unsigned choice, const struct token_logprobs *t) {
	struct answer *a = arg;
	if (!answer_tokens_add(&a->choice[choice].tokens, t))
		answer_fail(a, &(struct completion_error){.status = 500, .text = "out of memory"});
}

static void answer_on_text(void *arg, unsigned choice, const char *text, size_t len) {
	struct answer *a = arg;
	struct answer_at at = {a, choice};
	const struct reply_sink sink = {answer_on_reasoning, answer_on_content, answer_on_call, &at};
	struct reply_stream *parser = a->choice[choice].parser;
	struct metrics *m = &a->routes->metrics;
	uint64_t now = loop_now_ns(), *last = &a->choice[choice].text_ns;
	if (!a->texts)
		metrics_observe(&m->first, (double)(now - a->begun_ns) * 1e-9);
	if (*last)
		metrics_observe(&m->inter, (double)(now - *last) * 1e-9);
	struct completion_error full = {.status = 503};
	a->texts = true;
	*last = now;
	if (!(parser ? reply_push(parser, text, len, &sink) : answer_on_content(&at, text, len)))
		answer_fail(a, &(struct completion_error){.status = 500, .text = "out of memory"});
	else if (a->kept && kept_full(a->kept)) {
		snprintf(full.text, sizeof full.text, "%s", kept_full(a->kept));
		answer_fail(a, &full);
	}
}

static void answer_count(struct answer *a) {
	const struct answer_usage u = answer_usage(a);
	struct metrics *m = &a->routes->metrics;
	metrics_answered(m, METRICS_COMPLETION, a->dialect->api, 200);
	m->prompt += u.prompt;
	m->cached += u.cached;
	m->generated += u.generated;
}

static void answer_on_end(void *arg, unsigned choice, const struct completion_end *end) {
	struct answer *a = arg;
	struct answer_choice *c = &a->choice[choice];
	struct answer_at at = {a, choice};
	const struct reply_sink sink = {answer_on_reasoning, answer_on_content, answer_on_call, &at};
	c->end = *end;
	c->ended = true;
	if (end->error.status) {
		answer_fail(a, &end->error);
		return;
	}
	if (c->parser && !reply_finish(c->parser, &sink)) {
		answer_fail(a, &(struct completion_error){.status = 500, .text = "out of memory"});
		return;
	}
	if (a->stream)
		answer_open(a);
	if (a->stream || a->dialect->by_items)
		a->dialect->end(a, choice);
	if (a->lost) {
		answer_fail(a, &(struct completion_error){.status = 500, .text = "out of memory"});
		return;
	}
	if (++a->ended < a->choices)
		return;
	answer_count(a);
	if (a->stream) {
		a->dialect->done(a);
		answer_end_stream(a);
	} else {
		http_reply_json(a->x, 200, a->dialect->whole(a));
	}
	answer_finish(a);
}

static bool answer_copy(struct answer *a, const struct completion_params *p, const struct reply_format *f) {
	for (size_t i = 0; i < p->nstops; i++)
		if (!(a->stops[i] = strndup(p->stops[i].s, p->stops[i].len)))
			return false;
	for (unsigned i = 0; f && reply_needed(f) && i < p->choices; i++)
		if (!(a->choice[i].parser = reply_create(f)))
			return false;
	return true;
}

/* Its client asked for that, or has not come back in time, or there is no more space for it. */
static void answer_on_cancel(void *arg) {
	struct answer *a = arg;
	const char *full = kept_full(a->kept);
	const struct reply_error e = {
	        .status = 503, .code = "cancelled", .text = full ? full : "the stream was cancelled"};
	a->routes->metrics.gone[a->dialect->api]++;
	a->dialect->broken(a, a->dialect->error(&e));
	answer_end_stream(a);
	answer_finish(a);
}

/* Makes a place for a stream that is to survive its client, if the request asks for one.  false: an error is in e. */
static bool answer_reserve(struct answer *a, struct completion_error *e) {
	const char *asked = a->routes->resume ? http_header(a->x, "X-Resume") : NULL;
	if (!a->stream || !asked)
		return true;
	size_t len = strlen(asked);
	if (len < 1 || len > RESUME_DIGITS || asked[strspn(asked, "0123456789")]) {
		*e = (struct completion_error){.status = 400, .text = "X-Resume must be a number of seconds"};
		return false;
	}
	unsigned seconds = (unsigned)strtoul(asked, NULL, 10);
	a->resume = seconds < a->routes->resume ? seconds : a->routes->resume;
	if (a->resume == 0)
		return true;
	const struct kept_params p = {.id = a->id,
	        .key = http_key(a->x),
	        .seconds = a->resume,
	        .cancel = answer_on_cancel,
	        .arg = a};
	int rc = kept_reserve(&a->kept, a->routes->kept, &p, e->text, sizeof e->text);
	if (rc != 0) {
		e->status = rc == -ENOMEM ? 500 : 429;
		e->retry_after = rc == -ENOMEM ? 0 : RESUME_RETRY_S;
	}
	return rc == 0;
}

void answer_start(struct answer *a, const struct completion_params *p, const struct reply_format *f) {
	struct http_exchange *x = a->x;
	const struct dialect *d = a->dialect;
	const struct completion_events ev = {.prompt = answer_on_prompt,
	        .waiting = answer_on_waiting,
	        .token = answer_on_token,
	        .text = answer_on_text,
	        .end = answer_on_end,
	        .arg = a};
	struct completion_error e = {0};
	a->choices = p->choices;
	a->logprobs = p->logprobs;
	if (!answer_reserve(a, &e)) {
		metrics_answered(&a->routes->metrics, METRICS_COMPLETION, d->api, e.status);
		answer_destroy(a);
		answer_completion_error(x, d, &e);
		return;
	}
	if (!answer_copy(a, p, f) || completion_start(&a->completion, a->routes->completions, p, &ev) != 0) {
		struct routes *r = a->routes;
		answer_destroy(a);
		answer_refuse(x, r, d, NEED_COMPLETION,
		        &(struct reply_error){.status = 500, .text = "out of memory"});
		return;
	}
	http_on_closed(x, answer_on_closed, a);
}

/* ---- sums ---------------------------------------------------------------------------------------- */

struct answer_usage answer_usage(const struct answer *a) {
	struct answer_usage u = {.prompt = a->choice[0].end.prompt, .cached = a->choice[0].end.cached};
	for (unsigned i = 0; i < a->choices; i++)
		u.generated += a->choice[i].end.generated;
	return u;
}

const char *answer_reason(
        const struct answer *a, unsigned choice, const char *stop, const char *length, const char *calls) {
	const struct answer_choice *c = &a->choice[choice];
	bool cut = c->end.reason == CARAVAN__REASON__LIMIT || c->end.reason == CARAVAN__REASON__CONTEXT;
	if (c->ncalls > 0 && (!cut || a->one_call)) /* of one call nothing behind it is missing */
		return calls;
	return cut ? length : stop;
}
