/* matcher: see matcher.h.  A state is the set of all readings of the text so far: where each is in its rule, and the
 * stack of what comes behind that rule.  Stacks and sets are interned, so that the automaton over sets is made
 * deterministic while it is used and each of its steps is computed once.
 *
 * Most of a mask does not depend on the stack: the tokens that stay within the rule that is being matched, or end with it, are
 * found once for each state of a rule (a piece, with the places in the tree where the rule ends within a token), and what may
 * follow behind those places is then looked up for the stack.  (The idea is XGrammar's: Dong and others, 2024.)
 *
 * One thread at a time. */
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/grammar_internal.h"
#include "daemon/text/grammar/token_trie.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STATES 65536u
#define TIDY_STATES 24576u    /* as many, and what is not held is forgotten */
#define MAX_STACKS 131072u    /* nodes */
#define MAX_READINGS 2000000u /* of all states */
#define MAX_VISITED 4096u     /* ways of one step; a power of two */
#define PIECE_READINGS \
	32u /* with more, or on a stack deeper than HOLE_DEPTH, pieces are not used: the bounds */
#define HOLE_DEPTH (GRAMMAR_MAX_DEPTH / 2) /* are then observed exactly */
#define MASKS 32                           /* whole masks that are kept */
#define PIECE_BYTES ((size_t)24 << 20)

/* Numbers of states that are none: not computed yet, no text, a text beyond a bound; and of the state behind the end. */
enum { UNKNOWN, DEAD, EXCEEDED, ENDED, FIRST_STATE };
/* Numbers of stacks: the text ends behind it; it is not known what follows; it cannot be. */
enum { BOTTOM, HOLE, FIRST_STACK, NO_STACK = INT32_MAX };
enum { MAY_END = 1, EXITS = 2 }; /* flags: a reading ends with an empty stack; with one that is not known */

struct reading {
	uint32_t at; /* state of the grammar; it has edges with bytes */
	uint32_t stack;
};

struct state {
	struct reading *reading; /* sorted */
	uint32_t n;
	uint8_t flags;
	bool used, held; /* held: its number was given out */
};

struct stack {
	uint32_t to, below; /* behind the rule on top: a state of the grammar, and a stack */
	uint32_t depth;     /* 0: not in use */
};

/* The tokens that a state of a rule allows whatever its stack is. */
struct piece {
	uint32_t at;
	uint64_t used;
	uint64_t *bits; /* if they are many; otherwise a list */
	uint32_t *token, tokens;
	uint32_t *exit, exits; /* nodes behind which the rule has ended, with more below them */
};

struct mask {
	uint32_t state;
	uint64_t used;
	uint64_t *bits;
};

struct grammar_matcher {
	const struct grammar *g;
	const struct token_trie *trie;

	struct state *state;
	uint32_t *next; /* a state for each class of bytes of each state */
	uint32_t states, cap_states, free_states, known, readings, tidy_at;
	uint32_t *unused; /* numbers of states that may be used again */
	uint32_t *state_slot;

	struct stack *stack;
	uint32_t stacks, cap_stacks, *unused_stack, free_stacks;
	uint32_t *stack_slot;

	struct piece *piece;
	uint32_t *piece_of; /* of a state of the grammar: its number + 1 */
	uint32_t pieces, cap_pieces;
	size_t piece_bytes;
	struct mask mask[MASKS];
	uint64_t tick;

	/* one step */
	struct reading work[MAX_VISITED], out[GRAMMAR_MAX_READINGS];
	uint32_t works, outs, visits;
	struct reading visited[2 * MAX_VISITED];
	uint32_t visit_stamp[2 * MAX_VISITED], stamp;
	bool exceeded; /* a bound of one text was met, and what is beyond it left out */
	uint8_t flags;

	/* one walk through the tree */
	uint32_t at[TOKEN_TRIE_MAX_LEN + 1]; /* the state at each depth */
	uint32_t *found, nfound, *exit, exits, cap_exits;

	int error; /* of the call that is under way */
};

/* ---- memory ---- */

static void *matcher_grow(struct grammar_matcher *m, void *p, size_t n, size_t size) {
	void *q = realloc(p, n * size);
	if (!q)
		m->error = -ENOMEM;
	return q;
}

static bool matcher_add_rows(struct grammar_matcher *m) {
	uint32_t cap = m->cap_states ? m->cap_states * 2 : 256;
	struct state *state = matcher_grow(m, m->state, cap, sizeof *state);
	if (state)
		m->state = state;
	uint32_t *next = matcher_grow(m, m->next, (size_t)cap * m->g->classes, sizeof *next);
	if (next)
		m->next = next;
	uint32_t *unused = matcher_grow(m, m->unused, cap, sizeof *unused);
	if (unused)
		m->unused = unused;
	if (!state || !next || !unused)
		return false;
	m->cap_states = cap;
	return true;
}

/* ---- stacks ---- */

static uint32_t hash_pair(uint32_t a, uint32_t b) {
	uint32_t h = (a * 2654435761u ^ b) * 2246822519u;
	return h ^ h >> 15;
}

static void stack_index(struct grammar_matcher *m, uint32_t number) {
	uint32_t i = hash_pair(m->stack[number].to, m->stack[number].below) % (2 * MAX_STACKS);
	while (m->stack_slot[i])
		i = (i + 1) % (2 * MAX_STACKS);
	m->stack_slot[i] = number;
}

/* `to` on top of below; NO_STACK (and m->exceeded or m->error) if that cannot be. */
static uint32_t stack_push(struct grammar_matcher *m, uint32_t to, uint32_t below) {
	uint32_t i = hash_pair(to, below) % (2 * MAX_STACKS), number;
	for (; m->stack_slot[i]; i = (i + 1) % (2 * MAX_STACKS)) {
		const struct stack *s = &m->stack[m->stack_slot[i]];
		if (s->to == to && s->below == below)
			return m->stack_slot[i];
	}
	if (m->stack[below].depth == GRAMMAR_MAX_DEPTH) {
		m->exceeded = true;
		return NO_STACK;
	}
	if (m->free_stacks > 0) {
		number = m->unused_stack[--m->free_stacks];
	} else if (m->stacks < MAX_STACKS) {
		if (m->stacks == m->cap_stacks) {
			uint32_t cap = m->cap_stacks * 2;
			struct stack *more = matcher_grow(m, m->stack, cap, sizeof *more);
			if (!more)
				return NO_STACK;
			m->stack = more;
			m->cap_stacks = cap;
		}
		number = m->stacks++;
	} else {
		m->error = -E2BIG;
		return NO_STACK;
	}
	m->stack[number] = (struct stack){to, below, m->stack[below].depth + 1};
	m->stack_slot[i] = number;
	return number;
}

/* ---- states ---- */

static uint32_t hash_readings(const struct reading *r, uint32_t n, uint8_t flags) {
	uint32_t h = flags;
	for (uint32_t i = 0; i < n; i++)
		h = hash_pair(h ^ r[i].at, r[i].stack);
	return h;
}

static void state_index(struct grammar_matcher *m, uint32_t number) {
	const struct state *s = &m->state[number];
	uint32_t i = hash_readings(s->reading, s->n, s->flags) % (2 * MAX_STATES);
	while (m->state_slot[i])
		i = (i + 1) % (2 * MAX_STATES);
	m->state_slot[i] = number;
}

static uint32_t state_new(struct grammar_matcher *m, const struct reading *r, uint32_t n, uint8_t flags) {
	uint32_t number;
	if (m->readings + n > MAX_READINGS || (m->free_states == 0 && m->states == MAX_STATES)) {
		m->error = -E2BIG;
		return DEAD;
	}
	if (m->free_states == 0 && m->states == m->cap_states && !matcher_add_rows(m))
		return DEAD;
	struct reading *copy = malloc((n + (size_t)1) * sizeof *copy);
	if (!copy) {
		m->error = -ENOMEM;
		return DEAD;
	}
	memcpy(copy, r, n * sizeof *copy);
	number = m->free_states > 0 ? m->unused[--m->free_states] : m->states++;
	m->state[number] = (struct state){copy, n, flags, true, false};
	memset(m->next + (size_t)number * m->g->classes, 0, m->g->classes * sizeof *m->next);
	m->readings += n;
	m->known++;
	return number;
}

static int compare_readings(const void *a, const void *b) {
	const struct reading *x = a, *y = b;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->stack < y->stack ? -1 : x->stack > y->stack;
}

/* The state of m->out and m->flags. */
static uint32_t state_intern(struct grammar_matcher *m) {
	if (m->error || (m->outs == 0 && m->flags == 0))
		return DEAD;
	if (m->outs > 1)
		qsort(m->out, m->outs, sizeof *m->out, compare_readings);
	uint32_t i = hash_readings(m->out, m->outs, m->flags) % (2 * MAX_STATES);
	for (; m->state_slot[i]; i = (i + 1) % (2 * MAX_STATES)) {
		const struct state *s = &m->state[m->state_slot[i]];
		if (s->n == m->outs && s->flags == m->flags &&
		        memcmp(s->reading, m->out, m->outs * sizeof *m->out) == 0)
			return m->state_slot[i];
	}
	uint32_t number = state_new(m, m->out, m->outs, m->flags);
	if (!m->error)
		m->state_slot[i] = number;
	return number;
}

/* ---- one step ---- */

static void step_begin(struct grammar_matcher *m) {
	m->works = m->outs = m->visits = 0;
	m->flags = 0;
	m->exceeded = false;
	if (++m->stamp == 0) {
		memset(m->visit_stamp, 0, sizeof m->visit_stamp);
		m->stamp = 1;
	}
}

/* A place to go on from, unless it was met before. */
static void step_visit(struct grammar_matcher *m, uint32_t at, uint32_t stack) {
	uint32_t i = hash_pair(at, stack) % (2 * MAX_VISITED);
	for (; m->visit_stamp[i] == m->stamp; i = (i + 1) % (2 * MAX_VISITED))
		if (m->visited[i].at == at && m->visited[i].stack == stack)
			return;
	if (m->visits == MAX_VISITED) {
		m->exceeded = true;
		return;
	}
	m->visits++;
	m->visit_stamp[i] = m->stamp;
	m->visited[i] = m->work[m->works++] = (struct reading){at, stack};
}

static bool is_last(const struct grammar *g, uint32_t q) {
	return g->state[q].final && g->state[q].bytes == g->state[q + 1].bytes &&
	       g->state[q].calls == g->state[q + 1].calls;
}

/* Goes from a place to all that is reached without a byte: into rules that are called, out of rules that end.  A call
 * with nothing behind it needs no place on the stack, so that lists which call themselves last do not nest. */
static void step_expand(struct grammar_matcher *m, struct reading r) {
	const struct grammar *g = m->g;
	const struct grammar_state *q = &g->state[r.at];
	if (q[0].bytes < q[1].bytes) {
		if (m->outs == GRAMMAR_MAX_READINGS)
			m->exceeded = true;
		else
			m->out[m->outs++] = r;
	}
	if (q->final && r.stack >= FIRST_STACK)
		step_visit(m, m->stack[r.stack].to, m->stack[r.stack].below);
	else if (q->final)
		m->flags |= r.stack == BOTTOM ? MAY_END : EXITS;
	for (uint32_t i = q[0].calls; i < q[1].calls && !m->error; i++) {
		uint32_t stack = is_last(g, g->call[i].to) ? r.stack : stack_push(m, g->call[i].to, r.stack);
		if (stack != NO_STACK)
			step_visit(m, g->call[i].rule, stack);
	}
}

/* The state of all places that were visited.  Where a bound is met the text is not allowed, instead of some readings of it. */
static uint32_t step_end(struct grammar_matcher *m) {
	while (m->works > 0 && !m->error && !m->exceeded)
		step_expand(m, m->work[--m->works]);
	return m->exceeded ? EXCEEDED : state_intern(m);
}

/* The state behind a byte of a class. */
static uint32_t step_compute(struct grammar_matcher *m, uint32_t from, uint8_t class) {
	const struct grammar *g = m->g;
	const struct state s = m->state[from];
	const uint8_t byte = g->byte[class];
	step_begin(m);
	for (uint32_t i = 0; i < s.n; i++) {
		const struct grammar_state *q = &g->state[s.reading[i].at];
		for (uint32_t k = q[0].bytes; k < q[1].bytes && g->bytes[k].lo <= byte; k++)
			if (byte <= g->bytes[k].hi)
				step_visit(m, g->bytes[k].to, s.reading[i].stack);
	}
	uint32_t to = step_end(m);
	if (!m->error)
		m->next[(size_t)from * g->classes + class] = to;
	return to;
}

static inline uint32_t step(struct grammar_matcher *m, uint32_t from, uint8_t byte) {
	uint8_t class = m->g->class[byte];
	uint32_t to = m->next[(size_t)from * m->g->classes + class];
	return to != UNKNOWN ? to : step_compute(m, from, class);
}

/* The state behind a rule whose stack this is. */
static uint32_t step_leave(struct grammar_matcher *m, uint32_t stack) {
	step_begin(m);
	step_visit(m, m->stack[stack].to, m->stack[stack].below);
	return step_end(m);
}

/* ---- forgetting ---- */

static void state_free(struct grammar_matcher *m, uint32_t number) {
	m->readings -= m->state[number].n;
	m->known--;
	free(m->state[number].reading);
	m->state[number] = (struct state){0};
	m->unused[m->free_states++] = number;
}

/* Keeps the states whose numbers were given out, and the stacks that they need. */
static void matcher_tidy(struct grammar_matcher *m) {
	if (m->known < m->tidy_at && m->readings < MAX_READINGS / 2 &&
	        m->stacks - m->free_stacks < MAX_STACKS / 2)
		return;
	bool *needed = calloc(m->stacks, sizeof *needed);
	if (!needed)
		return;
	memset(m->state_slot, 0, 2 * MAX_STATES * sizeof *m->state_slot);
	memset(m->stack_slot, 0, 2 * MAX_STACKS * sizeof *m->stack_slot);
	for (uint32_t i = FIRST_STATE; i < m->states; i++) {
		if (m->state[i].used && !m->state[i].held)
			state_free(m, i);
		if (!m->state[i].used)
			continue;
		memset(m->next + (size_t)i * m->g->classes, 0, m->g->classes * sizeof *m->next);
		state_index(m, i);
		for (uint32_t k = 0; k < m->state[i].n; k++)
			for (uint32_t s = m->state[i].reading[k].stack; s >= FIRST_STACK && !needed[s];
			        s = m->stack[s].below)
				needed[s] = true;
	}
	m->free_stacks = 0;
	for (uint32_t s = FIRST_STACK; s < m->stacks; s++)
		if (needed[s])
			stack_index(m, s);
		else
			m->unused_stack[m->free_stacks++] = s;
	for (int i = 0; i < MASKS; i++)
		if (!m->state[m->mask[i].state].held)
			m->mask[i].state = UNKNOWN;
	free(needed);
	m->tidy_at = m->known * 2 > TIDY_STATES ? m->known * 2 : TIDY_STATES;
}

/* ---- masks ---- */

static void bits_set(uint64_t *bits, uint32_t i) {
	bits[i / 64] |= (uint64_t)1 << i % 64;
}

static size_t matcher_words(const struct grammar_matcher *m) {
	return (m->trie->tokens + (size_t)63) / 64;
}

static void walk_exit(struct grammar_matcher *m, uint32_t node) {
	if (m->exits == m->cap_exits) {
		uint32_t cap = m->cap_exits ? m->cap_exits * 2 : 256;
		uint32_t *more = matcher_grow(m, m->exit, cap, sizeof *more);
		if (!more)
			return;
		m->exit = more;
		m->cap_exits = cap;
	}
	m->exit[m->exits++] = node;
}

/* Finds the tokens of the nodes from first up to end; m->at has the state above them.  Behind exits nothing is looked at. */
static void walk(struct grammar_matcher *m, uint32_t first, uint32_t end) {
	const struct token_trie *t = m->trie;
	for (uint32_t i = first; i < end && !m->error;) {
		uint32_t depth = t->depth[i], to = step(m, m->at[depth - 1], t->byte[i]);
		if (to <= EXCEEDED) {
			i = t->end[i];
			continue;
		}
		m->at[depth] = to;
		for (uint32_t id = t->token[i]; id != TOKEN_TRIE_NONE; id = t->same[id])
			m->found[m->nfound++] = id;
		if ((m->state[to].flags & EXITS) && i + 1 < t->end[i])
			walk_exit(m, i);
		i++;
	}
}

static size_t piece_size(const struct grammar_matcher *m, const struct piece *p) {
	return (p->bits ? matcher_words(m) * sizeof *p->bits : p->tokens * sizeof *p->token) +
	       p->exits * sizeof *p->exit;
}

static void piece_free(struct grammar_matcher *m, struct piece *p) {
	m->piece_bytes -= piece_size(m, p);
	free(p->bits);
	free(p->token);
	free(p->exit);
	m->piece_of[p->at] = 0;
	*p = m->piece[--m->pieces];
	if (p < m->piece + m->pieces)
		m->piece_of[p->at] = (uint32_t)(p - m->piece) + 1;
}

/* Makes a piece of what a walk found; few tokens become a list. */
static bool piece_fill(struct grammar_matcher *m, struct piece *p) {
	p->exits = m->exits;
	p->exit = malloc((m->exits + (size_t)1) * sizeof *p->exit);
	p->tokens = m->nfound;
	if (m->nfound <= matcher_words(m))
		p->token = malloc((m->nfound + (size_t)1) * sizeof *p->token);
	else
		p->bits = calloc(matcher_words(m), sizeof *p->bits);
	if (!p->exit || (!p->token && !p->bits)) {
		m->error = -ENOMEM;
		free(p->exit);
		free(p->token);
		free(p->bits);
		return false;
	}
	if (m->exits > 0)
		memcpy(p->exit, m->exit, m->exits * sizeof *p->exit);
	if (p->token)
		memcpy(p->token, m->found, m->nfound * sizeof *p->token);
	else
		for (uint32_t i = 0; i < m->nfound; i++)
			bits_set(p->bits, m->found[i]);
	return true;
}

/* The piece of a state of the grammar; NULL: m->error. */
static struct piece *piece_get(struct grammar_matcher *m, uint32_t at) {
	if (m->piece_of[at]) {
		struct piece *p = &m->piece[m->piece_of[at] - 1];
		p->used = ++m->tick;
		return p;
	}
	while (m->piece_bytes > PIECE_BYTES) {
		uint32_t oldest = 0;
		for (uint32_t i = 1; i < m->pieces; i++)
			if (m->piece[i].used < m->piece[oldest].used)
				oldest = i;
		piece_free(m, &m->piece[oldest]);
	}
	if (m->pieces == m->cap_pieces) {
		uint32_t cap = m->cap_pieces ? m->cap_pieces * 2 : 64;
		struct piece *more = matcher_grow(m, m->piece, cap, sizeof *more);
		if (!more)
			return NULL;
		m->piece = more;
		m->cap_pieces = cap;
	}
	step_begin(m);
	m->out[m->outs++] = (struct reading){at, HOLE};
	m->at[0] = state_intern(m);
	m->nfound = m->exits = 0;
	walk(m, 1, m->trie->nodes);
	struct piece p = {.at = at, .used = ++m->tick};
	if (m->error || !piece_fill(m, &p))
		return NULL;
	m->piece_bytes += piece_size(m, &p);
	m->piece[m->pieces] = p;
	m->piece_of[at] = ++m->pieces;
	return &m->piece[m->pieces - 1];
}

/* The tokens that one reading allows. */
static void mask_add(struct grammar_matcher *m, uint64_t *bits, struct reading r) {
	const struct piece *p = piece_get(m, r.at);
	if (!p)
		return;
	if (p->bits)
		for (size_t i = 0; i < matcher_words(m); i++)
			bits[i] |= p->bits[i];
	else
		for (uint32_t i = 0; i < p->tokens; i++)
			bits_set(bits, p->token[i]);
	if (r.stack == BOTTOM || p->exits == 0)
		return;
	uint32_t behind = step_leave(m, r.stack);
	m->nfound = m->exits = 0;
	for (uint32_t i = 0; i < p->exits && behind > EXCEEDED && !m->error; i++) {
		m->at[m->trie->depth[p->exit[i]]] = behind;
		walk(m, p->exit[i] + 1, m->trie->end[p->exit[i]]);
	}
	for (uint32_t i = 0; i < m->nfound; i++)
		bits_set(bits, m->found[i]);
}

/* Whether a token may lead beyond a bound. */
static bool mask_needs_bounds(const struct grammar_matcher *m, uint32_t state) {
	const struct state *s = &m->state[state];
	for (uint32_t i = 0; i < s->n; i++)
		if (m->stack[s->reading[i].stack].depth > HOLE_DEPTH)
			return true;
	return s->n > PIECE_READINGS;
}

/* The mask without pieces. */
static void mask_walk(struct grammar_matcher *m, uint32_t state, uint64_t *bits) {
	m->at[0] = state;
	m->nfound = m->exits = 0;
	walk(m, 1, m->trie->nodes);
	for (uint32_t i = 0; i < m->nfound; i++)
		bits_set(bits, m->found[i]);
}

static void mask_make(struct grammar_matcher *m, uint32_t state, uint64_t *bits) {
	memset(bits, 0, matcher_words(m) * sizeof *bits);
	if (mask_needs_bounds(m, state))
		mask_walk(m, state, bits);
	else
		for (uint32_t i = 0; i < m->state[state].n && !m->error; i++)
			mask_add(m, bits, m->state[state].reading[i]);
	if (grammar_may_end(m, state))
		for (uint32_t i = 0; i < m->trie->stops; i++)
			bits_set(bits, m->trie->stop[i]);
}

static struct mask *mask_slot(struct grammar_matcher *m, uint32_t state, bool *made) {
	struct mask *oldest = &m->mask[0];
	for (int i = 0; i < MASKS; i++) {
		struct mask *x = &m->mask[i];
		if (x->state == state) {
			*made = true;
			return x;
		}
		if (x->state == UNKNOWN || (oldest->state != UNKNOWN && x->used < oldest->used))
			oldest = x;
	}
	*made = false;
	return oldest;
}

/* ---- what others call ---- */

/* The sentence of an error. */
static int matcher_fail(int rc, char *err, size_t errlen) {
	snprintf(err, errlen, "%s",
	        rc == -ENOMEM    ? "no memory to match the grammar"
	        : rc == -ENODATA ? "the grammar allows no token of this vocabulary here"
	        : rc == -EINVAL  ? "the grammar does not allow this token here"
	                         : "the text has too many readings by this grammar");
	return rc;
}

int grammar_mask(struct grammar_matcher *m, uint32_t state, const uint64_t **mask, char *err, size_t errlen) {
	bool made;
	*mask = NULL;
	if (state < ENDED || state >= m->states || !m->state[state].used)
		return matcher_fail(-EINVAL, err, errlen);
	m->error = 0;
	matcher_tidy(m);
	struct mask *x = mask_slot(m, state, &made);
	if (!made) {
		x->state = UNKNOWN;
		if (!x->bits && !(x->bits = malloc((matcher_words(m) + 1) * sizeof *x->bits)))
			return matcher_fail(-ENOMEM, err, errlen);
		mask_make(m, state, x->bits);
		if (m->error)
			return matcher_fail(m->error, err, errlen);
		x->state = state;
	}
	x->used = ++m->tick;
	for (size_t i = 0; i < matcher_words(m); i++)
		if (x->bits[i] != 0) {
			*mask = x->bits;
			return 0;
		}
	return matcher_fail(-ENODATA, err, errlen);
}

bool grammar_may_end(const struct grammar_matcher *m, uint32_t state) {
	return state == ENDED ||
	       (state >= FIRST_STATE && state < m->states && (m->state[state].flags & MAY_END) != 0);
}

static int matcher_hold(
        struct grammar_matcher *m, uint32_t found, uint32_t *state, char *err, size_t errlen) {
	if (m->error)
		return matcher_fail(m->error, err, errlen);
	if (found <= EXCEEDED)
		return matcher_fail(found == EXCEEDED ? -E2BIG : -EINVAL, err, errlen);
	m->state[found].held = true;
	*state = found;
	return 0;
}

int grammar_start(struct grammar_matcher *m, uint32_t *state, char *err, size_t errlen) {
	m->error = 0;
	matcher_tidy(m);
	step_begin(m);
	step_visit(m, m->g->start, BOTTOM);
	uint32_t found = step_end(m);
	return matcher_hold(m, found, state, err, errlen);
}

int grammar_accept(struct grammar_matcher *m, uint32_t *state, uint32_t token, char *err, size_t errlen) {
	uint32_t at = *state;
	size_t len;
	m->error = 0;
	if (at < ENDED || at >= m->states || !m->state[at].used)
		return matcher_fail(-EINVAL, err, errlen);
	matcher_tidy(m);
	const char *s = token_trie_piece(m->trie, token, &len);
	if (token_trie_is_stop(m->trie, token))
		return matcher_hold(m, grammar_may_end(m, at) ? ENDED : DEAD, state, err, errlen);
	if (len == 0)
		at = DEAD;
	for (size_t i = 0; i < len && at > EXCEEDED && !m->error; i++)
		at = step(m, at, (uint8_t)s[i]);
	return matcher_hold(m, at, state, err, errlen);
}

uint32_t grammar_matcher_states(const struct grammar_matcher *m) {
	return m->known;
}

int grammar_matcher_create(
        struct grammar_matcher **out, const struct grammar *g, const struct token_trie *trie) {
	struct grammar_matcher *m = calloc(1, sizeof *m);
	*out = NULL;
	if (!m)
		return -ENOMEM;
	m->g = g;
	m->trie = trie;
	m->cap_stacks = 256;
	m->stacks = FIRST_STACK;
	m->state_slot = calloc(2 * MAX_STATES, sizeof *m->state_slot);
	m->stack_slot = calloc(2 * MAX_STACKS, sizeof *m->stack_slot);
	m->stack = calloc(m->cap_stacks, sizeof *m->stack);
	m->piece_of = calloc(g->states, sizeof *m->piece_of);
	m->unused_stack = malloc(MAX_STACKS * sizeof *m->unused_stack);
	m->found = malloc((trie->tokens + (size_t)1) * sizeof *m->found);
	if (!m->state_slot || !m->stack_slot || !m->stack || !m->piece_of || !m->unused_stack || !m->found ||
	        !matcher_add_rows(m)) {
		grammar_matcher_destroy(m);
		return -ENOMEM;
	}
	m->stack[HOLE].depth = HOLE_DEPTH;
	m->tidy_at = TIDY_STATES;
	for (m->states = 0; m->states < FIRST_STATE; m->states++) {
		m->state[m->states] = (struct state){.used = true, .held = true};
		for (uint32_t i = 0; i < g->classes; i++)
			m->next[(size_t)m->states * g->classes + i] = DEAD;
	}
	*out = m;
	return 0;
}

void grammar_matcher_destroy(struct grammar_matcher *m) {
	if (!m)
		return;
	for (uint32_t i = 0; i < m->states; i++)
		free(m->state[i].reading);
	while (m->pieces > 0)
		piece_free(m, &m->piece[m->pieces - 1]);
	for (int i = 0; i < MASKS; i++)
		free(m->mask[i].bits);
	free(m->state);
	free(m->next);
	free(m->unused);
	free(m->state_slot);
	free(m->stack);
	free(m->unused_stack);
	free(m->stack_slot);
	free(m->piece);
	free(m->piece_of);
	free(m->found);
	free(m->exit);
	free(m);
}
