/* coordinator_internal: shared by the files of this folder. */
#ifndef DAEMON_SERVE_COORDINATOR_COORDINATOR_INTERNAL_H
#define DAEMON_SERVE_COORDINATOR_COORDINATOR_INTERNAL_H
#include "daemon/core/rate.h"
#include "daemon/serve/coordinator/constraint.h"
#include "daemon/serve/coordinator/coordinator.h"
#include "daemon/serve/coordinator/output.h"
#include "daemon/serve/coordinator/scheduler.h"
#include "daemon/serve/coordinator/serving_stats.h"
#include "daemon/serve/coordinator/speculate.h"
#include "daemon/serve/coordinator/step_timing.h"
#include "daemon/serve/stage/downstream.h"

/* A sequence, its client and what the client asked for. */
struct draft;
struct client_sequence {
	struct sequence seq; /* must be first: the scheduler's pointers are cast to this type */
	struct draft
	        *draft; /* its draft, or the draft whose sequence it is (then it has no client); NULL: none */
	struct peers_from from;
	struct sampler_params sampling;
	struct sampler_bias *bias;      /* of its sampling; NULL: none */
	struct constraint *constraint;  /* NULL: any text */
	struct coordinator *constrains; /* it counts the sequence as one with a grammar; NULL: it has none */
	TAILQ_ENTRY(client_sequence) compiles; /* while its grammar is compiled; it is not scheduled yet */
	bool compiling;
	uint32_t prompt;
	uint32_t given;    /* tokens that it came with: the prompt, and an answer begun elsewhere */
	uint32_t reported; /* rows of the prompt last reported to the client as computed */
	uint32_t window;   /* rows of logits that may be on their way; 0: no limit */
	double *sum; /* of its rows, if it wants an embedding; the compute thread's.  NULL: it does not */
	uint64_t began_ns, first_ns, last_ns; /* submitted; first token sampled; last one */
	struct rate rate;                     /* of its tokens */
	uint32_t drafted, accepted;           /* as those of the coordinator */
	bool finished;                        /* Finished was sent, or the client is gone */
	bool undrafted;                       /* its client wants no drafts */
	bool logprobs;                        /* it wants those of its tokens, */
	uint32_t top_logprobs;                /* and of so many of the most likely ones */
	struct draft_stats draft_stats;
	struct step_timing_step spent; /* over all of its steps that have returned */
};

struct coordinator {
	struct peers *peers;
	struct compute *compute;
	const struct tokenizer *tokenizer;
	Caravan__Plan *plan;
	struct slice *io;
	char damaged[SLICE_NAME]; /* of it */
	struct output *output;
	struct scheduler *scheduler;
	struct downstream *downstream;
	struct constraints *constraints;
	struct vocabulary *vocabulary;
	TAILQ_HEAD(, client_sequence) compiling; /* sequences whose grammars are being compiled */
	uint32_t constrained;                    /* sequences with grammars */
	struct node_id last_stage;
	struct coordinator *draft_model; /* the model that makes drafts for this one, or NULL */
	TAILQ_HEAD(steps_in_flight, step_in_flight) in_flight; /* in order of their numbers */
	unsigned in_flight_count, jobs;
	bool closed, kicking;
	uint64_t began_ns;         /* when serving began */
	struct loop_timer *places; /* the queue has moved: places are reported on the loop's next turn */
	struct loop_timer *kick;   /* pipeline_kick is due on the loop's next turn */
	uint64_t sequences;        /* ever; used as ids */
	struct step_timing *timing;
	struct speculation *speculation;
	uint64_t drafted, accepted; /* drafted tokens that were scheduled; accepted ones among them */
	struct serving_stats *stats;
	uint64_t tokens, steps, step_sequences;
	uint32_t step_sequences_max;
	double io_seconds; /* computing embedding and output */
	unsigned in_flight_max;
	/* what coordinator_state returned last */
	Caravan__StreamState stream[WIRE_STREAMS_MAX], *stream_list[WIRE_STREAMS_MAX];
};

/* coordinator.c */
void coordinator_queue_moved(struct coordinator *m); /* recounts the places and reports them */
void sequence_finish(
        struct coordinator *m, struct client_sequence *g, Caravan__Reason reason, const char *error);
void sequence_drop(struct coordinator *m, struct client_sequence *g); /* the client is gone */
/* Sends to the gateway: how much of a long prompt has been computed; the next token; rows of logits; an embedding.  0, or
 * as peers_answer. */
int sequence_progress(struct coordinator *m, struct client_sequence *g, uint32_t done);
int sequence_token(struct coordinator *m, struct client_sequence *g, const struct output_row *row);
int sequence_logits(struct coordinator *m, struct client_sequence *g, uint32_t position, uint32_t rows,
        struct payload *data);
int sequence_embedding(struct coordinator *m, struct client_sequence *g, struct payload *data);
/* Copies n pairs; false: out of memory. */
bool sequence_set_bias(struct client_sequence *g, const void *bias, size_t n);
void sequence_left(void *arg, struct sequence *q); /* for scheduler_done */
void coordinator_release(struct coordinator *m);   /* closed, and no job of it is on the compute thread */

/* streams.c: fills in the streams, at most so many of them. */
void coordinator_list_streams(struct coordinator *m, uint32_t most, Caravan__ModelState *out);

/* pipeline.c */
void pipeline_kick(struct coordinator *m); /* makes steps while there is work and the pipeline is not full */
void pipeline_kick_later(
        struct coordinator *m); /* the same on the loop's next turn: from another model's pipeline */
void pipeline_lost(void *arg, uint64_t number, bool refused, const char *why); /* callback of downstream */
void pipeline_cancel_unwanted(
        struct coordinator *m); /* sequences have ended: tells stages not to compute their rows */
void pipeline_clear(struct coordinator *m);

#endif
