/* unicode: classes and cases of characters, from PCRE2's tables; ASCII is done by hand, and what they have
 * otherwise than Python is in cases.c.
 * What PCRE2 allocates is in the arena. */
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/utf8.h"
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct unicode {
	pcre2_general_context *context;
	pcre2_match_data *match;
	pcre2_code *class[UNICODE_CLASSES];
	pcre2_code *run; /* of letters */
};

static void *unicode_allocate(size_t size, void *j) {
	return jinja_try_alloc(j, size);
}

static void unicode_release(void *p, void *j) {
	(void)p;
	(void)j;
}

static void unicode_out_of_memory(struct jinja *j) {
	jinja_fail(j, -E2BIG, "the template needs more memory than it may have");
}

static struct unicode *unicode_get(struct jinja *j) {
	if (j->unicode)
		return j->unicode;
	struct unicode *u = jinja_alloc(j, sizeof *u);
	u->context = pcre2_general_context_create(unicode_allocate, unicode_release, j);
	u->match = u->context ? pcre2_match_data_create(4, u->context) : NULL;
	if (!u->match)
		unicode_out_of_memory(j);
	j->unicode = u;
	return u;
}

static pcre2_code *unicode_compile(struct jinja *j, const char *pattern) {
	int error;
	size_t at;
	pcre2_compile_context *cc = pcre2_compile_context_create(unicode_get(j)->context);
	pcre2_code *code = cc ? pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	                                PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL, &error, &at, cc)
	                      : NULL;
	if (!code)
		unicode_out_of_memory(j);
	return code;
}

static const char *const pattern[UNICODE_CLASSES] = {
        [UNICODE_PRINTABLE] = "[^\\p{C}\\p{Z}]",
        [UNICODE_ALPHA] = "\\p{L}",
        [UNICODE_DIGIT] = ("[\\p{Nd}\\x{B2}\\x{B3}\\x{B9}\\x{2070}\\x{2074}-\\x{2079}\\x{2080}-\\x{2089}"
                           "\\x{2460}-\\x{2468}\\x{2474}-\\x{247C}\\x{2488}-\\x{2490}]"),
        [UNICODE_DECIMAL] = "\\p{Nd}",
        [UNICODE_NUMERIC] = "\\p{N}",
        [UNICODE_UPPER] = "\\p{Lu}",
        [UNICODE_LOWER] = "[\\p{Ll}\\x{AA}\\x{BA}]",
        [UNICODE_TITLE] = "\\p{Lt}",
        [UNICODE_WORD] = "[\\p{L}\\p{N}_]",
};

bool jinja_is(struct jinja *j, enum unicode_class c, uint32_t code) {
	struct unicode *u = unicode_get(j);
	char p[4];
	struct buf b = {p, NULL, 0, sizeof p};
	if (!u->class[c])
		u->class[c] = unicode_compile(j, pattern[c]);
	jinja_put_code(j, &b, code, 0);
	return pcre2_match(u->class[c], (PCRE2_SPTR)b.p, b.len, 0, PCRE2_NO_UTF_CHECK, u->match, NULL) > 0;
}

bool jinja_is_printable(struct jinja *j, uint32_t code) {
	return code < 0x7F ? code >= 0x20 : jinja_is(j, UNICODE_PRINTABLE, code);
}

bool jinja_is_space(uint32_t c) {
	return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
	       c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
	       c == 0x205F || c == 0x3000;
}

bool jinja_is_line_end(uint32_t c) {
	return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
	       c == 0x2029;
}

static const struct str *unicode_change_ascii(struct jinja *j, const struct str *s, enum letter_case to) {
	char *p = jinja_alloc_text(j, s->len + 1);
	char first = to == CASE_LOWER ? 'A' : 'a';
	for (size_t i = 0; i < s->len; i++)
		p[i] = s->p[i] >= first && s->p[i] < first + 26 ? (char)(s->p[i] ^ 0x20) : s->p[i];
	struct str *out = jinja_str(j, p, s->len);
	out->given = s->given;
	out->markup = s->markup;
	return out;
}

static const struct letter_cases *unicode_find_letter(uint32_t code) {
	size_t from = 0, end = jinja_letter_case_count;
	while (from < end) {
		size_t mid = from + (end - from) / 2;
		if (jinja_letter_cases[mid].code < code)
			from = mid + 1;
		else
			end = mid;
	}
	bool found = from < jinja_letter_case_count && jinja_letter_cases[from].code == code;
	return found ? &jinja_letter_cases[from] : NULL;
}

/* The letters that stand in a row, as capitals and as small ones: Roman numerals, and those in circles. */
static uint32_t unicode_change_row(uint32_t c, enum letter_case to) {
	bool lower = to == CASE_LOWER;
	if (c >= 0x2160 && c < 0x2180)
		return lower ? c | 0x10 : c & ~0x10u;
	if (lower)
		return c < 0x24D0 ? c + 26 : c;
	return c >= 0x24D0 ? c - 26 : c;
}

static bool unicode_in_row(uint32_t c) {
	return (c >= 0x2160 && c < 0x2180) || (c >= 0x24B6 && c < 0x24EA);
}

static void unicode_put_bytes(struct jinja *j, struct buf *b, const char *p, size_t n, uint8_t given) {
	const uint8_t marks[16] = {given, given, given, given, given, given, given, given, given, given,
	        given, given, given, given, given, given};
	jinja_put(j, b, p, n, given ? marks : NULL);
}

/* By PCRE2's tables. */
static void unicode_change_other(
        struct jinja *j, struct buf *b, const char *p, size_t n, enum letter_case to, uint8_t given) {
	struct unicode *u = unicode_get(j);
	char changed[16];
	size_t len = sizeof changed;
	if (!u->run)
		u->run = unicode_compile(j, ".+");
	int rc = pcre2_substitute(u->run, (PCRE2_SPTR)p, n, 0, PCRE2_NO_UTF_CHECK | PCRE2_SUBSTITUTE_EXTENDED,
	        u->match, NULL, (PCRE2_SPTR)(to == CASE_LOWER ? "\\L$0" : "\\U$0"), PCRE2_ZERO_TERMINATED,
	        (PCRE2_UCHAR *)changed, &len);
	if (rc < 0)
		unicode_out_of_memory(j);
	unicode_put_bytes(j, b, changed, len, given);
}

static bool unicode_is_letter_at(struct jinja *j, const struct str *s, size_t at) {
	size_t n;
	utf8_next(s->p + at, s->len - at, &n);
	uint32_t c = utf8_code(s->p + at, n);
	return jinja_is(j, UNICODE_UPPER, c) || jinja_is(j, UNICODE_LOWER, c) ||
	       jinja_is(j, UNICODE_TITLE, c);
}

/* A small sigma is another one at the end of a word. */
static bool unicode_ends_word(struct jinja *j, const struct str *s, size_t at, size_t behind) {
	size_t before = at;
	while (before > 0 && ((unsigned char)s->p[--before] & 0xC0) == 0x80)
		;
	return at > 0 && unicode_is_letter_at(j, s, before) &&
	       (behind == s->len || !unicode_is_letter_at(j, s, behind));
}

static void unicode_change_one(
        struct jinja *j, struct buf *b, const struct str *s, size_t at, size_t n, enum letter_case to) {
	uint8_t given = s->given ? s->given[at] : 0;
	uint32_t c = utf8_code(s->p + at, n);
	const struct letter_cases *l = to == CASE_LOWER || c < 0x80 ? NULL : unicode_find_letter(c);
	if (c < 0x80)
		unicode_put_bytes(
		        j, b, unicode_change_ascii(j, jinja_sub(j, s, at, at + 1), to)->p, 1, given);
	else if (l)
		unicode_put_bytes(j, b, to == CASE_UPPER ? l->upper : l->title,
		        strlen(to == CASE_UPPER ? l->upper : l->title), given);
	else if (unicode_in_row(c))
		jinja_put_code(j, b, unicode_change_row(c, to), given);
	else if (to == CASE_TITLE && c >= 0x10D0 && c < 0x1100) /* Georgian has no title case */
		unicode_put_bytes(j, b, s->p + at, n, given);
	else if (to == CASE_LOWER && c == 0x130)
		unicode_put_bytes(j, b, "i\xCC\x87", 3, given);
	else if (to == CASE_LOWER && c == 0x3A3)
		jinja_put_code(j, b, unicode_ends_word(j, s, at, at + n) ? 0x3C2 : 0x3C3, given);
	else
		unicode_change_other(j, b, s->p + at, n, to, given);
}

const struct str *jinja_change_case(struct jinja *j, const struct str *s, enum letter_case to) {
	struct buf b = {0};
	jinja_step(j, s->len);
	if (s->chars == s->len)
		return unicode_change_ascii(j, s, to);
	for (size_t at = 0, n; at < s->len; at += n) {
		utf8_next(s->p + at, s->len - at, &n);
		unicode_change_one(j, &b, s, at, n, to);
	}
	struct str *out = (struct str *)jinja_buf_str(j, &b);
	out->markup = s->markup;
	return out;
}
