//! The task with a store in a file, a hub that only listens, and clients that report what the test says.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Desk, Pilot, Refused};
use crate::config::{self, load_str};
use crate::hub::{Order as HubOrder, Version, Versioned, Versions};
use crate::intake::Loads;
use crate::loads::{Kind, Who};
use crate::model::Rollouts;
use crate::model::rollouts::WHOLE;
use crate::rollout::Order;
use crate::source::Budget;
use crate::state::{self, State};

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    desk: Desk,
    loads: Arc<Loads>,
    /// What the hub knows.
    versions: watch::Sender<Arc<Versions>>,
    /// What it was given.
    given: watch::Receiver<Option<Rollouts>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    folder: tempfile::TempDir,
    _policy: watch::Sender<Arc<config::Rollouts>>,
}

impl Scene {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let text = format!(
            "[sources.a]\nkind = \"file\"\npath = \"a\"\n[state]\nfile = \"{}/state.json\"\n[rollouts]\nsteps = \
             \"10,100\"\nstep_time = \"1h\"\ngrace = \"0s\"\n",
            folder.path().display()
        );
        let config = load_str(std::path::Path::new("bridge.toml"), &text, None).unwrap();
        let state = State::new(&config, &Budget::default(), &state::random_id());
        let stop = CancellationToken::new();
        let (orders, mut inbox) = mpsc::channel(1);
        let (policy, policies) = watch::channel(Arc::new(config.rollouts));
        let desk = Desk::new(state.clone(), orders.clone(), policies);
        let loads = Arc::new(Loads::default());
        let (versions, known) = watch::channel(Arc::new(Versions::default()));
        let (give, given) = watch::channel(None);
        let (hub, seen) = (versions.clone(), known.clone());
        let listen = async move {
            while let Some(order) = inbox.recv().await {
                match order {
                    HubOrder::Rollouts { rollouts } => drop(give.send_replace(Some(rollouts))),
                    HubOrder::WatchVersions { services } => hub.send_modify(|versions| {
                        Arc::make_mut(versions).asked = Arc::new(services);
                    }),
                    HubOrder::Versions { service, reply } => {
                        let found = seen.borrow().get(&service).map(|found| (**found).clone());
                        let _ = reply.send(found);
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let pilot = Pilot {
            desk: desk.clone(),
            loads: loads.clone(),
            versions: known,
            orders,
        };
        let (applied, _) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(listen),
            tokio::spawn(state::Task::new(state).run(stop.clone())),
            tokio::spawn(pilot.run(applied, stop.clone())),
        ];
        Self {
            desk,
            loads,
            versions,
            given,
            stop,
            tasks,
            folder,
            _policy: policy,
        }
    }

    /// Another process with the same file.
    async fn restart(mut self) -> Self {
        self.stop.cancel();
        for task in self.tasks.drain(1..) {
            task.await.unwrap();
        }
        self.tasks.remove(0).abort();
        let Self { folder, desk, .. } = self;
        drop(desk); // it holds the file
        Self::start_in(folder)
    }

    /// These versions have a healthy instance each.
    fn register(&self, versions: &[&str], auto: bool) {
        let one = Version {
            healthy: 1,
            total: 1,
            ..Version::default()
        };
        let seen = Versioned {
            auto,
            versions: versions
                .iter()
                .map(|name| ((*name).into(), one.clone()))
                .collect(),
            ..Versioned::default()
        };
        self.versions.send_modify(|all| {
            let all = Arc::make_mut(all);
            all.ready = true;
            all.services.insert("orders".into(), Arc::new(seen));
        });
    }

    /// The share of each version, as the hub has it.
    async fn shares_are(&mut self, wanted: &[(&str, u32)]) {
        let wanted: Vec<(Arc<str>, u32)> = wanted
            .iter()
            .map(|(name, share)| ((*name).into(), *share))
            .collect();
        let shares = |given: &Option<Rollouts>| -> Vec<(Arc<str>, u32)> {
            let shares = given.as_ref().and_then(|given| given.services.get("orders"));
            let weights = shares.iter().flat_map(|shares| &shares.weights);
            weights
                .filter(|(_, share)| **share > 0)
                .map(|(name, share)| (name.clone(), *share))
                .collect()
        };
        let waiting = self.given.wait_for(|given| shares(given) == wanted);
        let seen = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        let last = shares(&self.given.borrow());
        assert!(
            seen,
            "{wanted:?} expected, {last:?} is given; {:?}",
            self.desk.one("orders")
        );
    }

    /// One Envoy, which reports again and again: of each version what succeeded and failed since its last report.
    fn envoy(&self) -> Envoy {
        let client = self.loads.join(Who {
            node: "e".into(),
            fleet: "edge".into(),
            agent: "envoy".into(),
            kind: Kind::Envoy,
            release: None,
            sends_all: true,
        });
        let (says, said) = watch::channel(vec![("1", 0, 0), ("2", 0, 0)]);
        let loads = self.loads.clone();
        let task = tokio::spawn(async move {
            loop {
                let bytes = encoded(&said.borrow());
                assert!(client.report(&loads.read(&bytes).unwrap()));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Envoy {
            says,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// What a version had since the last report: its name, successes, errors.
type Said = Vec<(&'static str, u64, u64)>;

struct Envoy {
    says: watch::Sender<Said>,
    _task: AbortOnDropHandle<()>,
}

fn encoded(versions: &Said) -> Vec<u8> {
    let clusters = versions.iter().map(|(version, ok, errors)| ClusterStats {
        cluster_name: format!("orders@{version}"),
        upstream_locality_stats: vec![UpstreamLocalityStats {
            total_successful_requests: *ok,
            total_error_requests: *errors,
            total_issued_requests: ok + errors,
            ..UpstreamLocalityStats::default()
        }],
        ..ClusterStats::default()
    });
    LoadStatsRequest {
        node: None,
        cluster_stats: clusters.collect(),
    }
    .encode_to_vec()
}

#[tokio::test]
async fn a_bad_version_gets_a_share_and_is_taken_back_by_reports() {
    let mut scene = Scene::start();
    let mut notices = scene.desk.notices();
    let client = scene.envoy();
    scene.register(&["1"], true);
    scene.shares_are(&[("1", WHOLE)]).await;
    scene.register(&["1", "2"], true);
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    client.says.send_replace(vec![("1", 90, 0), ("2", 0, 10)]);
    scene.shares_are(&[("1", WHOLE)]).await;
    let seen = scene.desk.one("orders").unwrap();
    assert!(seen.record.is_rejected("2", false), "{:#?}", seen.record);
    assert!(scene.desk.leads());
    let mut texts = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        assert_eq!(
            (&*notice.service, notice.number),
            ("orders", texts.len() as u64 + 1)
        );
        texts.push(notice.event.text.clone());
    }
    assert!(texts.len() >= 4, "{texts:?}");
    // The same after a restart: it is remembered.
    let mut scene = scene.restart().await;
    scene.register(&["1", "2"], true);
    scene.shares_are(&[("1", WHOLE)]).await;
    assert!(scene.desk.one("orders").unwrap().record.is_rejected("2", false));
    let past = scene.desk.past();
    assert!(past.is_empty(), "nothing happens: {past:?}");
    scene.stop.cancel();
}

#[tokio::test]
async fn nothing_is_taken_for_gone_before_all_sources_have_delivered() {
    let mut scene = Scene::start();
    let client = scene.envoy();
    scene.register(&["1"], true);
    scene.shares_are(&[("1", WHOLE)]).await;
    scene.register(&["1", "2"], true);
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    drop(client);
    let mut scene = scene.restart().await;
    // The hub knows nothing yet, and the shares are there.
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    scene.register(&["1", "2"], true);
    let _client = scene.envoy();
    tokio::time::timeout(PATIENCE, async {
        while !scene.desk.leads() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    assert!(scene.desk.past().is_empty(), "{:?}", scene.desk.past());
    scene.stop.cancel();
}

#[tokio::test]
async fn a_person_rolls_out_a_service_that_wants_no_rollouts() {
    let mut scene = Scene::start();
    let _client = scene.envoy();
    scene.register(&["1", "2"], false);
    let orders: Arc<str> = "orders".into();
    let start = Order::Start {
        version: Some("2".into()),
    };
    let nobody = scene.desk.order(&"nobody".into(), &start, false, "ann").await;
    assert_eq!(nobody, Err(Refused::Unknown("nobody".into())));
    let carried = scene.desk.order(&orders, &start, false, "ann").await.unwrap();
    assert_eq!(carried.record.stable.as_deref(), Some("1"));
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    let again = scene.desk.order(&orders, &start, false, "ann").await;
    assert!(matches!(again, Err(Refused::Not(_))), "{again:?}");
    let all = Order::Promote { all: true };
    scene.desk.order(&orders, &all, false, "ann").await.unwrap();
    scene.shares_are(&[("2", WHOLE)]).await;
    // The old one has left: nothing is said of the service any more.
    scene.register(&["2"], false);
    scene.shares_are(&[]).await;
    scene.stop.cancel();
}

#[tokio::test]
async fn a_dry_run_of_an_automatic_service_moves_nothing_and_is_one_after_a_restart() {
    let mut scene = Scene::start();
    let client = scene.envoy();
    scene.register(&["1"], true);
    scene.shares_are(&[("1", WHOLE)]).await;
    scene.register(&["1", "2"], true);
    scene.shares_are(&[("1", WHOLE - 1_000), ("2", 1_000)]).await;
    let orders: Arc<str> = "orders".into();
    scene
        .desk
        .order(&orders, &Order::Abort, false, "ann")
        .await
        .unwrap();
    scene.shares_are(&[("1", WHOLE)]).await;
    let start = Order::Start { version: None };
    let nothing = scene.desk.order(&orders, &start, true, "ann").await;
    assert!(matches!(nothing, Err(Refused::Not(_))), "{nothing:?}");
    let start = Order::Start {
        version: Some("2".into()),
    };
    let carried = scene.desk.order(&orders, &start, true, "ann").await.unwrap();
    assert!(
        carried.said[0].starts_with("ann starts the dry run of 2"),
        "{carried:?}"
    );
    drop(client);
    let mut scene = scene.restart().await;
    scene.register(&["1", "2", "3"], true);
    let _client = scene.envoy();
    scene.shares_are(&[("1", WHOLE)]).await;
    let known = |given: &Option<Rollouts>| {
        let shares = given.as_ref().and_then(|given| given.services.get("orders"));
        shares.is_some_and(|shares| shares.weights.get("2") == Some(&0) && !shares.weights.contains_key("3"))
    };
    let asked = tokio::time::timeout(PATIENCE, scene.given.wait_for(known))
        .await
        .is_ok();
    assert!(asked, "who asks for 2 gets it: {:?}", scene.desk.one("orders"));
    let record = scene.desk.one("orders").unwrap().record;
    assert!(record.rollout.as_ref().unwrap().dry_run, "{record:?}");
    // What waits is rolled out in earnest after it.
    scene
        .desk
        .order(&orders, &Order::Abort, false, "ann")
        .await
        .unwrap();
    scene.shares_are(&[("1", WHOLE - 1_000), ("3", 1_000)]).await;
    let record = scene.desk.one("orders").unwrap().record;
    assert!(record.is_rejected("2", false), "{record:?}");
    scene.stop.cancel();
}
