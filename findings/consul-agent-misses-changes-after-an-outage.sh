#!/usr/bin/env bash
#
# Consul 1.14.11: after its server was away, a client agent does not wake a streamed blocking read for a change, for as
# long again as the outage lasted (up to two minutes), while the same agent answers plain reads with the change.
#
# What one would expect: once the server has a leader again and the agent answers plain reads from it, a blocking read
# with an index returns when its service changes, as before; or it fails for as long as the agent cannot watch.
#
# What happens: the agent keeps one copy of each watched service, fed by a subscription of its own. Each copy tries to
# subscribe again by itself, with pauses that double with each failure (the log says failure_count), up to 60 s and as
# much again at random. A copy that has failed for 40 s pauses for tens of seconds more when the server is back. A new
# blocking read on it is accepted, says nothing, and waits. Reads that are not fed from the copy, such as those with
# `near=`, wake at once; so the whole difference is in one parameter.
#
# Seen (1.14.11, one server, one client agent, default settings, the server stopped for 40 s; 24 services, each read
# once by a blocking read before):
#     a plain read of the agent shows the change                         yes
#     blocking reads with near= that show it within 2 s                  24 of 24
#     blocking reads without it that show it within 2 s                  not all
#     and after two minutes more                                         24 of 24
#
# Runs with CONSUL_BIN, or builds Consul. Needs bash, curl, python3 (and go to build). Takes up to three minutes.

source "$(dirname "$0")/lib.sh"
need_consul
consul_server one
server=$consul_at
server_pid=${started[-1]}
lan=$(field 'it["ports"]["serf_lan"]' <"$run/one.json")

read -r http serf <<<"$(ports 2)"
mkdir "$run/two"
printf '{"node_name":"two","data_dir":"%s","bind_addr":"127.0.0.1","disable_update_check":true,
    "retry_join":["127.0.0.1:%s"],"retry_interval":"1s",
    "ports":{"http":%s,"serf_lan":%s,"dns":-1,"grpc":-1}}' "$run/two" "$lan" "$http" "$serf" >"$run/two.json"
start "$run/two.log" "$consul" agent -config-file "$run/two.json"
agent=127.0.0.1:$http
until_true 60 consul_leads "$agent" || broken "the client agent does not reach the server"

services=24
# register PORT: each service, in the catalog.
register() {
    local n
    for n in $(seq "$services"); do
        put "$server/v1/catalog/register" '{"Node":"n","Address":"10.0.0.1","SkipNodeUpdate":true,
            "Service":{"ID":"s'"$n"'","Service":"s'"$n"'","Port":'"$1"'}}'
    done
}
put "$server/v1/catalog/register" '{"Node":"n","Address":"10.0.0.1"}'
register 80

# blocked PARAMETERS PORT: starts a blocking read of each service at the agent; how many show the port within 2 s is left
# in $run/early, how many within 150 s in $run/late. Indexes are those of plain reads, which is what a client has.
cat >"$run/blocked.py" <<'PY'
import http.client, json, sys, threading, time, urllib.request
agent, server, parameters, old, new, run, services = sys.argv[1:]
seen, lock = {}, threading.Lock()
def get(at, path):
    with urllib.request.urlopen(f"http://{at}{path}", timeout=200) as answer:
        return int(answer.headers["X-Consul-Index"]), json.load(answer)
def port(entries): return entries[0]["Service"]["Port"] if entries else 0
ready, changed = threading.Barrier(int(services) + 1), threading.Event()
at = [0.0]
def one(name):
    path = f"/v1/health/service/{name}"
    index, entries = get(agent, path)
    assert port(entries) == int(old), entries
    ready.wait()
    while port(entries) != int(new):
        index, entries = get(agent, f"{path}?index={index}&wait=150s&{parameters}")
    with lock: seen[name] = time.monotonic()
threads = [threading.Thread(target=one, args=(f"s{n + 1}",), daemon=True) for n in range(int(services))]
for t in threads: t.start()
ready.wait()
time.sleep(0.5)  # the reads are on their way
for n in range(int(services)):
    body = json.dumps({"Node": "n", "SkipNodeUpdate": True, "Address": "10.0.0.1", "Service": {"ID": f"s{n + 1}", "Service": f"s{n + 1}", "Port": int(new)}})
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/v1/catalog/register", body.encode(), method="PUT"))
begun = time.monotonic()
plain = sum(port(get(agent, f"/v1/health/service/s{n + 1}")[1]) == int(new) for n in range(int(services)))
time.sleep(max(0, begun + 2 - time.monotonic()))
with lock: early = len(seen)
for t in threads: t.join(max(0, begun + 150 - time.monotonic()))
print(plain, early, len(seen))
PY
blocked() { python3 "$run/blocked.py" "$agent" "$server" "$1" "$2" "$3" "$run" "$services"; }

read -r plain early late <<<"$(blocked '' 80 81)"
expect "before the outage: blocking reads that show a change within 2 s" "$early of $services" "$services of $services"

kill -9 "$server_pid"
sleep 40
start "$run/one.log" "$consul" agent -config-file "$run/one.json"
until_true 60 consul_leads "$server" || broken "the server has no leader"
until_true 60 consul_leads "$agent" || broken "the agent does not reach the server again"

read -r plain early late <<<"$(blocked 'near=_agent' 81 82)"
expect "plain reads of the agent that show a change" "$plain of $services" "$services of $services"
expect "blocking reads with near= that show it within 2 s" "$early of $services" "$services of $services"
read -r plain early late <<<"$(blocked '' 82 83)"
expect "plain reads of the agent that show another change" "$plain of $services" "$services of $services"
expect "blocking reads without near= that show it within 2 s" \
    "$([ "$early" -lt "$services" ] && echo "not all" || echo all)" "not all"
expect "and within two minutes more" "$late of $services" "$services of $services"
