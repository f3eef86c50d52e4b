#!/bin/sh
# oracle: chat templates against Python's Jinja2, live: the models' templates, the snippets, and random templates, whose number and
# seed JINJA_RANDOM and JINJA_SEED change.
set -eu
: "${top_builddir:=.}" "${top_srcdir:=.}" "${JINJA_RANDOM:=500}"
python3 -c 'import jinja2' 2>/dev/null || { echo "1..0 # skip: Python's jinja2 is missing"; exit 0; }
exec env PYTHONDONTWRITEBYTECODE=1 python3 "$top_srcdir/tests/tools/jinja_oracle.py" compare \
	"$top_builddir/tests/tools/jinja_render" "$top_srcdir/tests/data/jinja" "$JINJA_RANDOM"
