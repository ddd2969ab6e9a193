//! What every parser of registry data promises, whatever the bytes are: it does not panic; a bad entry
//! takes no other with it; issues are few, short and quote no whole value; what is served can be served;
//! and the order of entries does not matter. Played by `tests/parsers.rs` and by the fuzz targets.

mod consul;
mod errors;
mod etcd;
mod local;

use std::collections::BTreeSet;

use xds_bridge::model::service::{address, check_name};
use xds_bridge::model::{Health, Instance, Issue, MAX_WEIGHT, ServiceRecord};

pub(crate) use consul::{consul_catalog, consul_health, consul_keys, consul_policy};
pub(crate) use errors::access_log;
pub(crate) use etcd::etcd_value;
pub(crate) use local::{bridge_toml, declaration, file_document, last_known};

/// The longest name of an entry: a key of etcd is shown with up to 600 characters.
const MAX_ENTRY: usize = 1_000;
/// The longest reason; the longest that there are list what would be known.
const MAX_REASON: usize = 1_000;
/// A value of more characters must not stand in an issue as it is: 60 of a part of it may.
const WHOLE: usize = 80;

/// What is served of one service can be served.
fn served(name: &str, record: &ServiceRecord) {
    check_name(name).unwrap_or_else(|reason| panic!("`{name}` is served: {reason}"));
    let mut ids = BTreeSet::new();
    for instance in &record.instances {
        can_be_served(instance);
        assert!(
            ids.insert(&instance.id),
            "two instances are called {}",
            instance.id
        );
    }
    assert!(
        record.instances.is_sorted_by_key(|instance| &instance.id),
        "{record:?}"
    );
}

fn can_be_served(instance: &Instance) {
    let place = instance.address;
    assert!(
        address(&place.ip().to_string(), place.port().into()).is_ok(),
        "{instance:?}"
    );
    let weight = match instance.health {
        Health::Off => instance.weight <= MAX_WEIGHT,
        _ => (1..=MAX_WEIGHT).contains(&instance.weight),
    };
    assert!(weight, "{instance:?}");
    assert!(
        instance.version.len() <= 128 && !instance.version.contains(['@', '/']),
        "{instance:?}"
    );
    assert!(instance.policy.routes.len() <= 64, "{instance:?}");
}

/// So many issues at most, short ones, none with a whole value in it.
fn told(issues: &[Issue], most: usize, values: &[&[u8]]) {
    assert!(issues.len() <= most, "{} issues, more than {most}", issues.len());
    let values: Vec<&str> = values
        .iter()
        .filter_map(|value| std::str::from_utf8(value).ok())
        .collect();
    for issue in issues {
        let (entry, reason) = (issue.entry.chars().count(), issue.reason.chars().count());
        assert!(
            entry <= MAX_ENTRY && reason <= MAX_REASON,
            "{entry} and {reason} characters: {issue:?}"
        );
        let whole = values
            .iter()
            .find(|value| value.chars().count() > WHOLE && issue.reason.contains(**value));
        assert_eq!(whole, None, "an issue holds a whole value");
    }
}

/// Instances by what they are, whatever their order.
fn sorted(record: Option<&ServiceRecord>) -> Vec<String> {
    let instances = record
        .map(|record| record.instances.as_slice())
        .unwrap_or_default();
    let mut shown: Vec<String> = instances.iter().map(|instance| format!("{instance:?}")).collect();
    shown.sort();
    shown
}
