#!/bin/sh
# store: what rots or tears on a node's disk is found, named and fetched again, while it serves; and the disk is not filled.
. "$(dirname "$0")/lib.sh"

said() { grep -q "$2" "$dir/$1.log"; } # NODE PATTERN
text() { on "$1" run -n 24 --temp 0.8 --seed 11 "Once"; }
biggest() { find "$dir/$1/store/tensors" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
# rot FILE: turns a byte in its middle
rot() {
	python3 -c 'import os, sys
f = open(sys.argv[1], "r+b")
at = os.path.getsize(sys.argv[1]) // 2
f.seek(at)
b = f.read(1)[0]
f.seek(at)
f.write(bytes([b ^ 0x55]))' "$1"
}

# ---- rot and tears ------------------------------------------------------------------------------------------------
require cluster a b
require on a load --nodes a "$demo" # so that a has everything
text a >"$dir/text.good"
require on a unload stories
require on a load --nodes b "$demo"
check "b has the layers" sh -c 'caravan status --json --control "$0/a/control.sock" | grep -q "\"node\": \"b\""' "$dir"
check "the same text from there" sh -c 'caravan run --control "$0/a/control.sock" -n 24 --temp 0.8 --seed 11 Once | cmp - "$0/text.good"' "$dir"
stop b KILL # 137, as it should be
file=$(biggest b)
require rot "$file"
require node b
check "a rotten tensor is found and named" wait_for 60 said b "tensor $(basename "$file" | cut -c1-16) is corrupt: its content does not match its name; it is dropped"
check "and fetched again" wait_for 30 said b "tensor $(basename "$file" | cut -c1-16) has been fetched again"
require wait_for 60 serves a stories
text_again() { text a >"$dir/text.again" && same "$dir/text.again" "$dir/text.good"; }
check "the text is what it was" wait_for 30 text_again

# while it serves: what is torn is noticed by its length
other=$(find "$dir/b/store/tensors" -type f -size +90k | grep -v "$file" | head -n 1)
require truncate -s 8192 "$other"
check "a tensor that is torn in use is found" wait_for 30 said b "tensor $(basename "$other" | cut -c1-16) is corrupt while it is in use"
check "and fetched again, too" wait_for 30 said b "tensor $(basename "$other" | cut -c1-16) has been fetched again"
check "the node lives" answers b
check "and the text is what it was again" wait_for 30 text_again

# while it computes: the threads that meet the missing pages take them for damage, and no node ends
all_torn() { find "$dir/b/store/tensors" -type f -size +90k -exec truncate -s 8192 {} +; }
on a run -n 400 --temp 0.8 --seed 11 "Once" >"$dir/torn.out" 2>&1 &
echo $! >"$dir/torn.pid"
require wait_for 20 test -s "$dir/torn.out"
require all_torn
wait "$(cat "$dir/torn.pid")"
rm "$dir/torn.pid"
check "files that are torn under the threads that compute end no node" answers b
check "nor the other" answers a
check "and the text is what it was once they have been fetched" wait_for 60 text_again

# ---- nobody has it ----------------------------------------------------------------------------------------------
require on a unload stories
require node alone
require on alone load "$demo"
text alone >/dev/null
file=$(biggest alone)
require rm "$file"
check "one that nobody else has is told" wait_for 30 said alone "there is no other node to ask; models that need it wait for it"
check "nothing is computed from it" sh -c '! caravan run --control "$0/alone/control.sock" -n 2 Once 2>"$0/err.alone"' "$dir"
check "which is said" grep -q "damaged on" "$dir/err.alone"
check "the cluster is not healthy meanwhile" sh -c '! caravan status --control "$0/alone/control.sock" >"$0/out.alone"' "$dir"
check "as programs are told, too" sh -c 'caravan status --json --control "$0/alone/control.sock" | grep -q "\"damaged-weights\""' "$dir"
check "for this reason" grep -q "stories cannot answer: weights are damaged on the disk of alone (" "$dir/out.alone"
require on alone unload stories
require on alone load "$demo"
text alone >"$dir/text.alone"
check "loading the file brings it back" same "$dir/text.alone" "$dir/text.good"
check "and the cluster is healthy" on alone status

# ---- bounds ------------------------------------------------------------------------------------------------------
size() { du -sb "$dir/full/store/tensors" | cut -f1; }
require mkmodel "$dir/one.gguf" Q8_0 256 4 4 2 512 300 256
require mkmodel "$dir/two.gguf" Q4_0 256 4 4 2 512 300 256
require mkmodel "$dir/big.gguf" Q8_0 512 16 8 2 2048 300 256
require node full -- --cache 4M
require on full load --context 256 "$dir/one.gguf"
require on full unload one
check "a second model takes the first one's room" on full load --context 256 "$dir/two.gguf"
require on full unload two
one_more() { on full load --context 256 --name three "$dir/one.gguf" && on full unload three; }
check "a third comes" one_more
check "within the bound" test "$(size)" -le 4194304
check "what went is told" said full "the store is full: evicted tensor [0-9a-f]* (.*), which no model known here needs"
on full load --context 256 "$dir/big.gguf" 2>"$dir/err.big"
check "one that is larger than the bound is refused" grep -q "more disk space is needed.* free: [0-9.]* MiB on full" "$dir/err.big"
check "nothing was evicted for it" on full load --context 256 --name four "$dir/one.gguf"
finish
