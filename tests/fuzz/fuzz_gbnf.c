/* Any text as a grammar: it is refused with a sentence, or compiles, and then every token that a mask allows is accepted, a
 * few steps far, from states that are taken up again. */
#include "daemon/text/grammar/grammar.h"
#include "tests/fuzz/grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct grammar *g;
	char err[300] = "";
	if (len > 4096)
		return 0;
	if (grammar_from_gbnf(&g, (const char *)data, len, err, sizeof err) < 0) {
		if (!err[0] || g)
			abort();
		return 0;
	}
	fuzz_grammar(g, len);
	return 0;
}
