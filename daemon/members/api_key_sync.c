/* api_key_sync: exchanges the API keys of the cluster between nodes.
 *
 * The whole set is sent, as with the roster: when a link comes up, and on change, to nodes whose version has
 * the message.  A node passes on only what changed its own set, so updates do not circulate forever.
 * Threads: the loop. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/members/members_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void members_send_keys(struct members *m, const struct member *to) {
	Caravan__KeyUpdate update = CARAVAN__KEY_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(KEY_UPDATE, key_update, &update);
	api_keys_entries(m->keys, &update.keys, &update.n_keys);
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		if (who->self || (to && who != to) || who->minor < WIRE_1_3)
			continue;
		if (peers_send(m->peers, &who->id, PEERS_CONTROL, &env, NULL) == -EAGAIN)
			m->keys_due = true; /* a node without a link gets them when it has one */
	}
}

/* from: who told us, and so knows what is new; NULL: it is our own.  All others have to say again that they know. */
static void members_keys_changed(struct members *m, const struct member *from) {
	m->keys_saved = true;
	for (size_t i = 0; i < m->roster.n; i++)
		if (m->roster.at[i] != from)
			m->roster.at[i]->keys_agreed = 0;
	members_save(m);
	members_send_keys(m, NULL);
}

static void members_on_keys(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, &from->node);
	const Caravan__KeyUpdate *u = env->key_update;
	uint64_t now = (uint64_t)time(NULL);
	(void)payload;
	if (from->local || !who)
		return;
	if (api_keys_agree(m->keys, u->keys, u->n_keys))
		who->keys_agreed = now;
	else
		members_send_keys(m, who); /* a key that was revoked here is still valid there */
	if (api_keys_take(m->keys, u->keys, u->n_keys, now))
		members_keys_changed(m, who);
}

int members_key_create(struct members *m, const char *name, uint64_t seconds, char secret[API_KEY_SECRET],
        members_done_fn *done, void *arg, char *err, size_t errlen) {
	if (members_own(m)->expelled) {
		snprintf(err, errlen, "this node was expelled from its cluster: caravan leave first");
		return -EPERM;
	}
	int rc = api_keys_make(m->keys, name, seconds, (uint64_t)time(NULL), secret, err, errlen);
	if (rc == 0) {
		members_keys_changed(m, NULL);
		members_saved(m, done, arg);
	}
	return rc;
}

int members_key_revoke(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen) {
	int rc = api_keys_revoke(m->keys, name_or_id, (uint64_t)time(NULL), err, errlen);
	if (rc == 0) {
		members_keys_changed(m, NULL);
		members_saved(m, done, arg);
	}
	return rc;
}

/* A revoked key is removed once every other node has said that it knows of the revocation. */
void members_prune_keys(struct members *m, uint64_t now) {
	uint64_t agreed = now;
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		if (!who->self && !who->expelled && who->keys_agreed < agreed)
			agreed = who->keys_agreed;
	}
	if (api_keys_prune(m->keys, now, agreed))
		members_save(m);
}

struct api_keys *members_api_keys(struct members *m) {
	return m->keys;
}

int members_keys_init(struct members *m, char *err, size_t errlen) {
	int rc = api_keys_create(&m->keys);
	if (rc == 0 && m->state_dir)
		rc = api_keys_load(m->keys, m->state_dir, err, errlen);
	m->keys_saved = rc == 0 && api_keys_at(m->keys, 0);
	return rc;
}

void members_listen_for_keys(struct members *m) {
	peers_on(m->peers, CARAVAN__ENVELOPE__BODY_KEY_UPDATE, members_on_keys, m);
}

void members_keys_end(struct members *m) {
	api_keys_destroy(m->keys);
	m->keys = NULL;
}
