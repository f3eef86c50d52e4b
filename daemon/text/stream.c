/* stream: pieces → bytes → whole characters → text that cannot be part of a stop text.
 *
 * text holds whole characters only; what is before `sure` may be taken.  Each stop text has its own search
 * state (Knuth, Morris, Pratt): how many of its bytes the text ends with, which is what must be held back.
 * The search advances byte by byte as characters arrive, so the split into tokens makes no difference.
 * The names of control tokens that are not shown are in text too, marked as hidden, and are removed when text
 * is taken.  There are two searches: one over all bytes, and one that skips the hidden ones.
 * One thread at a time. */
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAIL 32 /* bytes: longer than any mark */

/* The marks that daemon/text/reply.h looks for. */
static const char *const text_marks[] = {"<think>", "</think>", "[THINK]", "[/THINK]", "<tool_call>",
        "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|tool_call|>", "<|/tool_call|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|start|>", "<|channel|>",
        "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>"};

/* Of a byte of the text. */
enum {
	HIDDEN = 1, /* it is not shown */
	NAME = 2    /* of the name of a control token */
};

struct stop {
	char *s;
	uint32_t *border; /* border[i]: length of the longest proper prefix of s that ends s[0..i] */
	size_t len;
	size_t matched; /* bytes of it that the shown text ends with */
	size_t spelled; /* the same for the text with all names */
};

/* Where a token begins, in bytes from the beginning of all text. */
struct token_start {
	size_t at, shown; /* with and without hidden bytes */
};

struct text_stream {
	const struct tokenizer *t; /* borrowed */
	unsigned flags;
	bool started, finished;
	int stopped; /* index of the stop text, or -1 */
	char part[4];
	size_t npart;      /* bytes of an incomplete character */
	char *text, *kind; /* kind[i]: of text[i] */
	char *apart;       /* TEXT_STREAM_APART: what is handed out */
	bool name;         /* bytes that are appended are of the name of a control token */
	uint32_t marks;    /* bit i: there is a control token text_marks[i] */
	char tail[TAIL];   /* the last shown bytes, of other tokens alone */
	size_t ntail;
	size_t n, cap;
	size_t nhidden;            /* hidden bytes in text */
	size_t sure;               /* text[0..sure) cannot be part of a stop text */
	size_t taken;              /* text[0..taken) was handed out; dropped at the next call */
	size_t dropped;            /* bytes before text[0], hidden ones included */
	size_t shown;              /* shown bytes that were handed out */
	struct token_start *start; /* of tokens that have not come yet: start[next..nstarts) */
	size_t next, nstarts, starts_cap;
	size_t nstops;
	struct stop stop[TEXT_STREAM_MAX_STOPS];
};

static int text_stream_stop_init(struct stop *stop, const struct text_stop *from) {
	stop->len = from->len;
	stop->s = malloc(from->len);
	stop->border = calloc(from->len, sizeof *stop->border);
	if (!stop->s || !stop->border)
		return -ENOMEM;
	memcpy(stop->s, from->s, from->len);
	for (uint32_t i = 1, k = 0; i < stop->len; i++) {
		while (k > 0 && stop->s[i] != stop->s[k])
			k = stop->border[k - 1];
		k += stop->s[i] == stop->s[k];
		stop->border[i] = k;
	}
	return 0;
}

int text_stream_create(struct text_stream **out, const struct tokenizer *t, const struct text_stop *stops,
        size_t nstops, unsigned flags) {
	struct text_stream *s = NULL;
	int rc = -E2BIG;
	*out = NULL;
	if (nstops > TEXT_STREAM_MAX_STOPS)
		return -E2BIG;
	for (size_t i = 0; i < nstops; i++) {
		if (stops[i].len > TEXT_STREAM_MAX_STOP_LEN)
			return -E2BIG;
		if (stops[i].len == 0 || !utf8_valid(stops[i].s, stops[i].len))
			return -EINVAL;
	}
	rc = -ENOMEM;
	s = calloc(1, sizeof *s);
	if (!s)
		goto error;
	s->t = t;
	s->flags = flags;
	s->stopped = -1;
	for (size_t i = 0; flags & TEXT_STREAM_APART && i < sizeof text_marks / sizeof *text_marks; i++)
		s->marks |= (uint32_t)tokenizer_has_control(t, text_marks[i]) << i;
	for (; s->nstops < nstops; s->nstops++) {
		rc = text_stream_stop_init(&s->stop[s->nstops], &stops[s->nstops]);
		if (rc < 0) {
			s->nstops++;
			goto error;
		}
	}
	*out = s;
	return 0;
error:
	text_stream_destroy(s);
	return rc;
}

void text_stream_destroy(struct text_stream *s) {
	if (!s)
		return;
	for (size_t i = 0; i < s->nstops; i++) {
		free(s->stop[i].s);
		free(s->stop[i].border);
	}
	free(s->text);
	free(s->kind);
	free(s->apart);
	free(s->start);
	free(s);
}

static void text_stream_drop_taken(struct text_stream *s) {
	if (s->taken == 0)
		return;
	memmove(s->text, s->text + s->taken, s->n - s->taken);
	memmove(s->kind, s->kind + s->taken, s->n - s->taken);
	s->n -= s->taken;
	s->sure -= s->taken;
	s->dropped += s->taken;
	s->taken = 0;
}

/* Makes room for `more` bytes. */
static int text_stream_reserve(struct text_stream *s, size_t more) {
	if (s->cap - s->n >= more)
		return 0;
	size_t cap = 2 * s->cap + more + 64;
	char *p = realloc(s->text, cap);
	if (!p)
		return -ENOMEM;
	s->text = p;
	p = realloc(s->kind, cap);
	if (!p)
		return -ENOMEM;
	s->kind = p;
	if (s->flags & TEXT_STREAM_APART) {
		if (!(p = realloc(s->apart, 2 * cap)))
			return -ENOMEM;
		s->apart = p;
	}
	s->cap = cap;
	return 0;
}

/* Advances one search by a byte; whether this completes the stop text. */
static bool text_stream_advance(const struct stop *stop, size_t *matched, char c) {
	while (*matched > 0 && stop->s[*matched] != c)
		*matched = stop->border[*matched - 1];
	*matched += stop->s[*matched] == c;
	return *matched == stop->len;
}

/* Where the last `shown` shown bytes of the text begin; hidden bytes directly before them are not
 * included. */
static size_t text_stream_fall_back(const struct text_stream *s, size_t shown) {
	size_t at = s->n;
	if (s->nhidden == 0)
		return s->n - shown;
	while (shown > 0)
		shown -= !(s->kind[--at] & HIDDEN);
	return at;
}

/* Advances the searches by the last byte of the text.  Whether this completes a stop text, and where that one
 * begins. */
static bool text_stream_search(struct text_stream *s, size_t *begins) {
	char c = s->text[s->n - 1];
	bool hidden = s->kind[s->n - 1] & HIDDEN;
	size_t longest = 0;
	for (size_t i = 0; i < s->nstops; i++) {
		struct stop *stop = &s->stop[i];
		bool spelled = text_stream_advance(stop, &stop->spelled, c);
		bool shown = !hidden && text_stream_advance(stop, &stop->matched, c);
		if ((!spelled && !shown) || stop->len <= longest)
			continue;
		longest = stop->len;
		*begins = spelled ? s->n - stop->len : text_stream_fall_back(s, stop->len);
		s->stopped = (int)i;
	}
	return longest > 0;
}

/* Appends a whole character, for which there is room. */
static void text_stream_append_character(struct text_stream *s, const char *c, size_t len, bool hidden) {
	for (size_t i = 0; i < len; i++) {
		s->kind[s->n] = (char)((hidden ? HIDDEN : 0) | (s->name ? NAME : 0));
		s->text[s->n++] = c[i];
		s->nhidden += hidden;
		size_t begins;
		if (text_stream_search(s, &begins)) {
			for (; s->n > begins; s->n--)
				s->nhidden -= s->kind[s->n - 1] & HIDDEN;
			s->sure = begins;
			s->npart = 0;
			return;
		}
	}
}

/* Holds back what may be the beginning of a stop text. */
static void text_stream_hold_back(struct text_stream *s) {
	if (s->stopped >= 0)
		return;
	s->sure = s->n;
	for (size_t i = 0; i < s->nstops; i++) {
		size_t a = text_stream_fall_back(s, s->stop[i].matched), b = s->n - s->stop[i].spelled;
		a = b < a ? b : a;
		s->sure = a < s->sure ? a : s->sure;
	}
}

static void text_stream_append_byte(struct text_stream *s, char c) {
	s->part[s->npart++] = c;
	while (s->npart > 0 && s->stopped < 0) {
		size_t n;
		enum utf8_state state = utf8_next(s->part, s->npart, &n);
		if (state == UTF8_PARTIAL)
			return;
		char whole[4];
		memcpy(whole, s->part, sizeof whole);
		s->npart -= n;
		memmove(s->part, s->part + n, s->npart);
		if (state == UTF8_WHOLE)
			text_stream_append_character(s, whole, n, false);
		else
			text_stream_append_character(s, "\xEF\xBF\xBD", 3, false);
	}
}

/* Appends the name of a control token that is not shown.  It goes between characters: one that is incomplete
 * continues after it. */
static int text_stream_append_hidden(struct text_stream *s, uint32_t id) {
	size_t len;
	const char *name = tokenizer_piece(s->t, id, &len);
	if (s->nstops == 0)
		return 0;
	int rc = text_stream_reserve(s, len);
	if (rc < 0)
		return rc;
	text_stream_append_character(s, name, len, true);
	text_stream_hold_back(s);
	return 0;
}

static int text_stream_append_token(struct text_stream *s, uint32_t id) {
	if (tokenizer_is_control(s->t, id) && !(s->flags & TEXT_STREAM_SPECIAL))
		return text_stream_append_hidden(s, id);
	size_t len;
	s->name = tokenizer_is_control(s->t, id);
	const char *piece = tokenizer_piece(s->t, id, &len);
	/* every byte may become U+FFFD, including those of the incomplete character */
	int rc = text_stream_reserve(s, 3 * (len + sizeof s->part));
	if (rc < 0)
		return rc;
	if (!s->started && !tokenizer_is_control(s->t, id)) {
		s->started = true;
		if (s->flags & TEXT_STREAM_AT_START && tokenizer_has_space_prefix(s->t) && len > 0 &&
		        piece[0] == ' ') {
			piece++;
			len--;
		}
	}
	for (size_t i = 0; i < len && s->stopped < 0; i++)
		text_stream_append_byte(s, piece[i]);
	text_stream_hold_back(s);
	return 0;
}

/* A token begins here.  0 or -ENOMEM. */
static int text_stream_note_start(struct text_stream *s) {
	if (s->next == s->nstarts)
		s->next = s->nstarts = 0;
	if (s->nstarts == s->starts_cap) {
		size_t cap = 2 * s->starts_cap + 16;
		struct token_start *start = realloc(s->start, cap * sizeof *start);
		if (!start)
			return -ENOMEM;
		s->start = start;
		s->starts_cap = cap;
	}
	s->start[s->nstarts++] = (struct token_start){s->dropped + s->n, s->shown + s->n - s->nhidden};
	return 0;
}

bool text_stream_next_token(struct text_stream *s, size_t *offset) {
	if (s->next == s->nstarts || (!s->finished && s->start[s->next].at >= s->dropped + s->sure))
		return false;
	*offset = s->start[s->next++].shown;
	return true;
}

int text_stream_push(struct text_stream *s, uint32_t id) {
	if (id >= tokenizer_tokens(s->t))
		return -EINVAL;
	text_stream_drop_taken(s);
	if (s->stopped >= 0 || s->finished)
		return 0;
	int rc = s->flags & TEXT_STREAM_TOKENS ? text_stream_note_start(s) : 0;
	if (rc == 0)
		rc = text_stream_append_token(s, id);
	while (s->stopped >= 0 && s->nstarts > s->next && s->start[s->nstarts - 1].at >= s->dropped + s->n)
		s->nstarts--;
	return rc;
}

int text_stream_finish(struct text_stream *s) {
	text_stream_drop_taken(s);
	if (s->finished)
		return 0;
	int rc = text_stream_reserve(s, 3);
	if (rc < 0)
		return rc;
	if (s->npart > 0)
		text_stream_append_character(s, "\xEF\xBF\xBD", 3, false);
	s->npart = 0;
	s->sure = s->n;
	s->finished = true;
	return 0;
}

/* Whether the tail ends with a mark for which there is a control token. */
static bool text_stream_is_spelled(const struct text_stream *s) {
	for (size_t i = 0; i < sizeof text_marks / sizeof *text_marks; i++) {
		size_t len = strlen(text_marks[i]);
		if (s->marks >> i & 1 && len <= s->ntail &&
		        memcmp(s->tail + s->ntail - len, text_marks[i], len) == 0)
			return true;
	}
	return false;
}

/* The first n bytes of the text, with a byte in marks that are spelled; returns their number. */
static size_t text_stream_set_apart(struct text_stream *s, size_t n, const char **out) {
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		if (s->kind[i] & NAME) {
			s->ntail = 0;
		} else {
			if (s->ntail == TAIL)
				memmove(s->tail, s->tail + 1, --s->ntail);
			s->tail[s->ntail++] = s->text[i];
			if (text_stream_is_spelled(s))
				s->apart[len++] = TEXT_STREAM_SPELLED;
		}
		s->apart[len++] = s->text[i];
	}
	if (n > 0)
		*out = s->apart;
	return len;
}

size_t text_stream_take(struct text_stream *s, const char **text) {
	size_t shown = 0;
	text_stream_drop_taken(s);
	*text = s->text ? s->text : "";
	s->taken = s->sure;
	if (s->nhidden == 0 && !(s->flags & TEXT_STREAM_APART)) {
		s->shown += s->sure;
		return s->sure;
	}
	for (size_t i = 0; i < s->sure; i++) {
		s->nhidden -= s->kind[i] & HIDDEN;
		if (s->kind[i] & HIDDEN)
			continue;
		s->kind[shown] = s->kind[i];
		s->text[shown++] = s->text[i];
	}
	s->shown += shown;
	return s->flags & TEXT_STREAM_APART ? text_stream_set_apart(s, shown, text) : shown;
}

int text_stream_stopped(const struct text_stream *s) {
	return s->stopped;
}
