/* model_list: the models of the cluster as clients of the HTTP API see them: an immutable snapshot.
 *
 * Owns: copies of all its data, so that it can be read on the HTTP thread while plans and vocabularies change
 * on the loop.  What does not change as long as a model is the same (its facts) is shared by snapshots.
 * Threads: model_list_create on the loop; reading, and references, on any. */
#ifndef DAEMON_API_MODEL_LIST_H
#define DAEMON_API_MODEL_LIST_H
#include "daemon/serve/dispatch.h"
#include <stdatomic.h>

/* What is derived from a model's manifest and vocabulary. */
struct model_facts {
	atomic_uint refs;
	struct content_id manifest;
	char *chat_template; /* from the vocabulary, UTF-8 or not, NUL-terminated; "": none */
	size_t template_len;
	char *bos, *eos;       /* text of these tokens; "": none */
	char *fim[VOCAB_FIMS]; /* the same */
	const char *
	        known_template; /* without a template: a name of daemon/api/chat_templates.h, by its tokens and name */
	const char *type; /* the type of most of its weights; static */
	uint64_t bytes, parameters;
	struct hparams hp;
	char fingerprint[24]; /* "fp_" and 16 hex digits: over manifest, template and arithmetic */
};

enum model_times { MODEL_FIRST_TOKEN, MODEL_INTER_TOKEN, MODEL_TIMES };

/* Of seconds, by wire_bounds; not cumulative.  count 0: nothing was reported. */
struct model_histogram {
	uint32_t bucket[WIRE_BOUNDS];
	uint64_t count;
	double sum;
};

/* Last reported by its coordinator, since it began to serve; times are seconds over all its steps. */
struct model_numbers {
	uint64_t tokens, steps, prefix_tokens, drafted, accepted;
	uint32_t blocks, blocks_free, window_blocks, window_blocks_free;
	struct model_histogram times[MODEL_TIMES];
	struct model_stage_seconds {
		double waited, computed, held, wire;
	} * stage; /* the coordinator's embedding and output, then the stages in order */
	size_t stages;
};

enum model_state { MODEL_LOADING, MODEL_SERVING, MODEL_UNAVAILABLE };

struct model_entry {
	char name[WIRE_NAME_MAX + 1];
	enum model_state state;
	const struct model_facts *facts; /* NULL: its vocabulary has not arrived at this node yet */
	bool drafts; /* it drafts for another model: not listed, and used only when named */
	uint32_t context, parallel;
	uint32_t running, queued; /* sequences, last reported by its coordinator */
	struct model_numbers numbers;
	int64_t since;  /* when this node first knew of it, Unix time */
	char what[256]; /* when not ready: "is loading (hashing, 71%)" */
};

/* A node of the cluster, as seen by this one. */
struct node_entry {
	char name[WIRE_NAME_MAX + 1];
	bool up, self;
	double round_trip, rate; /* seconds; bytes per second from there; 0: not measured yet */
};

struct model_list {
	atomic_uint refs;
	uint64_t memory_used, memory_allowed; /* of this node */
	struct node_entry *node;              /* the roster without expelled nodes */
	size_t nodes;
	size_t n;
	struct model_entry model[]; /* by name */
};

/* before: the previous snapshot, or NULL.  The caller gets a reference; NULL: out of memory. */
struct model_list *model_list_create(struct serve *s, const struct model_list *before);
void model_list_ref(struct model_list *l);
void model_list_unref(struct model_list *l); /* NULL allowed */

/* By its exact name in the cluster; NULL: none. */
const struct model_entry *model_list_named(const struct model_list *l, const char *name);

/* An additional name of a model for clients. */
struct model_alias {
	const char *name, *model;
};

/* By name, with or without ":latest", or by alias; NULL or empty: the only model that is not a draft model.
 * NULL with a sentence in err that lists the models. */
const struct model_entry *model_list_find(const struct model_list *l, const struct model_alias *alias,
        size_t naliases, const char *name, char *err, size_t errlen);

#endif
