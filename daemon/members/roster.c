/* roster: see roster.h. */
#include "config.h"

#include "common/durable.h"
#include "common/fail.h"
#include "daemon/members/roster.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VERSION_LAST ((uint64_t)1 << 53) /* the largest that proto/schema.c accepts */
#define ENVELOPE_ROOM 256                /* space for the rest of an envelope that has the roster */

void roster_init(struct roster *r, const struct node_id *self) {
	memset(r, 0, sizeof *r);
	r->self = *self;
}

void roster_clear(struct roster *r) {
	while (r->n)
		free(r->at[--r->n]);
	for (struct member *m; (m = r->pruned);) {
		r->pruned = m->next_pruned;
		free(m);
	}
}

struct member *roster_find(const struct roster *r, const struct node_id *id) {
	for (size_t i = 0; i < r->n; i++)
		if (node_id_equal(&r->at[i]->id, id))
			return r->at[i];
	return NULL;
}

struct member *roster_named(const struct roster *r, const char *name, const struct node_id *but) {
	for (size_t i = 0; i < r->n; i++)
		if (!r->at[i]->expelled && strcmp(r->at[i]->name, name) == 0 &&
		        !(but && node_id_equal(&r->at[i]->id, but)))
			return r->at[i];
	return NULL;
}

size_t roster_others(const struct roster *r) {
	size_t n = 0;
	for (size_t i = 0; i < r->n; i++)
		n += !r->at[i]->expelled && !r->at[i]->self;
	return n;
}

/* Makes the entries for the wire, with further endpoints or without. */
static size_t roster_make_entries(struct roster *r, bool further) {
	Caravan__RosterUpdate update = CARAVAN__ROSTER_UPDATE__INIT;
	for (size_t i = 0; i < r->n; i++) {
		struct member *m = r->at[i];
		Caravan__Entry *e = r->list[i] = &r->entries[i];
		caravan__entry__init(e);
		e->node = wire_node(&m->id);
		e->version = m->version;
		e->name = m->name;
		e->endpoint = wire_string(member_endpoint(m));
		e->expelled = m->expelled;
		e->left = m->left;
		for (size_t k = 1; k < m->nendpoints && (further || m->self); k++)
			r->further[i][e->n_further++] = m->endpoints[k];
		e->further = r->further[i];
	}
	update.roster = r->list;
	update.n_roster = r->n;
	return caravan__roster_update__get_packed_size(&update);
}

void roster_entries(struct roster *r, Caravan__Entry ***entries, size_t *count) {
	if (roster_make_entries(r, true) + ENVELOPE_ROOM > WIRE_ENVELOPE_MAX)
		roster_make_entries(r, false);
	*entries = r->list;
	*count = r->n;
}

/* ---- changes ------------------------------------------------------------------------------------------ */

static int roster_order(const void *a, const void *b) {
	const struct member *x = *(struct member *const *)a, *y = *(struct member *const *)b;
	int c = strcmp(x->name, y->name);
	return c ? c : node_id_compare(&x->id, &y->id);
}

/* Whether the roster still fits an envelope with one more entry of this size. */
static bool roster_fits(struct roster *r, size_t more) {
	return roster_make_entries(r, false) + more + ENVELOPE_ROOM <= WIRE_ENVELOPE_MAX;
}

static struct member *roster_add(struct roster *r, const struct node_id *id, size_t size) {
	struct member *m;
	if (r->n == WIRE_NODES_MAX || !roster_fits(r, size) || !(m = calloc(1, sizeof *m)))
		return NULL;
	m->id = *id;
	m->self = node_id_equal(id, &r->self);
	r->at[r->n++] = m;
	return m;
}

/* The valid endpoints of an entry that we received; how many. */
static size_t roster_entry_endpoints(const Caravan__Entry *e, char out[WIRE_ENDPOINTS_MAX][ADDRESS_MAX]) {
	size_t n = 0;
	if (e->endpoint[0])
		snprintf(out[n++], ADDRESS_MAX, "%s", e->endpoint);
	for (size_t i = 0; i < e->n_further && n < WIRE_ENDPOINTS_MAX; i++)
		if (e->further[i][0])
			snprintf(out[n++], ADDRESS_MAX, "%s", e->further[i]);
	return n;
}

static void roster_write_member(struct roster *r, struct member *m, const char *name,
        char (*endpoints)[ADDRESS_MAX], size_t n, bool expelled, uint64_t version) {
	/* name and endpoints may be the member's own; a tombstone keeps the name, for people, and needs no
	 * endpoint */
	memmove(m->name, name, strnlen(name, sizeof m->name - 1) + 1);
	m->name[sizeof m->name - 1] = 0;
	m->nendpoints = expelled ? 0 : n < WIRE_ENDPOINTS_MAX ? n : WIRE_ENDPOINTS_MAX;
	if (m->nendpoints)
		memmove(m->endpoints, endpoints, m->nendpoints * sizeof *m->endpoints);
	m->expelled = expelled;
	m->version = version;
	qsort(r->at, r->n, sizeof *r->at, roster_order);
}

/* When a node was expelled, as far as the report can be believed. */
static uint64_t roster_expelled_at(uint64_t reported) {
	uint64_t now = (uint64_t)time(NULL);
	return reported && reported < now ? reported : now;
}

int roster_edit(struct roster *r, const struct node_id *id, const char *name, char (*endpoints)[ADDRESS_MAX],
        size_t n, bool expelled, uint64_t above) {
	struct member *m = roster_find(r, id);
	if (!m)
		m = roster_add(r, id, strlen(name) + ADDRESS_MAX + 64);
	if (!m)
		return -ENOSPC;
	uint64_t version = above > m->version ? above : m->version;
	m->left = expelled ? roster_expelled_at(m->left) : 0;
	/* beyond VERSION_LAST nobody would accept our roster, nor could we load it again */
	roster_write_member(
	        r, m, name, endpoints, n, expelled, version < VERSION_LAST ? version + 1 : version);
	return 0;
}

enum roster_change roster_take(struct roster *r, const Caravan__Entry *e, struct member **which) {
	char endpoints[WIRE_ENDPOINTS_MAX][ADDRESS_MAX];
	size_t n = roster_entry_endpoints(e, endpoints);
	struct node_id id;
	*which = NULL;
	if (node_id_from_bytes(&id, e->node) != 0)
		return ROSTER_SAME;
	struct member *m = *which = roster_find(r, &id);
	if (m && m->expelled)
		return ROSTER_SAME;
	if (!m) {
		m = *which = roster_add(r, &id, caravan__entry__get_packed_size(e));
		if (!m)
			return ROSTER_FULL;
		m->left = e->expelled ? roster_expelled_at(e->left) : 0;
		roster_write_member(r, m, e->name, endpoints, n, e->expelled, e->version);
		return e->expelled ? ROSTER_EXPELLED : ROSTER_NEW;
	}
	if (e->expelled) {
		/* from now, since it was alive here: an earlier date could have it pruned at once, and the
		 * node could return */
		m->left = roster_expelled_at(0);
		roster_write_member(
		        r, m, m->name, NULL, 0, true, e->version > m->version ? e->version : m->version);
		return ROSTER_EXPELLED;
	}
	if (e->version <= m->version)
		return ROSTER_SAME;
	if (m->self)
		return ROSTER_AHEAD;
	roster_write_member(r, m, e->name, endpoints, n, false, e->version);
	return ROSTER_CHANGED;
}

enum roster_change roster_take_own(struct roster *r, const Caravan__Entry *e, struct member **which) {
	char endpoints[WIRE_ENDPOINTS_MAX][ADDRESS_MAX];
	size_t n = roster_entry_endpoints(e, endpoints);
	struct node_id id;
	struct member *m = node_id_from_bytes(&id, e->node) == 0 ? roster_find(r, &id) : NULL;
	if (!m || m->expelled || m->self || e->expelled || e->version > m->version)
		return roster_take(r, e, which);
	*which = m;
	bool same = strcmp(m->name, e->name) == 0 && m->nendpoints == n;
	for (size_t i = 0; i < n && same; i++)
		same = strcmp(m->endpoints[i], endpoints[i]) == 0;
	if (same)
		return ROSTER_SAME;
	roster_write_member(r, m, e->name, endpoints, n, false, m->version);
	return ROSTER_CHANGED;
}

static bool roster_tombstone_known(const struct roster *r, const struct member *grave) {
	for (size_t i = 0; i < r->n; i++) {
		const struct member *m = r->at[i];
		if (!m->self && !m->expelled && m->agreed <= grave->left)
			return false;
	}
	return true;
}

size_t roster_prune(struct roster *r, uint64_t now) {
	size_t kept = 0, n = r->n;
	for (size_t i = 0; i < n; i++) {
		struct member *m = r->at[i];
		if (!m->expelled || m->self || m->left + ROSTER_TOMBSTONE_SECONDS > now ||
		        !roster_tombstone_known(r, m)) {
			r->at[kept++] = m;
			continue;
		}
		m->next_pruned = r->pruned;
		r->pruned = m;
	}
	r->n = kept;
	return n - kept;
}

bool roster_tombstone_is_old(const Caravan__Entry *e, uint64_t now) {
	return e->expelled && e->left && e->left + ROSTER_TOMBSTONE_SECONDS <= now;
}

/* ---- the file: an envelope with RosterUpdate, as it travels ------------------------------------------- */

int roster_load(struct roster *r, const char *state_dir, char *err, size_t errlen) {
	char path[PATH_MAX], why[200] = "not a roster";
	uint8_t *frame = NULL;
	size_t len = 0;
	snprintf(path, sizeof path, "%s/roster", state_dir);
	int rc = durable_read(AT_FDCWD, path, WIRE_ENVELOPE_MAX, &frame, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc && rc != -EFBIG)
		return fail_with(rc, err, errlen, "%s: %s", path, strerror(-rc));
	Caravan__Envelope *env = rc ? NULL : wire_unpack(frame, len, 0, WIRE_ROUTER, why, sizeof why);
	free(frame);
	if (!env || env->body_case != CARAVAN__ENVELOPE__BODY_ROSTER) {
		snprintf(err, errlen, "%s is damaged: %s", path, why);
		wire_free(env);
		return -EINVAL;
	}
	bool ours = false;
	for (size_t i = 0; i < env->roster->n_roster; i++)
		ours |= memcmp(env->roster->roster[i]->node.data, r->self.b, sizeof r->self.b) == 0;
	for (size_t i = 0; i < env->roster->n_roster && ours; i++) {
		struct member *m;
		roster_take(r, env->roster->roster[i], &m);
	}
	wire_free(env);
	return 0;
}

int roster_pack(struct roster *r, uint8_t **frame, size_t *len) {
	Caravan__RosterUpdate update = CARAVAN__ROSTER_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ROSTER, roster, &update);
	roster_entries(r, &update.roster, &update.n_roster);
	return wire_pack(&env, frame, len);
}

int roster_save(struct roster *r, const char *state_dir, char *err, size_t errlen) {
	uint8_t *frame = NULL;
	size_t len;
	int rc = roster_pack(r, &frame, &len);
	if (rc == 0)
		rc = durable_write_in(state_dir, "roster", frame, len);
	free(frame);
	if (rc)
		snprintf(err, errlen, "cannot write %s/roster: %s", state_dir, strerror(-rc));
	return rc;
}
