//! Streams of fleets with a view: what they are sent, and what wakes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::clock;
use crate::fanout::{Fanout, Registration};
use crate::xds::{
    Audience, DeltaRequest, Draft, Encoded, Kind, Limits, Node, Reach, Response, Stream, Update, Variant,
    ViewRules,
};

fn reach(fleets: &[&str]) -> Reach {
    let fleets = fleets.iter().map(|fleet| Arc::from(*fleet)).collect();
    Reach::Views(Arc::new(Audience::new(Vec::new(), fleets)))
}

fn put(kind: Kind, name: &str, body: &str, fleets: &[&str]) -> Update {
    Update::Put(Draft {
        kind,
        name: name.into(),
        body: body.as_bytes().to_vec(),
        needs: Vec::new(),
        reach: reach(fleets),
        local: None,
    })
}

/// A fan-out, and streams that ACK at once.
struct Scene {
    fanout: Fanout,
    rules: Arc<ViewRules>,
}

impl Scene {
    fn new(updates: &[Update]) -> Self {
        let rules = ViewRules::new([("web".into(), true), ("stock".into(), true)]);
        let mut scene = Self {
            fanout: Fanout::new(10, false),
            rules: Arc::new(rules),
        };
        scene.publish(updates);
        scene
    }

    fn publish(&mut self, updates: &[Update]) {
        let mut encoded = Encoded::new(updates);
        encoded.set_rules(self.rules.clone());
        self.fanout.publish_encoded(encoded, clock::now());
    }

    /// Of a fleet, with all clusters and these endpoints.
    fn open(&self, fleet: &str, endpoints: &[&str]) -> (Registration, Vec<String>) {
        let stream = Stream::new(Variant::Delta, None, Limits::default());
        let registration = self.fanout.register(stream).unwrap();
        for (kind, names) in [(Kind::Cluster, &[][..]), (Kind::Endpoints, endpoints)] {
            let request = DeltaRequest {
                node: Some(Node {
                    cluster: fleet.to_owned(),
                    ..Node::default()
                }),
                type_url: kind.type_url().to_owned(),
                subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
                ..DeltaRequest::default()
            };
            self.fanout.handle_request(&registration, request).unwrap();
        }
        self.fanout.join_fleet(registration.id, fleet);
        let sent = self.sent(&registration);
        (registration, sent)
    }

    /// What a stream is sent now; `asleep`: nothing, and nothing woke it.
    fn sent(&self, registration: &Registration) -> Vec<String> {
        let woken = registration.subscriber.take();
        if let Some(pending) = &woken {
            registration.subscriber.stream().handle_changes(&pending.changed);
        }
        let mut all = Vec::new();
        loop {
            let mut stream = registration.subscriber.stream();
            let generation = self.fanout.current().unwrap();
            let Some(response) = stream.poll_response(&generation, &self.fanout, Duration::ZERO) else {
                break;
            };
            drop(stream);
            all.extend(shown(&response));
            let ack = DeltaRequest {
                type_url: response.kind.type_url().to_owned(),
                nonce: response.nonce,
                ..DeltaRequest::default()
            };
            self.fanout.handle_request(registration, ack).unwrap();
        }
        if woken.is_none() && all.is_empty() {
            all.push("asleep".to_owned());
        }
        all
    }
}

fn shown(response: &Response) -> Vec<String> {
    let kind = response.kind.short();
    let puts = response.resources.iter();
    // What Envoy learns of a removal by has nothing but the name.
    let text = |body: &[u8]| match body {
        [10, ..] => "gone".to_owned(),
        body => String::from_utf8_lossy(body).into_owned(),
    };
    let puts = puts.map(|r| format!("{kind} {}={}", r.name, text(&r.body().unwrap())));
    let removed = response.removed.iter().map(|name| format!("{kind} -{name}"));
    puts.chain(removed).collect()
}

#[test]
fn a_stream_is_sent_its_view_and_a_change_outside_of_it_does_not_wake_it() {
    let (cluster, endpoints) = (Kind::Cluster, Kind::Endpoints);
    let mut scene = Scene::new(&[
        put(cluster, "a", "1", &["web"]),
        put(cluster, "b", "1", &["stock", "web"]),
        put(cluster, "c", "1", &[]),
        put(endpoints, "a", "1", &["web"]),
        put(endpoints, "c", "1", &[]),
    ]);
    let (web, sent) = scene.open("web", &["a", "c"]);
    assert_eq!(
        sent,
        ["cds a=1", "cds b=1", "eds a=1", "eds -c"],
        "there is no `c` for it"
    );
    let (stock, sent) = scene.open("stock", &["a"]);
    assert_eq!(sent, ["cds b=1", "eds -a"]);
    let (all, sent) = scene.open("edge", &["c"]);
    assert_eq!(sent, ["cds a=1", "cds b=1", "cds c=1", "eds c=1"]);

    scene.publish(&[
        put(endpoints, "a", "2", &["web"]),
        put(cluster, "a", "2", &["web"]),
    ]);
    assert_eq!(
        scene.sent(&stock),
        ["asleep"],
        "it names `a`, and does not see it"
    );
    assert_eq!(scene.sent(&web), ["cds a=2", "eds a=2"]);
    assert_eq!(scene.sent(&all), ["cds a=2"]);

    // The same content, for one fleet more: it concerns only that one.
    scene.publish(&[
        put(cluster, "a", "2", &["stock", "web"]),
        put(endpoints, "a", "2", &["stock", "web"]),
    ]);
    assert_eq!(scene.sent(&web), ["asleep"]);
    assert_eq!(scene.sent(&all), ["asleep"]);
    assert_eq!(scene.sent(&stock), ["cds a=2", "eds a=2"]);

    // And for one less.
    scene.publish(&[
        put(cluster, "b", "1", &["stock"]),
        put(endpoints, "a", "2", &["web"]),
    ]);
    assert_eq!(scene.sent(&web), ["cds -b"]);
    assert_eq!(scene.sent(&all), ["asleep"]);
    assert_eq!(scene.sent(&stock), ["eds a=gone"]);
}

#[test]
fn a_fleet_that_gets_a_view_while_it_is_connected_is_sent_the_difference() {
    let both = |fleets: &[&str]| {
        [
            put(Kind::Cluster, "a", "1", fleets),
            put(Kind::Cluster, "b", "1", &[]),
        ]
    };
    let mut scene = Scene::new(&both(&["late"]));
    let (late, sent) = scene.open("late", &[]);
    assert_eq!(sent, ["cds a=1", "cds b=1"]);
    scene.rules = Arc::new(ViewRules::new([("late".into(), true)]));
    scene.publish(&[]);
    assert_eq!(
        scene.sent(&late).iter().filter(|sent| sent.contains('-')).count(),
        1
    );
    scene.rules = Arc::default();
    scene.publish(&[]);
    assert!(scene.sent(&late).contains(&"cds b=1".to_owned()));
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const FLEETS: [&str; 3] = ["web", "stock", "edge"];

#[derive(Clone, Debug)]
enum Step {
    /// Name, content, and who sees it: bits of `FLEETS`; the cluster, or the endpoints.
    Put(usize, u8, u8, bool),
    Remove(usize, bool),
    /// Which fleets have a view: bits.
    Rules(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize, 0..2_u8, 0..8_u8, any::<bool>()).prop_map(|(n, c, f, k)| Step::Put(n, c, f, k)),
        2 => (0..4_usize, any::<bool>()).prop_map(|(n, k)| Step::Remove(n, k)),
        1 => (0..8_u8).prop_map(Step::Rules),
    ]
}

fn of_bits(bits: u8) -> Vec<&'static str> {
    let is_in = |at: &usize| bits & (1 << at) != 0;
    (0..FLEETS.len()).filter(is_in).map(|at| FLEETS[at]).collect()
}

const fn kind(is_cluster: bool) -> Kind {
    if is_cluster {
        Kind::Cluster
    } else {
        Kind::Endpoints
    }
}

proptest! {
    /// Whatever is published and whoever sees it: each client holds what its fleet sees, and what does not change for
    /// it does not wake it.
    #[test]
    fn each_client_has_what_its_fleet_sees(steps in prop::collection::vec(step(), 1..25)) {
        let mut scene = Scene::new(&[]);
        scene.rules = Arc::default();
        let (mut rules, mut all) = (0_u8, BTreeMap::<(String, &str), (u8, u8)>::new());
        let mut clients: Vec<_> = FLEETS
            .iter()
            .map(|fleet| (*fleet, scene.open(fleet, &["a", "b"]).0, BTreeMap::<String, String>::new()))
            .collect();
        scene.publish(&[]);
        for (_, registration, _) in &clients {
            scene.sent(registration);
        }
        for step in steps {
            let short = |k: bool| kind(k).short().to_owned();
            let ruled = matches!(step, Step::Rules(bits) if bits != rules);
            match step {
                Step::Put(name, content, fleets, k) => {
                    let name = NAMES[name];
                    all.insert((short(k), name), (content, fleets));
                    scene.publish(&[put(kind(k), name, &content.to_string(), &of_bits(fleets))]);
                }
                Step::Remove(name, k) => {
                    all.remove(&(short(k), NAMES[name]));
                    scene.publish(&[Update::Remove(kind(k), NAMES[name].into())]);
                }
                Step::Rules(bits) if ruled => {
                    rules = bits;
                    let of = of_bits(bits).into_iter().map(|fleet| (Arc::from(fleet), true));
                    scene.rules = Arc::new(ViewRules::new(of));
                    scene.publish(&[]);
                }
                Step::Rules(_) => {}
            }
            for (fleet, registration, held) in &mut clients {
                let before = held.clone();
                let sent = scene.sent(registration);
                for one in sent.iter().filter(|one| *one != "asleep") {
                    match one.split_once('=') {
                        Some((name, content)) if content != "gone" => drop(held.insert(name.to_owned(), content.to_owned())),
                        Some((name, _)) => drop(held.remove(name)),
                        None => drop(held.remove(&one.replace('-', ""))),
                    }
                }
                let has_view = of_bits(rules).contains(fleet);
                let sees = |fleets: u8| !has_view || of_bits(fleets).contains(fleet);
                let named = |kind: &str, name: &str| kind == "cds" || ["a", "b"].contains(&name);
                let wanted: BTreeMap<String, String> = all
                    .iter()
                    .filter(|((kind, name), (_, fleets))| sees(*fleets) && named(kind, name))
                    .map(|((kind, name), (content, _))| (format!("{kind} {name}"), content.to_string()))
                    .collect();
                prop_assert_eq!(&*held, &wanted, "{}", fleet);
                // Without any view nothing is in one.
                if rules != 0 && !ruled && before == wanted {
                    let sent: BTreeSet<&str> = sent.iter().map(String::as_str).collect();
                    prop_assert_eq!(sent, BTreeSet::from(["asleep"]), "{} of {:?}", fleet, all);
                }
            }
        }
    }
}

/// A hundred fleets with views of ten services, ten streams of each: who is woken is who sees what changes.
#[test]
fn of_a_thousand_streams_those_are_woken_that_see_what_changes() {
    let fleet = |n: usize| format!("fleet-{n}");
    let rules = ViewRules::new((0..100).map(|n| (Arc::from(fleet(n)), true)));
    let mut scene = Scene {
        fanout: Fanout::new(2_000, false),
        rules: Arc::new(rules),
    };
    let put = |kind, service: usize, body: &str| {
        let fleet = fleet(service / 10);
        put(kind, &format!("s{service}"), body, &[&fleet])
    };
    let all =
        (0..1_001).flat_map(|service| [Kind::Cluster, Kind::Endpoints].map(|kind| put(kind, service, "1")));
    scene.publish(&all.collect::<Vec<_>>());
    let streams: Vec<(usize, Registration)> = (0..1_000)
        .map(|n| {
            let own: Vec<String> = (0..10).map(|s| format!("s{}", n / 10 * 10 + s)).collect();
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let (stream, sent) = scene.open(&fleet(n / 10), &own);
            assert_eq!(sent.len(), 20, "{sent:?}");
            (n / 10, stream)
        })
        .collect();
    // The last service is in nobody's view.
    for (service, woken) in [(1_000, 0), (0, 10), (577, 10), (999, 10)] {
        scene.publish(&[
            put(Kind::Endpoints, service, "2"),
            put(Kind::Cluster, service, "2"),
        ]);
        let awake = streams.iter().filter(|(fleet, stream)| {
            let sent = scene.sent(stream);
            let is_woken = sent != ["asleep"];
            assert!(!is_woken || *fleet == service / 10, "{sent:?}");
            is_woken
        });
        assert_eq!(awake.count(), woken, "s{service}");
    }
}
