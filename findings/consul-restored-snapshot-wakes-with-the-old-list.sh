#!/usr/bin/env bash
#
# Consul 1.14.11: when a snapshot is restored, the reads that wait end with what was there before the restore, or
# do not end at all.
#
# What one would expect: the list is another one, so whoever waits for a change gets the restored list; its index is
# lower than the one waited for, which tells the client to start over.
#
# What happens: a plain blocking read (/v1/health/service with `near`, and /v1/catalog/service) does end at the
# restore, but with the index and the list of *before* it. A client that asks again with that index, as it should
# after such an answer, waits the whole next wait, since its index lies in the future of the restored store. A streamed
# read is not woken. Both have the restored list, under a lower index, only at the end of a wait (5 minutes unless
# the client says otherwise).
#
# Seen (1.14.11, one server agent; two instances, of which the snapshot has one; wait=10s, and 5s for the second):
#     plain health read: seconds waited, index, instances                1 as before 2
#     plain catalog read: seconds waited, index, instances               1 as before 2
#     plain health read, asked again: seconds waited, index, instances   5 lower 1
#     streamed health read: seconds waited, index, instances             10 lower 1
#
# Runs with CONSUL_BIN, or builds Consul. Needs bash, curl, python3 (and go to build).

source "$(dirname "$0")/lib.sh"
need_consul
consul_server one

put() { curl -sSf -X PUT -d "$2" "$consul_at$1" >/dev/null; }
instance() {
    put /v1/catalog/register \
        "{\"Node\":\"far\",\"Address\":\"10.0.0.1\",\"Service\":{\"ID\":\"$1\",\"Service\":\"shop\",\"Port\":80}}"
}

# waits NAME URL WAIT: reads with the index of before the restore; its answer into $run/NAME. The restore takes place
# one second after the first reads begin, so what ends at once ends after 1 or 2 seconds.
waits() {
    local from waited at=lower
    from=$(date +%s)
    curl -sS -m 60 -D "$run/$1.head" -o "$run/$1.body" "$consul_at$2index=$index&wait=$3s"
    waited=$(($(date +%s) - from))
    if [ "$waited" -ge "$3" ]; then waited=$3; elif [ "$waited" -le 3 ]; then waited=1; fi
    if [ "$(index_in "$run/$1.head")" -eq "$index" ]; then at='as before'; fi
    if [ "$(index_in "$run/$1.head")" -gt "$index" ]; then at=higher; fi
    echo "$waited $at $(field 'len(it)' <"$run/$1.body")" >"$run/$1"
}

instance one
curl -sSf -o "$run/snapshot" "$consul_at/v1/snapshot"
instance two
read_consul "$consul_at/v1/health/service/shop?consistent"
[ "$(field 'len(it)' <"$run/body")" = 2 ] || broken "the two instances did not come"

waits health '/v1/health/service/shop?near=_agent&' 10 &
health=$!
waits catalog '/v1/catalog/service/shop?' 10 &
catalog=$!
waits streamed '/v1/health/service/shop?' 10 &
streamed=$!
sleep 1 # all three wait
curl -sSf -X PUT --data-binary "@$run/snapshot" "$consul_at/v1/snapshot"
wait "$health" "$catalog"
waits again '/v1/health/service/shop?near=_agent&' 5
wait "$streamed"

expect "plain health read: seconds waited, index, instances" "$(cat "$run/health")" "1 as before 2"
expect "plain catalog read: seconds waited, index, instances" "$(cat "$run/catalog")" "1 as before 2"
expect "plain health read, asked again: seconds waited, index, instances" "$(cat "$run/again")" "5 lower 1"
expect "streamed health read: seconds waited, index, instances" "$(cat "$run/streamed")" "10 lower 1"
