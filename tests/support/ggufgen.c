/* ggufgen: see ggufgen.h. */
#include "tests/support/ggufgen.h"
#include "kernels/formats.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGNMENT 32u

struct buffer {
	uint8_t *data;
	size_t len, capacity;
};

struct tensor {
	char name[96];
	enum kern_type type;
	uint64_t n, rows, offset, offset_error;
	uint32_t dims, experts, type_written;
	enum ggufgen_fill fill;
	bool alias;
	float *given; /* its weights, owned; NULL: by fill */
};

struct ggufgen {
	uint32_t version;
	uint64_t seed, values, data;
	struct buffer meta;
	struct tensor *tensor;
	size_t tensors, capacity;
};

static void die(const char *what) {
	perror(what);
	exit(2);
}

static void *need(void *p) {
	if (!p)
		die("ggufgen");
	return p;
}

static void put(struct buffer *b, const void *data, size_t len) {
	if (b->len + len > b->capacity) {
		b->capacity = 2 * (b->len + len) + 1024;
		b->data = need(realloc(b->data, b->capacity));
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void put_u32(struct buffer *b, uint32_t v) {
	put(b, &v, sizeof v);
}
static void put_u64(struct buffer *b, uint64_t v) {
	put(b, &v, sizeof v);
}

static void put_string(struct buffer *b, const char *s) {
	put_u64(b, strlen(s));
	put(b, s, strlen(s));
}

struct ggufgen *ggufgen_create(void) {
	struct ggufgen *g = need(calloc(1, sizeof *g));
	g->version = 3;
	return g;
}

void ggufgen_destroy(struct ggufgen *g) {
	if (!g)
		return;
	free(g->meta.data);
	for (size_t i = 0; i < g->tensors; i++)
		free(g->tensor[i].alias ? NULL : g->tensor[i].given);
	free(g->tensor);
	free(g);
}

void ggufgen_version(struct ggufgen *g, uint32_t version) {
	g->version = version;
}
void ggufgen_seed(struct ggufgen *g, uint64_t seed) {
	g->seed = seed;
}

void ggufgen_truths(struct ggufgen *g, const char *key, const char *letters, bool numbers) {
	uint8_t data[12 + 4 * 256] = {0};
	uint64_t count = strlen(letters), size = numbers ? 4 : 1;
	uint32_t kind = numbers ? GGUF_I32 : GGUF_BOOL;
	memcpy(data, &kind, 4);
	memcpy(data + 4, &count, 8);
	for (uint64_t i = 0; i < count && i < 256; i++)
		data[12 + i * size] = letters[i] == 'T';
	ggufgen_raw(g, key, GGUF_ARRAY, data, 12 + count * size);
}

void ggufgen_raw(struct ggufgen *g, const char *key, uint32_t kind, const void *data, size_t len) {
	put_string(&g->meta, key);
	put_u32(&g->meta, kind);
	put(&g->meta, data, len);
	g->values++;
}

void ggufgen_u32(struct ggufgen *g, const char *key, uint32_t v) {
	ggufgen_raw(g, key, GGUF_U32, &v, sizeof v);
}
void ggufgen_f32(struct ggufgen *g, const char *key, float v) {
	ggufgen_raw(g, key, GGUF_F32, &v, sizeof v);
}

void ggufgen_bool(struct ggufgen *g, const char *key, bool v) {
	uint8_t byte = v;
	ggufgen_raw(g, key, GGUF_BOOL, &byte, 1);
}

void ggufgen_string(struct ggufgen *g, const char *key, const char *v) {
	struct buffer b = {NULL, 0, 0};
	put_string(&b, v);
	ggufgen_raw(g, key, GGUF_STRING, b.data, b.len);
	free(b.data);
}

void ggufgen_strings(struct ggufgen *g, const char *key, const char *const *v, size_t count) {
	struct buffer b = {NULL, 0, 0};
	put_u32(&b, GGUF_STRING);
	put_u64(&b, count);
	for (size_t i = 0; i < count; i++)
		put_string(&b, v[i]);
	ggufgen_raw(g, key, GGUF_ARRAY, b.data, b.len);
	free(b.data);
}

static struct tensor *add_tensor(struct ggufgen *g, const char *name) {
	if (g->tensors == g->capacity) {
		g->capacity = 2 * g->capacity + 16;
		g->tensor = need(realloc(g->tensor, g->capacity * sizeof *g->tensor));
	}
	struct tensor *t = &g->tensor[g->tensors++];
	memset(t, 0, sizeof *t);
	snprintf(t->name, sizeof t->name, "%s", name);
	return t;
}

static uint64_t padded(uint64_t bytes) {
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint64_t tensor_bytes(const struct tensor *t) {
	return t->rows * kern_row_bytes(t->type, t->n);
}

size_t ggufgen_experts(struct ggufgen *g, const char *name, enum kern_type type, uint64_t n, uint64_t rows,
        uint32_t experts, enum ggufgen_fill fill) {
	size_t i = ggufgen_tensor(g, name, type, n, rows * experts, fill);
	g->tensor[i].dims = 3;
	g->tensor[i].experts = experts;
	return i;
}

size_t ggufgen_tensor(struct ggufgen *g, const char *name, enum kern_type type, uint64_t n, uint64_t rows,
        enum ggufgen_fill fill) {
	if (n % kern_traits((uint32_t)type)->block) {
		fprintf(stderr, "ggufgen: %s: %llu is not a multiple of %u\n", name, (unsigned long long)n,
		        kern_traits((uint32_t)type)->block);
		exit(2);
	}
	struct tensor *t = add_tensor(g, name);
	t->type = type;
	t->type_written = (uint32_t)type;
	t->n = n;
	t->rows = rows ? rows : 1;
	t->dims = rows ? 2 : 1;
	t->fill = fill;
	t->offset = g->data;
	g->data += padded(tensor_bytes(t));
	return g->tensors - 1;
}

size_t ggufgen_floats(struct ggufgen *g, const char *name, uint64_t n, uint64_t rows, const float *weights) {
	size_t at = ggufgen_tensor(g, name, KERN_F32, n, rows, GGUFGEN_ONES), count = n * (rows ? rows : 1);
	float *given = need(calloc(count, sizeof *given));
	if (weights)
		memcpy(given, weights, count * sizeof *given);
	g->tensor[at].given = given;
	return at;
}

size_t ggufgen_alias(struct ggufgen *g, const char *name, size_t earlier) {
	struct tensor *t = add_tensor(g, name), copy = g->tensor[earlier];
	memcpy(copy.name, t->name, sizeof copy.name);
	copy.alias = true;
	*t = copy;
	return g->tensors - 1;
}

void ggufgen_break_type(struct ggufgen *g, uint32_t type) {
	g->tensor[g->tensors - 1].type_written = type;
}
void ggufgen_break_experts(struct ggufgen *g) {
	g->tensor[g->tensors - 1].dims = 4;
}

void ggufgen_break_offset(struct ggufgen *g, uint64_t add) {
	g->tensor[g->tensors - 1].offset_error = add;
}

/* splitmix64 */
static uint64_t next(uint64_t *state) {
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Where a block's scale and minimum stand; the standard deviation of its weights when all its other bits are
 * random and the scale is 1; and the minimum, in scales, that makes their mean 0. */
static const struct spread {
	int d, m;
	float deviation, centre;
} spreads[KERN_TYPES] = {
        [KERN_Q4_0] = {offsetof(struct q4_0, d), -1, 4.64f, 0},
        [KERN_Q4_1] = {offsetof(struct q4_1, d), offsetof(struct q4_1, m), 4.61f, -7.5f},
        [KERN_Q5_0] = {offsetof(struct q5_0, d), -1, 9.25f, 0},
        [KERN_Q5_1] = {offsetof(struct q5_1, d), offsetof(struct q5_1, m), 9.23f, -15.5f},
        [KERN_Q8_0] = {offsetof(struct q8_0, d), -1, 73.9f, 0},
        [KERN_IQ4_NL] = {offsetof(struct iq4_nl, d), -1, 67.4f, 0},
        [KERN_Q2_K] = {offsetof(struct q2_k, d), offsetof(struct q2_k, dmin), 13.9f, 1.5f},
        [KERN_Q3_K] = {offsetof(struct q3_k, d), -1, 43.3f, 0},
        [KERN_Q4_K] = {offsetof(struct q4_k, d), offsetof(struct q4_k, dmin), 258, 7.5f},
        [KERN_Q5_K] = {offsetof(struct q5_k, d), offsetof(struct q5_k, dmin), 527, 15.5f},
        [KERN_Q6_K] = {offsetof(struct q6_k, d), -1, 1366, 0},
        [KERN_IQ4_XS] = {offsetof(struct iq4_xs, d), -1, 1245, 0},
        [KERN_MXFP4] = {-1, -1, 5.85f, 0},
        [KERN_IQ2_XXS] = {offsetof(struct iq2_xxs, d), -1, 53.3f, 0},
        [KERN_IQ2_XS] = {offsetof(struct iq2_xs, d), -1, 55.9f, 0},
        [KERN_IQ2_S] = {offsetof(struct iq2_s, d), -1, 56.4f, 0},
        [KERN_IQ3_XXS] = {offsetof(struct iq3_xxs, d), -1, 142.5f, 0},
        [KERN_IQ3_S] = {offsetof(struct iq3_s, d), -1, 140.2f, 0},
        [KERN_IQ1_S] = {offsetof(struct iq1_s, d), -1, 7.21f, 0},
        [KERN_IQ1_M] = {-1, -1, 7.2f, 0},
        [KERN_TQ1_0] = {offsetof(struct tq1_0, d), -1, 0.816f, 0},
        [KERN_TQ2_0] = {offsetof(struct tq2_0, d), -1, 1.22f, 0},
};

static float uniform(uint64_t *state) {
	return (float)(next(state) >> 40) * 0x1p-23f - 1;
}

static void put_float(uint8_t *p, enum kern_type type, float v) {
	uint32_t bits;
	uint16_t half = kern_to_half(v);
	memcpy(&bits, &v, sizeof bits);
	if (type == KERN_BF16)
		half = (uint16_t)(bits >> 16);
	if (type == KERN_F32)
		memcpy(p, &v, sizeof v);
	else
		memcpy(p, &half, sizeof half);
}

/* One row. */
static void fill_row(uint8_t *p, const struct tensor *t, uint64_t *state) {
	const struct kern_traits *traits = kern_traits((uint32_t)t->type);
	size_t len = kern_row_bytes(t->type, t->n);
	float deviation = 1 / sqrtf((float)t->n);
	if (traits->block == 1) {
		for (uint64_t i = 0; i < t->n; i++) {
			float u = uniform(state);
			float v = t->fill == GGUFGEN_ONES   ? 1
			          : t->fill == GGUFGEN_NORM ? 1 + u / 8
			                                    : u * 1.732f * deviation;
			put_float(p + i * traits->bytes, t->type, v);
		}
		return;
	}
	const struct spread *s = &spreads[t->type];
	uint16_t d = kern_to_half(deviation / s->deviation),
	         m = kern_to_half(deviation / s->deviation * s->centre);
	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = next(state);
		memcpy(p + i, &r, len - i < 8 ? len - i : 8);
	}
	for (uint8_t *b = p; b < p + len; b += traits->bytes) {
		if (t->type == KERN_MXFP4)
			b[0] = (uint8_t)lrintf(log2f(deviation / s->deviation) + 128);
		else if (t->type == KERN_IQ1_M) /* a nibble at the top of each of four shorts */
			for (int i = 0; i < 4; i++)
				b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (d >> 4 * i & 15) << 4);
		else
			memcpy(b + s->d, &d, 2);
		if (s->m >= 0)
			memcpy(b + s->m, &m, 2);
	}
}

static void write_all(int fd, const void *data, size_t len) {
	const uint8_t *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno != EINTR)
			die("ggufgen: write");
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

/* Everything before the tensors' data, padded. */
static struct buffer make_head(const struct ggufgen *g) {
	static const uint8_t zero[ALIGNMENT];
	struct buffer b = {NULL, 0, 0};
	put(&b, "GGUF", 4);
	put_u32(&b, g->version);
	put_u64(&b, g->tensors);
	put_u64(&b, g->values);
	put(&b, g->meta.data, g->meta.len);
	for (size_t i = 0; i < g->tensors; i++) {
		const struct tensor *t = &g->tensor[i];
		put_string(&b, t->name);
		put_u32(&b, t->dims);
		put_u64(&b, t->n);
		if (t->dims > 1)
			put_u64(&b, t->dims >= 3 ? t->rows / t->experts : t->rows);
		if (t->dims >= 3)
			put_u64(&b, t->dims == 3 ? t->experts : t->experts / 2);
		if (t->dims == 4)
			put_u64(&b, 2);
		put_u32(&b, t->type_written);
		put_u64(&b, t->offset + t->offset_error);
	}
	put(&b, zero, padded(b.len) - b.len);
	return b;
}

/* Hands the file out in order, a piece at a time. */
static void produce(
        const struct ggufgen *g, void (*sink)(void *arg, const void *data, size_t len), void *arg) {
	static const uint8_t zero[ALIGNMENT];
	struct buffer head = make_head(g);
	sink(arg, head.data, head.len);
	free(head.data);
	for (size_t i = 0; i < g->tensors; i++) {
		const struct tensor *t = &g->tensor[i];
		uint64_t state = g->seed * 1000003 + i;
		size_t row = kern_row_bytes(t->type, t->n), batch = row ? (1u << 20) / row + 1 : 0;
		if (t->alias || row == 0)
			continue;
		uint8_t *buf = need(malloc(batch * row));
		for (uint64_t r = 0; r < t->rows; r += batch) {
			size_t count = t->rows - r < batch ? t->rows - r : batch;
			for (size_t k = 0; k < count; k++) {
				if (t->given)
					memcpy(buf + k * row, t->given + (r + k) * t->n, row);
				else
					fill_row(buf + k * row, t, &state);
			}
			sink(arg, buf, count * row);
		}
		free(buf);
		sink(arg, zero, padded(tensor_bytes(t)) - tensor_bytes(t));
	}
}

static void to_fd(void *arg, const void *data, size_t len) {
	write_all(*(const int *)arg, data, len);
}
static void to_buffer(void *arg, const void *data, size_t len) {
	put(arg, data, len);
}

void ggufgen_write(struct ggufgen *g, int fd) {
	produce(g, to_fd, &fd);
}

void ggufgen_write_path(struct ggufgen *g, const char *path) {
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		die(path);
	ggufgen_write(g, fd);
	if (close(fd) < 0)
		die(path);
}

uint8_t *ggufgen_bytes(struct ggufgen *g, size_t *len) {
	struct buffer b = {NULL, 0, 0};
	produce(g, to_buffer, &b);
	*len = b.len;
	return b.data;
}

int ggufgen_fd(const void *data, size_t len) {
	int fd = memfd_create("ggufgen", MFD_CLOEXEC);
	if (fd < 0)
		die("ggufgen: memfd_create");
	write_all(fd, data, len);
	return fd;
}

enum kern_type ggufgen_usual_head(enum kern_type type) {
	return kern_traits((uint32_t)type)->block == 256 ? KERN_Q6_K : type;
}

/* The mixture's choice, as llama.cpp makes it: Q6_K for ffn_down in the first and last eighth of the layers and in every
 * third between, and for attn_v there; where eight heads share a key, attn_v is small and has at least Q5_K. */
enum kern_type ggufgen_layer_type(const struct ggufgen_model *m, uint32_t layer, const char *name) {
	uint32_t eighth = m->layers / 8;
	bool more = layer < eighth || layer >= 7 * m->layers / 8 || (layer - eighth) % 3 == 2;
	bool value = strcmp(name, "attn_v") == 0;
	if (!m->mixture || (!value && strncmp(name, "ffn_down", 8) != 0))
		return m->type;
	return more ? KERN_Q6_K : value && m->kv_heads && m->heads / m->kv_heads >= 8 ? KERN_Q5_K : m->type;
}

static bool is_family(const struct ggufgen_model *m, const char *name) {
	return m->family && strcmp(m->family, name) == 0;
}

static uint32_t head_size_of(const struct ggufgen_model *m) {
	return m->head_size ? m->head_size : m->dim / m->heads;
}

/* A key of the model's family. */
static void family_u32(struct ggufgen *g, const struct ggufgen_model *m, const char *key, uint32_t v) {
	char name[96];
	snprintf(name, sizeof name, "%s.%s", m->family ? m->family : "llama", key);
	ggufgen_u32(g, name, v);
}
static void family_f32(struct ggufgen *g, const struct ggufgen_model *m, const char *key, float v) {
	char name[96];
	snprintf(name, sizeof name, "%s.%s", m->family ? m->family : "llama", key);
	ggufgen_f32(g, name, v);
}

void ggufgen_model_keys(struct ggufgen *g, const struct ggufgen_model *m) {
	uint32_t head_size = head_size_of(m);
	ggufgen_string(g, "general.architecture", m->family ? m->family : "llama");
	ggufgen_string(g, "general.name", "synthetic");
	family_u32(g, m, "block_count", m->layers);
	family_u32(g, m, "context_length", m->context ? m->context : 4096);
	family_u32(g, m, "embedding_length", m->dim);
	family_u32(g, m, "feed_forward_length", m->ffn);
	family_u32(g, m, "attention.head_count", m->heads);
	family_u32(g, m, "attention.head_count_kv", m->kv_heads ? m->kv_heads : m->heads);
	family_f32(g, m, "attention.layer_norm_rms_epsilon", 1e-5f);
	if (m->head_size) {
		family_u32(g, m, "attention.key_length", head_size);
		family_u32(g, m, "attention.value_length", head_size);
	}
	family_u32(g, m, "rope.dimension_count", is_family(m, "glm4moe") ? head_size / 2 : head_size);
	family_f32(g, m, "rope.freq_base", m->freq_base > 0 ? m->freq_base : 10000.0f);
	family_u32(g, m, "vocab_size", m->vocab);
	if (m->experts) {
		family_u32(g, m, "expert_count", m->experts);
		family_u32(g, m, "expert_used_count", m->experts_used);
		family_u32(g, m, "expert_feed_forward_length", m->expert_ffn);
	}
	if (is_family(m, "glm4moe")) {
		family_u32(g, m, "expert_shared_count", m->shared_ffn ? 1 : 0);
		family_u32(g, m, "expert_gating_func", 2);
		ggufgen_bool(g, "glm4moe.expert_weights_norm", true);
		family_f32(g, m, "expert_weights_scale", 1);
		family_u32(g, m, "leading_dense_block_count", m->dense);
		family_u32(g, m, "nextn_predict_layers", 0);
	}
	if (is_family(m, "gpt-oss"))
		family_u32(g, m, "attention.sliding_window", 128);
}

/* Three special tokens, the 256 bytes, words. */
void ggufgen_vocab_keys(struct ggufgen *g, uint32_t tokens) {
	struct buffer text = {NULL, 0, 0}, score = {NULL, 0, 0}, type = {NULL, 0, 0};
	static const char *const special[] = {"<unk>", "<s>", "</s>"};
	put_u32(&text, GGUF_STRING);
	put_u32(&score, GGUF_F32);
	put_u32(&type, GGUF_I32);
	put_u64(&text, tokens);
	put_u64(&score, tokens);
	put_u64(&type, tokens);
	for (uint32_t i = 0; i < tokens; i++) {
		char s[32];
		float f = -(float)i;
		if (i < GGUFGEN_BYTES)
			snprintf(s, sizeof s, "%s", special[i]);
		else if (i < GGUFGEN_WORDS)
			snprintf(s, sizeof s, "<0x%02X>", i - GGUFGEN_BYTES);
		else
			snprintf(s, sizeof s, "\xe2\x96\x81w%u", i);
		put_string(&text, s);
		put(&score, &f, sizeof f);
		put_u32(&type, i == 0 ? 2 : i < GGUFGEN_BYTES ? 3 : i < GGUFGEN_WORDS ? 6 : 1);
	}
	ggufgen_string(g, "tokenizer.ggml.model", "llama");
	ggufgen_raw(g, "tokenizer.ggml.tokens", GGUF_ARRAY, text.data, text.len);
	ggufgen_raw(g, "tokenizer.ggml.scores", GGUF_ARRAY, score.data, score.len);
	ggufgen_raw(g, "tokenizer.ggml.token_type", GGUF_ARRAY, type.data, type.len);
	ggufgen_u32(g, "tokenizer.ggml.bos_token_id", 1);
	ggufgen_u32(g, "tokenizer.ggml.eos_token_id", 2);
	ggufgen_bool(g, "tokenizer.ggml.add_bos_token", true);
	free(text.data);
	free(score.data);
	free(type.data);
}

/* Which layers have a tensor. */
enum where { ALL, DENSE, MIXTURES };

/* A tensor of a layer; rows 0: one dimension. */
struct layer_tensor {
	const char *name, *end;
	uint64_t n, rows;
	uint32_t experts;
	enum where where;
	enum { OWN, FLOATS, NORM, EXPERT } type; /* as ggufgen_layer_type says, F32, of norms, of experts */
};

struct layer_list {
	struct layer_tensor tensor[40];
	size_t count;
};

static struct layer_tensor *list_add(
        struct layer_list *l, const char *name, enum where where, uint64_t n, uint64_t rows) {
	struct layer_tensor *t = &l->tensor[l->count++];
	*t = (struct layer_tensor){.name = name,
	        .end = "weight",
	        .n = n,
	        .rows = rows,
	        .where = where,
	        .type = rows ? OWN : NORM};
	return t;
}

static void list_add_bias(
        struct layer_list *l, const char *name, enum where where, uint64_t n, uint64_t rows) {
	struct layer_tensor *t = list_add(l, name, where, n, rows);
	t->end = "bias";
	t->type = FLOATS;
}

static void list_add_experts(struct layer_list *l, const struct ggufgen_model *m) {
	struct layer_tensor *t[3] = {list_add(l, "ffn_gate_exps", MIXTURES, m->dim, m->expert_ffn),
	        list_add(l, "ffn_up_exps", MIXTURES, m->dim, m->expert_ffn),
	        list_add(l, "ffn_down_exps", MIXTURES, m->expert_ffn, m->dim)};
	for (size_t i = 0; i < 3; i++) {
		t[i]->experts = m->experts;
		t[i]->type = m->expert ? EXPERT : OWN;
	}
	list_add(l, "ffn_gate_inp", MIXTURES, m->dim, m->experts)->type = FLOATS;
}

/* What glm4moe and gpt-oss have besides; q, kv: width of all queries, of all keys. */
static void list_add_others(struct layer_list *l, const struct ggufgen_model *m, uint64_t q, uint64_t kv) {
	bool glm = is_family(m, "glm4moe"), oss = is_family(m, "gpt-oss");
	if (glm || oss) {
		list_add_bias(l, "attn_q", ALL, q, 0);
		list_add_bias(l, "attn_k", ALL, kv, 0);
		list_add_bias(l, "attn_v", ALL, kv, 0);
	}
	if (glm)
		list_add_bias(l, "exp_probs_b", MIXTURES, m->experts, 0);
	if (glm && m->shared_ffn) {
		list_add(l, "ffn_gate_shexp", MIXTURES, m->dim, m->shared_ffn);
		list_add(l, "ffn_up_shexp", MIXTURES, m->dim, m->shared_ffn);
		list_add(l, "ffn_down_shexp", MIXTURES, m->shared_ffn, m->dim);
	}
	if (oss) {
		list_add_bias(l, "attn_output", ALL, m->dim, 0);
		list_add_bias(l, "ffn_gate_inp", MIXTURES, m->experts, 0);
		list_add_bias(l, "ffn_gate_exps", MIXTURES, m->expert_ffn, m->experts);
		list_add_bias(l, "ffn_up_exps", MIXTURES, m->expert_ffn, m->experts);
		list_add_bias(l, "ffn_down_exps", MIXTURES, m->dim, m->experts);
		list_add(l, "attn_sinks", ALL, m->heads, 0)->type = FLOATS;
	}
}

static void list_fill(struct layer_list *l, const struct ggufgen_model *m) {
	uint64_t head_size = head_size_of(m), q = m->heads * head_size;
	uint64_t kv = (m->kv_heads ? m->kv_heads : m->heads) * head_size;
	bool renamed = is_family(m, "glm4moe") || is_family(m, "gpt-oss");
	list_add(l, "attn_norm", ALL, m->dim, 0);
	list_add(l, "attn_q", ALL, m->dim, q);
	list_add(l, "attn_k", ALL, m->dim, kv);
	list_add(l, "attn_v", ALL, m->dim, kv);
	list_add(l, "attn_output", ALL, q, m->dim);
	list_add(l, renamed ? "post_attention_norm" : "ffn_norm", ALL, m->dim, 0);
	if (!m->experts || m->dense) {
		list_add(l, "ffn_gate", DENSE, m->dim, m->ffn);
		list_add(l, "ffn_up", DENSE, m->dim, m->ffn);
		list_add(l, "ffn_down", DENSE, m->ffn, m->dim);
	}
	if (m->experts)
		list_add_experts(l, m);
	for (int k = 0; m->head_norms && k < 2; k++)
		list_add(l, k ? "attn_k_norm" : "attn_q_norm", ALL, head_size, 0);
	list_add_others(l, m, q, kv);
}

static bool layer_has(const struct ggufgen_model *m, uint32_t layer, const struct layer_tensor *t) {
	bool mixture = m->experts && layer >= m->dense;
	return t->where == ALL || (t->where == MIXTURES) == mixture;
}

static enum kern_type tensor_type(
        const struct ggufgen_model *m, uint32_t layer, const struct layer_tensor *t) {
	return t->type == OWN      ? ggufgen_layer_type(m, layer, t->name)
	       : t->type == NORM   ? m->norm
	       : t->type == EXPERT ? m->expert
	                           : KERN_F32;
}

void ggufgen_model_tensors(struct ggufgen *g, const struct ggufgen_model *m) {
	struct layer_list list = {.count = 0};
	list_fill(&list, m);
	uint32_t distinct = m->distinct ? m->distinct : m->layers;
	/* of each role and type: how many layers have it, and the tensors that were written for the first of them */
	uint32_t seen[sizeof list.tensor / sizeof *list.tensor][KERN_TYPES] = {{0}};
	size_t *written = need(calloc(list.count * KERN_TYPES * distinct, sizeof *written));

	ggufgen_seed(g, m->seed);
	ggufgen_tensor(g, "token_embd.weight", m->type, m->dim, m->vocab, GGUFGEN_WEIGHTS);
	if (m->factors)
		ggufgen_tensor(g, "rope_freqs.weight", KERN_F32, head_size_of(m) / 2, 0, GGUFGEN_NORM);
	for (uint32_t l = 0; l < m->layers; l++) {
		for (size_t k = 0; k < list.count; k++) {
			const struct layer_tensor *t = &list.tensor[k];
			char name[64];
			if (!layer_has(m, l, t))
				continue;
			enum kern_type type = tensor_type(m, l, t);
			uint32_t at = seen[k][type]++;
			size_t *slot = &written[(k * KERN_TYPES + (size_t)type) * distinct + at % distinct];
			snprintf(name, sizeof name, "blk.%u.%s.%s", l, t->name, t->end);
			/* routers are small, and layers with the same one would choose the same experts */
			bool router = strcmp(t->name, "ffn_gate_inp") == 0;
			if (at >= distinct && !router)
				ggufgen_alias(g, name, *slot);
			else if (t->experts)
				*slot = ggufgen_experts(
				        g, name, type, t->n, t->rows, t->experts, GGUFGEN_WEIGHTS);
			else
				*slot = ggufgen_tensor(g, name, type, t->n, t->rows,
				        t->type == NORM ? GGUFGEN_NORM : GGUFGEN_WEIGHTS);
		}
	}
	free(written);
	ggufgen_tensor(g, "output_norm.weight", m->norm, m->dim, 0, GGUFGEN_NORM);
	if (!m->tied)
		ggufgen_tensor(g, "output.weight", m->head, m->dim, m->vocab, GGUFGEN_WEIGHTS);
}

struct ggufgen *ggufgen_model(const struct ggufgen_model *m) {
	struct ggufgen *g = ggufgen_create();
	ggufgen_model_keys(g, m);
	ggufgen_vocab_keys(g, m->vocab);
	ggufgen_model_tensors(g, m);
	return g;
}
