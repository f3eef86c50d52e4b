#!/bin/sh
# What the cluster has on its disks: listed, loaded by name after everything was restarted, removed; free disk in status and plan.
. "$(dirname "$0")/lib.sh"

require cluster a b
require links_known a b
cp "$demo" "$dir/tale.gguf"
check "nothing is on disk at first" sh -c 'test -z "$(caravan models --control "$0/a/control.sock")"' "$dir"
require on a load --nodes all --copies 2 "$dir/tale.gguf"
listed() { on b models --json | json "[(m['name'], m['state'], m['copies'], m['share'], len(m['on'])) for m in j['models']] == [('tale', '$1', $2, 1.0, 2)]"; }
check "models says what serves, and on how many disks it is" wait_for 30 listed serving 2
check "the table has it in a line of 80 columns" sh -c 'caravan models --control "$0/b/control.sock" | grep "^tale  *serving .* 2  *now  *a, b$" | grep -v ".\{81\}"' "$dir"
disks() { on a status --json | json "all(0 < n['disk_free'] < n['disk_size'] and n['store_bytes'] > 0 for n in j['nodes'])"; }
check "status knows how much disk is free on every node" wait_for 15 disks
check "rm refuses what serves" sh -c '! caravan rm tale --control "$0/b/control.sock" 2>"$0/err2" && grep -q "caravan unload tale" "$0/err2"' "$dir"

# a private daemon reads what the daemon that is asked for has, and neither hashes the file again nor stores it
own=$XDG_STATE_HOME/caravan/store
check "run -m FILE" sh -c 'caravan run --control "$0/a/control.sock" -m "$0/tale.gguf" --temp 0 -n 12 "Once upon a time" >"$0/private"' "$dir"
check "stores nothing that a daemon's store has" sh -c 'test -d "$0/tensors" && test -z "$(ls "$0/tensors")"' "$own"
check "and has its names from there" sh -c 'cmp "$1"/a/store/names/* "$0"/names/*' "$own" "$dir"
check "nor is that in the list of what it has" sh -c '! caravan models --control "$0/a/control.sock" | grep -q private' "$dir"
on a unload tale >"$dir/unloaded" 2>&1
require test -s "$dir/private"
rm "$dir/tale.gguf"
check "after unload it is on disk" wait_for 10 listed "on disk" 2
check "which is said to who asks for it" sh -c '! caravan run -m tale --control "$0/a/control.sock" hello 2>"$0/err2" && grep -q "to load it: caravan load tale" "$0/err2"' "$dir"
for n in a b; do require stop $n; done
rm -f "$dir/a/plans" "$dir/b/plans"
for n in a b; do require node $n; done
require wait_for 20 all_up a 2
check "load NAME, with nothing but the stores" on b load tale
require caravan run -m "$demo" --temp 0 -n 12 "Once upon a time"
cp "$dir/out" "$dir/alone"
check "which answered alike" cmp "$dir/alone" "$dir/private"
check "it answers as from its file" sh -c 'caravan run --control "$0/a/control.sock" -m tale --temp 0 -n 12 "Once upon a time" >"$0/again" && cmp "$0/alone" "$0/again"' "$dir"
check "a name that nobody has: what there is is said" sh -c '! caravan load saga --control "$0/a/control.sock" 2>"$0/err2" && grep -q "that are up, which have tale" "$0/err2"' "$dir"
require on b unload tale

check "rm takes it off all disks, and says how much that was" sh -c 'caravan rm --yes tale --control "$0/a/control.sock" >"$0/removed" && grep -q "^a: .* freed$" "$0/removed" && grep -q "^b: .* freed$" "$0/removed" && grep -q "^Deleted tale: .* freed\.$" "$0/removed"' "$dir"
check "nothing of it is left" sh -c '! ls "$0"/a/store/tensors/* "$0"/b/store/tensors/* "$0"/a/store/models/* 2>/dev/null && test -z "$(caravan models --control "$0/a/control.sock")"' "$dir"
check "rm of what is not there fails" sh -c '! caravan rm tale --control "$0/a/control.sock" 2>"$0/err2" && grep -q "no model tale" "$0/err2"' "$dir"
# ---- a model file of a node's own ----------------------------------------------------------------------------------
mkdir "$dir/mine" && cp "$demo" "$dir/mine/Fairy-Tales.gguf"
require stop b
require node b -- --models "$dir/mine"
filed() { on a models | grep -q "^Fairy-Tales  *on disk .*  b (file)$"; }
check "it is listed, by the name of its file" wait_for 30 filed
check "and loaded by it on another node" on a load Fairy-Tales
require on a unload Fairy-Tales
check "rm frees what was packed" on a rm --yes Fairy-Tales
check "and leaves the file, which is listed still" filed
# ---- no room ---------------------------------------------------------------------------------------------------
require node tiny -- --cache 500K
empty() { test -z "$(ls "$dir/tiny/store/tensors" "$dir/tiny/store/blobs" "$dir/tiny/store/names" "$dir/tiny/store/models" | grep -v ':$' | tr -d '\n')"; }
check "a load that no disk has room for is refused" sh -c '! caravan load --control "$0/tiny/control.sock" "$1" 2>"$0/err2" && grep -q "MiB more disk space is needed" "$0/err2"' "$dir" "$demo"
check "before a byte was hashed, and leaves nothing" empty
check "plan says so" sh -c '! caravan plan --control "$0/tiny/control.sock" --json "$1" >"$0/j" 2>"$0/err2" && grep -q "disk space is needed" "$0/err2"' "$dir" "$demo"
check "to programs too" sh -c 'python3 -c "import json, sys; j = json.load(sys.stdin); sys.exit(not (not j[\"fits\"] and j[\"missing_disk_bytes\"] > 1000000))" <"$0/j"' "$dir"
check "and status that the disk is full" sh -c 'caravan status --control "$0/tiny/control.sock" >"$0/text"; grep -q "tiny has no room for more weights within its --cache" "$0/text"' "$dir"
full() { asked tiny 'problems[kind=disk-full].what' | grep -q "^tiny has no room for more weights within its --cache[.]$"; }
check "for programs too" full
finish
