/* share: see share.h. */
#include "shard/forward/share.h"
#include "kernels/actjoin.h"
#include <errno.h>
#include <string.h>

bool share_is_alone(const struct forward *f) {
	return f->group.nodes <= 1;
}

/* ---- what a node has ---- */

static void share_own(const struct forward *f, const size_t *begin, size_t n, size_t *first, size_t *last) {
	*first = share_is_alone(f) ? 0 : begin[f->group.node];
	*last = share_is_alone(f) ? n : begin[f->group.node + 1];
}

void share_own_heads(const struct forward *f, uint32_t layer, size_t *first, size_t *last) {
	size_t begin[GROUP_NODES + 1], n = f->shape[layer].kv_heads;
	if (!share_is_alone(f))
		group_cut_heads(&f->group, n, begin);
	share_own(f, begin, n, first, last);
}

void share_own_rows(const struct forward *f, size_t n, size_t *first, size_t *last) {
	size_t begin[GROUP_NODES + 1];
	if (!share_is_alone(f))
		group_cut_rows(&f->group, n, begin);
	share_own(f, begin, n, first, last);
}

struct share_rows share_heads(const struct forward *f, uint32_t layer, float *x, size_t n) {
	size_t heads = f->shape[layer].kv_heads;
	struct share_rows r = {.x = x, .rows = f->step->rows, .n = n};
	group_cut_heads(&f->group, heads, r.begin);
	for (uint32_t i = 0; i <= f->group.nodes; i++)
		r.begin[i] *= n / heads;
	return r;
}

struct share_rows share_columns(const struct forward *f, float *x, size_t rows, size_t n) {
	struct share_rows r = {.x = x, .rows = rows, .n = n};
	group_cut_rows(&f->group, n, r.begin);
	return r;
}

/* ---- rows on their way ---- */

static size_t share_width(const struct share_rows *r, uint32_t node) {
	return r->begin[node + 1] - r->begin[node];
}

/* The form in which rows travel; KERN_FORMS: as floats, to be put afterwards, if they are put. */
static enum kern_form share_form(const struct share_rows *r, uint32_t nodes) {
	enum kern_form form = 0;
	while (form < KERN_FORMS && r->forms != 1u << form)
		form++;
	if (!r->act || form == KERN_FORMS)
		return KERN_FORMS;
	for (uint32_t i = 0; i < nodes; i++)
		if (r->begin[i] % kern_act_block(form))
			return KERN_FORMS;
	return form;
}

/* Bytes of a row of n columns. */
static size_t share_row_bytes(enum kern_form form, size_t n) {
	return n ? kern_act_bytes(form == KERN_FORMS ? KERN_FORM_F32 : form, n) : 0;
}

size_t share_bytes(const struct manifest *m, uint32_t max_rows) {
	const struct hparams *hp = &m->hp;
	size_t wide = (size_t)hp->heads * hp->head_size, used = (size_t)hp->experts_used * hp->expert_ffn;
	size_t n = wide > hp->dim ? wide : hp->dim, ffn = hp->shared_ffn;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		if (m->tensor[i].role == LAYER_DOWN && m->tensor[i].n > ffn)
			ffn = m->tensor[i].n;
	n = n > ffn + used ? n : ffn + used;
	/* every node's part of a row is rounded up, of each expert's */
	return max_rows * (n * sizeof(float) + GROUP_NODES * (2 + (size_t)hp->experts_used) * 4 * KERN_ALIGN);
}

/* Where the parts of all nodes are on their way: the same for all members. */
static void share_lay(const struct forward *f, const struct share *e, struct group_exchange *x) {
	uint8_t *at = f->passing;
	*x = (struct group_exchange){.at = e->meeting, .layer = e->layer, .parts = e->parts};
	for (unsigned p = 0; p < e->parts; p++) {
		const struct share_rows *r = &e->rows[p];
		enum kern_form form = share_form(r, f->group.nodes);
		x->part[p].rows = r->rows;
		for (uint32_t i = 0; i < f->group.nodes; i++) {
			x->part[p].bytes[i] = share_row_bytes(form, share_width(r, i));
			x->part[p].data[i] = at;
			at += x->part[p].bytes[i] * r->rows;
		}
	}
}

/* The member's share of this node's columns; false: a value is not finite. */
static bool share_pack(const struct forward *f, const struct phase_member *j, const struct share_rows *r,
        const struct group_part *part) {
	uint32_t node = f->group.node;
	enum kern_form form = share_form(r, f->group.nodes);
	size_t width = share_width(r, node), first, last;
	bool fine = true;
	team_share(j->team, j->id, width ? r->rows : 0, 1, &first, &last);
	for (size_t i = first; i < last; i++) {
		const float *from = r->x + i * r->n + r->begin[node];
		uint8_t *to = part->data[node] + i * part->bytes[node];
		size_t bytes = width * sizeof *from;
		if (form == KERN_FORMS) {
			memcpy(to, from, bytes);
			memset(to + bytes, 0, part->bytes[node] - bytes); /* it is sent too */
		} else
			fine &= f->ops->quantize[form](to, from, width) == 0;
	}
	return fine;
}

/* A row of floats becomes whole. */
static void share_unpack_floats(
        const struct forward *f, const struct share_rows *r, const struct group_part *part, size_t row) {
	for (uint32_t i = 0; i < f->group.nodes; i++)
		if (i != f->group.node)
			memcpy(r->x + row * r->n + r->begin[i], part->data[i] + row * part->bytes[i],
			        share_width(r, i) * sizeof *r->x);
}

static void share_join(const struct forward *f, const struct share_rows *r, const struct group_part *part,
        enum kern_form form, size_t row) {
	uint8_t *to = r->act->form[form] + (r->at + row) * kern_act_bytes(form, r->n);
	for (uint32_t i = 0; i < f->group.nodes; i++)
		if (part->bytes[i])
			kern_act_join(form, to, r->n, r->begin[i], part->data[i] + row * part->bytes[i],
			        share_width(r, i));
}

/* The member's share of rows; those of a step of one row are put by every member for itself. */
static void share_put_share(
        const struct forward *f, const struct phase_member *j, size_t rows, size_t *first, size_t *last) {
	*first = 0;
	*last = rows;
	if (f->step->rows > 1)
		team_share(j->team, j->id, rows, 1, first, last);
}

/* Rows that came as floats: whole for everybody after the gate. */
static int share_unpack_shared(
        struct forward *f, struct phase_member *j, const struct share *e, const struct group_exchange *x) {
	bool any = false;
	for (unsigned p = 0; p < e->parts; p++) {
		const struct share_rows *r = &e->rows[p];
		size_t first, last;
		if (share_form(r, f->group.nodes) != KERN_FORMS)
			continue;
		any = true;
		team_share(j->team, j->id, r->rows, 1, &first, &last);
		for (size_t i = first; i < last; i++)
			share_unpack_floats(f, r, &x->part[p], i);
	}
	return any ? phase_gate(j) : 0;
}

/* Rows become activations. */
static int share_put(
        struct forward *f, struct phase_member *j, const struct share *e, const struct group_exchange *x) {
	bool any = false, fine = true;
	for (unsigned p = 0; p < e->parts; p++) {
		const struct share_rows *r = &e->rows[p];
		enum kern_form form = share_form(r, f->group.nodes);
		size_t first, last;
		if (!r->act)
			continue;
		any = true;
		share_put_share(f, j, r->rows, &first, &last);
		for (size_t i = first; i < last; i++)
			if (form == KERN_FORMS)
				fine &= act_put(r->act, r->forms, r->at + i, r->x + i * r->n, r->n) == 0;
			else
				share_join(f, r, &x->part[p], form, i);
	}
	return any ? forward_is_prepared(f, j, !fine, e->where) : 0;
}

/* ---- meetings ---- */

/* Where a fault is that another node may have named: elsewhere, if this slice has no such place. */
static uint32_t share_where(const struct forward *f, uint32_t fault) {
	uint32_t where = fault - 1;
	return (where & 0xff) < AT_PLACES && where >> 8 < f->kv->layers ? where : WHERE_ELSE;
}

/* On the thread that runs the step. */
static void share_tell(struct forward *f, struct group_exchange *x) {
	f->lost = f->group.meet(f->group.arg, x, f->why, sizeof f->why);
	f->told = x->fault != GROUP_FINE;
}

int share_meet(struct forward *f, struct phase_member *j, const struct share *e) {
	struct group_exchange x;
	bool fine = true;
	share_lay(f, e, &x);
	for (unsigned p = 0; p < e->parts; p++)
		fine &= share_pack(f, j, &e->rows[p], &x.part[p]);
	if (!fine)
		phase_fail(j, e->where);
	if (phase_gate(j))
		return -EDOM;
	if (j->id == 0) {
		share_tell(f, &x);
		if (!f->lost && x.fault != GROUP_FINE)
			phase_fail(j, share_where(f, x.fault));
	}
	if (phase_gate(j))
		return -EDOM;
	if (f->lost)
		return -EIO;
	int rc = share_unpack_shared(f, j, e, &x);
	return rc ? rc : share_put(f, j, e, &x);
}

void share_begin(struct forward *f) {
	f->fault = 0;
	f->told = false;
	f->lost = 0;
}

void share_end(struct forward *f, int rc) {
	struct group_exchange x = {.at = MEET_END, .layer = f->kv->layers};
	if (share_is_alone(f) || f->lost || f->told)
		return;
	if (f->fault || rc)
		x.fault = f->fault ? 1 + phase_fault_where(f->fault) : GROUP_CANNOT;
	share_tell(f, &x);
	if (!f->lost && x.fault != GROUP_FINE && !f->fault)
		f->fault = (uint64_t)1 << 32 | share_where(f, x.fault);
}
