/* zap: see zap.h. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/net/zap.h"
#include "daemon/net/zmq_socket.h"
#include "daemon/net/zmq_watch.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

struct zap {
	struct zwatch *sock;
	zap_admit_fn *admit;
	void *arg;
};

/* The frames of a request, in order. */
enum { ZAP_VERSION, ZAP_REQUEST, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_IDENTITY, ZAP_MECHANISM, ZAP_KEY, ZAP_FRAMES };

struct frame {
	uint8_t data[256];
	size_t len;
};

static bool zap_frame_is(const struct frame *f, const char *text) {
	return f->len == strlen(text) && memcmp(f->data, text, f->len) == 0;
}

/* Receives all frames of a message; returns their number, -1 if there is no message. */
static int zap_receive_request(void *s, struct frame frames[ZAP_FRAMES]) {
	int n = 0, more = 1;
	size_t more_len = sizeof more;
	for (; more; n++) {
		struct frame extra, *f = n < ZAP_FRAMES ? &frames[n] : &extra;
		int len = zmq_recv(s, f->data, sizeof f->data, n ? 0 : ZMQ_DONTWAIT);
		if (len < 0)
			return -1;
		f->len = (size_t)len < sizeof f->data ? (size_t)len : sizeof f->data;
		zmq_getsockopt(s, ZMQ_RCVMORE, &more, &more_len);
	}
	return n;
}

static bool zap_readable(void *arg) {
	struct zap *z = arg;
	void *s = zwatch_socket(z->sock);
	struct frame frames[ZAP_FRAMES] = {0};
	struct node_id key;
	char hex[NODE_ID_HEX] = "";
	const char *why = "not a valid request";
	int n = zap_receive_request(s, frames);
	if (n < 0)
		return false;
	bool yes = n == ZAP_FRAMES && zap_frame_is(&frames[ZAP_VERSION], "1.0") &&
	           zap_frame_is(&frames[ZAP_DOMAIN], SOCKET_DOMAIN) &&
	           zap_frame_is(&frames[ZAP_MECHANISM], "CURVE") && frames[ZAP_KEY].len == sizeof key.b;
	if (yes) {
		memcpy(key.b, frames[ZAP_KEY].data, sizeof key.b);
		node_id_hex(&key, hex);
		why = "not a member of this cluster";
		yes = z->admit(z->arg, &key, &why);
	}
	if (!yes)
		log_others(LOG_LINE_WARN, "refused %.*s with key %.12s: %s", (int)frames[ZAP_ADDRESS].len,
		        (const char *)frames[ZAP_ADDRESS].data, hex, why);
	zmq_send(s, "1.0", 3, ZMQ_SNDMORE);
	zmq_send(s, frames[ZAP_REQUEST].data, frames[ZAP_REQUEST].len, ZMQ_SNDMORE);
	zmq_send(s, yes ? "200" : "400", 3, ZMQ_SNDMORE);
	zmq_send(s, "", 0, ZMQ_SNDMORE);
	zmq_send(s, hex, yes ? sizeof hex - 1 : 0, ZMQ_SNDMORE);
	zmq_send(s, "", 0, 0);
	zwatch_touched(z->sock);
	return true;
}

int zap_create(struct zap **out, struct loop *l, void *ctx, zap_admit_fn *admit, void *arg) {
	static const struct zwatch_ops ops = {zap_readable, NULL};
	struct zap *z = calloc(1, sizeof *z);
	void *s = zmq_socket(ctx, ZMQ_REP);
	int rc = -ENOMEM, linger = 0;
	if (!z || !s)
		goto error;
	z->admit = admit;
	z->arg = arg;
	if (zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
	        zmq_bind(s, "inproc://zeromq.zap.01") != 0) {
		rc = -errno;
		goto error;
	}
	rc = zwatch_create(&z->sock, l, s, &ops, z);
	s = NULL; /* owned by the watch */
	if (rc)
		goto error;
	*out = z;
	return 0;
error:
	if (s)
		zmq_close(s);
	free(z);
	return rc;
}

void zap_destroy(struct zap *z) {
	if (!z)
		return;
	zwatch_destroy(z->sock);
	free(z);
}
