/* report_json: a report as JSON, for caravan status --json and for the HTTP API.  Its fields are fixed: new ones may be added. */
#include "daemon/plan/advice.h"
#include "daemon/report/report.h"
#include <string.h>

static void report_add_machine(json_t *o, const Caravan__Machine *m, double ahead) {
	if (m->memory_size) {
		json_object_set_new(o, "machine_memory", json_integer((json_int_t)m->memory_size));
		json_object_set_new(o, "machine_memory_free", json_integer((json_int_t)m->memory_free));
	}
	json_object_set_new(o, "swapped_bytes", json_integer((json_int_t)m->swapped));
	if (m->temperature > 0)
		json_object_set_new(o, "temperature_celsius", json_real(m->temperature));
	if (m->clock > 0)
		json_object_set_new(o, "clock_hz", json_real(m->clock));
	if (m->clock_max > 0)
		json_object_set_new(o, "clock_max_hz", json_real(m->clock_max));
	json_object_set_new(o, "slowed_by_heat", json_boolean(m->hot));
	json_object_set_new(o, "slowed_by_weak_power", json_boolean(m->weak_power));
	json_object_set_new(o, "uptime_seconds", json_real(m->uptime));
	json_object_set_new(o, "clock_ahead_seconds", json_real(ahead));
}

/* What the node loads and copies. */
static json_t *report_work_json(const Caravan__NodeState *s) {
	json_t *all = json_array();
	for (size_t i = 0; i < s->n_work; i++)
		json_array_append_new(
		        all, json_pack("{s:s, s:s, s:I, s:I}", "model", s->work[i]->model, "what",
		                     s->work[i]->what, "done_bytes", (json_int_t)s->work[i]->done,
		                     "total_bytes", (json_int_t)s->work[i]->total));
	return all;
}

static json_t *report_node_json(const Caravan__ReportNode *n) {
	char hex[NODE_ID_HEX] = "";
	struct node_id id;
	const Caravan__NodeState *s = n->node_state;
	if (node_id_from_bytes(&id, n->node) == 0)
		node_id_hex(&id, hex);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "name", n->name, "id", hex, "state",
	        n->state, "endpoint", n->endpoint, "self", n->self, "memory_used",
	        (json_int_t)(s ? s->memory_used : 0), "memory_allowed",
	        (json_int_t)(s ? s->memory_allowed : 0));
	if (!o)
		return NULL;
	if (n->round_trip > 0)
		json_object_set_new(o, "round_trip_seconds", json_real(n->round_trip));
	if (n->rate > 0)
		json_object_set_new(o, "link_rate", json_real(n->rate));
	if (*n->reason)
		json_object_set_new(o, "reason", json_string(n->reason));
	if (strcmp(n->state, "expelled") != 0)
		json_object_set_new(o, "since_seconds", json_real(n->since));
	if (n->n_further) {
		json_t *further = json_array();
		for (size_t i = 0; i < n->n_further; i++)
			json_array_append_new(further, json_string(n->further[i]));
		json_object_set_new(o, "further_endpoints", further);
	}
	if (n->last_heard > 0)
		json_object_set_new(o, "last_heard_seconds", json_real(n->last_heard));
	if (s) {
		json_object_set_new(o, "threads", json_integer(s->threads));
		json_object_set_new(o, "kernels", json_string(s->cpu));
		json_object_set_new(o, "read_bandwidth", json_real(s->read_bandwidth));
		if (s->disk_size) {
			json_object_set_new(o, "disk_free", json_integer((json_int_t)s->disk_free));
			json_object_set_new(o, "disk_size", json_integer((json_int_t)s->disk_size));
			json_object_set_new(o, "store_bytes", json_integer((json_int_t)s->store_bytes));
		}
		if (s->cache)
			json_object_set_new(o, "cache_bytes", json_integer((json_int_t)s->cache));
		json_object_set_new(o, "measuring", json_boolean(s->measuring));
		json_object_set_new(o, "measured_busy", json_boolean(s->disturbed));
		if (s->disk_rate > 0)
			json_object_set_new(o, "disk_rate", json_real(s->disk_rate));
		if (s->huge_pages > 0)
			json_object_set_new(o, "huge_pages_gain", json_real(s->huge_pages));
		json_object_set_new(o, "version", json_string(s->version));
		json_object_set_new(
		        o, "content_received_bytes", json_integer((json_int_t)s->content_received));
		json_object_set_new(o, "content_sent_bytes", json_integer((json_int_t)s->content_sent));
		if (s->machine)
			report_add_machine(o, s->machine, n->ahead);
		if (s->n_work)
			json_object_set_new(o, "work", report_work_json(s));
	}
	return o;
}

static json_t *report_time_json(const Caravan__StageTime *t) {
	return json_pack("{s:f, s:f, s:f, s:f}", "waited_seconds", t->waited, "computed_seconds", t->computed,
	        "held_seconds", t->held, "wire_seconds", t->wire);
}

static const Caravan__PeerState *report_peer(
        const struct report *r, ProtobufCBinaryData of, ProtobufCBinaryData peer) {
	const Caravan__ReportNode *n = report_find_node(r, of);
	for (size_t i = 0; n && n->node_state && i < n->node_state->n_peers; i++)
		if (report_same_node(n->node_state->peers[i]->node, peer))
			return n->node_state->peers[i];
	return NULL;
}

/* The link over which steps go on: its round trip as the sender measures it, its rate as the receiver does.  NULL: both are one
 * node, or it is not known. */
static json_t *report_link_json(const struct report *r, ProtobufCBinaryData from, ProtobufCBinaryData to) {
	const Caravan__PeerState *there = report_peer(r, from, to), *back = report_peer(r, to, from);
	if (!there)
		return NULL;
	json_t *o = json_pack("{s:s, s:b}", "node", report_node_name(r, to), "up", there->up);
	if (o && there->round_trip > 0)
		json_object_set_new(o, "round_trip_seconds", json_real(there->round_trip));
	if (o && back && back->rate > 0)
		json_object_set_new(o, "rate", json_real(back->rate));
	return o;
}

/* Where steps go after stage i. */
static ProtobufCBinaryData report_after(const Caravan__Plan *p, size_t i) {
	return i + 1 < p->n_stages ? p->stages[i + 1]->node : p->coordinator;
}

static json_t *report_expert_layer_json(const Caravan__ExpertLayer *l, bool read) {
	json_t *top = json_array();
	json_t *o = json_pack("{s:i, s:I, s:i, s:o*}", "layer", (int)l->layer, "chosen",
	        (json_int_t)l->chosen, "half", (int)l->half, "most_chosen", top);
	if (o && read)
		json_object_set_new(o, "in_memory", json_integer(l->in_memory));
	for (size_t i = 0; o && i < l->top.len / sizeof(uint32_t); i++)
		json_array_append_new(top, json_pack("{s:i, s:f}", "expert", (int)wire_packed_at(l->top, i),
		                                   "share", wire_packed_at(l->share, i) / 1e4));
	return o;
}

/* Which experts its routers choose. */
static void report_add_experts(json_t *o, const Caravan__StageState *st) {
	json_t *layers = json_array();
	json_object_set_new(o, "experts", json_integer(st->experts));
	for (size_t i = 0; i < st->n_expert_layers; i++)
		json_array_append_new(
		        layers, report_expert_layer_json(st->expert_layers[i], st->streamed_bytes > 0));
	json_object_set_new(o, "expert_layers", layers);
}

static json_t *report_stage_json(const struct report *r, const Caravan__ReportModel *m, size_t i) {
	const Caravan__Stage *s = m->plan->stages[i];
	const Caravan__StageState *st = report_stage(r, m, i);
	json_t *o = json_pack("{s:s, s:i, s:i}", "node", report_node_name(r, s->node), "first", (int)s->first,
	        "last", (int)s->last);
	if (o && s->seconds > 0)
		json_object_set_new(o, "predicted_seconds", json_real(s->seconds));
	if (o && s->prompt > 0)
		json_object_set_new(o, "predicted_prompt_seconds", json_real(s->prompt));
	if (o && st) {
		json_object_set_new(o, "weight_bytes", json_integer((json_int_t)st->weight_bytes));
		json_object_set_new(o, "kv_bytes", json_integer((json_int_t)st->kv_bytes));
		json_object_set_new(o, "rows", json_integer((json_int_t)st->rows));
		json_object_set_new(o, "rows_per_second", json_real(st->rows_per_second));
		json_object_set_new(o, "compute_seconds", json_real(st->compute_seconds));
		json_object_set_new(o, "single_rows", json_integer((json_int_t)st->single_rows));
		json_object_set_new(o, "single_seconds", json_real(st->single_seconds));
		json_object_set_new(o, "prompt_rows", json_integer((json_int_t)st->prompt_rows));
		json_object_set_new(o, "prompt_seconds", json_real(st->prompt_seconds));
		json_object_set_new(o, "resident_bytes", json_integer((json_int_t)st->resident_bytes));
		json_object_set_new(o, "streamed_bytes", json_integer((json_int_t)st->streamed_bytes));
		json_object_set_new(o, "weights",
		        json_string(st->huge_bytes == 0              ? "mapped"
		                    : st->huge_done < st->huge_bytes ? "copying"
		                                                     : "huge pages"));
		json_object_set_new(o, "huge_pages_bytes", json_integer((json_int_t)st->huge_done));
		if (st->streamed_bytes) {
			json_object_set_new(o, "read_bytes", json_integer((json_int_t)st->read_bytes));
			json_object_set_new(o, "read_seconds", json_real(st->read_seconds));
			json_object_set_new(o, "read_wait_seconds", json_real(st->read_wait_seconds));
			json_object_set_new(o, "expert_hits", json_integer((json_int_t)st->expert_hits));
			json_object_set_new(o, "expert_misses", json_integer((json_int_t)st->expert_misses));
		}
		if (st->experts)
			report_add_experts(o, st);
		json_object_set_new(o, "skipped_steps", json_integer((json_int_t)st->skipped));
	}
	if (o && m->state && m->state->n_times == m->plan->n_stages + 1)
		json_object_set_new(o, "times", report_time_json(m->state->times[i + 1]));
	json_object_set_new(o, "link", report_link_json(r, s->node, report_after(m->plan, i)));
	return o;
}

static json_t *report_percentiles_json(const Caravan__Percentiles *p) {
	return json_pack("{s:f, s:f, s:f, s:I}", "p50_seconds", p->p50, "p90_seconds", p->p90, "p99_seconds",
	        p->p99, "count", (json_int_t)p->count);
}

static json_t *report_stats_json(const Caravan__ServingStats *s) {
	json_t *o = json_pack("{s:f, s:f, s:f}", "covered_seconds", s->seconds, "tokens_per_second",
	        s->tokens_per_second, "prompt_tokens_per_second", s->prompt_tokens_per_second);
	if (o && s->first_token)
		json_object_set_new(o, "first_token", report_percentiles_json(s->first_token));
	if (o && s->inter_token)
		json_object_set_new(o, "inter_token", report_percentiles_json(s->inter_token));
	return o;
}

static json_t *report_stream_json(const struct report *r, const Caravan__StreamState *s) {
	json_t *o = json_pack("{s:I, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", "id",
	        (json_int_t)s->id, "state", report_stream_phase(s->phase), "gateway",
	        report_node_name(r, s->gateway), "age_seconds", s->age, "prompt_tokens",
	        (json_int_t)s->prompt, "prompt_done", (json_int_t)s->prompt_done, "cached_tokens",
	        (json_int_t)s->cached, "generated_tokens", (json_int_t)s->generated, "limit",
	        (json_int_t)s->limit, "tokens_per_second", s->tokens_per_second, "drafted",
	        (json_int_t)s->drafted, "accepted", (json_int_t)s->accepted, "blocks", (json_int_t)s->blocks);
	if (o && s->place)
		json_object_set_new(o, "place", json_integer(s->place));
	if (o && s->first_token > 0)
		json_object_set_new(o, "first_token_seconds", json_real(s->first_token));
	return o;
}

/* What a coordinator before 1.5 does not report is left out. */
static void report_add_serving(json_t *o, const struct report *r, const Caravan__ModelState *s) {
	if (!s->minute || !s->hour)
		return;
	json_object_set_new(o, "prompt_tokens_per_second", json_real(s->prompt_tokens_per_second));
	json_object_set_new(o, "last_minute", report_stats_json(s->minute));
	json_object_set_new(o, "last_hour", report_stats_json(s->hour));
	json_t *streams = json_array();
	for (size_t i = 0; i < s->n_streams; i++)
		json_array_append_new(streams, report_stream_json(r, s->streams[i]));
	json_object_set_new(o, "streams", streams);
	json_object_set_new(o, "streams_total", json_integer(s->streams_total));
}

static json_t *report_model_json(const struct report *r, const Caravan__ReportModel *m) {
	json_t *stages = json_array();
	for (size_t i = 0; i < m->plan->n_stages; i++)
		json_array_append_new(stages, report_stage_json(r, m, i));
	json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:o}", "name", m->plan->model, "state",
	        report_phase(m->phase), "coordinator", report_node_name(r, m->plan->coordinator), "context",
	        (int)m->plan->context, "parallel", (int)m->plan->parallel, "kv", kern_kv_name(m->plan->kv),
	        "stages", stages);
	if (!o)
		return NULL;
	json_object_set_new(o, "link", report_link_json(r, m->plan->coordinator, m->plan->stages[0]->node));
	if (*m->reason)
		json_object_set_new(o, "reason", json_string(m->reason));
	if (m->plan->n_placed) {
		json_t *placed = json_array();
		for (size_t i = 0; i < m->plan->n_placed; i++)
			json_array_append_new(placed, json_string(report_node_name(r, m->plan->placed[i])));
		json_object_set_new(o, "loaded_over", placed);
	}
	if (*m->plan->draft)
		json_object_set_new(o, "draft", json_string(m->plan->draft));
	if (m->plan->seconds > 0) {
		json_object_set_new(o, "predicted_tokens_per_second", json_real(1 / m->plan->seconds));
		if (m->plan->seconds_low > 0 && m->plan->seconds_high > m->plan->seconds_low) {
			json_object_set_new(
			        o, "predicted_tokens_per_second_low", json_real(1 / m->plan->seconds_high));
			json_object_set_new(
			        o, "predicted_tokens_per_second_high", json_real(1 / m->plan->seconds_low));
		}
		json_object_set_new(o, "predicted_tokens_per_second_loaded",
		        json_real(advice_rate(m->plan->seconds, m->plan->slowest, m->plan->parallel)));
	}
	if (m->plan->prompt > 0)
		json_object_set_new(o, "predicted_prompt_tokens_per_second", json_real(1 / m->plan->prompt));
	if (m->state && m->state->copies) {
		json_object_set_new(o, "copies",
		        json_pack("{s:i, s:b, s:I, s:I, s:s}", "wanted", (int)m->state->copies, "complete",
		                m->state->copy_missing == 0, "bytes", (json_int_t)m->state->copy_bytes,
		                "missing_bytes", (json_int_t)m->state->copy_missing, "at_risk",
		                m->state->at_risk));
		if (m->state->disks)
			json_object_set_new(
			        json_object_get(o, "copies"), "disks", json_integer(m->state->disks));
	}
	if (m->state) {
		json_object_set_new(o, "tokens_per_second", json_real(m->state->tokens_per_second));
		json_object_set_new(o, "tokens", json_integer((json_int_t)m->state->tokens));
		json_object_set_new(o, "serving_seconds", json_real(m->state->seconds));
		json_object_set_new(o, "sequences", json_integer(m->state->sequences));
		json_object_set_new(o, "queued", json_integer(m->state->queued));
		json_object_set_new(o, "steps", json_integer((json_int_t)m->state->steps));
		json_object_set_new(o, "step_sequences", json_integer((json_int_t)m->state->step_sequences));
		json_object_set_new(o, "step_sequences_max", json_integer(m->state->step_sequences_max));
		json_object_set_new(o, "prefix_tokens", json_integer((json_int_t)m->state->prefix_tokens));
		json_object_set_new(o, "drafted", json_integer((json_int_t)m->state->drafted));
		json_object_set_new(o, "accepted", json_integer((json_int_t)m->state->accepted));
		json_object_set_new(o, "ends_seconds", json_real(m->state->io_seconds));
		json_object_set_new(o, "in_flight", json_integer(m->state->in_flight));
		json_object_set_new(o, "in_flight_max", json_integer(m->state->in_flight_max));
		json_object_set_new(o, "blocks", json_integer(m->state->blocks));
		json_object_set_new(o, "blocks_free", json_integer(m->state->blocks_free));
		json_object_set_new(o, "window_blocks", json_integer(m->state->window_blocks));
		json_object_set_new(o, "window_blocks_free", json_integer(m->state->window_blocks_free));
		if (m->state->n_times)
			json_object_set_new(o, "ends_times", report_time_json(m->state->times[0]));
		report_add_serving(o, r, m->state);
	}
	return o;
}

json_t *report_json(const struct report *r) {
	json_t *nodes = json_array(), *models = json_array(), *problems = json_array();
	for (size_t i = 0; i < r->nodes; i++)
		json_array_append_new(nodes, report_node_json(r->node[i]));
	for (size_t i = 0; i < r->models; i++)
		json_array_append_new(models, report_model_json(r, r->model[i]));
	for (size_t i = 0; i < r->problems; i++)
		json_array_append_new(
		        problems, json_pack("{s:s, s:s, s:s, s:s}", "kind", r->problem[i]->kind, "subject",
		                          r->problem[i]->subject, "what", r->problem[i]->what, "advice",
		                          r->problem[i]->advice));
	char verdict[REPORT_VERDICT];
	report_verdict(r, verdict);
	return json_pack("{s:i, s:b, s:s, s:o, s:o, s:o}", "version", 1, "healthy", r->healthy, "verdict",
	        verdict, "nodes", nodes, "models", models, "problems", problems);
}

static bool report_drifts(const char *key) {
	static const char *const drifting[] = {"since_seconds", "last_heard_seconds", "uptime_seconds",
	        "serving_seconds", "clock_ahead_seconds", "clock_hz", "temperature_celsius",
	        "machine_memory_free", "round_trip_seconds", "disk_free", "last_minute", "last_hour",
	        "age_seconds"};
	for (size_t i = 0; i < sizeof drifting / sizeof *drifting; i++)
		if (strcmp(key, drifting[i]) == 0)
			return true;
	return false;
}

/* Whether b has each member of a, and the same but for what drifts. */
static bool report_object_within(json_t *a, json_t *b) {
	const char *key;
	json_t *value;
	json_object_foreach(a, key, value) {
		const json_t *other = json_object_get(b, key);
		if (!other || (!report_drifts(key) && !report_json_same(value, other)))
			return false;
	}
	return true;
}

bool report_json_same(const json_t *a, const json_t *b) {
	if (json_is_object(a) && json_is_object(b))
		return json_object_size(a) == json_object_size(b) &&
		       report_object_within((json_t *)a, (json_t *)b);
	if (!json_is_array(a) || !json_is_array(b))
		return json_equal(a, b);
	if (json_array_size(a) != json_array_size(b))
		return false;
	for (size_t i = 0; i < json_array_size(a); i++)
		if (!report_json_same(json_array_get(a, i), json_array_get(b, i)))
			return false;
	return true;
}
