//! What there is to know about one key. Pure.

use super::field::Access;
use crate::model::policy::{InstanceKeys, Policy};

/// One key of the declaration language. The texts are Markdown, one line each.
pub struct Row {
    /// As it is written, without the prefix of its registry.
    pub name: &'static str,
    /// There may be several: `route`, `route-2`, …
    pub numbered: bool,
    /// The version that knew it first.
    pub since: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What holds where it is not declared.
    pub default: &'static str,
    /// What a new instance has whose value cannot be read: the end of "a new instance …".
    pub fallback: &'static str,
    /// Where its value is kept, and how it is read.
    pub(super) value: Value,
}

/// Whose key it is, with the access to its value.
pub(super) enum Value {
    /// Of each instance.
    Instance(&'static dyn Access<InstanceKeys>),
    /// Of the service.
    Service(&'static dyn Access<Policy>),
}

/// Who may declare a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// An instance, of itself.
    Instance,
    /// Each instance of a service, and its policy document; instances that disagree vote.
    Service,
}

impl Row {
    /// Who may declare it.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self.value {
            Value::Instance(_) => Scope::Instance,
            Value::Service(_) => Scope::Service,
        }
    }

    /// As it is listed: `route`, `route-2`, …
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let second = self.numbered.then(|| format!("{}-2", self.name));
        std::iter::once(self.name.to_owned()).chain(second).collect()
    }
}

impl Scope {
    /// The word used in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Service => "service",
        }
    }
}
