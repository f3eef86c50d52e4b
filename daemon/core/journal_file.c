/* journal_file: see journal_file.h. */
#include "daemon/core/journal_file.h"
#include "proto/schema.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* A part of the file: mark, length of the body (uint32), check (the first bytes of the SHA-256 of length and body), body. */
#define MARK_LEN 4
#define CHECK_LEN 8
#define BEFORE (MARK_LEN + 4 + CHECK_LEN)
static const uint8_t head_mark[MARK_LEN] = {'C', 'v', 'J', '1'}, event_mark[MARK_LEN] = {'C', 'v', 'E', '1'};

void journal_bytes_free(struct journal_bytes *b) {
	free(b->data);
	*b = (struct journal_bytes){0};
}

static bool journal_check(const uint8_t *body, uint32_t len, uint8_t check[CHECK_LEN]) {
	uint8_t digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestInit_ex2(ctx, EVP_sha256(), NULL) == 1 &&
	            EVP_DigestUpdate(ctx, &len, sizeof len) == 1 && EVP_DigestUpdate(ctx, body, len) == 1 &&
	            EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (good)
		memcpy(check, digest, CHECK_LEN);
	return good;
}

static int journal_put(
        struct journal_bytes *b, const uint8_t mark[MARK_LEN], const uint8_t *body, uint32_t len) {
	size_t need = b->len + BEFORE + len;
	if (need > b->size) {
		size_t size = 2 * need;
		uint8_t *grown = realloc(b->data, size);
		if (!grown)
			return -ENOMEM;
		b->data = grown;
		b->size = size;
	}
	uint8_t *at = b->data + b->len;
	memcpy(at, mark, MARK_LEN);
	memcpy(at + MARK_LEN, &len, sizeof len);
	memcpy(at + BEFORE, body, len);
	if (!journal_check(body, len, at + MARK_LEN + 4))
		return -ENOMEM;
	b->len = need;
	return 0;
}

int journal_encode_head(struct journal_bytes *b, uint64_t id) {
	return journal_put(b, head_mark, (const uint8_t *)&id, sizeof id);
}

int journal_encode(struct journal_bytes *b, const Caravan__Event *e) {
	uint8_t body[WIRE_EVENT_MAX];
	size_t len = caravan__event__get_packed_size(e);
	if (len > sizeof body)
		return -EMSGSIZE;
	caravan__event__pack(e, body);
	return journal_put(b, event_mark, body, (uint32_t)len);
}

static Caravan__Event *journal_unpack(const uint8_t *body, size_t len) {
	char err[200];
	Caravan__Event *e = caravan__event__unpack(NULL, len, body);
	if (!e || schema_check(&e->base, err, sizeof err))
		return e;
	caravan__event__free_unpacked(e, NULL);
	return NULL;
}

Caravan__Event *journal_event_copy(const Caravan__Event *e) {
	uint8_t body[WIRE_EVENT_MAX];
	size_t len = caravan__event__get_packed_size(e);
	if (len > sizeof body)
		return NULL;
	caravan__event__pack(e, body);
	return journal_unpack(body, len);
}

/* The body of the part with this mark that begins here; NULL if none. */
static const uint8_t *journal_part(
        const uint8_t *data, size_t left, const uint8_t mark[MARK_LEN], uint32_t *len) {
	uint8_t check[CHECK_LEN];
	if (left < BEFORE || memcmp(data, mark, MARK_LEN) != 0)
		return NULL;
	memcpy(len, data + MARK_LEN, sizeof *len);
	if (*len > WIRE_EVENT_MAX || *len > left - BEFORE || !journal_check(data + BEFORE, *len, check) ||
	        memcmp(check, data + MARK_LEN + 4, CHECK_LEN) != 0)
		return NULL;
	return data + BEFORE;
}

uint64_t journal_decode(const uint8_t *data, size_t len, void (*take)(void *arg, Caravan__Event *e),
        void *arg, size_t *damaged) {
	uint64_t id = 0;
	uint32_t n;
	size_t at = 0;
	const uint8_t *body = journal_part(data, len, head_mark, &n);
	*damaged = 0;
	if (body && n == sizeof id) {
		memcpy(&id, body, sizeof id);
		at = BEFORE + n;
	}
	while (at < len) {
		body = journal_part(data + at, len - at, event_mark, &n);
		Caravan__Event *e = body ? journal_unpack(body, n) : NULL;
		if (e)
			take(arg, e);
		else
			++*damaged;
		at += e ? BEFORE + n : 1;
	}
	return id;
}
