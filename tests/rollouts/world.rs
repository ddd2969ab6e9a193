//! A service with its versions and requests, in simulated time: what clients would report of it.

use std::sync::Arc;
use std::time::Duration;

use xds_bridge::model::rollouts::{Shares, WHOLE};
use xds_bridge::rollout::{
    Clients, Count, Decision, Event, Facts, Instances, Record, Run, Settings, Stratum, decide,
};

/// Numbers that look random, from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1, without both.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// How many of `n` requests something happens to, that happens to this part of them.
    pub(super) fn of(&mut self, n: u64, part: f64) -> u64 {
        if part <= 0.0 || n == 0 {
            return 0;
        }
        if part >= 1.0 {
            return n;
        }
        if part > 0.5 {
            return n - self.of(n, 1.0 - part);
        }
        let mean = n as f64 * part;
        if mean > 50.0 {
            let spread = (mean * (1.0 - part)).sqrt();
            let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + spread * normal).round().clamp(0.0, n as f64) as u64;
        }
        // From one to the next.
        let (mut found, mut at) = (0, 0.0);
        let rest = (1.0 - part).ln();
        loop {
            at += (self.unit().ln() / rest).floor() + 1.0;
            if at > n as f64 {
                return found;
            }
            found += 1;
        }
    }
}

/// How the requests of a version end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Behaviour {
    /// This part with an error.
    pub(super) errors: f64,
    /// This part of the others never, so that the client gives up.
    pub(super) hangs: f64,
}

/// With this part of errors.
pub(super) const fn errors(part: f64) -> Behaviour {
    Behaviour {
        errors: part,
        hangs: 0.0,
    }
}

/// The service.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) record: Record,
    pub(super) settings: Settings,
    pub(super) facts: Facts,
    pub(super) dice: Dice,
    pub(super) said: Vec<Event>,
    /// Requests per second.
    pub(super) rate: f64,
    /// Kinds of clients; requests are shared among them equally.
    pub(super) kinds: Vec<Stratum>,
    /// Requests that the candidate has got.
    pub(super) tried: u64,
}

pub(super) const OLD: &str = "old";
pub(super) const NEW: &str = "new";

pub(super) fn instances(healthy: u32, first_seen: u64) -> Instances {
    Instances {
        healthy,
        total: healthy,
        first_seen,
        ..Instances::default()
    }
}

impl World {
    /// The stable version serves with ten instances; nothing else is there.
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let mut world = Self {
            record: Record::default(),
            settings,
            facts: Facts {
                now: 1_000_000,
                clients: Clients {
                    reporting: 1,
                    last_report: Some(1_000_000),
                    interval: 1_000,
                    ..Clients::default()
                },
                ..Facts::default()
            },
            dice: Dice::new(seed),
            said: Vec::new(),
            rate: 100.0,
            kinds: vec![Stratum::Envoy],
            tried: 0,
        };
        world.facts.versions.insert(OLD.into(), instances(10, 1));
        world.facts.runs.insert("run".into(), Run::default());
        world.decide();
        world
    }

    /// A new version is deployed beside it.
    pub(super) fn deploy(mut self) -> Self {
        let now = self.facts.now;
        self.facts.versions.insert(NEW.into(), instances(2, now));
        self.begin();
        self
    }

    /// What can start is announced to clients, and has its first step.
    pub(super) fn begin(&mut self) {
        self.decide();
        self.facts.now += 1_500;
        self.facts.clients.last_report = Some(self.facts.now);
        self.decide();
    }

    pub(super) fn decide(&mut self) -> Decision {
        let decision = decide(&self.record, &self.settings, &self.facts);
        self.record = decision.record.clone();
        self.said.extend(decision.events.iter().cloned());
        decision
    }

    pub(super) fn shares(&self) -> Shares {
        self.record.shares().expect("a version serves")
    }

    pub(super) fn share(&self, version: &str) -> u32 {
        self.shares().weights.get(version).copied().unwrap_or_default()
    }

    /// A time passes with requests; clients report, and it is decided.
    pub(super) fn pass(&mut self, time: Duration, old: Behaviour, new: Behaviour) {
        self.serve(time, old, new);
        self.facts.clients.last_report = Some(self.facts.now);
        self.decide();
    }

    /// A time passes with requests that nobody reports yet.
    pub(super) fn serve(&mut self, time: Duration, old: Behaviour, new: Behaviour) {
        let shares = self.shares();
        self.facts.now += time.as_millis() as u64;
        let expected = self.rate * time.as_secs_f64();
        let part = expected.fract();
        let all = expected as u64 + self.dice.of(1, part);
        let kinds = self.kinds.clone();
        for (at, kind) in kinds.iter().enumerate() {
            let n = (all + at as u64) / kinds.len() as u64;
            let weight = f64::from(shares.weights.get(NEW).copied().unwrap_or_default()) / f64::from(WHOLE);
            let to_new = self.dice.of(n, weight);
            self.tried += to_new;
            let mirrored = shares
                .mirror
                .as_ref()
                .map_or(0.0, |(_, part)| f64::from(*part) / 1e6);
            let copies = self.dice.of(n, mirrored);
            self.count(OLD, *kind, n - to_new, old);
            self.count(NEW, *kind, to_new + copies, new);
        }
    }

    /// These requests end, or do not.
    pub(super) fn count(&mut self, version: &str, kind: Stratum, n: u64, how: Behaviour) {
        let bad = self.dice.of(n, how.errors);
        let hung = self.dice.of(n - bad, how.hangs);
        self.add(version, kind, n - bad - hung, bad, hung);
    }

    /// These are counted.
    pub(super) fn add(&mut self, version: &str, kind: Stratum, ok: u64, errors: u64, hung: u64) {
        let version: Arc<str> = version.into();
        let run = self.facts.runs.get_mut("run").unwrap();
        let count: &mut Count = run.counts.entry((version, kind)).or_default();
        count.ok += ok;
        count.errors += errors;
        count.issued += ok + errors + hung;
    }

    /// `taken back`, `promoted`, `running` …
    pub(super) fn phase(&self) -> &'static str {
        self.record.phase()
    }

    pub(super) fn is_taken_back(&self) -> bool {
        self.phase() == "taken back"
    }

    /// What was said, a line each, with the seconds since the start.
    pub(super) fn transcript(&self) -> String {
        let line = |event: &Event| {
            let seconds = event.at.saturating_sub(1_000_000) as f64 / 1_000.0;
            format!("{seconds:.1} {:?}: {}\n", event.severity(), event.text)
        };
        self.said.iter().map(line).collect()
    }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// One of a thousand requests fails.
pub(super) const FINE: Behaviour = errors(0.001);

/// Good for both.
pub(super) fn good(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(SECOND, FINE, FINE);
    }
}
