#!/bin/sh
# load: three daemons on this machine, and streaming clients of them over HTTP and through their control sockets in turn
# (main.c says what it prints and when it fails).
#
#   BENCH_CLIENTS  (64)
#   BENCH_PARALLEL the model's places (as many as clients)
#   BENCH_SECONDS  of each way (300)
#   BENCH_ROUNDS   turns of each way (5)
#   BENCH_MODEL    a file (the demo model)
#   BENCH_THREADS  of each daemon (1)
. "$(dirname "$0")/../../system/lib.sh"

die() {
	echo "load: $*" >&2
	tail -n 5 "$dir"/*.log "$dir/err" >&2 2>/dev/null
	exit 1
}
must() { "$@" >"$dir/out" 2>"$dir/err" || die "$* failed"; }

clients=${BENCH_CLIENTS:-64}
for n in a b c; do must node $n -- --threads "${BENCH_THREADS:-1}" --http 127.0.0.1:0; done
for n in b c; do must on $n join "$(on a invite)"; done
must wait_for 10 all_up a 3
must on a load --nodes all --parallel "${BENCH_PARALLEL:-$clients}" --name m "${BENCH_MODEL:-$demo}"
must wait_for 10 serves b m
must wait_for 10 serves c m
set --
for n in a b c; do set -- "$@" "$dir/$n/control.sock" "$(sed -n 's/.*its HTTP API is at .*:\([0-9]*\)$/\1/p' "$dir/$n.log")"; done
"$top_builddir/tests/bench/load/load" -c "$clients" -s "${BENCH_SECONDS:-300}" -r "${BENCH_ROUNDS:-5}" "$@"
