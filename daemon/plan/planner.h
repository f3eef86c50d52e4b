/* planner: assigns the layers of a model to nodes, and predicts the speed.  A pure function.
 * Owns: nothing.  Threads: any. */
#ifndef DAEMON_PLAN_PLANNER_H
#define DAEMON_PLAN_PLANNER_H
#include "proto/wire.h"
#include "shard/forward/kv.h"
#include "shard/model/manifest.h"

struct planner_node {
	struct node_id id;
	const char *name;
	uint64_t memory;                     /* free for this model */
	double bytes_per_second[KERN_TYPES]; /* one column, canonical bytes; 0: not measured */
	double many[KERN_TYPES]; /* the same in steps of many rows, times the rows; 0: not measured */
	double low[KERN_TYPES];  /* range of the measurements of bytes_per_second; 0: unknown */
	double high[KERN_TYPES];
	double hop;           /* seconds to send a row to it from another node */
	double rate;          /* bytes a second to it */
	double disk;          /* bytes a second of weight streaming; 0: not measured, no streaming */
	bool disk_known;      /* whether disk_free is known */
	uint64_t disk_free;   /* bytes that its disk can take of this model */
	const uint32_t *held; /* tensors on its disk: a bit each, as the manifest numbers them; NULL: none */
	size_t held_words;    /* tensors beyond are not on its disk */
	uint32_t held_io;     /* bit per io_role: on its disk */
	bool file;            /* `held` includes a model file of its own; then its store has */
	const uint32_t *stored; /* these tensors, held_words words, */
	uint32_t stored_io;     /* and these of embedding and output */
	bool required;          /* gets at least one layer: named by the user */
	bool excluded;          /* gets none: a coordinator that the user did not name */
	const char *why;        /* reason for the exclusion, for messages; NULL: not named */
};

struct planner_input {
	const struct manifest *manifest;
	uint32_t context, parallel, max_rows;
	enum kern_kv kv;
	const struct planner_node *node;
	size_t nodes;
	size_t coordinator; /* index: has embedding and output */
	bool memory_only;   /* no weight streaming */
	unsigned team;
	uint64_t hash_bytes; /* of a file to read and hash before anything is sent; 0: none */
	double hash_rate;    /* bytes a second of hashing; 0: unknown */
};

struct planner_stage {
	size_t node;
	uint32_t first, last;
	uint64_t weights, kv, buffers; /* bytes */
	uint64_t memory_limit; /* of its weights, 0: none; with a limit the rest is streamed from disk */
	uint64_t resident;     /* bytes of weights and streaming buffers in memory */
	uint64_t streamed;     /* bytes that each step reads from disk: one of one row, if experts are read */
	uint64_t streamed_most; /* a step of many rows */
	uint64_t moves;         /* canonical bytes of its layers that are not on its disk */
	uint64_t stored;        /* bytes of files added to its disk, without embedding and output */
	double seconds;         /* for a token: computing, or streaming if that takes longer */
	double hop;             /* for a token: until its row arrives */
	double prompt;          /* for a token in a step of many rows: computing; 0: unknown */
};

struct planner_plan {
	struct planner_stage *stage; /* owned */
	size_t stages;
	struct kv_size kv;                /* on each stage */
	double seconds;                   /* a token of one stream: stages, hops, embedding and output */
	double seconds_low, seconds_high; /* its range, given the spread of the measurements */
	double io;                        /* of it, embedding and output on the coordinator */
	double back;      /* of it, until the row is back at the coordinator; 0: the last stage is there */
	double slowest;   /* the slowest of stages and hops: with many streams, the time between tokens */
	double bound;     /* lower bound on the seconds of any plan; 0: the search was exhaustive */
	double prompt;    /* seconds for a prompt token in a step of many rows; 0: unknown */
	uint64_t missing; /* bytes of memory, when no plan fits; or, if memory suffices, */
	uint64_t missing_disk; /* bytes of disk space */
};

/* If all weights fit into memory, none are streamed.  Otherwise nodes with a measured disk may stream a part of theirs in every
 * step, if a token takes at most PLANNER_LONGEST seconds. */
#define PLANNER_LONGEST 60
/* 0; -ENOSPC with `missing` or `missing_disk` and a sentence; -EINVAL for more required nodes than layers. */
int planner_plan(struct planner_plan *out, const struct planner_input *in, char *err, size_t errlen);
void planner_clear(struct planner_plan *p);

/* The bytes of all weights that a token of one stream reads: of the embedding a row, which does not count. */
uint64_t planner_token_bytes(const struct manifest *m);

/* Seconds for a token by the nodes' rates: of layers [first, last) on a node, and of the output on the coordinator. */
double planner_layers_seconds(const struct planner_input *in, size_t node, uint32_t first, uint32_t last);
double planner_head_seconds(const struct planner_input *in);

/* The rate of a link for planning: rounded to a tenth of a decade, so that a new measurement does not change the plan;
 * PLANNER_LINK_RATE if not measured (0). */
double planner_link(double bytes_per_second);
/* Seconds until a row of activations has arrived: half a round trip, rounded up to a quarter of a millisecond for the same
 * reason, and its bytes over the rate of the link. */
double planner_hop(double round_trip, double bytes_per_second, uint32_t dim);
#define PLANNER_LINK_RATE 110e6 /* bytes a second, for links that are not measured: gigabit Ethernet */
#define PLANNER_MANY 64         /* from this many rows on, the time of a step is proportional to its rows */
/* The most rows of a step: as requested (0: PLANNER_ROWS), but no more than fit into a payload. */
uint32_t planner_rows(uint32_t asked, uint32_t dim);
/* The default context: the trained length, at most PLANNER_CONTEXT. */
uint32_t planner_context(uint32_t trained);
#define PLANNER_ROWS 512
/* The most rows of a step of a draft model: the coordinator's slice of the larger model waits that long for its prompts. */
#define PLANNER_DRAFT_ROWS 128
#define PLANNER_CONTEXT 8192
#define PLANNER_PARALLEL 4

/* Memory that a node is charged: weights of layers [first, last) as stored; a slice of them with KV cache and buffers; on the
 * coordinator embedding and output with their buffers.  Stages check the same sums. */
uint64_t planner_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last);
uint64_t planner_slice_bytes(const struct manifest *m, uint32_t first, uint32_t last, struct kv_size kv,
        uint32_t max_rows, unsigned team);
uint64_t planner_io_bytes(const struct manifest *m, uint32_t parallel, uint32_t max_rows);
/* Bytes of the files of embedding and output */
uint64_t planner_disk_new_io(const struct planner_input *in); /* that are not on the coordinator's disk */
/* The KV blocks on each stage: to be planned, and of a plan. */
struct kv_size planner_kv(const struct planner_input *in);
struct kv_size planner_plan_kv(const Caravan__Plan *p);

#endif
