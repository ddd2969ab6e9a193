//! The barrier of a drain: who has acknowledged what was published, at the fan-out, without a socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use xds_bridge::clock;
use xds_bridge::fanout::{Fanout, Registration, Wanted};
use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    Claim, DeltaRequest, Draft, Kind, Limits, Node, Reach, Response, Stream, Update, Variant, Version,
};

struct Client {
    node: &'static str,
    fanout: Arc<Fanout>,
    registration: Registration,
}

impl Client {
    /// A client that has sent its node and nothing else that is served.
    fn connect(fanout: &Arc<Fanout>, node: &'static str) -> Self {
        let registration = fanout
            .register(Stream::new(Variant::Delta, None, Limits::default()))
            .unwrap();
        registration.subscriber.update_status(|status| {
            node.clone_into(&mut status.node);
            status.since = Some(clock::now());
        });
        Self {
            node,
            fanout: fanout.clone(),
            registration,
        }
    }

    fn send(&self, mut request: DeltaRequest) {
        request.node = Some(Node {
            id: self.node.into(),
            ..Node::default()
        });
        request.type_url = Kind::Endpoints.type_url().into();
        self.fanout.handle_request(&self.registration, request).unwrap();
    }

    fn subscribe(&self, name: &str) {
        self.send(DeltaRequest {
            subscribe: vec![name.into()],
            ..DeltaRequest::default()
        });
    }

    fn receive(&self) -> Option<Response> {
        let mut stream = self.registration.subscriber.stream();
        if let Some(pending) = self.registration.subscriber.take() {
            stream.handle_changes(&pending.changed);
        }
        let generation = self.fanout.current().unwrap();
        let response = stream.poll_response(&generation, &*self.fanout, Duration::ZERO);
        drop(stream);
        if response.is_none() {
            self.fanout.settled();
        }
        response
    }

    fn ack(&self, response: Response) {
        self.send(DeltaRequest {
            nonce: response.nonce,
            ..DeltaRequest::default()
        });
    }

    fn nack(&self, response: Response) {
        let error = Some(Error {
            code: 13,
            message: "bad".into(),
        });
        self.send(DeltaRequest {
            nonce: response.nonce,
            error,
            ..DeltaRequest::default()
        });
    }

    /// Accepts all that there is.
    fn follow(&self) {
        while let Some(response) = self.receive() {
            self.ack(response);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fanout.unregister(&self.registration);
    }
}

fn put(name: &str, content: &str) -> Update {
    Update::Put(Draft {
        kind: Kind::Endpoints,
        name: name.into(),
        body: content.into(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    })
}

fn publish(fanout: &Fanout, update: Update) {
    fanout.publish(&[update], clock::now());
}

fn served() -> Arc<Fanout> {
    let fanout = Arc::new(Fanout::new(100, false));
    fanout.publish(&[put("orders", "1"), put("carts", "1")], clock::now());
    fanout
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        kind: Kind::Endpoints,
        name: name.into(),
    }
}

fn lagging(fanout: &Fanout, name: &str) -> Vec<String> {
    let laggards = fanout.acked(&[wanted(name)], clock::now());
    laggards.into_iter().map(|laggard| laggard.node).collect()
}

#[tokio::test]
async fn a_client_lags_until_it_has_acknowledged_and_others_never_do() {
    let fanout = served();
    let clients = ["a", "b"].map(|node| Client::connect(&fanout, node));
    let other = Client::connect(&fanout, "other");
    other.subscribe("carts");
    for client in &clients {
        client.subscribe("orders");
        client.follow();
    }
    assert_eq!(lagging(&fanout, "orders"), [""; 0]);
    assert_eq!(lagging(&fanout, "carts"), ["other"], "it was sent nothing yet");
    publish(&fanout, put("orders", "2"));
    assert_eq!(lagging(&fanout, "orders"), ["a", "b"], "the change is pending");
    let response = clients[0].receive().unwrap();
    assert_eq!(lagging(&fanout, "orders"), ["a", "b"], "sent is not acknowledged");
    clients[0].ack(response);
    assert_eq!(lagging(&fanout, "orders"), ["b"]);
    let response = clients[1].receive().unwrap();
    clients[1].nack(response);
    assert_eq!(lagging(&fanout, "orders"), ["b"], "refused is not acknowledged");
    publish(&fanout, put("orders", "3"));
    clients.iter().for_each(Client::follow);
    assert_eq!(lagging(&fanout, "orders"), [""; 0]);
}

#[tokio::test]
async fn a_watch_wakes_and_a_client_that_is_always_one_behind_is_done() {
    let fanout = served();
    let client = Client::connect(&fanout, "slow");
    client.subscribe("orders");
    client.follow();
    publish(&fanout, put("orders", "2"));
    let mut watch = fanout.watch_acks(&[wanted("orders")], clock::now());
    let response = client.receive().unwrap();
    // The next change is published before the client acknowledges this one.
    publish(&fanout, put("orders", "3"));
    assert_eq!(watch.laggards().len(), 1);
    client.ack(response);
    watch.changed().await;
    assert_eq!(watch.laggards(), [], "it has what was watched, if not the newest");
    assert_eq!(lagging(&fanout, "orders"), ["slow"], "but not the newest");
}

#[tokio::test]
async fn content_from_before_the_watch_does_not_count() {
    let fanout = served();
    let client = Client::connect(&fanout, "slow");
    client.subscribe("orders");
    let old = client.receive().unwrap();
    publish(&fanout, put("orders", "2"));
    let mut watch = fanout.watch_acks(&[wanted("orders")], clock::now());
    client.ack(old);
    assert_eq!(watch.laggards().len(), 1);
    client.follow();
    assert_eq!(watch.laggards(), []);
}

#[tokio::test]
async fn a_client_that_reconnects_with_the_newest_content_need_not_acknowledge() {
    let fanout = served();
    publish(&fanout, put("orders", "2"));
    let mut watch = fanout.watch_acks(&[wanted("orders")], clock::now());
    let client = Client::connect(&fanout, "again");
    // Clusters first, so that claims of endpoints are trusted (rule 41).
    let request = DeltaRequest {
        node: Some(Node::default()),
        type_url: Kind::Cluster.type_url().into(),
        ..DeltaRequest::default()
    };
    fanout.handle_request(&client.registration, request).unwrap();
    let claim = |content: &[u8]| DeltaRequest {
        subscribe: vec!["orders".into()],
        initial_versions: vec![Claim {
            name: "orders".into(),
            version: Version::of(content).to_string(),
        }],
        ..DeltaRequest::default()
    };
    client.send(claim(b"2"));
    assert_eq!(watch.laggards(), []);
    let client = Client::connect(&fanout, "old");
    client.send(claim(b"1"));
    assert_eq!(watch.laggards().len(), 1, "it holds the content before");
    drop(client);
    watch.changed().await;
    assert_eq!(watch.laggards(), [], "a client that is gone is not waited for");
}

#[tokio::test]
async fn a_removal_is_acknowledged_too_and_nothing_is_left_of_a_watch() {
    let fanout = served();
    let client = Client::connect(&fanout, "a");
    client.subscribe("orders");
    client.follow();
    publish(&fanout, Update::Remove(Kind::Endpoints, "orders".into()));
    let mut watch = fanout.watch_acks(&[wanted("orders"), wanted("never")], clock::now());
    assert_eq!(watch.laggards().len(), 1);
    let removal = client.receive().unwrap();
    assert_eq!(watch.laggards().len(), 1, "sent is not acknowledged");
    client.ack(removal);
    assert_eq!(watch.laggards(), []);
    let names = fanout.names();
    drop(watch);
    assert_eq!(
        fanout.names(),
        names - 1,
        "the name that is not served is forgotten"
    );
}

#[tokio::test]
async fn streams_of_one_client_are_one_laggard() {
    let fanout = served();
    let streams = [(), ()].map(|()| Client::connect(&fanout, "envoy"));
    for stream in &streams {
        stream.subscribe("orders");
    }
    let laggards = fanout.acked(&[wanted("orders")], clock::now());
    let seen: Vec<_> = laggards.iter().map(|l| (l.node.as_str(), l.streams)).collect();
    assert_eq!(seen, [("envoy", 2)]);
}

const GRACE: Duration = Duration::from_secs(10);

fn unknown(fanout: &Arc<Fanout>, name: &str) -> Vec<String> {
    let progress = fanout.watch_acks(&[wanted(name)], clock::now()).progress();
    progress.unknown.into_iter().map(|client| client.node).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_may_go_on_with_what_it_had_for_a_while() {
    let fanout = served();
    fanout.set_grace(GRACE);
    for (node, name) in [("a", "orders"), ("b", "carts")] {
        let client = Client::connect(&fanout, node);
        client.subscribe(name);
        client.follow();
    }
    assert_eq!(unknown(&fanout, "orders"), [""; 0], "it has what there is");
    publish(&fanout, put("orders", "2"));
    assert_eq!(unknown(&fanout, "orders"), ["a"], "changed after it left");
    let again = Client::connect(&fanout, "a");
    again.subscribe("orders");
    let mut watch = fanout.watch_acks(&[wanted("orders")], clock::now());
    let progress = watch.progress();
    assert_eq!(
        (
            progress.unknown.len(),
            progress.laggards.len(),
            progress.acked.len()
        ),
        (0, 1, 0)
    );
    again.follow();
    assert_eq!(watch.progress().acked, [(String::new(), "a".to_owned())]);
    publish(&fanout, put("orders", "3"));
    drop(again);
    assert_eq!(
        unknown(&fanout, "orders"),
        ["a"],
        "it left before it had the third"
    );
    tokio::time::advance(GRACE).await;
    assert_eq!(unknown(&fanout, "orders"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_left_with_a_response_unanswered_may_not_have_it() {
    let fanout = served();
    fanout.set_grace(GRACE);
    let client = Client::connect(&fanout, "a");
    client.subscribe("orders");
    client.follow();
    publish(&fanout, put("orders", "2"));
    let _unanswered = client.receive().unwrap();
    drop(client);
    assert_eq!(unknown(&fanout, "orders"), ["a"]);
}
