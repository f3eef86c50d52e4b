/* constrain: grammars for scripts.  Each line of standard input is a JSON object:
 *
 *   {"schema": S or "gbnf": TEXT, "space": "compact" or "loose", "accept": [TEXT, ...], "walks": N, "seed": N, "tokens": N}
 *
 * and is answered with a line: {"error": SENTENCE}, or {"accept": [whether each text is whole, ...], "walks": [what random
 * tokens from the masks made, or null where they came to no end, ...], "us": {"compile": .., "mask": mean, "worst": ..} of processor time}.
 *
 * Each step of a walk also checks that a mask agrees with what is accepted, and that it is the same when it is asked again.
 *
 *   constrain [FILE]    the vocabulary of a GGUF file; without it, one of single bytes and a few words */
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/token_trie.h"
#include "daemon/text/tokenizer.h"
#include "shard/gguf/gguf.h"
#include "tests/unit/text/text_vocab.h"
#include <errno.h>
#include <time.h>

static struct tokenizer *tokenizer;
static struct token_trie *trie;
static uint64_t random_state;

static void die(const char *what) {
	fprintf(stderr, "constrain: %s\n", what);
	exit(1);
}

static uint32_t next_random(uint32_t below) {
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((random_state >> 33) * below) >> 31);
}

static double now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void open_vocabulary(const char *path) {
	char err[300];
	const struct vocab *v;
	if (path) {
		struct gguf *g;
		struct vocab *read;
		if (gguf_open_path(&g, path, err, sizeof err) < 0 ||
		        vocab_from_gguf(&read, g, NULL, err, sizeof err) < 0)
			die(err);
		gguf_close(g);
		v = read;
	} else {
		v = &small_bpe("llama-bpe")->v;
	}
	if (tokenizer_create(&tokenizer, v, err, sizeof err) < 0)
		die(err);
	if (token_trie_create(&trie, tokenizer) < 0)
		die("no memory");
}

static bool has(const uint64_t *mask, uint32_t token) {
	return mask[token / 64] >> token % 64 & 1;
}

/* Whether the text, in the tokens that its vocabulary has for it, is whole. */
static bool accepts(struct grammar_matcher *m, const char *text, size_t len) {
	char err[200];
	uint32_t state, *ids;
	size_t n, skip = 0;
	bool is = grammar_start(m, &state, err, sizeof err) == 0;
	if (tokenizer_encode(tokenizer, text, len, 0, &ids, &n) < 0)
		die("cannot encode");
	if (len > 0 && tokenizer_has_space_prefix(tokenizer))
		die("accept needs a vocabulary without a space prefix");
	for (size_t i = skip; i < n && is; i++)
		is = grammar_accept(m, &state, ids[i], err, sizeof err) == 0;
	free(ids);
	return is && grammar_may_end(m, state);
}

/* A token from a mask: one that closes something, with some probability, so that texts end. */
static uint32_t choose(const uint64_t *mask, bool hurry) {
	uint32_t n = tokenizer_tokens(tokenizer), all = 0, closing = 0, chosen = 0, close = 0;
	for (uint32_t id = 0; id < n; id++) {
		if (!has(mask, id))
			continue;
		if (tokenizer_is_end(tokenizer, id) && (hurry || next_random(4) == 0))
			return id;
		size_t len;
		const char *s = tokenizer_piece(tokenizer, id, &len);
		if (next_random(++all) == 0)
			chosen = id;
		if (len > 0 && strchr("\"]}", s[0]) && next_random(++closing) == 0)
			close = id;
	}
	return closing > 0 && (hurry || next_random(3) == 0) ? close : chosen;
}

static double total_us, worst_us;
static uint64_t masks;

static const uint64_t *timed_mask(struct grammar_matcher *m, uint32_t state) {
	char err[200];
	const uint64_t *mask;
	double begin = now_us();
	int rc = grammar_mask(m, state, &mask, err, sizeof err);
	double us = now_us() - begin;
	if (rc < 0)
		die(err);
	total_us += us;
	worst_us = us > worst_us ? us : worst_us;
	masks++;
	return mask;
}

static void check_mask(struct grammar_matcher *m, uint32_t state, const uint64_t *mask) {
	char err[200];
	for (int i = 0; i < 20; i++) {
		uint32_t id = next_random(tokenizer_tokens(tokenizer)), to = state;
		if ((grammar_accept(m, &to, id, err, sizeof err) == 0) != has(mask, id))
			die("a mask differs from what is accepted");
	}
}

static json_t *walk(struct grammar_matcher *m, uint32_t tokens) {
	static char text[1 << 20];
	size_t n = 0;
	char err[200];
	uint32_t state;
	if (grammar_start(m, &state, err, sizeof err) < 0)
		die(err);
	for (uint32_t i = 0; i < 2 * tokens; i++) {
		const uint64_t *mask = timed_mask(m, state);
		uint32_t id = choose(mask, i >= tokens);
		check_mask(m, state, mask);
		if (grammar_accept(m, &state, id, err, sizeof err) < 0)
			die(err);
		if (tokenizer_is_end(tokenizer, id))
			return json_stringn(text, n);
		size_t len;
		const char *s = tokenizer_piece(tokenizer, id, &len);
		if (n + len > sizeof text)
			break;
		memcpy(text + n, s, len);
		n += len;
	}
	return json_null();
}

static json_t *answer(const json_t *line) {
	char err[1000] = "";
	struct grammar *g;
	struct grammar_matcher *m;
	const json_t *gbnf = json_object_get(line, "gbnf"), *texts = json_object_get(line, "accept");
	const char *space = json_string_value(json_object_get(line, "space"));
	enum json_space how = space && strcmp(space, "loose") == 0 ? JSON_SPACE_LOOSE : JSON_SPACE_COMPACT;
	double begin = now_us();
	int rc = gbnf ? grammar_from_gbnf(
	                        &g, json_string_value(gbnf), json_string_length(gbnf), err, sizeof err)
	              : grammar_from_schema(&g, json_object_get(line, "schema"), how, err, sizeof err);
	double compile = now_us() - begin;
	if (rc < 0)
		return json_pack("{s:s}", "error", err);
	if (grammar_matcher_create(&m, g, trie) < 0)
		die("no memory");
	json_t *accept = json_array(), *walks = json_array();
	for (size_t i = 0; i < json_array_size(texts); i++) {
		const json_t *t = json_array_get(texts, i);
		json_array_append_new(
		        accept, json_boolean(accepts(m, json_string_value(t), json_string_length(t))));
	}
	random_state = (uint64_t)json_integer_value(json_object_get(line, "seed")) + 1;
	total_us = worst_us = 0;
	masks = 0;
	const json_t *tokens = json_object_get(line, "tokens");
	for (json_int_t i = 0; i < json_integer_value(json_object_get(line, "walks")); i++)
		json_array_append_new(walks, walk(m, tokens ? (uint32_t)json_integer_value(tokens) : 200));
	json_t *out = json_pack("{s:o,s:o,s:{s:f,s:f,s:f,s:I,s:i}}", "accept", accept, "walks", walks, "us",
	        "compile", compile, "mask", masks ? total_us / (double)masks : 0, "worst", worst_us, "masks",
	        (json_int_t)masks, "states", (int)grammar_matcher_states(m));
	grammar_matcher_destroy(m);
	grammar_destroy(g);
	return out;
}

int main(int argc, char **argv) {
	char *line = NULL;
	size_t cap = 0;
	open_vocabulary(argc > 1 ? argv[1] : NULL);
	while (getline(&line, &cap, stdin) > 0) {
		json_error_t e;
		json_t *in = json_loads(line, 0, &e);
		json_t *out = in ? answer(in) : json_pack("{s:s}", "error", e.text);
		json_dumpf(out, stdout, JSON_COMPACT);
		putchar('\n');
		fflush(stdout);
		json_decref(out);
		json_decref(in);
	}
	free(line);
	return 0;
}
