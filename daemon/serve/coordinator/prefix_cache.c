/* prefix_cache: see prefix_cache.h.  Idle blocks are listed in the order in which they became idle.  Since a
 * sequence releases its last block first, a block is always older in the list than the one before it in the
 * text. */
#include "daemon/serve/coordinator/prefix_cache.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What may be idle: a block; its window block, if that was passed; and if not. */
enum idle { IDLE_BLOCK, IDLE_PASSED, IDLE_WINDOW, IDLES };

struct links {
	uint32_t older, newer;
};

struct known {
	uint64_t key;           /* over the root and all tokens up to the end of this block */
	uint32_t before, after; /* the block before it; how many come directly after it */
	uint32_t users;
	uint32_t next_in_slot;
	struct links links; /* while idle */
	uint32_t window;    /* PREFIX_NONE: none */
	uint32_t window_users;
	struct links window_links; /* while it is idle, */
	enum idle window_idle;     /* in this list */
	bool held;
};

struct idle_list {
	uint32_t oldest, newest, count;
};

struct prefix {
	uint32_t blocks, mask; /* slots of the table, less one */
	uint32_t *table;
	struct known *known; /* of each block */
	uint32_t (*tokens)[KERN_KV_BLOCK];
	struct idle_list idle[IDLES]; /* of numbers of blocks */
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
	for (int i = 0; i < IDLES; i++)
		p->idle[i] = (struct idle_list){PREFIX_NONE, PREFIX_NONE, 0};
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
	*k = (struct known){.key = key,
	        .before = before,
	        .users = 1,
	        .next_in_slot = *place,
	        .window = PREFIX_NONE,
	        .held = true};
	memcpy(p->tokens[block], tokens, sizeof *p->tokens);
	*place = block;
	if (before != PREFIX_NONE)
		p->known[before].after++;
}

static struct links *prefix_links(struct prefix *p, enum idle what, uint32_t block) {
	return what == IDLE_BLOCK ? &p->known[block].links : &p->known[block].window_links;
}

static void prefix_leave_idle(struct prefix *p, enum idle what, uint32_t block) {
	struct idle_list *list = &p->idle[what];
	const struct links *k = prefix_links(p, what, block);
	*(k->older == PREFIX_NONE ? &list->oldest : &prefix_links(p, what, k->older)->newer) = k->newer;
	*(k->newer == PREFIX_NONE ? &list->newest : &prefix_links(p, what, k->newer)->older) = k->older;
	list->count--;
}

static void prefix_become_idle(struct prefix *p, enum idle what, uint32_t block) {
	struct idle_list *list = &p->idle[what];
	*prefix_links(p, what, block) = (struct links){list->newest, PREFIX_NONE};
	*(list->newest == PREFIX_NONE ? &list->oldest : &prefix_links(p, what, list->newest)->newer) = block;
	list->newest = block;
	list->count++;
}

void prefix_use(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	assert(k->held);
	if (k->users++ == 0)
		prefix_leave_idle(p, IDLE_BLOCK, block);
}

void prefix_release(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	assert(k->held && k->users > 0);
	if (--k->users == 0)
		prefix_become_idle(p, IDLE_BLOCK, block);
}

/* Takes the window block from a block that has one, idle. */
static uint32_t prefix_take_window(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	uint32_t window = k->window;
	assert(k->window_users == 0);
	prefix_leave_idle(p, k->window_idle, block);
	k->window = PREFIX_NONE;
	return window;
}

uint32_t prefix_evict(struct prefix *p, uint32_t *window) {
	uint32_t block = p->idle[IDLE_BLOCK].oldest;
	*window = PREFIX_NONE;
	if (block == PREFIX_NONE)
		return PREFIX_NONE;
	struct known *k = &p->known[block];
	assert(k->users == 0 && k->after == 0);
	prefix_leave_idle(p, IDLE_BLOCK, block);
	if (k->window != PREFIX_NONE)
		*window = prefix_take_window(p, block);
	uint32_t *at = &p->table[k->key & p->mask];
	while (*at != block)
		at = &p->known[*at].next_in_slot;
	*at = k->next_in_slot;
	if (k->before != PREFIX_NONE)
		p->known[k->before].after--;
	k->held = false;
	return block;
}

uint32_t prefix_window(const struct prefix *p, uint32_t block) {
	return p->known[block].window;
}

void prefix_add_window(struct prefix *p, uint32_t block, uint32_t window) {
	struct known *k = &p->known[block];
	assert(k->held && k->window == PREFIX_NONE && k->users > 0);
	k->window = window;
	k->window_users = 1;
}

void prefix_use_window(struct prefix *p, uint32_t block) {
	struct known *k = &p->known[block];
	assert(k->held && k->window != PREFIX_NONE && k->users > 0);
	if (k->window_users++ == 0)
		prefix_leave_idle(p, k->window_idle, block);
}

void prefix_release_window(struct prefix *p, uint32_t block, bool passed) {
	struct known *k = &p->known[block];
	assert(k->held && k->window_users > 0);
	if (--k->window_users > 0)
		return;
	k->window_idle = passed ? IDLE_PASSED : IDLE_WINDOW;
	prefix_become_idle(p, k->window_idle, block);
}

uint32_t prefix_evict_window(struct prefix *p) {
	uint32_t passed = p->idle[IDLE_PASSED].oldest,
	         block = passed != PREFIX_NONE ? passed : p->idle[IDLE_WINDOW].oldest;
	return block == PREFIX_NONE ? PREFIX_NONE : prefix_take_window(p, block);
}

uint32_t prefix_idle(const struct prefix *p) {
	return p->idle[IDLE_BLOCK].count;
}

uint32_t prefix_idle_windows(const struct prefix *p) {
	return p->idle[IDLE_PASSED].count + p->idle[IDLE_WINDOW].count;
}

uint32_t prefix_window_users(const struct prefix *p, uint32_t block) {
	return p->known[block].window_users;
}

bool prefix_has(const struct prefix *p, uint32_t block) {
	return p->known[block].held;
}

uint32_t prefix_users(const struct prefix *p, uint32_t block) {
	return p->known[block].users;
}
