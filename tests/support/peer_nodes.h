/* peer_nodes: several nodes on one loop that are nothing but peers, over real sockets of this machine.  They answer
 * what they are asked and count what they see.  Everything ends the test on failure. */
#ifndef TESTS_SUPPORT_PEER_NODES_H
#define TESTS_SUPPORT_PEER_NODES_H
#include "daemon/net/peers.h"
#include "tests/support/nodes_wait.h"

#define NODES 3

struct node {
	struct keys keys;
	struct peers *peers;
	bool refuses[NODES + 1];     /* the keys of the others that it does not admit */
	const struct node_id *guest; /* the key of an invitation */
	unsigned ups, downs, words, heard;
	uint32_t minor, arithmetic;
	char why[240];
	unsigned pings, pongs, steps, acks, refusals;
	uint64_t bytes, expect; /* received; number of the next message */
	bool disorder;
	char refusal[200];
	struct peers_from asked; /* the last question */
	bool quiet;              /* does not answer */
	char looked[64];         /* the address whose node it was to name for its log */
};
extern struct node nodes[NODES + 1];

void peer_setup(void); /* a loop, and keys for all */
void peer_teardown(void);

enum peers_verdict node_admit(void *arg, const struct node_id *key, const char **why);
void node_start_at(struct node *n, const char *listen);
void node_start(struct node *n);
void node_stop(struct node *n);
void node_call(struct node *from, struct node *to);
void two_nodes(void); /* the first two, linked both ways */

int send_ping(struct node *from, const struct node_id *to, uint64_t time);
/* Makes a step of a node, with its number in the payload's first and last word, and gives it to `give`: what that returns. */
typedef int give_step_fn(void *arg, Caravan__Envelope *env, struct payload *payload);
int make_step(struct node *from, uint64_t number, size_t bytes, give_step_fn *give, void *arg);
int send_step(
        struct node *from, const struct node_id *to, enum peers_channel ch, uint64_t number, size_t bytes);

#endif
