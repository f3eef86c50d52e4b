/* mixed_text: writes the mixed text of tests/unit/text/mixed_text.h to standard output, for tests/tools/pretokenizers.mjs. */
#include "tests/unit/text/mixed_text.h"
#include <stdio.h>

int main(void) {
	size_t len;
	char *text = mixed_text(&len);
	size_t written = fwrite(text, 1, len, stdout);
	free(text);
	return written == len && fflush(stdout) == 0 ? 0 : 1;
}
