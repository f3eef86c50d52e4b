/* state: an arena with a limit, and the budget.
 * One thread. */
#include "daemon/text/jinja/state_internal.h"
#include "daemon/text/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN ((size_t)16 << 10)
#define CHUNK_MAX ((size_t)1 << 20)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size, used;
	max_align_t data[];
};

/* One line, whole characters. */
static void state_clean_sentence(char *s) {
	size_t len = strlen(s);
	for (size_t i = 0, n; i < len; i += n) {
		enum utf8_state state = utf8_next(s + i, len - i, &n);
		if (state == UTF8_PARTIAL)
			s[i] = '\0';
		else if (state == UTF8_BROKEN || (unsigned char)s[i] < 0x20 || s[i] == 0x7F)
			memset(s + i, ' ', n);
	}
}

void jinja_fail(struct jinja *j, int rc, const char *format, ...) {
	va_list ap;
	int n = snprintf(j->err, j->errlen, "line %u: ", j->line);
	if (n > 0 && (size_t)n < j->errlen) {
		va_start(ap, format);
		vsnprintf(j->err + n, j->errlen - (size_t)n, format, ap);
		va_end(ap);
		state_clean_sentence(j->err);
	}
	j->rc = rc;
	longjmp(j->escape, 1);
}

static struct arena_chunk *state_add_chunk(struct jinja *j, size_t size) {
	size_t want = j->chunk ? 2 * j->chunk->size : CHUNK_MIN;
	want = want > CHUNK_MAX ? CHUNK_MAX : want;
	if (want > j->memory_left)
		want = j->memory_left;
	if (want < size)
		want = size;
	if (want > j->memory_left)
		return NULL;
	struct arena_chunk *c = malloc(sizeof *c + want);
	if (!c)
		return NULL;
	*c = (struct arena_chunk){j->chunk, want, 0};
	j->memory_left -= want;
	j->chunk = c;
	return c;
}

static char *state_take(struct jinja *j, size_t size, size_t align) {
	struct arena_chunk *c = j->chunk;
	size_t at = c ? (c->used + align - 1) / align * align : 0;
	if (!c || at > c->size || size > c->size - at) {
		c = state_add_chunk(j, size);
		at = 0;
	}
	if (!c)
		return NULL;
	c->used = at + size;
	return (char *)c->data + at;
}

static void *state_or_fail(struct jinja *j, void *p) {
	if (!p)
		jinja_fail(j, -E2BIG, "the template needs more memory than it may have");
	return p;
}

void *jinja_try_alloc(struct jinja *j, size_t size) {
	return state_take(j, size, sizeof(max_align_t));
}

void *jinja_alloc(struct jinja *j, size_t size) {
	void *p = state_or_fail(j, state_take(j, size, sizeof(max_align_t)));
	memset(p, 0, size);
	return p;
}

char *jinja_alloc_text(struct jinja *j, size_t size) {
	return state_or_fail(j, state_take(j, size, 1));
}

char *jinja_grow_text(struct jinja *j, char *p, size_t old, size_t size) {
	struct arena_chunk *c = j->chunk;
	if (c && p && p + old == (char *)c->data + c->used && size - old <= c->size - c->used) {
		c->used += size - old;
		return p;
	}
	char *grown = jinja_alloc_text(j, size);
	if (old)
		memcpy(grown, p, old);
	return grown;
}

void jinja_release(struct jinja *j) {
	for (struct arena_chunk *c = j->chunk, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	j->chunk = NULL;
}

void jinja_step(struct jinja *j, size_t bytes) {
	uint64_t n = 1 + bytes / 64;
	if (n > j->steps_left)
		jinja_fail(j, -E2BIG, "the template takes more steps than it may");
	j->steps_left -= n;
}

void jinja_enter(struct jinja *j) {
	if (j->depth_left == 0)
		jinja_fail(j, -E2BIG, "the template is nested too deeply");
	j->depth_left--;
}

void jinja_leave(struct jinja *j) {
	j->depth_left++;
}
