/* disk: see disk.h.  The file looks to weight streaming like some layers, each with two groups of GROUP bytes. */
#include "daemon/calibration/disk.h"

#include "common/durable.h"
#include "daemon/core/log.h"
#include "daemon/core/loop.h"
#include "shard/forward/weight_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUP (4u << 20)
#define LAYERS_MAX 12 /* of two groups */
#define LAYERS_MIN 2
#define WRITE_NS 700000000ull
#define READ_NS 300000000ull

/* Writes layers of incompressible bytes until there are enough or it takes too long.  The number of layers, or a negative
 * errno. */
static int disk_write_layers(int fd) {
	uint64_t begin = loop_now_ns(), state = begin | 1, *words = malloc(GROUP);
	int layers = 0, rc = words ? 0 : -ENOMEM;
	while (rc == 0 && layers < LAYERS_MAX && (layers < LAYERS_MIN || loop_now_ns() - begin < WRITE_NS)) {
		for (int g = 0; g < 2 && rc == 0; g++) {
			for (size_t i = 0; i < GROUP / sizeof *words; i++) {
				state ^= state << 13;
				state ^= state >> 7;
				state ^= state << 17;
				words[i] = state;
			}
			rc = durable_write_at(fd, words, GROUP, ((uint64_t)layers * 2 + (uint64_t)g) * GROUP);
		}
		if (rc == 0 && fdatasync(fd) < 0)
			rc = -errno;
		layers += rc == 0;
	}
	free(words);
	return rc ? rc : layers;
}

static int disk_read_layers(int fd, uint32_t layers, double *rate) {
	struct store_tensor tensor[LAYERS_MAX][2];
	const struct store_tensor *layer[LAYERS_MAX][LAYER_ROLES] = {{NULL}}, *w[LAYER_ROLES];
	uint8_t streamed[LAYERS_MAX];
	struct weight_stream_plan plan = {.streamed = streamed, .buffer = GROUP};
	struct weight_stream_stats stats;
	struct weight_stream *s;
	char err[200];
	for (uint32_t l = 0; l < layers; l++) {
		for (uint32_t g = 0; g < 2; g++)
			tensor[l][g] = (struct store_tensor){
			        .fd = fd, .packed_bytes = GROUP, .packed_at = ((uint64_t)l * 2 + g) * GROUP};
		layer[l][LAYER_OUT] = &tensor[l][0];
		layer[l][LAYER_DOWN] = &tensor[l][1];
		streamed[l] = 1u << WEIGHTS_OUT | 1u << WEIGHTS_DOWN;
	}
	int rc = weight_stream_create(&s, &plan, 0, layers,
	        (const struct store_tensor *const(*)[LAYER_ROLES])layer, true, err, sizeof err);
	if (rc)
		return rc;
	uint64_t begin = loop_now_ns();
	do {
		uint64_t n = weight_stream_begin(s);
		for (uint32_t i = 0; i < 2 * layers && rc == 0; i++)
			if ((rc = weight_stream_wait(s, n + i, w)) == 0)
				weight_stream_release(s, n + i);
	} while (rc == 0 && loop_now_ns() - begin < READ_NS);
	weight_stream_stats(s, &stats);
	*rate = stats.read_seconds > 0 ? (double)stats.read / stats.read_seconds : 0;
	weight_stream_destroy(s);
	return rc;
}

double disk_rate(const char *dir) {
	char temp[DURABLE_TEMP];
	double rate = 0;
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = folder < 0 ? -errno : durable_create(folder, temp), rc = fd < 0 ? fd : 0;
	if (rc == 0) {
		durable_discard(folder, temp); /* the descriptor keeps the file */
		rc = disk_write_layers(fd);
		if (rc > 0)
			rc = disk_read_layers(fd, (uint32_t)rc, &rate);
		close(fd);
	}
	if (folder >= 0)
		close(folder);
	if (rc < 0)
		log_line(LOG_LINE_WARN, "cannot measure the disk of %s: %s", dir, strerror(-rc));
	return rc < 0 ? 0 : rate;
}
