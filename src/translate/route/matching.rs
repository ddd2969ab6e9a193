//! Which requests a route takes.

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

use crate::model::route::Test;
use crate::model::route::criterion::{authority_expression, cookie_expression};
use crate::model::{Criterion, Paths};
use crate::plan::Claim;

/// The match of a claim's route.
pub(super) fn matching(claim: &Claim) -> RouteMatch {
    let path = match claim.matcher.paths() {
        Paths::Exactly(path) => PathSpecifier::Path(path),
        // What Envoy calls a separated prefix ends with no slash; everything is below the root.
        Paths::Segments(path) if path != "/" => PathSpecifier::PathSeparatedPrefix(path),
        Paths::Segments(path) | Paths::Characters(path) => PathSpecifier::Prefix(path),
        Paths::Pattern(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    RouteMatch {
        path_specifier: Some(path),
        headers: claim.criteria.iter().filter_map(header).collect(),
        query_parameters: claim.criteria.iter().filter_map(query).collect(),
        ..RouteMatch::default()
    }
}

pub(super) fn regex(pattern: String) -> RegexMatcher {
    RegexMatcher {
        regex: pattern,
        ..RegexMatcher::default()
    }
}

/// `None`: the value is not compared.
fn compared(test: &Test) -> Option<StringMatcher> {
    let pattern = match test.clone() {
        Test::Present => return None,
        Test::Exact(value) => MatchPattern::Exact(value),
        Test::Prefix(value) => MatchPattern::Prefix(value),
        Test::Regex(value) => MatchPattern::SafeRegex(regex(value)),
    };
    Some(StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    })
}

fn header(criterion: &Criterion) -> Option<HeaderMatcher> {
    let (name, test, not) = match criterion {
        Criterion::Method { names, not } => (":method", method(names), *not),
        Criterion::Authority { regex, not } => (":authority", Test::Regex(authority_expression(regex)), *not),
        Criterion::Url { regex, not } => (":path", Test::Regex(regex.clone()), *not),
        Criterion::Header { name, test, not } => (name.as_str(), test.clone(), *not),
        Criterion::Cookie { name, test } => ("cookie", Test::Regex(cookie_expression(name, test)), false),
        Criterion::Query { .. } => return None,
    };
    let specifier = match compared(&test) {
        None => HeaderMatchSpecifier::PresentMatch(true),
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
    };
    Some(HeaderMatcher {
        name: name.to_owned(),
        invert_match: not,
        // Else a request without the header would fail `!name:value`, which it fulfils.
        treat_missing_header_as_empty: not && test != Test::Present,
        header_match_specifier: Some(specifier),
    })
}

fn method(methods: &[String]) -> Test {
    match methods {
        [one] => Test::Exact(one.clone()),
        many => Test::Regex(many.join("|")),
    }
}

fn query(criterion: &Criterion) -> Option<QueryParameterMatcher> {
    let Criterion::Query { name, test } = criterion else {
        return None;
    };
    let specifier = match compared(test) {
        None => QueryParameterMatchSpecifier::PresentMatch(true),
        Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
    };
    Some(QueryParameterMatcher {
        name: name.clone(),
        query_parameter_match_specifier: Some(specifier),
    })
}
