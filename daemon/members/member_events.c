/* member_events: what the journal says of nodes that come and go.
 * Threads: the loop. */
#include "daemon/members/members_internal.h"

#include <stdio.h>

/* A node that this one has not met since its own start is back only if this one has waited for it. */
#define AWAITED_SECONDS 10

static void member_say_lost(struct members *m, const struct member *who) {
	char why[WIRE_TEXT_MAX];
	struct journal_event e = {.kind = EVENT_NODE_LOST,
	        .level = LOG_LINE_WARN,
	        .others = true,
	        .node = who->name,
	        .seconds = who->silent,
	        .parts = {{EVENT_PART_NOTICED, who->silent}}};
	double still = members_stood_still(m);
	if (still > 0)
		snprintf(why, sizeof why, "this node stood still for %.0f s, suspended or very busy", still);
	else
		members_reason(m, who, why, sizeof why);
	journal_say(m->config.journal, &e, "node %s was lost%s%s", who->name, *why ? ": " : "", why);
}

static void member_say_back(struct members *m, const struct member *who) {
	bool event = who->met || who->away >= AWAITED_SECONDS;
	struct journal_event e = {.kind = EVENT_NODE_BACK,
	        .level = LOG_LINE_INFO,
	        .others = true,
	        .node = who->name,
	        .seconds = who->met ? who->away : 0};
	journal_say(
	        event ? m->config.journal : NULL, &e, "node %s is %s", who->name, who->met ? "back" : "up");
}

void member_say_change(struct members *m, const struct member *who, enum member_change change) {
	if (change == MEMBER_DOWN && !who->expelled && !members_own(m)->expelled)
		member_say_lost(m, who);
	else if (change == MEMBER_UP)
		member_say_back(m, who);
	else /* limited, since other nodes determine how often this happens */
		log_others(LOG_LINE_INFO, "node %s %s", who->name, member_change_text(change));
}

void member_say_joined(struct members *m, const struct member *who, const char *how) {
	struct journal_event e = {
	        .kind = EVENT_NODE_JOINED, .level = LOG_LINE_INFO, .others = true, .node = who->name};
	journal_say(m->config.journal, &e, "node %s joined%s", who->name, how);
}

void member_say_gone(struct members *m, const struct member *who, bool left) {
	struct journal_event e = {.kind = left ? EVENT_NODE_LEFT : EVENT_NODE_EXPELLED,
	        .level = LOG_LINE_WARN,
	        .others = true,
	        .node = who->name};
	journal_say(m->config.journal, &e, "node %s %s the cluster", who->name,
	        left ? "has left" : "was expelled from");
}
