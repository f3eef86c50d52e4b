/* model_options: the options that say how a model is to be served; those of load are those of plan.
 * The program has one thread. */
#ifndef CLI_MODEL_OPTIONS_H
#define CLI_MODEL_OPTIONS_H
#include "cli/args.h"
#include "proto/wire.h"

enum {
	OPT_NAME = OPT_OWN,
	OPT_CONTEXT,
	OPT_PARALLEL,
	OPT_KV,
	OPT_NODES,
	OPT_DRAFT,
	OPT_PRE,
	OPT_TEMPLATE,
	OPT_MODEL_OWN
};

#define MODEL_OPTIONS \
	{"name", required_argument, NULL, OPT_NAME}, {"context", required_argument, NULL, OPT_CONTEXT}, \
	        {"parallel", required_argument, NULL, OPT_PARALLEL}, \
	        {"kv", required_argument, NULL, OPT_KV}, {"nodes", required_argument, NULL, OPT_NODES}, \
	        {"draft", required_argument, NULL, OPT_DRAFT}, {"pre", required_argument, NULL, OPT_PRE}, { \
		"template", required_argument, NULL, OPT_TEMPLATE \
	}

#define MODEL_OPTIONS_HELP \
	"  --context N            at most N tokens per sequence (default: the length the\n" \
	"                         model was trained for, at most 8192)\n" \
	"  --parallel N           sequences at the same time (4)\n" \
	"  --kv f16|q8_0          type of the KV cache; q8_0 takes about half the memory\n" \
	"                         of f16 (f16)\n" \
	"  --nodes A,B            use exactly these nodes, each with at least one layer,\n" \
	"                         or 'all' (default: the planner chooses)\n"
#define MODEL_OPTIONS_HELP_PRE \
	"  --pre NAME             the pre-tokenizer, for a file that names none or one\n" \
	"                         that Caravan does not know; list names all\n" \
	"  --template NAME        the chat template, instead of the file's: llama2,\n" \
	"                         llama3, chatml, mistral, vicuna, wizardlm, alpaca,\n" \
	"                         zephyr, plain, or a Jinja file whose name has a '/' or\n" \
	"                         ends in .jinja\n"

struct model_options {
	char *name, *pre; /* empty: not given */
	uint32_t context, parallel, kv;
	bool all_nodes;
	size_t n_nodes;
	char *nodes[WIRE_NODES_MAX];
	char *draft;    /* NULL: not given */
	char *template; /* the same; a name or a path.  A plan does not depend on it. */
};

void model_options_init(struct model_options *o);

/* Takes the option that args_next returned, if it is one of MODEL_OPTIONS; returns whether it was. */
bool model_options_take(struct model_options *o, const struct args *a, int option);

/* Into a Caravan__CtlLoad or a Caravan__CtlPlan, which have the same fields for them. */
#define MODEL_OPTIONS_FILL(message, o) \
	((message)->name = (o)->name, (message)->pre = (o)->pre, (message)->context = (o)->context, \
	        (message)->parallel = (o)->parallel, (message)->kv = (o)->kv, \
	        (message)->all_nodes = (o)->all_nodes, (message)->n_nodes = (o)->n_nodes, \
	        (message)->nodes = (o)->nodes)

#endif
