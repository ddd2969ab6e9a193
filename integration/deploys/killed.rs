//! Servers in processes of their own, which end as a server does that is killed: by SIGKILL, whatever is under way.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::scene::Service;
use crate::support::client::Client;
use crate::support::process::Program;
use crate::support::servers::Server;
use crate::support::wait;

/// In the environment of such a process: the service and the id of its server.
const SERVE: &str = "DEPLOY_SERVE";
/// This test is what such a process runs.
const MAIN: &str = "deploys::killed::a_server_of_its_own_answers_until_it_is_killed";

/// A server that is killed when it is dropped.
pub(super) struct Mortal {
    program: Program,
    server: Server,
    _dir: TempDir,
}

impl Mortal {
    pub(super) async fn start(service: Service, id: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let this = std::env::current_exe().expect("the path of this program");
        let args = [
            format!("{SERVE}={}/{id}", service.name()),
            this.display().to_string(),
            MAIN.to_owned(),
            "--exact".to_owned(),
            "--nocapture".to_owned(),
        ];
        let program = Program::start(id, Path::new("env"), args, dir.path());
        let address: SocketAddr = wait::until(wait::PATIENCE, &format!("{id} serves"), async || {
            let log = program.log();
            let address = log
                .lines()
                .find_map(|line| line.strip_prefix("serves on ")?.parse().ok());
            address.ok_or(log)
        })
        .await;
        Self {
            program,
            server: Server::elsewhere(id, address, service != Service::Carts),
            _dir: dir,
        }
    }

    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.program.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_of_its_own_answers_until_it_is_killed() {
    if let Ok(wanted) = std::env::var(SERVE) {
        let (service, id) = wanted.split_once('/').expect("a service and an id");
        let service = Service::ALL.into_iter().find(|s| s.name() == service);
        let server = service.expect("a service of ours").server(id).await;
        println!("\nserves on {}", server.address);
        return std::future::pending().await;
    }
    for service in Service::ALL {
        let mortal = Mortal::start(service, "one").await;
        let client = Client::new(mortal.server().address);
        let calls = service.calls();
        for answer in futures::future::join_all(calls.iter().map(|call| client.call(call))).await {
            assert_eq!(answer.as_deref(), Ok("one"), "{service:?}");
        }
        mortal.kill();
        let call = &service.calls()[0];
        let answer = client.call(call).await;
        assert!(answer.is_err(), "{call}: {answer:?}");
    }
}
