//! What the rest of the program sees of the hub, and what it may ask of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::{GuardRule, Status};

/// How the sources are, for `/readyz` and the status page.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The first generation was published: streams are admitted.
    pub ready: bool,
    /// Each source.
    pub sources: Vec<SourceView>,
}

/// How one source is.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its name.
    pub name: Arc<str>,
    /// `file`, `etcd`, `consul`
    pub kind: &'static str,
    /// `connecting`, `live`, `away`, and why.
    pub status: Status,
    /// What its operator should know of it beside its status.
    pub note: Option<String>,
    /// Has delivered once.
    pub delivered: bool,
    /// Instances that it no longer knows, and that are served until that is certain.
    pub withheld: usize,
    /// How old the last known state was that is served of it, when it was loaded.
    pub stale: Option<Duration>,
}

/// What the hub has to know of a source.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// `file`, `etcd`, `consul`
    pub kind: &'static str,
    /// Its guard against mass removal, if any.
    pub guard: Option<GuardRule>,
    /// Which registry it is; `None`: its state is not kept.
    pub registry: Option<String>,
    /// 0: the first choice; its instances stand behind those of sources with a lesser one.
    pub priority: u32,
}

/// An operator's word to the hub.
#[derive(Debug)]
pub enum Order {
    /// Let removals through that are withheld; answered with their number, or `None` for an unknown source.
    Accept {
        /// The source.
        source: String,
        /// How many instances were withheld.
        reply: oneshot::Sender<Option<usize>>,
    },
}
