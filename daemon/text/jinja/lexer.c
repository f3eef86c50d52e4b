/* lexer: a template's text into tokens, with what is done to the white space around tags: -, +, trim_blocks and lstrip_blocks.
 * The rules are those of Jinja's lexer (jinja2/lexer.py), without line statements.
 * One thread. */
#include "daemon/text/jinja/ast_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/utf8.h"
#include <stdlib.h>
#include <string.h>

#define NESTED_MAX 200

struct lexer {
	struct jinja *j;
	const char *s, *end, *at;
	struct token *t;
	size_t n, cap;
	bool line_starts; /* what was last matched ended with a line */
	char open[NESTED_MAX];
	size_t nopen;
};

static const struct {
	char text[3];
	enum operator_type op;
} operators[] = {{"//", OP_FLOORDIV}, {"**", OP_POW}, {"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE},
        {">=", OP_GE}, {"+", OP_ADD}, {"-", OP_SUB}, {"*", OP_MUL}, {"/", OP_DIV}, {"%", OP_MOD},
        {"~", OP_TILDE}, {"<", OP_LT}, {">", OP_GT}, {"=", OP_ASSIGN}, {".", OP_DOT}, {":", OP_COLON},
        {",", OP_COMMA}, {"|", OP_PIPE}, {";", OP_SEMICOLON}, {"(", OP_LPAREN}, {")", OP_RPAREN},
        {"[", OP_LBRACKET}, {"]", OP_RBRACKET}, {"{", OP_LBRACE}, {"}", OP_RBRACE}};

const char *jinja_operator_text(enum operator_type op) {
	for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
		if (operators[i].op == op)
			return operators[i].text;
	return op == OP_IN ? "in" : "not in";
}

static struct token *lexer_add(struct lexer *l, enum token_type type) {
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		struct token *t = jinja_alloc(l->j, l->cap * sizeof *t);
		if (l->n)
			memcpy(t, l->t, l->n * sizeof *t);
		l->t = t;
	}
	struct token *t = &l->t[l->n++];
	*t = (struct token){.type = type, .line = l->j->line};
	return t;
}

static bool lexer_starts(const struct lexer *l, const char *text) {
	size_t n = strlen(text);
	return (size_t)(l->end - l->at) >= n && memcmp(l->at, text, n) == 0;
}

/* Goes on to `to`, counting lines. */
static void lexer_go(struct lexer *l, const char *to) {
	for (const char *p = l->at; p < to; p++)
		l->j->line += *p == '\n';
	if (to > l->at)
		l->line_starts = to[-1] == '\n';
	l->at = to;
}

static const char *lexer_skip_space(const struct lexer *l, const char *p) {
	size_t n;
	for (; p < l->end; p += n) {
		utf8_next(p, (size_t)(l->end - p), &n);
		if (!jinja_is_space(utf8_code(p, n)))
			break;
	}
	return p;
}

/* from..end without the white space at its end. */
static const char *lexer_strip_end(const char *from, const char *end) {
	while (end > from) {
		const char *p = end - 1;
		while (p > from && ((unsigned char)*p & 0xC0) == 0x80)
			p--;
		if (!jinja_is_space(utf8_code(p, (size_t)(end - p))))
			break;
		end = p;
	}
	return end;
}

/* The sign of a tag that begins at p: '-', '+', or ' '. */
static char lexer_sign_of(const struct lexer *l, const char *p) {
	return p + 2 < l->end && (p[2] == '-' || p[2] == '+') ? p[2] : ' ';
}

/* Data before a tag with that sign; lstrip: lstrip_blocks is for such tags. */
static void lexer_add_data(struct lexer *l, const char *from, const char *end, char sign, bool lstrip) {
	if (sign == '-') {
		end = lexer_strip_end(from, end);
	} else if (sign != '+' && lstrip) {
		const char *line = end;
		while (line > from && line[-1] != '\n')
			line--;
		if ((line > from || l->line_starts) && lexer_strip_end(line, end) == line)
			end = line;
	}
	if (end > from)
		lexer_add(l, T_DATA)->value = value_str(jinja_str(l->j, from, (size_t)(end - from)));
}

/* What ends a tag or comment at p with close ("%}"): behind it and the white space that goes with it; NULL where none ends.
 * trim: a + may stand before it, and a line's end behind it belongs to it. */
static const char *lexer_tag_end(const struct lexer *l, const char *p, const char *close, bool trim) {
	size_t left = (size_t)(l->end - p);
	if (left >= 3 && *p == '-' && memcmp(p + 1, close, 2) == 0)
		return lexer_skip_space(l, p + 3);
	if (left >= 3 && trim && *p == '+' && memcmp(p + 1, close, 2) == 0)
		return p + 3;
	if (left < 2 || memcmp(p, close, 2) != 0)
		return NULL;
	p += 2;
	return trim && p < l->end && *p == '\n' ? p + 1 : p;
}

static void lexer_skip_comment(struct lexer *l) {
	const char *p = l->at + 2;
	if (lexer_sign_of(l, l->at) != ' ')
		p++;
	for (; p < l->end; p++) {
		const char *behind = lexer_tag_end(l, p, "#}", true);
		if (behind) {
			lexer_go(l, behind);
			return;
		}
	}
	jinja_fail(l->j, -EINVAL, "the comment does not end");
}

/* Behind "{% NAME" with whatever sign and space, or NULL. */
static const char *lexer_named_tag(const struct lexer *l, const char *p, const char *name) {
	size_t n = strlen(name);
	if (l->end - p < 2 || memcmp(p, "{%", 2) != 0)
		return NULL;
	p = lexer_skip_space(l, p + (lexer_sign_of(l, p) == ' ' ? 2 : 3));
	return (size_t)(l->end - p) >= n && memcmp(p, name, n) == 0 ? lexer_skip_space(l, p + n) : NULL;
}

/* Where the data of a raw block that begins at p begins, or NULL. */
static const char *lexer_raw_begin(const struct lexer *l, const char *p) {
	p = lexer_named_tag(l, p, "raw");
	return p ? lexer_tag_end(l, p, "%}", false) : NULL;
}

static void lexer_raw(struct lexer *l, const char *data) {
	lexer_go(l, data);
	for (const char *p = data; p < l->end; p++) {
		const char *tag = lexer_named_tag(l, p, "endraw");
		const char *behind = tag ? lexer_tag_end(l, tag, "%}", true) : NULL;
		if (behind) {
			lexer_add_data(l, data, p, lexer_sign_of(l, p), true);
			lexer_go(l, behind);
			return;
		}
	}
	jinja_fail(l->j, -EINVAL, "the raw block does not end");
}

/* The next {%, {{ or {#, or the end. */
static const char *lexer_find_tag(const struct lexer *l) {
	for (const char *p = l->at; (p = memchr(p, '{', (size_t)(l->end - p))); p++)
		if (p + 1 < l->end && (p[1] == '%' || p[1] == '{' || p[1] == '#'))
			return p;
	return l->end;
}

static size_t lexer_digits(const char *p, const char *end, int base) {
	/* with _ between them: (_?d)*, from the first digit on */
	size_t n = 0;
	for (;;) {
		const char *d = p + n;
		if (d < end && n > 0 && *d == '_')
			d++;
		if (d >= end)
			return n;
		int v = *d >= '0' && *d <= '9'                     ? *d - '0'
		        : (*d | 0x20) >= 'a' && (*d | 0x20) <= 'f' ? (*d | 0x20) - 'a' + 10
		                                                   : 99;
		if (v >= base)
			return n;
		n = (size_t)(d - p) + 1;
	}
}

/* The length of a float at p, or 0: digits, and behind them .digits or an exponent or both. */
static size_t lexer_float_length(const struct lexer *l, const char *p) {
	if (p > l->s && p[-1] == '.')
		return 0;
	size_t n = lexer_digits(p, l->end, 10), fraction = 0, exponent = 0;
	const char *q = p + n;
	if (n == 0)
		return 0;
	if (q < l->end && *q == '.' && (fraction = lexer_digits(q + 1, l->end, 10)))
		q += 1 + fraction;
	if (q < l->end && (*q | 0x20) == 'e') {
		const char *e = q + 1;
		e += e < l->end && (*e == '+' || *e == '-');
		exponent = lexer_digits(e, l->end, 10);
		if (exponent)
			q = e + exponent;
	}
	return fraction || exponent ? (size_t)(q - p) : 0;
}

/* Without its _. */
static char *lexer_number_text(struct lexer *l, const char *p, size_t n) {
	char *text = jinja_alloc_text(l->j, n + 1), *to = text;
	for (size_t i = 0; i < n; i++)
		if (p[i] != '_')
			*to++ = p[i];
	*to = '\0';
	return text;
}

static size_t lexer_integer_length(const struct lexer *l, const char *p, int *base) {
	if (l->end - p > 2 && *p == '0') {
		int c = p[1] | 0x20;
		*base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
		if (*base != 10) {
			size_t skip = p[2] == '_' ? 3 : 2, n = lexer_digits(p + skip, l->end, *base);
			if (n)
				return skip + n;
		}
	}
	*base = 10;
	return lexer_digits(p, l->end, *p == '0' ? 1 : 10);
}

static void lexer_number(struct lexer *l) {
	size_t n = lexer_float_length(l, l->at);
	if (n) {
		lexer_add(l, T_FLOAT)->value = value_float(strtod(lexer_number_text(l, l->at, n), NULL));
	} else {
		int base;
		n = lexer_integer_length(l, l->at, &base);
		size_t prefix = base == 10 ? 0 : 2;
		errno = 0;
		long long i = strtoll(lexer_number_text(l, l->at + prefix, n - prefix), NULL, base);
		if (errno)
			jinja_fail(l->j, -ENOTSUP, "integers of more than 64 bits are not supported");
		lexer_add(l, T_INTEGER)->value = value_int(i);
	}
	lexer_go(l, l->at + n);
}

static bool lexer_is_name_part(struct lexer *l, const char *p, size_t n) {
	uint32_t c = utf8_code(p, n);
	if (c < 0x80)
		return (c >= '0' && c <= '9') || c == '_' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
	return jinja_is(l->j, UNICODE_WORD, c);
}

static const char *lexer_name_end(struct lexer *l) {
	const char *p = l->at;
	for (size_t n; p < l->end; p += n) {
		utf8_next(p, (size_t)(l->end - p), &n);
		if (!lexer_is_name_part(l, p, n))
			break;
	}
	return p;
}

/* digits of a \x, \u, \U escape at p */
static uint32_t lexer_hex_code(struct lexer *l, const char *p, const char *end, int n) {
	uint32_t c = 0;
	for (int i = 0; i < n; i++) {
		if (p + i >= end || lexer_digits(p + i, p + i + 1, 16) != 1)
			jinja_fail(l->j, -EINVAL, "an escape of a string is cut short");
		c = c << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	}
	if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		jinja_fail(l->j, -ENOTSUP, "the escape \\u%04x stands for no character", c);
	return c;
}

/* Puts what the escape at p, behind its backslash, stands for; gives what is behind it. */
static const char *lexer_unescape(struct lexer *l, struct buf *b, const char *p, const char *end) {
	static const char letter[] = "abfnrtv'\"\\", meant[] = "\a\b\f\n\r\t\v'\"\\";
	const char *known = strchr(letter, *p);
	if (*p == '\n')
		return p + 1;
	if (known && *p) {
		jinja_put(l->j, b, &meant[known - letter], 1, NULL);
		return p + 1;
	}
	if (*p == 'x' || *p == 'u' || *p == 'U') {
		int n = *p == 'x' ? 2 : *p == 'u' ? 4 : 8;
		jinja_put_code(l->j, b, lexer_hex_code(l, p + 1, end, n), 0);
		return p + 1 + n;
	}
	if (*p >= '0' && *p <= '7') {
		uint32_t c = 0;
		for (int i = 0; i < 3 && p < end && *p >= '0' && *p <= '7'; i++)
			c = c * 8 + (uint32_t)(*p++ - '0');
		jinja_put_code(l->j, b, c, 0);
		return p;
	}
	if (*p == 'N')
		jinja_fail(l->j, -ENOTSUP, "the escape \\N is not supported");
	jinja_put_text(l->j, b, "\\");
	return p;
}

static void lexer_string(struct lexer *l) {
	char quote = *l->at;
	const char *p = l->at + 1, *end = p;
	while (end < l->end && *end != quote)
		end += *end == '\\' ? 2 : 1;
	if (end >= l->end)
		jinja_fail(l->j, -EINVAL, "the string does not end");
	struct buf b = {0};
	while (p < end) {
		const char *escape = memchr(p, '\\', (size_t)(end - p));
		const char *to = escape ? escape : end;
		jinja_put(l->j, &b, p, (size_t)(to - p), NULL);
		p = escape ? lexer_unescape(l, &b, escape + 1, end) : end;
	}
	lexer_add(l, T_STRING)->value = jinja_buf_value(l->j, &b);
	lexer_go(l, end + 1);
}

static void lexer_balance(struct lexer *l, char c) {
	static const char open[] = "([{", close[] = ")]}";
	const char *o = strchr(open, c), *k = strchr(close, c);
	if (o) {
		if (l->nopen == NESTED_MAX)
			jinja_fail(l->j, -E2BIG, "more than %d brackets are open", NESTED_MAX);
		l->open[l->nopen++] = close[o - open];
	} else if (k) {
		if (l->nopen == 0 || l->open[l->nopen - 1] != c)
			jinja_fail(l->j, -EINVAL, "unexpected '%c'", c);
		l->nopen--;
	}
}

static void lexer_operator(struct lexer *l) {
	for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
		if (lexer_starts(l, operators[i].text)) {
			lexer_balance(l, operators[i].text[0]);
			lexer_add(l, T_OPERATOR)->op = operators[i].op;
			lexer_go(l, l->at + strlen(operators[i].text));
			return;
		}
	size_t n;
	utf8_next(l->at, (size_t)(l->end - l->at), &n);
	jinja_fail(l->j, -EINVAL, "unexpected character '%.*s'", (int)n, l->at);
}

/* One token within a tag. */
static void lexer_one(struct lexer *l) {
	const char *end;
	if (*l->at >= '0' && *l->at <= '9') {
		lexer_number(l);
	} else if ((end = lexer_name_end(l)) > l->at) {
		lexer_add(l, T_NAME)->value = value_str(jinja_str(l->j, l->at, (size_t)(end - l->at)));
		lexer_go(l, end);
	} else if (*l->at == '"' || *l->at == '\'') {
		lexer_string(l);
	} else {
		lexer_operator(l);
	}
}

static void lexer_tag(struct lexer *l, bool block) {
	const char *close = block ? "%}" : "}}";
	lexer_add(l, block ? T_BLOCK_BEGIN : T_VARIABLE_BEGIN);
	lexer_go(l, l->at + (lexer_sign_of(l, l->at) == ' ' ? 2 : 3));
	l->nopen = 0;
	for (;;) {
		const char *behind = l->nopen == 0 ? lexer_tag_end(l, l->at, close, block) : NULL;
		if (behind) {
			lexer_add(l, block ? T_BLOCK_END : T_VARIABLE_END);
			lexer_go(l, behind);
			return;
		}
		const char *p = lexer_skip_space(l, l->at);
		if (p > l->at)
			lexer_go(l, p);
		else if (p == l->end)
			jinja_fail(l->j, -EINVAL, "the tag does not end");
		else
			lexer_one(l);
	}
}

/* With lines that end in \n, and without the last one's end. */
static void lexer_normalize(struct lexer *l, const char *text, size_t len) {
	char *to = jinja_alloc_text(l->j, len + 1);
	l->s = l->at = to;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
			continue;
		*to++ = text[i] == '\r' ? '\n' : text[i];
	}
	if (to > l->s && to[-1] == '\n')
		to--;
	*to = '\0'; /* so that what looks one byte ahead may */
	l->end = to;
}

struct tokens jinja_lex(struct jinja *j, const char *text, size_t len) {
	struct lexer l = {.j = j, .line_starts = true};
	lexer_normalize(&l, text, len);
	j->line = 1;
	while (l.at < l.end) {
		const char *tag = lexer_find_tag(&l), *raw = tag < l.end ? lexer_raw_begin(&l, tag) : NULL;
		if (tag < l.end)
			lexer_add_data(&l, l.at, tag, lexer_sign_of(&l, tag), tag[1] != '{');
		else
			lexer_add_data(&l, l.at, tag, '+', false);
		lexer_go(&l, tag);
		if (raw)
			lexer_raw(&l, raw);
		else if (tag < l.end && tag[1] == '#')
			lexer_skip_comment(&l);
		else if (tag < l.end)
			lexer_tag(&l, tag[1] == '%');
	}
	lexer_add(&l, T_END);
	return (struct tokens){l.t, l.n};
}
