/* bytes: writes and reads the fixed little-endian forms of content (doc/protocol.md).
 *
 * A writer's room is computed beforehand and asserted, since it is our own.  A reader may run short: it then
 * hands out zeroes and remembers it in `short_of`, so that a decoder checks once for many fields.
 * Caravan runs on little-endian processors only, so a number's bytes are its memory. */
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes_out {
	uint8_t *p, *end;
};

static inline void bytes_put(struct bytes_out *o, const void *data, size_t len) {
	assert(len <= (size_t)(o->end - o->p));
	if (len)
		memcpy(o->p, data, len);
	o->p += len;
}

static inline void bytes_put_u32(struct bytes_out *o, uint32_t v) {
	bytes_put(o, &v, sizeof v);
}
static inline void bytes_put_u64(struct bytes_out *o, uint64_t v) {
	bytes_put(o, &v, sizeof v);
}
static inline void bytes_put_f32(struct bytes_out *o, float v) {
	bytes_put(o, &v, sizeof v);
}

struct bytes_in {
	const uint8_t *p;
	size_t left;
	bool short_of;
};

/* len bytes; when there are fewer, a zero byte stands for them and the reader is at its end. */
static inline const uint8_t *bytes_get(struct bytes_in *in, size_t len) {
	static const uint8_t zero[1];
	if (in->short_of || len > in->left) {
		in->short_of = true;
		in->left = 0;
		return zero;
	}
	const uint8_t *p = in->p;
	in->p += len;
	in->left -= len;
	return p;
}

static inline void bytes_get_into(struct bytes_in *in, void *out, size_t len) {
	const uint8_t *p = bytes_get(in, len);
	if (in->short_of)
		memset(out, 0, len);
	else if (len)
		memcpy(out, p, len);
}

static inline uint32_t bytes_get_u32(struct bytes_in *in) {
	uint32_t v;
	bytes_get_into(in, &v, sizeof v);
	return v;
}

static inline uint64_t bytes_get_u64(struct bytes_in *in) {
	uint64_t v;
	bytes_get_into(in, &v, sizeof v);
	return v;
}

static inline float bytes_get_f32(struct bytes_in *in) {
	float v;
	bytes_get_into(in, &v, sizeof v);
	return v;
}

#endif
