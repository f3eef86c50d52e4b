/* load/control: questions through a daemon's control socket, as caravan run has them. */
#include "tests/bench/control_client.h"
#include "tests/bench/load/load.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int control_open(const char *where, unsigned client) {
	(void)client;
	return control_client_connect(where);
}

static bool control_send(int fd, const struct load_question *q) {
	Caravan__Sampling sampling = CARAVAN__SAMPLING__INIT;
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, &run);
	sampling.temperature = 0.8f;
	sampling.top_k = 40;
	sampling.top_p = 0.95f;
	sampling.min_p = 0.05f;
	sampling.repeat_penalty = 1;
	sampling.seed = q->seed;
	run.model = (char *)"";
	run.limit = q->limit;
	run.sampling = &sampling;
	return control_client_say(fd, &env, q->prompt, strlen(q->prompt));
}

static void control_ask(int fd, const struct load_question *q, struct load_answer *a) {
	bool over = !control_send(fd, q);
	if (over)
		snprintf(a->error, sizeof a->error, "the daemon has gone");
	while (!over) {
		char *payload;
		size_t len;
		Caravan__Envelope *env = control_client_hear(fd, &payload, &len);
		if (!env) {
			snprintf(a->error, sizeof a->error, "the daemon has gone");
			return;
		}
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT && len > 0) {
			load_came(a);
			load_keep(a, payload, len);
		} else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR) {
			snprintf(a->error, sizeof a->error, "%s", env->ctl_error->message);
		}
		over = env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END || *a->error;
		wire_free(env);
		free(payload);
	}
}

const struct load_way load_control = {"control", control_open, control_ask};
