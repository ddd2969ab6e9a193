//! The table of names stays small: services come and go, clients ask for what does not exist, and claim what
//! never was. As the port drives it, without a socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use xds_bridge::clock;
use xds_bridge::fanout::{Fanout, Registration};
use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    Claim, DeltaRequest, Draft, Kind, Limits, Node, Prepared, Reach, Refusal, Response, SotwRequest, Stream,
    Update, Variant,
};

/// One stream and what its client holds of clusters.
struct Client {
    fanout: Arc<Fanout>,
    registration: Registration,
    node: Option<Node>,
    held: BTreeSet<String>,
}

impl Client {
    fn connect(fanout: &Arc<Fanout>, variant: Variant) -> Self {
        let node = Node {
            id: "n".into(),
            cluster: "edge".into(),
            user_agent: "envoy".into(),
            ..Node::default()
        };
        Self {
            fanout: fanout.clone(),
            registration: fanout
                .register(Stream::new(variant, None, Limits::default()))
                .unwrap(),
            node: Some(node),
            held: BTreeSet::new(),
        }
    }

    fn delta(&mut self, kind: Kind, mut request: DeltaRequest) -> Result<(), Refusal> {
        request.node = self.node.take();
        request.type_url = kind.type_url().into();
        let handled = self.fanout.handle_request(&self.registration, request);
        handled.map(drop)
    }

    fn subscribe(&mut self, kind: Kind, subscribe: Vec<String>) -> Result<(), Refusal> {
        let request = DeltaRequest {
            subscribe,
            ..DeltaRequest::default()
        };
        self.delta(kind, request)
    }

    fn want(&mut self, kind: Kind, names: Vec<String>) -> Result<(), Refusal> {
        let request = SotwRequest {
            node: self.node.take(),
            type_url: kind.type_url().into(),
            names,
            ..SotwRequest::default()
        };
        let handled = self.fanout.handle_request(&self.registration, request);
        handled.map(drop)
    }

    fn claim(&mut self, claims: impl IntoIterator<Item = String>) -> Result<(), Refusal> {
        let claim = |name| Claim {
            name,
            version: "1".into(),
        };
        let request = DeltaRequest {
            subscribe: vec!["*".into()],
            initial_versions: claims.into_iter().map(claim).collect(),
            ..DeltaRequest::default()
        };
        self.delta(Kind::Cluster, request)
    }

    fn next(&self) -> Option<Response> {
        let mut core = self.registration.subscriber.stream();
        if let Some(pending) = self.registration.subscriber.take() {
            core.handle_changes(&pending.changed);
        }
        let generation = self.fanout.current().unwrap();
        core.poll_response(&generation, &*self.fanout, Duration::ZERO)
    }

    /// Reads and accepts all that there is. Returns what was removed.
    fn read(&mut self) -> Vec<String> {
        let mut removed = Vec::new();
        while let Some(response) = self.next() {
            if response.kind == Kind::Cluster {
                for resource in &response.resources {
                    let body = resource.body().unwrap();
                    assert_eq!(*body, *resource.name.as_bytes(), "the content of another name");
                    self.held.insert(resource.name.to_string());
                }
                for name in &response.removed {
                    self.held.remove(&**name);
                    removed.push(name.to_string());
                }
            }
            let ack = DeltaRequest {
                nonce: response.nonce,
                ..DeltaRequest::default()
            };
            self.delta(response.kind, ack).unwrap();
        }
        removed
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fanout.unregister(&self.registration);
    }
}

fn cluster(name: &str) -> Update {
    Update::Put(Draft {
        kind: Kind::Cluster,
        name: name.into(),
        body: name.into(),
        needs: vec![format!("endpoints of {name}").into()],
        reach: Reach::All,
        local: None,
    })
}

fn serving(updates: &[Update]) -> Arc<Fanout> {
    let fanout = Arc::new(Fanout::new(1_000, true));
    fanout.publish(updates, clock::now());
    fanout
}

/// Names nobody serves, of so many bytes each.
fn unknown(who: usize, count: usize, length: usize) -> Vec<String> {
    (0..count).map(|n| format!("{who}-{n:0length$}")).collect()
}

#[tokio::test]
async fn a_hundred_thousand_services_come_and_go_and_leave_nothing_behind() {
    const AT_ONCE: usize = 1_000;
    let fanout = serving(&[cluster("stays")]);
    let mut reads = Client::connect(&fanout, Variant::Delta);
    reads.subscribe(Kind::Cluster, vec!["*".into()]).unwrap();
    let mut stalls = Client::connect(&fanout, Variant::Delta);
    stalls.subscribe(Kind::Cluster, vec!["*".into()]).unwrap();
    assert_eq!(stalls.next().unwrap().resources.len(), 1);
    let mut before: Vec<String> = Vec::new();
    for round in 0..100 {
        let now: Vec<String> = (0..AT_ONCE).map(|n| format!("s-{round}-{n}")).collect();
        let mut updates: Vec<Update> = now.iter().map(|name| cluster(name)).collect();
        let gone = before.iter();
        updates.extend(gone.map(|name| Update::Remove(Kind::Cluster, name.as_str().into())));
        fanout.publish(&updates, clock::now());
        reads.read();
        let wanted: BTreeSet<String> = now.iter().cloned().chain(["stays".to_owned()]).collect();
        assert_eq!(reads.held, wanted);
        before = now;
        // Of each service there are two names: of these 1,000, of those before, and of what is not worth a sweep.
        assert!(
            fanout.names() < 15 * AT_ONCE,
            "{} names after round {round}",
            fanout.names()
        );
    }
    // The one that stalled gets one final state, and hears nothing of what came and went.
    let nonce = "1".to_owned();
    let ack = DeltaRequest {
        nonce,
        ..DeltaRequest::default()
    };
    stalls.delta(Kind::Cluster, ack).unwrap();
    let removed = stalls.read();
    let wanted: BTreeSet<String> = before.into_iter().collect();
    assert_eq!(
        stalls.held, wanted,
        "and `stays`, which it has since the beginning"
    );
    assert_eq!(removed, [""; 0]);
}

#[tokio::test]
async fn a_name_that_a_client_still_holds_keeps_its_number_until_it_was_removed_there() {
    let fanout = serving(&[cluster("held")]);
    let mut client = Client::connect(&fanout, Variant::Delta);
    client.subscribe(Kind::Cluster, vec!["*".into()]).unwrap();
    client.read();
    fanout.publish(&[Update::Remove(Kind::Cluster, "held".into())], clock::now());
    // Enough that comes and goes for many sweeps, none of which it reads.
    for round in 0..30 {
        let names: Vec<String> = (0..1_000).map(|n| format!("s-{round}-{n}")).collect();
        let put: Vec<Update> = names.iter().map(|name| cluster(name)).collect();
        fanout.publish(&put, clock::now());
        let remove = names
            .iter()
            .map(|name| Update::Remove(Kind::Cluster, name.as_str().into()));
        fanout.publish(&remove.collect::<Vec<_>>(), clock::now());
    }
    assert!(fanout.names() < 15_000, "{} names", fanout.names());
    assert_eq!(client.read(), ["held"]);
    assert!(client.held.is_empty());
}

/// Streams that ask for more and more until not one name more is taken.
fn fill(fanout: &Arc<Fanout>) -> Vec<Client> {
    let mut hostile = vec![Client::connect(fanout, Variant::Delta)];
    let mut sizes = [10_000, 1_000, 100, 10, 1].into_iter();
    let mut size = sizes.next();
    for part in 0.. {
        let Some(count) = size else { break };
        let last = hostile.last_mut().unwrap();
        match last.subscribe(Kind::Endpoints, unknown(part, count, 480)) {
            Ok(()) => {}
            Err(Refusal::Full) => size = sizes.next(),
            Err(Refusal::TooManyBytes { .. }) => hostile.push(Client::connect(fanout, Variant::Delta)),
            Err(other) => panic!("{other}"),
        }
    }
    hostile
}

#[tokio::test]
async fn a_service_that_does_not_exist_yet_may_be_asked_for_while_others_fill_the_table() {
    let fanout = serving(&[]);
    let mut hostile = fill(&fanout);
    for who in 0..20 {
        let few = unknown(1_000_000 + who, 100, 100);
        let mut good = Client::connect(&fanout, Variant::Delta);
        good.subscribe(Kind::Endpoints, few.clone()).unwrap();
        good.subscribe(Kind::Route, few).unwrap();
        let more = unknown(2_000_000 + who, 100, 100);
        let mut good_too = Client::connect(&fanout, Variant::Sotw);
        good_too.want(Kind::Endpoints, more.clone()).unwrap();
        good_too.want(Kind::Route, more).unwrap();
        hostile.extend([good, good_too]); // they stay
    }
    // Who has had its share gets no more, but what others ask for as well costs nothing.
    assert_eq!(
        hostile[0].subscribe(Kind::Route, unknown(3_000_000, 1, 100)),
        Err(Refusal::Full)
    );
    assert_eq!(
        hostile[0].subscribe(Kind::Route, unknown(1_000_000, 100, 100)),
        Ok(())
    );
    // They leave, and all of it is free again.
    drop(hostile);
    assert_eq!(fanout.names(), 0);
}

#[tokio::test]
async fn a_full_table_takes_a_little_of_each_stream_whatever_there_are() {
    let fanout = serving(&[]);
    let mut hostile = fill(&fanout);
    // Also what is kept for those who ask for little gets used up in the end.
    let refused = (0..900).find(|who| {
        let mut client = Client::connect(&fanout, Variant::Delta);
        let wanted = unknown(5_000_000 + who, 40, 400);
        let refused = client.subscribe(Kind::Endpoints, wanted) == Err(Refusal::Full);
        hostile.push(client);
        refused
    });
    assert!(refused.is_some());
    let mut good = Client::connect(&fanout, Variant::Delta);
    good.subscribe(Kind::Endpoints, unknown(9_000_000, 20, 30))
        .unwrap();
    assert_eq!(
        good.subscribe(Kind::Endpoints, unknown(9_000_001, 40, 400)),
        Err(Refusal::Full)
    );
}

#[tokio::test]
async fn claims_of_what_nobody_serves_are_bounded_over_all_streams() {
    let fanout = serving(&[cluster("a")]);
    let length = 480;
    let mut hostile: Vec<Client> = Vec::new();
    for who in 0..20 {
        let mut client = Client::connect(&fanout, Variant::Delta);
        client.claim(unknown(who, 15_000, length)).unwrap(); // 7 MiB each, and it does not read
        hostile.push(client);
    }
    assert!(fanout.names() * length < 66 << 20, "{} names", fanout.names());
    assert!(fanout.names() * length > 32 << 20, "it was full");
    let mut good = Client::connect(&fanout, Variant::Delta);
    good.claim(["gone".to_owned(), "a".to_owned()]).unwrap();
    assert_eq!(good.read(), ["gone"]);
    drop(hostile);
    assert!(fanout.names() < 10, "{} names", fanout.names());
}

#[tokio::test]
async fn claims_that_were_answered_leave_nothing_behind() {
    let fanout = serving(&[cluster("a")]);
    let before = fanout.names();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&fanout, Variant::Delta)).collect();
    for client in &mut clients {
        client.claim(unknown(1, 1_000, 30)).unwrap(); // a fleet that held the same
    }
    assert_eq!(fanout.names(), before + 1_000);
    for client in &mut clients {
        assert_eq!(client.read().len(), 1_000);
    }
    assert_eq!(fanout.names(), before);
}

/// Refuses a response, and returns the name that the refusal is logged with.
fn refuse(client: &mut Client, response: Response, besides: DeltaRequest) -> Option<Arc<str>> {
    let error = Error {
        code: 13,
        message: "bad".into(),
    };
    let request = DeltaRequest {
        type_url: response.kind.type_url().into(),
        nonce: response.nonce,
        error: Some(error),
        ..besides
    };
    let handled = client
        .fanout
        .handle_request(&client.registration, request)
        .unwrap();
    handled.nack.unwrap().name
}

#[tokio::test]
async fn a_name_that_was_dropped_means_the_same_until_the_response_with_it_is_answered() {
    let fanout = serving(&[]);
    let mut client = Client::connect(&fanout, Variant::Delta);
    client.subscribe(Kind::Route, vec!["dropped".to_owned()]).unwrap();
    let response = client.next().unwrap();
    assert_eq!(&*response.resources[0].name, "dropped", "an empty one");
    let unsubscribe = DeltaRequest {
        unsubscribe: vec!["dropped".to_owned()],
        ..DeltaRequest::default()
    };
    for _ in 0..3 {
        client.delta(Kind::Route, unsubscribe.clone()).unwrap();
        client.subscribe(Kind::Route, vec!["dropped".to_owned()]).unwrap();
    }
    client.delta(Kind::Route, unsubscribe).unwrap();
    client.subscribe(Kind::Route, vec!["other".to_owned()]).unwrap();
    assert_eq!(fanout.names(), 2);
    let name = refuse(&mut client, response, DeltaRequest::default());
    assert_eq!(name.as_deref(), Some("dropped"));
    assert_eq!(fanout.names(), 1, "only then it is forgotten");
    client.read();
    drop(client);
    assert_eq!(fanout.names(), 0);
}

#[tokio::test]
async fn a_name_that_was_claimed_means_the_same_until_its_removal_is_answered() {
    let fanout = serving(&[]);
    let mut client = Client::connect(&fanout, Variant::Delta);
    let claim = Claim {
        name: "claimed".to_owned(),
        version: "1".to_owned(),
    };
    let request = DeltaRequest {
        subscribe: vec!["*".to_owned()],
        initial_versions: vec![claim],
        ..DeltaRequest::default()
    };
    client.delta(Kind::Route, request).unwrap();
    let ack = DeltaRequest {
        nonce: client.next().unwrap().nonce,
        ..DeltaRequest::default()
    };
    client.delta(Kind::Route, ack).unwrap();
    let response = client.next().unwrap();
    assert_eq!(&*response.resources[0].name, "claimed", "an empty one");
    let besides = DeltaRequest {
        subscribe: vec!["other".to_owned()],
        ..DeltaRequest::default()
    };
    let name = refuse(&mut client, response, besides);
    assert_eq!(name.as_deref(), Some("claimed"));
    assert_eq!(fanout.names(), 1);
}

/// All that a client asks for now and is sent, with acknowledgements.
fn outcome(client: &mut Client) -> (Vec<u32>, BTreeSet<String>, Vec<String>) {
    let mut removed = client.read();
    removed.sort();
    let asked = client.registration.subscriber.stream().asked().collect();
    (asked, client.held.clone(), removed)
}

proptest::proptest! {
    /// A request with many names is handled part by part.
    #[test]
    fn the_parts_of_a_request_mean_what_the_whole_means(
        before in prop::collection::vec(0..12_u8, 0..6),
        subscribe in prop::collection::vec(0..12_u8, 0..12),
        unsubscribe in prop::collection::vec(0..12_u8, 0..12),
        wildcard in 0..3_u8,
        at_most in 1..4_usize,
    ) {
        // Half of them are served.
        let fanout = serving(&(0..6).map(|n| cluster(&n.to_string())).collect::<Vec<_>>());
        let names = |list: &[u8], star: bool| -> Vec<String> {
            list.iter().map(u8::to_string).chain(star.then(|| "*".to_owned())).collect()
        };
        let clients = [false, true].map(|in_parts| {
            let mut client = Client::connect(&fanout, Variant::Delta);
            client.subscribe(Kind::Cluster, names(&before, wildcard == 2)).unwrap();
            client.read();
            let request = DeltaRequest {
                type_url: Kind::Cluster.type_url().into(),
                subscribe: names(&subscribe, wildcard == 1),
                unsubscribe: names(&unsubscribe, wildcard == 2),
                ..DeltaRequest::default()
            };
            let whole = Prepared::from(request);
            let parts = if in_parts { whole.in_parts(at_most) } else { vec![whole] };
            for part in parts {
                assert!(!in_parts || part.len() <= at_most);
                fanout.handle_request(&client.registration, part).unwrap();
            }
            client
        });
        let [whole, parts] = clients.map(|mut client| outcome(&mut client));
        prop_assert_eq!(whole, parts);
    }
}
