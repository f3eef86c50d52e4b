/* shapes: models that people know by name, for planning before a file is there.
 * Owns: the table of them.  Threads: any; pure. */
#ifndef DAEMON_PLAN_SHAPES_H
#define DAEMON_PLAN_SHAPES_H
#include "shard/model/manifest.h"

/* The manifest (the caller's) of NAME:TYPE, such as "llama2-70b:Q4_0": every matrix of that weight type, or of those that files of that name have, such as
 * "llama2-70b:Q4_K_M" (of which Q2_K is one); norms F32;
 * its names are of no content.  -EINVAL with a sentence that lists what there is, -ENOTSUP, -ENOMEM. */
int shapes_manifest(struct manifest **out, const char *spec, char *err, size_t errlen);

#endif
