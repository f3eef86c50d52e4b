/* wire: envelopes: version, limits, framing, validation.
 *
 * Owns: the limits below, the table of which message may arrive where, and the validation of every message after unpacking
 * and before use.  What wire_unpack returns is safe to read: ids have their length, strings are short UTF-8 without control
 * characters, packed arrays are complete, counts agree with each other and with the length of the payload.  What depends on the
 * state of a node (does this model exist, is this block in bounds) is checked where that state is.
 *
 * The legal order on a link between nodes (each direction numbers its messages 1, 2, 3 ... with one boot id):
 *
 *     who sends            first     answer              after it
 *     DEALER of a member   Hello     Welcome, Refused    requests and steps; the ROUTER only answers, each answer
 *                                                        with the ref of its question
 *     DEALER of a guest    Join      Joined, Refused     nothing: the link is closed
 *
 * Refused with ref 0 is about the link itself, which is lost.  So it is after a gap in the numbers, another boot id, a message
 * before Hello, a second Hello, an extra frame, or a message that is not accepted in this context.
 *
 * Threads: pure; any thread. */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H
#include "proto/caravan.pb-c.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* WIRE_1_2: the minor version since which nodes compare plans and take them over, list and remove models on disks, measure
 * when asked, and say in pongs whom they reach.  WIRE_1_3: since which they know the keys of the HTTP API, grammars,
 * biases and embeddings.  WIRE_1_4: since which they know log-probabilities, reasoning before a grammar, and pass on
 * streams that they keep.  WIRE_1_5: since which they list events. */
#define WIRE_1_2 2
#define WIRE_1_3 3
#define WIRE_1_4 4
#define WIRE_1_5 5
#define WIRE_MAJOR 1
#define WIRE_MINOR 5 /* what each minor version brought: doc/protocol.md */
#define WIRE_ENVELOPE_MAX (64u << 10)
#define WIRE_PAYLOAD_MAX (4u << 20)
#define WIRE_BLOCK_MAX (256u << 10) /* bytes of content in one Block */
#define WIRE_NAME_MAX 64            /* bytes of a node's or a model's name */
#define WIRE_TEXT_MAX 1024          /* bytes of a reason */
#define WIRE_ENDPOINT_MAX 127       /* bytes of an endpoint */
#define WIRE_ENDPOINTS_MAX 6        /* endpoints of a node */
#define WIRE_NODES_MAX 256
#define WIRE_KEYS_MAX 256 /* API keys of a cluster, with those that were revoked lately */
#define WIRE_STAGES_MAX 256
#define WIRE_TIMES_MAX (WIRE_STAGES_MAX + 1)
#define WIRE_STREAMS_MAX 64         /* sequences that are listed of a model */
#define WIRE_EXPERT_LAYERS_MAX 256  /* layers whose experts are reported of a stage */
#define WIRE_EXPERTS_MAX 1024       /* of a layer */
#define WIRE_EXPERTS_TOP_MAX 16     /* of these that are named */
#define WIRE_BOUNDS 14              /* buckets of a Histogram */
#define WIRE_SEQS_MAX 256           /* sequences in a step */
#define WIRE_KEEPS_MAX 8            /* states of a sequence that a step keeps */
#define WIRE_KV_MAX 1               /* types of KV cache are 0 to this */
#define WIRE_ROWS_MAX 4096          /* rows in a step */
#define WIRE_CONTEXT_MAX (1u << 24) /* positions of a sequence */
#define WIRE_STOPS_MAX 16
#define WIRE_GRAMMAR_MAX (48u << 10)  /* bytes of a grammar's text */
#define WIRE_TEMPLATE_MAX (48u << 10) /* bytes of a chat template that a user names */
#define WIRE_TOP_LOGPROBS_MAX 20      /* most likely tokens at a position */
#define WIRE_LOGPROB_LEAST (-9999.0f) /* of a token */
#define WIRE_BIASES_MAX 300           /* tokens of a sequence with a bias */
#define WIRE_BIAS_LARGEST 1e30f       /* magnitude of a bias */
#define WIRE_BELIEFS_MAX 64           /* plans of one coordinator, loads under way included */
#define WIRE_INVENTORY_MAX 512        /* words of 32 tensors in an InventoryReply */
#define WIRE_WAYS_MAX 512             /* ways of products that a node lists */
#define WIRE_GAIN_MAX 1000.0          /* the most that one, or huge pages, can gain */
#define WIRE_WORK_MAX 32              /* loads and copies of a node that its state lists */
#define WIRE_MODELS_MAX 256           /* models in a list */
#define WIRE_TYPE_MAX 16              /* bytes of the name of a weight type */
#define WIRE_RISK_MAX 512             /* bytes of the sentence that says what would not survive a loss */
#define WIRE_TOKEN_MAX 2048           /* bytes of an invitation */
#define WIRE_UNPACKED_MAX (1u << 20)  /* memory that one envelope may take */

/* Of events: bytes of their text, of the name of a kind or part, and of one packed; parts of an event; events in a list. */
#define WIRE_EVENT_TEXT_MAX 500
#define WIRE_EVENT_KIND_MAX 32
#define WIRE_EVENT_MAX 2048
#define WIRE_EVENT_PARTS_MAX 12
#define WIRE_EVENTS_MAX 128

/* Of streams of the HTTP API: bytes of an id, of what a message has of one, and of what may be in flight. */
#define WIRE_STREAM_ID_MAX 80
#define WIRE_STREAM_MAX (16u << 10)
#define WIRE_STREAM_WINDOW_MAX (1u << 20)

/* Seconds: the upper bounds of a Histogram's buckets. */
extern const double wire_bounds[WIRE_BOUNDS];

struct node_id {
	uint8_t b[32]; /* CURVE public key */
};
bool node_id_equal(const struct node_id *a, const struct node_id *b);
int node_id_compare(const struct node_id *a, const struct node_id *b);
#define NODE_ID_HEX 65
char *node_id_hex(const struct node_id *id, char out[NODE_ID_HEX]);
int node_id_from_bytes(struct node_id *id, ProtobufCBinaryData b); /* 0 or -EINVAL */

/* Initializes an envelope with this body:  Caravan__Envelope env = WIRE_ENVELOPE(PLAN, plan, &announce); */
#define WIRE_ENVELOPE(kind, field, message) \
	{ \
		.base = PROTOBUF_C_MESSAGE_INIT(&caravan__envelope__descriptor), \
		.body_case = CARAVAN__ENVELOPE__BODY_##kind, .field = (message) \
	}

/* Strings and bytes of a message that is only packed: protobuf-c does not call them const, and does not write to them. */
static inline char *wire_string(const char *s) {
	return (char *)(uintptr_t)s;
}
static inline ProtobufCBinaryData wire_bytes(const void *data, size_t len) {
	return (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)data};
}
/* Number i of packed little-endian uint32s. */
static inline uint32_t wire_packed_at(ProtobufCBinaryData b, size_t i) {
	uint32_t v;
	memcpy(&v, b.data + i * sizeof v, sizeof v);
	return v;
}
static inline ProtobufCBinaryData wire_node(const struct node_id *id) {
	return wire_bytes(id->b, sizeof id->b);
}

/* Where a message is received. */
enum wire_context {
	WIRE_ROUTER,         /* from a node of the roster, at our ROUTER: requests, steps */
	WIRE_ROUTER_INVITED, /* from the holder of an invitation: only Join */
	WIRE_DEALER,         /* at one of our DEALERs: answers */
	WIRE_CONTROL,        /* at the control socket, from a command */
	WIRE_COMMAND         /* at a command, from its daemon */
};

/* Unpacks and validates; the allocator is budgeted.  payload_len: of the frame beside it, 0 for none.
 * NULL with a sentence in err (which never quotes payload or text of a prompt). */
Caravan__Envelope *wire_unpack(const void *frame, size_t len, size_t payload_len, enum wire_context context,
        char *err, size_t errlen);
void wire_free(Caravan__Envelope *e); /* NULL allowed */

/* Packs into a malloc'd frame. 0, -EMSGSIZE over WIRE_ENVELOPE_MAX, -ENOMEM. */
int wire_pack(const Caravan__Envelope *e, uint8_t **frame, size_t *len);

/* Whether a message that we made would be accepted: for tests, and for commands before they send. */
bool wire_valid(
        const Caravan__Envelope *e, size_t payload_len, enum wire_context context, char *err, size_t errlen);

/* Total order of epochs: counter, then node. */
int wire_epoch_compare(const Caravan__Epoch *a, const Caravan__Epoch *b);

/* Whether s is a name for a node or a model: 1..WIRE_NAME_MAX bytes of letters, digits, and . _ - that begin with a letter or digit. */
bool wire_name_ok(const char *s);
/* Whether s is one line of UTF-8 without control characters, at most max bytes. */
bool wire_line_ok(const char *s, size_t max);
/* Cuts s to at most max bytes, and off a character that is not whole at its end: what was good UTF-8 before it was cut is
 * so again. */
void wire_line_cut(char *s, size_t max);
/* Whether s is tcp://host:port, the host a name or an address (IPv6 in brackets), with nothing else in it, at most
 * WIRE_ENDPOINT_MAX bytes. */
bool wire_endpoint_ok(const char *s);

#endif
