/* chat_commands: the commands of a chat: a table with a function for each. */
#include "cli/chat_internal.h"
#include "cli/report.h"
#include "cli/table.h"
#include "common/suggest.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void chat_fn(struct chat *c, const char *argument);

static chat_fn chat_help; /* it prints the table */

/* "3 questions" */
static const char *chat_count(const struct chat *c) {
	static char text[48];
	size_t n = conversation_questions(&c->conversation);
	snprintf(text, sizeof text, "%zu question%s", n, n == 1 ? "" : "s");
	return text;
}

/* The last question, and its answer. */
static void chat_print_last(const struct chat *c) {
	const char *question = conversation_question(&c->conversation),
	           *reply = conversation_reply(&c->conversation);
	if (!question)
		return;
	fputs("> ", stdout);
	chat_print(question);
	if (reply)
		chat_print(reply);
	else
		chat_note(c, "It has no answer: /regenerate asks for one.");
}

static void chat_system(struct chat *c, const char *argument) {
	const char *now = conversation_system(&c->conversation);
	if (*argument) {
		conversation_set_system(&c->conversation, strcmp(argument, "none") == 0 ? "" : argument);
		chat_note(c, strcmp(argument, "none") == 0
		                     ? "The system prompt is removed."
		                     : "The system prompt is set; it counts from the next answer on.");
	} else if (*now) {
		chat_print(now);
	} else {
		chat_note(c, "There is no system prompt: /system TEXT sets one.");
	}
}

static void chat_regenerate(struct chat *c, const char *argument) {
	(void)argument;
	if (!conversation_forget_answer(&c->conversation)) {
		chat_note(c, "There is no question yet.");
		return;
	}
	fputs("> ", stdout);
	chat_print(conversation_question(&c->conversation));
	chat_turn(c);
}

static void chat_undo(struct chat *c, const char *argument) {
	(void)argument;
	if (!conversation_undo(&c->conversation)) {
		chat_note(c, "There is no question yet.");
		return;
	}
	c->tokens = 0;
	chat_note(c, "The last question and its answer are removed; %s left.", chat_count(c));
	chat_print_last(c);
}

static void chat_clear(struct chat *c, const char *argument) {
	(void)argument;
	conversation_forget(&c->conversation);
	c->tokens = 0;
	chat_note(c, "A new conversation%s.",
	        *conversation_system(&c->conversation) ? ", with the same system prompt" : "");
}

/* With ~/ replaced; false after saying that the name is missing. */
static bool chat_path(struct chat *c, const char *argument, const char *command, char out[PATH_MAX]) {
	const char *home = getenv("HOME");
	if (!*argument) {
		chat_note(c, "/%s needs the name of a file.", command);
		return false;
	}
	if (strncmp(argument, "~/", 2) == 0 && home)
		snprintf(out, PATH_MAX, "%s/%s", home, argument + 2);
	else
		snprintf(out, PATH_MAX, "%s", argument);
	return true;
}

static void chat_save(struct chat *c, const char *argument) {
	char path[PATH_MAX], err[PATH_MAX + 200];
	if (!chat_path(c, argument, "save", path))
		return;
	if (conversation_save(&c->conversation, path, c->model, err, sizeof err) == 0) {
		chat_note(c, "%s in %s; /load reads them again, and so does the chat page.", chat_count(c),
		        path);
	} else {
		fail("%s", err);
		chat_note(c, "Nothing is written.");
	}
}

static void chat_load(struct chat *c, const char *argument) {
	char path[PATH_MAX], err[PATH_MAX + 400];
	if (!chat_path(c, argument, "load", path))
		return;
	if (conversation_load(&c->conversation, path, err, sizeof err) != 0) {
		fail("%s", err);
		chat_note(c, "The conversation stays as it is.");
		return;
	}
	c->tokens = 0;
	chat_note(c, "%s from %s%s", chat_count(c), path,
	        conversation_questions(&c->conversation) ? "; the last one:" : ".");
	chat_print_last(c);
}

/* ---- models -------------------------------------------------------------------------------------- */

static void chat_list_models(struct chat *c) {
	struct report r;
	if (c->path)
		chat_note(c,
		        "The model is the file %s, on this machine alone. /model NAME takes one of the cluster, /model FILE another file.",
		        c->named);
	else
		chat_note(c, "The model is %s.", c->model);
	if (c->path || report_fetch(&r, c->args) != 0)
		return;
	for (size_t i = 0; i < r.models; i++)
		printf("  %-32s %s%s\n", r.model[i]->plan->model, report_phase(r.model[i]->phase),
		        strcmp(r.model[i]->plan->model, c->model) == 0 ? ", this one" : "");
	report_clear(&r);
}

static void chat_model(struct chat *c, const char *argument) {
	struct chat before = *c;
	if (!*argument) {
		chat_list_models(c);
		return;
	}
	if (c->path) /* the memory of a file's daemon may be what the next one needs; the next answer opens it again */
		client_close(&c->client);
	before.client = c->client;
	c->chosen = strdup(argument);
	c->named = c->chosen;
	c->client = (struct client){.fd = -1};
	if (c->chosen && chat_open(c) == 0) {
		client_close(&before.client);
		free(before.chosen);
		chat_note(c, "Answers come from %s now; the conversation goes on.", c->model);
		return;
	}
	free(c->chosen);
	*c = before;
	chat_note(c, "The model is still %s.", c->model);
}

/* ---- settings ------------------------------------------------------------------------------------ */

static void chat_print_setting(const char *only, const char *name, const char *value) {
	if (!only || strcmp(only, name) == 0)
		printf("  %-18s %s\n", name, value);
}

/* All of them, or the one of this name. */
static void chat_print_settings(const struct chat *c, const char *only) {
	char value[32], limit[16];
	const char *name;
	for (size_t i = 0; (name = sampling_at(&c->sampling, i, value, sizeof value)); i++)
		chat_print_setting(only, name, value);
	snprintf(limit, sizeof limit, "%u", c->limit);
	chat_print_setting(only, "n", c->limit ? limit : "up to the context");
	chat_print_setting(only, "reasoning", c->reasoning ? "on" : "off");
}

/* false after saying what is wrong. */
static bool chat_change_setting(struct chat *c, const char *name, const char *value) {
	char what[96], err[256];
	uint64_t n;
	if (strcmp(name, "n") == 0) {
		if (!args_read_uint(value, 0, UINT32_MAX, &n, what, sizeof what)) {
			chat_note(c, "n: '%.60s' is not %s.", value, what);
			return false;
		}
		c->limit = (uint32_t)n;
	} else if (strcmp(name, "reasoning") == 0) {
		if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
			chat_note(c, "reasoning: '%.60s' is not on or off.", value);
			return false;
		}
		c->reasoning = value[1] == 'n';
	} else if (!sampling_set(&c->sampling, name, value, err, sizeof err)) {
		chat_note(c, "%s; /set alone shows all settings.", err);
		return false;
	}
	return true;
}

static void chat_set(struct chat *c, const char *argument) {
	char name[32];
	size_t len = strcspn(argument, " \t=");
	const char *value = argument + len + strspn(argument + len, " \t=");
	snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name), argument);
	if (strcmp(name, "temperature") == 0)
		snprintf(name, sizeof name, "temp");
	if (!*value || chat_change_setting(c, name, value))
		chat_print_settings(c, *name ? name : NULL);
}

static void chat_show(struct chat *c, const char *argument) {
	const char *system = conversation_system(&c->conversation);
	(void)argument;
	printf("  %-18s %s%s\n", "model", c->path ? c->named : c->model, c->path ? " (a file)" : "");
	if (!c->path)
		printf("  %-18s %s\n", c->nodes == 1 ? "node" : "nodes", c->where);
	printf("  %-18s %s\n", "template", *c->template ? c->template : "the model's own");
	printf("  %-18s %s\n", "conversation", chat_count(c));
	if (c->tokens && c->context)
		printf("  %-18s %u of %u tokens, %.0f%%\n", "context", c->tokens, c->context,
		        100.0 * c->tokens / c->context);
	else if (c->context)
		printf("  %-18s %u tokens\n", "context", c->context);
	printf("  %-18s ", "system");
	chat_print(*system ? system : "none");
	chat_print_settings(c, NULL);
}

static void chat_quit(struct chat *c, const char *argument) {
	(void)argument;
	c->quit = true;
}

/* ---- the table ----------------------------------------------------------------------------------- */

static const struct chat_entry {
	const char *name, *usage, *summary; /* usage NULL: another name, which is not listed */
	chat_fn *run;
} table[] = {
        {"help", "/help", "this list", chat_help},
        {"regenerate", "/regenerate", "another answer to the last question", chat_regenerate},
        {"undo", "/undo", "removes the last question and its answer", chat_undo},
        {"clear", "/clear", "a new conversation; the system prompt stays", chat_clear},
        {"system", "/system TEXT", "sets the system prompt (none: removes it)", chat_system},
        {"model", "/model NAME", "goes on with another model, or a file; alone: lists", chat_model},
        {"set", "/set NAME VALUE", "such as temperature 0.2; alone: shows all settings", chat_set},
        {"show", "/show", "the model, its nodes, the context, the settings", chat_show},
        {"save", "/save FILE", "writes the conversation as JSON", chat_save},
        {"load", "/load FILE", "goes on with a saved one", chat_load},
        {"quit", "/quit", "leaves, as Ctrl-D does", chat_quit},
        {"exit", NULL, NULL, chat_quit},
        {"bye", NULL, NULL, chat_quit},
};
#define COMMANDS (sizeof table / sizeof *table)
const char *const chat_command_names[] = {"help", "regenerate", "undo", "clear", "system", "model", "set",
        "show", "save", "load", "quit", NULL};

static void chat_help(struct chat *c, const char *argument) {
	(void)argument;
	for (size_t i = 0; i < COMMANDS; i++)
		if (table[i].usage)
			printf("  %-16s %s\n", table[i].usage, table[i].summary);
	printf("  %-16s %s\n", "\"\"\"", "begins and ends a text of several lines");
	printf("  %-16s %s\n", "//...", "a text that begins with a slash");
	printf("  %-16s %s\n", "Ctrl-C", "stops an answer, clears a line");
	printf("  %-16s %s\n", "Up, Ctrl-R", "earlier inputs; Tab completes a command");
}

void chat_command(struct chat *c, const struct chat_line *line) {
	char *argument = strndup(line->argument, line->len);
	size_t i = 0;
	while (i < COMMANDS && strcmp(table[i].name, line->command) != 0)
		i++;
	if (argument && i < COMMANDS && *argument && (!table[i].usage || !strchr(table[i].usage, ' '))) {
		chat_note(c, "/%s takes nothing after it.", line->command);
	} else if (argument && i < COMMANDS) {
		table[i].run(c, argument);
	} else if (argument) {
		const char *nearest = suggest_nearest(line->command, chat_command_names, COMMANDS - 2);
		chat_note(c,
		        "There is no command /%s%s%s%s To send a text that begins with a slash, type two.",
		        line->command, nearest ? "; did you mean /" : ": /help lists them.",
		        nearest ? nearest : "", nearest ? "?" : "");
	} else {
		fail("out of memory");
	}
	free(argument);
}
