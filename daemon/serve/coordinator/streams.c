/* streams: the sequences of a model as they are now, for people who look.
 *
 * They are part of the coordinator's heartbeat and not fetched by those who look: then every node knows them at once, also of a
 * coordinator that has just failed, and looking costs nothing.  A heartbeat is larger only by what is running: about 60 bytes
 * for each sequence, which meanwhile costs a row of activations (several KiB) on the wire for each of its tokens.  Without
 * sequences it is as large as before.  Most that are listed: WIRE_STREAMS_MAX of a model, and as many as the caller of
 * coordinator_state allows; streams_total counts all.
 * Threads: the loop. */
#include "daemon/serve/coordinator/draft.h"

static bool stream_is_listed(const struct client_sequence *g) {
	return !g->finished && !draft_is(g);
}

/* Tokens a second: of the last seconds, or since its first token if that is not so long ago. */
static double stream_rate(const struct client_sequence *g, uint64_t generated, uint64_t now) {
	if (!g->first_ns || generated < 2)
		return 0;
	double since = (double)(now - g->first_ns) * 1e-9;
	return since < RATE_SECONDS && since > 0 ? (double)(generated - 1) / since
	                                         : rate_per_second(&g->rate, now);
}

static void stream_fill(Caravan__StreamState *s, const struct client_sequence *g, uint64_t now) {
	const struct sequence *q = &g->seq;
	caravan__stream_state__init(s);
	s->id = q->id;
	s->phase = !q->running   ? CARAVAN__STREAM_PHASE__STREAM_QUEUED
	           : g->first_ns ? CARAVAN__STREAM_PHASE__STREAM_GENERATING
	                         : CARAVAN__STREAM_PHASE__STREAM_PROMPT;
	s->gateway = wire_node(&g->from.node);
	s->age = (double)(now - g->began_ns) * 1e-9;
	s->place = q->queued ? q->place : 0;
	s->prompt = g->given;
	s->prompt_done = q->done < g->given ? q->done : g->given;
	s->cached = q->first < s->prompt_done ? q->first : s->prompt_done;
	s->generated = q->tokens - g->prompt;
	s->limit = q->all_outputs ? 0 : q->capacity - g->prompt;
	s->tokens_per_second = stream_rate(g, s->generated, now);
	s->drafted = g->drafted;
	s->accepted = g->accepted;
	s->blocks = q->kv.nblocks;
	s->first_token = g->first_ns ? (double)(g->first_ns - g->began_ns) * 1e-9 : 0;
}

void coordinator_list_streams(struct coordinator *m, uint32_t most, Caravan__ModelState *out) {
	struct sequence *q;
	const struct client_sequence *g;
	uint64_t now = loop_now_ns();
	most = most < WIRE_STREAMS_MAX ? most : WIRE_STREAMS_MAX;
	out->streams_total = 0;
	out->n_streams = 0;
	out->streams = m->stream_list;
	for (uint32_t i = 0; (q = scheduler_at(m->scheduler, i)); i++) {
		g = (const struct client_sequence *)q;
		if (!stream_is_listed(g))
			continue;
		if (out->n_streams < most)
			stream_fill(&m->stream[out->n_streams++], g, now);
		out->streams_total++;
	}
	TAILQ_FOREACH(g, &m->compiling, compiles) {
		if (!stream_is_listed(g))
			continue;
		if (out->n_streams < most)
			stream_fill(&m->stream[out->n_streams++], g, now);
		out->streams_total++;
	}
	for (size_t i = 0; i < out->n_streams; i++)
		m->stream_list[i] = &m->stream[i];
}
