#!/bin/sh
# files: what people have in a model's place, what a file does not say of its tokenizer, and special tokens in prompts and answers.
. "$(dirname "$0")/lib.sh"

# fails PATTERN COMMAND...: status 1, and one line on standard error that matches
fails() {
	pattern=$1
	shift
	"$@" >"$dir/fails.out" 2>"$dir/fails.err"
	got=$?
	cat "$dir/fails.err"
	[ $got = 1 ] && [ "$(wc -l <"$dir/fails.err")" = 1 ] && grep -q -- "$pattern" "$dir/fails.err"
}
# prints TEXT COMMAND...: exactly this on standard output
prints() {
	want=$1
	shift
	"$@" >"$dir/prints.out" || return 1
	printf %s "$want" | cmp - "$dir/prints.out" || {
		cat "$dir/prints.out"
		return 1
	}
}
# nothing_kept STATE: no weight, no names and no blob of a file is there
nothing_kept() { test -z "$(find "$1/store" -type f ! -name '*.lock' 2>/dev/null)"; }
greedy() { # MODEL ARG...: run of a path, greedily
	model=$1
	shift
	caravan run -m "$dir/$model.gguf" --temp 0 "$@"
}

# ---- what cannot be used is refused before anything is read ------------------------------------------------------
require mkchain "$dir/none.gguf" hello " world"
require mkchain "$dir/other.gguf" pre=superbpe hello " world"
require node alpha
require node beta
require on beta join "$(on alpha invite)"
require wait_for 10 all_up alpha 2
echo "one memory=8G bandwidth=20GB/s threads=4 link=1Gbit/s" >"$dir/machines"
for m in none:"tokenizer.ggml.pre is missing" other:"tokenizer.ggml.pre is \"superbpe\", which Caravan does not know"; do
	f=$dir/${m%%:*}.gguf why=${m#*:}
	check "run refuses what $why" fails "$why.*--pre" caravan run -m "$f" hi
	check "so does load" fails "$why.*--pre list" on alpha load "$f"
	check "so does plan" fails "$why" on alpha plan "$f"
	check "and plan for other machines" fails "$why" caravan plan --cluster "$dir/machines" "$f"
	check "and tokenize, which names the file" fails "${f##*/}: $why" caravan tokenize -m "$f" hi
done
# a special token is looked for at every place of a text, so that there is a bound on its length
require mkchain "$dir/long.gguf" pre=llama-bpe "<|$(printf '%02000d' 0)"
check "a special token may not be endless" fails "long.gguf: token 256 is special and 2002 bytes long" on alpha load "$dir/long.gguf"
check "nothing was kept of it by a command" nothing_kept "$XDG_STATE_HOME/caravan"
check "nor by a daemon" nothing_kept "$dir/alpha"

# ---- a pre-tokenizer can be named, and stays with the model ------------------------------------------------------
wrong_pre() { ! caravan run -m "$dir/none.gguf" --pre frob x 2>"$dir/pre" && grep -q "'frob' is not a pre-tokenizer .*--pre list" "$dir/pre"; }
check "a name that is none says how to see those that are" wrong_pre
check "all are listed" sh -c 'caravan tokenize --pre list | grep -q "llama-bpe, .*qwen2, .*default$"'
all_in_manual() {
	for name in $(caravan tokenize --pre list | tr -d ,); do
		sed 's/\\//g' "$top_srcdir/doc/man/caravan.1" | grep -q "[ ^]$name[ ,.]\|^$name[,.]" && grep -q "[| ]$name[,| ]" "$top_srcdir/doc/tokenizers.md" || return
	done
}
check "the manual and the document name all" all_in_manual
check "it is named for a path" prints "hello world" greedy none --pre llama-bpe x
check "for tokens of a path too" prints "$(printf '258 104 105\n ')" sh -c 'caravan tokenize -m "$0" --pre gpt-2 hi; printf " "' "$dir/none.gguf"
check "not for a model that serves" sh -c '! caravan run --pre gpt-2 x 2>"$0" && grep -q "need a path" "$0"' "$dir/pre"
check "plan takes it" on alpha plan --pre llama-bpe "$dir/none.gguf"
check "so does load" on alpha load --pre llama-bpe "$dir/none.gguf"
check "another node cuts words alike" sh -c 'test "$(caravan tokenize --control "$0" 1234)" = "$(caravan tokenize -m "$1" --pre llama-bpe 1234)"' \
	"$dir/beta/control.sock" "$dir/none.gguf"
check "and runs it" prints "hello world" on beta run --temp 0 x
check "to be loaded again by name takes none" fails "--pre needs a file" on alpha load --pre gpt-2 none
require on alpha unload none
check "and needs none" on alpha load none
check "it still cuts words as it did" sh -c 'test "$(caravan tokenize --control "$0" 1234)" = "$(caravan tokenize -m "$1" --pre llama-bpe 1234)"' \
	"$dir/beta/control.sock" "$dir/none.gguf"

# ---- special tokens ----------------------------------------------------------------------------------------------
require mkchain "$dir/chain.gguf" pre=llama-bpe hello "<|start|>" " world" "<|stop|>" " more"
check "control tokens are not shown" prints "hello world more" greedy chain ""
check "but with --special" prints "hello<|start|> world<|stop|> more" greedy chain --special ""
check "a stop text may spell one" prints "hello world" greedy chain --stop "<|stop|>" x
check "of several the first that comes" prints "hello" greedy chain --stop "<|stop|>" --stop "<|start|>" x
check "with --special too" prints "hello<|start|> world" greedy chain --special --stop "<|stop|>" x
check "and with text around it" prints "hell" greedy chain --stop "o<|start|> w" x
stopped() { greedy chain --json --stop "<|start|>" x | json "j['reason'] == 'stop' and j['text'] == 'hello'"; }
check "which is why the answer ends" stopped
check "a BOS that is typed is not doubled" prints "261 256
" caravan tokenize -m "$dir/chain.gguf" --special "<|begin_of_text|>hello"
require mkchain "$dir/eos.gguf" pre=llama-bpe eos hello " world"
check "a whole text has its EOS" prints "258 120 259
" caravan tokenize -m "$dir/eos.gguf" x
check "a prompt has none" prints "hello world" greedy eos x
check "nor with --special" prints "hello world" greedy eos --special x
check "but one that is typed is the end" prints "" greedy eos --special "x<|end_of_text|>"
require mkchain "$dir/eom.gguf" pre=llama-bpe eom hello
ends() { greedy eom --json x | json "j['reason'] == 'end' and j['text'] == 'hello'"; }
check "an EOM that the file names ends the answer" ends
require mkchain "$dir/noeot.gguf" pre=llama-bpe noeot hello
noted() { # COMMAND...: it ends well, and says what was ignored
	"$@" >"$dir/noted.out" 2>"$dir/noted.err" && cat "$dir/noted.err" &&
		[ "$(grep -c "tokenizer.ggml.eot_token_id is 128009 and there are 260 tokens: it is ignored" "$dir/noted.err")" = 1 ]
}
check "a special token that is not there is ignored, which run says" noted greedy noeot x
check "and tokenize" noted caravan tokenize -m "$dir/noeot.gguf" x
check "and plan" noted on alpha plan "$dir/noeot.gguf"
check "and plan for other machines" noted caravan plan --cluster "$dir/machines" "$dir/noeot.gguf"
check "and load" noted on alpha load "$dir/noeot.gguf"
require on alpha unload noeot
require mkchain "$dir/nobos.gguf" pre=llama-bpe nobos hello
check "an empty prompt without a BOS has an answer" fails "the prompt is empty, and model nobos adds no beginning-of-text token to start from: give a prompt" greedy nobos ""
check "a prompt goes" prints hello greedy nobos x
check "the first token of an answer keeps its space" prints " world" greedy eos --stop never --special hello
require mkchain "$dir/padded.gguf" pre=llama-bpe padded hello " world"
check "rows beyond the tokens are never sampled" prints "hello world" greedy padded x
check "whatever the temperature" greedy padded --temp 100 --seed 1 -n 30 x

# ---- the context -------------------------------------------------------------------------------------------------
full() { # PATTERN COMMAND...: it ends well, and says on standard error that the context is full
	pattern=$1
	shift
	"$@" 2>"$dir/full.err" >"$dir/full.out" && cat "$dir/full.err" && [ "$(wc -l <"$dir/full.err")" = 1 ] &&
		grep -q "the answer ends here because the context of $pattern" "$dir/full.err"
}
check "run takes a context, and says when it is full" full "30 tokens is full; change it with --context" caravan run -m "$demo" --temp 0 --context 30 ""
check "in JSON too, beside the object" full "30 tokens" caravan run -m "$demo" --temp 0 --context 30 --json ""
check "a context beyond what was trained is refused" fails "more than the model was trained for: 512" caravan run -m "$demo" --context 600 x
require on alpha unload none
require on alpha load --context 64 "$demo"
check "of a model that serves it is load's to set" full "64 tokens is full; change it with caravan load --context" on alpha run --temp 0 ""
check "not run's" sh -c '! caravan run --context 9 x 2>"$0" && grep -q "need a path" "$0"' "$dir/pre"

# ---- other things ------------------------------------------------------------------------------------------------
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n' >"$dir/pointer.gguf"
check "a pointer says how to get the file" fails "pointer.gguf: not a GGUF file: it is a Git LFS pointer.*git lfs pull" on alpha load "$dir/pointer.gguf"
check "plan says so too" fails "git lfs pull" caravan plan --cluster "$dir/machines" "$dir/pointer.gguf"
mkdir "$dir/one" "$dir/hf" "$dir/bare" && cp "$demo" "$dir/one/m.gguf" && : >"$dir/hf/model-00001-of-00002.safetensors"
long=a-model-with-a-name-that-says-everything-about-it-and-more.Q4_K_M
cp "$demo" "$dir/$long.gguf" && cp "$demo" "$dir/esc$(printf '\033')ape.gguf"
check "a name that is too long is not cut" fails "$long is too long for a model's name.*--name" on alpha load "$dir/$long.gguf"
check "but another one may be given" on alpha load --name short "$dir/$long.gguf"
check "a file's name must be text" fails "no text: give it another one" on alpha load "$dir/esc$(printf '\033')ape.gguf"
require on alpha unload short
check "a folder names the model in it" fails "one is a folder: name the model in it, .*/one/m.gguf" on alpha load "$dir/one"
check "or what it holds instead" fails "folder of safetensors: convert" on alpha plan "$dir/hf"
check "or that there is none" fails "without a .gguf file" on alpha load "$dir/bare"
cp "$dir/chain.gguf" "$dir/sha256-0123456789abcdef"
blob() { (cd "$dir" && caravan run -m sha256-0123456789abcdef --temp 0 x); }
check "a model without a suffix is one" prints "hello world more" blob
printf '\002\0\0\0\0\0\0\0{}' >"$dir/model.safetensors"
other() { (cd "$dir" && caravan run -m model.safetensors x); }
check "a file of another form is told as one" fails "it is a safetensors file: convert" other
cp "$top_srcdir/tests/data/models/split-00001-of-00002.gguf" "$dir/s-00001-of-00002.gguf"
cp "$top_srcdir/tests/data/models/split-00001-of-00002.gguf" "$dir/s-00002-of-00002.gguf"
for i in 1 2; do
	check "the part that is another one is named, by part $i" fails "s-00002-of-00002.gguf: says that it is part 1 of 2" \
		caravan run -m "$dir/s-0000$i-of-00002.gguf" x
done
head -c 3000 "$top_srcdir/tests/data/models/split-00002-of-00002.gguf" >"$dir/s-00002-of-00002.gguf"
check "so is one that is cut off" fails "s-00002-of-00002.gguf: .*is the download complete" on alpha load "$dir/s-00001-of-00002.gguf"
finish
