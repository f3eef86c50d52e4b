/* expert_state: which experts a stage's routers choose, as the stage reports it.
 * Owns: the messages of the report.  Borrows the slice and the counts.  Threads: the loop. */
#ifndef DAEMON_SERVE_STAGE_EXPERT_STATE_H
#define DAEMON_SERVE_STAGE_EXPERT_STATE_H
#include "proto/wire.h"
#include "shard/forward/expert_use.h"
#include "shard/forward/slice.h"

struct expert_state;
int expert_state_create(struct expert_state **out, const struct slice *s, const struct expert_use *use);
void expert_state_destroy(struct expert_state *e); /* NULL allowed */
/* Of at most so many layers, or of none if there are more.  Pointers in out are borrowed, until the next call. */
void expert_state_fill(struct expert_state *e, uint32_t layers, Caravan__StageState *out);

#endif
