#!/bin/sh
# The kernels on aarch64: cross-built by a nested configure, run under qemu-user on a processor without the dot product, on one with
# it and on one that multiplies matrices of bytes; and the reference gives the same results there as here.
. "$top_srcdir/tests/support/aarch64.sh"
for tool in $cross-gcc qemu-aarch64; do
	if ! command -v $tool >/dev/null; then
		echo "1..0 # SKIP no $tool (on Debian: apt install gcc-$cross libc6-dev-arm64-cross qemu-user)"
		exit 0
	fi
done

if test -f "$top_srcdir/config.status"; then
	echo "1..0 # SKIP the source folder is configured, which keeps a nested build from being so"
	exit 0
fi

build_aarch64
built=$?
cd "$aarch64" || exit 99

n=0
check() { # WHAT COMMAND...
	n=$((n + 1))
	what=$1
	shift
	if "$@"; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what"
	fi
}

# The checks of a processor, that it has these levels and no others, and that those named were checked; lines that are not ok are shown.
# Data are few: all of them are met by the kernels of this machine, which the reference is the same for.
levels() { # PROCESSOR LEVELS CHECKED [LEVEL]
	processor=$1 has=$2 checked=$3
	shift 3
	qemu-aarch64 -cpu "$processor" ./checkkern --quick "$@" >"$processor.out"
	status=$?
	grep -v '^ok' "$processor.out" | sed 's/^/# /'
	test $status -eq 0 && grep -qx "# levels: $has" "$processor.out" &&
		test "$(sed -n 's/^ok [0-9]* - \([a-z0-9]*\) has products for every type and number of columns$/\1/p' "$processor.out")" = "$checked"
}

same_reference() {
	here=$("$top_builddir/checkkern" --quick --hash) &&
		there=$(sed -n 's/^# the reference gives //p' cortex-a57.out) || return
	echo "# $here here, $there on aarch64"
	test "$here" = "$there"
}

check "kernels and checkkern build for aarch64" test $built -eq 0
if test $built -ne 0; then
	tail -20 build.log | sed 's/^/# /'
	echo "1..$n"
	exit 1
fi
check "without the dot product, the level that needs none gives what the reference gives" levels cortex-a57 neon neon
check "with it, so does the one that uses it" levels cortex-a76 "neon dotprod" dotprod dotprod
check "with products of matrices, so does the one that uses these" levels max "neon dotprod i8mm" i8mm i8mm
check "the reference gives the same bytes as on this machine" same_reference
echo "1..$n"
