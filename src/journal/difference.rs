//! What a registry says of a service now and did not say before, in words. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Instance, Key, Policy, ServiceRecord};
use crate::text::{clip, clip_to};

/// Differences that are named of one change; the rest is counted.
const MOST: usize = 50;
/// Characters of a value.
const VALUE: usize = 80;

/// One difference: the instance, where it is one's, and the words.
pub type Line = (Option<Arc<str>>, String);

/// What is different between two records of one service; `None`: the registry does not know it.
#[must_use]
pub fn differences(old: Option<&ServiceRecord>, new: Option<&ServiceRecord>) -> Vec<Line> {
    let before = old.map_or(&[][..], |record| &record.instances[..]);
    let after = new.map_or(&[][..], |record| &record.instances[..]);
    let mut lines = Vec::new();
    let mut left = 0;
    let mut say = |id: Option<Arc<str>>, words: String| {
        if lines.len() < MOST {
            lines.push((id, words));
        } else {
            left += 1;
        }
    };
    // Both are in the order of their ids.
    let (mut was, mut is) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (was.peek(), is.peek()) {
            (None, None) => break,
            (Some(gone), Some(come)) if gone.id == come.id => {
                if gone != come {
                    for words in changed(gone, come) {
                        say(Some(come.id.clone()), words);
                    }
                }
                was.next();
                is.next();
            }
            (Some(gone), come) if come.is_none_or(|come| gone.id < come.id) => {
                // One that is withheld left before.
                if old.is_none_or(|old| !old.withheld.contains_key(&gone.address)) {
                    say(Some(gone.id.clone()), format!("left ({})", gone.address));
                }
                was.next();
            }
            (_, Some(come)) => {
                say(Some(come.id.clone()), format!("registered, {}", facts(come)));
                is.next();
            }
            (Some(_), None) => {
                was.next();
            }
        }
    }
    let policies = (
        old.and_then(|record| record.policy.as_ref()),
        new.and_then(|record| record.policy.as_ref()),
    );
    match policies {
        (None, None) => {}
        (None, Some(policy)) => {
            let keys: Vec<String> = policy.keys().iter().map(ToString::to_string).collect();
            say(
                None,
                format!("has a policy document now: {}", clip(&keys.join(", "))),
            );
        }
        (Some(_), None) => say(None, "has no policy document any more".to_owned()),
        (Some(before), Some(after)) => {
            for words in declared(before, after) {
                say(None, format!("policy document: {words}"));
            }
        }
    }
    if left > 0 {
        lines.push((None, format!("and {left} more differences")));
    }
    lines
}

fn facts(instance: &Instance) -> String {
    let mut text = format!("{} {}", instance.address, instance.health.as_str());
    if !instance.version.is_empty() {
        text.push_str(", version ");
        text.push_str(&clip(&instance.version));
    }
    text
}

fn changed(old: &Instance, new: &Instance) -> Vec<String> {
    let mut words = Vec::new();
    if old.created != new.created && new.created != 0 {
        words.push(format!("registered again, {}", facts(new)));
    }
    if old.health != new.health {
        words.push(format!(
            "is {} (was {})",
            new.health.as_str(),
            old.health.as_str()
        ));
    }
    let texts = [
        ("address", old.address.to_string(), new.address.to_string()),
        ("weight", old.weight.to_string(), new.weight.to_string()),
        ("version", old.version.to_string(), new.version.to_string()),
        ("zone", old.zone.to_string(), new.zone.to_string()),
        ("region", old.region.to_string(), new.region.to_string()),
        ("node", old.node.to_string(), new.node.to_string()),
    ];
    for (name, was, is) in texts {
        if was != is {
            words.push(format!(
                "{name} `{}` (was `{}`)",
                clip_to(&is, VALUE),
                clip_to(&was, VALUE)
            ));
        }
    }
    words.extend(declared(&old.policy, &new.policy));
    if words.is_empty() {
        words.push("declares something else of itself".to_owned());
    }
    words
}

/// Keys with another value.
fn declared(old: &Policy, new: &Policy) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let keys: BTreeSet<Key> = old.keys().union(&new.keys()).copied().collect();
    let of = |key: Key| {
        let (was, is) = (old.shown(key), new.shown(key));
        match (was, is) {
            (was, is) if was == is => None,
            (Some(was), Some(is)) => Some(format!(
                "{key} `{}` (was `{}`)",
                clip_to(&is, VALUE),
                clip_to(&was, VALUE)
            )),
            (None, Some(is)) => Some(format!("{key} `{}`", clip_to(&is, VALUE))),
            (Some(_), None) => Some(format!("no {key} any more")),
            (None, None) => None,
        }
    };
    keys.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::{Facts, Health};

    fn instance(id: &str, port: u16, change: impl FnOnce(&mut Facts)) -> Instance {
        let mut facts = Facts::new(id, ([10, 0, 0, 1], port).into());
        change(&mut facts);
        facts.into()
    }

    fn record(instances: Vec<Instance>) -> ServiceRecord {
        ServiceRecord {
            instances,
            ..ServiceRecord::default()
        }
    }

    fn words(old: Option<&ServiceRecord>, new: Option<&ServiceRecord>) -> String {
        let line = |(id, words): Line| format!("{}: {words}\n", id.as_deref().unwrap_or("-"));
        differences(old, new).into_iter().map(line).collect()
    }

    #[test]
    fn each_difference_is_a_line() {
        let old = record(vec![
            instance("a", 1, |_| {}),
            instance("b", 2, |f| f.version = "v1".into()),
            instance("d", 4, |f| f.created = 7),
        ]);
        let mut new = record(vec![
            instance("b", 2, |f| {
                f.health = Health::Unhealthy;
                f.version = "v2".into();
                f.weight = 5;
            }),
            instance("c", 3, |f| f.version = "v2".into()),
            instance("d", 5, |f| f.created = 9),
        ]);
        new.policy = Some(Policy {
            timeout: Some(std::time::Duration::from_secs(3)),
            ..Policy::default()
        });
        expect![[r#"
            a: left (10.0.0.1:1)
            b: is unhealthy (was healthy)
            b: weight `5` (was `1`)
            b: version `v2` (was `v1`)
            c: registered, 10.0.0.1:3 healthy, version v2
            d: registered again, 10.0.0.1:5 healthy
            d: address `10.0.0.1:5` (was `10.0.0.1:4`)
            -: has a policy document now: timeout
        "#]]
        .assert_eq(&words(Some(&old), Some(&new)));
        let mut after = new.clone();
        after.policy = Some(Policy {
            timeout: Some(std::time::Duration::from_secs(1)),
            ..Policy::default()
        });
        expect![[r#"
            -: policy document: timeout `1s` (was `3s`)
        "#]]
        .assert_eq(&words(Some(&new), Some(&after)));
        assert_eq!(words(Some(&new), Some(&new)), "");
        assert_eq!(words(Some(&after), None).lines().count(), 4);
    }

    #[test]
    fn a_flood_is_counted() {
        let all: Vec<Instance> = (1..=200)
            .map(|n| instance(&format!("{n:03}"), n, |_| {}))
            .collect();
        let lines = differences(None, Some(&record(all)));
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(lines[MOST].1, "and 150 more differences");
    }
}
