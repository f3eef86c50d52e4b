/* log: one line on standard error with a level and the subject; a repeated line is counted, not repeated (a junk sender must
 * not fill a disk).  Never given secrets or prompts.  Every level is printed where CARAVAN_DEBUG is in the environment.
 * Threads: any. */
#ifndef DAEMON_CORE_LOG_H
#define DAEMON_CORE_LOG_H
#include <stdbool.h>
#include <time.h>

enum log_level { LOG_LINE_ERROR, LOG_LINE_WARN, LOG_LINE_INFO, LOG_LINE_DEBUG };
/* Lines begin with the local time where log_wants_time says so of standard error; before threads start. */
void log_with_time(void);
/* Whether lines in this descriptor need a time of their own: a file or a pipe does, unless it is the journal's
 * (journal_stream: JOURNAL_STREAM of the environment, "DEVICE:INODE", or NULL), which adds its own. */
bool log_wants_time(int fd, const char *journal_stream);
#define LOG_STAMP 32
/* ISO 8601, local, with its offset: 2026-11-30T02:29:21+01:00. */
void log_stamp(char out[LOG_STAMP], time_t at);
void log_up_to(enum log_level most); /* LOG_LINE_INFO unless said; before threads start */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for what others can cause as often as they like: strangers, members that went bad, clients. */
void log_others(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
