# aarch64: the kernels and checkkern cross-built for that processor by a nested configure, in tests/aarch64 of the build folder, once
# for the scripts that want them.
# shellcheck shell=sh
cross=aarch64-linux-gnu
aarch64=$(cd "$top_builddir" && pwd)/tests/aarch64 aarch64_source=$(cd "$top_srcdir" && pwd)

# Statically linked, so that qemu needs no libraries of that system.  Whoever comes second waits.
build_aarch64() {
	mkdir -p "$aarch64" && (
		flock 9 && cd "$aarch64" || exit 1
		test -f Makefile || "$aarch64_source/configure" --quiet --host=$cross --enable-kernels-only --enable-werror \
			CFLAGS=-O2 LDFLAGS=-static || exit 1
		make -j"$(nproc)" checkkern
	) >"$aarch64/build.log" 2>&1 9>"$aarch64/lock"
}
