#!/bin/sh
# cluster: what clusters of one node and more reach, as caravan bench measures them: over the number of nodes, of streams, and over
# the length of the context, beside what their plans predicted.  A table, and JSON in the file that BENCH_JSON names.
#
# The nodes are daemons on this machine with links of 1 Gbit/s and 0.2 ms there and back between them, each with one thread, as if it
# were a machine with one core: a stage computes while others do as long as there are no more nodes than processors.  All plan with
# what one of them has measured alone before the first cluster begins.
#
#   CLUSTER_SHAPE     of the model, in Q4_0: dim layers heads kvheads ffn vocab (1024 16 16 4 2816 32000, of 250M parameters)
#   CLUSTER_NODES     (1 2 3 4)
#   CLUSTER_STREAMS   numbers of streams on two nodes, and their fewest and most on the others (1,2,4,8)
#   CLUSTER_CONTEXTS  tokens of prompts whose answers are measured on one node (128,512,1024,2048,4096)
#   CLUSTER_RUNS      (3)
#   TMPDIR            has room for a GB
. "$(dirname "$0")/../system/lib.sh"

shape=${CLUSTER_SHAPE:-1024 16 16 4 2816 32000}
streams=${CLUSTER_STREAMS:-1,2,4,8}
contexts=${CLUSTER_CONTEXTS:-128,512,1024,2048,4096}
most=${streams##*,}
ends=${streams%%,*},$most
here=$(dirname "$0")

die() {
	echo "cluster: $*" >&2
	tail -n 5 "$dir"/*.log "$dir/err" >&2 2>/dev/null
	exit 1
}
must() { "$@" >"$dir/out" 2>"$dir/err" || die "$* failed"; }

# measured: a node has looked at this machine as often as it does, and has settled
measured() { grep -q '^looks [4-9]' "$dir/alone/rates"; }
know_rates() {
	mkdir -m 700 "$dir/alone"
	caravand --state "$dir/alone" --listen tcp://127.0.0.1:0 --http off --threads 1 --memory 2G >"$dir/alone.log" 2>&1 &
	echo $! >"$dir/alone.pid"
	must wait_for 30 test -s "$dir/alone/rates"
	wait_for 15 measured >"$dir/out" || echo "This machine is busy: what is predicted follows from a first measurement."
	stop alone
	rates=$dir/rates
	sed 's/^looks [0-9]*$/looks 4/' "$dir/alone/rates" >"$rates"
}

# measure NAME STREAMS PROMPTS: what caravan bench says of the cluster is $dir/NAME.json
measure() {
	on n1 bench --json --no-drafts --streams "$2" --prompt "$3" --generate 32 --runs "${CLUSTER_RUNS:-3}" >"$dir/$1.json" 2>"$dir/err" ||
		die "bench failed"
	python3 "$here/cluster.py" told "$dir/$1.json" || die "no figures"
}

# serve COUNT: a cluster of so many nodes with the model; the one before ends
serve() {
	for n in $nodes; do
		stop "$n" || die "$n ended badly"
		[ ! -f "$dir/proxy-$n.pid" ] || { kill "$(cat "$dir/proxy-$n.pid")" && rm "$dir/proxy-$n.pid"; }
	done
	rm -rf "$dir"/n[0-9]* # their states, too
	nodes=
	i=0
	while [ $i -lt "$1" ]; do
		i=$((i + 1))
		must linked "n$i" 2G --rate 1000000000 --delay 0.1
		[ $i = 1 ] || must on "n$i" join "$(on n1 invite 2>"$dir/err")"
	done
	must wait_for 15 all_up n1 "$1"
	# shellcheck disable=SC2086
	must links_known $nodes
	must on n1 load --nodes all --context 4608 --parallel "$most" --name m "$dir/model.gguf"
	must wait_for 10 serves n1 m
}

# shellcheck disable=SC2086
must mkmodel "$dir/model.gguf" Q4_0 $shape 8192
know_rates
for count in ${CLUSTER_NODES:-1 2 3 4}; do
	serve "$count"
	case $count in
	1)
		measure "nodes.$count" "$ends" 128
		measure contexts 1 "$contexts"
		;;
	2) measure "nodes.$count" "$streams" 128 ;;
	*) measure "nodes.$count" "$ends" 128 ;;
	esac
done
for n in $nodes; do must stop "$n"; done
python3 "$here/cluster.py" end "$dir" "$shape" || die "no end"
exit 0
