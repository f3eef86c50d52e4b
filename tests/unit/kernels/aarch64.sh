#!/bin/sh
# The kernels on aarch64: cross-built by a nested configure, run under qemu-user on a processor with the dot
# product and on one without; and the reference gives the same results there as here.
cross=aarch64-linux-gnu
folder=$top_builddir/tests/aarch64
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

# Statically linked, so that qemu needs no libraries of that system.
mkdir -p "$folder" && cd "$folder" || exit 99
{
	test -f Makefile || "$top_srcdir/configure" --quiet --host=$cross --enable-kernels-only --enable-werror \
		CFLAGS=-O2 LDFLAGS=-static
} >build.log 2>&1 && make checkkern >>build.log 2>&1
built=$?

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

# The checks of a processor, and that they were of these levels and no others; lines that are not ok are shown.
levels() { # PROCESSOR LEVELS
	qemu-aarch64 -cpu "$1" ./checkkern --quick >"$1.out"
	status=$?
	grep -v '^ok' "$1.out" | sed 's/^/# /'
	have=$(sed -n 's/^ok [0-9]* - \([a-z0-9]*\) has a product for every type$/\1/p' "$1.out" | tr '\n' ' ')
	test $status -eq 0 && test "$have" = "$2 "
}

same_reference() {
	here=$("$top_builddir/checkkern" --quick --hash) && there=$(qemu-aarch64 -cpu max ./checkkern --quick --hash) || return
	echo "# $here here, $there on aarch64"
	test "$here" = "$there"
}

check "kernels and checkkern build for aarch64" test $built -eq 0
if test $built -ne 0; then
	tail -20 build.log | sed 's/^/# /'
	echo "1..$n"
	exit 1
fi
check "with the dot product, every level gives what the reference gives" levels max "neon dotprod"
check "without, the one that needs none does" levels cortex-a57 neon
check "the reference gives the same bytes as on this machine" same_reference
echo "1..$n"
