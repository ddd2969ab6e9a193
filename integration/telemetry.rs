//! What Envoys send of requests by themselves: access logs and spans, to services that register like all others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::{process, raw, wait};

/// A gRPC server that takes whatever is sent, and keeps it.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        let received: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let kept = received.clone();
        let take = move |request: Request| {
            let kept = kept.clone();
            async move {
                let path = request.uri().path().to_owned();
                let mut body = request.into_body().into_data_stream();
                while let Some(Ok(bytes)) = body.next().await {
                    let mut kept = kept.lock().expect("no panic");
                    kept.entry(path.clone()).or_default().extend(bytes);
                }
                StatusCode::OK
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().fallback(take);
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self {
            address,
            received,
            task,
        }
    }

    /// Whether a call of this method held these characters.
    async fn has(&self, path: &str, text: &str) {
        wait::until(wait::PATIENCE, path, async || {
            let received = self.received.lock().expect("no panic");
            let found = received
                .get(path)
                .is_some_and(|bytes| String::from_utf8_lossy(bytes).contains(text));
            wait::holds(found, || format!("{:?}", received.keys()))
        })
        .await;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_spans_reach_services_that_come_later() {
    let (web, collector) = (Server::http("web").await, Collector::start().await);
    let keys = [("protocol", "grpc")];
    let all = [
        ("web", web.address, &[][..]),
        ("collector", collector.address, &keys[..]),
    ];
    let folder = Folder::of(&all[..1]);
    let [front, whole] = process::ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let bridge = Bridge::start(&format!(
        "{}[listeners.front]\naddress = \"{front}\"\naccess_log = \"grpc:collector\"\n[listeners.front.tracing]\n\
         collector = \"collector\"\nsampling = \"100%\"\nservice_name = \"the-edge\"\n[listeners.whole]\n\
         protocol = \"tcp\"\naddress = \"{whole}\"\nservice = \"web\"\naccess_log = \"grpc:collector\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let answered = async |at, host: &str, path: &str| {
        wait::until(wait::PATIENCE, "an answer", async || {
            let answer = raw::get(at, host, path).await?;
            wait::holds(answer == (200, "web".to_owned()), || format!("{answer:?}"))
        })
        .await;
    };
    // Nobody takes them yet: requests are answered all the same.
    answered(front, "web", "/nobody-sees-it").await;
    answered(whole, "any", "/").await;
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, 0);

    folder.write(&all);
    envoy.has_hosts("collector", &[collector.address]).await;
    answered(front, "web", "/logged-and-traced").await;
    answered(whole, "any", "/").await;
    let log = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
    collector.has(log, "/logged-and-traced").await;
    collector.has(log, "whole").await;
    let spans = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    collector.has(spans, "the-edge").await;
    bridge.assert_no_nacks().await;
}
