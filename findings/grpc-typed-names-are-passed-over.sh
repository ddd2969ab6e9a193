#!/usr/bin/env bash
#
# gRPC's clients, by TLS to servers as a cluster of xDS says (gRFC A29): google.golang.org/grpc v1.85.0, io.grpc:grpc-xds
# 1.85.1, grpcio 1.85.1 and @grpc/grpc-js-xds 1.14.1 pass over `match_typed_subject_alt_names` without a word, and then
# take each certificate of the CA, whatever its name.
#
# What one would expect: the names that a server's certificate may have stand in `match_typed_subject_alt_names`, as
# Envoy's documentation asks for; its forerunner `match_subject_alt_names` is deprecated. A client that does not know
# the new field refuses the cluster, or the connection.
#
# What happens: with `evil.test` in the new field alone, all four acknowledge the cluster and call the server, whose
# certificate is for `web.test`. With `evil.test` in the deprecated field all four refuse the server. So whoever names
# only the new one lets any holder of a certificate of that CA be the server. (tonic-xds 0.1.0-alpha.4 reads the new
# field, and the old one where that is empty.)
#
# Seen (the server's certificate is for web.test):
#     typed, web.test                                    go, java, python, node   calls it
#     typed, evil.test                                   go, java, python, node   calls it
#     typed evil.test, deprecated web.test               go, java, python, node   calls it
#     deprecated, web.test                               go, java, python, node   calls it
#     deprecated, evil.test                              go, java, python, node   refuses it
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
providers = {"shop": {"plugin_name": "file_watcher", "config": {
    "ca_certificate_file": folder + "/ca.pem", "certificate_file": folder + "/client.pem",
    "private_key_file": folder + "/client-key.pem", "refresh_interval": "60s"}}}


def judge(lines):
    return "calls it" if all(line == "ok one" for line in lines) else \
        "refuses it" if all(line.startswith("failed UNAVAILABLE") or line.startswith("failed Unavailable")
                            for line in lines) else str(lines[-1:])


def scene(name, wanted, typed=None, deprecated=None):
    validation = {"caCertificateProviderInstance": {"instanceName": "shop"}}
    if typed:
        validation["matchTypedSubjectAltNames"] = [{"sanType": "DNS", "matcher": {"exact": typed}}]
    if deprecated:
        validation["matchSubjectAltNames"] = [{"exact": deprecated}]
    return name, resources([locality([port])], validation=validation), providers, dict.fromkeys(commands, wanted)


sys.exit(run_afresh([
    scene("typed, web.test", "calls it", typed="web.test"),
    scene("typed, evil.test", "calls it", typed="evil.test"),
    scene("typed evil.test, deprecated web.test", "calls it", typed="evil.test", deprecated="web.test"),
    scene("deprecated, web.test", "calls it", deprecated="web.test"),
    scene("deprecated, evil.test", "refuses it", deprecated="evil.test"),
], judge, folder, commands))
PY
