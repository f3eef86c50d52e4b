/* forward_internal: shared by forward.c (buffers, the order of a layer), check.c, attention.c, delta.c, feed_forward.c and latent.c; private to this folder. */
#ifndef SHARD_FORWARD_FORWARD_INTERNAL_H
#define SHARD_FORWARD_FORWARD_INTERNAL_H
#include "shard/forward/expert_use.h"
#include "shard/forward/forward.h"
#include "shard/forward/phase.h"
#include "shard/forward/router.h"

/* Queries that one call of the span kernel takes, unless one token's group has more. */
#define PASS_QUERIES 64

/* A tile: tokens of one sequence whose queries share a walk over its keys and values. */
struct tile {
	const struct forward_seq *seq;
	uint32_t row;      /* of its first token */
	uint32_t position; /* of its first token */
	uint32_t tokens;
	uint32_t first_span,
	        spans;  /* that its tokens see: from the first one's first to the last one's last */
	size_t task;    /* its first task among those of one key/value head */
	size_t partial; /* where its first key/value head's partial results are, when spans are tasks */
};

/* A step cut into tiles. */
struct tiling {
	struct tile *tile; /* [max_rows] */
	uint32_t tiles;
	size_t head_tasks;      /* attention tasks of one key/value head */
	bool split;             /* a task is one span of a tile; otherwise a whole tile */
	_Atomic uint32_t *open; /* [max_rows][kv_heads]: spans of a tile that are still out */
};

/* A feed-forward and the rows that go through it (feed_forward.c). */
struct feed_part {
	const struct feed_kind *kind;
	uint32_t expert; /* of the mixture; 0 for other parts */
	size_t rows;
	const struct act *in; /* its rows, from in_at on */
	size_t in_at;
	float *hidden;         /* [rows][width] */
	const struct act *mid; /* the hidden rows in the form of the second product, from mid_at on */
	size_t mid_at;
	float *y; /* [rows][dim] */
	const uint8_t *packed
	        [EXPERT_MATRICES]; /* gate, up and down of an expert that was read from disk; NULL: mapped */
};

/* What a member has for itself. */
struct member {
	float *x;    /* [dim]: the row of a step of one row, carried by every member for itself */
	float *norm; /* [dim], or query_rank if that is more: a normalised row before it is quantised */
	float *up;   /* [max_rows][PHASE_CHUNK] */
	struct kern_query *query;
	void *scratch;         /* of the span kernel */
	uint8_t *values;       /* of latent attention: the values of a span */
	float *delta;          /* [delta_scratch] */
	float *score;          /* [experts] */
	struct choice *choice; /* [experts_used]: of a step of one row */
	struct feed_part
	        *part; /* [1 + experts_used], `parts` of them: the same, or of a layer that is no mixture */
	size_t parts;
};

/* A state is carried over positions [from, to), none if they are equal, beginning with: +0, a kept state, the slot's anchor, or its
 * other state. */
enum run_before { RUN_ZERO, RUN_KEPT, RUN_ANCHOR, RUN_LATEST };
struct state_run {
	uint32_t from, to;
	enum run_before before;
};

/* A sequence of a step and its states. */
struct state_span {
	uint32_t row;            /* its first row of the step */
	uint32_t anchor;         /* position of the anchor after the step */
	uint8_t which;           /* of the slot's states is the anchor then */
	bool fresh;              /* it begins at position 0 or with a kept state */
	struct state_run run[2]; /* first of the anchor, then of the other state */
};

/* Rows that are carried through a state together. */
#define DELTA_ROWS 16

/* What a layer's products want their activations as: sets of forms. */
struct layer_forms {
	unsigned qkv, out, ffn, down;
	unsigned expert, expert_down; /* of the experts' products */
	unsigned raised, keys,
	        values; /* of latent attention: of queries of low rank, of the heads' matrices */
};

struct forward {
	const struct slice *slice; /* borrowed, as are kv and team */
	struct kv *kv;
	struct team *team;
	const struct hparams *hp;
	const struct kern_ops *ops;
	uint32_t max_rows;
	float scale; /* of attention scores */
	kern_rope_fn *rope;
	kern_glu_fn *glu;
	float window_freq[HPARAMS_MAX_PAIRS]; /* RoPE's table of layers with a window, if it is another one */

	struct layer_shape *shape; /* [layers] */
	struct layer_forms *forms; /* [layers] */
	const float *(
	        *vector)[LAYER_ROLES]; /* [layers]: norms and biases; NULL: the layer has none of that role */
	float *vectors;                /* holds them */
	float *taps;                   /* holds what conv has */
	float **conv;                  /* [layers]: [KERN_CONV][channels]; NULL: no gated delta net */
	uint8_t *written[2];           /* [blocks], [window_blocks]; all 0 between calls of forward_check */
	uint8_t *states_written;       /* [slots, then places of kept states]: the same */

	uint8_t *arena; /* holds what follows */
	struct act act;
	float *q, *k, *v; /* [max_rows][...] */
	float *attended;  /* [max_rows][heads * head_size], or of a gated delta net */
	float *y;         /* [max_rows][dim]: what the last products leave for the residual */
	float *ffn;       /* [max_rows][ffn], or the shared expert's width */
	/* of gated delta nets: */
	float *mixed;            /* [max_rows][channels]: what the convolution reads */
	float *z;                /* [max_rows][state_heads * state_size]: the gate */
	float *alpha, *beta;     /* [max_rows][state_heads] */
	float *zeros;            /* [channels] */
	struct state_span *span; /* [max_rows]: of each sequence of the step */
	/* of latent attention: */
	float *low;          /* [max_rows][query_rank] */
	float *split;        /* [max_rows][heads][query_head], and later [max_rows][heads][value_head] */
	struct act head_act; /* a row for each head of each row, those of a head side by side */
	/* of mixtures: */
	struct act expert_act;  /* a row for each place: of the first products, */
	struct act expert_mid;  /* and of the second, since one expert may be computed after the other */
	float *expert_hidden;   /* [places][expert_ffn] */
	float *expert_y;        /* [places][dim] */
	float *score;           /* [max_rows][experts] */
	float *shared_score;    /* [max_rows] */
	struct choice *choice;  /* [max_rows][experts_used] */
	struct feed_part *part; /* [1 + experts], `parts` of them: of several rows */
	uint32_t *expert_rows;  /* [experts] */
	uint32_t *place_row;    /* [places]: the row at a place */
	size_t parts;
	struct expert_ready *ready; /* [experts], `readies` of them: experts that can be computed */
	int readies;                /* or -EIO */
	struct expert_use *use;     /* NULL: there are none */
	size_t taken;               /* parts that are computed next, of several rows */
	float *angles[2]; /* [max_rows][2 * pairs]: of layers without and with a window; may be the same */
	struct member *member;

	/* attention: partial results of (query, span), `partials` of them */
	size_t partials;
	float *po, *pm, *pl;

	/* the step */
	const struct forward_step *step;
	const struct forward_seq **row_seq; /* [max_rows] */
	uint32_t *row_position;             /* [max_rows] */
	struct tiling tiling[2];            /* of layers without and with a window */
	_Atomic uint64_t fault;
	_Atomic bool left;    /* members left it before its end */
	uint64_t first_group; /* number of the first streamed group of the step */

	/* the group; of one node: there is none (share.h) */
	struct group group;
	uint8_t *passing; /* rows on their way */
	bool told;        /* the nodes know the step's fault */
	int lost;         /* 0, or why there are no more meetings: a negative errno, and */
	char why[160];    /* a sentence */
};

/* Where a step can fail; a fault has the layer in the bits above this. */
#define WHERE_ELSE UINT32_MAX /* another node of the group cannot go on */
enum { AT_ATTN_NORM, AT_HEADS, AT_ATTENTION, AT_FFN_NORM, AT_ROUTER, AT_FFN, AT_END, AT_STATE, AT_PLACES };

/* The rows that a member prepares for the next products: its share, or the one row there is. */
void forward_share_rows(const struct forward *f, const struct phase_member *j, size_t *first, size_t *last);
/* The index of a prepared row among the activations. */
size_t forward_slot_of(const struct forward *f, const struct phase_member *j, size_t row);
/* Puts the member's share of rows of n floats, or the one row there is, in these forms; false: a value is not finite. */
bool forward_put_rows(struct forward *f, struct phase_member *j, const float *rows, size_t n, unsigned forms);
/* After rows were prepared: waits for shared rows.  A member whose own single row failed knows that already,
 * and leaves at the same gate as the others. */
int forward_is_prepared(struct forward *f, struct phase_member *j, bool failed, uint32_t where);
/* If a group of the layer's weights is streamed, waits for it and puts it into w. */
int forward_fetch_group(struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g,
        const struct store_tensor *w[LAYER_ROLES]);
/* Ends the phase that computed from a group. */
int forward_leave_group(struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g);

/* Partial results that attention needs room for: bounded by the context, not by the rows of a step. */
size_t attention_partials(const struct hparams *hp, unsigned team);
/* Queries of one call of the span kernel at most. */
size_t attention_queries(const struct hparams *hp);

/* Floats of a member's scratch of gated delta nets. */
size_t delta_scratch(const struct hparams *hp);
/* Before the team runs a step, and after it ran without a fault: what is known of states.  Sequences that go on from a state that
 * is not here are lost: their rows are 0. */
void delta_begin(struct forward *f);
void delta_end(struct forward *f);
/* A member's part of a gated delta net between its products; false when a value was not finite.  No gate. */
bool delta_share(struct forward *f, struct phase_member *j, uint32_t layer);

/* Cuts the step into tiles, for layers without and with a window. */
void attention_plan(struct forward *f);
/* A member's part of: norms of the heads of queries and keys, rotating them, and storing keys and values; false when a norm
 * met a value that is not finite.  Then, of attention.  No gate. */
bool attention_store(struct forward *f, struct phase_member *j, uint32_t layer);
void attention_share(struct forward *f, struct phase_member *j, uint32_t layer);

#endif
