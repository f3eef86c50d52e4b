/* expert_cache: see expert_cache.h.
 *
 * Several threads read blocks of the slots that are being filled, first come first served, because disks need several requests
 * at once to reach their bandwidth.  Who reads the last block of a matrix also looks whether its bytes are the tensor's: by the
 * hashes of its chunks when the matrix is read for the first time, which takes about as long as a fast disk does, and afterwards by
 * a quick sum; if that differs, the hashes decide. */
#include "shard/forward/expert_cache.h"
#include "common/fail.h"
#include "kernels/thread.h"
#include "shard/forward/weight_read.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define READERS 8
#define REPLACED 16 /* slots of a layer's experts that are being filled, or are in use after that, at once */
#define AGE 16      /* uses of an expert, on average, after which all counts are halved */
#define NONE UINT32_MAX

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_READY };

struct slot {
	enum slot_state state;
	uint32_t expert; /* whose it is, unless it is free */
	bool stale;      /* it is read in vain: its expert no longer has it */
	bool in_use;     /* the layer under way wants it, and has not finished with it */
	uint32_t blocks;
	uint32_t next;                  /* block that is read next */
	uint32_t left[EXPERT_MATRICES]; /* blocks of each matrix still to be read */
	uint32_t matrices;              /* that are incomplete, or not verified */
	uint64_t sum[EXPERT_MATRICES];  /* of the blocks that are there */
	int error;
	uint64_t bytes;
};

/* An expert of a layer; they are numbered through all layers. */
struct expert {
	uint32_t layer;
	uint32_t slot; /* NONE: it is not in memory */
	uint32_t uses; /* lately */
	uint32_t used; /* when last, by the clock of layers */
	uint64_t sum
	        [EXPERT_MATRICES]; /* of its bytes in the file, when they were verified; 0: they were not */
};

enum want_state { WANT_WAITS, WANT_HAS_SLOT, WANT_GIVEN, WANT_DONE };
struct want {
	uint32_t expert;
	enum want_state state;
	bool read; /* it was not in memory */
};

struct layer {
	struct expert_layer tensors;
	uint32_t first, experts; /* their numbers */
	uint64_t renewed[EXPERT_MATRICES];
};

/* Where an expert's part of a tensor is: in the file, from a page on, and in the slot. */
struct range {
	int fd;
	uint64_t at, bytes; /* in whole pages at the beginning */
	uint64_t to;        /* offset in the slot */
	uint64_t skip;      /* bytes before the part */
};

struct expert_cache {
	struct layer *layer;
	uint32_t layers;
	struct slot *slot;
	uint32_t slots;
	uint64_t *rank; /* [slots]: the lowest is replaced first; UINT64_MAX: not now */
	uint8_t *memory;
	uint64_t slot_bytes;
	pthread_t thread[READERS];
	unsigned threads;
	bool direct;

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t work;  /* there is something to read, or the cache ends */
	pthread_cond_t ready; /* a slot has been filled, or could not be */
	struct expert *expert;
	uint32_t experts;
	uint64_t uses; /* of all */
	uint32_t clock;
	struct want *want; /* of the layer under way */
	size_t wants;
	uint32_t *queue; /* [slots]: being filled, a ring */
	uint32_t queue_at, queued;
	unsigned busy; /* reads under way */
	bool stop;
	int error;       /* a wanted expert could not be read, */
	uint32_t broken; /* this one */
	struct expert_cache_stats stats;
	uint64_t busy_since;
};

static uint64_t expert_now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t expert_part_size(const struct content_tensor *t) {
	return t->rows / t->parts * kern_row_bytes(t->type, t->n);
}

uint64_t expert_cache_part_bytes(enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts) {
	uint64_t size = rows / parts * kern_row_bytes(type, n), page = WEIGHT_READ_ALIGN;
	/* it may begin at the last byte of a page */
	return size % page ? (size + 2 * (page - 1)) / page * page : size;
}

static const struct layer *expert_layer_of(const struct expert_cache *c, uint32_t expert) {
	return &c->layer[c->expert[expert].layer];
}

/* False: the layer has no such tensor. */
static bool expert_range(const struct expert_cache *c, uint32_t expert, int matrix, struct range *out) {
	const struct layer *l = expert_layer_of(c, expert);
	uint64_t to = 0;
	for (int k = 0; k <= matrix; k++) {
		const struct store_tensor *t = l->tensors.w[k];
		if (!t) {
			if (k == matrix)
				return false;
			continue;
		}
		const struct content_tensor *r = &t->record;
		uint64_t from = t->packed_at + (expert - l->first) * expert_part_size(r);
		uint64_t skip = from % WEIGHT_READ_ALIGN;
		*out = (struct range){.fd = t->fd,
		        .at = from - skip,
		        .bytes = skip + expert_part_size(r),
		        .to = to,
		        .skip = skip};
		to += expert_cache_part_bytes(r->type, r->n, r->rows, r->parts);
	}
	return true;
}

static uint32_t expert_blocks(uint64_t bytes) {
	return (uint32_t)((bytes + WEIGHT_READ_BLOCK - 1) / WEIGHT_READ_BLOCK);
}

/* ---- slots; all under the lock ---- */

static void expert_set_rank(struct expert_cache *c, uint32_t slot) {
	const struct slot *s = &c->slot[slot];
	if (s->in_use || s->state == SLOT_READING)
		c->rank[slot] = UINT64_MAX;
	else if (s->state == SLOT_FREE)
		c->rank[slot] = 0;
	else
		c->rank[slot] = (uint64_t)c->expert[s->expert].uses << 32 | c->expert[s->expert].used;
}

static void expert_hold(struct expert_cache *c, uint32_t slot, bool in_use) {
	c->slot[slot].in_use = in_use;
	expert_set_rank(c, slot);
}

/* The slot is its expert's no longer.  A read that is under way goes on, in vain. */
static void expert_drop(struct expert_cache *c, uint32_t slot) {
	struct slot *s = &c->slot[slot];
	if (s->state == SLOT_FREE || s->stale)
		return;
	c->expert[s->expert].slot = NONE;
	s->in_use = false;
	s->stale = s->state == SLOT_READING;
	s->state = s->stale ? SLOT_READING : SLOT_FREE;
	expert_set_rank(c, slot);
}

/* The slot to replace; NONE: all are in use. */
static uint32_t expert_find_slot(const struct expert_cache *c) {
	uint32_t best = 0;
	for (uint32_t i = 1; i < c->slots; i++)
		best = c->rank[i] < c->rank[best] ? i : best;
	return c->rank[best] == UINT64_MAX ? NONE : best;
}

/* Begins to read an expert into a slot. */
static void expert_fill(struct expert_cache *c, uint32_t expert, uint32_t slot) {
	struct slot *s = &c->slot[slot];
	struct range r;
	expert_drop(c, slot);
	*s = (struct slot){.state = SLOT_READING, .expert = expert, .in_use = true};
	for (int k = 0; k < EXPERT_MATRICES; k++)
		if (expert_range(c, expert, k, &r)) {
			s->left[k] = expert_blocks(r.bytes);
			s->blocks += s->left[k];
			s->matrices++;
			s->bytes += r.bytes;
		}
	c->expert[expert].slot = slot;
	expert_set_rank(c, slot);
	c->queue[(c->queue_at + c->queued++) % c->slots] = slot;
	pthread_cond_broadcast(&c->work);
}

/* Finds slots for wanted experts that have none. */
static void expert_assign_slots(struct expert_cache *c) {
	unsigned replaced = 0;
	for (size_t i = 0; i < c->wants; i++)
		replaced +=
		        c->want[i].read && c->want[i].state != WANT_DONE && c->want[i].state != WANT_WAITS;
	for (size_t i = 0; i < c->wants && replaced < REPLACED; i++) {
		struct want *w = &c->want[i];
		if (w->state != WANT_WAITS)
			continue;
		uint32_t slot = expert_find_slot(c);
		if (slot == NONE)
			return;
		expert_fill(c, w->expert, slot);
		w->state = WANT_HAS_SLOT;
		replaced++;
	}
}

static void expert_use(struct expert_cache *c, uint32_t expert) {
	c->expert[expert].uses++;
	c->expert[expert].used = c->clock;
	if (++c->uses < (uint64_t)AGE * c->experts)
		return;
	c->uses = 0;
	for (uint32_t i = 0; i < c->experts; i++)
		c->uses += c->expert[i].uses /= 2;
	for (uint32_t i = 0; i < c->slots; i++)
		expert_set_rank(c, i);
}

/* ---- reading ---- */

static void expert_finish(struct expert_cache *c, uint32_t slot) {
	struct slot *s = &c->slot[slot];
	c->stats.read += s->error ? 0 : s->bytes;
	if (s->error && s->in_use && !c->error) {
		c->error = s->error;
		c->broken = s->expert;
	}
	s->state = s->stale ? SLOT_FREE : SLOT_READY;
	if (s->error)
		expert_drop(c, slot);
	expert_set_rank(c, slot);
	pthread_cond_broadcast(&c->ready);
}

/* The matrix and the range that a block of a slot is in; *block: within that. */
static int expert_find_block(
        const struct expert_cache *c, uint32_t expert, uint32_t *block, struct range *r) {
	for (int k = 0; k < EXPERT_MATRICES; k++) {
		if (!expert_range(c, expert, k, r))
			continue;
		if (*block < expert_blocks(r->bytes))
			return k;
		*block -= expert_blocks(r->bytes);
	}
	return -1; /* no such block */
}

/* Whether a matrix that has been read is what its tensor says: 0 or a negative errno.  Called under the lock, which it releases
 * while it hashes. */
static int expert_verify(struct expert_cache *c, struct slot *s, int matrix, const uint8_t *packed) {
	struct expert *e = &c->expert[s->expert];
	const struct layer *y = &c->layer[e->layer];
	const struct store_tensor *t = y->tensors.w[matrix];
	uint64_t sum = s->sum[matrix];
	if (s->stale || (sum && sum == e->sum[matrix]))
		return 0;
	pthread_mutex_unlock(&c->lock);
	int rc = store_verify_part(&t->record, s->expert - y->first, packed);
	pthread_mutex_lock(&c->lock);
	if (rc == 0)
		e->sum[matrix] = sum;
	return rc;
}

/* Reads the next block.  Called under the lock, which it releases while it reads. */
static void expert_read_block(struct expert_cache *c) {
	uint32_t slot = c->queue[c->queue_at], block;
	struct slot *s = &c->slot[slot];
	struct range r;
	block = s->next++;
	int matrix = expert_find_block(c, s->expert, &block, &r);
	const struct layer *y = expert_layer_of(c, s->expert);
	const struct store_tensor *t = y->tensors.w[matrix];
	if (s->next == s->blocks) {
		c->queue_at = (c->queue_at + 1) % c->slots;
		c->queued--;
	}
	if (c->busy++ == 0)
		c->busy_since = expert_now_ns();
	pthread_mutex_unlock(&c->lock);
	uint64_t from = (uint64_t)block * WEIGHT_READ_BLOCK;
	uint64_t bytes = r.bytes - from < WEIGHT_READ_BLOCK ? r.bytes - from : WEIGHT_READ_BLOCK;
	uint8_t *to = c->memory + slot * c->slot_bytes + r.to;
	int rc = weight_read(r.fd, to + from, bytes, r.at + from, c->direct);
	uint64_t sum = rc ? 0 : weight_read_sum(to + from, bytes, block);
	pthread_mutex_lock(&c->lock);
	if (--c->busy == 0)
		c->stats.read_seconds += (double)(expert_now_ns() - c->busy_since) * 1e-9;
	s->sum[matrix] ^= sum;
	if (--s->left[matrix] == 0 && !rc && !s->error)
		rc = expert_verify(c, s, matrix, to + r.skip);
	s->error = rc ? rc : s->error;
	/* a file that has been replaced meanwhile is not to blame: the step fails, and the next one reads it again */
	if (rc && rc != -ENOMEM && !s->stale && store_tensor_renewed(t) == y->renewed[matrix])
		store_tensor_damage(t);
	if (s->left[matrix] == 0 && --s->matrices == 0)
		expert_finish(c, slot);
}

static void *expert_thread(void *arg) {
	struct expert_cache *c = arg;
	pthread_mutex_lock(&c->lock);
	while (!c->stop)
		if (c->queued)
			expert_read_block(c);
		else
			pthread_cond_wait(&c->work, &c->lock);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- the step ---- */

/* Forgets the experts whose file has been replaced since: it was damaged, and they may be as well. */
static void expert_drop_renewed(struct expert_cache *c) {
	for (uint32_t l = 0; l < c->layers; l++) {
		struct layer *y = &c->layer[l];
		bool renewed = false;
		for (int k = 0; k < EXPERT_MATRICES; k++) {
			uint64_t now = y->tensors.w[k] ? store_tensor_renewed(y->tensors.w[k]) : 0;
			renewed |= now != y->renewed[k];
			y->renewed[k] = now;
		}
		for (uint32_t e = 0; renewed && e < y->experts; e++)
			if (c->expert[y->first + e].slot != NONE)
				expert_drop(c, c->expert[y->first + e].slot);
	}
}

/* Those that were given are no longer in use. */
static void expert_release(struct expert_cache *c) {
	for (size_t i = 0; i < c->wants; i++) {
		struct want *w = &c->want[i];
		if (w->state != WANT_GIVEN)
			continue;
		expert_hold(c, c->expert[w->expert].slot, false);
		w->state = WANT_DONE;
	}
}

void expert_cache_begin(struct expert_cache *c) {
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->slots; i++)
		expert_hold(c, i, false);
	c->wants = 0;
	c->error = 0;
	expert_drop_renewed(c);
	pthread_mutex_unlock(&c->lock);
}

void expert_cache_want(struct expert_cache *c, uint32_t layer, const uint32_t *expert, size_t count) {
	pthread_mutex_lock(&c->lock);
	expert_release(c);
	c->wants = count;
	c->clock++;
	for (size_t i = 0; i < count; i++) {
		struct want *w = &c->want[i];
		*w = (struct want){.expert = c->layer[layer].first + expert[i]};
		uint32_t slot = c->expert[w->expert].slot;
		w->read = slot == NONE;
		w->state = w->read ? WANT_WAITS : WANT_HAS_SLOT;
		expert_use(c, w->expert);
		if (!w->read)
			expert_hold(c, slot, true);
		c->stats.hits += !w->read;
		c->stats.misses += w->read;
	}
	expert_assign_slots(c);
	pthread_mutex_unlock(&c->lock);
}

static size_t expert_give(struct expert_cache *c, struct expert_ready *out, size_t max) {
	size_t given = 0;
	for (size_t i = 0; i < c->wants && given < max; i++) {
		struct want *w = &c->want[i];
		struct range r;
		if (w->state != WANT_HAS_SLOT)
			continue;
		uint32_t slot = c->expert[w->expert].slot;
		if (slot == NONE || c->slot[slot].state != SLOT_READY)
			continue;
		out[given] =
		        (struct expert_ready){.expert = w->expert - expert_layer_of(c, w->expert)->first};
		for (int k = 0; k < EXPERT_MATRICES; k++)
			if (expert_range(c, w->expert, k, &r))
				out[given].packed[k] = c->memory + slot * c->slot_bytes + r.to + r.skip;
		w->state = WANT_GIVEN;
		given++;
	}
	return given;
}

static bool expert_all_done(const struct expert_cache *c) {
	for (size_t i = 0; i < c->wants; i++)
		if (c->want[i].state != WANT_DONE)
			return false;
	return true;
}

int expert_cache_next(struct expert_cache *c, struct expert_ready *out, size_t max) {
	uint64_t since = 0;
	size_t given = 0;
	pthread_mutex_lock(&c->lock);
	expert_release(c);
	while (!c->error && !expert_all_done(c)) {
		expert_assign_slots(c);
		if ((given = expert_give(c, out, max)))
			break;
		since = since ? since : expert_now_ns();
		pthread_cond_wait(&c->ready, &c->lock);
	}
	c->stats.wait_seconds += since ? (double)(expert_now_ns() - since) * 1e-9 : 0;
	int rc = c->error ? -EIO : (int)given;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

void expert_cache_error(struct expert_cache *c, uint32_t first, char *err, size_t errlen) {
	pthread_mutex_lock(&c->lock);
	const struct layer *l = expert_layer_of(c, c->broken);
	if (c->error == -EBADMSG)
		snprintf(err, errlen, "layer %" PRIu32 ": expert %" PRIu32 " is damaged on disk",
		        first + (uint32_t)(l - c->layer), c->broken - l->first);
	else
		snprintf(err, errlen, "layer %" PRIu32 ": expert %" PRIu32 " cannot be read from disk: %s",
		        first + (uint32_t)(l - c->layer), c->broken - l->first,
		        strerror(c->error ? -c->error : EIO));
	pthread_mutex_unlock(&c->lock);
}

void expert_cache_stats(struct expert_cache *c, struct expert_cache_stats *out) {
	pthread_mutex_lock(&c->lock);
	*out = c->stats;
	if (c->busy)
		out->read_seconds += (double)(expert_now_ns() - c->busy_since) * 1e-9;
	pthread_mutex_unlock(&c->lock);
}

void expert_cache_in_memory(struct expert_cache *c, uint32_t *count) {
	memset(count, 0, c->layers * sizeof *count);
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->slots; i++)
		if (c->slot[i].state == SLOT_READY)
			count[c->expert[c->slot[i].expert].layer]++;
	pthread_mutex_unlock(&c->lock);
}

/* ---- creation ---- */

/* Numbers the experts; *most: of a layer.  Bytes of a slot. */
static uint64_t expert_number(struct expert_cache *c, const struct expert_layer *layer, uint32_t *most) {
	uint64_t largest = 0;
	*most = 0;
	for (uint32_t l = 0; l < c->layers; l++) {
		struct layer *y = &c->layer[l];
		uint64_t bytes = 0;
		*y = (struct layer){.tensors = layer[l], .first = c->experts};
		for (int k = 0; k < EXPERT_MATRICES; k++) {
			const struct store_tensor *t = layer[l].w[k];
			if (!t)
				continue;
			const struct content_tensor *r = &t->record;
			y->experts = r->parts;
			y->renewed[k] = store_tensor_renewed(t);
			bytes += expert_cache_part_bytes(r->type, r->n, r->rows, r->parts);
		}
		c->experts += y->experts;
		*most = y->experts > *most ? y->experts : *most;
		largest = bytes > largest ? bytes : largest;
	}
	return largest;
}

/* All files or none, so that there is one way of reading. */
static void expert_choose_reading(struct expert_cache *c, bool direct) {
	c->direct = direct;
	for (uint32_t i = 0; i < c->layers * EXPERT_MATRICES; i++) {
		const struct store_tensor *t = c->layer[i / EXPERT_MATRICES].tensors.w[i % EXPERT_MATRICES];
		if (!t)
			continue;
		c->direct = c->direct && weight_read_make_direct(t, c->memory);
		/* direct reads have no use for the pages that writing has left in the page cache */
		posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	for (uint32_t i = 0; !c->direct && i < c->layers * EXPERT_MATRICES; i++) {
		const struct store_tensor *t = c->layer[i / EXPERT_MATRICES].tensors.w[i % EXPERT_MATRICES];
		if (t)
			weight_read_make_cached(t);
	}
}

static int expert_make_slots(struct expert_cache *c, uint64_t memory) {
	uint64_t slots = memory / c->slot_bytes;
	c->slots = (uint32_t)(slots < c->experts ? slots : c->experts);
	if (!c->slots)
		return -ENOSPC;
	c->slot = calloc(c->slots, sizeof *c->slot);
	c->rank = calloc(c->slots, sizeof *c->rank);
	c->queue = calloc(c->slots, sizeof *c->queue);
	if (!c->slot || !c->rank || !c->queue)
		return -ENOMEM;
	void *p = mmap(
	        NULL, c->slots * c->slot_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->memory = p;
	madvise(p, c->slots * c->slot_bytes, MADV_HUGEPAGE); /* only a hint */
	return 0;
}

static int expert_start_threads(struct expert_cache *c) {
	int rc = 0;
	while (rc == 0 && c->threads < READERS)
		if ((rc = thread_start(&c->thread[c->threads], NULL, expert_thread, c)) == 0)
			c->threads++;
	return c->threads ? 0 : rc; /* fewer threads are only slower */
}

int expert_cache_create(struct expert_cache **out, const struct expert_layer *layer, uint32_t layers,
        uint64_t memory, bool direct, char *err, size_t errlen) {
	int rc = -ENOMEM;
	uint32_t most;
	struct expert_cache *c = calloc(1, sizeof *c);
	if (!c)
		return fail_memory(err, errlen, "experts");
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->ready, NULL);
	c->layers = layers;
	c->layer = calloc(layers, sizeof *c->layer);
	if (!c->layer)
		goto error;
	c->slot_bytes = expert_number(c, layer, &most);
	c->expert = calloc(c->experts, sizeof *c->expert);
	c->want = calloc(most, sizeof *c->want);
	if (!c->expert || !c->want)
		goto error;
	for (uint32_t l = 0; l < layers; l++)
		for (uint32_t e = 0; e < c->layer[l].experts; e++)
			c->expert[c->layer[l].first + e] = (struct expert){.layer = l, .slot = NONE};
	if ((rc = expert_make_slots(c, memory)) < 0)
		goto error;
	expert_choose_reading(c, direct);
	c->stats = (struct expert_cache_stats){.slots = c->slots,
	        .experts = c->experts,
	        .bytes = c->slots * c->slot_bytes,
	        .direct = c->direct};
	if ((rc = expert_start_threads(c)) < 0)
		goto error;
	*out = c;
	return 0;
error:
	snprintf(err, errlen, "cannot read experts from disk: %s",
	        rc == -ENOSPC ? "there is not enough memory for one" : strerror(-rc));
	expert_cache_destroy(c);
	return rc;
}

void expert_cache_destroy(struct expert_cache *c) {
	if (!c)
		return;
	int saved = errno;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->threads; i++)
		pthread_join(c->thread[i], NULL);
	if (c->memory)
		munmap(c->memory, c->slots * c->slot_bytes);
	pthread_cond_destroy(&c->ready);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->lock);
	free(c->want);
	free(c->expert);
	free(c->queue);
	free(c->rank);
	free(c->slot);
	free(c->layer);
	free(c);
	errno = saved;
}
