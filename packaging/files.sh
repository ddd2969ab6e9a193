#!/bin/sh
# What all packages are made of, put into a folder: `packaging/files.sh PROGRAM FOLDER`. The program, its man pages and
# completions, documents, examples, a configuration to start from, and the list of crates in it (SBOM).
set -eu
program=$1 folder=$2
here=$(cd "$(dirname "$0")/.." && pwd)
cargo=${CARGO:-cargo}
rm -rf "$folder"
mkdir -p "$folder/completions"
install -m 755 "$program" "$folder/xds-bridge"
cd "$here"
for name in LICENSE CHANGELOG.md README.md bridge.toml examples docs; do
    cp -r "$name" "$folder"
done
"$folder/xds-bridge" man --to "$folder/man" >&2
for shell in bash zsh fish; do
    "$folder/xds-bridge" completions $shell >"$folder/completions/xds-bridge.$shell"
done
target=$(rustc -vV | sed -n 's/^host: //p')
"$cargo" metadata --locked --format-version 1 --filter-platform "$target" >"$folder/metadata"
python3 packaging/sbom.py Cargo.lock <"$folder/metadata" >"$folder/xds-bridge.cdx.json"
rm "$folder/metadata"
