/* serving: nodes that serve, in one program on virtual time: the real gateway, coordinator, stages and worker of each, on
 * what stands in for time, transport, jobs and compute (tests/sim).  What members and deploy would say of nodes and plans,
 * the test says; a bare node has nothing but peers and a list of what it received, so that the test can play any part.
 * Everything ends the test on failure. */
#ifndef TESTS_UNIT_SERVE_SERVING_H
#define TESTS_UNIT_SERVE_SERVING_H
#include "daemon/serve/dispatch.h"
#include "daemon/serve/gateway/request.h"
#include "daemon/serve/stage/compute.h"
#include "tests/sim/clock.h"
#include "tests/sim/compute.h"
#include "tests/sim/jobs.h"
#include "tests/sim/network.h"
#include "tests/sim/payloads.h"

#define SERVING_NODES 6
#define SERVING_MODELS 2
#define SERVING_EVENTS 2000000 /* more than any test needs: a bound on what hangs */

/* What a bare node received. */
struct received {
	Caravan__Envelope__BodyCase kind;
	struct peers_from from;
	uint64_t step;
	uint32_t position, rows;
	uint32_t id; /* of Tokens, the first; of LogitsTaken, the rows; of Refused, the seconds of busy */
	Caravan__Reason reason;
	bool refused;
	size_t payload;
	char text[WIRE_TEXT_MAX + 1];
	Caravan__Step *whole; /* of a Step: a copy */
};

struct serving_node {
	struct keys keys;
	char name[16];
	struct loop *loop; /* NULL: it does not run */
	struct peers *peers;
	struct members *members;
	struct deploy *deploy;
	struct compute *compute;
	struct serve *serve;   /* NULL: it is bare */
	struct received **got; /* each stays where it is */
	size_t ngot;
	unsigned heartbeats;  /* that its serve has asked for */
	unsigned unavailable; /* times that its serve said so of a model */
	char reason[WIRE_TEXT_MAX + 1];
};

extern struct serving_node serving[SERVING_NODES];

/* Nodes 0 to n - 1 with serve, and bare ones after them up to `all`; every link is up. */
void serving_begin(unsigned n, unsigned all, uint64_t seed);
/* Takes everything down, and checks that nothing is left: payloads, jobs, messages, forwards. */
void serving_end(void);
/* A node's process ends at once: nothing of what it has not sent arrives. */
void serving_kill(unsigned node);
/* A node believes that another one runs this minor version. */
void serving_minor(unsigned node, unsigned of, uint32_t minor);
/* Every other node hears that it is down, or up. */
void serving_tell(unsigned node, bool up);

struct serving_spec {
	const char *name; /* NULL: "m" */
	unsigned coordinator, stages, stage[4];
	uint32_t cut[3]; /* layers where stages begin, after the first; 0: evenly */
	uint32_t context, parallel, blocks, max_rows; /* 0: 256, 4, 32, 64 */
	uint32_t window, window_blocks;               /* 0: none; every other layer has it */
	enum kern_kv kv;
	const char *draft; /* the name of the model that makes drafts */
	uint32_t number;   /* of its weights; 0: 1 */
	uint32_t padding;  /* rows of its output that no token of its vocabulary has */
	bool other_words;  /* one token has another text than in other models */
	bool endless;      /* no token ends a text */
};
enum { SERVING_LAYERS = 4 };
/* All nodes know the model; stages and coordinator that are not bare are open. */
void serving_load(const struct serving_spec *s);
/* It is closed everywhere, as deploy does it: UNLOADED, or UNAVAILABLE with a reason. */
void serving_close(const char *name, Caravan__ModelPhase phase, const char *why);
void serving_unload(const char *name);
/* One that was closed and not unloaded serves again, under a higher epoch. */
void serving_revive(const char *name);
/* A stage lost a step and could not tell the coordinator: deploy would close the model and revive it. */
bool serving_broken(const char *name);
const struct manifest *serving_manifest(const char *name);
Caravan__Plan *serving_plan(const char *name);
Caravan__ModelState serving_state(const char *name); /* by its coordinator */

/* A client of a gateway. */
struct client {
	struct request *request; /* NULL: it is over */
	char text[COMPUTE_CONTEXT + 1];
	size_t len;
	unsigned ends, queued, progress;
	uint32_t prompt, cached; /* tokens, at the end */
	uint32_t busy;           /* seconds until it may be asked again */
	uint32_t place;          /* in the queue, last */
	uint64_t done;           /* of its prompt, last */
	Caravan__Reason reason;
	uint32_t generated;
	char error[WIRE_TEXT_MAX + 1]; /* empty: none */
	bool failed;                   /* it ended with an error */
	float *logits;
	uint32_t rows;
	float embedding[COMPUTE_DIM];
	unsigned embeddings;           /* that came */
	struct token_logprobs **token; /* of its answer */
	unsigned ntokens;
	unsigned after; /* tokens' texts that came before it is cancelled by itself; 0: it is not */
};

/* Sampling: NULL for the most likely token.  Asserts that it begins. */
struct ask {
	unsigned node;
	const char *model;
	const char *prompt;
	uint32_t limit;
	const struct sampler_params *sampling;
	const Caravan__Grammar *grammar;
	bool undrafted, embedding, logprobs, names, ignore_end;
	uint32_t top; /* most likely tokens whose log-probabilities are wanted too */
	const char *stop;
	uint64_t client;
};
void client_ask(struct client *c, const struct ask *a);
struct request_events client_events(struct client *c); /* for requests that a test starts itself */
void client_free(struct client *c);
/* Prompts as tokens, as the gateway makes them of a text of letters. */
uint32_t serving_encode(const char *text, uint32_t *out);
/* What the model says to that prompt, as text. */
const char *serving_answer(
        const char *model, const char *prompt, uint32_t limit, const struct sampler_params *sampling);
struct sampler_params serving_greedy(void);

/* Asserts that it ended well, with this text. */
void client_expect(const struct client *c, const char *text, Caravan__Reason reason);

/* Asserts that it has the log-probabilities of all its tokens, from the model's definition. */
void client_expect_logprobs(const struct client *c, const char *model, const char *prompt, uint32_t top);

/* Runs until there is nothing to do any more. */
void serving_settle(void);
/* Until so many pieces of text have reached the client. */
void serving_until_text(const struct client *c, size_t len);

/* ---- bare nodes ---------------------------------------------------------------------------------- */

/* How many messages of a kind it received; the last one, NULL: none. */
size_t bare_count(unsigned node, Caravan__Envelope__BodyCase kind);
const struct received *bare_last(unsigned node, Caravan__Envelope__BodyCase kind);
/* Sends a Submit of token ids; its ref. */
uint64_t bare_submit(
        unsigned node, unsigned to, const char *model, const uint32_t *ids, size_t n, uint32_t limit);
/* For logits, `window` rows at once (0: all of them); and that so many were taken. */
uint64_t bare_submit_logits(
        unsigned node, unsigned to, const char *model, const uint32_t *ids, size_t n, uint32_t window);
void bare_taken(unsigned node, unsigned to, uint64_t ref, uint32_t rows);
void bare_cancel(unsigned node, unsigned to, uint64_t ref);

/* A step with one sequence; what is not said is right: the plan's epoch, one block a 64 positions from `block` on, a payload of
 * the rows' size. */
struct bare_step {
	const char *model;
	uint64_t step;
	uint32_t stage, position, rows, outputs;
	uint32_t block, nblocks; /* nblocks 0: as many as needed */
	size_t payload;          /* bytes; 0: as many as the rows have */
	uint64_t older;          /* by so much is the epoch's counter less */
	const uint32_t *tokens;  /* embedded in the rows; NULL: zeros */
};
uint64_t bare_send_step(unsigned node, unsigned to, const struct bare_step *s);
uint64_t bare_send_void(unsigned node, unsigned to, const char *model, uint64_t step);
uint64_t bare_send_done(unsigned node, unsigned to, const char *model, uint64_t step, size_t bytes);
/* The same, with sequences that are lost. */
uint64_t bare_send_lost(unsigned node, unsigned to, const char *model, uint64_t step, size_t bytes,
        const uint32_t *lost, size_t nlost);
uint64_t bare_send_failed(
        unsigned node, unsigned to, const char *model, uint64_t step, bool refused, const char *why);
void bare_send_tokens(unsigned node, const struct peers_from *asked, uint32_t position, uint32_t id);
/* The same with log-probabilities: `top` pairs of a token id and −2, for the token −1. */
void bare_send_logprobs(unsigned node, const struct peers_from *asked, uint32_t position, uint32_t id,
        const uint32_t *top, uint32_t ntop);
void bare_send_finished(
        unsigned node, const struct peers_from *asked, Caravan__Reason reason, const char *error);
void bare_send_queued(unsigned node, const struct peers_from *asked, uint32_t place);
void bare_send_progress(unsigned node, const struct peers_from *asked, uint64_t done, uint64_t total);
void bare_send_logits(
        unsigned node, const struct peers_from *asked, uint32_t position, uint32_t rows, uint32_t vocab);
void bare_acknowledge(unsigned node, const struct received *step);

#endif
