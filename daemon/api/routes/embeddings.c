/* embeddings: see embeddings.h. */
#include "daemon/api/routes/embeddings.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void embeddings_destroy(struct embeddings *e) {
	if (!e)
		return;
	for (unsigned i = 0; i < EMBEDDINGS_AT_ONCE; i++)
		completion_release(e->text[i].completion);
	json_decref(e->input);
	free(e->vector);
	free(e);
}

static void embeddings_on_closed(void *arg) {
	struct embeddings *e = arg;
	e->routes->metrics.gone[e->dialect->api]++;
	embeddings_destroy(e);
}

static void embeddings_answer(struct embeddings *e) {
	struct metrics *m = &e->routes->metrics;
	metrics_answered(m, METRICS_EMBEDDINGS, e->dialect->api, 200);
	m->embedded += e->prompt;
	http_reply_json(e->x, 200, e->whole(e));
	embeddings_destroy(e);
}

static void embeddings_fail(struct embeddings *e, const struct completion_error *error) {
	metrics_answered(&e->routes->metrics, METRICS_EMBEDDINGS, e->dialect->api, error->status);
	answer_completion_error(e->x, e->dialect, error);
	embeddings_destroy(e);
}

static void embeddings_no_memory(struct embeddings *e) {
	embeddings_fail(e, &(struct completion_error){.status = 500, .text = "out of memory"});
}

struct embeddings *embeddings_create(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct model_entry *m, const char *named) {
	struct embeddings *e = calloc(1, sizeof *e);
	if (!e) {
		answer_refuse(x, r, d, NEED_EMBEDDINGS,
		        &(struct reply_error){.status = 500, .text = "out of memory"});
		return NULL;
	}
	e->x = x;
	e->routes = r;
	e->dialect = d;
	e->dim = m->facts->hp.dim;
	e->begun_ns = loop_now_ns();
	snprintf(e->name, sizeof e->name, "%s", m->name);
	snprintf(e->model, sizeof e->model, "%s",
	        named && *named && strlen(named) < sizeof e->model ? named : m->name);
	snprintf(e->fingerprint, sizeof e->fingerprint, "%s", m->facts->fingerprint);
	for (unsigned i = 0; i < EMBEDDINGS_AT_ONCE; i++)
		e->text[i].all = e;
	return e;
}

/* ---- the request --------------------------------------------------------------------------------- */

static bool embeddings_is_id(const json_t *v) {
	return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= UINT32_MAX;
}

static bool embeddings_is_text(const json_t *v) {
	size_t n = json_array_size(v);
	bool good = json_is_string(v) || (n > 0 && n <= WIRE_CONTEXT_MAX);
	for (size_t i = 0; good && i < n; i++)
		good = embeddings_is_id(json_array_get(v, i));
	return good;
}

static void embeddings_read_texts(struct embeddings *e, struct fields *f, const char *name) {
	const json_t *v = fields_get(f, NULL, name);
	bool one = json_is_string(v) ? json_string_length(v) > 0 : json_is_integer(json_array_get(v, 0));
	bool none = !v || (json_is_string(v) && !one);
	e->input = one || none ? json_array() : json_incref((json_t *)v);
	if (one)
		json_array_append(e->input, (json_t *)v);
	e->n = json_array_size(e->input);
	bool good = json_is_array(e->input);
	for (size_t i = 0; good && i < e->n; i++)
		good = embeddings_is_text(json_array_get(e->input, i));
	if (!good)
		fields_fail(f, name, "%s must be a text, an array of token ids, or an array of these", name);
}

void embeddings_read(struct embeddings *e, struct fields *f, const char *name) {
	size_t most = (e->base64 ? EMBEDDINGS_BASE64_MAX : EMBEDDINGS_NUMBERS_MAX) / (e->dim ? e->dim : 1);
	most = most < EMBEDDINGS_TEXTS_MAX ? most : EMBEDDINGS_TEXTS_MAX;
	if (fields_integer(f, NULL, "dimensions", 1, INT32_MAX, e->dim) != e->dim)
		fields_fail(f, "dimensions", "dimensions is supported as %u alone, which model %s has",
		        e->dim, e->name);
	embeddings_read_texts(e, f, name);
	if (e->n > most)
		fields_fail(f, name, "%s has %zu texts, of at most %zu with %u numbers each", name, e->n,
		        most, e->dim);
}

/* ---- events -------------------------------------------------------------------------------------- */

static bool embeddings_start_next(struct embeddings *e, struct embeddings_text *t);

static void embeddings_on_text(void *arg, unsigned choice, const char *text, size_t len) {
	(void)arg;
	(void)choice;
	(void)text;
	(void)len;
}

static void embeddings_on_embedding(void *arg, const void *floats, size_t dim) {
	struct embeddings_text *t = arg;
	if (dim != t->all->dim)
		return;
	memcpy(t->all->vector + t->index * dim, floats, dim * sizeof(float));
	t->has = true;
}

static void embeddings_on_end(void *arg, unsigned choice, const struct completion_end *end) {
	struct embeddings_text *t = arg;
	struct embeddings *e = t->all;
	(void)choice;
	if (end->error.status) {
		embeddings_fail(e, &end->error);
		return;
	}
	if (!t->has) {
		embeddings_fail(
		        e, &(struct completion_error){.status = 500, .text = "the model made no embedding"});
		return;
	}
	completion_release(t->completion);
	t->completion = NULL;
	e->prompt += end->prompt;
	e->ended++;
	if (e->started < e->n && !embeddings_start_next(e, t)) {
		embeddings_no_memory(e);
	} else if (e->ended == e->n) {
		embeddings_answer(e);
	}
}

static uint32_t *embeddings_ids(const json_t *v) {
	size_t n = json_array_size(v);
	uint32_t *ids = malloc((n ? n : 1) * sizeof *ids);
	for (size_t i = 0; ids && i < n; i++)
		ids[i] = (uint32_t)json_integer_value(json_array_get(v, i));
	return ids;
}

/* false: out of memory. */
static bool embeddings_start_next(struct embeddings *e, struct embeddings_text *t) {
	const json_t *v = json_array_get(e->input, e->started);
	const struct completion_events ev = {.text = embeddings_on_text,
	        .embedding = embeddings_on_embedding,
	        .end = embeddings_on_end,
	        .arg = t};
	struct completion_params p = {.model = e->name,
	        .text = json_string_value(v),
	        .len = json_string_length(v),
	        .nids = json_array_size(v),
	        .client = http_client(e->x),
	        .choices = 1,
	        .embedding = true,
	        .cut = e->cut};
	uint32_t *ids = embeddings_ids(v);
	p.ids = ids;
	caravan__sampling__init(&p.sampling);
	t->index = e->started++;
	t->has = false;
	bool good = ids && completion_start(&t->completion, e->routes->completions, &p, &ev) == 0;
	free(ids);
	return good;
}

void embeddings_start(struct embeddings *e) {
	bool good = (e->vector = calloc(e->n * e->dim + 1, sizeof *e->vector)) != NULL;
	if (good && e->n == 0) {
		embeddings_answer(e);
		return;
	}
	for (unsigned i = 0; good && i < EMBEDDINGS_AT_ONCE && e->started < e->n; i++)
		good = embeddings_start_next(e, &e->text[i]);
	if (good)
		http_on_closed(e->x, embeddings_on_closed, e);
	else
		embeddings_no_memory(e);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static json_t *embeddings_base64_json(const float *vector, uint32_t dim) {
	size_t len = dim * sizeof *vector;
	char *text = malloc(len / 3 * 4 + 8);
	if (!text)
		return NULL;
	int n = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)vector, (int)len);
	json_t *o = json_stringn(text, (size_t)n);
	free(text);
	return o;
}

json_t *embeddings_vector_json(const struct embeddings *e, size_t i) {
	const float *vector = e->vector + i * e->dim;
	if (e->base64)
		return embeddings_base64_json(vector, e->dim);
	json_t *numbers = json_array();
	for (uint32_t k = 0; k < e->dim; k++)
		json_array_append_new(numbers, json_real((double)vector[k]));
	return numbers;
}
