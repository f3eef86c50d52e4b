/* prompts: the commands of the control socket that compute a prompt: run, chat, logits.
 *
 * Owns: the thread that renders conversations and turns texts into tokens, so that the loop, which carries
 * steps, does not wait for a long one; the last snapshot of the models; each answer until it has ended.
 * Threads: the loop. */
#ifndef DAEMON_API_PROMPTS_H
#define DAEMON_API_PROMPTS_H
#include "daemon/api/control.h"

/* 0, -ENOMEM, or another negative errno when there can be no thread. */
int prompts_create(struct prompts **out, struct loop *loop, struct serve *s);
void prompts_destroy(struct prompts *ps); /* after all connections; NULL allowed */

/* As commands_run. */
void prompts_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);
void prompts_chat(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);
void prompts_logits(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);

#endif
