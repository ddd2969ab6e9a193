//! The loop of the hub, by a clock that stands still until somebody waits.

use super::running_tests::Running;
use super::*;
use crate::model::change::What;
use crate::model::{
    Bind, Change, Facts, Health, Instance, Listener, OnAllUnhealthy, RouteRule, ServiceRecord,
};

fn record(route: &str) -> ServiceRecord {
    let policy = crate::model::Policy {
        routes: [(1, RouteRule::parse(route).unwrap())].into(),
        ..crate::model::Policy::default()
    };
    ServiceRecord {
        instances: vec![Instance::from(Facts {
            policy: Arc::new(policy),
            ..Facts::new("1", ([10, 0, 0, 7], 80).into())
        })],
        ..ServiceRecord::default()
    }
}

fn event(services: &[(&str, Option<&str>)]) -> Event {
    let one = |(name, route): &(&str, Option<&str>)| ((*name).into(), route.map(record));
    Event {
        source: "s".into(),
        what: What::Change(Change::new(services.iter().map(one).collect(), true)),
    }
}

fn start() -> Running {
    start_after(Decisions::default())
}

/// A hub that knows what another one decided.
fn start_after(decisions: Decisions) -> Running {
    let listener = Listener {
        fleets: vec!["egde".into()],
        ..Listener::new(Bind::Internal, "internal".into())
    };
    let network = Network {
        listeners: BTreeMap::from([("edge".into(), listener)]),
        ..Network::default()
    };
    let sources = BTreeMap::from([("s".into(), SourceInfo::new("etcd"))]);
    Running::start(sources, network, Some(decisions))
}

impl Running {
    async fn kept(&mut self, wanted: usize) {
        let wait = self
            .seen
            .wait_for(|overview| overview.ready && overview.kept.0 == wanted);
        let seen = tokio::time::timeout(Duration::from_secs(7200), wait).await;
        drop(
            seen.expect("within two hours of a clock that does not run")
                .unwrap(),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_hub_wakes_when_kept_routes_end() {
    let mut hub = start();
    let all = [("cart", Some("path=/cart")), ("web", Some("path=/"))];
    hub.events.send(event(&all)).await.unwrap();
    hub.kept(0).await;
    hub.events.send(event(&all[1..])).await.unwrap();
    hub.kept(1).await;
    let left = clock::now();
    hub.kept(0).await;
    let kept = clock::now().duration_since(left);
    assert!(kept.as_secs() >= 3599 && kept.as_secs() <= 3601, "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn others_may_take_kept_requests_over_after_a_minute() {
    let mut hub = start();
    let cart = ("cart", Some("path=/cart"));
    hub.events.send(event(&[cart])).await.unwrap();
    hub.kept(0).await;
    hub.events.send(event(&[])).await.unwrap();
    hub.kept(1).await;
    let left = clock::now();
    hub.events
        .send(event(&[("basket", Some("path=/cart"))]))
        .await
        .unwrap();
    let contested = hub.metrics.contested.clone();
    let until = async |wanted| {
        while contested.get() != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(1).await;
    until(0).await;
    let waited = clock::now().duration_since(left);
    assert!((59..=61).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_what_is_kept() {
    let mut hub = start();
    hub.events
        .send(event(&[("cart", Some("path=/cart"))]))
        .await
        .unwrap();
    hub.kept(0).await;
    let forget = async |service: &str| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let service = service.to_owned();
        hub.orders.send(Order::Forget { service, reply }).await.unwrap();
        answer.await.unwrap()
    };
    assert_eq!(forget("cart").await, Forgotten::HasInstances);
    hub.events.send(event(&[])).await.unwrap();
    let mut seen = hub.seen.clone();
    drop(seen.wait_for(|overview| overview.kept.0 == 1).await.unwrap());
    assert_eq!(forget("cart").await, Forgotten::Ended);
    assert_eq!(forget("basket").await, Forgotten::Unknown);
    drop(seen.wait_for(|overview| overview.kept.0 == 0).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_no_envoy_gets_is_reported_once_others_are_connected() {
    let mut hub = start();
    hub.events.send(event(&[])).await.unwrap();
    hub.kept(0).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(hub.seen.borrow().unused.is_none(), "nobody is connected");
    hub.fanout.envoy_of("edge");
    drop(
        hub.seen
            .wait_for(|overview| overview.unused.is_some())
            .await
            .unwrap(),
    );
    let unused = hub.seen.borrow().unused.clone().unwrap();
    assert_eq!((&*unused.seen[0], unused.listeners.len()), ("edge", 1));
    assert_eq!(hub.metrics.listeners_unused.get(), 1);
    hub.fanout.envoy_of("egde");
    drop(
        hub.seen
            .wait_for(|overview| overview.unused.is_none())
            .await
            .unwrap(),
    );
    assert_eq!(hub.metrics.listeners_unused.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_before_a_restart_is_counted_and_ends() {
    let cart = crate::plan::Remembered {
        left_ago: Some(Duration::from_secs(600)),
        ..crate::plan::Remembered::default()
    };
    let mut hub = start_after(Decisions {
        services: BTreeMap::from([("cart".into(), cart)]),
        ..Decisions::default()
    });
    let began = clock::now();
    hub.events.send(event(&[])).await.unwrap();
    hub.kept(1).await;
    assert_eq!(hub.metrics.services_kept.get(), 1);
    hub.kept(0).await;
    let left = clock::now().duration_since(began);
    assert!(
        (2_990..=3_010).contains(&left.as_secs()),
        "the rest of its hour: {left:?}"
    );
    assert_eq!(hub.metrics.services_kept.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn how_an_instance_is_served_includes_what_the_operator_sets() {
    let closed = crate::model::Policy {
        all_unhealthy: Some(OnAllUnhealthy::Closed),
        timeout: Some(Duration::from_secs(40)),
        ..crate::model::Policy::default()
    };
    let network = Network {
        overrides: [("car*".into(), closed)].into_iter().collect(),
        ..Network::default()
    };
    let sources = BTreeMap::from([("s".into(), SourceInfo::new("etcd"))]);
    let mut hub = Running::start(sources, network, Some(Decisions::default()));
    hub.events
        .send(event(&[
            ("cart", Some("path=/cart timeout=2s")),
            ("web", Some("path=/")),
        ]))
        .await
        .unwrap();
    hub.kept(0).await;
    let served = async |service: &str| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let order = Order::Served {
            service: service.into(),
            address: ([10, 0, 0, 7], 80).into(),
            reply,
        };
        hub.orders.send(order).await.unwrap();
        answer.await.unwrap()
    };
    let cart = served("cart").await;
    assert_eq!((cart.health, cart.alone), (Some(Health::Healthy), true));
    assert_eq!(cart.all_unhealthy, OnAllUnhealthy::Closed);
    assert_eq!(cart.longest, Some(Duration::from_secs(40)));
    let web = served("web").await;
    assert_eq!((web.all_unhealthy, web.longest), (OnAllUnhealthy::Open, None));
    assert_eq!(served("nobody").await.health, None);
}
