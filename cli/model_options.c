/* model_options: see model_options.h. */
#include "cli/model_options.h"
#include <limits.h>
#include <string.h>

void model_options_init(struct model_options *o) {
	*o = (struct model_options){.name = wire_string(""), .pre = wire_string("")};
}

bool model_options_take(struct model_options *o, const struct args *a, int option) {
	switch (option) {
	case OPT_NAME:
		if (!wire_name_ok(optarg))
			args_usage(a, "--name: '%s' is not a name: 1 to %d letters, digits, '.', '_' and '-'",
			        optarg, WIRE_NAME_MAX);
		o->name = optarg;
		return true;
	case OPT_CONTEXT:
		o->context = (uint32_t)args_uint("--context", optarg, 1, WIRE_CONTEXT_MAX);
		return true;
	case OPT_PARALLEL:
		o->parallel = (uint32_t)args_uint("--parallel", optarg, 1, WIRE_SEQS_MAX);
		return true;
	case OPT_KV:
		o->kv = args_kv(optarg);
		return true;
	case OPT_NODES:
		o->all_nodes = strcmp(optarg, "all") == 0;
		o->n_nodes = o->all_nodes ? 0 : args_list(optarg, o->nodes, WIRE_NODES_MAX);
		if (!o->all_nodes && o->n_nodes == 0)
			args_usage(a, "--nodes needs names, or 'all'");
		return true;
	case OPT_DRAFT:
		o->draft = optarg;
		return true;
	case OPT_PRE:
		o->pre = args_pre(optarg);
		return true;
	case OPT_TEMPLATE:
		if (!*optarg || !wire_line_ok(optarg, PATH_MAX))
			args_usage(a, "--template: this is not the name of a template, or a file");
		o->template = optarg;
		return true;
	default:
		return false;
	}
}
