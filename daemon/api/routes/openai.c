/* openai: OpenAI's models, chat completions, completions and embeddings.
 *
 * Defaults of settings are those of caravan run, not OpenAI's, except for the 16 tokens of a completion
 * without max_tokens.  system_fingerprint guarantees more than OpenAI's: with the same fingerprint, prompt,
 * settings and seed, the answer has the same bytes. */
#include "daemon/api/routes/openai.h"
#include "daemon/api/routes/answer.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/constrain.h"
#include "daemon/api/routes/embeddings.h"
#include "daemon/api/routes/infill.h"
#include <stdlib.h>
#include <string.h>

#define COMPLETION_TOKENS 16 /* of a completion without a limit */

json_t *openai_error(const struct reply_error *e) {
	static const struct {
		int status;
		const char *type, *code;
	} kinds[] = {{400, "invalid_request_error", NULL}, {404, "invalid_request_error", "not_found"},
	        {429, "rate_limit_error", "rate_limit_exceeded"}, {500, "server_error", "internal_error"},
	        {503, "server_error", "unavailable"}};
	const char *type = "server_error", *code = e->code;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].status == e->status) {
			type = kinds[i].type;
			code = code ? code : kinds[i].code;
		}
	return json_pack("{s:{s:o, s:s, s:s?, s:s?}}", "error", "message",
	        answer_string(e->text, strlen(e->text)), "type", type, "param", e->param, "code", code);
}

/* ---- models -------------------------------------------------------------------------------------- */

/* As llama.cpp's server describes models that it loads; text: what a person is told, "is loading (hashing, 71%)". */
static json_t *openai_status_json(const struct model_entry *m) {
	bool ready = m->state == MODEL_SERVING && m->facts;
	const char *value = ready ? "loaded" : m->state == MODEL_UNAVAILABLE ? "unloaded" : "loading";
	json_t *o = json_pack("{s:s}", "value", value);
	if (o && m->state != MODEL_SERVING)
		json_object_set_new(o, "text", json_string(m->what));
	return o;
}

static json_t *openai_model_json(const char *id, const struct model_entry *m) {
	json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:I}", "id", id, "object", "model", "created",
	        (json_int_t)m->since, "owned_by", "caravan", "max_model_len", (json_int_t)m->context);
	if (o && m->facts)
		json_object_set_new(o, "meta",
		        json_pack("{s:I, s:I, s:I, s:I, s:I}", "n_vocab", (json_int_t)m->facts->hp.vocab,
		                "n_ctx_train", (json_int_t)m->facts->hp.context, "n_embd",
		                (json_int_t)m->facts->hp.dim, "n_params", (json_int_t)m->facts->parameters,
		                "size", (json_int_t)m->facts->bytes));
	if (o) {
		json_object_set_new(o, "root", json_string(m->name)); /* what an alias stands for */
		json_object_set_new(o, "status", openai_status_json(m));
	}
	return o;
}

static void openai_models(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	const struct model_list *l = completions_models(r->completions);
	json_t *data = json_array();
	for (size_t i = 0; l && i < l->n; i++)
		if (!l->model[i].drafts)
			json_array_append_new(data, openai_model_json(l->model[i].name, &l->model[i]));
	for (size_t i = 0; l && i < r->naliases; i++) {
		const struct model_entry *m = model_list_named(l, r->alias[i].model);
		if (m)
			json_array_append_new(data, openai_model_json(r->alias[i].name, m));
	}
	http_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", data));
}

static const struct dialect chat_dialect, text_dialect;

static void openai_model(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	const struct model_entry *m = answer_model(x, r, &text_dialect, http_rest(x), NEED_LISTED);
	if (m)
		http_reply_json(x, 200, openai_model_json(http_rest(x), m));
}

/* ---- answers ------------------------------------------------------------------------------------- */

static json_t *openai_usage_json(const struct answer *a) {
	const struct answer_usage u = answer_usage(a);
	return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)u.prompt,
	        "completion_tokens", (json_int_t)u.generated, "total_tokens",
	        (json_int_t)(u.prompt + u.generated), "prompt_tokens_details", "cached_tokens",
	        (json_int_t)u.cached);
}

/* Wraps choices; takes the reference. */
static json_t *openai_frame_json(const struct answer *a, const char *object, json_t *choices) {
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", a->id, "object", object, "created",
	        (json_int_t)a->created, "model", a->model, "system_fingerprint", a->fingerprint, "choices",
	        choices);
}

static const char *openai_finish_of(const struct answer *a, unsigned choice) {
	return answer_reason(a, choice, "stop", "length", "tool_calls");
}

/* finish NULL: not finished.  logprobs: NULL, if none were asked for; the reference is taken. */
static void openai_chat_send(
        struct answer *a, unsigned choice, json_t *delta, const char *finish, json_t *logprobs) {
	json_t *one = json_pack("{s:i, s:o, s:s?, s:o*}", "index", (int)choice, "delta", delta,
	        "finish_reason", finish, "logprobs", logprobs);
	answer_send_event(a, NULL, openai_frame_json(a, "chat.completion.chunk", json_pack("[o]", one)));
}

/* Of the tokens that have not been sent. */
static json_t *openai_chat_logprobs(struct answer *a, unsigned choice) {
	return json_pack("{s:o, s:n}", "content", answer_tokens_take(&a->choice[choice].tokens, TOKEN_OPENAI),
	        "refusal");
}

static void openai_chat_open(struct answer *a) {
	for (unsigned i = 0; i < a->choices; i++)
		openai_chat_send(a, i, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL,
		        a->logprobs ? json_null() : NULL);
}

static void openai_chat_chunk(struct answer *a, unsigned choice, json_t *delta, const char *finish) {
	bool tokens = a->choice[choice].tokens.n > 0;
	openai_chat_send(a, choice, delta, finish,
	        !a->logprobs ? NULL
	        : tokens     ? openai_chat_logprobs(a, choice)
	                     : json_null());
}

/* prompt_progress is as llama.cpp's server has it. */
static void openai_chat_waiting(
        struct answer *a, unsigned choice, uint32_t place, uint64_t done, uint64_t total) {
	json_t *o = openai_frame_json(a, "chat.completion.chunk",
	        json_pack("[{s:i, s:{}, s:n}]", "index", (int)choice, "delta", "finish_reason"));
	if (o && place > 0)
		json_object_set_new(o, "queue", json_pack("{s:I}", "place", (json_int_t)place));
	else if (o)
		json_object_set_new(o, "prompt_progress",
		        json_pack("{s:I, s:i, s:I, s:I}", "total", (json_int_t)total, "cache", 0, "processed",
		                (json_int_t)done, "time_ms",
		                (json_int_t)((loop_now_ns() - a->begun_ns) / 1000000)));
	answer_send_event(a, NULL, o);
}

static void openai_chat_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	openai_chat_chunk(a, choice, json_pack("{s:o}", "content", answer_string(text, len)), NULL);
}

static void openai_chat_reasoning(struct answer *a, unsigned choice, const char *text, size_t len) {
	json_t *s = answer_string(text, len);
	openai_chat_chunk(a, choice, json_pack("{s:O, s:o}", "reasoning_content", s, "reasoning", s), NULL);
}

static json_t *openai_call_json(
        const struct answer *a, unsigned choice, const struct tool_call *call, bool indexed) {
	char id[80];
	snprintf(id, sizeof id, "call_%.*s_%u_%u", ANSWER_ID_SHORT, a->id + strcspn(a->id, "-") + 1, choice,
	        a->choice[choice].ncalls - 1);
	json_t *o = json_pack("{s:s, s:s, s:{s:o, s:o}}", "id", id, "type", "function", "function", "name",
	        answer_string(call->name, strlen(call->name)), "arguments",
	        answer_string(call->arguments, strlen(call->arguments)));
	if (o && indexed)
		json_object_set_new(o, "index", json_integer(a->choice[choice].ncalls - 1));
	return o;
}

static void openai_chat_call(struct answer *a, unsigned choice, const struct tool_call *call) {
	struct answer_choice *c = &a->choice[choice];
	if (a->stream) {
		openai_chat_chunk(a, choice,
		        json_pack("{s:[o]}", "tool_calls", openai_call_json(a, choice, call, true)), NULL);
		return;
	}
	if (!c->calls)
		c->calls = json_array();
	json_array_append_new(c->calls, openai_call_json(a, choice, call, false));
}

static void openai_chat_end(struct answer *a, unsigned choice) {
	openai_chat_chunk(a, choice, json_object(), openai_finish_of(a, choice));
}

static void openai_stream_done(struct answer *a, const char *object) {
	if (a->usage) {
		json_t *o = openai_frame_json(a, object, json_array());
		json_object_set_new(o, "usage", openai_usage_json(a));
		answer_send_event(a, NULL, o);
	}
	answer_send_text(a, "data: [DONE]\n\n");
}

static void openai_chat_done(struct answer *a) {
	openai_stream_done(a, "chat.completion.chunk");
}

static void openai_stream_broken(struct answer *a, json_t *error) {
	answer_send_event(a, NULL, error);
}

static json_t *openai_chat_whole(struct answer *a) {
	json_t *choices = json_array();
	for (unsigned i = 0; i < a->choices; i++) {
		struct answer_choice *c = &a->choice[i];
		bool silent = c->ncalls > 0 && c->len == 0; /* only tool calls, no text */
		json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content",
		        silent ? json_null() : answer_string(c->text ? c->text : "", c->len));
		if (c->reasoning.len) {
			json_t *s = answer_string(c->reasoning.s, c->reasoning.len);
			json_object_set(m, "reasoning_content", s);
			json_object_set_new(m, "reasoning", s);
		}
		if (c->calls)
			json_object_set(m, "tool_calls", c->calls);
		json_array_append_new(
		        choices, json_pack("{s:i, s:o, s:o, s:s}", "index", (int)i, "message", m, "logprobs",
		                         a->logprobs ? openai_chat_logprobs(a, i) : json_null(),
		                         "finish_reason", openai_finish_of(a, i)));
	}
	json_t *o = openai_frame_json(a, "chat.completion", choices);
	json_object_set_new(o, "usage", openai_usage_json(a));
	return o;
}

static const struct dialect chat_dialect = {.api = METRICS_OPENAI,
        .type = "text/event-stream",
        .error = openai_error,
        .open = openai_chat_open,
        .waiting = openai_chat_waiting,
        .text = openai_chat_text,
        .reasoning = openai_chat_reasoning,
        .call = openai_chat_call,
        .end = openai_chat_end,
        .done = openai_chat_done,
        .broken = openai_stream_broken,
        .whole = openai_chat_whole};

/* Of the tokens that have not been sent, which belong to this text. */
static json_t *openai_text_logprobs(struct answer *a, unsigned choice, const char *text, size_t len) {
	struct answer_choice *c = &a->choice[choice];
	json_t *o = answer_tokens_arrays(&c->tokens, text, len, c->place);
	answer_tokens_clear(&c->tokens);
	c->place.bytes += len;
	c->place.chars += text_characters(text, len);
	return o;
}

static void openai_text_chunk(
        struct answer *a, unsigned choice, const char *text, size_t len, const char *finish) {
	bool tokens = a->logprobs && (len > 0 || a->choice[choice].tokens.n > 0);
	json_t *one = json_pack("[{s:i, s:o, s:o, s:s?}]", "index", (int)choice, "text",
	        answer_string(text, len), "logprobs",
	        tokens ? openai_text_logprobs(a, choice, text, len) : json_null(), "finish_reason", finish);
	answer_send_event(a, NULL, openai_frame_json(a, "text_completion", one));
}

static void openai_text_open(struct answer *a) {
	(void)a; /* nothing is sent before the text */
}

static void openai_text_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	openai_text_chunk(a, choice, text, len, NULL);
}

static void openai_text_end(struct answer *a, unsigned choice) {
	openai_text_chunk(a, choice, "", 0, openai_finish_of(a, choice));
}

static void openai_text_done(struct answer *a) {
	openai_stream_done(a, "text_completion");
}

static json_t *openai_text_whole(struct answer *a) {
	json_t *choices = json_array();
	for (unsigned i = 0; i < a->choices; i++) {
		const char *text = a->choice[i].text ? a->choice[i].text : "";
		size_t len = a->choice[i].len;
		json_array_append_new(choices,
		        json_pack("{s:i, s:o, s:o, s:s}", "index", (int)i, "text", answer_string(text, len),
		                "logprobs", a->logprobs ? openai_text_logprobs(a, i, text, len) : json_null(),
		                "finish_reason", openai_finish_of(a, i)));
	}
	json_t *o = openai_frame_json(a, "text_completion", choices);
	json_object_set_new(o, "usage", openai_usage_json(a));
	return o;
}

static const struct dialect text_dialect = {.api = METRICS_OPENAI,
        .type = "text/event-stream",
        .error = openai_error,
        .open = openai_text_open,
        .text = openai_text_text,
        .end = openai_text_end,
        .done = openai_text_done,
        .broken = openai_stream_broken,
        .whole = openai_text_whole};

/* ---- requests ------------------------------------------------------------------------------------ */

/* Refuses known fields that are not supported. */
static void openai_refuse_unsupported(struct fields *f, bool chat) {
	static const char *const names[] = {"guided_json", "guided_regex", "guided_choice", "guided_grammar",
	        "functions", "audio", "prediction", "web_search_options"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		fields_refuse(f, NULL, names[i], NULL);
	fields_refuse(f, NULL, "function_call", "none");
	if (chat) {
		const json_t *modalities = fields_get(f, NULL, "modalities");
		for (size_t i = 0; i < json_array_size(modalities); i++) {
			const char *one = json_string_value(json_array_get(modalities, i));
			if (!one || strcmp(one, "text") != 0)
				fields_fail(f, "modalities", "modalities is supported as [\"text\"] alone");
		}
		return;
	}
	fields_refuse(f, NULL, "echo", NULL);
	if (fields_integer(f, NULL, "best_of", 0, COMPLETION_CHOICES_MAX, 1) > 1)
		fields_fail(f, "best_of", "best_of is supported as 1 alone");
}

static void openai_read_common(struct prompt *q, struct fields *f, bool *usage) {
	const json_t *options = fields_get(f, NULL, "stream_options");
	if (options && !json_is_object(options))
		fields_fail(f, "stream_options", "stream_options must be an object");
	else if (options)
		*usage = fields_bool(f, options, "include_usage", false);
	q->p.choices = (uint32_t)fields_integer(f, NULL, "n", 1, COMPLETION_CHOICES_MAX, 1);
	prompt_read_sampling(q, f, NULL);
	prompt_read_bias(q, f);
	prompt_read_stops(q, f, NULL, "stop");
	prompt_read_limit(q, f, NULL, "max_tokens");
	prompt_read_limit(q, f, NULL, "max_completion_tokens");
	constrain_read_format(q, f, fields_get(f, NULL, "response_format"), "response_format");
	constrain_read_llama(q, f);
}

/* Additional variables for templates. */
static void openai_read_extra(struct chat *c, struct fields *f) {
	const json_t *given = fields_get(f, NULL, "chat_template_kwargs");
	chat_read_effort(c, f, fields_string(f, NULL, "reasoning_effort", NULL), "reasoning_effort");
	if (given && !json_is_object(given))
		fields_fail(f, "chat_template_kwargs", "chat_template_kwargs must be an object");
	if (!fields_ok(f) || !given)
		return;
	c->extra = json_copy((json_t *)given);
	if (json_object_get(given, "enable_thinking") || json_object_get(given, "thinking"))
		c->think = CHAT_THINK_AS_USUAL; /* as the template has it */
}

/* llama.cpp's way to have the reasoning left in the text. */
static void openai_read_reasoning_format(struct prompt *q, struct fields *f) {
	const char *format = fields_string(f, NULL, "reasoning_format", "auto");
	if (strcmp(format, "none") == 0)
		q->reply.reasoning = REASONING_NONE;
	else if (strcmp(format, "auto") != 0 && strcmp(format, "deepseek") != 0)
		fields_fail(f, "reasoning_format", "reasoning_format must be none, auto or deepseek");
}

/* A prompt, or with a suffix what comes before it. */
static void openai_read_prompt(struct prompt *q, struct fields *f, const struct model_entry *m) {
	const char *suffix = fields_string(f, NULL, "suffix", "");
	if (!*suffix) {
		prompt_read_raw(q, f, "prompt");
		return;
	}
	const struct infill in = {
	        .prefix = fields_string(f, NULL, "prompt", ""), .suffix = suffix, .prompt = ""};
	infill_render(q, f, m, &in, "suffix");
}

static void openai_complete(struct http_exchange *x, struct routes *r, bool chat) {
	const struct dialect *d = chat ? &chat_dialect : &text_dialect;
	const struct model_entry *m = NULL;
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	struct answer *a = NULL;
	bool stream, progress, usage = false;
	size_t len;
	const char *body = http_body(x, &len), *name;
	fields_parse(&f, body, len);
	name = fields_string(&f, NULL, "model", NULL);
	if (!fields_ok(&f)) {
		answer_fields_error(x, r, d, &f, NEED_COMPLETION);
		goto out;
	}
	if (!(m = answer_model(x, r, d, name, NEED_COMPLETION)))
		goto out;
	prompt_init(&q, m, x);
	stream = fields_bool(&f, NULL, "stream", false);
	progress = fields_bool(&f, NULL, "return_progress", false);
	c.one_call = !fields_bool(&f, NULL, "parallel_tool_calls", true);
	if (!chat)
		q.p.limit = COMPLETION_TOKENS;
	openai_read_common(&q, &f, &usage);
	openai_refuse_unsupported(&f, chat);
	if (chat)
		prompt_read_logprobs(&q, &f);
	else
		prompt_read_nprobs(&q, &f, "logprobs", 0);
	if (chat) {
		chat_read(&c, &f);
		openai_read_extra(&c, &f);
	}
	if (!stream || c.tools) /* what may become a call is kept until it is one */
		prompt_bound_logprobs(&q, &f, m);
	if (chat) {
		chat_render(&c, m, &q, &f);
		openai_read_reasoning_format(&q, &f);
	} else {
		openai_read_prompt(&q, &f, m);
	}
	constrain_to_calls(&q, &f, &c);
	if (!fields_ok(&f)) {
		answer_fields_error(x, r, d, &f, NEED_COMPLETION);
		goto out;
	}
	if ((a = answer_create(x, r, d, m, name, chat ? "chatcmpl-" : "cmpl-"))) {
		a->stream = stream;
		a->usage = usage;
		a->progress = progress;
		a->one_call = c.one_call;
		answer_start(a, &q.p, &q.reply);
	}
out:
	prompt_clear(&q);
	chat_clear(&c);
	fields_clear(&f);
}

static void openai_chat_completions(struct http_exchange *x, void *arg) {
	openai_complete(x, arg, true);
}

static void openai_completions(struct http_exchange *x, void *arg) {
	openai_complete(x, arg, false);
}

/* ---- embeddings ---------------------------------------------------------------------------------- */

static json_t *openai_embeddings_json(const struct embeddings *e) {
	json_t *data = json_array();
	for (size_t i = 0; i < e->n; i++)
		json_array_append_new(
		        data, json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i,
		                      "embedding", embeddings_vector_json(e, i)));
	return json_pack("{s:s, s:o, s:s, s:s, s:{s:I, s:I}}", "object", "list", "data", data, "model",
	        e->model, "system_fingerprint", e->fingerprint, "usage", "prompt_tokens",
	        (json_int_t)e->prompt, "total_tokens", (json_int_t)e->prompt);
}

static void openai_read_embeddings(struct embeddings *e, struct fields *f) {
	const char *format = fields_string(f, NULL, "encoding_format", "float");
	e->whole = openai_embeddings_json;
	e->base64 = strcmp(format, "base64") == 0;
	if (!e->base64 && strcmp(format, "float") != 0)
		fields_fail(f, "encoding_format", "encoding_format must be float or base64");
	embeddings_read(e, f, "input");
	for (size_t i = 0; i < e->n; i++) {
		const json_t *v = json_array_get(e->input, i);
		if (json_is_string(v) && json_string_length(v) == 0)
			fields_fail(f, "input", "input has an empty text");
	}
	if (e->n == 0)
		fields_fail(f, "input", "input is empty");
}

static void openai_embeddings(struct http_exchange *x, void *arg) {
	const struct dialect *d = &text_dialect;
	const struct model_entry *m;
	struct fields f;
	struct embeddings *e = NULL;
	size_t len;
	const char *body = http_body(x, &len), *name;
	fields_parse(&f, body, len);
	name = fields_string(&f, NULL, "model", NULL);
	if (!fields_ok(&f))
		answer_fields_error(x, arg, d, &f, NEED_EMBEDDINGS);
	else if ((m = answer_model(x, arg, d, name, NEED_EMBEDDINGS)) &&
	         (e = embeddings_create(x, arg, d, m, name))) {
		openai_read_embeddings(e, &f);
		if (fields_ok(&f)) {
			embeddings_start(e);
		} else {
			answer_fields_error(x, arg, d, &f, NEED_EMBEDDINGS);
			embeddings_destroy(e);
		}
	}
	fields_clear(&f);
}

const struct http_route openai_routes[] = {
        {HTTP_GET, "/v1/models", openai_models, false},
        {HTTP_GET, "/v1/models/*", openai_model, false},
        {HTTP_POST, "/v1/chat/completions", openai_chat_completions, false},
        {HTTP_POST, "/v1/completions", openai_completions, false},
        {HTTP_POST, "/v1/embeddings", openai_embeddings, false},
};
const size_t openai_nroutes = sizeof openai_routes / sizeof *openai_routes;
