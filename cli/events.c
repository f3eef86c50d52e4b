/* caravan events: what happened in the cluster, in order, from every node. */
#include "cli/answer.h"
#include "cli/command.h"
#include "cli/event_view.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "daemon/report/event_json.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LAST 100 /* events that are shown unless said otherwise */
#define SINCE_DAYS_MAX 3650
#define NODE_LEAST 6 /* columns of a node's name, */
#define NODE_MOST 20 /* which widen with the names that were seen */
#define TIME_COLUMNS 10
#define TEXT_LEAST 20 /* columns of a sentence */

enum { OPT_NODE = OPT_OWN, OPT_MODEL, OPT_SINCE, OPT_JSON };

static const struct option longs[] = {{"follow", no_argument, NULL, 'f'},
        {"json", no_argument, NULL, OPT_JSON}, {"since", required_argument, NULL, OPT_SINCE},
        {"node", required_argument, NULL, OPT_NODE}, {"model", required_argument, NULL, OPT_MODEL},
        ARGS_COMMON};

static const char help[] = "Shows what happened in the cluster, the latest last: nodes that joined, were\n"
                           "lost and came back, loads, plans, and recoveries with what each part of them\n"
                           "took.  Times are local.  What several nodes saw is one event.\n"
                           "\n"
                           "  -f, --follow           go on with new events, until Ctrl-C\n"
                           "  -n N                   only the latest N; 0: all that the nodes keep (100, or\n"
                           "                         0 with --since)\n"
                           "  --since DURATION       only those of the last DURATION, such as 90s, 15m, 2h\n"
                           "                         or 1d\n"
                           "  --node NODE            only what this node noted, or what is about it\n"
                           "  --model MODEL          only what is about this model\n"
                           "  --json                 print a JSON object a line\n";

struct events {
	bool json, colour;
	bool any;      /* event came */
	unsigned node; /* columns of the node's name */
	char date[32]; /* of the last event */
};

/* ---- printing ------------------------------------------------------------------------------------ */

static int events_flush(void) {
	int rc = text_flush();
	return rc == 0 && ferror(stdout) ? TEXT_GONE : rc;
}

static int events_print_json(json_t *o) {
	if (!o)
		return fail("out of memory");
	json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(13)); /* microseconds are noise */
	json_decref(o);
	putchar('\n');
	return 0;
}

/* The date, when it is another than before. */
static void events_print_date(struct events *e, const struct tm *tm) {
	char date[sizeof e->date];
	if (strftime(date, sizeof date, "%A, %Y-%m-%d", tm) == 0 || strcmp(date, e->date) == 0)
		return;
	memcpy(e->date, date, sizeof date);
	puts(date);
}

static const char *events_colour(const struct events *e, uint32_t severity) {
	return !e->colour || severity > 1 ? "" : severity == 0 ? "\033[31m" : "\033[33m";
}

/* A text that a terminal may get, malloc'd. */
static char *events_safe(const char *text) {
	struct terminal t = {0};
	size_t len = strlen(text);
	uint8_t *safe = malloc(TERMINAL_ROOM(len) + 1);
	if (safe)
		safe[terminal_take(&t, (const uint8_t *)text, len, safe)] = 0;
	return (char *)safe;
}

/* The sentence from its column on, in lines that a terminal does not break. */
static int events_print_text(unsigned column, const char *text) {
	char *lines = NULL;
	size_t size;
	FILE *to = open_memstream(&lines, &size);
	if (!to)
		return fail("out of memory");
	unsigned width = table_width_most();
	table_text(to, width > column + TEXT_LEAST ? width : column + TEXT_LEAST, column, column, text);
	int rc = fclose(to) == 0 && size > column ? 0 : fail("out of memory");
	if (rc == 0)
		fputs(lines + column, stdout); /* which is taken already */
	free(lines);
	return rc;
}

static int events_print(struct events *e, const Caravan__CtlEvent *event) {
	char text[EVENT_VIEW_TEXT], clock[16] = "--:--:--";
	time_t at = (time_t)event->time;
	unsigned columns = (unsigned)strlen(event->node);
	struct tm tm;
	if (columns > e->node)
		e->node = columns < NODE_MOST ? columns : NODE_MOST;
	if (localtime_r(&at, &tm)) {
		events_print_date(e, &tm);
		strftime(clock, sizeof clock, "%H:%M:%S", &tm);
	}
	event_view_text(event, text);
	char *safe = events_safe(text);
	if (!safe)
		return fail("out of memory");
	const char *colour = events_colour(e, event->event->severity);
	printf("%s  %-*.*s  %s", clock, (int)e->node, NODE_MOST, event->node, colour);
	int rc = events_print_text(TIME_COLUMNS + e->node + 2, safe);
	free(safe);
	if (*colour)
		fputs("\033[39m", stdout);
	return rc;
}

static void events_print_missing(const Caravan__CtlEventsMissing *m) {
	char text[WIRE_TEXT_MAX] = "";
	size_t len = 0;
	for (size_t i = 0; i < m->n_nodes && len < sizeof text; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%s (%s)", i ? ", " : "",
		        m->nodes[i]->name, m->nodes[i]->why);
	if (m->n_nodes)
		fail("the latest events of some nodes are missing: %s", text);
}

static double events_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int events_take(void *arg, struct client *c, const Caravan__Envelope *env) {
	struct events *e = arg;
	int rc = 0;
	(void)c;
	e->any = e->any || env->body_case == CARAVAN__ENVELOPE__BODY_CTL_EVENT;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_EVENT)
		rc = e->json ? events_print_json(event_json(env->ctl_event))
		             : events_print(e, env->ctl_event);
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_EVENTS_MISSING && !e->json)
		events_print_missing(env->ctl_events_missing);
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_EVENTS_MISSING &&
	         env->ctl_events_missing->n_nodes)
		rc = events_print_json(event_json_missing(env->ctl_events_missing, events_now()));
	return rc ? rc : events_flush();
}

/* ---- the command --------------------------------------------------------------------------------- */

static int events_interrupted(void *arg) {
	*(bool *)arg = true;
	return EXIT_FAILED; /* ends the wait */
}

/* Ctrl-C ends the command as its user wants it to end. */
static int events_follow(const struct args *a, const Caravan__Envelope *ask, struct events *e) {
	bool interrupted = false;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return fail("cannot watch signals: %s", strerror(errno));
	client_on_wake(fd, events_interrupted, &interrupted);
	int rc = simple_ask(a, ask, events_take, e);
	client_on_wake(-1, NULL, NULL);
	close(fd);
	return interrupted ? EXIT_OK : rc;
}

/* A name that is not right would look like one of which nothing is known. */
static void events_say_none(const Caravan__CtlEvents *cmd) {
	fprintf(stderr, "caravan: no event is known%s%s%s%s%s\n", *cmd->node ? " of node " : "", cmd->node,
	        *cmd->model ? " of model " : "", cmd->model, cmd->since > 0 ? " in that time" : "");
}

static int events_run(int argc, char **argv) {
	struct args a;
	Caravan__CtlEvents cmd = CARAVAN__CTL_EVENTS__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_EVENTS, ctl_events, &cmd);
	struct events e = {.node = NODE_LEAST, .colour = answer_may_dim(STDOUT_FILENO)};
	bool counted = false;
	args_begin(&a, &command_events, argc, argv);
	for (int o; (o = args_next(&a, "fn:", longs)) != -1;)
		switch (o) {
		case 'f':
			cmd.follow = true;
			break;
		case 'n':
			cmd.last = (uint32_t)args_uint("-n", optarg, 0, UINT32_MAX);
			counted = true;
			break;
		case OPT_SINCE:
			cmd.since = events_now() - (double)args_duration("--since", optarg, SINCE_DAYS_MAX);
			break;
		case OPT_NODE:
		case OPT_MODEL:
			if (!wire_name_ok(optarg))
				args_fail(o == OPT_NODE ? "--node" : "--model", optarg, "a name");
			*(o == OPT_NODE ? &cmd.node : &cmd.model) = optarg;
			break;
		case OPT_JSON:
			e.json = true;
			break;
		}
	args_operands(&a, 0, 0, "");
	if (!counted && cmd.since == 0)
		cmd.last = LAST;
	int rc = cmd.follow ? events_follow(&a, &ask, &e) : simple_ask(&a, &ask, events_take, &e);
	if (rc == EXIT_OK && !cmd.follow && !e.any)
		events_say_none(&cmd);
	return rc == TEXT_GONE ? EXIT_OK : rc;
}

const struct command command_events = {.name = "events",
        .usage = "[OPTION]...",
        .summary = "what happened in the cluster, from every node",
        .help = help,
        .run = events_run};
