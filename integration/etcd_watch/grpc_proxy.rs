//! etcd's own proxy, in front of members.

use super::support::{Node, answers, free_port, url};
use crate::support::process::{self, Program, Start};

/// `etcd grpc-proxy`, which answers for some members and balances over them.
pub(super) struct Proxy {
    program: Program,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// In front of these.
    pub(super) async fn before(nodes: &[&Node]) -> Self {
        let members: Vec<String> = nodes.iter().map(|n| format!("127.0.0.1:{}", n.client)).collect();
        for _ in 0..process::TRIES {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let data = folder.path().join("proxy").display().to_string();
            let args = [
                "grpc-proxy".to_owned(),
                "start".to_owned(),
                format!("--endpoints={}", members.join(",")),
                format!("--listen-addr=127.0.0.1:{port}"),
                format!("--data-dir={data}"),
            ];
            let binary = process::tool("ETCD_BIN", "etcd");
            let mut proxy = Self {
                program: Program::start("proxy", &binary, args, folder.path()),
                port,
                _folder: folder,
            };
            let url = proxy.endpoint();
            if proxy.program.ready(async || answers(&url, None).await).await == Start::Ready {
                return proxy;
            }
        }
        panic!("etcd grpc-proxy finds its port taken");
    }

    pub(super) fn endpoint(&self) -> String {
        url(false, self.port)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.program.kill();
    }

    /// Runs it again.
    pub(super) async fn run(&mut self) {
        let url = self.endpoint();
        self.program.restart(async || answers(&url, None).await).await;
    }

    /// How often its log has this in it.
    pub(super) fn logged(&self, word: &str) -> usize {
        self.program.log().matches(word).count()
    }
}
