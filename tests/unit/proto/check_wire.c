/* wire: every kind of message, made from its schema, is accepted in its receive contexts and in no others.  With any one field
 * out of its schema it is refused, and so is junk. */
#include "config.h"

#include "common/size.h"
#include "proto/frame.h"
#include "proto/schema.h"
#include <check.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages made from their schema ---------------------------------------------------------------- */

/* Everything of one case; its memory goes when the case ends. */
static void *pool[1 << 16];
static size_t npool;

static void *get(size_t n) {
	ck_assert_uint_lt(npool, sizeof pool / sizeof *pool);
	return pool[npool++] = calloc(1, n ? n : 1);
}

static void setup(void) {
	npool = 0;
}

static void teardown(void) {
	while (npool)
		free(pool[--npool]);
}

static const struct message_schema *schema_of(const ProtobufCMessageDescriptor *d) {
	for (size_t i = 0; i < schema_nmessages; i++)
		if (schema_messages[i].of == d)
			return &schema_messages[i];
	return NULL;
}

static char *text_of(size_t len) {
	char *s = get(len + 1);
	memset(s, 'x', len);
	return s;
}

static ProtobufCBinaryData bytes_of(size_t len) {
	return (ProtobufCBinaryData){len, get(len)};
}

static void number_put(const ProtobufCFieldDescriptor *f, void *at, double v) {
	switch (f->type) {
	case PROTOBUF_C_TYPE_FLOAT:
		*(float *)at = (float)v;
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		*(double *)at = v;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		*(uint64_t *)at = (uint64_t)v;
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = v != 0;
		break;
	default:
		*(uint32_t *)at = (uint32_t)v;
		break;
	}
}

static ProtobufCMessage *make(const ProtobufCMessageDescriptor *d);

static char *text_for(const struct field_schema *r, size_t least) {
	if (r->kind == FIELD_ENDPOINT)
		return strcpy(get(32), "tcp://10.0.0.1:7070");
	return text_of(least > 1 ? least : 1);
}

/* The smallest good value. */
static void field_make(const struct field_schema *r, const ProtobufCFieldDescriptor *f, char *m) {
	char *at = m + f->offset;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = r->min > 1 ? (size_t)r->min : 1;
		*(size_t *)(m + f->quantifier_offset) = n;
		void **list = get(n * sizeof(ProtobufCBinaryData));
		*(void ***)at = list;
		for (size_t i = 0; i < n; i++)
			if (f->type == PROTOBUF_C_TYPE_MESSAGE)
				list[i] = make(f->descriptor);
			else if (f->type == PROTOBUF_C_TYPE_STRING)
				list[i] = text_for(r, 1);
			else
				((ProtobufCBinaryData *)list)[i] = bytes_of(32);
	} else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		*(ProtobufCMessage **)at = make(f->descriptor);
	} else if (f->type == PROTOBUF_C_TYPE_STRING) {
		*(char **)at = text_for(r, (size_t)r->min);
	} else if (f->type == PROTOBUF_C_TYPE_BYTES) {
		*(ProtobufCBinaryData *)at = bytes_of(r->kind == FIELD_ID ? 32 : (size_t)r->min * 4);
	} else {
		number_put(f, at, r->min > 0 ? r->min : 0);
	}
}

static ProtobufCMessage *make(const ProtobufCMessageDescriptor *d) {
	ProtobufCMessage *m = get(d->sizeof_message);
	const struct message_schema *schema = schema_of(d);
	ck_assert_ptr_nonnull(schema);
	protobuf_c_message_init(d, m);
	for (unsigned i = 0; i < d->n_fields; i++)
		field_make(&schema->fields[i], &d->fields[i], (char *)m);
	return m;
}

/* The field of the envelope that a kind of body lies in. */
static const ProtobufCFieldDescriptor *body_field(unsigned i) {
	const ProtobufCFieldDescriptor *f = &caravan__envelope__descriptor.fields[i];
	return f->type == PROTOBUF_C_TYPE_MESSAGE ? f : NULL;
}

static Caravan__Envelope *envelope_make(const ProtobufCFieldDescriptor *f) {
	Caravan__Envelope *e = get(sizeof *e);
	caravan__envelope__init(e);
	e->body_case = (Caravan__Envelope__BodyCase)f->id;
	*(ProtobufCMessage **)((char *)e + f->offset) = make(f->descriptor);
	return e;
}

/* How long a payload may and may not be beside the smallest message. */
static const struct {
	unsigned kind;
	size_t good[3], bad[3];
} payloads[] = {
        {CARAVAN__ENVELOPE__BODY_BLOCK, {0}, {1, WIRE_BLOCK_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_PROBED, {1, 4096, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_STEP, {4, 4096, WIRE_PAYLOAD_MAX}, {2, 4097, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_STEP_DONE, {4, 4096, WIRE_PAYLOAD_MAX}, {2, 4097, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_SUBMIT, {4, 400, WIRE_PAYLOAD_MAX}, {3, 401, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_LOGITS, {4}, {3, 8, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_EMBEDDING, {4}, {3, 8, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_STREAM_BYTES, {1, 77, WIRE_STREAM_MAX}, {WIRE_STREAM_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_CTL_RUN, {1, 77, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_CTL_CHAT, {1, 77, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_CTL_LOGITS, {4, 400, WIRE_PAYLOAD_MAX}, {3, 401, WIRE_PAYLOAD_MAX + 4}},
        {CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, {1, 77, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_CTL_TEXT, {1, 77, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
        {CARAVAN__ENVELOPE__BODY_CTL_TOKENS, {4, 400, WIRE_PAYLOAD_MAX}, {WIRE_PAYLOAD_MAX + 1}},
};
#define NPAYLOADS (sizeof payloads / sizeof *payloads)

static size_t payload_for(unsigned kind) {
	for (size_t i = 0; i < NPAYLOADS; i++)
		if (payloads[i].kind == kind)
			return payloads[i].good[0];
	return 0;
}

static bool valid(const Caravan__Envelope *e, size_t payload, enum wire_context context) {
	char err[300] = "";
	bool good = wire_valid(e, payload, context, err, sizeof err);
	ck_assert_msg(good || err[0], "a refusal without a reason");
	return good;
}

/* The first context that accepts it. */
static int context_of(const Caravan__Envelope *e, size_t payload) {
	for (int d = WIRE_ROUTER; d <= WIRE_COMMAND; d++)
		if (valid(e, payload, (enum wire_context)d))
			return d;
	return -1;
}

/* ---- cases ---------------------------------------------------------------------------------------------- */

static void has_schema(const ProtobufCMessageDescriptor *d) {
	const struct message_schema *schema = schema_of(d);
	ck_assert_msg(schema, "%s has no schema", d->short_name);
	for (unsigned i = 0; i < d->n_fields; i++) {
		ck_assert_msg(schema->fields[i].tag == d->fields[i].id, "%s: no schema for %s", d->short_name,
		        d->fields[i].name);
		if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			has_schema(d->fields[i].descriptor);
	}
	ck_assert(d->n_fields == SCHEMA_FIELDS_MAX || schema->fields[d->n_fields].tag == 0);
}

START_TEST(every_field_has_a_schema) {
	for (unsigned i = 0; i < caravan__envelope__descriptor.n_fields; i++)
		if (body_field(i))
			has_schema(body_field(i)->descriptor);
}
END_TEST

START_TEST(every_kind_has_its_contexts) {
	unsigned kinds = 0;
	for (unsigned i = 0; i < caravan__envelope__descriptor.n_fields; i++) {
		const ProtobufCFieldDescriptor *f = body_field(i);
		if (!f)
			continue;
		Caravan__Envelope *e = envelope_make(f);
		size_t payload = payload_for(f->id);
		char err[300] = "";
		ck_assert_msg(context_of(e, payload) >= 0, "%s is accepted nowhere", f->name);
		kinds++;
		for (int d = WIRE_ROUTER; d <= WIRE_COMMAND; d++) {
			uint8_t *frame;
			size_t len;
			ck_assert_int_eq(wire_pack(e, &frame, &len), 0);
			Caravan__Envelope *back =
			        wire_unpack(frame, len, payload, (enum wire_context)d, err, sizeof err);
			ck_assert_int_eq(back != NULL, valid(e, payload, (enum wire_context)d));
			if (back)
				ck_assert_int_eq(back->body_case, e->body_case);
			wire_free(back);
			free(frame);
		}
		/* the control socket and the network have no message in common but Logits */
		bool net = valid(e, payload, WIRE_ROUTER) || valid(e, payload, WIRE_DEALER) ||
		           valid(e, payload, WIRE_ROUTER_INVITED);
		/* what one side asks, the other does not */
		ck_assert_msg(!valid(e, payload, WIRE_ROUTER) || !valid(e, payload, WIRE_DEALER),
		        "%s passes both ends of a link", f->name);
		bool ctl = valid(e, payload, WIRE_CONTROL) || valid(e, payload, WIRE_COMMAND);
		ck_assert_int_eq(net && ctl,
		        f->id == CARAVAN__ENVELOPE__BODY_LOGITS || f->id == CARAVAN__ENVELOPE__BODY_QUEUED);
		ck_assert_int_eq(
		        valid(e, payload, WIRE_ROUTER_INVITED), f->id == CARAVAN__ENVELOPE__BODY_JOIN);
	}
	ck_assert_uint_ge(kinds, 39);
}
END_TEST

static unsigned tried;

/* e has one field out of its schema. */
static void refused(const Caravan__Envelope *e, size_t payload, enum wire_context context,
        const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f, const char *what) {
	tried++;
	ck_assert_msg(!valid(e, payload, context), "%s.%s: %s passed", d->short_name, f->name, what);
}

static void break_text(const Caravan__Envelope *e, size_t payload, enum wire_context context,
        const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f, const struct field_schema *r,
        char **at) {
	char *kept = *at;
	*at = (char *)"a\xff";
	refused(e, payload, context, d, f, "not UTF-8");
	*at = (char *)"a\xed\xa0\x80";
	refused(e, payload, context, d, f, "a surrogate");
	*at = (char *)"a\xed\xbf\xbf";
	refused(e, payload, context, d, f, "the last surrogate");
	*at = (char *)"a\xc0\x80";
	refused(e, payload, context, d, f, "an overlong character");
	*at = (char *)"a\xe2\x82";
	refused(e, payload, context, d, f, "half a character");
	*at = text_of(WIRE_PAYLOAD_MAX / 64);
	refused(e, payload, context, d, f, "a very long text");
	if (r->kind != FIELD_TEXT) {
		*at = (char *)"a\nb";
		refused(e, payload, context, d, f, "two lines");
		*at = (char *)"a\x7f";
		refused(e, payload, context, d, f, "a control character");
		*at = (char *)"a\xc2\x85";
		refused(e, payload, context, d, f, "another control character");
	}
	if (r->kind == FIELD_NAME || r->kind == FIELD_NAME_OR_EMPTY) {
		*at = text_of(WIRE_NAME_MAX + 1);
		refused(e, payload, context, d, f, "a long name");
		*at = (char *)"../a";
		refused(e, payload, context, d, f, "a path");
	}
	if (r->kind == FIELD_NAME || (r->kind == FIELD_LINE && r->min > 0)) {
		*at = (char *)"";
		refused(e, payload, context, d, f, "nothing");
	}
	if (r->kind == FIELD_ENDPOINT) {
		*at = (char *)"ipc:///tmp/x";
		refused(e, payload, context, d, f, "another transport");
	}
	*at = kept;
}

static void break_all(
        const Caravan__Envelope *e, size_t payload, enum wire_context context, ProtobufCMessage *m);

static void break_field(const Caravan__Envelope *e, size_t payload, enum wire_context context,
        ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const struct field_schema *r) {
	const ProtobufCMessageDescriptor *d = m->descriptor;
	char *at = (char *)m + f->offset;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t *n = (size_t *)((char *)m + f->quantifier_offset), kept = *n;
		void **list = *(void ***)at;
		if (r->min > 0) {
			*n = 0;
			refused(e, payload, context, d, f, "an empty list");
		}
		size_t many = (size_t)r->max + 1,
		       size = f->type == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData) : sizeof(void *);
		char *longer = get(many * size);
		for (size_t i = 0; i < many; i++)
			memcpy(longer + i * size, list, size);
		*(void **)at = longer;
		*n = many;
		refused(e, payload, context, d, f, "a list too long");
		*(void ***)at = list;
		*n = kept;
		if (f->type == PROTOBUF_C_TYPE_MESSAGE)
			break_all(e, payload, context, list[0]);
		else if (f->type == PROTOBUF_C_TYPE_STRING)
			break_text(e, payload, context, d, f, r, (char **)list);
		else {
			((ProtobufCBinaryData *)list)->len = 31;
			refused(e, payload, context, d, f, "a short id");
			((ProtobufCBinaryData *)list)->len = 32;
		}
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		ProtobufCMessage *kept = *(ProtobufCMessage **)at;
		*(ProtobufCMessage **)at = NULL;
		if (r->min > 0)
			refused(e, payload, context, d, f, "no message");
		else
			ck_assert(valid(e, payload, context));
		*(ProtobufCMessage **)at = kept;
		break_all(e, payload, context, kept);
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		break_text(e, payload, context, d, f, r, (char **)at);
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_BYTES) {
		ProtobufCBinaryData *b = (ProtobufCBinaryData *)at, kept = *b;
		b->len = kept.len - 1;
		refused(e, payload, context, d, f, "a byte short");
		*b = bytes_of(kept.len + 1);
		refused(e, payload, context, d, f, "a byte long");
		b->len = 0;
		if (r->kind == FIELD_ID || r->min > 0)
			refused(e, payload, context, d, f, "no bytes");
		if (r->kind == FIELD_PACKED) {
			*b = bytes_of(((size_t)r->max + 1) * 4);
			refused(e, payload, context, d, f, "a word too many");
		}
		*b = kept;
		return;
	}
	uint64_t kept = 0;
	size_t size = f->type == PROTOBUF_C_TYPE_DOUBLE || f->type == PROTOBUF_C_TYPE_UINT64 ||
	                              f->type == PROTOBUF_C_TYPE_FIXED64
	                      ? 8
	                      : 4;
	if (r->kind == FIELD_ANY)
		return;
	memcpy(&kept, at, size);
	if (r->kind == FIELD_REAL) {
		number_put(f, at, (double)NAN);
		refused(e, payload, context, d, f, "not a number");
		number_put(f, at, (double)INFINITY);
		refused(e, payload, context, d, f, "infinity");
		number_put(f, at, r->min - 1);
		refused(e, payload, context, d, f, "too little");
		number_put(f, at, r->max * 2 + 1);
		refused(e, payload, context, d, f, "too much");
	} else {
		if (size == 8 || r->max < UINT32_MAX) {
			number_put(f, at, r->max * 2 + 1);
			refused(e, payload, context, d, f, "too much");
		}
		if (r->min > 0) {
			number_put(f, at, r->min - 1);
			refused(e, payload, context, d, f, "too little");
		}
	}
	memcpy(at, &kept, size);
}

static void break_all(
        const Caravan__Envelope *e, size_t payload, enum wire_context context, ProtobufCMessage *m) {
	const struct message_schema *schema = schema_of(m->descriptor);
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		break_field(e, payload, context, m, &m->descriptor->fields[i], &schema->fields[i]);
	ck_assert(valid(e, payload, context));
}

START_TEST(every_field_keeps_its_rule) {
	for (unsigned i = 0; i < caravan__envelope__descriptor.n_fields; i++) {
		const ProtobufCFieldDescriptor *f = body_field(i);
		if (!f)
			continue;
		Caravan__Envelope *e = envelope_make(f);
		size_t payload = payload_for(f->id);
		break_all(e, payload, (enum wire_context)context_of(e, payload),
		        *(ProtobufCMessage **)((char *)e + f->offset));
		teardown();
	}
	ck_assert_uint_gt(tried, 500);
	printf("# %u broken messages\n", tried);
}
END_TEST

START_TEST(payloads_belong_to_their_messages) {
	for (unsigned i = 0; i < caravan__envelope__descriptor.n_fields; i++) {
		const ProtobufCFieldDescriptor *f = body_field(i);
		size_t k = 0;
		if (!f)
			continue;
		Caravan__Envelope *e = envelope_make(f);
		enum wire_context context = (enum wire_context)context_of(e, payload_for(f->id));
		while (k < NPAYLOADS && payloads[k].kind != f->id)
			k++;
		if (k == NPAYLOADS) {
			ck_assert_msg(
			        !valid(e, 1, context) && !valid(e, 4, context) && !valid(e, 4096, context),
			        "%s takes a payload", f->name);
			continue;
		}
		for (int j = 0; j < 3; j++) {
			if (payloads[k].good[j])
				ck_assert_msg(valid(e, payloads[k].good[j], context), "%s: %zu", f->name,
				        payloads[k].good[j]);
			if (payloads[k].bad[j])
				ck_assert_msg(!valid(e, payloads[k].bad[j], context), "%s: %zu", f->name,
				        payloads[k].bad[j]);
		}
	}
	Caravan__Block piece = CARAVAN__BLOCK__INIT;
	Caravan__Envelope e = WIRE_ENVELOPE(BLOCK, block, &piece);
	piece.total = 1 << 20;
	ck_assert(valid(&e, WIRE_BLOCK_MAX, WIRE_DEALER));
	ck_assert(!valid(&e, 0, WIRE_DEALER));
	piece.total = 100;
	ck_assert(valid(&e, 100, WIRE_DEALER));
	ck_assert(!valid(&e, 101, WIRE_DEALER));
}
END_TEST

/* What fields say together. */
START_TEST(fields_agree) {
	const ProtobufCMessageDescriptor *env = &caravan__envelope__descriptor;
	Caravan__Envelope *e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "step"));
	Caravan__Step *s = e->step;
	s->rows = 2;
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->rows = 2;
	ck_assert(valid(e, 8, WIRE_ROUTER));
	ck_assert(!valid(e, 12, WIRE_ROUTER));
	s->seqs[0]->outputs = 3;
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->outputs = 2;
	s->seqs[0]->position = 62;
	ck_assert(valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->position = 63; /* into a second block, which it does not name */
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->position = 0;
	s->seqs[0]->keep = bytes_of(4); /* a position without a place */
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->keep = bytes_of(8);
	ck_assert(valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->keep.len = 0;
	s->seqs[0]->windows = bytes_of(8); /* two beside one block */
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->windows.len = 4;
	ck_assert(valid(e, 8, WIRE_ROUTER));
	s->seqs[0]->windows.len = 0;
	/* rows that add up only beyond 32 bits */
	Caravan__StepSeq *many[3] = {s->seqs[0], s->seqs[0], s->seqs[0]};
	s->seqs[0]->position = 0;
	s->seqs = many;
	s->n_seqs = 3;
	ck_assert(!valid(e, 8, WIRE_ROUTER));
	s->rows = 6;
	ck_assert(valid(e, 24, WIRE_ROUTER));

	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "plan"));
	Caravan__Plan *p = e->plan->plan;
	Caravan__Stage *a = p->stages[0], *b = (Caravan__Stage *)make(&caravan__stage__descriptor),
	               *two[2] = {a, b};
	p->stages = two;
	p->n_stages = 2;
	a->last = 4;
	b->first = 4;
	b->last = 9;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	b->first = 5;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	b->first = 3;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	b->first = 4;
	a->first = 1;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	a->first = 0;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	p->epoch->node.data[31] ^= 1; /* whose plan is it? */
	ck_assert(!valid(e, 0, WIRE_ROUTER));

	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "logits"));
	e->logits->rows = 3;
	e->logits->vocab = 512;
	ck_assert(valid(e, 3 * 512 * 4, WIRE_DEALER));
	ck_assert(!valid(e, 3 * 512 * 4 - 4, WIRE_DEALER));
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "stream_bytes"));
	ck_assert(valid(e, 0, WIRE_DEALER)); /* it begins, and has nothing yet */
	ck_assert(!valid(e, WIRE_STREAM_MAX + 1, WIRE_DEALER));
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "embedding"));
	e->embedding->dim = 512;
	ck_assert(valid(e, 512 * 4, WIRE_DEALER));
	ck_assert(!valid(e, 512 * 4 - 4, WIRE_DEALER));
	ck_assert(!valid(e, 512 * 4, WIRE_ROUTER));
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "submit"));
	e->submit->prompt = 100;
	ck_assert(valid(e, 400, WIRE_ROUTER));
	ck_assert(!valid(e, 396, WIRE_ROUTER));
	/* biases: pairs, of which the second is a bounded number */
	float pairs[4] = {0, WIRE_BIAS_LARGEST, 0, -WIRE_BIAS_LARGEST};
	e->submit->bias = (ProtobufCBinaryData){sizeof pairs, (uint8_t *)pairs};
	ck_assert(valid(e, 400, WIRE_ROUTER));
	const float bad[] = {1.01f * WIRE_BIAS_LARGEST, -1.01f * WIRE_BIAS_LARGEST, INFINITY, -INFINITY, NAN};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		pairs[3] = bad[i];
		ck_assert(!valid(e, 400, WIRE_ROUTER));
	}
	memcpy(pairs, &(uint32_t){UINT32_MAX}, sizeof(uint32_t)); /* any token id */
	e->submit->bias.len = 8;
	ck_assert(valid(e, 400, WIRE_ROUTER));
	e->submit->bias.len = 12;
	ck_assert(!valid(e, 400, WIRE_ROUTER));
	e->submit->bias.len = 0;
	/* log-probabilities: of all tokens or of none, and pairs, of which the second is one */
	float listed[4] = {0, 0, 0, WIRE_LOGPROB_LEAST};
	Caravan__TokenLogprobs *t[2];
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "tokens"));
	t[0] = e->tokens->logprobs[0];
	t[1] = t[0];
	e->tokens->logprobs = t;
	ck_assert(valid(e, 0, WIRE_DEALER));
	e->tokens->n_logprobs = 2;
	ck_assert(!valid(e, 0, WIRE_DEALER));
	e->tokens->ids = bytes_of(8);
	ck_assert(valid(e, 0, WIRE_DEALER));
	e->tokens->n_logprobs = 1;
	ck_assert(!valid(e, 0, WIRE_DEALER));
	e->tokens->n_logprobs = 0;
	ck_assert(valid(e, 0, WIRE_DEALER));
	e->tokens->n_logprobs = 2;
	t[0]->top = (ProtobufCBinaryData){sizeof listed, (uint8_t *)listed};
	ck_assert(valid(e, 0, WIRE_DEALER));
	const float no[] = {1.001f * WIRE_LOGPROB_LEAST, 1e-6f, INFINITY, -INFINITY, NAN};
	for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
		listed[3] = no[i];
		ck_assert(!valid(e, 0, WIRE_DEALER));
	}
	memcpy(listed, &(uint32_t){UINT32_MAX}, sizeof(uint32_t)); /* any token id */
	t[0]->top.len = 8;
	ck_assert(valid(e, 0, WIRE_DEALER));
	t[0]->top.len = 12;
	ck_assert(!valid(e, 0, WIRE_DEALER));
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "join"));
	e->join->entry->name = (char *)"";
	ck_assert(!valid(e, 0, WIRE_ROUTER_INVITED));
	e->join->entry->expelled = true; /* a tombstone needs none */
	ck_assert(valid(e, 0, WIRE_ROUTER_INVITED));
	/* figures of a model: parts of no more than there is */
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "ping"));
	Caravan__ModelState *model = e->ping->state->models[0];
	uint32_t bucket[WIRE_BOUNDS] = {2, [WIRE_BOUNDS - 1] = UINT32_MAX};
	model->first_token->buckets = (ProtobufCBinaryData){sizeof bucket, (uint8_t *)bucket};
	model->first_token->count = 2 + (uint64_t)UINT32_MAX;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	model->first_token->count--;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	model->first_token = NULL;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	Caravan__StreamState *stream = model->streams[0];
	stream->prompt = stream->prompt_done = stream->cached = stream->drafted = stream->accepted = 7;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	uint32_t *const wholes[] = {&stream->prompt, &stream->prompt_done, &stream->drafted};
	for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
		*wholes[i] = 6;
		ck_assert(!valid(e, 0, WIRE_ROUTER));
		*wholes[i] = 7;
	}
	/* experts of a stage: of its layers, in order, no more than there are */
	Caravan__StageState *stage = e->ping->state->stages[0];
	Caravan__ExpertLayer *layer = stage->expert_layers[0];
	uint32_t top[] = {7, 0}, share[] = {6000, 4000};
	stage->last = 3;
	stage->experts = layer->half = layer->in_memory = 8;
	layer->layer = 2;
	layer->top = wire_bytes(top, sizeof top);
	layer->share = wire_bytes(share, sizeof share);
	ck_assert(valid(e, 0, WIRE_ROUTER));
	uint32_t *const most[] = {&layer->layer, &layer->half, &layer->in_memory, &top[0], &share[0]};
	for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
		++*most[i];
		ck_assert(!valid(e, 0, WIRE_ROUTER));
		--*most[i];
	}
	layer->share.len = sizeof *share;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	layer->share.len = sizeof share;
	stage->first = 2;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	layer->layer = 1;
	ck_assert(!valid(e, 0, WIRE_ROUTER));
	stage->first = 0;
	Caravan__ExpertLayer next = *layer, *both[] = {layer, &next};
	stage->expert_layers = both;
	stage->n_expert_layers = 2;
	ck_assert(!valid(e, 0, WIRE_ROUTER)); /* one twice */
	next.layer = 2;
	ck_assert(valid(e, 0, WIRE_ROUTER));
	e = envelope_make(protobuf_c_message_descriptor_get_field_by_name(env, "ctl_chat"));
	ck_assert(valid(e, 10, WIRE_CONTROL));
	e->ctl_chat->run->special = true; /* what is in a message is text */
	ck_assert(!valid(e, 10, WIRE_CONTROL));
}
END_TEST

static bool unpacks(const uint8_t *frame, size_t len, enum wire_context context) {
	char err[300] = "";
	Caravan__Envelope *e = wire_unpack(frame, len, 0, context, err, sizeof err);
	ck_assert_msg(e || err[0], "a refusal without a reason");
	wire_free(e);
	return e != NULL;
}

START_TEST(junk_frames) {
	static uint8_t frame[WIRE_ENVELOPE_MAX + 1];
	ck_assert(!unpacks(frame, 0, WIRE_ROUTER));
	ck_assert(!unpacks(frame, 1, WIRE_ROUTER));
	char err[300];
	ck_assert_ptr_null(wire_unpack(frame, sizeof frame, 0, WIRE_ROUTER, err, sizeof err));
	ck_assert_msg(strncmp(err, "an envelope of ", 15) == 0, "%s", err);
	/* no body; a body that is not known */
	ck_assert(!unpacks((const uint8_t *)"\x10\x01", 2, WIRE_ROUTER));
	ck_assert(!unpacks((const uint8_t *)"\xfa\x3f\x00", 3, WIRE_ROUTER));
	/* parts of two bytes that grow to fifty each: the budget ends it */
	size_t n = 0;
	const size_t inner = WIRE_ENVELOPE_MAX - 16, state = inner - 4;
	frame[n++] = 15 << 3 | 2; /* ping */
	frame[n++] = (uint8_t)(inner | 0x80);
	frame[n++] = (uint8_t)(inner >> 7 | 0x80);
	frame[n++] = (uint8_t)(inner >> 14);
	frame[n++] = 2 << 3 | 2; /* state */
	frame[n++] = (uint8_t)(state | 0x80);
	frame[n++] = (uint8_t)(state >> 7 | 0x80);
	frame[n++] = (uint8_t)(state >> 14);
	for (size_t i = 0; i < state; i += 2) {
		frame[n + i] = 7 << 3 | 2; /* an empty stage */
		frame[n + i + 1] = 0;
	}
	ck_assert_ptr_null(wire_unpack(frame, n + state, 0, WIRE_ROUTER, err, sizeof err));
	/* before all of them are there, and can be counted: that is another sentence */
	ck_assert_str_eq(err, "an envelope that cannot be unpacked");
	/* every cut and every flipped bit of a good one is an error or another message, never a fault */
	Caravan__Envelope *e = envelope_make(body_field(8));
	uint8_t *good;
	size_t len;
	ck_assert_int_eq(wire_pack(e, &good, &len), 0);
	for (int context = WIRE_ROUTER; context <= WIRE_COMMAND; context++)
		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *part = malloc(cut ? cut : 1);
			memcpy(part, good, cut);
			unpacks(part, cut, (enum wire_context)context);
			free(part);
		}
	for (size_t bit = 0; bit < len * 8; bit++) {
		good[bit / 8] ^= (uint8_t)(1 << bit % 8);
		unpacks(good, len, WIRE_ROUTER);
		good[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(good);
}
END_TEST

START_TEST(large_messages) {
	Caravan__Envelope *e = envelope_make(
	        protobuf_c_message_descriptor_get_field_by_name(&caravan__envelope__descriptor, "step"));
	uint8_t *frame;
	size_t len;
	e->step->seqs[0]->blocks = bytes_of(WIRE_ENVELOPE_MAX);
	ck_assert_int_eq(wire_pack(e, &frame, &len), -EMSGSIZE);
	ck_assert_ptr_null(frame);
}
END_TEST

START_TEST(names_and_places) {
	static const char *const good[] = {
	        "tcp://a:1", "tcp://10.0.0.1:7070", "tcp://host-2.lan:65535", "tcp://[::1]:80"};
	static const char *const bad[] = {"", "tcp://[fe80::1%eth0]:7070", "tcp://", "tcp://a",
	        "tcp://a:", "tcp://a:0", "tcp://a:65536", "tcp://a:7x", "tcp://:7070", "tcp://a;b:1",
	        "tcp://a:1;tcp://b:2", "ipc://x", "inproc://x:1", "tcp://[::1:80", "tcp://[]:1",
	        "tcp://*:7070", "tcp://a b:1", "tcp://a:000007070", "TCP://a:1"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(wire_endpoint_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!wire_endpoint_ok(bad[i]), "%s", bad[i]);
	ck_assert(wire_name_ok("a") && wire_name_ok("Llama-3.1_70B"));
	ck_assert(!wire_name_ok("") && !wire_name_ok(".a") && !wire_name_ok("a/b") &&
	          !wire_name_ok("\xc3\xa9"));
	ck_assert(wire_line_ok("caf\xc3\xa9 \xf0\x9f\x90\xab", 100) && !wire_line_ok("tab\t", 100) &&
	          !wire_line_ok("abc", 2));
	/* what is cut anywhere is still a line, and loses no whole character */
	static const char line[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xabz";
	static const size_t check[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
	for (size_t max = 0; max < sizeof line; max++) {
		char cut[sizeof line];
		memcpy(cut, line, sizeof cut);
		wire_line_cut(cut, max);
		ck_assert(wire_line_ok(cut, max) && strlen(cut) == check[max]);
		snprintf(cut, max + 1, "%s", line); /* cut before */
		wire_line_cut(cut, sizeof cut - 1);
		ck_assert(wire_line_ok(cut, max) && strlen(cut) == check[max]);
	}

	struct node_id a, b;
	char hex[NODE_ID_HEX];
	memset(&a, 0xab, sizeof a);
	memset(&b, 0xac, sizeof b);
	ck_assert(node_id_compare(&a, &b) < 0 && node_id_equal(&a, &a) && !node_id_equal(&a, &b));
	ck_assert_int_eq(strncmp(node_id_hex(&a, hex), "abab", 4), 0);
	ck_assert_int_eq(node_id_from_bytes(&b, (ProtobufCBinaryData){31, a.b}), -EINVAL);
	ck_assert_int_eq(node_id_from_bytes(&b, (ProtobufCBinaryData){32, a.b}), 0);
	Caravan__Epoch x = CARAVAN__EPOCH__INIT, y = CARAVAN__EPOCH__INIT;
	memset(&b, 0xac, sizeof b);
	x.node = (ProtobufCBinaryData){32, a.b};
	y.node = (ProtobufCBinaryData){32, b.b};
	ck_assert(wire_epoch_compare(&x, &y) < 0 && wire_epoch_compare(&y, &x) > 0 &&
	          wire_epoch_compare(&x, &x) == 0);
	x.counter = 1;
	ck_assert(wire_epoch_compare(&x, &y) > 0);
}
END_TEST

START_TEST(frames_take_what_messages_may_have) {
	static const struct {
		size_t envelope, payload;
		int rc;
	} try[] = {{1, 0, 0}, {WIRE_ENVELOPE_MAX, WIRE_PAYLOAD_MAX, 0}, {WIRE_ENVELOPE_MAX + 1, 0, -EMSGSIZE},
	        {1, WIRE_PAYLOAD_MAX + 1, -EMSGSIZE}, {UINT32_MAX, UINT32_MAX, -EMSGSIZE}};
	for (size_t i = 0; i < sizeof try / sizeof *try; i++) {
		uint8_t header[FRAME_HEADER];
		size_t envelope, payload;
		frame_header(header, try[i].envelope, try[i].payload);
		ck_assert_int_eq(frame_parse(header, &envelope, &payload), try[i].rc);
		ck_assert_uint_eq(envelope, try[i].envelope);
		ck_assert_uint_eq(payload, try[i].payload);
	}
}
END_TEST

START_TEST(sizes_have_three_digits) {
	static const struct {
		double bytes;
		const char *text;
	} say[] = {{0, "0 B"}, {1, "1 B"}, {999, "999 B"}, {1000, "0.977 KiB"}, {1023, "0.999 KiB"},
	        {1024, "1.00 KiB"}, {10235, "10.0 KiB"}, {10240, "10.0 KiB"}, {102348, "99.9 KiB"},
	        {102400, "100 KiB"}, {1023487, "999 KiB"}, {1024000, "0.977 MiB"}, {1 << 20, "1.00 MiB"},
	        {4479517, "4.27 MiB"}, {38.6 * 1073741824, "38.6 GiB"}, {1ull << 40, "1024 GiB"},
	        {18446744073709551615.0, "17179869184 GiB"}, {1e300, "1000000000000000 GiB"}};
	for (size_t i = 0; i < sizeof say / sizeof *say; i++)
		ck_assert_str_eq(size_text(say[i].bytes).s, say[i].text);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("wire");
	TCase *t = tcase_create("wire");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_field_has_a_schema);
	tcase_add_test(t, every_kind_has_its_contexts);
	tcase_add_test(t, every_field_keeps_its_rule);
	tcase_add_test(t, sizes_have_three_digits);
	tcase_add_test(t, frames_take_what_messages_may_have);
	tcase_add_test(t, payloads_belong_to_their_messages);
	tcase_add_test(t, fields_agree);
	tcase_add_test(t, junk_frames);
	tcase_add_test(t, large_messages);
	tcase_add_test(t, names_and_places);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
