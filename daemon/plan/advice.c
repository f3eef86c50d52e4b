/* advice: see advice.h. */
#include "daemon/plan/advice.h"
#include "common/size.h"
#include "daemon/plan/presets.h"
#include "shard/forward/forward.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIALS 8 /* unused nodes that are tried in a plan, to report what they would change */

/* From the most to the least precise. */
static const enum kern_type smaller_types[] = {KERN_Q8_0, KERN_Q6_K, KERN_Q5_K, KERN_Q4_K, KERN_Q4_0,
        KERN_IQ4_XS, KERN_Q3_K, KERN_IQ3_XXS, KERN_Q2_K, KERN_IQ2_XS, KERN_IQ2_XXS};

struct text {
	char name[WIRE_NAME_MAX + 1], why[256];
};

struct advice {
	Caravan__CtlAdvice message; /* points into the fields below */
	Caravan__AdviceNode *node, **list;
	struct text *text;
	char model[WIRE_NAME_MAX + 1], reason[512];
};

const Caravan__CtlAdvice *advice_message(const struct advice *a) {
	return &a->message;
}

void advice_destroy(struct advice *a) {
	if (!a)
		return;
	free(a->node);
	free(a->list);
	free(a->text);
	free(a);
}

double advice_rate(double seconds, double slowest, uint32_t streams) {
	if (!(seconds > 0) || !(slowest > 0))
		return 0;
	double alone = streams / seconds, most = 1 / slowest;
	return alone < most ? alone : most;
}

/* ---- the model ---- */

typedef void tensor_fn(void *arg, struct manifest_tensor *t);

/* Calls fn for every weight matrix, embedding and output included. */
static void advice_each_matrix(const struct manifest *m, tensor_fn *fn, void *arg) {
	struct manifest *w = (struct manifest *)m;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		if (!manifest_layer_is_vector((enum layer_role)m->tensor[i].role))
			fn(arg, &w->tensor[i]);
	for (int r = 0; r < IO_ROLES; r++)
		if (!manifest_io_is_vector((enum io_role)r))
			fn(arg, &w->io[r]);
}

static void advice_add_bytes(void *arg, struct manifest_tensor *t) {
	((uint64_t *)arg)[t->type] += t->bytes;
}

static const char *advice_main_type(const struct manifest *m) {
	uint64_t bytes[KERN_TYPES] = {0};
	uint32_t most = 0;
	advice_each_matrix(m, advice_add_bytes, bytes);
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (bytes[t] > bytes[most])
			most = t;
	return kern_traits(most)->name;
}

bool advice_measured(const struct planner_input *in) {
	uint64_t bytes[KERN_TYPES] = {0};
	advice_each_matrix(in->manifest, advice_add_bytes, bytes);
	for (size_t i = 0; i < in->nodes; i++)
		for (uint32_t t = 0; t < KERN_TYPES; t++)
			if (bytes[t] && !(in->node[i].bytes_per_second[t] > 0) &&
			        (!in->node[i].excluded || i == in->coordinator))
				return false;
	return true;
}

/* ---- a smaller type ---- */

struct shrink {
	enum kern_type type;
	size_t changed, impossible;
};

/* Rows that are not whole blocks of the type get what a file of its name has there. */
static void advice_shrink_tensor(void *arg, struct manifest_tensor *t) {
	struct shrink *s = arg;
	enum kern_type type = presets_narrower(s->type, t->n);
	const struct kern_traits *from = kern_traits(t->type), *to = kern_traits(type);
	if (from->bytes * to->block <= to->bytes * from->block)
		return;
	s->changed++;
	if (t->n % to->block) {
		s->impossible++;
		return;
	}
	t->type = type;
	t->bytes = t->rows * kern_row_bytes(type, t->n);
}

/* Whether the model fits when every matrix of a larger type is converted to this one. */
static int advice_fits_with_type(const struct planner_input *in, enum kern_type type, bool *fits) {
	struct shrink s = {.type = type};
	struct planner_input small = *in;
	struct planner_plan plan;
	struct manifest *m;
	char err[64];
	*fits = false;
	int rc = manifest_copy(&m, in->manifest);
	if (rc < 0)
		return rc;
	advice_each_matrix(m, advice_shrink_tensor, &s);
	small.manifest = m;
	small.memory_only = true;
	if (s.changed && !s.impossible) {
		rc = planner_plan(&plan, &small, err, sizeof err);
		*fits = rc == 0;
		planner_clear(&plan);
	}
	manifest_destroy(m);
	return rc == -ENOMEM ? rc : 0;
}

static int advice_find_smaller(struct advice *a, const struct planner_input *in) {
	bool fits = false;
	for (size_t i = 0; i < sizeof smaller_types / sizeof *smaller_types && !fits; i++) {
		int rc = advice_fits_with_type(in, smaller_types[i], &fits);
		if (rc < 0)
			return rc;
		if (fits)
			a->message.smaller = wire_string(kern_traits((uint32_t)smaller_types[i])->name);
	}
	return 0;
}

/* Halves the number of parallel sequences until the model fits. */
static int advice_find_fewer(struct advice *a, const struct planner_input *in) {
	struct planner_input few = *in;
	struct planner_plan plan;
	char err[64];
	int rc = -ENOSPC;
	for (few.parallel = in->parallel / 2; few.parallel && rc == -ENOSPC; few.parallel /= 2) {
		rc = planner_plan(&plan, &few, err, sizeof err);
		planner_clear(&plan);
		if (rc == 0)
			a->message.fewer = few.parallel;
	}
	return rc == -ENOMEM ? rc : 0;
}

/* The largest type that fits with fewer sequences, and how many. */
static int advice_find_both(struct advice *a, const struct planner_input *in) {
	struct planner_input few = *in;
	enum kern_type type = 0;
	bool fits = false;
	int rc = 0;
	few.parallel = 1;
	for (size_t i = 0; in->parallel > 1 && i < sizeof smaller_types / sizeof *smaller_types && !fits;
	        i++) {
		type = smaller_types[i];
		if ((rc = advice_fits_with_type(&few, type, &fits)) < 0)
			return rc;
	}
	if (!fits)
		return 0;
	few.parallel = in->parallel;
	do {
		few.parallel /= 2; /* to 1 at last, with which it fits */
		rc = advice_fits_with_type(&few, type, &fits);
	} while (rc == 0 && !fits);
	a->message.both_type = wire_string(kern_traits((uint32_t)type)->name);
	a->message.both_parallel = few.parallel;
	return rc;
}

/* ---- nodes ---- */

static uint64_t advice_fixed_bytes(const struct planner_input *in, size_t node) {
	uint64_t bytes = forward_bytes(in->manifest, in->max_rows, in->team);
	return bytes +
	       (node == in->coordinator ? planner_io_bytes(in->manifest, in->parallel, in->max_rows) : 0);
}

static Caravan__AdviceNode *advice_add_node(struct advice *a, const struct planner_input *in, size_t node) {
	size_t at = a->message.n_nodes++;
	Caravan__AdviceNode *n = a->list[at] = &a->node[at];
	caravan__advice_node__init(n);
	snprintf(a->text[at].name, sizeof a->text[at].name, "%s", in->node[node].name);
	n->name = a->text[at].name;
	n->why = a->text[at].why;
	n->memory = in->node[node].memory;
	n->disk = in->node[node].disk;
	n->disk_known = in->node[node].disk_known;
	n->disk_free = in->node[node].disk_free;
	n->coordinator = node == in->coordinator;
	n->fixed = n->coordinator ? planner_io_bytes(in->manifest, in->parallel, in->max_rows) : 0;
	n->disk_needed = n->coordinator ? planner_disk_new_io(in) : 0;
	return n;
}

/* Why a node has no layers: compares with a plan that requires it. */
static int advice_explain_unused(char why[256], const struct planner_input *in,
        const struct planner_plan *best, size_t node, bool measured) {
	struct planner_node *nodes = malloc(in->nodes * sizeof *nodes);
	struct planner_input with = *in;
	struct planner_plan plan;
	char err[256];
	if (!nodes)
		return -ENOMEM;
	memcpy(nodes, in->node, in->nodes * sizeof *nodes);
	nodes[node].required = true;
	with.node = nodes;
	int rc = planner_plan(&plan, &with, err, sizeof err);
	free(nodes);
	if (rc == -ENOSPC && plan.missing_disk)
		snprintf(why, 256, "its disk has no space for a layer: %s is free for the model",
		        size_text((double)in->node[node].disk_free).s);
	else if (rc == -ENOSPC)
		snprintf(why, 256, "not even one layer fits there: %s is free, a layer needs %s and %s %s",
		        size_text((double)in->node[node].memory).s,
		        size_text((double)(planner_slice_bytes(
		                                   in->manifest, 0, 1, best->kv, in->max_rows, in->team) -
		                           forward_bytes(in->manifest, in->max_rows, in->team)))
		                .s,
		        node == in->coordinator ? "buffers, embedding and output" : "buffers",
		        size_text((double)advice_fixed_bytes(in, node)).s);
	else if (rc == 0 && measured && plan.seconds > best->seconds)
		snprintf(why, 256, "with it a token would take %s, without it %s",
		        size_duration(plan.seconds).s, size_duration(best->seconds).s);
	else if (rc == 0 && measured)
		snprintf(why, 256, "with it a token would take %s, without it %s: too little is gained",
		        size_duration(plan.seconds).s, size_duration(best->seconds).s);
	else if (rc == 0 || rc == -EINVAL)
		snprintf(why, 256, "it is not needed");
	planner_clear(&plan);
	return rc == -ENOMEM ? rc : 0;
}

/* Adds the nodes without layers.  trials: how many of them are explained by a plan. */
static int advice_add_others(struct advice *a, const struct planner_input *in,
        const struct planner_plan *plan, bool measured, int trials) {
	int rc = 0;
	for (size_t i = 0; i < in->nodes && rc == 0; i++) {
		size_t k = 0;
		while (k < plan->stages && plan->stage[k].node != i)
			k++;
		if (k < plan->stages)
			continue;
		Caravan__AdviceNode *n = advice_add_node(a, in, i);
		if (n->coordinator && plan->stages) {
			n->compute = measured ? plan->io : 0;
			n->send = measured ? plan->back : 0;
		}
		if (in->node[i].excluded)
			snprintf(n->why, sizeof a->text->why, "%s",
			        in->node[i].why ? in->node[i].why : "it is not among the named nodes");
		else if (plan->stages && trials-- > 0)
			rc = advice_explain_unused(n->why, in, plan, i, measured);
		else if (plan->stages)
			snprintf(n->why, sizeof a->text->why, "it is not needed");
	}
	return rc;
}

static void advice_add_stages(
        struct advice *a, const struct planner_input *in, const struct planner_plan *plan, bool measured) {
	for (size_t i = 0; i < plan->stages; i++) {
		const struct planner_stage *s = &plan->stage[i];
		Caravan__AdviceNode *n = advice_add_node(a, in, s->node);
		n->first = s->first;
		n->last = s->last;
		n->weights = s->weights;
		n->resident = s->resident;
		n->streamed = s->streamed;
		n->kv = s->kv;
		n->fixed += s->buffers;
		n->moves = s->moves;
		n->disk_needed += s->stored;
		if (measured) {
			n->compute = s->seconds + (n->coordinator ? plan->io : 0);
			n->prompt = s->prompt;
			n->send = s->hop + (n->coordinator ? plan->back : 0);
		}
	}
}

/* Seconds to get bytes onto a node's disk: the slowest of link, checking and writing, which overlap. */
static double advice_arrival_seconds(const struct planner_input *in, size_t node, uint64_t bytes) {
	const struct planner_node *n = &in->node[node];
	double rate = node == in->coordinator ? 0 : n->rate, stores = in->hash_rate / 2;
	/* received bytes are hashed and packed; packing takes about as long as hashing */
	if (stores > 0 && (rate == 0 || stores < rate))
		rate = stores;
	if (n->disk > 0 && (rate == 0 || n->disk < rate))
		rate = n->disk;
	return rate > 0 ? (double)bytes / rate : 0;
}

/* How long a load takes before the model serves: the file is hashed, then all nodes fetch at once, and the coordinator sends
 * each byte once.  All of it overlaps, so the slowest part counts.  Second copies follow in the background. */
static void advice_add_loading(
        struct advice *a, const struct planner_input *in, const struct planner_plan *plan) {
	const struct planner_node *c = &in->node[in->coordinator];
	double link = 0;
	uint64_t sent = 0;
	a->message.hash_bytes = in->hash_bytes;
	if (in->hash_bytes && in->hash_rate > 0) {
		a->message.hash_seconds = (double)in->hash_bytes / in->hash_rate;
		if (c->disk > 0 && c->disk < in->hash_rate)
			a->message.hash_seconds = (double)in->hash_bytes / c->disk;
	}
	for (size_t i = 0; i < plan->stages; i++) {
		const struct planner_stage *s = &plan->stage[i];
		uint64_t bytes = s->moves + (s->node == in->coordinator ? planner_disk_new_io(in) : 0);
		double seconds = advice_arrival_seconds(in, s->node, bytes);
		if (s->node != in->coordinator && s->moves) {
			sent += s->moves;
			link = in->node[s->node].rate > link ? in->node[s->node].rate : link;
		}
		a->message.move_seconds =
		        seconds > a->message.move_seconds ? seconds : a->message.move_seconds;
	}
	if (link > 0 && (double)sent / link > a->message.move_seconds)
		a->message.move_seconds = (double)sent / link;
}

static bool advice_reads_disk(const struct planner_plan *plan) {
	for (size_t i = 0; i < plan->stages; i++)
		if (plan->stage[i].streamed)
			return true;
	return false;
}

/* Smaller relative differences are not reported. */
#define SPREAD_LEAST 0.005

static void advice_add_times(struct advice *a, const struct planner_plan *plan) {
	a->message.seconds = plan->seconds;
	a->message.slowest = plan->slowest;
	a->message.prompt = plan->prompt;
	a->message.bound = plan->bound;
	if (plan->seconds_high - plan->seconds_low > SPREAD_LEAST * plan->seconds) {
		a->message.seconds_low = plan->seconds_low;
		a->message.seconds_high = plan->seconds_high;
	}
}

/* An advice with the input filled in, but nothing of the plan; NULL: out of memory. */
static struct advice *advice_begin(const struct planner_input *in, const char *model) {
	const struct manifest *m = in->manifest;
	struct advice *a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	caravan__ctl_advice__init(&a->message);
	a->node = calloc(in->nodes, sizeof *a->node);
	a->list = calloc(in->nodes, sizeof(Caravan__AdviceNode *));
	a->text = calloc(in->nodes, sizeof *a->text);
	if (!a->node || !a->list || !a->text) {
		advice_destroy(a);
		return NULL;
	}
	snprintf(a->model, sizeof a->model, "%s", model);
	a->message.model = a->model;
	a->message.type = wire_string(advice_main_type(m));
	a->message.layers = m->hp.layers;
	a->message.context = in->context;
	a->message.parallel = in->parallel;
	a->message.kv = in->kv;
	a->message.bytes = manifest_layer_bytes(m, 0, m->hp.layers) + manifest_io_bytes(m);
	a->message.token_bytes = m->hp.experts ? planner_token_bytes(m) : 0;
	a->message.nodes = a->list;
	a->message.reason = a->reason;
	return a;
}

int advice_of_plan(struct advice **out, const struct planner_input *in, const struct planner_plan *plan,
        const char *model) {
	bool measured = advice_measured(in);
	struct advice *a = advice_begin(in, model);
	if (!a)
		return -ENOMEM;
	if (measured)
		advice_add_times(a, plan);
	advice_add_stages(a, in, plan, measured);
	(void)advice_add_others(a, in, plan, measured, 0);
	*out = a;
	return 0;
}

int advice_create(
        struct advice **out, const struct planner_input *in, const char *model, char *err, size_t errlen) {
	bool measured = advice_measured(in);
	struct planner_plan plan = {0};
	struct advice *a = advice_begin(in, model);
	int rc = -ENOMEM;
	if (!a)
		goto error;
	rc = planner_plan(&plan, in, a->reason, sizeof a->reason);
	if (rc == -ENOSPC) {
		a->message.missing = plan.missing;
		a->message.missing_disk = plan.missing_disk;
		rc = advice_find_smaller(a, in);
		if (rc == 0)
			rc = advice_find_fewer(a, in);
		if (rc == 0 && !*a->message.smaller && !a->message.fewer)
			rc = advice_find_both(a, in);
	} else if (rc < 0) {
		snprintf(err, errlen, "%s", a->reason);
		goto done;
	} else {
		if (measured)
			advice_add_times(a, &plan);
		advice_add_loading(a, in, &plan);
		if (advice_reads_disk(&plan)) /* a type that would not stream */
			rc = advice_find_smaller(a, in);
	}
	advice_add_stages(a, in, &plan, measured);
	if (rc == 0)
		rc = advice_add_others(a, in, &plan, measured, TRIALS);
error:
	if (rc < 0)
		snprintf(err, errlen, "out of memory while planning");
done:
	planner_clear(&plan);
	if (rc < 0)
		advice_destroy(a);
	else
		*out = a;
	return rc;
}
