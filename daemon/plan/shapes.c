/* shapes: see shapes.h.  The numbers are those of config.json in the repository that `source` names on huggingface.co:
 * num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size,
 * max_position_embeddings, tie_word_embeddings. */
#include "daemon/plan/shapes.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct shape {
	const char *name, *source;
	uint32_t layers, dim, heads, kv_heads, ffn, vocab, context;
	bool tied;
} shapes[] = {
        {"tinyllama-1.1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 22, 2048, 32, 4, 5632, 32000, 2048, false},
        {"llama2-7b", "meta-llama/Llama-2-7b-hf", 32, 4096, 32, 32, 11008, 32000, 4096, false},
        {"llama2-13b", "meta-llama/Llama-2-13b-hf", 40, 5120, 40, 40, 13824, 32000, 4096, false},
        {"llama2-70b", "meta-llama/Llama-2-70b-hf", 80, 8192, 64, 8, 28672, 32000, 4096, false},
        {"llama3-8b", "meta-llama/Meta-Llama-3-8B", 32, 4096, 32, 8, 14336, 128256, 8192, false},
        {"llama3-70b", "meta-llama/Meta-Llama-3-70B", 80, 8192, 64, 8, 28672, 128256, 8192, false},
        {"llama3.1-8b", "meta-llama/Llama-3.1-8B", 32, 4096, 32, 8, 14336, 128256, 131072, false},
        {"llama3.1-70b", "meta-llama/Llama-3.1-70B", 80, 8192, 64, 8, 28672, 128256, 131072, false},
        {"llama3.1-405b", "meta-llama/Llama-3.1-405B", 126, 16384, 128, 8, 53248, 128256, 131072, false},
        {"llama3.2-1b", "meta-llama/Llama-3.2-1B", 16, 2048, 32, 8, 8192, 128256, 131072, true},
        {"llama3.2-3b", "meta-llama/Llama-3.2-3B", 28, 3072, 24, 8, 8192, 128256, 131072, true},
};

static const struct shape *find_shape(const char *name, size_t len) {
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		if (strlen(shapes[i].name) == len && strncasecmp(shapes[i].name, name, len) == 0)
			return &shapes[i];
	return NULL;
}

static const struct kern_traits *find_type(const char *name, enum kern_type *type) {
	for (uint32_t t = 0; t < KERN_TYPES; t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (traits && strcasecmp(traits->name, name) == 0) {
			*type = (enum kern_type)t;
			return traits;
		}
	}
	return NULL;
}

static void fill(struct manifest_tensor *t, enum kern_type type, uint64_t name) {
	t->type = type;
	t->bytes = t->rows * kern_row_bytes(type, t->n);
	memcpy(t->id.b, &name, sizeof name);
}

/* "there is no X; there are A, B and C": the list goes on at err + at. */
static size_t list(char *err, size_t errlen, size_t at, const char *name, bool first) {
	int n = at < errlen ? snprintf(err + at, errlen - at, "%s%s", first ? " " : ", ", name) : 0;
	return at + (n > 0 ? (size_t)n : 0);
}

static int no_shape(const char *spec, char *err, size_t errlen) {
	size_t at = (size_t)snprintf(err, errlen, "there is no shape '%.64s'; there are, with :TYPE,", spec);
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		at = list(err, errlen, at, shapes[i].name, i == 0);
	return -EINVAL;
}

static int no_type(const char *name, char *err, size_t errlen) {
	size_t at = (size_t)snprintf(err, errlen, "there is no weight type '%.32s'; there are", name);
	bool first = true;
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t)) {
			at = list(err, errlen, at, kern_traits(t)->name, first);
			first = false;
		}
	return -EINVAL;
}

int shapes_manifest(struct manifest **out, const char *spec, char *err, size_t errlen) {
	const char *colon = strchr(spec, ':');
	enum kern_type type = KERN_F32;
	const struct shape *s = find_shape(spec, colon ? (size_t)(colon - spec) : strlen(spec));
	struct manifest *m;
	uint64_t name = 1;
	if (!s)
		return no_shape(spec, err, errlen);
	if (!colon || !find_type(colon + 1, &type))
		return no_type(colon ? colon + 1 : "", err, errlen);
	struct hparams hp = {.layers = s->layers,
	        .dim = s->dim,
	        .heads = s->heads,
	        .kv_heads = s->kv_heads,
	        .head_size = s->dim / s->heads,
	        .ffn = s->ffn,
	        .vocab = s->vocab,
	        .context = s->context,
	        .pairs = s->dim / s->heads / 2,
	        .eps = 1e-5f};
	if (manifest_create(&m, &hp)) {
		snprintf(err, errlen, "no memory for planning");
		return -ENOMEM;
	}
	for (uint32_t l = 0; l < hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++) {
			struct manifest_tensor *t = &m->layer[l][r];
			manifest_layer_shape(&hp, (enum layer_role)r, &t->n, &t->rows);
			fill(t, manifest_layer_is_norm((enum layer_role)r) ? KERN_F32 : type, name++);
		}
	for (int r = 0; r < END_ROLES; r++) {
		struct manifest_tensor *t = &m->end[r];
		manifest_end_shape(&hp, (enum end_role)r, &t->n, &t->rows);
		fill(t, manifest_end_is_norm((enum end_role)r) ? KERN_F32 : type, name++);
	}
	if (s->tied)
		m->end[END_HEAD].id = m->end[END_EMBED].id;
	for (uint32_t l = 0; l < hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			if (m->layer[l][r].n % kern_traits((uint32_t)m->layer[l][r].type)->block) {
				snprintf(err, errlen,
				        "%s cannot have weights of type %s: its rows are no whole blocks",
				        s->name, kern_traits((uint32_t)type)->name);
				manifest_destroy(m);
				return -EINVAL;
			}
	*out = m;
	return 0;
}
