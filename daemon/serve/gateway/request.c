/* request: see request.h. */
#include "daemon/serve/gateway/request.h"
#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/text/sampler.h"
#include "daemon/text/tokenizers.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define RESEND_MS 50 /* before a failed LogitsTaken is sent again */

/* A token whose text has not been given to the client yet. */
struct held_token {
	uint32_t id;
	struct logprobs logprobs;
};

struct request {
	LIST_ENTRY(request) next;
	struct requests *all;
	struct request_events ev;
	char model[WIRE_NAME_MAX + 1];
	struct node_id coordinator;
	uint64_t ref;
	uint32_t *log; /* the token log: prompt and answer */
	size_t tokens, capacity, prompt;
	uint32_t context; /* of the model */
	uint32_t cached;  /* prompt tokens that were in the prefix cache, as reported by the coordinator */
	struct text_stream *stream; /* NULL for logits and embeddings */
	bool logits, embedding;
	bool logprobs, names;              /* as asked for */
	const struct tokenizer *tokenizer; /* borrowed, as the stream borrows it */
	struct held_token *held;           /* held[first_held..nheld) */
	size_t first_held, nheld, held_capacity;
	/* rows of logits: that may be on their way; taken by the client; last reported to the coordinator */
	uint32_t window, taken, reported;
	struct loop_timer *timer; /* to send LogitsTaken again */
};

struct requests {
	struct members *members;
	struct deploy *deploy;
	struct tokenizers *tokenizers;
	struct peers *peers;
	struct loop *loop;
	LIST_HEAD(, request) list;
};

static void request_destroy(struct request *r) {
	loop_timer_stop(r->timer);
	text_stream_destroy(r->stream);
	free(r->log);
	free(r->held);
	free(r);
}

/* ---- log-probabilities --------------------------------------------------------------------------- */

static struct token_logprob request_describe_token(const struct request *r, uint32_t id, float logprob) {
	struct token_logprob t = {.id = id, .logprob = logprob};
	t.text = tokenizer_piece(r->tokenizer, id, &t.len);
	/* the text never shows the token that ends the answer, not even where it shows the names of others */
	t.hidden =
	        tokenizer_is_control(r->tokenizer, id) && (!r->names || tokenizer_is_end(r->tokenizer, id));
	return t;
}

static void request_give_token(struct request *r, const struct held_token *h, size_t offset) {
	struct token_logprob top[LOGPROBS_TOP_MAX];
	for (uint32_t i = 0; i < h->logprobs.top; i++)
		top[i] = request_describe_token(r, h->logprobs.list[i].id, h->logprobs.list[i].value);
	r->ev.token(r->ev.arg,
	        &(struct token_logprobs){.token = request_describe_token(r, h->id, h->logprobs.token),
	                .offset = offset,
	                .top = top,
	                .ntop = h->logprobs.top});
}

/* Keeps a token that has been pushed until its text is given to the client.  0; -EBADMSG: the coordinator did not say what was
 * asked for; -EINVAL: a token outside the vocabulary; -ENOMEM. */
static int request_hold_token(struct request *r, uint32_t id, const Caravan__TokenLogprobs *from) {
	struct held_token h = {.id = id};
	if (!from)
		return -EBADMSG;
	h.logprobs.token = from->logprob;
	h.logprobs.top = (uint32_t)(from->top.len / sizeof *h.logprobs.list);
	if (from->top.len)
		memcpy(h.logprobs.list, from->top.data, from->top.len);
	for (uint32_t i = 0; i < h.logprobs.top; i++)
		if (h.logprobs.list[i].id >= tokenizer_tokens(r->tokenizer))
			return -EINVAL;
	if (r->first_held == r->nheld)
		r->first_held = r->nheld = 0;
	if (r->nheld == r->held_capacity) {
		size_t capacity = r->held_capacity * 2 + 8;
		struct held_token *held = realloc(r->held, capacity * sizeof *held);
		if (!held)
			return -ENOMEM;
		r->held = held;
		r->held_capacity = capacity;
	}
	r->held[r->nheld++] = h;
	return 0;
}

/* ---- events -------------------------------------------------------------------------------------- */

static void request_give_text(struct request *r) {
	const char *text;
	size_t len = text_stream_take(r->stream, &text), offset;
	while (r->first_held < r->nheld && text_stream_next_token(r->stream, &offset))
		request_give_token(r, &r->held[r->first_held++], offset);
	if (len)
		r->ev.text(r->ev.arg, text, len);
}

/* Sends the last event. */
static void request_end(struct request *r, const Caravan__Finished *from, const char *error) {
	Caravan__Finished copy, *fin = NULL;
	if (from) { /* adds what only the gateway knows */
		copy = *from;
		copy.prompt = (uint32_t)r->prompt;
		copy.context = from->context ? from->context : r->context;
		copy.cached = r->cached < r->prompt ? r->cached : (uint32_t)r->prompt;
		fin = &copy;
	}
	LIST_REMOVE(r, next);
	if (r->stream && text_stream_finish(r->stream) == 0)
		request_give_text(r);
	r->ev.end(r->ev.arg, fin, error);
	request_destroy(r);
}

static void request_send_cancel(struct request *r) {
	Caravan__Cancel cancel = CARAVAN__CANCEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL, cancel, &cancel);
	env.ref = r->ref;
	/* if this fails, the coordinator notices that our link is lost */
	(void)peers_send(r->all->peers, &r->coordinator, PEERS_CONTROL, &env, NULL);
}

uint32_t request_prompt(const struct request *r) {
	return (uint32_t)r->prompt;
}

void request_cancel(struct request *r) {
	request_send_cancel(r);
	LIST_REMOVE(r, next);
	request_destroy(r);
}

static void request_resend_taken(void *arg);

/* The coordinator may be waiting for these rows: if they cannot be reported now, it is tried again.  A lost
 * link ends the request. */
static void request_send_taken(struct request *r) {
	Caravan__LogitsTaken taken = CARAVAN__LOGITS_TAKEN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LOGITS_TAKEN, logits_taken, &taken);
	if (r->reported == r->taken)
		return;
	taken.rows = r->taken;
	env.ref = r->ref;
	if (peers_send(r->all->peers, &r->coordinator, PEERS_CONTROL, &env, NULL) == 0)
		r->reported = r->taken;
	else if (!r->timer &&
	         !(r->timer = loop_timer_start(r->all->loop, RESEND_MS, false, request_resend_taken, r)))
		log_line(LOG_LINE_ERROR, "out of memory for a timer: a request for logits may stall");
}

static void request_resend_taken(void *arg) {
	struct request *r = arg;
	r->timer = NULL;
	request_send_taken(r);
}

void request_logits_taken(struct request *r, uint32_t rows) {
	if (!r->window || rows <= r->taken)
		return;
	r->taken = rows;
	request_send_taken(r);
}

/* Rows of logits that may be on their way; 0 (no limit) if the coordinator's version has no flow control. */
static uint32_t request_window(
        struct requests *rs, const struct deploy_model *m, const struct node_id *coordinator) {
	const struct member *c = members_find(rs->members, coordinator);
	if (!m->manifest || !c || (!c->self && c->minor < 2))
		return 0;
	uint32_t rows = (uint32_t)(REQUEST_LOGITS / ((uint64_t)m->manifest->hp.vocab * sizeof(float)));
	return rows ? rows : 1;
}

/* Whether the coordinator knows what the request needs, and its grammar and biases are not too large; a sentence in err. */
static int request_check_sendable(
        const struct request *r, const struct request_params *p, char *err, size_t errlen) {
	const struct member *c = members_find(r->all->members, &r->coordinator);
	size_t len = p->grammar ? strlen(p->grammar->text) : 0;
	if (len > WIRE_GRAMMAR_MAX)
		return fail_with(-E2BIG, err, errlen, "the grammar has %zu bytes, at most %u are possible",
		        len, WIRE_GRAMMAR_MAX);
	size_t biases = p->nbias + (p->ignore_end ? tokenizer_ends(r->tokenizer, NULL, 0) : 0);
	if (biases > WIRE_BIASES_MAX)
		return fail_with(-E2BIG, err, errlen, "%zu tokens have biases%s, at most %d are possible",
		        biases, p->ignore_end ? ", with those that end an answer" : "", WIRE_BIASES_MAX);
	if (p->embedding && c && !c->self && c->minor < WIRE_1_3)
		return fail_with(-EPROTONOSUPPORT, err, errlen,
		        "%s, which coordinates model %s, runs an older version that makes no embeddings: upgrade it",
		        c->name, r->model);
	if (p->logprobs && c && !c->self && c->minor < WIRE_1_4)
		return fail_with(-EPROTONOSUPPORT, err, errlen,
		        "%s, which coordinates model %s, runs an older version that knows no log-probabilities: upgrade it",
		        c->name, r->model);
	if ((p->grammar || biases > 0) && c && !c->self && c->minor < WIRE_1_3)
		return fail_with(-EPROTONOSUPPORT, err, errlen,
		        "%s, which coordinates model %s, runs an older version that knows no %s: upgrade it",
		        c->name, r->model, p->grammar ? "grammars" : "biases");
	if (p->grammar && *p->grammar->reasoning && c && !c->self && c->minor < WIRE_1_4)
		return fail_with(-EPROTONOSUPPORT, err, errlen,
		        "%s, which coordinates model %s, runs an older version that knows no reasoning before a grammar: "
		        "upgrade it",
		        c->name, r->model);
	return 0;
}

static struct request *request_find(struct requests *rs, const struct peers_from *from) {
	struct request *r = LIST_FIRST(&rs->list);
	while (r && (r->ref != from->ref || !node_id_equal(&r->coordinator, &from->node)))
		r = LIST_NEXT(r, next);
	return r;
}

const struct tokenizer *request_tokenizer(
        struct requests *rs, const struct deploy_model *m, char *err, size_t errlen) {
	if (m->vocab)
		return tokenizers_get(rs->tokenizers, m->vocab, err, errlen);
	return fail_with(NULL, err, errlen,
	        "the vocabulary of model %s has not arrived at this node yet; try again", m->plan->model);
}

/* ---- encode, submit ------------------------------------------------------------------------------ */

static int request_encode(struct request *r, const struct tokenizer *t, const struct request_params *p,
        char *err, size_t errlen) {
	uint32_t *ids;
	if (!p->ids && p->text) {
		const struct token_span all = {0, p->len};
		int rc = tokenizer_encode_spans(t, p->text, p->len, p->special ? &all : p->spans,
		        p->special ? 1 : p->nspans, TOKENIZE_BOS, &ids, &r->tokens);
		if (rc != 0)
			return fail_with(rc, err, errlen,
			        rc == -E2BIG ? "the prompt is too long" : "cannot encode the prompt: %s",
			        strerror(-rc));
	} else {
		if (!(ids = malloc(p->nids ? p->nids * sizeof *ids : 1)))
			return fail_with(-ENOMEM, err, errlen, "%s", strerror(ENOMEM));
		if (p->nids)
			memcpy(ids, p->ids, p->nids * sizeof *ids);
		r->tokens = p->nids;
	}
	r->log = ids;
	r->capacity = r->prompt = r->tokens;
	if (r->tokens > 0)
		return 0;
	if (p->text && p->len > 0)
		snprintf(err, errlen, "model %s has no token for any character of the prompt", r->model);
	else if (p->text)
		snprintf(err, errlen,
		        "the prompt is empty, and model %s adds no beginning-of-text token to start from: give a "
		        "prompt",
		        r->model);
	else
		snprintf(err, errlen, "no token was given: at least one is needed");
	return -EINVAL;
}

/* The biases of a request, with those that keep an answer from ending; out has room for WIRE_BIASES_MAX. */
static size_t request_biases(
        const struct request *r, const struct request_params *p, struct sampler_bias *out) {
	uint32_t end[WIRE_BIASES_MAX];
	size_t n = p->nbias,
	       ends = p->ignore_end ? tokenizer_ends(r->tokenizer, end, WIRE_BIASES_MAX - n) : 0;
	if (n)
		memcpy(out, p->bias, n * sizeof *out);
	for (size_t i = 0; i < ends; i++)
		out[n++] = (struct sampler_bias){.id = end[i], .add = SAMPLER_BIAS_NEVER};
	return n;
}

static int request_submit(struct request *r, const struct request_params *p) {
	Caravan__Submit submit = CARAVAN__SUBMIT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(SUBMIT, submit, &submit);
	Caravan__Sampling sampling = p->sampling;
	Caravan__Grammar grammar = p->grammar ? *p->grammar : (Caravan__Grammar)CARAVAN__GRAMMAR__INIT;
	struct sampler_bias bias[WIRE_BIASES_MAX];
	struct payload *ids = payload_copy(r->log, r->tokens * sizeof *r->log);
	if (!ids)
		return -ENOMEM;
	submit.model = r->model;
	submit.prompt = (uint32_t)r->prompt;
	submit.limit = p->limit;
	submit.logits = p->logits;
	submit.embedding = p->embedding;
	submit.window = r->window;
	submit.client = p->client;
	submit.sampling = r->stream ? &sampling : NULL;
	submit.grammar = r->stream && p->grammar ? &grammar : NULL;
	submit.logprobs = r->logprobs;
	submit.top_logprobs = r->logprobs ? p->top_logprobs : 0;
	if (r->stream)
		submit.bias = wire_bytes(bias, request_biases(r, p, bias) * sizeof *bias);
	env.ref = r->ref;
	int rc = peers_send(r->all->peers, &r->coordinator, PEERS_CONTROL, &env, ids);
	payload_unref(ids);
	return rc;
}

int request_start(struct request **out, struct requests *rs, const struct request_params *p,
        const struct request_events *ev, char *err, size_t errlen) {
	const struct deploy_model *m = deploy_find(rs->deploy, p->model, err, errlen);
	struct request *r;
	int rc = 0;
	if (!m)
		return -ENOENT;
	if (m->phase != CARAVAN__MODEL_PHASE__SERVING) {
		char what[WIRE_TEXT_MAX];
		deploy_describe(rs->deploy, m, what, sizeof what);
		return fail_with(-EAGAIN, err, errlen, "model %s %s", m->plan->model, what);
	}
	const struct tokenizer *t = request_tokenizer(rs, m, err, errlen);
	if (!t)
		return -ENOENT;
	if (!(r = calloc(1, sizeof *r)))
		return fail_with(-ENOMEM, err, errlen, "%s", strerror(ENOMEM));
	r->all = rs;
	r->ev = *ev;
	r->logits = p->logits;
	r->embedding = p->embedding;
	r->logprobs = p->logprobs && ev->token && !p->logits && !p->embedding;
	r->names = p->names;
	r->tokenizer = t;
	r->ref = peers_ref(rs->peers);
	r->context = m->plan->context;
	snprintf(r->model, sizeof r->model, "%s", m->plan->model);
	node_id_from_bytes(&r->coordinator, m->plan->coordinator);
	r->window = p->logits ? request_window(rs, m, &r->coordinator) : 0;
	rc = request_check_sendable(r, p, err, errlen);
	if (rc == 0)
		rc = request_encode(r, t, p, err, errlen);
	if (rc != 0)
		goto error;
	if (!p->logits && !p->embedding) {
		rc = text_stream_create(&r->stream, t, p->stops, p->nstops,
		        (p->text && p->len == 0 ? TEXT_STREAM_AT_START : 0) |
		                (p->names ? TEXT_STREAM_SPECIAL : 0) | (p->apart ? TEXT_STREAM_APART : 0) |
		                (r->logprobs ? TEXT_STREAM_TOKENS : 0));
		if (rc != 0) {
			snprintf(err, errlen, "cannot use these stop texts: %s", strerror(-rc));
			goto error;
		}
	}
	if (!p->logits && (r->stream ? r->tokens >= m->plan->context : r->tokens > m->plan->context)) {
		rc = fail_with(-EMSGSIZE, err, errlen,
		        "the prompt has %zu tokens, but the context of model %s is %u%s", r->tokens, r->model,
		        m->plan->context,
		        r->tokens == m->plan->context ? ", which leaves none to generate" : "");
		goto error;
	}
	rc = request_submit(r, p);
	if (rc != 0) {
		snprintf(err, errlen, "cannot reach %s, which coordinates model %s: %s",
		        members_name(rs->members, &r->coordinator), r->model,
		        rc == -ENOTCONN ? "there is no link to it" : strerror(-rc));
		goto error;
	}
	LIST_INSERT_HEAD(&rs->list, r, next);
	*out = r;
	return 0;
error:
	request_destroy(r);
	return rc;
}

/* ---- answers, decode ----------------------------------------------------------------------------- */

static int request_append_token(struct request *r, uint32_t id) {
	if (r->tokens == r->capacity) {
		size_t capacity = r->capacity * 2 + 64;
		uint32_t *log = realloc(r->log, capacity * sizeof *log);
		if (!log)
			return -ENOMEM;
		r->log = log;
		r->capacity = capacity;
	}
	r->log[r->tokens++] = id;
	return text_stream_push(r->stream, id);
}

static void request_stop(struct request *r, Caravan__Reason reason) {
	Caravan__Finished fin = CARAVAN__FINISHED__INIT;
	fin.reason = reason;
	fin.generated = (uint32_t)(r->tokens - r->prompt);
	fin.stop = (uint32_t)text_stream_stopped(r->stream) + 1;
	request_send_cancel(r);
	request_end(r, &fin, NULL);
}

static const char *request_token_error(int rc) {
	return rc == -EINVAL    ? "the coordinator sent a token outside the vocabulary"
	       : rc == -EBADMSG ? "the coordinator sent a token without its log-probabilities"
	                        : strerror(-rc);
}

void request_finish(struct request *r) {
	request_stop(r, CARAVAN__REASON__CANCELLED);
}

static void request_on_tokens(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	const Caravan__Tokens *t = env->tokens;
	(void)x;
	if (!r || !r->stream || t->position != r->tokens)
		return;
	r->cached = t->cached;
	for (size_t i = 0; i < t->ids.len / sizeof(uint32_t); i++) {
		uint32_t id;
		memcpy(&id, t->ids.data + i * sizeof id, sizeof id);
		int rc = request_append_token(r, id);
		if (rc == 0 && r->logprobs)
			rc = request_hold_token(r, id, t->n_logprobs ? t->logprobs[i] : NULL);
		if (rc != 0) {
			request_send_cancel(r);
			request_end(r, NULL, request_token_error(rc));
			return;
		}
		if (text_stream_stopped(r->stream) >= 0) {
			request_stop(r, CARAVAN__REASON__STOP);
			return;
		}
	}
	request_give_text(r);
}

static void request_on_logits(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	if (r && r->logits)
		r->ev.logits(r->ev.arg, env->logits->position, env->logits->rows, env->logits->vocab, x);
}

static void request_on_embedding(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	if (r && r->embedding)
		r->ev.embedding(r->ev.arg, env->embedding->dim, x);
}

static void request_on_queued(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	(void)x;
	if (r)
		r->ev.queued(r->ev.arg, env->queued->place, env->queued->seconds);
}

static void request_on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	(void)x;
	if (r && r->tokens == r->prompt)
		r->ev.prompt(r->ev.arg, env->progress->done, env->progress->total);
}

static void request_on_finished(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	(void)x;
	if (r)
		request_end(r, env->finished,
		        env->finished->reason == CARAVAN__REASON__ERROR ? env->finished->error : NULL);
}

static void request_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct request *r = request_find(arg, from);
	(void)x;
	if (!r)
		return;
	if (env->refused->busy && r->ev.busy)
		r->ev.busy(r->ev.arg, env->refused->busy);
	request_end(r, NULL, env->refused->reason);
}

/* ---- all of them --------------------------------------------------------------------------------- */

int requests_create(struct requests **out, struct loop *l, struct members *m, struct tokenizers *ts) {
	struct peers *p = members_peers(m);
	struct requests *rs = calloc(1, sizeof *rs);
	if (!rs)
		return -ENOMEM;
	rs->members = m;
	rs->tokenizers = ts;
	rs->peers = p;
	rs->loop = l;
	int rc = peers_on(p, CARAVAN__ENVELOPE__BODY_TOKENS, request_on_tokens, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_LOGITS, request_on_logits, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_EMBEDDING, request_on_embedding, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_QUEUED, request_on_queued, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_PROGRESS, request_on_progress, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_FINISHED, request_on_finished, rs);
	if (rc == 0)
		rc = peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, request_on_refused, rs);
	if (rc != 0) {
		free(rs);
		return rc;
	}
	*out = rs;
	return 0;
}

void requests_attach(struct requests *rs, struct deploy *d) {
	rs->deploy = d;
}

void requests_destroy(struct requests *rs) {
	if (!rs)
		return;
	for (struct request *r; (r = LIST_FIRST(&rs->list)); request_destroy(r))
		LIST_REMOVE(r, next);
	free(rs);
}

typedef bool match_fn(const struct request *r, const void *what);

static bool request_has_coordinator(const struct request *r, const void *node) {
	return node_id_equal(&r->coordinator, node);
}

static bool request_is_for_model(const struct request *r, const void *model) {
	return strcmp(r->model, model) == 0;
}

/* Ends the requests that match.  An event may start or cancel others, so the walk starts again after each. */
static void request_end_where(struct requests *rs, match_fn *match, const void *what, const char *why) {
	for (struct request *r = LIST_FIRST(&rs->list); r;) {
		if (match(r, what)) {
			request_end(r, NULL, why);
			r = LIST_FIRST(&rs->list);
		} else {
			r = LIST_NEXT(r, next);
		}
	}
}

void requests_coordinator_lost(struct requests *rs, const struct node_id *node, const char *why) {
	request_end_where(rs, request_has_coordinator, node, why);
}

void requests_model_gone(struct requests *rs, const char *model, const char *why) {
	request_end_where(rs, request_is_for_model, model, why);
}
