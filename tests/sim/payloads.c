/* sim/payloads: see payloads.h.  A table of those that there are, each with its references. */
#include "tests/sim/payloads.h"

#include "daemon/net/payload.h"

#include <stdio.h>
#include <stdlib.h>

struct payload *__real_payload_create(size_t len);
struct payload *__real_payload_copy(const void *data, size_t len);
struct payload *__real_payload_wrap(void *data, size_t len, void (*release)(void *arg), void *arg);
struct payload *__real_payload_ref(struct payload *p);
void __real_payload_unref(struct payload *p);
struct payload *__wrap_payload_create(size_t len);
struct payload *__wrap_payload_copy(const void *data, size_t len);
struct payload *__wrap_payload_wrap(void *data, size_t len, void (*release)(void *arg), void *arg);
struct payload *__wrap_payload_ref(struct payload *p);
void __wrap_payload_unref(struct payload *p);

static struct open {
	struct payload *p;
	unsigned refs;
} * table;
static size_t count, capacity;

size_t payloads_open(void) {
	return count;
}

static struct open *find(const struct payload *p) {
	for (size_t i = count; i-- > 0;)
		if (table[i].p == p)
			return &table[i];
	fprintf(stderr, "sim: a payload is used that was freed\n");
	abort();
}

static struct payload *add(struct payload *p) {
	if (!p)
		return NULL;
	if (count == capacity) {
		capacity = capacity * 2 + 64;
		if (!(table = realloc(table, capacity * sizeof *table)))
			abort();
	}
	table[count++] = (struct open){p, 1};
	return p;
}

struct payload *__wrap_payload_create(size_t len) {
	return add(__real_payload_create(len));
}

struct payload *__wrap_payload_copy(const void *data, size_t len) {
	return add(__real_payload_copy(data, len));
}

struct payload *__wrap_payload_wrap(void *data, size_t len, void (*release)(void *arg), void *arg) {
	return add(__real_payload_wrap(data, len, release, arg));
}

struct payload *__wrap_payload_ref(struct payload *p) {
	find(p)->refs++;
	return __real_payload_ref(p);
}

void __wrap_payload_unref(struct payload *p) {
	if (p) {
		struct open *o = find(p);
		if (--o->refs == 0)
			*o = table[--count];
	}
	__real_payload_unref(p);
}
