/* job: see job.h.  Work is handed out and not cut evenly beforehand, because cores are unlike (efficiency
 * cores, neighbours on a shared machine) and the types of one layer cost unlike amounts a row; which member
 * computes a row never enters its bits. */
#include "shard/job.h"
#include <errno.h>

/* Tasks that a member should find in a phase, where the matrix is large enough: what one costs is what the
 * slowest member can keep the others waiting. */
#define TASKS 16

bool job_next(struct job *j, size_t tasks, size_t *task) {
	size_t i = team_next(j->team) - j->base;
	if (i < tasks) {
		*task = i;
		return true;
	}
	j->base += tasks + team_size(j->team);
	return false;
}

/* A fault is phase + 1 above its place, so that later phases compare greater and 0 means none. */
void job_fail(struct job *j, uint32_t where) {
	uint64_t none = 0;
	atomic_compare_exchange_strong(j->fault, &none, (uint64_t)(j->phase + 1) << 32 | where);
}

uint32_t job_fault_where(uint64_t fault) {
	return (uint32_t)fault;
}

int job_gate(struct job *j) {
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

/* Kernels walk four strips at once, so tasks are multiples of four strips where there is enough. */
size_t job_chunk(const struct job *j, size_t strips) {
	size_t c = strips / (TASKS * (size_t)team_size(j->team));
	if (c > JOB_CHUNK / KERN_STRIP)
		c = JOB_CHUNK / KERN_STRIP;
	if (c > 4)
		c = c / 4 * 4;
	return (c ? c : 1) * KERN_STRIP;
}

void product_rows(const struct kern_ops *ops, const struct store_tensor *w, float *y, size_t ldy,
        size_t first, size_t rows, const struct act *a, size_t at, size_t cols) {
	const struct content_tensor *t = &w->record;
	enum kern_form form = kern_traits(t->type)->form;
	size_t stride = kern_act_bytes(form, t->n);
	const uint8_t *packed = (const uint8_t *)w->packed + first * kern_row_bytes(t->type, t->n);
	ops->mul[t->type](y, ldy, packed, rows, t->n, a->form[form] + at * stride, stride, cols);
}

void product_share(struct job *j, const struct kern_ops *ops, const struct product *p, size_t count,
        const struct act *a, size_t at, size_t cols) {
	size_t strips = 0, tasks = 0;
	for (size_t i = 0; i < count; i++)
		strips += (p[i].w->record.rows + KERN_STRIP - 1) / KERN_STRIP;
	size_t chunk = job_chunk(j, strips);
	for (size_t i = 0; i < count; i++)
		tasks += (p[i].w->record.rows + chunk - 1) / chunk;
	size_t task;
	while (job_next(j, tasks, &task)) {
		size_t i = 0;
		for (size_t of; task >= (of = (p[i].w->record.rows + chunk - 1) / chunk); i++)
			task -= of;
		size_t first = task * chunk, rows = p[i].w->record.rows - first;
		product_rows(ops, p[i].w, p[i].y + first, p[i].ldy, first, rows < chunk ? rows : chunk, a, at,
		        cols);
	}
}
