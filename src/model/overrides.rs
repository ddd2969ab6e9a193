//! What the operator sets for services by their names, `[services."orders*"]`: stronger than what a service declares.
//! Pure.

use std::sync::Arc;

use super::key::Key;
use super::keys::nearest;
use super::policy::Policy;
use super::service::Service;
use crate::text::clip;

/// Policies by patterns of names, the most special first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<(Arc<str>, Policy)>);

impl FromIterator<(Arc<str>, Policy)> for Overrides {
    /// A name comes before each pattern, and a longer pattern before a shorter one.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Policy)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(pattern, _)| (pattern.ends_with('*'), std::cmp::Reverse(pattern.len())));
        Self(all)
    }
}

impl Overrides {
    /// What is set for this name, the strongest first.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Policy> {
        self.0
            .iter()
            .filter(move |(pattern, _)| fits(pattern, name))
            .map(|(_, policy)| policy)
    }

    /// The service as it is with what the operator sets.
    #[must_use]
    pub fn apply(&self, mut service: Service) -> Service {
        let name = service.name.clone();
        let mut fitting = self.of(&name);
        let Some(first) = fitting.next() else {
            return service;
        };
        let set = fitting.fold(first.clone(), Policy::over);
        service.overruled = set.overrides(&service.policy);
        service.documented |= !set.routes.is_empty();
        service.policy = set.over(&service.policy);
        service
    }
}

/// Whether a pattern that [`pattern`] lets through is this name, or how it begins.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Reads one key of such a policy.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn set(policy: &mut Policy, name: &str, value: &str) -> Result<(), String> {
    let Some(key) = Key::parse(name) else {
        return Err(match nearest(name) {
            Some(key) => format!("unknown key; did you mean `{key}`?"),
            None => "is no key of a service; `xds-bridge keys` lists them".to_owned(),
        });
    };
    match policy.read(key, value.trim()) {
        None => Err("is a key of one instance, not of a service".to_owned()),
        Some(Err(reason)) => Err(reason),
        Some(Ok(warnings)) if warnings.is_empty() => Ok(()),
        Some(Ok(warnings)) => Err(warnings.join(", ")),
    }
}

/// Reads a pattern: a name, or how names begin, `orders*`.
///
/// # Errors
/// What would be right.
pub fn pattern(text: &str) -> Result<(), String> {
    let start = text.strip_suffix('*').unwrap_or(text);
    if text.is_empty() || start.contains('*') {
        return Err(format!(
            "`{}` must be the name of a service, or how names begin, \"orders*\"",
            clip(text)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(keys: &[(&str, &str)]) -> Policy {
        let mut policy = Policy::default();
        for (name, value) in keys {
            set(&mut policy, name, value).unwrap();
        }
        policy
    }

    #[test]
    fn the_operator_comes_first_and_names_before_patterns() {
        let overrides = Overrides::from_iter([
            ("*".into(), policy(&[("lb", "random"), ("timeout", "9s")])),
            ("orders".into(), policy(&[("lb", "maglev")])),
            (
                "orders*".into(),
                policy(&[("lb", "ring_hash"), ("limits", "requests=1")]),
            ),
        ]);
        let seen = |name: &str, declared: &[(&str, &str)]| {
            let service = overrides.apply(Service {
                name: name.into(),
                policy: policy(declared),
                ..Service::default()
            });
            let keys = service.policy.keys();
            let pairs = keys
                .iter()
                .map(|key| format!("{key}={}", service.policy.shown(*key).unwrap()));
            (
                pairs.collect::<Vec<_>>().join(" "),
                service.overruled,
                service.documented,
            )
        };
        assert_eq!(
            seen("orders", &[("timeout", "1s"), ("lb", "maglev")]),
            (
                "timeout=9s lb=maglev limits=requests=1".to_owned(),
                vec![Key::Timeout],
                false
            )
        );
        assert_eq!(
            seen("orders-2", &[("outlier", "off")]).0,
            "timeout=9s lb=ring_hash outlier=off limits=requests=1"
        );
        assert_eq!(seen("web", &[]).0, "timeout=9s lb=random");
        assert_eq!(Overrides::default().apply(Service::default()), Service::default());
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (name, value, words) in [
            ("limit", "requests=1", "did you mean `limits`"),
            ("colour", "red", "is no key of a service"),
            ("weight", "1", "a key of one instance"),
            ("lb", "p2c", "round_robin"),
        ] {
            let error = set(&mut Policy::default(), name, value).unwrap_err();
            assert!(error.contains(words), "{name}={value}: {error}");
        }
        for text in ["", "*a", "a*b", "a**"] {
            assert!(pattern(text).is_err(), "{text}");
        }
        for text in ["*", "orders", "orders*"] {
            assert_eq!(pattern(text), Ok(()), "{text}");
        }
    }
}
