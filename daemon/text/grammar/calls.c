/* calls: see calls.h.  An answer is what comes before its calls, the calls, what is between two, and what comes behind the last: short
 * texts, where a space is white space as in JSON, %m the format's mark and %M the same if the model likes, %e its end mark, %a and %b the marks
 * before arguments, %f, %g and %h Kimi's marks of a call, %c a call, %q a tool's name in quotes, %n without, %v arguments. */
#include "daemon/text/grammar/calls.h"
#include "daemon/text/grammar/schema_internal.h"
#include "daemon/text/toolcall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct layout {
	const char *open, *one, *between, *close;
	const char *tool; /* of %c */
};

static const struct layout layouts[] = {
        [TOOLCALL_LLAMA3] = {"%M", "%c", " ; ", "", "{ \"name\": %q, \"parameters\": %v }"},
        [TOOLCALL_HERMES] = {"", "%m %c %e", " ", "", "{ \"name\": %q, \"arguments\": %v }"},
        [TOOLCALL_MISTRAL] = {"%m [ ", "%c", " , ", " ]", "{ \"name\": %q, \"arguments\": %v }"},
        [TOOLCALL_MISTRAL_ARGS] = {"", "%m%c", "", "", "%n%a%v"},
        [TOOLCALL_HARMONY] = {"", "%m%c", "", "", "%n%b%v"},
        [TOOLCALL_KIMI] = {"%m", "%f%c%g", "", "%e", "%n:0%h%v"},
        [TOOLCALL_PHI4] = {"%m [ ", "%c", " , ", " ] %e", "{ \"name\": %q, \"arguments\": %v }"},
};

struct calls {
	struct schema *c;
	enum toolcall_format format;
	uint32_t call; /* the rule of a call */
	/* of the tool that is being built */
	const char *name;
	const json_t *arguments; /* their schema */
};

static uint32_t calls_code(struct calls *s, uint32_t from, char code) {
	const struct toolcall_syntax *syntax = toolcall_syntax(s->format);
	const struct path top = {NULL, NULL};
	uint32_t to;
	switch (code) {
	case 'm':
		return rules_marked(s->c->r, from, syntax->mark);
	case 'M':
		to = rules_marked(s->c->r, from, syntax->mark);
		rules_link(s->c->r, from, to);
		return to;
	case 'e':
		return rules_marked(s->c->r, from, syntax->end);
	case 'a':
		return rules_marked(s->c->r, from, "[ARGS]");
	case 'b':
		return rules_marked(s->c->r, from, " <|constrain|>json<|message|>");
	case 'f':
		from = rules_marked(s->c->r, from, "<|tool_call_begin|>");
		return rules_literal(s->c->r, from, "functions.", 10);
	case 'g':
		return rules_marked(s->c->r, from, "<|tool_call_end|>");
	case 'h':
		return rules_marked(s->c->r, from, "<|tool_call_argument_begin|>");
	case 'c':
		return schema_call(s->c, from, s->call);
	case 'q':
		return schema_quoted(s->c, from, s->name, strlen(s->name));
	case 'n':
		return rules_literal(s->c->r, from, s->name, strlen(s->name));
	default:
		return schema_call(s->c, from, schema_rule(s->c, s->arguments, &top));
	}
}

static uint32_t calls_write(struct calls *s, uint32_t from, const char *text) {
	for (; *text && !schema_failed(s->c); text++) {
		if (*text == '%')
			from = calls_code(s, from, *++text);
		else if (*text == ' ')
			from = schema_space(s->c, from);
		else
			from = rules_literal(s->c->r, from, text, 1);
	}
	return from;
}

/* The schema of a tool's arguments, which are an object whatever else it says; NULL: c->rc. */
static const json_t *calls_arguments(struct schema *c, const json_t *parameters) {
	const json_t *type = json_object_get(parameters, "type");
	const struct path top = {NULL, NULL};
	if (!parameters || json_is_null(parameters))
		return schema_keep(c, json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 0));
	if (!json_is_object(parameters))
		schema_fail(c, &top, "the parameters must be a schema that is an object");
	else if (type && (!json_is_string(type) || strcmp(json_string_value(type), "object") != 0))
		schema_fail(c, &top, "the type of parameters must be object");
	if (schema_failed(c))
		return NULL;
	if (type)
		return parameters;
	json_t *made = schema_keep(c, json_copy((json_t *)(uintptr_t)parameters));
	if (made && json_object_set_new(made, "type", json_string("object")) != 0)
		schema_no_memory(c);
	return made;
}

/* Without quotes around it a name ends where the next mark begins. */
static bool calls_can_write(const struct calls *s, const char *name) {
	bool quoted = s->format != TOOLCALL_MISTRAL_ARGS && s->format != TOOLCALL_HARMONY &&
	              s->format != TOOLCALL_KIMI;
	return *name && (quoted || !strpbrk(name, "[< \n\r\t"));
}

static void calls_add_tool(struct calls *s, const json_t *tool) {
	struct schema *c = s->c;
	const struct path top = {NULL, NULL};
	const struct rules_rule *rule = &c->r->rule[s->call];
	const uint32_t start = rule->start, end = rule->end;
	const char *name = json_string_value(json_object_get(tool, "name"));
	s->name = name ? name : "";
	if (!calls_can_write(s, s->name))
		schema_fail(c, &top, "a tool cannot have this name in the format of this model");
	else if ((s->arguments = calls_arguments(c, json_object_get(tool, "parameters")))) {
		c->top = s->arguments;
		rules_link(c->r, calls_write(s, start, layouts[s->format].tool), end);
	}
}

static void calls_build(struct calls *s, const json_t *tools, bool one) {
	struct rules *r = s->c->r;
	const struct layout *l = &layouts[s->format];
	uint32_t top = rules_add(r, "calls", 5);
	s->call = rules_add(r, "call", 4);
	if (schema_failed(s->c))
		return;
	uint32_t at = calls_write(s, r->rule[top].start, l->open);
	/* a call of harmony ends the answer */
	for (int i = 0; i < (one || s->format == TOOLCALL_HARMONY ? 1 : CALLS_MAX); i++) {
		at = calls_write(s, i > 0 ? calls_write(s, at, l->between) : at, l->one);
		rules_link(r, calls_write(s, at, l->close), r->rule[top].end);
	}
	for (size_t i = 0; i < json_array_size(tools) && !schema_failed(s->c); i++)
		calls_add_tool(s, json_array_get(tools, i));
}

int calls_rules(struct rules **out, const json_t *calls, enum json_space space, char *err, size_t errlen) {
	const char *format = json_string_value(json_object_get(calls, "format"));
	char why[512] = "";
	struct calls s = {.format = format ? toolcall_format_find(format) : TOOLCALL_NONE};
	*out = NULL;
	if (s.format == TOOLCALL_NONE) {
		snprintf(err, errlen, "an unknown format of calls");
		return -EINVAL;
	}
	if (!(s.c = schema_create(space, why, sizeof why))) {
		snprintf(err, errlen, "%s", why);
		return -ENOMEM;
	}
	calls_build(&s, json_object_get(calls, "tools"), json_is_true(json_object_get(calls, "one")));
	int rc = schema_finish(s.c, out);
	if (rc < 0)
		snprintf(err, errlen, "tool %.64s: %s", s.name ? s.name : "", why);
	return rc;
}
