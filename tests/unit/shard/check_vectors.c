/* What an independent implementation computed: dequantised rows and logits of a small model of each weight
 * type, and the story of a trained one. */
#include "config.h"
#include "tests/support/loaded.h"
#include "tests/support/synth.h"
#include "tests/support/where.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How far logits may be off, as a share: theirs are rounded elsewhere than ours. */
static const struct vector {
	const char *name;
	double off;
} vectors[] = {{"F16", 0.002}, {"BF16", 0.015}, {"Q8_0", 0.03}, {"Q4_0", 0.04}, {"Q4_1", 0.04},
        {"Q5_0", 0.04}, {"Q5_1", 0.04}, {"IQ4_NL", 0.04}, {"Q2_K", 0.04}, {"Q3_K_S", 0.04}, {"Q4_K_S", 0.04},
        {"Q5_K_S", 0.04}, {"Q6_K", 0.04}};
enum { ROWS = 4, MOST_TOKENS = 64 };

/* tests/data/models: their README.md says what each is about and what to allow. */
static const struct vector models[] = {{"F32", 0.001}, {"F16", 0.001}, {"BF16", 0.001}, {"Q8_0", 0.03},
        {"Q4_0", 0.03}, {"Q4_1", 0.03}, {"Q5_0", 0.03}, {"Q5_1", 0.03}, {"IQ4_NL", 0.03}, {"Q2_K", 0.03},
        {"Q3_K", 0.03}, {"Q4_K", 0.03}, {"Q5_K", 0.03}, {"Q6_K", 0.03}, {"rope-factors", 0.001},
        {"rope-linear", 0.001}, {"one-kv-head", 0.001}, {"head-size", 0.001}, {"odd-widths", 0.001},
        {"tied", 0.03}, {"split", 0.001}, {"IQ4_XS", 0.03}, {"codebooks", 0.03}, {"ternary", 0.03}};
/* The same, of families (FAMILIES in mkmodels.py): none has weights that need rounded activations. */
#define FAMILY_OFF 0.001
static const char *const families[] = {
        "llama-biases",
        "llama-yarn",
        "qwen2",
        "qwen3",
        "mistral3",
        "granite",
        "smollm3",
        "llama-longrope",
        "phi3",
        "llama-experts",
        "qwen3moe",
        "glm4moe",
        "gemma3",
        "gpt-oss",
        "deci",
        "phi3-window",
        "qwen2moe",
        "deepseek2-lite",
        "deepseek2",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "qwen3next-early",
};

/* The sequences whose logits they are. */
static const struct ids {
	uint32_t n, id[MOST_TOKENS];
} vector_ids = {16, {1, 5, 9, 100, 7, 512, 300, 77, 1000, 3, 259, 260, 261, 900, 44, 600}},
  model_ids = {12, {1, 5, 9, 60, 7, 12, 33, 60, 2, 3, 59, 44}};

/* Reads floats; false where there is no such file. */
static bool read_floats(const char *path, float *out, size_t n) {
	FILE *f = fopen(path, "rb");
	if (!f)
		return false;
	ck_assert_msg(fread(out, sizeof *out, n, f) == n && fgetc(f) == EOF, "%s: not %zu floats", path, n);
	fclose(f);
	return true;
}

static int32_t float_order(float f) {
	int32_t i;
	memcpy(&i, &f, sizeof i);
	return i < 0 ? INT32_MIN - i : i;
}

static void ck_dequant(const struct slice *s, const char *path) {
	const struct store_tensor *gate = s->layer[0][LAYER_GATE];
	size_t n = gate->record.n;
	float *want = malloc(ROWS * n * sizeof *want), *have = malloc(n * sizeof *have);
	ck_assert_msg(read_floats(path, want, ROWS * n), "%s", path);
	for (size_t r = 0; r < ROWS; r++) {
		kern_dequant_packed(gate->record.type, have, gate->packed, r, n);
		for (size_t i = 0; i < n; i++) {
			int64_t ulps = (int64_t)float_order(have[i]) - float_order(want[r * n + i]);
			ck_assert_msg(ulps >= -1 && ulps <= 1, "%s: row %zu, element %zu: %a, not %a", path,
			        r, i, (double)have[i], (double)want[r * n + i]);
		}
	}
	free(want);
	free(have);
}

static void ck_logits(const struct slice *s, const char *path, const struct ids *ids, double bound) {
	size_t n = (size_t)ids->n * s->manifest->hp.vocab;
	float *want = malloc(n * sizeof *want), *have = malloc(n * sizeof *have);
	ck_assert_msg(read_floats(path, want, n), "%s", path);
	struct line *l = line_create(s, KERN_KV_F16, 2, 1, NULL, ids->n, 1);
	line_logits(l, ids->id, ids->n, ids->n, (uint32_t[]){0}, have);
	double off = 0, size = 0;
	for (size_t i = 0; i < n; i++) {
		off += ((double)have[i] - (double)want[i]) * ((double)have[i] - (double)want[i]);
		size += (double)want[i] * (double)want[i];
	}
	printf("# %s: off by %.4f\n", path, sqrt(off / size));
	ck_assert_msg(sqrt(off / size) < bound, "%s: off by %g", path, sqrt(off / size));
	line_destroy(l);
	free(want);
	free(have);
}

/* The tokens of the models of families. */
static struct ids family_ids(void) {
	struct ids ids = {.n = MOST_TOKENS, .id = {1}};
	for (uint32_t i = 1; i < MOST_TOKENS; i++)
		ids.id[i] = (i * 37 + i * i * 11) % 61 + 3;
	return ids;
}

static void start(void) {
	char err[256];
	ck_assert_msg(!kern_init(err, sizeof err), "%s", err);
}

START_TEST(vector) {
	const struct vector *v = &vectors[_i];
	char path[512], name[64];
	start();
	snprintf(name, sizeof name, "vectors/%s.gguf", v->name);
	if (access(shared_path(path, name), R_OK)) {
		printf("# skipped: no %s\n", path);
		return;
	}
	struct loaded *m = loaded_create(path);
	snprintf(name, sizeof name, "vectors/%s.dequant.f32", v->name);
	ck_dequant(m->whole, shared_path(path, name));
	snprintf(name, sizeof name, "vectors/%s.logits.f32", v->name);
	ck_logits(m->whole, shared_path(path, name), &vector_ids, v->off);
	loaded_destroy(m);
}
END_TEST

START_TEST(test_model) {
	const struct vector *v = &models[_i];
	char path[512], name[96];
	start();
	bool split = !strcmp(v->name, "split");
	snprintf(name, sizeof name, "tests/data/models/%s%s.gguf", v->name, split ? "-00001-of-00002" : "");
	struct loaded *m = loaded_create(source_path(path, name));
	snprintf(name, sizeof name, "tests/data/models/%s.dequant.f32", v->name);
	ck_dequant(m->whole, source_path(path, name));
	snprintf(name, sizeof name, "tests/data/models/%s.logits.f32", v->name);
	ck_logits(m->whole, source_path(path, name), &model_ids, v->off);
	loaded_destroy(m);
}
END_TEST

START_TEST(test_family) {
	const char *family = families[_i];
	const struct ids ids = family_ids();
	char path[512], name[96];
	start();
	snprintf(name, sizeof name, "tests/data/models/%s.gguf", family);
	struct loaded *m = loaded_create(source_path(path, name));
	snprintf(name, sizeof name, "tests/data/models/%s.logits.f32", family);
	ck_logits(m->whole, source_path(path, name), &ids, FAMILY_OFF);
	loaded_destroy(m);
}
END_TEST

static float *family_logits(const struct slice *s, const struct ids *ids, uint32_t chunk) {
	float *out = malloc((size_t)ids->n * s->manifest->hp.vocab * sizeof *out);
	struct line *l = line_create(s, KERN_KV_F16, 2, 1, NULL, chunk, 1);
	line_logits(l, ids->id, ids->n, chunk, (uint32_t[]){0}, out);
	line_destroy(l);
	return out;
}

/* Of families with experts: these read from disk, with space for those of one row, give the same bits. */
START_TEST(test_family_experts) {
	static const uint32_t chunks[] = {1, 5, MOST_TOKENS};
	const struct ids ids = family_ids();
	char path[512], name[96], err[256] = "";
	start();
	snprintf(name, sizeof name, "tests/data/models/%s.gguf", families[_i]);
	struct loaded *l = loaded_create(source_path(path, name));
	struct slice *s = l->whole;
	const struct manifest *m = s->manifest;
	struct expert_layer *layer = calloc(m->hp.layers, sizeof *layer);
	float *want = family_logits(s, &ids, MOST_TOKENS);
	struct slice_reading r;
	for (size_t i = 0; i < s->nmaps; i++)
		if (s->maps[i]->record.parts > 1)
			ck_assert_int_eq(store_open_descriptor(l->store, s->maps[i]), 0);
	for (uint32_t k = 0; k < m->hp.layers; k++)
		layer[k] = (struct expert_layer){{s->layer[k][LAYER_EXPERT_GATE],
		        s->layer[k][LAYER_EXPERT_UP], s->layer[k][LAYER_EXPERT_DOWN]}};
	if (m->hp.experts)
		ck_assert_msg(
		        expert_cache_create(&s->experts, layer, m->hp.layers,
		                weight_stream_least(m, 0, m->hp.layers).cache, true, err, sizeof err) == 0,
		        "%s", err);
	for (size_t i = 0; m->hp.experts && i < sizeof chunks / sizeof *chunks; i++) {
		float *have = family_logits(s, &ids, chunks[i]);
		ck_assert_mem_eq(have, want, (size_t)ids.n * m->hp.vocab * sizeof *have);
		free(have);
	}
	ck_assert(slice_reading(s, &r) == (m->hp.experts > 0) && (r.misses > 0) == (m->hp.experts > 0));
	free(want);
	free(layer);
	loaded_destroy(l);
}
END_TEST

/* Bytes of this process that are mapped from files below dir and resident. */
static size_t resident(const char *dir) {
	char text[1024];
	size_t sum = 0, rss;
	bool below = false;
	FILE *f = fopen("/proc/self/smaps", "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(text, sizeof text, f))
		if (strchr("0123456789abcdef", text[0]))
			below = strstr(text, dir);
		else if (below && sscanf(text, "Rss: %zu kB", &rss) == 1)
			sum += rss << 10;
	fclose(f);
	return sum;
}

/* Bytes that this process has of its own, from no file. */
static size_t anonymous(void) {
	char text[256];
	size_t rss = 0;
	FILE *f = fopen("/proc/self/status", "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(text, sizeof text, f) && sscanf(text, "RssAnon: %zu kB", &rss) != 1)
		;
	fclose(f);
	return rss << 10;
}

/* Weights stay in their type: a resident slice is its canonical bytes, a tenth for what fills up strips, and a
 * page a tensor. */
START_TEST(slice_size) {
	char path[512], name[96], err[256] = "";
	const struct vector *v = &models[_i];
	start();
	snprintf(name, sizeof name, "tests/data/models/%s%s.gguf", v->name,
	        !strcmp(v->name, "split") ? "-00001-of-00002" : "");
	struct loaded *m = loaded_create(source_path(path, name));
	slice_destroy(m->whole);
	ck_assert_uint_eq(resident(m->dir), 0);
	size_t before = anonymous(), tensors = 0, canonical = 0;
	const struct manifest *mf = import_manifest(m->import);
	ck_assert_msg(!slice_create(&m->whole, m->store, mf, 0, mf->hp.layers, true, 0, err, sizeof err),
	        "%s", err);
	for (size_t i = 0; i < m->whole->nmaps; i++) {
		const struct content_tensor *t = &m->whole->maps[i]->record;
		const volatile uint8_t *byte = m->whole->maps[i]->packed;
		for (size_t k = 0; k < kern_packed_bytes(t->type, t->rows, t->n); k++)
			(void)byte[k];
		canonical += t->rows * kern_row_bytes(t->type, t->n);
		tensors++;
	}
	size_t maps = resident(m->dir), own = anonymous() - before;
	printf("# %s: %zu canonical bytes in %zu tensors, %zu resident, %zu beside\n", v->name, canonical,
	        tensors, maps, own);
	fflush(stdout);
	ck_assert_uint_ge(maps, canonical); /* else nothing was measured */
#ifdef CARAVAN_SANITIZED
	own = 0; /* the sanitizer's */
#endif
	ck_assert_uint_le(maps + own, canonical + canonical / 10 + tensors * (size_t)sysconf(_SC_PAGESIZE));
	loaded_destroy(m);
}
END_TEST

static uint32_t greatest(const float *logits, uint32_t vocab) {
	uint32_t best = 0;
	for (uint32_t i = 1; i < vocab; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

/* Appends a piece: SentencePiece writes a space as U+2581. */
static void append_piece(char *text, size_t size, struct vocab_string piece) {
	for (uint32_t i = 0; i < piece.len; i++) {
		bool space = piece.len - i >= 3 && !memcmp(piece.s + i, "\xe2\x96\x81", 3);
		size_t at = strlen(text);
		ck_assert_uint_lt(at + 1, size);
		text[at] = space ? ' ' : piece.s[i];
		i += space ? 2 : 0;
	}
}

START_TEST(story) {
	static const char want[] =
	        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
	        "park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.";
	char path[512], text[1024] = "", err[256] = "";
	start();
	if (access(shared_path(path, "models/stories260K.gguf"), R_OK)) {
		printf("# skipped: no %s\n", path);
		return;
	}
	struct loaded *m = loaded_create(path);
	uint32_t vocab = m->whole->manifest->hp.vocab, token = 1, table[8] = {5, 2, 0, 7, 1, 3, 4, 6};
	float *logits = malloc(vocab * sizeof *logits);
	struct line *l = line_create(m->whole, KERN_KV_F16, 2, 2, (uint32_t[]){2}, 1, 8);
	for (uint32_t at = 0; at < 512 && strlen(text) < sizeof want; at++) {
		struct forward_seq q = {1, at, 8, table, 8, table};
		ck_assert_msg(!line_step(l, &q, 1, &token, logits, err, sizeof err), "%s", err);
		token = greatest(logits, vocab);
		append_piece(text, sizeof text, import_vocab(m->import)->token[token].text);
	}
	ck_assert_int_eq(strncmp(text + (text[0] == ' '), want, strlen(want)), 0);
	line_destroy(l);
	free(logits);
	loaded_destroy(m);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("vectors");
	TCase *t = tcase_create("vectors");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, vector, 0, sizeof vectors / sizeof *vectors);
	tcase_add_loop_test(t, test_model, 0, sizeof models / sizeof *models);
	tcase_add_loop_test(t, test_family, 0, sizeof families / sizeof *families);
	tcase_add_loop_test(t, test_family_experts, 0, sizeof families / sizeof *families);
	tcase_add_loop_test(t, slice_size, 0, sizeof models / sizeof *models);
	tcase_add_test(t, story);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
