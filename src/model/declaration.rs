//! What one entry declares: a flat table of strings, the same in Consul Meta (`xds-KEY`), Consul tags
//! (`xds.KEY=value`) and etcd JSON (`"KEY"`). The keys are the rows of [`super::keys`]. Pure.
//!
//! A bad value costs its own key only: the key is noted as a slip, an [`Issue`] names it, and
//! the instance stays. What takes its place is decided by `catalog::last_good`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Code;
use super::cluster::Tls;
use super::issue::Issue;
use super::key::Key;
pub use super::keys::{MAX_ROUTES, Spelling};
use super::keys::{nearest, prefixed};
pub use super::label::MAX_LABEL;
use super::policy::{InstanceKeys, Policy};
use crate::text::clip;

/// All that one entry declares, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The keys of the instance itself.
    pub instance: InstanceKeys,
    /// The service policy among the keys.
    pub policy: Policy,
}

/// What becomes of a key whose value cannot be read.
fn slip(key: Key) -> String {
    format!(
        "not used: the last good value stays in force; a new instance {}",
        key.row().fallback
    )
}

/// Reads a table of keys (already without their prefix). `entry` is the
/// registry's name of it and stands in each issue.
pub fn parse<'a>(
    entry: &str,
    spelling: Spelling,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    issues: &mut Vec<Issue>,
) -> Declared {
    let mut declared = Declared::default();
    let mut misspelt = BTreeSet::new();
    for (name, value) in pairs {
        let mut warn = |code: Code, reason: String| {
            let prefix = spelling.prefix();
            let issue = Issue::warning(entry, format!("{prefix}{}: {reason}", clip(name)));
            issues.push(issue.of_kind(code));
        };
        let Some(key) = Key::parse(name) else {
            let reason = match nearest(name).or_else(|| prefixed(name)) {
                Some(key) => {
                    misspelt.insert(key);
                    format!(
                        "unknown key; did you mean `{}{key}`? It is {}",
                        spelling.prefix(),
                        slip(key)
                    )
                }
                None => "not a key of ours, ignored; `xds-bridge keys` lists all".to_owned(),
            };
            warn(Code::KeyUnknown, reason);
            continue;
        };
        match declared.read(key, value.trim()) {
            Ok(_) if spelling != Spelling::Saved && declared.drop_imported(key) => {
                declared.slip(key);
                let reason = format!("`imported=` is a word of the bridge's own; {}", slip(key));
                warn(Code::ValueUnreadable, reason);
            }
            Ok(warnings) => warnings
                .into_iter()
                .for_each(|reason| warn(Code::EntryWarning, reason)),
            Err(reason) => {
                declared.slip(key);
                warn(Code::ValueUnreadable, format!("{reason}; {}", slip(key)));
            }
        }
    }
    for key in misspelt {
        declared.slip_unless_declared(key);
    }
    declared
}

/// Looks for keys of ours among those of others (Consul's Meta, tags without their value) that are spelt nearly
/// right: `xds_expose`, the tag `xds-expose=edge`. Such a key is a slip, as a misspelt name is.
pub fn near_misses<'a>(
    entry: &str,
    spelling: Spelling,
    others: impl IntoIterator<Item = &'a str>,
    declared: &mut Declared,
    issues: &mut Vec<Issue>,
) {
    for other in others {
        let Some(key) = prefixed(other) else { continue };
        let (what, value) = match spelling {
            Spelling::Tag => ("tag ", "=VALUE"),
            Spelling::Plain | Spelling::Meta | Spelling::Saved => ("", ""),
        };
        let prefix = spelling.prefix();
        let reason = format!(
            "{what}`{}` is not a key of ours; did you mean `{prefix}{key}{value}`? It is {}",
            clip(other),
            slip(key)
        );
        issues.push(Issue::warning(entry, reason).of_kind(Code::KeyUnknown));
        declared.slip_unless_declared(key);
    }
}

impl Declared {
    /// A declaration of nothing but a policy.
    #[must_use]
    pub fn of_service(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Takes what `self` does not say from `weaker` (policy document over Meta over tag over field). A slip of
    /// the stronger place stays a slip, with the weaker value until there is a last good one.
    #[must_use]
    pub fn over(self, weaker: &Self) -> Self {
        Self {
            instance: self.instance.over(&weaker.instance),
            policy: self.policy.over(&weaker.policy),
        }
    }

    /// Reads the value of one key; the answer is what to warn of in a value that counts all the same.
    fn read(&mut self, key: Key, value: &str) -> Result<Vec<String>, String> {
        let read = self.instance.read(key, value);
        let read = read.or_else(|| self.policy.read(key, value));
        read.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Takes a route out that claims to be imported: its priority would come before the routes of others.
    fn drop_imported(&mut self, key: Key) -> bool {
        let Key::Route(number) = key else { return false };
        let routes = &mut self.policy.routes;
        let imported = routes.get(&number).is_some_and(|rule| rule.imported.is_some());
        imported && routes.remove(&number).is_some()
    }

    /// Notes that a key is there and cannot be read.
    pub fn slip(&mut self, key: Key) {
        if key == Key::Tls && self.policy.cluster.tls.is_none() {
            // It wants to be encrypted, and nobody knows how: nothing goes there in the clear.
            self.policy.cluster.tls = Some(Arc::new(Tls::unreadable()));
        }
        if key.is_policy() {
            self.policy.slips.insert(key);
        } else {
            self.instance.slips.insert(key);
        }
    }

    /// The same for the name of a key whose value is not even text.
    pub fn slip_named(&mut self, name: &str) {
        if let Some(key) = Key::parse(name).or_else(|| nearest(name)) {
            self.slip_unless_declared(key);
        }
    }

    fn slip_unless_declared(&mut self, key: Key) {
        if !self.says(key) {
            self.slip(key);
        }
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn says(&self, key: Key) -> bool {
        self.policy.says(key) || self.instance.shown(key).is_some()
    }
}

#[cfg(test)]
#[path = "declaration_tests.rs"]
mod tests;
