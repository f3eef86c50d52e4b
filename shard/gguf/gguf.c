/* gguf: opens and parses GGUF files; see gguf.h.
 *
 * Invariants: a cursor never passes the end of its file; memory for a count is allocated only after the file has turned out to
 * be long enough for that many.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#include "common/fail.h"
#include "proto/descriptors.h"
#include "shard/gguf/gguf_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_STEP (256u << 10) /* bytes read beyond what is parsed */

/* A cursor over one file, and where to report errors. */
struct cursor {
	struct gguf_part *part;
	const uint8_t *p;
	uint64_t left;
	const char *name;
	char *err;
	size_t errlen;
};

static int gguf_fail_short(struct cursor *c, const char *what) {
	return fail_with(-EINVAL, c->err, c->errlen, "%s: the file ends within %s: is the download complete?",
	        c->name, what);
}

/* Reads until the copy of the header has `end` bytes. */
static int gguf_fill(struct cursor *c, uint64_t end, const char *what) {
	struct gguf_part *p = c->part;
	if (end > p->capacity)
		return fail_with(-EFBIG, c->err, c->errlen, "%s: more than %u MiB before its weights, in %s",
		        c->name, GGUF_MAX_HEAD >> 20, what);
	/* reads ahead, but only `end` bytes are needed */
	uint64_t want = end + HEAD_STEP < p->capacity ? end + HEAD_STEP : p->capacity;
	if (want > p->usable) {
		if (mprotect(p->head, want, PROT_READ | PROT_WRITE) < 0)
			return fail_memory(c->err, c->errlen, c->name);
		p->usable = want;
	}
	while (p->have < end) {
		ssize_t n = pread(p->fd, p->head + p->have, want - p->have, (off_t)p->have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return fail_with(-ENODATA, c->err, c->errlen,
			        "%s: it was truncated while it was being read", c->name);
		if (n < 0) {
			int rc = -errno;
			return fail_with(
			        rc, c->err, c->errlen, "%s: cannot read it: %s", c->name, strerror(-rc));
		}
		p->have += (uint64_t)n;
	}
	return 0;
}

static int gguf_take(struct cursor *c, const uint8_t **out, uint64_t len, const char *what) {
	*out = c->p;
	if (len > c->left)
		return gguf_fail_short(c, what);
	uint64_t end = (uint64_t)(c->p - c->part->head) + len;
	int rc = end > c->part->have ? gguf_fill(c, end, what) : 0;
	if (rc < 0)
		return rc;
	c->p += len;
	c->left -= len;
	return 0;
}

static int gguf_take_u32(struct cursor *c, uint32_t *out, const char *what) {
	*out = 0;
	const uint8_t *p;
	int rc = gguf_take(c, &p, sizeof *out, what);
	if (rc == 0)
		memcpy(out, p, sizeof *out);
	return rc;
}

static int gguf_take_u64(struct cursor *c, uint64_t *out, const char *what) {
	*out = 0;
	const uint8_t *p;
	int rc = gguf_take(c, &p, sizeof *out, what);
	if (rc == 0)
		memcpy(out, p, sizeof *out);
	return rc;
}

static int gguf_take_string(struct cursor *c, struct gguf_string *out, uint64_t max, const char *what) {
	const uint8_t *p;
	uint64_t len;
	int rc = gguf_take_u64(c, &len, what);
	if (rc < 0)
		return rc;
	if (len > max)
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: a string of %" PRIu64 " bytes in %s (at most %" PRIu64 ")", c->name, len, what,
		        max);
	rc = gguf_take(c, &p, len, what);
	if (rc < 0)
		return rc;
	out->s = (const char *)p;
	out->len = len;
	return 0;
}

size_t gguf_kind_size(enum gguf_kind k) {
	switch (k) {
	case GGUF_U8:
	case GGUF_I8:
	case GGUF_BOOL:
		return 1;
	case GGUF_U16:
	case GGUF_I16:
		return 2;
	case GGUF_U32:
	case GGUF_I32:
	case GGUF_F32:
		return 4;
	case GGUF_U64:
	case GGUF_I64:
	case GGUF_F64:
		return 8;
	case GGUF_STRING:
	case GGUF_ARRAY:
		break;
	}
	return 0;
}

static int gguf_take_kind(struct cursor *c, enum gguf_kind *out, const char *what) {
	uint32_t kind;
	int rc = gguf_take_u32(c, &kind, what);
	if (rc < 0)
		return rc;
	if (kind > GGUF_F64)
		return fail_with(-EINVAL, c->err, c->errlen, "%s: %s has the unknown kind %" PRIu32, c->name,
		        what, kind);
	*out = (enum gguf_kind)kind;
	return 0;
}

/* The header of an array: kind and count; the count is checked against the length of the file. */
static int gguf_take_array_head(struct cursor *c, enum gguf_kind *elem, uint64_t *count, const char *what) {
	int rc = gguf_take_kind(c, elem, what);
	if (rc < 0)
		return rc;
	rc = gguf_take_u64(c, count, what);
	if (rc < 0)
		return rc;
	/* the least bytes of an element: a string has its length, an array its kind and count */
	size_t least = *elem == GGUF_STRING ? 8 : *elem == GGUF_ARRAY ? 12 : gguf_kind_size(*elem);
	if (*count > c->left / least)
		return gguf_fail_short(c, what);
	return 0;
}

static int gguf_skip_elements(
        struct cursor *c, enum gguf_kind elem, uint64_t count, int depth, const char *what) {
	const uint8_t *p;
	struct gguf_string s;
	int rc = 0;
	if (elem != GGUF_STRING && elem != GGUF_ARRAY)
		return gguf_take(c, &p, count * gguf_kind_size(elem), what);
	if (elem == GGUF_ARRAY && depth >= GGUF_MAX_DEPTH)
		return fail_with(-EINVAL, c->err, c->errlen, "%s: %s has arrays nested more than %d deep",
		        c->name, what, GGUF_MAX_DEPTH);
	for (uint64_t i = 0; rc == 0 && i < count; i++) {
		if (elem == GGUF_STRING) {
			rc = gguf_take_string(c, &s, GGUF_MAX_STRING, what);
		} else {
			enum gguf_kind inner;
			uint64_t n;
			rc = gguf_take_array_head(c, &inner, &n, what);
			if (rc == 0)
				rc = gguf_skip_elements(c, inner, n, depth + 1, what);
		}
	}
	return rc;
}

static int gguf_take_value(struct cursor *c, struct gguf_value *v) {
	char what[96], key[80];
	int rc = gguf_take_string(c, &v->key, GGUF_MAX_NAME, "a key");
	if (rc < 0)
		return rc;
	snprintf(what, sizeof what, "the key %s", gguf_printable(v->key, key, sizeof key));
	rc = gguf_take_kind(c, &v->kind, what);
	if (rc < 0)
		return rc;
	if (v->kind == GGUF_STRING) {
		struct gguf_string s;
		rc = gguf_take_string(c, &s, GGUF_MAX_STRING, what);
		if (rc < 0)
			return rc;
		v->data = (const uint8_t *)s.s;
		v->len = s.len;
		return 0;
	}
	if (v->kind != GGUF_ARRAY)
		return gguf_take(c, &v->data, gguf_kind_size(v->kind), what);
	rc = gguf_take_array_head(c, &v->elem, &v->count, what);
	if (rc < 0)
		return rc;
	v->data = c->p;
	if (v->elem != GGUF_STRING)
		return gguf_skip_elements(c, v->elem, v->count, 1, what);
	/* strings are indexed, so that the i-th is found at once; count is bounded by the length of the
	 * file */
	v->at = malloc((v->count ? v->count : 1) * sizeof *v->at);
	if (!v->at)
		return fail_memory(c->err, c->errlen, c->name);
	for (uint64_t i = 0; i < v->count; i++) {
		struct gguf_string s;
		v->at[i] = (uint64_t)(c->p - v->data);
		rc = gguf_take_string(c, &s, GGUF_MAX_STRING, what);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int gguf_string_compare(struct gguf_string a, struct gguf_string b) {
	uint64_t len = a.len < b.len ? a.len : b.len;
	int d = len ? memcmp(a.s, b.s, len) : 0;
	return d ? d : (a.len > b.len) - (a.len < b.len);
}

static int gguf_compare_values(const void *a, const void *b, void *arg) {
	const struct gguf_value *v = arg;
	return gguf_string_compare(v[*(const size_t *)a].key, v[*(const size_t *)b].key);
}

static int gguf_parse_values(struct cursor *c, struct gguf_part *p, uint64_t count) {
	char key[80];
	if (count > GGUF_MAX_KEYS || count > c->left / 12)
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: has %" PRIu64
		        " keys by its header, but is too short for them: is the download complete?",
		        c->name, count);
	p->value = calloc(count ? count : 1, sizeof *p->value);
	p->by_key = calloc(count ? count : 1, sizeof *p->by_key);
	if (!p->value || !p->by_key)
		return fail_memory(c->err, c->errlen, c->name);
	p->values = count;
	for (size_t i = 0; i < count; i++) {
		int rc = gguf_take_value(c, &p->value[i]);
		if (rc < 0)
			return rc;
		p->by_key[i] = i;
	}
	qsort_r(p->by_key, count, sizeof *p->by_key, gguf_compare_values, p->value);
	for (size_t i = 1; i < count; i++) {
		if (gguf_compare_values(&p->by_key[i - 1], &p->by_key[i], p->value) == 0)
			return fail_with(-EINVAL, c->err, c->errlen, "%s: the key %s occurs twice", c->name,
			        gguf_printable(p->value[p->by_key[i]].key, key, sizeof key));
	}
	return 0;
}

/* Shape, type and offset of a tensor (stored in *offset until the start of the data section is known). */
static int gguf_take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset) {
	char what[112], name[80];
	uint32_t type;
	int rc = gguf_take_string(c, &t->name, GGUF_MAX_NAME, "a tensor's name");
	if (rc < 0)
		return rc;
	gguf_printable(t->name, name, sizeof name);
	snprintf(what, sizeof what, "the entry of tensor %s", name);
	rc = gguf_take_u32(c, &t->dims, what);
	if (rc < 0)
		return rc;
	if (t->dims < 1 || t->dims > 4)
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: tensor %s has %" PRIu32 " dimensions (1 to 4 are supported)", c->name, name,
		        t->dims);
	t->rows = 1;
	for (uint32_t i = 0; i < 4; i++) {
		t->ne[i] = 1;
		if (i < t->dims) {
			rc = gguf_take_u64(c, &t->ne[i], what);
			if (rc < 0)
				return rc;
		}
		if (t->ne[i] < 1 || t->ne[i] > GGUF_MAX_ROW || (i > 0 && t->rows > GGUF_MAX_ROW / t->ne[i]))
			return fail_with(-EINVAL, c->err, c->errlen, "%s: tensor %s has an impossible shape",
			        c->name, name);
		if (i > 0)
			t->rows *= t->ne[i];
	}
	t->n = t->ne[0];
	rc = gguf_take_u32(c, &type, what);
	if (rc == 0)
		rc = gguf_take_u64(c, offset, what);
	if (rc < 0)
		return rc;
	const struct kern_traits *traits = kern_traits(type);
	if (!traits)
		return fail_with(-ENOTSUP, c->err, c->errlen,
		        "%s: tensor %s has type %" PRIu32 " (%s), which Caravan does not know", c->name, name,
		        type, gguf_foreign_type(type));
	t->type = (enum kern_type)type;
	if (t->n % traits->block)
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: tensor %s has rows of %" PRIu64 " elements, not a multiple of %s's %u", c->name,
		        name, t->n, traits->name, (unsigned)traits->block);
	/* n <= 2^32, so a row is below 2^38 bytes; rows <= 2^32 */
	uint64_t row = kern_row_bytes(t->type, t->n);
	if (row > UINT64_MAX / t->rows)
		return fail_with(
		        -EINVAL, c->err, c->errlen, "%s: tensor %s has an impossible shape", c->name, name);
	t->bytes = row * t->rows;
	return 0;
}

static int gguf_parse_tensors(struct cursor *c, struct gguf_part *p, uint64_t count) {
	char name[80];
	int64_t alignment = 32;
	uint64_t *offset = NULL;
	int rc;

	if (count > GGUF_MAX_TENSORS || count > c->left / 32)
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: claims %" PRIu64
		        " tensors by its header, but is too short for them: is the download complete?",
		        c->name, count);
	const struct gguf_value *v = gguf_part_value(p, "general.alignment");
	if (v && (gguf_value_i64(v, &alignment) < 0 || alignment < 8 || alignment > GGUF_MAX_ALIGNMENT ||
	                 (alignment & (alignment - 1))))
		return fail_with(-EINVAL, c->err, c->errlen,
		        "%s: general.alignment is not a power of two from 8 to %u", c->name,
		        GGUF_MAX_ALIGNMENT);
	p->tensor = calloc(count ? count : 1, sizeof *p->tensor);
	offset = calloc(count ? count : 1, sizeof *offset);
	if (!p->tensor || !offset) {
		rc = fail_memory(c->err, c->errlen, c->name);
		goto done;
	}
	p->tensors = count;
	for (size_t i = 0; i < count; i++) {
		rc = gguf_take_tensor(c, &p->tensor[i], &offset[i]);
		if (rc < 0)
			goto done;
	}
	uint64_t head = p->size - c->left, mask = (uint64_t)alignment - 1, start = (head + mask) & ~mask;
	for (size_t i = 0; i < count; i++) {
		struct gguf_tensor *t = &p->tensor[i];
		gguf_printable(t->name, name, sizeof name);
		if (offset[i] & mask) {
			snprintf(c->err, c->errlen, "%s: tensor %s is not aligned to %" PRId64 " bytes",
			        c->name, name, alignment);
			rc = -EINVAL;
			goto done;
		}
		if (start > p->size || offset[i] > p->size - start ||
		        t->bytes > p->size - start - offset[i]) {
			snprintf(c->err, c->errlen,
			        "%s: tensor %s extends beyond the end of the file, which has %" PRIu64
			        " bytes: is the download complete?",
			        c->name, name, p->size);
			rc = -EINVAL;
			goto done;
		}
		t->at = start + offset[i];
		t->fd = p->fd;
	}
	rc = 0;
done:
	free(offset);
	return rc;
}

static int gguf_parse_split(struct cursor *c, struct gguf_part *p) {
	const struct gguf_value *no = gguf_part_value(p, "split.no"),
	                        *count = gguf_part_value(p, "split.count");
	int64_t a = 0, b = 1;
	/* in an unsplit file, a writer may store a count of 0 or omit the keys */
	if ((no && gguf_value_i64(no, &a) < 0) || (count && gguf_value_i64(count, &b) < 0))
		goto error;
	if (b == 0)
		b = 1;
	if (b < 1 || b > GGUF_MAX_PARTS || a < 0 || a >= b)
		goto error;
	p->no = (uint64_t)a;
	p->count = (uint64_t)b;
	return 0;
error:
	return fail_with(-EINVAL, c->err, c->errlen, "%s: split.no and split.count are invalid", c->name);
}

static int gguf_parse_part(struct gguf_part *p, char *err, size_t errlen) {
	const char *name = p->name;
	struct cursor c = {p, p->head, p->size, name, err, errlen};
	const uint8_t *magic;
	uint32_t version;
	uint64_t tensors, keys;
	int rc = gguf_take(&c, &magic, 4, "the magic number");
	if (rc < 0)
		return rc;
	if (memcmp(magic, "GGUF", 4) != 0) {
		gguf_say_other(p, err, errlen);
		return -EINVAL;
	}
	rc = gguf_take_u32(&c, &version, "the header");
	if (rc < 0)
		return rc;
	if (version != 2 && version != 3) {
		if (version && (version & 0xffff) == 0)
			return fail_with(-ENOTSUP, err, errlen,
			        "%s: a GGUF file for big-endian processors, which Caravan does not read",
			        name);
		return fail_with(-ENOTSUP, err, errlen,
		        "%s: GGUF version %" PRIu32 " (2 and 3 are supported)", name, version);
	}
	rc = gguf_take_u64(&c, &tensors, "the header");
	if (rc == 0)
		rc = gguf_take_u64(&c, &keys, "the header");
	if (rc == 0)
		rc = gguf_parse_values(&c, p, keys);
	if (rc == 0)
		rc = gguf_parse_split(&c, p);
	if (rc == 0)
		rc = gguf_parse_tensors(&c, p, tensors);
	return rc;
}

static int gguf_open_part(struct gguf_part *p, int fd, char *err, size_t errlen) {
	const char *name = p->name;
	struct stat st;
	if (fstat(fd, &st) < 0) {
		int rc = -errno;
		return fail_with(rc, err, errlen, "%s: %s", name, strerror(-rc));
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 4) {
		if (S_ISREG(st.st_mode) && st.st_size == 0)
			return fail_with(-EINVAL, err, errlen,
			        "%s: not a GGUF file: it is empty; is the download complete?", name);
		return fail_with(-EINVAL, err, errlen, "%s: not a GGUF file", name);
	}
	p->size = (uint64_t)st.st_size;
	p->changed = st.st_mtim;
	p->capacity = p->size < GGUF_MAX_HEAD ? p->size : GGUF_MAX_HEAD;
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	void *head = p->fd < 0 ? MAP_FAILED
	                       : mmap(NULL, p->capacity, PROT_NONE,
	                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (head == MAP_FAILED) {
		int rc = -errno;
		return fail_with(
		        rc, err, errlen, "%s: cannot open it: %s", name, descriptors_strerror(-rc).s);
	}
	p->head = head;
	return 0;
}

int gguf_read(const struct gguf_tensor *t, uint64_t from, void *buf, size_t len) {
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(t->fd, (uint8_t *)buf + got, len - got, (off_t)(t->at + from + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		got += (size_t)n;
	}
	return 0;
}

int gguf_unchanged(const struct gguf *g) {
	for (size_t i = 0; i < g->parts; i++) {
		const struct gguf_part *p = &g->part[i];
		struct stat st;
		if (fstat(p->fd, &st) < 0 || (uint64_t)st.st_size != p->size ||
		        st.st_mtim.tv_sec != p->changed.tv_sec || st.st_mtim.tv_nsec != p->changed.tv_nsec)
			return -ESTALE;
	}
	return 0;
}

static int gguf_compare_parts(const void *a, const void *b) {
	const struct gguf_part *x = a, *y = b;
	return (x->no > y->no) - (x->no < y->no);
}

static int gguf_compare_tensors(const void *a, const void *b) {
	return gguf_string_compare(
	        (*(const struct gguf_tensor *const *)a)->name, (*(const struct gguf_tensor *const *)b)->name);
}

/* Two parts claim the same number, or different counts: the message blames the one whose name contradicts its
 * number.  Without distinct names, neither is blamed. */
static int gguf_fail_parts(const struct gguf_part *a, const struct gguf_part *b, char *err, size_t errlen) {
	const struct gguf_part *odd = b->no == b->given && a->no != a->given ? a : b,
	                       *other = odd == a ? b : a;
	if (strcmp(a->name, b->name) != 0)
		return fail_with(-EINVAL, err, errlen,
		        "%s: says that it is part %" PRIu64 " of %" PRIu64 ", and %s part %" PRIu64
		        " of %" PRIu64 ": they do not belong together",
		        odd->name, odd->no + 1, odd->count, other->name, other->no + 1, other->count);
	if (a->count != b->count)
		return fail_with(-EINVAL, err, errlen,
		        "%s: these parts do not belong together: one is of %" PRIu64 ", another of %" PRIu64,
		        a->name, a->count, b->count);
	return fail_with(-EINVAL, err, errlen, "%s: part %" PRIu64 " of %" PRIu64 " was given twice", a->name,
	        a->no + 1, a->count);
}

static int gguf_check_parts(struct gguf *g, const char *name, char *err, size_t errlen) {
	qsort(g->part, g->parts, sizeof *g->part, gguf_compare_parts);
	uint64_t count = g->part[0].count;
	for (size_t i = 1; i < g->parts; i++) {
		const struct gguf_part *p = &g->part[i];
		if (p->count != count)
			return gguf_fail_parts(&g->part[0], p, err, errlen);
		if (p->no == p[-1].no)
			return gguf_fail_parts(&p[-1], p, err, errlen);
	}
	for (uint64_t i = 0; i < count; i++) {
		if (i >= g->parts || g->part[i].no != i)
			return fail_with(-ENOENT, err, errlen,
			        "%s: part %" PRIu64 " of %" PRIu64 " is missing", name, i + 1, count);
	}
	return 0;
}

static int gguf_index_tensors(struct gguf *g, const char *name, char *err, size_t errlen) {
	char shown[80];
	int64_t claimed;
	size_t total = 0, k = 0;
	for (size_t i = 0; i < g->parts; i++)
		total += g->part[i].tensors;
	if (total > GGUF_MAX_TENSORS)
		return fail_with(-EINVAL, err, errlen, "%s: %zu tensors", name, total);
	if (gguf_i64(g, "split.tensors.count", &claimed) == 0 && g->part[0].count > 1 &&
	        claimed != (int64_t)total) {
		return fail_with(-EINVAL, err, errlen,
		        "%s: the parts have %zu tensors, the first one says %" PRId64, name, total, claimed);
	}
	g->tensor = calloc(total ? total : 1, sizeof *g->tensor);
	g->by_name = calloc(total ? total : 1, sizeof *g->by_name);
	if (!g->tensor || !g->by_name)
		return fail_memory(err, errlen, name);
	for (size_t i = 0; i < g->parts; i++)
		for (size_t j = 0; j < g->part[i].tensors; j++)
			g->tensor[k++] = &g->part[i].tensor[j];
	g->tensors = total;
	memcpy(g->by_name, g->tensor, total * sizeof *g->tensor);
	qsort(g->by_name, total, sizeof *g->by_name, gguf_compare_tensors);
	for (size_t i = 1; i < total; i++) {
		if (gguf_compare_tensors(&g->by_name[i - 1], &g->by_name[i]) == 0)
			return fail_with(-EINVAL, err, errlen, "%s: tensor %s occurs twice",
			        gguf_file(g, g->by_name[i]),
			        gguf_printable(g->by_name[i]->name, shown, sizeof shown));
	}
	return 0;
}

int gguf_open(struct gguf **out, const int *fds, size_t nfds, const char *name, char *err, size_t errlen) {
	struct gguf *g = NULL;
	int rc;
	if (nfds < 1 || nfds > GGUF_MAX_PARTS)
		return fail_with(-EINVAL, err, errlen, "%s: %zu files were given (1 to %u are allowed)", name,
		        nfds, GGUF_MAX_PARTS);
	g = calloc(1, sizeof *g);
	if (g)
		g->part = calloc(nfds, sizeof *g->part);
	if (!g || !g->part) {
		rc = fail_memory(err, errlen, name);
		goto error;
	}
	for (size_t i = 0; i < nfds; i++) {
		struct gguf_part *p = &g->part[i];
		p->fd = -1;
		p->given = i;
		p->name = gguf_part_name(name, i, nfds);
		g->parts = i + 1;
		if (!p->name) {
			rc = fail_memory(err, errlen, name);
			goto error;
		}
		rc = gguf_open_part(p, fds[i], err, errlen);
		if (rc == 0)
			rc = gguf_parse_part(p, err, errlen);
		if (rc < 0)
			goto error;
	}
	rc = gguf_check_parts(g, name, err, errlen);
	if (rc == 0)
		rc = gguf_index_tensors(g, name, err, errlen);
	if (rc < 0)
		goto error;
	*out = g;
	return 0;
error:
	gguf_close(g);
	return rc;
}

void gguf_close(struct gguf *g) {
	int saved = errno;
	if (!g)
		return;
	for (size_t i = 0; i < g->parts; i++) {
		struct gguf_part *p = &g->part[i];
		for (size_t j = 0; j < p->values; j++)
			free(p->value[j].at);
		free(p->value);
		free(p->by_key);
		free(p->tensor);
		if (p->head)
			munmap(p->head, p->capacity);
		if (p->fd >= 0)
			close(p->fd);
		free(p->name);
	}
	free(g->part);
	free(g->tensor);
	free(g->by_name);
	free(g);
	errno = saved;
}
