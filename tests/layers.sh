#!/bin/sh
# layers: what may include what.  The folders stand in an order; a file includes headers of its own folder and of those before
# it, so that there is no arrow up and no circle.  A header that ends in _internal.h is for its own folder alone.
order='common kernels proto shard/gguf shard/model shard/store shard/import shard/forward shard
daemon/core daemon/net daemon/plan daemon/report daemon/text daemon/text/grammar daemon/text/jinja daemon/members daemon/calibration daemon/transfer daemon/scrub daemon/deploy
daemon/serve/stage daemon/serve/coordinator daemon/serve/gateway daemon/serve daemon/api/http daemon/api daemon cli'
cd "$top_srcdir" || exit 1
find common kernels proto shard daemon cli -name '*.[ch]' -exec grep -H '^#include "' {} + |
	sed 's/:#include "\([^"]*\)".*/ \1/' | awk -v order="$order" '
	function folder(path) { sub(/\/[^\/]*$/, "", path); return path }
	function rank(path,   f) { # of the longest name in the list that the folder begins with
		for (f = folder(path); f != ""; f = f ~ /\// ? folder(f) : "")
			if (f in at)
				return at[f]
		return 0
	}
	BEGIN { n = split(order, name, /[ \n]+/); for (i = 1; i <= n; i++) at[name[i]] = i; print "1..3" }
	$2 == "config.h" || $2 ~ /\.pb-c\.h$/ { next }
	{ includes++ }
	!rank($1) || !rank($2) { print "# " $1 " includes " $2 ": a folder without a place"; lost++; next }
	rank($2) > rank($1) { print "# " $1 " includes " $2 ", which stands above it"; up++ }
	$2 ~ /_internal\.h$/ && folder($1) != folder($2) { print "# " $1 " includes " $2 " of another folder"; inside++ }
	END {
		print (lost || includes < 500 ? "not ok" : "ok") " 1 - every folder has its place (" includes + 0 " includes)"
		print (up ? "not ok" : "ok") " 2 - no file includes what stands above it"
		print (inside ? "not ok" : "ok") " 3 - internal headers stay in their folder"
	}'
