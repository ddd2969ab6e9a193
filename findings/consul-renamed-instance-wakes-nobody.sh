#!/usr/bin/env bash
#
# Consul 1.14.11: an instance that is registered again under another service name leaves its old service, and no
# plain blocking read of the old service notices.
#
# What one would expect: the list of the old service has changed, so its index rises and the reads that wait end,
# as they do when the instance is deregistered.
#
# What happens: the index of the old service stays. A read that waits (/v1/health/service with `near`, and
# /v1/catalog/service) sleeps out its wait, and that of health ends with the list of *before*, though the instance
# has been gone for most of the wait. The next read has the right list, but under the index that the client holds
# already. The streamed read of the same service ends at once, with a higher index. So two reads of one state differ
# in their index, and a client that takes "same index" for "nothing new" calls an instance of another service until
# something else happens.
#
# Seen (1.14.11, one server agent, wait=5s):
#   registered by the agent as `shop`, now as `other`:
#     plain health read: seconds waited, index moved, instances          5 no 2
#     plain catalog read: seconds waited, index moved                    5 no
#     streamed health read: seconds waited, index moved, instances       0 yes 1
#     plain read afterwards: index moved, instances                      no 1
#   the same again by /v1/catalog/register: the same four lines
#
# Runs with CONSUL_BIN, or builds Consul. Needs bash, curl, python3 (and go to build).

source "$(dirname "$0")/lib.sh"
need_consul
consul_server one

by_agent() { put /v1/agent/service/register "{\"ID\":\"$1\",\"Name\":\"$2\",\"Port\":80}"; }
by_catalog() {
    put /v1/catalog/register \
        "{\"Node\":\"far\",\"Address\":\"10.0.0.1\",\"Service\":{\"ID\":\"$1\",\"Service\":\"$2\",\"Port\":80}}"
}
put() { curl -sSf -X PUT -d "$2" "$consul_at$1" >/dev/null; }
has() { [ "$(curl -s "$consul_at/v1/health/service/$1?consistent" | field 'len(it)')" = "$2" ]; }

# waits NAME URL: its answer into $run/NAME, as `seconds index instances`.
waits() {
    local from
    from=$(date +%s)
    curl -sS -m 60 -D "$run/$1.head" -o "$run/$1.body" "$consul_at$2"
    echo "$(($(date +%s) - from)) $(index_in "$run/$1.head") $(field 'len(it)' <"$run/$1.body")" >"$run/$1"
}

# told NAME FIELDS: what was read, with the seconds as 0 (at once) or 5 (the whole wait), the index as moved or not.
told() {
    local seconds at instances waited=5 moved=yes
    read -r seconds at instances <"$run/$1"
    if [ "$seconds" -lt 4 ]; then waited=0; fi
    if [ "$at" = "$index" ]; then moved=no; fi
    if [ "$2" = 3 ]; then echo "$waited $moved $instances"; else echo "$waited $moved"; fi
}

for how in by_agent by_catalog; do
    say "registered $how as \`shop-$how\`, now as \`other-$how\`:"
    shop=shop-$how
    "$how" "$how-1" "$shop"
    "$how" "$how-2" "$shop"
    until_true 20 has "$shop" 2 || broken "the two instances did not come"
    read_consul "$consul_at/v1/health/service/$shop?consistent"

    waiting=()
    for read in "health /v1/health/service/$shop?near=_agent&" "catalog /v1/catalog/service/$shop?" \
        "streamed /v1/health/service/$shop?"; do
        waits "${read%% *}" "${read#* }index=$index&wait=5s" &
        waiting+=($!)
    done
    sleep 1 # all three wait
    "$how" "$how-1" "other-$how"
    until_true 20 has "other-$how" 1 || broken "the instance did not go over"
    wait "${waiting[@]}"

    expect "plain health read: seconds waited, index moved, instances" "$(told health 3)" "5 no 2"
    expect "plain catalog read: seconds waited, index moved" "$(told catalog 2)" "5 no"
    expect "streamed health read: seconds waited, index moved, instances" "$(told streamed 3)" "0 yes 1"
    waits after "/v1/health/service/$shop?consistent"
    read -r _ at instances <"$run/after"
    expect "plain read afterwards: index moved, instances" \
        "$([ "$at" = "$index" ] && echo no || echo yes) $instances" "no 1"
done
