/* payload: see payload.h. */
#include "config.h"

#include "daemon/net/payload.h"
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64

struct payload {
	atomic_uint refs;
	size_t len;
	void *data;
	void (*release)(void *arg); /* NULL: data follows this header in one allocation */
	void *arg;
};

struct payload *payload_create(size_t len) {
	_Static_assert(sizeof(struct payload) <= ALIGN, "the header fits before aligned data");
	if (len > SIZE_MAX - 2 * ALIGN)
		return NULL;
	char *block = aligned_alloc(ALIGN, (len + 2 * ALIGN - 1) / ALIGN * ALIGN);
	if (!block)
		return NULL;
	struct payload *p = (struct payload *)block;
	atomic_init(&p->refs, 1);
	p->len = len;
	p->data = block + ALIGN;
	p->release = NULL;
	p->arg = NULL;
	return p;
}

struct payload *payload_copy(const void *data, size_t len) {
	struct payload *p = payload_create(len);
	if (p && len)
		memcpy(p->data, data, len);
	return p;
}

struct payload *payload_wrap(void *data, size_t len, void (*release)(void *arg), void *arg) {
	struct payload *p = malloc(sizeof *p);
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->len = len;
	p->data = data;
	p->release = release;
	p->arg = arg;
	return p;
}

struct payload *payload_ref(struct payload *p) {
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void payload_unref(struct payload *p) {
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (p->release)
		p->release(p->arg);
	free(p);
}

void *payload_data(struct payload *p) {
	return p->data;
}

size_t payload_len(const struct payload *p) {
	return p->len;
}
