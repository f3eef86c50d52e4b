#!/bin/sh
# bench70b: a model of the shape of Llama 2 70B over four daemons on this machine, from the plan to the token, on bare
# loopback and through links of 1 Gbit/s.  A table for people and, with BENCH_JSON=FILE, one object for programs.
#
# The file has few layers' bytes, on which all layers lie (tests/tools/mkmodel.c): every layer is stored, mapped, charged and
# computed as if it were another, and reading them takes what 70B take, since a layer is far larger than caches.
# What is compared is measured in turn in every round, and figures are medians.  Memory of a shared machine is not as quick
# now as when its nodes measured it: so the probe of `make bench` reads it, between each node's own measurements and
# before and after each answer, and a prediction is also told at what the probe found then.
#
#   BENCH70B_TYPE      weights: any type, or Q4_K_M (Q4_0)
#   BENCH70B_SHAPE     dim layers heads kvheads ffn vocab (8192 80 64 8 28672 32000); smaller, to try it in a minute:
#                      "2048 16 16 4 5632 32000" with BENCH70B_MEMORY=400M
#   BENCH70B_EXPERTS   and how mkmodel is to write it as a mixture of experts, for `make bench-moe`: "-e 128 -u 8 -w 1536 -s 128"
#   BENCH70B_MEMORY    of each daemon (12G)
#   BENCH70B_DISTINCT  so many layers are written (2)
#   BENCH70B_ROUNDS    (3)
#   BENCH70B_ONCE      if set, the first daemon's measurements of this machine are the others' as well, which saves two minutes
#   BENCH70B_PASSES    what is done (loopback gigabit reading); reading goes with the cluster before it
#   TMPDIR             where four stores have room, of the distinct layers each (6 GB)
. "$(dirname "$0")/../system/lib.sh"

type=${BENCH70B_TYPE:-Q4_0}
shape=${BENCH70B_SHAPE:-8192 80 64 8 28672 32000}
memory=${BENCH70B_MEMORY:-12G}
distinct=${BENCH70B_DISTINCT:-2}
rounds=${BENCH70B_ROUNDS:-3}
tokens=9     # of an answer: the first comes with the prompt
prompt=100   # tokens of a prompt: one step
team=$(nproc)
load="--name m --context 1024 --parallel 2"

die() {
	echo "bench70b: $*" >&2
	tail -n 5 "$dir"/*.log "$dir/err" >&2 2>/dev/null
	exit 1
}
must() { "$@" >"$dir/out" 2>"$dir/err" || die "$* failed"; }
now() { date +%s.%N; }
py() { python3 "$@"; }

# probe FILE: what a team reads of memory now is a line more of it, in GB/s
probe() {
	must env BENCH_JSON="$dir/probe" "$top_builddir/tests/bench/bench" -t "$team" -r 1 read
	py -c 'import json, sys; print(json.load(open(sys.argv[1]))["rows"][0]["value"])' "$dir/probe" >>"$1"
}

# start NODE [PROXY OPTION...]: a daemon, behind a proxy if there are options
start() {
	n=$1
	shift
	mkdir -m 700 "$dir/$n" # with nothing in it: this node measures itself
	known=
	[ -z "${BENCH70B_ONCE:-}" ] || [ "$n" = a ] || known=yes
	[ -z "$known" ] || must cp "$dir/a/rates" "$dir/$n/rates"
	if [ $# -gt 0 ]; then
		back=$(port_free)
		proxy 0 "127.0.0.1:$back" "$@" >"$dir/$n.proxy" 2>"$dir/proxy-$n.log" &
		echo $! >"$dir/proxy-$n.pid"
		wait_for 5 test -s "$dir/$n.proxy" || die "no proxy"
		echo "tcp://127.0.0.1:$back" >"$dir/$n.endpoint"
		must node "$n" -- --memory "$memory" --threads "$team" --advertise "tcp://127.0.0.1:$(cat "$dir/$n.proxy")"
	else
		must node "$n" -- --memory "$memory" --threads "$team"
	fi
	[ -z "$known" ] || { must cp "$dir/measured.a" "$dir/measured.$n" && return; }
	# one after the other: they measure the same processors, and look again four times in the next 40 seconds
	wait_for 60 test -s "$dir/$n/rates" >"$dir/out" || die "$n has not measured"
	rm -f "$dir/measured.$n"
	for between in 1 2 3 4; do
		sleep 5
		probe "$dir/measured.$n"
		sleep 5
	done
	sleep 4
}

# counted: content that all nodes have sent so far, and the first of them
counted() {
	sleep 1.2
	on a status --json | py -c '
import json, sys
n = json.load(sys.stdin)["nodes"]
b = {i["name"]: i.get("content_sent_bytes", 0) for i in n}
print(sum(b.values()), b["a"])'
}

# ask PROMPT COUNT FILE: greedily, with the times
ask() { on a run --no-drafts -m m --temp 0 -n "$2" --json "$1" >"$3" 2>"$dir/err" || die "a generation failed"; }

# text SALT: a prompt that no cache knows; each letter is a token
text() {
	py -c 'import random, sys
random.seed(int(sys.argv[1]))
print("".join(random.choice("abcdefghijklmnopqrst") for _ in range(int(sys.argv[2]) - 2)), end="")' "$1" "$prompt"
}

status() { # FILE: when all of it has been told
	sleep 1.2
	must on a status --json
	cp "$dir/out" "$1"
}

# pass NAME [PROXY OPTION...]: a cluster, from plan to tokens
pass() {
	pass=$1
	shift
	echo
	echo "== $pass"
	rm -rf "$dir"/[abcd] "$dir"/*.endpoint
	nodes=
	for n in a b c d; do start "$n" "$@"; done
	for n in b c d; do must on "$n" join "$(on a invite)"; done
	wait_for 15 all_up a 4 >"$dir/out" || die "no cluster"
	# shellcheck disable=SC2086
	must on a plan $load --nodes all "$model"
	cat "$dir/out"
	# shellcheck disable=SC2086
	must on a plan --json $load --nodes all "$model"
	cp "$dir/out" "$dir/plan"
	t=$(now)
	# shellcheck disable=SC2086
	must on a load $load --nodes all --copies 3 "$model"
	loaded=$(py -c "print($(now) - $t)")
	wait_for 300 sh -c 'caravan status --json --control "$0/a/control.sock" | grep -q "\"complete\": true"' "$dir" >"$dir/out" || die "no copies"
	sent=$(counted)
	ask abc 1 "$dir/first"
	i=0
	while [ $i -lt "$rounds" ]; do
		i=$((i + 1))
		status "$dir/s0"
		rm -f "$dir/found.$i"
		probe "$dir/found.$i"
		ask "abc$i" $tokens "$dir/decode.$i"
		probe "$dir/found.$i"
		status "$dir/s1"
		ask "$(text $i)" 1 "$dir/prefill.$i"
		status "$dir/s2"
		py "$srcdir_of/bench70b.py" round "$dir/s0" "$dir/s1" "$dir/s2" >"$dir/round.$i" || die "no times"
	done
	must on a status
	sed -n '/^Model/,$p' "$dir/out"
	# again, with everything there
	must on a unload m
	before=$(counted)
	t=$(now)
	# shellcheck disable=SC2086
	must on a load $load --nodes all --copies 3 "$model"
	ask abc 1 "$dir/again"
	again=$(py -c "print($(now) - $t)")
	after=$(counted)
	py "$srcdir_of/bench70b.py" pass "$dir" "$pass" "$tokens" "$prompt" "$rounds" "$size" "$loaded" "$again" "$sent" "$before" "$after" || die "no figures"
}

over() { # ends a cluster
	for n in a b c d; do
		stop "$n" || die "$n ended badly"
		[ ! -f "$dir/proxy-$n.pid" ] || { kill "$(cat "$dir/proxy-$n.pid")" && rm "$dir/proxy-$n.pid"; }
	done
}

# reading: the whole model on one of them, whose memory it does not fit
reading() {
	echo
	echo "== one daemon, whose memory it does not fit"
	must on a unload m
	# shellcheck disable=SC2086
	must on a load $load --nodes a "$model"
	ask a 2 "$dir/read"
	status "$dir/s"
	py "$srcdir_of/bench70b.py" reading "$dir" "$(pid_of a)" "$dir/a/store" || die "no figures"
}

srcdir_of=$(dirname "$0")
model=$dir/model.gguf
# shellcheck disable=SC2086
must mkmodel ${BENCH70B_EXPERTS:-} "$model" "$type" $shape 4096 "$distinct"
size=$(stat -c %s "$model")
echo "Shape $shape${BENCH70B_EXPERTS:+ $BENCH70B_EXPERTS}, $type, $(py -c "print('%.2f' % ($size / 1e9))") GB of distinct bytes; four daemons of $team threads and $memory each; $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
running=
for what in ${BENCH70B_PASSES:-loopback gigabit reading}; do
	[ -z "$running" ] || [ "$what" = reading ] || over
	running=yes
	case $what in
	loopback) pass loopback ;;
	gigabit) pass gigabit --rate 1000000000 --delay 0.1 ;;
	reading) reading ;;
	*) die "there is no pass $what" ;;
	esac
done
over
py "$srcdir_of/bench70b.py" end "$dir/rows" "$(nproc)" || die "no end"
exit 0
