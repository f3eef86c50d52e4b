/* members: exchanges the roster, tracks which nodes are up, and keeps what each node reports of itself.
 *
 * The whole roster is sent, at Hello and on change.  What is new in a received roster is passed on to all
 * nodes, to the file and to the layers above.  Every half second each node gets our state.
 * Invariants: about a node that is linked to us, only its own reports count, except for its expulsion.
 * Whether a node is up changes only with reports of peers and of the node itself.  Time in which our own loop
 * was held up is never counted as silence of another node.
 * See join.c for how a node enters the roster, discovery.c for its addresses, problems.c for what is wrong
 * with it.
 * Threads: the loop. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/members/address.h"
#include "daemon/members/members_internal.h"
#include "daemon/net/zmq_socket.h"
#include "kernels/kernels.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAREWELL_NS \
	400000000u /* the link to an expelled node stays open this long, so that it gets the tombstone */
#define PRUNE_NS 60000000000u
#define SMOOTH 0.2  /* weight of a new round trip */
#define SILENCE_S 3 /* a node that sends nothing for longer was silent before its connection closed */
#define STILL_NS 3000000000u /* this node itself did nothing for longer: it was suspended, or very busy */
#define STILL_AFTER_NS 5000000000u /* for so long it loses nodes only because of that */

struct member *members_own(const struct members *m) {
	return roster_find(&m->roster, &m->config.keys->public);
}

void members_notify(struct members *m, const struct member *who, enum member_change change) {
	struct listener *l;
	member_say_change(m, who, change);
	STAILQ_FOREACH(l, &m->listeners, next)
	l->fn(l->arg, who, change);
}

/* ---- the roster, in and out --------------------------------------------------------------------------- */

/* to: one node, or NULL: all. */
void members_send_roster(struct members *m, const struct member *to) {
	Caravan__RosterUpdate update = CARAVAN__ROSTER_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ROSTER, roster, &update);
	roster_entries(&m->roster, &update.roster, &update.n_roster);
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		if (who->self || (to && who != to))
			continue;
		if (peers_send(m->peers, &who->id, PEERS_CONTROL, &env, NULL) == -EAGAIN)
			m->roster_due = true; /* a node without a link gets it when it has one */
	}
}

void members_connect(struct members *m, const struct member *who) {
	const char *endpoints[WIRE_ENDPOINTS_MAX];
	if (who->self || who->expelled || !m->config.listen)
		return;
	for (size_t i = 0; i < who->nendpoints; i++)
		endpoints[i] = who->endpoints[i];
	int rc = peers_connect(m->peers, &who->id, endpoints, who->nendpoints);
	if (rc)
		journal_say(m->config.journal,
		        &(struct journal_event){
		                .kind = EVENT_ERROR, .level = LOG_LINE_ERROR, .node = who->name},
		        "no link to %s: %s", who->name, strerror(-rc));
}

static void members_update_up(struct members *m, struct member *who);

/* We no longer belong to this cluster. */
static void members_close_links(struct members *m) {
	if (!m->leave.done)
		journal_say(m->config.journal,
		        &(struct journal_event){.kind = EVENT_NODE_EXPELLED,
		                .level = LOG_LINE_ERROR,
		                .node = members_own(m)->name},
		        "this node was expelled from its cluster: all links are closed");
	for (size_t i = 0; i < m->roster.n; i++) {
		struct member *who = m->roster.at[i];
		if (who->self)
			continue;
		peers_disconnect(m->peers, &who->id);
		who->linked = false;
		members_update_up(m, who);
	}
}

/* A member was expelled, by us or by a received entry. */
static void members_on_expelled(struct members *m, struct member *who) {
	who->left_ns = loop_now_ns();
	if (who->self)
		members_close_links(m);
	else
		members_update_up(m, who);
	members_notify(m, who, MEMBER_EXPELLED);
}

/* Nodes that a member reported and that were never linked to us, expelled and pruned ones included: they
 * still take memory. */
static size_t members_count_unproven(const struct members *m, const struct node_id *from) {
	size_t n = 0;
	for (size_t i = 0; i < m->roster.n; i++)
		n += !m->roster.at[i]->proven && node_id_equal(&m->roster.at[i]->teller, from);
	for (const struct member *who = m->roster.pruned; who; who = who->next_pruned)
		n += !who->proven && node_id_equal(&who->teller, from);
	return n;
}

/* Takes an entry from another node (NULL: the inviter, our only source).  A node is believed about itself;
 * about a node that is linked to us nobody else is believed, except that it was expelled. */
static enum roster_change members_take_entry(
        struct members *m, const struct node_id *from, const Caravan__Entry *e, struct member **who) {
	struct node_id id;
	if (!from || node_id_from_bytes(&id, e->node) != 0)
		return roster_take(&m->roster, e, who);
	if (node_id_equal(&id, from))
		return roster_take_own(&m->roster, e, who);
	*who = roster_find(&m->roster, &id);
	if (*who && (*who)->linked && !(*who)->self && !e->expelled)
		return ROSTER_SAME;
	if (*who)
		return roster_take(&m->roster, e, who);
	/* others may still have what we have pruned; and one member must not fill the roster */
	if (roster_tombstone_is_old(e, (uint64_t)time(NULL)))
		return ROSTER_SAME;
	if (members_count_unproven(m, from) >= MEMBERS_UNPROVEN_MAX) {
		char hex[NODE_ID_HEX];
		log_others(LOG_LINE_WARN,
		        "%.12s announces too many nodes that no other node has met: the rest are ignored",
		        node_id_hex(from, hex));
		return ROSTER_SAME;
	}
	enum roster_change change = roster_take(&m->roster, e, who);
	if (*who && change != ROSTER_SAME)
		(*who)->teller = *from;
	return change;
}

/* Whether a complete roster of another node has none of our tombstones as a live node: then it no longer
 * needs them. */
static bool members_tombstones_agreed(const struct members *m, Caravan__Entry *const *entries, size_t count) {
	for (size_t i = 0; i < count; i++) {
		struct node_id id;
		const struct member *who;
		if (!entries[i]->expelled && node_id_from_bytes(&id, entries[i]->node) == 0 &&
		        (who = roster_find(&m->roster, &id)) && who->expelled)
			return false;
	}
	return true;
}

/* Takes a roster that we received; what is new goes to all nodes, the file and the layers above. */
void members_take_roster(
        struct members *m, const struct node_id *from, Caravan__Entry *const *entries, size_t count) {
	bool changed = false;
	struct member *teller = from ? roster_find(&m->roster, from) : NULL;
	if (teller && members_tombstones_agreed(m, entries, count))
		teller->agreed = (uint64_t)time(NULL);
	for (size_t i = 0; i < count && !members_own(m)->expelled; i++) {
		struct member *who, *self = members_own(m);
		enum roster_change change = members_take_entry(m, from, entries[i], &who);
		changed |= change != ROSTER_SAME && change != ROSTER_FULL;
		switch (change) {
		case ROSTER_SAME:
			break;
		case ROSTER_NEW:
		case ROSTER_CHANGED:
			if (roster_named(&m->roster, who->name, &who->id))
				log_others(LOG_LINE_WARN,
				        "two nodes are called %s: use their ids, or restart one with another name",
				        who->name);
			who->since_ns = change == ROSTER_NEW ? loop_now_ns() : who->since_ns;
			members_connect(m, who);
			members_notify(m, who, change == ROSTER_NEW ? MEMBER_JOINED : MEMBER_CHANGED);
			break;
		case ROSTER_EXPELLED:
			if (from && node_id_equal(from, &who->id)) /* who expels a node says so itself */
				member_say_gone(m, who, true);
			members_on_expelled(m, who);
			break;
		case ROSTER_AHEAD: /* our state directory was restored from an older copy */
			roster_edit(&m->roster, &self->id, self->name, self->endpoints, self->nendpoints,
			        false, entries[i]->version);
			break;
		case ROSTER_FULL:
			log_others(LOG_LINE_ERROR, "the roster is full: %s is not added", entries[i]->name);
			break;
		}
	}
	if (!changed)
		return;
	members_save(m);
	members_send_roster(m, NULL);
}

static void members_on_roster(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)payload;
	if (!from->local)
		members_take_roster(arg, &from->node, env->roster->roster, env->roster->n_roster);
}

/* ---- callbacks of peers ------------------------------------------------------------------------ */

static enum peers_verdict members_admit(void *arg, const struct node_id *key, const char **why) {
	struct members *m = arg;
	const struct member *who = roster_find(&m->roster, key);
	if (members_own(m)->expelled) {
		*why = "this node was expelled itself";
		return PEERS_REFUSE;
	}
	if (who && !who->expelled && !who->self)
		return PEERS_MEMBER;
	*why = !who ? "not a node of this cluster"
	       : who->self
	               ? "it has this node's key: one is a copy of the other, run caravan leave on the copy"
	               : "it was expelled";
	return !who && invites_admit(&m->invites, key, why) ? PEERS_INVITED : PEERS_REFUSE;
}

/* A node is up while we reach it and it does not say that it cannot reach us: with one direction only,
 * requests would never be answered. */
static void members_update_up(struct members *m, struct member *who) {
	bool up = who->linked && !who->blind[0] && !who->expelled;
	if (who->up == up)
		return;
	who->away = up ? members_since(m, who) : 0;
	who->up = up;
	who->since_ns = loop_now_ns();
	members_notify(m, who, up ? MEMBER_UP : MEMBER_DOWN);
	who->met = true;
}

static void members_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, node);
	if (!who || who->expelled || who->linked == up)
		return;
	who->linked = up;
	who->proven |= up;
	who->blind[0] = 0; /* until it says so again */
	who->silent = up || !who->heard_ns ? 0 : (double)(loop_now_ns() - who->heard_ns) * 1e-9;
	who->heard_ns = loop_now_ns();
	if (up) {
		members_send_roster(m, who); /* what has changed since our Hello */
		members_send_keys(m, who);
	} else {
		/* one whose connection closes after a silence has not ended; its machine, or ours, has given it up */
		if (who->silent > SILENCE_S && strcmp(why, SOCKET_CLOSED) == 0)
			snprintf(who->lost, sizeof who->lost,
			        "nothing was heard from it for %.0f s: very busy, stopped, or cut off",
			        who->silent);
		else
			snprintf(who->lost, sizeof who->lost, "%s", why);
		wire_line_cut(who->lost, sizeof who->lost - 1);
		who->reached = false;
		who->round_trip = who->rate = 0; /* the next link may use another path */
	}
	members_update_up(m, who);
}

static void members_list_entries(void *arg, Caravan__Entry ***entries, size_t *count) {
	struct members *m = arg;
	roster_entries(&m->roster, entries, count);
}

static void members_on_hello(void *arg, const struct node_id *from, uint32_t minor, uint32_t arithmetic,
        Caravan__Entry *const *entries, size_t count) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, from);
	if (who) {
		who->minor = minor;
		who->arithmetic = arithmetic;
	}
	peers_awake(m->peers, from);
	members_take_roster(m, from, entries, count);
}

static void members_on_message(void *arg, const struct node_id *from) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, from);
	if (who)
		who->heard_ns = loop_now_ns();
}

/* ---- heartbeats --------------------------------------------------------------------------------------- */

/* Stores a copy of a node's state. */
static void members_store_state(struct member *who, const Caravan__NodeState *state) {
	size_t len = caravan__node_state__get_packed_size(state);
	uint8_t *packed = malloc(len + 1);
	Caravan__NodeState *copy = NULL;
	if (packed) {
		caravan__node_state__pack(state, packed);
		copy = caravan__node_state__unpack(NULL, len, packed);
		free(packed);
	}
	if (!copy)
		return; /* keep the older one */
	caravan__node_state__free_unpacked((Caravan__NodeState *)who->state, NULL);
	who->state = copy;
	struct timespec now;
	if (state->machine && state->machine->time > 0 && clock_gettime(CLOCK_REALTIME, &now) == 0)
		who->ahead = state->machine->time + who->round_trip / 2 -
		             ((double)now.tv_sec + (double)now.tv_nsec * 1e-9);
}

static void members_fill_state(struct members *m, Caravan__NodeState *state) {
	size_t n = 0;
	caravan__node_state__init(state);
	if (m->config.state)
		m->config.state(m->config.arg, state);
	for (size_t i = 0; i < m->roster.n; i++) {
		struct member *who = m->roster.at[i];
		if (who->self || who->expelled)
			continue;
		Caravan__PeerState *p = m->peer_list.list[n] = &m->peer_list.states[n];
		n++;
		caravan__peer_state__init(p);
		p->node = wire_node(&who->id);
		p->round_trip = who->round_trip;
		p->up = who->up;
		p->rate = who->rate;
		p->slow_best = who->rate_slow >= MEMBERS_SLOW_PROBES ? who->rate_best : 0;
		p->lost = peers_lost(m->peers, &who->id);
	}
	state->peers = m->peer_list.list;
	state->n_peers = n;
}

/* The state of very many stages may not fit a message: then the ping goes without it. */
static void members_send_ping(struct members *m, const struct member *who, const Caravan__NodeState *state) {
	Caravan__Ping ping = CARAVAN__PING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PING, ping, &ping);
	ping.time = loop_now_ns();
	ping.state = (Caravan__NodeState *)state;
	if (peers_send(m->peers, &who->id, PEERS_CONTROL, &env, NULL) == -EMSGSIZE) {
		ping.state = NULL;
		peers_send(m->peers, &who->id, PEERS_CONTROL, &env, NULL);
	}
}

void members_refresh(struct members *m) {
	Caravan__NodeState state;
	members_fill_state(m, &state);
	members_store_state(members_own(m), &state);
}

void members_heartbeat(struct members *m) {
	Caravan__NodeState state;
	members_fill_state(m, &state);
	members_store_state(members_own(m), &state);
	for (size_t i = 0; i < m->roster.n; i++)
		if (!m->roster.at[i]->self && !m->roster.at[i]->expelled && m->roster.at[i]->linked)
			members_send_ping(m, m->roster.at[i], &state);
}

double members_stood_still(const struct members *m) {
	uint64_t now = loop_now_ns();
	if (m->ticked_ns && now - m->ticked_ns > STILL_NS + MEMBERS_PING_MS * (uint64_t)1000000)
		return (double)(now - m->ticked_ns) * 1e-9; /* what happened meanwhile comes first */
	return m->moved_ns && now - m->moved_ns < STILL_AFTER_NS ? (double)m->still_ns * 1e-9 : 0;
}

static void members_tick(void *arg) {
	struct members *m = arg;
	uint64_t now = loop_now_ns();
	Caravan__NodeState state;
	/* if we were held up, messages of the others wait in our sockets meanwhile: extend their deadlines by
	 * the time that we lost */
	const uint64_t period = MEMBERS_PING_MS * (uint64_t)1000000,
	               silent_ns = (m->config.silent_ms ? m->config.silent_ms : MEMBERS_SILENT_MS) *
	                           (uint64_t)1000000;
	uint64_t late = m->ticked_ns && now - m->ticked_ns > 2 * period ? now - m->ticked_ns - period : 0;
	m->ticked_ns = now;
	if (late > STILL_NS) {
		m->moved_ns = now;
		m->still_ns = late;
	}
	members_fill_state(m, &state);
	members_store_state(members_own(m), &state);
	members_own(m)->heard_ns = now;
	for (size_t i = 0; i < m->roster.n; i++) {
		struct member *who = m->roster.at[i];
		if (who->self)
			continue;
		who->heard_ns += who->linked ? late : 0;
		if (who->expelled) {
			if (now - who->left_ns > FAREWELL_NS)
				peers_disconnect(m->peers, &who->id);
		} else if (who->linked && now > who->heard_ns + silent_ns) {
			char why[120];
			snprintf(why, sizeof why,
			        "it has sent nothing for %.0f s, though its machine responds: very busy, or stopped",
			        (double)(now - who->heard_ns) * 1e-9);
			peers_drop(m->peers, &who->id, why);
		} else if (who->linked) {
			members_send_ping(m, who, &state);
		}
	}
	if (m->address_retry_ns && now >= m->address_retry_ns)
		members_addresses_changed(m);
	members_call_beacon(m, now);
	if (now - m->pruned_ns > PRUNE_NS) {
		m->pruned_ns = now;
		if (roster_prune(&m->roster, (uint64_t)time(NULL)))
			members_save(m);
		members_prune_keys(m, (uint64_t)time(NULL));
	}
	if (m->roster_due) {
		m->roster_due = false;
		members_send_roster(m, NULL);
	}
	if (m->keys_due) {
		m->keys_due = false;
		members_send_keys(m, NULL);
	}
}

static void members_on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, &from->node);
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PONG, pong, &pong);
	(void)payload;
	if (who && env->ping->state)
		members_store_state(who, env->ping->state);
	pong.time = env->ping->time;
	if (who) {
		const char *failure = peers_failure(m->peers, &who->id);
		pong.reach = who->linked ? CARAVAN__REACH__REACH_GOOD
		             : *failure  ? CARAVAN__REACH__REACH_NONE
		                         : CARAVAN__REACH__REACH_UNKNOWN;
		pong.why = wire_string(failure);
		pong.conflict = wire_string(member_conflict(who));
	}
	peers_answer(m->peers, from, &answer, NULL);
}

static void members_on_pong(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, &from->node);
	uint64_t now = loop_now_ns();
	(void)payload;
	if (!who || env->pong->time > now) /* we never sent that time */
		return;
	double t = (double)(now - env->pong->time) * 1e-9;
	who->round_trip = who->round_trip > 0 ? who->round_trip + SMOOTH * (t - who->round_trip) : t;
	who->reached = env->pong->reach == CARAVAN__REACH__REACH_GOOD;
	if (*env->pong->conflict)
		member_conflicts(members_own(m), env->pong->conflict);
	bool blind = env->pong->reach == CARAVAN__REACH__REACH_NONE;
	if (blind && !who->blind[0])
		log_others(LOG_LINE_WARN, "%s cannot reach this machine at %s", who->name, env->pong->why);
	snprintf(who->blind, sizeof who->blind, "%s",
	        !blind            ? ""
	        : *env->pong->why ? env->pong->why
	                          : "any address");
	wire_line_cut(who->blind, sizeof who->blind - 1);
	members_update_up(m, who);
}

void members_ping(struct members *m, const struct member *who) {
	Caravan__Ping ping = CARAVAN__PING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PING, ping, &ping);
	ping.time = loop_now_ns();
	peers_send(m->peers, &who->id, PEERS_CONTROL, &env, NULL);
}

void members_set_first_rate(struct members *m, const struct node_id *id, double bytes_per_second) {
	struct member *who = roster_find(&m->roster, id);
	if (who && who->linked)
		who->rate = bytes_per_second;
}

void members_set_rate(struct members *m, const struct node_id *id, double bytes_per_second) {
	struct member *who = roster_find(&m->roster, id);
	members_set_first_rate(m, id, bytes_per_second);
	if (who && who->rate_best < bytes_per_second)
		who->rate_best = bytes_per_second;
	if (who && bytes_per_second > 0) /* one burst of another program is not the link's rate */
		who->rate_slow =
		        bytes_per_second * MEMBERS_SLOW_TIMES <= who->rate_best ? who->rate_slow + 1 : 0;
}

/* ---- expelling ------------------------------------------------------------------------------------------ */

int members_expel(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen) {
	struct member *who = (struct member *)members_named(m, name_or_id);
	if (!who || who->expelled)
		return fail_with(-ENOENT, err, errlen,
		        who ? "%s was already expelled" : "there is no node %s (or more than one)",
		        name_or_id);
	if (who->self)
		return fail_with(-EINVAL, err, errlen, "a node cannot expel itself: use caravan leave");
	roster_edit(&m->roster, &who->id, who->name, NULL, 0, true, 0);
	members_save(m);
	members_send_roster(m, NULL); /* the expelled node gets it too: its link stays open for a moment */
	member_say_gone(m, who, false);
	members_on_expelled(m, who);
	if (done)
		members_saved(m, done, arg);
	return 0;
}

/* ---- looking -------------------------------------------------------------------------------------------- */

const struct member *members_at(const struct members *m, size_t i) {
	return i < m->roster.n ? m->roster.at[i] : NULL;
}

const struct member *members_find(const struct members *m, const struct node_id *id) {
	return roster_find(&m->roster, id);
}

const char *members_name(const struct members *m, const struct node_id *id) {
	const struct member *who = members_find(m, id);
	return who ? who->name : "a node outside the roster";
}

const struct member *members_self(const struct members *m) {
	return members_own(m);
}

const struct member *members_named(const struct members *m, const char *name_or_id) {
	const struct member *by_name = NULL, *by_id = NULL;
	size_t names = 0, ids = 0, len = strlen(name_or_id);
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		char hex[NODE_ID_HEX];
		if (!who->expelled && strcmp(who->name, name_or_id) == 0) {
			by_name = who;
			names++;
		}
		if (len >= 6 && strncmp(node_id_hex(&who->id, hex), name_or_id, len) == 0) {
			by_id = who;
			ids++;
		}
	}
	return names == 1 ? by_name : names == 0 && ids == 1 ? by_id : NULL;
}

struct peers *members_peers(struct members *m) {
	return m->peers;
}

struct journal *members_journal(const struct members *m) {
	return m->config.journal;
}

int members_on_change(struct members *m, members_change_fn *fn, void *arg) {
	struct listener *l = malloc(sizeof *l);
	if (!l)
		return -ENOMEM;
	*l = (struct listener){.fn = fn, .arg = arg};
	STAILQ_INSERT_TAIL(&m->listeners, l, next);
	return 0;
}

/* ---- life --------------------------------------------------------------------------------------------- */

/* The host's name, as far as it is valid as a node's name. */
static void members_host_name(char name[WIRE_NAME_MAX + 1]) {
	char host[256] = "";
	size_t n = 0;
	gethostname(host, sizeof host - 1);
	for (const char *c = host; *c && *c != '.' && n < WIRE_NAME_MAX; c++)
		if (isalnum((unsigned char)*c) || (n && (*c == '-' || *c == '_')))
			name[n++] = *c;
	name[n] = 0;
	if (!wire_name_ok(name))
		snprintf(name, WIRE_NAME_MAX + 1, "node");
}

/* Makes our own entry for this start. */
static int members_enter_self(struct members *m, char *err, size_t errlen) {
	char found[WIRE_ENDPOINTS_MAX][ADDRESS_MAX], name[WIRE_NAME_MAX + 1];
	const struct member *self = members_own(m);
	int n;
	if (m->config.name)
		snprintf(name, sizeof name, "%s", m->config.name);
	else if (self && self->name[0])
		snprintf(name, sizeof name, "%s", self->name);
	else
		members_host_name(name);
	if (!wire_name_ok(name))
		return fail_with(-EINVAL, err, errlen,
		        "%s is not a name for a node: letters, digits and . _ - after the first", name);
	if (roster_named(&m->roster, name, &m->config.keys->public))
		return fail_with(
		        -EEXIST, err, errlen, "the name %s is taken by another node of this cluster", name);
	if (self && self->nendpoints)
		snprintf(m->preferred, sizeof m->preferred, "%s", self->endpoints[0]);
	n = members_endpoints(m, found);
	if (n < 0) /* those of the last start until the current ones are known */
		for (n = 0; self && n < (int)self->nendpoints; n++)
			snprintf(found[n], ADDRESS_MAX, "%s", self->endpoints[n]);
	if (self &&
	        (self->expelled || (strcmp(self->name, name) == 0 && member_is_at(self, found, (size_t)n))))
		return 0;
	return roster_edit(&m->roster, &m->config.keys->public, name, found, (size_t)n, false, 0);
}

int members_create(struct members **out, const struct members_config *c, char *err, size_t errlen) {
	int rc = -ENOMEM;
	struct members *m = calloc(1, sizeof *m);
	snprintf(err, errlen, "out of memory");
	if (!m)
		return rc;
	m->config = *c;
	STAILQ_INIT(&m->listeners);
	STAILQ_INIT(&m->save.waiters);
	m->started_ns = loop_now_ns();
	roster_init(&m->roster, &c->keys->public);
	m->state_dir = c->state_dir ? strdup(c->state_dir) : NULL;
	m->advertise = c->advertise ? strdup(c->advertise) : NULL;
	if ((c->state_dir && !m->state_dir) || (c->advertise && !m->advertise))
		goto error;
	if (c->advertise && (address_is_any(c->advertise) || strncmp(c->advertise, "tcp://*:", 8) == 0)) {
		rc = -EINVAL;
		snprintf(err, errlen,
		        "other nodes cannot connect to %s: advertise one address, or leave the option out",
		        c->advertise);
		goto error;
	}
	if (c->advertise &&
	        (!wire_endpoint_ok(c->advertise) || strlen(c->advertise) >= INVITE_ENDPOINT_MAX)) {
		rc = fail_with(-EINVAL, err, errlen,
		        "%s is not an address to advertise: write tcp://HOST:PORT", c->advertise);
		goto error;
	}
	rc = m->state_dir ? roster_load(&m->roster, m->state_dir, err, errlen) : 0;
	if (rc == 0)
		rc = members_keys_init(m, err, errlen);
	if (rc)
		goto error;
	const struct peers_config pc = {.listen = c->listen,
	        .keys = c->keys,
	        .admit = members_admit,
	        .link = members_on_link,
	        .roster = members_list_entries,
	        .roster_received = members_on_hello,
	        .duplicate_key = members_describe_duplicate,
	        .name_at = members_name_at,
	        .message_arrived = members_on_message,
	        .arithmetic = KERN_ARITHMETIC,
	        .arg = m};
	rc = peers_create(&m->peers, c->loop, &pc, err, errlen);
	if (rc)
		goto error;
	rc = members_enter_self(m, err, errlen);
	if (rc)
		goto error;
	rc = m->state_dir ? roster_save(&m->roster, m->state_dir, err, errlen) : 0;
	if (rc == 0)
		rc = members_save_init(m, err, errlen);
	if (rc)
		goto error;
	struct member *self = members_own(m);
	self->up = !self->expelled;
	self->arithmetic = KERN_ARITHMETIC;
	peers_on(m->peers, CARAVAN__ENVELOPE__BODY_ROSTER, members_on_roster, m);
	peers_on(m->peers, CARAVAN__ENVELOPE__BODY_PING, members_on_ping, m);
	peers_on(m->peers, CARAVAN__ENVELOPE__BODY_PONG, members_on_pong, m);
	members_listen_for_keys(m);
	members_join_init(m);
	if (c->listen && strncmp(peers_endpoint(m->peers), "tcp://127.", 10) != 0) {
		rc = address_watch_create(&m->watch, c->loop, members_addresses_changed, m);
		if (rc)
			goto error;
	}
	m->tick = loop_timer_start(c->loop, MEMBERS_PING_MS, true, members_tick, m);
	if (!m->tick) {
		rc = -ENOMEM;
		goto error;
	}
	if (self->expelled)
		log_line(LOG_LINE_ERROR,
		        "this node was expelled from its cluster: caravan leave gives it a new key, and then it can join "
		        "one again");
	for (size_t i = 0; i < m->roster.n && !self->expelled; i++)
		members_connect(m, m->roster.at[i]);
	*out = m;
	return 0;
error:
	members_destroy(m);
	return rc;
}

void members_destroy(struct members *m) {
	if (!m)
		return;
	loop_timer_stop(m->tick);
	members_join_end(m);
	members_leave_end(m);
	members_save_end(m);
	beacon_destroy(m->beacon);
	address_watch_destroy(m->watch);
	peers_destroy(m->peers);
	for (size_t i = 0; i < m->roster.n; i++)
		caravan__node_state__free_unpacked((Caravan__NodeState *)m->roster.at[i]->state, NULL);
	for (struct member *who = m->roster.pruned; who; who = who->next_pruned)
		caravan__node_state__free_unpacked((Caravan__NodeState *)who->state, NULL);
	roster_clear(&m->roster);
	members_keys_end(m);
	for (struct listener *l; (l = STAILQ_FIRST(&m->listeners));) {
		STAILQ_REMOVE_HEAD(&m->listeners, next);
		free(l);
	}
	free(m->state_dir);
	free(m->advertise);
	free(m);
}
