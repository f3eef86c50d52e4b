/* Any JSON as a schema: it is refused with a sentence, or compiles, and tokens that masks allow are accepted. */
#include "daemon/text/grammar/grammar.h"
#include "tests/fuzz/grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	json_error_t e;
	struct grammar *g;
	char err[300] = "";
	if (len > 4096)
		return 0;
	json_t *schema = json_loadb((const char *)data, len, JSON_DECODE_ANY, &e);
	if (!schema)
		return 0;
	if (grammar_from_schema(
	            &g, schema, len % 2 ? JSON_SPACE_LOOSE : JSON_SPACE_COMPACT, err, sizeof err) == 0)
		fuzz_grammar(g, len);
	else if (!err[0] || g)
		abort();
	json_decref(schema);
	return 0;
}
