/* events: see events.h. */
#include "daemon/api/events.h"
#include "daemon/members/cluster_events.h"

#include <stdio.h>
#include <stdlib.h>

/* A command under way. */
struct events_command {
	struct control_conn *conn;
	struct cluster_events *events;
	struct cluster_gather *gather;
	struct cluster_watch *watch;
	bool follow;
	size_t last;
	double since;
	char node[WIRE_NAME_MAX + 1], model[WIRE_NAME_MAX + 1];
};

static void events_free(struct events_command *e) {
	cluster_events_cancel(e->gather);
	cluster_events_unwatch(e->watch);
	free(e);
}

/* The client has gone. */
static void events_cancel(void *arg) {
	events_free(arg);
}

static void events_send(void *arg, const Caravan__CtlEvent *event) {
	struct events_command *e = arg;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_EVENT, ctl_event, (Caravan__CtlEvent *)event);
	control_send(e->conn, &env, NULL, 0);
}

struct events_missing {
	Caravan__CtlEventsOf of[WIRE_NODES_MAX], *list[WIRE_NODES_MAX];
	size_t n;
};

static void events_add_missing(void *arg, const struct member *who, const char *why) {
	struct events_missing *m = arg;
	if (m->n == WIRE_NODES_MAX)
		return;
	Caravan__CtlEventsOf *of = m->list[m->n] = &m->of[m->n];
	caravan__ctl_events_of__init(of);
	of->name = wire_string(who->name);
	of->why = wire_string(why);
	m->n++;
}

static void events_send_missing(struct events_command *e) {
	Caravan__CtlEventsMissing body = CARAVAN__CTL_EVENTS_MISSING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_EVENTS_MISSING, ctl_events_missing, &body);
	struct events_missing m = {.n = 0};
	cluster_events_missing(e->events, e->gather, events_add_missing, &m);
	body.nodes = m.list;
	body.n_nodes = m.n;
	control_send(e->conn, &env, NULL, 0);
}

static void events_fail(struct events_command *e) {
	struct control_conn *conn = e->conn;
	events_free(e);
	control_error(conn, "out of memory");
}

/* All nodes have answered, or have had the time to; or none was asked. */
static void events_gathered(void *arg) {
	struct events_command *e = arg;
	const struct cluster_events_filter f = {
	        .last = e->last, .since = e->since, .node = e->node, .model = e->model};
	struct control_conn *conn = e->conn;
	events_send_missing(e);
	e->gather = NULL; /* freed by its owner after this call */
	if (cluster_events_list(e->events, &f, events_send, e) != 0 ||
	        (e->follow && !(e->watch = cluster_events_watch(e->events, &f, events_send, e)))) {
		events_fail(e);
	} else if (!e->follow) {
		events_free(e);
		control_end(conn, NULL);
	}
}

void events_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	const Caravan__CtlEvents *q = env->ctl_events;
	struct events_command *e = calloc(1, sizeof *e);
	const struct member *who = members_named(serve_members(control_serve(c)), q->node);
	(void)payload;
	(void)len;
	if (!e) {
		control_error(c, "out of memory");
		return;
	}
	*e = (struct events_command){.conn = c,
	        .events = control_events(c),
	        .follow = q->follow,
	        .last = q->last,
	        .since = q->since};
	snprintf(e->node, sizeof e->node, "%s",
	        who ? who->name : q->node); /* a node that is gone has events too */
	snprintf(e->model, sizeof e->model, "%s", q->model);
	control_running(c, events_cancel, e);
	if (q->known)
		events_gathered(e);
	else if (!(e->gather = cluster_events_gather(e->events, events_gathered, e)))
		events_fail(e);
}
