#!/usr/bin/env bash
#
# Consul 1.14.11: the instances of a peer's service come one after the other when a peering is established, and go one
# after the other, from a peering that is ACTIVE, when the peer deletes it soon after. Each step is an ordinary answer:
# 200, a higher index, some of the instances.
#
# What one would expect: what the peer sends as one list appears as one list, as a registration of many instances in one
# transaction does; and a peering that ends takes all its instances at once, or says before that it is ending.
#
# What happens: a reader of /v1/health/service/NAME?peer=P sees hundreds of steps while 400 instances are imported. When
# the exporting side deletes its end a moment later, it sees hundreds again, as if all were deregistered by and by, while
# /v1/peering/P still says ACTIVE; only the LastHeartbeat, which is still zero, tells it from a peering to be believed. A
# peering that has lived for a heartbeat (15 s) says TERMINATED first, and then all go at once; deleted on the importing
# side they go at once in any case.
#
# Seen (1.14.11, two clusters of one server agent each; a reader that asks again and again):
#     established: different numbers of instances on the way to 400      many
#     deleted on the importing side: numbers on the way to 0             none
#     deleted on the exporting side at once: numbers on the way to 0     many
#     the state of the peering in the middle of that                     ACTIVE
#     its last heartbeat                                                 0001-01-01T00:00:00Z
#     deleted on the exporting side later: numbers on the way to 0       none
#     the state of the peering then                                      TERMINATED
#
# Runs with CONSUL_BIN, or builds Consul. Needs bash, curl, python3 (and go to build).

source "$(dirname "$0")/lib.sh"
need_consul
consul_peers

# watch_until NUMBER: in the background; leaves in $run/steps how many numbers other than the first and the last it
# read, as a word, and in $run/state the peering's state and last heartbeat at one of them.
watch_until() {
    python3 - "${east#http://}" "$1" "$run" <<'PY' &
import http.client, json, sys
consul, last, run = http.client.HTTPConnection(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def get(path):
    consul.request("GET", path)
    return json.loads(consul.getresponse().read() or "null")
open(run + "/reads", "w").close()
seen, state = set(), ""
while True:
    number = len(get("/v1/health/service/many?peer=west"))
    if number == last: break
    if 0 < number < 400 and not state:
        peering = get("/v1/peering/west")
        state = peering["State"] + " " + peering["StreamStatus"]["LastHeartbeat"]
    seen.add(number)
print("many" if len(seen - {0, 400}) > 10 else "none" if not seen - {0, 400} else "some",
      file=open(run + "/steps", "w"))
print(state, file=open(run + "/state", "w"))
PY
    reader=$!
    rm -f "$run/reads"
    until_true 30 test -e "$run/reads" || broken "the reader did not start"
}

for number in $(seq 400); do
    put "$west/v1/catalog/register" '{"Node":"n'"$number"'","Address":"10.0.1.1",
        "Service":{"ID":"many-'"$number"'","Service":"many","Port":'"$number"'}}'
done
consul_exports many

watch_until 400
consul_join
wait "$reader"
expect "established: different numbers of instances on the way to 400" "$(cat "$run/steps")" many

watch_until 0
curl -sSf -X DELETE "$east/v1/peering/west" >/dev/null
wait "$reader"
expect "deleted on the importing side: numbers on the way to 0" "$(cat "$run/steps")" none

again() {
    consul_parts
    watch_until 400
    consul_join
    wait "$reader"
}
deletes_on_the_exporting_side() {
    watch_until 0
    curl -sSf -X DELETE "$west/v1/peering/east" >/dev/null
    wait "$reader"
}
again
deletes_on_the_exporting_side
expect "deleted on the exporting side at once: numbers on the way to 0" "$(cat "$run/steps")" many
read -r state heartbeat <"$run/state"
expect "the state of the peering in the middle of that" "$state" ACTIVE
expect "its last heartbeat" "$heartbeat" 0001-01-01T00:00:00Z

again
peering() { curl -sf "$east/v1/peering/west" | field "$1"; }
beats() { [ "$(peering 'it["StreamStatus"]["LastHeartbeat"][:4]')" != 0001 ]; }
until_true 60 beats || broken "the peering has no heartbeat after 60 s"
deletes_on_the_exporting_side
expect "deleted on the exporting side later: numbers on the way to 0" "$(cat "$run/steps")" none
expect "the state of the peering then" "$(peering 'it["State"]')" TERMINATED
