//! Orders of a new configuration, and explanations, by a clock that stands still until somebody waits.

use tokio::sync::oneshot;

use super::running_tests::Running;
use super::*;
use crate::model::change::What;
use crate::model::{
    Bind, Change, GuardRule, Health, Instance, Listener, Policy, Protocol, ServiceRecord, Status,
};
use crate::xds::Kind;

fn info(guard: Option<GuardRule>, registry: Option<&str>) -> SourceInfo {
    SourceInfo {
        guard,
        registry: registry.map(str::to_owned),
        ..SourceInfo::new("etcd")
    }
}

fn start(sources: &[(&str, SourceInfo)]) -> Running {
    let sources = sources.iter().map(|(name, info)| ((*name).into(), info.clone()));
    Running::start(sources.collect(), Network::default(), None)
}

/// All services of a source: its instances, by name.
fn all(source: &str, services: &[(&str, &[u16])]) -> Event {
    let one = |(name, ports): &(&str, &[u16])| {
        let instances = ports
            .iter()
            .map(|port| {
                let mut instance = Instance::new(format!("{source}-{port}"), ([10, 0, 0, 7], *port).into());
                instance.policy = Arc::new(Policy {
                    protocol: Some(Protocol::Grpc),
                    ..Policy::default()
                });
                instance
            })
            .collect();
        let record = ServiceRecord {
            instances,
            ..ServiceRecord::default()
        };
        ((*name).into(), Some(record))
    };
    Event {
        source: source.into(),
        what: What::Change(Change::new(services.iter().map(one).collect(), true)),
    }
}

impl Running {
    async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    async fn request<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn add(&self, name: &str, info: SourceInfo) {
        let name = name.into();
        self.request(|reply| Order::AddSource { name, info, reply }).await;
    }

    async fn remove(&self, name: &str) -> bool {
        let name = name.into();
        self.request(|reply| Order::RemoveSource { name, reply }).await
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Overview, &Fanout) -> bool) {
        let fanout = self.fanout.clone();
        let wait = self.seen.wait_for(|overview| wanted(overview, &fanout));
        let in_time = tokio::time::timeout(Duration::from_secs(600), wait).await;
        assert!(in_time.is_ok_and(|seen| seen.is_ok()), "{what}");
    }

    async fn until_clusters(&mut self, wanted: usize) {
        self.until(&format!("{wanted} clusters"), |_, fanout| {
            clusters(fanout) == Some(wanted)
        })
        .await;
    }

    fn instances(&self, source: &str) -> usize {
        let seen = self.seen.borrow();
        let view = seen.sources.iter().find(|view| &*view.name == source);
        view.unwrap().instances
    }

    async fn explain(&self, service: &str) -> Option<Box<Explanation>> {
        let service = service.to_owned();
        self.request(|reply| Order::Explain { service, reply }).await
    }
}

fn clusters(fanout: &Fanout) -> Option<usize> {
    Some(fanout.current()?.len(Kind::Cluster))
}

#[tokio::test(start_paused = true)]
async fn a_removed_source_takes_its_services_with_it_past_its_guard() {
    let guarded = info(Some(GuardRule::default()), Some("etcd a"));
    let mut hub = start(&[("a", guarded), ("b", info(None, None))]);
    hub.send(all("a", &[("cart", &[1, 2, 3, 4]), ("web", &[5])]))
        .await;
    hub.send(all("b", &[("web", &[6])])).await;
    hub.until_clusters(2).await;
    hub.send(all("a", &[])).await;
    hub.until("withheld", |seen, _| seen.sources[0].withheld == 5)
        .await;
    assert_eq!(clusters(&hub.fanout), Some(2));
    assert!(hub.remove("a").await);
    hub.until_clusters(1).await;
    let web = hub.explain("web").await.unwrap();
    assert_eq!(web.merged.unwrap().instances.len(), 1);
    assert!(hub.explain("cart").await.is_none(), "nothing is kept of it");
    assert_eq!(hub.seen.borrow().kept.0, 0);
    assert!(!hub.metrics.text().contains("source=\"a\""));
    // What its task had sent before is nothing now.
    hub.send(all("a", &[("cart", &[1])])).await;
    assert!(hub.explain("cart").await.is_none());
    assert!(!hub.metrics.text().contains("source=\"a\""));
    assert!(!hub.remove("a").await, "there is none");
    assert!(!hub.remove("b").await, "the only one");
    assert_eq!(clusters(&hub.fanout), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_source_sent_before_it_was_removed_comes_before_that() {
    let mut hub = start(&[("a", info(None, None)), ("b", info(None, None))]);
    hub.send(all("b", &[])).await;
    hub.send(all("a", &[("cart", &[1])])).await;
    assert!(hub.remove("a").await);
    hub.add("a", info(None, None)).await;
    // It may have been published before it was removed: then the next generation is without it.
    hub.until_clusters(0).await;
    assert!(hub.explain("cart").await.is_none(), "that was the run before");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_comes_later_holds_nothing_up() {
    let mut hub = start(&[("a", info(None, None))]);
    hub.send(all("a", &[("cart", &[1])])).await;
    hub.until_clusters(1).await;
    hub.add("b", info(None, None)).await;
    hub.send(all("a", &[("cart", &[1]), ("web", &[2])])).await;
    hub.until_clusters(2).await;
    hub.send(all("b", &[("stock", &[3])])).await;
    hub.until_clusters(3).await;
}

#[tokio::test(start_paused = true)]
async fn before_the_first_generation_a_new_source_is_awaited_and_a_removed_one_is_not() {
    let mut hub = start(&[("a", info(None, None)), ("b", info(None, None))]);
    hub.add("c", info(None, None)).await;
    hub.send(all("a", &[("cart", &[1])])).await;
    hub.send(all("b", &[])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(clusters(&hub.fanout), None, "c has not delivered");
    assert!(hub.remove("c").await);
    hub.until_clusters(1).await;
}

#[tokio::test(start_paused = true)]
async fn another_run_is_judged_by_the_guard_only_where_it_reads_the_same_registry() {
    let guarded = |registry| info(Some(GuardRule::default()), Some(registry));
    let mut hub = start(&[("a", guarded("etcd one")), ("b", info(None, None))]);
    hub.send(all("b", &[])).await;
    hub.send(all("a", &[("cart", &[1, 2, 3, 4])])).await;
    hub.until_clusters(1).await;
    hub.add("a", guarded("etcd one")).await;
    assert_eq!(hub.instances("a"), 4, "served until it delivers");
    hub.send(all("a", &[])).await;
    hub.until("withheld", |seen, _| seen.sources[0].withheld == 4)
        .await;
    hub.add("a", guarded("etcd two")).await;
    assert_eq!(hub.instances("a"), 4, "still");
    hub.send(all("a", &[("web", &[9, 10, 11, 12])])).await;
    hub.until("another registry is another world", |seen, _| {
        seen.sources[0].withheld == 0 && seen.sources[0].instances == 4 && seen.sources[0].services == 1
    })
    .await;
    hub.until_clusters(1).await;
    hub.send(all("a", &[])).await;
    hub.until("guarded again", |seen, _| seen.sources[0].withheld == 4)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_priority_moves_all_of_a_source() {
    let hub = start(&[("a", info(None, None)), ("b", info(None, None))]);
    for source in ["a", "b"] {
        hub.send(all(source, &[("web", &[1])])).await;
    }
    let first = async || {
        let web = hub.explain("web").await.unwrap();
        web.merged.unwrap().instances[0].id.to_string()
    };
    assert_eq!(first().await, "a-1");
    let behind = SourceInfo {
        priority: 1,
        ..info(None, None)
    };
    hub.add("a", behind).await;
    assert_eq!(first().await, "b-1");
}

#[tokio::test(start_paused = true)]
async fn a_listener_and_a_service_may_change_places() {
    let mut hub = start(&[("a", info(None, None))]);
    hub.send(all("a", &[("orders", &[1])])).await;
    let listeners = |fanout: &Fanout| fanout.current().map(|now| now.len(Kind::Listener));
    hub.until("an api_listener for gRPC", |_, fanout| {
        listeners(fanout) == Some(1)
    })
    .await;
    let set = async |hub: &Running, listener: Option<Listener>| {
        let network = Box::new(Network {
            listeners: listener.into_iter().map(|l| ("orders".into(), l)).collect(),
            ..Network::default()
        });
        hub.request(|reply| Order::Network { network, reply }).await;
    };
    set(&hub, Some(Listener::new(Bind::Internal, "internal".into()))).await;
    hub.until("the listener keeps its name", |seen, _| seen.declared == 1)
        .await;
    let generation = hub.fanout.current().unwrap();
    assert_eq!(generation.len(Kind::Listener), 1);
    set(&hub, None).await;
    hub.until("the service has its name", |seen, _| seen.declared == 0)
        .await;
    let generation = hub.fanout.current().unwrap();
    assert_eq!(generation.len(Kind::Listener), 1);
    assert_eq!(generation.len(Kind::Route), 1, "that of the listener is gone");
}

#[tokio::test(start_paused = true)]
async fn a_service_is_explained() {
    let mut hub = start(&[("a", info(None, None)), ("b", info(None, None))]);
    hub.send(all("a", &[("web", &[1])])).await;
    hub.send(all("b", &[("web", &[2])])).await;
    hub.until_clusters(1).await;
    let web = hub.explain("web").await.unwrap();
    let sources: Vec<_> = web
        .sources
        .iter()
        .map(|d| (&*d.source, d.record.instances.len()))
        .collect();
    assert_eq!(sources, [("a", 1), ("b", 1)]);
    let merged = web.merged.unwrap();
    assert!(merged.instances.iter().all(|i| i.health == Health::Healthy) && merged.instances.len() == 2);
    let planned = web.planned.unwrap();
    assert!(
        planned.claims.iter().any(|claim| claim.host == "web"),
        "{planned:?}"
    );
    assert!(
        planned
            .resources
            .iter()
            .any(|key| (key.kind, &*key.name) == (Kind::Cluster, "web"))
    );
    assert!(planned.issues.is_empty() && web.kept_until.is_none());
    hub.send(all("b", &[])).await;
    hub.send(all("a", &[])).await;
    hub.until("kept", |seen, _| seen.kept.0 == 1).await;
    let web = hub.explain("web").await.unwrap();
    assert!(web.sources.is_empty() && web.merged.is_none() && web.kept_until.is_some());
    assert!(hub.explain("nobody").await.is_none());
    let away = What::Status(Status::Away {
        reason: "by the test".into(),
    });
    hub.send(Event {
        source: "a".into(),
        what: away,
    })
    .await;
    hub.until("away", |seen, _| seen.sources[0].reason.is_some())
        .await;
}
