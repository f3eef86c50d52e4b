/* GBNF against a slow matcher that knows nothing of automata, errors, and the matcher: masks, states, bounds. */
#include "daemon/text/sampler.h"
#include "daemon/text/utf8.h"
#include "tests/unit/text/grammar/constrained.h"

static void start(void) {
	use_small_vocabulary();
}

static void stop(void) {
	drop_vocabulary();
}

/* ---- the oracle: reads the grammar's text anew at every use, with sets of places in the input ---- */

#define MAX_INPUT 60

static const char *oracle_text;
static uint32_t input[MAX_INPUT + 1];
static size_t inputs;

typedef uint64_t places; /* bit i: before character i */

static const char *blank(const char *p, bool newlines) {
	while (*p == ' ' || *p == '\t' || *p == '#' || (newlines && *p == '\n'))
		if (*p++ == '#')
			while (*p && *p != '\n')
				p++;
	return p;
}

static uint32_t one_char(const char **p) {
	static const char code[] = "n\nr\rt\t";
	size_t n;
	if (**p != '\\') {
		utf8_next(*p, strlen(*p), &n);
		*p += n;
		return utf8_code(*p - n, n);
	}
	char e = (*p)[1];
	*p += 2;
	for (size_t i = 0; code[i]; i += 2)
		if (code[i] == e)
			return (uint8_t)code[i + 1];
	size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : e == 'U' ? 8 : 0;
	if (digits == 0)
		return (uint8_t)e;
	char hex[9] = "";
	memcpy(hex, *p, digits);
	*p += digits;
	return (uint32_t)strtoul(hex, NULL, 16);
}

static places advance(places at, bool (*is)(uint32_t, const void *), const void *arg) {
	places out = 0;
	for (size_t i = 0; i < inputs; i++)
		if ((at >> i & 1) && is(input[i], arg))
			out |= (places)2 << i;
	return out;
}

static bool is_char(uint32_t c, const void *arg) {
	return c == *(const uint32_t *)arg;
}

static bool is_in_class(uint32_t c, const void *arg) {
	const char *p = (const char *)arg + 1;
	bool negated = *p == '^', found = false;
	p += negated;
	while (*p != ']') {
		uint32_t lo = one_char(&p), hi = lo;
		if (*p == '-' && p[1] != ']') {
			p++;
			hi = one_char(&p);
		}
		found = found || (lo <= c && c <= hi);
	}
	return found != negated;
}

static bool is_any(uint32_t c, const void *arg) {
	(void)arg;
	return c <= 0x10FFFF;
}

static const char *oracle_alternates(const char *p, bool nested, places from, places *to);

/* The definition of the rule whose name is at p. */
static const char *definition(const char *p, size_t len) {
	for (const char *d = oracle_text; d; d = strchr(d, '\n')) {
		d = blank(d, true);
		if (strncmp(d, p, len) == 0 && strncmp(blank(d + len, false), "::=", 3) == 0)
			return blank(blank(d + len, false) + 3, true);
	}
	ck_abort_msg("no rule %.*s", (int)len, p);
	return NULL;
}

/* What rules matched from where before. */
static struct {
	const char *rule;
	places from, to;
} known[4096];

static void oracle_rule(const char *rule, places from, places *to) {
	size_t i = (size_t)((uintptr_t)rule * 31 + (from ^ from >> 17) * 2654435761u) % 4096;
	if (known[i].rule != rule || known[i].from != from) {
		oracle_alternates(rule, false, from, to);
		known[i].rule = rule;
		known[i].from = from;
		known[i].to = *to;
	}
	*to = known[i].to;
}

static const char *oracle_element(const char *p, places from, places *to) {
	*to = from;
	if (*p == '"') {
		for (p++; *p != '"';) {
			uint32_t c = one_char(&p);
			*to = advance(*to, is_char, &c);
		}
		return p + 1;
	}
	if (*p == '[') {
		*to = advance(from, is_in_class, p);
		for (p++; *p != ']';)
			one_char(&p);
		return p + 1;
	}
	if (*p == '.') {
		*to = advance(from, is_any, NULL);
		return p + 1;
	}
	if (*p == '(')
		return oracle_alternates(blank(p + 1, true), true, from, to) + 1;
	size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz-0123456789");
	oracle_rule(definition(p, len), from, to);
	return p + len;
}

static const char *skip_element(const char *p) {
	int depth = 0;
	do {
		if (*p == '"' || *p == '[') {
			char close = *p == '[' ? ']' : '"';
			for (p++; *p != close;)
				one_char(&p);
		} else if (*p == '#') {
			p = blank(p, true) - 1;
		}
		depth += (*p == '(') - (*p == ')');
		p++;
	} while (depth > 0);
	size_t word = strspn(p - 1, "abcdefghijklmnopqrstuvwxyz-0123456789");
	return word > 0 ? p - 1 + word : p;
}

static void repetition(const char **p, unsigned *min, unsigned *max) {
	*min = *max = 1;
	if (**p == '{') {
		char *end;
		*min = *max = (unsigned)strtoul(*p + 1, &end, 10);
		if (*end == ',')
			*max = end[1] == '}' ? 100 : (unsigned)strtoul(end + 1, &end, 10);
		*p = strchr(*p, '}') + 1;
	} else if (**p && strchr("*+?", **p)) {
		*min = **p == '+';
		*max = **p == '?' ? 1 : 100;
		++*p;
	}
}

static const char *oracle_sequence(const char *p, bool nested, places from, places *to) {
	*to = from;
	while (*p && *p != '|' && *p != ')' && *p != '\n') {
		places all = 0, at = *to;
		unsigned min, max;
		const char *next = blank(skip_element(p), nested);
		repetition(&next, &min, &max);
		for (unsigned i = 0; i <= max && at != 0; i++) {
			places before = all;
			if (i >= min)
				all |= at;
			if (i > min && all == before)
				break;
			oracle_element(p, at, &at);
		}
		*to = all;
		p = blank(next, nested);
	}
	return p;
}

static const char *oracle_alternates(const char *p, bool nested, places from, places *to) {
	places all = 0, one;
	for (;; p = blank(p + 1, true)) {
		p = oracle_sequence(p, nested, from, &one);
		all |= one;
		if (*p != '|')
			break;
	}
	*to = all;
	return p;
}

/* Whether the text is whole by the grammar's text. */
static bool oracle(const char *text, size_t len) {
	places to;
	inputs = 0;
	memset(known, 0, sizeof known);
	for (size_t i = 0, n; i < len; i += n) {
		if (utf8_next(text + i, len - i, &n) != UTF8_WHOLE)
			return false;
		input[inputs++] = utf8_code(text + i, n);
	}
	oracle_alternates(definition("root", 4), false, 1, &to);
	return to >> inputs & 1;
}

/* ---- grammars ---- */

static const char json_gbnf[] =
        "root ::= value\n"
        "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
        "object ::= \"{\" ws (\n  string \":\" ws value\n  (\",\" ws string \":\" ws value)*\n)? \"}\" ws\n"
        "array ::= \"[\" ws (value (\",\" ws value)* )? \"]\" ws # a comment\n"
        "string ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n"
        "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"
        "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static const struct {
	const char *grammar, *letters;
} grammars[] = {
        {"root ::= \"a\"", "ab"},
        {"root ::= \"\"\n", "a"},
        {"root ::= \"ab\" | \"a\" root2 | root2\nroot2 ::= \"b\"*\n", "ab"},
        {"root ::= [ab]{2,3} \"c\"{2} . | [^a-y]+", "abcz"},
        {"root ::= (\"a\" | \"b\"){3,} \"c\"?", "abc"},
        {"root ::= \"(\" root \")\" root | \"\"", "()"},
        {"root ::= a b\na ::= \"x\" a | \"\"\nb ::= \"x\" \"y\" | \"y\"", "xy"},
        {"root ::= ((\"a\"? \"b\"?)* \"c\")*", "abc"},
        {"root ::= (x | y)+\nx ::= \"a\" y{0,2} \"b\"\ny ::= \"a\" | \"c\"", "abc"},
        {"root ::= [\\u00e0-\\u0104\\U0001F600-\\U0001F64F\xE4\xB8\x80-\xE4\xB8\x82-]* \"\\x7e\"?",
                "\xC3\xA0\xC4\x80\xC3\xBF\xF0\x9F\x98\x80\xE4\xB8\x80-~"},
        {"root ::= [^\xC3\xA9-\xC3\xBF]* \"\xE2\x82\xAC\"", "\xC3\xA9\xC3\xA8\xE2\x82\xACz"},
        {"root ::= list\nlist ::= item (\",\" list)?\nitem ::= \"1\"+ | \"[\" list \"]\"", "1,[]"},
        {"root ::= \"a\"{70,75} | \"a\"{0,3}", "a"},
        {json_gbnf, "{}[]\":,1e- \ntrue\\u"},
        {"# first\n\nroot ::= # behind\n  \"a\" | # between\n  \"b\" (\"c\"\n \"d\" # in\n )\n\n\n", "abcd"},
};

#define GRAMMARS (sizeof grammars / sizeof *grammars)

/* A text that the grammar allows so far, of random tokens. */
static size_t random_walk(char *text, size_t max, bool *whole) {
	uint32_t state = start_state(), n = tokenizer_tokens(tokenizer);
	const uint64_t *mask;
	size_t len = 0, plen;
	*whole = false;
	for (;;) {
		uint32_t chosen = UINT32_MAX, seen = 0;
		*whole = grammar_may_end(matcher, state);
		ck_assert_msg(grammar_mask(matcher, state, &mask, err, sizeof err) == 0, "%s", err);
		for (uint32_t id = 0; id < n; id++)
			if (mask_has(mask, id) && random_below(++seen) == 0)
				chosen = id;
		ck_assert(chosen != UINT32_MAX);
		if (tokenizer_is_end(tokenizer, chosen))
			return len;
		const char *s = tokenizer_piece(tokenizer, chosen, &plen);
		if (len + plen > max)
			return len;
		memcpy(text + len, s, plen);
		len += plen;
		ck_assert_msg(grammar_accept(matcher, &state, chosen, err, sizeof err) == 0, "%s", err);
	}
}

/* agreed[2]: the text has more readings than the matcher follows. */
static void compare(const char *text, size_t len, size_t *agreed) {
	err[0] = '\0';
	bool want = oracle(text, len), got = matches(text, len),
	     bounded = strstr(err, "too many readings") != NULL;
	if (want != got && !bounded)
		ck_abort_msg("%s: \"%.*s\" is %s", oracle_text, (int)len, text, got ? "accepted" : "refused");
	agreed[bounded ? 2 : want]++;
}

/* What was walked, and the same with a byte changed, taken away or doubled. */
static void compare_changed(char *text, size_t len, const char *letters, size_t *agreed) {
	compare(text, len, agreed);
	if (len == 0)
		return;
	size_t at = random_below((uint32_t)len);
	char keep = text[at];
	text[at] = letters[random_below((uint32_t)strlen(letters))];
	compare(text, len, agreed);
	text[at] = keep;
	memmove(text + at, text + at + 1, len - at - 1);
	compare(text, len - 1, agreed);
}

START_TEST(oracle_agrees) {
	char text[MAX_INPUT + 1];
	size_t agreed[3] = {0};
	for (size_t g = 0; g < GRAMMARS; g++) {
		oracle_text = grammars[g].grammar;
		use_gbnf(oracle_text);
		for (int i = 0; i < 300; i++) {
			bool whole;
			size_t len = random_walk(text, 40, &whole), n = strlen(grammars[g].letters);
			ck_assert_msg(
			        oracle(text, len) == whole, "%s: \"%.*s\"", oracle_text, (int)len, text);
			compare_changed(text, len, grammars[g].letters, agreed);
			len = random_below(8);
			for (size_t k = 0; k < len; k++)
				text[k] = grammars[g].letters[random_below((uint32_t)n)];
			compare(text, len, agreed);
		}
	}
	ck_assert_uint_eq(agreed[2], 0);
	ck_assert_uint_gt(agreed[0], 3000);
	ck_assert_uint_gt(agreed[1], 2000);
}
END_TEST

/* Random grammars of few letters, whose rules call only later ones, or themselves behind a letter. */
static void random_expression(char **at, int rule, int rules, int depth) {
	uint32_t what = random_below(depth > 2 ? 3 : 6);
	if (what == 0)
		*at += sprintf(*at, "\"%c\" ", (int)('a' + random_below(3)));
	else if (what == 1)
		*at += sprintf(*at, "[%s%c-%c] ", random_below(4) ? "" : "^", (int)('a' + random_below(2)),
		        'b' + (int)random_below(2));
	else if (what == 2 && rule + 1 < rules)
		*at += sprintf(*at, "r%d ", rule + 1 + (int)random_below((uint32_t)(rules - rule - 1)));
	else if (what == 2)
		*at += sprintf(*at, "\"c\" r%d ", rule);
	else {
		static const char *const repeat[] = {"", "*", "+", "?", "{2}", "{1,3}", "{2,}"};
		*at += sprintf(*at, "(");
		random_expression(at, rule, rules, depth + 1);
		if (what == 4)
			*at += sprintf(*at, "| ");
		random_expression(at, rule, rules, depth + 1);
		*at += sprintf(*at, ")%s ", repeat[random_below(7)]);
	}
}

START_TEST(random_grammars) {
	static char text[100000];
	size_t agreed[3] = {0}, compiled = 0;
	for (int g = 0; g < 400; g++) {
		char *at = text + sprintf(text, "root ::= r0\n"), word[8];
		int rules = 1 + (int)random_below(4);
		for (int r = 0; r < rules; r++) {
			at += sprintf(at, "r%d ::= ", r);
			random_expression(&at, r, rules, 0);
			at += sprintf(at, "| \"%c\"\n", (int)('a' + random_below(3)));
		}
		oracle_text = text;
		drop_grammar();
		int rc = grammar_from_gbnf(&grammar, text, strlen(text), err, sizeof err);
		ck_assert_msg(rc == 0, "%s: %s", text, err);
		ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
		compiled++;
		for (uint32_t i = 0; i < 1 + 3 + 9 + 27 + 81 + 243; i++) {
			size_t len = 0;
			for (uint32_t n = i; n > 0; n = (n - 1) / 3)
				word[len++] = (char)('a' + (n - 1) % 3);
			compare(word, len, agreed);
		}
	}
	ck_assert_uint_eq(compiled, 400);
	ck_assert_uint_lt(agreed[2], 1000);
	ck_assert_uint_gt(agreed[0], 10000);
	ck_assert_uint_gt(agreed[1], 10000);
}
END_TEST

START_TEST(errors) {
	static const struct {
		const char *grammar, *why;
	} bad[] = {
	        {"", "line 1, column 1: there is no rule root"},
	        {"a ::= \"b\"", "there is no rule root"},
	        {"root ::= \"a", "line 1, column 12: the grammar ends within a literal"},
	        {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule root is defined twice"},
	        {"root ::= a\n\na ::= \"x\" (b | c)\nb ::= \"y\"",
	                "line 3, column 16: rule c is not defined"},
	        {"root ::= [a", "line 1, column 12: the grammar ends"},
	        {"root ::= [b-a]", "line 1, column 11: this range ends before it begins"},
	        {"root ::= \"\\q\"", "line 1, column 11: the escape \\q is not known"},
	        {"root ::= \"\\x4\"", "2 hexadecimal digits are expected"},
	        {"root ::= \"\\ud800\"", "line 1, column 13: U+D800 is not a character"},
	        {"root ::= \"\\U00110000\"", "U+110000 is not a character"},
	        {"root ::= (\"a\"", "a ) is expected"},
	        {"root ::= \"a\")", "line 1, column 13: an element or the end of the line is expected"},
	        {"root \"a\"", "line 1, column 6: ::= is expected"},
	        {"root ::= \"a\"\n| \"b\"", "line 2, column 1: the name of a rule is expected"},
	        {"root ::= \"a\"{3,2}", "line 1, column 13: this repeats at least 3 and at most 2 times"},
	        {"root ::= \"a\"{70000}", "at most 65536 repetitions are possible"},
	        {"root ::= \"a\"{x}", "a number is expected"},
	        {"root ::= \"a\"{1", "a } is expected"},
	        {"root ::= ((\"a\"{1000}){1000}){1000}", "the grammar is too large here"},
	        {"root ::= root \"a\" | \"b\"", "rule root is left recursive"},
	        {"root ::= \"x\" b\nb ::= c\nc ::= d? e\ne ::= \"\" b \"y\" | \"z\"\nd ::= \"q\"*",
	                "is left recursive"},
	        {"root ::= \"x\" b\nb ::= d b \"y\" | \"z\"\nd ::= \"q\"*", "rule b is left recursive"},
	        {"root ::= \"a\" root", "no text matches the grammar"},
	        {"root ::= \"\xFF\"", "line 1, column 11: this is not UTF-8"},
	        {"root ::= \"\xC3\xA9\xC3\xA9\" $", "line 1, column 15: an element"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int rc = grammar_from_gbnf(&grammar, bad[i].grammar, strlen(bad[i].grammar), err, sizeof err);
		ck_assert_msg(rc == -EINVAL, "%s: %d", bad[i].grammar, rc);
		ck_assert_ptr_null(grammar);
		ck_assert_msg(strstr(err, bad[i].why), "%s: %s", bad[i].grammar, err);
	}
	/* what a program may have wrapped around a text */
	ck_assert_int_eq(grammar_from_gbnf(&grammar, "root ::= \"a\"\0", 13, err, sizeof err), -EINVAL);
	char *deep = calloc(1, 1000);
	memset(deep + sprintf(deep, "root ::= "), '(', 100);
	ck_assert_int_eq(grammar_from_gbnf(&grammar, deep, strlen(deep), err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "groups may be nested"));
	free(deep);
	/* (a|b)*a(a|b){n} needs two to the power of n states */
	const char *large = "root ::= [ab]* \"a\" [ab]{20}";
	ck_assert_int_eq(grammar_from_gbnf(&grammar, large, strlen(large), err, sizeof err), -E2BIG);
	ck_assert_ptr_nonnull(strstr(err, "too large"));
}
END_TEST

/* ---- the matcher ---- */

/* A mask has exactly the tokens that are accepted one by one, from every state of some texts; and in any order of asking. */
static void check_masks(const char *text) {
	uint32_t n = tokenizer_tokens(tokenizer), state[200], to;
	uint64_t first[8];
	const uint64_t *mask;
	size_t len = strlen(text), words = (n + 63) / 64;
	state[0] = start_state();
	for (size_t i = 0; i < len; i++) {
		state[i + 1] = state[i];
		accept(&state[i + 1], (uint8_t)text[i]);
	}
	for (size_t i = 0; i <= len; i++) {
		mask = mask_of(state[i]);
		memcpy(first, mask, words * sizeof *first);
		for (uint32_t id = 0; id < n; id++) {
			to = state[i];
			int rc = grammar_accept(matcher, &to, id, err, sizeof err);
			ck_assert_msg((rc == 0) == mask_has(first, id), "behind \"%.*s\": token %u", (int)i,
			        text, (unsigned)id);
			if (tokenizer_is_end(tokenizer, id))
				ck_assert_int_eq(rc == 0, grammar_may_end(matcher, state[i]));
		}
		/* those of others in between change nothing */
		mask = mask_of(state[len - i]);
		mask = mask_of(state[i]);
		ck_assert_mem_eq(mask, first, words * sizeof *first);
	}
}

START_TEST(masks) {
	use_gbnf(json_gbnf);
	check_masks("{\"a\\u12ef\": [1, -2.5e3, {\"hello world\": [[null]]}], \"\xC3\xA9\": true}");
	check_masks("[[[[\"\", 1 ");
	use_gbnf("root ::= \"hello\" (\" world\" | \"hello\" root)? | [^h]*");
	check_masks("hellohellohello world");
	check_masks("aaaa <tool>");
	use_gbnf("root ::= \"(\" root \")\" root | \"\"");
	check_masks("(()((()))");
}
END_TEST

/* Nothing leads to a rule that never ends, or to what is behind it. */
START_TEST(dead_ends) {
	use_gbnf("root ::= \"a\" \"xy\" dead | \"b\" dead? \"c\" | dead \"d\"\ndead ::= \"x\" dead \"y\"");
	uint32_t state = start_state();
	const uint64_t *mask = mask_of(state);
	for (uint32_t id = 0; id < tokenizer_tokens(tokenizer); id++)
		ck_assert(mask_has(mask, id) == (id == 'b'));
	accept(&state, 'b');
	mask = mask_of(state);
	for (uint32_t id = 0; id < tokenizer_tokens(tokenizer); id++)
		ck_assert(mask_has(mask, id) == (id == 'c'));
}
END_TEST

/* Control tokens are never allowed, those that end a text where it may end, and behind them only those. */
START_TEST(ends) {
	const uint64_t *mask;
	uint32_t n = tokenizer_tokens(tokenizer), eos = UINT32_MAX, found = 0;
	use_gbnf("root ::= \"a\" .*");
	uint32_t state = start_state();
	for (int step = 0; step < 3; step++) {
		bool may_end = step > 0;
		ck_assert(grammar_may_end(matcher, state) == may_end);
		mask = mask_of(state);
		for (uint32_t id = 0; id < n; id++) {
			if (tokenizer_is_end(tokenizer, id)) {
				ck_assert(mask_has(mask, id) == may_end);
				eos = id;
				found++;
			} else if (tokenizer_is_control(tokenizer, id) || step == 2)
				ck_assert(!mask_has(mask, id));
		}
		accept(&state, step == 0 ? 'a' : eos);
	}
	ck_assert_uint_eq(found, 6); /* two of them */
	ck_assert_int_eq(grammar_accept(matcher, &state, 'a', err, sizeof err), -EINVAL);
	ck_assert_int_eq(grammar_accept(matcher, &state, n + 5, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "does not allow"));
}
END_TEST

/* Drafted tokens are rolled back by forgetting the states behind them. */
START_TEST(rolled_back) {
	static const char good[] = "[1, [2, 3], 4]", bad[] = "{\"x\": [[[[";
	use_gbnf(json_gbnf);
	uint32_t plain = start_state(), state = plain, want[sizeof good];
	for (size_t i = 0; good[i]; i++) {
		accept(&plain, (uint8_t)good[i]);
		want[i] = plain;
	}
	for (size_t i = 0; good[i]; i++) {
		uint32_t drafted = state;
		for (size_t k = 0;
		        bad[k] && grammar_accept(matcher, &drafted, (uint8_t)bad[k], err, sizeof err) == 0;
		        k++)
			;
		accept(&state, (uint8_t)good[i]);
		ck_assert_uint_eq(state, want[i]);
	}
}
END_TEST

/* ---- sampling ---- */

#define GENERATED 80
#define DRAFTS 6

/* A sequence: tokens, and the state before each of them. */
struct sequence {
	uint32_t log[GENERATED + DRAFTS], state[GENERATED + DRAFTS + 1], n;
};

/* What a model thinks of the tokens behind a log: any function of the log. */
static void model_logits(const struct sequence *q, uint32_t at, float *logits, uint32_t tokens) {
	uint32_t h = 1;
	for (uint32_t i = 0; i < at; i++)
		h = (h ^ q->log[i]) * 2654435761u + 1;
	for (uint32_t id = 0; id < tokens; id++) {
		h = h * 1664525 + 1013904223;
		logits[id] = (float)(int32_t)h * 0x1p-29f;
	}
}

/* The token at a position, from its row. */
static uint32_t sample(
        struct sampler *s, const struct sampler_params *p, const struct sequence *q, uint32_t at) {
	static float logits[SMALL_MAX];
	uint32_t id, tokens = tokenizer_tokens(tokenizer);
	model_logits(q, at, logits, tokens);
	if (sampler_pick_allowed(s, p, logits, tokens, mask_of(q->state[at]), q->log, at, at, &id) < 0)
		ck_abort_msg("nothing was picked");
	return id;
}

/* Drafts up to a few tokens, some of which the grammar does not allow: there a draft is cut.  How many. */
static uint32_t draft(struct sequence *q, const struct sequence *guess, uint32_t *cut) {
	uint32_t n = 0;
	for (; n < DRAFTS; n++) {
		uint32_t at = q->n + n, *to = &q->state[at + 1];
		q->log[at] = at < guess->n && random_below(4) ? guess->log[at]
		                                              : random_below(tokenizer_tokens(tokenizer));
		*to = q->state[at];
		if (grammar_accept(matcher, to, q->log[at], err, sizeof err) < 0) {
			++*cut;
			break;
		}
	}
	return n;
}

static bool is_over(const struct sequence *q) {
	return q->n >= GENERATED || (q->n > 0 && tokenizer_is_end(tokenizer, q->log[q->n - 1]));
}

static void generate(struct sampler *s, const struct sampler_params *p, struct sequence *q,
        const struct sequence *guess, uint32_t *accepted, uint32_t *cut) {
	q->n = 0;
	q->state[0] = start_state();
	while (!is_over(q)) {
		uint32_t drafted = guess ? draft(q, guess, cut) : 0, id[DRAFTS + 1];
		/* all rows of a step are sampled, as if all drafts were right */
		for (uint32_t i = 0; i <= drafted; i++)
			id[i] = sample(s, p, q, q->n + i);
		for (uint32_t i = 0; i <= drafted && !is_over(q); i++) {
			bool right = i < drafted && q->log[q->n] == id[i];
			q->log[q->n] = id[i];
			q->state[q->n + 1] = q->state[q->n];
			accept(&q->state[q->n + 1], id[i]);
			q->n++;
			*accepted += right;
			if (!right)
				break;
		}
	}
}

/* The tokens are the same with drafts and without, right ones and wrong ones. */
START_TEST(drafts_change_nothing) {
	static struct sequence alone, drafted;
	uint32_t accepted = 0, cut = 0, ended = 0;
	struct sampler *s;
	struct sampler_params p;
	ck_assert_int_eq(sampler_create(&s, SMALL_MAX), 0);
	sampler_params_default(&p);
	use_gbnf(json_gbnf);
	for (p.seed = 0; p.seed < 60; p.seed++) {
		p.temperature = p.seed % 3 == 0 ? 0 : 1.5f;
		p.top_k = p.seed % 2 ? 40 : 0;
		generate(s, &p, &alone, NULL, &accepted, &cut);
		generate(s, &p, &drafted, &alone, &accepted, &cut);
		ck_assert_uint_eq(drafted.n, alone.n);
		ck_assert_mem_eq(drafted.log, alone.log, alone.n * sizeof *alone.log);
		ended += tokenizer_is_end(tokenizer, alone.log[alone.n - 1]);
	}
	ck_assert_uint_gt(accepted, 100);
	ck_assert_uint_gt(cut, 100);
	ck_assert_uint_gt(ended, 0);
	sampler_destroy(s);
}
END_TEST

/* The same texts and masks after everything else was forgotten: very many states are met. */
START_TEST(forgets) {
	use_gbnf("root ::= (\"(\" root [a-z]{0,500} \")\")*");
	uint32_t kept, *hello, words = (tokenizer_tokens(tokenizer) + 63) / 64, peak = 0;
	const uint64_t *mask;
	uint64_t first[8];
	size_t n;
	bool dropped = false;
	ck_assert_int_eq(tokenizer_encode(tokenizer, "hello", 5, 0, &hello, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert(match("((ab", 4, true, &kept));
	mask = mask_of(kept);
	memcpy(first, mask, words * sizeof *first);
	for (int depth = 1; depth < 300 && !dropped; depth++) {
		uint32_t state = start_state();
		for (int i = 0; i < depth; i++)
			accept(&state, '(');
		/* of five states one is held */
		for (int i = 0; i < 90; i++)
			accept(&state, *hello);
		uint32_t now = grammar_matcher_states(matcher);
		dropped = now < peak;
		peak = now > peak ? now : peak;
	}
	ck_assert(dropped);
	mask = mask_of(kept);
	ck_assert_mem_eq(mask, first, words * sizeof *first);
	check_masks("(()()ab)(hello");
	free(hello);
}
END_TEST

/* A text cannot nest deeper than the bound: a token that would is not allowed, and the mask says so. */
START_TEST(depth) {
	const uint64_t *mask;
	use_gbnf("root ::= \"(\" root \")\" | \"a\"");
	uint32_t state = start_state(), deepest = 0;
	while (grammar_mask(matcher, state, &mask, err, sizeof err) == 0 && mask_has(mask, '(')) {
		accept(&state, '(');
		deepest++;
		ck_assert_uint_le(deepest, GRAMMAR_MAX_DEPTH);
	}
	ck_assert_uint_ge(deepest, GRAMMAR_MAX_DEPTH - 2);
	ck_assert(mask_has(mask, 'a'));
	uint32_t beyond = state;
	ck_assert_int_eq(grammar_accept(matcher, &beyond, '(', err, sizeof err), -E2BIG);
	accept(&state, 'a');
	for (uint32_t i = 0; i < deepest; i++)
		accept(&state, ')');
	ck_assert(grammar_may_end(matcher, state));
	/* what calls itself last does not nest */
	use_gbnf("root ::= item root | item\nitem ::= \"a\"+ \"b\"");
	state = start_state();
	for (int i = 0; i < 5000; i++)
		accept(&state, i % 2 ? 'b' : 'a');
	ck_assert_uint_lt(grammar_matcher_states(matcher), 20);
}
END_TEST

/* A vocabulary that lacks a letter has no token to go on with. */
START_TEST(no_token) {
	const uint64_t *mask;
	struct small_vocab *x = small_new(VOCAB_BPE);
	small_add(x, "a", 0, VOCAB_NORMAL);
	x->v.eos = (int32_t)small_add(x, "<|end_of_text|>", 0, VOCAB_CONTROL);
	x->v.pre = small_text(x, "gpt-2");
	drop_vocabulary();
	use_vocabulary(x);
	use_gbnf("root ::= \"a\" \"b\"");
	uint32_t state = start_state();
	mask = mask_of(state);
	accept(&state, 0);
	ck_assert_int_eq(grammar_mask(matcher, state, &mask, err, sizeof err), -ENODATA);
	ck_assert_ptr_nonnull(strstr(err, "no token"));
}
END_TEST

/* Every token is found once, under its bytes; those of a control token are its name behind a mark. */
START_TEST(tree) {
	uint32_t found = 0;
	char way[TOKEN_TRIE_MAX_LEN + 1];
	for (uint32_t i = 1; i < trie->nodes; i++) {
		way[trie->depth[i] - 1] = (char)trie->byte[i];
		ck_assert_uint_gt(trie->end[i], i);
		for (uint32_t id = trie->token[i]; id != TOKEN_TRIE_NONE; id = trie->same[id], found++) {
			size_t len;
			const char *s = tokenizer_piece(tokenizer, id, &len);
			bool control = tokenizer_is_control(tokenizer, id);
			ck_assert_uint_eq(len + control, trie->depth[i]);
			ck_assert_mem_eq(s, way + control, len);
			ck_assert((way[0] == (char)TOKEN_TRIE_CONTROL) == control);
		}
	}
	uint32_t want = 0;
	for (uint32_t id = 0; id < tokenizer_tokens(tokenizer); id++)
		want += id != TOKEN_TRIE_CONTROL && !tokenizer_is_end(tokenizer, id);
	ck_assert_uint_eq(found, want);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("grammar");
	TCase *t = tcase_create("grammar");
	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, oracle_agrees);
	tcase_add_test(t, random_grammars);
	tcase_add_test(t, errors);
	tcase_add_test(t, masks);
	tcase_add_test(t, dead_ends);
	tcase_add_test(t, ends);
	tcase_add_test(t, rolled_back);
	tcase_add_test(t, drafts_change_nothing);
	tcase_add_test(t, forgets);
	tcase_add_test(t, depth);
	tcase_add_test(t, no_token);
	tcase_add_test(t, tree);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
