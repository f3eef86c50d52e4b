#!/bin/sh
# page: the chat page of a cluster of three in a headless Chromium: chats, streams, conversations that stay, hostile text that does nothing,
# what axe-core says, keys, nodes that are lost.  The cases are in page/page.mjs; playwright-core and axe-core come from npm's registry,
# by the lock in page/, into the build folder.
home=$HOME # with the registry that its user chose
. "$(dirname "$0")/lib.sh"

# node is a function here
program() { env PATH="$PATH" sh -c 'command -v "$1"' sh "$1"; }
nodejs=$(program node) npm=$(program npm) chromium=$(program chromium)
if [ -z "$nodejs" ] || [ -z "$npm" ] || [ "$("$nodejs" -p 'process.versions.node.split(".")[0] >= 20')" != true ]; then
	skip "the page in a browser" "Node.js 20 or later and npm are not installed"
	finish
fi
if [ -z "$chromium" ]; then
	skip "the page in a browser" "Chromium is not installed (on Debian: apt install chromium)"
	finish
fi
driver=$top_builddir/tests/page
mkdir -p "$driver"
install_driver() (
	flock 9
	cp "$top_srcdir/tests/system/page/page.mjs" "$driver/" || return 1
	cmp -s "$top_srcdir/tests/system/page/package-lock.json" "$driver/installed" && return
	cp "$top_srcdir/tests/system/page/package.json" "$top_srcdir/tests/system/page/package-lock.json" "$driver/" || return 1
	cd "$driver" && HOME=$home timeout $((120 * slack)) "$npm" ci --ignore-scripts --no-audit --no-fund && cp package-lock.json installed
) 9>"$driver.lock"
if ! install_driver >"$dir/npm" 2>&1; then
	sed 's/^/# /' "$dir/npm" | tail -n 5
	skip "the page in a browser" "playwright-core and axe-core could not be installed"
	finish
fi

for n in alpha beta gamma; do require node $n -- --http 127.0.0.1:0; done
for n in beta gamma; do require on $n join "$(on alpha invite)"; done
require wait_for 10 all_up alpha 3
require python3 "$top_srcdir/tests/system/api.py" template "$demo" "$dir/stories.gguf"
require mkmodel "$dir/slow.gguf" q4_0 1024 8 16 16 2816 512 8192
http() { sed -n 's/.*its HTTP API is at \(http:.*\)/\1/p' "$dir/$1.log"; }
(cd "$driver" && timeout $((90 * slack)) "$nodejs" page.mjs "$chromium" "$dir" "$(http alpha)/" "$(http beta)/" "$dir/stories.gguf" "$dir/slow.gguf") >"$dir/cases" 2>"$dir/browser.log"
status=$?
while read -r line; do
	case $line in
	"ok "*) ok "${line#ok }" ;;
	"not ok "*) not_ok "${line#not ok }" ;;
	*) echo "# $line" ;;
	esac
done <"$dir/cases"
check "the browser came to its end" test $status = 0
[ $status = 0 ] || sed 's/^/# /' "$dir/browser.log" | tail -n 20
kill "$(cat "$dir/gamma.pid")" # which the browser's program has started again
rm -f "$dir/alpha.pid" "$dir/beta.pid" "$dir/gamma.pid" # the others were killed
finish
