//! Which keys are declared, and which of two declarations counts. Pure; the same for all keys.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::row::Value;
use crate::model::key::Key;
use crate::model::policy::{InstanceKeys, Policy};

impl Key {
    /// Whether it is declared for the service, and not for one instance.
    #[must_use]
    pub fn is_policy(self) -> bool {
        matches!(self.row().value, Value::Service(_))
    }
}

impl InstanceKeys {
    /// Takes what `self` does not declare from `weaker`. A slip of the stronger place stays a slip, with the weaker
    /// value until there is a last good one.
    #[must_use]
    pub fn over(mut self, weaker: &Self) -> Self {
        let mine = self.keys();
        self.slips.extend(weaker.slips.difference(&mine));
        for key in weaker.keys().difference(&mine) {
            self.take(*key, weaker);
        }
        self
    }

    /// The keys that have a value.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for key in Key::ALL {
            if let Value::Instance(access) = key.row().value {
                access.each(self, &mut |number| {
                    keys.insert(key.numbered(number));
                });
            }
        }
        keys
    }

    /// Reads a declared value into its place; `None` for a key of services. The answer is what to warn of in a value
    /// that counts all the same.
    ///
    /// # Errors
    /// What is wrong with the value, and what would be right.
    pub(in crate::model) fn read(&mut self, key: Key, text: &str) -> Option<Result<Vec<String>, String>> {
        match key.row().value {
            Value::Instance(access) => Some(access.read(self, key.number(), text)),
            Value::Service(_) => None,
        }
    }

    /// Takes the value of one key from another instance, where that has one. True when it had.
    pub fn take(&mut self, key: Key, from: &Self) -> bool {
        match key.row().value {
            Value::Instance(access) => access.take(self, key.number(), from),
            Value::Service(_) => false,
        }
    }

    /// The value of one key as it is declared; `None`: it is not.
    #[must_use]
    pub fn shown(&self, key: Key) -> Option<String> {
        match key.row().value {
            Value::Instance(access) => access.shown(self, key.number()),
            Value::Service(_) => None,
        }
    }
}

impl Policy {
    /// Takes what `self` does not declare from `weaker`; numbered keys of one place are one answer.
    #[must_use]
    pub fn over(mut self, weaker: &Self) -> Self {
        let mine = self.keys();
        let overruled = |key: &&Key| is_overruled(&mine, **key);
        self.slips
            .extend(weaker.slips.iter().filter(|key| !overruled(key)));
        for key in weaker.keys().iter().filter(|key| !overruled(key)) {
            self.take(*key, weaker);
        }
        self
    }

    /// The keys that `weaker` declares in vain, since this policy declares something else.
    #[must_use]
    pub fn overrides(&self, weaker: &Self) -> Vec<Key> {
        let mine = self.keys();
        if mine.is_empty() {
            return Vec::new();
        }
        let differs = |key: &Key| {
            let same = |own: &Key| self.has_value_of(*own, weaker, *key);
            is_overruled(&mine, *key) && !mine.iter().any(same)
        };
        weaker.keys().into_iter().filter(differs).collect()
    }

    /// Whether it declares the same under one key as another policy under another key of the same row.
    fn has_value_of(&self, mine: Key, other: &Self, theirs: Key) -> bool {
        mine.numbered(1) == theirs.numbered(1) && self.shown(mine) == other.shown(theirs)
    }

    /// The keys that have a value.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for key in Key::ALL {
            if let Value::Service(access) = key.row().value {
                access.each(self, &mut |number| {
                    keys.insert(key.numbered(number));
                });
            }
        }
        keys
    }

    /// Whether a key has a value; false for the keys of instances.
    #[must_use]
    pub fn says(&self, key: Key) -> bool {
        let mut says = false;
        if let Value::Service(access) = key.row().value {
            access.each(self, &mut |number| says |= number == key.number());
        }
        says
    }

    /// Reads a declared value into its place; `None` for a key of instances. The answer is what to warn of in a value
    /// that counts all the same.
    ///
    /// # Errors
    /// What is wrong with the value, and what would be right.
    pub(in crate::model) fn read(&mut self, key: Key, text: &str) -> Option<Result<Vec<String>, String>> {
        match key.row().value {
            Value::Service(access) => Some(access.read(self, key.number(), text)),
            Value::Instance(_) => None,
        }
    }

    /// Takes the value of one key from another policy, where that has one. True when it had.
    pub fn take(&mut self, key: Key, from: &Self) -> bool {
        match key.row().value {
            Value::Service(access) => access.take(self, key.number(), from),
            Value::Instance(_) => false,
        }
    }

    /// The value of one key as it is declared; `None`: it is not.
    #[must_use]
    pub fn shown(&self, key: Key) -> Option<String> {
        match key.row().value {
            Value::Service(access) => access.shown(self, key.number()),
            Value::Instance(_) => None,
        }
    }

    /// The order of the values of one key.
    pub(crate) fn compare(&self, other: &Self, key: Key) -> Ordering {
        match key.row().value {
            Value::Service(access) => access.compare(self, other, key.number()),
            Value::Instance(_) => Ordering::Equal,
        }
    }
}

/// Whether a stronger place that declares `keys` leaves no room for a weaker key: any numbered key overrules all of
/// the same row.
fn is_overruled(keys: &BTreeSet<Key>, weaker: Key) -> bool {
    if weaker.row().numbered {
        keys.iter().any(|key| key.numbered(1) == weaker.numbered(1))
    } else {
        keys.contains(&weaker)
    }
}
