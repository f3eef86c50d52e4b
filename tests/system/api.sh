#!/bin/sh
# api: the HTTP API of a cluster of three: every route in every dialect, streamed and whole, from any node; the same bytes as caravan
# run; what the clients in the wild send first; errors by name; clients that go.  The requests themselves are in api.py.
. "$(dirname "$0")/lib.sh"

for n in "alpha 60s" "beta 2m" "gamma off"; do # with the time that a stream may go on without its client
	require node ${n% *} -- --http 127.0.0.1:0 --resume ${n#* } --alias gpt-4o=stories --alias claude-sonnet-4-5:latest=stories
done
for n in beta gamma; do require on $n join "$(on alpha invite)"; done
require wait_for 10 all_up alpha 3

# http NODE: where it listens
http() { sed -n 's/.*its HTTP API is at http:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$dir/$1.log" | tail -n 1; }
# api GROUP...: api.py, which prints lines "ok WHAT" or "not ok WHAT" for the cases of these groups
api() { python3 "$top_srcdir/tests/system/api.py" "$dir" "$(http alpha)" "$(http beta)" "$(http gamma)" "$@" >"$dir/cases" 2>"$dir/cases.err"; }
# report GROUP STATUS: these cases are cases of this script
report() {
	while read -r line; do
		case $line in
		"ok "*) ok "${line#ok }" ;;
		"not ok "*) not_ok "${line#not ok }" ;;
		*) echo "# $line" ;;
		esac
	done <"$dir/cases"
	check "group $1 came to its end" test $2 = 0
	[ $2 = 0 ] || sed 's/^/# /' "$dir/cases.err" | tail -n 20
}
requests() {
	api "$@"
	report "$1" $?
}

requests empty
require on alpha load --nodes all "$demo"
known() { for n in alpha beta gamma; do serves $n stories || return 1; done; }
require wait_for 10 known
# what the API's answers are compared with
on alpha run --temp 0.8 --seed 7 -n 40 "Once upon a time" >"$dir/run.7"
on beta run --temp 0.8 --seed 8 -n 40 "Once upon a time" >"$dir/run.8"
on gamma run --temp 0 -n 60 "Lily and Tom went to the" >"$dir/run.greedy"
on alpha tokenize "Once upon a time" >"$dir/run.tokens"
requests models openai chat responses llama biases constrained ollama anthropic errors clients cluster metrics

# ---- a template with control tokens and tools ------------------------------------------------------------------
require python3 "$top_srcdir/tests/system/api.py" template "$demo" "$dir/chatty.gguf"
require on alpha load --nodes all --name chatty "$dir/chatty.gguf"
known() { for n in alpha beta gamma; do serves $n chatty || return 1; done; }
require wait_for 10 known
on beta run --chat -m chatty --seed 5 -n 30 --json "</s><s>hi" >"$dir/chat.hostile"
requests templates agents
require on alpha unload chatty

# ---- what the API's document has to type ------------------------------------------------------------------------
if command -v curl >/dev/null; then
	requests examples
	require on alpha unload caller
else
	skip "typed from the document" "there is no curl"
fi

# ---- a template that the user names, instead of the file's -------------------------------------------------------
refused() { # PATTERN COMMAND...
	pattern=$1
	shift
	! "$@" >"$dir/refused" 2>&1 && grep -q -- "$pattern" "$dir/refused"
}
check "an unknown template is refused with those that there are" refused "'frob': there are llama2, alpaca, .*plain" on alpha load --template frob "$dir/chatty.gguf"
printf '{%% for %%}' >"$dir/bad.jinja"
check "so is a file that is not one" refused "template: line 1" on alpha load --template "$dir/bad.jinja" "$dir/chatty.gguf"
check "and one that is not there" refused "cannot read $dir/none.jinja" on alpha load --template "$dir/none.jinja" "$dir/chatty.gguf"
require on alpha load --nodes all --template chatml --name named "$dir/chatty.gguf"
known() { for n in alpha beta gamma; do serves $n named || return 1; done; }
require wait_for 10 known
requests named
check "a model that is served keeps it" refused "unload it first" on alpha load --template llama3 --name named "$dir/chatty.gguf"
require on alpha unload named
check "to be loaded by name takes none" refused "--template needs a file" on beta load --template llama3 named
require on beta load named
require wait_for 10 known
requests named
require on beta unload named
printf '\303' >"$dir/latin.jinja"
check "a file that is not UTF-8 is named as such" refused "latin.jinja is not a text in UTF-8" on alpha load --template "$dir/latin.jinja" "$demo"
printf 'own {{ messages[0].content }}<think>' >"$dir/own.jinja"
require on alpha load --nodes all --template "$dir/own.jinja" --name owned "$demo"
known() { for n in alpha beta gamma; do serves $n owned || return 1; done; }
require wait_for 10 known
requests owned
reasons() { on beta run --chat -m owned --json -n 5 hi | json "j['text'] == '' and j['reasoning']"; }
check "caravan run --chat tells reasoning from the answer" reasons
silent_run() { test -z "$(on beta run --chat -m owned -n 5 hi)"; }
check "and prints the answer alone" silent_run
require on alpha unload owned

# ---- embeddings, of a model on three nodes and of the same on one -----------------------------------------------------------
require on alpha load --nodes alpha --name alone "$demo"
known() { for n in alpha beta gamma; do serves $n alone || return 1; done; }
require wait_for 10 known
require on alpha logits -m stories --out "$dir/logits" $(cat "$dir/run.tokens")
requests embeddings logprobs
require on alpha unload alone

# ---- many clients ------------------------------------------------------------------------------------------------
requests crowd

# ---- clients that go --------------------------------------------------------------------------------------------
require mkmodel "$dir/slow.gguf" q4_0 1024 8 16 16 2816 512 8192
api loading &
loading=$!
require wait_for 20 grep -q begun "$dir/cases"
require on alpha load --nodes alpha --parallel 2 --name slow "$dir/slow.gguf"
wait $loading
report loading $?
known() { for n in alpha beta gamma; do serves $n slow || return 1; done; }
require wait_for 10 known
requests leaving
idle() { asked alpha 'models[name=slow].sequences' = 0; }
check "of clients that have gone, from two nodes, nothing runs any more" wait_for 20 idle
few() { asked alpha 'models[name=slow].tokens' '<' 4000; }
check "long before their 8000 tokens" few

# ---- streams that are taken up again ------------------------------------------------------------------------------------
requests resuming slow_reader orphaned

# ---- a node that ends while it streams --------------------------------------------------------------------------------
python3 "$top_srcdir/tests/system/api.py" "$dir" "$(http alpha)" "$(http beta)" "$(http gamma)" staying >"$dir/staying" 2>&1 &
staying=$!
require wait_for 20 grep -q begun "$dir/staying"
check "a node ends as it should while it streams" stop alpha
wait $staying
check "and its clients see their streams end" grep -qx "ended 4" "$dir/staying"
down() { asked beta 'nodes[name=alpha].state' = down; }
require wait_for 20 down
requests orphan

# ---- a stream is its key's -------------------------------------------------------------------------------------------
require on beta load --nodes beta --name late "$demo"
! command -v curl >/dev/null || requests keys
for k in one two; do on beta key create --name $k >"$dir/key.$k" || not_ok "set-up: key $k"; done
requests foreign

# ---- what must not be in a log ------------------------------------------------------------------------------------
silent() { ! grep -l -e "Once upon" -e "Lily" "$dir"/*.log; }
check "no prompt is in a log" silent
finish
