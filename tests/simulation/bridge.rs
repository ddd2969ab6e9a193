//! One bridge: the real hub with its catalog, planner and translator, the real fan-out, a disk, and a reader of the
//! registry. Nothing here decides anything: it carries what one part says to the next, as the tasks do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use xds_bridge::cache::{self, Inbox, Saved};
use xds_bridge::catalog::probe::{Answered, Question};
use xds_bridge::config::load_str;
use xds_bridge::fanout::Fanout;
use xds_bridge::hub::{Hub, Order, SourceInfo};
use xds_bridge::metrics::Metrics;
use xds_bridge::model::change::What;
use xds_bridge::model::{Drains, Event, GuardRule, Network};
use xds_bridge::plan::Decisions;

use crate::faults::Fault;
use crate::reader::Reader;
use crate::serve::Served;
use crate::shadow::Place;

const SOURCE: &str = "etcd";
const REGISTRY: &str = "etcd /services/";
/// Seconds since 1970 when a run begins.
const EPOCH: u64 = 1_700_000_000;
/// Questions to the prober that wait.
const QUESTIONS: usize = 2_048;

const CONFIGURATION: &str = r#"
[xds]
listen = "127.0.0.1:18000"
[admin]
listen = "127.0.0.1:18001"
[sources.etcd]
kind = "etcd"
endpoints = ["http://127.0.0.1:2379"]
prefix = "/services/"
[exposures.edge]
hosts = ["shop.example"]
[listeners.edge]
address = "0.0.0.0:10000"
exposure = "edge"
[listeners.inside]
address = "127.0.0.1:10001"
exposure = "internal"
"#;

/// What all bridges are configured to serve.
pub(crate) fn network() -> Network {
    match load_str(Path::new("bridge.toml"), CONFIGURATION, None) {
        Ok(config) => config.network(),
        Err(error) => panic!("the configuration of the simulation: {error}"),
    }
}

/// What outlives a bridge: its files.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<&'static str, String>,
    /// Until then nothing can be written.
    pub(crate) full_until: Duration,
}

pub(crate) struct Bridge {
    pub(crate) hub: Hub,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) reader: Reader,
    pub(crate) disk: Disk,
    pub(crate) streams: BTreeMap<u64, Served>,
    questions: mpsc::Receiver<Question>,
    ask: watch::Receiver<u64>,
    to_write: Inbox,
    /// When its timer fires, if it still means that then.
    pub(crate) armed: Option<Duration>,
    /// Counts its lives: what is under way to an earlier one is lost.
    pub(crate) life: u32,
    /// It does not reach the registry until then.
    pub(crate) away_until: Duration,
    /// Nothing of the registry reaches it until then.
    pub(crate) mute_until: Duration,
    /// Removals that must not be believed before.
    pub(crate) guarded: BTreeMap<Place, (Duration, Option<String>)>,
    withheld: watch::Receiver<usize>,
    withheld_until: Duration,
}

impl Bridge {
    /// Begins with what is on its disk.
    pub(crate) fn start(
        network: &Network,
        disk: Disk,
        fault: Option<Fault>,
        (life, now): (u32, Duration),
    ) -> Self {
        let (ask, asked) = watch::channel(0);
        let info = SourceInfo {
            guard: (fault != Some(Fault::NoGuard)).then(GuardRule::default),
            registry: Some(REGISTRY.to_owned()),
            ask: Some(ask),
            ..SourceInfo::new("etcd")
        };
        let fanout = Arc::new(Fanout::new(10_000, false));
        let settle = (Duration::from_millis(10), Duration::from_millis(100));
        let sources = BTreeMap::from([(SOURCE.into(), info)]);
        let (mut hub, _) = Hub::new(
            sources,
            network.clone(),
            settle,
            fanout.clone(),
            Arc::new(Metrics::default()),
        );
        let (writer, to_write) = cache::writer();
        let (states, decisions) = disk.load(now);
        hub = hub.remembering(states, decisions, writer);
        let withheld = hub.withheld_in_all();
        let (prober, questions) = mpsc::channel(QUESTIONS);
        hub.ask_by(prober);
        Self {
            hub,
            fanout,
            reader: Reader::new(fault),
            disk,
            streams: BTreeMap::new(),
            questions,
            ask: asked,
            to_write,
            armed: None,
            life,
            away_until: Duration::ZERO,
            mute_until: Duration::ZERO,
            guarded: BTreeMap::new(),
            withheld,
            withheld_until: Duration::ZERO,
        }
    }

    /// The source says something.
    pub(crate) fn tell(&mut self, what: What) {
        self.hub.apply(Event {
            source: SOURCE.into(),
            what,
        });
    }

    /// The hub's newest verification request.
    pub(crate) fn asked(&mut self) -> u64 {
        *self.ask.borrow_and_update()
    }

    /// Whether the hub has asked for verification since the reader looked.
    pub(crate) fn asked_news(&self) -> bool {
        self.ask.has_changed().unwrap_or(false)
    }

    /// Whether something is withheld, or was a moment ago.
    pub(crate) fn was_withheld(&mut self, now: Duration) -> bool {
        let before = now <= self.withheld_until;
        if *self.withheld.borrow() > 0 {
            // Until the removal is believed, and published.
            self.withheld_until = now + Duration::from_secs(1_000);
        } else if before {
            self.withheld_until = self.withheld_until.min(now + Duration::from_secs(1));
        }
        before || *self.withheld.borrow() > 0
    }

    pub(crate) fn accept(&mut self) {
        let (reply, _) = oneshot::channel();
        let source = SOURCE.to_owned();
        self.hub.obey(Order::Accept { source, reply });
    }

    pub(crate) fn drain(&mut self, drains: Drains) {
        self.hub.obey(Order::Drains { drains });
    }

    pub(crate) fn answer(&mut self, answered: &Answered) {
        self.hub.probed(answered);
    }

    /// Addresses that it wants probed.
    pub(crate) fn questions(&mut self) -> Vec<Question> {
        std::iter::from_fn(|| self.questions.try_recv().ok()).collect()
    }

    /// Writes what the hub hands over; what finds the disk full is lost.
    pub(crate) fn write(&mut self, now: Duration) -> usize {
        let mut count = 0;
        while let Some(saved) = self.to_write.take() {
            count += 1;
            if now < self.disk.full_until {
                continue;
            }
            let name = match &saved {
                Saved::State(_) => "state",
                Saved::Decisions(_) => "decisions",
            };
            if let Ok(text) = saved.text(EPOCH + now.as_secs()) {
                self.disk.files.insert(name, text);
            }
        }
        count
    }
}

impl Disk {
    fn load(&self, now: Duration) -> (BTreeMap<Arc<str>, cache::LastKnown>, Decisions) {
        let now = EPOCH + now.as_secs();
        let day = Duration::from_secs(86_400);
        let state = self.files.get("state");
        let state = state.and_then(|text| cache::decode(text, SOURCE, REGISTRY, now, day).ok());
        let decisions = self.files.get("decisions");
        let decisions = decisions.and_then(|text| cache::decode_decisions(text, now).ok());
        let states = state.into_iter().map(|state| (SOURCE.into(), state)).collect();
        (states, decisions.unwrap_or_default())
    }

    pub(crate) fn clear(&mut self) {
        self.files.clear();
    }
}
