#!/bin/sh
# soak: random clients of three nodes for SOAK_SECONDS (20): every answer is always the same, in the end every block is
# free, and the second half takes no more memory than the first; and for 2 seconds each, streaming clients over HTTP and the control
# socket, which get the same.
. "$(dirname "$0")/lib.sh"

seconds=${SOAK_SECONDS:-20}
seed=${SOAK_SEED:-$$}
is() { asked alpha --in 'models[0]' "$@"; } # NAME OP VALUE...
# what is its own: mapped weights and programs come and go as the kernel likes
rss() { awk '/RssAnon/ {print $2}' "/proc/$(pid_of "$1")/status"; }
# the least of some looks: a link whose rate is measured, as happens when a node becomes idle, takes up to 16 MiB meanwhile
rss_least() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		rss "$1"
		sleep 0.1
	done | sort -n | head -n 1
}
clients() { # SECONDS SEED
	soak "$1" 12 "$2" "$dir/alpha/control.sock" "$dir/beta/control.sock" "$dir/gamma/control.sock" || {
		echo "with SOAK_SEED=$seed"
		return 1
	}
}
idle() { is sequences = 0 queued = 0 in_flight = 0; }

for n in alpha beta gamma; do require node $n -- --http 127.0.0.1:0; done
for n in beta gamma; do require on $n join "$(on alpha invite)"; done
require wait_for 10 all_up alpha 3
# fewer places than clients: some wait; a context that long prompts nearly fill: the cache has to let blocks go
require on alpha load --nodes all --parallel 6 "$demo"
check "random clients, for the first half" clients $((seconds / 2)) "$seed"
check "nothing runs when they have gone" wait_for 20 idle
for n in alpha beta gamma; do rss_least $n >"$dir/$n.rss"; done
check "random clients, for the second" clients $((seconds - seconds / 2)) "$((seed + 1))"
check "nothing runs when they have gone" wait_for 20 idle
check "every block is free" is blocks_free = '{blocks}' blocks '>' 0
check "steps were under way in all stages" is in_flight_max '>=' 3
check "steps had rows of several sequences" is step_sequences_max '>' 1
check "prompts were found in the cache" is prefix_tokens '>' 0
flat() { # NODE: what the first half did not need the second does not either, but for an allocator's whims
	before=$(cat "$dir/$1.rss") after=$(rss "$1")
	echo "$1: $before KiB, then $after"
	test $((after - before)) -lt $((before / 10 + 8192))
}
for n in alpha beta gamma; do check "$n's memory is flat" wait_for 5 flat $n; done
set --
for n in alpha beta gamma; do set -- "$@" "$dir/$n/control.sock" "$(sed -n 's/.*its HTTP API is at .*:\([0-9]*\)$/\1/p' "$dir/$n.log")"; done
check "clients over HTTP get what others get, and nobody starves" "$top_builddir/tests/bench/load/load" -c 6 -s 2 -r 1 "$@"
check "nothing runs when they have gone" wait_for 20 idle
finish
