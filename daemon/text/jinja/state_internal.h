/* state: what parsing or rendering works with: memory, the budget of steps and depth, the way out.
 *
 * Memory comes from an arena and is never given back one by one.  Whatever fails leaves by jinja_fail, which goes straight back
 * to jinja_template_create or jinja_render (longjmp), where the arena is released: nothing in this folder holds anything else
 * that would have to be.
 * One thread. */
#ifndef DAEMON_TEXT_JINJA_STATE_INTERNAL_H
#define DAEMON_TEXT_JINJA_STATE_INTERNAL_H
#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena_chunk;
struct scope;
struct buf;
struct unicode;

struct jinja {
	struct arena_chunk *chunk; /* the newest first */
	size_t memory_left;
	uint64_t steps_left;
	unsigned depth_left;
	unsigned line;
	jmp_buf escape;
	int rc;
	char *err;
	size_t errlen;
	/* rendering */
	struct scope *scope;
	struct buf *out;    /* where output goes */
	struct buf *result; /* the outermost such */
	size_t output_max;
	int64_t now;
	struct unicode *unicode; /* made when first used */
};

/* Does not return.  The sentence gets the line in front. */
void jinja_fail(struct jinja *j, int rc, const char *format, ...)
        __attribute__((format(printf, 3, 4), noreturn));

/* Zeroed, and aligned for anything; never NULL. */
void *jinja_alloc(struct jinja *j, size_t size);
/* The same, not zeroed and not aligned: for text. */
char *jinja_alloc_text(struct jinja *j, size_t size);
/* p has old bytes, and gets to have more of them; it may move. */
char *jinja_grow_text(struct jinja *j, char *p, size_t old, size_t size);
/* NULL where the limit is reached, for libraries' callbacks. */
void *jinja_try_alloc(struct jinja *j, size_t size);
void jinja_release(struct jinja *j);

/* Each piece of work is counted; bytes is how much text it goes over. */
void jinja_step(struct jinja *j, size_t bytes);
/* Around whatever calls itself. */
void jinja_enter(struct jinja *j);
void jinja_leave(struct jinja *j);

#endif
