#!/bin/sh
# mixed: nodes of two kinds of processor in one cluster say the same bytes.  caravand is cross-built for aarch64 against
# Debian's libraries of that kind, in a folder of the build, and runs under qemu-user beside the one of this machine.
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/support/aarch64.sh"

packages="libzmq3-dev libprotobuf-c-dev libssl-dev libevent-dev libjansson-dev libpcre2-dev libhwloc-dev libedit-dev libncurses-dev"
folder=$top_builddir/tests/mixed
without() { # WHY
	echo "1..0 # SKIP $1"
	exit 0
}
for tool in $cross-gcc qemu-aarch64 apt-get dpkg; do
	command -v $tool >/dev/null || without "no $tool (on Debian: apt install gcc-$cross libc6-dev-arm64-cross qemu-user)"
done
test "$(uname -m)" != aarch64 || without "this machine is of that kind"
test ! -f "$top_srcdir/config.status" || without "the source folder is configured, which keeps a nested build from being so"

# ---- the libraries, from where this machine has its own: nothing of the machine's changes ------------------------
mkdir -p "$folder" && folder=$(cd "$folder" && pwd) && top=$(cd "$top_srcdir" && pwd) || exit 99
root=$folder/root
fetch() {
	mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial" && : >"$folder/apt/status" || return
	cat >"$folder/apt/conf" <<-END
		APT::Architecture "arm64";
		APT::Architectures { "arm64"; };
		Dir::State "$folder/apt";
		Dir::State::status "$folder/apt/status";
		Dir::Cache "$folder/apt";
		Debug::NoLocking "1";
		APT::Sandbox::User "";
	END
	# shellcheck disable=SC2086
	APT_CONFIG=$folder/apt/conf apt-get -q update && APT_CONFIG=$folder/apt/conf apt-get -q -y \
		--no-install-recommends --download-only install $packages || return
	rm -rf "$root.new" && mkdir "$root.new" || return
	for p in "$folder"/apt/archives/*.deb; do
		dpkg -x "$p" "$root.new" || return
	done
	rm -rf "$folder/apt" && mv "$root.new" "$root"
}
test -d "$root" || fetch >"$folder/fetch.log" 2>&1 || {
	tail -n 5 "$folder/fetch.log" | sed 's/^/# /'
	without "Debian's packages for arm64 cannot be had here"
}

# The kernels are as people have them; the rest is compiled in half the time, with what GCC might contract a product and a sum in.
build() {
	cd "$folder" || return
	test -f Makefile || PKG_CONFIG_LIBDIR=$root/usr/lib/$cross/pkgconfig:$root/usr/share/pkgconfig \
		PKG_CONFIG_SYSROOT_DIR=$root "$top/configure" --quiet --host=$cross --enable-werror \
		CC="$cross-gcc --sysroot=$root" CFLAGS='-O1 -fexpensive-optimizations' || return
	# the kernels, which need no library, are there; they are to be newer than what has just been configured
	test -f kernels-copied || {
		build_aarch64 && cp -r "$aarch64/kernels" . && find kernels -name '*.o' -exec touch {} + && : >kernels-copied || return
	}
	make -j"$(nproc)" caravand
}
built() { (build) >"$folder/build.log" 2>&1 || { tail -n 20 "$folder/build.log"; return 1; }; }
require built

# ---- the cluster ------------------------------------------------------------------------------------------------
there="qemu-aarch64 -L $root $folder"
kernels() { grep -q "is up, version .*, kernels $2" "$dir/$1.log"; }
require node here
require with "$there/caravand" node pi QEMU_CPU=cortex-a76
require with "$there/caravand" node board QEMU_CPU=cortex-a57
check "one is of this machine" sh -c '! grep -q "kernels \(neon\|dotprod\|i8mm\)" "$0"' "$dir/here.log"
check "one has the dot product, and no more" kernels pi dotprod
check "one has not" kernels board neon
for n in pi board; do
	require on "$n" join "$(on here invite)"
done
require wait_for 30 all_up here 3
check "a model loads over all three" on here load --nodes all "$demo"
check "with layers on each" sh -c 'caravan status --control "$0/here/control.sock" --json | python3 -c "
import json, sys
assert len({x[\"node\"] for x in json.load(sys.stdin)[\"models\"][0][\"stages\"]}) == 3"' "$dir"

caravan run -m "$demo" --temp 0 -n 60 "One day, " >"$dir/alone"
caravan run -m "$demo" --temp 0.9 --seed 5 -n 60 "One day, " >"$dir/sampled"
for n in here pi board; do
	on "$n" run --temp 0 -n 60 "One day, " >"$dir/$n.text"
	check "$n says what one machine says" same "$dir/$n.text" "$dir/alone"
	on "$n" run --temp 0.9 --seed 5 -n 60 "One day, " >"$dir/$n.sampled"
	check "$n samples what one machine samples" same "$dir/$n.sampled" "$dir/sampled"
done
finish
