/* completion: see completion.h. */
#include "daemon/api/completion.h"
#include "daemon/api/crossing.h"
#include "daemon/api/text_job.h"
#include "daemon/core/log.h"
#include "daemon/text/sampler.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS_MS 1000           /* between snapshots, when no change is reported */
#define LOADING_S 5              /* seconds until a client may retry with a model that is loading, */
#define LOST_S 5                 /* or that has been lost, */
#define LONG_TEXT (64 << 10)     /* bytes: more takes longer than a step */
#define CONVERSION_MAX (1 << 20) /* bytes of a text */
#define VOCAB_S 1                /* or whose vocabulary is on its way */

struct completions {
	struct crossings crossings; /* must be first */
	struct serve *serve;
	/* the loop's */
	struct executor *encoder, *patient; /* texts to tokens and back: short ones, long ones */
	struct loop_timer *timer;
	struct model_list *list;
	/* the HTTP thread's */
	struct model_list *shown;
};

/* A client with long texts holds up others with such texts alone. */
static struct executor *completions_encoder(const struct completions *cs, size_t len) {
	return len > LONG_TEXT ? cs->patient : cs->encoder;
}

static struct completions *completions_of(const struct crossing *x) {
	return (struct completions *)x->all; /* its first member */
}

/* ---- completions --------------------------------------------------------------------------------- */

struct choice {
	struct completion *c;
	struct request *request; /* NULL: not begun yet, or ended */
	unsigned index;
	uint32_t busy; /* seconds to wait, when refused because too many requests wait */
	bool lost;     /* a part of its text could not be passed on: its end has been posted */
};

struct completion {
	struct crossing x; /* must be first */
	struct completion_events ev;
	struct completion_params p; /* its pointers point to what follows */
	char model[WIRE_NAME_MAX + 1];
	char *text;
	struct token_span *spans;
	uint32_t *ids;
	struct text_stop *stops;
	char *stop_bytes;
	char *grammar; /* NULL: any text */
	struct sampler_bias *bias;
	struct text_job *job; /* the loop's: it is being encoded */
	struct choice choice[COMPLETION_CHOICES_MAX];
};

enum event_kind { EVENT_PROMPT, EVENT_WAITING, EVENT_TOKEN, EVENT_TEXT, EVENT_EMBEDDING, EVENT_END };

/* From the loop to the HTTP thread. */
struct completion_event {
	struct completion *c;
	enum event_kind kind;
	unsigned choice;
	uint32_t place;
	uint64_t done, total;
	struct completion_end *end;
	struct token_logprobs *token;
	size_t len;
	char text[];
};

static void event_free(struct completion_event *e) {
	free(e->end);
	free(e->token);
	free(e);
}

static void event_deliver(void *arg) {
	struct completion_event *e = arg;
	struct completion *c = e->c;
	if (c->x.released)
		;
	else if (e->kind == EVENT_TOKEN)
		c->ev.token(c->ev.arg, e->choice, e->token);
	else if (e->kind == EVENT_TEXT)
		c->ev.text(c->ev.arg, e->choice, e->text, e->len);
	else if (e->kind == EVENT_EMBEDDING)
		c->ev.embedding(c->ev.arg, e->text, e->len / sizeof(float));
	else if (e->kind == EVENT_END)
		c->ev.end(c->ev.arg, e->choice, e->end);
	else if (e->kind == EVENT_PROMPT && c->ev.prompt)
		c->ev.prompt(c->ev.arg, e->choice, (uint32_t)e->total);
	else if (e->kind == EVENT_WAITING && c->ev.waiting)
		c->ev.waiting(c->ev.arg, e->choice, e->place, e->done, e->total);
	event_free(e);
}

static struct completion_event *event_create(const struct choice *ch, enum event_kind kind, size_t len) {
	struct completion_event *e = calloc(1, sizeof *e + len);
	if (!e)
		return NULL;
	e->c = ch->c;
	e->kind = kind;
	e->choice = ch->index;
	e->len = len;
	return e;
}

static int event_post(struct completion_event *e) {
	int rc = e ? loop_post(e->c->x.all->http, event_deliver, e) : -ENOMEM;
	if (rc != 0 && e)
		event_free(e);
	return rc;
}

static void choice_end(struct choice *ch, const struct completion_end *end) {
	struct completion_event *e = event_create(ch, EVENT_END, 0);
	if (e && (e->end = malloc(sizeof *end)))
		*e->end = *end;
	if (!e || !e->end || event_post(e) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a request over HTTP has no end");
}

static void choice_fail(struct choice *ch, int status, uint32_t retry_after, const char *text) {
	struct completion_end end = {
	        .error = {.status = status, .retry_after = retry_after}, .reason = CARAVAN__REASON__ERROR};
	snprintf(end.error.text, sizeof end.error.text, "%s", text);
	choice_end(ch, &end);
}

static void choice_post(
        struct choice *ch, enum event_kind kind, uint32_t place, uint64_t done, uint64_t total) {
	struct completion_event *e = event_create(ch, kind, 0);
	if (!e)
		return;
	e->place = place;
	e->done = done;
	e->total = total;
	(void)event_post(e);
}

static void choice_on_queued(void *arg, uint32_t place, double seconds) {
	(void)seconds;
	choice_post(arg, EVENT_WAITING, place, 0, 0);
}

static void choice_on_prompt(void *arg, uint64_t done, uint64_t total) {
	choice_post(arg, EVENT_WAITING, 0, done, total);
}

/* Posts a part of the answer; e NULL: there was no memory for it. */
static void choice_post_part(struct choice *ch, struct completion_event *e) {
	if (event_post(e) == 0)
		return;
	/* the answer would have a gap; the request is cancelled when the HTTP side is done with it */
	ch->lost = true;
	choice_fail(ch, 500, 0, "out of memory");
}

static void choice_post_bytes(struct choice *ch, enum event_kind kind, const void *data, size_t len) {
	if (ch->lost)
		return;
	struct completion_event *e = event_create(ch, kind, len);
	if (e)
		memcpy(e->text, data, len);
	choice_post_part(ch, e);
}

static void choice_on_token(void *arg, const struct token_logprobs *t) {
	struct choice *ch = arg;
	if (ch->lost)
		return;
	struct completion_event *e = event_create(ch, EVENT_TOKEN, 0);
	if (e && !(e->token = token_logprobs_copy(t))) {
		event_free(e);
		e = NULL;
	}
	choice_post_part(ch, e);
}

static void choice_on_text(void *arg, const char *text, size_t len) {
	choice_post_bytes(arg, EVENT_TEXT, text, len);
}

static void choice_on_embedding(void *arg, uint32_t dim, struct payload *data) {
	choice_post_bytes(arg, EVENT_EMBEDDING, payload_data(data), dim * sizeof(float));
}

static void choice_on_busy(void *arg, uint32_t seconds) {
	((struct choice *)arg)->busy = seconds;
}

static void choice_on_end(void *arg, const Caravan__Finished *fin, const char *error) {
	struct choice *ch = arg;
	ch->request = NULL;
	if (ch->lost)
		return;
	if (error && ch->busy) {
		choice_fail(ch, 429, ch->busy, error);
		return;
	}
	if (error) {
		choice_fail(ch, 503, LOST_S, error);
		return;
	}
	choice_end(ch, &(struct completion_end){.reason = fin->reason,
	                       .stop = fin->stop,
	                       .prompt = fin->prompt,
	                       .cached = fin->cached,
	                       .generated = fin->generated,
	                       .prompt_seconds = fin->prompt_seconds,
	                       .generate_seconds = fin->generate_seconds});
}

/* The model of this name if it is ready; NULL: it is not, and e says why. */
static const struct deploy_model *model_serving(
        struct completions *cs, const char *name, struct completion_error *e) {
	char what[WIRE_TEXT_MAX];
	const struct deploy_model *m = deploy_find(serve_deploy(cs->serve), name, e->text, sizeof e->text);
	if (!m) {
		e->status = 404;
		return NULL;
	}
	if (m->phase != CARAVAN__MODEL_PHASE__SERVING) {
		deploy_describe(serve_deploy(cs->serve), m, what, sizeof what);
		snprintf(e->text, sizeof e->text, "model %s %.900s", m->plan->model, what);
		e->status = 503;
		e->retry_after = LOADING_S;
		return NULL;
	}
	return m;
}

static const struct tokenizer *model_tokenizer(
        struct completions *cs, const char *name, struct completion_error *e) {
	const struct deploy_model *m = model_serving(cs, name, e);
	const struct tokenizer *t =
	        m ? request_tokenizer(serve_requests(cs->serve), m, e->text, sizeof e->text) : NULL;
	if (m && !t) {
		e->status = m->vocab ? 500 : 503;
		e->retry_after = m->vocab ? 0 : VOCAB_S;
	}
	return t;
}

static bool ids_ok(const struct tokenizer *t, const uint32_t *ids, size_t n, struct completion_error *e) {
	for (size_t i = 0; i < n; i++)
		if (ids[i] >= tokenizer_tokens(t)) {
			e->status = 400;
			snprintf(e->text, sizeof e->text,
			        "token %u at position %zu is outside the vocabulary of %u", ids[i], i,
			        tokenizer_tokens(t));
			return false;
		}
	return true;
}

static bool biases_ok(const struct tokenizer *t, const struct completion *c, struct completion_error *e) {
	for (size_t i = 0; i < c->p.nbias; i++)
		if (c->bias[i].id >= tokenizer_tokens(t)) {
			e->status = 400;
			snprintf(e->text, sizeof e->text,
			        "token %u of logit_bias is outside the vocabulary of %u", c->bias[i].id,
			        tokenizer_tokens(t));
			return false;
		}
	return true;
}

/* false: it is refused, which end says. */
static bool choice_begin(struct choice *ch, struct completion_end *end) {
	struct completion *c = ch->c;
	Caravan__Grammar grammar = CARAVAN__GRAMMAR__INIT;
	struct request_params p = {.model = c->model,
	        .grammar = c->grammar ? &grammar : NULL,
	        .text = c->p.text, /* its tokens are in ids */
	        .len = c->p.len,
	        .names = c->p.names,
	        .apart = c->p.apart && !c->grammar, /* a grammar may spell marks, and says where they are */
	        .ids = c->ids,
	        .nids = c->p.nids,
	        .embedding = c->p.embedding,
	        .client = c->p.client,
	        .limit = c->p.limit,
	        .ignore_end = c->p.ignore_end,
	        .sampling = c->p.sampling,
	        .bias = c->bias,
	        .nbias = c->p.nbias,
	        .logprobs = c->p.logprobs,
	        .top_logprobs = c->p.top_logprobs,
	        .stops = c->stops,
	        .nstops = c->p.nstops};
	const struct request_events ev = {.queued = choice_on_queued,
	        .prompt = choice_on_prompt,
	        .token = c->ev.token ? choice_on_token : NULL,
	        .text = choice_on_text,
	        .embedding = choice_on_embedding,
	        .busy = choice_on_busy,
	        .end = choice_on_end,
	        .arg = ch};
	p.sampling.seed += ch->index;
	grammar.language = c->p.language;
	grammar.text = c->grammar;
	grammar.reasoning = (char *)(uintptr_t)(c->p.reasoning ? c->p.reasoning : "");
	grammar.open = c->p.reasoning_open;
	int rc = request_start(&ch->request, serve_requests(completions_of(&c->x)->serve), &p, &ev,
	        end->error.text, sizeof end->error.text);
	if (rc == 0) {
		choice_post(ch, EVENT_PROMPT, 0, 0, request_prompt(ch->request));
		return true;
	}
	end->error.too_long = rc == -EMSGSIZE || rc == -E2BIG;
	end->error.status = end->error.too_long || rc == -EINVAL ? 400 : rc == -ENOMEM ? 500 : 503;
	end->error.retry_after = end->error.status == 503 ? LOST_S : 0;
	return false;
}

static void choices_fail(struct completion *c, unsigned from, const struct completion_end *end) {
	for (unsigned i = from; i < c->p.choices; i++)
		choice_end(&c->choice[i], end);
}

/* What one cannot have, the others cannot either. */
static void choices_begin(struct completion *c) {
	struct completion_end end = {.reason = CARAVAN__REASON__ERROR};
	for (unsigned i = 0; i < c->p.choices; i++)
		if (!choice_begin(&c->choice[i], &end)) {
			choices_fail(c, i, &end);
			return;
		}
}

/* Refused before it is encoded: a text longer than any tokens that fill the context, or than any context. */
static bool text_fits(const struct completion *c, const struct deploy_model *m, const struct tokenizer *t,
        struct completion_error *e) {
	size_t most = (size_t)m->plan->context * tokenizer_longest(t);
	most = most < COMPLETION_TEXT_MAX ? most : COMPLETION_TEXT_MAX;
	if (c->p.len <= most)
		return true;
	e->status = 400;
	e->too_long = true;
	snprintf(e->text, sizeof e->text,
	        "the prompt has %zu bytes, of at most %zu for model %s, whose context is %u tokens", c->p.len,
	        most, c->model, m->plan->context);
	return false;
}

static void completion_on_encoded(void *arg, const struct tokenizer *t, struct text_work *w, int rc) {
	struct completion *c = arg;
	struct completion_end end = {.reason = CARAVAN__REASON__ERROR};
	c->job = NULL;
	if (rc != 0) {
		end.error.status = rc == -ENOMEM ? 500 : rc == -ESHUTDOWN ? 503 : 400;
		end.error.retry_after = rc == -ESHUTDOWN ? LOST_S : 0;
		snprintf(
		        end.error.text, sizeof end.error.text, "cannot encode the prompt: %s", strerror(-rc));
		choices_fail(c, 0, &end);
		return;
	}
	const struct tokenizer *now = model_tokenizer(completions_of(&c->x), c->model, &end.error);
	if (now && now != t) {
		end.error.status = 503;
		end.error.retry_after = LOADING_S;
		snprintf(end.error.text, sizeof end.error.text, "model %s was loaded anew; try again",
		        c->model);
	}
	if (end.error.status) {
		choices_fail(c, 0, &end);
		return;
	}
	const struct deploy_model *m = model_serving(completions_of(&c->x), c->model, &end.error);
	c->ids = w->ids;
	c->p.nids = c->p.cut && m && w->nids > m->plan->context ? m->plan->context : w->nids;
	w->ids = NULL;
	choices_begin(c);
}

static void completion_encode(struct completion *c, const struct tokenizer *t) {
	const struct text_work w = {.text = c->text,
	        .len = c->p.len,
	        .special = c->p.special,
	        .spans = c->spans,
	        .nspans = c->p.nspans,
	        .flags = TOKENIZE_BOS};
	c->job = text_job_start(
	        completions_encoder(completions_of(&c->x), w.len), t, &w, completion_on_encoded, c);
	if (c->job) {
		c->text = NULL;
		c->spans = NULL;
		return;
	}
	struct completion_end end = {.error = {.status = 500, .text = "out of memory"}};
	end.reason = CARAVAN__REASON__ERROR;
	choices_fail(c, 0, &end);
}

static void completion_begin(struct crossing *x) {
	struct completion *c = (struct completion *)x;
	struct completion_end end = {.reason = CARAVAN__REASON__ERROR};
	const struct deploy_model *m = model_serving(completions_of(x), c->model, &end.error);
	const struct tokenizer *t = m ? model_tokenizer(completions_of(x), c->model, &end.error) : NULL;
	if (!t || !biases_ok(t, c, &end.error) ||
	        !(c->text ? text_fits(c, m, t, &end.error) : ids_ok(t, c->ids, c->p.nids, &end.error)))
		choices_fail(c, 0, &end);
	else if (c->text)
		completion_encode(c, t);
	else
		choices_begin(c);
}

static void completion_cancel(struct crossing *x) {
	struct completion *c = (struct completion *)x;
	text_job_drop(c->job);
	c->job = NULL;
	for (unsigned i = 0; i < c->p.choices; i++)
		if (c->choice[i].request) {
			request_cancel(c->choice[i].request);
			c->choice[i].request = NULL;
		}
}

static void completion_destroy(struct crossing *x) {
	struct completion *c = (struct completion *)x;
	free(c->text);
	free(c->spans);
	free(c->ids);
	free(c->stops);
	free(c->stop_bytes);
	free(c->grammar);
	free(c->bias);
	free(c);
}

/* Copies size bytes of p; false: out of memory. */
static bool copy_bytes(void *out, const void *p, size_t size) {
	void *copy = malloc(size + 1);
	if (!copy)
		return false;
	if (size)
		memcpy(copy, p, size);
	((char *)copy)[size] = '\0';
	*(void **)out = copy;
	return true;
}

static bool completion_copy_stops(struct completion *c, const struct completion_params *p) {
	size_t total = 0;
	for (size_t i = 0; i < p->nstops; i++)
		total += p->stops[i].len;
	if (!copy_bytes(&c->stops, p->stops, p->nstops * sizeof *p->stops) ||
	        !copy_bytes(&c->stop_bytes, "", 0))
		return false;
	char *bytes = realloc(c->stop_bytes, total + 1);
	if (!bytes)
		return false;
	c->stop_bytes = bytes;
	for (size_t i = 0; i < p->nstops; i++) {
		memcpy(bytes, p->stops[i].s, p->stops[i].len);
		c->stops[i].s = bytes;
		bytes += p->stops[i].len;
	}
	return true;
}

int completion_start(struct completion **out, struct completions *cs, const struct completion_params *p,
        const struct completion_events *ev) {
	struct completion *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->x = (struct crossing){
	        .begin = completion_begin, .cancel = completion_cancel, .destroy = completion_destroy};
	c->ev = *ev;
	c->p = *p;
	c->p.text = p->text ? "" : NULL; /* it is in c->text */
	snprintf(c->model, sizeof c->model, "%s", p->model);
	for (unsigned i = 0; i < COMPLETION_CHOICES_MAX; i++)
		c->choice[i] = (struct choice){.c = c, .index = i};
	if ((p->text && !copy_bytes(&c->text, p->text, p->len)) ||
	        !copy_bytes(&c->spans, p->spans, p->nspans * sizeof *p->spans) ||
	        (!p->text && !copy_bytes(&c->ids, p->ids, p->nids * sizeof *p->ids)) ||
	        (p->grammar && !copy_bytes(&c->grammar, p->grammar, strlen(p->grammar))) ||
	        !copy_bytes(&c->bias, p->bias, p->nbias * sizeof *p->bias) || !completion_copy_stops(c, p) ||
	        crossing_start(&c->x, &cs->crossings) != 0) {
		completion_destroy(&c->x);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

void completion_release(struct completion *c) {
	if (c)
		crossing_release(&c->x);
}

/* ---- conversions --------------------------------------------------------------------------------- */

struct conversion {
	struct crossing x; /* must be first */
	struct completion_conversion p;
	char model[WIRE_NAME_MAX + 1];
	char *text; /* the request, or the answer for ids */
	struct token_span *spans;
	uint32_t *ids;
	struct text_job *job; /* the loop's */
	/* the answer; written on the loop before it is posted */
	struct completion_error error;
	size_t nids, len;
};

static void conversion_deliver(void *arg) {
	struct conversion *v = arg;
	if (v->x.released)
		return;
	v->p.done(v->p.arg, v->ids, v->nids, v->text, v->len, v->error.status ? &v->error : NULL);
	if (!v->x.released)
		crossing_release(&v->x);
}

static void conversion_answer(struct conversion *v) {
	if (loop_post(v->x.all->http, conversion_deliver, v) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a request over HTTP has no end");
}

static void conversion_on_done(void *arg, const struct tokenizer *t, struct text_work *w, int rc) {
	struct conversion *v = arg;
	(void)t;
	v->job = NULL;
	v->text = w->text;
	v->len = w->len;
	v->ids = w->ids;
	v->nids = w->nids;
	w->text = NULL;
	w->ids = NULL;
	if (rc != 0) {
		v->error.status = rc == -ENOMEM ? 500 : rc == -ESHUTDOWN ? 503 : 400;
		v->error.retry_after = rc == -ESHUTDOWN ? LOST_S : 0;
		snprintf(v->error.text, sizeof v->error.text, "cannot convert it: %s", strerror(-rc));
	}
	conversion_answer(v);
}

static bool conversion_convert(struct conversion *v, const struct tokenizer *t) {
	const struct text_work w = {.text = v->text,
	        .len = v->p.len,
	        .special = v->p.special,
	        .spans = v->spans,
	        .nspans = v->p.nspans,
	        .flags = v->p.bos ? TOKENIZE_BOS : 0,
	        .ids = v->ids,
	        .nids = v->p.nids};
	v->job = text_job_start(
	        completions_encoder(completions_of(&v->x), w.len), t, &w, conversion_on_done, v);
	if (!v->job)
		return false;
	v->text = NULL;
	v->spans = NULL;
	v->ids = NULL;
	return true;
}

static void conversion_begin(struct crossing *x) {
	struct conversion *v = (struct conversion *)x;
	const struct tokenizer *t = model_tokenizer(completions_of(x), v->model, &v->error);
	if (t && v->text && v->p.len > CONVERSION_MAX) {
		v->error.status = 400;
		snprintf(v->error.text, sizeof v->error.text,
		        "the text has %zu bytes; at most %d are converted at once", v->p.len, CONVERSION_MAX);
	} else if (t && (v->text || ids_ok(t, v->ids, v->p.nids, &v->error))) {
		if (conversion_convert(v, t))
			return;
		v->error = (struct completion_error){.status = 500, .text = "out of memory"};
	}
	conversion_answer(v);
}

static void conversion_cancel(struct crossing *x) {
	struct conversion *v = (struct conversion *)x;
	text_job_drop(v->job);
	v->job = NULL;
}

static void conversion_destroy(struct crossing *x) {
	struct conversion *v = (struct conversion *)x;
	free(v->text);
	free(v->spans);
	free(v->ids);
	free(v);
}

struct conversion *completion_convert(struct completions *cs, const struct completion_conversion *p) {
	struct conversion *v = calloc(1, sizeof *v);
	if (!v)
		return NULL;
	v->x = (struct crossing){
	        .begin = conversion_begin, .cancel = conversion_cancel, .destroy = conversion_destroy};
	v->p = *p;
	snprintf(v->model, sizeof v->model, "%s", p->model);
	if ((p->text && !copy_bytes(&v->text, p->text, p->len)) ||
	        !copy_bytes(&v->spans, p->spans, p->nspans * sizeof *p->spans) ||
	        (!p->text && !copy_bytes(&v->ids, p->ids, p->nids * sizeof *p->ids)) ||
	        crossing_start(&v->x, &cs->crossings) != 0) {
		conversion_destroy(&v->x);
		return NULL;
	}
	return v;
}

void completion_convert_drop(struct conversion *v) {
	if (v)
		crossing_release(&v->x);
}

/* ---- models -------------------------------------------------------------------------------------- */

struct showing {
	struct completions *cs;
	struct model_list *list;
};

static void models_show(void *arg) {
	struct showing *s = arg;
	model_list_unref(s->cs->shown);
	s->cs->shown = s->list;
	free(s);
}

void completions_models_changed(struct completions *cs) {
	if (!cs || !cs->crossings.http)
		return;
	struct model_list *list = model_list_create(cs->serve, cs->list);
	struct showing *s = malloc(sizeof *s);
	if (list && s) {
		*s = (struct showing){cs, list};
		model_list_ref(list);
		if (loop_post(cs->crossings.http, models_show, s) == 0) {
			model_list_unref(cs->list);
			cs->list = list;
			return;
		}
		model_list_unref(list);
	}
	free(s);
	model_list_unref(list); /* out of memory: the shown list stays for another second */
}

static void models_look(void *arg) {
	completions_models_changed(arg);
}

const struct model_list *completions_models(const struct completions *cs) {
	return cs->shown;
}

/* ---- all of them --------------------------------------------------------------------------------- */

int completions_create(struct completions **out, struct loop *loop, struct serve *s) {
	struct completions *cs = calloc(1, sizeof *cs);
	if (!cs)
		return -ENOMEM;
	crossings_init(&cs->crossings, loop);
	cs->serve = s;
	int rc = executor_create(&cs->encoder, loop);
	if (rc == 0)
		rc = executor_create(&cs->patient, loop);
	if (rc != 0) {
		executor_destroy(cs->encoder);
		free(cs);
		return rc;
	}
	*out = cs;
	return 0;
}

int completions_attach(struct completions *cs, struct loop *http) {
	cs->crossings.http = http;
	cs->timer = loop_timer_start(cs->crossings.loop, MODELS_MS, true, models_look, cs);
	if (!cs->timer)
		return -ENOMEM;
	completions_models_changed(cs);
	return 0;
}

static void completions_free(void *arg) {
	free(arg);
}

void completions_destroy(struct completions *cs) {
	if (!cs)
		return;
	loop_timer_stop(cs->timer);
	crossings_end(&cs->crossings);
	executor_destroy(cs->encoder); /* what they have is dropped, above */
	executor_destroy(cs->patient);
	model_list_unref(cs->shown);
	model_list_unref(cs->list);
	/* the HTTP thread has posted its last message: after it, nothing refers to cs */
	if (loop_post(cs->crossings.loop, completions_free, cs) != 0)
		log_line(LOG_LINE_ERROR, "out of memory while ending");
}
