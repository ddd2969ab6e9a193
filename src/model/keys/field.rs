//! How the value of a key is read into its place, compared and shown, whatever its type is. Pure.

use std::cmp::Ordering;

use super::values::{MAX_IMPORTED_ROUTES, MAX_ROUTES};
use crate::model::policy::Policy;
use crate::model::route::RouteRule;

/// Access to the value of one key in `O`. `number` is that of a numbered key, 1 for any other.
pub(super) trait Access<O>: Sync {
    /// Reads a declared value into its place. The answer is what to warn of in a value that counts all the same.
    fn read(&self, owner: &mut O, number: u32, text: &str) -> Result<Vec<String>, String>;

    /// Calls `found` with each number that has a value.
    fn each(&self, owner: &O, found: &mut dyn FnMut(u32));

    /// Copies the value from another owner, if that has one. True when it had.
    fn take(&self, owner: &mut O, number: u32, from: &O) -> bool;

    /// The value as it is declared.
    fn shown(&self, owner: &O, number: u32) -> Option<String>;

    /// The order of two values.
    fn compare(&self, a: &O, b: &O, number: u32) -> Ordering;
}

/// A key with one value of type `T`.
pub(super) struct Field<O, T> {
    /// Where it is.
    pub(super) get: fn(&O) -> &Option<T>,
    /// The same, to be written.
    pub(super) set: fn(&mut O) -> &mut Option<T>,
    /// Reads a declared value; `None`: it is empty, which is the same as not declared.
    pub(super) read: fn(&str) -> Result<Option<T>, String>,
    /// The value as it is declared.
    pub(super) show: fn(&T) -> String,
}

impl<O, T: Clone + Ord> Access<O> for Field<O, T> {
    fn read(&self, owner: &mut O, _: u32, text: &str) -> Result<Vec<String>, String> {
        let Some(value) = (self.read)(text)? else {
            return Ok(vec!["is empty: the same as not declared".to_owned()]);
        };
        *(self.set)(owner) = Some(value);
        Ok(Vec::new())
    }

    fn each(&self, owner: &O, found: &mut dyn FnMut(u32)) {
        if (self.get)(owner).is_some() {
            found(1);
        }
    }

    fn take(&self, owner: &mut O, _: u32, from: &O) -> bool {
        let value = (self.get)(from);
        if value.is_some() {
            (self.set)(owner).clone_from(value);
        }
        value.is_some()
    }

    fn shown(&self, owner: &O, _: u32) -> Option<String> {
        (self.get)(owner).as_ref().map(self.show)
    }

    fn compare(&self, a: &O, b: &O, _: u32) -> Ordering {
        (self.get)(a).cmp((self.get)(b))
    }
}

/// `route`, `route-2`, …
pub(super) struct Routes;

impl Access<Policy> for Routes {
    fn read(&self, policy: &mut Policy, number: u32, text: &str) -> Result<Vec<String>, String> {
        let (count, is_new) = (policy.routes.len(), !policy.routes.contains_key(&number));
        if count >= MAX_IMPORTED_ROUTES && is_new {
            return Err(format!("more than {MAX_IMPORTED_ROUTES} routes"));
        }
        let (rule, warnings) = RouteRule::read(text)?;
        if count >= MAX_ROUTES && is_new && rule.imported.is_none() {
            return Err(format!("more than {MAX_ROUTES} routes"));
        }
        policy.routes.insert(number, rule);
        Ok(warnings)
    }

    fn each(&self, policy: &Policy, found: &mut dyn FnMut(u32)) {
        policy.routes.keys().copied().for_each(found);
    }

    fn take(&self, policy: &mut Policy, number: u32, from: &Policy) -> bool {
        let rule = from.routes.get(&number);
        if let Some(rule) = rule {
            policy.routes.insert(number, rule.clone());
        }
        rule.is_some()
    }

    fn shown(&self, policy: &Policy, number: u32) -> Option<String> {
        policy.routes.get(&number).map(ToString::to_string)
    }

    fn compare(&self, a: &Policy, b: &Policy, number: u32) -> Ordering {
        a.routes.get(&number).cmp(&b.routes.get(&number))
    }
}
