/* prompt: see prompt.h. */
#include "daemon/api/routes/prompt.h"
#include "daemon/text/sampler.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void prompt_init(struct prompt *q, const struct model_entry *m, const struct http_exchange *x) {
	struct sampler_params s;
	memset(q, 0, sizeof *q);
	sampler_params_default(&s);
	caravan__sampling__init(&q->p.sampling);
	q->p.sampling.temperature = s.temperature;
	q->p.sampling.top_k = s.top_k;
	q->p.sampling.top_p = s.top_p;
	q->p.sampling.min_p = s.min_p;
	q->p.sampling.repeat_penalty = s.repeat_penalty;
	q->p.sampling.presence_penalty = s.presence_penalty;
	q->p.sampling.frequency_penalty = s.frequency_penalty;
	if (getrandom(&q->p.sampling.seed, sizeof q->p.sampling.seed, 0) != sizeof q->p.sampling.seed)
		q->p.sampling.seed = loop_now_ns(); /* fallback: predictable, but good enough */
	q->p.model = m->name;
	q->p.client = http_client(x);
	q->p.choices = 1;
	q->p.stops = q->stops;
}

void prompt_clear(struct prompt *q) {
	free(q->text);
	free(q->spans);
	free(q->ids);
	free(q->grammar);
	free(q->bias);
	json_decref(q->reply.tools);
	q->reply.tools = NULL;
	q->bias = NULL;
	q->grammar = NULL;
	q->text = NULL;
	q->spans = NULL;
	q->ids = NULL;
}

/* What llama.cpp's server and its kin have and this one has not. */
static void prompt_refuse_samplers(struct fields *f, const json_t *o) {
	static const char *const names[] = {
	        "mirostat", "dynatemp_range", "dry_multiplier", "xtc_probability", "post_sampling_probs"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		fields_refuse(f, o, names[i], NULL);
}

void prompt_read_sampling(struct prompt *q, struct fields *f, const json_t *o) {
	Caravan__Sampling *s = &q->p.sampling;
	struct sampler_params check;
	char err[200];
	s->temperature = (float)fields_real(f, o, "temperature", s->temperature);
	int64_t top_k = fields_integer(f, o, "top_k", -1, UINT32_MAX, s->top_k);
	s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
	s->top_p = (float)fields_real(f, o, "top_p", s->top_p);
	s->min_p = (float)fields_real(f, o, "min_p", s->min_p);
	s->repeat_penalty = (float)fields_real(f, o, "repetition_penalty", s->repeat_penalty);
	s->repeat_penalty = (float)fields_real(f, o, "repeat_penalty", s->repeat_penalty);
	s->presence_penalty = (float)fields_real(f, o, "presence_penalty", s->presence_penalty);
	s->frequency_penalty = (float)fields_real(f, o, "frequency_penalty", s->frequency_penalty);
	int64_t seed = fields_integer(f, o, "seed", INT64_MIN, INT64_MAX, -1);
	if (seed != -1)
		s->seed = (uint64_t)seed;
	q->p.ignore_end = fields_bool(f, o, "ignore_eos", false);
	sampler_params_default(&check);
	check.temperature = s->temperature;
	check.top_p = s->top_p;
	check.min_p = s->min_p;
	check.repeat_penalty = s->repeat_penalty;
	check.presence_penalty = s->presence_penalty;
	check.frequency_penalty = s->frequency_penalty;
	if (sampler_params_check(&check, err, sizeof err) != 0) {
		char name[sizeof f->param]; /* which the sentence begins with */
		snprintf(name, sizeof name, "%.*s", (int)strcspn(err, " "), err);
		fields_fail(f, name, "%s", err);
	}
	prompt_refuse_samplers(f, o);
}

/* The token id of a pair, or of a key of an object; false: it is not one. */
static bool bias_id(const json_t *v, const char *key, uint32_t *id) {
	json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
	if (key && *key && strlen(key) <= 10 && strspn(key, "0123456789") == strlen(key))
		n = strtoll(key, NULL, 10);
	*id = (uint32_t)n;
	return n >= 0 && n <= UINT32_MAX;
}

/* v or key: the token. */
static void prompt_add_bias(
        struct prompt *q, struct fields *f, const json_t *v, const char *key, const json_t *value) {
	struct sampler_bias *b = &q->bias[q->p.nbias];
	double add = json_number_value(value);
	if (!bias_id(v, key, &b->id))
		fields_fail(f, "logit_bias", "logit_bias: '%.40s' is not a token id",
		        key                 ? key
		        : json_is_string(v) ? json_string_value(v)
		                            : "a pair");
	else if (!json_is_false(value) && !(json_is_number(value) && add >= -100 && add <= 100))
		fields_fail(f, "logit_bias", "logit_bias: that of token %u must be from -100 to 100", b->id);
	if (!fields_ok(f))
		return;
	b->add = json_is_false(value) ? SAMPLER_BIAS_NEVER : (float)add;
	q->p.nbias++;
}

void prompt_read_bias(struct prompt *q, struct fields *f) {
	const json_t *v = fields_get(f, NULL, "logit_bias");
	json_t *value;
	size_t n = json_is_array(v) ? json_array_size(v) : json_object_size(v);
	const char *key;
	if (!v || !fields_ok(f))
		return;
	if (!json_is_array(v) && !json_is_object(v))
		fields_fail(f, "logit_bias", "logit_bias must be an object of token ids and numbers");
	else if (n > WIRE_BIASES_MAX)
		fields_fail(f, "logit_bias", "logit_bias has %zu tokens, of at most %d", n, WIRE_BIASES_MAX);
	else if (n > 0 && !(q->bias = calloc(n, sizeof *q->bias)))
		f->status = 500;
	q->p.bias = q->bias;
	for (size_t i = 0; json_is_array(v) && i < n && fields_ok(f); i++) {
		const json_t *pair = json_array_get(v, i);
		prompt_add_bias(q, f, json_array_get(pair, 0), NULL, json_array_get(pair, 1));
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, value) {
		if (fields_ok(f))
			prompt_add_bias(q, f, NULL, key, value);
	}
}

static void prompt_add_stop(struct prompt *q, struct fields *f, const char *name, const json_t *v) {
	size_t len = json_string_length(v);
	if (!json_is_string(v))
		fields_fail(f, name, "%s must be a string, or an array of strings", name);
	else if (q->p.nstops == WIRE_STOPS_MAX || len > TEXT_STREAM_MAX_STOP_LEN)
		fields_fail(f, name, "%s has at most %d texts, of at most %d bytes", name, WIRE_STOPS_MAX,
		        TEXT_STREAM_MAX_STOP_LEN);
	else if (len > 0) /* an empty one is ignored */
		q->stops[q->p.nstops++] = (struct text_stop){json_string_value(v), len};
}

void prompt_read_stops(struct prompt *q, struct fields *f, const json_t *o, const char *name) {
	const json_t *v = fields_get(f, o, name);
	if (!json_is_array(v)) {
		if (v)
			prompt_add_stop(q, f, name, v);
		return;
	}
	for (size_t i = 0; i < json_array_size(v) && fields_ok(f); i++)
		prompt_add_stop(q, f, name, json_array_get(v, i));
}

void prompt_read_limit(struct prompt *q, struct fields *f, const json_t *o, const char *name) {
	int64_t n = fields_integer(f, o, name, INT64_MIN, INT64_MAX, q->p.limit);
	if (fields_get(f, o, name) && (n < -2 || n == 0 || n > UINT32_MAX))
		fields_fail(f, name,
		        "%s must be a whole number from 1 to %u, or -1: as many tokens as the context takes",
		        name, UINT32_MAX);
	q->p.limit = n < 0 ? 0 : (uint32_t)n;
}

bool prompt_set_text(struct prompt *q, const char *text, size_t len) {
	free(q->text);
	q->text = malloc(len + 1);
	if (!q->text)
		return false;
	memcpy(q->text, text, len);
	q->text[len] = '\0';
	q->p.text = q->text;
	q->p.len = len;
	return true;
}

static void prompt_read_ids(struct prompt *q, struct fields *f, const char *name, const json_t *v) {
	size_t n = json_array_size(v);
	if (n == 0)
		fields_fail(f, name, "%s is empty", name);
	else if (n > WIRE_CONTEXT_MAX)
		fields_fail(f, name, "%s has %zu tokens, which is too long for any context", name, n);
	if (!fields_ok(f))
		return;
	if (!(q->ids = malloc(n * sizeof *q->ids))) {
		f->status = 500;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *id = json_array_get(v, i);
		if (!json_is_integer(id) || json_integer_value(id) < 0 ||
		        json_integer_value(id) > UINT32_MAX) {
			fields_fail(f, name, "%s must be a text, or an array of token ids", name);
			return;
		}
		q->ids[i] = (uint32_t)json_integer_value(id);
	}
	q->p.ids = q->ids;
	q->p.nids = n;
}

void prompt_read_raw(struct prompt *q, struct fields *f, const char *name) {
	const json_t *v = fields_get(f, NULL, name);
	if (json_is_array(v) && json_array_size(v) > 0 && !json_is_integer(json_array_get(v, 0))) {
		if (json_array_size(v) > 1)
			fields_fail(
			        f, name, "%s has several prompts: one in each request is supported", name);
		v = json_array_get(v, 0);
	}
	q->p.special = true;
	if (json_is_array(v))
		prompt_read_ids(q, f, name, v);
	else if (v && !json_is_string(v))
		fields_fail(f, name, "%s must be a text, or an array of token ids", name);
	else if (!prompt_set_text(q, v ? json_string_value(v) : "", v ? json_string_length(v) : 0))
		f->status = 500;
}

void prompt_read_logprobs(struct prompt *q, struct fields *f) {
	q->p.logprobs = fields_bool(f, NULL, "logprobs", false);
	q->p.top_logprobs = (uint32_t)fields_integer(f, NULL, "top_logprobs", 0, WIRE_TOP_LOGPROBS_MAX, 0);
	if (q->p.top_logprobs && !q->p.logprobs)
		fields_fail(f, "top_logprobs", "top_logprobs needs logprobs to be true");
}

void prompt_read_nprobs(struct prompt *q, struct fields *f, const char *name, int64_t least) {
	const json_t *v = fields_get(f, NULL, name);
	if (!v || json_is_false(v))
		return;
	int64_t n = fields_integer(f, NULL, name, 0, WIRE_TOP_LOGPROBS_MAX, 0);
	q->p.logprobs = n >= least;
	q->p.top_logprobs = (uint32_t)n;
}

void prompt_bound_logprobs(struct prompt *q, struct fields *f, const struct model_entry *m) {
	uint32_t most = PROMPT_LOGPROBS_MAX / ((1 + q->p.top_logprobs) * q->p.choices);
	if (!q->p.logprobs || !fields_ok(f) || most >= m->context)
		return;
	if (q->p.limit > most)
		fields_fail(f, "",
		        "an answer that is kept to its end has at most %u tokens with these log-probabilities; the limit is %u",
		        most, q->p.limit);
	if (q->p.limit == 0)
		q->p.limit = most;
}
