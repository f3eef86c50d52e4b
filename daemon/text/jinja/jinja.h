/* jinja: a model's own chat template, rendered as it is written: the part of Jinja that such templates use, with the settings and
 * the additions of Hugging Face's transformers (README.md of this folder says what is there and what is not).
 *
 * A template is parsed once and rendered many times.  Everything that it does is bounded; what goes wrong, in a template or for
 * want of a limit, is a sentence that begins with the line.
 * Pure: no disk, no network, no clock.  A template is immutable; any threads may render it at once. */
#ifndef DAEMON_TEXT_JINJA_JINJA_H
#define DAEMON_TEXT_JINJA_JINJA_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jinja_template;

/* The longest template, in bytes. */
#define JINJA_TEMPLATE_MAX ((size_t)1 << 20)

/* What one rendering may use. */
struct jinja_limits {
	uint64_t steps; /* expressions, statements, and 64 bytes of text each */
	size_t memory;  /* bytes, of everything but the result */
	size_t output;  /* bytes */
	unsigned depth; /* expressions, statements and macros within each other */
};
#define JINJA_LIMITS ((struct jinja_limits){10000000, (size_t)256 << 20, (size_t)16 << 20, 500})

/* Bytes [begin, end) of a rendered text.  input: they came from what was given, not from the template: a control token that is
 * spelled out there is text. */
struct jinja_run {
	size_t begin, end;
	bool input;
};

/* What a rendering gives. */
struct jinja_text {
	char *s; /* UTF-8; a zero byte follows */
	size_t len;
	struct jinja_run *runs; /* in order, all of the text, input and not in turn */
	size_t nruns;
};

/* text is copied.  0, or a negative errno with a sentence in err: -EINVAL where the template is not well-formed or not UTF-8,
 * -ENOTSUP for a construct that is not known, -E2BIG for one that is too long or nested too deeply, -ENOMEM. */
int jinja_template_create(
        struct jinja_template **out, const char *text, size_t len, char *err, size_t errlen);
void jinja_template_destroy(struct jinja_template *t); /* NULL allowed */

/* Variables are the members of two objects, both borrowed: `own` is what the daemon says (bos_token, add_generation_prompt),
 * `given` what a client does (messages, tools) and what is marked in the result; but a "role" of letters is not, since
 * templates make special tokens of roles.  Where both have a name `own` counts.  Either may be NULL.
 * now: the time for strftime_now, in seconds since 1970; it is told in the process's time zone.
 * The text is for jinja_text_clear.  0, or a negative errno with a sentence in err: -EBADMSG where the template refused what it was
 * given (raise_exception), -EINVAL for what is an error in Jinja, -ENOTSUP for what is not known, -E2BIG for a limit,
 * -ENOMEM. */
int jinja_render(const struct jinja_template *t, const json_t *own, const json_t *given, int64_t now,
        const struct jinja_limits *limits, struct jinja_text *text, char *err, size_t errlen);
void jinja_text_clear(struct jinja_text *text);

#endif
