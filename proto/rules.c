/* rules: see rules.h.  The table, in the order of the schema, and the walk. */
#include "config.h"

#include "proto/rules.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define U32 4294967295.0
#define BIG 9007199254740992.0 /* 2^53: a count of bytes, rows or nanoseconds beyond it is nonsense */
#define RATE 1e18
#define SECONDS 1e9
#define TEXT WIRE_TEXT_MAX

static bool plan_whole(const void *message, char *err, size_t errlen) {
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

static bool step_whole(const void *message, char *err, size_t errlen) {
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

static bool stepseq_whole(const void *message, char *err, size_t errlen) {
	const Caravan__StepSeq *s = message;
	uint64_t end = (uint64_t)s->position + s->rows;
	if (s->blocks.len / 4 < (end + 63) / 64) {
		snprintf(err, errlen, "StepSeq: %zu blocks do not hold position %llu", s->blocks.len / 4,
		        (unsigned long long)end);
		return false;
	}
	if (s->outputs > s->rows) {
		snprintf(err, errlen, "StepSeq: %u outputs of %u rows", s->outputs, s->rows);
		return false;
	}
	return true;
}

static bool range_whole(uint32_t first, uint32_t last, const char *what, char *err, size_t errlen) {
	if (first < last)
		return true;
	snprintf(err, errlen, "%s: no layers from %u to %u", what, first, last);
	return false;
}

static bool stage_whole(const void *message, char *err, size_t errlen) {
	const Caravan__Stage *s = message;
	return range_whole(s->first, s->last, "Stage", err, errlen);
}

static bool stagestate_whole(const void *message, char *err, size_t errlen) {
	const Caravan__StageState *s = message;
	return range_whole(s->first, s->last, "StageState", err, errlen);
}

static bool advicenode_whole(const void *message, char *err, size_t errlen) {
	const Caravan__AdviceNode *n = message;
	return n->first == n->last || range_whole(n->first, n->last, "AdviceNode", err, errlen);
}

static bool entry_whole(const void *message, char *err, size_t errlen) {
	const Caravan__Entry *e = message;
	if (e->expelled || wire_name_ok(e->name))
		return true;
	snprintf(err, errlen, "Entry: a node without a name");
	return false;
}

/* clang-format off */
#define SHAPE(name) .of = &caravan__##name##__descriptor
#define ROSTER(tag) {tag, RULE_PART, 0, WIRE_NODES_MAX}
const struct shape rules_shapes[] = {
	/* links and the roster */
	{SHAPE(entry), {
		{1, RULE_ID}, {2, RULE_NUM, 1, BIG}, {3, RULE_NAME0}, {4, RULE_ENDPOINT}, {5, RULE_ANY},
		{50, RULE_ENDPOINT, 0, WIRE_ENDPOINTS_MAX - 1}, {51, RULE_NUM, 0, BIG}},
		entry_whole},
	{SHAPE(hello), {
		{1, RULE_ANY}, {2, RULE_ANY}, {3, RULE_ANY}, ROSTER(4), {5, RULE_ANY}}, NULL},
	{SHAPE(welcome), {{1, RULE_ANY}, {2, RULE_ANY}, {3, RULE_ANY}, ROSTER(4)}, NULL},
	{SHAPE(join), {{1, RULE_PART, 1, 1}, {50, RULE_ENDPOINT}, {51, RULE_PACKED, 0, 8}}, NULL},
	{SHAPE(joined), {ROSTER(1)}, NULL},
	{SHAPE(roster_update), {ROSTER(1)}, NULL},
	{SHAPE(refused), {{1, RULE_LINE, 0, TEXT}, {2, RULE_NUM, 0, U32}}, NULL},
	{SHAPE(type_rate), {
		{1, RULE_ANY}, {2, RULE_REAL, 0, RATE}, {3, RULE_REAL, 0, RATE}, {80, RULE_REAL, 0, RATE},
		{81, RULE_REAL, 0, RATE}, {82, RULE_REAL, 0, RATE}, {83, RULE_REAL, 0, RATE}}, NULL},
	{SHAPE(stage_state), {
		{1, RULE_ID}, {2, RULE_NAME}, {3, RULE_ANY}, {4, RULE_NUM, 1, 65536}, {5, RULE_NUM, 0, BIG},
		{6, RULE_NUM, 0, BIG}, {7, RULE_ANY}, {8, RULE_REAL, 0, RATE}, {9, RULE_REAL, 0, RATE}, {10, RULE_ANY},
		{20, RULE_NUM, 0, BIG}, {21, RULE_NUM, 0, BIG}, {22, RULE_ANY}, {23, RULE_REAL, 0, RATE},
		{24, RULE_REAL, 0, RATE}, {30, RULE_NUM, 0, BIG}, {31, RULE_REAL, 0, RATE}, {32, RULE_NUM, 0, BIG},
		{33, RULE_REAL, 0, RATE}, {80, RULE_REAL, 0, SECONDS}, {81, RULE_REAL, 0, SECONDS}},
		stagestate_whole},
	{SHAPE(model_state), {
		{1, RULE_NAME}, {2, RULE_REAL, 0, RATE}, {3, RULE_ANY}, {4, RULE_ANY}, {5, RULE_ANY},
		{7, RULE_ANY}, {8, RULE_ANY}, {9, RULE_ANY}, {10, RULE_ANY}, {11, RULE_NUM, 0, WIRE_NODES_MAX},
		{12, RULE_NUM, 0, BIG}, {13, RULE_NUM, 0, BIG}, {14, RULE_LINE, 0, WIRE_RISK_MAX},
		{15, RULE_PART, 0, WIRE_TIMES_MAX}, {16, RULE_ANY}, {17, RULE_ANY}, {18, RULE_ANY}, {19, RULE_ANY},
		{20, RULE_NUM, 0, BIG}, {21, RULE_NUM, 0, BIG}, {30, RULE_REAL, 0, RATE},
		{100, RULE_REAL, 0, SECONDS}}, NULL},
	{SHAPE(stage_time), {
		{1, RULE_REAL, 0, SECONDS}, {2, RULE_REAL, 0, SECONDS}, {3, RULE_REAL, 0, SECONDS},
		{4, RULE_REAL, 0, SECONDS}}, NULL},
	{SHAPE(peer_state), {{1, RULE_ID}, {2, RULE_REAL, 0, 1e9}, {3, RULE_ANY}, {30, RULE_REAL, 0, RATE},
		{80, RULE_REAL, 0, RATE}}, NULL},
	{SHAPE(node_state), {
		{1, RULE_NUM, 0, BIG}, {2, RULE_NUM, 0, BIG}, {3, RULE_NUM, 0, 65536}, {4, RULE_LINE, 0, 64},
		{5, RULE_REAL, 0, RATE}, {6, RULE_PART, 0, 64}, {7, RULE_PART, 0, WIRE_STAGES_MAX},
		{8, RULE_PART, 0, 256}, {9, RULE_PART, 0, WIRE_NODES_MAX}, {10, RULE_LINE, 0, 64},
		{11, RULE_NUM, 0, BIG}, {12, RULE_NUM, 0, BIG}, {20, RULE_REAL, 0, RATE}, {21, RULE_NUM, 0, U32},
		{70, RULE_NUM, 0, BIG}, {71, RULE_NUM, 0, BIG}, {72, RULE_NUM, 0, BIG}, {73, RULE_NUM, 0, BIG}, {80, RULE_ANY},
		{81, RULE_ANY}, {82, RULE_REAL, 0, RATE}, {83, RULE_REAL, 0, RATE}, {84, RULE_REAL, 0, 1}}, NULL},
	{SHAPE(ping), {{1, RULE_ANY}, {2, RULE_PART, 0, 1}}, NULL},
	{SHAPE(pong), {
		{1, RULE_ANY}, {50, RULE_ENUM, 0, CARAVAN__REACH__REACH_NONE}, {51, RULE_LINE, 0, TEXT},
		{52, RULE_LINE, 0, TEXT}}, NULL},
	/* content */
	{SHAPE(fetch), {
		{1, RULE_ID}, {2, RULE_ANY}, {3, RULE_ANY}, {4, RULE_NUM, 0, BIG},
		{5, RULE_NUM, 1, WIRE_BLOCK_MAX}, {6, RULE_ANY}, {7, RULE_ANY}}, NULL},
	{SHAPE(block), {{1, RULE_NUM, 0, BIG}}, NULL},
	{SHAPE(redirect), {{1, RULE_ID}}, NULL},
	{SHAPE(probe), {{1, RULE_NUM, 0, WIRE_PAYLOAD_MAX}}, NULL},
	{SHAPE(probed), {{0}}, NULL},
	{SHAPE(measure), {{0}}, NULL},
	{SHAPE(measured), {{1, RULE_PART, 1, 1}}, NULL},
	/* plans */
	{SHAPE(stage), {
		{1, RULE_ID}, {2, RULE_ANY}, {3, RULE_NUM, 1, 65536}, {4, RULE_REAL, 0, SECONDS},
		{20, RULE_NUM, 0, BIG}, {21, RULE_NUM, 0, BIG}, {30, RULE_REAL, 0, SECONDS}}, stage_whole},
	{SHAPE(epoch), {{1, RULE_NUM, 0, BIG}, {2, RULE_ID}}, NULL},
	{SHAPE(plan), {
		{1, RULE_NAME}, {2, RULE_ID}, {3, RULE_PART, 1, 1}, {4, RULE_ID},
		{5, RULE_PART, 1, WIRE_STAGES_MAX}, {6, RULE_NUM, 1, WIRE_CONTEXT_MAX}, {7, RULE_NUM, 1, 65536},
		{8, RULE_NUM, 1, U32}, {9, RULE_NUM, 1, WIRE_ROWS_MAX}, {10, RULE_ID}, {11, RULE_ANY},
		{12, RULE_REAL, 0, SECONDS}, {13, RULE_REAL, 0, SECONDS}, {14, RULE_NUM, 0, WIRE_NODES_MAX},
		{15, RULE_NUM, 0, WIRE_KV_MAX}, {16, RULE_NAME0}, {30, RULE_REAL, 0, SECONDS},
		{40, RULE_ID, 0, WIRE_NODES_MAX}, {80, RULE_REAL, 0, SECONDS}, {81, RULE_REAL, 0, SECONDS}}, plan_whole},
	{SHAPE(prepare), {{1, RULE_PART, 1, 1}, {2, RULE_ID, 0, WIRE_NODES_MAX}}, NULL},
	{SHAPE(progress), {{1, RULE_LINE, 0, TEXT}, {2, RULE_ANY}, {3, RULE_ANY}}, NULL},
	{SHAPE(ready), {{1, RULE_NUM, 0, BIG}, {2, RULE_NUM, 0, BIG}}, NULL},
	{SHAPE(plan_announce), {
		{1, RULE_PART, 1, 1}, {2, RULE_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {3, RULE_LINE, 0, TEXT}},
		NULL},
	{SHAPE(ack), {{0}}, NULL},
	{SHAPE(plan_belief), {
		{1, RULE_NAME}, {2, RULE_NUM, 0, BIG}, {3, RULE_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {4, RULE_ANY},
		{5, RULE_LINE, 0, 32}, {6, RULE_NUM, 0, 1000}}, NULL},
	{SHAPE(plan_check), {{1, RULE_PART, 0, WIRE_BELIEFS_MAX}}, NULL},
	{SHAPE(plan_checked), {{1, RULE_PART, 0, WIRE_BELIEFS_MAX}}, NULL},
	{SHAPE(unload), {{1, RULE_NAME}}, NULL},
	{SHAPE(inventory), {{1, RULE_ID}}, NULL},
	{SHAPE(inventory_reply), {
		{1, RULE_PACKED, 0, WIRE_INVENTORY_MAX}, {2, RULE_NUM, 0, BIG}, {3, RULE_NUM, 0, 15}, {4, RULE_ANY},
		{70, RULE_NUM, 0, BIG}, {71, RULE_NUM, 0, BIG}, {72, RULE_PACKED, 0, WIRE_INVENTORY_MAX}, {73, RULE_NUM, 0, 15}},
		NULL},
	{SHAPE(replicate), {
		{1, RULE_ID}, {2, RULE_PACKED, 0, WIRE_INVENTORY_MAX}, {3, RULE_NUM, 0, 7}, {4, RULE_ID, 0, WIRE_NODES_MAX}},
		NULL},
	/* models on disks */
	{SHAPE(stored_model), {
		{1, RULE_NAME}, {2, RULE_ID}, {3, RULE_ID}, {4, RULE_LINE, 0, WIRE_TYPE_MAX}, {5, RULE_NUM, 1, 65536},
		{6, RULE_NUM, 0, BIG}, {7, RULE_NUM, 0, BIG}, {8, RULE_PACKED, 0, WIRE_INVENTORY_MAX}, {9, RULE_NUM, 0, 15},
		{10, RULE_ANY}, {11, RULE_NUM, 0, BIG}, {12, RULE_NUM, 0, WIRE_CONTEXT_MAX}, {13, RULE_NUM, 0, 65536},
		{14, RULE_NUM, 0, WIRE_KV_MAX}, {15, RULE_NUM, 0, WIRE_NODES_MAX}}, NULL},
	{SHAPE(list_models), {{0}}, NULL},
	{SHAPE(model_list), {{1, RULE_PART, 0, WIRE_MODELS_MAX}, {2, RULE_ANY}}, NULL},
	{SHAPE(remove_model), {{1, RULE_NAME}, {2, RULE_ID}}, NULL},
	{SHAPE(removed), {{1, RULE_NUM, 0, BIG}, {2, RULE_NUM, 0, BIG}, {3, RULE_NUM, 0, BIG}}, NULL},
	/* steps */
	{SHAPE(step_seq), {
		{1, RULE_ANY}, {2, RULE_NUM, 1, WIRE_ROWS_MAX}, {3, RULE_NUM, 0, WIRE_CONTEXT_MAX},
		{4, RULE_PACKED, 1, WIRE_ENVELOPE_MAX / 4}, {5, RULE_ANY}}, stepseq_whole},
	{SHAPE(step_time), {
		{1, RULE_NUM, 0, BIG}, {2, RULE_NUM, 0, BIG}, {3, RULE_NUM, 0, BIG}, {4, RULE_NUM, 0, BIG}}, NULL},
	{SHAPE(step), {
		{1, RULE_PART, 1, 1}, {2, RULE_NAME}, {3, RULE_NUM, 1, BIG}, {4, RULE_NUM, 0, WIRE_STAGES_MAX - 1},
		{5, RULE_PART, 1, WIRE_SEQS_MAX}, {6, RULE_NUM, 1, WIRE_ROWS_MAX}, {7, RULE_PART, 0, WIRE_TIMES_MAX}},
		step_whole},
	{SHAPE(step_ack), {{1, RULE_NUM, 1, BIG}, {2, RULE_NUM, 0, BIG}}, NULL},
	{SHAPE(step_done), {
		{1, RULE_PART, 1, 1}, {2, RULE_NAME}, {3, RULE_NUM, 1, BIG}, {4, RULE_PART, 0, WIRE_TIMES_MAX}}, NULL},
	{SHAPE(cancel_step), {{1, RULE_PART, 1, 1}, {2, RULE_NAME}, {3, RULE_NUM, 1, BIG}}, NULL},
	{SHAPE(step_failed), {
		{1, RULE_PART, 1, 1}, {2, RULE_NAME}, {3, RULE_NUM, 1, BIG}, {4, RULE_LINE, 0, TEXT}, {40, RULE_ANY}}, NULL},
	/* generations */
	{SHAPE(sampling), {
		{1, RULE_REAL, 0, 1e6}, {2, RULE_ANY}, {3, RULE_REAL, 0, 1}, {4, RULE_REAL, 0, 1},
		{5, RULE_REAL, 0, 1e6}, {6, RULE_REAL, -1e6, 1e6}, {7, RULE_REAL, -1e6, 1e6}, {8, RULE_ANY}, {9, RULE_ANY}}, NULL},
	{SHAPE(submit), {
		{1, RULE_NAME}, {2, RULE_NUM, 1, WIRE_PAYLOAD_MAX / 4}, {3, RULE_ANY}, {4, RULE_PART, 0, 1},
		{5, RULE_ANY}, {6, RULE_ANY}, {60, RULE_NUM, 0, WIRE_CONTEXT_MAX}}, NULL},
	{SHAPE(queued), {{1, RULE_NUM, 1, 65536}, {2, RULE_REAL, 0, SECONDS}}, NULL},
	{SHAPE(tokens), {
		{1, RULE_PART, 1, 1}, {2, RULE_NUM, 0, WIRE_CONTEXT_MAX}, {3, RULE_PACKED, 1, WIRE_ROWS_MAX},
		{4, RULE_NUM, 0, WIRE_CONTEXT_MAX}}, NULL},
	{SHAPE(logits), {
		{1, RULE_NUM, 0, WIRE_CONTEXT_MAX}, {2, RULE_NUM, 1, WIRE_ROWS_MAX}, {3, RULE_NUM, 1, WIRE_PAYLOAD_MAX / 4}},
		NULL},
	{SHAPE(finished), {
		{1, RULE_ENUM, 0, CARAVAN__REASON__ERROR}, {2, RULE_LINE, 0, TEXT}, {3, RULE_ANY},
		{4, RULE_REAL, 0, 1e9}, {5, RULE_REAL, 0, 1e9}, {6, RULE_REAL, 0, 1e9}, {7, RULE_REAL, 0, 1e9},
		{8, RULE_REAL, 0, 1e9}, {90, RULE_NUM, 0, WIRE_CONTEXT_MAX}, {91, RULE_NUM, 0, WIRE_CONTEXT_MAX},
		{92, RULE_NUM, 0, WIRE_CONTEXT_MAX}}, NULL},
	{SHAPE(cancel), {{0}}, NULL},
	{SHAPE(logits_taken), {{1, RULE_NUM, 1, WIRE_CONTEXT_MAX}}, NULL},
	/* the control socket */
	{SHAPE(ctl_invite), {{1, RULE_NUM, 1, 31 * 86400}}, NULL},
	{SHAPE(ctl_join), {{1, RULE_LINE, 1, WIRE_TOKEN_MAX}}, NULL},
	{SHAPE(ctl_expel), {{1, RULE_LINE, 1, WIRE_NAME_MAX}}, NULL},
	{SHAPE(ctl_leave), {{0}}, NULL},
	{SHAPE(ctl_load), {
		{1, RULE_LINE, 1, 4096}, {2, RULE_NAME0}, {3, RULE_NUM, 0, WIRE_CONTEXT_MAX}, {4, RULE_NUM, 0, 65536},
		{5, RULE_LINE, 0, WIRE_NODES_MAX}, {6, RULE_ANY}, {7, RULE_NUM, 0, WIRE_ROWS_MAX},
		{8, RULE_NUM, 0, WIRE_NODES_MAX}, {9, RULE_NUM, 0, 1 + WIRE_KV_MAX}, {10, RULE_NAME0},
		{11, RULE_ANY}, {90, RULE_LINE, 0, WIRE_NAME_MAX}, {91, RULE_ANY}}, NULL},
	{SHAPE(ctl_unload), {{1, RULE_NAME0}}, NULL},
	{SHAPE(ctl_status), {{0}}, NULL},
	{SHAPE(ctl_run), {
		{1, RULE_NAME0}, {2, RULE_ANY}, {3, RULE_PART, 1, 1}, {4, RULE_PROSE, 0, WIRE_STOPS_MAX},
		{5, RULE_ANY}}, NULL},
	{SHAPE(ctl_logits), {{1, RULE_NAME0}}, NULL},
	{SHAPE(ctl_tokenize), {{1, RULE_NAME0}, {2, RULE_ANY}, {3, RULE_ANY}, {4, RULE_LINE, 0, 4096},
		{90, RULE_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{SHAPE(ctl_plan), {
		{1, RULE_LINE, 0, 4096}, {2, RULE_LINE, 0, WIRE_NAME_MAX}, {3, RULE_NUM, 0, WIRE_CONTEXT_MAX},
		{4, RULE_NUM, 0, 65536}, {5, RULE_LINE, 0, WIRE_NODES_MAX}, {6, RULE_ANY},
		{7, RULE_NUM, 0, WIRE_ROWS_MAX}, {8, RULE_NAME0}, {9, RULE_NUM, 0, 1 + WIRE_KV_MAX}, {10, RULE_ANY},
		{11, RULE_ANY}, {90, RULE_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{SHAPE(ctl_note), {{1, RULE_LINE, 1, TEXT}}, NULL},
	{SHAPE(ctl_models), {{0}}, NULL},
	{SHAPE(ctl_model), {
		{1, RULE_NAME}, {2, RULE_ID}, {3, RULE_LINE, 0, WIRE_TYPE_MAX}, {4, RULE_NUM, 0, BIG}, {5, RULE_LINE, 1, 64},
		{6, RULE_LINE, 0, TEXT}, {7, RULE_LINE, 0, WIRE_NAME_MAX}, {8, RULE_NUM, 0, WIRE_STAGES_MAX},
		{9, RULE_NUM, 0, WIRE_NODES_MAX}, {10, RULE_REAL, 0, 1}, {11, RULE_NUM, 0, BIG},
		{12, RULE_PART, 0, WIRE_NODES_MAX}}, NULL},
	{SHAPE(model_on), {{1, RULE_LINE, 0, WIRE_NAME_MAX}, {2, RULE_NUM, 0, BIG}, {3, RULE_ANY}}, NULL},
	{SHAPE(ctl_remove), {{1, RULE_NAME}}, NULL},
	{SHAPE(ctl_removed), {
		{1, RULE_LINE, 0, WIRE_NAME_MAX}, {2, RULE_NUM, 0, BIG}, {3, RULE_NUM, 0, BIG}, {4, RULE_NUM, 0, BIG},
		{5, RULE_LINE, 0, TEXT}}, NULL},
	{SHAPE(ctl_measure), {{1, RULE_LINE, 0, WIRE_NAME_MAX}}, NULL},
	{SHAPE(ctl_measured), {{1, RULE_NAME}, {2, RULE_PART, 1, 1}}, NULL},
	{SHAPE(ctl_progress), {
		{1, RULE_LINE, 0, TEXT}, {2, RULE_LINE, 0, WIRE_NAME_MAX}, {3, RULE_ANY}, {4, RULE_ANY},
		{100, RULE_ANY}}, NULL},
	{SHAPE(ctl_text), {{0}}, NULL},
	{SHAPE(ctl_tokens), {{0}}, NULL},
	{SHAPE(ctl_end), {{1, RULE_PART, 0, 1}}, NULL},
	{SHAPE(ctl_error), {{1, RULE_PROSE, 1, 8 * TEXT}}, NULL},
	{SHAPE(report_node), {
		{1, RULE_NAME0}, {2, RULE_ID}, {3, RULE_LINE, 1, 64}, {4, RULE_ENDPOINT}, {5, RULE_ANY},
		{6, RULE_REAL, 0, 1e9}, {7, RULE_REAL, 0, 1e9}, {8, RULE_PART, 0, 1}, {30, RULE_REAL, 0, RATE},
		{50, RULE_LINE, 0, TEXT}, {51, RULE_REAL, 0, 1e12}, {52, RULE_ENDPOINT, 0, WIRE_ENDPOINTS_MAX - 1}}, NULL},
	{SHAPE(report_model), {
		{1, RULE_PART, 1, 1}, {2, RULE_ENUM, 0, CARAVAN__MODEL_PHASE__UNLOADED}, {3, RULE_LINE, 0, TEXT},
		{4, RULE_PART, 0, 1}}, NULL},
	{SHAPE(problem), {
		{1, RULE_LINE, 1, 64}, {2, RULE_NAME}, {3, RULE_LINE, 1, TEXT}, {4, RULE_LINE, 0, TEXT}}, NULL},
	{SHAPE(ctl_report), {
		{1, RULE_PART, 0, WIRE_NODES_MAX}, {2, RULE_PART, 0, 256}, {3, RULE_ANY}, {70, RULE_LINE, 0, 4096}, {80, RULE_PART, 0, 256}},
		NULL},
	{SHAPE(advice_node), {
		{1, RULE_NAME}, {2, RULE_NUM, 0, 65536}, {3, RULE_NUM, 0, 65536}, {4, RULE_NUM, 0, BIG},
		{5, RULE_NUM, 0, BIG}, {6, RULE_NUM, 0, BIG}, {7, RULE_NUM, 0, BIG}, {8, RULE_NUM, 0, BIG},
		{9, RULE_REAL, 0, SECONDS}, {10, RULE_REAL, 0, SECONDS}, {11, RULE_ANY}, {12, RULE_LINE, 0, TEXT},
		{20, RULE_NUM, 0, BIG}, {21, RULE_NUM, 0, BIG}, {22, RULE_REAL, 0, RATE}, {30, RULE_REAL, 0, SECONDS},
		{70, RULE_NUM, 0, BIG}, {71, RULE_ANY}, {72, RULE_NUM, 0, BIG}},
		advicenode_whole},
	{SHAPE(ctl_advice), {
		{1, RULE_LINE, 1, WIRE_NAME_MAX}, {2, RULE_LINE, 0, 16}, {3, RULE_NUM, 1, 65536},
		{4, RULE_NUM, 1, WIRE_CONTEXT_MAX}, {5, RULE_NUM, 1, 65536}, {6, RULE_NUM, 0, BIG},
		{7, RULE_PART, 1, WIRE_NODES_MAX}, {8, RULE_REAL, 0, SECONDS}, {9, RULE_REAL, 0, SECONDS},
		{10, RULE_NUM, 0, BIG}, {11, RULE_LINE, 0, TEXT}, {12, RULE_LINE, 0, 16}, {13, RULE_NUM, 0, 65536},
		{14, RULE_NUM, 0, WIRE_KV_MAX}, {30, RULE_REAL, 0, SECONDS}, {31, RULE_REAL, 0, SECONDS},
		{70, RULE_NUM, 0, BIG}, {71, RULE_NUM, 0, BIG}, {72, RULE_REAL, 0, SECONDS}, {73, RULE_REAL, 0, SECONDS},
		{80, RULE_REAL, 0, SECONDS}, {81, RULE_REAL, 0, SECONDS}}, NULL},
};
/* clang-format on */
const size_t rules_nshapes = sizeof rules_shapes / sizeof *rules_shapes;

static const struct shape *shape_find(const ProtobufCMessageDescriptor *d) {
	for (size_t i = 0; i < rules_nshapes; i++)
		if (rules_shapes[i].of == d)
			return &rules_shapes[i];
	return NULL;
}

static bool utf8_ok(const char *text, size_t max, bool control) {
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
	return utf8_ok(s, max, false);
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

static bool text_ok(const struct rule *r, const char *s, size_t min, size_t max) {
	switch (r->kind) {
	case RULE_NAME:
		return wire_name_ok(s);
	case RULE_NAME0:
		return !*s || wire_name_ok(s);
	case RULE_ENDPOINT:
		return !*s || wire_endpoint_ok(s);
	case RULE_LINE:
		return strlen(s) >= min && utf8_ok(s, max, false);
	case RULE_PROSE:
		return strlen(s) >= min && utf8_ok(s, max, true);
	default:
		return false;
	}
}

static bool bytes_ok(const struct rule *r, ProtobufCBinaryData b) {
	if (r->kind == RULE_ID)
		return b.len == sizeof(struct node_id);
	return r->kind == RULE_PACKED && b.len % 4 == 0 && (double)(b.len / 4) >= r->min &&
	       (double)(b.len / 4) <= r->max;
}

static bool number_ok(const struct rule *r, const ProtobufCFieldDescriptor *f, const void *at) {
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
	if (r->kind == RULE_ANY)
		return !real; /* a float always has a rule */
	return isfinite(v) && v >= r->min && v <= r->max;
}

static bool field_ok(
        const struct rule *r, const ProtobufCFieldDescriptor *f, const char *m, char *err, size_t errlen) {
	const char *at = m + f->offset;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(const size_t *)(m + f->quantifier_offset);
		if ((double)n < r->min || (double)n > r->max)
			return false;
		for (size_t i = 0; i < n; i++) {
			if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
				if (!rules_check((*(ProtobufCMessage *const *const *)at)[i], err, errlen))
					return false;
			} else if (f->type == PROTOBUF_C_TYPE_STRING) {
				if (!text_ok(r, (*(char *const *const *)at)[i], 1, WIRE_TEXT_MAX))
					return false;
			} else if (f->type != PROTOBUF_C_TYPE_BYTES ||
			           !bytes_ok(r, (*(const ProtobufCBinaryData *const *)at)[i])) {
				return false;
			}
		}
		return true;
	}
	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *part = *(const ProtobufCMessage *const *)at;
		return r->kind == RULE_PART && (part ? rules_check(part, err, errlen) : r->min == 0);
	}
	case PROTOBUF_C_TYPE_STRING:
		return text_ok(r, *(const char *const *)at, (size_t)r->min, (size_t)r->max);
	case PROTOBUF_C_TYPE_BYTES:
		return bytes_ok(r, *(const ProtobufCBinaryData *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return r->kind == RULE_ANY;
	default:
		return number_ok(r, f, at);
	}
}

bool rules_check(const ProtobufCMessage *m, char *err, size_t errlen) {
	const struct shape *shape = shape_find(m->descriptor);
	err[0] = 0;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		if (!shape || i >= RULES_FIELDS_MAX || shape->rules[i].tag != f->id ||
		        !field_ok(&shape->rules[i], f, (const char *)m, err, errlen)) {
			if (!err[0])
				snprintf(err, errlen, "%s: bad %s", m->descriptor->short_name, f->name);
			return false;
		}
	}
	return !shape || !shape->whole || shape->whole(m, err, errlen);
}
