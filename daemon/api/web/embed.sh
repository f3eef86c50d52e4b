#!/bin/sh
# embed: writes files.c: the files of the page, each as it is and compressed, with its ETag.
#
#   embed.sh FOLDER MARKED DOMPURIFY HIGHLIGHT >files.c
#
# FOLDER has our own files; the others are Debian's: marked.umd.min.js, purify.min.js, and the lib folder of highlight.js, whose
# core and common languages become one file.
set -eu
folder=$1 marked=$2 dompurify=$3 highlight=$4
languages='bash cpp cs css diff dockerfile go haskell ini java javascript json kotlin lua makefile markdown perl php plaintext
powershell python r ruby rust shell sql swift typescript x86asm xml yaml'
work=$(mktemp -d "${TMPDIR:-/tmp}/caravan-embed.XXXXXX")
trap 'rm -rf "$work"' EXIT

# module FILE: what a CommonJS module exports, as an expression.  Its console is silent: highlight.js advertises its next version.
module() {
	printf '(function (module, exports, console) {\n'
	cat "$1"
	printf '\nreturn module.exports;\n})({ exports: {} }, {}, { log() {}, warn() {}, error() {} })'
}

highlight_js() {
	printf '/* highlight.js, BSD-3-Clause: see licences.txt */\n"use strict";\nvar hljs = '
	module "$highlight/highlight.js"
	printf ';\n'
	for l in $languages; do
		printf 'hljs.registerLanguage("%s", ' "$l"
		module "$highlight/languages/$l.js"
		printf ');\n'
	done
}

# source maps are not embedded
without_map() { grep -v '^//# sourceMappingURL=' "$1"; }

bytes() { # NAME FILE
	printf 'static const unsigned char %s[] = {\n' "$1"
	od -An -v -tu1 "$2" | sed 's/  */,/g; s/^,//; s/$/,/'
	printf '};\n'
}

n=0
: >"$work/table"
embed() { # NAME TYPE: of the file $work/body
	hash=$(sha256sum <"$work/body" | cut -c 1-24)
	gzip -9 -n -c "$work/body" >"$work/gzip"
	bytes "body_$n" "$work/body"
	bytes "gzip_$n" "$work/gzip"
	printf '\t{"%s", "%s", "\\"%s\\"", "\\"%s-gzip\\"", body_%d, gzip_%d, sizeof body_%d, sizeof gzip_%d},\n' \
		"$1" "$2" "$hash" "$hash" $n $n $n $n >>"$work/table"
	n=$((n + 1))
}

echo '/* Written by embed.sh. */'
echo '#include "daemon/api/web/web.h"'
without_map "$marked" >"$work/body" && embed marked.js 'text/javascript; charset=utf-8'
without_map "$dompurify" >"$work/body" && embed purify.js 'text/javascript; charset=utf-8'
highlight_js >"$work/body" && embed highlight.js 'text/javascript; charset=utf-8'
for f in "$folder"/*; do
	case $f in
	*.html) type='text/html; charset=utf-8' ;;
	*.css) type='text/css; charset=utf-8' ;;
	*.js) type='text/javascript; charset=utf-8' ;;
	*.svg) type='image/svg+xml' ;;
	*.txt) type='text/plain; charset=utf-8' ;;
	*) continue ;;
	esac
	cp "$f" "$work/body" && embed "${f##*/}" "$type"
done
echo 'const struct web_file web_files[] = {'
cat "$work/table"
echo '};'
echo 'const size_t web_nfiles = sizeof web_files / sizeof *web_files;'
