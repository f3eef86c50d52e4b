/* prompts: see prompts.h.
 *
 * The path of a conversation: JSON → rendered with the chat template (on the thread) → tokens (on the thread)
 * → request_start (on the loop).  A text to complete skips the first step, token ids the first two. */
#include "daemon/api/prompts.h"
#include "daemon/api/chat_templates.h"
#include "daemon/api/model_list.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/text_job.h"
#include "daemon/serve/gateway/request.h"
#include "daemon/text/reply.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct prompts {
	struct executor *executor;
	struct serve *serve;
	struct model_list *list; /* the last one, whose facts the next one shares */
};

struct answer {
	struct control_conn *conn;
	struct prompts *all;
	/* one of these three, or none when it has ended */
	struct rendering *rendering;
	struct text_job *encoding;
	struct request *request;
	struct reply_stream *reply; /* takes the answer of a model that thinks apart; NULL: all is text */
	bool lost;                  /* some text, for want of memory */
	uint32_t rows;              /* rows of logits received */
	/* of the prompt; copies */
	char model[WIRE_NAME_MAX + 1];
	bool names, ignore_end;
	uint32_t limit;
	Caravan__Sampling sampling;
	char *stop[WIRE_STOPS_MAX];
	size_t nstops;
};

int prompts_create(struct prompts **out, struct loop *loop, struct serve *s) {
	struct prompts *ps = calloc(1, sizeof *ps);
	int rc = ps ? executor_create(&ps->executor, loop) : -ENOMEM;
	if (rc != 0) {
		free(ps);
		return rc;
	}
	ps->serve = s;
	*out = ps;
	return 0;
}

void prompts_destroy(struct prompts *ps) {
	if (!ps)
		return;
	executor_destroy(ps->executor); /* its jobs have been dropped */
	model_list_unref(ps->list);
	free(ps);
}

static void answer_free(struct answer *g) {
	for (size_t i = 0; i < g->nstops; i++)
		free(g->stop[i]);
	reply_destroy(g->reply);
	free(g);
}

static void answer_fail(struct answer *g, const char *text) {
	control_error(g->conn, "%s", text);
	answer_free(g);
}

/* ---- events of the request ----------------------------------------------------------------------- */

static bool answer_on_reasoning(void *arg, const char *text, size_t len) {
	struct answer *g = arg;
	control_send_reasoning(g->conn, text, len);
	return true;
}

static bool answer_on_content(void *arg, const char *text, size_t len) {
	struct answer *g = arg;
	control_send_text(g->conn, text, len);
	return true;
}

/* Without tools there are none. */
static bool answer_on_call(void *arg, const struct tool_call *call) {
	(void)arg;
	(void)call;
	return true;
}

static struct reply_sink answer_sink(struct answer *g) {
	return (struct reply_sink){answer_on_reasoning, answer_on_content, answer_on_call, g};
}

static void answer_on_text(void *arg, const char *text, size_t len) {
	struct answer *g = arg;
	const struct reply_sink sink = answer_sink(g);
	if (!g->reply)
		control_send_text(g->conn, text, len);
	else if (!reply_push(g->reply, text, len, &sink))
		g->lost = true;
}

static void answer_on_queued(void *arg, uint32_t place, double seconds) {
	struct answer *g = arg;
	Caravan__Queued body = CARAVAN__QUEUED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(QUEUED, queued, &body);
	body.place = place;
	body.seconds = seconds;
	control_send(g->conn, &env, NULL, 0);
}

static void answer_on_prompt(void *arg, uint64_t done, uint64_t total) {
	struct answer *g = arg;
	control_send_progress(g->conn, "prompt", "", done, total, true);
}

/* The client has read: requests more. */
static void answer_on_drained(void *arg) {
	struct answer *g = arg;
	request_logits_taken(g->request, g->rows);
}

static void answer_on_logits(
        void *arg, uint32_t position, uint32_t rows, uint32_t vocab, struct payload *data) {
	struct answer *g = arg;
	Caravan__Logits body = CARAVAN__LOGITS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LOGITS, logits, &body);
	body.position = position;
	body.rows = rows;
	body.vocab = vocab;
	control_send(g->conn, &env, payload_data(data), payload_len(data));
	g->rows = position + rows;
	if (control_backlog(g->conn) <= CONTROL_OUT_LOW)
		answer_on_drained(g);
	else
		control_on_drained(g->conn, answer_on_drained, g);
}

static void answer_on_end(void *arg, const Caravan__Finished *fin, const char *error) {
	struct answer *g = arg;
	const struct reply_sink sink = answer_sink(g);
	if (g->reply && !error)
		g->lost = !reply_finish(g->reply, &sink) || g->lost;
	if (error)
		control_error(g->conn, "%s", error);
	else if (g->lost)
		control_error(g->conn, "out of memory");
	else
		control_end(g->conn, fin);
	answer_free(g);
}

static void answer_begin(struct answer *g, struct request_params *params) {
	char err[WIRE_TEXT_MAX];
	struct request_events ev = {.queued = answer_on_queued,
	        .prompt = answer_on_prompt,
	        .text = answer_on_text,
	        .logits = answer_on_logits,
	        .end = answer_on_end,
	        .arg = g};
	struct text_stop stops[WIRE_STOPS_MAX];
	for (size_t i = 0; i < g->nstops; i++)
		stops[i] = (struct text_stop){.s = g->stop[i], .len = strlen(g->stop[i])};
	params->model = g->model;
	params->names = g->names;
	params->apart = g->reply != NULL;
	params->client = control_client(g->conn);
	params->limit = g->limit;
	params->ignore_end = g->ignore_end;
	params->sampling = g->sampling;
	params->stops = stops;
	params->nstops = g->nstops;
	int rc = request_start(&g->request, serve_requests(g->all->serve), params, &ev, err, sizeof err);
	if (rc == 0)
		return;
	if (rc == -EMSGSIZE)
		control_error_too_long(g->conn, err);
	else
		control_error(g->conn, "%s", err);
	answer_free(g);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

/* The model of this name, if it is ready, and its tokenizer; NULL with a sentence in err. */
static const struct deploy_model *prompts_model(
        struct prompts *ps, const char *name, const struct tokenizer **t, char *err, size_t errlen) {
	char what[WIRE_TEXT_MAX];
	const struct deploy_model *m = deploy_find(serve_deploy(ps->serve), name, err, errlen);
	if (m && m->phase != CARAVAN__MODEL_PHASE__SERVING) {
		deploy_describe(serve_deploy(ps->serve), m, what, sizeof what);
		snprintf(err, errlen, "model %s %.900s", m->plan->model, what);
		return NULL;
	}
	*t = m ? request_tokenizer(serve_requests(ps->serve), m, err, errlen) : NULL;
	return *t ? m : NULL;
}

static void answer_on_encoded(void *arg, const struct tokenizer *t, struct text_work *w, int rc) {
	struct answer *g = arg;
	const struct tokenizer *now;
	char err[WIRE_TEXT_MAX];
	g->encoding = NULL;
	if (rc == -E2BIG) {
		control_error_too_long(g->conn, "the prompt is too long");
		answer_free(g);
	} else if (rc != 0) {
		snprintf(err, sizeof err, "cannot encode the prompt: %s", strerror(-rc));
		answer_fail(g, err);
	} else if (!prompts_model(g->all, g->model, &now, err, sizeof err)) {
		answer_fail(g, err);
	} else if (now != t) {
		snprintf(err, sizeof err, "model %s was loaded anew; try again", g->model);
		answer_fail(g, err);
	} else {
		/* the text has become the ids; whether there was one still matters */
		answer_begin(g,
		        &(struct request_params){.text = "", .len = w->len, .ids = w->ids, .nids = w->nids});
	}
}

/* Takes over the text and the spans. */
static void answer_encode(struct answer *g, struct text_work *w) {
	char err[WIRE_TEXT_MAX];
	const struct tokenizer *t;
	const struct deploy_model *m = prompts_model(g->all, g->model, &t, err, sizeof err);
	w->flags = TOKENIZE_BOS;
	if (m && (g->encoding = text_job_start(g->all->executor, t, w, answer_on_encoded, g)))
		return;
	free(w->text);
	free(w->spans);
	answer_fail(g, m ? "out of memory" : err);
}

/* ---- conversations ------------------------------------------------------------------------------- */

/* Shared with the thread; the answer's own once it is over. */
struct rendering {
	struct answer *answer;
	struct model_list *list; /* a reference; the model is in it */
	const struct model_entry *model;
	const char *source; /* the template's text; NULL: the model's own */
	char *body;
	size_t len;
	struct prompt prompt;
	struct fields fields;
	atomic_bool dropped;
};

static void rendering_free(struct rendering *r) {
	prompt_clear(&r->prompt);
	model_list_unref(r->list);
	free(r->body);
	free(r);
}

/* On the executor. */
static void rendering_run(void *arg) {
	struct rendering *r = arg;
	struct chat chat = {.source = r->source};
	if (atomic_load(&r->dropped))
		return;
	fields_parse(&r->fields, r->body, r->len);
	chat_read_messages(&chat, &r->fields);
	chat_render(&chat, r->model, &r->prompt, &r->fields);
	chat_clear(&chat);
	fields_clear(&r->fields); /* its error stays */
}

static void rendering_over(void *arg, bool cancelled) {
	struct rendering *r = arg;
	struct answer *g = r->answer;
	if (atomic_load(&r->dropped)) {
		rendering_free(r);
		return;
	}
	struct text_work w = {.text = r->prompt.text,
	        .len = r->prompt.p.len,
	        .spans = r->prompt.spans,
	        .nspans = r->prompt.p.nspans};
	g->rendering = NULL;
	if (cancelled) {
		answer_fail(g, "the daemon ends");
	} else if (!fields_ok(&r->fields)) {
		answer_fail(g, *r->fields.error ? r->fields.error : "out of memory");
	} else if (reply_needed(&r->prompt.reply) && !(g->reply = reply_create(&r->prompt.reply))) {
		answer_fail(g, "out of memory");
	} else {
		g->names = g->reply != NULL; /* marks are control tokens in some vocabularies */
		r->prompt.text = NULL;
		r->prompt.spans = NULL;
		answer_encode(g, &w);
	}
	rendering_free(r);
}

/* The model as the API sees it; NULL with a sentence in err. */
static const struct model_entry *prompts_entry(
        struct prompts *ps, const char *name, char *err, size_t errlen) {
	struct model_list *list = model_list_create(ps->serve, ps->list);
	if (!list) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	model_list_unref(ps->list);
	ps->list = list;
	const struct model_entry *e = model_list_named(list, name);
	if (e && e->facts)
		return e;
	snprintf(err, errlen, "the vocabulary of model %s has not arrived at this node yet; try again", name);
	return NULL;
}

static void answer_render(struct answer *g, const char *template, const uint8_t *body, size_t len) {
	char err[WIRE_TEXT_MAX];
	const char *source = *template ? chat_template_find(template) : NULL;
	if (*template && !source) {
		snprintf(err, sizeof err, "there is no chat template %s; there are: %s", template,
		        chat_template_names());
		answer_fail(g, err);
		return;
	}
	const struct model_entry *e = prompts_entry(g->all, g->model, err, sizeof err);
	struct rendering *r = e ? calloc(1, sizeof *r) : NULL;
	if (!r || !(r->body = malloc(len + 1))) {
		free(r);
		answer_fail(g, e ? "out of memory" : err);
		return;
	}
	if (len)
		memcpy(r->body, body, len);
	r->len = len;
	r->answer = g;
	r->model = e;
	r->source = source;
	r->list = g->all->list;
	model_list_ref(r->list);
	g->rendering = r;
	if (executor_submit(g->all->executor, rendering_run, rendering_over, r) == 0)
		return;
	rendering_free(r);
	answer_fail(g, "out of memory");
}

/* ---- commands ------------------------------------------------------------------------------------ */

/* Nobody waits for it any more. */
static void answer_cancel(void *arg) {
	struct answer *g = arg;
	if (g->rendering)
		atomic_store(&g->rendering->dropped, true);
	text_job_drop(g->encoding);
	if (g->request)
		request_cancel(g->request);
	answer_free(g);
}

/* The client wants no more of it. */
static void answer_stop(void *arg) {
	struct answer *g = arg;
	Caravan__Finished fin = CARAVAN__FINISHED__INIT;
	struct control_conn *c = g->conn;
	if (g->request) {
		request_finish(g->request);
		return;
	}
	answer_cancel(g);
	fin.reason = CARAVAN__REASON__CANCELLED;
	control_end(c, &fin);
}

/* NULL: it has been refused. */
static struct answer *answer_create(struct control_conn *c, const char *name) {
	char err[WIRE_TEXT_MAX];
	struct prompts *ps = control_prompts(c);
	const struct tokenizer *t;
	const struct deploy_model *m = prompts_model(ps, name, &t, err, sizeof err);
	struct answer *g = m ? calloc(1, sizeof *g) : NULL;
	if (!g) {
		control_error(c, "%s", m ? "out of memory" : err);
		return NULL;
	}
	g->conn = c;
	g->all = ps;
	snprintf(g->model, sizeof g->model, "%s", m->plan->model);
	control_running(c, answer_cancel, g);
	return g;
}

/* The answer to a text; NULL: it has been refused. */
static struct answer *answer_create_run(struct control_conn *c, const Caravan__CtlRun *q) {
	struct answer *g = answer_create(c, q->model);
	if (!g)
		return NULL;
	g->names = q->special;
	g->limit = q->limit;
	g->ignore_end = q->ignore_end;
	g->sampling = *q->sampling;
	g->sampling.base.unknown_fields = NULL; /* they are the message's */
	g->sampling.base.n_unknown_fields = 0;
	for (size_t i = 0; i < q->n_stop; i++)
		if ((g->stop[g->nstops] = strdup(q->stop[i])))
			g->nstops++;
	if (g->nstops == q->n_stop) {
		control_on_stop(c, answer_stop);
		return g;
	}
	answer_fail(g, "out of memory");
	return NULL;
}

void prompts_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	struct answer *g = answer_create_run(c, env->ctl_run);
	struct text_work w = {.len = len, .special = env->ctl_run->special};
	if (!g)
		return;
	if (!(w.text = malloc(len + 1))) {
		answer_fail(g, "out of memory");
		return;
	}
	if (len)
		memcpy(w.text, payload, len);
	answer_encode(g, &w);
}

void prompts_chat(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	struct answer *g = answer_create_run(c, env->ctl_chat->run);
	if (g)
		answer_render(g, env->ctl_chat->template_, payload, len);
}

void prompts_logits(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	struct answer *g = answer_create(c, env->ctl_logits->model);
	uint32_t *ids = g ? malloc(len ? len : 1) : NULL;
	if (g && !ids)
		answer_fail(g, "out of memory");
	if (!ids)
		return;
	if (len)
		memcpy(ids, payload, len); /* the payload of a stream is not aligned */
	answer_begin(g, &(struct request_params){.ids = ids, .nids = len / sizeof *ids, .logits = true});
	free(ids);
}
