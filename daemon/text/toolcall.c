/* toolcall: see toolcall.h.
 *
 * The formats are those of Meta's Llama 3.1 prompt format, Nous Research's Hermes-Function-Calling (which
 * Qwen 2.5 also uses), mistral-common, and the model cards of Phi 4 mini and Kimi K2.  There are two states.  In TEXT, everything is passed on at once
 * except what may be the beginning of a mark and the white space before it.  In CALL, after a mark,
 * everything is held until the call ends or turns out not to be a call. */
#include "daemon/text/toolcall.h"
#include "daemon/text/held.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_DEPTH 8 /* of alternatives within alternatives */

static const struct toolcall_syntax formats[] = {
        [TOOLCALL_LLAMA3] = {"llama3", "<|python_tag|>", NULL, true},
        [TOOLCALL_HERMES] = {"hermes", "<tool_call>", "</tool_call>", false},
        [TOOLCALL_MISTRAL] = {"mistral", "[TOOL_CALLS]", NULL, false},
        [TOOLCALL_MISTRAL_ARGS] = {"mistral-args", "[TOOL_CALLS]", NULL, false},
        [TOOLCALL_HARMONY] = {"harmony", "<|channel|>commentary to=functions.", NULL, false},
        [TOOLCALL_PHI4] = {"phi4", "<|tool_call|>", "<|/tool_call|>", false},
        [TOOLCALL_KIMI] = {"kimi", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", false},
};

struct toolcall_stream {
	enum toolcall_format kind;
	const struct toolcall_syntax *format;
	json_t *tools; /* NULL: not known */
	bool in_call;
	bool begun;            /* text has been passed on */
	bool called;           /* a call was found */
	size_t call;           /* in CALL: where the call begins in the held text, after white space */
	size_t seen;           /* in CALL: how much has been searched for its end, */
	struct held_json json; /* which does not count within a string of JSON; */
	size_t inner; /* end of the first end mark within a string, in case the string never ends; 0 if none */
	struct held held;
};

enum toolcall_format toolcall_format_of(const char *t) {
	if (strstr(t, "<tool_call>"))
		return TOOLCALL_HERMES;
	if (strstr(t, "<|channel|>") && strstr(t, "<|message|>"))
		return TOOLCALL_HARMONY;
	if (strstr(t, "<|/tool|>"))
		return TOOLCALL_PHI4;
	if (strstr(t, "<|tool_calls_section_begin|>"))
		return TOOLCALL_KIMI;
	if (strstr(t, "[TOOL_CALLS]"))
		return strstr(t, "[ARGS]") ? TOOLCALL_MISTRAL_ARGS : TOOLCALL_MISTRAL;
	/* the role of tool results is called ipython in Llama 3.1 and 3.2 */
	return strstr(t, "<|python_tag|>") || (strstr(t, "<|start_header_id|>") && strstr(t, "ipython"))
	               ? TOOLCALL_LLAMA3
	               : TOOLCALL_NONE;
}

bool toolcall_has_tools_in_message(enum toolcall_format format) {
	return format == TOOLCALL_PHI4;
}

const struct toolcall_syntax *toolcall_syntax(enum toolcall_format format) {
	return &formats[format];
}

enum toolcall_format toolcall_format_find(const char *name) {
	for (size_t i = TOOLCALL_NONE + 1; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(formats[i].name, name) == 0)
			return (enum toolcall_format)i;
	return TOOLCALL_NONE;
}

struct toolcall_stream *toolcall_create(enum toolcall_format format, json_t *tools) {
	struct toolcall_stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->kind = format;
	s->format = &formats[format];
	s->tools = json_incref(tools);
	return s;
}

void toolcall_destroy(struct toolcall_stream *s) {
	if (s) {
		json_decref(s->tools);
		held_clear(&s->held);
	}
	free(s);
}

/* ---- JSON as it was written ---------------------------------------------------------------------- */

/* The length of the JSON value at the beginning of s; 0 if none. */
static size_t json_length(const char *s, size_t len, json_t **value) {
	json_error_t e;
	*value = json_loadb(s, len, JSON_DISABLE_EOF_CHECK, &e);
	return *value ? (size_t)e.position : 0;
}

/* The length of the value at the beginning of s, which is valid JSON. */
static size_t json_skip(const char *s, size_t len) {
	size_t depth = 0;
	bool string = false;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (string) {
			if (c == '\\')
				i++;
			else if (c == '"' && depth == 0)
				return i + 1;
			else
				string = c != '"';
			continue;
		}
		if (c == '"')
			string = true;
		else if (c == '{' || c == '[')
			depth++;
		else if (depth > 0 && (c == '}' || c == ']') && --depth == 0)
			return i + 1;
		else if (depth == 0 && (c == ',' || c == '}' || c == ']' || held_space(&c, 1)))
			return i;
	}
	return len;
}

/* Whether the JSON string s is this key, which may be written with escapes. */
static bool json_is_key(const char *s, size_t len, const char *key) {
	json_t *name = json_loadb(s, len, JSON_DECODE_ANY, NULL);
	bool same = json_is_string(name) && strcmp(json_string_value(name), key) == 0;
	json_decref(name);
	return same;
}

/* The value of a key of the object s, verbatim; the last one counts. */
static char *json_member(const char *s, size_t len, const char *key) {
	char *found = NULL;
	size_t at = 1 + held_space(s, len);
	while ((at += held_space(s + at, len - at)) < len && s[at] == '"') {
		size_t name = json_skip(s + at, len - at);
		bool same = json_is_key(s + at, name, key);
		at += name;
		at += held_space(s + at, len - at) + 1; /* ':' */
		at += held_space(s + at, len - at);
		size_t value = json_skip(s + at, len - at);
		if (same) {
			free(found);
			found = strndup(s + at, value);
		}
		at += value;
		at += held_space(s + at, len - at) + 1; /* ',' */
	}
	return found;
}

/* ---- calls --------------------------------------------------------------------------------------- */

/* The calls read so far, until all of them are known to be valid. */
struct calls {
	struct tool_call *call;
	size_t n;
	bool no_memory;
};

static void calls_clear(struct calls *c) {
	for (size_t i = 0; i < c->n; i++) {
		free((char *)c->call[i].name);
		free((char *)c->call[i].arguments);
	}
	free(c->call);
	*c = (struct calls){0};
}

/* Takes ownership of both strings; NULL: out of memory. */
static bool calls_add(struct calls *c, char *name, char *arguments) {
	struct tool_call *more = realloc(c->call, (c->n + 1) * sizeof *more);
	if (more)
		c->call = more;
	if (!more || !name || !arguments) {
		c->no_memory = true;
		free(name);
		free(arguments);
		return false;
	}
	c->call[c->n++] = (struct tool_call){name, arguments};
	return true;
}

/* An object with a name and arguments, which some models call parameters, and some write as a string. */
static bool calls_read_object(struct calls *c, const json_t *o, const char *s, size_t len) {
	const char *name = json_string_value(json_object_get(o, "name")), *key = "arguments";
	const json_t *a = json_object_get(o, key);
	if (!a)
		a = json_object_get(o, key = "parameters");
	if (!name || !*name || (a && !json_is_object(a) && !json_is_string(a)))
		return false;
	if (!a)
		return calls_add(c, strdup(name), strdup("{}"));
	if (json_is_string(a)) {
		json_t *inner = json_loads(json_string_value(a), 0, NULL);
		bool ok = json_is_object(inner);
		json_decref(inner);
		return ok && calls_add(c, strdup(name), strdup(json_string_value(a)));
	}
	return calls_add(c, strdup(name), json_member(s, len, key));
}

/* Objects separated by white space and `between`, and nothing else. */
static bool calls_read_objects(struct calls *c, const char *s, size_t len, char between) {
	size_t at = held_space(s, len), before = c->n;
	while (at < len) {
		json_t *o;
		size_t n = json_length(s + at, len - at, &o);
		bool ok = n > 0 && json_is_object(o) && calls_read_object(c, o, s + at, n);
		json_decref(o);
		if (!ok)
			return false;
		at += n;
		at += held_space(s + at, len - at);
		if (between && at < len && s[at] == between)
			at += 1 + held_space(s + at + 1, len - at - 1);
	}
	return c->n > before;
}

/* NAME[ARGS]{...}, optionally with [CALL_ID]... between, one or more times, each after the mark. */
static bool calls_read_named(struct calls *c, const char *s, size_t len, const char *mark) {
	static const char args[] = "[ARGS]", id[] = "[CALL_ID]";
	while (len > 0) {
		const char *brace = memmem(s, len, args, strlen(args));
		if (!brace)
			return false;
		size_t name = (size_t)(brace - s), at = name + strlen(args), n;
		const char *call_id = memmem(s, name, id, strlen(id));
		name = call_id ? (size_t)(call_id - s) : name;
		size_t lead = held_space(s, name);
		name -= held_space_behind(s + lead, name - lead);
		json_t *o;
		at += held_space(s + at, len - at);
		n = json_length(s + at, len - at, &o);
		bool ok = json_is_object(o) && name > lead && memchr(s + lead, '[', name - lead) == NULL;
		json_decref(o);
		if (!ok || !calls_add(c, strndup(s + lead, name - lead), strndup(s + at, n)))
			return false;
		at += n;
		at += held_space(s + at, len - at);
		s += at;
		len -= at;
		if (len >= strlen(mark) && memcmp(s, mark, strlen(mark)) == 0) {
			s += strlen(mark);
			len -= strlen(mark);
		}
	}
	return c->n > 0;
}

/* The length of the array of calls, if it is the whole text, and where it begins; 0 if the text is anything else. */
static size_t calls_find_array(const char *s, size_t len, size_t *at) {
	json_t *array;
	*at = held_space(s, len);
	size_t n = json_length(s + *at, len - *at, &array);
	bool is_array = n > 0 && json_is_array(array) && json_array_size(array) > 0 &&
	                *at + n + held_space(s + *at + n, len - *at - n) == len;
	json_decref(array);
	return is_array ? n : 0;
}

static bool calls_read_mistral(struct calls *c, const char *s, size_t len, const char *mark) {
	size_t at, n = calls_find_array(s, len, &at);
	return n ? calls_read_objects(c, s + at + 1, n - 2, ',') : calls_read_named(c, s, len, mark);
}

/* An array of objects, or one without brackets. */
static bool calls_read_array(struct calls *c, const char *s, size_t len) {
	size_t at, n = calls_find_array(s, len, &at);
	return n ? calls_read_objects(c, s + at + 1, n - 2, ',') : calls_read_objects(c, s, len, ',');
}

/* ---- <function=NAME><parameter=P>VALUE</parameter>...</function> ----------------------------------- */

static const char function_mark[] = "<function=", function_end[] = "</function>",
                  parameter_mark[] = "<parameter=", parameter_end[] = "</parameter>";

/* The text at *s begins with the mark, behind white space: it is taken away. */
static bool xml_take(const char **s, size_t *len, const char *mark) {
	size_t at = held_space(*s, *len), n = strlen(mark);
	if (*len - at < n || memcmp(*s + at, mark, n) != 0)
		return false;
	*s += at + n;
	*len -= at + n;
	return true;
}

/* The name in front of '>', which is taken away; NULL if none, or no memory. */
static char *xml_take_name(const char **s, size_t *len) {
	const char *end = memchr(*s, '>', *len);
	if (!end || end == *s)
		return NULL;
	char *name = strndup(*s, (size_t)(end - *s));
	*len -= (size_t)(end + 1 - *s);
	*s = end + 1;
	return name;
}

/* The value, up to the end mark behind which another parameter or the end of the call comes, without a line end around it. */
static bool xml_take_value(const char **s, size_t *len, const char **value, size_t *n) {
	const size_t mark = sizeof parameter_end - 1;
	for (const char *at = *s; (at = memmem(at, *len - (size_t)(at - *s), parameter_end, mark));
	        at += mark) {
		const char *rest = at + mark;
		size_t left = *len - (size_t)(rest - *s);
		const char *next = rest, *last = rest;
		size_t more = left, all = left;
		if (!xml_take(&next, &more, parameter_mark) && !xml_take(&last, &all, function_end))
			continue;
		*value = *s;
		*n = (size_t)(at - *s);
		*s = rest;
		*len = left;
		if (*n > 0 && **value == '\n') {
			++*value;
			--*n;
		}
		*n -= *n > 0 && (*value)[*n - 1] == '\n';
		return true;
	}
	return false;
}

/* The schema of a tool's parameter; NULL: not known. */
static const json_t *xml_schema(const json_t *tools, const char *tool, const char *parameter) {
	for (size_t i = 0; i < json_array_size(tools); i++) {
		const json_t *f = json_object_get(json_array_get(tools, i), "function");
		const char *name = json_string_value(json_object_get(f, "name"));
		if (name && strcmp(name, tool) == 0)
			return json_object_get(
			        json_object_get(json_object_get(f, "parameters"), "properties"), parameter);
	}
	return NULL;
}

static bool json_is_text(const json_t *s, const char *text) {
	return json_is_string(s) && strcmp(json_string_value(s), text) == 0;
}

/* As far as it says so itself: it may be behind a reference, too. */
static bool schema_allows_strings(const json_t *schema, int depth) {
	static const char *const of_several[] = {"type", "enum", "anyOf", "oneOf"};
	const json_t *type = json_object_get(schema, "type");
	bool allows = json_is_text(type, "string") || json_is_string(json_object_get(schema, "const"));
	for (size_t k = 0; k < sizeof of_several / sizeof *of_several; k++) {
		const json_t *list = json_object_get(schema, of_several[k]);
		for (size_t i = 0; i < json_array_size(list) && !allows; i++) {
			const json_t *one = json_array_get(list, i);
			allows = k == 0   ? json_is_text(one, "string")
			         : k == 1 ? json_is_string(one)
			                  : depth > 0 && schema_allows_strings(one, depth - 1);
		}
	}
	return allows;
}

/* A string as JSON; NULL: not UTF-8, or no memory. */
static char *json_quote(const char *s, size_t n) {
	json_t *string = json_stringn(s, n);
	char *text = json_dumps(string, JSON_ENCODE_ANY);
	json_decref(string);
	return text;
}

/* A value as JSON.  What is not a string is JSON as it was written, or one of Python's words for three values; what is neither is a
 * string all the same. */
static char *xml_value(const json_t *schema, const char *s, size_t n) {
	static const char *const word[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
	if (schema_allows_strings(schema, SCHEMA_DEPTH))
		return json_quote(s, n);
	for (size_t i = 0; i < sizeof word / sizeof *word; i++)
		if (n == strlen(word[i][0]) && memcmp(s, word[i][0], n) == 0)
			return strdup(word[i][1]);
	json_t *value = json_loadb(s, n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
	if (!value)
		return json_quote(s, n);
	json_decref(value);
	size_t lead = held_space(s, n);
	return strndup(s + lead, n - lead - held_space_behind(s, n));
}

/* The object of values that are texts of JSON. */
static char *xml_object(json_t *values) {
	struct held out = {0};
	const char *name;
	const json_t *value;
	bool ok = held_append(&out, "{", 1);
	json_object_foreach(values, name, value) {
		char *quoted = json_quote(name, strlen(name));
		ok = ok && quoted && (out.len == 1 || held_append(&out, ", ", 2)) &&
		     held_append(&out, quoted, strlen(quoted)) && held_append(&out, ": ", 2) &&
		     held_append(&out, json_string_value(value), json_string_length(value));
		free(quoted);
	}
	if (!ok || !held_append(&out, "}", 2)) /* with what ends a string */
		held_clear(&out);
	return out.s;
}

/* The name in Kimi's id of a call: functions.NAME:0. */
static char *kimi_name(const char *id, size_t len) {
	static const char prefix[] = "functions.";
	const size_t n = sizeof prefix - 1;
	size_t lead = held_space(id, len);
	id += lead;
	len -= lead;
	len -= held_space_behind(id, len);
	if (len > n && memcmp(id, prefix, n) == 0) {
		id += n;
		len -= n;
	}
	const char *colon = memrchr(id, ':', len);
	len = colon ? (size_t)(colon - id) : len;
	return len ? strndup(id, len) : NULL;
}

static bool calls_read_kimi(struct calls *c, const char *s, size_t len) {
	static const char begin[] = "<|tool_call_begin|>", arguments[] = "<|tool_call_argument_begin|>",
	                  end[] = "<|tool_call_end|>";
	bool ok = true;
	while (ok && xml_take(&s, &len, begin)) {
		const char *mark = memmem(s, len, arguments, strlen(arguments));
		size_t id = mark ? (size_t)(mark - s) : 0, at = id + strlen(arguments);
		if (!mark)
			return false;
		json_t *o;
		at += held_space(s + at, len - at);
		size_t n = json_length(s + at, len - at, &o);
		bool is_object = json_is_object(o);
		json_decref(o);
		char *name = is_object ? kimi_name(s, id) : NULL;
		ok = name && calls_add(c, name, strndup(s + at, n));
		s += at + n;
		len -= at + n;
		ok = ok && xml_take(&s, &len, end);
	}
	return ok && c->n > 0 && held_space(s, len) == len;
}

static bool calls_read_xml(struct calls *c, const json_t *tools, const char *s, size_t len) {
	json_t *arguments = json_object();
	char *name = xml_take(&s, &len, function_mark) ? xml_take_name(&s, &len) : NULL, *text = NULL;
	bool ok = arguments && name;
	while (ok && xml_take(&s, &len, parameter_mark)) {
		const char *value;
		size_t n;
		char *parameter = xml_take_name(&s, &len), *json = NULL;
		ok = parameter && xml_take_value(&s, &len, &value, &n) &&
		     (json = xml_value(xml_schema(tools, name, parameter), value, n)) &&
		     json_object_set_new(arguments, parameter, json_string(json)) == 0;
		free(json);
		free(parameter);
	}
	ok = ok && xml_take(&s, &len, function_end) && held_space(s, len) == len &&
	     (text = xml_object(arguments));
	json_decref(arguments);
	if (ok)
		return calls_add(c, name, text);
	free(name);
	return false;
}

/* Reads the body of a call, without its marks. */
static bool calls_read(
        struct calls *c, enum toolcall_format kind, const json_t *tools, const char *s, size_t len) {
	switch (kind) {
	case TOOLCALL_LLAMA3:
		return calls_read_objects(c, s, len, ';');
	case TOOLCALL_HERMES:
		return calls_read_objects(c, s, len, '\0') || calls_read_xml(c, tools, s, len);
	case TOOLCALL_MISTRAL:
	case TOOLCALL_MISTRAL_ARGS:
		return calls_read_mistral(c, s, len, formats[kind].mark);
	case TOOLCALL_PHI4:
		return calls_read_array(c, s, len);
	case TOOLCALL_KIMI:
		return calls_read_kimi(c, s, len);
	case TOOLCALL_HARMONY:
	case TOOLCALL_NONE:
		break;
	}
	return false;
}

/* ---- the stream ---------------------------------------------------------------------------------- */

static bool stream_give(struct toolcall_stream *s, size_t n, const struct toolcall_sink *sink) {
	if (n == 0)
		return true;
	bool ok = sink->text(sink->arg, s->held.s, n);
	s->begun = true;
	held_drop(&s->held, n);
	return ok;
}

static void stream_drop(struct toolcall_stream *s, size_t n) {
	held_drop(&s->held, n);
	s->in_call = false;
}

/* A call from `call` to `end` of the held text has ended.  If valid it is passed on as a call, else as
 * text. */
static bool stream_close(
        struct toolcall_stream *s, size_t end, size_t end_mark, const struct toolcall_sink *sink) {
	struct calls c = {0};
	size_t mark = strlen(s->format->mark), at = s->call;
	if (end - at >= mark && memcmp(s->held.s + at, s->format->mark, mark) == 0)
		at += mark;
	size_t len;
	char *plain = held_copy_plain(s->held.s + at, end - at - end_mark, &len);
	bool good = plain && calls_read(&c, s->kind, s->tools, plain, len), ok = plain && !c.no_memory;
	free(plain);
	if (ok && good) {
		stream_drop(s, end);
		s->called = true;
		for (size_t i = 0; ok && i < c.n; i++)
			ok = sink->call(sink->arg, &c.call[i]);
	} else if (ok) { /* behind a mark that was in a string, there may be a call yet */
		s->in_call = false;
		ok = stream_give(s, s->inner ? s->inner : end, sink);
	}
	calls_clear(&c);
	return ok;
}

static void stream_open(struct toolcall_stream *s, size_t call) {
	s->in_call = true;
	s->call = s->seen = call;
	s->json = (struct held_json){0};
	s->inner = 0;
}

static bool stream_text(struct toolcall_stream *s, const struct toolcall_sink *sink, bool *again) {
	const char *mark =
	        s->held.len ? memmem(s->held.s, s->held.len, s->format->mark, strlen(s->format->mark)) : NULL;
	size_t blank = held_space(s->held.s, s->held.len);
	if (s->format->bare && !s->begun && !s->called && blank < s->held.len && s->held.s[blank] == '{') {
		stream_open(s, blank);
		*again = true;
		return true;
	}
	size_t end = mark ? (size_t)(mark - s->held.s)
	                  : s->held.len - held_partial(s->held.s, s->held.len, s->format->mark);
	size_t call = held_space_behind(s->held.s, end);
	end -= call;
	bool ok = stream_give(s, end, sink);
	if (mark) {
		stream_open(s, call);
		*again = true;
	}
	return ok;
}

/* Whether the end mark at `at` ends the call: it is not in a string of JSON, or is behind the end of a function. */
static bool stream_ends(const struct toolcall_stream *s, size_t at) {
	const char *body = s->held.s + s->call + strlen(s->format->mark);
	size_t len = at - s->call - strlen(s->format->mark), end = sizeof function_end - 1;
	const char *rest = body;
	size_t left = len;
	if (!xml_take(&rest, &left, function_mark))
		return !s->json.string;
	len -= held_space_behind(body, len);
	return len >= end && memcmp(body + len - end, function_end, end) == 0;
}

static bool stream_call(struct toolcall_stream *s, const struct toolcall_sink *sink, bool *again) {
	const char *mark = s->format->end;
	if (!mark)
		return true;
	for (size_t len = strlen(mark); s->seen < s->held.len;) {
		const char *at = s->held.s + s->seen;
		size_t n = s->held.len - s->seen < len ? s->held.len - s->seen : len;
		if (memcmp(at, mark, n) != 0) {
			held_json_see(&s->json, *at);
			s->seen++;
		} else if (n < len) {
			return true; /* the mark may be split */
		} else if (stream_ends(s, s->seen)) {
			*again = true;
			return stream_close(s, s->seen + len, len, sink);
		} else {
			s->json.escaped = false;
			s->seen += len;
			s->inner = s->inner ? s->inner : s->seen;
		}
	}
	return true;
}

static bool stream_advance(struct toolcall_stream *s, const struct toolcall_sink *sink) {
	bool again = true, ok = true;
	while (ok && again) {
		again = false;
		ok = s->in_call ? stream_call(s, sink, &again) : stream_text(s, sink, &again);
	}
	return ok;
}

bool toolcall_push(
        struct toolcall_stream *s, const char *text, size_t len, const struct toolcall_sink *sink) {
	return held_append(&s->held, text, len) && stream_advance(s, sink);
}

bool toolcall_finish(struct toolcall_stream *s, const struct toolcall_sink *sink) {
	bool ok = true;
	/* a call without its end mark counts, if it is valid */
	while (ok && s->in_call)
		ok = stream_close(s, s->held.len, 0, sink) && stream_advance(s, sink);
	if (s->called && held_space(s->held.s, s->held.len) == s->held.len)
		stream_drop(s, s->held.len); /* white space after a call */
	return ok && stream_give(s, s->held.len, sink);
}
