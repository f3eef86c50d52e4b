/* deploy_events: what the journal says of models: loads and recoveries, with what each part of them took.
 * Threads: the loop. */
#include "common/size.h"
#include "daemon/deploy/load.h"
#include "shard/gguf/gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STAGES_NAMED 6 /* of a plan, in a sentence */

void deploy_say(const struct deploy *d, enum journal_kind kind, enum log_level level, const char *model,
        const char *fmt, ...) {
	char text[WIRE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	journal_say(members_journal(d->c.members),
	        &(struct journal_event){.kind = kind, .level = level, .model = model}, "%s", text);
}

void deploy_say_unavailable(const struct model *m, const char *why) {
	/* limited for models of other nodes, which decide how many they coordinate */
	journal_say(members_journal(m->d->c.members),
	        &(struct journal_event){.kind = EVENT_MODEL_UNAVAILABLE,
	                .level = LOG_LINE_WARN,
	                .others = !model_ours(m),
	                .model = m->plan->model,
	                .node = m->lost_node},
	        "model %s is unavailable: %s", m->plan->model, why);
}

/* "2 nodes: alpha 0-7, beta 8-15" */
static void events_describe_stages(const struct model *m, char *out, size_t len) {
	const Caravan__Plan *p = m->plan;
	size_t at = (size_t)snprintf(out, len, "%zu node%s", p->n_stages, p->n_stages == 1 ? "" : "s");
	for (size_t i = 0; i < p->n_stages && i < STAGES_NAMED && at < len; i++) {
		struct node_id id;
		node_id_from_bytes(&id, p->stages[i]->node); /* 32 bytes: validated on arrival */
		at += (size_t)snprintf(out + at, len - at, "%s %s %s", i ? "," : ":",
		        deploy_node_name(m->d, &id), size_layers(p->stages[i]->first, p->stages[i]->last).s);
	}
	if (p->n_stages > STAGES_NAMED && at < len)
		snprintf(out + at, len - at, ", ...");
}

static double events_seconds(const struct load *l, enum load_state first, enum load_state last) {
	uint64_t ns = 0;
	for (size_t i = first; i <= last; i++)
		ns += l->spent_ns[i];
	return (double)ns * 1e-9;
}

static void event_add_part(struct journal_event *e, const char *name, double seconds) {
	size_t i = 0;
	while (e->parts[i].name)
		i++;
	e->parts[i].name = name;
	e->parts[i].seconds = seconds;
	e->seconds += seconds;
}

/* What the load itself took; events_seconds of all its states, in parts. */
static void event_add_load(struct journal_event *e, const struct load *l) {
	bool file = l->spent_ns[LOAD_IMPORTING] > 0;
	if (l->spent_ns[LOAD_READING])
		event_add_part(e, EVENT_PART_READ, events_seconds(l, LOAD_READING, LOAD_READING));
	if (file)
		event_add_part(e, EVENT_PART_HASHED, events_seconds(l, LOAD_IMPORTING, LOAD_IMPORTING));
	if (l->spent_ns[LOAD_SETTLING])
		event_add_part(e, EVENT_PART_LINKS, events_seconds(l, LOAD_SETTLING, LOAD_SETTLING));
	event_add_part(e, EVENT_PART_PLANNED, events_seconds(l, LOAD_INVENTORY, LOAD_NUMBERING));
	event_add_part(e, EVENT_PART_WEIGHTS, events_seconds(l, LOAD_PREPARING, LOAD_PREPARING));
	event_add_part(e, EVENT_PART_ANNOUNCED, events_seconds(l, LOAD_ANNOUNCING, LOAD_ANNOUNCING));
	e->moved = l->moved;
}

/* Nothing where a model of that name is served: either it is the same, and no load follows, or the load fails. */
void load_say_started(const struct load *l) {
	const char *file = strrchr(l->file, '/');
	const struct model *has = deploy_model_named(l->d, l->name);
	if (has && has->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		return;
	if (l->stored[0])
		deploy_say(l->d, EVENT_LOAD_STARTED, LOG_LINE_INFO, l->name,
		        "model %s is being loaded from the cluster's disks", l->name);
	else
		deploy_say(l->d, EVENT_LOAD_STARTED, LOG_LINE_INFO, l->name,
		        "model %s is being loaded from %s", l->name, file ? file + 1 : l->file);
}

/* Attempts go on for as long as nodes are away: only the first is an event, so that the others do not displace what else
 * happened. */
static struct journal *events_journal_of_try(const struct load *l, const struct model *m) {
	return m && m->tries ? NULL : members_journal(l->d->c.members);
}

/* What the whole cluster may know of a file: neither what is in it nor in which folder it is. */
static void events_describe_failure(const struct load *l, char *text, size_t len) {
	const char *error = l->error, *base = l->file ? strrchr(l->file, '/') : NULL;
	size_t folder = base ? (size_t)(base + 1 - l->file) : 0;
	if (folder && strncmp(error, l->file, folder) == 0)
		error += folder;
	const char *quote = strstr(error, GGUF_QUOTES);
	snprintf(text, len, "%.*s", quote ? (int)(quote - error) : (int)strlen(error), error);
}

void load_say_failed(const struct load *l) {
	char why[DEPLOY_ERROR];
	const struct journal_event e = {.kind = l->revival ? EVENT_RECOVERY_FAILED : EVENT_LOAD_FAILED,
	        .level = LOG_LINE_WARN,
	        .model = l->name};
	events_describe_failure(l, why, sizeof why);
	journal_say(l->revival ? events_journal_of_try(l, l->m) : members_journal(l->d->c.members), &e,
	        l->revival ? "model %s cannot be brought back now: %s" : "model %s was not loaded: %s",
	        l->name, why);
}

void load_say_recovery(const struct load *l, const struct model *m, const char *how) {
	const struct journal_event e = {
	        .kind = model_ours(m) ? EVENT_RECOVERY_STARTED : EVENT_MODEL_TAKEN_OVER,
	        .level = LOG_LINE_INFO,
	        .model = l->name};
	journal_say(events_journal_of_try(l, m), &e, "model %s: %s", l->name, how);
}

void load_say_plan(const struct load *l) {
	char stages[WIRE_TEXT_MAX];
	events_describe_stages(l->m, stages, sizeof stages);
	deploy_say(l->d, EVENT_PLAN_CHANGED, LOG_LINE_INFO, l->name, "model %s has a new plan for %s",
	        l->name, stages);
}

void load_say_served(const struct load *l) {
	char stages[WIRE_TEXT_MAX], moved[48] = "";
	const struct model *m = l->m;
	bool again = l->revival && m->lost_ns;
	struct journal_event e = {.kind = again ? EVENT_MODEL_RECOVERED : EVENT_MODEL_SERVING,
	        .level = LOG_LINE_INFO,
	        .model = l->name};
	if (again) {
		event_add_part(&e, EVENT_PART_NOTICED, m->noticed);
		event_add_part(&e, EVENT_PART_WAITED,
		        l->began_ns > m->lost_ns ? (double)(l->began_ns - m->lost_ns) * 1e-9 : 0);
	}
	event_add_load(&e, l);
	events_describe_stages(m, stages, sizeof stages);
	if (l->moved)
		snprintf(moved, sizeof moved, "; %s of weights moved", size_text((double)l->moved).s);
	journal_say(members_journal(l->d->c.members), &e, "model %s serves%s on %s%s", l->name,
	        again ? " again" : "", stages, moved);
}
