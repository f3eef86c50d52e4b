/* speculate: see speculate.h. */
#include "daemon/serve/coordinator/speculate.h"
#include <errno.h>
#include <stdlib.h>

/* ---- what comes next ----------------------------------------------------------------------------- */

uint32_t ngram_next(const uint32_t *log, uint32_t n, uint32_t *at) {
	uint32_t best = 0;
	if (n < 2)
		return 0;
	/* i: index of the candidate; count how many tokens before it match the end of the log */
	for (uint32_t i = n - 1; i > 0 && best < NGRAM_COMMON_MAX; i--) {
		uint32_t most = i < NGRAM_COMMON_MAX ? i : NGRAM_COMMON_MAX, len = 0;
		/* usually already different where it would have to beat the best so far */
		if (best >= most || log[i - 1 - best] != log[n - 1 - best])
			continue;
		while (len < most && log[i - 1 - len] == log[n - 1 - len])
			len++;
		if (len > best) {
			best = len;
			*at = i;
		}
	}
	return best;
}

/* Matching tokens: 1, 2, 3 or 4, 5 to 9, more. */
static unsigned speculation_match_class(uint32_t common) {
	return common < 3 ? common - 1 : common < 5 ? 2 : common < 10 ? 3 : 4;
}

/* Initial values, before anything was observed. */
static const float before[SPECULATION_CLASSES] = {0.1f, 0.25f, 0.4f, 0.6f, 0.75f};
static const float before_drafts = 0.6f;

void draft_stats_init(struct draft_stats *g) {
	for (unsigned i = 0; i < SPECULATION_CLASSES; i++)
		g->right[i] = g->draft[i] = before[i];
	g->drafts = before_drafts;
}

static void speculation_update_chance(float *chance, bool right) {
	*chance += ((float)right - *chance) / 12;
}

void draft_stats_observe(struct draft_stats *g, const uint32_t *log, uint32_t n, uint32_t token) {
	uint32_t at, common = ngram_next(log, n, &at);
	if (common == 0)
		return;
	speculation_update_chance(&g->right[speculation_match_class(common)], log[at] == token);
}

/* Probabilities below 0.3, 0.5, 0.7, 0.9, and above. */
static unsigned speculation_probability_class(float probability) {
	return probability < 0.3f   ? 0
	       : probability < 0.5f ? 1
	       : probability < 0.7f ? 2
	       : probability < 0.9f ? 3
	                            : 4;
}

void draft_stats_observe_draft(struct draft_stats *g, float probability, bool right) {
	speculation_update_chance(&g->draft[speculation_probability_class(probability)], right);
	speculation_update_chance(&g->drafts, right);
}

void draft_stats_decay(struct draft_stats *g) {
	for (unsigned i = 0; i < SPECULATION_CLASSES; i++)
		g->draft[i] += (before[i] - g->draft[i]) / 64;
	g->drafts += (before_drafts - g->drafts) / 64;
}

float draft_stats_chance(const struct draft_stats *g, const struct draft_run *d) {
	float chance = 1;
	for (uint32_t i = 0; i < d->n; i++)
		chance *= g->draft[speculation_probability_class(d->probability[i])];
	return chance;
}

/* ---- what it costs ------------------------------------------------------------------------------- */

/* Seconds as a + b x rows: sums for a least-squares fit over the steps that have returned, in which older
 * ones fade. */
struct line {
	double w, r, t, rr, rt;
};

#define FORGET (31.0 / 32)

struct speculation {
	uint32_t stages;
	struct line *stage;    /* computing at each stage */
	struct line round, io; /* from the coordinator through all stages and back; head and sampling */
};

int speculation_create(struct speculation **out, uint32_t stages) {
	struct speculation *s = calloc(1, sizeof *s);
	if (!s || !(s->stage = calloc(stages, sizeof *s->stage))) {
		free(s);
		return -ENOMEM;
	}
	s->stages = stages;
	*out = s;
	return 0;
}

void speculation_destroy(struct speculation *s) {
	if (!s)
		return;
	free(s->stage);
	free(s);
}

static void speculation_line_add(struct line *l, double r, double t) {
	*l = (struct line){FORGET * l->w + 1, FORGET * l->r + r, FORGET * l->t + t, FORGET * l->rr + r * r,
	        FORGET * l->rt + r * t};
}

/* Least-squares fit: fixed cost, and cost per row. */
static void speculation_line_fit(const struct line *l, double *alone, double *row) {
	double spread = l->w * l->rr - l->r * l->r;
	*row = spread > 1e-6 * l->w * l->rr ? (l->w * l->rt - l->r * l->t) / spread : 0;
	*row = *row > 0 ? *row : 0;
	*alone = l->w > 0 ? (l->t - *row * l->r) / l->w : 0;
	*alone = *alone > 0 ? *alone : 0;
}

#define FEW 64 /* rows: a step with more is a prompt's, and uses another kernel */

void speculation_observe(
        struct speculation *s, uint32_t rows, Caravan__StepTime *const *times, size_t n, double away) {
	if (n != s->stages + 1u || rows > FEW)
		return;
	for (uint32_t i = 0; i < s->stages; i++)
		speculation_line_add(&s->stage[i], rows, (double)times[i + 1]->computed * 1e-9);
	speculation_line_add(&s->round, rows, away);
}

void speculation_observe_io(struct speculation *s, uint32_t rows, double seconds) {
	if (rows <= FEW)
		speculation_line_add(&s->io, rows, seconds);
}

/* The cost of a token without drafts, and of a row for a drafted token.  When every stage has a step to
 * compute, both are those of the slowest stage; otherwise the stream waits for the whole round, and its rows
 * delay only itself. */
static void speculation_prices(const struct speculation *s, uint32_t answered, double *token, double *row) {
	double group = (answered + s->stages - 1) / s->stages, slowest = 0, its_row = 0, sum = 0;
	double round, round_row, io, io_row;
	speculation_line_fit(&s->round, &round, &round_row);
	speculation_line_fit(&s->io, &io, &io_row);
	for (uint32_t i = 0; i <= s->stages; i++) {
		double alone = io, each = io_row;
		if (i < s->stages)
			speculation_line_fit(&s->stage[i], &alone, &each);
		sum += each;
		if (alone / group + each > slowest) {
			slowest = alone / group + each;
			its_row = each;
		}
	}
	bool full = answered >= s->stages;
	*token = full ? slowest : speculation_token(s);
	*row = full ? its_row : round_row + io_row > sum ? round_row + io_row : sum;
}

double speculation_token(const struct speculation *s) {
	double round, round_row, io, io_row;
	speculation_line_fit(&s->round, &round, &round_row);
	speculation_line_fit(&s->io, &io, &io_row);
	return round + round_row + io + io_row;
}

bool speculation_pays(const struct speculation *s, uint32_t answered, double chance, double seconds) {
	double token, row;
	if (s->round.w <= 0 || answered == 0)
		return false;
	speculation_prices(s, answered, &token, &row);
	return chance * token > row + seconds;
}

/* ---- drafts -------------------------------------------------------------------------------------- */

/* Where drafting is: a place in the log that matches its end, and one in the draft model's draft. */
struct place {
	uint32_t at, common; /* index in the log, and length of the match; common 0: none */
	uint32_t matched;    /* drafted tokens equal to the draft model's; fewer than all: they diverged */
};

uint32_t speculation_draft(const struct speculation *s, const struct draft_stats *g, uint32_t *log,
        uint32_t tokens, uint32_t drafted, uint32_t capacity, uint32_t answered,
        const struct draft_run *draft) {
	struct place p = {.common = 0};
	double token, row, chance = 1;
	uint32_t n = tokens + drafted;
	if (s->round.w <= 0 || answered == 0)
		return drafted;
	speculation_prices(s, answered, &token, &row);
	while (p.matched < drafted && p.matched < draft->n && log[tokens + p.matched] == draft->id[p.matched])
		p.matched++;
	/* the chance that all earlier ones are accepted, estimated as when they were drafted */
	for (uint32_t i = 0; i < drafted; i++)
		chance *= i < p.matched ? g->draft[speculation_probability_class(draft->probability[i])]
		                        : g->right[SPECULATION_CLASSES - 1];
	p.common = ngram_next(log, n, &p.at);
	/* the last token of the log needs no row of its own */
	while (drafted < SPECULATION_AHEAD && n + 1 < capacity) {
		bool drafts = p.matched == drafted && drafted < draft->n;
		float quoted = p.common ? g->right[speculation_match_class(p.common)] : 0,
		      sure = drafts ? g->draft[speculation_probability_class(draft->probability[drafted])]
		                    : 0;
		chance *= sure > quoted ? sure : quoted;
		if (chance * token <= row)
			break;
		uint32_t id = sure > quoted ? draft->id[drafted] : log[p.at];
		p.matched += drafts && id == draft->id[drafted];
		bool quotes = p.common && log[p.at] == id;
		log[n++] = id;
		drafted++;
		if (quotes) {
			p.at++;
			p.common = p.common < NGRAM_COMMON_MAX ? p.common + 1 : NGRAM_COMMON_MAX;
		} else {
			p.common = ngram_next(log, n, &p.at);
		}
	}
	return drafted;
}
