/* prefix_cache: see prefix_cache.h.  Idle blocks are listed in the order in which they became idle.  Since a
 * sequence releases its last block first, a block is always older in the list than the one before it in the
 * text. */
#include "daemon/serve/coordinator/prefix_cache.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct known {
	uint64_t key;           /* over the root and all tokens up to the end of this block */
	uint32_t before, after; /* the block before it; how many come directly after it */
	uint32_t users;
	uint32_t next_in_slot;
	uint32_t older, newer; /* while idle */
	bool held;
};

struct prefix {
	uint32_t blocks, mask; /* slots of the table, less one */
	uint32_t *table;
	struct known *known; /* of each block */
	uint32_t (*tokens)[KERN_KV_BLOCK];
	uint32_t oldest, newest, idle;
	uint64_t root;
};

/* The finaliser of MurmurHash3 (Appleby): every bit of x affects every bit of the result. */
static uint64_t prefix_mix(uint64_t x) {
	x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
	x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
	return x ^ (x >> 33);
}

static uint64_t prefix_key_of(const struct prefix *p, uint32_t before, const uint32_t *tokens) {
	uint64_t key = before == PREFIX_NONE ? p->root : p->known[before].key;
	for (uint32_t i = 0; i < KERN_KV_BLOCK; i += 2)
		key = prefix_mix(key + ((uint64_t)tokens[i] << 32 | tokens[i + 1]));
	return key;
}

int prefix_create(struct prefix **out, uint32_t blocks, const void *root, size_t len) {
	const uint8_t *byte = root;
	struct prefix *p = calloc(1, sizeof *p);
	uint64_t places = 1;
	if (!p)
		return -ENOMEM;
	while (places < blocks)
		places *= 2;
	p->blocks = blocks;
	p->mask = (uint32_t)(places - 1);
	p->oldest = p->newest = PREFIX_NONE;
	p->table = malloc(places * sizeof *p->table);
	p->known = calloc(blocks ? blocks : 1, sizeof *p->known);
	p->tokens = calloc(blocks ? blocks : 1, sizeof *p->tokens);
	if (!p->table || !p->known || !p->tokens) {
		prefix_destroy(p);
		return -ENOMEM;
	}
	memset(p->table, 0xff, places * sizeof *p->table); /* PREFIX_NONE */
	for (size_t i = 0; i < len; i++)
		p->root = prefix_mix(p->root + byte[i] + 1);
	*out = p;
	return 0;
}

void prefix_destroy(struct prefix *p) {
	if (!p)
		return;
	free(p->table);
	free(p->known);
	free(p->tokens);
	free(p);
}

uint32_t prefix_find(const struct prefix *p, uint32_t before, const uint32_t *tokens) {
	uint32_t b = p->table[prefix_key_of(p, before, tokens) & p->mask];
	while (b != PREFIX_NONE &&
	        (p->known[b].before != before || memcmp(p->tokens[b], tokens, sizeof *p->tokens) != 0))
		b = p->known[b].next_in_slot;
	return b;
}

void prefix_add(struct prefix *p, uint32_t block, uint32_t before, const uint32_t *tokens) {
	struct known *k = &p->known[block];
	uint64_t key = prefix_key_of(p, before, tokens);
	uint32_t *place = &p->table[key & p->mask];
	assert(!k->held && (before == PREFIX_NONE || p->known[before].users > 0));
	*k = (struct known){.key = key, .before = before, .users = 1, .next_in_slot = *place, .held = true};
	memcpy(p->tokens[block], tokens, sizeof *p->tokens);
	*place = block;
	if (before != PREFIX_NONE)
		p->known[before].after++;
}

static void prefix_leave_idle(struct prefix *p, const struct known *k) {
	*(k->older == PREFIX_NONE ? &p->oldest : &p->known[k->older].newer) = k->newer;
	*(k->newer == PREFIX_NONE ? &p->newest : &p->known[k->newer].older) = k->older;
	p->idle--;
}

void prefix_use(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	assert(k->held);
	if (k->users++ == 0)
		prefix_leave_idle(p, k);
}

void prefix_release(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	assert(k->held && k->users > 0);
	if (--k->users > 0)
		return;
	k->older = p->newest;
	k->newer = PREFIX_NONE;
	*(p->newest == PREFIX_NONE ? &p->oldest : &p->known[p->newest].newer) = block;
	p->newest = block;
	p->idle++;
}

uint32_t prefix_evict(struct prefix *p) {
	uint32_t block = p->oldest;
	if (block == PREFIX_NONE)
		return PREFIX_NONE;
	struct known *k = &p->known[block];
	assert(k->users == 0 && k->after == 0);
	prefix_leave_idle(p, k);
	uint32_t *at = &p->table[k->key & p->mask];
	while (*at != block)
		at = &p->known[*at].next_in_slot;
	*at = k->next_in_slot;
	if (k->before != PREFIX_NONE)
		p->known[k->before].after--;
	k->held = false;
	return block;
}

uint32_t prefix_idle(const struct prefix *p) {
	return p->idle;
}

bool prefix_has(const struct prefix *p, uint32_t block) {
	return p->known[block].held;
}

uint32_t prefix_users(const struct prefix *p, uint32_t block) {
	return p->known[block].users;
}
