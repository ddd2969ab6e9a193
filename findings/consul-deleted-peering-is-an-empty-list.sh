#!/usr/bin/env bash
#
# Consul 1.14.11: what a reader sees of a peering. Deleting one ends the reads that wait with "200, no instances"; the
# names of what it imports are given wrongly by one read and for too long by another.
#
# What one would expect: a reader can tell "the last instance has left" from "this peering is no more", by an error or
# a header; a list of the peer's names is the list of what has instances, by the same `peer=` as elsewhere.
#
# What happens: /v1/health/service/NAME?peer=P that waits ends at the deletion (made on the importing
# side, or on the other) with 200, `[]` and a higher index, just as if the last instance had been deregistered; only
# /v1/peering/P says what happened (404, or TERMINATED). /v1/catalog/services and /v1/catalog/nodes take `peer=P`
# without a word and give the own cluster's lists. ImportedServices of /v1/peering/P names a service still after its
# last instance has left.
#
# Seen (1.14.11, two clusters of one server agent each, `orders` and `users` exported to the other):
#     peering, when the instances have come                              ACTIVE
#     catalog/services with peer= is that of the own cluster             yes
#     catalog/nodes with peer= is that of the own cluster                yes
#     last instance of orders left: status, instances, index             200 0 higher
#     orders is among ImportedServices                                   yes
#     deleted on the importing side: status, instances, index            200 0 higher
#     the peering then                                                   404
#     deleted on the exporting side: status, instances, index            200 0 higher
#     the peering then                                                   TERMINATED
#
# Runs with CONSUL_BIN, or builds Consul. Needs bash, curl, python3 (and go to build).

source "$(dirname "$0")/lib.sh"
need_consul

count() { curl -sf "$east/v1/health/service/$1?peer=west" | field 'len(it)'; }
has() { [ "$(count "$1")" = "$2" ]; }
peering() { curl -s "$east/v1/peering/west" | field 'it["State"]' 2>/dev/null || echo 404; }
is_peering() { [ "$(peering)" = "$1" ]; }
same() { if [ "$(curl -sf "$east$1")" = "$(curl -sf "$east$1?peer=west")" ]; then echo yes; else echo no; fi; }

# Reads SERVICE of the peer until the command behind it has taken effect: `status instances index`.
ends_with() {
    local waiting service=$1
    shift
    read_consul "$east/v1/health/service/$service?peer=west"
    curl -s -m 60 -D "$run/end.head" -o "$run/end" "$east/v1/health/service/$service?peer=west&index=$index&wait=30s" &
    waiting=$!
    sleep 1 # it waits
    kill -0 "$waiting" || broken "the read of $service did not wait"
    "$@"
    wait "$waiting"
    printf '%s %s ' "$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$run/end.head")" "$(field 'len(it)' <"$run/end")"
    if [ "$(index_in "$run/end.head")" -gt "$index" ]; then echo higher; else echo 'not higher'; fi
}
leaves() { put "$west/v1/catalog/deregister" '{"Node":"far","ServiceID":"'"$1"'"}'; }
deletes() { curl -sSf -X DELETE "$1" >/dev/null; }

consul_peers
for name in orders users; do
    put "$west/v1/catalog/register" \
        '{"Node":"far","Address":"10.0.0.1","Service":{"ID":"'$name'","Service":"'$name'","Port":80}}'
done
consul_exports orders users

consul_join
until_true 60 has users 1 || broken "users was not imported"
until_true 60 has orders 1 || broken "orders was not imported"
expect "peering, when the instances have come" "$(peering)" ACTIVE
expect "catalog/services with peer= is that of the own cluster" "$(same /v1/catalog/services)" yes
expect "catalog/nodes with peer= is that of the own cluster" "$(same /v1/catalog/nodes)" yes
expect "last instance of orders left: status, instances, index" "$(ends_with orders leaves orders)" "200 0 higher"
imported=$(curl -sf "$east/v1/peering/west" | field '"yes" if "orders" in it["StreamStatus"]["ImportedServices"] else "no"')
expect "orders is among ImportedServices" "$imported" yes
expect "deleted on the importing side: status, instances, index" \
    "$(ends_with users deletes "$east/v1/peering/west")" "200 0 higher"
until_true 30 is_peering 404 || true
expect "the peering then" "$(peering)" 404

consul_parts
consul_join
until_true 60 has users 1 || broken "users was not imported"
expect "deleted on the exporting side: status, instances, index" \
    "$(ends_with users deletes "$west/v1/peering/east")" "200 0 higher"
until_true 30 is_peering TERMINATED || true
expect "the peering then" "$(peering)" TERMINATED
