//! The whole of it: an edge, a layer of backends for frontends and a core behind them, in two registries; a caller from
//! outside never reaches the core, a new program only registers itself, and a version with other routes is rolled out and
//! taken back under load.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::{Call, Client};
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::load::Load;
use crate::support::registry::{Kind, Registered, Registry};
use crate::support::servers::Server;
use crate::support::{process, raw, wait};

/// A backend for a frontend: it asks the core by HTTP and by gRPC, through the Envoy beside it.
struct Frontend {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Frontend {
    async fn start(layer: SocketAddr) -> Self {
        let client = Arc::new(Client::new(layer));
        let answer = move || {
            let client = client.clone();
            async move {
                let stock = client.call(&Call::grpc("shop.Stock")).await;
                let orders = client.call(&Call::http("orders")).await;
                match (orders, stock) {
                    (Ok(orders), Ok(stock)) => (StatusCode::OK, format!("bff {orders} {stock}")),
                    other => (StatusCode::BAD_GATEWAY, format!("{other:?}")),
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().fallback(answer);
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self { address, task }
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An Envoy of this fleet, which takes requests here.
async fn envoy(bridge: &Bridge, fleet: &str, at: SocketAddr) -> Envoy {
    Envoy::start(at, async |admin| {
        let proof = bridge.bootstrap(Step::Listeners, admin, &[]);
        let own = proof.replace("cluster: proof", &format!("cluster: {fleet}"));
        assert_ne!(proof, own, "the bootstrap names its fleet in another way");
        own
    })
    .await
}

/// Requests of a caller outside who knows all names of the core.
const INTRUSIONS: [&str; 12] = [
    "GET / HTTP/1.1\r\nHost: orders\r\n",
    "GET / HTTP/1.1\r\nHost: orders:80\r\n",
    "GET / HTTP/1.1\r\nHost: ORDERS.\r\n",
    "GET http://orders/ HTTP/1.1\r\nHost: shop.example.com\r\n",
    "GET /orders HTTP/1.1\r\nHost: shop.example.com\r\n",
    "GET /orders/7 HTTP/1.1\r\nHost: internal\r\n",
    "GET / HTTP/1.1\r\nHost: stock\r\n",
    "POST /shop.Stock/Get HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n",
    "GET /bff/../orders HTTP/1.1\r\nHost: shop.example.com\r\n",
    "GET //orders HTTP/1.1\r\nHost: shop.example.com\r\n",
    "GET /%6frders HTTP/1.1\r\nHost: shop.example.com\r\n",
    "GET /x HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-Host: orders\r\nX-Envoy-Original-Path: /orders\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_a_layer_of_frontends_and_a_core_that_nobody_outside_reaches() {
    let (consul, etcd) = (Registry::start(Kind::Consul).await, Etcd::start().await);
    let [edge_at] = process::ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut bridge = Bridge::start(&format!(
        "{}[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\
         [exposures.edge]\nhosts = [\"shop.example.com\", \"127.0.0.1\"]\npaths = [\"/bff\"]\ngrpc = [\"shop.web.*\"]\n\
         [listeners.edge]\naddress = \"{edge_at}\"\nexposure = \"edge\"\nfleets = [\"edge\"]\n",
        consul.source("consul"),
        etcd.url()
    ))
    .await;
    // The layer inside is for the frontends' Envoys alone.
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    std::fs::write(bridge.file(), format!("{text}fleets = [\"bff\"]\n")).expect("writing bridge.toml");
    bridge.program().signal("HUP");
    wait::until(wait::PATIENCE, "the fleets are in force", async || {
        let log = bridge.log();
        wait::holds(
            log.contains("exposures, listeners and defaults of clusters are replaced"),
            || log,
        )
    })
    .await;

    // The core is in Consul; some of it would like to be outside, too.
    let (orders, stock) = (
        Server::http("orders-1").await,
        Server::grpc("stock-1", "shop.Stock").await,
    );
    let bold = [("expose", "internal,edge"), ("route", "path=/orders")];
    let _orders = consul.register("orders", &orders, &bold).await;
    let too_bold = [("expose", "internal,edge"), ("route", "grpc=shop.Stock")];
    let _stock = consul.register("stock", &stock, &too_bold).await;
    // The frontends are in etcd: one by HTTP, one by gRPC.
    let frontend = Frontend::start(bridge.listener).await;
    let web = Server::grpc("web-1", "shop.web.Cart").await;
    let register = async |service: &str, at: SocketAddr, protocol: &str, route: &str| {
        let facts = json!({ "address": at.ip().to_string(), "port": at.port(), "protocol": protocol,
            "expose": "edge", "route": route });
        etcd.put(&instance_key(service, "1"), facts.to_string()).await;
    };
    register("bff", frontend.address, "http1", "path=/bff").await;
    register("web", web.address, "grpc", "grpc=shop.web.Cart").await;

    let edge = envoy(&bridge, "edge", edge_at).await;
    let layer = envoy(&bridge, "bff", bridge.listener).await;
    let page = Call::Http {
        host: "shop.example.com".to_owned(),
        path: "/bff/page".to_owned(),
    };
    edge.client().reaches(&page, &["bff orders-1 stock-1"]).await;
    edge.client()
        .reaches(&Call::grpc("shop.web.Cart"), &["web-1"])
        .await;
    layer.client().reaches(&Call::http("orders"), &["orders-1"]).await;

    // No request reaches the core, and no route of the edge names it.
    let before = orders.requests() + stock.requests();
    for request in INTRUSIONS {
        let answer = raw::whole(edge_at, &format!("{request}Connection: close\r\n\r\n")).await;
        let refused = match &answer {
            Ok((400 | 404 | 307, _)) => true,
            Ok((200, text)) => text.to_ascii_lowercase().contains("\r\ngrpc-status: 12\r\n"), // unimplemented
            _ => false,
        };
        assert!(refused, "{request:?}: {answer:?}");
    }
    edge.client()
        .is_refused(&Call::grpc("shop.Stock"), "grpc Unimplemented")
        .await;
    assert_eq!(orders.requests() + stock.requests(), before);
    let routes = edge
        .json("/config_dump?resource=dynamic_route_configs")
        .await
        .to_string();
    assert!(routes.contains("\"bff\""), "{routes}");
    for core in ["\"orders\"", "\"stock\""] {
        assert!(!routes.contains(core), "the edge has a route to {core}: {routes}");
    }
    let log = bridge.log();
    for (service, wish) in [("orders", "path=/orders"), ("stock", "gRPC service `shop.Stock`")] {
        let refused = |line: &&str| line.contains(service) && line.contains(wish) && line.contains("`edge`");
        assert!(log.lines().any(|line| refused(&line)), "{service}: {log}");
    }

    // A new program only registers itself: no file changes, and both registries do.
    let (reviews, cart) = (
        Server::grpc("reviews-1", "shop.Reviews").await,
        Server::grpc("offers-1", "shop.web.Offers").await,
    );
    let _reviews = consul
        .register("reviews", &reviews, &[("route", "grpc=shop.Reviews")])
        .await;
    register("offers", cart.address, "grpc", "grpc=shop.web.Offers").await;
    layer
        .client()
        .reaches(&Call::grpc("shop.Reviews"), &["reviews-1"])
        .await;
    edge.client()
        .reaches(&Call::grpc("shop.web.Offers"), &["offers-1"])
        .await;
    edge.client()
        .is_refused(&Call::grpc("shop.Reviews"), "grpc Unimplemented")
        .await;
    bridge.assert_no_nacks().await;
}

/// A path of the service's own host.
fn on(path: &str) -> Call {
    Call::Http {
        host: "orders".to_owned(),
        path: path.to_owned(),
    }
}

/// Servers of one version, registered one after the other while those of the other version leave one after the other.
async fn roll(
    registry: &Registry,
    load: &Load,
    (version, routes): (&str, &[(&str, &str)]),
    old: Vec<(Registered, Server)>,
) -> Vec<(Registered, Server)> {
    let mut new = Vec::new();
    for (n, (registered, server)) in old.into_iter().enumerate() {
        let next = Server::http(&format!("{version}-{n}")).await;
        let keys: Vec<(&str, &str)> = routes.iter().copied().chain([("version", version)]).collect();
        new.push((registry.register("orders", &next, &keys).await, next));
        load.goes_on(40).await;
        registered.remove().await;
        // It has left, and what was under way has ended.
        load.goes_on(60).await;
        server.stop().await;
    }
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_with_other_routes_is_rolled_out_and_taken_back() {
    for kind in [Kind::Etcd, Kind::Consul] {
        let registry = Registry::start(kind).await;
        let first: &[(&str, &str)] = &[("route", "path=/orders"), ("route-2", "path=/carts timeout=9s")];
        let second: &[(&str, &str)] = &[
            ("route", "path=/orders timeout=5s"),
            ("route-2", "path=/baskets"),
            ("route-3", "host=orders path=/orders/old redirect=/orders"),
        ];
        let mut old = Vec::new();
        for n in 0..4 {
            let server = Server::http(&format!("v1-{n}")).await;
            let keys: Vec<(&str, &str)> = first.iter().copied().chain([("version", "v1")]).collect();
            old.push((registry.register("orders", &server, &keys).await, server));
        }
        let bridge = Bridge::start(&registry.source("registry")).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        let everywhere = |path: &str| Call::Http {
            host: "any.example.com".to_owned(),
            path: path.to_owned(),
        };
        let both = [on("/"), on("/orders/7"), everywhere("/orders/7")];
        envoy
            .client()
            .reaches(&everywhere("/carts"), &["v1-0", "v1-1", "v1-2", "v1-3"])
            .await;
        for call in &both {
            envoy
                .client()
                .reaches(call, &["v1-0", "v1-1", "v1-2", "v1-3"])
                .await;
        }
        // What both versions declare is there throughout; what one of them declares is there while it is in force.
        let load = Load::over(envoy.listener(), &both, 60, 3);
        let new = roll(&registry, &load, ("v2", second), old).await;
        envoy
            .client()
            .reaches(&everywhere("/baskets"), &["v2-0", "v2-1", "v2-2", "v2-3"])
            .await;
        envoy.client().is_refused(&everywhere("/carts"), "http 404").await;
        let back = roll(&registry, &load, ("v1", first), new).await;
        envoy
            .client()
            .reaches(&everywhere("/carts"), &["v1-0", "v1-1", "v1-2", "v1-3"])
            .await;
        envoy
            .client()
            .is_refused(&everywhere("/baskets"), "http 404")
            .await;
        load.finish().await.assert_clean(800);
        bridge.assert_no_nacks().await;
        drop(back);
    }
}
