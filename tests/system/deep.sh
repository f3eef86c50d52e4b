#!/bin/sh
# deep: a model of 80 layers that lie on the bytes of two, over four nodes: what is alike is stored once on each, all layers
# are charged, and tokens come through the whole depth as from one process.
. "$(dirname "$0")/lib.sh"

# holds FILE EXPRESSION: true of what the file holds, as j
holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"; }
stored() { find "$dir/$1/store/tensors" -type f -name '[0-9a-f]*' | wc -l; }
text() { on "$1" run -n 12 --temp 0.8 --seed 3 "abcdefgh" >"$2"; }

for type in Q4_0 Q4_K_M; do
	# as 70B has it, but narrow: 8 heads a key, so that the mixture is that of 70B
	require mkmodel "$dir/$type.gguf" $type 512 80 16 2 768 300 512 2
done
require cluster a b c d
require node alone
for type in Q4_0 Q4_K_M; do
	on a plan --json --nodes all --parallel 1 "$dir/$type.gguf" >"$dir/plan"
	check "$type: a plan for 80 layers" holds "$dir/plan" 'j["fits"] and sum(s["last"] - s["first"] for s in j["stages"]) == 80 and len(j["stages"]) == 4'
	check "each is charged, however many lie on the same bytes" holds "$dir/plan" \
		"sum(s['weight_bytes'] for s in j['stages']) > 20 * $(stat -c %s "$dir/$type.gguf") / 2"
	check "$type: four nodes serve it" on a load --name m --nodes all --copies 1 --parallel 1 "$dir/$type.gguf"
	require on alone load --name m --parallel 1 "$dir/$type.gguf"
	check "tokens come through all of it" text a "$dir/four"
	require text alone "$dir/one"
	check "as from one process" same "$dir/four" "$dir/one"
	on a status --json >"$dir/s"
	check "every stage has computed them" wait_for 5 sh -c 'caravan status --json --control "$0/a/control.sock" | python3 -c "
import json, sys
s = json.load(sys.stdin)[\"models\"][0][\"stages\"]
sys.exit(not (len(s) == 4 and all(i[\"rows\"] >= 12 and i[\"single_seconds\"] > 0 and i[\"predicted_seconds\"] > 0 for i in s)))"' "$dir"
	require on a unload m
	require on alone unload m
done
# the ends (3); of Q4_0 two layers; of the mixture two of each of a role's types: nine roles, two of which have two types,
# and the norms, which are the same numbers in both files
check "what is alike is stored once" test "$(stored alone)" -le $((2 * 3 + 2 * 9 + 2 * 11))
check "on stages too" sh -c 'for n in a b c d; do test "$(find "$0/$n/store/tensors" -type f | wc -l)" -le 46 || exit 1; done' "$dir"
finish
