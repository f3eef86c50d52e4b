/* ggufgen: writes GGUF files for tests: any keys, tensors of any type with deterministic random weights, and
 * whole Llama models of any shape.  What it writes means nothing; it has the shapes, types and sizes.
 *
 * Weights depend on the seed and the tensor's number alone.  Failure of memory or disk ends the program: this is
 * for tests and tools of tests. */
#ifndef TESTS_SUPPORT_GGUFGEN_H
#define TESTS_SUPPORT_GGUFGEN_H
#include "shard/gguf/gguf.h"

struct ggufgen;

struct ggufgen *ggufgen_create(void);
void ggufgen_destroy(struct ggufgen *g);

void ggufgen_version(struct ggufgen *g, uint32_t version); /* default 3 */
void ggufgen_seed(struct ggufgen *g, uint64_t seed);

/* Metadata, in the order of the calls. */
void ggufgen_u32(struct ggufgen *g, const char *key, uint32_t v);
void ggufgen_f32(struct ggufgen *g, const char *key, float v);
void ggufgen_bool(struct ggufgen *g, const char *key, bool v);
void ggufgen_string(struct ggufgen *g, const char *key, const char *v);
void ggufgen_strings(struct ggufgen *g, const char *key, const char *const *v, size_t count);
/* Truth values, one for each letter: T is true; numbers: as such. */
void ggufgen_truths(struct ggufgen *g, const char *key, const char *letters, bool numbers);
/* Any kind: data is the value's bytes after the kind. */
void ggufgen_raw(struct ggufgen *g, const char *key, uint32_t kind, const void *data, size_t len);

enum ggufgen_fill {
	GGUFGEN_WEIGHTS, /* random with standard deviation 1 / sqrt(n) */
	GGUFGEN_NORM,    /* around 1; float types */
	GGUFGEN_ONES     /* 1; float types */
};

/* A tensor of rows of n elements (rows 0: one dimension); returns its number. */
size_t ggufgen_tensor(struct ggufgen *g, const char *name, enum kern_type type, uint64_t n, uint64_t rows,
        enum ggufgen_fill fill);
/* The same for each of some experts, one below the other: three dimensions. */
size_t ggufgen_experts(struct ggufgen *g, const char *name, enum kern_type type, uint64_t n, uint64_t rows,
        uint32_t experts, enum ggufgen_fill fill);
/* An F32 tensor with these weights, which are copied; NULL: all 0. */
size_t ggufgen_floats(struct ggufgen *g, const char *name, uint64_t n, uint64_t rows, const float *weights);
/* A tensor that lies on an earlier one's bytes. */
size_t ggufgen_alias(struct ggufgen *g, const char *name, size_t earlier);
/* Writes another type number, or shifts the offset, or has half of the experts in a fourth dimension, of the last tensor: for
 * files that are to be refused. */
void ggufgen_break_type(struct ggufgen *g, uint32_t type);
void ggufgen_break_experts(struct ggufgen *g);
void ggufgen_break_offset(struct ggufgen *g, uint64_t add);

/* The file: to a descriptor, to a path, or as bytes (malloc'd). */
void ggufgen_write(struct ggufgen *g, int fd);
void ggufgen_write_path(struct ggufgen *g, const char *path);
uint8_t *ggufgen_bytes(struct ggufgen *g, size_t *len);
/* An unnamed file with these bytes; a descriptor. */
int ggufgen_fd(const void *data, size_t len);

/* The vocabulary of a model: three pieces that control, one for each byte, and words. */
enum { GGUFGEN_BYTES = 3, GGUFGEN_WORDS = GGUFGEN_BYTES + 256 };

/* A model.  Zero stands for what is usual: kv_heads = heads, head_size = dim / heads, context 4096,
 * distinct = layers, norm type F32, freq_base 10000, eps 1e-5. */
struct ggufgen_model {
	enum kern_type type, head; /* of the matrices; of the output tensor */
	enum kern_type norm;
	uint32_t dim, layers, heads, kv_heads, head_size, ffn, vocab, context;
	uint32_t
	        distinct; /* so many tensors of a role and type are written; further ones lie on their bytes in turn */
	bool mixture;       /* as Q4_K_M has it: type Q4_K, where most is lost by it Q5_K or Q6_K */
	bool tied;          /* no output tensor */
	bool factors;       /* a tensor rope_freqs */
	const char *family; /* NULL: llama; glm4moe and gpt-oss have their biases, sinks and windows */
	bool head_norms;    /* of queries and keys */
	uint32_t experts, experts_used, expert_ffn; /* in place of the feed-forward; 0: none */
	enum kern_type expert;                      /* of the experts' matrices; F32: as the others */
	uint32_t shared_ffn;                        /* width of the expert of all rows, of glm4moe; 0: none */
	uint32_t dense;                             /* so many layers at the beginning have a feed-forward */
	float freq_base;
	uint64_t seed;
};

/* The type of a layer's tensor: of `type`, or as the mixture has it. */
enum kern_type ggufgen_layer_type(const struct ggufgen_model *m, uint32_t layer, const char *name);
/* What head is usually: Q6_K where the matrices are of a smaller K type, else their own type. */
enum kern_type ggufgen_usual_head(enum kern_type type);
/* The keys and tensors of a model, to which more can be added. */
struct ggufgen *ggufgen_model(const struct ggufgen_model *m);
/* The parts of it, for files with something left out. */
void ggufgen_model_keys(struct ggufgen *g, const struct ggufgen_model *m);
void ggufgen_vocab_keys(struct ggufgen *g, uint32_t tokens);
void ggufgen_model_tensors(struct ggufgen *g, const struct ggufgen_model *m);

#endif
