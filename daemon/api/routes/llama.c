/* llama: the routes of llama.cpp's server: health, properties, slots, tokens, templates, its completion and infill. */
#include "daemon/api/routes/llama.h"
#include "config.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/constrain.h"
#include "daemon/api/routes/infill.h"
#include "daemon/api/routes/openai.h"
#include <stdlib.h>
#include <string.h>

static const struct dialect llama_dialect;

/* ---- the state of the server --------------------------------------------------------------------- */

/* Healthy if a model is ready, or if there are none. */
static void llama_health(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	const struct model_list *l = completions_models(r->completions);
	char text[400] = "this node is starting";
	bool ready = l && l->n == 0;
	for (size_t i = 0; l && i < l->n; i++) {
		ready = ready || l->model[i].state == MODEL_SERVING;
		snprintf(text, sizeof text, "model %s %s", l->model[i].name, l->model[i].what);
	}
	if (ready)
		http_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
	else
		answer_error(x, &llama_dialect,
		        &(struct reply_error){.status = 503, .retry_after = 5, .text = text});
}

static json_t *llama_settings_json(const struct model_entry *m) {
	return json_pack("{s:I, s:s}", "n_ctx", (json_int_t)m->context, "model", m->name);
}

static void llama_props(struct http_exchange *x, void *arg) {
	const struct model_entry *m =
	        answer_model(x, arg, &llama_dialect, http_query(x, "model"), NEED_SERVING);
	if (!m)
		return;
	const char *source = chat_template_of(m->facts);
	http_reply_json(x, 200,
	        json_pack("{s:o, s:I, s:s, s:s, s:o, s:o, s:o, s:{s:b, s:b}, s:s}",
	                "default_generation_settings", llama_settings_json(m), "total_slots",
	                (json_int_t)m->parallel, "model_alias", m->name, "model_path", m->name,
	                "chat_template", answer_string(source, strlen(source)), "bos_token",
	                answer_string(m->facts->bos, strlen(m->facts->bos)), "eos_token",
	                answer_string(m->facts->eos, strlen(m->facts->eos)), "modalities", "vision", 0,
	                "audio", 0, "build_info", PACKAGE_STRING));
}

/* One slot for each sequence that the model runs in parallel, in the whole cluster. */
static void llama_slots(struct http_exchange *x, void *arg) {
	const struct model_entry *m =
	        answer_model(x, arg, &llama_dialect, http_query(x, "model"), NEED_SERVING);
	if (!m)
		return;
	json_t *slots = json_array();
	for (uint32_t i = 0; i < m->parallel; i++)
		json_array_append_new(slots,
		        json_pack("{s:I, s:I, s:b, s:s}", "id", (json_int_t)i, "n_ctx",
		                (json_int_t)m->context, "is_processing", i < m->running, "model", m->name));
	http_reply_json(x, 200, slots);
}

static void llama_metrics(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	size_t len = 0;
	r->metrics.kept = kept_count(r->kept);
	char *text = metrics_text(&r->metrics, completions_models(r->completions), &len);
	if (text)
		http_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
	else
		answer_error(
		        x, &llama_dialect, &(struct reply_error){.status = 500, .text = "out of memory"});
	free(text);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

/* A request that waits for a conversion. */
struct converting {
	struct http_exchange *x;
	struct conversion *conversion;
	bool to_text;
};

static void llama_converting_closed(void *arg) {
	struct converting *v = arg;
	completion_convert_drop(v->conversion);
	free(v);
}

static void llama_converting_done(void *arg, const uint32_t *ids, size_t nids, const char *text, size_t len,
        const struct completion_error *error) {
	struct converting *v = arg;
	if (error) {
		answer_error(v->x, &llama_dialect,
		        &(struct reply_error){.status = error->status,
		                .retry_after = error->retry_after,
		                .text = error->text});
	} else if (v->to_text) {
		http_reply_json(v->x, 200, json_pack("{s:o}", "content", answer_string(text, len)));
	} else {
		json_t *tokens = json_array();
		for (size_t i = 0; i < nids; i++)
			json_array_append_new(tokens, json_integer(ids[i]));
		http_reply_json(v->x, 200, json_pack("{s:o}", "tokens", tokens));
	}
	free(v);
}

static void llama_convert(
        struct http_exchange *x, struct routes *r, struct completion_conversion *p, bool to_text) {
	struct converting *v = calloc(1, sizeof *v);
	p->done = llama_converting_done;
	p->arg = v;
	if (!v || !(v->conversion = completion_convert(r->completions, p))) {
		free(v);
		answer_error(
		        x, &llama_dialect, &(struct reply_error){.status = 500, .text = "out of memory"});
		return;
	}
	v->x = x;
	v->to_text = to_text;
	http_on_closed(x, llama_converting_closed, v);
}

/* The model and the fields of a request; NULL: an error has been answered. */
static const struct model_entry *llama_begin(
        struct http_exchange *x, struct routes *r, struct fields *f, enum answer_need need) {
	size_t len;
	const char *body = http_body(x, &len), *name;
	fields_parse(f, body, len);
	name = fields_string(f, NULL, "model", NULL);
	if (fields_ok(f))
		return answer_model(x, r, &llama_dialect, name, need);
	answer_fields_error(x, r, &llama_dialect, f, need);
	return NULL;
}

static void llama_tokenize(struct http_exchange *x, void *arg) {
	struct fields f;
	const struct model_entry *m = llama_begin(x, arg, &f, NEED_SERVING);
	if (m) {
		const char *text = fields_string(&f, NULL, "content", "");
		struct completion_conversion p = {.model = m->name,
		        .text = text,
		        .len = strlen(text),
		        .bos = fields_bool(&f, NULL, "add_special", false),
		        .special = fields_bool(&f, NULL, "parse_special", true)};
		fields_refuse(&f, NULL, "with_pieces", NULL);
		if (fields_ok(&f))
			llama_convert(x, arg, &p, false);
		else
			answer_fields_error(x, arg, &llama_dialect, &f, NEED_SERVING);
	}
	fields_clear(&f);
}

static void llama_detokenize(struct http_exchange *x, void *arg) {
	struct fields f;
	struct prompt q = {0};
	const struct model_entry *m = llama_begin(x, arg, &f, NEED_SERVING);
	const json_t *tokens = m ? fields_get(&f, NULL, "tokens") : NULL;
	if (m) {
		if (!json_is_array(tokens))
			fields_fail(&f, "tokens", "tokens must be an array of token ids");
		else if (json_array_size(tokens) > 0)
			prompt_read_raw(&q, &f, "tokens");
		if (!fields_ok(&f))
			answer_fields_error(x, arg, &llama_dialect, &f, NEED_SERVING);
		else
			llama_convert(x, arg,
			        &(struct completion_conversion){
			                .model = m->name, .ids = q.ids, .nids = q.p.nids},
			        true);
	}
	prompt_clear(&q);
	fields_clear(&f);
}

static void llama_apply_template(struct http_exchange *x, void *arg) {
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	const struct model_entry *m = llama_begin(x, arg, &f, NEED_SERVING);
	if (m) {
		prompt_init(&q, m, x);
		chat_read(&c, &f);
		chat_render(&c, m, &q, &f);
		if (fields_ok(&f))
			http_reply_json(x, 200, json_pack("{s:o}", "prompt", answer_string(q.text, q.p.len)));
		else
			answer_fields_error(x, arg, &llama_dialect, &f, NEED_SERVING);
	}
	chat_clear(&c);
	prompt_clear(&q);
	fields_clear(&f);
}

/* ---- its completion ------------------------------------------------------------------------------ */

static void llama_open(struct answer *a) {
	(void)a; /* nothing is sent before the text */
}

/* Of the tokens that have not been sent; NULL: there are none. */
static json_t *llama_probabilities(struct answer *a, unsigned choice) {
	struct answer_tokens *t = &a->choice[choice].tokens;
	return t->n ? answer_tokens_take(t, TOKEN_LLAMA) : NULL;
}

static void llama_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	answer_send_event(a, NULL,
	        json_pack("{s:i, s:o, s:[], s:b, s:o*}", "index", (int)choice, "content",
	                answer_string(text, len), "tokens", "stop", 0, "completion_probabilities",
	                llama_probabilities(a, choice)));
}

static double per_second(uint32_t n, double seconds) {
	return seconds > 0 ? n / seconds : 0;
}

static json_t *llama_last(struct answer *a, unsigned choice, const char *text, size_t len) {
	const struct completion_end *e = &a->choice[choice].end;
	uint32_t computed = e->prompt - e->cached;
	const char *stop = e->reason == CARAVAN__REASON__STOP  ? "word"
	                   : e->reason == CARAVAN__REASON__END ? "eos"
	                                                       : "limit";
	const char *word = e->stop ? a->stops[e->stop - 1] : "";
	json_t *timings =
	        json_pack("{s:I, s:f, s:f, s:I, s:f, s:f}", "prompt_n", (json_int_t)computed, "prompt_ms",
	                e->prompt_seconds * 1e3, "prompt_per_second", per_second(computed, e->prompt_seconds),
	                "predicted_n", (json_int_t)e->generated, "predicted_ms", e->generate_seconds * 1e3,
	                "predicted_per_second", per_second(e->generated, e->generate_seconds));
	return json_pack("{s:i, s:o, s:[], s:b, s:s, s:I, s:I, s:I, s:b, s:s, s:s, s:o, s:s, s:o*}", "index",
	        (int)choice, "content", answer_string(text, len), "tokens", "stop", 1, "model", a->model,
	        "tokens_predicted", (json_int_t)e->generated, "tokens_evaluated", (json_int_t)e->prompt,
	        "tokens_cached", (json_int_t)(e->prompt + e->generated), "truncated", 0, "stop_type", stop,
	        "stopping_word", word, "timings", timings, "system_fingerprint", a->fingerprint,
	        "completion_probabilities", llama_probabilities(a, choice));
}

static void llama_end(struct answer *a, unsigned choice) {
	answer_send_event(a, NULL, llama_last(a, choice, "", 0));
}

static void llama_done(struct answer *a) {
	(void)a;
}

static void llama_broken(struct answer *a, json_t *error) {
	answer_send_event(a, NULL, error);
}

static json_t *llama_whole(struct answer *a) {
	const struct answer_choice *c = &a->choice[0];
	return llama_last(a, 0, c->text ? c->text : "", c->len);
}

static const struct dialect llama_dialect = {.api = METRICS_LLAMA,
        .type = "text/event-stream",
        .error = openai_error,
        .open = llama_open,
        .text = llama_text,
        .end = llama_end,
        .done = llama_done,
        .broken = llama_broken,
        .whole = llama_whole};

static void llama_read_infill(struct prompt *q, struct fields *f, const struct model_entry *m) {
	const char *prefix = fields_string(f, NULL, "input_prefix", NULL),
	           *suffix = fields_string(f, NULL, "input_suffix", NULL);
	const struct infill in = {.prefix = prefix,
	        .suffix = suffix,
	        .prompt = fields_string(f, NULL, "prompt", ""),
	        .extra = fields_get(f, NULL, "input_extra")};
	if (!prefix)
		fields_fail(f, "input_prefix", "input_prefix is missing");
	else if (!suffix)
		fields_fail(f, "input_suffix", "input_suffix is missing");
	if (fields_ok(f))
		infill_render(q, f, m, &in, "input_suffix");
}

static void llama_complete(struct http_exchange *x, struct routes *arg, bool infill) {
	static const char *const unsupported[] = {"lora", "image_data"};
	struct fields f;
	struct prompt q = {0};
	struct answer *a = NULL;
	const struct model_entry *m = llama_begin(x, arg, &f, NEED_COMPLETION);
	if (m) {
		prompt_init(&q, m, x);
		prompt_read_sampling(&q, &f, NULL);
		prompt_read_bias(&q, &f);
		prompt_read_stops(&q, &f, NULL, "stop");
		prompt_read_limit(&q, &f, NULL, "max_tokens");
		prompt_read_limit(&q, &f, NULL, "n_predict");
		if (infill)
			llama_read_infill(&q, &f, m);
		else
			prompt_read_raw(&q, &f, "prompt");
		constrain_read_llama(&q, &f);
		bool stream = fields_bool(&f, NULL, "stream", false);
		prompt_read_nprobs(&q, &f, "n_probs", 1);
		if (!stream)
			prompt_bound_logprobs(&q, &f, m);
		for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
			fields_refuse(&f, NULL, unsupported[i], NULL);
		if (!fields_ok(&f)) {
			answer_fields_error(x, arg, &llama_dialect, &f, NEED_COMPLETION);
		} else if ((a = answer_create(x, arg, &llama_dialect, m, NULL, "cmpl-"))) {
			a->stream = stream;
			answer_start(a, &q.p, NULL);
		}
	}
	prompt_clear(&q);
	fields_clear(&f);
}

static void llama_completion(struct http_exchange *x, void *arg) {
	llama_complete(x, arg, false);
}

static void llama_infill(struct http_exchange *x, void *arg) {
	llama_complete(x, arg, true);
}

const struct http_route llama_routes[] = {
        {HTTP_GET, "/health", llama_health, true},
        {HTTP_GET, "/v1/health", llama_health, true},
        {HTTP_GET, "/props", llama_props, false},
        {HTTP_GET, "/slots", llama_slots, false},
        {HTTP_GET, "/metrics", llama_metrics, false},
        {HTTP_POST, "/tokenize", llama_tokenize, false},
        {HTTP_POST, "/detokenize", llama_detokenize, false},
        {HTTP_POST, "/apply-template", llama_apply_template, false},
        {HTTP_POST, "/completion", llama_completion, false},
        {HTTP_POST, "/completions", llama_completion, false},
        {HTTP_POST, "/infill", llama_infill, false},
};
const size_t llama_nroutes = sizeof llama_routes / sizeof *llama_routes;
