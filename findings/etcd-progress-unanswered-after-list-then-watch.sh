#!/usr/bin/env bash
#
# etcd 3.7.3 (and 3.6.16): whoever lists at revision R and watches from R+1, as one does, gets no answer to progress
# requests until somebody writes something somewhere. `etcd grpc-proxy` answers none at all.
#
# What one would expect: the watch misses nothing and the store is at R, so the answer to "how far is this watch?" is
# R, at once. 3.5.16 answers so. A client that takes an unanswered progress request for a dead connection has worked
# for years, and reconnects again and again beside a quiet store from 3.6 on.
#
# What happens: the watch that starts at R, or that names no revision, is answered. The one that starts at R+1 is not,
# however often one asks; a write to any key, also one that is not watched, ends this. The proxy keeps the watch, and
# writes an error with a stack trace into its log for each request that it drops, but nothing to the client.
#
# Seen (3.7.3, and the same with 3.6.16; 3.5.16 differs in the third line: answered):
#     watch from no revision                                             answered
#     watch from R                                                       answered
#     watch from R+1, asked for 5 s                                      silent
#     watch from R+1, and a key that is not watched is written           answered
#     the same four through grpc-proxy                                   silent silent silent silent
#     an event arrives through grpc-proxy all the same                   event
#
# Runs with ETCD_BIN, or builds etcd. The client is built in any case: go.etcd.io/etcd/client/v3 v3.7.3. Needs bash,
# python3 and go.

source "$(dirname "$0")/lib.sh"
need_etcd

mkdir "$run/client"
printf 'module ask\n\ngo 1.26.0\n\nrequire go.etcd.io/etcd/client/v3 v3.7.3\n' >"$run/client/go.mod"
cat >"$run/client/main.go" <<'GO'
// ask ENDPOINT START [WRITTEN]: lists, watches from START (none, R or R+1), writes the key WRITTEN if there is one,
// and asks for progress each half second: prints `answered`, `event`, or after 5 s `silent`.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, Context: ctx})
	must(err)
	listed, err := client.Get(ctx, "shop/", clientv3.WithPrefix())
	must(err)
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithCreatedNotify()}
	switch os.Args[2] {
	case "R":
		options = append(options, clientv3.WithRev(listed.Header.Revision))
	case "R+1":
		options = append(options, clientv3.WithRev(listed.Header.Revision+1))
	}
	watch := client.Watch(ctx, "shop/", options...)
	if created := <-watch; !created.Created {
		log.Fatal("the watch was not created")
	}
	if len(os.Args) > 3 {
		_, err = client.Put(ctx, os.Args[3], "1")
		must(err)
	}
	ask, end := time.NewTicker(500*time.Millisecond), time.After(5*time.Second)
	for {
		select {
		case <-ask.C:
			must(client.RequestProgress(ctx))
		case answer, open := <-watch:
			switch {
			case !open || answer.Err() != nil:
				log.Fatal("the watch ended: ", answer.Err())
			case answer.IsProgressNotify():
				fmt.Println("answered")
				return
			case len(answer.Events) > 0 && len(os.Args) > 3:
				fmt.Println("event")
				return
			}
		case <-end:
			fmt.Println("silent")
			return
		}
	}
}
GO
say "building a client"
(cd "$run/client" && env CGO_ENABLED=0 GOFLAGS='-mod=mod -modcacherw' GOWORK=off go build -o ask .) \
    >"$run/client/log" 2>&1 || {
    cat "$run/client/log" >&2
    broken "go could not build the client"
}
ask() { timeout 60 "$run/client/ask" "$@" || broken "the client failed"; }
reached() { "$run/client/ask" "$1" none shop/first; }

read -r clients peers proxies <<<"$(ports 3)"
start "$run/etcd.log" "$etcd" --data-dir "$run/data" --log-level error \
    --listen-client-urls "http://127.0.0.1:$clients" --advertise-client-urls "http://127.0.0.1:$clients" \
    --listen-peer-urls "http://127.0.0.1:$peers" --initial-advertise-peer-urls "http://127.0.0.1:$peers" \
    --initial-cluster "default=http://127.0.0.1:$peers"
until_true 30 reached "127.0.0.1:$clients" || broken "etcd did not start: $(tail -3 "$run/etcd.log")"
start "$run/proxy.log" "$etcd" grpc-proxy start --endpoints "127.0.0.1:$clients" --data-dir "$run/proxy" \
    --listen-addr "127.0.0.1:$proxies" --advertise-client-url "127.0.0.1:$proxies"
until_true 30 reached "127.0.0.1:$proxies" || broken "the proxy did not start: $(tail -3 "$run/proxy.log")"

at=127.0.0.1:$clients
expect "watch from no revision" "$(ask "$at" none)" answered
expect "watch from R" "$(ask "$at" R)" answered
expect "watch from R+1, asked for 5 s" "$(ask "$at" R+1)" silent
expect "watch from R+1, and a key that is not watched is written" "$(ask "$at" R+1 elsewhere)" answered
at=127.0.0.1:$proxies
expect "the same four through grpc-proxy" \
    "$(ask "$at" none) $(ask "$at" R) $(ask "$at" R+1) $(ask "$at" R+1 elsewhere)" "silent silent silent silent"
expect "an event arrives through grpc-proxy all the same" "$(ask "$at" R+1 shop/b)" event
