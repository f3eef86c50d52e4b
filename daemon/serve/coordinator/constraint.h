/* constraint: what a sequence may say: the grammar that its client gave, compiled, with the states of its text.
 *
 * Owns: a thread that compiles grammars and makes tries of vocabularies, one for each vocabulary in use; of each constraint:
 * its grammar, its matcher (from the first mask on: 3 to 27 MiB) and the state behind each token of the text.
 * Invariants: a mask is a function of the text, so drafts and their rejection do not change it; what a coordinator has asked
 * to compile does not use its tokenizer after constraints_forget.
 * Threads: the loop, except constraint_mask, on the compute thread.  While a job there uses a constraint (constraint_lend),
 * the loop does not touch its states. */
#ifndef DAEMON_SERVE_COORDINATOR_CONSTRAINT_H
#define DAEMON_SERVE_COORDINATOR_CONSTRAINT_H
#include "daemon/core/executor.h"
#include "daemon/text/grammar/grammar.h"
#include "proto/wire.h"

struct constraint;
struct constraints;
struct tokenizer;
struct vocabulary;

int constraints_create(struct constraints **out, struct loop *l); /* 0, or a negative errno */
/* Waits for the grammar that is being compiled; the others are cancelled.  NULL allowed. */
void constraints_destroy(struct constraints *cs);

/* The vocabulary with this content id; -ENOMEM.  Its trie is made when a grammar is first compiled for it. */
int vocabulary_get(struct vocabulary **out, struct constraints *cs, const ProtobufCBinaryData *id);
void vocabulary_unref(struct vocabulary *v); /* NULL allowed */

/* Compiles the grammar of a sequence with room for `capacity` tokens, whose first `prompt` are not subject to it; done(arg, c,
 * rc, why) is called once, later, on the loop: with a constraint, or NULL, an errno and a sentence; -ECANCELED after
 * constraints_forget or constraints_destroy.  The tokenizer is that of the vocabulary. */
typedef void constraint_done_fn(void *arg, struct constraint *c, int rc, const char *why);
int constraint_compile(struct constraints *cs, struct vocabulary *v, const struct tokenizer *t,
        const Caravan__Grammar *g, uint32_t prompt, uint32_t capacity, constraint_done_fn *done, void *arg);
/* The tokenizer is about to be freed: waits until it is not in use, and cancels what would use it. */
void constraints_forget(struct constraints *cs, const struct tokenizer *t);

struct constraint *constraint_ref(struct constraint *c); /* NULL allowed */
void constraint_unref(struct constraint *c);             /* NULL allowed */

/* The tokens that may follow text[0..n), prompt included; borrowed until the next call.  *ends: nothing may follow, the text
 * is complete.  0; -EINVAL: the text does not follow the grammar; otherwise as grammar_mask. */
int constraint_mask(
        struct constraint *c, const uint32_t *text, uint32_t n, const uint64_t **mask, bool *ends);

/* What to tell people of such an error; NULL: nothing of its own. */
const char *constraint_error(int rc);

/* A job on the compute thread is going to use it; it has ended. */
void constraint_lend(struct constraint *c);
void constraint_take_back(struct constraint *c);
bool constraint_lent(const struct constraint *c);
/* How many of the last `drafted` of text[0..n + drafted) the grammar allows, one after the other.  Not while it is lent. */
uint32_t constraint_allowed(struct constraint *c, const uint32_t *text, uint32_t n, uint32_t drafted);

#endif
