/* A group: several nodes that share the rows of a slice compute the bits of one, from their own rows of the weights alone, and if one of
 * them cannot go on, all of them say so. */
#include "config.h"

#include "tests/support/synth.h"
#include <check.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPERTS \
	(LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) | LAYER_BIT(LAYER_EXPERT_UP) | \
	        LAYER_BIT(LAYER_EXPERT_DOWN))
#define SHARED_EXPERT \
	(LAYER_BIT(LAYER_SHARED_GATE) | LAYER_BIT(LAYER_SHARED_UP) | LAYER_BIT(LAYER_SHARED_DOWN))
#define BIASES \
	(LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS) | \
	        LAYER_BIT(LAYER_OUT_BIAS))
#define HEAD_NORMS (LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM))

#define BASE \
	.layers = 2, .dim = 256, .heads = 8, .kv_heads = 4, .head_size = 32, .ffn = 352, .vocab = 100, \
	.context = 1024, .embed = KERN_Q4_0, .head = KERN_Q6_K, .seed = 7

/* Types that want every form of activations; widths that are no whole blocks of a node. */
static const struct synth_spec spec[] = {
        {BASE, .layer = {KERN_F32, KERN_Q4_K, KERN_Q4_0, KERN_Q6_K, KERN_F16, KERN_F32, KERN_Q8_0, KERN_Q5_K,
                       KERN_Q4_1}},
        {BASE,
                .layer = {KERN_F32, KERN_Q4_0, KERN_Q4_0, KERN_Q8_0, KERN_Q6_K, KERN_F32, KERN_Q4_K,
                        KERN_Q4_K, KERN_Q8_0},
                .roles = BIASES | HEAD_NORMS | LAYER_BIT(LAYER_POST_ATTN_NORM) | LAYER_BIT(LAYER_SINKS),
                .traits = {.halves = 1, .gated = 1, .residual_scale = 0.5f, .window = 90, .full_every = 2}},
        {BASE,
                .layer = {KERN_F32, KERN_Q4_0, KERN_Q4_0, KERN_Q8_0, KERN_Q8_0, KERN_F32, KERN_Q4_0,
                        KERN_Q4_0, KERN_Q4_0},
                .roles = LAYER_BIT(LAYER_OUT_BIAS),
                .traits = {.unlike = 1, .shape = {{4, 1, 64}, {8, 0, 96}}}},
        {BASE,
                .layer = {KERN_F32, KERN_Q4_K, KERN_Q4_0, KERN_Q6_K, KERN_F16, KERN_F32, KERN_Q8_0, KERN_Q5_K,
                        KERN_Q4_1, [LAYER_EXPERT_GATE] = KERN_Q4_K, [LAYER_EXPERT_UP] = KERN_MXFP4,
                        [LAYER_EXPERT_DOWN] = KERN_Q8_0, [LAYER_SHARED_GATE] = KERN_IQ4_XS,
                        [LAYER_SHARED_DOWN] = KERN_Q4_0},
                .dense = 1, .roles = EXPERTS | SHARED_EXPERT,
                .traits = {.experts = 6, .experts_used = 2, .expert_ffn = 160, .shared_ffn = 96}},
};
#define SPECS ((int)(sizeof spec / sizeof *spec))

/* Shares of heads and of rows. */
static const struct {
	uint32_t nodes, heads[5], rows[5];
} share[] = {
        {1, {1}, {1}},
        {2, {1, 1}, {1, 1}},
        {2, {0, 1}, {3, 1}},
        {3, {1, 2, 1}, {5, 1, 2}},
        {5, {1, 1, 1, 1, 0}, {7, 2, 0, 3, 4}},
};
#define SHARES ((int)(sizeof share / sizeof *share))

#define MOST 100
#define SINGLE 6 /* so many of them last, one by one */
static uint32_t tokens[MOST], blocks[64];

/* Where nodes of one process meet: the last to come copies everybody's part to everybody. */
struct table {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t nodes, here;
	unsigned round;   /* meetings so far */
	unsigned lost_at; /* the first node does not come to this one; 0: it comes to all */
	bool lost;
	unsigned told_at; /* at this meeting a node tells `told`; 0: none does */
	uint32_t told;
	struct group_exchange *x[GROUP_NODES];
};

static void copy_parts(const struct table *t, unsigned part) {
	for (uint32_t from = 0; from < t->nodes; from++)
		for (uint32_t to = 0; to < t->nodes; to++) {
			const struct group_part *a = &t->x[from]->part[part], *b = &t->x[to]->part[part];
			ck_assert(a->rows == b->rows &&
			          !memcmp(a->bytes, b->bytes, t->nodes * sizeof *a->bytes));
			if (from != to && a->bytes[from])
				memcpy(b->data[from], a->data[from], a->rows * a->bytes[from]);
		}
}

static void meet_all(struct table *t) {
	uint32_t fault = t->told_at == t->round + 1 ? t->told : GROUP_FINE;
	for (uint32_t i = t->nodes; i-- > 0;)
		fault = t->x[i]->fault != GROUP_FINE ? t->x[i]->fault : fault;
	for (uint32_t i = 0; i < t->nodes && !fault; i++)
		ck_assert(t->x[i]->at == t->x[0]->at && t->x[i]->layer == t->x[0]->layer &&
		          t->x[i]->parts == t->x[0]->parts);
	for (unsigned p = 0; p < t->x[0]->parts && !fault; p++)
		copy_parts(t, p);
	for (uint32_t i = 0; i < t->nodes; i++)
		t->x[i]->fault = fault;
}

struct node {
	struct table *table;
	uint32_t number;
};

static int meet(void *arg, struct group_exchange *x, char *err, size_t errlen) {
	const struct node *n = arg;
	struct table *t = n->table;
	pthread_mutex_lock(&t->lock);
	unsigned round = t->round;
	t->x[n->number] = x;
	if (n->number == 0 && t->lost_at == round + 1)
		t->lost = true;
	else if (++t->here == t->nodes) {
		meet_all(t);
		t->here = 0;
		t->round++;
	}
	pthread_cond_broadcast(&t->changed);
	while (t->round == round && !t->lost)
		pthread_cond_wait(&t->changed, &t->lock);
	bool lost = t->lost;
	pthread_mutex_unlock(&t->lock);
	if (lost)
		snprintf(err, errlen, "node zero is lost");
	return lost ? -EIO : 0;
}

/* Overwrites rows of a matrix, or of each of its parts, but for [first, last). */
static void spoil(const struct store_tensor *w, size_t first, size_t last) {
	size_t bytes = kern_row_bytes(w->record.type, w->record.n), each = w->record.rows / w->record.parts;
	size_t padded = (each + KERN_STRIP - 1) / KERN_STRIP * KERN_STRIP;
	for (uint32_t p = 0; p < w->record.parts; p++) {
		uint8_t *at = (uint8_t *)w->map + p * each * bytes;
		memset(at, 0xff, first * bytes);
		if (last < each)
			memset(at + last * bytes, 0xff, (padded - last) * bytes);
	}
}

/* What a node of a group does not have of the weights are bytes that are no numbers. */
static void keep_share(const struct synth *s, const struct group *g) {
	const struct hparams *hp = &s->m->hp;
	for (uint32_t l = 0; l < hp->layers; l++) {
		struct layer_shape shape = hparams_layer(hp, l);
		size_t heads[GROUP_NODES + 1], rows[GROUP_NODES + 1];
		group_cut_heads(g, shape.kv_heads, heads);
		for (int r = 0; r < LAYER_ROLES; r++) {
			const struct store_tensor *w = s->whole.layer[l][r];
			bool attends = shape.kv_heads && (r == LAYER_Q || r == LAYER_K || r == LAYER_V);
			if (!w || w->record.rows == 1 || r == LAYER_ROUTER || r == LAYER_SHARED_ROUTER)
				continue;
			size_t n = w->record.rows / w->record.parts, each = attends ? n / shape.kv_heads : 0;
			group_cut_rows(g, n, rows);
			spoil(w, attends ? heads[g->node] * each : rows[g->node],
			        attends ? heads[g->node + 1] * each : rows[g->node + 1]);
		}
	}
}

/* A node's run: tokens in steps of so many, the last ones of MOST one by one, and what came of them. */
struct run {
	struct node node;
	struct synth *model;
	struct line *line;
	uint32_t n, chunk;
	float *logits;
	int rc;
	char err[256];
};

static void *run_node(void *arg) {
	struct run *r = arg;
	size_t vocab = r->model->m->hp.vocab;
	for (uint32_t at = 0, rows; at < r->n && !r->rc; at += rows) {
		uint32_t end = r->n == MOST && at < MOST - SINGLE ? MOST - SINGLE : r->n;
		rows = end - at < r->chunk ? end - at : r->chunk;
		rows = end == MOST ? 1 : rows;
		uint32_t nblocks = (at + rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
		struct forward_seq q = {rows, at, nblocks, blocks, nblocks, blocks};
		r->rc = line_step(r->line, &q, 1, tokens + at, r->logits + at * vocab, r->err, sizeof r->err);
	}
	return NULL;
}

/* A group of models with the same weights; change: made to each, NULL for none. */
struct circle {
	struct table table;
	struct run run[5];
};

static void circle_create(struct circle *c, int which, int shares, enum kern_kv kv, uint32_t n,
        uint32_t chunk, void (*change)(struct synth *s)) {
	*c = (struct circle){.table = {.nodes = share[shares].nodes}};
	pthread_mutex_init(&c->table.lock, NULL);
	pthread_cond_init(&c->table.changed, NULL);
	for (uint32_t i = 0; i < c->table.nodes; i++) {
		struct run *r = &c->run[i];
		struct group g = {.nodes = c->table.nodes, .node = i, .meet = meet, .arg = &r->node};
		char err[256];
		memcpy(g.heads, share[shares].heads, sizeof share[shares].heads);
		memcpy(g.rows, share[shares].rows, sizeof share[shares].rows);
		*r = (struct run){.node = {&c->table, i}, .n = n, .chunk = chunk};
		r->model = synth_create(&spec[which]);
		if (change)
			change(r->model);
		keep_share(r->model, &g);
		r->line = line_create(&r->model->whole, kv, 1 + i % 2, 1, NULL, chunk, 64);
		r->logits = malloc((size_t)n * r->model->m->hp.vocab * sizeof(float));
		ck_assert_msg(!forward_join_group(r->line->forward[0], &g, err, sizeof err), "%s", err);
	}
}

static void circle_run(struct circle *c) {
	pthread_t thread[5];
	for (uint32_t i = 0; i < c->table.nodes; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, run_node, &c->run[i]), 0);
	for (uint32_t i = 0; i < c->table.nodes; i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
}

static void circle_destroy(struct circle *c) {
	for (uint32_t i = 0; i < c->table.nodes; i++) {
		line_destroy(c->run[i].line);
		synth_destroy(c->run[i].model);
		free(c->run[i].logits);
	}
	pthread_mutex_destroy(&c->table.lock);
	pthread_cond_destroy(&c->table.changed);
}

static void start(void) {
	char err[256];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	for (uint32_t i = 0; i < MOST; i++)
		tokens[i] = i * 7919 % 1009 % spec[0].vocab;
	for (uint32_t i = 0; i < 64; i++)
		blocks[i] = i * 37 % 64;
}

/* Any share of any layers, in steps of one row and of several, gives what one node gives. */
START_TEST(any_share) {
	int which = _i % SPECS;
	enum kern_kv kv = (enum kern_kv)(_i / SPECS);
	start();
	struct synth *model = synth_create(&spec[which]);
	size_t bytes = (size_t)MOST * model->m->hp.vocab * sizeof(float);
	float *want = malloc(bytes);
	struct line *l = line_create(&model->whole, kv, 2, 1, NULL, MOST, 64);
	line_logits(l, tokens, MOST, MOST, blocks, want);
	for (int s = 0; s < SHARES; s++)
		for (uint32_t chunk = 47; chunk <= 94; chunk += 47) {
			struct circle c;
			circle_create(&c, which, s, kv, MOST, chunk, NULL);
			circle_run(&c);
			for (uint32_t i = 0; i < c.table.nodes; i++) {
				ck_assert_msg(!c.run[i].rc, "%s", c.run[i].err);
				ck_assert_msg(!memcmp(want, c.run[i].logits, bytes),
				        "shares %d, steps of %u: node %u has other bits", s, chunk, i);
			}
			circle_destroy(&c);
		}
	free(want);
	line_destroy(l);
	synth_destroy(model);
}
END_TEST

/* Whichever meeting a node does not come to, the others end their step there, with the sentence of the meeting. */
START_TEST(a_lost_node) {
	bool all = true;
	start();
	for (unsigned at = 1; all; at++) {
		struct circle c;
		circle_create(&c, 3, 3, KERN_KV_F16, 4, 2, NULL);
		c.table.lost_at = at;
		circle_run(&c);
		all = c.table.lost;
		for (uint32_t i = 0; all && i < c.table.nodes; i++) {
			ck_assert_int_eq(c.run[i].rc, -EIO);
			ck_assert_str_eq(c.run[i].err, "node zero is lost");
		}
		/* two steps of two layers with four meetings, and an end */
		ck_assert_uint_eq(c.table.round, all ? at - 1 : 2 * (2 * 4 + 1));
		circle_destroy(&c);
	}
}
END_TEST

/* A row of the second key head of the last layer is infinite: one node alone meets that. */
static void overflow(struct synth *s) {
	const struct store_tensor *w = &s->layer[1][LAYER_K];
	struct {
		uint16_t d;
		uint8_t q[16];
	} row[8][8]; /* a strip of Q4_0 */
	ck_assert_uint_eq(sizeof row[0], kern_row_bytes(w->record.type, w->record.n));
	for (int r = 0; r < 8; r++)
		for (int b = 0; b < 8; b++) {
			row[r][b].d = 0x7c00; /* infinite */
			memset(row[r][b].q, 0xf7, sizeof row[r][b].q);
		}
	kern_pack(w->record.type, (uint8_t *)w->map + 32 * sizeof row[0], row, 8, w->record.n);
}

START_TEST(a_fault_of_one) {
	start();
	for (uint32_t chunk = 1; chunk <= 5; chunk += 4) {
		struct circle c;
		circle_create(&c, 1, 3, KERN_KV_F16, 5, chunk, overflow);
		circle_run(&c);
		for (uint32_t i = 0; i < c.table.nodes; i++) {
			ck_assert_int_eq(c.run[i].rc, -EDOM);
			ck_assert_str_eq(
			        c.run[i].err, "layer 1: a value is not finite in the norm of a head");
		}
		circle_destroy(&c);
	}
}
END_TEST

/* What another node says of its fault is taken for nothing more than that, unless it is a place of this slice. */
static const struct {
	uint32_t told;
	int rc;
	const char *err;
} said[] = {
        {GROUP_CANNOT, -EIO, "another node of the group cannot go on"},
        {GROUP_CANNOT - 1, -EIO, "another node of the group cannot go on"},
        {1 + 200, -EIO, "another node of the group cannot go on"},
        {1 + 8, -EIO, "another node of the group cannot go on"},
        {1 + (2 << 8 | 5), -EIO, "another node of the group cannot go on"},
        {1 + (1 << 8 | 7), -EDOM, "layer 1: a value is not finite in a recurrent state"},
};
#define SAID (sizeof said / sizeof *said)

START_TEST(what_a_node_says) {
	start();
	for (size_t k = 0; k < 2 * SAID; k++) {
		struct circle c;
		circle_create(&c, 0, 1, KERN_KV_F16, 3, 3, NULL);
		c.table.told_at = k < SAID ? 3 : 2 * 4 + 1; /* at the end */
		c.table.told = said[k % SAID].told;
		circle_run(&c);
		for (uint32_t i = 0; i < c.table.nodes; i++) {
			ck_assert_int_eq(c.run[i].rc, said[k % SAID].rc);
			ck_assert_str_eq(c.run[i].err, said[k % SAID].err);
		}
		ck_assert_uint_eq(c.table.round, c.table.told_at);
		circle_destroy(&c);
	}
}
END_TEST

START_TEST(shares_and_refusals) {
	char err[256] = "";
	size_t begin[GROUP_NODES + 1];
	struct group g = {.nodes = 3, .heads = {1, 1, 1}, .rows = {0, 1, 2}};
	group_cut_heads(&g, 8, begin);
	ck_assert(begin[0] == 0 && begin[1] == 3 && begin[2] == 5 && begin[3] == 8);
	group_cut_rows(&g, 1000, begin);
	ck_assert(begin[0] == 0 && begin[1] == 0 && begin[2] == 352 && begin[3] == 1000);
	start();
	struct synth *s = synth_create(&spec[0]);
	struct line *l = line_create(&s->whole, KERN_KV_F16, 1, 1, NULL, 1, 64);
	ck_assert_int_eq(forward_join_group(l->forward[0], &g, err, sizeof err), 0);
	g.node = 3;
	ck_assert_int_eq(forward_join_group(l->forward[0], &g, err, sizeof err), -EINVAL);
	g.node = 0;
	memset(g.heads, 0, sizeof g.heads);
	ck_assert_int_eq(forward_join_group(l->forward[0], &g, err, sizeof err), -EINVAL);
	g.heads[0] = UINT32_MAX;
	ck_assert_int_eq(forward_join_group(l->forward[0], &g, err, sizeof err), -EINVAL);
	line_destroy(l);
	synth_destroy(s);

	/* a head of 20 rows begins within a strip */
	struct synth_spec thin = spec[0];
	thin.head_size = 20;
	g.heads[0] = g.heads[1] = g.heads[2] = 1;
	s = synth_create(&thin);
	l = line_create(&s->whole, KERN_KV_F16, 1, 1, NULL, 1, 64);
	ck_assert_int_eq(forward_join_group(l->forward[0], &g, err, sizeof err), -ENOTSUP);
	ck_assert_str_eq(err, "heads of 20 rows cannot be shared by several nodes yet");
	line_destroy(l);
	synth_destroy(s);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("group");
	TCase *t = tcase_create("group");
	tcase_set_timeout(t, 100);
	tcase_add_loop_test(t, any_share, 0, SPECS * KERN_KVS);
	tcase_add_test(t, a_lost_node);
	tcase_add_test(t, a_fault_of_one);
	tcase_add_test(t, what_a_node_says);
	tcase_add_test(t, shares_and_refusals);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
