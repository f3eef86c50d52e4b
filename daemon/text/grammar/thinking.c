/* thinking: see thinking.h.  Reasoning is any bytes up to its end mark, as an automaton that knows how much of the mark it has seen.
 * The mark is text, or a control token, whose byte no text has. */
#include "daemon/text/grammar/thinking.h"
#include "daemon/text/grammar/rules.h"
#include "daemon/text/grammar/token_trie.h"
#include <string.h>

#define MARK_MAX 16 /* bytes of an end mark */
#define SPACES 2    /* white space behind it */

/* How much of a mark has been seen behind its first `seen` bytes and this one. */
static size_t thinking_seen(const char *mark, size_t seen, uint8_t byte) {
	char text[MARK_MAX + 1];
	memcpy(text, mark, seen);
	text[seen] = (char)byte;
	for (size_t n = seen + 1; n > 0; n--)
		if (memcmp(text + seen + 1 - n, mark, n) == 0)
			return n;
	return 0;
}

/* Any text that ends with the mark, which it has once. */
static uint32_t thinking_until(struct rules *r, uint32_t from, const char *mark) {
	const size_t len = strlen(mark);
	uint32_t at[MARK_MAX + 1], control = rules_state(r);
	for (size_t i = 0; i <= len; i++)
		at[i] = rules_state(r);
	rules_link(r, from, at[0]);
	for (size_t i = 0; i < len; i++) {
		rules_bytes(r, at[i], TOKEN_TRIE_CONTROL, TOKEN_TRIE_CONTROL, control);
		for (unsigned lo = 1, hi; lo < TOKEN_TRIE_CONTROL; lo = hi + 1) {
			size_t to = thinking_seen(mark, i, (uint8_t)lo);
			for (hi = lo; hi + 1 < TOKEN_TRIE_CONTROL; hi++)
				if (thinking_seen(mark, i, (uint8_t)(hi + 1)) != to)
					break;
			rules_bytes(r, at[i], (uint8_t)lo, (uint8_t)hi, at[to]);
		}
	}
	rules_link(r, rules_literal(r, control, mark, len), at[len]);
	return at[len];
}

static uint32_t thinking_space(struct rules *r, uint32_t from) {
	for (int i = 0; i < SPACES; i++) {
		uint32_t to = rules_state(r);
		rules_bytes(r, from, ' ', ' ', to);
		rules_bytes(r, from, '\n', '\n', to);
		rules_link(r, from, to);
		from = to;
	}
	return from;
}

/* The rules change places. */
static void thinking_swap(struct rules *r, uint32_t a, uint32_t b) {
	struct rules_rule rule = r->rule[a];
	r->rule[a] = r->rule[b];
	r->rule[b] = rule;
	for (uint32_t i = 0; i < r->edges; i++)
		if (r->edge[i].rule == a || r->edge[i].rule == b)
			r->edge[i].rule = r->edge[i].rule == a ? b : a;
}

void thinking_rules(struct rules *r, const struct grammar_reasoning *before, bool answer) {
	const struct reasoning_syntax *syntax = reasoning_syntax(before->format);
	uint32_t top = rules_add(r, "thinking", 8);
	if (r->error)
		return;
	uint32_t start = r->rule[top].start, behind = rules_state(r), at = start;
	r->rule[top].defined = true;
	if (!before->open) {
		rules_link(r, start, behind);
		at = rules_marked(r, start, syntax->begin);
	}
	at = thinking_until(r, at, syntax->end);
	at = *syntax->next ? rules_marked(r, at, syntax->next) : thinking_space(r, at);
	rules_link(r, at, behind);
	if (answer)
		behind = rules_marked(r, behind, syntax->answer);
	rules_call(r, behind, 0, r->rule[top].end);
	if (!r->error)
		thinking_swap(r, 0, top);
}
