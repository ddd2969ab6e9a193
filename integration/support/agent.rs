//! A Consul server with a configuration of the test's own (ACLs, TLS, a socket, another datacenter), and
//! the program's Consul source beside it, in this process: what it delivers is kept as the hub keeps it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::catalog::Catalog;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Event, Instance, Measured, Status};
use xds_bridge::source::consul::{ConsulWatcher, Timing};
use xds_bridge::source::{Sink, Source as _};

use super::consul_version;
use super::http::Http;
use super::process::{self, Program, Start};
use super::wait;

/// What a master token is called in these tests.
pub(crate) const MASTER: &str = "aaaaaaaa-0000-0000-0000-000000000000";

/// One server.
pub(crate) struct Agent {
    program: Program,
    pub(crate) ports: Ports,
    pub(crate) dir: TempDir,
    http: Http,
}

/// Its ports; those of HTTPS and of the WAN are open only when they are configured.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) https: u16,
    server: u16,
    pub(crate) lan: u16,
    pub(crate) wan: u16,
}

impl Agent {
    /// Starts it with what `more` says put over the usual, and waits until its reads are consistent.
    pub(crate) async fn start(more: impl Fn(&Path, Ports) -> Value) -> Self {
        let binary = process::tool("CONSUL_BIN", "consul");
        for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let [http, https, server, lan, wan, grpc_tls] = process::ports();
            let ports = Ports {
                http,
                https,
                server,
                lan,
                wan,
            };
            let mut config = json!({
                "server": true, "bootstrap_expect": 1, "node_name": "one", "data_dir": dir.path().join("data"),
                "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
                "ports": { "http": http, "server": server, "serf_lan": lan, "serf_wan": -1, "dns": -1, "grpc": -1 },
                "performance": { "raft_multiplier": 1 },
                "log_level": "warn", "disable_update_check": true,
            });
            consul_version::give_grpc_tls(&mut config, grpc_tls);
            consul_version::give_streaming(&mut config);
            put_over(&mut config, more(dir.path(), ports));
            let file = dir.path().join("consul.json");
            std::fs::write(&file, config.to_string()).expect("a file");
            let file = format!("-config-file={}", file.display());
            let program = Program::start("consul", &binary, ["agent", &file], dir.path());
            let mut agent = Self {
                program,
                ports,
                dir,
                http: Http::fresh(),
            };
            let (http, url) = (agent.http.clone(), agent.url("/v1/catalog/services?consistent"));
            if agent.program.ready(async || whole(&http, &url).await).await == Start::Ready {
                return agent;
            }
        }
        panic!("consul finds its ports taken");
    }

    /// By HTTP, with the rights of the master token where there are any.
    pub(crate) fn url(&self, path: &str) -> String {
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{}{path}{separator}token={MASTER}", self.address())
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again as it was; waits until its reads are consistent.
    pub(crate) async fn restart(&mut self) {
        let (http, url) = (self.http.clone(), self.url("/v1/catalog/services?consistent"));
        self.program.restart(async || whole(&http, &url).await).await;
    }

    /// Whatever the answer is.
    pub(crate) async fn ask(&self, method: &str, path: &str) {
        let reply = self.http.send(method, &self.url(path), None, String::new()).await;
        drop(reply.expect("an answer of Consul"));
    }

    /// Anything but 200 is a failure. Its answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self
            .http
            .send(method, &self.url(path), None, body.to_string())
            .await;
        let reply = reply.expect("an answer of Consul");
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.body);
        serde_json::from_str(&reply.body).unwrap_or(Value::Null)
    }

    /// Puts an instance into the catalog: `service` over `{"ID": SERVICE-PORT, "Service", "Port"}`, on a node
    /// of its own with the address 10.9.0.1.
    pub(crate) async fn enter(&self, service: &str, port: u16, more: Value) {
        let mut entry = json!({
            "Node": format!("n{port}"), "Address": "10.9.0.1",
            "Service": { "ID": format!("{service}-{port}"), "Service": service, "Port": port },
        });
        put_over(&mut entry, more);
        self.send("PUT", "/v1/catalog/register", &entry).await;
    }

    /// Takes it out again.
    pub(crate) async fn leave(&self, service: &str, port: u16) {
        let entry = json!({ "Node": format!("n{port}"), "ServiceID": format!("{service}-{port}") });
        self.send("PUT", "/v1/catalog/deregister", &entry).await;
    }

    /// Waits until a path says this.
    pub(crate) async fn says(&self, path: &str, wanted: &str) {
        let url = self.url(path);
        wait::until(wait::PATIENCE, &format!("{path} says {wanted}"), async || {
            let text = self.http.text(&url).await?;
            wait::holds(text.contains(wanted), || text)
        })
        .await;
    }
}

/// Only `?consistent` tells a whole catalog from a part of it.
async fn whole(http: &Http, url: &str) -> Result<(), String> {
    let text = tokio::time::timeout(Duration::from_secs(2), http.text(url))
        .await
        .unwrap_or_else(|_| Err("no answer within two seconds".to_owned()))?;
    wait::holds(text.contains("\"consul\""), || text)
}

/// `more` wins; objects are merged.
fn put_over(config: &mut Value, more: Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                put_over(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, more) => *config = more,
    }
}

/// The source, and what it has delivered.
pub(crate) struct Watched {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    /// In their order.
    pub(crate) statuses: Vec<Status>,
    /// What to know of a source that works.
    pub(crate) note: Option<String>,
    pub(crate) measured: Vec<Measured>,
    /// Services that a change took away, or left with fewer instances than they had.
    pub(crate) lost: Vec<String>,
    _stop: DropGuard,
}

impl Watched {
    pub(crate) fn start(config: &ConsulSource) -> Self {
        let timing = Timing {
            backoff_max: Duration::from_millis(500),
            look: Duration::from_millis(100),
            ..Timing::default()
        };
        let (sender, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let source = Box::new(ConsulWatcher::new(config).with_timing(timing));
        tokio::spawn(source.run(Sink::new("c".into(), sender), stop.clone()));
        Self {
            events,
            catalog: Catalog::new([("c".into(), None)]),
            statuses: Vec::new(),
            note: None,
            measured: Vec::new(),
            lost: Vec::new(),
            _stop: stop.drop_guard(),
        }
    }

    /// Waits until what was delivered is as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let outcome = tokio::time::timeout(wait::PATIENCE, self.listen(wanted)).await;
        assert!(
            outcome.is_ok(),
            "not in time: {what}; {:?}; issues {:?}",
            self.statuses,
            self.issues()
        );
    }

    async fn listen(&mut self, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let event = self.events.recv().await.expect("the source ended");
            match &event.what {
                What::Status(status) => self.statuses.push(status.clone()),
                What::Note(note) => self.note.clone_from(note),
                What::Measured(measured) => self.measured.push(*measured),
                What::Change(change) => {
                    for (name, record) in &change.services {
                        let before = self.instances(name).len();
                        if record.as_ref().map_or(0, |r| r.instances.len()) < before {
                            self.lost.push(name.to_string());
                        }
                    }
                }
                What::Verified(_) => {}
            }
            self.catalog.apply(event, Duration::ZERO);
        }
    }

    pub(crate) async fn until_live(&mut self) {
        self.until("live", |w| w.statuses.last() == Some(&Status::Live))
            .await;
    }

    /// Away, with this word as the reason.
    pub(crate) async fn until_away(&mut self, word: &str) {
        let away = |s: Option<&Status>| matches!(s, Some(Status::Away { reason }) if reason.contains(word));
        self.until(&format!("away: {word}"), |w| away(w.statuses.last()))
            .await;
    }

    pub(crate) async fn until_served(&mut self, service: &str, addresses: &[&str]) {
        self.until(&format!("{service} at {addresses:?}"), |w| {
            w.addresses(service) == addresses
        })
        .await;
    }

    /// Those of a service, in the order of their ids; none: there is no such service, too.
    pub(crate) fn addresses(&self, service: &str) -> Vec<String> {
        self.instances(service)
            .iter()
            .map(|i| i.address.to_string())
            .collect()
    }

    pub(crate) fn instances(&self, service: &str) -> Vec<Instance> {
        let found = self.catalog.service(&service.into());
        let mut all = found.map_or_else(Vec::new, |s| s.instances.iter().map(|i| (*i).clone()).collect());
        all.sort_by(|a: &Instance, b| a.id.cmp(&b.id));
        all
    }

    /// That of a service, by its word.
    pub(crate) fn protocol(&self, service: &str) -> &'static str {
        let found = self.catalog.service(&service.into());
        found.expect("a service").protocol().as_str()
    }

    /// What is wrong, as `entry: reason`, sorted.
    pub(crate) fn issues(&self) -> Vec<String> {
        let (_, source) = self.catalog.sources().next().expect("the only source");
        let mut issues: Vec<String> = source
            .issues()
            .map(|i| format!("{}: {}", i.entry, i.reason))
            .collect();
        issues.sort();
        issues
    }
}
