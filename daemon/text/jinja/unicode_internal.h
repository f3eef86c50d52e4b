/* unicode: what Python's str methods know of characters.  Beyond ASCII the classes are PCRE2's, and the cases, but for the letters that
 * cases.c lists.
 * One thread. */
#ifndef DAEMON_TEXT_JINJA_UNICODE_INTERNAL_H
#define DAEMON_TEXT_JINJA_UNICODE_INTERNAL_H
#include "daemon/text/jinja/value_internal.h"

enum unicode_class {
	UNICODE_PRINTABLE,
	UNICODE_ALPHA,
	UNICODE_DIGIT,
	UNICODE_DECIMAL,
	UNICODE_NUMERIC,
	UNICODE_UPPER,
	UNICODE_LOWER,
	UNICODE_TITLE,
	UNICODE_WORD, /* \w of Python's re */
	UNICODE_CLASSES
};

bool jinja_is(struct jinja *j, enum unicode_class c, uint32_t code);
bool jinja_is_printable(struct jinja *j, uint32_t code);
/* str.isspace(), what strip() takes off. */
bool jinja_is_space(uint32_t code);
/* What str.splitlines() ends a line with. */
bool jinja_is_line_end(uint32_t code);

enum letter_case { CASE_UPPER, CASE_LOWER, CASE_TITLE };
/* s with the case of all its letters changed. */
const struct str *jinja_change_case(struct jinja *j, const struct str *s, enum letter_case to);

/* cases.c: by code */
struct letter_cases {
	uint32_t code;
	char upper[8], title[8];
};
extern const struct letter_cases jinja_letter_cases[];
extern const size_t jinja_letter_case_count;

#endif
