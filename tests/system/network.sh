#!/bin/sh
# network: three nodes, each behind a proxy, so that a test sees, slows and cuts what goes between them: which hop
# carries activations, when weights move, that nothing is in clear, and what a delayed, a slow and a cut wire do.
. "$(dirname "$0")/lib.sh"

port_free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# behind NODE [PROXY OPTION...]: a proxy in front of a node's port; again at the port where it was
behind() {
	name=$1
	shift
	[ ! -f "$dir/proxy-$name.pid" ] || unproxy "$name"
	: >"$dir/$name.proxy" && rm -f "$dir/$name.count"
	proxy "$(cat "$dir/$name.front" 2>/dev/null || echo 0)" "127.0.0.1:$(cat "$dir/$name.back")" \
		--count "$dir/$name.count" "$@" >"$dir/$name.proxy" 2>"$dir/proxy-$name.log" &
	echo $! >"$dir/proxy-$name.pid"
	wait_for 5 test -s "$dir/$name.proxy" && cp "$dir/$name.proxy" "$dir/$name.front"
}
unproxy() { # NODE: its wire is cut
	kill "$(cat "$dir/proxy-$1.pid")" && wait "$(cat "$dir/proxy-$1.pid")"
	rm "$dir/proxy-$1.pid"
}
each() { # COMMAND...: with alpha, beta, gamma after it
	for n in alpha beta gamma; do
		"$@" "$n" || return 1
	done
}
start() { # NODE
	port_free >"$dir/$1.back"
	behind "$1" --dump "$dir/$1.dump" || return 1
	echo "tcp://127.0.0.1:$(cat "$dir/$1.back")" >"$dir/$1.endpoint"
	node "$1" -- --advertise "tcp://127.0.0.1:$(cat "$dir/$1.front")"
}

# bytes NODE: towards it and back from it, until now
bytes() {
	rm -f "$dir/$1.count"
	kill -USR1 "$(cat "$dir/proxy-$1.pid")"
	until [ -s "$dir/$1.count" ]; do sleep 0.01; done
	cut -d' ' -f1,2 "$dir/$1.count"
}
mark() { date +%s%N >"$dir/marked" && each mark_one; }
since() { python3 -c 'import sys; print(-(int(sys.argv[1]) - int(sys.argv[2])) / 1e9)' "$(cat "$dir/marked")" "$(date +%s%N)"; }
mark_one() { bytes "$1" >"$dir/$1.mark"; }
# moved NODE: towards it and back since the mark
moved() {
	bytes "$1" >"$dir/$1.now"
	python3 -c 'import sys
a, b = (open(f).read().split() for f in sys.argv[1:])
print(*(int(y) - int(x) for x, y in zip(a, b)))' "$dir/$1.mark" "$dir/$1.now"
}
# up: all are for each other, by the proxies that there are now: who has not noticed yet that a wire was cut is not asked
up() { wait_for 15 each called && wait_for 15 all_up alpha 3 && wait_for 15 all_up beta 3 && wait_for 15 all_up gamma 3; }
called() { test "$(cut -d' ' -f3 "$dir/$1.count")" -ge 4; } # by two nodes, twice

# wide rows: a hop of a prompt is far more than everything else that is said meanwhile
dim=2048 layers=3
require mkmodel "$dir/wide.gguf" q4_0 $dim $layers 16 2 2048 512 2048
each require start
require on beta join "$(on alpha invite)"
require on gamma join "$(on alpha invite)"
check "nodes find each other where they say they are" up

# ---- a cluster that has nothing to do -------------------------------------------------------------------
# once it knows how much goes over its links, which it asks each other node for
check "each measures its links" links_known alpha beta gamma
quiet() { # NODE: heartbeats of two others, twice a second
	# shellcheck disable=SC2046
	python3 -c 'import sys; to, back, s = map(float, sys.argv[1:]); print(to, "towards,", back, "back in", s, "s"); sys.exit(not 100 < to < 15000 * s or not back < 5000 * s)' $(moved "$1") "$(since)"
}
was_quiet() { cat "$dir/$1.heartbeats" && test -f "$dir/$1.quiet"; }
# each link is checked with 64 KiB twice a minute: between two checks there are heartbeats alone
for _ in 1 2 3 4; do
	mark
	sleep 2
	for n in alpha beta gamma; do quiet "$n" >"$dir/$n.heartbeats" && : >"$dir/$n.quiet"; done
	each was_quiet >"$dir/out" && break
done
for n in alpha beta gamma; do check "$n: heartbeats are small" was_quiet "$n"; done

# ---- weights move once ------------------------------------------------------------------------------------
size=$(stat -c %s "$dir/wide.gguf")
mark
check "load over three" on alpha load --nodes all --copies 1 --name wide "$dir/wide.gguf"
on alpha status --json >"$dir/plan"
weights() { # what the other nodes' layers take came out of alpha, and from nowhere else
	moved alpha >"$dir/a" && moved beta >"$dir/b" && moved gamma >"$dir/c"
	python3 - "$size" "$layers" "$dir/plan" "$dir/a" "$dir/b" "$dir/c" <<'PY'
import json, sys
size, layers = int(sys.argv[1]), int(sys.argv[2])
a, b, c = ([int(x) for x in open(f).read().split()] for f in sys.argv[4:])
stages = json.load(open(sys.argv[3]))["models"][0]["stages"]
others = sum(s["last"] - s["first"] for s in stages if s["node"] != "alpha")
want = size * others // layers
print("alpha gave", a[1], "of about", want, "bytes; beta", b, "gamma", c)
assert 0.75 * want < a[1] < 1.1 * want + 300000
assert b[1] < want // 10 and c[1] < want // 10
PY
}
check "alpha gave each its layers, and nobody else gave any" weights
require on alpha unload wide
mark
check "load again" on alpha load --nodes all --copies 1 --name wide "$dir/wide.gguf"
on alpha status --json >"$dir/plan2"
again() { # what nodes had stays where it is
	moved alpha >"$dir/a" && moved beta >"$dir/b" && moved gamma >"$dir/c"
	python3 - "$(since)" "$dir/plan" "$dir/plan2" "$dir/a" "$dir/b" "$dir/c" <<'PY'
import json, sys
seconds = float(sys.argv[1])
checks = 65536 * (1 + seconds / 30)  # of a link to another
had, have = (json.load(open(f))["models"][0]["stages"] for f in sys.argv[2:4])
seen = [int(x) for f in sys.argv[4:] for x in open(f).read().split()]
print("had", had, "have", have, "towards alpha and back, beta, gamma:", *seen)
assert [(s["node"], s["first"], s["last"]) for s in had] == [(s["node"], s["first"], s["last"]) for s in have]
assert sum(seen) < 400000 + 6 * checks + 3 * 20000 * seconds  # heartbeats
PY
}
check "moves nothing" again
require on alpha unload wide

# ---- which hop carries activations --------------------------------------------------------------------------
# logits of every position: each hop carries each row once, the last one too
ids="1 $(python3 -c 'print(*(i * 37 % 500 + 3 for i in range(499)))')"
hops() { # PLAN'S NODES: from the plan, what each node must have received, and did
	on alpha load --nodes "$1" --copies 1 --name wide "$dir/wide.gguf" || return 1
	on alpha status --json >"$dir/plan"
	mark
	# shellcheck disable=SC2086
	on alpha logits --out "$dir/logits-$1" $ids || return 1
	moved alpha >"$dir/a" && moved beta >"$dir/b" && moved gamma >"$dir/c"
	seconds=$(since)
	on alpha unload wide
	python3 - "$dim" "$seconds" "$dir/plan" "$dir/a" "$dir/b" "$dir/c" <<'PY'
import json, sys
rows, dim, seconds = 500, int(sys.argv[1]), float(sys.argv[2])
checks = 65536 * (1 + seconds / 30)  # of a link to another
seen = dict(zip(("alpha", "beta", "gamma"), ([int(x) for x in open(f).read().split()] for f in sys.argv[4:])))
way = ["alpha"] + [s["node"] for s in json.load(open(sys.argv[3]))["models"][0]["stages"]] + ["alpha"]
want = {n: 0 for n in seen}
for a, b in zip(way, way[1:]):
    if a != b: # within a node nothing goes over the network
        want[b] += rows * dim * 4
print("the way of a step:", *way)
for n, (towards, back) in seen.items():
    print(n, "received", towards, "bytes, the plan says", want[n], "; answered", back)
    assert want[n] <= towards < want[n] * 1.03 + 150000 + 15000 * seconds  # heartbeats
    assert back < 200000 + 2 * checks + 5000 * seconds
PY
}
check "beta and gamma: activations go once to each, and once back to alpha" hops beta,gamma
check "all three: activations go on the plan's hops and on no other" hops all
check "alpha and gamma: beta sees nothing of it" hops alpha,gamma
check "alpha and beta: gamma sees nothing of it" hops alpha,beta
check "the logits are the same each time" sh -c 'cmp "$0-all" "$0-beta,gamma" && cmp "$0-all" "$0-alpha,gamma" && cmp "$0-all" "$0-alpha,beta"' "$dir/logits"

# ---- nothing is in clear --------------------------------------------------------------------------------------
require on alpha load --nodes all "$demo"
on gamma run --temp 0 -n 40 "Once upon a time, there was a little girl" >"$dir/told"
on beta tokenize "Once upon a time, there was a little girl" >"$dir/tokens"
# shellcheck disable=SC2046
on gamma logits --out "$dir/some" $(cat "$dir/tokens")
each unproxy
secret() {
	python3 - "$dir" "$dir/wide.gguf" "$demo" <<'PY'
import os, random, struct, sys
folder, *models = sys.argv[1:]
dump = b"".join(open(os.path.join(folder, n + ".dump"), "rb").read() for n in ("alpha", "beta", "gamma"))
assert dump.count(b"CURVE") >= 12, "the dump does not even have the handshakes"
ids = [int(x) for x in open(os.path.join(folder, "tokens")).read().split()]
told = open(os.path.join(folder, "told"), "rb").read()
logits = open(os.path.join(folder, "some"), "rb").read()
assert len(ids) > 5 and len(told) > 20 and len(logits) > 1000
look = {"the prompt": b"little girl", "its tokens": struct.pack("<4I", *ids[1:5]), "an answer": told[:12],
        "logits": logits[400:424], "the model's name": b"stories", "a node's name": b"gamma", "an address": b"tcp://127"}
random.seed(3)
for m in models: # weights: bytes from all over the files
    data = open(m, "rb").read()
    for i in range(200):
        at = random.randrange(len(data) // 2, len(data) - 24)
        if len(set(data[at:at + 24])) > 8:
            look["%s at %d" % (m, at)] = data[at:at + 24]
assert len(look) > 100
seen = [what for what, piece in look.items() if piece in dump]
print(len(dump), "bytes,", len(look), "looked for, seen:", seen)
assert not seen
PY
}
check "no prompt, token, weight, name or answer is in clear on the wire" secret
rm -f "$dir"/*.dump
each require behind
check "wires that were cut and joined again are links again" up
check "and the model is back" wait_for 30 serves gamma stories

# ---- delay ---------------------------------------------------------------------------------------------------
# while wires are cut for long a model goes on with the nodes that are left: it is loaded over all again
over_all() { on alpha unload stories && on alpha load --nodes all "$demo" && on alpha status --json | json "len({s['node'] for s in j['models'][0]['stages']}) == 3"; }
once() { on gamma run --no-drafts --temp 0 -n 30 "" >"$dir/$1"; }
require once near
for n in alpha beta gamma; do require behind "$n" --delay 40; done
check "links over slow wires come up" up
check "the model is back" wait_for 30 serves gamma stories
check "and is loaded over all" over_all
slowly() { # thirty tokens, each over three hops of 40 ms: 3.6 s at least
	from=$(date +%s%N)
	once far || return 1
	took=$((($(date +%s%N) - from) / 1000000))
	echo "$took ms"
	test $took -ge 3600
}
check "it takes its time" slowly
check "and says the same" same "$dir/near" "$dir/far"
distance() { asked alpha 'nodes[name=beta].round_trip_seconds' '>=' 0.07; }
check "status shows the distance" wait_for 10 distance
for n in alpha beta gamma; do require behind "$n"; done
require up
require wait_for 30 serves alpha stories
require on alpha unload stories

# ---- a narrow wire ------------------------------------------------------------------------------------------
# 8 Mbit/s: a load that takes many times the silence that a node is given up for
require mkmodel "$dir/bulk.gguf" q8_0 512 4 8 8 1408 500 512
for n in alpha beta gamma; do require behind "$n" --rate 8e6; done
require up
: >"$dir/alpha.log" && : >"$dir/beta.log" && : >"$dir/gamma.log"
from=$(date +%s)
on alpha load --nodes all --copies 1 --name bulk "$dir/bulk.gguf" >"$dir/load.out" 2>"$dir/load.err" &
load=$!
downs=0 looks=0
while kill -0 $load 2>/dev/null; do
	for n in alpha beta gamma; do
		on $n status | grep -q "3 of 3 nodes up" || downs=$((downs + 1))
	done
	looks=$((looks + 1))
	sleep 0.2
done
check "a narrow wire loads a model" wait $load
check "which takes several seconds" test $(($(date +%s) - from)) -ge 4
check "while every node is up for every other" test "$downs" = 0
check "was looked at more than once" test "$looks" -ge 2
check "no link was lost meanwhile" sh -c '! grep -h "lost the link" "$0"/*.log' "$dir"
check "the model generates" sh -c 'test -n "$(caravan run --control "$0/beta/control.sock" --temp 0 -n 3 "")"' "$dir"
for n in alpha beta gamma; do require behind "$n"; done
require up
require wait_for 30 serves alpha bulk
require on alpha unload bulk

# ---- a cut wire -----------------------------------------------------------------------------------------------
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on alpha load --nodes all "$dir/slow.gguf"
on beta run --temp 0 "" >"$dir/cut.out" 2>"$dir/cut.err" &
client=$!
check "a generation runs" wait_for 20 test -s "$dir/cut.out"
unproxy gamma
over() { ! kill -0 $client 2>/dev/null; }
check "when gamma's wire is cut it ends" wait_for 5 over
wait $client
check "with an error" test $? = 1
check "that names gamma, in one line" sh -c 'cat "$0"; grep -q gamma "$0" && test "$(wc -l <"$0")" = 1' "$dir/cut.err"
check "every daemon lives" sh -c 'kill -0 "$@"' x "$(pid_of alpha)" "$(pid_of beta)" "$(pid_of gamma)"
require behind gamma
check "when the wire is there again they are links again" up
check "and the model serves" wait_for 30 serves beta slow
check "and generates" sh -c 'test -n "$(caravan run --control "$0/beta/control.sock" --temp 0 -n 3 "")"' "$dir"
finish
