/* stored: the models on the cluster's disks, as a daemon lists them.
 * Owns: the messages. */
#ifndef CLI_STORED_H
#define CLI_STORED_H
#include "cli/args.h"
#include "proto/wire.h"

struct stored {
	Caravan__Envelope **env; /* owned */
	size_t envs;
};

/* Asks the daemon of a.  0, or an exit status after reporting the error. */
int stored_fetch(struct stored *s, const struct args *a);
void stored_clear(struct stored *s);
static inline const Caravan__CtlModel *stored_at(const struct stored *s, size_t i) {
	return i < s->envs ? s->env[i]->ctl_model : NULL;
}

/* "ada, bob (54%), cleo (file)": the nodes that hold it, and their shares. */
void stored_where(const Caravan__CtlModel *m, char *out, size_t len);

#endif
