//! Fleets that see a part of the resources: which view a fleet has, which views a resource is in, and which of them a
//! change concerns. The engine does not know what decides that.

use std::sync::Arc;

/// The view of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// What all fleets of a rule see.
    pub section: Arc<str>,
    /// Beside that, what is for its fleet by name.
    pub own: bool,
}

/// Which view each fleet has. A fleet without one sees everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ViewRules(Vec<(Arc<str>, bool)>);

impl ViewRules {
    /// Of names and beginnings of names (`web-*`), each with [`View::own`].
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = (Arc<str>, bool)>) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        rules.sort_by_key(|(pattern, _)| (pattern.ends_with('*'), std::cmp::Reverse(pattern.len())));
        Self(rules)
    }

    /// The view of a fleet: a name counts before a pattern, a longer pattern before a shorter one.
    #[must_use]
    pub fn of(&self, fleet: &str) -> Option<View> {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => fleet.starts_with(start),
            None => pattern == fleet,
        };
        let (section, own) = self.0.iter().find(|(pattern, _)| fits(pattern))?;
        Some(View {
            section: section.clone(),
            own: *own,
        })
    }

    /// Whether each fleet sees everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The views that something is in. Both lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Those of these rules.
    pub sections: Box<[Arc<str>]>,
    /// Those of these fleets by name, see [`View::own`].
    pub fleets: Box<[Arc<str>]>,
}

impl Audience {
    /// Of names in any order.
    #[must_use]
    pub fn new(mut sections: Vec<Arc<str>>, mut fleets: Vec<Arc<str>>) -> Self {
        for names in [&mut sections, &mut fleets] {
            names.sort_unstable();
            names.dedup();
        }
        Self {
            sections: sections.into(),
            fleets: fleets.into(),
        }
    }

    /// Whether a client of this fleet, with this view, may see it.
    #[must_use]
    pub fn admits(&self, view: &View, fleet: &str) -> bool {
        self.sections.binary_search(&view.section).is_ok()
            || (view.own && self.fleets.binary_search_by(|known| (**known).cmp(fleet)).is_ok())
    }
}

/// Whom a change of one resource concerns.
#[derive(Clone, Debug)]
pub(super) struct Concern {
    /// Clients without a view.
    pub(super) others: bool,
    pub(super) views: Vec<Seen>,
}

/// Clients with a view; `None`: all views.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// Of one of these.
    By(Option<Arc<Audience>>),
    /// Of one of the two and not of the other: only that is different.
    ByOneOf(Option<Arc<Audience>>, Option<Arc<Audience>>),
}

impl Concern {
    /// Everybody.
    pub(super) fn all() -> Self {
        Self {
            others: true,
            views: vec![Seen::By(None)],
        }
    }

    /// Whether a client of this fleet is concerned.
    pub(super) fn is_for(&self, view: Option<&View>, fleet: &str) -> bool {
        let Some(view) = view else { return self.others };
        let admits = |audience: &Option<Arc<Audience>>| {
            let audience = audience.as_ref();
            audience.is_none_or(|audience| audience.admits(view, fleet))
        };
        self.views.iter().any(|seen| match seen {
            Seen::By(audience) => admits(audience),
            Seen::ByOneOf(one, other) => admits(one) != admits(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ViewRules {
        ViewRules::new([
            ("*".into(), true),
            ("web-*".into(), false),
            ("web-a".into(), true),
        ])
    }

    #[test]
    fn a_name_comes_before_a_pattern_and_a_longer_one_before_a_shorter() {
        let of = |fleet| rules().of(fleet).map(|view| (view.section.to_string(), view.own));
        assert_eq!(of("web-a"), Some(("web-a".to_owned(), true)));
        assert_eq!(of("web-b"), Some(("web-*".to_owned(), false)));
        assert_eq!(of("orders"), Some(("*".to_owned(), true)));
        assert_eq!(ViewRules::default().of("orders"), None);
    }

    #[test]
    fn a_fleet_by_name_counts_only_where_the_rule_says_so() {
        let audience = Audience::new(vec!["web-*".into()], vec!["web-b".into(), "orders".into()]);
        let admits = |fleet: &str| audience.admits(&rules().of(fleet).unwrap(), fleet);
        assert!(admits("web-b") && admits("web-c") && admits("orders"));
        assert!(!admits("web-a") && !admits("stock"));
        let own = Audience::new(Vec::new(), vec!["web-b".into()]);
        assert!(!own.admits(&rules().of("web-b").unwrap(), "web-b"));
    }
}
