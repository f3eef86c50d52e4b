/* The demo model: it has learnt its language and not its stories, and writes whole sentences of it. */
#include "daemon/text/tokenizer.h"
#include "tests/support/loaded.h"
#include "tests/support/synth.h"
#include "tests/support/where.h"
#include <check.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an independent implementation finds (demo/README.md), and how far 8-bit activations may be off. */
#define PERPLEXITY 1.2159
#define TOLERANCE 0.005
#define COARSER 2e-4 /* what a q8_0 cache may change */
enum { CONTEXT = 512, BLOCKS = CONTEXT / KERN_KV_BLOCK };

static struct loaded *demo;
static struct tokenizer *tokenizer;
static uint32_t vocab, bos, eos;
static const uint32_t table[BLOCKS] = {0, 1, 2, 3, 4, 5, 6, 7};

static void start(void) {
	char err[256], path[512];
	ck_assert_msg(!kern_init(err, sizeof err), "%s", err);
	demo = loaded_create(source_path(path, "demo/stories.gguf"));
	const struct vocab *v = import_vocab(demo->import);
	ck_assert_msg(!tokenizer_create(&tokenizer, v, err, sizeof err), "%s", err);
	vocab = v->tokens;
	bos = (uint32_t)v->bos;
	eos = (uint32_t)v->eos;
}

static void stop(void) {
	tokenizer_destroy(tokenizer);
	loaded_destroy(demo);
}

/* A text of the demo's folder. */
static char *source_text(const char *name) {
	char path[512];
	FILE *f = fopen(source_path(path, name), "r");
	ck_assert_msg(f, "%s", path);
	char *text = calloc(1, 1 << 20);
	ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, f), 0);
	fclose(f);
	return text;
}

/* Minus the logarithm of the probability of an id. */
static double loss(const float *logits, uint32_t id) {
	double top = -INFINITY, sum = 0;
	for (uint32_t i = 0; i < vocab; i++)
		top = fmax(top, (double)logits[i]);
	for (uint32_t i = 0; i < vocab; i++)
		sum += exp((double)logits[i] - top);
	return top + log(sum) - (double)logits[id];
}

/* Adds up the losses of a line's tokens and its end, after <s>; returns how many. */
static uint32_t line_loss(struct line *l, const char *text, size_t len, double *sum) {
	uint32_t *ids, seq[CONTEXT];
	size_t n;
	ck_assert_int_eq(tokenizer_encode(tokenizer, text, len, 0, &ids, &n), 0);
	ck_assert_uint_lt(n + 1, CONTEXT);
	seq[0] = bos;
	memcpy(seq + 1, ids, n * sizeof *ids);
	seq[n + 1] = eos;
	free(ids);
	float *logits = malloc((n + 1) * vocab * sizeof *logits);
	line_logits(l, seq, (uint32_t)n + 1, CONTEXT, table, logits);
	for (size_t i = 0; i <= n; i++)
		*sum += loss(logits + i * vocab, seq[i + 1]);
	free(logits);
	return (uint32_t)n + 1;
}

/* Perplexity over the held-out text with a type of KV cache. */
static double perplexity_with(enum kern_kv kv) {
	char *text = source_text("demo/heldout.txt"); /* one story a line */
	struct line *l = line_create(demo->whole, kv, 2, 2, (uint32_t[]){2}, CONTEXT, BLOCKS);
	double sum = 0;
	uint32_t count = 0, lines = 0;
	for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1, lines++)
		count += line_loss(l, at, (size_t)(end - at), &sum);
	double p = exp(sum / count);
	printf("# perplexity %.5f over %u tokens of held-out text, KV cache %s\n", p, count,
	        kern_kv_name(kv));
	ck_assert_uint_eq(lines, 40);
	ck_assert_uint_eq(count, 10535); /* the same tokens as the other implementation's */
	line_destroy(l);
	free(text);
	return p;
}

START_TEST(perplexity) {
	start();
	double p = perplexity_with(KERN_KV_F16), coarse = perplexity_with(KERN_KV_Q8_0);
	ck_assert_msg(fabs(p / PERPLEXITY - 1) < TOLERANCE, "perplexity %.4f, not %.4f", p, PERPLEXITY);
	ck_assert_msg(coarse != p && fabs(coarse / p - 1) < COARSER,
	        "perplexity %.5f with a q8_0 cache, %.5f with f16", coarse, p);
	stop();
}
END_TEST

static uint32_t greatest(const float *logits) {
	uint32_t best = 0;
	for (uint32_t i = 1; i < vocab; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

/* The greedy story after a prompt: its text, without the space in front. */
static void tell(const char *prompt, char *out, size_t size) {
	char err[256];
	uint32_t *ids, at = 0;
	size_t n, len = 0;
	ck_assert_int_eq(tokenizer_encode(tokenizer, prompt, strlen(prompt), TOKENIZE_BOS, &ids, &n), 0);
	float *logits = malloc(CONTEXT * vocab * sizeof *logits);
	struct line *l = line_create(demo->whole, KERN_KV_F16, 1, 1, NULL, CONTEXT, BLOCKS);
	struct forward_seq q = {(uint32_t)n, 0, BLOCKS, table, 0, NULL};
	ck_assert_msg(!line_step(l, &q, 1, ids, logits, err, sizeof err), "%s", err);
	uint32_t token = greatest(logits + (n - 1) * vocab);
	for (at = (uint32_t)n; token != eos && at < CONTEXT; at++) {
		size_t k;
		const char *piece = tokenizer_piece(tokenizer, token, &k);
		ck_assert_uint_lt(len + k + 1, size);
		memcpy(out + len, piece, k);
		len += k;
		q = (struct forward_seq){1, at, BLOCKS, table, 0, NULL};
		ck_assert_msg(!line_step(l, &q, 1, &token, logits, err, sizeof err), "%s", err);
		token = greatest(logits);
	}
	ck_assert_msg(token == eos, "the story after \"%s\" has no end", prompt);
	out[len] = '\0';
	line_destroy(l);
	free(logits);
	free(ids);
}

/* Whether a word is one of the language: it stands in the grammar. */
static bool known(const char *text, const char *word, size_t len) {
	for (const char *at = text; (at = strchr(at, word[0])); at++)
		if (!strncmp(at, word, len) && !isalpha((unsigned char)at[len]) &&
		        (at == text || !isalpha((unsigned char)at[-1])))
			return true;
	return false;
}

static const char *const prompts[] = {
        "", "One day, a little girl named Lily", "Once upon a time, there was a cat"};

START_TEST(sentences) {
	char story[4096];
	start();
	char *grammar = source_text("demo/stories.py"), *seen = source_text("demo/heldout.txt");
	tell(prompts[_i], story, sizeof story);
	printf("# %s%s\n", prompts[_i], story);
	size_t len = strlen(story), words = 0, strange = 0, full_stops = 0;
	/* it ends with a sentence, and every word is one that such stories use */
	ck_assert_msg(strchr(".!?\"", story[len - 1]), "the end of: %s", story);
	for (size_t i = 0; i < len;) {
		size_t k = 0;
		while (isalpha((unsigned char)story[i + k]))
			k++;
		if (k) {
			words++;
			if (!known(grammar, story + i, k)) {
				printf("# strange: %.*s\n", (int)k, story + i);
				strange++;
			}
		}
		full_stops += story[i] == '.' || story[i] == '!' || story[i] == '?';
		i += k ? k : 1;
	}
	ck_assert_uint_gt(words, 40);
	ck_assert_uint_gt(full_stops, 5);
	fflush(stdout);
	ck_assert_uint_eq(strange, 0);
	ck_assert_ptr_null(strstr(seen, story)); /* and it is no story of the test's own */
	free(grammar);
	free(seen);
	stop();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("demo");
	TCase *t = tcase_create("demo");
	tcase_set_timeout(t, 240);
	tcase_add_test(t, perplexity);
	tcase_add_loop_test(t, sentences, 0, sizeof prompts / sizeof *prompts);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
