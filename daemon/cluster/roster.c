#include "config.h"

#include "daemon/cluster/roster.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION_LAST ((uint64_t)1 << 53) /* that passes the door (proto/rules.c) */
#define ENVELOPE_ROOM 256                /* beside the roster: what else is in an envelope that carries it */

void roster_init(struct roster *r, const struct node_id *self) {
	memset(r, 0, sizeof *r);
	r->self = *self;
}

void roster_clear(struct roster *r) {
	while (r->n)
		free(r->at[--r->n]);
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

void roster_entries(struct roster *r, Caravan__Entry ***entries, size_t *count) {
	for (size_t i = 0; i < r->n; i++) {
		struct member *m = r->at[i];
		Caravan__Entry *e = r->list[i] = &r->entries[i];
		caravan__entry__init(e);
		e->node = (ProtobufCBinaryData){sizeof m->id.b, m->id.b};
		e->version = m->version;
		e->name = m->name;
		e->endpoint = m->endpoint;
		e->expelled = m->expelled;
	}
	*entries = r->list;
	*count = r->n;
}

/* ---- changes ------------------------------------------------------------------------------------------ */

static int member_order(const void *a, const void *b) {
	const struct member *x = *(struct member *const *)a, *y = *(struct member *const *)b;
	int c = strcmp(x->name, y->name);
	return c ? c : node_id_compare(&x->id, &y->id);
}

/* Whether the whole still fits an envelope when one more entry of this size is added. */
static bool roster_fits(struct roster *r, size_t more) {
	Caravan__RosterNews news = CARAVAN__ROSTER_NEWS__INIT;
	roster_entries(r, &news.roster, &news.n_roster);
	return caravan__roster_news__get_packed_size(&news) + more + ENVELOPE_ROOM <= WIRE_ENVELOPE_MAX;
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

static void member_write(struct roster *r, struct member *m, const char *name, const char *endpoint,
        bool expelled, uint64_t version) {
	/* either may be the member's own; a tombstone keeps the name, for people, and needs no endpoint */
	memmove(m->name, name, strnlen(name, sizeof m->name - 1) + 1);
	m->name[sizeof m->name - 1] = 0;
	if (expelled)
		endpoint = "";
	memmove(m->endpoint, endpoint, strnlen(endpoint, sizeof m->endpoint - 1) + 1);
	m->endpoint[sizeof m->endpoint - 1] = 0;
	m->expelled = expelled;
	m->version = version;
	qsort(r->at, r->n, sizeof *r->at, member_order);
}

int roster_edit(struct roster *r, const struct node_id *id, const char *name, const char *endpoint,
        bool expelled, uint64_t above) {
	struct member *m = roster_find(r, id);
	if (!m)
		m = roster_add(r, id, strlen(name) + strlen(endpoint) + 64);
	if (!m)
		return -ENOSPC;
	uint64_t version = above > m->version ? above : m->version;
	/* beyond the last nobody would let our roster in, nor could we read it again */
	member_write(r, m, name, endpoint, expelled, version < VERSION_LAST ? version + 1 : version);
	return 0;
}

enum roster_change roster_take(struct roster *r, const Caravan__Entry *e, struct member **which) {
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
		member_write(r, m, e->name, e->endpoint, e->expelled, e->version);
		return e->expelled ? ROSTER_EXPELLED : ROSTER_NEW;
	}
	if (e->expelled) {
		member_write(r, m, m->name, "", true, e->version > m->version ? e->version : m->version);
		return ROSTER_EXPELLED;
	}
	if (e->version <= m->version)
		return ROSTER_SAME;
	if (m->self)
		return ROSTER_AHEAD;
	member_write(r, m, e->name, e->endpoint, false, e->version);
	return ROSTER_CHANGED;
}

enum roster_change roster_take_own(struct roster *r, const Caravan__Entry *e, struct member **which) {
	struct node_id id;
	struct member *m = node_id_from_bytes(&id, e->node) == 0 ? roster_find(r, &id) : NULL;
	if (!m || m->expelled || m->self || e->expelled || e->version > m->version)
		return roster_take(r, e, which);
	*which = m;
	if (strcmp(m->name, e->name) == 0 && strcmp(m->endpoint, e->endpoint) == 0)
		return ROSTER_SAME;
	member_write(r, m, e->name, e->endpoint, false, m->version);
	return ROSTER_CHANGED;
}

/* ---- the file: an envelope with RosterNews, as it travels --------------------------------------------- */

int roster_load(struct roster *r, const char *state_dir, char *err, size_t errlen) {
	char path[PATH_MAX], why[200];
	uint8_t frame[WIRE_ENVELOPE_MAX + 1];
	snprintf(path, sizeof path, "%s/roster", state_dir);
	FILE *f = fopen(path, "rbe");
	if (!f && errno == ENOENT)
		return 0;
	size_t len = f ? fread(frame, 1, sizeof frame, f) : 0;
	int rc = f && !ferror(f) ? 0 : -errno;
	if (f)
		fclose(f);
	if (rc) {
		snprintf(err, errlen, "%s: %s", path, strerror(-rc));
		return rc;
	}
	Caravan__Envelope *env = wire_unpack(frame, len, 0, WIRE_ROUTER, why, sizeof why);
	if (!env || env->body_case != CARAVAN__ENVELOPE__BODY_ROSTER) {
		snprintf(err, errlen, "%s is damaged: %s", path, env ? "not a roster" : why);
		wire_free(env);
		return -EINVAL;
	}
	for (size_t i = 0; i < env->roster->n_roster; i++) {
		struct member *m;
		roster_take(r, env->roster->roster[i], &m);
	}
	wire_free(env);
	return 0;
}

int roster_save(struct roster *r, const char *state_dir, char *err, size_t errlen) {
	char path[PATH_MAX], temp[PATH_MAX];
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__RosterNews news = CARAVAN__ROSTER_NEWS__INIT;
	uint8_t *frame = NULL;
	size_t len;
	int fd = -1;
	snprintf(path, sizeof path, "%s/roster", state_dir);
	snprintf(temp, sizeof temp, "%s/.roster.%ld", state_dir, (long)getpid());
	roster_entries(r, &news.roster, &news.n_roster);
	env.body_case = CARAVAN__ENVELOPE__BODY_ROSTER;
	env.roster = &news;
	int rc = wire_pack(&env, &frame, &len);
	if (rc)
		goto error;
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, frame, len) != (ssize_t)len || fsync(fd) != 0 || rename(temp, path) != 0) {
		rc = errno ? -errno : -EIO;
		unlink(temp);
	}
error:
	if (fd >= 0)
		close(fd);
	free(frame);
	if (rc)
		snprintf(err, errlen, "cannot write %s: %s", path, strerror(-rc));
	return rc;
}
