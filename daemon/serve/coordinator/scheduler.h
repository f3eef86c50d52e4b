/* scheduler: which rows of which sequences go into the next step, and who has which block of KV cache.
 *
 * Owns: the running sequences, the queue of those that wait for a place, the free blocks, the prefix cache.  The only
 * allocator of KV blocks of a model: stages index the tables that it writes.  Sends nothing and computes nothing.
 * Invariants: a sequence is in a step at most once; its rows are scheduled in order of position; a block is
 * freed only when no step that names it is in flight.
 * The prefix cache: a full block enters it when the steps that wrote it are back, and is never written again until it
 * is evicted.  A prompt begins with the blocks that are there already; its last position is always computed.
 * Blocks of the cache that no sequence uses are as good as free: cover() evicts them.  The cache ends with the
 * scheduler, that is, with the plan's epoch.
 * Admission: a sequence runs when fewer than `parallel` do and the blocks that it may ever need are not promised to
 * others, so that whoever runs can always go on.  Of those that wait the next is the first of the client that has the
 * fewest running, and among such clients of the one whose last has left longest ago; nobody overtakes it because it is large.  Nobody may have more waiting than there are places left, so that
 * neither a client nor a node keeps others out of the queue.
 * Steps: with k stages, the sequences that generate are cut into k even groups, each in a step of its own, so that
 * every stage has one; a group that is in flight is waited for, so that fragments grow together again.  While any
 * generates, a step has at most SCHEDULER_MIXED_ROWS rows of prompts.  Otherwise prompts are cut into chunks that fill
 * the stages: k stages and m chunks take m + k - 1 turns.  Rows are counted by what they cost: the further on, the more
 * positions each looks back at.
 * Guesses: behind its tokens a sequence may have some that its caller guessed.  They are scheduled like tokens, with the
 * next token that is due or, while a stage has nothing to do, in steps that follow it; every row from the last token on is
 * wanted.  Steps never overtake each other, so what was written from a wrong guess is written again before it is read.
 * Unsure tokens: of a sequence that runs beside another, as a draft does, the last tokens are what it made itself, and may be
 * taken back.  Until they are sure their blocks are its own.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_SCHEDULER_H
#define DAEMON_SERVE_COORDINATOR_SCHEDULER_H
#include "kernels/kernels.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULER_QUEUE_MAX 256  /* sequences that wait for a place */
#define SCHEDULER_MIXED_ROWS 128 /* rows of prompts in a step while any sequence generates */
#define SCHEDULER_CHUNK_ROWS \
	128                   /* a chunk that is cut for the sake of the stages has at least so many rows */
#define SCHEDULER_FEW_ROWS 16 /* fewer of a prompt make poor use of a step, however much each looks back at */
#define SCHEDULER_DRAFT_MAX 12          /* of a sequence in a step */
#define SCHEDULER_SEQS_MAX 256          /* sequences in a step */
#define SCHEDULER_TABLE_MAX (40u << 10) /* bytes of block tables in a step */

/* A growing list of tokens.  Made by the caller, zeroed but for the first part. */
struct sequence {
	/* the caller's */
	uint64_t id;
	uint32_t *log;    /* owned by the caller, room for `room` tokens */
	uint32_t tokens;  /* in the log; the caller appends */
	uint32_t drafted; /* so many more behind them are guesses; the caller writes them */
	uint32_t room;
	uint32_t provisional; /* of its tokens, the last so many may be taken back: scheduler_roll_back */
	bool held;            /* no steps for it at present */
	bool all_outputs;     /* every row's output is wanted, not the last one's alone */
	uint64_t client;      /* whose it is: clients get places in turn, */
	uint64_t author;      /* and by which node it came */
	uint32_t
	        limit; /* no position from here on is scheduled yet, since who takes the outputs has no room; 0: no limit */
	void *owner;
	/* the scheduler's */
	struct sequence *next;
	uint32_t first;     /* the first position that was not in the prefix cache */
	uint32_t scheduled; /* positions that steps have been made for, but for those of wrong guesses */
	uint32_t done;      /* positions whose steps came back */
	uint32_t version;   /* goes up when a guess is wrong: rows that were scheduled before are nobody's */
	uint32_t written;   /* positions from 0 on that the KV blocks hold for certain: a lost step ends it */
	uint32_t ahead_begin,
	        ahead_end; /* more that they hold, behind some that are still under way; none: ahead_end is 0 */
	uint32_t in_flight; /* steps */
	uint32_t *block;
	uint32_t nblocks;
	uint32_t shared; /* so many of its first blocks are the prefix cache's; the others are its own */
	uint32_t place;  /* in the queue, from 1; 0: it runs */
	uint64_t served; /* how many sequences had left when one of its client's last did */
	bool running, ended;
};

struct scheduled {
	struct sequence *seq;
	uint32_t rows, position, outputs;
	uint32_t version; /* the sequence's, then */
	uint32_t kept;    /* rows that were computed from its tokens; scheduler_reject makes them fewer */
};

struct scheduler_step {
	uint64_t number; /* 1, 2, 3 ... */
	uint32_t rows, outputs, nseqs;
	uint32_t generating; /* the first so many sequences: each with its next token */
	bool ahead;          /* it has guesses alone, which follow those of a step that is not back */
	struct scheduled *seq;
};

struct scheduler;

struct scheduler_config {
	uint32_t blocks, parallel, max_rows;
	uint32_t stages; /* how many steps are to be under way at once */
	uint32_t
	        twice; /* the position where a row of a prompt costs twice as much as at the beginning; 0: nowhere */
	const void *root; /* as prefix_create */
	size_t len;
};
int scheduler_create(struct scheduler **out, const struct scheduler_config *c);
void scheduler_destroy(struct scheduler *s); /* NULL allowed; sequences are the caller's */

/* Takes a sequence in: runs at once or waits.  -EBUSY when the queue is full, or too much in it is its client's or node's. */
int scheduler_add(struct scheduler *s, struct sequence *q);

/* No more steps for it.  True: it has left the scheduler and the caller may free it; false: steps are in
 * flight, and scheduler_done will say when. */
bool scheduler_end(struct scheduler *s, struct sequence *q);

/* The next step, or NULL when there is nothing to do now.  Freed by scheduler_done. */
struct scheduler_step *scheduler_next(struct scheduler *s);

/* Whether an entry of a step is of tokens, or of guesses that may still be right: nobody has found them wrong. */
bool scheduler_entry_valid(const struct scheduled *e);
/* A row of a step is back, and its next token is another than the one that was guessed: the rows after the first `kept` of
 * this entry are of no use, nor are steps that were made after it.  The caller has put the true token into the log. */
void scheduler_reject(struct scheduled *e, uint32_t kept);

/* Leaves `tokens` of a sequence's, of which the last is another than it was (the caller has put it into the log); those that
 * go were provisional, and no row of one before them is under way.  Rows that were made for them are nobody's. */
void scheduler_roll_back(struct sequence *q, uint32_t tokens);

/* The step came back from all stages.  Calls left(arg, q) for sequences that had been ended and have now left.
 * Frees the step. */
void scheduler_done(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg);

/* The same for a step that is lost for good, or may not have been computed by all: what it wrote is not believed. */
void scheduler_lost(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg);

/* Counts the places of those that wait anew; calls moved(arg, q) for each whose place is another than it was. */
void scheduler_places(struct scheduler *s, void (*moved)(void *arg, struct sequence *q), void *arg);

uint32_t scheduler_running(const struct scheduler *s);
uint32_t scheduler_answered(const struct scheduler *s); /* of those, whose answer is being made */
uint32_t scheduler_queued(const struct scheduler *s);
uint32_t scheduler_free_blocks(
        const struct scheduler *s);                  /* those that can be had: idle ones of the cache too */
uint64_t scheduler_found(const struct scheduler *s); /* tokens of prompts that the cache had, ever */
const struct prefix *scheduler_prefix(const struct scheduler *s); /* borrowed */

/* Walks the sequences, running ones first: NULL past the end. */
struct sequence *scheduler_at(const struct scheduler *s, uint32_t i);

#endif
