//! Resources of the simulated server, whose content says what they need, who sees them and who refuses them.

#![allow(unreachable_pub, dead_code, reason = "compiled into each test on its own")]
#![allow(clippy::unwrap_used, reason = "a broken promise ends the history")]

use std::sync::Arc;

use xds_bridge::xds::{Draft, Kind, Reach};

pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A resource whose content says everything: a route or listener with content 5 needs the
/// clusters a and c (bits); a cluster its endpoints.
pub fn draft(kind: Kind, name: &str, content: u8) -> Draft {
    let needs: Vec<Arc<str>> = match kind {
        Kind::Cluster => vec![name.into()],
        Kind::Endpoints | Kind::Secret => Vec::new(),
        Kind::Listener | Kind::Route => needs(content).into_iter().map(Arc::from).collect(),
    };
    let reach = match (kind, content) {
        (Kind::Listener | Kind::Cluster, 8) => Reach::ByName,
        (Kind::Listener | Kind::Cluster, 9) => Reach::Fleets([Arc::from("other")].into()),
        _ => Reach::All,
    };
    Draft {
        kind,
        name: name.into(),
        body: format!("{name}={content}").into_bytes(),
        needs,
        reach,
        local: None,
    }
}

pub fn needs(content: u8) -> Vec<&'static str> {
    (0..4)
        .filter(|at| content & (1 << at) != 0)
        .map(|at| NAMES[at])
        .collect()
}

/// The content of a resource; `None`: the empty one.
pub fn content(resource: &xds_bridge::xds::Resource) -> Option<u8> {
    let body = resource.body().unwrap();
    let text = std::str::from_utf8(&body).ok()?;
    text.split_once('=')?.1.parse().ok()
}

/// What particular clients refuse.
pub fn is_bad(content: Option<u8>) -> bool {
    matches!(content, Some(7 | 11))
}
