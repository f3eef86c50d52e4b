/* framing: reads requests along with evhttp, for what evhttp takes and another server before us could read as something else.
 *
 * evhttp sees the lines of a request as strings, which a NUL ends, names of headers as whatever stands before a colon, and the
 * sizes of chunks as strtoll does.  A request that has such things is answered, but not run: exchange_check_framing.
 * Owns: nothing.  Threads: the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include <string.h>

#define CHUNK_DIGITS_MAX 15

static const char transfer_encoding[] = "transfer-encoding";

void framing_begin(struct http_framing *f) {
	*f = (struct http_framing){.part = FRAMING_REQUEST};
}

static bool is_name_char(unsigned char c) {
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The path, which says in what form an error is wanted. */
static void framing_request_char(struct http_framing *f, char c) {
	f->spaces += c == ' ';
	if (f->spaces == 1 && c != ' ' && f->pathlen + 1 < sizeof f->path)
		f->path[f->pathlen++] = c;
}

static void framing_header_char(struct http_framing *f, unsigned char c) {
	if (f->named)
		return;
	if (c == ':' && f->line > 0) {
		f->named = true;
		f->chunked |= f->part == FRAMING_HEAD && f->same == f->line && !transfer_encoding[f->same];
	} else if (!is_name_char(c)) {
		f->bad = "the name of a header is not well-formed";
	} else if (f->same == f->line && transfer_encoding[f->same] == (c | 32)) {
		f->same++;
	}
}

static void framing_size_char(struct http_framing *f, unsigned char c) {
	unsigned digit = c >= '0' && c <= '9'                 ? c - '0'
	                 : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
	                                                      : 16;
	if (digit == 16 || f->line >= CHUNK_DIGITS_MAX)
		f->bad = "a chunk of the body does not begin with its size alone, in hexadecimal digits";
	else
		f->left = f->left << 4 | digit;
}

/* What follows the end of a line. */
static enum http_framing_part framing_next(struct http_framing *f) {
	switch (f->part) {
	case FRAMING_REQUEST:
		return FRAMING_HEAD;
	case FRAMING_HEAD:
		return f->line > 0 ? FRAMING_HEAD : f->chunked ? FRAMING_SIZE : FRAMING_REST;
	case FRAMING_SIZE:
		if (f->line == 0)
			f->bad = "a chunk of the body has no size";
		return f->left > 0 ? FRAMING_CHUNK : FRAMING_TRAILER;
	case FRAMING_CHUNK_END:
		return FRAMING_SIZE;
	case FRAMING_TRAILER:
		return f->line > 0 ? FRAMING_TRAILER : FRAMING_REST;
	case FRAMING_CHUNK:
	case FRAMING_REST:
		break;
	}
	return f->part;
}

static void framing_char(struct http_framing *f, unsigned char c) {
	if (c == '\n') {
		f->headers += f->part == FRAMING_HEAD || f->part == FRAMING_TRAILER;
		f->part = framing_next(f);
		f->line = f->same = 0;
		f->left = f->part == FRAMING_SIZE ? 0 : f->left;
		f->cr = f->named = false;
		return;
	}
	if (c == '\0' || f->cr)
		f->bad = "there is a NUL, or a carriage return without a newline, in it";
	f->cr = c == '\r';
	if (f->cr)
		return;
	if (f->part == FRAMING_REQUEST)
		framing_request_char(f, (char)c);
	else if (f->part == FRAMING_SIZE)
		framing_size_char(f, c);
	else if (f->part == FRAMING_CHUNK_END)
		f->bad = "a chunk of the body is longer than its size";
	else
		framing_header_char(f, c);
	f->line++;
}

void framing_take(struct http_framing *f, const void *bytes, size_t len) {
	const unsigned char *at = bytes, *end = at + len;
	while (at < end && f->part != FRAMING_REST && !f->bad) {
		if (f->part != FRAMING_CHUNK) {
			framing_char(f, *at++);
			continue;
		}
		size_t n = (size_t)(end - at) < f->left ? (size_t)(end - at) : (size_t)f->left;
		at += n;
		f->left -= n;
		if (f->left == 0)
			f->part = FRAMING_CHUNK_END;
	}
}
