/* chat_turn: a question and its answer; the connection to the model: see chat_internal.h.
 *
 * Ctrl-C reaches an answer as a message to the daemon (CtlCancel), which ends it: the connection, and with it a daemon that
 * was started for a file, stays.  Signals are blocked and read from a descriptor, so that none is lost or comes at a wrong time. */
#include "cli/answer.h"
#include "cli/chat_internal.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "cli/wrap.h"
#include "common/size.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- the terminal -------------------------------------------------------------------------------- */

static struct wrap wrap; /* of answers, and of what is shown of a conversation */

static void chat_end_line(void) {
	wrap_flush(&wrap, stdout, table_width());
	if (wrap.column > 0)
		putchar('\n');
	wrap.column = 0;
	fflush(stdout);
}

static void chat_before_failure(void) {
	progress_clear();
	chat_end_line();
}

void chat_note(const struct chat *c, const char *fmt, ...) {
	va_list ap;
	char *text;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	chat_end_line();
	fputs(c->dim ? ANSWER_DIM : "", stdout);
	table_text(stdout, table_width(), 0, 0, text ? text : "out of memory");
	fputs(c->dim ? ANSWER_DIM_END : "", stdout);
	fflush(stdout);
	free(text);
}

static int chat_write(struct terminal *t, const void *text, size_t len) {
	uint8_t *fit = malloc(TERMINAL_ROOM(len));
	size_t n = fit ? terminal_take(t, text, len, fit) : 0;
	if (!fit)
		return fail("out of memory");
	wrap_write(&wrap, stdout, table_width(), (const char *)fit, n);
	fflush(stdout);
	free(fit);
	return 0;
}

void chat_print(const char *text) {
	struct terminal t = {0};
	(void)chat_write(&t, text, strlen(text));
	chat_end_line();
}

/* ---- signals ------------------------------------------------------------------------------------- */

static struct {
	int fd;
	sigset_t before;
	struct termios shown; /* the terminal with its echo */
	bool terminal;
	/* of an answer */
	struct client *client; /* that computes it; NULL: a model is opened */
	unsigned interrupts;
	int ended_by; /* a signal that ends the program */
} signals = {.fd = -1};

int chat_signals_open(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, &signals.before);
	signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals.fd < 0)
		return fail("cannot watch signals: %s", strerror(errno));
	signals.terminal = tcgetattr(STDIN_FILENO, &signals.shown) == 0;
	fail_before(chat_before_failure);
	return 0;
}

void chat_signals_close(void) {
	if (signals.fd >= 0)
		close(signals.fd);
	signals.fd = -1;
	sigprocmask(SIG_SETMASK, &signals.before, NULL);
	fail_before(progress_clear);
}

/* Those that end the program are left to end it but for an answer: then the terminal has no echo. */
static void signals_hold(bool hold) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
	sigaddset(&set, SIGINT);
	if (!hold)
		sigdelset(&set, SIGTERM), sigdelset(&set, SIGHUP), sigdelset(&set, SIGQUIT);
	signalfd(signals.fd, &set, 0);
}

static void terminal_echo(bool on) {
	struct termios t = signals.shown;
	if (!on)
		t.c_lflag &= ~(tcflag_t)ECHO;
	if (signals.terminal)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

static void client_stop_answer(struct client *client) {
	Caravan__CtlCancel cancel = CARAVAN__CTL_CANCEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_CANCEL, ctl_cancel, &cancel);
	(void)client_send(client, &env, NULL, 0, NULL, 0);
}

/* The first Ctrl-C asks the daemon to end the answer; the second does not wait for that. */
static int signals_take(void *arg) {
	struct signalfd_siginfo s;
	(void)arg;
	while (read(signals.fd, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo != SIGINT) {
			signals.ended_by = (int)s.ssi_signo;
			return 1;
		}
		if (signals.interrupts++ > 0 || !signals.client)
			return 1;
		client_stop_answer(signals.client);
	}
	return 0;
}

/* From here on to signals_end, Ctrl-C is for what the daemon does. */
static void signals_begin(struct client *client) {
	struct signalfd_siginfo s;
	while (signals.fd >= 0 && read(signals.fd, &s, sizeof s) == sizeof s)
		; /* what came before */
	signals.client = client;
	signals.interrupts = 0;
	signals.ended_by = 0;
	if (signals.fd < 0)
		return;
	signals_hold(true);
	terminal_echo(false);
	client_on_wake(signals.fd, signals_take, NULL);
}

static void signals_end(void) {
	if (signals.fd < 0)
		return;
	client_on_wake(-1, NULL, NULL);
	terminal_echo(true);
	signals_hold(false);
	if (signals.ended_by)
		raise(signals.ended_by);
}

/* ---- the model ----------------------------------------------------------------------------------- */

static bool chat_is_draft(const struct report *r, const char *model) {
	for (size_t i = 0; i < r->models; i++)
		if (strcmp(r->model[i]->plan->draft, model) == 0)
			return true;
	return false;
}

/* The named model, or the only one; NULL after reporting what there is. */
static const Caravan__ReportModel *chat_find_model(const struct report *r, const char *name) {
	const Caravan__ReportModel *found = NULL;
	char names[512] = "";
	size_t n = 0, at = 0;
	for (size_t i = 0; i < r->models; i++) {
		const char *model = r->model[i]->plan->model;
		if (name ? strcmp(model, name) == 0 : !chat_is_draft(r, model)) {
			found = r->model[i];
			n++;
		}
		if (at < sizeof names && !chat_is_draft(r, model))
			at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", model);
	}
	if (n == 1)
		return found;
	if (!*names)
		fail("no model is loaded: load one with caravan load FILE, or chat with a file alone: caravan chat -m FILE");
	else if (name)
		fail("there is no model %s; there is: %s", name, names);
	else
		fail("several models are loaded; name one with -m: %s", names);
	return NULL;
}

/* "desk (layers 0-39), pi (layers 40-79)" */
static void chat_describe_nodes(struct chat *c, const struct report *r, const Caravan__Plan *plan) {
	size_t at = 0;
	*c->where = '\0';
	for (size_t i = 0; i < plan->n_stages && at < sizeof c->where; i++) {
		const Caravan__Stage *s = plan->stages[i];
		at += (size_t)snprintf(c->where + at, sizeof c->where - at, "%s%s (%s)", i ? ", " : "",
		        report_node_name(r, s->node), size_layers_named(s->first, s->last).s);
	}
}

static int chat_describe(struct chat *c, const char *name) {
	struct report r;
	if (report_fetch_from(&r, &c->client) != 0)
		return EXIT_FAILED;
	const Caravan__ReportModel *m = chat_find_model(&r, name);
	int rc = m ? 0 : EXIT_FAILED;
	if (m && m->phase != CARAVAN__MODEL_PHASE__SERVING)
		rc = fail("model %s is %s%s%s", m->plan->model, report_phase(m->phase),
		        *m->reason ? ": " : "", m->reason);
	if (rc == 0) {
		snprintf(c->model, sizeof c->model, "%s", m->plan->model);
		c->context = m->plan->context;
		c->nodes = (uint32_t)m->plan->n_stages;
		chat_describe_nodes(c, &r, m->plan);
	}
	report_clear(&r);
	return rc;
}

int chat_open(struct chat *c) {
	const char *name = c->named;
	c->path = name && client_is_path(name);
	signals_begin(NULL);
	int rc = client_for_model(&c->client, c->args->control, &name, 0, &c->how);
	if (rc != 0 && !c->path)
		chat_note(c, "A file needs no daemon: caravan chat -m FILE.gguf");
	if (rc == 0 && (rc = chat_describe(c, name)) != 0)
		client_close(&c->client);
	signals_end();
	return rc;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

struct turn {
	const struct chat *chat;
	bool shown;    /* on a terminal; else the answer as it is on standard output */
	bool thinking; /* the last text was of the reasoning */
	struct terminal terminal;
	char *text;
	size_t len, capacity;
	double began, first, last; /* seconds; first 0: no text yet */
};

static double turn_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The reasoning begins: dimmed, or a word in its place; or it is over, with an empty line behind it. */
static void turn_set_thinking(struct turn *t, bool thinking) {
	if (thinking == t->thinking)
		return;
	t->thinking = thinking;
	if (thinking) {
		fputs(t->chat->dim ? ANSWER_DIM : "", stdout);
		if (!t->chat->reasoning)
			(void)chat_write(&t->terminal, "(thinking)", strlen("(thinking)"));
	} else {
		wrap_flush(&wrap, stdout, table_width());
		printf("%s\n\n", t->chat->dim ? ANSWER_DIM_END : "");
		wrap.column = 0;
	}
	fflush(stdout);
}

/* The answer alone is kept. */
static int turn_take_text(void *arg, bool reasoning, const uint8_t *text, size_t len) {
	struct turn *t = arg;
	t->last = turn_now();
	if (t->first == 0)
		t->first = t->last;
	if (!t->shown)
		return reasoning ? 0 : text_write(text, len);
	turn_set_thinking(t, reasoning);
	if (reasoning)
		return t->chat->reasoning ? chat_write(&t->terminal, text, len) : 0;
	if (t->len + len > t->capacity) {
		size_t capacity = 2 * (t->len + len);
		char *more = realloc(t->text, capacity);
		if (!more)
			return fail("out of memory");
		t->text = more;
		t->capacity = capacity;
	}
	memcpy(t->text + t->len, text, len);
	t->len += len;
	return chat_write(&t->terminal, text, len);
}

static int turn_send(struct chat *c) {
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__CtlChat chat = CARAVAN__CTL_CHAT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_CHAT, ctl_chat, &chat);
	size_t len;
	int rc = sampling_draw(&c->sampling);
	if (rc != 0)
		return rc;
	run.model = c->model;
	run.limit = c->limit;
	run.sampling = &c->sampling.s;
	chat.run = &run;
	chat.template_ = wire_string(c->template);
	char *body = conversation_body(&c->conversation, &len);
	rc = client_send(&c->client, &env, body, len, NULL, 0);
	free(body);
	return rc;
}

/* "57 tokens, 21.3 a second, the first after 0.12 s; context 95 of 512" */
static void turn_print_figures(struct chat *c, const struct turn *t, const Caravan__Finished *f) {
	char rate[48] = "", first[48] = "", context[64] = "";
	double seconds = f->generate_seconds > 0 ? f->generate_seconds : t->last - t->first;
	if (f->context)
		c->context = f->context;
	c->tokens = f->prompt + f->generated;
	if (f->generated > 1 && seconds > 0)
		snprintf(rate, sizeof rate, ", %s a second", size_rate(f->generated / seconds).s);
	double wait = t->first - t->began;
	if (t->first > 0 && wait < 0.1)
		snprintf(first, sizeof first, ", the first after %.0f ms", 1000 * wait);
	else if (t->first > 0)
		snprintf(first, sizeof first, ", the first after %.1f s", wait);
	if (c->context && c->tokens)
		snprintf(context, sizeof context, "; context %u of %u", c->tokens, c->context);
	chat_note(c, "%s%u token%s%s%s%s", f->reason == CARAVAN__REASON__CANCELLED ? "stopped: " : "",
	        f->generated, f->generated == 1 ? "" : "s", rate, first, context);
}

static void turn_say_full(struct chat *c) {
	chat_note(c,
	        "The context of %u tokens is full. /undo removes the last question and its answer, /clear begins anew; "
	        "%s makes it longer, if the model was trained for that.",
	        c->context, c->path ? "caravan chat --context" : "caravan load --context");
}

/* In lines that a terminal does not break, as the answers. */
static void turn_say_refused(const char *error) {
	if (!isatty(STDERR_FILENO)) {
		fail("%s", error);
		return;
	}
	char *text;
	chat_before_failure();
	if (asprintf(&text, "caravan: %s", error) < 0)
		return;
	table_text(stderr, table_width(), 0, 0, text);
	free(text);
}

static void turn_finish(struct chat *c, const struct turn *t, const struct answer_end *end) {
	switch (end->outcome) {
	case ANSWER_ENDED:
		turn_print_figures(c, t, &end->finished);
		if (end->finished.reason == CARAVAN__REASON__CONTEXT)
			turn_say_full(c);
		else if (end->finished.reason == CARAVAN__REASON__LIMIT)
			chat_note(c, "%s after %u tokens: /set n allows more.",
			        t->len ? "The answer is cut" : "That was all reasoning, and no answer,",
			        c->limit);
		return;
	case ANSWER_REFUSED:
		turn_say_refused(end->error);
		if (end->too_long) {
			(void)conversation_undo(&c->conversation);
			chat_note(c, "The question is not kept.");
			turn_say_full(c);
		} else {
			chat_note(c, "The conversation is kept; /regenerate asks again.");
		}
		return;
	case ANSWER_LOST:
	case ANSWER_LEFT:
		client_close(&c->client);
		chat_note(c, "The conversation is kept; /regenerate asks again.");
		return;
	}
}

/* Connects again where the connection has been lost since. */
static int turn_connect(struct chat *c) {
	if (c->client.fd >= 0 && client_is_lost(&c->client))
		client_close(&c->client);
	return c->client.fd >= 0 ? 0 : chat_open(c);
}

void chat_turn(struct chat *c) {
	struct turn t = {.chat = c, .shown = true};
	struct answer_end *end = calloc(1, sizeof *end);
	if (!end || turn_connect(c) != 0) {
		chat_note(c, "The question is kept; /regenerate asks it again.");
		free(end);
		return;
	}
	signals_begin(&c->client);
	t.began = turn_now();
	end->outcome = ANSWER_LOST;
	if (turn_send(c) == 0)
		answer_receive(&c->client, c->model, turn_take_text, &t, end);
	uint8_t rest[TERMINAL_ROOM(0)];
	wrap_write(&wrap, stdout, table_width(), (const char *)rest, terminal_end(&t.terminal, rest));
	turn_set_thinking(&t, false);
	if (t.len > 0)
		conversation_answer(&c->conversation, t.text, t.len);
	chat_end_line();
	turn_finish(c, &t, end);
	putchar('\n');
	signals_end();
	free(t.text);
	free(end);
}

int chat_once(struct chat *c) {
	struct turn t = {0};
	struct answer_end *end = calloc(1, sizeof *end);
	const char *name = c->named;
	if (!end)
		return fail("out of memory");
	c->path = name && client_is_path(name);
	int rc = client_for_model(&c->client, c->args->control, &name, 0, &c->how);
	snprintf(c->model, sizeof c->model, "%s", name ? name : "");
	if (rc == 0 && (rc = turn_send(c)) == 0) {
		answer_receive(&c->client, c->model, turn_take_text, &t, end);
		if (end->outcome == ANSWER_REFUSED)
			rc = fail("%s", end->error);
		else if (end->outcome == ANSWER_LEFT) /* a reader that closes the pipe is not an error */
			rc = end->left == TEXT_GONE ? 0 : end->left;
		else if (end->outcome == ANSWER_LOST)
			rc = EXIT_FAILED;
	}
	client_close(&c->client);
	free(end);
	return rc;
}
