/* persist: what survives a restart.
 *
 * Owns: STATE/epoch, the highest counter of an epoch that this node used, and STATE/plans, the plans that it
 * knows, its own and those of others.  Plans are kept as announcements in wire format, each behind its length, and
 * are validated like messages when they are read.  Both files are always rewritten whole.  So a node that was
 * restarted can bring back a model whose coordinator is gone.
 * Threads: reads at start, on the loop; writes on the executor. */
#include "common/durable.h"
#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES (64u << 20)

struct saving {
	char *dir;
	uint8_t *data;
	size_t len;
	int rc;
};

/* 0 with *data NULL when there is no such file. */
static int persist_read_file(const char *dir, const char *name, uint8_t **data, size_t *len) {
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*data = NULL;
	*len = 0;
	if (fd < 0)
		return -errno;
	int rc = durable_read(fd, name, FILE_MAX_BYTES, data, len);
	close(fd);
	return rc == -ENOENT ? 0 : rc;
}

int persist_write_epoch(const char *dir, uint64_t counter) {
	char text[32];
	int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)counter);
	return durable_write_in(dir, "epoch", text, (size_t)n);
}

/* ---- plans ---- */

static int persist_append(struct saving *s, const struct model *m) {
	Caravan__PlanAnnounce msg = CARAVAN__PLAN_ANNOUNCE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PLAN, plan, &msg);
	uint8_t *frame;
	size_t len;
	msg.plan = m->plan;
	msg.phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	env.boot = env.seq = env.ref = 1;
	int rc = wire_pack(&env, &frame, &len);
	if (rc)
		return rc;
	uint32_t n = (uint32_t)len;
	uint8_t *grown = realloc(s->data, s->len + sizeof n + len);
	if (grown) {
		memcpy(grown + s->len, &n, sizeof n);
		memcpy(grown + s->len + sizeof n, frame, len);
		s->data = grown;
		s->len += sizeof n + len;
	}
	free(frame);
	return grown ? 0 : -ENOMEM;
}

static void persist_save_run(void *arg) {
	struct saving *s = arg;
	s->rc = durable_write_in(s->dir, "plans", s->data, s->len);
}

static void persist_save_done(void *arg, bool cancelled) {
	struct saving *s = arg;
	if (cancelled) /* shutting down: write it here, since it must not be lost */
		persist_save_run(s);
	if (s->rc)
		log_line(LOG_LINE_WARN, "%s/plans: %s: its models will not be brought back after a restart",
		        s->dir, strerror(-s->rc));
	free(s->dir);
	free(s->data);
	free(s);
}

void persist_save_plans(struct deploy *d) {
	if (!d->c.state_dir)
		return;
	struct saving *s = calloc(1, sizeof *s);
	int rc = s && (s->dir = strdup(d->c.state_dir)) ? 0 : -ENOMEM;
	for (size_t i = 0; i < d->models && rc == 0; i++) {
		const struct model *m = d->model[i];
		if (m->pub.phase != CARAVAN__MODEL_PHASE__LOADING || m->returns)
			rc = persist_append(s, m);
	}
	if (rc == 0)
		rc = executor_submit(d->c.executor, persist_save_run, persist_save_done, s);
	if (rc == 0)
		return;
	log_line(LOG_LINE_WARN, "%s/plans: %s", d->c.state_dir, strerror(-rc));
	if (s) {
		free(s->dir);
		free(s->data);
		free(s);
	}
}

/* Restores one plan: ours, which waits for its nodes, or another's, which waits for its coordinator. */
static void persist_restore_plan(struct deploy *d, const uint8_t *frame, size_t len) {
	char err[256];
	struct node_id coordinator;
	Caravan__Envelope *env = wire_unpack(frame, len, 0, WIRE_ROUTER, err, sizeof err);
	if (!env || env->body_case != CARAVAN__ENVELOPE__BODY_PLAN) {
		log_line(LOG_LINE_WARN, "%s/plans: %s", d->c.state_dir, env ? "not a plan" : err);
		wire_free(env);
		return;
	}
	const Caravan__Plan *plan = env->plan->plan;
	const struct member *who = NULL;
	if (node_id_from_bytes(&coordinator, plan->coordinator) == 0)
		who = members_find(d->c.members, &coordinator);
	if (who && !deploy_model_named(d, plan->model)) {
		char why[WIRE_TEXT_MAX];
		snprintf(why, sizeof why,
		        "its coordinator %s has not been heard from since this node started", who->name);
		struct model *m =
		        model_create(d, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE, why, err, sizeof err);
		if (m && model_ours(m)) {
			m->restarted = true;
			m->lost_ns = d->born_ns;
			m->replan_ns = d->born_ns + DEPLOY_REBOOT_MS * 1000000ull;
		}
		if (m)
			snprintf(m->loss, sizeof m->loss, "%.*s", (int)sizeof m->loss - 1, m->reason);
	}
	wire_free(env);
}

int persist_read(struct deploy *d, char *err, size_t errlen) {
	uint8_t *data;
	size_t len;
	if (!d->c.state_dir)
		return 0;
	int rc = persist_read_file(d->c.state_dir, "epoch", &data, &len);
	if (rc == 0 && data) {
		char text[32] = "", *end;
		memcpy(text, data, len < sizeof text ? len : sizeof text - 1);
		errno = 0;
		d->counter = strtoull(text, &end, 10);
		if (errno || end == text || *end != '\n')
			rc = -EINVAL;
	}
	free(data);
	if (rc)
		return fail_with(rc, err, errlen, "%s/epoch: %s", d->c.state_dir, strerror(-rc));
	rc = persist_read_file(d->c.state_dir, "plans", &data, &len);
	if (rc)
		return fail_with(rc, err, errlen, "%s/plans: %s", d->c.state_dir, strerror(-rc));
	for (size_t at = 0; at + 4 <= len;) {
		uint32_t n;
		memcpy(&n, data + at, sizeof n);
		at += sizeof n;
		if (n > len - at)
			break;
		persist_restore_plan(d, data + at, n);
		at += n;
	}
	for (size_t i = 0; i < d->models; i++)
		d->model[i]->was_draft = deploy_is_draft(d->model[i]);
	free(data);
	return 0;
}
