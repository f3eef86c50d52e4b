/* wire: see wire.h.  Which message may arrive where, with which payload; unpacking and packing. */
#include "config.h"

#include "proto/schema.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>

const double wire_bounds[WIRE_BOUNDS] = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};

/* ---- names --------------------------------------------------------------------------------------- */

bool node_id_equal(const struct node_id *a, const struct node_id *b) {
	return memcmp(a, b, sizeof *a) == 0;
}

int node_id_compare(const struct node_id *a, const struct node_id *b) {
	return memcmp(a, b, sizeof *a);
}

char *node_id_hex(const struct node_id *id, char out[NODE_ID_HEX]) {
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < sizeof id->b; i++) {
		out[2 * i] = digits[id->b[i] >> 4];
		out[2 * i + 1] = digits[id->b[i] & 15];
	}
	out[NODE_ID_HEX - 1] = 0;
	return out;
}

int node_id_from_bytes(struct node_id *id, ProtobufCBinaryData b) {
	if (b.len != sizeof id->b)
		return -EINVAL;
	memcpy(id->b, b.data, sizeof id->b);
	return 0;
}

bool wire_name_ok(const char *s) {
	size_t n = strlen(s);
	if (n < 1 || n > WIRE_NAME_MAX || !isalnum((unsigned char)*s) || (unsigned char)*s > 127)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

bool wire_endpoint_ok(const char *s) {
	static const char host_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	if (strncmp(s, "tcp://", 6) != 0 || strlen(s) > WIRE_ENDPOINT_MAX)
		return false;
	s += 6;
	size_t host;
	if (*s == '[') {
		host = strspn(s + 1, "0123456789abcdefABCDEF:.") + 1;
		if (host < 3 || s[host] != ']')
			return false;
		host++;
	} else {
		host = strspn(s, host_chars);
		if (host == 0)
			return false;
	}
	if (s[host] != ':')
		return false;
	s += host + 1;
	size_t digits = strspn(s, "0123456789");
	if (digits < 1 || digits > 5 || s[digits])
		return false;
	int port = atoi(s);
	return port >= 1 && port <= 65535;
}

int wire_epoch_compare(const Caravan__Epoch *a, const Caravan__Epoch *b) {
	if (a->counter != b->counter)
		return a->counter < b->counter ? -1 : 1;
	size_t n = a->node.len < b->node.len ? a->node.len : b->node.len;
	int c = n ? memcmp(a->node.data, b->node.data, n) : 0;
	return c ? c : (a->node.len > b->node.len) - (a->node.len < b->node.len);
}

/* ---- receive contexts ---------------------------------------------------------------------------------------- */

enum payload_rule {
	NO_PAYLOAD,
	TEXT_PAYLOAD,     /* any bytes, none too */
	IDS_PAYLOAD,      /* uint32s, one or more */
	BLOCK_PAYLOAD,    /* content, within the total */
	STEP_PAYLOAD,     /* float32, the same number for each row */
	FLOAT_PAYLOAD,    /* float32, none too */
	STREAM_PAYLOAD,   /* up to WIRE_STREAM_MAX bytes, none too */
	LOG_PAYLOAD,      /* uint32s, no fewer than the prompt */
	LOGITS_PAYLOAD,   /* rows x vocab float32 */
	EMBEDDING_PAYLOAD /* dim float32 */
};

#define R (1u << WIRE_ROUTER)
#define I (1u << WIRE_ROUTER_INVITED)
#define D (1u << WIRE_DEALER)
#define C (1u << WIRE_CONTROL)
#define A (1u << WIRE_COMMAND)

/* Which message may arrive where, and with what beside it. */
/* clang-format off */
static const struct kind {
	uint8_t body, contexts, payload;
} kinds[] = {
	{CARAVAN__ENVELOPE__BODY_HELLO, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_WELCOME, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_JOIN, I, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_JOINED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_ROSTER, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PING, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PONG, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_REFUSED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_KEY_UPDATE, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_FETCH, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_BLOCK, D, BLOCK_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_REDIRECT, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PROBE, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PROBED, D, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_MEASURE, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_MEASURED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PREPARE, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PROGRESS, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_READY, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PLAN, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_ACK, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_UNLOAD, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_INVENTORY, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_INVENTORY_REPLY, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_REPLICATE, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PLAN_CHECK, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_PLAN_CHECKED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STEP, R, STEP_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STEP_ACK, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STEP_DONE, R, FLOAT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STEP_FAILED, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CANCEL_STEP, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_SUBMIT, R, LOG_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_TOKENS, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_LOGITS, D | A, LOGITS_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_EMBEDDING, D, EMBEDDING_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_FINISHED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CANCEL, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_LOGITS_TAKEN, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_QUEUED, D | A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_OPEN_STREAM, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STREAM_BYTES, D, STREAM_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_STREAM_TAKEN, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CANCEL_STREAM, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_LIST_EVENTS, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_EVENT_LIST, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_EVENTS, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_EVENT, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_EVENTS_MISSING, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_INVITE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_JOIN, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_EXPEL, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_LEAVE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_LOAD, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_UNLOAD, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_STATUS, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_RUN, C, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_CHAT, C, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_CANCEL, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_LOGITS, C, IDS_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, C, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_PLAN, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_LIST_MODELS, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_MODEL_LIST, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_REMOVE_MODEL, R, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_REMOVED, D, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_MODELS, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_REMOVE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_MODEL, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_REMOVED, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_MEASURE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_MEASURED, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_KEY_CREATE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_KEY_REVOKE, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_KEYS, C, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_KEY_LIST, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_PROGRESS, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_TEXT, A, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_END, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_ERROR, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_TOKENS, A, TEXT_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_REPORT, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_ADVICE, A, NO_PAYLOAD},
	{CARAVAN__ENVELOPE__BODY_CTL_NOTE, A, NO_PAYLOAD},
};
/* clang-format on */
#undef R
#undef I
#undef D
#undef C
#undef A

static bool wire_payload_ok(const struct kind *k, const Caravan__Envelope *e, size_t len) {
	if (len > WIRE_PAYLOAD_MAX)
		return false;
	switch ((enum payload_rule)k->payload) {
	case NO_PAYLOAD:
		return len == 0;
	case TEXT_PAYLOAD:
		return true;
	case IDS_PAYLOAD:
		return len > 0 && len % 4 == 0;
	case BLOCK_PAYLOAD:
		return len <= WIRE_BLOCK_MAX && len <= e->block->total && (len > 0 || e->block->total == 0);
	case STEP_PAYLOAD:
		return len > 0 && len % (e->step->rows * (size_t)4) == 0;
	case FLOAT_PAYLOAD:
		return len % 4 == 0;
	case STREAM_PAYLOAD:
		return len <= WIRE_STREAM_MAX;
	case LOG_PAYLOAD:
		return len % 4 == 0 && len / 4 >= e->submit->prompt;
	case LOGITS_PAYLOAD:
		return (uint64_t)e->logits->rows * e->logits->vocab * 4 == len;
	case EMBEDDING_PAYLOAD:
		return (uint64_t)e->embedding->dim * 4 == len;
	}
	return false;
}

bool wire_valid(
        const Caravan__Envelope *e, size_t payload_len, enum wire_context context, char *err, size_t errlen) {
	const ProtobufCMessageDescriptor *d = e->base.descriptor;
	const struct kind *k = NULL;
	for (size_t i = 0; !k && i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].body == (unsigned)e->body_case)
			k = &kinds[i];
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, e->body_case);
	const ProtobufCMessage *body = f ? *(ProtobufCMessage *const *)((const char *)e + f->offset) : NULL;
	if (!k || !body) {
		snprintf(err, errlen, "an envelope without a known message");
		return false;
	}
	if (!(k->contexts & 1u << context)) {
		snprintf(err, errlen, "%s is not accepted here", body->descriptor->short_name);
		return false;
	}
	if (!schema_check(body, err, errlen))
		return false;
	if (!wire_payload_ok(k, e, payload_len)) {
		snprintf(err, errlen, "%s: an unexpected payload of %zu bytes", body->descriptor->short_name,
		        payload_len);
		return false;
	}
	return true;
}

/* ---- frames --------------------------------------------------------------------------------------- */

/* What unpacking may still take.  Small repeated parts grow to many times their bytes on the wire. */
struct budget {
	size_t left;
};

static void *wire_budget_alloc(void *arg, size_t size) {
	struct budget *b = arg;
	if (size > b->left)
		return NULL;
	b->left -= size;
	return malloc(size ? size : 1);
}

static void wire_budget_free(void *arg, void *p) {
	(void)arg;
	free(p);
}

Caravan__Envelope *wire_unpack(const void *frame, size_t len, size_t payload_len, enum wire_context context,
        char *err, size_t errlen) {
	struct budget budget = {WIRE_UNPACKED_MAX};
	ProtobufCAllocator allocator = {wire_budget_alloc, wire_budget_free, &budget};
	if (len == 0 || len > WIRE_ENVELOPE_MAX) {
		snprintf(err, errlen, "an envelope of %zu bytes", len);
		return NULL;
	}
	Caravan__Envelope *e = caravan__envelope__unpack(&allocator, len, frame);
	if (!e) {
		snprintf(err, errlen, "an envelope that cannot be unpacked");
		return NULL;
	}
	if (!wire_valid(e, payload_len, context, err, errlen)) {
		wire_free(e);
		return NULL;
	}
	return e;
}

void wire_free(Caravan__Envelope *e) {
	ProtobufCAllocator allocator = {wire_budget_alloc, wire_budget_free, NULL};
	if (e)
		caravan__envelope__free_unpacked(e, &allocator);
}

int wire_pack(const Caravan__Envelope *e, uint8_t **frame, size_t *len) {
	*frame = NULL;
	*len = caravan__envelope__get_packed_size(e);
	if (*len > WIRE_ENVELOPE_MAX)
		return -EMSGSIZE;
	*frame = malloc(*len ? *len : 1);
	if (!*frame)
		return -ENOMEM;
	caravan__envelope__pack(e, *frame);
	return 0;
}
