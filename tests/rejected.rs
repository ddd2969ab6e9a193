//! What a fleet thinks of a version: one refusal changes nothing for the others,
//! a rejected version is shown, and by option newcomers get the content before it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xds_bridge::clock;
use xds_bridge::fanout::{Fanout, Registration};
use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    DeltaRequest, Draft, Handled, Kind, Limits, Node, Reach, RejectionKey, Stream, Update, Variant,
};

/// A client of a fleet, registered at the fan-out, as `grpc::peer` drives it.
struct Client {
    fanout: Arc<Fanout>,
    registration: Registration,
    fleet: &'static str,
    nonce: String,
    voter: u64,
}

impl Client {
    fn connect(fanout: &Arc<Fanout>, fleet: &'static str) -> Self {
        let mut client = Self {
            fanout: fanout.clone(),
            registration: fanout
                .register(Stream::new(Variant::Delta, None, Limits::default()))
                .unwrap(),
            fleet,
            nonce: String::new(),
            voter: 0,
        };
        client.voter = client.registration.id.into();
        fanout.join_fleet(client.registration.id, fleet);
        let node = Node {
            id: "n".into(),
            cluster: fleet.into(),
            user_agent: "envoy".into(),
            ..Node::default()
        };
        client.send(DeltaRequest {
            node: Some(node),
            ..DeltaRequest::default()
        });
        client
    }

    fn send(&mut self, mut request: DeltaRequest) -> Handled {
        request.type_url = Kind::Cluster.type_url().into();
        self.fanout.handle_request(&self.registration, request).unwrap()
    }

    /// The contents it is sent now, by name; answers what it was asked on the way.
    fn receives(&mut self) -> Vec<String> {
        let generation = self.fanout.current().unwrap();
        let mut core = self.registration.subscriber.stream();
        if let Some(pending) = self.registration.subscriber.take() {
            core.handle_changes(&pending.changed);
            for poll in pending.polls {
                let m = &poll.key;
                let opinion = core.verdict(&generation, m.kind, m.id, poll.version);
                self.fanout.reply(
                    (self.voter, self.registration.id),
                    &poll,
                    *m.fleet == *self.fleet && opinion == Some(true),
                );
            }
        }
        let generation = self.fanout.current().unwrap();
        let Some(response) = core.poll_response(&generation, &*self.fanout, Duration::ZERO) else {
            return Vec::new();
        };
        drop(core);
        self.nonce = response.nonce;
        let text = |r: &Arc<xds_bridge::xds::Resource>| {
            format!("{}={}", r.name, std::str::from_utf8(&r.body().unwrap()).unwrap())
        };
        response.resources.iter().map(text).collect()
    }

    fn accepts(&mut self) {
        let handled = self.send(DeltaRequest {
            nonce: self.nonce.clone(),
            ..DeltaRequest::default()
        });
        self.fanout.accepted(
            (self.voter, self.registration.id),
            self.fleet,
            Kind::Cluster,
            &handled.accepted,
        );
    }

    fn refuses(&mut self) {
        let error = Some(Error {
            code: 13,
            message: "bad".into(),
        });
        let handled = self.send(DeltaRequest {
            nonce: self.nonce.clone(),
            error,
            ..DeltaRequest::default()
        });
        let (id, version) = handled.nack.unwrap().only.unwrap();
        let key = RejectionKey {
            fleet: self.fleet.into(),
            kind: Kind::Cluster,
            id,
        };
        self.fanout
            .refused((self.voter, self.registration.id), &key, version, "bad");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fanout.unregister(&self.registration);
    }
}

fn publish(fanout: &Fanout, content: &str) {
    let draft = Draft {
        kind: Kind::Cluster,
        name: "a".into(),
        body: content.into(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    };
    let now: Instant = clock::now();
    fanout.publish(&[Update::Put(draft)], now);
}

fn three(hold: bool) -> (Arc<Fanout>, Vec<Client>) {
    let fanout = Arc::new(Fanout::new(100, hold));
    publish(&fanout, "1");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&fanout, "edge")).collect();
    for client in &mut clients {
        assert_eq!(client.receives(), ["a=1"]);
        client.accepts();
    }
    publish(&fanout, "2");
    for client in &mut clients {
        assert_eq!(client.receives(), ["a=2"]);
    }
    (fanout, clients)
}

#[tokio::test]
async fn one_refusal_changes_nothing_for_the_others() {
    let (fanout, mut clients) = three(true);
    clients[1].accepts();
    clients[2].accepts();
    clients[0].refuses();
    for client in &mut clients {
        assert_eq!(client.receives(), [""; 0]);
    }
    assert!(fanout.rejected().is_empty());
    assert_eq!(Client::connect(&fanout, "edge").receives(), ["a=2"]);
}

#[tokio::test]
async fn a_rejected_version_is_held_back_from_newcomers_of_its_fleet_until_a_newer_one() {
    let (fanout, mut clients) = three(true);
    clients[0].refuses();
    assert!(
        fanout.rejected().is_empty(),
        "one of three, and the others have not said anything"
    );
    clients[1].refuses();
    let rejected = fanout.rejected();
    assert_eq!(
        (rejected[0].refused, rejected[0].accepted, rejected[0].held),
        (2, 0, true)
    );
    assert_eq!(
        Client::connect(&fanout, "edge").receives(),
        ["a=1"],
        "the last accepted content"
    );
    assert_eq!(
        Client::connect(&fanout, "bff").receives(),
        ["a=2"],
        "another fleet may like it"
    );
    publish(&fanout, "3");
    assert!(fanout.rejected().is_empty());
    assert_eq!(Client::connect(&fanout, "edge").receives(), ["a=3"]);
    assert_eq!(clients[0].receives(), ["a=3"]);
    // Rejected again: what stands in is the last that was accepted, not the one between.
    clients[0].refuses();
    clients[1].receives();
    clients[1].refuses();
    clients[2].accepts();
    clients[2].receives();
    assert_eq!(fanout.rejected().len(), 1);
    assert_eq!(Client::connect(&fanout, "edge").receives(), ["a=1"]);
}

#[tokio::test]
async fn by_default_it_is_shown_and_sent_all_the_same() {
    let (fanout, mut clients) = three(false);
    for client in &mut clients {
        client.refuses();
    }
    for client in &mut clients {
        client.receives();
    }
    let rejected = fanout.rejected();
    assert_eq!(
        (rejected[0].refused, rejected[0].held, &*rejected[0].message),
        (3, false, "bad")
    );
    assert_eq!(Client::connect(&fanout, "edge").receives(), ["a=2"]);
    drop(clients);
    assert_eq!(fanout.rejected()[0].refused, 3, "what they thought outlives them");
}

#[tokio::test]
async fn a_refusal_of_what_is_over_decides_nothing() {
    let (fanout, mut clients) = three(true);
    publish(&fanout, "3");
    clients[0].refuses(); // it means 2
    for client in &mut clients {
        client.receives();
    }
    assert!(fanout.rejected().is_empty());
    assert_eq!(Client::connect(&fanout, "edge").receives(), ["a=3"]);
}

#[tokio::test]
async fn who_is_of_another_fleet_is_not_waited_for() {
    let (fanout, mut clients) = three(false);
    let _silent: Vec<Client> = (0..10).map(|_| Client::connect(&fanout, "bff")).collect();
    clients[1].refuses();
    clients[2].refuses();
    assert_eq!(fanout.rejected().len(), 1);
}
