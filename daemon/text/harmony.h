/* harmony: an answer of gpt-oss: messages, each with a header that says its channel and whom it is for, and a body:
 *
 *   <|channel|>analysis<|message|>BODY<|end|>                                                   reasoning
 *   <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>   a call
 *   <|start|>assistant<|channel|>final<|message|>BODY<|return|>                                 text
 *
 * The recipient may come before the channel.  A commentary for nobody is text.  The last end mark ends the answer, and is not in it.
 * Owns: a header, the body of a call, and what may be the beginning of a mark.  A message that is none of these, or for other
 * recipients, is text as it was written; so is a call whose body is not a JSON object.  What the format is: OpenAI's harmony guide.
 * One thread at a time for each stream. */
#ifndef DAEMON_TEXT_HARMONY_H
#define DAEMON_TEXT_HARMONY_H
#include "daemon/text/reply.h"

struct harmony_stream;

/* calls: look for them; otherwise they are text.  NULL: out of memory. */
struct harmony_stream *harmony_create(bool calls);
void harmony_destroy(struct harmony_stream *s); /* NULL allowed */
bool harmony_push(struct harmony_stream *s, const char *text, size_t len, const struct reply_sink *sink);
bool harmony_finish(struct harmony_stream *s, const struct reply_sink *sink);

#endif
