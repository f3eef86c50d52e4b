/* advice: see advice.h. */
#include "cli/advice.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "cli/text.h"
#include "common/size.h"
#include "daemon/plan/advice.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool advice_has_layers(const Caravan__AdviceNode *n) {
	return n->first < n->last;
}

static uint64_t advice_memory_needed(const Caravan__AdviceNode *n) {
	return n->resident + n->kv + n->fixed;
}

uint64_t advice_needs(const Caravan__CtlAdvice *a) {
	uint64_t sum = 0;
	for (size_t i = 0; i < a->n_nodes; i++)
		if (advice_has_layers(a->nodes[i]) || a->nodes[i]->coordinator)
			sum += advice_memory_needed(a->nodes[i]);
	return sum;
}

static double advice_sends(const Caravan__CtlAdvice *a) {
	double sum = 0;
	for (size_t i = 0; i < a->n_nodes; i++)
		sum += a->nodes[i]->send;
	return sum;
}

/* The bottleneck with many streams; *link: its link is the bottleneck, not its computing. */
static const Caravan__AdviceNode *advice_bottleneck(const Caravan__CtlAdvice *a, bool *link) {
	const Caravan__AdviceNode *worst = NULL;
	double most = 0;
	*link = false;
	for (size_t i = 0; i < a->n_nodes; i++) {
		const Caravan__AdviceNode *n = a->nodes[i];
		double longer = fmax(n->compute, n->send);
		if (longer <= most)
			continue;
		most = longer;
		worst = n;
		*link = n->send > n->compute;
	}
	return worst;
}

static int advice_disk_text(const Caravan__CtlAdvice *a, int rc) {
	if (rc == 0)
		rc = text_flush();
	if (rc == 0 && (a->missing || a->missing_disk))
		rc = fail("%s does not fit: %s", a->model, a->reason);
	return rc;
}

/* ---- for people ---- */

static void advice_print_node(struct table *t, const Caravan__CtlAdvice *a, const Caravan__AdviceNode *n) {
	table_cell(t, "%s", n->name);
	if (advice_has_layers(n)) {
		table_cell(t, "%s", size_layers(n->first, n->last).s);
		table_cell(t, "%s", size_text((double)n->weights).s);
		table_cell(t, "%s", size_text((double)n->kv).s);
	} else {
		table_cell(t, "none");
		table_cell(t, "-");
		table_cell(t, "-");
	}
	table_cell(t, "%s", size_of((double)advice_memory_needed(n), (double)n->memory).s);
	if (a->seconds > 0 && (n->compute > 0 || n->send > 0)) {
		table_cell(t, "%s", size_duration(n->compute).s);
		table_cell(t, "%s", size_duration(n->send).s);
	} else {
		table_cell(t, "-");
		table_cell(t, "-");
	}
}

static void advice_print_nodes(const Caravan__CtlAdvice *a) {
	static const char *const heads[] = {
	        "node", "layers", "weights", "KV cache", "memory", "compute", "send"};
	struct table t;
	table_begin(&t, 7, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < a->n_nodes; i++)
		if (advice_has_layers(a->nodes[i]) || a->nodes[i]->coordinator)
			advice_print_node(&t, a, a->nodes[i]);
	table_print(&t, stdout, table_width_most());
}

struct advice_speed advice_speed(double seconds, double low, double high) {
	struct advice_speed out;
	int n = snprintf(out.s, sizeof out.s, "%s tokens/s", size_rate(1 / seconds).s);
	if (low > 0 && high > low)
		snprintf(out.s + n, sizeof out.s - (size_t)n, " (%s to %s)", size_rate(1 / high).s,
		        size_rate(1 / low).s);
	return out;
}

void advice_print_chosen(const Caravan__CtlAdvice *a) {
	size_t stages = 0;
	for (size_t i = 0; i < a->n_nodes; i++)
		stages += advice_has_layers(a->nodes[i]);
	fprintf(stderr, "Plan for %s: %u layers on %zu node%s", a->model, a->layers, stages,
	        stages == 1 ? "" : "s");
	if (a->seconds > 0)
		fprintf(stderr, ", predicted %s",
		        advice_speed(a->seconds, a->seconds_low, a->seconds_high).s);
	fprintf(stderr, "\n");
	struct table t;
	table_begin(&t, 5, 2);
	for (size_t i = 0; i < a->n_nodes; i++) {
		const Caravan__AdviceNode *n = a->nodes[i];
		if (!advice_has_layers(n) && !n->coordinator)
			continue;
		table_cell(&t, "%s", n->name);
		if (advice_has_layers(n))
			table_cell(&t, "%s", size_layers_named(n->first, n->last).s);
		else
			table_cell(&t, "no layers");
		table_cell(&t, "%s", size_text((double)advice_memory_needed(n)).s);
		if (advice_has_layers(n) && n->compute > 0)
			table_cell(&t, "%s a token", size_duration(n->compute).s);
		else
			table_cell(&t, "-");
		if (n->moves)
			table_cell(&t, "%s new on its disk", size_text((double)n->moves).s);
		else
			table_cell(&t, "%s", "");
	}
	table_print(&t, stderr, table_width());
	for (size_t i = 0; i < a->n_nodes; i++)
		if (!advice_has_layers(a->nodes[i]) && *a->nodes[i]->why)
			fprintf(stderr, "  %s has no layers: %s\n", a->nodes[i]->name, a->nodes[i]->why);
}

static void advice_print_speed(const Caravan__CtlAdvice *a, bool described) {
	bool link;
	const Caravan__AdviceNode *worst = advice_bottleneck(a, &link);
	if (!(a->seconds > 0) || !worst) {
		printf("\nNot every node has been measured, so no times are predicted.\n");
		return;
	}
	printf("\n");
	table_say(0, "One stream: %s: %s a token, of which sending is %s (%.1f%%).",
	        advice_speed(a->seconds, a->seconds_low, a->seconds_high).s, size_duration(a->seconds).s,
	        size_duration(advice_sends(a)).s, 100 * advice_sends(a) / a->seconds);
	if (a->bound > 0)
		table_say(
		        0, "Not every split was tried; none takes less than %s.", size_duration(a->bound).s);
	if (a->prompt > 0)
		table_say(0,
		        "A prompt: %s tokens/s as one step; faster in several steps through several nodes.",
		        size_rate(1 / a->prompt).s);
	if (a->parallel > 1)
		table_say(0, "Under load: %s tokens/s with %u streams, or more where streams share steps.",
		        size_rate(advice_rate(a->seconds, a->slowest, a->parallel)).s, a->parallel);
	table_say(0, "Bottleneck: %s %s, %s a token.", link ? "the link to" : "computing on", worst->name,
	        size_duration(fmax(worst->compute, worst->send)).s);
	table_say(0, "Attention over a long context adds to this.");
	if (described)
		table_say(0,
		        "These follow from the rates in the description; where only a bandwidth is given, "
		        "they are upper bounds.");
}

/* Which nodes read from disk in every step, how much, and at what cost. */
static void advice_print_reading(const Caravan__CtlAdvice *a, bool described) {
	bool any = false;
	for (size_t i = 0; i < a->n_nodes; i++) {
		const Caravan__AdviceNode *n = a->nodes[i];
		if (!n->streamed)
			continue;
		if (!any)
			printf("\n");
		if (a->token_bytes)
			table_say(0,
			        "%s has too little memory for all experts of its layers: those that a token chooses and that are not in memory are read from disk.",
			        n->name);
		table_say(0, "%s reads %s %s: %s at the %s/s %s.", n->name, size_text((double)n->streamed).s,
		        a->token_bytes
		                ? "of experts from disk for a token if all are chosen equally often, less if some are chosen more often"
		                : "of its weights from disk in every step",
		        size_duration((double)n->streamed / n->disk).s, size_text(n->disk).s,
		        described ? "described" : "measured");
		any = true;
	}
	if (any && *a->smaller)
		table_say(0, "With weights of type %s all of them would stay in memory.", a->smaller);
}

/* The draft model and the memory it leaves: the larger model is planned in the rest. */
static void advice_print_draft(const Caravan__CtlAdvice *draft) {
	const char *where = "the coordinator";
	for (size_t i = 0; i < draft->n_nodes; i++)
		if (draft->nodes[i]->coordinator)
			where = draft->nodes[i]->name;
	char time[40] = "";
	if (draft->seconds > 0)
		snprintf(time, sizeof time, ", %s a token", size_duration(draft->seconds).s);
	table_say(0,
	        "Drafts by %s: %s of weights, most of type %s; with its KV cache and buffers it takes %s on %s%s.",
	        draft->model, size_text((double)draft->bytes).s, draft->type,
	        size_text((double)advice_needs(draft)).s, where, time);
	table_say(0, "Below is the model in the memory that this leaves, with times without drafts.");
	printf("\n");
}

/* What is new on each disk, the space there, and how long loading takes. */
static void advice_print_loading(const Caravan__CtlAdvice *a, uint64_t moves) {
	double seconds = a->hash_seconds + a->move_seconds;
	bool hashed = a->hash_bytes == 0 || a->hash_seconds > 0;
	table_say(0, "New on the nodes' disks: %s of layers.", size_text((double)moves).s);
	for (size_t i = 0; i < a->n_nodes; i++) {
		const Caravan__AdviceNode *n = a->nodes[i];
		if (n->disk_known && n->disk_needed)
			table_say(2, "%s stores %s and has %s free for it", n->name,
			        size_text((double)n->disk_needed).s, size_text((double)n->disk_free).s);
	}
	if (!hashed && seconds >= 1)
		table_say(0,
		        "Loading takes at least %s to send and store, plus reading and hashing the file.",
		        size_time(seconds).s);
	else if (hashed && seconds < 1)
		table_say(0, "Loading takes about a second.");
	else if (hashed && a->hash_bytes)
		table_say(0, "Loading takes at least %s: %s to read and hash the file, %s to send and store.",
		        size_time(seconds).s, size_time(a->hash_seconds).s, size_time(a->move_seconds).s);
	else if (hashed)
		table_say(0, "Loading takes at least %s, to send and store.", size_time(seconds).s);
}

int advice_print(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described) {
	uint64_t moves = 0;
	table_say(0, "%s: %u layers, %s of weights, most of type %s; context %u, %u in parallel, KV cache %s",
	        a->model, a->layers, size_text((double)a->bytes).s, a->type, a->context, a->parallel,
	        kern_kv_name(a->kv));
	if (a->token_bytes)
		table_say(0, "A mixture of experts: a token uses %s of the weights.",
		        size_text((double)a->token_bytes).s);
	printf("\n");
	if (draft)
		advice_print_draft(draft);
	advice_print_nodes(a);
	for (size_t i = 0; i < a->n_nodes; i++)
		moves += a->nodes[i]->moves;
	for (size_t i = 0; i < a->n_nodes; i++) {
		const Caravan__AdviceNode *n = a->nodes[i];
		if (advice_has_layers(n))
			continue;
		if (*n->why)
			table_say(2, "%s has no layers: %s", n->name, n->why);
		else if (!n->coordinator)
			table_say(2, "%s has %s free", n->name, size_text((double)n->memory).s);
	}
	if (a->missing_disk) {
		printf("\n");
		table_say(0, "It does not fit: %s more disk space is needed.",
		        size_text((double)a->missing_disk).s);
		if (*a->smaller)
			table_say(0, "With weights of type %s it would fit.", a->smaller);
	} else if (a->missing) {
		printf("\n");
		table_say(0, "It does not fit: %s more memory is needed.", size_text((double)a->missing).s);
		if (*a->smaller)
			printf("With weights of type %s it would fit.\n", a->smaller);
		if (a->fewer)
			printf("With --parallel %u it would fit.\n", a->fewer);
		if (a->both_parallel)
			table_say(0, "With weights of type %s and --parallel %u together it would fit.",
			        a->both_type, a->both_parallel);
		else if (!*a->smaller && !a->fewer)
			table_say(0, "Not even a smaller weight type and fewer sequences would make it fit.");
	} else {
		advice_print_reading(a, described);
		advice_print_speed(a, described);
		advice_print_loading(a, moves);
	}
	return advice_disk_text(a, 0);
}

/* ---- for programs ---- */

static json_t *advice_node_json(const Caravan__CtlAdvice *a, const Caravan__AdviceNode *n) {
	json_t *o = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I}", "node", n->name, "coordinator",
	        (int)n->coordinator, "memory_free", (json_int_t)n->memory, "memory_needed",
	        (json_int_t)advice_memory_needed(n), "other_bytes", (json_int_t)n->fixed, "new_bytes",
	        (json_int_t)n->moves);
	if (!o)
		return NULL;
	if (advice_has_layers(n)) {
		json_object_set_new(o, "first", json_integer(n->first));
		json_object_set_new(o, "last", json_integer(n->last));
		json_object_set_new(o, "weight_bytes", json_integer((json_int_t)n->weights));
		json_object_set_new(o, "kv_bytes", json_integer((json_int_t)n->kv));
		json_object_set_new(o, "resident_bytes", json_integer((json_int_t)n->resident));
		json_object_set_new(o, "streamed_bytes", json_integer((json_int_t)n->streamed));
	}
	if (n->disk_known) {
		json_object_set_new(o, "disk_free", json_integer((json_int_t)n->disk_free));
		json_object_set_new(o, "disk_needed", json_integer((json_int_t)n->disk_needed));
	}
	if (n->disk > 0)
		json_object_set_new(o, "disk_rate", json_real(n->disk));
	if (n->streamed)
		json_object_set_new(o, "streaming_seconds", json_real((double)n->streamed / n->disk));
	if (a->seconds > 0 && (advice_has_layers(n) || n->coordinator)) {
		json_object_set_new(o, "compute_seconds", json_real(n->compute));
		json_object_set_new(o, "send_seconds", json_real(n->send));
		if (n->prompt > 0)
			json_object_set_new(o, "prompt_seconds", json_real(n->prompt));
	}
	if (*n->why)
		json_object_set_new(o, "left_out", json_string(n->why));
	return o;
}

static json_t *advice_draft_json(const Caravan__CtlAdvice *draft) {
	json_t *o = json_pack("{s:s, s:s, s:i, s:I, s:I}", "model", draft->model, "type", draft->type,
	        "layers", (int)draft->layers, "weight_bytes", (json_int_t)draft->bytes, "memory_needed",
	        (json_int_t)advice_needs(draft));
	if (o && draft->seconds > 0)
		json_object_set_new(o, "seconds_per_token", json_real(draft->seconds));
	return o;
}

int advice_print_json(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described) {
	json_t *stages = json_array(), *others = json_array();
	bool link;
	const Caravan__AdviceNode *worst = advice_bottleneck(a, &link);
	for (size_t i = 0; i < a->n_nodes; i++)
		json_array_append_new(
		        advice_has_layers(a->nodes[i]) ? stages : others, advice_node_json(a, a->nodes[i]));
	json_t *o = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:o, s:o}", "version", 1,
	        "model", a->model, "type", a->type, "layers", (json_int_t)a->layers, "weight_bytes",
	        (json_int_t)a->bytes, "context", (json_int_t)a->context, "parallel", (json_int_t)a->parallel,
	        "kv", kern_kv_name(a->kv), "fits", (int)(a->missing == 0 && a->missing_disk == 0),
	        "described", (int)described, "stages", stages, "others", others);
	if (!o)
		return fail("out of memory");
	if (a->token_bytes)
		json_object_set_new(o, "token_bytes", json_integer((json_int_t)a->token_bytes));
	if (draft)
		json_object_set_new(o, "draft", advice_draft_json(draft));
	if (a->missing || a->missing_disk || *a->smaller)
		json_object_set_new(o, "smaller_type", *a->smaller ? json_string(a->smaller) : json_null());
	if (a->missing_disk) {
		json_object_set_new(o, "missing_disk_bytes", json_integer((json_int_t)a->missing_disk));
		json_object_set_new(o, "reason", json_string(a->reason));
	} else if (!a->missing) {
		json_object_set_new(o, "hash_bytes", json_integer((json_int_t)a->hash_bytes));
		if (a->hash_seconds > 0)
			json_object_set_new(o, "hash_seconds", json_real(a->hash_seconds));
		json_object_set_new(o, "move_seconds", json_real(a->move_seconds));
	}
	if (a->missing) {
		json_object_set_new(o, "missing_bytes", json_integer((json_int_t)a->missing));
		json_object_set_new(o, "reason", json_string(a->reason));
		json_object_set_new(o, "smaller_parallel", a->fewer ? json_integer(a->fewer) : json_null());
		if (a->both_parallel)
			json_object_set_new(o, "smaller_both",
			        json_pack("{s:s, s:i}", "type", a->both_type, "parallel",
			                (int)a->both_parallel));
	}
	if (a->seconds > 0 && worst) {
		json_object_set_new(o, "seconds_per_token", json_real(a->seconds));
		json_object_set_new(o, "tokens_per_second", json_real(1 / a->seconds));
		if (a->seconds_low > 0 && a->seconds_high > 0) {
			json_object_set_new(o, "tokens_per_second_low", json_real(1 / a->seconds_high));
			json_object_set_new(o, "tokens_per_second_high", json_real(1 / a->seconds_low));
		}
		json_object_set_new(o, "tokens_per_second_loaded",
		        json_real(advice_rate(a->seconds, a->slowest, a->parallel)));
		if (a->bound > 0)
			json_object_set_new(o, "least_seconds_per_token", json_real(a->bound));
		if (a->prompt > 0)
			json_object_set_new(o, "prompt_seconds_per_token", json_real(a->prompt));
		json_object_set_new(o, "bottleneck", json_string(worst->name));
		json_object_set_new(o, "bottleneck_is", json_string(link ? "sending" : "computing"));
	}
	int rc = simple_json(o);
	return rc ? rc : advice_disk_text(a, 0);
}
