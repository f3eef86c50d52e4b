#!/bin/sh
# documents: every path, function and test that a document for developers names exists.  A path is a word in backquotes that
# begins with a folder of the source, a file's name in backquotes in the README.md of its folder, or the target of a link; a
# function is a word in backquotes that ends in (); a test is check_*, fuzz_* or *.sh, with or without a case of it behind.
# So does every file that a comment in C names: a word that ends in .c or .h and is not in <>, with or without folders before it.
# Each kind of problem that a daemon reports stands in caravan.1, for programs, and in a test.
cd "$top_srcdir" || exit 99
code='cli common daemon kernels proto shard'
folders=$(echo $code contrib demo doc tests | tr ' ' '|')
n=0

# paths DOCUMENT: those that it names, from the top folder
paths() {
	grep -oE "\`($folders)/[^\` ]*\`" "$1" | tr -d '`'
	grep -oE '\]\([^)#:]+' "$1" | sed "s|^](|$(dirname "$1")/|"
	case $1 in */README.md) grep -oE '`[a-z0-9_]+\.[chs]+`' "$1" | tr -d '`' | sed "s|^|$(dirname "$1")/|" ;; esac
}
tests() { grep -oE '`((check|fuzz)_[a-z_]+|[a-z]+\.sh)[^`]*`' "$1" | tr -d '`' | sed 's/[^a-z_.].*//'; }
functions() { grep -oE '`[a-z0-9_]+\(\)`' "$1" | tr -d '`()'; }

comments() { # of the C in a folder
	find "$1" -name '*.[ch]' ! -name '*.pb-c.[ch]' -exec grep -hoE '(/\*.*|^[[:space:]]*\*( .*)?)$' {} + |
		grep -oE '(^|[^][:alnum:]_./<>-])[[:alnum:]_.][[:alnum:]_./-]*\.[ch]\>' | sed 's/^[^[:alnum:]_.]//'
}

# those of standard input that are not there
no_path() { sort -u | while read -r path; do test -e "$path" || echo "$path"; done; }
no_test() {
	sort -u | while read -r name; do
		test -n "$(find tests -name "$name" -o -name "$name.c")" || echo "$name"
	done
}
no_comment() { # its name, or the end of its path
	sort -u | while read -r name; do
		# shellcheck disable=SC2086
		test -e "$name" || test -n "$(find $code tests -path "*/$name")" || echo "$name"
	done
}
no_function() {
	sort -u | while read -r name; do
		# shellcheck disable=SC2086
		grep -rqE --include='*.c' --include='*_tmpl.h' "^[a-z].*[ *]$name\(" $code 2>/dev/null || echo "$name()"
	done
}

kinds() { # of the problems in a folder
	find "$1" -name '*.c' -exec grep -hoE '((\.|->)kind = |report_problem\(o, (m->up \? )?)"[a-z-]+"( : "[a-z-]+")?' {} + | grep -oE '"[a-z-]+"' | tr -d '"'
}
no_kind() {
	sort -u | while read -r kind; do
		grep -q "^$(echo "$kind" | sed 's/-/\\\\-/g') " doc/man/caravan.1 && grep -rqF "$kind" tests/unit tests/system || echo "$kind"
	done
}

# check LEAST WHAT DOCUMENT: it names at least LEAST of WHAT, and all exist
check() {
	n=$((n + 1))
	missing=$("$2" "$3" | no_"${2%s}")
	count=$("$2" "$3" | sort -u | wc -l)
	if test -z "$missing" && test "$count" -ge "$1"; then
		echo "ok $n - $3: $count $2"
	else
		echo "not ok $n - $3: $count $2, at least $1 are expected"
		test -z "$missing" || echo "$missing" | sed 's/^/# there is no /'
	fi
}

check 30 paths doc/architecture.md
check 15 functions doc/architecture.md
check 5 paths CONTRIBUTING.md
check 1 paths kernels/README.md
check 1 functions kernels/README.md
check 5 paths daemon/serve/coordinator/README.md
check 2 paths shard/forward/README.md
check 10 paths daemon/text/jinja/README.md
check 2 functions daemon/text/jinja/README.md
check 2 tests daemon/text/jinja/README.md
check 4 paths README.md
check 1 paths doc/numerics.md
check 3 paths doc/protocol.md
check 1 paths doc/performance.md
check 1 paths doc/performance-log.md
check 1 paths doc/security.md
check 6 paths doc/tokenizers.md
check 1 tests doc/tokenizers.md
check 12 tests doc/security.md
check 20 kinds daemon
check 4 comments cli
check 2 comments common
check 30 comments daemon
check 15 comments kernels
check 4 comments proto
check 12 comments shard
check 10 comments tests
echo "1..$n"
