//! A single etcd on loopback that survives restarts, and servers registered in it as they
//! do it themselves: a key under a lease, kept alive.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, PutOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::process::{self, Program, Start};
use super::servers::Server;
use super::wait;

/// What a running etcd may take for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// One member, its data and its ports.
pub(crate) struct Etcd {
    program: Program,
    port: u16,
    dir: TempDir,
}

/// An instance under a lease that is kept alive until it is dropped or told otherwise.
pub(crate) struct Lease {
    id: i64,
    url: String,
    keeper: JoinHandle<()>,
}

impl Etcd {
    /// Starts it, and waits until it has a leader and answers.
    pub(crate) async fn start() -> Self {
        let binary = process::tool("ETCD_BIN", "etcd");
        for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let [port, peer] = process::ports();
            let (url, peer) = (
                format!("http://127.0.0.1:{port}"),
                format!("http://127.0.0.1:{peer}"),
            );
            let data = dir.path().join("data").display().to_string();
            let cluster = format!("one={peer}");
            let args = [
                ("--name", "one"),
                ("--data-dir", &data),
                ("--listen-client-urls", &url),
                ("--advertise-client-urls", &url),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster),
                ("--log-level", "warn"),
            ];
            let args = args.iter().flat_map(|(key, value)| [*key, *value]);
            let mut program = Program::start("etcd", &binary, args, dir.path());
            if program.ready(async || answers(&url).await).await == Start::Ready {
                return Self { program, port, dir };
            }
        }
        panic!("etcd finds its ports taken");
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same as an address.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.port))
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

    /// Starts it again with its data on its ports, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        let url = self.url();
        self.program.restart(async || answers(&url).await).await;
    }

    /// A client of its own connection.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await.expect("a client of etcd")
    }

    /// Writes a key.
    pub(crate) async fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.client()
            .await
            .put(key, value, None)
            .await
            .expect("a write to etcd");
    }

    /// Deletes a key.
    pub(crate) async fn delete(&self, key: &str) {
        self.client()
            .await
            .delete(key, None)
            .await
            .expect("a delete in etcd");
    }

    /// Registers a server as it would do it: its facts under a lease that it keeps alive.
    pub(crate) async fn register(
        &self,
        service: &str,
        server: &Server,
        keys: &[(&str, &str)],
        ttl: Duration,
    ) -> Lease {
        let lease = Lease::grant(self.url(), ttl).await;
        lease
            .put(&instance_key(service, &server.id), &facts(server, keys))
            .await;
        lease
    }
}

/// `/services/SERVICE/instances/ID`
pub(crate) fn instance_key(service: &str, id: &str) -> String {
    format!("/services/{service}/instances/{id}")
}

/// The native JSON of an instance.
pub(crate) fn facts(server: &Server, keys: &[(&str, &str)]) -> Value {
    let mut facts: BTreeMap<&str, Value> = keys.iter().map(|(k, v)| (*k, json!(v))).collect();
    facts.insert("address", json!(server.address.ip().to_string()));
    facts.insert("port", json!(server.address.port()));
    json!(facts)
}

impl Lease {
    async fn grant(url: String, ttl: Duration) -> Self {
        let seconds = i64::try_from(ttl.as_secs()).expect("a short lease");
        let mut client = connect(&url).await.expect("a client of etcd");
        let id = client.lease_grant(seconds, None).await.expect("a lease").id();
        let keeper = tokio::spawn(keep_alive(url.clone(), id, ttl / 4));
        Self { id, url, keeper }
    }

    /// Writes a key that goes with the lease.
    pub(crate) async fn put(&self, key: &str, facts: &Value) {
        let mut client = connect(&self.url).await.expect("a client of etcd");
        let under = PutOptions::new().with_lease(self.id);
        client
            .put(key, facts.to_string(), Some(under))
            .await
            .expect("a registration in etcd");
    }

    /// The server has died: nobody renews the lease, and it runs out.
    pub(crate) fn fall_silent(&self) {
        self.keeper.abort();
    }

    /// The server leaves in order: its keys go at once.
    pub(crate) async fn revoke(self) {
        self.keeper.abort();
        let mut client = connect(&self.url).await.expect("a client of etcd");
        drop(client.lease_revoke(self.id).await); // an error means: it has run out
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Renews a lease for ever; while etcd is away it goes on trying.
async fn keep_alive(url: String, id: i64, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if let Ok(mut client) = connect(&url).await {
            drop(client.lease_keep_alive(id).await);
        }
    }
}

/// A client of its own connection.
pub(crate) async fn connect(url: &str) -> Result<Client, String> {
    let options = ConnectOptions::new()
        .with_timeout(DEADLINE)
        .with_connect_timeout(DEADLINE);
    Client::connect([url], Some(options))
        .await
        .map_err(|e| e.to_string())
}

/// A linearizable read: only with a leader.
pub(crate) async fn answers(url: &str) -> Result<(), String> {
    let mut client = connect(url).await?;
    let read = tokio::time::timeout(Duration::from_secs(1), client.get("ready", None)).await;
    match read {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within a second".to_owned()),
    }
}

/// Waits until a key is there (`true`) or gone.
pub(crate) async fn key_exists(etcd: &Etcd, key: &str, wanted: bool) {
    let what = format!("{key} is {} etcd", if wanted { "in" } else { "gone from" });
    let mut client = etcd.client().await;
    wait::until(wait::PATIENCE, &what, async || {
        let found = client.get(key, None).await.map_err(|e| e.to_string())?;
        wait::holds((found.count() > 0) == wanted, || {
            format!("{} keys", found.count())
        })
    })
    .await;
}
