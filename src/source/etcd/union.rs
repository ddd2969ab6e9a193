//! The prefixes of one source as one: per prefix changes and conditions in, those of the source out. Pure.
//!
//! Never answers before each prefix was listed once, and never lets one prefix take away what another one has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::{Change, Issue, ServiceRecord, Status};

/// All prefixes, in the order of `bridge.toml`. For an address that two know the first one's facts count.
#[derive(Debug)]
pub(super) struct Union {
    parts: Vec<Part>,
    sent: Status,
}

/// One prefix.
#[derive(Debug)]
struct Part {
    prefix: Arc<str>,
    /// Empty where there is one prefix only: its changes pass through.
    services: BTreeMap<Arc<str>, ServiceRecord>,
    stray: Vec<Issue>,
    listed: bool,
    /// Listed since the hub has asked for that so often.
    asked: u64,
    status: Status,
}

impl Union {
    /// Nothing is known of any yet.
    pub(super) fn new(prefixes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let part = |prefix| Part {
            prefix,
            services: BTreeMap::new(),
            stray: Vec::new(),
            listed: false,
            asked: 0,
            status: Status::Connecting,
        };
        Self {
            parts: prefixes.into_iter().map(part).collect(),
            sent: Status::Connecting,
        }
    }

    /// A change of the source, made of one of the `nth` prefix; `None`: nothing to tell yet.
    pub(super) fn change(&mut self, nth: usize, change: Change) -> Option<Change> {
        if self.parts.len() == 1 {
            return Some(change);
        }
        let waited = self.waits();
        let part = self.parts.get_mut(nth)?;
        part.listed |= change.complete;
        let mut touched: BTreeSet<Arc<str>> = BTreeSet::new();
        if change.complete {
            touched.extend(std::mem::take(&mut part.services).into_keys());
        }
        for (name, record) in change.services {
            match record {
                Some(record) => drop(part.services.insert(name.clone(), record)),
                None => drop(part.services.remove(&name)),
            }
            touched.insert(name);
        }
        let stray = change.stray.map(|stray| part.stray = stray).is_some();
        if self.waits() {
            return None;
        }
        if waited {
            touched = self
                .parts
                .iter()
                .flat_map(|p| p.services.keys().cloned())
                .collect();
        }
        let change = Change {
            services: touched
                .into_iter()
                .map(|name| {
                    let record = self.record(&name);
                    (name, record)
                })
                .collect(),
            complete: waited,
            stray: (stray || waited).then(|| self.parts.iter().flat_map(|p| p.stray.clone()).collect()),
        };
        Some(change)
    }

    /// How the source is, when one of its prefixes is so; `None`: as before.
    pub(super) fn status(&mut self, nth: usize, status: Status) -> Option<Status> {
        self.parts.get_mut(nth)?.status = status;
        let now = self.condition();
        if now == self.sent {
            return None;
        }
        self.sent = now.clone();
        Some(now)
    }

    /// A prefix was listed, since the hub had asked for that so often: how often all were.
    pub(super) fn listed(&mut self, nth: usize, asked: u64) -> u64 {
        if let Some(part) = self.parts.get_mut(nth) {
            part.asked = asked;
        }
        self.parts.iter().map(|part| part.asked).min().unwrap_or(0)
    }

    fn waits(&self) -> bool {
        self.parts.iter().any(|part| !part.listed)
    }

    /// Live when all are. Prefixes that are away for one reason stand together.
    fn condition(&self) -> Status {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for part in &self.parts {
            if let Status::Away { reason } = &part.status {
                reasons.entry(reason).or_default().push(&part.prefix);
            }
        }
        if reasons.is_empty() {
            let live = self.parts.iter().all(|part| part.status == Status::Live);
            return if live { Status::Live } else { Status::Connecting };
        }
        let one = |(reason, prefixes): (&str, Vec<&str>)| {
            if prefixes.len() == self.parts.len() {
                reason.to_owned()
            } else {
                format!("{}: {reason}", prefixes.join(", "))
            }
        };
        let reasons: Vec<String> = reasons.into_iter().map(one).collect();
        Status::Away {
            reason: reasons.join("; "),
        }
    }

    /// The union of what the prefixes say of one service. Ids below the second and later prefixes carry
    /// the prefix: those of two prefixes are two instances, also when they are equal.
    fn record<'a>(&'a self, name: &str) -> Option<ServiceRecord> {
        let known = |(nth, part): (usize, &'a Part)| Some((nth, part, part.services.get(name)?));
        let mut union: Option<ServiceRecord> = None;
        let mut addresses = HashSet::new();
        for (nth, part, record) in self.parts.iter().enumerate().filter_map(known) {
            let union = union.get_or_insert_default();
            for instance in &record.instances {
                // Within one prefix it is the catalog's to decide.
                if nth > 0 && addresses.contains(&instance.address) {
                    continue;
                }
                let mut instance = instance.clone();
                if nth > 0 {
                    instance.id = format!("{}{}", part.prefix, instance.id).into();
                }
                union.instances.push(instance);
            }
            addresses.extend(record.instances.iter().map(|i| i.address));
            union.policy = match (union.policy.take(), &record.policy) {
                (Some(stronger), Some(weaker)) => Some(stronger.over(weaker)),
                (stronger, weaker) => stronger.or_else(|| weaker.clone()),
            };
            union.issues.extend_from_slice(&record.issues);
        }
        if let Some(union) = &mut union {
            union.instances.sort_by(|a, b| a.id.cmp(&b.id));
        }
        union
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Instance, Policy};

    fn union() -> Union {
        Union::new(["/a/", "/b/"].map(Arc::from))
    }

    /// `id:port`
    fn record(instances: &[&str]) -> ServiceRecord {
        let instance = |text: &&str| {
            let (id, port) = text.split_once(':').unwrap();
            Instance::new(id, ([10, 0, 0, 7], port.parse().unwrap()).into())
        };
        ServiceRecord {
            instances: instances.iter().map(instance).collect(),
            ..ServiceRecord::default()
        }
    }

    #[test]
    fn verified_is_what_each_prefix_has_listed_again() {
        let mut union = union();
        assert_eq!((union.listed(0, 0), union.listed(1, 0)), (0, 0));
        assert_eq!(
            (union.listed(0, 1), union.listed(0, 2)),
            (0, 0),
            "the other one has not"
        );
        assert_eq!((union.listed(1, 1), union.listed(1, 2)), (1, 2));
    }

    fn change(complete: bool, services: &[(&str, &[&str])]) -> Change {
        Change {
            services: services
                .iter()
                .map(|(name, ids)| ((*name).into(), (!ids.is_empty()).then(|| record(ids))))
                .collect(),
            complete,
            stray: complete.then(Vec::new),
        }
    }

    fn show(change: Option<Change>) -> String {
        let Some(change) = change else {
            return "-".to_owned();
        };
        let mut words: Vec<String> = change
            .services
            .iter()
            .map(|(name, record)| {
                let ids = |r: &ServiceRecord| {
                    let all: Vec<_> = r
                        .instances
                        .iter()
                        .map(|i| format!("{}:{}", i.id, i.address.port()))
                        .collect();
                    all.join(",")
                };
                format!(
                    "{name}[{}]",
                    record.as_ref().map_or_else(|| "gone".to_owned(), ids)
                )
            })
            .collect();
        words.extend(change.complete.then(|| "complete".to_owned()));
        words.join(" ")
    }

    #[test]
    fn the_first_change_waits_for_all_prefixes() {
        let mut union = union();
        assert_eq!(show(union.change(0, change(true, &[("x", &["1:1"])]))), "-");
        assert_eq!(show(union.change(0, change(false, &[("y", &["1:2"])]))), "-");
        let all = "x[1:1] y[1:2] z[/b/1:3] complete";
        assert_eq!(show(union.change(1, change(true, &[("z", &["1:3"])]))), all);
    }

    #[test]
    fn a_service_below_two_prefixes_is_the_union_and_ids_are_kept_apart() {
        let mut union = union();
        union.change(0, change(true, &[]));
        union.change(1, change(true, &[("x", &["1:2", "2:3"])]));
        let both = union.change(0, change(false, &[("x", &["1:1"])]));
        assert_eq!(show(both), "x[/b/1:2,/b/2:3,1:1]");
        let same = union.change(0, change(false, &[("x", &["1:1", "9:2"])]));
        assert_eq!(
            show(same),
            "x[/b/2:3,1:1,9:2]",
            "an address counts once, as the first prefix says"
        );
        assert_eq!(
            show(union.change(0, change(false, &[("x", &[])]))),
            "x[/b/1:2,/b/2:3]"
        );
        assert_eq!(show(union.change(1, change(false, &[("x", &[])]))), "x[gone]");
    }

    #[test]
    fn a_new_listing_of_one_prefix_takes_nothing_from_the_other() {
        let mut union = union();
        union.change(0, change(true, &[("x", &["1:1"]), ("y", &["1:2"])]));
        union.change(1, change(true, &[("x", &["1:3"]), ("z", &["1:4"])]));
        let listed = union.change(0, change(true, &[("y", &["1:2"])]));
        assert_eq!(show(listed), "x[/b/1:3] y[1:2]");
    }

    #[test]
    fn policies_are_merged_key_by_key_and_issues_of_all_are_delivered() {
        use crate::model::Protocol;
        let mut union = union();
        let with = |policy: Policy, key: &str| Change {
            services: vec![(
                "x".into(),
                Some(ServiceRecord {
                    policy: Some(policy),
                    issues: vec![Issue::warning(key, "odd")],
                    ..ServiceRecord::default()
                }),
            )],
            complete: true,
            stray: Some(vec![Issue::warning(format!("{key}?"), "stray")]),
        };
        let protocol = |protocol| Policy {
            protocol: Some(protocol),
            ..Policy::default()
        };
        union.change(0, with(protocol(Protocol::Grpc), "/a/"));
        let change = union.change(1, with(protocol(Protocol::Http2), "/b/")).unwrap();
        let record = change.services[0].1.as_ref().unwrap();
        assert_eq!(record.policy.as_ref().unwrap().protocol, Some(Protocol::Grpc));
        let entries = |issues: &[Issue]| issues.iter().map(|i| i.entry.clone()).collect::<Vec<_>>();
        assert_eq!(entries(&record.issues), ["/a/", "/b/"]);
        assert_eq!(entries(&change.stray.unwrap()), ["/a/?", "/b/?"]);
    }

    #[test]
    fn the_source_is_live_when_all_prefixes_are_and_says_which_are_not() {
        let mut union = union();
        let away = |reason: &str| Status::Away {
            reason: reason.to_owned(),
        };
        assert_eq!(union.status(0, Status::Live), None, "still connecting");
        assert_eq!(union.status(1, away("denied")), Some(away("/b/: denied")));
        assert_eq!(union.status(1, away("denied")), None, "sent already");
        assert_eq!(
            union.status(0, away("denied")),
            Some(away("denied")),
            "all of them"
        );
        assert_eq!(
            union.status(0, away("gone")),
            Some(away("/b/: denied; /a/: gone"))
        );
        assert_eq!(union.status(0, Status::Live), Some(away("/b/: denied")));
        assert_eq!(union.status(1, Status::Live), Some(Status::Live));
    }

    #[test]
    fn one_prefix_passes_through() {
        let mut union = Union::new([Arc::from("/a/")]);
        let both = union.change(0, change(true, &[("x", &["1:1"])]));
        assert_eq!(show(both), "x[1:1] complete");
        assert_eq!(show(union.change(0, change(false, &[("x", &[])]))), "x[gone]");
    }
}
