/* token_trie: the bytes of a vocabulary's tokens as a tree in depth-first order, so that all tokens that begin alike
 * are looked at together.
 *
 * A control token is in it as its name behind the byte TOKEN_TRIE_CONTROL, which no text in UTF-8 has: only a grammar that asks for
 * control tokens allows any.  Not in it, and never allowed, are empty tokens, those longer than TOKEN_TRIE_MAX_LEN, and ordinary
 * ones with that byte.
 * Made once for a vocabulary, whose tokenizer it needs no more then; immutable, any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_TOKEN_TRIE_H
#define DAEMON_TEXT_GRAMMAR_TOKEN_TRIE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

#define TOKEN_TRIE_MAX_LEN 250 /* bytes */
#define TOKEN_TRIE_CONTROL 0xFF
#define TOKEN_TRIE_NONE UINT32_MAX

struct token_trie {
	uint32_t tokens; /* of the vocabulary */
	uint32_t nodes;
	/* of each node; node 0 is the root and has no byte */
	uint8_t *byte, *depth;
	uint32_t *end;   /* the first node that is not below it */
	uint32_t *token; /* a token that ends here, or TOKEN_TRIE_NONE */
	uint32_t *same;  /* of each token: another with the same bytes, or TOKEN_TRIE_NONE */
	uint32_t *stop;  /* tokens that end a text */
	uint32_t stops;
	char *text;   /* the bytes of all tokens that are in the tree */
	uint32_t *at; /* where those of each token begin; they end where the next token's begin */
};

/* The bytes of a token; none for one that is not in the tree. */
const char *token_trie_piece(const struct token_trie *t, uint32_t token, size_t *len);
bool token_trie_is_stop(const struct token_trie *t, uint32_t token);

/* 0 or -ENOMEM. */
int token_trie_create(struct token_trie **out, const struct tokenizer *t);
void token_trie_destroy(struct token_trie *t); /* NULL allowed */

#endif
