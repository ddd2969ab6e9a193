"""Dials TARGET (xds:///orders) and calls METHOD (/shop.Orders/Get) again and again: a line for
each call, `ok NAME` of the instance that answered or `failed CODE WORDS`. Ends when it is
killed. The bootstrap's file is named by GRPC_XDS_BOOTSTRAP. With the word xds at the end, it
connects as the cluster says (TLS), else always without TLS. With CALL_VERSION, each call asks
for that version by the metadata x-version."""

import os
import sys
import time

import grpc
import grpc.experimental

PACE = 0.02  # seconds between two calls
DEADLINE = 20  # no answer in so long is a failure


def name(message: bytes) -> str:
    """The text of a google.protobuf.StringValue (field 1) that is shorter than 128 bytes."""
    return message[2:].decode()


def connect(target: str, credentials: str) -> grpc.Channel:
    if credentials == "xds":
        fallback = grpc.experimental.insecure_channel_credentials()
        return grpc.secure_channel(target, grpc.xds_channel_credentials(fallback))
    return grpc.insecure_channel(target)


def metadata() -> list[tuple[str, str]]:
    version = os.environ.get("CALL_VERSION")
    return [("x-version", version)] if version else []


def main(target: str, method: str, credentials: str = "") -> None:
    with connect(target, credentials) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=name)
        while True:
            try:
                line = f"ok {call(b'', timeout=DEADLINE, metadata=metadata())}"
            except grpc.RpcError as error:
                words = (error.details() or "").replace("\n", " ")
                line = f"failed {error.code().name} {words}"
            print(line, flush=True)
            time.sleep(PACE)


main(*sys.argv[1:])
