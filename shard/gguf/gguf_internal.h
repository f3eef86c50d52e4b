/* gguf_internal: shared by gguf.c, lookup.c, split.c and other_formats.c; private to this folder. */
#ifndef SHARD_GGUF_GGUF_INTERNAL_H
#define SHARD_GGUF_GGUF_INTERNAL_H
#include "shard/gguf/gguf.h"
#include <time.h>

#define GGUF_MAX_KEYS 65536u
#define GGUF_MAX_TENSORS 65536u
#define GGUF_MAX_NAME 65535u        /* bytes in a key or in a tensor's name */
#define GGUF_MAX_STRING (64u << 20) /* bytes in a string value */
#define GGUF_MAX_DEPTH 4            /* arrays in arrays */
#define GGUF_MAX_ALIGNMENT (1u << 20)
#define GGUF_MAX_PARTS 1024u
#define GGUF_MAX_HEAD (256u << 20)       /* bytes before the weights, of which there is a copy in memory */
#define GGUF_MAX_ROW ((uint64_t)1 << 32) /* elements in any dimension */

struct gguf_value {
	struct gguf_string key;
	enum gguf_kind kind;
	enum gguf_kind elem; /* of an array */
	uint64_t count;      /* of an array */
	const uint8_t *data; /* the value; a string's and an array's after their lengths; unaligned */
	uint64_t len;        /* of a string */
	uint64_t *at;        /* array of strings: where each one's length stands, from data; owned */
};

/* One file. */
struct gguf_part {
	char *name;     /* for messages; owned */
	uint64_t given; /* its place among the descriptors */
	int fd;         /* owned */
	uint64_t size;
	struct timespec changed;
	uint8_t *
	        head; /* a copy of its beginning, in addresses reserved for `capacity` bytes: pointers stay valid */
	uint64_t capacity, have, usable; /* bytes of the copy: at most, read, that may be written */
	uint64_t no, count;              /* of a split file; 0 of 1 otherwise */
	struct gguf_value *value;
	size_t values;
	size_t *by_key; /* indices of value, ascending by key */
	struct gguf_tensor *tensor;
	size_t tensors;
};

struct gguf {
	struct gguf_part *part; /* in order */
	size_t parts;
	const struct gguf_tensor **tensor; /* of all parts, in file order */
	const struct gguf_tensor **by_name;
	size_t tensors;
};

/* NULL: no such key. */
const struct gguf_value *gguf_part_value(const struct gguf_part *p, const char *key);
/* As gguf_i64, for a value. */
int gguf_value_i64(const struct gguf_value *v, int64_t *out);
/* Bytes of a value of fixed size, 0 for strings and arrays. */
size_t gguf_kind_size(enum gguf_kind k);
int gguf_string_compare(struct gguf_string a, struct gguf_string b);
/* The name of file `at` (from 0) of the `count` files that name stands for; malloc'd, NULL: out of memory. */
char *gguf_part_name(const char *name, size_t at, size_t count);
/* What a file is that is not a GGUF file, as far as its first bytes tell: a sentence that names it, and helps. */
void gguf_say_other(const struct gguf_part *p, char *err, size_t errlen);
/* The name of a weight type that Caravan lacks, "unknown" when GGUF has none either. */
const char *gguf_foreign_type(uint32_t type);

#endif
