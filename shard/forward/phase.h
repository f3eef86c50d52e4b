/* phase: the phases of a step on the team: shared by forward.c and io_layers.c.  Also activations in the forms that products need,
 * and products whose rows the team shares.
 *
 * Each phase ends with phase_gate.  Within a phase, phase_next_run hands out work: to each member runs of its own share, one after the
 * other, and then what others have not begun.
 * Private to this folder.  Threads: everything here runs on the members of a team. */
#ifndef SHARD_FORWARD_PHASE_H
#define SHARD_FORWARD_PHASE_H
#include "kernels/kernels.h"
#include "kernels/team.h"
#include "shard/store/store.h"
#include <stdatomic.h>

/* Rows of gate and up that are multiplied side by side. */
#define PHASE_CHUNK 64

/* A member of the team during a step. */
struct phase_member {
	struct team *team;
	unsigned id;
	uint32_t phase;
	uint32_t rounds;         /* of runs that have been handed out to the end */
	_Atomic uint64_t *fault; /* the step's; 0: none */
	uint64_t next_group;     /* number of the next streamed group of weights */
};

/* Kernels walk up to four strips side by side: the least of a run of them. */
#define PHASE_STRIPS 4

/* What is cut into runs. */
struct phase_cut {
	size_t strips; /* of the phase, or what else it has many of */
	size_t least;  /* in a run, which has a multiple of it */
};

/* Strips of so many rows. */
size_t phase_strips(size_t rows);

/* Takes the member's next run [*first, *first + *count) of this phase; false when there are no more. */
bool phase_next_run(struct phase_member *j, const struct phase_cut *cut, size_t *first, size_t *count);

/* Notes that this phase met a value that is not finite.  `where` is the same for all of a phase. */
void phase_fail(struct phase_member *j, uint32_t where);

/* Ends a phase: 0, or -EDOM when any member failed in it.  All members get the same answer, since a fault
 * that a faster member has met in a later phase is not looked at. */
int phase_gate(struct phase_member *j);

/* The `where` of a fault. */
uint32_t phase_fault_where(uint64_t fault);

/* Rows of activations in every form, a buffer each, `rows` rows of at most n elements. */
struct act {
	uint8_t *form[KERN_FORMS];
};
/* Bytes of the buffers of one form. */
size_t act_bytes(enum kern_form form, size_t rows, size_t n);

/* The set of forms (a bit each) that a tensor wants. */
unsigned act_form_of(const struct store_tensor *w);

/* Puts a row of n floats at `row` in each form of the set.  0 or -EDOM. */
int act_put(const struct act *a, unsigned forms, size_t row, const float *x, size_t n);

/* One product of a phase: `w` times the activations, into y[row * ldy + matrix row]. */
struct product {
	const struct store_tensor *w;
	float *y;
	size_t ldy;
	const float *bias;    /* [rows of w], added; NULL: none */
	float scale;          /* of the sum; 0: 1 */
	size_t before, after; /* so many of its first rows, whole strips, and of its last are not computed */
};

/* Products of `rows` rows of a tensor, packed from the first of them on, with `cols` activation rows from row `at` on; y and ldy as
 * given. */
void product_rows(const struct kern_ops *ops, const struct content_tensor *t, const uint8_t *packed, float *y,
        size_t ldy, size_t rows, const struct act *a, size_t at, size_t cols);

/* The member's part of `count` products of the same activations; no gate. */
void product_share(struct phase_member *j, const struct kern_ops *ops, const struct product *p, size_t count,
        const struct act *a, size_t at, size_t cols);

#endif
