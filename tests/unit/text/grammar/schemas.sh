#!/bin/sh
# schemas: what random tokens from the masks write, with the vocabulary of the demo model and those of ../shared if they are there, is
# JSON and valid by its schema: by validate.py, and by npm's ajv where Node.js and the registry are there.  SCHEMAS: how many
# random ones for the demo model.
set -eu
: "${top_builddir:=.}" "${top_srcdir:=.}" "${SCHEMAS:=300}"
here=$top_srcdir/tests/unit/text/grammar
ajv=$top_builddir/tests/ajv/node_modules
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	echo "# without ajv: Node.js is missing"
	ajv=
elif ! test -d "$ajv/ajv-formats"; then
	mkdir -p "$top_builddir/tests/ajv"
	(cd "$top_builddir/tests/ajv" && timeout 60 npm install --silent --no-audit --no-fund --prefix . ajv@8 ajv-formats@3 >/dev/null 2>&1) || {
		echo "# without ajv: it cannot be installed"
		ajv=
	}
fi
n=0
failed=0
for vocabulary in "$top_srcdir/demo/stories.gguf" "$top_srcdir/../shared/vocab/llama-spm.gguf" "$top_srcdir/../shared/vocab/llama-bpe.gguf"; do
	test -r "$vocabulary" || continue
	n=$((n + 1))
	test $n -eq 1 || [ "$SCHEMAS" -lt 40 ] || SCHEMAS=40
	if PYTHONDONTWRITEBYTECODE=1 python3 "$here/schemas.py" "$top_builddir/tests/tools/constrain" "$vocabulary" "$SCHEMAS" ${ajv:+"$ajv"}; then
		echo "ok $n - $(basename "$vocabulary")"
	else
		echo "not ok $n - $(basename "$vocabulary")"
		failed=1
	fi
done
echo "1..$n"
exit $failed
