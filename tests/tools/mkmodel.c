/* mkmodel: writes a GGUF file of any Llama shape with random weights, for tests and measurements of speed.
 *
 * -e: a mixture of so many experts, of which a row uses `-u` of width `-w`, as Qwen 3 has it, or the family `-f`: glm4moe, whose
 * shared expert is `-S` wide, or gpt-oss.  -x: the type of experts; -d: layers before the mixtures.
 * TYPE: of the matrices, or Q4_K_M, the mixture by that name.
 * distinct: layers beyond this many lie on the bytes of the earlier ones (layer l on those of l mod distinct, as far as
 * the types are alike, but for routers), so that a file of a few GiB has the shape of a 70B model:
 * 8192 80 64 8 28672 32000 4096 4. */
#include "tests/support/ggufgen.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static uint32_t number(const char *s) {
	char *end;
	unsigned long v = strtoul(s, &end, 10);
	if (*end || v < 1 || v > UINT32_MAX) {
		fprintf(stderr, "mkmodel: %s is not a valid number\n", s);
		exit(1);
	}
	return (uint32_t)v;
}

static enum kern_type type_named(const char *name) {
	for (uint32_t i = 0; i < KERN_TYPES; i++)
		if (kern_traits(i) && strcasecmp(kern_traits(i)->name, name) == 0)
			return (enum kern_type)i;
	fprintf(stderr, "mkmodel: there is no type %s; known are", name);
	for (uint32_t i = 0; i < KERN_TYPES; i++)
		if (kern_traits(i))
			fprintf(stderr, " %s", kern_traits(i)->name);
	fprintf(stderr, " Q4_K_M\n");
	exit(1);
}

static int usage(void) {
	fprintf(stderr,
	        "usage: mkmodel [-e EXPERTS -u USED -w WIDTH [-f FAMILY] [-x TYPE] [-S WIDTH] [-d LAYERS]] [-s HEAD SIZE] "
	        "OUT TYPE dim layers heads kvheads ffn vocab [ctx [distinct]]\n");
	return 1;
}

int main(int argc, char **argv) {
	uint32_t experts = 0, used = 0, width = 0, head = 0, shared = 0, dense = 0;
	const char *family = "qwen3moe";
	enum kern_type expert = KERN_F32;
	for (int option; (option = getopt(argc, argv, "e:u:w:s:S:d:f:x:")) != -1;) {
		uint32_t *to = option == 'e'   ? &experts
		               : option == 'u' ? &used
		               : option == 'w' ? &width
		               : option == 's' ? &head
		               : option == 'S' ? &shared
		               : option == 'd' ? &dense
		                               : NULL;
		if (option == 'f')
			family = optarg;
		else if (option == 'x')
			expert = type_named(optarg);
		else if (to)
			*to = number(optarg);
		else
			return usage();
	}
	argc -= optind - 1;
	argv += optind - 1;
	if (argc < 9 || argc > 11)
		return usage();
	bool mixture = strcasecmp(argv[2], "Q4_K_M") == 0;
	struct ggufgen_model m = {.type = mixture ? KERN_Q4_K : type_named(argv[2]),
	        .mixture = mixture,
	        .dim = number(argv[3]),
	        .layers = number(argv[4]),
	        .heads = number(argv[5]),
	        .kv_heads = number(argv[6]),
	        .ffn = number(argv[7]),
	        .vocab = number(argv[8]),
	        .context = argc > 9 ? number(argv[9]) : 4096,
	        .distinct = argc > 10 ? number(argv[10]) : 0,
	        .family = experts ? family : NULL,
	        .head_norms = experts && strcmp(family, "qwen3moe") == 0,
	        .experts = experts,
	        .experts_used = used,
	        .expert_ffn = width,
	        .expert = expert,
	        .shared_ffn = shared,
	        .dense = dense,
	        .head_size = head,
	        .seed = 1};
	m.head = ggufgen_usual_head(m.type);
	if (!head && m.dim % m.heads) {
		fprintf(stderr, "mkmodel: dim is not a multiple of heads\n");
		return 1;
	}
	struct ggufgen *g = ggufgen_model(&m);
	ggufgen_write_path(g, argv[1]);
	ggufgen_destroy(g);
	return 0;
}
