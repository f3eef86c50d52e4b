/* schema: see schema.h.  The table, in the order of caravan.proto, and the validator. */
#include "config.h"

#include "proto/schema.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define U32 4294967295.0
#define BIG 9007199254740992.0 /* 2^53: a count of bytes, rows or nanoseconds beyond it is nonsense */
#define RATE 1e18
#define SECONDS 1e9
#define UNIX_SECONDS 1e12
#define TEXT WIRE_TEXT_MAX

static bool schema_check_plan(const void *message, char *err, size_t errlen) {
	const Caravan__Plan *p = message;
	if (memcmp(p->epoch->node.data, p->coordinator.data, sizeof(struct node_id)) != 0) {
		snprintf(err, errlen, "Plan: its epoch names another node than its coordinator");
		return false;
	}
	for (size_t i = 0; i < p->n_stages; i++) {
		const Caravan__Stage *s = p->stages[i];
		if (s->first >= s->last || s->first != (i ? p->stages[i - 1]->last : 0)) {
			snprintf(err, errlen, "Plan: stage %zu does not follow the one before it", i);
			return false;
		}
	}
	return true;
}

static bool schema_check_step(const void *message, char *err, size_t errlen) {
	const Caravan__Step *s = message;
	uint64_t rows = 0;
	for (size_t i = 0; i < s->n_seqs; i++)
		rows += s->seqs[i]->rows;
	if (rows != s->rows) {
		snprintf(err, errlen, "Step: %u rows, but its sequences have %llu", s->rows,
		        (unsigned long long)rows);
		return false;
	}
	return true;
}

static bool schema_check_step_seq(const void *message, char *err, size_t errlen) {
	const Caravan__StepSeq *s = message;
	uint64_t end = (uint64_t)s->position + s->rows;
	if (s->blocks.len / 4 < (end + 63) / 64) {
		snprintf(err, errlen, "StepSeq: %zu blocks do not hold position %llu", s->blocks.len / 4,
		        (unsigned long long)end);
		return false;
	}
	if (s->windows.len > s->blocks.len) {
		snprintf(err, errlen, "StepSeq: %zu window blocks beside %zu blocks", s->windows.len / 4,
		        s->blocks.len / 4);
		return false;
	}
	if (s->outputs > s->rows) {
		snprintf(err, errlen, "StepSeq: %u outputs of %u rows", s->outputs, s->rows);
		return false;
	}
	if (s->keep.len % (2 * sizeof(uint32_t))) {
		snprintf(err, errlen, "StepSeq: a position without a place for its state");
		return false;
	}
	return true;
}

static bool schema_check_submit(const void *message, char *err, size_t errlen) {
	const Caravan__Submit *s = message;
	bool good = s->bias.len % 8 == 0;
	for (size_t at = 4; good && at < s->bias.len; at += 8) {
		float bias;
		memcpy(&bias, s->bias.data + at, sizeof bias);
		good = fabsf(bias) <= WIRE_BIAS_LARGEST; /* false for NaN */
	}
	if (!good)
		snprintf(err, errlen, "Submit: bad bias");
	return good;
}

static bool schema_check_token_logprobs(const void *message, char *err, size_t errlen) {
	const Caravan__TokenLogprobs *t = message;
	bool good = t->top.len % 8 == 0;
	for (size_t at = 4; good && at < t->top.len; at += 8) {
		float logprob;
		memcpy(&logprob, t->top.data + at, sizeof logprob);
		good = logprob >= WIRE_LOGPROB_LEAST && logprob <= 0; /* false for NaN */
	}
	if (!good)
		snprintf(err, errlen, "TokenLogprobs: bad top");
	return good;
}

static bool schema_check_tokens(const void *message, char *err, size_t errlen) {
	const Caravan__Tokens *t = message;
	if (t->n_logprobs == 0 || t->n_logprobs == t->ids.len / 4)
		return true;
	snprintf(err, errlen, "Tokens: %zu log-probabilities of %zu tokens", t->n_logprobs, t->ids.len / 4);
	return false;
}

static bool schema_check_event_list(const void *message, char *err, size_t errlen) {
	const Caravan__EventList *l = message;
	for (size_t i = 1; i < l->n_events; i++)
		if (l->events[i]->serial <= l->events[i - 1]->serial) {
			snprintf(err, errlen, "EventList: event %zu is not after the one before it", i);
			return false;
		}
	return true;
}

static bool schema_check_range(uint32_t first, uint32_t last, const char *what, char *err, size_t errlen) {
	if (first < last)
		return true;
	snprintf(err, errlen, "%s: no layers from %u to %u", what, first, last);
	return false;
}

static bool schema_check_stage(const void *message, char *err, size_t errlen) {
	const Caravan__Stage *s = message;
	return schema_check_range(s->first, s->last, "Stage", err, errlen);
}

static bool schema_check_stage_state(const void *message, char *err, size_t errlen) {
	const Caravan__StageState *s = message;
	if (!schema_check_range(s->first, s->last, "StageState", err, errlen))
		return false;
	if (s->huge_done > s->huge_bytes) {
		snprintf(err, errlen, "StageState: more is in huge pages than shall be");
		return false;
	}
	for (size_t i = 0; i < s->n_expert_layers; i++) {
		const Caravan__ExpertLayer *l = s->expert_layers[i];
		bool good = l->layer >= s->first && l->layer < s->last && l->half <= s->experts &&
		            l->in_memory <= s->experts &&
		            (i == 0 || l->layer > s->expert_layers[i - 1]->layer);
		for (size_t k = 0; k < l->top.len / sizeof(uint32_t); k++)
			good = good && wire_packed_at(l->top, k) < s->experts;
		if (!good) {
			snprintf(err, errlen, "StageState: bad experts of layer %u", l->layer);
			return false;
		}
	}
	return true;
}

static bool schema_check_expert_layer(const void *message, char *err, size_t errlen) {
	const Caravan__ExpertLayer *l = message;
	uint64_t sum = 0;
	for (size_t i = 0; i < l->share.len / sizeof(uint32_t); i++)
		sum += wire_packed_at(l->share, i);
	if (l->top.len == l->share.len && sum <= 10000)
		return true;
	snprintf(err, errlen, "ExpertLayer: bad shares");
	return false;
}

static bool schema_check_histogram(const void *message, char *err, size_t errlen) {
	const Caravan__Histogram *h = message;
	uint64_t sum = 0;
	for (size_t i = 0; i < h->buckets.len / sizeof(uint32_t); i++)
		sum += wire_packed_at(h->buckets, i);
	if (sum <= h->count)
		return true;
	snprintf(err, errlen, "Histogram: buckets of more than it counts");
	return false;
}

static bool schema_check_stream(const void *message, char *err, size_t errlen) {
	const Caravan__StreamState *s = message;
	if (s->cached <= s->prompt_done && s->prompt_done <= s->prompt && s->accepted <= s->drafted)
		return true;
	snprintf(err, errlen, "StreamState: more of it is done than there is");
	return false;
}

static bool schema_check_advice_node(const void *message, char *err, size_t errlen) {
	const Caravan__AdviceNode *n = message;
	return n->first == n->last || schema_check_range(n->first, n->last, "AdviceNode", err, errlen);
}

static bool schema_check_entry(const void *message, char *err, size_t errlen) {
	const Caravan__Entry *e = message;
	if (e->expelled || wire_name_ok(e->name))
		return true;
	snprintf(err, errlen, "Entry: a node without a name");
	return false;
}

static bool schema_check_chat(const void *message, char *err, size_t errlen) {
	const Caravan__CtlChat *c = message;
	if (!c->run->special)
		return true;
	snprintf(err, errlen, "CtlChat: special tokens in messages");
	return false;
}

/* clang-format off */
#define MESSAGE(name) .of = &caravan__##name##__descriptor
#define ROSTER(tag) {tag, FIELD_MESSAGE, 0, WIRE_NODES_MAX}
const struct message_schema schema_messages[] = {
	/* links and the roster */
	{MESSAGE(entry), {
		{1, FIELD_ID}, {2, FIELD_NUM, 1, BIG}, {3, FIELD_NAME_OR_EMPTY}, {4, FIELD_ENDPOINT}, {5, FIELD_ANY},
		{50, FIELD_ENDPOINT, 0, WIRE_ENDPOINTS_MAX - 1}, {51, FIELD_NUM, 0, BIG}},
		schema_check_entry},
	{MESSAGE(hello), {
		{1, FIELD_ANY}, {2, FIELD_ANY}, {3, FIELD_ANY}, ROSTER(4), {5, FIELD_ANY}}, NULL},
	{MESSAGE(welcome), {{1, FIELD_ANY}, {2, FIELD_ANY}, {3, FIELD_ANY}, ROSTER(4)}, NULL},
	{MESSAGE(join), {{1, FIELD_MESSAGE, 1, 1}, {50, FIELD_ENDPOINT}, {51, FIELD_PACKED, 0, 8}}, NULL},
	{MESSAGE(joined), {ROSTER(1)}, NULL},
	{MESSAGE(roster_update), {ROSTER(1)}, NULL},
	{MESSAGE(api_key), {
		{1, FIELD_ID}, {2, FIELD_LINE, 0, WIRE_NAME_MAX}, {3, FIELD_NUM, 0, BIG}, {4, FIELD_NUM, 0, BIG},
		{5, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(key_update), {{1, FIELD_MESSAGE, 0, WIRE_KEYS_MAX}}, NULL},
	{MESSAGE(refused), {{1, FIELD_LINE, 0, TEXT}, {2, FIELD_NUM, 0, U32}}, NULL},
	{MESSAGE(type_rate), {
		{1, FIELD_ANY}, {2, FIELD_REAL, 0, RATE}, {3, FIELD_REAL, 0, RATE}, {80, FIELD_REAL, 0, RATE},
		{81, FIELD_REAL, 0, RATE}, {82, FIELD_REAL, 0, RATE}, {83, FIELD_REAL, 0, RATE}}, NULL},
	{MESSAGE(way_state), {
		{1, FIELD_ANY}, {2, FIELD_NUM, 0, 65536}, {3, FIELD_LINE, 0, 64}, {4, FIELD_ANY}, {5, FIELD_REAL, 0, WIRE_GAIN_MAX}}, NULL},
	{MESSAGE(stage_state), {
		{1, FIELD_ID}, {2, FIELD_NAME}, {3, FIELD_ANY}, {4, FIELD_NUM, 1, 65536}, {5, FIELD_NUM, 0, BIG},
		{6, FIELD_NUM, 0, BIG}, {7, FIELD_ANY}, {8, FIELD_REAL, 0, RATE}, {9, FIELD_REAL, 0, RATE}, {10, FIELD_ANY},
		{20, FIELD_NUM, 0, BIG}, {21, FIELD_NUM, 0, BIG}, {22, FIELD_ANY}, {23, FIELD_REAL, 0, RATE},
		{24, FIELD_REAL, 0, RATE}, {25, FIELD_ANY}, {26, FIELD_ANY}, {30, FIELD_NUM, 0, BIG}, {31, FIELD_REAL, 0, RATE},
		{32, FIELD_NUM, 0, BIG}, {33, FIELD_REAL, 0, RATE}, {80, FIELD_REAL, 0, SECONDS}, {81, FIELD_REAL, 0, SECONDS},
		{230, FIELD_NUM, 0, WIRE_EXPERTS_MAX}, {231, FIELD_MESSAGE, 0, WIRE_EXPERT_LAYERS_MAX},
		{232, FIELD_LINE, 0, WIRE_NAME_MAX}, {233, FIELD_NUM, 0, BIG}, {234, FIELD_NUM, 0, BIG}},
		schema_check_stage_state},
	{MESSAGE(expert_layer), {
		{1, FIELD_NUM, 0, 65535}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, WIRE_EXPERTS_MAX},
		{4, FIELD_NUM, 0, WIRE_EXPERTS_MAX}, {5, FIELD_PACKED, 0, WIRE_EXPERTS_TOP_MAX},
		{6, FIELD_PACKED, 0, WIRE_EXPERTS_TOP_MAX}}, schema_check_expert_layer},
	{MESSAGE(model_state), {
		{1, FIELD_NAME}, {2, FIELD_REAL, 0, RATE}, {3, FIELD_ANY}, {4, FIELD_ANY}, {5, FIELD_ANY},
		{7, FIELD_ANY}, {8, FIELD_ANY}, {9, FIELD_ANY}, {10, FIELD_ANY}, {11, FIELD_NUM, 0, WIRE_NODES_MAX},
		{12, FIELD_NUM, 0, BIG}, {13, FIELD_NUM, 0, BIG}, {14, FIELD_LINE, 0, WIRE_RISK_MAX},
		{15, FIELD_MESSAGE, 0, WIRE_TIMES_MAX}, {16, FIELD_ANY}, {17, FIELD_ANY}, {18, FIELD_ANY}, {19, FIELD_ANY},
		{20, FIELD_NUM, 0, BIG}, {21, FIELD_NUM, 0, BIG}, {30, FIELD_REAL, 0, RATE},
		{100, FIELD_REAL, 0, SECONDS}, {200, FIELD_REAL, 0, RATE}, {201, FIELD_MESSAGE, 0, 1}, {202, FIELD_MESSAGE, 0, 1},
		{203, FIELD_MESSAGE, 0, 1}, {204, FIELD_MESSAGE, 0, 1}, {205, FIELD_MESSAGE, 0, WIRE_STREAMS_MAX},
		{206, FIELD_NUM, 0, U32}, {207, FIELD_NUM, 0, WIRE_NODES_MAX}, {210, FIELD_MESSAGE, 0, 1},
		{211, FIELD_MESSAGE, 0, 1}, {230, FIELD_LINE, 0, WIRE_NAME_MAX}, {240, FIELD_ANY}, {241, FIELD_ANY}}, NULL},
	{MESSAGE(alternative), {{1, FIELD_ID}, {2, FIELD_REAL, 0, SECONDS}, {3, FIELD_REAL, 0, SECONDS}}, NULL},
	{MESSAGE(percentiles), {
		{1, FIELD_REAL, 0, SECONDS}, {2, FIELD_REAL, 0, SECONDS}, {3, FIELD_REAL, 0, SECONDS}, {4, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(serving_stats), {
		{1, FIELD_REAL, 0, SECONDS}, {2, FIELD_REAL, 0, RATE}, {3, FIELD_REAL, 0, RATE}, {4, FIELD_MESSAGE, 0, 1},
		{5, FIELD_MESSAGE, 0, 1}}, NULL},
	{MESSAGE(histogram), {{1, FIELD_PACKED, WIRE_BOUNDS, WIRE_BOUNDS}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_REAL, 0, RATE}},
		schema_check_histogram},
	{MESSAGE(stream_state), {
		{1, FIELD_NUM, 1, BIG}, {2, FIELD_ENUM, 0, CARAVAN__STREAM_PHASE__STREAM_GENERATING}, {3, FIELD_ID},
		{4, FIELD_REAL, 0, SECONDS}, {5, FIELD_NUM, 0, 65536}, {6, FIELD_NUM, 1, WIRE_CONTEXT_MAX},
		{7, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {8, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {9, FIELD_NUM, 0, WIRE_CONTEXT_MAX},
		{10, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {11, FIELD_REAL, 0, RATE}, {12, FIELD_NUM, 0, U32}, {13, FIELD_NUM, 0, U32},
		{14, FIELD_NUM, 0, U32}, {15, FIELD_REAL, 0, SECONDS}}, schema_check_stream},
	{MESSAGE(stage_time), {
		{1, FIELD_REAL, 0, SECONDS}, {2, FIELD_REAL, 0, SECONDS}, {3, FIELD_REAL, 0, SECONDS},
		{4, FIELD_REAL, 0, SECONDS}}, NULL},
	{MESSAGE(peer_state), {{1, FIELD_ID}, {2, FIELD_REAL, 0, 1e9}, {3, FIELD_ANY}, {30, FIELD_REAL, 0, RATE},
		{80, FIELD_REAL, 0, RATE}, {210, FIELD_REAL, 0, 1}}, NULL},
	{MESSAGE(machine), {
		{1, FIELD_NUM, 0, BIG}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, BIG}, {4, FIELD_REAL, 0, 1000},
		{5, FIELD_REAL, 0, RATE}, {6, FIELD_REAL, 0, RATE}, {7, FIELD_ANY}, {8, FIELD_ANY},
		{9, FIELD_REAL, 0, SECONDS}, {10, FIELD_REAL, 0, UNIX_SECONDS}}, NULL},
	{MESSAGE(work_state), {{1, FIELD_NAME}, {2, FIELD_LINE, 0, 32}, {3, FIELD_NUM, 0, BIG}, {4, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(node_state), {
		{1, FIELD_NUM, 0, BIG}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, 65536}, {4, FIELD_LINE, 0, 64},
		{5, FIELD_REAL, 0, RATE}, {6, FIELD_MESSAGE, 0, 64}, {7, FIELD_MESSAGE, 0, WIRE_STAGES_MAX},
		{8, FIELD_MESSAGE, 0, 256}, {9, FIELD_MESSAGE, 0, WIRE_NODES_MAX}, {10, FIELD_LINE, 0, 64},
		{11, FIELD_NUM, 0, BIG}, {12, FIELD_NUM, 0, BIG}, {20, FIELD_REAL, 0, RATE}, {21, FIELD_NUM, 0, U32},
		{70, FIELD_NUM, 0, BIG}, {71, FIELD_NUM, 0, BIG}, {72, FIELD_NUM, 0, BIG}, {73, FIELD_NUM, 0, BIG}, {80, FIELD_ANY},
		{81, FIELD_ANY}, {82, FIELD_REAL, 0, RATE}, {83, FIELD_REAL, 0, RATE}, {84, FIELD_REAL, 0, 1}, {90, FIELD_MESSAGE, 0, 1},
		{230, FIELD_MESSAGE, 0, WIRE_WORK_MAX}, {231, FIELD_REAL, 0, WIRE_GAIN_MAX}, {232, FIELD_MESSAGE, 0, WIRE_WAYS_MAX}}, NULL},
	{MESSAGE(ping), {{1, FIELD_ANY}, {2, FIELD_MESSAGE, 0, 1}}, NULL},
	{MESSAGE(pong), {
		{1, FIELD_ANY}, {50, FIELD_ENUM, 0, CARAVAN__REACH__REACH_NONE}, {51, FIELD_LINE, 0, TEXT},
		{52, FIELD_LINE, 0, TEXT}}, NULL},
	/* content */
	{MESSAGE(fetch), {
		{1, FIELD_ID}, {2, FIELD_ANY}, {3, FIELD_ANY}, {4, FIELD_NUM, 0, BIG},
		{5, FIELD_NUM, 1, WIRE_BLOCK_MAX}, {6, FIELD_ANY}, {7, FIELD_ANY}}, NULL},
	{MESSAGE(block), {{1, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(redirect), {{1, FIELD_ID}}, NULL},
	{MESSAGE(probe), {{1, FIELD_NUM, 0, WIRE_PAYLOAD_MAX}}, NULL},
	{MESSAGE(probed), {{0}}, NULL},
	{MESSAGE(measure), {{0}}, NULL},
	{MESSAGE(measured), {{1, FIELD_MESSAGE, 1, 1}}, NULL},
	/* plans */
	{MESSAGE(stage), {
		{1, FIELD_ID}, {2, FIELD_ANY}, {3, FIELD_NUM, 1, 65536}, {4, FIELD_REAL, 0, SECONDS},
		{20, FIELD_NUM, 0, BIG}, {21, FIELD_NUM, 0, BIG}, {30, FIELD_REAL, 0, SECONDS}}, schema_check_stage},
	{MESSAGE(epoch), {{1, FIELD_NUM, 0, BIG}, {2, FIELD_ID}}, NULL},
	{MESSAGE(plan), {
		{1, FIELD_NAME}, {2, FIELD_ID}, {3, FIELD_MESSAGE, 1, 1}, {4, FIELD_ID},
		{5, FIELD_MESSAGE, 1, WIRE_STAGES_MAX}, {6, FIELD_NUM, 1, WIRE_CONTEXT_MAX}, {7, FIELD_NUM, 1, 65536},
		{8, FIELD_NUM, 1, U32}, {9, FIELD_NUM, 1, WIRE_ROWS_MAX}, {10, FIELD_ID}, {11, FIELD_ANY},
		{12, FIELD_REAL, 0, SECONDS}, {13, FIELD_REAL, 0, SECONDS}, {14, FIELD_NUM, 0, WIRE_NODES_MAX},
		{15, FIELD_NUM, 0, WIRE_KV_MAX}, {16, FIELD_NAME_OR_EMPTY}, {30, FIELD_REAL, 0, SECONDS},
		{40, FIELD_ID, 0, WIRE_NODES_MAX}, {80, FIELD_REAL, 0, SECONDS}, {81, FIELD_REAL, 0, SECONDS},
		{210, FIELD_ID, 0, WIRE_NODES_MAX}, {240, FIELD_NUM, 0, U32}}, schema_check_plan},
	{MESSAGE(prepare), {{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_ID, 0, WIRE_NODES_MAX}}, NULL},
	{MESSAGE(progress), {{1, FIELD_LINE, 0, TEXT}, {2, FIELD_ANY}, {3, FIELD_ANY}}, NULL},
	{MESSAGE(ready), {{1, FIELD_NUM, 0, BIG}, {2, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(plan_announce), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {3, FIELD_LINE, 0, TEXT}},
		NULL},
	{MESSAGE(ack), {{0}}, NULL},
	{MESSAGE(plan_belief), {
		{1, FIELD_NAME}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {4, FIELD_ANY},
		{5, FIELD_LINE, 0, 32}, {6, FIELD_NUM, 0, 1000}}, NULL},
	{MESSAGE(plan_check), {{1, FIELD_MESSAGE, 0, WIRE_BELIEFS_MAX}}, NULL},
	{MESSAGE(plan_checked), {{1, FIELD_MESSAGE, 0, WIRE_BELIEFS_MAX}}, NULL},
	{MESSAGE(unload), {{1, FIELD_NAME}}, NULL},
	{MESSAGE(inventory), {{1, FIELD_ID}}, NULL},
	{MESSAGE(inventory_reply), {
		{1, FIELD_PACKED, 0, WIRE_INVENTORY_MAX}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, 15}, {4, FIELD_ANY},
		{70, FIELD_NUM, 0, BIG}, {71, FIELD_NUM, 0, BIG}, {72, FIELD_PACKED, 0, WIRE_INVENTORY_MAX}, {73, FIELD_NUM, 0, 15}},
		NULL},
	{MESSAGE(replicate), {
		{1, FIELD_ID}, {2, FIELD_PACKED, 0, WIRE_INVENTORY_MAX}, {3, FIELD_NUM, 0, 7}, {4, FIELD_ID, 0, WIRE_NODES_MAX}},
		NULL},
	/* models on disks */
	{MESSAGE(stored_model), {
		{1, FIELD_NAME}, {2, FIELD_ID}, {3, FIELD_ID}, {4, FIELD_LINE, 0, WIRE_TYPE_MAX}, {5, FIELD_NUM, 1, 65536},
		{6, FIELD_NUM, 0, BIG}, {7, FIELD_NUM, 0, BIG}, {8, FIELD_PACKED, 0, WIRE_INVENTORY_MAX}, {9, FIELD_NUM, 0, 15},
		{10, FIELD_ANY}, {11, FIELD_NUM, 0, BIG}, {12, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {13, FIELD_NUM, 0, 65536},
		{14, FIELD_NUM, 0, WIRE_KV_MAX}, {15, FIELD_NUM, 0, WIRE_NODES_MAX}, {230, FIELD_NUM, 0, WIRE_INVENTORY_MAX * 32}}, NULL},
	{MESSAGE(list_models), {{0}}, NULL},
	{MESSAGE(model_list), {{1, FIELD_MESSAGE, 0, WIRE_MODELS_MAX}, {2, FIELD_ANY}}, NULL},
	{MESSAGE(remove_model), {{1, FIELD_NAME}, {2, FIELD_ID}}, NULL},
	{MESSAGE(removed), {{1, FIELD_NUM, 0, BIG}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, BIG}}, NULL},
	/* steps */
	{MESSAGE(step_seq), {
		{1, FIELD_ANY}, {2, FIELD_NUM, 1, WIRE_ROWS_MAX}, {3, FIELD_NUM, 0, WIRE_CONTEXT_MAX},
		{4, FIELD_PACKED, 1, WIRE_ENVELOPE_MAX / 4}, {5, FIELD_ANY}, {240, FIELD_PACKED, 0, WIRE_ENVELOPE_MAX / 4},
		{250, FIELD_ANY}, {251, FIELD_ANY}, {252, FIELD_ANY}, {253, FIELD_PACKED, 0, 2 * WIRE_KEEPS_MAX}, {254, FIELD_ANY}},
		schema_check_step_seq},
	{MESSAGE(step_time), {
		{1, FIELD_NUM, 0, BIG}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, BIG}, {4, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(step), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NAME}, {3, FIELD_NUM, 1, BIG}, {4, FIELD_NUM, 0, WIRE_STAGES_MAX - 1},
		{5, FIELD_MESSAGE, 1, WIRE_SEQS_MAX}, {6, FIELD_NUM, 1, WIRE_ROWS_MAX}, {7, FIELD_MESSAGE, 0, WIRE_TIMES_MAX}},
		schema_check_step},
	{MESSAGE(step_ack), {{1, FIELD_NUM, 1, BIG}, {2, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(step_done), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NAME}, {3, FIELD_NUM, 1, BIG}, {4, FIELD_MESSAGE, 0, WIRE_TIMES_MAX},
		{250, FIELD_PACKED, 0, WIRE_SEQS_MAX}}, NULL},
	{MESSAGE(cancel_step), {{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NAME}, {3, FIELD_NUM, 1, BIG}}, NULL},
	{MESSAGE(step_failed), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NAME}, {3, FIELD_NUM, 1, BIG}, {4, FIELD_LINE, 0, TEXT}, {40, FIELD_ANY}}, NULL},
	/* generations */
	{MESSAGE(sampling), {
		{1, FIELD_REAL, 0, 1e6}, {2, FIELD_ANY}, {3, FIELD_REAL, 0, 1}, {4, FIELD_REAL, 0, 1},
		{5, FIELD_REAL, 0, 1e6}, {6, FIELD_REAL, -1e6, 1e6}, {7, FIELD_REAL, -1e6, 1e6}, {8, FIELD_ANY}, {9, FIELD_ANY}}, NULL},
	{MESSAGE(grammar), {
		{1, FIELD_ENUM, 0, CARAVAN__GRAMMAR__LANGUAGE__CALLS}, {2, FIELD_TEXT, 0, WIRE_GRAMMAR_MAX},
		{3, FIELD_LINE, 0, WIRE_TYPE_MAX}, {4, FIELD_ANY}}, NULL},
	{MESSAGE(submit), {
		{1, FIELD_NAME}, {2, FIELD_NUM, 1, WIRE_PAYLOAD_MAX / 4}, {3, FIELD_ANY}, {4, FIELD_MESSAGE, 0, 1},
		{5, FIELD_ANY}, {6, FIELD_ANY}, {60, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {61, FIELD_MESSAGE, 0, 1},
		{62, FIELD_PACKED, 0, 2.0 * WIRE_BIASES_MAX}, {63, FIELD_ANY}, {64, FIELD_ANY},
		{65, FIELD_NUM, 0, WIRE_TOP_LOGPROBS_MAX}}, schema_check_submit},
	{MESSAGE(queued), {{1, FIELD_NUM, 1, 65536}, {2, FIELD_REAL, 0, SECONDS}}, NULL},
	{MESSAGE(token_logprobs), {
		{1, FIELD_REAL, WIRE_LOGPROB_LEAST, 0}, {2, FIELD_PACKED, 0, 2.0 * WIRE_TOP_LOGPROBS_MAX}},
		schema_check_token_logprobs},
	{MESSAGE(tokens), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {3, FIELD_PACKED, 1, WIRE_ROWS_MAX},
		{4, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {5, FIELD_MESSAGE, 0, WIRE_ROWS_MAX}}, schema_check_tokens},
	{MESSAGE(logits), {
		{1, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {2, FIELD_NUM, 1, WIRE_ROWS_MAX}, {3, FIELD_NUM, 1, WIRE_PAYLOAD_MAX / 4}},
		NULL},
	{MESSAGE(embedding), {{1, FIELD_NUM, 1, WIRE_PAYLOAD_MAX / 4}}, NULL},
	{MESSAGE(finished), {
		{1, FIELD_ENUM, 0, CARAVAN__REASON__ERROR}, {2, FIELD_LINE, 0, TEXT}, {3, FIELD_ANY},
		{4, FIELD_REAL, 0, 1e9}, {5, FIELD_REAL, 0, 1e9}, {6, FIELD_REAL, 0, 1e9}, {7, FIELD_REAL, 0, 1e9},
		{8, FIELD_REAL, 0, 1e9}, {90, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {91, FIELD_NUM, 0, WIRE_CONTEXT_MAX},
		{92, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {93, FIELD_NUM, 0, WIRE_STOPS_MAX}}, NULL},
	{MESSAGE(cancel), {{0}}, NULL},
	{MESSAGE(logits_taken), {{1, FIELD_NUM, 1, WIRE_CONTEXT_MAX}}, NULL},
	/* streams of the HTTP API */
	{MESSAGE(open_stream), {
		{1, FIELD_LINE, 1, WIRE_STREAM_ID_MAX}, {2, FIELD_ANY}, {3, FIELD_NUM, 1, U32},
		{4, FIELD_NUM, 1, WIRE_STREAM_WINDOW_MAX}}, NULL},
	{MESSAGE(stream_bytes), {{1, FIELD_LINE, 1, 64}, {2, FIELD_ANY}}, NULL},
	{MESSAGE(stream_taken), {{1, FIELD_NUM, 1, BIG}}, NULL},
	{MESSAGE(cancel_stream), {{1, FIELD_LINE, 1, WIRE_STREAM_ID_MAX}, {2, FIELD_ANY}}, NULL},
	/* the control socket */
	{MESSAGE(event_part), {{1, FIELD_LINE, 1, WIRE_EVENT_KIND_MAX}, {2, FIELD_REAL, 0, SECONDS}}, NULL},
	{MESSAGE(event), {
		{1, FIELD_NUM, 1, BIG}, {2, FIELD_REAL, 0, UNIX_SECONDS}, {3, FIELD_LINE, 1, WIRE_EVENT_KIND_MAX},
		{4, FIELD_NUM, 0, 2}, {5, FIELD_NAME_OR_EMPTY}, {6, FIELD_NAME_OR_EMPTY}, {7, FIELD_LINE, 1, WIRE_EVENT_TEXT_MAX},
		{8, FIELD_MESSAGE, 0, WIRE_EVENT_PARTS_MAX}, {9, FIELD_REAL, 0, SECONDS}, {10, FIELD_NUM, 0, BIG}}, NULL},
	{MESSAGE(list_events), {{1, FIELD_ANY}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_ANY}}, NULL},
	{MESSAGE(event_list), {{1, FIELD_ANY}, {2, FIELD_MESSAGE, 0, WIRE_EVENTS_MAX}, {3, FIELD_ANY}}, schema_check_event_list},
	{MESSAGE(ctl_invite), {{1, FIELD_NUM, 1, 31 * 86400}}, NULL},
	{MESSAGE(ctl_join), {{1, FIELD_LINE, 1, WIRE_TOKEN_MAX}}, NULL},
	{MESSAGE(ctl_expel), {{1, FIELD_LINE, 1, WIRE_NAME_MAX}}, NULL},
	{MESSAGE(ctl_leave), {{0}}, NULL},
	{MESSAGE(ctl_load), {
		{1, FIELD_LINE, 1, 4096}, {2, FIELD_NAME_OR_EMPTY}, {3, FIELD_NUM, 0, WIRE_CONTEXT_MAX}, {4, FIELD_NUM, 0, 65536},
		{5, FIELD_LINE, 0, WIRE_NODES_MAX}, {6, FIELD_ANY}, {7, FIELD_NUM, 0, WIRE_ROWS_MAX},
		{8, FIELD_NUM, 0, WIRE_NODES_MAX}, {9, FIELD_NUM, 0, 1 + WIRE_KV_MAX}, {10, FIELD_NAME_OR_EMPTY},
		{11, FIELD_ANY}, {90, FIELD_LINE, 0, WIRE_NAME_MAX}, {91, FIELD_ANY}, {92, FIELD_LINE, 0, WIRE_NAME_MAX},
		{93, FIELD_TEXT, 0, WIRE_TEMPLATE_MAX}}, NULL},
	{MESSAGE(ctl_unload), {{1, FIELD_NAME_OR_EMPTY}}, NULL},
	{MESSAGE(ctl_status), {{0}}, NULL},
	{MESSAGE(ctl_run), {
		{1, FIELD_NAME_OR_EMPTY}, {2, FIELD_ANY}, {3, FIELD_MESSAGE, 1, 1}, {4, FIELD_TEXT, 0, WIRE_STOPS_MAX},
		{5, FIELD_ANY}, {220, FIELD_ANY}}, NULL},
	{MESSAGE(ctl_chat), {{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_NAME_OR_EMPTY}}, schema_check_chat},
	{MESSAGE(ctl_cancel), {{0}}, NULL},
	{MESSAGE(ctl_logits), {{1, FIELD_NAME_OR_EMPTY}}, NULL},
	{MESSAGE(ctl_tokenize), {{1, FIELD_NAME_OR_EMPTY}, {2, FIELD_ANY}, {3, FIELD_ANY}, {4, FIELD_LINE, 0, 4096},
		{90, FIELD_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{MESSAGE(ctl_plan), {
		{1, FIELD_LINE, 0, 4096}, {2, FIELD_LINE, 0, WIRE_NAME_MAX}, {3, FIELD_NUM, 0, WIRE_CONTEXT_MAX},
		{4, FIELD_NUM, 0, 65536}, {5, FIELD_LINE, 0, WIRE_NODES_MAX}, {6, FIELD_ANY},
		{7, FIELD_NUM, 0, WIRE_ROWS_MAX}, {8, FIELD_NAME_OR_EMPTY}, {9, FIELD_NUM, 0, 1 + WIRE_KV_MAX}, {10, FIELD_ANY},
		{11, FIELD_ANY}, {90, FIELD_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{MESSAGE(ctl_note), {{1, FIELD_LINE, 1, TEXT}}, NULL},
	{MESSAGE(ctl_models), {{0}}, NULL},
	{MESSAGE(ctl_model), {
		{1, FIELD_NAME}, {2, FIELD_ID}, {3, FIELD_LINE, 0, WIRE_TYPE_MAX}, {4, FIELD_NUM, 0, BIG}, {5, FIELD_LINE, 1, 64},
		{6, FIELD_LINE, 0, TEXT}, {7, FIELD_LINE, 0, WIRE_NAME_MAX}, {8, FIELD_NUM, 0, WIRE_STAGES_MAX},
		{9, FIELD_NUM, 0, WIRE_NODES_MAX}, {10, FIELD_REAL, 0, 1}, {11, FIELD_NUM, 0, BIG},
		{12, FIELD_MESSAGE, 0, WIRE_NODES_MAX}}, NULL},
	{MESSAGE(model_on), {{1, FIELD_LINE, 0, WIRE_NAME_MAX}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_ANY}}, NULL},
	{MESSAGE(ctl_remove), {{1, FIELD_NAME}}, NULL},
	{MESSAGE(ctl_removed), {
		{1, FIELD_LINE, 0, WIRE_NAME_MAX}, {2, FIELD_NUM, 0, BIG}, {3, FIELD_NUM, 0, BIG}, {4, FIELD_NUM, 0, BIG},
		{5, FIELD_LINE, 0, TEXT}}, NULL},
	{MESSAGE(ctl_key_create), {{1, FIELD_LINE, 0, WIRE_NAME_MAX}, {2, FIELD_NUM, 0, U32}}, NULL},
	{MESSAGE(ctl_key_revoke), {{1, FIELD_LINE, 1, WIRE_NAME_MAX}}, NULL},
	{MESSAGE(ctl_keys), {{0}}, NULL},
	{MESSAGE(ctl_key_list), {{1, FIELD_MESSAGE, 0, WIRE_KEYS_MAX}}, NULL},
	{MESSAGE(ctl_measure), {{1, FIELD_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{MESSAGE(ctl_measured), {{1, FIELD_NAME}, {2, FIELD_MESSAGE, 1, 1}}, NULL},
	{MESSAGE(ctl_progress), {
		{1, FIELD_LINE, 0, TEXT}, {2, FIELD_LINE, 0, WIRE_NAME_MAX}, {3, FIELD_ANY}, {4, FIELD_ANY},
		{100, FIELD_ANY}}, NULL},
	{MESSAGE(ctl_events), {
		{1, FIELD_NUM, 0, U32}, {2, FIELD_REAL, 0, UNIX_SECONDS}, {3, FIELD_ANY}, {4, FIELD_NAME_OR_EMPTY},
		{5, FIELD_NAME_OR_EMPTY}, {6, FIELD_ANY}}, NULL},
	{MESSAGE(ctl_event), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_REAL, 0, UNIX_SECONDS}, {3, FIELD_LINE, 1, WIRE_NAME_MAX},
		{4, FIELD_LINE, 1, WIRE_NODES_MAX}}, NULL},
	{MESSAGE(ctl_events_missing), {{1, FIELD_MESSAGE, 0, WIRE_NODES_MAX}}, NULL},
	{MESSAGE(ctl_events_of), {{1, FIELD_LINE, 1, WIRE_NAME_MAX}, {2, FIELD_LINE, 1, TEXT}}, NULL},
	{MESSAGE(ctl_text), {{1, FIELD_ANY}}, NULL},
	{MESSAGE(ctl_tokens), {{0}}, NULL},
	{MESSAGE(ctl_end), {{1, FIELD_MESSAGE, 0, 1}}, NULL},
	{MESSAGE(ctl_error), {{1, FIELD_TEXT, 1, 8 * TEXT}, {2, FIELD_ANY}}, NULL},
	{MESSAGE(report_node), {
		{1, FIELD_NAME_OR_EMPTY}, {2, FIELD_ID}, {3, FIELD_LINE, 1, 64}, {4, FIELD_ENDPOINT}, {5, FIELD_ANY},
		{6, FIELD_REAL, 0, 1e9}, {7, FIELD_REAL, 0, 1e9}, {8, FIELD_MESSAGE, 0, 1}, {30, FIELD_REAL, 0, RATE},
		{50, FIELD_LINE, 0, TEXT}, {51, FIELD_REAL, 0, 1e12}, {52, FIELD_ENDPOINT, 0, WIRE_ENDPOINTS_MAX - 1},
		{60, FIELD_REAL, -UNIX_SECONDS, UNIX_SECONDS}}, NULL},
	{MESSAGE(report_model), {
		{1, FIELD_MESSAGE, 1, 1}, {2, FIELD_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {3, FIELD_LINE, 0, TEXT},
		{4, FIELD_MESSAGE, 0, 1}}, NULL},
	{MESSAGE(problem), {
		{1, FIELD_LINE, 1, 64}, {2, FIELD_NAME}, {3, FIELD_LINE, 1, TEXT}, {4, FIELD_LINE, 0, TEXT}}, NULL},
	{MESSAGE(ctl_report), {
		{1, FIELD_MESSAGE, 0, WIRE_NODES_MAX}, {2, FIELD_MESSAGE, 0, 256}, {3, FIELD_ANY}, {70, FIELD_LINE, 0, 4096}, {80, FIELD_MESSAGE, 0, 256}},
		NULL},
	{MESSAGE(advice_node), {
		{1, FIELD_NAME}, {2, FIELD_NUM, 0, 65536}, {3, FIELD_NUM, 0, 65536}, {4, FIELD_NUM, 0, BIG},
		{5, FIELD_NUM, 0, BIG}, {6, FIELD_NUM, 0, BIG}, {7, FIELD_NUM, 0, BIG}, {8, FIELD_NUM, 0, BIG},
		{9, FIELD_REAL, 0, SECONDS}, {10, FIELD_REAL, 0, SECONDS}, {11, FIELD_ANY}, {12, FIELD_LINE, 0, TEXT},
		{20, FIELD_NUM, 0, BIG}, {21, FIELD_NUM, 0, BIG}, {22, FIELD_REAL, 0, RATE}, {30, FIELD_REAL, 0, SECONDS},
		{70, FIELD_NUM, 0, BIG}, {71, FIELD_ANY}, {72, FIELD_NUM, 0, BIG}},
		schema_check_advice_node},
	{MESSAGE(ctl_advice), {
		{1, FIELD_LINE, 1, WIRE_NAME_MAX}, {2, FIELD_LINE, 0, 16}, {3, FIELD_NUM, 1, 65536},
		{4, FIELD_NUM, 1, WIRE_CONTEXT_MAX}, {5, FIELD_NUM, 1, 65536}, {6, FIELD_NUM, 0, BIG},
		{7, FIELD_MESSAGE, 1, WIRE_NODES_MAX}, {8, FIELD_REAL, 0, SECONDS}, {9, FIELD_REAL, 0, SECONDS},
		{10, FIELD_NUM, 0, BIG}, {11, FIELD_LINE, 0, TEXT}, {12, FIELD_LINE, 0, 16}, {13, FIELD_NUM, 0, 65536},
		{14, FIELD_NUM, 0, WIRE_KV_MAX}, {30, FIELD_REAL, 0, SECONDS}, {31, FIELD_REAL, 0, SECONDS},
		{70, FIELD_NUM, 0, BIG}, {71, FIELD_NUM, 0, BIG}, {72, FIELD_REAL, 0, SECONDS}, {73, FIELD_REAL, 0, SECONDS},
		{80, FIELD_REAL, 0, SECONDS}, {81, FIELD_REAL, 0, SECONDS},
		{82, FIELD_NUM, 0, BIG}, {230, FIELD_LINE, 0, 16}, {231, FIELD_NUM, 0, 65536}}, NULL},
};
/* clang-format on */
const size_t schema_nmessages = sizeof schema_messages / sizeof *schema_messages;

static const struct message_schema *schema_find(const ProtobufCMessageDescriptor *d) {
	for (size_t i = 0; i < schema_nmessages; i++)
		if (schema_messages[i].of == d)
			return &schema_messages[i];
	return NULL;
}

static bool schema_utf8_ok(const char *text, size_t max, bool control) {
	const uint8_t *s = (const uint8_t *)text;
	if (strlen(text) > max)
		return false;
	while (*s) {
		if (*s < 0x80) {
			if (!control && (*s < 0x20 || *s == 0x7f))
				return false;
			s++;
			continue;
		}
		int more = (*s & 0xe0) == 0xc0 ? 1 : (*s & 0xf0) == 0xe0 ? 2 : (*s & 0xf8) == 0xf0 ? 3 : 0;
		if (!more)
			return false;
		static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
		uint32_t c = *s++ & (0x3fu >> more);
		for (int i = 0; i < more; i++, s++) {
			if ((*s & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*s & 0x3fu);
		}
		if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			return false;
		if (!control && c < 0xa0) /* the second row of control characters */
			return false;
	}
	return true;
}

bool wire_line_ok(const char *s, size_t max) {
	return schema_utf8_ok(s, max, false);
}

void wire_line_cut(char *s, size_t max) {
	size_t n = strnlen(s, max), first = n;
	s[n] = 0;
	for (int more = 0; more < 4 && first > 0; more++) {
		uint8_t c = (uint8_t)s[--first];
		if ((c & 0xc0) == 0x80)
			continue;
		if (more < (c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0))
			s[first] = 0;
		break;
	}
}

static bool schema_text_ok(const struct field_schema *r, const char *s, size_t min, size_t max) {
	switch (r->kind) {
	case FIELD_NAME:
		return wire_name_ok(s);
	case FIELD_NAME_OR_EMPTY:
		return !*s || wire_name_ok(s);
	case FIELD_ENDPOINT:
		return !*s || wire_endpoint_ok(s);
	case FIELD_LINE:
		return strlen(s) >= min && schema_utf8_ok(s, max, false);
	case FIELD_TEXT:
		return strlen(s) >= min && schema_utf8_ok(s, max, true);
	default:
		return false;
	}
}

static bool schema_bytes_ok(const struct field_schema *r, ProtobufCBinaryData b) {
	if (r->kind == FIELD_ID)
		return b.len == sizeof(struct node_id);
	return r->kind == FIELD_PACKED && b.len % 4 == 0 && (double)(b.len / 4) >= r->min &&
	       (double)(b.len / 4) <= r->max;
}

static bool schema_number_ok(
        const struct field_schema *r, const ProtobufCFieldDescriptor *f, const void *at) {
	double v;
	bool real = false;
	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		v = *(const uint32_t *)at;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		v = (double)*(const uint64_t *)at;
		break;
	case PROTOBUF_C_TYPE_ENUM:
		v = *(const int *)at;
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		v = *(const float *)at;
		real = true;
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		v = *(const double *)at;
		real = true;
		break;
	default:
		v = 0;
		break;
	}
	if (r->kind == FIELD_ANY)
		return !real; /* a float always has bounds */
	return isfinite(v) && v >= r->min && v <= r->max;
}

static bool schema_field_ok(const struct field_schema *r, const ProtobufCFieldDescriptor *f, const char *m,
        char *err, size_t errlen) {
	const char *at = m + f->offset;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(const size_t *)(m + f->quantifier_offset);
		if ((double)n < r->min || (double)n > r->max)
			return false;
		for (size_t i = 0; i < n; i++) {
			if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
				if (!schema_check((*(ProtobufCMessage *const *const *)at)[i], err, errlen))
					return false;
			} else if (f->type == PROTOBUF_C_TYPE_STRING) {
				if (!schema_text_ok(r, (*(char *const *const *)at)[i], 1, WIRE_TEXT_MAX))
					return false;
			} else if (f->type != PROTOBUF_C_TYPE_BYTES ||
			           !schema_bytes_ok(r, (*(const ProtobufCBinaryData *const *)at)[i])) {
				return false;
			}
		}
		return true;
	}
	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *part = *(const ProtobufCMessage *const *)at;
		return r->kind == FIELD_MESSAGE && (part ? schema_check(part, err, errlen) : r->min == 0);
	}
	case PROTOBUF_C_TYPE_STRING:
		return schema_text_ok(r, *(const char *const *)at, (size_t)r->min, (size_t)r->max);
	case PROTOBUF_C_TYPE_BYTES:
		return schema_bytes_ok(r, *(const ProtobufCBinaryData *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return r->kind == FIELD_ANY;
	default:
		return schema_number_ok(r, f, at);
	}
}

bool schema_check(const ProtobufCMessage *m, char *err, size_t errlen) {
	const struct message_schema *schema = schema_find(m->descriptor);
	err[0] = 0;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		if (!schema || i >= SCHEMA_FIELDS_MAX || schema->fields[i].tag != f->id ||
		        !schema_field_ok(&schema->fields[i], f, (const char *)m, err, errlen)) {
			if (!err[0])
				snprintf(err, errlen, "%s: bad %s", m->descriptor->short_name, f->name);
			return false;
		}
	}
	return !schema || !schema->check || schema->check(m, err, errlen);
}
