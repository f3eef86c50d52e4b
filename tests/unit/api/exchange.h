/* exchange: a request to a route, and checks of its answer: a stream's pieces one by one, or the whole. */
#ifndef TESTS_UNIT_API_EXCHANGE_H
#define TESTS_UNIT_API_EXCHANGE_H
#include "tests/unit/api/fake_http.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct http_exchange x;

static inline void ask(const char *path, const char *body) {
	fake_ask(&x, HTTP_POST, path, body, strlen(body));
}

/* What a stream said, without what differs each time: the strings of these keys become "". */
static inline json_t *without(json_t *o) {
	static const char *const keys[] = {
	        "id", "item_id", "call_id", "created_at", "created", "total_duration", "time_ms"};
	const char *key;
	json_t *value;
	size_t i;
	void *next;
	if (json_is_object(o)) {
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
			if (json_object_get(o, keys[k]))
				json_object_set_new(o, keys[k], json_string(""));
		json_object_foreach_safe(o, next, key, value) without(value);
	} else {
		json_array_foreach(o, i, value) without(value);
	}
	return o;
}

/* The nth piece of a stream, from 0: the JSON behind "data: ", or a line; its event in *event. */
static inline json_t *piece(unsigned n, char event[64]) {
	const char *at = x.out ? x.out : "";
	*event = '\0';
	for (;; n--) {
		const char *data = at;
		if (strncmp(at, "event: ", 7) == 0) {
			snprintf(event, 64, "%.*s", (int)strcspn(at + 7, "\n"), at + 7);
			data = strchr(at, '\n') + 1;
		}
		data += strncmp(data, "data: ", 6) == 0 ? 6 : 0;
		if (!*data)
			return NULL;
		const char *end = strchr(data, '\n');
		ck_assert_ptr_nonnull(end);
		if (n == 0)
			return without(json_loadb(data, (size_t)(end - data), JSON_DECODE_ANY, NULL));
		at = end + strspn(end, "\n");
	}
}

/* Piece n of a stream is that JSON. */
static inline void expect(unsigned n, const char *event, const char *want) {
	char seen[64];
	json_t *got = piece(n, seen), *o = json_loads(want, JSON_DECODE_ANY, NULL);
	ck_assert_msg(o, "the test's JSON: %s", want);
	char *text = got ? json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	ck_assert_msg(json_equal(got, o) && strcmp(seen, event) == 0, "piece %u is %s %s, not %s %s", n, seen,
	        text, event, want);
	free(text);
	json_decref(got);
	json_decref(o);
}

static inline void expect_whole(int status, const char *want) {
	json_t *got = without(json_loads(x.out ? x.out : "", 0, NULL)), *o = json_loads(want, 0, NULL);
	ck_assert_msg(o, "the test's JSON: %s", want);
	ck_assert(x.ended && x.status == status);
	ck_assert_msg(json_equal(got, o), "%s, not %s", x.out, want);
	json_decref(got);
	json_decref(o);
}

#endif
