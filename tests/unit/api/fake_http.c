/* fake_http: see fake_http.h. */
#include "tests/unit/api/fake_http.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without Check, so that fuzzers have it too. */
#define FAKE_MUST(what) ((what) ? (void)0 : fake_abort(#what, __LINE__))

static void fake_abort(const char *what, int line) {
	fprintf(stderr, "fake_http.c:%d: %s\n", line, what);
	abort();
}

struct completions {
	struct model_list *list;
};

struct completion {
	int unused;
};

struct fake_completion fake;
struct kept_limits fake_limits;
static struct completions completions;
static struct completion completion;
static struct model_facts facts;
static struct routes routes;

/* ---- completions --------------------------------------------------------------------------------- */

const struct model_list *completions_models(const struct completions *cs) {
	return cs->list;
}

int completions_create(struct completions **out, struct loop *loop, struct serve *s) {
	(void)loop;
	(void)s;
	*out = &completions;
	return 0;
}

int completions_attach(struct completions *cs, struct loop *http) {
	(void)cs;
	(void)http;
	return 0;
}

void completions_destroy(struct completions *cs) {
	(void)cs;
}

int completion_start(struct completion **out, struct completions *cs, const struct completion_params *p,
        const struct completion_events *ev) {
	(void)cs;
	free(fake.text);
	free(fake.grammar);
	fake.p = *p;
	FAKE_MUST(p->nbias <= WIRE_BIASES_MAX);
	if (p->nbias)
		memcpy(fake.bias, p->bias, p->nbias * sizeof *p->bias);
	for (size_t i = 0; i < p->nspans && i < sizeof fake.spans / sizeof *fake.spans; i++)
		fake.spans[i] = p->spans[i];
	fake.grammar = p->grammar ? strdup(p->grammar) : NULL;
	fake.text = p->text ? strndup(p->text, p->len) : NULL;
	fake.ev = *ev;
	if (fake.started < FAKE_EACH) {
		fake.each[fake.started] = *ev;
		snprintf(fake.each_text[fake.started], sizeof *fake.each_text, "%s",
		        fake.text ? fake.text : "");
		for (size_t i = 0; i < 2 && i < p->nids; i++)
			fake.each_ids[fake.started][i] = p->ids[i];
	}
	fake.started++;
	*out = &completion;
	return 0;
}

void completion_release(struct completion *c) {
	if (!c)
		return;
	FAKE_MUST(c == &completion);
	FAKE_MUST(fake.released < fake.started);
	fake.released++;
}

/* It never comes to an end: the exchange is closed. */
struct conversion *completion_convert(struct completions *cs, const struct completion_conversion *p) {
	(void)cs;
	(void)p;
	fake.started++;
	return (struct conversion *)&completion;
}

void completion_convert_drop(struct conversion *v) {
	(void)v;
	fake.released++;
}

/* ---- those who look at the cluster ---------------------------------------------------------------- */

struct live_watcher {
	live_fn *report, *event;
	void *arg;
};

unsigned fake_looks;
int fake_look_refused;
static struct live_watcher watcher; /* one at a time */

int live_create(struct live **out, struct loop *loop, struct serve *s, struct cluster_events *events) {
	(void)events;
	(void)loop;
	(void)s;
	*out = NULL;
	return 0;
}

int live_attach(struct live *l, struct loop *http) {
	(void)l;
	(void)http;
	return 0;
}

void live_changed(struct live *l) {
	(void)l;
}

void live_destroy(struct live *l) {
	(void)l;
}

int live_watch(struct live_watcher **out, struct live *l, live_fn *report, live_fn *event, void *arg) {
	(void)l;
	*out = NULL;
	if (fake_look_refused)
		return fake_look_refused;
	FAKE_MUST(fake_looks == 0);
	watcher = (struct live_watcher){report, event, arg};
	fake_looks++;
	*out = &watcher;
	return 0;
}

void live_release(struct live_watcher *w) {
	FAKE_MUST(w == &watcher && fake_looks == 1);
	fake_looks = 0;
}

void fake_report(const char *json) {
	if (fake_looks)
		(void)watcher.report(watcher.arg, json, json ? strlen(json) : 0);
}

void fake_event(const char *json) {
	if (fake_looks && watcher.event)
		(void)watcher.event(watcher.arg, json, strlen(json));
}

/* ---- the server ---------------------------------------------------------------------------------- */

const char *http_path(const struct http_exchange *x) {
	return x->path;
}

const char *http_rest(const struct http_exchange *x) {
	return x->rest;
}

enum http_method http_method(const struct http_exchange *x) {
	return x->method;
}

const char *http_header(const struct http_exchange *x, const char *name) {
	return strcmp(name, "X-Resume") == 0        ? x->resume
	       : strcmp(name, "Last-Event-ID") == 0 ? x->last_event
	                                            : NULL;
}

const char *http_query(const struct http_exchange *x, const char *name) {
	return strcmp(name, "from") == 0 ? x->from : NULL;
}

const char *http_body(const struct http_exchange *x, size_t *len) {
	*len = x->len;
	return x->body;
}

uint64_t http_client(const struct http_exchange *x) {
	(void)x;
	return 1;
}

uint64_t http_key(const struct http_exchange *x) {
	return x->key;
}

static void http_write(struct http_exchange *x, const void *data, size_t len) {
	x->out = realloc(x->out, x->outlen + len + 1);
	FAKE_MUST(x->out);
	memcpy(x->out + x->outlen, data, len);
	x->outlen += len;
	x->out[x->outlen] = '\0';
}

void http_reply_text(struct http_exchange *x, int status, const char *type, const char *text, size_t len) {
	FAKE_MUST(x->status == 0 && !x->ended);
	x->status = status;
	snprintf(x->type, sizeof x->type, "%s", type ? type : "");
	http_write(x, text, len);
	x->ended = true;
}

void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...) {
	char message[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	http_reply_json(x, status, json_pack("{s:{s:s, s:s?}}", "error", "message", message, "code", code));
}

void http_reply_json(struct http_exchange *x, int status, json_t *body) {
	char *text = body ? json_dumps(body, HTTP_JSON) : NULL;
	FAKE_MUST(text); /* an answer that is JSON */
	json_decref(body);
	http_reply_text(x, status, "application/json", text, strlen(text));
	free(text);
}

void http_reply_header(struct http_exchange *x, const char *name, const char *value) {
	FAKE_MUST(x->status == 0);
	if (strcmp(name, "Retry-After") == 0)
		snprintf(x->retry_after, sizeof x->retry_after, "%s", value);
	if (strcmp(name, "X-Stream-Id") == 0)
		snprintf(x->stream_id, sizeof x->stream_id, "%s", value);
	if (strcmp(name, "X-Resume") == 0)
		snprintf(x->resumes, sizeof x->resumes, "%s", value);
}

void http_stream_begin(struct http_exchange *x, int status, const char *type) {
	FAKE_MUST(x->status == 0 && !x->ended);
	x->status = status;
	snprintf(x->type, sizeof x->type, "%s", type);
	x->streaming = true;
}

void http_stream_send(struct http_exchange *x, const void *data, size_t len) {
	FAKE_MUST(x->streaming && !x->ended);
	http_write(x, data, len);
	x->unwritten += x->slow ? len : 0;
}

void http_stream_cut(struct http_exchange *x, const char *why) {
	(void)why;
	FAKE_MUST(x->streaming && !x->ended);
	x->ended = x->cut = true;
}

size_t http_stream_unwritten(const struct http_exchange *x) {
	return x->unwritten;
}

void http_on_written(struct http_exchange *x, void (*written)(void *arg), void *arg) {
	x->written = written;
	x->written_arg = arg;
}

void http_stream_end(struct http_exchange *x) {
	FAKE_MUST(x->streaming && !x->ended);
	x->ended = true;
}

void http_on_closed(struct http_exchange *x, void (*closed)(void *arg), void *arg) {
	x->closed = closed;
	x->closed_arg = arg;
}

/* ---- for tests ----------------------------------------------------------------------------------- */

void fake_begin(const char *chat_template) {
	memset(&fake, 0, sizeof fake);
	memset(&facts, 0, sizeof facts);
	facts.chat_template = (char *)chat_template;
	facts.template_len = strlen(chat_template);
	facts.bos = (char *)"<s>";
	facts.eos = (char *)"</s>";
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		facts.fim[i] = (char *)"";
	facts.known_template = "plain";
	facts.type = "Q4_0";
	facts.bytes = 4000000000;
	facts.parameters = 7000000000;
	facts.hp.dim = FAKE_DIM;
	snprintf(facts.fingerprint, sizeof facts.fingerprint, "fp_0123456789abcdef");
	completions.list = calloc(1, sizeof *completions.list + sizeof(struct model_entry));
	FAKE_MUST(completions.list);
	completions.list->n = 1;
	completions.list->model[0] = (struct model_entry){.name = "m",
	        .state = MODEL_SERVING,
	        .facts = &facts,
	        .context = 4096,
	        .parallel = 2,
	        .since = 1700000000};
	routes = (struct routes){.completions = &completions, .resume = FAKE_RESUME, .node = FAKE_NODE};
	FAKE_MUST(kept_create(&routes.kept, &fake_limits) == 0);
}

struct routes *fake_routes(void) {
	return &routes;
}

void fake_fim(enum vocab_fim which, const char *token) {
	facts.fim[which] = (char *)(uintptr_t)token;
}

struct model_entry *fake_model(void) {
	return &completions.list->model[0];
}

void fake_end(void) {
	kept_stop(routes.kept);
	kept_destroy(routes.kept);
	free(completions.list);
	completions.list = NULL;
	free(fake.text);
	free(fake.grammar);
	fake.text = NULL;
	fake.grammar = NULL;
	FAKE_MUST(fake.started == fake.released && fake_looks == 0);
}

void fake_ask(
        struct http_exchange *x, enum http_method method, const char *path, const char *body, size_t len) {
	*x = (struct http_exchange){.path = path, .rest = "", .body = body, .len = len, .method = method};
	fake_ask_again(x);
}

void fake_ask_again(struct http_exchange *x) {
	size_t n;
	const struct http_route *table = routes_table(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].path, x->path) == 0 && table[i].methods & x->method) {
			table[i].handler(x, &routes);
			return;
		}
	FAKE_MUST(!"a route");
}

void fake_written(struct http_exchange *x) {
	x->unwritten = 0;
	if (x->written && !x->ended)
		x->written(x->written_arg);
}

void fake_done(struct http_exchange *x) {
	if (!x->ended && x->closed)
		x->closed(x->closed_arg);
	free(x->out);
	x->out = NULL;
}

void fake_text(const char *text) {
	fake.ev.text(fake.ev.arg, 0, text, strlen(text));
}

void fake_finish(Caravan__Reason reason) {
	fake.ev.end(fake.ev.arg, 0,
	        &(struct completion_end){.reason = reason,
	                .prompt = 20,
	                .cached = 5,
	                .generated = 7,
	                .stop = reason == CARAVAN__REASON__STOP});
}

void fake_fail(int status, const char *text) {
	struct completion_end end = {.error = {.status = status, .retry_after = status == 429 ? 9 : 0},
	        .reason = CARAVAN__REASON__ERROR};
	snprintf(end.error.text, sizeof end.error.text, "%s", text);
	fake.ev.end(fake.ev.arg, 0, &end);
}

void fake_embed(unsigned n, const float *embedding) {
	const struct completion_events *ev = &fake.each[n];
	FAKE_MUST(n < FAKE_EACH && n < fake.started);
	if (embedding)
		ev->embedding(ev->arg, embedding, FAKE_DIM);
	ev->end(ev->arg, 0, &(struct completion_end){.reason = CARAVAN__REASON__END, .prompt = 20});
}
