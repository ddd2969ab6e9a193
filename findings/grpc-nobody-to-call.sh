#!/usr/bin/env bash
#
# gRPC's clients, when the control plane says that nobody is left to call: io.grpc:grpc-xds 1.85.1 goes on calling the
# endpoint that was taken away, and the reason that `drop_overloads` carries is in the error of some languages only,
# in some states only.
#
# What one would expect: an assignment without an endpoint (an empty ClusterLoadAssignment, the way to empty a cluster)
# fails calls at once in each language. `drop_overloads` of 100 % drops every call, and its category is named.
#
# What happens: Go, Python and Node fail at once on the empty assignment; Java acknowledges it and goes on calling the
# old endpoint. With 100 % dropped and no endpoint, Python and Node drop with the category, Go fails for want of
# endpoints, and Java still goes on, dropping nothing. With a healthy endpoint *and* 100 % dropped all four fail, and
# all but Go name the category. So the one assignment that stops all four has an endpoint in it.
#
# Seen (google.golang.org/grpc v1.85.0, io.grpc:grpc-xds 1.85.1, grpcio 1.85.1, @grpc/grpc-js-xds 1.14.1; the state
# before is one healthy endpoint, whose server lives on):
#     no endpoint                        go       fails
#     no endpoint                        java     goes on
#     no endpoint                        python   fails
#     no endpoint                        node     fails
#     no endpoint, all calls dropped     go       fails
#     no endpoint, all calls dropped     java     goes on
#     no endpoint, all calls dropped     python   fails, with the category
#     no endpoint, all calls dropped     node     fails, with the category
#     an endpoint, all calls dropped     go       fails
#     an endpoint, all calls dropped     java     fails, with the category
#     an endpoint, all calls dropped     python   fails, with the category
#     an endpoint, all calls dropped     node     fails, with the category
#
# Runs with GRPC_GO_BIN, GRPC_JAVA_BIN and GRPC_NODE_BIN, or fetches and builds them. Needs bash and python3 with pip
# (and go, mvn with java, npm with node).

source "$(dirname "$0")/lib.sh"
need_grpc
python3 - "$run" "$commands" <<'PY' || exit
import json, sys
from grpc_lab import *

CATEGORY = "shop-is-closed"
_, port = server(Named("one"))
server_here = [locality([port])]


def judge(lines):
    kinds = {"goes on" if line.startswith("ok") else
             "fails, with the category" if CATEGORY in line else "fails" for line in lines}
    return " and ".join(sorted(kinds)) or "no call ends"


def wanted(go, java, python, node):
    words = {"F": "fails", "C": "fails, with the category", "G": "goes on"}
    return {"go": words[go], "java": words[java], "python": words[python], "node": words[node]}


sys.exit(run([
    ("no endpoint", resources([]), wanted("F", "G", "F", "F")),
    ("no endpoint, all calls dropped", resources([], drop=CATEGORY), wanted("F", "G", "C", "C")),
    ("an endpoint, all calls dropped", resources(server_here, drop=CATEGORY), wanted("F", "C", "C", "C")),
], resources(server_here), judge, sys.argv[1], json.loads(sys.argv[2])))
PY
