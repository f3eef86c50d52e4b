/* ollama: Ollama's routes: listings, chat and generate, streamed as lines of JSON, and embeddings.
 *
 * An error is a string here, as in Ollama's API: its clients print it as it is.  Models have the tag
 * ":latest". */
#include "daemon/api/routes/ollama.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/constrain.h"
#include "daemon/api/routes/embeddings.h"
#include "daemon/api/routes/infill.h"
#include "daemon/api/web/web.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OLLAMA_VERSION "0.6.4" /* the Ollama version of this API; clients require at least that */
#define FOREVER_S 3153600000   /* 100 years: models stay until they are unloaded */

json_t *ollama_error(const struct reply_error *e) {
	return json_pack("{s:o}", "error", answer_string(e->text, strlen(e->text)));
}

/* RFC 3339. */
struct time_text {
	char s[40];
};

static struct time_text time_text(int64_t seconds, long nanoseconds) {
	struct time_text t = {""};
	time_t at = (time_t)seconds;
	struct tm tm;
	if (gmtime_r(&at, &tm)) {
		size_t n = strftime(t.s, sizeof t.s, "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(t.s + n, sizeof t.s - n, ".%06ldZ", nanoseconds / 1000);
	}
	return t;
}

static struct time_text time_now(void) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return time_text(now.tv_sec, now.tv_nsec);
}

/* ---- what there is ------------------------------------------------------------------------------- */

static void ollama_root(struct http_exchange *x, void *arg) {
	static const char text[] = "Ollama is running";
	(void)arg;
	if (!web_reply_page(x))
		http_reply_text(x, 200, "text/plain; charset=utf-8", text, strlen(text));
}

static void ollama_version(struct http_exchange *x, void *arg) {
	(void)arg;
	http_reply_json(x, 200, json_pack("{s:s}", "version", OLLAMA_VERSION));
}

/* "70.6B", "262K", as Ollama formats them. */
static void ollama_parameters_text(char out[24], uint64_t n) {
	static const struct {
		double unit;
		const char *format;
	} units[] = {{1e12, "%.1fT"}, {1e9, "%.1fB"}, {1e6, "%.2fM"}, {1e3, "%.0fK"}};
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if ((double)n >= units[i].unit) {
			snprintf(out, 24, units[i].format, (double)n / units[i].unit);
			return;
		}
	snprintf(out, 24, "%u", (unsigned)n);
}

static json_t *ollama_details_json(const struct model_entry *m) {
	char parameters[24];
	ollama_parameters_text(parameters, m->facts->parameters);
	return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf", "family",
	        "llama", "families", "llama", "parameter_size", parameters, "quantization_level",
	        m->facts->type);
}

static json_t *ollama_tag_json(const struct model_entry *m, const char *called) {
	char name[160], hex[CONTENT_HEX];
	snprintf(name, sizeof name, "%s%s", called, strchr(called, ':') ? "" : ":latest");
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", name, "model", name, "modified_at",
	        time_text(m->since, 0).s, "size", (json_int_t)m->facts->bytes, "digest",
	        content_hex(&m->facts->manifest, hex), "details", ollama_details_json(m));
}

static void ollama_ps_fields(json_t *tag, const struct model_entry *m) {
	json_object_set_new(tag, "expires_at", json_string(time_text((int64_t)time(NULL) + FOREVER_S, 0).s));
	json_object_set_new(tag, "size_vram", json_integer(0));
	json_object_set_new(tag, "context_length", json_integer(m->context));
}

static void ollama_list_add(json_t *models, const struct model_entry *m, const char *called, bool running) {
	if (!m || !m->facts || (running && m->state != MODEL_SERVING))
		return;
	json_t *tag = ollama_tag_json(m, called);
	if (running)
		ollama_ps_fields(tag, m);
	json_array_append_new(models, tag);
}

static void ollama_reply_list(struct http_exchange *x, struct routes *r, bool running) {
	const struct model_list *l = completions_models(r->completions);
	json_t *models = json_array();
	for (size_t i = 0; l && i < l->n; i++)
		if (!l->model[i].drafts)
			ollama_list_add(models, &l->model[i], l->model[i].name, running);
	for (size_t i = 0; l && i < r->naliases; i++)
		ollama_list_add(models, model_list_named(l, r->alias[i].model), r->alias[i].name, running);
	http_reply_json(x, 200, json_pack("{s:o}", "models", models));
}

static void ollama_tags(struct http_exchange *x, void *arg) {
	ollama_reply_list(x, arg, false);
}

static void ollama_ps(struct http_exchange *x, void *arg) {
	ollama_reply_list(x, arg, true);
}

static const struct dialect ollama_dialect;

/* The model that a request names: in "model" or, for older clients, in "name". */
static const struct model_entry *ollama_begin(struct http_exchange *x, struct routes *r, struct fields *f,
        const char **called, enum answer_need need) {
	size_t len;
	const char *body = http_body(x, &len);
	fields_parse(f, body, len);
	*called = fields_string(f, NULL, "model", fields_string(f, NULL, "name", NULL));
	if (fields_ok(f))
		return answer_model(x, r, &ollama_dialect, *called, need);
	answer_fields_error(x, r, &ollama_dialect, f, need);
	return NULL;
}

static json_t *ollama_info_json(const struct model_entry *m) {
	const struct hparams *h = &m->facts->hp;
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "general.architecture",
	        "llama", "general.basename", m->name, "general.parameter_count",
	        (json_int_t)m->facts->parameters, "llama.context_length", (json_int_t)m->context,
	        "llama.embedding_length", (json_int_t)h->dim, "llama.block_count", (json_int_t)h->layers,
	        "llama.feed_forward_length", (json_int_t)h->ffn, "llama.attention.head_count",
	        (json_int_t)h->heads, "llama.attention.head_count_kv", (json_int_t)h->kv_heads,
	        "llama.vocab_size", (json_int_t)h->vocab);
}

static void ollama_show(struct http_exchange *x, void *arg) {
	struct fields f;
	const char *called;
	const struct model_entry *m = ollama_begin(x, arg, &f, &called, NEED_SERVING);
	if (m) {
		char parameters[40], modelfile[160];
		const char *source = chat_template_of(m->facts);
		json_t *can = json_pack("[s]", "completion");
		if (chat_takes_tools(m->facts))
			json_array_append_new(can, json_string("tools"));
		if (infill_known(m->facts))
			json_array_append_new(can, json_string("insert"));
		if (chat_thinks(m->facts))
			json_array_append_new(can, json_string("thinking"));
		snprintf(parameters, sizeof parameters, "num_ctx %u", m->context);
		snprintf(modelfile, sizeof modelfile, "FROM %s\n", m->name);
		http_reply_json(x, 200,
		        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s}", "modelfile", modelfile,
		                "parameters", parameters, "template", answer_string(source, strlen(source)),
		                "details", ollama_details_json(m), "model_info", ollama_info_json(m),
		                "capabilities", can, "modified_at", time_text(m->since, 0).s, "license", ""));
	}
	fields_clear(&f);
}

/* Succeeds for a model that is there; others cannot be pulled from here. */
static void ollama_pull(struct http_exchange *x, void *arg) {
	struct fields f;
	const char *called;
	const struct model_entry *m = ollama_begin(x, arg, &f, &called, NEED_LISTED);
	if (m && !fields_bool(&f, NULL, "stream", true)) {
		http_reply_json(x, 200, json_pack("{s:s}", "status", "success"));
	} else if (m) {
		static const char lines[] = "{\"status\":\"pulling manifest\"}\n{\"status\":\"success\"}\n";
		http_reply_text(x, 200, "application/x-ndjson", lines, strlen(lines));
	}
	fields_clear(&f);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void ollama_open(struct answer *a) {
	(void)a;
}

/* A line with a part of the answer, or with the whole. */
static json_t *ollama_part_json(struct answer *a, const char *text, size_t len, json_t *calls) {
	struct answer_tokens *tokens = &a->choice[0].tokens; /* that have not been sent */
	json_t *o = json_pack("{s:s, s:s}", "model", a->model, "created_at", time_now().s);
	if (!a->chat) {
		json_object_set_new(o, "response", answer_string(text, len));
	} else {
		json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content", answer_string(text, len));
		if (calls)
			json_object_set(m, "tool_calls", calls);
		json_object_set_new(o, "message", m);
	}
	json_object_set_new(o, "done", json_false());
	if (tokens->n)
		json_object_set_new(o, "logprobs", answer_tokens_take(tokens, TOKEN_OLLAMA));
	return o;
}

/* The same with a part of the reasoning. */
static json_t *ollama_set_reasoning(const struct answer *a, json_t *o, const char *text, size_t len) {
	if (len > 0)
		json_object_set_new(
		        a->chat ? json_object_get(o, "message") : o, "thinking", answer_string(text, len));
	return o;
}

static void ollama_reasoning(struct answer *a, unsigned choice, const char *text, size_t len) {
	(void)choice;
	answer_send_line(a, ollama_set_reasoning(a, ollama_part_json(a, "", 0, NULL), text, len));
}

static void ollama_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	(void)choice;
	answer_send_line(a, ollama_part_json(a, text, len, NULL));
}

static void ollama_call(struct answer *a, unsigned choice, const struct tool_call *call) {
	struct answer_choice *c = &a->choice[choice];
	json_t *one =
	        json_pack("{s:{s:o, s:o}}", "function", "name", answer_string(call->name, strlen(call->name)),
	                "arguments", json_loads(call->arguments, 0, NULL));
	if (!a->stream) {
		if (!c->calls)
			c->calls = json_array();
		json_array_append_new(c->calls, one);
		return;
	}
	json_t *calls = json_pack("[o]", one);
	answer_send_line(a, ollama_part_json(a, "", 0, calls));
	json_decref(calls);
}

static json_int_t nanoseconds(double seconds) {
	return (json_int_t)llround(seconds * 1e9);
}

/* Adds the fields of the last line. */
static json_t *ollama_with_end(const struct answer *a, json_t *o) {
	const struct completion_end *e = &a->choice[0].end;
	json_object_set_new(o, "done", json_true());
	json_object_set_new(o, "done_reason", json_string(answer_reason(a, 0, "stop", "length", "stop")));
	json_object_set_new(o, "system_fingerprint", json_string(a->fingerprint));
	json_object_set_new(o, "total_duration", json_integer((json_int_t)(loop_now_ns() - a->begun_ns)));
	json_object_set_new(o, "load_duration", json_integer(0));
	json_object_set_new(o, "prompt_eval_count", json_integer(e->prompt));
	json_object_set_new(o, "prompt_eval_duration", json_integer(nanoseconds(e->prompt_seconds)));
	json_object_set_new(o, "eval_count", json_integer(e->generated));
	json_object_set_new(o, "eval_duration", json_integer(nanoseconds(e->generate_seconds)));
	return o;
}

static void ollama_end(struct answer *a, unsigned choice) {
	(void)choice;
	answer_send_line(a, ollama_with_end(a, ollama_part_json(a, "", 0, NULL)));
}

static void ollama_done(struct answer *a) {
	(void)a;
}

static void ollama_broken(struct answer *a, json_t *error) {
	answer_send_line(a, error);
}

static json_t *ollama_whole(struct answer *a) {
	const struct answer_choice *c = &a->choice[0];
	json_t *o = ollama_part_json(a, c->text ? c->text : "", c->len, c->calls);
	return ollama_with_end(a, ollama_set_reasoning(a, o, c->reasoning.s, c->reasoning.len));
}

static const struct dialect ollama_dialect = {.api = METRICS_OLLAMA,
        .type = "application/x-ndjson",
        .error = ollama_error,
        .open = ollama_open,
        .text = ollama_text,
        .reasoning = ollama_reasoning,
        .call = ollama_call,
        .end = ollama_end,
        .done = ollama_done,
        .broken = ollama_broken,
        .whole = ollama_whole};

/* ---- requests ------------------------------------------------------------------------------------ */

static void ollama_read_options(struct prompt *q, struct fields *f) {
	const json_t *o = fields_get(f, NULL, "options");
	if (o && !json_is_object(o))
		fields_fail(f, "options", "options must be an object");
	else if (o) {
		prompt_read_sampling(q, f, o);
		prompt_read_stops(q, f, o, "stop");
		prompt_read_limit(q, f, o, "num_predict");
		fields_refuse(f, o, "logits_all", NULL);
	}
	constrain_read_ollama(q, f);
	prompt_read_logprobs(q, f);
	fields_refuse(f, NULL, "images", NULL);
}

/* true, false, or an effort. */
static void ollama_read_think(struct chat *c, struct fields *f) {
	const json_t *think = fields_get(f, NULL, "think");
	const char *effort = json_string_value(think);
	if (!think)
		return;
	c->think = json_is_false(think) ? CHAT_THINK_NOT : CHAT_THINK;
	c->think_param = "think";
	if (effort &&
	        (strcmp(effort, "low") == 0 || strcmp(effort, "medium") == 0 || strcmp(effort, "high") == 0))
		c->effort = effort;
	else if (!json_is_boolean(think))
		fields_fail(f, "think", "think must be true, false, low, medium or high");
}

/* Without a prompt, a request loads or unloads a model; here it is loaded, and stays. */
static void ollama_reply_loaded(struct http_exchange *x, const char *called, const struct model_entry *m,
        bool chat, const json_t *keep_alive) {
	json_t *o = json_pack("{s:s, s:s}", "model", called ? called : m->name, "created_at", time_now().s);
	bool unload = json_is_integer(keep_alive) && json_integer_value(keep_alive) == 0;
	if (chat)
		json_object_set_new(
		        o, "message", json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
	else
		json_object_set_new(o, "response", json_string(""));
	json_object_set_new(o, "done", json_true());
	json_object_set_new(o, "done_reason", json_string(unload ? "unload" : "load"));
	http_reply_json(x, 200, o);
}

/* Reads messages: refuses images, and renames tool_name to name for templates. */
static void ollama_read_messages(struct chat *c, struct fields *f) {
	const json_t *messages = fields_get(f, NULL, "messages");
	for (size_t i = 0; i < json_array_size(messages); i++) {
		json_t *m = json_array_get(messages, i), *tool = json_object_get(m, "tool_name");
		if (json_array_size(json_object_get(m, "images")) > 0)
			fields_fail(f, "images", "images is not supported");
		if (tool && !json_object_get(m, "name"))
			json_object_set(m, "name", tool);
	}
	chat_read(c, f);
}

/* A prompt as a conversation of one message, optionally after a system message; or with a suffix what comes before it. */
static void ollama_read_generate(
        struct chat *c, struct prompt *q, struct fields *f, const struct model_entry *m, const char *prompt) {
	const char *system = fields_string(f, NULL, "system", "");
	const struct infill in = {
	        .prefix = prompt, .suffix = fields_string(f, NULL, "suffix", ""), .prompt = ""};
	fields_refuse(f, NULL, "template", NULL);
	fields_refuse(f, NULL, "context", NULL);
	if (*in.suffix) {
		infill_render(q, f, m, &in, "suffix");
		return;
	}
	if (fields_bool(f, NULL, "raw", false)) {
		prompt_read_raw(q, f, "prompt");
		return;
	}
	if (*system)
		chat_add_text(c, f, "system", json_string(system));
	chat_add_text(c, f, "user", json_string(prompt));
}

static void ollama_complete(struct http_exchange *x, struct routes *r, bool chat) {
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	struct answer *a;
	const char *called;
	const struct model_entry *m = ollama_begin(x, r, &f, &called, NEED_COMPLETION);
	if (m) {
		const char *prompt = chat ? "" : fields_string(&f, NULL, "prompt", "");
		bool nothing = chat ? json_array_size(fields_get(&f, NULL, "messages")) == 0
		                    : !*prompt && !*fields_string(&f, NULL, "suffix", "");
		bool stream = fields_bool(&f, NULL, "stream", true);
		prompt_init(&q, m, x);
		ollama_read_options(&q, &f);
		ollama_read_think(&c, &f);
		if (!nothing && chat)
			ollama_read_messages(&c, &f);
		else if (!nothing)
			ollama_read_generate(&c, &q, &f, m, prompt);
		if (!stream || c.tools) /* what may become a call is kept until it is one */
			prompt_bound_logprobs(&q, &f, m);
		if (!nothing && json_array_size(c.messages) > 0)
			chat_render(&c, m, &q, &f);
		constrain_to_calls(&q, &f, &c);
		if (!fields_ok(&f)) {
			answer_fields_error(x, r, &ollama_dialect, &f, NEED_COMPLETION);
		} else if (nothing) {
			ollama_reply_loaded(x, called, m, chat, fields_get(&f, NULL, "keep_alive"));
		} else if ((a = answer_create(x, r, &ollama_dialect, m, called, ""))) {
			a->stream = stream;
			a->chat = chat;
			answer_start(a, &q.p, &q.reply);
		}
	}
	prompt_clear(&q);
	chat_clear(&c);
	fields_clear(&f);
}

static void ollama_chat(struct http_exchange *x, void *arg) {
	ollama_complete(x, arg, true);
}

static void ollama_generate(struct http_exchange *x, void *arg) {
	ollama_complete(x, arg, false);
}

/* ---- embeddings ---------------------------------------------------------------------------------- */

static json_t *ollama_embed_json(const struct embeddings *e) {
	json_t *vectors = json_array();
	for (size_t i = 0; i < e->n; i++)
		json_array_append_new(vectors, embeddings_vector_json(e, i));
	return json_pack("{s:s, s:o, s:s, s:I, s:I, s:I}", "model", e->model, "embeddings", vectors,
	        "system_fingerprint", e->fingerprint, "total_duration",
	        (json_int_t)(loop_now_ns() - e->begun_ns), "load_duration", (json_int_t)0,
	        "prompt_eval_count", (json_int_t)e->prompt);
}

/* Of the older route: one text. */
static json_t *ollama_embedding_json(const struct embeddings *e) {
	return json_pack("{s:o}", "embedding", e->n ? embeddings_vector_json(e, 0) : json_array());
}

static void ollama_embeddings(struct http_exchange *x, struct routes *r, bool older) {
	struct fields f;
	const char *called;
	const struct model_entry *m = ollama_begin(x, r, &f, &called, NEED_EMBEDDINGS);
	struct embeddings *e = m ? embeddings_create(x, r, &ollama_dialect, m, called) : NULL;
	if (e) {
		e->whole = older ? ollama_embedding_json : ollama_embed_json;
		e->cut = older || fields_bool(&f, NULL, "truncate", true);
		if (older) /* one text, as a string */
			(void)fields_string(&f, NULL, "prompt", NULL);
		embeddings_read(e, &f, older ? "prompt" : "input");
		if (fields_ok(&f)) {
			embeddings_start(e);
		} else {
			answer_fields_error(x, r, &ollama_dialect, &f, NEED_EMBEDDINGS);
			embeddings_destroy(e);
		}
	}
	fields_clear(&f);
}

static void ollama_embed(struct http_exchange *x, void *arg) {
	ollama_embeddings(x, arg, false);
}

static void ollama_older_embeddings(struct http_exchange *x, void *arg) {
	ollama_embeddings(x, arg, true);
}

const struct http_route ollama_routes[] = {
        {HTTP_GET | HTTP_HEAD, "/", ollama_root, true},
        {HTTP_GET | HTTP_HEAD, "/api/version", ollama_version, false},
        {HTTP_GET, "/api/tags", ollama_tags, false},
        {HTTP_GET, "/api/ps", ollama_ps, false},
        {HTTP_POST, "/api/show", ollama_show, false},
        {HTTP_POST, "/api/chat", ollama_chat, false},
        {HTTP_POST, "/api/generate", ollama_generate, false},
        {HTTP_POST, "/api/pull", ollama_pull, false},
        {HTTP_POST, "/api/embed", ollama_embed, false},
        {HTTP_POST, "/api/embeddings", ollama_older_embeddings, false},
};
const size_t ollama_nroutes = sizeof ollama_routes / sizeof *ollama_routes;
