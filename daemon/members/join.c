/* join: how a node enters the roster: invitations and the Join dialogue.
 *
 * The inviter creates the invitation.  It enters a node that sends a Join with it into the roster, and
 * answers with the roster.  The joining node adopts that roster, in which it now is.
 * Invariants: an invitation is used up by the Join that it admits, not by one that is refused.  A node
 * belongs to one cluster, and has one join in progress at a time.  An expelled key never returns.
 * Threads: the loop. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/members/address.h"
#include "daemon/members/members_internal.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACK_MS 12000     /* time to find out whether the inviter can reach us */
#define BACK_CHECK_MS 100 /* between two checks of that */

/* ---- at the inviter ----------------------------------------------------------------------------------- */

int members_invite(struct members *m, uint32_t seconds, char **token, char *err, size_t errlen) {
	struct invite i = {.expiry = (uint64_t)time(NULL) + seconds, .server = m->config.keys->public};
	int rc;
	*token = NULL;
	if (!m->config.listen)
		return fail_with(
		        -ENOTSUP, err, errlen, "this node does not listen, so no other node could join it");
	if (members_own(m)->expelled)
		return fail_with(-EPERM, err, errlen, "this node was expelled from its cluster");
	const struct member *self = members_own(m);
	members_readdress(m); /* an address may have been added a moment ago */
	i.nendpoints = self->nendpoints;
	memcpy(i.endpoints, self->endpoints, i.nendpoints * sizeof *i.endpoints);
	if (!i.nendpoints)
		return fail_with(-EADDRNOTAVAIL, err, errlen,
		        "this machine has no network address yet: connect it first, or set its address with caravand --advertise");
	rc = keys_generate(&i.keys);
	if (rc == 0)
		rc = invites_add(&m->invites, &i.keys.public, loop_now_ns() + seconds * (uint64_t)1000000000);
	if (rc == -ENOSPC) {
		snprintf(err, errlen, "%d invitations are already open: wait until one is used or expires",
		        INVITE_OPEN_MAX);
	} else if (rc || !(*token = invite_encode(&i))) {
		rc = rc ? rc : -ENOMEM;
		snprintf(err, errlen, "cannot create an invitation: %s", strerror(-rc));
	}
	keys_wipe(&i.keys);
	return rc;
}

/* The text that a proof authenticates: this entry, with this invitation. */
static size_t join_proof_text(
        const Caravan__Entry *e, const struct node_id *invitation, char *out, size_t size) {
	int n = snprintf(out, size, "caravan join\n%s\n%s\n", e->name, e->endpoint);
	for (size_t i = 0; i < e->n_further && n > 0 && (size_t)n < size; i++)
		n += snprintf(out + n, size - (size_t)n, "%s\n", e->further[i]);
	size_t len = n > 0 && (size_t)n < size ? (size_t)n : 0;
	if (size - len < sizeof invitation->b)
		return 0;
	memcpy(out + len, invitation->b, sizeof invitation->b);
	return len + sizeof invitation->b;
}

#define PROOF_TEXT (32 + WIRE_NAME_MAX + WIRE_ENDPOINTS_MAX * ADDRESS_MAX + 64)

/* Whether the guest has the secret key of the entry. */
static bool join_proven(const struct members *m, const struct peers_from *from, const Caravan__Join *j) {
	char text[PROOF_TEXT];
	uint8_t proof[KEYS_PROOF];
	struct node_id id;
	size_t len = join_proof_text(j->entry, &from->node, text, sizeof text);
	return len && j->proof.len == sizeof proof && node_id_from_bytes(&id, j->entry->node) == 0 &&
	       keys_prove(m->config.keys, &id, text, len, proof) == 0 &&
	       CRYPTO_memcmp(proof, j->proof.data, sizeof proof) == 0;
}

/* A guest whose entry is being written to disk; it is answered after that. */
struct joiner {
	struct members *m;
	struct peers_from from;
	struct node_id id;
};

static void join_on_saved(void *arg, const char *error) {
	struct joiner *g = arg;
	struct members *m = g->m;
	const struct member *who = roster_find(&m->roster, &g->id);
	Caravan__Joined joined = CARAVAN__JOINED__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(JOINED, joined, &joined);
	if (error) /* it is a member, but a restart of this node before the next attempt would forget it */
		log_line(LOG_LINE_WARN, "%s joined, but %s", who->name, error);
	roster_entries(&m->roster, &joined.roster, &joined.n_roster);
	peers_answer(m->peers, &g->from, &answer, NULL);
	members_connect(m, who);
	free(g);
}

/* Why a guest's entry is refused, as a sentence; NULL: accepted. */
static const char *join_refusal(const struct members *m, const struct peers_from *from,
        const Caravan__Join *j, char *text, size_t len) {
	const Caravan__Entry *e = j->entry;
	struct node_id id;
	if (!from->invited || node_id_from_bytes(&id, e->node) != 0 || e->expelled || !e->endpoint[0])
		return "not the entry of a node";
	const struct member *who = roster_find(&m->roster, &id);
	bool proven = join_proven(m, from, j);
	if (who && who->expelled)
		return "this node was expelled from the cluster: caravan leave gives it a new key, and then it can join again";
	if (who && who->self) {
		snprintf(text, len,
		        "this machine has the same key as %s, which invited it: one is a copy of the other; run caravan "
		        "leave on the copy",
		        who->name);
		return text;
	}
	/* an invitation permits adding a node, not changing an existing one */
	if (who && !proven)
		return "the key belongs to a member of this cluster, and the request does not prove that it owns it";
	if (j->proof.len && !proven)
		return "the request does not prove that it owns the key";
	if (roster_named(&m->roster, e->name, &id)) {
		snprintf(text, len,
		        "the name %s is taken: start this node with another --name, or, if the other node is gone for good, run "
		        "caravan expel %s there first",
		        e->name, e->name);
		return text;
	}
	return NULL;
}

static void join_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct members *m = arg;
	const Caravan__Join *j = env->join;
	char hex[NODE_ID_HEX], text[WIRE_TEXT_MAX];
	(void)payload;
	const char *why = join_refusal(m, from, j, text, sizeof text);
	if (why) {
		peers_refuse(m->peers, from, "%s", why);
		return;
	}
	struct joiner *g = malloc(sizeof *g);
	struct member *who = NULL;
	/* a former member that lost its roster or has moved only reports its new addresses */
	enum roster_change change = g ? roster_take_own(&m->roster, j->entry, &who) : ROSTER_FULL;
	if (change == ROSTER_FULL) {
		peers_refuse(m->peers, from, g ? "the cluster is full" : "out of memory");
		free(g);
		return;
	}
	invites_use(&m->invites, &from->node);
	snprintf(
	        text, sizeof text, " by an invitation; its id begins with %.12s", node_id_hex(&who->id, hex));
	if (change == ROSTER_NEW) {
		who->since_ns = loop_now_ns();
		member_say_joined(m, who, text);
	}
	/* others will reach this node where the guest did */
	snprintf(m->preferred, sizeof m->preferred, "%s", j->dialed);
	members_readdress(m);
	members_save(m);
	members_notify(m, who, change == ROSTER_NEW ? MEMBER_JOINED : MEMBER_CHANGED);
	members_send_roster(m, NULL);
	*g = (struct joiner){.m = m, .from = *from, .id = who->id};
	members_saved(m, join_on_saved, g);
}

/* ---- at the node that joins ------------------------------------------------------------------------------ */

static void join_say(struct members *m, const char *error) {
	members_done_fn *done = m->join.done;
	void *done_arg = m->join.arg;
	m->join.done = NULL;
	loop_timer_stop(m->join.back);
	m->join.back = NULL;
	done(done_arg, error);
}

/* We have joined.  The inviter's pongs say whether it can reach us too: asks for one out of turn. */
static void join_check_back(void *arg) {
	struct members *m = arg;
	const struct member *who = roster_find(&m->roster, &m->join.inviter);
	if (!who || who->expelled || who->blind[0] ||
	        (who->linked && (who->reached || who->minor < WIRE_1_2)) || loop_now_ns() > m->join.until_ns)
		join_say(m, NULL);
	else if (who->linked)
		members_ping(m, who);
}

const char *members_join_note(const struct members *m, char *text, size_t len) {
	const struct member *who = roster_find(&m->roster, &m->join.inviter);
	char why[WIRE_TEXT_MAX];
	text[0] = 0;
	if (who && !who->up && *members_reason(m, who, why, sizeof why))
		snprintf(text, len, "%s%s%s", who->blind[0] ? "" : who->name, who->blind[0] ? "" : ": ", why);
	return text;
}

void members_join_end(struct members *m) {
	loop_timer_stop(m->join.back);
	m->join.back = NULL;
}

static void join_done(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error) {
	struct members *m = arg;
	bool ours = false;
	for (size_t i = 0; i < count; i++)
		ours |= entries[i]->node.len == 32 &&
		        memcmp(entries[i]->node.data, m->config.keys->public.b, 32) == 0;
	if (!error && !ours)
		error = "the node that invited this one answered with a roster that does not contain it";
	if (error) {
		join_say(m, error);
		return;
	}
	bool new = roster_others(&m->roster) == 0;
	members_take_roster(m, NULL, entries, count);
	if (new)
		member_say_joined(m, members_own(m), " a cluster");
	peers_hint(m->peers, &m->join.inviter, endpoint);
	m->join.until_ns = loop_now_ns() + BACK_MS * (uint64_t)1000000;
	m->join.back = loop_timer_start(m->config.loop, BACK_CHECK_MS, true, join_check_back, m);
	if (!m->join.back)
		join_say(m, NULL);
}

int members_join(
        struct members *m, const char *token, members_done_fn *done, void *arg, char *err, size_t errlen) {
	struct invite i;
	const char *endpoints[INVITE_ENDPOINTS_MAX];
	const struct member *self = members_own(m);
	if (self->expelled)
		return fail_with(-EPERM, err, errlen,
		        "this node was expelled from its cluster: caravan leave gives it a new key, and then it can join");
	if (!m->config.listen)
		return fail_with(
		        -ENOTSUP, err, errlen, "this node does not listen, so the others could not reach it");
	if (m->join.done)
		return fail_with(-EBUSY, err, errlen, "this node is already joining a cluster");
	int rc = invite_decode(&i, token, err, errlen);
	if (rc)
		return rc;
	if (node_id_equal(&i.server, &self->id)) {
		rc = fail_with(
		        -EINVAL, err, errlen, "this invitation is from this node: use it on another one");
		goto error;
	}
	/* a member joins again: it reports its new addresses */
	const struct member *inviter = roster_find(&m->roster, &i.server);
	if (roster_others(&m->roster) && (!inviter || inviter->expelled)) {
		rc = -EEXIST;
		snprintf(err, errlen,
		        "this node already belongs to a cluster of %zu nodes, and the one that invites it is not among them: run caravan leave first",
		        roster_others(&m->roster) + 1);
		goto error;
	}
	members_readdress(m);
	if (!self->nendpoints) {
		rc = -EADDRNOTAVAIL;
		snprintf(err, errlen,
		        "this machine has no network address yet: connect it first, or set its address with caravand --advertise");
		goto error;
	}
	for (size_t k = 0; k < i.nendpoints; k++)
		endpoints[k] = i.endpoints[k];
	Caravan__Entry entry = CARAVAN__ENTRY__INIT;
	entry.node = wire_node(&self->id);
	entry.version = self->version;
	entry.name = wire_string(self->name);
	char *further[WIRE_ENDPOINTS_MAX];
	entry.endpoint = wire_string(member_endpoint(self));
	for (size_t k = 1; k < self->nendpoints; k++)
		further[entry.n_further++] = wire_string(self->endpoints[k]);
	entry.further = further;
	char text[PROOF_TEXT];
	uint8_t proof[KEYS_PROOF];
	size_t len = join_proof_text(&entry, &i.keys.public, text, sizeof text);
	Caravan__Join ask = CARAVAN__JOIN__INIT;
	ask.entry = &entry;
	ask.proof = wire_bytes(proof, sizeof proof);
	rc = keys_prove(m->config.keys, &i.server, text, len, proof);
	if (rc == 0)
		rc = peers_join(m->peers, &i.keys, &i.server, endpoints, i.nendpoints, &ask, join_done, m);
	if (rc) {
		snprintf(err, errlen, "cannot join: %s", strerror(-rc));
	} else {
		m->join.done = done;
		m->join.arg = arg;
		m->join.inviter = i.server;
	}
error:
	OPENSSL_cleanse(&i, sizeof i);
	return rc;
}

void members_join_init(struct members *m) {
	peers_on(m->peers, CARAVAN__ENVELOPE__BODY_JOIN, join_on_request, m);
}
