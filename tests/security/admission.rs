//! Many clients at once: nobody times out, and who would have to wait too long is told.

use std::time::Duration;

use tokio::task::JoinSet;
use tonic::Code;
use xds_bridge::clock;
use xds_bridge::grpc::Options;
use xds_bridge::xds::{DeltaRequest, Kind};

use crate::port::{Port, Talk};

/// Like an Envoy that starts: all clusters, then the endpoints of each by name.
async fn start_up(mut talk: Talk, clusters: usize) {
    talk.say(Kind::Cluster, DeltaRequest::default()).await;
    let first = talk.hear().await.unwrap().expect("clusters");
    assert_eq!(first.resources.len(), clusters);
    let ack = DeltaRequest {
        nonce: first.nonce,
        ..DeltaRequest::default()
    };
    talk.say(Kind::Cluster, ack).await;
    let endpoints = DeltaRequest {
        subscribe: (0..clusters).map(|n| format!("c{n}")).collect(),
        ..DeltaRequest::default()
    };
    talk.say(Kind::Endpoints, endpoints).await;
    let second = talk.hear().await.unwrap().expect("endpoints");
    assert_eq!(second.type_url, Kind::Endpoints.type_url());
    assert_eq!(second.resources.len(), clusters);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_at_once_are_all_served() {
    const CLIENTS: usize = 1_000;
    const CLUSTERS: usize = 500;
    let options = Options {
        new_streams_per_second: 400, // 400 at once, and 600 wait for up to 1.5 s
        max_first_responses: 8,
        ..Options::default()
    };
    let port = Port::start(options, CLUSTERS, 2 * CLIENTS).await;
    let mut clients = JoinSet::new();
    for connection in 0..4 {
        let channel = port.plain().await.unwrap();
        for n in 0..CLIENTS / 4 {
            let channel = channel.clone();
            clients.spawn(async move {
                let id = format!("envoy-{connection}-{n}");
                start_up(Talk::open(&channel, &id, "edge").await.unwrap(), CLUSTERS).await;
            });
        }
    }
    let all = tokio::time::timeout(Duration::from_secs(120), clients.join_all()).await;
    assert_eq!(all.expect("all are served in time").len(), CLIENTS);
    assert!(port.metric("xds_bridge_limits_reached_total{limit=\"new_streams_per_second\"}") >= 100);
    assert_eq!(
        port.metric("xds_bridge_streams_refused_total{reason=\"queue\"}"),
        0
    );
}

#[tokio::test]
async fn headers_come_before_the_turn_and_a_queue_that_is_too_long_is_told() {
    let options = Options {
        new_streams_per_second: 1,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let began = clock::now();
    let mut talks = Vec::new();
    let refusal = loop {
        match Talk::open(&channel, "n", "edge").await {
            Ok(talk) => talks.push(talk),
            Err(status) => break status,
        }
    };
    // One at once and five in the queue, if this machine was quick enough; headers wait for nothing.
    let took = clock::now() - began;
    assert!(talks.len() >= 6, "{} streams", talks.len());
    assert!(took < Duration::from_secs(3), "headers waited: {took:?}");
    assert_eq!(refusal.code(), Code::Unavailable);
    let pushback = refusal.metadata().get("grpc-retry-pushback-ms").unwrap();
    let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((4_000..=6_000).contains(&pushback), "{pushback} ms");
    assert_eq!(
        port.metric("xds_bridge_streams_refused_total{reason=\"queue\"}"),
        1
    );
    assert_eq!(talks[1].clusters().await.unwrap(), 1);
    assert!(
        clock::now() - began > Duration::from_millis(900),
        "the second has its turn after a second"
    );
}

#[tokio::test]
async fn an_old_stream_ends_with_ok() {
    let options = Options {
        max_stream_age: Duration::from_millis(100),
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let mut talk = Talk::open(&port.plain().await.unwrap(), "n", "edge")
        .await
        .unwrap();
    assert_eq!(talk.clusters().await.unwrap(), 1);
    assert_eq!(talk.hear().await.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_first_response_holds_up_nobody() {
    let options = Options {
        max_first_responses: 1,
        ..Options::default()
    };
    let port = Port::start(options, 500, 100).await;
    // It takes a small part of its first response, and then nothing.
    let endpoint = port.endpoint().initial_stream_window_size(1_024);
    let mut stuck = Talk::open(&endpoint.connect().await.unwrap(), "stuck", "edge")
        .await
        .unwrap();
    stuck.say(Kind::Cluster, DeltaRequest::default()).await;
    port.metric_is("xds_bridge_responses_total{type=\"cds\"}", 1)
        .await;
    let began = clock::now();
    let mut other = Talk::open(&port.plain().await.unwrap(), "other", "edge")
        .await
        .unwrap();
    assert_eq!(other.clusters().await.unwrap(), 500);
    let took = clock::now() - began;
    assert!(
        took > Duration::from_secs(1),
        "it did not wait for its place: {took:?}"
    );
    assert_eq!(
        port.metric("xds_bridge_limits_reached_total{limit=\"first_responses\"}"),
        1
    );
}

#[tokio::test]
async fn one_connection_that_reads_nothing_has_its_share_of_the_places_and_no_more() {
    let port = Port::start(Options::default(), 500, 1_000).await;
    let endpoint = port.endpoint().initial_stream_window_size(1_024);
    let channel = endpoint.connect().await.unwrap();
    let mut stuck = Vec::new();
    for n in 0..200 {
        let mut talk = Talk::open(&channel, &format!("stuck-{n}"), "edge").await.unwrap();
        talk.say(Kind::Cluster, DeltaRequest::default()).await;
        stuck.push(talk);
    }
    // Its share is on its way, and it waits for itself; 64 places are there for everybody.
    port.metric_is("xds_bridge_responses_total{type=\"cds\"}", 16)
        .await;
    let mut other = Talk::open(&port.plain().await.unwrap(), "other", "edge")
        .await
        .unwrap();
    assert_eq!(other.clusters().await.unwrap(), 500);
    let waited = port.metric("xds_bridge_limits_reached_total{limit=\"first_responses\"}");
    assert_eq!(waited, 0, "nobody waited for a place");
}
