/* event_json: see event_json.h. */
#include "daemon/report/event_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void event_json_time(double unix_time, char out[EVENT_JSON_TIME]) {
	double whole = floor(unix_time);
	time_t at = (time_t)whole;
	int ms = (int)((unix_time - whole) * 1000);
	struct tm tm;
	if (!gmtime_r(&at, &tm) || strftime(out, EVENT_JSON_TIME, "%Y-%m-%dT%H:%M:%S", &tm) != 19)
		snprintf(out, EVENT_JSON_TIME, "1970-01-01T00:00:00"); /* a year beyond 9999 */
	snprintf(out + 19, EVENT_JSON_TIME - 19, ".%03dZ", ms);
}

const char *event_json_severity(uint32_t severity) {
	return severity == 0 ? "error" : severity == 1 ? "warning" : "info";
}

/* What every line has. */
static json_t *event_json_begin(double time, const char *kind, uint32_t severity, const char *text) {
	char at[EVENT_JSON_TIME];
	event_json_time(time, at);
	return json_pack("{s:s, s:f, s:s, s:s, s:s}", "time", at, "unix", time, "kind", kind, "severity",
	        event_json_severity(severity), "text", text);
}

json_t *event_json(const Caravan__CtlEvent *e) {
	const Caravan__Event *v = e->event;
	json_t *seen = json_array(), *parts = json_object();
	json_t *o = event_json_begin(e->time, v->kind, v->severity, v->text);
	for (size_t i = 0; i < e->n_seen; i++)
		json_array_append_new(seen, json_string(e->seen[i]));
	for (size_t i = 0; i < v->n_parts; i++)
		json_object_set_new(parts, v->parts[i]->name, json_real(v->parts[i]->seconds));
	json_object_set_new(o, "node", json_string(e->node));
	json_object_set_new(o, "serial", json_integer((json_int_t)v->serial));
	json_object_set_new(o, "seen_by", seen);
	if (*v->node)
		json_object_set_new(o, "about", json_string(v->node));
	if (*v->model)
		json_object_set_new(o, "model", json_string(v->model));
	if (v->seconds > 0 || v->n_parts)
		json_object_set_new(o, "seconds", json_real(v->seconds));
	if (v->n_parts)
		json_object_set(o, "parts", parts);
	json_decref(parts);
	if (v->n_parts || v->moved)
		json_object_set_new(o, "moved_bytes", json_integer((json_int_t)v->moved));
	return o;
}

json_t *event_json_missing(const Caravan__CtlEventsMissing *m, double unix_time) {
	json_t *list = json_array();
	json_t *o = event_json_begin(
	        unix_time, "events-missing", 1, "the latest events of some nodes are missing");
	for (size_t i = 0; i < m->n_nodes; i++)
		json_array_append_new(
		        list, json_pack("{s:s, s:s}", "node", m->nodes[i]->name, "why", m->nodes[i]->why));
	json_object_set_new(o, "missing", list);
	return o;
}
