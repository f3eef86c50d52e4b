/* top_events: the latest events of a node in caravan top. */
#include "cli/event_view.h"
#include "cli/top_internal.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

void top_events_clear(struct top_events *e) {
	while (e->n)
		wire_free(e->env[--e->n]);
	e->node[0] = '\0';
}

void top_add_events(struct top_lines *l, const struct top *t, const char *node) {
	if (!t->events.n || strcmp(t->events.node, node) != 0)
		return;
	top_add(l, TOP_TEXT, "", 0);
	top_add(l, TOP_HEAD, " what happened", strlen(" what happened"));
	for (size_t i = t->events.n;
	        i-- > 0;) { /* the latest first: the page may be longer than the screen */
		const Caravan__CtlEvent *e = t->events.env[i]->ctl_event;
		char text[EVENT_VIEW_TEXT], clock[32] = "";
		time_t at = (time_t)e->time;
		struct tm tm;
		event_view_text(e, text);
		if (localtime_r(&at, &tm))
			strftime(clock, sizeof clock, "%m-%d %H:%M:%S", &tm);
		top_say(l, t->width, e->event->severity < 2 ? TOP_BAD : TOP_TEXT, 1, "%s %s", clock, text);
	}
}
