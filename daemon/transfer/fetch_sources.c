/* fetch_sources: which node a fetch asks for what.
 *
 * A chunk comes whole from one source, so that a wrong hash identifies the node that sent it.  Each source
 * has a few chunks that have not been requested completely; faster sources get more requests.  A source
 * without any of an item is not asked for that item again.  A source that sends wrong data or stops
 * responding is given up for the whole fetch.  A source whose connection is lost may come back.
 * A source may redirect to another node, to which it has just given the chunk.  That node is asked; if it
 * does not answer, a source is asked again.
 * Threads: the loop. */
#include "daemon/core/log.h"
#include "daemon/transfer/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNKS_EACH 2       /* at one source, not yet requested completely */
#define HINT_MS 10000       /* time for each block after a redirect: that node may have to fetch it first */
#define HINT_SPARE_MS 60000 /* the same when nobody waits for the fetch */
#define LATE_MAX 3          /* late chunks after which redirects to a node are not followed any more */

static void source_init(struct fetch *f, struct source *s, const struct node_id *id) {
	const struct member *m = members_find(f->t->members, id);
	char hex[NODE_ID_HEX];
	*s = (struct source){.id = *id, .heard_ns = loop_now_ns()};
	snprintf(s->name, sizeof s->name, "%s", m ? m->name : node_id_hex(id, hex));
}

static size_t source_find(const struct fetch *f, const struct node_id *id, size_t among) {
	for (size_t i = 0; i < among; i++)
		if (node_id_equal(&f->sources[i].id, id))
			return i;
	return NOBODY;
}

int fetch_add_sources(struct fetch *f, const struct transfer_request *r) {
	f->sources = calloc(r->sources + 1, sizeof *f->sources);
	if (!f->sources)
		return -ENOMEM;
	for (size_t i = 0; i < r->sources; i++)
		if (!node_id_equal(&r->source[i], peers_self(f->t->peers)) &&
		        source_find(f, &r->source[i], f->nsources) == NOBODY)
			source_init(f, &f->sources[f->nsources++], &r->source[i]);
	f->given = f->nsources;
	return 0;
}

/* Chunks at a source that have not been requested completely. */
static unsigned source_count_unasked(const struct fetch *f, size_t source) {
	unsigned n = 0;
	for (const struct chunk *p = TAILQ_FIRST(&f->chunks); p; p = TAILQ_NEXT(p, next))
		n += p->source == source && !p->whole && (p->total ? p->asked < p->total : p->asked == 0);
	return n;
}

enum source_found fetch_choose_source(struct fetch *f, struct chunk *p) {
	enum source_found found = SOURCE_NONE;
	uint32_t least = UINT32_MAX;
	for (size_t i = 0; i < f->given; i++) {
		const struct source *s = &f->sources[i];
		if (s->why[0] || (p->item->lacks && p->item->lacks[i]))
			continue;
		if (!peers_linked(f->t->peers, &s->id)) {
			if (found == SOURCE_NONE)
				found = SOURCE_AWAY;
			continue;
		}
		if (found != SOURCE_FOUND)
			found = SOURCE_BUSY;
		const struct in_flight *l = transfer_in_flight_at(f->t, &s->id);
		if (!l || transfer_in_flight_full(l, 0) || source_count_unasked(f, i) >= CHUNKS_EACH ||
		        l->bytes >= least)
			continue;
		least = l->bytes;
		p->source = i;
		p->since_ns = loop_now_ns();
		found = SOURCE_FOUND;
	}
	return found;
}

/* Takes a chunk away from its source. */
static void source_take_chunk(struct fetch *f, struct chunk *p) {
	if (p->named)
		p->insist = true;
	fetch_restart_chunk(f, p);
}

void fetch_drop_source(struct fetch *f, size_t source, const char *why) {
	struct source *s = &f->sources[source];
	if (s->why[0])
		return;
	snprintf(s->why, sizeof s->why, "%s", why);
	log_line(LOG_LINE_WARN, "%s: %s %s and is not asked again for this", f->subject, s->name, why);
	for (struct chunk *p = TAILQ_FIRST(&f->chunks); p; p = TAILQ_NEXT(p, next))
		if (p->source == source && !p->whole)
			source_take_chunk(f, p);
}

void fetch_source_refused(struct fetch *f, struct chunk *p, const char *reason) {
	struct source *s = &f->sources[p->source];
	struct item *it = p->item;
	snprintf(s->last_error, sizeof s->last_error, "refused (%s)", reason);
	if (!p->named) {
		if (!it->lacks)
			it->lacks = calloc(f->given, sizeof *it->lacks);
		if (it->lacks)
			it->lacks[p->source] = true;
		else
			fetch_drop_source(f, p->source, s->last_error);
	}
	if (p->source != NOBODY)
		source_take_chunk(f, p);
}

void fetch_source_hint(struct fetch *f, struct chunk *p, const struct node_id *node) {
	size_t i = source_find(f, node, f->nsources);
	if (i == NOBODY && !node_id_equal(node, peers_self(f->t->peers)) &&
	        f->nsources < f->given + WIRE_NODES_MAX) {
		struct source *grown = realloc(f->sources, (f->nsources + 1) * sizeof *grown);
		if (grown) {
			f->sources = grown;
			i = f->nsources++;
			source_init(f, &f->sources[i], node);
		}
	}
	fetch_restart_chunk(f, p);
	p->insist = i == NOBODY || f->sources[i].why[0] || f->sources[i].late >= LATE_MAX ||
	            !peers_linked(f->t->peers, node);
	/* if somebody waits for the fetch, a node that is a source anyway gets no more chunks than it answers
	 * in time */
	if (!f->spare && i != NOBODY && i < f->given && !(p->item->lacks && p->item->lacks[i]) &&
	        source_count_unasked(f, i) >= CHUNKS_EACH)
		p->insist = true;
	if (p->insist)
		return;
	p->source = i;
	p->named = true;
	p->since_ns = loop_now_ns();
}

void fetch_source_lost(struct fetch *f, const struct node_id *node) {
	size_t i = source_find(f, node, f->nsources);
	for (struct chunk *p = i == NOBODY ? NULL : TAILQ_FIRST(&f->chunks); p; p = TAILQ_NEXT(p, next))
		if (p->source == i && !p->whole)
			source_take_chunk(f, p);
}

static bool source_has_blocks(const struct fetch *f, size_t source) {
	for (const struct block *p = LIST_FIRST(&f->t->blocks); p; p = LIST_NEXT(p, next))
		if (p->f == f && p->chunk->source == source)
			return true;
	return false;
}

void fetch_sources_tick(struct fetch *f) {
	uint64_t now = loop_now_ns(), patience = (f->spare ? HINT_SPARE_MS : HINT_MS) * 1000000ull;
	for (struct chunk *p = TAILQ_FIRST(&f->chunks); p; p = TAILQ_NEXT(p, next))
		if (p->source != NOBODY && !p->whole && p->named && now - p->since_ns > patience) {
			f->sources[p->source].late++;
			source_take_chunk(f, p);
		}
	for (size_t i = 0; i < f->given; i++) {
		struct source *s = &f->sources[i];
		bool flying = source_has_blocks(f, i);
		if (!flying && !(f->blocked && !peers_linked(f->t->peers, &s->id)))
			s->heard_ns = now;
		if (now - s->heard_ns <= (uint64_t)f->silent_ms * 1000000)
			continue;
		char why[96];
		snprintf(why, sizeof why, flying ? "was silent for %.3g s" : "had no link for %.3g s",
		        f->silent_ms / 1000.0);
		fetch_drop_source(f, i, why);
	}
}

void fetch_describe_sources(const struct fetch *f, char *out, size_t len) {
	size_t at = 0;
	snprintf(out, len, "there is no other node to ask");
	for (size_t i = 0; i < f->nsources && at < len - 1; i++) {
		const struct source *s = &f->sources[i];
		if (i < f->given || s->why[0])
			at += (size_t)snprintf(out + at, len - at, "%s%s %s", at ? "; " : "", s->name,
			        s->why[0]          ? s->why
			        : s->last_error[0] ? s->last_error
			                           : "was not asked");
	}
}
