"""For the scripts beside it: a control plane (state of the world), servers that answer with their name, and gRPC's
own clients, which call `xds:///shop` again and again. All on loopback, on ports of the kernel."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401, named by type in the listener
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401, named by type in the cluster
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import json_format

TYPE = "type.googleapis.com/"
LISTENER = TYPE + "envoy.config.listener.v3.Listener"
CLUSTER = TYPE + "envoy.config.cluster.v3.Cluster"
ASSIGNMENT = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
MESSAGES = {LISTENER: listener_pb2.Listener, CLUSTER: cluster_pb2.Cluster,
            ASSIGNMENT: endpoint_pb2.ClusterLoadAssignment}


def server(*handlers, certificate=None):
    """A gRPC server with these handlers, and its port; by TLS with CERTIFICATE.pem and CERTIFICATE-key.pem."""
    made = grpc.server(futures.ThreadPoolExecutor(32), handlers=handlers)
    if certificate:
        key, chain = (open(certificate + end, "rb").read() for end in ("-key.pem", ".pem"))
        port = made.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    else:
        port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    return made, port


class Named(grpc.GenericRpcHandler):
    """Answers each call with a google.protobuf.StringValue."""

    def __init__(self, name):
        self.answer = bytes([0x0A, len(name)]) + name.encode()

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(lambda *_: self.answer)


class ControlPlane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.resources = {}
        self.version = 0
        self.streams = {}  # queue of a stream → {type: whether the last response is answered}
        self.refused = []
        self.server, self.port = server()
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self.server)

    def put(self, **resources):
        with self.lock:
            self.resources = {LISTENER: resources["listener"], CLUSTER: resources["cluster"],
                              ASSIGNMENT: resources["assignment"]}
            self.version += 1
            for inbox, types in self.streams.items():
                types.update(dict.fromkeys(types, False))
                inbox.put(self.version)

    def is_settled(self, clients):
        """Each client has answered each of its types."""
        with self.lock:
            return len(self.streams) >= clients and all(all(types.values()) for types in self.streams.values())

    def StreamAggregatedResources(self, requests, _):
        inbox, types = queue.SimpleQueue(), {}
        with self.lock:
            self.streams[inbox] = types
        threading.Thread(target=self.read, args=(requests, inbox), daemon=True).start()
        sent = {}
        try:
            while (news := inbox.get()) is not None:
                for url in list(types) if isinstance(news, int) else self.asked(news, types, sent):
                    with self.lock:
                        version, body = self.version, self.resources[url]
                        types[url] = False
                        sent[url] = str(version)
                    response = discovery_pb2.DiscoveryResponse(version_info=sent[url], nonce=sent[url], type_url=url)
                    response.resources.add().Pack(json_format.ParseDict(body, MESSAGES[url]()))
                    yield response
        finally:
            with self.lock:
                del self.streams[inbox]

    @staticmethod
    def read(requests, inbox):
        try:
            for request in requests:
                inbox.put(request)
        except grpc.RpcError:
            pass
        inbox.put(None)

    def asked(self, request, types, sent):
        """The types that this request wants an answer for."""
        url = request.type_url
        if url not in MESSAGES:
            return []
        if request.HasField("error_detail"):
            self.refused.append(request.error_detail.message)
        with self.lock:
            if not request.resource_names:  # no longer wanted
                types.pop(url, None)
                sent.pop(url, None)
                return []
            if request.response_nonce == str(self.version):
                types[url] = True
        return [] if url in sent else [url]


class Client:
    def __init__(self, language, command, bootstrap, *more):
        self.language, self.lines = language, []
        command = [*command, "xds:///shop", "/shop.Shop/Get", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "GRPC_XDS_BOOTSTRAP": bootstrap})
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())


def wait(what, seconds, is_true):
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            print(f"The script could not run: {what} not within {seconds} s", file=sys.stderr)
            raise SystemExit(2)
        time.sleep(0.05)


def endpoint(port):
    return {"healthStatus": "HEALTHY", "loadBalancingWeight": 1,
            "endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}}}}


def locality(ports, priority=0, zone=""):
    return {"locality": {"region": "here", "zone": zone}, "lbEndpoints": [endpoint(port) for port in ports],
            "loadBalancingWeight": 1, "priority": priority}


def resources(localities, drop=None, domain="*", validation=None):
    """A listener, a cluster and its endpoints; `drop` is the category of calls that are dropped, all of them;
    `validation`: whom the cluster takes by TLS."""
    routes = [{"match": {"prefix": ""}, "route": {"cluster": "shop"}}]
    manager = {"@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
               "httpFilters": [{"name": "router", "typedConfig": {
                   "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}],
               "routeConfig": {"virtualHosts": [{"name": "shop", "domains": [domain], "routes": routes}]}}
    assignment = {"clusterName": "shop", "endpoints": localities}
    if drop:
        all_of_them = {"numerator": 100, "denominator": "HUNDRED"}
        assignment["policy"] = {"dropOverloads": [{"category": drop, "dropPercentage": all_of_them}]}
    ads = {"ads": {}, "resourceApiVersion": "V3"}
    cluster = {"name": "shop", "type": "EDS", "edsClusterConfig": {"edsConfig": ads}}
    if validation:
        context = {"@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                   "commonTlsContext": {"validationContext": validation}}
        cluster["transportSocket"] = {"name": "envoy.transport_sockets.tls", "typedConfig": context}
    return {"listener": {"name": "shop", "apiListener": {"apiListener": manager}}, "cluster": cluster,
            "assignment": assignment}


def bootstrap(folder, language, plane, **more):
    """A client's file that leads to this control plane."""
    file = os.path.join(folder, language + ".json")
    with open(file, "w", encoding="utf-8") as out:
        json.dump({"xds_servers": [{"server_uri": f"127.0.0.1:{plane.port}", "channel_creds": [{"type": "insecure"}],
                                    "server_features": ["xds_v3"]}],
                   "node": {"id": language, "locality": {"region": "here"}}, **more}, out)
    return file


def run_afresh(scenes, judge, folder, commands):
    """Plays `scenes` (name, resources, certificate providers, wanted by language), each with clients that begin with it
    and have xDS credentials: what `judge` says of the first lines of each. Returns 1 if one is not as wanted."""
    result = 0
    for name, given, providers, wanted in scenes:
        plane, clients = ControlPlane(), []
        plane.put(**given)
        try:
            for language, command in commands.items():
                file = bootstrap(folder, language, plane, certificate_providers=providers)
                clients.append(Client(language, command, file, "xds"))
            for client in clients:
                wait(f"calls of {client.language}", 60, lambda c=client: len(c.lines) >= 5)
                seen = judge(client.lines)
                print(f"  {name:50} {client.language:8} {seen}", flush=True)
                if seen != wanted[client.language]:
                    print(f"CHANGED: this was '{wanted[client.language]}': {client.lines[-1:]}", flush=True)
                    result = 1
        finally:
            for client in clients:
                client.process.kill()
    return result


def run(scenes, first, judge, folder, commands):
    """Plays `scenes` (name, resources, wanted by language), with `first` before each: what `judge` says of the
    lines that a client writes once all have answered. Returns 1 if one is not as wanted."""
    plane, result = ControlPlane(), 0
    plane.put(**first)
    clients = []
    for language, command in commands.items():
        clients.append(Client(language, command, bootstrap(folder, language, plane)))
    try:
        for name, given, wanted in scenes:
            plane.put(**first)
            for client in clients:
                wait(f"calls of {client.language}", 60, lambda c=client: c.lines[-5:] and all(
                    line.startswith("ok") for line in c.lines[-5:]))
            plane.put(**given)
            wait("an answer of each client", 30, lambda: plane.is_settled(len(clients)))
            time.sleep(1)  # for what is under way; then what is seen in two more seconds
            marks = [len(client.lines) for client in clients]
            time.sleep(2)
            for client, mark in zip(clients, marks):
                seen = judge(client.lines[mark:])
                print(f"  {name:44} {client.language:8} {seen}", flush=True)
                if seen != wanted[client.language]:
                    print(f"CHANGED: this was '{wanted[client.language]}': {client.lines[-1:]}", flush=True)
                    result = 1
        for refusal in plane.refused:
            print("refused:", refusal)
    finally:
        for client in clients:
            client.process.kill()
    return result
