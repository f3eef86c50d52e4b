/* constraint: see constraint.h. */
#include "daemon/serve/coordinator/constraint.h"
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/token_trie.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct vocabulary {
	LIST_ENTRY(vocabulary) next;
	struct constraints *all; /* NULL: they are gone */
	uint8_t id[32];
	struct token_trie *trie; /* made by a job, with the lock; then constant */
	unsigned refs;
};

struct constraint {
	struct vocabulary *vocabulary;
	struct grammar *grammar;
	struct grammar_matcher *matcher;
	uint32_t prompt, capacity;
	/* state[i]: behind the first i tokens of the answer, which are token[0..i); `known` of them, the first is that of
	 * nothing */
	uint32_t *state, *token, known;
	unsigned refs, lent;
};

/* A grammar that is being compiled. */
struct compile {
	LIST_ENTRY(compile) next;
	struct constraints *all;
	const struct tokenizer *tokenizer; /* NULL: it must not be used any more */
	struct constraint *c;
	enum grammar_language language;
	struct grammar_reasoning before;
	char *text;
	constraint_done_fn *done;
	void *arg;
	int rc;
	char why[WIRE_TEXT_MAX];
};

struct constraints {
	struct executor *thread;
	pthread_mutex_t lock; /* the tokenizers of jobs and the tries of vocabularies */
	LIST_HEAD(, compile) compiles;
	LIST_HEAD(, vocabulary) vocabularies;
};

/* ---- vocabularies -------------------------------------------------------------------------------- */

int vocabulary_get(struct vocabulary **out, struct constraints *cs, const ProtobufCBinaryData *id) {
	struct vocabulary *v;
	uint8_t key[sizeof v->id] = {0};
	memcpy(key, id->data, id->len < sizeof key ? id->len : sizeof key);
	LIST_FOREACH(v, &cs->vocabularies, next)
	if (memcmp(v->id, key, sizeof key) == 0) {
		v->refs++;
		*out = v;
		return 0;
	}
	if (!(v = calloc(1, sizeof *v)))
		return -ENOMEM;
	memcpy(v->id, key, sizeof key);
	v->all = cs;
	v->refs = 1;
	LIST_INSERT_HEAD(&cs->vocabularies, v, next);
	*out = v;
	return 0;
}

void vocabulary_unref(struct vocabulary *v) {
	if (!v || --v->refs > 0)
		return;
	if (v->all)
		LIST_REMOVE(v, next);
	token_trie_destroy(v->trie);
	free(v);
}

/* ---- one constraint ------------------------------------------------------------------------------ */

static struct constraint *constraint_create(struct vocabulary *v, uint32_t prompt, uint32_t capacity) {
	struct constraint *c = calloc(1, sizeof *c);
	uint32_t room = capacity - prompt + 1;
	if (!c)
		return NULL;
	c->state = malloc(room * sizeof *c->state);
	c->token = malloc(room * sizeof *c->token);
	if (!c->state || !c->token) {
		free(c->state);
		free(c->token);
		free(c);
		return NULL;
	}
	v->refs++;
	c->vocabulary = v;
	c->prompt = prompt;
	c->capacity = capacity;
	c->refs = 1;
	return c;
}

struct constraint *constraint_ref(struct constraint *c) {
	if (c)
		c->refs++;
	return c;
}

void constraint_unref(struct constraint *c) {
	if (!c || --c->refs > 0)
		return;
	grammar_matcher_destroy(c->matcher);
	grammar_destroy(c->grammar);
	vocabulary_unref(c->vocabulary);
	free(c->state);
	free(c->token);
	free(c);
}

void constraint_lend(struct constraint *c) {
	c->lent++;
}

void constraint_take_back(struct constraint *c) {
	c->lent--;
}

bool constraint_lent(const struct constraint *c) {
	return c->lent > 0;
}

static int constraint_begin(struct constraint *c) {
	if (c->known > 0)
		return 0;
	int rc = c->matcher ? 0 : grammar_matcher_create(&c->matcher, c->grammar, c->vocabulary->trie);
	if (rc == 0)
		rc = grammar_start(c->matcher, &c->state[0], NULL, 0);
	c->known = rc == 0;
	return rc;
}

/* The state behind text[0..n).  What it has in common with the text that was asked about last is known; another text takes the
 * place of the rest. */
static int constraint_state(struct constraint *c, const uint32_t *text, uint32_t n, uint32_t *state) {
	uint32_t answer = n - c->prompt, at = 0;
	if (n < c->prompt || n > c->capacity)
		return -EINVAL;
	int rc = constraint_begin(c);
	if (rc != 0)
		return rc;
	text += c->prompt;
	while (at < answer && at + 1 < c->known && c->token[at] == text[at])
		at++;
	for (; at < answer; at++) {
		uint32_t next = c->state[at];
		rc = grammar_accept(c->matcher, &next, text[at], NULL, 0);
		if (rc != 0)
			return rc;
		c->token[at] = text[at];
		c->state[at + 1] = next;
		c->known = at + 2;
	}
	*state = c->state[answer];
	return 0;
}

int constraint_mask(
        struct constraint *c, const uint32_t *text, uint32_t n, const uint64_t **mask, bool *ends) {
	uint32_t state;
	int rc = constraint_state(c, text, n, &state);
	*ends = false;
	if (rc == 0)
		rc = grammar_mask(c->matcher, state, mask, NULL, 0);
	if (rc != -ENODATA || !grammar_may_end(c->matcher, state))
		return rc;
	*ends = true;
	return 0;
}

const char *constraint_error(int rc) {
	return rc == -ENODATA  ? "the model's vocabulary cannot spell what the grammar asks for here"
	       : rc == -E2BIG  ? "the answer has more states than a grammar may have"
	       : rc == -EINVAL ? "what was generated so far does not follow the grammar"
	                       : NULL;
}

uint32_t constraint_allowed(struct constraint *c, const uint32_t *text, uint32_t n, uint32_t drafted) {
	uint32_t allowed = 0, state;
	while (allowed < drafted && constraint_state(c, text, n + allowed + 1, &state) == 0)
		allowed++;
	return allowed;
}

/* ---- compiling ----------------------------------------------------------------------------------- */

static int compile_trie(struct compile *j) {
	struct constraints *cs = j->all;
	struct vocabulary *v = j->c->vocabulary;
	pthread_mutex_lock(&cs->lock);
	int rc = !j->tokenizer ? -ECANCELED : v->trie ? 0 : token_trie_create(&v->trie, j->tokenizer);
	pthread_mutex_unlock(&cs->lock);
	if (rc != 0)
		snprintf(j->why, sizeof j->why, "%s", strerror(-rc));
	return rc;
}

static void compile_run(void *arg) {
	struct compile *j = arg;
	j->rc = compile_trie(j);
	if (j->rc == 0)
		j->rc = grammar_from_text(&j->c->grammar, j->language, j->text, strlen(j->text),
		        j->before.format != REASONING_NONE ? &j->before : NULL, j->why, sizeof j->why);
}

static void compile_free(struct compile *j) {
	LIST_REMOVE(j, next);
	free(j->text);
	free(j);
}

static void compile_done(void *arg, bool cancelled) {
	struct compile *j = arg;
	if (cancelled || !j->tokenizer)
		j->rc = -ECANCELED;
	if (j->rc != 0) {
		constraint_unref(j->c);
		j->c = NULL;
	}
	j->done(j->arg, j->c, j->rc, j->why);
	compile_free(j);
}

int constraint_compile(struct constraints *cs, struct vocabulary *v, const struct tokenizer *t,
        const Caravan__Grammar *g, uint32_t prompt, uint32_t capacity, constraint_done_fn *done, void *arg) {
	struct compile *j = calloc(1, sizeof *j);
	if (!j)
		return -ENOMEM;
	LIST_INSERT_HEAD(&cs->compiles, j, next);
	j->all = cs;
	j->tokenizer = t;
	j->language = (enum grammar_language)g->language;
	j->before = (struct grammar_reasoning){reasoning_format_find(g->reasoning), g->open};
	j->done = done;
	j->arg = arg;
	j->text = strdup(g->text);
	j->c = j->text ? constraint_create(v, prompt, capacity) : NULL;
	int rc = j->c ? executor_submit(cs->thread, compile_run, compile_done, j) : -ENOMEM;
	if (rc != 0) {
		constraint_unref(j->c);
		compile_free(j);
	}
	return rc;
}

void constraints_forget(struct constraints *cs, const struct tokenizer *t) {
	struct compile *j;
	pthread_mutex_lock(&cs->lock);
	LIST_FOREACH(j, &cs->compiles, next)
	if (j->tokenizer == t)
		j->tokenizer = NULL;
	pthread_mutex_unlock(&cs->lock);
}

/* ---- all of them --------------------------------------------------------------------------------- */

int constraints_create(struct constraints **out, struct loop *l) {
	struct constraints *cs = calloc(1, sizeof *cs);
	if (!cs)
		return -ENOMEM;
	LIST_INIT(&cs->compiles);
	LIST_INIT(&cs->vocabularies);
	pthread_mutex_init(&cs->lock, NULL);
	int rc = executor_create(&cs->thread, l);
	if (rc != 0) {
		constraints_destroy(cs);
		return rc;
	}
	*out = cs;
	return 0;
}

void constraints_destroy(struct constraints *cs) {
	struct vocabulary *v;
	if (!cs)
		return;
	executor_destroy(cs->thread);
	while ((v = LIST_FIRST(
	                &cs->vocabularies))) { /* in use by coordinators that still wait for the compute thread */
		LIST_REMOVE(v, next);
		v->all = NULL;
	}
	pthread_mutex_destroy(&cs->lock);
	free(cs);
}
