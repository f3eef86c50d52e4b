/* dispatch: what this node does for models: its stages, the models that it coordinates, the requests of its
 * clients; and the one place where messages about them are dispatched.
 *
 * Owns: all of those, and a tokenizer for each model named in a request.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_DISPATCH_H
#define DAEMON_SERVE_DISPATCH_H
#include "daemon/deploy/deploy.h"
#include "daemon/serve/stage/compute.h"

struct serve;
struct requests;

int serve_create(struct serve **out, struct members *m, struct compute *c, char *err, size_t errlen);
void serve_destroy(struct serve *s); /* NULL allowed; call before deploy and members are destroyed */

/* The hooks for deploy_create, and the deploy that was created with them. */
struct deploy_hooks serve_hooks(struct serve *s);
void serve_attach(struct serve *s, struct deploy *d);

struct deploy *serve_deploy(struct serve *s);
struct members *serve_members(struct serve *s);
struct requests *serve_requests(struct serve *s);

/* Adds stages and models to this node's reported state; pointers are valid until the next call. */
void serve_state(struct serve *s, Caravan__NodeState *out);

#endif
