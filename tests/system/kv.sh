#!/bin/sh
# kv: a q8_0 KV cache: half the memory, and the same bytes whatever the number and kind of nodes.
. "$(dirname "$0")/lib.sh"

ids="1 $(caravan tokenize -m "$demo" --no-bos "$(head -c 1200 "$top_srcdir/demo/heldout.txt")" | cut -d' ' -f1-300)"
require test "$(echo "$ids" | wc -w)" = 301
# shellcheck disable=SC2086
logits() { on "$1" logits --out "$dir/$2" $ids; } # NODE FILE
text() { on "$1" run -n 80 --temp 0.8 --seed 3 "Once upon a time"; }
used() { asked "$1" 'nodes[self=true].memory_used'; }
has() { asked "$1" 'models[0].kv' = "$2"; } # NODE TYPE

# ---- one node --------------------------------------------------------------------------------------------
require node alone
require on alone load --context 512 --parallel 16 "$demo"
check "f16 is what there is unless something else is asked for" has alone f16
fine=$(used alone)
require logits alone fine
require on alone unload stories
require on alone load --kv q8_0 --context 512 --parallel 16 "$demo"
check "a q8_0 cache is what was loaded" has alone q8_0
check "status says so" sh -c 'caravan status --control "$0/alone/control.sock" | tr -s "\\n " "  " | grep -q "16 in parallel, KV cache q8_0"' "$dir"
# 128 blocks of 64 positions, 4 layers, 4 heads with keys and values of 32: at 2 bytes, and at 34 / 32
less() { test $((fine - $(used alone))) = $((128 * 64 * 4 * 4 * 2 * (64 - 34))); }
check "it takes as much less as it should" wait_for 5 less
require logits alone coarse
check "its logits are its own" sh -c '! cmp -s "$0/fine" "$0/coarse"' "$dir"
require text alone
text alone >"$dir/text.alone"

# ---- three, of which one computes with the reference -------------------------------------------------------
require node a
require node b CARAVAN_CPU=ref
require node c
for n in b c; do
	require on "$n" join "$(on a invite)"
done
require wait_for 10 all_up a 3
check "the plan says what the cache takes" sh -c '
	for kv in f16 q8_0; do
		caravan plan --control "$1/a/control.sock" --nodes all --json --kv $kv --context 512 "$0" >"$1/plan.$kv" || exit 1
	done
	python3 -c "
import json, sys
f, q = (json.load(open(p)) for p in sys.argv[1:])
assert (f[\"kv\"], q[\"kv\"]) == (\"f16\", \"q8_0\")
kv = [sum(s[\"kv_bytes\"] for s in p[\"stages\"]) for p in (f, q)]
assert kv[1] * 64 == kv[0] * 34, kv" "$1/plan.f16" "$1/plan.q8_0"' "$demo" "$dir"
require on a load --kv q8_0 --context 512 --nodes all --copies 3 "$demo"
for n in a b c; do
	check "$n knows the type" has "$n" q8_0
	text "$n" >"$dir/text.$n"
	check "three nodes say what one says, on $n" same "$dir/text.$n" "$dir/text.alone"
done
require logits b three
check "and have its logits to the bit" same "$dir/three" "$dir/coarse"
text b >"$dir/text.again"
check "with what is kept of a prompt, too" same "$dir/text.again" "$dir/text.alone"

# ---- by its name, from the disks ---------------------------------------------------------------------------
copied() { asked b 'models[0].copies.complete' = true; }
require wait_for 60 copied
stop a KILL # 137, as it should be
require wait_for 20 state_is b a down
check "loaded by its name it keeps the type" on b load stories
check "which is told" has c q8_0
text c >"$dir/text.named"
check "and it says the same" same "$dir/text.named" "$dir/text.alone"

# ---- what cannot be ---------------------------------------------------------------------------------------
on alone load --kv q8_0 "$top_srcdir/tests/data/models/odd-widths.gguf" 2>"$dir/err.heads"
check "heads that it does not fit are refused" grep -q "a q8_0 KV cache needs a head size divisible by 32, and this model's is" "$dir/err.heads"
on alone load --kv q4_0 "$demo" 2>"$dir/err.type"
check "a type that there is not is a usage error" sh -c 'test "$0" = 2' "$(on alone load --kv q4_0 "$demo" >/dev/null 2>&1; echo $?)"
check "which says what there is" grep -q "caravan: --kv: 'q4_0' is not f16 or q8_0" "$dir/err.type"
finish
