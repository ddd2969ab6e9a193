//! Thousands of services in a real registry: written as fast as it takes them, changed, and
//! read back, to be compared with what the bridge serves.

use std::net::{Ipv4Addr, SocketAddr};

use etcd_client::{Client, GetOptions, Txn, TxnOp};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::etcd::instance_key;
use super::http::Http;
use super::mirror::Endpoints;

/// Writers at once.
const WRITERS: usize = 16;

/// Keys of one transaction; etcd allows 128 by default.
const TOGETHER: usize = 100;

/// Keys that are read at once.
const PAGE: i64 = 10_000;

/// The port of an instance that never changed.
pub(crate) const PORT: u16 = 8_080;

/// The name of a service.
pub(crate) fn name(service: usize) -> String {
    format!("svc-{service:05}")
}

/// The address of an instance: no two have the same.
pub(crate) fn address(service: usize, instance: usize) -> Ipv4Addr {
    let byte = |n: usize| u8::try_from(n).expect("fewer services and instances");
    Ipv4Addr::new(10, byte(service / 250), byte(service % 250), byte(instance + 1))
}

/// Writes to the catalog of a Consul, on connections of its own.
#[derive(Clone)]
pub(crate) struct Catalog {
    http: Http,
    url: String,
}

impl Catalog {
    /// `url`: `http://host:port`
    pub(crate) fn of(url: String) -> Self {
        Self {
            http: Http::keeping(),
            url,
        }
    }

    /// Registers them all, each with a passing check.
    pub(crate) async fn fill(&self, services: usize, instances: usize) {
        let all = (0..services).flat_map(|s| (0..instances).map(move |i| (s, i)));
        futures::stream::iter(all)
            .for_each_concurrent(WRITERS, |(s, i)| self.register(s, i, PORT, true))
            .await;
    }

    /// Registers one instance with its check, or changes it.
    pub(crate) async fn register(&self, service: usize, instance: usize, port: u16, passing: bool) {
        let (name, id) = (name(service), format!("{}-{instance}", name(service)));
        let entry = json!({
            "Node": format!("node-{instance}"), "Address": format!("10.255.0.{instance}"),
            "Service": { "ID": id, "Service": name, "Address": address(service, instance), "Port": port },
            "Check": {
                "CheckID": format!("check:{id}"), "Name": "well", "ServiceID": id,
                "Status": if passing { "passing" } else { "critical" },
            },
        });
        self.put("/v1/catalog/register", &entry).await;
    }

    /// Registers all these once more, exactly as they are.
    pub(crate) async fn again(&self, all: &Endpoints) {
        let all = all.iter().flat_map(|(name, endpoints)| {
            let service = name[4..].parse().expect("a service of ours");
            endpoints
                .iter()
                .map(move |(address, passing)| (service, *address, *passing))
        });
        futures::stream::iter(all)
            .for_each_concurrent(WRITERS, |(service, address, passing)| {
                let SocketAddr::V4(v4) = address else {
                    panic!("an IPv4 address")
                };
                let instance = usize::from(v4.ip().octets()[3]) - 1;
                self.register(service, instance, v4.port(), passing)
            })
            .await;
    }

    /// Takes one instance out.
    pub(crate) async fn deregister(&self, service: usize, instance: usize) {
        let id = format!("{}-{instance}", name(service));
        let entry = json!({ "Node": format!("node-{instance}"), "ServiceID": id });
        self.put("/v1/catalog/deregister", &entry).await;
    }

    async fn put(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.url);
        let reply = self.http.send("PUT", &url, None, body.to_string()).await;
        let reply = reply.expect("a write to Consul");
        assert_eq!(reply.status, 200, "Consul says {} to {body}", reply.body);
    }

    /// What it holds by `?consistent`.
    pub(crate) async fn endpoints(&self) -> Endpoints {
        let names = self.get("/v1/catalog/services?consistent&by=proof").await;
        let names: Vec<String> = names.as_object().expect("names").keys().cloned().collect();
        futures::stream::iter(names.into_iter().filter(|name| name != "consul"))
            .map(async |name| {
                let entries = self
                    .get(&format!("/v1/health/service/{name}?consistent&by=proof"))
                    .await;
                let one = |entry: &Value| {
                    let service = &entry["Service"];
                    let ip = service["Address"].as_str().expect("an address");
                    let port = service["Port"].as_u64().expect("a port");
                    let address = SocketAddr::new(
                        ip.parse().expect("an IP address"),
                        u16::try_from(port).expect("a port"),
                    );
                    let checks = entry["Checks"].as_array().expect("checks");
                    (address, checks.iter().all(|c| c["Status"] == "passing"))
                };
                let all = entries.as_array().expect("a list").iter().map(one).collect();
                (name, all)
            })
            .buffer_unordered(WRITERS)
            .collect()
            .await
    }

    /// GET of a path, as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let text = self.http.text(&format!("{}{path}", self.url)).await;
        serde_json::from_str(&text.expect("an answer of Consul")).expect("JSON of Consul")
    }
}

/// The key of an instance.
pub(crate) fn key(service: usize, instance: usize) -> String {
    instance_key(&name(service), &instance.to_string())
}

/// The value of an instance.
pub(crate) fn value(service: usize, instance: usize, port: u16) -> String {
    format!(
        "{{\"address\":\"{}\",\"port\":{port},\"version\":\"9f31c2a\",\"zone\":\"a\"}}",
        address(service, instance)
    )
}

/// Writes the instances of these services, in transactions of a hundred keys.
pub(crate) async fn fill_etcd(
    client: &Client,
    services: std::ops::Range<usize>,
    instances: usize,
    port: u16,
) {
    let all: Vec<TxnOp> = services
        .flat_map(|s| (0..instances).map(move |i| (s, i)))
        .map(|(s, i)| TxnOp::put(key(s, i), value(s, i, port), None))
        .collect();
    futures::stream::iter(all.chunks(TOGETHER).map(<[TxnOp]>::to_vec))
        .for_each_concurrent(WRITERS, async |some| {
            let written = client.clone().txn(Txn::new().and_then(some)).await;
            written.expect("a transaction of etcd");
        })
        .await;
}

/// What an etcd holds.
pub(crate) async fn etcd_endpoints(client: &Client) -> Endpoints {
    let mut all = Endpoints::new();
    let mut from = b"/services/".to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(b"/services0".to_vec())
            .with_limit(PAGE);
        let page = client.clone().get(from.clone(), Some(options)).await;
        let page = page.expect("a page of etcd");
        for kv in page.kvs() {
            let key = kv.key_str().expect("a key of ours");
            let service = key.split('/').nth(2).expect("a service").to_owned();
            let value: Value = serde_json::from_slice(kv.value()).expect("a value of ours");
            let ip = value["address"].as_str().expect("an address");
            let port = value["port"].as_u64().expect("a port");
            let address = SocketAddr::new(
                ip.parse().expect("an IP address"),
                u16::try_from(port).expect("a port"),
            );
            all.entry(service).or_default().insert(address, true);
        }
        match page.kvs().last().filter(|_| page.more()) {
            Some(last) => from = [last.key(), &[0]].concat(),
            None => return all,
        }
    }
}
