/* join_client: see join_client.h.  Tries the endpoints of the invitation in turn, until one answers. */
#include "config.h"

#include "daemon/net/connection.h"
#include "daemon/net/join_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPT_MS 4000 /* per endpoint, including the answer */

struct join_client {
	struct join_client_config config;
	struct keys keys;
	struct node_id server;
	char **endpoints;
	size_t nendpoints, current;
	uint8_t *ask; /* packed */
	size_t ask_len;
	struct connection *connection;
	struct loop_timer *timer;
	bool refused;   /* an inviter answered, but did not admit the key */
	char last[160]; /* why the last attempt failed */
};

static void join_attempt(void *arg);

static void join_end(struct join_client *j, Caravan__Entry *const *entries, size_t count, const char *error) {
	peers_join_fn *done = j->config.done;
	void *arg = j->config.arg;
	loop_timer_stop(j->timer);
	j->timer = NULL;
	done(arg, entries, count, error ? "" : j->endpoints[j->current], error);
}

/* All endpoints failed: reports which were tried. */
static void join_give_up(struct join_client *j) {
	char error[1024];
	if (j->refused) {
		snprintf(error, sizeof error,
		        "the invitation was refused: it has expired or was already used");
	} else {
		int n = snprintf(error, sizeof error, "cannot reach the inviting node at");
		for (size_t i = 0; i < j->nendpoints && n > 0 && (size_t)n < sizeof error; i++)
			n += snprintf(
			        error + n, sizeof error - (size_t)n, "%s %s", i ? "," : "", j->endpoints[i]);
		if (n > 0 && (size_t)n < sizeof error)
			snprintf(error + n, sizeof error - (size_t)n, ": %s", j->last);
	}
	join_end(j, NULL, 0, error);
}

static void join_next(struct join_client *j, const char *why) {
	snprintf(j->last, sizeof j->last, "%s", why);
	connection_destroy(j->connection);
	j->connection = NULL;
	j->current++;
	loop_timer_stop(j->timer);
	j->timer = loop_timer_start(j->config.loop, 0, false, join_attempt, j);
}

static void join_too_slow(void *arg) {
	struct join_client *j = arg;
	j->timer = NULL;
	join_next(j, "no answer in time");
}

static void join_opened(void *arg) {
	struct join_client *j = arg;
	Caravan__Join *ask = caravan__join__unpack(NULL, j->ask_len, j->ask);
	Caravan__Envelope env = WIRE_ENVELOPE(JOIN, join, ask);
	int rc = -ENOMEM;
	env.ref = 1;
	if (ask) {
		char *none = ask->dialed; /* the default string of the message */
		ask->dialed = j->endpoints[j->current];
		rc = connection_send(j->connection, &env, NULL, WIRE_ROUTER_INVITED);
		ask->dialed = none;
		caravan__join__free_unpacked(ask, NULL);
	}
	if (rc)
		join_next(j, strerror(-rc));
}

static void join_message(void *arg, const Caravan__Envelope *env, struct payload *payload) {
	struct join_client *j = arg;
	(void)payload;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_JOINED)
		join_end(j, env->joined->roster, env->joined->n_roster, NULL);
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED)
		join_end(j, NULL, 0, env->refused->reason[0] ? env->refused->reason : "refused");
	else
		join_next(j, "an unexpected answer");
}

static void join_lost(void *arg, const char *why, bool key_refused) {
	struct join_client *j = arg;
	j->refused |= key_refused;
	join_next(j, why);
}

static void join_attempt(void *arg) {
	static const struct connection_ops ops = {join_opened, join_message, join_lost};
	struct join_client *j = arg;
	const struct join_client_config *c = &j->config;
	j->timer = NULL;
	if (j->current >= j->nendpoints) {
		join_give_up(j);
		return;
	}
	j->timer = loop_timer_start(c->loop, ATTEMPT_MS, false, join_too_slow, j);
	int rc = connection_create(&j->connection, c->loop, c->ctx, c->watch, &j->keys, &j->server,
	        j->endpoints[j->current], c->boot, &ops, j);
	if (rc) {
		j->connection = NULL;
		join_next(j, strerror(-rc));
	}
}

int join_client_create(struct join_client **out, const struct join_client_config *c) {
	struct join_client *j = calloc(1, sizeof *j);
	if (!j)
		return -ENOMEM;
	j->config = *c;
	j->keys = *c->invitation;
	j->server = *c->server;
	j->ask_len = caravan__join__get_packed_size(c->ask);
	j->ask = malloc(j->ask_len + 1);
	j->endpoints = calloc(c->nendpoints + 1, sizeof *j->endpoints);
	if (!j->ask || !j->endpoints)
		goto error;
	caravan__join__pack(c->ask, j->ask);
	for (; j->nendpoints < c->nendpoints; j->nendpoints++)
		if (!(j->endpoints[j->nendpoints] = strdup(c->endpoints[j->nendpoints])))
			goto error;
	j->timer = loop_timer_start(c->loop, 0, false, join_attempt, j);
	if (!j->timer)
		goto error;
	*out = j;
	return 0;
error:
	join_client_destroy(j);
	return -ENOMEM;
}

void join_client_destroy(struct join_client *j) {
	if (!j)
		return;
	connection_destroy(j->connection);
	loop_timer_stop(j->timer);
	for (size_t i = 0; i < j->nendpoints; i++)
		free(j->endpoints[i]);
	free(j->endpoints);
	free(j->ask);
	keys_wipe(&j->keys);
	free(j);
}
