/* GGUF files and hyperparameters: what is read. */
#include "kernels/math.h"
#include "tests/support/ggufopen.h"
#include "tests/support/where.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(values_of_every_kind) {
	struct ggufgen *gen = ggufgen_create();
	struct gguf *g;
	struct gguf_string s;
	enum gguf_kind kind;
	int64_t i;
	uint64_t count;
	uint32_t u;
	float f;
	bool b;
	ggufgen_raw(gen, "u8", GGUF_U8, "\xff", 1);
	ggufgen_raw(gen, "i8", GGUF_I8, "\xff", 1);
	ggufgen_raw(gen, "u16", GGUF_U16, "\xff\xff", 2);
	ggufgen_raw(gen, "i16", GGUF_I16, "\xfe\xff", 2);
	ggufgen_u32(gen, "u32", 4000000000u);
	ggufgen_raw(gen, "i32", GGUF_I32, "\xff\xff\xff\xff", 4);
	ggufgen_raw(gen, "u64", GGUF_U64, "\0\0\0\0\1\0\0\0", 8);
	ggufgen_raw(gen, "u64max", GGUF_U64, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	ggufgen_raw(gen, "i64", GGUF_I64, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	ggufgen_f32(gen, "f32", 1.5f);
	ggufgen_raw(gen, "f64", GGUF_F64, "\0\0\0\0\0\0\x04\x40", 8);
	ggufgen_bool(gen, "yes", true);
	ggufgen_raw(gen, "odd", GGUF_BOOL, "\2", 1);
	ggufgen_string(gen, "text", "words");
	ggufgen_strings(gen, "texts", (const char *const[]){"a", "", "ccc"}, 3);
	ggufgen_raw(gen, "numbers", GGUF_ARRAY, "\3\0\0\0\2\0\0\0\0\0\0\0\xff\xff\7\0", 16);
	/* an array of two arrays: of one byte, and of one string */
	ggufgen_raw(gen, "nested", GGUF_ARRAY,
	        "\x09\0\0\0\2\0\0\0\0\0\0\0"
	        "\0\0\0\0\1\0\0\0\0\0\0\0"
	        "\5"
	        "\x08\0\0\0\1\0\0\0\0\0\0\0"
	        "\1\0\0\0\0\0\0\0x",
	        12 + 13 + 12 + 9);
	ggufgen_u32(gen, "last", 7);
	ck_assert_int_eq(open_gen(gen, &g), 0);
	ck_assert(gguf_i64(g, "u8", &i) == 0 && i == 255);
	ck_assert(gguf_i64(g, "i8", &i) == 0 && i == -1);
	ck_assert(gguf_i64(g, "u16", &i) == 0 && i == 65535);
	ck_assert(gguf_i64(g, "i16", &i) == 0 && i == -2);
	ck_assert(gguf_u32(g, "u32", &u) == 0 && u == 4000000000u);
	ck_assert(gguf_i64(g, "i32", &i) == 0 && i == -1);
	ck_assert_int_eq(gguf_u32(g, "i32", &u), -EINVAL);
	ck_assert(gguf_i64(g, "u64", &i) == 0 && i == (int64_t)1 << 32);
	ck_assert_int_eq(gguf_u32(g, "u64", &u), -EINVAL);
	ck_assert_int_eq(gguf_i64(g, "u64max", &i), -EINVAL);
	ck_assert(gguf_i64(g, "i64", &i) == 0 && i == -1);
	ck_assert(gguf_f32(g, "f32", &f) == 0 && f == 1.5f);
	ck_assert(gguf_f32(g, "f64", &f) == 0 && f == 2.5f);
	ck_assert_int_eq(gguf_f32(g, "u32", &f), -EINVAL);
	ck_assert(gguf_bool(g, "yes", &b) == 0 && b);
	ck_assert_int_eq(gguf_bool(g, "odd", &b), -EINVAL);
	ck_assert(gguf_string(g, "text", &s) == 0 && s.len == 5 && memcmp(s.s, "words", 5) == 0);
	ck_assert(gguf_array(g, "texts", &kind, &count) == 0 && kind == GGUF_STRING && count == 3);
	ck_assert(gguf_array_string(g, "texts", 2, &s) == 0 && s.len == 3 && memcmp(s.s, "ccc", 3) == 0);
	ck_assert(gguf_array_string(g, "texts", 1, &s) == 0 && s.len == 0);
	ck_assert_int_eq(gguf_array_string(g, "texts", 3, &s), -EINVAL);
	ck_assert_int_eq(gguf_array_i64(g, "texts", 0, &i), -EINVAL);
	ck_assert(gguf_array_i64(g, "numbers", 0, &i) == 0 && i == -1);
	ck_assert(gguf_array_i64(g, "numbers", 1, &i) == 0 && i == 7);
	ck_assert_int_eq(gguf_array_i64(g, "numbers", 2, &i), -EINVAL);
	ck_assert_int_eq(gguf_array(g, "nested", &kind, &count), -EINVAL);
	ck_assert(gguf_u32(g, "last", &u) == 0 && u == 7);
	ck_assert_int_eq(gguf_u32(g, "nothing", &u), -ENOENT);
	ck_assert_int_eq(gguf_string(g, "u8", &s), -EINVAL);
	ck_assert_uint_eq(gguf_keys(g), 18);
	ck_assert_uint_eq(gguf_tensors(g), 0);
	ck_assert_ptr_null(gguf_find(g, "x"));
	gguf_close(g);
}
END_TEST

START_TEST(tensors_are_found) {
	struct gguf *g;
	struct ggufgen *gen = ggufgen_model(&small_model);
	ggufgen_version(gen, 2);
	ck_assert_int_eq(open_gen(gen, &g), 0);
	ck_assert_uint_eq(gguf_tensors(g), 3 + 2 * 9);
	const struct gguf_tensor *t = gguf_find(g, "blk.1.ffn_down.weight");
	ck_assert_ptr_nonnull(t);
	ck_assert(t->n == 96 && t->rows == 64 && t->dims == 2 && t->type == KERN_Q8_0 &&
	          t->bytes == 64 * 3 * 34);
	t = gguf_find(g, "output_norm.weight");
	ck_assert(t && t->n == 64 && t->rows == 1 && t->dims == 1 && t->bytes == 256);
	ck_assert_ptr_null(gguf_find(g, "blk.2.ffn_down.weight"));
	ck_assert_ptr_null(gguf_find(g, "output_norm.weigh"));
	gguf_close(g);
}
END_TEST

START_TEST(aliases_share_bytes) {
	struct ggufgen_model m = small_model;
	struct gguf *g;
	m.layers = 4;
	m.distinct = 2;
	ck_assert_int_eq(open_gen(ggufgen_model(&m), &g), 0);
	ck_assert_uint_eq(gguf_find(g, "blk.3.attn_q.weight")->at, gguf_find(g, "blk.1.attn_q.weight")->at);
	ck_assert_uint_ne(gguf_find(g, "blk.0.attn_q.weight")->at, gguf_find(g, "blk.1.attn_q.weight")->at);
	gguf_close(g);
}
END_TEST

/* What llama.cpp makes of Llama 2 70B as Q4_K_M, layer by layer. */
START_TEST(a_mixture_is_that_of_q4_k_m) {
	struct ggufgen_model m = {.type = KERN_Q4_K,
	        .mixture = true,
	        .head = KERN_Q6_K,
	        .dim = 2048,
	        .layers = 80,
	        .heads = 8,
	        .kv_heads = 1,
	        .ffn = 256,
	        .vocab = 260,
	        .distinct = 2};
	static const struct {
		uint32_t layer;
		bool more;
	} some[] = {{0, true}, {9, true}, {10, false}, {11, false}, {12, true}, {13, false}, {15, true},
	        {69, true}, {68, false}, {70, true}, {79, true}};
	struct gguf *g;
	char name[64];
	unsigned more = 0;
	ck_assert_int_eq(open_gen(ggufgen_model(&m), &g), 0);
	for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
		snprintf(name, sizeof name, "blk.%u.ffn_down.weight", some[i].layer);
		ck_assert_int_eq(gguf_find(g, name)->type, some[i].more ? KERN_Q6_K : KERN_Q4_K);
		snprintf(name, sizeof name, "blk.%u.attn_v.weight", some[i].layer);
		ck_assert_int_eq(gguf_find(g, name)->type, some[i].more ? KERN_Q6_K : KERN_Q5_K);
		snprintf(name, sizeof name, "blk.%u.ffn_up.weight", some[i].layer);
		ck_assert_int_eq(gguf_find(g, name)->type, KERN_Q4_K);
	}
	for (uint32_t l = 0; l < 80; l++) {
		snprintf(name, sizeof name, "blk.%u.ffn_down.weight", l);
		more += gguf_find(g, name)->type == KERN_Q6_K;
	}
	ck_assert_uint_eq(more, 40);
	/* the first two of a type are written, the others lie on them in turn */
	ck_assert_uint_eq(
	        gguf_find(g, "blk.10.ffn_down.weight")->at, gguf_find(g, "blk.13.ffn_down.weight")->at);
	ck_assert_uint_ne(
	        gguf_find(g, "blk.10.ffn_down.weight")->at, gguf_find(g, "blk.11.ffn_down.weight")->at);
	ck_assert_uint_eq(
	        gguf_find(g, "blk.12.ffn_down.weight")->at, gguf_find(g, "blk.0.ffn_down.weight")->at);
	gguf_close(g);
}
END_TEST

/* A model in three parts: all keys in the first, as gguf-split writes them. */
static void write_part_of(
        const char *path, uint32_t no, uint32_t count, uint32_t claimed, const char *tensor) {
	struct ggufgen *gen = ggufgen_create();
	if (no == 0) {
		ggufgen_string(gen, "general.architecture", "llama");
		ggufgen_u32(gen, "split.tensors.count", claimed);
	}
	ggufgen_u32(gen, "split.no", no);
	ggufgen_u32(gen, "split.count", count);
	ggufgen_tensor(gen, tensor, KERN_F32, 8 + no, 1, GGUFGEN_WEIGHTS);
	ggufgen_write_path(gen, path);
	ggufgen_destroy(gen);
}

static void write_part(const char *path, uint32_t no, uint32_t claimed, const char *tensor) {
	write_part_of(path, no, 3, claimed, tensor);
}

START_TEST(split_files) {
	char dir[] = "/tmp/check_gguf.XXXXXX", path[3][64];
	static const char *const tensor[] = {"a", "b", "c"};
	struct gguf *g = NULL;
	char **parts;
	size_t count;
	int fd[3];
	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (uint32_t i = 0; i < 3; i++) {
		snprintf(path[i], sizeof path[i], "%s/m-%05u-of-00003.gguf", dir, i + 1);
		write_part(path[i], i, 3, tensor[i]);
	}
	/* any part names them all */
	ck_assert_int_eq(gguf_parts(path[1], &parts, &count, err, sizeof err), 0);
	ck_assert_uint_eq(count, 3);
	for (size_t i = 0; i < count; i++) {
		ck_assert_str_eq(parts[i], path[i]);
		free(parts[i]);
	}
	free(parts);
	ck_assert_int_eq(gguf_open_path(&g, path[2], err, sizeof err), 0);
	ck_assert_uint_eq(gguf_tensors(g), 3);
	ck_assert_uint_eq(gguf_find(g, "c")->n, 10);
	ck_assert_uint_eq(gguf_keys(g), 4);
	gguf_close(g);
	/* descriptors in any order */
	for (int i = 0; i < 3; i++)
		fd[i] = open(path[(i + 2) % 3], O_RDONLY);
	ck_assert_int_eq(gguf_open(&g, fd, 3, "m", err, sizeof err), 0);
	ck_assert_uint_eq(gguf_find(g, "b")->n, 9);
	gguf_close(g);
	ck_assert_int_eq(gguf_open(&g, fd, 2, "m", err, sizeof err), -ENOENT);
	ck_assert_str_eq(err, "m: part 2 of 3 is missing");
	close(fd[2]);
	fd[2] = fd[0];
	ck_assert_int_eq(gguf_open(&g, fd, 3, "m", err, sizeof err), -EINVAL);
	ck_assert_str_eq(err, "m: part 3 of 3 was given twice");
	close(fd[0]);
	close(fd[1]);
	/* the part that is another one, is of another file, or is cut off is named, whichever of them was given */
	for (uint32_t i = 0; i < 3; i++) {
		char want[300];
		write_part(path[1], 0, 3, "a");
		ck_assert_int_eq(gguf_open_path(&g, path[i], err, sizeof err), -EINVAL);
		snprintf(want, sizeof want,
		        "%s: says that it is part 1 of 3, and %s part 1 of 3: they do not belong together",
		        path[1], path[0]);
		ck_assert_str_eq(err, want);
		write_part_of(path[1], 1, 2, 3, "b");
		ck_assert_int_eq(gguf_open_path(&g, path[i], err, sizeof err), -EINVAL);
		snprintf(want, sizeof want, "%s: says that it is part 2 of 2, and %s part 1 of 3", path[1],
		        path[0]);
		ck_assert_msg(strncmp(err, want, strlen(want)) == 0, "said: %s", err);
		write_part(path[1], 1, 3, "b");
		ck_assert_int_eq(truncate(path[1], 60), 0);
		ck_assert_int_eq(gguf_open_path(&g, path[i], err, sizeof err), -EINVAL);
		snprintf(want, sizeof want, "%s: the file ends within ", path[1]);
		ck_assert_msg(
		        strncmp(err, want, strlen(want)) == 0 && strstr(err, "is the download complete?"),
		        "said: %s", err);
		write_part(path[1], 1, 3, "b");
	}
	/* the same tensor in two parts; a count that does not fit; a missing part */
	write_part(path[1], 1, 3, "a");
	ck_assert_int_eq(gguf_open_path(&g, path[0], err, sizeof err), -EINVAL);
	ck_assert_msg(
	        strstr(err, "tensor a occurs twice") && (strncmp(err, path[0], strlen(path[0])) == 0 ||
	                                                        strncmp(err, path[1], strlen(path[1])) == 0),
	        "said: %s", err);
	write_part(path[1], 1, 3, "b");
	write_part(path[0], 0, 4, "a");
	ck_assert_int_eq(gguf_open_path(&g, path[0], err, sizeof err), -EINVAL);
	ck_assert_msg(strstr(err, "the parts have 3 tensors, the first one says 4"), "said: %s", err);
	unlink(path[1]);
	ck_assert_int_eq(gguf_open_path(&g, path[0], err, sizeof err), -ENOENT);
	ck_assert_msg(
	        strstr(err, "part 2 of 3 is missing: there is no") && strstr(err, path[1]), "said: %s", err);
	unlink(path[0]);
	unlink(path[2]);
	rmdir(dir);
}
END_TEST

START_TEST(shape_of_a_model) {
	struct hparams hp;
	ck_assert_int_eq(hparams_gen(ggufgen_model(&small_model), &hp), 0);
	ck_assert(hp.layers == 2 && hp.dim == 64 && hp.heads == 4 && hp.kv_heads == 2 && hp.head_size == 16 &&
	          hp.ffn == 96 && hp.vocab == 40 && hp.context == 128 && hp.pairs == 8 && hp.eps == 1e-5f);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert(hp.freq[i] == (float)kern_pow(10000.0, -2.0 * i / 16));
	ck_assert(hp.freq[0] == 1.0f && hp.freq[8] == 0.0f);
}
END_TEST

START_TEST(shape_with_head_size_and_factors) {
	struct ggufgen_model m = small_model;
	struct hparams hp;
	struct gguf *g;
	m.head_size = 32;
	m.factors = true;
	m.freq_base = 500000.0f;
	struct ggufgen *gen = ggufgen_model(&m);
	ggufgen_f32(gen, "llama.rope.scaling.factor", 2.0f);
	ggufgen_u32(gen, "llama.attention.sliding_window", 100);
	ck_assert_int_eq(open_gen(gen, &g), 0);
	ck_assert_int_eq(hparams_from_gguf(&hp, g, 0, err, sizeof err), 0);
	ck_assert(hp.head_size == 32 && hp.pairs == 16 && hp.context == 100);
	float factor[16];
	ck_assert_int_eq(gguf_read(gguf_find(g, "rope_freqs.weight"), 0, factor, sizeof factor), 0);
	for (uint32_t i = 0; i < 16; i++)
		ck_assert(hp.freq[i] == (float)(kern_pow(500000.0, -2.0 * i / 32) / (double)factor[i] / 2.0));
	gguf_close(g);
}
END_TEST

START_TEST(shape_with_old_scaling) {
	struct ggufgen *gen = ggufgen_model(&small_model);
	struct hparams hp;
	ggufgen_f32(gen, "llama.rope.scale_linear", 4.0f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.freq[0] == 0.25f);
	gen = ggufgen_model(&small_model);
	ggufgen_string(gen, "llama.rope.scaling.type", "none");
	ggufgen_f32(gen, "llama.rope.scaling.factor", 4.0f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.freq[0] == 1.0f);
}
END_TEST

/* A model of 128 tokens, stretched from 32, with RoPE's factors for texts within those and beyond. */
static struct ggufgen *longrope_model(void) {
	struct ggufgen *gen = ggufgen_model(&small_model);
	float brief[8], lengthy[8];
	for (int i = 0; i < 8; i++) {
		brief[i] = 1 + 0.125f * (float)i;
		lengthy[i] = 2 + (float)i;
	}
	ggufgen_string(gen, "llama.rope.scaling.type", "longrope");
	ggufgen_u32(gen, "llama.rope.scaling.original_context_length", 32);
	ggufgen_floats(gen, "rope_factors_short.weight", 8, 0, brief);
	ggufgen_floats(gen, "rope_factors_long.weight", 8, 0, lengthy);
	return gen;
}

START_TEST(shape_with_two_tables) {
	/* the context that it is to serve, whether it has the long table, its context */
	static const struct {
		uint32_t asked, context;
		bool lengthy;
	} as[] = {{0, 128, true}, {33, 128, true}, {128, 128, true}, {1000, 128, true}, {32, 32, false},
	        {1, 32, false}};
	float size = (float)sqrt(1 + kern_log(4) / kern_log(32));
	struct gguf *g;
	ck_assert_int_eq(open_gen(longrope_model(), &g), 0);
	for (size_t i = 0; i < sizeof as / sizeof *as; i++) {
		struct hparams hp;
		ck_assert_int_eq(hparams_from_gguf(&hp, g, as[i].asked, err, sizeof err), 0);
		ck_assert_uint_eq(hp.context, as[i].context);
		ck_assert(hp.rope_magnitude == size);
		for (int k = 0; k < 8; k++) {
			double factor = as[i].lengthy ? 2 + k : 1 + 0.125 * k;
			ck_assert(hp.freq[k] == (float)(kern_pow(10000.0, -2.0 * k / 16) / factor));
		}
	}
	gguf_close(g);
	/* the file's own magnitude; with any scaling */
	struct hparams hp;
	struct ggufgen *gen = longrope_model();
	ggufgen_f32(gen, "llama.rope.scaling.attn_factor", 1.5f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.rope_magnitude == 1.5f);
	gen = ggufgen_model(&small_model);
	ggufgen_f32(gen, "llama.rope.scaling.attn_factor", 1.5f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.rope_magnitude == 1.5f);
	/* within the original context: the short table, and no magnitude of its own */
	struct ggufgen_model m = small_model;
	m.context = 32;
	gen = ggufgen_model(&m);
	ggufgen_u32(gen, "llama.rope.scaling.original_context_length", 32);
	ggufgen_floats(gen, "rope_factors_short.weight", 8, 0, (const float[]){1, 1, 2, 2, 2, 2, 2, 2});
	ggufgen_floats(gen, "rope_factors_long.weight", 8, 0, (const float[]){4, 4, 4, 4, 4, 4, 4, 4});
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.rope_magnitude == 0 && hp.freq[0] == 1 && hp.context == 32);
}
END_TEST

/* Keys of a Gemma 3 of so many layers. */
static struct ggufgen *gemma(uint32_t layers) {
	static const struct {
		const char *key;
		uint32_t v;
	} numbers[] = {{"embedding_length", 64}, {"attention.head_count", 4}, {"attention.key_length", 8},
	        {"attention.value_length", 8}, {"feed_forward_length", 96}, {"context_length", 1000},
	        {"attention.sliding_window", 100}, {"vocab_size", 40}};
	struct ggufgen *g = ggufgen_create();
	char key[64];
	ggufgen_string(g, "general.architecture", "gemma3");
	ggufgen_u32(g, "gemma3.block_count", layers);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		snprintf(key, sizeof key, "gemma3.%s", numbers[i].key);
		ggufgen_u32(g, key, numbers[i].v);
	}
	ggufgen_f32(g, "gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
	ggufgen_f32(g, "gemma3.rope.freq_base", 1000000.0f);
	ggufgen_f32(g, "gemma3.rope.scaling.factor", 8.0f);
	return g;
}

START_TEST(shape_with_windows) {
	struct hparams hp;
	float freq[4];
	ck_assert_msg(hparams_gen(gemma(34), &hp) == 0, "%s", err);
	ck_assert(hp.context == 1000 && hp.window == 100 && hp.full_every == 6 && hp.window_base == 10000.0f);
	ck_assert(hp.embed_scale == 8 && hp.attention_scale == 0 && hp.glu == KERN_GEGLU && hp.halves);
	for (uint32_t l = 0; l < 34; l++)
		ck_assert_int_eq(hparams_has_window(&hp, l), l % 6 != 5);
	hparams_window_freq(&hp, freq);
	for (uint32_t i = 0; i < 4; i++) {
		ck_assert(freq[i] == (float)kern_pow(10000.0, -2.0 * i / 8));
		ck_assert(hp.freq[i] == (float)(kern_pow(1000000.0, -2.0 * i / 8) / 8));
	}
	/* 27B divides by the root of width / heads */
	ck_assert_int_eq(hparams_gen(gemma(62), &hp), 0);
	ck_assert(hp.attention_scale == 0.25f);
	struct ggufgen *g = gemma(34);
	ggufgen_u32(g, "gemma3.attention.sliding_window_pattern", 2);
	ggufgen_f32(g, "gemma3.rope.freq_base_swa", 500.0f);
	ck_assert_int_eq(hparams_gen(g, &hp), 0);
	ck_assert(hp.full_every == 2 && hp.window_base == 500.0f);
	ck_assert(hparams_has_window(&hp, 0) && !hparams_has_window(&hp, 1));
	/* which layers have one may be an array: the last of every three has none; all have one; none has */
	static const struct {
		const char *pattern;
		bool numbers;
		uint32_t every;
	} said[] = {
	        {"TTFTTFTT", false, 3}, {"TTFTTFTT", true, 3}, {"TTTTTTTT", false, 0}, {"FFFFFFFF", true, 1}};
	for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
		g = gemma(8);
		ggufgen_truths(
		        g, "gemma3.attention.sliding_window_pattern", said[i].pattern, said[i].numbers);
		ck_assert_msg(hparams_gen(g, &hp) == 0, "%s", err);
		ck_assert_uint_eq(hp.full_every, said[i].every);
		for (uint32_t l = 0; l < 8; l++)
			ck_assert_int_eq(hparams_has_window(&hp, l), said[i].pattern[l] == 'T');
	}
	g = gemma(34);
	ggufgen_f32(g, "gemma3.final_logit_softcapping", 30.0f);
	ck_assert_int_lt(hparams_gen(g, &hp), 0);
	ck_assert_msg(strstr(err, "gemma3.final_logit_softcapping is 30"), "said: %s", err);
}
END_TEST

/* Keys of latent attention with experts, and YaRN as the files of DeepSeek V3 have it. */
static struct ggufgen *latents(void) {
	static const struct {
		const char *key;
		uint32_t v;
	} numbers[] = {{"block_count", 2}, {"embedding_length", 64}, {"attention.head_count", 4},
	        {"attention.head_count_kv", 1}, {"feed_forward_length", 96}, {"context_length", 1000},
	        {"vocab_size", 40}, {"rope.dimension_count", 8}, {"attention.q_lora_rank", 16},
	        {"attention.kv_lora_rank", 32}, {"attention.key_length", 40}, {"attention.value_length", 32},
	        {"attention.key_length_mla", 24}, {"attention.value_length_mla", 16}, {"expert_count", 4},
	        {"expert_used_count", 2}, {"expert_feed_forward_length", 32}, {"expert_shared_count", 2},
	        {"rope.scaling.original_context_length", 4096}};
	struct ggufgen *g = ggufgen_create();
	char key[64];
	ggufgen_string(g, "general.architecture", "deepseek2");
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		snprintf(key, sizeof key, "deepseek2.%s", numbers[i].key);
		ggufgen_u32(g, key, numbers[i].v);
	}
	ggufgen_f32(g, "deepseek2.attention.layer_norm_rms_epsilon", 1e-6f);
	ggufgen_f32(g, "deepseek2.rope.freq_base", 10000.0f);
	ggufgen_string(g, "deepseek2.rope.scaling.type", "yarn");
	ggufgen_f32(g, "deepseek2.rope.scaling.factor", 40.0f);
	ggufgen_f32(g, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
	return g;
}

START_TEST(shape_with_latents) {
	static const double kept[4] = {1, 1, 0.5, 0}; /* of each pair's frequency; the rest is divided */
	double grown = 0.1 * log(40) + 1;
	struct hparams hp;
	ck_assert_msg(hparams_gen(latents(), &hp) == 0, "%s", err);
	ck_assert(hp.latent == 32 && hp.query_rank == 16 && hp.query_head == 24 && hp.value_head == 16);
	ck_assert(hp.heads == 4 && hp.kv_heads == 1 && hp.head_size == 40 && hp.pairs == 4);
	ck_assert(hp.experts == 4 && hp.shared_ffn == 64 && hp.router == ROUTER_ALL);
	ck_assert(hp.rope_magnitude == 0);
	ck_assert(fabs((double)hp.attention_scale - grown * grown / sqrt(24)) < 1e-6);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert(hp.freq[i] ==
		          (float)(kern_pow(10000.0, -2.0 * i / 8) * (kept[i] + (1 - kept[i]) / 40)));
}
END_TEST

/* Early files of GLM 4.7 Flash do not say by what they choose: a bias of the choice says it. */
START_TEST(router_of_latents) {
	static const struct {
		bool bias, norm;
		uint32_t says; /* 0: nothing */
		enum hparams_router router;
	} rows[] = {{false, false, 0, ROUTER_ALL}, {false, true, 0, ROUTER_CHOSEN},
	        {true, true, 0, ROUTER_SIGMOID}, {true, false, 0, ROUTER_SIGMOID_ONLY},
	        {true, true, 1, ROUTER_CHOSEN}, {false, true, 2, ROUTER_SIGMOID}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct ggufgen *g = latents();
		struct hparams hp;
		ggufgen_bool(g, "deepseek2.expert_weights_norm", rows[i].norm);
		if (rows[i].says)
			ggufgen_u32(g, "deepseek2.expert_gating_func", rows[i].says);
		if (rows[i].bias)
			ggufgen_floats(g, "blk.1.exp_probs_b.bias", 4, 0, (const float[]){1, 2, 3, 4});
		ck_assert_msg(hparams_gen(g, &hp) == 0, "%s", err);
		ck_assert_msg(hp.router == rows[i].router, "case %zu: %d", i, (int)hp.router);
	}
}
END_TEST

START_TEST(harmless_tensors_are_taken) {
	struct ggufgen_model m = small_model;
	m.factors = true;
	m.tied = true;
	struct ggufgen *gen = ggufgen_model(&m);
	ggufgen_tensor(gen, "blk.0.attn_rot_embd.weight", KERN_F32, 8, 0, GGUFGEN_ONES);
	ck_assert_msg(import_gen(gen) == 0, "said: %s", err);
}
END_TEST

START_TEST(foreign_files_open) {
	static const struct {
		const char *path;
		uint32_t layers, dim, heads, kv_heads, vocab;
		size_t tensors;
	} file[] = {
	        {"models/stories260K.gguf", 5, 64, 8, 4, 512, 48},
	        {"vectors/Q4_K_S.gguf", 2, 256, 4, 2, 1024, 21},
	        {"vectors/IQ4_NL.gguf", 2, 256, 4, 2, 1024, 21},
	        {"vocab/llama-bpe.gguf", 32, 4096, 32, 8, 128256, 0},
	        {"vocab/llama-spm.gguf", 32, 4096, 32, 32, 32000, 0},
	};
	for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
		char at[512];
		const char *path = shared_or_skip(at, file[i].path);
		struct gguf *g;
		struct hparams hp;
		if (!path)
			continue;
		ck_assert_msg(gguf_open_path(&g, path, err, sizeof err) == 0, "%s", err);
		ck_assert_uint_eq(gguf_tensors(g), file[i].tensors);
		ck_assert_msg(hparams_from_gguf(&hp, g, 0, err, sizeof err) == 0, "%s", err);
		ck_assert(hp.layers == file[i].layers && hp.dim == file[i].dim && hp.heads == file[i].heads &&
		          hp.kv_heads == file[i].kv_heads && hp.vocab == file[i].vocab);
		gguf_close(g);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("gguf");
	TCase *t = tcase_create("files");
	tcase_add_test(t, values_of_every_kind);
	tcase_add_test(t, tensors_are_found);
	tcase_add_test(t, aliases_share_bytes);
	tcase_add_test(t, a_mixture_is_that_of_q4_k_m);
	tcase_add_test(t, split_files);
	suite_add_tcase(s, t);
	t = tcase_create("models");
	tcase_add_test(t, shape_of_a_model);
	tcase_add_test(t, shape_with_head_size_and_factors);
	tcase_add_test(t, shape_with_old_scaling);
	tcase_add_test(t, shape_with_two_tables);
	tcase_add_test(t, shape_with_windows);
	tcase_add_test(t, shape_with_latents);
	tcase_add_test(t, router_of_latents);
	tcase_add_test(t, harmless_tensors_are_taken);
	tcase_add_test(t, foreign_files_open);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
