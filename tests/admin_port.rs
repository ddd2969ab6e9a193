//! The admin port over real sockets, as a program, a person and somebody's web page ask it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use xds_bridge::admin::{self, Access, Admin};
use xds_bridge::barrier::{Barrier, Left};
use xds_bridge::clock;
use xds_bridge::fanout::Fanout;
use xds_bridge::hub::{Order, Overview};
use xds_bridge::metrics::Metrics;
use xds_bridge::pilot::Desk;
use xds_bridge::state::State;

/// A busy machine gets so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Port {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    /// Sources that were asked to let go what they withhold.
    accepted: Arc<std::sync::Mutex<Vec<String>>>,
    /// Whether the discovery port takes connections.
    listens: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn port(hosts: &[&str]) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (orders, mut given) = mpsc::channel(1);
    let port = Port {
        address: listener.local_addr().unwrap(),
        metrics: Arc::default(),
        accepted: Arc::default(),
        listens: watch::Sender::new(false),
        stop: CancellationToken::new(),
    };
    let accepted = port.accepted.clone();
    tokio::spawn(async move {
        while let Some(order) = given.recv().await {
            if let Order::Accept { source, reply } = order {
                accepted.lock().unwrap().push(source);
                reply.send(Some(40)).unwrap();
            }
        }
    });
    let fanout = Arc::new(Fanout::new(1, false));
    let overview = watch::channel(Overview {
        ready: true,
        ..Overview::default()
    })
    .1;
    let policy = watch::channel(Arc::default()).1;
    let admin = Admin {
        state: State::none("by the test"),
        journal: Arc::default(),
        reloads: mpsc::channel(1).0,
        rollouts: Desk::new(State::none("by the test"), orders.clone(), policy),
        barrier: Barrier {
            left: Left::default(),
            fanout: fanout.clone(),
            loads: Arc::default(),
            orders: orders.clone(),
            overview: overview.clone(),
            state: State::none("test"),
            began: watch::channel(None).1,
            origin: clock::now(),
        },
        fanout,
        loads: Arc::default(),
        metrics: port.metrics.clone(),
        overview,
        orders,
        certificate: watch::channel(None).1,
        listens: port.listens.subscribe(),
    };
    let access = Access {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        connections: 8,
        token_file: None,
    };
    tokio::spawn(admin::serve(listener, admin, access, port.stop.clone()));
    port
}

impl Port {
    /// The status of the answer to these lines.
    async fn ask(&self, request: &str, headers: &[&str]) -> u16 {
        let text = self.text(request, headers).await;
        text.split(' ').nth(1).expect("a status").parse().unwrap()
    }

    /// The answer to these lines.
    async fn text(&self, request: &str, headers: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n",
            headers.join("\r\n")
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await;
        read.expect("an answer").unwrap();
        text
    }

    fn refused(&self) -> bool {
        self.metrics
            .text()
            .contains("xds_bridge_admin_requests_refused_total")
            && !self
                .metrics
                .text()
                .contains("xds_bridge_admin_requests_refused_total 0\n")
    }
}

const ACCEPT: &str = "POST /accept?source=consul";

/// All sources have delivered; the port opens a moment later.
#[tokio::test]
async fn it_is_ready_once_clients_can_connect() {
    let port = port(&[]).await;
    assert_eq!(port.ask("GET /readyz", &["Host: localhost"]).await, 503);
    port.listens.send_replace(true);
    assert_eq!(port.ask("GET /readyz", &["Host: localhost"]).await, 200);
}

/// As with two registries and no `[state]`: nobody has to look into the log for it.
#[tokio::test]
async fn without_shared_state_each_answer_about_rollouts_says_so() {
    let port = port(&[]).await;
    let why = "shared state is off: by the test";
    for request in [
        "GET /rollouts",
        "GET /rollouts?format=text",
        "GET /rollouts/orders?format=text",
        "GET /rollouts/orders/history",
        "GET /data/orders",
    ] {
        let text = port.text(request, &["Host: localhost"]).await;
        assert!(text.contains(why), "{request}: {text}");
    }
    for request in ["POST /rollouts/orders/start", "PUT /data/orders?number=12"] {
        let text = port.text(request, &["Host: localhost", "X-Xds-Bridge: 1"]).await;
        assert!(
            text.starts_with("HTTP/1.1 409") && text.contains(why),
            "{request}: {text}"
        );
    }
}

#[tokio::test]
async fn a_web_page_lets_nothing_go() {
    let port = port(&[]).await;
    let ours = format!("Host: {}", port.address);
    for headers in [
        &[ours.as_str()][..],
        &[&ours, "Origin: http://page.example"],
        &[&ours, "Origin: http://page.example", "X-Xds-Bridge: 1"],
        &[&ours, "Sec-Fetch-Site: cross-site", "X-Xds-Bridge: 1"],
        &["Host: page.example", "X-Xds-Bridge: 1"],
        &[
            "Host: page.example",
            "Origin: http://page.example",
            "X-Xds-Bridge: 1",
        ],
    ] {
        assert_eq!(port.ask(ACCEPT, headers).await, 403, "{headers:?}");
    }
    assert!(port.accepted.lock().unwrap().is_empty());
    assert!(port.refused());
    assert_eq!(port.ask(ACCEPT, &[&ours, "X-Xds-Bridge: 1"]).await, 200);
    assert_eq!(*port.accepted.lock().unwrap(), ["consul"]);
}

#[tokio::test]
async fn a_name_that_leads_here_reads_nothing_unless_it_is_ours() {
    let port = port(&["bridge.example"]).await;
    for path in [
        "/",
        "/readyz",
        "/metrics",
        "/sources",
        "/streams",
        "/config_dump",
        "/nothing",
    ] {
        let request = format!("GET {path}");
        assert_eq!(
            port.ask(&request, &["Host: page.example:18001"]).await,
            403,
            "{path}"
        );
        assert_ne!(
            port.ask(&request, &["Host: Bridge.example:80"]).await,
            403,
            "{path}"
        );
        assert_ne!(
            port.ask(&request, &["Host: localhost:18001"]).await,
            403,
            "{path}"
        );
    }
    assert_eq!(
        port.ask("GET /healthz", &["Host: page.example"]).await,
        200,
        "says nothing"
    );
    assert_eq!(
        port.ask("GET /metrics", &["User-Agent: a probe"]).await,
        200,
        "no browser"
    );
}
