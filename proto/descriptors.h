/* descriptors: how many files and sockets this process may have open, and what is said when there are no more.
 *
 * A process gets the lowest number that is free, so that numbers near the limit are given only when those below are taken:
 * looking which number comes next tells cheaply whether few are left.
 * Threads: any. */
#ifndef PROTO_DESCRIPTORS_H
#define PROTO_DESCRIPTORS_H
#include <stdbool.h>
#include <stddef.h>

/* Raises the soft limit to the hard one: what is usual today (1,024 of 524,288) is for programs that use select. */
void descriptors_raise(void);
/* Whether fewer than `reserve` are left (a quarter of the limit, if that is less). */
bool descriptors_short(unsigned reserve);

struct descriptors_text {
	char s[160];
};
/* What an errno means, as strerror says it; EMFILE by its numbers and with what to do about it. */
struct descriptors_text descriptors_strerror(int err);

#endif
