//! What a request meant, for those around the engine: the index, acknowledgements, logs, metrics.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::super::kind::Kind;
use super::super::names::NameId;
use super::super::resource::Version;

/// What a request meant.
#[derive(Debug, Default)]
pub struct Handled {
    /// The type, where it is one of ours.
    pub kind: Option<Kind>,
    /// Now subscribed by name.
    pub subscribed: RoaringBitmap,
    /// No longer subscribed by name.
    pub unsubscribed: RoaringBitmap,
    /// The wildcard was subscribed to, or unsubscribed from.
    pub wildcard: Option<bool>,
    /// The client refused a response.
    pub nack: Option<Nack>,
    /// The client accepted a response.
    pub ack: bool,
    /// What was in the accepted response.
    pub accepted: Vec<(NameId, Version)>,
    /// A type that is not served here; the stream goes on (rule 4).
    pub unknown_type: Option<String>,
}

/// A refusal by the client.
#[derive(Debug)]
pub struct Nack {
    /// The client's error message.
    pub message: String,
    /// How many resources the refused response carried.
    pub resources: usize,
    /// What is refused, where the response carried just one new resource.
    pub only: Option<(NameId, Version)>,
    /// The name of that.
    pub name: Option<Arc<str>>,
}
