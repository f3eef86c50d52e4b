/* ggufopen: what a generator holds, opened as a file, and what is in it taken out.  Each destroys the generator.
 * 0 or what the reader returned, its words in err. */
#ifndef TESTS_SUPPORT_GGUFOPEN_H
#define TESTS_SUPPORT_GGUFOPEN_H
#include "shard/model/hparams.h"
#include "shard/model/vocab.h"
#include "tests/support/ggufgen.h"

extern char err[256];

extern const struct ggufgen_model small_model; /* two layers of Q8_0 */

int open_gen(struct ggufgen *gen, struct gguf **out);
int import_gen(struct ggufgen *gen); /* closed again */
/* Of a file that opens, or the test ends. */
int hparams_gen(struct ggufgen *gen, struct hparams *hp);
int vocab_gen(struct ggufgen *gen, struct vocab **v);
int vocab_gen_read(struct ggufgen *gen, struct vocab_reading *r, struct vocab **v);

#endif
