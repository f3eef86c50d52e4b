/* token_trie: see token_trie.h.  Sorted tokens are the leaves' order: each adds nodes behind the prefix that it has in common
 * with the one before it. */
#include "daemon/text/grammar/token_trie.h"
#include "daemon/text/tokenizer.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	const char *s;
	uint32_t len, id;
};

static int compare_entries(const void *a, const void *b) {
	const struct entry *x = a, *y = b;
	int rc = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
	if (rc != 0)
		return rc;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* The names of control tokens, as they are in the tree. */
static char *control_names(const struct tokenizer *t) {
	size_t all = 1, len;
	for (uint32_t id = 0; id < tokenizer_tokens(t); id++)
		if (tokenizer_is_control(t, id)) {
			tokenizer_piece(t, id, &len);
			all += len + 1;
		}
	return malloc(all);
}

/* The tokens that are in the tree, sorted.  names: room for those of control tokens. */
static uint32_t collect(const struct tokenizer *t, struct entry *entry, char *names, size_t *bytes) {
	uint32_t n = 0;
	*bytes = 0;
	for (uint32_t id = 0; id < tokenizer_tokens(t); id++) {
		size_t len;
		const char *s = tokenizer_piece(t, id, &len);
		bool control = tokenizer_is_control(t, id);
		if (tokenizer_is_end(t, id) || len == 0 || len + control > TOKEN_TRIE_MAX_LEN ||
		        memchr(s, TOKEN_TRIE_CONTROL, len))
			continue;
		if (control) {
			names[0] = (char)TOKEN_TRIE_CONTROL;
			memcpy(names + 1, s, len);
			s = names;
			names += ++len;
		}
		entry[n++] = (struct entry){s, (uint32_t)len, id};
		*bytes += len;
	}
	qsort(entry, n, sizeof *entry, compare_entries);
	return n;
}

static int reserve(struct token_trie *t, size_t nodes) {
	t->byte = malloc(nodes);
	t->depth = malloc(nodes);
	t->end = malloc(nodes * sizeof *t->end);
	t->token = malloc(nodes * sizeof *t->token);
	t->same = malloc((t->tokens + (size_t)1) * sizeof *t->same);
	t->stop = malloc((t->tokens + (size_t)1) * sizeof *t->stop);
	t->text = malloc(nodes);
	t->at = calloc(t->tokens + (size_t)1, sizeof *t->at);
	return t->byte && t->depth && t->end && t->token && t->same && t->stop && t->text && t->at ? 0
	                                                                                           : -ENOMEM;
}

static void copy_text(struct token_trie *t, const struct entry *entry, uint32_t n) {
	for (uint32_t i = 0; i < n; i++)
		t->at[entry[i].id + 1] = entry[i].len;
	for (uint32_t id = 0; id < t->tokens; id++)
		t->at[id + 1] += t->at[id];
	for (uint32_t i = 0; i < n; i++)
		memcpy(t->text + t->at[entry[i].id], entry[i].s, entry[i].len);
}

const char *token_trie_piece(const struct token_trie *t, uint32_t token, size_t *len) {
	*len = token < t->tokens ? t->at[token + 1] - t->at[token] : 0;
	return *len ? t->text + t->at[token] : "";
}

bool token_trie_is_stop(const struct token_trie *t, uint32_t token) {
	uint32_t i = 0;
	while (i < t->stops && t->stop[i] != token)
		i++;
	return i < t->stops;
}

static uint32_t common_prefix(const struct entry *a, const struct entry *b) {
	uint32_t n = 0;
	while (n < a->len && n < b->len && a->s[n] == b->s[n])
		n++;
	return n;
}

static uint32_t add_node(struct token_trie *t, uint8_t byte, uint32_t depth) {
	t->byte[t->nodes] = byte;
	t->depth[t->nodes] = (uint8_t)depth;
	t->token[t->nodes] = TOKEN_TRIE_NONE;
	return t->nodes++;
}

static void build(struct token_trie *t, const struct entry *entry, uint32_t n) {
	uint32_t open[TOKEN_TRIE_MAX_LEN + 1], depth = 0; /* the way to the last node */
	open[0] = add_node(t, 0, 0);
	for (uint32_t i = 0; i < n; i++) {
		const struct entry *e = &entry[i];
		uint32_t common = i > 0 ? common_prefix(&entry[i - 1], e) : 0;
		for (; depth > common; depth--)
			t->end[open[depth]] = t->nodes;
		while (depth < e->len) {
			uint8_t byte = (uint8_t)e->s[depth++];
			open[depth] = add_node(t, byte, depth);
		}
		t->same[e->id] = t->token[open[depth]];
		t->token[open[depth]] = e->id;
	}
	for (;; depth--) {
		t->end[open[depth]] = t->nodes;
		if (depth == 0)
			break;
	}
}

int token_trie_create(struct token_trie **out, const struct tokenizer *tokenizer) {
	struct token_trie *t = calloc(1, sizeof *t);
	struct entry *entry = malloc((tokenizer_tokens(tokenizer) + (size_t)1) * sizeof *entry);
	char *names = control_names(tokenizer);
	size_t bytes;
	*out = NULL;
	if (!t || !entry || !names)
		goto error;
	t->tokens = tokenizer_tokens(tokenizer);
	uint32_t n = collect(tokenizer, entry, names, &bytes);
	if (reserve(t, bytes + 1) < 0)
		goto error;
	build(t, entry, n);
	copy_text(t, entry, n);
	for (uint32_t id = 0; id < t->tokens; id++)
		if (tokenizer_is_end(tokenizer, id))
			t->stop[t->stops++] = id;
	free(names);
	free(entry);
	*out = t;
	return 0;
error:
	free(names);
	free(entry);
	token_trie_destroy(t);
	return -ENOMEM;
}

void token_trie_destroy(struct token_trie *t) {
	if (!t)
		return;
	free(t->byte);
	free(t->depth);
	free(t->end);
	free(t->token);
	free(t->same);
	free(t->stop);
	free(t->text);
	free(t->at);
	free(t);
}
