/* msg: see msg.h. */
#include "config.h"

#include "daemon/net/msg.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- in ------------------------------------------------------------------------------------------- */

static void msg_release_received(void *arg) {
	zmq_msg_close(arg);
	free(arg);
}

/* Moves a frame into a payload. */
static struct payload *msg_make_payload(zmq_msg_t *frame) {
	/* float32 and uint32 are read in place; libzmq aligns decrypted frames to 8, but does not guarantee it */
	if ((uintptr_t)zmq_msg_data(frame) % 8 != 0 || zmq_msg_size(frame) < 64)
		return payload_copy(zmq_msg_data(frame), zmq_msg_size(frame));
	zmq_msg_t *kept = malloc(sizeof *kept);
	if (!kept)
		return NULL;
	zmq_msg_init(kept);
	zmq_msg_move(kept, frame);
	struct payload *p = payload_wrap(zmq_msg_data(kept), zmq_msg_size(kept), msg_release_received, kept);
	if (!p)
		msg_release_received(kept);
	return p;
}

int msg_author(struct node_id *id, zmq_msg_t *frame) {
	const char *hex = zmq_msg_gets(frame, "User-Id");
	if (!hex || strlen(hex) != NODE_ID_HEX - 1)
		return -EPERM;
	for (size_t i = 0; i < sizeof id->b; i++) {
		const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
		char *end;
		id->b[i] = (uint8_t)strtoul(pair, &end, 16);
		if (*end)
			return -EPERM;
	}
	return 0;
}

/* Discards the remaining frames of a message. */
static void msg_drop_rest(void *socket, zmq_msg_t *frame) {
	while (zmq_msg_more(frame))
		if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0)
			return;
}

int msg_receive(struct msg *m, void *socket, bool router) {
	zmq_msg_t second;
	int rc = 1;
	m->payload = NULL;
	zmq_msg_init(&m->envelope);
	zmq_msg_init(&second);
	if (zmq_msg_recv(&m->envelope, socket, ZMQ_DONTWAIT) < 0) {
		rc = 0;
		goto error;
	}
	if (router) {
		m->route.len = (uint8_t)zmq_msg_size(&m->envelope);
		memcpy(m->route.id, zmq_msg_data(&m->envelope), m->route.len);
		if (!zmq_msg_more(&m->envelope) || zmq_msg_recv(&m->envelope, socket, ZMQ_DONTWAIT) < 0 ||
		        msg_author(&m->from, &m->envelope) != 0) {
			msg_drop_rest(socket, &m->envelope);
			rc = -EPERM;
			goto error;
		}
	}
	m->fd = zmq_msg_get(&m->envelope, ZMQ_SRCFD);
	if (zmq_msg_more(&m->envelope)) {
		if (zmq_msg_recv(&second, socket, ZMQ_DONTWAIT) < 0 || zmq_msg_more(&second) ||
		        zmq_msg_size(&second) == 0 || zmq_msg_size(&second) > WIRE_PAYLOAD_MAX) {
			msg_drop_rest(socket, &second);
			rc = -EBADMSG;
		} else if (!(m->payload = msg_make_payload(&second))) {
			rc = -EBADMSG; /* out of memory: ends the link, so that the sender notices */
		}
	}
	if (zmq_msg_size(&m->envelope) == 0 || zmq_msg_size(&m->envelope) > WIRE_ENVELOPE_MAX)
		rc = -EBADMSG;
	zmq_msg_close(&second);
	return rc;
error:
	zmq_msg_close(&second);
	msg_close(m);
	return rc;
}

void msg_close(struct msg *m) {
	zmq_msg_close(&m->envelope);
	payload_unref(m->payload);
	m->payload = NULL;
}

/* ---- out ------------------------------------------------------------------------------------------ */

struct msg_owed {
	atomic_uint refs;
	atomic_size_t bytes;
};

struct msg_owed *msg_owed_create(void) {
	struct msg_owed *o = malloc(sizeof *o);
	if (o) {
		atomic_init(&o->refs, 1);
		atomic_init(&o->bytes, 0);
	}
	return o;
}

void msg_owed_unref(struct msg_owed *o) {
	if (o && atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
		free(o);
}

size_t msg_owed_bytes(const struct msg_owed *o) {
	return atomic_load_explicit(&o->bytes, memory_order_relaxed);
}

/* A frame owned by libzmq. */
struct outgoing {
	struct msg_owed *owed; /* NULL: not counted */
	uint8_t *frame;        /* one of these two */
	struct payload *payload;
	size_t bytes;
	/* Orders our writes before libzmq's thread, as its queue does, in a way that the thread sanitizer sees. */
	atomic_bool whole;
};

/* On libzmq's thread: only releases memory. */
static void msg_release_outgoing(void *data, void *hint) {
	struct outgoing *o = hint;
	(void)data;
	(void)atomic_load_explicit(&o->whole, memory_order_acquire);
	if (o->owed) {
		atomic_fetch_sub_explicit(&o->owed->bytes, o->bytes, memory_order_relaxed);
		msg_owed_unref(o->owed);
	}
	payload_unref(o->payload);
	free(o->frame);
	free(o);
}

/* Makes a frame of bytes; owns them even if it fails. */
static int msg_make_frame(zmq_msg_t *m, void *data, size_t len, uint8_t *frame, struct payload *payload,
        struct msg_owed *owed) {
	struct outgoing *o = malloc(sizeof *o);
	if (!o || zmq_msg_init_data(m, data, len, msg_release_outgoing, o) != 0) {
		free(o);
		free(frame);
		payload_unref(payload);
		return -ECONNRESET;
	}
	*o = (struct outgoing){.owed = owed, .frame = frame, .payload = payload, .bytes = len};
	if (owed) {
		atomic_fetch_add_explicit(&owed->refs, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&owed->bytes, len, memory_order_relaxed);
	}
	atomic_store_explicit(&o->whole, true, memory_order_release);
	return 0;
}

static int msg_send_frame(void *socket, zmq_msg_t *frame, int flags) {
	if (zmq_msg_send(frame, socket, flags | ZMQ_DONTWAIT) >= 0)
		return 0;
	int rc = errno == EAGAIN || errno == EHOSTUNREACH ? -errno : -ECONNRESET;
	zmq_msg_close(frame);
	return rc;
}

int msg_send(void *socket, const struct msg_route *route, uint8_t *frame, size_t len, struct payload *payload,
        struct msg_owed *owed) {
	zmq_msg_t m;
	int rc;
	if (route) {
		/* the result of the first frame holds for the whole message */
		if (zmq_msg_init_size(&m, route->len) != 0) {
			free(frame);
			return -EAGAIN;
		}
		memcpy(zmq_msg_data(&m), route->id, route->len);
		rc = msg_send_frame(socket, &m, ZMQ_SNDMORE);
		if (rc) {
			free(frame);
			return rc;
		}
	}
	if ((rc = msg_make_frame(&m, frame, len, frame, NULL, owed)))
		return rc;
	rc = msg_send_frame(socket, &m, payload ? ZMQ_SNDMORE : 0);
	if (rc || !payload)
		return rc && route ? -ECONNRESET : rc;
	if ((rc = msg_make_frame(
	             &m, payload_data(payload), payload_len(payload), NULL, payload_ref(payload), owed)))
		return rc;
	rc = msg_send_frame(socket, &m, 0);
	return rc ? -ECONNRESET : 0;
}
