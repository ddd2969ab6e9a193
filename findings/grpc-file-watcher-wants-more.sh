#!/usr/bin/env bash
#
# gRPC's clients, a CA for TLS to servers (`certificate_providers` with `file_watcher` in the bootstrap, gRFC A29):
# io.grpc:grpc-xds 1.85.1 takes no CA without a certificate and a key beside it, and @grpc/grpc-js-xds 1.14.1 refuses
# the whole bootstrap if there is no `refresh_interval`. Neither says so.
#
# What one would expect: gRFC A29 has all fields of `file_watcher` optional (a certificate and its key go together;
# `refresh_interval` is 600 s by default), so a CA alone is enough for a server that asks for no certificate.
#
# What happens: Go and Python need no more. Java acknowledges the cluster, and each call fails as UNKNOWN with a list of
# classes, "Channel Pipeline: [...]"; with any certificate and key in the file it calls. Node fails each call, also of
# clusters without TLS: "Cannot read properties of null (reading 'clientDefaultListenerResourceNameTemplate')".
#
# Seen (the server asks for no certificate):
#     CA alone                                           go       calls it
#     CA alone                                           java     UNKNOWN Channel Pipeline
#     CA alone                                           python   calls it
#     CA alone                                           node     refuses the bootstrap
#     CA, refresh_interval                               go       calls it
#     CA, refresh_interval                               java     UNKNOWN Channel Pipeline
#     CA, refresh_interval                               python   calls it
#     CA, refresh_interval                               node     calls it
#     CA, refresh_interval, a certificate, its key       go, java, python, node   calls it
#
# Runs with GRPC_GO_BIN, GRPC_JAVA_BIN and GRPC_NODE_BIN, or fetches and builds them. Needs bash, openssl 3 and python3
# with pip (and go, mvn with java, npm with node).

source "$(dirname "$0")/lib.sh"
need_grpc
certificates
python3 - "$run" "$commands" <<'PY' || exit
import json, sys
from grpc_lab import *

folder, commands = sys.argv[1], json.loads(sys.argv[2])
_, port = server(Named("one"), certificate=folder + "/server")
given = resources([locality([port])], validation={
    "caCertificateProviderInstance": {"instanceName": "shop"}, "matchSubjectAltNames": [{"exact": "web.test"}]})
CALLS = dict.fromkeys(commands, "calls it")
JAVA = {"java": "UNKNOWN Channel Pipeline"}


def judge(lines):
    kinds = {"calls it" if line == "ok one" else
             "UNKNOWN Channel Pipeline" if line.startswith("failed UNKNOWN Channel Pipeline: [") else
             "refuses the bootstrap" if "Cannot read properties of null" in line else line for line in lines}
    return " and ".join(sorted(kinds))


def scene(name, wanted, **config):
    config["ca_certificate_file"] = folder + "/ca.pem"
    return name, given, {"shop": {"plugin_name": "file_watcher", "config": config}}, wanted


pair = {"certificate_file": folder + "/client.pem", "private_key_file": folder + "/client-key.pem"}
sys.exit(run_afresh([
    scene("CA alone", {**CALLS, **JAVA, "node": "refuses the bootstrap"}),
    scene("CA, refresh_interval", {**CALLS, **JAVA}, refresh_interval="60s"),
    scene("CA, refresh_interval, a certificate, its key", CALLS, refresh_interval="60s", **pair),
], judge, folder, commands))
PY
