/* io_layers: embedding and output of a model (forward.h): embedding rows, the final norm, and the output product, whose rows
 * the team shares.  Phases as in forward.c: see phase.h. */
#include "shard/forward/forward.h"
#include "shard/forward/phase.h"
#include <errno.h>
#include <stdlib.h>

/* For up to this many embedding rows, waking the team does not pay. */
#define FEW_ROWS 4

struct io_layers {
	const struct slice *slice; /* borrowed, like team */
	struct team *team;
	const struct kern_ops *ops;
	const struct hparams *hp;
	uint32_t max_rows;
	float *norm;    /* [dim] */
	float *hidden;  /* [team][dim]: a member's normalised row */
	struct act act; /* only in the form that the output product needs */
	unsigned forms;

	/* the job */
	const uint32_t *tokens;
	float *embedded;
	const float *x;
	float *logits;
	uint32_t rows;
	_Atomic uint64_t fault;
};

int io_layers_create(struct io_layers **out, const struct slice *s, struct team *t, uint32_t max_rows) {
	if (!s->io[IO_EMBED] || !s->io[IO_NORM] || !s->io[IO_HEAD] || !max_rows)
		return -EINVAL;
	const struct hparams *hp = &s->manifest->hp;
	const struct store_tensor *norm = s->io[IO_NORM];
	enum kern_form form = kern_traits(s->io[IO_HEAD]->record.type)->form;
	unsigned team = team_size(t);
	struct io_layers *e = calloc(1, sizeof *e);
	if (!e)
		return -ENOMEM;
	e->slice = s;
	e->team = t;
	e->ops = kern_ops();
	e->hp = hp;
	e->max_rows = max_rows;
	e->forms = act_form_of(s->io[IO_HEAD]);
	e->norm = malloc(hp->dim * sizeof(float));
	e->hidden = malloc((size_t)team * hp->dim * sizeof(float));
	e->act.form[form] =
	        aligned_alloc(KERN_ALIGN, act_bytes(form, max_rows > team ? max_rows : team, hp->dim));
	if (!e->norm || !e->hidden || !e->act.form[form]) {
		io_layers_destroy(e);
		return -ENOMEM;
	}
	kern_dequant_packed(norm->record.type, e->norm, norm->packed, 0, hp->dim);
	*out = e;
	return 0;
}

void io_layers_destroy(struct io_layers *e) {
	if (!e)
		return;
	int saved = errno;
	free(e->norm);
	free(e->hidden);
	for (int form = 0; form < KERN_FORMS; form++)
		free(e->act.form[form]);
	free(e);
	errno = saved;
}

static void io_layers_embed_rows(struct io_layers *e, size_t first, size_t last) {
	const struct store_tensor *w = e->slice->io[IO_EMBED];
	size_t dim = e->hp->dim;
	for (size_t r = first; r < last; r++) {
		float *x = e->embedded + r * dim;
		kern_dequant_packed(w->record.type, x, w->packed, e->tokens[r], dim);
		for (size_t i = 0; e->hp->embed_scale != 0 && i < dim; i++)
			x[i] *= e->hp->embed_scale;
	}
}

static void io_layers_embed_member(struct team *t, void *arg, unsigned id) {
	struct io_layers *e = arg;
	size_t first, last;
	team_share(t, id, e->rows, 1, &first, &last);
	io_layers_embed_rows(e, first, last);
}

int io_layers_embed(struct io_layers *e, float *x, const uint32_t *tokens, uint32_t rows) {
	for (uint32_t i = 0; i < rows; i++)
		if (tokens[i] >= e->hp->vocab)
			return -EINVAL;
	char why[160];
	uint64_t renewed = SLICE_BEFORE;
	int rc = slice_check(e->slice, &renewed, why, sizeof why);
	if (rc)
		return rc;
	e->tokens = tokens;
	e->embedded = x;
	e->rows = rows;
	if (rows > FEW_ROWS)
		team_run(e->team, io_layers_embed_member, e);
	else
		io_layers_embed_rows(e, 0, rows);
	return slice_check(e->slice, &renewed, why, sizeof why);
}

/* As in forward.c: every member prepares a single row for itself; more rows are shared. */
static void io_layers_logits_member(struct team *t, void *arg, unsigned id) {
	struct io_layers *e = arg;
	struct phase_member j = {.team = t, .id = id, .fault = &e->fault};
	size_t dim = e->hp->dim, first = 0, last = 1;
	float *y = e->hidden + id * dim;
	bool shared = e->rows > 1;
	if (shared)
		team_share(t, id, e->rows, 1, &first, &last);
	for (size_t r = first; r < last; r++)
		if (e->ops->rmsnorm(y, e->x + r * dim, e->norm, dim, e->hp->eps) ||
		        act_put(&e->act, e->forms, shared ? r : id, y, dim))
			phase_fail(&j, 0);
	if (shared && phase_gate(&j))
		return;
	const struct product head = {
	        .w = e->slice->io[IO_HEAD], .y = e->logits, .ldy = e->hp->vocab, .scale = e->hp->logit_scale};
	product_share(&j, e->ops, &head, 1, &e->act, shared ? 0 : id, e->rows);
}

int io_layers_logits(struct io_layers *e, float *logits, const float *x, uint32_t rows) {
	if (!rows || rows > e->max_rows)
		return -EINVAL;
	char why[160];
	uint64_t renewed = SLICE_BEFORE;
	int rc = slice_check(e->slice, &renewed, why, sizeof why);
	if (rc)
		return rc;
	e->x = x;
	e->logits = logits;
	e->rows = rows;
	e->fault = 0;
	team_run(e->team, io_layers_logits_member, e);
	rc = slice_check(e->slice, &renewed, why, sizeof why);
	return rc ? rc : e->fault ? -EDOM : 0;
}

int io_layers_pool(struct io_layers *e, double *sum, const float *x, uint32_t rows) {
	size_t dim = e->hp->dim;
	float *y = e->hidden;
	for (uint32_t r = 0; r < rows; r++) {
		if (e->ops->rmsnorm(y, x + r * dim, e->norm, dim, e->hp->eps))
			return -EDOM;
		for (size_t i = 0; i < dim; i++)
			sum[i] += (double)y[i];
	}
	return 0;
}
