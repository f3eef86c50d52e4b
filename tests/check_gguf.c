/* GGUF files and hyperparameters: what is read, and what is refused with which words. */
#include "kernels/math.h"
#include "shard/gguf.h"
#include "shard/hparams.h"
#include "shard/import.h"
#include "tests/ggufgen.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ggufgen_model small = {.type = KERN_Q8_0,
        .head = KERN_Q8_0,
        .dim = 64,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .ffn = 96,
        .vocab = 40,
        .context = 128,
        .seed = 3};

static char err[256];

/* Opens what a generator holds, and destroys it. */
static int open_gen(struct ggufgen *gen, struct gguf **out) {
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	err[0] = '\0';
	int rc = gguf_open(out, &fd, 1, "model", err, sizeof err);
	close(fd);
	free(data);
	ggufgen_destroy(gen);
	return rc;
}

static int hparams_gen(struct ggufgen *gen, struct hparams *hp) {
	struct gguf *g;
	ck_assert_int_eq(open_gen(gen, &g), 0);
	int rc = hparams_from_gguf(hp, g, err, sizeof err);
	gguf_close(g);
	return rc;
}

static int import_gen(struct ggufgen *gen) {
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	struct import *im = NULL;
	err[0] = '\0';
	int rc = import_open(&im, &fd, 1, "model", NULL, NULL, NULL, err, sizeof err);
	import_close(im);
	close(fd);
	free(data);
	ggufgen_destroy(gen);
	return rc;
}

static const char *shared(const char *sub) {
	static char path[PATH_MAX];
	const char *dir = getenv("CARAVAN_SHARED"), *src = getenv("top_srcdir");
	if (dir)
		snprintf(path, sizeof path, "%s/%s", dir, sub);
	else
		snprintf(path, sizeof path, "%s/../shared/%s", src ? src : ".", sub);
	if (access(path, R_OK) == 0)
		return path;
	printf("# skipped: there is no %s\n", path);
	return NULL;
}

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
	struct ggufgen *gen = ggufgen_model(&small);
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
	struct ggufgen_model m = small;
	struct gguf *g;
	m.layers = 4;
	m.distinct = 2;
	ck_assert_int_eq(open_gen(ggufgen_model(&m), &g), 0);
	ck_assert_ptr_eq(
	        gguf_find(g, "blk.3.attn_q.weight")->data, gguf_find(g, "blk.1.attn_q.weight")->data);
	ck_assert_ptr_ne(
	        gguf_find(g, "blk.0.attn_q.weight")->data, gguf_find(g, "blk.1.attn_q.weight")->data);
	gguf_close(g);
}
END_TEST

/* A refusal: how to spoil a model, and what is said. */
static void add_unknown_type(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.attn_q.weight.2", KERN_F32, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_break_type(g, 19);
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
	uint8_t deep[12 * 6] = {0};
	for (int i = 0; i < 6; i++) {
		deep[12 * i] = GGUF_ARRAY;
		deep[12 * i + 4] = i < 5;
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
                "model: tensor blk.0.attn_q.weight.2 has type 19 (IQ1_S), which Caravan does not know"},
        {add_unnamed_type, -ENOTSUP, "tensor odd has type 4000 (unknown)"},
        {add_beyond, -EINVAL, "tensor far lies beyond the end of the file"},
        {add_far_beyond, -EINVAL, "tensor far lies beyond the end of the file"},
        {add_unaligned, -EINVAL, "tensor odd is not aligned to 32 bytes"},
        {add_width, -EINVAL, "tensor odd has rows of 33 elements, no multiple of Q4_0's 32"},
        {add_tensor_twice, -EINVAL, "tensor output_norm.weight stands in it twice"},
        {add_key_twice, -EINVAL, "the key llama.block_count stands in it twice"},
        {add_alignment, -EINVAL, "general.alignment is not a power of two"},
        {add_alignment_0, -EINVAL, "general.alignment is not a power of two"},
        {add_kind, -EINVAL, "the key odd has the unknown kind 13"},
        {add_long_string, -EINVAL, "a string of 9151314442816847872 bytes in the key odd"},
        {add_long_array, -EINVAL, "the file ends within the key odd"},
        {add_deep_array, -EINVAL, "the key odd has arrays nested more than 4 deep"},
        {add_empty_dimension, -EINVAL, "tensor empty has an impossible shape"},
        {set_version, -ENOTSUP, "GGUF version 4 (2 and 3 are known)"},
        {set_big_endian, -ENOTSUP, "a GGUF file for big-endian processors"},
        {add_split_nonsense, -EINVAL, "split.no and split.count make no sense"},
        {add_split, -ENOENT, "part 2 of 3 is missing"},
};

START_TEST(files_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small);
	struct gguf *g = NULL;
	refused_files[_i].spoil(gen);
	ck_assert_int_eq(open_gen(gen, &g), refused_files[_i].rc);
	ck_assert_msg(strstr(err, refused_files[_i].says), "said: %s", err);
}
END_TEST

START_TEST(other_things_are_refused) {
	struct gguf *g = NULL;
	int fd = ggufgen_fd("PK\3\4, a different thing altogether", 34);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "zip", err, sizeof err), -EINVAL);
	ck_assert_str_eq(err, "zip: not a GGUF file");
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

/* Every prefix fails or opens, and nothing is read beyond it (the sanitizers watch). */
START_TEST(truncated_files) {
	struct ggufgen_model m = {.type = KERN_Q4_0,
	        .head = KERN_Q4_0,
	        .dim = 32,
	        .layers = 1,
	        .heads = 1,
	        .ffn = 32,
	        .vocab = 6};
	struct ggufgen *gen = ggufgen_model(&m);
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
	struct ggufgen_model m = {.type = KERN_Q4_0,
	        .head = KERN_Q4_0,
	        .dim = 32,
	        .layers = 1,
	        .heads = 1,
	        .ffn = 32,
	        .vocab = 6};
	struct ggufgen *gen = ggufgen_model(&m);
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
		int rc = import_open(&im, &fd, 1, "mutant", NULL, NULL, NULL, err, sizeof err);
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

/* A model in three parts: all keys in the first, as gguf-split writes them. */
static void write_part(const char *path, uint32_t no, uint32_t claimed, const char *tensor) {
	struct ggufgen *gen = ggufgen_create();
	if (no == 0) {
		ggufgen_string(gen, "general.architecture", "llama");
		ggufgen_u32(gen, "split.tensors.count", claimed);
	}
	ggufgen_u32(gen, "split.no", no);
	ggufgen_u32(gen, "split.count", 3);
	ggufgen_tensor(gen, tensor, KERN_F32, 8 + no, 1, GGUFGEN_WEIGHTS);
	ggufgen_write_path(gen, path);
	ggufgen_destroy(gen);
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
	/* the same tensor in two parts; a count that does not fit; a missing part */
	write_part(path[1], 1, 3, "a");
	ck_assert_int_eq(gguf_open_path(&g, path[0], err, sizeof err), -EINVAL);
	ck_assert_msg(strstr(err, "tensor a stands in it twice"), "said: %s", err);
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
	ck_assert_int_eq(hparams_gen(ggufgen_model(&small), &hp), 0);
	ck_assert(hp.layers == 2 && hp.dim == 64 && hp.heads == 4 && hp.kv_heads == 2 && hp.head_size == 16 &&
	          hp.ffn == 96 && hp.vocab == 40 && hp.context == 128 && hp.pairs == 8 && hp.eps == 1e-5f);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert(hp.freq[i] == (float)kern_pow(10000.0, -2.0 * i / 16));
	ck_assert(hp.freq[0] == 1.0f && hp.freq[8] == 0.0f);
}
END_TEST

START_TEST(shape_with_head_size_and_factors) {
	struct ggufgen_model m = small;
	struct hparams hp;
	struct gguf *g;
	m.head_size = 32;
	m.factors = true;
	m.freq_base = 500000.0f;
	struct ggufgen *gen = ggufgen_model(&m);
	ggufgen_f32(gen, "llama.rope.scaling.factor", 2.0f);
	ggufgen_u32(gen, "llama.attention.sliding_window", 100);
	ck_assert_int_eq(open_gen(gen, &g), 0);
	ck_assert_int_eq(hparams_from_gguf(&hp, g, err, sizeof err), 0);
	ck_assert(hp.head_size == 32 && hp.pairs == 16 && hp.context == 100);
	const float *factor = (const float *)(const void *)gguf_find(g, "rope_freqs.weight")->data;
	for (uint32_t i = 0; i < 16; i++)
		ck_assert(hp.freq[i] == (float)(kern_pow(500000.0, -2.0 * i / 32) / (double)factor[i] / 2.0));
	gguf_close(g);
}
END_TEST

START_TEST(shape_with_old_scaling) {
	struct ggufgen *gen = ggufgen_model(&small);
	struct hparams hp;
	ggufgen_f32(gen, "llama.rope.scale_linear", 4.0f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.freq[0] == 0.25f);
	gen = ggufgen_model(&small);
	ggufgen_string(gen, "llama.rope.scaling.type", "none");
	ggufgen_f32(gen, "llama.rope.scaling.factor", 4.0f);
	ck_assert_int_eq(hparams_gen(gen, &hp), 0);
	ck_assert(hp.freq[0] == 1.0f);
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

static const struct {
	void (*spoil)(struct ggufgen *g);
	const char *says;
} refused_keys[] = {
        {add_experts, "llama.expert_count is 8: mixtures of experts"},
        {add_yarn, "llama.rope.scaling.type is yarn"},
        {add_longrope, "llama.rope.scaling.type is longrope"},
        {add_not_causal, "llama.attention.causal is false"},
        {add_logit_scale, "llama.logit_scale is 0.5"},
        {add_attention_scale, "llama.attention.scale is 0.5"},
        {add_clamp, "llama.attention.clamp_kqv is 8"},
        {add_unknown_key, "the key llama.interleaving is one that Caravan does not know"},
        {add_value_length, "llama.attention.value_length (8) differs from the keys' (16)"},
        {add_unlike_layers, "llama.attention.key_length differs between layers (16 and 8)"},
        {add_negative_scale, "llama.rope.scaling.factor is negative"},
        {add_parallel, "llama.use_parallel_residual is true"},
        {add_window_text, "llama.attention.sliding_window is not a number"},
};

START_TEST(keys_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small);
	struct hparams hp;
	refused_keys[_i].spoil(gen);
	ck_assert_int_lt(hparams_gen(gen, &hp), 0);
	ck_assert_msg(strstr(err, refused_keys[_i].says), "said: %s", err);
}
END_TEST

START_TEST(other_architectures_are_refused) {
	struct ggufgen *gen = ggufgen_create();
	struct hparams hp;
	ggufgen_string(gen, "general.architecture", "qwen2");
	ck_assert_int_eq(hparams_gen(gen, &hp), -ENOTSUP);
	ck_assert_str_eq(err, "the architecture is qwen2; Caravan runs llama");
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
static void shape_width(struct ggufgen_model *m) {
	m->heads = 3;
}

static const struct {
	void (*spoil)(struct ggufgen_model *m);
	const char *says;
} refused_shapes[] = {
        {shape_heads, "4 attention heads cannot share 3 key/value heads"},
        {shape_layers, "the model's layers is 2000 (1 to 1024 can be)"},
        {shape_width, "llama.embedding_length (64) is no multiple of llama.attention.head_count (3)"},
};

START_TEST(shapes_are_refused) {
	struct ggufgen_model m = small;
	struct ggufgen *gen = ggufgen_create();
	struct hparams hp;
	refused_shapes[_i].spoil(&m);
	ggufgen_model_keys(gen, &m);
	ck_assert_int_lt(hparams_gen(gen, &hp), 0);
	ck_assert_msg(strstr(err, refused_shapes[_i].says), "said: %s", err);
}
END_TEST

static void tensor_bias(struct ggufgen *g) {
	ggufgen_tensor(g, "blk.0.attn_q.bias", KERN_F32, 64, 0, GGUFGEN_WEIGHTS);
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

static const struct {
	void (*spoil)(struct ggufgen *g);
	const char *says;
} refused_tensors[] = {
        {tensor_bias, "model: tensor blk.0.attn_q.bias is a bias, which Caravan does not compute"},
        {tensor_unknown, "model: tensor blk.1.attn_q_norm.weight is one that Caravan does not know"},
        {tensor_layer, "model: tensor blk.2.attn_q.weight belongs to no layer: there are 2"},
        {tensor_zero, "model: tensor blk.01.attn_q.weight is one that Caravan does not know"},
        {tensor_experts, "model: tensor blk.0.ffn_gate_exps.weight is one that Caravan does not know"},
};

START_TEST(tensors_are_refused) {
	struct ggufgen *gen = ggufgen_model(&small);
	refused_tensors[_i].spoil(gen);
	ck_assert_int_eq(import_gen(gen), -ENOTSUP);
	ck_assert_str_eq(err, refused_tensors[_i].says);
}
END_TEST

START_TEST(models_must_be_whole) {
	struct ggufgen_model m = small, other = small;
	/* keys of one model, tensors of another */
	struct ggufgen *gen = ggufgen_create();
	other.layers = 1;
	ggufgen_model_keys(gen, &m);
	ggufgen_vocab_keys(gen, m.vocab);
	ggufgen_model_tensors(gen, &other);
	ck_assert_int_eq(import_gen(gen), -EINVAL);
	ck_assert_str_eq(err, "model: tensor blk.1.attn_norm.weight is missing");
	gen = ggufgen_create();
	other = small;
	other.ffn = 32;
	ggufgen_model_keys(gen, &m);
	ggufgen_vocab_keys(gen, m.vocab);
	ggufgen_model_tensors(gen, &other);
	ck_assert_int_eq(import_gen(gen), -EINVAL);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate.weight has 32 rows of 64 elements where the model wants "
	        "96 rows of 64");
	/* a norm of a block type */
	m.norm = KERN_Q8_0;
	ck_assert_int_eq(import_gen(ggufgen_model(&m)), -ENOTSUP);
	ck_assert_str_eq(
	        err, "model: tensor output_norm.weight is a norm of type Q8_0; F32, F16 and BF16 are known");
	/* a vocabulary of another size */
	gen = ggufgen_create();
	ggufgen_model_keys(gen, &small);
	ggufgen_vocab_keys(gen, 39);
	ggufgen_model_tensors(gen, &small);
	ck_assert_int_eq(import_gen(gen), -EINVAL);
	ck_assert_str_eq(err, "model: llama.vocab_size is 40, but tokenizer.ggml.tokens has 39");
}
END_TEST

START_TEST(harmless_tensors_are_taken) {
	struct ggufgen_model m = small;
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
		const char *path = shared(file[i].path);
		struct gguf *g;
		struct hparams hp;
		if (!path)
			continue;
		ck_assert_msg(gguf_open_path(&g, path, err, sizeof err) == 0, "%s", err);
		ck_assert_uint_eq(gguf_tensors(g), file[i].tensors);
		ck_assert_msg(hparams_from_gguf(&hp, g, err, sizeof err) == 0, "%s", err);
		ck_assert(hp.layers == file[i].layers && hp.dim == file[i].dim && hp.heads == file[i].heads &&
		          hp.kv_heads == file[i].kv_heads && hp.vocab == file[i].vocab);
		gguf_close(g);
	}
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static Suite *suite(void) {
	Suite *s = suite_create("gguf");
	TCase *t = tcase_create("files");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, values_of_every_kind);
	tcase_add_test(t, tensors_are_found);
	tcase_add_test(t, aliases_share_bytes);
	tcase_add_loop_test(t, files_are_refused, 0, COUNT(refused_files));
	tcase_add_test(t, other_things_are_refused);
	tcase_add_test(t, truncated_files);
	tcase_add_test(t, mutated_files);
	tcase_add_test(t, split_files);
	suite_add_tcase(s, t);
	t = tcase_create("models");
	tcase_add_test(t, shape_of_a_model);
	tcase_add_test(t, shape_with_head_size_and_factors);
	tcase_add_test(t, shape_with_old_scaling);
	tcase_add_loop_test(t, keys_are_refused, 0, COUNT(refused_keys));
	tcase_add_test(t, other_architectures_are_refused);
	tcase_add_loop_test(t, shapes_are_refused, 0, COUNT(refused_shapes));
	tcase_add_loop_test(t, tensors_are_refused, 0, COUNT(refused_tensors));
	tcase_add_test(t, models_must_be_whole);
	tcase_add_test(t, harmless_tensors_are_taken);
	tcase_add_test(t, foreign_files_open);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/check_main.h"
