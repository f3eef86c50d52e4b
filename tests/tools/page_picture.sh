#!/bin/sh
# page_picture: draws doc/page.png and doc/cluster.png, the pictures of the page in README.md, from the real page of a cluster of three:
# page_picture.sh BUILD-FOLDER, after tests/system/page.sh has run there, which installs the driver of the browser.
set -eu
build=$(cd "$1" && pwd) top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
nodes=
# shellcheck disable=SC2086
trap 'kill $nodes; wait $nodes; rm -rf "$dir"' EXIT
for n in kitchen study attic; do
	mkdir -m 700 "$dir/$n" && cp "$build/tests/rates" "$dir/$n/" # as page.sh has measured them
	"$build/caravand" --state "$dir/$n" --name $n --listen tcp://127.0.0.1:0 --http 127.0.0.1:0 --threads 1 --memory 2G >"$dir/$n.log" 2>&1 &
	nodes="$nodes $!"
done
on() { node=$1 command=$2 && shift 2 && "$build/caravan" "$command" --state "$dir/$node" "$@"; }
for n in kitchen study attic; do until on $n status >"$dir/status" 2>&1; do sleep 0.2; done; done
for n in study attic; do on $n join "$(on kitchen invite 2>/dev/null)"; done
until on kitchen load --nodes all --name stories "$top/demo/stories.gguf" >/dev/null 2>&1; do sleep 0.2; done
cp "$top/tests/tools/page_picture.mjs" "$build/tests/page/"
cd "$build/tests/page" && node page_picture.mjs "$(command -v chromium)" \
	"$(sed -n 's/.*its HTTP API is at \(http:.*\)/\1/p' "$dir/kitchen.log")/" "$top/doc"
