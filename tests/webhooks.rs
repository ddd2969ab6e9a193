//! Webhooks against real receivers: one that takes them, that fails, that hangs, that closes, and by TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::config::{Webhook, WebhookKind};
use xds_bridge::metrics::Metrics;
use xds_bridge::rollout::{Event, Happened};
use xds_bridge::webhook::{self, Hooks, Notice, Patience, SIGNATURE, TIMESTAMP, signature};

/// A busy machine gets so long.
const WITHIN: Duration = Duration::from_secs(60);

type Got = Vec<(HeaderMap, String)>;

/// A receiver that answers with the statuses it is given, the last of them for good.
struct Receiver {
    address: SocketAddr,
    got: watch::Receiver<Got>,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Answers {
    statuses: Arc<Mutex<Vec<u16>>>,
    got: Arc<watch::Sender<Got>>,
}

async fn take(State(answers): State<Answers>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let status = {
        let mut statuses = answers.statuses.lock().unwrap();
        if statuses.len() > 1 {
            statuses.remove(0)
        } else {
            statuses[0]
        }
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    answers.got.send_modify(|got| got.push((headers, body)));
    (StatusCode::from_u16(status).unwrap(), "as you like")
}

impl Receiver {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, got) = watch::channel(Got::new());
        let answers = Answers {
            statuses: Arc::new(Mutex::new(statuses.to_vec())),
            got: Arc::new(sender),
        };
        let router = Router::new().fallback(take).with_state(answers);
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            got,
            _stop: stop.drop_guard(),
        }
    }

    /// What it got, once it is that many.
    async fn has(&self, number: usize) -> Got {
        let mut got = self.got.clone();
        let enough = got.wait_for(|got| got.len() >= number);
        tokio::time::timeout(WITHIN, enough)
            .await
            .expect("requests come")
            .unwrap()
            .clone()
    }
}

fn hook(url: &str) -> Webhook {
    Webhook {
        url: url.parse().unwrap(),
        kind: WebhookKind::Json,
        secret_file: None,
        ca: None,
        events: vec!["started", "promoted"],
    }
}

fn to(address: SocketAddr) -> Webhook {
    hook(&format!("http://{address}/hooks/secret"))
}

const HASTY: Patience = Patience {
    deadline: Duration::from_millis(300),
    attempts: 3,
    pause: Duration::from_millis(5),
    longest: Duration::from_millis(20),
};

struct Running {
    hooks: Hooks,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

fn start(hooks: &[Webhook], patience: Patience) -> Running {
    let metrics = Arc::new(Metrics::default());
    let (hooks, sending) = Hooks::new(hooks, patience, metrics.clone());
    let stop = CancellationToken::new();
    tokio::spawn(webhook::run(sending, stop.clone()));
    Running {
        hooks,
        metrics,
        _stop: stop.drop_guard(),
    }
}

impl Running {
    async fn outcome(&self, outcome: &str, number: u64) {
        let line = format!("xds_bridge_webhooks_total{{outcome=\"{outcome}\"}} {number}\n");
        let seen = async {
            while !self.metrics.text().contains(&line) {
                tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
            }
        };
        let text = || self.metrics.text();
        assert!(
            tokio::time::timeout(WITHIN, seen).await.is_ok(),
            "no {line}in {}",
            text()
        );
    }
}

fn started() -> Happened {
    Happened::Started { stable: "a".into() }
}

fn notice(what: Happened, at: u64) -> Notice {
    let event = Event {
        at,
        version: "b".into(),
        dry_run: false,
        what,
        text: "b starts with 10 % & more".to_owned(),
    };
    Notice::new(&"orders".into(), &event, None)
}

#[tokio::test]
async fn an_event_arrives_once_signed_and_with_its_id() {
    let receiver = Receiver::start(&[200]).await;
    let folder = tempfile::tempdir().unwrap();
    let secret: PathBuf = folder.path().join("secret");
    std::fs::write(&secret, "hush\n").unwrap();
    let signed = Webhook {
        secret_file: Some(secret),
        ..to(receiver.address)
    };
    let running = start(&[signed], HASTY);
    assert_eq!(running.hooks.send(notice(Happened::Released, 1)), 0, "not wanted");
    let sent = notice(started(), 2);
    assert_eq!(running.hooks.send(sent.clone()), 0);
    let got = receiver.has(1).await;
    running.outcome("arrived", 1).await;
    let (headers, body) = &got[0];
    let of = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(of("x-xds-bridge-id"), sent.id);
    assert_eq!(of("content-type"), "application/json");
    let wanted = signature(b"hush", of(TIMESTAMP).parse().unwrap(), body.as_bytes());
    assert_eq!(of(SIGNATURE), wanted);
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document, sent.document);
    assert_eq!(receiver.has(1).await.len(), 1);
}

#[tokio::test]
async fn a_chat_gets_a_text() {
    let receiver = Receiver::start(&[204]).await;
    let chat = Webhook {
        kind: WebhookKind::Slack,
        ..to(receiver.address)
    };
    let running = start(&[chat], HASTY);
    running.hooks.send(notice(started(), 1));
    let (headers, body) = receiver.has(1).await.remove(0);
    assert!(!headers.contains_key(SIGNATURE));
    assert_eq!(body, r#"{"text":"🟢 `orders`: b starts with 10 % &amp; more"}"#);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_given_up() {
    let receiver = Receiver::start(&[500, 429, 200]).await;
    let running = start(&[to(receiver.address)], HASTY);
    running.hooks.send(notice(started(), 1));
    running.outcome("arrived", 1).await;
    let got = receiver.has(3).await;
    assert_eq!(got.len(), 3);
    assert!(
        got.iter()
            .all(|(headers, _)| headers["x-xds-bridge-id"] == got[0].0["x-xds-bridge-id"])
    );

    let receiver = Receiver::start(&[503]).await;
    let running = start(&[to(receiver.address)], HASTY);
    running.hooks.send(notice(started(), 1));
    running.outcome("given_up", 1).await;
    assert_eq!(receiver.has(3).await.len(), 3);

    let receiver = Receiver::start(&[404]).await;
    let running = start(&[to(receiver.address)], HASTY);
    running.hooks.send(notice(started(), 1));
    running.outcome("given_up", 1).await;
    assert_eq!(receiver.has(1).await.len(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_or_closes_holds_up_nobody_else() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_at = closing.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = closing.accept().await {
            let _ = stream.read(&mut [0; 100]).await;
        }
    });
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let receiver = Receiver::start(&[200]).await;
    let hooks = [
        hanging.local_addr().unwrap(),
        closed_at,
        refusing,
        receiver.address,
    ]
    .map(to);
    let running = start(&hooks, HASTY);
    let lost: usize = (0..300).map(|n| running.hooks.send(notice(started(), n))).sum();
    assert_eq!(lost, 4 * 44, "256 find room at each address");
    receiver.has(256).await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_sends_nothing() {
    let receiver = Receiver::start(&[200]).await;
    let signed = Webhook {
        secret_file: Some("/nowhere/secret".into()),
        ..to(receiver.address)
    };
    let running = start(&[signed], HASTY);
    running.hooks.send(notice(started(), 1));
    running.outcome("given_up", 1).await;
    assert!(receiver.got.borrow().is_empty());
}
