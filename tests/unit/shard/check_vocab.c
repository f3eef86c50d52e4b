/* What is made of a vocabulary that a file states badly, or not at all: pre-tokenizers, special tokens that are not there,
 * tokens that end a text; and that all of it travels with the vocabulary. */
#include "shard/model/vocab.h"
#include "tests/support/ggufopen.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA3 128256

/* A BPE of so many tokens, "t0" and on, one of which has another text. */
static struct ggufgen *bpe(uint32_t tokens, uint32_t special, const char *text) {
	struct ggufgen *gen = ggufgen_create();
	char(*name)[16] = calloc(tokens, sizeof *name);
	const char **names = calloc(tokens, sizeof *names);
	ck_assert(name && names);
	for (uint32_t i = 0; i < tokens; i++) {
		snprintf(name[i], sizeof *name, "t%u", i);
		names[i] = i == special ? text : name[i];
	}
	ggufgen_string(gen, "tokenizer.ggml.model", "gpt2");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", names, tokens);
	ggufgen_strings(gen, "tokenizer.ggml.merges", (const char *const[]){"t 1"}, 1);
	free(name);
	free(names);
	return gen;
}

static struct vocab *read_as(struct ggufgen *gen, struct vocab_reading *r) {
	struct vocab *v = NULL;
	ck_assert_msg(vocab_gen_read(gen, r, &v) == 0, "said: %s", err);
	return v;
}

static void expect_pre(const struct vocab *v, const char *pre) {
	ck_assert_msg(v->pre.len == strlen(pre) && memcmp(v->pre.s, pre, v->pre.len) == 0, "%.*s, not %s",
	        (int)v->pre.len, v->pre.s, pre);
}

/* As other nodes have it. */
static struct vocab *travel(struct vocab *v) {
	struct vocab *w;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	ck_assert_msg(vocab_decode(&w, data, len, err, sizeof err) == 0, "said: %s", err);
	free(data);
	vocab_destroy(v);
	return w;
}

START_TEST(a_named_pre_tokenizer_travels) {
	struct vocab_reading r = {.pre = "llama-bpe"};
	struct vocab *v = travel(read_as(bpe(8, 0, "a"), &r));
	expect_pre(v, "llama-bpe");
	ck_assert_str_eq(r.note, "");
	/* as with the models that have it, unless the file says otherwise */
	ck_assert(v->add_bos);
	vocab_destroy(v);
	struct ggufgen *gen = bpe(8, 0, "a");
	ggufgen_string(gen, "tokenizer.ggml.pre", "tekken");
	ggufgen_bool(gen, "tokenizer.ggml.add_bos_token", false);
	v = travel(read_as(gen, &r));
	expect_pre(v, "llama-bpe");
	ck_assert(!v->add_bos);
	vocab_destroy(v);
	/* whether texts begin with BOS in a file that does not say so */
	static const struct {
		const char *pre;
		bool bos;
	} begin[] = {{"tekken", true}, {"falcon3", true}, {"pixtral", true}, {"qwen2", false},
	        {"gpt-4o", false}, {"default", false}};
	for (size_t i = 0; i < sizeof begin / sizeof *begin; i++) {
		r.pre = begin[i].pre;
		v = read_as(bpe(8, 0, "a"), &r);
		ck_assert_msg(v->add_bos == begin[i].bos, "%s", begin[i].pre);
		vocab_destroy(v);
	}
	r.pre = "llama-bpe";
	/* what has none needs none */
	gen = ggufgen_create();
	ggufgen_vocab_keys(gen, 300);
	ck_assert_int_eq(vocab_gen_read(gen, &r, &v), -EINVAL);
	ck_assert_str_eq(err, "tokenizer.ggml.model is llama, which has no pre-tokenizer: leave --pre out");
}
END_TEST

START_TEST(a_named_template_travels) {
	static const char *const named[] = {"", "{{ mine }}"}, *const want[] = {"{{ its }}", "{{ mine }}"};
	struct vocab_reading r = {.chat_template = named[_i]};
	struct ggufgen *gen = bpe(8, 0, "a");
	ggufgen_string(gen, "tokenizer.chat_template", "{{ its }}");
	struct vocab *v = travel(read_as(gen, &r));
	ck_assert_msg(v->chat_template.len == strlen(want[_i]) &&
	                      memcmp(v->chat_template.s, want[_i], v->chat_template.len) == 0,
	        "%.*s", (int)v->chat_template.len, v->chat_template.s);
	vocab_destroy(v);
}
END_TEST

/* Of names, of a file's keys, which count more, and of keys that name nothing. */
START_TEST(fill_in_the_middle) {
	struct vocab_reading r = {.pre = NULL};
	struct vocab *v = travel(read_as(bpe(8, 3, "<|fim_suffix|>"), &r));
	ck_assert(v->fim[VOCAB_FIM_SUF] == 4 && v->fim[VOCAB_FIM_PRE] == 0);
	ck_assert_uint_eq(v->bytes[4], 1); /* what names say is not written down */
	vocab_destroy(v);
	static const char *const keys[] = {"prefix", "fim_pre"};
	for (unsigned i = 0; i < 2; i++) {
		char key[64];
		struct ggufgen *gen = bpe(8, 3, "<|fim_suffix|>");
		snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[i]);
		ggufgen_u32(gen, key, 5);
		ggufgen_u32(gen, "tokenizer.ggml.fim_suf_token_id", 0);
		ggufgen_u32(gen, "tokenizer.ggml.fim_sep_token_id", 8);
		v = travel(read_as(gen, &r));
		ck_assert(v->fim[VOCAB_FIM_PRE] == 6 && v->fim[VOCAB_FIM_SUF] == 1);
		ck_assert(v->fim[VOCAB_FIM_SEP] == 0 && v->fim[VOCAB_FIM_MID] == 0);
		ck_assert_uint_eq(v->bytes[4], 3);
		ck_assert_msg(strstr(r.note, "fim_sep_token_id is 8"), "%s", r.note);
		vocab_destroy(v);
	}
	/* the same as by name: neither is written down, nor taken from others */
	struct ggufgen *gen = bpe(8, 3, "<|fim_suffix|>");
	ggufgen_u32(gen, "tokenizer.ggml.fim_suf_token_id", 4);
	v = read_as(gen, &r);
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	vocab_destroy(v);
	for (unsigned i = 0; i < 3; i++) { /* as it is; as names say; a token that there is not */
		data[44 + 4 * VOCAB_FIM_SUF] = (uint8_t)(i == 0 ? 5 : i == 1 ? 4 : 9);
		int rc = vocab_decode(&v, data, len, err, sizeof err);
		ck_assert_int_eq(rc, i == 0 ? 0 : -EINVAL);
		ck_assert_msg(i == 0 || strstr(err, i == 1 ? "known by name" : "does not have"), "%s", err);
		if (rc == 0)
			vocab_destroy(v);
	}
	free(data);
}
END_TEST

START_TEST(early_llama_3_is_known) {
	struct vocab_reading r = {.pre = NULL};
	struct vocab *v = travel(read_as(bpe(LLAMA3, 128000, "<|begin_of_text|>"), &r));
	expect_pre(v, "llama-bpe");
	ck_assert(v->add_bos);
	ck_assert_msg(
	        strstr(r.note, "tokenizer.ggml.pre is missing") && strstr(r.note, "Llama 3"), "%s", r.note);
	vocab_destroy(v);
	/* as many tokens of something else, or that token among others, are not it */
	v = read_as(bpe(LLAMA3, 128000, "<|begin|>"), &r);
	expect_pre(v, "");
	vocab_destroy(v);
	v = read_as(bpe(LLAMA3 - 1, 128000, "<|begin_of_text|>"), &r);
	expect_pre(v, "");
	ck_assert_str_eq(r.note, "");
	vocab_destroy(v);
	/* a file that says what it is is believed */
	struct ggufgen *gen = bpe(LLAMA3, 128000, "<|begin_of_text|>");
	ggufgen_string(gen, "tokenizer.ggml.pre", "other");
	v = read_as(gen, &r);
	expect_pre(v, "other");
	vocab_destroy(v);
}
END_TEST

START_TEST(special_tokens_that_are_not_there) {
	struct vocab_reading r = {.pre = NULL};
	struct ggufgen *gen = bpe(8, 0, "a");
	int32_t none = -1;
	ggufgen_u32(gen, "tokenizer.ggml.bos_token_id", 8);
	ggufgen_u32(gen, "tokenizer.ggml.eot_token_id", 4000000000u);
	ggufgen_u32(gen, "tokenizer.ggml.eos_token_id", 7);
	ggufgen_raw(gen, "tokenizer.ggml.unknown_token_id", GGUF_I32, &none, sizeof none);
	struct vocab *v = read_as(gen, &r);
	ck_assert(v->bos == -1 && v->eot == -1 && v->eos == 7 && v->unk == -1);
	ck_assert_msg(
	        strstr(r.note, "tokenizer.ggml.bos_token_id is 8 and there are 8 tokens: it is ignored") &&
	                strstr(r.note, "eot_token_id is 4000000000") && !strstr(r.note, "unknown"),
	        "%s", r.note);
	vocab_destroy(v);
	/* what is ignored is as if it was not there: SentencePiece has its usual ones */
	gen = ggufgen_create();
	ggufgen_string(gen, "tokenizer.ggml.model", "llama");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", (const char *const[]){"<unk>", "<s>", "</s>"}, 3);
	float score[3] = {0};
	uint8_t scores[12 + sizeof score] = {GGUF_F32, 0, 0, 0, 3};
	memcpy(scores + 12, score, sizeof score);
	ggufgen_raw(gen, "tokenizer.ggml.scores", GGUF_ARRAY, scores, sizeof scores);
	ggufgen_u32(gen, "tokenizer.ggml.eos_token_id", 32000);
	/* and, as Gemma's, no space before a text where the file says so, whatever it names as its pre-tokenizer */
	ggufgen_bool(gen, "tokenizer.ggml.add_space_prefix", false);
	ggufgen_string(gen, "tokenizer.ggml.pre", "default");
	v = read_as(gen, &r);
	ck_assert(v->bos == 1 && v->eos == 2 && v->unk == 0 && !v->add_space_prefix && v->add_bos);
	vocab_destroy(v);
}
END_TEST

static void put_ids(struct ggufgen *gen, const char *key, const uint32_t *id, size_t n) {
	uint8_t list[256] = {GGUF_U32, 0, 0, 0, (uint8_t)n};
	memcpy(list + 12, id, n * sizeof *id);
	ggufgen_raw(gen, key, GGUF_ARRAY, list, 12 + n * sizeof *id);
}

START_TEST(all_ends_are_read) {
	struct vocab_reading r = {.pre = NULL};
	struct ggufgen *gen = bpe(10, 9, "<|im_end|>");
	ggufgen_u32(gen, "tokenizer.ggml.eom_token_id", 6);
	put_ids(gen, "tokenizer.ggml.eos_token_id", (const uint32_t[]){5, 4, 3}, 3);
	put_ids(gen, "tokenizer.ggml.eos_token_ids", (const uint32_t[]){2, 5, 6, 9, 99}, 5);
	struct vocab *v = travel(read_as(gen, &r));
	ck_assert_int_eq(v->eos, 5);
	/* not the EOS again, nor what is an end by its name */
	ck_assert_uint_eq(v->ends, 4);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(v->end[i], 2 + i);
	ck_assert_uint_eq(v->end[3], 6);
	ck_assert_ptr_nonnull(strstr(r.note, "eos_token_ids is 99"));
	vocab_destroy(v);
	/* no more than there is room for */
	uint32_t many[60];
	gen = bpe(200, 199, "x");
	for (uint32_t i = 0; i < 60; i++)
		many[i] = i;
	put_ids(gen, "tokenizer.ggml.eos_token_ids", many, 60);
	for (uint32_t i = 0; i < 60; i++)
		many[i] = 100 + i;
	put_ids(gen, "tokenizer.ggml.eot_token_id", many, 60);
	v = read_as(gen, NULL);
	ck_assert_uint_eq(v->ends, VOCAB_MAX_ENDS);
	vocab_destroy(v);
	gen = bpe(8, 0, "a");
	ggufgen_strings(gen, "tokenizer.ggml.eos_token_id", (const char *const[]){"a"}, 1);
	ck_assert_int_eq(vocab_gen(gen, &v), -EINVAL);
	ck_assert_str_eq(err, "tokenizer.ggml.eos_token_id is not a list of token ids");
}
END_TEST

/* Blobs that another node could send: version 2 with ends that make no sense. */
START_TEST(ends_of_others_are_checked) {
	struct vocab *v = NULL, *w;
	struct ggufgen *gen = bpe(8, 0, "a");
	put_ids(gen, "tokenizer.ggml.eos_token_ids", (const uint32_t[]){2, 3}, 2);
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(vocab_gen(gen, &v), 0);
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	ck_assert_uint_eq(data[4], 2);
	ck_assert_uint_eq(data[40], 2);
	static const struct {
		size_t at;
		uint8_t value;
	} spoil[] = {{40, 0}, {40, 65}, {44, 3}, {44, 8}, {48, 2}, {48, 200}, {4, 1}, {4, 3}};
	for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
		uint8_t was = data[spoil[i].at];
		data[spoil[i].at] = spoil[i].value;
		ck_assert_int_eq(vocab_decode(&w, data, len, err, sizeof err), -EINVAL);
		data[spoil[i].at] = was;
	}
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(vocab_decode(&w, data, n, err, sizeof err), -EINVAL);
	/* without further ends it is what it always was */
	v->ends = 0;
	free(data);
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	ck_assert_uint_eq(data[4], 1);
	free(data);
	vocab_destroy(v);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("vocab");
	TCase *t = tcase_create("vocab");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_named_pre_tokenizer_travels);
	tcase_add_loop_test(t, a_named_template_travels, 0, 2);
	tcase_add_test(t, early_llama_3_is_known);
	tcase_add_test(t, special_tokens_that_are_not_there);
	tcase_add_test(t, fill_in_the_middle);
	tcase_add_test(t, all_ends_are_read);
	tcase_add_test(t, ends_of_others_are_checked);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
