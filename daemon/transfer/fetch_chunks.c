/* fetch_chunks: the hands of a fetch: what the executor does for it, pieces in flight, parcels.
 *
 * Threads: the loop, but for what says executor. */
#include "daemon/transfer/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_MS 100   /* an allowance is for so long */
#define LANE_PIECES 12 /* in flight at one node: fewer than it takes of us */

/* ---- the executor's part ---- */

static void work_open(struct work *w) {
	struct item *it = w->item;
	struct content_tensor *rec = &it->record;
	if (w->parcel) {
		struct content_id id = content_hash(w->parcel->data, w->parcel->total);
		w->rc = content_equal(&id, &it->id)
		                ? content_tensor_decode(rec, w->parcel->data, w->parcel->total)
		                : -EBADMSG;
		if (w->rc)
			return;
	} else {
		const struct content_tensor *from = import_tensor(it->offer->im, &it->id);
		w->rc = content_tensor_init(rec, from->type, from->n, from->rows);
		if (w->rc)
			return;
		rec->id = from->id;
		memcpy(rec->chunk, from->chunk, from->chunks * sizeof *from->chunk);
	}
	w->rc = store_writer_create(&it->writer, w->f->t->store, rec, w->err, sizeof w->err);
	if (w->rc == 0 && !(it->have = calloc(rec->chunks, sizeof *it->have)))
		w->rc = -ENOMEM;
	it->readable = w->rc == 0 && store_writer_readable(it->writer);
	for (uint32_t c = 0; w->rc == 0 && c < rec->chunks; c++)
		it->have[c] = store_writer_has(it->writer, c);
}

static void work_blob(struct work *w) {
	struct item *it = w->item;
	size_t len = w->parcel ? w->parcel->total : 0;
	const uint8_t *data = w->parcel ? w->parcel->data : import_blob(it->offer->im, &it->id, &len);
	struct content_id id = content_hash(data, len);
	w->rc = content_equal(&id, &it->id) ? store_put_blob(w->f->t->store, data, len, &id) : -EBADMSG;
	if (w->rc == -ENOSPC)
		snprintf(w->err, sizeof w->err, "the disk is full, but for what is left free on it");
}

void fetch_work(void *arg) {
	struct work *w = arg;
	struct fetch *f = w->f;
	struct item *it = w->item;
	switch (w->kind) {
	case WORK_LOOK:
		for (size_t i = 0; i < f->nitems; i++)
			if (f->items[i].tensor ? store_keep_tensor(f->t->store, &f->items[i].id)
			                       : store_has_blob(f->t->store, &f->items[i].id))
				f->items[i].state = ITEM_DONE;
		break;
	case WORK_BLOB:
		work_blob(w);
		break;
	case WORK_OPEN:
		work_open(w);
		break;
	case WORK_CHUNK: {
		size_t len = w->parcel ? w->parcel->total : 0;
		uint8_t *read = NULL;
		if (!w->parcel) {
			w->rc = import_chunk(
			        it->offer->im, &it->id, w->chunk, &read, &len, w->err, sizeof w->err);
			w->spoiled = w->rc && w->rc != -ENOMEM;
		}
		if (w->rc == 0)
			w->rc = store_writer_chunk(it->writer, w->chunk, read ? read : w->parcel->data, len);
		/* it was changed, and its time of change was not */
		if (read && w->rc == -EBADMSG) {
			w->spoiled = true;
			snprintf(w->err, sizeof w->err, "a file has changed since it was hashed");
		}
		free(read);
		break;
	}
	case WORK_COMMIT:
		w->rc = store_writer_commit(it->writer);
		store_writer_destroy(it->writer);
		it->writer = NULL;
		break;
	case WORK_REAP:
		for (size_t i = 0; i < f->nitems; i++) {
			store_writer_destroy(f->items[i].writer);
			f->items[i].writer = NULL;
		}
		break;
	}
}

/* ---- pieces and lanes ---- */

struct lane *lane_of(struct transfer *t, const struct node_id *node) {
	for (struct lane *l = t->lanes; l; l = l->next)
		if (node_id_equal(&l->node, node))
			return l;
	struct lane *l = calloc(1, sizeof *l);
	if (l) {
		l->node = *node;
		l->next = t->lanes;
		t->lanes = l;
	}
	return l;
}

bool lane_full(const struct lane *l, uint32_t more) {
	return l->pieces >= LANE_PIECES || l->flight + more > TRANSFER_FLIGHT || l->flight == TRANSFER_FLIGHT;
}

bool spare_take(struct transfer *t, uint64_t bytes) {
	uint64_t now = loop_now_ns();
	if (now - t->spare_ns >= SPARE_MS * 1000000ull) {
		t->spare_ns = now;
		t->spare = (transfer_busy(t) ? TRANSFER_SPARE_BUSY : TRANSFER_SPARE) / (1000 / SPARE_MS);
	}
	if (t->spare == 0)
		return false;
	/* the last may be more than what is left: a chunk of a file can be more than the whole */
	t->spare -= bytes < t->spare ? bytes : t->spare;
	return true;
}

void piece_drop(struct piece **at) {
	struct piece *p = *at;
	*at = p->next;
	p->lane->flight -= p->length;
	p->lane->pieces--;
	free(p);
}

void pieces_forget(struct fetch *f, const struct parcel *only) {
	struct piece **at = &f->t->pieces;
	while (*at) {
		if ((*at)->f == f && (!only || (*at)->parcel == only))
			piece_drop(at);
		else
			at = &(*at)->next;
	}
}

struct piece **piece_at(struct transfer *t, const struct peers_from *from) {
	struct piece **at = &t->pieces;
	while (*at && !((*at)->ref == from->ref && node_id_equal(&(*at)->lane->node, &from->node)))
		at = &(*at)->next;
	return *at ? at : NULL;
}

/* It may be to be had elsewhere, at a node that was given it. */
static bool chunk_may_redirect(const struct fetch *f, const struct parcel *p) {
	return p->is_chunk && !f->alone && !p->insist && !p->named;
}

bool parcel_wants(const struct fetch *f, const struct parcel *p) {
	if (p->whole || p->source == NOBODY)
		return false;
	/* the first piece says whether the rest comes from there */
	if (chunk_may_redirect(f, p) && p->asked > 0 && p->got == 0)
		return false;
	return p->total ? p->asked < p->total : p->asked == 0;
}

int parcel_ask(struct fetch *f, struct parcel *p) {
	struct transfer *t = f->t;
	struct source *s = &f->sources[p->source];
	uint64_t left = p->total ? p->total - p->asked : WIRE_PIECE_MAX;
	uint32_t length = left < WIRE_PIECE_MAX ? (uint32_t)left : WIRE_PIECE_MAX;
	struct lane *lane = lane_of(t, &s->id);
	if (!lane)
		return -ENOMEM;
	if (lane_full(lane, length) || (f->spare && !spare_take(t, length)))
		return -EBUSY;
	struct piece *piece = calloc(1, sizeof *piece);
	if (!piece)
		return -ENOMEM;
	*piece = (struct piece){.f = f, .parcel = p, .lane = lane, .offset = p->asked, .length = length};
	piece->ref = peers_ref(t->peers);
	Caravan__Fetch msg = CARAVAN__FETCH__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	msg.name.data = p->item->id.b;
	msg.name.len = sizeof p->item->id.b;
	msg.tensor = p->is_chunk;
	msg.chunk = p->chunk;
	msg.offset = p->asked;
	msg.length = length;
	msg.shares = chunk_may_redirect(f, p);
	msg.spare = f->spare;
	env.body_case = CARAVAN__ENVELOPE__BODY_FETCH;
	env.fetch = &msg;
	env.ref = piece->ref;
	int rc = peers_send(t->peers, &s->id, PEERS_BULK, &env, NULL);
	if (rc) {
		free(piece);
		return rc;
	}
	p->asked += length;
	lane->flight += length;
	lane->pieces++;
	piece->next = t->pieces;
	t->pieces = piece;
	return 0;
}

/* ---- parcels and items ---- */

void parcel_free(struct fetch *f, struct parcel *p) {
	pieces_forget(f, p);
	for (struct parcel **at = &f->parcels; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	f->nparcels--;
	free(p->data);
	free(p);
}

void parcel_restart(struct fetch *f, struct parcel *p) {
	pieces_forget(f, p);
	free(p->data);
	p->data = NULL;
	p->total = p->asked = p->got = 0;
	p->whole = false;
	p->source = NOBODY;
	p->named = false;
	if (p->is_chunk) {
		uint64_t first, rows;
		content_chunk_extent(&p->item->record, p->chunk, &first, &rows, &p->total);
	}
}

bool parcel_add(struct fetch *f, struct item *it, bool is_chunk, uint32_t chunk) {
	struct parcel *p = calloc(1, sizeof *p);
	if (!p)
		return false;
	p->item = it;
	p->is_chunk = is_chunk;
	p->chunk = chunk;
	struct parcel **at = &f->parcels;
	while (*at)
		at = &(*at)->next;
	*at = p;
	f->nparcels++;
	parcel_restart(f, p);
	return true;
}

void item_clear(struct transfer *t, struct item *it) {
	content_tensor_clear(&it->record);
	it->record = (struct content_tensor){0};
	offer_unref(t, it->offer);
	it->offer = NULL;
	free(it->lacks);
	free(it->have);
	it->lacks = it->have = NULL;
}
