//! From counts that only grow, of each replica, to what is new of the two versions. What was counted already is
//! remembered with the rollout, so that the order of replicas, a new leader and a lost write change nothing. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{Count, Facts, Run, Stratum, Sum};
use super::verdict::Signal;

/// Replicas, with their starts, whose counts are remembered.
pub(super) const MAX_RUNS: usize = 16;

/// Counts of the candidate and of the stable version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pair {
    /// The candidate's.
    pub candidate: Tally,
    /// The stable version's.
    pub stable: Tally,
}

/// Requests that ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Successes and errors; errors.
    pub errors: Sum,
    /// These and those that clients gave up on; the latter.
    pub abandoned: Sum,
    /// With the servers' metric; bad by it.
    pub metric: Sum,
    /// That began.
    pub issued: u64,
}

/// What has been counted of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// When something was new in it last.
    pub at: u64,
    /// The candidate's counts.
    pub candidate: BTreeMap<Stratum, Mark>,
    /// The stable version's.
    pub stable: BTreeMap<Stratum, Mark>,
}

/// How far was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The counts.
    #[serde(flatten)]
    pub count: Count,
    /// Requests that began, and neither ended nor go on: the most that was seen.
    pub abandoned: u64,
}

impl Sum {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            n: self.n.saturating_add(other.n),
            k: self.k.saturating_add(other.k),
        }
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            n: self.n.saturating_sub(other.n),
            k: self.k.saturating_sub(other.k),
        }
    }
}

impl Tally {
    /// What a signal counts.
    #[must_use]
    pub const fn of(&self, signal: Signal) -> Sum {
        match signal {
            Signal::Errors => self.errors,
            Signal::Abandoned => self.abandoned,
            Signal::Metric => self.metric,
        }
    }

    /// Requests that began, as far as can be said: a connection that is refused begins none.
    pub(super) fn begun(&self) -> u64 {
        self.issued.max(self.errors.n)
    }

    const fn add(&mut self, other: &Self) {
        self.errors = self.errors.plus(other.errors);
        self.abandoned = self.abandoned.plus(other.abandoned);
        self.metric = self.metric.plus(other.metric);
        self.issued = self.issued.saturating_add(other.issued);
    }
}

impl Pair {
    pub(super) const fn add(&mut self, other: &Self) {
        self.candidate.add(&other.candidate);
        self.stable.add(&other.stable);
    }
}

/// All kinds of clients together.
pub(super) fn all(pairs: &BTreeMap<Stratum, Pair>) -> Pair {
    pairs.values().fold(Pair::default(), |mut sum, pair| {
        sum.add(pair);
        sum
    })
}

/// The two versions that are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions<'a> {
    pub candidate: &'a Arc<str>,
    pub stable: &'a Arc<str>,
}

/// At the start of a rollout: all that was counted before it does not count.
pub(super) fn begin(versions: Versions<'_>, facts: &Facts) -> BTreeMap<Arc<str>, Seen> {
    let runs = facts.runs.iter().take(MAX_RUNS);
    runs.map(|(name, run)| (name.clone(), seen(run, versions, facts.now)))
        .collect()
}

/// What is new since the last time, by kind of client.
pub(super) fn take(
    all: &mut BTreeMap<Arc<str>, Seen>,
    started: u64,
    versions: Versions<'_>,
    facts: &Facts,
) -> BTreeMap<Stratum, Pair> {
    let mut fresh = BTreeMap::new();
    for (name, run) in &facts.runs {
        if !all.contains_key(name) {
            if all.len() >= MAX_RUNS && !evict(all, facts) {
                continue;
            }
            let first = if run.since >= started {
                Seen {
                    at: facts.now,
                    ..Seen::default()
                }
            } else {
                seen(run, versions, facts.now)
            };
            all.insert(name.clone(), first);
        }
        if let Some(seen) = all.get_mut(name) {
            advance(seen, run, versions, facts.now, &mut fresh);
        }
    }
    fresh.retain(|_, pair| *pair != Pair::default());
    fresh
}

/// Makes room: the one that is gone for the longest time is forgotten.
fn evict(all: &mut BTreeMap<Arc<str>, Seen>, facts: &Facts) -> bool {
    let gone = all.iter().filter(|(name, _)| !facts.runs.contains_key(*name));
    let oldest = gone.min_by_key(|(_, seen)| seen.at).map(|(name, _)| name.clone());
    oldest.is_some_and(|name| all.remove(&name).is_some())
}

fn count(run: &Run, version: &Arc<str>, stratum: Stratum) -> Count {
    run.counts
        .get(&(version.clone(), stratum))
        .copied()
        .unwrap_or_default()
}

fn abandoned(count: &Count) -> u64 {
    let ended = count.ok.saturating_add(count.errors).saturating_add(count.open);
    count.issued.saturating_sub(ended)
}

fn mark(count: Count) -> Mark {
    Mark {
        count,
        abandoned: abandoned(&count),
    }
}

fn seen(run: &Run, versions: Versions<'_>, now: u64) -> Seen {
    let marks = |version: &Arc<str>| {
        let all = Stratum::ALL.map(|stratum| (stratum, mark(count(run, version, stratum))));
        all.into_iter()
            .filter(|(_, mark)| *mark != Mark::default())
            .collect()
    };
    Seen {
        at: now,
        candidate: marks(versions.candidate),
        stable: marks(versions.stable),
    }
}

fn advance(
    seen: &mut Seen,
    run: &Run,
    versions: Versions<'_>,
    now: u64,
    fresh: &mut BTreeMap<Stratum, Pair>,
) {
    for stratum in Stratum::ALL {
        let new = [versions.candidate, versions.stable].map(|version| count(run, version, stratum));
        let pair = fresh.entry(stratum).or_default();
        let sides = [
            (&mut seen.candidate, &mut pair.candidate, new[0]),
            (&mut seen.stable, &mut pair.stable, new[1]),
        ];
        for (marks, tally, new) in sides {
            let old = marks.get(&stratum).copied().unwrap_or_default();
            if old.count == new {
                continue;
            }
            let next = step(old, new, stratum, tally);
            if next != old {
                seen.at = now;
                marks.insert(stratum, next);
            }
        }
    }
}

/// Adds what is new. Counts of a run only grow: what is less was seen late, and counts again once it is more.
fn step(old: Mark, new: Count, stratum: Stratum, tally: &mut Tally) -> Mark {
    let grew = |of: fn(&Count) -> u64| of(&new).checked_sub(of(&old.count));
    let (Some(ok), Some(errors), Some(issued), Some(measured), Some(bad)) = (
        grew(|c| c.ok),
        grew(|c| c.errors),
        grew(|c| c.issued),
        grew(|c| c.measured),
        grew(|c| c.bad),
    ) else {
        return old;
    };
    // An older Envoy loses the results of slow calls: they would look like these.
    let can_say = stratum != Stratum::OldEnvoy;
    let most = abandoned(&new).max(old.abandoned);
    let given_up = if can_say { most - old.abandoned } else { 0 };
    let ended = ok.saturating_add(errors);
    tally.add(&Tally {
        errors: Sum { n: ended, k: errors },
        abandoned: Sum {
            n: if can_say {
                ended.saturating_add(given_up)
            } else {
                0
            },
            k: given_up,
        },
        metric: Sum {
            n: measured,
            k: bad.min(measured),
        },
        issued,
    });
    Mark {
        count: new,
        abandoned: most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(since: u64, counts: &[(&str, Count)]) -> Run {
        let counts = counts
            .iter()
            .map(|(version, count)| (((*version).into(), Stratum::Envoy), *count));
        Run {
            since,
            counts: counts.collect(),
        }
    }

    const fn ok(ok: u64, errors: u64) -> Count {
        Count {
            ok,
            errors,
            issued: ok + errors,
            open: 0,
            measured: 0,
            bad: 0,
        }
    }

    fn facts(now: u64, runs: &[(&str, Run)]) -> Facts {
        let runs = runs
            .iter()
            .map(|(name, run)| ((*name).into(), run.clone()))
            .collect();
        Facts {
            now,
            runs,
            ..Facts::default()
        }
    }

    fn errors(fresh: &BTreeMap<Stratum, Pair>) -> [(u64, u64); 2] {
        let pair = all(fresh);
        [pair.candidate, pair.stable].map(|tally| (tally.errors.n, tally.errors.k))
    }

    #[test]
    fn only_what_is_new_counts() {
        let (candidate, stable) = ("b".into(), "a".into());
        let versions = Versions {
            candidate: &candidate,
            stable: &stable,
        };
        let before = facts(1_000, &[("1", run(0, &[("a", ok(90, 5)), ("b", ok(9, 9))]))]);
        let mut seen = begin(versions, &before);
        assert_eq!(
            errors(&take(&mut seen, 1_000, versions, &before)),
            [(0, 0), (0, 0)]
        );
        // One that was there before the start and appears now; one that began after it; a version that is new in a run.
        let later = facts(
            2_000,
            &[
                ("1", run(0, &[("a", ok(100, 6)), ("b", ok(19, 10))])),
                ("2", run(900, &[("a", ok(500, 50))])),
                ("3", run(1_500, &[("b", ok(3, 1))])),
            ],
        );
        assert_eq!(
            errors(&take(&mut seen, 1_000, versions, &later)),
            [(15, 2), (11, 1)]
        );
        assert_eq!(
            errors(&take(&mut seen, 1_000, versions, &later)),
            [(0, 0), (0, 0)]
        );
        let mut more = later.clone();
        more.runs
            .insert("2".into(), run(900, &[("a", ok(502, 50)), ("b", ok(1, 0))]));
        // What is less was seen late.
        more.runs.insert("3".into(), run(1_500, &[("b", ok(2, 1))]));
        assert_eq!(errors(&take(&mut seen, 1_000, versions, &more)), [(1, 0), (2, 0)]);
        let stays = seen.clone();
        more.now = 9_000;
        assert_eq!(errors(&take(&mut seen, 1_000, versions, &more)), [(0, 0), (0, 0)]);
        assert_eq!(seen, stays);
        more.runs.insert("3".into(), run(1_500, &[("b", ok(4, 1))]));
        assert_eq!(errors(&take(&mut seen, 1_000, versions, &more)), [(1, 0), (0, 0)]);
    }

    #[test]
    fn a_replica_that_is_gone_for_a_while_counts_once() {
        let (candidate, stable) = ("b".into(), "a".into());
        let versions = Versions {
            candidate: &candidate,
            stable: &stable,
        };
        let with = facts(5, &[("1", run(5, &[("b", ok(7, 0))]))]);
        let mut seen = BTreeMap::new();
        assert_eq!(errors(&take(&mut seen, 5, versions, &with))[0], (7, 0));
        assert_eq!(errors(&take(&mut seen, 5, versions, &facts(6, &[])))[0], (0, 0));
        assert_eq!(errors(&take(&mut seen, 5, versions, &with))[0], (0, 0));
    }

    #[test]
    fn given_up_is_what_began_and_neither_ended_nor_goes_on() {
        let mut tally = Tally::default();
        let count = |issued, ok, open| Count {
            ok,
            issued,
            open,
            ..Count::default()
        };
        let first = step(Mark::default(), count(10, 4, 6), Stratum::Envoy, &mut tally);
        assert_eq!(tally.abandoned, Sum { n: 4, k: 0 });
        let second = step(first, count(12, 5, 4), Stratum::Envoy, &mut tally);
        assert_eq!(tally.abandoned, Sum { n: 8, k: 3 });
        // Counted in the wrong moment: what was counted as given up before ends now.
        step(second, count(12, 8, 4), Stratum::Envoy, &mut tally);
        assert_eq!(
            (tally.abandoned, tally.errors),
            (Sum { n: 11, k: 3 }, Sum { n: 8, k: 0 })
        );
        let mut old = Tally::default();
        step(Mark::default(), count(10, 4, 0), Stratum::OldEnvoy, &mut old);
        assert_eq!((old.abandoned, old.errors.n), (Sum::default(), 4));
        // A connection that is refused is an error, and none began.
        let refused = Count {
            errors: 4,
            ..Count::default()
        };
        let mut tally = Tally::default();
        step(Mark::default(), refused, Stratum::Envoy, &mut tally);
        assert_eq!(
            (tally.errors, tally.abandoned.k, tally.begun()),
            (Sum { n: 4, k: 4 }, 0, 4)
        );
    }

    #[test]
    fn a_bounded_number_of_runs_is_remembered() {
        let (candidate, stable) = ("b".into(), "a".into());
        let versions = Versions {
            candidate: &candidate,
            stable: &stable,
        };
        let many: Vec<(String, Run)> = (0..40)
            .map(|n| (format!("{n:02}"), run(9, &[("b", ok(1, 0))])))
            .collect();
        let many: Vec<(&str, Run)> = many
            .iter()
            .map(|(name, run)| (name.as_str(), run.clone()))
            .collect();
        let mut seen = BTreeMap::new();
        assert_eq!(
            errors(&take(&mut seen, 9, versions, &facts(9, &many)))[0].0,
            MAX_RUNS as u64
        );
        // Those that are gone make room.
        let others = facts(10, &many[39..]);
        assert_eq!(errors(&take(&mut seen, 9, versions, &others))[0].0, 1);
        assert_eq!(seen.len(), MAX_RUNS);
        assert_eq!(begin(versions, &facts(9, &many)).len(), MAX_RUNS);
    }
}
