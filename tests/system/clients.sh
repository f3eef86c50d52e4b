#!/bin/sh
# clients: the official JavaScript clients of OpenAI, Anthropic and Ollama, Vercel's AI SDK and LangChain against a cluster of three.
# They come from npm's registry, by the lock in clients/, into the build folder; without Node.js or a registry there is nothing to run.
home=$HOME # with the registry that its user chose
. "$(dirname "$0")/lib.sh"

# node is a function here
program() { env PATH="$PATH" sh -c 'command -v "$1"' sh "$1"; }
nodejs=$(program node) npm=$(program npm)
if [ -z "$nodejs" ] || [ -z "$npm" ] || [ "$("$nodejs" -p 'process.versions.node.split(".")[0] >= 20')" != true ]; then
	skip "clients from npm's registry" "Node.js 20 or later and npm are not installed"
	finish
fi
clients=$top_builddir/tests/clients
mkdir -p "$clients"
# installed once for a build folder and a lock; the cases themselves are always those of the source
install_clients() (
	flock 9
	cp "$top_srcdir"/tests/system/clients/*.mjs "$clients/" || return 1
	cmp -s "$top_srcdir/tests/system/clients/package-lock.json" "$clients/installed" && return
	cp "$top_srcdir"/tests/system/clients/package.json "$top_srcdir"/tests/system/clients/package-lock.json "$clients/" || return 1
	cd "$clients" && HOME=$home timeout $((120 * slack)) "$npm" ci --ignore-scripts --no-audit --no-fund && cp package-lock.json installed
) 9>"$clients.lock"
if ! install_clients >"$dir/npm" 2>&1; then
	sed 's/^/# /' "$dir/npm" | tail -n 5
	skip "clients from npm's registry" "they could not be installed"
	finish
fi

for n in alpha beta gamma; do require node $n -- --http 127.0.0.1:0; done
for n in beta gamma; do require on $n join "$(on alpha invite)"; done
require wait_for 10 all_up alpha 3
require python3 "$top_srcdir/tests/system/api.py" template "$demo" "$dir/tools.gguf"
require on alpha load --nodes all "$demo"
require on alpha load --nodes all --name tools "$dir/tools.gguf"
for m in stories tools; do require wait_for 10 serves beta $m; done
on alpha run -m stories --seed 7 -n 40 "Once upon a time" >"$dir/run.7"
url=$(sed -n 's/.*its HTTP API is at \(http:.*\)/\1/p' "$dir/beta.log")
(cd "$clients" && "$nodejs" clients.mjs "$url" stories tools "$dir/run.7") >"$dir/cases" 2>"$dir/err"
status=$?
while read -r line; do
	case $line in
	"ok "*) ok "${line#ok }" ;;
	"not ok "*) not_ok "${line#not ok }" ;;
	*) echo "# $line" ;;
	esac
done <"$dir/cases"
check "the clients came to their end" test $status = 0
[ $status = 0 ] || sed 's/^/# /' "$dir/err" | tail -n 20
idle() { asked alpha 'models[name=stories].sequences' = 0 && asked alpha 'models[name=tools].sequences' = 0; }
check "of streams that were broken off nothing runs" wait_for 20 idle
finish
