/* stored: see stored.h. */
#include "cli/stored.h"
#include "cli/command.h"
#include "cli/simple.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int stored_take(void *arg, struct client *c, const Caravan__Envelope *env) {
	struct stored *s = arg;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_MODEL)
		return 0;
	Caravan__Envelope **grown = realloc(s->env, (s->envs + 1) * sizeof *grown);
	if (!grown)
		return fail("out of memory");
	s->env = grown;
	s->env[s->envs++] = client_take(c);
	return 0;
}

int stored_fetch(struct stored *s, const struct args *a) {
	Caravan__CtlModels cmd = CARAVAN__CTL_MODELS__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_MODELS, ctl_models, &cmd);
	*s = (struct stored){0};
	int rc = simple_ask(a, &ask, stored_take, s);
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
