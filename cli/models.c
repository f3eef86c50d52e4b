/* caravan models: the models that the cluster serves or has on its disks. */
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/stored.h"
#include "cli/table.h"
#include "common/size.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OPT_JSON = OPT_OWN };
static const struct option longs[] = {{"json", no_argument, NULL, OPT_JSON}, ARGS_COMMON};

static const char help[] = "Copies is how many of the nodes that are up hold every part of a model on disk;\n"
                           "a percentage is the share that they hold together when that is less than all.\n"
                           "'caravan load NAME' serves a model on disk again, 'caravan rm NAME' deletes it.\n"
                           "\n"
                           "  --json                 print the same facts as JSON\n";

static void models_age_text(uint64_t used, char *out, size_t len) {
	uint64_t now = (uint64_t)time(NULL), age = now > used ? now - used : 0;
	if (!used)
		snprintf(out, len, "-");
	else if (age < 120)
		snprintf(out, len, "just now");
	else if (age < 7200)
		snprintf(out, len, "%d min ago", (int)(age / 60));
	else if (age < 2 * 86400)
		snprintf(out, len, "%d h ago", (int)(age / 3600));
	else
		snprintf(out, len, "%d days ago", (int)(age / 86400));
}

static void models_print_row(struct table *t, const Caravan__CtlModel *m) {
	char age[32], where[512];
	models_age_text(m->used, age, sizeof age);
	stored_where(m, where, sizeof where);
	table_cell(t, "%s", m->name);
	table_cell(t, "%s", m->state);
	table_cell(t, "%s", m->bytes ? size_text((double)m->bytes).s : "-");
	table_cell(t, "%s", *m->type ? m->type : "-");
	if (m->n_on == 0)
		table_cell(t, "-");
	else if (m->copies)
		table_cell(t, "%u", m->copies);
	else
		table_cell(t, "%.0f%%", m->share < 0.99 ? 100 * m->share : 99.0);
	table_cell(t, "%s", strcmp(m->state, "serving") == 0 ? "now" : age);
	table_cell(t, "%s", where);
}

static void models_print_table(const struct stored *s) {
	static const char *const heads[] = {"model", "state", "size", "type", "copies", "last served", "on"};
	struct table t;
	table_begin(&t, sizeof heads / sizeof *heads, 0);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < s->envs; i++)
		models_print_row(&t, stored_at(s, i));
	table_print(&t, stdout, table_width_most());
	for (size_t i = 0; i < s->envs; i++)
		if (*stored_at(s, i)->reason)
			table_say(0, "%s: %s", stored_at(s, i)->name, stored_at(s, i)->reason);
}

static json_t *models_row_json(const Caravan__CtlModel *m) {
	char hex[NODE_ID_HEX];
	struct node_id id;
	json_t *on = json_array();
	for (size_t i = 0; i < m->n_on; i++)
		json_array_append_new(on, json_pack("{s:s, s:I, s:b}", "node", m->on[i]->node, "bytes",
		                                  (json_int_t)m->on[i]->bytes, "file", (int)m->on[i]->file));
	memcpy(id.b, m->manifest.data, sizeof id.b);
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:o}", "name", m->name, "id",
	        node_id_hex(&id, hex), "state", m->state, "bytes", (json_int_t)m->bytes, "copies",
	        (json_int_t)m->copies, "share", m->share, "on", on);
	if (!o)
		return NULL;
	if (*m->type)
		json_object_set_new(o, "type", json_string(m->type));
	if (*m->reason)
		json_object_set_new(o, "reason", json_string(m->reason));
	if (*m->coordinator)
		json_object_set_new(o, "coordinator", json_string(m->coordinator));
	if (m->stages)
		json_object_set_new(o, "stages", json_integer(m->stages));
	if (m->used) {
		char at[32];
		time_t used = (time_t)m->used;
		struct tm tm;
		strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&used, &tm));
		json_object_set_new(o, "last_used", json_string(at));
	}
	return o;
}

static int models_print_json(const struct stored *s) {
	json_t *models = json_array();
	for (size_t i = 0; i < s->envs; i++)
		json_array_append_new(models, models_row_json(stored_at(s, i)));
	json_t *o = json_pack("{s:i, s:o}", "version", 1, "models", models);
	return simple_json(o);
}

static int models_run(int argc, char **argv) {
	struct args a;
	struct stored s;
	bool json = false;
	args_begin(&a, &command_models, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		json = json || o == OPT_JSON;
	args_operands(&a, 0, 0, "");
	int rc = stored_fetch(&s, &a);
	if (rc != 0)
		return rc;
	if (json) {
		rc = models_print_json(&s);
	} else if (s.envs) {
		models_print_table(&s);
	} else {
		fprintf(stderr, "The cluster has no models: load one with 'caravan load FILE'.\n");
	}
	stored_clear(&s);
	return rc;
}

const struct command command_models = {.name = "models",
        .usage = "[--json]",
        .summary = "list the models that the cluster serves or has on disk",
        .help = help,
        .run = models_run};
