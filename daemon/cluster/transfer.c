/* transfer: making it, the files that are sources, and the side that serves other nodes.
 *
 * A request for a piece is looked up by the reader (a loader of our own): in a file being loaded, else in the store,
 * where a chunk is unpacked once and kept for the pieces that follow.
 * Threads: the loop, but for what says reader. */
#include "daemon/cluster/transfer_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVING_MAX 256 /* requests at once, */
#define SERVING_EACH 16 /* and of one node: four times what our own fetches ask for */

/* One request on its way through the reader. */
struct serving {
	struct transfer *t;
	struct peers_from from;
	struct content_id id;
	bool tensor;
	uint32_t chunk, length;
	uint64_t offset;
	struct offer *offer; /* held; NULL: from the store */
	/* the answer */
	struct payload *piece;
	uint64_t total;
	char err[200];
	struct serving *next;
};

/* ---- sources here ---- */

struct offer *offer_ref(struct offer *o) {
	o->refs++;
	return o;
}

void offer_unref(struct transfer *t, struct offer *o) {
	if (!o || --o->refs)
		return;
	for (struct offer **p = &t->offers; *p; p = &(*p)->next)
		if (*p == o) {
			*p = o->next;
			break;
		}
	import_close(o->im);
	free(o);
}

int transfer_offer(struct transfer *t, struct import *im) {
	struct offer *o = calloc(1, sizeof *o);
	if (!o)
		return -ENOMEM;
	o->im = im;
	o->refs = 1;
	o->next = t->offers;
	t->offers = o;
	return 0;
}

void transfer_withdraw(struct transfer *t, struct import *im) {
	for (struct offer *o = t->offers; o; o = o->next)
		if (o->im == im && !o->withdrawn) {
			o->withdrawn = true;
			offer_unref(t, o);
			return;
		}
}

struct offer *offer_with(const struct transfer *t, const struct content_id *id, bool tensor) {
	for (struct offer *o = t->offers; o; o = o->next) {
		size_t len;
		if (!o->withdrawn &&
		        (tensor ? (const void *)import_tensor(o->im, id) : import_blob(o->im, id, &len)))
			return o;
	}
	return NULL;
}

/* ---- serving ---- */

/* Reader: reads a blob, a tensor's record or a chunk out of the store. 0 or a negative errno. */
static int read_store(struct store *s, const struct serving *q, uint8_t **data, size_t *len) {
	if (!q->tensor && store_has_blob(s, &q->id))
		return store_get_blob(s, &q->id, data, len);
	char err[200];
	struct store_tensor *map;
	int rc = store_map_tensor(s, &q->id, &map, err, sizeof err);
	if (rc)
		return rc;
	if (!q->tensor) { /* a record is kept with its tensor */
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

/* Reader: the whole blob or chunk that a piece is of; borrowed until the next call. */
static int find_bytes(struct serving *q, const uint8_t **data, size_t *len) {
	struct transfer *t = q->t;
	if (q->offer) {
		*data = q->tensor ? import_chunk(q->offer->im, &q->id, q->chunk, len)
		                  : import_blob(q->offer->im, &q->id, len);
		return *data ? 0 : -ENOENT;
	}
	struct kept *slot = &t->kept[0];
	for (size_t i = 0; i < KEPT_MAX; i++) {
		struct kept *k = &t->kept[i];
		if (k->data && k->tensor == q->tensor && k->chunk == q->chunk &&
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
	int rc = read_store(t->store, q, &fresh, &n);
	if (rc)
		return rc;
	free(slot->data);
	*slot = (struct kept){.id = q->id, .tensor = q->tensor, .chunk = q->chunk, .data = fresh, .len = n};
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
	int rc = find_bytes(q, &data, &len);
	if (rc == -ENOENT) {
		snprintf(q->err, sizeof q->err, "no content %.12s here", content_hex(&q->id, hex));
		return;
	}
	if (rc) {
		snprintf(q->err, sizeof q->err, "content %.12s: %s", content_hex(&q->id, hex), strerror(-rc));
		return;
	}
	if (q->offset >= len) {
		snprintf(q->err, sizeof q->err, "content %.12s has %zu bytes", content_hex(&q->id, hex), len);
		return;
	}
	size_t n = len - q->offset < q->length ? len - q->offset : q->length;
	q->piece = payload_copy(data + q->offset, n);
	q->total = len;
	if (!q->piece)
		snprintf(q->err, sizeof q->err, "no memory");
}

static void serving_done(void *arg, bool cancelled) {
	struct serving *q = arg;
	struct transfer *t = q->t;
	for (struct serving **p = &t->serving; *p; p = &(*p)->next)
		if (*p == q) {
			*p = q->next;
			break;
		}
	if (!cancelled && q->piece) {
		Caravan__Piece piece = CARAVAN__PIECE__INIT;
		Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
		piece.total = q->total;
		env.body_case = CARAVAN__ENVELOPE__BODY_PIECE;
		env.piece = &piece;
		/* an answer that finds no link or no room is lost: who asked notices the silence */
		if (peers_answer(t->peers, &q->from, &env, q->piece) == 0 && !q->from.local)
			t->served += payload_len(q->piece);
	} else if (!cancelled) {
		peers_refuse(t->peers, &q->from, "%s", q->err);
	}
	payload_unref(q->piece);
	offer_unref(t, q->offer);
	free(q);
}

static void on_fetch(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct transfer *t = arg;
	const Caravan__Fetch *f = env->fetch;
	(void)payload;
	size_t all = 0, its = 0;
	for (struct serving *q = t->serving; q; q = q->next) {
		all++;
		its += node_id_equal(&q->from.node, &from->node);
	}
	if (all >= SERVING_MAX || its >= SERVING_EACH) {
		peers_refuse(t->peers, from, "too many requests at once");
		return;
	}
	struct serving *q = calloc(1, sizeof *q);
	if (!q || f->name.len != sizeof q->id.b) {
		peers_refuse(t->peers, from, q ? "not a name of content" : "no memory");
		free(q);
		return;
	}
	q->t = t;
	q->from = *from;
	memcpy(q->id.b, f->name.data, sizeof q->id.b);
	q->tensor = f->tensor;
	q->chunk = f->tensor ? f->chunk : 0;
	q->offset = f->offset;
	q->length = f->length < WIRE_PIECE_MAX ? f->length : WIRE_PIECE_MAX;
	q->offer = offer_with(t, &q->id, q->tensor);
	if (q->offer)
		offer_ref(q->offer);
	q->next = t->serving;
	t->serving = q;
	if (loader_submit(t->reader, serving_run, serving_done, q)) {
		snprintf(q->err, sizeof q->err, "not ready");
		serving_done(q, false);
	}
}

int serve_init(struct transfer *t) {
	int rc = loader_create(&t->reader, t->loop);
	return rc ? rc : peers_on(t->peers, CARAVAN__ENVELOPE__BODY_FETCH, on_fetch, t);
}

void serve_clear(struct transfer *t) {
	loader_destroy(t->reader); /* its requests end here, and let go of their offers */
	t->reader = NULL;
	for (size_t i = 0; i < KEPT_MAX; i++)
		free(t->kept[i].data);
}

/* ---- making it ---- */

int transfer_create(
        struct transfer **out, struct loop *l, struct members *m, struct loader *ld, struct store *s) {
	struct transfer *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->loop = l;
	t->members = m;
	t->peers = members_peers(m);
	t->loader = ld;
	t->store = s;
	int rc = serve_init(t);
	if (rc == 0)
		rc = fetch_init(t);
	if (rc) {
		transfer_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void transfer_destroy(struct transfer *t) {
	if (!t)
		return;
	serve_clear(t);
	fetch_clear(t);
	while (t->offers) { /* whatever was not withdrawn */
		t->offers->refs = 1;
		offer_unref(t, t->offers);
	}
	free(t);
}

struct loader *transfer_reader(struct transfer *t) {
	return t->reader;
}

uint64_t transfer_moved(const struct transfer *t) {
	return t->moved;
}

uint64_t transfer_served(const struct transfer *t) {
	return t->served;
}
