/* members: keys, invitations, the roster, heartbeats: nodes on one loop, each with its own state folder. */
#include "config.h"

#include "daemon/members/invitation.h"
#include "daemon/members/members.h"
#include "daemon/members/roster.h"
#include "tests/support/nodes_wait.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NODES 4

#define SILENT_MS 1500

static char root[64];

struct node {
	struct keys keys;
	char dir[128];
	struct members *members;
	unsigned joined, expelled, up, down, changed;
	bool done;
	char error[512];
};
static struct node nodes[NODES];

static void on_change(void *arg, const struct member *who, enum member_change change) {
	struct node *n = arg;
	(void)who;
	n->joined += change == MEMBER_JOINED;
	n->expelled += change == MEMBER_EXPELLED;
	n->up += change == MEMBER_UP;
	n->down += change == MEMBER_DOWN;
	n->changed += change == MEMBER_CHANGED;
}

static void node_state(void *arg, Caravan__NodeState *out) {
	struct node *n = arg;
	out->threads = (uint32_t)(n - nodes) + 1;
	out->cpu = (char *)"ref";
}

static const char *advertise; /* of the next node */

static int node_try(struct node *n, const char *name, const char *listen, char *err, size_t errlen) {
	ck_assert_int_eq(keys_load(&n->keys, n->dir, err, errlen), 0);
	const struct members_config c = {.loop = loop,
	        .silent_ms = SILENT_MS,
	        .state_dir = n->dir,
	        .keys = &n->keys,
	        .name = name,
	        .listen = listen,
	        .advertise = advertise,
	        .state = node_state,
	        .arg = n};
	int rc = members_create(&n->members, &c, err, errlen);
	if (rc == 0)
		members_on_change(n->members, on_change, n);
	return rc;
}

static void node_start(struct node *n, const char *name) {
	char err[300] = "";
	ck_assert_msg(node_try(n, name, "tcp://127.0.0.1:*", err, sizeof err) == 0, "%s", err);
}

static void node_stop(struct node *n) {
	members_destroy(n->members);
	n->members = NULL;
}

static void setup(void) {
	ck_assert_int_eq(loop_create(&loop), 0);
	memset(nodes, 0, sizeof nodes);
	snprintf(root, sizeof root, "/tmp/check_members.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	for (int i = 0; i < NODES; i++) {
		snprintf(nodes[i].dir, sizeof nodes[i].dir, "%s/%d", root, i);
		ck_assert_int_eq(mkdir(nodes[i].dir, 0700), 0);
	}
}

static void teardown(void) {
	char path[200];
	for (int i = 0; i < NODES; i++) {
		node_stop(&nodes[i]);
		snprintf(path, sizeof path, "%s/key", nodes[i].dir);
		unlink(path);
		snprintf(path, sizeof path, "%s/roster", nodes[i].dir);
		unlink(path);
		ck_assert_int_eq(rmdir(nodes[i].dir), 0); /* nothing else was left there */
	}
	ck_assert_int_eq(rmdir(root), 0);
	loop_destroy(loop);
}

/* ---- waiting -------------------------------------------------------------------------------------- */

/* Whether every node that runs sees `want` others up. */
static unsigned want;
static bool all_up(void) {
	for (int i = 0; i < NODES; i++) {
		unsigned up = 0;
		const struct member *w;
		if (!nodes[i].members || members_self(nodes[i].members)->expelled)
			continue;
		for (size_t k = 0; (w = members_at(nodes[i].members, k)); k++)
			up += w->up && !w->self;
		if (up != want)
			return false;
	}
	return true;
}

static bool someone_done(void) {
	for (int i = 0; i < NODES; i++)
		if (nodes[i].done)
			return true;
	return false;
}

static void on_done(void *arg, const char *error) {
	struct node *n = arg;
	n->done = true;
	snprintf(n->error, sizeof n->error, "%s", error ? error : "");
}

/* ---- the steps ------------------------------------------------------------------------------------- */

static char *invite(struct node *n, uint32_t seconds) {
	char err[200] = "", *token;
	ck_assert_msg(members_invite(n->members, seconds, &token, err, sizeof err) == 0, "%s", err);
	return token;
}

/* The error that joining ended with; empty: it went well. */
static const char *join(struct node *n, const char *token) {
	n->done = false;
	n->error[0] = 0;
	if (members_join(n->members, token, on_done, n, n->error, sizeof n->error) != 0)
		return n->error;
	ck_assert(nodes_until(someone_done, 30000));
	n->done = false;
	return n->error;
}

static void cluster(int n) {
	static const char *const names[] = {"ada", "bob", "cleo", "dan"};
	for (int i = 0; i < n; i++)
		node_start(&nodes[i], names[i]);
	for (int i = 1; i < n; i++) {
		char *token = invite(&nodes[0], 600);
		ck_assert_str_eq(join(&nodes[i], token), "");
		/* both sides hold the entry at this moment */
		ck_assert_ptr_nonnull(members_named(nodes[0].members, names[i]));
		ck_assert_ptr_nonnull(members_named(nodes[i].members, names[0]));
		free(token);
	}
	want = (unsigned)n - 1;
	ck_assert(nodes_until(all_up, 10000));
}

static bool state_told(void) {
	const struct member *w = members_named(nodes[0].members, "cleo");
	return w && w->state && w->round_trip > 0 && w->state->n_peers == 2;
}

START_TEST(three_join) {
	cluster(3);
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(members_at(nodes[i].members, 0)->name, "ada");
		ck_assert_str_eq(members_at(nodes[i].members, 1)->name, "bob");
		ck_assert_str_eq(members_at(nodes[i].members, 2)->name, "cleo");
		ck_assert_ptr_null(members_at(nodes[i].members, 3));
		ck_assert_uint_eq(nodes[i].up, 2);
		ck_assert_uint_eq(nodes[i].down, 0);
	}
	ck_assert(nodes_until(state_told, 5000));
	const struct member *w = members_named(nodes[0].members, "cleo");
	ck_assert_uint_eq(w->state->threads, 3);
	ck_assert_uint_gt(w->arithmetic, 0);
	char hex[NODE_ID_HEX];
	node_id_hex(&w->id, hex);
	hex[8] = 0;
	ck_assert_ptr_eq(members_named(nodes[0].members, hex), w);
	hex[5] = 0;
	ck_assert_ptr_null(members_named(nodes[0].members, hex));
}
END_TEST

START_TEST(invitations) {
	char err[300];
	node_start(&nodes[0], "ada");
	node_start(&nodes[1], "bob");
	node_start(&nodes[2], "cleo");
	node_start(&nodes[3], "bob");
	char *once = invite(&nodes[0], 600), *other = invite(&nodes[0], 600), *late = invite(&nodes[0], 1);
	/* damaged on the way here */
	char *bad = strdup(once);
	bad[30] = bad[30] == 'A' ? 'B' : 'A';
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], bad), "checksum"));
	bad[50] = 0;
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], bad), "incomplete"));
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], "hello"), "not an invitation"));
	ck_assert_ptr_nonnull(strstr(join(&nodes[0], once), "from this node"));
	free(bad);

	ck_assert_str_eq(join(&nodes[1], once), "");
	ck_assert_ptr_nonnull(strstr(join(&nodes[2], once), "already used"));
	/* of a cluster of which the inviter is none: leave first */
	char *foreign = invite(&nodes[3], 600);
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], foreign), "already belongs to a cluster of 2 nodes"));
	free(foreign);
	/* a name that is taken does not use the invitation up */
	ck_assert_ptr_nonnull(strstr(join(&nodes[3], other), "the name bob is taken"));
	nodes_run(1200);
	ck_assert_ptr_nonnull(strstr(join(&nodes[2], late), "has expired"));
	ck_assert_str_eq(join(&nodes[2], other), "");
	want = 2;
	node_stop(&nodes[3]);
	ck_assert(nodes_until(all_up, 10000));

	/* nobody there any more */
	char *gone = invite(&nodes[0], 600);
	struct invite i;
	ck_assert_int_eq(invite_decode(&i, gone, err, sizeof err), 0);
	node_stop(&nodes[0]);
	node_start(&nodes[3], "dan");
	const char *error = join(&nodes[3], gone);
	ck_assert_ptr_nonnull(strstr(error, "cannot reach"));
	ck_assert_ptr_nonnull(strstr(error, i.endpoints[0]));
	free(once);
	free(other);
	free(late);
	free(gone);
}
END_TEST

/* A member that joins again, whom the others do not find any more: it tells where it is. */
START_TEST(joins_again) {
	char err[300] = "";
	cluster(2);
	char *token = invite(&nodes[0], 600), *other = invite(&nodes[0], 600);
	struct node_id bob = members_self(nodes[1].members)->id;
	node_stop(&nodes[1]);
	node_start(&nodes[1], "bobby"); /* at another port, by another name */
	ck_assert_str_eq(join(&nodes[1], token), "");
	ck_assert_str_eq(members_find(nodes[0].members, &bob)->name, "bobby");
	ck_assert_str_eq(member_endpoint(members_find(nodes[0].members, &bob)),
	        peers_endpoint(members_peers(nodes[1].members)));
	ck_assert_ptr_null(members_at(nodes[0].members, 2));
	want = 1;
	ck_assert(nodes_until(all_up, 10000));
	/* its roster lost, it still proves its key */
	char path[200];
	node_stop(&nodes[1]);
	snprintf(path, sizeof path, "%s/roster", nodes[1].dir);
	ck_assert_int_eq(unlink(path), 0);
	node_start(&nodes[1], "bob");
	ck_assert_msg(*join(&nodes[1], other) == 0, "%s", nodes[1].error);
	ck_assert(nodes_until(all_up, 10000));
	ck_assert_str_eq(members_find(nodes[0].members, &bob)->name, "bob");
	/* the name of somebody who is gone for good is free when he was expelled */
	node_start(&nodes[2], "cleo");
	char *third = invite(&nodes[0], 600), *fourth = invite(&nodes[0], 600);
	ck_assert_str_eq(join(&nodes[2], third), "");
	node_stop(&nodes[2]);
	node_start(&nodes[3], "cleo");
	ck_assert_ptr_nonnull(strstr(join(&nodes[3], fourth), "caravan expel cleo"));
	ck_assert_int_eq(members_expel(nodes[0].members, "cleo", NULL, NULL, err, sizeof err), 0);
	ck_assert_str_eq(join(&nodes[3], fourth), "");
	free(token);
	free(other);
	free(third);
	free(fourth);
}
END_TEST

static void on_joined(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error) {
	(void)entries;
	(void)count;
	(void)endpoint;
	on_done(arg, error);
}

/* Somebody with an invitation says that he is a member whose key he does not have. */
START_TEST(a_guest_is_nobody_else) {
	char err[300] = "";
	uint8_t proof[KEYS_PROOF] = {0};
	cluster(2);
	node_start(&nodes[2], "mallory");
	char *token = invite(&nodes[0], 600);
	struct invite i;
	ck_assert_int_eq(invite_decode(&i, token, err, sizeof err), 0);
	struct node_id bob = members_self(nodes[1].members)->id;
	const char *at = i.endpoints[0];
	Caravan__Entry e = CARAVAN__ENTRY__INIT;
	Caravan__Join ask = CARAVAN__JOIN__INIT;
	e.node = (ProtobufCBinaryData){sizeof bob.b, bob.b};
	e.version = 1000;
	e.name = (char *)"mallory";
	e.endpoint = (char *)"tcp://127.0.0.1:1";
	ask.entry = &e;
	for (int proven = 0; proven < 2; proven++) {
		if (proven) /* of another key */
			ck_assert_int_eq(keys_prove(&nodes[2].keys, &i.server, "x", 1, proof), 0);
		ask.proof = (ProtobufCBinaryData){proven ? sizeof proof : 0, proof};
		nodes[2].done = false;
		ck_assert_int_eq(peers_join(members_peers(nodes[2].members), &i.keys, &i.server, &at, 1, &ask,
		                         on_joined, &nodes[2]),
		        0);
		ck_assert(nodes_until(someone_done, 30000));
		ck_assert_msg(strstr(nodes[2].error, "does not prove"), "%s", nodes[2].error);
	}
	ck_assert_str_eq(members_find(nodes[0].members, &bob)->name, "bob");
	ck_assert_str_eq(member_endpoint(members_find(nodes[0].members, &bob)),
	        peers_endpoint(members_peers(nodes[1].members)));
	/* both sides make the same proof of the same text, and of no other */
	uint8_t back[KEYS_PROOF];
	ck_assert_int_eq(keys_prove(&nodes[0].keys, &nodes[2].keys.public, "x", 1, back), 0);
	ck_assert_int_eq(keys_prove(&nodes[2].keys, &nodes[0].keys.public, "x", 1, proof), 0);
	ck_assert_mem_eq(proof, back, sizeof proof);
	ck_assert_int_eq(keys_prove(&nodes[2].keys, &nodes[0].keys.public, "y", 1, proof), 0);
	ck_assert_mem_ne(proof, back, sizeof proof);
	static const struct node_id none;
	ck_assert_int_eq(keys_prove(&nodes[2].keys, &none, "x", 1, proof), -EINVAL);
	free(token);
}
END_TEST

static bool bob_left(void) {
	const struct member *cleo = members_named(nodes[2].members, "cleo");
	return cleo && !members_named(nodes[0].members, "bob") && !members_named(nodes[2].members, "bob");
}

START_TEST(leaves) {
	char err[300] = "", path[200];
	struct stat st;
	cluster(3);
	struct node_id bob = members_self(nodes[1].members)->id;
	snprintf(path, sizeof path, "%s/kept", nodes[1].dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	nodes[1].done = false;
	ck_assert_int_eq(members_leave(nodes[1].members, on_done, &nodes[1], err, sizeof err), 0);
	ck_assert_int_eq(members_leave(nodes[1].members, on_done, &nodes[1], err, sizeof err), -EBUSY);
	ck_assert(nodes_until(someone_done, 30000));
	ck_assert_str_eq(nodes[1].error, "");
	ck_assert(nodes_until(bob_left, 10000));
	ck_assert(members_find(nodes[0].members, &bob)->expelled);
	/* a node of its own, with what it had besides */
	node_stop(&nodes[1]);
	node_start(&nodes[1], "bob");
	ck_assert(!node_id_equal(&members_self(nodes[1].members)->id, &bob));
	ck_assert_ptr_null(members_at(nodes[1].members, 1));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(unlink(path), 0);
	char *token = invite(&nodes[0], 600);
	ck_assert_str_eq(join(&nodes[1], token), "");
	want = 2;
	ck_assert(nodes_until(all_up, 10000));
	free(token);
	/* who was expelled does the same */
	ck_assert_int_eq(members_expel(nodes[0].members, "cleo", NULL, NULL, err, sizeof err), 0);
	struct node_id cleo = members_self(nodes[2].members)->id;
	nodes[2].done = false;
	ck_assert_int_eq(members_leave(nodes[2].members, on_done, &nodes[2], err, sizeof err), 0);
	ck_assert(nodes_until(someone_done, 30000));
	node_stop(&nodes[2]);
	node_start(&nodes[2], "cleo");
	ck_assert(!node_id_equal(&members_self(nodes[2].members)->id, &cleo));
	token = invite(&nodes[0], 600);
	ck_assert_str_eq(join(&nodes[2], token), "");
	free(token);
}
END_TEST

static void copy_file(const char *name, int from, int to) {
	char path[200], buf[65536];
	snprintf(path, sizeof path, "%s/%s", nodes[from].dir, name);
	int fd = open(path, O_RDONLY);
	ssize_t len = read(fd, buf, sizeof buf);
	ck_assert_int_ge(len, 0);
	close(fd);
	snprintf(path, sizeof path, "%s/%s", nodes[to].dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, buf, (size_t)len), len);
	close(fd);
}

static const char *reason(int at, const char *name) {
	static char why[400];
	const struct member *who = members_named(nodes[at].members, name);
	return who ? members_reason(nodes[at].members, who, why, sizeof why) : "";
}

static bool all_know_of_the_copy(void) {
	static const char what[] =
	        "the key of bob is in use twice at 127.0.0.1: run caravan leave on the copy";
	return strstr(reason(0, "bob"), what) && strstr(reason(1, "bob"), what) &&
	       strstr(reason(3, "ada"), what) && strstr(reason(3, "cleo"), what);
}

/* A memory card was copied, with the key on it. */
START_TEST(two_machines_with_one_key) {
	cluster(3);
	nodes_run(300); /* what is under way to the disk arrives */
	copy_file("key", 1, 3);
	copy_file("roster", 1, 3);
	node_start(&nodes[3], NULL);
	ck_assert_str_eq(members_self(nodes[3].members)->name, "bob");
	ck_assert(nodes_until(all_know_of_the_copy, 30000));
	/* the first goes on, as if nothing were */
	nodes_run(3000);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(nodes[i].down, 0);
	ck_assert_str_eq(member_endpoint(members_named(nodes[0].members, "bob")),
	        peers_endpoint(members_peers(nodes[1].members)));
	ck_assert(members_named(nodes[0].members, "bob")->up);
	/* when the first ends for good the other is that node */
	node_stop(&nodes[1]);
	want = 2;
	ck_assert(nodes_until(all_up, 30000));
}
END_TEST

static bool roster_written(void) {
	char path[200];
	struct stat st;
	snprintf(path, sizeof path, "%s/roster", nodes[0].dir);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* What could not be written is said, stands all the same, and is tried again. */
START_TEST(expelled_on_a_full_disk) {
	char err[300] = "", path[200];
	cluster(2);
	struct node_id bob = members_self(nodes[1].members)->id;
	nodes_run(300); /* what is under way arrives */
	snprintf(path, sizeof path, "%s/roster", nodes[0].dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* no file can take its place */
	nodes[0].done = false;
	ck_assert_int_eq(members_expel(nodes[0].members, "bob", on_done, &nodes[0], err, sizeof err), 0);
	ck_assert(nodes_until(someone_done, 30000));
	ck_assert_msg(strstr(nodes[0].error, "could not be written"), "%s", nodes[0].error);
	ck_assert_ptr_nonnull(strstr(nodes[0].error, path));
	ck_assert(members_find(nodes[0].members, &bob)->expelled);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert(nodes_until(roster_written, 30000));
	node_stop(&nodes[0]);
	node_start(&nodes[0], NULL);
	ck_assert(members_find(nodes[0].members, &bob)->expelled);
}
END_TEST

static size_t ada_knows(void) {
	size_t n = 0;
	while (members_at(nodes[0].members, n))
		n++;
	return n;
}

static bool ada_knows_some(void) {
	return ada_knows() > 10;
}

/* A member tells of hundreds of nodes, dead and alive: there is room for others all the same. */
START_TEST(one_author_does_not_fill_the_roster) {
	static struct node_id ids[200];
	static Caravan__Entry entries[200], *list[200];
	Caravan__RosterUpdate news = CARAVAN__ROSTER_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ROSTER, roster, &news);
	cluster(2);
	for (int i = 0; i < 200; i++) {
		memset(&ids[i], i + 3, sizeof *ids);
		caravan__entry__init(list[i] = &entries[i]);
		entries[i].node = (ProtobufCBinaryData){sizeof ids[i].b, ids[i].b};
		entries[i].version = 1;
		entries[i].name = (char *)"crowd";
		entries[i].endpoint = (char *)"tcp://127.0.0.1:1";
		entries[i].expelled = i % 2;
	}
	news.roster = list;
	news.n_roster = 200;
	ck_assert_int_eq(
	        peers_send(members_peers(nodes[1].members), &nodes[0].keys.public, PEERS_CONTROL, &env, NULL),
	        0);
	ck_assert(nodes_until(ada_knows_some, 10000));
	nodes_run(100);
	ck_assert_uint_le(ada_knows(), 2 + MEMBERS_UNPROVEN_MAX);
	char *token = invite(&nodes[0], 600);
	node_start(&nodes[2], "cleo");
	ck_assert_str_eq(join(&nodes[2], token), "");
	free(token);
}
END_TEST

START_TEST(open_invitations_are_bounded) {
	char err[300] = "", *token;
	node_start(&nodes[0], "ada");
	for (int i = 0; i < INVITE_OPEN_MAX; i++)
		free(invite(&nodes[0], 600));
	ck_assert_int_eq(members_invite(nodes[0].members, 600, &token, err, sizeof err), -ENOSPC);
	ck_assert_ptr_null(token);
}
END_TEST

static bool bob_is_down(void) {
	const struct member *bob = members_named(nodes[0].members, "bob");
	char why[300];
	return bob && !bob->up &&
	       strstr(members_reason(nodes[0].members, bob, why, sizeof why), "127.0.0.1:1 ");
}

static bool ada_is_up(void) {
	const struct member *ada = members_named(nodes[1].members, "ada");
	return ada && ada->up;
}

/* A node that nobody reaches joins all the same, and both sides say what is wrong. */
START_TEST(the_way_back) {
	char why[400];
	node_start(&nodes[0], "ada");
	advertise = "tcp://127.0.0.1:1";
	node_start(&nodes[1], "bob");
	advertise = NULL;
	char *token = invite(&nodes[0], 600);
	ck_assert_str_eq(join(&nodes[1], token), "");
	const char *note = members_join_note(nodes[1].members, why, sizeof why);
	ck_assert_msg(strstr(note, "ada cannot reach this machine at 127.0.0.1:1 "), "%s", note);
	ck_assert(!ada_is_up());
	ck_assert_str_eq(note,
	        members_reason(nodes[1].members, members_named(nodes[1].members, "ada"), why, sizeof why));
	ck_assert(nodes_until(bob_is_down, 10000));
	ck_assert(members_since(nodes[0].members, members_named(nodes[0].members, "bob")) > 0);
	/* it says where it is, and all is well */
	node_stop(&nodes[1]);
	node_start(&nodes[1], NULL);
	want = 1;
	ck_assert(nodes_until(all_up, 20000));
	ck_assert_str_eq(
	        members_reason(nodes[1].members, members_named(nodes[1].members, "ada"), why, sizeof why),
	        "");
	free(token);
	/* where all is well from the beginning there is nothing to say */
	node_start(&nodes[2], "cleo");
	token = invite(&nodes[0], 600);
	ck_assert_str_eq(join(&nodes[2], token), "");
	ck_assert_str_eq(members_join_note(nodes[2].members, why, sizeof why), "");
	free(token);
}
END_TEST

static bool bob_is_out(void) {
	return members_self(nodes[1].members)->expelled && members_named(nodes[2].members, "bob") == NULL;
}

START_TEST(expelled) {
	char err[300] = "", hex[NODE_ID_HEX];
	cluster(3);
	struct node_id bob = members_self(nodes[1].members)->id;
	ck_assert_int_eq(members_expel(nodes[0].members, "nobody", NULL, NULL, err, sizeof err), -ENOENT);
	ck_assert_int_eq(members_expel(nodes[0].members, "ada", NULL, NULL, err, sizeof err), -EINVAL);
	ck_assert_int_eq(members_expel(nodes[0].members, "bob", NULL, NULL, err, sizeof err), 0);
	ck_assert(!members_find(nodes[0].members, &bob)->up);
	ck_assert(nodes_until(bob_is_out, 5000));
	want = 1;
	ck_assert(nodes_until(all_up, 5000));
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(nodes[i].expelled, 1);
	/* it has no link to anybody, and does not get one again */
	ck_assert(!peers_linked(members_peers(nodes[1].members), &nodes[0].keys.public));
	ck_assert_int_eq(members_expel(nodes[0].members, node_id_hex(&bob, hex), NULL, NULL, err, sizeof err),
	        -ENOENT);
	char *token = invite(&nodes[0], 600);
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], token), "expelled"));
	/* also not after a start, nor when it forgets that it was */
	node_stop(&nodes[1]);
	char path[200];
	snprintf(path, sizeof path, "%s/roster", nodes[1].dir);
	unlink(path);
	node_start(&nodes[1], "bob2");
	ck_assert_ptr_nonnull(strstr(join(&nodes[1], token), "was expelled"));
	free(token);
	/* everybody remembers it after a start */
	node_stop(&nodes[2]);
	node_start(&nodes[2], NULL);
	ck_assert_str_eq(members_self(nodes[2].members)->name, "cleo");
	ck_assert(members_find(nodes[2].members, &bob)->expelled);
}
END_TEST

static bool ada_lost_one(void) {
	return nodes[0].down == 1;
}
static bool ada_has_all(void) {
	return nodes[0].up == 3;
}
static bool ada_knows_kit(void) {
	const struct member *w = members_named(nodes[0].members, "kit");
	return w && w->up;
}

START_TEST(dies_and_comes_back_elsewhere) {
	char err[300];
	cluster(3);
	uint64_t t = loop_now_ns();
	node_stop(&nodes[1]);
	ck_assert(nodes_until(ada_lost_one, 5000));
	ck_assert_msg(loop_now_ns() - t < 2000000000u, "noticed within two seconds");
	ck_assert_uint_eq(nodes[0].up, 2);
	/* another port: a new version of its entry, which it tells the others */
	node_start(&nodes[1], NULL);
	ck_assert_str_eq(members_self(nodes[1].members)->name, "bob");
	ck_assert(nodes_until(ada_has_all, 10000));
	ck_assert_uint_ge(nodes[0].changed, 1);
	ck_assert_str_eq(member_endpoint(members_named(nodes[0].members, "bob")),
	        peers_endpoint(members_peers(nodes[1].members)));
	/* another name, but not one that is taken */
	node_stop(&nodes[1]);
	ck_assert_int_eq(node_try(&nodes[1], "cleo", "tcp://127.0.0.1:*", err, sizeof err), -EEXIST);
	ck_assert_int_eq(node_try(&nodes[1], "no name!", "tcp://127.0.0.1:*", err, sizeof err), -EINVAL);
	node_start(&nodes[1], "kit");
	ck_assert(nodes_until(ada_knows_kit, 10000));
	ck_assert_ptr_null(members_named(nodes[0].members, "bob"));
}
END_TEST

static bool ada_gave_up(void) {
	char why[400];
	const struct member *bob = members_named(nodes[0].members, "bob");
	return strstr(members_reason(nodes[0].members, bob, why, sizeof why), "cannot be reached") != NULL;
}

/* That it could not be reached before is nothing that a node is told when it comes back. */
START_TEST(comes_back_without_a_word) {
	char endpoint[200];
	cluster(2);
	snprintf(endpoint, sizeof endpoint, "%s", peers_endpoint(members_peers(nodes[1].members)));
	node_stop(&nodes[1]);
	ck_assert(nodes_until(ada_gave_up, 30000));
	nodes_run(3000); /* attempts are as rare as they get */
	nodes[1].up = nodes[1].down = 0;
	char err[300] = "";
	ck_assert_msg(node_try(&nodes[1], NULL, endpoint, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_until(all_up, 10000));
	nodes_run(1500);
	ck_assert_uint_eq(nodes[1].down, 0);
	ck_assert_uint_eq(nodes[1].up, 1);
}
END_TEST

static enum peers_verdict anybody(void *arg, const struct node_id *key, const char **why) {
	(void)arg;
	(void)key;
	(void)why;
	return PEERS_MEMBER;
}

static bool ada_up_again(void) {
	return nodes[0].up == 2;
}

static bool ada_lost_two(void) {
	return nodes[0].down == 2;
}

/* Greets, and then never says a word: it is given the time that a busy machine needs, and no more. */
START_TEST(silent_is_down_in_time) {
	char err[300] = "", endpoint[200];
	struct peers *mute;
	cluster(2);
	snprintf(endpoint, sizeof endpoint, "%s", peers_endpoint(members_peers(nodes[1].members)));
	node_stop(&nodes[1]);
	ck_assert(nodes_until(ada_lost_one, 5000));
	const struct peers_config c = {.listen = endpoint, .keys = &nodes[1].keys, .admit = anybody};
	ck_assert_msg(peers_create(&mute, loop, &c, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_until(ada_up_again, 5000));
	uint64_t t = loop_now_ns();
	ck_assert(nodes_until(ada_lost_two, 10000));
	double seconds = (double)(loop_now_ns() - t) * 1e-9;
	ck_assert_msg(seconds > SILENT_MS / 2e3, "down after %.1f s", seconds);
	ck_assert(!members_named(nodes[0].members, "bob")->up);
	peers_destroy(mute);
}
END_TEST

/* What a node says of itself is believed at once; its version follows when it has heard how far it had come. */
static uint64_t version_before;
static bool ada_sees_newer(void) {
	const struct member *bob = members_named(nodes[0].members, "bob2");
	return bob && bob->version > version_before;
}

START_TEST(set_back_to_an_old_state) {
	cluster(2);
	char from[200], to[200], buf[8192];
	snprintf(from, sizeof from, "%s/roster", nodes[1].dir);
	snprintf(to, sizeof to, "%s/old", root);
	int fd = open(from, O_RDONLY);
	ssize_t len = read(fd, buf, sizeof buf);
	close(fd);
	/* several new versions */
	for (int i = 0; i < 3; i++) {
		node_stop(&nodes[1]);
		node_start(&nodes[1], i % 2 ? "bobby" : "bill");
		ck_assert(nodes_until(all_up, 10000));
	}
	version_before = members_named(nodes[0].members, "bill")->version;
	node_stop(&nodes[1]);
	fd = open(from, O_WRONLY | O_TRUNC);
	ck_assert_int_eq(write(fd, buf, (size_t)len), len);
	close(fd);
	node_start(&nodes[1], "bob2");
	ck_assert(nodes_until(ada_sees_newer, 10000));
}
END_TEST

START_TEST(alone_without_a_network) {
	char err[300] = "", *token;
	ck_assert_int_eq(node_try(&nodes[0], "ada", NULL, err, sizeof err), 0);
	ck_assert(members_self(nodes[0].members)->up);
	ck_assert_str_eq(member_endpoint(members_self(nodes[0].members)), "");
	ck_assert_int_eq(members_invite(nodes[0].members, 60, &token, err, sizeof err), -ENOTSUP);
	nodes_run(600);
	ck_assert_uint_eq(members_self(nodes[0].members)->state->threads, 1);
}
END_TEST

/* ---- API keys -------------------------------------------------------------------------------------- */

static char key_secret[API_KEY_SECRET];
static enum api_key_verdict key_verdict;

static bool all_say(void) {
	uint64_t id;
	char name[WIRE_NAME_MAX + 1];
	for (int i = 0; i < NODES; i++)
		if (nodes[i].members && api_keys_check(members_api_keys(nodes[i].members), key_secret,
		                                (uint64_t)time(NULL), &id, name) != key_verdict)
			return false;
	return true;
}

static bool ada_done(void) {
	return nodes[0].done;
}

static bool bob_agrees(void) {
	return members_named(nodes[0].members, "bob")->keys_agreed != 0;
}

START_TEST(api_keys_are_everywhere) {
	char err[300] = "", path[200], other[API_KEY_SECRET];
	cluster(3);
	ck_assert_int_eq(members_key_create(
	                         nodes[0].members, "one", 0, key_secret, on_done, &nodes[0], err, sizeof err),
	        0);
	ck_assert(nodes_until(ada_done, 5000));
	ck_assert_str_eq(nodes[0].error, "");
	key_verdict = API_KEY_VALID;
	ck_assert(nodes_until(all_say, 5000));
	ck_assert_int_eq(
	        members_key_create(nodes[1].members, "two", 0, other, on_done, &nodes[1], err, sizeof err),
	        0);
	/* one node is down while it is revoked, and the one that revoked it is down when that comes back */
	node_stop(&nodes[2]);
	nodes[0].done = false;
	ck_assert_int_eq(
	        members_key_revoke(nodes[0].members, "nobody", on_done, &nodes[0], err, sizeof err), -ENOENT);
	ck_assert_int_eq(members_key_revoke(nodes[0].members, "one", on_done, &nodes[0], err, sizeof err), 0);
	ck_assert(nodes_until(ada_done, 5000));
	key_verdict = API_KEY_UNKNOWN; /* the other one is valid */
	ck_assert(nodes_until(all_say, 5000));
	/* bob has said that he knows, cleo has not: it is not forgotten */
	ck_assert(nodes_until(bob_agrees, 5000));
	ck_assert_uint_eq(members_named(nodes[0].members, "cleo")->keys_agreed, 0);
	node_stop(&nodes[0]);
	node_start(&nodes[2], NULL);
	uint64_t id;
	char name[WIRE_NAME_MAX + 1];
	ck_assert_int_eq(api_keys_check(members_api_keys(nodes[2].members), key_secret, (uint64_t)time(NULL),
	                         &id, name),
	        API_KEY_VALID); /* as its disk has it */
	ck_assert(nodes_until(all_say, 15000));
	/* and it does not bring it back */
	node_start(&nodes[0], NULL);
	want = 2;
	ck_assert(nodes_until(all_up, 15000));
	nodes_run(500);
	ck_assert(all_say());
	for (int i = 0; i < 3; i++) {
		node_stop(&nodes[i]);
		snprintf(path, sizeof path, "%s/api-keys", nodes[i].dir);
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

/* ---- pieces ------------------------------------------------------------------------------------------ */

static void entry_make(
        Caravan__Entry *e, struct node_id *id, int who, uint64_t version, const char *name, bool out) {
	memset(id, who, sizeof *id);
	caravan__entry__init(e);
	e->node = (ProtobufCBinaryData){sizeof id->b, id->b};
	e->version = version;
	e->name = (char *)name;
	e->endpoint = (char *)"tcp://10.0.0.1:7070";
	e->expelled = out;
}

START_TEST(roster_rules) {
	static struct roster r;
	struct node_id self, id;
	struct member *w;
	Caravan__Entry e;
	memset(&self, 1, sizeof self);
	roster_init(&r, &self);
	ck_assert_int_eq(roster_edit(&r, &self, "me", NULL, 0, false, 0), 0);
	entry_make(&e, &id, 2, 5, "two", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_NEW);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_SAME);
	entry_make(&e, &id, 2, 4, "older", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_SAME);
	entry_make(&e, &id, 2, 6, "newer", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_CHANGED);
	ck_assert_str_eq(w->name, "newer");
	/* what a node says of itself stands against a later version that others told */
	entry_make(&e, &id, 2, 1000, "lie", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_CHANGED);
	entry_make(&e, &id, 2, 6, "newer", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_SAME);
	ck_assert_int_eq(roster_take_own(&r, &e, &w), ROSTER_CHANGED);
	ck_assert_str_eq(w->name, "newer");
	ck_assert_uint_eq(w->version, 1000);
	ck_assert_int_eq(roster_take_own(&r, &e, &w), ROSTER_SAME);
	/* a tombstone beats every version, and stays */
	entry_make(&e, &id, 2, 1, "", true);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_EXPELLED);
	ck_assert_str_eq(w->name, "newer");
	entry_make(&e, &id, 2, 2000, "back", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_SAME);
	ck_assert_int_eq(roster_take_own(&r, &e, &w), ROSTER_SAME);
	ck_assert(w->expelled);
	ck_assert_ptr_null(roster_named(&r, "newer", NULL));
	/* of a node that we never met, too */
	entry_make(&e, &id, 3, 1, "", true);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_EXPELLED);
	entry_make(&e, &id, 3, 9, "three", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_SAME);
	/* nobody else edits our entry */
	entry_make(&e, &id, 1, 9, "you", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_AHEAD);
	ck_assert_str_eq(w->name, "me");
	ck_assert_int_eq(roster_edit(&r, &self, "me", NULL, 0, false, 9), 0);
	ck_assert_uint_eq(w->version, 10);
	/* nor drives its version to where nobody lets it in */
	static struct roster last;
	roster_init(&last, &self);
	ck_assert_int_eq(roster_edit(&last, &self, "me", NULL, 0, false, (uint64_t)1 << 53), 0);
	ck_assert_int_eq(roster_edit(&last, &self, "me", NULL, 0, false, (uint64_t)1 << 53), 0);
	ck_assert_uint_eq(roster_find(&last, &self)->version, (uint64_t)1 << 53);
	roster_clear(&last);
	/* it always fits a message */
	for (int i = 4; i < 2 * WIRE_NODES_MAX; i++) {
		entry_make(
		        &e, &id, 4, 1, "a-name-that-is-as-long-as-names-may-be-0123456789-0123456789", false);
		id.b[0] = (uint8_t)i;
		id.b[1] = (uint8_t)(i >> 8);
		roster_take(&r, &e, &w);
	}
	ck_assert_ptr_null(w);
	char dir[128], err[300] = "", path[200];
	snprintf(dir, sizeof dir, "%s/0", root);
	ck_assert_msg(roster_save(&r, dir, err, sizeof err) == 0, "%s", err);
	static struct roster again;
	roster_init(&again, &self);
	ck_assert_msg(roster_load(&again, dir, err, sizeof err) == 0, "%s", err);
	ck_assert_uint_eq(again.n, r.n);
	ck_assert_uint_eq(roster_find(&again, &self)->version, 10);
	/* a damaged file is refused, not forgotten: it holds the tombstones */
	snprintf(path, sizeof path, "%s/roster", dir);
	ck_assert_int_eq(truncate(path, 100), 0);
	roster_clear(&again);
	ck_assert_int_eq(roster_load(&again, dir, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "damaged"));
	roster_clear(&r);
	roster_clear(&again);
}
END_TEST

/* A tombstone goes when it is old and every other node has heard of it, and does not come back. */
START_TEST(graves_are_pruned) {
	static struct roster r;
	struct node_id self, id, dead;
	struct member *w, *grave;
	Caravan__Entry e;
	uint64_t now = (uint64_t)time(NULL);
	memset(&self, 1, sizeof self);
	roster_init(&r, &self);
	ck_assert_int_eq(roster_edit(&r, &self, "me", NULL, 0, false, 0), 0);
	entry_make(&e, &id, 2, 5, "two", false);
	ck_assert_int_eq(roster_take(&r, &e, &w), ROSTER_NEW);
	entry_make(&e, &dead, 3, 5, "three", true);
	e.left = now - 100;
	ck_assert_int_eq(roster_take(&r, &e, &grave), ROSTER_EXPELLED);
	ck_assert_uint_eq(grave->left, now - 100);
	ck_assert_uint_eq(roster_prune(&r, now), 0);                            /* too new */
	ck_assert_uint_eq(roster_prune(&r, now + ROSTER_TOMBSTONE_SECONDS), 0); /* two may not know yet */
	w->agreed = now - 101;
	ck_assert_uint_eq(roster_prune(&r, now + ROSTER_TOMBSTONE_SECONDS), 0); /* knew not yet */
	w->agreed = now;
	ck_assert_uint_eq(roster_prune(&r, now + ROSTER_TOMBSTONE_SECONDS), 1);
	ck_assert_ptr_null(roster_find(&r, &dead));
	ck_assert_str_eq(grave->name, "three"); /* whoever points there still may */
	ck_assert(roster_tombstone_is_old(&e, now + ROSTER_TOMBSTONE_SECONDS));
	ck_assert(!roster_tombstone_is_old(&e, now));
	/* in the future it was not */
	entry_make(&e, &dead, 4, 5, "four", true);
	e.left = now + 1000000;
	ck_assert_int_eq(roster_take(&r, &e, &grave), ROSTER_EXPELLED);
	ck_assert_uint_le(grave->left, (uint64_t)time(NULL));
	/* who lives until now was not expelled long ago, whatever somebody says */
	entry_make(&e, &id, 2, 6, "two", true);
	e.left = 1;
	ck_assert_int_eq(roster_take(&r, &e, &grave), ROSTER_EXPELLED);
	ck_assert_uint_ge(grave->left, now);
	/* the file of a folder that has another key now */
	char dir[128], err[300] = "";
	snprintf(dir, sizeof dir, "%s/0", root);
	ck_assert_int_eq(roster_save(&r, dir, err, sizeof err), 0);
	static struct roster other;
	memset(&self, 9, sizeof self);
	roster_init(&other, &self);
	ck_assert_int_eq(roster_load(&other, dir, err, sizeof err), 0);
	ck_assert_uint_eq(other.n, 0);
	roster_clear(&r);
	roster_clear(&other);
}
END_TEST

START_TEST(key_files) {
	struct keys a, b;
	char err[300] = "", path[200];
	struct stat st;
	/* what a start left that was killed, in a container with the same process number, is in nobody's way */
	snprintf(path, sizeof path, "%s/key", nodes[0].dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/.key.%ld", nodes[0].dir, (long)getpid());
	int left = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(left, 0);
	close(left);
	ck_assert_msg(keys_load(&a, nodes[0].dir, err, sizeof err) == 0, "%s", err);
	ck_assert_int_ne(stat(path, &st), 0);
	ck_assert_int_eq(keys_load(&b, nodes[0].dir, err, sizeof err), 0);
	ck_assert_mem_eq(&a, &b, sizeof a);
	snprintf(path, sizeof path, "%s/key", nodes[0].dir);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	keys_wipe(&b);
	static const struct keys zero;
	ck_assert_mem_eq(&b, &zero, sizeof b);
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(keys_load(&b, nodes[0].dir, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "0640"));
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(truncate(path, 20), 0);
	ck_assert_int_eq(keys_load(&b, nodes[0].dir, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "damaged"));
	/* a link to somewhere else is not followed */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/dev/zero", path), 0);
	ck_assert_int_ne(keys_load(&b, nodes[0].dir, err, sizeof err), 0);
	ck_assert_int_ne(keys_load(&b, "/nowhere", err, sizeof err), 0);
}
END_TEST

START_TEST(one_daemon_a_folder) {
	char err[400] = "", path[200];
	int fd = keys_lock(nodes[0].dir, err, sizeof err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(keys_lock(nodes[0].dir, err, sizeof err), -EBUSY);
	snprintf(path, sizeof path, "process %ld", (long)getpid());
	ck_assert_ptr_nonnull(strstr(err, path));
	ck_assert_ptr_nonnull(strstr(err, nodes[0].dir));
	close(fd);
	fd = keys_lock(nodes[0].dir, err, sizeof err);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_lt(keys_lock("/nowhere", err, sizeof err), 0);
	snprintf(path, sizeof path, "%s/lock", nodes[0].dir);
	unlink(path);
}
END_TEST

START_TEST(tokens) {
	struct invite i = {.expiry = 1234567890123, .nendpoints = INVITE_ENDPOINTS_MAX}, back;
	char err[300] = "", spaced[WIRE_TOKEN_MAX + 10];
	ck_assert_int_eq(keys_generate(&i.keys), 0);
	i.server = i.keys.public;
	for (int k = 0; k < INVITE_ENDPOINTS_MAX; k++)
		snprintf(i.endpoints[k], INVITE_ENDPOINT_MAX, "tcp://host-%0*d.example:7070", 1 + k * 14, k);
	char *token = invite_encode(&i);
	ck_assert_ptr_nonnull(token);
	ck_assert_uint_lt(strlen(token), WIRE_TOKEN_MAX);
	ck_assert_uint_eq(strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
	        strlen(token));
	snprintf(spaced, sizeof spaced, " \t%s\n", token);
	ck_assert_msg(invite_decode(&back, spaced, err, sizeof err) == 0, "%s", err);
	ck_assert_mem_eq(&back, &i, sizeof i);
	/* every character counts */
	for (size_t at = 9; at < strlen(token); at++) {
		char kept = token[at];
		token[at] = kept == 'x' ? 'y' : 'x';
		ck_assert_int_eq(invite_decode(&back, token, err, sizeof err), -EINVAL);
		token[at] = kept;
	}
	free(token);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("members");
	TCase *t = tcase_create("cluster");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, three_join);
	tcase_add_test(t, invitations);
	tcase_add_test(t, open_invitations_are_bounded);
	tcase_add_test(t, the_way_back);
	tcase_add_test(t, joins_again);
	tcase_add_test(t, a_guest_is_nobody_else);
	tcase_add_test(t, leaves);
	tcase_add_test(t, two_machines_with_one_key);
	tcase_add_test(t, expelled_on_a_full_disk);
	tcase_add_test(t, one_author_does_not_fill_the_roster);
	tcase_add_test(t, expelled);
	tcase_add_test(t, dies_and_comes_back_elsewhere);
	tcase_add_test(t, comes_back_without_a_word);
	tcase_add_test(t, silent_is_down_in_time);
	tcase_add_test(t, set_back_to_an_old_state);
	tcase_add_test(t, alone_without_a_network);
	tcase_add_test(t, api_keys_are_everywhere);
	suite_add_tcase(s, t);
	t = tcase_create("pieces");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, roster_rules);
	tcase_add_test(t, graves_are_pruned);
	tcase_add_test(t, key_files);
	tcase_add_test(t, one_daemon_a_folder);
	tcase_add_test(t, tokens);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
