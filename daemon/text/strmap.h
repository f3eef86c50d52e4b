/* strmap: maps strings to numbers; open addressing, filled once, then only read.
 *
 * Owns: its table.  The strings are borrowed.
 * Filled by one thread; after that, any thread may read. */
#ifndef DAEMON_TEXT_STRMAP_H
#define DAEMON_TEXT_STRMAP_H
#include <stddef.h>
#include <stdint.h>

#define STRMAP_NONE UINT32_MAX

struct strmap_slot {
	const char *s; /* borrowed; NULL: free */
	uint32_t len, value;
};

struct strmap {
	struct strmap_slot *slot;
	size_t mask;
};

/* Capacity for n strings; no more may be added.  0 or -ENOMEM. */
int strmap_init(struct strmap *m, size_t n);
void strmap_release(struct strmap *m);

/* The value of s, or STRMAP_NONE. */
uint32_t strmap_find(const struct strmap *m, const char *s, size_t len);

/* Adds s unless it is there; returns the value that s then has. */
uint32_t strmap_add(struct strmap *m, const char *s, size_t len, uint32_t value);

#endif
