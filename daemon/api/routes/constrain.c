/* constrain: see constrain.h. */
#include "daemon/api/routes/constrain.h"
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/toolcall.h"
#include <stdlib.h>
#include <string.h>

/* The text is taken. */
static void constrain_set(
        struct prompt *q, struct fields *f, const char *param, enum grammar_language language, char *text) {
	struct grammar *g = NULL;
	char why[256] = "";
	if (!text)
		f->status = f->status ? f->status : 500;
	else if (q->grammar)
		fields_fail(f, param, "%s: %s says as well what the answer must be; leave one of the two out",
		        param, q->grammar_field);
	else if (strlen(text) > WIRE_GRAMMAR_MAX)
		fields_fail(f, param, "%s has %zu bytes, at most %u are possible", param, strlen(text),
		        WIRE_GRAMMAR_MAX);
	else if (grammar_from_text(&g, language, text, strlen(text), NULL, why, sizeof why) != 0)
		fields_fail(f, param, "%s: %s", param, why);
	grammar_destroy(g);
	if (!fields_ok(f)) {
		free(text);
		return;
	}
	q->grammar = text;
	q->grammar_field = param;
	q->p.grammar = text;
	q->p.language = (Caravan__Grammar__Language)language;
}

static void constrain_set_object(struct prompt *q, struct fields *f, const char *param) {
	constrain_set(q, f, param, GRAMMAR_OBJECT, strdup(""));
}

static void constrain_set_schema(
        struct prompt *q, struct fields *f, const char *param, const json_t *schema) {
	constrain_set(q, f, param, GRAMMAR_SCHEMA, json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY));
}

void constrain_read_format(struct prompt *q, struct fields *f, const json_t *format, const char *param) {
	const char *type = json_string_value(json_object_get(format, "type"));
	const json_t *named = json_object_get(format, "json_schema"),
	             *schema = json_object_get(json_is_object(named) ? named : format, "schema");
	if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0))
		return;
	if (type && strcmp(type, "json_object") == 0 && !schema)
		constrain_set_object(q, f, param);
	else if (type && schema && (strcmp(type, "json_object") == 0 || strcmp(type, "json_schema") == 0))
		constrain_set_schema(q, f, param, schema);
	else if (type && strcmp(type, "json_schema") == 0)
		fields_fail(f, param, "%s: a json_schema has no schema", param);
	else
		fields_fail(f, param, "%s: its type must be text, json_object or json_schema", param);
}

void constrain_read_llama(struct prompt *q, struct fields *f) {
	const char *gbnf = fields_string(f, NULL, "grammar", "");
	const json_t *schema = fields_get(f, NULL, "json_schema");
	if (*gbnf)
		constrain_set(q, f, "grammar", GRAMMAR_GBNF, strdup(gbnf));
	if (schema)
		constrain_set_schema(q, f, "json_schema", schema);
}

void constrain_read_ollama(struct prompt *q, struct fields *f) {
	const json_t *format = fields_get(f, NULL, "format");
	const char *name = json_string_value(format);
	if (!format || (name && !*name))
		return;
	if (name && strcmp(name, "json") == 0)
		constrain_set_object(q, f, "format");
	else if (json_is_object(format))
		constrain_set_schema(q, f, "format", format);
	else
		fields_fail(f, "format", "format must be \"json\" or a JSON schema");
}

/* The functions that may be called. */
static json_t *constrain_functions(const struct chat *c) {
	json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(c->tools); i++) {
		json_t *function = json_object_get(json_array_get(c->tools, i), "function"),
		       *name = json_object_get(function, "name");
		if (json_is_string(name) && (!c->tool || strcmp(json_string_value(name), c->tool) == 0))
			json_array_append_new(list, json_pack("{s:O, s:O*}", "name", name, "parameters",
			                                    json_object_get(function, "parameters")));
	}
	return list;
}

static void constrain_set_calls(
        struct prompt *q, struct fields *f, const struct chat *c, const json_t *functions) {
	json_t *calls = json_pack("{s:s, s:b, s:O}", "format", toolcall_syntax(q->reply.calls)->name, "one",
	        c->one_call, "tools", functions);
	constrain_set(q, f, "tools", GRAMMAR_CALLS, calls ? json_dumps(calls, JSON_COMPACT) : NULL);
	json_decref(calls);
}

/* A model that thinks does so before its JSON. */
static void constrain_after_reasoning(struct prompt *q) {
	if (!q->grammar || q->p.language == CARAVAN__GRAMMAR__LANGUAGE__GBNF ||
	        q->reply.reasoning == REASONING_NONE)
		return;
	q->p.reasoning = reasoning_syntax(q->reply.reasoning)->name;
	q->p.reasoning_open = q->reply.open;
}

void constrain_to_calls(struct prompt *q, struct fields *f, const struct chat *c) {
	if (q->grammar && q->reply.calls != TOOLCALL_NONE)
		fields_fail(f, "tools",
		        "tools: an answer whose form the request sets cannot call any; leave one of the two out");
	if (!fields_ok(f) || !c->must_call) {
		constrain_after_reasoning(q);
		return;
	}
	json_t *functions = constrain_functions(c);
	if (json_array_size(c->tools) == 0 && !c->tool)
		fields_fail(f, "tool_choice", "tool_choice: a call is required, but tools is missing");
	else if (json_array_size(functions) == 0)
		fields_fail(f, "tool_choice", "tool_choice: the tools have no function%s%.64s to call",
		        c->tool ? " " : "", c->tool ? c->tool : "");
	else if (q->reply.calls == TOOLCALL_NONE)
		fields_fail(f, "tool_choice",
		        "tool_choice: the chat template does not say in a known format how calls are written");
	else
		constrain_set_calls(q, f, c, functions);
	json_decref(functions);
	constrain_after_reasoning(q);
}
