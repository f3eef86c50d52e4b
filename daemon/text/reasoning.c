/* reasoning: see reasoning.h. */
#include "daemon/text/reasoning.h"
#include "daemon/text/held.h"
#include <stdlib.h>
#include <string.h>

static const struct reasoning_syntax formats[] = {
        [REASONING_THINK] = {"think", "<think>", "</think>", "", ""},
        [REASONING_MISTRAL] = {"mistral", "[THINK]", "[/THINK]", "", ""},
        [REASONING_HARMONY] = {"harmony", "<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant",
                "<|channel|>final<|message|>"},
};

enum where {
	BEGIN,  /* a mark may come, after white space */
	BEFORE, /* in the reasoning; all so far was white space */
	INSIDE,
	BEHIND, /* behind the reasoning; all so far was white space */
	TEXT
};

struct reasoning_stream {
	const struct reasoning_syntax *format;
	enum where where;
	bool open;
	struct held held;
};

enum reasoning_format reasoning_format_of(const char *t) {
	if (strstr(t, "<|channel|>") && strstr(t, "<|message|>"))
		return REASONING_HARMONY;
	if (strstr(t, "[THINK]"))
		return REASONING_MISTRAL;
	return strstr(t, "<think>") || strstr(t, "</think>") ? REASONING_THINK : REASONING_NONE;
}

const struct reasoning_syntax *reasoning_syntax(enum reasoning_format format) {
	return &formats[format];
}

enum reasoning_format reasoning_format_find(const char *name) {
	for (size_t i = REASONING_NONE + 1; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(formats[i].name, name) == 0)
			return (enum reasoning_format)i;
	return REASONING_NONE;
}

static bool ends_with(const char *s, size_t len, const char *mark) {
	size_t n = strlen(mark);
	return len >= n && memcmp(s + len - n, mark, n) == 0;
}

enum reasoning_at reasoning_at(enum reasoning_format format, const char *prompt, size_t len) {
	len -= held_space_behind(prompt, len);
	if (ends_with(prompt, len, formats[format].begin))
		return REASONING_IS_OPEN;
	return ends_with(prompt, len, formats[format].end) ? REASONING_IS_OVER : REASONING_MAY_BEGIN;
}

struct reasoning_stream *reasoning_create(enum reasoning_format format, bool open) {
	struct reasoning_stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->format = &formats[format];
	s->open = open;
	return s;
}

void reasoning_destroy(struct reasoning_stream *s) {
	if (s)
		held_clear(&s->held);
	free(s);
}

static bool stream_give(struct reasoning_stream *s, size_t n, const struct reasoning_sink *sink) {
	if (n == 0)
		return true;
	bool ok = s->where == INSIDE ? sink->reasoning(sink->arg, s->held.s, n)
	                             : sink->text(sink->arg, s->held.s, n);
	held_drop(&s->held, n);
	return ok;
}

/* Models whose prompt begins the reasoning may begin it once more. */
static bool stream_begin(struct reasoning_stream *s) {
	size_t space = held_space(s->held.s, s->held.len);
	int mark = held_begins(s->held.s + space, s->held.len - space, s->format->begin);
	if (mark == 0)
		return false;
	if (mark > 0)
		held_drop(&s->held, space + strlen(s->format->begin));
	s->where = mark > 0 || s->open ? BEFORE : TEXT;
	return true;
}

/* White space is left out before the first of something else. */
static bool stream_space(struct reasoning_stream *s, enum where then) {
	held_drop(&s->held, held_space(s->held.s, s->held.len));
	if (s->held.len == 0)
		return false;
	s->where = then;
	return true;
}

static bool stream_inside(struct reasoning_stream *s, const struct reasoning_sink *sink, bool *ok) {
	const char *end = memmem(s->held.s, s->held.len, s->format->end, strlen(s->format->end));
	size_t n = end ? (size_t)(end - s->held.s)
	               : s->held.len - held_partial(s->held.s, s->held.len, s->format->end);
	size_t space = held_space_behind(s->held.s, n);
	*ok = stream_give(s, n - space, sink);
	if (!end)
		return false;
	held_drop(&s->held, space + strlen(s->format->end));
	s->where = BEHIND;
	return true;
}

/* Whether there is more to do with what is held. */
static bool stream_step(struct reasoning_stream *s, const struct reasoning_sink *sink, bool *ok) {
	switch (s->where) {
	case BEGIN:
		return stream_begin(s);
	case BEFORE:
		return stream_space(s, INSIDE);
	case INSIDE:
		return stream_inside(s, sink, ok);
	case BEHIND:
		return stream_space(s, TEXT);
	case TEXT:
		*ok = stream_give(s, s->held.len, sink);
		break;
	}
	return false;
}

bool reasoning_push(
        struct reasoning_stream *s, const char *text, size_t len, const struct reasoning_sink *sink) {
	bool ok = held_append(&s->held, text, len);
	while (ok && s->held.len > 0 && stream_step(s, sink, &ok))
		;
	return ok;
}

bool reasoning_finish(struct reasoning_stream *s, const struct reasoning_sink *sink) {
	if (s->where == BEGIN && s->open) {
		held_drop(&s->held, held_space(s->held.s, s->held.len));
		s->where = INSIDE;
	}
	size_t n = s->where == INSIDE ? s->held.len - held_space_behind(s->held.s, s->held.len) : s->held.len;
	return stream_give(s, n, sink);
}
