#!/bin/sh
# Every model of tests/data/golden.txt gives the logits whose hash stands there, on every level of this machine.
golden=$top_builddir/tests/unit/shard/golden
cd "$top_srcdir" || exit 99
levels=$("$golden" --levels) || exit 99
n=0
while read -r hash model kv; do
	case $hash in '#'*) continue ;; esac
	for level in $levels; do
		n=$((n + 1))
		have=$(CARAVAN_CPU=$level "$golden" --kv "${kv:-f16}" "$model")
		if test "${have%% *}" = "$hash"; then
			echo "ok $n - $model${kv:+ with a $kv cache} on $level"
		else
			echo "not ok $n - $model${kv:+ with a $kv cache} on $level"
			echo "# have $have"
		fi
	done
done <tests/data/golden.txt
echo "1..$n"
