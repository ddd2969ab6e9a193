//! What is remembered of one service's rollouts: the document `rollouts/SERVICE` of shared state. Bounded. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::facts::Stratum;
use super::neighbours::Watched;
use super::settings::Step;
use super::tally::{Pair, Seen};
use super::verdict::{Load, Signal, Verdict};
use crate::model::rollouts::{Shares, WHOLE};

/// One service. Times are Unix times in milliseconds.
///
/// A record may be written less often than it is decided: what was counted is in it together with what it was counted
/// from, so that an older one counts the rest again. Only what [`super::Decision::urgent`] marks has to be written before
/// it is acted upon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The version that serves; `None`: none has been seen yet.
    pub stable: Option<Arc<str>>,
    /// The rollout under way, or the one that ended less than the grace time ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<Rollout>>,
    /// Versions that have instances, get no requests, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// Versions that were taken back, the oldest first: they do not start again by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// Versions that a newer one has replaced: they do not start by themselves either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// Rollouts that have ended, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
    /// The verdict of the rollout that ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Box<Verdict>>,
    /// Since when no instance of the stable version is registered, while no rollout is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_gone: Option<u64>,
    /// While the policy says to judge only: what each version has without a rollout.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plain: BTreeMap<Arc<str>, u32>,
    /// Of the leader that wrote it, for the driver; a decision leaves it alone.
    pub generation: u64,
}

/// A rollout under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// The version that is rolled out.
    pub candidate: Arc<str>,
    /// When it started.
    pub started: u64,
    /// Who started it; empty: the policy.
    pub by: String,
    /// What people ordered since it started, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Ordered>,
    /// It is judged only.
    pub dry_run: bool,
    /// The present step; `None`: a gate is before the first one, and the candidate gets nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// When the present step began.
    pub step_since: u64,
    /// Since when clients have the candidate, without requests: they report of it only some time later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<u64>,
    /// How it stands.
    pub phase: Phase,
    /// Why the next step does not begin, beside time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The deadline counts from here.
    pub deadline_from: u64,
    /// Since when no instance of the candidate is healthy: it gets nothing meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<u64>,
    /// Since when no instance of the stable version is healthy: the candidate gets everything meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone_since: Option<u64>,
    /// What speaks against the candidate, by signal.
    pub evidence: BTreeMap<Signal, Evidence>,
    /// While it has everything: what speaks against it by what the stable version had before.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub since_all: BTreeMap<Signal, Evidence>,
    /// How often it had everything, did worse than was known before, and went back a step to be compared again.
    #[serde(skip_serializing_if = "is_zero")]
    pub falls: u32,
    /// By this signal, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fell_by: Option<Signal>,
    /// Counted since the start.
    pub totals: BTreeMap<Stratum, Pair>,
    /// Counted since the present step began.
    pub in_step: BTreeMap<Stratum, Pair>,
    /// What has been counted of each run.
    pub seen: BTreeMap<Arc<str>, Seen>,
    /// Other services.
    pub watched: Watched,
    /// Requests per second, as they were seen last.
    pub load: Load,
}

/// How a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    /// Its step goes on.
    #[default]
    Running,
    /// A person stopped it where it is. It is taken back nevertheless when it is bad.
    Paused {
        /// When.
        since: u64,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// What its next step needs has not agreed yet.
    Gate {
        /// When it began to wait.
        since: u64,
        /// The next step.
        step: Step,
    },
    /// The stable version has everything again.
    TakenBack {
        /// When.
        at: u64,
        /// Why.
        why: Why,
    },
    /// The candidate is the stable version now.
    Promoted {
        /// When.
        at: u64,
    },
}

/// Why the next step does not begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// Clients have not reported for too long. Neither good nor bad.
    NoReports,
    /// The candidate has answered too few requests in this step. Neither good nor bad.
    FewRequests {
        /// Requests of this signal that ended.
        signal: Signal,
        /// That are needed.
        need: u64,
    },
    /// It is not sure that the candidate is within the margin.
    Margin {
        /// By this signal.
        signal: Signal,
    },
    /// It takes longer than the deadline; a person decides.
    Deadline,
    /// With all requests it did worse than what was known before, and beside the stable version it does not; a person
    /// decides.
    FullLoad {
        /// By this signal.
        signal: Signal,
    },
    /// It would be taken back, and the stable version cannot read what is stored.
    RollForward {
        /// Why it would be taken back.
        why: Why,
    },
    /// No instance of the candidate is healthy.
    Missing,
    /// No instance of the stable version is healthy.
    Alone,
}

/// Why a version was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// It is worse than the stable version.
    Worse {
        /// By this signal.
        signal: Signal,
    },
    /// It has no instance any more, or none that is healthy. Not rejected.
    Gone,
    /// It came and went too often.
    Flapping,
    /// A person wanted it.
    Order {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It cannot read what is stored. Not rejected.
    Data {
        /// The number of what is stored.
        stored: u32,
    },
    /// It was bad and there was no way back: this version takes its place.
    Replaced {
        /// The next one.
        by: Arc<str>,
    },
    /// It was judged only, and found good: nothing was taken back.
    DryRun,
}

/// A version that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The version.
    pub version: Arc<str>,
    /// What for.
    pub why: String,
}

/// A version that does not start again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The version.
    pub version: Arc<str>,
    /// When.
    pub at: u64,
    /// Why.
    pub why: Why,
    /// With its figures, for people.
    #[serde(default)]
    pub text: String,
    /// By a dry run: without effect outside of one. A dry run that finds the version good is here, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A version that was stable before, or that was passed over for a newer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The version.
    pub version: Arc<str>,
    /// Since when it has no instance; long enough, and it is new again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<u64>,
}

/// A rollout that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// What was rolled out.
    pub candidate: Arc<str>,
    /// Beside it.
    pub stable: Arc<str>,
    /// When it started.
    pub started: u64,
    /// When it ended.
    pub ended: u64,
    /// Its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// How.
    pub outcome: Outcome,
    /// With its figures, for people.
    #[serde(default)]
    pub text: String,
    /// It was judged only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What people ordered, the oldest first: also, after its end, that it may be tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Ordered>,
}

/// What a person ordered of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// When.
    pub at: u64,
    /// Who.
    pub by: String,
    /// A verb that the version follows: `promotes`, `takes back`.
    pub what: String,
    /// What for; empty: it was not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// The candidate became the stable version.
    Promoted,
    /// It became the stable version because no other one was left.
    Left,
    /// It did not.
    TakenBack {
        /// Why.
        why: Why,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Record {
    /// What each version gets. `None`: nothing is to be said of the service, because no version of it has been seen.
    #[must_use]
    pub fn shares(&self) -> Option<Shares> {
        let stable = self.stable.clone()?;
        let rollout = self.rollout.as_deref().filter(|rollout| rollout.is_running());
        let mut shares = Shares {
            weights: [(stable.clone(), WHOLE)].into(),
            stable: stable.clone(),
            mirror: None,
            watched: rollout.is_some(),
            ..Shares::default()
        };
        if !self.plain.is_empty() {
            shares.weights.clone_from(&self.plain);
            shares.weights.entry(stable).or_default();
            return Some(shares);
        }
        let Some(rollout) = rollout else {
            return Some(shares);
        };
        let candidate = rollout.candidate.clone();
        if rollout.missing_since.is_some() {
            return Some(shares);
        }
        if rollout.dry_run {
            // Only who asks for it by header gets it.
            shares.weights.insert(candidate, 0);
            return Some(shares);
        }
        let Some(step) = rollout.step else {
            if rollout.announced.is_some() {
                shares.weights.insert(candidate, 0);
            }
            return Some(shares);
        };
        if rollout.alone_since.is_some() {
            shares.weights = [(candidate, WHOLE)].into();
            return Some(shares);
        }
        let share = step.share();
        shares.weights = [(stable, WHOLE.saturating_sub(share)), (candidate.clone(), share)].into();
        if let Step::Mirror(part) = step {
            shares.mirror = Some((candidate, part));
        }
        Some(shares)
    }

    /// A rollout is under way: counts are needed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.is_running())
    }

    /// This version does not start by itself any more.
    pub(super) fn retire(&mut self, version: Arc<str>) {
        if !self.retired.iter().any(|retired| retired.version == version) {
            self.retired.push(Retired {
                version,
                absent_since: None,
            });
        }
    }

    /// The version must not start by itself, whatever the reason was before.
    pub(super) fn reject(&mut self, rejected: Rejected) {
        // What was only judged takes nothing from what really happened.
        self.rejected
            .retain(|past| past.version != rejected.version || (rejected.dry_run && !past.dry_run));
        self.rejected.push(rejected);
    }

    /// One word for lists: `idle`, `running`, `paused`, `gate`, `held`, `taken back`, `promoted`.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self.rollout.as_deref() {
            None => "idle",
            Some(rollout) => rollout.phase(),
        }
    }

    /// The version must not start by itself.
    #[must_use]
    pub fn is_rejected(&self, version: &str, dry_run: bool) -> bool {
        self.rejected
            .iter()
            .any(|past| *past.version == *version && (dry_run || !past.dry_run))
    }
}

impl Rollout {
    /// It has not ended.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        !matches!(self.phase, Phase::TakenBack { .. } | Phase::Promoted { .. })
    }

    /// When it ended.
    #[must_use]
    pub const fn ended(&self) -> Option<u64> {
        match self.phase {
            Phase::TakenBack { at, .. } | Phase::Promoted { at } => Some(at),
            _ => None,
        }
    }

    const fn phase(&self) -> &'static str {
        match (&self.phase, &self.hold) {
            (Phase::Running, None) => "running",
            (Phase::Running, Some(_)) => "held",
            (Phase::Paused { .. }, _) => "paused",
            (Phase::Gate { .. }, _) => "gate",
            (Phase::TakenBack { .. }, _) => "taken back",
            (Phase::Promoted { .. }, _) => "promoted",
        }
    }
}
