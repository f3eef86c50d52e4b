/* scheduler: chooses the rows of the next step.
 *
 * How prompts, answers and drafts share the stages is described in README.md.
 * Owns: the running sequences, the queue of those that wait for a place, and the allocator of their KV blocks (kv_blocks.h).
 * It sends nothing and computes nothing.
 * Invariants: a sequence is in a step at most once; its rows are scheduled in order of position; a block is freed only when
 * no step in flight names it.  A full block enters the prefix cache when the steps that wrote it are back, and is not
 * written again until it is evicted.  The last position of a prompt is always computed.  The cache ends with the scheduler,
 * that is, with the plan's epoch.
 * Admission: a sequence runs when fewer than `parallel` do and the blocks that it may ever need are not promised to others,
 * so that a running sequence can always go on.  (Window blocks need no promise: a plan has enough of them for `parallel` sequences
 * without steps in flight.  With steps in flight a sequence may have to wait for some to be given back.)  Next is the first sequence of the client with the fewest running; among
 * several such clients, of the one whose last sequence ended longest ago.  A large sequence is not overtaken.  A client or
 * node may not have more sequences waiting than there are places left in the queue.
 * Steps: with k stages, the sequences that generate are divided into k equal groups, one step each; a group in flight is
 * waited for.  While any sequence generates, a step has at most SCHEDULER_MIXED_ROWS rows of prompts; otherwise prompts are
 * cut into chunks that fill the stages.  Rows are counted by their cost, which grows with the position.
 * Drafts: a sequence may have drafted tokens after its own.  They are scheduled like tokens, with the next token or, while a
 * stage is idle, in steps that follow it; every row from the last token on is an output.  Steps never overtake each other,
 * so what a rejected draft wrote is overwritten before it is read.
 * Recurrent layers: a running sequence has one of `parallel` slots for its states at every stage.  So that later sequences can
 * begin there, the state is kept behind the last full block of a prompt; behind what a prompt had in common with another one,
 * when it turns out that the state is not kept there; and behind the last full block of what was generated.  A prompt waits for one with
 * the same tokens that will keep its state.
 * Provisional tokens: the last tokens of a sequence that runs beside another (a draft model's) may be rolled back.  Until
 * they are final, their blocks are not shared.
 * Windows: when a step is back, the window blocks that no step in flight or to come sees are given back.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_SCHEDULER_H
#define DAEMON_SERVE_COORDINATOR_SCHEDULER_H
#include "daemon/serve/coordinator/kv_blocks.h"
#include <sys/queue.h>

#define SCHEDULER_QUEUE_MAX 256  /* sequences that wait for a place */
#define SCHEDULER_MIXED_ROWS 128 /* rows of prompts in a step while any sequence generates */
#define SCHEDULER_CHUNK_ROWS 128 /* least rows of a chunk that is cut to fill the stages */
#define SCHEDULER_FEW_ROWS \
	16 /* fewer rows of a prompt make poor use of a step, however far each looks back */
#define SCHEDULER_DRAFT_MAX 12          /* drafted tokens of a sequence in a step */
#define SCHEDULER_SEQS_MAX 256          /* sequences in a step */
#define SCHEDULER_KEEPS_MAX 4           /* recurrent states of a sequence that a step keeps */
#define SCHEDULER_TABLE_MAX (40u << 10) /* bytes of block tables in a step */

/* A growing list of tokens.  Filled in by the caller, with the scheduler's part zeroed. */
struct sequence {
	/* the caller's part */
	uint64_t id;
	uint32_t *log;    /* owned by the caller; `capacity` tokens */
	uint32_t tokens;  /* in the log; the caller appends */
	uint32_t drafted; /* drafted tokens after them; written by the caller */
	uint32_t capacity;
	uint32_t provisional; /* this many of its last tokens may be rolled back: scheduler_roll_back */
	bool held;            /* no steps for it at present */
	bool all_outputs;     /* the output of every row is wanted, not only the last one's */
	uint64_t client;      /* clients get places in turn */
	uint64_t author;      /* the node that it came through */
	uint32_t
	        limit; /* positions from here on are not scheduled, because the client cannot take their outputs yet; 0: no limit */
	void *owner;
	/* the scheduler's part */
	TAILQ_ENTRY(sequence) next; /* in the list of running sequences, or in the queue */
	uint32_t first;             /* the first position that was not in the prefix cache */
	uint32_t scheduled;         /* positions that are or were in steps, without rejected drafts */
	uint32_t done;              /* positions whose steps have returned */
	uint32_t version; /* incremented when drafts are rejected: rows of an older version are discarded */
	uint32_t
	        written; /* positions from 0 on that are certainly in the KV blocks; a lost step stops this */
	uint32_t gap;    /* 1 + the first position of a lost step; 0: none was lost */
	uint32_t in_flight;              /* steps */
	TAILQ_HEAD(, scheduled) at_work; /* its entries in them, as they were made */
	struct kv_table kv;
	uint32_t slot; /* of its recurrent states, while it runs */
	uint32_t
	        begin; /* 1 + the place of the kept state that its next rows begin with, which is pinned; 0: none */
	uint32_t
	        rolling; /* 1 + the last of its blocks behind which its state is kept while it generates; 0: none */
	uint32_t place;  /* in the queue, from 1; 0: running */
	uint64_t served; /* value of the scheduler's `served` when a sequence of its client last ended */
	bool running, queued, ended;
};

/* The recurrent state before a position is kept in a place. */
struct scheduled_keep {
	uint32_t position, place;
};

struct scheduled {
	TAILQ_ENTRY(scheduled) next; /* of its sequence, until the step is over */
	struct sequence *seq;
	uint32_t rows, position, outputs;
	uint32_t version; /* the sequence's, when this was made */
	uint32_t kept;    /* rows that count; lowered by scheduler_reject */
	bool lost;        /* set by the caller: a stage did not have its state; it has ended */
	uint32_t begin;   /* 1 + the place of the kept state that it begins with; 0: none */
	uint32_t open;    /* so many of its positions, up to its last row, may be scheduled again */
	uint32_t nkeeps;
	struct scheduled_keep keep[SCHEDULER_KEEPS_MAX];
};

struct scheduler_step {
	uint64_t number; /* 1, 2, 3 ... */
	uint32_t rows, outputs, nseqs;
	uint32_t generating; /* this many of the first sequences are here with their next token */
	bool ahead;          /* only drafted tokens, which follow those of a step in flight */
	struct scheduled *seq;
};

struct scheduler;

struct scheduler_config {
	uint32_t blocks, parallel, max_rows;
	uint32_t window_blocks, window; /* 0: the model has no windows */
	uint32_t places;  /* for kept states, on every stage; 0: the model has no recurrent layers */
	uint32_t stages;  /* how many steps should be in flight at once */
	uint32_t twice;   /* the position where a prompt row costs twice as much as at 0; 0: nowhere */
	const void *root; /* as prefix_create */
	size_t len;
};
int scheduler_create(struct scheduler **out, const struct scheduler_config *c);
void scheduler_destroy(struct scheduler *s); /* NULL allowed; sequences are the caller's */

/* Adds a sequence: it runs at once or waits.  -EBUSY when the queue is full, or has too many of its client or
 * node. */
int scheduler_add(struct scheduler *s, struct sequence *q);

/* Makes no more steps for it.  True: it has left the scheduler and the caller may free it; false: steps are
 * in flight, and scheduler_done reports it later. */
bool scheduler_end(struct scheduler *s, struct sequence *q);

/* The next step, or NULL when there is nothing to do now.  Freed by scheduler_done. */
struct scheduler_step *scheduler_next(struct scheduler *s);

/* Whether the rows of an entry are still valid: they are tokens, or drafted tokens that were not rejected. */
bool scheduler_entry_valid(const struct scheduled *e);
/* The sampled token differs from the drafted one: rows after the first `kept` of this entry are discarded,
 * and so are later steps of the sequence.  The caller has put the right token into the log. */
void scheduler_reject(struct scheduled *e, uint32_t kept);

/* Keeps the first `tokens` tokens of a sequence, of which the last one has changed (the caller has put it into the log).  The
 * others were provisional, and no row before them is in flight.  Rows computed for them are discarded. */
void scheduler_roll_back(struct sequence *q, uint32_t tokens);

/* The step came back from all stages.  Calls left(arg, q) for sequences that had been ended and have now left.
 * Frees the step. */
void scheduler_done(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg);

/* The same for a step that is lost, or may not have been computed by all stages: what it wrote is not
 * used. */
void scheduler_lost(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg);

/* Recounts the places in the queue; calls moved(arg, q) for each sequence whose place has changed. */
void scheduler_places(struct scheduler *s, void (*moved)(void *arg, struct sequence *q), void *arg);

uint32_t scheduler_running(const struct scheduler *s);
uint32_t scheduler_answered(const struct scheduler *s); /* running ones being answered */
uint32_t scheduler_queued(const struct scheduler *s);
uint32_t scheduler_free_blocks(
        const struct scheduler *s); /* available blocks, including idle ones of the cache */
uint32_t scheduler_free_windows(const struct scheduler *s);       /* the same of window blocks */
uint64_t scheduler_found(const struct scheduler *s);              /* prompt tokens found in the cache, ever */
const struct prefix *scheduler_prefix(const struct scheduler *s); /* borrowed */

/* The i-th sequence, running ones first; NULL past the end. */
struct sequence *scheduler_at(const struct scheduler *s, uint32_t i);

#endif
