/* event_json: an event as programs get it, from the command and over HTTP.  Fields are added, never renamed.
 * Threads: pure; any thread. */
#ifndef DAEMON_REPORT_EVENT_JSON_H
#define DAEMON_REPORT_EVENT_JSON_H
#include "proto/wire.h"
#include <jansson.h>

#define EVENT_JSON_TIME 32
/* RFC 3339 in UTC with milliseconds: 2026-11-30T15:04:05.123Z. */
void event_json_time(double unix_time, char out[EVENT_JSON_TIME]);
/* "error", "warning" or "info". */
const char *event_json_severity(uint32_t severity);
/* A new object; NULL: no memory. */
json_t *event_json(const Caravan__CtlEvent *e);
/* The line before the known events if the latest of some nodes are missing; an object like the others, of kind
 * "events-missing", with the nodes in "missing". */
json_t *event_json_missing(const Caravan__CtlEventsMissing *m, double unix_time);

#endif
