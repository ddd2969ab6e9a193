//! The mass-removal guard: a registry that answers too little must not empty Envoy.
//!
//! One change (or a burst of them within [`WINDOW`]) that would take away more than a
//! share of what a source has, of one service or in all, is withheld: what is new in
//! it is served, what it takes away stays. It is let through when the source still
//! says so after the hold time, or at once when the operator accepts it. Small,
//! honest removals pass at once. Pure: the time is given.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

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
    recent: VecDeque<(Duration, usize)>,
    withheld: BTreeMap<Arc<str>, Withheld>,
}

/// What a change would do to one service.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The service.
    pub name: Arc<str>,
    /// Instances it has now.
    pub before: usize,
    /// Instances that would go.
    pub missing: usize,
}

impl Guard {
    /// A guard by this rule.
    #[must_use]
    pub const fn new(rule: GuardRule) -> Self {
        Self {
            rule,
            recent: VecDeque::new(),
            withheld: BTreeMap::new(),
        }
    }

    /// Which of these losses are to be withheld. `total`: instances of the source now.
    #[must_use]
    pub fn judge(&mut self, losses: &[Loss], total: usize, now: Duration) -> HashSet<Arc<str>> {
        while self.recent.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.recent.pop_front();
        }
        let recent: usize = self.recent.iter().map(|(_, n)| n).sum();
        let named: HashSet<&Arc<str>> = losses.iter().map(|l| &l.name).collect();
        let waiting: usize = self
            .withheld
            .iter()
            .filter(|(name, _)| !named.contains(name))
            .map(|(_, w)| w.missing)
            .sum();
        let missing: usize = losses.iter().map(|l| l.missing).sum();
        let all = self.too_much(missing + waiting + recent, total + recent);
        let held: HashSet<Arc<str>> = losses
            .iter()
            .filter(|l| l.missing > 0 && (all || self.too_much(l.missing, l.before)))
            .map(|l| l.name.clone())
            .collect();
        let passed: usize = losses
            .iter()
            .filter(|l| !held.contains(&l.name))
            .map(|l| l.missing)
            .sum();
        if passed > 0 {
            self.recent.push_back((now, passed));
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
    let ids: HashSet<&str> = told.instances.iter().map(|i| &*i.id).collect();
    let mut record = told.clone();
    record
        .instances
        .extend(served.instances.iter().filter(|i| !ids.contains(&*i.id)).cloned());
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    record
}

/// How many instances of `served` are not in what is told.
#[must_use]
pub fn missing(served: &ServiceRecord, told: Option<&ServiceRecord>) -> usize {
    let Some(told) = told else {
        return served.instances.len();
    };
    let ids: HashSet<&str> = told.instances.iter().map(|i| &*i.id).collect();
    served.instances.iter().filter(|i| !ids.contains(&*i.id)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(name: &str, before: usize, missing: usize) -> Loss {
        Loss {
            name: name.into(),
            before,
            missing,
        }
    }

    fn held(guard: &mut Guard, losses: &[Loss], total: usize, second: u64) -> Vec<String> {
        let mut names: Vec<String> = guard
            .judge(losses, total, Duration::from_secs(second))
            .iter()
            .map(ToString::to_string)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn small_and_honest_removals_pass() {
        let mut guard = Guard::new(GuardRule::default());
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
        let mut guard = Guard::new(GuardRule::default());
        assert_eq!(
            held(&mut guard, &[loss("a", 20, 11), loss("b", 20, 2)], 1000, 0),
            ["a"]
        );
    }

    #[test]
    fn most_of_everything_is_withheld_however_it_is_spread() {
        let mut guard = Guard::new(GuardRule::default());
        let many: Vec<Loss> = (0..20).map(|n| loss(&format!("s{n}"), 1, 1)).collect();
        assert_eq!(held(&mut guard, &many, 30, 0).len(), 20);
        // One by one within the window: the first ones pass, then it is too much.
        let mut guard = Guard::new(GuardRule::default());
        let passed = (0..20)
            .take_while(|n| held(&mut guard, &many[*n..=*n], 30 - n, 1).is_empty())
            .count();
        assert_eq!(passed, 15, "half of thirty");
        // Slowly, over time, each may go.
        let mut guard = Guard::new(GuardRule::default());
        for (n, loss) in many.iter().enumerate() {
            let second = 20 * n as u64;
            assert_eq!(
                held(&mut guard, std::slice::from_ref(loss), 30 - n, second),
                [""; 0]
            );
        }
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
