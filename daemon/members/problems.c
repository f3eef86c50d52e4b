/* problems: what is wrong with a node, in a sentence for people: why it is down, which nodes cannot reach
 * each other, and two machines with one key.
 * Threads: the loop. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/members/members_internal.h"
#include <stdio.h>
#include <string.h>

#define CONFLICT_NS 10000000000u /* two machines with one key count as seen this long */

/* ---- two machines with one key ------------------------------------------------------------------------- */

void member_conflicts(struct member *who, const char *text) {
	if (!who->conflict_ns || strcmp(who->conflict, text) != 0)
		log_others(LOG_LINE_WARN, "%s", text);
	snprintf(who->conflict, sizeof who->conflict, "%s", text);
	wire_line_cut(who->conflict, sizeof who->conflict - 1);
	who->conflict_ns = loop_now_ns();
}

/* What is wrong with a node's key; empty: nothing was seen recently. */
const char *member_conflict(const struct member *who) {
	return who->conflict_ns && loop_now_ns() - who->conflict_ns < CONFLICT_NS ? who->conflict : "";
}

void members_describe_duplicate(void *arg, const struct node_id *node, const char *first, const char *second,
        char *text, size_t len) {
	struct members *m = arg;
	struct member *who = roster_find(&m->roster, node);
	bool same = strcmp(first, second) == 0;
	if (!who)
		return;
	snprintf(text, len, "the key of %s is in use %s%s%s%s: run caravan leave on the copy", who->name,
	        same ? "twice at " : "at ", *first ? first : "one machine", same ? "" : " and ",
	        same ? "" : second);
	member_conflicts(who, text);
}

/* ---- in a sentence ------------------------------------------------------------------------------------- */

/* The other node whose address a failure begins with, and which therefore answered there. */
static const struct member *problems_describe_other(
        const struct members *m, const struct member *but, const char *failure) {
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		for (size_t k = 0; k < who->nendpoints && who != but && !who->expelled; k++) {
			const char *address = who->endpoints[k] + strlen("tcp://");
			size_t len = strlen(address);
			if (strncmp(failure, address, len) == 0 && failure[len] == ' ')
				return who;
		}
	}
	return NULL;
}

const char *members_reason(const struct members *m, const struct member *who, char *text, size_t len) {
	const char *failure = who->linked || who->self ? "" : peers_failure(m->peers, &who->id);
	snprintf(text, len, "%s", member_conflict(who));
	if (who->expelled && who->self)
		snprintf(text, len,
		        "this node was expelled from its cluster: caravan leave gives it a new key");
	if (who->expelled || who->self || *text)
		return text;
	if (who->blind[0]) {
		snprintf(text, len, "%s cannot reach this machine at %s: open the port, or set --advertise",
		        who->name, who->blind);
	} else if (*failure) {
		const struct member *instead = problems_describe_other(m, who, failure);
		snprintf(text, len, "cannot be reached at %s%s%s", failure,
		        instead ? "; that is the address of " : "",
		        !instead        ? ""
		        : instead->self ? "this machine"
		                        : instead->name);
	} else if (!who->linked && who->lost[0]) {
		snprintf(text, len, "%s", who->lost);
	} else if (!who->linked) {
		snprintf(text, len, "%s",
		        who->nendpoints ? "not reached yet since this daemon started"
		                        : "it has announced no address at which it can be reached");
	}
	wire_line_cut(text, len - 1);
	return text;
}

double members_since(const struct members *m, const struct member *who) {
	uint64_t from = who->since_ns ? who->since_ns : m->started_ns;
	return (double)(loop_now_ns() - from) * 1e-9;
}
