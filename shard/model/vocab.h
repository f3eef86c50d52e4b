/* vocab: the vocabulary of a model as its file has it, and its form as a blob (a kind of content).
 *
 * Owns: the strings of the vocabulary.  How text becomes tokens is the business of daemon/text.
 * Immutable once created; any thread. */
#ifndef SHARD_MODEL_VOCAB_H
#define SHARD_MODEL_VOCAB_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

#define VOCAB_MAX_TOKENS (1u << 22)
#define VOCAB_MAX_TEXT 65535u         /* bytes of a token, a merge, the pre-tokenizer's name */
#define VOCAB_MAX_TEMPLATE (1u << 20) /* bytes of a chat template */
#define VOCAB_MAX_ENDS 64u            /* further tokens that end a text */

enum vocab_model { VOCAB_SPM = 1, VOCAB_BPE = 2 };

/* Token types, as GGUF numbers them. */
enum vocab_type {
	VOCAB_NORMAL = 1,
	VOCAB_UNKNOWN = 2,
	VOCAB_CONTROL = 3,
	VOCAB_USER_DEFINED = 4,
	VOCAB_UNUSED = 5,
	VOCAB_BYTE = 6
};

struct vocab_string {
	const char *s; /* borrowed from the vocabulary; not terminated, may hold any byte */
	uint32_t len;
};

struct vocab_token {
	struct vocab_string text; /* as in the file: SPM's U+2581, BPE's byte letters */
	float score;
	uint8_t type; /* enum vocab_type */
};

/* Tokens that mark the parts of a text whose middle is to be written (fill in the middle): what comes before, what comes behind, and
 * where the middle begins; padding; and before the name of a repository and of a file, for other files. */
enum vocab_fim {
	VOCAB_FIM_PRE,
	VOCAB_FIM_SUF,
	VOCAB_FIM_MID,
	VOCAB_FIM_PAD,
	VOCAB_FIM_REP,
	VOCAB_FIM_SEP,
	VOCAB_FIMS
};

struct vocab {
	enum vocab_model model;
	uint32_t tokens;
	struct vocab_token *token;
	uint32_t merges; /* BPE: in order of rank, "left right" */
	struct vocab_string *merge;
	struct vocab_string pre;           /* tokenizer.ggml.pre, empty when absent */
	struct vocab_string chat_template; /* empty when absent */
	int32_t bos, eos, eot, unk;        /* -1: none */
	uint32_t ends;                     /* tokens beside eos and eot that end a turn or a text, */
	uint32_t end[VOCAB_MAX_ENDS];      /* ascending */
	uint32_t fim[VOCAB_FIMS];          /* 1 + their ids; 0: none */
	bool add_bos, add_eos, add_space_prefix;
	uint8_t *bytes;   /* owned: the blob, which the strings point into */
	atomic_uint more; /* references beyond the first */
};

/* How a file is read, and what differs from it. */
struct vocab_reading {
	/* The pre-tokenizer, whatever the file says: for files that name none, or a wrong one.  NULL or empty: the file's. */
	const char *pre;
	/* The text of a chat template, instead of the file's.  NULL or empty: the file's. */
	const char *chat_template;
	char note[256]; /* out: what of the file was changed or ignored, in a line; empty: nothing */
};

/* Reads tokenizer.* of a file; r may be NULL.  0, or a negative errno with a sentence in err that names the key at fault.
 * A special token whose number is beyond the vocabulary is ignored, with a note: converters leave such numbers. */
int vocab_from_gguf(
        struct vocab **out, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen);

/* Whether a token is named like one that ends a turn or a text, in any model that has it. */
bool vocab_is_end_name(const struct vocab_token *token);

/* The blob (malloc'd), deterministic; and back, every length and index checked. */
int vocab_encode(const struct vocab *v, uint8_t **out, size_t *len);
int vocab_decode(struct vocab **out, const uint8_t *data, size_t len, char *err, size_t errlen);

/* Whether both have the same tokens under the same ids; how text becomes tokens may differ.  why: the difference. */
#define VOCAB_WHY 96
bool vocab_same_tokens(const struct vocab *a, const struct vocab *b, char *why, size_t len);

/* Any thread: whoever takes a reference gives it back with vocab_destroy; the last one frees it. */
struct vocab *vocab_ref(const struct vocab *v);
void vocab_destroy(struct vocab *v); /* NULL allowed */

#endif
