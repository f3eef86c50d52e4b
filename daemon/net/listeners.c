/* listeners: see listeners.h. */
#include "daemon/net/listeners.h"
#include <errno.h>
#include <stdlib.h>

struct message_listener {
	Caravan__Envelope__BodyCase kind;
	peers_fn *fn;
	void *arg;
	STAILQ_ENTRY(message_listener) next;
};

struct link_listener {
	peers_link_fn *fn;
	void *arg;
	STAILQ_ENTRY(link_listener) next;
};

void listeners_init(struct listeners *l) {
	STAILQ_INIT(&l->messages);
	STAILQ_INIT(&l->links);
}

void listeners_clear(struct listeners *l) {
	for (struct message_listener *i; (i = STAILQ_FIRST(&l->messages)); free(i))
		STAILQ_REMOVE_HEAD(&l->messages, next);
	for (struct link_listener *i; (i = STAILQ_FIRST(&l->links)); free(i))
		STAILQ_REMOVE_HEAD(&l->links, next);
}

int listeners_add(struct listeners *l, Caravan__Envelope__BodyCase kind, peers_fn *fn, void *arg) {
	struct message_listener *i = malloc(sizeof *i);
	if (!i)
		return -ENOMEM;
	*i = (struct message_listener){.kind = kind, .fn = fn, .arg = arg};
	STAILQ_INSERT_TAIL(&l->messages, i, next);
	return 0;
}

int listeners_add_link(struct listeners *l, peers_link_fn *fn, void *arg) {
	struct link_listener *i = malloc(sizeof *i);
	if (!i)
		return -ENOMEM;
	*i = (struct link_listener){.fn = fn, .arg = arg};
	STAILQ_INSERT_TAIL(&l->links, i, next);
	return 0;
}

void listeners_message(struct listeners *l, const struct peers_from *from, const Caravan__Envelope *env,
        struct payload *payload) {
	struct message_listener *i;
	STAILQ_FOREACH(i, &l->messages, next)
	if (i->kind == env->body_case)
		i->fn(i->arg, from, env, payload);
}

void listeners_link(struct listeners *l, const struct node_id *node, bool up, const char *why) {
	struct link_listener *i;
	STAILQ_FOREACH(i, &l->links, next)
	i->fn(i->arg, node, up, why);
}
