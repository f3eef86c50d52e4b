/* live: the state of the cluster for clients of the HTTP API who look at it, once or as it changes.
 *
 * Owns: the watchers, and the last report that they were given.  The loop collects a report for all of them together: as long as
 * there is a watcher, twice a second, and at once when the state of a node or a model changes.  It packs the messages of
 * `caravan status`; the HTTP thread makes JSON of them.  Events of the cluster are followed for all watchers together too.  Without a
 * watcher nothing is collected or followed.
 * Bounds: LIVE_WATCHERS_MAX; one report at most is on its way to the HTTP thread; a watcher that does not take a report gets a
 * later one, and nothing is kept for it.
 * Threads: see each function; between them a watcher is a crossing (crossing.h). */
#ifndef DAEMON_API_LIVE_H
#define DAEMON_API_LIVE_H
#include "daemon/members/cluster_events.h"
#include "daemon/serve/dispatch.h"

#define LIVE_WATCHERS_MAX 64
#define LIVE_EVENTS 64    /* of the latest events, which a watcher gets first */
#define LIVE_MS 500       /* between reports, */
#define LIVE_CHANGE_MS 50 /* and at least so long after a change, for what it brings about */
#define LIVE_QUIET_S 5    /* a report that brings nothing but passing time is passed on this late */

#define LIVE_WATCH_S \
	600 /* a watcher is let go after so long: whoever comes again is asked for a valid key again */

struct live;
struct live_watcher;

/* Loop.  All borrowed; events: NULL: there are none.  0 or -ENOMEM. */
int live_create(struct live **out, struct loop *loop, struct serve *s, struct cluster_events *events);
/* The HTTP server has started; what its thread asked for before is begun after this. */
int live_attach(struct live *l, struct loop *http);
/* The state of a node or of a model has changed. */
void live_changed(struct live *l);
void live_destroy(struct live *l); /* NULL allowed; when the HTTP thread has ended */

/* HTTP thread.  report: called with the first report, and, until live_release, with each that says something new; false: not
 * taken, so the next one is offered whatever it says.  Once it has watched for LIVE_WATCH_S, json is NULL: it calls live_release.
 * event: the same for each event, the latest ones first of all, in order; one that is not taken is offered again while it is one
 * of the latest; NULL: they are not wanted.  Neither is called within live_watch.
 * 0, -EBUSY: too many watch; -ENOMEM. */
typedef bool live_fn(void *arg, const char *json, size_t len);
int live_watch(struct live_watcher **out, struct live *l, live_fn *report, live_fn *event, void *arg);
void live_release(struct live_watcher *w); /* once; also within report */

#endif
