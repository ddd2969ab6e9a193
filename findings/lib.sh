# Sourced by the scripts beside it: a folder for one run, ports, processes that end with it, and the programs.
# No program is called here from another place than its public package, or than the variable that names it.

set -euo pipefail

run=$(mktemp -d)
started=()
index=

finish() {
    local code=$? pid
    trap - EXIT
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$run"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '%s\n' "$*"; }

# changed WORDS: the finding is not what it was.
changed() {
    printf 'CHANGED: %s\n' "$*" >&2
    exit 1
}

# expect WHAT SEEN WANTED
expect() {
    printf '  %-66s %s\n' "$1" "$2"
    [ "$2" = "$3" ] || changed "$1: this was '$3', and is '$2' now"
}

broken() {
    printf 'The script could not run: %s\n' "$*" >&2
    exit 2
}

# ports N: N free ports of the loopback, as the kernel chose them.
ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

# start LOG COMMAND...: in the background, until the script ends.
start() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    started+=($!)
}

# until_true SECONDS COMMAND...: runs it again and again until it succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then return 1; fi
        sleep 0.1
    done
}

# go_program OUTPUT MODULE VERSION PACKAGE: builds a public Go module's program at that version.
go_program() {
    command -v go >/dev/null || broken "go is needed to build $4, or a variable that names the program"
    say "building $4 $3, which can take minutes"
    mkdir -p "$run/build"
    printf 'module build\n\ngo 1.20\n\nrequire %s %s\n' "$2" "$3" >"$run/build/go.mod"
    (cd "$run/build" && env CGO_ENABLED=0 GOFLAGS='-mod=mod -modcacherw' GOWORK=off go build -o "$1" "$4") \
        >"$run/build/log" 2>&1 || {
        cat "$run/build/log" >&2
        broken "go could not build $4"
    }
}

# Leaves the program in $etcd: ETCD_BIN, or built.
need_etcd() {
    etcd=${ETCD_BIN:-}
    if [ -z "$etcd" ]; then
        etcd=$run/etcd
        go_program "$etcd" go.etcd.io/etcd/server/v3 v3.7.3 go.etcd.io/etcd/server/v3
    fi
    say "$("$etcd" --version | head -1)"
}

# Leaves the program in $consul: CONSUL_BIN, or built.
need_consul() {
    consul=${CONSUL_BIN:-}
    if [ -z "$consul" ]; then
        consul=$run/consul
        go_program "$consul" github.com/hashicorp/consul v1.14.11 github.com/hashicorp/consul
    fi
    say "$("$consul" version | head -1)"
}

# consul_server NAME [EXTRA JSON MEMBERS]: one server agent, default settings, with a leader. Its address is in
# $consul_at.
consul_server() {
    local http server serf grpc
    read -r http server serf grpc <<<"$(ports 4)"
    mkdir -p "$run/$1"
    printf '{"server":true,"bootstrap_expect":1,"node_name":"%s","data_dir":"%s","bind_addr":"127.0.0.1",
        "disable_update_check":true,"performance":{"raft_multiplier":1},%s
        "ports":{"http":%s,"server":%s,"serf_lan":%s,"serf_wan":-1,"dns":-1,"grpc":-1,"grpc_tls":%s}}' \
        "$1" "$run/$1" "${2:-}" "$http" "$server" "$serf" "$grpc" >"$run/$1.json"
    start "$run/$1.log" "$consul" agent -config-file "$run/$1.json"
    consul_at=127.0.0.1:$http
    until_true 60 consul_leads "$consul_at" || {
        tail "$run/$1.log" >&2
        broken "Consul has no leader after 60 s"
    }
}

# Itself in the catalog: it leads, and has written what it writes at its start.
consul_leads() { curl -sf "$1/v1/health/service/consul?consistent" | grep -q '"passing"'; }

# certificates: a CA, $run/ca.pem, and what it signed: $run/server.pem for web.test, $run/client.pem, each with its key.
certificates() {
    local name
    command -v openssl >/dev/null || broken "openssl is needed"
    new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "$@" 2>>"$run/openssl.log"; }
    new -subj "/CN=CA of a finding" -keyout "$run/ca-key.pem" -out "$run/ca.pem" || broken "openssl made no CA"
    for name in server client; do
        new -CA "$run/ca.pem" -CAkey "$run/ca-key.pem" -subj "/CN=$name" -addext basicConstraints=critical,CA:FALSE \
            -addext subjectAltName=DNS:web.test -keyout "$run/$name-key.pem" -out "$run/$name.pem" \
            || broken "openssl (3 or later) made no certificate"
    done
}

# field JSON_EXPRESSION: of the JSON on standard input, `it` in the expression.
field() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# index_in FILE: the X-Consul-Index of an answer's head.
index_in() { sed -n 's/^X-Consul-Index: \([0-9]*\).*/\1/Ip' "$1"; }

# read_consul URL: the answer's body into $run/body, its index into $index.
read_consul() {
    curl -sS -m 90 -D "$run/head" -o "$run/body" "$1" || return 1
    index=$(index_in "$run/head")
}

# put URL JSON
put() { curl -sSf -X PUT -d "$2" "$1" >/dev/null; }

# Two clusters of one server agent each: their addresses are in $east and $west.
consul_peers() {
    local name
    for name in east west; do
        consul_server "$name" '"datacenter":"'$name'","peering":{"enabled":true},"connect":{"enabled":true},'
        printf -v "$name" %s "$consul_at"
    done
}

# consul_exports SERVICE...: what west exports to east.
consul_exports() {
    local all
    all=$(printf '{"Name":"%s","Consumers":[{"Peer":"east"}]},' "$@")
    put "$west/v1/config" '{"Kind":"exported-services","Name":"default","Services":['"${all%,}"']}'
}

# A peering between the two, named `west` in east.
consul_join() {
    local token
    token=$(curl -sSf -X POST -d '{"PeerName":"east"}' "$west/v1/peering/token" | field 'it["PeeringToken"]')
    curl -sSf -X POST -d '{"PeerName":"west","PeeringToken":"'"$token"'"}' "$east/v1/peering/establish" >/dev/null
}

# Deletes it on both sides, as far as it is there, and waits until it is gone.
consul_parts() {
    local at
    curl -s -X DELETE "$east/v1/peering/west" >/dev/null || true
    curl -s -X DELETE "$west/v1/peering/east" >/dev/null || true
    for at in "$east" "$west"; do
        until_true 60 consul_has_no_peering "$at" || broken "a peering did not go"
    done
}
consul_has_no_peering() { [ "$(curl -sf "$1/v1/peerings" | field 'len(it)')" = 0 ]; }

# Fetches what grpc_lab.py needs, and the clients of gRPC in the tests' own pins (integration/grpc): each is given
# by GRPC_GO_BIN, GRPC_NODE_BIN and GRPC_JAVA_BIN, or built. Leaves in $commands how each starts, as JSON.
need_grpc() {
    local sources
    sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../integration/grpc" && pwd)
    say "fetching grpcio 1.85.1 and xds-protos 1.85.0"
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --only-binary=:all: \
        --target "$run/python" grpcio==1.85.1 xds-protos==1.85.0 || broken "pip could not get grpcio and xds-protos"
    export PYTHONPATH=$run/python:$(dirname "${BASH_SOURCE[0]}")
    if [ -z "${GRPC_NODE_BIN:-}" ]; then
        say "fetching the client for Node"
        mkdir "$run/node"
        cp "$sources"/node/package{,-lock}.json "$run/node"
        (cd "$run/node" && npm ci --ignore-scripts --no-audit --no-fund --silent) || broken "npm could not get it"
        printf '#!/bin/sh\nexport NODE_PATH=%s\nexec node "$@"\n' "$run/node/node_modules" >"$run/grpc-node"
        chmod 755 "$run/grpc-node"
        GRPC_NODE_BIN=$run/grpc-node
    fi
    if [ -z "${GRPC_GO_BIN:-}" ]; then
        say "building the client for Go"
        GRPC_GO_BIN=$run/grpc-go
        (cd "$sources/go" && env GOFLAGS='-mod=readonly -modcacherw' GOWORK=off go build -o "$GRPC_GO_BIN" .) \
            || broken "go could not build it"
    fi
    if [ -z "${GRPC_JAVA_BIN:-}" ]; then
        say "building the client for Java"
        mkdir "$run/java"
        cp -R "$sources/java/pom.xml" "$sources/java/src" "$run/java"
        mvn -B -q -f "$run/java/pom.xml" package || broken "mvn could not build it"
        printf '#!/bin/sh\nexec java -cp "%s/*" Client "$@"\n' "$run/java/target/jars" >"$run/grpc-java"
        chmod 755 "$run/grpc-java"
        GRPC_JAVA_BIN=$run/grpc-java
    fi
    commands=$(python3 - "$GRPC_GO_BIN" "$GRPC_JAVA_BIN" "$GRPC_NODE_BIN" "$sources" <<'PY'
import json, sys
go, java, node, sources = sys.argv[1:]
print(json.dumps({"go": [go], "java": [java], "python": [sys.executable, sources + "/python/client.py"],
                  "node": [node, sources + "/node/client.js"]}))
PY
)
}
