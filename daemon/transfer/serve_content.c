/* serve_content: the side that serves content to other nodes.
 *
 * The reader (an executor of its own) reads the requested block from a file that is being loaded, from what a
 * fetch is writing, or from the store.  Unpacked chunks are cached for the following blocks.  If a fetch has
 * requested a chunk but not received it, the request waits.  A node that requests a chunk and shares what it
 * gets is redirected to the node that was given the chunk last, if that was recent.  Nodes that need the same
 * content thus each get a different part of it, and each byte is sent about once.
 * Threads: the loop, except where a comment says reader. */
#include "daemon/transfer/transfer_internal.h"

#include "shard/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVING_MAX 1024 /* concurrent requests, including those that wait, */
#define SERVING_EACH 16  /* and of one node: more than our own fetches send */
#define GIVEN_MAX 8192   /* recently given chunks that are remembered */
#define GIVEN_MS 60000   /* and for how long */
#define LATER_MS 100     /* while busy, a node whose fetch nobody waits for gets one block in this time */

/* A request. */
struct serving {
	struct transfer *t;
	struct peers_from from;
	struct content_id id;
	bool tensor;
	uint32_t chunk, length;
	uint64_t offset;
	struct source_file *file; /* held; NULL: from the store */
	bool part;                /* from what a fetch is writing, if it still is */
	bool waits;               /* until a fetch has it: not at the reader */
	bool later, goes;         /* waits until we are not busy; is being released */
	/* the answer */
	struct payload *block;
	uint64_t total;
	char err[200];
	LIST_ENTRY(serving) next;
};

/* The node that was given a chunk last. */
struct given {
	struct content_id id;
	uint32_t chunk;
	struct node_id node;
	uint64_t at_ns; /* 0: free */
};

/* ---- the reader ---- */

/* Reader: reads a blob, a tensor's record or a chunk from the store.  0 or a negative errno. */
static int serving_read_store(struct store *s, const struct serving *q, uint8_t **data, size_t *len) {
	if (!q->tensor && store_has_blob(s, &q->id))
		return store_get_blob(s, &q->id, data, len);
	char err[200];
	struct store_tensor *map;
	int rc = store_map_tensor(s, &q->id, &map, err, sizeof err);
	if (rc)
		return rc;
	if (!q->tensor) { /* a record is stored with its tensor */
		struct content_tensor again = map->record;
		rc = content_tensor_encode(&again, data, len);
	} else if (q->chunk >= map->record.chunks) {
		rc = -ENOENT;
	} else {
		uint64_t first, rows, bytes;
		content_chunk_extent(&map->record, q->chunk, &first, &rows, &bytes);
		uint8_t *buf = malloc(bytes);
		rc = buf ? 0 : -ENOMEM;
		if (buf) {
			store_tensor_chunk(map, q->chunk, buf);
			*data = buf;
			*len = bytes;
		}
	}
	store_unmap_tensor(map);
	return rc;
}

/* Reader: the whole blob or chunk that contains the block; borrowed until the next call. */
static int serving_find_bytes(struct serving *q, const uint8_t **data, size_t *len) {
	struct transfer *t = q->t;
	if (q->file && !q->tensor) {
		*data = import_blob(q->file->im, &q->id, len);
		return *data ? 0 : -ENOENT;
	}
	struct read_cache *slot = &t->read_cache[0];
	uint64_t file = q->file ? q->file->number : 0;
	for (size_t i = 0; i < READ_CACHE_MAX; i++) {
		struct read_cache *k = &t->read_cache[i];
		if (k->data && k->tensor == q->tensor && k->chunk == q->chunk && k->file == file &&
		        content_equal(&k->id, &q->id)) {
			k->used = ++t->uses;
			*data = k->data;
			*len = k->len;
			return 0;
		}
		if (!k->data || (slot->data && k->used < slot->used))
			slot = k;
	}
	uint8_t *fresh;
	size_t n;
	int rc = -ENOENT, stale = 0;
	char why[400];
	if (q->file) {
		rc = import_chunk(q->file->im, &q->id, q->chunk, &fresh, &n, why, sizeof why);
		stale = rc == -ESTALE ? rc : 0;
	} else if (q->part) {
		rc = store_part_read(t->store, &q->id, q->tensor ? (int64_t)q->chunk : -1, &fresh, &n);
	}
	if (rc == -ENOENT || rc == -ESTALE) /* the fetch is complete by now; or the user's file has changed */
		rc = serving_read_store(t->store, q, &fresh, &n);
	if (rc == -ENOENT && stale)
		rc = stale;
	if (rc)
		return rc;
	free(slot->data);
	*slot = (struct read_cache){
	        .id = q->id, .tensor = q->tensor, .chunk = q->chunk, .file = file, .data = fresh, .len = n};
	slot->used = ++t->uses;
	*data = fresh;
	*len = n;
	return 0;
}

/* Reader. */
static void serving_run(void *arg) {
	struct serving *q = arg;
	const uint8_t *data;
	size_t len;
	char hex[CONTENT_HEX];
	int rc = serving_find_bytes(q, &data, &len);
	if (rc == -ENOENT) {
		snprintf(q->err, sizeof q->err, "no content %.12s here", content_hex(&q->id, hex));
		return;
	}
	if (rc) {
		snprintf(q->err, sizeof q->err, "content %.12s: %s", content_hex(&q->id, hex),
		        rc == -ESTALE ? "the file that it was in has changed" : strerror(-rc));
		return;
	}
	if (q->offset >= len) {
		snprintf(q->err, sizeof q->err, "content %.12s has %zu bytes", content_hex(&q->id, hex), len);
		return;
	}
	size_t n = len - q->offset < q->length ? len - q->offset : q->length;
	q->block = payload_copy(data + q->offset, n);
	q->total = len;
	if (!q->block)
		snprintf(q->err, sizeof q->err, "out of memory");
}

static void serving_done(void *arg, bool cancelled) {
	struct serving *q = arg;
	struct transfer *t = q->t;
	LIST_REMOVE(q, next);
	if (!cancelled && q->block) {
		Caravan__Block block = CARAVAN__BLOCK__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(BLOCK, block, &block);
		block.total = q->total;
		/* an answer without a link or queue space is lost: the requester notices the silence */
		if (peers_answer(t->peers, &q->from, &env, q->block) == 0 && !q->from.local)
			t->served += payload_len(q->block);
	} else if (!cancelled) {
		peers_refuse(t->peers, &q->from, "%s", q->err);
	}
	payload_unref(q->block);
	source_file_unref(t, q->file);
	free(q);
}

/* ---- who is given what ---- */

static struct given *serving_last_given(struct transfer *t, const struct content_id *id, uint32_t chunk) {
	uint32_t key;
	if (!t->given && !(t->given = calloc(GIVEN_MAX, sizeof *t->given)))
		return NULL;
	memcpy(&key, id->b, sizeof key);
	return &t->given[(key + chunk) % GIVEN_MAX];
}

/* The node that was given this chunk recently and can be asked for it; NULL: none. */
static const struct node_id *serving_redirect_to(const struct given *h, const struct serving *q) {
	if (!h || !h->at_ns || h->chunk != q->chunk || !content_equal(&h->id, &q->id) ||
	        node_id_equal(&h->node, &q->from.node) || loop_now_ns() - h->at_ns > GIVEN_MS * 1000000ull)
		return NULL;
	const struct member *m = members_find(q->t->members, &h->node);
	return m && m->up && !m->expelled ? &h->node : NULL;
}

static void serving_redirect(struct serving *q, const struct node_id *node) {
	Caravan__Redirect msg = CARAVAN__REDIRECT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REDIRECT, redirect, &msg);
	msg.node = wire_node(node);
	peers_answer(q->t->peers, &q->from, &env, NULL);
}

/* ---- requests ---- */

static void serving_submit(struct serving *q) {
	q->waits = false;
	if (executor_submit(q->t->reader, serving_run, serving_done, q)) {
		snprintf(q->err, sizeof q->err, "not ready");
		serving_done(q, false);
	}
}

/* Chooses where it is read from; false: nowhere yet, a fetch or a file will provide it. */
static bool serving_find_source(struct serving *q) {
	q->file = source_file_find(q->t, &q->id, q->tensor);
	if (q->file) {
		source_file_ref(q->file);
		model_dir_used(q->t, q->file->im);
		return true;
	}
	if (model_dir_opens(q->t, &q->id, q->tensor))
		return false;
	enum fetch_has has = fetch_has(q->t, &q->id, q->tensor, q->chunk);
	q->part = has == FETCH_HAS;
	return has != FETCH_WILL_HAVE;
}

void serving_resume_content(struct transfer *t, const struct content_id *id) {
	for (struct serving *q = LIST_FIRST(&t->serving), *next; q; q = next) {
		next = LIST_NEXT(q, next);
		if (q->waits && !q->later && content_equal(&q->id, id) && serving_find_source(q))
			serving_submit(q);
	}
}

void serving_file_opened(struct transfer *t) {
	for (struct serving *q = LIST_FIRST(&t->serving), *next; q; q = next) {
		next = LIST_NEXT(q, next);
		if (q->waits && !q->later && serving_find_source(q))
			serving_submit(q);
	}
}

/* Whether it is the oldest deferred request of its node: the list has the newest first. */
static bool serving_is_oldest(const struct serving *q) {
	for (const struct serving *o = LIST_NEXT(q, next); o; o = LIST_NEXT(o, next))
		if (o->later && node_id_equal(&o->from.node, &q->from.node))
			return false;
	return true;
}

/* Resumes deferred requests: all of them when we are not busy, else one for each node. */
static void serving_resume(void *arg) {
	struct transfer *t = arg;
	bool busy = transfer_busy(t), left = false;
	for (struct serving *q = LIST_FIRST(&t->serving); q; q = LIST_NEXT(q, next))
		q->goes = q->later && (!busy || serving_is_oldest(q));
	for (struct serving *q = LIST_FIRST(&t->serving), *next; q; q = next) {
		next = LIST_NEXT(q, next);
		left = left || (q->later && !q->goes);
		if (!q->goes)
			continue;
		q->goes = q->later = false;
		if (serving_find_source(q))
			serving_submit(q);
	}
	if (!left) {
		loop_timer_stop(t->later);
		t->later = NULL;
	}
}

static bool serving_defer(struct transfer *t, struct serving *q) {
	if (!t->later && !(t->later = loop_timer_start(t->loop, LATER_MS, true, serving_resume, t)))
		return false;
	q->waits = q->later = true;
	return true;
}

static void serving_on_fetch(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct transfer *t = arg;
	const Caravan__Fetch *f = env->fetch;
	(void)payload;
	size_t all = 0, its = 0;
	for (struct serving *q = LIST_FIRST(&t->serving); q; q = LIST_NEXT(q, next)) {
		all++;
		its += node_id_equal(&q->from.node, &from->node);
	}
	if (all >= SERVING_MAX || its >= SERVING_EACH) {
		peers_refuse(t->peers, from, "too many requests at once");
		return;
	}
	struct serving *q = calloc(1, sizeof *q);
	if (!q || f->name.len != sizeof q->id.b) {
		peers_refuse(t->peers, from, q ? "not a content name" : "out of memory");
		free(q);
		return;
	}
	q->t = t;
	q->from = *from;
	memcpy(q->id.b, f->name.data, sizeof q->id.b);
	q->tensor = f->tensor;
	q->chunk = f->tensor ? f->chunk : 0;
	q->offset = f->offset;
	q->length = f->length < WIRE_BLOCK_MAX ? f->length : WIRE_BLOCK_MAX;
	/* only at the beginning of a chunk: a chunk that was begun here is finished here */
	bool first = f->tensor && f->shares && f->offset == 0;
	struct given *h = first ? serving_last_given(t, &q->id, q->chunk) : NULL;
	const struct node_id *other = serving_redirect_to(h, q);
	if (other) {
		serving_redirect(q, other);
		free(q);
		return;
	}
	LIST_INSERT_HEAD(&t->serving, q, next);
	if (f->spare && transfer_busy(t) && serving_defer(t, q)) {
		if (h)
			*h = (struct given){q->id, q->chunk, from->node, loop_now_ns()};
		return;
	}
	q->waits = !serving_find_source(q);
	if (q->waits)
		return;
	if (h)
		*h = (struct given){q->id, q->chunk, from->node, loop_now_ns()};
	serving_submit(q);
}

int serving_init(struct transfer *t) {
	int rc = executor_create(&t->reader, t->loop);
	return rc ? rc : peers_on(t->peers, CARAVAN__ENVELOPE__BODY_FETCH, serving_on_fetch, t);
}

void serving_clear(struct transfer *t) {
	executor_destroy(t->reader); /* its requests end here, and release their source files */
	t->reader = NULL;
	loop_timer_stop(t->later);
	while (!LIST_EMPTY(&t->serving))
		serving_done(LIST_FIRST(&t->serving), true);
	for (size_t i = 0; i < READ_CACHE_MAX; i++)
		free(t->read_cache[i].data);
	free(t->given);
}
