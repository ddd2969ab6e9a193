//! What comes from disks and from declarations.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use xds_bridge::cache;
use xds_bridge::config::{ConfigError, load_str};
use xds_bridge::model::{Declared, Issue, RouteRule, Spelling, declaration};
use xds_bridge::source::file::{Syntax, read};

/// A file of the file source.
pub(crate) fn file_document(input: &[u8]) {
    for syntax in [Syntax::Toml, Syntax::Json] {
        match read("shop", syntax, input) {
            Err(reason) => assert!(reason.chars().count() <= 300, "{reason}"),
            Ok(document) => {
                for (name, record) in &document.services {
                    super::served(name, record);
                    super::told(&record.issues, 17 * input.len(), &[input]);
                }
                super::told(&document.stray, input.len(), &[input]);
                if let (Syntax::Json, Ok(mut all)) = (syntax, serde_json::from_slice::<Value>(input)) {
                    // A key that stands twice is in the tree once: that is another document.
                    let whole = read("shop", syntax, all.to_string().as_bytes());
                    if whole.as_ref().map(|w| &w.services) != Ok(&document.services) {
                        return;
                    }
                    let Some(services) = all.get_mut("services").and_then(Value::as_object_mut) else {
                        return;
                    };
                    services.insert("zz-bad".to_owned(), json!({"instances": [{"address": 7}, 7]}));
                    let more = read("shop", syntax, all.to_string().as_bytes()).unwrap();
                    for (name, record) in &document.services {
                        let same = &**name == "zz-bad" || more.services.get(name) == Some(record);
                        assert!(same, "a bad service changes {name}");
                    }
                }
            }
        }
    }
}

/// Lines of `KEY=VALUE`, as one table.
pub(crate) fn declaration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs: std::collections::BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    let (declared, issues) = declare(pairs.iter().map(|(k, v)| (*k, *v)));
    let values: Vec<&[u8]> = pairs.values().map(|value| value.as_bytes()).collect();
    super::told(&issues, pairs.len(), &values);
    assert!(declared.instance.weight.is_none_or(|weight| weight <= 128_000));
    assert!(declared.policy.routes.len() <= 64);
    if pairs.len() <= 64 {
        let backwards = declare(pairs.iter().rev().map(|(k, v)| (*k, *v)));
        assert_eq!((declared, issues), backwards, "the order of keys matters");
    }
    for line in text.lines() {
        if let Err(reason) = RouteRule::parse(line) {
            assert!(reason.chars().count() <= 300, "{reason}");
        }
    }
}

fn declare<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (Declared, Vec<Issue>) {
    let mut issues = Vec::new();
    let declared = declaration::parse("e", Spelling::Meta, pairs, &mut issues);
    issues.sort();
    (declared, issues)
}

/// A file of the last known state: as it is, and with a head that fits.
pub(crate) fn last_known(input: &[u8]) {
    const DAY: Duration = Duration::from_secs(86_400);
    let text = String::from_utf8_lossy(input);
    let decode = |text: &str| cache::decode(text, "etcd", "etcd /services/", 1_000, DAY);
    let body = text.trim_end_matches('\n');
    let headed = cache::sealed("etcd", "etcd /services/", 1_000, body).unwrap();
    let before = cache::sealed_as(2, "etcd", "etcd /services/", 1_000, body).unwrap();
    for text in [&*text, &headed, &before] {
        match decode(text) {
            Err(error) => assert!(error.to_string().chars().count() <= 400, "{error}"),
            Ok(state) => {
                for (name, record) in &state.services {
                    xds_bridge::model::service::check_name(name).unwrap();
                    for instance in &record.instances {
                        super::can_be_served(instance);
                    }
                }
                let snapshot = cache::Snapshot {
                    source: "etcd".into(),
                    registry: "etcd /services/".to_owned(),
                    services: state
                        .services
                        .iter()
                        .map(|(n, r)| (n.clone(), r.clone().into()))
                        .collect(),
                };
                let again = decode(&cache::encode(&snapshot, 1_000).unwrap()).unwrap();
                assert_eq!(
                    again.services, state.services,
                    "what was read is written in another way"
                );
            }
        }
    }
}

/// `bridge.toml`
pub(crate) fn bridge_toml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = || load_str(Path::new("bridge.toml"), &text, None);
    match (read(), read()) {
        (Ok(one), Ok(two)) => assert_eq!(one, two),
        (Err(ConfigError::Mistakes { mistakes, .. }), Err(ConfigError::Mistakes { mistakes: again, .. })) => {
            assert!(!mistakes.is_empty());
            let lines = text.matches('\n').count() + 1;
            for mistake in &mistakes {
                assert!(!mistake.text.is_empty());
                assert!(
                    mistake.line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{mistake:?}"
                );
            }
            assert_eq!(mistakes, again);
        }
        other => panic!("{other:?}"),
    }
}
