#!/bin/sh
# downloads: models that people download: small replicas of their files (tests/data/replicas.py), each loaded and asked, or refused by
# name where Caravan does not serve it yet.  The requests are in downloads.py.
. "$(dirname "$0")/lib.sh"

mkdir "$dir/files"
require python3 "$top_srcdir/tests/data/replicas.py" "$dir/files"
require node alpha -- --http 127.0.0.1:0
port=$(sed -n 's/.*its HTTP API is at http:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$dir/alpha.log" | tail -n 1)
python3 "$top_srcdir/tests/system/downloads.py" "$dir/files" "$dir/alpha/control.sock" "$port" >"$dir/cases" 2>"$dir/cases.err"
status=$?
while read -r line; do
	case $line in
	"ok "*) ok "${line#ok }" ;;
	"not ok "*) not_ok "${line#not ok }" ;;
	*) echo "# $line" ;;
	esac
done <"$dir/cases"
check "all were tried" test $status = 0
[ $status = 0 ] || sed 's/^/# /' "$dir/cases.err" | tail -n 20
readme() { sed -n '/^## Models that people download/,/^## /s/^| .*gguf` |.*/&/p' "$top_srcdir/README.md"; }
readme >"$dir/listed"
check "README lists what works, and nothing else" sh -c 'python3 "$1" --readme | diff - "$0"' "$dir/listed" "$top_srcdir/tests/data/replicas.py"
finish
