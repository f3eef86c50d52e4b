/* model_list: the models of the cluster as clients of the HTTP API see them: an immutable snapshot.
 *
 * Owns: copies of what it says of each model, so that it can be read on the HTTP thread while plans and vocabularies come and go
 * on the loop.  What does not change while a model is the same (its facts) is shared by snapshots.
 * Threads: model_list_create on the loop; reading, and references, on any. */
#ifndef DAEMON_API_MODEL_LIST_H
#define DAEMON_API_MODEL_LIST_H
#include "daemon/serve/dispatch.h"
#include <stdatomic.h>

/* What follows from a model's manifest and vocabulary. */
struct model_facts {
	atomic_uint refs;
	struct content_id manifest;
	char *chat_template; /* of the vocabulary, UTF-8 or not, NUL-terminated; "": it has none */
	size_t template_len;
	char *bos, *eos; /* the tokens' texts; "": none */
	const char *
	        known_template; /* for a model without one: a name of daemon/api/chat_templates.h, by its tokens and name */
	const char *type; /* of most of its weights, static */
	uint64_t bytes, parameters;
	struct hparams hp;
	char fingerprint[24]; /* "fp_" and 16 hex digits: over manifest, template and arithmetic */
};

/* What its coordinator said last of what it has done since it began to serve; seconds of all its steps. */
struct model_numbers {
	uint64_t tokens, steps, prefix_tokens, drafted, accepted;
	uint32_t blocks, blocks_free;
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
	bool drafts; /* it makes drafts for another: not listed, and never meant without its name */
	uint32_t context, parallel;
	uint32_t running, queued; /* sequences, as its coordinator said last */
	struct model_numbers numbers;
	int64_t since;  /* this node has known it: seconds since 1970 */
	char what[256]; /* not serving: "is loading (hashing, 71%)" */
};

/* A node of the cluster, as this one sees it. */
struct node_entry {
	char name[WIRE_NAME_MAX + 1];
	bool up, self;
	double round_trip, rate; /* seconds; bytes a second from there; 0: not measured yet */
};

struct model_list {
	atomic_uint refs;
	uint64_t memory_used, memory_allowed; /* of this node */
	struct node_entry *node;              /* the roster without those that were expelled */
	size_t nodes;
	size_t n;
	struct model_entry model[]; /* by name */
};

/* before: the snapshot that this one follows, or NULL.  One reference is the caller's; NULL: no memory. */
struct model_list *model_list_create(struct serve *s, const struct model_list *before);
void model_list_ref(struct model_list *l);
void model_list_unref(struct model_list *l); /* NULL allowed */

/* By its name in the cluster alone; NULL: none. */
const struct model_entry *model_list_named(const struct model_list *l, const char *name);

/* A name that clients may use for a model. */
struct model_alias {
	const char *name, *model;
};

/* With or without ":latest"; an alias; NULL or empty: the only model that does not make drafts.  NULL with a sentence in err that
 * lists what there is. */
const struct model_entry *model_list_find(const struct model_list *l, const struct model_alias *alias,
        size_t naliases, const char *name, char *err, size_t errlen);

#endif
