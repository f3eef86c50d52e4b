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
        struct keys *k, const char *state_dir, char *err, size_t errlen); /* makes them when there are none */
int keys_generate(struct keys *k);                                        /* a pair that is kept nowhere */
void keys_wipe(struct keys *k);

/* A new key pair in the place of the old one, which nobody has any more.  Blocks on the disk. */
int keys_renew(const char *state_dir, char *err, size_t errlen);

/* A proof to another node, about a text, that we have our secret key: HMAC-SHA256 with what X25519 makes of one's secret
 * key and the other's public one, which is the same on both sides.  0, or -EINVAL where the other's is no key. */
#define KEYS_PROOF 32
int keys_prove(const struct keys *k, const struct node_id *other, const void *text, size_t len,
        uint8_t proof[KEYS_PROOF]);

/* Takes STATE for this process alone, for as long as the descriptor that is returned stays open: two daemons with one key
 * would be one node in two places.  -EBUSY with a sentence that names the other one, or another negative errno. */
int keys_lock(const char *state_dir, char *err, size_t errlen);

#endif
