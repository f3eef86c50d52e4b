/* draft: see draft.h. */
#include "daemon/serve/coordinator/draft.h"
#include <stdlib.h>
#include <string.h>

struct draft {
	struct coordinator *small, *large;
	struct generation *made, *of; /* their sequences */
	bool has_next; /* the smaller model's pick after the last token of `made`, not in its log yet */
	uint32_t next;
	float next_odds;
	/* from the first that is not known on, the pick too */
	uint32_t token[SPECULATION_AHEAD + 1];
	float odds[SPECULATION_AHEAD + 1];
};

bool draft_is(const struct generation *g) {
	return g->draft && g->draft->made == g;
}

void draft_begin(struct coordinator *large, struct generation *g) {
	struct coordinator *small = large->small;
	if (!small || small->closed || large->closed || g->draft || g->undrafted || g->seq.all_outputs)
		return;
	uint32_t context = small->plan->context, room = g->seq.room < context ? g->seq.room : context;
	if (g->seq.tokens >= room)
		return;
	struct draft *d = calloc(1, sizeof *d);
	struct generation *made = calloc(1, sizeof *made);
	uint32_t *log = malloc(room * sizeof *log);
	if (!d || !made || !log) {
		free(d);
		free(made);
		free(log);
		return;
	}
	memcpy(log, g->seq.log, g->seq.tokens * sizeof *log);
	made->seq = (struct sequence){.id = ++small->sequences,
	        .log = log,
	        .tokens = g->seq.tokens,
	        .room = room,
	        .client = g->seq.client};
	made->sampling = g->sampling;
	made->prompt = g->seq.tokens;
	made->began_ns = loop_now_ns();
	made->undrafted = true;
	*d = (struct draft){.small = small, .large = large, .made = made, .of = g};
	if (scheduler_add(small->scheduler, &made->seq) != 0) {
		free(d);
		free(made);
		free(log);
		return;
	}
	made->draft = g->draft = d;
	coordinator_queue_moved(small);
	steps_kick(small);
}

/* The pair is none any more. */
static void part(struct draft *d) {
	d->of->draft = d->made->draft = NULL;
	d->of->seq.held = false;
	free(d);
}

void draft_end(struct draft *d) {
	struct coordinator *small = d->small;
	struct generation *made = d->made;
	part(d);
	generation_drop(small, made);
	steps_kick(small);
}

void draft_lost(struct draft *d) {
	struct coordinator *large = d->large;
	part(d);
	steps_kick(large); /* it may have waited */
}

static uint32_t known(const struct draft *d) {
	return d->made->seq.tokens - d->made->seq.unsure;
}

struct drafted draft_tokens(struct draft *d) {
	const struct sequence *q = &d->made->seq;
	memcpy(d->token, q->log + known(d), q->unsure * sizeof *d->token);
	if (d->has_next)
		d->token[q->unsure] = d->next;
	return (struct drafted){.id = d->token, .odds = d->odds, .n = q->unsure + d->has_next};
}

/* Whether one more token of it would pay, made now. */
static bool pays(struct draft *d) {
	const struct sequence *q = &d->made->seq;
	struct drafted t = draft_tokens(d);
	double seconds = speculation_token(d->small->speculation);
	double chance = (double)guesser_chance(&d->of->guesser, &t) * (double)d->of->guesser.drafts;
	/* what ends a text has nothing after it */
	if (t.n >= SPECULATION_AHEAD || q->tokens + 1 >= q->room ||
	        (d->has_next && tokenizer_is_end(d->small->tokenizer, d->next)))
		return false;
	return speculation_pays(
	        d->large->speculation, scheduler_answered(d->large->scheduler), chance, seconds);
}

bool draft_goes_on(struct draft *d) {
	struct sequence *q = &d->made->seq;
	q->held = !pays(d);
	if (q->held || !q->running)
		return false;
	if (d->has_next) {
		q->log[q->tokens++] = d->next;
		q->unsure++;
		d->has_next = false;
	}
	/* one that still reads what came before is not worth waiting for */
	bool abreast = q->done > 0 && q->scheduled + 1 >= q->tokens;
	steps_kick(d->small); /* which may find that it cannot go on, and end it */
	return abreast;
}

void draft_picked(struct draft *d, const struct scheduled *e, const struct output_row *row) {
	struct sequence *q = &d->made->seq;
	if (row->rc != 0) {
		generation_drop(d->small, d->made);
		return;
	}
	if (!scheduler_holds(e) || e->position + e->rows != q->tokens || d->has_next)
		return;
	d->next = row->id;
	d->odds[q->unsure] = row->odds;
	d->has_next = true;
	steps_kick(d->large); /* which may have waited for it, and says whether it goes on */
}

void draft_follow(struct draft *d) {
	struct sequence *q = &d->made->seq;
	struct guesser *g = &d->of->guesser;
	uint32_t at = known(d), id = d->of->seq.log[at];
	struct drafted t = draft_tokens(d);
	if (t.n > 0)
		guesser_learn_draft(g, t.odds[0], t.id[0] == id);
	else
		guesser_forget_draft(g);
	if (q->unsure > 0 && q->log[at] == id) {
		q->unsure--;
		memmove(d->odds, d->odds + 1, (t.n - 1) * sizeof *d->odds);
	} else if (at + 1 >= q->room) {
		draft_end(d); /* it has no room for what follows */
		return;
	} else {
		d->has_next = false;
		q->log[at] = id;
		if (q->unsure > 0)
			scheduler_take_back(q, at + 1);
		else
			q->tokens++;
	}
}
