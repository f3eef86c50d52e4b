/* gguf: reads GGUF v2 and v3 files, whole or split, through descriptors.
 *
 * Owns: a descriptor of each file, a copy of its header, and the parsed tables.  Every offset, count, length and dimension is
 * checked against the file before this module hands it out.  It does not know what the keys mean.
 * A file is never mapped, because anybody may overwrite or truncate it at any time: the copy is parsed, and weights are read
 * into the caller's memory.
 * Immutable once open; any thread. */
#ifndef SHARD_GGUF_GGUF_H
#define SHARD_GGUF_GGUF_H
#include "kernels/kernels.h"

enum gguf_kind {
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64
};

struct gguf_string {
	const char *s; /* borrowed, not terminated */
	uint64_t len;
};

struct gguf_tensor {
	struct gguf_string name;
	uint32_t dims;
	uint64_t n;    /* elements in a row (the first dimension) */
	uint64_t rows; /* product of the others, 1 for a vector */
	uint64_t ne[4];
	enum kern_type type; /* one that kern_traits knows; a file with another type is refused by name */
	uint64_t bytes;
	uint64_t at; /* where its bytes begin in the file */
	int fd;      /* borrowed: the file's */
};

struct gguf;

/* In a message about a file that is no model: what follows, in quotes, is from the file, and only for whoever named it. */
#define GGUF_QUOTES " that begins with \""

/* Opens a model from nfds descriptors (borrowed; the parts of a split file in any order).
 * name: for messages; the path of one part of a split file names all of them, in their order.  0, or a negative errno with a
 * sentence in err. */
int gguf_open(struct gguf **out, const int *fds, size_t nfds, const char *name, char *err, size_t errlen);

/* The same by path; finds the other parts of NAME-00001-of-0000N.gguf (any part may be given). */
int gguf_open_path(struct gguf **out, const char *path, char *err, size_t errlen);

/* The paths of all parts that belong to a path (malloc'd strings in a malloc'd array). */
int gguf_parts(const char *path, char ***out, size_t *count, char *err, size_t errlen);

void gguf_close(struct gguf *g); /* NULL allowed */

/* Reads len bytes of a tensor, from its byte `from` on.  0; -ENODATA: the file has become shorter; or another negative errno
 * of the disk.  Any thread that may wait for one. */
int gguf_read(const struct gguf_tensor *t, uint64_t from, void *buf, size_t len);
/* 0 while size and modification time of the files are as when they were opened; otherwise -ESTALE. */
int gguf_unchanged(const struct gguf *g);

/* The file that a tensor of it is in, for messages: borrowed. */
const char *gguf_file(const struct gguf *g, const struct gguf_tensor *t);

/* Metadata of the first part.  Each returns 0, -ENOENT when there is no such key, -EINVAL when it has
 * another kind or does not fit.  Integers of any width convert when the value fits. */
int gguf_u32(const struct gguf *g, const char *key, uint32_t *out);
int gguf_i64(const struct gguf *g, const char *key, int64_t *out);
int gguf_f32(const struct gguf *g, const char *key, float *out);
int gguf_bool(const struct gguf *g, const char *key, bool *out);
int gguf_string(const struct gguf *g, const char *key, struct gguf_string *out);
/* An array of numbers or strings: its kind and length, then its elements. */
int gguf_array(const struct gguf *g, const char *key, enum gguf_kind *kind, uint64_t *count);
int gguf_array_string(const struct gguf *g, const char *key, uint64_t i, struct gguf_string *out);
int gguf_array_f32(const struct gguf *g, const char *key, uint64_t i, float *out);
int gguf_array_i64(const struct gguf *g, const char *key, uint64_t i, int64_t *out);
int gguf_array_bool(
        const struct gguf *g, const char *key, uint64_t i, bool *out); /* or the numbers 0 and 1 */

/* Keys in file order, for messages and for refusing unknown ones. */
size_t gguf_keys(const struct gguf *g);
struct gguf_string gguf_key(const struct gguf *g, size_t i);

size_t gguf_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name); /* NULL: none */

/* A string of a file made fit for a message: printable, at most len - 1 bytes.  Returns buf. */
const char *gguf_printable(struct gguf_string s, char *buf, size_t len);

#endif
