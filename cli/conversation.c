/* conversation: see conversation.h. */
#include "cli/conversation.h"
#include "common/durable.h"
#include "common/fail.h"
#include "daemon/text/utf8.h"
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static void *conversation_need(void *p) {
	if (p)
		return p;
	fprintf(stderr, "caravan: out of memory\n");
	exit(EXIT_FAILURE);
}

static void conversation_must(int rc) {
	if (rc != 0)
		conversation_need(NULL);
}

static json_t *conversation_text(const char *text, size_t len) {
	char *out = conversation_need(malloc(len * (sizeof REPLACEMENT - 1) + 1));
	size_t at = 0;
	for (size_t i = 0, n; i < len; i += n)
		if (utf8_next(text + i, len - i, &n) == UTF8_WHOLE && text[i]) {
			memcpy(out + at, text + i, n);
			at += n;
		} else {
			memcpy(out + at, REPLACEMENT, sizeof REPLACEMENT - 1);
			at += sizeof REPLACEMENT - 1;
		}
	json_t *s = conversation_need(json_stringn(out, at));
	free(out);
	return s;
}

static json_t *conversation_message(const char *role, json_t *content) {
	return conversation_need(json_pack("{s:s, s:o}", "role", role, "content", content));
}

static bool conversation_has_role(const struct conversation *c, size_t i, const char *role) {
	const char *has = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
	return has && strcmp(has, role) == 0;
}

static const char *conversation_at(const struct conversation *c, size_t i) {
	return json_string_value(json_object_get(json_array_get(c->messages, i), "content"));
}

static size_t conversation_count(const struct conversation *c) {
	return json_array_size(c->messages);
}

static bool conversation_ends_with(const struct conversation *c, const char *role) {
	size_t n = conversation_count(c);
	return n > 0 && conversation_has_role(c, n - 1, role);
}

static void conversation_remove_last(struct conversation *c) {
	json_array_remove(c->messages, conversation_count(c) - 1);
}

void conversation_init(struct conversation *c) {
	c->messages = conversation_need(json_array());
}

void conversation_clear(struct conversation *c) {
	json_decref(c->messages);
	c->messages = NULL;
}

void conversation_set_system(struct conversation *c, const char *text) {
	if (conversation_has_role(c, 0, "system"))
		json_array_remove(c->messages, 0);
	if (*text)
		conversation_must(json_array_insert_new(c->messages, 0,
		        conversation_message("system", conversation_text(text, strlen(text)))));
}

const char *conversation_system(const struct conversation *c) {
	return conversation_has_role(c, 0, "system") ? conversation_at(c, 0) : "";
}

void conversation_ask(struct conversation *c, const char *text, size_t len) {
	if (conversation_ends_with(c, "user"))
		conversation_remove_last(c);
	conversation_must(json_array_append_new(
	        c->messages, conversation_message("user", conversation_text(text, len))));
}

void conversation_answer(struct conversation *c, const char *text, size_t len) {
	conversation_must(json_array_append_new(
	        c->messages, conversation_message("assistant", conversation_text(text, len))));
}

size_t conversation_questions(const struct conversation *c) {
	return (conversation_count(c) - conversation_has_role(c, 0, "system") + 1) / 2;
}

const char *conversation_question(const struct conversation *c) {
	size_t n = conversation_count(c);
	if (conversation_ends_with(c, "user"))
		return conversation_at(c, n - 1);
	return conversation_ends_with(c, "assistant") ? conversation_at(c, n - 2) : NULL;
}

const char *conversation_reply(const struct conversation *c) {
	return conversation_ends_with(c, "assistant") ? conversation_at(c, conversation_count(c) - 1) : NULL;
}

bool conversation_forget_answer(struct conversation *c) {
	if (conversation_ends_with(c, "assistant"))
		conversation_remove_last(c);
	return conversation_ends_with(c, "user");
}

bool conversation_undo(struct conversation *c) {
	if (!conversation_forget_answer(c))
		return false;
	conversation_remove_last(c);
	return true;
}

void conversation_forget(struct conversation *c) {
	while (conversation_undo(c))
		;
}

char *conversation_body(const struct conversation *c, size_t *len) {
	json_t *o = conversation_need(json_pack("{s:O}", "messages", c->messages));
	char *body = conversation_need(json_dumps(o, JSON_COMPACT));
	json_decref(o);
	*len = strlen(body);
	return body;
}

/* ---- files --------------------------------------------------------------------------------------- */

/* Copies the messages that a file may have; NULL with a sentence in err. */
static json_t *conversation_check(const json_t *from, const char *path, char *err, size_t errlen) {
	size_t n = json_array_size(from), system = 0;
	if (!json_is_array(from))
		return fail_with(NULL, err, errlen, "%s is not a conversation: it has no messages", path);
	if (n > CONVERSATION_MESSAGES_MAX)
		return fail_with(NULL, err, errlen, "%s has %zu messages; the limit is %d", path, n,
		        CONVERSATION_MESSAGES_MAX);
	json_t *messages = conversation_need(json_array());
	for (size_t i = 0; i < n; i++) {
		const json_t *m = json_array_get(from, i);
		const char *role = json_string_value(json_object_get(m, "role"));
		json_t *content = json_object_get(m, "content");
		if (i == 0 && role && strcmp(role, "system") == 0)
			system = 1;
		const char *want = system && i == 0 ? "system" : (i - system) % 2 == 0 ? "user" : "assistant";
		if (!role || strcmp(role, want) != 0 || !json_is_string(content)) {
			json_decref(messages);
			return fail_with(NULL, err, errlen,
			        "%s is not a conversation: message %zu is to be a text of the %s", path,
			        i + 1, want);
		}
		conversation_must(
		        json_array_append_new(messages, conversation_message(want, json_incref(content))));
	}
	return messages;
}

/* The messages of the one conversation that the chat page has exported, with its system prompt; a new reference, NULL with a sentence
 * in err. */
static json_t *conversation_of_page(const json_t *file, const char *path, char *err, size_t errlen) {
	const json_t *all = json_object_get(file, "conversations"), *one = json_array_get(all, 0);
	const char *system = json_string_value(json_object_get(one, "system"));
	json_t *messages = json_object_get(one, "messages");
	if (json_array_size(all) > 1)
		return fail_with(NULL, err, errlen,
		        "%s has %zu conversations, and a chat is one: export that one alone", path,
		        json_array_size(all));
	if (!json_is_array(messages))
		return fail_with(NULL, err, errlen, "%s is not a conversation: it has no messages", path);
	messages = conversation_need(json_copy(messages));
	if (system && *system)
		conversation_must(json_array_insert_new(
		        messages, 0, conversation_message("system", json_string(system))));
	return messages;
}

/* *exported: it is the chat page's. */
static int conversation_read(const char *path, json_t **messages, bool *exported, char *err, size_t errlen) {
	struct stat st;
	json_error_t e;
	*messages = NULL;
	*exported = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not wait for a pipe */
	if (fd < 0 || fstat(fd, &st) != 0) {
		int rc = -errno;
		if (fd >= 0)
			close(fd);
		return fail_with(rc, err, errlen, "cannot read %s: %s", path, strerror(-rc));
	}
	if (!S_ISREG(st.st_mode) || st.st_size > CONVERSATION_FILE_MAX) {
		close(fd);
		return fail_with(-EFBIG, err, errlen,
		        S_ISREG(st.st_mode) ? "%s is too long for a conversation: the limit is %u MiB"
		                            : "%s is not a regular file",
		        path, CONVERSATION_FILE_MAX >> 20);
	}
	json_t *o = json_loadfd(fd, JSON_REJECT_DUPLICATES, &e);
	close(fd);
	if (!o)
		return fail_with(
		        -EBADMSG, err, errlen, "%s is not a conversation: line %d: %s", path, e.line, e.text);
	*exported = json_is_array(json_object_get(o, "conversations"));
	json_t *found;
	if (*exported)
		found = conversation_of_page(o, path, err, errlen);
	else
		found = json_incref(json_is_array(o) ? o : json_object_get(o, "messages"));
	if (found || !*exported)
		*messages = conversation_check(found, path, err, errlen);
	json_decref(found);
	json_decref(o);
	return *messages ? 0 : -EBADMSG;
}

int conversation_load(struct conversation *c, const char *path, char *err, size_t errlen) {
	json_t *messages;
	bool exported;
	int rc = conversation_read(path, &messages, &exported, err, errlen);
	if (rc != 0)
		return rc;
	json_decref(c->messages);
	c->messages = messages;
	return 0;
}

/* Whether a file may be written there: there is none, or it is a conversation that is not the chat page's, which has more of it. */
static int conversation_may_replace(const char *path, char *err, size_t errlen) {
	json_t *messages;
	char why[PATH_MAX + 200];
	bool exported;
	int rc = conversation_read(path, &messages, &exported, why, sizeof why);
	json_decref(messages);
	if (exported)
		return fail_with(
		        -EEXIST, err, errlen, "%s is an export of the chat page: choose another name", path);
	if (rc == 0 || rc == -ENOENT)
		return 0;
	return fail_with(rc, err, errlen, "%s exists and is not a conversation: choose another name", path);
}

int conversation_save(
        const struct conversation *c, const char *path, const char *model, char *err, size_t errlen) {
	char folder[PATH_MAX], name[PATH_MAX];
	int rc = conversation_may_replace(path, err, errlen);
	if (rc != 0)
		return rc;
	if (strlen(path) >= sizeof folder)
		return fail_with(-ENAMETOOLONG, err, errlen, "the path is too long");
	snprintf(folder, sizeof folder, "%s", path);
	snprintf(name, sizeof name, "%s", path);
	json_t *o = conversation_need(
	        json_pack("{s:i, s:s, s:O}", "version", 1, "model", model, "messages", c->messages));
	char *text = conversation_need(json_dumps(o, JSON_INDENT(1)));
	size_t len = strlen(text);
	json_decref(o);
	if (len + 1 > CONVERSATION_FILE_MAX)
		rc = fail_with(-EFBIG, err, errlen, "the conversation is too long for a file");
	text[len] = '\n'; /* in the place of its NUL */
	if (rc == 0 && (rc = durable_write_in(dirname(folder), basename(name), text, len + 1)) != 0)
		fail_text(err, errlen, "cannot write %s: %s", path, strerror(-rc));
	free(text);
	return rc;
}
