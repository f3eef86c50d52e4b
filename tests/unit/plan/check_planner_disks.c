/* planner: models that fit the memory of no nodes, with disks that weights can be read from on the way. */
#include "daemon/plan/advice.h"
#include "daemon/plan/machines.h"
#include "daemon/plan/planner_search.h"
#include "daemon/plan/presets.h"
#include "shard/forward/forward.h"
#include "shard/forward/weight_stream.h"
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define NODES 4
#define LAYERS 6

static uint64_t seed = 7;
static uint64_t dice(uint64_t n) {
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

/* ---- the search, against every plan there is ---- */

static struct {
	uint64_t time[NODES * (LAYERS + 1)], moved[NODES * (LAYERS + 1)], weight[LAYERS + 1], kv[LAYERS + 1],
	        stay[LAYERS + 1];
	uint64_t memory_limit[NODES], hop[NODES], disk[NODES];
	bool required[NODES], excluded[NODES];
} in;

static void random_instance(struct search *s) {
	memset(&in, 0, sizeof in);
	size_t nodes = 1 + dice(NODES);
	uint32_t layers = 1 + (uint32_t)dice(LAYERS);
	uint64_t kv = dice(10) * MIB;
	for (uint32_t l = 0; l < layers; l++) {
		in.weight[l + 1] = in.weight[l] + (50 + dice(100)) * MIB;
		in.stay[l + 1] = in.stay[l] + dice(3) * MIB;
		in.kv[l + 1] = in.kv[l] + dice(3) * kv; /* some layers have none */
	}
	for (size_t i = 0; i < nodes; i++) {
		uint64_t speed = 1 + dice(20);
		for (uint32_t l = 0; l < layers; l++) {
			in.time[i * (layers + 1) + l + 1] =
			        in.time[i * (layers + 1) + l] + (in.weight[l + 1] - in.weight[l]) * speed;
			in.moved[i * (layers + 1) + l + 1] = in.weight[l + 1];
		}
		in.memory_limit[i] = dice(400) * MIB;
		in.hop[i] = dice(100) * MIB;
		in.disk[i] = dice(4) ? (1 + dice(60)) * MIB : 0;
		in.required[i] = dice(8) == 0;
	}
	*s = (struct search){.nodes = nodes,
	        .coordinator = dice(nodes),
	        .layers = layers,
	        .time = in.time,
	        .moved = in.moved,
	        .weight = in.weight,
	        .kv = in.kv,
	        .memory_limit = in.memory_limit,
	        .hop = in.hop,
	        .required = in.required,
	        .excluded = in.excluded,
	        .disk = in.disk,
	        .buffers = 60 * MIB,
	        .stay = in.stay};
}

static void least(const struct search *s, struct search_stage *st, size_t n, uint32_t l, unsigned taken,
        uint64_t *best, uint64_t *computing) {
	bool whole = l == s->layers;
	for (size_t i = 0; i < s->nodes && whole; i++)
		whole = !s->required[i] || taken >> i & 1;
	if (whole) {
		uint64_t t = search_total(s, st, n), c = t - search_hops(s, st, n);
		*best = t < *best ? t : *best;
		*computing = c < *computing ? c : *computing;
	}
	for (size_t i = 0; i < s->nodes; i++)
		for (uint32_t b = l + 1; !(taken >> i & 1) && b <= s->layers && search_fits(s, i, l, b);
		        b++) {
			st[n] = (struct search_stage){i, l, b};
			least(s, st, n + 1, b, taken | 1u << i, best, computing);
		}
}

START_TEST(the_quickest_plan_is_found) {
	unsigned found = 0, reading = 0;
	for (int round = 0; round < 1500; round++) {
		struct search s;
		struct search_stage st[NODES], mine[NODES];
		uint64_t best = UINT64_MAX, computing = UINT64_MAX;
		size_t n = 0;
		random_instance(&s);
		least(&s, st, 0, 0, 0, &best, &computing);
		int rc = search_best(&s, mine, &n);
		ck_assert_msg(rc == (best < UINT64_MAX ? 0 : -ENOSPC), "round %d: %d", round, rc);
		if (rc)
			continue;
		found++;
		uint32_t l = 0;
		for (size_t i = 0; i < n; i++) {
			ck_assert_uint_eq(mine[i].first, l);
			l = mine[i].last;
			ck_assert(search_fits(&s, mine[i].node, mine[i].first, l));
			reading += in.weight[l] - in.weight[mine[i].first] + in.kv[l] - in.kv[mine[i].first] >
			           in.memory_limit[mine[i].node];
		}
		ck_assert_uint_eq(l, s.layers);
		uint64_t total = search_total(&s, mine, n);
		ck_assert_msg(total <= best + computing * 3 / 100, "round %d: %llu, can be %llu", round,
		        (unsigned long long)total, (unsigned long long)best);
	}
	printf("# %u of 1500 can be planned, %u stages of them read\n", found, reading);
	ck_assert_uint_gt(found, 500);
	ck_assert_uint_gt(reading, 300);
}
END_TEST

START_TEST(a_stage_takes_what_takes_longer) {
	struct search s;
	do
		random_instance(&s);
	while (s.layers < 3 || !in.disk[0]);
	in.memory_limit[0] = in.weight[3] + in.kv[3];
	ck_assert_uint_eq(search_time(&s, 0, 0, 3), in.time[3]); /* it has room */
	in.memory_limit[0] -= 10 * MIB;
	in.disk[0] = 1;
	ck_assert_uint_eq(search_time(&s, 0, 0, 3), in.time[3]); /* reading is quicker than computing */
	in.disk[0] = in.time[3];
	/* what is missing, and what the buffers take away */
	ck_assert_uint_eq(search_time(&s, 0, 0, 3), 71 * in.time[3]);
	s.disk = NULL;
	ck_assert(!search_fits(&s, 0, 0, 3));
}
END_TEST

/* ---- plans ---- */

static struct planner_node node[3];

static struct planner_input input(const struct manifest *m, uint64_t memory) {
	for (size_t i = 0; i < 3; i++) {
		node[i] =
		        (struct planner_node){.name = "abc" + i, .memory = memory, .hop = 1e-4, .disk = 2e9};
		for (size_t t = 0; t < KERN_TYPES; t++)
			node[i].bytes_per_second[t] = 10e9;
	}
	return (struct planner_input){.manifest = m,
	        .context = 2048,
	        .parallel = 1,
	        .max_rows = 256,
	        .node = node,
	        .nodes = 3,
	        .team = 2};
}

static struct manifest *shape(const char *spec) {
	struct manifest *m;
	char err[200];
	ck_assert_int_eq(presets_manifest(&m, spec, err, sizeof err), 0);
	return m;
}

START_TEST(memory_comes_first) {
	struct manifest *m = shape("llama2-7b:Q4_0");
	struct planner_plan a, b;
	char err[300];
	struct planner_input p =
	        input(m, (uint64_t)2 << 30); /* of 3.6 GiB of weights, KV cache beside them */
	p.nodes = 3;
	for (size_t i = 0; i < 3; i++)
		node[i].disk = 1e15; /* however quick the disks are */
	ck_assert_int_eq(planner_plan(&a, &p, err, sizeof err), 0);
	for (size_t i = 0; i < a.stages; i++)
		ck_assert(a.stage[i].streamed == 0 && a.stage[i].memory_limit == 0 &&
		          a.stage[i].resident == a.stage[i].weights);
	for (size_t i = 0; i < 3; i++)
		node[i].disk = 0;
	ck_assert_int_eq(planner_plan(&b, &p, err, sizeof err), 0);
	ck_assert_uint_eq(a.stages, b.stages);
	ck_assert_mem_eq(a.stage, b.stage, a.stages * sizeof *a.stage);
	planner_clear(&a);
	planner_clear(&b);
	manifest_destroy(m);
}
END_TEST

START_TEST(what_does_not_fit_is_read) {
	struct manifest *m = shape("llama2-70b:Q4_0");
	struct planner_plan plan;
	char err[300];
	struct planner_input p = input(m, (uint64_t)10 << 30); /* 30 GiB for 36 */
	double sum = 0;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), 0);
	uint64_t read = 0;
	for (size_t i = 0; i < plan.stages; i++) {
		const struct planner_stage *s = &plan.stage[i];
		uint64_t io = s->node == 0 ? planner_io_bytes(m, 1, 256) : 0;
		ck_assert(s->resident + s->kv + s->buffers + io <= node[s->node].memory);
		struct weight_stream_plan f;
		ck_assert_int_eq(weight_stream_plan(&f, m, s->first, s->last,
		                         s->memory_limit ? s->memory_limit : UINT64_MAX),
		        0);
		ck_assert(f.step == s->streamed && f.resident + 2 * f.buffer == s->resident);
		ck_assert_double_ge(s->seconds * (1 + 1e-9), (double)s->streamed / 2e9);
		sum += s->seconds + s->hop;
		read += s->streamed;
		weight_stream_plan_clear(&f);
	}
	ck_assert_uint_gt(read, (uint64_t)6 << 30);
	ck_assert_uint_lt(read, (uint64_t)9 << 30);
	ck_assert_double_eq_tol(plan.seconds, sum + plan.io + plan.back, 1e-6);
	ck_assert_double_ge(plan.slowest, plan.seconds / 3 * 0.5);
	planner_clear(&plan);
	/* not when nobody may, nor when no disk is known, nor when it would take for ever */
	p.memory_only = true;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), -ENOSPC);
	ck_assert_uint_gt(plan.missing, (uint64_t)4 << 30);
	p.memory_only = false;
	for (size_t i = 0; i < 3; i++)
		node[i].disk = 0;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), -ENOSPC);
	for (size_t i = 0; i < 3; i++)
		node[i].disk = 50e6;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err, "more memory is needed on 3 nodes"));
	/* one disk does: its node reads */
	node[1].disk = 2e9;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), 0);
	for (size_t i = 0; i < plan.stages; i++)
		ck_assert((plan.stage[i].streamed > 0) == (plan.stage[i].node == 1));
	planner_clear(&plan);
	manifest_destroy(m);
}
END_TEST

/* 24 layers of 4096, of which every fourth has attention and the others have gated delta nets, which are never read. */
static struct manifest *hybrid(void) {
	static const struct hparams hp = {.layers = 24,
	        .dim = 4096,
	        .heads = 16,
	        .kv_heads = 4,
	        .head_size = 256,
	        .ffn = 12288,
	        .vocab = 32000,
	        .context = 32768,
	        .pairs = 64,
	        .attention_every = 4,
	        .state_heads = 32,
	        .state_groups = 16,
	        .state_size = 128,
	        .eps = 1e-6f};
	layer_roles roles[24];
	struct manifest *m;
	for (uint32_t l = 0; l < hp.layers; l++) {
		roles[l] = LAYER_PLAIN_BITS;
		for (int r = LAYER_DELTA_QKV; r <= LAYER_DELTA_OUT && (l + 1) % 4; r++)
			roles[l] |= (layer_roles)1 << r;
		if ((l + 1) % 4)
			roles[l] &= ~((layer_roles)1 << LAYER_Q | (layer_roles)1 << LAYER_K |
			              (layer_roles)1 << LAYER_V | (layer_roles)1 << LAYER_OUT);
	}
	ck_assert_int_eq(manifest_create(&m, &hp, roles), 0);
	for (size_t i = 0; i < manifest_tensors(m); i++) {
		struct manifest_tensor *t =
		        i < manifest_layer_tensors(m) ? &m->tensor[i] : &m->io[i - manifest_layer_tensors(m)];
		t->type = t->n % 32 || t->rows == 1 ? KERN_F32 : KERN_Q8_0;
		t->id.b[0] = (uint8_t)i;
		t->id.b[1] = (uint8_t)(i >> 8);
	}
	return m;
}

/* However much memory there is: what is planned can be done, and what can be done is planned. */
static void any_memory(const struct manifest *m, uint64_t from, uint64_t step) {
	unsigned read = 0, refused = 0;
	for (uint64_t memory = from; read < 5; memory += step) {
		struct planner_plan plan;
		char err[300];
		struct planner_input p = input(m, memory);
		p.nodes = 1;
		int rc = planner_plan(&plan, &p, err, sizeof err);
		ck_assert_msg(
		        rc == 0 || (rc == -ENOSPC && strstr(err, "need")), "%ju: %s", (uintmax_t)memory, err);
		if (rc) {
			uint64_t fixed = planner_io_bytes(m, 1, 256) + forward_bytes(m, 256, 2) +
			                 kv_bytes(&m->hp, planner_kv(&p), 0, m->hp.layers);
			struct weight_stream_plan f;
			ck_assert_int_eq(memory < fixed
			                         ? -ENOSPC
			                         : weight_stream_plan(&f, m, 0, m->hp.layers, memory - fixed),
			        -ENOSPC);
			refused++;
			continue;
		}
		ck_assert_uint_gt(plan.stage[0].streamed, 0);
		read++;
		planner_clear(&plan);
	}
	ck_assert_uint_gt(refused, 4);
}

START_TEST(what_is_never_read_has_room) {
	struct manifest *m = hybrid();
	any_memory(m, (uint64_t)1 << 30, 16 * MIB);
	manifest_destroy(m);
	m = shape("glm-4.5-air:Q2_K"); /* its first layer is dense, and larger than what the others keep */
	any_memory(m, (uint64_t)2 << 30, 16 * MIB);
	manifest_destroy(m);
}
END_TEST

/* The width of a dense feed-forward takes no memory in a model without one. */
START_TEST(buffers_are_as_wide_as_the_widest) {
	struct manifest *dense = shape("llama2-7b:Q4_0"), *all = shape("qwen3-30b-a3b:Q4_0"),
	                *first = shape("glm-4.5-air:Q4_0"); /* only its first layer is dense */
	ck_assert_uint_eq(all->hp.ffn, 6144);
	uint64_t bytes = forward_bytes(all, 256, 2);
	all->hp.ffn *= 8;
	ck_assert_uint_eq(forward_bytes(all, 256, 2), bytes);
	uint64_t wide = forward_bytes(first, 256, 2);
	manifest_find(first, 0, LAYER_DOWN)->n /= 2;
	ck_assert_uint_ge(wide - forward_bytes(first, 256, 2), 256 * 5472 * sizeof(float));
	ck_assert_uint_gt(forward_bytes(dense, 256, 2), 256 * 11008 * sizeof(float));
	manifest_destroy(dense);
	manifest_destroy(all);
	manifest_destroy(first);
}
END_TEST

START_TEST(a_named_node_reads_when_it_must) {
	struct manifest *m = shape("llama2-13b:Q4_0");
	struct planner_plan plan;
	char err[300];
	struct planner_input p = input(m, (uint64_t)8 << 30);
	/* the two small ones alone, of three */
	node[0].memory = node[1].memory = (uint64_t)3 << 30;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), 0);
	for (size_t i = 0; i < plan.stages; i++)
		ck_assert_uint_eq(plan.stage[i].streamed, 0);
	planner_clear(&plan);
	node[0].required = node[1].required = node[2].excluded = true;
	ck_assert_int_eq(planner_plan(&plan, &p, err, sizeof err), 0);
	ck_assert_uint_eq(plan.stages, 2);
	ck_assert(plan.stage[0].streamed + plan.stage[1].streamed > 0);
	planner_clear(&plan);
	manifest_destroy(m);
}
END_TEST

START_TEST(advice_says_what_reading_costs) {
	struct manifest *m = shape("llama2-7b:Q8_0");
	struct advice *a;
	char err[300];
	struct planner_input p = input(m, (uint64_t)5 << 30);
	p.nodes = 1;
	ck_assert_int_eq(advice_create(&a, &p, "llama", err, sizeof err), 0);
	const Caravan__CtlAdvice *msg = advice_message(a);
	ck_assert_uint_eq(msg->missing, 0);
	ck_assert_uint_eq(msg->n_nodes, 1);
	const Caravan__AdviceNode *n = msg->nodes[0];
	ck_assert(n->streamed > 0 && n->resident < n->weights && n->disk == 2e9);
	ck_assert(n->resident + n->kv + n->fixed <= n->memory);
	ck_assert_double_ge(n->compute, (double)n->streamed / n->disk);
	ck_assert_str_eq(msg->smaller, "Q4_K"); /* with these nothing is read */
	advice_destroy(a);
	manifest_destroy(m);
}
END_TEST

START_TEST(a_description_may_have_a_disk) {
	static const char text[] = "a memory=1G disk=900MB/s\nb memory=1G\n";
	static const char *const wrong[] = {"a memory=1G disk=9", "a memory=1G disk=1GB/s disk=1GB/s"};
	struct machines ms = {0};
	char err[200];
	ck_assert_int_eq(machines_parse(&ms, text, sizeof text - 1, "f", err, sizeof err), 0);
	ck_assert_double_eq_tol(machines_node(&ms.machine[0], 4096).disk, 9e8, 1);
	ck_assert_double_eq(machines_node(&ms.machine[1], 4096).disk, 0);
	machines_clear(&ms);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(
		        machines_parse(&ms, wrong[i], strlen(wrong[i]), "f", err, sizeof err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err, "f:1: disk"));
		machines_clear(&ms);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("planner with disks");
	TCase *t = tcase_create("disks");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_quickest_plan_is_found);
	tcase_add_test(t, a_stage_takes_what_takes_longer);
	tcase_add_test(t, memory_comes_first);
	tcase_add_test(t, what_does_not_fit_is_read);
	tcase_add_test(t, what_is_never_read_has_room);
	tcase_add_test(t, buffers_are_as_wide_as_the_widest);
	tcase_add_test(t, a_named_node_reads_when_it_must);
	tcase_add_test(t, advice_says_what_reading_costs);
	tcase_add_test(t, a_description_may_have_a_disk);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
