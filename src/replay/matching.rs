//! Whether a route takes a request, and what does not fit where it does not. Pure.

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use regex::RegexBuilder;

use super::Request;
use crate::text::clip;

/// A compiled expression takes at most this, bytes.
const EXPRESSION: usize = 4 << 20;

/// What of a request does not fit. `None`: the route takes it.
pub(super) fn misfit(route: &RouteMatch, request: &Request) -> Option<String> {
    let path = &request.path;
    let bad_path = match &route.path_specifier {
        None => None,
        Some(PathSpecifier::Path(exact)) => {
            (path != exact).then(|| format!("the path is not `{}`", clip(exact)))
        }
        Some(PathSpecifier::Prefix(prefix)) => (!path.starts_with(prefix.as_str()))
            .then(|| format!("the path does not begin with `{}`", clip(prefix))),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let rest = path.strip_prefix(prefix.as_str());
            let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            (!below).then(|| format!("the path is not `{0}`, and not below `{0}/`", clip(prefix)))
        }
        Some(PathSpecifier::SafeRegex(regex)) => match fits(&regex.regex, path) {
            Some(true) => None,
            Some(false) => Some(format!("the path does not fit `{}`", clip(&regex.regex))),
            None => Some(unknown(&regex.regex)),
        },
        Some(_) => Some("its path is compared in a way that is not known here".to_owned()),
    };
    bad_path
        .or_else(|| {
            route
                .headers
                .iter()
                .find_map(|header| bad_header(header, request))
        })
        .or_else(|| {
            let mut parameters = route.query_parameters.iter();
            parameters.find_map(|parameter| bad_parameter(parameter, request))
        })
}

fn unknown(regex: &str) -> String {
    format!("whether `{}` fits cannot be checked here", clip(regex))
}

/// Whether the whole of a text fits. `None`: the expression is not understood.
fn fits(expression: &str, text: &str) -> Option<bool> {
    let whole = format!("^(?s:{expression})$");
    let regex = RegexBuilder::new(&whole).size_limit(EXPRESSION).build().ok()?;
    Some(regex.is_match(text))
}

fn named(header: &str) -> String {
    match header {
        ":method" => "the method".to_owned(),
        ":authority" => "the host".to_owned(),
        ":path" => "the path with its query".to_owned(),
        name => format!("the header `{}`", clip(name)),
    }
}

#[expect(deprecated, reason = "what gRPC's own clients are sent")]
fn bad_header(matcher: &HeaderMatcher, request: &Request) -> Option<String> {
    let name = named(&matcher.name);
    let value = request.header(&matcher.name);
    let value = value.or_else(|| matcher.treat_missing_header_as_empty.then(String::new));
    let (fits, wanted) = match &matcher.header_match_specifier {
        None => (value.is_some(), "there".to_owned()),
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => {
            let is = value.is_some() == *wanted;
            (is, if *wanted { "there" } else { "missing" }.to_owned())
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => {
            (value.as_ref() == Some(text), format!("`{}`", clip(text)))
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            let wanted = describe(matcher);
            match &value {
                None => (false, wanted),
                Some(value) => match compare(matcher, value) {
                    Some(fits) => (fits, wanted),
                    None => return Some(format!("{name}: {}", unknown(&wanted))),
                },
            }
        }
        Some(_) => return Some(format!("{name} is compared in a way that is not known here")),
    };
    if fits != matcher.invert_match {
        return None;
    }
    let is = match value {
        None => "is missing".to_owned(),
        Some(value) => format!("is `{}`", clip(&value)),
    };
    let not = if matcher.invert_match { "not " } else { "" };
    Some(format!("{name} {is}, and must {not}be {wanted}"))
}

fn bad_parameter(matcher: &QueryParameterMatcher, request: &Request) -> Option<String> {
    let value = request.parameter(&matcher.name);
    let name = format!("the parameter `{}`", clip(&matcher.name));
    let (fits, wanted) = match (&matcher.query_parameter_match_specifier, value) {
        (Some(QueryParameterMatchSpecifier::StringMatch(matcher)), Some(value)) => {
            match compare(matcher, value) {
                Some(fits) => (fits, describe(matcher)),
                None => return Some(format!("{name}: {}", unknown(&describe(matcher)))),
            }
        }
        (Some(QueryParameterMatchSpecifier::StringMatch(matcher)), None) => (false, describe(matcher)),
        (_, value) => (value.is_some(), "there".to_owned()),
    };
    let is = match value {
        None => "is missing".to_owned(),
        Some(value) => format!("is `{}`", clip(value)),
    };
    (!fits).then(|| format!("{name} {is}, and must be {wanted}"))
}

/// `None`: not known here.
fn compare(matcher: &StringMatcher, value: &str) -> Option<bool> {
    let value = if matcher.ignore_case {
        value.to_ascii_lowercase()
    } else {
        value.to_owned()
    };
    let wanted = |text: &String| {
        if matcher.ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.clone()
        }
    };
    match matcher.match_pattern.as_ref()? {
        MatchPattern::Exact(text) => Some(value == wanted(text)),
        MatchPattern::Prefix(text) => Some(value.starts_with(&wanted(text))),
        MatchPattern::Suffix(text) => Some(value.ends_with(&wanted(text))),
        MatchPattern::Contains(text) => Some(value.contains(&wanted(text))),
        MatchPattern::SafeRegex(regex) => fits(&regex.regex, &value),
        MatchPattern::Custom(_) => None,
    }
}

fn describe(matcher: &StringMatcher) -> String {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("`{}`", clip(text)),
        Some(MatchPattern::Prefix(text)) => format!("something that begins with `{}`", clip(text)),
        Some(MatchPattern::Suffix(text)) => format!("something that ends with `{}`", clip(text)),
        Some(MatchPattern::Contains(text)) => format!("something with `{}` in it", clip(text)),
        Some(MatchPattern::SafeRegex(regex)) => format!("something that fits `{}`", clip(&regex.regex)),
        Some(MatchPattern::Custom(_)) | None => "something else".to_owned(),
    }
}

/// A route in words that are close to those of a declaration.
#[expect(deprecated, reason = "what gRPC's own clients are sent")]
pub(super) fn in_words(route: &RouteMatch) -> String {
    let path = match &route.path_specifier {
        None => "path=/".to_owned(),
        Some(PathSpecifier::Path(path)) => format!("exact={path}"),
        Some(PathSpecifier::Prefix(path)) if path == "/" => "path=/".to_owned(),
        Some(PathSpecifier::Prefix(path)) => format!("path={path}*"),
        Some(PathSpecifier::PathSeparatedPrefix(path)) => format!("path={path}"),
        Some(PathSpecifier::SafeRegex(regex)) => format!("regex={}", regex.regex),
        Some(_) => "path=?".to_owned(),
    };
    let mut words = vec![path];
    for header in &route.headers {
        let not = if header.invert_match { "!" } else { "" };
        let (how, value) = match &header.header_match_specifier {
            Some(HeaderMatchSpecifier::StringMatch(matcher)) => word(matcher),
            Some(HeaderMatchSpecifier::ExactMatch(text)) => ("", Some(text.clone())),
            _ => ("", None),
        };
        let value = value.unwrap_or_default();
        words.push(match header.name.as_str() {
            ":method" => format!("method={not}{}", value.replace('|', ",")),
            ":authority" => format!("authority-regex={not}{value}"),
            ":path" => format!("url-regex={not}{value}"),
            name if value.is_empty() => format!("header{how}={not}{name}"),
            name => format!("header{how}={not}{name}:{value}"),
        });
    }
    for parameter in &route.query_parameters {
        let (how, value) = match &parameter.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => word(matcher),
            _ => ("", None),
        };
        words.push(match value {
            None => format!("query{how}={}", parameter.name),
            Some(value) => format!("query{how}={}:{value}", parameter.name),
        });
    }
    words.join(" ")
}

fn word(matcher: &StringMatcher) -> (&'static str, Option<String>) {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => ("", Some(text.clone())),
        Some(MatchPattern::Prefix(text)) => ("-prefix", Some(text.clone())),
        Some(MatchPattern::SafeRegex(regex)) => ("-regex", Some(regex.regex.clone())),
        _ => ("", None),
    }
}
