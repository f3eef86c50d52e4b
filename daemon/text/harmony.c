/* harmony: see harmony.h. */
#include "daemon/text/harmony.h"
#include "daemon/text/held.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 512 /* bytes: a longer one is not a header */

#define START "<|start|>"
#define CHANNEL "<|channel|>"
#define MESSAGE "<|message|>"

/* What ends a body; the next header's marks do where the model forgets to. */
static const struct {
	const char *mark;
	bool dropped;
} ends[] = {{"<|end|>", true}, {"<|return|>", true}, {"<|call|>", true}, {START, false}, {CHANNEL, false}};
#define ENDS (sizeof ends / sizeof *ends)

enum where { HEADER, REASONING, TEXT, CALL };

struct harmony_stream {
	bool calls;
	enum where where;
	/* CALL: held are its header and body */
	bool fresh;            /* a message has begun whose body has not */
	bool said[CALL];       /* REASONING, TEXT: there was some */
	size_t plain;          /* TEXT: so many bytes are text, whatever marks they have */
	size_t body;           /* where the body begins, */
	size_t seen;           /* how much has been searched for its end, */
	struct held_json json; /* which is not within a string */
	size_t name, name_len; /* the tool's, in the header */
	struct held held;
};

struct harmony_stream *harmony_create(bool calls) {
	struct harmony_stream *s = calloc(1, sizeof *s);
	if (s)
		s->calls = calls;
	return s;
}

void harmony_destroy(struct harmony_stream *s) {
	if (s)
		held_clear(&s->held);
	free(s);
}

static bool harmony_say(
        const struct harmony_stream *s, const char *text, size_t n, const struct reply_sink *sink) {
	return s->where == REASONING ? sink->reasoning(sink->arg, text, n) : sink->text(sink->arg, text, n);
}

/* Messages of a kind are apart by a blank line. */
static bool harmony_give(struct harmony_stream *s, size_t n, const struct reply_sink *sink) {
	const bool reasoning = s->where == REASONING;
	if (n == 0)
		return true;
	bool ok = !(s->fresh && s->said[reasoning ? REASONING : TEXT]) || harmony_say(s, "\n\n", 2, sink);
	s->fresh = false;
	s->said[reasoning ? REASONING : TEXT] = true;
	ok = ok && harmony_say(s, s->held.s, n, sink);
	held_drop(&s->held, n);
	return ok;
}

/* ---- headers ------------------------------------------------------------------------------------- */

/* What a header begins with, after white space. */
static int header_begins(const char *s, size_t len) {
	static const char *const first[] = {START "assistant", CHANNEL, "to="};
	size_t space = held_space(s, len);
	int best = -1;
	for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
		int now = held_begins(s + space, len - space, first[i]);
		best = now > best ? now : best;
	}
	return best;
}

static bool is_word(const char *s, size_t len, const char *word) {
	return len == strlen(word) && memcmp(s, word, len) == 0;
}

/* The word behind `key` in s[0..len), up to white space or a mark; its length is 0 if there is none. */
static const char *header_word(const char *s, size_t len, const char *key, size_t *n) {
	const char *at = memmem(s, len, key, strlen(key));
	*n = 0;
	if (!at)
		return NULL;
	at += strlen(key);
	while (at + *n < s + len && !strchr(" \n\r\t<", at[*n]))
		++*n;
	return at;
}

/* A header of n bytes, before <|message|>: what its body is.  TEXT with *known false: none that is known. */
static enum where header_read(struct harmony_stream *s, size_t n, bool *known) {
	static const char functions[] = "functions.";
	const size_t prefix = sizeof functions - 1;
	size_t channel_len, to_len;
	const char *channel = header_word(s->held.s, n, CHANNEL, &channel_len),
	           *to = header_word(s->held.s, n, "to=", &to_len);
	bool analysis = channel && is_word(channel, channel_len, "analysis"),
	     text = channel &&
	            (is_word(channel, channel_len, "final") || is_word(channel, channel_len, "commentary"));
	*known = false;
	if (to && s->calls && to_len > prefix && memcmp(to, functions, prefix) == 0) {
		*known = true;
		s->name = (size_t)(to - s->held.s) + prefix;
		s->name_len = to_len - prefix;
		return CALL;
	}
	if (to || (!analysis && !text))
		return TEXT;
	*known = true;
	return analysis ? REASONING : TEXT;
}

/* What is held is not a header: its first mark is text.  Or it is one, of so many bytes, that says nothing known: all of it is. */
static void header_refuse(struct harmony_stream *s, size_t header) {
	size_t space = held_space(s->held.s, s->held.len);
	s->where = TEXT;
	s->plain = header;
	for (size_t i = 0; i < ENDS && header == 0; i++)
		if (!ends[i].dropped && held_begins(s->held.s + space, s->held.len - space, ends[i].mark) > 0)
			s->plain = space + strlen(ends[i].mark);
}

static bool harmony_header(struct harmony_stream *s) {
	const size_t most = HEADER_MAX + strlen(MESSAGE);
	const char *end =
	        memmem(s->held.s, s->held.len < most ? s->held.len : most, MESSAGE, strlen(MESSAGE));
	int begins = header_begins(s->held.s, s->held.len);
	bool known = false;
	if (begins == 0 || (begins > 0 && !end && s->held.len < most))
		return false;
	if (begins < 0 || !end) {
		header_refuse(s, 0);
		return true;
	}
	size_t n = (size_t)(end - s->held.s), body = n + strlen(MESSAGE);
	s->where = header_read(s, n, &known);
	if (!known) {
		header_refuse(s, body);
	} else if (s->where == CALL) {
		s->body = s->seen = body;
		s->json = (struct held_json){0};
	} else {
		held_drop(&s->held, body);
		s->fresh = true;
	}
	return true;
}

/* ---- bodies -------------------------------------------------------------------------------------- */

/* The mark that ends a body of reasoning or text: where it begins; *mark: which, or ENDS: there is none, and the bytes before what may
 * become one. */
static size_t body_end(const struct harmony_stream *s, size_t from, size_t *mark) {
	size_t at = s->held.len;
	*mark = ENDS;
	for (size_t i = 0; i < ENDS; i++) {
		const char *found =
		        memmem(s->held.s + from, s->held.len - from, ends[i].mark, strlen(ends[i].mark));
		size_t n = found ? (size_t)(found - s->held.s)
		                 : s->held.len -
		                           held_partial(s->held.s + from, s->held.len - from, ends[i].mark);
		if (n < at || (n == at && found)) {
			at = n;
			*mark = found ? i : ENDS;
		}
	}
	return at;
}

static bool harmony_body(struct harmony_stream *s, const struct reply_sink *sink, bool *ok) {
	size_t mark, n = body_end(s, s->plain, &mark);
	*ok = harmony_give(s, n, sink);
	s->plain = 0;
	if (mark == ENDS)
		return false;
	if (ends[mark].dropped)
		held_drop(&s->held, strlen(ends[mark].mark));
	s->where = HEADER;
	return true;
}

/* ---- calls --------------------------------------------------------------------------------------- */

/* The body s[0..len) as a call; false: it is not one. */
static bool call_give(const struct harmony_stream *s, size_t len, const struct reply_sink *sink, bool *ok) {
	char *plain = held_copy_plain(s->held.s + s->body, len, &len);
	if (!plain) {
		*ok = false;
		return true;
	}
	size_t space = held_space(plain, len);
	const char *body = plain + space;
	len -= space;
	len -= held_space_behind(body, len);
	json_t *o = json_loadb(body, len, 0, NULL);
	bool good = json_is_object(o) || len == 0;
	json_decref(o);
	if (good) {
		char *name = strndup(s->held.s + s->name, s->name_len),
		     *arguments = len ? strndup(body, len) : strdup("{}");
		const struct tool_call call = {name, arguments};
		*ok = name && arguments && sink->call(sink->arg, &call);
		free(name);
		free(arguments);
	}
	free(plain);
	return good;
}

/* 1: one ends at s->seen, which one is *mark; 0: what is there may become one; -1: none. */
static int call_end(const struct harmony_stream *s, size_t *mark) {
	int best = -1;
	for (size_t i = 0; i < ENDS; i++) {
		int now = held_begins(s->held.s + s->seen, s->held.len - s->seen, ends[i].mark);
		if (now > best) {
			best = now;
			*mark = i;
		}
	}
	return best;
}

/* A call that ends before its mark, or at the end of the answer (ENDS).  What is not one is text as it was written. */
static void call_close(struct harmony_stream *s, size_t mark, const struct reply_sink *sink, bool *ok) {
	size_t dropped = mark < ENDS && ends[mark].dropped ? strlen(ends[mark].mark) : 0;
	if (call_give(s, s->seen - s->body, sink, ok)) {
		held_drop(&s->held, s->seen + dropped);
		s->where = HEADER;
		return;
	}
	s->where = TEXT;
	*ok = harmony_give(s, s->seen + dropped, sink);
	s->where = HEADER;
}

static bool harmony_call(struct harmony_stream *s, const struct reply_sink *sink, bool *ok) {
	size_t mark = ENDS;
	while (s->seen < s->held.len) {
		int end = s->json.string ? -1 : call_end(s, &mark);
		if (end == 0)
			return false;
		if (end > 0) {
			call_close(s, mark, sink, ok);
			return true;
		}
		held_json_see(&s->json, s->held.s[s->seen]);
		s->seen++;
	}
	return false;
}

/* ---- the stream ---------------------------------------------------------------------------------- */

static bool harmony_step(struct harmony_stream *s, const struct reply_sink *sink, bool *ok) {
	switch (s->where) {
	case HEADER:
		return harmony_header(s);
	case REASONING:
	case TEXT:
		return harmony_body(s, sink, ok);
	case CALL:
		return harmony_call(s, sink, ok);
	}
	return false;
}

bool harmony_push(struct harmony_stream *s, const char *text, size_t len, const struct reply_sink *sink) {
	bool ok = held_append(&s->held, text, len);
	while (ok && s->held.len > 0 && harmony_step(s, sink, &ok))
		;
	return ok;
}

bool harmony_finish(struct harmony_stream *s, const struct reply_sink *sink) {
	bool ok = true;
	if (s->where == CALL) {
		s->seen = s->held.len;
		call_close(s, ENDS, sink, &ok);
	}
	return ok && harmony_give(s, s->held.len, sink);
}
