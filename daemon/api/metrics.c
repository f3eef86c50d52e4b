/* metrics: see metrics.h. */
#include "config.h"

#include "daemon/api/metrics.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const int statuses[METRICS_STATUSES] = {200, 400, 404, 429, 500, 503, 413, 0}; /* 0: any other */
static const char *const apis[METRICS_APIS] = {"openai", "anthropic", "ollama", "llama.cpp"};

void metrics_answered(struct metrics *m, enum metrics_what what, enum metrics_api api, int status) {
	unsigned i = 0;
	while (i < METRICS_STATUSES - 1 && statuses[i] != status)
		i++;
	m->requests[what][api][i]++;
}

void metrics_observe(struct metrics_histogram *h, double seconds) {
	h->count++;
	h->sum += seconds;
	for (unsigned i = 0; i < WIRE_BOUNDS; i++)
		if (seconds <= wire_bounds[i]) {
			h->bucket[i]++;
			return;
		}
}

static void metrics_head(FILE *f, const char *name, const char *type, const char *help) {
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* One series of a histogram; labels: "" or such as `model="m"`. */
static void metrics_series_text(
        FILE *f, const char *name, const char *labels, const struct metrics_histogram *h) {
	const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	uint64_t sum = 0;
	for (unsigned i = 0; i < WIRE_BOUNDS; i++) {
		sum += h->bucket[i];
		fprintf(f, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma, wire_bounds[i],
		        sum);
	}
	fprintf(f, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, h->count);
	fprintf(f, "%s_sum%s%s%s %.9g\n", name, open, labels, close, h->sum);
	fprintf(f, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, h->count);
}

static void metrics_histogram_text(
        FILE *f, const char *name, const char *help, const struct metrics_histogram *h) {
	metrics_head(f, name, "histogram", help);
	metrics_series_text(f, name, "", h);
}

static void metrics_requests_text(
        FILE *f, const char *name, const char *help, const uint64_t of[METRICS_APIS][METRICS_STATUSES]) {
	metrics_head(f, name, "counter", help);
	for (unsigned a = 0; a < METRICS_APIS; a++)
		for (unsigned i = 0; i < METRICS_STATUSES; i++)
			if (of[a][i] && statuses[i])
				fprintf(f, "%s{api=\"%s\",code=\"%d\"} %" PRIu64 "\n", name, apis[a],
				        statuses[i], of[a][i]);
			else if (of[a][i])
				fprintf(f, "%s{api=\"%s\",code=\"other\"} %" PRIu64 "\n", name, apis[a],
				        of[a][i]);
}

static void metrics_http_text(FILE *f, const struct metrics *m) {
	static const char gone[] = "caravan_http_disconnects_total";
	const struct {
		const char *name, *help;
		uint64_t value;
	} tokens[] = {{"caravan_http_prompt_tokens_total", "Tokens of the prompts of answered completions.",
	                      m->prompt},
	        {"caravan_http_cached_tokens_total", "Of these, those that were in the prefix cache.",
	                m->cached},
	        {"caravan_http_generated_tokens_total", "Tokens generated for answered completions.",
	                m->generated},
	        {"caravan_http_embedded_tokens_total", "Tokens of the texts of answered embeddings.",
	                m->embedded}};
	metrics_requests_text(f, "caravan_http_completions_total",
	        "Completions asked for over HTTP at this node, refused ones too, by API and status.",
	        m->requests[METRICS_COMPLETION]);
	metrics_requests_text(f, "caravan_http_embeddings_total",
	        "Requests for embeddings over HTTP at this node, refused ones too, by API and status.",
	        m->requests[METRICS_EMBEDDINGS]);
	metrics_head(f, gone, "counter",
	        "Completions and embeddings whose client closed its connection before their end.");
	for (unsigned a = 0; a < METRICS_APIS; a++)
		fprintf(f, "%s{api=\"%s\"} %" PRIu64 "\n", gone, apis[a], m->gone[a]);
	for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
		metrics_head(f, tokens[i].name, "counter", tokens[i].help);
		fprintf(f, "%s %" PRIu64 "\n", tokens[i].name, tokens[i].value);
	}
	metrics_head(f, "caravan_http_kept_streams", "gauge",
	        "Streams that this node keeps for clients that may take them up again.");
	fprintf(f, "caravan_http_kept_streams %u\n", m->kept);
	metrics_histogram_text(f, "caravan_http_first_token_seconds",
	        "Time from a request to the first text of its answer.", &m->first);
	metrics_histogram_text(f, "caravan_http_inter_token_seconds",
	        "Time from one piece of an answer's text to the next.", &m->inter);
}

/* One metric for every model: `of` returns its value. */
static void metrics_models_text(FILE *f, const struct model_list *l, const char *name, const char *type,
        const char *help, double (*of)(const struct model_entry *m)) {
	metrics_head(f, name, type, help);
	for (size_t i = 0; i < l->n; i++)
		fprintf(f, "%s{model=\"%s\"} %.17g\n", name, l->model[i].name, of(&l->model[i]));
}

#define OF(name, expression) \
	static double name(const struct model_entry *m) { \
		return (double)(expression); \
	}
OF(model_serves, m->state == MODEL_SERVING)
OF(model_running, m->running)
OF(model_queued, m->queued)
OF(model_tokens, m->numbers.tokens)
OF(model_steps, m->numbers.steps)
OF(model_prefix, m->numbers.prefix_tokens)
OF(model_drafted, m->numbers.drafted)
OF(model_accepted, m->numbers.accepted)
OF(model_blocks, m->numbers.blocks)
OF(model_free, m->numbers.blocks_free)
OF(model_windows, m->numbers.window_blocks)
OF(model_windows_free, m->numbers.window_blocks_free)

static const struct {
	const char *name, *type, *help;
	double (*of)(const struct model_entry *m);
} of_models[] = {
        {"caravan_model_serving", "gauge", "1: the model serves; 0: it loads or is not available.",
                model_serves},
        {"caravan_model_sequences_running", "gauge", "Sequences that run.", model_running},
        {"caravan_model_sequences_queued", "gauge", "Sequences that wait for a place.", model_queued},
        {"caravan_model_generated_tokens_total", "counter", "Tokens generated since it was loaded.",
                model_tokens},
        {"caravan_model_steps_total", "counter", "Steps since it was loaded.", model_steps},
        {"caravan_model_prefix_cache_tokens_total", "counter",
                "Tokens of prompts that were in the prefix cache.", model_prefix},
        {"caravan_model_drafted_tokens_total", "counter", "Drafted tokens that were verified.",
                model_drafted},
        {"caravan_model_accepted_tokens_total", "counter", "Of these, those that were right.",
                model_accepted},
        {"caravan_model_kv_blocks", "gauge", "Blocks of KV cache, on every stage.", model_blocks},
        {"caravan_model_kv_blocks_free", "gauge", "Of these, those that are free or can be reclaimed.",
                model_free},
        {"caravan_model_kv_window_blocks", "gauge",
                "The same blocks of layers with a window; 0: the model has none.", model_windows},
        {"caravan_model_kv_window_blocks_free", "gauge", "Of these, those that are free or can be reclaimed.",
                model_windows_free},
};

/* Where the time of a model's steps goes: stage 0 is embedding and output, the others follow in order. */
static void metrics_stages_text(FILE *f, const struct model_list *l) {
	static const char name[] = "caravan_model_stage_seconds_total";
	metrics_head(f, name, "counter",
	        "Time of a model's steps at each stage; stage 0 is embedding and output.");
	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < l->model[i].numbers.stages; k++) {
			const struct model_stage_seconds *s = &l->model[i].numbers.stage[k];
			const struct {
				const char *part;
				double seconds;
			} parts[] = {{"waited", s->waited}, {"computed", s->computed}, {"held", s->held},
			        {"wire", s->wire}};
			for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
				fprintf(f, "%s{model=\"%s\",stage=\"%zu\",part=\"%s\"} %.9g\n", name,
				        l->model[i].name, k, parts[p].part, parts[p].seconds);
		}
}

/* A histogram for every model whose coordinator reports it. */
static void metrics_model_times_text(
        FILE *f, const struct model_list *l, enum model_times which, const char *name, const char *help) {
	char label[WIRE_NAME_MAX + 16];
	metrics_head(f, name, "histogram", help);
	for (size_t i = 0; i < l->n; i++) {
		const struct model_histogram *from = &l->model[i].numbers.times[which];
		struct metrics_histogram h = {.count = from->count, .sum = from->sum};
		for (unsigned k = 0; k < WIRE_BOUNDS; k++)
			h.bucket[k] = from->bucket[k];
		snprintf(label, sizeof label, "model=\"%s\"", l->model[i].name);
		if (h.count)
			metrics_series_text(f, name, label, &h);
	}
}

static void metrics_nodes_text(FILE *f, const struct model_list *l) {
	metrics_head(f, "caravan_memory_used_bytes", "gauge",
	        "Memory of weights, KV caches and buffers on this node.");
	fprintf(f, "caravan_memory_used_bytes %" PRIu64 "\n", l->memory_used);
	metrics_head(f, "caravan_memory_limit_bytes", "gauge", "Memory that this node may use.");
	fprintf(f, "caravan_memory_limit_bytes %" PRIu64 "\n", l->memory_allowed);
	metrics_head(f, "caravan_node_up", "gauge", "1: this node reaches that one.");
	for (size_t i = 0; i < l->nodes; i++)
		fprintf(f, "caravan_node_up{node=\"%s\"} %d\n", l->node[i].name, l->node[i].up);
	metrics_head(f, "caravan_link_round_trip_seconds", "gauge",
	        "Round trip to another node, as last measured.");
	for (size_t i = 0; i < l->nodes; i++)
		if (!l->node[i].self && l->node[i].round_trip > 0)
			fprintf(f, "caravan_link_round_trip_seconds{node=\"%s\"} %.9g\n", l->node[i].name,
			        l->node[i].round_trip);
	metrics_head(f, "caravan_link_bytes_per_second", "gauge",
	        "Bandwidth from another node, as last measured.");
	for (size_t i = 0; i < l->nodes; i++)
		if (!l->node[i].self && l->node[i].rate > 0)
			fprintf(f, "caravan_link_bytes_per_second{node=\"%s\"} %.9g\n", l->node[i].name,
			        l->node[i].rate);
}

char *metrics_text(const struct metrics *m, const struct model_list *l, size_t *len) {
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	if (!f)
		return NULL;
	metrics_head(f, "caravan_build_info", "gauge", "1, with the version.");
	fprintf(f, "caravan_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	metrics_http_text(f, m);
	if (l) {
		for (size_t i = 0; i < sizeof of_models / sizeof *of_models; i++)
			metrics_models_text(f, l, of_models[i].name, of_models[i].type, of_models[i].help,
			        of_models[i].of);
		metrics_model_times_text(f, l, MODEL_FIRST_TOKEN, "caravan_model_first_token_seconds",
		        "Time from a prompt's arrival at the coordinator to its first token, queue included.");
		metrics_model_times_text(f, l, MODEL_INTER_TOKEN, "caravan_model_inter_token_seconds",
		        "Time from one token of an answer to the next, at the coordinator.");
		metrics_stages_text(f, l);
		metrics_nodes_text(f, l);
	}
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
