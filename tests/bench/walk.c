/* bench/walk: see walk.h. */
#include "tests/bench/walk.h"
#include "tests/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 3 }; /* of each way */

struct piece {
	const uint8_t *at;
	size_t bytes;
};

struct pieces {
	struct piece *v;
	size_t count, bytes;
};

struct walk {
	struct team *team;
	unsigned way;
	struct pieces phase;  /* what is split next */
	struct pieces *share; /* [members] */
	size_t bytes;
	struct {
		_Alignas(64) uint64_t sum; /* so that reading is not left out */
	} member[BENCH_THREADS_MAX];
};

static void add(struct pieces *p, const void *at, size_t bytes) {
	struct piece *last = p->count ? &p->v[p->count - 1] : NULL;
	p->bytes += bytes;
	if (last && last->at + last->bytes == at) {
		last->bytes += bytes;
		return;
	}
	p->v = realloc(p->v, (p->count + 1) * sizeof *p->v);
	if (!p->v)
		abort();
	p->v[p->count++] = (struct piece){at, bytes};
}

/* Each member gets its part of what was added since the last time, in cache lines. */
static void split(struct walk *w) {
	for (unsigned id = 0; id < team_size(w->team); id++) {
		size_t first, last, begin = 0;
		team_share(w->team, id, w->phase.bytes, 64, &first, &last);
		for (size_t i = 0; i < w->phase.count; i++) {
			const struct piece *p = &w->phase.v[i];
			size_t from = first > begin ? first - begin : 0, to = last > begin ? last - begin : 0;
			to = to < p->bytes ? to : p->bytes;
			if (from < to)
				add(&w->share[id], p->at + from, to - from);
			begin += p->bytes;
		}
	}
	w->bytes += w->phase.bytes;
	w->phase.count = w->phase.bytes = 0;
}

static void add_tensor(struct walk *w, const struct store_tensor *t) {
	if (t)
		add(&w->phase, t->packed, t->record.rows * kern_row_bytes(t->record.type, t->record.n));
}

static void add_expert(struct walk *w, const struct store_tensor *t, uint32_t expert) {
	size_t bytes = t->record.rows / t->record.parts * kern_row_bytes(t->record.type, t->record.n);
	add(&w->phase, (const uint8_t *)t->packed + expert * bytes, bytes);
}

static void add_cache(struct walk *w, const struct line *l, uint32_t layer, uint32_t position) {
	const struct kv *kv = l->kv[0];
	const struct hparams *hp = &l->whole.manifest->hp;
	size_t bytes = kern_kv_bytes(kv->size.type, kv->head_size);
	uint32_t window = hparams_has_window(hp, layer) ? hp->window : 0;
	uint32_t from = hparams_first_seen(position, window) / KERN_KV_BLOCK;
	for (uint32_t head = 0; head < kv->layer[layer].heads; head++)
		for (int values = 0; values < 2; values++)
			for (uint32_t b = from; b < position / KERN_KV_BLOCK; b++)
				add(&w->phase, (values ? kv_values : kv_keys)(kv, b, layer, head), bytes);
	split(w);
}

/* A layer's experts: gate and up of each, then down of each. */
static void add_experts(struct walk *w, const struct store_tensor *const t[LAYER_ROLES], uint32_t experts,
        const bool *chosen) {
	add_tensor(w, t[LAYER_ROUTER]);
	split(w);
	for (uint32_t e = 0; e < experts; e++)
		if (chosen[e]) {
			add_expert(w, t[LAYER_EXPERT_GATE], e);
			add_expert(w, t[LAYER_EXPERT_UP], e);
		}
	split(w);
	for (uint32_t e = 0; e < experts; e++)
		if (chosen[e])
			add_expert(w, t[LAYER_EXPERT_DOWN], e);
	split(w);
}

static void add_layer(
        struct walk *w, const struct line *l, uint32_t layer, uint32_t position, const bool *chosen) {
	const struct store_tensor *const *t = l->whole.layer[layer];
	uint32_t experts = l->whole.manifest->hp.experts;
	add_tensor(w, t[LAYER_Q]);
	add_tensor(w, t[LAYER_K]);
	add_tensor(w, t[LAYER_V]);
	split(w);
	add_cache(w, l, layer, position);
	add_tensor(w, t[LAYER_OUT]);
	split(w);
	if (t[LAYER_ROUTER]) {
		add_experts(w, t, experts, chosen + (size_t)layer * experts);
		return;
	}
	add_tensor(w, t[LAYER_GATE]);
	add_tensor(w, t[LAYER_UP]);
	split(w);
	add_tensor(w, t[LAYER_DOWN]);
	split(w);
}

struct walk *walk_create(const struct line *l, uint32_t position, const bool *chosen) {
	struct walk *w = bench_alloc(sizeof *w);
	w->team = l->team;
	w->share = bench_alloc(team_size(l->team) * sizeof *w->share);
	for (uint32_t i = 0; i < l->whole.manifest->hp.layers; i++)
		add_layer(w, l, i, position, chosen);
	add_tensor(w, l->whole.io[IO_HEAD]);
	split(w);
	return w;
}

void walk_destroy(struct walk *w) {
	if (!w)
		return;
	for (unsigned id = 0; id < team_size(w->team); id++)
		free(w->share[id].v);
	free(w->share);
	free(w->phase.v);
	free(w);
}

size_t walk_bytes(const struct walk *w) {
	return w->bytes;
}

static void member(struct team *team, void *arg, unsigned id) {
	struct walk *w = arg;
	const struct pieces *own = &w->share[id];
	(void)team;
	for (size_t i = 0; i < own->count; i++) {
		const struct piece *p = &own->v[i], *next = &own->v[i + 1 < own->count ? i + 1 : 0];
		w->member[id].sum += bench_read_piece(p->at, p->bytes, next->at, next->bytes, w->way);
	}
}

double walk_read(struct walk *w, unsigned way) {
	double t0 = bench_now();
	w->way = way;
	team_run(w->team, member, w);
	return bench_now() - t0;
}

unsigned walk_best_way(struct walk *const *w, size_t count) {
	double t[BENCH_WAYS][TRIES], best = INFINITY;
	unsigned way = 0;
	size_t turn = 0;
	for (int k = 0; k < TRIES; k++)
		for (unsigned i = 0; i < BENCH_WAYS; i++)
			t[i][k] = walk_read(w[turn++ % count], i);
	for (unsigned i = 0; i < BENCH_WAYS; i++) {
		double median = bench_median(t[i], TRIES);
		way = median < best ? i : way;
		best = fmin(best, median);
	}
	return way;
}

/* ---- where the memory lies ---- */

/* What smaps says of one mapping. */
struct mapping {
	uintptr_t from, to;
	double resident, huge; /* bytes */
};

static void take_line(struct mapping *m, const char *line) {
	double kib;
	if (sscanf(line, "Rss: %lf", &kib) == 1)
		m->resident = kib * 1024;
	else if (sscanf(line, "AnonHugePages: %lf", &kib) == 1 ||
	         sscanf(line, "FilePmdMapped: %lf", &kib) == 1 ||
	         sscanf(line, "ShmemPmdMapped: %lf", &kib) == 1)
		m->huge += kib * 1024;
}

/* The bytes of a tensor within a mapping. */
static double overlap(const struct mapping *m, const struct store_tensor *t) {
	uintptr_t from = (uintptr_t)t->packed, to = from + t->packed_bytes;
	from = from > m->from ? from : m->from;
	to = to < m->to ? to : m->to;
	return from < to ? (double)(to - from) : 0;
}

/* Bytes of a slice's weights within a mapping. */
static double held(const struct mapping *m, const struct slice *s) {
	double bytes = 0;
	for (uint32_t l = 0; l < s->last - s->first; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			bytes += s->layer[l][r] ? overlap(m, s->layer[l][r]) : 0;
	for (int r = 0; r < IO_ROLES; r++)
		bytes += s->io[r] ? overlap(m, s->io[r]) : 0;
	return bytes;
}

double walk_huge(const struct slice *s) {
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	struct mapping m = {0};
	double all = 0, huge = 0;
	while (f) {
		unsigned long from, to;
		bool more = fgets(line, sizeof line, f),
		     next = more && sscanf(line, "%lx-%lx ", &from, &to) == 2;
		if ((next || !more) && m.resident > 0) { /* as if a mapping's huge pages lay evenly in it */
			double bytes = held(&m, s);
			all += bytes;
			huge += bytes * fmin(1, m.huge / m.resident);
		}
		if (!more)
			break;
		if (next)
			m = (struct mapping){.from = from, .to = to};
		else
			take_line(&m, line);
	}
	if (f)
		fclose(f);
	return all > 0 ? huge / all : 0;
}

size_t walk_last_cache(void) {
	size_t most = 0;
	for (int i = 0; i < 8; i++) {
		char path[96];
		unsigned long kib;
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%luK", &kib) == 1 && kib * 1024 > most)
			most = kib * 1024;
		fclose(f);
	}
	return most;
}
