//! What the engine costs, without sockets: `cargo bench --bench engine`. Counted in instructions where
//! valgrind is installed, which is the same on a busy machine; in time otherwise. Nothing is asserted.
//!
//! A figure is what a round costs: the difference between a run with rounds and one that only prepares.
#![allow(clippy::print_stdout, reason = "its table goes to a person")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here ends the measurement"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::clock;
use xds_bridge::fanout::{Fanout, Registration};
use xds_bridge::xds::{
    Audience, By, Claim, DeltaRequest, Draft, Encoded, Kind, Limits, Local, Locality, Node, Reach, Response,
    Stream, Update, Variant, Version, ViewRules, Viewer,
};

/// Name, rounds, and what makes a round.
type Bench = (&'static str, u32, fn() -> Box<dyn FnMut()>);

const BENCHES: [Bench; 6] = [
    ("a changed endpoint to 1,000 streams", 5, change),
    (
        "a changed endpoint outside of the views of 1,000 streams",
        5,
        outside,
    ),
    ("a changed endpoint in the view of 10 of 1,000 streams", 5, inside),
    ("a changed endpoint to 1,000 streams in 6 zones", 5, near),
    ("a first sync of 5,000 services", 2, first_sync),
    ("a reconnect that claims 5,000 services", 2, reconnect),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, run, name, rounds] = &arguments[..]
        && run == "--rounds-of"
    {
        return rounds_of(name, rounds.parse().expect("a number"));
    }
    let counted = Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    println!(
        "| one round of | {} |",
        if counted { "instructions" } else { "time" }
    );
    println!("|---|---|");
    for (name, rounds, start) in BENCHES {
        if counted {
            let spent = instructions(name, rounds).saturating_sub(instructions(name, 0));
            println!("| {name} | {} |", spent / u64::from(rounds));
        } else {
            println!("| {name} | {:.1?} |", time(start));
        }
    }
}

fn rounds_of(name: &str, rounds: u32) {
    let (_, _, start) = BENCHES
        .iter()
        .find(|(other, ..)| *other == name)
        .expect("a bench");
    let mut round = start();
    (0..rounds).for_each(|_| round());
}

/// Of this program, when it prepares and then does so many rounds.
fn instructions(name: &str, rounds: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--rounds-of", name, &rounds.to_string()])
        .output()
        .expect("valgrind");
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.unwrap_or_else(|| panic!("no count in valgrind's report:\n{report}"));
    count.trim().parse().expect("a number of instructions")
}

/// The median of some rounds.
fn time(start: fn() -> Box<dyn FnMut()>) -> Duration {
    let mut round = start();
    round();
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let began = clock::now();
            round();
            clock::now() - began
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn name(service: u32) -> Arc<str> {
    format!("service-{service:05}").into()
}

/// About as long as an assignment with four endpoints.
fn put(kind: Kind, service: u32, content: u32) -> Update {
    let needs = if kind == Kind::Cluster {
        vec![name(service)]
    } else {
        Vec::new()
    };
    Update::Put(Draft {
        kind,
        name: name(service),
        body: content.to_le_bytes().repeat(60),
        needs,
        reach: Reach::All,
        local: None,
    })
}

fn serve(services: u32) -> Arc<Fanout> {
    let fanout = Arc::new(Fanout::new(10_000, false));
    let all = (0..services).flat_map(|s| [Kind::Cluster, Kind::Endpoints].map(|kind| put(kind, s, 0)));
    fanout.publish(&all.collect::<Vec<_>>(), clock::now());
    fanout
}

/// An Envoy: all clusters, and the endpoints of each by name.
struct Client {
    fanout: Arc<Fanout>,
    stream: Registration,
}

impl Client {
    fn connect(fanout: &Arc<Fanout>, services: u32, claims: Option<&[Vec<Claim>; 2]>) -> Self {
        Self::of(fanout, ("edge", ""), services, claims)
    }

    fn of(
        fanout: &Arc<Fanout>,
        (fleet, zone): (&str, &str),
        services: u32,
        claims: Option<&[Vec<Claim>; 2]>,
    ) -> Self {
        let stream = fanout
            .register(Stream::new(Variant::Delta, None, Limits::default()))
            .expect("room");
        let client = Self {
            fanout: fanout.clone(),
            stream,
        };
        let claimed = |at: usize| claims.map(|claims| claims[at].clone()).unwrap_or_default();
        client.send(DeltaRequest {
            node: Some(Node {
                id: "envoy".into(),
                cluster: fleet.into(),
                locality: Some(Locality {
                    zone: zone.into(),
                    ..Locality::default()
                }),
                user_agent: "envoy".into(),
                ..Node::default()
            }),
            type_url: Kind::Cluster.type_url().into(),
            initial_versions: claimed(0),
            ..DeltaRequest::default()
        });
        fanout.join_fleet(client.stream.id, fleet);
        client.send(DeltaRequest {
            type_url: Kind::Endpoints.type_url().into(),
            subscribe: (0..services).map(|s| name(s).to_string()).collect(),
            initial_versions: claimed(1),
            ..DeltaRequest::default()
        });
        client
    }

    fn send(&self, request: DeltaRequest) {
        self.fanout
            .handle_request(&self.stream, request)
            .expect("a request that is not refused");
    }

    fn poll(&self) -> Option<Response> {
        let mut stream = self.stream.subscriber.stream();
        if let Some(pending) = self.stream.subscriber.take() {
            stream.handle_changes(&pending.changed);
        }
        let generation = self.fanout.current().expect("a generation");
        let response = stream.poll_response(&generation, &*self.fanout, Duration::ZERO);
        if response.is_none() {
            self.fanout.answered(&self.stream, &stream);
        }
        response
    }

    /// Accepts all that there is; returns how many resources that were.
    fn read(&self) -> usize {
        let mut resources = 0;
        while let Some(response) = self.poll() {
            resources += response.resources.len();
            std::hint::black_box(response.head());
            self.send(DeltaRequest {
                type_url: response.kind.type_url().into(),
                nonce: response.nonce,
                ..DeltaRequest::default()
            });
        }
        resources
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fanout.unregister(&self.stream);
    }
}

fn change() -> Box<dyn FnMut()> {
    const SERVICES: u32 = 100;
    let fanout = serve(SERVICES);
    let clients: Vec<Client> = (0..1_000)
        .map(|_| Client::connect(&fanout, SERVICES, None))
        .collect();
    for client in &clients {
        assert_eq!(client.read(), 2 * SERVICES as usize);
    }
    let mut content = 0;
    Box::new(move || {
        content += 1;
        fanout.publish(&[put(Kind::Endpoints, content % SERVICES, content)], clock::now());
        let sent: usize = clients.iter().map(Client::read).sum();
        assert_eq!(sent, clients.len());
    })
}

/// Fleets with views of ten services each, and ten streams of each: 1,000 in all. Those who see a service that changes.
fn viewed(seen: usize) -> Box<dyn FnMut()> {
    const SERVICES: u32 = 1_001;
    let fleet = |service: u32| format!("fleet-{}", service / 10);
    let rules = (0..100).map(|n| (Arc::from(format!("fleet-{n}")), true));
    let rules = Arc::new(ViewRules::new(rules));
    let put = move |kind: Kind, service: u32, content: u32| {
        let Update::Put(draft) = put(kind, service, content) else {
            unreachable!("it is put");
        };
        // The last service is in no view.
        let audience = Audience::new(Vec::new(), vec![fleet(service).into()]);
        Update::Put(Draft {
            reach: Reach::Views(Arc::new(audience)),
            ..draft
        })
    };
    let fanout = Arc::new(Fanout::new(10_000, false));
    let publish = {
        let fanout = fanout.clone();
        move |updates: &[Update]| {
            let mut encoded = Encoded::new(updates);
            encoded.set_rules(rules.clone());
            fanout.publish_encoded(encoded, clock::now());
        }
    };
    let all = (0..SERVICES).flat_map(|s| [Kind::Cluster, Kind::Endpoints].map(|kind| put(kind, s, 0)));
    publish(&all.collect::<Vec<_>>());
    let clients: Vec<Client> = (0..1_000)
        .map(|n| Client::of(&fanout, (&format!("fleet-{}", n / 10), ""), SERVICES, None))
        .collect();
    for client in &clients {
        assert_eq!(client.read(), 20, "the clusters and endpoints of its view");
    }
    let mut content = 0;
    Box::new(move || {
        content += 1;
        let service = if seen == 0 { SERVICES - 1 } else { content % 1_000 };
        publish(&[put(Kind::Endpoints, service, content)]);
        // Only who was woken looks.
        let woken = clients.iter().filter_map(|client| {
            let pending = client.stream.subscriber.take()?;
            client.stream.subscriber.stream().handle_changes(&pending.changed);
            Some(client.read())
        });
        let sent: Vec<usize> = woken.collect();
        assert_eq!(sent, vec![1; seen]);
    })
}

fn outside() -> Box<dyn FnMut()> {
    viewed(0)
}

fn inside() -> Box<dyn FnMut()> {
    viewed(10)
}

/// An assignment that differs by where a client is.
#[derive(Debug)]
struct ByZone(u32);

impl Local for ByZone {
    fn inputs(&self) -> Version {
        Version::of(&self.0.to_le_bytes())
    }

    fn by(&self) -> By {
        By::Place
    }

    fn body(&self, viewer: &Viewer) -> Vec<u8> {
        let zone = viewer.place.as_ref().map_or(0, |place| place.zone.len());
        (self.0 + u32::try_from(zone).unwrap_or(0))
            .to_le_bytes()
            .repeat(60)
    }
}

fn near() -> Box<dyn FnMut()> {
    const SERVICES: u32 = 100;
    let put = |service: u32, content: u32| {
        let Update::Put(draft) = put(Kind::Endpoints, service, content) else {
            unreachable!("it is put");
        };
        Update::Put(Draft {
            local: Some(Arc::new(ByZone(content))),
            ..draft
        })
    };
    let fanout = serve(SERVICES);
    let zones: Vec<String> = (1..7).map(|n| "z".repeat(n)).collect();
    let clients: Vec<Client> = (0..1_000)
        .map(|n| Client::of(&fanout, ("edge", &zones[n % 6]), SERVICES, None))
        .collect();
    for client in &clients {
        assert_eq!(client.read(), 2 * SERVICES as usize);
    }
    let mut content = 0;
    Box::new(move || {
        content += 1;
        fanout.publish(&[put(content % SERVICES, content)], clock::now());
        let sent: usize = clients.iter().map(Client::read).sum();
        assert_eq!(sent, clients.len());
    })
}

const MANY: u32 = 5_000;

fn first_sync() -> Box<dyn FnMut()> {
    let fanout = serve(MANY);
    Box::new(move || {
        let client = Client::connect(&fanout, MANY, None);
        assert_eq!(client.read(), 2 * MANY as usize);
    })
}

fn reconnect() -> Box<dyn FnMut()> {
    let fanout = serve(MANY);
    let generation = fanout.current().expect("a generation");
    let claims = [Kind::Cluster, Kind::Endpoints].map(|kind| {
        let claim = |(_, resource): (_, &Arc<xds_bridge::xds::Resource>)| Claim {
            name: resource.name.to_string(),
            version: resource.version.to_string(),
        };
        generation.all(kind).map(claim).collect::<Vec<_>>()
    });
    Box::new(move || {
        let client = Client::connect(&fanout, MANY, Some(&claims));
        assert_eq!(client.read(), 0, "the client has everything");
    })
}
