/* chat_templates: well-known chat templates by name, for models whose files have none.
 * Pure; any thread. */
#ifndef DAEMON_API_CHAT_TEMPLATES_H
#define DAEMON_API_CHAT_TEMPLATES_H
#include "shard/model/vocab.h"

/* A Jinja template; NULL: unknown name. */
const char *chat_template_find(const char *name);

/* All names, separated by commas. */
const char *chat_template_names(void);

/* The name of the one that fits a model, by its special tokens or else by its name; "plain" if neither says
 * anything. */
const char *chat_template_guess(const char *model, const struct vocab *v);

#endif
