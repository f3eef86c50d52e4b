#!/bin/sh
# page_picture: draws doc/page.png, the picture of the chat page in README.md, from the real page: page_picture.sh BUILD-FOLDER, after
# tests/system/page.sh has run there, which installs the driver of the browser.
set -eu
build=$(cd "$1" && pwd) top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'kill $node; wait $node; rm -rf "$dir"' EXIT
"$build/caravand" --state "$dir/state" --name kitchen --listen tcp://127.0.0.1:0 --http 127.0.0.1:0 --threads 1 --memory 2G >"$dir/log" 2>&1 &
node=$!
until "$build/caravan" load --state "$dir/state" --name stories "$top/demo/stories.gguf" >/dev/null 2>&1; do sleep 0.2; done
cp "$top/tests/tools/page_picture.mjs" "$build/tests/page/"
cd "$build/tests/page" && node page_picture.mjs "$(command -v chromium)" \
	"$(sed -n 's/.*its HTTP API is at \(http:.*\)/\1/p' "$dir/log")/" "$top/doc/page.png"
