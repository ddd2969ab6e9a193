//! Routes that no request reaches, because an earlier one of the same host takes all that they would take. Pure.
//!
//! Says so only where it is certain: two routes that together take everything, and expressions that are not plain
//! words, are left unmarked.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, Route, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

/// The earlier route that takes all requests of the one at `at`.
pub(super) fn by(routes: &[Route], at: usize) -> Option<&Route> {
    let (earlier, rest) = routes.split_at_checked(at)?;
    let later = rest.first()?.r#match.as_ref()?;
    earlier.iter().find(|route| {
        let taker = route.r#match.as_ref();
        taker.is_some_and(|taker| takes_all(taker, later))
    })
}

/// Whether each request that `later` takes is one that `earlier` takes, too.
fn takes_all(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    // What says something that is not compared here takes all of nothing, but of its like.
    let others = |route: &RouteMatch| RouteMatch {
        path_specifier: None,
        case_sensitive: None,
        headers: Vec::new(),
        query_parameters: Vec::new(),
        ..route.clone()
    };
    // A fraction takes some requests of those that fit.
    earlier.runtime_fraction.is_none()
        && path(earlier, later)
        && earlier
            .headers
            .iter()
            .all(|wide| later.headers.iter().any(|narrow| header(wide, narrow)))
        && earlier.query_parameters.iter().all(|wide| {
            later
                .query_parameters
                .iter()
                .any(|narrow| parameter(wide, narrow))
        })
        && (others(earlier) == RouteMatch::default() || others(earlier) == others(later))
}

fn path(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    let any_case = |route: &RouteMatch| route.case_sensitive.as_ref().is_some_and(|is| !is.value);
    let Some(wide) = &earlier.path_specifier else {
        return true;
    };
    let Some(narrow) = &later.path_specifier else {
        return matches!(wide, PathSpecifier::Prefix(path) if path == "/" || path.is_empty());
    };
    match (any_case(earlier), any_case(later)) {
        (true, _) => contains(&lower(wide), &lower(narrow)),
        (false, false) => contains(wide, narrow),
        // It takes other spellings as well, of which only a path without letters has none.
        (false, true) => lower(wide) == upper(wide) && contains(wide, &lower(narrow)),
    }
}

/// Whether each path of `narrow` is one of `wide`, spelled as they are.
fn contains(wide: &PathSpecifier, narrow: &PathSpecifier) -> bool {
    match (wide, narrow) {
        (PathSpecifier::SafeRegex(wide), _) if matches!(wide.regex.as_str(), ".*" | "/.*") => true,
        (PathSpecifier::Prefix(wide), _) if wide == "/" || wide.is_empty() => true,
        (
            PathSpecifier::Prefix(wide),
            PathSpecifier::Prefix(path)
            | PathSpecifier::Path(path)
            | PathSpecifier::PathSeparatedPrefix(path),
        ) => path.starts_with(wide.as_str()),
        (
            PathSpecifier::PathSeparatedPrefix(wide),
            PathSpecifier::Path(path) | PathSpecifier::PathSeparatedPrefix(path),
        ) => {
            let rest = path.strip_prefix(wide.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (PathSpecifier::PathSeparatedPrefix(wide), PathSpecifier::Prefix(path)) => {
            let rest = path.strip_prefix(wide.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        }
        (wide, narrow) => wide == narrow,
    }
}

fn lower(path: &PathSpecifier) -> PathSpecifier {
    spelled(path, str::to_ascii_lowercase)
}

fn upper(path: &PathSpecifier) -> PathSpecifier {
    spelled(path, str::to_ascii_uppercase)
}

fn spelled(path: &PathSpecifier, how: fn(&str) -> String) -> PathSpecifier {
    match path {
        PathSpecifier::Path(path) => PathSpecifier::Path(how(path)),
        PathSpecifier::Prefix(path) => PathSpecifier::Prefix(how(path)),
        PathSpecifier::PathSeparatedPrefix(path) => PathSpecifier::PathSeparatedPrefix(how(path)),
        other => other.clone(),
    }
}

/// How a value is compared.
enum Compared {
    /// It is there, whatever it is.
    There,
    Text(StringMatcher),
    /// In a way that is not compared here.
    Otherwise,
}

/// Whether whatever fits `narrow` fits `wide`.
fn header(wide: &HeaderMatcher, narrow: &HeaderMatcher) -> bool {
    if wide == narrow {
        return true;
    }
    // What also fits a request without the header says nothing of its value.
    let says = !narrow.invert_match && !narrow.treat_missing_header_as_empty;
    if wide.name != narrow.name || !says {
        return false;
    }
    match (header_is(wide), header_is(narrow)) {
        (Compared::There, Compared::There | Compared::Text(_)) => !wide.invert_match,
        (Compared::Text(not), Compared::Text(only)) if wide.invert_match => {
            match (words(&not), words(&only)) {
                (Some(not), Some(only)) => not.is_disjoint(&only),
                _ => false,
            }
        }
        (Compared::Text(wide), Compared::Text(narrow)) => text(&wide, &narrow),
        _ => false,
    }
}

#[expect(deprecated, reason = "what gRPC's own clients are sent")]
fn header_is(matcher: &HeaderMatcher) -> Compared {
    match &matcher.header_match_specifier {
        None | Some(HeaderMatchSpecifier::PresentMatch(true)) => Compared::There,
        Some(HeaderMatchSpecifier::StringMatch(text)) => Compared::Text(text.clone()),
        Some(HeaderMatchSpecifier::ExactMatch(text)) => Compared::Text(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(text.clone())),
            ..StringMatcher::default()
        }),
        Some(_) => Compared::Otherwise,
    }
}

fn parameter(wide: &QueryParameterMatcher, narrow: &QueryParameterMatcher) -> bool {
    let is = |matcher: &QueryParameterMatcher| match &matcher.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => Compared::There,
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => Compared::Text(text.clone()),
        Some(_) => Compared::Otherwise,
    };
    if wide == narrow {
        return true;
    }
    wide.name == narrow.name
        && match (is(wide), is(narrow)) {
            (Compared::There, Compared::There | Compared::Text(_)) => true,
            (Compared::Text(wide), Compared::Text(narrow)) => text(&wide, &narrow),
            _ => false,
        }
}

/// Whether each text that fits `narrow` fits `wide`.
fn text(wide: &StringMatcher, narrow: &StringMatcher) -> bool {
    if wide == narrow {
        return true;
    }
    if wide.ignore_case || narrow.ignore_case {
        return false;
    }
    if let (Some(wide), Some(narrow)) = (words(wide), words(narrow)) {
        return narrow.is_subset(&wide);
    }
    let Some(MatchPattern::Prefix(begin)) = &wide.match_pattern else {
        return false;
    };
    match (words(narrow), &narrow.match_pattern) {
        (Some(words), _) => words.iter().all(|word| word.starts_with(begin.as_str())),
        (None, Some(MatchPattern::Prefix(path))) => path.starts_with(begin.as_str()),
        _ => false,
    }
}

/// All texts that fit, where they can be counted: `GET`, or `GET|POST`.
fn words(matcher: &StringMatcher) -> Option<BTreeSet<&str>> {
    match &matcher.match_pattern {
        _ if matcher.ignore_case => None,
        Some(MatchPattern::Exact(text)) => Some(BTreeSet::from([text.as_str()])),
        Some(MatchPattern::SafeRegex(regex)) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'|');
            regex
                .regex
                .bytes()
                .all(plain)
                .then(|| regex.regex.split('|').collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
    use envoy_types::pb::google::protobuf::BoolValue;
    use proptest::prelude::*;

    use super::super::Request;
    use super::super::matching::misfit;
    use super::*;

    fn paths() -> impl Strategy<Value = Option<PathSpecifier>> {
        let path = prop::sample::select(vec!["/", "/a", "/A", "/ab", "/a/b", "/a/", "/a/b/c"]);
        (0..5, path).prop_map(|(kind, path)| {
            let path = path.to_owned();
            Some(match kind {
                0 => PathSpecifier::Path(path),
                1 => PathSpecifier::Prefix(path),
                2 if path != "/" => PathSpecifier::PathSeparatedPrefix(path.trim_end_matches('/').to_owned()),
                3 => PathSpecifier::SafeRegex(RegexMatcher {
                    regex: format!("{path}.*"),
                    ..RegexMatcher::default()
                }),
                _ => return None,
            })
        })
    }

    fn texts() -> impl Strategy<Value = StringMatcher> {
        let text = prop::sample::select(vec!["x", "xy", "x|y", "y", "xyz|x"]);
        (0..4, text).prop_map(|(kind, text)| StringMatcher {
            match_pattern: Some(match kind {
                0 => MatchPattern::Exact(text.replace('|', "")),
                1 => MatchPattern::Prefix(text.replace('|', "")),
                _ => MatchPattern::SafeRegex(RegexMatcher {
                    regex: text.to_owned(),
                    ..RegexMatcher::default()
                }),
            }),
            ignore_case: false,
        })
    }

    fn headers() -> impl Strategy<Value = Vec<HeaderMatcher>> {
        let name = prop::sample::select(vec!["h", "g"]);
        let one = (name, prop::option::of(texts()), any::<bool>(), any::<bool>()).prop_map(
            |(name, text, not, empty)| HeaderMatcher {
                name: name.to_owned(),
                invert_match: not,
                treat_missing_header_as_empty: empty && text.is_some(),
                header_match_specifier: Some(match text {
                    None => HeaderMatchSpecifier::PresentMatch(true),
                    Some(text) => HeaderMatchSpecifier::StringMatch(text),
                }),
            },
        );
        prop::collection::vec(one, 0..3)
    }

    fn parameters() -> impl Strategy<Value = Vec<QueryParameterMatcher>> {
        let one = prop::option::of(texts()).prop_map(|text| QueryParameterMatcher {
            name: "q".to_owned(),
            query_parameter_match_specifier: Some(match text {
                None => QueryParameterMatchSpecifier::PresentMatch(true),
                Some(text) => QueryParameterMatchSpecifier::StringMatch(text),
            }),
        });
        prop::collection::vec(one, 0..2)
    }

    fn routes() -> impl Strategy<Value = RouteMatch> {
        (paths(), headers(), parameters()).prop_map(|(path_specifier, headers, query_parameters)| {
            RouteMatch {
                path_specifier,
                headers,
                query_parameters,
                ..RouteMatch::default()
            }
        })
    }

    fn requests() -> impl Strategy<Value = Request> {
        let path = prop::sample::select(vec![
            "/", "/a", "/A", "/ab", "/a/b", "/a/", "/a/b/c", "/a/b/cd", "/z",
        ]);
        let value = || prop::option::of(prop::sample::select(vec!["x", "xy", "y", "xyz", "z", ""]));
        (path, value(), value(), value()).prop_map(|(path, h, g, q)| Request {
            method: "GET".to_owned(),
            tls: false,
            host: "a".to_owned(),
            port: None,
            path: path.to_owned(),
            query: q.map(|value| format!("q={value}")),
            headers: [("h", h), ("g", g)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            max_global_rejects: 1_000_000,
            ..ProptestConfig::with_cases(500)
        })]
        #[test]
        fn what_takes_all_of_a_route_takes_each_request_of_it(
            wide in routes(),
            narrow in routes(),
            requests in prop::collection::vec(requests(), 20),
        ) {
            prop_assume!(takes_all(&wide, &narrow));
            for request in requests {
                if misfit(&narrow, &request).is_none() {
                    prop_assert_eq!(misfit(&wide, &request), None, "{:?}", request);
                }
            }
        }
    }

    fn at(path: PathSpecifier) -> RouteMatch {
        RouteMatch {
            path_specifier: Some(path),
            ..RouteMatch::default()
        }
    }

    fn with(name: &str, pattern: MatchPattern) -> RouteMatch {
        let text = StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        };
        RouteMatch {
            headers: vec![HeaderMatcher {
                name: name.to_owned(),
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(text)),
                ..HeaderMatcher::default()
            }],
            ..at(PathSpecifier::Prefix("/a".to_owned()))
        }
    }

    #[test]
    fn a_wider_route_takes_all_of_a_narrower_one() {
        let prefix = |path: &str| at(PathSpecifier::Prefix(path.to_owned()));
        let below = |path: &str| at(PathSpecifier::PathSeparatedPrefix(path.to_owned()));
        let exact = |path: &str| at(PathSpecifier::Path(path.to_owned()));
        let any = |regex: &str| {
            at(PathSpecifier::SafeRegex(RegexMatcher {
                regex: regex.to_owned(),
                ..RegexMatcher::default()
            }))
        };
        let methods = |names: &str| {
            with(
                ":method",
                MatchPattern::SafeRegex(RegexMatcher {
                    regex: names.to_owned(),
                    ..RegexMatcher::default()
                }),
            )
        };
        let get = with(":method", MatchPattern::Exact("GET".to_owned()));
        for (wide, narrow, all) in [
            (prefix("/"), any("/x[0-9]"), true),
            (any("/.*"), prefix("/x"), true),
            (prefix("/a"), exact("/abc"), true),
            (below("/a"), exact("/abc"), false),
            (below("/a"), below("/a/b"), true),
            (below("/a"), prefix("/a"), false),
            (exact("/a"), exact("/a"), true),
            (exact("/a"), below("/a"), false),
            (methods("GET|POST"), get.clone(), true),
            (get.clone(), methods("GET|POST"), false),
            (prefix("/a"), get.clone(), true),
            (get, prefix("/a"), false),
        ] {
            assert_eq!(takes_all(&wide, &narrow), all, "{wide:?} {narrow:?}");
        }
        let mut insensitive = exact("/A");
        insensitive.case_sensitive = Some(BoolValue { value: false });
        assert!(takes_all(&insensitive, &exact("/a")) && !takes_all(&exact("/A"), &insensitive));
        let mut some = prefix("/");
        some.runtime_fraction = Some(Default::default());
        assert!(!takes_all(&some, &prefix("/")), "a part of the requests goes on");
    }
}
