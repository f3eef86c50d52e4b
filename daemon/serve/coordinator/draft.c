/* draft: see draft.h. */
#include "daemon/serve/coordinator/draft.h"
#include <stdlib.h>
#include <string.h>

struct draft {
	struct coordinator *draft_model, *large;
	struct client_sequence *made, *of; /* the draft's sequence; the one it drafts for */
	bool has_next; /* `next` is the token sampled after the last of `made`, not in its log yet */
	uint32_t next;
	/* scratch of draft_tokens: the drafted tokens, `next` included */
	uint32_t token[SPECULATION_AHEAD + 1];
	float probability[SPECULATION_AHEAD + 1];
};

bool draft_is(const struct client_sequence *g) {
	return g->draft && g->draft->made == g;
}

void draft_begin(struct coordinator *large, struct client_sequence *g) {
	struct coordinator *small = large->draft_model;
	if (!small || small->closed || large->closed || g->draft || g->undrafted || g->seq.all_outputs)
		return;
	uint32_t context = small->plan->context,
	         capacity = g->seq.capacity < context ? g->seq.capacity : context;
	if (g->seq.tokens >= capacity)
		return;
	struct draft *d = calloc(1, sizeof *d);
	struct client_sequence *made = calloc(1, sizeof *made);
	uint32_t *log = malloc(capacity * sizeof *log);
	if (made)
		made->sampling = g->sampling;
	if (!d || !made || !log || !sequence_set_bias(made, g->bias, g->sampling.nbias)) {
		free(d);
		free(made);
		free(log);
		return;
	}
	memcpy(log, g->seq.log, g->seq.tokens * sizeof *log);
	made->seq = (struct sequence){.id = ++small->sequences,
	        .log = log,
	        .tokens = g->seq.tokens,
	        .capacity = capacity,
	        .client = g->seq.client};
	made->constraint = constraint_ref(g->constraint);
	made->prompt = g->seq.tokens;
	made->began_ns = loop_now_ns();
	made->undrafted = true;
	*d = (struct draft){.draft_model = small, .large = large, .made = made, .of = g};
	if (scheduler_add(small->scheduler, &made->seq) != 0) {
		constraint_unref(made->constraint);
		free(made->bias);
		free(d);
		free(made);
		free(log);
		return;
	}
	made->draft = g->draft = d;
	coordinator_queue_moved(small);
	pipeline_kick_later(small);
}

/* Dissolves the pair. */
static void draft_detach(struct draft *d) {
	d->of->draft = d->made->draft = NULL;
	d->of->seq.held = false;
	free(d);
}

void draft_end(struct draft *d) {
	struct coordinator *small = d->draft_model;
	struct client_sequence *made = d->made;
	draft_detach(d);
	sequence_drop(small, made);
	pipeline_kick_later(small);
}

void draft_lost(struct draft *d) {
	struct coordinator *large = d->large;
	draft_detach(d);
	pipeline_kick_later(large); /* it may have been waiting */
}

static uint32_t draft_count_known(const struct draft *d) {
	return d->made->seq.tokens - d->made->seq.provisional;
}

struct draft_run draft_tokens(struct draft *d) {
	const struct sequence *q = &d->made->seq;
	memcpy(d->token, q->log + draft_count_known(d), q->provisional * sizeof *d->token);
	if (d->has_next)
		d->token[q->provisional] = d->next;
	return (struct draft_run){
	        .id = d->token, .probability = d->probability, .n = q->provisional + d->has_next};
}

/* Whether drafting one more token now pays. */
static bool draft_pays(struct draft *d) {
	const struct sequence *q = &d->made->seq;
	struct draft_run t = draft_tokens(d);
	double seconds = speculation_token(d->draft_model->speculation);
	double chance =
	        (double)draft_stats_chance(&d->of->draft_stats, &t) * (double)d->of->draft_stats.drafts;
	/* nothing follows a token that ends the text */
	if (t.n >= SPECULATION_AHEAD || q->tokens + 1 >= q->capacity ||
	        (d->has_next && tokenizer_is_end(d->draft_model->tokenizer, d->next)))
		return false;
	return speculation_pays(
	        d->large->speculation, scheduler_answered(d->large->scheduler), chance, seconds);
}

bool draft_goes_on(struct draft *d) {
	struct sequence *q = &d->made->seq;
	q->held = !draft_pays(d);
	if (q->held || !q->running)
		return false;
	if (d->has_next) {
		q->log[q->tokens++] = d->next;
		q->provisional++;
		d->has_next = false;
	}
	/* a draft that is still reading its prompt is not worth waiting for */
	bool abreast = q->done > 0 && q->scheduled + 1 >= q->tokens;
	pipeline_kick_later(d->draft_model);
	return abreast;
}

void draft_sampled(struct draft *d, const struct scheduled *e, const struct output_row *row) {
	struct sequence *q = &d->made->seq;
	if (row->rc != 0 || row->ends) {
		sequence_drop(d->draft_model, d->made);
		return;
	}
	if (!scheduler_entry_valid(e) || e->position + e->rows != q->tokens || d->has_next)
		return;
	d->next = row->id;
	d->probability[q->provisional] = row->probability;
	d->has_next = true;
	pipeline_kick_later(d->large); /* it may have been waiting, and calls draft_goes_on */
}

void draft_follow(struct draft *d) {
	struct sequence *q = &d->made->seq;
	struct draft_stats *g = &d->of->draft_stats;
	uint32_t at = draft_count_known(d), id = d->of->seq.log[at];
	struct draft_run t = draft_tokens(d);
	if (t.n > 0)
		draft_stats_observe_draft(g, t.probability[0], t.id[0] == id);
	else
		draft_stats_decay(g);
	if (q->provisional > 0 && q->log[at] == id) {
		q->provisional--;
		memmove(d->probability, d->probability + 1, (t.n - 1) * sizeof *d->probability);
	} else if (at + 1 >= q->capacity) {
		draft_end(d); /* its log is full */
		return;
	} else {
		d->has_next = false;
		q->log[at] = id;
		if (q->provisional > 0)
			scheduler_roll_back(q, at + 1);
		else
			q->tokens++;
	}
}
