/* text: reading a prompt from the arguments or from standard input, writing results to standard output.
 * Owns nothing. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H
#include <stddef.h>

/* The text: arg unless it is NULL (an empty one is a text), else all of standard input; malloc'd.
 * 0, or EXIT_FAILED after reporting the error. */
int text_read(const char *arg, char **out, size_t *len);

/* Writes to standard output at once.  0; TEXT_GONE when the reader has closed the pipe, which is not an error but a
 * reason to stop; or EXIT_FAILED after reporting the error. */
enum { TEXT_GONE = -1 };
int text_write(const void *data, size_t len);

/* Flushes what was printed: 0 (also when the reader has closed the pipe), or EXIT_FAILED after reporting the error. */
int text_flush(void);

#endif
