/* GGUF files and models that are refused, and with which words; files that are cut off, and that are changed. */
#include "shard/import/import.h"
#include "tests/support/ggufopen.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A refusal: how to spoil a model, and what is said. */
static void add_unknown_type(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.attn_q.weight.2", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_type(g, 36);
}
static void add_unnamed_type(struct ggufgen *g) {
	ggufgen_tensor(g, "odd", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_type(g, 4000);
}
static void add_beyond(struct ggufgen *g) {
	ggufgen_tensor(g, "far", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_offset(g, 32);
}
static void add_far_beyond(struct ggufgen *g) {
	ggufgen_tensor(g, "far", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_offset(g, UINT64_MAX - 31 - (1u << 20));
}
static void add_unaligned(struct ggufgen *g) {
	ggufgen_tensor(g, "odd", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_offset(g, UINT64_MAX - 7);
}
static void add_width(struct ggufgen *g) {
	ggufgen_tensor(g, "odd", KERN_F32, 33, 1, GGUFGEN_WEIGHTS);
	ggufgen_break_type(g, KERN_Q4_0);
}
static void add_tensor_twice(struct ggufgen *g) {
	ggufgen_tensor(g, "output_norm.weight", KERN_F32, 64, 0, GGUFGEN_NORM);
}
static void add_key_twice(struct ggufgen *g) {
	ggufgen_u32(g, "llama.block_count", 2);
}
static void add_alignment(struct ggufgen *g) {
	ggufgen_u32(g, "general.alignment", 48);
}
static void add_alignment_0(struct ggufgen *g) {
	ggufgen_u32(g, "general.alignment", 0);
}
static void add_kind(struct ggufgen *g) {
	ggufgen_raw(g, "odd", 13, "\0\0\0\0", 4);
}
static void add_long_string(struct ggufgen *g) {
	ggufgen_raw(g, "odd", GGUF_STRING,
	        "\0\0\0\0\0\0\0\x7f"
	        "abc",
	        11);
}
static void add_long_array(struct ggufgen *g) {
	ggufgen_raw(g, "odd", GGUF_ARRAY, "\x0a\0\0\0\0\0\0\0\0\0\0\x20", 12);
}
static void add_deep_array(struct ggufgen *g) {
	uint8_t deep[12 * 4] = {0};
	for (int i = 0; i < 4; i++) {
		deep[12 * i] = GGUF_ARRAY;
		deep[12 * i + 4] = i < 3;
	}
	ggufgen_raw(g, "odd", GGUF_ARRAY, deep, sizeof deep);
}
static void add_empty_dimension(struct ggufgen *g) {
	ggufgen_tensor(g, "empty", KERN_F32, 0, 1, GGUFGEN_WEIGHTS);
}
static void set_version(struct ggufgen *g) {
	ggufgen_version(g, 4);
}
static void set_big_endian(struct ggufgen *g) {
	ggufgen_version(g, 0x03000000);
}
static void add_split_nonsense(struct ggufgen *g) {
	ggufgen_u32(g, "split.no", 2);
	ggufgen_u32(g, "split.count", 2);
}
static void add_split(struct ggufgen *g) {
	ggufgen_u32(g, "split.no", 0);
	ggufgen_u32(g, "split.count", 3);
}

static const struct {
	void (*spoil)(struct ggufgen *g);
	int rc;
	const char *says;
} refused_files[] = {
        {add_unknown_type, -ENOTSUP,
                "model: tensor blk.0.attn_q.weight.2 has type 36 (IQ4_NL_4_4), which Caravan does not know"},
        {add_unnamed_type, -ENOTSUP, "tensor odd has type 4000 (unknown)"},
        {add_beyond, -EINVAL, "tensor far extends beyond the end of the file"},
        {add_far_beyond, -EINVAL, "tensor far extends beyond the end of the file"},
        {add_unaligned, -EINVAL, "tensor odd is not aligned to 32 bytes"},
        {add_width, -EINVAL, "tensor odd has rows of 33 elements, not a multiple of Q4_0's 32"},
        {add_tensor_twice, -EINVAL, "tensor output_norm.weight occurs twice"},
        {add_key_twice, -EINVAL, "the key llama.block_count occurs twice"},
        {add_alignment, -EINVAL, "general.alignment is not a power of two"},
        {add_alignment_0, -EINVAL, "general.alignment is not a power of two"},
        {add_kind, -EINVAL, "the key odd has the unknown kind 13"},
        {add_long_string, -EINVAL, "a string of 9151314442816847872 bytes in the key odd"},
        {add_long_array, -EINVAL, "the file ends within the key odd"},
        {add_deep_array, -EINVAL, "the key odd has arrays nested more than 4 deep"},
        {add_empty_dimension, -EINVAL, "tensor empty has an impossible shape"},
        {set_version, -ENOTSUP, "GGUF version 4 (2 and 3 are supported)"},
        {set_big_endian, -ENOTSUP, "a GGUF file for big-endian processors"},
        {add_split_nonsense, -EINVAL, "split.no and split.count are invalid"},
        {add_split, -ENOENT, "part 2 of 3 is missing"},
};

START_TEST(files_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small_model);
	struct gguf *g = NULL;
	refused_files[_i].spoil(gen);
	ck_assert_int_eq(open_gen(gen, &g), refused_files[_i].rc);
	ck_assert_msg(strstr(err, refused_files[_i].says), "said: %s", err);
}
END_TEST

/* What people have in a model's place, and what helps them. */
static const struct {
	const char *data;
	size_t len;
	const char *says;
} others[] = {
        {"", 0, "it is empty; is the download complete?"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, "begins with zeros; is the download complete?"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4661211808\n", 76,
                "git lfs pull"},
        {"<!DOCTYPE html>\n<html>", 22, "web page"},
        {"\n  <html lang=\"en\">", 20, "web page"},
        {"\xef\xbb\xbf<?xml version=\"1.0\"?>", 24, "web page"},
        {"tjgg\3\0\0\0\0\x7d\0\0", 12, "GGJT"},
        {"lmgg\0\x7d\0\0", 8, "GGML"},
        {"fmgg\1\0\0\0", 8, "GGMF"},
        {"algg\1\0\0\0", 8, "LoRA"},
        {"\x0c\0\0\0\0\0\0\0{\"a\":{}}    ....", 24, "safetensors"},
        {"PK\3\4, a different thing altogether", 34, "PyTorch"},
        {"\x80\2}q\0(", 6, "PyTorch"},
        {"\x1f\x8b\x08\0", 4, "unpack"},
        {"Invalid username or password.", 29, "a text that begins with \"Invalid username or password.\""},
        {"{\"error\":\"Entry not found\"}", 27, "{\"error\":\"Entry not found\"}"},
};

START_TEST(other_things_are_refused) {
	struct gguf *g = NULL;
	int fd;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		fd = ggufgen_fd(others[i].data, others[i].len);
		ck_assert_int_eq(gguf_open(&g, &fd, 1, "x", err, sizeof err), -EINVAL);
		ck_assert_msg(strncmp(err, "x: not a GGUF file", 18) == 0 && strstr(err, others[i].says),
		        "said: %s, without %s", err, others[i].says);
		close(fd);
	}
	fd = ggufgen_fd("\1\2\3\4\5\6", 6);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "x", err, sizeof err), -EINVAL);
	ck_assert_str_eq(err, "x: not a GGUF file");
	close(fd);
	fd = ggufgen_fd("", 0);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "empty", err, sizeof err), -EINVAL);
	close(fd);
	fd = open("/dev/null", O_RDONLY);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "null", err, sizeof err), -EINVAL);
	close(fd);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "closed", err, sizeof err), -EBADF);
	ck_assert_int_eq(gguf_open(&g, NULL, 0, "none", err, sizeof err), -EINVAL);
	ck_assert_int_eq(gguf_open_path(&g, "/nowhere/x.gguf", err, sizeof err), -ENOENT);
	ck_assert_str_eq(err, "/nowhere/x.gguf: No such file or directory");
}
END_TEST

static const struct ggufgen_model tiny_model = {
        .type = KERN_Q4_0, .head = KERN_Q4_0, .dim = 32, .layers = 1, .heads = 1, .ffn = 32, .vocab = 6};

/* Every prefix fails or opens, and nothing is read beyond it (the sanitizers watch). */
START_TEST(truncated_files) {
	struct ggufgen *gen = ggufgen_model(&tiny_model);
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	int opened = 0;
	for (size_t n = len; n-- > 0;) {
		struct gguf *g = NULL;
		ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
		if (gguf_open(&g, &fd, 1, "cut", err, sizeof err) == 0)
			opened++;
		gguf_close(g);
	}
	/* the last tensor ends where its padding begins: nothing shorter opens */
	ck_assert_int_lt(opened, 32);
	close(fd);
	free(data);
	ggufgen_destroy(gen);
}
END_TEST

START_TEST(mutated_files) {
	struct ggufgen *gen = ggufgen_model(&tiny_model);
	size_t len, head = 2200;
	uint8_t *data = ggufgen_bytes(gen, &len);
	uint32_t state = 1;
	ck_assert_uint_gt(len, head);
	for (int i = 0; i < 3000; i++) {
		struct import *im = NULL;
		uint8_t old[3];
		size_t at[3];
		int count = 1 + i % 3;
		for (int k = 0; k < count; k++) {
			state = state * 1664525 + 1013904223;
			at[k] = (state >> 8) % head;
			old[k] = data[at[k]];
			state = state * 1664525 + 1013904223;
			data[at[k]] =
			        state & 64 ? (uint8_t)(state >> 24) : (uint8_t)(old[k] ^ 1u << (state >> 29));
		}
		int fd = ggufgen_fd(data, len);
		err[0] = '\0';
		int rc = import_open(&im, &fd, 1, "mutant", NULL, NULL, NULL, NULL, err, sizeof err);
		ck_assert(rc == 0 || err[0]);
		import_close(im);
		close(fd);
		for (int k = count; k-- > 0;)
			data[at[k]] = old[k];
	}
	free(data);
	ggufgen_destroy(gen);
}
END_TEST

/* Keys on top of a model's, or in place of those of the architecture. */
static void add_experts(struct ggufgen *g) {
	ggufgen_u32(g, "llama.expert_count", 8);
}
static void add_yarn(struct ggufgen *g) {
	ggufgen_string(g, "llama.rope.scaling.type", "yarn");
}
static void add_longrope(struct ggufgen *g) {
	ggufgen_string(g, "llama.rope.scaling.type", "longrope");
}
static void add_half_longrope(struct ggufgen *g) {
	ggufgen_floats(g, "rope_factors_short.weight", 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, 1});
}
static void add_longrope_tensors(struct ggufgen *g) {
	ggufgen_floats(g, "rope_factors_long.weight", 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, -1});
	add_half_longrope(g);
}
static void add_longrope_and_linear(struct ggufgen *g) {
	ggufgen_f32(g, "llama.rope.scaling.factor", 4.0f);
	add_longrope_tensors(g);
}
static void add_longrope_and_yarn(struct ggufgen *g) {
	add_yarn(g);
	add_longrope_tensors(g);
}
static void add_longrope_and_factors(struct ggufgen *g) {
	ggufgen_floats(g, "rope_freqs.weight", 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, 1});
	add_longrope_tensors(g);
}
static void add_longrope_of_a_word(struct ggufgen *g) {
	ggufgen_u32(g, "llama.rope.scaling.original_context_length", 1);
	add_longrope_tensors(g);
}
static void add_longrope_factors(struct ggufgen *g) {
	ggufgen_u32(g, "llama.rope.scaling.original_context_length", 32);
	add_longrope_tensors(g);
}
static void add_longrope_of_another_head(struct ggufgen *g) {
	ggufgen_u32(g, "llama.rope.scaling.original_context_length", 32);
	ggufgen_floats(g, "rope_factors_long.weight", 7, 0, (const float[]){1, 1, 1, 1, 1, 1, 1});
	add_half_longrope(g);
}
static void add_no_magnitude(struct ggufgen *g) {
	ggufgen_f32(g, "llama.rope.scaling.attn_factor", 0.0f);
}
static void add_unknown_scaling(struct ggufgen *g) {
	ggufgen_string(g, "llama.rope.scaling.type", "dynamic");
}
static void add_not_causal(struct ggufgen *g) {
	ggufgen_bool(g, "llama.attention.causal", false);
}
static void add_logit_scale(struct ggufgen *g) {
	ggufgen_f32(g, "llama.logit_scale", 0.5f);
}
static void add_attention_scale(struct ggufgen *g) {
	ggufgen_f32(g, "llama.attention.scale", 0.5f);
}
static void add_clamp(struct ggufgen *g) {
	ggufgen_f32(g, "llama.attention.clamp_kqv", 8.0f);
}
static void add_unknown_key(struct ggufgen *g) {
	ggufgen_u32(g, "llama.interleaving", 1);
}
static void add_value_length(struct ggufgen *g) {
	ggufgen_u32(g, "llama.attention.value_length", 8);
}
static void add_unused_layers_of_a_word(struct ggufgen *g) {
	ggufgen_string(g, "llama.nextn_predict_layers", "one");
}
static void add_unlike_layers(struct ggufgen *g) {
	/* not stated before: a model's keys are */
	ggufgen_raw(g, "llama.attention.key_length", GGUF_ARRAY,
	        "\4\0\0\0\2\0\0\0\0\0\0\0\x10\0\0\0\x08\0\0\0", 20);
}
static void add_negative_scale(struct ggufgen *g) {
	ggufgen_f32(g, "llama.rope.scaling.factor", -1.0f);
}
static void add_parallel(struct ggufgen *g) {
	ggufgen_bool(g, "llama.use_parallel_residual", true);
}
static void add_window_text(struct ggufgen *g) {
	ggufgen_string(g, "llama.attention.sliding_window", "wide");
}
static void add_window_pattern(struct ggufgen *g) {
	ggufgen_u32(g, "llama.attention.sliding_window_pattern", 4);
}

static void add_adapter(struct ggufgen *g) {
	ggufgen_string(g, "general.type", "adapter");
}
static void add_old_adapter(struct ggufgen *g) {
	ggufgen_string(g, "adapter.type", "lora");
}
static void add_projector(struct ggufgen *g) {
	ggufgen_string(g, "general.type", "mmproj");
}
static void add_states(struct ggufgen *g) {
	ggufgen_u32(g, "llama.ssm.state_size", 128);
}
static void add_attention_interval(struct ggufgen *g) {
	ggufgen_u32(g, "llama.full_attention_interval", 4);
}
static void add_other_kind(struct ggufgen *g) {
	ggufgen_string(g, "general.type", "recipe");
}

static const struct {
	void (*spoil)(struct ggufgen *g);
	const char *says;
} refused_keys[] = {
        {add_adapter,
                "this is a LoRA adapter, which Caravan does not apply: load its model, or merge the two"},
        {add_old_adapter, "this is a LoRA adapter, which Caravan does not apply"},
        {add_projector, "this is the projector of a model"},
        {add_other_kind, "general.type is recipe; Caravan runs models"},
        {add_experts, "llama.expert_used_count is missing"},
        {add_yarn, "llama.rope.scaling.original_context_length is missing"},
        {add_longrope, "tensor rope_factors_short.weight is missing"},
        {add_half_longrope, "tensor rope_factors_long.weight is missing"},
        {add_longrope_and_linear,
                "tensor rope_factors_long.weight is there, and RoPE is scaled otherwise as well"},
        {add_longrope_and_yarn,
                "tensor rope_factors_long.weight is there, and RoPE is scaled otherwise as well"},
        {add_longrope_and_factors,
                "tensor rope_factors_long.weight is there, and RoPE is scaled otherwise as well"},
        {add_longrope_tensors, "llama.rope.scaling.original_context_length is missing"},
        {add_longrope_of_a_word, "llama.rope.scaling.original_context_length is not valid"},
        {add_longrope_factors, "tensor rope_factors_long.weight holds a factor that is not positive"},
        {add_longrope_of_another_head, "tensor rope_factors_long.weight is not 8 factors of type F32"},
        {add_no_magnitude, "llama.rope.scaling.attn_factor is not positive"},
        {add_unknown_scaling,
                "llama.rope.scaling.type is dynamic; Caravan knows linear, yarn, longrope and none"},
        {add_unused_layers_of_a_word, "llama.nextn_predict_layers is not a valid number"},
        {add_not_causal, "llama.attention.causal is false"},
        {add_logit_scale, "llama.logit_scale is 0.5"},
        {add_attention_scale, "llama.attention.scale is 0.5"},
        {add_clamp, "llama.attention.clamp_kqv is 8"},
        {add_unknown_key, "Caravan does not know the key llama.interleaving"},
        {add_value_length, "llama.attention.value_length (8) differs from the keys' (16)"},
        {add_unlike_layers, "llama.attention.key_length differs between layers (16 and 8)"},
        {add_negative_scale, "llama.rope.scaling.factor is negative"},
        {add_parallel, "llama.use_parallel_residual is true"},
        {add_window_text, "llama.attention.sliding_window is not a valid number"},
        {add_window_pattern, "llama.attention.sliding_window_pattern is 4"},
        {add_states, "llama.ssm.state_size is 128, which Caravan does not know"},
        {add_attention_interval, "llama.full_attention_interval is 4, which Caravan does not know"},
};

/* Keys of gated delta nets, all but the one that is changed as they should be. */
START_TEST(states_are_refused) {
	static const struct {
		const char *key;
		uint32_t value; /* 0: the key is missing */
		const char *says;
	} wrong[] = {
	        {"ssm.group_count", 0, "qwen35.ssm.group_count is missing"},
	        {"ssm.time_step_rank", 6, "qwen35.ssm.inner_size is not that of all heads"},
	        {"ssm.conv_kernel", 5, "qwen35.ssm.conv_kernel is not 4"},
	        {"full_attention_interval", 1, "qwen35.full_attention_interval is below 2"},
	};
	static const struct {
		const char *key;
		uint32_t value;
	} right[] = {{"block_count", 4}, {"embedding_length", 64}, {"attention.head_count", 4},
	        {"feed_forward_length", 96}, {"context_length", 128}, {"vocab_size", 64},
	        {"ssm.group_count", 2}, {"ssm.time_step_rank", 4}, {"ssm.state_size", 16},
	        {"ssm.inner_size", 64}, {"ssm.conv_kernel", 4}, {"full_attention_interval", 4}};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct ggufgen *gen = ggufgen_create();
		struct hparams hp;
		char key[64];
		ggufgen_string(gen, "general.architecture", "qwen35");
		for (size_t k = 0; k < sizeof right / sizeof *right; k++) {
			uint32_t value = strcmp(right[k].key, wrong[i].key) ? right[k].value : wrong[i].value;
			snprintf(key, sizeof key, "qwen35.%s", right[k].key);
			if (value)
				ggufgen_u32(gen, key, value);
		}
		ck_assert_int_lt(hparams_gen(gen, &hp), 0);
		ck_assert_msg(strstr(err, wrong[i].says), "said: %s", err);
	}
}
END_TEST

/* Which layers are of a kind, as an array: no number says so of some, and others are none. */
START_TEST(patterns_of_layers) {
	static const char window[] = "attention.sliding_window_pattern",
	                  recurrent[] = "attention.recurrent_layers";
	static const struct {
		const char *family, *key, *pattern, *says; /* NULL: it is understood */
	} cases[] = {
	        {"gemma3", window, "TFTT",
	                "gemma3.attention.sliding_window_pattern is not false every so many layers alone, which Caravan "
	                "does not know"},
	        {"gemma3", window, "TFFF", "is not false every so many layers alone"},
	        {"gemma3", window, "TFT",
	                "gemma3.attention.sliding_window_pattern is not a truth value for each layer"},
	        {"gemma3", window, "TFTF", NULL},
	        {"llama", window, "TFTF",
	                "llama.attention.sliding_window_pattern is 2, which Caravan does not know"},
	        {"llama", recurrent, "TTTF", "llama.attention.recurrent_layers is of other families"},
	        {"qwen35", recurrent, "TTFT", NULL},
	        {"qwen35", recurrent, "TTFF",
	                "qwen35.attention.recurrent_layers is not false every so many layers alone"},
	        {"qwen35", recurrent, "TTTT",
	                "qwen35.attention.recurrent_layers leaves no layer of one of the two kinds"},
	        {"qwen35", recurrent, "FFFF", "leaves no layer of one of the two kinds"},
	};
	static const struct {
		const char *key;
		uint32_t value;
	} numbers[] = {{"block_count", 4}, {"embedding_length", 64}, {"attention.head_count", 4},
	        {"feed_forward_length", 96}, {"context_length", 128}, {"vocab_size", 64},
	        {"attention.sliding_window", 16}, {"ssm.group_count", 2}, {"ssm.time_step_rank", 4},
	        {"ssm.state_size", 16}, {"ssm.inner_size", 64}, {"ssm.conv_kernel", 4}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct ggufgen *gen = ggufgen_create();
		struct hparams hp;
		char key[96];
		bool states = strcmp(cases[i].family, "qwen35") == 0;
		ggufgen_string(gen, "general.architecture", cases[i].family);
		for (size_t k = 0; k < sizeof numbers / sizeof *numbers - (states ? 0 : 5); k++) {
			snprintf(key, sizeof key, "%s.%s", cases[i].family, numbers[k].key);
			ggufgen_u32(gen, key, numbers[k].value);
		}
		snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", cases[i].family);
		ggufgen_f32(gen, key, 1e-6f);
		snprintf(key, sizeof key, "%s.%s", cases[i].family, cases[i].key);
		ggufgen_truths(gen, key, cases[i].pattern, false);
		int rc = hparams_gen(gen, &hp);
		if (cases[i].says)
			ck_assert_msg(rc < 0 && strstr(err, cases[i].says), "case %zu said: %s", i, err);
		else
			ck_assert_msg(rc == 0, "case %zu said: %s", i, err);
		for (uint32_t l = 0; rc == 0 && l < 4; l++)
			ck_assert_int_eq(states ? hparams_is_recurrent(&hp, l) : hparams_has_window(&hp, l),
			        cases[i].pattern[l] == 'T');
	}
}
END_TEST

/* Latent attention: all keys but the one that is changed as they should be. */
START_TEST(latents_are_refused) {
	static const struct {
		const char *key;
		uint32_t value; /* 0: the key is missing */
		const char *says;
	} wrong[] = {
	        /* files of before April 2025 */
	        {"attention.key_length_mla", 0,
	                "deepseek2.attention.key_length_mla is missing: get a file that was made after April 2025, which "
	                "has attn_k_b and attn_v_b in place of attn_kv_b"},
	        {"attention.value_length_mla", 0, "get a file that was made after April 2025"},
	        {"attention.kv_lora_rank", 0, "deepseek2.attention.kv_lora_rank is missing"},
	        {"attention.key_length", 48,
	                "deepseek2.attention.key_length does not fit the latent and what is rotated"},
	        {"attention.key_length_mla", 8,
	                "deepseek2.attention.key_length does not fit the latent and what is rotated"},
	        {"vocab_size", 0, "deepseek2.vocab_size and tokenizer.ggml.tokens are missing"},
	};
	static const struct {
		const char *key;
		uint32_t value;
	} right[] = {{"block_count", 1}, {"embedding_length", 64}, {"attention.head_count", 4},
	        {"attention.head_count_kv", 1}, {"feed_forward_length", 96}, {"context_length", 128},
	        {"vocab_size", 64}, {"rope.dimension_count", 8}, {"attention.kv_lora_rank", 32},
	        {"attention.key_length", 40}, {"attention.value_length", 32},
	        {"attention.key_length_mla", 24}, {"attention.value_length_mla", 16}};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct ggufgen *gen = ggufgen_create();
		struct hparams hp;
		char key[64];
		ggufgen_string(gen, "general.architecture", "deepseek2");
		ggufgen_f32(gen, "deepseek2.attention.layer_norm_rms_epsilon", 1e-6f);
		for (size_t k = 0; k < sizeof right / sizeof *right; k++) {
			uint32_t value = strcmp(right[k].key, wrong[i].key) ? right[k].value : wrong[i].value;
			snprintf(key, sizeof key, "deepseek2.%s", right[k].key);
			if (value)
				ggufgen_u32(gen, key, value);
		}
		ck_assert_int_lt(hparams_gen(gen, &hp), 0);
		ck_assert_msg(strstr(err, wrong[i].says), "case %zu said: %s", i, err);
	}
}
END_TEST

START_TEST(keys_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small_model);
	struct hparams hp;
	refused_keys[_i].spoil(gen);
	ck_assert_int_lt(hparams_gen(gen, &hp), 0);
	ck_assert_msg(strstr(err, refused_keys[_i].says), "said: %s", err);
}
END_TEST

/* Numbers of a model of two layers, an array of each. */
static struct ggufgen *layered(const char *family, uint64_t count, const int32_t *heads, const int32_t *ffn) {
	struct ggufgen *gen = ggufgen_create();
	char key[64];
	uint8_t data[12 + 3 * 4] = {GGUF_I32};
	ggufgen_string(gen, "general.architecture", family);
	const char *const name[] = {"block_count", "embedding_length", "context_length"};
	for (int i = 0; i < 3; i++) {
		snprintf(key, sizeof key, "%s.%s", family, name[i]);
		ggufgen_u32(gen, key, (const uint32_t[]){2, 64, 128}[i]);
	}
	const char *const array[] = {"attention.head_count", "feed_forward_length"};
	for (int i = 0; i < 2; i++) {
		memcpy(data + 4, &count, 8);
		memcpy(data + 12, i ? ffn : heads, count * 4);
		snprintf(key, sizeof key, "%s.%s", family, array[i]);
		ggufgen_raw(gen, key, GGUF_ARRAY, data, 12 + count * 4);
	}
	return gen;
}

START_TEST(numbers_of_layers_are_refused) {
	static const struct {
		const char *family;
		uint64_t count;
		int32_t heads[3], ffn[3];
		const char *says;
	} wrong[] = {
	        {"llama", 2, {4, 0}, {96, 96},
	                "llama.attention.head_count is 0, which Caravan does not know"},
	        {"llama", 2, {4, 4}, {0, 96}, "llama.feed_forward_length is 0, which Caravan does not know"},
	        {"deci", 3, {4, 4, 4}, {96, 96, 96},
	                "deci.attention.head_count is not a number, nor one for each layer"},
	        {"deci", 1, {4}, {96}, "deci.attention.head_count is not a number, nor one for each layer"},
	        {"deci", 2, {4, -4}, {96, 96},
	                "deci.attention.head_count is not a valid number for each layer"},
	        {"deci", 2, {4, 0}, {96, 0},
	                "deci.vocab_size and tokenizer.ggml.tokens are missing"}, /* so far so good */
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct hparams hp;
		ck_assert_int_lt(
		        hparams_gen(
		                layered(wrong[i].family, wrong[i].count, wrong[i].heads, wrong[i].ffn), &hp),
		        0);
		ck_assert_msg(strstr(err, wrong[i].says), "said: %s", err);
	}
	/* a layer that only guesses further tokens may be in the arrays or not */
	for (uint64_t count = 1; count <= 3; count++) {
		struct ggufgen *gen =
		        layered("deci", count, (const int32_t[]){4, 4, 4}, (const int32_t[]){96, 96, 96});
		struct hparams hp;
		ggufgen_u32(gen, "deci.nextn_predict_layers", 1);
		ck_assert_int_lt(hparams_gen(gen, &hp), 0);
		ck_assert_msg(strstr(err, count < 3 ? "tokenizer.ggml.tokens are missing"
		                                    : "nor one for each layer"),
		        "said: %s", err);
	}
}
END_TEST

START_TEST(other_architectures_are_refused) {
	struct ggufgen *gen = ggufgen_create();
	struct hparams hp;
	ggufgen_string(gen, "general.architecture", "mamba");
	ck_assert_int_eq(hparams_gen(gen, &hp), -ENOTSUP);
	const char *start = "the architecture is mamba; Caravan runs llama, qwen2, ";
	ck_assert_msg(!strncmp(err, start, strlen(start)) && strstr(err, " and "), "said: %s", err);
	gen = ggufgen_create();
	ck_assert_int_eq(hparams_gen(gen, &hp), -EINVAL);
	ck_assert_str_eq(err, "general.architecture is missing");
	gen = ggufgen_create();
	ggufgen_string(gen, "general.architecture", "llama");
	ck_assert_int_eq(hparams_gen(gen, &hp), -EINVAL);
	ck_assert_str_eq(err, "llama.block_count is missing");
}
END_TEST

static void shape_heads(struct ggufgen_model *m) {
	m->kv_heads = 3;
}
static void shape_layers(struct ggufgen_model *m) {
	m->layers = 2000;
}
static void shape_nothing(struct ggufgen_model *m) {
	m->layers = 0;
}
static void shape_width(struct ggufgen_model *m) {
	m->heads = 3;
}

static const struct {
	void (*spoil)(struct ggufgen_model *m);
	const char *says;
} refused_shapes[] = {
        {shape_heads, "4 attention heads cannot share 3 key/value heads"},
        {shape_nothing, "the model's number of layers is 0 (1 to 1024 are allowed)"},
        {shape_layers, "the model's number of layers is 2000 (1 to 1024 are allowed)"},
        {shape_width, "llama.embedding_length (64) is not a multiple of llama.attention.head_count (3)"},
};

START_TEST(shapes_are_refused) {
	struct ggufgen_model m = small_model;
	struct ggufgen *gen = ggufgen_create();
	struct hparams hp;
	refused_shapes[_i].spoil(&m);
	ggufgen_model_keys(gen, &m);
	ck_assert_int_lt(hparams_gen(gen, &hp), 0);
	ck_assert_msg(strstr(err, refused_shapes[_i].says), "said: %s", err);
}
END_TEST

static void tensor_bias(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.ffn_up.bias", KERN_F32, 128, 0, GGUFGEN_WEIGHTS);
}
static void tensor_unknown(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.1.attn_q_norm.weight", KERN_F32, 16, 0, GGUFGEN_NORM);
}
static void tensor_layer(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.2.attn_q.weight", KERN_Q8_0, 64, 64, GGUFGEN_WEIGHTS);
}
static void tensor_zero(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.01.attn_q.weight", KERN_Q8_0, 64, 64, GGUFGEN_WEIGHTS);
}
static void tensor_experts(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.ffn_gate_exps.weight", KERN_Q8_0, 64, 64, GGUFGEN_WEIGHTS);
}
static void tensor_one_expert(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.ffn_down.7.weight", KERN_Q8_0, 64, 64, GGUFGEN_WEIGHTS);
}

static const struct {
	void (*spoil)(struct ggufgen *g);
	const char *says;
} refused_tensors[] = {
        {tensor_bias, "model: tensor blk.0.ffn_up.bias is a bias that Caravan does not compute"},
        {tensor_unknown, "model: Caravan does not know tensor blk.1.attn_q_norm.weight"},
        {tensor_layer, "model: tensor blk.2.attn_q.weight belongs to none of the layers: there are 2"},
        {tensor_zero, "model: Caravan does not know tensor blk.01.attn_q.weight"},
        {tensor_experts, "model: Caravan does not know tensor blk.0.ffn_gate_exps.weight"},
        {tensor_one_expert,
                "model: tensor blk.0.ffn_down.7.weight is one expert's: get a file that was made after March 2024, which has all in one"},
};

START_TEST(tensors_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small_model);
	refused_tensors[_i].spoil(gen);
	ck_assert_int_eq(import_gen(gen), -ENOTSUP);
	ck_assert_str_eq(err, refused_tensors[_i].says);
}
END_TEST

/* So many tokens, rows of the embedding and the head, and what the file says of it. */
static struct ggufgen *sized(uint32_t tokens, uint32_t rows, uint32_t stated) {
	struct ggufgen_model keys = small_model, tensors = small_model;
	struct ggufgen *gen = ggufgen_create();
	keys.vocab = stated;
	tensors.vocab = rows;
	ggufgen_model_keys(gen, &keys);
	ggufgen_vocab_keys(gen, tokens);
	ggufgen_model_tensors(gen, &tensors);
	return gen;
}

START_TEST(models_must_be_whole) {
	struct ggufgen_model m = small_model, other = small_model;
	/* keys of one model, tensors of another */
	struct ggufgen *gen = ggufgen_create();
	other.layers = 1;
	ggufgen_model_keys(gen, &m);
	ggufgen_vocab_keys(gen, m.vocab);
	ggufgen_model_tensors(gen, &other);
	ck_assert_int_eq(import_gen(gen), -EINVAL);
	ck_assert_str_eq(err, "model: tensor blk.1.attn_norm.weight is missing");
	gen = ggufgen_create();
	other = small_model;
	other.ffn = 32;
	ggufgen_model_keys(gen, &m);
	ggufgen_vocab_keys(gen, m.vocab);
	ggufgen_model_tensors(gen, &other);
	ck_assert_int_eq(import_gen(gen), -EINVAL);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate.weight has 32 rows of 64 elements where the model needs "
	        "96 rows of 64");
	/* a norm of a block type */
	m.norm = KERN_Q8_0;
	ck_assert_int_eq(import_gen(ggufgen_model(&m)), -ENOTSUP);
	ck_assert_str_eq(err,
	        "model: tensor output_norm.weight has type Q8_0; norms and biases of type F32, F16 and BF16 are supported");
	/* a vocabulary alone */
	gen = ggufgen_create();
	ggufgen_model_keys(gen, &small_model);
	ggufgen_vocab_keys(gen, 40);
	ck_assert_int_eq(import_gen(gen), -ENOTSUP);
	ck_assert_str_eq(
	        err, "model: it has no weights: a file with only a vocabulary is for caravan tokenize");
	/* more tokens than rows; rows beyond the tokens are padding */
	ck_assert_int_eq(import_gen(sized(41, 40, 40)), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor token_embd.weight has 40 rows, and tokenizer.ggml.tokens 41 tokens");
	ck_assert_int_eq(import_gen(sized(39, 40, 40)), 0);
	ck_assert_int_eq(import_gen(sized(39, 40, 39)), 0);
	ck_assert_int_eq(import_gen(sized(39, 40, 38)), -EINVAL);
	ck_assert_str_eq(err, "model: llama.vocab_size is 38, but tokenizer.ggml.tokens has 39");
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static Suite *suite(void) {
	Suite *s = suite_create("gguf_refused");
	TCase *t = tcase_create("files");
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, files_are_refused, 0, COUNT(refused_files));
	tcase_add_test(t, other_things_are_refused);
	tcase_add_test(t, truncated_files);
	tcase_add_test(t, mutated_files);
	suite_add_tcase(s, t);
	t = tcase_create("models");
	tcase_add_test(t, patterns_of_layers);
	tcase_add_loop_test(t, keys_are_refused, 0, COUNT(refused_keys));
	tcase_add_test(t, numbers_of_layers_are_refused);
	tcase_add_test(t, states_are_refused);
	tcase_add_test(t, latents_are_refused);
	tcase_add_test(t, other_architectures_are_refused);
	tcase_add_loop_test(t, shapes_are_refused, 0, COUNT(refused_shapes));
	tcase_add_loop_test(t, tensors_are_refused, 0, COUNT(refused_tensors));
	tcase_add_test(t, models_must_be_whole);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
