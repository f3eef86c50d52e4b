/* model_list: see model_list.h. */
#include "daemon/api/model_list.h"
#include "daemon/api/chat_templates.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- facts --------------------------------------------------------------------------------------- */

static void facts_ref(struct model_facts *f) {
	atomic_fetch_add(&f->refs, 1);
}

static void facts_unref(struct model_facts *f) {
	if (!f || atomic_fetch_sub(&f->refs, 1) > 1)
		return;
	free(f->chat_template);
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		free(f->fim[i]);
	free(f->bos);
	free(f->eos);
	free(f);
}

static char *facts_token(const struct vocab *v, int32_t id) {
	return id < 0 ? strdup("") : strndup(v->token[id].text.s, v->token[id].text.len);
}

static void facts_add_tensor(struct model_facts *f, const struct manifest_tensor *t, uint64_t *bytes) {
	f->bytes += t->bytes;
	f->parameters += t->n * t->rows;
	bytes[t->type] += t->bytes;
}

static void facts_count(struct model_facts *f, const struct manifest *m) {
	uint64_t bytes[KERN_TYPES] = {0};
	uint32_t most = 0;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		facts_add_tensor(f, &m->tensor[i], bytes);
	for (unsigned r = 0; r < IO_ROLES; r++)
		if (r != IO_HEAD || !content_equal(&m->io[IO_HEAD].id, &m->io[IO_EMBED].id))
			facts_add_tensor(f, &m->io[r], bytes);
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		most = bytes[t] > bytes[most] ? t : most;
	f->type = kern_traits(most)->name;
}

/* With the same fingerprint, prompt, settings and seed, the answer has the same bytes. */
static int facts_fingerprint(struct model_facts *f) {
	static const char domain[] = "caravan fingerprint 1";
	struct content_hasher *h;
	uint8_t arithmetic = KERN_ARITHMETIC;
	char hex[CONTENT_HEX];
	int rc = content_hasher_create(&h);
	if (rc != 0)
		return rc;
	content_hasher_add(h, domain, sizeof domain);
	content_hasher_add(h, f->manifest.b, sizeof f->manifest.b);
	content_hasher_add(h, &arithmetic, sizeof arithmetic);
	if (*f->chat_template)
		content_hasher_add(h, f->chat_template, f->template_len);
	else
		content_hasher_add(h, f->known_template, strlen(f->known_template));
	struct content_id id = content_hasher_finish(h);
	content_hasher_destroy(h);
	snprintf(f->fingerprint, sizeof f->fingerprint, "fp_%.16s", content_hex(&id, hex));
	return 0;
}

static struct model_facts *facts_create(const char *name, const struct vocab *v, const struct manifest *m) {
	struct model_facts *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	atomic_init(&f->refs, 1);
	f->manifest = m->id;
	f->hp = m->hp;
	f->chat_template = strndup(v->chat_template.len ? v->chat_template.s : "", v->chat_template.len);
	f->template_len = f->chat_template ? strlen(f->chat_template) : 0; /* it is NUL-terminated */
	f->bos = facts_token(v, v->bos);
	f->eos = facts_token(v, v->eos);
	f->known_template = chat_template_guess(name, v);
	facts_count(f, m);
	bool fim = true;
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		fim = (f->fim[i] = facts_token(v, (int32_t)v->fim[i] - 1)) && fim;
	if (!fim || !f->chat_template || !f->bos || !f->eos || facts_fingerprint(f) != 0) {
		facts_unref(f);
		return NULL;
	}
	return f;
}

/* ---- a snapshot ---------------------------------------------------------------------------------- */

static const struct model_entry *list_named(const struct model_list *l, const char *name, size_t len) {
	for (size_t i = 0; l && i < l->n; i++)
		if (strlen(l->model[i].name) == len && memcmp(l->model[i].name, name, len) == 0)
			return &l->model[i];
	return NULL;
}

/* What the coordinator of a model last reported about it; NULL: nothing yet. */
static const Caravan__ModelState *model_reported(struct members *ms, const Caravan__Plan *plan) {
	struct node_id id;
	const struct member *m =
	        node_id_from_bytes(&id, plan->coordinator) == 0 ? members_find(ms, &id) : NULL;
	for (size_t i = 0; m && m->state && i < m->state->n_models; i++)
		if (strcmp(m->state->models[i]->name, plan->model) == 0)
			return m->state->models[i];
	return NULL;
}

static bool model_drafts(const struct deploy *d, const char *name) {
	const struct deploy_model *m;
	for (size_t i = 0; (m = deploy_at(d, i)); i++)
		if (strcmp(m->plan->draft, name) == 0)
			return true;
	return false;
}

static void numbers_fill_times(struct model_histogram *out, const Caravan__Histogram *h) {
	if (!h)
		return;
	memcpy(out->bucket, h->buckets.data, sizeof out->bucket); /* as many: validated on arrival */
	out->count = h->count;
	out->sum = h->sum;
}

static bool numbers_fill(struct model_numbers *n, const Caravan__ModelState *s) {
	if (!s)
		return true;
	n->tokens = s->tokens;
	n->steps = s->steps;
	n->prefix_tokens = s->prefix_tokens;
	n->drafted = s->drafted;
	n->accepted = s->accepted;
	n->blocks = s->blocks;
	n->blocks_free = s->blocks_free;
	n->window_blocks = s->window_blocks;
	n->window_blocks_free = s->window_blocks_free;
	numbers_fill_times(&n->times[MODEL_FIRST_TOKEN], s->first_token);
	numbers_fill_times(&n->times[MODEL_INTER_TOKEN], s->inter_token);
	if (!(n->stage = calloc(s->n_times + 1, sizeof *n->stage)))
		return false;
	n->stages = s->n_times;
	for (size_t i = 0; i < s->n_times; i++)
		n->stage[i] = (struct model_stage_seconds){
		        s->times[i]->waited, s->times[i]->computed, s->times[i]->held, s->times[i]->wire};
	return true;
}

static bool nodes_fill(struct model_list *l, struct serve *s) {
	struct members *ms = serve_members(s);
	const struct member *m;
	size_t n = 0;
	while (members_at(ms, n))
		n++;
	if (!(l->node = calloc(n + 1, sizeof *l->node)))
		return false;
	for (size_t i = 0; i < n && (m = members_at(ms, i)); i++) {
		if (m->expelled)
			continue;
		struct node_entry *e = &l->node[l->nodes++];
		snprintf(e->name, sizeof e->name, "%s", m->name);
		e->self = m->self;
		e->up = m->up || m->self;
		e->round_trip = m->round_trip;
		e->rate = m->rate;
		if (m->self && m->state) {
			l->memory_used = m->state->memory_used;
			l->memory_allowed = m->state->memory_allowed;
		}
	}
	return true;
}

static bool entry_fill(struct model_entry *e, struct serve *s, const struct deploy_model *m,
        const struct model_list *before) {
	const struct model_entry *old = list_named(before, m->plan->model, strlen(m->plan->model));
	const Caravan__ModelState *state = model_reported(serve_members(s), m->plan);
	snprintf(e->name, sizeof e->name, "%s", m->plan->model);
	e->state = m->phase == CARAVAN__MODEL_PHASE__SERVING   ? MODEL_SERVING
	           : m->phase == CARAVAN__MODEL_PHASE__LOADING ? MODEL_LOADING
	                                                       : MODEL_UNAVAILABLE;
	if (e->state != MODEL_SERVING)
		deploy_describe(serve_deploy(s), m, e->what, sizeof e->what);
	e->drafts = model_drafts(serve_deploy(s), e->name);
	e->context = m->plan->context;
	e->parallel = m->plan->parallel;
	e->running = state ? state->sequences : 0;
	e->queued = state ? state->queued : 0;
	e->since = old ? old->since : (int64_t)time(NULL);
	if (!numbers_fill(&e->numbers, state))
		return false;
	if (!m->vocab || !m->manifest)
		return true;
	if (old && old->facts && content_equal(&old->facts->manifest, &m->manifest->id)) {
		e->facts = old->facts;
		facts_ref((struct model_facts *)e->facts);
	} else {
		e->facts = facts_create(e->name, m->vocab, m->manifest);
	}
	return e->facts != NULL;
}

struct model_list *model_list_create(struct serve *s, const struct model_list *before) {
	const struct deploy_model *m;
	size_t n = 0;
	while (deploy_at(serve_deploy(s), n))
		n++;
	struct model_list *l = calloc(1, sizeof *l + n * sizeof *l->model);
	if (!l)
		return NULL;
	atomic_init(&l->refs, 1);
	if (!nodes_fill(l, s)) {
		model_list_unref(l);
		return NULL;
	}
	for (size_t i = 0; i < n && (m = deploy_at(serve_deploy(s), i)); i++) {
		l->n++;
		if (!entry_fill(&l->model[i], s, m, before)) {
			model_list_unref(l);
			return NULL;
		}
	}
	return l;
}

void model_list_ref(struct model_list *l) {
	atomic_fetch_add(&l->refs, 1);
}

void model_list_unref(struct model_list *l) {
	if (!l || atomic_fetch_sub(&l->refs, 1) > 1)
		return;
	for (size_t i = 0; i < l->n; i++) {
		facts_unref((struct model_facts *)l->model[i].facts);
		free(l->model[i].numbers.stage);
	}
	free(l->node);
	free(l);
}

/* ---- names --------------------------------------------------------------------------------------- */

const struct model_entry *model_list_named(const struct model_list *l, const char *name) {
	return list_named(l, name, strlen(name));
}

/* The length without a ":latest" at the end. */
static size_t list_bare_length(const char *name) {
	static const char latest[] = ":latest";
	size_t len = strlen(name), tail = sizeof latest - 1;
	return len > tail && strcmp(name + len - tail, latest) == 0 ? len - tail : len;
}

static const struct model_entry *list_only(const struct model_list *l) {
	const struct model_entry *only = NULL;
	for (size_t i = 0; i < l->n; i++)
		if (!l->model[i].drafts) {
			if (only)
				return NULL;
			only = &l->model[i];
		}
	return only;
}

/* Of models, and of the aliases of those. */
static void list_names(
        const struct model_list *l, const struct model_alias *alias, size_t naliases, char *out, size_t len) {
	size_t at = 0, n = 0;
	*out = '\0';
	for (size_t i = 0; i < l->n && at < len; i++)
		if (!l->model[i].drafts)
			at += (size_t)snprintf(out + at, len - at, "%s%s", n++ ? ", " : "", l->model[i].name);
	for (size_t i = 0; i < naliases && at < len; i++)
		if (list_named(l, alias[i].model, strlen(alias[i].model)))
			at += (size_t)snprintf(
			        out + at, len - at, ", %s (which is %s)", alias[i].name, alias[i].model);
}

const struct model_entry *model_list_find(const struct model_list *l, const struct model_alias *alias,
        size_t naliases, const char *name, char *err, size_t errlen) {
	const struct model_entry *e = NULL;
	char names[512];
	if (!name || !*name) {
		if ((e = list_only(l)))
			return e;
	} else {
		size_t len = list_bare_length(name);
		e = list_named(l, name, strlen(name));
		if (!e)
			e = list_named(l, name, len);
		for (size_t i = 0; !e && i < naliases; i++)
			if (list_bare_length(alias[i].name) == len && memcmp(alias[i].name, name, len) == 0)
				e = list_named(l, alias[i].model, strlen(alias[i].model));
		if (e)
			return e;
	}
	list_names(l, alias, naliases, names, sizeof names);
	if (!*names)
		snprintf(err, errlen, "no model is loaded: load one with caravan load FILE");
	else if (name && *name)
		snprintf(err, errlen, "there is no model %.100s; there is: %s", name, names);
	else
		snprintf(err, errlen, "name a model; there is: %s", names);
	return NULL;
}
