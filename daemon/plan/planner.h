/* planner: which layers on which node, and how fast it will be: a pure function.
 * Owns nothing; any thread. */
#ifndef DAEMON_PLAN_PLANNER_H
#define DAEMON_PLAN_PLANNER_H
#include "proto/wire.h"
#include "shard/model/manifest.h"

struct planner_node {
	struct node_id id;
	const char *name;
	uint64_t memory;                     /* that it may still use */
	double bytes_per_second[KERN_TYPES]; /* one column, canonical bytes; 0: not measured */
	double many[KERN_TYPES];             /* many columns: the same, times columns; 0: not measured */
	double low[KERN_TYPES];              /* what bytes_per_second was measured between; 0: not known */
	double high[KERN_TYPES];
	double hop;  /* seconds to send a row to it from another node */
	double rate; /* bytes a second to it */
	double disk; /* bytes a second that weights are read with from its disk; 0: not measured, none are */
	bool disk_known;      /* it has said how much its disk can take: */
	uint64_t disk_free;   /* bytes of the model that are not there yet */
	const uint32_t *held; /* the tensors that its disk has: bit layer * LAYER_ROLES + role; NULL: none */
	size_t held_words;    /* what lies beyond is not there */
	uint32_t held_io;     /* bit per io_role: on its disk */
	bool file;            /* all of that may be in a model file of its own: then its store has */
	const uint32_t *stored; /* these, as in held_words, */
	uint32_t stored_io;     /* and these */
	bool required;          /* named by the user: gets at least one layer */
	bool excluded;          /* gets none: a coordinator that is not among the named */
	const char *why;        /* it is excluded, for people; NULL: it is not named */
};

struct planner_input {
	const struct manifest *manifest;
	uint32_t context, parallel, max_rows;
	enum kern_kv kv;
	const struct planner_node *node;
	size_t nodes;
	size_t coordinator; /* index: has embedding and output */
	bool memory_only;   /* no weights are read from disk on the way, whatever disks there are */
	unsigned team;
	uint64_t hash_bytes; /* of a file, that are read and hashed before anything is sent; 0: none */
	double hash_rate;    /* bytes a second that a node hashes; 0: nobody knows */
};

struct planner_stage {
	size_t node;
	uint32_t first, last;
	uint64_t weights, kv, buffers; /* bytes */
	uint64_t memory_limit; /* of its weights, 0: none; with a limit the rest is streamed from disk */
	uint64_t resident; /* bytes of weights and of the buffers for reading them that it has in memory */
	uint64_t streamed; /* bytes that each step reads from disk */
	uint64_t moves;    /* of its layers' canonical bytes, those that its disk has not */
	uint64_t stored;   /* bytes of files added to its disk, without embedding and output */
	double seconds;    /* a token: computing, or reading weights from disk if that takes longer */
	double hop;        /* a token: until its row is there */
	double prompt;     /* a token in a step of many: computing; 0: nobody knows */
};

struct planner_plan {
	struct planner_stage *stage; /* owned */
	size_t stages;
	uint32_t blocks; /* KV blocks on each stage */
	double seconds;  /* a token of one stream: stages, hops, embedding and output */
	double seconds_low,
	        seconds_high; /* what that may be, as far as nodes were not always measured alike */
	double io;            /* of it, embedding and output on the coordinator */
	double back;          /* and for the row to come back there; 0: the last stage is there */
	double slowest; /* the longest of all that a token passes: with many streams one comes out each time */
	double bound; /* seconds that no plan takes less than, where not all of them were gone through; 0: they were */
	double prompt; /* a token of a prompt that is one step of many rows: stages and hops; 0: nobody knows */
	uint64_t missing;      /* bytes of memory, when nothing fits; or, if memory is not what is missing, */
	uint64_t missing_disk; /* bytes of disk space */
};

/* Where all of a model's weights fit the nodes' memory they stay there.  Otherwise nodes whose disks were measured may read
 * a part of theirs in every step, if a token still comes within PLANNER_LONGEST seconds. */
#define PLANNER_LONGEST 60
/* 0, or -ENOSPC with `missing` or `missing_disk` and a sentence that says it, -EINVAL for more required nodes than layers. */
int planner_plan(struct planner_plan *out, const struct planner_input *in, char *err, size_t errlen);
void planner_clear(struct planner_plan *p);

/* A link's rate for planning: to a tenth of a decade, since measured again it is never quite the same, and the plan should
 * be; PLANNER_LINK_RATE where nobody has measured (0). */
double planner_link(double bytes_per_second);
/* Seconds until a row of activations has arrived: half a round trip, to the next quarter of a millisecond (measured
 * again it is never quite the same, and the plan should be), and its bytes over the link's rate. */
double planner_hop(double round_trip, double bytes_per_second, uint32_t dim);
#define PLANNER_LINK_RATE 110e6 /* bytes a second of a link that nobody has measured: gigabit Ethernet */
#define PLANNER_MANY 64         /* from so many rows on a step takes as long as its rows */
/* Rows of a step at most: those asked for (0: PLANNER_ROWS), as far as one payload carries them. */
uint32_t planner_rows(uint32_t asked, uint32_t dim);
/* The defaults of what people ask for: a context of the trained length, bounded, and sequences at a time. */
uint32_t planner_context(uint32_t trained);
#define PLANNER_ROWS 512
/* Rows of a step of a model that makes drafts: so long it keeps the coordinator's slice of the larger waiting while it reads. */
#define PLANNER_DRAFT_ROWS 128
#define PLANNER_CONTEXT 8192
#define PLANNER_PARALLEL 4

/* Memory that a node is charged: weights of layers [first, last) as stored; a slice of them with KV cache and buffers; on the
 * coordinator embedding and output with their buffers.  Stages check the same sums. */
uint64_t planner_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last);
uint64_t planner_slice_bytes(const struct manifest *m, uint32_t first, uint32_t last, enum kern_kv kv,
        uint32_t blocks, uint32_t max_rows, unsigned team);
uint64_t planner_io_bytes(const struct manifest *m, uint32_t parallel, uint32_t max_rows);
/* Bytes of the files of embedding and output */
uint64_t planner_disk_new_io(const struct planner_input *in); /* that are not on the coordinator's disk */
uint32_t planner_blocks(uint32_t context, uint32_t parallel); /* KV blocks on each stage */

#endif
