#!/usr/bin/env bash
#
# io.grpc:grpc-xds 1.85.1: where one locality stands in an assignment twice, with priority 0 and with priority 1, only
# the entry that is written last counts. Written near first, spare second, all calls go to the spare.
#
# What one would expect: a locality may be in several priorities (only twice in *one* is forbidden), and grpc-java's
# #9683 is named as the support for it. Calls go to priority 0, and to priority 1 when that cannot be reached; the order
# of writing means nothing.
#
# What happens: Go, Python and Node do so. Java acknowledges the assignment and forgets the first entry: all calls go
# to the spare though the near one is healthy; in the other order the near one is called, but there is no spare when it
# refuses connections. With a zone of its own for the spare, Java does as the others.
#
# Seen (google.golang.org/grpc v1.85.0, io.grpc:grpc-xds 1.85.1, grpcio 1.85.1, @grpc/grpc-js-xds 1.14.1):
#     near, then spare                     go, python, node: near     java: spare
#     spare, then near                     go, python, node: near     java: near
#     spare, then near, which refuses      go, python, node: spare    java: fails
#     near, then spare in another zone     go, python, node: near     java: near
#     near, which refuses, then spare in another zone    all: spare
#
# Runs with GRPC_GO_BIN, GRPC_JAVA_BIN and GRPC_NODE_BIN, or fetches and builds them. Needs bash and python3 with pip
# (and go, mvn with java, npm with node).

source "$(dirname "$0")/lib.sh"
need_grpc
python3 - "$run" "$commands" <<'PY' || exit
import json, socket, sys
from grpc_lab import *

near_server, near = server(Named("near"))
spare_server, spare = server(Named("spare"))
refusing = socket.socket()
refusing.bind(("127.0.0.1", 0))  # and nobody listens
refuses = refusing.getsockname()[1]


def judge(lines):
    return " and ".join(sorted({line.split(" ")[1] if line.startswith("ok") else "fails" for line in lines}))


def wanted(others, java):
    return {"go": others, "python": others, "node": others, "java": java}


sys.exit(run([
    ("near, then spare", resources([locality([near]), locality([spare], 1)]), wanted("near", "spare")),
    ("spare, then near", resources([locality([spare], 1), locality([near])]), wanted("near", "near")),
    ("spare, then near, which refuses", resources([locality([spare], 1), locality([refuses])]),
     wanted("spare", "fails")),
    ("near, then spare in another zone", resources([locality([near]), locality([spare], 1, "b")]),
     wanted("near", "near")),
    ("near, which refuses, then the same spare", resources([locality([refuses]), locality([spare], 1, "b")]),
     wanted("spare", "spare")),
], resources([locality([near])]), judge, sys.argv[1], json.loads(sys.argv[2])))
PY
