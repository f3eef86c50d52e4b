/* lookup: finds values by key and tensors by name in an open GGUF file.
 * Values are read with memcpy, because nothing before the data section is aligned. */
#include "shard/gguf/gguf_internal.h"
#include <errno.h>
#include <math.h>
#include <string.h>

const struct gguf_value *gguf_part_value(const struct gguf_part *p, const char *key) {
	struct gguf_string k = {key, strlen(key)};
	size_t low = 0, high = p->values;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct gguf_value *v = &p->value[p->by_key[mid]];
		int d = gguf_string_compare(k, v->key);
		if (d == 0)
			return v;
		if (d < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static const struct gguf_value *gguf_find_value(const struct gguf *g, const char *key) {
	return gguf_part_value(&g->part[0], key);
}

static int gguf_read_integer(enum gguf_kind kind, const uint8_t *p, int64_t *out) {
	size_t size = gguf_kind_size(kind);
	uint64_t v = 0;
	switch (kind) {
	case GGUF_U8:
	case GGUF_U16:
	case GGUF_U32:
	case GGUF_U64:
		memcpy(&v, p, size); /* little-endian, like the processor */
		if (v > INT64_MAX)
			return -EINVAL;
		*out = (int64_t)v;
		return 0;
	case GGUF_I8:
	case GGUF_I16:
	case GGUF_I32:
	case GGUF_I64: {
		memcpy(&v, p, size);
		uint64_t sign = (uint64_t)1 << (8 * size - 1);
		*out = (int64_t)((v ^ sign) - sign);
		return 0;
	}
	default:
		return -EINVAL;
	}
}

static int gguf_read_float(enum gguf_kind kind, const uint8_t *p, float *out) {
	double d;
	switch (kind) {
	case GGUF_F32:
		memcpy(out, p, sizeof *out);
		return 0;
	case GGUF_F64:
		memcpy(&d, p, sizeof d);
		*out = (float)d;
		return isfinite(d) == isfinite(*out) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

int gguf_value_i64(const struct gguf_value *v, int64_t *out) {
	return gguf_read_integer(v->kind, v->data, out);
}

int gguf_i64(const struct gguf *g, const char *key, int64_t *out) {
	const struct gguf_value *v = gguf_find_value(g, key);
	return v ? gguf_value_i64(v, out) : -ENOENT;
}

int gguf_u32(const struct gguf *g, const char *key, uint32_t *out) {
	int64_t i;
	int rc = gguf_i64(g, key, &i);
	if (rc < 0)
		return rc;
	if (i < 0 || i > UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)i;
	return 0;
}

int gguf_f32(const struct gguf *g, const char *key, float *out) {
	const struct gguf_value *v = gguf_find_value(g, key);
	return v ? gguf_read_float(v->kind, v->data, out) : -ENOENT;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out) {
	const struct gguf_value *v = gguf_find_value(g, key);
	if (!v)
		return -ENOENT;
	if (v->kind != GGUF_BOOL || *v->data > 1)
		return -EINVAL;
	*out = *v->data == 1;
	return 0;
}

int gguf_string(const struct gguf *g, const char *key, struct gguf_string *out) {
	const struct gguf_value *v = gguf_find_value(g, key);
	if (!v)
		return -ENOENT;
	if (v->kind != GGUF_STRING)
		return -EINVAL;
	out->s = (const char *)v->data;
	out->len = v->len;
	return 0;
}

int gguf_array(const struct gguf *g, const char *key, enum gguf_kind *kind, uint64_t *count) {
	const struct gguf_value *v = gguf_find_value(g, key);
	if (!v)
		return -ENOENT;
	if (v->kind != GGUF_ARRAY || v->elem == GGUF_ARRAY)
		return -EINVAL;
	*kind = v->elem;
	*count = v->count;
	return 0;
}

static int gguf_find_element(
        const struct gguf *g, const char *key, uint64_t i, const struct gguf_value **out) {
	const struct gguf_value *v = gguf_find_value(g, key);
	if (!v)
		return -ENOENT;
	if (v->kind != GGUF_ARRAY || i >= v->count)
		return -EINVAL;
	*out = v;
	return 0;
}

int gguf_array_string(const struct gguf *g, const char *key, uint64_t i, struct gguf_string *out) {
	const struct gguf_value *v;
	int rc = gguf_find_element(g, key, i, &v);
	if (rc < 0)
		return rc;
	if (v->elem != GGUF_STRING)
		return -EINVAL;
	memcpy(&out->len, v->data + v->at[i], sizeof out->len);
	out->s = (const char *)v->data + v->at[i] + sizeof out->len;
	return 0;
}

int gguf_array_f32(const struct gguf *g, const char *key, uint64_t i, float *out) {
	const struct gguf_value *v;
	int rc = gguf_find_element(g, key, i, &v);
	return rc < 0 ? rc : gguf_read_float(v->elem, v->data + i * gguf_kind_size(v->elem), out);
}

int gguf_array_i64(const struct gguf *g, const char *key, uint64_t i, int64_t *out) {
	const struct gguf_value *v;
	int rc = gguf_find_element(g, key, i, &v);
	return rc < 0 ? rc : gguf_read_integer(v->elem, v->data + i * gguf_kind_size(v->elem), out);
}

int gguf_array_bool(const struct gguf *g, const char *key, uint64_t i, bool *out) {
	const struct gguf_value *v;
	int64_t n;
	int rc = gguf_find_element(g, key, i, &v);
	if (rc < 0)
		return rc;
	if (v->elem == GGUF_BOOL)
		n = v->data[i];
	else if (gguf_array_i64(g, key, i, &n) < 0)
		return -EINVAL;
	*out = n == 1;
	return n == 0 || n == 1 ? 0 : -EINVAL;
}

size_t gguf_keys(const struct gguf *g) {
	return g->part[0].values;
}

struct gguf_string gguf_key(const struct gguf *g, size_t i) {
	return g->part[0].value[i].key;
}

size_t gguf_tensors(const struct gguf *g) {
	return g->tensors;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i) {
	return g->tensor[i];
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name) {
	struct gguf_string k = {name, strlen(name)};
	size_t low = 0, high = g->tensors;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int d = gguf_string_compare(k, g->by_name[mid]->name);
		if (d == 0)
			return g->by_name[mid];
		if (d < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const char *gguf_file(const struct gguf *g, const struct gguf_tensor *t) {
	for (size_t i = 1; i < g->parts; i++)
		if (t >= g->part[i].tensor && t < g->part[i].tensor + g->part[i].tensors)
			return g->part[i].name;
	return g->part[0].name;
}

const char *gguf_printable(struct gguf_string s, char *buf, size_t len) {
	size_t n = 0;
	for (uint64_t i = 0; i < s.len && n + 1 < len; i++)
		buf[n++] = s.s[i] > 0x20 && s.s[i] < 0x7f ? s.s[i] : '?';
	buf[n] = '\0';
	if (s.len > n && n >= 3)
		memcpy(buf + n - 3, "...", 3);
	return buf;
}

const char *gguf_foreign_type(uint32_t type) {
	static const char *const names[] = {[4] = "Q4_2",
	        [5] = "Q4_3",
	        [9] = "Q8_1",
	        [15] = "Q8_K",
	        [24] = "I8",
	        [25] = "I16",
	        [26] = "I32",
	        [27] = "I64",
	        [28] = "F64",
	        [31] = "Q4_0_4_4",
	        [32] = "Q4_0_4_8",
	        [33] = "Q4_0_8_8",
	        [36] = "IQ4_NL_4_4",
	        [37] = "IQ4_NL_4_8",
	        [38] = "IQ4_NL_8_8"};
	const char *name = type < sizeof names / sizeof *names ? names[type] : NULL;
	return name ? name : "unknown";
}
