/* phase: see phase.h.
 *
 * Work is handed out while a phase runs, not divided evenly beforehand: cores differ (efficiency cores, neighbours on a shared
 * machine), and a row costs more in some weight types than in others.  Which member computes a row never affects its bits. */
#include "shard/forward/phase.h"
#include <errno.h>

size_t phase_strips(size_t rows) {
	return (rows + KERN_STRIP - 1) / KERN_STRIP;
}

bool phase_next_run(struct phase_member *j, const struct phase_cut *cut, size_t *first, size_t *count) {
	if (team_take(j->team, j->id, j->rounds + 1, cut->strips, cut->least, first, count))
		return true;
	j->rounds++;
	return false;
}

/* A fault is phase + 1 in the bits above `where`, so that later phases compare greater and 0 means none. */
void phase_fail(struct phase_member *j, uint32_t where) {
	uint64_t none = 0;
	atomic_compare_exchange_strong(j->fault, &none, (uint64_t)(j->phase + 1) << 32 | where);
}

uint32_t phase_fault_where(uint64_t fault) {
	return (uint32_t)fault;
}

int phase_gate(struct phase_member *j) {
	team_barrier(j->team, j->id);
	j->phase++;
	uint64_t fault = atomic_load_explicit(j->fault, memory_order_relaxed);
	return fault && fault >> 32 <= j->phase ? -EDOM : 0;
}

size_t act_bytes(enum kern_form form, size_t rows, size_t n) {
	return rows * kern_act_bytes(form, n);
}

unsigned act_form_of(const struct store_tensor *w) {
	return 1u << kern_traits(w->record.type)->form;
}

int act_put(const struct act *a, unsigned forms, size_t row, const float *x, size_t n) {
	const struct kern_ops *ops = kern_ops();
	for (unsigned f = 0; f < KERN_FORMS; f++) {
		if (!(forms & 1u << f))
			continue;
		if (ops->quantize[f](a->form[f] + row * kern_act_bytes(f, n), x, n))
			return -EDOM;
	}
	return 0;
}

void product_rows(const struct kern_ops *ops, const struct content_tensor *t, const uint8_t *packed, float *y,
        size_t ldy, size_t rows, const struct act *a, size_t at, size_t cols) {
	enum kern_form form = kern_traits(t->type)->form;
	size_t stride = kern_act_bytes(form, t->n);
	kern_mul(ops, t->type, cols)(y, ldy, packed, rows, t->n, a->form[form] + at * stride, stride, cols);
}

/* What comes after the product of these rows. */
static void product_finish(
        const struct kern_ops *ops, const struct product *p, size_t first, size_t rows, size_t cols) {
	for (size_t c = 0; c < cols; c++) {
		float *y = p->y + c * p->ldy + first;
		if (p->bias)
			ops->add(y, p->bias + first, rows);
		for (size_t i = 0; p->scale != 0 && i < rows; i++)
			y[i] *= p->scale;
	}
}

static size_t product_own_rows(const struct product *p) {
	return p->w->record.rows - p->before - p->after;
}

/* Rows [first, first + rows) of a product. */
static void product_run(const struct kern_ops *ops, const struct product *p, size_t first, size_t rows,
        const struct act *a, size_t at, size_t cols) {
	const struct content_tensor *t = &p->w->record;
	const uint8_t *packed = (const uint8_t *)p->w->packed + first * kern_row_bytes(t->type, t->n);
	product_rows(ops, t, packed, p->y + first, p->ldy, rows, a, at, cols);
	product_finish(ops, p, first, rows, cols);
}

void product_share(struct phase_member *j, const struct kern_ops *ops, const struct product *p, size_t count,
        const struct act *a, size_t at, size_t cols) {
	struct phase_cut cut = {.least = PHASE_STRIPS};
	size_t first, strips;
	for (size_t i = 0; i < count; i++)
		cut.strips += phase_strips(product_own_rows(&p[i]));
	while (phase_next_run(j, &cut, &first, &strips))
		for (size_t i = 0, begin = 0; i < count && begin < first + strips; i++) {
			size_t rows = product_own_rows(&p[i]), end = begin + phase_strips(rows);
			size_t from = first > begin ? first - begin : 0;
			size_t to = (first + strips < end ? first + strips : end) - begin;
			size_t row = from * KERN_STRIP,
			       last = to * KERN_STRIP < rows ? to * KERN_STRIP : rows;
			if (row < last)
				product_run(ops, &p[i], p[i].before + row, last - row, a, at, cols);
			begin = end;
		}
}
