/* conversation: the messages of a chat: at most one of the system, then questions of the user and their answers in turn.
 *
 * Owns: the messages, as the JSON that a daemon gets and a file keeps.  The last question may have no answer yet.
 * Texts are UTF-8: bytes that are none become U+FFFD, as does NUL.
 * The program has one thread. */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONVERSATION_FILE_MAX (8u << 20) /* bytes of a file */
#define CONVERSATION_MESSAGES_MAX 10000

struct conversation {
	json_t *messages;
};

void conversation_init(struct conversation *c); /* out of memory ends the program, here and below */
void conversation_clear(struct conversation *c);

/* Empty: there is none. */
void conversation_set_system(struct conversation *c, const char *text);
const char *conversation_system(const struct conversation *c);

/* Replaces a question that has no answer. */
void conversation_ask(struct conversation *c, const char *text, size_t len);
/* Of the last question, which has none. */
void conversation_answer(struct conversation *c, const char *text, size_t len);

/* Questions, with and without answers. */
size_t conversation_questions(const struct conversation *c);
/* The last question, and its answer; NULL if none. */
const char *conversation_question(const struct conversation *c);
const char *conversation_reply(const struct conversation *c);

/* Removes the last question and its answer, or the answer alone; false: there is no question. */
bool conversation_undo(struct conversation *c);
bool conversation_forget_answer(struct conversation *c);
/* Removes everything but the system's message. */
void conversation_forget(struct conversation *c);

/* For CtlChat; malloc'd. */
char *conversation_body(const struct conversation *c, size_t *len);

/* Writes a file, which only its user may read, or replaces one that is a conversation.  0, or a negative errno with a sentence
 * in err. */
int conversation_save(
        const struct conversation *c, const char *path, const char *model, char *err, size_t errlen);
/* Reads one, also a bare array of messages, or an export of the chat page with one conversation, without its reasoning; an error
 * leaves c as it is.  The same. */
int conversation_load(struct conversation *c, const char *path, char *err, size_t errlen);

#endif
