//! Which orders of operators drain an instance, and what ends each. Pure.

use crate::catalog::find::Found;
use crate::model::drain::is_node;
use crate::state;

/// An order that an instance is drained by.
pub(super) struct Over {
    /// Whether it is drained, or its node or zone.
    pub(super) what: &'static str,
    /// The command that ends it.
    pub(super) ends: String,
}

/// Whether this instance is drained by this order.
pub(super) fn over(drained: &state::Target, found: &Found) -> Option<Over> {
    let (is_it, what, ends) = match drained {
        state::Target::Instance { service, id } => {
            let is_it = *service == found.service && *id == found.id;
            (is_it, "it", "undrain".to_owned())
        }
        state::Target::Node(node) => {
            let is_it = is_node(node, &found.node, found.address.ip());
            (is_it, "its node", format!("undrain --node {node}"))
        }
        state::Target::Zone(zone) => {
            let is_it = *zone == found.zone && !zone.is_empty();
            (is_it, "its zone", format!("undrain --zone {zone}"))
        }
    };
    is_it.then_some(Over { what, ends })
}
