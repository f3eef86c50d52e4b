/* log: one line on standard error with a level and the subject; a repeated line is counted, not repeated (a
 * hostile sender must not fill the disk).  Never contains secrets or prompts.  Every level is printed if
 * CARAVAN_DEBUG is set in the environment.
 * Threads: any. */
#ifndef DAEMON_CORE_LOG_H
#define DAEMON_CORE_LOG_H
#include <stdbool.h>
#include <time.h>

enum log_level { LOG_LINE_ERROR, LOG_LINE_WARN, LOG_LINE_INFO, LOG_LINE_DEBUG };
/* Lines begin with the local time if log_wants_time says so of standard error; call before threads start. */
void log_with_time(void);
/* Whether lines written to this descriptor need a timestamp: to a file or a pipe they do, unless it is the
 * journal (journal_stream: JOURNAL_STREAM of the environment, "DEVICE:INODE", or NULL), which adds its
 * own. */
bool log_wants_time(int fd, const char *journal_stream);
#define LOG_STAMP 32
/* ISO 8601, local, with its offset: 2026-11-30T02:29:21+01:00. */
void log_stamp(char out[LOG_STAMP], time_t at);
void log_up_to(enum log_level most); /* default: LOG_LINE_INFO; call before threads start */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for lines that others can cause as often as they like: outsiders, misbehaving members, clients. */
void log_others(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
