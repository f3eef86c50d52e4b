/* api_keys: what is valid, what two nodes make of each other's records, what is forgotten when, and the file. */
#include "config.h"

#include "daemon/members/api_keys.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW 1800000000u
#define DAY 86400u

static struct api_keys *a, *b;
static char err[512];

static void setup(void) {
	ck_assert_int_eq(api_keys_create(&a), 0);
	ck_assert_int_eq(api_keys_create(&b), 0);
}

static void teardown(void) {
	api_keys_destroy(a);
	api_keys_destroy(b);
}

static enum api_key_verdict check(struct api_keys *k, const char *secret, uint64_t now) {
	uint64_t id = 0;
	char name[WIRE_NAME_MAX + 1] = "";
	enum api_key_verdict v = api_keys_check(k, secret, now, &id, name);
	ck_assert((v == API_KEY_VALID) == (id != 0));
	return v;
}

static void make(struct api_keys *k, const char *name, uint64_t seconds, char secret[API_KEY_SECRET]) {
	ck_assert_msg(api_keys_make(k, name, seconds, NOW, secret, err, sizeof err) == 0, "%s", err);
}

/* What `from` has arrives at `to`, as it is sent. */
static bool pass(struct api_keys *from, struct api_keys *to, uint64_t now) {
	Caravan__ApiKey **entries;
	size_t n;
	api_keys_entries(from, &entries, &n);
	return api_keys_take(to, entries, n, now);
}

static bool agrees(struct api_keys *from, struct api_keys *with) {
	Caravan__ApiKey **entries;
	size_t n;
	api_keys_entries(from, &entries, &n);
	return api_keys_agree(with, entries, n);
}

START_TEST(secrets) {
	char one[API_KEY_SECRET], two[API_KEY_SECRET];
	ck_assert_int_eq(check(a, NULL, NOW), API_KEY_NONE);
	ck_assert_int_eq(check(a, "cv-", NOW), API_KEY_NONE);
	make(a, "one", 0, one);
	make(a, "two", 100, two);
	ck_assert_uint_eq(strlen(one), 3 + 43); /* 32 bytes */
	ck_assert_uint_eq(
	        strspn(one + 3, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"), 43);
	ck_assert_int_eq(strncmp(one, "cv-", 3), 0);
	ck_assert_str_ne(one, two);
	ck_assert_int_eq(check(a, one, NOW), API_KEY_VALID);
	ck_assert_int_eq(check(a, two, NOW + 99), API_KEY_VALID);
	ck_assert_int_eq(check(a, two, NOW + 100), API_KEY_UNKNOWN);
	ck_assert_int_eq(check(a, NULL, NOW), API_KEY_UNKNOWN);
	ck_assert_int_eq(check(a, "", NOW), API_KEY_UNKNOWN);
	one[5] ^= 1;
	ck_assert_int_eq(check(a, one, NOW), API_KEY_UNKNOWN);
	/* the hash, which the cluster keeps, is no secret */
	char hash[API_KEY_HASH + 1] = "";
	memcpy(hash, api_keys_at(a, 0)->hash, API_KEY_HASH);
	ck_assert_int_eq(check(a, hash, NOW), API_KEY_UNKNOWN);
}
END_TEST

START_TEST(revoking) {
	char one[API_KEY_SECRET], two[API_KEY_SECRET], id[API_KEY_ID];
	make(a, "one", 0, one);
	make(a, "same", 0, two);
	make(a, "same", 0, two);
	ck_assert_int_eq(api_keys_revoke(a, "none", NOW, err, sizeof err), -ENOENT);
	ck_assert_int_eq(api_keys_revoke(a, "", NOW, err, sizeof err), -ENOENT);
	ck_assert_int_eq(api_keys_revoke(a, "same", NOW, err, sizeof err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err, "more than one"));
	ck_assert_int_eq(api_keys_revoke(a, "one", NOW, err, sizeof err), 0);
	ck_assert_int_eq(
	        api_keys_revoke(a, "one", NOW, err, sizeof err), -ENOENT); /* it is not valid any more */
	ck_assert_int_eq(check(a, one, NOW), API_KEY_UNKNOWN);
	for (size_t i = 0; i < 3; i++)
		if (!api_keys_at(a, i)->revoked)
			ck_assert_int_eq(
			        api_keys_revoke(a, api_key_id(api_keys_at(a, i), id), NOW, err, sizeof err),
			        0);
	ck_assert_int_eq(check(a, two, NOW), API_KEY_OVER);
}
END_TEST

/* Whoever makes a key wants keys to count: when the last one is over, nobody is served rather than everybody. */
START_TEST(there_were_keys) {
	char one[API_KEY_SECRET], two[API_KEY_SECRET];
	make(a, "revoked", 0, one);
	make(a, "expires", DAY, two);
	ck_assert_int_eq(api_keys_revoke(a, "revoked", NOW, err, sizeof err), 0);
	ck_assert_int_eq(check(a, NULL, NOW), API_KEY_UNKNOWN);
	ck_assert_int_eq(check(a, NULL, NOW + DAY), API_KEY_OVER);
	ck_assert_int_eq(check(a, two, NOW + DAY), API_KEY_OVER);
	/* also when all is forgotten, and on a node that joins after that */
	for (int i = 0; i < 3; i++)
		(void)api_keys_prune(a, NOW + 1000 * DAY, NOW + 1000 * DAY);
	ck_assert_ptr_null(api_keys_at(a, 1));
	ck_assert_int_eq(check(a, NULL, NOW + 1000 * DAY), API_KEY_OVER);
	ck_assert(pass(a, b, NOW + 1000 * DAY));
	ck_assert_int_eq(check(b, NULL, NOW + 1000 * DAY), API_KEY_OVER);
	ck_assert(!pass(b, a, NOW + 1000 * DAY));
}
END_TEST

/* A member that says something else of a key each time changes it once: after that there is nothing to write and to send. */
START_TEST(changes_have_an_end) {
	char one[API_KEY_SECRET], name[20];
	unsigned changes = 0;
	make(a, "one", 0, one);
	Caravan__ApiKey lie = CARAVAN__API_KEY__INIT, *lies[] = {&lie};
	lie.hash = wire_bytes(api_keys_at(a, 0)->hash, API_KEY_HASH);
	lie.name = name;
	for (unsigned i = 1; i < 100; i++) {
		lie.created = NOW - i;
		snprintf(name, sizeof name, "a%u", 100 - i);
		changes += api_keys_take(a, lies, 1, NOW);
	}
	ck_assert_uint_eq(changes, 0);
	ck_assert_str_eq(api_keys_at(a, 0)->name, "one");
	ck_assert_uint_eq(api_keys_at(a, 0)->created, NOW);
	ck_assert_int_eq(check(a, one, NOW), API_KEY_VALID);
	for (unsigned i = 1; i < 100; i++) { /* a shorter life ends it */
		lie.expires = NOW + 100 * DAY - i;
		changes += api_keys_take(a, lies, 1, NOW);
	}
	ck_assert_uint_eq(changes, 1);
	ck_assert_int_eq(check(a, one, NOW), API_KEY_OVER);
}
END_TEST

/* Whatever the order in which nodes hear of each other's keys. */
START_TEST(nodes_agree) {
	char one[API_KEY_SECRET], two[API_KEY_SECRET];
	make(a, "one", 0, one);
	make(b, "two", 0, two);
	ck_assert(pass(a, b, NOW));
	ck_assert(pass(b, a, NOW));
	ck_assert(!pass(a, b, NOW)); /* no news: nothing is passed on */
	ck_assert_int_eq(check(a, two, NOW), API_KEY_VALID);
	ck_assert_int_eq(check(b, one, NOW), API_KEY_VALID);
	ck_assert_int_eq(api_keys_revoke(a, "one", NOW + 5, err, sizeof err), 0);
	/* what b still says does not bring it back, and shows that b has not heard */
	ck_assert(!agrees(b, a));
	ck_assert(!pass(b, a, NOW + 6));
	ck_assert_int_eq(check(a, one, NOW + 6), API_KEY_UNKNOWN);
	ck_assert(pass(a, b, NOW + 7));
	ck_assert(agrees(b, a));
	ck_assert_int_eq(check(b, one, NOW + 7), API_KEY_UNKNOWN);
	ck_assert(!pass(b, a, NOW + 8));
	ck_assert(!pass(a, b, NOW + 8));
}
END_TEST

START_TEST(what_is_forgotten) {
	char one[API_KEY_SECRET], two[API_KEY_SECRET], three[API_KEY_SECRET];
	struct api_keys *late;
	ck_assert_int_eq(api_keys_create(&late), 0);
	make(a, "revoked", 0, one);
	make(a, "expires", DAY, two);
	ck_assert(pass(a, late, NOW)); /* which is down from now on */
	ck_assert_int_eq(api_keys_revoke(a, "revoked", NOW, err, sizeof err), 0);
	ck_assert_uint_eq(api_keys_prune(a, NOW + 7 * DAY - 1, NOW + 7 * DAY - 1), 0);
	/* an expired key goes whoever knows of it, a revoked one when all know */
	make(a, "stays", 0, three);
	ck_assert_uint_eq(api_keys_prune(a, NOW + 9 * DAY, NOW - 1), 1);
	ck_assert_ptr_null(api_keys_at(a, 2));
	ck_assert(pass(a, late, NOW + 9 * DAY));
	ck_assert_int_eq(check(late, one, NOW + 9 * DAY), API_KEY_UNKNOWN);
	ck_assert_uint_eq(api_keys_prune(a, NOW + 9 * DAY, NOW + 9 * DAY), 1);
	ck_assert_str_eq(api_keys_at(a, 0)->name, "stays");
	ck_assert_ptr_null(api_keys_at(a, 1));
	/* what is old and unknown is not taken; and nobody's old date makes a revocation of today forgotten */
	make(b, "three", 0, three);
	ck_assert(pass(late, b, NOW + 30 * DAY));
	ck_assert_ptr_null(api_keys_at(b, 2)); /* "three" and "stays" */
	ck_assert_int_eq(api_keys_revoke(b, "stays", NOW, err, sizeof err), 0);
	ck_assert_uint_eq(api_keys_prune(b, NOW + 30 * DAY, NOW + 30 * DAY), 1);
	Caravan__ApiKey lie = CARAVAN__API_KEY__INIT, *lies[] = {&lie};
	lie.hash = wire_bytes(api_keys_at(b, 0)->hash, API_KEY_HASH);
	lie.created = NOW;
	lie.revoked = 1;
	lie.name = (char *)"three";
	ck_assert(api_keys_take(b, lies, 1, NOW + 30 * DAY));
	ck_assert_int_eq(check(b, three, NOW + 30 * DAY), API_KEY_OVER);
	ck_assert_uint_eq(api_keys_at(b, 0)->revoked, NOW + 30 * DAY);
	api_keys_destroy(late);
}
END_TEST

START_TEST(the_set_is_bounded) {
	char secret[API_KEY_SECRET];
	uint8_t *frame;
	size_t len;
	for (int i = 0; i < WIRE_KEYS_MAX; i++)
		make(a, "a name as long as names may be, which is sixty-four bytes long ...", 1u << 30,
		        secret);
	ck_assert_int_eq(api_keys_make(a, "more", 0, NOW, secret, err, sizeof err), -ENOSPC);
	ck_assert_int_eq(api_keys_pack(a, &frame, &len), 0); /* all of it fits an envelope */
	free(frame);
	/* nor do others make it larger */
	make(b, "mine", 0, secret);
	ck_assert(pass(a, b, NOW));
	ck_assert_int_eq(check(b, secret, NOW), API_KEY_VALID);
	ck_assert_ptr_nonnull(api_keys_at(b, WIRE_KEYS_MAX - 1));
	ck_assert_ptr_null(api_keys_at(b, WIRE_KEYS_MAX));
}
END_TEST

START_TEST(the_file) {
	char folder[] = "/tmp/check_api_keys.XXXXXX", path[64], one[API_KEY_SECRET], two[API_KEY_SECRET];
	struct stat st;
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/api-keys", folder);
	ck_assert_int_eq(api_keys_load(a, folder, err, sizeof err), 0); /* there is none */
	make(a, "one", 0, one);
	make(a, "two", 0, two);
	ck_assert_int_eq(api_keys_revoke(a, "two", NOW, err, sizeof err), 0);
	ck_assert_int_eq(api_keys_save(a, folder, err, sizeof err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(api_keys_load(b, folder, err, sizeof err), 0);
	ck_assert_int_eq(check(b, one, NOW), API_KEY_VALID);
	ck_assert_int_eq(check(b, two, NOW), API_KEY_UNKNOWN);
	ck_assert(!pass(a, b, NOW));
	/* the secrets are not in it */
	FILE *f = fopen(path, "r+");
	char all[1000];
	size_t n = fread(all, 1, sizeof all, f);
	ck_assert_ptr_null(memmem(all, n, one, strlen(one)));
	ck_assert_ptr_null(memmem(all, n, one + 3, 20));
	rewind(f);
	fputs("not keys", f);
	fclose(f);
	ck_assert_int_eq(api_keys_load(b, folder, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, path));
	unlink(path);
	rmdir(folder);
}
END_TEST

static atomic_bool over;
static char known[API_KEY_SECRET];

static void *checker(void *arg) {
	(void)arg;
	while (!over)
		ck_assert_int_eq(check(a, known, NOW), API_KEY_VALID);
	return NULL;
}

/* A thread checks while the loop makes, revokes and forgets others. */
START_TEST(threads) {
	pthread_t t;
	char secret[API_KEY_SECRET];
	make(a, "known", 0, known);
	ck_assert_int_eq(pthread_create(&t, NULL, checker, NULL), 0);
	for (int i = 0; i < 300; i++) {
		make(a, "other", 0, secret);
		ck_assert_int_eq(api_keys_revoke(a, "other", NOW, err, sizeof err), 0);
		ck_assert_uint_eq(api_keys_prune(a, NOW + 8 * DAY, NOW + 8 * DAY), 1);
	}
	over = true;
	pthread_join(t, NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("api_keys");
	TCase *t = tcase_create("api_keys");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, secrets);
	tcase_add_test(t, revoking);
	tcase_add_test(t, there_were_keys);
	tcase_add_test(t, nodes_agree);
	tcase_add_test(t, changes_have_an_end);
	tcase_add_test(t, what_is_forgotten);
	tcase_add_test(t, the_set_is_bounded);
	tcase_add_test(t, the_file);
	tcase_add_test(t, threads);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
