#!/bin/sh
# mutate: every entry of tests/mutations.txt still applies to the code, so that `make mutate` has something to try.
exec python3 "$top_srcdir/tests/mutate.py" --check
