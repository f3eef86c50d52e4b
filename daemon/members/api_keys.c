/* api_keys: see api_keys.h. */
#include "config.h"

#include "common/durable.h"
#include "daemon/members/api_keys.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define RANDOM_BYTES 32
#define ID_LEAST 4

struct api_keys {
	pthread_mutex_t lock; /* for api_keys_check, which reads the records; only the loop writes them */
	struct api_key at[WIRE_KEYS_MAX];
	size_t n;
	Caravan__ApiKey entries[WIRE_KEYS_MAX], *list[WIRE_KEYS_MAX];
};

int api_keys_create(struct api_keys **out) {
	struct api_keys *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	pthread_mutex_init(&k->lock, NULL);
	*out = k;
	return 0;
}

void api_keys_destroy(struct api_keys *k) {
	if (!k)
		return;
	pthread_mutex_destroy(&k->lock);
	free(k);
}

/* ---- looking ------------------------------------------------------------------------------------- */

const struct api_key *api_keys_at(const struct api_keys *k, size_t i) {
	return i < k->n ? &k->at[i] : NULL;
}

bool api_key_is_valid(const struct api_key *a, uint64_t now) {
	return !a->revoked && (!a->expires || now < a->expires);
}

char *api_key_id(const struct api_key *a, char out[API_KEY_ID]) {
	for (size_t i = 0; i < (API_KEY_ID - 1) / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", a->hash[i]);
	return out;
}

static struct api_key *api_keys_find(struct api_keys *k, const uint8_t hash[API_KEY_HASH]) {
	for (size_t i = 0; i < k->n; i++)
		if (memcmp(k->at[i].hash, hash, API_KEY_HASH) == 0)
			return &k->at[i];
	return NULL;
}

/* Hashes are compared, not secrets: timing reveals nothing that helps to find a secret. */
enum api_key_verdict api_keys_check(
        struct api_keys *k, const char *secret, uint64_t now, uint64_t *id, char name[WIRE_NAME_MAX + 1]) {
	uint8_t hash[API_KEY_HASH];
	enum api_key_verdict verdict = API_KEY_NONE;
	if (secret)
		SHA256((const unsigned char *)secret, strlen(secret), hash);
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < k->n && verdict != API_KEY_UNKNOWN; i++)
		verdict = api_key_is_valid(&k->at[i], now) ? API_KEY_UNKNOWN : API_KEY_OVER;
	const struct api_key *a = secret ? api_keys_find(k, hash) : NULL;
	if (a && api_key_is_valid(a, now)) {
		verdict = API_KEY_VALID;
		memcpy(id, a->hash, sizeof *id);
		*id |= 1;
		memcpy(name, a->name, sizeof a->name);
	}
	pthread_mutex_unlock(&k->lock);
	return verdict;
}

/* ---- changing ------------------------------------------------------------------------------------ */

static int api_key_order(const void *a, const void *b) {
	const struct api_key *x = a, *y = b;
	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return memcmp(x->hash, y->hash, sizeof x->hash);
}

static bool api_keys_add(struct api_keys *k, const struct api_key *a) {
	if (k->n == WIRE_KEYS_MAX)
		return false;
	pthread_mutex_lock(&k->lock);
	k->at[k->n++] = *a;
	qsort(k->at, k->n, sizeof *k->at, api_key_order);
	pthread_mutex_unlock(&k->lock);
	return true;
}

int api_keys_make(struct api_keys *k, const char *name, uint64_t seconds, uint64_t now,
        char secret[API_KEY_SECRET], char *err, size_t errlen) {
	struct api_key a = {.created = now, .expires = seconds ? now + seconds : 0};
	uint8_t random[RANDOM_BYTES];
	char *text = secret + strlen(API_KEY_PREFIX);
	if (RAND_priv_bytes(random, sizeof random) != 1) {
		snprintf(err, errlen, "there are no random bytes for a key");
		return -EIO;
	}
	memcpy(secret, API_KEY_PREFIX, sizeof API_KEY_PREFIX);
	EVP_EncodeBlock((unsigned char *)text, random, sizeof random);
	OPENSSL_cleanse(random, sizeof random);
	text[strcspn(text, "=")] = '\0';
	for (char *c = text; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	SHA256((const unsigned char *)secret, strlen(secret), a.hash);
	snprintf(a.name, sizeof a.name, "%s", name);
	if (!api_keys_add(k, &a)) {
		OPENSSL_cleanse(secret, API_KEY_SECRET);
		snprintf(err, errlen,
		        "there are %d API keys, revoked ones of the last days included, which is the limit",
		        WIRE_KEYS_MAX);
		return -ENOSPC;
	}
	return 0;
}

int api_keys_revoke(struct api_keys *k, const char *name_or_id, uint64_t now, char *err, size_t errlen) {
	struct api_key *by_name = NULL, *by_id = NULL;
	size_t names = 0, ids = 0, len = strlen(name_or_id);
	char id[API_KEY_ID];
	for (size_t i = 0; i < k->n; i++) {
		struct api_key *a = &k->at[i];
		if (!api_key_is_valid(a, now))
			continue;
		if (*name_or_id && strcmp(a->name, name_or_id) == 0) {
			by_name = a;
			names++;
		}
		if (len >= ID_LEAST && strncasecmp(api_key_id(a, id), name_or_id, len) == 0) {
			by_id = a;
			ids++;
		}
	}
	struct api_key *a = names == 1 ? by_name : names == 0 && ids == 1 ? by_id : NULL;
	if (!a) {
		snprintf(err, errlen,
		        names + ids ? "more than one key is called %s: use its id"
		                    : "there is no valid key %s",
		        name_or_id);
		return -ENOENT;
	}
	pthread_mutex_lock(&k->lock);
	a->revoked = now ? now : 1;
	pthread_mutex_unlock(&k->lock);
	return 0;
}

static void api_key_read(struct api_key *a, const Caravan__ApiKey *e) {
	*a = (struct api_key){.created = e->created, .expires = e->expires, .revoked = e->revoked};
	memcpy(a->hash, e->hash.data, sizeof a->hash);
	snprintf(a->name, sizeof a->name, "%s", e->name);
}

/* Merges another node's record of a key that we have: it can be revoked, once.  If nodes differ in when it expires, a
 * member lies, and it is revoked, as any member may do; what else differs stays as we had it first.  So no member makes us
 * write and send changes without end.  A revocation counts from now, since the key was valid here until now: otherwise a
 * node could claim that it is an old one, and have us remove the record at once. */
static bool api_key_merge(struct api_key *a, const struct api_key *b, uint64_t now) {
	if (a->revoked || (!b->revoked && b->expires == a->expires))
		return false;
	a->revoked = now;
	return true;
}

/* Whether nobody needs the record any more, not even nodes that were down. */
static bool api_key_is_over(const struct api_key *a, uint64_t now) {
	return a->expires && a->expires + API_KEY_KEEP_SECONDS <= now;
}

bool api_keys_take(struct api_keys *k, Caravan__ApiKey *const *from, size_t count, uint64_t now) {
	bool changed = false;
	for (size_t i = 0; i < count; i++) {
		struct api_key a, *own;
		api_key_read(&a, from[i]);
		if (a.revoked > now) /* the sender's clock is fast, or it wants the record kept forever */
			a.revoked = now;
		own = api_keys_find(k, a.hash);
		if (own) {
			pthread_mutex_lock(&k->lock);
			changed |= api_key_merge(own, &a, now);
			pthread_mutex_unlock(&k->lock);
		} else if (k->n == 0 || (!api_key_is_over(&a, now) &&
		                                !(a.revoked && a.revoked + API_KEY_KEEP_SECONDS <= now))) {
			changed |= api_keys_add(k, &a);
		}
	}
	return changed;
}

bool api_keys_agree(const struct api_keys *k, Caravan__ApiKey *const *from, size_t count) {
	for (size_t i = 0; i < count; i++) {
		const struct api_key *own = api_keys_find((struct api_keys *)k, from[i]->hash.data);
		if (own && own->revoked && !from[i]->revoked)
			return false;
	}
	return true;
}

size_t api_keys_prune(struct api_keys *k, uint64_t now, uint64_t agreed) {
	size_t kept = 0, n = k->n;
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < n; i++) {
		const struct api_key *a = &k->at[i];
		if (!api_key_is_over(a, now) &&
		        !(a->revoked && a->revoked + API_KEY_KEEP_SECONDS <= now && a->revoked <= agreed))
			k->at[kept++] = *a;
	}
	if (kept == 0 && n > 0)
		k->at[kept++] = k->at[n - 1];
	k->n = kept;
	pthread_mutex_unlock(&k->lock);
	return n - kept;
}

/* ---- the wire, and the file: an envelope with KeyUpdate -------------------------------------------- */

void api_keys_entries(struct api_keys *k, Caravan__ApiKey ***entries, size_t *count) {
	for (size_t i = 0; i < k->n; i++) {
		struct api_key *a = &k->at[i];
		Caravan__ApiKey *e = k->list[i] = &k->entries[i];
		caravan__api_key__init(e);
		e->hash = wire_bytes(a->hash, sizeof a->hash);
		e->name = a->name;
		e->created = a->created;
		e->expires = a->expires;
		e->revoked = a->revoked;
	}
	*entries = k->list;
	*count = k->n;
}

int api_keys_pack(struct api_keys *k, uint8_t **frame, size_t *len) {
	Caravan__KeyUpdate update = CARAVAN__KEY_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(KEY_UPDATE, key_update, &update);
	api_keys_entries(k, &update.keys, &update.n_keys);
	return wire_pack(&env, frame, len);
}

int api_keys_load(struct api_keys *k, const char *state_dir, char *err, size_t errlen) {
	char path[PATH_MAX], why[200] = "not a set of API keys";
	uint8_t *frame = NULL;
	size_t len = 0;
	snprintf(path, sizeof path, "%s/api-keys", state_dir);
	int rc = durable_read(AT_FDCWD, path, WIRE_ENVELOPE_MAX, &frame, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc && rc != -EFBIG) {
		snprintf(err, errlen, "%s: %s", path, strerror(-rc));
		return rc;
	}
	Caravan__Envelope *env = rc ? NULL : wire_unpack(frame, len, 0, WIRE_ROUTER, why, sizeof why);
	free(frame);
	if (!env || env->body_case != CARAVAN__ENVELOPE__BODY_KEY_UPDATE) {
		/* without the file's revocations, a revoked key could become valid again */
		snprintf(err, errlen, "%s is damaged: %s", path, why);
		wire_free(env);
		return -EINVAL;
	}
	for (size_t i = 0; i < env->key_update->n_keys; i++) {
		struct api_key a;
		api_key_read(&a, env->key_update->keys[i]);
		if (!api_keys_find(k, a.hash))
			(void)api_keys_add(k, &a);
	}
	wire_free(env);
	return 0;
}

int api_keys_save(struct api_keys *k, const char *state_dir, char *err, size_t errlen) {
	uint8_t *frame = NULL;
	size_t len;
	int rc = api_keys_pack(k, &frame, &len);
	if (rc == 0)
		rc = durable_write_in(state_dir, "api-keys", frame, len);
	free(frame);
	if (rc)
		snprintf(err, errlen, "cannot write %s/api-keys: %s", state_dir, strerror(-rc));
	return rc;
}
