#!/bin/sh
# A program that needs no library of the machine it runs on: `packaging/static.sh OUT_FILE`. By musl where rustup has the
# target, else by the C library of this machine. Says which; says loudly, and ends with 3, when neither is there.
set -eu
out=$1
cargo=${CARGO:-cargo}
machine=$(rustc -vV | sed -n 's/^host: \([^-]*\)-.*/\1/p')
say() { echo "packaging: $*" >&2; }
installed() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null || echo /nowhere)" ]; }

musl=$machine-unknown-linux-musl gnu=$machine-unknown-linux-gnu
if installed "$musl" && command -v musl-gcc >/dev/null; then
    target=$musl
elif installed "$gnu" && [ -n "$(find /usr/lib /usr/lib64 -name libc.a -not -path '*musl*' 2>/dev/null | head -1)" ]; then
    say "NO MUSL: rustup has not the target $musl (rustup target add $musl), or musl-gcc is missing (musl-tools);"
    say "the static program is linked with glibc instead: names of hosts are looked up by /etc/hosts and DNS, by no other"
    say "module of the machine's nsswitch.conf unless it has the same glibc"
    target=$gnu
else
    say "NO STATIC PROGRAM: neither the target $musl nor a libc.a for $gnu is on this machine"
    exit 3
fi
RUSTFLAGS="-C target-feature=+crt-static" "$cargo" build --release --locked --bin xds-bridge \
    --target "$target" --target-dir target/static
built=target/static/$target/release/xds-bridge
if readelf -lW "$built" | grep -q INTERP; then
    say "NOT STATIC: $built asks for an interpreter"
    exit 1
fi
install -D -m 755 "$built" "$out"
say "static: $out ($target)"
