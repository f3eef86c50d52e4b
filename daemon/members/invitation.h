/* invitation: invitations: the printable string, and those that are open at this node.
 *
 * An invitation is a CURVE key pair for one Join.  The string has its secret key, the inviter's public key
 * and its endpoints:
 *
 *     "caravan1-" base64url( version 1 | expiry, seconds of the epoch, 8 bytes | inviter 32 | secret 32 |
 *                            count 1 | count x (length 1 | host:port) | first 4 bytes of SHA-256 of all
 *                            before )
 *
 * with little-endian integers and without padding.  The expiry in it is for people: the inviter's clock
 * decides.
 * Threads: decoding: any; the table: the loop. */
#ifndef DAEMON_MEMBERS_INVITATION_H
#define DAEMON_MEMBERS_INVITATION_H
#include "daemon/net/curve_keys.h"

#define INVITE_ENDPOINTS_MAX 8
#define INVITE_ENDPOINT_MAX (WIRE_ENDPOINT_MAX + 1)
#define INVITE_OPEN_MAX 16

struct invite {
	uint64_t expiry; /* seconds since the epoch */
	struct node_id server;
	struct keys keys;
	size_t nendpoints;
	char endpoints[INVITE_ENDPOINTS_MAX][INVITE_ENDPOINT_MAX]; /* tcp://host:port */
};

/* A string for the caller to free (and wipe: it is a secret); NULL: out of memory, or an endpoint is too
 * long. */
char *invite_encode(const struct invite *i);
/* 0, or -EINVAL with a sentence. */
int invite_decode(struct invite *i, const char *token, char *err, size_t errlen);

/* The invitations of this node; kept only in memory, until the daemon ends. */
struct invites {
	struct invite_open {
		struct node_id key;
		uint64_t until_ns; /* loop_now_ns; 0: free */
		bool used;
	} open[INVITE_OPEN_MAX];
};

/* -ENOSPC when the table is full of open ones. */
int invites_add(struct invites *v, const struct node_id *key, uint64_t until_ns);
/* Whether the key is that of an open invitation; if it was one, *why says what became of it. */
bool invites_admit(const struct invites *v, const struct node_id *key, const char **why);
void invites_use(struct invites *v, const struct node_id *key);

#endif
