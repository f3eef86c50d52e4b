/* responses: OpenAI's responses.  The input's items become a conversation for the template, and the answer's text and calls become
 * the output's items.  Nothing is kept from one response to the next: previous_response_id and conversation are refused. */
#include "daemon/api/routes/responses.h"
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/constrain.h"
#include "daemon/api/routes/openai.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the output ---------------------------------------------------------------------------------- */

struct item_id {
	char s[80];
};

/* Of the output's nth item, or of a call in it. */
static struct item_id item_id(const struct answer *a, const char *prefix, unsigned n) {
	struct item_id id;
	snprintf(
	        id.s, sizeof id.s, "%s_%.*s_%u", prefix, ANSWER_ID_SHORT, a->id + strcspn(a->id, "_") + 1, n);
	return id;
}

/* Takes the reference to logprobs. */
static json_t *responses_part(const char *text, size_t len, json_t *logprobs) {
	return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", answer_string(text, len),
	        "annotations", "logprobs", logprobs);
}

/* Of the tokens of the open message, from `first` on. */
static json_t *responses_logprobs(const struct answer *a, size_t first) {
	return answer_tokens_json(&a->choice[0].tokens, first, TOKEN_OPENAI);
}

static bool responses_is_cut(const struct answer *a) {
	return strcmp(answer_reason(a, 0, "", "cut", ""), "cut") == 0;
}

/* Of a message or reasoning: the one that is open at the end is what the limit cut. */
static const char *responses_item_status(const struct answer *a, bool done) {
	return !done ? "in_progress" : responses_is_cut(a) ? "incomplete" : "completed";
}

/* done: with its text.  The summary is of reasoning that is not shown; here it is. */
static json_t *responses_reasoning_item(const struct answer *a, unsigned n, bool done) {
	const struct held *text = &a->choice[0].reasoning;
	json_t *content = json_array();
	if (done)
		json_array_append_new(content, json_pack("{s:s, s:o}", "type", "reasoning_text", "text",
		                                       answer_string(text->s, text->len)));
	return json_pack("{s:s, s:s, s:s, s:[], s:o}", "type", "reasoning", "id", item_id(a, "rs", n).s,
	        "status", responses_item_status(a, done), "summary", "content", content);
}

/* done: with its text. */
static json_t *responses_message(const struct answer *a, unsigned n, bool done) {
	const struct answer_choice *c = &a->choice[0];
	json_t *content = json_array();
	if (done)
		json_array_append_new(
		        content, responses_part(c->text ? c->text : "", c->len, responses_logprobs(a, 0)));
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", item_id(a, "msg", n).s,
	        "status", responses_item_status(a, done), "role", "assistant", "content", content);
}

static json_t *responses_call_item(
        const struct answer *a, unsigned n, const struct tool_call *call, bool done) {
	const char *arguments = done ? call->arguments : "";
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "type", "function_call", "id",
	        item_id(a, "fc", n).s, "status", done ? "completed" : "in_progress", "call_id",
	        item_id(a, "call", n).s, "name", answer_string(call->name, strlen(call->name)), "arguments",
	        answer_string(arguments, strlen(arguments)));
}

static void responses_add(struct answer *a, json_t *item) {
	struct answer_choice *c = &a->choice[0];
	if (!c->calls)
		c->calls = json_array();
	json_array_append_new(c->calls, item);
}

static json_t *responses_usage(const struct answer *a) {
	const struct answer_usage u = answer_usage(a);
	/* how many tokens its reasoning has is not known, unless it has none */
	json_t *details = a->thought ? json_object() : json_pack("{s:i}", "reasoning_tokens", 0);
	return json_pack("{s:I, s:{s:I}, s:I, s:o, s:I}", "input_tokens", (json_int_t)u.prompt,
	        "input_tokens_details", "cached_tokens", (json_int_t)u.cached, "output_tokens",
	        (json_int_t)u.generated, "output_tokens_details", details, "total_tokens",
	        (json_int_t)(u.prompt + u.generated));
}

/* The response as it is now. */
static json_t *responses_json(const struct answer *a, const char *status) {
	bool over = strcmp(status, "in_progress") != 0 && strcmp(status, "failed") != 0,
	     cut = over && responses_is_cut(a);
	json_t *o = json_pack(
	        "{s:s, s:s, s:I, s:s, s:s, s:s, s:n, s:n, s:o, s:o, s:b, s:o, s:[], s:n, s:o, s:{}}", "id",
	        a->id, "object", "response", "created_at", (json_int_t)a->created, "status",
	        cut ? "incomplete" : status, "model", a->model, "system_fingerprint", a->fingerprint, "error",
	        "instructions", "output",
	        over && a->choice[0].calls ? json_incref(a->choice[0].calls) : json_array(), "usage",
	        over ? responses_usage(a) : json_null(), "parallel_tool_calls", !a->one_call, "tool_choice",
	        a->tool_choice ? json_incref(a->tool_choice) : json_string("auto"), "tools",
	        "previous_response_id", "max_output_tokens", a->limit ? json_integer(a->limit) : json_null(),
	        "metadata");
	json_object_set_new(o, "incomplete_details",
	        cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null());
	return o;
}

/* ---- its events ---------------------------------------------------------------------------------- */

/* o's reference is taken. */
static void responses_event(struct answer *a, const char *type, json_t *o) {
	if (!a->stream) {
		json_decref(o);
		return;
	}
	json_object_set_new(o, "type", json_string(type));
	json_object_set_new(o, "sequence_number", json_integer(a->sequence++));
	answer_send_event(a, type, o);
}

static void responses_state(struct answer *a, const char *event, const char *status) {
	responses_event(a, event, json_pack("{s:o}", "response", responses_json(a, status)));
}

static void responses_open(struct answer *a) {
	responses_state(a, "response.created", "in_progress");
	responses_state(a, "response.in_progress", "in_progress");
}

static unsigned responses_index(const struct answer *a) {
	return a->block - 1;
}

static void responses_item_event(struct answer *a, const char *event, json_t *item) {
	responses_event(
	        a, event, json_pack("{s:i, s:o}", "output_index", (int)responses_index(a), "item", item));
}

/* An event of the part that a message has; the references to value and logprobs are taken.  logprobs NULL: it has none. */
static void responses_part_event(
        struct answer *a, const char *event, const char *key, json_t *value, json_t *logprobs) {
	unsigned n = responses_index(a);
	responses_event(a, event,
	        json_pack("{s:s, s:i, s:i, s:o, s:o*}", "item_id", item_id(a, "msg", n).s, "output_index",
	                (int)n, "content_index", 0, key, value, "logprobs", logprobs));
}

/* An event of the text of a reasoning; value's reference is taken. */
static void responses_reasoning_event(struct answer *a, const char *event, const char *key, json_t *value) {
	unsigned n = responses_index(a);
	responses_event(a, event,
	        json_pack("{s:s, s:i, s:i, s:o}", "item_id", item_id(a, "rs", n).s, "output_index", (int)n,
	                "content_index", 0, key, value));
}

static json_t *responses_reasoning_part(const char *text, size_t len) {
	return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", answer_string(text, len));
}

static void responses_close_reasoning(struct answer *a) {
	const struct held *text = &a->choice[0].reasoning;
	if (a->block_kind != BLOCK_REASONING)
		return;
	a->block_kind = BLOCK_NONE;
	json_t *item = responses_reasoning_item(a, responses_index(a), true);
	responses_reasoning_event(
	        a, "response.reasoning_text.done", "text", answer_string(text->s, text->len));
	responses_reasoning_event(
	        a, "response.content_part.done", "part", responses_reasoning_part(text->s, text->len));
	responses_add(a, json_incref(item));
	responses_item_event(a, "response.output_item.done", item);
}

static void responses_close_message(struct answer *a);

static void responses_reasoning(struct answer *a, unsigned choice, const char *text, size_t len) {
	(void)choice;
	if (a->block_kind != BLOCK_REASONING) {
		responses_close_message(a);
		a->block++;
		a->block_kind = BLOCK_REASONING;
		a->choice[0].reasoning.len = 0;
		responses_item_event(a, "response.output_item.added",
		        responses_reasoning_item(a, responses_index(a), false));
		responses_reasoning_event(
		        a, "response.content_part.added", "part", responses_reasoning_part("", 0));
	}
	if (!held_append(&a->choice[0].reasoning, text, len))
		a->lost = !a->stream; /* as with text */
	else if (a->stream)
		responses_reasoning_event(
		        a, "response.reasoning_text.delta", "delta", answer_string(text, len));
}

static void responses_open_message(struct answer *a) {
	if (a->block_kind == BLOCK_TEXT)
		return;
	responses_close_reasoning(a);
	a->block++;
	a->block_kind = BLOCK_TEXT;
	a->choice[0].len = 0;
	responses_item_event(
	        a, "response.output_item.added", responses_message(a, responses_index(a), false));
	responses_part_event(
	        a, "response.content_part.added", "part", responses_part("", 0, json_array()), NULL);
}

static void responses_close_message(struct answer *a) {
	struct answer_choice *c = &a->choice[0];
	const char *text = c->text ? c->text : "";
	if (a->block_kind != BLOCK_TEXT)
		return;
	a->block_kind = BLOCK_NONE;
	answer_tokens_drop_unshown(&c->tokens);
	json_t *item = responses_message(a, responses_index(a), true);
	if (a->stream) {
		responses_part_event(a, "response.output_text.done", "text", answer_string(text, c->len),
		        responses_logprobs(a, 0));
		responses_part_event(a, "response.content_part.done", "part",
		        responses_part(text, c->len, responses_logprobs(a, 0)), NULL);
	}
	responses_add(a, json_incref(item));
	responses_item_event(a, "response.output_item.done", item);
	answer_tokens_clear(&c->tokens);
}

static void responses_text(struct answer *a, unsigned choice, const char *text, size_t len) {
	struct answer_tokens *tokens = &a->choice[choice].tokens;
	responses_open_message(a);
	if (!answer_keep(a, 0, text, len))
		a->lost = !a->stream; /* of a stream the text's end says less than its pieces */
	if (a->lost || !a->stream)
		return;
	responses_part_event(a, "response.output_text.delta", "delta", answer_string(text, len),
	        responses_logprobs(a, tokens->sent));
	tokens->sent = tokens->n;
}

/* An event of a call; value's reference is taken. */
static void responses_call_event(struct answer *a, const char *event, const char *key, json_t *value) {
	unsigned n = responses_index(a);
	responses_event(a, event,
	        json_pack("{s:s, s:i, s:o}", "item_id", item_id(a, "fc", n).s, "output_index", (int)n, key,
	                value));
}

static void responses_call(struct answer *a, unsigned choice, const struct tool_call *call) {
	(void)choice;
	responses_close_reasoning(a);
	responses_close_message(a);
	a->block++;
	json_t *item = responses_call_item(a, responses_index(a), call, true);
	responses_item_event(
	        a, "response.output_item.added", responses_call_item(a, responses_index(a), call, false));
	responses_call_event(a, "response.function_call_arguments.delta", "delta",
	        json_incref(json_object_get(item, "arguments")));
	responses_call_event(a, "response.function_call_arguments.done", "arguments",
	        json_incref(json_object_get(item, "arguments")));
	responses_add(a, json_incref(item));
	responses_item_event(a, "response.output_item.done", item);
}

static void responses_end(struct answer *a, unsigned choice) {
	(void)choice;
	if (a->block == 0)
		responses_open_message(a);
	responses_close_reasoning(a);
	responses_close_message(a);
}

static void responses_done(struct answer *a) {
	responses_state(a, responses_is_cut(a) ? "response.incomplete" : "response.completed", "completed");
}

static void responses_broken(struct answer *a, json_t *error) {
	json_t *o = responses_json(a, "failed"), *e = json_object_get(error, "error");
	json_object_set_new(o, "error",
	        json_pack("{s:s, s:O}", "code", "server_error", "message", json_object_get(e, "message")));
	json_decref(error);
	responses_event(a, "response.failed", json_pack("{s:o}", "response", o));
}

static json_t *responses_whole(struct answer *a) {
	return responses_json(a, "completed");
}

static const struct dialect responses_dialect = {.api = METRICS_OPENAI,
        .type = "text/event-stream",
        .error = openai_error,
        .open = responses_open,
        .text = responses_text,
        .reasoning = responses_reasoning,
        .call = responses_call,
        .end = responses_end,
        .done = responses_done,
        .broken = responses_broken,
        .whole = responses_whole,
        .text_tokens = true,
        .by_items = true};

/* ---- requests ------------------------------------------------------------------------------------ */

/* A call that the model made before: it belongs to the message of the assistant before it, or is one. */
static void responses_read_call(struct chat *c, struct fields *f, const json_t *item) {
	const char *id = json_string_value(json_object_get(item, "call_id")),
	           *name = json_string_value(json_object_get(item, "name")),
	           *arguments = json_string_value(json_object_get(item, "arguments"));
	json_t *calls = json_pack("[{s:s, s:s, s:{s:s, s:s}}]", "id", id ? id : "", "type", "function",
	        "function", "name", name ? name : "", "arguments", arguments ? arguments : "{}");
	json_t *last = json_array_get(c->messages, json_array_size(c->messages) - 1);
	const char *role = json_string_value(json_object_get(last, "role"));
	json_t *m = json_pack("{s:s, s:s, s:O, s:O*}", "role", "assistant", "content", "", "tool_calls",
	        calls, "reasoning_content", json_object_get(item, "reasoning_content"));
	if (role && strcmp(role, "assistant") == 0) { /* with all its calls, so that they are one message */
		json_object_set(m, "content", json_object_get(last, "content"));
		if (!json_object_get(m, "reasoning_content") && json_object_get(last, "reasoning_content"))
			json_object_set(m, "reasoning_content", json_object_get(last, "reasoning_content"));
		json_t *all = json_array();
		json_array_extend(all, json_object_get(last, "tool_calls"));
		json_array_extend(all, calls);
		json_object_set_new(m, "tool_calls", all);
		json_array_remove(c->messages, json_array_size(c->messages) - 1);
	}
	chat_add(c, f, m);
	json_decref(m);
	json_decref(calls);
}

static void responses_read_result(struct chat *c, struct fields *f, const json_t *item) {
	const char *id = json_string_value(json_object_get(item, "call_id"));
	json_t *content = chat_content(f, json_object_get(item, "output"), "input");
	json_t *m = content ? json_pack("{s:s, s:o, s:s}", "role", "tool", "content", content, "tool_call_id",
	                              id ? id : "")
	                    : NULL;
	if (m)
		chat_add(c, f, m);
	json_decref(m);
}

/* Reasoning that a client gives back belongs to the message or the call behind it. */
static void responses_read_reasoning(const json_t *item, json_t **reasoning) {
	const json_t *text = json_object_get(json_array_get(json_object_get(item, "content"), 0), "text");
	if (json_is_string(text)) {
		json_decref(*reasoning);
		*reasoning = json_incref((json_t *)(uintptr_t)text);
	}
}

/* Items of types that are not known are left out, as tools are. */
static void responses_read_item(struct chat *c, struct fields *f, json_t *item, json_t **reasoning) {
	const char *type = json_string_value(json_object_get(item, "type"));
	if (type && strcmp(type, "reasoning") == 0) {
		responses_read_reasoning(item, reasoning);
		return;
	}
	if (*reasoning) /* taken where the item is the assistant's */
		json_object_set(item, "reasoning_content", *reasoning);
	json_decref(*reasoning);
	*reasoning = NULL;
	if (!type || strcmp(type, "message") == 0)
		chat_add(c, f, item);
	else if (strcmp(type, "function_call") == 0)
		responses_read_call(c, f, item);
	else if (strcmp(type, "function_call_output") == 0)
		responses_read_result(c, f, item);
	else if (strcmp(type, "item_reference") == 0)
		fields_fail(f, "input", "input has an item_reference, and nothing is kept here");
}

static void responses_read_input(struct chat *c, struct fields *f) {
	const json_t *input = fields_get(f, NULL, "input");
	const char *instructions = fields_string(f, NULL, "instructions", "");
	if (*instructions)
		chat_add_text(c, f, "system", json_string(instructions));
	if (json_is_string(input))
		chat_add_text(c, f, "user", json_incref((json_t *)input));
	else if (!json_is_array(input) || json_array_size(input) == 0)
		fields_fail(f, "input", "input must be a text, or an array with at least one item");
	json_t *reasoning = NULL;
	for (size_t i = 0; i < json_array_size(input) && fields_ok(f); i++)
		responses_read_item(c, f, json_array_get(input, i), &reasoning);
	json_decref(reasoning);
	if (fields_ok(f) && json_array_size(c->messages) == 0)
		fields_fail(f, "input", "input has no message");
}

/* As a chat completion has them; those that are no functions are left out. */
static void responses_read_tools(struct chat *c, struct fields *f) {
	const json_t *tools = fields_get(f, NULL, "tools");
	chat_read_choice(c, f);
	if (tools && !json_is_array(tools))
		fields_fail(f, "tools", "tools must be an array");
	if (!fields_ok(f) || c->no_call)
		return;
	for (size_t i = 0; i < json_array_size(tools); i++) {
		const json_t *t = json_array_get(tools, i);
		const char *type = json_string_value(json_object_get(t, "type")),
		           *name = json_string_value(json_object_get(t, "name"));
		if (!type || strcmp(type, "function") != 0 || !name)
			continue;
		json_t *parameters = json_object_get(t, "parameters"); /* absent or null: there are none */
		if (!c->tools)
			c->tools = json_array();
		json_array_append_new(c->tools,
		        json_pack("{s:s, s:{s:s, s:O*, s:o}}", "type", "function", "function", "name", name,
		                "description", json_object_get(t, "description"), "parameters",
		                parameters && !json_is_null(parameters)
		                        ? json_incref(parameters)
		                        : json_pack("{s:s, s:{}, s:b}", "type", "object", "properties",
		                                  "additionalProperties", 0)));
	}
}

static void responses_refuse_unsupported(struct fields *f) {
	static const char *const names[] = {"previous_response_id", "conversation", "background", "prompt"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		fields_refuse(f, NULL, names[i], NULL);
}

/* They are included if the request says so. */
static void responses_read_logprobs(struct prompt *q, struct fields *f) {
	const json_t *include = fields_get(f, NULL, "include");
	int64_t top = fields_integer(f, NULL, "top_logprobs", 0, WIRE_TOP_LOGPROBS_MAX, 0);
	for (size_t i = 0; i < json_array_size(include); i++) {
		const char *one = json_string_value(json_array_get(include, i));
		q->p.logprobs = q->p.logprobs || (one && strcmp(one, "message.output_text.logprobs") == 0);
	}
	if (top > 0 && !q->p.logprobs)
		fields_fail(
		        f, "top_logprobs", "top_logprobs needs \"message.output_text.logprobs\" in include");
	q->p.top_logprobs = (uint32_t)top;
}

static void responses_read(struct chat *c, struct prompt *q, struct fields *f, const struct model_entry *m) {
	const json_t *effort = json_object_get(fields_get(f, NULL, "reasoning"), "effort");
	prompt_read_sampling(q, f, NULL);
	responses_read_logprobs(q, f);
	prompt_bound_logprobs(q, f, m); /* a stream repeats all at its end */
	responses_refuse_unsupported(f);
	constrain_read_format(q, f, json_object_get(fields_get(f, NULL, "text"), "format"), "text.format");
	responses_read_input(c, f);
	responses_read_tools(c, f);
	chat_keep_allowed(c, f);
	if (effort && !json_is_string(effort) && !json_is_null(effort))
		fields_fail(f, "reasoning.effort", "reasoning.effort must be a string");
	chat_read_effort(c, f, json_string_value(effort), "reasoning.effort");
	chat_render(c, m, q, f);
	c->one_call = !fields_bool(f, NULL, "parallel_tool_calls", true);
	constrain_to_calls(q, f, c);
}

static void responses_create(struct http_exchange *x, void *arg) {
	const struct dialect *d = &responses_dialect;
	struct fields f;
	struct prompt q = {0};
	struct chat c = {0};
	struct answer *a;
	uint32_t asked = 0;
	size_t len;
	const char *body = http_body(x, &len);
	fields_parse(&f, body, len);
	const char *name = fields_string(&f, NULL, "model", NULL);
	const struct model_entry *m = fields_ok(&f) ? answer_model(x, arg, d, name, NEED_COMPLETION) : NULL;
	if (m) {
		prompt_init(&q, m, x);
		prompt_read_limit(&q, &f, NULL, "max_output_tokens");
		asked = q.p.limit;
		responses_read(&c, &q, &f, m);
	}
	bool stream = fields_bool(&f, NULL, "stream", false);
	if (!fields_ok(&f)) {
		answer_fields_error(x, arg, d, &f, NEED_COMPLETION);
	} else if (m && (a = answer_create(x, arg, d, m, name, "resp_"))) {
		a->stream = stream;
		a->one_call = c.one_call;
		a->limit = asked;
		a->tool_choice = json_incref((json_t *)(uintptr_t)fields_get(&f, NULL, "tool_choice"));
		answer_start(a, &q.p, &q.reply);
	}
	prompt_clear(&q);
	chat_clear(&c);
	fields_clear(&f);
}

const struct http_route responses_routes[] = {
        {HTTP_POST, "/v1/responses", responses_create, false},
};
const size_t responses_nroutes = sizeof responses_routes / sizeof *responses_routes;
