/* invitation: see invitation.h. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/loop.h"
#include "daemon/members/invitation.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define PREFIX "caravan1-"
#define TOKEN_VERSION 1
#define CHECK 4
#define HEAD (1 + 8 + 32 + 32 + 1)
#define BINARY_MAX (HEAD + INVITE_ENDPOINTS_MAX * (1 + INVITE_ENDPOINT_MAX) + CHECK)
#define TEXT_MAX ((BINARY_MAX + 2) / 3 * 4 + 4)

_Static_assert(sizeof PREFIX + TEXT_MAX <= WIRE_TOKEN_MAX, "an invitation fits the message that carries it");

/* ---- the string --------------------------------------------------------------------------------------- */

/* Converts between OpenSSL's base64 and base64url, which a double click selects as a whole. */
static void token_swap_alphabet(char *s, const char *from, const char *to) {
	for (; *s; s++)
		for (int i = 0; from[i]; i++)
			if (*s == from[i]) {
				*s = to[i];
				break;
			}
}

char *invite_encode(const struct invite *i) {
	uint8_t b[BINARY_MAX], hash[SHA256_DIGEST_LENGTH];
	size_t n = 0;
	b[n++] = TOKEN_VERSION;
	memcpy(b + n, &i->expiry, 8);
	n += 8;
	memcpy(b + n, i->server.b, 32);
	n += 32;
	memcpy(b + n, i->keys.secret, 32);
	n += 32;
	b[n++] = (uint8_t)i->nendpoints;
	for (size_t k = 0; k < i->nendpoints; k++) {
		const char *address = i->endpoints[k] + strlen("tcp://");
		size_t len = strlen(address);
		b[n++] = (uint8_t)len;
		memcpy(b + n, address, len);
		n += len;
	}
	SHA256(b, n, hash);
	memcpy(b + n, hash, CHECK);
	n += CHECK;
	char *token = malloc(sizeof PREFIX + TEXT_MAX);
	if (token) {
		memcpy(token, PREFIX, sizeof PREFIX);
		char *text = token + sizeof PREFIX - 1;
		EVP_EncodeBlock((unsigned char *)text, b, (int)n);
		token_swap_alphabet(text, "+/", "-_");
		text[strcspn(text, "=")] = 0;
	}
	OPENSSL_cleanse(b, sizeof b);
	return token;
}

/* Decodes the string: the number of bytes, or -1. */
static int token_bytes(const char *token, uint8_t b[BINARY_MAX + 4]) {
	char text[TEXT_MAX + 4] = "";
	size_t len = strlen(token);
	if (len > TEXT_MAX || len % 4 == 1 ||
	        strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                      "0123456789-_") != len)
		return -1;
	memcpy(text, token, len);
	token_swap_alphabet(text, "-_", "+/");
	size_t padding = (4 - len % 4) % 4;
	memset(text + len, '=', padding);
	len += padding;
	if (len / 4 * 3 > BINARY_MAX + 3)
		return -1;
	int n = EVP_DecodeBlock(b, (const unsigned char *)text, (int)len);
	OPENSSL_cleanse(text, sizeof text);
	return n < 0 ? -1 : n - (int)padding;
}

/* Whether the bytes are a complete invitation, which is stored in *i. */
static bool token_parse(struct invite *i, const uint8_t *b, size_t n) {
	char public[41], secret[41];
	memcpy(&i->expiry, b + 1, 8);
	memcpy(i->server.b, b + 9, 32);
	memcpy(i->keys.secret, b + 41, 32);
	zmq_z85_encode(secret, i->keys.secret, 32);
	bool good = zmq_curve_public(public, secret) == 0 && zmq_z85_decode(i->keys.public.b, public);
	OPENSSL_cleanse(secret, sizeof secret);
	i->nendpoints = b[HEAD - 1];
	if (!good || i->nendpoints < 1 || i->nendpoints > INVITE_ENDPOINTS_MAX)
		return false;
	size_t at = HEAD;
	for (size_t k = 0; k < i->nendpoints; k++) {
		size_t len = at < n ? b[at++] : n;
		if (len > n - at || len > INVITE_ENDPOINT_MAX - sizeof "tcp://" || memchr(b + at, 0, len))
			return false;
		snprintf(i->endpoints[k], INVITE_ENDPOINT_MAX, "tcp://%.*s", (int)len, (const char *)b + at);
		at += len;
		if (!wire_endpoint_ok(i->endpoints[k]))
			return false;
	}
	return at == n;
}

int invite_decode(struct invite *i, const char *token, char *err, size_t errlen) {
	uint8_t b[BINARY_MAX + 4], hash[SHA256_DIGEST_LENGTH];
	char copy[WIRE_TOKEN_MAX + 1];
	const char *what = NULL;
	int n = -1;
	memset(i, 0, sizeof *i);
	while (isspace((unsigned char)*token))
		token++;
	size_t len = strlen(token);
	while (len && isspace((unsigned char)token[len - 1]))
		len--;
	if (len < sizeof PREFIX - 1 || len >= sizeof copy || strncmp(token, PREFIX, sizeof PREFIX - 1) != 0) {
		what = "this is not an invitation: one begins with " PREFIX;
	} else {
		snprintf(copy, sizeof copy, "%.*s", (int)len, token);
		n = token_bytes(copy + sizeof PREFIX - 1, b);
		if (n < HEAD + CHECK) {
			what = "the invitation is incomplete: part of it is missing, or it contains an invalid character";
		} else {
			SHA256(b, (size_t)n - CHECK, hash);
			if (memcmp(hash, b + n - CHECK, CHECK) != 0)
				what = "the invitation is incomplete: its checksum does not match";
			else if (b[0] != TOKEN_VERSION || !token_parse(i, b, (size_t)n - CHECK))
				what = "this node does not know the version of the invitation";
		}
	}
	OPENSSL_cleanse(b, sizeof b);
	OPENSSL_cleanse(copy, sizeof copy);
	if (!what)
		return 0;
	OPENSSL_cleanse(i, sizeof *i);
	return fail_with(-EINVAL, err, errlen, "%s", what);
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static bool invite_is_open(const struct invite_open *o) {
	return !o->used && o->until_ns > loop_now_ns();
}

int invites_add(struct invites *v, const struct node_id *key, uint64_t until_ns) {
	/* the slot of the one that ended first: ended ones are kept only for their error message */
	struct invite_open *place = NULL;
	for (struct invite_open *o = v->open; o < v->open + INVITE_OPEN_MAX; o++)
		if (!invite_is_open(o) && (!place || o->until_ns < place->until_ns))
			place = o;
	if (!place)
		return -ENOSPC;
	*place = (struct invite_open){*key, until_ns, false};
	return 0;
}

static struct invite_open *invites_find(const struct invites *v, const struct node_id *key) {
	for (size_t k = 0; k < INVITE_OPEN_MAX; k++)
		if (v->open[k].until_ns && node_id_equal(&v->open[k].key, key))
			return (struct invite_open *)&v->open[k];
	return NULL;
}

bool invites_admit(const struct invites *v, const struct node_id *key, const char **why) {
	const struct invite_open *o = invites_find(v, key);
	if (o && invite_is_open(o))
		return true;
	if (o)
		*why = o->used ? "its invitation was already used" : "its invitation has expired";
	return false;
}

void invites_use(struct invites *v, const struct node_id *key) {
	struct invite_open *o = invites_find(v, key);
	if (o)
		o->used = true;
}
