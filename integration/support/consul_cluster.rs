//! Three Consul servers on loopback, and client agents of them.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::consul::{Consul, Ports};
use super::process::{self, Start};

impl Consul {
    /// Three servers with a leader.
    pub(crate) async fn cluster() -> Vec<Self> {
        for _ in 0..process::TRIES {
            let ports = [Ports::free(), Ports::free(), Ports::free()];
            let join = ports.map(|p| format!("127.0.0.1:{}", p.lan));
            let server = |(number, ports): (usize, &Ports)| {
                let more = json!({
                    "node_name": format!("server-{number}"), "bootstrap_expect": 3,
                    "retry_join": join, "retry_interval": "1s",
                    // One that is away for long is not thrown out: the proofs want it back as it was.
                    "autopilot": { "cleanup_dead_servers": false },
                });
                Self::launch(*ports, &more)
            };
            let mut servers: Vec<Self> = ports.iter().enumerate().map(server).collect();
            let starts: FuturesUnordered<_> = servers.iter_mut().map(Self::came_up).collect();
            if starts.all(async |start| start == Start::Ready).await {
                return servers;
            }
        }
        panic!("consul finds its ports taken");
    }

    /// A client agent of these servers.
    pub(crate) async fn agent_of(servers: &[Self]) -> Self {
        Self::agent_with(servers, &json!({ "node_name": "agent" })).await
    }

    /// The same with these keys in its configuration, a `node_name` among them.
    pub(crate) async fn agent_with(servers: &[Self], more: &Value) -> Self {
        for _ in 0..process::TRIES {
            let mut config = client(servers, "");
            for (key, value) in more.as_object().into_iter().flatten() {
                config[key] = value.clone();
            }
            let mut agent = Self::launch(Ports::free(), &config);
            if agent.came_up().await == Start::Ready {
                return agent;
            }
        }
        panic!("consul finds its ports taken");
    }

    /// Another client agent of these servers on this one's HTTP port. This one must have been killed.
    pub(crate) async fn successor(&self, servers: &[Self]) -> Self {
        for _ in 0..process::TRIES {
            let mut ports = Ports::free();
            ports.http = self.ports.http;
            let mut agent = Self::launch(ports, &client(servers, "successor"));
            if agent.came_up().await == Start::Ready {
                return agent;
            }
        }
        panic!("consul finds its ports taken");
    }

    /// Which of these servers is the leader, in the words of this one.
    pub(crate) async fn leader_of(&self, servers: &[Self]) -> Option<usize> {
        let leader = self.get("/v1/status/leader").await;
        let is = |server: &Self| leader == json!(format!("127.0.0.1:{}", server.ports.server));
        servers.iter().position(is)
    }
}

fn client(servers: &[Consul], name: &str) -> Value {
    let join: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.ports.lan))
        .collect();
    json!({
        "server": false, "bootstrap_expect": 0, "node_name": name,
        "retry_join": join, "retry_interval": "1s",
    })
}
