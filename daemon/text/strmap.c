/* strmap: a hash table of strings with linear probing, at most half full.
 * Filled by one thread; after that, any thread may read. */
#include "daemon/text/strmap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a (Fowler, Noll, Vo), its halves folded: the strings are short. */
static size_t strmap_hash(const char *s, size_t len) {
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 32);
}

static struct strmap_slot *strmap_find_slot(const struct strmap *m, const char *s, size_t len) {
	for (size_t i = strmap_hash(s, len);; i++) {
		struct strmap_slot *e = &m->slot[i & m->mask];
		if (!e->s || (e->len == len && memcmp(e->s, s, len) == 0))
			return e;
	}
}

int strmap_init(struct strmap *m, size_t n) {
	size_t slots = 16;
	while (slots < 2 * n)
		slots *= 2;
	m->slot = calloc(slots, sizeof *m->slot);
	m->mask = slots - 1;
	return m->slot ? 0 : -ENOMEM;
}

void strmap_release(struct strmap *m) {
	free(m->slot);
	m->slot = NULL;
}

uint32_t strmap_find(const struct strmap *m, const char *s, size_t len) {
	const struct strmap_slot *e = strmap_find_slot(m, s, len);
	return e->s ? e->value : STRMAP_NONE;
}

uint32_t strmap_add(struct strmap *m, const char *s, size_t len, uint32_t value) {
	struct strmap_slot *e = strmap_find_slot(m, s, len);
	if (!e->s)
		*e = (struct strmap_slot){s, (uint32_t)len, value};
	return e->value;
}
