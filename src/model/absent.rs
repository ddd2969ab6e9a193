//! Which instances of a list another one does not have. Pure.
//!
//! A service may have ten thousands of instances, of which one changes: those that are copies of one another
//! are not looked at.

use std::collections::HashSet;

use super::instance::Instance;

/// Those of `these` whose ids are not among those of `others`, in their order.
pub(crate) fn absent<'a>(these: &'a [Instance], others: &[Instance]) -> Vec<&'a Instance> {
    let (ours, theirs) = differing(these, others);
    let mut absent = without(ours.iter().collect(), theirs);
    if !absent.is_empty() && theirs.len() < others.len() {
        // An id may stand in a list twice.
        absent = without(absent, others);
    }
    absent
}

/// Both lists without their common beginning and end.
fn differing<'a, 'b>(mut a: &'a [Instance], mut b: &'b [Instance]) -> (&'a [Instance], &'b [Instance]) {
    while let ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) = (a, b)
        && first_a.is_copy_of(first_b)
    {
        (a, b) = (rest_a, rest_b);
    }
    while let ([rest_a @ .., last_a], [rest_b @ .., last_b]) = (a, b)
        && last_a.is_copy_of(last_b)
    {
        (a, b) = (rest_a, rest_b);
    }
    (a, b)
}

fn without<'a>(mut these: Vec<&'a Instance>, others: &[Instance]) -> Vec<&'a Instance> {
    let same_ids = these.len() == others.len() && these.iter().zip(others).all(|(a, b)| a.id == b.id);
    if same_ids {
        return Vec::new();
    }
    let ids: HashSet<&str> = others.iter().map(|i| &*i.id).collect();
    these.retain(|i| !ids.contains(&*i.id));
    these
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists() -> impl Strategy<Value = (Vec<Instance>, Vec<Instance>)> {
        let all: Vec<Instance> = (0..6_u16)
            .map(|n| Instance::new((n % 4).to_string(), ([10, 0, 0, 1], n + 1).into()))
            .collect();
        let list = proptest::collection::vec(proptest::sample::select(all), 0..8);
        // Changed copies of one list, as a registry has them, and lists that have little in common.
        let changed = (list.clone(), 0..8_usize, list.clone()).prop_map(|(list, at, new)| {
            let at = at.min(list.len());
            let mut other = list.clone();
            other.splice(at..(at + 1).min(list.len()), new.into_iter().take(1));
            (list, other)
        });
        prop_oneof![changed, (list.clone(), list)]
    }

    proptest! {
        #[test]
        fn it_is_what_a_set_of_all_ids_says((these, others) in lists()) {
            let ids: HashSet<&str> = others.iter().map(|i| &*i.id).collect();
            let plain: Vec<&Instance> = these.iter().filter(|i| !ids.contains(&*i.id)).collect();
            prop_assert_eq!(absent(&these, &others), plain);
        }
    }
}
