/* weight_read: see weight_read.h. */
#include "shard/forward/weight_read.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool weight_read_make_direct(const struct store_tensor *t, void *page) {
	int flags = fcntl(t->fd, F_GETFL);
	if (flags < 0 || fcntl(t->fd, F_SETFL, flags | O_DIRECT) < 0)
		return false;
	if (pread(t->fd, page, WEIGHT_READ_ALIGN, (off_t)t->packed_at) > 0)
		return true;
	fcntl(t->fd, F_SETFL, flags);
	return false;
}

void weight_read_make_cached(const struct store_tensor *t) {
	fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) & ~O_DIRECT);
}

int weight_read(int fd, uint8_t *buf, uint64_t bytes, uint64_t at, bool direct) {
	for (uint64_t got = 0; got < bytes;) {
		size_t len = (size_t)(bytes - got);
		size_t ask =
		        direct ? (len + WEIGHT_READ_ALIGN - 1) / WEIGHT_READ_ALIGN * WEIGHT_READ_ALIGN : len;
		ssize_t n = pread(fd, buf + got, ask, (off_t)(at + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || (direct && (size_t)n < len && n % WEIGHT_READ_ALIGN))
			return -ENODATA;
		got += (uint64_t)n;
	}
	if (!direct)
		posix_fadvise(fd, (off_t)at, (off_t)bytes, POSIX_FADV_DONTNEED);
	return 0;
}

uint64_t weight_read_sum(const uint8_t *buf, uint64_t bytes, uint64_t seed) {
	enum { LANES = 4 }; /* one multiplication after the other would take four times as long */
	const uint64_t odd =
	        0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio: no two words have the same product */
	uint64_t lane[LANES] = {seed, seed + 1, seed + 2, seed + 3}, word[LANES], sum = bytes;
	for (uint64_t at = 0; at < bytes; at += sizeof word) {
		if (bytes - at < sizeof word)
			memset(word, 0, sizeof word);
		memcpy(word, buf + at, bytes - at < sizeof word ? bytes - at : sizeof word);
		for (int k = 0; k < LANES; k++)
			lane[k] = (lane[k] ^ word[k]) * odd;
	}
	for (int k = 0; k < LANES; k++)
		sum = (sum ^ lane[k]) * odd;
	return sum ^ sum >> 32;
}
