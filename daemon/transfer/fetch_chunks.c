/* fetch_chunks: the work of a fetch at the executor, blocks in flight, and chunks.
 *
 * Threads: the loop, except where a comment says executor. */
#include "daemon/transfer/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_MS 100        /* the period of an allowance */
#define IN_FLIGHT_BLOCKS 12 /* in flight at one node: below its limit for one node */

/* ---- the executor's part ---- */

static void work_open(struct work *w) {
	struct item *it = w->item;
	struct content_tensor *rec = &it->record;
	if (w->chunk) {
		w->rc = store_verify_blob(&it->id, w->chunk->data, w->chunk->total);
		if (w->rc == 0)
			w->rc = content_tensor_decode(rec, w->chunk->data, w->chunk->total);
		if (w->rc)
			return;
	} else {
		const struct content_tensor *from = import_tensor(it->file->im, &it->id);
		w->rc = content_tensor_init(rec, from->type, from->n, from->rows, from->parts);
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
	size_t len = w->chunk ? w->chunk->total : 0;
	const uint8_t *data = w->chunk ? w->chunk->data : import_blob(it->file->im, &it->id, &len);
	struct content_id id;
	w->rc = store_verify_blob(&it->id, data, len);
	if (w->rc == 0)
		w->rc = store_put_blob(w->f->t->store, data, len, &id);
	if (w->rc == -ENOSPC)
		snprintf(w->err, sizeof w->err, "the disk is full, but for what is left free on it");
}

void fetch_work(void *arg) {
	struct work *w = arg;
	struct fetch *f = w->f;
	struct item *it = w->item;
	switch (w->kind) {
	case WORK_CHECK:
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
		size_t len = w->chunk ? w->chunk->total : 0;
		uint8_t *read = NULL;
		if (!w->chunk) {
			w->rc = import_chunk(
			        it->file->im, &it->id, w->index, &read, &len, w->err, sizeof w->err);
			w->spoiled = w->rc && w->rc != -ENOMEM;
		}
		if (w->rc == 0)
			w->rc = store_writer_chunk(it->writer, w->index, read ? read : w->chunk->data, len);
		/* its content changed, but its modification time did not */
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

/* ---- blocks in flight ---- */

struct in_flight *transfer_in_flight_at(struct transfer *t, const struct node_id *node) {
	for (struct in_flight *l = LIST_FIRST(&t->in_flight); l; l = LIST_NEXT(l, next))
		if (node_id_equal(&l->node, node))
			return l;
	struct in_flight *l = calloc(1, sizeof *l);
	if (l) {
		l->node = *node;
		LIST_INSERT_HEAD(&t->in_flight, l, next);
	}
	return l;
}

bool transfer_in_flight_full(const struct in_flight *l, uint32_t more) {
	return l->blocks >= IN_FLIGHT_BLOCKS || l->bytes + more > TRANSFER_IN_FLIGHT ||
	       l->bytes == TRANSFER_IN_FLIGHT;
}

bool transfer_take_spare(struct transfer *t, uint64_t bytes) {
	uint64_t now = loop_now_ns();
	if (now - t->spare_ns >= SPARE_MS * 1000000ull) {
		t->spare_ns = now;
		t->spare = (transfer_busy(t) ? TRANSFER_SPARE_BUSY : TRANSFER_SPARE) / (1000 / SPARE_MS);
	}
	if (t->spare == 0)
		return false;
	/* may exceed what is left: a chunk of a file can be larger than the whole allowance */
	t->spare -= bytes < t->spare ? bytes : t->spare;
	return true;
}

void fetch_drop_block(struct block *p) {
	LIST_REMOVE(p, next);
	p->at->bytes -= p->length;
	p->at->blocks--;
	free(p);
}

void fetch_forget_blocks(struct fetch *f, const struct chunk *only) {
	for (struct block *p = LIST_FIRST(&f->t->blocks), *next; p; p = next) {
		next = LIST_NEXT(p, next);
		if (p->f == f && (!only || p->chunk == only))
			fetch_drop_block(p);
	}
}

struct block *fetch_find_block(struct transfer *t, const struct peers_from *from) {
	struct block *p = LIST_FIRST(&t->blocks);
	while (p && !(p->ref == from->ref && node_id_equal(&p->at->node, &from->node)))
		p = LIST_NEXT(p, next);
	return p;
}

/* The source may redirect us to a node to which it gave the chunk. */
static bool chunk_may_redirect(const struct fetch *f, const struct chunk *p) {
	return p->is_data && !f->alone && !p->insist && !p->named;
}

bool fetch_chunk_wants(const struct fetch *f, const struct chunk *p) {
	if (p->whole || p->source == NOBODY)
		return false;
	/* the first block decides whether the rest comes from there */
	if (chunk_may_redirect(f, p) && p->asked > 0 && p->got == 0)
		return false;
	return p->total ? p->asked < p->total : p->asked == 0;
}

int fetch_request_chunk(struct fetch *f, struct chunk *p) {
	struct transfer *t = f->t;
	struct source *s = &f->sources[p->source];
	uint64_t left = p->total ? p->total - p->asked : WIRE_BLOCK_MAX;
	uint32_t length = left < WIRE_BLOCK_MAX ? (uint32_t)left : WIRE_BLOCK_MAX;
	struct in_flight *under_way = transfer_in_flight_at(t, &s->id);
	if (!under_way)
		return -ENOMEM;
	if (transfer_in_flight_full(under_way, length) || (f->spare && !transfer_take_spare(t, length)))
		return -EBUSY;
	struct block *block = calloc(1, sizeof *block);
	if (!block)
		return -ENOMEM;
	*block = (struct block){.f = f, .chunk = p, .at = under_way, .offset = p->asked, .length = length};
	block->ref = peers_ref(t->peers);
	Caravan__Fetch msg = CARAVAN__FETCH__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(FETCH, fetch, &msg);
	msg.name = wire_bytes(p->item->id.b, sizeof p->item->id.b);
	msg.tensor = p->is_data;
	msg.chunk = p->index;
	msg.offset = p->asked;
	msg.length = length;
	msg.shares = chunk_may_redirect(f, p);
	msg.spare = f->spare;
	env.ref = block->ref;
	int rc = peers_send(t->peers, &s->id, PEERS_BULK, &env, NULL);
	if (rc) {
		free(block);
		return rc;
	}
	p->asked += length;
	under_way->bytes += length;
	under_way->blocks++;
	LIST_INSERT_HEAD(&t->blocks, block, next);
	return 0;
}

/* ---- chunks and items ---- */

void fetch_free_chunk(struct fetch *f, struct chunk *p) {
	fetch_forget_blocks(f, p);
	TAILQ_REMOVE(&f->chunks, p, next);
	f->nchunks--;
	free(p->data);
	free(p);
}

void fetch_restart_chunk(struct fetch *f, struct chunk *p) {
	fetch_forget_blocks(f, p);
	free(p->data);
	p->data = NULL;
	p->total = p->asked = p->got = 0;
	p->whole = false;
	p->source = NOBODY;
	p->named = false;
	if (p->is_data) {
		uint64_t first, rows;
		content_chunk_extent(&p->item->record, p->index, &first, &rows, &p->total);
	}
}

bool fetch_add_chunk(struct fetch *f, struct item *it, bool is_data, uint32_t chunk) {
	struct chunk *p = calloc(1, sizeof *p);
	if (!p)
		return false;
	p->item = it;
	p->is_data = is_data;
	p->index = chunk;
	TAILQ_INSERT_TAIL(&f->chunks, p, next);
	f->nchunks++;
	fetch_restart_chunk(f, p);
	return true;
}

void fetch_clear_item(struct transfer *t, struct item *it) {
	content_tensor_clear(&it->record);
	it->record = (struct content_tensor){0};
	source_file_unref(t, it->file);
	it->file = NULL;
	free(it->lacks);
	free(it->have);
	it->lacks = it->have = NULL;
}
