/* stream: pieces → bytes → whole characters → what no stop text can begin with any more.
 *
 * text holds characters only; what is before sure may be taken.  Each stop text has its place in the search
 * (Knuth, Morris, Pratt): how much of it the text ends with, which is what must be held back.  Characters
 * are searched as they come, byte by byte, so that the cut into tokens makes no difference.
 * One thread at a time. */
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct stop {
	char *s;
	uint32_t *border; /* border[i]: the longest proper prefix of s that s[0..i] ends with */
	size_t len, matched;
};

struct text_stream {
	const struct tokenizer *t; /* borrowed */
	unsigned flags;
	bool started, finished;
	int stopped; /* index of the stop text, or -1 */
	char part[4];
	size_t npart; /* bytes of a character that is not whole yet */
	char *text;
	size_t n, cap;
	size_t sure;  /* text[0..sure) cannot be part of a stop text */
	size_t taken; /* text[0..taken) was given out; dropped at the next call */
	size_t nstops;
	struct stop stop[TEXT_STREAM_MAX_STOPS];
};

static int stop_init(struct stop *stop, const struct text_stop *from) {
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
	for (; s->nstops < nstops; s->nstops++) {
		rc = stop_init(&s->stop[s->nstops], &stops[s->nstops]);
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
	free(s);
}

static void drop_taken(struct text_stream *s) {
	if (s->taken == 0)
		return;
	memmove(s->text, s->text + s->taken, s->n - s->taken);
	s->n -= s->taken;
	s->sure -= s->taken;
	s->taken = 0;
}

/* Room for so many bytes more. */
static int reserve(struct text_stream *s, size_t more) {
	if (s->cap - s->n >= more)
		return 0;
	size_t cap = 2 * s->cap + more + 64;
	char *p = realloc(s->text, cap);
	if (!p)
		return -ENOMEM;
	s->text = p;
	s->cap = cap;
	return 0;
}

/* Goes on with the search by one byte; the length of the longest stop text that is complete with it, or 0. */
static size_t search(struct text_stream *s, char c) {
	size_t found = 0;
	for (size_t i = 0; i < s->nstops; i++) {
		struct stop *stop = &s->stop[i];
		while (stop->matched > 0 && stop->s[stop->matched] != c)
			stop->matched = stop->border[stop->matched - 1];
		stop->matched += stop->s[stop->matched] == c;
		if (stop->matched == stop->len && stop->len > found) {
			found = stop->len;
			s->stopped = (int)i;
		}
	}
	return found;
}

/* A whole character, for which there is room. */
static void append_character(struct text_stream *s, const char *c, size_t len) {
	for (size_t i = 0; i < len; i++) {
		s->text[s->n++] = c[i];
		size_t found = search(s, c[i]);
		if (found > 0) {
			s->n -= found;
			s->sure = s->n;
			s->npart = 0;
			return;
		}
	}
	size_t held = 0;
	for (size_t i = 0; i < s->nstops; i++)
		held = s->stop[i].matched > held ? s->stop[i].matched : held;
	s->sure = s->n - held;
}

static void append_byte(struct text_stream *s, char c) {
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
			append_character(s, whole, n);
		else
			append_character(s, "\xEF\xBF\xBD", 3);
	}
}

int text_stream_push(struct text_stream *s, uint32_t id) {
	if (id >= tokenizer_tokens(s->t))
		return -EINVAL;
	drop_taken(s);
	if (s->stopped >= 0 || s->finished)
		return 0;
	if (tokenizer_is_control(s->t, id) && !(s->flags & TEXT_STREAM_SPECIAL))
		return 0;
	size_t len;
	const char *piece = tokenizer_piece(s->t, id, &len);
	/* every byte may become U+FFFD, those of the unfinished character too */
	int rc = reserve(s, 3 * (len + sizeof s->part));
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
		append_byte(s, piece[i]);
	return 0;
}

int text_stream_finish(struct text_stream *s) {
	drop_taken(s);
	if (s->finished)
		return 0;
	int rc = reserve(s, 3);
	if (rc < 0)
		return rc;
	if (s->npart > 0)
		append_character(s, "\xEF\xBF\xBD", 3);
	s->npart = 0;
	s->sure = s->n;
	s->finished = true;
	return 0;
}

size_t text_stream_take(struct text_stream *s, const char **text) {
	drop_taken(s);
	*text = s->text ? s->text : "";
	s->taken = s->sure;
	return s->sure;
}

int text_stream_stopped(const struct text_stream *s) {
	return s->stopped;
}
