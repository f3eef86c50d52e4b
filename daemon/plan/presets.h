/* presets: well-known models by name, for planning without a file.
 * Owns: their table.  Threads: any; pure. */
#ifndef DAEMON_PLAN_PRESETS_H
#define DAEMON_PLAN_PRESETS_H
#include "shard/model/manifest.h"

/* The manifest of NAME:TYPE, owned by the caller.  "llama2-70b:Q4_0" has matrices of that type; "llama2-70b:Q4_K_M" the mixture
 * of files of that name (Q2_K is a mixture too; so is MXFP4
 * of a model with experts, which alone are of that type).  Norms are F32.  Its content ids name no content.  -EINVAL with a sentence that
 * lists the known names, -ENOMEM. */
int presets_manifest(struct manifest **out, const char *spec, char *err, size_t errlen);

/* The type that files have instead of this one for rows of n weights that are not whole blocks of it: llama.cpp's quantize chooses it
 * (src/llama-quant.cpp). */
enum kern_type presets_narrower(enum kern_type type, uint64_t n);

#endif
