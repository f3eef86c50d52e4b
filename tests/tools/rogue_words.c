/* rogue_words: a member that breaks the frames, the order of a link, the rules of an envelope; and what it may lie
 * about in the roster and ask for in content. */
#include "config.h"

#include "tests/tools/rogue.h"
#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint8_t buffer[WIRE_PAYLOAD_MAX + (1 << 20)];

/* ---- frames ---------------------------------------------------------------------------------------- */

static void one_frame(struct rogue *r, const void *data, size_t len) {
	rogue_raw(r, &data, &len, 1);
}

static void junk(struct rogue *r) {
	RAND_bytes(buffer, 200);
	buffer[0] = 0xff;
	one_frame(r, buffer, 200);
}

static void empty(struct rogue *r) {
	one_frame(r, buffer, 0);
}

static void empty_payload(struct rogue *r) {
	Caravan__Ping p = CARAVAN__PING__INIT;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PING, &p, buffer, 0);
}

static void many_frames(struct rogue *r) {
	const void *frames[1000];
	size_t lens[1000];
	for (size_t i = 0; i < 1000; i++) {
		frames[i] = buffer;
		lens[i] = i % 50;
	}
	rogue_raw(r, frames, lens, 1000);
}

static void two_payloads(struct rogue *r) {
	static const uint8_t ping[] = {0x10, 0x02, 0x7a, 0x00}; /* number 2, Ping */
	const void *frames[3] = {ping, buffer, buffer};
	const size_t lens[3] = {sizeof ping, 64, 64};
	rogue_raw(r, frames, lens, 3);
}

static void large_envelope(struct rogue *r) {
	one_frame(r, buffer, WIRE_ENVELOPE_MAX + 1);
}

static void large_payload(struct rogue *r) {
	Caravan__Submit s = CARAVAN__SUBMIT__INIT;
	s.model = r->plan->model;
	s.prompt = 1;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_SUBMIT, &s, buffer, sizeof buffer);
}

static void stray_payload(struct rogue *r) {
	Caravan__Ping p = CARAVAN__PING__INIT;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PING, &p, buffer, 4096);
}

static void no_body(struct rogue *r) {
	static const uint8_t frame[] = {0x10, 0x02};
	one_frame(r, frame, sizeof frame);
}

static void unknown_body(struct rogue *r) {
	static const uint8_t frame[] = {0x10, 0x02, 0xc2, 0x3e, 0x01, 0x00}; /* field 1000 */
	one_frame(r, frame, sizeof frame);
}

/* Tens of thousands of empty parts in one envelope: a few bytes each here, much more unpacked. */
static void bomb(struct rogue *r) {
	size_t n = 0, inner = WIRE_ENVELOPE_MAX - 16;
	uint8_t *frame = buffer;
	frame[n++] = 0x10;
	frame[n++] = 0x02;
	frame[n++] = 0xc2; /* Step */
	frame[n++] = 0x02;
	frame[n++] = (uint8_t)(0x80 | (inner & 0x7f));
	frame[n++] = (uint8_t)(0x80 | (inner >> 7 & 0x7f));
	frame[n++] = (uint8_t)(inner >> 14);
	for (size_t i = 0; i < inner / 2; i++) {
		frame[n++] = 0x2a; /* seqs */
		frame[n++] = 0;
	}
	one_frame(r, frame, n);
	memset(buffer, 0, sizeof buffer);
}

static void flood(struct rogue *r) {
	Caravan__Unload u = CARAVAN__UNLOAD__INIT;
	u.model = (char *)"nothing";
	for (int i = 0; i < 20000; i++)
		rogue_send(r, CARAVAN__ENVELOPE__BODY_UNLOAD, &u, NULL, 0);
}

/* ---- the order of a link ----------------------------------------------------------------------------- */

static void nothing_more(struct rogue *r) {
	rogue_ping(r);
}

static void hello_twice(struct rogue *r) {
	rogue_hello(r);
}

static void begins_at_seven(struct rogue *r) {
	r->seq = 6;
	rogue_hello(r);
}

static void gap(struct rogue *r) {
	r->seq += 5;
	rogue_ping(r);
}

static void replay(struct rogue *r) {
	r->seq--;
	rogue_ping(r);
}

static void other_boot(struct rogue *r) {
	r->boot++;
	rogue_ping(r);
}

static void old_version(struct rogue *r) {
	Caravan__Hello h = CARAVAN__HELLO__INIT;
	h.major = WIRE_MAJOR + 8;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_HELLO, &h, NULL, 0);
}

static void answer_at_router(struct rogue *r) {
	Caravan__Block p = CARAVAN__BLOCK__INIT;
	p.total = 100;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_BLOCK, &p, buffer, 100);
}

static void control_at_router(struct rogue *r) {
	Caravan__CtlExpel e = CARAVAN__CTL_EXPEL__INIT;
	e.node = r->target->name;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_CTL_EXPEL, &e, NULL, 0);
}

static void join_as_member(struct rogue *r) {
	Caravan__Join j = CARAVAN__JOIN__INIT;
	Caravan__Entry e = CARAVAN__ENTRY__INIT;
	e.node = (ProtobufCBinaryData){32, r->keys.public.b};
	e.version = 1;
	e.name = (char *)"twice";
	j.entry = &e;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_JOIN, &j, NULL, 0);
}

static void many_links(struct rogue *r) {
	for (int i = 0; i < 300; i++) {
		r->seq = 0;
		r->boot++;
		rogue_hello(
		        r); /* each after the first is a second Hello: the link is lost and begins again */
	}
	rogue_ping(r);
}

/* ---- the roster --------------------------------------------------------------------------------------- */

static void roster(struct rogue *r, Caravan__Entry *e, size_t n) {
	Caravan__RosterUpdate news = CARAVAN__ROSTER_UPDATE__INIT;
	Caravan__Entry *list[WIRE_NODES_MAX + 1];
	for (size_t i = 0; i < n; i++)
		list[i] = &e[i];
	news.roster = list;
	news.n_roster = n;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_ROSTER, &news, NULL, 0);
	rogue_ping(r); /* an answer, if the link is still one */
}

static Caravan__Entry entry_of(uint8_t *id, const char *name, const char *endpoint, uint64_t version) {
	Caravan__Entry e = CARAVAN__ENTRY__INIT;
	e.node = (ProtobufCBinaryData){32, id};
	e.name = (char *)name;
	e.endpoint = (char *)endpoint;
	e.version = version;
	return e;
}

static void roster_name(struct rogue *r) {
	Caravan__Entry e = entry_of(r->keys.public.b, "../../etc", "tcp://127.0.0.1:9", 1000);
	roster(r, &e, 1);
}

static void roster_endpoint(struct rogue *r) {
	Caravan__Entry e = entry_of(r->keys.public.b, "gamma", "ipc:///tmp/anything", 1000);
	roster(r, &e, 1);
}

static void roster_short_id(struct rogue *r) {
	Caravan__Entry e = entry_of(r->keys.public.b, "gamma", "tcp://127.0.0.1:9", 1000);
	e.node.len = 31;
	roster(r, &e, 1);
}

static void roster_too_many(struct rogue *r) {
	static Caravan__Entry e[WIRE_NODES_MAX + 1];
	static uint8_t ids[WIRE_NODES_MAX + 1][32];
	for (size_t i = 0; i < WIRE_NODES_MAX + 1; i++) {
		RAND_bytes(ids[i], 32);
		e[i] = entry_of(ids[i], "crowd", "tcp://127.0.0.1:9", 1);
	}
	roster(r, e, WIRE_NODES_MAX + 1);
}

/* Everybody but the rogue is said to be elsewhere, at the highest version that an entry may have. */
static void roster_others(struct rogue *r) {
	static Caravan__Entry e[WIRE_NODES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < r->nodes; i++)
		if (memcmp(r->node[i]->node.data, r->keys.public.b, 32) != 0)
			e[n++] = entry_of(r->node[i]->node.data, r->node[i]->name, "tcp://127.0.0.1:9",
			        (uint64_t)1 << 53);
	roster(r, e, n);
}

static void roster_above(struct rogue *r) {
	Caravan__Entry e = entry_of(r->target->node.data, r->target->name, "tcp://127.0.0.1:9", UINT64_MAX);
	roster(r, &e, 1);
}

static void roster_crowd(struct rogue *r) {
	static Caravan__Entry e[WIRE_NODES_MAX];
	static uint8_t ids[WIRE_NODES_MAX][32];
	static char names[WIRE_NODES_MAX][16];
	for (size_t i = 0; i < WIRE_NODES_MAX; i++) {
		RAND_bytes(ids[i], 32);
		snprintf(names[i], sizeof names[i], "crowd%zu", i);
		e[i] = entry_of(ids[i], names[i], "", 1);
	}
	roster(r, e, WIRE_NODES_MAX);
}

/* ---- heartbeats ---------------------------------------------------------------------------------------- */

static void ping_state(struct rogue *r, Caravan__NodeState *state) {
	Caravan__Ping p = CARAVAN__PING__INIT;
	p.state = state;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PING, &p, NULL, 0);
}

static void ping_nan(struct rogue *r) {
	Caravan__NodeState s = CARAVAN__NODE_STATE__INIT;
	s.read_bandwidth = NAN;
	ping_state(r, &s);
}

static void ping_escape(struct rogue *r) {
	Caravan__NodeState s = CARAVAN__NODE_STATE__INIT;
	s.cpu = (char *)"avx2\x1b[2J";
	ping_state(r, &s);
}

static void ping_memory(struct rogue *r) {
	Caravan__NodeState s = CARAVAN__NODE_STATE__INIT;
	s.memory_used = UINT64_MAX;
	ping_state(r, &s);
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void fetch(
        struct rogue *r, uint8_t *name, bool tensor, uint32_t chunk, uint64_t offset, uint32_t length) {
	Caravan__Fetch f = CARAVAN__FETCH__INIT;
	f.name = (ProtobufCBinaryData){32, name};
	f.tensor = tensor;
	f.chunk = chunk;
	f.offset = offset;
	f.length = length;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_FETCH, &f, NULL, 0);
}

static void fetch_good(struct rogue *r) {
	fetch(r, r->plan->manifest.data, false, 0, 0, 64);
}

static void fetch_unknown(struct rogue *r) {
	RAND_bytes(buffer, 32);
	fetch(r, buffer, false, 0, 0, 64);
}

static void fetch_beyond(struct rogue *r) {
	fetch(r, r->plan->manifest.data, false, 0, (uint64_t)1 << 40, 64);
}

static void fetch_negative(struct rogue *r) {
	fetch(r, r->plan->manifest.data, false, 0, UINT64_MAX - 3, 64);
}

static void fetch_chunk(struct rogue *r) {
	fetch(r, r->plan->manifest.data, true, UINT32_MAX, 0, 64);
}

static void fetch_nothing(struct rogue *r) {
	fetch(r, r->plan->manifest.data, false, 0, 0, 0);
}

static void fetch_large(struct rogue *r) {
	fetch(r, r->plan->manifest.data, false, 0, 0, WIRE_BLOCK_MAX + 1);
}

static void fetch_flood(struct rogue *r) {
	for (int i = 0; i < 2000; i++)
		fetch(r, r->plan->manifest.data, true, (uint32_t)i, 0, WIRE_BLOCK_MAX);
}

/* Asks for much, over new links again and again, and reads nothing of it for a while. */
static void unread(struct rogue *r) {
	Caravan__Probe p = CARAVAN__PROBE__INIT;
	p.bytes = WIRE_PAYLOAD_MAX;
	for (int i = 0; i < 400; i++) {
		rogue_send(r, CARAVAN__ENVELOPE__BODY_PROBE, &p, NULL, 0);
		fetch(r, r->plan->vocab.data, false, 0, 0, WIRE_BLOCK_MAX);
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
}

const struct rogue_case rogue_words[] = {
        {"ping", nothing_more, false},
        {"junk", junk, false},
        {"empty", empty, false},
        {"empty-payload", empty_payload, false},
        {"two-payloads", two_payloads, false},
        {"many-frames", many_frames, false},
        {"large-envelope", large_envelope, false},
        {"large-payload", large_payload, false},
        {"stray-payload", stray_payload, false},
        {"no-body", no_body, false},
        {"unknown-body", unknown_body, false},
        {"bomb", bomb, false},
        {"flood", flood, false},
        {"no-hello", nothing_more, true},
        {"hello-twice", hello_twice, false},
        {"begins-at-seven", begins_at_seven, true},
        {"gap", gap, false},
        {"replay", replay, false},
        {"other-boot", other_boot, false},
        {"old-version", old_version, true},
        {"answer", answer_at_router, false},
        {"control", control_at_router, false},
        {"join", join_as_member, false},
        {"many-links", many_links, true},
        {"roster-name", roster_name, false},
        {"roster-endpoint", roster_endpoint, false},
        {"roster-short-id", roster_short_id, false},
        {"roster-too-many", roster_too_many, false},
        {"roster-others", roster_others, false},
        {"roster-above", roster_above, false},
        {"roster-crowd", roster_crowd, false},
        {"ping-nan", ping_nan, false},
        {"ping-escape", ping_escape, false},
        {"ping-memory", ping_memory, false},
        {"fetch", fetch_good, false},
        {"fetch-unknown", fetch_unknown, false},
        {"fetch-beyond", fetch_beyond, false},
        {"fetch-negative", fetch_negative, false},
        {"fetch-chunk", fetch_chunk, false},
        {"fetch-nothing", fetch_nothing, false},
        {"fetch-large", fetch_large, false},
        {"fetch-flood", fetch_flood, false},
        {"unread", unread, false},
        {NULL, NULL, false},
};
