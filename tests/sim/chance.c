/* sim/chance: random numbers, keys and dates of a run come from its seed and its clock, so that a run with the same seed is the
 * same.  It stands before the C library's, OpenSSL's and ZeroMQ's functions (linked with --wrap, WRAP_SIM). */
#include "tests/sim/clock.h"

#include <sys/types.h>
#include <time.h>
#include <zmq.h>

#define START_S 1800000000 /* the date when a run begins, seconds of the Unix epoch */

int __wrap_getentropy(void *buf, size_t len);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
int __wrap_RAND_bytes(unsigned char *buf, int len);
int __wrap_zmq_curve_keypair(char *public, char *secret);
time_t __wrap_time(time_t *out);

static void fill(void *buf, size_t len) {
	unsigned char *to = buf;
	for (size_t i = 0; i < len; i++)
		to[i] = (unsigned char)(sim_random() >> 56);
}

int __wrap_getentropy(void *buf, size_t len) {
	fill(buf, len);
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags) {
	(void)flags;
	fill(buf, len);
	return (ssize_t)len;
}

int __wrap_RAND_bytes(unsigned char *buf, int len) {
	fill(buf, (size_t)len);
	return 1;
}

int __wrap_zmq_curve_keypair(char *public, char *secret) {
	unsigned char bytes[32];
	fill(bytes, sizeof bytes);
	return zmq_z85_encode(secret, bytes, sizeof bytes) ? zmq_curve_public(public, secret) : -1;
}

time_t __wrap_time(time_t *out) {
	time_t now = START_S + (time_t)(loop_now_ns() / 1000000000u);
	if (out)
		*out = now;
	return now;
}
