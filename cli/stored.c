/* stored: see stored.h. */
#include "cli/stored.h"
#include "cli/client.h"
#include "cli/command.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int take(struct stored *s, Caravan__Envelope *env) {
	Caravan__Envelope **grown = realloc(s->env, (s->envs + 1) * sizeof *grown);
	if (!grown) {
		wire_free(env);
		return fail("%s", strerror(ENOMEM));
	}
	s->env = grown;
	s->env[s->envs++] = env;
	return 0;
}

int stored_fetch(struct stored *s, const struct args *a) {
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env = NULL;
	Caravan__CtlModels cmd = CARAVAN__CTL_MODELS__INIT;
	Caravan__Envelope ask = CARAVAN__ENVELOPE__INIT;
	*s = (struct stored){0};
	ask.body_case = CARAVAN__ENVELOPE__BODY_CTL_MODELS;
	ask.ctl_models = &cmd;
	int rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, &ask, NULL, 0, NULL, 0);
	while (rc == 0 && (env = client_next(&c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END)
			break;
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			rc = fail("%s", env->ctl_error->message);
		else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_MODEL)
			rc = take(s, client_take(&c));
	}
	if (rc == 0 && !env)
		rc = EXIT_FAILED;
	client_close(&c);
	if (rc != 0)
		stored_clear(s);
	return rc;
}

void stored_clear(struct stored *s) {
	for (size_t i = 0; i < s->envs; i++)
		wire_free(s->env[i]);
	free(s->env);
	*s = (struct stored){0};
}

void stored_where(const Caravan__CtlModel *m, char *out, size_t len) {
	size_t at = 0;
	*out = '\0';
	for (size_t i = 0; i < m->n_on && at < len; i++) {
		const Caravan__ModelOn *on = m->on[i];
		at += (size_t)snprintf(out + at, len - at, "%s%s", i ? ", " : "", on->node);
		if (on->file && at < len)
			at += (size_t)snprintf(out + at, len - at, " (file)");
		else if (on->bytes < m->bytes && at < len)
			at += (size_t)snprintf(
			        out + at, len - at, " (%.0f%%)", 100 * (double)on->bytes / (double)m->bytes);
	}
}
