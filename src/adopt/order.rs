//! The order of the routes of a host: Envoy's file says it, the bridge derives it from what is more specific, and
//! `priority=` makes up for the difference. Pure.

use crate::model::route::Test;
use crate::model::{Criterion, Paths, RouteRule};
use crate::plan::owners::order;

/// The least priorities with which the routes of a host are tried in the order in which they stand here, as far as
/// that makes a difference.
pub(super) fn priorities(rules: &[&RouteRule]) -> Vec<i32> {
    let paths: Vec<Paths> = rules.iter().map(|rule| rule.matcher.paths()).collect();
    let certain: Vec<usize> = paths.iter().map(Paths::certain).collect();
    let place = |at: usize| order((&paths[at], certain[at]), &rules[at].criteria, true);
    let mut priorities = vec![0; rules.len()];
    for first in (0..rules.len()).rev() {
        for later in first + 1..rules.len() {
            if apart(&paths[first], &paths[later]) || exclusive(rules[first], rules[later]) {
                continue;
            }
            let before = place(first) < place(later);
            let least = priorities[later] + i32::from(!before);
            priorities[first] = priorities[first].max(least);
        }
    }
    priorities
}

/// Whether each of these routes is one that no request reaches, because one before takes exactly the same.
pub(super) fn unreached(rules: &[&RouteRule]) -> Vec<Option<usize>> {
    let same =
        |a: &RouteRule, b: &RouteRule| a.matcher.paths() == b.matcher.paths() && a.criteria == b.criteria;
    let before = |at: usize| rules[..at].iter().position(|rule| same(rule, rules[at]));
    (0..rules.len()).map(before).collect()
}

/// Whether surely no path is one of both.
fn apart(a: &Paths, b: &Paths) -> bool {
    use Paths::{Characters, Exactly, Pattern, Segments};
    let begin = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    match (a, b) {
        (Exactly(a), Exactly(b)) => a != b,
        (Pattern(_), _) | (_, Pattern(_)) => {
            let certain = |paths: &Paths| match paths {
                Pattern(pattern) => crate::model::pattern::beginning(pattern),
                Segments(path) if path == "/" => String::new(),
                paths => paths.text().to_owned(),
            };
            !begin(&certain(a), &certain(b))
        }
        (Segments(path), Characters(characters)) | (Characters(characters), Segments(path)) => {
            !(path.starts_with(characters.as_str()) || a.hold(b) || b.hold(a))
        }
        (Characters(a), Characters(b)) => !begin(a, b),
        _ => !(a.hold(b) || b.hold(a)),
    }
}

/// Whether surely no request fulfils what both ask for.
fn exclusive(a: &RouteRule, b: &RouteRule) -> bool {
    let pairs = a
        .criteria
        .iter()
        .flat_map(|a| b.criteria.iter().map(move |b| (a, b)));
    let mut pairs = pairs;
    pairs.any(|(a, b)| match (a, b) {
        (Criterion::Method { names: a, not: false }, Criterion::Method { names: b, not: false }) => {
            a.iter().all(|method| !b.contains(method))
        }
        (Criterion::Method { names: a, not: false }, Criterion::Method { names: b, not: true })
        | (Criterion::Method { names: b, not: true }, Criterion::Method { names: a, not: false }) => {
            a.iter().all(|method| b.contains(method))
        }
        (
            Criterion::Header { name, test, not },
            Criterion::Header {
                name: other,
                test: other_test,
                not: other_not,
            },
        ) if name == other => match (not, other_not) {
            (false, false) => {
                matches!((test, other_test), (Test::Exact(a), Test::Exact(b)) if a != b)
            }
            (true, false) => test == other_test || *test == Test::Present,
            (false, true) => test == other_test || *other_test == Test::Present,
            (true, true) => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(routes: &[&str]) -> Vec<i32> {
        let rules: Vec<RouteRule> = routes
            .iter()
            .map(|route| RouteRule::parse(route).unwrap())
            .collect();
        priorities(&rules.iter().collect::<Vec<_>>())
    }

    #[test]
    fn only_an_order_that_differs_needs_priorities() {
        assert_eq!(check(&["exact=/a", "path=/a*", "path=/"]), [0, 0, 0]);
        assert_eq!(check(&["path=/a*", "path=/b/c*", "path=/"]), [0, 0, 0]);
        assert_eq!(check(&["path=/a*", "path=/a/b*", "path=/"]), [1, 0, 0]);
        assert_eq!(check(&["path=/", "path=/a*", "exact=/a/b"]), [2, 1, 0]);
        assert_eq!(check(&["path=/a* method=GET", "path=/a/b* method=POST"]), [0, 0]);
        assert_eq!(check(&["regex=.*[.]js", "path=/static/*", "path=/"]), [1, 0, 0]);
        assert_eq!(check(&["path=/a header=x:1", "path=/a/b header=x:2"]), [0, 0]);
        assert_eq!(check(&["path=/a header=x", "path=/a/b header=!x"]), [0, 0]);
        assert_eq!(check(&["path=/a header=x", "path=/a/b header=!x:1"]), [1, 0]);
    }

    #[test]
    fn a_route_behind_the_same_one_is_never_reached() {
        let rules =
            ["path=/a*", "path=/", "path=/a* timeout=1s"].map(|route| RouteRule::parse(route).unwrap());
        assert_eq!(
            unreached(&rules.iter().collect::<Vec<_>>()),
            [None, None, Some(0)]
        );
    }
}
