/* text: see text.h. */
#include "cli/text.h"
#include "cli/args.h"
#include "cli/command.h"
#include "common/size.h"
#include "proto/wire.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int text_read(const char *arg, char **out, size_t *len) {
	size_t capacity = 64 << 10, n = 0;
	char *buf;
	if (arg) {
		*len = strlen(arg);
		return (*out = strdup(arg)) ? 0 : fail("out of memory");
	}
	if (!(buf = malloc(capacity)))
		return fail("out of memory");
	for (;;) {
		ssize_t k = read(STDIN_FILENO, buf + n, capacity - n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 || n > WIRE_PAYLOAD_MAX) {
			free(buf);
			return k < 0 ? fail("cannot read standard input: %s", strerror(errno))
			             : fail("standard input is longer than the limit of %s",
			                       size_text(WIRE_PAYLOAD_MAX).s);
		}
		if (k == 0)
			break;
		n += (size_t)k;
		if (n == capacity) {
			char *more = realloc(buf, capacity *= 2);
			if (!more) {
				free(buf);
				return fail("out of memory");
			}
			buf = more;
		}
	}
	*out = buf;
	*len = n;
	return 0;
}

int text_write(const void *data, size_t len) {
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EPIPE)
			return TEXT_GONE;
		if (n < 0)
			return fail("cannot write to standard output: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* An earlier failed write left no errno: checks whether the reader has gone. */
static bool text_reader_gone(void) {
	struct pollfd p = {.fd = STDOUT_FILENO};
	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int text_flush(void) {
	errno = 0;
	if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE || (errno == 0 && text_reader_gone()))
		return 0;
	return fail("cannot write to standard output%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
}
