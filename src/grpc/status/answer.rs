//! From a request for the status of clients to the answer. Pure but for looking at the clients.

use std::sync::Arc;

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{BuildVersion, Node};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use envoy_types::pb::envoy::r#type::v3::SemanticVersion;
use regex::Regex;
use tonic::Status;

use crate::fanout::{ClientState, Fanout, StreamStatus};
use crate::text::clip;
use crate::xds::{Given, Kind, Version};

/// Matchers of one request.
const MATCHERS: usize = 64;
/// A compiled expression takes at most this, bytes.
const EXPRESSION: usize = 1 << 20;
/// Resources of one client; those that it does not have come first.
const OF_CLIENT: usize = 5_000;
/// Resources of one answer: what gRPC's clients take is 4 MiB.
const IN_ALL: usize = 20_000;

/// One way to name clients; several are alternatives.
enum Wanted {
    Text(StringMatcher),
    Expression(Regex),
}

/// # Errors
/// What is wrong with the request, or that it asks for too much.
pub(super) fn answer(request: &ClientStatusRequest, fanout: &Fanout) -> Result<ClientStatusResponse, Status> {
    let wanted = wanted(request)?;
    let fits = |status: &StreamStatus| wanted.is_empty() || wanted.iter().any(|one| one.fits(&status.node));
    let clients = fanout.client_states(fits, OF_CLIENT, IN_ALL).ok_or_else(|| {
        Status::resource_exhausted(format!(
            "these clients have more than {IN_ALL} resources, which is what one answer holds: name fewer clients by \
             node_matchers"
        ))
    })?;
    Ok(ClientStatusResponse {
        config: clients.into_iter().map(config).collect(),
    })
}

fn wanted(request: &ClientStatusRequest) -> Result<Vec<Wanted>, Status> {
    if request.node_matchers.len() > MATCHERS {
        let text = format!("more than {MATCHERS} node_matchers");
        return Err(Status::invalid_argument(text));
    }
    let one = |matcher: &NodeMatcher| {
        if !matcher.node_metadatas.is_empty() {
            let text = "the bridge keeps no metadata of nodes: match them by node_id";
            return Err(Status::invalid_argument(text));
        }
        let text = matcher.node_id.clone().unwrap_or_default();
        match &text.match_pattern {
            Some(MatchPattern::SafeRegex(regex)) => {
                let whole = format!("^(?s:{})$", regex.regex);
                let built = regex::RegexBuilder::new(&whole).size_limit(EXPRESSION).build();
                let bad = || Status::invalid_argument(format!("`{}` is no expression", clip(&regex.regex)));
                built.map(Wanted::Expression).map_err(|_| bad())
            }
            Some(MatchPattern::Custom(_)) => Err(Status::invalid_argument(
                "node_id is matched in a way that is not known here",
            )),
            // Without a matcher of its id any node fits.
            _ => Ok(Wanted::Text(text)),
        }
    };
    request.node_matchers.iter().map(one).collect()
}

impl Wanted {
    fn fits(&self, node: &str) -> bool {
        let text = match self {
            Self::Expression(regex) => return regex.is_match(node),
            Self::Text(text) => text,
        };
        let spelled = |value: &str| {
            if text.ignore_case {
                value.to_ascii_lowercase()
            } else {
                value.to_owned()
            }
        };
        let node = spelled(node);
        match &text.match_pattern {
            None => true,
            Some(MatchPattern::Exact(value)) => node == spelled(value),
            Some(MatchPattern::Prefix(value)) => node.starts_with(&spelled(value)),
            Some(MatchPattern::Suffix(value)) => node.ends_with(&spelled(value)),
            Some(MatchPattern::Contains(value)) => node.contains(&spelled(value)),
            Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_)) => false,
        }
    }
}

fn config(client: ClientState) -> ClientConfig {
    let status = &client.status;
    let resources = client.resources.into_iter();
    let one = |(given, kind, name, version): (Given, Kind, Arc<str>, Option<Version>)| {
        let (config_status, client_status) = match given {
            Given::Synced => (ConfigStatus::Synced, ClientResourceStatus::Acked),
            Given::NotSent => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
            Given::Behind => (ConfigStatus::Stale, ClientResourceStatus::Requested),
            Given::Refused => (ConfigStatus::Error, ClientResourceStatus::Nacked),
            Given::Missing => (ConfigStatus::Unknown, ClientResourceStatus::DoesNotExist),
        };
        // The words of the last refusal are those of this resource, where the client named it.
        let refused = status.last_nack.as_ref().filter(|nack| {
            given == Given::Refused
                && nack.kind == kind
                && nack.name.as_ref().is_none_or(|named| *named == name)
        });
        GenericXdsConfig {
            type_url: kind.type_url().to_owned(),
            name: name.to_string(),
            version_info: version.map(|version| version.to_string()).unwrap_or_default(),
            config_status: config_status as i32,
            client_status: client_status as i32,
            error_state: refused.map(|nack| UpdateFailureState {
                details: nack.message.clone(),
                ..Default::default()
            }),
            ..GenericXdsConfig::default()
        }
    };
    let release = status.release.as_ref().map(|release| {
        UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion {
                major_number: release.major,
                minor_number: release.minor,
                patch: release.patch,
            }),
            metadata: None,
        })
    });
    ClientConfig {
        node: Some(Node {
            id: status.node.clone(),
            cluster: status.fleet.clone(),
            user_agent_name: status.agent.clone(),
            user_agent_version_type: release,
            ..Node::default()
        }),
        generic_xds_configs: resources.map(one).collect(),
        ..ClientConfig::default()
    }
}
