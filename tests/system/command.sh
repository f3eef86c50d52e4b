#!/bin/sh
# command: exit statuses, messages, help; what people type wrong.
. "$(dirname "$0")/lib.sh"

# says STATUS PATTERN COMMAND...: ends with that status, and one line on standard error that matches
says() {
	want=$1 pattern=$2
	shift 2
	"$@" >"$dir/says.out" 2>"$dir/says.err"
	got=$?
	[ "$got" = "$want" ] || {
		echo "status $got, not $want"
		cat "$dir/says.err"
		return 1
	}
	grep -q -- "$pattern" "$dir/says.err" || {
		echo "no '$pattern' in:"
		cat "$dir/says.err"
		return 1
	}
	if [ "$want" = 1 ] && [ "$(wc -l <"$dir/says.err")" != 1 ]; then
		echo "more than one line:"
		cat "$dir/says.err"
		return 1
	fi
	[ "$want" = 0 ] || ! test -s "$dir/says.out"
}

for c in run tokenize logits load unload models status invite join expel; do
	check "$c --help says how, on standard output" sh -c 'caravan "$0" --help 2>"$1" | grep -q "usage: caravan $0" && ! test -s "$1"' "$c" "$dir/help.err"
	check "$c refuses an unknown option" says 2 "no option --frobnicate" caravan $c --frobnicate
done
check "without a command: usage" says 2 "usage: caravan COMMAND" caravan
check "an unknown command" says 2 "no command 'frob'" caravan frob
check "caravan --help lists the commands" sh -c 'caravan --help | grep -q "invite "'
check "caravand --help" sh -c 'caravand --help | grep -q -- "--memory SIZE"'
check "caravand refuses an unknown option" says 2 "no option --frob" caravand --frob
check "caravand refuses a wrong size" says 2 "not a size" caravand --memory 12X
check "caravand refuses a wrong endpoint" says 2 "tcp://ADDR:PORT" caravand --listen 127.0.0.1:1
check "an unknown rung is refused by name" says 1 "avx1024" env CARAVAN_CPU=avx1024 caravand --state "$dir/x" --listen off

check "a value that is no number" says 2 "'many' is not a whole number" caravan run -n many x
check "a temperature out of range" says 2 "is not a number from 0 to 100" caravan run --temp -1 x
check "two prompts" says 2 "needs quotes" caravan run a b
check "no daemon" says 1 "no caravand answers on" caravan status --control "$dir/nobody.sock"
check "a file that is not there" says 1 "nothing.gguf" caravan run -m "$dir/nothing.gguf" x
echo "no model at all" >"$dir/junk.gguf"
check "a file that is no model" says 1 "junk.gguf" caravan run -m "$dir/junk.gguf" x
head -c 100000 "$demo" >"$dir/cut.gguf"
check "a file that is cut off" says 1 "cut.gguf" caravan run -m "$dir/cut.gguf" x

# ---- with a path -----------------------------------------------------------------------------------------
words() { i=0; while [ $i -lt "$1" ]; do printf 'word '; i=$((i + 1)); done; }
check "a prompt longer than the context is refused with both numbers" sh -c '
	caravan run -m "$1" "$2" 2>"$0/long" && exit 1
	grep -Eq "the prompt has [0-9]+ tokens, and the context of model .* is 512" "$0/long"' "$dir" "$demo" "$(words 600)"
check "an empty text has the beginning-of-text token alone" sh -c 'test "$(caravan tokenize -m "$0" "")" = 1' "$demo"
check "--no-bos leaves it out" sh -c 'test -z "$(caravan tokenize -m "$0" --no-bos "")"' "$demo"
check "special tokens count only when asked" sh -c '
	test "$(caravan tokenize -m "$0" --no-bos "</s>")" != 2 && test "$(caravan tokenize -m "$0" --no-bos --special "</s>")" = 2' "$demo"
check "-n bounds what is generated" sh -c 'test "$(caravan run -m "$0" --temp 0 -n 5 --json "" | python3 -c "import json, sys; j = json.load(sys.stdin); print(j[\"tokens\"], j[\"reason\"])")" = "5 limit"' "$demo"
check "a story ends by itself" sh -c 'test "$(caravan run -m "$0" --temp 0.5 --seed 1 --json "" | python3 -c "import json, sys; print(json.load(sys.stdin)[\"reason\"])")" = end' "$demo"
check "--stop ends before its text" sh -c '
	caravan run -m "$1" --temp 0 -n 100 "" >"$0/whole"
	caravan run -m "$1" --temp 0 -n 100 --stop "time" "" >"$0/stopped"
	test "$(cat "$0/stopped")" = "Once upon a " && grep -q "^Once upon a time" "$0/whole"' "$dir" "$demo"
check "penalties change the text" sh -c '
	caravan run -m "$1" --temp 0 -n 100 --repeat-penalty 1.5 "" >"$0/p1"; ! cmp -s "$0/p1" "$0/whole"' "$dir" "$demo"
check "a random seed is told, and gives the text again" sh -c '
	caravan run -m "$1" -n 40 --json "" >"$0/j1"
	seed=$(python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[\"seed\"])" "$0/j1")
	caravan run -m "$1" -n 40 --seed "$seed" --json "" >"$0/j2"
	python3 -c "import json, sys; a, b = (json.load(open(f)) for f in sys.argv[1:]); assert a[\"text\"] == b[\"text\"]" "$0/j1" "$0/j2"' "$dir" "$demo"
check "the packed store is the user's, and is used again" sh -c 'test -n "$(ls "$0/caravan/store/tensors")"' "$XDG_STATE_HOME"

# ---- a text that is as long as one may be, and one that is longer ---------------------------------------------
head -c 4194304 /dev/zero | tr '\0' '~' >"$dir/full"
check "a text of 4 MiB is taken, with all its tokens" sh -c '
	caravan tokenize -m "$1" --no-bos <"$0/full" >"$0/ids" && test "$(wc -l <"$0/ids")" = 1 && test "$(wc -w <"$0/ids")" -gt 2000000 &&
	! grep -q "  " "$0/ids"' "$dir" "$demo"
full_prompt() { caravan run -m "$demo" <"$dir/full"; }
check "as a prompt it is longer than any context" says 1 "the prompt has [0-9]* tokens, and the context of model" full_prompt
echo >>"$dir/full"
longer() { caravan "$@" <"$dir/full"; }
check "a longer prompt is refused, with the limit" says 1 "standard input is longer than 4.00 MiB" longer run -m "$demo"
check "a longer text too" says 1 "standard input is longer than 4.00 MiB" longer tokenize -m "$demo"

# ---- a node without models, without a network ---------------------------------------------------------------
require node alone
check "run without a model says what there is" says 1 "no model" on alone run x
check "an unknown model is named" says 1 "ghost" on alone run -m ghost x
check "unload of an unknown model" says 1 "ghost" on alone unload ghost
check "expel of an unknown node" says 1 "ghost" on alone expel ghost
check "expel of the node itself" says 1 "itself" on alone expel alone
check "a token that is none" says 1 "invitation" on alone join nonsense
require node small -- --memory 1M
check "too little memory says how much is missing" says 1 "[MG]iB" on small load "$demo"
check "a second daemon on the same socket is refused" says 1 "another caravand answers" caravand --state "$dir/alone" --listen off
require on alone load "$demo"
check "load of a loaded model says so" says 1 "stories" on alone load "$demo"
finish
