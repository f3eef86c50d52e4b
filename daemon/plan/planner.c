/* planner: computes the input of the search from a manifest and the nodes, and messages when no plan is found.
 *
 * The time of a layer on a node is the canonical bytes of its tensors over the node's rate for their types; of experts those count
 * that a row uses.  A missing rate is
 * replaced by the mean of the nodes that have one, so that unmeasured nodes count alike.  Tensors that are not in a node's store
 * have to move there, even from a file on the same machine, because they must be packed.
 * Threads: any; pure. */
#include "daemon/plan/planner.h"
#include "common/fail.h"

#include "common/size.h"
#include "daemon/plan/planner_search.h"
#include "shard/forward/forward.h"
#include "shard/forward/weight_stream.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE_UNKNOWN 10e9 /* bytes a second when no node has a rate: only ratios matter then */
#define PICOSECONDS 1e12
#define HOP_STEP 250e-6 /* seconds */
#define FILE_OVERHEAD \
	8192 /* bytes of a tensor's file besides its matrix: header, record, rounding to blocks */
/* Multiply-adds that take as long as the exponential of a score and what goes with it: 150 to 230 on a Xeon with AVX-512 */
#define EXPONENTIAL 192
#define DISK_LEAST 10e6 /* bytes a second: slower disks are not used for streaming */

uint64_t planner_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last) {
	uint64_t sum = 0;
	for (uint32_t i = m->at[first]; i < m->at[last]; i++)
		sum += weight_stream_tensor_bytes(&m->tensor[i]);
	return sum;
}

static uint64_t planner_file_bytes(const struct manifest_tensor *t) {
	/* plus a hash of 32 bytes for each chunk; each part has a short one */
	return weight_stream_tensor_bytes(t) + (t->bytes / CONTENT_CHUNK_BYTES + t->parts - 1) * 32 +
	       FILE_OVERHEAD;
}

/* Bytes of the files of embedding and output that are not in `held` (a bit per io_role). */
static uint64_t planner_io_file_bytes(const struct manifest *m, uint32_t held) {
	uint64_t sum = 0;
	for (int r = 0; r < IO_ROLES; r++)
		if (!(held >> r & 1) &&
		        (r != IO_HEAD || !content_equal(&m->io[IO_HEAD].id, &m->io[IO_EMBED].id)))
			sum += planner_file_bytes(&m->io[r]);
	return sum;
}

/* Of window blocks as many as the sequences need that run at once, and again as many for the prefix cache. */
struct kv_size planner_kv(const struct planner_input *in) {
	const struct hparams *hp = &in->manifest->hp;
	uint32_t blocks = in->parallel * ((in->context + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK);
	uint64_t windows = hp->window ? 2ull * in->parallel * kv_windows_of(hp, in->max_rows) : 0;
	return (struct kv_size){in->kv, blocks, windows < blocks ? (uint32_t)windows : blocks, in->parallel};
}

struct kv_size planner_plan_kv(const Caravan__Plan *p) {
	return (struct kv_size){p->kv, p->blocks, p->window_blocks, p->parallel};
}

uint64_t planner_slice_bytes(const struct manifest *m, uint32_t first, uint32_t last, struct kv_size kv,
        uint32_t max_rows, unsigned team) {
	return planner_layer_bytes(m, first, last) + kv_bytes(&m->hp, kv, first, last) +
	       forward_bytes(m, max_rows, team);
}

uint64_t planner_io_bytes(const struct manifest *m, uint32_t parallel, uint32_t max_rows) {
	uint64_t sum = 0;
	for (int r = 0; r < IO_ROLES; r++)
		if (r != IO_HEAD || !content_equal(&m->io[IO_HEAD].id, &m->io[IO_EMBED].id))
			sum += weight_stream_tensor_bytes(&m->io[r]);
	/* rows to the first stage and back from the last, and a row of logits for each stream */
	return sum + 2ull * max_rows * m->hp.dim * sizeof(float) +
	       (uint64_t)parallel * m->hp.vocab * sizeof(float);
}

double planner_link(double bytes_per_second) {
	return bytes_per_second > 0 ? pow(10, floor(log10(bytes_per_second) * 10 + 0.5) / 10)
	                            : PLANNER_LINK_RATE;
}

double planner_hop(double round_trip, double bytes_per_second, uint32_t dim) {
	return (floor(round_trip / 2 / HOP_STEP) + 1) * HOP_STEP + dim * sizeof(float) / bytes_per_second;
}

uint32_t planner_rows(uint32_t asked, uint32_t dim) {
	uint32_t rows = asked && asked < PLANNER_ROWS ? asked : PLANNER_ROWS;
	uint32_t fit = WIRE_PAYLOAD_MAX / (uint32_t)(dim * sizeof(float));
	return fit < rows ? fit : rows;
}

uint32_t planner_context(uint32_t trained) {
	return trained < PLANNER_CONTEXT ? trained : PLANNER_CONTEXT;
}

/* ---- the search's numbers ---- */

struct sums {
	uint64_t *time, *moved, *weight, *stay, *kv, *memory_limit, *hop, *disk, *store, *stored;
	bool any_disk, any_store;
	bool *required, *excluded;
};

static void planner_sums_free(struct sums *s) {
	free(s->time);
	free(s->moved);
	free(s->weight);
	free(s->stay);
	free(s->kv);
	free(s->memory_limit);
	free(s->hop);
	free(s->disk);
	free(s->store);
	free(s->stored);
	free(s->required);
	free(s->excluded);
}

static double planner_rate(const struct planner_input *in, size_t node, enum kern_type type) {
	double own = in->node[node].bytes_per_second[type], sum = 0;
	size_t n = 0;
	if (own > 0)
		return own;
	for (size_t i = 0; i < in->nodes; i++)
		if (in->node[i].bytes_per_second[type] > 0) {
			sum += in->node[i].bytes_per_second[type];
			n++;
		}
	return n ? sum / (double)n : RATE_UNKNOWN;
}

uint64_t planner_token_bytes(const struct manifest *m) {
	double sum = (double)(m->io[IO_NORM].bytes + m->io[IO_HEAD].bytes);
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		sum += manifest_read_bytes(&m->hp, &m->tensor[i], 1);
	return (uint64_t)sum;
}

double planner_layers_seconds(const struct planner_input *in, size_t node, uint32_t first, uint32_t last) {
	const struct manifest *m = in->manifest;
	double seconds = 0;
	for (uint32_t i = m->at[first]; i < m->at[last]; i++)
		seconds += manifest_read_bytes(&m->hp, &m->tensor[i], 1) /
		           planner_rate(in, node, m->tensor[i].type);
	return seconds;
}

double planner_head_seconds(const struct planner_input *in) {
	const struct manifest_tensor *head = &in->manifest->io[IO_HEAD];
	return (double)head->bytes / planner_rate(in, in->coordinator, head->type);
}

static uint64_t planner_picoseconds(double seconds) {
	/* clamped to a day a token: anything slower is useless */
	return seconds < 86400 ? (uint64_t)(seconds * PICOSECONDS) : (uint64_t)(86400 * PICOSECONDS);
}

/* Memory that a node needs whatever its layers are: buffers, and embedding and output on the coordinator. */
static uint64_t planner_fixed_bytes(const struct planner_input *in, size_t node) {
	uint64_t bytes = forward_bytes(in->manifest, in->max_rows, in->team);
	return node == in->coordinator ? bytes + planner_io_bytes(in->manifest, in->parallel, in->max_rows)
	                               : bytes;
}

/* bit: the tensor's number in the manifest. */
static bool planner_holds_tensor(const struct planner_node *n, size_t bit) {
	return n->held && bit / 32 < n->held_words && n->held[bit / 32] >> bit % 32 & 1;
}

/* Whether its store has it; a tensor only in a model file of its own must still be packed. */
static bool planner_stores_tensor(const struct planner_node *n, size_t bit) {
	return n->file ? n->stored && bit / 32 < n->held_words && n->stored[bit / 32] >> bit % 32 & 1
	               : planner_holds_tensor(n, bit);
}

static uint32_t planner_stored_io(const struct planner_node *n) {
	return n->file ? n->stored_io : n->held_io;
}

uint64_t planner_disk_new_io(const struct planner_input *in) {
	return planner_io_file_bytes(in->manifest, planner_stored_io(&in->node[in->coordinator]));
}

/* How much of the weights that are not in memory a step of one row reads. */
static double planner_read_share(const struct manifest *m) {
	return m->hp.experts ? (double)m->hp.experts_used / m->hp.experts : 1;
}

static int planner_sums_create(struct sums *s, const struct planner_input *in, struct kv_size kv) {
	const struct manifest *m = in->manifest;
	uint32_t layers = m->hp.layers;
	s->time = calloc(in->nodes * (layers + 1), sizeof *s->time);
	s->moved = calloc(in->nodes * (layers + 1), sizeof *s->moved);
	s->weight = calloc(layers + 1, sizeof *s->weight);
	s->stay = calloc(layers + 1, sizeof *s->stay);
	s->kv = calloc(layers + 1, sizeof *s->kv);
	s->memory_limit = calloc(in->nodes, sizeof *s->memory_limit);
	s->hop = calloc(in->nodes, sizeof *s->hop);
	s->disk = calloc(in->nodes, sizeof *s->disk);
	s->store = calloc(in->nodes, sizeof *s->store);
	s->stored = calloc(in->nodes * (layers + 1), sizeof *s->stored);
	s->required = calloc(in->nodes, sizeof *s->required);
	s->excluded = calloc(in->nodes, sizeof *s->excluded);
	if (!s->time || !s->moved || !s->weight || !s->stay || !s->kv || !s->memory_limit || !s->hop ||
	        !s->disk || !s->store || !s->stored || !s->required || !s->excluded)
		return -ENOMEM;
	for (uint32_t l = 0; l < layers; l++) {
		s->weight[l + 1] = s->weight[l] + planner_layer_bytes(m, l, l + 1);
		s->stay[l + 1] = s->stay[l] + weight_stream_stay_bytes(m, l);
		s->kv[l + 1] = s->kv[l] + kv_bytes(&m->hp, kv, l, l + 1);
	}
	for (size_t i = 0; i < in->nodes; i++) {
		const struct planner_node *n = &in->node[i];
		uint64_t fixed = planner_fixed_bytes(in, i);
		s->memory_limit[i] = n->memory > fixed ? n->memory - fixed : 0;
		s->hop[i] = planner_picoseconds(n->hop);
		if (n->disk >= DISK_LEAST && !in->memory_only) {
			s->disk[i] = planner_picoseconds(
			                     (double)(1 << 20) / n->disk * planner_read_share(in->manifest)) +
			             1;
			s->any_disk = true;
		}
		uint64_t io = i == in->coordinator ? planner_io_file_bytes(m, planner_stored_io(n)) : 0;
		s->store[i] = !n->disk_known ? UINT64_MAX : n->disk_free > io ? n->disk_free - io : 0;
		s->any_store = s->any_store || n->disk_known;
		s->required[i] = n->required;
		s->excluded[i] = n->excluded;
		uint64_t *t = s->time + i * (layers + 1), *moved = s->moved + i * (layers + 1);
		uint64_t *stored = s->stored + i * (layers + 1);
		for (uint32_t l = 0; l < layers; l++) {
			moved[l + 1] = moved[l];
			stored[l + 1] = stored[l];
			for (size_t bit = m->at[l]; bit < m->at[l + 1]; bit++) {
				const struct manifest_tensor *w = &m->tensor[bit];
				moved[l + 1] += planner_holds_tensor(n, bit) ? 0 : w->bytes;
				stored[l + 1] += planner_stores_tensor(n, bit) ? 0 : planner_file_bytes(w);
			}
			t[l + 1] = t[l] + planner_picoseconds(planner_layers_seconds(in, i, l, l + 1));
		}
	}
	return 0;
}

/* ---- sentences ---- */

/* The most consecutive layers that a node can hold anywhere in the model. */
static uint32_t planner_most_layers(const struct search *s, size_t node) {
	uint32_t most = 0;
	for (uint32_t a = 0; a < s->layers; a++)
		for (uint32_t b = a + most + 1; b <= s->layers && search_fits(s, node, a, b); b++)
			most = b - a;
	return most;
}

/* Missing memory: at least that of the layers that cannot be placed whole, and of one layer. */
static uint64_t planner_missing_memory(const struct planner_input *in, const struct search *s) {
	uint64_t need = s->weight[s->layers] + s->kv[s->layers], have = 0;
	uint32_t placed = 0;
	for (size_t i = 0; i < in->nodes; i++) {
		uint32_t most = in->node[i].excluded ? 0 : planner_most_layers(s, i);
		placed += most < s->layers - placed ? most : s->layers - placed;
		have += in->node[i].excluded ? 0 : s->memory_limit[i];
	}
	uint64_t layers = need / s->layers * (s->layers > placed ? s->layers - placed : 1);
	return need > have && need - have > layers ? need - have : layers;
}

static int planner_refuse_memory(struct planner_plan *out, const struct planner_input *in,
        const struct search *s, char *err, size_t errlen) {
	uint64_t need = s->weight[s->layers] + s->kv[s->layers], have = 0;
	uint64_t one = s->weight[1] + s->kv[1];
	size_t nodes = 0;
	for (size_t i = 0; i < in->nodes; i++) {
		if (in->node[i].excluded)
			continue;
		nodes++;
		have += s->memory_limit[i];
		if (in->node[i].required && planner_most_layers(s, i) == 0) {
			out->missing = one + planner_fixed_bytes(in, i);
			out->missing -= in->node[i].memory < out->missing ? in->node[i].memory : 0;
			return fail_with(-ENOSPC, err, errlen,
			        "not even one layer fits on %s: %s is free there, a layer needs %s and %s %s",
			        in->node[i].name, size_text((double)in->node[i].memory).s,
			        size_text((double)one).s,
			        i == in->coordinator ? "buffers, embedding and output" : "buffers",
			        size_text((double)planner_fixed_bytes(in, i)).s);
		}
	}
	out->missing = planner_missing_memory(in, s);
	return fail_with(-ENOSPC, err, errlen,
	        "%s more memory is needed on %zu node%s: weights and the KV cache of %u x %u positions need %s, and %s is free besides buffers, embedding and output",
	        size_text((double)out->missing).s, nodes, nodes == 1 ? "" : "s", in->parallel, in->context,
	        size_text((double)need).s, size_text((double)have).s);
}

/* The same for disk space, where memory suffices; the message lists the free space of each node. */
static int planner_refuse_disk(struct planner_plan *out, const struct planner_input *in,
        const struct sums *sums, char *err, size_t errlen) {
	uint32_t layers = in->manifest->hp.layers;
	uint64_t need = 0, have = 0;
	char list[256] = "";
	size_t at = 0;
	for (uint32_t l = 0; l < layers; l++) {
		uint64_t least = UINT64_MAX;
		for (size_t i = 0; i < in->nodes; i++) {
			const uint64_t *stored = sums->stored + i * (layers + 1);
			if (!in->node[i].excluded && stored[l + 1] - stored[l] < least)
				least = stored[l + 1] - stored[l];
		}
		need += least;
	}
	for (size_t i = 0; i < in->nodes; i++) {
		if (in->node[i].excluded)
			continue;
		have += sums->store[i] < need ? sums->store[i] : need;
		if (at < sizeof list)
			at += (size_t)snprintf(list + at, sizeof list - at, "%s%s on %s", at ? ", " : "",
			        sums->store[i] == UINT64_MAX ? "enough" : size_text((double)sums->store[i]).s,
			        in->node[i].name);
	}
	out->missing_disk = need > have ? need - have : need / layers;
	return fail_with(-ENOSPC, err, errlen,
	        "%s more disk space is needed: the layers that are not on any disk yet need %s; free: %s",
	        size_text((double)out->missing_disk).s, size_text((double)need).s, list);
}

static int planner_check_input(
        struct planner_plan *out, const struct planner_input *in, char *err, size_t errlen) {
	const struct planner_node *c = &in->node[in->coordinator];
	uint64_t io = planner_io_bytes(in->manifest, in->parallel, in->max_rows);
	size_t required = 0;
	for (size_t i = 0; i < in->nodes; i++)
		required += in->node[i].required;
	if (required > in->manifest->hp.layers)
		return fail_with(-EINVAL, err, errlen,
		        "%zu nodes are named, but the model has only %u layers", required,
		        in->manifest->hp.layers);
	out->missing = c->memory < io ? io - c->memory : 0;
	if (out->missing)
		return fail_with(-ENOSPC, err, errlen, "embedding and output need %s on %s, where %s is free",
		        size_text((double)io).s, c->name, size_text((double)c->memory).s);
	io = planner_io_file_bytes(in->manifest, planner_stored_io(c));
	out->missing_disk = c->disk_known && c->disk_free < io ? io - c->disk_free : 0;
	if (out->missing_disk)
		return fail_with(-ENOSPC, err, errlen,
		        "%s more disk space is needed on %s: embedding and output need %s there, and %s is free",
		        size_text((double)out->missing_disk).s, c->name, size_text((double)io).s,
		        size_text((double)c->disk_free).s);
	return 0;
}

/* The search with weights that do not fit into memory streamed from disk.  0, or a negative errno with *s as it was. */
static int planner_search_streaming(struct search *s, const struct sums *sums, const struct manifest *m,
        struct search_stage *found, size_t *count) {
	uint64_t cache = weight_stream_least(m, 0, m->hp.layers).cache;
	s->disk = sums->disk;
	s->stay = sums->stay;
	s->buffers = cache ? cache : 2 * weight_stream_largest_group(m, 0, m->hp.layers);
	int rc = search_best(s, found, count);
	if (rc == 0 && search_total(s, found, *count) > planner_picoseconds(PLANNER_LONGEST))
		rc = -ENOSPC;
	if (rc)
		s->disk = NULL;
	return rc;
}

/* Seconds for a token in a step of max_rows rows: computing with what its row uses of the tensor, and its share of reading what all
 * rows use.  Memory is idle meanwhile: with the few rows of an expert that is a good part of the time. */
static double planner_many_seconds(
        const struct planner_input *in, size_t node, const struct manifest_tensor *t) {
	const struct hparams *hp = &in->manifest->hp;
	return manifest_read_bytes(hp, t, 1) / in->node[node].many[t->type] +
	       manifest_read_bytes(hp, t, in->max_rows) / planner_rate(in, node, t->type) / in->max_rows;
}

/* Positions that a row of a step of max_rows rows from the first position on sees, on average. */
static double planner_positions_seen(const struct planner_input *in, uint32_t layer) {
	const struct hparams *hp = &in->manifest->hp;
	double rows = in->max_rows, window = hparams_has_window(hp, layer) ? hp->window : rows;
	window = fmin(window, rows);
	return (window * (window + 1) / 2 + (rows - window) * window) / rows;
}

/* Seconds for a token of attention in such a step: the products of its queries with keys and with values, which are float16, and
 * the exponentials. */
static double planner_attention_seconds(const struct planner_input *in, size_t node, uint32_t layer) {
	const struct hparams *hp = &in->manifest->hp;
	struct layer_shape shape = hparams_layer(hp, layer);
	double rate = in->node[node].many[KERN_F16] / 2; /* multiply-adds a second */
	if (!shape.kv_heads || !(rate > 0))
		return 0;
	return planner_positions_seen(in, layer) * shape.heads * (2.0 * hp->head_size + EXPONENTIAL) / rate;
}

/* Seconds for a token of layers [a, b) in a step of many rows; 0: a rate is missing. */
static double planner_prompt_time(const struct planner_input *in, size_t node, uint32_t a, uint32_t b) {
	const struct manifest *m = in->manifest;
	double seconds = 0;
	for (uint32_t i = m->at[a]; i < m->at[b]; i++) {
		const struct manifest_tensor *t = &m->tensor[i];
		if (manifest_layer_is_vector((enum layer_role)t->role))
			continue;
		if (!(in->node[node].many[t->type] > 0))
			return 0;
		seconds += planner_many_seconds(in, node, t);
	}
	for (uint32_t l = a; l < b; l++)
		seconds += planner_attention_seconds(in, node, l);
	return seconds;
}

/* Time of a prompt token in a step of max_rows rows that passes the stages one after the other: computing, the bytes of its row
 * on each link, and its share of the latency of the links.  Stages stream their weights once a step. */
static void planner_add_prompt(struct planner_plan *out, const struct planner_input *in) {
	double row = in->manifest->hp.dim * sizeof(float), rows = in->max_rows, sum = 0;
	for (size_t i = 0; i < out->stages; i++) {
		struct planner_stage *st = &out->stage[i];
		const struct planner_node *n = &in->node[st->node];
		st->prompt = planner_prompt_time(in, st->node, st->first, st->last);
		if (!(st->prompt > 0) || in->max_rows < PLANNER_MANY)
			return;
		if (st->streamed)
			st->prompt = fmax(st->prompt,
			        fmin((double)st->streamed, (double)st->streamed_most / rows) / n->disk);
		sum += st->prompt;
		if (st->hop > 0)
			sum += row / n->rate + fmax(st->hop - row / n->rate, 0) / rows;
	}
	/* only one row comes back */
	out->prompt = sum + (out->back + out->io) / rows;
}

/* Time of a tensor at the lowest or the highest rate that was measured. */
static double planner_spread_time(
        const struct planner_input *in, size_t node, const struct manifest_tensor *t, bool high) {
	const struct planner_node *n = &in->node[node];
	double rate = planner_rate(in, node, t->type), other = high ? n->high[t->type] : n->low[t->type];
	return manifest_read_bytes(&in->manifest->hp, t, 1) /
	       (other > 0 && (high ? other > rate : other < rate) ? other : rate);
}

/* Time of a token on a stage that reads weights from disk: ahead of computing, but for experts, which are known late. */
static double planner_reading_time(
        const struct planner_stage *st, const struct planner_input *in, double computing) {
	double reading = (double)st->streamed / in->node[st->node].disk;
	return st->streamed < st->streamed_most ? computing + reading : fmax(computing, reading);
}

/* Time of a token if every node runs at its highest, or lowest, measured rates. */
static double planner_spread_seconds(
        const struct planner_plan *p, const struct planner_input *in, bool high) {
	double sum = p->back + planner_spread_time(in, in->coordinator, &in->manifest->io[IO_HEAD], high);
	for (size_t i = 0; i < p->stages; i++) {
		const struct planner_stage *st = &p->stage[i];
		double computing = 0;
		for (uint32_t k = in->manifest->at[st->first]; k < in->manifest->at[st->last]; k++)
			computing += planner_spread_time(in, st->node, &in->manifest->tensor[k], high);
		if (st->streamed)
			computing = planner_reading_time(st, in, computing);
		sum += computing + st->hop;
	}
	return sum;
}

/* Replaces the search's estimate for a stage that streams by the exact one: slightly less, since the search counts buffers for
 * the largest group of the model. */
static int planner_add_streaming(struct planner_plan *out, struct planner_stage *st,
        const struct planner_input *in, uint64_t memory_limit, double computing) {
	struct weight_stream_plan p;
	int rc = weight_stream_plan(&p, in->manifest, st->first, st->last, memory_limit);
	if (rc == 0 && p.step) {
		double searched = st->seconds;
		st->memory_limit = memory_limit;
		st->resident = p.memory;
		st->streamed = p.step;
		st->streamed_most = p.step_most;
		st->seconds = planner_reading_time(st, in, computing);
		out->seconds += st->seconds - searched;
	}
	weight_stream_plan_clear(&p);
	return rc;
}

/* Finds the stages of the best plan: in memory if that is possible, otherwise with weights that are streamed from disk.  What there
 * is too little of, disk or memory, is in err. */
static int planner_find(struct planner_plan *out, const struct planner_input *in, const struct sums *sums,
        struct search *s, struct search_stage *found, size_t *count, char *err, size_t errlen) {
	int rc = search_best(s, found, count);
	if (rc == -ENOSPC && sums->any_disk &&
	        planner_search_streaming(s, sums, in->manifest, found, count) == 0)
		rc = 0;
	if (rc == -ENOSPC && s->store) {
		struct search unbounded = *s;
		unbounded.store = NULL;
		int other = search_best(&unbounded, found, count);
		if (other == -ENOSPC && sums->any_disk)
			other = planner_search_streaming(&unbounded, sums, in->manifest, found, count);
		if (other == 0)
			return planner_refuse_disk(out, in, sums, err, errlen);
		s->store = NULL;
	}
	if (rc == -ENOSPC)
		return planner_refuse_memory(out, in, s, err, errlen);
	return rc < 0 ? fail_with(rc, err, errlen, "out of memory while planning") : 0;
}

/* Fills in a stage, and the slowest part of the plan with it. */
static int planner_fill_stage(struct planner_plan *out, const struct planner_input *in,
        const struct sums *sums, const struct search *s, const struct search_stage *found, size_t i) {
	const struct manifest *m = in->manifest;
	struct planner_stage *st = &out->stage[i];
	size_t node = found[i].node, row = node * (m->hp.layers + 1);
	uint32_t a = found[i].first, b = found[i].last;
	int rc = 0;
	*st = (struct planner_stage){.node = node,
	        .first = a,
	        .last = b,
	        .weights = planner_layer_bytes(m, a, b),
	        .kv = kv_bytes(&m->hp, out->kv, a, b),
	        .buffers = forward_bytes(m, in->max_rows, in->team),
	        .seconds = (double)search_time(s, node, a, b) / PICOSECONDS,
	        .moves = sums->moved[row + b] - sums->moved[row + a],
	        .stored = sums->stored[row + b] - sums->stored[row + a]};
	st->resident = st->weights;
	if (s->disk) {
		rc = planner_add_streaming(out, st, in, sums->memory_limit[node] - st->kv,
		        (double)(sums->time[row + b] - sums->time[row + a]) / PICOSECONDS);
		out->slowest = fmax(out->slowest, st->seconds + (node == in->coordinator ? out->io : 0));
	}
	if (node != (i ? found[i - 1].node : in->coordinator))
		st->hop = (double)sums->hop[node] / PICOSECONDS;
	out->slowest = fmax(out->slowest, st->hop);
	return rc;
}

static int planner_fill(struct planner_plan *out, const struct planner_input *in, const struct sums *sums,
        const struct search *s, const struct search_stage *found, size_t count) {
	int rc = 0;
	out->stage = calloc(count, sizeof *out->stage);
	if (!out->stage)
		return -ENOMEM;
	out->stages = count;
	out->seconds = (double)search_total(s, found, count) / PICOSECONDS;
	out->io = (double)s->io_time / PICOSECONDS;
	out->slowest = (double)search_slowest(s, found, count) / PICOSECONDS;
	if (found[count - 1].node != in->coordinator)
		out->back = (double)sums->hop[in->coordinator] / PICOSECONDS;
	out->slowest = fmax(s->disk ? out->io : out->slowest, out->back);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = planner_fill_stage(out, in, sums, s, found, i);
	if (rc < 0) {
		planner_clear(out);
		return rc;
	}
	if (in->nodes > SEARCH_EXACT_MAX || in->manifest->hp.layers > SEARCH_EXACT_LAYERS)
		out->bound = (double)search_bound(s) / PICOSECONDS;
	planner_add_prompt(out, in);
	out->seconds_low = fmin(out->seconds, planner_spread_seconds(out, in, true));
	out->seconds_high = fmax(out->seconds, planner_spread_seconds(out, in, false));
	return 0;
}

static struct search planner_search_of(const struct planner_input *in, const struct sums *sums) {
	const struct manifest *m = in->manifest;
	return (struct search){.nodes = in->nodes,
	        .coordinator = in->coordinator,
	        .layers = m->hp.layers,
	        .time = sums->time,
	        .moved = sums->moved,
	        .weight = sums->weight,
	        .store = sums->any_store ? sums->store : NULL,
	        .stored = sums->any_store ? sums->stored : NULL,
	        .kv = sums->kv,
	        .memory_limit = sums->memory_limit,
	        .hop = sums->hop,
	        .required = sums->required,
	        .excluded = sums->excluded,
	        .io_time = planner_picoseconds(planner_head_seconds(in))};
}

int planner_plan(struct planner_plan *out, const struct planner_input *in, char *err, size_t errlen) {
	struct sums sums = {0};
	size_t count = 0;
	*out = (struct planner_plan){.kv = planner_kv(in)};
	int rc = planner_check_input(out, in, err, errlen);
	if (rc < 0)
		return rc;
	rc = planner_sums_create(&sums, in, out->kv);
	struct search_stage *found = calloc(in->nodes, sizeof *found);
	if (rc < 0 || !found) {
		rc = fail_with(-ENOMEM, err, errlen, "out of memory while planning");
	} else {
		struct search s = planner_search_of(in, &sums);
		rc = planner_find(out, in, &sums, &s, found, &count, err, errlen);
		if (rc == 0 && (rc = planner_fill(out, in, &sums, &s, found, count)) != 0)
			fail_text(err, errlen, "out of memory while planning");
	}
	planner_sums_free(&sums);
	free(found);
	return rc;
}

void planner_clear(struct planner_plan *p) {
	free(p->stage);
	*p = (struct planner_plan){0};
}
