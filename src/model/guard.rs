//! The mass-removal guard: a registry that answers too little must not empty Envoy.
//!
//! A change that would take away more than a share of the instances of one service, or after which
//! more than that share of what the source had at some moment of the last [`WINDOW`] would be missing,
//! is withheld: what is new in it is served, what it takes away stays. An instance that came back is
//! not missing, and one that is new makes up for no other. While a registry fills again, each service
//! stays withheld until nothing of it is missing any more. It is let through when the source still
//! says so after the hold time, or at once when the operator accepts it. Small,
//! honest removals pass at once. Pure: the time is given.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::history::{Gone, History};
use super::instance::Instance;
use super::service::ServiceRecord;

/// Removals within this time count as one.
pub const WINDOW: Duration = Duration::from_secs(10);

/// When a removal is too large to be believed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardRule {
    /// More than this share of the instances, in percent; 100: never withheld.
    pub share: u32,
    /// And more than so many instances.
    pub instances: usize,
    /// Let through after this, if the source still says so.
    pub hold: Duration,
}

impl Default for GuardRule {
    /// More than half, and more than 10; let through after a minute.
    fn default() -> Self {
        Self {
            share: 50,
            instances: 10,
            hold: Duration::from_secs(60),
        }
    }
}

impl GuardRule {
    /// When a removal is believed; a registry that loses a little more each moment puts it off
    /// three times as long at the most.
    fn end(&self, withheld: &Withheld) -> Duration {
        (withheld.since + self.hold).min(withheld.first + 3 * self.hold)
    }
}

/// What a source says of one service, while something else is served.
#[derive(Clone, Debug)]
pub struct Withheld {
    /// What it says: `None` means gone.
    pub told: Option<ServiceRecord>,
    /// How many instances that would take away.
    pub missing: usize,
    /// Since when; anew when it would take away more.
    pub since: Duration,
    /// Since when anything of it is withheld.
    pub first: Duration,
}

/// The guard of one source.
#[derive(Debug)]
pub struct Guard {
    rule: GuardRule,
    history: History,
    withheld: BTreeMap<Arc<str>, Withheld>,
}

/// What a change would do to one service.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The service.
    pub name: Arc<str>,
    /// Instances that are served of it now.
    pub before: usize,
    /// Ids of instances that would go.
    pub missing: Vec<Arc<str>>,
    /// Ids of instances that would come.
    pub coming: Vec<Arc<str>>,
}

impl Guard {
    /// A guard by this rule.
    #[must_use]
    pub fn new(rule: GuardRule) -> Self {
        Self {
            rule,
            history: History::default(),
            withheld: BTreeMap::new(),
        }
    }

    /// Which of these losses are to be withheld. `total`: instances that are served of the source now.
    /// What passes, and what comes, is remembered.
    #[must_use]
    pub fn judge(&mut self, turns: &[Turn], total: usize, now: Duration) -> HashSet<Arc<str>> {
        let named: HashSet<&Arc<str>> = turns.iter().map(|t| &t.name).collect();
        let elsewhere = self.withheld.iter().filter(|(name, _)| !named.contains(name));
        let waiting: usize = elsewhere.map(|(_, w)| w.missing).sum();
        let going = || {
            turns
                .iter()
                .flat_map(|t| t.missing.iter().map(|id| (t.name.clone(), id.clone())))
        };
        if turns.iter().all(|t| t.missing.is_empty() && t.coming.is_empty()) {
            return HashSet::new();
        }
        self.history.begin(now, total);
        let all = going().next().is_some()
            && self
                .history
                .missing(going())
                .any(|Gone { of, missing }| self.too_much(missing + waiting, of));
        let held: HashSet<Arc<str>> = turns
            .iter()
            .filter(|t| !t.missing.is_empty())
            .filter(|t| {
                all || self.too_much(t.missing.len(), t.before) || self.withheld.contains_key(&t.name)
            })
            .map(|t| t.name.clone())
            .collect();
        for turn in turns {
            let passing = turn.missing.iter().filter(|_| !held.contains(&turn.name));
            for id in passing {
                self.history.went(&turn.name, id);
            }
            for id in &turn.coming {
                self.history.came(&turn.name, id);
            }
        }
        held
    }

    fn too_much(&self, missing: usize, before: usize) -> bool {
        missing > self.rule.instances && missing * 100 > before * self.rule.share as usize
    }

    /// Withholds what a source says of a service. The time counts anew when more would go
    /// than before: what was told a second ago is not certain because something else is.
    pub fn withhold(&mut self, name: Arc<str>, told: Option<ServiceRecord>, missing: usize, now: Duration) {
        let old = self.withheld.get(&name);
        let since = old.filter(|w| missing <= w.missing).map_or(now, |w| w.since);
        let first = old.map_or(now, |w| w.first);
        self.withheld.insert(
            name,
            Withheld {
                told,
                missing,
                since,
                first,
            },
        );
    }

    /// The source says something else of this service now.
    pub fn settle(&mut self, name: &str) {
        self.withheld.remove(name);
    }

    /// What is withheld.
    #[must_use]
    pub const fn withheld(&self) -> &BTreeMap<Arc<str>, Withheld> {
        &self.withheld
    }

    /// When this is to be let through.
    #[must_use]
    pub fn end(&self, withheld: &Withheld) -> Duration {
        self.rule.end(withheld)
    }

    /// When the oldest is to be let through.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.withheld.values().map(|w| self.rule.end(w)).min()
    }

    /// Takes out what has been withheld long enough by now; `None`: everything.
    #[must_use]
    pub fn release(&mut self, now: Option<Duration>) -> Vec<(Arc<str>, Option<ServiceRecord>)> {
        let rule = self.rule;
        let over = |w: &Withheld| now.is_none_or(|now| rule.end(w) <= now);
        let (over, stay) = std::mem::take(&mut self.withheld)
            .into_iter()
            .partition(|(_, w)| over(w));
        self.withheld = stay;
        let over: BTreeMap<Arc<str>, Withheld> = over;
        over.into_iter().map(|(name, w)| (name, w.told)).collect()
    }
}

/// What is served while a loss is withheld: all that is told, and what it leaves out.
#[must_use]
pub fn kept(served: &ServiceRecord, told: Option<&ServiceRecord>) -> ServiceRecord {
    let Some(told) = told else { return served.clone() };
    let mut record = told.clone();
    record
        .instances
        .extend(left_out(&served.instances, &told.instances).cloned());
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    record
}

/// Those of which nothing is told any more. A server that is registered under another id now is told of:
/// beside that, what was said of it before would only be wrong (it drained before it left, say).
fn left_out<'a>(served: &'a [Instance], told: &[Instance]) -> impl Iterator<Item = &'a Instance> {
    let ids: HashSet<Arc<str>> = told.iter().map(|i| i.id.clone()).collect();
    let places: HashSet<SocketAddr> = told.iter().map(|i| i.address).collect();
    let gone = move |i: &&Instance| !ids.contains(&i.id) && !places.contains(&i.address);
    served.iter().filter(gone)
}

/// What telling this would do to a service that is served like that.
#[must_use]
pub fn turn(name: &Arc<str>, served: Option<&ServiceRecord>, told: Option<&ServiceRecord>) -> Turn {
    fn instances(record: Option<&ServiceRecord>) -> &[Instance] {
        record.map_or(&[], |r| &r.instances)
    }
    let (served, told) = (instances(served), instances(told));
    let known: HashSet<&str> = served.iter().map(|i| &*i.id).collect();
    let coming = told.iter().filter(|i| !known.contains(&*i.id));
    Turn {
        name: name.clone(),
        before: served.len(),
        missing: left_out(served, told).map(|i| i.id.clone()).collect(),
        coming: coming.map(|i| i.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::instance::Health;

    fn ids(numbers: std::ops::Range<usize>) -> Vec<Arc<str>> {
        numbers.map(|n| n.to_string().into()).collect()
    }

    fn loss(name: &str, before: usize, missing: usize) -> Turn {
        Turn {
            name: name.into(),
            before,
            missing: ids(0..missing),
            coming: Vec::new(),
        }
    }

    fn gain(name: &str, coming: usize) -> Turn {
        Turn {
            coming: ids(0..coming),
            ..loss(name, 0, 0)
        }
    }

    fn guard() -> Guard {
        Guard::new(GuardRule::default())
    }

    fn held(guard: &mut Guard, turns: &[Turn], total: usize, second: u64) -> Vec<String> {
        let mut names: Vec<String> = guard
            .judge(turns, total, Duration::from_secs(second))
            .iter()
            .map(ToString::to_string)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn small_and_honest_removals_pass() {
        let mut guard = guard();
        assert_eq!(
            held(&mut guard, &[loss("a", 10, 10)], 12, 0),
            [""; 0],
            "ten are never too many"
        );
        assert_eq!(
            held(&mut guard, &[loss("b", 40, 20)], 1000, 60),
            [""; 0],
            "half is not more than half"
        );
        assert_eq!(
            held(&mut guard, &[loss("c", 40, 0), loss("d", 1, 0)], 60, 90),
            [""; 0]
        );
    }

    #[test]
    fn most_of_a_service_is_withheld_alone() {
        assert_eq!(
            held(&mut guard(), &[loss("a", 20, 11), loss("b", 20, 2)], 1000, 0),
            ["a"]
        );
    }

    /// So many of thirty services of one instance pass, one after the other, before it is too much.
    fn passed(meanwhile: impl Fn(&mut Guard, usize)) -> usize {
        let mut guard = guard();
        let mut n = 0;
        while n < 30 && held(&mut guard, &[loss(&format!("s{n}"), 1, 1)], 30 - n, 1).is_empty() {
            meanwhile(&mut guard, n);
            n += 1;
        }
        n
    }

    #[test]
    fn most_of_everything_is_withheld_however_it_is_spread() {
        let many: Vec<Turn> = (0..20).map(|n| loss(&format!("s{n}"), 1, 1)).collect();
        assert_eq!(held(&mut guard(), &many, 30, 0).len(), 20);
        // One by one within the window: the first ones pass, then it is too much.
        assert_eq!(passed(|_, _| {}), 15, "half of thirty");
        // Slowly, over time, each may go.
        let mut slow = guard();
        for (n, loss) in many.iter().enumerate() {
            let second = 20 * n as u64;
            assert_eq!(
                held(&mut slow, std::slice::from_ref(loss), 30 - n, second),
                [""; 0]
            );
        }
    }

    #[test]
    fn what_is_new_makes_up_for_nothing_that_goes() {
        let more = |guard: &mut Guard, n: usize| {
            assert_eq!(held(guard, &[gain(&format!("new-{n}"), 1)], 29 - n, 1), [""; 0]);
        };
        assert_eq!(passed(more), 15);
        // Nor does what came a moment ago count for less when it goes.
        let mut guard = guard();
        assert_eq!(held(&mut guard, &[gain("a", 1000)], 10, 0), [""; 0]);
        assert_eq!(
            held(&mut guard, &[loss("a", 1000, 11)], 1010, 1),
            [""; 0],
            "few of many"
        );
        let rest = Turn {
            missing: ids(11..600),
            ..loss("a", 1999, 0)
        };
        assert_eq!(held(&mut guard, &[rest], 999, 2), ["a"]);
    }

    #[test]
    fn what_came_back_is_not_missing() {
        let mut guard = guard();
        let ten = |name: &str| loss(name, 10, 10);
        assert_eq!(held(&mut guard, &[ten("a")], 20, 0), [""; 0]);
        assert_eq!(held(&mut guard, &[gain("a", 10)], 10, 1), [""; 0]);
        assert_eq!(
            held(&mut guard, &[ten("b")], 20, 2),
            [""; 0],
            "ten of twenty again"
        );
        assert_eq!(
            held(&mut guard, &[loss("a", 10, 1)], 10, 3),
            ["a"],
            "eleven of twenty"
        );
    }

    #[test]
    fn one_that_comes_and_goes_is_missing_once() {
        let mut guard = guard();
        for _ in 0..50 {
            assert_eq!(held(&mut guard, &[loss("a", 1, 1)], 12, 1), [""; 0]);
            assert_eq!(held(&mut guard, &[gain("a", 1)], 11, 1), [""; 0]);
        }
    }

    #[test]
    fn what_is_registered_anew_under_another_id_is_not_missing() {
        let record = |ids: &[(&str, u16, Health)]| ServiceRecord {
            instances: ids
                .iter()
                .map(|(id, port, health)| Instance {
                    id: (*id).into(),
                    address: ([10, 0, 0, 1], *port).into(),
                    health: *health,
                    weight: 1,
                    zone: "".into(),
                    version: "".into(),
                    policy: Arc::default(),
                    own: None,
                    created: 0,
                })
                .collect(),
            ..ServiceRecord::default()
        };
        let (drains, well) = (Health::Draining, Health::Healthy);
        let served = record(&[("a-old", 1, drains), ("b-old", 2, well), ("c", 3, well)]);
        let told = record(&[("a-new", 1, well), ("c", 3, well)]);
        let turn = turn(&"orders".into(), Some(&served), Some(&told));
        assert_eq!(
            (turn.missing, turn.coming),
            (vec!["b-old".into()], vec!["a-new".into()])
        );
        // What drained before it left does not stand before its successor.
        let both = record(&[("a-new", 1, well), ("b-old", 2, well), ("c", 3, well)]);
        assert_eq!(kept(&served, Some(&told)), both);
    }

    #[test]
    fn it_is_let_through_after_the_hold_or_when_accepted() {
        let mut guard = Guard::new(GuardRule::default());
        guard.withhold("a".into(), None, 20, Duration::from_secs(5));
        guard.withhold("a".into(), None, 20, Duration::from_secs(30));
        assert_eq!(
            guard.due(),
            Some(Duration::from_secs(65)),
            "since it was first withheld"
        );
        assert!(guard.release(Some(Duration::from_secs(64))).is_empty());
        assert_eq!(guard.release(Some(Duration::from_secs(65))).len(), 1);
        guard.withhold("b".into(), None, 20, Duration::from_secs(70));
        guard.withhold("b".into(), None, 21, Duration::from_secs(80));
        assert_eq!(guard.due(), Some(Duration::from_secs(140)), "more would go: anew");
        assert_eq!(guard.release(None).len(), 1);
        assert_eq!(guard.due(), None);
    }
}
