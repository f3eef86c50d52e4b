/* chat: see chat.h. */
#include "daemon/api/routes/chat.h"
#include "daemon/api/chat_templates.h"
#include "daemon/text/jinja/jinja.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of a rendering: meanwhile no other client is answered.  A fifth of a second at most; a thousand messages take a tenth of it. */
#define STEPS_MAX 2000000

void chat_clear(struct chat *c) {
	json_decref(c->messages);
	json_decref(c->tools);
	json_decref(c->extra);
	*c = (struct chat){0};
}

/* ---- messages ------------------------------------------------------------------------------------ */

static void out_of_memory(struct fields *f) {
	if (fields_ok(f))
		f->status = 500;
}

/* The text of a part; NULL: it has no usable text, which may or may not be an error. */
static const json_t *part_text(struct fields *f, const json_t *part, const char *name) {
	const char *type = json_string_value(json_object_get(part, "type"));
	const json_t *text = json_object_get(part, "text");
	if (json_is_string(part))
		return part;
	if (type && (strcmp(type, "thinking") == 0 || strcmp(type, "redacted_thinking") == 0 ||
	                    strcmp(type, "reasoning") == 0))
		return NULL; /* earlier thinking is not given to the model again */
	if (json_is_string(text) && (!type || strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 ||
	                                    strcmp(type, "output_text") == 0))
		return text;
	if (type)
		fields_fail(f, name, "%s has a part of type %.60s: text alone is supported", name, type);
	else
		fields_fail(f, name, "%s must be a string, or an array of parts with a type", name);
	return NULL;
}

json_t *chat_content(struct fields *f, const json_t *content, const char *name) {
	size_t len = 0, n = json_array_size(content);
	if (!content || json_is_null(content))
		return json_string("");
	if (json_is_string(content))
		return json_incref((json_t *)content);
	if (!json_is_array(content)) {
		fields_fail(f, name, "%s must be a string, or an array of parts", name);
		return NULL;
	}
	for (size_t i = 0; i < n && fields_ok(f); i++)
		len += json_string_length(part_text(f, json_array_get(content, i), name)) + 1;
	char *all = fields_ok(f) ? malloc(len + 1) : NULL;
	if (!all) {
		out_of_memory(f);
		return NULL;
	}
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		const json_t *t = part_text(f, json_array_get(content, i), name);
		if (!t)
			continue;
		if (at > 0)
			all[at++] = '\n';
		memcpy(all + at, json_string_value(t), json_string_length(t));
		at += json_string_length(t);
	}
	json_t *text = json_stringn(all, at);
	free(all);
	if (!text)
		out_of_memory(f);
	return text;
}

void chat_add_text(struct chat *c, struct fields *f, const char *role, json_t *content) {
	json_t *m = content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
	if (!c->messages)
		c->messages = json_array();
	if (fields_ok(f) && json_array_append_new(c->messages, m) == 0)
		return;
	if (!fields_ok(f))
		json_decref(m);
	out_of_memory(f);
}

/* Arguments that are JSON objects as text become objects: templates write them as JSON themselves. */
static json_t *calls_with_objects(const json_t *calls) {
	json_t *copy = json_deep_copy(calls);
	for (size_t i = 0; i < json_array_size(copy); i++) {
		json_t *function = json_object_get(json_array_get(copy, i), "function");
		const char *text = json_string_value(json_object_get(function, "arguments"));
		json_t *o = text ? json_loads(*text ? text : "{}", 0, NULL) : NULL;
		if (json_is_object(o))
			json_object_set(function, "arguments", o);
		json_decref(o);
	}
	return copy;
}

/* The reasoning in a content's parts, of Anthropic's form or OpenAI's.  NULL if none. */
static json_t *parts_reasoning(const json_t *content) {
	const json_t *only = NULL;
	for (size_t i = 0; i < json_array_size(content); i++) {
		const json_t *part = json_array_get(content, i), *text = json_object_get(part, "thinking");
		const char *type = json_string_value(json_object_get(part, "type"));
		if (!text && type && strcmp(type, "reasoning") == 0)
			text = json_object_get(part, "text");
		if (json_string_length(text) > 0)
			only = text; /* of several the last: the others are from before a call */
	}
	return json_incref((json_t *)(uintptr_t)only);
}

/* Reasoning that a client gives back, under any of its names, goes to the template under those that templates know.  gpt-oss's refuses
 * a message with calls that has both content and thinking. */
static bool message_set_reasoning(json_t *m, const json_t *o) {
	static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
	json_t *text = NULL;
	bool ok = true;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const json_t *given = json_object_get(o, names[i]);
		if (!text && json_string_length(given) > 0)
			text = json_incref((json_t *)(uintptr_t)given);
		json_object_del(m, names[i]);
	}
	if (!text)
		text = parts_reasoning(json_object_get(o, "content"));
	if (!text)
		return true;
	bool both = json_array_size(json_object_get(m, "tool_calls")) > 0 &&
	            json_string_length(json_object_get(m, "content")) > 0;
	ok = json_object_set(m, "reasoning_content", text) == 0 &&
	     (both || json_object_set(m, "thinking", text) == 0);
	json_decref(text);
	return ok;
}

/* Accepts only known roles: templates turn roles into control tokens. */
static bool chat_is_role(const char *role) {
	static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
	for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
		if (strcmp(role, roles[i]) == 0)
			return true;
	return false;
}

/* Only what the assistant called, or thought, is a message without content. */
static bool chat_may_be_empty(const json_t *o, const char *role) {
	static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
	bool any = json_array_size(json_object_get(o, "tool_calls")) > 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		any = any || json_string_length(json_object_get(o, names[i])) > 0;
	return any && strcmp(role, "assistant") == 0;
}

void chat_add(struct chat *c, struct fields *f, const json_t *o) {
	const char *role = json_string_value(json_object_get(o, "role"));
	const json_t *calls = json_object_get(o, "tool_calls");
	if (!chat_is_role(role)) {
		fields_fail(f, "messages",
		        "messages[%zu] must have a role: system, developer, user, assistant, tool or function",
		        json_array_size(c->messages));
		return;
	}
	if (calls && !json_is_null(calls) && !json_is_array(calls)) {
		fields_fail(f, "messages", "messages[%zu].tool_calls must be an array",
		        json_array_size(c->messages));
		return;
	}
	if (!fields_get(f, o, "content") && !chat_may_be_empty(o, role)) {
		fields_fail(f, "messages", "messages[%zu] must have content", json_array_size(c->messages));
		return;
	}
	json_t *content = chat_content(f, json_object_get(o, "content"), "messages.content");
	json_t *m = content ? json_copy((json_t *)o) : NULL;
	bool ok = m && json_object_set(m, "content", content) == 0;
	if (ok && strcmp(role, "developer") == 0)
		ok = json_object_set_new(m, "role", json_string("system")) == 0;
	if (ok && json_array_size(calls) > 0)
		ok = json_object_set_new(m, "tool_calls", calls_with_objects(calls)) == 0;
	else if (ok)
		json_object_del(m, "tool_calls"); /* templates test whether it is there */
	if (ok && strcmp(role, "assistant") == 0)
		ok = message_set_reasoning(m, o);
	json_decref(content);
	if (ok && !c->messages)
		c->messages = json_array();
	if (!ok || json_array_append(c->messages, m) != 0)
		out_of_memory(f);
	json_decref(m);
}

static void chat_read_allowed(struct chat *c, struct fields *f, const json_t *choice) {
	const json_t *inner = json_object_get(choice, "allowed_tools");
	choice = inner ? inner : choice;
	const char *mode = json_string_value(json_object_get(choice, "mode"));
	const json_t *tools = json_object_get(choice, "tools");
	if (json_array_size(tools) == 0 ||
	        !(mode && (strcmp(mode, "auto") == 0 || strcmp(mode, "required") == 0)))
		fields_fail(f, "tool_choice",
		        "tool_choice: allowed_tools must have tools, and the mode auto or required");
	else
		c->must_call = mode[0] == 'r';
	c->allowed = tools;
}

/* The name of a tool, or of one that is allowed. */
static const char *tool_name(const json_t *tool) {
	const json_t *function = json_object_get(tool, "function");
	return json_string_value(json_object_get(function ? function : tool, "name"));
}

static json_t *tools_named(const json_t *tools, const char *name) {
	for (size_t i = 0; name && i < json_array_size(tools); i++) {
		const char *one = tool_name(json_array_get(tools, i));
		if (one && strcmp(one, name) == 0)
			return json_array_get(tools, i);
	}
	return NULL;
}

void chat_keep_allowed(struct chat *c, struct fields *f) {
	if (!c->allowed || c->no_call || !fields_ok(f))
		return;
	json_t *kept = json_array();
	for (size_t i = 0; i < json_array_size(c->tools); i++)
		if (tools_named(c->allowed, tool_name(json_array_get(c->tools, i))))
			json_array_append(kept, json_array_get(c->tools, i));
	for (size_t i = 0; i < json_array_size(c->allowed); i++) {
		const char *name = tool_name(json_array_get(c->allowed, i));
		if (!tools_named(c->tools, name))
			fields_fail(f, "tool_choice", "tool_choice: there is no tool %.64s to allow",
			        name ? name : "without a name");
	}
	json_decref(c->tools);
	c->tools = kept;
}

void chat_read_choice(struct chat *c, struct fields *f) {
	const json_t *choice = fields_get(f, NULL, "tool_choice"),
	             *function = json_object_get(choice, "function");
	const char *how = json_string_value(choice),
	           *type = json_string_value(json_object_get(choice, "type")),
	           *name = json_string_value(json_object_get(function ? function : choice, "name"));
	if (how && (strcmp(how, "none") == 0 || strcmp(how, "required") == 0)) {
		c->no_call = how[0] == 'n';
		c->must_call = how[0] == 'r';
	} else if (type && strcmp(type, "allowed_tools") == 0) {
		chat_read_allowed(c, f, choice);
	} else if (type && strcmp(type, "function") == 0 && name) {
		c->must_call = true;
		c->tool = name;
	} else if (choice && !(how && strcmp(how, "auto") == 0)) {
		fields_fail(f, "tool_choice",
		        "tool_choice must be none, auto, required, to name a function, or allowed_tools");
	}
}

void chat_read_messages(struct chat *c, struct fields *f) {
	const json_t *messages = fields_get(f, NULL, "messages");
	if (!json_is_array(messages) || json_array_size(messages) == 0)
		fields_fail(f, "messages", "messages must be an array with at least one message");
	for (size_t i = 0; i < json_array_size(messages) && fields_ok(f); i++)
		chat_add(c, f, json_array_get(messages, i));
}

/* Each as it is; those of types that are not known are left out. */
static void chat_read_tools(struct chat *c, struct fields *f) {
	const json_t *tools = fields_get(f, NULL, "tools");
	if (tools && !json_is_array(tools))
		fields_fail(f, "tools", "tools must be an array");
	for (size_t i = 0; i < json_array_size(tools) && !c->no_call; i++) {
		json_t *tool = json_array_get(tools, i), *type = json_object_get(tool, "type");
		bool function = !json_is_string(type) || strcmp(json_string_value(type), "function") == 0;
		if (!function || !json_is_string(json_object_get(json_object_get(tool, "function"), "name")))
			continue;
		if (!c->tools)
			c->tools = json_array();
		json_array_append(c->tools, tool);
	}
}

void chat_read_effort(struct chat *c, struct fields *f, const char *effort, const char *param) {
	static const char *const words[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
	size_t i = 0;
	if (!effort)
		return;
	while (i < sizeof words / sizeof *words && strcmp(effort, words[i]) != 0)
		i++;
	if (i == sizeof words / sizeof *words) {
		fields_fail(f, param, "%s must be none, minimal, low, medium, high or xhigh", param);
		return;
	}
	c->effort = words[i];
	c->think = i < 2 ? CHAT_THINK_NOT : CHAT_THINK;
	c->think_param = param;
}

void chat_read(struct chat *c, struct fields *f) {
	chat_read_messages(c, f);
	chat_read_choice(c, f);
	chat_read_tools(c, f);
	chat_keep_allowed(c, f);
}

/* ---- templates ----------------------------------------------------------------------------------- */

const char *chat_template_of(const struct model_facts *m) {
	return *m->chat_template ? m->chat_template : chat_template_find(m->known_template);
}

bool chat_takes_tools(const struct model_facts *m) {
	return strstr(chat_template_of(m), "tools") != NULL;
}

bool chat_thinks(const struct model_facts *m) {
	return reasoning_format_of(chat_template_of(m)) != REASONING_NONE;
}

/* Sets the spans that the template wrote itself. */
static bool prompt_set_spans(struct prompt *q, const struct jinja_text *t) {
	size_t n = 0;
	free(q->spans);
	if (!(q->spans = malloc((t->nruns + 1) * sizeof *q->spans)))
		return false;
	for (size_t i = 0; i < t->nruns; i++)
		if (!t->runs[i].input)
			q->spans[n++] = (struct token_span){t->runs[i].begin, t->runs[i].end};
	q->p.spans = q->spans;
	q->p.nspans = n;
	return true;
}

/* Variables by which templates let a model think or not, unless the client sets them itself. */
static bool given_set_thinking(json_t *given, const struct chat *c, const char *source) {
	static const char *const names[] = {"enable_thinking", "thinking"};
	bool low = c->think == CHAT_THINK_NOT, ok = true;
	const char *effort = c->effort;
	if (c->think == CHAT_THINK_AS_USUAL)
		return true;
	for (size_t i = 0; i < sizeof names / sizeof *names && ok; i++)
		if (!json_object_get(given, names[i]))
			ok = json_object_set_new(given, names[i], json_boolean(!low)) == 0;
	/* gpt-oss always thinks, and knows three efforts */
	if (reasoning_format_of(source) == REASONING_HARMONY)
		effort = low ? "low" : effort && strcmp(effort, "xhigh") == 0 ? "high" : effort;
	if (effort && !json_object_get(given, "reasoning_effort"))
		ok = ok && json_object_set_new(given, "reasoning_effort", json_string(effort)) == 0;
	return ok;
}

/* A message as Mistral's templates have reasoning: a part of the content before the text. */
static json_t *message_with_parts(const json_t *m) {
	json_t *text = json_object_get(m, "content"), *parts;
	json_t *copy = json_copy((json_t *)(uintptr_t)m);
	parts = json_pack(json_string_length(text) ? "[{s:s, s:O}, {s:s, s:O}]" : "[{s:s, s:O}]", "type",
	        "thinking", "thinking", json_object_get(m, "reasoning_content"), "type", "text", "text",
	        text);
	if (copy && json_object_set_new(copy, "content", parts) == 0)
		return copy;
	json_decref(copy);
	return NULL;
}

/* Tools for templates that have them as text of the first system message: what each function is, as JSON.  Without such a message
 * there is one with the words of the model's card. */
static bool messages_put_tools(json_t *messages, const json_t *tools) {
	json_t *functions = json_array(), *first = json_array_get(messages, 0);
	const char *role = json_string_value(json_object_get(first, "role"));
	for (size_t i = 0; i < json_array_size(tools); i++)
		json_array_append(functions, json_object_get(json_array_get(tools, i), "function"));
	char *text = functions && json_array_size(functions) == json_array_size(tools)
	                     ? json_dumps(functions, 0)
	                     : NULL;
	json_decref(functions);
	bool system = role && strcmp(role, "system") == 0;
	json_t *message = system ? json_copy(first)
	                         : json_pack("{s:s, s:s}", "role", "system", "content",
	                                   "You are a helpful assistant with some tools.");
	bool ok = text && message && json_object_set_new(message, "tools", json_string(text)) == 0;
	free(text);
	if (!ok) {
		json_decref(message);
		return false;
	}
	return (system ? json_array_set_new(messages, 0, message)
	               : json_array_insert_new(messages, 0, message)) == 0;
}

/* The template's variables, without the last `left_out` messages. */
static json_t *chat_given(const struct chat *c, const char *source, size_t left_out) {
	json_t *given = c->extra ? json_copy(c->extra) : json_object(), *messages = json_array();
	size_t n = json_array_size(c->messages) - left_out;
	/* the name of the part's type, as Jinja has it */
	bool as_parts = reasoning_format_of(source) == REASONING_MISTRAL &&
	                (strstr(source, "'thinking'") || strstr(source, "\"thinking\""));
	bool ok = given && messages;
	for (size_t i = 0; ok && i < n; i++) {
		json_t *m = json_array_get(c->messages, i);
		bool parts = as_parts && json_object_get(m, "reasoning_content");
		ok = json_array_append_new(messages, parts ? message_with_parts(m) : json_incref(m)) == 0;
	}
	if (ok && c->tools && toolcall_has_tools_in_message(toolcall_format_of(source)))
		ok = messages_put_tools(messages, c->tools);
	ok = ok && json_object_set(given, "messages", messages) == 0 &&
	     (!c->tools || json_object_set(given, "tools", c->tools) == 0);
	json_decref(messages);
	if (ok)
		return given;
	json_decref(given);
	return NULL;
}

/* The same with arguments of calls as text, for templates that write them without conversion. */
static json_t *given_with_strings(const json_t *given) {
	json_t *copy = json_deep_copy(given), *messages = json_object_get(copy, "messages");
	bool any = false;
	for (size_t i = 0; i < json_array_size(messages); i++) {
		json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
		for (size_t k = 0; k < json_array_size(calls); k++) {
			json_t *function = json_object_get(json_array_get(calls, k), "function");
			json_t *arguments = json_object_get(function, "arguments");
			char *text = json_is_object(arguments) ? json_dumps(arguments, 0) : NULL;
			any = (text && json_object_set_new(function, "arguments", json_string(text)) == 0) ||
			      any;
			free(text);
		}
	}
	if (any)
		return copy;
	json_decref(copy);
	return NULL;
}

static int chat_run(const struct jinja_template *t, const json_t *own, const json_t *given,
        struct jinja_text *text, char *err, size_t errlen) {
	struct jinja_limits limits = JINJA_LIMITS;
	limits.steps = STEPS_MAX;
	int64_t now = (int64_t)time(NULL);
	int rc = jinja_render(t, own, given, now, &limits, text, err, errlen);
	json_t *strings = rc == -EINVAL ? given_with_strings(given) : NULL;
	if (strings) {
		char again[320];
		if (jinja_render(t, own, strings, now, &limits, text, again, sizeof again) == 0)
			rc = 0;
	}
	json_decref(strings);
	return rc;
}

static bool is_from_assistant(const json_t *m) {
	const char *role = json_string_value(json_object_get(m, "role"));
	return role && strcmp(role, "assistant") == 0 &&
	       json_array_size(json_object_get(m, "tool_calls")) == 0;
}

/* Appends text after the template's. */
static bool prompt_append(struct prompt *q, const char *text, size_t len) {
	char *all = realloc(q->text, q->p.len + len + 1);
	if (!all)
		return false;
	memcpy(all + q->p.len, text, len);
	all[q->p.len + len] = '\0';
	q->p.text = q->text = all;
	q->p.len += len;
	return true;
}

/* The same, where control tokens count. */
static bool prompt_append_marks(struct prompt *q, const char *text) {
	struct token_span *more = realloc(q->spans, (q->p.nspans + 1) * sizeof *more);
	if (!more)
		return false;
	q->p.spans = q->spans = more;
	q->spans[q->p.nspans++] = (struct token_span){q->p.len, q->p.len + strlen(text)};
	return prompt_append(q, text, strlen(text));
}

/* The end of the prompt was written by the template. */
static bool prompt_ends_in_marks(const struct prompt *q) {
	return q->p.nspans > 0 && q->spans[q->p.nspans - 1].end == q->p.len;
}

/* What the answer's reasoning is, and that there is none where it is not wanted: then the prompt ends it, as the templates of models
 * do that know a switch.  switched: the template has one, and it is off. */
static bool prompt_set_reasoning(
        struct prompt *q, const struct chat *c, enum reasoning_format format, bool prefill, bool switched) {
	bool never = c->think == CHAT_THINK_NOT || prefill, ok = true;
	if (format == REASONING_NONE)
		return true;
	const struct reasoning_syntax *syntax = reasoning_syntax(format);
	enum reasoning_at at =
	        prompt_ends_in_marks(q) ? reasoning_at(format, q->text, q->p.len) : REASONING_MAY_BEGIN;
	if (format == REASONING_HARMONY) { /* it has no prompt without */
		if (prefill)
			return prompt_append_marks(q, syntax->answer);
		at = REASONING_MAY_BEGIN;
	} else if (never && at != REASONING_IS_OVER && (at == REASONING_IS_OPEN || !switched)) {
		char close[64];
		snprintf(close, sizeof close, "%s\n\n%s\n\n", at == REASONING_IS_OPEN ? "" : syntax->begin,
		        syntax->end);
		ok = prompt_append_marks(q, close);
		at = REASONING_IS_OVER;
	}
	if (at == REASONING_IS_OVER || prefill)
		return ok;
	q->reply.reasoning = format;
	q->reply.open = at == REASONING_IS_OPEN;
	return ok;
}

/* Whether the template has a switch for thinking: with it on, another prompt comes out. */
static bool chat_has_switch(
        const struct jinja_template *t, const json_t *own, const json_t *given, const struct prompt *q) {
	char err[300];
	struct jinja_text text = {0};
	json_t *on = json_copy((json_t *)(uintptr_t)given);
	bool other = on && json_object_set_new(on, "enable_thinking", json_true()) == 0 &&
	             json_object_set_new(on, "thinking", json_true()) == 0 &&
	             chat_run(t, own, on, &text, err, sizeof err) == 0 &&
	             (text.len != q->p.len || memcmp(text.s, q->text, text.len) != 0);
	jinja_text_clear(&text);
	json_decref(on);
	return other;
}

static void chat_refuse_thinking(const struct chat *c, const struct model_entry *m, struct fields *f) {
	if (c->think == CHAT_THINK && c->think_param && !chat_thinks(m->facts) &&
	        !strstr(chat_template_of(m->facts), "reasoning_effort"))
		fields_fail(
		        f, c->think_param, "%s: \"%s\" does not support thinking", c->think_param, m->name);
}

/* The prompt of a conversation, with what is continued (prefilled, NULL: nothing) behind it.  0, or as jinja_render. */
static int chat_write(const struct chat *c, const char *source, const json_t *own, const json_t *given,
        const json_t *prefilled, struct prompt *q, char *err, size_t errlen) {
	struct jinja_template *t = NULL;
	struct jinja_text text = {0};
	int rc = jinja_template_create(&t, source, strlen(source), err, errlen);
	if (rc == 0)
		rc = chat_run(t, own, given, &text, err, errlen);
	if (rc == 0 && (!prompt_set_text(q, text.s, text.len) || !prompt_set_spans(q, &text)))
		rc = -ENOMEM;
	bool switched = rc == 0 && c->think == CHAT_THINK_NOT && chat_has_switch(t, own, given, q);
	if (rc == 0 && !prompt_set_reasoning(q, c, reasoning_format_of(source), prefilled, switched))
		rc = -ENOMEM;
	const json_t *content = json_object_get(prefilled, "content");
	if (rc == 0 && content && !prompt_append(q, json_string_value(content), json_string_length(content)))
		rc = -ENOMEM;
	jinja_text_clear(&text);
	jinja_template_destroy(t);
	return rc;
}

void chat_render(const struct chat *c, const struct model_entry *m, struct prompt *q, struct fields *f) {
	char err[300] = "";
	const char *source = c->source ? c->source : chat_template_of(m->facts);
	const json_t *last = json_array_get(c->messages, json_array_size(c->messages) - 1),
	             *prefilled = c->prefill && is_from_assistant(last) ? last : NULL;
	chat_refuse_thinking(c, m, f);
	if (c->tools && !chat_takes_tools(m->facts))
		fields_fail(f, "tools",
		        "tools: the chat template of model %.64s does not take tools: load a model whose template does, or this "
		        "one with caravan load --template FILE.jinja and a template that does, such as contrib/templates/hermes.jinja",
		        m->name);
	if (!fields_ok(f))
		return;
	json_t *own = json_pack("{s:s, s:s, s:b}", "bos_token", m->facts->bos, "eos_token", m->facts->eos,
	        "add_generation_prompt", 1);
	json_t *given = chat_given(c, source, prefilled ? 1 : 0);
	int rc = own && given && given_set_thinking(given, c, source)
	                 ? chat_write(c, source, own, given, prefilled, q, err, sizeof err)
	                 : -ENOMEM;
	if (rc == -ENOMEM) {
		out_of_memory(f);
	} else if (rc != 0) {
		fields_fail(f, "messages", "the chat template of model %.64s %s: %.200s", m->name,
		        rc == -EBADMSG ? "refuses these messages" : "cannot be rendered", err);
		if (rc == -ENOTSUP)
			f->status = 500;
	}
	if (c->tools) {
		q->reply.calls = toolcall_format_of(source);
		q->reply.tools = json_incref(c->tools);
	}
	/* marks are control tokens in some vocabularies */
	q->p.names = q->p.apart = reply_needed(&q->reply);
	json_decref(own);
	json_decref(given);
}
