//! Every bound against a hostile client: what it gets, and what is counted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use xds_bridge::clock;
use xds_bridge::grpc::{Options, Tls};
use xds_bridge::xds::{DeltaRequest, Kind, Limits};

use crate::pki::{BRIDGE, Ca, files};
use crate::port::{PATIENCE, Port, Talk, code, served};

const ADS: &str =
    "http://bridge/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

fn refused(reason: &str) -> String {
    format!("xds_bridge_streams_refused_total{{reason=\"{reason}\"}}")
}

fn reached(limit: &str) -> String {
    format!("xds_bridge_limits_reached_total{{limit=\"{limit}\"}}")
}

/// A request that subscribes to so many names.
fn names(count: usize) -> DeltaRequest {
    DeltaRequest {
        subscribe: (0..count).map(|n| format!("name-{n}")).collect(),
        ..DeltaRequest::default()
    }
}

#[tokio::test]
async fn message_size() {
    let options = Options {
        max_request_bytes: 2_000,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut talk = Talk::open(&channel, "n", "edge").await.unwrap();
    talk.say(Kind::Endpoints, names(1_000)).await;
    assert_eq!(talk.hear().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(port.metric(&refused("message_size")), 1);
    served(Ok(channel), "n", "edge").await.unwrap();
}

/// A connection on which a request of `length` bytes begins, and so many of them are sent. The task ends with it.
async fn begun(port: &Port, length: u32, sent: usize) -> (mpsc::Sender<Bytes>, JoinHandle<()>) {
    let tcp = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
            .await
            .unwrap();
    let (say, said) = mpsc::channel::<Bytes>(1);
    let frames = ReceiverStream::new(said).map(|data| Ok::<_, Infallible>(Frame::data(data)));
    let request = http::Request::post(ADS)
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap();
    tokio::spawn(connection);
    let ended = tokio::spawn(async move {
        let mut body = sender.send_request(request).await.unwrap().into_body();
        while let Some(Ok(_)) = body.frame().await {}
    });
    let mut prefix = vec![0];
    prefix.extend(length.to_be_bytes());
    say.send(prefix.into()).await.unwrap();
    for _ in 0..sent / 16_384 {
        if say.send(Bytes::from(vec![0; 16_384])).await.is_err() {
            break; // closed already
        }
    }
    (say, ended)
}

#[tokio::test]
async fn requests_that_begin_and_do_not_end_have_a_budget_together() {
    let options = Options {
        max_request_memory: 4 << 20,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let small = begun(&port, 1 << 20, 64 << 10).await;
    let good = served(port.plain().await, "n", "edge").await.unwrap();
    let mut large = Vec::new();
    for _ in 0..4 {
        large.push(begun(&port, 16 << 20, 2 << 20).await);
    }
    let closed = futures::future::select_all(large.iter_mut().map(|(_, closed)| closed));
    tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("one is closed")
        .0
        .unwrap();
    assert!(!small.1.is_finished(), "who holds little goes on");
    port.metric_is(&reached("request_memory"), 2).await; // 8 MiB of which 4 may be held
    let mut good = good;
    good.say(Kind::Endpoints, names(1)).await;
    assert!(good.hear().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_begins_and_does_not_end_has_its_time() {
    let port = Port::start(Options::default(), 1, 100).await;
    let (_say, _closed) = begun(&port, 1 << 20, 32 << 10).await;
    port.metric_is(&refused("late"), 1).await;
}

#[tokio::test]
async fn names_per_stream() {
    let options = Options {
        engine: Limits {
            names: 10,
            ..Limits::default()
        },
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let mut talk = Talk::open(&port.plain().await.unwrap(), "n", "edge")
        .await
        .unwrap();
    talk.say(Kind::Endpoints, names(11)).await;
    assert_eq!(talk.hear().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(port.metric(&refused("names")), 1);
}

#[tokio::test]
async fn a_request_with_very_many_names_is_answered_and_leaves_nothing() {
    let port = Port::start(Options::default(), 1, 100).await;
    let before = port.names();
    let channel = port.plain().await.unwrap();
    let mut talk = Talk::open(&channel, "n", "edge").await.unwrap();
    let mut good = served(port.plain().await, "n", "edge").await.unwrap();
    talk.say(Kind::Endpoints, names(150_000)).await;
    assert!(talk.hear().await.unwrap().is_some());
    assert_eq!(port.names(), before + 150_000);
    good.say(Kind::Endpoints, names(1)).await;
    assert!(good.hear().await.unwrap().is_some());
    drop((talk, good));
    let forgotten = async {
        while port.names() != before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, forgotten).await;
    assert!(done.is_ok(), "{} names, not {before}", port.names());
}

#[tokio::test]
async fn names_in_one_request() {
    let port = Port::start(Options::default(), 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut talk = Talk::open(&channel, "n", "edge").await.unwrap();
    talk.say(Kind::Endpoints, names(500_001)).await;
    assert_eq!(talk.hear().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(port.metric(&refused("message_size")), 1);
    served(Ok(channel), "n", "edge").await.unwrap();
}

#[tokio::test]
async fn a_breach_of_the_protocol() {
    let port = Port::start(Options::default(), 1, 100).await;
    let mut talk = Talk::open(&port.plain().await.unwrap(), "n", "edge")
        .await
        .unwrap();
    talk.forget_node();
    talk.say(Kind::Endpoints, names(1)).await;
    assert_eq!(talk.hear().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(port.metric(&refused("protocol")), 1);
}

#[tokio::test]
async fn streams_in_all() {
    let port = Port::start(Options::default(), 1, 2).await;
    let channel = port.plain().await.unwrap();
    let first = served(Ok(channel.clone()), "n1", "edge").await.unwrap();
    let _second = served(Ok(channel.clone()), "n2", "edge").await.unwrap();
    assert_eq!(code(Talk::open(&channel, "n3", "edge").await), Code::Unavailable);
    assert_eq!(port.metric(&refused("streams")), 1);
    drop(first);
    port.metric_is("xds_bridge_streams{variant=\"delta\"}", 1).await;
    served(Ok(channel), "n3", "edge").await.unwrap();
}

#[tokio::test]
async fn streams_per_connection() {
    let options = Options {
        max_streams_per_connection: 2,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let first = served(Ok(channel.clone()), "n1", "edge").await.unwrap();
    let _second = served(Ok(channel.clone()), "n2", "edge").await.unwrap();
    assert_eq!(port.metric(&reached("streams_per_connection")), 1);
    let third = served(Ok(channel), "n3", "edge");
    tokio::pin!(third);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
    assert!(early.is_err(), "a third stream on this connection");
    served(port.plain().await, "n4", "edge").await.unwrap(); // another connection has room
    drop(first);
    third.await.unwrap();
}

#[tokio::test]
async fn connections() {
    let options = Options {
        max_connections: 1,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let first = served(port.plain().await, "n1", "edge").await.unwrap();
    assert_eq!(port.metric("xds_bridge_connections"), 1);
    assert!(served(port.plain().await, "n2", "edge").await.is_err());
    assert!(port.metric(&reached("connections")) >= 1);
    drop(first);
    port.metric_is("xds_bridge_connections", 0).await;
    served(port.plain().await, "n2", "edge").await.unwrap();
}

#[tokio::test]
async fn requests_per_second_are_delayed_and_not_cut() {
    let options = Options {
        max_requests_per_second: 20, // and a burst of 100
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let mut talk = Talk::open(&port.plain().await.unwrap(), "n", "edge")
        .await
        .unwrap();
    let began = clock::now();
    for _ in 0..120 {
        let request = DeltaRequest {
            unsubscribe: vec!["nothing".into()],
            ..DeltaRequest::default()
        };
        talk.say(Kind::Endpoints, request).await;
    }
    assert_eq!(talk.clusters().await.unwrap(), 1);
    let took = clock::now() - began;
    assert!(took > Duration::from_millis(900), "121 requests in {took:?}");
    assert!(port.metric(&reached("requests_per_second")) >= 1);
}

/// So many connections that say nothing, from this address of the loopback.
async fn silent(port: &Port, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpStream::connect(port.address).await.unwrap());
    }
    held
}

#[tokio::test]
async fn silent_handshakes_keep_no_tls_client_out() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let server = ca.sign(&[&format!("dns:{BRIDGE}")]);
    let tls = Tls::load(files(folder.path(), &server, None)).unwrap();
    let options = Options {
        tls: Some(Arc::new(tls)),
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let began = clock::now();
    let mut held = silent(&port, 700).await;
    for n in 0..3 {
        let good = served(port.tls(&ca, None).await, &format!("n{n}"), "edge").await;
        assert!(good.is_ok(), "{:?}", good.err());
    }
    // None of the silent ones is so old that its time was over by itself, and the oldest are closed.
    assert!(clock::now() - began < Duration::from_secs(10), "too slow to tell");
    let mut read = [0];
    assert_eq!(held.remove(0).read(&mut read).await.unwrap_or(0), 0);
    assert!(port.metric(&reached("handshakes")) >= 188);
}

#[tokio::test]
async fn silent_connections_keep_no_client_out() {
    let options = Options {
        max_connections: 50,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let began = clock::now();
    let first = served(port.plain().await, "n0", "edge").await.unwrap();
    let held = silent(&port, 49).await;
    port.metric_is("xds_bridge_connections", 50).await;
    tokio::time::sleep(Duration::from_millis(150)).await; // they are safe for 100 ms
    let mut clients = Vec::new();
    for n in 1..4 {
        let client = served(port.plain().await, &format!("n{n}"), "edge").await;
        clients.push(client.unwrap());
    }
    assert!(clock::now() - began < Duration::from_secs(10), "too slow to tell");
    assert!(port.metric(&reached("connections")) >= 3);
    assert_eq!(port.metric("xds_bridge_connections"), 50);
    drop((first, clients, held));
}

#[tokio::test]
async fn small_requests_in_a_row_end_their_stream_and_no_other() {
    let options = Options {
        max_requests_per_second: 10, // and a burst of 50
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut other = served(Ok(channel.clone()), "n1", "edge").await.unwrap();
    let mut flood = Talk::open(&channel, "n2", "edge").await.unwrap();
    let request = || DeltaRequest {
        unsubscribe: vec!["nothing".into()],
        ..DeltaRequest::default()
    };
    for _ in 0..20_000 {
        flood.say(Kind::Endpoints, request()).await;
    }
    assert_eq!(flood.hear().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(port.metric(&refused("requests")), 1);
    let more = DeltaRequest {
        subscribe: vec!["c0".into()],
        ..DeltaRequest::default()
    };
    other.say(Kind::Endpoints, more).await;
    assert!(other.hear().await.unwrap().is_some(), "its connection stands");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_disconnected() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let server = ca.sign(&[&format!("dns:{BRIDGE}")]);
    let tls = Tls::load(files(folder.path(), &server, None)).unwrap();
    for tls in [None, Some(Arc::new(tls))] {
        let options = Options {
            tls,
            ..Options::default()
        };
        let port = Port::start(options, 1, 100).await;
        let mut silent = TcpStream::connect(port.address).await.unwrap();
        let mut read = Vec::new();
        // Time is paused: it goes on as soon as nobody has anything to do. HTTP/2 greets first.
        let closed = tokio::time::timeout(Duration::from_secs(11), silent.read_to_end(&mut read)).await;
        assert!(closed.is_ok(), "still connected after 11 s");
        port.metric_is("xds_bridge_connections", 0).await;
    }
}
