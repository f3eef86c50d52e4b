/* api_keys: the keys with which clients use the HTTP API of any node of this cluster.
 *
 * Owns: a set of records, and STATE/api-keys, which stores it.  A record has the SHA-256 of a key's secret,
 * never the secret: with 256 random bits, it needs no slow hash against guessing.
 * Invariants: a record never changes, except that it may be revoked, which is final.  A revocation known to
 * one node wins on every node that receives it, so all nodes reach the same set, whatever the order of
 * messages.  Once there has been a key there is a record, for good.
 * Threads: api_keys_check from any thread; everything else on the loop. */
#ifndef DAEMON_MEMBERS_API_KEYS_H
#define DAEMON_MEMBERS_API_KEYS_H
#include "proto/wire.h"

#define API_KEY_PREFIX "cv-"
#define API_KEY_SECRET 64 /* bytes of a secret as text, including the NUL */
#define API_KEY_HASH 32
#define API_KEY_ID 13 /* of a key, for people: the first digits of its hash, and a NUL */

/* Records are kept this long after their key was revoked or has expired: for nodes that were down. */
#define API_KEY_KEEP_SECONDS (7 * 86400)

struct api_key {
	uint8_t hash[API_KEY_HASH];
	char name[WIRE_NAME_MAX + 1];
	uint64_t created, expires, revoked; /* Unix time; expires 0: never; revoked 0: not revoked */
};

struct api_keys;

int api_keys_create(struct api_keys **out);
void api_keys_destroy(struct api_keys *k); /* NULL allowed */

enum api_key_verdict {
	API_KEY_NONE,    /* no key was ever made */
	API_KEY_OVER,    /* there were keys, but all have been revoked or have expired */
	API_KEY_UNKNOWN, /* the secret is not a valid key's */
	API_KEY_VALID
};
/* secret NULL: none was given.  id: of a valid key, never 0; name: of a valid key. */
enum api_key_verdict api_keys_check(
        struct api_keys *k, const char *secret, uint64_t now, uint64_t *id, char name[WIRE_NAME_MAX + 1]);

/* In the order in which they were created; NULL past the end. */
const struct api_key *api_keys_at(const struct api_keys *k, size_t i);
bool api_key_is_valid(const struct api_key *a, uint64_t now);
char *api_key_id(const struct api_key *a, char out[API_KEY_ID]);

/* Creates one.  0, -ENOSPC or another negative errno with a sentence. */
int api_keys_make(struct api_keys *k, const char *name, uint64_t seconds, uint64_t now,
        char secret[API_KEY_SECRET], char *err, size_t errlen);
/* By name, or the beginning of the id (at least 4 digits).  -ENOENT with a sentence: none, or more than
 * one. */
int api_keys_revoke(struct api_keys *k, const char *name_or_id, uint64_t now, char *err, size_t errlen);
/* Merges records that another node sent.  Whether the set has changed. */
bool api_keys_take(struct api_keys *k, Caravan__ApiKey *const *from, size_t count, uint64_t now);
/* Whether the sender of these records knows of every key that is revoked here. */
bool api_keys_agree(const struct api_keys *k, Caravan__ApiKey *const *from, size_t count);
/* Removes what expired long ago, and what was revoked long ago and before `agreed`, when every node knew of
 * it; the last record stays, so that it is known that there were keys.  Returns how many. */
size_t api_keys_prune(struct api_keys *k, uint64_t now, uint64_t agreed);

/* All records, for the wire; valid until the next call. */
void api_keys_entries(struct api_keys *k, Caravan__ApiKey ***entries, size_t *count);
int api_keys_pack(struct api_keys *k, uint8_t **frame, size_t *len);
/* Loads STATE/api-keys.  Without a file there are no keys. */
int api_keys_save(
        struct api_keys *k, const char *state_dir, char *err, size_t errlen); /* blocks on the disk */
int api_keys_load(struct api_keys *k, const char *state_dir, char *err, size_t errlen);

#endif
