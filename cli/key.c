/* caravan key: who may use the HTTP API of this cluster. */
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "cli/text.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OPT_NAME = OPT_OWN, OPT_EXPIRES, OPT_JSON };
#define ID_DIGITS 12
#define KEY_DAYS_MAX 3650

static const struct option longs[] = {{"name", required_argument, NULL, OPT_NAME},
        {"expires", required_argument, NULL, OPT_EXPIRES}, {"json", no_argument, NULL, OPT_JSON},
        ARGS_COMMON};

static const char help[] = "create prints a new API key on standard output.  It is shown this once: the\n"
                           "cluster keeps only a hash.  Every node accepts it, in the header\n"
                           "'Authorization: Bearer KEY' or 'x-api-key: KEY'.  Once there has been a key,\n"
                           "every request needs a valid one.\n"
                           "list shows the valid keys; revoke takes the name or the id of one.\n"
                           "\n"
                           "  --name NAME            with create: what it is for, in lists and the log\n"
                           "  --expires DURATION     with create: such as 12h or 90d, at most 3650d (never)\n"
                           "  --json                 with list: print the same facts as JSON\n";

static void key_id(const Caravan__ApiKey *k, char out[ID_DIGITS + 1]) {
	for (size_t i = 0; i < ID_DIGITS / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", k->hash.data[i]);
}

static void key_time(uint64_t at, char *out, size_t len) {
	time_t t = (time_t)at;
	struct tm tm;
	if (!localtime_r(&t, &tm) || strftime(out, len, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(out, len, "-");
}

/* ---- create -------------------------------------------------------------------------------------- */

static int key_print_secret(const struct args *a, const Caravan__CtlKeyCreate *cmd) {
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_KEY_CREATE, ctl_key_create, (Caravan__CtlKeyCreate *)cmd);
	int rc = client_open(&c, a->control);
	if (rc == 0 && (rc = client_send(&c, &ask, NULL, 0, NULL, 0)) == 0) {
		rc = EXIT_FAILED;
		while ((env = client_next(&c, &payload, &len))) {
			if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR) {
				fail("%s", env->ctl_error->message);
				break;
			}
			if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT) {
				rc = text_write(payload, len);
				rc = rc ? rc : text_write("\n", 1);
				rc = rc ? EXIT_FAILED : EXIT_OK;
				break;
			}
		}
	}
	client_close(&c);
	return rc;
}

/* ---- how many ------------------------------------------------------------------------------------ */

static int key_count_answer(void *count, struct client *c, const Caravan__Envelope *env) {
	(void)c;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_KEY_LIST)
		*(size_t *)count = env->ctl_key_list->n_keys;
	return 0;
}

/* The valid keys.  Returns an exit status. */
static int key_count(const struct args *a, size_t *count) {
	Caravan__CtlKeys cmd = CARAVAN__CTL_KEYS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_KEYS, ctl_keys, &cmd);
	*count = 0;
	return simple_ask(a, &env, key_count_answer, count);
}

/* ---- list ---------------------------------------------------------------------------------------- */

static int key_print_json(const Caravan__CtlKeyList *list) {
	char id[ID_DIGITS + 1];
	json_t *all = json_array();
	for (size_t i = 0; i < list->n_keys; i++) {
		const Caravan__ApiKey *k = list->keys[i];
		key_id(k, id);
		json_array_append_new(
		        all, json_pack("{s:s, s:s, s:I, s:I}", "id", id, "name", k->name, "created",
		                     (json_int_t)k->created, "expires", (json_int_t)k->expires));
	}
	return simple_json(json_pack("{s:i, s:o}", "version", 1, "keys", all));
}

static int key_print(void *json, struct client *c, const Caravan__Envelope *env) {
	static const char *const heads[] = {"id", "name", "created", "expires"};
	const Caravan__CtlKeyList *list = env->ctl_key_list;
	struct table t;
	(void)c;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_KEY_LIST)
		return 0;
	if (*(bool *)json)
		return key_print_json(list);
	if (list->n_keys == 0) {
		fputs("no keys\n", stderr);
		return 0;
	}
	table_begin(&t, sizeof heads / sizeof *heads, 0);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < list->n_keys; i++) {
		const Caravan__ApiKey *k = list->keys[i];
		char id[ID_DIGITS + 1], created[32], expires[32] = "never";
		key_id(k, id);
		key_time(k->created, created, sizeof created);
		if (k->expires)
			key_time(k->expires, expires, sizeof expires);
		table_cell(&t, "%s", id);
		table_cell(&t, "%s", *k->name ? k->name : "-");
		table_cell(&t, "%s", created);
		table_cell(&t, "%s", expires);
	}
	table_print(&t, stdout, table_width_most());
	return 0;
}

/* ---- the command --------------------------------------------------------------------------------- */

static int key_create(const struct args *a, char *name, uint64_t seconds) {
	Caravan__CtlKeyCreate cmd = CARAVAN__CTL_KEY_CREATE__INIT;
	if (name)
		cmd.name = name;
	cmd.seconds = seconds;
	size_t before;
	int rc = key_count(a, &before);
	rc = rc ? rc : key_print_secret(a, &cmd);
	if (rc == 0 && before == 0)
		fputs("This is the only valid key: from now on every request over HTTP needs a key, except to nodes\n"
		      "that run with --http-open.\n",
		        stderr);
	return rc;
}

static int key_list(const struct args *a, bool json) {
	Caravan__CtlKeys cmd = CARAVAN__CTL_KEYS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_KEYS, ctl_keys, &cmd);
	return simple_ask(a, &env, key_print, &json);
}

static int key_revoke(const struct args *a, char *key) {
	Caravan__CtlKeyRevoke cmd = CARAVAN__CTL_KEY_REVOKE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_KEY_REVOKE, ctl_key_revoke, &cmd);
	cmd.key = key;
	size_t left = 1;
	int rc = simple_run(a, &env);
	if (rc == 0) {
		printf("Revoked %s: nodes that are up refuse it now, others when they come back.\n", key);
		fflush(stdout);
		rc = key_count(a, &left);
	}
	if (rc == 0 && left == 0)
		fputs("No valid key is left: nobody is served over HTTP until caravan key create, except by nodes that run\n"
		      "with --http-open.\n",
		        stderr);
	return rc;
}

static int key_run(int argc, char **argv) {
	struct args a;
	char *name = NULL;
	uint64_t seconds = 0;
	bool json = false;
	args_begin(&a, &command_key, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		switch (o) {
		case OPT_NAME:
			if (!wire_line_ok(optarg, WIRE_NAME_MAX))
				args_usage(&a, "--name: not a line of at most %d bytes", WIRE_NAME_MAX);
			name = optarg;
			break;
		case OPT_EXPIRES:
			seconds = args_duration("--expires", optarg, KEY_DAYS_MAX);
			break;
		case OPT_JSON:
			json = true;
			break;
		}
	args_operands(&a, 1, 2, "create, list or revoke KEY");
	const char *verb = argv[optind];
	bool create = strcmp(verb, "create") == 0, list = strcmp(verb, "list") == 0,
	     revoke = strcmp(verb, "revoke") == 0;
	if (!create && !list && !revoke)
		args_usage(&a, "unknown action '%s': create, list or revoke", verb);
	if (!revoke && argv[optind + 1])
		args_usage(&a, "unexpected argument '%s'", argv[optind + 1]);
	if (revoke && !argv[optind + 1])
		args_usage(&a, "revoke needs the name or the id of a key");
	if ((name || seconds) && !create)
		args_usage(&a, "--name and --expires belong to create");
	if (json && !list)
		args_usage(&a, "--json belongs to list");
	return create ? key_create(&a, name, seconds)
	       : list ? key_list(&a, json)
	              : key_revoke(&a, argv[optind + 1]);
}

const struct command command_key = {.name = "key",
        .usage = "create|list|revoke [OPTION]... [KEY]",
        .summary = "make, list and revoke keys of the HTTP API",
        .help = help,
        .run = key_run};
