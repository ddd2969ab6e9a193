//! The mark of routes whose errors clients report: with it the logs of listeners begin, without it they end, and nothing
//! but a route changes.

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::{Value, value::Kind};
use prost::Message;

use super::super::errors::{MARK, NAMESPACE};
use crate::plan::Split;

/// `envoy.config.core.v3.Metadata`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Fields>,
}

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// Of a route whose requests are shared out among these versions.
pub(super) fn mark(split: &Split) -> Option<Metadata> {
    let on = Value {
        kind: Some(Kind::BoolValue(true)),
    };
    let fields = Fields {
        fields: [(MARK.to_owned(), on)].into(),
    };
    split.watched.then(|| Metadata {
        filter_metadata: [(NAMESPACE.to_owned(), fields)].into(),
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Metadata as Envoys;

    use super::*;

    #[test]
    fn only_routes_of_a_watched_rollout_have_it() {
        let mut split = Split {
            parts: Vec::new(),
            header: None,
            sticky: None,
            mirror: None,
            watched: false,
        };
        assert_eq!(mark(&split), None);
        split.watched = true;
        let bytes = mark(&split).unwrap().encode_to_vec();
        let fields = Envoys::decode(&*bytes)
            .unwrap()
            .filter_metadata
            .remove("xds-bridge")
            .unwrap();
        let on = fields.fields.get("errors").and_then(|value| value.kind.clone());
        assert_eq!(on, Some(Kind::BoolValue(true)));
    }
}
