/* fetch: the side that pulls: brings wanted content into the store, block by block.
 *
 * A fetch has items (blobs, tensors).  A few are open at a time.  An open item has chunks (a blob, a tensor's
 * record, or a chunk of its data).  Each chunk comes from one source, in blocks.  A complete chunk goes to
 * the executor, which checks its hash and packs it into the store.  From then on it is served to other nodes,
 * and it is not fetched again whatever happens to the rest.  A tensor of a file that is being loaded on this
 * node needs no chunks: the executor packs it from the file, one chunk per job.
 * Invariant: what a source sent is discarded when the source is given up, except complete chunks: their hash
 * decides.  A fetch is freed only when the executor has returned all its work.
 * Threads: the loop, except where a comment says executor. */
#include "daemon/transfer/fetch.h"
#include "daemon/core/log.h"
#include "proto/descriptors.h"

#include "common/size.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNKS_MOST 32 /* including those not requested yet */
#define OPEN_MAX 16    /* items: several, so that small tensors do not wait for each other's round trips */
#define TICK_MS 100

static void fetch_pump(struct fetch *f);
static void fetch_end(struct fetch *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fetch_work_done(void *arg, bool cancelled);
static void fetch_continue(struct fetch *f, struct item *it);

static void fetch_submit(
        struct fetch *f, enum work_kind kind, struct item *it, struct chunk *p, uint32_t chunk) {
	struct work *w = calloc(1, sizeof *w);
	if (w) {
		w->kind = kind;
		w->f = f;
		w->item = it;
		w->chunk = p;
		w->index = chunk;
		f->work++;
		int rc = executor_submit(f->t->executor, fetch_work, fetch_work_done, w);
		if (rc == 0)
			return;
		f->work--;
		free(w);
	}
	fetch_end(f, "%s: out of memory", f->subject);
}

static void fetch_item_finished(struct fetch *f, struct item *it) {
	it->state = ITEM_DONE;
	fetch_clear_item(f->t, it);
	f->open--;
}

/* Ends the fetch because an item has no source left: says what is missing and what happened to each
 * source. */
static void fetch_end_without_source(struct fetch *f, const struct item *it) {
	char text[700], hex[CONTENT_HEX];
	fetch_describe_sources(f, text, sizeof text);
	fetch_end(f, "%s: %s %.12s cannot be fetched: %s%s%s", f->subject, it->tensor ? "tensor" : "blob",
	        content_hex(&it->id, hex), f->file_error, *f->file_error ? "; " : "", text);
}

/* ---- the pump ---- */

/* The next chunk that is neither there nor begun. */
static bool fetch_next_chunk(struct item *it, uint32_t *chunk) {
	while (it->next < it->record.chunks) {
		*chunk = (uint32_t)(((uint64_t)it->first + it->next++) % it->record.chunks);
		if (!it->have[*chunk])
			return true;
	}
	return false;
}

/* Opens as many items as may be open. */
static void fetch_open_items(struct fetch *f) {
	while (!f->ended && f->open < OPEN_MAX && f->next_item < f->nitems) {
		struct item *it = &f->items[f->next_item];
		struct source_file *file =
		        it->state == ITEM_DONE ? NULL : source_file_find(f->t, &it->id, it->tensor);
		if (it->state != ITEM_DONE && !file && model_dir_opens(f->t, &it->id, it->tensor))
			return; /* the file is being opened */
		f->next_item++;
		if (it->state == ITEM_DONE)
			continue;
		f->open++;
		it->state = ITEM_OPENING;
		it->file = file;
		if (it->file) {
			source_file_ref(it->file);
			model_dir_used(f->t, it->file->im);
			fetch_submit(f, it->tensor ? WORK_OPEN : WORK_BLOB, it, NULL, 0);
		} else if (!fetch_add_chunk(f, it, false, 0)) {
			fetch_end(f, "%s: out of memory", f->subject);
		}
	}
}

/* Begins as many chunks as there may be. */
static void fetch_open_chunks(struct fetch *f) {
	for (size_t i = 0; !f->ended && i < f->next_item && f->nchunks < CHUNKS_MOST; i++) {
		struct item *it = &f->items[i];
		uint32_t chunk;
		while (it->state == ITEM_CHUNKS && !it->file && f->nchunks < CHUNKS_MOST &&
		        fetch_next_chunk(it, &chunk))
			if (!fetch_add_chunk(f, it, true, chunk)) {
				fetch_end(f, "%s: out of memory", f->subject);
				return;
			}
	}
}

static void fetch_finish_if_done(struct fetch *f) {
	if (!f->ended && f->next_item == f->nitems && f->open == 0)
		fetch_end(f, "%s", "");
}

/* Chunks that take memory, or will as soon as they are answered. */
static size_t fetch_count_begun(const struct fetch *f) {
	size_t n = 0;
	for (const struct chunk *p = TAILQ_FIRST(&f->chunks); p; p = TAILQ_NEXT(p, next))
		n += p->asked > 0;
	return n;
}

/* Requests as much of a chunk as flow control allows. */
static void fetch_pump_chunk(struct fetch *f, struct chunk *p) {
	if (p->asked == 0 && fetch_count_begun(f) >= TRANSFER_CHUNKS)
		return;
	if (p->source == NOBODY)
		switch (fetch_choose_source(f, p)) {
		case SOURCE_FOUND:
			break;
		case SOURCE_BUSY: /* its next answer leads back here */
			return;
		case SOURCE_AWAY:
			f->blocked = true; /* the tick tries again, until the source counts as silent */
			return;
		case SOURCE_NONE:
			fetch_end_without_source(f, p->item);
			return;
		}
	while (fetch_chunk_wants(f, p)) {
		int rc = fetch_request_chunk(f, p);
		if (rc == -EBUSY)
			return;
		if (rc == -ENOTCONN || rc == -EAGAIN || rc == -EHOSTUNREACH) {
			f->blocked = true;
			if (rc != -EAGAIN)
				fetch_source_lost(f, &f->sources[p->source].id);
			return;
		}
		if (rc) {
			fetch_end(f, "%s: asking %s: %s", f->subject, f->sources[p->source].name,
			        strerror(-rc));
			return;
		}
	}
}

static void fetch_pump(struct fetch *f) {
	if (f->ended || !f->checked)
		return;
	fetch_open_items(f);
	fetch_open_chunks(f);
	fetch_finish_if_done(f);
	f->blocked = false;
	for (struct chunk *p = TAILQ_FIRST(&f->chunks); p && !f->ended; p = TAILQ_NEXT(p, next))
		if (!p->whole)
			fetch_pump_chunk(f, p);
}

/* A node can take more requests: the fetch that just received a block comes last, so that a long one does not
 * starve the others. */
static void fetch_pump_all(struct transfer *t, struct fetch *last) {
	TAILQ_REMOVE(&t->fetches, last, next);
	TAILQ_INSERT_TAIL(&t->fetches, last, next);
	for (struct fetch *f = TAILQ_FIRST(&t->fetches), *next; f; f = next) {
		next = TAILQ_NEXT(f, next);
		fetch_pump(f);
	}
}

static void fetch_tick(void *arg) {
	struct fetch *f = arg;
	fetch_sources_tick(f);
	for (size_t i = 0; f->spare && i < f->next_item && !f->ended; i++)
		if (f->items[i].put_off) {
			f->items[i].put_off = false;
			fetch_continue(f, &f->items[i]);
		}
	fetch_pump(f);
}

/* ---- the end ---- */

static void fetch_free(struct fetch *f) {
	struct transfer *t = f->t;
	TAILQ_REMOVE(&t->fetches, f, next);
	loop_timer_stop(f->tick);
	while (!TAILQ_EMPTY(&f->chunks))
		fetch_free_chunk(f, TAILQ_FIRST(&f->chunks));
	for (size_t i = 0; i < f->nitems; i++) {
		store_writer_destroy(f->items[i].writer);
		fetch_clear_item(t, &f->items[i]);
	}
	free(f->items);
	free(f->sources);
	free(f->subject);
	free(f);
}

/* Frees a fetch, after open writers have closed their files on the executor's thread. */
static void fetch_reap(struct fetch *f) {
	struct work *w = calloc(1, sizeof *w);
	f->reaping = true;
	if (w) {
		w->kind = WORK_REAP;
		w->f = f;
		f->work++;
		if (executor_submit(f->t->executor, fetch_work, fetch_work_done, w) == 0)
			return;
		f->work--;
		free(w);
	}
	if (f->work == 0)
		fetch_free(f);
}

static void fetch_notify(void *arg) {
	struct fetch *f = arg;
	f->tick = NULL;
	f->notified = true;
	if (f->on_done)
		f->on_done(f->arg, f->error[0] ? f->error : NULL, f->moved);
	fetch_reap(f);
}

/* An empty sentence: success.  The callback is called later, from the loop. */
static void fetch_end(struct fetch *f, const char *fmt, ...) {
	if (f->ended)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->error, sizeof f->error, fmt, ap);
	va_end(ap);
	f->ended = true;
	fetch_forget_blocks(f, NULL);
	for (size_t i = 0; i < f->next_item; i++) /* requests that wait for what will not come */
		if (f->items[i].state == ITEM_CHUNKS || f->items[i].state == ITEM_CLOSING)
			serving_resume_content(f->t, &f->items[i].id);
	loop_timer_stop(f->tick);
	f->tick = loop_timer_start(f->t->loop, 0, false, fetch_notify, f);
}

void transfer_cancel(struct fetch *f) {
	if (!f || f->notified)
		return;
	f->on_done = NULL;
	f->on_progress = NULL;
	fetch_end(f, "%s", "cancelled");
}

/* ---- what comes back ---- */

static void fetch_checked(struct fetch *f) {
	f->checked = true;
	for (size_t i = 0; i < f->nitems; i++)
		if (f->items[i].state != ITEM_DONE)
			f->total += f->items[i].bytes;
}

static void fetch_bad_chunk(struct fetch *f, struct chunk *p) {
	char why[128], hex[CONTENT_HEX];
	snprintf(why, sizeof why, "sent bytes that do not match the name %.12s",
	        content_hex(&p->item->id, hex));
	fetch_drop_source(f, p->source, why);
	p->insist = true;
	fetch_restart_chunk(f, p);
}

static void fetch_count_chunk(struct fetch *f, struct item *it, uint32_t chunk) {
	uint64_t first, rows, bytes;
	content_chunk_extent(&it->record, chunk, &first, &rows, &bytes);
	f->done += bytes;
	it->written++;
}

/* Submits the executor's next job for an open tensor, except for what comes over the network. */
static void fetch_continue(struct fetch *f, struct item *it) {
	uint32_t chunk;
	if (it->written == it->record.chunks) {
		it->state = ITEM_CLOSING;
		fetch_submit(f, WORK_COMMIT, it, NULL, 0);
	} else if (it->file && f->spare && !transfer_take_spare(f->t, CONTENT_CHUNK_BYTES)) {
		it->put_off = true;
	} else if (it->file && fetch_next_chunk(it, &chunk)) {
		fetch_submit(f, WORK_CHUNK, it, NULL, chunk);
	}
}

/* The file that an item is packed from has changed, or cannot be read: what was packed stays, the rest comes
 * from another file that has it, or else from other nodes. */
static void fetch_leave_file(struct fetch *f, struct item *it, const char *why) {
	struct source_file *o = it->file;
	bool first = !o->spoiled;
	o->spoiled = true;
	struct source_file *other = source_file_find(f->t, &it->id, it->tensor);
	if (first)
		log_line(LOG_LINE_WARN, "%s: %s: %s", f->subject, why,
		        other ? "taking another file" : "asking other nodes");
	snprintf(f->file_error, sizeof f->file_error, "%s", why);
	model_dir_spoiled(f->t, o->im);
	it->file = other ? source_file_ref(other) : NULL;
	it->next = 0; /* chunks that are there are skipped */
	source_file_unref(f->t, o);
	if (!other)
		return;
	model_dir_used(f->t, other->im);
	fetch_continue(f, it);
}

static void fetch_item_step(struct fetch *f, struct work *w) {
	struct item *it = w->item;
	switch (w->kind) {
	case WORK_BLOB:
		fetch_item_finished(f, it);
		break;
	case WORK_OPEN:
		it->state = ITEM_CHUNKS;
		for (uint32_t c = 0; c < it->record.chunks; c++)
			if (it->have[c])
				fetch_count_chunk(f, it, c);
		fetch_continue(f, it);
		break;
	case WORK_CHUNK:
		it->have[w->index] = true;
		fetch_count_chunk(f, it, w->index);
		if (f->on_progress && f->total)
			f->on_progress(f->arg, it->file ? "packing" : "fetching", f->done, f->total);
		if (f->ended)
			break;
		serving_resume_content(f->t, &it->id);
		fetch_continue(f, it);
		break;
	case WORK_COMMIT:
		fetch_item_finished(f, it);
		serving_resume_content(f->t, &it->id);
		break;
	case WORK_CHECK:
	case WORK_REAP:
		break;
	}
}

static void fetch_work_done(void *arg, bool cancelled) {
	struct work *w = arg;
	struct fetch *f = w->f;
	f->work--;
	if (cancelled && !f->ended)
		fetch_end(f, "%s: stopped", f->subject);
	if (f->ended) {
		free(w);
		if (f->reaping && f->work == 0)
			fetch_free(f);
		return;
	}
	char hex[CONTENT_HEX];
	if (w->kind == WORK_CHECK) {
		fetch_checked(f);
	} else if (w->rc == -EBADMSG && w->chunk) {
		fetch_bad_chunk(f, w->chunk);
	} else if (w->spoiled) {
		fetch_leave_file(f, w->item, w->err);
	} else if (w->rc) {
		fetch_end(f, "%s: keeping %s %.12s: %s", f->subject, w->item->tensor ? "tensor" : "blob",
		        content_hex(&w->item->id, hex), w->err[0] ? w->err : descriptors_strerror(-w->rc).s);
	} else {
		if (w->chunk)
			fetch_free_chunk(f, w->chunk);
		fetch_item_step(f, w);
	}
	free(w);
	fetch_pump(f);
}

static void fetch_on_block(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct transfer *t = arg;
	struct block *block = fetch_find_block(t, from);
	if (!block)
		return; /* from a source that was given up, or for a fetch that has ended */
	struct fetch *f = block->f;
	struct chunk *p = block->chunk;
	uint64_t offset = block->offset, total = env->block->total;
	uint32_t length = block->length;
	size_t len = payload ? payload_len(payload) : 0;
	fetch_drop_block(block);
	t->moved += len;
	f->moved += len;
	p->since_ns = f->sources[p->source].heard_ns = loop_now_ns();
	uint64_t limit = p->item->tensor ? RECORD_MAX : CONTENT_BLOB_MAX;
	uint64_t left = total > offset ? total - offset : 0;
	if (total == 0 || (p->total ? total != p->total : total > limit) ||
	        len != (left < length ? left : length)) {
		char why[128];
		snprintf(why, sizeof why, "sent %zu bytes of %llu, which is not what was requested", len,
		        (unsigned long long)total);
		fetch_drop_source(f, p->source, why);
	} else {
		p->total = total;
		if (p->asked > total)
			p->asked = total;
		if (!p->data)
			p->data = malloc(total);
		if (!p->data) {
			fetch_end(f, "%s: out of memory for %s", f->subject, size_text((double)total).s);
			return;
		}
		memcpy(p->data + offset, payload_data(payload), len);
		p->got += len;
		if (p->got == total) {
			p->whole = true;
			fetch_submit(f,
			        p->is_data        ? WORK_CHUNK
			        : p->item->tensor ? WORK_OPEN
			                          : WORK_BLOB,
			        p->item, p, p->index);
		}
	}
	fetch_pump_all(t, f);
}

static void fetch_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct transfer *t = arg;
	struct block *block = fetch_find_block(t, from);
	(void)payload;
	if (!block)
		return;
	struct fetch *f = block->f;
	struct chunk *p = block->chunk;
	fetch_drop_block(block);
	f->sources[p->source].heard_ns = loop_now_ns();
	fetch_source_refused(f, p, env->refused->reason);
	fetch_pump_all(t, f);
}

static void fetch_on_redirect(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct transfer *t = arg;
	struct block *block = fetch_find_block(t, from);
	struct node_id node;
	(void)payload;
	if (!block || node_id_from_bytes(&node, env->redirect->node))
		return;
	struct fetch *f = block->f;
	struct chunk *p = block->chunk;
	fetch_drop_block(block);
	f->sources[p->source].heard_ns = loop_now_ns();
	/* a redirect must be permitted, and must come before the first block */
	if (!p->is_data || p->insist || p->got > 0)
		fetch_drop_source(f, p->source, "redirected a request that must be answered");
	else
		fetch_source_hint(f, p, &node);
	fetch_pump_all(t, f);
}

static void fetch_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct transfer *t = arg;
	(void)why;
	for (struct fetch *f = TAILQ_FIRST(&t->fetches), *next; f; f = next) {
		next = TAILQ_NEXT(f, next);
		if (!up)
			fetch_source_lost(f, node);
		fetch_pump(f);
	}
}

void fetch_file_opened(struct transfer *t) {
	for (struct fetch *f = TAILQ_FIRST(&t->fetches), *next; f; f = next) {
		next = TAILQ_NEXT(f, next);
		fetch_pump(f);
	}
}

enum fetch_has fetch_has(const struct transfer *t, const struct content_id *id, bool tensor, uint32_t chunk) {
	for (const struct fetch *f = TAILQ_FIRST(&t->fetches); f; f = TAILQ_NEXT(f, next))
		for (size_t i = 0; i < f->next_item && !f->ended; i++) {
			const struct item *it = &f->items[i];
			if (!it->tensor || (it->state != ITEM_CHUNKS && it->state != ITEM_CLOSING) ||
			        !content_equal(&it->id, id))
				continue;
			if (tensor && chunk >= it->record.chunks)
				continue;
			return it->readable && (!tensor || it->have[chunk]) ? FETCH_HAS : FETCH_WILL_HAVE;
		}
	return FETCH_HAS_NOT;
}

/* ---- beginning ---- */

static int fetch_compare_items(const void *a, const void *b) {
	const struct item *x = a, *y = b;
	return x->tensor != y->tensor ? (int)x->tensor - (int)y->tensor
	                              : memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

static void fetch_add_items(struct fetch *f, const struct transfer_request *r) {
	size_t n = 0;
	for (size_t i = 0; i < r->blobs; i++)
		f->items[n++].id = r->blob[i];
	for (size_t i = 0; i < r->tensors; i++)
		f->items[n++] =
		        (struct item){.id = r->tensor[i].id, .tensor = true, .bytes = r->tensor[i].bytes};
	if (n)
		qsort(f->items, n, sizeof *f->items, fetch_compare_items);
	for (size_t i = 0; i < n; i++)
		if (f->nitems == 0 || fetch_compare_items(&f->items[f->nitems - 1], &f->items[i]))
			f->items[f->nitems++] = f->items[i];
	/* nodes that fetch the same content at the same time begin with different chunks */
	for (size_t i = 0; i < f->nitems; i++)
		memcpy(&f->items[i].first, peers_self(f->t->peers)->b, sizeof f->items[i].first);
}

int transfer_fetch(struct transfer *t, const struct transfer_request *r, struct fetch **out) {
	struct fetch *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->t = t;
	TAILQ_INIT(&f->chunks);
	TAILQ_INSERT_TAIL(&t->fetches, f, next);
	f->subject = strdup(r->subject);
	f->items = calloc(r->blobs + r->tensors + 1, sizeof *f->items);
	f->silent_ms = r->silent_ms ? r->silent_ms : TRANSFER_SILENT_MS;
	f->spare = r->spare;
	f->alone = r->alone;
	f->on_progress = r->progress;
	f->on_done = r->done;
	f->arg = r->arg;
	f->tick = loop_timer_start(t->loop, TICK_MS, true, fetch_tick, f);
	if (!f->subject || !f->items || !f->tick || fetch_add_sources(f, r)) {
		fetch_free(f);
		return -ENOMEM;
	}
	fetch_add_items(f, r);
	fetch_submit(f, WORK_CHECK, NULL, NULL, 0);
	*out = f;
	return 0;
}

int fetch_init(struct transfer *t) {
	TAILQ_INIT(&t->fetches);
	int rc = peers_on(t->peers, CARAVAN__ENVELOPE__BODY_BLOCK, fetch_on_block, t);
	if (rc == 0)
		rc = peers_on(t->peers, CARAVAN__ENVELOPE__BODY_REFUSED, fetch_on_refused, t);
	if (rc == 0)
		rc = peers_on(t->peers, CARAVAN__ENVELOPE__BODY_REDIRECT, fetch_on_redirect, t);
	return rc ? rc : peers_on_link(t->peers, fetch_on_link, t);
}

void fetch_clear(struct transfer *t) {
	while (!TAILQ_EMPTY(&t->fetches)) /* the executor has gone: none of their work is pending */
		fetch_free(TAILQ_FIRST(&t->fetches));
	while (!LIST_EMPTY(&t->blocks))
		fetch_drop_block(LIST_FIRST(&t->blocks));
	for (struct in_flight *l; (l = LIST_FIRST(&t->in_flight)); free(l))
		LIST_REMOVE(l, next);
}
