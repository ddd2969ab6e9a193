//! A real etcd of three members, each of which is killed, frozen, stopped and started again by itself.
//! On loopback, or each in a network of its own that can be cut.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::network::Network;
use crate::support::etcd::{answers, connect};
use crate::support::http::Http;
use crate::support::process::{self, Program, Start};
use crate::support::wait;

/// How many members.
pub(super) const MEMBERS: usize = 3;

/// What a slow machine may take to find a leader, or a bridge to come back to a member.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The cluster; it ends with the test.
pub(super) struct Cluster {
    members: Vec<Member>,
    dir: TempDir,
    /// After the members, which live in it.
    pub(super) network: Option<Network>,
}

struct Member {
    name: String,
    program: Program,
    args: Vec<String>,
    /// Where clients of the test reach it, without TLS.
    url: String,
    /// The same for the bridge.
    bridge_url: String,
    peer: String,
}

/// What the bridge's listener of each member shows and asks for.
pub(super) struct Tls {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) client_ca: String,
}

impl Cluster {
    /// Three members on loopback.
    pub(super) async fn start() -> Self {
        Self::launch(&etcd(), &[], None, None).await
    }

    /// The same of this version of etcd, with further arguments.
    pub(super) async fn start_as(binary: &Path, more: &[&str]) -> Self {
        Self::launch(binary, more, None, None).await
    }

    /// Three members, each in its own part of this network.
    pub(super) async fn start_in(network: Network) -> Self {
        Self::launch(&etcd(), &[], Some(network), None).await
    }

    /// Three members that the bridge reaches by mTLS.
    pub(super) async fn start_with_tls(tls: &Tls) -> Self {
        Self::launch(&etcd(), &[], None, Some(tls)).await
    }

    async fn launch(binary: &Path, more: &[&str], network: Option<Network>, tls: Option<&Tls>) -> Self {
        'ports: for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let ports = process::ports::<{ 3 * MEMBERS }>();
            let address = |n| network.as_ref().map_or(Ipv4Addr::LOCALHOST, |net| net.address(n));
            let url = |n: usize, port: usize| format!("http://{}:{}", address(n), ports[3 * n + port]);
            let peers: Vec<String> = (0..MEMBERS).map(|n| format!("m{n}={}", url(n, 1))).collect();
            let mut members = Vec::new();
            for n in 0..MEMBERS {
                let (client, peer, name) = (url(n, 0), url(n, 1), format!("m{n}"));
                let secure = tls.map(|_| url(n, 2).replace("http:", "https:"));
                let listen = [Some(client.clone()), secure.clone()];
                let listen: Vec<String> = listen.into_iter().flatten().collect();
                let data = dir.path().join(&name).display().to_string();
                let mut args: Vec<String> = [
                    ("--name", &name),
                    ("--data-dir", &data),
                    ("--listen-client-urls", &listen.join(",")),
                    ("--advertise-client-urls", &listen.join(",")),
                    ("--listen-peer-urls", &peer),
                    ("--initial-advertise-peer-urls", &peer),
                    ("--initial-cluster", &peers.join(",")),
                    ("--initial-cluster-token", &"proof".to_owned()),
                    ("--heartbeat-interval", &"200".to_owned()),
                    ("--election-timeout", &"2000".to_owned()),
                    ("--log-level", &"warn".to_owned()),
                ]
                .into_iter()
                .flat_map(|(key, value)| [key.to_owned(), value.clone()])
                .collect();
                // Processes die here, not machines: what was written is never lost.
                args.push("--unsafe-no-fsync".to_owned());
                args.extend(more.iter().map(|arg| (*arg).to_owned()));
                if let Some(tls) = tls {
                    let given = [
                        ("--cert-file", &tls.certificate),
                        ("--key-file", &tls.key),
                        ("--trusted-ca-file", &tls.client_ca),
                    ];
                    args.extend(given.iter().flat_map(|(k, v)| [(*k).to_owned(), (*v).clone()]));
                    args.push("--client-cert-auth".to_owned());
                }
                let (binary, args) = match &network {
                    None => (binary.to_owned(), args),
                    Some(net) => net.inside(n, binary, args),
                };
                members.push(Member {
                    program: Program::start(&name, &binary, &args, dir.path()),
                    name,
                    args,
                    bridge_url: secure.unwrap_or_else(|| client.clone()),
                    url: client,
                    peer,
                });
            }
            for member in &mut members {
                let url = member.url.clone();
                if member.program.ready(async || answers(&url).await).await == Start::Clash {
                    continue 'ports;
                }
            }
            return Self {
                members,
                dir,
                network,
            };
        }
        panic!("etcd finds its ports taken");
    }

    /// Where all members are reached by the test.
    pub(super) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|m| m.url.clone()).collect()
    }

    /// Where one member is reached by the test.
    pub(super) fn url(&self, member: usize) -> &str {
        &self.members[member].url
    }

    /// What the bridge calls its endpoints.
    pub(super) fn bridge_urls(&self) -> Vec<String> {
        self.members.iter().map(|m| m.bridge_url.clone()).collect()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, member: usize) {
        self.members[member].program.kill();
    }

    /// SIGTERM, and waits for its end.
    pub(super) async fn stop(&mut self, member: usize) {
        let _ended_by_the_signal = self.members[member].program.terminate().await;
    }

    /// SIGTERM: it takes its time to end.
    pub(super) fn ask_to_stop(&self, member: usize) {
        self.members[member].program.signal("TERM");
    }

    /// Waits for the end of one that was asked to stop.
    pub(super) async fn ended(&mut self, member: usize) {
        let _ended_by_the_signal = self.members[member].program.ended().await;
    }

    /// Another version of etcd from the member's next start on.
    pub(super) fn upgrade(&mut self, member: usize, binary: &Path) {
        self.members[member].program.set_binary(binary);
    }

    /// SIGSTOP: its connections stay, and nobody answers.
    pub(super) fn freeze(&self, member: usize) {
        self.members[member].program.signal("STOP");
    }

    /// SIGCONT.
    pub(super) fn thaw(&self, member: usize) {
        self.members[member].program.signal("CONT");
    }

    /// Starts members again as they were, and waits until each of them answers.
    pub(super) async fn restart(&mut self, members: &[usize]) {
        for n in members {
            self.members[*n].program.start_again();
        }
        for n in members {
            let member = &mut self.members[*n];
            let url = member.url.clone();
            let what = format!("{} is back", member.name);
            wait::until(PATIENCE, &what, async || {
                if member.program.exited().is_some() {
                    member.program.start_again(); // the kernel had lent its port
                }
                answers(&url).await
            })
            .await;
        }
    }

    /// Forgets all data of members that have ended.
    pub(super) fn wipe(&self) {
        for member in &self.members {
            std::fs::remove_dir_all(self.dir.path().join(&member.name)).expect("removing data");
        }
    }

    /// From its next start on this is another cluster (another id) at the same addresses.
    pub(super) fn rename(&mut self, token: &str) {
        for member in &mut self.members {
            let at = member.args.iter().position(|a| a == "--initial-cluster-token");
            let at = at.expect("each member has a token") + 1;
            token.clone_into(&mut member.args[at]);
            member.program.set_args(&member.args);
        }
    }

    /// Writes a snapshot of one member.
    pub(super) fn save(&self, member: usize) -> PathBuf {
        let file = self.dir.path().join("snapshot.db");
        let url = self.url(member);
        self.etcdctl(&[
            "--endpoints",
            url,
            "snapshot",
            "save",
            &file.display().to_string(),
        ]);
        file
    }

    /// All members have ended: each gets the data of the snapshot. The cluster's id stays.
    pub(super) fn restore(&self, snapshot: &Path) {
        self.wipe();
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|m| format!("{}={}", m.name, m.peer))
            .collect();
        // The one that has the version of etcdctl, which is etcd's, before one that may be newer.
        let tool = if self.etcdctl_restores() {
            process::tool("ETCDCTL_BIN", "etcdctl")
        } else {
            process::tool("ETCDUTL_BIN", "etcdutl")
        };
        for member in &self.members {
            let args = [
                "snapshot",
                "restore",
                &snapshot.display().to_string(),
                "--name",
                &member.name,
                "--data-dir",
                &self.dir.path().join(&member.name).display().to_string(),
                "--initial-cluster",
                &peers.join(","),
                "--initial-cluster-token",
                "proof",
                "--initial-advertise-peer-urls",
                &member.peer,
            ];
            self.execute(&tool, &args.map(str::to_owned));
        }
    }

    /// Whether this etcdctl still has `snapshot restore`: from 3.6 on it is etcdutl's.
    fn etcdctl_restores(&self) -> bool {
        let binary = process::tool("ETCDCTL_BIN", "etcdctl");
        let help = self.execute(&binary, &["help", "snapshot", "restore"].map(str::to_owned));
        help.contains("--initial-cluster-token")
    }

    /// Writes a key (`None`: deletes it) right at a member, also where this test cannot reach it.
    pub(super) fn write_at(&self, member: usize, key: &str, value: Option<&str>) {
        let url = self.url(member);
        match value {
            Some(value) => self.etcdctl_at(Some(member), &["--endpoints", url, "put", key, value]),
            None => self.etcdctl_at(Some(member), &["--endpoints", url, "del", key]),
        }
    }

    fn etcdctl(&self, args: &[&str]) {
        self.etcdctl_at(None, args);
    }

    fn etcdctl_at(&self, member: Option<usize>, args: &[&str]) {
        let binary = process::tool("ETCDCTL_BIN", "etcdctl");
        let owned = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (binary, owned) = match (&self.network, member) {
            (Some(network), Some(member)) => network.inside(member, &binary, owned),
            _ => (binary, owned),
        };
        self.execute(&binary, &owned);
    }

    /// Runs a tool of etcd, which must succeed, and gives what it printed.
    fn execute(&self, binary: &Path, args: &[String]) -> String {
        let output = std::process::Command::new(binary)
            .args(args)
            .current_dir(self.dir.path())
            .env("ETCDCTL_API", "3")
            .output()
            .expect("running a tool of etcd");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {said}", binary.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the members have agreed on a version of at least this one (`3.6.0`), as each of them says.
    pub(super) async fn agrees_on(&self, version: &str) {
        let wanted = format!("\"etcdcluster\":\"{version}\"");
        for member in &self.members {
            let what = format!("{} runs in a cluster of {version}", member.name);
            wait::until(PATIENCE, &what, async || {
                let text = Http::fresh().text(&format!("{}/version", member.url)).await?;
                wait::holds(text.contains(&wanted), || text)
            })
            .await;
        }
    }

    /// Which member leads now, as one of these says; waits until there is one.
    pub(super) async fn leader(&self, asked: &[usize]) -> usize {
        wait::until(PATIENCE, "etcd has a leader", async || {
            for n in asked {
                let (id, leader) = self.status(*n).await?;
                if id == leader {
                    return Ok(*n);
                }
            }
            Err("none of the members leads".to_owned())
        })
        .await
    }

    /// A member's id, and who leads as it says.
    async fn status(&self, member: usize) -> Result<(u64, u64), String> {
        let mut client = connect(self.url(member)).await?;
        let status = client.status().await.map_err(|e| e.to_string())?;
        let id = status.header().map_or(0, etcd_client::ResponseHeader::member_id);
        Ok((id, status.leader()))
    }
}

fn etcd() -> PathBuf {
    process::tool("ETCD_BIN", "etcd")
}
