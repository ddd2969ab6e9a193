//! Headers that a route writes, and what browsers are allowed.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Any, BoolValue};

use super::super::any::pack;
use super::super::filters::CORS;
use super::super::filters::guard::guards;
use super::matching::regex;
use crate::model::Extras;
use crate::model::route::cors::{Cors, expression};
use crate::model::route::headers::{How, Side};

/// The headers that a route changes.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) request: Headers,
    pub(super) response: Headers,
}

/// On one way.
#[derive(Default)]
pub(super) struct Headers {
    pub(super) added: Vec<HeaderValueOption>,
    pub(super) removed: Vec<String>,
}

impl Changes {
    pub(super) fn of(extras: Option<&Extras>) -> Self {
        let mut changes = Self::default();
        for change in extras.into_iter().flat_map(|extras| &extras.headers) {
            let headers = match change.of {
                Side::Request => &mut changes.request,
                Side::Response => &mut changes.response,
            };
            let action = match change.how {
                How::Remove => {
                    headers.removed.push(change.name.clone());
                    continue;
                }
                How::Set => HeaderAppendAction::OverwriteIfExistsOrAdd,
                How::Add => HeaderAppendAction::AppendIfExistsOrAdd,
                How::Default => HeaderAppendAction::AddIfAbsent,
            };
            headers.added.push(HeaderValueOption {
                header: Some(HeaderValue {
                    key: change.name.clone(),
                    value: change.value.clone(),
                    ..HeaderValue::default()
                }),
                append_action: action as i32,
                keep_empty_value: change.value.is_empty(),
                ..HeaderValueOption::default()
            });
        }
        changes
    }
}

/// Tells clients that HTTP/3 is served at this port, for a day, unless the server says something of that itself.
pub(super) fn served_by_http3(port: u16) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: "alt-svc".to_owned(),
            value: format!("h3=\":{port}\"; ma=86400"),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::AddIfAbsent as i32,
        ..HeaderValueOption::default()
    }
}

/// What a route says to the filters of its listener, by their names.
pub(super) fn filters(extras: Option<&Extras>) -> BTreeMap<String, Any> {
    let Some(extras) = extras else {
        return BTreeMap::new();
    };
    let mut all = guards(extras);
    all.extend(
        extras
            .cors
            .as_ref()
            .map(|wanted| (CORS.to_owned(), pack(&cors(wanted)))),
    );
    all
}

fn cors(cors: &Cors) -> CorsPolicy {
    CorsPolicy {
        allow_origin_string_match: cors.origins.iter().map(|origin| allowed(origin)).collect(),
        allow_methods: cors.methods.join(","),
        allow_headers: cors.headers.join(","),
        expose_headers: cors.expose.join(","),
        max_age: cors
            .max_age
            .map_or_else(String::new, |time| time.as_secs().to_string()),
        allow_credentials: cors.credentials.then_some(BoolValue { value: true }),
        ..CorsPolicy::default()
    }
}

fn allowed(origin: &str) -> StringMatcher {
    let pattern = match expression(origin) {
        _ if origin == "*" => MatchPattern::SafeRegex(regex(".*".to_owned())),
        Some(below) => MatchPattern::SafeRegex(regex(below)),
        None => MatchPattern::Exact(origin.to_owned()),
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}
