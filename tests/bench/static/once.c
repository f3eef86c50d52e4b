/* once: one call of a kernel, between two marks, for count.py to follow.  Data are zero: no kernel branches on them. */
#include "kernels/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the trace begins and ends. */
__attribute__((noinline)) void once_begin(void) {
	__asm__ volatile("");
}
__attribute__((noinline)) void once_end(void) {
	__asm__ volatile("");
}

static void *room(size_t bytes) {
	void *p;
	if (posix_memalign(&p, KERN_ALIGN, bytes)) {
		perror("once");
		exit(1);
	}
	return memset(p, 0, bytes);
}

static const struct kern_ops *level_of(const char *name) {
	for (size_t i = 0; kern_level(i); i++)
		if (!strcmp(kern_level(i)->name, name))
			return kern_level(i);
	fprintf(stderr, "once: no level %s\n", name);
	exit(1);
}

static int product(const struct kern_ops *ops, const char *type, size_t rows, size_t n, size_t cols) {
	uint32_t t = 0;
	while (t < KERN_TYPES && !(kern_traits(t) && !strcmp(kern_traits(t)->name, type)))
		t++;
	if (t == KERN_TYPES)
		return 1;
	size_t stride = kern_act_bytes(kern_traits(t)->form, n);
	float *y = room(rows * cols * sizeof *y);
	void *w = room(kern_packed_bytes((enum kern_type)t, rows, n)), *x = room(stride * cols);
	once_begin();
	kern_mul(ops, t, cols)(y, rows, w, rows, n, x, stride, cols);
	once_end();
	return 0;
}

/* `queries` of one head over a span. */
static int attention(const struct kern_ops *ops, enum kern_kv type, size_t head_size, size_t queries) {
	enum { BLOCKS = KERN_SPAN / KERN_KV_BLOCK };
	const void *keys[BLOCKS], *values[BLOCKS];
	struct kern_query *q = room(queries * sizeof *q);
	float *maximum = room(queries * sizeof *maximum), *sum = room(queries * sizeof *sum);
	for (size_t b = 0; b < BLOCKS; b++) {
		keys[b] = room(kern_kv_bytes(type, head_size));
		values[b] = room(kern_kv_bytes(type, head_size));
	}
	for (size_t i = 0; i < queries; i++)
		q[i] = (struct kern_query){.q = room(head_size * 4),
		        .o = room(head_size * 4),
		        .m = maximum + i,
		        .l = sum + i,
		        .count = KERN_SPAN};
	void *scratch = room(kern_span_scratch(queries));
	once_begin();
	ops->kv[type].span(q, queries, keys, values, head_size, 0.1f, scratch);
	once_end();
	return 0;
}

int main(int argc, char **argv) {
	if (argc != 6)
		return 1;
	const struct kern_ops *ops = level_of(argv[1]);
	size_t a = (size_t)atol(argv[3]), b = (size_t)atol(argv[4]), c = (size_t)atol(argv[5]);
	for (uint32_t t = 0; t < KERN_KVS; t++)
		if (!strcmp(kern_kv_name(t), argv[2]))
			return attention(ops, (enum kern_kv)t, b, c);
	return product(ops, argv[2], a, b, c);
}
