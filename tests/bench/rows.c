/* bench/rows: the figures of a run, remembered until they are told. */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void bench_row(struct bench *b, const char *unit, double value, double bound, double target, bool less,
        const char *name, ...) {
	struct bench_row *rows = realloc(b->rows, (b->nrows + 1) * sizeof *rows), *r;
	va_list args;
	if (!rows)
		abort();
	b->rows = rows;
	r = &rows[b->nrows++];
	*r = (struct bench_row){
	        .value = value, .low = NAN, .high = NAN, .bound = bound, .target = target, .less = less};
	snprintf(r->unit, sizeof r->unit, "%s", unit);
	va_start(args, name);
	vsnprintf(r->name, sizeof r->name, name, args);
	va_end(args);
}

void bench_row_spread(struct bench *b, double low, double high) {
	b->rows[b->nrows - 1].low = low;
	b->rows[b->nrows - 1].high = high;
}

bool bench_met(const struct bench_row *r) {
	return r->less ? r->value <= r->target : r->value >= r->target;
}
