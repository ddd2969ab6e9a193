//! A server registered as each of the known libraries does it is reached through Envoy, and wrong values
//! beside it cost nobody anything.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::Etcd;
use crate::support::servers::Server;
use crate::support::wait;

/// One format in use.
struct Shape {
    format: &'static str,
    /// `None`: the usual one.
    prefix: Option<&'static str>,
    service: &'static str,
    /// The gRPC service that it is reached by; `None`: by its name as the host.
    grpc: Option<&'static str>,
    key: &'static str,
    value: fn(SocketAddr) -> String,
}

const SHAPES: [Shape; 10] = [
    Shape {
        format: "grpc-naming",
        prefix: Some("naming/"),
        service: "named",
        grpc: Some("shop.Named"),
        key: "naming/named/",
        value: |at| json!({"Op": 0, "Addr": at, "Metadata": {"xds-route": "grpc=shop.Named"}}).to_string(),
    },
    Shape {
        format: "host-port",
        prefix: Some("/plain/"),
        service: "plain",
        grpc: None,
        key: "/plain/plain/",
        value: |at| at.to_string(),
    },
    Shape {
        format: "go-micro",
        prefix: None,
        service: "greeter",
        grpc: None,
        key: "/micro/registry/greeter/greeter-",
        value: |at| {
            let node = json!({"id": "greeter-1", "address": at, "metadata": {"protocol": "http"}});
            // It describes each handler: 40 of them are 109 KB.
            let handler =
                json!({"name": "Greeter.Hello", "request": {"name": "x".repeat(2_000)}, "metadata": {}});
            let endpoints = vec![handler; 600];
            json!({"name": "greeter", "version": "latest", "metadata": null, "endpoints": endpoints, "nodes": [node]})
                .to_string()
        },
    },
    Shape {
        format: "kratos",
        prefix: None,
        service: "helloworld",
        grpc: Some("hello.World"),
        key: "/microservices/helloworld/",
        value: |at| {
            let endpoints = [
                "http://127.0.0.1:1?isSecure=false".to_owned(),
                format!("grpc://{at}?isSecure=false"),
            ];
            let metadata = json!({"xds-route": "grpc=hello.World"});
            json!({"id": "1", "name": "helloworld", "version": "v1", "metadata": metadata, "endpoints": endpoints})
                .to_string()
        },
    },
    Shape {
        format: "go-zero",
        prefix: Some(""),
        service: "user.rpc",
        grpc: Some("user.User"),
        key: "user.rpc/75878620940092375",
        value: |at| at.to_string(),
    },
    Shape {
        format: "kitex",
        prefix: None,
        service: "kite",
        grpc: None,
        key: "kitex/registry-etcd/kite/",
        value: |at| {
            json!({"network": "tcp", "address": at, "weight": 10, "tags": {"xds-protocol": "http1"}})
                .to_string()
        },
    },
    Shape {
        format: "hertz",
        prefix: None,
        service: "herz",
        grpc: None,
        key: "hertz/registry-etcd/herz/",
        value: |at| json!({"network": "tcp", "address": at, "weight": 10, "tags": null}).to_string(),
    },
    Shape {
        format: "dubbo-app",
        prefix: Some("/dubbo/"),
        service: "dubbed",
        grpc: None,
        key: "/dubbo/dubbed/",
        value: |at| {
            json!({"ID": at, "ServiceName": "dubbed", "Host": at.ip(), "Port": at.port(), "Weight": 0,
                "Enable": true, "Healthy": true, "Metadata": {"xds-protocol": "http1"}})
            .to_string()
        },
    },
    Shape {
        format: "skydns",
        prefix: Some("/skydns/local/skydns/"),
        service: "rails.prod.east",
        grpc: None,
        key: "/skydns/local/skydns/east/prod/rails/",
        value: |at| json!({"host": at.ip(), "port": at.port(), "priority": 20, "weight": 100}).to_string(),
    },
    Shape {
        format: "apisix",
        prefix: None,
        service: "upstream-1",
        grpc: None,
        key: "/apisix/upstreams/upstream-",
        value: |at| {
            json!({"id": "upstream-1", "type": "roundrobin", "nodes": {at.to_string(): 1}}).to_string()
        },
    },
];

/// Wrong in any format.
const WRONG: [&str; 4] = ["", "{\"address\":\"db.example:80\"}", "[[[[", "\u{0}"];

impl Shape {
    /// go-zero's keys have nothing in common: a source of its own watches all of them.
    fn source(&self) -> &'static str {
        if self.prefix == Some("") { "all" } else { "several" }
    }

    fn call(&self) -> Call {
        self.grpc.map_or_else(|| Call::http(self.service), Call::grpc)
    }

    async fn server(&self) -> Server {
        match self.grpc {
            Some(service) => Server::grpc(self.format, service).await,
            None => Server::http(self.format).await,
        }
    }
}

fn sources(url: &str) -> String {
    let prefixes = |source: &str| -> String {
        let table = |shape: &Shape| {
            let prefix = shape
                .prefix
                .map_or(String::new(), |prefix| format!("prefix = \"{prefix}\"\n"));
            format!(
                "[[sources.{source}.prefixes]]\nformat = \"{}\"\n{prefix}",
                shape.format
            )
        };
        SHAPES
            .iter()
            .filter(|shape| shape.source() == source)
            .map(table)
            .collect()
    };
    let source = |name: &str| {
        let head = format!("[sources.{name}]\nkind = \"etcd\"\nendpoints = [\"{url}\"]\n");
        format!("{head}{}", prefixes(name))
    };
    let native = "[[sources.several.prefixes]]\nprefix = \"/services/\"\n";
    format!("{}{native}{}", source("several"), source("all"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_format_reaches_its_server_and_wrong_values_beside_it_cost_nothing() {
    let etcd = Etcd::start().await;
    let bridge = Bridge::start(&sources(&etcd.url())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    // A value of go-zero has no room for a route: a policy document of our own says it.
    etcd.put("/services/user.rpc/policy", "{\"route\":\"grpc=user.User\"}")
        .await;
    let mut servers = Vec::new();
    for shape in &SHAPES {
        let server = shape.server().await;
        etcd.put(&format!("{}1", shape.key), (shape.value)(server.address))
            .await;
        client.reaches(&shape.call(), &[shape.format]).await;
        envoy.has_hosts(shape.service, &[server.address]).await;
        servers.push(server);
    }
    let rejected = async |source: &str, wanted: i64| {
        let name = "xds_bridge_source_entries_rejected";
        bridge
            .metric_is(name, &[("source", source)], |n| n >= wanted)
            .await;
    };
    // New keys that are wrong, and values that become wrong: all of each format at once.
    for shape in &SHAPES {
        for (n, wrong) in WRONG.iter().enumerate() {
            etcd.put(&format!("{}9{n}", shape.key), *wrong).await;
        }
        etcd.put(&format!("{}1", shape.key), WRONG[2]).await;
    }
    let several = SHAPES.iter().filter(|shape| shape.source() == "several").count() * WRONG.len();
    rejected("several", i64::try_from(several).expect("a few")).await;
    rejected("all", 4).await;
    for (shape, server) in SHAPES.iter().zip(&servers) {
        envoy.has_hosts(shape.service, &[server.address]).await;
        client.reaches(&shape.call(), &[shape.format]).await;
    }
    // Deleted, what was last good goes too.
    for shape in &SHAPES {
        etcd.delete(&format!("{}1", shape.key)).await;
    }
    for shape in &SHAPES {
        wait::until(
            wait::PATIENCE,
            &format!("{} is gone", shape.service),
            async || {
                let hosts = envoy.hosts(shape.service).await;
                wait::holds(hosts.is_empty(), || format!("{hosts:?}"))
            },
        )
        .await;
    }
    bridge.assert_no_nacks().await;
}
