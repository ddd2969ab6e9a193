//! A single Consul server on loopback that survives restarts. Servers register themselves
//! by the agent API with a check; entries without an agent go into the catalog by `rs-consul`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use rs_consul::{Config, DeregisterEntityPayload, RegisterEntityPayload, RegisterEntityService};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::consul_version;
use super::crowd::Entry;
use super::http::Http;
use super::process::{self, Program, Start};
use super::servers::Server;
use super::wait;

/// How an agent is without room for one more connection: before, and with, its 429.
const NO_ROOM: [&str; 2] = ["client error", "too many concurrent connections"];

/// One server with its data and its ports.
pub(crate) struct Consul {
    program: Program,
    pub(super) ports: Ports,
    url: String,
    /// Where it speaks TLS, if it does.
    pub(crate) https: SocketAddr,
    /// What the proofs themselves may do there, where not everybody may do everything.
    token: Option<String>,
    http: Http,
    /// Keeps its connections: for thousands of entries.
    writer: Http,
    dir: TempDir,
}

/// What one agent listens on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) http: u16,
    pub(super) server: u16,
    pub(super) lan: u16,
    pub(super) https: u16,
    pub(super) grpc_tls: u16,
}

impl Ports {
    pub(super) fn free() -> Self {
        let [http, server, lan, https, grpc_tls] = process::ports();
        Self {
            http,
            server,
            lan,
            https,
            grpc_tls,
        }
    }
}

/// How Consul finds out about an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// The server reports each quarter of this time.
    Ttl(Duration),
    /// Consul asks the server's `/healthz` each second, its shortest interval.
    Http,
    /// It counts as passing for ever.
    None,
}

/// An instance in the agent's hands.
pub(crate) struct Registration {
    id: String,
    url: String,
    reporter: Option<JoinHandle<()>>,
}

impl Consul {
    /// Starts it, and waits until it has a leader and reads are consistent.
    pub(crate) async fn start() -> Self {
        Self::start_as(&json!({})).await
    }

    /// Starts it with these keys in its configuration too. With a certificate in them it speaks
    /// TLS on a port of its own; with a master token the proofs use that.
    pub(crate) async fn start_as(more: &Value) -> Self {
        for _ in 0..process::TRIES {
            let mut consul = Self::launch(Ports::free(), more);
            if consul.came_up().await == Start::Ready {
                return consul;
            }
        }
        panic!("consul finds its ports taken");
    }

    /// Starts it on these ports, and does not wait for anything.
    pub(super) fn launch(ports: Ports, more: &Value) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = config(dir.path(), ports);
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        if config.get("cert_file").is_some() {
            config["ports"]["https"] = json!(ports.https);
        }
        let file = dir.path().join("consul.json");
        std::fs::write(&file, config.to_string()).expect("a file");
        let file = format!("-config-file={}", file.display());
        let binary = process::tool("CONSUL_BIN", "consul");
        let token = more.pointer("/acl/tokens/master").and_then(Value::as_str);
        Self {
            program: Program::start("consul", &binary, ["agent", &file], dir.path()),
            ports,
            url: format!("http://127.0.0.1:{}", ports.http),
            https: SocketAddr::from(([127, 0, 0, 1], ports.https)),
            token: token.map(str::to_owned),
            http: Http::fresh(),
            writer: Http::keeping(),
            dir,
        }
    }

    /// Waits until reads are consistent, or it finds one of its ports taken.
    pub(super) async fn came_up(&mut self) -> Start {
        let (http, url, token) = (self.http.clone(), self.url(), self.token.clone());
        self.program
            .ready(async || consistent(&http, &url, token.as_deref()).await)
            .await
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The section of `bridge.toml` that watches it.
    pub(crate) fn section(&self) -> String {
        format!(
            "[sources.registry]\nkind = \"consul\"\naddress = \"{}\"\n",
            self.url
        )
    }

    /// The same as an address.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.url.trim_start_matches("http://");
        address.parse().expect("an address")
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// The child, to be signalled.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// All that it knows is lost. It must have been killed.
    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).expect("its data is there");
    }

    /// Starts it again with its data on its ports, and does not wait for anything.
    pub(crate) fn restart_unready(&mut self) {
        self.program.start_again();
    }

    /// Waits until reads are consistent.
    pub(crate) async fn is_consistent(&self) {
        wait::until(wait::PATIENCE, "consul's reads are consistent", async || {
            consistent(&self.http, &self.url, self.token.as_deref()).await
        })
        .await;
    }

    /// Starts it again with its data on its ports; waits until reads are consistent.
    pub(crate) async fn restart(&mut self) {
        let (http, url, token) = (self.http.clone(), self.url(), self.token.clone());
        self.program
            .restart(async || consistent(&http, &url, token.as_deref()).await)
            .await;
    }

    /// GET of a path such as `/v1/catalog/services`, as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, String::new()).await
    }

    /// PUT of a path; any answer but 200 is a failure.
    pub(crate) async fn put(&self, path: &str, body: &Value) {
        self.answered("PUT", path, body.to_string()).await;
    }

    /// The answer to a request, as JSON; anything but 200 is a failure.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: String) -> Value {
        let text = self.answered(method, path, body).await;
        serde_json::from_str(&text).unwrap_or(Value::Null) // some writes are answered with nothing
    }

    /// An agent without room for one more connection closes it, or says so: that is tried again.
    async fn answered(&self, method: &str, path: &str, body: String) -> String {
        let url = format!("{}{path}", self.url);
        let what = format!("{method} {path}");
        let answer = wait::until(wait::PATIENCE, &what, async || {
            let token = self.token.as_deref();
            match send(&self.http, method, &url, token, body.clone()).await {
                Err(error) if NO_ROOM.iter().any(|words| error.contains(words)) => Err(error),
                answer => Ok(answer),
            }
        });
        answer.await.expect("an answer of Consul")
    }

    /// Writes a key of the KV store as it is.
    pub(crate) async fn kv(&self, key: &str, value: &str) {
        let url = format!("{}/v1/kv/{key}", self.url);
        put(&self.http, &url, value.to_owned())
            .await
            .expect("a key of Consul");
    }

    /// Registers a server as it would do it itself, with its agent.
    pub(crate) async fn register(
        &self,
        service: &str,
        server: &Server,
        keys: &[(&str, &str)],
        check: Check,
    ) -> Registration {
        let SocketAddr::V4(address) = server.address else {
            panic!("an IPv4 server")
        };
        let meta: BTreeMap<String, &str> = keys.iter().map(|(k, v)| (format!("xds-{k}"), *v)).collect();
        let mut entry = json!({
            "Name": service, "ID": server.id, "Meta": meta,
            "Address": address.ip().to_string(), "Port": address.port(),
        });
        match check {
            Check::Ttl(ttl) => {
                entry["Check"] = json!({ "TTL": format!("{}ms", ttl.as_millis()), "Status": "passing" });
            }
            Check::Http => {
                let url = format!("http://{address}/healthz");
                entry["Check"] =
                    json!({ "HTTP": url, "Interval": "1s", "Timeout": "1s", "Status": "passing" });
            }
            Check::None => {}
        }
        self.put("/v1/agent/service/register", &entry).await;
        let reporter = match check {
            Check::Ttl(ttl) => Some(tokio::spawn(report(self.url(), server.id.clone(), ttl / 4))),
            Check::Http | Check::None => None,
        };
        Registration {
            id: server.id.clone(),
            url: self.url(),
            reporter,
        }
    }

    /// Puts all these into the catalog, by sixteen writers at once. No agent looks after them.
    pub(crate) async fn fill(&self, entries: &[Entry]) {
        futures::stream::iter(entries)
            .for_each_concurrent(16, |entry| self.enter(entry))
            .await;
    }

    /// Puts one entry into the catalog; tried again while the servers have no leader.
    pub(crate) async fn enter(&self, entry: &Entry) {
        self.enter_with(entry, &[]).await;
    }

    /// The same with tags.
    pub(crate) async fn enter_with(&self, entry: &Entry, tags: &[&str]) {
        let body = json!({
            "Node": node(entry), "Address": "127.0.0.1",
            "Service": {
                "ID": entry.id, "Service": entry.service, "Tags": tags,
                "Address": entry.address.ip().to_string(), "Port": entry.address.port(),
            },
        });
        self.insist("/v1/catalog/register", &body).await;
    }

    /// Takes such an entry out again.
    pub(crate) async fn leave(&self, entry: &Entry) {
        let body = json!({ "Node": node(entry), "ServiceID": entry.id });
        self.insist("/v1/catalog/deregister", &body).await;
    }

    /// PUT of a path, tried again while the servers have no leader or no room.
    pub(crate) async fn insist(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.url);
        wait::until(wait::PATIENCE, &format!("PUT {path} of {body}"), async || {
            let token = self.token.as_deref();
            send(&self.writer, "PUT", &url, token, body.to_string()).await
        })
        .await;
    }

    /// The typed client that the program uses too.
    pub(crate) fn typed(&self) -> rs_consul::Consul {
        drop(rustls::crypto::ring::default_provider().install_default()); // a second time is no matter
        rs_consul::Consul::new(Config {
            address: self.url(),
            ..Config::default()
        })
    }

    /// Puts an entry into the catalog for a node without an agent, unchecked and as it is.
    pub(crate) async fn catalog(&self, service: &str, id: &str, address: &str, port: u16) {
        let payload = RegisterEntityPayload {
            ID: None,
            Node: format!("node-of-{id}"),
            Address: address.to_owned(),
            Datacenter: None,
            TaggedAddresses: HashMap::new(),
            NodeMeta: HashMap::new(),
            Service: Some(RegisterEntityService {
                ID: Some(id.to_owned()),
                Service: service.to_owned(),
                Tags: Vec::new(),
                TaggedAddresses: HashMap::new(),
                Meta: HashMap::new(),
                Port: Some(port),
                Namespace: None,
            }),
            Checks: Vec::new(),
            SkipNodeUpdate: None,
        };
        self.typed()
            .register_entity(&payload)
            .await
            .expect("an entry of the catalog");
    }

    /// Takes such an entry and its node out again.
    pub(crate) async fn catalog_remove(&self, id: &str) {
        let payload = DeregisterEntityPayload {
            Node: Some(format!("node-of-{id}")),
            Datacenter: None,
            CheckID: None,
            ServiceID: None,
            Namespace: None,
        };
        self.typed()
            .deregister_entity(&payload)
            .await
            .expect("the end of an entry");
    }
}

impl Registration {
    /// The server has died: nobody reports any more, and a TTL check fails.
    pub(crate) fn fall_silent(&self) {
        if let Some(reporter) = &self.reporter {
            reporter.abort();
        }
    }

    /// The server leaves in order.
    pub(crate) async fn remove(self) {
        self.fall_silent();
        let url = format!("{}/v1/agent/service/deregister/{}", self.url, self.id);
        put(&Http::fresh(), &url, String::new())
            .await
            .expect("the end of a registration");
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.fall_silent();
    }
}

/// All entries of a service number differ by node or port, and a node has many: by the last digit of its id.
fn node(entry: &Entry) -> String {
    let last = entry.id.rsplit('-').next().unwrap_or_default();
    format!("node-{last}")
}

/// A server reports that it is well, for ever; while Consul is away it goes on trying.
async fn report(url: String, id: String, every: Duration) {
    let http = Http::fresh();
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        drop(
            put(
                &http,
                &format!("{url}/v1/agent/check/pass/service:{id}"),
                String::new(),
            )
            .await,
        );
    }
}

async fn put(http: &Http, url: &str, body: String) -> Result<(), String> {
    send(http, "PUT", url, None, body).await.map(drop)
}

async fn send(
    http: &Http,
    method: &str,
    url: &str,
    token: Option<&str>,
    body: String,
) -> Result<String, String> {
    let headers: Vec<(&str, &str)> = token.iter().map(|token| ("x-consul-token", *token)).collect();
    let reply = http.send_with(method, url, &headers, body).await?;
    if reply.status == 200 {
        Ok(reply.body)
    } else {
        Err(format!("{url}: {} {}", reply.status, reply.body))
    }
}

/// The configuration of the only server.
fn config(dir: &Path, ports: Ports) -> Value {
    let Ports {
        http, server, lan, ..
    } = ports;
    let mut config = json!({
        "server": true, "bootstrap_expect": 1, "node_name": "one", "data_dir": dir.join("data"),
        "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
        "ports": { "http": http, "server": server, "serf_lan": lan, "serf_wan": -1, "dns": -1, "grpc": -1 },
        "performance": { "raft_multiplier": 1 },
        "log_level": "warn", "disable_update_check": true,
    });
    consul_version::give_grpc_tls(&mut config, ports.grpc_tls);
    consul_version::give_streaming(&mut config);
    config
}

/// Only `?consistent` tells a whole catalog from a part of it; the server itself is in it
/// as soon as agents may register.
async fn consistent(http: &Http, url: &str, token: Option<&str>) -> Result<(), String> {
    let url = format!("{url}/v1/catalog/services?consistent");
    let read = send(http, "GET", &url, token, String::new());
    let text = tokio::time::timeout(Duration::from_secs(2), read)
        .await
        .unwrap_or_else(|_| Err("no answer within two seconds".to_owned()))?;
    if text.contains("\"consul\"") {
        Ok(())
    } else {
        Err(format!("its services are {text}"))
    }
}
