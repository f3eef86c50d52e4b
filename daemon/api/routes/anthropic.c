/* anthropic: Anthropic's messages, and counting their tokens.
 *
 * A conversation is converted to OpenAI's form for the template: system, text, tool uses and tool results.  A
 * last message of the assistant is continued.  Reasoning is a block of thinking, without a signature; thinking that is disabled is
 * switched off, and asking for it has no effect on models that do not think. */
#include "daemon/api/routes/anthropic.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/constrain.h"
#include <stdlib.h>
#include <string.h>

json_t *anthropic_error(const struct reply_error *e) {
	const char *type = e->status == 401   ? "authentication_error"
	                   : e->status == 403 ? "permission_error"
	                   : e->status == 404 ? "not_found_error"
	                   : e->status == 413 ? "request_too_large"
	                   : e->status == 429 ? "rate_limit_error"
	                   : e->status == 503 ? "overloaded_error"
	                   : e->status >= 500 ? "api_error"
	                                      : "invalid_request_error";
	return json_pack("{s:s, s:{s:s, s:o}}", "type", "error", "error", "type", type, "message",
	        answer_string(e->text, strlen(e->text)));
}

/* ---- answers ------------------------------------------------------------------------------------- */

static json_t *anthropic_usage_json(const struct answer *a) {
	const struct answer_usage u = answer_usage(a);
	return json_pack("{s:I, s:I, s:I, s:I}", "input_tokens", (json_int_t)(u.prompt - u.cached),
	        "cache_creation_input_tokens", (json_int_t)0, "cache_read_input_tokens", (json_int_t)u.cached,
	        "output_tokens", (json_int_t)u.generated);
}

static const char *anthropic_stop_reason(const struct answer *a) {
	const char *reason = answer_reason(a, 0, "end_turn", "max_tokens", "tool_use");
	return a->choice[0].ncalls == 0 && a->choice[0].end.stop ? "stop_sequence" : reason;
}

static json_t *anthropic_stop_text(const struct answer *a) {
	uint32_t stop = a->choice[0].end.stop;
	return stop ? json_string(a->stops[stop - 1]) : json_null();
}

static json_t *anthropic_message_json(const struct answer *a, json_t *content, json_t *usage) {
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:n, s:o}", "id", a->id, "type", "message", "role",
	        "assistant", "model", a->model, "content", content, "stop_reason", "stop_sequence", "usage",
	        usage);
}

static void anthropic_open(struct answer *a) {
	json_t *usage = json_pack("{s:I, s:I, s:I, s:I}", "input_tokens", (json_int_t)a->prompt,
	        "cache_creation_input_tokens", (json_int_t)0, "cache_read_input_tokens", (json_int_t)0,
	        "output_tokens", (json_int_t)0);
	json_t *message = anthropic_message_json(a, json_array(), usage);
	json_object_set_new(message, "system_fingerprint", json_string(a->fingerprint));
	answer_send_event(
	        a, "message_start", json_pack("{s:s, s:o}", "type", "message_start", "message", message));
	answer_send_event(a, "ping", json_pack("{s:s}", "type", "ping"));
}

static int anthropic_block_index(const struct answer *a) {
	return (int)a->block - 1;
}

static void anthropic_block_delta(struct answer *a, const char *type, const char *key, json_t *value) {
	answer_send_event(a, "content_block_delta",
	        json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta", "index",
	                anthropic_block_index(a), "delta", "type", type, key, value));
}

/* The open block of an answer that is not streamed; one of a call is kept already. */
static void anthropic_keep_block(struct answer *a) {
	struct answer_choice *c = &a->choice[0];
	json_t *block = NULL;
	if (a->block_kind == BLOCK_TEXT)
		block = json_pack(
		        "{s:s, s:o}", "type", "text", "text", answer_string(c->text ? c->text : "", c->len));
	else if (a->block_kind == BLOCK_REASONING)
		block = json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
		        answer_string(c->reasoning.s, c->reasoning.len), "signature", "");
	if (!c->calls)
		c->calls = json_array();
	if (block)
		json_array_append_new(c->calls, block);
	c->len = 0;
	c->reasoning.len = 0;
	a->block_kind = BLOCK_NONE;
}

static void anthropic_block_close(struct answer *a) {
	if (a->block_kind == BLOCK_NONE)
		return;
	if (!a->stream) {
		anthropic_keep_block(a);
		return;
	}
	if (a->block_kind == BLOCK_REASONING)
		anthropic_block_delta(a, "signature_delta", "signature", json_string(""));
	answer_send_event(a, "content_block_stop",
	        json_pack("{s:s, s:i}", "type", "content_block_stop", "index", anthropic_block_index(a)));
	a->block_kind = BLOCK_NONE;
}

/* Takes the reference to start. */
static void anthropic_block_open(struct answer *a, unsigned kind, json_t *start) {
	anthropic_block_close(a);
	a->block++;
	a->block_kind = kind;
	if (!a->stream) {
		json_decref(start);
		return;
	}
	answer_send_event(a, "content_block_start",
	        json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", anthropic_block_index(a),
	                "content_block", start));
}

static void anthropic_open_text(struct answer *a) {
	if (a->block_kind != BLOCK_TEXT)
		anthropic_block_open(a, BLOCK_TEXT, json_pack("{s:s, s:s}", "type", "text", "text", ""));
}

static void anthropic_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	(void)choice;
	anthropic_open_text(a);
	if (a->stream)
		anthropic_block_delta(a, "text_delta", "text", answer_string(text, len));
	else
		a->lost = !answer_keep(a, 0, text, len) || a->lost;
}

static void anthropic_reasoning(struct answer *a, unsigned choice, const char *text, size_t len) {
	(void)choice;
	if (a->block_kind != BLOCK_REASONING)
		anthropic_block_open(a, BLOCK_REASONING,
		        json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""));
	if (a->stream)
		anthropic_block_delta(a, "thinking_delta", "thinking", answer_string(text, len));
	else
		a->lost = !held_append(&a->choice[0].reasoning, text, len) || a->lost;
}

static json_t *anthropic_use_json(const struct answer *a, const struct tool_call *call, json_t *input) {
	char id[80];
	snprintf(id, sizeof id, "toolu_%.*s_%u", ANSWER_ID_SHORT, a->id + strcspn(a->id, "_") + 1,
	        a->choice[0].ncalls - 1);
	return json_pack("{s:s, s:s, s:o, s:o}", "type", "tool_use", "id", id, "name",
	        answer_string(call->name, strlen(call->name)), "input", input);
}

static void anthropic_call(struct answer *a, unsigned choice, const struct tool_call *call) {
	struct answer_choice *c = &a->choice[choice];
	if (!a->stream) {
		anthropic_block_open(a, BLOCK_CALL, NULL);
		if (!c->calls)
			c->calls = json_array();
		json_array_append_new(
		        c->calls, anthropic_use_json(a, call, json_loads(call->arguments, 0, NULL)));
		return;
	}
	anthropic_block_open(a, BLOCK_CALL, anthropic_use_json(a, call, json_object()));
	anthropic_block_delta(a, "input_json_delta", "partial_json",
	        answer_string(call->arguments, strlen(call->arguments)));
}

static void anthropic_end(struct answer *a, unsigned choice) {
	(void)choice;
	if (a->block == 0 || a->block_kind == BLOCK_REASONING)
		anthropic_open_text(a);
	anthropic_block_close(a);
}

static void anthropic_done(struct answer *a) {
	answer_send_event(a, "message_delta",
	        json_pack("{s:s, s:{s:s, s:o}, s:o}", "type", "message_delta", "delta", "stop_reason",
	                anthropic_stop_reason(a), "stop_sequence", anthropic_stop_text(a), "usage",
	                anthropic_usage_json(a)));
	answer_send_event(a, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void anthropic_broken(struct answer *a, json_t *error) {
	answer_send_event(a, "error", error);
}

static json_t *anthropic_whole(struct answer *a) {
	const struct answer_choice *c = &a->choice[0];
	json_t *content = c->calls ? json_incref(c->calls) : json_array();
	json_t *o = anthropic_message_json(a, content, anthropic_usage_json(a));
	json_object_set_new(o, "stop_reason", json_string(anthropic_stop_reason(a)));
	json_object_set_new(o, "stop_sequence", anthropic_stop_text(a));
	json_object_set_new(o, "system_fingerprint", json_string(a->fingerprint));
	return o;
}

static const struct dialect anthropic_dialect = {.api = METRICS_ANTHROPIC,
        .type = "text/event-stream",
        .error = anthropic_error,
        .open = anthropic_open,
        .text = anthropic_text,
        .reasoning = anthropic_reasoning,
        .by_items = true,
        .call = anthropic_call,
        .end = anthropic_end,
        .done = anthropic_done,
        .broken = anthropic_broken,
        .whole = anthropic_whole};

/* ---- requests ------------------------------------------------------------------------------------ */

static bool anthropic_is_type(const json_t *block, const char *type) {
	const char *s = json_string_value(json_object_get(block, "type"));
	return s && strcmp(s, type) == 0;
}

/* A tool's result is a separate message. */
static void anthropic_add_result(struct chat *c, struct fields *f, const json_t *block) {
	json_t *content = chat_content(f, json_object_get(block, "content"), "messages.content");
	const char *id = json_string_value(json_object_get(block, "tool_use_id"));
	json_t *m = content ? json_pack("{s:s, s:o, s:s}", "role", "tool", "content", content, "tool_call_id",
	                              id ? id : "")
	                    : NULL;
	if (m)
		chat_add(c, f, m);
	json_decref(m);
}

static json_t *anthropic_use_of(const json_t *block) {
	json_t *input = json_object_get(block, "input");
	const char *id = json_string_value(json_object_get(block, "id")),
	           *name = json_string_value(json_object_get(block, "name"));
	return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id ? id : "", "type", "function", "function",
	        "name", name ? name : "", "arguments", input ? json_incref(input) : json_object());
}

/* The blocks of a message: results first, then text together with tool uses. */
static void anthropic_add_blocks(struct chat *c, struct fields *f, const char *role, const json_t *blocks) {
	json_t *text = json_array(), *uses = json_array();
	for (size_t i = 0; i < json_array_size(blocks) && fields_ok(f); i++) {
		json_t *b = json_array_get(blocks, i);
		if (anthropic_is_type(b, "tool_result"))
			anthropic_add_result(c, f, b);
		else if (anthropic_is_type(b, "tool_use"))
			json_array_append_new(uses, anthropic_use_of(b));
		else
			json_array_append(text, b);
	}
	if (fields_ok(f) && (json_array_size(text) > 0 || json_array_size(uses) > 0)) {
		json_t *m = json_pack("{s:s, s:o}", "role", role, "content", json_incref(text));
		if (m && json_array_size(uses) > 0)
			json_object_set(m, "tool_calls", uses);
		chat_add(c, f, m);
		json_decref(m);
	}
	json_decref(text);
	json_decref(uses);
}

static void anthropic_read_messages(struct chat *c, struct fields *f) {
	const json_t *messages = fields_get(f, NULL, "messages"), *system = fields_get(f, NULL, "system");
	if (!json_is_array(messages) || json_array_size(messages) == 0)
		fields_fail(f, "messages", "messages must be an array with at least one message");
	if (system) {
		json_t *text = chat_content(f, system, "system");
		if (text && json_string_length(text) > 0)
			chat_add_text(c, f, "system", text);
		else
			json_decref(text);
	}
	for (size_t i = 0; i < json_array_size(messages) && fields_ok(f); i++) {
		const json_t *m = json_array_get(messages, i);
		const char *role = json_string_value(json_object_get(m, "role"));
		if (role && json_is_array(json_object_get(m, "content")))
			anthropic_add_blocks(c, f, role, json_object_get(m, "content"));
		else
			chat_add(c, f, m);
	}
	c->prefill = true;
}

static void anthropic_read_choice(struct chat *c, struct fields *f) {
	const json_t *choice = fields_get(f, NULL, "tool_choice");
	const char *how = json_string_value(json_object_get(choice, "type"));
	c->one_call = json_is_true(json_object_get(choice, "disable_parallel_tool_use"));
	if (!choice || (how && strcmp(how, "auto") == 0))
		return;
	c->no_call = how && strcmp(how, "none") == 0;
	c->tool = how && strcmp(how, "tool") == 0 ? json_string_value(json_object_get(choice, "name")) : NULL;
	c->must_call = c->tool || (how && strcmp(how, "any") == 0);
	if (!c->no_call && !c->must_call)
		fields_fail(
		        f, "tool_choice", "tool_choice must be of type auto, any, none, or tool with a name");
}

static void anthropic_read_thinking(struct chat *c, struct fields *f) {
	const json_t *thinking = fields_get(f, NULL, "thinking");
	const char *type = json_string_value(json_object_get(thinking, "type"));
	if (!thinking)
		return;
	if (type && strcmp(type, "disabled") == 0)
		c->think = CHAT_THINK_NOT;
	else if (type && strcmp(type, "enabled") == 0)
		c->think = CHAT_THINK;
	else if (!type || strcmp(type, "adaptive") != 0)
		fields_fail(f, "thinking", "thinking must be of type enabled, disabled or adaptive");
}

/* In OpenAI's form; tools that run on Anthropic's own servers have no schema, and are left out. */
static void anthropic_read_tools(struct chat *c, struct fields *f) {
	const json_t *tools = fields_get(f, NULL, "tools");
	if (tools && !json_is_array(tools))
		fields_fail(f, "tools", "tools must be an array");
	if (!fields_ok(f) || c->no_call)
		return;
	for (size_t i = 0; i < json_array_size(tools); i++) {
		const json_t *t = json_array_get(tools, i);
		json_t *schema = json_object_get(t, "input_schema"),
		       *description = json_object_get(t, "description");
		const char *name = json_string_value(json_object_get(t, "name"));
		if (!name || !schema)
			continue;
		json_t *one = json_pack("{s:s, s:{s:s, s:O?, s:O}}", "type", "function", "function", "name",
		        name, "description", description, "parameters", schema);
		if (!c->tools)
			c->tools = json_array();
		json_array_append_new(c->tools, one);
	}
}

/* The model, the conversation and its prompt; NULL: an error has been answered. */
static const struct model_entry *anthropic_begin(struct http_exchange *x, struct routes *r, struct fields *f,
        struct chat *c, struct prompt *q, enum answer_need need) {
	size_t len;
	const char *body = http_body(x, &len), *name;
	fields_parse(f, body, len);
	name = fields_string(f, NULL, "model", NULL);
	if (!fields_ok(f)) {
		answer_fields_error(x, r, &anthropic_dialect, f, need);
		return NULL;
	}
	const struct model_entry *m = answer_model(x, r, &anthropic_dialect, name, need);
	if (!m)
		return NULL;
	prompt_init(q, m, x);
	anthropic_read_messages(c, f);
	anthropic_read_choice(c, f);
	anthropic_read_tools(c, f);
	anthropic_read_thinking(c, f);
	chat_render(c, m, q, f);
	constrain_to_calls(q, f, c);
	return m;
}

static void anthropic_messages(struct http_exchange *x, void *arg) {
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	struct answer *a;
	const struct model_entry *m = anthropic_begin(x, arg, &f, &c, &q, NEED_COMPLETION);
	if (m) {
		bool stream = fields_bool(&f, NULL, "stream", false);
		if (!fields_get(&f, NULL, "max_tokens"))
			fields_fail(&f, "max_tokens", "max_tokens is missing");
		prompt_read_limit(&q, &f, NULL, "max_tokens");
		prompt_read_sampling(&q, &f, NULL);
		prompt_read_stops(&q, &f, NULL, "stop_sequences");
		if (!fields_ok(&f)) {
			answer_fields_error(x, arg, &anthropic_dialect, &f, NEED_COMPLETION);
		} else if ((a = answer_create(x, arg, &anthropic_dialect, m,
		                    fields_string(&f, NULL, "model", NULL), "msg_"))) {
			a->stream = stream;
			a->one_call = c.one_call;
			answer_start(a, &q.p, &q.reply);
		}
	}
	prompt_clear(&q);
	chat_clear(&c);
	fields_clear(&f);
}

/* ---- how many tokens ----------------------------------------------------------------------------- */

struct counting {
	struct http_exchange *x;
	struct conversion *conversion;
};

static void anthropic_counting_closed(void *arg) {
	struct counting *v = arg;
	completion_convert_drop(v->conversion);
	free(v);
}

static void anthropic_counting_done(void *arg, const uint32_t *ids, size_t nids, const char *text, size_t len,
        const struct completion_error *error) {
	struct counting *v = arg;
	(void)ids;
	(void)text;
	(void)len;
	if (error)
		answer_error(v->x, &anthropic_dialect,
		        &(struct reply_error){.status = error->status,
		                .retry_after = error->retry_after,
		                .text = error->text});
	else
		http_reply_json(v->x, 200, json_pack("{s:I}", "input_tokens", (json_int_t)nids));
	free(v);
}

static void anthropic_count_tokens(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	const struct model_entry *m = anthropic_begin(x, r, &f, &c, &q, NEED_SERVING);
	if (m && !fields_ok(&f)) {
		answer_fields_error(x, arg, &anthropic_dialect, &f, NEED_SERVING);
	} else if (m) {
		struct counting *v = calloc(1, sizeof *v);
		struct completion_conversion p = {.model = m->name,
		        .text = q.text,
		        .len = q.p.len,
		        .spans = q.p.spans,
		        .nspans = q.p.nspans,
		        .bos = true,
		        .done = anthropic_counting_done,
		        .arg = v};
		if (v && (v->conversion = completion_convert(r->completions, &p))) {
			v->x = x;
			http_on_closed(x, anthropic_counting_closed, v);
		} else {
			free(v);
			answer_error(x, &anthropic_dialect,
			        &(struct reply_error){.status = 500, .text = "out of memory"});
		}
	}
	prompt_clear(&q);
	chat_clear(&c);
	fields_clear(&f);
}

const struct http_route anthropic_routes[] = {
        {HTTP_POST, "/v1/messages", anthropic_messages, false},
        {HTTP_POST, "/v1/messages/count_tokens", anthropic_count_tokens, false},
};
const size_t anthropic_nroutes = sizeof anthropic_routes / sizeof *anthropic_routes;
