/* curve_keys: a node's CURVE key pair, kept in STATE/key (mode 0600), made at the first start.
 * Owns: STATE/lock while a daemon runs, and the secret, which is wiped when the keys are destroyed and never printed. */
#ifndef DAEMON_NET_CURVE_KEYS_H
#define DAEMON_NET_CURVE_KEYS_H
#include "proto/wire.h"

struct keys {
	struct node_id public;
	uint8_t secret[32];
};

int keys_load(
        struct keys *k, const char *state_dir, char *err, size_t errlen); /* creates them if there are none */
int keys_generate(struct keys *k);                                        /* a pair that is not saved */
void keys_wipe(struct keys *k);

/* Replaces the key pair by a new one; the old one is lost.  Blocks on the disk. */
int keys_renew(const char *state_dir, char *err, size_t errlen);

/* A proof to another node, for a text, that we have our secret key: HMAC-SHA256 keyed with the X25519 shared secret.  0, or
 * -EINVAL if the other key is invalid. */
#define KEYS_PROOF 32
int keys_prove(const struct keys *k, const struct node_id *other, const void *text, size_t len,
        uint8_t proof[KEYS_PROOF]);

/* Locks STATE for this process, as long as the returned descriptor is open: two daemons must not use the same key.  -EBUSY with a
 * sentence that names the other process, or another negative errno. */
int keys_lock(const char *state_dir, char *err, size_t errlen);

#endif
