/* commands: see commands.h. */
#include "daemon/api/commands.h"
#include "daemon/api/chat_templates.h"
#include "daemon/api/events.h"
#include "daemon/api/prompts.h"
#include "daemon/api/report.h"
#include "daemon/calibration/calibrate_request.h"
#include "daemon/serve/gateway/request.h"
#include "daemon/text/jinja/jinja.h"
#include "daemon/text/tokenizer.h"
#include "shard/gguf/gguf.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

typedef void command_fn(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);

/* The state of a command that continues after its function has returned.  `conn` is NULL once the client has
 * gone: work that cannot be stopped then ends without a listener.  When the daemon ends, whatever does the
 * work may be destroyed without calling back; so these are listed. */
struct pending {
	struct control_conn *conn;
	LIST_ENTRY(pending) next;
};
static LIST_HEAD(, pending) pendings = LIST_HEAD_INITIALIZER(pendings);

static void pending_cancel(void *arg) {
	((struct pending *)arg)->conn = NULL;
}

static struct pending *pending_create(struct control_conn *c) {
	struct pending *p = calloc(1, sizeof *p);
	if (!p) {
		control_error(c, "out of memory");
		return NULL;
	}
	p->conn = c;
	LIST_INSERT_HEAD(&pendings, p, next);
	control_running(c, pending_cancel, p);
	return p;
}

static void pending_done(void *arg, const char *error) {
	struct pending *p = arg;
	if (p->conn && error)
		control_error(p->conn, "%s", error);
	else if (p->conn)
		control_end(p->conn, NULL);
	LIST_REMOVE(p, next);
	free(p);
}

void commands_end(void) {
	for (struct pending *p; (p = LIST_FIRST(&pendings));) {
		LIST_REMOVE(p, next);
		free(p);
	}
}

/* ---- the roster ---------------------------------------------------------------------------------- */

static void commands_invite(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX], *token;
	(void)payload;
	(void)len;
	if (members_invite(serve_members(control_serve(c)), env->ctl_invite->seconds, &token, err,
	            sizeof err) != 0) {
		control_error(c, "%s", err);
		return;
	}
	control_send_text(c, token, strlen(token));
	free(token);
	control_end(c, NULL);
}

static void commands_joined(void *arg, const char *error) {
	struct pending *p = arg;
	char note[WIRE_TEXT_MAX];
	if (p->conn && !error) {
		members_join_note(serve_members(control_serve(p->conn)), note, sizeof note);
		control_send_text(p->conn, note, strlen(note));
	}
	pending_done(p, error);
}

static void commands_join(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct pending *p = pending_create(c);
	(void)payload;
	(void)len;
	if (p && members_join(serve_members(control_serve(c)), env->ctl_join->token, commands_joined, p, err,
	                 sizeof err) != 0)
		pending_done(p, err);
}

static void commands_expelled(void *arg, const char *error) {
	char text[WIRE_TEXT_MAX];
	if (error)
		snprintf(text, sizeof text, "expelled until this daemon ends, but %.*s", WIRE_TEXT_MAX - 60,
		        error);
	pending_done(arg, error ? text : NULL);
}

/* ---- keys of the HTTP API ------------------------------------------------------------------------ */

struct key_creation {
	struct pending *pending;
	char secret[API_KEY_SECRET];
};

static void commands_key_created(void *arg, const char *error) {
	struct key_creation *k = arg;
	if (k->pending->conn && !error)
		control_send_text(k->pending->conn, k->secret, strlen(k->secret));
	pending_done(k->pending, error);
	OPENSSL_cleanse(k, sizeof *k);
	free(k);
}

static void commands_key_create(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	const Caravan__CtlKeyCreate *q = env->ctl_key_create;
	struct pending *p = pending_create(c);
	struct key_creation *k = p ? calloc(1, sizeof *k) : NULL;
	(void)payload;
	(void)len;
	if (!p)
		return;
	if (!k) {
		pending_done(p, "out of memory");
		return;
	}
	k->pending = p;
	if (members_key_create(serve_members(control_serve(c)), q->name, q->seconds, k->secret,
	            commands_key_created, k, err, sizeof err) != 0)
		commands_key_created(k, err);
}

static void commands_key_revoke(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct pending *p = pending_create(c);
	(void)payload;
	(void)len;
	if (p && members_key_revoke(serve_members(control_serve(c)), env->ctl_key_revoke->key, pending_done,
	                 p, err, sizeof err) != 0)
		pending_done(p, err);
}

static void commands_keys(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	Caravan__CtlKeyList list = CARAVAN__CTL_KEY_LIST__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(CTL_KEY_LIST, ctl_key_list, &list);
	Caravan__ApiKey **all, *valid[WIRE_KEYS_MAX];
	struct api_keys *keys = members_api_keys(serve_members(control_serve(c)));
	size_t count;
	(void)env;
	(void)payload;
	(void)len;
	api_keys_entries(keys, &all, &count);
	for (size_t i = 0; i < count; i++)
		if (api_key_is_valid(api_keys_at(keys, i), (uint64_t)time(NULL)))
			valid[list.n_keys++] = all[i];
	list.keys = valid;
	control_send(c, &answer, NULL, 0);
	control_end(c, NULL);
}

/* ---- leaving ------------------------------------------------------------------------------------- */

struct leaving {
	struct pending *pending;
	void (*restart)(void *arg);
	void *arg;
};

static void commands_expel(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct pending *p = pending_create(c);
	(void)payload;
	(void)len;
	if (p && members_expel(serve_members(control_serve(c)), env->ctl_expel->node, commands_expelled, p,
	                 err, sizeof err) != 0)
		pending_done(p, err);
}

/* The daemon restarts even if the client has gone. */
static void commands_has_left(void *arg, const char *error) {
	struct leaving *l = arg;
	void (*restart)(void *) = l->restart;
	void *restart_arg = l->arg;
	pending_done(l->pending, error);
	free(l);
	if (!error)
		restart(restart_arg);
}

static void commands_leave(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct leaving *l = calloc(1, sizeof *l);
	(void)env;
	(void)payload;
	(void)len;
	if (!l || !(l->pending = pending_create(c))) {
		if (!l)
			control_error(c, "out of memory");
		free(l);
		return;
	}
	l->restart = control_restart(c, &l->arg);
	if (members_leave(serve_members(control_serve(c)), commands_has_left, l, err, sizeof err) != 0)
		commands_has_left(l, err);
}

/* ---- models -------------------------------------------------------------------------------------- */

static void commands_load_progress(
        void *arg, const char *what, const char *node, uint64_t done, uint64_t total) {
	struct pending *p = arg;
	if (p->conn)
		control_send_progress(p->conn, what, node ? node : "", done, total, false);
}

static void commands_send_note(struct control_conn *c, const char *text) {
	Caravan__CtlNote body = CARAVAN__CTL_NOTE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_NOTE, ctl_note, &body);
	body.text = wire_string(text);
	control_send(c, &env, NULL, 0);
}

static void commands_load_note(void *arg, const char *text) {
	struct pending *p = arg;
	if (p->conn)
		commands_send_note(p->conn, text);
}

static void commands_send_advice(void *arg, const Caravan__CtlAdvice *advice) {
	struct pending *p = arg;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_ADVICE, ctl_advice, (Caravan__CtlAdvice *)advice);
	if (!p->conn)
		return;
	control_send(p->conn, &env, NULL, 0);
}

/* The text of the chat template that a load names, or ""; NULL: it is not one, and err says why. */
static const char *commands_template(const Caravan__CtlLoad *l, char *err, size_t errlen) {
	struct jinja_template *t = NULL;
	char why[300];
	const char *source = *l->template_name ? chat_template_find(l->template_name) : l->template_text;
	if (!source) {
		snprintf(err, errlen, "there is no well-known chat template '%.64s': there are %s",
		        l->template_name, chat_template_names());
		return NULL;
	}
	int rc = *source ? jinja_template_create(&t, source, strlen(source), why, sizeof why) : 0;
	jinja_template_destroy(t);
	if (rc == 0)
		return source;
	snprintf(err, errlen, "--template: %s", rc == -ENOMEM ? "out of memory" : why);
	return NULL;
}

static void commands_load(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	const Caravan__CtlLoad *l = env->ctl_load;
	const char *source = commands_template(l, err, sizeof err);
	struct deploy_load what = {.file = l->file,
	        .name = *l->name ? l->name : NULL,
	        .context = l->context,
	        .fit = l->fit,
	        .parallel = l->parallel,
	        .max_rows = l->max_rows,
	        .copies = l->copies,
	        .kv = l->kv,
	        .nodes = (const char *const *)l->nodes,
	        .nnodes = l->n_nodes,
	        .all_nodes = l->all_nodes,
	        .draft = l->draft,
	        .drafts = l->drafts,
	        .pre = l->pre,
	        .chat_template = source,
	        .note = commands_load_note,
	        .progress = commands_load_progress,
	        .planned = commands_send_advice,
	        .done = pending_done};
	(void)payload;
	(void)len;
	if (!source) {
		control_error(c, "%s", err);
		return;
	}
	what.nfds = control_fds(c, &what.fds);
	if (what.nfds == 0) {
		if (!wire_name_ok(l->file)) {
			control_error(c, "no file came with the command");
			return;
		}
		if (*l->pre) {
			control_error(c,
			        "%s keeps the pre-tokenizer that it was loaded with: --pre needs a file",
			        l->file);
			return;
		}
		if (*source) {
			control_error(c,
			        "%s keeps the chat template that it was loaded with: --template needs a file",
			        l->file);
			return;
		}
		what.known = l->file;
	}
	if (!(what.arg = pending_create(c)))
		return;
	if (deploy_load(serve_deploy(control_serve(c)), &what, err, sizeof err) != 0)
		pending_done(what.arg, err);
}

static void commands_plan(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	const Caravan__CtlPlan *q = env->ctl_plan;
	struct deploy_load what = {.file = q->file,
	        .name = *q->name ? q->name : NULL,
	        .shape = *q->shape ? q->shape : NULL,
	        .context = q->context,
	        .parallel = q->parallel,
	        .max_rows = q->max_rows,
	        .kv = q->kv,
	        .nodes = (const char *const *)q->nodes,
	        .nnodes = q->n_nodes,
	        .all_nodes = q->all_nodes,
	        .drafts = q->drafts,
	        .reserved = q->reserved,
	        .pre = q->pre,
	        .note = commands_load_note,
	        .advise = commands_send_advice,
	        .done = pending_done};
	(void)payload;
	(void)len;
	what.nfds = what.shape ? 0 : control_fds(c, &what.fds);
	if (!what.shape && what.nfds == 0) {
		control_error(c, "no file came with the command");
		return;
	}
	if (!(what.arg = pending_create(c)))
		return;
	if (deploy_load(serve_deploy(control_serve(c)), &what, err, sizeof err) != 0)
		pending_done(what.arg, err);
}

static void commands_unload(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct pending *p = pending_create(c);
	(void)payload;
	(void)len;
	if (p && deploy_unload(serve_deploy(control_serve(c)), env->ctl_unload->model, pending_done, p, err,
	                 sizeof err) != 0)
		pending_done(p, err);
}

/* ---- models on disks ----------------------------------------------------------------------------- */

static void commands_send_stored(void *arg, const struct deploy_stored *model, size_t count) {
	struct pending *p = arg;
	if (p->conn)
		report_stored(p->conn, model, count);
	pending_done(p, NULL);
}

static void commands_models(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	struct pending *p = pending_create(c);
	(void)env;
	(void)payload;
	(void)len;
	if (p && deploy_list_stored(serve_deploy(control_serve(c)), commands_send_stored, p) != 0)
		pending_done(p, "out of memory");
}

static void commands_send_removed(void *arg, const Caravan__CtlRemoved *one) {
	struct pending *p = arg;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_REMOVED, ctl_removed, (Caravan__CtlRemoved *)one);
	if (!p->conn)
		return;
	control_send(p->conn, &env, NULL, 0);
}

static void commands_remove_model(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct pending *p = pending_create(c);
	struct deploy_removal r = {.model = env->ctl_remove->model,
	        .each = commands_send_removed,
	        .done = pending_done,
	        .arg = p};
	(void)payload;
	(void)len;
	if (p && deploy_remove(serve_deploy(control_serve(c)), &r, err, sizeof err) != 0)
		pending_done(p, err);
}

static void commands_send_report(void *arg, Caravan__Envelope *env) {
	control_send(arg, env, NULL, 0);
}

static void commands_status(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	(void)env;
	(void)payload;
	(void)len;
	report_collect(control_serve(c), commands_send_report, c);
	control_end(c, NULL);
}

static void commands_measured(
        void *arg, const char *node, const Caravan__NodeState *state, const char *error) {
	struct pending *p = arg;
	char text[WIRE_TEXT_MAX + WIRE_NAME_MAX + 8];
	if (error)
		snprintf(text, sizeof text, "%s: %s", node, error);
	if (p->conn && !error) {
		Caravan__CtlMeasured body = CARAVAN__CTL_MEASURED__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(CTL_MEASURED, ctl_measured, &body);
		body.name = wire_string(node);
		body.state = (Caravan__NodeState *)state;
		control_send(p->conn, &env, NULL, 0);
	}
	pending_done(p, error ? text : NULL);
}

static void commands_measure(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	char err[WIRE_TEXT_MAX];
	struct calibrate_request ask = {
	        .note = commands_load_note, .done = commands_measured, .arg = pending_create(c)};
	(void)payload;
	(void)len;
	if (ask.arg &&
	        calibrate_request(control_measures(c), env->ctl_measure->node, &ask, err, sizeof err) != 0)
		pending_done(ask.arg, err);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

/* A text to be encoded, with the vocabulary of a file if the command came with descriptors. */
struct tokenizing {
	struct pending *pending;
	const struct tokenizer *tokenizer; /* of a model that is ready, or NULL */
	int fds[FRAME_FDS_MAX];
	size_t nfds;
	char *text, *file;
	size_t len;
	char pre[WIRE_NAME_MAX + 1]; /* of the file, or empty */
	struct vocab_reading reading;
	unsigned flags;
	uint32_t *ids;
	size_t n;
	char err[WIRE_TEXT_MAX];
	int rc;
};

static void commands_tokenize_run(void *arg) {
	struct tokenizing *t = arg;
	struct gguf *g = NULL;
	struct vocab *v = NULL;
	struct tokenizer *own = NULL;
	char why[512];
	t->rc = gguf_open(&g, t->fds, t->nfds, t->file, t->err, sizeof t->err);
	if (t->rc == 0) {
		t->rc = vocab_from_gguf(&v, g, &t->reading, why, sizeof why);
		if (t->rc == 0)
			t->rc = tokenizer_create(&own, v, why, sizeof why);
		if (t->rc != 0)
			snprintf(t->err, sizeof t->err, "%.500s: %s", t->file, why);
	}
	if (t->rc == 0 && (t->rc = tokenizer_encode(own, t->text, t->len, t->flags, &t->ids, &t->n)) != 0)
		snprintf(t->err, sizeof t->err, "cannot encode the text: %s", strerror(-t->rc));
	tokenizer_destroy(own);
	vocab_destroy(v);
	gguf_close(g);
}

static void commands_tokenize_done(void *arg, bool cancelled) {
	struct tokenizing *t = arg;
	struct control_conn *c = t->pending->conn;
	if (c && !cancelled && t->rc == 0) {
		Caravan__CtlTokens body = CARAVAN__CTL_TOKENS__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(CTL_TOKENS, ctl_tokens, &body);
		if (*t->reading.note)
			commands_send_note(c, t->reading.note);
		/* the tokens of one text may not fit one message */
		const size_t most = WIRE_PAYLOAD_MAX / sizeof *t->ids;
		for (size_t at = 0, n; at < t->n; at += n) {
			n = t->n - at < most ? t->n - at : most;
			control_send(c, &env, t->ids + at, n * sizeof *t->ids);
		}
	}
	pending_done(t->pending, t->rc != 0 ? t->err : NULL);
	for (size_t i = 0; i < t->nfds; i++)
		close(t->fds[i]);
	free(t->ids);
	free(t->file);
	free(t->text);
	free(t);
}

static void commands_tokenize(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	const Caravan__CtlTokenize *q = env->ctl_tokenize;
	struct serve *s = control_serve(c);
	const int *fds;
	size_t nfds = control_fds(c, &fds);
	struct tokenizing *t = calloc(1, sizeof *t);
	if (!t || !(t->text = malloc(len ? len : 1)) ||
	        !(t->file = strdup(*q->file ? q->file : "the file")) || !(t->pending = pending_create(c))) {
		if (!t || !t->file)
			control_error(c, "out of memory");
		if (t) {
			free(t->text);
			free(t->file);
		}
		free(t);
		return;
	}
	if (len)
		memcpy(t->text, payload, len);
	t->len = len;
	snprintf(t->pre, sizeof t->pre, "%s", q->pre);
	t->reading.pre = t->pre;
	t->flags = (q->no_bos ? 0 : TOKENIZE_BOS | TOKENIZE_EOS) | (q->special ? TOKENIZE_SPECIAL : 0);
	if (nfds == 0) {
		const struct deploy_model *m = deploy_find(serve_deploy(s), q->model, t->err, sizeof t->err);
		t->tokenizer = m ? request_tokenizer(serve_requests(s), m, t->err, sizeof t->err) : NULL;
		t->rc = t->tokenizer ? 0 : -ENOENT;
		if (t->rc == 0 &&
		        (t->rc = tokenizer_encode(t->tokenizer, t->text, len, t->flags, &t->ids, &t->n)) != 0)
			snprintf(t->err, sizeof t->err, "cannot encode the text: %s", strerror(-t->rc));
		commands_tokenize_done(t, false);
		return;
	}
	while (t->nfds < nfds && (t->fds[t->nfds] = dup(fds[t->nfds])) >= 0)
		t->nfds++;
	int rc = t->nfds == nfds ? executor_submit(control_loader(c), commands_tokenize_run,
	                                   commands_tokenize_done, t)
	                         : -errno;
	if (rc != 0) {
		t->rc = rc;
		snprintf(t->err, sizeof t->err, "%s", strerror(-rc));
		commands_tokenize_done(t, true);
	}
}

/* ---- the table ----------------------------------------------------------------------------------- */

static const struct {
	Caravan__Envelope__BodyCase kind;
	command_fn *run;
} table[] = {
        {CARAVAN__ENVELOPE__BODY_CTL_INVITE, commands_invite},
        {CARAVAN__ENVELOPE__BODY_CTL_JOIN, commands_join},
        {CARAVAN__ENVELOPE__BODY_CTL_EXPEL, commands_expel},
        {CARAVAN__ENVELOPE__BODY_CTL_LEAVE, commands_leave},
        {CARAVAN__ENVELOPE__BODY_CTL_KEY_CREATE, commands_key_create},
        {CARAVAN__ENVELOPE__BODY_CTL_KEY_REVOKE, commands_key_revoke},
        {CARAVAN__ENVELOPE__BODY_CTL_KEYS, commands_keys},
        {CARAVAN__ENVELOPE__BODY_CTL_LOAD, commands_load},
        {CARAVAN__ENVELOPE__BODY_CTL_PLAN, commands_plan},
        {CARAVAN__ENVELOPE__BODY_CTL_UNLOAD, commands_unload},
        {CARAVAN__ENVELOPE__BODY_CTL_STATUS, commands_status},
        {CARAVAN__ENVELOPE__BODY_CTL_MODELS, commands_models},
        {CARAVAN__ENVELOPE__BODY_CTL_REMOVE, commands_remove_model},
        {CARAVAN__ENVELOPE__BODY_CTL_MEASURE, commands_measure},
        {CARAVAN__ENVELOPE__BODY_CTL_EVENTS, events_run},
        {CARAVAN__ENVELOPE__BODY_CTL_RUN, prompts_run},
        {CARAVAN__ENVELOPE__BODY_CTL_CHAT, prompts_chat},
        {CARAVAN__ENVELOPE__BODY_CTL_LOGITS, prompts_logits},
        {CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, commands_tokenize},
};

void commands_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].kind == env->body_case) {
			table[i].run(c, env, len ? payload : NULL, len);
			return;
		}
	control_error(c, "this daemon does not know that command; is it older than the program?");
}
