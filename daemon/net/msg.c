/* msg: see msg.h. */
#include "config.h"

#include "daemon/net/msg.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- in ------------------------------------------------------------------------------------------- */

static void received_release(void *arg) {
	zmq_msg_close(arg);
	free(arg);
}

/* Makes a payload of a frame, which is emptied. */
static struct payload *payload_of(zmq_msg_t *frame) {
	/* float32 and uint32 are read where they lie; libzmq aligns to 8 what it decrypts, but does not promise it */
	if ((uintptr_t)zmq_msg_data(frame) % 8 != 0 || zmq_msg_size(frame) < 64)
		return payload_copy(zmq_msg_data(frame), zmq_msg_size(frame));
	zmq_msg_t *kept = malloc(sizeof *kept);
	if (!kept)
		return NULL;
	zmq_msg_init(kept);
	zmq_msg_move(kept, frame);
	struct payload *p = payload_wrap(zmq_msg_data(kept), zmq_msg_size(kept), received_release, kept);
	if (!p)
		received_release(kept);
	return p;
}

static int author_of(struct node_id *id, zmq_msg_t *frame) {
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

/* Takes the frames that are left of a message. */
static void rest_drop(void *socket, zmq_msg_t *frame) {
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
		        author_of(&m->from, &m->envelope) != 0) {
			rest_drop(socket, &m->envelope);
			rc = -EPERM;
			goto error;
		}
	}
	m->fd = zmq_msg_get(&m->envelope, ZMQ_SRCFD);
	if (zmq_msg_more(&m->envelope)) {
		if (zmq_msg_recv(&second, socket, ZMQ_DONTWAIT) < 0 || zmq_msg_more(&second) ||
		        zmq_msg_size(&second) == 0 || zmq_msg_size(&second) > WIRE_PAYLOAD_MAX) {
			rest_drop(socket, &second);
			rc = -EBADMSG;
		} else if (!(m->payload = payload_of(&second))) {
			rc = -EBADMSG; /* no memory: the link is lost, which is what the sender has to know */
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

/* Both run on libzmq's thread, and so only release memory. */
static void frame_release(void *data, void *hint) {
	(void)hint;
	free(data);
}

static void payload_release(void *data, void *hint) {
	(void)data;
	payload_unref(hint);
}

static int frame_send(void *socket, zmq_msg_t *frame, int flags) {
	if (zmq_msg_send(frame, socket, flags | ZMQ_DONTWAIT) >= 0)
		return 0;
	int rc = errno == EAGAIN || errno == EHOSTUNREACH ? -errno : -ECONNRESET;
	zmq_msg_close(frame);
	return rc;
}

int msg_send(
        void *socket, const struct msg_route *route, uint8_t *frame, size_t len, struct payload *payload) {
	zmq_msg_t m;
	int rc;
	if (route) {
		/* this frame alone is answered for the whole message: full, unreachable, or taken */
		if (zmq_msg_init_size(&m, route->len) != 0) {
			free(frame);
			return -EAGAIN;
		}
		memcpy(zmq_msg_data(&m), route->id, route->len);
		rc = frame_send(socket, &m, ZMQ_SNDMORE);
		if (rc) {
			free(frame);
			return rc;
		}
	}
	if (zmq_msg_init_data(&m, frame, len, frame_release, NULL) != 0) {
		free(frame);
		return -ECONNRESET;
	}
	rc = frame_send(socket, &m, payload ? ZMQ_SNDMORE : 0);
	if (rc || !payload)
		return rc && route ? -ECONNRESET : rc;
	if (zmq_msg_init_data(&m, payload_data(payload), payload_len(payload), payload_release, payload) != 0)
		return -ECONNRESET;
	payload_ref(payload);
	rc = frame_send(socket, &m, 0);
	return rc ? -ECONNRESET : 0;
}
